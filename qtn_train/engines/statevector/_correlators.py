"""All Pauli correlators of a state vector: one Walsh–Hadamard transform for each basis.

    |amplitude|² in the X, Y or Z basis ──► transform ──► ⟨Z…Z⟩ of every set of qubits, at once

Both the change of basis and the transform act on each qubit by itself, so that each is two products
with matrices of about 2^(N/2) rows.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

_HALF = 0.5**0.5
# From the eigenbasis of a letter to |0⟩, |1⟩: bit 0 is the eigenvalue +1.
_BASES = {
    "x": ((_HALF, _HALF), (_HALF, -_HALF)),
    "y": ((_HALF, -1j * _HALF), (_HALF, 1j * _HALF)),
    "z": ((1.0, 0.0), (0.0, 1.0)),
}


def correlators(
    vector: Complex[Tensor, "*batch outcomes"],
    letters: str,
    order: int,
    reach: int | None = None,
) -> Float[Tensor, "*batch letters values"]:
    """Return ⟨P_a P_b …⟩ of all increasing qubit tuples, for each letter.

    Args:
        vector: Normalized amplitudes.
        letters: Different ones out of ``x``, ``y`` and ``z``.
        order: Qubits of a correlator, from 1 to N.
        reach: Largest distance between the first and the last of them; any without.

    Returns:
        One row for each letter, differentiable, in lexicographic order of the qubits.

    Source:
        Ours.
    """
    n_qubits = vector.shape[-1].bit_length() - 1
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=vector.real.dtype, device=vector.device)
    masks = torch.from_numpy(_masks(n_qubits, order, reach)).to(vector.device)
    found = []
    for letter in letters:
        basis = torch.tensor(_BASES[letter], dtype=vector.dtype, device=vector.device)
        rotated = vector if letter == "z" else _on_every_qubit(basis, vector, n_qubits)
        probs = torch.view_as_real(rotated).square().sum(-1)
        found.append(_on_every_qubit(signs, probs, n_qubits)[..., masks])
    return torch.stack(found, -2)


def _on_every_qubit(matrix: Tensor, values: Tensor, n_qubits: int) -> Tensor:
    """Apply a 2 × 2 matrix to each qubit: its Kronecker powers to rows and columns."""
    n_rows = n_qubits // 2
    high, low = (_power(matrix, n) for n in (n_rows, n_qubits - n_rows))
    table = values.reshape(*values.shape[:-1], 2**n_rows, -1)
    return (high @ table @ low.mT).reshape(values.shape)


def _power(matrix: Tensor, n: int) -> Tensor:
    one = torch.ones((1, 1), dtype=matrix.dtype, device=matrix.device)
    return functools.reduce(torch.kron, [matrix] * n, one)


@functools.lru_cache(maxsize=64)
def _masks(n_qubits: int, order: int, reach: int | None) -> NDArray[np.int64]:
    """Return the outcome number in which exactly a tuple's bits are 1, for each tuple in order."""
    tuples = itertools.combinations(range(n_qubits), order)
    near = (each for each in tuples if reach is None or each[-1] - each[0] <= reach)
    masks = [sum(2 ** (n_qubits - 1 - qubit) for qubit in each) for each in near]
    return np.array(masks, dtype=np.int64)
