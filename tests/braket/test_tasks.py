"""Tasks against the loopback service, one trouble at a time: nothing is lost or paid twice."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("braket.aws", reason="the braket extra is not installed")

from braket.aws import AwsSession
from braket.program_sets import CircuitBinding, ProgramSet

from qtn_train.braket.cost._money import Prices
from qtn_train.braket.device._devices import resolve
from qtn_train.braket.run._batch import Batch
from qtn_train.braket.run._journal import Journal
from qtn_train.braket.run._manage import cancel, collect, look
from qtn_train.braket.run._reading import read_journal
from qtn_train.braket.run._requests import each
from qtn_train.braket.run._standing import price_again
from qtn_train.braket.run._tasks import TaskService
from qtn_train.circuits import ansatz
from qtn_train.engines.counting._braket import BraketEngine
from qtn_train.errors import BudgetError, JournalError, TaskFailed, TasksPending
from qtn_train.measurements._counts import Counts, Program
from qtn_train.measurements._readout import calibration_programs
from tests.braket.sessions import aws_session, boto

CIRCUIT = ansatz.ry_cx_chain(2, 1)
ANGLES = torch.linspace(0.3, 2.5, 12, dtype=torch.float64).reshape(6, 2)
Start = Callable[..., BraketEngine]


@pytest.fixture
def start(service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that opens an engine on the run's journal, closing the one before."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    engines: list[BraketEngine] = []

    def open_engine(device: str = "Garnet", **options: Any) -> BraketEngine:
        for engine in engines:
            engine.close()
        defaults: dict[str, Any] = {
            "shots": 100,
            "journal": tmp_path / "journal.sqlite",
            "budget_usd": 1000,
            "poll_seconds": 0.002,
            "timeout_seconds": 600.0,
            "say": lambda line: None,
        }
        arn = service.arn(device)
        options = {"session": aws_session(arn)} | defaults | options
        engines.append(BraketEngine(arn, **options))
        return engines[-1]

    yield open_engine
    for engine in engines:
        engine.close()


def run(engine: BraketEngine, position: int = 0, rows: int = 6) -> list[list[int]]:
    """Execute one batch of ``rows`` circuits; return outcomes and counts, flat, for each."""
    (found,) = engine._measure([Program(CIRCUIT, ANGLES[:rows])], position)
    return [_flat(counts) for counts in found]


def _flat(counts: Counts) -> list[int]:
    return [*counts.outcomes.tolist(), *counts.counts.tolist()]


def operations(service: Any) -> Counter[str]:
    return Counter(row["operation"] for row in service.log())


@pytest.fixture
def expected(start: Start, tmp_path: Path) -> Callable[..., list[list[int]]]:
    """Return a function that gives what a quiet run counts."""

    def quiet(device: str = "Garnet") -> list[list[int]]:
        return run(start(device, journal=tmp_path / "quiet.sqlite"))

    return quiet


@pytest.mark.parametrize("device", ["SV1", "Garnet", "Forte 1"])
@pytest.mark.parametrize("kind", ["429", "500", "drop", "drop-after"])
def test_creation_is_repeated_under_one_token(
    service: Any, start: Start, expected: Any, device: str, kind: str
) -> None:
    quiet = expected(device)
    paid = len(service.ledger())
    service.fault(f"create-{kind}", times=3)
    engine = start(device)
    assert run(engine) == quiet
    rows = service.ledger()[paid:]
    assert engine.journal is not None
    assert {row["token"] for row in rows} == {task.token for task in engine.journal.tasks(0)}
    assert len(rows) == (6 if device == "SV1" else 1)
    assert engine.spent_usd == sum(row["usd"] for row in rows)


@pytest.mark.parametrize(
    "what", ["get-429", "get-500", "get-drop", "s3-500", "s3-drop", "create-402"]
)
def test_what_passes_is_waited_for(service: Any, start: Start, expected: Any, what: str) -> None:
    quiet = expected()
    engine = start()
    service.fault(what, times=4)
    assert run(engine) == quiet
    assert len(service.ledger()) == 2


def test_a_service_that_stays_away(service: Any, start: Start) -> None:
    service.fault("create-drop-after", times=None)
    with pytest.raises(TasksPending, match=r"`Amazon Braket` must be reachable; got .* Nothing is"):
        run(start(poll_seconds=0.001))
    service.clear()
    run(start())
    (row,) = service.ledger()
    assert row["status"] == "COMPLETED"


@pytest.mark.parametrize("device", ["SV1", "Garnet"])
def test_stopped_between_creation_and_journal(
    service: Any, start: Start, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task is found by its tag: not even the token is needed a second time."""
    engine = start(device)

    def stop(*_: object) -> None:
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "created", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            run(engine)
    made = len(service.ledger())
    assert made
    run(start(device))
    assert len(service.ledger()) == (6 if device == "SV1" else 1) == operations(service)["create"]


def test_an_answer_that_was_lost_is_found_by_its_tag(service: Any, start: Start) -> None:
    service.fault("create-drop-after", times=None)
    with pytest.raises(TasksPending):
        run(start(poll_seconds=0.001))
    creations = operations(service)["create"]
    service.clear()
    run(start())
    assert operations(service)["create"] == creations
    assert operations(service)["search-tasks"] == 1


def test_the_same_bytes_are_sent_again(
    service: Any, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the tag is not found, the token must meet the same request, angles included."""
    service.fault("create-drop-after", times=None)
    with pytest.raises(TasksPending):
        run(start(poll_seconds=0.001))
    service.clear()
    monkeypatch.setattr(TaskService, "_found", lambda *_: {})
    monkeypatch.setitem(globals(), "ANGLES", ANGLES + 1e-7)  # as another number of threads would
    run(start())
    assert len(service.ledger()) == 1


REQUESTS = """
import torch
from qtn_train import ansatz
from qtn_train.braket.device import resolve
from qtn_train.braket.run._batch import Batch, Program
programs = [Program(ansatz.ry_cx_chain(3, 3), torch.linspace(0, 3, 18).double().reshape(2, 9))]
for members in ([0, 1], [1]):
    print(Batch(programs, 0, resolve("Garnet"), 9).request(members, "bucket", "tasks"))
"""


@pytest.mark.slow
def test_the_same_bytes_in_every_process(service: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The SDK's own order follows Python's hashes of strings, which differ between processes."""
    here = hash("p0008")
    seed = next(seed for seed in ("1", "2") if seed != os.environ.get("PYTHONHASHSEED"))
    told = f"{REQUESTS}print(hash('p0008'))"
    other = subprocess.run(
        [sys.executable, "-c", told],
        env={**os.environ, "PYTHONHASHSEED": seed},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    exec(REQUESTS, {})
    assert int(other.pop()) != here
    assert capsys.readouterr().out.splitlines() == other
    assert "".join(other).count("p0008") >= 4


def test_a_program_set_is_written_as_the_sdk_writes_it(service: Any) -> None:
    target = resolve("Garnet")
    programs = [Program(CIRCUIT, ANGLES), *calibration_programs(2)]
    batch = Batch(programs, 0, target, 100)
    ours = json.loads(json.loads(batch.request(range(8), "bucket", "tasks"))["action"])
    bound, *others = batch.bounds
    entries = [CircuitBinding(bound.circuit, input_sets=bound.input_sets())]
    entries += [other.circuit for other in others]
    theirs = json.loads(ProgramSet(entries, shots_per_executable=100).to_ir().json())
    for one in (*ours["programs"], *theirs["programs"]):
        one["source"] = sorted(one["source"].splitlines())  # the inputs in any order
    assert ours == theirs


def test_an_older_copy_of_the_journal_pays_for_nothing_again(
    service: Any, start: Start, tmp_path: Path
) -> None:
    """As after restoring a backup, when the service has forgotten the tokens."""
    first = start()
    run(first)
    first.close()
    shutil.copy(tmp_path / "journal.sqlite", tmp_path / "copy.sqlite")
    quiet = run(start(), 1), run(start(), 2)
    paid = service.spent()
    service.forget_tokens()
    copy = start(journal=tmp_path / "copy.sqlite")
    assert (run(copy, 1), run(copy, 2)) == quiet
    assert service.spent() == paid == copy.spent_usd
    run(copy, 3)
    assert len(service.ledger()) == 4


def test_a_copy_of_the_journal_that_went_another_way(
    service: Any, start: Start, tmp_path: Path
) -> None:
    start().close()
    shutil.copy(tmp_path / "journal.sqlite", tmp_path / "copy.sqlite")
    run(start())
    engine = start(journal=tmp_path / "copy.sqlite")
    match = r"must be the newest one of this run, as task 0\.0 is new to it; got a copy: that task"
    with pytest.raises(JournalError, match=match):
        engine._measure([Program(CIRCUIT, ANGLES + 0.5)], 0)
    assert len(service.ledger()) == 1
    assert engine.spent_usd == 0


def test_a_run_goes_on_where_and_for_whom_it_began(
    service: Any, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens and tags count in one region and account: elsewhere the same would be paid again."""
    service.fault("create-drop-after", times=None)
    with pytest.raises(TasksPending):
        run(start("SV1", poll_seconds=0.001), rows=1)
    service.clear()
    elsewhere = AwsSession(boto("us-west-2"))
    with pytest.raises(JournalError, match=r"region = 'us-west-2'; got .* in that region"):
        start("SV1", session=elsewhere)
    with monkeypatch.context() as patch:
        patch.setattr(AwsSession, "account_id", "999999999999")
        with pytest.raises(JournalError, match=r"account = '999999999999'; got .* in that account"):
            start("SV1")
    run(start("SV1"), rows=1)
    assert len(service.ledger()) == 1


def test_a_run_without_its_journal_pays_for_nothing(
    service: Any, start: Start, tmp_path: Path
) -> None:
    run(start())
    lost = start(journal=tmp_path / "new.sqlite")
    with pytest.raises(JournalError, match=r"must be the one that holds evaluation 0 .* Put it ba"):
        run(lost, 1)
    assert len(service.ledger()) == 1


@pytest.mark.slow
def test_a_full_quota_is_waited_for(service: Any, start: Start, expected: Any) -> None:
    quiet = expected("SV1")
    lines: list[str] = []
    service.fault("create-402", times=10)  # each pause is twice as long, and 8 tries are usual
    assert run(start("SV1", poll_seconds=0.0005, say=lines.append)) == quiet
    assert "SV1: the account's quota of tasks is full; waiting" in lines
    assert lines[-1] == ""
    service.fault("create-402", times=None)
    with pytest.raises(TasksPending, match="Too many concurrent tasks"):
        run(start("SV1", timeout_seconds=0.05, poll_seconds=0.0005), 1)
    assert len(service.ledger()) == 12


@pytest.mark.parametrize("operation", ["create", "get", "s3"])
def test_credentials_that_run_out(
    service: Any, start: Start, expected: Any, operation: str
) -> None:
    quiet = expected()
    engine = start()
    run(engine)
    service.fault(f"{operation}-403", times=None)
    with pytest.raises((TaskFailed, TasksPending), match="ExpiredToken"):
        run(engine, 1)
    service.clear()
    assert run(start(), 1) == quiet
    assert len(service.ledger()) == 3


@pytest.mark.parametrize("device", ["SV1", "Garnet"])
@pytest.mark.parametrize(("kind", "word"), [("failed", "FAILED"), ("cancelled", "CANCELLED")])
def test_failed_tasks_are_sent_again_on_the_users_word(
    service: Any, start: Start, expected: Any, device: str, kind: str, word: str
) -> None:
    quiet = expected(device)
    paid = len(service.ledger())
    n_tasks = 6 if device == "SV1" else 1
    service.fault(kind, value="laser off")
    match = f"without \\({word}: .*resend_failed=True sends and pays them again: [0-9.]+ USD"
    with pytest.raises(TaskFailed, match=match):
        run(start(device))
    with pytest.raises(TaskFailed, match=word):  # asked again without that word: nothing is sent
        run(start(device))
    assert len(service.ledger()) - paid == n_tasks
    engine = start(device, resend_failed=True)
    assert run(engine) == quiet
    assert len(service.ledger()) - paid == n_tasks + 1
    assert engine.journal is not None
    assert sum(task.attempt for task in engine.journal.tasks(0)) == 1


@pytest.mark.parametrize(("kind", "word"), [("failed", "FAILED"), ("cancelled", "CANCELLED")])
def test_what_fails_on_a_qpu_costs_nothing(
    service: Any, start: Start, kind: str, word: str
) -> None:
    """By the SDK's own rule; the budget holds the next attempt at the same price."""
    service.fault(kind)
    engine = start(budget_usd="1.17")
    with pytest.raises(TaskFailed, match=word):
        run(engine)
    assert engine.spent_usd == service.spent() == 0
    again = start(resend_failed=True, budget_usd="1.17")
    run(again)
    assert again.spent_usd == service.spent() == Decimal("1.17")
    assert again.journal is not None
    told = again.journal.spending()
    assert (told.charged, told.reserved, told.planned) == (Decimal("1.17"), 0, 0)


def test_what_fails_now_is_not_sent_again_by_itself(service: Any, start: Start) -> None:
    service.fault("failed", times=2)
    with pytest.raises(TaskFailed):
        run(start(resend_failed=True))
    assert len(service.ledger()) == 1
    with pytest.raises(TaskFailed, match=r"task 0\.0 \(attempt 2\)"):
        run(start(resend_failed=True))
    assert len(service.ledger()) == 2
    run(start(resend_failed=True))
    assert [row["status"] for row in service.ledger()] == ["FAILED", "FAILED", "COMPLETED"]


@pytest.mark.parametrize("split", [False, True])
def test_only_the_executables_without_counts_are_sent_again(
    service: Any, start: Start, expected: Any, split: bool
) -> None:
    service.options(split_results=split)
    quiet = expected()
    service.fault("partial", value=[1, 4])
    with pytest.raises(TaskFailed, match=r"got 2 of 6 circuits without \(DEVICE: Device error\)"):
        run(start())
    engine = start(resend_failed=True)
    assert run(engine) == quiet
    assert [row["executables"] for row in service.ledger()] == [6, 6, 2]
    assert engine.spent_usd == Decimal("0.3") * 2 + 8 * 100 * Decimal("0.00145")


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("kind", ["failed-partial", "aborted"])
def test_a_program_set_that_failed_keeps_what_it_counted(
    service: Any, start: Start, expected: Any, kind: str, split: bool
) -> None:
    service.options(split_results=split)
    quiet = expected()
    service.fault(kind, value=[1, 4])
    reason = "FAILED: Some executables failed" if kind == "aborted" and split else "DEVICE: Device"
    match = f"got 2 of 6 circuits without \\({reason}.*pays them again: 0.59 USD"
    with pytest.raises(TaskFailed, match=match):
        run(start())
    tasks = read_journal(start().journal.path)[1]  # type: ignore[union-attr]
    if kind == "failed-partial":
        assert tasks[0].failures == dict.fromkeys((1, 4), "DEVICE: Device error")
    assert tasks[0].reason == "FAILED: Some executables failed"
    engine = start(resend_failed=True)
    assert run(engine) == quiet
    assert [row["executables"] for row in service.ledger()] == [6, 6, 2]
    assert engine.spent_usd == Decimal("0.3") + 2 * 100 * Decimal("0.00145")


def test_results_of_a_failed_program_set_that_come_late(
    service: Any, start: Start, expected: Any
) -> None:
    """What came after all is not paid again, however the user goes on."""
    quiet = expected()
    service.fault("failed-partial", value=[3])
    service.fault("missing", value=None)
    with pytest.raises(TaskFailed, match="got 6 of 6 circuits without"):
        run(start())
    service.clear()
    with pytest.raises(TaskFailed, match="got 1 of 6 circuits without"):
        run(start())
    assert run(start(resend_failed=True)) == quiet
    assert [row["executables"] for row in service.ledger()] == [6, 6, 1]


@pytest.mark.parametrize("root", [None, '{"a": 1}', '{"programResults": [], "taskMetadata": 3}'])
def test_what_a_failed_program_set_gave_stays(
    service: Any, start: Start, expected: Any, monkeypatch: pytest.MonkeyPatch, root: str | None
) -> None:
    """Its files are read again, as some lack counts; what is read then takes nothing away."""
    quiet = expected()
    service.fault("aborted", value=[1, 4])
    read = TaskService._read

    def damaged(own: Any, answer: Any, names: Any) -> dict[str, str]:
        files = dict.fromkeys(read(own, answer, names), root)
        return {name: text for name, text in files.items() if text is not None}

    with pytest.raises(TaskFailed, match="got 2 of 6 circuits without"):
        run(start())
    with monkeypatch.context() as patch:
        patch.setattr(TaskService, "_read", damaged)
        with pytest.raises(TaskFailed, match="got 2 of 6 circuits without"):
            run(start())
    assert run(start(resend_failed=True)) == quiet
    assert [row["executables"] for row in service.ledger()] == [6, 6, 2]


def test_what_comes_one_by_one_of_a_failed_program_set_adds_up(
    service: Any, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.fault("aborted", value=[1, 4])
    read = TaskService._read
    for lost, left in ((5, 3), (0, 2)):

        def without(own: Any, answer: Any, names: Any, lost: int = lost) -> dict[str, str]:
            files = read(own, answer, names)
            return {k: v for k, v in files.items() if not k.endswith(f"executables/{lost}.json")}

        with monkeypatch.context() as patch:
            patch.setattr(TaskService, "_read", without)
            with pytest.raises(TaskFailed, match=f"got {left} of 6 circuits without"):
                run(start(poll_seconds=0.0005))
    run(start(resend_failed=True))
    assert [row["executables"] for row in service.ledger()] == [6, 2]


@pytest.mark.parametrize("kind", ["missing", "late", "cut"])
def test_results_that_are_late(service: Any, start: Start, expected: Any, kind: str) -> None:
    quiet = expected()
    service.fault(kind, value=2)
    assert run(start()) == quiet
    assert len(service.ledger()) == 2


_NEVER = [
    ("missing", None, r"results\.json is missing"),
    ("late", None, r"programs/0/executables/5\.json is missing"),
    ("cut", None, r"programs/0/executables/5\.json cannot be read \(JSONDecodeError"),
    *[("root", [text, None], r"results\.json cannot be read") for text in ("{}", "null", "[]", "")],
    ("root", ['{"taskMetadata": {"shots": 600}}', None], r"results\.json tells of 1 circuit, not"),
]


@pytest.mark.parametrize("device", ["SV1", "Garnet"])
@pytest.mark.parametrize(("kind", "value", "reason"), _NEVER)
def test_results_that_are_not_here_are_waited_for_and_never_bought_again(
    service: Any, start: Start, expected: Any, device: str, kind: str, value: Any, reason: str
) -> None:
    if device == "SV1":
        if kind == "late" or "tells" in reason:
            pytest.skip("a task of one circuit has one file")
        reason = r"results\.json (is missing|cannot be read)"
    quiet = expected(device)
    n_tasks = len(service.ledger())
    service.fault(kind, value=value)
    match = rf"must be at an end, with its whole result; got {reason}.*It is paid for and r"
    with pytest.raises(TasksPending, match=match):
        run(start(device))
    path = start(device).journal.path  # type: ignore[union-attr]
    with pytest.raises(TasksPending, match=reason):  # not even on the user's word
        run(start(device, resend_failed=True))
    (told,) = look(path, aws_session(service.arn(device)))
    assert re.search(reason, told["reason"])
    assert told["status"] == "COMPLETED"
    (task,) = collect(path, poll_seconds=0.002)
    assert task.state == "created"
    service.clear()  # they come after all
    if value is None:
        assert look(path, aws_session(service.arn(device))) == []
    assert run(start(device)) == quiet
    assert len(service.ledger()) == 2 * n_tasks


@pytest.mark.parametrize("milliseconds", ["null", "-1", "Infinity"])
def test_a_time_that_cannot_be_read_is_not_charged(
    service: Any, start: Start, milliseconds: str
) -> None:
    """Counts are there, but nobody knows what they cost: the journal waits for that, too."""
    root = (
        '{"taskMetadata": {"shots": 1}, "measurements": [[0, 0]], "measuredQubits": [0, 1], '
        f'"additionalMetadata": {{"simulatorMetadata": {{"executionDuration": {milliseconds}}}}}}}'
    )
    service.fault("root", value=[root, None])
    with pytest.raises(TasksPending, match=r"whole result; got results\.json cannot be read"):
        run(start("SV1"), rows=1)
    service.clear()
    engine = start("SV1")
    run(engine, rows=1)
    assert engine.spent_usd == service.spent() == Decimal("0.00375")


def test_the_price_of_paying_again_is_that_of_the_dearest(service: Any, start: Start) -> None:
    """As the engine takes it: on a device that bills by time, no less than the longest task."""
    service.options(simulator_ms=250_000)
    service.fault("failed", times=2)  # the first is measured, so a third one tells the time
    with pytest.raises(TaskFailed):
        run(start("SV1"))
    path = start("SV1").journal.path  # type: ignore[union-attr]
    target = resolve("SV1")
    assert price_again(path, target) == 2 * Decimal("0.3125")
    assert price_again(path, target, Prices.builtin()) == 2 * Decimal("0.3125")


def test_a_timeout_leaves_tasks_pending(service: Any, start: Start, expected: Any) -> None:
    quiet = expected("SV1")
    service.fault("queued", value=None)
    match = r"`tasks` must be at an end; got 1 unfinished after 0\.2 s \(SV1: 0 of 1 task done; "
    with pytest.raises(TasksPending, match=match):
        run(start("SV1", timeout_seconds=0.2))
    service.clear()
    assert run(start("SV1")) == quiet
    assert len(service.ledger()) == 12


def test_no_time_at_all_creates_everything(service: Any, start: Start, tmp_path: Path) -> None:
    """How tasks are submitted and left alone; where time is billed, one at first."""
    service.fault("queued", times=9, value=None)
    with pytest.raises(TasksPending, match="2 unfinished"):  # 50,000 shots each: 4 in a set
        run(start("Cepheus-1-108Q", shots=50_000, timeout_seconds=0))
    assert len(service.ledger()) == 2
    with pytest.raises(TasksPending, match="1 unfinished"):
        run(start("SV1", timeout_seconds=0, journal=tmp_path / "sv1.sqlite"))
    assert len(service.ledger()) == 3


def test_a_device_that_bills_by_time_is_measured_first(service: Any, start: Start) -> None:
    """Six tasks, estimated at 3 seconds each, take 250: 0.3125 USD in place of 0.00375."""
    service.options(simulator_ms=250_000)
    engine = start("SV1", budget_usd="0.20")
    match = r"`budget_usd` must be at least 1\.875 for what comes next; got 0\.20\. 0\.3125 USD are"
    with pytest.raises(BudgetError, match=match):
        run(engine)
    assert service.spent() == engine.spent_usd == Decimal("0.3125")
    with pytest.raises(BudgetError, match=r"at least 1\.875"):  # it knows that now
        run(start("SV1", budget_usd="1.87"))
    assert len(service.ledger()) == 1
    run(start("SV1", budget_usd="1.875"))
    assert service.spent() == Decimal("1.875")


def test_tasks_that_take_longer_and_longer(service: Any, start: Start, monkeypatch: Any) -> None:
    """What runs at once may pass the budget by what it takes longer than the longest before."""
    wait = TaskService._wait
    sizes: list[int] = []

    def waiting(own: Any, rows: Any, deadline: float) -> None:
        sizes.append(len(rows))
        wait(own, rows, deadline)
        service.options(simulator_ms=10_000)

    monkeypatch.setattr(TaskService, "_wait", waiting)
    engine = start("SV1", budget_usd="0.03")
    with pytest.raises(BudgetError, match=r"at least 0\.06625"):
        run(engine)
    assert sizes == [1, 2]
    assert service.spent() == Decimal("0.00375") + 2 * Decimal("0.0125") == Decimal("0.02875")


def test_ctrl_c_while_waiting(service: Any, start: Start) -> None:
    service.fault("queued", value=None)
    with pytest.raises(KeyboardInterrupt):
        run(start(say=lambda line: signal.raise_signal(signal.SIGINT) if line else None))
    service.clear()
    run(start())
    assert len(service.ledger()) == 1


def test_ctrl_c_while_creating(service: Any, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is under way is written down before the program ends."""
    engine = start("SV1")
    created = Journal.created
    made: list[str] = []
    both = threading.Barrier(2, timeout=60)

    def interrupt(journal: Journal, task: Any, arn: str) -> Any:
        """Press Ctrl-C with each of both tasks of the second portion, while both are under way."""
        made.append(arn)
        if len(made) > 1:
            both.wait()
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.02)
        return created(journal, task, arn)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "created", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(engine)
    states = Counter(task.state for task in read_journal(engine.journal.path)[1])  # type: ignore[union-attr]
    assert states["sent"] == 0
    assert states["created"] + states["done"] == len(made) == len(service.ledger()) == 3
    run(start("SV1"))
    assert len(service.ledger()) == 6


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_while_a_call_is_handed_to_its_thread(
    presses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However early Ctrl-C comes, calls that have begun end before it is told."""
    begun: list[int] = []
    ended: list[int] = []

    def call(item: int) -> None:
        begun.append(item)
        time.sleep(0.2)
        ended.append(item)

    begin = threading.Thread.start

    def begin_and_interrupt(thread: threading.Thread) -> None:
        begin(thread)
        while not begun:
            time.sleep(0.001)
        for _ in range(presses):
            signal.raise_signal(signal.SIGINT)

    stop = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", begin_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            each(stop, call, [0, 1, 2])
    assert stop.is_set()
    assert begun
    assert sorted(begun) == sorted(ended)


def test_an_error_is_not_hidden_by_what_is_under_way() -> None:
    """Ctrl-C after one call failed, while another ends: it ends, and the failure is told too."""
    other, stop = threading.Event(), threading.Event()
    ended: list[int] = []

    def call(item: int) -> None:
        if item == 0:
            other.wait()
            raise ValueError("the first one")
        other.set()
        stop.wait()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        ended.append(item)

    with pytest.raises(KeyboardInterrupt) as caught:
        each(stop, call, [0, 1])
    assert ended == [1]
    assert str(caught.value.__context__) == "the first one"


def test_what_is_shown_while_waiting(service: Any, start: Start) -> None:
    lines: list[str] = []
    service.fault("queued", value=3)
    run(start(say=lines.append))
    *waiting, last = lines
    assert len(waiting) == 3
    for line in waiting:
        assert re.fullmatch(
            r"IQM Garnet: 0 of 1 task done; task 0\.0 QUEUED, position \d in the queue; "
            r"1\.17 of 1,000\.00 USD",
            line,
        )
    assert last == ""


def test_a_reason_is_shown(service: Any, start: Start) -> None:
    lines: list[str] = []
    service.fault("failed", value="the cryostat\nwarmed up")
    with pytest.raises(TaskFailed, match="the cryostat warmed up"):
        run(start(say=lines.append))
    assert "task 0.0 FAILED: the cryostat warmed up" in lines


def test_half_a_batch_is_not_begun(service: Any, start: Start) -> None:
    """SV1 takes 0.00375 USD for each of 6 tasks; the budget holds 5."""
    with pytest.raises(BudgetError, match=r"must be at least 0\.0225 .* got 0\.01875\. 0\.00 USD"):
        run(start("SV1", budget_usd="0.01875"))
    assert service.ledger() == []
    engine = start("SV1", budget_usd="0.0225")
    run(engine)
    assert engine.spent_usd == Decimal("0.0225") == service.spent()
    with pytest.raises(BudgetError, match=r"0\.0225 USD are spent and nothing is lost"):
        run(engine, 1, rows=1)
    run(engine)  # what was paid for is there
    assert len(service.ledger()) == 6


def test_money_of_earlier_runs_counts(service: Any, start: Start) -> None:
    run(start("Garnet", budget_usd=1.2))
    with pytest.raises(BudgetError, match=r"at least 2\.34 .* got 1\.20\. 1\.17 USD are spent"):
        run(start("Garnet", budget_usd=1.2), 1)
    run(start("Garnet", budget_usd="2.34"), 1)
    assert service.spent() == Decimal("2.34")


def test_a_further_attempt_must_fit_the_budget(service: Any, start: Start) -> None:
    """What a completed program set lost is paid again: 0.3 + 2 * 0.145 USD."""
    service.fault("partial", value=[1, 4])
    with pytest.raises(TaskFailed):
        run(start(budget_usd="1.5"))
    with pytest.raises(BudgetError, match=r"at least 1\.76"):
        run(start(budget_usd="1.5", resend_failed=True))
    assert len(service.ledger()) == 1
    run(start(budget_usd="1.76", resend_failed=True))
    assert len(service.ledger()) == 2


def test_a_run_that_goes_on_keeps_its_budget(service: Any, start: Start) -> None:
    run(start(budget_usd="1.2"))
    engine = start(budget_usd=None)
    assert engine.budget_usd == Decimal("1.2")
    with pytest.raises(BudgetError, match=r"at least 2\.34 .* got 1\.20") as caught:
        run(engine, 1)
    assert caught.value.needed == Decimal("2.34")
    run(start(budget_usd="2.34"), 1)
    assert start(budget_usd=None).budget_usd == Decimal("2.34")


def test_a_task_that_was_planned_at_another_price(
    service: Any, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is paid at the price of the day on which it is created."""

    def stop(*_: object) -> None:
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "send", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            run(start(budget_usd=2))
    service.set_price("Garnet", shot="0.002")
    changed = Prices.fetch()
    assert changed.shot(service.arn("Garnet")) == Decimal("0.002")
    with pytest.raises(BudgetError, match=r"at least 1\.50"):
        run(start(budget_usd="1.49", prices=changed))
    engine = start(prices=changed)
    run(engine)
    assert engine.spent_usd == service.spent() == Decimal("1.5")


def test_a_price_that_fell_is_no_less_than_was_written_down(
    service: Any, start: Start, tmp_path: Path
) -> None:
    """A copy of the journal does not know what was sent after it was made."""

    def stop(*_: object) -> None:
        raise RuntimeError("stopped")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "send", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            run(start())
    engine = start()
    path = engine.journal.path  # type: ignore[union-attr]
    engine.close()
    copy = shutil.copy(path, tmp_path / "kept")
    engine = start()
    run(engine)
    engine.close()
    paid = service.spent()
    shutil.copy(copy, path)
    service.set_price("Garnet", shot="0.0001")
    engine = start(prices=Prices.fetch())
    run(engine)
    assert service.spent() == paid, "the same task"
    assert engine.spent_usd == paid


def test_a_device_that_went_offline(service: Any, start: Start) -> None:
    engine = start()
    service.set_status("Garnet", "OFFLINE")
    match = r"`task 0\.0` must be accepted by IQM Garnet; got .*Offline.* Nothing is lost"
    with pytest.raises(TasksPending, match=match):
        run(engine)
    assert engine.spent_usd == 0
    service.set_status("Garnet", "ONLINE")
    run(engine)
    assert len(service.ledger()) == 1
    service.set_status("Garnet", "RETIRED")
    run(start())  # all its tasks exist
    assert len(service.ledger()) == 1


def test_without_the_right_to_search_the_tokens_do(
    service: Any, start: Start, expected: Any
) -> None:
    quiet = expected()
    service.fault("create-drop-after", times=None)
    with pytest.raises(TasksPending):
        run(start(poll_seconds=0.001))
    service.clear()
    service.fault("search-tasks-denied", times=None)
    lines: list[str] = []
    assert run(start(say=lines.append)) == quiet
    assert "IQM Garnet: no right to search tasks; their tokens must do" in lines
    assert len(service.ledger()) == 2
    service.clear()
    service.fault("create-denied", times=None)
    with pytest.raises(TasksPending, match=r"AccessDenied.* Nothing is lost"):
        run(start(), 1)


def test_a_search_that_does_not_know_the_task_yet(
    service: Any, start: Start, expected: Any
) -> None:
    quiet = expected()
    service.options(search_lag=2, search_page=1, search_seconds=0.05)
    service.fault("create-drop-after", times=None)
    with pytest.raises(TasksPending):
        run(start(poll_seconds=0.001))
    service.clear()
    assert run(start()) == quiet
    assert len(service.ledger()) == 2


@pytest.mark.parametrize("device", ["SV1", "Garnet"])
def test_the_sdks_tracker_counts_what_is_charged(service: Any, start: Start, device: str) -> None:
    from braket.tracking import Tracker

    service.fault("cancelled")
    with Tracker() as tracker:
        with pytest.raises(TaskFailed):
            run(start(device))
        run(start(device, resend_failed=True))
    billed = tracker.simulator_tasks_cost() if device == "SV1" else tracker.qpu_tasks_cost()
    assert billed == service.spent() > 0


def test_results_come_through_the_session_that_was_given(
    service: Any, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those of program sets that are split into many objects."""
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name)
    mine = boto3.Session("mine", "mine", region_name="eu-north-1")
    service.options(split_results=True)
    run(start(session=AwsSession(boto_session=mine)))
    assert operations(service)["s3"] > 6


def test_collect(service: Any, start: Start, expected: Any) -> None:
    quiet = expected()
    service.fault("queued", value=None)
    engine = start(timeout_seconds=0)
    with pytest.raises(TasksPending):
        run(engine)
    path = engine.journal.path  # type: ignore[union-attr]
    engine.close()
    with pytest.raises(TasksPending, match="QUEUED"):
        collect(path)
    service.clear()
    service.set_status("Garnet", "OFFLINE")  # nothing is created, so it need not be there
    (task,) = collect(path)
    assert task.state == "done"
    assert collect(path) == []
    service.set_status("Garnet", "ONLINE")
    polls = operations(service)["get"]
    assert run(start()) == quiet
    assert operations(service)["get"] == polls
    assert len(service.ledger()) == 2


def test_cancel(service: Any, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of six tasks five wait; one came to an end meanwhile, which is no error."""
    # A price is known, so that all of them go at once.
    monkeypatch.setattr(Journal, "dearest", lambda journal: Decimal("0.01"))
    service.fault("queued", times=5, value=None)
    engine = start("SV1", timeout_seconds=0)
    with pytest.raises(TasksPending):
        run(engine)
    path = engine.journal.path  # type: ignore[union-attr]
    engine.close()
    db = sqlite3.connect(path)
    with db:  # as if the end of the last one had not been seen
        db.execute("UPDATE tasks SET state = 'created', result = NULL WHERE state = 'done'")
    db.close()
    assert sorted(cancel(path)) == sorted(row["arn"] for row in service.ledger())
    states = Counter(task.state for task in collect(path, timeout_seconds=600))
    assert states == {"failed": 5, "done": 1}
    assert [row["status"] for row in service.ledger()].count("CANCELLED") == 5
    with pytest.raises(TaskFailed, match="CANCELLED"):
        run(start("SV1"))


def test_a_run_that_is_alive_can_be_collected_and_cancelled(service: Any, start: Start) -> None:
    """By another process, while this one has the journal open: spending can be stopped at once."""
    service.fault("queued", value=None)
    lines: list[str] = []
    asked: list[list[str]] = []
    engine = start(say=lambda line: asked.append(stop()) if line and not asked else None)
    path = engine.journal.path  # type: ignore[union-attr]

    def stop() -> list[str]:
        code = (
            "import sys; from qtn_train.braket.run._manage import cancel, collect\n"
            "from qtn_train.errors import TasksPending\n"
            "try: collect(sys.argv[1], poll_seconds=0.002, say=lambda line: None)\n"
            "except TasksPending as error: print('pending')\n"
            "print(*cancel(sys.argv[1], poll_seconds=0.01))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
        )
        lines.extend([*done.stdout.split(), *done.stderr.splitlines()])
        return lines

    with pytest.raises(TaskFailed, match="CANCELLED"):
        run(engine)
    (row,) = service.ledger()
    assert lines == ["pending", row["arn"]]
    with pytest.raises(TasksPending, match="one that was cancelled"):
        run(engine, 1)
    assert len(service.ledger()) == 1
    run(start(), 1)  # the user goes on with it
    assert len(service.ledger()) == 2


def unheard(service: Any, start: Start, fault: str) -> Path:
    """Return the journal of a run that was ended before it heard of its only task."""
    service.fault(fault, times=None)
    engine = start(poll_seconds=0.001)
    with pytest.raises(TasksPending):
        run(engine)
    engine.close()
    assert isinstance(engine.journal, Journal)
    return engine.journal.path


def test_cancel_finds_what_was_made_unheard(service: Any, start: Start) -> None:
    service.fault("queued", value=None)
    path = unheard(service, start, "create-drop-after")
    (row,) = service.ledger()
    assert cancel(path) == [row["arn"]]


def test_cancel_looks_until_the_list_holds_what_was_sent(service: Any, start: Start) -> None:
    """A run that was killed does not know whether its last task exists: it may cost money."""
    service.options(search_lag=2)
    service.fault("queued", value=None)
    path = unheard(service, start, "create-drop-after")
    service.clear()
    service.fault("search-tasks-denied", times=None)
    match = r"`tasks` must be known to the journal; got 1 that may exist, and no right to search"
    with pytest.raises(TasksPending, match=match):
        cancel(path)
    service.clear()
    (row,) = service.ledger()
    assert cancel(path, poll_seconds=0.001, timeout_seconds=600.0) == [row["arn"]]


def test_cancel_ends_where_nothing_was_made(service: Any, start: Start) -> None:
    path = unheard(service, start, "create-drop")
    assert cancel(path, timeout_seconds=0.0) == []
    assert service.ledger() == []


def test_collect_needs_a_journal_of_the_service(tmp_path: Path) -> None:
    BraketEngine("local:sv", 10, journal=tmp_path / "here.sqlite").close()
    with pytest.raises(JournalError, match="of a device of Amazon Braket; got local:sv"):
        collect(tmp_path / "here.sqlite")
