"""Contraction of torch tensors: slices whose intermediate tensors are not stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._transforms import in_forward_mode, is_transformed
from . import _contract


@_contract.add_slices.register("torch")  # type: ignore[untyped-decorator]
def _add_slices(
    like: Tensor, arrays: Sequence[Tensor], n_slices: int, one: _contract.Slice
) -> Tensor:
    """Contract each slice again in the backward pass, so that memory is that of one slice.

    Inside of torch's transforms the intermediate tensors of all slices are stored.
    """
    stored = in_forward_mode() or any(map(is_transformed, arrays))
    if stored or not torch.is_grad_enabled() or not any(each.requires_grad for each in arrays):
        found: Tensor = _contract.total(arrays, n_slices, one)
        return found
    added: Tensor = _Slices.apply(n_slices, one, *arrays)  # type: ignore[no-untyped-call]
    return added


class _Slices(torch.autograd.Function):
    """Adds up slices; only the arrays and the sum are stored, however many slices there are."""

    @staticmethod
    def forward(ctx: Any, n_slices: int, one: _contract.Slice, *arrays: Tensor) -> Any:
        ctx.n_slices, ctx.one = n_slices, one
        ctx.save_for_backward(*arrays)
        return _contract.total(arrays, n_slices, one)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[2:]
        again = torch.is_grad_enabled()  # for second derivatives, which store all slices
        with torch.enable_grad():
            arrays = [array.view_as(array) for array in ctx.saved_tensors]
        asked = [array for array, need in zip(arrays, needed, strict=True) if need]
        sums: tuple[Tensor, ...] | None = None
        for number in range(ctx.n_slices):
            with torch.enable_grad():
                value = ctx.one(arrays, number)
            found = torch.autograd.grad(value, asked, grad, create_graph=again)
            sums = found if sums is None else tuple(map(torch.add, sums, found))
        left = iter(sums or ())
        return (None, None, *(next(left) if need else None for need in needed))
