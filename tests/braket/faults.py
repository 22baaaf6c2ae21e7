"""Randomized faults: training runs that are killed and answered with errors, and what they paid.

``python -m tests.braket.faults --runs 200 --seed 0`` makes that many runs. Each trains a small
network for a few steps against a loopback service of its own, in a client process that is killed at
random moments, while the service throttles, fails, drops connections before and after it created
something, loses results, gives them late, cut, empty or in part, fails whole program sets with and
without results, cancels tasks, or lets them wait for ever; while searches are slow and do not know
new tasks, credentials run out, the device goes offline, prices change, a second process tries the
same, and the run's folder is put back as it was copied while a client wrote it. The client is begun
again as a user would, with the user's word to pay failed parts again where it asked for that, until
it ends.

Then: its result must be that of the quiet run, bit for bit; the service must have been asked for
one task for each task and declared attempt of the journal, no more and no fewer; nothing that it
completed was bought a second time; and at no moment may what is charged or reserved pass the
budget of that moment: where time is billed, by no more than what ten tasks cost.

Clients and services are forked from this process, which has loaded everything and runs one thread.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import importlib
import json
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

import qtn_train as qt
from qtn_train._files import write_atomically
from qtn_train.braket.run._reading import read_journal
from qtn_train.braket.stand_in import Control
from qtn_train.engines.counting._braket import BraketEngine
from qtn_train.errors import BudgetError, JournalError, QtnTrainError, TaskFailed, TasksPending
from qtn_train.training import FitConfig, make_optimizer
from tests.braket.sessions import aws_session, boto

#: How a client ends.
DONE, PENDING, FAILED, BUDGET, IN_USE, OTHER, BUG = 0, 10, 11, 12, 13, 14, 15
_ENDS: dict[type[Exception], int] = {
    TasksPending: PENDING,
    TaskFailed: FAILED,
    BudgetError: BUDGET,
    JournalError: IN_USE,
    QtnTrainError: OTHER,
}

#: Devices with and without program sets; those that name probabilities; native gates.
SETUPS: list[dict[str, Any]] = [
    {"device": "SV1", "gradient": "spsa"},
    {"device": "SV1", "gradient": "random-shift", "n_shifts": 2},
    {"device": "Garnet", "gradient": "parameter-shift"},
    {"device": "Garnet", "gradient": "spsa", "native": True, "mitigate_readout": True},
    {"device": "Cepheus-1-108Q", "gradient": "parameter-shift", "native": True},
    {"device": "Forte 1", "gradient": "random-shift", "n_shifts": 3},
]
_RATES = {
    "create-429": 0.1, "create-500": 0.1, "create-drop": 0.1, "create-drop-after": 0.15,
    "create-402": 0.05, "get-429": 0.02, "get-500": 0.02, "get-drop": 0.02, "s3-500": 0.02,
    "s3-drop": 0.02, "search-tasks-429": 0.1, "search-tasks-drop": 0.1, "device-429": 0.05,
    "failed": 0.08, "cancelled": 0.05, "queued": 0.2, "partial": 0.15, "missing": 0.1,
    "late": 0.15, "cut": 0.1, "root": 0.1, "failed-partial": 0.12, "aborted": 0.08,
    "create-403": 0.03, "get-403": 0.02, "s3-403": 0.01, "search-tasks-500": 0.05,
    "search-tasks-denied": 0.05,
}  # fmt: skip
_STEPS = 2
_SHOTS = 100
_SEEDS = 2
_MOST_CLIENTS = 40


@dataclass
class Run:
    """One run: what it is, and what happened to it."""

    number: int
    setup: dict[str, Any]
    folder: Path
    budget: Decimal
    ends: Counter[int] = field(default_factory=Counter)
    kills: int = 0
    copies: int = 0
    refused: int = 0
    declared: int = 0
    tasks: int = 0
    struck: list[str] = field(default_factory=list)

    @property
    def result(self) -> Path:
        return self.folder / "result.json"


class Service(Control):
    """The service in a forked process."""

    def __init__(self, seed: int) -> None:
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reader)
            from qtn_train.braket.stand_in._http import Server

            server = Server(seed)
            os.write(writer, str(server.server_port).encode())
            os.close(writer)
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
            server.serve_forever()
        os.close(writer)
        self.url = f"http://127.0.0.1:{os.read(reader, 16).decode()}"
        os.close(reader)

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def train(run: Run, service: Service, resend: bool, timeout: float) -> None:
    """Train as the command line does, or go on where the last client stopped."""
    os.environ.update(service.env)
    arn = service.arn(run.setup["device"])
    seed = run.number % _SEEDS
    engine = BraketEngine(
        arn,
        _SHOTS,
        seed=seed,
        journal=run.folder / "journal.sqlite",
        budget_usd=run.budget,
        session=aws_session(arn),
        poll_seconds=0.004,
        timeout_seconds=timeout,
        resend_failed=resend,
        say=lambda line: None,
        **{k: v for k, v in run.setup.items() if k != "device"},
    )
    circuit = qt.ansatz.ry_cx_chain(3, 1)
    model = qt.QuantumTrain(nn.Linear(2, 2), circuit=circuit, engine=engine, seed=seed)
    x, y = torch.linspace(-1, 1, 24).reshape(12, 2), torch.arange(12) % 2
    data = qt.Dataset("line", x, y, x, y, 2, ("even", "odd"))
    config = FitConfig(epochs=_STEPS, batch_size=12, lr=0.1)
    history = qt.fit(model, data, config=config, folder=run.folder, resume=True, progress_bar=False)
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.numpy().tobytes())
    losses = [[one["train_loss"], one["test_loss"]] for one in history.epochs]
    result = {"losses": losses, "sha256": digest.hexdigest(), "position": engine.position}
    write_atomically(run.result, json.dumps(result).encode())


def fork(call: Callable[[], None], log: Path) -> int:
    """Run something in a process of its own; return its id."""
    pid = os.fork()
    if pid == 0:
        _child(call, log)
    return pid


def _child(call: Callable[[], None], log: Path) -> NoReturn:
    status = BUG
    try:
        call()
        status = DONE
    except QtnTrainError as error:
        status = next(end for kind, end in _ENDS.items() if isinstance(error, kind))
        with open(log, "a") as file:
            print(f"{type(error).__name__}: {error}", file=file)
    except BaseException:
        with open(log, "a") as file:
            traceback.print_exc(file=file)
    finally:
        os._exit(status)


def wait(pid: int, kill_after: float | None = None) -> int | None:
    """Wait for a process; return how it ended, None where it was killed here."""
    began = time.monotonic()
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        passed = time.monotonic() - began
        if passed > 120:
            os.kill(pid, signal.SIGABRT)
        if kill_after is not None and passed >= kill_after:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(0.002)


@dataclass
class Quiet:
    """What a run gives to which nothing happens, and what it takes."""

    result: dict[str, Any]
    usd: Decimal
    seconds: float
    shots: int


def quiet(run: Run, service: Service) -> Quiet:
    """Make a run to which nothing happens."""
    service.reset()
    began = time.monotonic()
    end = wait(fork(lambda: train(run, service, False, 60.0), run.folder / "log.txt"))
    seconds = time.monotonic() - began
    assert end == DONE, (run.folder / "log.txt").read_text()
    rows = service.ledger()
    usd = sum((row["usd_created"] for row in rows), Decimal(0))
    shots = sum(row["shots"] for row in rows)
    return Quiet(json.loads(run.result.read_text()), usd, seconds, shots)


def noisy(run: Run, service: Service, calm: Quiet, rng: random.Random) -> None:
    """Bring a run to its end, whatever happens to it, and check what it paid."""
    service.reset()
    service.options(
        split_results=rng.random() < 0.7,
        simulator_ms=rng.choice([12, 12, 4000, 9000]),
        search_page=rng.choice([1, 2, 100]),
        search_lag=rng.choice([0, 0, 1, 3]),
        search_seconds=rng.choice([0.0, 0.0, 0.02]),
    )
    service.chance(rng.randrange(2**32), _RATES, rng.randint(0, 12))
    if rng.random() < 0.2:
        service.fault("queued", 1, None)
    if rng.random() < 0.2:
        service.fault("missing", 1, None)
    _to_the_end(run, service, calm, rng)
    _check_paid(run, service, calm)
    run.struck = service.struck()


def _to_the_end(run: Run, service: Service, calm: Quiet, rng: random.Random) -> None:
    log = run.folder / "log.txt"
    resend = False
    copied: Path | None = None
    for client in range(_MOST_CLIENTS):
        if run.ends[PENDING] == 2 or client == 10:  # what waits for ever goes on now
            service.clear()
            service.chance(rng.randrange(2**32), _RATES, 3 if client < 10 else 0)
        _between_clients(run, service, client, rng, steady=copied is not None or run.copies > 0)
        if copied is not None and rng.random() < 0.5:
            _put_back(run, copied)
            copied = None
        os.environ["AWS_MAX_ATTEMPTS"] = str(rng.randint(1, 3))
        kill = rng.uniform(0, 1.2 * calm.seconds) if client < 8 and rng.random() < 0.7 else None
        timeout = 20.0 if client > 10 else 0.3
        pid = fork(lambda r=resend, t=timeout: train(run, service, r, t), log)
        if rng.random() < 0.1:
            run.refused += _second(run, service, log)
        if copied is None and client < 8 and rng.random() < 0.15:
            time.sleep(rng.uniform(0, calm.seconds))
            copied = _copy(run, client)
        end = wait(pid, kill)
        _check_budget(run, service)
        before, run.declared = run.declared, _attempts(run)
        assert resend or run.declared <= before, "sent again without the user's word"
        if end is None:
            run.kills += 1
            continue
        run.ends[end] += 1
        resend = end == FAILED
        if end == DONE:
            return
        if end == BUDGET:
            run.budget += 2 * calm.usd
        assert end in (PENDING, FAILED, BUDGET, IN_USE, OTHER), log.read_text()
    raise AssertionError(f"no end after {_MOST_CLIENTS} clients: {log.read_text()[-2000:]}")


def _between_clients(
    run: Run, service: Service, client: int, rng: random.Random, steady: bool
) -> None:
    """Let the device go away and come back, and its price change.

    The price is steady from the moment that the run's folder was copied: a journal that is put back
    does not know the tasks made since, and the service does not tell what they cost.
    """
    device, most = run.setup["device"], client < 10
    gone = rng.random() < 0.08 and most and (run.folder / "journal.sqlite").exists()
    service.set_status(device, "OFFLINE" if gone else "ONLINE")
    if most and device != "SV1" and rng.random() < 0.08 and not steady:
        service.set_price(device, shot=str(Decimal(rng.randint(1, 20)) / 10_000))


def _copy(run: Run, client: int) -> Path:
    """Copy the run's folder file by file, as it is, while a client writes it."""
    target = run.folder.with_name(f"{run.folder.name}-copied-{client}")
    target.mkdir()
    for path in sorted(run.folder.iterdir()):
        with suppress(FileNotFoundError):  # it was replaced meanwhile
            if path.name != "log.txt":
                shutil.copyfile(path, target / path.name)
    return target


def _put_back(run: Run, copied: Path) -> None:
    """Replace the run's folder by a copy of it, if that holds a journal."""
    if not (copied / "journal.sqlite.copy").exists():
        return
    for path in run.folder.iterdir():
        if path.name != "log.txt":
            path.unlink()
    for path in copied.iterdir():
        shutil.copyfile(path, run.folder / path.name)
    run.copies += 1
    run.declared = _attempts(run)


def _check_budget(run: Run, service: Service) -> None:
    rows = service.ledger()
    spent = sum((row["usd"] for row in rows), Decimal(0))
    bound = Decimal(0)
    if run.setup["device"] == "SV1":
        bound = 10 * max((row["usd_created"] for row in rows), default=Decimal(0))
    assert spent <= run.budget + bound, f"{spent} USD of {run.budget}"


def _second(run: Run, service: Service, log: Path) -> bool:
    """Begin the same run a second time meanwhile; return whether it was refused."""
    end = wait(fork(lambda: train(run, service, False, 0.3), log))
    assert end in (DONE, PENDING, FAILED, BUDGET, IN_USE, OTHER), log.read_text()
    return end == IN_USE


def _attempts(run: Run) -> int:
    """Return how many further attempts the journal holds."""
    try:
        tasks = read_journal(run.folder / "journal.sqlite")[1]
    except JournalError:  # killed before it was made
        return 0
    return sum(task.attempt > 0 for task in tasks)


def _check_paid(run: Run, service: Service, calm: Quiet) -> None:
    """Hold the service's ledger against the journal."""
    ledger = {row["token"]: row for row in service.ledger()}
    _, tasks = read_journal(run.folder / "journal.sqlite")
    assert len(ledger) == len(service.ledger()), "a task was made twice"
    assert set(ledger) == {task.token for task in tasks}, "journal and service differ"
    run.tasks, run.declared = len(tasks), sum(task.attempt > 0 for task in tasks)
    completed = 0
    for task in tasks:
        row = ledger[task.token]
        assert row["arn"] == task.arn
        completed += row["successful"] if row["status"] == "COMPLETED" else 0
        if run.setup["device"] != "SV1":
            assert task.usd >= row["usd"], f"{task.usd} USD written down of {row['usd']}"
            assert not task.usd or task.state == "done"
    assert completed <= calm.shots, f"{completed} shots for {calm.shots}: bought twice"


def _warm_up() -> None:
    """Load all that a client loads; no connection is made, no thread begun, no gradient taken."""
    torch.set_num_threads(1)
    gc.freeze()  # a fork then copies less
    for region in ("us-east-1", "us-west-1", "eu-north-1"):
        for name in ("braket", "s3", "sts"):
            boto(region).client(name)
    for name in (
        "braket.aws",
        "braket.emulation.local_emulator",
        "braket.program_sets",
        "safetensors.torch",
        "torch._dynamo",
        "qtn_train.braket.stand_in._http",
    ):
        importlib.import_module(name)
    circuit = qt.ansatz.ry_cx_chain(3, 1)
    circuit.portable()
    make_optimizer(qt.QuantumTrain(nn.Linear(2, 2), circuit=circuit, seed=0), FitConfig())


def main(numbers: Iterable[int], seed: int, folder: Path) -> list[Run]:
    """Make runs, and raise AssertionError at the first that is not as it must be.

    Args:
        numbers: Which of the seed's runs.
        seed: Of everything that is random here; the moments of the kills depend on the machine.
        folder: Where their files go.

    Returns:
        The runs.
    """
    _warm_up()
    service = Service(seed)
    try:
        return list(_runs(numbers, seed, folder, service))
    finally:
        service.close()


def _runs(numbers: Iterable[int], seed: int, folder: Path, service: Service) -> Iterator[Run]:
    known: dict[tuple[int, int], Quiet] = {}
    for number in numbers:
        rng = random.Random(f"{seed}/{number}")
        kind = rng.randrange(len(SETUPS))
        key = (kind, number % _SEEDS)
        if key not in known:
            place = folder / f"quiet-{number}"
            place.mkdir()
            known[key] = quiet(Run(number, SETUPS[kind], place, Decimal(10**6)), service)
        calm = known[key]
        share = Decimal(str(round(rng.uniform(0.3, 0.9) if rng.random() < 0.3 else 5.0, 2)))
        run = Run(number, SETUPS[kind], folder / f"run-{number}", share * calm.usd)
        run.folder.mkdir()
        try:
            noisy(run, service, calm, rng)
            result = json.loads(run.result.read_text())
            assert result == calm.result, f"{result} is not the quiet run's {calm.result}"
        except AssertionError as error:
            raise AssertionError(f"run {number} of seed {seed}, {run}: {error}") from error
        yield run


def in_parallel(n_runs: int, seed: int, folder: Path, jobs: int) -> list[Run]:
    """Make runs, some at once, each share of them in a process of its own."""
    pids = []
    for job in range(jobs):
        place = folder / f"job-{job}"
        place.mkdir()

        def work(job: int = job, place: Path = place) -> None:
            runs = main(range(job, n_runs, jobs), seed, place)
            (place / "runs.pickle").write_bytes(pickle.dumps(runs))

        pids.append((fork(work, place / "log.txt"), place))
    ends = [(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), place) for pid, place in pids]
    for end, place in ends:
        assert end == DONE, (place / "log.txt").read_text()
    return [run for _, place in ends for run in pickle.loads((place / "runs.pickle").read_bytes())]


def kinds(runs: list[Run]) -> Counter[str]:
    """Return how often each kind of fault struck, those that never did included."""
    struck = Counter(dict.fromkeys(sorted(_RATES), 0))
    struck.update(kind for run in runs for kind in run.struck)
    return struck


def summary(runs: list[Run]) -> str:
    """Return what happened, in one line."""
    ends = sum((run.ends for run in runs), Counter())
    names = {PENDING: "pending", FAILED: "failed", BUDGET: "budget", IN_USE: "in use"}
    told = ", ".join(f"{ends[end]} {name}" for end, name in names.items())
    tasks, declared = sum(r.tasks for r in runs), sum(r.declared for r in runs)
    struck = kinds(runs)
    each = ", ".join(f"{count} {kind}" for kind, count in struck.items())
    return (
        f"{len(runs)} runs equal the quiet ones; {sum(r.kills for r in runs)} kills, "
        f"{sum(r.copies for r in runs)} copied journals, "
        f"{struck.total()} faults of {len(struck)} kinds ({each}); "
        f"clients ended {ends[DONE]} done, {told}, {ends[OTHER]} other; "
        f"{sum(r.refused for r in runs)} second clients refused; "
        f"{tasks} tasks = {tasks - declared} distinct + {declared} declared attempts; "
        "0 paid twice, 0 lost; 0 charged above the budget"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Randomized faults against the loopback service")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        try:
            made = in_parallel(options.runs, options.seed, Path(temporary), options.jobs)
        except AssertionError as problem:
            sys.exit(f"faults: {problem}")
    print(f"{summary(made)}; {time.monotonic() - start:.0f} s")
    absent = [kind for kind, count in kinds(made).items() if not count]
    if len(made) >= 200 and absent:
        sys.exit(f"faults: none of {', '.join(absent)} ever struck")
