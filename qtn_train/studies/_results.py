"""The folder of a study: its file, and the results as a Parquet data set of append-only parts.

DIR/study.toml              which study this is
DIR/results/*.parquet       finished parts, each complete: written elsewhere, then moved here
DIR/unfinished/             parts being written
DIR/.lock                   held while a study runs here
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._files import write_atomically
from ..errors import MissingExtra, RunError, count, must_be, needs_extra
from ._format import Study, parse_study
from ._tasks import columns

if TYPE_CHECKING:
    from pandas import DataFrame

STUDY, RESULTS, _UNFINISHED, _LOCK = "study.toml", "results", "unfinished", ".lock"


def need_extra() -> None:
    """Raise where a package of the extra ``studies`` is missing.

    Raises:
        ImportError: One of them is missing.
    """
    try:
        import distributed  # noqa: F401
        import pandas  # noqa: F401
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingExtra(needs_extra("studies need", "studies", error)) from error


class Store:
    """The results of one study in its folder, open for more. Made by :func:`open_store`.

    Attributes:
        out: The folder.
        study: The study.
        done: The ids of the tasks whose rows are there, and whether each failed.
        fresh: Whether the study begins here.
    """

    def __init__(self, out: Path, study: Study, fresh: bool) -> None:
        self.out, self.study, self.fresh = out, study, fresh
        self._run = _now()
        frame = read_results(out, ["task", "status"])
        self.done = dict(zip(frame["task"], frame["status"] == "failed", strict=True))

    @property
    def n_failed(self) -> int:
        """Number of failed tasks."""
        return sum(self.done.values())

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows as one more part, a file that is whole or absent.

        Args:
            rows: Rows of tasks that are not there yet; at least one.

        Raises:
            RunError: The disk is full, or not writable.
        """
        # Called again with these rows and more, after Ctrl-C in the middle, it replaces the part.
        self._write(f"{self._run}-{rows[0]['task']}.parquet", rows)
        self.done |= {row["task"]: row["status"] == "failed" for row in rows}

    def forget_failed(self) -> None:
        """Delete the rows of failed tasks, so that the tasks run again.

        Raises:
            RunError: The disk is full, or not writable.
        """
        import pyarrow.parquet as pq

        for path in sorted((self.out / RESULTS).glob("*.parquet")):
            rows = pq.read_table(path).to_pylist()
            kept = [row for row in rows if row["status"] != "failed"]
            if not kept:
                path.unlink()
            elif len(kept) < len(rows):
                self._write(path.name, kept)
        self.done = {task: failed for task, failed in self.done.items() if not failed}
        # A part may be named after a task that is missing now.
        self._run = _now()

    def _write(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        unfinished = self.out / _UNFINISHED / name
        try:
            write_atomically(unfinished, _parquet(rows, self.study))
            os.replace(unfinished, self.out / RESULTS / name)
            _sync_folder(self.out / RESULTS)
        except OSError as error:
            raise _not_writable(self.out, error) from error


@contextmanager
def open_store(out: Path, study: Study, *, resume: bool) -> Iterator[Store]:
    """Open or create a study's folder, locked against other writers.

    Args:
        out: The folder.
        study: The study.
        resume: Whether it may hold results of this study already.

    Yields:
        The store.

    Raises:
        RunError: The folder holds a study and ``resume`` is off, or another study, or something
            else, or is in use, or not writable.
    """
    need_extra()
    made = [path for path in (out, *out.parents) if not path.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _locked(out):
            fresh = _begin(out, study, resume)
            for left_over in (out / _UNFINISHED).iterdir():
                left_over.unlink()
            store = Store(out, study, fresh)
            try:
                yield store
            except BaseException:
                if fresh and not store.done:
                    _undo(out, made)
                raise
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise _not_writable(out, error) from error


def _undo(out: Path, made: list[Path]) -> None:
    """Remove the files and folders of a study without any row."""
    for name in (STUDY, _LOCK):
        (out / name).unlink(missing_ok=True)
    for folder in (out / RESULTS, out / _UNFINISHED, *made):
        with suppress(OSError):
            folder.rmdir()


def _begin(out: Path, study: Study, resume: bool) -> bool:
    """Check or write the folder's study file; return whether the study begins here."""
    fresh = not (out / STUDY).exists()
    if fresh:
        others = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
        if set(others) - {RESULTS, _UNFINISHED} or any((out / RESULTS).glob("*")):
            raise RunError(must_be("out", "an empty folder", f"{out}, which holds {others[0]}"))
    elif not resume:
        hint = "Resume it, or choose another folder."
        raise RunError(must_be("out", "an empty folder", f"{out}, which holds a study", hint))
    elif (found := read_study(out)).hash != study.hash:
        expected = f"a folder of the study {study.name}"
        actual = (
            f"{out}, which holds another one ({found.measure.name}, {count(len(found), 'task')})"
        )
        raise RunError(must_be("out", expected, actual, "Choose another folder."))
    try:
        for name in (RESULTS, _UNFINISHED):
            (out / name).mkdir(exist_ok=True)
        if fresh:
            write_atomically(out / STUDY, study.text.encode())
    except OSError as error:
        raise _not_writable(out, error) from error
    return fresh


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with the process, however the process ends."""
    import fcntl

    with open(out / _LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            actual = f"{out}, where a study is running"
            raise RunError(must_be("out", "a folder of its own", actual)) from error
        yield


def _now() -> str:
    """Return the time in nanoseconds, 20 digits, which tells the parts of two runs apart."""
    return f"{time.time_ns():020d}"


def _not_writable(out: Path, error: OSError) -> RunError:
    actual = f"{out} ({error.strerror or error})"
    hint = "Nothing written so far is lost: mend that and resume the study."
    return RunError(must_be("out", "a folder that can be written", actual, hint))


def _sync_folder(folder: Path) -> None:
    """Flush a folder to the disk, so that a new file's name outlives a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _parquet(rows: Sequence[dict[str, Any]], study: Study) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=_schema(study)), buffer)
    return buffer.getvalue()


def _schema(study: Study) -> Any:
    import pyarrow as pa

    types = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}
    return pa.schema([(name, types[kind]) for name, kind in columns(study.measure).items()])


def read_study(out: Path) -> Study:
    """Return the study of a folder.

    Args:
        out: The folder.

    Returns:
        The study.

    Raises:
        FileNotFoundError: There is none.
    """
    try:
        return parse_study((out / STUDY).read_text(encoding="utf-8"), out.name)
    except (FileNotFoundError, NotADirectoryError) as error:
        expected = "a folder of `qtn-train study run`"
        raise FileNotFoundError(must_be(str(out), expected, "none")) from error


def read_results(out: str | Path, columns_: list[str] | None = None) -> DataFrame:
    """Return the results of a folder as a data frame, one row a task.

    Args:
        out: The folder of a study.
        columns_: The columns; all by default.

    Returns:
        The rows there so far, sorted by point and repeat where all columns are asked for.

    Raises:
        FileNotFoundError: The folder holds no study.
        RunError: A part of the results is damaged, or holds rows of another study.
    """
    need_extra()
    import pyarrow as pa

    out = Path(out)
    study = read_study(out)
    ids = {task.id for task in study.tasks()}
    schema = _schema(study)
    needed = schema.names if columns_ is None else [*dict.fromkeys([*columns_, "task", "status"])]
    parts = [pa.Table.from_pylist([], schema=schema).select(needed)]
    for path in sorted((out / RESULTS).glob("*.parquet")):
        parts.append(_part(path, study, ids, needed))
    frame = pa.concat_tables(parts).to_pandas()
    # Parts of one study that ran in two folders may hold a task twice.
    frame = frame.sort_values("status", kind="stable").drop_duplicates("task")
    if columns_ is not None:
        return frame[columns_]
    order = [*study.measure.settings, "repeat"]
    return frame.sort_values(order, kind="stable", ignore_index=True)


def _part(path: Path, study: Study, ids: set[str], needed: list[str]) -> Any:
    """Return some columns of a part.

    Args:
        path: The file.
        study: The study of the folder.
        ids: The ids of the study's tasks.
        needed: The columns, ``task`` among them.

    Raises:
        RunError: The file is damaged, or holds rows of another study.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            found, table = file.schema_arrow, file.read(columns=needed)
    except (pa.ArrowInvalid, OSError) as error:
        hint = "Delete it, and resume the study: its tasks run again."
        raise RunError(must_be(str(path), "a whole Parquet file", "another", hint)) from error
    if not found.equals(_schema(study)):
        actual = "other columns"
    elif not ids.issuperset(table["task"].to_pylist()):
        actual = "tasks that the study does not have"
    else:
        return table
    expected = f"rows of the study {study.name} ({study.measure.name})"
    hint = "Move it to the folder of its own study."
    raise RunError(must_be(str(path), expected, actual, hint))
