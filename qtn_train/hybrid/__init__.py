"""QuantumTrain: any ``torch.nn.Module`` whose parameters are generated."""

from ._model import PUBLISHED_LAYOUT, Layout, QuantumTrain

__all__ = ["PUBLISHED_LAYOUT", "Layout", "QuantumTrain"]
