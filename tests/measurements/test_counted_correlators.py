"""Pauli correlators by counts: one circuit a letter, whatever the number of values."""

import math
from typing import Any

import numpy as np
import pytest
import tolerances
import torch
from counting import TestEngine

from qtn_train.circuits import ansatz
from qtn_train.engines import MPSEngine, SampledEngine, StatevectorEngine, n_circuits
from qtn_train.errors import UnsupportedByEngine
from qtn_train.measurements import Counts, Expectation, GradientMethod, PauliCorrelators

CIRCUIT = ansatz.u3_cu3_ring(4, 1)
ANGLES = torch.from_numpy(np.random.default_rng(0).uniform(-np.pi, np.pi, CIRCUIT.n_angles))
FLIPS = (0.04, 0.09)
READS = [
    PauliCorrelators(1),
    PauliCorrelators(2),
    PauliCorrelators(2, "yz", reach=2),
    PauliCorrelators(3, "zx"),
    PauliCorrelators(3, "zx", reach=2),
]
every_order = pytest.mark.parametrize("reads", READS, ids=str)


def exact(reads: PauliCorrelators, angles: torch.Tensor = ANGLES) -> torch.Tensor:
    state = StatevectorEngine(dtype="complex128").prepare(CIRCUIT, angles)
    return state.correlators(reads.order, reads.bases_read, reach=reads.reach)


def whole(state: Any, reads: PauliCorrelators) -> torch.Tensor:
    found: torch.Tensor = state.correlators(reads.order, reads.bases_read, reach=reads.reach)
    return found


@every_order
def test_exact_counts_give_the_correlators(reads: PauliCorrelators) -> None:
    engine = TestEngine(0)
    state = engine.prepare(CIRCUIT, ANGLES, reads)
    assert engine.executed == [len(reads.bases_read)]
    torch.testing.assert_close(whole(state, reads), exact(reads))
    n_values = reads.n_values(4)
    for start, stop in ((0, 1), (1, n_values), (n_values // 2 - 1, n_values // 2 + 1)):
        part = state.correlators(reads.order, reads.bases_read, start, stop, reads.reach)
        torch.testing.assert_close(part, exact(reads)[start:stop])
    assert torch.equal(reads.standard_error(state, 0, n_values), torch.zeros(n_values).double())


@every_order
@pytest.mark.parametrize("on", [False, True])
def test_gradients_by_parameter_shift(reads: PauliCorrelators, on: bool) -> None:
    flips = FLIPS if on else (0.0, 0.0)
    engine = TestEngine(0, gradient="parameter-shift", mitigate_readout=on, flips=flips)
    v = torch.from_numpy(np.random.default_rng(1).normal(size=reads.n_values(4)))
    leaf, twin = (ANGLES.clone().requires_grad_() for _ in range(2))
    values = whole(engine.prepare(CIRCUIT, leaf, reads), reads)
    (expected,) = torch.autograd.grad(v @ exact(reads, twin), twin)
    torch.testing.assert_close(values, exact(reads))
    torch.testing.assert_close(torch.autograd.grad(v @ values, leaf)[0], expected)
    told = n_circuits(CIRCUIT, "parameter-shift", mitigate_readout=on, reads=reads)
    assert engine.executed == [told.forward, told.backward_low]


@pytest.mark.parametrize("gradient", ["random-shift", "spsa"])
def test_random_estimates_read_in_pieces(gradient: GradientMethod) -> None:
    reads = PauliCorrelators(2)
    grads = []
    for pieces in (1, 3):
        engine = TestEngine(0, gradient=gradient, seed=5)
        leaf = ANGLES.clone().requires_grad_()
        state = engine.prepare(CIRCUIT, leaf, reads)
        parts = [reads.values(state, k, k + 18 // pieces) for k in range(0, 18, 18 // pieces)]
        torch.cat(parts).square().sum().backward()
        assert len(engine.executed) == 2
        grads.append(leaf.grad)
    torch.testing.assert_close(*grads)


@every_order
@pytest.mark.parametrize("flips", [(0.0, 0.0), FLIPS])
def test_shots_scatter_as_the_standard_error_says(
    reads: PauliCorrelators, flips: tuple[float, float]
) -> None:
    engine = TestEngine(300, flips=flips, mitigate_readout=flips == FLIPS, seed=1)
    states = [engine.prepare(CIRCUIT, ANGLES, reads) for _ in range(150)]
    means = torch.stack([whole(state, reads) for state in states])
    n_values = reads.n_values(4)
    told = torch.stack([state.standard_errors(0, n_values) for state in states]).mean(0)
    assert float((told / means.std(0) - 1).abs().max()) < 0.35
    if flips == (0.0, 0.0):
        z = (means.mean(0) - exact(reads)).abs() / (means.std(0) / 150**0.5)
        assert float(z.max()) < tolerances.Z_VALUE
        c = whole(states[0], reads)
        expected = ((1 - c.square()) / 299).sqrt()
        torch.testing.assert_close(states[0].standard_errors(0, n_values), expected)


def test_one_shot_has_no_standard_error() -> None:
    counts = Counts.of(torch.tensor([[0, 1, 1]], dtype=torch.uint8))
    reads = PauliCorrelators(2, "z")
    assert reads.estimates([counts], 0, 3).tolist() == [-1, -1, 1]
    assert reads.errors([counts], 0, 3).tolist() == [math.inf] * 3


def test_sixty_eight_qubits() -> None:
    circuit = ansatz.ry_cx_chain(68, 2)
    angles = torch.from_numpy(np.random.default_rng(2).uniform(-1, 1, circuit.n_angles))
    reads = PauliCorrelators(2, "xz")
    engine = SampledEngine(MPSEngine(dtype="complex128"), 2000, seed=0)
    state = engine.prepare(circuit, angles, reads)
    assert [counts.n_qubits for counts in state.counts] == [68, 68]
    true = MPSEngine(dtype="complex128").prepare(circuit, angles).correlators(2, "xz")
    error = state.standard_errors(0, reads.n_values(68)).clamp_min(1e-9)
    z = (state.correlators(2, "xz") - true) / error
    assert float(z[true.abs() < 0.99].square().mean()) == pytest.approx(
        1, abs=tolerances.of_draws(68 * 67 // 2, 2**0.5)
    )


def test_other_correlators_were_not_declared() -> None:
    engine = TestEngine(10)
    state = engine.prepare(CIRCUIT, ANGLES, PauliCorrelators(2))
    for order, bases in ((1, "xyz"), (3, "xyz"), (2, "zyx"), (2, "z")):
        hint = rf"Give prepare\(\) reads=PauliCorrelators\({order}, '{bases}'\)"
        with pytest.raises(UnsupportedByEngine, match=hint):
            state.correlators(order, bases)
    for reads in (Expectation("ZZII"), None):
        with pytest.raises(UnsupportedByEngine, match="`reads` must be declared as PauliCorrel"):
            engine.prepare(CIRCUIT, ANGLES, reads).correlators(2)
    assert engine.executed == [3, 1, 1]
