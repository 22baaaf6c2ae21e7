"""What the benchmarks compute is what the library does, and what is stored is not run again."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import tolerances
import torch

import qtn_train as qt
from benchmarks import training
from experiments import accuracy, jacobian, search, truncated
from experiments.batched import batched
from experiments.ensemble import Ensemble, Run
from qtn_train.circuits import Gate
from qtn_train.data import DATASETS, Dataset, load
from qtn_train.engines import StatevectorEngine
from qtn_train.generators import CONTROLS, CircuitGenerator, WeightGenerator, control
from qtn_train.recipes import RunOptions

CPU = torch.device("cpu")


def images(count: int) -> Dataset:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(count, 1, 28, 28, generator=rng)
    y = torch.randint(10, (count,), generator=rng)
    return Dataset("random", x, y, x[:50], y[:50], 10, tuple("0123456789"))


def model(ansatz: str, seed: int) -> qt.QuantumTrain:
    return RunOptions("mnist", ansatz, 2, seed=seed).model(StatevectorEngine())


@pytest.mark.parametrize("ansatz", ["ry-cx-chain", "u3-cu3-ring", "hardware-efficient"])
@pytest.mark.parametrize("n_layers", [1, 5])
def test_batched_circuits_are_the_engines(ansatz: str, n_layers: int) -> None:
    options = RunOptions("mnist", ansatz, n_layers)
    generators = [options.but(seed=s).model().generator for s in (0, 1)]
    stacked, _ = torch.func.stack_module_state(generators)
    made = batched(generators, CPU)(stacked)
    for one, row in zip(generators, made, strict=True):
        torch.testing.assert_close(row, one(), rtol=0, atol=tolerances.MANY_AT_ONCE)


@pytest.mark.parametrize("name", CONTROLS)
def test_batched_controls_are_the_librarys(name: str) -> None:
    generators = [control(name, model("ry-cx-chain", s).generator, s) for s in (0, 1)]
    stacked, _ = torch.func.stack_module_state(generators)
    made = batched(generators, CPU)(stacked)
    for one, row in zip(generators, made, strict=True):
        torch.testing.assert_close(row, one(), rtol=0, atol=tolerances.MANY_AT_ONCE)


@pytest.mark.slow
@pytest.mark.parametrize("ansatz", ["ry-cx-chain", "u3-cu3-ring"])
def test_training_side_by_side_is_fit(ansatz: str) -> None:
    data = images(200)  # two steps an epoch, the second smaller
    config = RunOptions("mnist", epochs=3).fit_config()
    runs = [Run(model(ansatz, seed), config.but(seed=seed)) for seed in (0, 1)]
    ensemble = Ensemble(runs, data.x_train[None], data.y_train[None], CPU)
    losses = [ensemble.epoch(number) for number in range(3)]
    ensemble.put_back()
    for number, run in enumerate(runs):
        own = model(ansatz, number)
        history = qt.fit(own, data, config=run.config, progress_bar=False)
        expected = [entry["train_loss"] for entry in history.epochs]
        assert [float(loss[number]) for loss in losses] == pytest.approx(
            expected, rel=tolerances.TEST_LOSS
        )
        for name, weight in own.generate().items():
            torch.testing.assert_close(
                run.model.generate()[name], weight, rtol=0, atol=tolerances.TRAINED
            )


def small(seed: int = 0) -> CircuitGenerator:
    circuit, mapping = qt.ansatz.ry_cx_chain(6, 4), qt.MLPMapping(2**6, (4,))
    return CircuitGenerator(circuit, StatevectorEngine(), mapping, n_weights=60, seed=seed)


def derivatives(generator: WeightGenerator, parameters: list[torch.nn.Parameter]) -> torch.Tensor:
    rows = [torch.autograd.grad(w, parameters, retain_graph=True) for w in generator()]
    return torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows])


def test_the_jacobian_is_that_of_autograd() -> None:
    generator = small()
    numbers = list(generator.parameters())
    before = [p.detach().clone() for p in numbers]
    found = jacobian.jacobian(generator, numbers)
    torch.testing.assert_close(found, derivatives(generator, numbers), **tolerances.JACOBIAN)
    assert all(torch.equal(a, b) for a, b in zip(before, numbers, strict=True))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_turned_angles_are_the_same_circuit_in_other_coordinates(power: float) -> None:
    generator = small()
    turned = search.Turned(small(), power)
    torch.testing.assert_close(turned(), generator())
    trained = [p for p in turned.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == sum(p.numel() for p in generator.parameters())
    columns = derivatives(turned, [turned.numbers])
    gram = columns.T @ columns
    torch.testing.assert_close(
        gram, torch.diag(gram.diagonal()), rtol=0, atol=tolerances.COORDINATES
    )
    values = torch.linalg.svdvals(derivatives(generator, [generator.angles]))
    large = values[values > 0.1 * values.median()]
    expected = large ** (1 - power) * values.median() ** power
    torch.testing.assert_close(
        columns.norm(dim=0)[: len(large)], expected, rtol=tolerances.COORDINATES, atol=0
    )


@pytest.mark.parametrize("change", [c for c in search.CHANGES if "precondition" not in c], ids=str)
def test_every_change_of_the_recipe_keeps_the_number_of_trained_numbers(
    change: dict[str, Any],
) -> None:
    model = search.model_of(search.DEFAULT | change, 0)
    assert 1400 < model.n_trainable <= search.N_TRAINED


def test_the_search_begins_at_the_default_recipe() -> None:
    own = search.model_of(search.DEFAULT, 0)
    default = RunOptions("mnist").model(StatevectorEngine())
    assert own.layout == default.layout
    assert own.generator.config() == default.generator.config()
    config = RunOptions("mnist-mini").fit_config()
    assert search.DEFAULT["lr"] == config.lr
    assert search.DEFAULT["lr"] * search.DEFAULT["lr_mapping"] == pytest.approx(config.lr_mapping)
    assert (search.DEFAULT["schedule"], search.DEFAULT["clip"]) == ("one-cycle", config.clip_norm)


def test_two_bases_are_two_measurements_of_one_state() -> None:
    circuit = qt.ansatz.u3_cu3_chain(12, 1)

    class Plain:
        """Probabilities as they are, in place of their features."""

        def standardized(self, scaled: torch.Tensor, n_qubits: int) -> torch.Tensor:
            return scaled / 2**n_qubits

    generator = search.TwoBases(circuit, qt.IdentityMapping(2**13), cast(Any, Plain()))
    generator.n_weights = 2**13
    in_z, in_x = 2 * generator().view(2, -1)
    # RY(-π/2) turns |+⟩ into |0⟩ and |-⟩ into |1⟩, as H does.
    turns = tuple(Gate("ry", (i,), (circuit.n_angles,)) for i in range(12))
    turned = replace(circuit, gates=circuit.gates + turns, n_angles=circuit.n_angles + 1)
    angles = torch.cat([generator.angles, torch.tensor([-torch.pi / 2])])
    for found, one in ((in_z, circuit), (in_x, turned)):
        probs = StatevectorEngine().prepare(one, angles[: one.n_angles]).probs(0, 2**12)
        torch.testing.assert_close(found, probs, rtol=0, atol=tolerances.SINGLE)
    assert (in_z - in_x).abs().max() > 1e-3


def test_what_a_search_found_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[Any, int]] = []

    def train(settings: dict[str, Any], data: Any, seed: int, trial: Any = None) -> float:
        if len(trained) == 7:
            raise KeyboardInterrupt
        trained.append((settings["lr"], seed))
        return 1 - abs(settings["lr"] - 0.01)

    monkeypatch.setattr(search, "trained", train)
    storage = f"sqlite:///{tmp_path / 'search.db'}"
    for _ in range(2):
        study = search.opened("search", storage)
        search.search(study, None, 5)
        assert len(study.get_trials()) == len(trained) == 5
    found = search.best(study)
    assert found[0].value == max(trial.value for trial in study.get_trials())
    cases = list(search.cases(study))
    assert [name for name, _ in cases][:2] == ["default", "best of the search, 1"]
    with pytest.raises(KeyboardInterrupt):
        search.compare(storage, cases[:2], None)
    assert trained[5:] == [(0.01, 0), (0.01, 1)]
    trained.clear()
    rows, runs = search.compare(storage, cases[:2], None)
    assert [seed for _, seed in trained] == [2, 0, 1, 2]
    facts = {"mean": 100.0, "deviation": 0.0, "ahead": 0.0, "ahead_deviation": 0.0}
    assert rows[0] == {"case": "default", "n_trainable": 1495} | facts
    assert rows[1]["ahead"] == pytest.approx(rows[1]["mean"] - 100, abs=tolerances.TWO_DECIMALS)
    assert runs[0]["settings"] == search.DEFAULT
    states = [trial.state.name for trial in search.opened("cases", storage).get_trials()]
    assert sorted(states) == ["COMPLETE"] * 6 + ["FAIL"]


@pytest.mark.slow
def test_finished_runs_of_the_command_are_read_and_stopped_ones_go_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command_line: Callable[..., tuple[int, str, str]],
) -> None:
    case = accuracy.Case("iris --epochs 1", (0, 1))
    options = argparse.Namespace(runs=tmp_path, data_dir=None, torch_device="cpu", jobs=2)

    def in_process(words: list[Any], *, stdout: Any, check: bool, **more: Any) -> None:
        assert check
        assert words[0] == accuracy.COMMAND
        status, out, err = command_line(*words[1:])
        stdout.write(out + err)
        assert status == 0, err

    with monkeypatch.context() as patch:
        patch.setattr(accuracy.subprocess, "run", in_process)
        assert accuracy.run(case, 0, options)["seed"] == 0
        (case.folder(tmp_path, 1)).mkdir()
        assert accuracy.run(case, 1, options)["seed"] == 1
    log = case.folder(tmp_path, 1).with_suffix(".log").read_text()
    assert "holds no checkpoint yet: starting the run there." in log
    monkeypatch.setattr(accuracy.subprocess, "run", None)
    found = accuracy.all_runs((case,), options)[case]
    assert [run["seed"] for run in found] == [0, 1]
    row = accuracy.facts(found)
    accuracies = [100 * run["test_accuracy"] for run in found]
    assert row["mean"] == pytest.approx(sum(accuracies) / 2, abs=tolerances.TWO_DECIMALS)
    assert (row["seeds"], row["epochs"], row["n_weights"]) == ("0, 1", 1, 131)


def test_published_accuracies_stand_beside_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = {"epoch": 1, "train_accuracy": 0.5, "test_accuracy": 0.4, "seconds": 2.0}

    def run(case: accuracy.Case, seed: int, options: Any) -> dict[str, Any]:
        n_layers = int(case.arguments.split()[-1])
        facts = {"dataset": case.dataset, "seed": seed, "n_layers": n_layers, "versions": {}}
        sizes = {"n_trainable": 249 + 78 * n_layers, "n_weights": 6690}
        return facts | sizes | {"test_accuracy": 0.4 + seed / 1000, "epochs": [epoch]}

    monkeypatch.setattr(accuracy, "run", run)
    monkeypatch.setattr(accuracy, "RESULTS", tmp_path)
    accuracy.published(argparse.Namespace(jobs=1))
    stored = json.loads((tmp_path / "published-mnist.json").read_text())
    first = stored["rows"][0]
    assert (first["n_layers"], first["published"], first["mean"]) == (1, 33.45, 40.0)
    assert stored["seconds"] == 2.0 * 9
    assert {point["which"] for point in stored["runs"]} == {"test, ours", "published"}
    curves = json.loads((tmp_path / "published.json").read_text())["rows"]
    assert [row["run"] for row in curves][:4] == ["seed 42", "seed 43", "seed 44", "authors"]
    assert (tmp_path / "published.png").exists()


@pytest.mark.slow
def test_a_training_step_stands_beside_the_plain_networks() -> None:
    found = training.measure("iris", rounds=1, threads=1)
    assert set(found) == {"step_ms", "plain_step_ms", "generator_ms", "circuit_ms", "ratio"}
    assert min(found.values()) > 0
    assert found["ratio"] == pytest.approx(
        found["step_ms"] / found["plain_step_ms"], rel=tolerances.THREE_STORED_DIGITS
    )
    assert set(training.INPUTS) == set(DATASETS)
    for name in ("iris", "digits"):
        data = load(name)
        assert training.INPUTS[name] == (tuple(data.x_train.shape[1:]), data.n_classes)


def test_means_of_truncated_networks() -> None:
    runs = [
        {"trained": "exact", "read": read, "seed": seed, "test_accuracy": value + seed}
        for read, value in (("exact", 90.0), ("16", 10.0))
        for seed in (0, 1, 2)
    ]
    rows = truncated.summary(runs)
    assert [(r["read"], r["mean"], r["deviation"]) for r in rows] == [
        ("exact", 91.0, 1.0),
        ("16", 11.0, 1.0),
    ]
