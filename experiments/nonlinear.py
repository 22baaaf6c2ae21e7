"""The circuit beside the hardest generators of equal size: four sizes, two data sets, three seeds.

    python -m experiments.nonlinear --data-dir DATA                      # on the CPU, 2 processes
    python -m experiments.nonlinear --data-dir DATA --torch-device cuda  # many at once
    python -m experiments.nonlinear --datasets mnist-mini --sizes 169 --epochs 3 --out runs/small
    python -m experiments.nonlinear --data-dir DATA --larger             # 49,811 weights

The learning rate of each generator is chosen at each size and on each data set among the same six,
on a held-out sixth of the training images, with another seed; the test images are looked at once,
after the last epoch. Runs of a seed share the order of the images. Each run is written to
``docs/results/nonlinear-DATASET.json`` when it ends, on a GPU all runs of a size together; what is
there is not trained again. With ``--images N`` the file is ``nonlinear-N-DATASET.json``, with more
epochs than 15 ``nonlinear-30-epochs-DATASET.json``.

``-rising`` are the circuit and the wide fixed mapping with a mapping whose output rises with the
value at the start (:class:`~qtn_train.mapping.MLPMapping`). ``--larger`` trains a wider network of
the same form from 2,061 numbers, 16 qubits; its rates are chosen on at most 15,000 images, and its
files are ``larger-DATASET.json``.

``--times`` measures the steps of what is stored again, for a machine that was busy.

On a GPU correlators and direct training run in processes on the CPU, as all do without one.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import nn

from experiments.ensemble import Ensemble, Run
from qtn_train._files import write_atomically
from qtn_train._random import permutation
from qtn_train.circuits import ansatz
from qtn_train.data import Dataset, load
from qtn_train.engines import StatevectorEngine
from qtn_train.generators import control
from qtn_train.hybrid import QuantumTrain
from qtn_train.mapping import MLPMapping
from qtn_train.recipes import ImageCNN, RunOptions
from qtn_train.training import FitConfig, fit

Row = dict[str, Any]

OUT = Path("docs/results")
#: Trained numbers: 13 qubits of RY and CX have 65 in the mapping and 13 a layer; correlators of RY,
#: RZ and CZ have 13 a qubit.
SIZES = (169, 325, 663, 1495)
GENERATORS = (
    "circuit", "correlators", "fixed-random-wide", "mcnc", "mapping-network", "isometric-hashing",
    "outer-product", "random-subspace", "circuit-rising", "fixed-random-wide-rising",
)  # fmt: skip
RISING = "-rising"
#: The wider network, its weights, and its circuit, whose mapping has 77 numbers.
LARGER: dict[str, Any] = {"channels": (12, 24), "hidden": 107}
LARGER_WEIGHTS, LARGER_QUBITS, LARGER_LAYERS = 49_811, 16, 124
LARGER_SIZE = LARGER_QUBITS * LARGER_LAYERS + 77
LARGER_GENERATORS = ("circuit-rising", "isometric-hashing", "mcnc", "direct")
LARGER_TUNING_IMAGES = 15_000
#: The circuits that others are compared with, and the prefix of the columns of each.
REFERENCES = {"circuit": "", f"circuit{RISING}": "rising_"}
RATES = (0.003, 0.006, 0.012, 0.025, 0.05, 0.1)
LOWER_RATES = (0.0015, 0.003, 0.006, 0.025, 0.05, 0.1)
EPOCHS = 15
TUNING_SEED, TUNING_EPOCHS = 1000, 3
#: Steps over which the time of a step is taken, after as many to warm up.
TIMED_STEPS = 20


@dataclass(frozen=True)
class Task:
    """A model to train.

    Attributes:
        dataset: Name of the data set.
        size: Trained numbers of the circuit.
        generator: One of ``GENERATORS``.
        seed: Seed of the model and of the order of the images.
        rate: Peak learning rate.
        tuning: Whether to train on a part of the training images and to test on the rest.
    """

    dataset: str
    size: int
    generator: str
    seed: int
    rate: float
    tuning: bool

    @property
    def is_larger(self) -> bool:
        """Whether the wider network is trained."""
        return self.size == LARGER_SIZE

    @property
    def is_circuit(self) -> bool:
        """Whether a circuit is trained, of probabilities."""
        return self.generator.removesuffix(RISING) == "circuit"

    def options(self) -> RunOptions:
        """Return the circuit's options, or those of correlators of its size."""
        sizes: dict[str, Any] = {"n_layers": (self.size - 65) // 13}
        if self.generator == "correlators":
            sizes = {"measurement_name": "pauli-2", "n_qubits": self.size // 13}
        return RunOptions(self.dataset, seed=self.seed, **sizes)

    def model(self) -> nn.Module:
        """Return the model at its start."""
        return self.target() if self.generator == "direct" else self.generated()

    def generated(self) -> QuantumTrain:
        """Return the model of a generator at its start."""
        if self.generator == "correlators":
            return self.options().model()
        model, name = self.of_circuit(), self.generator.removesuffix(RISING)
        if name == "circuit":
            return model
        return model.with_generator(control(name, model.generator, self.seed))

    def of_circuit(self) -> QuantumTrain:
        """Return the circuit's model."""
        n_weights = LARGER_WEIGHTS if self.is_larger else self.options().n_weights
        rising = self.generator.endswith(RISING)
        mapping = MLPMapping(n_weights, (4,), rising=rising, seed=self.seed)
        engine = StatevectorEngine()
        if not self.is_larger:
            return self.options().model(engine, mapping)
        circuit = ansatz.ry_cx_chain(LARGER_QUBITS, LARGER_LAYERS)
        own: dict[str, Any] = {"circuit": circuit, "mapping": mapping, "engine": engine}
        return QuantumTrain(self.target(), **own, seed=self.seed)

    def target(self) -> nn.Module:
        """Return the network at a start of this seed."""
        with torch.random.fork_rng([]):
            torch.manual_seed(self.seed)
            return ImageCNN(**LARGER) if self.is_larger else self.options().target()

    def config(self, epochs: int) -> FitConfig:
        """Return the options of the training; only the circuit's mapping has a rate of its own."""
        factor = 0.3 if self.is_circuit else 1.0
        config = RunOptions("mnist", seed=self.seed).fit_config()
        epochs = min(epochs, TUNING_EPOCHS) if self.tuning else epochs
        return config.but(epochs=epochs, lr=self.rate, lr_mapping=factor * self.rate)


@dataclass(frozen=True)
class Settings:
    """What all runs of a file share."""

    epochs: int
    images: int | None
    data_dir: str | None


def data_of(task: Task, settings: Settings) -> Dataset:
    """Return the images that a task sees."""
    most = LARGER_TUNING_IMAGES if task.is_larger else None
    return images(task.dataset, settings, task.tuning, most)


@functools.cache
def images(dataset: str, settings: Settings, tuning: bool, most: int | None = None) -> Dataset:
    """Return a data set; for tuning, at most so many training images, a sixth more held out."""
    data = load(dataset, data_dir=settings.data_dir)
    x, y = data.x_train[: settings.images], data.y_train[: settings.images]
    if not tuning:
        return replace(data, x_train=x, y_train=y)
    order = torch.from_numpy(permutation(TUNING_SEED, "held out", len(x)))
    held, kept = order[: len(x) // 6], order[len(x) // 6 :][:most]
    return replace(data, x_train=x[kept], y_train=y[kept], x_test=x[held], y_test=y[held])


def trained(task: Task, settings: Settings) -> Row:
    """Train a model on the CPU and return its row."""
    torch.set_num_threads(1)
    model, data = task.model(), data_of(task, settings)
    config = task.config(settings.epochs)
    history = fit(model, data, config=config, progress_bar=False)
    return row_of(task, settings, model, history.test_accuracy)


def row_of(task: Task, settings: Settings, model: nn.Module, accuracy: float) -> Row:
    """Return the row of a trained model."""
    n_trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    row = asdict(task) | {"n_trainable": n_trainable, "epochs": task.config(settings.epochs).epochs}
    row |= {"test_accuracy": round(100 * accuracy, 2)}
    return row | ({} if task.tuning else {"step_ms": step_ms(task, settings)})


def step_ms(task: Task, settings: Settings) -> float:
    """Return the milliseconds of a training step of one model on one thread of the CPU."""
    data, config = images(task.dataset, settings, False), task.config(2).but(epochs=2)
    n = TIMED_STEPS * config.batch_size
    few = replace(data, x_train=data.x_train[:n], y_train=data.y_train[:n])
    few = replace(few, x_test=few.x_test[:1], y_test=few.y_test[:1])
    seconds = fit(task.model(), few, config=config, progress_bar=False).epochs[-1]["seconds"]
    return round(1e3 * seconds / -(-len(few.x_train) // config.batch_size), 2)


def trained_at_once(tasks: list[Task], settings: Settings, device: torch.device) -> list[Row]:
    """Train models of one data set side by side, and return their rows."""
    data = data_of(tasks[0], settings)
    runs = [
        Run(task.generated().to(device), task.config(settings.epochs), 0, {"task": task})
        for task in tasks
    ]
    x, y, x_test, y_test = (
        getattr(data, name)[None].to(device) for name in ("x_train", "y_train", "x_test", "y_test")
    )
    ensemble = Ensemble(runs, x, y, device)
    for number in range(runs[0].config.epochs):
        ensemble.epoch(number)
    accuracies = ensemble.accuracy(x_test, y_test).tolist()
    return [
        row_of(run.labels["task"], settings, run.model, accuracy)
        for run, accuracy in zip(ensemble.runs, accuracies, strict=True)
    ]


def results(tasks: list[Task], options: argparse.Namespace) -> Iterator[Row]:
    """Train, and yield rows as they come."""
    settings, device = options.settings, torch.device(options.torch_device)
    alone = tasks
    if device.type == "cuda":
        alone = [task for task in tasks if task.generator in ("correlators", "direct")]
        together = [task for task in tasks if task not in alone]
        for part in dict.fromkeys((task.dataset, task.size, task.tuning) for task in together):
            same = [t for t in together if (t.dataset, t.size, t.tuning) == part]
            yield from trained_at_once(same, settings, device)
    if options.jobs == 1:
        yield from (trained(task, settings) for task in alone)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context) as pool:
        waiting = [pool.submit(trained, task, settings) for task in alone]
        try:
            for future in waiting:
                yield future.result()
        finally:
            for future in waiting:
                future.cancel()


def cases(options: argparse.Namespace) -> Iterator[tuple[str, int, str]]:
    """Yield data set, size and generator of each row of the tables."""
    for dataset in options.datasets:
        for size in options.sizes:
            for generator in options.generators:
                yield dataset, size, generator


def best_rates(rows: Iterable[Row]) -> dict[tuple[str, int, str], float]:
    """Return the rate of the best held-out accuracy of each case."""
    best: dict[tuple[str, int, str], tuple[float, float]] = {}
    for row in rows:
        if row["tuning"]:
            case = row["dataset"], row["size"], row["generator"]
            best[case] = max(best.get(case, (-1.0, 0.0)), (row["test_accuracy"], row["rate"]))
    return {case: rate for case, (_, rate) in best.items()}


def summary(rows: Iterable[Row]) -> list[Row]:
    """Return mean and spread over the seeds of each generator, the best of each size first."""
    same: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        if not row["tuning"]:
            same.setdefault((row["size"], row["generator"]), []).append(row)
    table = []
    for (size, generator), runs in same.items():
        found = [run["test_accuracy"] for run in runs]
        row = {"size": size, "generator": generator, "n_trainable": runs[0]["n_trainable"]}
        row |= {"mean": round(mean(found), 2), "seeds": len(found), "rate": runs[0]["rate"]}
        row["deviation"] = round(stdev(found), 2) if len(found) > 1 else None
        for reference, prefix in REFERENCES.items():
            row |= ahead(runs, same.get((size, reference), []), prefix)
        table.append(row | {"step_ms": min(run["step_ms"] for run in runs)})
    return sorted(table, key=lambda row: (-row["size"], -row["mean"]))


def ahead(runs: list[Row], reference: list[Row], prefix: str) -> Row:
    """Return by how much a circuit is ahead in the mean, and the spread over paired seeds."""
    names = f"{prefix}ahead", f"{prefix}ahead_deviation"
    other = {run["seed"]: run["test_accuracy"] for run in runs}
    pairs = [run["test_accuracy"] - other[run["seed"]] for run in reference if run["seed"] in other]
    if len(pairs) < 2 or runs[0]["generator"] == reference[0]["generator"]:
        return dict.fromkeys(names)
    return dict(zip(names, (round(mean(pairs), 2), round(stdev(pairs), 2)), strict=True))


def sentences(dataset: str, table: list[Row]) -> list[str]:
    """Return a sentence a size and circuit: what it is ahead of, level with and behind.

    Level is a mean difference of paired seeds within the standard deviation of the differences.
    """
    sizes = sorted({row["size"] for row in table})
    made = (sentence(dataset, table, size, *one) for size in sizes for one in REFERENCES.items())
    return [words for words in made if words]


def sentence(dataset: str, table: list[Row], size: int, reference: str, prefix: str) -> str:
    """Return the sentence of one size and circuit, or nothing where nothing is compared."""
    groups: dict[str, list[str]] = {"ahead of": [], "level with": [], "behind": []}
    for row in table:
        found = row[f"{prefix}ahead"]
        if row["size"] == size and found is not None:
            level = abs(found) <= row[f"{prefix}ahead_deviation"]
            where = "level with" if level else ("ahead of" if found > 0 else "behind")
            groups[where].append(f"{row['generator']} ({found:+.2f})")
    parts = [f"{where} {', '.join(names)}" for where, names in groups.items() if names]
    circuit = reference if reference == "circuit" else "rising circuit"
    return f"{dataset}, {size} numbers: the {circuit} is {'; '.join(parts)}." if parts else ""


TITLE = "The circuit beside nonlinear generators of equal size"
LARGER_TITLE = f"{LARGER_WEIGHTS:,} weights from {LARGER_SIZE:,} numbers"


def notes(larger: bool) -> str:
    """Return what a table's reader has to know."""
    network = "The image network, 6,690 weights."
    sizes = (
        "The circuit is a chain of RY and CX on 13 qubits, with a mapping of 65 numbers; "
        "correlators are those of a chain of RY, RZ and CZ, 13 numbers a qubit, with a fixed "
        "mixing. Mapping-network is built after a second-hand description, without the "
        "regularizers of its paper: its figures refute nothing. "
    )
    if larger:
        network = (
            f"A wider image network, {LARGER_WEIGHTS:,} weights; rates are chosen on "
            f"{LARGER_TUNING_IMAGES:,} images; direct: all weights trained."
        )
        sizes = (
            f"The circuit is a chain of RY and CX on {LARGER_QUBITS} qubits, {LARGER_LAYERS} "
            "layers, with a mapping of 77 numbers. "
        )
    return (
        f"{network} Each generator's peak rate is the best of the same six on held-out training "
        "images, with another seed, at each size; runs of a seed share the order of the images; "
        f"the test images were looked at once. {sizes}Rising: the mapping's output rises with the "
        "value at the start; its signs are random otherwise. Ahead: a circuit's accuracy less the "
        "generator's, paired by seed; level is a mean within one standard deviation of the pairs. "
        "Milliseconds: a training step of 128 images on one thread of the CPU."
    )


COLUMNS = {
    "size": "size",
    "generator": "generator",
    "n_trainable": "trained numbers",
    "mean": "test accuracy (%)",
    "deviation": "± (standard deviation)",
    "seeds": "seeds",
    "ahead": "circuit ahead by",
    "ahead_deviation": "± of the pairs",
    "rising_ahead": "rising circuit ahead by",
    "rising_ahead_deviation": "± of its pairs",
    "rate": "learning rate",
    "step_ms": "a step (ms)",
}

FIGURE = {
    "rows": "differences",
    "x": "size",
    "y": "points",
    "by": "generator",
    "labels": ["trained numbers", "ahead of the rising circuit (points)"],
    "log": "x",
}


def differences(table: list[Row]) -> list[Row]:
    """Return by how many points each generator is ahead of the rising circuit.

    Correlators, of a third fewer numbers, are many points behind, and would hide the others.
    """
    compared = [row for row in table if row["rising_ahead"] is not None]
    return [
        {"size": row["size"], "generator": name, "points": -row["rising_ahead"]}
        for name in GENERATORS
        for row in compared
        if row["generator"] == name != "correlators"
    ]


class Table:
    """The file of one data set.

    Args:
        dataset: Name of the data set.
        options: The command's options.
    """

    def __init__(self, dataset: str, options: argparse.Namespace) -> None:
        self.dataset, self.larger = dataset, options.larger
        images = options.settings.images
        kind = ("larger" if self.larger else "nonlinear") + (f"-{images}" if images else "")
        if options.settings.epochs > EPOCHS:
            kind += f"-{options.settings.epochs}-epochs"
        self.path = options.out / f"{kind}-{dataset}.json"
        self.settings = {"epochs": options.settings.epochs, "images": images}
        self.settings["lower_rates"] = options.lower_rates
        before: Row = json.loads(self.path.read_text()) if self.path.exists() else {}
        if before and before["settings"] != self.settings:
            raise SystemExit(f"{self.path} has other settings: {before['settings']}; use --out")
        self.rows: list[Row] = before.get("runs", [])
        self.seconds = before.get("seconds", 0.0)
        self.device = options.torch_device

    def words(self) -> list[str]:
        """Return the options that differ from those of a full run, as they are typed."""
        words = ["--larger"] if self.larger else []
        words += ["--lower-rates"] if self.settings["lower_rates"] else []
        if self.settings["epochs"] != EPOCHS:
            words.append(f"--epochs {self.settings['epochs']}")
        images = self.settings["images"]
        return words if images is None else [*words, f"--images {images}"]

    def has(self, task: Task) -> bool:
        """Return whether a task's row is there."""
        return any(asdict(task).items() <= row.items() for row in self.rows)

    def add(self, row: Row, seconds: float) -> None:
        """Keep a row, and write the file."""
        self.rows.append(row)
        self.seconds += seconds
        self.write()

    def time_again(self, settings: Settings) -> None:
        """Measure a step of each generator and size again, and write the file."""
        torch.set_num_threads(1)
        found: dict[tuple[int, str], float] = {}
        for row in self.rows:
            if not row["tuning"]:
                task = Task(**{field.name: row[field.name] for field in fields(Task)})
                case = task.size, task.generator
                if case not in found:
                    found[case] = step_ms(task, settings)
                    print(f"{self.dataset}, {case[0]} numbers, {case[1]}: {found[case]} ms")
                row["step_ms"] = found[case]
        self.write()

    def write(self) -> None:
        """Write the file."""
        table = summary(self.rows)
        result = {
            "title": f"{LARGER_TITLE if self.larger else TITLE}: {self.dataset}",
            "notes": " ".join([notes(self.larger), *sentences(self.dataset, table)]),
            "command": " ".join(["python -m experiments.nonlinear", *self.words()]),
            "seconds": round(self.seconds, 1),
            "device": self.device,
            "settings": self.settings,
            "columns": COLUMNS,
            "rows": table,
            "runs": self.rows,
        }
        if len({row["size"] for row in table}) > 1:
            result |= {"figure": FIGURE, "differences": differences(table)}
        text = json.dumps(result, indent=1, ensure_ascii=False)
        write_atomically(self.path, f"{text}\n".encode())


def run(options: argparse.Namespace) -> None:
    """Tune, then train what is missing."""
    options.out.mkdir(parents=True, exist_ok=True)
    tables = {name: Table(name, options) for name in options.datasets}
    if options.times:
        for table in tables.values():
            table.time_again(options.settings)
        return

    def finish(tasks: Iterable[Task]) -> None:
        began = time.monotonic()
        missing = [task for task in tasks if not tables[task.dataset].has(task)]
        for row in results(missing, options):
            tables[row["dataset"]].add(row, time.monotonic() - began)
            began = time.monotonic()
            print(json.dumps(row), flush=True)

    tried = LOWER_RATES if options.lower_rates else RATES
    finish(Task(*case, TUNING_SEED, rate, True) for case in cases(options) for rate in tried)
    rates = best_rates(row for table in tables.values() for row in table.rows)
    finish(
        Task(*case, seed, rates[case], False) for case in cases(options) for seed in options.seeds
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.nonlinear", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--datasets", nargs="+", default=["mnist", "fashion-mnist"])
    parser.add_argument("--larger", action="store_true", help="the wider network")
    parser.add_argument("--sizes", nargs="+", type=int, choices=SIZES, help="all four by default")
    parser.add_argument("--generators", nargs="+", choices=(*GENERATORS, "direct"))
    help_ = f"tune among {', '.join(map(str, LOWER_RATES))}"
    parser.add_argument("--lower-rates", action="store_true", help=help_)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--images", type=int, help="so many training images; all by default")
    help_ = "measure the steps of what is stored again, on an idle machine; nothing is trained"
    parser.add_argument("--times", action="store_true", help=help_)
    parser.add_argument("--data-dir")
    parser.add_argument("--torch-device", default="cpu")
    parser.add_argument("--jobs", type=int, default=2, help="processes on the CPU")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    if options.larger and options.sizes:
        parser.error("--larger has a size of its own: leave --sizes out")
    options.sizes = (LARGER_SIZE,) if options.larger else options.sizes or SIZES
    options.generators = options.generators or (LARGER_GENERATORS if options.larger else GENERATORS)
    options.settings = Settings(options.epochs, options.images, options.data_dir)
    run(options)


if __name__ == "__main__":
    main()
