"""Devices on the command line: whose they are, what a run on them costs, and waiting for them.

    train --engine braket ──┐                           ┌── RUN/braket.sqlite
                            ├──► estimate ──► --yes ──► engine
    braket submit RUN ──────┘                           └── RUN/submission.sqlite

Whatever costs money is estimated first and needs the user's word.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..braket.cost import show_usd
from ..errors import BudgetError, Event, TaskFailed, TasksPending, count, event, must_be
from ._folder import RunFolder, command_line
from ._help import MONEY
from ._options import option_of, read_tags
from ._run import Run, say

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..braket.cost import Estimate, Prices
    from ..braket.device import Target
    from ..data import Dataset
    from ..engines import BraketEngine
    from ..recipes import RunOptions

_PANEL: dict[str, Any] = {"rich_help_panel": MONEY}
Profile = Annotated[str | None, typer.Option(help="Profile of the AWS configuration.", **_PANEL)]
Region = Annotated[str | None, typer.Option(help="AWS region, such as eu-north-1.", **_PANEL)]
Bucket = Annotated[str | None, typer.Option(help="S3 bucket for the results.", **_PANEL)]
Budget = Annotated[str | None, typer.Option(help="USD that the whole run may cost.", **_PANEL)]
Reservation = Annotated[
    str | None, typer.Option("--reservation-arn", help="Reservation of the device.", **_PANEL)
]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", help="NAME=VALUE, a tag of each task.", **_PANEL)
]
Prefix = Annotated[str | None, typer.Option(help="Folder of the results in the bucket.", **_PANEL)]
Yes = Annotated[bool, typer.Option("--yes", help="Agree to what it costs.", **_PANEL)]
Resend = Annotated[
    bool,
    typer.Option(
        "--resend", help="Send, and pay, again what the service ended without counts.", **_PANEL
    ),
]


#: Arguments of a counting engine that its price depends on.
PRICED = ("shots", "gradient", "n_shifts", "mitigate_readout")


@dataclass(frozen=True)
class Account:
    """The account of a device, and its budget in USD. None of this is kept in a run's folder."""

    profile: str | None = None
    region: str | None = None
    bucket: str | None = None
    budget_usd: str | None = None
    yes: bool = False
    resend: bool = False
    reservation_arn: str | None = None
    tag: tuple[str, ...] = ()
    s3_prefix: str | None = None

    def given(self) -> dict[str, Any]:
        """Return the options given, by name."""
        return {
            name: value for name, value in asdict(self).items() if value not in (None, False, ())
        }

    def check_engine(self, options: RunOptions) -> None:
        """Refuse options of an account for an engine that needs none."""
        for name in self.given():
            if options.engine_name != "braket":
                expected = f"braket with {option_of(name)}"
                raise ValueError(must_be("engine", expected, options.engine_name))

    def check_credentials(self, device: str | None) -> None:
        """Refuse an account without credentials before anything that takes seconds is loaded.

        Args:
            device: The device that was named, if any; one of this machine needs no account.

        Raises:
            ValueError: There are no credentials, or no such profile.
        """
        if device is None or device.partition(":")[0] in ("local", "emulator", "cpu", "cuda"):
            return
        from ..braket.device import aws_session

        with suppress(ImportError):  # the missing extra is told later
            if find_spec("braket.devices") is not None:
                aws_session(self.profile, self.region)

    def session(self, region: str | None = None) -> Any:
        """Open a session with AWS."""
        from ..braket.device import open_session

        region = region or self.region
        return open_session(profile=self.profile, region=region, bucket=self.bucket)

    def find(self, device: str | None, *, anyway: bool = False) -> Target:
        """Return a device, offline too if ``anyway``; the service's devices need an account."""
        from ..braket.device import resolve

        if device is None:
            hint = "For example --device local:sv."
            raise ValueError(must_be("device", "given", "nothing", hint))
        here = device.partition(":")[0] in ("local", "emulator")
        session = None if here else self.session()
        return resolve(device, session=session, anyway=anyway)

    def again(self, budget: Decimal | None = None) -> dict[str, Any]:
        """Return the options that name the same account, and another budget.

        Never ``--yes``: what is printed costs nothing as it is printed.
        """
        names = ("profile", "region", "bucket", "reservation_arn", "s3_prefix")
        given = {name: getattr(self, name) for name in names} | {"tag": list(self.tag) or None}
        return given | {"budget_usd": None if budget is None else f"{budget:f}"}

    def terms(self) -> dict[str, Any]:
        """Return the terms of the tasks, as the engine takes them."""
        tags = read_tags(self.tag, "tag")
        own = {"reservation_arn": self.reservation_arn, "s3_prefix": self.s3_prefix}
        return own | {"tags": tags or None}


class StatusLine:
    """Shows the state of tasks waited for: below the progress bar, or line by line without one."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
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
    wait: bool = True,
) -> BraketEngine:
    """Show what a run will cost, and open its engine once the user agrees.

    Args:
        options: The run, on the engine braket.
        account: Whose device, and what may be spent.
        journal: The run's journal.
        steps: Gradient steps; 0: one evaluation, whose own price is the budget by default.
        wait: Whether to wait for tasks.

    Returns:
        The engine.
    """
    from ..braket.cost import Prices, estimate
    from ..braket.device import check
    from ..braket.run import Terms, bill
    from ..engines import BraketEngine
    from ..engines.counting._braket import _check_money
    from ..exchange._imported import gates_of

    circuit, counting = options.circuit(), options.counting()
    target = account.find(options.device, anyway=journal.exists())
    check(target, gates_of(circuit), counting["shots"], options.placement)
    priced = {name: counting[name] for name in PRICED}
    terms = Terms.of(target, **account.terms())
    prices = Prices.reserved(str(target.arn)) if terms.reservation_arn else None
    told = estimate(
        circuit,
        target,
        n_outcomes=options.n_weights,
        steps=steps,
        evaluations=1,
        prices=prices,
        **priced,
        **options.on_device(),
        reads=options.measurement(),
    )
    paid = bill(journal) if journal.exists() else None
    budget, cap = account.budget_usd, Decimal(0)
    if target.billed:
        if budget is None and paid is not None:
            budget = paid["allowed_usd"]
        if budget is None and steps == 0:
            budget = f"{told.run.usd_high:f}"
        if budget is not None or account.yes:
            cap = _check_money(target, journal, budget, terms.reservation_arn is not None)
        if _may_pay(paid, steps, account.resend):
            if account.resend:
                _tell_again(journal, target, prices)
            _agree(told, paid, cap, account.yes)
    else:
        for text in told.warnings:
            say(f"warning: {text}")
    waiting: dict[str, Any] = {} if wait else {"timeout_seconds": 0.0}
    with RunFolder(journal.parent).made():
        return BraketEngine(
            options.device if target.arn is None else target.device,
            **counting,
            **options.on_device(),
            **account.terms(),
            journal=None if target.kind == "local" else journal,
            budget_usd=budget,
            resend_failed=account.resend,
            say=StatusLine(),
            **waiting,
        )


@contextmanager
def training_engine(run: Run, data: Dataset, account: Account) -> Iterator[BraketEngine]:
    """Open the engine of a training run, and close it at the end."""
    config = run.options.fit_config()
    steps = config.epochs * -(-len(data.y_train) // config.batch_size)
    engine = open_engine(run.options, account, run.folder.journal, steps=steps)
    with closing(engine):
        yield engine


def _may_pay(paid: Mapping[str, Any] | None, steps: int, resend: bool) -> bool:
    """Return whether going on may create a task: never where all of one evaluation's exist."""
    if steps or paid is None or not paid["states"]:
        return True
    return bool({"planned", "sent"} & set(paid["states"])) or resend


def _agree(told: Estimate, paid: Mapping[str, Any] | None, budget: Decimal, yes: bool) -> None:
    """Show an estimate; raise unless the user has agreed to it."""
    for line in told.lines():
        say(line)
    if paid is not None and paid["tasks"]:
        say(f"so far             {show_spending(paid)}")
    name, high = f"{told.device}, which costs money", told.run.usd_high
    if not yes:
        hint = "Add --yes to spend what the estimate says."
        raise ValueError(must_be("yes", f"given for {name}", "nothing", hint))
    if budget < high:
        ends = f"may end the run before ${show_usd(high)} are spent."
        say(f"warning: a budget of ${show_usd(budget)} {ends}")


def _tell_again(journal: Path, target: Target, prices: Prices | None) -> None:
    """Show which circuits --resend pays again, and their price in USD."""
    from ..braket.run import price_again, without_counts

    found = without_counts(journal)
    for task, why in found:
        reason = next(iter(why.values()))
        say(f"to be paid again   {count(len(why), 'circuit')} of task {task.name} ({reason})")
    say(f"paying again       ${show_usd(price_again(journal, target, prices))}")


def show_spending(paid: Mapping[str, Any]) -> str:
    """Return what a run's tasks cost, for people."""
    names = ("charged", "reserved", "planned")
    told = ", ".join(f"${show_usd(Decimal(paid[f'{one}_usd']))} {one}" for one in names)
    arn = paid.get("reservation_arn")
    return told if arn is None else f"{told}; the time of {arn} is another bill"


@contextmanager
def telling(
    words: Sequence[str | Path],
    options: dict[str, Any],
    account: Account,
    journal: Path,
    *,
    collected: bool = False,
) -> Iterator[None]:
    """Let an error that ends a run on a device name the command that goes on, at no cost.

    Args:
        words: As for :func:`going_on`.
        options: As for :func:`going_on`.
        account: As for :func:`going_on`.
        journal: As for :func:`going_on`.
        collected: As for :func:`going_on`.
    """
    try:
        yield
    except BudgetError as error:
        command = command_line(words, options | account.again(error.needed))
        raise BudgetError(Event(f"{error} Go on with: {command}")) from error
    except (TaskFailed, TasksPending) as error:
        command = going_on(words, options, account, journal, collected=collected)
        kind = TaskFailed if isinstance(error, TaskFailed) else TasksPending
        raise kind(Event(f"{error} Go on with: {command}")) from error
    except KeyboardInterrupt as error:
        hint = f"Go on with: {going_on(words, options, account, journal)}"
        raise TasksPending(event("Interrupted.", "Nothing is lost.", hint)) from error


def going_on(
    words: Sequence[str | Path],
    options: dict[str, Any],
    account: Account,
    journal: Path,
    *,
    collected: bool = False,
) -> str:
    """Return the command that brings a run further without paying for anything.

    Args:
        words: What resumes the run; without ``--yes`` it shows a price and spends nothing.
        options: Its options.
        account: Whose tasks they are.
        journal: The run's journal.
        collected: Whether the tasks that were sent have been looked for already.
    """
    from ..braket.run import read_journal, without_counts

    tasks = read_journal(journal)[1] if journal.exists() else []
    to_collect = ("created",) if collected else ("sent", "created")
    if any(task.state in to_collect for task in tasks):
        collect = ["qtn-train", "braket", "collect", options.get("out") or words[-1]]
        named = {"journal": options.get("journal")}
        return command_line(collect, named | Account(account.profile, account.region).again())
    if tasks and not any(t.state in ("planned", "sent") for t in tasks) and without_counts(journal):
        options = options | {"resume": False, "resend": True}
    return command_line(words, options | account.again())
