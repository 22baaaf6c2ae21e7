"""Circuits of RY and CX, layer by layer: against the general plan and the NumPy oracle."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from oracle import amplitudes
from tolerances import AMPLITUDE, SINGLE_GRADIENT

from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines import StatevectorEngine
from qtn_train.engines.statevector import _engine as _statevector
from qtn_train.engines.statevector._layers import FEWEST, MOST, layer_plan


def shuffled(n_qubits: int, n_gates: int, seed: int) -> Circuit:
    """RY and CX in random places; each angle is used once."""
    draw = random.Random(seed)
    builder = Circuit.builder(n_qubits)
    for _ in range(n_gates):
        if draw.random() < 0.5:
            builder.add("ry", draw.randrange(n_qubits))
        else:
            builder.add("cx", *draw.sample(range(n_qubits), 2))
    return builder.build()


CIRCUITS = {
    "chain, 6 qubits": ansatz.ry_cx_chain(6, 5),
    "chain, 7 qubits": ansatz.ry_cx_chain(7, 4),
    "chain, 13 qubits": ansatz.ry_cx_chain(13, 3),
    "shuffled, 6 qubits": shuffled(6, 100, 0),
    "shuffled, 9 qubits": shuffled(9, 100, 1),
    "one RY": Circuit.builder(6).add("ry", 0).add("cx", 0, 1).build(),
    "RY alone": ansatz.product(*[ansatz.ry_cx_chain(1, 2)] * 6),
}


@pytest.mark.parametrize("name", CIRCUITS)
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_layers_agree_with_the_general_plan(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    circuit, engine = CIRCUITS[name], StatevectorEngine(dtype=dtype)
    assert layer_plan(circuit) is not None
    real = torch.float64 if dtype == "complex128" else torch.float32
    rng = torch.Generator().manual_seed(0)
    angles = torch.rand(circuit.n_angles, generator=rng, dtype=real) * 6 - 3
    cotangent = torch.rand(2**circuit.n_qubits, generator=rng, dtype=real)

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        own = angles.clone().requires_grad_()
        probs = engine.prepare(circuit, own).probs(0, len(cotangent))
        loss = (probs * cotangent).sum()
        return probs.detach(), torch.autograd.grad(loss, own)[0]

    probs, grad = both()
    monkeypatch.setattr(_statevector, "layer_plan", lambda circuit: None)
    expected, expected_grad = both()
    torch.testing.assert_close(probs, expected, rtol=0, atol=AMPLITUDE[dtype])
    tolerance = SINGLE_GRADIENT if dtype == "complex64" else AMPLITUDE[dtype]
    torch.testing.assert_close(grad, expected_grad, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["chain, 6 qubits", "shuffled, 6 qubits"])
def test_layers_agree_with_the_oracle(name: str) -> None:
    circuit = CIRCUITS[name]
    angles = np.linspace(-3, 3, circuit.n_angles)
    state = StatevectorEngine(dtype="complex128").prepare(circuit, torch.from_numpy(angles))
    np.testing.assert_allclose(
        state.vector.numpy(), amplitudes(circuit, angles), rtol=0, atol=AMPLITUDE["complex128"]
    )


def test_rotations_without_a_cx_between_them_are_one_layer() -> None:
    plan = layer_plan(ansatz.ry_cx_chain(8, 10))
    assert plan is not None
    assert (plan.n_layers, len(plan.orders)) == (10, 1)


def test_other_gates_and_sizes_have_no_layers() -> None:
    assert layer_plan(ansatz.ry_cx_chain(FEWEST - 1, 2)) is None
    assert layer_plan(ansatz.ry_cx_chain(MOST + 1, 2)) is None
    assert layer_plan(ansatz.hardware_efficient(8, 2)) is None
