"""Probabilities counted from shots: the sampled engine and its state."""

from typing import Any

import numpy as np
import pytest
import tolerances
import torch
from scipy.stats import chisquare

from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines import EstimatedState, MPSEngine, SampledEngine, StatevectorEngine
from qtn_train.measurements import Counts, Probabilities
from qtn_train.measurements._counts import bits_of

CIRCUIT = ansatz.u3_cu3_ring(4, 2)
ANGLES = torch.from_numpy(np.random.default_rng(0).uniform(-np.pi, np.pi, CIRCUIT.n_angles))


def sampled(shots: int = 1000, seed: int = 1) -> SampledEngine:
    return SampledEngine(StatevectorEngine(dtype="complex128"), shots, seed=seed)


def test_frequencies_are_counts_over_shots() -> None:
    state = sampled(1000).prepare(CIRCUIT, ANGLES)
    assert isinstance(state, EstimatedState)
    assert (state.shots, state.counts[0].shots, state.n_qubits) == (1000, 1000, 4)
    seen = len(state.counts[0].outcomes)
    assert state.diagnostics() == {"shots": 1000.0, "outcomes_seen": float(seen)}
    counts = state.probs(0, 16) * 1000
    torch.testing.assert_close(counts, counts.round(), atol=tolerances.COUNTS, rtol=0)
    assert int(counts.round().sum()) == 1000


def test_frequencies_follow_the_probabilities() -> None:
    exact = StatevectorEngine(dtype="complex128").prepare(CIRCUIT, ANGLES).probs(0, 16).numpy()
    counts = (sampled(20_000).prepare(CIRCUIT, ANGLES).probs(0, 16) * 20_000).round().numpy()
    assert chisquare(counts, 20_000 * exact / exact.sum()).pvalue > tolerances.P_VALUE


def test_each_preparation_draws_anew_from_its_position() -> None:
    engine, twin, other = sampled(), sampled(), sampled(seed=2)
    first, second = (engine.prepare(CIRCUIT, ANGLES).probs(0, 16) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(twin.prepare(CIRCUIT, ANGLES).probs(0, 16), first)
    assert torch.equal(twin.prepare(CIRCUIT, ANGLES).probs(0, 16), second)
    assert not torch.equal(other.prepare(CIRCUIT, ANGLES).probs(0, 16), first)


def test_no_gradient_reaches_the_angles() -> None:
    angles = ANGLES.clone().requires_grad_()
    assert not sampled().prepare(CIRCUIT, angles).probs(0, 16).requires_grad


def test_capabilities_and_repr() -> None:
    engine = sampled()
    assert (engine.exact, engine.differentiable, engine.needs_shots) == (False, False, True)
    assert (engine.billed, engine.simulator) == (False, engine.engine)
    spsa = SampledEngine(StatevectorEngine(), 7, gradient="spsa")
    assert spsa.differentiable
    assert "shots=7, gradient='spsa', seed=0" in repr(spsa)
    assert engine.max_qubits == engine.engine.max_qubits
    assert (
        repr(engine) == "SampledEngine(StatevectorEngine(dtype='complex128'), shots=1000, seed=1)"
    )


def test_resampling_draws_from_the_frequencies() -> None:
    counts = Counts.of_outcomes(torch.tensor([1, 6]), torch.tensor([1, 3]), 3)
    state = EstimatedState(Probabilities(), [counts], shots=4)
    drawn = state.sample(4000, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {1, 6}, "also outcomes that were not asked for"
    observed = np.bincount(drawn.numpy())[[1, 6]]
    assert chisquare(observed, [1000, 3000]).pvalue > tolerances.P_VALUE


def test_counts() -> None:
    counts = Counts.of(bits_of(torch.tensor([5, 0, 5, 2]), 3))
    assert counts.rows.tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert counts.outcomes.tolist() == [0, 2, 5]
    assert counts.counts.tolist() == [1, 1, 2]
    assert (counts.shots, counts.frequencies.tolist()) == (4, [0.25, 0.25, 0.5])
    assert counts.dense(0, 3).tolist() == [0.25, 0, 0.25]
    assert counts.dense(2, 7).tolist() == [0.25, 0, 0, 0.5, 0]
    assert counts.mean(torch.tensor([4.0, 100.0, 8.0]).double()) == 3
    assert counts.mean(torch.tensor([8.0, 100.0, 100.0, 2.0]).double(), 2) == 3
    exact = Counts.exact(torch.tensor([0.25, 0.75]))
    assert (exact.shots, exact.frequencies.tolist()) == (0, [0.25, 0.75])


@pytest.mark.parametrize("gradient", [None, "spsa"])
def test_forty_qubits(gradient: Any) -> None:
    circuit = ansatz.ry_cx_chain(40, 1)
    engine = SampledEngine(MPSEngine(max_bond=8), 200, gradient=gradient, seed=0)
    angles = torch.linspace(0.05, 0.2, 40).requires_grad_()
    state = engine.prepare(circuit, angles)
    assert isinstance(state, EstimatedState)
    assert state.counts[0].shots == 200
    assert int(state.sample(50, torch.Generator().manual_seed(0)).max()) >= 2**30
    probs = state.probs(0, 1000)
    assert 0 < float(probs.detach()[0]) <= 1
    if gradient is not None:
        probs[0].backward()
        assert angles.grad is not None
        assert float(angles.grad.abs().max()) > 0
    with pytest.raises(ValueError, match=r"`stop - start` must be at most 2\*\*31; got"):
        state.probs(0, 2**40)
    assert float(state.probs(2**40 - 1000, 2**40).detach().min()) >= 0


def test_one_shot_is_one_outcome() -> None:
    probs = sampled(1).prepare(CIRCUIT, ANGLES).probs(0, 16)
    assert sorted(probs.tolist())[-2:] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("shots", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("9", TypeError)]
)
def test_messages_of_shots(shots: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="`shots` must be a positive integer; got"):
        SampledEngine(StatevectorEngine(), shots)


def test_shots_of_shots_are_refused() -> None:
    with pytest.raises(ValueError, match="`engine` must be a simulator without shots; got Sampled"):
        SampledEngine(sampled(), 10)


def test_the_inner_engine_checks_its_input() -> None:
    with pytest.raises(ValueError, match=r"`angles` must be of shape \(1,\); got \(2,\)"):
        sampled().prepare(Circuit.builder(1).rx(0).build(), torch.zeros(2))


@pytest.mark.parametrize("n_qubits", [5, 31, 62, 63, 64, 65, 200])
def test_counts_of_any_width(n_qubits: int) -> None:
    rng = np.random.default_rng(n_qubits)
    edge = 2 ** (n_qubits - 1)
    near = [edge + int(d) for d in rng.integers(-9, 9, 60)]
    numbers = [number % 2**n_qubits for number in [*near, 0, 1, 2**n_qubits - 1]]
    drawn = [[int(bit) for bit in format(number, f"0{n_qubits}b")] for number in numbers]
    counts = Counts.of(torch.tensor(drawn, dtype=torch.uint8))
    distinct = sorted(set(numbers))
    assert ["".join(map(str, row)) for row in counts.rows.tolist()] == [
        format(number, f"0{n_qubits}b") for number in distinct
    ]
    assert counts.counts.tolist() == [numbers.count(number) for number in distinct]
    assert (counts.shots, counts.n_qubits) == (len(numbers), n_qubits)
    for start, stop in ((0, 3), (edge - 7, edge + 7), (2**n_qubits - 4, 2**n_qubits)):
        dense = counts.dense(start, stop) * len(numbers)
        assert dense.round().tolist() == [numbers.count(k) for k in range(start, stop)]
        values = torch.arange(1.0, stop - start + 1, dtype=torch.float64)
        expected = sum(float(values[k - start]) for k in numbers if start <= k < stop)
        assert counts.mean(values, start) * len(numbers) == pytest.approx(expected)
    if n_qubits <= 63:
        assert counts.outcomes.tolist() == distinct
    else:
        with pytest.raises(ValueError, match="`n_qubits` must be at most 63 for outcome numbers"):
            counts.outcomes  # noqa: B018
