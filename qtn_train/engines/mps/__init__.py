"""The engine of matrix product states."""

from ._engine import MPSEngine
from ._quimb import register_quimb_driver
from ._state import MPSState

__all__ = ["MPSEngine", "MPSState", "register_quimb_driver"]
