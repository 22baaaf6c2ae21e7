"""Circuits of Qiskit. Its qubit k is qubit k here; its bit strings are written the other way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..circuits import Circuit
from ..errors import must_be
from ._imported import Assembly, ImportedCircuit
from ._linear import Linear, linear_form
from ._operations import Operation, inverse, moved, phase, power
from ._walk import by_name, of_matrix, refused, where

# Definitions of definitions, deeper than any of Qiskit's.
_MAX_DEPTH = 60
# With more controls, Qiskit's own decompositions have fewer gates.
_MAX_CONTROLS = 3


def read(source: Any) -> ImportedCircuit:
    """Read a ``qiskit.QuantumCircuit``; see :func:`import_circuit`.

    Args:
        source: The circuit. Its parameters, in the order of ``source.parameters``, are the inputs.

    Returns:
        The circuit; the qubit measured into classical bit k is number k of ``measured``.

    Raises:
        TypeError: It is another object of Qiskit.
        ValueError: It has control flow, delays, resets of used qubits, or angles that are not
            linear in the parameters.
    """
    if not hasattr(source, "data") or not hasattr(source, "num_qubits"):
        raise TypeError(must_be("source", "a qiskit.QuantumCircuit", type(source).__name__))
    inputs = {parameter.name: number for number, parameter in enumerate(source.parameters)}
    program = Assembly(source.num_qubits, inputs)
    _Walk(program).circuit(source, range(source.num_qubits), range(source.num_clbits), 0)
    return program.finish()


class _Walk:
    def __init__(self, program: Assembly) -> None:
        self.program = program

    def circuit(self, source: Any, qubits: Sequence[int], bits: Sequence[int], depth: int) -> None:
        """Append a circuit whose qubit k is ``qubits[k]``."""
        if depth > _MAX_DEPTH:
            raise refused("definitions within definitions without an end")
        place = {bit: qubits[number] for number, bit in enumerate(source.qubits)}
        slot = {bit: bits[number] for number, bit in enumerate(source.clbits)}
        for instruction in source.data:
            operation = instruction.operation
            own = [place[qubit] for qubit in instruction.qubits]
            name = operation.name
            if name == "measure":
                self.program.measure(own[0], slot[instruction.clbits[0]])
            elif name == "reset":
                self.program.reset(own[0])
            elif hasattr(operation, "blocks") or getattr(operation, "condition", None) is not None:
                raise refused(f"feedback ({name})", "Measure at the end.")
            elif name in ("delay", "store"):
                raise refused(f"timing or storage ({name})", "Take it out: it changes nothing.")
            elif name in ("barrier", "id", "snapshot") or hasattr(operation, "snapshot_type"):
                continue
            elif hasattr(operation, "control") or hasattr(operation, "modifiers"):
                for one in self.gate(operation, depth):
                    self.program.apply(moved(one, own))
            elif getattr(operation, "definition", None) is not None:
                own_bits = [slot[bit] for bit in instruction.clbits]
                self.circuit(operation.definition, own, own_bits, depth + 1)
            else:
                raise refused(f"the instruction {name}")

    def gate(self, gate: Any, depth: int) -> list[Operation]:
        """Return a gate's operations on the qubits 0, 1, …, phases included."""
        if depth > _MAX_DEPTH:
            raise refused("definitions within definitions without an end")
        n_qubits = gate.num_qubits
        if hasattr(gate, "modifiers"):
            return self.modified(gate, depth)
        if gate.name == "unitary" and _is_standard(gate):
            return of_matrix(gate.params[0], range(n_qubits)[::-1], gate.name)
        if gate.name == "global_phase" and _is_standard(gate):
            return [phase(self.linear(gate.params[0]))]
        n_controls = getattr(gate, "num_ctrl_qubits", 0)
        if not n_controls or gate.ctrl_state == 2**n_controls - 1:
            known = self.known(gate)
            if known is not None:
                return known
        if 0 < n_controls <= _MAX_CONTROLS:
            inner = self.gate(gate.base_gate, depth + 1)
            base = [moved(one, range(n_controls, n_qubits)) for one in inner]
            values = [gate.ctrl_state >> k & 1 for k in range(n_controls)]
            return where(base, range(n_controls), values)
        definition = gate.definition
        if definition is None:
            return of_matrix(gate.to_matrix(), range(n_qubits)[::-1], gate.name)
        found = [phase(self.linear(definition.global_phase))]
        place = {qubit: number for number, qubit in enumerate(definition.qubits)}
        for instruction in definition.data:
            if instruction.operation.name == "barrier":
                continue
            own = [place[qubit] for qubit in instruction.qubits]
            found += [moved(one, own) for one in self.gate(instruction.operation, depth + 1)]
        return found

    def known(self, gate: Any) -> list[Operation] | None:
        """Return the operations of a gate of Qiskit's library that has a name here."""
        if not _is_standard(gate):
            return None  # a user's own gate may have any name
        try:
            angles = [self.linear(value) for value in gate.params]
        except TypeError:
            return None
        return by_name(gate.name, angles, gate.num_qubits)

    def modified(self, gate: Any, depth: int) -> list[Operation]:
        """Return the operations of a gate with modifiers, such as a power or controls."""
        found = self.gate(gate.base_op, depth + 1)
        width = gate.base_op.num_qubits
        for modifier in gate.modifiers:
            if hasattr(modifier, "num_ctrl_qubits"):
                count = modifier.num_ctrl_qubits
                found = [moved(one, range(count, count + width)) for one in found]
                values = [modifier.ctrl_state >> k & 1 for k in range(count)]
                found = where(found, range(count), values)
                width += count
            elif hasattr(modifier, "power"):
                found = power(found, modifier.power)
            else:
                found = inverse(found)
        return found

    def linear(self, value: Any) -> Linear:
        """Return a parameter expression as a linear form of the inputs."""
        if not hasattr(value, "parameters"):
            return Linear(float(value))
        parameters = list(value.parameters)
        if not parameters:
            return Linear(float(value))

        def evaluate(values: Sequence[float]) -> float:
            return float(value.bind(dict(zip(parameters, values, strict=True))))

        numbers = [self.program.inputs[parameter.name] for parameter in parameters]
        return linear_form(evaluate, numbers, str(value))


def _is_standard(gate: Any) -> bool:
    """Whether a gate's class is of Qiskit's library."""
    module = getattr(gate, "base_class", type(gate)).__module__
    return str(module).startswith("qiskit.circuit.library")


def write(circuit: Circuit, values: Sequence[Any]) -> Any:
    """Return a ``qiskit.QuantumCircuit``; see :func:`export_circuit`.

    Args:
        circuit: The circuit, in gates that have a method in :data:`METHODS`.
        values: Its angles: numbers, or expressions of Qiskit's parameters.

    Returns:
        The circuit, without measurements.
    """
    from qiskit import QuantumCircuit

    made = QuantumCircuit(circuit.n_qubits)
    for gate in circuit.gates:
        angles = [values[index] for index in gate.angles]
        if gate.matrix is not None:
            made.unitary([list(row) for row in gate.matrix], list(gate.qubits)[::-1])
        elif gate.name == "cu3":
            made.cu(*angles, 0, *gate.qubits)
        else:
            getattr(made, METHODS.get(gate.name, gate.name))(*angles, *gate.qubits)
    return made


#: Gate -> method of ``QuantumCircuit``, where the names differ.
METHODS = {"si": "sdg", "ti": "tdg", "u1": "p", "u3": "u"}


def symbol(name: str) -> Any:
    """Return a parameter of Qiskit."""
    from qiskit.circuit import Parameter

    return Parameter(name)
