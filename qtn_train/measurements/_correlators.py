"""Pauli correlators as numbers of the order of 1: one letter on one, two or three qubits.

    X: ⟨X₀X₁⟩ ⟨X₀X₂⟩ … ⟨X_{N−2}X_{N−1}⟩    Y: ⟨Y₀Y₁⟩ …    Z: ⟨Z₀Z₁⟩ …
    3·C(N, 2) numbers for order 2, or those of neighbors within a reach

All correlators of one letter commute, so that one circuit a letter measures them all.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..circuits import Circuit
from ..errors import must_be, positive_int
from ._base import Cotangent, Functional, Measurement, Readable, register_measurement
from ._counts import Counts
from ._pauli import PauliString, PauliSum
from ._readout import Readout

#: Correlators are divided by this: about the deviation over uniform angles of a shallow circuit of
#: 25 to 68 qubits (0.18 to 0.26, 0.07 to 0.10, 0.016 to 0.03).
SCALES = {1: 0.2, 2: 0.1, 3: 0.03}

#: A correlator below this is not live: no device would tell it from 0.
LIVE = 1e-4

#: Correlators that a description looks at, at most.
_DESCRIBED = 2**16


class Portrait(NamedTuple):
    """Live values and connected share of some correlators.

    Attributes:
        looked_at: How many correlators.
        live: How many of them are larger than :data:`LIVE`, of either sign.
        connected: Σ (c − ⟨Pᵢ⟩⟨Pⱼ⟩…)² / Σ c²: the share of the sum of squares that products of
            one-body values do not make; 0 for one body.
    """

    looked_at: int
    live: int
    connected: float


@final
@register_measurement
class PauliCorrelators(Measurement):
    """The expectation values of one letter on every tuple of qubits, for each letter.

    ``3·C(N, order)`` values with all three letters: 68 qubits give 6,834 two-body correlators, and
    817 a million. After S shots of each basis a correlator c is known to √((1 − c²)/S), whatever
    the number of values.

    Args:
        order: Qubits of a correlator: 1, 2 or 3.
        bases: Different letters out of ``"xyz"``, in the order of the values.
        reach: Largest distance between the first and the last qubit of a tuple; any without. Where
            the light cones of two qubits do not meet, their correlator is the product of their
            single-body values and tells nothing new.

    Raises:
        TypeError: ``order`` or ``reach`` is not an integer.
        ValueError: ``order`` is not 1, 2 or 3, a letter is unknown or comes twice, or ``reach``
            is below ``order − 1``.

    Source:
        Ours; many variables in few Pauli correlators: arXiv 2401.09421 (for optimization).

    Example:
        >>> import torch
        >>> from qtn_train.circuits import Circuit
        >>> from qtn_train.engines import MPSEngine
        >>> reads = PauliCorrelators(2, "xz")
        >>> bell = Circuit.builder(2).h(0).cx(0, 1).build()
        >>> state = MPSEngine().prepare(bell, torch.zeros(0), reads)
        >>> [round(float(value), 4) for value in reads.values(state, 0, reads.n_values(2))]
        [10.0, 10.0]
    """

    kind: ClassVar[str] = "pauli-correlators"

    def __init__(self, order: int, bases: str = "xyz", reach: int | None = None) -> None:
        self.order = positive_int("order", order)
        if self.order not in SCALES:
            raise ValueError(must_be("order", "1, 2 or 3", order))
        check_bases(bases)
        check_reach(order, reach)
        self.bases_read = bases
        self.reach = reach

    def check(self, n_qubits: int) -> None:
        """Raise where ``n_qubits`` qubits have no tuple of ``order`` qubits.

        Args:
            n_qubits: Number of qubits.

        Raises:
            ValueError: Fewer qubits than the order.
        """
        n_correlators(n_qubits, self.order, self.bases_read, self.reach)

    def check_live(self, circuit: Circuit) -> None:
        """Raise where a third of the correlators is 0 at all angles.

        Args:
            circuit: The circuit. Where all its gates are real, so is the state, and a string with
                an odd number of Y has the expectation value 0.

        Raises:
            ValueError: The gates are real, the order is odd, and Y is among the bases.
        """
        if "y" not in self.bases_read or self.order % 2 == 0 or not circuit.is_real:
            return
        expected = "without y for a circuit of real gates and an odd order"
        hint = "Take bases='xz', or a circuit with RX, RZ or U3."
        raise ValueError(must_be("bases", expected, repr(self.bases_read), hint))

    def n_values(self, n_qubits: int) -> int:
        """Return the number of letters times the number of tuples."""
        return len(self.bases_read) * n_tuples(n_qubits, self.order, self.reach)

    def values(self, state: Readable, start: int, stop: int) -> Float[Tensor, "... values"]:
        """Return the correlators start … stop−1, each over the constant of its order.

        Args:
            state: The state.
            start: First correlator's number, at least 0.
            stop: One past the last correlator's number.

        Returns:
            Floats of the order of 1, differentiable where the state is.
        """
        found = state.correlators(self.order, self.bases_read, start, stop, self.reach)
        return found / SCALES[self.order]

    def deviation(
        self, values: Float[Tensor, "... values"], shots: int
    ) -> Float[Tensor, "... values"]:
        """Return √((1 − c²)/S) over the constant of the order.

        Args:
            values: Exact values.
            shots: Shots S of each basis.

        Returns:
            Non-negative floats.
        """
        scale = SCALES[self.order]
        variance = (1 - (values * scale).square()).clamp_min(0) / shots
        return variance.sqrt() / scale

    def standard_error(self, state: Readable, start: int, stop: int) -> Float[Tensor, "... values"]:
        """Return the standard errors of the values start … stop−1, by the shots behind them.

        Args:
            state: The state.
            start: First correlator's number, at least 0.
            stop: One past the last correlator's number.

        Returns:
            Non-negative floats without gradient; zeros on an exact state.
        """
        return state.standard_errors(start, stop) / SCALES[self.order]

    def portrait(self, state: Readable, n_values: int) -> Portrait:
        """Return how many correlators are live, and which share of them is connected.

        Args:
            state: An exact state.
            n_values: How many correlators are used, from the first on; 65,536 of them at most are
                looked at.

        Returns:
            The figures.

        Example:
            >>> import torch
            >>> from qtn_train.circuits import Circuit
            >>> from qtn_train.engines import StatevectorEngine
            >>> bell = Circuit.builder(2).h(0).cx(0, 1).build()
            >>> PauliCorrelators(2).portrait(StatevectorEngine().prepare(bell, torch.zeros(0)), 3)
            Portrait(looked_at=3, live=3, connected=1.0)
        """
        n_qubits, looked_at = state.n_qubits, min(n_values, _DESCRIBED)
        values = SCALES[self.order] * self.values(state, 0, looked_at).double()
        single = state.correlators(1, self.bases_read, 0, len(self.bases_read) * n_qubits).double()
        first = {letter: k * n_qubits for k, letter in enumerate(self.bases_read.upper())}
        places = [
            [first[letter] + qubit for qubit, letter in string]
            for string in itertools.islice(self._strings(n_qubits), looked_at)
        ]
        products = single[torch.tensor(places, device=single.device)].prod(1)
        total, rest = float(values.square().sum()), float((values - products).square().sum())
        live = int((values.abs() > LIVE).sum())
        return Portrait(looked_at, live, rest / total if total else 0.0)

    @property
    def described(self) -> bool:
        """True."""
        return True

    def describe(self, state: Readable, n_values: int) -> str:
        """Return a line: the live values of an exact state, and their connected share.

        Args:
            state: The state.
            n_values: How many values are used.
        """
        looked_at, live, connected = self.portrait(state, n_values)
        first = "" if looked_at == n_values else f"the first {looked_at:,} of "
        text = f"{live:,} of {first}{n_values:,} are live (above {LIVE:g})"
        if self.order == 1:
            return text
        return f"{text}; {100 * connected:.0f} % of their sum of squares is connected"

    def estimates(
        self, counts: Sequence[Counts], start: int, stop: int, readout: Readout | None = None
    ) -> Float[Tensor, " values"]:
        """Return the raw correlators start … stop−1: means of products of signs, all pairs at once.

        Args:
            counts: Of each letter's program.
            start: First correlator's number, at least 0.
            stop: One past the last correlator's number.
            readout: The confusion matrices: then signs are corrected column by column.

        Returns:
            float64 on the CPU.
        """
        return self._means(counts, start, stop, readout, power=1)

    def errors(
        self, counts: Sequence[Counts], start: int, stop: int, readout: Readout | None = None
    ) -> Float[Tensor, " values"]:
        """Return the standard errors of the raw correlators start … stop−1.

        Args:
            counts: Of each letter's program, as read.
            start: First correlator's number, at least 0.
            stop: One past the last correlator's number.
            readout: The confusion matrices: then the error is that of the corrected values.

        Returns:
            float64 on the CPU: √((1 − c²)/(S − 1)) without mitigation; zeros where the counts are
            probabilities, infinity for one shot.
        """
        shots = counts[0].shots
        if not shots:
            return torch.zeros(stop - start, dtype=torch.float64)
        squares = self._means(counts, start, stop, readout, power=2)
        variance = squares - self._means(counts, start, stop, readout, power=1).square()
        free = shots - 1
        return (variance.clamp_min(0) / free).sqrt() if free else torch.full_like(squares, math.inf)

    def functionals(
        self, n_qubits: int, cotangents: Sequence[Cotangent], readout: Readout | None = None
    ) -> list[Functional]:
        """Return, for each letter, the mean over its shots of Σ vₖ · product k.

        Args:
            n_qubits: Number of qubits.
            cotangents: v, in pieces, each with the number of its first correlator.
            readout: The confusion matrices: then signs are corrected column by column.

        Returns:
            One function of counts for each letter.
        """
        v = torch.zeros(self.n_values(n_qubits), dtype=torch.float64)
        for start, values in cotangents:
            v[start : start + len(values)] += values
        if self.reach is not None:
            near = tuples_within(n_qubits, self.order, self.reach)
            every = v.new_zeros(len(self.bases_read), math.comb(n_qubits, self.order))
            v = every.index_copy(1, near, v.view(len(every), -1)).flatten()

        def of(own: Tensor) -> Functional:
            return lambda seen: float(
                seen.frequencies @ _weighted_products(_signs(seen, readout), own, self.order)
            )

        return [of(own) for own in v.chunk(len(self.bases_read))]

    def _means(
        self,
        counts: Sequence[Counts],
        start: int,
        stop: int,
        readout: Readout | None,
        power: int,
    ) -> Tensor:
        """Return the means of products of signs, or of the products' squares."""
        n_qubits, parts = counts[0].n_qubits, []
        size = n_tuples(n_qubits, self.order, self.reach)
        for number in range(start // size, (stop - 1) // size + 1):
            seen = counts[number]
            found = _products(_signs(seen, readout) ** power, seen.frequencies, self.order)
            if self.reach is not None:
                found = found[tuples_within(n_qubits, self.order, self.reach)]
            parts.append(found[max(start - number * size, 0) : stop - number * size])
        return torch.cat(parts)

    def bases(self, n_qubits: int) -> tuple[str, ...]:
        """Return one basis a letter: the letter on every qubit."""
        return tuple(letter.upper() * n_qubits for letter in self.bases_read)

    def supports(self, n_qubits: int) -> Iterator[tuple[int, ...]]:
        """Yield the qubits of each correlator.

        Args:
            n_qubits: Number of qubits.
        """
        for string in self._strings(n_qubits):
            yield tuple(qubit for qubit, _ in string)

    def _strings(self, n_qubits: int) -> Iterator[PauliString]:
        """Yield all correlators in their order."""
        return _strings(n_qubits, self.order, self.bases_read, self.reach)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data, with the class under ``kind``."""
        return {
            "kind": self.kind,
            "order": self.order,
            "bases": self.bases_read,
            "reach": self.reach,
        }


def _signs(counts: Counts, readout: Readout | None) -> Tensor:
    return 1 - 2 * counts.rows.double() if readout is None else readout.true_signs(counts.rows)


def _products(signs: Tensor, weights: Tensor, order: int) -> Tensor:
    """Σ over rows of weight · product of ``order`` columns, for all tuples of columns."""
    if order == 1:
        return weights @ signs
    n_qubits = signs.shape[1]
    if order == 2:
        above = torch.triu_indices(n_qubits, n_qubits, 1)
        return ((weights[:, None] * signs).T @ signs)[above[0], above[1]]
    return torch.cat(
        [
            _products(signs[:, i + 1 :], weights * signs[:, i], order - 1)
            for i in range(n_qubits - order + 1)
        ]
    )


def _weighted_products(signs: Tensor, v: Tensor, order: int) -> Tensor:
    """Of each row Σ over increasing tuples of v · product of the columns."""
    if order == 1:
        return signs @ v
    n_qubits = signs.shape[1]
    if order == 2:
        matrix = torch.zeros(n_qubits, n_qubits, dtype=v.dtype)
        above = torch.triu_indices(n_qubits, n_qubits, 1)
        matrix[above[0], above[1]] = v
        return (signs @ matrix * signs).sum(1)
    total, first = torch.zeros(len(signs), dtype=v.dtype), 0
    for i in range(n_qubits - order + 1):
        size = math.comb(n_qubits - i - 1, order - 1)
        inner = _weighted_products(signs[:, i + 1 :], v[first : first + size], order - 1)
        total, first = total + signs[:, i] * inner, first + size
    return total


def check_bases(bases: str) -> None:
    """Raise where letters are unknown, come twice, or are none.

    Args:
        bases: The letters.

    Raises:
        ValueError: They are not different letters out of ``xyz``.
    """
    letters = set(bases) if isinstance(bases, str) else set()
    if not letters or letters - set("xyz") or len(letters) < len(bases):
        raise ValueError(must_be("bases", "different letters out of 'xyz'", repr(bases)))


def check_reach(order: int, reach: int | None) -> None:
    """Raise where no tuple of qubits is as short as its reach.

    Args:
        order: Qubits of a correlator.
        reach: Largest distance between the first and the last of them; any without.

    Raises:
        TypeError: ``reach`` is not an integer.
        ValueError: ``reach`` is below 1 or below ``order − 1``.
    """
    if reach is not None and positive_int("reach", reach) < order - 1:
        raise ValueError(must_be("reach", f"at least {order - 1} for order {order}", reach))


def n_tuples(n_qubits: int, order: int, reach: int | None = None) -> int:
    """Return the number of increasing tuples of qubits.

    Args:
        n_qubits: Number of qubits.
        order: Qubits of a tuple.
        reach: Largest distance between the first and the last of them; any without.

    Returns:
        C(n_qubits, order), or fewer.

    Example:
        >>> n_tuples(5, 2), n_tuples(5, 2, 1)
        (10, 4)
    """
    if reach is None:
        return math.comb(n_qubits, order)
    lengths = (min(n_qubits - 1 - first, reach) for first in range(n_qubits))
    return sum(math.comb(length, order - 1) for length in lengths)


@functools.lru_cache(maxsize=16)
def tuples_within(n_qubits: int, order: int, reach: int) -> Int[Tensor, " tuples"]:
    """Return the numbers, among all tuples of qubits, of those within a reach.

    Args:
        n_qubits: Number of qubits.
        order: Qubits of a tuple.
        reach: Largest distance between the first and the last of them.

    Returns:
        int64, increasing: tuples are numbered in lexicographic order.

    Example:
        >>> tuples_within(4, 2, 1).tolist()  # (0, 1) (0, 2) (0, 3) (1, 2) (1, 3) (2, 3)
        [0, 3, 5]
    """
    tuples = itertools.combinations(range(n_qubits), order)
    near = [number for number, each in enumerate(tuples) if each[-1] - each[0] <= reach]
    return torch.tensor(near, dtype=torch.int64)


def n_correlators(n_qubits: int, order: int, bases: str, reach: int | None = None) -> int:
    """Return how many correlators of an order there are.

    Args:
        n_qubits: Number of qubits.
        order: Qubits of a correlator.
        bases: Different letters out of ``"xyz"``.
        reach: Largest distance between the first and the last qubit; any without.

    Returns:
        Letters times the number of tuples.

    Raises:
        TypeError: ``order`` or ``reach`` is not an integer.
        ValueError: ``order`` is below 1 or above ``n_qubits``, ``reach`` is below ``order − 1``, or
            a letter is unknown or comes twice.

    Example:
        >>> n_correlators(68, 2, "xyz"), n_correlators(68, 2, "xyz", reach=11)
        (6834, 2046)
    """
    check_bases(bases)
    if positive_int("order", order) > n_qubits:
        raise ValueError(must_be("order", f"at most {n_qubits}, the number of qubits", order))
    check_reach(order, reach)
    return len(bases) * n_tuples(n_qubits, order, reach)


def correlator_terms(
    n_qubits: int, order: int, bases: str, start: int, stop: int, reach: int | None = None
) -> list[PauliSum]:
    """Return the correlators start … stop−1 as sums of one Pauli string each.

    Args:
        n_qubits: Number of qubits.
        order: Qubits of a correlator.
        bases: Different letters out of ``"xyz"``.
        start: First correlator's number.
        stop: One past the last one's.
        reach: Largest distance between the first and the last qubit; any without.

    Returns:
        The strings in the order of the correlators.

    Example:
        >>> correlator_terms(3, 2, "xz", 2, 4)
        [[(1.0, ((1, 'X'), (2, 'X')))], [(1.0, ((0, 'Z'), (1, 'Z')))]]
    """
    strings = _strings(n_qubits, order, bases, reach)
    return [[(1.0, string)] for string in itertools.islice(strings, start, stop)]


def _strings(n_qubits: int, order: int, bases: str, reach: int | None) -> Iterator[PauliString]:
    for letter in bases.upper():
        for qubits in itertools.combinations(range(n_qubits), order):
            if reach is None or qubits[-1] - qubits[0] <= reach:
                yield tuple((qubit, letter) for qubit in qubits)
