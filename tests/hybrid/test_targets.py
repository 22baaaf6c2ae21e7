"""Targets whose parameters torch treats specially: padding, constants, hooks; and the refused."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from qtn_train import Layout, QuantumTrain
from qtn_train._random import uniform
from qtn_train.circuits import ansatz
from qtn_train.engines import MPSEngine, StatevectorEngine
from qtn_train.errors import CheckpointError

IDS = torch.arange(7)
X = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 4))).float()


def model_of(target: nn.Module, **options: Any) -> QuantumTrain:
    return QuantumTrain(target, **{"circuit": ansatz.ry_cx_chain(8, 2), **options})


def moved(model: QuantumTrain) -> QuantumTrain:
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            step = 0.3 * uniform(5, f"step/{number}", parameter.numel())
            parameter.add_(torch.from_numpy(step).float().view(parameter.shape))
    return model


# --- padding --------------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4, padding_idx=3)
        self.head = nn.Linear(4, 7)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.embedding(x))
        return out


@pytest.mark.parametrize(
    ("make", "row", "name"),
    [
        (lambda: nn.Sequential(nn.Embedding(7, 4, padding_idx=0), nn.Linear(4, 2)), 0, "0.weight"),
        (lambda: nn.Sequential(nn.Embedding(7, 4, padding_idx=3), nn.Linear(4, 2)), 3, "0.weight"),
        (lambda: nn.Sequential(nn.Embedding(7, 4, padding_idx=-1)), 6, "0.weight"),
        (lambda: nn.Sequential(nn.EmbeddingBag(7, 4, padding_idx=2)), 2, "0.weight"),
        (Tied, 3, "embedding.weight"),
    ],
)
def test_the_padding_row_stays_zero_and_is_not_counted(
    make: Callable[[], nn.Module], row: int, name: str
) -> None:
    target = make()
    model = moved(model_of(target))
    assert model.n_weights == sum(p.numel() for p in target.parameters()) - 4
    is_bag = any(isinstance(module, nn.EmbeddingBag) for module in target.modules())
    model(IDS.view(1, 7) if is_bag else IDS).square().sum().backward()
    for weights in (model.generate(), dict(model.export().named_parameters())):
        assert not weights[name][row].any()
        others = [number for number in range(7) if number != row]
        assert (weights[name][others] != 0).all()


def test_without_padding_nothing_is_left_out() -> None:
    plain, padded = model_of(nn.Embedding(7, 4)), model_of(nn.Embedding(7, 4, padding_idx=6))
    assert torch.equal(
        plain.target.get_buffer("weight")[:6], padded.target.get_buffer("weight")[:6]
    )
    assert (plain.n_weights, padded.n_weights) == (28, 24)


def test_padding_in_published_and_pretrained_layouts() -> None:
    target = nn.Embedding(7, 4, padding_idx=2)
    zeros = moved(model_of(target, layout=Layout(start="zeros"))).generate()["weight"]
    assert not zeros[2].any()
    kept = moved(model_of(target, layout=Layout(start="target"))).generate()["weight"]
    assert not kept[2].any()
    assert (kept[[0, 1, 3]] != target.weight[[0, 1, 3]]).all()


# --- where weights start --------------------------------------------------------------------------


class Own(nn.Module):
    """A class of the user's own: a temperature, a scale, and a number that torch draws."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.temperature = nn.Parameter(torch.tensor(2.0))
        self.scale = nn.Parameter(torch.full((4,), 0.5))
        self.drawn = nn.Parameter(torch.randn(1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x * self.scale) * self.temperature + self.drawn
        return out


def constant_head() -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.PReLU(5), nn.Linear(5, 1))
    nn.init.zeros_(net[3].bias)
    nn.init.zeros_(net[0].weight)
    return net


def trained_norm() -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    nn.init.normal_(net[1].weight)
    nn.init.normal_(net[1].bias)
    return net


SEEDED: dict[str, Callable[[], nn.Module]] = {
    "one output": lambda: nn.Linear(4, 1),
    "one input": lambda: nn.Sequential(nn.Linear(4, 1), nn.Linear(1, 1)),
    "constants": constant_head,
    "trained norm": trained_norm,
    "attention": lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0),
}


@pytest.mark.parametrize("make", SEEDED.values(), ids=SEEDED)
def test_the_seed_alone_fixes_the_model(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = model_of(make(), seed=3).eval()
    torch.manual_seed(2)
    second = model_of(make(), seed=3).eval()
    assert first.fixed_sha256 == second.fixed_sha256
    assert torch.equal(first(X), second(X))
    second.load_state_dict(moved(first).state_dict())
    assert torch.equal(first(X), second(X))
    first.save(tmp_path / "m")
    for target in (make(), first.export()):  # the fresh network, and the trained one
        assert torch.equal(QuantumTrain.load(tmp_path / "m", target).eval()(X), first(X))


def test_constants_are_torchs_to_say() -> None:
    target = model_of(constant_head()).target
    assert torch.equal(target.get_buffer("1.weight"), torch.ones(5))
    assert torch.equal(target.get_buffer("1.bias"), torch.zeros(5))
    assert torch.equal(target.get_buffer("2.weight"), torch.full((5,), 0.25))
    assert target.get_buffer("3.bias").any(), "zero by chance or by hand is no constant of torch's"
    assert target.get_buffer("0.weight").unique().numel() == 20
    norm = model_of(trained_norm()).target
    assert torch.equal(norm.get_buffer("1.weight"), torch.ones(5))
    attention = model_of(nn.MultiheadAttention(4, 2)).target
    assert not attention.get_buffer("in_proj_bias").any()
    assert not attention.get_buffer("out_proj.bias").any()
    assert attention.get_buffer("out_proj.weight").any()


def test_constants_of_a_class_of_ones_own_are_carried(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = moved(model_of(Own()))
    assert float(first.target.get_buffer("temperature")) == 2.0
    assert torch.equal(first.target.get_buffer("scale"), torch.full((4,), 0.5))
    torch.manual_seed(2)
    second = model_of(Own())
    assert not torch.equal(second.target.get_buffer("drawn"), first.target.get_buffer("drawn"))
    second.load_state_dict(first.state_dict())
    assert torch.equal(second(X), first(X))
    first.save(tmp_path / "m")
    for target in (Own(), first.export()):
        assert torch.equal(QuantumTrain.load(tmp_path / "m", target)(X), first(X))


def test_a_pretrained_target_is_where_training_starts(tmp_path: Path) -> None:
    torch.manual_seed(3)
    target = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3)).double()
    with torch.no_grad():
        target[1].weight.normal_()
    model = model_of(target, layout=Layout(start="target"))
    torch.testing.assert_close(
        model(X.double()), target(X.double()), atol=tolerances.SINGLE, rtol=0
    )
    for name, parameter in target.named_parameters():
        assert torch.equal(model.target.get_buffer(name), parameter)
    moved(model)
    assert not torch.allclose(
        model(X.double()), target(X.double()), rtol=0, atol=tolerances.DIFFERENT
    )
    assert set(model.trained_numbers()) == {name for name, _ in model.named_parameters()}
    model.save(tmp_path / "m")
    again = QuantumTrain.load(tmp_path / "m", target)
    assert torch.equal(again(X.double()), model(X.double()))
    message = r"another pretrained start\. Build the model as it was built then"
    with pytest.raises(CheckpointError, match=message):
        QuantumTrain.load(tmp_path / "m", model.export())
    assert "start target" in model.summary()


# --- hooks, parametrizations, sparse gradients ----------------------------------------------------


def pruned() -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))
    prune.random_unstructured(net[0], "weight", 0.5)
    return net


SPECIAL: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "weight norm": (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 5))), X),
    "spectral norm": (lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 5))), X),
    "orthogonal": (lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 5))), X),
    "old weight norm": (lambda: nn.Sequential(weight_norm(nn.Linear(4, 5)), nn.Linear(5, 3)), X),
    "old spectral norm": (lambda: nn.Sequential(spectral_norm(nn.Linear(4, 5))), X),
    "pruned": (pruned, X),
    "sparse": (lambda: nn.Sequential(nn.Embedding(7, 4, sparse=True), nn.Linear(4, 2)), IDS),
    "sparse bag": (lambda: nn.EmbeddingBag(7, 4, sparse=True, mode="sum"), IDS.view(1, 7)),
    "max norm": (lambda: nn.Sequential(nn.Embedding(7, 4, max_norm=0.1), nn.Linear(4, 2)), IDS),
    "empty": (lambda: nn.Sequential(nn.Linear(4, 0), nn.Linear(0, 3)), X),
    "lists": (
        lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU()).append(nn.PReLU(3)),
        X,
    ),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize(("make", "x"), SPECIAL.values(), ids=SPECIAL)
def test_special_targets_train_are_copied_saved_loaded_and_exported(
    make: Callable[[], nn.Module], x: Tensor, tmp_path: Path
) -> None:
    target = make()
    model = model_of(target)
    before = model(x).detach()
    loss = model(x).square().sum()
    loss.backward()
    moved(model)
    assert not torch.equal(model(x), before)
    model.eval()
    expected = model(x)
    torch.testing.assert_close(copy.deepcopy(model)(x), expected)
    net = model.export()
    torch.testing.assert_close(net(x), expected, atol=tolerances.OUTPUT, rtol=tolerances.OUTPUT)
    assert list(net.state_dict()) == list(target.state_dict())
    twin = model_of(make()).eval()
    twin.load_state_dict(model.state_dict())
    torch.testing.assert_close(twin(x), expected)
    model.save(tmp_path / "m")
    torch.testing.assert_close(QuantumTrain.load(tmp_path / "m", make()).eval()(x), expected)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", ["old weight norm", "pruned", "sparse"])
def test_special_targets_have_the_gradient_of_the_plain_one(name: str) -> None:
    make, x = SPECIAL[name]
    model = moved(model_of(make()))
    net = model.export()
    net(x).square().sum().backward()
    by_hand = {n: p.grad.to_dense() for n, p in net.named_parameters() if p.grad is not None}
    weights = model.generate()
    total = sum((weights[n] * by_hand[n]).sum() for n in weights)
    total.backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    model(x).square().sum().backward()
    for parameter, grad in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(
            parameter.grad, grad, atol=tolerances.NETWORK_GRADIENT, rtol=tolerances.NETWORK_GRADIENT
        )


def test_export_asks_for_sparse_gradients_again() -> None:
    model = model_of(nn.Sequential(nn.Embedding(7, 4, sparse=True), nn.Linear(4, 2)))
    net: Any = model.export()
    assert net[0].sparse
    net(IDS).sum().backward()
    assert net[0].weight.grad.is_sparse


def test_a_model_is_pickled_whole() -> None:
    model = moved(model_of(nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3))))
    model(X).sum()
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert torch.equal(again(X), model(X))
    again.load_state_dict(model.state_dict())


# --- what is refused ------------------------------------------------------------------------------


def sparse_parameter() -> nn.Module:
    net = nn.Module()
    net.weight = nn.Parameter(torch.eye(4).to_sparse())
    return net


def uncopyable() -> nn.Module:
    net = nn.Linear(4, 3)
    net.generator = iter([1])
    net.lock = (number for number in [1])
    return net


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(4, 3, dtype=torch.complex64), r"`weight` is complex64\. Hold real and"),
        (lambda: nn.Linear(4, 3, device="meta"), r"`weight` is on the meta device\. Build it on"),
        (lambda: nn.LazyLinear(3), r"`weight` has no shape yet\. Call it once with an example"),
        (sparse_parameter, r"`weight` is sparse_coo\. Make it dense\."),
        (lambda: torch.jit.script(nn.Linear(4, 3)), r"a scripted or traced one, which owns `weigh"),
        (
            lambda: torch.jit.trace(nn.Linear(4, 3), X),
            r"which owns `weight`\. Give the module that",
        ),
        (
            lambda: nn.Sequential(torch.jit.script(nn.Linear(4, 3)), nn.Linear(3, 2)),
            r"which owns `0.weight`\. Give the module that it was made from\. Or leave that",
        ),
        (lambda: nn.DataParallel(nn.Linear(4, 3)), r"a module of one process; got DataParallel\."),
        (uncopyable, r"a module that copy.deepcopy can copy; got TypeError: cannot pickle 'gene"),
        (lambda: nn.Linear, r"a torch.nn.Module; got the class Linear\. Build it: its class is"),
        (lambda: "net", r"a torch.nn.Module; got str\.$"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_targets_that_cannot_work_are_refused_in_one_line(
    make: Callable[[], Any], message: str
) -> None:
    with pytest.raises(TypeError, match=f"^`target` must be .*{message}") as caught:
        QuantumTrain(make())
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_part_that_is_not_generated_may_stay() -> None:
    target = nn.Sequential(torch.jit.script(nn.Linear(4, 3)), nn.Linear(3, 2))
    model = model_of(target, generated="1.*")
    model(X).sum().backward()
    assert all(p.grad is not None for p in model.generator.parameters())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_tracing_and_scripting_are_refused_and_work_on_the_exported_network() -> None:
    model = moved(model_of(nn.Linear(4, 3))).eval()
    message = r"^`model` must be a plain module for torch.jit; got QuantumTrain\. Trace or script"
    with pytest.raises(TypeError, match=message):
        torch.jit.trace(model, X)
    with pytest.raises(TypeError, match=message):
        torch.jit.script(model)
    assert torch.equal(torch.jit.trace(model.export(), X)(X), model(X))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"circuit": ansatz.ry_cx_chain},
            TypeError,
            r"`circuit` .*got the function ry_cx_chain\. C",
        ),
        ({"circuit": "ry"}, ValueError, r"`circuit` must be a Circuit, or one of .*; got 'ry'\."),
        ({"circuit": 7}, TypeError, r"`circuit` must be a Circuit, or one of .*; got int\."),
        ({"engine": "peps"}, ValueError, r"`engine` must be an Engine, 'auto', .*; got 'peps'\."),
        (
            {"engine": MPSEngine},
            TypeError,
            r"`engine` .*; got the class MPSEngine\. Build it: MPSE",
        ),
        ({"mapping": "mlp"}, TypeError, r"`mapping` must be a MappingModel; got str\."),
        ({"layout": {"gain": 2.0}}, TypeError, r"`layout` must be a Layout; got dict\. Take Layou"),
        ({"seed": "a"}, TypeError, r"`seed` must be a whole number; got 'a'\."),
        ({"seed": 0.5}, TypeError, r"`seed` must be a whole number; got 0\.5\."),
    ],
)
def test_wrong_parts_are_refused(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        QuantumTrain(nn.Linear(4, 3), **options)


def test_circuits_and_engines_by_name() -> None:
    model: Any = QuantumTrain(nn.Linear(4, 3), circuit="U3_CU3_ring", engine="mps")
    assert model.generator.circuit == ansatz.u3_cu3_ring(4, 4)
    assert isinstance(model.generator.engine, MPSEngine)
    model = QuantumTrain(nn.Linear(4, 3), engine="statevector")
    assert isinstance(model.generator.engine, StatevectorEngine)
