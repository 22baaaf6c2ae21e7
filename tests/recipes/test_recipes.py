"""Target networks, default circuits and the two recipes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from qtn_train.circuits import ansatz
from qtn_train.data import DATASETS
from qtn_train.engines import StatevectorEngine
from qtn_train.hybrid import PUBLISHED_LAYOUT
from qtn_train.mapping import MLPMapping
from qtn_train.measurements import Probabilities
from qtn_train.recipes import ImageCNN, build_model, default_circuit, fit_config, mlp, target_for
from qtn_train.training import FitConfig

IMAGES = ("mnist-mini", "mnist", "fashion-mnist")
N_WEIGHTS = {"iris": 131, "digits": 2410} | dict.fromkeys(IMAGES, 6690)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", DATASETS)
def test_targets_have_the_published_sizes(name: str) -> None:
    assert count(target_for(name)) == N_WEIGHTS[name]
    assert count(target_for(name, "published")) == N_WEIGHTS[name]


def test_the_image_network_layer_by_layer() -> None:
    shapes = {name: tuple(p.shape) for name, p in ImageCNN().named_parameters()}
    assert shapes == {
        "conv1.weight": (8, 1, 5, 5),
        "conv1.bias": (8,),
        "conv2.weight": (12, 8, 5, 5),
        "conv2.bias": (12,),
        "fc1.weight": (20, 192),
        "fc1.bias": (20,),
        "fc2.weight": (10, 20),
        "fc2.bias": (10,),
    }
    assert ImageCNN()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_only_the_published_image_network_is_without_relu() -> None:
    torch.manual_seed(0)
    ours, published = target_for("mnist"), target_for("mnist", "published")
    published.load_state_dict(ours.state_dict())
    assert (ours.relu, published.relu) == (True, False)
    x = torch.randn(2, 1, 28, 28)
    pooled = nn.functional.max_pool2d(ours.conv1(x), 2)
    pooled = nn.functional.max_pool2d(ours.conv2(pooled), 2)
    expected = ours.fc2(ours.fc1(pooled.flatten(1)))
    assert published(x).equal(expected)
    assert not ours(x).equal(expected)


def test_an_mlp_has_relu_between_its_layers_only() -> None:
    kinds = [type(layer).__name__ for layer in mlp(4, 16, 8, 3)]
    assert kinds == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]


@pytest.mark.parametrize("name", DATASETS)
def test_default_circuits(name: str) -> None:
    chosen, circuit = default_circuit(name, N_WEIGHTS[name])
    n_qubits, n_layers = {"iris": (8, 4), "digits": (12, 40)}.get(name, (13, 110))
    assert (chosen, circuit) == ("ry-cx-chain", ansatz.ry_cx_chain(n_qubits, n_layers))
    chosen, circuit = default_circuit(name, N_WEIGHTS[name], recipe="published")
    assert (chosen, circuit) == ("u3-cu3-ring", ansatz.u3_cu3_ring(n_qubits, 16))


def test_another_ansatz_has_about_as_many_angles() -> None:
    for name in ("u3-cu3-ring", "hardware-efficient", "brickwork"):
        _, circuit = default_circuit("mnist", 6690, ansatz=name)
        assert 1400 < circuit.n_angles <= 1430
    _, circuit = default_circuit("iris", 131, ansatz="u3-cu3-ring")
    assert circuit == ansatz.u3_cu3_ring(8, 1)


def test_what_is_given_is_taken() -> None:
    chosen, circuit = default_circuit("iris", 131, ansatz="brickwork", n_layers=2, n_qubits=9)
    assert (chosen, circuit) == ("brickwork", ansatz.brickwork(9, 2))


def test_an_unknown_ansatz_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"^`ansatz` must be one of u3-cu3-ring, .*; got 'qft'"):
        default_circuit("iris", 131, ansatz="qft")


@pytest.mark.parametrize("name", ["n_layers", "n_qubits"])
def test_sizes_are_positive(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^`{name}` must be a positive integer; got 0\.$"):
        default_circuit("iris", 131, **{name: 0})


def test_too_few_qubits_says_how_many_are_needed() -> None:
    expected = r"^`n_qubits` must be at least 13; got 12\. 6,690 weights need 13 qubits\.$"
    with pytest.raises(ValueError, match=expected):
        default_circuit("mnist", 6690, n_qubits=12)


def test_the_default_image_model_is_as_small_as_the_published_one() -> None:
    _, circuit = default_circuit("mnist", 6690)
    model = build_model("mnist", circuit, StatevectorEngine())
    assert model.n_weights == 6690
    assert model.n_trainable <= 1497
    assert model.target.relu
    assert model.seed == 0


def test_the_published_recipe_is_the_published_one() -> None:
    for name in IMAGES:
        assert fit_config(name, "published", 42) == FitConfig(
            epochs=50,
            batch_size=128,
            lr=1e-4,
            lr_mapping=None,
            weight_decay=1e-5,
            schedule="plateau",
            clip_norm=None,
            patience=None,
            seed=42,
        )
    _, circuit = default_circuit("mnist", 6690, recipe="published")
    model = build_model("mnist", circuit, StatevectorEngine(), recipe="published", seed=42)
    assert model.n_trainable_by_part == {"angles": 16 * 6 * 13, "mapping": 249, "other": 0}
    assert model.n_trainable == 1497
    mapping = model.generator.mapping
    assert isinstance(mapping, MLPMapping)
    assert (mapping.hidden, mapping.activation, mapping.published) == ((4, 20, 4), None, True)
    assert model.generator.measurement == Probabilities("published")
    assert model.layout == PUBLISHED_LAYOUT
    assert (model.layout.start, model.layout.scale, model.layout.gain) == ("zeros", "one", 1.0)
    assert (model.layout.shuffle, model.layout.center) == (False, False)
    assert not model.target.relu


@pytest.mark.parametrize("name", DATASETS)
def test_the_default_recipe_passes_on_the_seed(name: str) -> None:
    config = fit_config(name, seed=3)
    assert (config.seed, config.patience) == (3, None)
    assert config == fit_config(name, "default", 3)


def test_an_unknown_recipe_is_refused() -> None:
    expected = r"^`recipe` must be 'default' or 'published'; got 'secret'\.$"
    with pytest.raises(ValueError, match=expected):
        fit_config("iris", "secret")


def test_a_model_depends_on_its_seed_alone() -> None:
    _, circuit = default_circuit("iris", 131)
    torch.manual_seed(0)
    first = build_model("iris", circuit, StatevectorEngine(), seed=1)
    torch.manual_seed(1)
    second = build_model("iris", circuit, StatevectorEngine(), seed=1)
    other = build_model("iris", circuit, StatevectorEngine(), seed=2)
    for name, value in first.generate().items():
        assert value.equal(second.generate()[name])
        assert not value.equal(other.generate()[name])
