"""Engines that count shots: sampled, noisy, on Amazon Braket, and read from a journal."""

from ._base import CountingEngine, EstimatedState, SampledEngine
from ._braket import BraketEngine
from ._noisy import NoisyEngine
from ._recorded import RecordedEngine

__all__ = [
    "BraketEngine",
    "CountingEngine",
    "EstimatedState",
    "NoisyEngine",
    "RecordedEngine",
    "SampledEngine",
]
