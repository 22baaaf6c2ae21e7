"""Engines: they run circuits, and give probabilities with gradients."""

from __future__ import annotations

from ..measurements._estimators import n_circuits
from ._auto import choose_engine
from ._base import Engine, register_engine
from ._state import State
from .contraction import ContractionEngine, ContractionState
from .counting._base import CountingEngine, EstimatedState, SampledEngine
from .counting._braket import BraketEngine
from .counting._noisy import NoisyEngine
from .counting._recorded import RecordedEngine
from .mps import BatchedMPSState, MPSEngine, MPSState, enable_quimb_gradients
from .statevector._engine import StatevectorEngine, StatevectorState

__all__ = [
    "BatchedMPSState",
    "BraketEngine",
    "ContractionEngine",
    "ContractionState",
    "CountingEngine",
    "Engine",
    "EstimatedState",
    "MPSEngine",
    "MPSState",
    "NoisyEngine",
    "RecordedEngine",
    "SampledEngine",
    "State",
    "StatevectorEngine",
    "StatevectorState",
    "choose_engine",
    "enable_quimb_gradients",
    "n_circuits",
    "register_engine",
]
