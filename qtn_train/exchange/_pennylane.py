"""Circuits of PennyLane: tapes and QNodes. Its first wire is qubit 0, most significant, as here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..circuits import Circuit
from ..errors import must_be
from ._imported import Assembly, ImportedCircuit, constants
from ._linear import Linear, linear_form
from ._operations import Operation, controlled, inverse, named, phase, power
from ._walk import of_matrix, refused, where

_MAX_DEPTH = 60

#: Name in PennyLane -> name here; same order of angles and wires.
NAMES = {
    **{"Hadamard": "h", "PauliX": "x", "PauliY": "y", "PauliZ": "z", "S": "s", "T": "t"},
    **{"SX": "sx", "RX": "rx", "RY": "ry", "RZ": "rz", "PhaseShift": "p", "U1": "u1"},
    **{"U2": "u2", "U3": "u3", "CNOT": "cx", "CY": "cy", "CZ": "cz", "CH": "ch"},
    **{"SWAP": "swap", "ISWAP": "iswap", "ControlledPhaseShift": "cp", "CRX": "crx"},
    **{"CRY": "cry", "CRZ": "crz", "IsingXX": "rxx", "IsingYY": "ryy", "IsingZZ": "rzz"},
    **{"Toffoli": "ccx", "CSWAP": "cswap"},
}
_IDLE = {"Identity", "Barrier", "WireCut", "Snapshot"}


def read(source: Any, *arguments: Any) -> ImportedCircuit:
    """Read a tape or a QNode of PennyLane; see :func:`import_circuit`.

    Args:
        source: A ``QuantumScript``, whose trainable parameters are the inputs ``p0``, ``p1``, …;
            or a QNode.
        *arguments: What a QNode is called with. Each number in them is an input, named after the
            QNode's argument: ``x``, ``theta[0]``, ``theta[1,2]``.

    Returns:
        The circuit; ``measured`` are the wires of its first measurement of probabilities, samples
        or counts, in their order.

    Raises:
        TypeError: It is another object of PennyLane.
        ValueError: It has measurements inside, or gates that change with the inputs' values in
            another way than linearly.
    """
    if hasattr(source, "operations") and hasattr(source, "bind_new_parameters"):
        if arguments:
            raise TypeError(must_be("arguments", "left out for a tape", arguments))
        names, build = _of_tape(source)
        order = None
    elif hasattr(source, "func") and hasattr(source, "device"):
        names, build = _of_qnode(source, arguments)
        order = source.device.wires
    else:
        raise TypeError(must_be("source", "a tape or a QNode", type(source).__name__))
    return _traced(names, build, order)


def _of_tape(tape: Any) -> tuple[list[str], Callable[[Sequence[float]], Any]]:
    # Matrices are trainable to PennyLane where nobody says otherwise; to a circuit they are data.
    pairs = zip(tape.trainable_params, map(np.asarray, tape.get_parameters()), strict=True)
    real = [(number, value) for number, value in pairs if np.isrealobj(value) and value.ndim < 2]
    trainable, values = [number for number, _ in real], [value for _, value in real]
    names = [
        f"p{number}{_suffix(index)}"
        for number, value in enumerate(values)
        for index in np.ndindex(value.shape)
    ]

    def build(flat: Sequence[float]) -> Any:
        return tape.bind_new_parameters(_shaped(flat, values), trainable)

    return names, build


def _of_qnode(qnode: Any, arguments: tuple[Any, ...]) -> Any:
    import inspect

    import pennylane as qml

    given = [np.asarray(value, dtype=np.float64) for value in arguments]
    words = [*inspect.signature(qnode.func).parameters]
    if len(words) < len(given):
        words += [f"argument{k}" for k in range(len(words), len(given))]
    names = [
        word + _suffix(index)
        for word, value in zip(words, given, strict=False)
        for index in np.ndindex(value.shape)
    ]
    construct = qml.workflow.construct_tape(qnode, level="top")

    def build(flat: Sequence[float]) -> Any:
        shaped = _shaped(flat, given)
        return construct(*(value if value.shape else float(value) for value in shaped))

    return names, build


def _suffix(index: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, index))}]" if index else ""


def _shaped(flat: Sequence[float], like: Sequence[Any]) -> list[Any]:
    shaped, first = [], 0
    for value in like:
        part = np.array(flat[first : first + value.size], dtype=np.float64)
        shaped.append(part.reshape(value.shape))
        first += value.size
    return shaped


def _traced(
    names: list[str], build: Callable[[Sequence[float]], Any], order: Any
) -> ImportedCircuit:
    """Build the tape at a few inputs, and return the linear form of each angle."""
    kept: dict[tuple[float, ...], list[Operation]] = {}
    point = tuple(0.4142135 + 0.1 * number for number in range(len(names)))
    tape = build(point)
    wires = _wires(tape, order)
    place = {wire: number for number, wire in enumerate(wires)}

    def operations(values: Sequence[float]) -> list[Operation]:
        key = tuple(values)
        if key not in kept:
            kept[key] = [one for op in build(key).operations for one in _gates(op, place, 0)]
            shape = [(one.name, one.qubits, one.matrix) for one in kept[key]]
            if shape != [(one.name, one.qubits, one.matrix) for one in kept[point]]:
                raise refused("gates that depend on the inputs in another way than by their angles")
        return kept[key]

    kept[point] = [one for op in tape.operations for one in _gates(op, place, 0)]
    program = Assembly(len(wires), {name: number for number, name in enumerate(names)})
    numbers = range(len(names))
    for which, plain in enumerate(kept[point]):
        one = plain
        for k in range(len(one.angles) if names else 0):

            def evaluate(values: Sequence[float], which: int = which, k: int = k) -> float:
                return operations(values)[which].angles[k].constant

            form = linear_form(evaluate, numbers, one.name)
            one = one._replace(angles=(*one.angles[:k], form, *one.angles[k + 1 :]))
        program.apply(one)
    for bit, wire in enumerate(_measured(tape)):
        program.measure(place[wire], bit)
    return program.finish()


def _wires(tape: Any, order: Any) -> list[Any]:
    if order is not None and len(order):
        return list(order)
    wires = list(tape.wires)
    return sorted(wires) if all(isinstance(wire, int) for wire in wires) else wires


def _measured(tape: Any) -> list[Any]:
    for measurement in tape.measurements:
        kind = type(measurement).__name__
        if kind in ("ProbabilityMP", "SampleMP", "CountsMP") and measurement.obs is None:
            return list(measurement.wires)
    return []


def _gates(op: Any, place: dict[Any, int], depth: int) -> list[Operation]:
    """Return an operator's gates, phases included."""
    if depth > _MAX_DEPTH:
        raise refused("decompositions without an end")
    name = op.name
    qubits = tuple(place[wire] for wire in op.wires)
    if name in _IDLE:
        return []
    if name in NAMES:
        one = named(NAMES[name], qubits, constants(op.parameters))
        assert one is not None  # names and arities are those of the table
        return [one]
    if name in ("Rot", "CRot"):
        phi, theta, omega = constants(op.parameters)
        turns = (("rz", phi), ("ry", theta), ("rz", omega))
        found = [Operation(kind, qubits[-1:], (angle,)) for kind, angle in turns]
        return controlled(found, qubits[:-1])
    if name == "GlobalPhase":
        return [phase(Linear(-float(op.parameters[0])))]
    if name == "QubitUnitary":
        return of_matrix(op.parameters[0], qubits, name)
    if name in ("MidMeasureMP", "MidMeasure") or type(op).__name__ == "Conditional":
        raise refused(f"feedback ({type(op).__name__})", "Measure at the end.")
    if hasattr(op, "control_wires") and hasattr(op, "base") and len(op.control_wires):
        controls = [place[wire] for wire in op.control_wires]
        inner = _gates(op.base, place, depth + 1)
        return where(inner, controls, [bool(value) for value in op.control_values])
    if hasattr(op, "base") and name.startswith("Adjoint("):
        return inverse(_gates(op.base, place, depth + 1))
    if hasattr(op, "base") and hasattr(op, "z"):
        return power(_gates(op.base, place, depth + 1), float(op.z))
    if op.has_decomposition:
        return [one for part in op.decomposition() for one in _gates(part, place, depth + 1)]
    if op.has_matrix:
        return of_matrix(op.matrix(), qubits, name)
    raise refused(f"the operator {name}")


#: Name here -> name in PennyLane, for what it has under one name.
_CLASSES = {ours: theirs for theirs, ours in NAMES.items()}


def write(circuit: Circuit, values: Sequence[Any]) -> Any:
    """Return a ``QuantumScript`` on the wires 0…N−1 that ends with all probabilities.

    Args:
        circuit: The circuit.
        values: Its angles: numbers or tensors of PennyLane.

    Returns:
        The tape.
    """
    import pennylane as qml

    operations = [operation(gate, [values[k] for k in gate.angles]) for gate in circuit.gates]
    measurement = qml.probs(wires=range(circuit.n_qubits))
    return qml.tape.QuantumScript(operations, [measurement])


def operation(gate: Any, angles: Sequence[Any]) -> Any:
    """Return PennyLane's operator of a gate."""
    import pennylane as qml

    if gate.matrix is not None:
        return qml.QubitUnitary(np.array(gate.matrix), wires=gate.qubits)
    if gate.name in _CLASSES:
        return getattr(qml, _CLASSES[gate.name])(*angles, wires=list(gate.qubits))
    if gate.name == "cu3":
        return qml.ctrl(qml.U3(*angles, wires=gate.qubits[1]), control=gate.qubits[0])
    base = {"si": qml.S, "ti": qml.T, "sxdg": qml.SX}[gate.name]
    return qml.adjoint(base(wires=gate.qubits[0]))
