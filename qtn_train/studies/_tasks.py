"""One task, as a worker runs it: settings in, a row of the results out. Never raises."""

from __future__ import annotations

import platform
import socket
import time
import warnings
from typing import Any

from ..errors import TruncationWarning
from ._format import Task
from ._measures import MEASURES, Measure

#: Packages whose version stands in every row.
_PACKAGES = ("qtn_train", "torch", "numpy", "quimb")
_LONGEST_ERROR = 2000

#: Columns that are not part of the result: they differ from run to run.
CIRCUMSTANCES = ("seconds", "host")


def columns(measure: Measure) -> dict[str, type]:
    """Return name and type of every column of a measure's results, in order."""
    return {
        "task": str,
        "measure": str,
        **{name: setting.kind for name, setting in measure.settings.items()},
        "repeat": int,
        "seed": int,
        **measure.values,
        "status": str,
        "error": str,
        "seconds": float,
        "host": str,
        "version_python": str,
        **{f"version_{name}": str for name in _PACKAGES},
    }


def run_task(task: Task) -> dict[str, Any]:
    """Run a task on one thread.

    Args:
        task: The task.

    Returns:
        Its row; where it raised, with the status ``"failed"`` and the error.
    """
    import torch

    # The workers take the cores: more threads would only stand in each other's way, and the same
    # number everywhere gives the same bits everywhere.
    torch.set_num_threads(1)
    began = time.perf_counter()
    try:
        with warnings.catch_warnings():
            # A row holds what was cut off; many of them measure just that.
            warnings.simplefilter("ignore", TruncationWarning)
            values = MEASURES[task.measure].run(task.settings, task.seed)
        row = {**values, "status": "done", "error": None}
    except Exception as error:
        row = failure(f"{type(error).__name__}: {error}")
    row |= {"seconds": time.perf_counter() - began, "host": socket.gethostname()}
    return identity(task) | row | _versions()


def identity(task: Task) -> dict[str, Any]:
    """Return the columns that identify a row's task."""
    own = {"task": task.id, "measure": task.measure, "repeat": task.repeat, "seed": task.seed}
    return own | task.settings


def failure(error: str) -> dict[str, Any]:
    """Return the columns of a failed task: the error in place of values."""
    return {"status": "failed", "error": " ".join(error.split())[:_LONGEST_ERROR]}


def _versions() -> dict[str, str]:
    from importlib import metadata

    versions = {f"version_{name}": metadata.version(name) for name in _PACKAGES}
    return {"version_python": platform.python_version()} | versions
