"""How a journal is opened: its database, and the lock beside it of the process that writes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ...errors import JournalError, must_be
from ._copies import make_private


def in_use(path: Path) -> bool:
    """Return whether a run that may create tasks has the journal open.

    Args:
        path: The journal.
    """
    try:
        guard(path).close()
    except JournalError:
        return True
    return False


def foreign(path: Path) -> str:
    """Return the message for a file that is no journal, or a damaged one.

    Args:
        path: The file.
    """
    return must_be("journal", "a journal of qtn_train", f"{path}, a damaged or foreign file")


def connect(path: Path) -> sqlite3.Connection:
    """Open a journal's database to write it; each transaction is on the disk before the next.

    Args:
        path: The journal; made where there is none.

    Returns:
        The connection.

    Raises:
        JournalError: The file is not to be written, or it is no database.
    """
    try:
        make_private(path)
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
    except (sqlite3.DatabaseError, OSError) as error:
        if isinstance(error, sqlite3.OperationalError | OSError):
            text = must_be("journal", "a file that can be written", f"{path} ({error})")
            raise JournalError(text) from error
        raise JournalError(foreign(path)) from error
    return db


def guard(path: Path) -> sqlite3.Connection:
    """Take the lock file beside a journal, which keeps every other process from writing it.

    SQLite's own lock on a file beside: it ends with the process, however that ends, it works on
    every system, and the journal itself stays readable for others.

    Args:
        path: The journal.

    Returns:
        What holds it; closing it lets go.

    Raises:
        JournalError: Another process holds it, or the file is not to be written.
    """
    beside = path.with_name(path.name + ".lock")
    try:
        make_private(beside)
        held = sqlite3.connect(beside, isolation_level=None, check_same_thread=False, timeout=0)
        held.execute("BEGIN EXCLUSIVE")
    except (sqlite3.Error, OSError) as error:
        if "locked" in str(error):
            actual = f"{path}, which another process is using"
            hint = "Wait for it, or end it."
        else:
            actual, hint = f"{path} ({error})", ""
        expected = "a journal that this process can write alone"
        raise JournalError(must_be("journal", expected, actual, hint)) from error
    return held
