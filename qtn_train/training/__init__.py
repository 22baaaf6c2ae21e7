"""Training: the loop, checkpoints, and recipes for the data sets at hand."""

from ._checkpoint import CHECKPOINT, read_checkpoint, restore_model
from ._config import FitConfig, History
from ._loop import evaluate, fit, make_optimizer, training_step
from ._onnx import export_onnx
from ._recipes import ImageCNN, build_model, default_circuit, fit_config, mlp, target_for
from ._timing import seconds_per_step, step_seconds

__all__ = [
    "CHECKPOINT",
    "FitConfig",
    "History",
    "ImageCNN",
    "build_model",
    "default_circuit",
    "evaluate",
    "export_onnx",
    "fit",
    "fit_config",
    "make_optimizer",
    "mlp",
    "read_checkpoint",
    "restore_model",
    "seconds_per_step",
    "step_seconds",
    "target_for",
    "training_step",
]
