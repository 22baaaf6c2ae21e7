"""The training loop. Nothing in the library needs it: any torch loop trains the model as well."""

from __future__ import annotations

import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .._progress import progress_bar as bar_for
from .._random import permutation
from ..data import Dataset
from ..errors import NonFiniteLoss, RunError, TruncationWarning, UnsupportedByEngine, must_be
from ..hybrid import QuantumTrain
from ._checkpoint import CHECKPOINT, read_checkpoint, restore, save_checkpoint
from ._config import FitConfig, History
from ._distributed import Processes
from ._progress import Progress

_SECONDS_BETWEEN_CHECKPOINTS = 30.0
_EVALUATION_BATCH = 1000
# Below this estimated fidelity a truncated state is reported.
_LOWEST_FIDELITY = 0.9


def fit(
    model: nn.Module,
    data: Dataset,
    config: FitConfig = FitConfig(),  # noqa: B008
    *,
    folder: str | Path | None = None,
    resume: bool = False,
    progress_bar: bool = True,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    run: dict[str, Any] | None = None,
) -> History:
    """Train a model by Adam on the cross entropy of its class scores.

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
        model: A :class:`QuantumTrain`, or any classifier to compare it with.
        data: The data set; it is moved to the model's device.
        config: The options.
        folder: Where checkpoints go; none are written without it.
        resume: Whether to go on from the folder's checkpoint, if there is one.
        progress_bar: Whether to show a bar: on standard error, or in the notebook's output.
        on_epoch: Called with each new entry of the history, in every process.
        run: JSON data to keep in the checkpoint.

    Returns:
        The history; the model is trained in place.

    Raises:
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
        >>> history = fit(model, iris, FitConfig(epochs=2), progress_bar=False)
        >>> len(history.epochs)
        2
    """
    loop = _Loop(model, data, config, None if folder is None else Path(folder), run or {})
    loop.begin(resume)
    shown = progress_bar and loop.processes.first
    with loop.interruptible(), loop.sharing(), _bar(loop, shown) as bar:
        while loop.at.epoch < config.epochs and not loop.at.history.stopped_early:
            loop.run_epoch(bar)
            if on_epoch is not None:
                on_epoch(loop.at.history.epochs[-1])
            if loop.asked_to_stop():
                raise KeyboardInterrupt
        loop.processes.copy_from_first(list(model.buffers()))
    return loop.at.history


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
    was_training = model.training
    model.eval()
    loss, correct = 0.0, 0
    with torch.no_grad():
        for inputs, labels in zip(
            x.split(_EVALUATION_BATCH), y.split(_EVALUATION_BATCH), strict=True
        ):
            logits = model(inputs)
            loss += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
            correct += int((logits.argmax(1) == labels).sum())
    model.train(was_training)
    return loss / len(y), correct / len(y)


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
) -> tuple[float, int]:
    """Make one step of the optimizer.

    Args:
        model: The classifier.
        optimizer: Its optimizer.
        x: Inputs of the batch.
        y: Their class numbers.
        clip_norm: Largest norm of the gradient of each group, or None.
        processes: Those that share the batch; ``x`` and ``y`` are all of it in each of them.

    Returns:
        The mean loss before the step, and how many samples were classified correctly.

    Raises:
        NonFiniteLoss: Loss or gradient is not finite; no parameter was changed.
    """
    own, share = processes.share(len(y))
    logits = model(x[own])
    loss = share * nn.functional.cross_entropy(logits, y[own])
    hits = int((logits.detach().argmax(1) == y[own]).sum()) if share else 0
    value, correct = processes.total([float(loss.detach()), hits], y.device)
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
    return value, round(correct)


class _Loop:
    """The state of one run."""

    def __init__(
        self,
        model: nn.Module,
        data: Dataset,
        config: FitConfig,
        folder: Path | None,
        run: dict[str, Any],
    ) -> None:
        self.model, self.config, self.folder, self.run = model, config, folder, run
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
        self.x, self.y = data.x_train.to(device), data.y_train.to(device)
        self.test = (data.x_test.to(device), data.y_test.to(device))
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
        """Write the first checkpoint, or go to where the last one stands."""
        self.processes.copy_from_first([*self.model.parameters(), *self.model.buffers()])
        kept = self.processes.from_first(lambda: self._open(resume))
        if kept is not None:
            self.at = restore(*kept, self.model, self.optimizer, self.scheduler, self.config)

    def _open(self, resume: bool) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the folder's checkpoint; or write the first one."""
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
            )
            self.saved = time.monotonic()

    def run_epoch(self, bar: tqdm[Any]) -> None:
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
            )
            if self.config.schedule == "one-cycle":
                self.scheduler.step()
            at.step += 1
            at.loss_sum += loss * len(index)
            at.n_correct += correct
            at.seconds += time.monotonic() - began
            seen = min(at.step * size, len(self.y))
            bar.set_postfix(
                loss=f"{at.loss_sum / seen:.4f}", acc=f"{at.n_correct / seen:.4f}", refresh=False
            )
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
        entry["train_accuracy"] = at.n_correct / len(self.y)
        began = time.monotonic()
        entry["test_loss"], entry["test_accuracy"] = self._evaluate(*self.test)
        if not math.isfinite(entry["test_loss"]):  # then the last step was one too many
            hint = "Lower the learning rate."
            raise NonFiniteLoss(must_be("test loss", "finite", entry["test_loss"], hint))
        if self.generator is not None:
            entry |= self.generator.diagnostics()
        if self.processes.first and entry.get("fidelity_estimate", 1.0) < _LOWEST_FIDELITY:
            warnings.warn(
                f"`max_bond` must keep a fidelity of {_LOWEST_FIDELITY}; got "
                f"{entry['fidelity_estimate']:.3g} in epoch {at.epoch + 1}. Raise it.",
                TruncationWarning,
                stacklevel=4,
            )
        if self.config.schedule == "plateau":
            self.scheduler.step(train_loss)
        if self.held is not None:
            entry["validation_loss"], _ = self._evaluate(*self.held)
            better = entry["validation_loss"] < at.best
            at.best = min(at.best, entry["validation_loss"])
            at.waited = 0 if better else at.waited + 1
            at.history.stopped_early = at.waited >= (self.config.patience or 0)
        entry["seconds"] = at.seconds + time.monotonic() - began
        at.history.epochs.append(entry)
        at.epoch += 1
        at.step, at.loss_sum, at.n_correct, at.seconds = 0, 0.0, 0, 0.0
        self.save()

    def _evaluate(self, x: Tensor, y: Tensor) -> tuple[float, float]:
        """Evaluate; the step that follows looks at the same parameters, so at the same counts."""
        position = 0 if self.generator is None else self.generator.position
        own, share = self.processes.share(len(y))
        self.processes.copy_from_first(list(self.model.buffers()))
        loss, accuracy = evaluate(self.model, x[own], y[own])
        if self.generator is not None:
            self.generator.position = position
        if self.processes.size == 1:
            return loss, accuracy
        hits = round(accuracy * len(y[own])) if share else 0
        loss, correct = self.processes.total([share * loss, hits], y.device)
        return loss, correct / len(y)

    def asked_to_stop(self) -> bool:
        """Return whether any process was told to stop: then all do so after the same step."""
        return bool(self.processes.total([float(self.stop)], self.y.device)[0])

    def sharing(self) -> AbstractContextManager[None]:
        """Let each process generate a part of the weights, where they come in several chunks."""
        if self.generator is None or self.processes.size == 1:
            return nullcontext()
        return self.generator.shared()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end the running step first, so that no update is cut in half."""
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


def _bar(loop: _Loop, show: bool) -> tqdm[Any]:
    done = loop.steps * loop.at.epoch + loop.at.step
    return bar_for(loop.steps * loop.config.epochs, done, unit="step", show=show)
