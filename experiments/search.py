"""The search for the default recipe of the image network, and what each of its choices is worth.

    python -m experiments.search --data-dir DATA            # about an hour on two cores
    python -m experiments.search --data-dir DATA --trials 0   # only the table again

Trains on a fifth of MNIST's training images for four epochs and tests on another sixth of them; the
test set is not looked at. Three parts, all kept in one file of Optuna's (``runs/search.db``): the
same command goes on where it was stopped.

search    Optuna's TPE sampler over all settings at once, one seed; every proposal takes as many
          layers as keep the trained numbers at 1,497 or fewer
changes   the default recipe with one setting changed, three other seeds
finals    the default recipe and the best three of the search, the same seeds

Writes ``docs/results/search.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, cast

import numpy as np
import optuna
import torch
from optuna.trial import FrozenTrial, Trial, TrialState
from torch import Tensor, nn
from torch.func import functional_call

from experiments.jacobian import jacobian
from qtn_train._random import permutation
from qtn_train.circuits import ANSATZE, Circuit, Gate
from qtn_train.data import Dataset, load
from qtn_train.engines import StatevectorEngine
from qtn_train.generators import CircuitGenerator, WeightGenerator
from qtn_train.hybrid import Layout, QuantumTrain
from qtn_train.mapping import MappingModel, MLPMapping, TensorTrainMapping
from qtn_train.measurements import Probabilities
from qtn_train.recipes import ImageCNN
from qtn_train.training import FitConfig, evaluate, fit

OUT = Path(__file__).parents[1] / "docs" / "results" / "search.json"
N_QUBITS, N_WEIGHTS, N_TRAINED = 13, 6690, 1497
EPOCHS, N_TRAINING, N_HELD_OUT = 4, 12_800, 10_000
SEARCH_SEED, SEEDS, N_FINALISTS = 100, (0, 1, 2), 3

Settings = dict[str, Any]

#: Each setting with its choices, or with the limits of a logarithmic scale.
SPACE: dict[str, tuple[Any, ...]] = {
    # Those that there were when the stored search was made.
    "ansatz": ("u3-cu3-ring", "u3-cu3-chain", "ry-cx-chain", "brickwork", "hardware-efficient"),
    "mapping": ("4", "none", "8", "4-20-4", "tensor-train 2", "tensor-train 4"),
    "activation": ("tanh", "relu", "gelu"),
    "feature": ("amplitude", "published"),
    "bases": (1, 2),
    "start": ("random", "zeros"),
    "shuffle": (True, False),
    "center": (True, False),
    "schedule": ("one-cycle", "constant"),
    "clip": (1.0, None),
    "averaging": (False, True),
    "spread": (0.1, 1.0),
    "gain": (0.5, 10.0),
    "lr": (1e-3, 5e-2),
    "lr_mapping": (0.1, 3.0),
}
CONTINUOUS = ("spread", "gain", "lr", "lr_mapping")
DEFAULT: Settings = {name: values[0] for name, values in SPACE.items()} | {
    "ansatz": "ry-cx-chain",
    "spread": 1.0,
    "gain": 3.0,
    "lr": 0.01,
    "lr_mapping": 0.3,
}
#: One setting changed; the angles' coordinates also for the ring, which is worse conditioned.
CHANGES = [
    {name: value}
    for name, values in SPACE.items()
    for value in ({"spread": (0.3,), "gain": (1.0, 10.0), "lr": (0.003, 0.03), "lr_mapping": (1.0,)}
                  .get(name, values))
    if value != DEFAULT[name]
] + [
    ring | {"precondition": power}
    for ring in ({}, {"ansatz": "u3-cu3-ring"})
    for power in (0.0, 0.5)
]  # fmt: skip


class TwoBases(WeightGenerator):
    """Half of the outcomes from the circuit, half from the same with H on each qubit at its end.

    Both are measured on a device, and nothing else: p(0k) = p_Z(k)/2 and p(1k) = p_X(k)/2.
    """

    def __init__(self, circuit: Circuit, mapping: MappingModel, reads: Probabilities) -> None:
        super().__init__()
        self.reads = reads
        turned = (*circuit.gates, *(Gate("h", (i,)) for i in range(circuit.n_qubits)))
        self.circuits = (circuit, replace(circuit, gates=turned))
        self.n_weights, self.mapping, self.engine = N_WEIGHTS, mapping, StatevectorEngine()
        self.angles = nn.Parameter(torch.zeros(circuit.n_angles))

    def forward(self) -> Tensor:
        size = 2 ** self.circuits[0].n_qubits
        halves = [self.engine.prepare(c, self.angles).probs(0, size) for c in self.circuits]
        scaled = size * torch.cat(halves)[: self.n_weights]
        weights: Tensor = self.mapping(0, self.reads.standardized(scaled, N_QUBITS))
        return weights.reshape(-1)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"angles": [self.angles], "mapping": list(self.mapping.parameters())}

    def config(self) -> dict[str, Any]:
        raise NotImplementedError


class Turned(WeightGenerator):
    """A circuit's generator in other coordinates: angles = start + turn · numbers.

    The columns of ``turn`` are the eigenvectors of JᵀJ at the start, J = ∂weights/∂angles, each
    divided by its singular value to a power: with 0 equal steps move the angles equally far, with 1
    the weights.
    """

    def __init__(self, inner: CircuitGenerator, power: float) -> None:
        super().__init__()
        self.inner, self.n_weights = inner, inner.n_weights
        _, values, rows = torch.linalg.svd(jacobian(inner, [inner.angles]), full_matrices=False)
        scale = (values.median() / values.clamp(min=0.1 * values.median())) ** power
        self.register_buffer("turn", rows.T * scale)
        inner.angles.requires_grad_(False)
        self.numbers = nn.Parameter(torch.zeros(len(values)))

    def forward(self) -> Tensor:
        angles = self.inner.angles + self.turn @ self.numbers
        weights: Tensor = functional_call(self.inner, {"angles": angles}, ())
        return weights

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"angles": [self.numbers], "mapping": list(self.inner.mapping.parameters())}

    def config(self) -> dict[str, Any]:
        raise NotImplementedError


def mapping_of(settings: Settings, seed: int) -> MappingModel:
    """Return the mapping model; both bases together have as many outcomes as one more qubit."""
    kind, _, size = settings["mapping"].partition(" ")
    if kind == "tensor-train":
        return TensorTrainMapping(N_WEIGHTS, int(size), seed=seed)
    hidden = [] if kind == "none" else [int(width) for width in kind.split("-")]
    published = settings["feature"] == "published"
    return MLPMapping(N_WEIGHTS, hidden, settings["activation"], published=published, seed=seed)


def model_of(settings: Settings, seed: int) -> QuantumTrain:
    """Return the model with as many layers as its trained numbers allow."""
    mapping, reads = mapping_of(settings, seed), Probabilities(settings["feature"])
    n_qubits = N_QUBITS + 1 - settings["bases"]
    make = ANSATZE[settings["ansatz"]]
    left = N_TRAINED - sum(p.numel() for p in mapping.parameters())
    circuit = make(n_qubits, max(1, left // make(n_qubits, 1).n_angles))
    generator: Any
    if settings["bases"] == 2:
        generator = TwoBases(circuit, mapping, reads)
    else:
        generator = CircuitGenerator(
            circuit,
            StatevectorEngine(),
            mapping,
            measurement=reads,
            n_weights=N_WEIGHTS,
            seed=seed,
        )
    rng = np.random.default_rng(seed)
    angles = settings["spread"] * rng.uniform(-np.pi, np.pi, circuit.n_angles)
    generator.angles.data.copy_(torch.from_numpy(angles))
    if "precondition" in settings:
        generator = Turned(generator, settings["precondition"])
    names = ("start", "shuffle", "center", "gain")
    layout = Layout(**{name: settings[name] for name in names})
    return QuantumTrain(ImageCNN(), generator, layout=layout, seed=seed)


def trained(settings: Settings, data: Dataset, seed: int, trial: Trial | None = None) -> float:
    """Train a model; return its accuracy on held-out training images, 0 … 1.

    Raises:
        TrialPruned: Optuna sees no hope for the trial.
    """
    model = model_of(settings, seed)
    config = FitConfig(
        epochs=EPOCHS,
        lr=settings["lr"],
        lr_mapping=settings["lr"] * settings["lr_mapping"],
        schedule=settings["schedule"],
        clip_norm=settings["clip"],
        seed=seed,
    )
    seen: list[list[Tensor]] = []

    def on_epoch(entry: dict[str, float]) -> None:
        seen.append([p.detach().clone() for p in model.parameters()])
        if trial is not None:
            trial.report(entry["test_accuracy"], len(seen))
            if trial.should_prune():
                raise optuna.TrialPruned

    history = fit(model, data, config=config, progress_bar=False, callbacks=[on_epoch])
    if not settings["averaging"]:
        return history.test_accuracy
    with torch.no_grad():
        for parameter, *values in zip(model.parameters(), *seen[EPOCHS // 2 :], strict=True):
            parameter.copy_(torch.stack(values).mean(0))
    return evaluate(model, data.x_test, data.y_test)[1]


def split(data_dir: Path | None) -> Dataset:
    """Return a fifth of MNIST's training images, with another sixth of them as the test set."""
    data = load("mnist", data_dir=data_dir)
    order = permutation(SEARCH_SEED, "held out", len(data.y_train))
    kept, held = order[:N_TRAINING], order[N_TRAINING : N_TRAINING + N_HELD_OUT]
    x, y = data.x_train, data.y_train
    return replace(data, x_train=x[kept], y_train=y[kept], x_test=x[held], y_test=y[held])


def opened(name: str, storage: str) -> optuna.Study:
    """Return a study of the file; what was running when it was stopped has failed."""
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=SEARCH_SEED, n_startup_trials=16),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=10, n_warmup_steps=1),
    )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def suggested(trial: Trial) -> Settings:
    """Return settings that the sampler proposes."""
    return {
        name: trial.suggest_float(name, values[0], values[1], log=True)
        if name in CONTINUOUS
        else trial.suggest_categorical(name, values)
        for name, values in SPACE.items()
    }


def search(study: optuna.Study, data: Dataset, n_trials: int) -> None:
    """Run what is missing of the search."""
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    study.optimize(
        lambda trial: trained(suggested(trial), data, SEARCH_SEED, trial),
        n_trials=max(0, n_trials - len(ended)),
        catch=(ArithmeticError,),  # a loss that is no longer finite
        show_progress_bar=True,
    )


def best(study: optuna.Study) -> list[FrozenTrial]:
    """Return the best trials of the search."""
    ended = study.get_trials(states=(TrialState.COMPLETE,))
    return sorted(ended, key=lambda trial: -cast(float, trial.value))[:N_FINALISTS]


def cases(study: optuna.Study) -> Iterator[tuple[str, Settings]]:
    """Give the default recipe, the finalists and each change, with a name."""
    yield "default", DEFAULT
    for rank, trial in enumerate(best(study), 1):
        yield f"best of the search, {rank}", {**DEFAULT, **trial.params}
    for change in CHANGES:
        named = [f"{name.replace('_', ' ')}: {value}" for name, value in change.items()]
        yield ", ".join(named), DEFAULT | change


def compare(
    storage: str, chosen: list[tuple[str, Settings]], data: Dataset
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Train each case with all seeds, or take what was trained; return rows, and settings."""
    study = opened("cases", storage)
    found = {
        (trial.user_attrs["settings"], trial.user_attrs["seed"]): trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    }
    rows, runs = [], []
    for name, settings in chosen:
        accuracies = []
        for seed in SEEDS:
            key = (json.dumps(settings, sort_keys=True), seed)
            if key not in found:
                trial = study.ask()
                trial.set_user_attr("settings", key[0])
                trial.set_user_attr("seed", seed)
                found[key] = study.tell(trial, trained(settings, data, seed))
            accuracies.append(100 * cast(float, found[key].value))
        plain = {name: value for name, value in settings.items() if name != "precondition"}
        row = {"case": name, "n_trainable": model_of(plain, 0).n_trainable}
        row |= {"mean": round(mean(accuracies), 2), "deviation": round(stdev(accuracies), 2)}
        first = runs[0]["accuracies"] if runs else accuracies
        ahead = [a - b for a, b in zip(accuracies, first, strict=True)]
        row |= {"ahead": round(mean(ahead), 2), "ahead_deviation": round(stdev(ahead), 2)}
        rows.append(row)
        runs.append({"case": name, "accuracies": accuracies, "settings": settings})
        print(f"{name:30} {row['mean']:.2f} ± {row['deviation']:.2f} %", flush=True)
    return [*rows[:1], *sorted(rows[1:], key=lambda row: -row["mean"])], runs


def seconds(*studies: optuna.Study) -> float:
    """Return what all trials took together, as their start and end say."""
    spans = [t.duration for study in studies for t in study.get_trials() if t.duration]
    return round(sum(span.total_seconds() for span in spans), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="The search for the default recipe.")
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--storage", default="runs/search.db")
    options = parser.parse_args()
    Path(options.storage).parent.mkdir(parents=True, exist_ok=True)
    storage, began = f"sqlite:///{options.storage}", time.monotonic()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = split(options.data_dir)
    study = opened("search", storage)
    search(study, data, options.trials)
    rows, runs = compare(storage, list(cases(study)), data)
    states = [trial.state for trial in study.get_trials()]
    result = {
        "title": "The search for the default recipe",
        "notes": f"{states.count(TrialState.COMPLETE)} proposals of Optuna's TPE sampler trained "
        f"to the end, {states.count(TrialState.PRUNED)} given up on the way; then the default "
        "recipe, the best proposals, and the default recipe with one setting changed, three other "
        f"seeds each. {N_TRAINING:,} training images of MNIST, {EPOCHS} epochs; the accuracy is "
        f"that on {N_HELD_OUT:,} other training images. No test image was looked at.",
        "command": "python -m experiments.search",
        "seconds": seconds(study, opened("cases", storage)),
        "columns": {
            "case": "recipe",
            "n_trainable": "trained numbers",
            "mean": "accuracy (%)",
            "deviation": "± (standard deviation)",
            "ahead": "ahead of the default, seed by seed (%)",
            "ahead_deviation": "± of it",
        },
        "rows": rows,
        "cases": runs,
        "trials": [
            {"number": t.number, "state": t.state.name, "accuracy": t.value, "settings": t.params}
            for t in study.get_trials()
        ],
    }
    OUT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
