"""Expectations of Pauli strings on all amplitudes.

    ⟨ψ|P|ψ⟩ = Σₖ (−1)^(k·z) · Re(i^y · ψ*(k ⊕ x) · ψ(k))

x: the qubits with X or Y, which are flipped; z: those with Y or Z, which give signs; y: the number
of Y. Strings that flip the same qubits share the products, and each adds them up qubit by qubit, in
halves that a sign adds or subtracts.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ...measurements._pauli import PauliString, PauliSum


def expectations(
    vector: Complex[Tensor, "*batch outcomes"], sums: list[PauliSum]
) -> Float[Tensor, "*batch sums"]:
    """Return the expectation of each sum of Pauli strings, differentiable.

    Args:
        vector: The amplitudes of a normalized state.
        sums: The sums.

    Returns:
        A real number for each.

    Source:
        Ours.
    """
    values = _strings(vector, dict.fromkeys(string for each in sums for _, string in each))
    totals = []
    for each in sums:
        parts = [coefficient * values[string] for coefficient, string in each]
        totals.append(torch.stack(parts).sum(0))
    return torch.stack(totals, -1)


def _strings(vector: Tensor, strings: Iterable[PauliString]) -> dict[PauliString, Tensor]:
    flips: dict[tuple[int, ...], list[PauliString]] = {}
    for string in strings:
        flips.setdefault(tuple(q for q, letter in string if letter in "XY"), []).append(string)
    return {
        string: value
        for flipped, members in flips.items()
        for string, value in zip(members, _of_flip(vector, flipped, members), strict=True)
    }


def _of_flip(vector: Tensor, flipped: tuple[int, ...], strings: list[PauliString]) -> list[Tensor]:
    n_qubits = vector.shape[-1].bit_length() - 1
    batch = vector.shape[:-1]
    if not flipped:
        products = torch.view_as_real(vector).square().sum(-1)
    else:
        qubits = vector.reshape(*batch, *(2,) * n_qubits)
        other = qubits.flip([len(batch) + qubit for qubit in flipped]).reshape(vector.shape)
        products = other.conj() * vector
    values = []
    for string in strings:
        terms = products
        if flipped:
            # Re(i^y · w): Re w, −Im w, −Re w, Im w.
            n_y = sum(letter == "Y" for _, letter in string) % 4
            terms = (products.real, products.imag)[n_y % 2] * (1, -1, -1, 1)[n_y]
        signs = {qubit for qubit, letter in string if letter in "YZ"}
        for qubit in range(n_qubits):
            zero, one = terms.reshape(*batch, 2, -1).unbind(-2)
            terms = zero - one if qubit in signs else zero + one
        values.append(terms.reshape(batch))
    return values
