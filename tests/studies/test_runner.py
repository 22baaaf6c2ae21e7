"""Studies on Dask: only what is missing runs, failures are recorded, and kills lose nothing."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qtn_train.errors import RunError
from qtn_train.studies import MEASURES, _runner, parse_study, read_results, run_study
from qtn_train.studies._tasks import run_task
from tests.studies import kills

TEXT = 'study = {measure = "entropy", repeats = 2}\ngrid = {n_qubits = [4, 5, 6], n_layers = 1}'
STUDY = parse_study(TEXT)


def run(out: Path, scheduler: str, **options: Any) -> dict[str, int]:
    return run_study(STUDY, out, scheduler=scheduler, progress_bar=False, **options)


def test_only_what_is_missing_runs(scheduler: str, tmp_path: Path) -> None:
    everything = {"total": 6, "done": 6, "failed": 0, "missing": 0}
    assert run(tmp_path, scheduler) == everything
    whole = read_results(tmp_path)
    parts = sorted((tmp_path / "results").iterdir())
    parts[0].unlink()
    left = read_results(tmp_path)
    assert run(tmp_path, scheduler, resume=True) == everything
    again = read_results(tmp_path)
    assert again["task"].is_unique
    kept = again.set_index("task").loc[left["task"]].reset_index()[left.columns]
    assert kept.equals(left)
    same = [c for c in whole.columns if c not in ("seconds", "host")]
    assert again[same].equals(whole[same])
    # Where nothing is missing, not even a scheduler is asked.
    assert run(tmp_path, "tcp://127.0.0.1:1", resume=True) == everything


def test_resuming_where_nothing_is_says_so(
    scheduler: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "new", scheduler, resume=True)
    assert capsys.readouterr().err == f"{tmp_path / 'new'} holds no study yet: starting it there.\n"


def replace(monkeypatch: pytest.MonkeyPatch, call: Any) -> None:
    changed = dataclasses.replace(MEASURES["entropy"], run=call)
    monkeypatch.setitem(MEASURES, "entropy", changed)


def test_a_failing_task_is_recorded_and_the_rest_goes_on(
    scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def call(settings: dict[str, Any], seed: int) -> dict[str, Any]:
        calls.append(settings["n_qubits"])
        if settings["n_qubits"] == 5:
            raise ArithmeticError("five\nis too much")
        return {"entropy_mean": 1.0}

    replace(monkeypatch, call)
    assert run(tmp_path, scheduler) == {"total": 6, "done": 4, "failed": 2, "missing": 0}
    frame = read_results(tmp_path)
    failed = frame[frame["status"] == "failed"]
    assert set(failed["error"]) == {"ArithmeticError: five is too much"}
    assert failed["entropy_mean"].isna().all()
    assert set(failed["n_qubits"]) == {5}
    assert calls.count(5) == 2, "an exception comes again: such a task is not retried"
    # A failed task is not missing; it runs again when asked to.
    assert run(tmp_path, scheduler, resume=True)["missing"] == 0
    assert len(calls) == 6
    replace(monkeypatch, lambda settings, seed: {"entropy_mean": 2.0})
    done = run(tmp_path, scheduler, resume=True, retry_failed=True)
    assert done == {"total": 6, "done": 6, "failed": 0, "missing": 0}
    again = read_results(tmp_path)
    assert again["task"].is_unique
    assert list(again["entropy_mean"]) == [2.0 if n == 5 else 1.0 for n in again["n_qubits"]]


def test_ctrl_c_keeps_what_is_finished(
    scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: Any, bar: Any) -> None:
        if len(list(tmp_path.glob("results/*.parquet"))) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(_runner._Run, "_tell", interrupt)
    monkeypatch.setattr(_runner, "_WINDOW", 2)
    monkeypatch.setattr(_runner, "_SHORTEST_WAIT", 0.0)  # each row is written when it is there
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, scheduler)
    n_rows = len(read_results(tmp_path))
    assert 1 <= n_rows < 6
    monkeypatch.undo()
    assert run(tmp_path, scheduler, resume=True)["done"] == 6
    assert read_results(tmp_path)["task"].is_unique


def test_a_scheduler_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_runner, "_SECONDS_TO_ANSWER", 0.5)
    for address, actual in {
        "tcp://127.0.0.1:1": "no answer within 0.5 s",
        "foo://127.0.0.1:1": "unknown address scheme",
    }.items():
        message = f"^`scheduler` must be the address of a .*; got {address} \\({actual}.*dask sch"
        with pytest.raises(RunError, match=message):
            run(tmp_path / "out", address)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file.json").write_text("{}")
    with pytest.raises(RunError, match=r"must be the file that a Dask scheduler wr"):
        run(tmp_path / "out", str(tmp_path / "file.json"))


@pytest.mark.parametrize(("there", "actual"), [("9.9", "9.9"), (None, "none")])
def test_workers_of_another_version(there: str | None, actual: str) -> None:
    class Client:
        def get_versions(self, packages: list[str]) -> dict[str, Any]:
            assert packages == ["qtn_train"]
            return {"workers": {"tcp://far:1": {"packages": {"qtn_train": there}}}}

    message = rf"^`the workers` must be qtn_train 0\..*, as here; got {actual} on tcp://far:1\. Ins"
    with pytest.raises(RunError, match=message):
        _runner._check_workers(Client())


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`workers` must be left out with a scheduler"):
        run(tmp_path / "out", "tcp://127.0.0.1:1", workers=1)
    with pytest.raises(ValueError, match="`memory_limit` must be left out with a scheduler"):
        run(tmp_path / "out", "tcp://127.0.0.1:1", memory_limit="1GB")
    with pytest.raises(ValueError, match="`workers` must be a positive integer; got 0"):
        run_study(STUDY, tmp_path / "out", workers=0)
    with pytest.raises(ValueError, match="`memory_limit` must be a number of bytes; got 'lots'"):
        run_study(STUDY, tmp_path / "out", workers=1, memory_limit="lots")
    assert list(tmp_path.iterdir()) == []


DEADLY = """
import dataclasses, os
from qtn_train.studies import MEASURES

def run(settings, seed):
    if settings["n_qubits"] == 5:
        with open({log!r}, "a") as file:
            file.write("died\\n")
        os._exit(1)
    return {{"entropy_mean": 1.0}}

MEASURES["entropy"] = dataclasses.replace(MEASURES["entropy"], run=run)
"""


@pytest.mark.slow
def test_a_task_that_kills_its_worker_is_retried_and_then_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    deadly = tmp_path / "deadly.py"
    deadly.write_text(DEADLY.format(log=str(log)))
    import distributed

    made = distributed.LocalCluster

    def with_preload(**options: Any) -> Any:
        return made(**{**options, "preload": [*options["preload"], str(deadly)]})

    monkeypatch.setattr(distributed, "LocalCluster", with_preload)
    study = parse_study(TEXT.replace("repeats = 2", "repeats = 1"))
    done = run_study(study, tmp_path / "out", workers=1, progress_bar=False)
    assert done == {"total": 3, "done": 2, "failed": 1, "missing": 0}
    frame = read_results(tmp_path / "out").set_index("n_qubits")
    assert re.search("the worker died each time", frame["error"][5])
    assert list(frame["status"]) == ["done", "failed", "done"]
    # Once and one retry beside the others, and the same alone.
    assert log.read_text().count("died") == 2 * (1 + _runner.RETRIES)


class Future:
    """What a task's future says of itself."""

    def __init__(self, status: str) -> None:
        self.status = status

    def exception(self) -> BaseException:
        return ArithmeticError("too much")


def test_results_that_went_with_their_worker() -> None:
    task = next(iter(STUDY.tasks()))
    row = {"entropy_mean": 1.0}
    fetched, gone, failed, late = (Future(s) for s in ("lost", "pending", "error", "error"))
    batch: list[Any] = [(fetched, row), (gone, None), (failed, None), (Future("finished"), row)]
    added: list[Any] = []
    run = _runner._Run.__new__(_runner._Run)
    run.client = SimpleNamespace(status="running")
    run.finished = SimpleNamespace(next_batch=lambda block: batch, add=added.append)
    run.running = dict.fromkeys((fetched, gone, failed, late), task)
    run.rows, run.suspects, run.alone = [], [], False
    run._collect()
    # One was fetched in time, one runs again, and two failed, one of them when it ran again.
    assert run.rows[0] == row
    assert [r["error"] for r in run.rows[1:]] == ["ArithmeticError: too much"] * 2
    assert (list(run.running), added) == ([gone], [gone])
    batch[:] = [(gone, None)]
    gone.status = "cancelled"
    run.scheduler = ""
    with pytest.raises(ConnectionError, match=r"went away\. All finished rows are kept\. Resume"):
        run._collect()


@pytest.mark.slow
def test_kills_at_random_moments(tmp_path: Path) -> None:
    text = kills.study_text(24, qubits=16)
    file = tmp_path / "study.toml"
    file.write_text(text)
    lines: list[str] = []
    kills.disturbed(file, tmp_path / "out", kills.random.Random(0), lines.append)
    assert len(lines) == 4
    quiet = [run_task(task) for task in parse_study(text).tasks()]
    kills.compare(quiet, tmp_path / "out")


@pytest.mark.slow
def test_workers_compute_with_one_thread_and_leave_ctrl_c_alone(tmp_path: Path) -> None:
    from distributed import Client

    with _runner._connected(None, 1, None) as client:
        assert isinstance(client, Client)
        found = client.submit(_environment).result()
    assert found == ["1", "1", "1", "1", True]


def _environment() -> list[Any]:
    import signal

    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return [*(os.environ.get(name) for name in _runner._THREADS), ignored]
