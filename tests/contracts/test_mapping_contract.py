"""What every mapping promises: a new mapping is one line in ``CASES``."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tolerances
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import nn

from qtn_train.mapping import (
    MappingModel,
    MLPMapping,
    TensorTrainMapping,
    basis_bits,
    mapping_from_config,
)
from qtn_train.mapping._base import FLOOR, MEAN, STD

N_QUBITS = 6
SIZE = 2**N_QUBITS

CASES: dict[str, Callable[[int], MappingModel]] = {
    "mlp": lambda seed: MLPMapping(N_QUBITS, hidden=(4, 5, 3), seed=seed),
    "mlp-gelu": lambda seed: MLPMapping(N_QUBITS, hidden=(5,), activation="gelu", seed=seed),
    "mlp-affine": lambda seed: MLPMapping(N_QUBITS, hidden=(4, 3), activation=None, seed=seed),
    "mlp-no-hidden": lambda seed: MLPMapping(N_QUBITS, hidden=(), seed=seed),
    "mlp-three": lambda seed: MLPMapping(N_QUBITS, weights_per_outcome=3, seed=seed),
    "mlp-published": lambda seed: MLPMapping(
        N_QUBITS, hidden=(4, 3), activation=None, feature="published", seed=seed
    ),
    "tensor-train": lambda seed: TensorTrainMapping(N_QUBITS, seed=seed),
    "tensor-train-three": lambda seed: TensorTrainMapping(
        N_QUBITS, 3, weights_per_outcome=3, seed=seed
    ),
}
# Piecewise linear: no finite differences across its kinks.
KINKED = {"mlp-relu": lambda seed: MLPMapping(N_QUBITS, activation="relu", seed=seed)}
ALL = CASES | KINKED
every_mapping = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


def probabilities(count: int = SIZE, seed: int = 0) -> torch.Tensor:
    """Porter–Thomas distributed, as those of a random state."""
    values = np.random.default_rng(seed).exponential(size=count) / SIZE
    return torch.from_numpy(values)


# Promises


@every_mapping
@settings(max_examples=20)
@given(cuts=st.lists(st.integers(1, SIZE - 1), max_size=6, unique=True), first=st.integers(0, 40))
def test_chunks_give_the_same_weights(
    make: Callable[[int], MappingModel], cuts: list[int], first: int
) -> None:
    mapping = make(0).double()
    if mapping.needs_all_outcomes:
        return
    probs = probabilities()
    ends = sorted({first, SIZE, *(cut for cut in cuts if cut > first)})
    parts = [mapping(a, probs[a:b]) for a, b in itertools.pairwise(ends)]
    whole = mapping(0, probs)
    assert whole.shape == (SIZE, mapping.weights_per_outcome)
    torch.testing.assert_close(torch.cat(parts), whole[first:], atol=tolerances.DOUBLE, rtol=0)


@every_mapping
def test_shape_type_and_size_of_weights(make: Callable[[int], MappingModel]) -> None:
    mapping = make(0)
    weights = mapping(0, probabilities().float())
    assert weights.shape == (SIZE, mapping.weights_per_outcome)
    assert weights.dtype == torch.float32
    assert 1e-3 < float(weights.detach().abs().max()) < 10
    twice = mapping(0, probabilities().float())
    assert torch.equal(weights, twice)


@every_mapping
@pytest.mark.parametrize("tiny", [0.0, 1e-45, 1e-30, 1.0])
def test_finite_where_probabilities_vanish(
    make: Callable[[int], MappingModel], tiny: float
) -> None:
    mapping = make(0)
    for probs in (torch.full((SIZE,), tiny), torch.tensor([1.0] + [tiny] * (SIZE - 1))):
        probs.requires_grad_()
        weights = mapping(0, probs)
        loss = (weights * torch.linspace(-1, 1, SIZE)[:, None]).sum()
        grads = torch.autograd.grad(loss, [probs, *mapping.parameters()])
        assert torch.isfinite(weights).all()
        assert all(torch.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_gradient_against_finite_differences(make: Callable[[int], MappingModel]) -> None:
    mapping = make(0).double()
    names = [name for name, _ in mapping.named_parameters()]
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=SIZE))[:, None]

    def loss(scaled: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        own = dict(zip(names, parameters, strict=True))
        out = torch.func.functional_call(mapping, own, (0, scaled / SIZE))
        return (weights * out).sum()

    scaled = (probabilities() * SIZE + 0.05).requires_grad_()
    inputs = (scaled, *(p.detach().clone().requires_grad_() for p in mapping.parameters()))
    assert torch.autograd.gradcheck(loss, inputs)


@every_mapping
def test_seeds(make: Callable[[int], MappingModel]) -> None:
    first, same, other = make(0), make(0), make(1)
    for name, value in first.state_dict().items():
        assert torch.equal(same.state_dict()[name], value)
        assert not torch.equal(other.state_dict()[name], value)


@every_mapping
def test_building_leaves_the_global_generator_alone(make: Callable[[int], MappingModel]) -> None:
    before = torch.random.get_rng_state()
    make(3)
    assert torch.equal(torch.random.get_rng_state(), before)


@every_mapping
def test_configuration_builds_an_equal_mapping(make: Callable[[int], MappingModel]) -> None:
    mapping = make(5)
    config = json.loads(json.dumps(mapping.config()))
    twin = mapping_from_config(config)
    assert type(twin) is type(mapping)
    assert twin.config() == mapping.config()
    probs = probabilities().float()
    assert torch.equal(twin(0, probs), mapping(0, probs))


# The multilayer perceptron


@pytest.mark.parametrize("n_qubits", [1, 2, 3, 8])
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", None])
def test_separable_layer_is_the_plain_one(n_qubits: int, activation: str | None) -> None:
    mapping = MLPMapping(n_qubits, hidden=(5, 3), activation=activation, seed=2).double()
    count = 2**n_qubits
    probs = probabilities(count) * SIZE / count
    feature = ((probs * count + FLOOR).sqrt() - MEAN) / STD
    x = torch.cat((basis_bits(0, count, n_qubits).double(), feature[:, None]), 1)
    functions = {"tanh": torch.tanh, "relu": torch.relu, "gelu": nn.functional.gelu}
    for number, layer in enumerate(mapping.layers):
        if number and activation is not None:
            x = functions[activation](x)
        x = layer(x)
    torch.testing.assert_close(mapping(0, probs), x, atol=tolerances.DOUBLE, rtol=0)


@pytest.mark.parametrize("n_qubits", [1, 2, 5, 20])
def test_basis_bits_are_most_significant_first(n_qubits: int) -> None:
    stop = min(2**n_qubits, 70)
    bits = basis_bits(0, stop, n_qubits)
    expected = [[2 * int(b) - 1 for b in format(k, f"0{n_qubits}b")] for k in range(stop)]
    assert bits.tolist() == expected
    assert bits.dtype == torch.float32
    assert torch.equal(basis_bits(1, stop, n_qubits), bits[1:])
    assert basis_bits(0, 0, n_qubits).shape == (0, n_qubits)


def test_constants_are_the_moments_of_a_random_state() -> None:
    def moment(power: int) -> float:
        return quad(lambda z: (z + FLOOR) ** (power / 2) * np.exp(-z), 0, np.inf, epsabs=1e-10)[0]

    mean = moment(1)
    assert mean == pytest.approx(MEAN, abs=tolerances.SIX_DECIMALS)
    assert (moment(2) - mean**2) ** 0.5 == pytest.approx(STD, abs=tolerances.SIX_DECIMALS)


def test_feature_of_a_random_state_is_standardized() -> None:
    mapping = MLPMapping(16, seed=0)
    probs = torch.from_numpy(np.random.default_rng(0).exponential(size=2**16) / 2**16)
    feature = mapping._feature(probs)
    assert float(feature.mean()) == pytest.approx(0, abs=0.02)
    assert float(feature.std()) == pytest.approx(1, abs=0.02)


def test_published_mapping_is_the_published_formula() -> None:
    mapping = MLPMapping(13, (4, 20, 4), activation=None, feature="published").double()
    assert sum(p.numel() for p in mapping.parameters()) == 249
    assert mapping.needs_all_outcomes
    count = 6690
    p = np.random.default_rng(0).exponential(size=count) / 2**13
    p[7] = 0
    value = (0.8 * np.tanh(0.1 * 2**12 * np.maximum(p, 1e-12))) ** 0.3
    bits = np.array([[2 * int(b) - 1 for b in format(k, "013b")] for k in range(count)])
    x = np.concatenate((bits, (value - value.mean())[:, None]), axis=1)
    for layer in mapping.layers:
        weight, bias = (t.detach().numpy() for t in (layer.weight, layer.bias))
        x = x @ weight.T + bias
    expected = x - x.mean()
    got = mapping(0, torch.from_numpy(p)).detach().numpy()
    assert got.shape == (count, 1)
    assert np.abs(got - expected).max() < tolerances.DOUBLE
    assert abs(got.mean()) < tolerances.DOUBLE


def test_first_parameters_are_the_same_in_every_version() -> None:
    first, second = MLPMapping(5, hidden=(4,), seed=0).layers
    expected = [0.454169422, 0.425988019, 0.401080489]
    assert first.weight[0, :3].tolist() == pytest.approx(expected, abs=tolerances.LITERAL)
    assert second.bias.tolist() == pytest.approx([-0.557809234], abs=tolerances.LITERAL)
    published = MLPMapping(5, hidden=(4,), feature="published", seed=0).layers[0]
    ratio = first.weight / published.weight
    torch.testing.assert_close(ratio, torch.full_like(ratio, 3**0.5))


@pytest.mark.parametrize("feature", ["amplitude", "published"])
def test_initial_parameters_have_the_stated_range(feature: Any) -> None:
    mapping = MLPMapping(12, hidden=(50, 50), feature=feature)
    factor = 3**0.5 if feature == "amplitude" else 1.0
    for layer in mapping.layers:
        bound = factor / layer.weight.shape[1] ** 0.5
        largest = float(torch.cat((layer.weight.detach().ravel(), layer.bias.detach())).abs().max())
        assert 0.8 * bound < largest <= bound * (1 + 1e-6)


# Messages


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_qubits": 0}, ValueError, "`n_qubits` must be a positive integer; got 0."),
        ({"n_qubits": 2.0}, TypeError, "`n_qubits` must be a positive integer; got 2.0."),
        ({"hidden": (4, 0)}, ValueError, "`hidden` must be a positive integer; got 0."),
        ({"hidden": ("4",)}, TypeError, "`hidden` must be a positive integer; got '4'."),
        (
            {"activation": "sine"},
            ValueError,
            "`activation` must be None or one of tanh, relu, gelu; got 'sine'.",
        ),
        (
            {"feature": "log"},
            ValueError,
            "`feature` must be 'amplitude' or 'published'; got 'log'.",
        ),
        (
            {"weights_per_outcome": 0},
            ValueError,
            "`weights_per_outcome` must be a positive integer; got 0.",
        ),
    ],
)
def test_messages(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        MLPMapping(**({"n_qubits": 4} | options))


@pytest.mark.parametrize("ends", [(-1, 2), (3, 2), (0, 17)])
def test_message_of_basis_bits(ends: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"`start, stop` must be 0 <= start <= stop <= 2\*\*4"):
        basis_bits(*ends, 4)


@pytest.mark.parametrize("config", [{}, {"kind": "oracle"}])
def test_message_of_configurations(config: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"`mapping kind` must be 'mlp' or .*; got .* Update qtn_tr"
    ):
        mapping_from_config(config)


def test_the_abstract_class_cannot_be_built() -> None:
    abstract: Any = MappingModel
    with pytest.raises(TypeError, match="abstract"):
        abstract(4)
