"""Hamiltonians of spins as sums of Pauli strings, for ``state.expectation`` and ``Expectation``.

qt.hamiltonian.ising(60)                                   an open chain
qt.hamiltonian.heisenberg(12, pairs=qt.hamiltonian.grid(3, 4))
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import must_be, positive_int

__all__ = ["chain", "grid", "heisenberg", "ising"]

Pairs = Iterable[tuple[int, int]]


def ising(
    n_qubits: int, coupling: float = 1.0, field: float = 1.0, pairs: Pairs | None = None
) -> dict[str, float]:
    """Return Ising's Hamiltonian in a transverse field, −J Σ ZᵢZⱼ − h Σ Xᵢ.

    Args:
        n_qubits: Number of qubits.
        coupling: J, in any unit of energy.
        field: h, in the same unit; on a chain the model is critical at h = J.
        pairs: The coupled qubits; the neighbors of an open chain by default.

    Returns:
        Strings with their coefficients.

    Raises:
        ValueError: A pair is not two different qubits.

    Example:
        >>> ising(2, field=0.5)
        {'Z0 Z1': -1.0, 'X0': -0.5, 'X1': -0.5}
    """
    terms = {f"Z{i} Z{j}": -coupling for i, j in _checked(n_qubits, pairs)}
    return terms | {f"X{i}": -field for i in range(n_qubits)}


def heisenberg(
    n_qubits: int, coupling: float = 1.0, field: float = 0.0, pairs: Pairs | None = None
) -> dict[str, float]:
    """Return Heisenberg's Hamiltonian, J Σ (XᵢXⱼ + YᵢYⱼ + ZᵢZⱼ) − h Σ Zᵢ.

    Args:
        n_qubits: Number of qubits.
        coupling: J, in any unit of energy; antiferromagnetic where it is positive.
        field: h, in the same unit.
        pairs: The coupled qubits; the neighbors of an open chain by default.

    Returns:
        Strings with their coefficients: of Pauli matrices, twice the size of spins.

    Raises:
        ValueError: A pair is not two different qubits.

    Example:
        >>> heisenberg(2)
        {'X0 X1': 1.0, 'Y0 Y1': 1.0, 'Z0 Z1': 1.0}
    """
    terms = {
        f"{letter}{i} {letter}{j}": coupling
        for i, j in _checked(n_qubits, pairs)
        for letter in "XYZ"
    }
    return terms | ({f"Z{i}": -field for i in range(n_qubits)} if field else {})


def chain(n_qubits: int, closed: bool = False) -> list[tuple[int, int]]:
    """Return the pairs of neighbors of a chain.

    Args:
        n_qubits: Number of qubits.
        closed: Whether the last qubit is a neighbor of the first.

    Returns:
        The pairs.

    Example:
        >>> chain(3, closed=True)
        [(0, 1), (1, 2), (2, 0)]
    """
    n_qubits = positive_int("n_qubits", n_qubits)
    pairs = [(i, i + 1) for i in range(n_qubits - 1)]
    return pairs + ([(n_qubits - 1, 0)] if closed and n_qubits > 2 else [])


def grid(rows: int, cols: int) -> list[tuple[int, int]]:
    """Return the pairs of neighbors of a grid, numbered row by row as in ``ansatz.grid``.

    Args:
        rows: Number of rows.
        cols: Number of columns.

    Returns:
        The pairs: along the rows, then between them.

    Example:
        >>> grid(2, 2)
        [(0, 1), (2, 3), (0, 2), (1, 3)]
    """
    rows, cols = positive_int("rows", rows), positive_int("cols", cols)
    along = [(r * cols + c, r * cols + c + 1) for r in range(rows) for c in range(cols - 1)]
    return along + [
        (r * cols + c, (r + 1) * cols + c) for r in range(rows - 1) for c in range(cols)
    ]


def _checked(n_qubits: int, pairs: Pairs | None) -> list[tuple[int, int]]:
    n_qubits = positive_int("n_qubits", n_qubits)
    if pairs is None:
        return chain(n_qubits)
    found = [(int(i), int(j)) for i, j in pairs]
    for i, j in found:
        if i == j or not (0 <= i < n_qubits and 0 <= j < n_qubits):
            expected = f"of two different qubits 0 … {n_qubits - 1}"
            raise ValueError(must_be("pairs", expected, (i, j)))
    return found
