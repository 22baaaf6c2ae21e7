"""Hold the tests independent of each other: whatever one leaves behind is an error in that test.

``pytest --independent`` registers this file as a plugin. After each test, garbage is collected
while the test can still be blamed: what was never closed (a file, a socket, an event loop) warns
then, and such a warning is an error. The state that tests share must be as it was before.
``--shuffle SEED`` runs the files, and the tests in each of them, in another order.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

#: Categories that mean something was left open, or that an error got lost.
LEAKS = (
    "error::ResourceWarning",
    "error::pytest.PytestUnraisableExceptionWarning",
    "error::pytest.PytestUnhandledThreadExceptionWarning",
)
#: Threads that libraries start once and keep, by the beginning of their names.
KEPT = ("Dask-", "AsyncProcess", "Profile", "pymp", "TCP-Executor", "tqdm_monitor")
#: Variables that libraries set when they are imported, by the beginning of their names.
IMPORTED = ("KMP_", "TORCHINDUCTOR_", "PYTEST_")
SECONDS_TO_END = 10.0


def shuffle(items: list[pytest.Item], seed: int) -> None:
    """Reorder the files and the tests of each in place; a file's tests stay together."""
    rng = random.Random(seed)
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    names = list(files)
    rng.shuffle(names)
    for name in names:
        rng.shuffle(files[name])
    items[:] = [item for name in names for item in files[name]]


def state() -> dict[str, Any]:
    """Describe what the tests of a process share, under one key for each thing."""
    found: dict[str, Any] = {
        f"${name}": value for name, value in os.environ.items() if not name.startswith(IMPORTED)
    }
    found |= {f"handler of {n.name}": signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    found |= {"folder": os.getcwd(), "sys.path": list(sys.path)}
    found |= {"torch's threads": torch.get_num_threads(), "dtype": torch.get_default_dtype()}
    return found | {"gradients": torch.is_grad_enabled()}


def threads() -> set[threading.Thread]:
    """Return the running threads that no library keeps."""
    return {t for t in threading.enumerate() if not t.name.startswith(KEPT)}


def wait_for(condition: Callable[[], bool]) -> None:
    """Give what has been told to end some time to do so."""
    end = time.monotonic() + SECONDS_TO_END
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)


@pytest.fixture(scope="module", autouse=True)
def _collect_only_what_is_new() -> None:
    """Set aside what exists before the tests of a file, so that collecting after each is cheap."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(
    request: pytest.FixtureRequest, _collect_only_what_is_new: None
) -> Iterator[None]:
    """Fail a test that changes what others share; set up first, so it looks last."""
    before, running = state(), threads()
    yield
    if request.node.funcargs:  # values of fixtures, which would live on until the next test
        request.node.funcargs.clear()
    gc.collect()
    wait_for(lambda: threads() <= running)
    assert not threads() - running, "the test left threads running"
    after = state()
    keys = sorted(before.keys() | after.keys())
    changes = {k: (before.get(k), after.get(k)) for k in keys if before.get(k) != after.get(k)}
    assert changes == {}, "the test left this changed (before, after)"
