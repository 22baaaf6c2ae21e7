"""Gates by which bonds only grow, applied to many sites at once.

        │                    │
       [Oₖ]                 [Pₖ]         a gate Σₖ Oₖ ⊗ Pₖ on neighbors: k joins the bond between
        │                    │           them, and each site changes by itself
    ─l─[A]─(r, k)─  ─(l', k)─[B]─r'─

Such operations wait, site by site, until a tensor is needed. Then the sites whose shapes and
operations are alike are one batch, however far apart in the circuit's order their gates are: a wide
circuit of a few layers costs about as many operations of the library as a narrow one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from autoray import get_namespace
from numpy.typing import NDArray

from ._split import Array, is_finite

# Of what waits: the number of its operators, their rank, whether k joins the left bond.
_Step = tuple[int, int, bool]


class Growth:
    """The operations that wait for the tensors of a chain.

    Args:
        tensors: The chain's, changed in place: shape ``(left, 2, right)``.
        operators: ``(n, 2, rank, 2)``: of each operation [s, k, t] the operators Oₖ[s, t].
    """

    def __init__(self, tensors: list[Array], operators: Array) -> None:
        self._tensors = tensors
        self._operators = operators
        self._steps: list[list[_Step]] = [[] for _ in tensors]
        self._factors = [1] * len(tensors)
        self._namespace = get_namespace(operators)

    def bond(self, site: int) -> int:
        """Return the bond right of a site, once all that waits is applied."""
        return int(self._tensors[site].shape[2]) * self._factors[site]

    def left(self, site: int) -> int:
        """Return the bond left of a site, once all that waits is applied."""
        return self.bond(site - 1) if site else int(self._tensors[0].shape[0])

    def add_pair(self, site: int, first: int, second: int, rank: int) -> None:
        """Let a gate on two neighbors wait.

        Args:
            site: The left one.
            first: Number of the operators on it.
            second: Number of those on the right one.
            rank: How many pairs of operators the gate is a sum of.
        """
        self._steps[site].append((first, rank, False))
        self._steps[site + 1].append((second, rank, True))
        self._factors[site] *= rank

    def add_one(self, site: int, number: int) -> None:
        """Let a gate on one site wait."""
        self._steps[site].append((number, 1, False))

    def finish(self, sites: Iterable[int]) -> int | None:
        """Apply what waits for some sites.

        Args:
            sites: Their numbers.

        Returns:
            The least number of the operations that made a tensor NaN or infinite; None where all
            are finite.
        """
        if not any(self._steps):
            return None
        alike: dict[object, list[int]] = {}
        for site in sites:
            if self._steps[site]:
                kinds = tuple(step[1:] for step in self._steps[site])
                alike.setdefault((self._tensors[site].shape, kinds), []).append(site)
        bad = [found for group in alike.values() if (found := self._apply(group)) is not None]
        return min(bad, default=None)

    def _apply(self, sites: list[int]) -> int | None:
        """Apply what waits for sites that are alike."""
        waiting = [self._steps[site] for site in sites]
        numbers = np.array([[step[0] for step in steps] for steps in waiting]).T
        kinds = [step[1:] for step in waiting[0]]
        states = [self._start(sites)]
        for operators, (rank, _) in zip(self._operators[numbers], kinds, strict=True):
            states.append(_operated(operators[:, :, :rank], states[-1]))
        grown = self._in_order(states[-1], self._tensors[sites[0]].shape, kinds)
        for site, tensor in zip(sites, grown, strict=True):
            self._tensors[site], self._steps[site], self._factors[site] = tensor, [], 1
        return None if is_finite(grown) else _first_bad(states[1:], numbers)

    def _start(self, sites: list[int]) -> Array:
        """Return the tensors of some sites as ``(n, 2, left · right)``."""
        stacked = self._namespace.stack([self._tensors[site] for site in sites])
        return self._namespace.transpose(stacked, (0, 2, 1, 3)).reshape(len(sites), 2, -1)

    def _in_order(
        self, state: Array, shape: Sequence[int], kinds: Sequence[tuple[int, bool]]
    ) -> Array:
        """Return ``(n, left, 2, right)`` of ``(n, 2, k of the last … k of the first, l, r)``."""
        growing = [kind for kind in kinds if kind[0] > 1]
        wide = state.reshape(
            len(state), 2, *(rank for rank, _ in reversed(growing)), shape[0], shape[2]
        )
        axes = list(range(len(growing) + 1, 1, -1))  # of the first k … of the last
        lefts = [axis for axis, (_, leftward) in zip(axes, growing, strict=True) if leftward]
        rights = [axis for axis, (_, leftward) in zip(axes, growing, strict=True) if not leftward]
        last = len(growing) + 3
        ordered = self._namespace.transpose(wide, (0, last - 1, *lefts, 1, last, *rights))
        left = shape[0] * int(np.prod([wide.shape[axis] for axis in lefts]))
        return ordered.reshape(len(state), left, 2, -1)


def _operated(operators: Array, state: Array) -> Array:
    """Apply ``(n, 2, rank, 2)`` operators to ``(n, 2, rest)``: ``(n, 2, rank · rest)``."""
    n, _, rank, _ = operators.shape
    return (operators.reshape(n, 2 * rank, 2) @ state).reshape(n, 2, -1)


def _first_bad(states: Sequence[Array], numbers: NDArray[np.int64]) -> int | None:
    """Return the least number of the operations after which a site is not finite."""

    def broken(state: Array) -> bool:
        return not is_finite(state)

    after = [
        next(int(number) for number, state in zip(own, states, strict=True) if broken(state[site]))
        for site, own in enumerate(numbers.T)
        if broken(states[-1][site])
    ]
    return min(after, default=None)
