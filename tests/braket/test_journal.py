"""The journal alone: no device, no service."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtn_train.braket.run._journal import Journal
from qtn_train.braket.run._reading import read_allowed, read_journal
from qtn_train.braket.run._records import SAME_ANGLES, Evaluation, Task, check_same
from qtn_train.errors import BudgetError, JournalError, TasksPending

_REQUEST = '{"action": 1}'
SETTINGS = {"device": "arn:aws:braket:::device/quantum-simulator/amazon/sv1", "shots": 100}


def _evaluation(position: int = 0, **changes: Any) -> Evaluation:
    options = {"circuits": "c" * 64, "shots": 100, "angles": np.array([0.1, -2.5, 3.0])}
    return Evaluation(position, **(options | changes))


def _task(position: int = 0, part: int = 0, attempt: int = 0, usd: str = "0.445") -> Task:
    return Task(position, part, attempt, (2 * part, 2 * part + 1), (4, 3), Decimal(usd), _REQUEST)


@pytest.fixture
def journal(tmp_path: Path) -> Any:
    journal = Journal(tmp_path / "journal.sqlite", SETTINGS)
    yield journal
    journal.close()


def test_what_was_written_is_read_again(journal: Journal) -> None:
    journal.plan(_evaluation(), [_task(), _task(part=1)])
    first, second = journal.tasks(0)
    first = journal.created(journal.send(first, Decimal(1)), "arn:1")
    second = journal.created(journal.send(second, Decimal(1)), "arn:2")
    journal.done(first, {"results.json": "{}"}, Decimal("0.40"))
    journal.failed(second, "broken")
    journal.close()

    again = Journal(journal.path, SETTINGS)
    assert again.run_id == journal.run_id
    recorded = again.evaluation(0)
    assert recorded is not None
    assert recorded.content == _evaluation().content
    assert again.evaluation(1) is None
    first, second = again.tasks(0)
    assert (first.state, first.arn, first.result) == ("done", "arn:1", {"results.json": "{}"})
    assert (first.usd, first.members, first.request) == (Decimal("0.40"), (0, 1), _REQUEST)
    assert (second.state, second.arn, second.reason) == ("failed", "arn:2", "broken")
    assert second.result is None
    assert (second.members, second.labels) == ((2, 3), (4, 3))
    assert again.spending().charged == Decimal("0.845")
    again.close()


def test_tokens_are_of_counters_only_and_fit(journal: Journal, tmp_path: Path) -> None:
    keys = [(p, q, a) for p in range(12) for q in range(12) for a in range(2)]
    tokens = {journal.token(*key) for key in keys}
    assert len(tokens) == len(keys)
    assert {len(token) for token in tokens} == {64}
    journal.plan(_evaluation(), [_task()])
    assert journal.tasks(0)[0].token == journal.token(0, 0, 0)
    other = Journal(tmp_path / "other.sqlite", SETTINGS)
    assert other.token(0, 0, 0) not in tokens
    other.close()


def test_a_plan_is_whole_or_not_there(journal: Journal) -> None:
    with pytest.raises(JournalError, match="UNIQUE"):
        journal.plan(_evaluation(), [_task(), _task(part=1), _task(part=1)])
    assert journal.evaluation(0) is None
    assert journal.tasks(0) == []


def test_planned_tasks_cost_nothing_yet(journal: Journal) -> None:
    journal.plan(_evaluation(), [_task(), _task(part=1)])
    assert journal.spending().spent == 0
    first = journal.send(journal.tasks(0)[0], Decimal(1))
    assert journal.spending().spent == Decimal("0.445")
    journal.unsend(first)
    assert journal.spending().spent == 0


def test_budget_is_checked_before_every_creation(journal: Journal) -> None:
    journal.plan(_evaluation(), [_task(part=part) for part in range(3)])
    tasks = journal.tasks(0)
    budget = Decimal("0.89")  # two tasks to the cent
    journal.send(tasks[0], budget)
    sent = journal.send(tasks[1], budget)
    with pytest.raises(BudgetError, match=r"`budget_usd` must be at least 1\.335 .* got 0\.89"):
        journal.send(tasks[2], budget)
    assert [task.state for task in journal.tasks(0)] == ["sent", "sent", "planned"]
    told = journal.spending()
    assert (told.charged, told.reserved, told.planned) == (0, budget, Decimal("0.445"))
    journal.send(sent, budget)  # it may exist already: sending it again costs nothing more
    assert journal.spending().spent == budget


def test_a_state_never_goes_back(journal: Journal) -> None:
    """Two processes may write what they learn of one task, in any order."""
    journal.plan(_evaluation(), [_task()])
    (planned,) = journal.tasks(0)
    sent = journal.send(planned, Decimal(1))
    with_arn = journal.created(sent, "arn:1")
    assert journal.send(planned, Decimal(1)).state == "created"
    assert journal.unsend(sent).state == "created"
    done = journal.done(with_arn, {"results.json": "{}"})
    for late in (
        journal.created(sent, "arn:2"),
        journal.failed(with_arn, "CANCELLED: late", Decimal(0)),
        journal.missing(with_arn, "late"),
        journal.reprice(planned, Decimal(9)),
    ):
        assert late == done
    assert journal.tasks(0) == [done]


def test_what_was_forbidden_is_not_created_until_the_run_goes_on(journal: Journal) -> None:
    journal.plan(_evaluation(), [_task()])
    other = Journal(journal.path, alone=False)
    other.stop()
    other.close()
    with pytest.raises(TasksPending, match=r"`run` must be one that may create tasks; got one tha"):
        journal.send(journal.tasks(0)[0], Decimal(1))
    assert journal.tasks(0)[0].state == "planned"
    journal.close()
    again = Journal(journal.path, SETTINGS)
    assert again.send(again.tasks(0)[0], Decimal(1)).state == "sent"
    again.close()


def test_what_was_allowed_is_kept(journal: Journal) -> None:
    assert journal.allowed is None
    assert read_allowed(journal.path) is None
    journal.allow(Decimal("3.20"))
    journal.allow(Decimal("2.20"))
    assert journal.allowed == read_allowed(journal.path) == Decimal("2.20")


# Copies


_WRITER = """
import sys
from decimal import Decimal
import numpy as np
from qtn_train.braket.run._journal import Journal
from qtn_train.braket.run._records import Evaluation, Task
journal = Journal(sys.argv[1], {"device": "arn:x", "shots": 1})
print("begun", flush=True)
for position in range(100_000):
    evaluation = Evaluation(position, "c" * 64, 1, np.zeros(50))
    journal.plan(evaluation, [Task(position, 0, 0, (0,), (0,), Decimal(1), "x" * 3000)])
    (task,) = journal.tasks(position)
    task = journal.created(journal.send(task, None), f"arn:{position}")
    text = str(np.random.default_rng(position).integers(9, size=2000).tolist())
    journal.done(task, {"results.json": text})
    journal.keep_copy()
"""


@pytest.mark.slow
def test_a_folder_copied_under_a_fast_writer_holds_a_whole_journal(tmp_path: Path) -> None:
    """File after file, as a job's checkpoints are copied, sixty times."""
    live = tmp_path / "live"
    live.mkdir()
    command = [sys.executable, "-c", _WRITER, str(live / "journal.sqlite")]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    try:
        for number in range(60):
            _copy_folder(live, tmp_path / f"copy-{number}")
            time.sleep(0.01)
    finally:
        writer.kill()
        writer.communicate()
    most = 0
    for number in range(60):
        path = tmp_path / f"copy-{number}" / "journal.sqlite"
        read_journal(path)
        journal = Journal(path, {"device": "arn:x", "shots": 1})
        tasks = read_journal(path)[1]
        assert [task.position for task in tasks] == list(range(len(tasks)))
        assert all(journal.tasks(position) for position in range(len(tasks)))
        journal.close()
        most = max(most, len(tasks))
    assert most > 20


def _copy_folder(source: Path, target: Path) -> None:
    target.mkdir()
    for path in sorted(source.iterdir()):
        with suppress(FileNotFoundError):  # it was replaced meanwhile
            shutil.copyfile(path, target / path.name)


def test_a_damaged_journal_gives_way_to_its_copy(journal: Journal) -> None:
    journal.plan(_evaluation(), [_task()])
    journal.close()
    whole = read_journal(journal.path)
    data = bytearray(journal.path.read_bytes())
    data[4096:12288] = bytes(8192)
    journal.path.write_bytes(data)
    assert read_journal(journal.path) == whole
    again = Journal(journal.path, SETTINGS)
    assert again.run_id == journal.run_id
    assert not again.fresh
    assert [task.state for task in again.tasks(0)] == ["planned"]
    again.close()
    assert journal.path.with_name("journal.sqlite.damaged").read_bytes() == bytes(data)


def test_a_copy_kept_elsewhere_is_where_a_run_begins_again(tmp_path: Path) -> None:
    """As a hybrid job does: its journal's own folder ends with the job."""
    kept = tmp_path / "kept.sqlite"
    first = Journal(tmp_path / "first.sqlite", SETTINGS, copy=kept)
    first.plan(_evaluation(), [_task()])
    first.keep_copy()
    second = Journal(tmp_path / "second.sqlite", SETTINGS, copy=kept)
    assert (second.run_id, second.fresh) == (first.run_id, False)
    assert second.tasks(0) == first.tasks(0)
    first.close()
    second.close()


def test_a_copy_that_cannot_be_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.sqlite", SETTINGS, copy=tmp_path / "no" / "b.sqlite")
    with pytest.raises(JournalError, match=r"`copy` must be a file that can be .*no/b"):
        journal.keep_copy()
    journal.close()


def test_its_owner_alone_may_read_it(journal: Journal, tmp_path: Path) -> None:
    journal.plan(_evaluation(), [_task()])
    journal.keep_copy()
    files = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert {f"journal.sqlite{end}" for end in ("", "-wal", "-shm", ".lock", ".copy")} <= set(files)
    assert set(files.values()) == {0o600}


def test_second_process_is_refused_and_may_read(journal: Journal) -> None:
    journal.plan(_evaluation(), [_task()])
    code = (
        "import sys; from qtn_train.braket.run import Journal, read_journal\n"
        "settings, tasks = read_journal(sys.argv[1])\n"
        "print(settings['shots'], len(tasks))\n"
        "Journal(sys.argv[1], settings)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(journal.path)], capture_output=True, text=True
    )
    assert done.stdout == "100 1\n"
    line = done.stderr.splitlines()[-1]
    assert line.endswith("which another process is using. Wait for it, or end it.")


def test_second_engine_of_the_same_process_is_refused(journal: Journal) -> None:
    with pytest.raises(JournalError, match="another process is using"):
        Journal(journal.path, SETTINGS)
    journal.close()
    Journal(journal.path, SETTINGS).close()


def test_journal_of_another_run(journal: Journal) -> None:
    journal.close()
    with pytest.raises(JournalError, match=r"with shots = 200; got one with shots = 100\. Give"):
        Journal(journal.path, SETTINGS | {"shots": 200})
    other = Journal(journal.path)  # whatever run it is of
    assert other.settings == SETTINGS
    other.close()


def test_files_that_are_no_journals(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.sqlite"
    foreign.write_text("no database at all, but long enough to be read as a header" * 20)
    empty = tmp_path / "empty.sqlite"
    sqlite3.connect(empty).execute("CREATE TABLE other (a)").connection.close()
    for path in (foreign, empty):
        with pytest.raises(JournalError, match="damaged or foreign"):
            Journal(path, SETTINGS)
        with pytest.raises(JournalError, match="damaged or foreign"):
            read_journal(path)
    for call in (Journal, read_journal):
        with pytest.raises(JournalError, match="an existing file"):
            call(tmp_path / "none.sqlite")
    with pytest.raises(JournalError, match="write alone"):
        Journal(tmp_path / "no folder" / "journal.sqlite", SETTINGS)


def test_newer_format(journal: Journal) -> None:
    journal.close()
    with sqlite3.connect(journal.path) as db:
        db.execute("UPDATE meta SET value = '9' WHERE key = 'format'")
    db.close()
    with pytest.raises(JournalError, match=r"format 2; got 9\. Update"):
        Journal(journal.path, SETTINGS)


def test_every_commit_reaches_the_disk(journal: Journal) -> None:
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


@pytest.mark.parametrize("steps", range(5))
def test_a_killed_process_leaves_what_it_wrote(tmp_path: Path, steps: int) -> None:
    path = tmp_path / "journal.sqlite"
    pid = os.fork()
    if pid == 0:
        journal = Journal(path, SETTINGS)
        task = _task()
        if steps >= 1:
            journal.plan(_evaluation(), [task])
        if steps >= 2:
            task = journal.send(task, Decimal(1))
        if steps >= 3:
            task = journal.created(task, "arn:1")
        if steps >= 4:
            journal.done(task, {"results.json": "{}"})
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    journal = Journal(path, SETTINGS)  # the lock ended with the process
    states = [task.state for task in journal.tasks(0)]
    assert states == [[], ["planned"], ["sent"], ["created"], ["done"]][steps]
    journal.close()


def test_rounding_of_angles_is_no_mismatch() -> None:
    recorded = _evaluation()
    check_same(recorded, _evaluation())
    check_same(recorded, _evaluation(angles=recorded.angles + 0.5 * SAME_ANGLES))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"circuits": "d" * 64}, r"`evaluation 0` must be of the circuits in the journal"),
        ({"shots": 200}, "of 100 shots as in the journal; got 200"),
        ({"angles": np.zeros(4)}, "of 3 angles as in the journal; got 4"),
        ({"angles": np.array([0.1, -2.5, 3.01])}, r"within 1e-05 rad; got a difference of 0\.01"),
        ({"angles": np.array([0.1, np.nan, 3.0])}, "a difference of nan"),
    ],
)
def test_mismatch_on_replay(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(JournalError, match=message):
        check_same(_evaluation(), _evaluation(**changes))
