"""Parts of a state, and how they hang together: reduced density matrices, entropies, correlations.

    ρ of k qubits  =  2⁻ᵏ Σ ⟨P⟩ P, over the 4ᵏ Pauli strings P on them

so that every engine that gives expectation values gives density matrices; engines with a faster
way have their own.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ..errors import must_be
from ..measurements._pauli import MATRICES, PauliString, PauliSum

#: A density matrix of more qubits than this is refused: 4^k Pauli strings, or numbers.
MOST_REDUCED = 6


def checked_qubits(qubits: int | Sequence[int], n_qubits: int, most: int) -> tuple[int, ...]:
    """Return the numbers of different qubits.

    Args:
        qubits: One, or several.
        n_qubits: How many there are.
        most: How many may be asked for.

    Raises:
        ValueError: One is not there or comes twice, or there are none or too many.
    """
    given = tuple(qubits) if isinstance(qubits, Iterable) else (qubits,)
    whole = all(hasattr(q, "__index__") and not isinstance(q, bool) for q in given)
    found = tuple(map(operator.index, given)) if whole else ()
    if not whole or len(set(found)) < len(found) or not all(0 <= q < n_qubits for q in found):
        expected = f"different qubits 0 … {n_qubits - 1}"
        raise ValueError(must_be("qubits", expected, repr(qubits)))
    if not 0 < len(found) <= most:
        raise ValueError(must_be("qubits", f"1 to {most} of them", len(found)))
    return found


def density_matrix(
    expectations: Callable[[list[PauliSum]], Tensor], qubits: tuple[int, ...]
) -> Complex[Tensor, "*batch rows rows"]:
    """Return the reduced density matrix of some qubits from the expectations of Pauli strings.

    Args:
        expectations: Gives those of a state.
        qubits: Their numbers; the first one is the most significant bit of a row.
    """
    sums: list[PauliSum] = []
    for letters in itertools.product("IXYZ", repeat=len(qubits)):
        pairs = zip(qubits, letters, strict=True)
        string: PauliString = tuple(sorted(pair for pair in pairs if pair[1] != "I"))
        sums.append([(1.0, string)])
    values = expectations(sums)
    paulis = torch.tensor(list(MATRICES.values()), dtype=torch.complex128, device=values.device)
    paulis = paulis.to(torch.complex64 if values.dtype == torch.float32 else torch.complex128)
    batch = values.shape[:-1]
    found = values.to(paulis.dtype).reshape(*batch, *(4,) * len(qubits))
    for _ in qubits:  # the first letter becomes the last row and column
        found = torch.tensordot(found, paulis / 2, dims=([len(batch)], [0]))
    n = len(qubits)
    order = [*range(len(batch)), *(len(batch) + 2 * k + side for side in (0, 1) for k in range(n))]
    return found.permute(order).reshape(*batch, 2**n, 2**n)


def entropy(shares: Float[Tensor, "... values"], order: float) -> float:
    """Return the entropy of probabilities in bits.

    Args:
        shares: The probabilities.
        order: 1 for von Neumann's and Shannon's, another positive number for Rényi's.

    Raises:
        TypeError: The order is not a number.
        ValueError: It is not positive.
    """
    if not isinstance(order, int | float):
        raise TypeError(must_be("order", "a positive number", repr(order)))
    if not order > 0:
        raise ValueError(must_be("order", "a positive number", order))
    shares = shares.detach().double().clamp(min=0.0)
    shares = shares / shares.sum()
    if order == 1:
        return float(-torch.xlogy(shares, shares).sum()) / math.log(2)
    if math.isinf(order):
        return -math.log2(float(shares.max()))
    return math.log2(float((shares**order).sum())) / (1 - order)


def product(first: PauliSum, second: PauliSum) -> PauliSum:
    """Return the product of two sums of Pauli strings on different qubits.

    Args:
        first: One sum.
        second: The other.

    Raises:
        ValueError: They share a qubit.
    """
    qubits = [{q for _, string in each for q, _ in string} for each in (first, second)]
    shared = sorted(qubits[0] & qubits[1])
    if shared:
        expected = "terms on different qubits"
        raise ValueError(must_be("second", expected, f"qubit {shared[0]} in both"))
    total: dict[PauliString, float] = {}
    for a, left in first:
        for b, right in second:
            string = tuple(sorted(left + right))
            total[string] = total.get(string, 0.0) + a * b
    return [(coefficient, string) for string, coefficient in total.items()]
