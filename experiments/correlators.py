"""What weights from correlators are worth, and how many shots they need.

    python -m experiments.correlators worth      # the recipe beside controls of equal size
    python -m experiments.correlators folds      # Iris in five folds, exactly and from counts
    python -m experiments.correlators mnist      # all of MNIST, exactly and from counts
    python -m experiments.correlators trained    # Iris trained from counts alone
    python -m experiments.correlators shots      # accuracy of trained networks from real counts
    python -m experiments.correlators large      # 10⁶ values, and 10⁵ weights trained for real

Each run is a row of ``docs/results/correlators-PART.json``, written when the run ends; a run whose
row is there is not made again. ``--datasets``, ``--epochs`` and ``--seeds`` choose; the data set
``mnist-mini-mlp`` is mnist-mini with a network of 101,770 weights.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any, cast

import torch
from torch import Tensor

from experiments.correlator_tables import FOLD_SHOTS, MNIST_SHOTS, drawn, summary
from experiments.iris import folds
from qtn_train._files import write_atomically
from qtn_train.circuits import ansatz
from qtn_train.comparison import LEARNING_RATES
from qtn_train.data import Dataset, load
from qtn_train.engines import MPSEngine, SampledEngine
from qtn_train.generators import CONTROLS as all_controls
from qtn_train.generators import CircuitGenerator, control, qubits_needed
from qtn_train.hybrid import Layout, QuantumTrain
from qtn_train.mapping import MappingModel, MixingMapping, MLPMapping
from qtn_train.measurements import PauliCorrelators
from qtn_train.measurements._correlators import SCALES
from qtn_train.measurements._estimators import n_circuits
from qtn_train.recipes import RunOptions, mlp
from qtn_train.training import FitConfig, evaluate, fit

Row = dict[str, Any]
Task = tuple[Row, Callable[[], Row]]

OUT = Path("docs/results")
#: Those of ``compare`` but for the ones that train a mapping: the correlators' is fixed.
CONTROLS = tuple(name for name in all_controls if not name.startswith(("frozen", "fixed")))
#: Peak rates that were chosen here, with the recipe's epochs; the others are those of ``compare``.
RATES = {"random-subspace": 0.05}
SHOTS = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)
#: Probabilities take more, up to some tens for each outcome of 17 qubits.
MANY_SHOTS = (*SHOTS, 300_000, 1_000_000, 3_000_000)
DRAWS = 3
FOLD_DRAWS = 20
#: Estimators of the gradient from counts, and their epochs: the recipe's without.
GRADIENTS = {"spsa": None, "parameter-shift": 40}
#: Mnist-mini with a wide network, and its epochs.
WIDE, WIDE_EPOCHS = "mnist-mini-mlp", 8
DATASETS = ("iris", "digits", "mnist-mini", WIDE)


class Products(MappingModel):
    """Products ⟨Pᵢ⟩⟨Pⱼ⟩ of one-body values in place of two-body correlators, mixed as those are.

    Args:
        n_qubits: Number of qubits; the values are the 3·N one-body ones.
        reach: Largest distance of i and j.
        n_weights: How many weights are wanted.
        seed: Seed of the mixing.
    """

    kind = "products"
    needs_all_values = takes_all_values = True

    def __init__(self, n_qubits: int, reach: int, n_weights: int, seed: int) -> None:
        super().__init__(3 * n_qubits, -(-n_weights // (3 * n_qubits)))
        first, last = torch.triu_indices(n_qubits, n_qubits, 1)
        near = last - first <= reach
        self.pairs = (first[near], last[near])
        n_products = 3 * int(near.sum())
        self.mixing = MixingMapping(n_products, -(-n_weights // n_products), seed=seed)

    def forward(self, start: int, values: Tensor) -> Tensor:
        """Return the weights of all values."""
        single = SCALES[1] * values.view(3, -1)
        first, last = self.pairs
        products = (single[:, first] * single[:, last]).reshape(-1) / SCALES[2]
        mixed = self.mixing(0, products).reshape(-1)
        n_out = len(values) * self.weights_per_outcome
        return torch.nn.functional.pad(mixed, (0, n_out))[:n_out].view(len(values), -1)

    def config(self) -> dict[str, Any]:
        """Return nothing to build it from: it lives in this experiment alone."""
        return {"kind": self.kind}


def products_of(options: RunOptions) -> QuantumTrain:
    """Return the recipe's model, read as products of one-body values."""
    own = options.complete()
    assert own.n_qubits is not None
    assert own.reach is not None
    mapping = Products(own.n_qubits, own.reach, own.n_weights, own.seed or 0)
    generator = CircuitGenerator(
        own.circuit(),
        "auto",
        mapping,
        measurement=PauliCorrelators(1),
        n_weights=own.n_weights,
        training_shots=own.training_shots or None,
        seed=own.seed or 0,
    )
    like = options.model()
    return QuantumTrain(own.target(), generator, layout=like.layout, seed=own.seed or 0)


def options_of(dataset: str, seed: int, epochs: int | None) -> RunOptions:
    """Return the recipe for correlators."""
    return RunOptions(dataset, measurement_name="pauli-2", seed=seed, epochs=epochs)


def probabilities_of(options: RunOptions, n_trainable: int) -> RunOptions:
    """Return the recipe for probabilities with about as many trained numbers."""
    plain = RunOptions(options.dataset, seed=options.seed, epochs=options.epochs)
    n_qubits = plain.circuit().n_qubits
    own = plain.but(n_layers=1).model().n_trainable - n_qubits
    return plain.but(n_layers=max(1, round((n_trainable - own) / n_qubits)))


def wide_model(name: str, seed: int) -> tuple[QuantumTrain, FitConfig]:
    """Return a network of 101,770 weights, read off 100 qubits or the probabilities of 17.

    Both have about 1,300 trained numbers and the recipes' layouts and rates for mnist-mini.
    """
    target = torch.nn.Sequential(torch.nn.Flatten(), mlp(784, 128, 10))
    n_weights = sum(weight.numel() for weight in target.parameters())
    config = FitConfig(epochs=WIDE_EPOCHS, batch_size=128, seed=seed)
    if name == "probabilities":
        circuit = ansatz.ry_cx_chain(qubits_needed(n_weights), 72)
        plain = CircuitGenerator(
            circuit, "auto", MLPMapping(n_weights, (4,), seed=seed), n_weights=n_weights, seed=seed
        )
        return QuantumTrain(target, plain, seed=seed), config.but(lr=0.01, lr_mapping=0.003)
    circuit, reads = ansatz.cz_chain(100, 6), PauliCorrelators(2, reach=8)
    n_values = reads.n_values(100)
    generator = CircuitGenerator(
        circuit,
        "auto",
        MixingMapping(n_values, -(-n_weights // n_values), seed=seed),
        measurement=reads,
        n_weights=n_weights,
        training_shots=10_000,
        seed=seed,
    )
    return QuantumTrain(target, generator, layout=Layout(gain=1.2), seed=seed), config.but(lr=0.06)


def worth(dataset: str, name: str, seed: int, epochs: int | None) -> Row:
    """Train the recipe, or a control of its size, and return the accuracy."""
    options = options_of(dataset, seed, epochs)
    config = options.fit_config()
    if name == "products":
        model = products_of(options)
    elif name == "probabilities":
        options = probabilities_of(options, options.model().n_trainable)
        model, config = options.model(), options.fit_config()
    else:
        model = options.model()
        if name != "correlators":
            model = model.with_generator(control(name, model.generator, seed))
            rate = RATES.get(name, LEARNING_RATES.get(name, config.lr))
            config = config.but(lr=rate, lr_mapping=rate)
    history = fit(model, load(dataset), config=config, progress_bar=False)
    return {
        "n_weights": model.n_weights,
        "n_trainable": model.n_trainable,
        "epochs": config.epochs,
        "test_accuracy": round(100 * history.test_accuracy, 2),
    }


def tasks_of_worth(args: argparse.Namespace) -> Iterator[Task]:
    """Give the runs of the table."""
    for dataset in args.datasets:
        for seed in args.seeds:
            for name in ("correlators", "products", "probabilities", *CONTROLS):
                head = {"dataset": dataset, "weights": name, "seed": seed}

                def run(dataset: str = dataset, name: str = name, seed: int = seed) -> Row:
                    return worth(dataset, name, seed, args.epochs)

                yield head, run


#: What differs from the recipe in the networks whose shots are counted.
VARIANTS: dict[str, Row] = {
    "pauli-2": {},
    "pauli-2, no noise in training": {"training_shots": 0},
    "pauli-2, 3 times the gain": {"gain": 3.0},
    "pauli-2, 2 layers": {"n_layers": 2},
    "pauli-1": {"measurement": "pauli-1"},
    "pauli-3": {"measurement": "pauli-3"},
    "probabilities": {"measurement": "probabilities"},
}


def recipe_of(
    dataset: str, name: str, seed: int, epochs: int | None
) -> tuple[QuantumTrain, FitConfig]:
    """Return the model of a variant and its training options."""
    if dataset == WIDE:
        model, config = wide_model(name, seed)
        return model, config.but(epochs=epochs or config.epochs)
    options, changes = options_of(dataset, seed, epochs), dict(VARIANTS[name])
    factor = changes.pop("gain", 1.0)
    if changes.get("measurement") == "probabilities":
        options, changes = probabilities_of(options, options.model().n_trainable), {}
    options = options.but(**changes)
    model = options.model()
    if factor != 1.0:
        gain = Layout(gain=factor * model.layout.gain)
        model = QuantumTrain(options.target(), model.generator, layout=gain, seed=seed)
    return model, options.fit_config()


def accuracy(model: QuantumTrain, data: Dataset) -> float:
    """Return the accuracy on the test set in percent."""
    return 100 * evaluate(model, data.x_test, data.y_test)[1]


def from_counts(model: QuantumTrain, data: Dataset, shots: int, draws: int) -> float:
    """Return the mean accuracy of weights generated from so many shots of each circuit."""
    generator = cast(CircuitGenerator, model.generator)
    simulator, found = generator.engine, []
    for draw in range(draws):
        generator.engine = SampledEngine(simulator, shots, seed=draw)
        found.append(accuracy(model, data))
    generator.engine = simulator
    return mean(found)


def folded(seed: int, epochs: int | None) -> Row:
    """Train the recipe on five folds of Iris; return exact accuracy and that of counts."""
    options, exact, counts = options_of("iris", seed, epochs), [], []
    for data in folds(seed):
        model = options.model()
        options.fit(model, data, progress_bar=False)
        exact.append(accuracy(model, data))
        counts.append(from_counts(model, data, FOLD_SHOTS, FOLD_DRAWS))
    found = {"exact": round(mean(exact), 2), "from_counts": round(mean(counts), 2)}
    return {"n_weights": model.n_weights, "n_trainable": model.n_trainable} | found


def tasks_of_folds(args: argparse.Namespace) -> Iterator[Task]:
    """Give the seeds."""
    for seed in args.seeds:

        def run(seed: int = seed) -> Row:
            return folded(seed, args.epochs)

        yield {"dataset": "iris", "seed": seed}, run


def all_of_mnist(seed: int, epochs: int | None) -> Row:
    """Train the recipe on all of MNIST; return exact accuracy and those of counts."""
    options = options_of("mnist", seed, epochs)
    model, data = options.model(), load("mnist")
    began = time.process_time()
    options.fit(model, data, progress_bar=False)
    found = {"train_seconds": round(time.process_time() - began), "exact": accuracy(model, data)}
    for shots in MNIST_SHOTS:
        found[f"from_{shots}"] = from_counts(model, data, shots, DRAWS)
    head = {"n_weights": model.n_weights, "n_trainable": model.n_trainable}
    head["epochs"] = options.fit_config().epochs
    return head | {name: round(value, 2) for name, value in found.items()}


def tasks_of_mnist(args: argparse.Namespace) -> Iterator[Task]:
    """Give the seeds."""
    for seed in args.seeds:

        def run(seed: int = seed) -> Row:
            return all_of_mnist(seed, args.epochs)

        yield {"dataset": "mnist", "seed": seed}, run


def trained_by(gradient: str, seed: int, epochs: int | None) -> Row:
    """Train Iris from counts alone; return the accuracy at the end and from other counts."""
    data = load("iris")
    plain = options_of("iris", seed, epochs or GRADIENTS[gradient])
    options = plain.but(shots=FOLD_SHOTS, gradient=gradient)
    model = options.model()
    config, history = options.fit_config(), options.fit(model, data, progress_bar=False)
    generator = cast(CircuitGenerator, model.generator)
    circuits = n_circuits(generator.circuit, gradient, reads=generator.measurement)  # type: ignore[arg-type]
    steps = config.epochs * math.ceil(len(data.y_train) / config.batch_size)
    found = {"at_the_end": round(100 * history.test_accuracy, 2)}
    generator.engine = generator.engine.simulator_for(generator.circuit)
    found["from_counts"] = round(from_counts(model, data, FOLD_SHOTS, FOLD_DRAWS), 2)
    circuits_in_all = steps * (circuits.forward + circuits.backward_high)
    return {"steps": steps, "circuits": circuits_in_all, "lr": config.lr} | found


def tasks_of_trained(args: argparse.Namespace) -> Iterator[Task]:
    """Give the estimators of the gradient, and the seeds."""
    for gradient in GRADIENTS:
        for seed in args.seeds:

            def run(gradient: str = gradient, seed: int = seed) -> Row:
                return trained_by(gradient, seed, args.epochs)

            yield {"dataset": "iris", "weights": gradient, "seed": seed}, run


def counted(dataset: str, name: str, seed: int, epochs: int | None) -> Row:
    """Train a network exactly, and return its accuracies from real counts."""
    model, config = recipe_of(dataset, name, seed, epochs)
    data = load("mnist-mini" if dataset == WIDE else dataset)
    fit(model, data, config=config, progress_bar=False)
    exact, generator = accuracy(model, data), cast(CircuitGenerator, model.generator)
    shots = MANY_SHOTS if name == "probabilities" else SHOTS
    curve = {str(each): round(from_counts(model, data, each, DRAWS), 2) for each in shots}
    needed = shots_for(curve, exact - 1)
    n_bases = len(generator.measurement.bases(generator.circuit.n_qubits))
    return {
        "n_weights": model.n_weights,
        "n_qubits": generator.circuit.n_qubits,
        "n_trainable": model.n_trainable,
        "epochs": config.epochs,
        "exact": round(exact, 2),
        "from_counts": curve,
        "shots_for_a_point": needed,
        "shots_in_all": None if needed is None else n_bases * needed,
    }


def shots_for(curve: dict[str, float], wanted: float) -> float | None:
    """Return the shots at which a curve reaches an accuracy, between two on a logarithmic scale.

    Returns:
        Shots of each basis, from which on all larger ones suffice; None beyond the last.
    """
    points = [(math.log(int(shots)), accuracy) for shots, accuracy in curve.items()]
    if points[-1][1] < wanted:
        return None
    last = next((k for k in range(len(points), 0, -1) if points[k - 1][1] < wanted), 0)
    if last == 0:
        return round(math.exp(points[0][0]))
    (low, below), (high, above) = points[last - 1], points[last]
    return round(math.exp(low + (high - low) * (wanted - below) / (above - below)))


def tasks_of_shots(args: argparse.Namespace) -> Iterator[Task]:
    """Give the networks whose shots are counted."""
    for dataset in args.datasets:
        for seed in args.seeds:
            # Order, depth and gain on the smallest network; the two laws on all.
            for name in VARIANTS if dataset == "iris" else ("pauli-2", "probabilities"):
                head = {"dataset": dataset, "weights": name, "seed": seed}

                def run(dataset: str = dataset, name: str = name, seed: int = seed) -> Row:
                    return counted(dataset, name, seed, args.epochs)

                yield head, run


def million() -> Row:
    """Read 10⁶ correlators of 817 qubits, and go back."""
    circuit, reads = ansatz.cz_chain(817, 6), PauliCorrelators(2)
    rng = torch.Generator().manual_seed(0)
    angles = math.pi * (2 * torch.rand(circuit.n_angles, generator=rng) - 1)
    angles.requires_grad_()
    began = time.perf_counter()
    values = reads.values(MPSEngine().prepare(circuit, angles, reads), 0, 10**6)
    forward = time.perf_counter() - began
    values.square().sum().backward()
    return {
        "n_qubits": 817,
        "values": len(values),
        "n_trainable": circuit.n_angles,
        "forward_seconds": round(forward, 1),
        "backward_seconds": round(time.perf_counter() - began - forward, 1),
    }


def trained_large(epochs: int | None) -> Row:
    """Train a network of 101,770 weights that are read off 100 qubits."""
    model, config = wide_model("pauli-2", 0)
    config = config.but(epochs=epochs or config.epochs)
    began = time.perf_counter()
    history = fit(model, load("mnist-mini"), config=config, progress_bar=False)
    generator = cast(CircuitGenerator, model.generator)
    return {
        "n_qubits": generator.circuit.n_qubits,
        "values": generator.n_values,
        "n_weights": model.n_weights,
        "n_trainable": model.n_trainable,
        "epochs": config.epochs,
        "test_accuracy": round(100 * history.test_accuracy, 2),
        "train_seconds": round(time.perf_counter() - began, 1),
    }


def tasks_of_large(args: argparse.Namespace) -> Iterator[Task]:
    """Give the two large runs."""

    def with_peak(run: Callable[[], Row]) -> Callable[[], Row]:
        def measured() -> Row:
            row = run()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            return row | {"peak_gb": round(peak, 2)}

        return measured

    yield {"case": "10⁶ two-body correlators, forward and backward"}, with_peak(million)
    yield {"case": "101,770 weights trained"}, with_peak(lambda: trained_large(args.epochs))


PARTS: dict[str, tuple[Callable[[argparse.Namespace], Iterator[Task]], str, str]] = {
    "worth": (
        tasks_of_worth,
        "Weights from correlators beside controls of equal size",
        "correlators: the default recipe of --measure pauli-2. products: the same circuit, seed "
        "and recipe, read as ⟨Pᵢ⟩⟨Pⱼ⟩ of its one-body values. probabilities: the default recipe "
        "with as many layers as make about as many numbers. product: as many angles of a circuit "
        "without entanglement, read as correlators. The others have no circuit, and the peak rates "
        "of compare, one-cycle; random-subspace 0.05. direct trains all weights.",
    ),
    "shots": (
        tasks_of_shots,
        "Shots for correlators and probabilities",
        "Networks trained exactly, then generated from real counts, three draws each. "
        "shots: those of each circuit (three for correlators, one for probabilities) from which on "
        "at most one point is lost, on a logarithmic scale between two that were tried; "
        "shots_in_all: those of all circuits; of several seeds the median, where never coming "
        "so near is more than all. mnist-mini-mlp has 101,770 weights.",
    ),
    "folds": (
        tasks_of_folds,
        "Iris from correlators, five folds",
        "Each seed: five stratified folds, its mean over them; from counts besides over 20 draws.",
    ),
    "mnist": (
        tasks_of_mnist,
        "All of MNIST from correlators",
        "The default recipe of --measure pauli-2. From counts: the mean of three draws. "
        "train_seconds: processor time of one thread, with the evaluations after each epoch.",
    ),
    "trained": (
        tasks_of_trained,
        "Iris from correlators, trained from counts alone",
        f"3 × {FOLD_SHOTS:,} shots at each evaluation; the recipe's options, parameter shift with "
        f"{GRADIENTS['parameter-shift']} epochs of one step. mean: accuracy as training ends, of "
        f"30 test flowers; from_counts: of the same angles from {FOLD_DRAWS} other draws; worst: "
        "of the seeds.",
    ),
    "large": (
        tasks_of_large,
        "Large networks from correlators",
        "Wall-clock seconds on a busy machine, one thread; the peak is that of the process.",
    ),
}


def write(part: str, runs: list[Row], seconds: float, folder: Path) -> None:
    """Write what there is of a part."""
    _, title, notes = PARTS[part]
    result: Row = {
        "title": title,
        "notes": notes,
        "command": f"python -m experiments.correlators {part}",
        "seconds": round(seconds, 1),
        "rows": summary(part, runs),
        "runs": runs,
    }
    if part == "shots":
        result |= drawn(runs, result["rows"])
    text = json.dumps(result, indent=1, ensure_ascii=False)
    write_atomically(folder / f"correlators-{part}.json", f"{text}\n".encode())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--datasets", nargs="+", default=DATASETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args(arguments)
    if args.part == "worth":
        args.datasets = [dataset for dataset in args.datasets if dataset != WIDE]
    torch.set_num_threads(1)
    path = args.out / f"correlators-{args.part}.json"
    before: Row = json.loads(path.read_text()) if path.exists() else {"runs": [], "seconds": 0.0}
    runs, began = before["runs"], time.monotonic() - before["seconds"]
    for head, run in PARTS[args.part][0](args):
        if any(head.items() <= done.items() for done in runs):
            continue
        runs.append(head | run())
        print(json.dumps(runs[-1], ensure_ascii=False), flush=True)
        write(args.part, runs, time.monotonic() - began, args.out)


if __name__ == "__main__":
    main()
