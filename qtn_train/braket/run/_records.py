"""What a journal holds: evaluations as they were asked for, and the tasks they became."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import BudgetError, JournalError, must_be
from ..cost._money import show_usd

TaskState = Literal["planned", "sent", "created", "done", "failed"]
STATES: tuple[TaskState, ...] = get_args(TaskState)

#: What a billed run's journal holds beside the engine's settings: the AWS region and account.
PAYER = ("region", "account")

#: Angles that differ by less (radians) are the same ones, computed with other rounding: angles are
#: float32 of order 10, and one step of training on another number of threads moves their last bits.
SAME_ANGLES = 1e-5


@dataclass(frozen=True)
class Evaluation:
    """One batch of circuits as it was first asked for.

    Attributes:
        position: The engine's count of evaluations.
        circuits: Hash of the circuits and of how many angle vectors each has.
        shots: Shots of each circuit.
        angles: All angles in radians, one circuit after the other, flat.
    """

    position: int
    circuits: str
    shots: int
    angles: NDArray[np.float64]

    @property
    def content(self) -> str:
        """SHA-256 over circuits, inputs and shots."""
        digest = hashlib.sha256(f"{self.circuits}/{self.shots}/".encode())
        digest.update(self.angles.astype("<f8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Task:
    """One task of the service, created or still planned.

    Attributes:
        position: The evaluation that it belongs to.
        part: Its number among the parts of that evaluation.
        attempt: 0, and one more for each time that the user let a failed part be paid again.
        members: Which executables of the evaluation it holds.
        labels: The device's labels of qubit 0, 1, … when it was written.
        usd: What it costs, or will; 0 once the service has ended it without charging for it.
        request: What is sent to the service, as JSON; empty where nothing is sent.
        state: Where it stands: a ``sent`` one may or may not exist, a ``created`` one does.
        sent_at: When it was first sent, in seconds since 1970.
        arn: Its ARN, once it is known.
        reason: Why it failed, or why its result, which may come yet, is not here.
        failures: Why the service counted nothing, for each executable of which it said so.
        result: The raw result, by name of the file, once it is here.
        token: Its client token.
    """

    position: int
    part: int
    attempt: int
    members: tuple[int, ...]
    labels: tuple[int, ...]
    usd: Decimal
    request: str = ""
    state: TaskState = "planned"
    sent_at: float | None = None
    arn: str | None = None
    reason: str | None = None
    failures: Mapping[int, str] = field(default_factory=dict)
    result: dict[str, str] | None = None
    token: str = ""

    @property
    def name(self) -> str:
        """The task's name in messages: ``3.0``, or ``3.0 (attempt 2)`` from its second attempt."""
        again = f" (attempt {self.attempt + 1})" if self.attempt else ""
        return f"{self.position}.{self.part}{again}"


@dataclass(frozen=True)
class Spending:
    """Amounts in USD of a run's tasks: charged, reserved and planned.

    Attributes:
        charged: Tasks that are at an end.
        reserved: Tasks that exist, or may exist, and are not at an end.
        planned: Tasks that do not exist.
    """

    charged: Decimal = Decimal(0)
    reserved: Decimal = Decimal(0)
    planned: Decimal = Decimal(0)

    @classmethod
    def of(cls, amounts: Iterable[tuple[TaskState, Decimal]]) -> Spending:
        """Add up amounts in USD by the state of their tasks.

        Args:
            amounts: States and USD.

        Example:
            >>> Spending.of([("done", Decimal(2)), ("sent", Decimal(1))]).spent
            Decimal('3')
        """
        totals = dict.fromkeys(_KINDS.values(), Decimal(0))
        for state, usd in amounts:
            totals[_KINDS[state]] += usd
        return cls(**totals)

    @property
    def spent(self) -> Decimal:
        """The amount in USD that counts against the budget: charged and reserved."""
        return self.charged + self.reserved

    def to_json(self) -> dict[str, str]:
        """Return the amounts as strings by name: ``charged_usd`` and so on."""
        return {
            f"{name}_usd": f"{getattr(self, name):f}"
            for name in ("charged", "reserved", "planned", "spent")
        }


_KINDS: dict[TaskState, str] = {
    "planned": "planned",
    "sent": "reserved",
    "created": "reserved",
    "done": "charged",
    "failed": "charged",
}


def check_budget(spent: Decimal, cost: Decimal, budget: Decimal) -> None:
    """Raise unless the budget covers the cost, in USD, of the next tasks.

    Args:
        spent: USD spent so far.
        cost: USD of what comes next.
        budget: USD that may be spent in all.

    Raises:
        BudgetError: It does not.
    """
    if spent + cost > budget:
        expected = f"at least {show_usd(spent + cost)} for what comes next"
        hint = f"{show_usd(spent)} USD are spent and nothing is lost: go on with a larger budget."
        text = must_be("budget_usd", expected, show_usd(budget), hint)
        raise BudgetError(text, spent + cost)


def check_same(recorded: Evaluation, asked: Evaluation) -> None:
    """Raise unless an evaluation asks for what the journal recorded at its position.

    Angles that differ by rounding only (:data:`SAME_ANGLES`) are the same: what was recorded is
    the truth, and its results stand.

    Args:
        recorded: What the journal holds.
        asked: What the run asks for now.

    Raises:
        JournalError: Circuit, number of circuits, shots or angles are other ones.
    """
    if recorded.content == asked.content:
        return
    where = f"evaluation {asked.position}"
    hint = "This is a journal of another run, or the run was changed: start it anew elsewhere."
    if recorded.circuits != asked.circuits:
        expected = f"of the circuits in the journal ({recorded.circuits[:12]})"
        raise JournalError(must_be(where, expected, f"others ({asked.circuits[:12]})", hint))
    if recorded.shots != asked.shots:
        expected = f"of {recorded.shots} shots as in the journal"
        raise JournalError(must_be(where, expected, asked.shots, hint))
    if recorded.angles.shape != asked.angles.shape:
        expected = f"of {recorded.angles.size} angles as in the journal"
        raise JournalError(must_be(where, expected, asked.angles.size, hint))
    largest = float(np.abs(recorded.angles - asked.angles).max())
    if not largest <= SAME_ANGLES:
        expected = f"of the journal's angles within {SAME_ANGLES:g} rad"
        raise JournalError(must_be(where, expected, f"a difference of {largest:.2g} rad", hint))
