"""The journal: what was asked of a device, what was paid for, and what came back.

    planned ──► sent ──► created ──► done
                            │ └────► failed      (a further attempt is a further row)
       rejected ◄──┘        └──────► result kept, as it came

One SQLite file is the memory of one run. A row is written before its task is created, the ARN
after it, and the result when it comes, each in a transaction that is on the disk before the next
step begins: so a run that is killed anywhere knows on its return what it asked for, and asks for
nothing twice. A task's client token depends on counters only, never on angles, whose last bits
differ between machines and thread counts.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, final

import numpy as np

from ...errors import JournalError, must_be
from ._records import PAYER, Evaluation, Task, check_budget

_FORMAT = "1"
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE evaluations (
    position INTEGER PRIMARY KEY,
    circuits TEXT NOT NULL,
    shots INTEGER NOT NULL,
    angles BLOB NOT NULL,
    content TEXT NOT NULL
);
CREATE TABLE tasks (
    position INTEGER NOT NULL REFERENCES evaluations,
    part INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    token TEXT NOT NULL UNIQUE,
    members TEXT NOT NULL,
    labels TEXT NOT NULL,
    request BLOB NOT NULL,
    usd TEXT NOT NULL,
    state TEXT NOT NULL,
    sent_at REAL,
    arn TEXT,
    reason TEXT,
    result BLOB,
    PRIMARY KEY (position, part, attempt)
);
"""


@final
class Journal:
    """An open journal; nobody else may write it meanwhile.

    Args:
        path: The file; made where there is none.
        settings: What must be the same whenever the run goes on, as JSON data. Without it an
            existing journal is opened whatever run it belongs to.

    Attributes:
        run_id: Random name of the run, made with the file.
        settings: What the run began with.
        fresh: Whether the file was made just now.

    Raises:
        JournalError: The file is of another run, in use, damaged, newer, or not to be written.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        self._mutex = threading.RLock()
        if settings is None and not self.path.exists():
            raise JournalError(must_be("journal", "an existing file", self.path))
        self._guard = _guard(self.path)
        try:
            self._db = _connect(self.path)
            with self._transaction():
                self._begin(settings)
        except BaseException:
            self.close()
            raise

    def _begin(self, settings: Mapping[str, Any] | None) -> None:
        """Make a new file's tables, or check that an old one's are this run's."""
        text = None if settings is None else json.dumps(settings, sort_keys=True)
        empty = not self._db.execute("SELECT 1 FROM sqlite_master").fetchone()
        self.fresh = empty and text is not None
        if self.fresh:
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            meta = {"format": _FORMAT, "run_id": uuid.uuid4().hex, "settings": text}
            self._db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        self.run_id, self.settings = _read_meta(self._db, self.path)
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
            except sqlite3.Error as error:
                text = must_be(
                    "journal", "one that can be read and written", f"{self.path} ({error})"
                )
                raise JournalError(text) from error

    def close(self) -> None:
        """Let go of the file."""
        with self._mutex:
            for name in ("_db", "_guard"):
                if hasattr(self, name):
                    getattr(self, name).close()

    def token(self, position: int, part: int, attempt: int) -> str:
        """Return the client token of a task: 64 hexadecimal digits, made of counters only."""
        text = f"{self.run_id}/{position}/{part}/{attempt}"
        return hashlib.sha256(text.encode()).hexdigest()

    def evaluation(self, position: int) -> Evaluation | None:
        """Return what was asked for at a position, if anything was."""
        with self._transaction():
            row = self._db.execute(
                "SELECT circuits, shots, angles FROM evaluations WHERE position = ?", (position,)
            ).fetchone()
        if row is None:
            return None
        angles = np.frombuffer(row[2], dtype="<f8").astype(np.float64)
        return Evaluation(position, row[0], row[1], angles)

    def check_follows(self, position: int) -> None:
        """Raise unless the journal holds everything before an evaluation that is new to it.

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
            return _read_tasks(self._db, [*_COLUMNS], position)

    def open_tasks(self) -> list[Task]:
        """Return the tasks that are not at an end, as far as is known here; without results."""
        with self._transaction():
            tasks = _read_tasks(self._db, [*_BRIEF, "request"])
        return [task for task in tasks if task.state in ("sent", "created")]

    def plan(self, evaluation: Evaluation | None, tasks: Sequence[Task]) -> None:
        """Write down what is about to be asked for: all of it, or nothing.

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
            The task as it stands now.

        Raises:
            BudgetError: The budget does not hold it; nothing was changed.
        """
        with self._transaction():
            if task.state == "planned" and budget is not None:
                check_budget(self.spent(), task.usd, budget)
            return self._set(task, state="sent", sent_at=task.sent_at or time.time())

    def unsend(self, task: Task) -> Task:
        """Mark a task as planned again: the service said that it was not created."""
        with self._transaction():
            return self._set(task, state="planned")

    def created(self, task: Task, arn: str) -> Task:
        """Keep the ARN of a task that exists."""
        with self._transaction():
            return self._set(task, state="created", arn=arn)

    def done(self, task: Task, result: dict[str, str], usd: Decimal | None = None) -> Task:
        """Keep a task's raw result.

        Args:
            task: The task.
            result: Contents by name of the file.
            usd: What it really cost, where that is known only now.
        """
        with self._transaction():
            usd = task.usd if usd is None else usd
            return self._set(task, state="done", result=result, usd=usd, reason=None)

    def failed(self, task: Task, reason: str) -> Task:
        """Keep why a task will give no result."""
        with self._transaction():
            return self._set(task, state="failed", reason=reason)

    def missing(self, task: Task, reason: str) -> Task:
        """Keep why the result of a task, which is at its end, is not here; it may come yet."""
        with self._transaction():
            return self._set(task, reason=reason)

    def _set(self, task: Task, **changes: Any) -> Task:
        stored = {name: _STORE.get(name, _as_is)(value) for name, value in changes.items()}
        columns = ", ".join(f"{name} = ?" for name in stored)
        self._db.execute(
            f"UPDATE tasks SET {columns} WHERE position = ? AND part = ? AND attempt = ?",
            (*stored.values(), *_key(task)),
        )
        return replace(task, **changes)

    def spent(self) -> Decimal:
        """Return the USD of all tasks that exist, or may exist."""
        query = "SELECT usd, COUNT(*) FROM tasks WHERE state != 'planned' GROUP BY usd"
        with self._transaction():
            rows = self._db.execute(query).fetchall()
        return sum((Decimal(usd) * count for usd, count in rows), Decimal(0))

    def ended(self) -> frozenset[tuple[int, int, int]]:
        """Return position, part and attempt of the tasks that are at an end, however they ended."""
        query = (
            "SELECT position, part, attempt FROM tasks"
            " WHERE state IN ('done', 'failed') OR reason IS NOT NULL"
        )
        with self._transaction():
            return frozenset(self._db.execute(query).fetchall())


def read_journal(path: str | Path) -> tuple[dict[str, Any], list[Task]]:
    """Read a journal, also while a run is writing it.

    Args:
        path: The file.

    Returns:
        The run's settings, and all tasks without requests and results.

    Raises:
        JournalError: There is no such file, or it is no journal.
    """
    path = Path(path)
    if not path.is_file():
        raise JournalError(must_be("journal", "an existing file", path))
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            return _read_meta(db, path)[1], _read_tasks(db, _BRIEF)
        finally:
            db.close()
    except sqlite3.Error as error:
        raise JournalError(_foreign(path)) from error


def _key(task: Task) -> tuple[int, int, int]:
    return task.position, task.part, task.attempt


def _as_is(value: Any) -> Any:
    return value


def _pack(result: dict[str, str]) -> bytes:
    return zlib.compress(json.dumps(result).encode())


def _unzip(packed: bytes) -> str:
    return zlib.decompress(packed).decode()


def _unpack(packed: bytes | None) -> Any:
    return None if packed is None else json.loads(_unzip(packed))


def _unlist(text: str) -> tuple[int, ...]:
    return tuple(json.loads(text))


#: How a column is stored, where not as it is.
_STORE: dict[str, Callable[[Any], Any]] = {"usd": str, "result": _pack}


def _foreign(path: Path) -> str:
    return must_be("journal", "a journal of qtn_train", f"{path}, a damaged or foreign file")


def _connect(path: Path) -> sqlite3.Connection:
    try:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            text = must_be("journal", "a file that can be written", f"{path} ({error})")
            raise JournalError(text) from error
        raise JournalError(_foreign(path)) from error
    return db


def _guard(path: Path) -> sqlite3.Connection:
    """Hold the file beside the journal that says that somebody writes it.

    SQLite's own lock on a file beside: it ends with the process, however that ends, it works on
    every system, and the journal itself stays readable for others.
    """
    beside = path.with_name(path.name + ".lock")
    try:
        guard = sqlite3.connect(beside, isolation_level=None, check_same_thread=False, timeout=0)
        guard.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if "locked" in str(error):
            actual = f"{path}, which another process is using"
            hint = "Wait for it, or end it."
        else:
            actual, hint = f"{path} ({error})", ""
        expected = "a journal that this process can write alone"
        raise JournalError(must_be("journal", expected, actual, hint)) from error
    return guard


def _read_meta(db: sqlite3.Connection, path: Path) -> tuple[str, dict[str, Any]]:
    try:
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        number, run_id, settings = meta["format"], meta["run_id"], json.loads(meta["settings"])
    except (sqlite3.Error, LookupError, ValueError) as error:
        raise JournalError(_foreign(path)) from error
    if number != _FORMAT:
        hint = "Update qtn_train to use it."
        raise JournalError(must_be("journal", f"of format {_FORMAT}", number, hint))
    return run_id, settings


#: A task's columns and how each is read.
_COLUMNS: dict[str, Callable[[Any], Any]] = {
    "position": _as_is,
    "part": _as_is,
    "attempt": _as_is,
    "members": _unlist,
    "labels": _unlist,
    "usd": Decimal,
    "state": _as_is,
    "sent_at": _as_is,
    "arn": _as_is,
    "reason": _as_is,
    "token": _as_is,
    "request": _unzip,
    "result": _unpack,
}
#: Those that are short.
_BRIEF = [name for name in _COLUMNS if name not in ("request", "result")]


def _read_tasks(
    db: sqlite3.Connection, columns: Sequence[str], position: int | None = None
) -> list[Task]:
    where, values = ("", ()) if position is None else (" WHERE position = ?", (position,))
    rows = db.execute(
        f"SELECT {', '.join(columns)} FROM tasks{where} ORDER BY position, part, attempt", values
    )
    return [
        Task(**{name: _COLUMNS[name](value) for name, value in zip(columns, row, strict=True)})
        for row in rows.fetchall()
    ]
