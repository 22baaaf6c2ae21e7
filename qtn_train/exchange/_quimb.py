"""Circuits of quimb. Its qubit k is qubit k here, and its first qubit most significant, as here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..circuits import Circuit, gate_matrix
from ..errors import must_be
from ._imported import Assembly, ImportedCircuit, constants
from ._operations import Operation
from ._walk import by_name, of_matrix, where


def read(source: Any) -> ImportedCircuit:
    """Read a quimb ``Circuit``; see :func:`import_circuit`.

    Args:
        source: The circuit: ``Circuit``, ``CircuitMPS`` or another of quimb's.

    Returns:
        The circuit; its angles are numbers, so it has no inputs.

    Raises:
        TypeError: It is another object of quimb.
        ValueError: A gate is not unitary, or has too many qubits.
    """
    if not hasattr(source, "gates") or not hasattr(source, "N"):
        raise TypeError(must_be("source", "a quimb Circuit", type(source).__name__))
    program = Assembly(source.N)
    for gate in source.gates:
        for one in _gate(gate):
            program.apply(one)
    return program.finish()


def _gate(gate: Any) -> list[Operation]:
    qubits = tuple(int(qubit) for qubit in gate.qubits)
    controls = tuple(int(qubit) for qubit in gate.controls or ())
    label = str(gate.label).lower()
    if label in ("iden", "id", "i"):
        return []
    found = None
    if label in _SAME and all(np.isrealobj(value) for value in gate.params):
        found = by_name(label, constants(np.real(gate.params).tolist()), len(qubits))
    if found is None:
        size = 2 ** len(qubits)
        matrix = np.asarray(gate.array).reshape(size, size)
        return where(of_matrix(matrix, qubits, str(gate.label)), controls, [1] * len(controls))
    placed = [one._replace(qubits=tuple(qubits[q] for q in one.qubits)) for one in found]
    return where(placed, controls, [1] * len(controls))


#: Labels that mean in quimb what they mean here; all others are read as their matrices.
_SAME = {
    *("h", "x", "y", "z", "s", "sdg", "t", "tdg", "sx", "sxdg", "rx", "ry", "rz", "u1", "u2"),
    *("u3", "cx", "cnot", "cy", "cz", "swap", "iswap", "cu1", "cu3", "rxx", "ryy", "rzz"),
    *("crx", "cry", "crz", "ccx", "toffoli", "cswap", "fredkin"),
}


def write(circuit: Circuit, values: Sequence[Any]) -> Any:
    """Return a ``quimb.tensor.Circuit``; see :func:`export_circuit`.

    Args:
        circuit: The circuit.
        values: Its angles, numbers.

    Returns:
        The circuit; every gate stands in it as its matrix.
    """
    import quimb.tensor as qtn

    made = qtn.Circuit(circuit.n_qubits)
    for gate in circuit.gates:
        angles = tuple(float(values[index]) for index in gate.angles)
        dense = np.array(gate.matrix) if gate.matrix else gate_matrix(gate.name, angles)
        made.apply_gate_raw(dense, gate.qubits)
    return made
