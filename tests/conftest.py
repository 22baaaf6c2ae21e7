"""What every test shares: checked shapes, seeded property tests, data and services."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import independent
import jaxtyping
import pytest
from hypothesis import settings

# Before anything imports the package: its annotated shapes and types are checked in the tests.
# As in mypy, an int is a float.
jaxtyping.install_import_hook(
    "qtn_train", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)


#: What runs in an environment of its own, with other modules at hand: doctests are not looked for.
collect_ignore = ["benchmarks/peer.py"]


class _PlainFinder(MetaPathFinder):
    """Find compiled modules without these checks: numba compiles plain functions only."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.startswith("qtn_train.") and fullname.endswith("_kernels"):
            return PathFinder.find_spec(fullname, path, target)
        return None


sys.meta_path.insert(0, _PlainFinder())

settings.register_profile(
    "qtn_train", derandomize=True, deadline=None, max_examples=50, database=None
)
settings.load_profile("qtn_train")

#: Seconds on an idle core from which on a test is to be marked slow.
SLOW = 3.0

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


#: Variables that lead Braket's SDK and boto3 to the stand-in.
_ENDPOINTS = "BRAKET_ENDPOINT AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3 AWS_ENDPOINT_URL_STS".split()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run the tests in another order")
    parser.addoption("--independent", action="store_true", help="fail on what is left behind")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (seed := config.getoption("shuffle")) is not None:
        independent.shuffle(items, seed)
    elif hasattr(config, "workerinput"):
        _longest_first(items)


def _longest_first(items: list[pytest.Item]) -> None:
    """Put the files with most slow tests first: several processes then end at the same time."""
    weights: Counter[Path] = Counter()
    for item in items:
        weights[item.path] += 60 if item.get_closest_marker("slow") else 1
    items.sort(key=lambda item: -weights[item.path])  # stable: files and their order stay whole


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name the tests that took long and are not marked, so that `make check` stays fast."""
    unmarked: dict[str, float] = {}
    for report in terminalreporter.getreports("passed"):
        if "slow" not in report.keywords and not report.nodeid.startswith("qtn_train/"):
            unmarked[report.nodeid] = unmarked.get(report.nodeid, 0.0) + report.duration
    long = {name: seconds for name, seconds in unmarked.items() if seconds > SLOW}
    if long:
        terminalreporter.section(f"over {SLOW:g} s, and not marked slow")
        for name, seconds in sorted(long.items(), key=lambda item: -item[1]):
            terminalreporter.write_line(f"{seconds:.1f}s {name}")


def pytest_configure(config: pytest.Config) -> None:
    empty = [name for name in _ENDPOINTS if os.environ.get(name) == ""]
    if empty:
        text = f"{', '.join(empty)}: set and empty, which means the real Amazon Braket. Unset it."
        pytest.exit(text, returncode=4)
    # A background job inherits an ignored Ctrl-C, and some tests send one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Not in pyproject.toml: pytest would import the package before the hook above is in place.
    config.addinivalue_line("filterwarnings", "error::qtn_train.errors.QtnTrainWarning")
    if config.getoption("independent"):
        config.pluginmanager.register(independent)
        for category in independent.LEAKS:
            config.addinivalue_line("filterwarnings", category)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder that holds the full image sets, or skip the test."""
    folder = os.environ.get("QTN_TRAIN_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("QTN_TRAIN_DATA names no folder with the full image sets")
    return Path(folder)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Start the service and point the SDK and boto3 to it."""
    pytest.importorskip("braket.aws", reason="the braket extra is not installed")
    import boto3
    from braket.tracking import pricing

    from qtn_train.braket.stand_in import BraketService

    with BraketService() as running:
        for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        for name, value in running.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        monkeypatch.setattr(pricing._pricing, "_price_list", [])
        pricing.Pricing.price_search.cache_clear()
        yield running


@pytest.fixture(scope="session")
def _dask() -> Iterator[str]:
    """The address of a Dask scheduler with two workers, which are threads of this process."""
    from distributed import LocalCluster

    from qtn_train.studies import _runner

    with (
        _runner._event_loop() as loop,
        LocalCluster(
            loop=loop,
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            protocol="tcp",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture
def scheduler(_dask: str, torch_threads: None) -> str:
    """The same, with torch's threads as before afterwards: workers compute with one."""
    return _dask


@pytest.fixture
def torch_threads() -> Iterator[None]:
    """Let a test set torch's number of threads."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def quick_runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs on one thread, without pictures, timed by one step; threads as before afterwards."""
    import forked
    import torch

    from qtn_train import plots
    from qtn_train.training import _timing

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(_timing, "_STEPS", 1)
    monkeypatch.setattr(plots, "curves", forked.no_curves)
    monkeypatch.setattr(plots, "save", forked.save)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run `qtn-train` in this process, in ``tmp_path``: exit status, standard output and error."""
    from qtn_train.cli._app import main

    monkeypatch.chdir(tmp_path)

    def call(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["qtn-train", *argv])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        return status, *capsys.readouterr()

    return call
