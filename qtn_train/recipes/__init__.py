"""Recipes: what a run is, and which network learns which data set."""

from ._checks import MAX_SIZE, check_size
from ._engines import LOWEST_FIDELITY
from ._estimate import TrainingTime, estimate_time
from ._options import MAX_LAYERS, MAX_QUBITS, SETTINGS, RunOptions
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
    "TrainingTime",
    "check_keys",
    "check_size",
    "estimate_time",
    "mlp",
    "target_for",
]
