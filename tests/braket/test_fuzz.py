"""Journals and device properties that were changed: an error of ours, or what they say."""

from __future__ import annotations

import json
import random
import sqlite3
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import fuzz as fuzzing
import pytest
import torch

pytest.importorskip("braket.aws", reason="the braket extra is not installed")

from qtn_train.braket.device import resolve
from qtn_train.braket.run import Batch, Journal, Task, bill, read_journal, standing, without_counts
from qtn_train.braket.run._reading import read_allowed, read_reservation
from qtn_train.braket.stand_in import BraketService
from qtn_train.circuits import Circuit
from qtn_train.engines import BraketEngine
from qtn_train.engines.counting._recorded import _NOWHERE, RecordedEngine
from qtn_train.errors import JournalError, Message, QtnTrainError
from qtn_train.measurements._counts import Program

BELL = Circuit.builder(2).h(0).cx(0, 1).build()
ANGLES = torch.zeros(0)
SHOTS = 4
ARN = "arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet"
RESULT = {
    "taskMetadata": {"shots": SHOTS},
    "additionalMetadata": {},
    "measuredQubits": [0, 1],
    "measurements": [[0, 0], [1, 1], [1, 1], [0, 0]],
}


def local(path: Path) -> None:
    """Write the journal of a run on this machine."""
    engine = BraketEngine("local:sv", SHOTS, journal=path)
    engine.prepare(BELL, ANGLES)
    engine.close()


def billed(path: Path) -> None:
    """Write the journal of a run on a device: a task that is done, one that waits, one planned."""
    options = BraketEngine("local:sv", SHOTS).options()
    own = {"device": ARN, "native": False, "placement": None, "region": "eu-north-1"}
    with closing(Journal(path, own | options | {"account": "1"})) as journal:
        journal.allow(Decimal(3))
        journal.note_reservation("arn:aws:braket:eu-north-1:123456789012:reservation/abc")
        for position in range(3):
            batch = Batch([Program(BELL, torch.zeros(1, 0).double())], position, _NOWHERE, SHOTS)
            task = Task(position, 0, 0, (0,), (0, 1), Decimal("0.3"), json.dumps({"shots": SHOTS}))
            journal.plan(batch.evaluation, [task])
            (task,) = journal.tasks(position)
            if position < 2:
                task = journal.created(journal.send(task, Decimal(3)), f"{ARN}/{position}")
        journal.done(journal.tasks(0)[0], {"results.json": json.dumps(RESULT)}, failures={0: "no"})
        journal.missing(journal.tasks(1)[0], "results.json is missing")


def read(path: Path) -> None:
    """Read all that is read of a journal without a device."""
    read_journal(path)
    read_allowed(path)
    read_reservation(path)
    bill(path)
    standing(path)
    without_counts(path)
    with closing(Journal(path, alone=False)) as journal:
        journal.open_tasks()
        journal.spending()
        journal.dearest()
        assert journal.allowed is None or journal.allowed >= 0
    probs = RecordedEngine(path).prepare(BELL, ANGLES).probs(0, 4)
    assert torch.isfinite(probs).all()


def changed_bytes(source: Path, path: Path, rng: random.Random) -> None:
    text = source.read_bytes().decode("latin1")  # a byte is a character of the same number here
    path.write_bytes(next(fuzzing.texts(text, rng.randrange(2**30), 1)).encode("latin1"))


def changed_cells(source: Path, path: Path, rng: random.Random) -> None:
    """Change some values of some tables, as if this package had written them."""
    path.write_bytes(source.read_bytes())
    with closing(sqlite3.connect(path)) as db:
        for _ in range(rng.choice((1, 1, 2, 4))):
            table = rng.choice(("meta", "evaluations", "tasks", "tasks"))
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            rows = [row[0] for row in db.execute(f"SELECT rowid FROM {table}")]
            column, row = rng.choice(columns), rng.choice(rows)
            query = f"SELECT {column} FROM {table} WHERE rowid = ?"
            (value,) = db.execute(query, (row,)).fetchone()
            change = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"
            if rng.random() < 0.1:
                change = f"DELETE FROM {table} WHERE rowid != ? AND rowid = ?"
            # What the table itself does not take was written by nobody.
            with suppress(sqlite3.IntegrityError):
                db.execute(change, (other(value, rng), row))
        db.commit()


def other(value: Any, rng: random.Random) -> Any:
    """Return another value for a cell, often one that looks like the one before."""
    if isinstance(value, bytes) and rng.random() < 0.7:
        with suppress(zlib.error):
            return zlib.compress(str(other(zlib.decompress(value).decode(), rng)).encode())
    if isinstance(value, str) and rng.random() < 0.7:
        with suppress(ValueError):
            return json.dumps(next(fuzzing.mutants(json.loads(value), rng.randrange(2**30), 1)))
        return next(fuzzing.texts(value, rng.randrange(2**30), 1))
    new = rng.choice([*fuzzing.FOREIGN, b"", b"x" * 9])
    small = not isinstance(new, int) or abs(new) < 2**63
    return new if small and isinstance(new, int | float | str | bytes | None) else json.dumps(new)


def journals(seed: int, count: int, folder: Path) -> Iterator[Callable[[], object]]:
    rng = random.Random(seed)
    for number, write in enumerate((local, billed)):
        source, path = folder / f"source-{number}", folder / f"journal-{number}"
        write(source)
        read(source)
        with closing(sqlite3.connect(source)) as db:
            db.execute("PRAGMA journal_mode = DELETE")  # one file
        for _ in range(count // 4):
            for change in (changed_bytes, changed_cells):

                def call(change: Any = change, source: Path = source, path: Path = path) -> None:
                    for end in ("", "-wal", "-shm", "-journal"):
                        path.with_name(path.name + end).unlink(missing_ok=True)
                    change(source, path, rng)
                    read(path)

                yield call


def emulators(seed: int, count: int, folder: Path) -> Iterator[Callable[[], object]]:
    """Properties of a device as a file, which emulators are made of."""
    path = folder / "device.json"

    def call(text: str) -> None:
        path.write_text(text, encoding="utf-8")
        resolve(f"emulator:{path}")

    data = smaller(BraketService.properties("Garnet"))
    call(json.dumps(data))
    for mutant in fuzzing.mutants(data, seed, count // 2):
        yield lambda mutant=mutant: call(json.dumps(mutant))
    for mutant in fuzzing.texts(json.dumps(data), seed, count // 2):
        yield lambda mutant=mutant: call(mutant)
    yield lambda: call("[" * 100_000)


def smaller(data: dict[str, Any], n_qubits: int = 4) -> dict[str, Any]:
    """Return the properties of the device's first qubits alone."""
    kept = {str(label) for label in range(1, n_qubits + 1)}
    graph = data["paradigm"]["connectivity"]["connectivityGraph"]
    own = {a: [b for b in others if b in kept] for a, others in graph.items() if a in kept}
    connectivity = {"fullyConnected": False, "connectivityGraph": own}
    paradigm = {**data["paradigm"], "qubitCount": n_qubits, "connectivity": connectivity}
    standardized = {**data["standardized"]}
    for name in ("oneQubitProperties", "twoQubitProperties"):
        told = standardized[name].items()
        standardized[name] = {key: one for key, one in told if set(key.split("-")) <= kept}
    return {**data, "paradigm": paradigm, "standardized": standardized}


@pytest.mark.parametrize(
    ("write", "change", "message"),
    [
        (billed, "UPDATE tasks SET usd = 'much'", "a journal of qtn_train; got .* a damaged or fo"),
        (billed, "UPDATE tasks SET state = 'paid'", "got .*, a damaged or foreign file"),
        (billed, "UPDATE evaluations SET shots = 9", "got .*, a damaged or foreign file"),
        (billed, "UPDATE meta SET value = '[]' WHERE key = 'settings'", "damaged or foreign file"),
        (
            billed,
            "UPDATE tasks SET labels = '[1]'",
            "must be counts of 1 circuit of 2 qubits in .* of 1 qubit",
        ),
        (
            local,
            """UPDATE meta SET value = '{"device": "local:sv", "shots": 4}'""",
            "must be one with the settings of a run on a device; got .* .KeyError",
        ),
        (
            local,
            f"UPDATE tasks SET result = x'{zlib.compress(b'{}').hex()}'",
            "one that holds the counts as they were written down; got a damaged one .no counts.j",
        ),
        (local, "DELETE FROM tasks", r"got a damaged one \(0 tasks of one evaluation\)"),
    ],
)
def test_a_journal_that_was_changed(tmp_path: Path, write: Any, change: str, message: str) -> None:
    path = tmp_path / "journal.sqlite"
    write(path)
    with closing(sqlite3.connect(path)) as db:
        if "WHERE" not in change and "meta" in change:
            change += " WHERE key = 'settings'"
        db.execute(change)
        db.commit()
    with pytest.raises(JournalError, match=message):
        read(path)


def test_properties_that_cannot_be_read(service: Any) -> None:
    data = service.properties("Garnet")
    data["paradigm"]["connectivity"]["connectivityGraph"] = {"one": ["two"]}
    service.set_properties("Garnet", data)
    with pytest.raises(ValueError, match=r"`device` must be one whose properties can be read; got"):
        resolve("Garnet")


READERS = {"journals": journals, "emulators": emulators}


def errors_of(name: str, seed: int, count: int) -> list[str]:
    """Return what a reader let out that is no error of ours."""
    with tempfile.TemporaryDirectory() as folder:
        calls = READERS[name](seed, count, Path(folder))
        found = [fuzzing.foreign_error(lambda c=call: _read_by_us(c), OWN) for call in calls]
    return [f"{name}: {error}" for error in found if error]


OWN = (QtnTrainError, ValueError)


def _read_by_us(call: Callable[[], object]) -> None:
    try:
        call()
    except ValueError as error:
        if not isinstance(error.args[0] if error.args else None, Message):
            raise AssertionError(f"{type(error).__name__}: {error}") from error
        raise


def fuzz(seed: int, count: int) -> list[str]:
    """Return what these readers let out; an emulator takes a hundred times as long as a journal."""
    few = max(count // 20, 10)
    return errors_of("journals", seed, max(count // 4, 10)) + errors_of("emulators", seed, few)


@pytest.mark.parametrize(("name", "count"), [("journals", 120), ("emulators", 60)])
def test_foreign_content(name: str, count: int) -> None:
    assert errors_of(name, seed=0, count=count) == []
