"""The gate table: what each gate's name means, and its matrix in NumPy.

A matrix acts on its gate's qubits in the order given, the first one most significant:

    row, column = first qubit's bit · 2 + second qubit's bit      (three qubits: · 4, · 2, · 1)

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
        matrix: Its unitary as a function of its angles.
    """

    name: str
    n_qubits: int
    n_angles: int
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


def _phase(lam: float) -> Matrix:
    return np.diag([1.0, np.exp(1j * lam)])


def _controlled(matrix: Matrix) -> Matrix:
    size = len(matrix)
    out = np.eye(2 * size, dtype=np.complex128)
    out[size:, size:] = matrix
    return out


def _about(pauli: Matrix) -> Callable[[float], Matrix]:
    """Return e^{−iθ/2·P⊗P} as a function of θ."""
    both = np.kron(pauli, pauli)
    return lambda theta: np.cos(theta / 2) * np.eye(4) - 1j * np.sin(theta / 2) * both


def _permuted(*order: int) -> Callable[[], Matrix]:
    return lambda: np.eye(len(order), dtype=np.complex128)[list(order)]


def _constant(rows: list[list[Any]]) -> Callable[[], Matrix]:
    matrix = np.array(rows, dtype=np.complex128)
    return lambda: matrix.copy()


_X = np.array([[0, 1], [1, 0]], dtype=np.complex128)
_Y = np.array([[0, -1j], [1j, 0]])
_Z = np.diag([1, -1]).astype(np.complex128)
_R = 1 / np.sqrt(2)
_H = np.array([[_R, _R], [_R, -_R]], dtype=np.complex128)
_T = np.exp(0.25j * np.pi)
_P, _M = 0.5 + 0.5j, 0.5 - 0.5j
_ISWAP: list[list[Any]] = [[1, 0, 0, 0], [0, 0, 1j, 0], [0, 1j, 0, 0], [0, 0, 0, 1]]

#: Name -> :class:`GateSpec`. ``si`` and ``ti`` are the inverses of ``s`` and ``t``; ``sx`` and
#: ``sy`` are square roots of ``x`` and ``y``; the qubits that a ``c`` stands for come first.
GATES: dict[str, GateSpec] = {
    spec.name: spec
    for spec in (
        GateSpec("h", 1, 0, lambda: _H.copy()),
        GateSpec("x", 1, 0, lambda: _X.copy()),
        GateSpec("y", 1, 0, lambda: _Y.copy()),
        GateSpec("z", 1, 0, lambda: _Z.copy()),
        GateSpec("s", 1, 0, _constant([[1, 0], [0, 1j]])),
        GateSpec("si", 1, 0, _constant([[1, 0], [0, -1j]])),
        GateSpec("t", 1, 0, _constant([[1, 0], [0, _T]])),
        GateSpec("ti", 1, 0, _constant([[1, 0], [0, _T.conjugate()]])),
        GateSpec("sx", 1, 0, _constant([[_P, _M], [_M, _P]])),
        GateSpec("sxdg", 1, 0, _constant([[_M, _P], [_P, _M]])),
        GateSpec("sy", 1, 0, _constant([[_P, -_P], [_P, _P]])),
        GateSpec("rx", 1, 1, _rx),
        GateSpec("ry", 1, 1, _ry),
        GateSpec("rz", 1, 1, _rz),
        GateSpec("p", 1, 1, _phase),
        GateSpec("u1", 1, 1, _phase),
        GateSpec("u2", 1, 2, lambda phi, lam: _u3(np.pi / 2, phi, lam)),
        GateSpec("u3", 1, 3, _u3),
        GateSpec("cx", 2, 0, lambda: _controlled(_X)),
        GateSpec("cy", 2, 0, lambda: _controlled(_Y)),
        GateSpec("cz", 2, 0, lambda: _controlled(_Z)),
        GateSpec("ch", 2, 0, lambda: _controlled(_H)),
        GateSpec("swap", 2, 0, _permuted(0, 2, 1, 3)),
        GateSpec("iswap", 2, 0, _constant(_ISWAP)),
        GateSpec("cp", 2, 1, lambda lam: _controlled(_phase(lam))),
        GateSpec("crx", 2, 1, lambda theta: _controlled(_rx(theta))),
        GateSpec("cry", 2, 1, lambda theta: _controlled(_ry(theta))),
        GateSpec("crz", 2, 1, lambda theta: _controlled(_rz(theta))),
        GateSpec("cu3", 2, 3, lambda *angles: _controlled(_u3(*angles))),
        GateSpec("rxx", 2, 1, _about(_X)),
        GateSpec("ryy", 2, 1, _about(_Y)),
        GateSpec("rzz", 2, 1, _about(_Z)),
        GateSpec("ccx", 3, 0, _permuted(0, 1, 2, 3, 4, 5, 7, 6)),
        GateSpec("cswap", 3, 0, _permuted(0, 1, 2, 3, 4, 6, 5, 7)),
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
        OpenQASM 3 ``stdgates.inc``, and Qiskit's ``iswap``, ``rxx``, ``ryy``, ``rzz``;
        U3(θ, φ, λ) has determinant e^{i(φ+λ)}.

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
