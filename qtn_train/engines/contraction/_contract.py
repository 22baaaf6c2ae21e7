"""A network's arrays, multiplied along its tree: the same lines for NumPy and for torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from autoray import compose

from ._trees import Plan

#: A NumPy array or a torch tensor.
Array = Any


def contract(plan: Plan, arrays: Sequence[Array]) -> Array:
    """Return the contraction of a network.

    Args:
        plan: Its tree.
        arrays: Its tensors, in the order of the tree's inputs.

    Returns:
        An array with the output's indices.
    """
    tree = plan.tree
    if plan.n_slices == 1:
        return tree.contract_core(arrays)
    total = None
    for number in range(plan.n_slices):
        one = add_slice(arrays[0], arrays, lambda each, i=number: tree.contract_slice(each, i))
        total = one if total is None else total + one
    return total


@compose(name="qtn_train.add_slice")  # type: ignore[untyped-decorator]
def add_slice(
    like: Array, arrays: Sequence[Array], one: Callable[[Sequence[Array]], Array]
) -> Array:
    """Return the contraction of one slice; its intermediate tensors are not stored.

    Args:
        like: One of the arrays: it says of which library they are.
        arrays: All arrays.
        one: Contracts the slice.
    """
    return one(arrays)
