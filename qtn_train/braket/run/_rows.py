"""The journal's tables, and how a task becomes a row and a row a task."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import numpy as np

from ...errors import must_be
from ._records import STATES, Evaluation, Task

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


#: What reading a value raises that this package did not write.
_FOREIGN = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, zlib.error,
)  # fmt: skip


class DamagedRow(sqlite3.DatabaseError):
    """A row of a journal holds what this package does not write there."""


def _as_is(value: Any) -> Any:
    return value


def _pack(result: dict[str, str] | None) -> bytes | None:
    return None if result is None else zlib.compress(json.dumps(result).encode())


#: How a column is stored, where not as it is.
_STORE: dict[str, Callable[[Any], Any]] = {"usd": str, "result": _pack, "failures": json.dumps}


def stored_as(name: str, value: Any) -> Any:
    """Return a task's value as its column holds it.

    Args:
        name: The column.
        value: The value.
    """
    return _STORE.get(name, _as_is)(value)


def _damage(what: object) -> DamagedRow:
    return DamagedRow(must_be("row", "one that a journal of qtn_train holds", repr(what)[:80]))


def _a(kind: type, value: Any) -> Any:
    """Return a value of this very type."""
    if type(value) is not kind:
        raise _damage(value)
    return value


def _number(value: Any) -> int:
    if _a(int, value) < 0:
        raise _damage(value)
    return int(value)


def _text(value: Any) -> str:
    return str(_a(str, value))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(_number, _a(list, json.loads(text))))


def _unzip(packed: bytes) -> str:
    return zlib.decompress(_a(bytes, packed)).decode()


def _texts(text: str) -> dict[str, str]:
    return {name: _text(value) for name, value in _a(dict, json.loads(text)).items()}


def _state(value: Any) -> Any:
    if value not in STATES:
        raise _damage(value)
    return value


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def amount(text: Any) -> Decimal:
    """Return an amount of USD as it was written down.

    Args:
        text: What stands there.

    Raises:
        DamagedRow: It is no amount.
    """
    with _reading():
        usd = Decimal(_text(text))
        if not usd.is_finite() or usd < 0:
            raise _damage(text)
        return usd


#: A task's columns and how each is read.
COLUMNS: dict[str, Callable[[Any], Any]] = {
    "position": _number,
    "part": _number,
    "attempt": _number,
    "members": _numbers,
    "labels": _numbers,
    "usd": amount,
    "state": _state,
    "sent_at": _or_none(lambda value: _a(float, value)),
    "arn": _or_none(_text),
    "reason": _or_none(_text),
    "failures": lambda text: {int(number): why for number, why in _texts(text).items()},
    "token": _text,
    "request": _unzip,
    "result": _or_none(lambda packed: _texts(_unzip(packed))),
}
#: Those that are short.
BRIEF = [name for name in COLUMNS if name not in ("request", "result")]


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except _FOREIGN as error:
        raise _damage(error) from error


def read_tasks(
    db: sqlite3.Connection, columns: Sequence[str], position: int | None = None
) -> list[Task]:
    """Return tasks with some of their columns.

    Args:
        db: A journal's database.
        columns: Names out of :data:`COLUMNS`.
        position: The evaluation that they belong to; all by default.

    Raises:
        DamagedRow: A value is none that this package wrote.
    """
    where, values = ("", ()) if position is None else (" WHERE position = ?", (position,))
    rows = db.execute(
        f"SELECT {', '.join(columns)} FROM tasks{where} ORDER BY position, part, attempt", values
    )
    with _reading():
        return [
            Task(**{name: COLUMNS[name](value) for name, value in zip(columns, row, strict=True)})
            for row in rows.fetchall()
        ]


def read_evaluation(db: sqlite3.Connection, position: int) -> Evaluation | None:
    """Return the evaluation recorded at a position, or None.

    Args:
        db: A journal's database.
        position: The evaluation.

    Raises:
        DamagedRow: It is not what was written.
    """
    row = db.execute(
        "SELECT circuits, shots, angles, content FROM evaluations WHERE position = ?", (position,)
    ).fetchone()
    if row is None:
        return None
    circuits, shots, packed, content = row
    with _reading():
        angles = np.frombuffer(_a(bytes, packed), dtype="<f8").astype(np.float64)
        found = Evaluation(position, _text(circuits), _number(shots), angles)
        if found.content != content:
            raise _damage(content)
        return found
