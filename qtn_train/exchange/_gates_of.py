"""Gates of a program: definitions, modifiers and the library, expanded to gates of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from openqasm3 import ast, parse

from ._expressions import Refused, Value, evaluate
from ._imported import MAX_GATES
from ._library import IDLE, LIBRARY, NAMES
from ._linear import Linear
from ._operations import Operation, controlled, inverse, moved, named, phase, power

# Expansions of calls with equal angles are kept, up to this number.
_MAX_KEPT = 4096


class Definition(NamedTuple):
    """A gate's definition.

    Attributes:
        node: Its syntax tree.
        order: How many definitions came before: its body sees only those.
        n_least: It expands to at least so many gates.
    """

    node: ast.QuantumGateDefinition
    order: int
    n_least: int


class Call(NamedTuple):
    """A call of a gate.

    Attributes:
        name: The gate, or ``gphase``.
        angles: Its angles.
        modifiers: Its modifiers, as they are written.
        n_qubits: On how many qubits it is called, controls included.
    """

    name: str
    angles: tuple[Linear, ...]
    modifiers: tuple[ast.QuantumGateModifier, ...]
    n_qubits: int


class GateBook:
    """The gates that a program can call.

    Args:
        version: The language's version: 2 or 3.
    """

    def __init__(self, version: int) -> None:
        self.version = version
        self._defined: dict[str, list[Definition]] = {}
        self._n_defined = 0
        self._kept: dict[tuple[Any, ...], tuple[Operation, ...]] = {}

    def define(self, node: ast.QuantumGateDefinition) -> None:
        """Add a definition, which all later calls use."""
        # A definition's body knows only those before it, so this needs no recursion.
        n_least = sum(self._at_least(inner) for inner in node.body)
        definition = Definition(node, self._n_defined, n_least)
        self._defined.setdefault(node.name.name, []).append(definition)
        self._n_defined += 1

    def _at_least(self, node: Any) -> int:
        """Return a lower bound of the number of gates of a call in a definition."""
        if not isinstance(node, ast.QuantumGate):
            return 0
        for one in node.modifiers:
            n_times = getattr(one.argument, "value", 0)
            if one.modifier is ast.GateModifierName.pow and not n_times:
                return 0
        own = self._defined.get(node.name.name)
        return own[-1].n_least if own else int(node.name.name in NAMES)

    def knows(self, name: str) -> bool:
        """Return whether a program can call a gate of this name."""
        return name in self._defined or name in NAMES or name in IDLE or name in library()

    def expand(
        self, name: str, angles: tuple[Linear, ...], n_qubits: int, before: int | None = None
    ) -> tuple[Operation, ...]:
        """Return the operations of one call.

        Args:
            name: The gate.
            angles: Its angles.
            n_qubits: How many qubits it is called on.
            before: Only definitions before this one are seen; all by default.

        Returns:
            Operations on the qubits 0…n_qubits−1.

        Raises:
            Refused: There is no such gate, or it takes other numbers of angles or qubits.
        """
        definition = self._find(name, self._n_defined if before is None else before)
        if definition is not None:
            key = (name, definition.order, angles, n_qubits)
            if key not in self._kept:
                if len(self._kept) >= _MAX_KEPT:
                    self._kept.clear()
                _limit(definition.n_least)
                self._kept[key] = self._expanded(definition, angles, n_qubits)
            return self._kept[key]
        if name in IDLE:
            _check(name, IDLE[name], 1, angles, n_qubits)
            return ()
        if name in NAMES:
            one = named(NAMES[name], range(n_qubits), angles)
            if one is None:
                raise Refused(f"{name} with {len(angles)} angles on {n_qubits} qubits")
            return (one,)
        raise Refused(f"the unknown gate {name}")

    def _find(self, name: str, before: int) -> Definition | None:
        for definition in reversed(self._defined.get(name, ())):
            if definition.order < before:
                return definition
        if name not in NAMES and name in library():
            return Definition(library()[name], -1, 0)
        return None

    def _expanded(
        self, definition: Definition, angles: tuple[Linear, ...], n_qubits: int
    ) -> tuple[Operation, ...]:
        node, order, _ = definition
        name = node.name.name
        _check(name, len(node.arguments), len(node.qubits), angles, n_qubits)
        values = {one.name: angle for one, angle in zip(node.arguments, angles, strict=True)}
        places = {one.name: place for place, one in enumerate(node.qubits)}
        found: list[Operation] = []
        for inner in node.body:
            if isinstance(inner, ast.QuantumBarrier):
                continue
            if not isinstance(inner, ast.QuantumGate | ast.QuantumPhase):
                raise Refused(f"{type(inner).__name__} in the definition of {name}")
            own = []
            for operand in inner.qubits:
                if not isinstance(operand, ast.Identifier) or operand.name not in places:
                    raise Refused(f"a qubit in the definition of {name} that it does not take")
                own.append(places[operand.name])
            if len(set(own)) != len(own):
                raise Refused(f"one qubit twice in the definition of {name}")
            version = 3 if order < 0 else self.version
            found += [moved(one, own) for one in self.call(inner, values, len(own), order, version)]
            _limit(len(found))
        return tuple(found)

    def call(
        self,
        node: ast.QuantumGate | ast.QuantumPhase,
        values: Mapping[str, Any],
        n_qubits: int,
        before: int | None = None,
        version: int | None = None,
    ) -> Sequence[Operation]:
        """Return the operations of a call with its modifiers.

        Args:
            node: The call's syntax tree.
            values: The values of the names in its angles.
            n_qubits: On how many qubits it is called, controls included.
            before: As for :meth:`expand`.
            version: As for the book.

        Returns:
            Operations on the qubits 0…n_qubits−1, controls first.

        Raises:
            Refused: It cannot be called so.
        """
        version = version or self.version
        if isinstance(node, ast.QuantumPhase):
            name, arguments = "gphase", [node.argument]
        else:
            name, arguments = node.name.name, node.arguments
        angles = tuple(angle_of(one, values, version) for one in arguments)
        call = Call(name, angles, tuple(node.modifiers), n_qubits)
        return self.modified(call, values, before, version)

    def modified(
        self, call: Call, values: Mapping[str, Any], before: int | None, version: int
    ) -> Sequence[Operation]:
        """Return the operations of a call whose angles are known.

        Args:
            call: The call.
            values: The values of the names in its modifiers.
            before: As for :meth:`expand`.
            version: As for the book.

        Returns:
            As :meth:`call`.

        Raises:
            Refused: It cannot be called so.
        """
        name, angles, modifiers, n_qubits = call
        counts = [_n_controls(one, values, version) for one in modifiers]
        n_controls = sum(counts)
        found: Sequence[Operation]
        if name == "gphase":
            if n_qubits != n_controls or len(angles) != 1:
                raise Refused("gphase on qubits that do not control it")
            found = [phase(angles[0])]
        else:
            inner = self.expand(name, angles, n_qubits - n_controls, before)
            own = range(n_controls, n_qubits)
            found = [moved(one, own) for one in inner] if n_controls else inner
        first = n_controls
        for modifier, count in zip(reversed(modifiers), reversed(counts), strict=True):
            controls = tuple(range(first - count, first))
            first -= count
            found = _modified(found, modifier, controls, values, version)
            _limit(len(found))
        return found


def _modified(
    found: Sequence[Operation],
    modifier: ast.QuantumGateModifier,
    controls: tuple[int, ...],
    values: Mapping[str, Any],
    version: int,
) -> Sequence[Operation]:
    kind = modifier.modifier
    if kind is ast.GateModifierName.inv:
        return inverse(found)
    if kind is ast.GateModifierName.pow:
        exponent = evaluate(modifier.argument, values, version)
        if isinstance(exponent, Linear):
            if exponent.terms:
                raise Refused("a power by an input")
            exponent = exponent.constant
        return power(found, float(exponent))
    turned = (
        [Operation("x", (q,)) for q in controls] if kind is ast.GateModifierName.negctrl else []
    )
    return [*turned, *controlled(found, controls), *turned]


def _n_controls(modifier: ast.QuantumGateModifier, values: Mapping[str, Any], version: int) -> int:
    if modifier.modifier in (ast.GateModifierName.inv, ast.GateModifierName.pow):
        return 0
    if modifier.argument is None:
        return 1
    count = evaluate(modifier.argument, values, version)
    if isinstance(count, Linear) or not 1 <= count <= 64 or count != int(count):
        raise Refused("a number of controls that is no integer of at least 1")
    return int(count)


def angle_of(node: Any, values: Mapping[str, Any], version: int) -> Linear:
    """Return an expression's value as an angle: a linear form of the inputs, in radians."""
    value: Value = evaluate(node, values, version)
    return value if isinstance(value, Linear) else Linear(float(value))


def _check(name: str, n_angles: int, n_own: int, angles: tuple[Linear, ...], n_qubits: int) -> None:
    if len(angles) != n_angles or n_qubits != n_own:
        wanted = f"it takes {n_angles} angles and {n_own} qubits"
        raise Refused(f"{name} with {len(angles)} angles on {n_qubits} qubits: {wanted}")


def _limit(n_gates: int) -> None:
    if n_gates > MAX_GATES:
        raise Refused(f"more than {MAX_GATES} gates in one call")


@lru_cache(maxsize=1)
def library() -> dict[str, ast.QuantumGateDefinition]:
    """Return the definitions of the library, parsed once."""
    nodes = parse(LIBRARY).statements
    return {one.name.name: one for one in nodes if isinstance(one, ast.QuantumGateDefinition)}
