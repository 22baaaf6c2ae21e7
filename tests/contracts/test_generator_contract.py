"""What every generator promises: a new generator is one line in ``CASES``."""

import copy
import itertools
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import tolerances
import torch

from qtn_train.circuits import ansatz
from qtn_train.engines import SampledEngine, StatevectorEngine
from qtn_train.engines.statevector import _direct
from qtn_train.generators import (
    CONTROLS,
    CircuitGenerator,
    RandomSubspace,
    WeightGenerator,
    control,
    generator_from_config,
    qubits_needed,
)
from qtn_train.mapping import MLPMapping
from qtn_train.measurements import Expectation, Probabilities

N_WEIGHTS = 200


def circuit_generator(
    seed: int = 0, *, chunk_size: int = 2**16, per_outcome: int = 1, feature: Any = "amplitude"
) -> CircuitGenerator:
    mapping = MLPMapping(
        2**8,
        hidden=(4, 3),
        weights_per_outcome=per_outcome,
        published=feature == "published",
        seed=seed,
    )
    return CircuitGenerator(
        ansatz.u3_cu3_ring(8, 1),
        StatevectorEngine(),
        mapping,
        measurement=Probabilities(feature),
        n_weights=N_WEIGHTS,
        chunk_size=chunk_size,
        seed=seed,
    )


def control_of_the_circuit(name: str, seed: int) -> WeightGenerator:
    return control(name, circuit_generator(seed), seed)


CASES: dict[str, Callable[[int], WeightGenerator]] = {
    "circuit": circuit_generator,
    "circuit-chunked": lambda seed: circuit_generator(seed, chunk_size=16),
    "circuit-three-per-outcome": lambda seed: circuit_generator(seed, per_outcome=3),
    "circuit-published": lambda seed: circuit_generator(seed, feature="published"),
    **{name: partial(control_of_the_circuit, name) for name in CONTROLS},
    "random-subspace-not-kept": lambda seed: RandomSubspace(N_WEIGHTS, 70, seed, max_bytes=0),
    "frozen-chunked": lambda seed: control("frozen", circuit_generator(seed, chunk_size=16), seed),
}
every_generator = pytest.mark.parametrize("make", CASES.values(), ids=CASES)


def gradients(generator: WeightGenerator) -> list[torch.Tensor]:
    weights = generator()
    direction = torch.linspace(-1, 1, len(weights), dtype=weights.dtype)
    return list(torch.autograd.grad((direction * weights).sum(), list(generator.parameters())))


# Promises


@every_generator
def test_weights(make: Callable[[int], WeightGenerator]) -> None:
    generator = make(0)
    weights = generator()
    assert weights.shape == (generator.n_weights,) == (N_WEIGHTS,)
    assert weights.dtype == torch.float32
    assert torch.isfinite(weights).all()
    assert 0.01 < float(weights.detach().std()) < 10
    assert torch.equal(generator(), weights)


@every_generator
def test_every_parameter_gets_a_finite_gradient(make: Callable[[int], WeightGenerator]) -> None:
    for grad in gradients(make(0)):
        assert torch.isfinite(grad).all()
        assert grad.abs().max() > 0 or grad.numel() == 1


@every_generator
def test_parts_are_the_trainable_parameters(make: Callable[[int], WeightGenerator]) -> None:
    generator = make(0)
    parts = generator.parts()
    assert set(parts) <= {"angles", "mapping", "other"}
    ids = [id(p) for ps in parts.values() for p in ps]
    assert sorted(ids) == sorted(id(p) for p in generator.parameters())
    first = next(generator.parameters()).requires_grad_(False)
    assert id(first) not in [id(p) for ps in generator.parts().values() for p in ps]


@every_generator
def test_configuration_builds_an_equal_generator(make: Callable[[int], WeightGenerator]) -> None:
    generator = make(3)
    config = json.loads(json.dumps(generator.config()))
    twin = generator_from_config(config)
    assert type(twin) is type(generator)
    assert twin.config() == config
    assert torch.equal(twin(), generator())


@every_generator
def test_seeds(make: Callable[[int], WeightGenerator]) -> None:
    before = torch.random.get_rng_state()
    assert torch.equal(make(1)(), make(1)())
    assert not torch.equal(make(1)(), make(2)())
    assert torch.equal(torch.random.get_rng_state(), before)


@every_generator
def test_in_double(make: Callable[[int], WeightGenerator]) -> None:
    generator = make(0)
    twin = generator.in_double()
    double = twin()
    assert double.dtype == torch.float64
    torch.testing.assert_close(
        double.float(), generator(), atol=tolerances.NETWORK_GRADIENT, rtol=0
    )
    assert generator().dtype == torch.float32
    assert all(p.dtype == torch.float64 for p in twin.parameters())
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    torch.testing.assert_close(generator(), make(0)(), atol=0, rtol=0)


@every_generator
def test_origin_is_what_the_parameters_give(make: Callable[[int], WeightGenerator]) -> None:
    generator = make(0)
    origin = generator.origin()
    assert torch.equal(origin, generator())
    assert not origin.requires_grad


@every_generator
def test_description_and_copy(make: Callable[[int], WeightGenerator]) -> None:
    generator = make(0)
    assert generator.describe()
    assert "\n" not in generator.describe()
    assert torch.equal(copy.deepcopy(generator)(), generator())


# The circuit generator


@pytest.mark.parametrize("chunk_size", [1, 16, 128])
def test_chunks_give_the_same_values_and_gradients(chunk_size: int) -> None:
    whole = circuit_generator().in_double()
    chunked = circuit_generator(chunk_size=chunk_size).in_double()
    torch.testing.assert_close(chunked(), whole(), atol=tolerances.DOUBLE, rtol=0)
    for a, b in zip(gradients(chunked), gradients(whole), strict=True):
        torch.testing.assert_close(a, b, atol=tolerances.DOUBLE, rtol=tolerances.DOUBLE)


def test_chunks_with_several_weights_per_outcome() -> None:
    whole = circuit_generator(per_outcome=3)
    chunked = circuit_generator(per_outcome=3, chunk_size=16)
    assert whole.n_values == 67
    torch.testing.assert_close(chunked(), whole(), atol=tolerances.SINGLE, rtol=0)


@pytest.mark.parametrize("chunk_size", [16, 256])
@pytest.mark.parametrize("feature", ["amplitude", "published"])
def test_the_circuit_runs_once(
    chunk_size: int, feature: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"forward": 0, "backward": 0}
    prepare, backward = StatevectorEngine._prepare, _direct.Direct.backward

    def counted_prepare(self: Any, *args: Any) -> Any:
        calls["forward"] += 1
        return prepare(self, *args)

    def counted_backward(*args: Any) -> Any:
        calls["backward"] += 1
        return backward(*args)

    monkeypatch.setattr(StatevectorEngine, "_prepare", counted_prepare)
    monkeypatch.setattr(_direct.Direct, "backward", staticmethod(counted_backward))
    gradients(circuit_generator(chunk_size=chunk_size, feature=feature))
    assert calls == {"forward": 1, "backward": 1}


def test_mapping_is_recomputed_in_the_backward_pass_where_there_are_chunks() -> None:
    for chunk_size, expected in ((256, 1), (16, 2 * 13)):
        generator = circuit_generator(chunk_size=chunk_size)
        calls: list[int] = []
        # Before the call, since a recomputation stops as soon as it has what it needs.
        generator.mapping.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        gradients(generator)
        assert len(calls) == expected


def test_weights_are_those_of_mapping_and_probabilities() -> None:
    generator = circuit_generator(per_outcome=3)
    state = generator.engine.prepare(generator.circuit, generator.angles)
    by_hand = generator.mapping(0, generator.measurement.values(state, 0, 67))
    assert by_hand.shape == (67, 3)
    assert torch.equal(generator(), by_hand.reshape(-1)[:N_WEIGHTS])


def test_initial_angles_are_the_same_in_every_version() -> None:
    generator = CircuitGenerator(
        ansatz.ry_cx_chain(4, 2), StatevectorEngine(), MLPMapping(2**4), n_weights=11
    )
    expected = [1.857372761, 2.768499613, -1.380604029]
    assert generator.angles[:3].tolist() == pytest.approx(expected, abs=tolerances.LITERAL)
    assert generator.angles.dtype == torch.float32


def test_parts_and_description() -> None:
    generator = circuit_generator()
    sizes = {role: sum(p.numel() for p in ps) for role, ps in generator.parts().items()}
    assert sizes == {"angles": 48, "mapping": 9 * 4 + 4 + 15 + 4}
    generator.angles.requires_grad_(False)
    assert generator.parts()["angles"] == []
    text = generator.describe()
    assert "circuit of 8 qubits, 16 gates and 48 angles on StatevectorEngine" in text
    assert "200 of 256 values of Probabilities(feature='amplitude')" in text


def test_sampled_engine_trains_the_mapping_alone() -> None:
    generator = CircuitGenerator(
        ansatz.ry_cx_chain(4, 2),
        SampledEngine(StatevectorEngine(), 100, seed=0),
        MLPMapping(2**4),
        n_weights=11,
    )
    generator().sum().backward()
    assert generator.angles.grad is None
    assert all(p.grad is not None for p in generator.mapping.parameters())
    exact = CircuitGenerator(
        ansatz.ry_cx_chain(4, 2), StatevectorEngine(), MLPMapping(2**4), n_weights=11
    )
    assert torch.equal(generator.origin(), exact.origin()), "the origin must cost no shots"
    assert generator.in_double()().dtype == torch.float64


def test_shots_reach_the_angles_through_chunks() -> None:
    engine = SampledEngine(StatevectorEngine(), 100, gradient="spsa", seed=0)
    generator = CircuitGenerator(
        ansatz.ry_cx_chain(4, 2), engine, MLPMapping(2**4), n_weights=11, chunk_size=4
    )
    assert (generator.position, generator.billed) == (0, False)
    generator().square().sum().backward()
    assert generator.angles.grad is not None
    assert float(generator.angles.grad.abs().min()) > 0
    assert generator.position == 2, "a batch forward, and one backward"
    generator.position = 7
    assert engine.position == 7


def test_what_is_drawn_from_nowhere_has_no_position() -> None:
    generator = circuit_generator()
    generator.position = 7
    assert (generator.position, generator.billed) == (0, False)


def test_version_changes_with_a_parameter_and_with_the_engine() -> None:
    generator = circuit_generator()
    versions = [generator.version()]
    generator()
    assert generator.version() == versions[0]
    with torch.no_grad():
        generator.angles.add_(0.1)
    versions.append(generator.version())
    generator.engine = StatevectorEngine()
    versions.append(generator.version())
    assert all(one != other for one, other in itertools.combinations(versions, 2))


@pytest.mark.parametrize(
    ("n_weights", "per_outcome", "n_qubits"),
    [(1, 1, 1), (2, 1, 1), (3, 1, 2), (256, 1, 8), (257, 1, 9), (257, 2, 8), (6690, 1, 13)],
)
def test_qubits_needed(n_weights: int, per_outcome: int, n_qubits: int) -> None:
    assert qubits_needed(n_weights, per_outcome) == n_qubits
    outcomes = -(-n_weights // per_outcome)
    assert 2**n_qubits >= outcomes
    assert n_qubits == 1 or 2 ** (n_qubits - 1) < outcomes


def build(**options: Any) -> CircuitGenerator:
    arguments = {
        "circuit": ansatz.ry_cx_chain(4, 1),
        "engine": StatevectorEngine(),
        "mapping": MLPMapping(2**4),
        "n_weights": 11,
    }
    return CircuitGenerator(**(arguments | options))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"n_weights": 17},
            ValueError,
            "`n_qubits` must be at least 5; got 4. 17 weights need 5 qubits.",
        ),
        (
            {"n_weights": 100, "mapping": MLPMapping(2**4, weights_per_outcome=2)},
            ValueError,
            "`n_qubits` must be at least 6; got 4. 100 weights need 6 qubits.",
        ),
        ({"n_weights": 0}, ValueError, "`n_weights` must be a positive integer; got 0."),
        ({"n_weights": 1.5}, TypeError, "`n_weights` must be a positive integer; got 1.5."),
        ({"chunk_size": 24}, ValueError, "`chunk_size` must be a power of two; got 24."),
        ({"chunk_size": 0}, ValueError, "`chunk_size` must be a positive integer; got 0."),
        ({"chunk_size": 2.0}, TypeError, "`chunk_size` must be a positive integer; got 2.0."),
        (
            {"mapping": MLPMapping(8)},
            ValueError,
            "`mapping.n_values` must be at least 11, for 11 weights; got 8.",
        ),
        (
            {"measurement": Expectation(["ZIII", "IZII"])},
            ValueError,
            "`measurement` must be one of at least 11 values, for 11 weights; got Expectation",
        ),
        (
            {"measurement": Expectation(["ZIIII"] * 11)},
            ValueError,
            "`terms` must be Pauli strings of 4 letters out of IXYZ; got 'ZIIII'.",
        ),
    ],
)
def test_messages(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build(**options)


def test_messages_of_qubits_needed() -> None:
    with pytest.raises(ValueError, match=r"`n_weights` must be a positive integer; got 0."):
        qubits_needed(0)
    with pytest.raises(ValueError, match="`weights_per_outcome` must be a positive integer; got 0"):
        qubits_needed(5, 0)


@pytest.mark.parametrize("config", [{}, {"kind": "dice"}])
def test_message_of_configurations(config: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"`generator kind` must be one of .*circuit, .*; got .*Call q"
    ):
        generator_from_config(config)


def test_the_abstract_class_cannot_be_built() -> None:
    abstract: Any = WeightGenerator
    with pytest.raises(TypeError, match="abstract"):
        abstract()
