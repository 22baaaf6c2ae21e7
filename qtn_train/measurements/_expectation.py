"""Expectation values of sums of Pauli strings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import must_be
from ._base import MEASUREMENTS, Measurement, Readable
from ._pauli import Terms, as_strings, commuting_groups, letters, parse_terms


@final
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
        """√Σc² of each sum: the deviation of a sum of independent values of the order of 1."""
        sums = [parse_terms(each, n_qubits) for each in self.terms[start:stop]]
        sizes = [math.hypot(*(coefficient for coefficient, _ in each)) for each in sums]
        return torch.tensor([size or 1.0 for size in sizes], dtype=torch.float64)

    def bases(self, n_qubits: int) -> tuple[str, ...]:
        """Return one basis for each group of strings that commute qubit by qubit."""
        sums = [parse_terms(each, n_qubits) for each in self.terms]
        strings = [string for each in sums for _, string in each]
        return tuple(letters(basis, n_qubits, "Z") for basis in commuting_groups(strings))

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data, with the class under ``kind``."""
        return {"kind": self.kind, "terms": [dict(each) for each in self.terms]}


MEASUREMENTS.add(Expectation)
