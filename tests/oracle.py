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
    one = np.eye(len(matrix))
    return np.kron((I2 + Z) / 2, one) + np.kron((I2 - Z) / 2, matrix)


def _root(pauli: Array) -> Array:
    """The square root of a Pauli matrix whose eigenvalues are 1 and i."""
    return np.asarray((I2 + pauli) / 2 + 1j * (I2 - pauli) / 2)


def _about(pauli: Array, angle: float) -> Array:
    """e^{−iθ/2·P⊗P} from the projectors on the eigenvalues ±1."""
    both, one = np.kron(pauli, pauli), np.eye(4)
    plus, minus = (one + both) / 2, (one - both) / 2
    turn = np.cos(angle / 2) - 1j * np.sin(angle / 2)
    return np.asarray(turn * plus + np.conj(turn) * minus)


def _swap() -> Array:
    return np.asarray(sum(np.kron(p, p) for p in (I2, X, Y, Z)) / 2)


def _iswap() -> Array:
    """e^{iπ/4·(X⊗X + Y⊗Y)}, whose exponent is iπ/2 times an operator with eigenvalues 0, ±1."""
    exchange = (np.kron(X, X) + np.kron(Y, Y)) / 2
    return np.asarray(np.eye(4) - exchange @ exchange + 1j * exchange)


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
    "sx": lambda: _root(X),
    "sxdg": lambda: _root(X).conj().T,
    "sy": lambda: _root(Y),
    "p": _phase,
    "u1": _phase,
    "u2": lambda phi, lam: _u3(np.pi / 2, phi, lam),
    "cx": lambda: _controlled(X),
    "cy": lambda: _controlled(Y),
    "cz": lambda: _controlled(Z),
    "ch": lambda: _controlled((X + Z) / np.sqrt(2)),
    "swap": _swap,
    "iswap": _iswap,
    "cp": lambda angle: _controlled(_phase(angle)),
    "crx": lambda angle: _controlled(_rotation(X, angle)),
    "cry": lambda angle: _controlled(_rotation(Y, angle)),
    "crz": lambda angle: _controlled(_rotation(Z, angle)),
    "cu3": lambda *angles: _controlled(_u3(*angles)),
    "rxx": lambda angle: _about(X, angle),
    "ryy": lambda angle: _about(Y, angle),
    "rzz": lambda angle: _about(Z, angle),
    "ccx": lambda: _controlled(_controlled(X)),
    "cswap": lambda: _controlled(_swap()),
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
        dense = gate.matrix or matrix(gate.name, *values[list(gate.angles)])
        unitary = np.asarray(dense).reshape((2,) * (2 * k))
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


def random_unitary(rng: np.random.Generator, n_qubits: int) -> Array:
    """Return a Haar-random unitary matrix."""
    size = 2**n_qubits
    normal = rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))
    q, r = np.linalg.qr(normal)
    return np.asarray(q * (r.diagonal() / np.abs(r.diagonal())))


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
        names: The gates to draw from; ``unitary`` is one of at most two qubits.
        share: Probability that an angle is one that exists already.
    """
    sizes = {name: GATES[name].n_qubits if name in GATES else 1 for name in names}
    fitting = [name for name in names if sizes[name] <= n_qubits]
    gates: list[Gate] = []
    n_angles = 0
    for _ in range(n_gates):
        name = fitting[rng.integers(len(fitting))]
        if name == "unitary":
            k = int(rng.integers(1, min(2, n_qubits) + 1))
            own = tuple(map(int, rng.choice(n_qubits, size=k, replace=False)))
            rows = tuple(map(tuple, random_unitary(rng, k).tolist()))
            gates.append(Gate(name, own, (), rows))
            continue
        spec = GATES[name]
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
