"""Readout mitigation: confusion matrices, their inverse, and what reaches the gradient."""

import numpy as np
import pytest
import tolerances
import torch
from counting import TestEngine
from torch import Tensor

from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines import Engine, StatevectorEngine
from qtn_train.errors import UnsupportedByEngine
from qtn_train.measurements._counts import Counts
from qtn_train.measurements._estimators import GradientMethod
from qtn_train.measurements._readout import (
    MAX_MITIGATED_QUBITS,
    Readout,
    calibration_programs,
    project_on_simplex,
)

FLIPS = (0.03, 0.11)
CIRCUIT = ansatz.u3_cu3_ring(3, 1)
ANGLES = torch.from_numpy(np.random.default_rng(0).uniform(-np.pi, np.pi, CIRCUIT.n_angles))
V = torch.from_numpy(np.random.default_rng(1).normal(size=6))


def engine(
    shots: int = 0, gradient: GradientMethod | None = None, seed: int = 0, on: bool = True
) -> TestEngine:
    return TestEngine(shots, gradient=gradient, seed=seed, mitigate_readout=on, flips=FLIPS)


def true_probs() -> Tensor:
    return StatevectorEngine(dtype="complex128").prepare(CIRCUIT, ANGLES).probs(0, 8)


def pulled_back(made: Engine, circuit: Circuit = CIRCUIT) -> Tensor:
    leaf = ANGLES[: circuit.n_angles].clone().requires_grad_()
    (grad,) = torch.autograd.grad(made.prepare(circuit, leaf).probs(0, 6), leaf, V)
    return grad


# The matrices


def test_calibration_circuits() -> None:
    zeros, ones = calibration_programs(3)
    assert zeros.circuit == Circuit(3, (), 0)
    assert ones.circuit == Circuit.builder(3).x(0).x(1).x(2).build()
    assert zeros.angles.shape == ones.angles.shape == (1, 0)


def test_matrices_from_counts() -> None:
    # Two qubits; of 10 shots each, qubit 0 reads 1 for 0 once, qubit 1 reads 0 for 1 three times.
    zeros = Counts.of_outcomes(torch.tensor([0, 2]), torch.tensor([9, 1]), 2)
    ones = Counts.of_outcomes(torch.tensor([2, 3]), torch.tensor([3, 7]), 2)
    expected = [[[0.9, 0.0], [0.1, 1.0]], [[1.0, 0.3], [0.0, 0.7]]]
    matrices = Readout.measured(zeros, ones, 2).matrices
    torch.testing.assert_close(matrices, torch.tensor(expected, dtype=torch.float64))


def test_inverse_and_pull_back() -> None:
    rng = np.random.default_rng(3)
    e0, e1 = rng.uniform(0, 0.2, (2, 3))
    matrices = torch.from_numpy(np.array([[1 - e0, e1], [e0, 1 - e1]]).transpose(2, 0, 1))
    dense = torch.kron(torch.kron(matrices[0], matrices[1]), matrices[2])
    true, values = torch.from_numpy(rng.dirichlet(np.ones(8))), torch.from_numpy(rng.normal(size=8))
    readout = Readout(matrices)
    torch.testing.assert_close(readout.invert(dense @ true), true)
    torch.testing.assert_close(dense.T @ readout.pull_back(values), values)


def test_projection_is_the_nearest_distribution() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        values = torch.from_numpy(rng.normal(0.2, 0.4, 5))
        nearest = project_on_simplex(values)
        assert float(nearest.min()) >= 0
        assert float(nearest.sum()) == pytest.approx(1)
        distance = float((values - nearest).norm())
        others = torch.from_numpy(rng.dirichlet(np.ones(5), 200))
        others = torch.cat([others, 0.999 * nearest + 0.001 * others])
        assert distance <= float((values - others).norm(dim=1).min()) + tolerances.DOUBLE


def test_a_distribution_is_left_as_it_is() -> None:
    probs = true_probs()
    torch.testing.assert_close(project_on_simplex(probs), probs)


# The engine


def test_exact_counts_give_the_noise_free_distribution() -> None:
    noisy = engine(on=False).prepare(CIRCUIT, ANGLES).probs(0, 8)
    assert float((noisy - true_probs()).abs().max()) > 0.01
    state = engine().prepare(CIRCUIT, ANGLES)
    torch.testing.assert_close(state.probs(0, 8), true_probs())
    assert state.sample(10, torch.Generator().manual_seed(0)).shape == (10,)


@pytest.mark.parametrize("gradient", ["parameter-shift", "random-shift", "spsa"])
def test_gradient_is_that_of_a_reading_without_errors(gradient: GradientMethod) -> None:
    quiet = TestEngine(gradient=gradient)
    expected = pulled_back(quiet)
    torch.testing.assert_close(pulled_back(engine(gradient=gradient)), expected)
    assert float((pulled_back(engine(gradient=gradient, on=False)) - expected).abs().max()) > 1e-3


def test_calibration_goes_with_the_forward_batch_alone() -> None:
    made = engine(gradient="parameter-shift")
    pulled_back(made)
    assert made.executed == [3, 2 * 9 + 3 * 8]
    assert [program.circuit for program in made.batches[0][1]] == [
        CIRCUIT,
        *[program.circuit for program in calibration_programs(3)],
    ]


def largest_z(samples: list[Tensor], mean: Tensor) -> float:
    stacked = torch.stack(samples)
    error = stacked.std(0) / len(samples) ** 0.5
    return float(((stacked.mean(0) - mean) / error).abs().max())


def test_mean_over_shots_is_the_noise_free_distribution_and_its_gradient() -> None:
    made, blind = (engine(4000, "parameter-shift", on=on) for on in (True, False))
    probs = [made.prepare(CIRCUIT, ANGLES).probs(0, 8) for _ in range(60)]
    assert largest_z(probs, true_probs()) < tolerances.Z_VALUE
    few = ansatz.ry_cx_chain(3, 2)
    expected = pulled_back(StatevectorEngine(dtype="complex128"), few)
    gradients = [pulled_back(made, few) for _ in range(60)]
    assert largest_z(gradients, expected) < tolerances.Z_VALUE
    assert largest_z([pulled_back(blind, few) for _ in range(20)], expected) > 10


def test_few_shots_still_give_a_distribution() -> None:
    probs = engine(20).prepare(CIRCUIT, ANGLES).probs(0, 8)
    assert float(probs.min()) >= 0
    assert float(probs.sum()) == pytest.approx(1)


def test_what_cannot_be_inverted() -> None:
    made = TestEngine(mitigate_readout=True, flips=(0.5, 0.5))
    expected = r"`readout of qubit 0` must be better than a coin .*; got P\(1\|1\) − P\(1\|0\) = 0"
    with pytest.raises(UnsupportedByEngine, match=expected):
        made.prepare(CIRCUIT, ANGLES)


def test_too_many_qubits_are_refused_before_anything_is_executed() -> None:
    made = engine()
    circuit = Circuit(MAX_MITIGATED_QUBITS + 1, (), 0)
    expected = "`n_qubits` must be at most 20 with readout mitigation; got 21. Take mitigate_reado"
    with pytest.raises(UnsupportedByEngine, match=expected):
        made.prepare(circuit, torch.zeros(0))
    assert made.batches == []
