"""Comparisons: paired runs, stored one by one, resumed, and tuned on the training set alone."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from qtn_train import Dataset, FitConfig, QuantumTrain, fit
from qtn_train.circuits import ansatz
from qtn_train.comparison import (
    GENERATORS,
    LEARNING_RATES,
    CompareConfig,
    Comparison,
    compare,
    read_comparison,
    tune_rate,
)
from qtn_train.comparison._compare import with_rate
from qtn_train.errors import CheckpointError, RunError
from qtn_train.mapping import MLPMapping
from qtn_train.training import _timing

QUICK = FitConfig(epochs=2, batch_size=30, lr=0.05, lr_mapping=0.02)
PAIR = CompareConfig(("circuit", "random-subspace"), (2,), 2, QUICK)


@pytest.fixture(autouse=True)
def one_step_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_timing, "_STEPS", 1)


class Own(nn.Module):
    """Somebody's own network of 35 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(5, 4)
        self.outside = nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.outside(torch.tanh(self.scale * self.inside(x)))
        return out


def make_model(n_layers: int, seed: int) -> QuantumTrain:
    mapping = MLPMapping(2**6, (2,), seed=seed)
    return QuantumTrain(Own(), circuit=ansatz.ry_cx_chain(6, n_layers), mapping=mapping, seed=seed)


def own_data(test_labels: int = 0) -> Dataset:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(180, 5, generator=rng)
    y = (x[:, 0] * x[:, 1] + x[:, 2] > 0).long()
    y_test = (y[120:] + test_labels) % 2
    return Dataset("own", x[:120], y[:120], x[120:], y_test, 2, ("no", "yes"))


DATA = own_data()


def quiet(*args: Any, **options: Any) -> Comparison:
    return compare(*args, progress_bar=False, **options)


def without_times(comparison: Comparison) -> list[dict[str, Any]]:
    runs = json.loads(json.dumps(comparison.runs))
    for run in runs:
        run.pop("seconds_per_step")
        for entry in run["epochs"]:
            entry.pop("seconds")
    return sorted(runs, key=lambda run: (run["seed"], run["n_layers"], run["generator"]))


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    folder = tmp_path_factory.mktemp("straight")
    return quiet(make_model, DATA, PAIR, folder=folder), folder


# Runs and table


def test_the_circuits_run_is_that_of_fit(straight: tuple[Comparison, Path]) -> None:
    model = make_model(2, 1)
    history = fit(model, DATA, config=QUICK.but(seed=1), progress_bar=False)
    (run,) = [r for r in straight[0].runs if (r["generator"], r["seed"]) == ("circuit", 1)]
    for entry, expected in zip(run["epochs"], history.epochs, strict=True):
        assert {**entry, "seconds": 0} == {**expected, "seconds": 0}
    assert run["n_trainable"] == model.n_trainable == 12 + 16 + 3
    assert run["n_trainable_by_part"] == {"angles": 12, "mapping": 19, "other": 0}
    assert (run["lr"], run["lr_mapping"]) == (0.05, 0.02)


def test_runs_are_paired_by_their_seed(straight: tuple[Comparison, Path]) -> None:
    keys = [(run["seed"], run["generator"]) for run in straight[0].runs]
    names = PAIR.generators
    assert keys == [(0, names[0]), (0, names[1]), (1, names[0]), (1, names[1])]
    rows = {row["generator"]: row for row in straight[0].table()}
    accuracy = {key: run["test_accuracy"] for key, run in zip(keys, straight[0].runs, strict=True)}
    differences = [accuracy[seed, "random-subspace"] - accuracy[seed, "circuit"] for seed in (0, 1)]
    row = rows["random-subspace"]
    assert row["difference"] == pytest.approx(statistics.mean(differences))
    assert row["difference_spread"] == pytest.approx(statistics.stdev(differences))
    assert rows["circuit"]["difference"] == 0
    assert row["n_trainable"] == rows["circuit"]["n_trainable"] == 31
    own = [accuracy[seed, "circuit"] for seed in (0, 1)]
    assert rows["circuit"]["test_accuracy"] == pytest.approx(statistics.mean(own))
    assert rows["circuit"]["spread"] == pytest.approx(statistics.stdev(own))
    assert (row["n_seeds"], row["n_failed"], row["effective"]) == (2, 0, None)
    assert row["ms_per_step"] > 0
    assert 4 * 31 < row["bytes"] < rows["circuit"]["bytes"]


def test_several_sizes_and_effective_parameters() -> None:
    config = CompareConfig(("frozen", "circuit", "direct"), (1, 2), 1, QUICK, effective=True)
    comparison = quiet(make_model, DATA, config)
    rows = comparison.table()
    names = [(row["n_layers"], row["generator"]) for row in rows]
    assert names == [(n, name) for n in (1, 2) for name in config.generators]
    assert [row["n_trainable"] for row in rows] == [19, 25, 35, 19, 31, 35]
    assert all(0 < row["effective"] <= row["n_trainable"] for row in rows)
    assert rows[2]["effective"] == 35
    assert rows[0]["spread"] is None
    lines = comparison.text().splitlines()
    assert (
        lines[0].split()
        == (
            "layers generator test accuracy % minus circuit trainable effective bytes ms a step lr"
        ).split()
    )
    assert len(lines) == 7
    assert lines[1].split()[:2] == ["1", "frozen"]
    assert "±" not in comparison.text()


def test_the_table_as_a_result_of_the_docs(straight: tuple[Comparison, Path]) -> None:
    result = straight[0].result("a command", "a title")
    assert result.keys() == {"title", "command", "seconds", "rows", "columns"}
    assert result["columns"].keys() <= result["rows"][0].keys()
    assert result["rows"][0]["test_accuracy"] == 100 * straight[0].table()[0]["test_accuracy"]
    assert result["seconds"] > 0


def test_every_name_can_be_compared() -> None:
    config = CompareConfig(GENERATORS, (2,), 1, QUICK.but(epochs=1))
    comparison = quiet(make_model, DATA, config)
    assert [run["generator"] for run in comparison.runs] == list(GENERATORS)
    assert all(0.2 < run["test_accuracy"] <= 1 for run in comparison.runs)
    rates = {run["generator"]: run["lr"] for run in comparison.runs}
    assert rates == {name: LEARNING_RATES.get(name, 0.05) for name in GENERATORS}


def test_a_run_that_fails_is_kept_as_such(tmp_path: Path) -> None:
    config = CompareConfig(("circuit", "hashing"), (2,), 2, QUICK, rates={"hashing": 1e38})
    comparison = quiet(make_model, DATA, config, folder=tmp_path)
    rows = {row["generator"]: row for row in comparison.table()}
    assert (rows["hashing"]["n_seeds"], rows["hashing"]["n_failed"]) == (0, 2)
    assert (rows["circuit"]["n_seeds"], rows["circuit"]["n_failed"]) == (2, 0)
    assert rows["hashing"]["test_accuracy"] is None
    assert "finite" in comparison.runs[1]["failed"]
    assert "– (2 failed)" in comparison.text()
    assert read_comparison(tmp_path).runs == comparison.runs
    assert [text.get_text() for text in comparison.figure().axes[1].get_yticklabels()] == [
        "circuit"
    ]


# Storing and resuming


def test_everything_is_in_the_folder(straight: tuple[Comparison, Path]) -> None:
    comparison, folder = straight
    for read in (read_comparison(folder), read_comparison(folder / "compare.json")):
        assert read == comparison
    stored = json.loads((folder / "compare.json").read_text())
    assert stored["table"] == comparison.table()
    assert stored["settings"]["fit"]["lr"] == 0.05
    assert stored["settings"]["data"] == {"name": "own", "n_train": 120, "n_test": 60}


class Crash(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("finished", [1, 3])
def test_finished_runs_are_not_run_again(
    finished: int, straight: tuple[Comparison, Path], tmp_path: Path
) -> None:
    seen: list[str] = []

    def crash(run: dict[str, Any]) -> None:
        seen.append(run["generator"])
        if len(seen) == finished:
            raise Crash

    with pytest.raises(Crash):
        quiet(make_model, DATA, PAIR, folder=tmp_path, on_run=crash)
    assert len(read_comparison(tmp_path).runs) == finished
    more: list[dict[str, Any]] = []
    comparison = quiet(make_model, DATA, PAIR, folder=tmp_path, resume=True, on_run=more.append)
    assert len(more) == 4 - finished
    assert without_times(comparison) == without_times(straight[0])


def test_the_run_under_way_goes_on_from_its_checkpoint(
    straight: tuple[Comparison, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtn_train.training import _loop

    step, steps = _loop.training_step, 0

    def crashing(*args: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 6:
            raise Crash
        return step(*args)

    monkeypatch.setattr(_loop, "training_step", crashing)
    with pytest.raises(Crash):
        quiet(make_model, DATA, PAIR, folder=tmp_path)
    steps = 100
    comparison = quiet(make_model, DATA, PAIR, folder=tmp_path, resume=True)
    assert steps == 100 + 4 * 8 - 4, "the first epoch was not run again"
    assert without_times(comparison) == without_times(straight[0])


def test_a_comparison_may_grow(straight: tuple[Comparison, Path], tmp_path: Path) -> None:
    small = CompareConfig(("circuit",), (2,), 1, QUICK)
    quiet(make_model, DATA, small, folder=tmp_path)
    comparison = quiet(make_model, DATA, PAIR, folder=tmp_path, resume=True)
    assert without_times(comparison) == without_times(straight[0])
    sizes = CompareConfig(("circuit",), (1, 2), 1, QUICK)
    comparison = quiet(make_model, DATA, sizes, folder=tmp_path, resume=True)
    assert len(comparison.runs) == 5
    assert comparison.settings["models"].keys() == {"1", "2"}


@pytest.mark.parametrize(
    ("make", "data", "config", "message"),
    [
        (make_model, DATA, CompareConfig(fit=QUICK.but(lr=0.1), layers=(2,)), "`fit` .*lr 0.05 as"),
        (make_model, DATA, CompareConfig(fit=QUICK, layers=(2,), tune=True), "`tune` .*; got True"),
        (
            make_model,
            DATA,
            CompareConfig(fit=QUICK, layers=(2,), rates={"frozen": 1.0}),
            "`rates` must be nothing as in .*; got frozen 1.0. Resume with the",
        ),
        (
            lambda n_layers, seed: make_model(n_layers, seed + 1),
            DATA,
            PAIR,
            "`models` must be 2 .* as in .*; got 2 ",
        ),
        (
            make_model,
            Dataset("other", DATA.x_train, DATA.y_train, DATA.x_test, DATA.y_test, 2, ("a", "b")),
            PAIR,
            "`data` must be name own as in .*; got name other",
        ),
    ],
)
def test_other_options_are_refused(
    make: Callable[[int, int], QuantumTrain],
    data: Dataset,
    config: CompareConfig,
    message: str,
    straight: tuple[Comparison, Path],
) -> None:
    with pytest.raises(CheckpointError, match=message):
        quiet(make, data, config, folder=straight[1], resume=True)


def test_messages_of_folders(straight: tuple[Comparison, Path], tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"`folder` must be an empty folder; got .*, which holds a comp"
    ):
        quiet(make_model, DATA, PAIR, folder=straight[1])
    with pytest.raises(RunError, match=r"must be a folder or file of `qtn-train compare`; got not"):
        read_comparison(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(
        RunError, match=r"`folder` must be a folder that can be written; got .*file"
    ):
        quiet(make_model, DATA, PAIR, folder=tmp_path / "file")


@pytest.mark.parametrize("text", ["", "[]", '{"runs": []}', "{"])
def test_a_damaged_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "compare.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"`.*compare.json` must be a comparison; got a dama"):
        read_comparison(tmp_path)


# Learning rates


def test_rates_are_tuned_without_the_test_set() -> None:
    def make() -> QuantumTrain:
        return make_model(2, 7)

    tried = tune_rate(make, DATA, QUICK, (0.001, 0.05, 1e38))
    assert tune_rate(make, own_data(test_labels=1), QUICK, (0.001, 0.05, 1e38)) == tried
    assert {one["lr"] for one in tried} == {0.001, 0.05, 1e38}
    assert tried[0]["loss"] < tried[1]["loss"]
    assert tried[2] == {"lr": 1e38, "accuracy": None, "loss": None}
    assert all(0 <= one["accuracy"] <= 1 and math.isfinite(one["loss"]) for one in tried[:2])
    twelfths = 12 * tried[0]["accuracy"]
    assert twelfths == pytest.approx(round(twelfths)), "a tenth of 120 is held out"


def test_tuned_rates_are_used_and_kept(tmp_path: Path) -> None:
    config = CompareConfig(("circuit", "hashing"), (2,), 1, QUICK.but(epochs=1), tune=True)
    comparison = quiet(make_model, DATA, config, folder=tmp_path)
    assert comparison.rates.keys() == {"2 circuit", "2 hashing"}
    for run in comparison.runs:
        tuned = comparison.rates[f"2 {run['generator']}"]
        assert run["lr"] == tuned["lr"] == tuned["tried"][0]["lr"]
        assert len(tuned["tried"]) == 5
    more = CompareConfig(("circuit",), (2,), 2, QUICK.but(epochs=1), tune=True)
    again = quiet(make_model, DATA, more, folder=tmp_path, resume=True)
    assert again.rates == comparison.rates
    assert again.runs[2]["lr"] == comparison.runs[0]["lr"]


def test_with_rate_keeps_the_proportion_of_angles_and_mapping() -> None:
    model = make_model(2, 0)
    assert with_rate(QUICK, model, 0.1) == QUICK.but(lr=0.1, lr_mapping=0.04)
    frozen = model.with_generator(make_frozen(model))
    assert with_rate(QUICK, frozen, 0.1) == QUICK.but(lr=0.1, lr_mapping=None)
    alone = QUICK.but(lr_mapping=None)
    assert with_rate(alone, model, 0.1) == alone.but(lr=0.1)


def make_frozen(model: QuantumTrain) -> Any:
    from qtn_train.generators import control

    return control("frozen", model.generator)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"generators": ("circuit", "dice")},
            ValueError,
            r"^`generators` must be names out of circuit, random-subspace, .*; got 'dice'\.$",
        ),
        ({"generators": ()}, ValueError, "`generators` must be at least one, and none twice; got"),
        ({"layers": (4, 4)}, ValueError, "`layers` must be at least one, and none twice; got 4, 4"),
        ({"layers": (4, 0)}, ValueError, "`layers` must be a positive integer; got 0"),
        ({"seeds": 0}, ValueError, "`seeds` must be a positive integer; got 0"),
        ({"rates": {"dice": 1.0}}, ValueError, "`rates` must be names out of .*; got 'dice'"),
        ({"rates": {"frozen": 0.0}}, ValueError, "`rates of frozen` must be a positive number; "),
    ],
)
def test_messages_of_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        CompareConfig(**options)


def test_message_of_no_rates() -> None:
    with pytest.raises(ValueError, match=r"^`rates` must be at least one number; got none\.$"):
        tune_rate(lambda: make_model(1, 0), DATA, QUICK, ())
