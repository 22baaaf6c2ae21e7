"""Truncation is recorded in each epoch, and reported when it is no longer small."""

import copy
import pickle
import warnings
from typing import Any

import pytest
import tolerances
import torch

from qtn_train import FitConfig, MPSEngine, StatevectorEngine, ansatz, fit, load_dataset
from qtn_train.errors import TruncationWarning
from qtn_train.recipes import RunOptions
from qtn_train.training import make_optimizer, training_step


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_bond": 2}, r"`max_bond` must keep a fidelity of 0\.9; got 0\.\d+\. Raise it\."),
        ({"cutoff": 0.1}, r"`cutoff` must keep a fidelity of 0\.9; got 0\.\d+\. Lower it\."),
        ({"max_bond": 2, "cutoff": 1e-9}, r"`max_bond` must .*\. Raise it, or lower cutoff\."),
    ],
)
def test_the_first_state_of_an_engine_that_lost_much_is_warned_of(
    options: Any, message: str
) -> None:
    circuit = ansatz.u3_cu3_chain(6, 4)
    angles = torch.linspace(-3, 3, circuit.n_angles)
    engine = MPSEngine(**options)
    engine.prepare(circuit, torch.zeros_like(angles))  # a product state loses nothing
    with pytest.warns(TruncationWarning, match=rf"^{message}$") as caught:
        engine.prepare(circuit, angles)
    assert len(caught) == 1
    for again in (engine, copy.deepcopy(engine), pickle.loads(pickle.dumps(engine))):
        assert again.prepare(circuit, angles).fidelity_estimate < 0.9  # a warning is an error
    with pytest.warns(TruncationWarning, match=message):
        MPSEngine(**options).prepare(circuit, angles)


def test_a_state_that_keeps_most_of_itself_is_not_warned_of() -> None:
    circuit = ansatz.u3_cu3_chain(6, 4)
    angles = 0.3 * torch.linspace(-3, 3, circuit.n_angles)
    assert 0.9 < MPSEngine(4).prepare(circuit, angles).fidelity_estimate < 1


def test_a_hard_cut_is_recorded_and_warned_of_once() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = RunOptions("iris").model(MPSEngine(2))
        history = fit(model, load_dataset("iris"), config=FitConfig(epochs=2), progress_bar=False)
    assert [w.category for w in caught if "max_bond" in str(w.message)] == [TruncationWarning]
    entry = history.epochs[0]
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
    torch.testing.assert_close(losses[0], losses[1], atol=tolerances.TRAINED, rtol=0)
