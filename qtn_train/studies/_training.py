"""Measurements that train a data set's network."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from ..data import Dataset, load
from ..engines import SampledEngine
from ..hybrid import QuantumTrain
from ..recipes import SETTINGS, RunOptions, Setting
from ..training import evaluate

Row = dict[str, Any]

# The seed of a run is its task's, and devices cost money.
_NOT_SWEPT = ("seed", "device", "native", "placement")

#: Settings of a training run: the options that every run has.
TRAIN_SETTINGS: dict[str, Setting] = {
    name: setting for name, setting in SETTINGS.items() if name not in _NOT_SWEPT
} | {"engine": Setting(str, "auto", ("auto", "mps", "statevector", "contraction"))}


def options(settings: Row, seed: int = 0) -> RunOptions:
    """Return the options of one run of a study.

    Args:
        settings: The point.
        seed: The repeat's seed.

    Returns:
        The options.

    Raises:
        ValueError: They do not go together.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    return RunOptions.from_json({**given, "seed": seed})


def check(point: Row) -> None:
    """Refuse settings of a training run that do not go together; no circuit is built.

    Raises:
        ValueError: One of them needs another, or is out of its range.
    """
    options(point)


def train(settings: Row, seed: int) -> Row:
    """Train, and return accuracies, losses and sizes."""
    run = options(settings, seed)
    model = run.model()
    history = run.fit(model, run.load(), progress_bar=False)
    names = (
        "test_accuracy", "test_loss", "test_r2", "train_accuracy", "train_loss",
        "truncation_error", "fidelity_estimate",
    )  # fmt: skip
    return {
        **{name: history.epochs[-1].get(name) for name in names},
        "n_weights": model.n_weights,
        "n_trainable": model.n_trainable,
        "compression": model.compression,
    }


def check_shots(point: Row) -> None:
    """Refuse settings of an exactly trained network that do not go together.

    Raises:
        ValueError: One of them is out of its range.
    """
    options(point | {"shots": None})


@lru_cache(maxsize=4)
def _trained(
    dataset: str, ansatz: str | None, n_layers: int | None, epochs: int | None, seed: int
) -> tuple[Dataset, QuantumTrain, float]:
    """Return a network trained exactly, stored for all numbers of shots."""
    run = RunOptions(dataset, ansatz, n_layers, epochs=epochs, seed=seed)
    data, model = load(dataset), run.model()
    run.fit(model, data, progress_bar=False)
    return data, model, evaluate(model, data.x_test, data.y_test)[1]


def shots(settings: Row, seed: int) -> Row:
    """Return the accuracy of an exactly trained network whose weights come from counts."""
    names = ("dataset", "ansatz", "n_layers", "epochs")
    data, model, exact = _trained(*(settings[name] for name in names), seed)
    generator: Any = model.generator
    engine = SampledEngine(generator.engine, settings["shots"], seed=seed)
    run = RunOptions(settings["dataset"], settings["ansatz"], settings["n_layers"], seed=seed)
    counted = run.model(engine)
    counted.load_state_dict(model.state_dict())
    _, accuracy = evaluate(counted, data.x_test, data.y_test)
    engine.position = 0  # the counts that the weights came from
    with torch.no_grad():
        states = [
            e.prepare(generator.circuit, generator.angles) for e in (generator.engine, engine)
        ]
        true, seen = (state.probs(0, generator.n_values) for state in states)
    # What lies beyond the first outcomes is one more outcome.
    rest = float((true.sum() - seen.sum()).abs())
    return {
        "test_accuracy": accuracy,
        "exact_accuracy": exact,
        "total_variation": (float((true - seen).abs().sum()) + rest) / 2,
        "outcomes_seen": int((seen > 0).sum()),
    }
