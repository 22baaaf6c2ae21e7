"""Objectives of training: losses by name or as a function, and metrics."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..data import Dataset
from ..errors import Event, event, must_be
from ..hybrid import QuantumTrain
from ..hybrid._tensors import copied

LossFunction = Callable[[Any, Tensor], Tensor]
Metric = Callable[[Any, Tensor], Any]

_CLASSES = ("cross-entropy", "nll")


@dataclass(frozen=True)
class Objective:
    """A loss, and whether samples can be right or wrong under it.

    Attributes:
        name: ``"cross-entropy"``, ``"nll"``, ``"bce"``, ``"mse"``, or the name of a function.
        function: A function of the user's own: the mean loss of a batch; None for a loss by name.
    """

    name: str = "cross-entropy"
    function: LossFunction | None = None

    def mean(self, out: Any, y: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        return self._loss(out, y, "mean")

    def total(self, out: Any, y: Tensor) -> float:
        """Return the sum of the losses of a batch, one a sample or token."""
        if self.function is not None:
            return float(self.function(out, y)) * self.count(y)
        return float(self._loss(out, y, "sum"))

    def _loss(self, out: Any, y: Tensor, reduction: str) -> Tensor:
        if self.function is not None:
            return self.function(out, y)
        if self.name == "cross-entropy":
            return functional.cross_entropy(out, y, reduction=reduction)
        if self.name == "nll":
            return functional.nll_loss(out, y, reduction=reduction)
        numbers = y.to(out.dtype)
        if self.name == "bce":
            return functional.binary_cross_entropy_with_logits(
                out.reshape(y.shape), numbers, reduction=reduction
            )
        return functional.mse_loss(out.reshape(y.shape), numbers, reduction=reduction)

    def count(self, y: Tensor) -> int:
        """Return the number of labels, tokens or values that a batch's mean loss is taken over."""
        return len(y) if self.function is not None else y.numel()

    def hits(self, out: Any, y: Tensor) -> int | None:
        """Return the number of correct labels, or None where nothing is right or wrong."""
        if self.name == "bce" and self.function is None:
            return int(((out.detach().reshape(y.shape) > 0) == (y > 0.5)).sum())
        is_scores = isinstance(out, Tensor) and out.ndim == y.ndim + 1 and out.shape[1] > 1
        if self.name == "mse" or y.is_floating_point() or not is_scores:
            return None
        return int((out.detach().argmax(1) == y).sum())


CROSS_ENTROPY = Objective()


def objective_of(loss: str | LossFunction | None, y: Tensor) -> Objective:
    """Return the objective that a user's loss means.

    Args:
        loss: A name, a function of output and target, or None: cross entropy for class numbers,
            the mean square for real ones.
        y: What is learned.

    Raises:
        TypeError: It is neither.
        ValueError: An unknown name, or one that does not suit the data.
    """
    names = ("cross-entropy", "nll", "bce", "mse")
    expected = f"one of {', '.join(names)}, or a function of output and target"
    if loss is None:
        return Objective("mse" if y.is_floating_point() else "cross-entropy")
    if isinstance(loss, str):
        name = {"crossentropy": "cross-entropy"}.get(loss.lower().replace("_", "-"), loss.lower())
        name = name.replace("_", "-")
        if name not in names:
            raise ValueError(must_be("loss", expected, repr(loss)))
        if name in _CLASSES and y.is_floating_point():
            hint = "The data hold real numbers: take 'mse', or give whole numbers as labels."
            raise ValueError(must_be("loss", "'mse', 'bce' or a function", repr(loss), hint))
        if name == "bce" and not bool(((y >= 0) & (y <= 1)).all()):
            hint = "For more than two classes take 'cross-entropy'."
            actual = f"labels from {float(y.min()):g} to {float(y.max()):g}"
            raise ValueError(must_be("labels", "0 or 1 for the loss 'bce'", actual, hint))
        return Objective(name)
    if isinstance(loss, type):
        hint = f"Build it: {loss.__name__}()."
        raise TypeError(must_be("loss", expected, f"the class {loss.__name__}", hint))
    if not callable(loss):
        raise TypeError(must_be("loss", expected, type(loss).__name__))
    return Objective(getattr(loss, "__name__", type(loss).__name__), loss)


# --- metrics --------------------------------------------------------------------------------------


def _accuracy(out: Tensor, y: Tensor) -> Tensor:
    guess = out.argmax(1) if out.ndim > y.ndim and out.shape[1] > 1 else out.reshape(y.shape) > 0
    return (guess == y).float().mean()


def _mae(out: Tensor, y: Tensor) -> Tensor:
    return (out.reshape(y.shape) - y).abs().mean()


def _rmse(out: Tensor, y: Tensor) -> Tensor:
    return (out.reshape(y.shape) - y).square().mean().sqrt()


def _r2(out: Tensor, y: Tensor) -> Tensor:
    rest = (out.reshape(y.shape) - y).square().sum()
    return 1 - rest / (y - y.mean(0)).square().sum()


METRICS: dict[str, Metric] = {"accuracy": _accuracy, "mae": _mae, "rmse": _rmse, "r2": _r2}


def metrics_of(metrics: Sequence[str | Metric] | Mapping[str, Metric]) -> dict[str, Metric]:
    """Return metrics by name.

    Args:
        metrics: Names of :data:`METRICS`, functions of outputs and targets, or such by name.

    Raises:
        TypeError: One is neither.
        ValueError: An unknown name.
    """
    expected = f"a list of functions, or of {', '.join(METRICS)}"
    if isinstance(metrics, Mapping):
        found: dict[str, Metric] = dict(metrics)
    elif isinstance(metrics, str) or not isinstance(metrics, Sequence):
        actual = repr(metrics) if isinstance(metrics, str) else type(metrics).__name__
        raise TypeError(must_be("metrics", expected, actual, "Put it into a list."))
    else:
        found = {}
        for metric in metrics:
            if isinstance(metric, str) and metric not in METRICS:
                raise ValueError(must_be("metrics", expected, repr(metric)))
            is_name = isinstance(metric, str)
            name = metric if isinstance(metric, str) else getattr(metric, "__name__", "metric")
            found[name] = METRICS[name] if is_name else metric  # type: ignore[assignment]
    for name, metric in found.items():
        if not callable(metric):
            raise TypeError(must_be("metrics", expected, f"{type(metric).__name__} for {name!r}"))
    return found


# --- does the network suit the data? --------------------------------------------------------------


def check_amounts(data: object, goal: Objective) -> None:
    """Refuse to come close to the numbers of classes, which only count labels in sorted order.

    Args:
        data: What :func:`qtn_train.fit` was given.
        goal: The objective.

    Raises:
        ValueError: A :class:`Dataset` of three or more classes is to be met by the mean square.
    """
    if not isinstance(data, Dataset) or goal.name != "mse" or data.n_classes < 3:
        return
    if data.classes != tuple(map(str, range(data.n_classes))):
        actual = f"the classes {', '.join(data.classes[:3])}, …"
        hint = "Read whole numbers with `regression=True`, or take the loss 'cross-entropy'."
        raise ValueError(must_be("train", "real numbers for the loss 'mse'", actual, hint))


def check_suits(model: nn.Module, x: Tensor, y: Tensor, n_classes: int, goal: Objective) -> None:
    """Check in words that a network takes the inputs and gives what the loss compares.

    A copy of the network, in evaluation mode and without generated weights, looks at two samples:
    no circuit is run, and nothing that is random moves.

    Args:
        model: The model.
        x: Inputs.
        y: What is learned.
        n_classes: Number of classes, or 0.
        goal: The objective.

    Raises:
        ValueError: They do not suit each other.
    """
    if not isinstance(model, QuantumTrain) and any(
        isinstance(part, QuantumTrain) for part in model.modules()
    ):
        return  # it would run circuits
    net = copied(model.target) if isinstance(model, QuantumTrain) else copy.deepcopy(model)
    devices = [x.device] if x.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices):
        try:
            out = net.eval()(x[:2])
        except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            expected = "inputs that the target takes"
            kind = str(x.dtype).removeprefix("torch.")
            actual = f"samples of {kind} and shape {tuple(x.shape[1:])} ({reason})"
            hint = "Bring the data or the target into the other's shape and type."
            if not x.is_floating_point():
                hint = "Whole numbers are tokens, for an Embedding; give any other layer real ones."
            elif any(isinstance(layer, nn.Embedding) for layer in net.modules()):
                hint = "An Embedding takes whole numbers: give the inputs as int64."
            raise ValueError(must_be("train", expected, actual, hint)) from error
    if goal.function is None:
        complaint = _complaint(out, y[:2], n_classes, goal)
        if complaint is not None:
            raise ValueError(complaint)


def _complaint(out: Any, y: Tensor, n_classes: int, goal: Objective) -> Event | None:
    """Return what is wrong with an output for a loss by name, or None."""
    nothing = "Nothing was trained."
    if not isinstance(out, Tensor):
        hint = "Give a function of output and target as the loss."
        return event(f"The target gives a {type(out).__name__}, no tensor.", nothing, hint)
    if goal.name in _CLASSES:
        n_scores = out.shape[1] if out.ndim > y.ndim else 1
        if n_scores >= n_classes and out.ndim == y.ndim + 1:
            return None
        hint = f"Let the target's last layer have {n_classes} outputs"
        if n_scores == 1:
            hint += ", or take the loss "
            hint += "'bce'" if n_classes == 2 else "'mse' where the labels are amounts, not classes"
        hint += "."
        gives = f"{n_scores} score{'' if n_scores == 1 else 's'}"
        return event(f"The target gives {gives}; the data have {n_classes} classes.", nothing, hint)
    mine, its = out[0].numel(), y[0].numel()
    if mine == its:
        return None
    gives = f"{mine} number{'' if mine == 1 else 's'}"
    hint = f"Let the target's last layer have {its} output{'' if its == 1 else 's'}."
    return event(f"The target gives {gives}; the data have {its} a sample.", nothing, hint)
