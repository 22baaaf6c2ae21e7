"""Programs, tasks, results, and the journal of what was asked, paid for and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazily

if TYPE_CHECKING:
    from ._batch import Batch, Execution, counted, no_counts
    from ._job import HybridJob, current_job
    from ._journal import Journal
    from ._local import RESULT, draws_here, execute, recorded_here, to_json
    from ._manage import cancel, collect, executes_now, look
    from ._programs import bind
    from ._reading import read_allowed, read_journal
    from ._records import PAYER, Task
    from ._standing import bill, price_again, standing, without_counts
    from ._tasks import TaskService, say_on_terminal
    from ._terms import Terms

__all__ = [
    "PAYER",
    "RESULT",
    "Batch",
    "Execution",
    "HybridJob",
    "Journal",
    "Task",
    "TaskService",
    "Terms",
    "bill",
    "bind",
    "cancel",
    "collect",
    "counted",
    "current_job",
    "draws_here",
    "execute",
    "executes_now",
    "look",
    "no_counts",
    "price_again",
    "read_allowed",
    "read_journal",
    "recorded_here",
    "say_on_terminal",
    "standing",
    "to_json",
    "without_counts",
]

__getattr__ = lazily(
    __name__,
    {
        "Batch": "_batch",
        "Execution": "_batch",
        "HybridJob": "_job",
        "Journal": "_journal",
        "PAYER": "_records",
        "RESULT": "_local",
        "Task": "_records",
        "TaskService": "_tasks",
        "Terms": "_terms",
        "bill": "_standing",
        "bind": "_programs",
        "cancel": "_manage",
        "collect": "_manage",
        "counted": "_batch",
        "current_job": "_job",
        "draws_here": "_local",
        "execute": "_local",
        "executes_now": "_manage",
        "look": "_manage",
        "no_counts": "_batch",
        "price_again": "_standing",
        "read_allowed": "_reading",
        "read_journal": "_reading",
        "recorded_here": "_local",
        "say_on_terminal": "_tasks",
        "standing": "_standing",
        "to_json": "_local",
        "without_counts": "_standing",
    },
)
