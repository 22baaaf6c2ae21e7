"""How long a run will take: what is multiplied, what is refused, and the stored comparison."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tolerances
import torch

from benchmarks import estimates
from qtn_train.cli._app import _duration
from qtn_train.recipes import RunOptions, _estimate, estimate_time

STORED = Path(__file__).parents[2] / "docs" / "results" / "estimates.json"


def ticks() -> Iterator[float]:
    now = 0.0
    while True:
        yield now
        now += 1.0


def test_steps_and_evaluations_are_multiplied() -> None:
    options = RunOptions("iris", epochs=7, batch_size=50)
    clock = ticks()
    told = estimate_time(options, options.load(), lambda: next(clock))
    # Each reading of the clock is a second: two before and after whatever is timed.
    assert (told.epochs, told.steps) == (7, 21)
    assert (told.step_s, told.evaluation_s) == (1.0, 1.0)
    assert told.first_s == 5.0
    assert told.seconds == 5.0 + 20 * 1.0 + 6 * 1.0
    assert 3 <= told.tried <= 31
    assert "StatevectorEngine" in told.engine
    assert told.to_json()["steps"] == 21


@pytest.mark.filterwarnings("ignore::qtn_train.errors.TruncationWarning")
def test_a_step_of_minutes_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    options = RunOptions("iris", engine_name="mps", max_bond=8, epochs=3, batch_size=60)
    data = options.load()
    monkeypatch.setattr(_estimate, "MOST_SECONDS", 0.0)
    monkeypatch.setattr(_estimate._Trial, "step", lambda _: pytest.fail("a step was made"))
    told = estimate_time(options, data)
    assert told.tried == 0
    assert told.seconds == pytest.approx(told.step_s * (6 + 1))
    wider = RunOptions("iris", engine_name="mps", max_bond=8, n_qubits=30, n_layers=60)
    assert estimate_time(wider, data).step_s > 3 * told.step_s


def test_a_run_is_the_same_after_an_estimate() -> None:
    options = RunOptions("iris", epochs=1, n_layers=1, batch_size=120)
    data = options.load()
    before = options.model()
    options.fit(before, data, progress_bar=False)
    estimate_time(options, data)
    again = options.model()
    options.fit(again, data, progress_bar=False)
    assert all(map(torch.equal, before.parameters(), again.parameters()))


def test_the_command_line_tells_it(command_line: Any) -> None:
    words = ("info", "--estimate", "iris", "--layers", "1", "--epochs", "4")
    status, out, err = command_line(*words)
    assert (status, err) == (0, "")
    assert out.startswith("iris: about ")
    assert "in 4 epochs" in out
    told = json.loads(command_line(*words, "--json")[1])
    assert (told["epochs"], told["threads"]) == (4, torch.get_num_threads())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--layers 3", "`--estimate` must be given with --layers; got nothing. Name a data set"),
        ("--estimate irsi", "`dataset` must be one of iris, .*Did you mean iris?"),
        (
            "--estimate iris --engine braket --device local:sv --shots 10",
            "`--engine` must be a simulator of this machine; got braket. `qtn-train braket estima",
        ),
    ],
)
def test_what_has_no_estimate_is_one_line(words: str, message: str, command_line: Any) -> None:
    import re

    status, out, err = command_line("info", *words.split())
    assert (status, out) == (2, "")
    assert re.search(message.replace("?", r"\?"), err), err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12 ms"), (4, "4 s"), (59.9, "60 s"), (150, "2.5 min"), (9000, "2.5 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert _duration(seconds) == text


def test_stored_estimates_are_right_within_a_factor_of_two() -> None:
    rows = json.loads(STORED.read_text())["rows"]
    assert len(rows) >= 20
    assert {row["command"] for row in rows} == set(estimates.COMMANDS)
    assert all(0.5 <= row["ratio"] <= 2 for row in rows)
    for row in rows:
        assert row["ratio"] == pytest.approx(
            row["estimated_s"] / row["trained_s"], rel=tolerances.THREE_STORED_DIGITS
        )
        assert estimates.options_of(row["command"]).complete()
