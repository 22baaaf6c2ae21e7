"""Gradients that can be taken once: differentiated again, they are an error, never a wrong number.

    x ──► custom function ──► loss
    g = ∂loss/∂x ◄── once ◄── backward(…)        ∂g/∂x: UnsupportedByEngine, raised by ``once``

``torch.autograd.function.once_differentiable`` hangs its error beside the path from g to x, and
looks at the incoming cotangent alone: ``torch.autograd.grad(g, x)`` passes it by, and a constant
cotangent disarms it. So here the returned gradient itself passes through a function, and that
function depends on whatever leads to x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import UnsupportedByEngine
from ._transforms import with_signature


def once(*grads: Tensor, inputs: Sequence[Tensor], engine: str, hint: str) -> tuple[Tensor, ...]:
    """Return gradients that raise an error when they are differentiated again.

    To be called at the end of a custom ``backward`` whose own derivative is not implemented.

    Args:
        *grads: The gradients that ``backward`` returns, in any shapes, computed without a graph.
        inputs: Tensors that the gradients depend on: those among the saved inputs and outputs that
            the differentiated numbers lead to, and the cotangents.
        engine: Whose gradients they are, for the message.
        hint: A sentence that says what to do instead.

    Returns:
        The same gradients. Under ``create_graph=True``, and in ``torch.func.grad``, their
        derivative raises :class:`~qtn_train.errors.UnsupportedByEngine`.

    Source:
        Ours.

    Example:
        >>> x = torch.tensor(2.0, requires_grad=True)
        >>> (g,) = once(torch.tensor(3.0), inputs=[x], engine="MPSEngine", hint="Take another.")
        >>> g.item(), g.requires_grad
        (3.0, True)
    """
    if not torch.is_grad_enabled():  # nobody can differentiate the gradients
        return grads
    text = (
        f"A gradient through {engine} was differentiated again. First derivatives are right, "
        f"second ones are not implemented. {hint}"
    )
    made: tuple[Tensor, ...] = _Refuse.apply(text, len(grads), *grads, *inputs)  # type: ignore[no-untyped-call]
    return made


def refused(*tensors: Tensor, text: str) -> tuple[Tensor, ...]:
    """Return tensors that raise an error once something is differentiated by them.

    Args:
        *tensors: Any tensors.
        text: The message.

    Returns:
        The same numbers.
    """
    made: tuple[Tensor, ...] = _Refuse.apply(text, len(tensors), *tensors)  # type: ignore[no-untyped-call]
    return made


def _refused(ctx: Any) -> UnsupportedByEngine:
    return UnsupportedByEngine(ctx.text)


class _Refuse(torch.autograd.Function):
    """The first ``n`` tensors, unchanged; a derivative of these by any tensor given raises."""

    @staticmethod
    @with_signature
    def forward(text: str, n: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.clone() for tensor in tensors[:n])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.text = inputs[0]

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        raise _refused(ctx)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Any:
        raise _refused(ctx)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], text: str, n: int, *tensors: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int | None, ...]]:
        # The inputs of another batch axis only say what the gradients depend on.
        made = _Refuse.apply(text, n, *tensors)  # type: ignore[no-untyped-call]
        return made, in_dims[2 : 2 + n]
