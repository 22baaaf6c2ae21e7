"""Where a run on a device stands, by its journal alone: states, reasons, and money."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from ..cost._money import Prices, cost_of
from ..device._target import Target
from ._batch import counted
from ._reading import read_allowed, read_evaluations, read_journal, read_reservation
from ._records import Spending, Task


def bill(path: str | Path) -> dict[str, Any]:
    """Return a run's tasks, shots and costs in USD so far, by its journal.

    Args:
        path: The journal; it may be in use.

    Returns:
        ``device``, ``tasks`` (all that exist or may exist), ``attempts`` (those of them that the
        user let be paid again), ``shots``, ``states`` (how many tasks stand where), and amounts
        in USD, as strings: ``charged_usd`` (tasks at an end), ``reserved_usd`` (tasks that are
        not), ``planned_usd`` (tasks that do not exist), ``spent_usd`` (the first two), and
        ``allowed_usd`` (the budget; None where nothing is paid); and ``reservation_arn``, the
        reservation whose time is another bill, or None.

    Raises:
        JournalError: There is no such file, or it is no journal.
    """
    settings, tasks = read_journal(path)
    allowed = read_allowed(path)
    sent = [task for task in tasks if task.state != "planned"]
    return {
        "device": settings["device"],
        "tasks": len(sent),
        "attempts": sum(task.attempt > 0 for task in sent),
        "shots": settings["shots"] * sum(len(task.members) for task in sent),
        "states": dict(Counter(task.state for task in tasks)),
        **Spending.of((task.state, task.usd) for task in tasks).to_json(),
        "allowed_usd": None if allowed is None else f"{allowed:f}",
        "reservation_arn": read_reservation(path),
    }


def without_counts(path: str | Path) -> list[tuple[Task, dict[int, str]]]:
    """Return a journal's ended tasks that lack counts; only the user may have them paid again.

    Args:
        path: The journal; it may be in use.

    Returns:
        The last attempts that the service has ended without all their counts, each with the
        reasons by executable.

    Raises:
        JournalError: There is no such file, or it is no journal.
    """
    tasks = read_journal(path)[1]
    positions = sorted({t.position for t in tasks if t.state == "failed" or t.failures})
    return [one for found in read_evaluations(path, positions) for one in counted(found)[1]]


def price_again(path: str | Path, target: Target, prices: Prices | None = None) -> Decimal:
    """Return the cost in USD of sending again all executables that lack counts.

    Args:
        path: The journal; it may be in use.
        target: The device. Where it bills by time, each task counts as the run's dearest.
        prices: What tasks cost; the current prices by default.

    Raises:
        JournalError: There is no such file, or it is no journal.
        ValueError: A price is not known.
    """
    settings, tasks = read_journal(path)
    dearest = max((t.usd for t in tasks if target.kind == "simulator"), default=Decimal(0))
    shots = [len(why) * settings["shots"] for _, why in without_counts(path)]
    usd = (cost_of(target, 1, one, prices=prices) for one in shots)
    return sum((max(one, dearest) for one in usd), Decimal(0))


def standing(path: str | Path) -> dict[str, Any]:
    """Return a run's tasks, shots and costs in USD as :func:`bill` does, and the failed tasks.

    Args:
        path: The journal; it may be in use.

    Returns:
        What :func:`bill` gives, ``journal``, and ``failed``: of each task with a reason its name,
        ``arn``, ``state``, ``reason``, and ``executables``: the service's reason for each.

    Raises:
        JournalError: There is no such file, or it is no journal.
    """
    failed = [
        {
            "task": task.name,
            "arn": task.arn,
            "state": task.state,
            "reason": task.reason or next(iter(task.failures.values())),
            "executables": {str(number): why for number, why in task.failures.items()},
        }
        for task in read_journal(path)[1]
        if task.reason is not None or task.failures
    ]
    return {"journal": str(path), **bill(path), "failed": failed}
