"""Angles to amplitudes on a CPU as one node of the graph, compiled from end to end.

Small circuits are prepared thousands of times in a training, and then the many small operations
around the evolution take as long as itself. They are left out where a first derivative is all that
is asked for. Wherever more is asked, by ``create_graph=True``, forward mode, ``torch.func`` or a
batch of cotangents, the path of :mod:`._evolve` serves, whose operations torch knows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._transforms import is_plain
from ._evolve import evolve
from ._tiles import TilePlan


def directly(plan: TilePlan, angles: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the amplitudes of a batch of circuits, differentiable twice and in every mode.

    Args:
        plan: The circuit's plan.
        angles: Its angles in radians, ``(batch, n_angles)``, on a CPU.
        dtype: complex64 or complex128.

    Returns:
        Shape ``(batch, 2**N)``.
    """
    if not is_plain(angles):
        return evolve(plan, plan.gates.values(angles, dtype))
    made: Tensor = _Direct.apply(angles, plan, dtype)  # type: ignore[no-untyped-call]
    return made


class _Direct(torch.autograd.Function):
    """Angles to amplitudes."""

    @staticmethod
    def forward(ctx: Any, angles: Tensor, plan: TilePlan, dtype: torch.dtype) -> Tensor:
        amplitudes = plan.evolved(_matrices(plan, _numbers(angles), dtype)[0])
        ctx.save_for_backward(angles, amplitudes)
        ctx.plan = plan
        return amplitudes

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        angles, amplitudes = ctx.saved_tensors
        if torch.is_grad_enabled() or not is_plain(grad):
            with torch.enable_grad():
                again = evolve(ctx.plan, ctx.plan.gates.values(angles, amplitudes.dtype))
            (made,) = torch.autograd.grad(again, angles, grad, create_graph=True)
            return made, None, None
        numbers = _numbers(angles)
        undo, values = _matrices(ctx.plan, numbers, amplitudes.dtype, adjoint=True)
        sums = ctx.plan.undone(undo, amplitudes, grad)
        return torch.from_numpy(_pulled(ctx.plan, numbers, values, sums)).to(angles), None, None


def _numbers(angles: Tensor) -> NDArray[np.float64]:
    return angles.detach().to(torch.float64).contiguous().numpy()


def _matrices(
    plan: TilePlan, angles: NDArray[np.float64], dtype: torch.dtype, *, adjoint: bool = False
) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """Return a batch of the plan's matrices, or of their adjoints, and the values of all slots."""
    from . import _gate_kernels

    out = np.empty((len(angles), *plan.slots.shape[1:]), _NUMPY[dtype])
    tables = plan.gates.tables
    values = [
        _gate_kernels.matrices(one, tables, plan.slots, adjoint, made)
        for one, made in zip(angles, out, strict=True)
    ]
    return out, values


_NUMPY = {torch.complex64: np.complex64, torch.complex128: np.complex128}


def _pulled(
    plan: TilePlan,
    angles: NDArray[np.float64],
    values: list[NDArray[Any]],
    sums: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the gradient of a batch of angles."""
    from . import _gate_kernels

    out = np.zeros_like(angles)
    for given in zip(angles, values, sums, out, strict=True):
        one, own, parts, made = given
        _gate_kernels.pulled(one, plan.gates.tables, plan.slots, own, parts, made)
    return out
