"""Circuits of Amazon Braket, which writes OpenQASM 3 in a dialect that the reader knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..circuits import Circuit
from ..errors import must_be
from ._imported import ImportedCircuit
from ._read import read as read_text


def read(source: Any) -> ImportedCircuit:
    """Read a ``braket.circuits.Circuit``; see :func:`import_circuit`.

    Args:
        source: The circuit. Its free parameters, sorted by name, are the inputs.

    Returns:
        The circuit; without a measurement of its own, Braket measures all qubits, in order.

    Raises:
        TypeError: It is another object of Braket.
        ValueError: It has noise, pulses, or angles that are not linear in its parameters.
    """
    if not hasattr(source, "to_ir") or not hasattr(source, "instructions"):
        raise TypeError(must_be("source", "a braket.circuits.Circuit", type(source).__name__))
    if not source.instructions:
        raise ValueError(must_be("source", "a circuit with gates", "none"))
    text = source.to_ir("OPENQASM").source
    # Braket writes its inputs in an order that changes from run to run.
    lines = text.split("\n")
    inputs = sorted(line for line in lines if line.startswith("input "))
    rest = iter(inputs)
    return read_text("\n".join(next(rest) if ln.startswith("input ") else ln for ln in lines))


#: Gate -> method of Braket's ``Circuit``, where the names differ.
METHODS = {
    **{"sx": "v", "sxdg": "vi", "p": "phaseshift", "u1": "phaseshift", "u3": "u", "cx": "cnot"},
    **{"cp": "cphaseshift", "rxx": "xx", "ryy": "yy", "rzz": "zz", "ccx": "ccnot"},
}


def write(circuit: Circuit, values: Sequence[Any]) -> Any:
    """Return a ``braket.circuits.Circuit`` on the qubits 0…N−1; see :func:`export_circuit`.

    Args:
        circuit: The circuit, in gates of :data:`METHODS` or of the same name.
        values: Its angles: numbers, or expressions of free parameters.

    Returns:
        The circuit, without measurements; qubits without a gate get an identity.
    """
    from braket.circuits import Circuit as BraketCircuit

    made = BraketCircuit()
    for gate in circuit.gates:
        if gate.matrix is not None:
            import numpy as np

            made.unitary(matrix=np.array(gate.matrix), targets=list(gate.qubits))
        else:
            angles = [values[index] for index in gate.angles]
            getattr(made, METHODS.get(gate.name, gate.name))(*gate.qubits, *angles)
    touched = {qubit for gate in circuit.gates for qubit in gate.qubits}
    for qubit in sorted(set(range(circuit.n_qubits)) - touched):
        made.i(qubit)
    return made


def symbol(name: str) -> Any:
    """Return a free parameter of Braket."""
    from braket.circuits import FreeParameter

    return FreeParameter(name)
