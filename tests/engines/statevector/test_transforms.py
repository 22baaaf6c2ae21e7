"""The state vector under torch's transforms: right, or one line that says what to take instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import oracle
import pytest
import tolerances
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor
from torch.autograd import functional
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines import StatevectorEngine
from qtn_train.engines.statevector import _engine as _statevector
from qtn_train.engines.statevector import _tiles
from qtn_train.engines.statevector._blocks import block_plan
from qtn_train.errors import UnsupportedByEngine

ENGINE = StatevectorEngine(dtype="complex128")
BASIC = ("u3", "cu3", "rx", "ry", "rz", "h", "cx", "cz", "swap", "t")
REAL = ("ry", "h", "x", "z", "cx", "cz", "swap")
# Each way through the state: what stands for the plan of tiles, and a circuit that takes it.
WAYS: dict[str, tuple[Callable[[Circuit], Any], Circuit]] = {
    "tiles": (
        _tiles.tile_plan,
        oracle.random_circuit(np.random.default_rng(2), 3, 14, BASIC, 0.4),
    ),
    "real tiles": (
        _tiles.tile_plan,
        oracle.random_circuit(np.random.default_rng(3), 3, 20, REAL, 0.4),
    ),
    "layers": (_tiles.tile_plan, ansatz.ry_cx_chain(6, 1)),
    "blocks": (
        lambda circuit: block_plan(circuit, 2),
        oracle.random_circuit(np.random.default_rng(4), 4, 14, BASIC, 0.4),
    ),
}


class Way:
    """Probabilities and a loss of one circuit, and their derivatives one by one."""

    def __init__(self, circuit: Circuit) -> None:
        rng = np.random.default_rng(5)
        self.circuit, self.n = circuit, 2**circuit.n_qubits
        self.angles = torch.from_numpy(rng.uniform(-3, 3, circuit.n_angles))
        self.rows = torch.from_numpy(rng.uniform(-3, 3, (4, circuit.n_angles)))
        self.weights = torch.from_numpy(rng.normal(size=self.n))

    def probs(self, angles: Tensor) -> Tensor:
        return ENGINE.prepare(self.circuit, angles).probs(0, self.n)

    def loss(self, angles: Tensor) -> Tensor:
        return (self.probs(angles) @ self.weights).tanh()

    def jacobian(self) -> Tensor:
        leaf = self.angles.clone().requires_grad_()
        rows = [torch.autograd.grad(self.probs(leaf)[i], leaf)[0] for i in range(self.n)]
        return torch.stack(rows)

    def gradient(self, angles: Tensor) -> Tensor:
        leaf = angles.clone().requires_grad_()
        return torch.autograd.grad(self.loss(leaf), leaf)[0]

    def hessian(self) -> Tensor:
        """By central differences of gradients."""
        steps = tolerances.STEP * torch.eye(len(self.angles), dtype=torch.float64)
        rows = [self.gradient(self.angles + s) - self.gradient(self.angles - s) for s in steps]
        return torch.stack(rows) / (2 * tolerances.STEP)


@pytest.fixture(params=WAYS.values(), ids=list(WAYS))
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Way:
    plan, circuit = request.param
    monkeypatch.setattr(_statevector, "tile_plan", plan)
    return Way(circuit)


def close(found: Any, expected: Tensor, atol: float = tolerances.DOUBLE) -> None:
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)


def test_jacobians(way: Way) -> None:
    expected, angles = way.jacobian(), way.angles
    close(jacrev(way.probs)(angles), expected)
    close(jacfwd(way.probs)(angles), expected)
    close(vjp(way.probs, angles)[1](way.weights)[0], way.weights @ expected)
    close(jvp(way.probs, (angles,), (angles,))[1], expected @ angles)
    close(functional.jacobian(way.probs, angles, vectorize=True), expected)
    forward = functional.jacobian(way.probs, angles, vectorize=True, strategy="forward-mode")
    close(forward, expected)
    leaf = angles.clone().requires_grad_()
    unit = torch.eye(way.n, dtype=torch.float64)
    close(torch.autograd.grad(way.probs(leaf), leaf, unit, is_grads_batched=True)[0], expected)


def test_hessians(way: Way) -> None:
    expected, angles, atol = way.hessian(), way.angles, tolerances.FINITE_DIFFERENCE
    close(grad(way.loss)(angles), way.gradient(angles))
    close(hessian(way.loss)(angles), expected, atol)
    close(jacrev(jacrev(way.loss))(angles), expected, atol)
    close(jacrev(jacfwd(way.loss))(angles), expected, atol)
    close(functional.hessian(way.loss, angles), expected, atol)
    close(functional.hessian(way.loss, angles, vectorize=True), expected, atol)
    close(functional.hvp(way.loss, angles, angles)[1], expected @ angles, atol)
    close(functional.vhp(way.loss, angles, angles)[1], expected @ angles, atol)


def test_forward_mode_without_functions(way: Way) -> None:
    expected = way.jacobian() @ way.angles
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(way.angles, way.angles)
        close(forward_ad.unpack_dual(way.probs(dual)).tangent, expected)
        leaf = way.angles.clone().requires_grad_()
        dual = forward_ad.make_dual(leaf, way.angles)
        (made,) = torch.autograd.grad(way.loss(dual), leaf)
        tangent = forward_ad.unpack_dual(made).tangent
    close(tangent, way.hessian() @ way.angles, tolerances.FINITE_DIFFERENCE)


def test_batches(way: Way) -> None:
    rows = way.rows
    probs = torch.stack([way.probs(row) for row in rows])
    grads = torch.stack([way.gradient(row) for row in rows])
    close(way.probs(rows), probs)
    close(vmap(way.probs)(rows), probs)
    close(vmap(way.probs, in_dims=1)(rows.T), probs)
    close(vmap(vmap(way.probs))(rows.view(2, 2, -1)).flatten(0, 1), probs)
    close(vmap(way.probs)(rows.view(2, 2, -1)).flatten(0, 1), probs)
    close(vmap(grad(way.loss))(rows), grads)
    two = torch.stack((way.angles, way.angles))
    close(vmap(hessian(way.loss))(two)[1], way.hessian(), tolerances.FINITE_DIFFERENCE)
    for losses in (lambda rows: (way.probs(rows) @ way.weights).tanh(), vmap(way.loss)):
        leaf = rows.clone().requires_grad_()
        close(torch.autograd.grad(losses(leaf).sum(), leaf)[0], grads)
    unit = torch.eye(way.n, dtype=torch.float64)
    close(vmap(lambda x: way.probs(way.angles) @ x)(unit), way.probs(way.angles))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_batches_on_several_threads(way: Way, threads: int) -> None:
    expected = torch.stack([way.gradient(row) for row in way.rows])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        leaf = way.rows.clone().requires_grad_()
        loss = (way.probs(leaf) @ way.weights).tanh().sum()
        close(torch.autograd.grad(loss, leaf)[0], expected)
    finally:
        torch.set_num_threads(before)


def test_what_is_read_of_a_batch(way: Way) -> None:
    state = ENGINE.prepare(way.circuit, way.rows)
    each = [ENGINE.prepare(way.circuit, row) for row in way.rows]
    n_qubits = way.circuit.n_qubits
    assert state.n_qubits == n_qubits
    terms: list[Any] = [{"X" * n_qubits: 0.5, "Z0 Z1": 1.0}, "Y0"]
    close(state.expectations(terms), torch.stack([s.expectations(terms) for s in each]))
    close(state.amplitudes(1, 3), torch.stack([s.amplitudes(1, 3) for s in each]))
    close(state.log_probs(0, 3), torch.stack([s.log_probs(0, 3) for s in each]), 1e-9)
    over_rows = vmap(lambda row: ENGINE.prepare(way.circuit, row).expectation("Y0"))
    close(over_rows(way.rows), state.expectation("Y0"))
    assert "qubits" in state._repr_html_()
    message = r"`state` must be of one vector of angles, .*; got a batch\. Take a loop\."
    with pytest.raises(UnsupportedByEngine, match=message):
        state.sample(3, seed=0)
    with pytest.raises(UnsupportedByEngine, match=message):
        vmap(lambda row: ENGINE.prepare(way.circuit, row).sample_bits(3, seed=0))(way.rows)


def test_a_batch_too_large_for_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = ansatz.u3_cu3_ring(4, 1)
    monkeypatch.setattr(_statevector, "memory_bytes", lambda: 2**15)
    engine = StatevectorEngine()  # of 9 qubits at most
    rows = torch.zeros(33, circuit.n_angles)
    assert engine.prepare(circuit, rows[:32]).probs(0, 1).shape == (32, 1)
    with pytest.raises(UnsupportedByEngine, match=r"at most 32 rows .*; got 33\. Prepare them in"):
        engine.prepare(circuit, rows)


def test_what_is_refused(way: Way) -> None:
    third = "A second derivative .* was differentiated again. .* third ones are not implemented"
    with pytest.raises(UnsupportedByEngine, match=third):
        jacrev(lambda angles: hessian(way.loss)(angles).sum())(way.angles)
    leaf = way.angles.clone().requires_grad_()
    twice = functional.hessian(way.loss, leaf, create_graph=True)
    with pytest.raises(UnsupportedByEngine, match=third):
        torch.autograd.grad(twice.sum(), leaf)
    with pytest.raises(UnsupportedByEngine, match="Forward mode was used inside of forward mode"):
        jacfwd(jacfwd(way.loss))(way.angles)
    hidden = "vectorize=True was used with forward mode over a gradient, .*func.hessian"
    with pytest.raises(UnsupportedByEngine, match=hidden):
        functional.hessian(
            way.loss, way.angles, vectorize=True, outer_jacobian_strategy="forward-mode"
        )


def test_an_angle_that_is_not_finite_is_seen_in_each_transform(way: Way) -> None:
    rows = way.rows.clone()
    rows[2, 0] = torch.nan
    for transformed in (vmap(way.probs), vmap(grad(way.loss)), vmap(jacfwd(way.probs)), way.probs):
        with pytest.raises(ValueError, match="`angles` must be finite; got NaN or infinity"):
            transformed(rows)
