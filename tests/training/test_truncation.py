"""Truncation is recorded in each epoch, and reported when it is no longer small."""

import pytest
import torch

from qtn_train import FitConfig, MPSEngine, StatevectorEngine, fit, load_dataset
from qtn_train.errors import TruncationWarning
from qtn_train.recipes import RunOptions
from qtn_train.training import make_optimizer, training_step


def test_a_hard_cut_is_recorded_and_warned_of() -> None:
    model = RunOptions("iris").model(MPSEngine(2))
    with pytest.warns(TruncationWarning, match=r"`max_bond` must keep a fidelity of 0.9; got 0\."):
        history = fit(model, load_dataset("iris"), config=FitConfig(epochs=1), progress_bar=False)
    (entry,) = history.epochs
    assert entry["truncation_error"] > 0
    assert 0 < entry["fidelity_estimate"] < 0.9


def test_no_cut_no_warning() -> None:
    model = RunOptions("iris").model(MPSEngine(16))
    history = fit(model, load_dataset("iris"), config=FitConfig(epochs=1), progress_bar=False)
    assert history.epochs[0]["truncation_error"] < 1e-3
    assert history.epochs[0]["fidelity_estimate"] > 0.999


def test_an_exact_matrix_product_state_gives_the_losses_of_the_state_vector() -> None:
    data = load_dataset("mnist-mini")
    losses: list[list[float]] = []
    for engine in (StatevectorEngine(), MPSEngine(64)):
        model = RunOptions("mnist-mini", n_layers=2).model(engine)
        optimizer = make_optimizer(model, FitConfig(lr=1e-3))
        batches = zip(data.x_train.split(64), data.y_train.split(64), strict=True)
        steps = (training_step(model, optimizer, x, y, 1.0)[0] for x, y in batches)
        losses.append([next(steps) for _ in range(8)])
    torch.testing.assert_close(losses[0], losses[1], atol=1e-3, rtol=0)
