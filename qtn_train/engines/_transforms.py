"""The engines under torch's transforms: ``vmap``, ``jvp``, and nests of these.

vmap over x ──► f(x: (batch, …))      one call, a longer batch axis
jvp of jvp  ──► UnsupportedByEngine   torch itself would forget the outer tangent, without a word
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad

from ..errors import UnsupportedByEngine, must_be

_T = TypeVar("_T")


class BatchFirst(torch.autograd.Function):
    """A function whose tensors, in and out, all have a leading batch axis of the same length.

    Under ``vmap`` the new axis joins it, so that nothing runs one by one. An implementer decorates
    ``forward`` with :func:`batch_first`.
    """

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        """Apply the function to all members of a ``vmap`` at once."""
        made = cls.apply(*_folded(args, in_dims, info.batch_size))  # type: ignore[no-untyped-call]
        made = _unfolded(made, info.batch_size)
        return made, 0 if isinstance(made, Tensor) else (0,) * len(made)


def applied(function: type[BatchFirst], *args: Any) -> Any:
    """Apply a function inside of a backward pass; without a node where no derivative is needed.

    Args:
        function: The function.
        *args: Its arguments.

    Returns:
        What it returns.
    """
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    if torch.is_grad_enabled() or in_forward_mode() or any(map(is_transformed, tensors)):
        return function.apply(*args)  # type: ignore[no-untyped-call]
    return function.forward(*args)


def with_signature(function: Callable[..., Any]) -> Callable[..., Any]:
    """Store a ``forward``'s signature on the function; torch would derive it at every call."""
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return function


def batch_first(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Join the hidden axis of torch's older ``vmap`` to a ``forward``'s batch axis."""

    @with_signature
    @wraps(forward)
    def joined(*args: Any) -> Any:
        is_hidden = [isinstance(arg, Tensor) and _HIDDEN(arg) for arg in args]
        if not any(is_hidden):
            return forward(*args)
        level = torch._C._vmapmode_increment_nesting() - 1
        torch._C._vmapmode_decrement_nesting()
        shown = [
            torch._remove_batch_dim(arg, level, 1, 0) if hidden else arg
            for arg, hidden in zip(args, is_hidden, strict=True)
        ]
        n = len(shown[is_hidden.index(True)])
        made = _unfolded(forward(*_folded(shown, [0 if h else None for h in is_hidden], n)), n)
        if isinstance(made, Tensor):
            return torch._add_batch_dim(made, 0, level)
        return tuple(torch._add_batch_dim(out, 0, level) for out in made)

    return joined


_HIDDEN = torch._C._functorch.is_legacy_batchedtensor


def _folded(args: Sequence[Any], dims: Sequence[int | None], n: int) -> list[Any]:
    """Join an axis of each tensor to its batch axis; tensors without one are repeated."""
    folded = []
    for arg, dim in zip(args, dims, strict=True):
        if isinstance(arg, Tensor):
            arg = arg.expand(n, *arg.shape) if dim is None else arg.movedim(dim, 0)
            arg = arg.flatten(0, 1)
        folded.append(arg)
    return folded


def _unfolded(made: Any, n: int) -> Any:
    if isinstance(made, Tensor):
        return made.unflatten(0, (n, -1))
    return tuple(out.unflatten(0, (n, -1)) for out in made)


@runtime_checkable
class Entered(Protocol):
    """The property that :func:`entered` reads of an engine."""

    @property
    def batched(self) -> bool:
        """Whether the engine takes several vectors of angles at once."""


def entered(angles: Float[Tensor, "*batch n_angles"], engine: Entered) -> Tensor:
    """Return the angles, checked on their way into an engine, whatever transform is at work.

    Args:
        angles: The angles in radians.
        engine: The engine that they enter.

    Returns:
        The angles, differentiable in every mode.

    Raises:
        ValueError: An angle is NaN or infinite.
        UnsupportedByEngine: ``vmap`` over an engine that is not batched, or forward mode inside of
            forward mode.
    """
    if not is_transformed(angles) and not in_forward_mode():
        _check(angles)
        return angles
    made: Tensor = _Enter.apply(angles, engine)  # type: ignore[no-untyped-call]
    return made


def _check(angles: Tensor) -> None:
    if not bool(torch.isfinite(angles).all()):
        raise ValueError(must_be("angles", "finite", "NaN or infinity"))


def in_forward_mode() -> bool:
    """Return whether torch's forward mode is at work."""
    return bool(forward_ad._current_level >= 0)


def is_transformed(tensor: Tensor) -> bool:
    """Return whether a tensor is inside of a transform of ``torch.func``.

    Args:
        tensor: Any tensor.
    """
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


def inside_transform() -> bool:
    """Return whether a transform of ``torch.func`` is at work."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def is_plain(*tensors: Tensor) -> bool:
    """Return whether no forward mode and no transform is at work, and no tensor is a batch's.

    Args:
        *tensors: Any tensors.
    """
    return not (in_forward_mode() or inside_transform() or any(map(_HIDDEN, tensors)))


def plainly(
    work: Callable[..., _T], *tensors: Tensor, engine: str, instead: str = "StatevectorEngine()"
) -> _T:
    """Return what ``work`` makes of plain tensors, without a derivative, under ``torch.func.grad``.

    Args:
        work: Takes ordinary tensors, and may read their values.
        *tensors: At least one, inside of whatever transform.
        engine: What is at work, for messages.
        instead: What may be taken instead of it, for messages.

    Returns:
        What it returned.

    Raises:
        UnsupportedByEngine: There is no one value, under ``vmap``; or a derivative would be needed,
            in forward mode.
    """
    if not in_forward_mode() and not any(is_transformed(t) or _HIDDEN(t) for t in tensors):
        with torch.no_grad():  # as in most calls: a node would take longer than small work
            return work(*(tensor.detach() for tensor in tensors))
    made: list[_T] = []
    who = (engine, instead)
    _Plainly.apply(lambda *plain: made.append(work(*plain)), who, *tensors)  # type: ignore[no-untyped-call]
    return made[0]


class _Plainly(torch.autograd.Function):
    """A node whose ``forward`` runs beneath all transforms; its output is of no use."""

    @staticmethod
    @with_signature
    def forward(work: Callable[..., None], who: tuple[str, str], *tensors: Tensor) -> Tensor:
        if any(map(_HIDDEN, tensors)):
            raise _one_by_one(who)
        work(*(tensor.detach() for tensor in tensors))
        return torch.zeros(())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.who, ctx.n = inputs[1], len(inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, ...]:
        return (None,) * ctx.n  # type: ignore[no-any-return]

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Any:
        engine, instead = ctx.who
        raise UnsupportedByEngine(
            f"Forward mode reached {engine}. Gradients are right. Take torch.func.grad or "
            f"jacrev, or {instead}."
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], work: Any, who: tuple[str, str], *tensors: Tensor
    ) -> tuple[Tensor, None]:
        if any(dim is not None for dim in in_dims[2:]):
            raise _one_by_one(who)
        return _Plainly.apply(work, who, *tensors), None  # type: ignore[no-untyped-call]


def _one_by_one(who: tuple[str, str]) -> UnsupportedByEngine:
    engine, instead = who
    return UnsupportedByEngine(
        f"A batch, of vmap or of is_grads_batched, reached {engine}. One vector at a time is "
        f"right. Take a loop, or {instead}."
    )


FORWARD_TWICE = (
    "Forward mode was used inside of forward mode. First derivatives are right in forward mode. "
    "Take torch.func.hessian, or jacrev inside or outside of jacfwd."
)
_HIDDEN_FORWARD = (
    "vectorize=True was used with forward mode over a gradient, which torch itself cannot do for "
    "complex numbers. All else is right. Take torch.func.hessian, or reverse mode."
)
_JVP = torch._C._functorch.TransformType.Jvp


class _Enter(torch.autograd.Function):
    @staticmethod
    @with_signature
    def forward(angles: Tensor, engine: Entered) -> Tensor:
        _check(angles)
        return angles.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, engine: None) -> Tensor:
        levels = torch._C._functorch.get_interpreter_stack() or ()
        if sum(level.key() == _JVP for level in levels) > 1:
            raise UnsupportedByEngine(FORWARD_TWICE)
        if _HIDDEN(tangent) and ctx.needs_input_grad[0]:
            raise UnsupportedByEngine(_HIDDEN_FORWARD)
        return tangent.clone()

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], angles: Tensor, engine: Entered
    ) -> tuple[Tensor, int | None]:
        if not engine.batched:
            expected = f"one vector for {type(engine).__name__}, without vmap over it"
            hint = "Take StatevectorEngine(), or a loop over the vectors."
            actual = f"a batch of {info.batch_size}"
            raise UnsupportedByEngine(must_be("angles", expected, actual, hint))
        made: Tensor = _Enter.apply(angles, engine)  # type: ignore[no-untyped-call]
        return made, in_dims[0]
