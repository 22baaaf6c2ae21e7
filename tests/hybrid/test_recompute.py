"""Layers that are computed again in the backward pass: with the weights of their forward pass."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import tolerances
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from qtn_train import QuantumTrain
from qtn_train.circuits import ansatz
from qtn_train.engines import SampledEngine, StatevectorEngine

X = torch.linspace(-1, 1, 40).view(10, 4)
Y = torch.arange(10) % 3
Call = Callable[[nn.Module, Tensor], Tensor]


class Blocks(nn.Module):
    """Two blocks in a row, each called as told; the second one is recurrent."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call
        self.first = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.0), nn.Linear(6, 4))
        self.second = nn.LSTM(4, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.call(self.first, x)
        x = self.call(lambda z: self.second(z[:, None])[0][:, 0], x)
        out: Tensor = self.head(x)
        return out


def plain(block: Any, x: Tensor) -> Tensor:
    out: Tensor = block(x)
    return out


def again(block: Any, x: Tensor) -> Tensor:
    out: Tensor = checkpoint(block, x, use_reentrant=False)
    return out


def nested(block: Any, x: Tensor) -> Tensor:
    out: Tensor = checkpoint(
        lambda z: checkpoint(block, z, use_reentrant=False), x, use_reentrant=False
    )
    return out


def reentrant(block: Any, x: Tensor) -> Tensor:
    out: Tensor = checkpoint(block, x, use_reentrant=True)
    return out


def model_of(call: Call, **options: Any) -> QuantumTrain:
    return QuantumTrain(Blocks(call), **{"circuit": ansatz.ry_cx_chain(8, 3), **options})


def losses(model: QuantumTrain, batches: int = 1, steps: int = 4) -> list[float]:
    """Train, with the gradients of several forward passes added up in one backward pass."""
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    found = []
    for _ in range(steps):
        parts = [nn.functional.cross_entropy(model(X * (1 + n)), Y) for n in range(batches)]
        loss = torch.stack(parts).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss)  # keeps the graph: an old one must not be taken for the last
    return [float(loss.detach()) for loss in found]


@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.parametrize("call", [again, nested])
def test_recomputed_layers_train_as_others_do(call: Call, batches: int) -> None:
    expected = losses(model_of(plain), batches)
    assert losses(model_of(call), batches) == pytest.approx(expected, rel=tolerances.SINGLE_LOSS)
    assert expected[-1] < expected[0]


@pytest.mark.parametrize("call", [plain, again])
def test_no_graph_outlives_its_pass(call: Call) -> None:
    model, passes = model_of(call), []
    with torch.no_grad():
        model(X)
    for _ in range(3):
        made = model.generate()
        torch.stack([weight.sum() for weight in made.values()]).sum().backward()
        passes += [weakref.ref(weight) for weight in made.values()]
        del made
        model(X).sum().backward()
    assert [seen() for seen in passes if seen() is not None] == []
    assert len(model._passes._kept) <= 2


def test_weights_made_once_for_several_recomputed_batches() -> None:
    gradients = []
    for call in (plain, again):
        model = model_of(call)
        with model.cached():
            sum(model(factor * X).square().sum() for factor in (1, 2)).backward()
        gradients.append([p.grad for p in model.parameters()])
    for mine, others in zip(*gradients, strict=True):
        torch.testing.assert_close(
            mine, others, atol=tolerances.SINGLE_GRADIENT, rtol=tolerances.SINGLE_GRADIENT
        )


def test_sequences_of_torch_are_recomputed() -> None:
    class Sequence(nn.Module):
        def __init__(self, segments: int) -> None:
            super().__init__()
            self.segments = segments
            self.layers = nn.Sequential(
                nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 3)
            )

        def forward(self, x: Tensor) -> Tensor:
            if not self.segments:
                return plain(self.layers, x)
            out: Tensor = checkpoint_sequential(self.layers, self.segments, x, use_reentrant=False)
            return out

    found = [losses(QuantumTrain(Sequence(n), circuit=ansatz.ry_cx_chain(8, 3))) for n in (0, 2, 3)]
    assert found[1] == pytest.approx(found[0], rel=tolerances.SINGLE_LOSS)
    assert found[2] == pytest.approx(found[0], rel=tolerances.SINGLE_LOSS)


def test_a_checkpoint_around_the_whole_model() -> None:
    model, twin = model_of(plain), model_of(again)
    model(X).square().sum().backward()
    for use_reentrant in (True, False):
        twin.zero_grad()
        inputs = X.clone().requires_grad_()
        checkpoint(twin, inputs, use_reentrant=use_reentrant).square().sum().backward()
        for mine, others in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(
                mine.grad,
                others.grad,
                atol=tolerances.SINGLE_GRADIENT,
                rtol=tolerances.SINGLE_GRADIENT,
            )


def test_weights_that_are_not_trained_are_recomputed_too() -> None:
    gradients = []
    for call in (plain, again):
        torch.manual_seed(0)
        model = model_of(call, generated="first.*")
        model.generator.requires_grad_(False)
        with torch.no_grad():
            next(model.generator.parameters()).add_(0.5)
        model(X).square().sum().backward()
        gradients.append([p.grad for p in model.target.parameters()])
    for mine, others in zip(*gradients, strict=True):
        torch.testing.assert_close(
            mine, others, atol=tolerances.SINGLE_GRADIENT, rtol=tolerances.SINGLE_GRADIENT
        )


def test_counted_weights_are_those_of_the_forward_pass() -> None:
    gradients = []
    for call in (plain, again):
        engine = SampledEngine(StatevectorEngine(), 500, seed=3)
        model = model_of(call, engine=engine)
        model(X).square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for mine, others in zip(*gradients, strict=True):
        torch.testing.assert_close(
            mine, others, atol=tolerances.SINGLE_GRADIENT, rtol=tolerances.SINGLE_GRADIENT
        )


def test_passes_with_different_weights_are_refused_together() -> None:
    model = model_of(again)
    first = model(X).square().sum()
    with torch.no_grad():
        next(model.parameters()).add_(0.5)
    second = model(X).square().sum()
    message = r"^`forward passes` must be one at a time where layers are checkpointed .* got 2\. Go"
    with pytest.raises(ValueError, match=message):
        (first + second).backward()


@pytest.mark.parametrize("needs_grad", [True, False])
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_reentrant_checkpoints_are_refused(needs_grad: bool) -> None:
    model = model_of(reentrant)
    inputs = X.clone().requires_grad_(needs_grad)
    message = r"^`use_reentrant` must be False; got True\. Give use_reentrant=False to torch.utils"
    with pytest.raises(ValueError, match=message):
        model(inputs).sum().backward()
    with torch.no_grad():
        assert model(X).shape == (10, 3)


class Reversible(torch.autograd.Function):
    """A layer that a user's own function computes again, and goes back through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, block: nn.Module) -> Tensor:
        ctx.block = block
        ctx.save_for_backward(x)
        with torch.no_grad():
            out: Tensor = block(x)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            inputs = x.detach().requires_grad_()
            ctx.block(inputs).backward(grad)
        return inputs.grad, None


def test_gradients_that_would_be_lost_are_refused() -> None:
    model = model_of(lambda block, x: Reversible.apply(x, block))
    message = (
        r"^`target` must be one whose layers are computed again by torch.utils.checkpoint alone"
    )
    with pytest.raises(ValueError, match=message):
        model(X.clone().requires_grad_()).sum().backward()


def test_at_rest_the_target_holds_its_start() -> None:
    model = model_of(again)
    start = model.target.get_buffer("head.weight").clone()
    with torch.no_grad():
        next(model.parameters()).add_(0.5)
    model(X).sum().backward()
    assert torch.equal(model.target.get_buffer("head.weight"), start)
    assert type(model.export().get_submodule("head")._buffers) is dict
