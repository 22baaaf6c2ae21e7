"""The journal: what was asked of a device, what was paid for, and what came back.

    planned ──► sent ──► created ──► done        each executable has counts, or the service's own
                            │  ▲                 word that it has none
       rejected ◄──┘        │  └── its result, incomplete or not readable, is read again
                            └──────► failed      FAILED or CANCELLED, by the service's own word
                                                 (a further attempt is a further row)

One SQLite file is the memory of one run. A row is written before its task is created, the ARN
after it, and the result when it comes, each in a transaction that is on the disk before the next
step begins: so a run that is killed anywhere knows on its return what it asked for, and asks for
nothing twice. A task's client token depends on counters only, never on angles, whose last bits
differ between machines and thread counts.

One process alone creates tasks. Others may write what they learn of tasks that exist, and may
forbid the first to create more. A state never goes back, whoever writes.

A database that is copied while it is written can be damaged. So ``<journal>.copy`` beside it is
replaced, whole, after each step that costs: a folder that was copied at any moment holds one that
is good, and a journal that turns out to be damaged gives way to it. What is missing in the copy
is found by the tasks' tags and tokens.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, final

from ...errors import JournalError, TasksPending, must_be
from ._copies import copy_of, mend, write_copy
from ._opening import connect, foreign, guard
from ._reading import FORMAT, read_meta, read_one
from ._records import PAYER, Evaluation, Spending, Task, TaskState, check_budget
from ._rows import (
    BRIEF,
    COLUMNS,
    SCHEMA,
    DamagedRow,
    amount,
    read_evaluation,
    read_tasks,
    stored_as,
)

#: What a copy costs, at most, as a share of the time: 1 / (1 + _RARELY).
_RARELY = 20.0


@final
class Journal:
    """An open journal.

    Args:
        path: The file; made where there is none.
        settings: What must be the same whenever the run goes on, as JSON data. Without it an
            existing journal is opened whatever run it belongs to.
        alone: Whether this process alone may create tasks. Without, it may write what it learns
            while another process goes on with the run.
        copy: Where the copy is kept, in place of ``<path>.copy``. A journal that does not exist
            begins as this copy then.

    Attributes:
        run_id: Random name of the run, made with the file.
        settings: What the run began with.
        fresh: Whether the file was made just now.

    Raises:
        JournalError: The file is of another run, in use, damaged, newer, or not to be written.
    """

    def __init__(
        self,
        path: str | Path,
        settings: Mapping[str, Any] | None = None,
        *,
        alone: bool = True,
        copy: Path | None = None,
    ) -> None:
        self.path = Path(path)
        self.copy = copy_of(self.path) if copy is None else copy
        self._mutex = threading.RLock()
        self._changed, self._not_before = False, 0.0
        if settings is None and not self.path.exists():
            raise JournalError(must_be("journal", "an existing file", self.path))
        try:
            if alone:
                self._guard = guard(self.path)
                mend(self.path, self.copy, begin=copy is not None)
            self._db = connect(self.path)
            with self._transaction():
                self._begin(settings)
                if alone and settings is not None:
                    self._db.execute("DELETE FROM meta WHERE key = 'stopped'")
            if self.fresh:  # a copy of the file alone must know whose it is
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except BaseException:
            self.close()
            raise

    def _begin(self, settings: Mapping[str, Any] | None) -> None:
        """Create a new journal's tables, or check that an existing journal belongs to this run."""
        text = None if settings is None else json.dumps(settings, sort_keys=True)
        empty = not self._db.execute("SELECT 1 FROM sqlite_master").fetchone()
        self.fresh = empty and text is not None
        if self.fresh:
            for statement in SCHEMA.split(";"):
                self._db.execute(statement)
            meta = {"format": FORMAT, "run_id": uuid.uuid4().hex, "settings": text}
            self._db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        self.run_id, self.settings = read_meta(self._db, self.path)
        for name, value in ({} if text is None else json.loads(text)).items():
            if self.settings.get(name) != value:
                hint = "Give each run a journal of its own."
                if name in PAYER:
                    hint = f"Its tasks are there: go on in that {name}."
                raise JournalError(
                    must_be(
                        f"journal {self.path}",
                        f"of this run, with {name} = {value!r}",
                        f"one with {name} = {self.settings.get(name)!r}",
                        hint,
                    )
                )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._mutex:
            if self._db.in_transaction:  # part of the one that is under way
                yield
                return
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self._db.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):
                        self._db.execute("ROLLBACK")
                    raise
            except DamagedRow as error:
                raise JournalError(foreign(self.path)) from error
            except sqlite3.Error as error:
                text = must_be(
                    "journal", "one that can be read and written", f"{self.path} ({error})"
                )
                raise JournalError(text) from error

    def close(self) -> None:
        """Close the journal's file, after a last copy, so that another process may open it."""
        with self._mutex:
            if self._changed and hasattr(self, "_guard"):
                with suppress(JournalError):
                    self.keep_copy(now=True)
            for name in ("_db", "_guard"):
                if hasattr(self, name):
                    getattr(self, name).close()
            self._changed = False

    def keep_copy(self, *, now: bool = False) -> None:
        """Replace the copy by the journal as it stands, unless that was done a moment ago.

        Args:
            now: Whether to do it in any case.

        Raises:
            JournalError: It cannot be written.
        """
        began = time.monotonic()
        if not hasattr(self, "_guard") or (began < self._not_before and not now):
            return
        try:
            with self._mutex:
                write_copy(self._db, self.copy)
                self._changed = False
        except (sqlite3.Error, OSError) as error:
            actual = f"{self.copy} ({error})"
            raise JournalError(must_be("copy", "a file that can be written", actual)) from error
        self._not_before = time.monotonic() + _RARELY * (time.monotonic() - began)

    def stop(self) -> None:
        """Forbid that further tasks are created, until the user goes on with the run."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('stopped', '1')")

    def _meta(self, key: str) -> str | None:
        with self._transaction():
            return read_one(self._db, key)

    @property
    def allowed(self) -> Decimal | None:
        """The budget in USD that the user allowed for the whole run; None before it is set."""
        with self._transaction():
            text = self._meta("budget")
            return None if text is None else amount(text)

    def allow(self, budget: Decimal) -> None:
        """Record the budget in USD that the user allows for the whole run.

        Args:
            budget: USD.
        """
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('budget', ?)", (str(budget),))

    def note_reservation(self, arn: str) -> None:
        """Record the reservation under which tasks are created from now on.

        Args:
            arn: Its ARN.
        """
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('reservation', ?)", (arn,))

    def token(self, position: int, part: int, attempt: int) -> str:
        """Return the client token of a task: 64 hexadecimal digits, made of counters only."""
        text = f"{self.run_id}/{position}/{part}/{attempt}"
        return hashlib.sha256(text.encode()).hexdigest()

    def evaluation(self, position: int) -> Evaluation | None:
        """Return the evaluation recorded at a position, or None."""
        with self._transaction():
            return read_evaluation(self._db, position)

    def check_follows(self, position: int) -> None:
        """Raise unless the journal holds the evaluation before a new one.

        Without the file that a run began with, nobody knows what was paid for.

        Args:
            position: The evaluation.

        Raises:
            JournalError: It does not.
        """
        if position and self.evaluation(position - 1) is None:
            expected = f"the one that holds evaluation {position - 1} of this run"
            hint = "Put it back; or begin anew: set the generator's position to 0."
            raise JournalError(must_be(f"journal {self.path}", expected, "one without it", hint))

    def tasks(self, position: int) -> list[Task]:
        """Return the tasks of an evaluation, by part and attempt.

        Args:
            position: The evaluation.
        """
        with self._transaction():
            return read_tasks(self._db, [*COLUMNS], position)

    def open_tasks(self) -> list[Task]:
        """Return the tasks whose end or whose result the journal does not know yet.

        A program set that failed without a result is one of them: it may come yet.
        """
        with self._transaction():
            tasks = read_tasks(self._db, [*BRIEF, "request"])
            query = "SELECT position, part, attempt FROM tasks WHERE result IS NULL"
            bare = set(self._db.execute(query).fetchall())
        return [
            task
            for task in tasks
            if task.state in ("sent", "created")
            or (task.state == "failed" and len(task.members) > 1 and _key(task) in bare)
        ]

    def reprice(self, task: Task, usd: Decimal) -> Task:
        """Change the price in USD of a task that is not known to exist; return the task.

        Args:
            task: The task.
            usd: What it will cost.
        """
        with self._transaction():
            return self._set(task, ("planned", "sent"), usd=usd)

    def plan(self, evaluation: Evaluation | None, tasks: Sequence[Task]) -> None:
        """Record an evaluation and its tasks before any is created: all of them, or none.

        Args:
            evaluation: The evaluation, where its first tasks are planned.
            tasks: Its tasks, or a further attempt at some.
        """
        with self._transaction():
            if evaluation is not None:
                row = (
                    evaluation.position,
                    evaluation.circuits,
                    evaluation.shots,
                    evaluation.angles.astype("<f8").tobytes(),
                    evaluation.content,
                )
                self._db.execute("INSERT INTO evaluations VALUES (?, ?, ?, ?, ?)", row)
            self._changed = True
            for task in tasks:
                self._db.execute(
                    "INSERT INTO tasks (position, part, attempt, token, members, labels, request,"
                    " usd, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'planned')",
                    (
                        *_key(task),
                        self.token(*_key(task)),
                        json.dumps(task.members),
                        json.dumps(task.labels),
                        zlib.compress(task.request.encode()),
                        str(task.usd),
                    ),
                )

    def send(self, task: Task, budget: Decimal | None) -> Task:
        """Mark a task as on its way, if the budget holds it. Called before every creation.

        Args:
            task: The task; one that may exist already is paid for already.
            budget: USD that the whole run may cost, or None for a device that costs nothing.

        Returns:
            The task as it stands now: ``sent``, or further where another process has found it.

        Raises:
            BudgetError: The budget does not hold it; nothing was changed.
            TasksPending: Somebody has forbidden to create tasks.
        """
        with self._transaction():
            if self._meta("stopped") is not None:
                text = must_be("run", "one that may create tasks", "one that was cancelled")
                raise TasksPending(f"{text} Nothing is lost: resume it to go on.")
            if task.state == "planned" and budget is not None:
                check_budget(self.spending().spent, task.usd, budget)
            sent_at = task.sent_at or time.time()
            return self._set(task, ("planned", "sent"), state="sent", sent_at=sent_at)

    def unsend(self, task: Task) -> Task:
        """Mark a task as planned again: the service said that it was not created."""
        with self._transaction():
            return self._set(task, ("sent",), state="planned")

    def created(self, task: Task, arn: str) -> Task:
        """Record the ARN of a task that the service has created."""
        with self._transaction():
            return self._set(task, ("planned", "sent", "created"), state="created", arn=arn)

    def done(
        self,
        task: Task,
        result: dict[str, str],
        usd: Decimal | None = None,
        failures: Mapping[int, str] | None = None,
    ) -> Task:
        """Record a task's raw result and its charge in USD.

        Args:
            task: The task.
            result: Contents by name of the file.
            usd: What it really cost, where that is known only now.
            failures: Why the service counted nothing, for the executables of which it said so.
        """
        changes = {
            "state": "done",
            "result": result,
            "usd": task.usd if usd is None else usd,
            "reason": None,
            "failures": dict(failures or {}),
        }
        with self._transaction():
            return self._set(task, ("planned", "created", "done"), **changes)

    def failed(
        self,
        task: Task,
        reason: str,
        usd: Decimal | None = None,
        result: dict[str, str] | None = None,
        failures: Mapping[int, str] | None = None,
    ) -> Task:
        """Record that the service has ended a task as FAILED or CANCELLED.

        Args:
            task: The task.
            reason: What the service said.
            usd: What it charges for it, where that is known.
            result: What it counted before, if anything.
            failures: Why it counted nothing, by executable, where it said more than ``reason``.
        """
        changes = {
            "state": "failed",
            "reason": reason,
            "usd": task.usd if usd is None else usd,
            "result": result,
            "failures": dict(failures or {}),
        }
        with self._transaction():
            return self._set(task, ("created", "failed"), **changes)

    def missing(self, task: Task, reason: str) -> Task:
        """Record why the result of an ended task is not here; the result may come yet."""
        with self._transaction():
            return self._set(task, ("created",), reason=reason)

    def _set(self, task: Task, before: Sequence[TaskState], **changes: Any) -> Task:
        """Change a task's row if its state is among ``before``; return the present task."""
        stored = {name: stored_as(name, value) for name, value in changes.items()}
        columns = ", ".join(f"{name} = ?" for name in stored)
        marks = ", ".join("?" for _ in before)
        changed = self._db.execute(
            f"UPDATE tasks SET {columns} WHERE position = ? AND part = ? AND attempt = ?"
            f" AND state IN ({marks})",
            (*stored.values(), *_key(task), *before),
        )
        self._changed = True
        if changed.rowcount:
            return replace(task, **changes)
        tasks = read_tasks(self._db, [*COLUMNS], task.position)
        return next(one for one in tasks if _key(one) == _key(task))

    def spending(self) -> Spending:
        """Return the amounts in USD that are charged, reserved and planned."""
        query = "SELECT state, usd, COUNT(*) FROM tasks GROUP BY state, usd"
        with self._transaction():
            rows = self._db.execute(query).fetchall()
            return Spending.of((state, amount(usd) * count) for state, usd, count in rows)

    def dearest(self) -> Decimal:
        """Return the largest charge in USD among the tasks that gave counts."""
        query = "SELECT DISTINCT usd FROM tasks WHERE state = 'done'"
        with self._transaction():
            return max((amount(usd) for (usd,) in self._db.execute(query)), default=Decimal(0))

    def ended(self) -> frozenset[tuple[int, int, int]]:
        """Return position, part and attempt of the tasks that the service has ended."""
        query = "SELECT position, part, attempt FROM tasks WHERE state IN ('done', 'failed')"
        with self._transaction():
            return frozenset(self._db.execute(query).fetchall())


def _key(task: Task) -> tuple[int, int, int]:
    return task.position, task.part, task.attempt
