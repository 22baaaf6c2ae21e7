"""Angles to amplitudes in one compiled node, beside the path whose operations torch knows."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import tolerances
import torch
from torch import Tensor

from qtn_train.circuits import Circuit, Gate, ansatz
from qtn_train.engines._slots import _U3_FORM
from qtn_train.engines.statevector._direct import Direct, directly
from qtn_train.engines.statevector._evolve import evolve
from qtn_train.engines.statevector._tiles import TilePlan, tile_plan

FIXED = ("h", "x", "y", "z", "s", "t", "cx", "cz", "swap")
CIRCUITS = {
    "ring": ansatz.u3_cu3_ring(5, 2),
    "real": ansatz.ry_cx_chain(5, 3),
    "all gates": oracle.random_circuit(np.random.default_rng(0), 4, 60, (*_U3_FORM, *FIXED), 0.3),
    "one qubit": Circuit(1, (Gate("rx", (0,), (0,)), Gate("h", (0,)), Gate("p", (0,), (1,))), 2),
    "deep groups": Circuit(2, tuple(Gate("u3", (1,), (k, k + 1, k + 2)) for k in range(60)), 62),
}


def slowly(plan: TilePlan, angles: Tensor, dtype: torch.dtype) -> Tensor:
    return evolve(plan, plan.gates.values(angles, dtype))


def some_angles(circuit: Circuit, dtype: torch.dtype, n: int = 3) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return (6 * torch.rand(n, circuit.n_angles, generator=rng) - 3).to(dtype).requires_grad_()


@pytest.mark.parametrize("name", CIRCUITS)
@pytest.mark.parametrize(
    ("dtype", "within", "gradient_within"),
    [
        (torch.complex64, tolerances.AMPLITUDE["complex64"], tolerances.SINGLE_GRADIENT),
        (torch.complex128, tolerances.AMPLITUDE["complex128"], tolerances.DOUBLE_GRADIENT),
    ],
    ids=["complex64", "complex128"],
)
def test_amplitudes_and_gradients(name, dtype, within, gradient_within):
    plan = tile_plan(CIRCUITS[name])
    angles = some_angles(CIRCUITS[name], dtype.to_real())
    direct, slow = directly(plan, angles, dtype), slowly(plan, angles, dtype)
    assert isinstance(direct.grad_fn, Direct._backward_cls)
    torch.testing.assert_close(direct, slow, rtol=0, atol=within)
    rng = torch.Generator().manual_seed(1)
    cotangent = torch.randn(direct.shape, generator=rng, dtype=dtype)
    one, other = (torch.autograd.grad(made, angles, cotangent)[0] for made in (direct, slow))
    assert one.dtype == angles.dtype
    torch.testing.assert_close(one, other, rtol=0, atol=gradient_within)


@pytest.mark.parametrize("name", CIRCUITS)
def test_second_derivatives(name):
    plan = tile_plan(CIRCUITS[name])
    angles = some_angles(CIRCUITS[name], torch.float64, 1)
    weights = torch.linspace(-1, 1, 2**plan.n_qubits, dtype=torch.float64)

    def penalty(way) -> Tensor:
        loss = (way(plan, angles, torch.complex128).abs().square() @ weights).sum()
        (slopes,) = torch.autograd.grad(loss, angles, create_graph=True)
        return torch.autograd.grad(slopes.square().sum(), angles)[0]

    torch.testing.assert_close(
        penalty(directly), penalty(slowly), rtol=0, atol=100 * tolerances.DOUBLE_GRADIENT
    )


def test_a_batch_of_cotangents():
    circuit = CIRCUITS["ring"]
    plan, angles = tile_plan(circuit), some_angles(circuit, torch.float64, 1)
    made = directly(plan, angles, torch.complex128).abs().square()
    cotangents = torch.eye(made.numel(), dtype=torch.float64).reshape(-1, *made.shape)
    together = torch.autograd.grad(
        made, angles, cotangents, retain_graph=True, is_grads_batched=True
    )[0]
    alone = [torch.autograd.grad(made, angles, one, retain_graph=True)[0] for one in cotangents]
    torch.testing.assert_close(
        together, torch.stack(alone), rtol=0, atol=tolerances.DOUBLE_GRADIENT
    )


def test_large_angles_in_single_precision_and_strided_ones():
    circuit = CIRCUITS["ring"]
    plan = tile_plan(circuit)
    angles = (1e7 * some_angles(circuit, torch.float32).detach()).T.contiguous().T
    assert not angles.is_contiguous()
    single = directly(plan, angles, torch.complex64)
    double = directly(plan, angles.double(), torch.complex128)
    torch.testing.assert_close(
        single.to(torch.complex128), double, rtol=0, atol=tolerances.AMPLITUDE["complex64"]
    )


def test_nothing_is_kept_of_an_inference():
    circuit = CIRCUITS["all gates"]
    plan = tile_plan(circuit)
    angles = some_angles(circuit, torch.float32)
    with torch.inference_mode():
        directly(plan, angles.detach(), torch.complex64)
    directly(plan, angles, torch.complex64).abs().sum().backward()
    assert angles.grad is not None
    assert bool(angles.grad.isfinite().all())
