"""Whole copies of a journal that is being written, and what becomes of a damaged one."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path


def copy_of(path: Path) -> Path:
    """Return the default path of a journal's copy.

    Args:
        path: The journal.
    """
    return path.with_name(f"{path.name}.copy")


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a journal's database for reading only.

    Args:
        path: The file.
    """
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def make_private(path: Path) -> None:
    """Create a file that only its owner may read; SQLite's files beside it get the same rights.

    Args:
        path: The file; one that exists stays as it is.
    """
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def whole(path: Path) -> bool:
    """Return whether a file is an undamaged journal.

    Args:
        path: The file.
    """
    if not path.is_file():
        return False
    try:
        with closing(open_to_read(path)) as db:
            checked = db.execute("PRAGMA quick_check").fetchall()
            return checked == [("ok",)] and bool(db.execute("SELECT 1 FROM meta").fetchone())
    except sqlite3.Error:
        return False


def write_copy(db: sqlite3.Connection, path: Path) -> None:
    """Replace a file by a database as it stands: whoever reads the file finds it whole.

    Args:
        db: The database.
        path: The file.
    """
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    make_private(beside)
    with closing(sqlite3.connect(beside)) as copied:
        db.backup(copied)
        copied.execute("PRAGMA journal_mode = DELETE")
    with open(beside, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)


def mend(path: Path, copy: Path, *, begin: bool) -> None:
    """Put the copy in the place of a damaged journal; what was there stays as ``….damaged``.

    Args:
        path: The journal.
        copy: Its copy.
        begin: Whether the copy also takes the place of a journal that is missing.
    """
    empty = not path.exists() or not path.stat().st_size
    if whole(path) or (empty and not begin) or not whole(copy):
        return
    for end in ("", "-wal", "-shm"):
        file = path.with_name(path.name + end)
        if file.exists():
            os.replace(file, file.with_name(f"{file.name}.damaged"))
    make_private(path)
    shutil.copyfile(copy, path)
