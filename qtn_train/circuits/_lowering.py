"""Lowering: the same gates in a smaller set, with their angles as a linear map.

    lowered angles = A @ angles + b        gradient by angles = A.T @ gradient by lowered angles

A table holds one rule per gate: the steps that replace it, to which the table is applied again.
The mechanism knows no gate's name, so another set of gates needs another table only.
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


#: Gate -> its steps; for a gate that carries its matrix, a function of the matrix.
Rules = Mapping[str, tuple[Step, ...] | Callable[[Rows], tuple[Step, ...]]]


def _turn(name: str, qubit: int, *row: float) -> Step:
    return Step(name, (qubit,), (Affine(row),))


def _by(name: str, qubit: int, angle: float) -> Step:
    """A rotation by a constant angle."""
    return Step(name, (qubit,), (Affine((), angle),))


def _on(name: str, *qubits: int) -> Step:
    return Step(name, qubits)


@lru_cache(maxsize=256)
def unitary_steps(matrix: Rows) -> tuple[Step, ...]:
    """Return the steps of a gate that carries its matrix."""
    return tuple(
        Step(name, qubits, tuple(Affine((), angle) for angle in angles))
        for name, qubits, angles in decompose(np.array(matrix))
    )


_CX = _on("cx", 0, 1)
_CRZ = (_turn("rz", 1, 0.5), _CX, _turn("rz", 1, -0.5), _CX)
_H_H = (_on("h", 0), _on("h", 1))

#: Gate -> its steps, in the order (θ, φ, λ) of its angles. The first step of ``cu3`` is the phase
#: of the controlled block: without it the unitary is another one.
PORTABLE_RULES: Rules = {
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
    UNITARY: unitary_steps,
}


class _Angle(NamedTuple):
    """A linear combination of the circuit's angles, and a constant."""

    coefficients: dict[int, float]
    constant: float


class LoweredGates(NamedTuple):
    """Lowered gates and the entries of the map to their angles.

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
    """Replace gates by the steps of their rules, again and again; one without a rule stays.

    Args:
        gates: The gates.
        rules: The table.

    Returns:
        The gates and the map of their angles.
    """
    lowered = LoweredGates((), [], [], [], [])
    made: list[Gate] = []
    for gate in gates:
        given = tuple(_Angle({index: 1.0}, 0.0) for index in gate.angles)
        for final, angles in _expanded(gate, given, rules):
            first = len(lowered.constants)
            for angle in angles:
                for column, entry in angle.coefficients.items():
                    lowered.rows.append(len(lowered.constants))
                    lowered.columns.append(column)
                    lowered.entries.append(entry)
                lowered.constants.append(angle.constant)
            numbers = tuple(range(first, len(lowered.constants)))
            made.append(Gate(final.name, final.qubits, numbers, final.matrix))
    return lowered._replace(gates=tuple(made))


def _expanded(
    gate: Gate, angles: tuple[_Angle, ...], rules: Rules
) -> Iterator[tuple[Gate, tuple[_Angle, ...]]]:
    steps = rules.get(gate.name)
    if steps is None:
        yield gate, angles
        return
    if callable(steps):
        assert gate.matrix is not None  # such a rule is that of a gate with a matrix
        steps = steps(gate.matrix)
    for step in steps:
        qubits = tuple(gate.qubits[position] for position in step.qubits)
        combined = tuple(_combined(affine, angles) for affine in step.angles)
        yield from _expanded(Gate(step.name, qubits), combined, rules)


def _combined(affine: Affine, angles: tuple[_Angle, ...]) -> _Angle:
    coefficients: dict[int, float] = {}
    constant = affine.constant
    for factor, angle in zip(affine.row, angles, strict=False):
        if factor:
            constant += factor * angle.constant
            for index, entry in angle.coefficients.items():
                coefficients[index] = coefficients.get(index, 0.0) + factor * entry
    return _Angle({index: entry for index, entry in coefficients.items() if entry}, constant)
