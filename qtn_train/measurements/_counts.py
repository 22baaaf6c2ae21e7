"""What goes to whatever executes circuits, and what comes back: programs and counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..circuits import Circuit


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
    """What one execution of a circuit gave; outcomes that never came are left out.

    Attributes:
        outcomes: Outcome numbers, sorted and distinct, int64 on the CPU; qubit 0 is the most
            significant bit.
        counts: How often each came, int64; or probabilities, float64, where shots are not counted.
    """

    outcomes: Int[Tensor, " seen"]
    counts: Tensor

    @classmethod
    def of(cls, drawn: Int[Tensor, " shots"]) -> Counts:
        """Count drawn outcome numbers.

        Args:
            drawn: One outcome number for each shot.

        Returns:
            The counts.

        Example:
            >>> Counts.of(torch.tensor([3, 0, 3])).counts.tolist()
            [1, 2]
        """
        return cls(*torch.unique(drawn, return_counts=True))

    @property
    def shots(self) -> int:
        """Number of shots; 0 where the counts are probabilities."""
        return 0 if self.counts.is_floating_point() else int(self.counts.sum())

    @property
    def frequencies(self) -> Float[Tensor, " seen"]:
        """Relative frequency of each outcome that came, float64."""
        return self.counts.double() / self.counts.sum()

    def dense(self, start: int, stop: int) -> Float[Tensor, " outcomes"]:
        """Return the relative frequencies of the outcomes start … stop−1, float64.

        Args:
            start: First outcome number.
            stop: One past the last outcome number.

        Returns:
            0 for what never came.
        """
        inside = (self.outcomes >= start) & (self.outcomes < stop)
        out = torch.zeros(stop - start, dtype=torch.float64)
        out[self.outcomes[inside] - start] = self.frequencies[inside]
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
            >>> Counts.of(torch.tensor([3, 0, 3, 1])).mean(torch.tensor([1.0, 2.0]).double())
            0.75
        """
        inside = (self.outcomes >= start) & (self.outcomes < start + len(values))
        return float(self.frequencies[inside] @ values[self.outcomes[inside] - start])
