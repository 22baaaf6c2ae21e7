"""The engine of matrix product states."""

from ._engine import MPSEngine, MPSState, register_quimb_driver

__all__ = ["MPSEngine", "MPSState", "register_quimb_driver"]
