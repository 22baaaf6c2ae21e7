"""What every test shares: checked shapes, seeded property tests, the folder of the full data."""

import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
from hypothesis import settings

# Before anything imports the package: its annotated shapes and types are checked in the tests.
# As in mypy, an int is a float.
jaxtyping.install_import_hook(
    "qtn_train", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)


def _load_plain(name: str) -> None:
    """Import a module without these checks: numba compiles plain functions only."""
    package = importlib.import_module(name.rpartition(".")[0])
    spec = PathFinder.find_spec(name, package.__path__)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


_load_plain("qtn_train.engines.statevector._kernels")
_load_plain("qtn_train.engines.statevector._layer_kernels")

settings.register_profile(
    "qtn_train", derandomize=True, deadline=None, max_examples=50, database=None
)
settings.load_profile("qtn_train")

_pytest_raises = pytest.raises


@contextmanager
def _raises(*args: Any, **kwargs: Any) -> Iterator[pytest.ExceptionInfo[BaseException]]:
    """Do as pytest.raises; inside, the package's own messages come, not the type checker's."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with _pytest_raises(*args, **kwargs) as caught:
            yield caught
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


pytest.raises = _raises


def pytest_configure(config: pytest.Config) -> None:
    # A background job inherits an ignored Ctrl-C, and some tests send one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Not in pyproject.toml: pytest would import the package before the hook above is in place.
    config.addinivalue_line("filterwarnings", "error::qtn_train.errors.QtnTrainWarning")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder that holds the full image sets, or skip the test."""
    folder = os.environ.get("QTN_TRAIN_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("QTN_TRAIN_DATA names no folder with the full image sets")
    return Path(folder)
