"""The gate table: what each gate's name means, and its matrix in NumPy.

A matrix acts on its gate's qubits in the order given, the first one most significant:

    row, column = first qubit's bit · 2 + second qubit's bit

The matrices here are plain NumPy in double precision. They are the reference that engines are
held against, not the ones engines compute with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import must_be

Matrix = NDArray[np.complex128]


@dataclass(frozen=True)
class GateSpec:
    """One row of the gate table.

    Attributes:
        name: The name in :class:`Circuit` and in canonical JSON.
        n_qubits: How many qubits it acts on.
        n_angles: How many angles (radians) it takes.
        openqasm: Its name in OpenQASM 3 with ``stdgates.inc``.
        matrix: Its unitary as a function of its angles.
    """

    name: str
    n_qubits: int
    n_angles: int
    openqasm: str
    matrix: Callable[..., Matrix]


def _u3(theta: float, phi: float, lam: float) -> Matrix:
    cos, sin = np.cos(theta / 2), np.sin(theta / 2)
    return np.array(
        [[cos, -np.exp(1j * lam) * sin], [np.exp(1j * phi) * sin, np.exp(1j * (phi + lam)) * cos]]
    )


def _rx(theta: float) -> Matrix:
    return _u3(theta, -np.pi / 2, np.pi / 2)


def _ry(theta: float) -> Matrix:
    return _u3(theta, 0.0, 0.0)


def _rz(phi: float) -> Matrix:
    return np.diag([np.exp(-0.5j * phi), np.exp(0.5j * phi)])


def _controlled(matrix: Matrix) -> Matrix:
    out = np.eye(4, dtype=np.complex128)
    out[2:, 2:] = matrix
    return out


def _constant(rows: list[list[Any]]) -> Callable[[], Matrix]:
    matrix = np.array(rows, dtype=np.complex128)
    return lambda: matrix.copy()


_X = [[0, 1], [1, 0]]
_R = 1 / np.sqrt(2)
_T = np.exp(0.25j * np.pi)

#: Name -> :class:`GateSpec`. ``si`` and ``ti`` are the inverses of ``s`` and ``t``; in ``cx``,
#: ``cz`` and ``cu3`` the first qubit is the control.
GATES: dict[str, GateSpec] = {
    spec.name: spec
    for spec in (
        GateSpec("h", 1, 0, "h", _constant([[_R, _R], [_R, -_R]])),
        GateSpec("x", 1, 0, "x", _constant(_X)),
        GateSpec("y", 1, 0, "y", _constant([[0, -1j], [1j, 0]])),
        GateSpec("z", 1, 0, "z", _constant([[1, 0], [0, -1]])),
        GateSpec("s", 1, 0, "s", _constant([[1, 0], [0, 1j]])),
        GateSpec("si", 1, 0, "sdg", _constant([[1, 0], [0, -1j]])),
        GateSpec("t", 1, 0, "t", _constant([[1, 0], [0, _T]])),
        GateSpec("ti", 1, 0, "tdg", _constant([[1, 0], [0, _T.conjugate()]])),
        GateSpec("rx", 1, 1, "rx", _rx),
        GateSpec("ry", 1, 1, "ry", _ry),
        GateSpec("rz", 1, 1, "rz", _rz),
        GateSpec("u3", 1, 3, "u3", _u3),
        GateSpec("cx", 2, 0, "cx", lambda: _controlled(np.array(_X, dtype=np.complex128))),
        GateSpec("cz", 2, 0, "cz", lambda: np.diag([1, 1, 1, -1]).astype(np.complex128)),
        GateSpec("swap", 2, 0, "swap", lambda: np.eye(4, dtype=np.complex128)[[0, 2, 1, 3]]),
        GateSpec("cu3", 2, 3, "cu3", lambda *angles: _controlled(_u3(*angles))),
    )
}

#: The gates that every Braket device takes.
PORTABLE = frozenset({"h", "x", "y", "z", "s", "si", "t", "ti", "rx", "ry", "rz", "cx", "swap"})


def gate_matrix(name: str, angles: tuple[float, ...] = ()) -> Matrix:
    """Return a gate's unitary.

    Args:
        name: A name of the gate table.
        angles: Its angles in radians.

    Returns:
        A ``(2**k, 2**k)`` complex128 matrix for a gate on k qubits.

    Raises:
        ValueError: An unknown gate, or a wrong number of angles.

    Source:
        OpenQASM 3 ``stdgates.inc``; U3(θ, φ, λ) has determinant e^{i(φ+λ)}.

    Example:
        >>> gate_matrix("x").real.astype(int).tolist()
        [[0, 1], [1, 0]]
    """
    spec = GATES.get(name)
    if spec is None:
        raise ValueError(must_be("name", f"one of {', '.join(GATES)}", repr(name)))
    if len(angles) != spec.n_angles:
        raise ValueError(must_be("angles", f"{spec.n_angles} numbers for {name}", angles))
    return spec.matrix(*angles)
