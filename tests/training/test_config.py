"""Options of a run: what is refused, and that they survive JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qtn_train.training import FitConfig, History


@pytest.mark.parametrize("name", ["epochs", "batch_size", "patience"])
@pytest.mark.parametrize("value", [0, -1])
def test_counts_are_positive(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"^`{name}` must be a positive integer; got {value}\.$"):
        FitConfig(**{name: value})


@pytest.mark.parametrize("name", ["epochs", "batch_size", "patience"])
@pytest.mark.parametrize("value", [1.5, "3", True])
def test_counts_are_integers(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"^`{name}` must be a positive integer; got {value!r}\.$"):
        FitConfig(**{name: value})


@pytest.mark.parametrize("name", ["lr", "lr_mapping", "clip_norm"])
@pytest.mark.parametrize("value", [0.0, -0.1, float("nan"), float("inf")])
def test_rates_are_positive(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^`{name}` must be a positive number; got {value}\.$"):
        FitConfig(**{name: value})


@pytest.mark.parametrize("value", [-1e-9, float("nan"), float("inf")])
def test_weight_decay_is_not_negative(value: float) -> None:
    with pytest.raises(ValueError, match=r"^`weight_decay` must be a number of at least 0; got "):
        FitConfig(weight_decay=value)


def test_an_unknown_schedule_lists_those_there_are() -> None:
    expected = r"^`schedule` must be 'one-cycle', 'plateau' or 'constant'; got 'cosine'\.$"
    with pytest.raises(ValueError, match=expected):
        FitConfig(schedule="cosine")


def test_edges_are_allowed() -> None:
    config = FitConfig(epochs=1, batch_size=1, weight_decay=0.0, clip_norm=None, patience=1)
    assert config.lr_mapping is None


def test_a_copy_is_checked_as_well() -> None:
    config = FitConfig(epochs=3)
    assert config.but(epochs=4, lr=0.5) == FitConfig(epochs=4, lr=0.5)
    assert config.epochs == 3
    with pytest.raises(ValueError, match="`epochs` must be a positive integer; got 0"):
        config.but(epochs=0)


def test_options_survive_json() -> None:
    config = FitConfig(lr_mapping=0.1, patience=2, schedule="plateau", seed=7)
    assert FitConfig(**json.loads(json.dumps(config.config()))) == config


def test_the_accuracy_of_a_history_is_that_of_its_last_epoch() -> None:
    history = History([{"test_accuracy": 0.5}, {"test_accuracy": 0.25}])
    assert history.test_accuracy == 0.25
    assert not history.stopped_early
