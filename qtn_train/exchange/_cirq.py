"""Circuits of Cirq. Its sorted qubits are qubits 0, 1, … here, as Cirq itself orders them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import pi
from typing import Any

import numpy as np

from ..circuits import Circuit
from ..errors import must_be
from ._imported import Assembly, ImportedCircuit
from ._linear import Linear, linear_form
from ._operations import Operation, moved, phase
from ._walk import of_matrix, refused, where

_MAX_DEPTH = 60


def read(source: Any) -> ImportedCircuit:
    """Read a ``cirq.Circuit``; see :func:`import_circuit`.

    Args:
        source: The circuit, frozen or not. Its symbols, sorted by name, are the inputs.

    Returns:
        The circuit; ``measured`` lists the qubits in the order of the measurements.

    Raises:
        TypeError: It is another object of Cirq.
        ValueError: It has feedback, noise, qudits, resets of used qubits, or angles that are not
            linear in the symbols.
    """
    import cirq

    if not isinstance(source, cirq.AbstractCircuit):
        raise TypeError(must_be("source", "a cirq.Circuit", type(source).__name__))
    qubits = sorted(source.all_qubits())
    if any(qubit.dimension != 2 for qubit in qubits):
        raise refused("qudits")
    inputs = {name: number for number, name in enumerate(sorted(cirq.parameter_names(source)))}
    program = Assembly(len(qubits), inputs)
    place = {qubit: number for number, qubit in enumerate(qubits)}
    walk = _Walk(program)
    for operation in source.all_operations():
        walk.append(operation, place)
    return program.finish()


class _Walk:
    def __init__(self, program: Assembly) -> None:
        import cirq

        self.cirq = cirq
        self.program = program

    def append(self, operation: Any, place: dict[Any, int]) -> None:
        """Append one operation of the circuit."""
        cirq, gate = self.cirq, operation.untagged.gate
        own = [place[qubit] for qubit in operation.qubits]
        if isinstance(operation.untagged, cirq.ClassicallyControlledOperation):
            raise refused("feedback (a classical control)", "Measure at the end.")
        if isinstance(gate, cirq.MeasurementGate):
            if any(gate.full_invert_mask()) or gate.confusion_map:
                raise refused("a measurement that changes its result")
            for qubit in own:
                self.program.measure(qubit, len(self.program.measured))
        elif isinstance(gate, cirq.ResetChannel):
            self.program.reset(own[0])
        elif isinstance(operation.untagged, cirq.CircuitOperation):
            for inner in operation.untagged.mapped_circuit(deep=True).all_operations():
                self.append(inner, place)
        elif isinstance(gate, cirq.WaitGate):
            raise refused("timing (wait)", "Take it out: it changes nothing.")
        else:
            local = {qubit: number for number, qubit in enumerate(operation.qubits)}
            for one in self.gate(operation.untagged, local, 0):
                self.program.apply(moved(one, own))

    def gate(self, operation: Any, local: dict[Any, int], depth: int) -> list[Operation]:
        """Return an operation's gates on the qubits 0, 1, …, phases included."""
        cirq = self.cirq
        if depth > _MAX_DEPTH:
            raise refused("decompositions without an end")
        own = tuple(local[qubit] for qubit in operation.qubits)
        gate = operation.gate
        if isinstance(operation, cirq.ControlledOperation) or isinstance(gate, cirq.ControlledGate):
            return self.controlled(operation, local, depth)
        if isinstance(gate, cirq.IdentityGate):
            return []
        if isinstance(gate, cirq.GlobalPhaseGate):
            return self.phase_of(gate)
        for kind, method in self.kinds():
            if isinstance(gate, kind):
                return [moved(one, own) for one in method(gate)]
        if not cirq.is_parameterized(operation) and isinstance(gate, cirq.MatrixGate):
            return of_matrix(cirq.unitary(gate), own, "a matrix")
        parts = cirq.decompose_once(operation, default=None)
        if parts is not None:
            flat = list(cirq.flatten_op_tree(parts))
            if all(set(part.qubits) <= set(local) for part in flat):
                return [g for part in flat for g in self.gate(part.untagged, local, depth + 1)]
        matrix = cirq.unitary(operation, default=None)
        if matrix is None:
            raise refused(f"{operation} (not unitary, or not known)")
        return of_matrix(matrix, own, str(gate))

    def phase_of(self, gate: Any) -> list[Operation]:
        """Return a global phase, as an operation."""
        from cmath import phase as argument

        if self.cirq.is_parameterized(gate):
            raise refused("a global phase that depends on a symbol")
        return [phase(Linear(argument(complex(gate.coefficient))))]

    def controlled(self, operation: Any, local: dict[Any, int], depth: int) -> list[Operation]:
        """Return the operations of a gate with controls."""
        cirq = self.cirq
        if isinstance(operation, cirq.ControlledOperation):
            inner, controls, values = (
                operation.sub_operation,
                operation.controls,
                operation.control_values,
            )
        else:
            gate = operation.gate
            count = gate.num_controls()
            inner = gate.sub_gate.on(*operation.qubits[count:])
            controls, values = operation.qubits[:count], gate.control_values
        parts = self.gate(inner.untagged, local, depth + 1)
        places = [local[qubit] for qubit in controls]
        options = sorted(values.expand())
        return [one for option in options for one in where(parts, places, option)]

    def kinds(self) -> list[tuple[Any, Callable[[Any], list[Operation]]]]:
        """Return the gate classes that can be read, each with what gives a gate's operations."""
        cirq = self.cirq
        return [
            (cirq.CXPowGate, lambda g: self.power(g, "x", (0, 1), 1)),
            (cirq.CZPowGate, lambda g: self.power(g, "z", (0, 1), 1)),
            (cirq.CCXPowGate, lambda g: self.power(g, "x", (0, 1, 2), 2)),
            (cirq.CCZPowGate, lambda g: self.power(g, "z", (0, 1, 2), 2)),
            (cirq.XPowGate, lambda g: self.power(g, "x", (0,), 0)),
            (cirq.YPowGate, lambda g: self.power(g, "y", (0,), 0)),
            (cirq.ZPowGate, lambda g: self.power(g, "z", (0,), 0)),
            (cirq.HPowGate, lambda g: self.power(g, "h", (0,), 0)),
            (cirq.PhasedXPowGate, self.phased_x),
            (cirq.PhasedXZGate, self.phased_xz),
            (cirq.XXPowGate, lambda g: self.pair(g, "rxx")),
            (cirq.YYPowGate, lambda g: self.pair(g, "ryy")),
            (cirq.ZZPowGate, lambda g: self.pair(g, "rzz")),
            (cirq.SwapPowGate, self.swap),
            (cirq.ISwapPowGate, self.iswap),
            (cirq.FSimGate, self.fsim),
            (cirq.CSwapGate, lambda g: [Operation("cswap", (0, 1, 2))]),
        ]

    def power(self, gate: Any, name: str, qubits: tuple[int, ...], n: int) -> list[Operation]:
        """Return P^t for a Pauli matrix or H: its eigenvalues are e^{iπt·s} and e^{iπt·(1+s)}."""
        exponent = self.linear(gate.exponent)
        target = qubits[-1:]
        shift = float(gate.global_shift)
        base: list[Operation]
        if shift == 0 and exponent == Linear(1.0):
            base = [Operation(name, target)]
        elif shift == -0.5 and name != "h":
            base = [Operation(f"r{name}", target, (exponent.times(pi),))]
            return where(base, qubits[:n], [1] * n) if n else base
        elif name == "h":
            turn = (Linear(pi / 4),)
            undo = (Linear(-pi / 4),)
            turned = Operation("p", target, (exponent.times(pi),))
            base = [Operation("ry", target, undo), turned, Operation("ry", target, turn)]
        else:
            turned = Operation("p", target, (exponent.times(pi),))
            before, after = _TO_Z[name]
            base = [
                *(Operation(one, target) for one in before),
                turned,
                *(Operation(one, target) for one in after),
            ]
        found = where(base, qubits[:n], [1] * n) if n else base
        return [*found, phase(exponent.times(pi * shift))] if shift else found

    def phased_x(self, gate: Any) -> list[Operation]:
        """Return Z^p·X^t·Z^−p."""
        turn = self.linear(gate.phase_exponent).times(pi)
        exponent = self.linear(gate.exponent)
        middle = Operation("rx", (0,), (exponent.times(pi),))
        return [
            Operation("rz", (0,), (turn.times(-1.0),)),
            middle,
            Operation("rz", (0,), (turn,)),
            phase(exponent.times(pi * (0.5 + float(gate.global_shift)))),
        ]

    def phased_xz(self, gate: Any) -> list[Operation]:
        """Return Z^z·Z^a·X^x·Z^−a."""
        x, z, a = (
            self.linear(value).times(pi)
            for value in (gate.x_exponent, gate.z_exponent, gate.axis_phase_exponent)
        )
        return [
            Operation("rz", (0,), (a.times(-1.0),)),
            Operation("rx", (0,), (x,)),
            Operation("rz", (0,), (a,)),
            Operation("p", (0,), (z,)),
            phase(x.times(0.5)),
        ]

    def pair(self, gate: Any, name: str) -> list[Operation]:
        """Return (P⊗P)^t."""
        exponent = self.linear(gate.exponent)
        shift = pi * (0.5 + float(gate.global_shift))
        return [Operation(name, (0, 1), (exponent.times(pi),)), phase(exponent.times(shift))]

    def swap(self, gate: Any) -> list[Operation]:
        exponent = self.linear(gate.exponent)
        if exponent == Linear(1.0) and not gate.global_shift:
            return [Operation("swap", (0, 1))]
        half = exponent.times(pi / 2)
        turns = [Operation(name, (0, 1), (half,)) for name in ("rxx", "ryy", "rzz")]
        shift = pi * (0.25 + float(gate.global_shift))
        return [*turns, phase(exponent.times(shift))]

    def iswap(self, gate: Any) -> list[Operation]:
        exponent = self.linear(gate.exponent)
        if exponent == Linear(1.0) and not gate.global_shift:
            return [Operation("iswap", (0, 1))]
        half = (exponent.times(-pi / 2),)
        turns = [Operation(name, (0, 1), half) for name in ("rxx", "ryy")]
        return [*turns, phase(exponent.times(pi * float(gate.global_shift)))]

    def fsim(self, gate: Any) -> list[Operation]:
        theta, phi = (self.linear(value) for value in (gate.theta, gate.phi))
        turns = [Operation(name, (0, 1), (theta,)) for name in ("rxx", "ryy")]
        return [*turns, Operation("cp", (0, 1), (phi.times(-1.0),))]

    def linear(self, value: Any) -> Linear:
        """Return a number or an expression of symbols as a linear form of the inputs."""
        names = sorted(self.cirq.parameter_names(value))
        if not names:
            return Linear(float(value))

        def evaluate(values: Sequence[float]) -> float:
            return float(self.cirq.resolve_parameters(value, dict(zip(names, values, strict=True))))

        return linear_form(evaluate, [self.program.inputs[name] for name in names], str(value))


#: Pauli matrix -> gates before and after a phase that make it one about its axis.
_TO_Z = {"z": ((), ()), "x": (("h",), ("h",)), "y": (("si", "h"), ("h", "s"))}


def write(circuit: Circuit, values: Sequence[Any]) -> Any:
    """Return a ``cirq.Circuit`` on ``LineQubit(0…N−1)``; see :func:`export_circuit`.

    Args:
        circuit: The circuit.
        values: Its angles: numbers, or expressions of sympy's symbols.

    Returns:
        The circuit, without measurements; qubits without a gate get an identity.
    """
    import cirq

    qubits = cirq.LineQubit.range(circuit.n_qubits)
    makers = _makers(cirq)
    made = cirq.Circuit()
    touched: set[int] = set()
    for gate in circuit.gates:
        on = [qubits[qubit] for qubit in gate.qubits]
        if gate.matrix is not None:
            made.append(cirq.MatrixGate(np.array(gate.matrix)).on(*on))
        else:
            made.append(makers[gate.name](*(values[k] for k in gate.angles)).on(*on))
        touched.update(gate.qubits)
    idle = set(range(circuit.n_qubits)) - touched
    made.append(cirq.I(qubits[qubit]) for qubit in sorted(idle))
    return made


def _makers(cirq: Any) -> dict[str, Callable[..., Any]]:
    fixed = {
        **{"h": cirq.H, "x": cirq.X, "y": cirq.Y, "z": cirq.Z, "s": cirq.S, "si": cirq.S**-1},
        **{"t": cirq.T, "ti": cirq.T**-1, "sx": cirq.X**0.5, "sxdg": cirq.X**-0.5},
        **{"sy": cirq.Y**0.5, "cx": cirq.CX, "cz": cirq.CZ, "swap": cirq.SWAP},
        **{"cy": cirq.Y.controlled(), "ch": cirq.H.controlled(), "iswap": cirq.ISWAP},
        **{"ccx": cirq.CCX, "cswap": cirq.CSWAP},
    }
    turns: dict[str, Callable[..., Any]] = {
        "rx": lambda a: cirq.rx(a),
        "ry": lambda a: cirq.ry(a),
        "rz": lambda a: cirq.rz(a),
        "p": lambda a: cirq.ZPowGate(exponent=a / pi),
        "u1": lambda a: cirq.ZPowGate(exponent=a / pi),
        "cp": lambda a: cirq.CZPowGate(exponent=a / pi),
        "crx": lambda a: cirq.rx(a).controlled(),
        "cry": lambda a: cirq.ry(a).controlled(),
        "crz": lambda a: cirq.rz(a).controlled(),
        "rxx": lambda a: cirq.XXPowGate(exponent=a / pi, global_shift=-0.5),
        "ryy": lambda a: cirq.YYPowGate(exponent=a / pi, global_shift=-0.5),
        "rzz": lambda a: cirq.ZZPowGate(exponent=a / pi, global_shift=-0.5),
    }
    return {**{name: (lambda gate=gate: gate) for name, gate in fixed.items()}, **turns}


def symbol(name: str) -> Any:
    """Return a symbol of sympy."""
    import sympy

    return sympy.Symbol(name)
