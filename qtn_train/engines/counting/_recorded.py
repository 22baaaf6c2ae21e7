"""What a journal holds, read without a device: counts for an engine, and what was paid."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, final

from ..._types import ComplexDtype
from ...braket.device import Target
from ...braket.run import (
    PAYER,
    Batch,
    Journal,
    Task,
    counted,
    no_counts,
    read_journal,
    recorded_here,
)
from ...errors import JournalError, TaskFailed, TasksPending, must_be, text_of
from ...measurements._counts import Counts, Program
from ..mps._engine import MPSEngine
from ._elsewhere import CountsFromElsewhere


@final
class RecordedEngine(CountsFromElsewhere):
    """Engine that reads its counts from a journal: nothing is executed or sent.

    Args:
        path: The journal of a run on a device or an emulator.
        dtype: As for :class:`CountingEngine`.

    Raises:
        JournalError: There is no such file, or it is no journal.

    Example:
        >>> import tempfile, torch
        >>> from qtn_train.circuits import Circuit
        >>> from qtn_train.engines import BraketEngine
        >>> path = Path(tempfile.mkdtemp()) / "run.sqlite"
        >>> bell, angles = Circuit.builder(2).h(0).cx(0, 1).build(), torch.zeros(0)
        >>> engine = BraketEngine("local:sv", shots=100, journal=path)
        >>> counted = engine.prepare(bell, angles).probs(0, 4)
        >>> engine.close()
        >>> torch.equal(RecordedEngine(path).prepare(bell, angles).probs(0, 4), counted)
        True
    """

    #: That of the engine that wrote the journal, which is what its configuration builds.
    kind: ClassVar[str] = "braket"
    _least_shots: ClassVar[int] = 0

    def __init__(self, path: str | Path, *, dtype: ComplexDtype = "complex64") -> None:
        self.path = Path(path)
        self.settings, _ = read_journal(path)
        own = ("device", "native", "placement", *PAYER)
        shared = {name: value for name, value in self.settings.items() if name not in own}
        try:
            super().__init__(**shared, dtype=dtype)
            self._native = bool(self.settings["native"])
            placement = self.settings["placement"]
            self._placement = None if placement is None else tuple(map(int, placement))
        except (TypeError, ValueError, LookupError) as error:
            expected = "one with the settings of a run on a device"
            text = must_be("journal", expected, f"{self.path} ({_line(error)})")
            raise JournalError(text) from error

    @property
    def max_qubits(self) -> int:
        """The largest circuit of any engine, in qubits: counts are read, not made."""
        return MPSEngine().max_qubits

    def _config(self) -> dict[str, Any]:
        written = {name: value for name, value in self.settings.items() if name not in PAYER}
        return {**written, "dtype": self.dtype}

    def _measure(self, programs: Sequence[Program], position: int) -> list[list[Counts]]:
        with closing(Journal(self.path, alone=False)) as journal:
            recorded = journal.evaluation(position)
            tasks = journal.tasks(position)
        if recorded is None:
            hint = "Go on with the run first."
            raise JournalError(must_be(f"evaluation {position}", "in the journal", "none", hint))
        batch = Batch(
            programs,
            position,
            _NOWHERE,
            recorded.shots,  # 0 where shots were drawn from exact probabilities
            native=self._native,
            placement=self._placement,
        )
        batch.recall(recorded)
        if not self.settings["device"].startswith("arn:"):
            _check_ended(tasks)
            return batch.regroup(recorded_here(tasks) or [])
        counts, failed, waiting = counted(tasks)
        _check_ended(waiting)
        for task, why in failed:
            raise TaskFailed(no_counts(task, why))
        return batch.regroup([counts[member] for member in sorted(counts)])


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {text_of(error, 80)}"


_NOWHERE = Target(device=None, name="journal", arn=None, kind="local")


def _check_ended(tasks: Sequence[Task]) -> None:
    """Raise if some tasks of an evaluation do not exist yet, or have no result yet."""
    left = [task for task in tasks if task.state not in ("done", "failed")]
    if left:
        reason = f" ({left[0].reason})" if left[0].reason else ""
        actual = f"{len(left)} that are not{reason}"
        hint = "Collect them first, which costs nothing."
        raise TasksPending(must_be("tasks", "at an end, with their results", actual, hint))
