"""Expectation values of sums of Pauli strings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import must_be
from ._base import Cotangent, Functional, Measurement, Readable, register_measurement
from ._counts import Counts
from ._pauli import (
    PauliString,
    Terms,
    as_strings,
    coefficients,
    commuting_groups,
    letters,
    parse_terms,
)
from ._readout import Readout


@final
@register_measurement
class Expectation(Measurement):
    """Expectation values of sums of Pauli strings, one value for each sum.

    Args:
        terms: One sum of Pauli strings, or a list of them: each a string such as ``"ZZI"`` or
            ``"Z0 Z1"``, a mapping from such strings to their coefficients, or a mapping from tuples
            of qubits to letters, ``{(0, 1): "ZZ"}``.

    Attributes:
        terms: For each sum its strings with their coefficients.

    Raises:
        TypeError: Another type of terms, or a coefficient that is not a real number.
        ValueError: An empty list, or an empty sum.

    Source:
        Ours.

    Example:
        >>> from qtn_train.circuits import Circuit
        >>> from qtn_train.engines import StatevectorEngine
        >>> reads = Expectation([{"ZZ": 3.0, "XX": 4.0}, "Z0"])
        >>> bell = Circuit.builder(2).h(0).cx(0, 1).build()
        >>> state = StatevectorEngine().prepare(bell, torch.zeros(0), reads)
        >>> [round(float(mean), 4) for mean in state.expectations(reads.terms)]
        [7.0, 0.0]
        >>> [round(float(value), 4) for value in reads.values(state, 0, 2)]
        [1.4, 0.0]
    """

    kind: ClassVar[str] = "expectation"

    def __init__(self, terms: Terms | Iterable[Terms]) -> None:
        if isinstance(terms, str | Mapping):
            terms = [terms]
        if not isinstance(terms, Iterable):
            expected = "a sum of Pauli strings, or a list of them"
            raise TypeError(must_be("terms", expected, repr(terms)))
        self.terms = [as_strings(each) for each in terms]
        self._grouped: dict[int, list[_Group]] = {}
        if not self.terms:
            raise ValueError(must_be("terms", "one sum of Pauli strings at least", "an empty list"))

    def check(self, n_qubits: int) -> None:
        """Raise where a string does not fit ``n_qubits`` qubits.

        Args:
            n_qubits: Number of qubits.

        Raises:
            ValueError: A string that cannot be read.
        """
        for each in self.terms:
            parse_terms(each, n_qubits)

    def n_values(self, n_qubits: int) -> int:
        """Return the number of sums, whatever the number of qubits."""
        return len(self.terms)

    def values(self, state: Readable, start: int, stop: int) -> Float[Tensor, "... values"]:
        """Return the expectation values start … stop−1, each over √Σc² of its coefficients.

        Args:
            state: The state.
            start: First sum's number, at least 0.
            stop: One past the last sum's number.

        Returns:
            Floats of the order of 1, differentiable where the state is.
        """
        means = state.expectations(self._between(start, stop))
        return means / self._sizes(state.n_qubits, start, stop).to(means)

    def standard_error(self, state: Readable, start: int, stop: int) -> Float[Tensor, "... values"]:
        """Return the standard errors of the values start … stop−1, by the shots behind them.

        Args:
            state: The state.
            start: First sum's number, at least 0.
            stop: One past the last sum's number.

        Returns:
            Non-negative floats without gradient; zeros on an exact state.
        """
        self._between(start, stop)
        errors = state.standard_errors(start, stop)
        return errors / self._sizes(state.n_qubits, start, stop).to(errors)

    def _between(self, start: int, stop: int) -> Sequence[Terms]:
        if not 0 <= start < stop <= len(self.terms):
            expected = f"0 <= start < stop <= {len(self.terms)}"
            raise ValueError(must_be("start, stop", expected, (start, stop)))
        return self.terms[start:stop]

    def _sizes(self, n_qubits: int, start: int, stop: int) -> Tensor:
        """Return √Σc² of each sum: the deviation of a sum of independent values about 1."""
        sums = [parse_terms(each, n_qubits) for each in self.terms[start:stop]]
        sizes = [math.hypot(*(coefficient for coefficient, _ in each)) for each in sums]
        return torch.tensor([size or 1.0 for size in sizes], dtype=torch.float64)

    def estimates(
        self, counts: Sequence[Counts], start: int, stop: int, readout: Readout | None = None
    ) -> Float[Tensor, " values"]:
        """Return the expectation values start … stop−1, by the means of products of signs.

        Args:
            counts: Of the program of each group.
            start: First sum's number, at least 0.
            stop: One past the last sum's number.
            readout: The confusion matrices: then signs are corrected column by column.

        Returns:
            float64 on the CPU.
        """
        total = torch.zeros(stop - start, dtype=torch.float64)
        for group, seen in zip(self._groups(counts[0].n_qubits), counts, strict=True):
            total += group.coefficients[start:stop] @ (
                seen.frequencies @ group.values(seen, readout)
            )
        return total

    def errors(
        self, counts: Sequence[Counts], start: int, stop: int, readout: Readout | None = None
    ) -> Float[Tensor, " values"]:
        """Return the standard errors of the expectation values start … stop−1.

        Each shot of a group gives one value of its part of the sum, so that covariances of the
        strings are in it; groups are independent.

        Args:
            counts: Of the program of each group, as read.
            start: First sum's number, at least 0.
            stop: One past the last sum's number.
            readout: The confusion matrices: then the error is that of the corrected values.

        Returns:
            float64 on the CPU; zeros where the counts are probabilities, infinity for one shot.
        """
        variance = torch.zeros(stop - start, dtype=torch.float64)
        for group, seen in zip(self._groups(counts[0].n_qubits), counts, strict=True):
            if seen.shots:
                each = group.values(seen, readout) @ group.coefficients[start:stop].T
                spread = seen.frequencies @ (each - seen.frequencies @ each).square()
                free = seen.shots - 1
                variance += spread / free if free else torch.full_like(spread, math.inf)
        return variance.sqrt()

    def functionals(
        self, n_qubits: int, cotangents: Sequence[Cotangent], readout: Readout | None = None
    ) -> list[Functional]:
        """Return, for each group, the mean over its shots of its part of Σₖ vₖ · sum k.

        Args:
            n_qubits: Number of qubits.
            cotangents: v, in pieces, each with the number of its first sum.
            readout: The confusion matrices: then signs are corrected column by column.

        Returns:
            One function of counts for each group.
        """
        v = torch.zeros(len(self.terms), dtype=torch.float64)
        for start, values in cotangents:
            v[start : start + len(values)] += values

        def of(group: _Group) -> Functional:
            weights = v @ group.coefficients
            return lambda counts: float(
                counts.frequencies @ (group.values(counts, readout) @ weights)
            )

        return [of(group) for group in self._groups(n_qubits)]

    def bases(self, n_qubits: int) -> tuple[str, ...]:
        """Return one basis for each group of strings that commute qubit by qubit."""
        return tuple(letters(group.basis, n_qubits, "Z") for group in self._groups(n_qubits))

    def supports(self, n_qubits: int) -> Iterator[tuple[int, ...]]:
        """Yield the qubits of each sum.

        Args:
            n_qubits: Number of qubits.
        """
        for each in self.terms:
            sums = parse_terms(each, n_qubits)
            yield tuple(sorted({qubit for _, string in sums for qubit, _ in string}))

    def _groups(self, n_qubits: int) -> list[_Group]:
        """Return for each circuit the strings it measures, with their coefficients in each sum."""
        if n_qubits not in self._grouped:
            sums = [coefficients(parse_terms(each, n_qubits)) for each in self.terms]
            strings = commuting_groups(string for each in sums for string in each)
            self._grouped[n_qubits] = [
                _Group(
                    basis,
                    members,
                    torch.tensor(
                        [[each.get(string, 0.0) for string in members] for each in sums],
                        dtype=torch.float64,
                    ),
                )
                for basis, members in strings.items()
            ]
        return self._grouped[n_qubits]

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data, with the class under ``kind``."""
        return {"kind": self.kind, "terms": [dict(each) for each in self.terms]}


@dataclass(frozen=True, eq=False)
class _Group:
    """Strings that one circuit measures.

    Attributes:
        basis: The letters of all of them together.
        strings: The strings.
        coefficients: Of each string in each sum, ``(sums, strings)``, float64.
    """

    basis: PauliString
    strings: list[PauliString]
    coefficients: Float[Tensor, "sums strings"]

    def values(self, counts: Counts, readout: Readout | None) -> Float[Tensor, "seen strings"]:
        """Return each string's value for each bit string: a product of signs."""
        signs = 1 - 2 * counts.rows.double() if readout is None else readout.true_signs(counts.rows)
        columns = [signs[:, [qubit for qubit, _ in string]].prod(1) for string in self.strings]
        return torch.stack(columns, 1)
