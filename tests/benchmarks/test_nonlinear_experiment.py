"""The table of the hardest generators: equal sizes, one budget of tuning, sentences that follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments import nonlinear
from experiments.nonlinear import GENERATORS, RATES, SIZES, Settings, Task
from qtn_train.data import Dataset

SETTINGS = Settings(epochs=1, images=None, data_dir=None)


def task(generator: str = "circuit", seed: int = 0, rate: float = 0.01, **changes: Any) -> Task:
    own: dict[str, Any] = {"dataset": "mnist-mini", "size": 169, "tuning": False}
    return Task(generator=generator, seed=seed, rate=rate, **(own | changes))


def test_all_generators_train_as_many_numbers() -> None:
    found = {name: task(name).model().n_trainable for name in GENERATORS[:4]}
    assert found.pop("fixed-random-wide") == 161  # the next smaller width of the mapping
    assert set(found.values()) == {169}


@pytest.mark.parametrize("size", SIZES[1:])
def test_circuit_and_correlators_have_the_same_sizes(size: int) -> None:
    made = {name: task(name, size=size).options().circuit() for name in GENERATORS[:2]}
    assert made["circuit"].n_angles + 65 == made["correlators"].n_angles == size


def test_only_the_circuits_mapping_has_a_rate_of_its_own() -> None:
    own, other = (task(name).config(15) for name in ("circuit", "mcnc"))
    assert (own.lr, own.lr_mapping, own.epochs) == (0.01, pytest.approx(0.003), 15)
    assert (other.lr, other.lr_mapping) == (0.01, 0.01)
    assert task(tuning=True).config(15).epochs == nonlinear.TUNING_EPOCHS


def test_rates_are_tuned_on_training_images_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.arange(60.0).view(60, 1, 1, 1)
    y = torch.arange(60) % 10
    data = Dataset("numbers", x, y, -x[:10] - 1, y[:10], 10, tuple("0123456789"))
    monkeypatch.setattr(nonlinear, "load", lambda name, data_dir: data)
    nonlinear.images.cache_clear()
    tuning = nonlinear.images("numbers", SETTINGS, True)
    seen = torch.cat([tuning.x_train, tuning.x_test]).flatten()
    assert torch.equal(seen.sort().values, torch.arange(60.0))
    assert len(tuning.x_test) == 10
    few = nonlinear.images("numbers", Settings(1, 30, None), False)
    assert torch.equal(few.x_train, x[:30])
    assert torch.equal(few.x_test, data.x_test)
    nonlinear.images.cache_clear()


def test_rising_changes_the_mapping_alone() -> None:
    plain, rising = (task(name).generated().generator for name in ("circuit", "circuit-rising"))
    changed = {
        name
        for name, value in plain.named_parameters()
        if not torch.equal(value, rising.get_parameter(name))
    }
    assert changed == {"mapping.layers.0.weight"}
    wide = task("fixed-random-wide-rising").generated().generator
    assert wide.config()["mapping"]["rising"]
    assert task("circuit-rising").config(15).lr_mapping == pytest.approx(0.003)


def test_the_larger_network() -> None:
    models = {
        name: task(name, size=nonlinear.LARGER_SIZE).model() for name in nonlinear.LARGER_GENERATORS
    }
    counts = {
        name: sum(p.numel() for p in model.parameters() if p.requires_grad)
        for name, model in models.items()
    }
    assert counts.pop("direct") == nonlinear.LARGER_WEIGHTS
    assert set(counts.values()) == {nonlinear.LARGER_SIZE}
    again = task("direct", size=nonlinear.LARGER_SIZE).model()
    for value, other in zip(models["direct"].parameters(), again.parameters(), strict=True):
        assert torch.equal(value, other)


def test_the_larger_network_has_one_size_and_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def trained(task: Task, settings: Settings) -> dict[str, Any]:
        row = vars(task) | {"n_trainable": task.size, "epochs": 1, "test_accuracy": 99.0}
        return row | {"step_ms": 2.0}

    monkeypatch.setattr(nonlinear, "trained", trained)
    line = ["--datasets", "mnist", "--larger", "--out", str(tmp_path), "--jobs", "1"]
    nonlinear.main(line)
    stored = json.loads((tmp_path / "larger-mnist.json").read_text())
    assert {row["generator"] for row in stored["rows"]} == set(nonlinear.LARGER_GENERATORS)
    assert stored["command"] == "python -m experiments.nonlinear --larger"
    monkeypatch.setattr(nonlinear, "step_ms", lambda task, settings: 1.0 + len(task.generator))
    nonlinear.main([*line, "--times"])
    again = json.loads((tmp_path / "larger-mnist.json").read_text())
    assert {row["step_ms"] for row in stored["rows"]} == {2.0}
    assert all(row["step_ms"] == 1 + len(row["generator"]) for row in again["rows"])
    assert len(again["runs"]) == len(stored["runs"])
    nonlinear.main([*line, "--epochs", "30", "--generators", "mcnc", "--seeds", "0"])
    longer = json.loads((tmp_path / "larger-30-epochs-mnist.json").read_text())
    assert longer["command"] == "python -m experiments.nonlinear --larger --epochs 30"
    with pytest.raises(SystemExit):
        nonlinear.main([*line, "--sizes", "169"])
    assert "--larger has a size of its own" in capsys.readouterr().err


def rows_of(name: str, accuracies: list[float]) -> list[dict[str, Any]]:
    return [
        vars(task(name, seed)) | {"n_trainable": 169, "test_accuracy": value, "step_ms": 2.0}
        for seed, value in enumerate(accuracies)
    ]


def test_the_sentences_follow_from_the_table() -> None:
    rows = rows_of("circuit", [90.0, 91.0, 92.0])
    rows += rows_of("mcnc", [88.0, 89.5, 90.1])
    rows += rows_of("outer-product", [90.5, 90.8, 91.6])
    rows += rows_of("mapping-network", [92.0, 93.0, 94.0])
    rows += rows_of("circuit-rising", [91.0, 92.0, 93.0])
    table = nonlinear.summary(rows)
    assert [row["generator"] for row in table] == [
        "mapping-network", "circuit-rising", "circuit", "outer-product", "mcnc",
    ]  # fmt: skip
    (circuit,) = [row for row in table if row["generator"] == "circuit"]
    assert (circuit["mean"], circuit["deviation"], circuit["ahead"]) == (91.0, 1.0, None)
    assert nonlinear.sentences("mnist", table) == [
        "mnist, 169 numbers: the circuit is ahead of mcnc (+1.80); level with outer-product "
        "(+0.03); behind mapping-network (-2.00), circuit-rising (-1.00).",
        "mnist, 169 numbers: the rising circuit is ahead of circuit (+1.00), outer-product "
        "(+1.03), mcnc (+2.80); behind mapping-network (-1.00).",
    ]
    drawn = {row["generator"]: row["points"] for row in nonlinear.differences(table)}
    assert drawn == {"circuit": -1.0, "mcnc": -2.8, "outer-product": -1.03, "mapping-network": 1.0}


def test_a_task_whose_row_is_there_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Task] = []

    def trained(task: Task, settings: Settings) -> dict[str, Any]:
        if len(made) == 9:
            raise KeyboardInterrupt
        made.append(task)
        accuracy = 50 - abs(task.rate - 0.025) if task.tuning else 90.0 + task.seed
        row = vars(task) | {"n_trainable": task.size, "epochs": 1, "test_accuracy": accuracy}
        return row | {"step_ms": 2.0}

    monkeypatch.setattr(nonlinear, "trained", trained)
    line = ["--datasets", "mnist-mini", "--sizes", "169", "--generators", "circuit", "mcnc"]
    line += ["--out", str(tmp_path), "--jobs", "1", "--epochs", "1"]
    with pytest.raises(KeyboardInterrupt):
        nonlinear.main(line)
    first = list(made)
    made.clear()
    nonlinear.main([*line, "--seeds", "0", "1"])
    assert not set(first) & set(made)
    assert [t.rate for t in first + made if t.tuning] == [*RATES, *RATES]
    assert {t.rate for t in made if not t.tuning} == {0.025}
    assert {(t.generator, t.seed) for t in made if not t.tuning} == {
        (name, seed) for name in ("circuit", "mcnc") for seed in (0, 1)
    }
    stored = json.loads((tmp_path / "nonlinear-mnist-mini.json").read_text())
    assert len(stored["runs"]) == 16
    assert stored["rows"][0]["seeds"] == 2
    assert stored["command"] == "python -m experiments.nonlinear --epochs 1"
    with pytest.raises(SystemExit, match="has other settings: "):
        nonlinear.main([*line[:-1], "2"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["circuit", "correlators", "mcnc"])
def test_a_run_learns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonlinear, "TIMED_STEPS", 1)
    own = task(name, rate=0.05 if name == "correlators" else 0.025)
    row = nonlinear.trained(own, Settings(epochs=1, images=5120, data_dir=None))
    assert row["n_trainable"] == 169
    assert row["test_accuracy"] > 15
    assert row["step_ms"] > 0
