"""QuantumTrain: any ``torch.nn.Module`` whose parameters are generated."""

from ._layout import PUBLISHED_LAYOUT, Layout
from ._model import QuantumTrain

__all__ = ["PUBLISHED_LAYOUT", "Layout", "QuantumTrain"]
