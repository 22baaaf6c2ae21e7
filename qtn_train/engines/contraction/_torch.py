"""Contraction of torch tensors: slices whose intermediate tensors are not stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from . import _contract


@_contract.add_slice.register("torch")  # type: ignore[untyped-decorator]
def _checkpointed(
    like: Tensor, arrays: Sequence[Tensor], one: Callable[[Sequence[Tensor]], Tensor]
) -> Tensor:
    """Contract a slice again in the backward pass, so that memory is that of one slice."""
    if not torch.is_grad_enabled() or not any(array.requires_grad for array in arrays):
        return one(arrays)
    result: Tensor = checkpoint(lambda *each: one(each), *arrays, use_reentrant=False)
    return result
