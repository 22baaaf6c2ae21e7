"""One vector that several processes make together, a part each.

    process 0: weights 0 … m−1  ──┐               ┌── all weights
    process 1: weights m … 2m−1 ──┴─ all-gather ──┴── all weights

Backward, each process gets the gradient of its own part, summed over all processes: their losses
add up, and so do then the gradients of the trained numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from ..errors import ProcessLost, must_be


def n_processes() -> int:
    """Return the number of processes in torch's default group; 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def part_of(n_chunks: int) -> tuple[int, int]:
    """Return the first chunk of this process and one past its last; the same number for each.

    Args:
        n_chunks: Chunks of the whole; where it is no multiple, the last processes have fewer.
    """
    each = -(-n_chunks // n_processes())
    start = min(dist.get_rank() * each, n_chunks)
    return start, min(start + each, n_chunks)


def gathered(own: Float[Tensor, " part"], largest: int, total: int) -> Float[Tensor, " total"]:
    """Return the vector whose parts the processes hold, in their order.

    Args:
        own: This process's part.
        largest: Length of a full part; only the last ones may be shorter.
        total: Length of the vector.

    Returns:
        The whole, differentiable: all processes must go back through it, and add up what they get.

    Raises:
        ProcessLost: Another process has ended.
    """
    whole: Tensor = _Gather.apply(own, largest)  # type: ignore[no-untyped-call]
    return whole[:total]


class _Gather(torch.autograd.Function):
    """The parts of all processes, joined; the derivative is :class:`_Scatter`."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, largest: int) -> Tensor:
        ctx.length, ctx.largest = len(own), largest
        padded = torch.nn.functional.pad(own, (0, largest - len(own)))
        parts = [torch.empty_like(padded) for _ in range(n_processes())]
        together(partial(dist.all_gather, parts, padded))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None]:
        own: Tensor = _Scatter.apply(cotangent, ctx.length, ctx.largest)  # type: ignore[no-untyped-call]
        return own, None


class _Scatter(torch.autograd.Function):
    """One process's part of the sum over all processes; the derivative is :class:`_Gather`."""

    @staticmethod
    def forward(ctx: Any, cotangent: Tensor, length: int, largest: int) -> Tensor:
        ctx.largest = largest
        summed = cotangent.clone(memory_format=torch.contiguous_format)
        together(partial(dist.all_reduce, summed))
        start = dist.get_rank() * largest
        return summed[start : start + length]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        whole: Tensor = _Gather.apply(grad, ctx.largest)  # type: ignore[no-untyped-call]
        return whole, None, None


def together(call: Callable[[], object]) -> None:
    """Call a function that waits for all processes, and name a process that has ended.

    Raises:
        ProcessLost: Another one has ended.
    """
    try:
        call()
    except RuntimeError as error:
        hint = "See what it said; then resume the run."
        text = must_be("processes", "all alive until the end", "one that ended", hint)
        raise ProcessLost(text) from error
