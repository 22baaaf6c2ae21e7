"""A peer for the tests of ``benchmarks.peers``: NumPy alone, and faults on request."""

import os
import sys
import time

import numpy as np
from _serve import Array, Case, Passes, serve

ABOUT = {"ry": (0.0, 0.0), "rx": (-np.pi / 2, np.pi / 2)}


def matrix(name: str, by: list[float]) -> Array:
    if name in ("cx", "cz"):
        inner = np.array([[0, 1], [1, 0]]) if name == "cx" else np.diag([1, -1])
    elif name == "rz":
        return np.diag(np.exp([-0.5j * by[0], 0.5j * by[0]]))
    else:
        theta, phi, lam = by if len(by) == 3 else (by[0], *ABOUT[name])
        cos, sin = np.cos(theta / 2), np.sin(theta / 2)
        inner = np.array(
            [
                [cos, -np.exp(1j * lam) * sin],
                [np.exp(1j * phi) * sin, np.exp(1j * (phi + lam)) * cos],
            ]
        )
    if not name.startswith("c"):
        return inner
    whole = np.eye(4, dtype=complex)
    whole[2:, 2:] = inner
    return whole


def state(case: Case, angles: Array) -> Array:
    psi = np.zeros((2,) * case.n_qubits, dtype=complex)
    psi[(0,) * case.n_qubits] = 1
    for name, on, by in case.gates:
        k = len(on)
        gate = matrix(name, [angles[i] for i in by]).reshape((2,) * 2 * k)
        psi = np.moveaxis(np.tensordot(gate, psi, (range(k, 2 * k), on)), range(k), on)
    return psi


def values(case: Case, angles: Array) -> Array:
    psi, n = state(case, angles), case.n_qubits
    if case.request == "all":
        return np.abs(psi.reshape(-1)) ** 2
    paulis = [np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])]
    sets = [(paulis[2], [n // 2])]
    if case.request == "pairs":
        sets = [(p, [i, j]) for p in paulis for i in range(n) for j in range(i + 1, n)]
    found = []
    for pauli, on in sets:
        turned = psi
        for qubit in on:
            turned = np.moveaxis(np.tensordot(pauli, turned, (1, qubit)), 0, qubit)
        found.append(np.vdot(psi, turned).real)
    return np.array(found)


def make(case: Case) -> Passes:
    fault = sys.argv[1] if len(sys.argv) > 1 else ""
    if fault == "raises":
        raise ValueError("no such circuit here")
    angles = case.angles.astype(float)

    def forward() -> Array:
        print("what a peer prints is no answer")
        if fault == "dies":
            print("Error: out of luck", file=sys.stderr)
            os._exit(3)
        if fault == "sleeps":
            time.sleep(600)
        if fault == "grows":
            kept = np.ones(2**25)  # 256 MB, each page of it touched
            time.sleep(600)
            del kept
        return values(case, angles) + (0.1 if fault == "differs" else 0.0)

    def total() -> Array:
        steps = 1e-6 * np.eye(len(angles))
        columns = [values(case, angles + s) - values(case, angles - s) for s in steps]
        return np.array(columns) @ case.cotangent / 2e-6

    return Passes(forward, None if fault == "forward" else total, "complex128")


if __name__ == "__main__":
    serve(make, ("numpy",))
