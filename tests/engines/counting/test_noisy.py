"""Simulated noise: depolarized and misread probabilities, smoothed counts, and their gradients."""

from typing import Any

import numpy as np
import pytest
import tolerances
import torch
from scipy.stats import chisquare
from torch import Tensor

from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines import Engine, NoisyEngine, SampledEngine, StatevectorEngine
from qtn_train.engines.counting._noisy import n_two_qubit_gates

EXACT = StatevectorEngine(dtype="complex128")
CIRCUIT = ansatz.u3_cu3_ring(3, 1)  # 3 controlled gates: 6 CX
ANGLES = torch.from_numpy(np.random.default_rng(0).uniform(-np.pi, np.pi, CIRCUIT.n_angles))
V = torch.from_numpy(np.random.default_rng(1).normal(size=8))


def true_probs() -> Tensor:
    return EXACT.prepare(CIRCUIT, ANGLES).probs(0, 8)


def noisy(shots: int = 0, **options: Any) -> NoisyEngine:
    return NoisyEngine(EXACT, shots, **options)


def probs(engine: NoisyEngine) -> Tensor:
    return engine.prepare(CIRCUIT, ANGLES).probs(0, 8)


def pulled_back(engine: Any) -> Tensor:
    leaf = ANGLES.clone().requires_grad_()
    (grad,) = torch.autograd.grad(engine.prepare(CIRCUIT, leaf).probs(0, 8), leaf, V)
    return grad


def misread(p: Tensor, e0: float, e1: float) -> Tensor:
    one = np.array([[1 - e0, e1], [e0, 1 - e1]])
    return torch.from_numpy(np.kron(np.kron(one, one), one)) @ p


@pytest.mark.parametrize(
    ("circuit", "expected"),
    [
        (CIRCUIT, 6),
        (ansatz.ry_cx_chain(5, 2), 8),
        (ansatz.hardware_efficient(4, 1), 3),
        (Circuit.builder(2).swap(0, 1).build(), 3),
        (Circuit.builder(2).h(0).build(), 0),
    ],
)
def test_two_qubit_gates_as_a_device_executes_them(circuit: Circuit, expected: int) -> None:
    assert n_two_qubit_gates(circuit) == expected


def test_without_noise_nothing_changes() -> None:
    torch.testing.assert_close(probs(noisy()), true_probs(), atol=tolerances.DOUBLE, rtol=0)


@pytest.mark.parametrize("error", [0.0, 0.01, 1.0])
def test_depolarizing_mixes_with_the_uniform_distribution(error: float) -> None:
    kept = (1 - error) ** 6
    expected = kept * true_probs() + (1 - kept) / 8
    got = probs(noisy(two_qubit_error=error))
    torch.testing.assert_close(got, expected, atol=tolerances.DOUBLE, rtol=0)


def test_readout_after_depolarizing() -> None:
    kept = 0.99**6
    expected = misread(kept * true_probs() + (1 - kept) / 8, 0.03, 0.11)
    got = probs(noisy(two_qubit_error=0.01, readout_error=(0.03, 0.11)))
    torch.testing.assert_close(got, expected, atol=tolerances.DOUBLE, rtol=0)


def test_mitigation_undoes_the_readout_and_nothing_else() -> None:
    engine = noisy(two_qubit_error=0.01, readout_error=(0.03, 0.11), mitigate_readout=True)
    expected = probs(noisy(two_qubit_error=0.01))
    torch.testing.assert_close(probs(engine), expected, atol=tolerances.TOTAL["complex128"], rtol=0)


def test_counts_come_from_the_noisy_distribution() -> None:
    engine = noisy(100_000, two_qubit_error=0.02, readout_error=(0.02, 0.05), seed=4)
    counts = engine.prepare(CIRCUIT, ANGLES).counts[0]
    assert counts.shots == 100_000
    expected = probs(noisy(two_qubit_error=0.02, readout_error=(0.02, 0.05)))
    seen = counts.dense(0, 8).numpy() * 100_000
    assert chisquare(seen, expected.numpy() * 100_000).pvalue > tolerances.P_VALUE


@pytest.mark.parametrize("noise", [{}, {"two_qubit_error": 0.05}, {"readout_error": (0.1, 0.2)}])
def test_the_gradient_is_that_of_the_noisy_probabilities(noise: dict[str, Any]) -> None:
    leaf = ANGLES.clone().requires_grad_()
    clean = EXACT.prepare(CIRCUIT, leaf).probs(0, 8)
    kept = (1 - noise.get("two_qubit_error", 0.0)) ** 6
    through = misread(kept * clean + (1 - kept) / 8, *noise.get("readout_error", (0.0, 0.0)))
    (expected,) = torch.autograd.grad(through, leaf, V)
    got = pulled_back(noisy(gradient="parameter-shift", **noise))
    torch.testing.assert_close(got, expected, atol=tolerances.SHIFT_RULE, rtol=0)


def test_smoothing_adds_counts_and_scales_the_gradient() -> None:
    plain, smooth = (noisy(20, gradient="parameter-shift", seed=1, smoothing=a) for a in (0.0, 0.5))
    expected = (probs(plain) * 20 + 0.5) / (20 + 0.5 * 8)
    torch.testing.assert_close(probs(smooth), expected, atol=tolerances.DOUBLE, rtol=0)
    assert float(probs(smooth).sum()) == pytest.approx(1)
    plain.position = smooth.position = 0
    factor = 20 / (20 + 0.5 * 8)
    torch.testing.assert_close(pulled_back(smooth), factor * pulled_back(plain))


def test_smoothing_leaves_exact_probabilities_alone() -> None:
    assert torch.equal(probs(noisy(smoothing=0.5)), probs(noisy()))


def test_the_same_seed_and_position_give_the_same_counts() -> None:
    first, second = noisy(50, seed=3), noisy(50, seed=3)
    assert torch.equal(probs(first), probs(second))
    assert not torch.equal(probs(first), probs(noisy(50, seed=4)))
    first.position = 0
    assert torch.equal(probs(first), probs(noisy(50, seed=3)))


def test_many_shots_cost_no_more() -> None:
    counts = noisy(10**12).prepare(CIRCUIT, ANGLES).counts[0]
    assert counts.shots == 10**12
    torch.testing.assert_close(
        counts.dense(0, 8), true_probs(), atol=tolerances.of_draws(10**12), rtol=0
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"two_qubit_error": -0.1}, r"`two_qubit_error` must be in 0 … 1; got -0\.1"),
        ({"two_qubit_error": 1.5}, r"`two_qubit_error` must be in 0 … 1; got 1\.5"),
        ({"readout_error": (0.1, 0.5)}, r"`readout_error` must be P\(1\|0\) and P\(0\|1\)"),
        ({"smoothing": -1.0}, r"`smoothing` must be a number of at least 0; got -1\.0"),
        ({"smoothing": float("nan")}, r"`smoothing` must be a number of at least 0; got nan"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        noisy(10, **options)


def test_it_draws_from_a_simulator_only() -> None:
    with pytest.raises(ValueError, match="`engine` must be a simulator without shots"):
        NoisyEngine(SampledEngine(EXACT, 10), 10)
    with pytest.raises(ValueError, match="`shots` must be a positive integer; got -1"):
        noisy(-1)


def test_its_description() -> None:
    engine = noisy(7, two_qubit_error=0.01, readout_error=(0.1, 0.2), seed=5)
    assert repr(engine) == (
        "NoisyEngine(StatevectorEngine(dtype='complex128'), shots=7, two_qubit_error=0.01, "
        "readout_error=(0.1, 0.2), seed=5)"
    )
    assert engine.simulator is EXACT
    assert engine.max_qubits == 24


def test_the_options_of_all_counting_engines_are_kept_and_no_others_taken() -> None:
    shared = {
        "gradient": "spsa",
        "seed": 3,
        "step": 0.2,
        "n_shifts": None,
        "mitigate_readout": True,
    }
    engine = noisy(5, **shared)
    assert shared.items() <= engine.options().items()
    assert Engine.from_config(engine.config()).config() == engine.config()
    with pytest.raises(TypeError, match="unexpected keyword argument 'steps'"):
        noisy(5, steps=0.2)
