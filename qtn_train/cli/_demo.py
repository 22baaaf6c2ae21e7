"""The first part of ``make demo``: a circuit that no state vector could hold.

Sixty qubits have 2**60 amplitudes. As a matrix product state the same state takes a few hundred
thousand numbers; this shows its entanglement, the gradient of an expectation value, and that the
gradient is right.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

from ..circuits import Circuit, ansatz
from ..engines import MPSEngine, MPSState
from ..plots import entanglement, save

N_QUBITS, N_LAYERS, MAX_BOND = 60, 5, 32


def main(out: Path) -> None:
    """Run the demonstration and write ``entropies.png``.

    Args:
        out: Folder to write into; made if it is missing.
    """
    out.mkdir(parents=True, exist_ok=True)
    circuit = ansatz.u3_cu3_chain(N_QUBITS, N_LAYERS)
    rng = torch.Generator().manual_seed(0)
    angles = (torch.rand(circuit.n_angles, generator=rng) * 2 - 1) * torch.pi
    angles.requires_grad_()
    began = time.perf_counter()
    state = MPSEngine(max_bond=MAX_BOND).prepare(circuit, angles)
    assert isinstance(state, MPSState)
    numbers = sum(tensor.numel() for tensor in state.tensors)
    print(
        f"{N_QUBITS} qubits, {len(circuit)} gates, {circuit.n_angles} angles: 2^{N_QUBITS} "
        f"amplitudes in {numbers:,} numbers ({time.perf_counter() - began:.1f} s)"
    )
    entropies = [state.entropy(bond) for bond in range(1, N_QUBITS)]
    print(
        f"largest bond {max(state.bond_dims)}, entropy of a bond up to {max(entropies):.2f} bits, "
        f"estimated fidelity {state.fidelity_estimate:.6f}"
    )
    middle = N_QUBITS // 2
    pauli = "I" * middle + "ZZ" + "I" * (N_QUBITS - middle - 2)
    began = time.perf_counter()
    value = state.expectation(pauli)
    value.backward()
    assert angles.grad is not None
    index, expected = _slope(circuit, angles, pauli)
    print(
        f"⟨Z{middle} Z{middle + 1}⟩ = {float(value.detach()):+.4f}; its gradient by all "
        f"{circuit.n_angles} angles took {time.perf_counter() - began:.1f} s; by angle {index}: "
        f"{float(angles.grad[index]):+.5f} (finite differences {expected:+.5f})"
    )
    title = f"{N_QUBITS} qubits, {N_LAYERS} layers"
    save(entanglement(entropies, title), out / "entropies.png")
    print(f"wrote {out / 'entropies.png'}")


def _slope(circuit: Circuit, angles: torch.Tensor, pauli: str) -> tuple[int, float]:
    """Return the angle of the steepest slope, and that slope by finite differences."""
    assert angles.grad is not None
    index = int(angles.grad.abs().argmax())
    engine = MPSEngine(max_bond=MAX_BOND, dtype="complex128")
    values = []
    for sign in (+1, -1):
        moved = angles.detach().double()
        moved[index] += sign * 1e-4
        state = engine.prepare(circuit, moved)
        assert isinstance(state, MPSState)
        values.append(float(state.expectation(pauli)))
    return index, (values[0] - values[1]) / 2e-4
