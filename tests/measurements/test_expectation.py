"""Expectation values of Pauli strings: declared, counted, differentiated, corrected."""

import json
import math
from typing import Any

import numpy as np
import oracle
import pytest
import tolerances
import torch
from counting import TestEngine

from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines import (
    CountingEngine,
    Engine,
    MPSEngine,
    NoisyEngine,
    SampledEngine,
    StatevectorEngine,
    n_circuits,
)
from qtn_train.errors import UnsupportedByEngine
from qtn_train.measurements import Counts, Expectation, GradientMethod, Measurement, Probabilities
from qtn_train.measurements._readout import Readout, calibration_programs

CIRCUIT = ansatz.u3_cu3_ring(3, 1)
ANGLES = torch.from_numpy(np.random.default_rng(0).uniform(-np.pi, np.pi, CIRCUIT.n_angles))
SUMS = [{"ZZI": 0.5, "IZZ": -1.5, "XXX": 2.0}, "YIX", {"III": 3.0, "Z2": 1.0}, "Z0 Z1"]
READS = Expectation(SUMS)
FLIPS = (0.04, 0.09)


def exact(circuit: Circuit = CIRCUIT, angles: torch.Tensor = ANGLES) -> torch.Tensor:
    return StatevectorEngine(dtype="complex128").prepare(circuit, angles).expectations(SUMS)


def exact_engine(**options: Any) -> TestEngine:
    """An engine with 0 shots: its counts are probabilities."""
    return TestEngine(0, **options)


# What it is


def test_values_are_standardized_by_the_size_of_the_coefficients() -> None:
    state = StatevectorEngine(dtype="complex128").prepare(CIRCUIT, ANGLES, READS)
    sizes = torch.tensor([6.5**0.5, 1, 10**0.5, 1], dtype=torch.float64)
    torch.testing.assert_close(READS.values(state, 0, 4), exact() / sizes)
    assert torch.equal(READS.values(state, 1, 3), READS.values(state, 0, 4)[1:3])
    assert torch.equal(READS.standard_error(state, 0, 4), torch.zeros(4, dtype=torch.float64))
    for ends in ((0, 5), (2, 2), (-1, 2)):
        with pytest.raises(ValueError, match="`start, stop` must be 0 <= start < stop <= 4; got"):
            READS.values(state, *ends)
        with pytest.raises(ValueError, match="`start, stop` must be 0 <= start < stop <= 4; got"):
            READS.standard_error(state, *ends)


def test_configuration_and_equality() -> None:
    twin = Measurement.from_config(json.loads(json.dumps(READS.config())))
    assert twin == READS
    assert hash(twin) == hash(READS)
    assert Expectation({(0, 1): "ZZ"}) == Expectation("Z0 Z1") != Expectation("ZZ")
    assert READS.n_values(3) == 4
    assert set(READS.bases(3)) == {"XXX", "ZZZ", "YZX"}


@pytest.mark.parametrize(
    ("terms", "error", "message"),
    [
        (5, TypeError, "`terms` must be a sum of Pauli strings, or a list of them; got 5"),
        ([], ValueError, "`terms` must be one sum of Pauli strings at least; got an empty list"),
        ([5], TypeError, "`terms` must be such as .*; got 5"),
        ([{}], ValueError, "`terms` must be one Pauli string at least"),
    ],
)
def test_messages(terms: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Expectation(terms)


# Programs


def test_each_group_is_one_circuit_and_nothing_else_is_executed() -> None:
    engine = exact_engine(gradient="spsa")
    leaf = ANGLES.clone().requires_grad_()
    state = engine.prepare(CIRCUIT, leaf, READS)
    assert engine.executed == [3]
    tails = [program.circuit.gates[len(CIRCUIT) :] for program in engine.batches[0][1]]
    assert sorted(len(tail) for tail in tails) == [0, 3, 3]
    READS.values(state, 0, 4).sum().backward()
    assert engine.executed == [3, 6]
    repr(state), state._repr_html_(), state.diagnostics(), READS.standard_error(state, 0, 4)
    assert engine.executed == [3, 6]


@pytest.mark.parametrize("gradient", [None, "parameter-shift", "random-shift", "spsa"])
@pytest.mark.parametrize("on", [False, True])
def test_numbers_of_circuits(gradient: GradientMethod | None, on: bool) -> None:
    engine = exact_engine(gradient=gradient, mitigate_readout=on, flips=FLIPS)
    leaf = ANGLES.clone().requires_grad_()
    state = engine.prepare(CIRCUIT, leaf, READS)
    told = n_circuits(CIRCUIT, gradient, mitigate_readout=on, reads=READS)
    assert engine.executed == [told.forward]
    if gradient is not None:
        state.expectations(SUMS).square().sum().backward()
        assert told.backward_low <= engine.executed[1] <= told.backward_high


def test_rotations_turn_eigenvectors_into_bits() -> None:
    up = Circuit.builder(3).h(0).h(1).s(1).build()  # +1 of X, of Y and of Z
    engine = exact_engine()
    assert engine.prepare(up, torch.zeros(0), Expectation(["XYZ", "XII", "IYI", "IIZ"])).counts
    found = engine.prepare(up, torch.zeros(0), Expectation("XYZ")).expectation("XYZ")
    assert float(found) == pytest.approx(1)


# Values from counts


@pytest.mark.parametrize(
    "engine",
    [
        exact_engine(),
        NoisyEngine(StatevectorEngine(dtype="complex128"), 0),
    ],
    ids=["exact counts", "noisy without noise"],
)
def test_exact_counts_give_the_expectations(engine: Engine) -> None:
    state = engine.prepare(CIRCUIT, ANGLES, READS)
    torch.testing.assert_close(state.expectations(SUMS), exact())
    torch.testing.assert_close(state.expectations([SUMS[3], SUMS[0]]), exact()[[3, 0]])
    assert float(state.expectation("ZZI")) == pytest.approx(float(exact()[3]))
    assert torch.equal(READS.standard_error(state, 0, 4), torch.zeros(4, dtype=torch.float64))


def largest_z(samples: list[torch.Tensor], mean: torch.Tensor) -> float:
    stacked = torch.stack(samples)
    error = stacked.std(0) / len(samples) ** 0.5
    return float(((stacked.mean(0) - mean).abs() / error.clamp_min(1e-12)).max())


def test_shots_scatter_as_the_standard_error_says() -> None:
    engine = SampledEngine(StatevectorEngine(dtype="complex128"), 400, seed=1)
    states = [engine.prepare(CIRCUIT, ANGLES, READS) for _ in range(200)]
    means = [state.expectations(SUMS) for state in states]
    assert largest_z(means, exact()) < tolerances.Z_VALUE
    told = torch.stack([state.standard_errors(0, 4) for state in states]).mean(0)
    seen = torch.stack(means).std(0)
    assert float((told / seen - 1).abs().max()) < 0.15
    values = torch.stack([READS.standard_error(state, 0, 4) for state in states]).mean(0)
    assert float(values[0]) == pytest.approx(float(told[0]) / 6.5**0.5)


def test_the_standard_error_holds_covariances() -> None:
    ghz = Circuit.builder(2).h(0).cx(0, 1).build()
    engine = SampledEngine(StatevectorEngine(), 1000, seed=0)
    # Z0 − Z1 is 0 in every shot, and Z0 + Z1 is ±2.
    reads = Expectation([{"ZI": 1.0, "IZ": -1.0}, {"ZI": 1.0, "IZ": 1.0}])
    state = engine.prepare(ghz, torch.zeros(0), reads)
    difference, total = state.standard_errors(0, 2).tolist()
    assert difference == 0
    assert total == pytest.approx(2 / 999**0.5, rel=tolerances.of_draws(1000) ** 2 / 2)


def test_one_shot_has_no_standard_error() -> None:
    counts = Counts.of(torch.tensor([[0, 1]], dtype=torch.uint8))
    assert Expectation("ZZ").errors([counts], 0, 1).tolist() == [math.inf]


@pytest.mark.parametrize("n_qubits", [40, 70, 200])
def test_strings_on_many_qubits(n_qubits: int) -> None:
    circuit = ansatz.ry_cx_chain(n_qubits, 1)
    angles = torch.linspace(0.05, 0.4, circuit.n_angles, dtype=torch.float64)
    terms = ["Z0", f"Z0 Z{n_qubits - 1}", "X3 X4", {(5, 30): "ZZ"}]
    reads = Expectation(terms)
    engine = SampledEngine(MPSEngine(dtype="complex128"), 4000, gradient="spsa", seed=3)
    leaf = angles.clone().requires_grad_()
    state = engine.prepare(circuit, leaf, reads)
    found, error = state.expectations(terms), state.standard_errors(0, 4)
    seen = found.detach()
    true = MPSEngine(dtype="complex128").prepare(circuit, angles).expectations(terms)
    assert float(((seen - true).abs() / error).max()) < tolerances.Z_VALUE
    found.sum().backward()
    assert leaf.grad is not None
    assert float(leaf.grad.abs().min()) > 0
    assert state.n_qubits == n_qubits


# Gradients


@pytest.mark.parametrize("engine", ["statevector", "exact counts"])
def test_parameter_shift_is_the_gradient(engine: str) -> None:
    made: Engine = StatevectorEngine(dtype="complex128")
    if engine == "exact counts":
        made = exact_engine(gradient="parameter-shift")
    rng = np.random.default_rng(3)
    v = torch.from_numpy(rng.normal(size=4))
    leaf = ANGLES.clone().requires_grad_()
    values = made.prepare(CIRCUIT, leaf, READS).expectations(SUMS)
    (grad,) = torch.autograd.grad(v @ values, leaf)
    direction = torch.from_numpy(rng.normal(size=CIRCUIT.n_angles))
    ends = [v @ exact(angles=ANGLES + s * tolerances.STEP * direction) for s in (1, -1)]
    expected = float(ends[0] - ends[1]) / (2 * tolerances.STEP)
    assert float(grad @ direction) == pytest.approx(expected, abs=tolerances.FINITE_DIFFERENCE)


@pytest.mark.parametrize("gradient", ["random-shift", "spsa"])
def test_random_estimates_have_the_right_mean(gradient: GradientMethod) -> None:
    circuit = ansatz.ry_cx_chain(3, 1)
    engine = TestEngine(200, gradient=gradient, step=0.02 if gradient == "spsa" else 0.1)
    angles = ANGLES[: circuit.n_angles]
    leaf = angles.clone().requires_grad_()
    truth = StatevectorEngine(dtype="complex128").prepare(circuit, leaf).expectations(SUMS)
    (expected,) = torch.autograd.grad(truth.sum(), leaf)
    grads = []
    for _ in range(150):
        values = engine.prepare(circuit, leaf, READS).expectations(SUMS)
        grads.append(torch.autograd.grad(values.sum(), leaf)[0])
    assert largest_z(grads, expected) < tolerances.Z_VALUE


def test_pieces_add_up_and_a_failed_pass_leaves_nothing() -> None:
    engine = exact_engine(gradient="parameter-shift")
    leaf = ANGLES.clone().requires_grad_()
    state = engine.prepare(CIRCUIT, leaf, READS)
    whole = state.expectations(SUMS)
    (expected,) = torch.autograd.grad(whole[1] + 2 * whole[3], leaf, retain_graph=True)
    parts = state.expectation(SUMS[1]) + 2 * state.expectation(SUMS[3])
    measure, engine._measure = engine._measure, None  # type: ignore[method-assign, assignment]
    with pytest.raises(TypeError, match="NoneType"):
        torch.autograd.grad(parts, leaf, retain_graph=True)
    engine._measure = measure  # type: ignore[method-assign]
    torch.testing.assert_close(torch.autograd.grad(parts, leaf)[0], expected)


# Readout


@pytest.mark.parametrize("gradient", ["parameter-shift", "spsa"])
def test_mitigated_expectations_are_those_of_a_reading_without_errors(
    gradient: GradientMethod,
) -> None:
    results = []
    for flips, on in (((0.0, 0.0), False), (FLIPS, True), (FLIPS, False)):
        engine = exact_engine(gradient=gradient, mitigate_readout=on, flips=flips)
        leaf = ANGLES.clone().requires_grad_()
        values = engine.prepare(CIRCUIT, leaf, READS).expectations(SUMS)
        results.append((values, torch.autograd.grad(values.sum(), leaf)[0]))
    for right, found, blind in zip(*results, strict=True):
        torch.testing.assert_close(found, right)
        assert float((blind - right).abs().max()) > 1e-3


def test_columns_are_corrected_one_by_one() -> None:
    rng = np.random.default_rng(0)
    e0, e1 = rng.uniform(0, 0.2, (2, 2))
    matrices = torch.from_numpy(np.array([[1 - e0, e1], [e0, 1 - e1]]).transpose(2, 0, 1))
    readout = Readout(matrices)
    rows = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.uint8)
    signs = readout.true_signs(rows)
    for bits in ((0, 0), (0, 1), (1, 0), (1, 1)):
        true = torch.zeros(4, dtype=torch.float64)
        true[2 * bits[0] + bits[1]] = 1
        read = readout.misread(true)
        expected = torch.tensor([1 - 2 * bits[0], 1 - 2 * bits[1]], dtype=torch.float64)
        torch.testing.assert_close(read @ signs, expected)
        assert float(read @ signs.prod(1)) == pytest.approx(float(expected.prod()))


def test_mitigation_of_many_qubits() -> None:
    circuit = Circuit.builder(21).x(0).x(20).build()
    reads = Expectation(["Z0", "Z1", "Z0 Z20", "Z0 Z1"])
    engine = NoisyEngine(
        StatevectorEngine(), 2000, readout_error=FLIPS, mitigate_readout=True, seed=2
    )
    state = engine.prepare(circuit, torch.zeros(0), reads)
    error = state.standard_errors(0, 4)
    found = state.expectations(reads.terms)
    assert float(((found - torch.tensor([-1, 1, 1, -1])).abs() / error).max()) < tolerances.Z_VALUE
    with pytest.raises(UnsupportedByEngine, match="`n_qubits` must be at most 20 with readout"):
        engine.prepare(circuit, torch.zeros(0))


# What was not declared


def counting_engines() -> list[CountingEngine]:
    return [
        SampledEngine(StatevectorEngine(), 10, seed=0),
        NoisyEngine(StatevectorEngine(), 10),
        TestEngine(10),
    ]


@pytest.mark.parametrize("engine", counting_engines(), ids=lambda engine: type(engine).__name__)
def test_what_was_not_declared_raises_and_executes_nothing(engine: CountingEngine) -> None:
    state = engine.prepare(CIRCUIT, ANGLES, READS)
    position = engine.position
    hint = r"Give prepare\(\) reads=Probabilities\(\)"
    for read in (state.probs, state.log_probs, state.scaled_probs):
        with pytest.raises(UnsupportedByEngine, match=f"`reads` must be declared as .*{hint}"):
            read(0, 8)
    with pytest.raises(UnsupportedByEngine, match=f"`reads` must be declared as .*{hint}"):
        state.sample(3, seed=0)
    with pytest.raises(UnsupportedByEngine, match=r"Give prepare\(\) reads=Expectation\(terms\)"):
        state.expectation("XII")
    with pytest.raises(UnsupportedByEngine, match="`state` must be of an engine that holds ampl"):
        state.amplitudes()
    with pytest.raises(UnsupportedByEngine, match=r"Give prepare\(\) reads=Expectation\(terms\)"):
        engine_state(engine).expectation("ZII")
    assert engine.position == position + 1


def engine_state(engine: CountingEngine) -> Any:
    return engine.prepare(CIRCUIT, ANGLES, Probabilities())


def test_standard_errors_of_probabilities() -> None:
    engine = SampledEngine(StatevectorEngine(dtype="complex128"), 500, seed=4)
    states = [engine.prepare(CIRCUIT, ANGLES) for _ in range(150)]
    seen = torch.stack([state.probs(0, 8) for state in states]).std(0)
    told = torch.stack([state.standard_errors(0, 8) for state in states]).mean(0)
    assert float((told / seen - 1).abs().max()) < 0.3
    reads = Probabilities()
    values = torch.stack([reads.values(state, 0, 8) for state in states]).std(0)
    told = torch.stack([reads.standard_error(state, 0, 8) for state in states]).mean(0)
    assert float((told / values - 1).abs().max()) < 0.3
    misread = TestEngine(500, flips=FLIPS, mitigate_readout=True, seed=4)
    corrected = misread.prepare(CIRCUIT, ANGLES)
    plain = TestEngine(500, flips=FLIPS, seed=4).prepare(CIRCUIT, ANGLES)
    assert bool((corrected.standard_errors(0, 8) > plain.standard_errors(0, 8)).any())
    zeros, ones = calibration_programs(3)
    assert len(zeros.circuit) == 0
    assert len(ones.circuit) == 3
    assert oracle.amplitudes(ones.circuit, [])[7] == 1
