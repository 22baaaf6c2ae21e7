"""Devices on the command line: whose they are, what a run on them costs, and waiting for them.

    train --engine braket ──┐                           ┌── RUN/braket.sqlite
                            ├──► estimate ──► --yes ──► engine
    braket submit RUN ──────┘                           └── RUN/submission.sqlite

Whatever costs money is estimated first and needs the user's word.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BudgetError, TaskFailed, TasksPending, must_be
from . import _run as _run
from ._run import JOURNAL, say

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..braket.cost._estimate import Estimate
    from ..braket.device._target import Target
    from ..circuits import Circuit
    from ..data import Dataset
    from ..engines import BraketEngine, Engine

Profile = Annotated[str | None, typer.Option(help="Profile of the AWS configuration.")]
Region = Annotated[str | None, typer.Option(help="AWS region, such as eu-north-1.")]
Bucket = Annotated[str | None, typer.Option(help="S3 bucket that results are written to.")]
Budget = Annotated[str | None, typer.Option(help="USD that the whole run may cost.")]
Yes = Annotated[bool, typer.Option("--yes", help="Agree to what it costs.")]
Device = Annotated[
    str | None,
    typer.Option(help="local:sv, local:dm, emulator:FILE, or a Braket device's name or ARN."),
]
Shifts = Annotated[
    int | None, typer.Option(help="With random-shift: places of the circuit that it takes.")
]
Mitigate = Annotated[
    bool | None, typer.Option("--mitigate-readout", help="Measure and invert errors of readout.")
]
Native = Annotated[
    bool | None, typer.Option("--native", help="Send the device's native gates verbatim.")
]
PerOutcome = Annotated[
    int | None,
    typer.Option(help="Weights that the mapping makes of each outcome; more need fewer qubits."),
]
Placement = Annotated[
    str | None, typer.Option(help="Physical label of each qubit, with commas; else found.")
]


@dataclass(frozen=True)
class Account:
    """Whose devices, and what may be spent on them. None of this is kept in a run's folder."""

    profile: str | None = None
    region: str | None = None
    bucket: str | None = None
    budget_usd: str | None = None
    yes: bool = False

    def given(self) -> dict[str, Any]:
        """Return what was given, by name."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}

    def session(self, region: str | None = None) -> Any:
        """Open a session with AWS."""
        from ..braket.device._devices import open_session

        region = region or self.region
        return open_session(profile=self.profile, region=region, bucket=self.bucket)

    def find(self, device: str | None) -> Target:
        """Return a device; only one of the service's asks for an account."""
        from ..braket.device._devices import resolve

        if device is None:
            hint = "For example --device local:sv."
            raise ValueError(must_be("device", "given", "nothing", hint))
        here = device.partition(":")[0] in ("local", "emulator")
        return resolve(device, session=None if here else self.session())

    def again(self, budget: str | None = None) -> list[str]:
        """Return the options that repeat this, with another budget."""
        given = {name: value for name, value in self.given().items() if name != "yes"}
        if budget is not None and "budget_usd" in given:
            given["budget_usd"] = budget
        words = [word for k, v in given.items() for word in ("--" + k.replace("_", "-"), v)]
        return [*words, "--yes"] if self.yes else words


class StatusLine:
    """Shows where waiting stands: below the progress bar, or line by line where none is drawn."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._last = ""

    def __call__(self, line: str) -> None:
        """Show a line; an empty one ends the waiting."""
        from tqdm import tqdm

        if not sys.stderr.isatty():
            if line not in ("", self._last):
                tqdm.write(line, file=sys.stderr)
            self._last = line
            return
        if not line:
            if self._bar is not None:
                self._bar.close()
            self._bar = None
            return
        if self._bar is None:
            self._bar = tqdm(bar_format="{desc}", leave=False, dynamic_ncols=True)
        self._bar.set_description_str(line)


def open_engine(
    options: dict[str, Any],
    account: Account,
    circuit: Circuit,
    n_weights: int,
    journal: Path,
    *,
    steps: int,
    resume: bool,
    wait: bool = True,
) -> BraketEngine:
    """Show what a run will cost, and open its engine once the user agrees.

    Args:
        options: A run's options; ``device`` and those of the engine are read.
        account: Whose device, and what may be spent.
        circuit: The circuit.
        n_weights: How many weights it makes.
        journal: The run's journal.
        steps: Gradient steps; 0: one evaluation, whose own price is the budget by default.
        resume: Whether what has failed for good may be sent again.
        wait: Whether to wait for tasks.

    Returns:
        The engine.
    """
    from ..braket.cost._estimate import estimate
    from ..braket.device._target import check
    from ..engines import BraketEngine
    from ..engines.counting._braket import _check_money
    from ..engines.counting._recorded import bill

    chosen = _run.engine_options(options)
    check_estimator(chosen["gradient"], chosen["n_shifts"])
    target = account.find(options["device"])
    check(target, circuit, chosen["shots"], chosen["placement"])
    counted = {name: chosen[name] for name in ("shots", "gradient", "n_shifts", "mitigate_readout")}
    told = estimate(circuit, target, n_outcomes=n_weights, steps=steps, evaluations=1, **counted)
    paid: dict[str, Any] = {"spent_usd": "0", "states": {}}
    if journal.exists():
        paid = bill(journal)
    spent = Decimal(paid["spent_usd"])
    budget, cap = account.budget_usd, Decimal(0)
    if target.billed:
        if budget is None and steps == 0:
            budget = f"{told.run.usd_high + (spent if resume else 0):f}"
        if budget is not None or account.yes:
            cap = _check_money(target, journal, budget)
        # One evaluation that is done is read again: nothing is left to pay.
        if steps or resume or set(paid["states"]) != {"done"}:
            _agree(told, spent, cap, account.yes)
    else:
        for text in told.warnings:
            say(f"warning: {text}")
    waiting: dict[str, Any] = {} if wait else {"timeout_seconds": 0.0}
    with _run.new_folder(journal.parent):
        return BraketEngine(
            options["device"] if target.arn is None else target.device,
            **chosen,
            journal=None if target.kind == "local" else journal,
            budget_usd=budget,
            resend_failed=resume,
            say=StatusLine(),
            **waiting,
        )


def check_estimator(gradient: str | None, n_shifts: int | None) -> None:
    """Refuse an unknown estimator of the gradient."""
    from ..braket.run._programs import check_gradient
    from ..measurements._estimators import check_options

    check_gradient(gradient)
    check_options(gradient, n_shifts=n_shifts)


def training_engine(
    run: dict[str, Any], account: Account, out: Path, resume: bool, stack: ExitStack
) -> _run.OpenEngine:
    """Return what opens the engine of a training run, which ends with ``stack``."""

    def opened(circuit: Circuit, n_weights: int, data: Dataset) -> Engine:
        config = _run.fit_options(run)
        steps = config.epochs * -(-len(data.y_train) // config.batch_size)
        engine = open_engine(
            run, account, circuit, n_weights, out / JOURNAL, steps=steps, resume=resume
        )
        return stack.enter_context(closing(engine))

    return opened


def _agree(told: Estimate, spent: Decimal, budget: Decimal, yes: bool) -> None:
    """Show an estimate; raise unless the user has agreed to it."""
    for line in told.lines():
        say(line)
    if spent:
        say(f"spent so far       ${spent:,.2f}")
    name, high = f"{told.device}, which costs money", told.run.usd_high
    if not yes:
        hint = "Add --yes to spend what the estimate says."
        raise ValueError(must_be("--yes", f"given for {name}", "nothing", hint))
    if budget < high:
        say(f"warning: a budget of ${budget:,.2f} may end the run before ${high:,.2f} are spent.")


@contextmanager
def telling(command: Sequence[str], account: Account) -> Iterator[None]:
    """Let what ends a run on a device say with which command it goes on."""
    try:
        yield
    except (BudgetError, TaskFailed, TasksPending) as error:
        more = "USD" if isinstance(error, BudgetError) else None
        words = shlex.join([*command, *account.again(more)])
        raise type(error)(f"{error} Go on with: {words}") from error
