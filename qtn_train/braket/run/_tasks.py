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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar, final

from ...errors import JournalError, TaskFailed, TasksPending, must_be
from ..cost._money import Prices, cost_of
from ..device._target import Target
from ._journal import Journal
from ._records import Task, show_usd
from ._results import ROOT, gather, seconds_of

Item = TypeVar("Item")
Answer = TypeVar("Answer")

#: Tags of a task: its client token, the run's name, and a hash of what was asked for.
TOKEN_TAG, RUN_TAG, CONTENT_TAG = "qtn-train-token", "qtn-train-run", "qtn-train-content"

#: Requests under way at once: as many as a boto3 client keeps connections.
_PARALLEL = 10
_TRIES = 8
_TRIES_FOR_FILES = 5
_LONGEST_PAUSE = 30.0
_RESULTS = "AMZN_BRAKET_TASK_RESULTS_S3_URI"
_AGAIN = "Nothing is lost: run the same again later."
_QUOTA = "ServiceQuotaExceededException"
#: Errors after which it is certain that nothing was created.
_NOT_CREATED = frozenset({_QUOTA, "ThrottlingException", "TooManyRequestsException"})
_TRANSIENT = _NOT_CREATED | frozenset(
    "InternalError InternalServerException InternalServiceException RequestTimeout "
    "ServiceUnavailable SlowDown".split()
)
_MISSING = frozenset({"NoSuchKey", "404"})
_ENDED = ("COMPLETED", "FAILED", "CANCELLED")


def say_on_terminal(line: str) -> None:
    """Show where waiting stands, on one line of standard error where that is a terminal."""
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
    """The tasks of one device, as the journal knows them.

    Args:
        target: A billed device.
        journal: Where everything is written down first.
        budget: USD that the whole run may cost.
        prices: What they cost.
        poll_seconds: First pause between two looks at a task; later ones are longer.
        timeout_seconds: How long to wait for the tasks of one evaluation.
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
        say: Callable[[str], None] = say_on_terminal,
    ) -> None:
        self.target, self.journal, self.budget, self.prices = target, journal, budget, prices
        self.poll_seconds, self.timeout_seconds, self.say = poll_seconds, timeout_seconds, say
        self._session = target.device.aws_session
        self._s3 = self._session.s3_client
        self._stop = threading.Event()
        #: Tasks at an end, some of which may lack their result.
        self._looked: set[tuple[int, int, int]] = set()
        #: ARN and hash of the run's tasks by token, as the service told; None: it was not asked.
        self._told: dict[str, tuple[str, str]] | None = {} if journal.fresh else None
        self._mutex = threading.Lock()
        self._said = False

    @cached_property
    def destination(self) -> tuple[str, str]:
        """Where results go: a bucket and a folder in it.

        Raises:
            ValueError: There is no bucket, and none can be made.
        """
        if _RESULTS in os.environ:  # in a hybrid job
            bucket, _, prefix = os.environ[_RESULTS].removeprefix("s3://").partition("/")
            return bucket, prefix
        try:
            return self._patiently(self._session.default_bucket), "tasks"
        except (_Refused, ValueError) as error:
            hint = "Name one (bucket), or give AwsSession(default_bucket=...)."
            text = must_be("bucket", "one that results can be written to", _text(error), hint)
            raise ValueError(text) from error

    def settle(self, tasks: Sequence[Task], *, create: bool = True) -> list[Task]:
        """Bring tasks to an end, creating those that do not exist yet.

        Args:
            tasks: Rows of the journal, in any state.
            create: Whether to create; those that do not exist stay as they are without.

        Returns:
            The same rows, each ``done``, ``failed``, or ``created`` with a reason why its result
            cannot be had.

        Raises:
            BudgetError: The budget does not hold the next one.
            TaskFailed: The service refused one, and will refuse it again.
            TasksPending: Some are not at an end in time; all are recorded.
            KeyboardInterrupt: After Ctrl-C; all are recorded.
        """
        self._stop.clear()
        self._looked.clear()
        rows = {_key(task): task for task in tasks}
        with self._telling():
            rows |= self._found([task for task in tasks if _uncreated(task)])
            missing = [task for task in rows.values() if create and _uncreated(task)]
            for task in self._each(self._create, missing):
                rows[_key(task)] = task
            self._wait(rows)
        return list(rows.values())

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Say that it is over, where anything was said inside."""
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

    def _each(self, call: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
        """Call for each item, some at once; after an error nothing new is begun."""
        if not items:
            return []
        with ThreadPoolExecutor(min(_PARALLEL, len(items))) as pool:
            futures = [pool.submit(call, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)  # what is under way is written down first
                raise

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
            page = self._search(page["nextToken"])
            for answer in page["quantumTasks"]:
                tags = answer.get("tags") or {}
                if tags.get(RUN_TAG) == self.journal.run_id and TOKEN_TAG in tags:
                    found[tags[TOKEN_TAG]] = answer["quantumTaskArn"], tags.get(CONTENT_TAG, "")
            seen += len(page["quantumTasks"])
            if page.get("nextToken"):
                self._tell(f"{self.target.name}: looking for this run among {seen:,} tasks so far")
        return found

    def _search(self, token: str) -> dict[str, Any]:
        """Return a page of the device's tasks."""
        filters = [{"name": "deviceArn", "operator": "EQUAL", "values": [self.target.arn]}]
        options: dict[str, Any] = {"nextToken": token} if token else {}
        client = self._session.braket_client
        return self._patiently(
            lambda: dict(client.search_quantum_tasks(filters=filters, maxResults=100, **options))
        )

    def _create(self, task: Task) -> Task:
        """Create a task; it is written down before and after."""
        may_exist = task.state == "sent"
        task = self.journal.send(task, self.budget)
        tags = {TOKEN_TAG: task.token, RUN_TAG: self.journal.run_id, CONTENT_TAG: _content(task)}
        request = json.loads(task.request)

        def create() -> str:
            arn: str = self._session.create_quantum_task(
                **request, clientToken=task.token, tags=tags
            )
            return arn

        def note(error: Exception) -> None:
            nonlocal may_exist
            may_exist = may_exist or _code(error) not in _NOT_CREATED
            if _code(error) == _QUOTA:
                self._tell(f"{self.target.name}: the account's quota of tasks is full; waiting")

        try:
            arn = self._patiently(create, note=note, patience={_QUOTA: self.timeout_seconds})
        except _Refused as error:
            if not may_exist and not error.retried:
                self.journal.unsend(task)
            expected = f"accepted by {self.target.name}"
            raise TaskFailed(must_be(f"task {task.name}", expected, error.text)) from error
        return self.journal.created(task, arn)

    def _wait(self, rows: dict[tuple[int, int, int], Task]) -> None:
        """Look at the tasks again and again until all are at an end."""
        deadline = time.monotonic() + self.timeout_seconds
        pause = self.poll_seconds
        while waiting := self._still_open(rows):
            self._tell(line := self._line(len(rows), waiting))
            left = deadline - time.monotonic()
            if left <= 0:
                actual = f"{len(waiting)} unfinished after {self.timeout_seconds:g} s ({line})"
                raise TasksPending(must_be("tasks", "at an end", actual, _AGAIN))
            time.sleep(min(pause, left))
            pause = min(1.5 * pause, max(_LONGEST_PAUSE, self.poll_seconds))

    def _still_open(
        self, rows: dict[tuple[int, int, int], Task]
    ) -> list[tuple[Task, dict[str, Any]]]:
        """Look once at the tasks, fetch what is there, and return those that are not at an end."""
        created = [t for t in rows.values() if t.state == "created" and _key(t) not in self._looked]
        pairs = list(zip(created, self._each(self._look, created), strict=True))
        ended = [pair for pair in pairs if pair[1]["status"] in _ENDED]
        # A QPU's program set has many files, which are read at once; other tasks have one.
        groups = [[pair] for pair in ended] if self.target.kind == "qpu" else [ended]
        for group in groups:
            for task in self._each(lambda pair: self._end(*pair), group):
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
        return self._patiently(look, also=frozenset({"ResourceNotFoundException"}))

    def _end(self, task: Task, answer: dict[str, Any]) -> Task:
        """Fetch the result of a task that is at an end, or write down why there is none."""
        status = answer["status"]
        if status != "COMPLETED":
            reason = " ".join(f"{status}: {answer.get('failureReason', 'no reason given')}".split())
            self._tell(f"task {task.name} {reason}")
            return self.journal.failed(task, reason)
        bucket, folder = answer["outputS3Bucket"], answer["outputS3Directory"]
        try:
            files = gather(lambda names: self._read(bucket, folder, names))
        except FileNotFoundError as error:
            return self.journal.missing(task, f"{folder}/{error} is missing in the bucket {bucket}")
        except (ValueError, LookupError, TypeError) as error:
            reason = f"{folder}/{ROOT} in the bucket {bucket} cannot be read ({_text(error)})"
            return self.journal.missing(task, reason)
        if self.target.kind != "simulator":
            return self.journal.done(task, files)
        usd = cost_of(self.target, 1, 0, prices=self.prices, seconds=seconds_of(files))
        return self.journal.done(task, files, usd)

    def _read(self, bucket: str, folder: str, names: Sequence[str]) -> dict[str, str]:
        """Return the texts of a task's files; one that is late may come yet."""

        def read(name: str) -> str | None:
            def get() -> str:
                body = self._s3.get_object(Bucket=bucket, Key=f"{folder}/{name}")["Body"]
                text: str = body.read().decode()
                return text

            try:
                return self._patiently(get, tries=_TRIES_FOR_FILES, also=_MISSING)
            except FileNotFoundError:
                return None

        texts = zip(names, self._each(read, names), strict=True)
        return {name: text for name, text in texts if text is not None}

    def _line(self, total: int, waiting: Sequence[tuple[Task, dict[str, Any]]]) -> str:
        task, answer = waiting[0]
        position = place_in_queue(answer)
        queue = "" if position is None else f", position {position} in the queue"
        spent = f"{show_usd(self.journal.spent())} of {show_usd(self.budget)} USD"
        done = f"{total - len(waiting)} of {total} tasks done"
        return f"{self.target.name}: {done}; task {task.name} {answer['status']}{queue}; {spent}"

    def cancel(self, tasks: Sequence[Task]) -> list[str]:
        """Cancel tasks that exist, or may; the service may still charge for what ran.

        Args:
            tasks: Rows of the journal.

        Returns:
            The ARNs of those that it asked the service to cancel.
        """
        rows = {_key(task): task for task in tasks}
        with self._telling():
            rows |= self._found([task for task in tasks if task.state == "sent"])
        arns = [task.arn for task in rows.values() if task.state == "created" and task.arn]
        self._each(self._cancel, arns)
        return arns

    def _cancel(self, arn: str) -> None:
        try:
            self._patiently(lambda: self._session.cancel_quantum_task(arn))
        except _Refused as error:
            if error.code != "ConflictException":  # it is at an end already
                raise

    def _patiently(
        self,
        call: Callable[[], Answer],
        *,
        note: Callable[[Exception], None] = lambda error: None,
        tries: int = _TRIES,
        also: frozenset[str] = frozenset(),
        patience: Mapping[str, float] = MappingProxyType({}),
    ) -> Answer:
        """Call, and call again after what may pass, with longer and longer pauses.

        Args:
            call: A request that may be repeated without cost.
            note: Called with each error that may pass.
            tries: How often to call.
            also: Further codes of errors that may pass; files that stay away raise
                FileNotFoundError.
            patience: Codes of errors that are waited for beyond all tries, so many seconds.
        """
        pause, began = self.poll_seconds, time.monotonic()
        while True:
            try:
                return call()
            except Exception as error:
                code = _code(error)
                if not (code in also or _may_pass(error)):
                    raise _refusal(error) from error
                note(error)
                tries -= 1
                left = tries > 0 or time.monotonic() - began < patience.get(code, 0.0)
                if not left and code in _MISSING:
                    raise FileNotFoundError(code) from error
                if not left or self._stop.wait(pause):
                    text = must_be("Amazon Braket", "reachable", _text(error), _AGAIN)
                    raise TasksPending(text) from error
                pause = min(2 * pause, max(_LONGEST_PAUSE, self.poll_seconds))


class _Refused(TasksPending):
    """The service said no, and would say it again until the user mends something."""

    def __init__(self, error: Any) -> None:
        super().__init__(must_be("request", "accepted by Amazon Braket", _text(error), _AGAIN))
        metadata = _answer(error).get("ResponseMetadata", {})
        #: Whether boto3 had repeated the request: then an earlier one may have been carried out.
        self.retried = metadata.get("RetryAttempts", 0) > 0
        self.text, self.code = _text(error), _code(error)


def _refusal(error: Exception) -> Exception:
    from botocore.exceptions import BotoCoreError, ClientError

    return _Refused(error) if isinstance(error, BotoCoreError | ClientError) else error


def _may_pass(error: Exception) -> bool:
    """Whether the same request may be answered next time."""
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

    if isinstance(error, ClientError):
        status = _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return _code(error) in _TRANSIENT or status >= 500 or status == 429
    return isinstance(error, ConnectionError | HTTPClientError)


def _answer(error: Exception) -> dict[str, Any]:
    """What the service said; errors of the connection have no answer."""
    return getattr(error, "response", None) or {}


def _code(error: Exception) -> str:
    code: str = _answer(error).get("Error", {}).get("Code", "")
    return code


def _text(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _key(task: Task) -> tuple[int, int, int]:
    return task.position, task.part, task.attempt


def _content(task: Task) -> str:
    """SHA-256 of what is asked for, wherever the result goes."""
    request = json.loads(task.request)
    asked = [request["deviceArn"], request["shots"], request["action"]]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _uncreated(task: Task) -> bool:
    return task.state in ("planned", "sent")
