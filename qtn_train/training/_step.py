"""One step of training, and the evaluation after an epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import NonFiniteLoss, must_be
from ..hybrid import QuantumTrain
from ._config import FitConfig
from ._distributed import Processes
from ._objective import CROSS_ENTROPY, Metric, Objective

_EVALUATION_BATCH = 1000


def evaluate(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Return mean cross entropy and accuracy of a classifier, in evaluation mode.

    Args:
        model: The classifier.
        x: Inputs.
        y: Class numbers.

    Returns:
        The loss in nats, and the accuracy in 0 … 1.

    Example:
        >>> scores = torch.tensor([[9.0, 1.0], [2.0, 8.0]])
        >>> loss, accuracy = evaluate(nn.Identity(), scores, torch.tensor([0, 0]))
        >>> accuracy
        0.5
    """
    found = measure(model, x, y)
    return found["loss"], found["accuracy"]


def measure(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    goal: Objective = CROSS_ENTROPY,
    metrics: Mapping[str, Metric] | None = None,
) -> dict[str, float]:
    """Return loss, accuracy where there is one, and metrics of a model, in evaluation mode.

    Args:
        model: The model.
        x: Inputs.
        y: What is learned.
        goal: The objective.
        metrics: Functions of all outputs and targets, by name.
    """
    was_training = model.training
    model.eval()
    loss, correct, outputs = 0.0, 0, []
    with torch.no_grad():
        for inputs, labels in zip(
            x.split(_EVALUATION_BATCH), y.split(_EVALUATION_BATCH), strict=True
        ):
            out = model(inputs)
            loss += goal.total(out, labels)
            hits = goal.hits(out, labels)
            correct += hits or 0
            outputs += [out] if metrics else []
        found = {"loss": loss / goal.count(y)}
        if hits is not None:
            found["accuracy"] = correct / y.numel()
        for name, metric in (metrics or {}).items():
            found[name] = float(metric(torch.cat(outputs), y))
    model.train(was_training)
    return found


def make_optimizer(model: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    """Return Adam with one group of parameters for each part of the model.

    Args:
        model: A :class:`QuantumTrain` (parts: angles, mapping, other), or any other module.
        config: Learning rates and weight decay.

    Returns:
        The optimizer.
    """
    if isinstance(model, QuantumTrain):
        parts = {role: ps for role, ps in model.parts().items() if ps}
    else:
        parts = {"other": [p for p in model.parameters() if p.requires_grad]}
    mapping = config.lr if config.lr_mapping is None else config.lr_mapping
    groups: list[dict[str, Any]] = [
        {"params": ps, "lr": mapping if role == "mapping" else config.lr}
        for role, ps in parts.items()
    ]
    return torch.optim.Adam(groups, weight_decay=config.weight_decay)


def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    clip_norm: float | None,
    processes: Processes = Processes(),  # noqa: B008
    goal: Objective = CROSS_ENTROPY,
) -> tuple[float, int | None]:
    """Make one step of the optimizer.

    Args:
        model: The model.
        optimizer: Its optimizer.
        x: Inputs of the batch.
        y: Their class numbers, or what else is learned.
        clip_norm: Largest norm of the gradient of each group, or None.
        processes: Those that share the batch; ``x`` and ``y`` are all of it in each of them.
        goal: The objective.

    Returns:
        The mean loss before the step, and how many labels were met, or None where nothing is right
        or wrong.

    Raises:
        NonFiniteLoss: Loss or gradient is not finite; no parameter was changed.
    """
    own, share = processes.share(len(y))
    out = model(x[own])
    loss = share * goal.mean(out, y[own])
    hits = goal.hits(out, y[own])
    met = hits if hits is not None and share else 0
    value, correct = processes.total([float(loss.detach()), met], y.device)
    if not math.isfinite(value):
        raise NonFiniteLoss(must_be("loss", "finite", value, "Lower the learning rate."))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    processes.add_gradients([p for group in optimizer.param_groups for p in group["params"]])
    for group in optimizer.param_groups:
        limit = math.inf if clip_norm is None else clip_norm
        norm = float(nn.utils.clip_grad_norm_(group["params"], limit))
        if not math.isfinite(norm):
            hint = "Lower the learning rate."
            raise NonFiniteLoss(must_be("gradient norm", "finite", norm, hint))
    optimizer.step()
    return value, None if hits is None else round(correct)
