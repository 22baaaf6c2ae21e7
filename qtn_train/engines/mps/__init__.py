"""The engine of matrix product states."""

from ._engine import MPSEngine
from ._quimb import enable_quimb_gradients
from ._state import MPSState

__all__ = ["MPSEngine", "MPSState", "enable_quimb_gradients"]
