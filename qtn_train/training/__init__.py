"""Training: the loop, checkpoints, timing and ONNX export."""

from ._callbacks import (
    BestCheckpoint,
    Callback,
    CSVLog,
    EarlyStopping,
    JSONLinesLog,
    TensorBoard,
    WandB,
)
from ._checkpoint import CHECKPOINT, read_checkpoint, restore_model
from ._config import FitConfig, History
from ._loop import fit
from ._objective import METRICS
from ._onnx import export_onnx
from ._shots import ShotsNeeded, shots_needed
from ._step import evaluate, make_optimizer, training_step
from ._timing import seconds_per_step, step_seconds

__all__ = [
    "CHECKPOINT",
    "METRICS",
    "BestCheckpoint",
    "CSVLog",
    "Callback",
    "EarlyStopping",
    "FitConfig",
    "History",
    "JSONLinesLog",
    "ShotsNeeded",
    "TensorBoard",
    "WandB",
    "evaluate",
    "export_onnx",
    "fit",
    "make_optimizer",
    "read_checkpoint",
    "restore_model",
    "seconds_per_step",
    "shots_needed",
    "step_seconds",
    "training_step",
]
