"""``qtn-train study``: what it prints, its exit status, and the line after an interruption."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qtn_train.errors import event
from qtn_train.studies import _runner

FILE = 'study = {measure = "gradient-variance", repeats = 3}\n'
FILE += "grid = {n_qubits = [3, 4, 5], n_layers = 2}\n"

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(command_line: Cli, tmp_path: Path) -> Cli:
    """Run `qtn-train study` beside a study file; return exit status and what it printed."""
    (tmp_path / "mine.toml").write_text(FILE)
    return partial(command_line, "study")


def test_run_and_show(cli: Cli, scheduler: str, tmp_path: Path) -> None:
    status, out, err = cli("run", "mine.toml", "--out", "d", "--scheduler", scheduler)
    assert status == 0
    assert out == "9 of 9 tasks done; see qtn-train study show d\n"
    assert err.startswith("dashboard: http")
    assert "9/9" in err
    status, out, err = cli("run", "mine.toml", "--out", "d", "--resume", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out) == {"out": "d", "total": 9, "done": 9, "failed": 0, "missing": 0}
    _, out, _ = cli("list", ".")
    assert re.search(r"(?m)^gradient-variance +4,200 tasks  derivatives of", out)
    assert re.search(r"(?m)^d +9 of 9 tasks done$", out)
    told = json.loads(cli("list", ".", "--json")[1])
    assert told["folders"] == {"d": {"total": 9, "done": 9, "failed": 0, "missing": 0}}
    assert told["ready"]["training"] == {"measure": "train", "tasks": 60}
    status, out, _ = cli("show", "d")
    lines = out.splitlines()
    assert status == 0
    assert lines[0] == "gradient-variance: 9 of 9 tasks done, 0 failed, 0 missing"
    assert lines[1] == "all at: ansatz u3-cu3-chain, n_layers 2, engine auto, max_bond 256"
    assert [line.split()[0] for line in lines[3:6]] == ["3", "4", "5"]
    assert sum(line.startswith("variance of gradient_") for line in lines) == 2
    assert lines[-1] == "wrote d/gradient-variance.png"
    assert (tmp_path / "d" / "gradient-variance.png").stat().st_size < 150_000
    status, out, err = cli("show", "d", "--json")
    summary = json.loads(out)
    assert (status, err) == (0, "")
    assert summary["figure_path"] == "d/gradient-variance.png"
    assert len(summary["points"]) == 3
    assert summary["study"] == FILE


def test_failures_are_shown(
    cli: Cli, scheduler: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from qtn_train.studies import _circuits

    def broken(*args: Any) -> None:
        raise MemoryError("too large")

    monkeypatch.setattr(_circuits, "exact_engine", broken)
    status, out, _ = cli("run", "mine.toml", "--out", "d", "--scheduler", scheduler)
    assert (status, out) == (0, "0 of 9 tasks done, 9 failed; see qtn-train study show d\n")
    _, out, _ = cli("show", "d")
    assert "failed 9 times: MemoryError: too large (first at ansatz u3-cu3-chain, n_qubits 3" in out
    assert out.endswith("no results yet\n")


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (KeyboardInterrupt(), "Interrupted. All finished rows are kept."),
        (
            ConnectionError(event("The scheduler went away.", "Rows are kept.", "Resume.")),
            "The scheduler went away. Rows are kept. Resume. Go on",
        ),
    ],
)
def test_interruptions_say_how_to_go_on(
    error: BaseException, why: str, cli: Cli, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Any, bar: Any) -> None:
        raise error

    monkeypatch.setattr(_runner._Run, "_tell", stop)
    status, out, err = cli("run", "mine.toml", "--out", "my dir", "--scheduler", scheduler)
    assert (status, out) == (1, "")
    line = err.splitlines()[-1]
    assert line.startswith(f"qtn-train: {why}")
    command = f"qtn-train study run mine.toml --out 'my dir' --resume --scheduler {scheduler}"
    assert line.endswith(f" Go on with: {command}")
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["run", "entropi", "--out", "d"],
            "`study` must be a file, or one of .* Did you mean entr",
        ),
        (
            ["run", "mine.toml", "--out", "mine.toml"],
            r"`--out` must be a folder that can be writte",
        ),
        (["run", "mine.toml", "--out", "d", "--workers", "0"], "`--workers` must be a positive i"),
        (["show", "."], r"`\.` must be a folder of `qtn-train study run`; got none"),
    ],
)
def test_wrong_input_is_one_line(argv: list[str], message: str, cli: Cli) -> None:
    status, out, err = cli(*argv)
    assert (status, out) == (2, "")
    assert re.match(f"qtn-train: {message}", err)
    assert err.count("\n") == 1
