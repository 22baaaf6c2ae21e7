"""The folder of a run: what it holds, whether it may be written, and how the run goes on."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError, RunError, must_be
from ._options import option_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..recipes import RunOptions

RESUME_HINT = "Resume with the options that the run began with, or leave them out."


@dataclass(frozen=True)
class RunFolder:
    """The folder of one training run.

    Attributes:
        path: Where it is, or will be.
    """

    path: Path

    @property
    def checkpoint(self) -> Path:
        """The checkpoint's path: where the run stands, and its options."""
        from ..training import CHECKPOINT

        return self.path / CHECKPOINT

    @property
    def run(self) -> Path:
        """The path of ``run.json``, the results of a finished run."""
        return self.path / "run.json"

    @property
    def weights(self) -> Path:
        """The path of the trained network as a plain classical one."""
        return self.path / "weights.safetensors"

    @property
    def curves(self) -> Path:
        """The path of the picture of loss and accuracy."""
        return self.path / "curves.png"

    @property
    def journal(self) -> Path:
        """The journal's path: tasks of a run that trains on a device."""
        return self.path / "braket.sqlite"

    @property
    def submission(self) -> Path:
        """The journal's path: tasks of the trained run's evaluation on a device."""
        return self.path / "submission.sqlite"

    def holds_run(self) -> bool:
        """Whether a run has begun here."""
        # os.path: it takes a path that no file can have for one that there is not.
        return os.path.exists(self.checkpoint) or os.path.exists(self.run)

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and the description of the checkpoint.

        Raises:
            FileNotFoundError: There is none; the message says which runs lie beside it.
            CheckpointError: It is damaged.
        """
        from ..training import read_checkpoint

        if not os.path.exists(self.checkpoint):
            place = self.path if self.path.is_dir() else self.path.parent
            beside = _runs_in(place) or _runs_in(place / "runs")
            hint = f"Runs there: {', '.join(beside)}." if beside else ""
            expected = "a checkpoint file"
            raise FileNotFoundError(must_be(str(self.checkpoint), expected, "nothing there", hint))
        return read_checkpoint(self.path)

    def stored(self) -> tuple[RunOptions, int]:
        """Return the options of the run that began here, and its number of threads.

        Raises:
            FileNotFoundError: There is no checkpoint.
            CheckpointError: It is damaged, or was written from Python.
        """
        from ..recipes import RunOptions

        kept = self.read()[1]["run"]
        try:
            return RunOptions.from_json(kept["options"]), int(kept["threads"])
        except (LookupError, TypeError, ValueError) as error:
            expected, actual = "a folder of `qtn-train train`", "a checkpoint written from Python"
            raise CheckpointError(must_be(str(self.path), expected, actual)) from error

    def check_same(self, options: RunOptions, given: dict[str, Any]) -> None:
        """Refuse to go on with a run under other options.

        Args:
            options: Those of the run.
            given: Those that the user has given now, by name.

        Raises:
            CheckpointError: One of them is another.
        """
        stored = options.to_json()
        for name, value in given.items():
            value = list(value) if isinstance(value, tuple) else value
            if value != stored[name]:
                shown = name if name == "dataset" else option_of(name)
                expected, hint = f"{stored[name]} as in {self.path}", RESUME_HINT
                if name == "circuit":  # a whole program
                    expected, value = f"the circuit that is kept in {self.path}", "another"
                if name == "epochs":
                    hint = f"To train longer, begin another run with --init-from {self.path}."
                raise CheckpointError(must_be(shown, expected, value, hint))

    def make(self) -> None:
        """Make the folder, and try whether it can be written.

        Raises:
            RunError: It cannot.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            actual = f"{self.path} ({error.strerror or error})"
            raise RunError(must_be("out", "a folder that can be written", actual)) from error

    @contextmanager
    def made(self) -> Iterator[None]:
        """Make the folder; remove it if the ``with`` block raises before the run begins there."""
        new = [path for path in (self.path, *self.path.parents) if not path.exists()]
        self.make()
        try:
            yield
        except BaseException:
            for path in new:
                with suppress(OSError):
                    path.rmdir()
            raise


def command_line(words: Sequence[str | Path], options: dict[str, Any] | None = None) -> str:
    """Return a command as it is typed, with the options that are given.

    Args:
        words: Program, subcommand and arguments.
        options: By name in the library; None and False are left out, True is a flag, a list is
            an option for each of its values.

    Example:
        >>> command_line(["qtn-train", "train", "iris"], {"resume": True, "data_dir": None})
        'qtn-train train iris --resume'
    """
    typed = [str(word) for word in words]
    for name, value in (options or {}).items():
        if value is True:
            typed.append(option_of(name))
        elif value is not None and value is not False:
            for one in value if isinstance(value, list) else [value]:
                typed += [option_of(name), str(one)]
    return shlex.join(typed)


def _runs_in(folder: Path) -> list[str]:
    """Return the names of up to ten runs in a folder, the newest first."""
    try:
        found = [path for path in folder.iterdir() if RunFolder(path).holds_run()]
    except OSError:
        return []
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return [str(path) for path in found[:10]]
