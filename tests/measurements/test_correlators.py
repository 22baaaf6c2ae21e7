"""Pauli correlators as a measurement: how many, how scaled, which are dead, and models of them."""

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
import tolerances
import torch

import qtn_train as qt
from qtn_train.circuits import ANSATZE, ansatz
from qtn_train.engines import MPSEngine, SampledEngine, StatevectorEngine
from qtn_train.generators import CircuitGenerator, qubits_needed
from qtn_train.measurements import Measurement, PauliCorrelators, _correlators
from qtn_train.measurements._correlators import SCALES, correlator_terms


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("bases", ["xyz", "zx", "y"])
def test_numbers_bases_and_configuration(order: int, bases: str) -> None:
    reads = PauliCorrelators(order, bases)
    assert reads.n_values(7) == len(bases) * math.comb(7, order)
    assert reads.bases(3) == tuple(3 * letter.upper() for letter in bases)
    assert Measurement.from_config(reads.config()) == reads


@pytest.mark.parametrize("reach", [1, 2, 3, 6, 9])
def test_numbers_within_a_reach(reach: int) -> None:
    for order in range(1, min(reach, 2) + 2):
        reads = PauliCorrelators(order, "xz", reach)
        near = [k for k in itertools.combinations(range(7), order) if k[-1] - k[0] <= reach]
        assert reads.n_values(7) == 2 * len(near)
        again = Measurement.from_config(reads.config())
        assert again == reads != PauliCorrelators(order, "xz")


@pytest.mark.parametrize("order", [1, 2, 3])
def test_values_are_correlators_over_a_constant(order: int) -> None:
    circuit = ansatz.cz_chain(5, 3)
    angles = torch.from_numpy(np.random.default_rng(0).uniform(-3, 3, circuit.n_angles))
    reads = PauliCorrelators(order)
    state = MPSEngine(dtype="complex128").prepare(circuit, angles, reads)
    whole = reads.values(state, 0, reads.n_values(5))
    terms = correlator_terms(5, order, "xyz", 0, reads.n_values(5))
    expected = state._expectations(terms) / SCALES[order]
    torch.testing.assert_close(whole, expected, atol=10 * tolerances.CORRELATOR, rtol=0)
    piece = reads.values(state, 2, 9)
    torch.testing.assert_close(piece, whole[2:9], atol=10 * tolerances.CORRELATOR, rtol=0)
    assert not reads.standard_error(state, 0, 4).any()


def test_values_are_of_the_order_of_one() -> None:
    circuit = ansatz.cz_chain(25, 6)
    angles = torch.from_numpy(np.random.default_rng(1).uniform(-np.pi, np.pi, circuit.n_angles))
    state = MPSEngine().prepare(circuit, angles)
    for order in SCALES:
        reads = PauliCorrelators(order)
        spread = float(reads.values(state, 0, reads.n_values(25)).std())
        assert 0.3 < spread < 3


@pytest.mark.parametrize(
    ("n_weights", "order", "n_qubits"),
    [(131, 2, 10), (131, 3, 8), (131, 1, 44), (6690, 2, 68), (6690, 3, 25), (10**6, 2, 817),
     (10**6, 3, 127), (124_439_808, 3, 631), (3, 1, 1), (1, 3, 3)],
)  # fmt: skip
def test_qubits_needed(n_weights: int, order: int, n_qubits: int) -> None:
    reads = PauliCorrelators(order)
    assert qubits_needed(n_weights, measurement=reads) == n_qubits
    assert reads.n_values(n_qubits) >= n_weights > reads.n_values(n_qubits - 1)


def test_a_measurement_of_one_value_never_suffices() -> None:
    with pytest.raises(ValueError, match=r"`measurement` must be one of at least 5 values"):
        qubits_needed(5, measurement=qt.Expectation("Z0"))


@pytest.mark.parametrize("name", ANSATZE)
def test_what_is_dead_is_known_from_the_gates(name: str) -> None:
    circuit = ANSATZE[name](4, 2)
    angles = torch.from_numpy(np.random.default_rng(2).uniform(-3, 3, circuit.n_angles))
    state = StatevectorEngine(dtype="complex128").prepare(circuit, angles)
    assert circuit.is_real == (name == "ry-cx-chain")
    for order in (1, 3):
        alive = state.correlators(order, "y").abs().max() > tolerances.CORRELATOR
        assert bool(alive) != circuit.is_real


@pytest.mark.parametrize("order", [1, 2, 3])
def test_live_values_and_connected_share_are_those_of_the_definition(order: int) -> None:
    circuit = ansatz.u3_cu3_ring(5, 2)
    angles = torch.from_numpy(np.random.default_rng(4).uniform(-3, 3, circuit.n_angles))
    state = MPSEngine(dtype="complex128").prepare(circuit, angles)
    reads = PauliCorrelators(order, "zy")
    n_values = reads.n_values(5) - 1
    strings = [
        [f"{letter}{qubit}" for qubit in qubits]
        for letter in "ZY"
        for qubits in itertools.combinations(range(5), order)
    ][:n_values]
    whole = np.array([float(state.expectation(" ".join(each))) for each in strings])
    single = np.array([math.prod(float(state.expectation(s)) for s in each) for each in strings])
    expected = ((whole - single) ** 2).sum() / (whole**2).sum()
    found = reads.portrait(state, n_values)
    assert found.looked_at == found.live == n_values
    assert found.connected == pytest.approx(expected, abs=tolerances.CORRELATOR)


def test_dead_values_are_not_live() -> None:
    circuit = ansatz.ry_cx_chain(4, 1)
    angles = torch.from_numpy(np.random.default_rng(5).uniform(1, 2, circuit.n_angles))
    state = MPSEngine().prepare(circuit, angles)
    assert PauliCorrelators(1, "xyz").portrait(state, 12).live <= 8
    flat = MPSEngine().prepare(qt.Circuit.builder(3).x(0).build(), torch.zeros(0))
    assert PauliCorrelators(2, "zx").portrait(flat, 6) == (6, 3, 0.0)
    assert PauliCorrelators(2, "x").portrait(flat, 3) == (3, 0, 0.0)


def test_no_more_than_the_first_values_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_correlators, "_DESCRIBED", 4)
    ghz = qt.Circuit.builder(3).h(0).cx(0, 1).cx(1, 2).build()
    state = MPSEngine().prepare(ghz, torch.zeros(0))
    reads = PauliCorrelators(2, "zx")
    assert reads.portrait(state, 6) == (4, 3, pytest.approx(1))
    expected = "3 of the first 4 of 6 are live (above 0.0001); 100 % of their sum of squares"
    assert reads.describe(state, 6) == f"{expected} is connected"
    assert PauliCorrelators(1, "z").describe(state, 2) == "0 of 2 are live (above 0.0001)"


@pytest.mark.parametrize("shots", [None, 50])
def test_the_summary_tells_live_values_without_a_shot(shots: int | None) -> None:
    engine = StatevectorEngine() if shots is None else qt.SampledEngine(StatevectorEngine(), shots)
    made = qt.QuantumTrain(
        torch.nn.Linear(4, 3),
        circuit=ansatz.cz_chain(4, 2),
        engine=engine,
        measurement=PauliCorrelators(2),
        mapping=qt.IdentityMapping(15),
    )
    text = made.summary()
    assert re.search(r"values +15 of 15 are live .* % of their sum of squares is connected", text)
    assert engine.position == 0
    assert "  values " not in qt.QuantumTrain(torch.nn.Linear(4, 3)).summary()


def test_a_model_of_correlators_learns_and_is_loaded_again(tmp_path: Path) -> None:
    target = torch.nn.Linear(4, 3)
    model = qt.QuantumTrain(
        target,
        circuit=ansatz.cz_chain(4, 2),
        measurement=PauliCorrelators(2),
        mapping=qt.IdentityMapping(18),
        seed=0,
    )
    x = torch.from_numpy(np.random.default_rng(3).normal(size=(30, 4)).astype(np.float32))
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    path = tmp_path / "model.safetensors"
    model.save(path)
    again = qt.QuantumTrain.load(path, torch.nn.Linear(4, 3))
    assert torch.equal(again(x), model(x))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: PauliCorrelators(4), ValueError, r"`order` must be 1, 2 or 3; got 4\."),
        (lambda: PauliCorrelators(2.0), TypeError, r"`order` must be a positive integer; got 2\.0"),
        (lambda: PauliCorrelators(3, reach=1), ValueError, r"`reach` must be at least 2 for order"),
        (lambda: PauliCorrelators(2, reach=0), ValueError, r"`reach` must be a positive integer"),
        (lambda: PauliCorrelators(2, "zz"), ValueError, r"`bases` must be different letters out"),
        (lambda: model(ansatz.cz_chain(2, 1), 2), ValueError,
         r"`n_qubits` must be at least 4; got 2\. 15 weights need 4 qubits\."),
        (lambda: model(ansatz.cz_chain(2, 1), 3), ValueError,
         r"`n_qubits` must be at least 5; got 2\. 15 weights need 5 qubits\."),
        (lambda: model(ansatz.ry_cx_chain(9, 1), 1), ValueError,
         r"`bases` must be without y for a circuit of real gates and an odd order; got 'xyz'\. "
         r"Take bases='xz', or a circuit with RX, RZ or U3\."),
        (lambda: model(ansatz.cz_chain(9, 1), 2, 7), ValueError,
         r"`mapping\.n_values` must be at least 15, for 15 weights; got 7\."),
    ],
)  # fmt: skip
def test_wrong_input(make: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()  # type: ignore[operator]


def model(circuit: qt.Circuit, order: int, n_values: int = 15) -> qt.QuantumTrain:
    return qt.QuantumTrain(
        torch.nn.Linear(4, 3),
        circuit=circuit,
        measurement=PauliCorrelators(order),
        mapping=qt.IdentityMapping(n_values),
    )


# Noise in training


def noisy(training_shots: int | None = 1000, **options: object) -> CircuitGenerator:
    circuit = ansatz.cz_chain(6, 2)
    reads = PauliCorrelators(2)
    mapping = qt.IdentityMapping(reads.n_values(6))
    return CircuitGenerator(
        circuit,
        StatevectorEngine(),
        mapping,
        measurement=reads,
        n_weights=45,
        training_shots=training_shots,
        **options,  # type: ignore[arg-type]
    )


def test_training_adds_noise_of_so_many_shots_and_evaluation_none() -> None:
    generator = noisy()
    exact = noisy(None)().detach()
    drawn = torch.stack([generator().detach() for _ in range(400)])
    with torch.no_grad():
        exported = generator()
    for without in (exported, generator.origin(), generator.eval()()):
        torch.testing.assert_close(without, exact)
    expected = ((1 - (0.1 * exact).square()) / 1000).sqrt() / 0.1
    assert (drawn.std(0) / expected - 1).abs().max() < tolerances.SPREAD_OF_400
    assert ((drawn.mean(0) - exact).abs() / expected).max() < 5 / 400**0.5


def test_the_noise_is_as_large_as_that_of_real_counts() -> None:
    shots, reads, circuit = 10**5, PauliCorrelators(2), ansatz.cz_chain(4, 2)
    angles = torch.from_numpy(np.random.default_rng(0).uniform(-3, 3, circuit.n_angles))
    exact = reads.values(StatevectorEngine().prepare(circuit, angles), 0, 18)
    engine = SampledEngine(StatevectorEngine(), shots, seed=0)
    told = reads.standard_error(engine.prepare(circuit, angles, reads), 0, 18)
    ratio = reads.deviation(exact, shots) / told
    assert (ratio - 1).abs().max() < tolerances.ERROR_OF_100_000_SHOTS


def test_gradients_see_one_draw_also_where_chunks_are_made_again() -> None:
    weights = torch.linspace(-1, 1, 45)
    grads = []
    for chunk_size in (64, 8):
        generator = noisy(10, chunk_size=chunk_size)
        first, second = generator().detach(), generator().detach()
        assert (first - second).abs().max() > 0.1
        (weights * generator()).sum().backward()
        grads.append(generator.angles.grad)
    exact = noisy(None)
    (weights * exact()).sum().backward()
    for grad in grads:  # the noise is added: linear losses have the exact gradient
        torch.testing.assert_close(
            grad,
            exact.angles.grad,
            atol=tolerances.NETWORK_GRADIENT,
            rtol=tolerances.NETWORK_GRADIENT,
        )
    one = noisy(10, chunk_size=8)
    loss = one().square().sum()
    direction = torch.autograd.grad(loss, one.angles)[0]
    assert not torch.equal(direction, torch.autograd.grad(exact().square().sum(), exact.angles)[0])


def test_noise_is_a_function_of_the_seed_and_the_position() -> None:
    first, second, other = noisy(10), noisy(10), noisy(10, seed=1)
    torch.manual_seed(0)
    drawn = [first().detach() for _ in range(3)]
    torch.manual_seed(1)
    assert all(torch.equal(second().detach(), expected) for expected in drawn)
    assert first.position == second.position == 3
    second.position = 1
    assert torch.equal(second().detach(), drawn[1])
    noise = drawn[0] - noisy(None)().detach()
    assert (noise - (other() - noisy(None, seed=1)()).detach()).abs().max() > 0.1


def test_noise_goes_into_the_description_and_not_onto_counts() -> None:
    generator = noisy()
    assert "noise of 1,000 shots in training" in generator.describe()
    assert CircuitGenerator.from_config(generator.config()).training_shots == 1000
    generator.engine = SampledEngine(StatevectorEngine(), 10**6, seed=1)
    assert (generator() - noisy(None)()).abs().max() < 0.1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: noisy(0), ValueError, r"`training_shots` must be a positive integer; got 0"),
        (lambda: noisy(1.5), TypeError, r"`training_shots` must be a positive integer; got 1\.5"),  # type: ignore[arg-type]
        (lambda: qt.Probabilities().deviation(torch.ones(1), 5), ValueError,
         r"`measurement` must be a measurement whose values' deviations are known, such as Pauli"),
    ],
)  # fmt: skip
def test_wrong_training_shots(make: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()  # type: ignore[operator]


def test_a_mixing_takes_all_values() -> None:
    reads, circuit = PauliCorrelators(2, reach=3), ansatz.cz_chain(6, 2)
    mapping = qt.MixingMapping(reads.n_values(6), 2)
    generator = CircuitGenerator(circuit, MPSEngine(), mapping, measurement=reads, n_weights=40)
    assert generator.n_values == reads.n_values(6) == 36
    jacobian = torch.autograd.functional.jacobian(
        lambda values: mapping(0, values).reshape(-1)[:40], torch.ones(36)
    )
    assert jacobian.shape == (40, 36)
    assert (jacobian.abs() > 1e-6).double().mean() > 0.9
    fewer = qt.MixingMapping(30, 2)
    read = CircuitGenerator(circuit, MPSEngine(), fewer, measurement=reads, n_weights=40)
    assert read.n_values == 30
