"""Native gates of three families, with their angles as a linear map of the circuit's angles.

    circuit ─rules─► rx ry rz cz ─family─►  iqm      prx(θ, φ), cz       rz is kept as a frame
                                            rigetti  rx(±π/2, π), rz, cz
                                            ionq     gpi(φ), gpi2(φ), zz rz is kept as a frame

A frame is a rotation about z that was put off: it changes the phases φ of later gates on its
qubit and passes through cz and zz. What is left of it at the end does not change what is measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import pi
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...circuits import Circuit, Gate, Lowered
from ...circuits._lowering import GATE_RULES, Affine, Step, flat
from ._target import Family

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, eq=False)
class Native:
    """A circuit lowered to the native gates of one family of devices.

    Attributes:
        gates: Their names are Braket's; the angles are rows of ``A`` and ``b``.
        A: Sparse matrix, (native angles × the circuit's angles), float64.
        b: The constants, one for each native angle, float64.
    """

    gates: tuple[Gate, ...]
    A: csr_array
    b: NDArray[np.float64]


def _constant(name: str, qubit: int, angle: float, *, row: tuple[float, ...] = ()) -> Step:
    return Step(name, (qubit,), (Affine(row, angle),))


def _same(name: str) -> Step:
    return Step(name, (0,), (Affine((1.0,)),))


_CX = Step("cx", (0, 1))
_CZ = Step("cz", (0, 1))

#: First: nothing but rotations, fixed gates, cx and cz.
_SWAP = {"swap": (_CX, Step("cx", (1, 0)), _CX)}
_FIRST = flat({name: rule for name, rule in GATE_RULES.items() if name != "cz"} | _SWAP)

_FIXED = {
    "x": (_constant("rx", 0, pi),),
    "z": (_constant("rz", 0, pi),),
    "s": (_constant("rz", 0, pi / 2),),
    "si": (_constant("rz", 0, -pi / 2),),
    "t": (_constant("rz", 0, pi / 4),),
    "ti": (_constant("rz", 0, -pi / 4),),
}

#: Second, where any angle may be turned about x and y: each h and y is one turn about y.
_ANY_ANGLE = _FIXED | {
    "h": (_constant("rz", 0, pi), _constant("ry", 0, pi / 2)),
    "y": (_constant("ry", 0, pi),),
    "cx": (_constant("ry", 1, -pi / 2), _CZ, _constant("ry", 1, pi / 2)),
}


def _h(qubit: int) -> tuple[Step, ...]:
    turn = _constant("rz", qubit, pi / 2)
    return (turn, _constant("rx", qubit, pi / 2), turn)


def _quarter(sign: int, name: str = "rx") -> Step:
    return _constant(name, 0, sign * pi / 2, row=(0.0,))


#: Second, where only quarter and half turns about x exist: every other angle is one about z.
_QUARTERS = _FIXED | {
    "h": _h(0),
    "y": (_constant("rx", 0, pi), _constant("rz", 0, pi)),
    "cx": (*_h(1), _CZ, *_h(1)),
    "ry": (_quarter(1), _same("rz"), _quarter(-1)),
    "rx": (_quarter(1, "rz"), _quarter(1), _same("rz"), _quarter(-1), _quarter(-1, "rz")),
}


@lru_cache(maxsize=64)
def lower_native(circuit: Circuit, family: Family) -> Native:
    """Lower a circuit to a family's native gates.

    Args:
        circuit: Any circuit.
        family: Whose gates.

    Returns:
        The same distribution of outcomes; the same state up to a phase of each outcome.

    Source:
        Ours, from the identities Ry(θ) = Rx(−π/2)·Rz(θ)·Rx(π/2), CX = Ry(π/2)·CZ·Ry(−π/2) on
        the target, and CZ = ZZ(π/2)·Rz(−π/2)⊗Rz(−π/2), the last two up to a global phase.

    Example:
        >>> native = lower_native(Circuit.builder(2).ry(0).cx(0, 1).build(), "iqm")
        >>> [gate.name for gate in native.gates]
        ['prx', 'prx', 'cz', 'prx']
    """
    first = circuit.lower(_FIRST)
    second = first.circuit.lower(_ANY_ANGLE if family == "iqm" else _QUARTERS)
    matrix, constants = second.A @ first.A, second.A @ first.b + second.b
    if family == "rigetti":
        return Native(second.circuit.gates, matrix, constants)
    framed = _Framer(second, family).run()
    return Native(framed.gates, framed.A @ matrix, framed.A @ constants + framed.b)


class _Row(dict[int, float]):
    """A linear combination of angles; the constant has index −1."""

    def plus(self, other: dict[int, float], factor: float = 1.0) -> _Row:
        total = _Row(self)
        for index, value in other.items():
            total[index] = total.get(index, 0.0) + factor * value
            if not total[index]:
                del total[index]
        return total


class _Framer:
    """Builder of a native circuit: rz become frames; rx, ry and cz become gates of the family."""

    def __init__(self, lowered: Lowered, family: Family) -> None:
        self.lowered = lowered
        self.family = family
        self.frames = [_Row() for _ in range(lowered.circuit.n_qubits)]
        self.waiting: dict[int, tuple[_Row, _Row]] = {}
        self.gates: list[Gate] = []
        self.rows: list[_Row] = []

    def run(self) -> Native:
        for gate in self.lowered.circuit.gates:
            angle = self.row(gate)
            if gate.name == "rz":
                self.frames[gate.qubits[0]] = self.frames[gate.qubits[0]].plus(angle)
            elif gate.name == "cz":
                self.pair(gate.qubits)
            else:
                self.turn(gate.qubits[0], angle, pi / 2 if gate.name == "ry" else 0.0)
        self.flush(range(len(self.frames)))
        return self.result()

    def row(self, gate: Gate) -> _Row:
        """Return a gate's angle as a combination of the circuit's angles, or as a constant."""
        if not gate.angles:
            return _Row()
        index = gate.angles[0]
        if self.lowered.A.indptr[index] == self.lowered.A.indptr[index + 1]:
            return _Row({-1: float(self.lowered.b[index])})
        return _Row({index: 1.0})

    def turn(self, qubit: int, angle: _Row, axis: float) -> None:
        """Add a qubit's turn about the axis at ``axis`` in the plane of x and y of its frame."""
        phase = _Row({-1: axis} if axis else {}).plus(self.frames[qubit], -1.0)
        if self.family == "ionq":
            quarter = round(angle[-1] / (pi / 2))
            if quarter < 0:
                phase = phase.plus({-1: pi})
            self.emit("gpi" if abs(quarter) == 2 else "gpi2", (qubit,), phase)
            return
        before = self.waiting.get(qubit)
        if before is not None and before[1] == phase:
            angle = before[0].plus(angle)
        else:
            self.flush([qubit])
        self.waiting[qubit] = (angle, phase)

    def pair(self, qubits: tuple[int, ...]) -> None:
        self.flush(qubits)
        if self.family == "iqm":
            self.emit("cz", qubits)
            return
        self.emit("zz", qubits, _Row({-1: pi / 2}))
        for qubit in qubits:
            self.frames[qubit] = self.frames[qubit].plus({-1: -pi / 2})

    def flush(self, qubits: Iterable[int]) -> None:
        """Write the pending turns of some qubits, held back to be joined with later ones."""
        for qubit in qubits:
            angle, phase = self.waiting.pop(qubit, (_Row(), _Row()))
            if angle:
                self.emit("prx", (qubit,), angle, phase)

    def emit(self, name: str, qubits: tuple[int, ...], *rows: _Row) -> None:
        first = len(self.rows)
        self.rows.extend(rows)
        self.gates.append(Gate(name, qubits, tuple(range(first, len(self.rows)))))

    def result(self) -> Native:
        from scipy.sparse import csr_array

        entries = [
            (value, place, index)
            for place, row in enumerate(self.rows)
            for index, value in row.items()
            if index >= 0
        ]
        values, places, indices = zip(*entries, strict=True) if entries else ((), (), ())
        shape = (len(self.rows), self.lowered.circuit.n_angles)
        numbers = np.array(values, dtype=np.float64)
        coordinates = (np.array(places, dtype=np.int32), np.array(indices, dtype=np.int32))
        matrix = csr_array((numbers, coordinates), shape=shape)
        constants = np.array([row.get(-1, 0.0) for row in self.rows], dtype=np.float64)
        return Native(tuple(self.gates), matrix, constants)
