"""Any unitary matrix as rotations and CX, up to a global phase: cosine-sine and eigenvalues.

    U = (A₀ ⊕ A₁) · cosine-sine · (B₀ ⊕ B₁)         the first qubit chooses among two blocks
    A₀ ⊕ A₁ = V · (D ⊕ D†) · W                      V and W act on the other qubits alone

The middle factors are rotations of the first qubit about y and z, by angles that the other qubits
choose; the outer ones are smaller unitaries, down to one qubit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._gates import Matrix


class Fixed(NamedTuple):
    """One gate of a decomposition: its name, its qubits by position, its angles in radians."""

    name: str
    qubits: tuple[int, ...]
    angles: tuple[float, ...] = ()


def decompose(matrix: Matrix) -> list[Fixed]:
    """Return gates whose product is a unitary matrix, up to a global phase.

    Args:
        matrix: A unitary of ``2**k`` rows, the first qubit most significant.

    Returns:
        U3, RY, RZ and CX on the qubits 0…k−1, first one first; 6 CX for two qubits, and about
        ``4**k`` for more.

    Source:
        Quantum Shannon decomposition, arXiv quant-ph/0406176, without its optimizations.

    Example:
        >>> [gate.name for gate in decompose(np.array([[0, 1], [1, 0]], dtype=complex))]
        ['u3']
    """
    n_qubits = len(matrix).bit_length() - 1
    return _shannon(matrix, tuple(range(n_qubits)))


def _shannon(matrix: Matrix, qubits: tuple[int, ...]) -> list[Fixed]:
    if len(qubits) == 1:
        return [Fixed("u3", qubits, u3_angles(matrix))]
    from scipy.linalg import cossin

    half = len(matrix) // 2
    left, thetas, right = cossin(matrix, p=half, q=half, separate=True)
    return [
        *_blocks(right[0], right[1], qubits),
        *_chosen("ry", 2 * thetas, qubits[0], qubits[1:]),
        *_blocks(left[0], left[1], qubits),
    ]


def _blocks(zero: Matrix, one: Matrix, qubits: tuple[int, ...]) -> list[Fixed]:
    """Return gates that apply ``zero`` where the first qubit is 0 and ``one`` where it is 1."""
    from scipy.linalg import schur

    # The Schur form of a unitary is diagonal, and its vectors are orthonormal at any degeneracy.
    triangle, vectors = schur(zero @ one.conj().T, output="complex")
    phases = np.angle(triangle.diagonal()) / 2
    other = np.exp(1j * phases)[:, None] * (vectors.conj().T @ one)
    return [
        *_shannon(other, qubits[1:]),
        *_chosen("rz", -2 * phases, qubits[0], qubits[1:]),
        *_shannon(vectors, qubits[1:]),
    ]


def _chosen(
    name: str, angles: NDArray[np.float64], target: int, controls: Sequence[int]
) -> list[Fixed]:
    """Return gates that rotate the target by ``angles[k]`` where the controls hold the number k."""
    if not controls:
        return [Fixed(name, (target,), (float(angles[0]),))]
    first, second = np.split(angles, 2)
    turned = Fixed("cx", (controls[0], target))
    return [
        *_chosen(name, (first + second) / 2, target, controls[1:]),
        turned,
        *_chosen(name, (first - second) / 2, target, controls[1:]),
        turned,
    ]


def u3_angles(matrix: Matrix) -> tuple[float, float, float]:
    """Return θ, φ, λ of a one-qubit unitary; its global phase is left out."""
    (a, b), (c, d) = matrix
    theta = 2 * float(np.arctan2(abs(c), abs(a)))
    if abs(a) < abs(c):
        phi, lam = np.angle(c), np.angle(-b)
        shift = np.angle(a) if abs(a) > 0 else 0.0
        if abs(a) > 0:
            return theta, float(phi - shift), float(lam - shift)
        return theta, float(phi - lam), 0.0
    shift = np.angle(a)
    total = float(np.angle(d) - shift)
    phi = float(np.angle(c) - shift) if abs(c) > 0 else 0.0
    return theta, phi, total - phi
