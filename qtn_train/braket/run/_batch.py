"""One evaluation as the journal and the service see it: executables, parts, requests.

programs × rows of angles ──► executables 0 … n−1 ──► parts ──► one task each
                                                   split by the device's own limits
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import cached_property
from itertools import groupby
from typing import Any, final

import numpy as np
import torch

from ...errors import TaskFailed, must_be
from ...measurements._counts import Counts, Program
from ..cost._estimate import task_seconds
from ..cost._money import Prices, cost_of, split
from ..device._target import Target
from ._journal import Journal
from ._programs import Bound, bind, canonical_hash
from ._records import Evaluation, Task, check_budget, check_same, show_usd
from ._results import Failure, read_counts
from ._tasks import TaskService


@final
class Batch:
    """All circuits of one evaluation, for one device.

    Args:
        programs: What to execute.
        position: Number of the evaluation.
        target: The device.
        shots: Shots of each execution.
        native: As for :func:`bind`.
        placement: As for :func:`bind`.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        position: int,
        target: Target,
        shots: int,
        *,
        native: bool = False,
        placement: tuple[int, ...] | None = None,
    ) -> None:
        self.programs, self.position = list(programs), position
        self.target, self.shots = target, shots
        self.native, self.placement = native, placement
        #: Of each executable, its program and its row.
        self.members = [(p, r) for p, one in enumerate(programs) for r in range(len(one.angles))]

    @cached_property
    def bounds(self) -> list[Bound]:
        """The programs as the device takes them, all on the same physical qubits."""
        options: dict[str, Any] = {"native": self.native, "placement": self.placement}
        first = bind(self.programs[0], self.target, shots=self.shots, **options)
        if first.plan.family is not None and self.target.labels is not None:
            options["placement"] = first.labels
        others = [bind(p, self.target, shots=self.shots, **options) for p in self.programs[1:]]
        return [first, *others]

    @property
    def evaluation(self) -> Evaluation:
        """What identifies this batch in the journal."""
        options: dict[str, Any] = {"native": self.native, "placement": self.placement}
        circuits = [[canonical_hash(p.circuit, **options), len(p.angles)] for p in self.programs]
        digest = hashlib.sha256(json.dumps(circuits).encode()).hexdigest()
        angles = np.concatenate([p.angles.double().numpy().reshape(-1) for p in self.programs])
        return Evaluation(self.position, digest, self.shots, angles)

    def recall(self, recorded: Evaluation) -> None:
        """Take the recorded angles for this batch's own: they are what was sent.

        Raises:
            JournalError: They are not the same up to rounding.
        """
        check_same(recorded, self.evaluation)
        sizes = [program.angles.numel() for program in self.programs]
        angles = torch.from_numpy(recorded.angles).split(sizes)
        self.programs = [
            Program(p.circuit, own.reshape(p.angles.shape))
            for p, own in zip(self.programs, angles, strict=True)
        ]

    def parts(self) -> list[range]:
        """Return which executables go into one task, by the device's limits."""
        return split(len(self.members), self.shots, self.target.program_sets)

    def request(self, members: Sequence[int], bucket: str, prefix: str) -> str:
        """Return what is sent to the service for some executables, as JSON.

        Args:
            members: The executables' numbers.
            bucket: Where the result goes.
            prefix: The folder there in which it gets a folder of its own.
        """
        from braket.ir.openqasm import ProgramSet

        programs = list(self._texts(members))
        action = programs[0] if len(members) == 1 else ProgramSet(programs=programs)
        request = {
            "deviceArn": self.target.arn,
            "shots": self.shots * len(members),
            "outputS3Bucket": bucket,
            "outputS3KeyPrefix": prefix,
            "action": action.json(),
        }
        return json.dumps(request, sort_keys=True)

    @cached_property
    def _sources(self) -> list[str]:
        from braket.circuits.serialization import IRType

        return [_ordered(bound.circuit.to_ir(IRType.OPENQASM).source) for bound in self.bounds]

    def _texts(self, members: Sequence[int]) -> Iterator[Any]:
        """Yield OpenQASM programs; one that holds several executables has a list of each input."""
        from braket.ir.openqasm import Program as OpenQASM

        for number, group in groupby(members, key=lambda member: self.members[member][0]):
            bound, rows = self.bounds[number], [self.members[member][1] for member in group]
            source = self._sources[number]
            if len(members) == 1:
                yield OpenQASM(source=source, inputs=bound.input_set(rows[0]))
            elif bound.names:
                inputs = dict(zip(bound.names, bound.inputs[rows].T.tolist(), strict=True))
                yield OpenQASM(source=source, inputs=inputs)
            else:
                yield from [OpenQASM(source=source, inputs={})] * len(rows)

    def regroup(self, counts: Sequence[Counts]) -> list[list[Counts]]:
        """Return the executables' counts by program and row."""
        remaining = iter(counts)
        return [[next(remaining) for _ in program.angles] for program in self.programs]


def _ordered(source: str) -> str:
    """Return OpenQASM whose inputs are declared in order.

    Braket's own order changes from process to process, and the service takes a client token a
    second time only with the same bytes.
    """
    lines = source.splitlines()
    first = next((k for k, line in enumerate(lines) if line.startswith("input ")), 0)
    inputs = sorted(line for line in lines if line.startswith("input "))
    others = [line for line in lines if not line.startswith("input ")]
    return "\n".join([*others[:first], *inputs, *others[first:]])


def _read(
    members: Sequence[int], files: dict[str, str], labels: Sequence[int]
) -> dict[int, Counts | Failure]:
    """Return counts by executable; a result that is not what it should be is a failure."""
    try:
        return dict(zip(members, read_counts(files, labels), strict=True))
    except (ValueError, LookupError, TypeError) as error:
        reason = f"its result cannot be read: {type(error).__name__} {error}"
        return dict.fromkeys(members, reason)


@final
class Execution:
    """Executes batches on a billed device: each circuit is paid for once, whatever happens.

    Args:
        journal: The run's journal.
        service: The device's tasks.
        prices: What they cost.
        resend_failed: Whether the user lets parts be sent again that had failed for good when the
            journal was opened.
    """

    def __init__(
        self, journal: Journal, service: TaskService, prices: Prices, resend_failed: bool
    ) -> None:
        self.journal, self.service, self.prices = journal, service, prices
        self._ended = journal.ended() if resend_failed else frozenset()

    def run(self, batch: Batch) -> list[list[Counts]]:
        """Execute a batch, or read from the journal what it gave.

        Args:
            batch: The circuits.

        Returns:
            The counts by program and row.

        Raises:
            JournalError: The journal holds another batch at this position.
            BudgetError: The budget does not hold what is left to do.
            TaskFailed: Some circuits have no counts, and the user did not let them be sent again.
            TasksPending: Some tasks are not at an end in time.
        """
        recorded = self.journal.evaluation(batch.position)
        if recorded is None:
            self.journal.check_follows(batch.position)
            planned = [self._task(batch, part, 0, run) for part, run in enumerate(batch.parts())]
            self._check_budget(planned)
            self.journal.plan(batch.evaluation, planned)
        else:
            batch.recall(recorded)
        while True:
            tasks = {(task.part, task.attempt): task for task in self.journal.tasks(batch.position)}
            last = list({task.part: task for task in tasks.values()}.values())
            self._check_budget(last)
            tasks |= {(task.part, task.attempt): task for task in self.service.settle(last)}
            counts, failed = self._collect(list(tasks.values()))
            if not failed:
                return batch.regroup([counts[member] for member in range(len(batch.members))])
            self.journal.plan(None, self._again(batch, failed))

    def _check_budget(self, tasks: Sequence[Task]) -> None:
        """Refuse a batch that the budget holds in part only: half a gradient is worth nothing."""
        cost = sum((task.usd for task in tasks if task.state == "planned"), Decimal(0))
        if cost:
            check_budget(self.journal.spent(), cost, self.service.budget)

    @staticmethod
    def _collect(
        tasks: Sequence[Task],
    ) -> tuple[dict[int, Counts], list[tuple[Task, dict[int, Failure]]]]:
        """Return the counts by executable; and the last attempts that leave some without."""
        counts: dict[int, Counts] = {}
        failed: dict[int, tuple[Task, dict[int, Failure]]] = {}
        for task in tasks:
            found: dict[int, Counts | Failure] = dict.fromkeys(task.members, task.reason or "")
            if task.result is not None:
                found = _read(task.members, task.result, task.labels)
            why = {k: v for k, v in found.items() if isinstance(v, Failure)}
            counts |= {k: v for k, v in found.items() if not isinstance(v, Failure)}
            failed.pop(task.part, None)  # an earlier attempt, of which this one is the rest
            if why:
                failed[task.part] = (task, why)
        return counts, list(failed.values())

    def _again(self, batch: Batch, failed: Sequence[tuple[Task, dict[int, Failure]]]) -> list[Task]:
        """Return a further attempt at each failed part, where the user lets it be sent."""
        for task, why in failed:
            if (task.position, task.part, task.attempt) not in self._ended:
                usd = sum((self._cost(batch, list(one)) for _, one in failed), Decimal(0))
                reason = next(iter(why.values()))
                actual = f"{len(why)} of {len(task.members)} circuits without ({reason})"
                hint = (
                    f"Only resuming (resend_failed=True) sends them again, for {show_usd(usd)} USD."
                )
                raise TaskFailed(must_be(f"task {task.name}", "with counts", actual, hint))
        tasks = [self._task(batch, t.part, t.attempt + 1, sorted(why)) for t, why in failed]
        self._check_budget(tasks)
        return tasks

    def _cost(self, batch: Batch, members: Sequence[int]) -> Decimal:
        """What a task costs; on a simulator, what it costs at most by the estimate."""
        circuits = {batch.programs[batch.members[member][0]].circuit for member in members}
        seconds = max(task_seconds(one, batch.target, batch.shots)[1] for one in circuits)
        shots = batch.shots * len(members)
        return cost_of(batch.target, 1, shots, prices=self.prices, seconds=seconds)

    def _task(self, batch: Batch, part: int, attempt: int, members: Sequence[int]) -> Task:
        request = batch.request(members, *self.service.destination)
        labels, usd = batch.bounds[0].labels, self._cost(batch, members)
        return Task(batch.position, part, attempt, tuple(members), labels, usd, request)
