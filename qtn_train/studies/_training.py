"""Measurements that train a data set's network."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from ..circuits import Circuit
from ..data import Dataset, load
from ..engines import Engine, MPSEngine, SampledEngine, StatevectorEngine, choose_engine
from ..errors import must_be
from ..mapping import MappingModel, TensorTrainMapping
from ..recipes import build_model, default_circuit, fit_config, target_for
from ..training import evaluate, fit

if TYPE_CHECKING:
    from ..hybrid import QuantumTrain
    from ..training import FitConfig

Row = dict[str, Any]


def check(point: Row) -> None:
    """Refuse settings of a training run that do not go together.

    Raises:
        ValueError: One of them needs another.
    """
    for name in ("max_bond", "cutoff"):
        if point[name] is not None and point["engine"] != "mps":
            expected = f'"mps" with {name}'
            raise ValueError(must_be("engine", expected, repr(point["engine"])))
    for name in ("gradient", "n_shifts"):
        if point[name] is not None and point["shots"] is None:
            raise ValueError(must_be("shots", f"given with {name}", "nothing"))
    if point["bond_dim"] is not None and point["mapping"] != "tensor-train":
        expected = '"tensor-train" with bond_dim'
        raise ValueError(must_be("mapping", expected, repr(point["mapping"])))
    _circuit(point)


def _circuit(settings: Row) -> Circuit:
    n_weights = _n_weights(settings["dataset"], settings.get("recipe", "default"))
    names = ("ansatz", "n_layers", "n_qubits")
    chosen: Any = {name: settings.get(name) for name in names}
    return default_circuit(settings["dataset"], n_weights, **chosen)[1]


@lru_cache
def _n_weights(dataset: str, recipe: Any) -> int:
    return sum(p.numel() for p in target_for(dataset, recipe).parameters())


def _engine(settings: Row, circuit: Circuit, seed: int) -> Engine:
    engine: Engine
    if settings["engine"] == "mps":
        engine = MPSEngine(settings["max_bond"], cutoff=settings["cutoff"] or 0.0)
    elif settings["engine"] == "statevector":
        engine = StatevectorEngine()
    else:
        engine, _ = choose_engine(circuit, _n_weights(settings["dataset"], settings["recipe"]))
    if settings["shots"] is None:
        return engine
    names = ("shots", "gradient", "n_shifts")
    return SampledEngine(engine, seed=seed, **{name: settings[name] for name in names})


def _config(settings: Row, seed: int) -> FitConfig:
    counted = settings["shots"] is not None
    config = fit_config(settings["dataset"], settings["recipe"], seed, counted)
    if settings["lr"] is not None and config.lr_mapping is not None:
        config = config.but(lr_mapping=config.lr_mapping * settings["lr"] / config.lr)
    names = ("epochs", "lr", "batch_size")
    return config.but(**{n: settings[n] for n in names if settings[n] is not None})


def train(settings: Row, seed: int) -> Row:
    """Train, and return accuracies, losses and sizes."""
    circuit = _circuit(settings)
    mapping: MappingModel | None = None
    if settings["mapping"] == "tensor-train":
        n_weights = _n_weights(settings["dataset"], settings["recipe"])
        mapping = TensorTrainMapping(n_weights, settings["bond_dim"] or 4, seed=seed)
    model = build_model(
        settings["dataset"],
        circuit,
        _engine(settings, circuit, seed),
        recipe=settings["recipe"],
        mapping=mapping,
        seed=seed,
    ).to(torch.device(settings["torch_device"]))
    data = load(settings["dataset"])
    history = fit(model, data, _config(settings, seed), progress_bar=False)
    names = (
        "test_accuracy", "test_loss", "train_accuracy", "train_loss",
        "truncation_error", "fidelity_estimate",
    )  # fmt: skip
    return {
        **{name: history.epochs[-1].get(name) for name in names},
        "n_weights": model.n_weights,
        "n_trainable": model.n_trainable,
        "compression": model.compression,
    }


@lru_cache(maxsize=4)
def _trained(
    dataset: str, ansatz: str | None, n_layers: int | None, epochs: int | None, seed: int
) -> tuple[Dataset, QuantumTrain, float]:
    """A network trained exactly, which serves all numbers of shots."""
    circuit = _circuit({"dataset": dataset, "ansatz": ansatz, "n_layers": n_layers})
    data = load(dataset)
    model = build_model(dataset, circuit, seed=seed)
    config = fit_config(dataset, "default", seed)
    fit(model, data, config if epochs is None else config.but(epochs=epochs), progress_bar=False)
    return data, model, evaluate(model, data.x_test, data.y_test)[1]


def shots(settings: Row, seed: int) -> Row:
    """Return the accuracy of an exactly trained network whose weights come from counts."""
    names = ("dataset", "ansatz", "n_layers", "epochs")
    data, model, exact = _trained(*(settings[name] for name in names), seed)
    generator: Any = model.generator
    engine = SampledEngine(generator.engine, settings["shots"], seed=seed)
    counted = build_model(settings["dataset"], generator.circuit, engine, seed=seed)
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
