"""How many shots a trained network needs: its weights counted again, at more and more of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor

from ..engines import SampledEngine
from ..errors import must_be, positive_int
from ..exchange._imported import gates_of
from ..hybrid import QuantumTrain
from ._step import evaluate

#: Fewer shots than these are not tried.
_FEWEST = 100


class ShotsNeeded(NamedTuple):
    """Shots of each circuit at which a network keeps its accuracy, on a device without noise.

    Attributes:
        shots: Of each circuit: 100, 300, 1,000, 3,000, …
        accuracy: Mean accuracy at these shots, in 0 … 1.
        exact: Accuracy of the exact weights.
    """

    shots: int
    accuracy: float
    exact: float


def shots_needed(
    model: QuantumTrain,
    x: Tensor,
    y: Tensor,
    within: float,
    *,
    draws: int = 3,
    most: int = 1_000_000,
    seed: int = 0,
) -> ShotsNeeded:
    """Return the fewest shots of each circuit at which a network loses little accuracy.

    The counts are drawn from an exact simulator, so that noise is left out.

    Args:
        model: The trained model; its generator is a circuit. It is left as it is.
        x: Inputs to test with.
        y: Their class numbers.
        within: The mean accuracy over the draws may be lower by so many percentage points.
        draws: How often the weights are counted at each number of shots.
        most: Shots of each circuit, at most.
        seed: Seed of the first draw; the others follow.

    Returns:
        The shots, and the accuracies.

    Raises:
        TypeError: ``draws`` or ``most`` is not an integer.
        ValueError: ``within`` is negative, a number is below 1, or no number of shots serves.

    Source:
        Ours.
    """
    if not within >= 0:
        raise ValueError(must_be("within", "a number of at least 0", within))
    generator: Any = model.generator
    own, position = generator.engine, generator.position
    simulator = own.simulator_for(gates_of(generator.circuit))
    try:
        generator.engine = simulator
        exact = accuracy = evaluate(model, x, y)[1]
        for shots in _steps(positive_int("most", most)):
            total = 0.0
            for draw in range(positive_int("draws", draws)):
                generator.engine = SampledEngine(simulator, shots, seed=seed + draw)
                total += evaluate(model, x, y)[1]
            accuracy = total / draws
            if 100 * (exact - accuracy) <= within:
                return ShotsNeeded(shots, accuracy, exact)
    finally:
        generator.engine = own
        generator.position = position
    actual = f"{100 * (exact - accuracy):.2g} points at {most:,} shots"
    hint = "Allow more points, or train to larger values."
    raise ValueError(must_be("within", "reached by shots", f"a loss of {actual}", hint))


def _steps(most: int) -> Iterator[int]:
    shots = _FEWEST
    while shots < most:
        yield shots
        shots = 3 * shots if str(shots)[0] == "1" else 10 * shots // 3
    yield most
