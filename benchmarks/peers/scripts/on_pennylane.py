"""One case on PennyLane: ``default.qubit`` by backpropagation, or ``lightning.qubit``'s adjoint.

The adjoint method knows expectation values only: the product of the probabilities with a cotangent
is that of the diagonal matrix that has the cotangent on its diagonal.
"""

import sys

import numpy as np
import pennylane as qml
import scipy.sparse
import torch
from _serve import Array, Case, Passes, serve


def apply(name: str, on: list[int], by: list[torch.Tensor]) -> None:
    """Apply a gate in as few native ones as give it."""
    if name == "u3":  # up to a phase that no value depends on
        qml.Rot(by[2], by[0], by[1], wires=on)
    elif name == "cu3":
        qml.PhaseShift((by[1] + by[2]) / 2, wires=on[0])
        qml.CRot(by[2], by[0], by[1], wires=on)
    elif name in ("rx", "ry", "rz"):
        getattr(qml, name.upper())(by[0], wires=on)
    else:
        {"cx": qml.CNOT, "cz": qml.CZ}[name](wires=on)


def make(case: Case) -> Passes:
    adjoint = sys.argv[1] == "adjoint"
    if adjoint:
        device = qml.device("lightning.qubit", wires=case.n_qubits, c_dtype=np.complex64)
    else:
        device = qml.device("default.qubit", wires=case.n_qubits)
    angles = torch.from_numpy(case.angles).requires_grad_()
    cotangent = torch.from_numpy(case.cotangent)
    wires = range(case.n_qubits)

    def run(given: torch.Tensor) -> None:
        split = given.unbind()
        for name, on, by in case.gates:
            apply(name, on, [split[i] for i in by])

    @qml.qnode(device, interface="torch", diff_method=None if adjoint else "backprop")
    def probabilities(given: torch.Tensor) -> object:
        run(given)
        return qml.probs(wires=wires)

    diagonal = scipy.sparse.diags(case.cotangent.astype(np.complex64), format="csr")
    observable = qml.SparseHamiltonian(diagonal, wires=wires)

    @qml.qnode(device, interface="torch", diff_method="adjoint" if adjoint else "backprop")
    def product(given: torch.Tensor) -> object:
        run(given)
        return qml.expval(observable)

    def forward() -> Array:
        with torch.no_grad():
            return np.asarray(probabilities(angles))

    def total() -> Array:
        if adjoint:
            loss = product(angles)
        else:
            found = probabilities(angles)
            loss = found @ cotangent.to(found.dtype)
        (gradient,) = torch.autograd.grad(loss, angles)
        return gradient.numpy()

    return Passes(forward, total, "complex64" if adjoint else "complex128")


if __name__ == "__main__":
    serve(make, ("pennylane", "pennylane-lightning", "torch", "numpy"))
