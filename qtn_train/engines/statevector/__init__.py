"""The exact engine on all 2**N amplitudes."""

from ._engine import StatevectorEngine, StatevectorState, memory_bytes

__all__ = ["StatevectorEngine", "StatevectorState", "memory_bytes"]
