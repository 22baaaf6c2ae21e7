"""Loaded by Dask in each worker process that a study starts."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C to the process that runs the study: the terminal sends it to all of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
