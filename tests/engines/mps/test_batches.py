"""Batches of matrix product states, and one of them under torch's transforms."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import tolerances
import torch
from torch import Tensor
from torch.autograd import functional
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines import BatchedMPSState, Engine, MPSEngine, State, StatevectorEngine
from qtn_train.errors import UnsupportedByEngine

ENGINE, DENSE = MPSEngine(dtype="complex128"), StatevectorEngine(dtype="complex128")
CIRCUITS = {
    "chain": ansatz.u3_cu3_chain(5, 2),
    "ring": ansatz.u3_cu3_ring(4, 1),
    "grid": ansatz.grid(2, 3, 3),
    "swaps": Circuit.builder(4).ry(0).ry(1).ry(2).u3(3).swap(0, 3).rzz(1, 3).rxx(2, 0).build(),
}
READINGS: dict[str, Callable[[State], Tensor]] = {
    "probs": lambda state: state.probs(3, 16),
    "log_probs": lambda state: state.log_probs(1, 5),
    "scaled_probs": lambda state: state.scaled_probs(1, 5),
    "amplitudes": lambda state: torch.view_as_real(state.amplitudes(2, 9)),
    "expectations": lambda state: state.expectations([{"Z0 Z1": 0.5, "X3": 0.3}, "Y2"]),
    "correlators": lambda state: state.correlators(2, "xz"),
}


def rows_of(circuit: Circuit, n_rows: int = 3) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return 6 * torch.rand(n_rows, circuit.n_angles, generator=rng, dtype=torch.float64)


def close(found: Tensor, expected: Tensor) -> None:
    tolerance = tolerances.DOUBLE_GRADIENT
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", CIRCUITS)
def test_a_batch_is_its_rows_and_has_their_gradients(name: str) -> None:
    circuit = CIRCUITS[name]
    rows = rows_of(circuit).requires_grad_()
    batch = ENGINE.prepare(circuit, rows)
    alone = [ENGINE.prepare(circuit, row) for row in rows]
    for read in READINGS.values():
        found, expected = read(batch), torch.stack([read(state) for state in alone])
        close(found, expected)
        weights = torch.rand(found.shape, dtype=torch.float64)
        both = [torch.autograd.grad((v * weights).sum(), rows, retain_graph=True)[0]
                for v in (found, expected)]  # fmt: skip
        close(*both)
        assert float(both[1].abs().max()) > 1e-3


def test_a_row_of_a_batch_is_a_state() -> None:
    circuit = CIRCUITS["chain"]
    rows = rows_of(circuit)
    batch = ENGINE.prepare(circuit, rows)
    assert isinstance(batch, BatchedMPSState)
    assert (len(batch), batch.n_qubits) == (3, 5)
    alone = ENGINE.prepare(circuit, rows[1])
    close(batch[1].probs(0, 32), alone.probs(0, 32))
    assert batch[1].bond_dims == alone.bond_dims
    assert torch.equal(batch[1].sample(20, seed=0), alone.sample(20, seed=0))


def test_a_batch_begins_with_an_initial_state() -> None:
    circuit = CIRCUITS["chain"]
    rows = rows_of(circuit)
    engine = MPSEngine(dtype="complex128", initial=ENGINE.prepare(circuit, rows[0]))
    expected = torch.stack([engine.prepare(circuit, row).probs(0, 32) for row in rows])
    close(engine.prepare(circuit, rows).probs(0, 32), expected)


@pytest.mark.parametrize("name", ["ring", "swaps"])
def test_transforms_are_those_of_the_state_vector(name: str) -> None:
    circuit = CIRCUITS[name]
    one, two, three = rows_of(circuit)
    rows, size = torch.stack((one, two)), 2**circuit.n_qubits
    weights = torch.linspace(-1, 1, size, dtype=torch.float64)

    def made(engine: Engine) -> list[Tensor]:
        def probs(angles: Tensor) -> Tensor:
            return engine.prepare(circuit, angles).probs(0, size)

        def loss(angles: Tensor) -> Tensor:
            return (probs(angles) @ weights).tanh()

        return [
            grad(loss)(one),
            hessian(loss)(one),
            jacrev(jacrev(loss))(one),
            jacfwd(probs)(one),
            jacrev(probs)(one),
            jvp(probs, (one,), (three,))[1],
            vmap(grad(loss))(rows),
            vmap(probs, in_dims=1)(rows.T),
            vmap(vmap(probs))(rows[None]),
            vmap(probs)(rows[None]),
            functional.hessian(loss, one, vectorize=True),
            functional.jacobian(probs, one, vectorize=True, strategy="forward-mode"),
        ]

    for found, expected in zip(made(ENGINE), made(DENSE), strict=True):
        close(found, expected)


def test_a_batch_is_taken_while_bonds_fit_and_refused_where_one_is_cut() -> None:
    circuit = ansatz.u3_cu3_chain(6, 3)
    rows = rows_of(circuit)
    fits = MPSEngine(8, dtype="complex128").prepare(circuit, rows)
    close(fits.probs(0, 64), ENGINE.prepare(circuit, rows).probs(0, 64))
    cut = MPSEngine(4)
    message = (
        r"A batch, of vmap or of is_grads_batched, reached a bond that is cut\. One vector at a"
    )
    for prepare in (cut.prepare, lambda c, r: vmap(lambda row: cut.prepare(c, row).probs(0, 1))(r)):
        with pytest.raises(UnsupportedByEngine, match=message):
            prepare(circuit, rows)
    lossy = MPSEngine(cutoff=1e-3)
    assert not lossy.batched
    with pytest.raises(ValueError, match=r"`angles` must be of shape \(99,\); got \(3, 99\)"):
        lossy.prepare(circuit, rows)
    with pytest.raises(UnsupportedByEngine, match="`angles` must be one vector for MPSEngine"):
        vmap(lambda row: lossy.prepare(circuit, row).probs(0, 1))(rows)


def test_nothing_is_drawn_from_a_batch() -> None:
    circuit = CIRCUITS["ring"]
    rows = rows_of(circuit)
    message = "`state` must be of one vector of angles to draw from it; got a batch. Draw from stat"
    with pytest.raises(UnsupportedByEngine, match=message):
        ENGINE.prepare(circuit, rows).sample(3, seed=0)
    message = "`state` must be of one vector of angles, outside of vmap, to draw from it; got a bat"
    with pytest.raises(UnsupportedByEngine, match=message):
        vmap(lambda row: ENGINE.prepare(circuit, row).sample(3, seed=0))(rows)
