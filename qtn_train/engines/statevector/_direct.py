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
    if not plan.gates.n_parameterized:
        angles = angles.detach()
    made: Tensor = Direct.apply(angles, plan, dtype)  # type: ignore[no-untyped-call]
    return made


class Direct(torch.autograd.Function):
    """Angles to amplitudes."""

    @staticmethod
    def forward(ctx: Any, angles: Tensor, plan: TilePlan, dtype: torch.dtype) -> Tensor:
        values = _values(plan, _numbers(angles))
        amplitudes = plan.evolved(_matrices(plan, values, dtype))
        ctx.save_for_backward(angles, amplitudes)
        ctx.plan, ctx.values = plan, values
        return amplitudes

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        angles, amplitudes = ctx.saved_tensors
        plan: TilePlan = ctx.plan
        if torch.is_grad_enabled() or not is_plain(grad):
            with torch.enable_grad():
                again = evolve(plan, plan.gates.values(angles, amplitudes.dtype))
            (made,) = torch.autograd.grad(again, angles, grad, create_graph=True)
            return made, None, None
        undo = _matrices(plan, ctx.values, amplitudes.dtype).conj().swapaxes(-1, -2)
        sums = plan.undone(np.ascontiguousarray(undo), amplitudes, grad)
        return (
            torch.from_numpy(_pulled(plan, _numbers(angles), ctx.values, sums)).to(angles),
            None,
            None,
        )


def _numbers(angles: Tensor) -> NDArray[np.float64]:
    return angles.detach().to(torch.float64).contiguous().numpy()


def _values(plan: TilePlan, angles: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return the values of all slots for a batch of angles, ``(batch, n_values)``."""
    from . import _gate_kernels

    rows, forms, constants = plan.gates.tables
    values = np.empty((len(angles), len(constants) + 4 * len(rows)), np.complex128)
    values[:, : len(constants)] = constants
    for one, made in zip(angles, values, strict=True):
        _gate_kernels.values(one, rows, forms, made[len(constants) :])
    return values


def _matrices(
    plan: TilePlan, values: NDArray[np.complex128], dtype: torch.dtype
) -> NDArray[np.complexfloating]:
    """Return a batch of the plan's matrices, ``(batch, n, control, 2, 2)``."""
    from . import _gate_kernels

    given = values.astype(np.complex64 if dtype == torch.complex64 else np.complex128, copy=False)
    out = np.empty((len(values), *plan.slots.shape[1:]), given.dtype)
    for one, made in zip(given, out, strict=True):
        _gate_kernels.products(one, _lines(plan.slots), made.reshape(-1, 4))
    return out


def _lines(slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``(depth, n · control, 4)`` slots."""
    return slots.reshape(len(slots), int(np.prod(slots.shape[1:3])), 4)


def _pulled(
    plan: TilePlan,
    angles: NDArray[np.float64],
    values: NDArray[np.complex128],
    sums: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the gradient of a batch of angles, given what :meth:`TilePlan.undone` returned."""
    from . import _gate_kernels

    rows, forms, constants = plan.gates.tables
    slots, out, grads = _lines(plan.slots), np.zeros_like(angles), np.zeros_like(values)
    earlier = np.zeros((len(slots) + 1, 4), np.complex128)
    earlier[0] = 1, 0, 0, 1
    for number, grad in enumerate(grads):
        _gate_kernels.collect(values[number], slots, sums[number].reshape(-1, 4), earlier, grad)
        own = grad[len(constants) :]
        _gate_kernels.pull(angles[number], rows, forms, own, out[number])
    return out
