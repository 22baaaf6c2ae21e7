"""The seconds of a training step, and of a step of the same network trained directly."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..data import Dataset
from ..hybrid import QuantumTrain
from ._config import FitConfig, History
from ._objective import CROSS_ENTROPY, Objective
from ._step import make_optimizer, training_step

_STEPS = 50
_WARM_UP = 5
# Seconds that one of the four figures may take: they are measured in silence, after the bar's end.
_LIMIT = 0.7


def seconds_per_step(
    model: QuantumTrain,
    data: Dataset,
    config: FitConfig,
    history: History | None = None,
    goal: Objective = CROSS_ENTROPY,
) -> dict[str, float]:
    """Time steps on copies of a model, for three seconds at most where they are short enough.

    Args:
        model: The model; it is not changed.
        data: Where batches come from.
        config: Batch size and learning rates.
        history: Of the model's training with these options. Where a step takes longer than half a
            second, its time is then taken from there, evaluations included, and none is made.
        goal: The objective.

    Returns:
        Medians over up to 50 steps: ``generate`` (all weights, and their gradient), ``total`` (a
        whole step), and ``target``: a step of the exported network trained directly by the same
        code, the faster of the two memory formats.
    """
    x, y = _batch(model, data, config)
    twin = copy.deepcopy(model).train()
    target = _target_time(twin, x, y, config, goal)
    known = 0.0 if history is None else _in_training(history, data, config)
    if known > _LIMIT:
        return {"generate": max(known - target, 0.0), "total": known, "target": target}
    total = _step_time(twin, x, y, config, goal)
    generator = twin.generator
    cotangent = torch.ones(generator.n_weights, device=x.device)

    def generate() -> None:
        weights = generator()
        if weights.requires_grad:
            weights.backward(cotangent)

    return {"generate": _median(generate), "total": total, "target": target}


def _target_time(
    twin: QuantumTrain, x: Tensor, y: Tensor, config: FitConfig, goal: Objective
) -> float:
    """Return the time of a step of the exported network, in the faster memory format."""
    formats = [torch.contiguous_format]
    if x.ndim == 4:
        formats.append(torch.channels_last)
    net = twin.export()
    return min(
        _step_time(
            _in_format(net, memory_format),
            x.contiguous(memory_format=memory_format),
            y,
            config,
            goal,
        )
        for memory_format in formats
    )


def _in_training(history: History, data: Dataset, config: FitConfig) -> float:
    """Return the median over epochs of the seconds that one step took."""
    n_steps = math.ceil(len(data.y_train) / config.batch_size)
    return statistics.median([entry["seconds"] / n_steps for entry in history.epochs] or [0.0])


def step_seconds(model: QuantumTrain, data: Dataset, config: FitConfig) -> float:
    """Time steps on a copy of a model.

    Args:
        model: The model; it is not changed.
        data: Where batches come from.
        config: Batch size and learning rates.

    Returns:
        Median over up to 50 whole steps.
    """
    return _step_time(copy.deepcopy(model).train(), *_batch(model, data, config), config)


def _batch(model: QuantumTrain, data: Dataset, config: FitConfig) -> tuple[Tensor, Tensor]:
    size = min(config.batch_size, len(data.y_train))
    device = next(model.parameters()).device
    return data.x_train[:size].to(device), data.y_train[:size].to(device)


def _in_format(net: nn.Module, memory_format: torch.memory_format) -> nn.Module:
    net = copy.deepcopy(net).train()
    for parameter in net.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)
    return net


def _step_time(
    model: nn.Module, x: Tensor, y: Tensor, config: FitConfig, goal: Objective = CROSS_ENTROPY
) -> float:
    optimizer = make_optimizer(model, config.but(lr=1e-6, lr_mapping=1e-6))
    return _median(lambda: training_step(model, optimizer, x, y, config.clip_norm, goal=goal))


def _median(call: Callable[[], object]) -> float:
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < _WARM_UP + _STEPS:
        _synchronize()
        began = time.perf_counter()
        call()
        _synchronize()
        times.append(time.perf_counter() - began)
        if times[-1] > _LIMIT - (time.perf_counter() - start):
            break
    return statistics.median(times[min(_WARM_UP, len(times) - 1) :])


def _synchronize() -> None:
    """Wait for all accelerators; a model may live on any of them."""
    if torch.cuda.is_initialized():
        for number in range(torch.cuda.device_count()):
            torch.cuda.synchronize(number)
