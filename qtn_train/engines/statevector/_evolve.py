"""From matrices to amplitudes and back, as functions of torch with derivatives of their own.

    values ── gather, multiply ──► matrices ── evolve ──► amplitudes
                                      ▲                       │
                                      └──────── undo ◄── cotangent         first derivative
                                 walk there and back (``_steps``)          second derivative

The first two run a plan's fast loops; the second derivative, and forward mode, walk step by step.
All tensors have a leading batch axis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import UnsupportedByEngine
from .._once import refused
from .._slots import GateMatrices
from .._transforms import FORWARD_TWICE, BatchFirst, applied, batch_first
from ._steps import Walk


class Plan(ABC):
    """The evolution of one circuit: amplitudes forward, gradients of the matrices backward.

    Attributes:
        gates: Values of all gates.
        slots: ``(depth, n, control, target, target)``: the values whose matrices' product, first
            one first, is each matrix.
        copies: Where each parameterized value stands in ``slots``.
        is_real: Whether all matrices are real.
        is_tangent: Whether :meth:`backward` returns the gradient's part along the unitary matrices
            only, (G − M Gᴴ M)/2.
    """

    gates: GateMatrices
    slots: NDArray[np.int64]
    copies: NDArray[np.int64]
    is_real: bool
    is_tangent: ClassVar[bool]

    @property
    @abstractmethod
    def walk(self) -> Walk:
        """The plan's evolution, one matrix after another."""

    @abstractmethod
    def forward(self, matrices: Tensor) -> Tensor:
        """Return the amplitudes that the matrices make of |0…0⟩."""

    @abstractmethod
    def backward(self, matrices: Tensor, amplitudes: Tensor, grad: Tensor) -> Tensor:
        """Return the gradient of the matrices, undoing them on state and cotangent together."""


def evolve(plan: Plan, values: Tensor) -> Tensor:
    """Return the amplitudes of a batch of circuits, differentiable twice and in every mode.

    Args:
        plan: The circuit's plan.
        values: The values of its gates' slots, ``(batch, n_values)``.

    Returns:
        Shape ``(batch, 2**N)``.
    """
    amplitudes: Tensor = Evolve.apply(fuse(plan, values), plan)  # type: ignore[no-untyped-call]
    return amplitudes


def fuse(plan: Plan, values: Tensor) -> Tensor:
    """Multiply gates into the matrices of a plan: ``(batch, n, control, target, target)``."""
    shape = plan.slots.shape
    if not shape[0]:
        return values.new_zeros((len(values), *shape[1:]))
    gates: Tensor = _Gather.apply(values, plan)  # type: ignore[no-untyped-call]
    product, *others = gates.unbind(1)
    for matrices in others:
        product = torch.matmul(matrices, product)
    return product


class _Gather(BatchFirst):
    """``values[slots]``; its backward pass gathers too (a scatter is slow, and random on a GPU)."""

    @staticmethod
    @batch_first
    def forward(values: Tensor, plan: Plan) -> Tensor:
        return values[:, _table(plan, "slots", values.device)]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.n_values, ctx.plan = inputs[0].shape[1], inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return applied(_Collect, grad, ctx.plan, ctx.n_values), None

    @staticmethod
    def jvp(ctx: Any, change: Tensor, plan: None) -> Tensor:
        made: Tensor = _Gather.apply(change, ctx.plan)  # type: ignore[no-untyped-call]
        return made


class _Collect(BatchFirst):
    """The sum over all slots that hold a value; 0 for constants."""

    @staticmethod
    @batch_first
    def forward(slots: Tensor, plan: Plan, n_values: int) -> Tensor:
        padded = torch.nn.functional.pad(slots.flatten(1), (0, 1))
        entries = padded[:, _table(plan, "copies", slots.device)].sum(2)
        return torch.nn.functional.pad(entries, (n_values - entries.shape[1], 0))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.plan, ctx.n_values = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        made: Tensor = _Gather.apply(grad, ctx.plan)  # type: ignore[no-untyped-call]
        return made, None, None

    @staticmethod
    def jvp(ctx: Any, change: Tensor, plan: None, n_values: None) -> Tensor:
        made: Tensor = _Collect.apply(change, ctx.plan, ctx.n_values)  # type: ignore[no-untyped-call]
        return made


_TABLES: dict[tuple[int, str, torch.device], tuple[Plan, Tensor]] = {}


def _table(plan: Plan, name: str, device: torch.device) -> Tensor:
    key = (id(plan), name, device)
    if key not in _TABLES:
        if len(_TABLES) > 128:
            _TABLES.clear()
        with torch.inference_mode(False):  # training goes on with what inference may have made
            _TABLES[key] = (plan, torch.from_numpy(getattr(plan, name)).to(device))
    return _TABLES[key][1]


class Evolve(BatchFirst):
    """Matrices to amplitudes; in the backward pass the state is recomputed by undoing them."""

    @staticmethod
    @batch_first
    def forward(matrices: Tensor, plan: Plan) -> Tensor:
        return plan.forward(matrices)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        matrices, ctx.plan = inputs
        ctx.save_for_backward(matrices, output)
        ctx.save_for_forward(matrices)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        matrices, amplitudes = ctx.saved_tensors
        return applied(_Undo, matrices, amplitudes.detach(), grad, ctx.plan), None

    @staticmethod
    def jvp(ctx: Any, change: Tensor, plan: None) -> Tensor:
        (matrices,) = ctx.saved_tensors
        return push(ctx.plan.walk, matrices, change)


class _Undo(BatchFirst):
    """Cotangents of the amplitudes to the gradient of the matrices."""

    @staticmethod
    @batch_first
    def forward(matrices: Tensor, amplitudes: Tensor, grad: Tensor, plan: Plan) -> Tensor:
        return plan.backward(matrices, amplitudes, grad)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        matrices, _, grad, ctx.plan = inputs
        ctx.save_for_backward(matrices, grad)
        ctx.save_for_forward(matrices, grad)

    @staticmethod
    def backward(ctx: Any, change: Tensor) -> tuple[Tensor, None, Tensor, None]:
        matrices, grad = ctx.saved_tensors
        still = torch.zeros_like(grad)
        if ctx.plan.is_real:
            change = change.real.to(change.dtype)
        if not ctx.plan.is_tangent:
            _, made, grad_change = second(ctx.plan.walk, matrices, change, grad, still)
            return made, None, grad_change, None
        along = _along(matrices, change)
        grads, made, grad_change = second(ctx.plan.walk, matrices, along, grad, still)
        # The projection (G − M Gᴴ M)/2 depends on the matrices too.
        made = made - (change @ matrices.mH @ grads + grads @ matrices.mH @ change) / 2
        return made, None, grad_change, None

    @staticmethod
    def jvp(ctx: Any, change: Tensor, *others: Any) -> Tensor:
        matrices, grad = ctx.saved_tensors
        grads, made, _ = second(ctx.plan.walk, matrices, change, grad, others[1])
        if ctx.plan.is_tangent:
            turned = change @ grads.mH @ matrices
            made = _along(matrices, made) - (turned + matrices @ grads.mH @ change) / 2
        return made.real.to(made.dtype) if ctx.plan.is_real else made


def _along(matrices: Tensor, grads: Tensor) -> Tensor:
    """Return the part of gradients that is tangent to the unitary matrices."""
    return (grads - matrices @ grads.mH @ matrices) / 2


def push(walk: Walk, matrices: Tensor, changes: Tensor) -> Tensor:
    """Return the change of the amplitudes along a direction of the matrices.

    Args:
        walk: The circuit, step by step.
        matrices: ``(batch, n, control, target, target)``.
        changes: The direction, of the same shape.

    Returns:
        Shape ``(batch, 2**N)``.
    """
    made: Tensor = _Push.apply(matrices, changes, walk)  # type: ignore[no-untyped-call]
    return made


def second(
    walk: Walk, matrices: Tensor, changes: Tensor, grad: Tensor, grad_change: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradient of the matrices, its change along a direction, and that of the amplitudes.

    Args:
        walk: The circuit, step by step.
        matrices: ``(batch, n, control, target, target)``.
        changes: The direction, of the same shape.
        grad: The cotangent of the amplitudes, ``(batch, 2**N)``.
        grad_change: How the cotangent changes.
    """
    matrices, grad = refused(matrices, grad, text=_THIRD)
    made: tuple[Tensor, Tensor, Tensor] = _Second.apply(  # type: ignore[no-untyped-call]
        matrices, changes, grad, grad_change, walk
    )
    return made


class _Push(BatchFirst):
    """:meth:`Walk.push`; differentiable once."""

    @staticmethod
    @batch_first
    def forward(matrices: Tensor, changes: Tensor, walk: Walk) -> Tensor:
        return walk.push(matrices, changes)[1]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.walk = inputs[2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        still = torch.zeros_like(grad)
        matrices, changes = ctx.saved_tensors
        grads, grad_changes, _ = second(ctx.walk, matrices, changes, grad, still)
        return grad_changes, grads, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Any:
        raise UnsupportedByEngine(FORWARD_TWICE)


class _Second(BatchFirst):
    """:meth:`Walk.second`, which is linear in the two changes: differentiable by these."""

    @staticmethod
    @batch_first
    def forward(
        matrices: Tensor, changes: Tensor, grad: Tensor, grad_change: Tensor, walk: Walk
    ) -> tuple[Tensor, Tensor, Tensor]:
        return walk.second(matrices, changes, grad, grad_change)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        matrices, _, grad, _, ctx.walk = inputs
        ctx.save_for_backward(matrices, grad)

    @staticmethod
    def backward(
        ctx: Any, _: Tensor, changes: Tensor, grad_change: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        # Second derivatives commute: the map from changes to changes is its own transpose.
        matrices, grad = ctx.saved_tensors
        _, made, grad_made = second(ctx.walk, matrices, changes, grad, grad_change)
        return torch.zeros_like(matrices), made, torch.zeros_like(grad), grad_made, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Any:
        raise UnsupportedByEngine(_THIRD)


_THIRD = (
    "A second derivative through StatevectorEngine was differentiated again. First and second "
    "derivatives are right, third ones are not implemented. Take differences of second ones."
)
