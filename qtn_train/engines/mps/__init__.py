"""The engine of matrix product states."""

from ._batch import BatchedMPSState
from ._engine import MPSEngine
from ._quimb import enable_quimb_gradients
from ._state import MPSState

__all__ = ["BatchedMPSState", "MPSEngine", "MPSState", "enable_quimb_gradients"]
