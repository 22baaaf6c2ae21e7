"""OpenQASM 2 and 3 read into a circuit: statement by statement, each executed as it comes.

    text ─► statements ─┬─► plain gate call, plain measurement: a regular expression ─┐
                        └─► openqasm3's syntax tree of the statement ─────────────────┴─► Assembly

So reading is linear in the text, and holds no tree of the whole program.
"""

from __future__ import annotations

import ast as python
import re
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from openqasm3 import ast

from ..circuits._gate import unitary_rows
from ..errors import Message, must_be
from ._expressions import CONSTANTS, GLUED, Refused, evaluate, quick
from ._gates_of import Call, GateBook, angle_of
from ._imported import MAX_QUBITS, Assembly, ImportedCircuit
from ._linear import Linear, variable
from ._operations import Operation, moved
from ._parse import parsed
from ._scan import Statement, at_line, statements

# Statements that are executed at most, loops included; angles whose trees are kept.
_MAX_STEPS, _MAX_KEPT = 2_000_000, 10_000
# Physical qubits are numbered from here until all of them are known.
_PHYSICAL = 1 << 40

_INNER = r"[^()]*+(?:\((?:[^()]++|\([^()]*+\))*+\)[^()]*+)*+"
_CALL = re.compile(
    rf"((?:(?:inv|(?:neg)?ctrl|pow)\s*+(?:\([^()]*+\)\s*+)?@\s*+)*+)([A-Za-z_]\w*+)\s*+(?:\(({_INNER})\)\s*+)?((?:\w++\s*+\[\s*+\d++\s*+\]\s*+,?\s*+)++);"
)
_OPERAND = re.compile(r"(\w+)\s*\[\s*(\d+)\s*\]")
_MEASURE_2 = re.compile(r"measure\s+(\w+)\s*\[\s*(\d+)\s*\]\s*->\s*(\w+)\s*\[\s*(\d+)\s*\]\s*;")
_MEASURE_3 = re.compile(r"(\w+)\s*\[\s*(\d+)\s*\]\s*=\s*measure\s+(\w+)\s*\[\s*(\d+)\s*\]\s*;")
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_VERSION = re.compile(r"OPENQASM\s+(\d+)(?:\.\d+)?\s*;")
_INCLUDE = re.compile(r'include\s*"([^"]*)"\s*;')
_UNITARY = re.compile(r"#\s*pragma\s+braket\s+unitary\s*\((.*)\)\s*([^()]+)", re.DOTALL)
_INCLUDES = {"stdgates.inc", "qelib1.inc", "stdgates.qasm", "qelib1.qasm"}

_FORM = "part of a unitary program that ends with measurements"
_HINTS = {
    "feedback": "Measure at the end; what depends on a measurement cannot be a circuit's angle.",
    "timing": "Take delays and durations out: they do not change the unitary.",
    "pulses": "Write the gate itself, without its calibration.",
}


class Qubits(NamedTuple):
    """A register of qubits, or one qubit, under a name."""

    places: tuple[int, ...]
    is_one: bool = False


class Bits(NamedTuple):
    """A register of classical bits, or one bit, under a name."""

    places: tuple[int, ...]
    is_one: bool = False


def read(text: str) -> ImportedCircuit:
    """Read a program.

    Args:
        text: OpenQASM 2 or 3.

    Returns:
        The circuit, its inputs and its measurements.

    Raises:
        ValueError: Something in it cannot be part of such a circuit; the message names the line.

    Example:
        >>> found = read("qreg q[2]; cu3(0, pi, -pi/2) q[1], q[0];")
        >>> found.circuit.gates[0].qubits, found.b.round(3).tolist()
        ((1, 0), [0.0, 3.142, -1.571])
    """
    reader = _Reader()
    for statement in statements(text.removeprefix("\ufeff")):
        reader.take(statement)
    return reader.finish()


class _Reader:
    def __init__(self) -> None:
        self.book = GateBook(3)
        self.program = Assembly()
        self.names: ChainMap[str, Any] = ChainMap({})
        self.n_bits = 0
        self.n_steps = 0
        self.line = self.first = 1
        self.trees: dict[str, Any] = {}

    # One statement

    def take(self, statement: Statement) -> None:
        """Execute one statement of the text."""
        self.line = self.first = statement.line
        try:
            if not self._plain(statement.text):
                self._other(statement)
        except Refused as error:
            raise at_line(self.line, _FORM, str(error), _hint(str(error))) from error
        except (ValueError, OverflowError) as error:
            message = error.args[0] if error.args else ""
            if isinstance(message, Message):
                raise ValueError(message.about(f"line {self.line}")) from error
            raise at_line(self.line, _FORM, str(message) or statement.text) from error
        except RecursionError as error:
            raise at_line(self.line, "without very deep nesting", statement.text) from error

    def _plain(self, text: str) -> bool:
        """Execute a gate call or a measurement of plain operands, which most statements are."""
        call = _CALL.fullmatch(text)
        if call is not None and self.book.knows(call[2]):
            prefix, name, inside, operands = call.groups()
            if inside and "(" in inside and "," in inside:
                return False
            angles = tuple(map(self._angle, inside.split(","))) if (inside or "").strip() else ()
            places = [self._place(Qubits, *pair) for pair in _OPERAND.findall(operands)]
            if None in places or operands.count(",") != len(places) - 1:
                return False
            if prefix:
                one = Call(name, angles, self._modifiers(prefix), len(places))
                found = self.book.modified(one, self.names, None, self.book.version)
            else:
                found = self.book.expand(name, angles, len(places))
            self._apply(found, places)
            return True
        measure = _MEASURE_2.fullmatch(text)
        if measure is not None:
            qubit, bit = self._pair(measure, _ORDER_2)
        else:
            measure = _MEASURE_3.fullmatch(text)
            if measure is None:
                return False
            bit, qubit = self._pair(measure, _ORDER_3)
        if qubit is None or bit is None:
            return False
        self.program.measure(qubit, bit)
        return True

    def _modifiers(self, prefix: str) -> tuple[Any, ...]:
        if prefix not in self.trees:
            (node,) = parsed(f"{prefix} x q;", self.line)
            self.trees[prefix] = tuple(node.modifiers)
        return self.trees[prefix]  # type: ignore[no-any-return]

    def _pair(self, measure: re.Match[str], order: Any) -> list[Any]:
        return [self._place(kind, *measure.group(*groups)) for kind, groups in order]

    def _place(self, kind: Any, name: str, number: str) -> Any:
        register = self.names.get(name)
        index = int(number) if len(number) < 10 else MAX_QUBITS
        if not isinstance(register, kind) or register.is_one or index >= len(register.places):
            return None
        return register.places[index]

    def _angle(self, text: str) -> Linear:
        text = text.strip()
        if _NUMBER.fullmatch(text):
            return Linear(float(text))
        value = self.names.get(text)
        if isinstance(value, Linear):
            return value
        value = quick(text, self.names, self.book.version)
        if value is not None:
            return value if isinstance(value, Linear) else Linear(float(value))
        if text not in self.trees:
            if len(self.trees) >= _MAX_KEPT:
                self.trees.clear()
            (node,) = parsed(f"x({text}) q;", self.line)
            if not isinstance(node, ast.QuantumGate) or len(node.arguments) != 1:
                raise at_line(self.line, "one angle", text)
            self.trees[text] = node.arguments[0]
        return angle_of(self.trees[text], self.names, self.book.version)

    def _other(self, statement: Statement) -> None:
        line, text = statement
        if text[0] in "#@" or text.startswith("pragma"):
            self._pragma(text)
            return
        version, include = _VERSION.fullmatch(text), _INCLUDE.fullmatch(text)
        if version is not None:
            if version[1] not in ("2", "3"):
                raise at_line(line, "OPENQASM 2 or 3", text)
            self.book.version = int(version[1])
        elif include is not None:
            if include[1] not in _INCLUDES:
                hint = "Copy the file's text into the program."
                raise at_line(line, "an include of stdgates.inc or qelib1.inc", text, hint)
        elif re.match(r"opaque\b", text):
            raise Refused("an opaque gate")
        else:
            for node in parsed(text, line):
                self.execute(node)

    def _step(self, n_ahead: int = 1) -> None:
        """Count a statement or a pass of a loop, of so many that are to come."""
        if self.n_steps + n_ahead > _MAX_STEPS:
            raise Refused(f"more than {_MAX_STEPS} statements, loops included")
        self.n_steps += 1

    def execute(self, node: Any) -> None:
        """Execute one parsed statement."""
        self._step()
        self.line = self.first + node.span.start_line - 1 if node.span else self.line
        method = _METHODS.get(type(node).__name__)
        if method is None:
            raise Refused(_FEATURES.get(type(node).__name__, type(node).__name__))
        method(self, node)

    # Declarations

    def _declare(self, name: str, value: Any) -> None:
        if name in self.names.maps[0] or name in CONSTANTS:
            raise Refused(f"a second declaration of {name}")
        self.names[name] = value

    def _qubits(self, node: ast.QubitDeclaration) -> None:
        size = 1 if node.size is None else self._size(node.size)
        first = self.program.n_qubits
        self.program.n_qubits += size
        if self.program.n_qubits > MAX_QUBITS:
            expected = f"at most {MAX_QUBITS} qubits"
            raise at_line(self.line, expected, f"{self.program.n_qubits} qubits")
        places = tuple(range(first, first + size))
        self._declare(node.qubit.name, Qubits(places, node.size is None))

    def _size(self, node: Any) -> int:
        value = self._integer(node)
        if not 1 <= value <= 100 * MAX_QUBITS:
            raise Refused(f"a register of size {value}")
        return value

    def _integer(self, node: Any) -> int:
        value = evaluate(node, self.names, self.book.version)
        if isinstance(value, Linear) or value != int(value):
            raise Refused("an index or a size that is no integer")
        return int(value)

    def _classical(self, node: ast.ClassicalDeclaration) -> None:
        kind, given = node.type, node.init_expression
        if isinstance(kind, ast.BitType):
            size = 1 if kind.size is None else self._size(kind.size)
            places = tuple(range(self.n_bits, self.n_bits + size))
            self.n_bits += size
            self._declare(node.identifier.name, Bits(places, kind.size is None))
            if isinstance(given, ast.QuantumMeasurement):
                self._measure(given, node.identifier)
            return
        if not isinstance(
            kind, ast.IntType | ast.UintType | ast.FloatType | ast.AngleType | ast.BoolType
        ):
            raise Refused(_FEATURES.get(type(kind).__name__, f"a {type(kind).__name__}"))
        value = None if given is None else self._typed(kind, given)
        self._declare(node.identifier.name, value)

    def _constant(self, node: ast.ConstantDeclaration) -> None:
        self._declare(node.identifier.name, self._typed(node.type, node.init_expression))

    def _typed(self, kind: Any, node: Any) -> Any:
        if isinstance(node, ast.QuantumMeasurement):
            raise Refused("feedback (a measurement as a number)")
        value = evaluate(node, self.names, self.book.version)
        if isinstance(value, Linear):
            return value
        return float(value) if isinstance(kind, ast.FloatType | ast.AngleType) else int(value)

    def _input(self, node: ast.IODeclaration) -> None:
        name = node.identifier.name
        if node.io_identifier is ast.IOKeyword.output:
            self._classical(ast.ClassicalDeclaration(node.type, node.identifier, None))
            return
        if not isinstance(node.type, ast.FloatType | ast.AngleType):
            raise Refused(f"the input {name} of another type than float or angle")
        number = len(self.program.inputs)
        self._declare(name, variable(number))
        self.program.inputs[name] = number

    def _assign(self, node: ast.ClassicalAssignment) -> None:
        if isinstance(node.rvalue, ast.QuantumMeasurement):
            self._measure(node.rvalue, node.lvalue)
            return
        if not isinstance(node.lvalue, ast.Identifier) or node.op.name != "=":
            raise Refused("an assignment of another form than name = value")
        name = node.lvalue.name
        for scope in self.names.maps:
            if name in scope:
                if isinstance(scope[name], Qubits | Bits):
                    raise Refused("classical computation with bits")
                scope[name] = evaluate(node.rvalue, self.names, self.book.version)
                return
        raise Refused(f"the unknown name {name}")

    def _alias(self, node: ast.AliasStatement) -> None:
        places = tuple(self._aliased(node.value))
        self._declare(node.target.name, Qubits(places))

    def _aliased(self, node: Any) -> Iterator[int]:
        if isinstance(node, ast.Concatenation):
            yield from self._aliased(node.lhs)
            yield from self._aliased(node.rhs)
        elif isinstance(node, ast.IndexExpression) and isinstance(node.collection, ast.Identifier):
            register = self._register(node.collection.name, Qubits)
            yield from self._indexed(register.places, node.index)[0]
        else:
            yield from self._operand(node)[0]

    # Operands

    def _register(self, name: str, kind: type) -> Any:
        register = self.names.get(name)
        if kind is Qubits and re.fullmatch(r"\$\d{1,9}", name):
            return Qubits((_PHYSICAL + int(name[1:]),), True)
        if not isinstance(register, kind):
            what = "qubit" if kind is Qubits else "bit"
            raise Refused(f"{name}, which was not declared as a {what} register before")
        return register

    def _operand(self, node: Any, kind: type = Qubits) -> tuple[tuple[int, ...], bool]:
        """Return the qubits or bits of an operand, and whether it is a single one."""
        if isinstance(node, ast.Identifier):
            return tuple(self._register(node.name, kind))
        if not isinstance(node, ast.IndexedIdentifier) or len(node.indices) != 1:
            raise Refused("an operand of another form than name[index]")
        return self._indexed(self._register(node.name.name, kind).places, node.indices[0])

    def _indexed(self, places: tuple[int, ...], index: Any) -> tuple[tuple[int, ...], bool]:
        entries = index.values if isinstance(index, ast.DiscreteSet) else index
        chosen: list[int] = []
        single = not isinstance(index, ast.DiscreteSet) and len(entries) == 1
        for entry in entries:
            if isinstance(entry, ast.RangeDefinition):
                single = False
                chosen += self._range(entry, len(places))
            else:
                chosen.append(self._integer(entry))
        size = len(places)
        for number in chosen:
            if not -size <= number < size:
                raise Refused(f"the index {number} of a register of {size}")
        return tuple(places[number] for number in chosen), single

    def _range(self, node: ast.RangeDefinition, size: int | None = None) -> range:
        step = 1 if node.step is None else self._integer(node.step)
        if step == 0:
            raise Refused("a range with step 0")
        if size is None and (node.start is None or node.end is None):
            raise Refused("a range without an end")
        default = (0, (size or 1) - 1) if step > 0 else ((size or 1) - 1, 0)
        ends = [
            standard if one is None else self._integer(one)
            for one, standard in zip((node.start, node.end), default, strict=True)
        ]
        if size is not None:
            ends = [end + size if end < 0 else end for end in ends]
            if any(not 0 <= end < size for end in ends):
                raise Refused(f"a range outside of a register of {size}")
        return range(ends[0], ends[1] + (1 if step > 0 else -1), step)

    # Gates

    def _gate(self, node: ast.QuantumGate | ast.QuantumPhase) -> None:
        if getattr(node, "duration", None) is not None:
            raise Refused("timing (a gate with a duration)")
        operands = [self._operand(one) for one in node.qubits]
        sizes = {len(places) for places, is_one in operands if not is_one}
        if len(sizes) > 1:
            raise Refused("registers of different sizes in one call")
        found = self.book.call(node, self.names, len(operands))
        for number in range(sizes.pop() if sizes else 1):
            places = [own[0] if is_one else own[number] for own, is_one in operands]
            self._apply(found, places)

    def _apply(self, found: Iterable[Operation], places: Sequence[Any]) -> None:
        if len(set(places)) != len(places):
            raise Refused("a call that names one qubit twice")
        for one in found:
            self.program.apply(moved(one, places))

    def _define(self, node: ast.QuantumGateDefinition) -> None:
        names = [one.name for one in (*node.arguments, *node.qubits)]
        if len(set(names)) != len(names):
            raise Refused(f"the definition of {node.name.name} with one name twice")
        self.book.define(node)

    def _barrier(self, node: ast.QuantumBarrier) -> None:
        for one in node.qubits:
            self._operand(one)

    def _reset(self, node: ast.QuantumReset) -> None:
        for qubit in self._operand(node.qubits)[0]:
            self.program.reset(qubit)

    def _measurement(self, node: ast.QuantumMeasurementStatement) -> None:
        self._measure(node.measure, node.target)

    def _measure(self, measure: ast.QuantumMeasurement, target: Any) -> None:
        qubits, _ = self._operand(measure.qubit)
        if target is None:
            bits = tuple(range(self.n_bits, self.n_bits + len(qubits)))
            self.n_bits += len(qubits)
        else:
            bits, _ = self._operand(target, Bits)
        if len(bits) != len(qubits):
            raise Refused(f"a measurement of {len(qubits)} qubits into {len(bits)} bits")
        for qubit, bit in zip(qubits, bits, strict=True):
            self.program.measure(qubit, bit)

    # Blocks

    def _block(self, nodes: Iterable[Any], names: dict[str, Any] | None = None) -> None:
        self.names = self.names.new_child(names or {})
        for node in nodes:
            self.execute(node)
        self.names = self.names.parents

    def _loop(self, node: ast.ForInLoop) -> None:
        domain = node.set_declaration
        values: Sequence[int | float | Linear]
        if isinstance(domain, ast.RangeDefinition):
            values = self._range(domain)
            # As len(values), which ends at 2**63.
            n_passes = max(0, -((values.start - values.stop) // values.step))
        elif isinstance(domain, ast.DiscreteSet):
            values = [evaluate(one, self.names, self.book.version) for one in domain.values]
            n_passes = len(values)
        else:
            raise Refused("a loop over something else than a range or a set of numbers")
        for number, value in enumerate(values):
            self._step(n_passes - number)
            self._block(node.block, {node.identifier.name: value})

    def _branch(self, node: ast.BranchingStatement) -> None:
        try:
            value = evaluate(node.condition, self.names, self.book.version)
        except Refused as error:
            raise Refused("feedback (if)") from error
        if isinstance(value, Linear):
            raise Refused("feedback (if), on an input")
        self._block(node.if_block if value else node.else_block)

    def _box(self, node: ast.Box) -> None:
        if node.duration is not None:
            raise Refused("timing (a box with a duration)")
        self._block(node.body)

    def _pragma_node(self, node: ast.Pragma) -> None:
        self._pragma(f"#pragma {node.command}")

    def _pragma(self, text: str) -> None:
        matched = _UNITARY.fullmatch(text.strip())
        if matched is not None:
            found = parsed(f"x {matched[2]};", self.line)
            if len(found) != 1 or not isinstance(found[0], ast.QuantumGate):
                raise Refused(f"a matrix on {matched[2].strip()!r}")
            places = [self._operand(one)[0] for one in found[0].qubits]
            qubits = tuple(place for own in places for place in own)
            matrix = re.sub(r"(?<=[\d.])\s*im\b", "j", matched[1])
            if GLUED.search(matrix):
                raise Refused("a matrix that cannot be read")
            try:
                rows = unitary_rows(python.literal_eval(matrix))
            except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
                raise Refused("a matrix that cannot be read") from error
            if len(rows) != 2 ** len(qubits):
                raise Refused(f"a matrix of {len(rows)} rows on {len(qubits)} qubits")
            self._apply([Operation("unitary", tuple(range(len(qubits))), (), rows)], qubits)
        elif re.match(r"#?\s*pragma\s+braket\s+noise\b", text):
            raise Refused("noise (pragma braket noise)")

    def _include(self, node: ast.Include) -> None:
        raise Refused("an include inside a block")

    def finish(self) -> ImportedCircuit:
        program = self.program
        used = {q for one in program.operations for q in one.qubits} | program.ended
        physical = sorted(qubit for qubit in used if qubit >= _PHYSICAL)
        if physical:
            place = {q: program.n_qubits + k for k, q in enumerate(physical)}
            place |= {qubit: qubit for qubit in range(program.n_qubits)}
            program.operations = [
                one._replace(qubits=tuple(place[q] for q in one.qubits))
                for one in program.operations
            ]
            program.measured = {bit: place[q] for bit, q in program.measured.items()}
            program.n_qubits += len(physical)
        if not program.n_qubits:
            raise ValueError(must_be("source", "a program that declares its qubits", "none"))
        return program.finish()


def _hint(feature: str) -> str:
    return next((hint for word, hint in _HINTS.items() if feature.startswith(word)), "")


_ORDER_2 = ((Qubits, (1, 2)), (Bits, (3, 4)))
_ORDER_3 = ((Bits, (1, 2)), (Qubits, (3, 4)))

_METHODS: dict[str, Callable[[_Reader, Any], None]] = {
    "QubitDeclaration": _Reader._qubits,
    "ClassicalDeclaration": _Reader._classical,
    "ConstantDeclaration": _Reader._constant,
    "IODeclaration": _Reader._input,
    "ClassicalAssignment": _Reader._assign,
    "AliasStatement": _Reader._alias,
    "QuantumGate": _Reader._gate,
    "QuantumPhase": _Reader._gate,
    "QuantumGateDefinition": _Reader._define,
    "QuantumBarrier": _Reader._barrier,
    "QuantumReset": _Reader._reset,
    "QuantumMeasurementStatement": _Reader._measurement,
    "ForInLoop": _Reader._loop,
    "BranchingStatement": _Reader._branch,
    "Box": _Reader._box,
    "Pragma": _Reader._pragma_node,
    "Include": _Reader._include,
}

_FEATURES = {
    "WhileLoop": "feedback (while)",
    "SwitchStatement": "feedback (switch)",
    "SubroutineDefinition": "a subroutine (def)",
    "ReturnStatement": "a subroutine (return)",
    "ExternDeclaration": "an extern function",
    "CalibrationDefinition": "pulses (defcal)",
    "CalibrationStatement": "pulses (cal)",
    "CalibrationGrammarDeclaration": "pulses (defcalgrammar)",
    "DelayInstruction": "timing (delay)",
    "DurationType": "timing (duration)",
    "StretchType": "timing (stretch)",
    "ExpressionStatement": "a call of a subroutine, or an expression without effect",
    "EndStatement": "an end before the end",
    "BreakStatement": "a break in a loop",
    "ContinueStatement": "a continue in a loop",
}
