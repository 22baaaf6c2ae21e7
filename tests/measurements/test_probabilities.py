"""Probabilities as numbers of the order of 1, for any number of qubits."""

import json
import math
from typing import Any

import numpy as np
import pytest
import tolerances
import torch
from scipy.integrate import quad
from torch import nn

import qtn_train as qt
from qtn_train._range import LARGEST, times_power_of_two
from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines import Engine, MPSEngine, SampledEngine, StatevectorEngine
from qtn_train.errors import UnsupportedByEngine
from qtn_train.mapping import MLPMapping, TensorTrainMapping
from qtn_train.measurements import Measurement, Probabilities
from qtn_train.measurements._probabilities import FLOOR, MEAN, STD


def test_constants_are_the_moments_of_a_random_state() -> None:
    def moment(power: int) -> float:
        return quad(lambda z: (z + FLOOR) ** (power / 2) * np.exp(-z), 0, np.inf, epsabs=1e-10)[0]

    mean = moment(1)
    assert mean == pytest.approx(MEAN, abs=tolerances.SIX_DECIMALS)
    assert (moment(2) - mean**2) ** 0.5 == pytest.approx(STD, abs=tolerances.SIX_DECIMALS)


def test_feature_of_a_random_state_is_standardized() -> None:
    scaled = torch.from_numpy(np.random.default_rng(0).exponential(size=2**16))
    feature = Probabilities().standardized(scaled, 16)
    assert float(feature.mean()) == pytest.approx(0, abs=tolerances.of_draws(2**16))
    assert float(feature.std()) == pytest.approx(1, abs=tolerances.of_draws(2**16))


@pytest.mark.parametrize("n_qubits", [1, 13, 150, 1500])
def test_published_feature_is_the_published_formula(n_qubits: int) -> None:
    z = np.random.default_rng(0).exponential(size=6690)
    z[7] = 0
    p = z * 0.5**n_qubits if n_qubits < 1000 else np.zeros_like(z)
    saturated = n_qubits > 60
    inside = 0.1 * 2.0 ** min(n_qubits - 1, 1000) * np.maximum(p, 1e-12)
    value = (0.8 * np.tanh(inside)) ** 0.3
    assert not saturated or (value == value[0]).all()
    found = Probabilities("published").standardized(torch.from_numpy(z), n_qubits)
    assert np.abs(found.numpy() - (value - value.mean())).max() < tolerances.DOUBLE


@pytest.mark.parametrize("feature", ["amplitude", "published"])
@pytest.mark.parametrize("tiny", [0.0, 1e-45, 1e-30, 64.0])
def test_finite_where_probabilities_vanish(feature: Any, tiny: float) -> None:
    for scaled in (torch.full((64,), tiny), torch.tensor([64.0] + [tiny] * 63)):
        scaled.requires_grad_()
        values = Probabilities(feature).standardized(scaled, 6)
        (grad,) = torch.autograd.grad(values @ torch.linspace(-1, 1, 64), scaled)
        assert torch.isfinite(values).all()
        assert torch.isfinite(grad).all()


def test_values_of_states() -> None:
    circuit = ansatz.u3_cu3_ring(4, 1)
    angles = torch.linspace(-3, 3, circuit.n_angles, dtype=torch.float64)
    for engine in (StatevectorEngine(dtype="complex128"), MPSEngine(dtype="complex128")):
        reads = Probabilities()
        state = engine.prepare(circuit, angles, reads)
        values = reads.values(state, 3, 9)
        expected = ((16 * state.probs(3, 9) + FLOOR).sqrt() - MEAN) / STD
        torch.testing.assert_close(values, expected)
        assert torch.equal(reads.standard_error(state, 3, 9), torch.zeros(6, dtype=torch.float64))
        published = Probabilities("published").values(state, 0, 16)
        assert abs(float(published.mean())) < tolerances.DOUBLE


def test_what_it_is() -> None:
    reads = Probabilities()
    assert (reads.n_values(10), reads.needs_all_values) == (1024, False)
    assert reads.n_values(1000) == 2**1000
    assert Probabilities("published").needs_all_values
    assert reads.bases(3) == ("ZZZ",)
    circuit = ansatz.ry_cx_chain(3, 1)
    assert reads.programs(circuit) == [circuit]
    for one in (reads, Probabilities("published")):
        twin = Measurement.from_config(json.loads(json.dumps(one.config())))
        assert twin == one
        assert hash(twin) == hash(one)
        assert repr(twin) == repr(one)
    assert reads != Probabilities("published")
    wrong: Any = "log"
    with pytest.raises(ValueError, match="`feature` must be 'amplitude' or 'published'; got 'log'"):
        Probabilities(wrong)
    with pytest.raises(ValueError, match=r"`measurement kind` must be one of .*; got 'tea leaves'"):
        Measurement.from_config({"kind": "tea leaves"})


# Wide states


def product(n_qubits: int, spread: float, seed: int = 0) -> tuple[Circuit, torch.Tensor]:
    """RY on each qubit, with CX between neighbors that a closing CX undoes."""
    builder = Circuit.builder(n_qubits)
    for qubit in range(n_qubits):
        builder.add("ry", qubit)
    for _ in range(2):
        for qubit in range(0, n_qubits - 1, 2):
            builder.add("cx", qubit, qubit + 1)
    rng = np.random.default_rng(seed)
    angles = np.pi / 2 + rng.uniform(-spread, spread, n_qubits)
    return builder.build(), torch.from_numpy(angles)


def log_probs_by_hand(angles: torch.Tensor, outcomes: list[int]) -> torch.Tensor:
    """The logarithm of each outcome's probability: a sum over qubits, in double precision."""
    n_qubits = len(angles)
    ones = torch.tensor([[int(b) for b in format(k, f"0{n_qubits}b")] for k in outcomes]).bool()
    cos, sin = (angles / 2).cos().square().log(), (angles / 2).sin().square().log()
    return torch.where(ones, sin, cos).sum(1)


@pytest.mark.parametrize("n_qubits", [65, 128, 200, 1000, 2000])
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_wide_states_against_logarithms(n_qubits: int, dtype: Any) -> None:
    circuit, angles = product(n_qubits, 0.1)
    start = 2**n_qubits // 3
    leaf = angles.clone().requires_grad_()
    state = MPSEngine(dtype=dtype).prepare(circuit, leaf)
    twin = angles.clone().requires_grad_()
    expected = log_probs_by_hand(twin, list(range(start, start + 9)))
    atol = {"complex64": 2e-4, "complex128": 1e-10}[dtype]
    found = state.log_probs(start, start + 9)
    torch.testing.assert_close(found.double(), expected, atol=atol * n_qubits / 100, rtol=0)
    direction = torch.linspace(-1, 1, 9, dtype=torch.float64)
    (grad,) = torch.autograd.grad(direction.to(found) @ found, leaf, retain_graph=True)
    (true,) = torch.autograd.grad(direction @ expected, twin, retain_graph=True)
    torch.testing.assert_close(grad, true, atol=atol, rtol=0)
    scaled = (expected + n_qubits * math.log(2)).exp()
    assert 1e-10 < float(scaled.detach().min()) < float(scaled.detach().max()) < 1e10
    values = Probabilities().values(state, start, start + 9)
    feature = ((scaled + FLOOR).sqrt() - MEAN) / STD
    largest = float(feature.detach().abs().max())
    torch.testing.assert_close(values.double(), feature, atol=20 * atol * largest, rtol=0)
    (grad,) = torch.autograd.grad(direction.to(values) @ values, leaf)
    (true,) = torch.autograd.grad(direction @ feature, twin)
    torch.testing.assert_close(grad, true, atol=20 * atol * largest, rtol=0)


@pytest.mark.parametrize("n_qubits", [70, 300, 1100])
@pytest.mark.parametrize("angle", [0.0, math.pi / 2, math.pi])
def test_no_state_gives_numbers_that_are_not_finite(n_qubits: int, angle: float) -> None:
    circuit = ansatz.ry_cx_chain(n_qubits, 1)
    angles = torch.full((circuit.n_angles,), angle, requires_grad=True)
    state = MPSEngine().prepare(circuit, angles)
    values = Probabilities().values(state, 0, 8)
    (grad,) = torch.autograd.grad(values.sum(), angles)
    assert torch.isfinite(values).all()
    assert torch.isfinite(grad).all()
    if angle == 0:
        assert state.scaled_probs(0, 2).tolist() == [2.0 ** min(n_qubits, LARGEST), 0]
        assert state.log_probs(0, 2).tolist() == [0, -math.inf]


@pytest.mark.parametrize("mapping", [MLPMapping, TensorTrainMapping])
@pytest.mark.parametrize("n_qubits", [60, 200, 1000])
def test_a_small_network_on_many_qubits(n_qubits: int, mapping: Any) -> None:
    model = qt.QuantumTrain(
        nn.Linear(4, 3),
        circuit=ansatz.ry_cx_chain(n_qubits, 2),
        engine=MPSEngine(8),
        mapping=mapping(15),
    )
    assert sum(p.numel() for p in model.generator.parts()["mapping"]) <= 249
    model(torch.linspace(-1, 1, 20).view(5, 4)).square().sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
    assert f"2^{n_qubits} values" in model.summary()
    assert len(model.summary()) < 2000


def test_counts_of_wide_states_are_not_multiplied() -> None:
    circuit = ansatz.ry_cx_chain(130, 1)
    engine: Engine = SampledEngine(MPSEngine(4), 10, seed=0)
    state = engine.prepare(circuit, torch.zeros(circuit.n_angles))
    assert state.probs(0, 3).tolist() == [1, 0, 0]
    with pytest.raises(UnsupportedByEngine, match="`n_qubits` must be at most 126 for 2"):
        state.scaled_probs(0, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_times_a_power_of_two(dtype: torch.dtype) -> None:
    values = torch.tensor([0.0, 1.0, 3.0, 2.0**-100, 5.0 * 2.0**-120], dtype=dtype)
    for exponent in (-300, -30, 0, 20, 64, 65, 100, 130, 210, 2000):
        found = times_power_of_two(values, exponent).tolist()
        for value, product in zip(values.tolist(), found, strict=True):
            mantissa, power = math.frexp(value)
            exact = math.ldexp(mantissa, min(power + exponent, LARGEST))
            if power + exponent > LARGEST and value:
                exact = 2.0**LARGEST
            if exponent <= 64 or exact <= 2.0**LARGEST:
                assert product == float(torch.tensor(exact, dtype=dtype))
