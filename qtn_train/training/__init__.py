"""Training: the loop, checkpoints, timing and ONNX export."""

from ._checkpoint import CHECKPOINT, read_checkpoint, restore_model
from ._config import FitConfig, History
from ._loop import evaluate, fit, make_optimizer, training_step
from ._onnx import export_onnx
from ._timing import seconds_per_step, step_seconds

__all__ = [
    "CHECKPOINT",
    "FitConfig",
    "History",
    "evaluate",
    "export_onnx",
    "fit",
    "make_optimizer",
    "read_checkpoint",
    "restore_model",
    "seconds_per_step",
    "step_seconds",
    "training_step",
]
