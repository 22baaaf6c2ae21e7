"""One evaluation as the journal and the service see it: executables, parts, requests.

programs × rows of angles ──► executables 0 … n−1 ──► parts ──► one task each
                                                   split by the device's own limits
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from itertools import groupby
from typing import Any, final

import numpy as np
import torch

from ...errors import JournalError, TaskFailed, TasksPending, count, must_be
from ...measurements._counts import Counts, Program
from ..cost._estimate import task_seconds
from ..cost._money import show_usd, split
from ..device._target import Target
from ._journal import Journal
from ._programs import Bound, bind, canonical_hash
from ._records import Evaluation, Task, check_budget, check_same
from ._results import read_counts
from ._tasks import TaskService
from ._terms import Terms


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
        """The programs written for the device, all on the same physical qubits."""
        options: dict[str, Any] = {"native": self.native, "placement": self.placement}
        first = bind(self.programs[0], self.target, shots=self.shots, **options)
        if first.plan.family is not None and self.target.labels is not None:
            options["placement"] = first.labels
        others = [bind(p, self.target, shots=self.shots, **options) for p in self.programs[1:]]
        return [first, *others]

    @property
    def evaluation(self) -> Evaluation:
        """The batch's journal entry: its position, circuits (as a hash), shots and angles."""
        options: dict[str, Any] = {"native": self.native, "placement": self.placement}
        circuits = [[canonical_hash(p.circuit, **options), len(p.angles)] for p in self.programs]
        digest = hashlib.sha256(json.dumps(circuits).encode()).hexdigest()
        angles = np.concatenate([p.angles.double().numpy().reshape(-1) for p in self.programs])
        return Evaluation(self.position, digest, self.shots, angles)

    def recall(self, recorded: Evaluation) -> None:
        """Replace this batch's angles by the angles that the journal recorded and that were sent.

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
        """Return the numbers of the executables in each task, by the device's limits."""
        return split(len(self.members), self.shots, self.target.program_sets)

    def request(
        self, members: Sequence[int], bucket: str, prefix: str, terms: Terms | None = None
    ) -> str:
        """Return the request that creates a task for some executables, as JSON.

        Args:
            members: The executables' numbers.
            bucket: Where the result goes.
            prefix: The folder there in which it gets a folder of its own.
            terms: A reservation and the user's tags.
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
            **({} if terms is None else terms.request()),
        }
        return json.dumps(request, sort_keys=True)

    @cached_property
    def _sources(self) -> list[str]:
        from braket.circuits.serialization import IRType

        return [_ordered(bound.circuit.to_ir(IRType.OPENQASM).source) for bound in self.bounds]

    def _texts(self, members: Sequence[int]) -> Iterator[Any]:
        """Yield each circuit's OpenQASM program and its inputs, a list of values for each name."""
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
        """Return the executables' counts by program and row.

        Raises:
            JournalError: They are counts of other circuits, from a damaged journal.
        """
        found = [one.rows.shape[1] for one in counts]
        expected = [self.programs[program].circuit.n_qubits for program, _ in self.members]
        if found != expected:
            name = f"evaluation {self.position}"
            text, wanted = _described(found), f"{_described(expected)} in the journal"
            raise JournalError(must_be(name, wanted, text))
        remaining = iter(counts)
        return [[next(remaining) for _ in program.angles] for program in self.programs]


def _described(sizes: Sequence[int]) -> str:
    kinds = " or ".join(count(size, "qubit") for size in sorted(set(sizes)))
    return f"counts of {count(len(sizes), 'circuit')}" + (f" of {kinds}" if kinds else "")


def _ordered(source: str) -> str:
    """Return an OpenQASM text with its input declarations sorted by name.

    Braket's own order changes from process to process, and the service takes a client token a
    second time only with the same bytes.
    """
    lines = source.splitlines()
    first = next((k for k, line in enumerate(lines) if line.startswith("input ")), 0)
    inputs = sorted(line for line in lines if line.startswith("input "))
    others = [line for line in lines if not line.startswith("input ")]
    return "\n".join([*others[:first], *inputs, *others[first:]])


def counted(
    tasks: Sequence[Task],
) -> tuple[dict[int, Counts], list[tuple[Task, dict[int, str]]], list[Task]]:
    """Return an evaluation's counts, the tasks that failed to give some, and the unfinished tasks.

    Args:
        tasks: All its tasks, with their results, by part and attempt.

    Returns:
        The counts by executable; the last attempts that leave some without counts for good, and
        why; and the tasks whose end or result is not here.
    """
    counts: dict[int, Counts] = {}
    last: dict[int, Task] = {}
    for task in tasks:
        last[task.part] = task  # an earlier attempt, of which this one is the rest, is at an end
        files = task.result or {}
        found = read_counts(files, len(task.members), task.labels)
        pairs = zip(task.members, found, strict=True)
        counts |= {member: one for member, one in pairs if isinstance(one, Counts)}
    failed, waiting = [], []
    for task in last.values():
        without = [member for member in task.members if member not in counts]
        if task.state not in ("done", "failed"):
            waiting.append(task)
        elif without:
            word = task.reason or "no reason given"
            failed.append((task, {member: task.failures.get(member, word) for member in without}))
    return counts, failed, waiting


@final
class Execution:
    """Executes batches on a billed device: each circuit is paid for once, whatever happens.

    Args:
        journal: The run's journal.
        service: The device's tasks.
        resend_failed: Whether the user lets be paid again what the service had ended without
            counts when the journal was opened.
    """

    def __init__(self, journal: Journal, service: TaskService, resend_failed: bool) -> None:
        self.journal, self.service = journal, service
        self._ended = journal.ended() if resend_failed else frozenset()

    def run(self, batch: Batch) -> list[list[Counts]]:
        """Return the counts of a batch: read from the journal, or executed and paid for now.

        Args:
            batch: The circuits.

        Returns:
            The counts by program and row.

        Raises:
            JournalError: The journal holds another batch at this position.
            BudgetError: The budget does not hold what is left to do.
            TaskFailed: Some circuits have no counts, and the user did not let them be paid again.
            TasksPending: Some tasks are not at an end in time, or their results are not here.
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
            priced = [self._at_todays_price(batch, task) for task in last]
            self._check_budget(
                priced, any(a.usd > b.usd for a, b in zip(priced, last, strict=True))
            )
            last = priced
            tasks |= {(task.part, task.attempt): task for task in self.service.settle(last)}
            counts, failed, waiting = counted(list(tasks.values()))
            if waiting:
                raise TasksPending(unread(waiting))
            if not failed:
                return batch.regroup([counts[member] for member in sorted(counts)])
            self.journal.plan(None, self._again(batch, failed))

    def _check_budget(self, tasks: Sequence[Task], dearer: bool = False) -> None:
        """Raise unless the budget covers all tasks of a batch: half a gradient is worth nothing."""
        cost = sum((task.usd for task in tasks if task.state == "planned"), Decimal(0))
        if cost or dearer:
            check_budget(self.journal.spending().spent, cost, self.service.budget)

    def _at_todays_price(self, batch: Batch, task: Task) -> Task:
        if task.state not in ("planned", "sent"):
            return task
        # Never less than was written down: a task that was sent, or that a copy of the journal does
        # not know to have been sent, may have been created at the price of before.
        usd = max(self._cost(batch, task.members), task.usd)
        return task if usd == task.usd else self.journal.reprice(task, usd)

    def _again(self, batch: Batch, failed: Sequence[tuple[Task, dict[int, str]]]) -> list[Task]:
        """Return a further attempt at each failed task, if the user allows paying for it again."""
        for task, why in failed:
            if (task.position, task.part, task.attempt) not in self._ended:
                usd = sum((self._cost(batch, list(one)) for _, one in failed), Decimal(0))
                hint = f"resend_failed=True sends and pays them again: {show_usd(usd)} USD."
                raise TaskFailed(no_counts(task, why, hint))
        tasks = [self._task(batch, t.part, t.attempt + 1, sorted(why)) for t, why in failed]
        self._check_budget(tasks)
        return tasks

    def _cost(self, batch: Batch, members: Sequence[int]) -> Decimal:
        """Return a task's cost in USD; on a simulator, at least that of the run's dearest task."""
        circuits = {batch.programs[batch.members[member][0]].circuit for member in members}
        seconds = max(task_seconds(one, batch.target, batch.shots)[1] for one in circuits)
        usd = self.service.cost(1, batch.shots * len(members), seconds)
        return max(usd, self.service.dearest) if batch.target.kind == "simulator" else usd

    def _task(self, batch: Batch, part: int, attempt: int, members: Sequence[int]) -> Task:
        request = batch.request(members, *self.service.destination, self.service.terms)
        labels, usd = batch.bounds[0].labels, self._cost(batch, members)
        return Task(batch.position, part, attempt, tuple(members), labels, usd, request)


def no_counts(task: Task, why: Mapping[int, str], hint: str = "") -> str:
    """Return the line that says which circuits of a task have no counts, and why.

    Args:
        task: The task.
        why: The reasons by executable; at least one.
        hint: What to do.
    """
    reason = next(iter(why.values()))
    actual = f"{len(why)} of {count(len(task.members), 'circuit')} without ({reason})"
    return must_be(f"task {task.name}", "with counts", actual, hint)


def unread(tasks: Sequence[Task]) -> str:
    """Return the line that names the tasks whose results are not here yet; waiting costs nothing.

    Args:
        tasks: The tasks; at least one.
    """
    one, *others = tasks
    more = f", and {len(others)} more" if others else ""
    actual = f"{one.reason or one.state}{more}"
    hint = "It is paid for and read again each time that the run goes on, which costs nothing."
    return must_be(f"task {one.name}", "at an end, with its whole result", actual, hint)
