"""Actions after an epoch: stopping early, keeping the best model, writing the history.

    begin(model, history) ──► epoch(model, entry) after each ──► end(model, history)

Any function of an epoch's entry is a callback too.
"""

from __future__ import annotations

import csv
import io
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, final

from safetensors.torch import save as save_tensors
from torch import nn

from .._files import write_atomically
from ..errors import MissingExtra, must_be, positive_int
from ..hybrid import QuantumTrain
from ._config import History
from ._distributed import Processes

Entry = dict[str, float]


class Callback:
    """A hook at the start, after each epoch and at the end; every method does nothing by default.

    All methods are called in every process of a group, with the same entries; what writes files
    asks :attr:`is_first`.

    Example:
        >>> class Told(Callback):
        ...     def epoch(self, model, entry):
        ...         print(f"epoch {entry['epoch']}: {entry['train_loss']:.1f}")
        >>> Told().epoch(nn.Linear(2, 2), {"epoch": 1, "train_loss": 0.5})
        epoch 1: 0.5
    """

    def begin(self, model: nn.Module, history: History) -> bool | None:
        """Handle the start of training; of a resumed run, with the epochs made before.

        Returns:
            Whether training should not go on.
        """

    def epoch(self, model: nn.Module, entry: Entry) -> bool | None:
        """Handle a finished epoch, whose checkpoint is written.

        Returns:
            Whether training should stop.
        """

    def end(self, model: nn.Module, history: History) -> None:
        """Handle the end of training, or an interruption."""

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files."""
        return Processes.current().first


@final
class _Function(Callback):
    def __init__(self, function: Callable[[Entry], object]) -> None:
        self.function = function

    def epoch(self, model: nn.Module, entry: Entry) -> bool | None:
        self.function(entry)
        return None


def callbacks_of(
    callbacks: Sequence[Callback | Callable[[Entry], object]],
) -> list[Callback]:
    """Return callbacks, functions among them wrapped.

    Raises:
        TypeError: One is neither.
    """
    expected = "a list of callbacks, or functions of an epoch's entry"
    if not isinstance(callbacks, Sequence) or isinstance(callbacks, str):
        hint = "Put it into a list."
        raise TypeError(must_be("callbacks", expected, type(callbacks).__name__, hint))
    found = []
    for callback in callbacks:
        if isinstance(callback, type):
            actual, hint = f"the class {callback.__name__}", f"Build it: {callback.__name__}(…)."
            raise TypeError(must_be("callbacks", expected, actual, hint))
        if not isinstance(callback, Callback) and not callable(callback):
            raise TypeError(must_be("callbacks", expected, type(callback).__name__))
        found.append(callback if isinstance(callback, Callback) else _Function(callback))
    return found


class _Monitor(Callback):
    """Follows one figure over the epochs, and whether the last epoch was the best."""

    def __init__(self, monitor: str, mode: Literal["min", "max"] | None) -> None:
        if mode not in ("min", "max", None):
            raise ValueError(must_be("mode", "'min' or 'max'", repr(mode)))
        self.monitor = monitor
        higher = monitor.endswith(("accuracy", "r2"))
        self._sign = -1.0 if mode == "max" or (mode is None and higher) else 1.0
        self.best = math.inf

    def _is_best(self, entry: Entry, min_delta: float = 0.0) -> bool:
        if self.monitor not in entry:
            expected = f"one of {', '.join(entry)}"
            raise ValueError(must_be("monitor", expected, repr(self.monitor)))
        value = self._sign * entry[self.monitor]
        if not value < self.best - min_delta:
            return False
        self.best = value
        return True


@final
class EarlyStopping(_Monitor):
    """Stops training when a figure has not improved for some epochs.

    Args:
        monitor: The figure's name in the history. One of a validation set lets the test set decide
            nothing: see ``FitConfig(patience=…)``, which does both.
        patience: Epochs to wait.
        min_delta: What counts as better.
        mode: ``"min"`` or ``"max"``; by default the larger accuracy or r2, the smaller of others.

    Example:
        >>> stop = EarlyStopping("train_loss", patience=1)
        >>> model = nn.Linear(2, 2)
        >>> [stop.epoch(model, {"train_loss": loss}) for loss in (3.0, 2.0, 2.5)]
        [False, False, True]
    """

    def __init__(
        self,
        monitor: str = "test_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: Literal["min", "max"] | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        self.patience = positive_int("patience", patience)
        self.min_delta = min_delta
        self.waited = 0

    def begin(self, model: nn.Module, history: History) -> bool | None:
        """Repeat the count over the epochs that a resumed run made before."""
        self.best, self.waited = math.inf, 0
        return any([self.epoch(model, entry) for entry in history.epochs])

    def epoch(self, model: nn.Module, entry: Entry) -> bool | None:
        """Return whether the figure has not improved for ``patience`` epochs."""
        self.waited = 0 if self._is_best(entry, self.min_delta) else self.waited + 1
        return self.waited >= self.patience


@final
class BestCheckpoint(_Monitor):
    """Keeps the model of the best epoch in a file.

    Args:
        path: The file: :meth:`QuantumTrain.save`, or the state dict of another module as
            safetensors.
        monitor: The figure's name in the history.
        mode: ``"min"`` or ``"max"``; by default the larger accuracy or r2, the smaller of others.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "best.safetensors"
        >>> keep = BestCheckpoint(path, "train_loss")
        >>> keep.epoch(nn.Linear(2, 2), {"epoch": 1, "train_loss": 0.5})
        >>> path.exists()
        True
    """

    def __init__(
        self,
        path: str | Path,
        monitor: str = "test_loss",
        mode: Literal["min", "max"] | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        self.path = Path(path)

    def begin(self, model: nn.Module, history: History) -> bool | None:
        """Find the best of the epochs that a resumed run made before."""
        self.best = math.inf
        for entry in history.epochs:
            self._is_best(entry)
        return None

    def epoch(self, model: nn.Module, entry: Entry) -> bool | None:
        """Store the model where it is the best so far."""
        if self._is_best(entry) and self.is_first:
            if isinstance(model, QuantumTrain):
                model.save(self.path)
            else:
                state = {name: value.contiguous() for name, value in model.state_dict().items()}
                write_atomically(self.path, save_tensors(state))
        return None


class _Log(Callback, ABC):
    """Writes all epochs anew after each one: a file that is whole, also after a resumed run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._entries: list[Entry] = []

    def begin(self, model: nn.Module, history: History) -> bool | None:
        """Take over the epochs that a resumed run made before."""
        self._entries = list(history.epochs)
        return None

    def epoch(self, model: nn.Module, entry: Entry) -> bool | None:
        """Write the file."""
        self._entries.append(entry)
        if self.is_first:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, self._text(self._entries).encode())
        return None

    @abstractmethod
    def _text(self, entries: list[Entry]) -> str: ...


@final
class CSVLog(_Log):
    """Writes the history as comma-separated values, one epoch a row.

    Args:
        path: The file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "history.csv"
        >>> CSVLog(path).epoch(nn.Linear(2, 2), {"epoch": 1, "train_loss": 0.5})
        >>> path.read_text().splitlines()
        ['epoch,train_loss', '1,0.5']
    """

    def _text(self, entries: list[Entry]) -> str:
        names = list(dict.fromkeys(name for entry in entries for name in entry))
        file = io.StringIO()
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(entries)
        return file.getvalue()


@final
class JSONLinesLog(_Log):
    """Writes the history as JSON, one epoch a line.

    Args:
        path: The file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "history.jsonl"
        >>> JSONLinesLog(path).epoch(nn.Linear(2, 2), {"epoch": 1, "train_loss": 0.5})
        >>> path.read_text().splitlines()
        ['{"epoch": 1, "train_loss": 0.5}']
    """

    def _text(self, entries: list[Entry]) -> str:
        return "".join(f"{json.dumps(entry)}\n" for entry in entries)


@final
class TensorBoard(Callback):
    """Writes the history for TensorBoard, whose package must be installed.

    Args:
        folder: Where its files go.

    Raises:
        MissingExtra: It is not installed.

    Example:
        >>> fit(model, data, callbacks=[TensorBoard("runs/board")])  # doctest: +SKIP
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            text = "TensorBoard(…) needs the package `tensorboard`: pip install tensorboard."
            raise MissingExtra(text) from error
        self._open: Callable[[], Any] = lambda: SummaryWriter(str(folder))
        self._writer: Any = None

    def epoch(self, model: nn.Module, entry: Entry) -> bool | None:
        """Write one epoch."""
        if self.is_first:
            self._writer = self._writer or self._open()
            for name, value in entry.items():
                if name != "epoch":
                    self._writer.add_scalar(name, value, int(entry["epoch"]))
        return None

    def end(self, model: nn.Module, history: History) -> None:
        """Close the files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


@final
class WandB(Callback):
    """Sends the history to Weights & Biases, whose package must be installed.

    Args:
        **options: Passed to ``wandb.init``: ``project``, ``name``, …

    Raises:
        MissingExtra: It is not installed.

    Example:
        >>> fit(model, data, callbacks=[WandB(project="own")])  # doctest: +SKIP
    """

    def __init__(self, **options: Any) -> None:
        try:
            import wandb
        except ImportError as error:
            text = "WandB(…) needs the package `wandb`: pip install wandb."
            raise MissingExtra(text) from error
        self._wandb: Any = wandb
        self._options = options
        self._run: Any = None

    def begin(self, model: nn.Module, history: History) -> bool | None:
        """Start a run."""
        if self.is_first:
            self._run = self._wandb.init(**self._options)
        return None

    def epoch(self, model: nn.Module, entry: Entry) -> bool | None:
        """Send one epoch."""
        if self._run is not None:
            self._run.log(entry, step=int(entry["epoch"]))
        return None

    def end(self, model: nn.Module, history: History) -> None:
        """Finish the run."""
        if self._run is not None:
            self._run.finish()
            self._run = None
