"""Lowering: the same gates in a smaller set, with their angles as a linear map.

    lowered angles = A @ angles + b        gradient by angles = A.T @ gradient by lowered angles

A table holds one rule per gate: the steps that replace it. The mechanism knows no gate's name, so
another set of gates needs another table only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from math import pi
from typing import NamedTuple

import numpy as np

from ._decompose import decompose
from ._gate import UNITARY, Gate, Rows


class Affine(NamedTuple):
    """One angle of a step: ``row · (angles of the replaced gate) + constant``."""

    row: tuple[float, ...]
    constant: float = 0.0


class Step(NamedTuple):
    """One gate of a rule; its qubits are positions in the qubits of the replaced gate."""

    name: str
    qubits: tuple[int, ...]
    angles: tuple[Affine, ...] = ()


#: The steps that replace a gate; for a gate that carries its matrix, a function of the matrix.
Rule = tuple[Step, ...] | Callable[[Rows], tuple[Step, ...]]
#: Gate -> its rule.
Rules = Mapping[str, Rule]


def _turn(name: str, qubit: int, *row: float) -> Step:
    return Step(name, (qubit,), (Affine(row),))


def _by(name: str, qubit: int, angle: float) -> Step:
    """Return a step that is a rotation by a constant angle, in radians."""
    return Step(name, (qubit,), (Affine((), angle),))


def _on(name: str, *qubits: int) -> Step:
    return Step(name, qubits)


def _unitary(matrix: Rows) -> tuple[Step, ...]:
    return tuple(
        Step(name, qubits, tuple(Affine((), angle) for angle in angles))
        for name, qubits, angles in decompose(np.array(matrix))
    )


def flat(rules: Rules) -> Rules:
    """Return rules for the same gates whose steps are gates without a rule.

    Args:
        rules: A table; the steps of a gate do not lead back to it.

    Returns:
        The table, each rule followed to its end.

    Example:
        >>> [step.name for step in flat(PORTABLE_RULES)["ch"]]
        ['ry', 'h', 'cx', 'h', 'ry']
    """
    return {name: _flat_rule(rule, rules) for name, rule in rules.items()}


def _flat_rule(rule: Rule, rules: Rules) -> Rule:
    if callable(rule):
        return lru_cache(maxsize=256)(lambda matrix: _flat_steps(rule(matrix), rules))
    return _flat_steps(rule, rules)


def _flat_steps(steps: tuple[Step, ...], rules: Rules) -> tuple[Step, ...]:
    return tuple(final for step in steps for final in _followed(step, rules))


def _followed(step: Step, rules: Rules) -> Iterator[Step]:
    rule = rules.get(step.name)
    if rule is None:
        yield step
        return
    assert not callable(rule)  # no step carries a matrix
    for inner in rule:
        qubits = tuple(step.qubits[position] for position in inner.qubits)
        angles = tuple(_composed(affine, step.angles) for affine in inner.angles)
        yield from _followed(Step(inner.name, qubits, angles), rules)


def _composed(affine: Affine, angles: tuple[Affine, ...]) -> Affine:
    """Return an angle of an inner step as a function of the angles of the gate replaced first."""
    width = max((len(angle.row) for angle in angles), default=0)
    row, constant = [0.0] * width, affine.constant
    for factor, angle in zip(affine.row, angles, strict=False):
        constant += factor * angle.constant
        for column, entry in enumerate(angle.row):
            row[column] += factor * entry
    return Affine(tuple(row), constant)


_CX = _on("cx", 0, 1)
_CRZ = (_turn("rz", 1, 0.5), _CX, _turn("rz", 1, -0.5), _CX)
_H_H = (_on("h", 0), _on("h", 1))

#: Each gate outside of the portable set in terms of simpler ones; its angles are (θ, φ, λ). The
#: first step of ``cu3`` is the phase of the controlled block: without it the unitary is another.
GATE_RULES: Rules = {
    "sx": (_by("rx", 0, pi / 2),),
    "sxdg": (_by("rx", 0, -pi / 2),),
    "sy": (_by("ry", 0, pi / 2),),
    "p": (_turn("rz", 0, 1.0),),
    "u1": (_turn("rz", 0, 1.0),),
    "u2": (_turn("rz", 0, 0.0, 1.0), _by("ry", 0, pi / 2), _turn("rz", 0, 1.0, 0.0)),
    "u3": (
        _turn("rz", 0, 0.0, 0.0, 1.0),
        _turn("ry", 0, 1.0, 0.0, 0.0),
        _turn("rz", 0, 0.0, 1.0, 0.0),
    ),
    "cy": (_on("si", 1), _CX, _on("s", 1)),
    "cz": (_on("h", 1), _CX, _on("h", 1)),
    "ch": (_by("ry", 1, -pi / 4), _on("cz", 0, 1), _by("ry", 1, pi / 4)),
    "iswap": (_on("s", 0), _on("s", 1), _on("h", 0), _CX, _on("cx", 1, 0), _on("h", 1)),
    "cp": (_turn("rz", 0, 0.5), *_CRZ),
    "crx": (_on("h", 1), *_CRZ, _on("h", 1)),
    "cry": (_turn("ry", 1, 0.5), _CX, _turn("ry", 1, -0.5), _CX),
    "crz": _CRZ,
    "cu3": (
        _turn("rz", 0, 0.0, 0.5, 0.5),
        _turn("rz", 1, 0.0, -0.5, 0.5),
        _CX,
        _turn("rz", 1, 0.0, -0.5, -0.5),
        _turn("ry", 1, -0.5, 0.0, 0.0),
        _CX,
        _turn("ry", 1, 0.5, 0.0, 0.0),
        _turn("rz", 1, 0.0, 1.0, 0.0),
    ),
    "rxx": (*_H_H, Step("rzz", (0, 1), (Affine((1.0,)),)), *_H_H),
    "ryy": (
        _by("rx", 0, pi / 2),
        _by("rx", 1, pi / 2),
        Step("rzz", (0, 1), (Affine((1.0,)),)),
        _by("rx", 0, -pi / 2),
        _by("rx", 1, -pi / 2),
    ),
    "rzz": (_CX, _turn("rz", 1, 1.0), _CX),
    "ccx": (
        *(_on("h", 2), _on("cx", 1, 2), _on("ti", 2), _on("cx", 0, 2), _on("t", 2)),
        *(_on("cx", 1, 2), _on("ti", 2), _on("cx", 0, 2), _on("t", 1), _on("t", 2)),
        *(_on("h", 2), _CX, _on("t", 0), _on("ti", 1), _CX),
    ),
    "cswap": (_on("cx", 2, 1), _on("ccx", 0, 1, 2), _on("cx", 2, 1)),
    UNITARY: _unitary,
}

#: The same in the gates that every Braket device takes.
PORTABLE_RULES: Rules = flat(GATE_RULES)


class LoweredGates(NamedTuple):
    """Lowered gates, and the map from the circuit's angles to the lowered gates' angles.

    Attributes:
        gates: The gates; each has angles of its own.
        rows: For each entry of A, its row: a lowered angle.
        columns: For each entry of A, its column: an original angle.
        entries: The entries.
        constants: b, one for each lowered angle.
    """

    gates: tuple[Gate, ...]
    rows: list[int]
    columns: list[int]
    entries: list[float]
    constants: list[float]


def lower_gates(gates: Iterable[Gate], rules: Rules) -> LoweredGates:
    """Replace gates by the steps of their rules; a gate without a rule stays.

    Args:
        gates: The gates.
        rules: The table.

    Returns:
        The gates and the map of their angles.
    """
    made: list[Gate] = []
    lowered = LoweredGates((), [], [], [], [])
    for gate in gates:
        for step in _steps(gate, rules):
            first = len(lowered.constants)
            for row, constant in step.angles:
                for column, entry in zip(gate.angles, row, strict=False):
                    if entry:
                        lowered.rows.append(len(lowered.constants))
                        lowered.columns.append(column)
                        lowered.entries.append(entry)
                lowered.constants.append(constant)
            qubits = tuple(gate.qubits[position] for position in step.qubits)
            numbers = tuple(range(first, len(lowered.constants)))
            matrix = gate.matrix if step.name == UNITARY else None
            made.append(Gate(step.name, qubits, numbers, matrix))
    return lowered._replace(gates=tuple(made))


def _steps(gate: Gate, rules: Rules) -> tuple[Step, ...]:
    rule = rules.get(gate.name)
    if rule is None:
        rows = np.eye(len(gate.angles)).tolist()
        angles = tuple(Affine(tuple(row)) for row in rows)
        return (Step(gate.name, tuple(range(len(gate.qubits))), angles),)
    if callable(rule):
        assert gate.matrix is not None  # such a rule is that of a gate with a matrix
        return rule(gate.matrix)
    return rule
