"""Seconds per step: what is timed, not how long it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from qtn_train.circuits import ansatz
from qtn_train.data import Dataset
from qtn_train.engines import SampledEngine, StatevectorEngine
from qtn_train.hybrid import QuantumTrain
from qtn_train.training import FitConfig, History, _timing, seconds_per_step, step_seconds


def test_medians_are_over_fifty_steps_after_a_warm_up() -> None:
    calls: list[int] = []
    assert _timing._median(lambda: calls.append(1)) >= 0
    assert len(calls) == _timing._WARM_UP + _timing._STEPS
    assert _timing._STEPS >= 50
    assert _timing._WARM_UP >= 1


def test_the_model_is_not_changed(
    iris: Dataset, make: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_timing, "_STEPS", 2)
    model = make("noisy").eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = seconds_per_step(model, iris, FitConfig(batch_size=500))
    assert set(result) == {"generate", "total", "target"}
    assert all(isinstance(value, float) and value > 0 for value in result.values())
    assert step_seconds(model, iris, FitConfig(batch_size=500)) > 0
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    for name, value in model.state_dict().items():
        assert value.equal(before[name])


def test_shots_are_drawn_elsewhere(iris: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_timing, "_STEPS", 1)
    engine = SampledEngine(StatevectorEngine(), 10, gradient="spsa")
    model = QuantumTrain(nn.Linear(4, 3), circuit=ansatz.ry_cx_chain(4, 1), engine=engine)
    seconds_per_step(model, iris, FitConfig())
    assert model.generator.position == 0


def images() -> Dataset:
    x = torch.linspace(-1, 1, 8 * 36).view(8, 1, 6, 6)
    y = torch.arange(8) % 2
    return Dataset("images", x, y, x, y, 2, ("a", "b"))


def test_images_are_timed_in_both_memory_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    target = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 2))
    model = QuantumTrain(target, circuit=ansatz.ry_cx_chain(7, 1))
    seen: list[tuple[str, int, bool]] = []

    def step_time(net: nn.Module, x: torch.Tensor, y: torch.Tensor, *_: Any) -> float:
        format_ = torch.channels_last
        last = x.is_contiguous(memory_format=format_) and not x.is_contiguous()
        seen.append((type(net).__name__, len(y), last))
        return 5.0 - len(seen)

    monkeypatch.setattr(_timing, "_step_time", step_time)
    monkeypatch.setattr(_timing, "_STEPS", 1)
    result = seconds_per_step(model, images(), FitConfig(batch_size=4))
    assert [name for name, _, _ in seen] == ["Sequential", "Sequential", "QuantumTrain"]
    assert {size for _, size, _ in seen} == {4}
    assert (result["total"], result["target"]) == (2.0, 3.0)  # of 4.0 and 3.0 the faster


def test_long_steps_are_not_repeated(
    iris: Dataset, make: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_timing, "_LIMIT", 0.0)
    calls: list[int] = []
    assert _timing._median(lambda: calls.append(1)) >= 0
    assert len(calls) == 1
    config = FitConfig(batch_size=60)  # two steps an epoch
    entries = [{"seconds": seconds} for seconds in (8.0, 9.0, 100.0)]
    model = make()
    monkeypatch.setattr(model.generator, "forward", None)  # nothing is generated for it
    monkeypatch.setattr(_timing, "_target_time", lambda *_: 0.5)
    result = seconds_per_step(model, iris, config, History(entries))
    assert result == {"generate": 4.0, "total": 4.5, "target": 0.5}
