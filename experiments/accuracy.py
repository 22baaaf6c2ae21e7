"""The accuracies of the command line: its default recipe, and the published one.

    python -m experiments.accuracy default --data-dir DATA       # 20 minutes on two cores
    python -m experiments.accuracy published --data-dir DATA     # two hours

Each run is `qtn-train train` in a process of its own with one thread, `--jobs` of them at a time.
Runs are kept in `--runs`; what is finished there is not run again, and what was stopped goes on.
`published` also lays the runs of 16 layers beside the curve that the paper's authors recorded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from tqdm import tqdm

from qtn_train import plots

RESULTS = Path(__file__).parents[1] / "docs" / "results"
COMMAND = Path(sys.executable).with_name("qtn-train")
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")

Run = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """Runs that differ in their seed."""

    arguments: str
    seeds: tuple[int, ...]

    @property
    def dataset(self) -> str:
        return self.arguments.split()[0]

    def folder(self, runs: Path, seed: int) -> Path:
        return runs / f"{self.arguments.replace(' --', '-').replace(' ', '-')}-{seed}"


DEFAULT = (
    Case("iris", (0, 1, 2, 3, 4)),
    Case("digits", (0, 1, 2)),
    Case("mnist-mini", (0, 1, 2)),
    Case("mnist", (0, 1, 2)),
)
SETS, LAYERS, PUBLISHED_SEEDS = ("mnist", "fashion-mnist"), (1, 7, 16), (42, 43, 44)
PUBLISHED = tuple(
    Case(f"{dataset} --recipe published --layers {n_layers}", PUBLISHED_SEEDS)
    for n_layers in LAYERS
    for dataset in SETS
)

#: What is published: accuracies in percent by layers (arXiv 2402.16465 and the authors' notebooks).
PUBLISHED_FIGURES = {
    "mnist": {1: 33.45, 4: 56.0, 7: 82.0, 10: 85.3, 13: 90.7, 16: 91.8},
    "fashion-mnist": {1: 34.03, 4: 61.68, 7: 63.01, 10: 73.91, 13: 77.87, 16: 79.46},
}
#: Training accuracy in percent by epoch, MNIST, 16 layers, as recorded in the authors' notebook,
#: and their test accuracy (on 1,000 images) after the last epoch.
RECORDED = {1: 9.9, 5: 17.5, 10: 35.0, 15: 71.2, 20: 82.8, 30: 88.0, 40: 90.2, 50: 91.7}
RECORDED_TEST = 91.20


def run(case: Case, seed: int, options: argparse.Namespace) -> Run:
    """Run the command, or go on with it, unless it is finished; return its ``run.json``."""
    folder = case.folder(options.runs, seed)
    file = folder / "run.json"
    if not file.exists():
        words = [*case.arguments.split(), "--seed", str(seed), "--out", str(folder)]
        words += ["--resume"] if folder.exists() else []
        words += ["--data-dir", str(options.data_dir)] if options.data_dir else []
        words += ["--torch-device", options.torch_device]
        options.runs.mkdir(parents=True, exist_ok=True)
        with folder.with_suffix(".log").open("a") as log:
            subprocess.run(
                [COMMAND, "train", *words], env=os.environ | _THREADS, stderr=log, stdout=log,
                check=True,
            )  # fmt: skip
    read: Run = json.loads(file.read_text())
    return read


def all_runs(cases: tuple[Case, ...], options: argparse.Namespace) -> dict[Case, list[Run]]:
    """Return the runs of all cases, some of them side by side."""
    wanted = [(case, seed) for case in cases for seed in case.seeds]
    with ThreadPoolExecutor(options.jobs) as pool:
        made = pool.map(lambda one: run(*one, options), wanted)
        done = list(tqdm(made, total=len(wanted), unit="run"))
    found: dict[Case, list[Run]] = {case: [] for case in cases}
    for (case, _), one in zip(wanted, done, strict=True):
        found[case].append(one)
    return found


def percent(runs: list[Run], name: str) -> list[float]:
    """Return an accuracy after the last epoch, in percent."""
    return [100 * one["epochs"][-1][name] for one in runs]


def seconds(runs: list[Run]) -> float:
    """Return the time of all epochs."""
    return round(sum(entry["seconds"] for one in runs for entry in one["epochs"]), 1)


def facts(runs: list[Run]) -> Run:
    """Return the columns that all tables share."""
    test, train = percent(runs, "test_accuracy"), percent(runs, "train_accuracy")
    return {
        "n_trainable": runs[0]["n_trainable"],
        "n_weights": runs[0]["n_weights"],
        "epochs": len(runs[0]["epochs"]),
        "seeds": ", ".join(str(one["seed"]) for one in runs),
        "mean": round(mean(test), 2),
        "deviation": round(stdev(test), 2),
        "train": round(mean(train), 2),
        "train_deviation": round(stdev(train), 2),
        "seconds": round(seconds(runs) / len(runs), 1),
    }


COLUMNS = {
    "n_trainable": "trained numbers",
    "n_weights": "weights",
    "epochs": "epochs",
    "seeds": "seeds",
    "mean": "test accuracy (%)",
    "deviation": "± (standard deviation)",
    "train": "training accuracy (%)",
    "seconds": "seconds a run, one thread",
}


def write(name: str, result: Run) -> None:
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / f"{name}.json").write_text(text)


def each(runs: list[Run]) -> list[Run]:
    """Return what is kept of each run."""
    names = ("dataset", "n_layers", "seed", "test_accuracy", "n_trainable")
    return [{name: one[name] for name in names} for one in runs]


def default(options: argparse.Namespace) -> None:
    """Write ``accuracy.json``."""
    found = all_runs(DEFAULT, options)
    everything = [one for runs in found.values() for one in runs]
    rows = [
        {"case": f"qtn-train train {case.dataset}"} | facts(runs) for case, runs in found.items()
    ]
    write(
        "accuracy",
        {
            "title": "The default recipe",
            "notes": "The command with nothing but a seed; tested on the whole test set. The "
            "seconds are those of a busy machine: upper bounds.",
            "command": "python -m experiments.accuracy default",
            "seconds": seconds(everything),
            "versions": everything[0]["versions"],
            "columns": {"case": "command"} | COLUMNS,
            "rows": rows,
            "runs": each(everything),
        },
    )


def published(options: argparse.Namespace) -> None:
    """Write the tables of both data sets, and the curves of 16 layers."""
    found = all_runs(PUBLISHED, options)
    for dataset in SETS:
        own = {case: runs for case, runs in found.items() if case.dataset == dataset}
        rows = []
        for runs in own.values():
            n_layers = runs[0]["n_layers"]
            figure = PUBLISHED_FIGURES[dataset][n_layers]
            rows.append({"n_layers": n_layers, "published": figure} | facts(runs))
        everything = [one for runs in own.values() for one in runs]
        write(
            f"published-{dataset}",
            {
                "title": f"The published recipe at several depths: {dataset}",
                "notes": "Affine mapping, U3+CU3 ring of 13 qubits, 50 epochs, tested on all "
                "10,000 images. The published figures are of one run each; at 16 layers they are "
                "training accuracies.",
                "command": "python -m experiments.accuracy published",
                "seconds": seconds(everything),
                "versions": everything[0]["versions"],
                "columns": {
                    "n_layers": "layers",
                    "published": "published (%)",
                    **COLUMNS,
                    "train_deviation": "± in training",
                },
                "figure": {
                    "x": "n_layers",
                    "y": "accuracy",
                    "by": "which",
                    "rows": "runs",
                    "labels": ["layers of the circuit", "accuracy (%)"],
                },
                "rows": rows,
                "runs": points(dataset, everything),
            },
        )
    curves(next(runs for case, runs in found.items() if case == PUBLISHED[-len(SETS)]))


def points(dataset: str, runs: list[Run]) -> list[Run]:
    """Return the test accuracy of each run, and the published figures."""
    ours = [
        {
            "which": "test, ours",
            "n_layers": one["n_layers"],
            "seed": one["seed"],
            "accuracy": round(100 * one["test_accuracy"], 2),
        }
        for one in runs
    ]
    figures = PUBLISHED_FIGURES[dataset].items()
    return ours + [{"which": "published", "n_layers": n, "accuracy": a} for n, a in figures]


def curves(runs: list[Run]) -> None:
    """Write the accuracies by epoch beside those that were recorded, and their picture."""
    names = ("train_accuracy", "test_accuracy")
    rows = [
        {"run": f"seed {one['seed']}", "epoch": entry["epoch"]}
        | {name: round(100 * entry[name], 2) for name in names}
        for one in runs
        for entry in one["epochs"]
    ]
    last = max(RECORDED)
    rows += [
        {
            "run": "authors",
            "epoch": epoch,
            "train_accuracy": accuracy,
            "test_accuracy": RECORDED_TEST if epoch == last else None,
        }
        for epoch, accuracy in RECORDED.items()
    ]
    both = {"train_accuracy": "training accuracy (%)", "test_accuracy": "test accuracy (%)"}
    figures: list[Run] = [
        {"x": "epoch", "by": "run", "y": name, "labels": ["epoch", label]}
        for name, label in both.items()
    ]
    write(
        "published",
        {
            "title": "The published recipe",
            "notes": f"MNIST, 16 layers, 13 qubits, 1,497 trained numbers, {last} epochs. Ours are "
            "tested on all 10,000 images; the authors recorded the training accuracy of one run, "
            "and tested it on 1,000 images.",
            "command": "python -m experiments.accuracy published",
            "seconds": seconds(runs),
            "versions": runs[0]["versions"],
            "rows": rows,
            "columns": {"run": "run", "epoch": "epoch", **both},
            "figure": figures,
        },
    )
    picture = plots.lines(rows, **figures[0], title="MNIST, published recipe, 16 layers")
    plots.save(picture, RESULTS / "published.png")


TABLES = {"default": default, "published": published}


def main() -> None:
    parser = argparse.ArgumentParser(description="The accuracies of the command line.")
    parser.add_argument("table", choices=tuple(TABLES))
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--torch-device", default="cpu")
    options = parser.parse_args()
    TABLES[options.table](options)


if __name__ == "__main__":
    main()
