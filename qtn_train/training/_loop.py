"""The training loop. Nothing in the library needs it: any torch loop trains the model as well."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .._progress import progress_bar as bar_for
from .._random import permutation
from ..errors import NonFiniteLoss, RunError, UnsupportedByEngine, must_be
from ..hybrid import QuantumTrain
from ._callbacks import Callback, callbacks_of
from ._checkpoint import CHECKPOINT, read_checkpoint, restore, save_checkpoint
from ._config import FitConfig, History
from ._distributed import Processes
from ._objective import (
    LossFunction,
    Metric,
    Objective,
    check_amounts,
    check_suits,
    metrics_of,
    objective_of,
)
from ._progress import Progress
from ._splits import Splits, splits_of
from ._step import make_optimizer, measure, training_step

_SECONDS_BETWEEN_CHECKPOINTS = 30.0


def fit(
    model: nn.Module,
    train: Any,
    test: Any = None,
    *,
    config: FitConfig | Mapping[str, Any] = FitConfig(),  # noqa: B008
    epochs: int | None = None,
    loss: str | LossFunction | None = None,
    metrics: Sequence[str | Metric] | Mapping[str, Metric] = (),
    callbacks: Sequence[Callback | Callable[[dict[str, float]], object]] = (),
    folder: str | Path | None = None,
    resume: bool = False,
    progress_bar: bool = True,
    run: dict[str, Any] | None = None,
) -> History:
    """Train a model by Adam: to tell classes apart, to come close to numbers, or for any loss.

    With a folder, a checkpoint is written before the first step, after each epoch, twice a minute,
    and when Ctrl-C or SIGTERM comes; after each step where executions cost money. A resumed run
    ends with the same bits as one that was never interrupted (same machine, versions and threads).

    Where shots are counted, the evaluation after an epoch and the step that follows it look at the
    same parameters: they share one position of the random draws, and so one set of counts. So does
    the next ``export()`` after the last epoch: it gives the network that was evaluated.

    In a process group of torch (``torchrun``) each process takes its share of every batch, and all
    take the same steps. The first one alone touches the folder and shows the bar; all of them begin
    with its parameters, end with the same ones, and return the same history.

    Args:
        model: A :class:`QuantumTrain`, or any module to compare it with.
        train: A :class:`Dataset` (its test set is used too); a pair ``(x, y)`` of tensors, arrays
            or frames of pandas; a TensorDataset; or a DataLoader, which is read once: batches are
            those of ``config``. Whole numbers as inputs are tokens; as labels, classes. All of it
            is moved to the model's device.
        test: The same, a fraction to hold out of ``train``, or None for no test.
        config: The options: a FitConfig, or a dictionary of some of its attributes.
        epochs: Shortcut for ``config.but(epochs=…)``.
        loss: ``"cross-entropy"`` or ``"nll"`` (classes), ``"bce"`` (0 or 1, on scores), ``"mse"``
            (numbers), or a function of output and target that gives the mean of a batch. By
            default cross entropy for classes and the mean square for real numbers.
        metrics: What else to measure on the test set: ``"accuracy"``, ``"mae"``, ``"rmse"``,
            ``"r2"``, or functions of all outputs and targets.
        callbacks: What else to do after each epoch: objects such as :class:`EarlyStopping`, or
            functions of the history's new entry; called in every process.
        folder: Where checkpoints go; none are written without it.
        resume: Whether to go on from the folder's checkpoint, if there is one.
        progress_bar: Whether to show a bar: on standard error, or in the notebook's output.
        run: JSON data to keep in the checkpoint.

    Returns:
        The history; the model is trained in place.

    Raises:
        DataError: The data are empty, not finite, or of different lengths.
        TypeError: An argument is of another kind.
        ValueError: The network does not suit the data, which is checked before anything else.
        CheckpointError: The checkpoint is damaged, or belongs to another model or other options.
        RunError: The folder holds a run and ``resume`` is off, or it is not writable.
        ProcessLost: Another process of the group has ended.
        UnsupportedByEngine: Executions cost money, and there are several processes.
        NonFiniteLoss: Loss, gradient or a parameter became NaN or infinite; the last good
            checkpoint stays.
        KeyboardInterrupt: After Ctrl-C, once the checkpoint is written; also when nothing but the
            caller's own work was left to do.

    Example:
        >>> import qtn_train as qt
        >>> iris = qt.load_dataset("iris")
        >>> model = qt.QuantumTrain(nn.Linear(4, 3), seed=0)
        >>> history = fit(model, iris, epochs=2, progress_bar=False)
        >>> len(history.epochs)
        2
    """
    config, called = _checked(model, config, epochs), callbacks_of(callbacks)
    data = splits_of(train, test, config.seed)
    goal = objective_of(loss, data.train[1])
    check_amounts(train, goal)
    if not isinstance(folder, str | os.PathLike | None):
        raise TypeError(must_be("folder", "a path", repr(folder)))
    place = None if folder is None else Path(folder)
    loop = _Loop(model, data, goal, metrics_of(metrics), config, place, run or {})
    check_suits(model, loop.x, loop.y, data.n_classes, goal)
    loop.begin(resume)
    shown = progress_bar and loop.processes.first
    with loop.interruptible(), loop.sharing(), _bar(loop, shown) as bar:
        try:
            _run(loop, called, bar)
        finally:
            for callback in called:
                callback.end(model, loop.at.history)
    return loop.at.history


def _run(loop: _Loop, callbacks: Sequence[Callback], bar: tqdm) -> None:
    """Train for the epochs that are left."""
    at = loop.at
    # Lists, not generators: every callback is called, whatever the one before it says.
    if any([callback.begin(loop.model, at.history) for callback in callbacks]):
        at.history.stopped_early = True
    while at.epoch < loop.config.epochs and not at.history.stopped_early:
        loop.run_epoch(bar)
        entry = at.history.epochs[-1]
        if any([callback.epoch(loop.model, entry) for callback in callbacks]):
            at.history.stopped_early = True
            loop.save()
        if loop.asked_to_stop():
            raise KeyboardInterrupt
    loop.processes.copy_from_first(list(loop.model.buffers()))


def _checked(
    model: nn.Module, config: FitConfig | Mapping[str, Any], epochs: int | None
) -> FitConfig:
    """Return the options, after checking the types of the arguments."""
    if not isinstance(model, nn.Module):
        actual, hint = type(model).__name__, ""
        if isinstance(model, type):
            actual, hint = f"the class {model.__name__}", f"Build it: {model.__name__}(…)."
        raise TypeError(must_be("model", "a torch.nn.Module", actual, hint))
    if isinstance(config, Mapping):
        config = _named(config)
    if not isinstance(config, FitConfig):
        raise TypeError(must_be("config", "a FitConfig", type(config).__name__))
    return config if epochs is None else config.but(epochs=epochs)


def _named(options: Mapping[str, Any]) -> FitConfig:
    """Return options that are given by name."""
    known = FitConfig().config()
    for name in options:
        if name not in known:
            expected = f"a FitConfig, or a dictionary of {', '.join(known)}"
            raise TypeError(must_be("config", expected, f"one with {name!r}"))
    return FitConfig(**options)


class _Loop:
    """The state of one run."""

    def __init__(
        self,
        model: nn.Module,
        data: Splits,
        goal: Objective,
        metrics: dict[str, Metric],
        config: FitConfig,
        folder: Path | None,
        run: dict[str, Any],
    ) -> None:
        self.model, self.config, self.folder, self.run = model, config, folder, run
        self.goal, self.metrics, self.has_accuracy = goal, metrics, True
        self.generator = model.generator if isinstance(model, QuantumTrain) else None
        self.billed = self.generator is not None and self.generator.billed
        self.processes = Processes.current()
        if self.billed and self.processes.size > 1:
            hint = "Start it without torchrun: circuits would be executed and paid several times."
            expected = "1 where executions cost money"
            raise UnsupportedByEngine(must_be("processes", expected, self.processes.size, hint))
        self.trainable = [p for p in model.parameters() if p.requires_grad]
        if not self.trainable:
            raise ValueError(must_be("model", "a module with trainable parameters", "none"))
        device = self.trainable[0].device
        self.x, self.y = (part.to(device) for part in data.train)
        self.test = data.test and (data.test[0].to(device), data.test[1].to(device))
        self.held: tuple[Tensor, Tensor] | None = None
        if config.patience is not None:
            order = torch.from_numpy(permutation(config.seed, "held out", len(self.y))).to(device)
            n_held = max(1, len(self.y) // 10)
            self.held = (self.x[order[:n_held]], self.y[order[:n_held]])
            self.x, self.y = self.x[order[n_held:]], self.y[order[n_held:]]
        self.steps = math.ceil(len(self.y) / config.batch_size)
        self.optimizer = make_optimizer(model, config)
        self.scheduler = self._make_scheduler()
        self.at = Progress()
        self.stop = False
        self.saved = time.monotonic()

    def _make_scheduler(self) -> Any:
        if self.config.schedule == "one-cycle":
            peaks = [group["lr"] for group in self.optimizer.param_groups]
            total = self.steps * self.config.epochs
            # torch's schedule has no last step where the whole run is one step.
            return torch.optim.lr_scheduler.OneCycleLR(self.optimizer, peaks, max(total, 2))
        if self.config.schedule == "plateau":
            return torch.optim.lr_scheduler.ReduceLROnPlateau(
                self.optimizer, factor=0.5, patience=5
            )
        return None

    def begin(self, resume: bool) -> None:
        """Write the first checkpoint, or restore the last one."""
        self.processes.copy_from_first([*self.model.parameters(), *self.model.buffers()])
        kept = self.processes.from_first(lambda: self._open(resume))
        if kept is not None:
            self.at = restore(
                *kept, self.model, self.optimizer, self.scheduler, self.config, self.goal.name
            )

    def _open(self, resume: bool) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the folder's checkpoint, or write the first one and return None."""
        if self.folder is None:
            return None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            exists = (self.folder / CHECKPOINT).exists()
            if exists and not resume:
                expected = "an empty folder"
                hint = "Resume it, or choose another folder."
                raise RunError(
                    must_be("folder", expected, f"{self.folder}, which holds a run", hint)
                )
            if exists:
                return read_checkpoint(self.folder)
            self.save()
            return None
        except OSError as error:
            reason = error.strerror or str(error)
            text = must_be("folder", "a folder that can be written", f"{self.folder} ({reason})")
            raise RunError(text) from error

    def save(self) -> None:
        """Write a checkpoint, unless the last step has spoiled the parameters."""
        if not all(bool(torch.isfinite(p).all()) for p in self.trainable):
            hint = "Lower the learning rate."
            raise NonFiniteLoss(must_be("parameters", "finite", "NaN or infinity", hint))
        if self.folder is not None and self.processes.first:
            save_checkpoint(
                self.folder,
                self.model,
                self.optimizer,
                self.scheduler,
                self.at,
                self.config,
                self.run,
                self.goal.name,
            )
            self.saved = time.monotonic()

    def run_epoch(self, bar: tqdm) -> None:
        at, size = self.at, self.config.batch_size
        order = permutation(self.config.seed, f"epoch {at.epoch}", len(self.y))
        batches = torch.from_numpy(order).to(self.y.device).split(size)
        self.model.train()
        for index in batches[at.step :]:
            began = time.monotonic()
            loss, correct = training_step(
                self.model,
                self.optimizer,
                self.x[index],
                self.y[index],
                self.config.clip_norm,
                self.processes,
                self.goal,
            )
            if self.config.schedule == "one-cycle":
                self.scheduler.step()
            at.step += 1
            at.loss_sum += loss * len(index)
            self.has_accuracy = correct is not None
            at.n_correct += correct or 0
            at.seconds += time.monotonic() - began
            seen = min(at.step * size, len(self.y))
            shown = {"loss": f"{at.loss_sum / seen:.4f}"}
            if self.has_accuracy:
                per_sample = self.y[0].numel()
                shown["acc"] = f"{at.n_correct / (seen * per_sample):.4f}"
            bar.set_postfix(shown, refresh=False)
            bar.update()
            due = time.monotonic() - self.saved > _SECONDS_BETWEEN_CHECKPOINTS
            stop = self.asked_to_stop()
            if stop or self.billed or due:
                self.save()
            if stop:
                raise KeyboardInterrupt
        self._end_epoch()

    def _end_epoch(self) -> None:
        at = self.at
        train_loss = at.loss_sum / len(self.y)
        entry = {"epoch": at.epoch + 1, "train_loss": train_loss}
        if self.has_accuracy:
            entry["train_accuracy"] = at.n_correct / self.y.numel()
        began = time.monotonic()
        if self.test is not None:
            found = self._evaluate(*self.test)
            entry |= {f"test_{name}": value for name, value in found.items()}
            if not math.isfinite(entry["test_loss"]):  # then the last step was one too many
                hint = "Lower the learning rate."
                raise NonFiniteLoss(must_be("test loss", "finite", entry["test_loss"], hint))
        if self.generator is not None:
            entry |= self.generator.diagnostics()
        if self.config.schedule == "plateau":
            self.scheduler.step(train_loss)
        if self.held is not None:
            entry["validation_loss"] = self._evaluate(*self.held)["loss"]
            better = entry["validation_loss"] < at.best
            at.best = min(at.best, entry["validation_loss"])
            at.waited = 0 if better else at.waited + 1
            at.history.stopped_early = at.waited >= (self.config.patience or 0)
        entry["seconds"] = at.seconds + time.monotonic() - began
        at.history.epochs.append(entry)
        at.epoch += 1
        at.step, at.loss_sum, at.n_correct, at.seconds = 0, 0.0, 0, 0.0
        self.save()

    def _evaluate(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """Evaluate the model; the position is restored, so the next step sees the same counts."""
        position = 0 if self.generator is None else self.generator.position
        alone = self.processes.size == 1 or bool(self.metrics)  # metrics need all outputs
        own, share = (slice(None), 1.0) if alone else self.processes.share(len(y))
        self.processes.copy_from_first(list(self.model.buffers()))
        found = measure(self.model, x[own], y[own], self.goal, self.metrics)
        if self.generator is not None:
            self.generator.position = position
        if alone:
            return found
        met = round(found.get("accuracy", 0.0) * y[own].numel()) if share else 0
        loss, correct = self.processes.total([share * found["loss"], met], y.device)
        return {"loss": loss, **({"accuracy": correct / y.numel()} if "accuracy" in found else {})}

    def asked_to_stop(self) -> bool:
        """Return whether any process was told to stop; then all stop after the same step."""
        return bool(self.processes.total([float(self.stop)], self.y.device)[0])

    def sharing(self) -> AbstractContextManager[None]:
        """Let each process generate some of the chunks of weights, where there are several."""
        if self.generator is None or self.processes.size == 1:
            return nullcontext()
        return self.generator.shared()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a step finish before Ctrl-C or SIGTERM ends training: no update is cut in half."""
        if self.folder is None or threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            # Asked twice, or waiting for a device's queue, which takes hours: at once. Then the run
            # goes on from the last checkpoint, and what was paid for since is in the journal.
            # torchrun passes a signal on that has come already, and kills what does not end.
            if (self.stop and self.processes.size == 1) or self.billed:
                raise KeyboardInterrupt
            self.stop = True

        old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


def _bar(loop: _Loop, show: bool) -> tqdm:
    done = loop.steps * loop.at.epoch + loop.at.step
    return bar_for(loop.steps * loop.config.epochs, done, unit="step", show=show)
