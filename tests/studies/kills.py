"""Kill a study's worker, scheduler and whole process at random moments, and go on each time.

    python -m tests.studies.kills --tasks 60 --seed 0

Prints the number of rows after each kill. In the end each row must be there exactly once, and equal
to the row of a run that nothing disturbed. Everything runs on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from qtn_train.studies import parse_study, read_results
from qtn_train.studies._tasks import CIRCUMSTANCES, run_task

PATIENCE = 240.0

STUDY = """
study = {{measure = "truncation", repeats = {repeats}, seed = 7}}
grid = {{n_qubits = [{qubits}, {qubits_2}], n_layers = 8, max_bond = [8, 16, 24]}}
"""


def study_text(tasks: int, qubits: int) -> str:
    """A study of so many tasks; a multiple of six."""
    return STUDY.format(repeats=tasks // 6, qubits=qubits, qubits_2=qubits + 1)


def start(*argv: str) -> subprocess.Popen[str]:
    """A process of Python, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def start_study(file: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """The command line's ``study run`` in a process."""
    argv = ["qtn-train", "study", "run", str(file), "--out", str(out), "--resume", *options]
    return start("-c", f"import sys; sys.argv = {argv!r}; from qtn_train.cli import main; main()")


def n_parts(out: Path) -> int:
    return len(list((out / "results").glob("*.parquet")))


def wait(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition; give up after a while."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE:g} s in vain: {what}"
        time.sleep(0.01)


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL for a process; all that it started must end by itself then."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert not alive


def disturbed(file: Path, out: Path, rng: random.Random, say: Callable[[str], None]) -> None:
    """Kill a worker, then the scheduler, then a whole run, and let the last one finish."""
    address_file = out.with_suffix(".json")
    scheduler = start(
        *"-m distributed.cli.dask_scheduler --host 127.0.0.1 --port 0 --no-dashboard".split(),
        "--scheduler-file", str(address_file),
    )  # fmt: skip
    wait(address_file.exists, "the scheduler's file")
    workers = [
        start(
            *"-m distributed.cli.dask_worker --nthreads 1 --no-dashboard --host 127.0.0.1".split(),
            "--scheduler-file", str(address_file), "--death-timeout", "30",
        )
        for _ in range(2)
    ]  # fmt: skip
    run = start_study(file, out, "--scheduler", str(address_file))
    wait(lambda: n_parts(out) >= 1, "the first row")
    time.sleep(rng.uniform(0, 0.5))
    process = psutil.Process(workers[0].pid)
    victims = [p for p in process.children() if "spawn_main" in " ".join(p.cmdline())]
    victims[0].kill()
    say(f"killed a worker at {rows(out)} rows")
    seen = n_parts(out)
    wait(lambda: n_parts(out) > seen or run.poll() is not None, "a row after the worker's death")
    time.sleep(rng.uniform(0, 0.5))
    kill(scheduler)
    say(f"killed the scheduler at {rows(out)} rows")
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1, errors
    line = errors.strip().splitlines()[-1]
    assert (
        "went away. All finished rows are kept. Resume the study. Go on with: qtn-train s" in line
    )
    for worker in workers:
        kill(worker)
    seen = n_parts(out)
    run = start_study(file, out, "--workers", "2")
    wait(lambda: n_parts(out) > seen or run.poll() is not None, "a row after the scheduler's death")
    time.sleep(rng.uniform(0, 0.5))
    assert run.poll() is None, "finished too early to be killed"
    kill(run)
    say(f"killed the whole run at {rows(out)} rows")
    run = start_study(file, out, "--workers", "2", "--json")
    printed, errors = run.communicate(timeout=10 * PATIENCE)
    assert run.returncode == 0, errors
    say(f"went on to {rows(out)} rows")
    assert json.loads(printed)["missing"] == 0


def rows(out: Path) -> int:
    return len(read_results(out))


def compare(quiet: list[dict[str, Any]], out: Path) -> None:
    """Each row once, and equal but for where and how fast it came to be."""
    found = read_results(out)
    assert found["task"].is_unique
    assert (found["status"] == "done").all()
    kept = found.drop(columns=list(CIRCUMSTANCES)).astype(object)
    rows = {row["task"]: row for row in kept.where(kept.notna(), None).to_dict("records")}
    for row in quiet:
        expected = {name: value for name, value in row.items() if name not in CIRCUMSTANCES}
        assert rows.pop(row["task"]) == expected
    assert not rows


def main(tasks: int, seed: int, qubits: int, folder: Path, say: Any = print) -> None:
    """Run a study quietly and disturbed, and compare."""
    text = study_text(tasks, qubits)
    file = folder / "study.toml"
    file.write_text(text)
    disturbed(file, folder / "disturbed", random.Random(seed), say)
    quiet = [run_task(task) for task in parse_study(text).tasks()]
    compare(quiet, folder / "disturbed")
    say(f"{tasks} rows, each once, equal to the quiet run's")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--qubits", type=int, default=19)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        main(options.tasks, options.seed, options.qubits, Path(name))
