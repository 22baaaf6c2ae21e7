"""The engine of contractions."""

from ._engine import ContractionEngine
from ._state import ContractionState

__all__ = ["ContractionEngine", "ContractionState"]
