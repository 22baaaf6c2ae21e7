"""A plain NumPy state-vector simulator: the independent truth that engines are held against.

It shares no matrix with the package: rotations are exponentials of Pauli matrices written as
cos and sin, U3 is written down, and controlled gates are built from projectors. Qubit 0 is the
most significant bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qtn_train.circuits import GATES, Circuit, Gate

Array = NDArray[np.complex128]

I2 = np.eye(2, dtype=np.complex128)
X = np.array([[0, 1], [1, 0]], dtype=np.complex128)
Y = np.array([[0, -1j], [1j, 0]])
Z = np.array([[1, 0], [0, -1]], dtype=np.complex128)


def _phase(angle: float) -> Array:
    return np.diag([1, np.cos(angle) + 1j * np.sin(angle)])


def _rotation(pauli: Array, angle: float) -> Array:
    return np.asarray(np.cos(angle / 2) * I2 - 1j * np.sin(angle / 2) * pauli)


def _u3(theta: float, phi: float, lam: float) -> Array:
    turn = np.array(
        [[np.cos(theta / 2), -np.sin(theta / 2)], [np.sin(theta / 2), np.cos(theta / 2)]]
    )
    return np.asarray(_phase(phi) @ turn @ _phase(lam))


def _controlled(matrix: Array) -> Array:
    return np.kron((I2 + Z) / 2, I2) + np.kron((I2 - Z) / 2, matrix)


_MATRICES: dict[str, Callable[..., Any]] = {
    "h": lambda: (X + Z) / np.sqrt(2),
    "x": lambda: X,
    "y": lambda: Y,
    "z": lambda: Z,
    "s": lambda: _phase(np.pi / 2),
    "si": lambda: _phase(-np.pi / 2),
    "t": lambda: _phase(np.pi / 4),
    "ti": lambda: _phase(-np.pi / 4),
    "rx": lambda angle: _rotation(X, angle),
    "ry": lambda angle: _rotation(Y, angle),
    "rz": lambda angle: _rotation(Z, angle),
    "u3": _u3,
    "cx": lambda: _controlled(X),
    "cz": lambda: _controlled(Z),
    "swap": lambda: sum(np.kron(p, p) for p in (I2, X, Y, Z)) / 2,
    "cu3": lambda *angles: _controlled(_u3(*angles)),
}


def matrix(name: str, *angles: float) -> Array:
    """Return a gate's unitary, its first qubit the more significant one."""
    return np.asarray(_MATRICES[name](*angles), dtype=np.complex128)


def _run(circuit: Circuit, angles: ArrayLike, columns: Array) -> Array:
    """Apply the circuit to each column of a ``(2**N, k)`` array."""
    values = np.asarray(angles, dtype=np.float64)
    tensor = columns.reshape((2,) * circuit.n_qubits + (-1,))
    for gate in circuit.gates:
        k = len(gate.qubits)
        unitary = matrix(gate.name, *values[list(gate.angles)]).reshape((2,) * (2 * k))
        tensor = np.tensordot(unitary, tensor, axes=(range(k, 2 * k), gate.qubits))
        tensor = np.moveaxis(tensor, range(k), gate.qubits)
    return tensor.reshape(columns.shape)


def amplitudes(circuit: Circuit, angles: ArrayLike) -> Array:
    """Return the ``(2**N,)`` amplitudes of the circuit's state, started in |0…0⟩."""
    start = np.zeros((2**circuit.n_qubits, 1), dtype=np.complex128)
    start[0] = 1
    return _run(circuit, angles, start)[:, 0]


def unitary(circuit: Circuit, angles: ArrayLike) -> Array:
    """Return the circuit's ``(2**N, 2**N)`` unitary."""
    return _run(circuit, angles, np.eye(2**circuit.n_qubits, dtype=np.complex128))


def phase_distance(a: Array, b: Array) -> float:
    """Return the largest element of |a − e^{iφ} b| at the best global phase φ."""
    overlap = np.vdot(b, a)
    return float(np.abs(a - overlap / np.abs(overlap) * b).max())


def random_circuit(
    rng: np.random.Generator,
    n_qubits: int,
    n_gates: int,
    names: Sequence[str] = tuple(GATES),
    share: float = 0.0,
) -> Circuit:
    """Return random gates on random qubits.

    Args:
        rng: Where the randomness comes from.
        n_qubits: Number of qubits; gates on more qubits than that are left out.
        n_gates: Number of gates.
        names: The gates to draw from.
        share: Probability that an angle is one that exists already.
    """
    fitting = [name for name in names if GATES[name].n_qubits <= n_qubits]
    gates: list[Gate] = []
    n_angles = 0
    for _ in range(n_gates):
        spec = GATES[fitting[rng.integers(len(fitting))]]
        qubits = rng.choice(n_qubits, size=spec.n_qubits, replace=False)
        indices = []
        for _ in range(spec.n_angles):
            if n_angles and rng.random() < share:
                indices.append(int(rng.integers(n_angles)))
            else:
                indices.append(n_angles)
                n_angles += 1
        gates.append(Gate(spec.name, tuple(map(int, qubits)), tuple(indices)))
    return Circuit(n_qubits, tuple(gates), n_angles)
