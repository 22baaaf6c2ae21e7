"""The engine that runs circuits on Amazon Braket: local simulators, emulators, SV1, DM1 and QPUs.

CountingEngine's batches ──► here:   local simulators, emulators     ──► counts
                         ──► there:  journal ──► tasks ──► journal   ──► counts
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, ClassVar, Unpack, final

from ..._types import ComplexDtype
from ...braket.cost import Prices, cost_of, current_prices
from ...braket.device import Target, asking, check, resolve
from ...braket.run import (
    PAYER,
    RESULT,
    Batch,
    Execution,
    Journal,
    Task,
    TaskService,
    Terms,
    draws_here,
    execute,
    read_allowed,
    recorded_here,
    say_on_terminal,
    to_json,
)
from ...circuits import Circuit
from ...errors import must_be
from ...measurements._counts import Counts, Program
from .._base import register_engine
from ._base import CountingOptions
from ._elsewhere import CountsFromElsewhere

_FIVE_DAYS = 432_000.0


@register_engine
@final
class BraketEngine(CountsFromElsewhere):
    """Runs circuits on a device of Amazon Braket, or on its local simulators.

    A device that costs money needs a journal and a budget. The journal holds what was asked for and
    what came back; with it, a run that was killed anywhere goes on without paying for anything
    twice. Nothing is sent a second time by itself. On ``local:sv`` and ``local:dm`` the exact
    probabilities are sampled here, as a function of ``seed`` and ``position``; 0 shots give the
    probabilities themselves. Emulators, and local simulators with a noise model, draw their own
    shots, which cannot be seeded.

    Args:
        device: ``"local:sv"``, ``"local:dm"``, ``"emulator:<properties.json>"``, a device's name
            or ARN, or a Braket ``Device``.
        shots: Shots of each circuit.
        journal: The run's file; on a local device it is not needed.
        journal_copy: Where a whole copy of it is kept, in place of ``<journal>.copy``; a journal
            that does not exist begins as this copy then.
        budget_usd: What the whole run may cost, checked before each task is created; for a run
            that goes on what it was allowed before, by default. On a device that bills by time
            a task's price is known at its end: the tasks that run at once, ten at most, may take
            longer than the longest before them, and pass the budget by that much.
        placement: The physical label of each qubit; found on the device by default.
        native: Whether to send the device's native gates verbatim.
        reservation_arn: A reservation of the device: its tasks wait for it and cost nothing, its
            time is another bill; that of the SDK's ``DirectReservation`` by default.
        tags: The user's own tags of each task.
        s3_prefix: The folder of the results in the bucket; ``"tasks"`` by default.
        session: A Braket ``AwsSession``; one from the environment by default.
        poll_seconds: First pause between two looks at a task; later ones are longer.
        timeout_seconds: How long to wait for the tasks of a batch. Then they stay pending.
        resend_failed: Whether circuits that the service had ended without counts before may be
            sent, and paid, again.
        prices: The price list; the current one by default.
        say: Called with a line while it waits; by default it is shown where standard error is a
            terminal.
        dtype: As for :class:`CountingEngine`.
        **options: ``gradient``, ``seed``, ``step``, ``n_shifts`` and ``mitigate_readout``, as for
            :class:`CountingEngine`. A device's own shots have no seed. Braket's own
            ``AdjointGradient`` is no gradient here: its local simulators answer it with the
            expectation value alone.

    Raises:
        ImportError: The extra ``braket`` is not installed.
        ValueError: A device that cannot be used; shots outside its range; a device that costs
            money without a journal or a positive budget; an option that the device does not have.
        JournalError: The journal is of another run, in use, or not a journal.

    Example:
        >>> import torch
        >>> engine = BraketEngine("local:sv", shots=100, seed=1)
        >>> bell = Circuit.builder(2).h(0).cx(0, 1).build()
        >>> probs = engine.prepare(bell, torch.zeros(0)).probs(0, 4)
        >>> float(probs[1] + probs[2])
        0.0
    """

    kind: ClassVar[str] = "braket"
    _least_shots: ClassVar[int] = 0

    def __init__(
        self,
        device: object,
        shots: int,
        *,
        journal: str | Path | None = None,
        journal_copy: Path | None = None,
        budget_usd: Decimal | float | str | None = None,
        placement: Sequence[int] | None = None,
        native: bool = False,
        reservation_arn: str | None = None,
        tags: Mapping[str, str] | None = None,
        s3_prefix: str | None = None,
        session: Any = None,
        poll_seconds: float = 1.0,
        timeout_seconds: float = _FIVE_DAYS,
        resend_failed: bool = False,
        prices: Prices | None = None,
        say: Callable[[str], None] = say_on_terminal,
        dtype: ComplexDtype = "complex64",
        **options: Unpack[CountingOptions],
    ) -> None:
        super().__init__(shots, **options, dtype=dtype)
        kept = journal_copy if journal_copy is not None and journal_copy.exists() else journal
        begun = kept is not None and Path(kept).exists()
        self.target = resolve(device, session=session, anyway=begun)
        self.native = native
        self.placement = None if placement is None else tuple(placement)
        self.budget_usd: Decimal | None = None
        self.journal: Journal | None = None
        self._execution: Execution | None = None
        self._draws_here = draws_here(self.target)
        check(self.target, Circuit(1, (), 0), self.shots)
        _check_seconds(poll_seconds, timeout_seconds)
        _check_readout(self.target, self.mitigate_readout, native)
        terms = Terms.of(self.target, reservation_arn, tags, s3_prefix)
        if self.billed:
            allowed = budget_usd
            if budget_usd is None and kept is not None and begun:
                allowed = read_allowed(kept)
            self.budget_usd = _check_money(
                self.target, journal, allowed, terms.reservation_arn is not None
            )
            if terms.reservation_arn is not None:
                prices = Prices.reserved(self._device_name())
            prices = prices or current_prices()
            cost_of(self.target, 1, self.shots, prices=prices)  # a price that is not known
        if journal is not None:
            settings = self._settings() | self._payer()
            self.journal = Journal(journal, settings, copy=journal_copy)
        if self.budget_usd is not None and prices is not None and self.journal is not None:
            self.journal.allow(self.budget_usd)
            if terms.reservation_arn is not None:
                self.journal.note_reservation(terms.reservation_arn)
            service = TaskService(
                self.target,
                self.journal,
                budget=self.budget_usd,
                prices=prices,
                poll_seconds=poll_seconds,
                timeout_seconds=timeout_seconds,
                terms=terms,
                say=say,
            )
            self._execution = Execution(self.journal, service, resend_failed)

    @property
    def exact(self) -> bool:
        """Whether the engine gives exact probabilities in place of counts: with 0 shots."""
        return self.shots == 0

    @property
    def needs_shots(self) -> bool:
        """Whether probabilities are estimated from shots: with 1 shot or more."""
        return self.shots > 0

    @property
    def billed(self) -> bool:
        """Whether each execution costs money."""
        return self.target.billed

    @property
    def max_qubits(self) -> int:
        """The device's number of qubits."""
        return self.target.n_qubits

    @property
    def spent_usd(self) -> Decimal:
        """The run's cost so far in USD, by its journal."""
        return Decimal(0) if self.journal is None else self.journal.spending().spent

    def close(self) -> None:
        """Close the journal, so that another engine may open it."""
        if self.journal is not None:
            self.journal.close()

    def _config(self) -> dict[str, Any]:
        # Neither journal nor budget: these are of one run.
        return {**self._settings(), "dtype": self.dtype}

    def _settings(self) -> dict[str, Any]:
        """Return the settings that must stay the same as long as a run goes on."""
        placement = None if self.placement is None else list(self.placement)
        own = {"device": self._device_name(), "native": self.native, "placement": placement}
        return own | self.options()

    def _payer(self) -> dict[str, str]:
        """Return the tasks' region and account: client tokens and tags hold there alone."""
        if not self.billed:
            return {}
        session = self.target.device.aws_session
        with asking(self.target.name):
            return dict(zip(PAYER, (session.region, session.account_id), strict=True))

    def _device_name(self) -> str:
        return self.target.arn or self.target.name

    def _too_large(self, n_qubits: int) -> str:
        expected = f"at most {self.max_qubits} on {self.target.name}"
        return must_be("n_qubits", expected, n_qubits, "Take a larger device.")

    def _measure(self, programs: Sequence[Program], position: int) -> list[list[Counts]]:
        batch = Batch(
            programs,
            position,
            self.target,
            0 if self._draws_here else self.shots,
            native=self.native,
            placement=self.placement,
        )
        if self._execution is not None:
            return self._execution.run(batch)
        if self.journal is not None:
            return batch.regroup(self._recorded(batch, self.journal))
        return batch.regroup(execute(batch, self.shots, self.seed))

    def _recorded(self, batch: Batch, journal: Journal) -> list[Counts]:
        """Return the counts of a batch: read from the journal, or executed on this machine now."""
        recorded = journal.evaluation(batch.position)
        if recorded is None:
            members = tuple(range(len(batch.members)))
            task = Task(batch.position, 0, 0, members, (), Decimal(0))
            journal.plan(batch.evaluation, [task])
        else:
            batch.recall(recorded)
        tasks = journal.tasks(batch.position)
        counts = recorded_here(tasks)
        if counts is not None:
            return counts
        counts = execute(batch, self.shots, self.seed)
        journal.done(tasks[0], {RESULT: to_json(counts)})
        return counts

    def __repr__(self) -> str:
        options = "" if self.gradient is None else f"gradient={self.gradient!r}, "
        options += f"seed={self.seed}, dtype={self.dtype!r}"
        return f"BraketEngine({self.target.name!r}, shots={self.shots}, {options})"


def _check_money(
    target: Target,
    journal: str | Path | None,
    budget_usd: Decimal | float | str | None,
    reserved: bool = False,
) -> Decimal:
    """Check that a device that costs money has a budget in USD and a journal; return the budget.

    Under a reservation tasks cost nothing, and the budget is 0 by default.
    """
    name = f"{target.name}, which costs money"
    if budget_usd is None and reserved:
        budget_usd = 0
    if budget_usd is None:
        hint = "Give the USD that the whole run may cost."
        raise ValueError(must_be("budget_usd", f"given for {name}", "none", hint))
    try:
        budget = Decimal(str(budget_usd))
    except InvalidOperation as error:
        raise ValueError(must_be("budget_usd", "an amount of USD", repr(budget_usd))) from error
    if not budget.is_finite() or budget < 0 or (budget == 0 and not reserved):
        raise ValueError(must_be("budget_usd", "more than 0", budget_usd))
    if journal is None:
        hint = "It is the file that keeps what was paid for."
        raise ValueError(must_be("journal", f"given for {name}", "none", hint))
    return budget


def _check_seconds(poll_seconds: float, timeout_seconds: float) -> None:
    if not poll_seconds > 0:
        raise ValueError(must_be("poll_seconds", "more than 0", poll_seconds))
    if not timeout_seconds >= 0:
        raise ValueError(must_be("timeout_seconds", "at least 0", timeout_seconds))


def _check_readout(target: Target, mitigate_readout: bool, native: bool) -> None:
    if mitigate_readout and target.kind == "qpu" and not native:
        expected = f"False on {target.name} without native=True"
        hint = "Otherwise the service chooses other qubits for each circuit."
        raise ValueError(must_be("mitigate_readout", expected, True, hint))
