"""Gates on their way in: with inverse, power and controls, phases kept.

An operation is a gate of the table, a ``unitary`` with its matrix, or ``gphase``, a phase of the
whole state: it is dropped at the end, but a control makes it a gate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import pi
from typing import NamedTuple

import numpy as np

from ..circuits import GATES, gate_matrix
from ..circuits._gate import MAX_UNITARY_QUBITS, Rows, unitary_rows
from ..errors import must_be
from ._linear import Linear

#: More controls than this on one gate are refused: its gates grow threefold with each.
MAX_CONTROLS = 8


class Operation(NamedTuple):
    """One gate of a program.

    Attributes:
        name: A name of the gate table, ``unitary`` or ``gphase``.
        qubits: The qubits it acts on, control first.
        angles: Its angles.
        matrix: The rows of a ``unitary``.
    """

    name: str
    qubits: tuple[int, ...]
    angles: tuple[Linear, ...] = ()
    matrix: Rows | None = None


def phase(angle: Linear) -> Operation:
    """Return a global phase, as an operation."""
    return Operation("gphase", (), (angle,))


_SELF_INVERSE = {"h", "x", "y", "z", "cx", "cy", "cz", "ch", "swap", "ccx", "cswap"}
_INVERSES = {"s": "si", "si": "s", "t": "ti", "ti": "t", "sx": "sxdg", "sxdg": "sx"}
#: Gates of one angle, whose powers are multiples of it.
_TURNS = {"rx", "ry", "rz", "p", "u1", "cp", "crx", "cry", "crz", "rxx", "ryy", "rzz", "gphase"}


def inverse(operations: Sequence[Operation]) -> list[Operation]:
    """Return the operations that undo others, phases included."""
    return [undone for one in reversed(operations) for undone in _inverse(one)]


def _inverse(one: Operation) -> list[Operation]:
    if one.name in _SELF_INVERSE:
        return [one]
    if one.name in _INVERSES:
        return [one._replace(name=_INVERSES[one.name])]
    if one.name in _TURNS:
        return [one._replace(angles=(one.angles[0].times(-1.0),))]
    if one.name == "sy":
        quarter = (Linear(-pi / 2),)
        return [phase(Linear(-pi / 4)), Operation("ry", one.qubits, quarter)]
    if one.name == "iswap":
        return [Operation(name, one.qubits, (Linear(pi / 2),)) for name in ("rxx", "ryy")]
    if one.name == "unitary":
        return [one._replace(matrix=unitary_rows(np.array(one.matrix).conj().T))]
    theta, phi, lam = (Linear(pi / 2), *one.angles) if one.name == "u2" else one.angles
    name = "u3" if one.name == "u2" else one.name
    turned = (theta.times(-1.0), lam.times(-1.0), phi.times(-1.0))
    return [Operation(name, one.qubits, turned)]


def power(operations: Sequence[Operation], exponent: float) -> list[Operation]:
    """Return a power of a product of operations, phases included.

    Args:
        operations: The operations, first one first.
        exponent: Any integer; another number for one gate of one or no angle.

    Returns:
        The operations of the power; fractional ones are principal.

    Raises:
        ValueError: A fractional power of several gates or of a gate of several angles.
    """
    if float(exponent).is_integer():
        whole = list(operations) if exponent >= 0 else inverse(operations)
        if all(one.name in _TURNS for one in whole) and len(whole) == 1:
            return [whole[0]._replace(angles=(whole[0].angles[0].times(abs(exponent)),))]
        if abs(exponent) * len(whole) > 1e6:
            raise ValueError(must_be("pow", "of at most 1e6 gates", exponent))
        return whole * int(abs(exponent))
    if len(operations) == 1:
        (one,) = operations
        if one.name in _TURNS:
            return [one._replace(angles=(one.angles[0].times(exponent),))]
        if not one.angles:
            matrix = np.array(one.matrix) if one.matrix else gate_matrix(one.name)
            return [Operation("unitary", one.qubits, (), _principal(matrix, exponent))]
    hint = "Write the gates of the power themselves."
    raise ValueError(must_be("pow", "an integer, or of one gate without angles", exponent, hint))


def _principal(matrix: np.ndarray, exponent: float) -> Rows:
    from scipy.linalg import schur

    triangle, vectors = schur(matrix.astype(complex), output="complex")
    # −1 may come out a little below the cut: its principal power is that of e^{iπ}.
    angles = np.angle(triangle.diagonal())
    angles = np.where(angles < -pi + 1e-12, pi, angles)
    return unitary_rows((vectors * np.exp(1j * exponent * angles)) @ vectors.conj().T)


#: Gate -> how many of its qubits are controls, and of what.
_CONTROLLED = {
    **{"cx": (1, "x"), "cy": (1, "y"), "cz": (1, "z"), "ch": (1, "h"), "cp": (1, "p")},
    **{"crx": (1, "rx"), "cry": (1, "ry"), "crz": (1, "rz"), "cu3": (1, "u3")},
    **{"ccx": (2, "x"), "cswap": (1, "swap")},
}
_NAMES = {(base, count): name for name, (count, base) in _CONTROLLED.items()}
_NAMES[("u1", 1)] = "cp"
#: Gates that are a phase of |1⟩.
_PHASES = {"z": pi, "s": pi / 2, "si": -pi / 2, "t": pi / 4, "ti": -pi / 4}
#: Gates that are another gate and a phase of the whole state.
_ROOTS = {"sx": ("rx", 1), "sxdg": ("rx", -1), "sy": ("ry", 1)}


def controlled(operations: Iterable[Operation], controls: tuple[int, ...]) -> list[Operation]:
    """Return operations that act where all controls are 1, phases included.

    Args:
        operations: The operations, first one first.
        controls: Other qubits than theirs.

    Returns:
        Gates of the table.

    Raises:
        ValueError: Too many controls.

    Source:
        Barenco et al., arXiv quant-ph/9503016.
    """
    if not controls:
        return list(operations)
    return [gate for one in operations for gate in _controlled(one, controls)]


def _controlled(one: Operation, controls: tuple[int, ...]) -> Iterator[Operation]:
    count, base = _CONTROLLED.get(one.name, (0, one.name))
    controls, targets = (*controls, *one.qubits[:count]), one.qubits[count:]
    if len(controls) > MAX_CONTROLS:
        hint = "Write the gate with auxiliary qubits."
        expected = f"gates of at most {MAX_CONTROLS} controls"
        raise ValueError(must_be("source", expected, len(controls), hint))
    if base == "gphase":
        if controls:
            yield from _phase_of_ones(controls, one.angles[0])
    elif (base, len(controls)) in _NAMES:
        yield Operation(_NAMES[base, len(controls)], (*controls, *targets), one.angles)
    elif base == "unitary" and len(controls) + len(targets) <= MAX_UNITARY_QUBITS:
        small = np.array(one.matrix)
        wide = np.eye(len(small) * 2 ** len(controls), dtype=complex)
        wide[-len(small) :, -len(small) :] = small
        yield Operation("unitary", (*controls, *targets), (), unitary_rows(wide))
    else:
        yield from _many(base, one, controls, targets)


def _many(
    base: str, one: Operation, controls: tuple[int, ...], targets: tuple[int, ...]
) -> Iterator[Operation]:
    """Yield a gate with more controls than the table has a name for."""
    if base == "x":
        yield from controlled_x(controls, targets[0])
    elif base in ("p", "u1") or base in _PHASES:
        angle = one.angles[0] if one.angles else Linear(_PHASES[base])
        yield from _phase_of_ones((*controls, *targets), angle)
    elif base in ("rz", "ry"):
        for sign in (0.5, -0.5):
            yield Operation(base, targets, (one.angles[0].times(sign),))
            yield from controlled_x(controls, targets[0])
    elif base in _ROOTS:
        name, sign = _ROOTS[base]
        parts = [phase(Linear(sign * pi / 4)), Operation(name, targets, (Linear(sign * pi / 2),))]
        yield from controlled(parts, controls)
    elif base in ("u2", "u3"):
        theta, phi, lam = (Linear(pi / 2), *one.angles) if base == "u2" else one.angles
        parts = [Operation("rz", targets, (lam,)), Operation("ry", targets, (theta,))]
        parts += [Operation("rz", targets, (phi,)), phase(phi.plus(lam).times(0.5))]
        yield from controlled(parts, controls)
    elif base == "swap":
        yield Operation("cx", (targets[1], targets[0]))
        yield from controlled_x((*controls, targets[0]), targets[1])
        yield Operation("cx", (targets[1], targets[0]))
    elif base == "iswap":
        parts = [Operation(name, targets, (Linear(-pi / 2),)) for name in ("rxx", "ryy")]
        yield from controlled(parts, controls)
    else:
        before, middle = _conjugated(base, one, targets)
        yield from before
        yield from controlled(middle, controls)
        yield from inverse(before)


def _conjugated(
    base: str, one: Operation, targets: tuple[int, ...]
) -> tuple[list[Operation], list[Operation]]:
    """Return V and W with gate = V†·W·V; a controlled gate then needs a control on W alone."""
    first = targets[:1]
    if base == "y":
        return [Operation("si", first)], [Operation("x", first)]
    if base == "h":
        return [Operation("ry", first, (Linear(-pi / 4),))], [Operation("z", first)]
    if base == "rx":
        return [Operation("h", first)], [Operation("rz", first, one.angles)]
    if base == "rzz":
        return [Operation("cx", targets)], [Operation("rz", targets[1:], one.angles)]
    turns = {"rxx": ("h", ()), "ryy": ("rx", (Linear(pi / 2),))}
    if base not in turns:
        expected = "controls on gates whose decomposition is known"
        raise ValueError(must_be("source", expected, f"{len(one.qubits)}-qubit {base}"))
    name, angles = turns[base]
    return [Operation(name, (q,), angles) for q in targets], [one._replace(name="rzz")]


def controlled_x(controls: tuple[int, ...], target: int) -> Iterator[Operation]:
    """Yield X on a target where all controls are 1, in gates of the table."""
    if len(controls) <= 2:
        yield Operation(("x", "cx", "ccx")[len(controls)], (*controls, target))
        return
    yield Operation("h", (target,))
    yield from _phase_of_ones((*controls, target), Linear(pi))
    yield Operation("h", (target,))


def _phase_of_ones(qubits: tuple[int, ...], angle: Linear) -> Iterator[Operation]:
    """Yield a phase where all qubits are 1, in gates of the table."""
    if len(qubits) <= 2:
        yield Operation(("p", "cp")[len(qubits) - 1], qubits, (angle,))
        return
    *others, last, target = qubits
    half = angle.times(0.5)
    yield Operation("cp", (last, target), (half,))
    yield from controlled_x(tuple(others), last)
    yield Operation("cp", (last, target), (half.times(-1.0),))
    yield from controlled_x(tuple(others), last)
    yield from _phase_of_ones((*others, target), half)


def moved(one: Operation, places: Sequence[int]) -> Operation:
    """Return an operation whose qubit number k is now ``places[k]``."""
    return one._replace(qubits=tuple(places[qubit] for qubit in one.qubits))


def named(name: str, qubits: Sequence[int], angles: Sequence[Linear] = ()) -> Operation | None:
    """Return the table's gate of a name, if it takes as many qubits and angles."""
    spec = GATES.get(name)
    if spec is None or spec.n_qubits != len(qubits) or spec.n_angles != len(angles):
        return None
    return Operation(name, tuple(qubits), tuple(angles))
