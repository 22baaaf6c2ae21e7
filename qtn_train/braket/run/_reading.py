"""What a journal holds, read while nobody or somebody else writes it; whatever the file is."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from ...errors import JournalError, must_be
from ._copies import copy_of, open_to_read, whole
from ._opening import foreign
from ._records import Task
from ._rows import BRIEF, COLUMNS, amount, read_tasks

#: The number of the format that is written.
FORMAT = "2"


def read_journal(path: str | Path) -> tuple[dict[str, Any], list[Task]]:
    """Read a journal's settings and tasks, also while a run is writing it.

    Args:
        path: The file.

    Returns:
        The run's settings, and all tasks without requests and results.

    Raises:
        JournalError: There is no such file, or it is no journal.
    """
    path = Path(path)
    with _to_read(path) as db:
        return read_meta(db, path)[1], read_tasks(db, BRIEF)


def read_allowed(path: str | Path) -> Decimal | None:
    """Read the budget in USD that a journal's user allowed for the run; None before it is set.

    Args:
        path: The journal; it may be in use.

    Raises:
        JournalError: There is no such file, or it is no journal.
    """
    with _to_read(Path(path)) as db:
        text = read_one(db, "budget")
        return None if text is None else amount(text)


def read_reservation(path: str | Path) -> str | None:
    """Read the ARN of the reservation under which tasks were created last; None where none was.

    Args:
        path: The journal; it may be in use.

    Raises:
        JournalError: There is no such file, or it is no journal.
    """
    with _to_read(Path(path)) as db:
        return read_one(db, "reservation")


def read_one(db: sqlite3.Connection, key: str) -> str | None:
    """Return a word about a run by its key; None where it is not there.

    Args:
        db: The journal's database.
        key: For example ``"budget"``.
    """
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def read_evaluations(path: str | Path, positions: Iterable[int]) -> list[list[Task]]:
    """Read all tasks of some evaluations, with their results.

    Args:
        path: The journal; it may be in use.
        positions: The evaluations.

    Raises:
        JournalError: There is no such file, or it is no journal.
    """
    with _to_read(Path(path)) as db:
        return [read_tasks(db, [*COLUMNS], position) for position in positions]


@contextmanager
def _to_read(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a journal to read it, or its copy where it is damaged."""
    if not path.is_file():
        raise JournalError(must_be("journal", "an existing file", path))
    place = path if whole(path) or not whole(copy_of(path)) else copy_of(path)
    try:
        with closing(open_to_read(place)) as db:
            yield db
    except sqlite3.Error as error:
        raise JournalError(foreign(path)) from error


def read_meta(db: sqlite3.Connection, path: Path) -> tuple[str, dict[str, Any]]:
    """Return a run's id and its settings.

    Args:
        db: The journal's database.
        path: The journal.

    Raises:
        JournalError: It is no journal, or one of another format.
    """
    try:
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        number, run_id, settings = meta["format"], meta["run_id"], json.loads(meta["settings"])
    except (sqlite3.Error, LookupError, ValueError, TypeError, RecursionError) as error:
        raise JournalError(foreign(path)) from error
    if number != FORMAT:
        hint = "Update qtn_train to use it."
        raise JournalError(must_be("journal", f"of format {FORMAT}", number, hint))
    if not _is_settings(settings):
        raise JournalError(foreign(path))
    return str(run_id), settings


def _is_settings(data: object) -> bool:
    """Return whether these are a run's settings, as far as its journal alone is read."""
    if not isinstance(data, dict):
        return False
    device, shots, region = (data.get(name) for name in ("device", "shots", "region"))
    return (
        isinstance(device, str)
        and type(shots) is int
        and shots >= 0
        and isinstance(region, str | None)
    )
