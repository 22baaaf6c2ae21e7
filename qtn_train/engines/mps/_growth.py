"""Gates by which bonds only grow, applied to many sites at once.

        │                    │
       [Oₖ]                 [Pₖ]         a gate Σₖ Oₖ ⊗ Pₖ on neighbors: k joins the bond between
        │                    │           them, and each site changes by itself
    ─l─[A]─(k, r)─  ─(k, l')─[B]─r'─

Such operations wait, site by site, until a tensor is needed. Then the sites whose shapes and
operations are alike are one batch, however far apart in the circuit's order their gates are: a wide
circuit of a few layers costs about as many operations of the library as a narrow one.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from autoray import get_namespace

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

    def finish(self, sites: Iterable[int]) -> bool:
        """Apply what waits for some sites.

        Args:
            sites: Their numbers.

        Returns:
            Whether the tensors that this made are finite.
        """
        if not any(self._steps):
            return True
        alike: dict[object, list[int]] = {}
        for site in sites:
            if self._steps[site]:
                kinds = tuple(step[1:] for step in self._steps[site])
                alike.setdefault((self._tensors[site].shape, kinds), []).append(site)
        return all([self._apply(group) for group in alike.values()])

    def _apply(self, sites: list[int]) -> bool:
        """Apply what waits for sites that are alike; return whether the result is finite."""
        waiting = [self._steps[site] for site in sites]
        numbers = np.array([[step[0] for step in steps] for steps in waiting]).T
        state = self._start(sites)
        for operators, (_, rank, leftward) in zip(
            self._operators[numbers], waiting[0], strict=True
        ):
            state = self._operated(operators[:, :, :rank], state, leftward=leftward)
        grown = self._namespace.transpose(state, (0, 3, 1, 2))
        for site, tensor in zip(sites, grown, strict=True):
            self._tensors[site], self._steps[site], self._factors[site] = tensor, [], 1
        finite: bool = is_finite(grown)
        return finite

    def _start(self, sites: list[int]) -> Array:
        """Return the tensors of some sites as ``(n, 2, right, left)``."""
        stacked = self._namespace.stack([self._tensors[site] for site in sites])
        return self._namespace.transpose(stacked, (0, 2, 3, 1))

    def _operated(self, operators: Array, state: Array, *, leftward: bool) -> Array:
        """Apply ``(n, 2, rank, 2)`` operators to ``(n, 2, right, left)``; k leads its bond."""
        n, _, right, left = state.shape
        rank = operators.shape[2]
        wide = operators.reshape(n, 2 * rank, 2) @ state.reshape(n, 2, -1)
        if not leftward:
            return wide.reshape(n, 2, -1, left)
        ordered = self._namespace.transpose(wide.reshape(n, 2, rank, right, left), (0, 1, 3, 2, 4))
        return ordered.reshape(n, 2, right, -1)
