"""QuantumTrain: any module's weights generated, exported, saved and loaded."""

import builtins
import copy
import json
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.func import functional_call

from qtn_train import PUBLISHED_LAYOUT, Layout, QuantumTrain, _files
from qtn_train._random import permutation, uniform
from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines import SampledEngine, StatevectorEngine
from qtn_train.errors import CheckpointError
from qtn_train.generators import CircuitGenerator, WeightGenerator, qubits_needed
from qtn_train.mapping import IdentityMapping, MLPMapping
from qtn_train.measurements import Probabilities


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 5))
        self.outside = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.outside(x + self.inside(x))
        return out


class Recurrent(nn.Module):
    def __init__(self, kind: Callable[..., nn.Module], **options: Any) -> None:
        super().__init__()
        self.cell = kind(3, 4, batch_first=True, **options)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.cell(x)[0][:, -1])
        return out


class Normalized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.norm = nn.BatchNorm1d(6)
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(torch.relu(self.norm(self.first(x))))
        return out


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.embedding(x))
        return out


class Scalar(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.temperature = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x) * self.temperature
        return out


class Several(nn.Module):
    """Two inputs, a keyword, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(3, 4)
        self.right = nn.Bilinear(3, 2, 4, bias=False)

    def forward(self, x: Tensor, y: Tensor, *, factor: float = 1.0) -> dict[str, Tensor]:
        return {"sum": factor * (self.left(x) + self.right(x, y)), "left": self.left(x)}


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=2, dilation=2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)
    )


def random_input(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape)).float()


TARGETS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "mlp": (mlp, random_input(6, 4)),
    "cnn": (cnn, random_input(3, 1, 6, 6)),
    "residual": (Residual, random_input(6, 5)),
    "lstm": (lambda: Recurrent(nn.LSTM), random_input(3, 5, 3)),
    "gru": (lambda: Recurrent(nn.GRU), random_input(3, 5, 3)),
    "lstm-two-layers": (lambda: Recurrent(nn.LSTM, num_layers=2), random_input(3, 5, 3)),
    "batch-norm": (Normalized, random_input(6, 4)),
    "tied": (Tied, torch.arange(7)),
    "scalar": (Scalar, random_input(6, 4)),
}
every_target = pytest.mark.parametrize(("make", "x"), TARGETS.values(), ids=TARGETS)


def train_model(target: nn.Module, **options: Any) -> QuantumTrain:
    """A small circuit instead of the default one, to be quick."""
    if "generator" not in options and "circuit" not in options:
        trainable = sum(p.numel() for p in target.parameters() if p.requires_grad)
        options["circuit"] = ansatz.ry_cx_chain(qubits_needed(trainable), 2)
    return QuantumTrain(target, **options)


def moved(model: QuantumTrain, seed: int = 5) -> QuantumTrain:
    """Take a step away from the initial parameters, as training does."""
    with torch.no_grad():
        trained = [p for p in model.parameters() if p.requires_grad]
        for number, parameter in enumerate(trained):
            step = 0.3 * uniform(seed, f"step/{number}", parameter.numel())
            parameter.add_(torch.from_numpy(step).to(parameter.dtype).view(parameter.shape))
    return model


def count_generations(model: QuantumTrain) -> list[int]:
    calls: list[int] = []
    model.generator.register_forward_hook(lambda *_: calls.append(1))
    return calls


# Any module


@every_target
def test_forward_is_functional_call_with_the_generated_weights(
    make: Callable[[], nn.Module], x: Tensor
) -> None:
    target = make().eval()
    model = moved(train_model(target)).eval()
    weights = model.generate()
    assert set(weights) == {name for name, _ in target.named_parameters(remove_duplicate=False)}
    assert torch.equal(model(x), functional_call(target, weights, (x,)))
    moved(model, seed=6)
    assert not torch.equal(model(x), functional_call(target, weights, (x,)))


@every_target
def test_every_part_learns(make: Callable[[], nn.Module], x: Tensor) -> None:
    model = moved(train_model(make()))
    model(x).square().sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.abs().max() > 0


@every_target
def test_export_is_the_plain_module(make: Callable[[], nn.Module], x: Tensor) -> None:
    target = make()
    model = moved(train_model(target))
    model(x)  # in training: buffers move
    model.eval()
    net = model.export()
    assert type(net) is type(target)
    assert not net.training
    assert not isinstance(net, QuantumTrain)
    assert list(net.state_dict()) == list(target.state_dict())
    names = [name for name, _ in target.named_parameters(remove_duplicate=False)]
    assert [name for name, _ in net.named_parameters(remove_duplicate=False)] == names
    assert all(p.requires_grad and p.is_leaf for p in net.parameters())
    assert torch.equal(net(x), model(x))
    fresh = make().eval()
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh(x), model(x))
    net(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    with torch.no_grad():
        next(net.parameters()).zero_()
    assert not torch.equal(net(x), model(x))


@every_target
def test_model_in_double_precision(make: Callable[[], nn.Module], x: Tensor) -> None:
    model = moved(train_model(make())).eval()
    before = model(x)
    model.double()
    after = model(x.double() if x.is_floating_point() else x)
    assert after.dtype == torch.float64
    torch.testing.assert_close(
        after.float(), before, atol=tolerances.NETWORK_GRADIENT, rtol=tolerances.NETWORK_GRADIENT
    )


@every_target
def test_training_starts_at_the_fixed_start(make: Callable[[], nn.Module], x: Tensor) -> None:
    model = train_model(make())
    for name, weight in model.generate().items():
        start = model.target.get_buffer(name)
        torch.testing.assert_close(weight, start, atol=tolerances.SINGLE, rtol=0)


@pytest.mark.parametrize("name", ["mlp", "lstm", "batch-norm", "tied"])
def test_copies_are_independent(name: str) -> None:
    make, x = TARGETS[name]
    target = make()
    before = copy.deepcopy(target.state_dict())
    model = moved(train_model(target)).eval()
    twin = copy.deepcopy(model)
    out = model(x)
    assert torch.equal(twin(x), out)
    moved(twin, seed=6)
    assert torch.equal(model(x), out)
    assert not torch.equal(twin(x), out)
    assert all(torch.equal(before[key], value) for key, value in target.state_dict().items())


def test_batch_norm_buffers_move_in_training_and_are_exported() -> None:
    model = train_model(Normalized())
    x = random_input(6, 4)
    before = {name: b.clone() for name, b in model.target.norm.named_buffers()}
    model(x)
    after = dict(model.target.norm.named_buffers())
    assert int(after["num_batches_tracked"]) == 1
    assert not torch.equal(after["running_mean"], before["running_mean"])
    assert not torch.equal(after["running_var"], before["running_var"])
    model.eval()
    model(x)
    net: Any = model.export()
    assert int(net.norm.num_batches_tracked) == 1
    assert torch.equal(net.norm.running_mean, after["running_mean"])
    net.train()(x)
    assert int(model.target.norm.num_batches_tracked) == 1


def test_tied_weights_are_generated_once_and_stay_tied() -> None:
    model = train_model(Tied())
    assert model.n_weights == 7 * 4 + 7
    weights = model.generate()
    assert weights["embedding.weight"] is weights["head.weight"]
    net: Any = model.export()
    assert net.embedding.weight is net.head.weight
    assert len(list(net.parameters())) == 2


def test_frozen_parameters_stay_as_they_are() -> None:
    target: Any = mlp()
    target[0].weight.requires_grad_(False)
    before = target[0].weight.clone()
    model = moved(train_model(target))
    assert model.n_weights == 5 + 18
    assert "0.weight" not in model.generate()
    net: Any = model.export()
    assert torch.equal(net[0].weight, before)
    assert not net[0].weight.requires_grad
    assert net[0].bias.requires_grad
    assert list(net.state_dict()) == list(target.state_dict())
    assert [name for name, _ in net.named_parameters()] == [n for n, _ in mlp().named_parameters()]
    assert model.n_trainable_by_part["other"] == 0


def test_several_inputs_keywords_and_outputs() -> None:
    target = Several()
    model = train_model(target)
    x, y = random_input(5, 3), random_input(5, 2)
    out = model(x, y, factor=3.0)
    assert set(out) == {"sum", "left"}
    by_hand = functional_call(target, model.generate(), (x, y), {"factor": 3.0})
    assert torch.equal(out["sum"], by_hand["sum"])
    assert not torch.equal(out["sum"], model(x, y)["sum"])


@pytest.mark.parametrize("patterns", ["0.*", ["0.weight", "0.b*"]])
def test_name_patterns(patterns: Any) -> None:
    target: Any = mlp()
    model = moved(train_model(target, generated=patterns))
    assert set(model.generate()) == {"0.weight", "0.bias"}
    assert model.n_weights == 25
    assert model.n_trainable_by_part["other"] == 18
    assert {id(p) for p in model.parts()["other"]} == {id(p) for p in model.target[2].parameters()}
    model(random_input(6, 4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
    net: Any = model.export()
    assert list(net.state_dict()) == list(target.state_dict())
    assert torch.equal(net[2].weight, model.target[2].weight)
    assert net[2].weight is not model.target[2].weight


@pytest.mark.slow
def test_a_model_learns() -> None:
    x = random_input(40, 4)
    labels = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    model = train_model(mlp(), circuit=ansatz.u3_cu3_ring(6, 2))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(x), labels)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.6 * losses[0]


# Start, scale, shuffle


def test_published_layout_lays_generated_numbers_out_in_order() -> None:
    model = moved(train_model(mlp(), layout=PUBLISHED_LAYOUT))
    flat = torch.cat([weight.reshape(-1) for weight in model.generate().values()])
    assert torch.equal(flat, model.generator())


def test_generated_changes_are_dealt_and_scaled() -> None:
    layout = Layout(gain=2.0)
    model = moved(train_model(mlp(), seed=3, layout=layout))
    before, numbers = model.generate(), model.generator()
    moved(model, seed=9)
    after, others = model.generate(), model.generator()
    order = permutation(3, "shuffle", 43)
    signs = np.where(uniform(3, "signs", 43) < 0, -1.0, 1.0)
    change = (others - numbers).detach().numpy()[order] * signs
    first = 0
    fan_in = {"0.weight": 4, "0.bias": 4, "2.weight": 5, "2.bias": 5}
    for name, weight in after.items():
        expected = change[first : first + weight.numel()] * 2 / fan_in[name] ** 0.5
        got = (weight - before[name]).detach().reshape(-1).numpy()
        assert np.abs(got - expected).max() < tolerances.SINGLE
        first += weight.numel()


def test_random_start_is_uniform_within_torchs_bound() -> None:
    model = train_model(nn.Linear(100, 30), seed=1)
    for name in ("weight", "bias"):
        start = model.target.get_buffer(name)
        assert 0.09 < float(start.abs().max()) <= 0.1
    expected = (0.1 * uniform(1, "start/weight", 3000)).astype(np.float32)
    weight = model.target.get_buffer("weight")
    assert np.array_equal(weight.reshape(-1).numpy(), expected)


def test_constants_stay_constants_at_the_start() -> None:
    model = train_model(Normalized())
    assert torch.equal(model.target.get_buffer("norm.weight"), torch.ones(6))
    assert torch.equal(model.target.get_buffer("norm.bias"), torch.zeros(6))
    scalar = train_model(Scalar())
    assert float(scalar.target.get_buffer("temperature")) == 2.0


def test_the_start_does_not_depend_on_the_targets_own_weights() -> None:
    first, second = train_model(mlp(), seed=4), train_model(mlp(), seed=4)
    x = random_input(6, 4)
    assert torch.equal(first(x), second(x))
    assert first.fixed_sha256 == second.fixed_sha256
    other = train_model(mlp(), seed=5)
    assert other.fixed_sha256 != first.fixed_sha256
    assert not torch.equal(other(x), first(x))


def test_building_leaves_the_global_generator_alone() -> None:
    target = mlp()
    before = torch.random.get_rng_state()
    train_model(target, seed=4)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_fixed_numbers_are_the_same_in_every_version() -> None:
    assert train_model(Normalized(), seed=7).fixed_sha256 == (
        "d86ed48fe0bd3feb5548d300315361474f178618ee89490be97147ce3def3353"
    )
    assert train_model(Normalized(), seed=7, layout=PUBLISHED_LAYOUT).fixed_sha256 == (
        "913c6e2c32d99e4baff62cf421a494730cb043924f2c6bf46406573b59c641bd"
    )


# Gradients


@pytest.mark.parametrize("layout", [Layout(), PUBLISHED_LAYOUT], ids=["ours", "published"])
def test_gradient_of_a_loss_against_finite_differences(layout: Layout) -> None:
    model = moved(train_model(mlp(), layout=layout))
    model.generator = model.generator.in_double()
    model.double()
    x, labels = random_input(6, 4).double(), torch.tensor([0, 1, 2, 0, 1, 2])

    def loss() -> Tensor:
        return nn.functional.cross_entropy(model(x), labels)

    loss().backward()
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        assert parameter.dtype == torch.float64
        for index in rng.permutation(parameter.numel())[:4]:
            flat, values = parameter.data.view(-1), []
            kept = float(flat[index])
            for sign in (1, -1):
                flat[index] = kept + sign * tolerances.STEP
                values.append(float(loss().detach()))
            flat[index] = kept
            assert parameter.grad is not None
            expected = (values[0] - values[1]) / (2 * tolerances.STEP)
            got = float(parameter.grad.view(-1)[index])
            assert got == pytest.approx(expected, abs=tolerances.FINITE_DIFFERENCE)


# Generating once for many calls


def test_cached_generates_once() -> None:
    model = train_model(mlp())
    x = random_input(6, 4)
    calls = count_generations(model)
    with model.cached():
        outputs = [model(x), model(2 * x)]
        with model.cached():
            model(x)
    assert len(calls) == 1
    sum(out.square().sum() for out in outputs).backward()
    together = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    for factor in (1, 2):
        model(factor * x).square().sum().backward()
    assert len(calls) == 3
    for parameter, grad in zip(model.parameters(), together, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(
            parameter.grad, grad, atol=tolerances.NETWORK_GRADIENT, rtol=tolerances.NETWORK_GRADIENT
        )


def test_cached_ends_with_its_block_even_after_an_error() -> None:
    model = train_model(mlp())
    calls = count_generations(model)
    with pytest.raises(RuntimeError, match="shapes"), model.cached():
        model(random_input(6, 3))
    model(random_input(6, 4))
    assert len(calls) == 2


def test_evaluation_generates_again_only_when_a_parameter_changed() -> None:
    model = train_model(mlp()).eval()
    x = random_input(6, 4)
    calls = count_generations(model)
    with torch.no_grad():
        first = model(x)
        assert torch.equal(model(x), first)
        assert len(calls) == 1
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    assert model(x).requires_grad
    model(x).square().sum().backward()
    assert len(calls) == 3
    optimizer.step()
    with torch.no_grad():
        second = model(x)
        assert len(calls) == 4
        assert not torch.equal(second, first)
        moved(model)
        assert not torch.equal(model(x), second)
        model(x)
        assert len(calls) == 5
        model.train()
        model(x)
        model(x)
        assert len(calls) == 7


def test_evaluation_generates_again_with_another_engine() -> None:
    model = train_model(mlp()).eval()
    generator: Any = model.generator
    x = random_input(6, 4)
    with torch.no_grad():
        exact = model(x)
        generator.engine = SampledEngine(StatevectorEngine(), 100)
        sampled = model(x)
        assert not torch.equal(sampled, exact)
        assert torch.equal(model(x), sampled), "counted once"
        generator.engine = StatevectorEngine()
        assert torch.equal(model(x), exact)


def test_evaluation_after_loading_other_numbers() -> None:
    x = random_input(6, 4)
    model, other = train_model(mlp()).eval(), moved(train_model(mlp())).eval()
    with torch.no_grad():
        model(x)
        model.load_state_dict(other.state_dict())
        assert torch.equal(model(x), other(x))


# Counts and descriptions


def test_counts() -> None:
    model = train_model(mlp(), circuit=ansatz.ry_cx_chain(6, 2), generated="0.*")
    mapping = 6 * 4 + 4 + 4 + 1
    assert model.n_trainable_by_part == {"angles": 12, "mapping": mapping, "other": 18}
    assert model.n_trainable == 12 + mapping + 18
    assert model.n_trainable == sum(p.numel() for p in model.parameters())
    assert model.compression == pytest.approx(43 / (12 + mapping + 18))


def test_summary() -> None:
    model = train_model(mlp(), circuit=ansatz.ry_cx_chain(6, 2), generated="0.*", seed=11)
    text = model.summary()
    for part in (
        "QuantumTrain of Sequential, seed 11",
        "circuit of 6 qubits, 22 gates and 12 angles on StatevectorEngine",
        "25 of 64 values of Probabilities(feature='amplitude')",
        "start random, scale fan_in",
        "25 weights in 2 tensors",
        "63 trained numbers (12 angles, 33 mapping, 18 other), more than there are weights: fewer",
    ):
        assert part in text
    first = text.splitlines()[1].split()[0], text.splitlines()[2].split()[0]
    assert first == ("generated", "from")  # what a newcomer asks first
    few = train_model(mlp(), circuit=ansatz.ry_cx_chain(6, 2), mapping=IdentityMapping(43))
    assert "12 trained numbers (12 angles), 3.58 weights for each" in few.summary()


def test_defaults_are_named_in_the_summary() -> None:
    model = QuantumTrain(nn.Linear(3, 1))
    assert model.n_weights == 4
    generator: Any = model.generator
    assert generator.circuit == ansatz.ry_cx_chain(2, 4)
    assert "circuit of 2 qubits" in model.summary()
    assert "StatevectorEngine(dtype='complex64') (auto: estimated" in model.summary()


def affine(n_qubits: int, circuit: Circuit, n_weights: int) -> CircuitGenerator:
    mapping = MLPMapping(2**n_qubits, (4, 20, 4), activation=None, published=True)
    reads = Probabilities("published")
    return CircuitGenerator(
        circuit, StatevectorEngine(), mapping, measurement=reads, n_weights=n_weights
    )


@pytest.mark.parametrize(("n_qubits", "n_weights"), [(8, 195), (13, 6690)])
def test_the_published_mapping_has_n_plus_1_effective_parameters(
    n_qubits: int, n_weights: int
) -> None:
    generator = affine(n_qubits, ansatz.ry_cx_chain(n_qubits, 1), n_weights)
    target = nn.Linear(n_weights, 1, bias=False)
    model = QuantumTrain(target, generator, layout=PUBLISHED_LAYOUT)
    assert model.n_trainable_by_part["mapping"] == 249 - 4 * (13 - n_qubits)
    effective = model.effective_parameters()
    assert effective == {"angles": n_qubits, "mapping": n_qubits + 1, "other": 0}


def test_effective_parameters_see_through_redundant_angles() -> None:
    builder = Circuit.builder(4)
    for qubit in range(4):
        builder.add("ry", qubit).add("ry", qubit).add("rz", qubit)
    circuit = builder.build()
    model = moved(train_model(mlp(), generated="2.weight", circuit=circuit))
    # RZ after all else is invisible, and two RY in a row are one; the product state has 4 angles.
    assert model.effective_parameters()["angles"] == 4


# Saving and loading


@pytest.mark.parametrize("name", TARGETS)
def test_saved_and_loaded_are_the_same_bits(name: str, tmp_path: Path) -> None:
    make, x = TARGETS[name]
    model = moved(train_model(make(), seed=2))
    model(x)
    model.eval()
    model.save(tmp_path / "model.safetensors")
    loaded = QuantumTrain.load(str(tmp_path / "model.safetensors"), make()).eval()
    assert torch.equal(loaded(x), model(x))
    assert loaded.config() == model.config()
    state = loaded.state_dict()
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    exported = loaded.export().state_dict()
    for key, value in model.export().state_dict().items():
        assert torch.equal(exported[key], value)


def test_patterns_frozen_parameters_and_layout_are_stored(tmp_path: Path) -> None:
    def make() -> nn.Module:
        target: Any = mlp()
        target[2].bias.requires_grad_(False)
        return target

    layout = Layout(gain=0.5, shuffle=False)
    model = moved(train_model(make(), generated=["0.*"], layout=layout))
    path = tmp_path / "model.safetensors"
    model.save(path)
    loaded = QuantumTrain.load(path, make())
    assert (loaded.layout, loaded.generated) == (layout, ("0.*",))
    assert torch.equal(loaded(random_input(6, 4)), model(random_input(6, 4)))


def test_the_file_holds_the_trained_numbers_and_not_the_weights(tmp_path: Path) -> None:
    model = train_model(nn.Linear(1000, 20), circuit=ansatz.ry_cx_chain(15, 2))
    path = tmp_path / "model.safetensors"
    model.save(path)
    assert model.n_weights == 20_020
    assert set(model.trained_numbers()) == {name for name, _ in model.named_parameters()}
    assert path.stat().st_size < 4 * model.n_trainable + 8000 < 4 * model.n_weights / 4


def test_saving_over_an_older_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    train_model(mlp()).save(path)
    model = moved(train_model(mlp()))
    model.save(path)
    x = random_input(6, 4)
    assert torch.equal(QuantumTrain.load(path, mlp())(x), model(x))
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    moved(train_model(mlp(), seed=2)).save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere` must be a model file; got nothing there"):
        QuantumTrain.load(tmp_path / "nowhere", mlp())


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_truncated_file(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="must be a model file of qtn_train; got a damaged"):
        QuantumTrain.load(saved, mlp())


def test_not_safetensors(saved: Path) -> None:
    saved.write_text("some text that is long enough to be read as a header")
    with pytest.raises(CheckpointError, match="must be a model file of qtn_train; got a damaged"):
        QuantumTrain.load(saved, mlp())


def test_one_flipped_bit(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-3] ^= 1
    saved.write_bytes(content)
    with pytest.raises(CheckpointError, match="must be as it was written; got anoth"):
        QuantumTrain.load(saved, mlp())


def test_a_description_that_was_not_written_so(saved: Path) -> None:
    content = saved.read_bytes()
    changed = content.replace(b'\\"seed\\": 2', b'\\"seed\\": 3')
    assert changed != content
    saved.write_bytes(changed)
    with pytest.raises(CheckpointError, match="must be as it was written; got anoth"):
        QuantumTrain.load(saved, mlp())


def test_safetensors_of_somebody_else(saved: Path) -> None:
    save_file({"weight": torch.zeros(3)}, saved)
    with pytest.raises(CheckpointError, match="got a damaged or foreign file"):
        QuantumTrain.load(saved, mlp())


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the description inside a file, and seal it as if it had been written so."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    info = json.loads(header["__metadata__"]["qtn_train"])
    del info["sha256"]
    change(info)
    info["sha256"] = _files._seal(load_file(path), info)
    header["__metadata__"]["qtn_train"] = json.dumps(info)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def test_newer_format(saved: Path) -> None:
    newer = _files.FORMAT + 1
    rewrite(saved, lambda info: info.update(format=newer))
    expected = rf"must be of format {_files.FORMAT}; got {newer}\. Update qtn_train"
    with pytest.raises(CheckpointError, match=expected):
        QuantumTrain.load(saved, mlp())


def test_file_of_another_kind(saved: Path) -> None:
    rewrite(saved, lambda info: info.update(kind="weights"))
    with pytest.raises(CheckpointError, match="must be a model file; got a weights file"):
        QuantumTrain.load(saved, mlp())


@pytest.mark.parametrize("key", ["generator", "layout", "seed", "generated", "tensors"])
@pytest.mark.parametrize("value", [None, 3, "x", []])
def test_altered_description(saved: Path, key: str, value: Any) -> None:
    rewrite(saved, lambda info: info.update({key: value}))
    with pytest.raises(CheckpointError, match=r"must (be|hold)"):
        QuantumTrain.load(saved, mlp())


@pytest.mark.parametrize("key", ["generator", "layout", "seed", "generated", "fixed_sha256"])
def test_missing_description(saved: Path, key: str) -> None:
    rewrite(saved, lambda info: info.pop(key))
    with pytest.raises(CheckpointError, match=r"must (be|hold)"):
        QuantumTrain.load(saved, mlp())


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(4, 5),
        lambda: nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3)),
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)),
        lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 4, bias=False)),
        Normalized,
        nn.ReLU,
    ],
)
def test_another_target(saved: Path, make: Callable[[], nn.Module]) -> None:
    with pytest.raises(CheckpointError, match="target"):
        QuantumTrain.load(saved, make())


def test_another_circuit_mapping_or_seed(saved: Path) -> None:
    def generator(**options: Any) -> WeightGenerator:
        arguments: dict[str, Any] = {
            "circuit": ansatz.ry_cx_chain(6, 2),
            "engine": StatevectorEngine(),
            "mapping": MLPMapping(43, (4,), seed=2),
            "n_weights": 43,
            "seed": 2,
        }
        return CircuitGenerator(**(arguments | options))

    x = random_input(6, 4)
    loaded = QuantumTrain.load(saved, mlp(), generator(chunk_size=8))
    expected = QuantumTrain.load(saved, mlp())
    torch.testing.assert_close(
        loaded(x), expected(x), atol=tolerances.OUTPUT, rtol=tolerances.OUTPUT
    )
    for options in (
        {"circuit": ansatz.ry_cx_chain(6, 3)},
        {"mapping": MLPMapping(2**6, (5,), seed=2)},
        {"seed": 3},
    ):
        with pytest.raises(CheckpointError, match=r"another circuit, mapping or seed. Build the"):
            QuantumTrain.load(saved, mlp(), generator(**options))


def test_numbers_of_a_model_with_another_seed_or_layout() -> None:
    def model(seed: int, **options: Any) -> QuantumTrain:
        generator = affine(6, ansatz.ry_cx_chain(6, 2), 43)
        return QuantumTrain(mlp(), generator, seed=seed, **options)

    first = model(1)
    for other, name in (
        (model(2), "seed"),
        (model(1, layout=Layout(gain=2.0)), "layout"),
    ):
        with pytest.raises(
            CheckpointError, match=f"`here` must hold this model; .* another {name}"
        ):
            other.load_trained(first.state_dict(), first.config(), "here")
    same = model(1)
    same.load_trained(moved(first).state_dict(), first.config(), "here")
    assert torch.equal(same.generator(), first.generator())


def test_missing_tensor_in_a_state() -> None:
    model = train_model(mlp())
    state = model.state_dict()
    state.pop("generator.angles")
    with pytest.raises(CheckpointError, match=r"`here` must hold this model; got: .*angles"):
        model.load_trained(state, model.config(), "here")


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("something was unpickled")

    class Harmful:
        def __reduce__(self) -> Any:
            return (builtins.print, ("harm",))

    path = tmp_path / "model"
    torch.save({"angles": torch.zeros(3)}, tmp_path / "torch")
    (tmp_path / "pickle").write_bytes(pickle.dumps(Harmful()))
    train_model(mlp()).save(path)
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    for name in ("torch", "pickle"):
        with pytest.raises(CheckpointError, match="got a damaged or foreign file"):
            QuantumTrain.load(tmp_path / name, mlp())
    assert QuantumTrain.load(path, mlp()).n_weights == 43


@pytest.mark.slow
def test_an_exported_network_needs_nothing_of_ours(tmp_path: Path) -> None:
    model = moved(train_model(cnn())).eval()
    x = TARGETS["cnn"][1]
    save_file(model.export().state_dict(), tmp_path / "weights.safetensors")
    save_file({"x": x, "y": model(x).detach()}, tmp_path / "data.safetensors")
    code = """
import sys, torch
from torch import nn
from safetensors.torch import load_file
net = nn.Sequential(
    nn.Conv2d(1, 2, 3, padding=2, dilation=2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)
)
net.load_state_dict(load_file("weights.safetensors"))
data = load_file("data.safetensors")
torch.testing.assert_close(net(data["x"]), data["y"])
assert not any(name.split(".")[0] in ("qtn_train", "quimb") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


# Messages


def test_messages_of_targets_and_generators() -> None:
    wrong: Any = "a network"
    with pytest.raises(TypeError, match=r"`target` must be a torch.nn.Module; got str."):
        QuantumTrain(wrong)
    generator = affine(6, ansatz.ry_cx_chain(6, 2), 42)
    with pytest.raises(
        ValueError, match=r"`generator.n_weights` must be 43, the number of weights"
    ):
        QuantumTrain(mlp(), generator)
    for options in ({"engine": StatevectorEngine()}, {"circuit": generator.circuit}):
        with pytest.raises(TypeError, match="`generator` must be given without circuit, engine, "):
            QuantumTrain(mlp(), generator, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="43 weights need 6 qubits"):
        QuantumTrain(mlp(), circuit=ansatz.ry_cx_chain(5, 1))


def test_messages_of_patterns() -> None:
    with pytest.raises(
        ValueError,
        match=r"`generated` must be a pattern that matches .*; got \['features.*'\]. Its trainable "
        r"parameters: 0.weight, 0.bias, 2.weight, 2.bias.",
    ):
        QuantumTrain(mlp(), generated="features.*")
    with pytest.raises(ValueError, match=r"Its trainable parameters: none\."):
        QuantumTrain(nn.ReLU())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": "ones"}, "`start` must be 'random', 'target' or 'zeros'; got 'ones'."),
        ({"scale": "two"}, "`scale` must be 'fan_in' or 'one'; got 'two'."),
        ({"gain": 0.0}, "`gain` must be a positive number; got 0.0."),
        ({"gain": float("nan")}, "`gain` must be a positive number; got nan."),
        ({"gain": float("inf")}, "`gain` must be a positive number; got inf."),
    ],
)
def test_messages_of_layouts(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Layout(**options)


def test_shots_reach_the_target() -> None:
    engine = SampledEngine(StatevectorEngine(), 500, seed=0)
    model = QuantumTrain(mlp(), circuit=ansatz.ry_cx_chain(6, 2), engine=engine)
    model(random_input(6, 4)).sum().backward()
    generator: Any = model.generator
    assert generator.angles.grad is None
    assert all(p.grad is not None for p in generator.mapping.parameters())
