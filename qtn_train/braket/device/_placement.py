"""Where a circuit's qubits go on a device when nobody said so: physical labels for 0…N−1.

    circuit's pairs    0 ─ 1 ─ 2            device    4 ─ 5   6
                                                      │   │   │
    placement (5, 4, 8): qubit 0 on label 5, …        8 ─ 9 ─ 10

A verbatim circuit runs as it is written, so each of its two-qubit gates must lie on an edge.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from ...circuits import Circuit
from ...errors import UnsupportedByEngine, must_be
from ._target import Edge, Target, kept_with_target, pairs_of

#: Labels tried before a search is given up: about a tenth of a second.
_STEPS = 20_000

#: The search starts with as many edges as are needed, the best calibrated ones, and goes on with
#: so many times as many until they are all.
_GROWTH = 1.5

_Graph = Mapping[int, frozenset[int]]


def find_placement(target: Target, circuit: Circuit) -> tuple[int, ...]:
    """Return labels on which every two-qubit gate of the circuit joins connected qubits.

    Args:
        target: A device with labels.
        circuit: A circuit that is not larger than the device.

    Returns:
        The label of each qubit, on well calibrated edges where the calibration tells them apart.

    Raises:
        UnsupportedByEngine: The search, which is bounded, found none.

    Source:
        Ours: depth-first search, labels with the fewest free neighbors first (Warnsdorff's rule).
    """
    found = _search(target, circuit.n_qubits, pairs_of(circuit))
    if found is None:
        expected = f"one whose pairs of qubits fit the connections of {target.name}"
        actual = f"{len(pairs_of(circuit))} pairs on {circuit.n_qubits} qubits that do not"
        hint = "Take a chain instead of a ring."
        if target.kind != "emulator":
            hint = "Take a chain instead of a ring, or leave native=True out."
        raise UnsupportedByEngine(must_be("circuit", expected, actual, hint))
    return found


@kept_with_target
def _search(target: Target, n_qubits: int, pairs: frozenset[Edge]) -> tuple[int, ...] | None:
    labels = target.labels or tuple(range(target.n_qubits))
    if target.edges is None:
        return labels[:n_qubits]
    quality = _quality(target)
    ordered = sorted(target.edges, key=lambda edge: (-quality.get(edge, 0.0), edge))
    wanted = _graph(range(n_qubits), pairs)
    count = len(pairs) if quality else len(ordered)
    while True:
        found = _embed(wanted, _graph(labels, ordered[:count]))
        if found is not None or count >= len(ordered):
            return found
        count = math.ceil(_GROWTH * max(count, 1))


def _quality(target: Target) -> dict[Edge, float]:
    """Return how well each edge works: its gate, and the gates and the readout at its ends.

    Qubits of a chain have two edges, so each end counts with the root of its fidelities.
    """
    known = target.fidelities
    if known is None or target.edges is None or not known.edges:
        return {}
    ends = {label: known.of_gate(label) * known.of_readout(label) for label in target.labels or ()}
    told = target.edges & known.edges.keys()
    return {(a, b): known.edges[a, b] * math.sqrt(ends[a] * ends[b]) for a, b in told}


def fits(target: Target, circuit: Circuit) -> bool:
    """Return whether the circuit runs without exchanging qubits on the way.

    Args:
        target: Any target.
        circuit: Any circuit.
    """
    if circuit.n_qubits > target.n_qubits:
        return False
    return _search(target, circuit.n_qubits, pairs_of(circuit)) is not None


def _graph(nodes: Iterable[int], edges: Iterable[Edge]) -> _Graph:
    graph: dict[int, set[int]] = {node: set() for node in nodes}
    for a, b in edges:
        graph[a].add(b)
        graph[b].add(a)
    return {node: frozenset(others) for node, others in graph.items()}


def _order(wanted: _Graph) -> list[int]:
    """Return the qubits in an order that places neighbors early; ends of chains come first."""
    order: list[int] = []
    while len(order) < len(wanted):
        left = [qubit for qubit in wanted if qubit not in order]
        order.append(
            min(left, key=lambda q: (-len(wanted[q] & set(order)), len(wanted[q]) or 9**9, q))
        )
    return order


def _embed(wanted: _Graph, graph: _Graph) -> tuple[int, ...] | None:
    """Return a label for each qubit such that neighbors stay neighbors, or None."""
    order = _order(wanted)
    place: dict[int, int] = {}
    steps = 0

    def candidates(qubit: int) -> list[int]:
        free = set(graph) - set(place.values())
        for other in wanted[qubit] & place.keys():
            free &= graph[place[other]]
        used = set(place.values())
        degree = {label: len(graph[label] - used) for label in free}
        need = len(wanted[qubit] - place.keys())
        return sorted((one for one in free if degree[one] >= need), key=lambda o: (degree[o], o))

    def extend(depth: int) -> bool:
        nonlocal steps
        if depth == len(order):
            return True
        for label in candidates(order[depth]):
            steps += 1
            if steps > _STEPS:
                return False
            place[order[depth]] = label
            if extend(depth + 1):
                return True
            del place[order[depth]]
        return False

    return tuple(place[qubit] for qubit in range(len(order))) if extend(0) else None
