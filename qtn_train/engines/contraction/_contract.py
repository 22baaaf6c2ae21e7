"""A network's arrays, multiplied along its tree: the same lines for NumPy and for torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from autoray import compose

from ._trees import Plan

#: A NumPy array or a torch tensor.
Array = Any
#: Contracts the slice of a number.
Slice = Callable[[Sequence[Array], int], Array]


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
    return add_slices(arrays[0], arrays, plan.n_slices, tree.contract_slice)


@partial(compose, name="qtn_train.add_slices")
def add_slices(like: Array, arrays: Sequence[Array], n_slices: int, one: Slice) -> Array:
    """Return the sum of a contraction's slices; their intermediate tensors are not stored.

    Args:
        like: One of the arrays: it says of which library they are.
        arrays: All arrays.
        n_slices: How many slices there are.
        one: Contracts a slice, by its number.
    """
    return total(arrays, n_slices, one)


def total(arrays: Sequence[Array], n_slices: int, one: Slice) -> Array:
    """Return the sum of a contraction's slices.

    Args:
        arrays: All arrays.
        n_slices: How many slices there are.
        one: Contracts a slice, by its number.
    """
    found = one(arrays, 0)
    for number in range(1, n_slices):
        found = found + one(arrays, number)
    return found
