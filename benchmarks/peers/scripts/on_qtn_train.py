"""One case on this package."""

import torch
from _serve import Array, Case, Passes, serve

import qtn_train as qt
from qtn_train.circuits import Circuit, Gate


def make(case: Case) -> Passes:
    gates = tuple(Gate(name, tuple(on), tuple(by)) for name, on, by in case.gates)
    circuit = Circuit(case.n_qubits, gates, len(case.angles))
    angles = torch.from_numpy(case.angles).requires_grad_()
    cotangent = torch.from_numpy(case.cotangent)
    engine, reads = _engine(case), _reads(case)

    def values(by: torch.Tensor) -> torch.Tensor:
        state = engine.prepare(circuit, by, reads)
        if isinstance(reads, qt.Expectation):
            return reads.values(state, 0, 1)
        if isinstance(reads, qt.PauliCorrelators):
            return state.correlators(2)
        return state.probs(0, 2**case.n_qubits)

    def forward() -> Array:
        return values(angles.detach()).numpy()

    def total() -> Array:
        found = values(angles)
        (gradient,) = torch.autograd.grad(found, angles, cotangent.to(found.dtype))
        return gradient.numpy()

    return Passes(forward, total)


def _engine(case: Case) -> qt.Engine:
    if case.max_bond is not None or case.request == "pairs":
        return qt.MPSEngine(case.max_bond)
    return qt.ContractionEngine() if case.request == "z" else qt.StatevectorEngine()


def _reads(case: Case) -> qt.Measurement:
    if case.request == "z":
        return qt.Expectation(f"Z{case.n_qubits // 2}")
    return qt.PauliCorrelators(2) if case.request == "pairs" else qt.Probabilities()


if __name__ == "__main__":
    serve(make, ("torch", "numpy"))
