"""The command line on Amazon Braket: ``qtn-train braket estimate | submit | status | collect | …``.

``submit`` keeps its tasks in a journal in the run's folder; the other commands read every journal
there, that of training on a device too.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ..braket.cost import show_usd
from ..errors import JournalError, TasksPending, count, must_be, positive_int
from . import _run as _run
from ._device import (
    PRICED,
    Account,
    Bucket,
    Budget,
    Prefix,
    Profile,
    Region,
    Resend,
    Reservation,
    Tags,
    Yes,
    open_engine,
    show_spending,
    telling,
)
from ._folder import RunFolder, command_line
from ._help import Command
from ._options import given_options, run_options

if TYPE_CHECKING:
    from ..braket.device import Target
    from ..data import Dataset
    from ..engines import BraketEngine
    from ..engines.counting._recorded import RecordedEngine
    from ..generators import CircuitGenerator
    from ..hybrid import QuantumTrain
    from ..recipes import RunOptions
    from ..training import ShotsNeeded

_FITTING = 3
_OF_A_SUBMISSION = ("device", "shots", "mitigate_readout", "native", "placement")

app = typer.Typer(
    help="Amazon Braket: what a run would cost, and a trained run's circuit on a device.",
    rich_markup_mode=None,
)

RunDir = Annotated[Path, typer.Argument(help="Folder of a run.")]
JournalPath = Annotated[
    Path | None, typer.Option("--journal", help="Another journal than the run's own.")
]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the full image sets.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


_OF_AN_ESTIMATE = (
    "ansatz", "n_layers", "n_qubits", "circuit", "weights_per_outcome", "recipe", "shots",
    "gradient", "n_shifts", "mitigate_readout", "device", "native", "placement", "measurement",
)  # fmt: skip


@app.command(cls=Command)
@run_options(_OF_AN_ESTIMATE)
def estimate(
    directory: Annotated[Path | None, typer.Argument(help="Folder of a run.")] = None,
    dataset: Annotated[str, typer.Option(help="Without a folder: the data set.")] = "iris",
    steps: Annotated[
        int, typer.Option(help="Gradient steps; 0: what `submit` costs, one evaluation.")
    ] = 100,
    offline: Annotated[
        bool, typer.Option("--offline", help="From the package's dated list; no account is asked.")
    ] = False,
    within: Annotated[
        float | None,
        typer.Option(
            help="In place of --shots: as few as cost a trained run at most so many points of its "
            "test accuracy, without noise."
        ),
    ] = None,
    profile: Profile = None,
    region: Region = None,
    data_dir: DataDir = None,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Estimate what a run on a device would cost, and whether the run can work. Costs nothing."""
    if offline:
        _check_unasked(profile=profile, region=region)
    else:
        Account(profile, region).check_credentials(options["device"])
    from ..braket.cost import Prices, suggest
    from ..braket.cost import estimate as estimated
    from ..braket.device import availability

    given = given_options({"dataset": dataset, **options})
    needed = None if within is None else _needed(directory, given, within, data_dir)
    run = _priced(directory, given | ({} if needed is None else {"shots": needed.shots}))
    if steps:
        positive_int("steps", steps)
    joined = ""
    if offline:
        target, joined = _listed(run.device)
    else:
        target = Account(profile, region).find(run.device)
    counting = run.counting()
    told = estimated(
        run.circuit(),
        target,
        n_outcomes=run.n_weights,
        steps=steps,
        evaluations=1,
        **{name: counting[name] for name in PRICED},
        **run.on_device(),
        reads=run.measurement(),
        prices=Prices.builtin() if offline else None,
    )
    fitting: list[Any] = []
    if joined:
        told = replace(told, warnings=(*told.warnings, joined))
    if told.warnings and not joined and target.fidelities is not None:
        wanted = {"shots": counting["shots"], "native": run.native, "reads": run.measurement()}
        fitting = suggest(target, run.n_weights, **wanted)
        del fitting[_FITTING:]
    if as_json:
        result = told.to_json() | {"suggestions": [asdict(one) for one in fitting]}
        result["needed"] = None if needed is None else needed._asdict()
        print(json.dumps(result, sort_keys=True))
        return
    if directory is None:
        print(f"priced             {_new(run)}")
    for line in told.lines():
        print(line)
    if target.windows:
        print(f"executes tasks     {availability(target.windows, datetime.now(UTC))}")
    if needed is not None:
        accuracies = f"{100 * needed.accuracy:.2f} % in place of {100 * needed.exact:.2f} %"
        print(f"shots needed       {needed.shots:,} a circuit: {accuracies}, without noise")
    for one in fitting:
        print(f"fits               {command_line([], one.options)}")


def _check_unasked(**account: str | None) -> None:
    """Refuse options of an account where no account is asked."""
    for name, given in account.items():
        if given is not None:
            raise ValueError(must_be(name, "left out with --offline", repr(given)))


def _listed(device: str | None) -> tuple[Target, str]:
    """Return a device as the package's dated list has it, and what the list does not tell."""
    from ..braket.device import read_list

    if device is None or device.partition(":")[0] in ("local", "emulator"):
        return Account().find(device), ""
    listed = read_list().find(device)
    joined = (
        f"the list does not tell which qubits {listed.name} joins: what is exchanged on the way "
        "is not counted here."
    )
    return listed.target(), "" if listed.joins_all else joined


def _new(run: RunOptions) -> str:
    """Return what a new run is of, for people who named no folder, and perhaps no data set."""
    n_weights, n_qubits = run.n_weights, run.complete().n_qubits or 0
    return f"{run.data_name}: {count(n_weights, 'weight')}, {count(n_qubits, 'qubit')}, {run.shape}"


def _needed(
    directory: Path | None, given: Mapping[str, Any], within: float, data_dir: Path | None
) -> ShotsNeeded:
    """Return the shots that a trained run needs for its accuracy."""
    from ..training import shots_needed

    if directory is None:
        hint = "Train one first, or give shots."
        raise ValueError(must_be("directory", "a trained run with within", "none", hint))
    if "shots" in given:
        raise ValueError(must_be("shots", "left out with within", given["shots"]))
    data, model, _ = _run.stored(directory, data_dir)
    if not data.n_classes:
        hint = "Points of accuracy are what is lost; give shots."
        raise ValueError(must_be("within", "left out for real numbers", within, hint))
    return shots_needed(model, data.x_test, data.y_test, within)


def _priced(directory: Path | None, given: dict[str, Any]) -> RunOptions:
    """Return the options of a run that is to be priced: a stored one's circuit, or a new one."""
    from ..recipes import RunOptions

    if directory is None:
        return RunOptions.from_json({**given, "engine": "braket"})
    names = (*_OF_A_SUBMISSION, "gradient", "n_shifts")
    asked = {name: given[name] for name in names if name in given}
    return RunFolder(directory).stored()[0].through("braket", **asked)


@app.command(cls=Command)
@run_options(_OF_A_SUBMISSION)
def submit(
    directory: RunDir,
    budget_usd: Budget = None,
    profile: Profile = None,
    region: Region = None,
    bucket: Bucket = None,
    reservation_arn: Reservation = None,
    tag: Tags = None,
    s3_prefix: Prefix = None,
    yes: Yes = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what was submitted before.")
    ] = False,
    resend: Resend = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Leave it to `collect`.")] = False,
    journal: JournalPath = None,
    data_dir: DataDir = None,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Evaluate a trained run's circuit on a device. Once submitted, the device may be left out."""
    Account(profile, region).check_credentials(options["device"])
    from ..braket.run import standing

    path = journal or RunFolder(directory).submission
    terms = (reservation_arn, tuple(tag or ()), s3_prefix)
    account = Account(profile, region, bucket, budget_usd, yes, resend, *terms)
    if (resume or resend) and not path.exists():
        hint = "Leave out what goes on with it, to begin."
        raise JournalError(must_be("journal", "an existing file", path, hint))
    stored, threads = RunFolder(directory).stored()
    run = stored.through("braket", **_asked(path, given_options(options)))
    _run.use_threads(threads)
    words: list[str | Path] = ["qtn-train", "braket", "submit", directory]
    again = {"resume": True, "journal": journal}
    engine = open_engine(run, account, path, steps=0, wait=not no_wait)
    with closing(engine):
        data, model, _ = _run.stored(directory, data_dir, engine)
        try:
            with telling(words, again, account, path):
                result = _evaluation(stored, data, model, path)
        except TasksPending:
            if not no_wait or _uncreated(path):
                raise
            result = standing(path)
    if as_json:
        print(json.dumps(result, sort_keys=True))
    else:
        _show(result)


def _asked(journal: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the submission's options: those not given are as in the journal, if there is one."""
    from ..braket.run import read_journal

    settings = read_journal(journal)[0] if journal.exists() else {}
    stored = {name: settings[name] for name in _OF_A_SUBMISSION if settings.get(name) is not None}
    return stored | dict(given)


def _generator(model: QuantumTrain) -> CircuitGenerator:
    return cast("CircuitGenerator", model.generator)


def _evaluation(
    options: RunOptions, data: Dataset, model: QuantumTrain, journal: Path
) -> dict[str, Any]:
    """Evaluate a trained run's network with its engine's counts, and on a simulator."""
    from ..braket.run import standing
    from ..exchange._imported import gates_of

    generator = _generator(model)
    engine = cast("BraketEngine | RecordedEngine", generator.engine)
    generator.position = 0
    counted = options.evaluate(model, data)
    generator.position = 0  # the same counts again
    path = journal.with_name(f"{journal.stem}-weights.safetensors")
    _run.write_weights(model, options, path)
    generator.engine = engine.simulator_for(gates_of(generator.circuit))
    exact = options.evaluate(model, data)
    return {
        **(standing(journal) if journal.exists() else {"device": engine.config()["device"]}),
        **counted,
        "simulator": exact,
        "weights": str(path),
    }


def _journals(directory: Path, journal: Path | None) -> list[Path]:
    """Return the journal that was named, or all of a run's folder."""
    found = sorted(directory.glob("*.sqlite")) if journal is None else [journal]
    if not found:
        hint = f"Submit it first: qtn-train braket submit {shlex.quote(str(directory))}"
        raise JournalError(must_be(str(directory), "a folder that holds a journal", "none", hint))
    return found


def _uncreated(journal: Path) -> bool:
    """Return whether some tasks do not exist yet, as far as the journal knows."""
    from ..braket.run import read_journal

    return any(task.state in ("planned", "sent") for task in read_journal(journal)[1])


def _session(journal: Path, account: Account) -> Any:
    """Open a session in the region of a journal's device; None where no task is open."""
    from ..braket.run import read_journal

    settings, tasks = read_journal(journal)
    if not any(task.state in ("sent", "created", "failed") for task in tasks):
        return None
    return account.session(settings.get("region"))


@app.command(cls=Command)
def status(
    directory: RunDir,
    profile: Profile = None,
    region: Region = None,
    journal: JournalPath = None,
    as_json: Json = False,
) -> None:
    """Print the states of a run's tasks, places in the queue, and reasons of failure."""
    from ..braket.run import executes_now, look, standing

    results = []
    for path in _journals(directory, journal):
        session = _session(path, Account(profile, region))
        open_ = [] if session is None else look(path, session)
        now = executes_now(path, session) if open_ else None
        results.append(standing(path) | {"open": open_, "executes_tasks": now})
    _print(results, as_json)


@app.command(cls=Command)
def collect(
    directory: RunDir,
    profile: Profile = None,
    region: Region = None,
    journal: JournalPath = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Fetch results; once all are there, evaluate the network of a submission."""
    from ..braket.run import collect as collect_tasks
    from ..braket.run import standing

    results = []
    account = Account(profile, region)
    for path in _journals(directory, journal):
        session = _session(path, account)
        if session is not None:
            collect_tasks(path, session=session, say=lambda line: None)
        if path.resolve() == RunFolder(directory).journal.resolve():
            results.append(standing(path))
            continue
        words: list[str | Path] = ["qtn-train", "braket", "submit", directory]
        own = path.resolve() == RunFolder(directory).submission.resolve()
        again = {"resume": True, "journal": None if own else path}
        with telling(words, again, account, path, collected=True):
            if _uncreated(path):
                raise TasksPending(must_be("tasks", "created", "some that are not"))
            data, model, options = _run.stored(directory, data_dir, _run.recorded(path))
            results.append(_evaluation(options, data, model, path))
    _print(results, as_json)


@app.command(cls=Command)
def cancel(
    directory: RunDir,
    profile: Profile = None,
    region: Region = None,
    yes: Yes = False,
    journal: JournalPath = None,
    as_json: Json = False,
) -> None:
    """Cancel the tasks of a run that are not at an end."""
    from ..braket.run import cancel as cancel_tasks

    if not yes:
        hint = "What runs already may be charged."
        raise ValueError(must_be("yes", "given to cancel tasks", "nothing", hint))
    arns = []
    for path in _journals(directory, journal):
        session = _session(path, Account(profile, region))
        if session is not None:
            arns += cancel_tasks(path, session=session)
    told = json.dumps({"cancelled": arns}) if as_json else f"cancelled {count(len(arns), 'task')}"
    print(told)


@app.command(cls=Command)
@run_options(("device",))
def limit(
    usd: Annotated[str, typer.Option(help="The cap in USD.")] = "",
    profile: Profile = None,
    region: Region = None,
    yes: Yes = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Set the service's own cap on what may be spent on a device, by whatever program."""
    from ..braket.cost import set_spending_limit

    try:
        amount = Decimal(usd)
    except InvalidOperation as error:
        raise ValueError(must_be("usd", "an amount of USD", repr(usd))) from error
    if not yes:
        raise ValueError(must_be("yes", "given to change the account's limit", "nothing"))
    target = Account(profile, region).find(options["device"])
    arn = set_spending_limit(target, amount)
    told = {"device": target.name, "usd": str(amount), "spending_limit": arn}
    print(json.dumps(told) if as_json else f"{target.name}: at most ${show_usd(amount)} ({arn})")


def _print(results: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"journals": results}, sort_keys=True))
    else:
        for result in results:
            _show(result)


def _show(result: Mapping[str, Any]) -> None:
    """Print the state of a journal's tasks, and the result of a finished evaluation."""
    device = result["device"].rpartition("/")[2]
    if "journal" in result:
        states = ", ".join(f"{number} {state}" for state, number in result["states"].items())
        print(
            f"{result['journal']}: {device}, {count(result['tasks'], 'task')} ({states}), "
            f"{count(result['shots'], 'shot')}, {show_spending(result)}"
        )
    if result.get("executes_tasks"):
        print(f"{device} executes tasks {result['executes_tasks']}")
    for one in (*result.get("failed", ()), *result.get("open", ())):
        place = one.get("queue_position")
        queue = "" if place is None else f", position {place} in the queue"
        reason = "" if one["reason"] is None else f": {one['reason']}"
        state = one.get("status", one.get("state"))
        print(f"task {one['task']} {state}{queue}{reason} ({one['arn']})")
        for number, why in one.get("executables", {}).items():
            print(f"    circuit {number}: {why}")
    if "simulator" in result:
        print(
            f"{_run.told(result)} on {device}, "
            f"{_run.told(result['simulator']).removeprefix('test accuracy ')} on a simulator; "
            f"network in {result['weights']}"
        )
