"""The way out: OpenQASM text, or another package's object, parametric where it can be."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..circuits import Circuit, Lowered
from ..circuits._gate import UNITARY
from ..circuits._lowering import GATE_RULES, Affine, Rules, Step, flat
from ..errors import must_be
from ._expressions import CONSTANTS
from ._imported import ImportedCircuit
from ._library import LIBRARY, NAMES

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
    circuit: Circuit | ImportedCircuit,
    angles: ArrayLike | Mapping[str, float] | None = None,
    to: ExportFormat = "openqasm3",
) -> Any:
    """Write a circuit as text or as another package's object.

    Args:
        circuit: The circuit. An imported one keeps its inputs, under their names, its constants,
            and in text what it measures, in its order.
        angles: Its angles in radians (of an imported circuit, the values of its inputs, a
            dictionary by name, too); without them the result is parametric, a circuit's inputs
            named ``p0000``, ``p0001``, …: not with ``"openqasm2"`` and ``"quimb"``, which have
            none. A name that OpenQASM 3 uses itself gets an underscore there.
        to: The target. Text of a :class:`Circuit` ends with the measurement of all qubits, objects
            are without measurements. ``"pennylane"`` without angles gives a function of them that
            applies the gates, for a QNode.

    Returns:
        Text, or an object of that package, the same unitary up to a global phase.

    Raises:
        ImportError: The package is not installed.
        TypeError: A dictionary of angles for a circuit that has no names for them.
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
    if not isinstance(circuit, Circuit | ImportedCircuit):
        hint = "Take its circuit: model.generator.circuit." if hasattr(circuit, "generator") else ""
        raise TypeError(must_be("circuit", "a Circuit", type(circuit).__name__, hint))
    program = circuit if isinstance(circuit, ImportedCircuit) else None
    circuit = circuit.circuit if isinstance(circuit, ImportedCircuit) else circuit
    names = _names(circuit.n_angles) if program is None else program.inputs
    given = _given(circuit if program is None else program, angles)
    if given is None and names and to in ("openqasm2", "quimb"):
        hint = "Take openqasm3 for a program with inputs." if to == "openqasm2" else ""
        raise ValueError(must_be("angles", f"given for {to!r}", "None", hint))
    if not names and to != "pennylane":  # a function of no angles is still a function
        given = np.zeros(0) if program is None else program.angles()
    lowered = circuit.lower(flat({name: _RULES[name] for name in _LACKS[to]}))
    bound = None if given is None else lowered.angles(given).tolist()
    if bound is None and program is not None:
        lowered = _through(lowered, program)
    measured = None if program is None else program.measured
    if to == "openqasm3":
        return _version_3(lowered, bound, names, measured)
    if to == "openqasm2":
        assert bound is not None  # checked above
        return _version_2(lowered.circuit, bound, measured)
    module = import_module(f"._{to}", __package__)
    if bound is not None:
        return module.write(lowered.circuit, bound)
    if to == "pennylane":
        return _quantum_function(lowered, module.operation)
    return module.write(
        lowered.circuit, _expressions(lowered, [module.symbol(name) for name in names])
    )


def _given(circuit: Circuit | ImportedCircuit, angles: Any) -> NDArray[np.float64] | None:
    """Return the angles of a circuit's gates, or None where none are given."""
    if angles is None:
        return None
    if hasattr(angles, "detach"):  # a tensor of torch, such as a model's angles
        angles = angles.detach().cpu().double().numpy()
    if isinstance(circuit, Circuit):
        if isinstance(angles, Mapping):
            raise TypeError(must_be("angles", "numbers for a Circuit", type(angles).__name__))
        given = circuit.check_angles(angles)
    else:
        given = np.asarray(circuit.angles(angles), dtype=np.float64)
    if not np.isfinite(given).all():
        raise ValueError(must_be("angles", "finite", given[~np.isfinite(given)][0]))
    return given


def _through(lowered: Lowered, program: ImportedCircuit) -> Lowered:
    """Return a lowered circuit as a function of the program's inputs."""
    matrix = lowered.A @ program.A
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return Lowered(lowered.circuit, matrix, lowered.A @ program.b + lowered.b)


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


def _version_3(
    lowered: Lowered,
    bound: list[float] | None,
    names: Sequence[str],
    measured: tuple[int, ...] | None,
) -> str:
    circuit = lowered.circuit
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";']
    if bound is not None:
        values = [repr(value) for value in bound]
    else:
        written = _identifiers(names)
        lines += [f"input float {name};" for name in written]
        values = [str(value) for value in _expressions(lowered, [_Text(n) for n in written])]
    n_bits = circuit.n_qubits if measured is None else len(measured)
    lines += [f"bit[{n_bits}] c;"] if n_bits else []
    lines.append(f"qubit[{circuit.n_qubits}] q;")
    for gate in circuit.gates:
        arguments = [values[index] for index in gate.angles]
        name = _WRITTEN.get(gate.name, gate.name)
        if gate.name == "cu3":  # not in stdgates.inc; cu with a phase of 0 is the same gate
            name, arguments = "cu", [*arguments, "0"]
        lines.append(_call(name, arguments, gate.qubits))
    if measured is None:
        lines.append("c = measure q;")
    else:
        lines += [f"c[{bit}] = measure q[{qubit}];" for bit, qubit in enumerate(measured)]
    return "\n".join([*lines, ""])


def _version_2(circuit: Circuit, bound: list[float], measured: tuple[int, ...] | None) -> str:
    values = [repr(value) for value in bound]
    lines = ["OPENQASM 2.0;", 'include "qelib1.inc";', f"qreg q[{circuit.n_qubits}];"]
    n_bits = circuit.n_qubits if measured is None else len(measured)
    lines += [f"creg c[{n_bits}];"] if n_bits else []
    for gate in circuit.gates:
        arguments = [values[index] for index in gate.angles]
        lines.append(_call(_WRITTEN.get(gate.name, gate.name), arguments, gate.qubits))
    if measured is None:
        lines.append("measure q -> c;")
    else:
        lines += [f"measure q[{qubit}] -> c[{bit}];" for bit, qubit in enumerate(measured)]
    return "\n".join([*lines, ""])


#: Words that an input of a written program cannot be called, besides the names of gates.
_TAKEN = {
    *CONSTANTS, *NAMES, *re.findall(r"gate (\w+)", LIBRARY), *keyword.kwlist,
    *"c q gphase ctrl negctrl inv pow input output const bit bool int uint float angle".split(),
    *"complex duration stretch qubit qreg creg array mutable readonly gate def extern box".split(),
    *"opaque delay reset measure barrier let end switch case default include pragma cal".split(),
    *"defcal defcalgrammar durationof nop void sizeof popcount rotl rotr real imag".split(),
    *"OPENQASM sin cos tan exp ln log sqrt floor ceiling mod arcsin arccos arctan".split(),
    *"true false ccz im ns us ms dt s".split(),
}  # fmt: skip


def _identifiers(names: Sequence[str]) -> list[str]:
    """Return names that a program may use, one for each input, and no two the same."""
    made: list[str] = []
    used = _TAKEN | set(names)
    for name in names:
        written = name
        if name in _TAKEN or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            written = re.sub(r"[^A-Za-z0-9_]", "_", name) + "_"
            written = written if not written[0].isdigit() else f"p{written}"
            while written in used:
                written += "_"
        used.add(written)
        made.append(written)
    return made


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
