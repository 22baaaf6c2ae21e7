"""What can be done with a run's tasks without the run: look, fetch, cancel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ...errors import JournalError, must_be
from ..cost._money import current_prices
from ..device._devices import asking, open_session
from ..device._target import Target
from ._journal import Journal, read_journal
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
        JournalError: The journal is missing or in use.
        TasksPending: Some are not at an end in time; what came is in the journal.
    """
    journal = Journal(path)
    try:
        service = _service(journal, session, poll_seconds, timeout_seconds, say)
        return service.settle(journal.open_tasks(), create=False)
    finally:
        journal.close()


def cancel(path: str | Path, *, session: Any = None) -> list[str]:
    """Ask the service to cancel all of a run's tasks that are not at an end.

    Args:
        path: The journal.
        session: A Braket ``AwsSession``; one from the environment by default.

    Returns:
        Their ARNs.

    Raises:
        JournalError: The journal is missing or in use.
    """
    journal = Journal(path)
    try:
        service = _service(journal, session, 1.0, 0.0, say_on_terminal)
        return service.cancel(journal.open_tasks())
    finally:
        journal.close()


def look(path: str | Path, session: Any) -> list[dict[str, Any]]:
    """Ask the service where the tasks of a run stand that are not at an end.

    Args:
        path: The journal; it may be in use.
        session: A Braket ``AwsSession`` in the device's region.

    Returns:
        For each task its name, ``arn``, ``status``, ``queue_position`` and ``reason``.

    Raises:
        QtnTrainError: Amazon Braket cannot be reached, or refuses to answer.
    """
    found = []
    for task in read_journal(path)[1]:
        if task.state == "created" and task.arn is not None:
            with asking(task.arn):
                answer = session.braket_client.get_quantum_task(
                    quantumTaskArn=task.arn, additionalAttributeNames=["QueueInfo"]
                )
            told = {"task": task.name, "arn": task.arn, "status": answer["status"]}
            place = {"queue_position": place_in_queue(answer)}
            found.append(told | place | {"reason": answer.get("failureReason")})
    return found


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
    """Return as much of a device as its tasks need, whether it is online or not."""
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
        kind="simulator" if "quantum-simulator" in device else "qpu",
    )
