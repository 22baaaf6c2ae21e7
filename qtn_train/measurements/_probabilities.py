"""Probabilities of outcomes as numbers of the order of 1.

amplitude:  √(z + 0.0001), less its mean, over its deviation, for a random state    z = 2^N·p
published:  (β·tanh(γ·2^(N−1)·p))^α, less its mean over the values read
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from .._range import times_power_of_two
from ..errors import must_be
from ._base import Cotangent, Functional, Measurement, Readable, register_measurement
from ._counts import Counts
from ._readout import Readout, check_size

Feature = Literal["amplitude", "published"]

# For a random state z = 2^N·p is exponentially distributed (Porter–Thomas). With this floor under
# the root, √(z + FLOOR) has these two moments; a test integrates them.
FLOOR = 1e-4
MEAN, STD = 0.886315, 0.463191

# Published constants (arXiv 2402.16465); the clamp keeps the gradient of x^0.3 finite at p = 0.
_ALPHA, _BETA, _GAMMA, _CLAMP = 0.3, 0.8, 0.1, 1e-12


@final
@register_measurement
class Probabilities(Measurement):
    """The probabilities of the outcomes, measured in the Z basis by one circuit.

    Args:
        feature: ``"amplitude"``: √(2^N·p + 0.0001), standardized with the constants of a random
            state, so that values stay independent of each other; its gradient is bounded however
            small p is, and finite at 0. ``"published"``: (β·tanh(γ·2^(N−1)·p))^α less its mean over
            all values, which must be read in one call.

    Raises:
        ValueError: An unknown ``feature``.

    Source:
        ``"published"``: arXiv 2402.16465; ``"amplitude"`` is ours.

    Example:
        >>> from qtn_train.circuits import Circuit
        >>> from qtn_train.engines import StatevectorEngine
        >>> reads = Probabilities()
        >>> bell = Circuit.builder(2).h(0).cx(0, 1).build()
        >>> state = StatevectorEngine().prepare(bell, torch.zeros(0), reads)
        >>> [round(float(value), 2) for value in reads.values(state, 0, reads.n_values(2))]
        [1.14, -1.89, -1.89, 1.14]
    """

    kind: ClassVar[str] = "probabilities"

    def __init__(self, feature: Feature = "amplitude") -> None:
        if feature not in ("amplitude", "published"):
            raise ValueError(must_be("feature", "'amplitude' or 'published'", repr(feature)))
        self.feature: Feature = feature

    @property
    def needs_all_values(self) -> bool:
        """Whether the mean over all values is taken: with the published feature."""
        return self.feature == "published"

    def n_values(self, n_qubits: int) -> int:
        """Return 2**n_qubits, the number of outcomes."""
        return int(2**n_qubits)

    def values(self, state: Readable, start: int, stop: int) -> Float[Tensor, "... values"]:
        """Return the features of the outcomes start … stop−1.

        Args:
            state: The state.
            start: First outcome number, at least 0.
            stop: One past the last outcome number, at most 2**n_qubits.

        Returns:
            Floats of the order of 1, differentiable where the state is.
        """
        return self.standardized(state.scaled_probs(start, stop), state.n_qubits)

    def standardized(
        self, scaled: Float[Tensor, "... values"], n_qubits: int
    ) -> Float[Tensor, "... values"]:
        """Return the features of given probabilities.

        Args:
            scaled: 2^N times the probabilities.
            n_qubits: N.

        Returns:
            Floats of the order of 1.
        """
        value = self._feature(scaled, n_qubits)
        return value - value.mean(-1, keepdim=True) if self.needs_all_values else value

    def _feature(self, scaled: Tensor, n_qubits: int) -> Tensor:
        if self.feature == "amplitude":
            return (torch.sqrt(scaled + FLOOR) - MEAN) / STD
        # p ≥ 10⁻¹²; from 2^140·10⁻¹² on, tanh is 1 whatever p is.
        least = math.ldexp(_CLAMP, min(n_qubits, 140))
        return (_BETA * torch.tanh(_GAMMA / 2 * scaled.clamp(min=least))) ** _ALPHA

    def standard_error(self, state: Readable, start: int, stop: int) -> Float[Tensor, "... values"]:
        """Return half the spread of the feature between p ± its standard error.

        Args:
            state: The state.
            start: First outcome number, at least 0.
            stop: One past the last outcome number, at most 2**n_qubits.

        Returns:
            Non-negative floats without gradient; zeros on an exact state.
        """
        with torch.no_grad():
            scaled, error = (
                state.scaled_probs(start, stop),
                times_power_of_two(state.standard_errors(start, stop), state.n_qubits),
            )
            ends = (scaled - error).clamp_min(0), scaled + error
            low, high = (self._feature(end, state.n_qubits) for end in ends)
            return (high - low) / 2

    def estimates(
        self, counts: Sequence[Counts], start: int, stop: int, readout: Readout | None = None
    ) -> Float[Tensor, " values"]:
        """Return the relative frequencies of the outcomes start … stop−1, not smoothed.

        Args:
            counts: Of one program; with readout mitigation the corrected distribution.
            start: First outcome number, at least 0.
            stop: One past the last outcome number.
            readout: Not needed.

        Returns:
            float64 on the CPU.
        """
        return counts[0].dense(start, stop)

    def errors(
        self, counts: Sequence[Counts], start: int, stop: int, readout: Readout | None = None
    ) -> Float[Tensor, " values"]:
        """Return the binomial standard errors of the outcomes start … stop−1.

        Half a count is added to each outcome's, so that one that never came has an error too.

        Args:
            counts: Of one program, as read.
            start: First outcome number, at least 0.
            stop: One past the last outcome number.
            readout: The confusion matrices: then the error is that of the inverted frequencies.

        Returns:
            float64 on the CPU; zeros where the counts are probabilities.
        """
        (read,), shots = counts, counts[0].shots
        if not shots:
            return torch.zeros(stop - start, dtype=torch.float64)
        if readout is not None:
            variance = readout.variance_of_inverse(read.dense(0, 2**read.n_qubits))
            return (variance[start:stop] / shots).sqrt()
        share = (shots * read.dense(start, stop) + 0.5) / (shots + 1)
        return (share * (1 - share) / shots).sqrt()

    def functionals(
        self, n_qubits: int, cotangents: Sequence[Cotangent], readout: Readout | None = None
    ) -> list[Functional]:
        """Return the mean of v over the outcomes of a circuit's shots.

        Args:
            n_qubits: Number of qubits.
            cotangents: v, in pieces, each with the number of its first outcome.
            readout: The confusion matrices: then the mean over the inverted frequencies.

        Returns:
            One function of counts.
        """
        pieces = list(cotangents)
        if readout is not None:
            dense = torch.zeros(2**n_qubits, dtype=torch.float64)
            for start, values in cotangents:
                dense[start : start + len(values)] += values
            pieces = [(0, readout.pull_back(dense))]
        return [lambda counts: math.fsum(counts.mean(values, start) for start, values in pieces)]

    def mitigated(self, counts: Sequence[Counts], readout: Readout) -> list[Counts]:
        """Return the distribution that is nearest to the inverted frequencies.

        Args:
            counts: Of one program.
            readout: The confusion matrices.

        Returns:
            Probabilities in place of counts.
        """
        return [readout.corrected(counts[0])]

    def check_mitigation(self, n_qubits: int) -> None:
        """Raise where the whole distribution is too large to be inverted.

        Args:
            n_qubits: Number of qubits.

        Raises:
            UnsupportedByEngine: More than 20 qubits.
        """
        check_size(n_qubits)

    def bases(self, n_qubits: int) -> tuple[str, ...]:
        """Return the one basis: Z on every qubit."""
        return ("Z" * n_qubits,)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data, with the class under ``kind``."""
        return {"kind": self.kind, "feature": self.feature}
