"""Data of the user's own in place of a data set's name: a table, a file of arrays, or images.

"flowers.csv"                       what is typed
"/home/me/flowers.csv#3f0a…"        what options keep: the path, and the hash of what lies there
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ..data import DATASETS, Dataset
from ..errors import must_be
from . import _own

_EXPECTED = f"one of {', '.join(DATASETS)}, or a csv or npz file, or a folder of images"
_TABLES = (".csv", ".npz")


def is_own_data(name: str) -> bool:
    """Return whether a name is that of a file or folder.

    Args:
        name: What the user wrote for a data set.

    Example:
        >>> is_own_data("iris"), is_own_data("flowers.csv"), is_own_data("./iris")
        (False, True, True)
    """
    if name.lower().replace("_", "-") in DATASETS:
        return False
    return os.sep in name or name.lower().endswith(_TABLES) or os.path.exists(name)


def data_with_hash(name: str) -> str:
    """Return the absolute path of data of the user's own, with a hash of what lies there.

    Args:
        name: The path; a hash that is there already stays.

    Raises:
        ValueError: Nothing is there, or a file of another kind.
    """
    if _own.told_hash(name):
        return name
    path = Path(os.path.abspath(os.path.expanduser(name)))
    if not path.exists():
        hint = _own.beside(str(path), _TABLES)
        raise ValueError(must_be("dataset", _EXPECTED, f"{name}, which is not there", hint))
    if not path.is_dir() and path.suffix.lower() not in _TABLES:
        hint = "In Python, qt.Dataset.from_arrays takes what any library reads."
        raise ValueError(must_be("dataset", _EXPECTED, repr(name), hint))
    try:
        return f"{path}#{_hash(path)}"
    except OSError as error:
        actual = f"{name} ({error.strerror or error})"
        raise ValueError(must_be("dataset", "one that can be read", actual)) from error


def data_name(dataset: str) -> str:
    """Return a short name of a data set, for people and folders.

    Example:
        >>> data_name("/home/me/flowers.csv#0123456789abcdef"), data_name("iris")
        ('flowers', 'iris')
    """
    plain = _own.shown(dataset)
    return Path(plain).stem if is_own_data(dataset) else plain


def is_table(dataset: str) -> bool:
    """Return whether a data set is a csv file."""
    return is_own_data(dataset) and Path(_own.shown(dataset)).suffix.lower() == ".csv"


def load_own(dataset: str, label: str | None, regression: bool | None = None) -> Dataset:
    """Load data of the user's own; columns of a table are standardized.

    Args:
        dataset: What :func:`data_with_hash` returns.
        label: Name of a table's column to learn; the last one by default.
        regression: Whether labels are values to come close to, whole numbers too; by default where
            they are not all text or whole numbers.

    Raises:
        ValueError: It has changed, or there is no such column.
        DataError: It cannot be read.
    """
    told = _own.told_hash(dataset)
    path = Path(dataset.removesuffix(f"#{told}"))
    if not path.exists():
        actual = f"{path}, which is not there"
        hint = _own.beside(str(path), _TABLES)
        raise ValueError(must_be("dataset", "where the run began with it", actual, hint))
    if told is not None and _hash(path) != told:
        hint = "Give the data that the run began with, or begin another run."
        expected = f"{_own.shown(str(path))} as it was"
        raise ValueError(must_be("dataset", expected, "one that was changed", hint))
    if path.is_dir():
        return Dataset.from_images(path)
    if path.suffix.lower() == ".npz":
        return Dataset.from_npz(path, regression=regression)
    return Dataset.from_csv(path, label=label, standardize=True, regression=regression)


def _hash(path: Path) -> str:
    """Return the hash of a file, or of all files of a folder and their names."""
    if not path.is_dir():
        return _own.content_hash(path.read_bytes())
    digest = hashlib.sha256()
    for one in sorted(each for each in path.rglob("*") if each.is_file()):
        digest.update(f"{one.relative_to(path).as_posix()}\0{one.stat().st_size}\0".encode())
        digest.update(one.read_bytes())
    return digest.hexdigest()[: _own.HASH_DIGITS]
