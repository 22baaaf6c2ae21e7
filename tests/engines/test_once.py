"""Gradients that can be taken once: right the first time, refused the second, however asked for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from qtn_train.engines._once import once
from qtn_train.errors import UnsupportedByEngine


class Cosine(torch.autograd.Function):
    """A function whose derivative is worked out without autograd."""

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x.cos()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor) -> torch.Tensor:
        return -tangent * ctx.saved_tensors[0].sin()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        with torch.no_grad():
            made = -grad * x.sin()
        return once(made, inputs=(x, grad), engine="Abacus", hint="Take a slide rule.")[0]


def linear(x: torch.Tensor) -> torch.Tensor:
    """A loss whose cotangent is a constant: ``once_differentiable`` guards nothing there."""
    made: torch.Tensor = Cosine.apply(x)
    return made.sum()


def curved(x: torch.Tensor) -> torch.Tensor:
    return linear(x).square()


def gradient(loss: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss(x), x, create_graph=True)[0]


def penalty(x: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor]) -> None:
    gradient(loss, x).square().sum().backward()


AGAIN: dict[str, Callable[..., Any]] = {
    "backward": penalty,
    "grad of grad": lambda x, loss: torch.autograd.grad(gradient(loss, x).sum(), x),
    "functional.hessian": lambda x, loss: torch.autograd.functional.hessian(loss, x),
    "functional.hvp": lambda x, loss: torch.autograd.functional.hvp(loss, x, torch.ones(2)),
    "func.grad of grad": lambda x, loss: torch.func.grad(torch.func.grad(loss))(x[0]),
    "jvp of grad": lambda x, loss: torch.func.jvp(torch.func.grad(loss), (x,), (torch.ones(2),)),
}


@pytest.mark.parametrize("loss", [linear, curved])
@pytest.mark.parametrize("again", AGAIN.values(), ids=AGAIN)
def test_a_second_derivative_is_refused(
    again: Callable[..., Any], loss: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    x = torch.tensor([0.3, 0.4], requires_grad=True)
    message = "A gradient through Abacus was differentiated again. First .* right, .* slide rule."
    with pytest.raises(UnsupportedByEngine, match=message):
        again(x, loss)


def test_a_first_derivative_is_right_whatever_asks_for_it() -> None:
    x = torch.tensor([0.3, 0.4], requires_grad=True)
    expected = -torch.sin(x.detach())
    torch.testing.assert_close(gradient(linear, x).detach(), expected)
    torch.testing.assert_close(torch.func.grad(linear)(x.detach()), expected)
    linear(x).backward()
    torch.testing.assert_close(x.grad, expected)
