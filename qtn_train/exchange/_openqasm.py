"""OpenQASM text: writes version 3, reads versions 2 and 3 made of the gates of the table.

Angles are read by a small evaluator over Python's syntax tree (numbers, pi, + - * / and
parentheses), never by ``eval``. Its ``/`` is the division of real numbers, also between integers.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..circuits import GATES, Circuit, Gate
from ..errors import must_be

# Spelled out, not `ctrl @ U`: the phase of U, which the control makes matter, differs between
# versions of the language, and devices take no modifiers.
_CU3 = """\
gate cu3(theta, phi, lambda) a, b {
  rz((phi + lambda) / 2) a;
  rz((lambda - phi) / 2) b;
  cx a, b;
  rz(-(phi + lambda) / 2) b;
  ry(-theta / 2) b;
  cx a, b;
  ry(theta / 2) b;
  rz(phi) b;
}"""

#: Name of the gate table -> name in OpenQASM 3, where they differ.
_WRITTEN = {"si": "sdg", "ti": "tdg"}

#: OpenQASM name -> name of the gate table.
_NAMES = {
    **{name: name for name in GATES},
    **{written: name for name, written in _WRITTEN.items()},
    **{"cnot": "cx", "CX": "cx", "U": "u3", "u": "u3"},
}

_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}

# Python's parser may exhaust its stack on deeply nested input; no written angle is so long.
_LONGEST_ANGLE = 1000


def write(circuit: Circuit, angles: NDArray[np.float64] | None) -> str:
    """Return a circuit as OpenQASM 3 text; see :meth:`Circuit.to_openqasm`.

    Args:
        circuit: The circuit.
        angles: Its angles in radians, or None for declared inputs.

    Returns:
        The program. Numbers in it read back bit for bit.

    Raises:
        ValueError: An angle is not finite.

    Example:
        >>> print(write(Circuit.builder(1).rx(0).build(), None))
        OPENQASM 3.0;
        include "stdgates.inc";
        input float p0000;
        bit[1] c;
        qubit[1] q;
        rx(p0000) q[0];
        c = measure q;
        <BLANKLINE>
    """
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";']
    if any(gate.name == "cu3" for gate in circuit.gates):
        lines.append(_CU3)
    if angles is None:
        values = [f"p{index:04d}" for index in range(circuit.n_angles)]
        lines += [f"input float {name};" for name in values]
    else:
        if not np.isfinite(angles).all():
            raise ValueError(must_be("angles", "finite", angles[~np.isfinite(angles)][0]))
        values = [repr(value) for value in angles.tolist()]
    lines += [f"bit[{circuit.n_qubits}] c;", f"qubit[{circuit.n_qubits}] q;"]
    for gate in circuit.gates:
        arguments = ", ".join(values[index] for index in gate.angles)
        operands = ", ".join(f"q[{qubit}]" for qubit in gate.qubits)
        call = _WRITTEN.get(gate.name, gate.name) + (f"({arguments})" if arguments else "")
        lines.append(f"{call} {operands};")
    return "\n".join([*lines, "c = measure q;", ""])


def read(text: str) -> tuple[Circuit, NDArray[np.float64]]:
    """Read a program; see :meth:`Circuit.from_openqasm`.

    Args:
        text: OpenQASM 2 or 3. A definition of ``cu3`` is skipped: it is taken to be the usual one.

    Returns:
        The circuit, and its angles: a literal's value, or NaN for a declared input.

    Raises:
        ValueError: Something in it is outside that subset; the message names the line.

    Example:
        >>> circuit, angles = read("qreg q[2]; cu3(0, pi, -pi/2) q[1], q[0];")
        >>> circuit.gates[0].qubits, angles.round(3).tolist()
        ((1, 0), [0.0, 3.142, -1.571])
    """
    reader = _Reader()
    for line, statement in _statements(text):
        reader.take(line, statement)
    if not reader.n_qubits:
        raise ValueError(must_be("text", "a program that declares its qubits", repr(text[:40])))
    circuit = Circuit(reader.n_qubits, tuple(reader.gates), len(reader.angles))
    return circuit, np.array(reader.angles, dtype=np.float64)


def _wrong(line: int, expected: str, actual: str) -> ValueError:
    flat = " ".join(actual.split())
    shown = flat if len(flat) <= 60 else flat[:60] + "…"
    return ValueError(must_be(f"line {line}", expected, repr(shown)))


def _blank(comment: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", comment[0])


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement with the number of the line where it starts, comments left out."""
    code = re.sub(r"//[^\n]*|/\*.*?\*/", _blank, text, flags=re.DOTALL).rstrip()
    pattern = re.compile(r"(\s*+)([^;{}]*+(?:;|\{[^{}]*\}))?")
    position, line = 0, 1
    while position < len(code):
        match = pattern.match(code, position)
        assert match is not None  # both groups may be empty
        line += match[1].count("\n")
        if match[2] is None:
            raise _wrong(line, "a statement that ends with ;", code[match.end() :])
        yield line, match[2].removesuffix(";").strip()
        line += match[2].count("\n")
        position = match.end()


def _evaluate(line: int, text: str) -> float:
    """Return the value of an expression of numbers and pi."""
    expected = "an angle made of numbers, pi, + - * / and parentheses"
    if len(text) > _LONGEST_ANGLE:
        raise _wrong(line, expected, text)
    try:
        value = _value(ast.parse(" ".join(text.split()), mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
        raise _wrong(line, expected, text) from error
    if not math.isfinite(value):
        raise _wrong(line, "a finite angle", text)
    return value


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=float() | int() as number) if not isinstance(number, bool):
            return float(number)
        case ast.Name(id="pi" | "π"):
            return math.pi
        case ast.UnaryOp() if type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](_value(node.operand))
        case ast.BinOp() if type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("outside the subset")


@dataclass
class _Reader:
    """What was read so far."""

    n_qubits: int = 0
    register: str = ""
    gates: list[Gate] = field(default_factory=list)
    angles: list[float] = field(default_factory=list)
    inputs: dict[str, int] = field(default_factory=dict)
    measured: bool = False

    def take(self, line: int, statement: str) -> None:
        """Read one statement."""
        for pattern, method in _GRAMMAR:
            match = pattern.fullmatch(statement)
            if match:
                method(self, line, match)
                return
        raise _wrong(line, "a declaration, a gate call or a measurement", statement)

    def skip(self, line: int, match: re.Match[str]) -> None:
        """Nothing in it changes the circuit."""

    def declare_qubits(self, line: int, match: re.Match[str]) -> None:
        if self.register:
            raise _wrong(line, "without a second qubit register", match[0])
        self.register, self.n_qubits = match["name"], int(match["size"] or 1)
        if not self.n_qubits:
            raise _wrong(line, "a register of at least 1 qubit", match[0])

    def declare_input(self, line: int, match: re.Match[str]) -> None:
        name = match["name"]
        if name in self.inputs or name in ("pi", "π"):
            raise _wrong(line, "an input with a new name", name)
        self.inputs[name] = len(self.angles)
        self.angles.append(math.nan)

    def measure(self, line: int, match: re.Match[str]) -> None:
        self.operand(line, match["operand"])
        self.measured = True

    def call(self, line: int, match: re.Match[str]) -> None:
        name = _NAMES.get(match["gate"])
        if name is None:
            raise _wrong(line, f"one of the gates {', '.join(sorted(_NAMES))}", match[0])
        if self.measured:
            raise _wrong(line, "before all measurements", match[0])
        spec = GATES[name]
        operands = [self.operand(line, text) for text in match["operands"].split(",")]
        arguments = match["angles"].split(",") if match["angles"] else []
        targets = [tuple(qubit for operand in operands for qubit in operand)]
        if spec.n_qubits == 1 and len(operands) == 1:  # a register stands for all its qubits
            targets = [(qubit,) for qubit in operands[0]]
        fits = all(len(set(qubits)) == len(qubits) == spec.n_qubits for qubits in targets)
        if not fits or len(operands) != spec.n_qubits or len(arguments) != spec.n_angles:
            expected = f"{name} with {spec.n_angles} angles on {spec.n_qubits} different qubits"
            raise _wrong(line, expected, match[0])
        for qubits in targets:
            angles = tuple(self.angle(line, text.strip()) for text in arguments)
            self.gates.append(Gate(name, qubits, angles))

    def angle(self, line: int, text: str) -> int:
        """Return the index of an input, or of a new angle."""
        if text in self.inputs:
            return self.inputs[text]
        self.angles.append(_evaluate(line, text))
        return len(self.angles) - 1

    def operand(self, line: int, text: str) -> tuple[int, ...]:
        """Return the qubits that an operand names."""
        match = re.fullmatch(r"\s*(\w+)\s*(?:\[\s*(\d{1,9})\s*\])?\s*", text)
        if match and match[1] == self.register:
            qubits = (int(match[2]),) if match[2] else tuple(range(self.n_qubits))
            if qubits[-1] < self.n_qubits:
                return qubits
        known = f"{self.register}[0…{self.n_qubits - 1}]" if self.register else "declared first"
        raise _wrong(line, f"on qubits {known}", text.strip())


_SIZE = r"(?:\[\s*(?P<size>\d{1,9})\s*\])?"
_BIT = r"\w+\s*(?:\[\s*\d+\s*\])?"
_BITS = r"bit\b\s*(?:\[\s*\d+\s*\])?\s*"
_GRAMMAR = [
    (re.compile(pattern, flags=re.DOTALL), method)
    for pattern, method in (
        (r"", _Reader.skip),
        (r"OPENQASM\s+[23](?:\.\d+)?", _Reader.skip),
        (r'include\s*"(?:stdgates|qelib1)\.inc"', _Reader.skip),
        (r"gate\s+cu3\b[^{]*\{.*\}", _Reader.skip),
        (rf"creg\s+{_BIT}|{_BITS}\w+", _Reader.skip),
        (rf"qreg\s+(?P<name>\w+)\s*{_SIZE}", _Reader.declare_qubits),
        (rf"qubit\b\s*{_SIZE}\s*(?P<name>\w+)", _Reader.declare_qubits),
        (
            r"input\s+(?:float|angle)\b\s*(?:\[\s*\d+\s*\])?\s*(?P<name>\w+)",
            _Reader.declare_input,
        ),
        (rf"(?:(?:{_BITS})?{_BIT}\s*=\s*)?measure\s+(?P<operand>{_BIT})", _Reader.measure),
        (rf"measure\s+(?P<operand>{_BIT})\s*->\s*{_BIT}", _Reader.measure),
        (r"(?P<gate>\w+)\b\s*(?:\((?P<angles>.*)\))?\s*(?P<operands>\w[\w\s,\[\]]*)", _Reader.call),
    )
]
