"""Which qubits a circuit's gates join: bounds on bonds, and colors of edges.

q0 ─●──────        bond 0 | 1:  the ranks of all gates across it, multiplied
│ bond 0
q1 ─X──●───        rank of an operator: the least number of products A ⊗ B that it is a sum of
│ bond 1
q2 ────X───
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np

from ._gate import Gate, Rows
from ._gates import GATES


def bond_bounds(n_qubits: int, gates: Iterable[Gate]) -> list[int]:
    """Return bounds on a matrix product state's bonds; see :meth:`Circuit.bond_bounds`.

    Args:
        n_qubits: The circuit's number of qubits.
        gates: Its gates.

    Returns:
        ``n_qubits − 1`` integers.
    """
    bounds = [1] * (n_qubits - 1)
    for bond, bound in bond_growth(n_qubits, gates):
        bounds[bond] = bound
    return bounds


def bond_growth(n_qubits: int, gates: Iterable[Gate]) -> Iterator[tuple[int, int]]:
    """Yield each bond that a gate crosses, with its bound after the gate.

    Args:
        n_qubits: The circuit's number of qubits.
        gates: Its gates.

    Yields:
        The bond's number and its bound, gate by gate; from 1 on, each at most what the qubits on
        its smaller side allow.

    Example:
        >>> from qtn_train.circuits import Circuit
        >>> list(bond_growth(4, Circuit.builder(4).cx(0, 2).swap(1, 2).build().gates))
        [(0, 2), (1, 2), (1, 4)]
    """
    largest = [2 ** min(bond + 1, n_qubits - bond - 1) for bond in range(n_qubits - 1)]
    bounds = [1] * (n_qubits - 1)
    for gate in gates:
        if len(gate.qubits) == 1:
            continue
        order = sorted(range(len(gate.qubits)), key=gate.qubits.__getitem__)
        ranks = cut_ranks(gate.name, tuple(order), gate.matrix)
        places = [gate.qubits[position] for position in order]
        for rank, low, high in zip(ranks, places, places[1:], strict=False):
            for bond in range(low, high):
                bounds[bond] = min(largest[bond], bounds[bond] * rank)
                yield bond, bounds[bond]


def two_qubit_cost(gates: Iterable[Gate]) -> int:
    """Return how many two-qubit gates a device executes for lowered gates: three for a swap.

    Args:
        gates: Portable gates, or a device's native ones.

    Example:
        >>> from qtn_train.circuits import Circuit
        >>> two_qubit_cost(Circuit.builder(2).h(0).cx(0, 1).swap(0, 1).build().gates)
        4
    """
    return sum(3 if gate.name == "swap" else 1 for gate in gates if len(gate.qubits) == 2)


@lru_cache(maxsize=1024)
def cut_ranks(name: str, order: tuple[int, ...], matrix: Rows | None = None) -> tuple[int, ...]:
    """Return the operator Schmidt ranks of a gate across the gaps between its qubits.

    Args:
        name: The gate's name.
        order: Its qubits by position, in the order in which they stand in the chain.
        matrix: The matrix of a ``unitary``.

    Returns:
        One rank for each gap, at generic angles.

    Example:
        >>> cut_ranks("cx", (0, 1)), cut_ranks("swap", (1, 0)), cut_ranks("cswap", (0, 1, 2))
        ((2,), (4,), (2, 4))
    """
    k = len(order)
    if matrix is None:
        spec = GATES[name]
        dense = spec.matrix(*(0.3 + 0.4 * i for i in range(spec.n_angles)))
    else:
        dense = np.array(matrix)
    tensor = dense.reshape((2,) * (2 * k)).transpose(*order, *(k + position for position in order))
    ranks = []
    for gap in range(1, k):
        left = [*range(gap), *range(k, k + gap)]
        right = [*range(gap, k), *range(k + gap, 2 * k)]
        split = tensor.transpose(*left, *right).reshape(4**gap, -1)
        ranks.append(int(np.linalg.matrix_rank(split, tol=1e-9)))
    return tuple(ranks)


def edge_colors(pairs: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Part the edges of a graph so that no two of a part share a qubit.

    Args:
        pairs: The edges.

    Returns:
        The parts, each in the order of ``pairs``: as many as edges meet at one qubit if the graph
        is bipartite, as grids and heavy-hexagonal lattices are; at most twice as many otherwise.

    Source:
        Kőnig's exchange of two colors along a path; where an odd cycle forbids it, a new color.

    Example:
        >>> edge_colors([(0, 1), (1, 2), (2, 3)])
        [[(0, 1), (2, 3)], [(1, 2)]]
    """
    at: dict[int, dict[int, int]] = {}  # qubit -> color -> the qubit at the edge's other end
    for a, b in pairs:
        here, there = at.setdefault(a, {}), at.setdefault(b, {})
        first, second = _free(here), _free(there)
        if first in there and not _exchanged(at, b, first, second, a):
            first = _free(here | there)
        here[first], there[first] = b, a
    color_of = {(a, b): color for a, ends in at.items() for color, b in ends.items()}
    colors: list[list[tuple[int, int]]] = [
        [] for _ in range(1 + max(color_of.values(), default=-1))
    ]
    for pair in pairs:
        colors[color_of[pair]].append(pair)
    return colors


def _free(taken: dict[int, int]) -> int:
    return next(color for color in range(len(taken) + 1) if color not in taken)


def _exchanged(at: dict[int, dict[int, int]], start: int, one: int, two: int, end: int) -> bool:
    """Exchange two colors along a path of edges; return False where the path leads to ``end``."""
    path, color = [start], one
    while color in at[path[-1]]:
        path.append(at[path[-1]][color])
        color = two if color == one else one
    if path[-1] == end:
        return False
    for qubit in path:
        ends = at[qubit]
        swapped = {two: ends.get(one), one: ends.get(two)}
        for number, other in swapped.items():
            ends.pop(number, None)
            if other is not None:
                ends[number] = other
    return True
