"""The way out: OpenQASM text, or another package's object, parametric where it can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from ..circuits import Circuit, Lowered
from ..circuits._gate import UNITARY
from ..circuits._lowering import GATE_RULES, Affine, Rules, Step, flat
from ..errors import must_be

ExportFormat = Literal["openqasm3", "openqasm2", "qiskit", "pennylane", "cirq", "braket", "quimb"]
_FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)

_HALF_PI = 1.5707963267948966
#: The gate table's own rules, one for ``swap``, and ``u2`` as one U3.
_RULES: Rules = {
    **GATE_RULES,
    "swap": (Step("cx", (0, 1)), Step("cx", (1, 0)), Step("cx", (0, 1))),
    "u2": (Step("u3", (0,), (Affine((), _HALF_PI), Affine((1.0, 0.0)), Affine((0.0, 1.0)))),),
}
#: Target -> gates that it does not have: they are written as simpler ones.
_LACKS: dict[str, set[str]] = {
    "openqasm3": {"sxdg", "sy", "iswap", "rxx", "ryy", "rzz", UNITARY},
    "openqasm2": {
        *("sx", "sxdg", "sy", "p", "iswap", "cp", "crx", "cry", "cu3", "rxx", "ryy", "rzz"),
        *("swap", "cswap", UNITARY),
    },
    "qiskit": {"sy", "u2"},
    "pennylane": {"sy"},
    "cirq": {"u2", "u3", "cu3"},
    "braket": {"sy", "u2", "ch", "crx", "cry", "crz", "cu3"},
    "quimb": set(),
}
#: Gate -> its name in OpenQASM, where they differ.
_WRITTEN = {"si": "sdg", "ti": "tdg"}


def export_circuit(
    circuit: Circuit, angles: ArrayLike | None = None, to: ExportFormat = "openqasm3"
) -> Any:
    """Write a circuit as text or as another package's object.

    Args:
        circuit: The circuit.
        angles: Its angles in radians; without them the result is parametric, its inputs named
            ``p0000``, ``p0001``, …: not with ``"openqasm2"`` and ``"quimb"``, which have none.
        to: The target. Text ends with the measurement of all qubits. ``"pennylane"`` without
            angles gives a function of them that applies the gates, for a QNode.

    Returns:
        Text, or an object of that package, the same unitary up to a global phase.

    Raises:
        ImportError: The package is not installed.
        ValueError: Another target, angles of another shape or not finite, or none where they are
            needed.

    Example:
        >>> print(export_circuit(Circuit.builder(1).rx(0).build()))
        OPENQASM 3.0;
        include "stdgates.inc";
        input float p0000;
        bit[1] c;
        qubit[1] q;
        rx(p0000) q[0];
        c = measure q;
        <BLANKLINE>
    """
    if to not in _FORMATS:
        raise ValueError(must_be("to", f"one of {', '.join(_FORMATS)}", repr(to)))
    given = None if angles is None else circuit.check_angles(angles)
    if given is not None and not np.isfinite(given).all():
        raise ValueError(must_be("angles", "finite", given[~np.isfinite(given)][0]))
    if given is None and to in ("openqasm2", "quimb"):
        if circuit.n_angles:
            hint = "Take openqasm3 for a program with inputs." if to == "openqasm2" else ""
            raise ValueError(must_be("angles", f"given for {to!r}", "None", hint))
        given = np.zeros(0)
    lowered = circuit.lower(flat({name: _RULES[name] for name in _LACKS[to]}))
    if to == "openqasm3":
        return _version_3(lowered, given)
    if to == "openqasm2":
        assert given is not None  # checked above
        return _version_2(lowered.circuit, [repr(v) for v in lowered.angles(given).tolist()])
    module = import_module(f"._{to}", __package__)
    if given is not None:
        return module.write(lowered.circuit, lowered.angles(given).tolist())
    if to == "pennylane":
        return _quantum_function(lowered, module.operation)
    symbols = [module.symbol(name) for name in _names(circuit.n_angles)]
    return module.write(lowered.circuit, _expressions(lowered, symbols))


def _names(count: int) -> list[str]:
    return [f"p{number:04d}" for number in range(count)]


def _expressions(lowered: Lowered, symbols: Sequence[Any]) -> list[Any]:
    """Return ``A @ symbols + b`` in the symbols' own arithmetic."""
    values: list[Any] = []
    matrix = lowered.A
    for row, constant in enumerate(lowered.b.tolist()):
        value: Any = None
        for place in range(matrix.indptr[row], matrix.indptr[row + 1]):
            factor = float(matrix.data[place])
            term = symbols[matrix.indices[place]]
            term = term if factor == 1 else term * factor
            value = term if value is None else value + term
        values.append(constant if value is None else value + constant if constant else value)
    return values


def _quantum_function(lowered: Lowered, operation: Callable[..., Any]) -> Callable[[Any], None]:
    def apply(angles: Any) -> None:
        values = _expressions(lowered, [angles[k] for k in range(lowered.A.shape[1])])
        for gate in lowered.circuit.gates:
            operation(gate, [values[index] for index in gate.angles])

    apply.__doc__ = "Apply the exported circuit's gates inside a QNode."
    return apply


def _version_3(lowered: Lowered, given: Any) -> str:
    circuit, n_inputs = lowered.circuit, lowered.A.shape[1]
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";']
    if given is not None:
        values = [repr(value) for value in lowered.angles(given).tolist()]
    else:
        names = _names(n_inputs)
        lines += [f"input float {name};" for name in names]
        values = [str(value) for value in _expressions(lowered, [_Text(n) for n in names])]
    lines += [f"bit[{circuit.n_qubits}] c;", f"qubit[{circuit.n_qubits}] q;"]
    for gate in circuit.gates:
        arguments = [values[index] for index in gate.angles]
        name = _WRITTEN.get(gate.name, gate.name)
        if gate.name == "cu3":  # not in stdgates.inc; cu with a phase of 0 is the same gate
            name, arguments = "cu", [*arguments, "0"]
        lines.append(_call(name, arguments, gate.qubits))
    return "\n".join([*lines, "c = measure q;", ""])


def _version_2(circuit: Circuit, values: list[str]) -> str:
    lines = ["OPENQASM 2.0;", 'include "qelib1.inc";']
    lines += [f"qreg q[{circuit.n_qubits}];", f"creg c[{circuit.n_qubits}];"]
    for gate in circuit.gates:
        arguments = [values[index] for index in gate.angles]
        lines.append(_call(_WRITTEN.get(gate.name, gate.name), arguments, gate.qubits))
    return "\n".join([*lines, "measure q -> c;", ""])


def _call(name: str, arguments: Sequence[str], qubits: Sequence[int]) -> str:
    operands = ", ".join(f"q[{qubit}]" for qubit in qubits)
    return f"{name}({', '.join(arguments)}) {operands};" if arguments else f"{name} {operands};"


class _Text:
    """An input in an expression that is written out."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __mul__(self, factor: float) -> _Text:
        return _Text(f"{factor!r}*{self.text}")

    def __add__(self, other: _Text | float) -> _Text:
        return _Text(f"{self.text} + {other if isinstance(other, _Text) else repr(other)}")

    def __str__(self) -> str:
        return self.text
