"""The batched training of `benchmarks.ensemble` is that of the library."""

from __future__ import annotations

import pytest
import torch

import qtn_train as qt
from benchmarks.batched import batched
from benchmarks.ensemble import Ensemble, Run
from qtn_train.circuits import ANSATZE
from qtn_train.data import Dataset
from qtn_train.engines import StatevectorEngine
from qtn_train.generators import CONTROLS, control
from qtn_train.training import build_model, fit_config

CPU = torch.device("cpu")


def images(count: int) -> Dataset:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(count, 1, 28, 28, generator=rng)
    y = torch.randint(10, (count,), generator=rng)
    return Dataset("random", x, y, x[:50], y[:50], 10, tuple("0123456789"))


def model(ansatz: str, seed: int, recipe: str = "default") -> qt.QuantumTrain:
    circuit = ANSATZE[ansatz](13, 2)
    return build_model("mnist", circuit, StatevectorEngine(), recipe=recipe, seed=seed)


@pytest.mark.parametrize("ansatz", ["ry-cx-chain", "u3-cu3-ring", "hardware-efficient"])
@pytest.mark.parametrize("n_layers", [1, 5])
def test_batched_circuits_are_the_engines(ansatz: str, n_layers: int) -> None:
    circuit = ANSATZE[ansatz](13, n_layers)
    generators = [build_model("mnist", circuit, seed=s).generator for s in (0, 1)]
    stacked, _ = torch.func.stack_module_state(generators)
    made = batched(generators, CPU)(stacked)
    for one, row in zip(generators, made, strict=True):
        torch.testing.assert_close(row, one(), rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", CONTROLS)
def test_batched_controls_are_the_librarys(name: str) -> None:
    generators = [control(name, model("ry-cx-chain", s).generator, s) for s in (0, 1)]
    stacked, _ = torch.func.stack_module_state(generators)
    made = batched(generators, CPU)(stacked)
    for one, row in zip(generators, made, strict=True):
        torch.testing.assert_close(row, one(), rtol=0, atol=2e-4)


@pytest.mark.parametrize("recipe", ["default", "published"])
def test_training_side_by_side_is_fit(recipe: str) -> None:
    data = images(200)  # two steps an epoch, the second smaller
    ansatz = "ry-cx-chain" if recipe == "default" else "u3-cu3-ring"
    config = fit_config("mnist", recipe).but(epochs=3)
    runs = [Run(model(ansatz, seed, recipe), config.but(seed=seed)) for seed in (0, 1)]
    ensemble = Ensemble(runs, data.x_train[None], data.y_train[None], CPU)
    losses = [ensemble.epoch(number) for number in range(3)]
    ensemble.put_back()
    for number, run in enumerate(runs):
        own = model(ansatz, number, recipe)
        history = qt.fit(own, data, run.config, progress_bar=False)
        expected = [entry["train_loss"] for entry in history.epochs]
        assert [float(loss[number]) for loss in losses] == pytest.approx(expected, rel=1e-5)
        for name, weight in own.generate().items():
            torch.testing.assert_close(run.model.generate()[name], weight, rtol=0, atol=1e-3)
