"""The ansätze: functions from ``(n_qubits, n_layers)`` to a :class:`Circuit`.

Each layer's angles are numbered gate by gate in the order of application.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable

from ..errors import must_be, positive_int
from ._circuit import Circuit, CircuitBuilder
from ._gate import Gate
from ._shape import edge_colors

__all__ = [
    "ANSATZE",
    "brickwork",
    "couplings",
    "cz_chain",
    "grid",
    "hardware_efficient",
    "product",
    "ry_cx_chain",
    "square_grid",
    "u3_cu3_chain",
    "u3_cu3_ring",
]


def _start(n_qubits: int, n_layers: int) -> CircuitBuilder:
    positive_int("n_layers", n_layers)
    return Circuit.builder(n_qubits)


def _on_all(builder: CircuitBuilder, name: str) -> None:
    for qubit in range(builder.n_qubits):
        builder.add(name, qubit)


def _on_pairs(builder: CircuitBuilder, name: str) -> None:
    """Append a gate to even pairs (0,1), (2,3), …, then to odd pairs (1,2), (3,4), …."""
    for first in (0, 1):
        for qubit in range(first, builder.n_qubits - 1, 2):
            builder.add(name, qubit, qubit + 1)


def u3_cu3_ring(n_qubits: int, n_layers: int) -> Circuit:
    """U3 on every qubit, then CU3 from each qubit to the next around the ring.

    Args:
        n_qubits: Number of qubits N; 1 has no CU3, 2 has both directions.
        n_layers: Number of layers L.

    Returns:
        A circuit of 6·N·L angles (3·L for N = 1).

    Raises:
        ValueError: A number below 1.

    Source:
        arXiv 2402.16465, the circuit of the method section.

    Example:
        >>> u3_cu3_ring(13, 16).n_angles
        1248
    """
    builder = _start(n_qubits, n_layers)
    for _ in range(n_layers):
        _on_all(builder, "u3")
        for qubit in range(n_qubits if n_qubits > 1 else 0):
            builder.add("cu3", qubit, (qubit + 1) % n_qubits)
    return builder.build()


def u3_cu3_chain(n_qubits: int, n_layers: int) -> Circuit:
    """U3 on every qubit, then CU3 along the chain: the ring without its closing gate.

    Args:
        n_qubits: Number of qubits N.
        n_layers: Number of layers L.

    Returns:
        A circuit of (6·N − 3)·L angles.

    Raises:
        ValueError: A number below 1.

    Source:
        Ours, after arXiv 2402.16465.

    Example:
        >>> u3_cu3_chain(4, 1).n_angles
        21
    """
    builder = _start(n_qubits, n_layers)
    for _ in range(n_layers):
        _on_all(builder, "u3")
        for qubit in range(n_qubits - 1):
            builder.add("cu3", qubit, qubit + 1)
    return builder.build()


def ry_cx_chain(n_qubits: int, n_layers: int) -> Circuit:
    """RY on every qubit, then CX(i, i+1) along the chain; its amplitudes are real.

    Args:
        n_qubits: Number of qubits N.
        n_layers: Number of layers L.

    Returns:
        A circuit of N·L angles.

    Raises:
        ValueError: A number below 1.

    Source:
        The ansatz of the Quantum-Train papers that followed (arXiv 2405.11304).

    Example:
        >>> ry_cx_chain(8, 4).n_angles
        32
    """
    builder = _start(n_qubits, n_layers)
    for _ in range(n_layers):
        _on_all(builder, "ry")
        for qubit in range(n_qubits - 1):
            builder.add("cx", qubit, qubit + 1)
    return builder.build()


def brickwork(n_qubits: int, n_layers: int) -> Circuit:
    """U3 on every qubit, then CU3 on even, then on odd neighboring pairs.

    Args:
        n_qubits: Number of qubits N.
        n_layers: Number of layers L.

    Returns:
        A circuit of (6·N − 3)·L angles.

    Raises:
        ValueError: A number below 1.

    Source:
        Ours: the usual brickwork arrangement.

    Example:
        >>> [gate.qubits for gate in brickwork(4, 1).gates if gate.name == "cu3"]
        [(0, 1), (2, 3), (1, 2)]
    """
    builder = _start(n_qubits, n_layers)
    for _ in range(n_layers):
        _on_all(builder, "u3")
        _on_pairs(builder, "cu3")
    return builder.build()


def hardware_efficient(n_qubits: int, n_layers: int) -> Circuit:
    """RY then RZ on every qubit, then CZ on even, then on odd neighboring pairs.

    Args:
        n_qubits: Number of qubits N.
        n_layers: Number of layers L.

    Returns:
        A circuit of 2·N·L angles.

    Raises:
        ValueError: A number below 1.

    Source:
        After arXiv 1704.05018 (hardware-efficient trial states); the operator is RZ·RY.

    Example:
        >>> [gate.name for gate in hardware_efficient(2, 1).gates]
        ['ry', 'ry', 'rz', 'rz', 'cz']
    """
    builder = _start(n_qubits, n_layers)
    for _ in range(n_layers):
        _on_all(builder, "ry")
        _on_all(builder, "rz")
        _on_pairs(builder, "cz")
    return builder.build()


def grid(rows: int, cols: int, n_layers: int) -> Circuit:
    """RY and RZ on every qubit of a rectangle, then CZ on one of four sets of neighbors a layer.

    The sets are, one after the other: horizontal pairs from even columns, from odd columns,
    vertical pairs from even rows, from odd rows; those that are empty are left out.

    Args:
        rows: Number of rows.
        cols: Number of columns; the qubit at (row, column) has the number row · cols + column.
        n_layers: Number of layers L.

    Returns:
        A circuit of N·(2·L + 1) angles for N = rows · cols: a last RY on every qubit ends it.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number below 1.

    Source:
        Ours, the layers of :func:`couplings`.

    Example:
        >>> circuit = grid(2, 3, 2)
        >>> circuit.n_angles, [gate.qubits for gate in circuit.gates if gate.name == "cz"]
        (30, [(0, 1), (3, 4), (1, 2), (4, 5)])
    """
    n_rows, n_cols = positive_int("rows", rows), positive_int("cols", cols)
    sets: list[list[tuple[int, int]]] = []
    for first in (0, 1):
        sets.append(
            [
                (r * n_cols + c, r * n_cols + c + 1)
                for r in range(n_rows)
                for c in range(first, n_cols - 1, 2)
            ]
        )
    for first in (0, 1):
        sets.append(
            [
                (r * n_cols + c, (r + 1) * n_cols + c)
                for r in range(first, n_rows - 1, 2)
                for c in range(n_cols)
            ]
        )
    return _colored(n_rows * n_cols, [pairs for pairs in sets if pairs], n_layers)


def square_grid(n_qubits: int, n_layers: int) -> Circuit:
    """The layers of :func:`grid` on the rectangle of N qubits that is nearest to a square.

    Args:
        n_qubits: Number of qubits N; a prime number gives a chain.
        n_layers: Number of layers L.

    Returns:
        A circuit of N·(2·L + 1) angles.

    Raises:
        ValueError: A number below 1.

    Source:
        Ours, the layers of :func:`couplings`.

    Example:
        >>> square_grid(12, 4) == grid(3, 4, 4)
        True
    """
    n = positive_int("n_qubits", n_qubits)
    rows = next(rows for rows in range(math.isqrt(n), 0, -1) if n % rows == 0)
    return grid(rows, n // rows, n_layers)


def cz_chain(n_qubits: int, n_layers: int) -> Circuit:
    """RY and RZ on every qubit, then CZ on the even, or in the next layer odd, neighboring pairs.

    Args:
        n_qubits: Number of qubits N.
        n_layers: Number of layers L.

    Returns:
        A circuit of N·(2·L + 1) angles, a last RY on every qubit ends it: :func:`couplings` of a
        chain. Each bond of a matrix product state doubles in every second layer.

    Raises:
        ValueError: A number below 1.

    Source:
        Ours, after the layers of hardware-efficient circuits (arXiv 1704.05018).

    Example:
        >>> [gate.qubits for gate in cz_chain(4, 2).gates if gate.name == "cz"]
        [(0, 1), (2, 3), (1, 2)]
    """
    pairs = [(qubit, qubit + 1) for qubit in range(n_qubits - 1)]
    return _colored(n_qubits, [found for found in (pairs[::2], pairs[1::2]) if found], n_layers)


def couplings(pairs: Iterable[tuple[int, int]], n_layers: int) -> Circuit:
    """RY and RZ on every qubit, then CZ on the pairs of one color of a graph's edges a layer.

    Args:
        pairs: The graph's edges, such as a device's coupling map; the numbers of its qubits are
            0…N−1, and each of two qubits appears once in one order.
        n_layers: Number of layers L; layer l takes color l modulo the number of colors.

    Returns:
        A circuit of N·(2·L + 1) angles: a last RY on every qubit ends it.

    Raises:
        TypeError: ``pairs`` are no pairs, or a qubit or ``n_layers`` is not an integer.
        ValueError: No pair, a pair of one qubit, a pair given twice, a number that is negative or
            left out, or ``n_layers`` below 1.

    Source:
        Ours, after the layers of hardware-efficient circuits (arXiv 1704.05018).

    Example:
        >>> circuit = couplings([(0, 1), (1, 2), (1, 3)], 3)
        >>> [gate.qubits for gate in circuit.gates if gate.name == "cz"]
        [(0, 1), (1, 2), (1, 3)]
    """
    if not isinstance(pairs, Iterable):
        raise TypeError(must_be("pairs", "a list of pairs of qubits", repr(pairs)))
    edges = [_edge(pair) for pair in pairs]
    if not edges:
        raise ValueError(must_be("pairs", "at least one pair of qubits", "none"))
    seen: set[frozenset[int]] = set()
    for edge in edges:
        if frozenset(edge) in seen:
            raise ValueError(must_be("pairs", "different pairs of qubits", f"{edge} twice"))
        seen.add(frozenset(edge))
    qubits = {qubit for edge in edges for qubit in edge}
    if len(qubits) <= max(qubits):
        left_out = next(qubit for qubit in range(len(qubits)) if qubit not in qubits)
        hint = "Number the qubits that are joined 0…N−1."
        raise ValueError(must_be("pairs", "pairs of the qubits 0…N−1", f"no {left_out}", hint))
    return _colored(len(qubits), edge_colors(edges), n_layers)


def _edge(pair: tuple[int, int]) -> tuple[int, int]:
    expected = "pairs of two different qubit numbers of at least 0"
    try:
        a, b = (operator.index(qubit) for qubit in pair)
    except (TypeError, ValueError) as error:
        raise TypeError(must_be("pairs", expected, repr(pair))) from error
    if any(isinstance(qubit, bool) for qubit in pair):
        raise TypeError(must_be("pairs", expected, repr(pair)))
    if a == b or min(a, b) < 0:
        raise ValueError(must_be("pairs", expected, repr(pair)))
    return a, b


def _colored(n_qubits: int, colors: list[list[tuple[int, int]]], n_layers: int) -> Circuit:
    builder = _start(n_qubits, n_layers)
    for layer in range(n_layers):
        _on_all(builder, "ry")
        _on_all(builder, "rz")
        for pair in colors[layer % len(colors)] if colors else ():
            builder.add("cz", *pair)
    _on_all(builder, "ry")
    return builder.build()


def product(*circuits: Circuit) -> Circuit:
    """Independent circuits side by side: the "distributed ansatz".

    Args:
        *circuits: At least one; the first holds the most significant qubits.

    Returns:
        A circuit on all their qubits, with all their angles in the same order.

    Raises:
        ValueError: No circuit given.

    Source:
        Ours; the same idea as the distributed Quantum-Train papers.

    Example:
        >>> both = product(ry_cx_chain(2, 1), ry_cx_chain(3, 1))
        >>> both.n_qubits, both.n_angles
        (5, 5)
    """
    if not circuits:
        raise ValueError(must_be("circuits", "at least one circuit", "none"))
    gates: list[Gate] = []
    qubits = angles = 0
    for circuit in circuits:
        for gate in circuit.gates:
            moved = tuple(qubit + qubits for qubit in gate.qubits)
            own = tuple(index + angles for index in gate.angles)
            gates.append(Gate(gate.name, moved, own, gate.matrix))
        qubits += circuit.n_qubits
        angles += circuit.n_angles
    return Circuit(qubits, tuple(gates), angles)


#: Command-line name -> ansatz.
ANSATZE: dict[str, Callable[[int, int], Circuit]] = {
    "u3-cu3-ring": u3_cu3_ring,
    "u3-cu3-chain": u3_cu3_chain,
    "ry-cx-chain": ry_cx_chain,
    "brickwork": brickwork,
    "hardware-efficient": hardware_efficient,
    "cz-chain": cz_chain,
    "grid": square_grid,
}
