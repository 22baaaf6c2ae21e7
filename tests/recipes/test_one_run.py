"""The same options give the same weights, bit for bit, through every door."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from qtn_train import load_dataset, plots
from qtn_train.cli._app import main
from qtn_train.recipes import RunOptions
from qtn_train.studies import MEASURES, Task, parse_study
from qtn_train.studies._tasks import run_task
from qtn_train.training import _timing, read_checkpoint

Weights = dict[str, torch.Tensor]

#: Options that each of the translators once got wrong, or left out.
CASES: list[dict[str, Any]] = [
    {"recipe": "published", "n_layers": 2},
    {"lr": 0.3, "n_layers": 1},
    {"weights_per_outcome": 3, "n_layers": 2, "lr_mapping": 0.1},
    {"mapping": "tensor-train", "bond_dim": 2, "n_layers": 1},
    {"measurement": "pauli-2", "n_layers": 2},
]


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, no pictures, in a folder of its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_timing, "_STEPS", 1)
    monkeypatch.setattr(plots, "curves", lambda *_: None)
    monkeypatch.setattr(plots, "save", lambda *_: None)
    yield
    torch.set_num_threads(threads)


def shell(monkeypatch: pytest.MonkeyPatch, *argv: object) -> None:
    monkeypatch.setattr(sys, "argv", ["qtn-train", *map(str, argv)])
    main()


def words(options: dict[str, Any]) -> list[str]:
    """The options as they are typed."""
    names = {"n_layers": "layers", "n_qubits": "qubits", "measurement": "measure"}
    typed = []
    for name, value in options.items():
        typed += ["--" + names.get(name, name).replace("_", "-"), str(value)]
    return typed


def same(first: Weights, second: Weights) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Weights]:
    """The weights of every run that :meth:`RunOptions.fit` ends."""
    found: list[Weights] = []
    fit = RunOptions.fit

    def watched(self: RunOptions, model: Any, *args: Any, **more: Any) -> Any:
        history = fit(self, model, *args, **more)
        found.append(model.export().state_dict())
        return history

    monkeypatch.setattr(RunOptions, "fit", watched)
    return found


@pytest.mark.parametrize("given", CASES, ids=lambda given: next(iter(given)))
def test_python_train_study_and_compare(
    given: dict[str, Any], kept: list[Weights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"epochs": 2, "batch_size": 40, **given}
    # In Python.
    options = RunOptions.from_json({"dataset": "iris", "seed": 0, **given})
    model = options.model()
    options.fit(model, load_dataset("iris"), progress_bar=False)
    expected = model.export().state_dict()
    # In a shell.
    shell(monkeypatch, "train", "iris", *words(given), "--seed", 0, "--out", "run")
    assert same(load_file("run/weights.safetensors"), expected)
    run = json.loads(Path("run/run.json").read_text())
    assert RunOptions.from_json(run["options"]) == options.complete()
    # In a study of one row.
    grid = "\n".join(f"{name} = {json.dumps(value)}" for name, value in given.items())
    study = parse_study(f'study.measure = "train"\n[grid]\ndataset = "iris"\n{grid}\n')
    (task,) = study.tasks()
    kept.clear()
    row = run_task(Task(task.measure, task.settings, 0, seed=0))
    assert row["error"] is None
    assert same(kept[0], expected)
    assert row["test_loss"] == run["epochs"][-1]["test_loss"]
    # In a comparison.
    own = [*words(given), "--generators", "circuit", "--seeds", 1, "--out", "compared"]
    shell(monkeypatch, "compare", "iris", *own)
    layers = given["n_layers"]
    there = read_checkpoint(tmp_path / "compared" / "runs" / f"{layers}-circuit-0")[0]
    here = read_checkpoint(tmp_path / "run")[0]
    trained = [name for name in here if name.startswith("model/")]
    assert all(torch.equal(here[name], there[name]) for name in trained)


def test_the_seed_of_the_published_recipe_is_the_same_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published = RunOptions("iris", recipe="published", n_layers=1, epochs=1)
    assert published.model().seed == published.fit_config().seed == 42
    assert published.complete().seed == 42
    assert published.but(shots=5).counting()["seed"] == 42
    own = ("--recipe", "published", "--layers", 1, "--epochs", 1, "--out", "run")
    shell(monkeypatch, "train", "iris", *own)
    assert json.loads(Path("run/run.json").read_text())["seed"] == 42


def test_a_published_study_trains_the_published_circuit() -> None:
    text = 'study.measure = "train"\ngrid = {dataset = "iris", recipe = "published"}\n'
    (task,) = parse_study(text).tasks()
    from qtn_train.studies._training import options

    assert options(task.settings).circuit() == RunOptions("iris", recipe="published").circuit()
    assert options(task.settings).circuit() != RunOptions("iris").circuit()


def test_a_study_sweeps_over_every_option_of_a_run() -> None:
    own = set(RunOptions("iris").to_json()) - {"seed", "device", "native", "placement"}
    assert own == set(MEASURES["train"].settings)


@pytest.fixture
def repeatable(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Fix what Braket's local simulator draws; the function begins anew."""
    pytest.importorskip("braket.jobs", reason="the braket extra is not installed")
    import numpy as np

    def begin() -> None:
        np.random.seed(0)

    return begin


def test_a_hybrid_job_trains_as_the_command_line_does(
    repeatable: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtn_train.cli import _hybrid_job

    given = {"lr": 0.3, "n_layers": 1, "epochs": 2, "shots": 50, "gradient": "spsa", "seed": 3}
    repeatable()
    own = words(given)
    shell(
        monkeypatch,
        *("train", "iris", "--engine", "braket", "--device", "local:sv", *own, "--out", "run"),
    )
    for name in ("checkpoints", "results"):
        (tmp_path / name).mkdir()
    texts = {"layers" if k == "n_layers" else k: str(v) for k, v in given.items()}
    Path("hp.json").write_text(json.dumps({"dataset": "iris", **texts}))
    for name, value in {
        "JOB_NAME": "my-job",
        "DEVICE_ARN": "local:none/none",
        "HP_FILE": "hp.json",
        "CHECKPOINT_DIR": "checkpoints",
        "JOB_RESULTS_DIR": "results",
    }.items():
        monkeypatch.setenv(f"AMZN_BRAKET_{name}", value)
    repeatable()
    _hybrid_job.main()
    first, second = load_file("run/weights.safetensors"), load_file("results/weights.safetensors")
    assert same(first, second)
    kept = [read_checkpoint(Path(name))[1] for name in ("run", "checkpoints")]
    assert kept[0]["run"]["options"] == kept[1]["run"]["options"]
    assert kept[0]["config"] == kept[1]["config"]
    assert kept[0]["config"]["lr_mapping"] == pytest.approx(0.6), "scaled with the rate"
