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
from torch import nn

from qtn_train.mapping import (
    IdentityMapping,
    MappingModel,
    MixingMapping,
    MLPMapping,
    TensorTrainMapping,
    basis_bits,
    register_mapping,
)

SIZE = 64

CASES: dict[str, Callable[[int], MappingModel]] = {
    "mlp": lambda seed: MLPMapping(SIZE, hidden=(4, 5, 3), seed=seed),
    "mlp-gelu": lambda seed: MLPMapping(SIZE, hidden=(5,), activation="gelu", seed=seed),
    "mlp-affine": lambda seed: MLPMapping(SIZE, hidden=(4, 3), activation=None, seed=seed),
    "mlp-no-hidden": lambda seed: MLPMapping(SIZE, hidden=(), seed=seed),
    "mlp-three": lambda seed: MLPMapping(SIZE, weights_per_outcome=3, seed=seed),
    "mlp-published": lambda seed: MLPMapping(
        SIZE, hidden=(4, 3), activation=None, published=True, seed=seed
    ),
    "mlp-rising": lambda seed: MLPMapping(SIZE, hidden=(4, 3), rising=True, seed=seed),
    "tensor-train": lambda seed: TensorTrainMapping(SIZE, seed=seed),
    "tensor-train-three": lambda seed: TensorTrainMapping(
        SIZE, 3, weights_per_outcome=3, seed=seed
    ),
    "identity": lambda seed: IdentityMapping(SIZE),
    "mixing": lambda seed: MixingMapping(SIZE, seed=seed),
    "mixing-three": lambda seed: MixingMapping(SIZE, 3, seed=seed),
}
# Piecewise linear: no finite differences across its kinks.
KINKED = {"mlp-relu": lambda seed: MLPMapping(SIZE, activation="relu", seed=seed)}
ALL = CASES | KINKED
every_mapping = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


def standardized(count: int = SIZE, seed: int = 0) -> torch.Tensor:
    """Values of mean 0 and variance 1."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=count))


# Promises


@every_mapping
@settings(max_examples=20)
@given(cuts=st.lists(st.integers(1, SIZE - 1), max_size=6, unique=True), first=st.integers(0, 40))
def test_chunks_give_the_same_weights(
    make: Callable[[int], MappingModel], cuts: list[int], first: int
) -> None:
    mapping = make(0).double()
    if mapping.needs_all_values:
        return
    values = standardized()
    ends = sorted({first, SIZE, *(cut for cut in cuts if cut > first)})
    parts = [mapping(a, values[a:b]) for a, b in itertools.pairwise(ends)]
    whole = mapping(0, values)
    assert whole.shape == (SIZE, mapping.weights_per_outcome)
    torch.testing.assert_close(torch.cat(parts), whole[first:], atol=tolerances.DOUBLE, rtol=0)


@every_mapping
def test_shape_type_and_size_of_weights(make: Callable[[int], MappingModel]) -> None:
    mapping = make(0)
    weights = mapping(0, standardized().float())
    assert weights.shape == (SIZE, mapping.weights_per_outcome)
    assert weights.dtype == torch.float32
    assert 1e-3 < float(weights.detach().abs().max()) < 10
    twice = mapping(0, standardized().float())
    assert torch.equal(weights, twice)


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_gradient_against_finite_differences(make: Callable[[int], MappingModel]) -> None:
    mapping = make(0).double()
    names = [name for name, _ in mapping.named_parameters()]
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=SIZE))[:, None]

    def loss(values: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        own = dict(zip(names, parameters, strict=True))
        out = torch.func.functional_call(mapping, own, (0, values))
        return (weights * out).sum()

    inputs = (
        standardized().requires_grad_(),
        *(p.detach().clone().requires_grad_() for p in mapping.parameters()),
    )
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
    twin = MappingModel.from_config(config)
    assert type(twin) is type(mapping)
    assert twin.config() == mapping.config()
    values = standardized().float()
    assert torch.equal(twin(0, values), mapping(0, values))


# The multilayer perceptron


@pytest.mark.parametrize("n_qubits", [1, 2, 3, 8])
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", None])
def test_separable_layer_is_the_plain_one(n_qubits: int, activation: str | None) -> None:
    mapping = MLPMapping(2**n_qubits, hidden=(5, 3), activation=activation, seed=2).double()
    count = 2**n_qubits
    values = standardized(count)
    x = torch.cat((basis_bits(0, count, n_qubits).double(), values[:, None]), 1)
    functions = {"tanh": torch.tanh, "relu": torch.relu, "gelu": nn.functional.gelu}
    for number, layer in enumerate(mapping.layers):
        if number and activation is not None:
            x = functions[activation](x)
        x = layer(x)
    torch.testing.assert_close(mapping(0, values), x, atol=tolerances.DOUBLE, rtol=0)


@pytest.mark.parametrize("n_qubits", [1, 2, 5, 20])
def test_basis_bits_are_most_significant_first(n_qubits: int) -> None:
    stop = min(2**n_qubits, 70)
    bits = basis_bits(0, stop, n_qubits)
    expected = [[2 * int(b) - 1 for b in format(k, f"0{n_qubits}b")] for k in range(stop)]
    assert bits.tolist() == expected
    assert bits.dtype == torch.float32
    assert torch.equal(basis_bits(1, stop, n_qubits), bits[1:])
    assert basis_bits(0, 0, n_qubits).shape == (0, n_qubits)


def test_published_mapping_is_affine_less_its_mean() -> None:
    mapping = MLPMapping(6690, (4, 20, 4), activation=None, published=True).double()
    assert sum(p.numel() for p in mapping.parameters()) == 249
    assert mapping.needs_all_values
    values = np.random.default_rng(0).normal(size=6690)
    bits = np.array([[2 * int(b) - 1 for b in format(k, "013b")] for k in range(6690)])
    x = np.concatenate((bits, values[:, None]), axis=1)
    for layer in mapping.layers:
        weight, bias = (t.detach().numpy() for t in (layer.weight, layer.bias))
        x = x @ weight.T + bias
    expected = x - x.mean()
    got = mapping(0, torch.from_numpy(values)).detach().numpy()
    assert got.shape == (6690, 1)
    assert np.abs(got - expected).max() < tolerances.DOUBLE
    assert abs(got.mean()) < tolerances.DOUBLE


# Sizes


@pytest.mark.parametrize(
    ("n_values", "n_bits"), [(1, 1), (2, 1), (3, 2), (16, 4), (17, 5), (6690, 13), (2**200, 200)]
)
def test_bits_are_those_of_the_last_value(n_values: int, n_bits: int) -> None:
    for mapping in (MLPMapping(n_values, (2,)), TensorTrainMapping(n_values, 2)):
        assert (mapping.n_values, mapping.n_bits) == (n_values, n_bits)
        last = mapping(n_values - 1, torch.zeros(1))
        assert last.shape == (1, 1)
        assert torch.isfinite(last).all()


@pytest.mark.parametrize("n_bits", [60, 128, pytest.param(1100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", [MLPMapping, TensorTrainMapping])
def test_no_table_is_longer_than_the_values_asked_for(
    kind: Any, n_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapping = kind(2**n_bits).double()
    sizes = []
    original = torch.Tensor.reshape

    def measured(self: torch.Tensor, *shape: Any) -> torch.Tensor:
        sizes.append(self.numel())
        return original(self, *shape)

    monkeypatch.setattr(torch.Tensor, "reshape", measured)
    for start in (0, 2**n_bits - 50, 2 ** (n_bits - 1) - 20):
        values = standardized(50).requires_grad_()
        whole = mapping(start, values)
        some = [0, 1, 20, 49]
        apart = [mapping(start + i, values[i : i + 1]) for i in some]
        torch.testing.assert_close(whole[some], torch.cat(apart))
        assert torch.isfinite(torch.autograd.grad(whole.square().sum(), values)[0]).all()
    assert 0 < max(sizes) <= 50 * 64


@every_mapping
@pytest.mark.parametrize(("start", "count"), [(-1, 3), (0, 0), (0, SIZE + 1), (SIZE - 1, 2)])
def test_messages_of_ranges(make: Callable[[int], MappingModel], start: int, count: int) -> None:
    with pytest.raises(ValueError, match="`start, stop` must be 0 <= start < stop <= n_values = 6"):
        make(0)(start, torch.zeros(count))


def test_a_registered_mapping_has_a_kind_of_its_own() -> None:
    class Twin(MappingModel):
        kind = "mlp"

    wrong: Any = 5
    with pytest.raises(ValueError, match=r"`Twin\.kind` must be a word of its own; got 'mlp'"):
        register_mapping(Twin)
    with pytest.raises(TypeError, match="`cls` must be a subclass of MappingModel; got 5"):
        register_mapping(wrong)


def test_first_parameters_are_the_same_in_every_version() -> None:
    first, second = MLPMapping(2**5, hidden=(4,), seed=0).layers
    expected = [0.454169422, 0.425988019, 0.401080489]
    assert first.weight[0, :3].tolist() == pytest.approx(expected, abs=tolerances.LITERAL)
    assert second.bias.tolist() == pytest.approx([-0.557809234], abs=tolerances.LITERAL)
    published = MLPMapping(2**5, hidden=(4,), published=True, seed=0).layers[0]
    ratio = first.weight / published.weight
    torch.testing.assert_close(ratio, torch.full_like(ratio, 3**0.5))


@pytest.mark.parametrize("published", [False, True])
def test_initial_parameters_have_the_stated_range(published: bool) -> None:
    mapping = MLPMapping(2**12, hidden=(50, 50), published=published)
    factor = 1.0 if published else 3**0.5
    for layer in mapping.layers:
        bound = factor / layer.weight.shape[1] ** 0.5
        largest = float(torch.cat((layer.weight.detach().ravel(), layer.bias.detach())).abs().max())
        assert 0.8 * bound < largest <= bound * (1 + 1e-6)


# Messages


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_values": 0}, ValueError, "`n_values` must be a positive integer; got 0."),
        ({"n_values": 2.0}, TypeError, "`n_values` must be a positive integer; got 2.0."),
        ({"hidden": (4, 0)}, ValueError, "`hidden` must be a positive integer; got 0."),
        ({"hidden": ("4",)}, TypeError, "`hidden` must be a positive integer; got '4'."),
        (
            {"activation": "sine"},
            ValueError,
            "`activation` must be None or one of tanh, relu, gelu; got 'sine'.",
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
        MLPMapping(**({"n_values": 16} | options))


@pytest.mark.parametrize("ends", [(-1, 2), (3, 2), (0, 17)])
def test_message_of_basis_bits(ends: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"`start, stop` must be 0 <= start <= stop <= 2\*\*4"):
        basis_bits(*ends, 4)


@pytest.mark.parametrize("config", [{}, {"kind": "oracle"}])
def test_message_of_configurations(config: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError,
        match=r"`mapping kind` must be one of .*mixing, mlp, .*; got .* Call qtn",
    ):
        MappingModel.from_config(config)


def test_the_abstract_class_cannot_be_built() -> None:
    abstract: Any = MappingModel
    with pytest.raises(TypeError, match="abstract"):
        abstract(4)
