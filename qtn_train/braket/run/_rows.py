"""The journal's tables, and how a task becomes a row and a row a task."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from ._records import Task

SCHEMA = """
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
    failures TEXT NOT NULL DEFAULT '{}',
    result BLOB,
    PRIMARY KEY (position, part, attempt)
);
"""


def _as_is(value: Any) -> Any:
    return value


def _pack(result: dict[str, str] | None) -> bytes | None:
    return None if result is None else zlib.compress(json.dumps(result).encode())


def _unzip(packed: bytes) -> str:
    return zlib.decompress(packed).decode()


def _unpack(packed: bytes | None) -> Any:
    return None if packed is None else json.loads(_unzip(packed))


def _unlist(text: str) -> tuple[int, ...]:
    return tuple(json.loads(text))


#: How a column is stored, where not as it is.
_STORE: dict[str, Callable[[Any], Any]] = {"usd": str, "result": _pack, "failures": json.dumps}


def stored_as(name: str, value: Any) -> Any:
    """Return a task's value as its column holds it.

    Args:
        name: The column.
        value: The value.
    """
    return _STORE.get(name, _as_is)(value)


#: A task's columns and how each is read.
COLUMNS: dict[str, Callable[[Any], Any]] = {
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
    "failures": lambda text: {int(number): why for number, why in json.loads(text).items()},
    "token": _as_is,
    "request": _unzip,
    "result": _unpack,
}
#: Those that are short.
BRIEF = [name for name in COLUMNS if name not in ("request", "result")]


def read_tasks(
    db: sqlite3.Connection, columns: Sequence[str], position: int | None = None
) -> list[Task]:
    """Return tasks with some of their columns.

    Args:
        db: A journal's database.
        columns: Names out of :data:`COLUMNS`.
        position: The evaluation that they belong to; all by default.
    """
    where, values = ("", ()) if position is None else (" WHERE position = ?", (position,))
    rows = db.execute(
        f"SELECT {', '.join(columns)} FROM tasks{where} ORDER BY position, part, attempt", values
    )
    return [
        Task(**{name: COLUMNS[name](value) for name, value in zip(columns, row, strict=True)})
        for row in rows.fetchall()
    ]
