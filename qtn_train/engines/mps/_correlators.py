"""All Pauli correlators of a matrix product state, left to right, in batched products.

    first site a        carried on         next site b        closed at site i
    ─[A P A*]─────────────[A A*]──────────────[A P A*]── … ──────[A P A*]─[R]
      open                 pass                 mark                close

An environment E is a Hermitian matrix, and so a row of χ² real numbers, Re E + Im E: one part is
symmetric, the other antisymmetric. All those that have marked the same number of sites stand in
one stack, so that a site costs a few products whatever the number of correlators. Every tensor is
padded to the largest bond, and where χ is small a site's transfer matrix is made once: χ² × χ²
real numbers.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ...measurements._correlators import n_tuples
from ...measurements._pauli import MATRICES
from ._recursion import Link, Path, carried

# Up to this bond dimension a product with a transfer matrix is faster than two with the tensor.
_SUPEROPERATOR = 8
# Bytes of the stacks that one block of first sites may keep for the backward pass.
_BLOCK_BYTES = 2**28


def correlators(
    tensors: Sequence[Tensor],
    order: int,
    letters: str,
    start: int,
    stop: int,
    reach: int | None = None,
) -> Float[Tensor, " values"]:
    """Return the Pauli correlators start … stop−1 of a matrix product state.

    Args:
        tensors: A normalized matrix product state, one tensor ``(left, 2, right)`` a site.
        order: Sites of a correlator, from 1 to N.
        letters: Different ones out of ``x``, ``y`` and ``z``; those of the first come first.
        start: Number of a correlator: in a letter, site tuples are in lexicographic order.
        stop: One past the last number, above ``start``.
        reach: Largest distance between the first and the last site of a tuple; any without. The
            sweep drops an environment as soon as it has gone so far.

    Returns:
        Real numbers, differentiable. Memory is bounded: where first sites come in several blocks,
        a block is computed again in the backward pass.

    Source:
        Ours.
    """
    far = len(tensors) - 1 if reach is None else min(reach, len(tensors) - 1)
    each = n_tuples(len(tensors), order, far)
    pieces = []
    for group, low, high in _shares(letters, each, start, stop):
        rows, first = rows_of(len(tensors), order, low, high, far)
        found = _rows(tensors, group, order, rows, far)
        pieces.append(found[:, low - first : high - first].reshape(-1))
    return torch.cat(pieces)


def _shares(letters: str, each: int, start: int, stop: int) -> list[tuple[str, int, int]]:
    """Divide a range by letters; the correlators of one letter stay together and cost one sweep."""
    ends = [(max(start - i * each, 0), min(stop - i * each, each)) for i in range(len(letters))]
    shares: list[tuple[str, int, int]] = []
    for letter, (low, high) in zip(letters, ends, strict=True):
        if low >= high:
            continue
        if shares and shares[-1][1:] == (low, high) == (0, each):
            shares[-1] = (shares[-1][0] + letter, low, high)
        else:
            shares.append((letter, low, high))
    return shares


def _rows(tensors: Sequence[Tensor], letters: str, order: int, rows: range, reach: int) -> Tensor:
    """Return the correlators whose first site lies in a range, one row for each letter."""
    largest = max(t.shape[2] for t in tensors)
    kept = len(letters) * largest**2 * tensors[0].element_size() * max(reach, 1) ** (order - 1)
    size = max(1, _BLOCK_BYTES // kept)
    if len(rows) <= size or order == 1:
        return _block(letters, order, rows.start, rows.stop, reach, *tensors)
    blocks = [
        checkpoint(
            _block,
            letters,
            order,
            first,
            min(first + size, rows.stop),
            reach,
            *tensors,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for first in range(rows.start, rows.stop, size)
    ]
    return torch.cat(blocks, 1)


def _block(letters: str, order: int, first: int, stop: int, reach: int, *tensors: Tensor) -> Tensor:
    sites = _Sites(tensors, letters)
    if order == 1:
        return sites.single[first:stop].T
    plan = _plan(sites.n_sites, order, first, stop, reach)
    if order == 2 and sites.transfer is not None:
        rows = _pairs(sites, sites.transfer, first, stop, reach)
        return rows[torch.from_numpy(plan.order).to(rows.device)].T
    # stacks[m]: environments with m + 1 marked sites, (rows, letters, χ²).
    stacks: list[Tensor | None] = [None] * (order - 1)
    found: list[Tensor] = []
    begun, closes = sites.opened.unbind(), sites.close.unbind()
    for site, dropped in zip(range(first, sites.n_sites), plan.dropped, strict=False):
        stacks = [
            stack if stack is None or out is None else _without(stack, out)
            for stack, out in zip(stacks, dropped, strict=True)
        ]
        last = stacks[-1]
        if last is not None:
            found.append((last * closes[site]).sum(2))
        for marked in range(order - 2, 0, -1):
            stacks[marked] = _joined(
                sites.passed(stacks[marked], site), sites.marked(stacks[marked - 1], site)
            )
        opened = begun[site][None] if site < stop else None
        stacks[0] = _joined(sites.passed(stacks[0], site), opened)
    if not found:
        return sites.single[:0].T
    rows = torch.cat(found)
    return rows[torch.from_numpy(plan.order).to(rows.device)].T


def _pairs(sites: _Sites, transfer: Tensor, first: int, stop: int, reach: int) -> Tensor:
    """Return the pairs' correlators in the order of the sweep, (pairs, letters)."""
    plan = _pair_plan(sites.n_sites, first, stop, reach)
    opened = sites.opened[first:stop]
    n_letters, size = opened.shape[1:]
    source = opened.new_zeros(plan.n_rows, n_letters, size)
    source = source.index_copy(0, torch.from_numpy(plan.opened).to(source.device), opened)
    path = _pair_path(sites.n_sites, first, stop, reach, n_letters)
    rows = carried(transfer, source.flatten(0, 1), path).view_as(source)
    ended, ends = (torch.from_numpy(index).to(rows.device) for index in (plan.rows, plan.sites))
    pairs = rows.index_select(0, ended), sites.close.index_select(0, ends)
    return torch.einsum("npd,npd->np", *pairs)


class _PairPlan(NamedTuple):
    """The rows of a sweep for two sites, one for each open environment right of each site.

    Attributes:
        n_rows: How many.
        links: How they are carried.
        opened: The rows that begin, in the order of their sites.
        rows: For each pair, in the order of the sweep, the row that it ends.
        sites: For each pair the site where it ends.
    """

    n_rows: int
    links: list[Link]
    opened: NDArray[np.int64]
    rows: NDArray[np.int64]
    sites: NDArray[np.int64]


@functools.lru_cache(maxsize=64)
def _pair_plan(n_sites: int, first: int, stop: int, reach: int) -> _PairPlan:
    links: list[Link] = []
    opened, rows, sites = [], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    begin = n_rows = 0  # the rows right of the site before, and right of this one
    oldest = first
    for site in range(first, min(stop + reach, n_sites)):
        start = begin + max(site - reach - oldest, 0)
        oldest = max(oldest, site - reach)
        kept, begin = n_rows - start, n_rows
        rows.append(np.arange(start, start + kept))
        sites.append(np.full(kept, site))
        if kept:
            links.append(Link(site, start, begin, kept))
        if site < stop:
            opened.append(begin + kept)
        n_rows += kept + (site < stop)
    return _PairPlan(n_rows, links, np.array(opened), np.concatenate(rows), np.concatenate(sites))


def _joined(old: Tensor | None, new: Tensor | None) -> Tensor | None:
    if old is None or new is None:
        return new if old is None else old
    return torch.cat((old, new))


def _without(stack: Tensor, kept: NDArray[np.int64]) -> Tensor | None:
    """Return the rows of a stack that go on; None where there are none."""
    if not len(kept):
        return None
    if kept[-1] - kept[0] == len(kept) - 1:  # neighbors: a view
        return stack[int(kept[0]) : int(kept[-1]) + 1]
    return stack[torch.from_numpy(kept).to(stack.device)]


class _Plan(NamedTuple):
    """What a sweep from a range of first sites drops, and in which order it finds correlators.

    Attributes:
        dropped: For each site, and for each number of marked sites, the rows that go on; None
            where all do.
        order: Where each correlator, in lexicographic order, stands in the order of the sweep.
    """

    dropped: list[list[NDArray[np.int64] | None]]
    order: NDArray[np.int64]


@functools.lru_cache(maxsize=64)
def _plan(n_sites: int, order: int, first: int, stop: int, reach: int) -> _Plan:
    levels = [np.empty((0, m), dtype=np.int64) for m in range(1, order)]
    dropped: list[list[NDArray[np.int64] | None]] = []
    found = [np.empty((0, order), dtype=np.int64)]
    for site in range(first, min(stop + reach, n_sites)):
        kept = [np.flatnonzero(site - level[:, 0] <= reach) for level in levels]
        pairs = list(zip(kept, levels, strict=True))
        dropped.append([None if len(k) == len(level) else k for k, level in pairs])
        levels = [level[k] for k, level in pairs]
        found.append(_marked(levels[-1], site))
        for m in range(order - 2, 0, -1):
            levels[m] = np.concatenate((levels[m], _marked(levels[m - 1], site)))
        if site < stop:
            levels[0] = np.concatenate((levels[0], [[site]]))
    return _Plan(dropped, np.lexsort(np.concatenate(found).T[::-1]))


def _marked(tuples: NDArray[np.int64], site: int) -> NDArray[np.int64]:
    return np.column_stack((tuples, np.full(len(tuples), site)))


@functools.lru_cache(maxsize=64)
def _pair_path(n_sites: int, first: int, stop: int, reach: int, n_letters: int) -> Path:
    """Return the links of a plan's rows, of which each letter has one."""
    links = _pair_plan(n_sites, first, stop, reach).links
    return Path(tuple(Link(s, *(n_letters * x for x in numbers)) for s, *numbers in links))


@functools.lru_cache(maxsize=64)
def _environment_paths(n_sites: int) -> tuple[Path, Path]:
    """Return the ways of the environments left and right of each site."""
    rightward = tuple(Link(site, site, site + 1, 1) for site in range(n_sites - 1))
    leftward = tuple(Link(site, site, site - 1, 1) for site in range(n_sites - 1, 0, -1))
    return Path(rightward), Path(leftward)


class _Sites:
    """The sites' tensors and environments, as a sweep needs them.

    Attributes:
        n_sites: N.
        transfer: For small χ, for each site the map of a row, as a matrix, (N, χ², χ²).
        opened: For each site, the environments that begin with a Pauli there, (N, letters, χ²).
        close: For each site, what ends an environment with a Pauli there, (N, letters, χ²).
        single: ⟨P_i⟩, (N, letters).
    """

    def __init__(self, tensors: Sequence[Tensor], letters: str) -> None:
        self.n_sites = len(tensors)
        self._chi = max(max(t.shape[0], t.shape[2]) for t in tensors)
        self._chain = torch.stack([_padded(tensor, self._chi) for tensor in tensors])
        paulis = self._chain.new_tensor([MATRICES[letter.upper()] for letter in letters])
        self._hit = torch.einsum("pst,iatr->ipasr", paulis, self._chain)
        bra = self._chain.conj()
        self.transfer: Tensor | None = None
        if self._chi <= _SUPEROPERATOR:
            self.transfer = _transfer(self._chain)
        lefts, rights = self._environments()
        half = torch.einsum("iba,ipasr->ipbsr", _transposed(lefts, self._chi), self._hit)
        opened = torch.einsum("ipbsr,ibsq->iprq", half, bra)
        half = torch.einsum("ipasr,irq->ipasq", self._hit, _transposed(rights, self._chi))
        closed = torch.einsum("ipasq,ibsq->ipab", half, bra)
        dual = (closed.real - closed.imag).flatten(2)
        self.opened = (opened.real + opened.imag).flatten(2)
        self.close = dual
        self.single = (dual * lefts[:, None]).sum(2)

    @cached_property
    def _transfers(self) -> Sequence[Tensor]:
        assert self.transfer is not None
        return self.transfer.unbind()

    @cached_property
    def _kets(self) -> Sequence[Tensor]:
        """For each site the tensor as a matrix (left, 2 · right)."""
        return self._chain.flatten(2).unbind()

    @cached_property
    def _hit_kets(self) -> Sequence[Tensor]:
        """For each site the tensor with each letter's Pauli, (letters, left, 2 · right)."""
        return self._hit.flatten(3).unbind()

    @cached_property
    def _bras(self) -> Sequence[Tensor]:
        """For each site the conjugate tensor as a matrix (left · 2, right)."""
        return self._chain.conj().flatten(1, 2).unbind()

    def _environments(self) -> tuple[Tensor, Tensor]:
        """Return the environments left and right of each site, ``(N, χ²)`` each.

        Those on the right are such that the sum of their products with a row is the value.
        """
        n, edge = self.n_sites, self._chain.real.new_zeros(1, self._chi**2)
        edge[..., 0] = 1
        if self.transfer is not None:
            rest = edge.new_zeros(n - 1, edge.shape[1])
            rightward, leftward = _environment_paths(n)
            lefts = carried(self.transfer, torch.cat((edge, rest)), rightward)
            return lefts, carried(self.transfer.mT, torch.cat((rest, edge)), leftward)
        from_left, from_right = [edge], [edge]
        for site in range(n - 1):
            from_left.append(self._passing(from_left[-1], site))
        for site in range(n - 1, 0, -1):
            from_right.append(self._back(from_right[-1], site))
        return torch.cat(from_left), torch.cat(from_right[::-1])

    def passed(self, stack: Tensor | None, site: int) -> Tensor | None:
        """Carry a stack of environments over a site."""
        return None if stack is None or site == self.n_sites - 1 else self._passing(stack, site)

    def marked(self, stack: Tensor | None, site: int) -> Tensor | None:
        """Carry a stack over a site, with each letter's Pauli there."""
        if stack is None or site == self.n_sites - 1:
            return None
        return _through(stack, self._hit_kets[site], self._bras[site])

    def _passing(self, stack: Tensor, site: int) -> Tensor:
        if self.transfer is not None:
            return stack @ self._transfers[site]
        return _through(stack, self._kets[site], self._bras[site])

    def _back(self, row: Tensor, site: int) -> Tensor:
        back = self._kets[site].reshape(-1, self._chi) @ _transposed(row[0], self._chi)
        closed = back.reshape(self._chi, -1) @ self._bras[site].reshape(self._chi, -1).mT
        return (closed.real - closed.imag).reshape(1, -1)


def _transfer(chain: Tensor) -> Tensor:
    """Return each site's map of the rows Re E + Im E, (N, χ², χ²).

    Re E' + Im E' = Re T·(Re E + Im E) + Im T·(Re E − Im E) with T = A·Ā, and the last is Eᵀ's row.
    """
    real, imag = chain.real, chain.imag
    parts, turned = torch.cat((real, imag), 2), torch.cat((imag, -real), 2)
    own = torch.einsum("iasr,ibsq->iabrq", parts, parts)
    crossed = torch.einsum("iasq,ibsr->iabrq", parts, turned)
    return (own + crossed).reshape(len(chain), chain.shape[1] ** 2, -1)


def _transposed(rows: Tensor, chi: int) -> Tensor:
    """Return Eᵀ of the Hermitian matrices E of rows Re E + Im E."""
    both = rows.unflatten(-1, (chi, chi))
    return torch.complex((both + both.mT) / 2, (both.mT - both) / 2)


def _through(stack: Tensor, ket: Tensor, bra: Tensor) -> Tensor:
    """E'[r, q] = Σ E[a, b]·ket[a, s, r]·bra[b, s, q], for every row E of a stack."""
    chi = bra.shape[-1]
    half = _transposed(stack, chi) @ ket
    new = half.reshape(*half.shape[:-2], 2 * chi, chi).mT @ bra
    return (new.real + new.imag).flatten(-2)


def _padded(tensor: Tensor, size: int) -> Tensor:
    left, _, right = tensor.shape
    if left == right == size:
        return tensor
    return torch.nn.functional.pad(tensor, (0, size - right, 0, 0, 0, size - left))


def _counts(n_sites: int, order: int, reach: int) -> Iterator[int]:
    """Give, for each first site, the number of its tuples."""
    return (math.comb(min(n_sites - 1 - site, reach), order - 1) for site in range(n_sites))


def rows_of(
    n_sites: int, order: int, start: int, stop: int, reach: int | None = None
) -> tuple[range, int]:
    """Return the first sites of the correlators start … stop−1, and the number of the first one.

    Args:
        n_sites: N.
        order: Sites of a correlator.
        start: Number of a site tuple, in lexicographic order.
        stop: One past the last number, above ``start``.
        reach: Largest distance between the ends of a tuple; any without.

    Returns:
        The range of first sites that covers them, and the number of its first tuple.

    Example:
        >>> rows_of(4, 2, 3, 5)  # (0, 1) (0, 2) (0, 3) (1, 2) (1, 3) (2, 3)
        (range(1, 2), 3)
    """
    far = n_sites - 1 if reach is None else reach
    ends = list(itertools.accumulate(_counts(n_sites, order, far)))
    first = next(site for site, end in enumerate(ends) if end > start)
    last = next(site for site, end in enumerate(ends) if end >= stop)
    return range(first, last + 1), ends[first - 1] if first else 0
