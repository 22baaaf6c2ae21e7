"""The large table of docs/results, on a GPU in minutes: circuits and controls of equal size.

    python -m experiments.controls --data-dir DATA

Trains the network of the default recipe through circuits of four sizes and through every
control of the same number of trained numbers, on MNIST and Fashion-MNIST, with three seeds. The
learning rate of each generator at each size is first chosen on a held-out sixth of MNIST's training
set, with another seed; the test sets are looked at once, after the last epoch.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor

from experiments.ensemble import Ensemble, Run
from qtn_train._random import permutation
from qtn_train.data import load
from qtn_train.engines import StatevectorEngine
from qtn_train.generators import control
from qtn_train.hybrid import QuantumTrain
from qtn_train.recipes import RunOptions

SETS = ("mnist", "fashion-mnist")
LAYERS = (110, 46, 20, 8)
GENERATORS = (
    "circuit",
    "random-subspace",
    "hashing",
    "pruning",
    "low-rank",
    "tensor-train",
    "frozen-wide",
    "fixed-random-wide",
    "product",
)
RATES = (0.003, 0.006, 0.012, 0.025, 0.05, 0.1)
TUNING_SEED, TUNING_EPOCHS = 1000, 3
SEEDS = (0, 1, 2)


def images(data_dir: Path | None, device: torch.device) -> tuple[Tensor, ...]:
    """Return training and test images and labels of both sets, stacked."""
    sets = [load(name, data_dir=data_dir) for name in SETS]
    parts = ("x_train", "y_train", "x_test", "y_test")
    return tuple(torch.stack([getattr(one, p) for one in sets]).to(device) for p in parts)


def model(
    n_layers: int, seed: int, device: torch.device, ansatz: str | None = None
) -> QuantumTrain:
    """Return the circuit's model."""
    own = RunOptions("mnist", ansatz, n_layers, seed=seed, torch_device=str(device))
    return own.model(StatevectorEngine())


def runs_of(name: str, n_layers: int, seed: int, device: torch.device) -> QuantumTrain:
    """Return a circuit's model, or that of a control of its size."""
    own = model(n_layers, seed, device)
    return own if name == "circuit" else own.with_generator(control(name, own.generator, seed))


def tuned(x: Tensor, y: Tensor, device: torch.device) -> dict[tuple[str, int], float]:
    """Choose a learning rate for each generator and size on held-out training images."""
    order = torch.from_numpy(permutation(TUNING_SEED, "held out", x.shape[1])).to(device)
    held, kept = order[: len(order) // 6], order[len(order) // 6 :]
    runs = []
    for name, n_layers in wanted():
        for rate in RATES:
            config = (
                RunOptions("mnist", seed=TUNING_SEED)
                .fit_config()
                .but(
                    epochs=TUNING_EPOCHS,
                    lr=rate,
                    lr_mapping=rate if name != "circuit" else 0.3 * rate,
                )
            )
            if name == "circuit" and rate > 0.03:
                continue
            made = runs_of(name, n_layers, TUNING_SEED, device)
            runs.append(Run(made, config, 0, {"generator": name, "n_layers": n_layers}))
    ensemble = Ensemble(runs, x[:1, kept], y[:1, kept], device)
    for number in range(TUNING_EPOCHS):
        ensemble.epoch(number)
    accuracies = ensemble.accuracy(x[:1, held], y[:1, held]).tolist()
    best: dict[tuple[str, int], tuple[float, float]] = {}
    for run, accuracy in zip(ensemble.runs, accuracies, strict=True):
        key = (run.labels["generator"], run.labels["n_layers"])
        best[key] = max(best.get(key, (0.0, 0.0)), (accuracy, run.config.lr))
    for key, (accuracy, rate) in sorted(best.items()):
        print(f"{key[0]:20} {key[1]:4} layers: rate {rate:g}, held out {100 * accuracy:.2f} %")
    return {key: rate for key, (_, rate) in best.items()}


def wanted() -> Iterator[tuple[str, int]]:
    """Give each generator at each size; the mapping alone and the plain network once."""
    for n_layers in LAYERS:
        for name in GENERATORS:
            yield name, n_layers
    yield "frozen", LAYERS[0]
    yield "direct", LAYERS[0]


def controls(x: Tensor, y: Tensor, tests: tuple[Tensor, Tensor], device: torch.device) -> Any:
    """Train all generators at all sizes, on both sets, with all seeds."""
    rates = tuned(x, y, device)
    runs = []
    for name, n_layers in wanted():
        for seed in SEEDS:
            made = runs_of(name, n_layers, seed, device)
            for number, dataset in enumerate(SETS):
                rate = rates[name, n_layers]
                config = (
                    RunOptions(dataset, seed=seed)
                    .fit_config()
                    .but(lr=rate, lr_mapping=0.3 * rate if name == "circuit" else rate)
                )
                twin = made if number == 0 else runs_of(name, n_layers, seed, device)
                labels = {"dataset": dataset, "generator": name, "n_layers": n_layers, "lr": rate}
                runs.append(Run(twin, config, number, labels))
    others = (("u3-cu3-ring", 18), ("hardware-efficient", 55))
    for ansatz, n_layers in others:
        for seed in SEEDS:
            labels = {"dataset": "mnist", "generator": ansatz, "n_layers": n_layers, "lr": 0.006}
            config = RunOptions("mnist", seed=seed).fit_config()
            runs.append(Run(model(n_layers, seed, device, ansatz), config, 0, labels))
    return trained(runs, x, y, tests, device)


def trained(
    runs: list[Run], x: Tensor, y: Tensor, tests: tuple[Tensor, Tensor], device: torch.device
) -> list[dict[str, Any]]:
    """Train all runs to the end and return a row for each."""
    ensemble = Ensemble(runs, x, y, device)
    began = time.monotonic()
    epochs = runs[0].config.epochs
    for number in range(epochs):
        losses = ensemble.epoch(number)
        taken = time.monotonic() - began
        print(f"epoch {number + 1}/{epochs}, {len(runs)} runs, {taken:.0f} s", flush=True)
    test, train = ensemble.accuracy(*tests), ensemble.accuracy(x[:, :10_000], y[:, :10_000])
    values = zip(ensemble.runs, test.tolist(), train.tolist(), losses.tolist(), strict=True)
    return [
        {
            **run.labels,
            "seed": run.model.seed,
            "n_trainable": run.model.n_trainable,
            "epochs": epochs,
            "test_accuracy": round(accuracy, 4),
            "train_accuracy_of_10000": round(of_training, 4),
            "train_loss": loss,
        }
        for run, accuracy, of_training, loss in values
    ]


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and standard deviation over the seeds, the best of each size first."""
    cases: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in runs:
        key = (run["generator"], run["n_layers"], run["n_trainable"])
        cases.setdefault(key, []).append(run)
    rows = []
    for (generator, n_layers, n_trainable), same in cases.items():
        tests = [100 * run["test_accuracy"] for run in same]
        trains = [100 * run["train_accuracy_of_10000"] for run in same]
        row = {"n_layers": n_layers, "generator": generator, "n_trainable": n_trainable}
        row |= {"mean": round(mean(tests), 2), "deviation": round(stdev(tests), 2)}
        rows.append(row | {"train": round(mean(trains), 2), "lr": same[0]["lr"]})
    return sorted(rows, key=lambda row: (-row["n_layers"], -row["mean"]))


def stored(dataset: str, runs: list[dict[str, Any]], facts: Any) -> dict[str, Any]:
    """Return what docs/results keeps of a table for one data set."""
    for run in runs:
        run["test_error"] = round(100 * (1 - run["test_accuracy"]), 2)
    columns = {
        "n_layers": "layers of the circuit",
        "generator": "generator",
        "n_trainable": "trained numbers",
        "mean": "test accuracy (%)",
        "deviation": "± (standard deviation)",
        "train": "training accuracy (%)",
        "lr": "learning rate",
    }
    labels = ["trained numbers", "test error (%)"]
    return {
        "title": f"Circuits and controls of equal size: {dataset}",
        "notes": NOTES,
        "command": "python -m experiments.controls",
        **facts,
        "columns": columns,
        "figure": {
            "ours": "circuit",
            "rows": "runs",
            "x": "n_trainable",
            "y": "test_error",
            "by": "generator",
            "labels": labels,
            "log": "xy",
        },
        "rows": summary(runs),
        "runs": runs,
    }


NOTES = (
    "The image network, 6,690 weights; the default recipe, 15 epochs, three seeds. The learning "
    "rate of each generator was chosen at each size on held-out training images, with another "
    "seed; the test images were looked at once. The circuits are chains of RY and CX with a "
    "mapping of 65 numbers; two more ansätze of the same size stand at 18 and 55 layers. The "
    "training accuracy is that of the first 10,000 training images."
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Circuits and controls of equal size.")
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--torch-device", default="cuda")
    options = parser.parse_args()
    device, began = torch.device(options.torch_device), time.monotonic()
    x, y, *tests = images(options.data_dir, device)
    runs = controls(x, y, (tests[0], tests[1]), device)
    facts = {
        "seconds": round(time.monotonic() - began, 1),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }
    for dataset in SETS:
        own = [run for run in runs if run["dataset"] == dataset]
        text = json.dumps(stored(dataset, own, facts), indent=1, ensure_ascii=False)
        (options.out / f"controls-{dataset}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
