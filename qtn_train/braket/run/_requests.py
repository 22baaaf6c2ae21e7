"""Requests to the service: some at once, repeated where that is free, whole where Ctrl-C comes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar, final

from ...errors import TasksPending, must_be, text_of

Item = TypeVar("Item")
Answer = TypeVar("Answer")
_Handler = Callable[[int, Any], Any]

#: Requests under way at once: as many as a boto3 client keeps connections.
PARALLEL = 10
_TRIES = 8
LONGEST_PAUSE = 30.0
AGAIN = "Nothing is lost: run the same again later."
QUOTA = "ServiceQuotaExceededException"
#: Errors after which it is certain that nothing was created.
NOT_CREATED = frozenset({QUOTA, "ThrottlingException", "TooManyRequestsException"})
_TRANSIENT = NOT_CREATED | frozenset(
    "InternalError InternalServerException InternalServiceException RequestTimeout "
    "ServiceUnavailable SlowDown".split()
)


@final
class Requests:
    """Sender of requests to the service, which repeats those that may be answered next time.

    Args:
        poll_seconds: First pause; later ones are longer.
        stop: Ends all waiting once it is set.
    """

    def __init__(self, poll_seconds: float, stop: threading.Event) -> None:
        self.poll_seconds, self.stop = poll_seconds, stop

    def patiently(
        self,
        call: Callable[[], Answer],
        *,
        note: Callable[[Exception], None] = lambda error: None,
        tries: int = _TRIES,
        also: frozenset[str] = frozenset(),
        patience: Mapping[str, float] = MappingProxyType({}),
    ) -> Answer:
        """Send a request, and repeat it after passing errors, with longer and longer pauses.

        Args:
            call: A request that may be repeated without cost.
            note: Called with each error that may pass.
            tries: How often to call.
            also: Further codes of errors that may pass.
            patience: Codes of errors that are waited for beyond all tries, so many seconds.
        """
        pause, began = self.poll_seconds, time.monotonic()
        while True:
            try:
                return call()
            except Exception as error:
                code = code_of(error)
                if not (code in also or _may_pass(error)):
                    raise _refusal(error) from error
                note(error)
                tries -= 1
                left = tries > 0 or time.monotonic() - began < patience.get(code, 0.0)
                if not left or self.stop.wait(pause):
                    text = must_be("Amazon Braket", "reachable", text_of(error), AGAIN)
                    raise TasksPending(text) from error
                pause = min(2 * pause, max(LONGEST_PAUSE, self.poll_seconds))


def each(
    stop: threading.Event, call: Callable[[Item], Answer], items: Sequence[Item]
) -> list[Answer]:
    """Call a function for each item, several at a time; after an error no further call begins.

    Args:
        stop: Set after an error.
        call: What is called.
        items: With what.

    Returns:
        The answers, in the order of the items.
    """
    if not items:
        return []
    futures: list[Future[Answer]] = []
    with ThreadPoolExecutor(min(PARALLEL, len(items))) as pool:
        try:
            # Ctrl-C inside of `submit` would leave a call under way that nobody waits for.
            with _later():
                for item in items:
                    futures.append(pool.submit(call, item))
            return [future.result() for future in futures]
        except BaseException:
            with _later():
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                # What is under way is written down first. Never by joining threads: Python takes
                # a thread for ended whose joining is interrupted.
                wait_for([future for future in futures if not future.cancelled()])
            raise


@contextmanager
def _later() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block."""
    came: list[tuple[_Handler, int, Any]] = []
    try:
        with _handled(lambda *given: came.append(given)):
            yield
    finally:
        if came:
            before, number, frame = came[0]
            before(number, frame)


@contextmanager
def one_interrupt() -> Iterator[None]:
    """Let the first Ctrl-C end the block; no further one breaks off the block's last writing."""
    came: list[int] = []

    def once(before: _Handler, number: int, frame: Any) -> None:
        came.append(number)
        if len(came) == 1:
            before(number, frame)

    with _handled(once):
        yield


@contextmanager
def _handled(handle: Callable[[_Handler, int, Any], None]) -> Iterator[None]:
    """Let Ctrl-C call a function, with the handler before it, where that is one of Python's."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    signal.signal(signal.SIGINT, partial(handle, before))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Refused(TasksPending):
    """The service refused a request, and will refuse it again until the user mends the cause."""

    def __init__(self, error: Any) -> None:
        super().__init__(must_be("request", "accepted by Amazon Braket", text_of(error), AGAIN))
        metadata = _answer(error).get("ResponseMetadata", {})
        #: Whether boto3 had repeated the request: then an earlier one may have been carried out.
        self.retried = metadata.get("RetryAttempts", 0) > 0
        self.text, self.code = text_of(error), code_of(error)


def _refusal(error: Exception) -> Exception:
    from botocore.exceptions import BotoCoreError, ClientError

    return Refused(error) if isinstance(error, BotoCoreError | ClientError) else error


def _may_pass(error: Exception) -> bool:
    """Return whether a request that failed with this error may be answered next time."""
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

    if isinstance(error, ClientError):
        status = _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return code_of(error) in _TRANSIENT or status >= 500 or status == 429
    return isinstance(error, ConnectionError | HTTPClientError)


def _answer(error: Exception) -> dict[str, Any]:
    """Return the service's answer in an error; empty for errors of the connection."""
    return getattr(error, "response", None) or {}


def code_of(error: Exception) -> str:
    """Return the service's code of an error; empty where the service did not answer.

    Args:
        error: What boto3 raised.
    """
    code: str = _answer(error).get("Error", {}).get("Code", "")
    return code
