"""Recipes: what a run is, and which network learns which data set."""

from ._options import (
    LOWEST_FIDELITY,
    MAX_LAYERS,
    MAX_QUBITS,
    MAX_SIZE,
    SETTINGS,
    RunOptions,
    check_size,
)
from ._settings import Setting, check_keys
from ._targets import ImageCNN, mlp, target_for

__all__ = [
    "LOWEST_FIDELITY",
    "MAX_LAYERS",
    "MAX_QUBITS",
    "MAX_SIZE",
    "SETTINGS",
    "ImageCNN",
    "RunOptions",
    "Setting",
    "check_keys",
    "check_size",
    "mlp",
    "target_for",
]
