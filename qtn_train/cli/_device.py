"""Devices on the command line: whose they are, what a run on them costs, and waiting for them.

    train --engine braket ──┐                           ┌── RUN/braket.sqlite
                            ├──► estimate ──► --yes ──► engine
    braket submit RUN ──────┘                           └── RUN/submission.sqlite

Whatever costs money is estimated first and needs the user's word.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BudgetError, Event, TaskFailed, TasksPending, must_be
from ._folder import RunFolder, command_line
from ._help import MONEY
from ._options import option_of
from ._run import Run, say

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..braket.cost._estimate import Estimate
    from ..braket.device._target import Target
    from ..data import Dataset
    from ..engines import BraketEngine
    from ..recipes import RunOptions

_PANEL: dict[str, Any] = {"rich_help_panel": MONEY}
Profile = Annotated[str | None, typer.Option(help="Profile of the AWS configuration.", **_PANEL)]
Region = Annotated[str | None, typer.Option(help="AWS region, such as eu-north-1.", **_PANEL)]
Bucket = Annotated[str | None, typer.Option(help="S3 bucket for the results.", **_PANEL)]
Budget = Annotated[str | None, typer.Option(help="USD that the whole run may cost.", **_PANEL)]
Yes = Annotated[bool, typer.Option("--yes", help="Agree to what it costs.", **_PANEL)]


#: Arguments of a counting engine that its price depends on.
PRICED = ("shots", "gradient", "n_shifts", "mitigate_readout")


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

    def check_engine(self, options: RunOptions) -> None:
        """Refuse an account where nothing is asked of one."""
        for name in self.given():
            if options.engine_name != "braket":
                expected = f"braket with {option_of(name)}"
                raise ValueError(must_be("engine", expected, options.engine_name))

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

    def again(self, budget: str | None = None) -> dict[str, Any]:
        """Return the options that repeat this, with another budget."""
        given = self.given()
        return given | ({"budget_usd": budget} if budget and "budget_usd" in given else {})


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
    options: RunOptions,
    account: Account,
    journal: Path,
    *,
    steps: int,
    resume: bool,
    wait: bool = True,
) -> BraketEngine:
    """Show what a run will cost, and open its engine once the user agrees.

    Args:
        options: The run, on the engine braket.
        account: Whose device, and what may be spent.
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

    circuit, counting = options.circuit(), options.counting()
    target = account.find(options.device)
    check(target, circuit, counting["shots"], options.placement)
    priced = {
        name: counting[name] for name in ("shots", "gradient", "n_shifts", "mitigate_readout")
    }
    told = estimate(
        circuit, target, n_outcomes=options.n_weights, steps=steps, evaluations=1, **priced
    )
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
    with RunFolder(journal.parent).made():
        return BraketEngine(
            options.device if target.arn is None else target.device,
            **counting,
            **options.on_device(),
            journal=None if target.kind == "local" else journal,
            budget_usd=budget,
            resend_failed=resume,
            say=StatusLine(),
            **waiting,
        )


@contextmanager
def training_engine(
    run: Run, data: Dataset, account: Account, resume: bool
) -> Iterator[BraketEngine]:
    """Open the engine of a training run, and close it at the end."""
    config = run.options.fit_config()
    steps = config.epochs * -(-len(data.y_train) // config.batch_size)
    engine = open_engine(run.options, account, run.folder.journal, steps=steps, resume=resume)
    with closing(engine):
        yield engine


def _agree(told: Estimate, spent: Decimal, budget: Decimal, yes: bool) -> None:
    """Show an estimate; raise unless the user has agreed to it."""
    for line in told.lines():
        say(line)
    if spent:
        say(f"spent so far       ${spent:,.2f}")
    name, high = f"{told.device}, which costs money", told.run.usd_high
    if not yes:
        hint = "Add --yes to spend what the estimate says."
        raise ValueError(must_be("yes", f"given for {name}", "nothing", hint))
    if budget < high:
        say(f"warning: a budget of ${budget:,.2f} may end the run before ${high:,.2f} are spent.")


@contextmanager
def telling(
    words: Sequence[str | Path], options: dict[str, Any], account: Account
) -> Iterator[None]:
    """Let what ends a run on a device say with which command it goes on."""
    try:
        yield
    except (BudgetError, TaskFailed, TasksPending) as error:
        more = "USD" if isinstance(error, BudgetError) else None
        command = command_line(words, options | account.again(more))
        raise type(error)(Event(f"{error} Go on with: {command}")) from error
