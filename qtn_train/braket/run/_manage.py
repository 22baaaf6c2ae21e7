"""What can be done with a run's tasks without the run: look, fetch, cancel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ...errors import JournalError, QtnTrainError, TasksPending, must_be
from ..cost._money import current_prices
from ..device._devices import asking, open_session, resolve
from ..device._target import Target, kind_of
from ..device._windows import availability
from ._journal import Journal
from ._opening import in_use
from ._reading import read_journal
from ._records import Task
from ._tasks import TaskService, place_in_queue, say_on_terminal


def collect(
    path: str | Path,
    *,
    session: Any = None,
    poll_seconds: float = 1.0,
    timeout_seconds: float = 0.0,
    say: Callable[[str], None] = say_on_terminal,
) -> list[Task]:
    """Fetch the results of a run's tasks into its journal; nothing is created.

    Args:
        path: The journal.
        session: A Braket ``AwsSession``; one from the environment by default.
        poll_seconds: First pause between two looks at a task.
        timeout_seconds: How long to wait for those that are not at an end.
        say: Called with a line while it waits.

    Returns:
        The tasks that were open, as they stand now; one in the state ``sent`` was never created.

    Raises:
        JournalError: The journal is missing, or cannot be written.
        TasksPending: Some are not at an end in time; what came is in the journal.
    """
    with _opened(path) as journal:
        service = _service(journal, session, poll_seconds, timeout_seconds, say)
        return service.settle(journal.open_tasks(), create=False)


def cancel(
    path: str | Path,
    *,
    session: Any = None,
    poll_seconds: float = 1.0,
    timeout_seconds: float = 60.0,
) -> list[str]:
    """Ask the service to cancel all of a run's tasks that are not at an end.

    A run that is alive creates no further ones from here on, and is waited for until it has heard
    of those that it was just creating. What a run that has ended sent a moment ago is looked for
    until the service's list of tasks, which comes later, must hold it.

    Args:
        path: The journal; it may be in use.
        session: A Braket ``AwsSession``; one from the environment by default.
        poll_seconds: Pause between two looks at what the run is creating, or has sent.
        timeout_seconds: How long to wait for it; how old a task is that the list must hold.

    Returns:
        Their ARNs.

    Raises:
        JournalError: The journal is missing, or cannot be written.
        TasksPending: Tasks that were being created may exist, and could not be found.
    """
    with _opened(path) as journal:
        journal.stop()
        service = _service(journal, session, poll_seconds, 0.0, say_on_terminal)
        deadline = time.monotonic() + timeout_seconds
        asked: list[str] = []
        while True:
            new = [task for task in journal.open_tasks() if task.arn not in asked]
            asked += service.cancel(new)
            unheard = [task for task in journal.open_tasks() if task.state == "sent"]
            if not unheard:
                return asked
            alive = in_use(journal.path)
            if alive and time.monotonic() > deadline:
                actual = f"{len(unheard)} that another process is creating"
                hint = "End that process, and cancel again."
                raise TasksPending(must_be("tasks", "known to the journal", actual, hint))
            if not (alive or service.may_search):
                actual = f"{len(unheard)} that may exist, and no right to search tasks"
                hint = "Get the right braket:SearchQuantumTasks, and cancel again."
                raise TasksPending(must_be("tasks", "known to the journal", actual, hint))
            latest = max(task.sent_at or 0.0 for task in unheard)
            if not alive and time.time() > latest + timeout_seconds:
                return asked
            time.sleep(poll_seconds)


def look(path: str | Path, session: Any) -> list[dict[str, Any]]:
    """Ask the service where the tasks of a run stand, and keep the results that are there.

    Args:
        path: The journal; it may be in use.
        session: A Braket ``AwsSession`` in the device's region.

    Returns:
        For each task that is not at an end, or whose result is not here: its name, ``arn``,
        ``status``, ``queue_position`` and ``reason``.

    Raises:
        QtnTrainError: Amazon Braket cannot be reached, or refuses to answer.
    """
    with _opened(path) as journal, asking(str(path)):
        service = _service(journal, session, 1.0, 0.0, say_on_terminal)
        pairs = service.look(journal.open_tasks())
    return [
        {
            "task": task.name,
            "arn": task.arn,
            "status": answer["status"],
            "queue_position": place_in_queue(answer),
            "reason": task.reason or answer.get("failureReason"),
        }
        for task, answer in pairs
        if task.state == "created"
    ]


def executes_now(path: str | Path, session: Any) -> str | None:
    """Return whether a run's device executes tasks now, and until or from when, for people.

    Args:
        path: The run's journal.
        session: A Braket ``AwsSession`` in the device's region.

    Returns:
        The text; None where the service does not tell, such as without the right to.
    """
    settings = read_journal(path)[0]
    try:
        target = resolve(settings["device"], session=session, anyway=True)
    except (ValueError, QtnTrainError):
        return None
    return availability(target.windows, datetime.now(UTC)) if target.windows else None


@contextmanager
def _opened(path: str | Path) -> Iterator[Journal]:
    """Open a journal whether or not a run is writing it."""
    with closing(Journal(path, alone=False)) as journal:
        yield journal


def _service(
    journal: Journal,
    session: Any,
    poll_seconds: float,
    timeout_seconds: float,
    say: Callable[[str], None],
) -> TaskService:
    return TaskService(
        _target(journal.settings, session),
        journal,
        budget=Decimal(0),
        prices=current_prices(),
        poll_seconds=poll_seconds,
        timeout_seconds=timeout_seconds,
        say=say,
    )


def _target(settings: Mapping[str, Any], session: Any) -> Target:
    """Return the device that a journal's settings name, as far as its tasks need, online or not."""
    arn = settings["device"]
    if not arn.startswith("arn:"):
        hint = "What ran on this machine has no tasks."
        raise JournalError(must_be("journal", "of a device of Amazon Braket", arn, hint))
    device, region = arn.rpartition(":")[2], settings["region"]
    session = session or open_session(region=region)
    if session.region != region:
        session = session.copy_session(region)
    return Target(
        device=SimpleNamespace(aws_session=session),
        name=device.rpartition("/")[2],
        arn=arn,
        kind=kind_of(arn),
    )
