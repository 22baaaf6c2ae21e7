"""The command line on Amazon Braket: ``qtn-train braket estimate | submit | status | collect | …``.

    train --engine braket ──┐                           ┌── RUN/braket.sqlite
                            ├──► estimate ──► --yes ──► engine
    braket submit RUN ──────┘                           └── RUN/submission.sqlite

Whatever costs money is estimated first and needs the user's word.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from . import _cli_run
from ._cli_run import JOURNAL, WEIGHTS, naming_options, say
from .errors import BudgetError, JournalError, TaskFailed, TasksPending, must_be, positive_int

if TYPE_CHECKING:
    from tqdm import tqdm

    from .circuits import Circuit
    from .data import Dataset
    from .engines import BraketEngine, Engine
    from .engines._braket._estimate import Estimate
    from .engines._braket._recorded import RecordedEngine
    from .engines._braket._target import Target
    from .generators import CircuitGenerator
    from .hybrid import QuantumTrain

SUBMISSION = "submission.sqlite"
_FITTING = 3

app = typer.Typer(
    help="Amazon Braket: what a run would cost, and a trained run's circuit on a device.",
    rich_markup_mode=None,
)

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
Placement = Annotated[
    str | None, typer.Option(help="Physical label of each qubit, with commas; else found.")
]
RunDir = Annotated[Path, typer.Argument(help="Folder of a run.")]
JournalPath = Annotated[
    Path | None, typer.Option("--journal", help="Another journal than the run's own.")
]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the full image sets.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


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
        from .engines._braket._devices import open_session

        region = region or self.region
        return open_session(profile=self.profile, region=region, bucket=self.bucket)

    def find(self, device: str | None) -> Target:
        """Return a device; only one of the service's asks for an account."""
        from .engines._braket._devices import resolve

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
    from .engines import BraketEngine
    from .engines._braket._engine import _check_money
    from .engines._braket._estimate import estimate
    from .engines._braket._recorded import bill
    from .engines._braket._target import check

    chosen = _cli_run.engine_options(options)
    _check_estimator(chosen["gradient"], chosen["n_shifts"])
    target = account.find(options["device"])
    check(target, circuit, chosen["shots"], chosen["placement"])
    counted = {name: chosen[name] for name in ("shots", "gradient", "n_shifts", "mitigate_readout")}
    told = estimate(circuit, target, n_outcomes=n_weights, steps=steps, evaluations=1, **counted)
    spent = Decimal(bill(journal)["spent_usd"]) if journal.exists() else Decimal(0)
    budget, cap = account.budget_usd, Decimal(0)
    if target.billed:
        if budget is None and steps == 0:
            budget = f"{told.run.usd_high + (spent if resume else 0):f}"
        if budget is not None or account.yes:
            cap = _check_money(target, journal, budget)
        _agree(told, spent, cap, account.yes)
    else:
        for text in told.warnings:
            say(f"warning: {text}")
    waiting: dict[str, Any] = {} if wait else {"timeout_seconds": 0.0}
    with _cli_run.new_folder(journal.parent):
        return BraketEngine(
            options["device"] if target.arn is None else target.device,
            **chosen,
            journal=None if target.kind == "local" else journal,
            budget_usd=budget,
            resend_failed=resume,
            say=StatusLine(),
            **waiting,
        )


def _check_estimator(gradient: str | None, n_shifts: int | None) -> None:
    from .engines._braket._programs import check_gradient
    from .engines._estimators import check_options

    check_gradient(gradient)
    check_options(gradient, n_shifts=n_shifts)


def training_engine(
    run: dict[str, Any], account: Account, out: Path, resume: bool, stack: ExitStack
) -> _cli_run.OpenEngine:
    """Return what opens the engine of a training run, which ends with ``stack``."""

    def opened(circuit: Circuit, n_weights: int, data: Dataset) -> Engine:
        config = _cli_run.fit_options(run)
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


@app.command()
def estimate(
    directory: Annotated[Path | None, typer.Argument(help="Folder of a run.")] = None,
    dataset: Annotated[str, typer.Option(help="Without a folder: the data set.")] = "iris",
    ansatz: Annotated[str | None, typer.Option(help="Without a folder: as for train.")] = None,
    layers: Annotated[int | None, typer.Option(help="Without a folder: as for train.")] = None,
    qubits: Annotated[int | None, typer.Option(help="Without a folder: as for train.")] = None,
    device: Device = None,
    shots: Annotated[int | None, typer.Option(help="Shots of each circuit.")] = None,
    gradient: Annotated[
        str, typer.Option(help="parameter-shift, random-shift or spsa.")
    ] = "parameter-shift",
    steps: Annotated[
        int, typer.Option(help="Gradient steps; 0: what `submit` costs, one evaluation.")
    ] = 100,
    n_shifts: Shifts = None,
    mitigate_readout: Mitigate = None,
    profile: Profile = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Say what a run on a device would cost, and whether it can work. Costs nothing."""
    from .engines._braket._estimate import estimate as estimated
    from .engines._braket._estimate import suggest

    circuit, n_weights = _circuit(directory, dataset, ansatz, layers, qubits)
    with naming_options():
        if shots is None:
            raise ValueError(must_be("shots", "given", "nothing", "For example --shots 1000."))
        if steps:
            positive_int("--steps", steps)
        _check_estimator(gradient, n_shifts)
        target = Account(profile, region).find(device)
        told = estimated(
            circuit,
            target,
            shots=shots,
            gradient=cast(Any, gradient),
            n_outcomes=n_weights,
            steps=steps,
            evaluations=1,
            n_shifts=n_shifts,
            mitigate_readout=bool(mitigate_readout),
        )
    fitting = suggest(target, n_weights, shots=shots)[:_FITTING] if told.warnings else []
    if as_json:
        result = told.to_json() | {"suggestions": [asdict(one) for one in fitting]}
        print(json.dumps(result, sort_keys=True))
        return
    for line in told.lines():
        print(line)
    for one in fitting:
        print(f"fits               {one}")


def _circuit(
    directory: Path | None,
    dataset: str,
    ansatz: str | None,
    layers: int | None,
    qubits: int | None,
) -> tuple[Circuit, int]:
    """Return the circuit of a run, or of a new one, and how many weights it makes."""
    from .data import DATASETS
    from .training import default_circuit, target_for

    if dataset not in DATASETS:
        raise ValueError(must_be("--dataset", f"one of {', '.join(DATASETS)}", repr(dataset)))
    if directory is not None:
        run = _cli_run.stored_options(directory)
        dataset, ansatz, layers, qubits = (
            run[name] for name in ("dataset", "ansatz", "layers", "qubits")
        )
    n_weights = sum(p.numel() for p in target_for(dataset).parameters())
    _, circuit = default_circuit(
        dataset, n_weights, ansatz=ansatz, n_layers=layers, n_qubits=qubits
    )
    return circuit, n_weights


@app.command()
def submit(
    directory: RunDir,
    device: Device = None,
    shots: Annotated[int | None, typer.Option(help="Shots of each circuit.")] = None,
    mitigate_readout: Mitigate = None,
    native: Native = None,
    placement: Placement = None,
    budget_usd: Budget = None,
    profile: Profile = None,
    region: Region = None,
    bucket: Bucket = None,
    yes: Yes = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Send, and pay, again what has failed for good.")
    ] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Leave it to `collect`.")] = False,
    journal: JournalPath = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Evaluate a trained run's circuit on a device. Once submitted, the device may be left out."""
    path = journal or directory / SUBMISSION
    given = {
        "device": device,
        "shots": shots,
        "mitigate_readout": mitigate_readout,
        "native": native,
        "placement": placement,
    }
    asked = _asked(path, given)
    account = Account(profile, region, bucket, budget_usd, yes)

    def opened(circuit: Circuit, n_weights: int, data: Dataset) -> Engine:
        if asked["shots"] is None:
            raise ValueError(must_be("shots", "given", "nothing", "For example --shots 1000."))
        options = {**run, **asked, "gradient": None, "n_shifts": None}
        more: dict[str, Any] = {"steps": 0, "resume": resume, "wait": not no_wait}
        return open_engine(options, account, circuit, n_weights, path, **more)

    run = {**_cli_run.stored_options(directory), "torch_device": "cpu"}
    _cli_run.use_threads(run["threads"])
    data, model = _cli_run.build(run, data_dir, opened)
    command = ["qtn-train", "braket", "submit", str(directory), "--resume"]
    if journal is not None:
        command += ["--journal", str(journal)]
    with closing(cast("BraketEngine", _generator(model).engine)):
        try:
            with telling(command, account):
                result = _evaluation(directory, run, data, model, path)
        except KeyboardInterrupt as error:
            text = f"interrupted; nothing is lost. Go on with: {shlex.join(command[:-1])}"
            raise TasksPending(text) from error
        except TasksPending:
            if not no_wait or _uncreated(path):
                raise
            result = _standing(path)
    if as_json:
        print(json.dumps(result, sort_keys=True))
    else:
        _show(result)


def _asked(journal: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be submitted: what is not given is as in the journal, if there is one."""
    from .engines._braket._journal import read_journal

    settings = dict(read_journal(journal)[0]) if journal.exists() else {}
    if settings.get("placement") is not None:
        settings["placement"] = ",".join(map(str, settings["placement"]))
    return {k: settings.get(k) if value is None else value for k, value in given.items()}


def _generator(model: QuantumTrain) -> CircuitGenerator:
    return cast("CircuitGenerator", model.generator)


def _evaluation(
    directory: Path, run: dict[str, Any], data: Dataset, model: QuantumTrain, journal: Path
) -> dict[str, Any]:
    """Evaluate a trained run's network on what its engine counts, and on a simulator."""
    from .training import evaluate, read_checkpoint, restore_model

    restore_model(model, *read_checkpoint(directory))
    generator = _generator(model)
    engine = cast("BraketEngine | RecordedEngine", generator.engine)
    generator.position = 0
    counted = evaluate(model, data.x_test, data.y_test)
    generator.position = 0  # the same counts again
    path = journal.with_name(f"{journal.stem}-{WEIGHTS}")
    _cli_run.write_weights(model, run, path)
    generator.engine = engine.simulator
    exact = evaluate(model, data.x_test, data.y_test)
    names = ("test_loss", "test_accuracy")
    return {
        **(_standing(journal) if journal.exists() else {"device": engine.config()["device"]}),
        **dict(zip(names, counted, strict=True)),
        "simulator": dict(zip(names, exact, strict=True)),
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
    """Whether some tasks do not exist yet, as far as the journal knows."""
    from .engines._braket._journal import read_journal

    return any(task.state in ("planned", "sent") for task in read_journal(journal)[1])


def _standing(journal: Path) -> dict[str, Any]:
    """Return where the tasks of a journal stand, as JSON data."""
    from .engines._braket._journal import read_journal
    from .engines._braket._recorded import bill

    failed = [
        {"task": task.name, "arn": task.arn, "reason": task.reason}
        for task in read_journal(journal)[1]
        if task.reason is not None
    ]
    return {"journal": str(journal), **bill(journal), "failed": failed}


def _session(journal: Path, account: Account) -> Any:
    """Open a session in the region of a journal's device; None where no task is open."""
    from .engines._braket._journal import read_journal

    settings, tasks = read_journal(journal)
    if not any(task.state in ("sent", "created") for task in tasks):
        return None
    region = settings["device"].split(":")[3] if settings["device"].startswith("arn:") else ""
    with naming_options():
        return account.session(region)


@app.command()
def status(
    directory: RunDir,
    profile: Profile = None,
    region: Region = None,
    journal: JournalPath = None,
    as_json: Json = False,
) -> None:
    """Say where a run's tasks stand: their states, places in the queue, and reasons of failure."""
    results = []
    for path in _journals(directory, journal):
        session = _session(path, Account(profile, region))
        open_ = [] if session is None else _open_tasks(path, session)
        results.append(_standing(path) | {"open": open_})
    _print(results, as_json)


def _open_tasks(journal: Path, session: Any) -> list[dict[str, Any]]:
    """Ask the service where the open tasks of a journal stand."""
    from .engines._braket._devices import _asking
    from .engines._braket._journal import read_journal

    found = []
    for task in read_journal(journal)[1]:
        if task.state == "created" and task.arn is not None:
            with _asking(task.arn):
                answer = session.braket_client.get_quantum_task(
                    quantumTaskArn=task.arn, additionalAttributeNames=["QueueInfo"]
                )
            queue = (answer.get("queueInfo") or {}).get("position")
            place = None if queue in (None, "None") else queue
            told = {"task": task.name, "arn": task.arn, "status": answer["status"]}
            found.append(told | {"queue_position": place, "reason": answer.get("failureReason")})
    return found


@app.command()
def collect(
    directory: RunDir,
    profile: Profile = None,
    region: Region = None,
    journal: JournalPath = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Fetch what is finished; once all is, evaluate the network that a submission gave."""
    from .engines._braket import _manage

    results = []
    for path in _journals(directory, journal):
        session = _session(path, Account(profile, region))
        if session is not None:
            _manage.collect(path, session=session, say=lambda line: None)
        if path.name == JOURNAL:
            results.append(_standing(path))
            continue
        command = ["qtn-train", "braket", "submit", str(directory), "--resume", "--yes"]
        with telling(command, Account()):
            if _uncreated(path):
                raise TasksPending(must_be("tasks", "created", "some that are not"))
            run = {**_cli_run.stored_options(directory), "torch_device": "cpu"}
            data, model = _cli_run.build(run, data_dir, _cli_run.recorded(path))
            results.append(_evaluation(directory, run, data, model, path))
    _print(results, as_json)


@app.command()
def cancel(
    directory: RunDir,
    profile: Profile = None,
    region: Region = None,
    yes: Yes = False,
    journal: JournalPath = None,
    as_json: Json = False,
) -> None:
    """Cancel the tasks of a run that are not at an end."""
    from .engines._braket import _manage

    if not yes:
        hint = "What runs already may be charged."
        raise ValueError(must_be("--yes", "given to cancel tasks", "nothing", hint))
    arns = []
    for path in _journals(directory, journal):
        session = _session(path, Account(profile, region))
        if session is not None:
            arns += _manage.cancel(path, session=session)
    told = json.dumps({"cancelled": arns}) if as_json else f"cancelled {len(arns)} tasks"
    print(told)


@app.command()
def limit(
    device: Device = None,
    usd: Annotated[str, typer.Option(help="The cap in USD.")] = "",
    profile: Profile = None,
    region: Region = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Set the service's own cap on what may be spent on a device, by whatever program."""
    from .engines._braket._money import set_spending_limit

    try:
        amount = Decimal(usd)
    except InvalidOperation as error:
        raise ValueError(must_be("--usd", "an amount of USD", repr(usd))) from error
    if not yes:
        raise ValueError(must_be("--yes", "given to change the account's limit", "nothing"))
    with naming_options():
        target = Account(profile, region).find(device)
    arn = set_spending_limit(target, amount)
    told = {"device": target.name, "usd": str(amount), "spending_limit": arn}
    print(json.dumps(told) if as_json else f"{target.name}: at most ${amount:,.2f} ({arn})")


def _print(results: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"journals": results}, sort_keys=True))
    else:
        for result in results:
            _show(result)


def _show(result: Mapping[str, Any]) -> None:
    """Print where a journal stands, and what came out of it."""
    device = result["device"].rpartition("/")[2]
    if "journal" in result:
        states = ", ".join(f"{count} {state}" for state, count in result["states"].items())
        print(
            f"{result['journal']}: {device}, {result['tasks']:,} tasks ({states}), "
            f"{result['shots']:,} shots, ${Decimal(result['spent_usd']):,.2f}"
        )
    for one in (*result.get("failed", ()), *result.get("open", ())):
        place = one.get("queue_position")
        queue = "" if place is None else f", position {place} in the queue"
        reason = "" if one["reason"] is None else f": {one['reason']}"
        print(f"task {one['task']} {one.get('status', 'failed')}{queue}{reason} ({one['arn']})")
    if "simulator" in result:
        print(
            f"test accuracy {100 * result['test_accuracy']:.2f} % on {device}, "
            f"{100 * result['simulator']['test_accuracy']:.2f} % on a simulator; "
            f"network in {result['weights']}"
        )
