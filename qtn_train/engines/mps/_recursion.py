"""Rows that are carried from site to site by a matrix each, with a derivative of their own.

    x[b] = source[b] + x[a] · maps[i]        for each link (i, a, b), in order; a, b ranges of rows

The gradient of such a recursion is one again, along the same links backwards with the matrices
transposed, so that derivatives of every order, forward and backward, are made of it. One node of
the graph takes the place of several for each site.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..._autocast import outside_autocast
from .._transforms import with_signature


class Link(NamedTuple):
    """Which rows a matrix carries, and where they arrive.

    Attributes:
        site: Number of the matrix; no two links have the same.
        start: First row.
        to: First row of those that arrive: no link before has carried one of them on.
        n_rows: How many.
    """

    site: int
    start: int
    to: int
    n_rows: int


@dataclass(frozen=True)
class Path:
    """The links of a recursion.

    Attributes:
        links: In the order in which they are followed.
    """

    links: tuple[Link, ...]

    def reversed(self) -> Path:
        """Return the way back."""
        return Path(tuple(Link(site, to, start, n) for site, start, to, n in self.links[::-1]))


def carried(
    maps: Float[Tensor, "n d d"], source: Float[Tensor, "rows d"], path: Path
) -> Float[Tensor, "rows d"]:
    """Return the rows of a recursion.

    Args:
        maps: The matrices.
        source: What each row begins with.
        path: The links.

    Returns:
        All rows, differentiable.

    Source:
        Ours.

    Example:
        >>> rows = torch.tensor([[1.0], [0.0], [5.0]])
        >>> path = Path((Link(0, 0, 1, 1), Link(1, 1, 2, 1)))
        >>> carried(torch.tensor([[[2.0]], [[3.0]]]), rows, path)
        tensor([[ 1.],
                [ 2.],
                [11.]])
    """
    made: Tensor = _Carried.apply(maps, source, path)  # type: ignore[no-untyped-call]
    return made


class _Carried(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    @with_signature
    @outside_autocast()
    def forward(maps: Tensor, source: Tensor, path: Path) -> Tensor:
        rows, matrices = source.clone(), maps.unbind()
        for site, start, to, n in path.links:
            rows[to : to + n] += rows[start : start + n] @ matrices[site]
        return rows

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.path = inputs[2]
        ctx.save_for_backward(inputs[0], output)
        ctx.save_for_forward(inputs[0], output)

    @staticmethod
    @outside_autocast()
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        maps, rows = ctx.saved_tensors
        reached = carried(maps.mT, grad, ctx.path.reversed())
        zero = torch.zeros_like(maps[0])
        grads = [zero] * len(maps)
        for site, start, to, n in ctx.path.links:
            grads[site] = rows[start : start + n].mT @ reached[to : to + n]
        return torch.stack(grads), reached, None

    @staticmethod
    @outside_autocast()
    def jvp(ctx: Any, maps_change: Tensor | None, source_change: Tensor | None, _: None) -> Tensor:
        maps, rows = ctx.saved_tensors
        change = torch.zeros_like(rows) if source_change is None else source_change
        if maps_change is not None:
            pieces = {
                to: rows[start : start + n] @ maps_change[site]
                for site, start, to, n in ctx.path.links
            }
            change = change + _placed(pieces, rows)
        return carried(maps, change, ctx.path)


def _placed(pieces: dict[int, Tensor], like: Tensor) -> Tensor:
    """Return pieces of rows, by their first row, in their places, and 0 elsewhere."""
    parts, end = [], 0
    for start, piece in sorted(pieces.items()):
        parts += [torch.zeros_like(like[end:start]), piece]
        end = start + len(piece)
    return torch.cat([*parts, torch.zeros_like(like[end:])])
