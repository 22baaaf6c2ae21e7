"""Programs, which go to whatever executes circuits, and counts, which come back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ..circuits import Circuit
from ..errors import must_be

# Bits of an outcome that are one int64 number; a range of outcomes touches at most two numbers of
# those above.
_LOW_BITS = 31
# More bits than this are no int64.
_INT64_BITS = 63


@dataclass(frozen=True, eq=False)
class Program:
    """One circuit to execute at several vectors of angles.

    Attributes:
        circuit: The circuit.
        angles: Its angles in radians, one row for each execution; float64 on the CPU.
    """

    circuit: Circuit
    angles: Float[Tensor, "batch n_angles"]


@dataclass(frozen=True, eq=False)
class Counts:
    """The bit strings that one execution of a circuit gave; those that never came are left out.

    Attributes:
        rows: Distinct bit strings, in the order of their numbers, uint8 on the CPU; qubit 0 stands
            first, and is the most significant bit.
        counts: How often each came, int64; or probabilities, float64, where shots are not counted.
    """

    rows: UInt8[Tensor, "seen n_qubits"]
    counts: Tensor

    @classmethod
    def of(cls, drawn: UInt8[Tensor, "shots n_qubits"]) -> Counts:
        """Count drawn bit strings.

        Args:
            drawn: One bit string for each shot.

        Returns:
            The counts.

        Example:
            >>> drawn = torch.tensor([[1, 1], [0, 0], [1, 1]], dtype=torch.uint8)
            >>> Counts.of(drawn).counts.tolist()
            [1, 2]
        """
        return cls.added(drawn, torch.ones(len(drawn), dtype=torch.int64))

    @classmethod
    def added(cls, rows: UInt8[Tensor, "given n_qubits"], counts: Tensor) -> Counts:
        """Add up the counts of equal bit strings.

        Args:
            rows: Bit strings, in any order; they may be equal.
            counts: How often each came.

        Returns:
            The counts.
        """
        packed = np.packbits(rows.numpy(), axis=1)
        keys = np.ascontiguousarray(packed).view([("", f"V{packed.shape[1]}")]).reshape(-1)
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        totals = torch.zeros(len(first), dtype=counts.dtype)
        totals.index_add_(0, torch.from_numpy(inverse.reshape(-1)), counts)
        return cls(rows[torch.from_numpy(first)], totals)

    @classmethod
    def of_outcomes(cls, outcomes: Int[Tensor, " seen"], counts: Tensor, n_qubits: int) -> Counts:
        """Return the counts of outcome numbers.

        Args:
            outcomes: Distinct outcome numbers in order, int64.
            counts: How often each came, or its probability.
            n_qubits: Number of qubits, at most 63.

        Returns:
            The counts.

        Example:
            >>> Counts.of_outcomes(torch.tensor([0, 3]), torch.tensor([5, 7]), 2).rows.tolist()
            [[0, 0], [1, 1]]
        """
        return cls(bits_of(outcomes, n_qubits), counts)

    @classmethod
    def exact(cls, probs: Float[Tensor, " outcomes"]) -> Counts:
        """Return probabilities in place of counts.

        Args:
            probs: The probabilities of all outcomes, float64.

        Returns:
            All bit strings, with their probabilities.
        """
        return cls(_all_rows(len(probs).bit_length() - 1), probs)

    @property
    def n_qubits(self) -> int:
        """Number of qubits."""
        return self.rows.shape[1]

    @cached_property
    def outcomes(self) -> Int[Tensor, " seen"]:
        """The numbers of the bit strings, int64, in order; for at most 63 qubits."""
        if self.n_qubits > _INT64_BITS:
            expected = f"at most {_INT64_BITS} for outcome numbers in int64"
            raise ValueError(must_be("n_qubits", expected, self.n_qubits, "Read `rows` instead."))
        return _numbers(self.rows)

    @property
    def shots(self) -> int:
        """Number of shots; 0 where the counts are probabilities."""
        return 0 if self.counts.is_floating_point() else int(self.counts.sum())

    @property
    def frequencies(self) -> Float[Tensor, " seen"]:
        """Relative frequency of each bit string that came, float64."""
        return self.counts.double() / self.counts.sum()

    def dense(self, start: int, stop: int) -> Float[Tensor, " outcomes"]:
        """Return the relative frequencies of the outcomes start … stop−1, float64.

        Args:
            start: First outcome number.
            stop: One past the last outcome number, at most 2**31 later.

        Returns:
            0 for what never came.
        """
        inside, offsets = self._between(start, stop)
        out = torch.zeros(stop - start, dtype=torch.float64)
        out[offsets] = self.frequencies[inside]
        return out

    def mean(self, values: Float[Tensor, " outcomes"], start: int = 0) -> float:
        """Return the mean over the shots of a function of the outcome.

        Args:
            values: The function's values at the outcomes start …, float64 on the CPU; it is 0 at
                the others.
            start: Number of the first of these outcomes.

        Returns:
            The mean.

        Example:
            >>> counts = Counts.of_outcomes(torch.tensor([0, 1, 3]), torch.tensor([1, 1, 2]), 2)
            >>> counts.mean(torch.tensor([1.0, 2.0]).double())
            0.75
        """
        inside, offsets = self._between(start, start + len(values))
        return float(self.frequencies[inside] @ values[offsets])

    def _between(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return which bit strings lie in a range of outcomes, and the distances from ``start``."""
        if self.n_qubits < _INT64_BITS:
            inside = (self.outcomes >= start) & (self.outcomes < stop)
            return inside, self.outcomes[inside] - start
        high, low = self.rows[:, :-_LOW_BITS], _numbers(self.rows[:, -_LOW_BITS:])
        inside = torch.zeros(len(low), dtype=torch.bool)
        offsets = torch.zeros(len(low), dtype=torch.int64)
        for block in {start >> _LOW_BITS, (stop - 1) >> _LOW_BITS}:
            behind = low + ((block << _LOW_BITS) - start)
            here = (high == _row_of(block, high.shape[1])).all(1)
            here &= (behind >= 0) & (behind < stop - start)
            inside, offsets = inside | here, torch.where(here, behind, offsets)
        return inside, offsets[inside]


def bits_of(outcomes: Int[Tensor, " rows"], n_qubits: int) -> UInt8[Tensor, "rows n_qubits"]:
    """Return the bits of outcome numbers, qubit 0 first.

    Args:
        outcomes: int64 numbers.
        n_qubits: Number of bits, at most 63.

    Returns:
        uint8 bits.

    Example:
        >>> bits_of(torch.tensor([1, 2]), 2).tolist()
        [[0, 1], [1, 0]]
    """
    shifts = torch.arange(n_qubits - 1, -1, -1)
    return ((outcomes[:, None] >> shifts) & 1).to(torch.uint8)


def _numbers(rows: Tensor) -> Tensor:
    """Return the outcome numbers of rows of at most 63 bits, the first bit most significant."""
    numbers = torch.zeros(len(rows), dtype=torch.int64)
    for bit in rows.unbind(1):
        numbers = 2 * numbers + bit
    return numbers


def _row_of(number: int, n_bits: int) -> Tensor:
    """Return the bits of one number of any size."""
    return torch.tensor([(number >> i) & 1 for i in range(n_bits - 1, -1, -1)], dtype=torch.uint8)


@lru_cache(maxsize=4)
def _all_rows(n_qubits: int) -> Tensor:
    return bits_of(torch.arange(2**n_qubits), n_qubits)
