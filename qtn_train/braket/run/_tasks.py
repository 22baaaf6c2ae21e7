"""Tasks of the service: created once, waited for, fetched, and never paid twice.

    journal's rows ──► create (token) ──► wait ──► fetch ──► journal's rows
                       repeated with the   again with longer    through the device's
                       same token only     and longer pauses    own session

Whatever goes wrong, the rows say what exists. Requests are repeated where that cannot cost
anything: reading always, creating under the same client token, which the service answers with the
task that it made before. How long it remembers a token, nobody says: so a run that goes on first
asks which tasks carry its tag. It finds those whose answer it did not live to hear, and those that
were made after the journal at hand was copied.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import cached_property
from typing import Any, final

from ...errors import JournalError, TaskFailed, TasksPending, count, must_be, text_of
from ...measurements._counts import Counts
from ..cost._money import LEAST_SECONDS, Prices, cost_of, show_usd
from ..device._devices import check_bucket
from ..device._target import Target
from ._journal import Journal
from ._records import Task, check_budget
from ._requests import (
    AGAIN,
    LONGEST_PAUSE,
    NOT_CREATED,
    PARALLEL,
    QUOTA,
    Refused,
    Requests,
    code_of,
    each,
    one_interrupt,
)
from ._results import Failure, Found, Unread, gather, read_counts, seconds_of
from ._terms import Terms, without_context

#: Tags of a task: its client token, the run's name, and a hash of what was asked for.
TOKEN_TAG, RUN_TAG, CONTENT_TAG = "qtn-train-token", "qtn-train-run", "qtn-train-content"

_TRIES_FOR_FILES = 5
_RESULTS = "AMZN_BRAKET_TASK_RESULTS_S3_URI"
_MISSING = frozenset({"NoSuchKey", "404"})
#: Beginnings of errors after which the account must get a right first, or the device be there.
_DENIED = ("AccessDenied", "UnauthorizedOperation")
_STALE = ("ExpiredToken", "UnrecognizedClient", "InvalidSignature")
_LATER = (*_DENIED, *_STALE, "DeviceOffline")
_ENDED = ("COMPLETED", "FAILED", "CANCELLED")


def say_on_terminal(line: str) -> None:
    """Show the progress of waiting on one line of standard error, if that is a terminal."""
    if sys.stderr.isatty():
        print(f"\r{line:<100}", end="" if line else "\r", file=sys.stderr, flush=True)


def place_in_queue(answer: Mapping[str, Any]) -> str | None:
    """Return a task's place in its device's queue, where the service tells it.

    Args:
        answer: What GetQuantumTask says.

    Example:
        >>> place_in_queue({"queueInfo": {"position": ">2000"}})
        '>2000'
    """
    place = (answer.get("queueInfo") or {}).get("position")
    return None if place in (None, "None") else str(place)


@final
class TaskService:
    """Creates, watches and cancels a run's tasks on one device, all recorded in its journal.

    Args:
        target: A billed device.
        journal: Where everything is written down first.
        budget: USD that the whole run may cost.
        prices: What they cost.
        poll_seconds: First pause between two looks at a task; later ones are longer.
        timeout_seconds: How long to wait for the tasks of one evaluation.
        terms: A reservation, the user's tags and the folder of the results.
        say: Called with a line for people while it waits, and with ``""`` at the end.
    """

    def __init__(
        self,
        target: Target,
        journal: Journal,
        *,
        budget: Decimal,
        prices: Prices,
        poll_seconds: float,
        timeout_seconds: float,
        terms: Terms | None = None,
        say: Callable[[str], None] = say_on_terminal,
    ) -> None:
        self.terms = terms or Terms()
        self.target, self.journal, self.budget, self.prices = target, journal, budget, prices
        self.poll_seconds, self.timeout_seconds, self.say = poll_seconds, timeout_seconds, say
        self._session = target.device.aws_session
        self._s3 = self._session.s3_client
        self._stop = threading.Event()
        self._requests = Requests(poll_seconds, self._stop)
        #: Tasks at an end, some of which may lack their result.
        self._looked: set[tuple[int, int, int]] = set()
        #: ARN and hash of the run's tasks by token, as the service told; None: it was not asked.
        self._told: dict[str, tuple[str, str]] | None = {} if journal.fresh else None
        #: Whether the account may search tasks, as far as it is known.
        self.may_search = True
        #: What the longest task of the run was charged on a device that bills by time.
        self.dearest = journal.dearest() if target.kind == "simulator" else Decimal(0)
        self._tries_for_files = _TRIES_FOR_FILES
        self._mutex = threading.Lock()
        self._said = False

    def cost(self, n_tasks: int, n_shots: int, seconds: Decimal = LEAST_SECONDS) -> Decimal:
        """Return the cost of tasks on this device, in USD.

        Args:
            n_tasks: How many; a program set is one.
            n_shots: Shots of all of them together.
            seconds: How long each runs, on one of Amazon's simulators.
        """
        return cost_of(self.target, n_tasks, n_shots, prices=self.prices, seconds=seconds)

    @cached_property
    def destination(self) -> tuple[str, str]:
        """The bucket of the results, and the folder in it.

        Raises:
            ValueError: There is no bucket, and none can be made; or Braket cannot write to it.
        """
        if _RESULTS in os.environ:  # in a hybrid job
            bucket, _, prefix = os.environ[_RESULTS].removeprefix("s3://").partition("/")
            return bucket, prefix
        try:
            bucket = str(self._requests.patiently(self._session.default_bucket))
        except (Refused, ValueError) as error:
            if isinstance(error, Refused) and error.code.startswith(_STALE):
                raise  # no bucket is to blame for credentials that have run out
            hint = "Name one (bucket), or give AwsSession(default_bucket=...)."
            text = must_be("bucket", "one that results can be written to", text_of(error), hint)
            raise ValueError(text) from error
        check_bucket(bucket)
        return bucket, self.terms.s3_prefix

    def settle(self, tasks: Sequence[Task], *, create: bool = True) -> list[Task]:
        """Bring tasks to an end, creating those that do not exist yet.

        Args:
            tasks: Rows of the journal, in any state.
            create: Whether to create; those that do not exist stay as they are without.

        Returns:
            The same rows, each ``done``, ``failed``, or ``created`` with a reason why its result
            is not here.

        Raises:
            BudgetError: The budget does not hold the next one.
            TaskFailed: The service refused one, and will refuse it again.
            TasksPending: Some are not at an end in time, or cannot be created now; all are
                recorded.
            KeyboardInterrupt: After Ctrl-C; all are recorded.
        """
        self._stop.clear()
        self._looked.clear()
        rows = {_key(task): task for task in tasks}
        deadline = time.monotonic() + self.timeout_seconds
        with self._telling(), one_interrupt():
            rows |= self._found([task for task in tasks if _uncreated(task)])
            for task in each(
                self._stop, self._read_again, [t for t in rows.values() if _unread(t)]
            ):
                rows[_key(task)] = task
            if create:
                self._create_all(rows, deadline)
            self._wait(rows, deadline)
        self.journal.keep_copy()
        return list(rows.values())

    def look(self, tasks: Sequence[Task]) -> list[tuple[Task, dict[str, Any]]]:
        """Look once at tasks that exist; keep the results that are there.

        Args:
            tasks: Rows of the journal.

        Returns:
            Those that have an ARN, as they stand now, each with what the service says of it.
        """
        self._tries_for_files = 1
        with self._telling():
            known = [task for task in tasks if task.arn is not None]
            pairs = list(zip(known, each(self._stop, self._look, known), strict=True))
            return [
                (self._end(task, told) if told["status"] in _ENDED else task, told)
                for task, told in pairs
            ]

    def _create_all(self, rows: dict[tuple[int, int, int], Task], deadline: float) -> None:
        """Create the tasks that do not exist.

        Where time is billed, nobody knows a task's price before it is at its end: one goes first,
        then more and more at once, and what is left must fit the budget at the price of the
        longest so far.
        """
        by_time = self.target.kind == "simulator"
        missing = [task for task in rows.values() if _uncreated(task)]
        size = 1 if by_time and not self.dearest else PARALLEL
        while missing:
            if by_time:
                missing = [self._at_least(task, self.dearest) for task in missing]
                cost = sum((t.usd for t in missing if t.state == "planned"), Decimal(0))
                check_budget(self.journal.spending().spent, cost, self.budget)
            portion, missing = missing[:size], missing[size:]
            if not by_time:
                portion, missing = [*portion, *missing], []
            made = {_key(task): task for task in each(self._stop, self._create, portion)}
            rows |= made
            self.journal.keep_copy()
            if missing:
                self._wait(made, deadline)
                rows |= made
                size = min(2 * size, PARALLEL)

    def _at_least(self, task: Task, usd: Decimal) -> Task:
        higher = task.state == "planned" and task.usd < usd
        return self.journal.reprice(task, usd) if higher else task

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """End a block of progress lines with an empty line, where any line was printed."""
        self._said = False
        try:
            yield
        finally:
            if self._said:
                self.say("")

    def _tell(self, line: str) -> None:
        with self._mutex:
            self.say(line)
            self._said = True

    def _found(self, tasks: Sequence[Task]) -> dict[tuple[int, int, int], Task]:
        """Return those of the tasks that the service has made already.

        Raises:
            JournalError: It made one for another request: the run has gone on elsewhere.
        """
        if any(task.state == "sent" for task in tasks) or (tasks and self._told is None):
            self._told = self._search_run()
        found = {}
        for task in tasks:
            arn, content = (self._told or {}).get(task.token, ("", ""))
            if content and content != _content(task):
                expected = f"the newest one of this run, as task {task.name} is new to it"
                actual = f"a copy: that task exists, with other angles ({arn})"
                hint = "Go on with the newest one, or begin anew in another folder."
                name = f"journal {self.journal.path}"
                raise JournalError(must_be(name, expected, actual, hint))
            if arn:
                found[_key(task)] = self.journal.created(task, arn)
        return found

    def _search_run(self) -> dict[str, tuple[str, str]]:
        """Ask the service for the tasks that carry this run's tag: ARN and hash by token."""
        found: dict[str, tuple[str, str]] = {}
        page: dict[str, Any] = {"nextToken": ""}
        seen = 0
        while "nextToken" in page:
            try:
                page = self._search(page["nextToken"])
            except Refused as error:
                if not error.code.startswith(_DENIED):
                    raise
                self.may_search = False
                self._tell(f"{self.target.name}: no right to search tasks; their tokens must do")
                return found
            for answer in page["quantumTasks"]:
                tags = answer.get("tags") or {}
                if tags.get(RUN_TAG) == self.journal.run_id and TOKEN_TAG in tags:
                    found[tags[TOKEN_TAG]] = answer["quantumTaskArn"], tags.get(CONTENT_TAG, "")
            seen += len(page["quantumTasks"])
            if page.get("nextToken"):
                self._tell(f"{self.target.name}: looking for this run among {seen:,} tasks so far")
        return found

    def _search(self, token: str) -> dict[str, Any]:
        """Return one page of the service's list of this device's tasks."""
        filters = [{"name": "deviceArn", "operator": "EQUAL", "values": [self.target.arn]}]
        options: dict[str, Any] = {"nextToken": token} if token else {}
        client = self._session.braket_client
        return self._requests.patiently(
            lambda: dict(client.search_quantum_tasks(filters=filters, maxResults=100, **options))
        )

    def _create(self, task: Task) -> Task:
        """Create a task with the service; the journal records it before and after."""
        may_exist = task.state == "sent"
        task = self.journal.send(task, self.budget)
        if task.state != "sent":  # another process has found it
            return task
        request = without_context(json.loads(task.request))
        own = {TOKEN_TAG: task.token, RUN_TAG: self.journal.run_id, CONTENT_TAG: _content(task)}
        tags = {**request.pop("tags", {}), **own}

        def create() -> str:
            arn: str = self._session.create_quantum_task(
                **request, clientToken=task.token, tags=tags
            )
            return arn

        def note(error: Exception) -> None:
            nonlocal may_exist
            may_exist = may_exist or code_of(error) not in NOT_CREATED
            if code_of(error) == QUOTA:
                self._tell(f"{self.target.name}: the account's quota of tasks is full; waiting")

        try:
            arn = self._requests.patiently(
                create, note=note, patience={QUOTA: self.timeout_seconds}
            )
        except Refused as error:
            if not may_exist and not error.retried:
                self.journal.unsend(task)
            expected = f"accepted by {self.target.name}"
            text = must_be(f"task {task.name}", expected, error.text)
            if error.code.startswith(_LATER):
                raise TasksPending(f"{text} {AGAIN}") from error
            raise TaskFailed(text) from error
        return self.journal.created(task, arn)

    def _wait(self, rows: dict[tuple[int, int, int], Task], deadline: float) -> None:
        """Look at the tasks again and again until all are at an end."""
        pause = self.poll_seconds
        while waiting := self._still_open(rows):
            self._tell(line := self._line(len(rows), waiting))
            left = deadline - time.monotonic()
            if left <= 0:
                actual = f"{len(waiting)} unfinished after {self.timeout_seconds:g} s ({line})"
                raise TasksPending(must_be("tasks", "at an end", actual, AGAIN))
            time.sleep(min(pause, left))
            pause = min(1.5 * pause, max(LONGEST_PAUSE, self.poll_seconds))

    def _still_open(
        self, rows: dict[tuple[int, int, int], Task]
    ) -> list[tuple[Task, dict[str, Any]]]:
        """Look once at the tasks, fetch the results that are there, return the unfinished tasks."""
        created = [t for t in rows.values() if t.state == "created" and _key(t) not in self._looked]
        pairs = list(zip(created, each(self._stop, self._look, created), strict=True))
        ended = [pair for pair in pairs if pair[1]["status"] in _ENDED]
        # A QPU's program set has many files, which are read at once; other tasks have one.
        groups = [[pair] for pair in ended] if self.target.kind == "qpu" else [ended]
        for group in groups:
            for task in each(self._stop, lambda pair: self._end(*pair), group):
                rows[_key(task)] = task
                self._looked.add(_key(task))
        return [pair for pair in pairs if pair[1]["status"] not in _ENDED]

    def _look(self, task: Task) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            answer: dict[str, Any] = self._session.braket_client.get_quantum_task(
                quantumTaskArn=task.arn, additionalAttributeNames=["QueueInfo"]
            )
            return answer

        # A task that was just made may not be known everywhere yet.
        return self._requests.patiently(look, also=frozenset({"ResourceNotFoundException"}))

    def _read_again(self, task: Task) -> Task:
        return self._end(task, self._look(task))

    def _end(self, task: Task, answer: dict[str, Any]) -> Task:
        """Record the result of an ended task, or the reason why the result is not here."""
        status = answer["status"]
        files, found = self._fetch(task, answer)
        pairs = list(zip(task.members, found, strict=True))
        failures = {member: str(one) for member, one in pairs if isinstance(one, Failure)}
        usd = task.usd
        if status != "COMPLETED":
            reason = " ".join(f"{status}: {answer.get('failureReason', 'no reason given')}".split())
            if task.state != "failed":
                self._tell(f"task {task.name} {reason}")
            self._report(task, status, None)
            if self.target.kind == "qpu":  # by the SDK's own rule
                usd = Decimal(0)
            kept = files if any(isinstance(one, Counts) for one in found) else None
            return self.journal.failed(task, reason, usd, kept, failures)
        seconds = seconds_of(files) if self.target.kind == "simulator" else None
        late = next((one for one in (*found, seconds) if isinstance(one, Unread)), None)
        if late is not None or isinstance(seconds, Unread):
            place = f"{answer['outputS3Directory']} in the bucket {answer['outputS3Bucket']}"
            return self.journal.missing(task, f"{late} ({place})")
        if seconds is not None:
            if usd:  # nothing else is known of a task under a reservation
                usd = self.cost(1, 0, seconds)
            with self._mutex:
                self.dearest = max(self.dearest, usd)
        self._report(task, status, seconds)
        return self.journal.done(task, files, usd, failures)

    def _fetch(self, task: Task, answer: dict[str, Any]) -> tuple[dict[str, str], list[Found]]:
        """Return a task's result files and each executable's counts, once all files are there."""
        tries = 1 if task.state == "failed" else self._tries_for_files
        if answer["status"] != "COMPLETED":
            # The service keeps what a program set counted before it failed, and nothing else.
            tries = 0 if len(task.members) == 1 else tries
            tries = min(tries, 1) if answer["status"] == "CANCELLED" else tries
        # What a failed program set gave before is not read again, and so cannot be lost.
        files = dict(task.result or {})
        found: list[Found] = [Unread("nothing was read")] * len(task.members)
        pause = self.poll_seconds
        for left in reversed(range(tries)):
            files = gather(lambda names: self._read(answer, names), files)
            found = read_counts(files, len(task.members), task.labels)
            if not left or not any(isinstance(one, Unread) for one in found):
                break
            if self._stop.wait(pause):
                break
            pause = min(2 * pause, max(LONGEST_PAUSE, self.poll_seconds))
        return files, found

    def _read(self, answer: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
        """Return the texts of a task's result files by name, without the missing ones."""
        bucket, folder = answer["outputS3Bucket"], answer["outputS3Directory"]

        def read(name: str) -> str | None:
            def get() -> str:
                body = self._s3.get_object(Bucket=bucket, Key=f"{folder}/{name}")["Body"]
                text: str = body.read().decode(errors="replace")
                return text

            try:
                return self._requests.patiently(get)
            except Refused as error:
                if error.code not in _MISSING:
                    raise
                return None

        texts = zip(names, each(self._stop, read, names), strict=True)
        return {name: text for name, text in texts if text is not None}

    @staticmethod
    def _report(task: Task, status: str, seconds: Decimal | None) -> None:
        """Report a task's end and its seconds to the SDK's own ``Tracker``."""
        from braket.tracking.tracking_context import broadcast_event
        from braket.tracking.tracking_events import _TaskCompletionEvent

        duration = None if seconds is None else float(1000 * seconds)
        broadcast_event(_TaskCompletionEvent(task.arn, duration, status))

    def _line(self, total: int, waiting: Sequence[tuple[Task, dict[str, Any]]]) -> str:
        task, answer = waiting[0]
        position = place_in_queue(answer)
        queue = "" if position is None else f", position {position} in the queue"
        spent = f"{show_usd(self.journal.spending().spent)} of {show_usd(self.budget)} USD"
        done = f"{total - len(waiting)} of {count(total, 'task')} done"
        return f"{self.target.name}: {done}; task {task.name} {answer['status']}{queue}; {spent}"

    def cancel(self, tasks: Sequence[Task]) -> list[str]:
        """Cancel tasks that exist or may exist; the service may still charge for shots that ran.

        Args:
            tasks: Rows of the journal.

        Returns:
            The ARNs of those that it asked the service to cancel.
        """
        rows = {_key(task): task for task in tasks}
        with self._telling():
            rows |= self._found([task for task in tasks if task.state == "sent"])
        arns = [task.arn for task in rows.values() if task.state == "created" and task.arn]
        each(self._stop, self._cancel, arns)
        return arns

    def _cancel(self, arn: str) -> None:
        try:
            self._requests.patiently(lambda: self._session.cancel_quantum_task(arn))
        except Refused as error:
            if error.code != "ConflictException":  # it is at an end already
                raise


def _key(task: Task) -> tuple[int, int, int]:
    return task.position, task.part, task.attempt


def _content(task: Task) -> str:
    """Return the SHA-256 of a task's request, without the place of its result."""
    request = json.loads(task.request)
    asked = [request["deviceArn"], request["shots"], request["action"]]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _unread(task: Task) -> bool:
    """Return whether a task is a failed program set some of whose results may come yet."""
    if task.state != "failed" or len(task.members) == 1:
        return False
    found = read_counts(task.result or {}, len(task.members), task.labels)
    return any(isinstance(one, Unread) for one in found)


def _uncreated(task: Task) -> bool:
    return task.state in ("planned", "sent")
