"""The ansätze: functions from ``(n_qubits, n_layers)`` to a :class:`Circuit`.

Each layer's angles are numbered gate by gate in the order of application.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import must_be, positive_int
from ._circuit import Circuit, CircuitBuilder, Gate

__all__ = [
    "ANSATZE",
    "brickwork",
    "hardware_efficient",
    "product",
    "ry_cx_chain",
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
    """Even pairs (0,1), (2,3), …, then odd pairs (1,2), (3,4), …."""
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
    """The ring without its closing gate: what a matrix product state likes best.

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
            gates.append(Gate(gate.name, moved, tuple(index + angles for index in gate.angles)))
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
}
