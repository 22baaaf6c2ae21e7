"""The command line on Amazon Braket: estimates, submissions, training, and wrong input."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import forked
import pytest
import tolerances
import torch

pytest.importorskip("braket.aws", reason="the braket extra is not installed")

from safetensors.torch import load_file
from tqdm import tqdm

import qtn_train as qt
from qtn_train import data, plots
from qtn_train.braket.run._journal import Journal
from qtn_train.braket.run._tasks import TaskService
from qtn_train.braket.stand_in import kill_at_creation
from qtn_train.cli import _device as _cli_device
from qtn_train.cli._app import main
from qtn_train.engines import Engine
from qtn_train.recipes import mlp
from qtn_train.training import evaluate, read_checkpoint

SMALL = ("--ansatz", "ry-cx-chain", "--layers", "1")
GARNET = ("--engine", "braket", "--device", "Garnet", "--shots", "100", "--gradient", "spsa")
PAY = ("--yes", "--budget-usd", "100")

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(plots, "curves", forked.no_curves)
    monkeypatch.setattr(plots, "save", forked.save)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def cli(command_line: Cli) -> Cli:
    """Run the command line in this process; return exit status, standard output and error."""
    return command_line


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was trained on a simulator; not to be changed."""
    folder = tmp_path_factory.mktemp("trained") / "base"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "curves", forked.no_curves)
        patch.setattr(plots, "save", forked.save)
        command = ["train", "iris", *SMALL, "--epochs", "2", "--shots", "50", "--gradient", "spsa"]
        patch.setattr(sys, "argv", ["qtn-train", *command, "--out", str(folder)])
        main()
    return folder


@pytest.fixture
def base(trained: Path, tmp_path: Path) -> str:
    """A copy of it, ``base`` in the folder in which the command line runs."""
    (tmp_path / "base").mkdir()
    for path in trained.iterdir():
        (tmp_path / "base" / path.name).write_bytes(path.read_bytes())
    return "base"


def last_line(err: str) -> str:
    return [line for line in re.split(r"[\r\n]", err) if line.strip()][-1]


def done(result: tuple[int, str, str]) -> dict[str, Any]:
    """The JSON that a command printed when it worked."""
    status, out, err = result
    assert status == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def failed(result: tuple[int, str, str], status: int) -> str:
    """The one line that a command ended with."""
    assert result[0] == status, result[2]
    assert result[1] == ""
    assert "Traceback" not in result[2]
    line = last_line(result[2])
    assert line.startswith("qtn-train: ")
    return line.removeprefix("qtn-train: ")


def killed_in_creation(service: Any, folder: Path, *argv: str) -> None:
    """Run a command in a process, and kill it when a task is made and it does not know yet."""
    before = len(service.ledger())
    kill_at_creation(service, shlex.join(["qtn-train", *argv]), folder)
    assert len(service.ledger()) > before


def spent(service: Any) -> tuple[int, Decimal]:
    """How many tasks were made, and what they cost."""
    return len(service.ledger()), service.spent()


# --- estimates ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "options"),
    [
        ("Garnet", ("--gradient", "spsa")),
        ("Garnet", ("--gradient", "parameter-shift", "--mitigate-readout")),
        ("SV1", ("--gradient", "random-shift", "--n-shifts", "2")),
    ],
)
def test_the_estimate_is_the_bill(
    service: Any, cli: Cli, device: str, options: tuple[str, ...]
) -> None:
    shared = (*SMALL, "--device", device, "--shots", "100", *options)
    told = done(cli("braket", "estimate", *shared, "--steps", "2", "--json"))
    assert service.ledger() == []
    more = ("--native",) if "--mitigate-readout" in options else ()
    run = done(
        cli(
            *("train", "iris", "--engine", "braket", *shared, *more, *PAY),
            *("--epochs", "2", "--out", "run", "--json"),
        )
    )
    tasks, usd = spent(service)
    assert told["run"]["usd_low"] == told["run"]["usd_high"]
    assert Decimal(told["run"]["usd_high"]) == usd == Decimal(run["braket"]["spent_usd"])
    assert told["run"]["tasks"] == tasks == run["braket"]["tasks"]
    assert told["run"]["shots"] == run["braket"]["shots"]
    assert run["braket"]["device"] == service.arn(device)
    assert run["braket"]["attempts"] == 0


def test_an_estimate_says_what_does_not_fit_and_what_does(service: Any, cli: Cli) -> None:
    published = ("--dataset", "mnist", "--ansatz", "u3-cu3-ring", "--layers", "16")
    status, out, err = cli(
        "braket", "estimate", *published, "--device", "Garnet", "--shots", "1000"
    )
    assert (status, err) == (0, "")
    assert "warning: the expected fidelity is 0.79 %, below 10 %" in out
    assert re.search(r"^fits +--ansatz u3-cu3-chain --qubits 9 --layers \d+", out, re.M)
    told = done(cli("braket", "estimate", "--device", "Garnet", "--shots", "100", "--json"))
    (warning,) = told["warnings"]
    assert warning.startswith("100 shots are fewer than the 256 outcomes.")
    assert told["suggestions"][0]["n_qubits"] == 6
    _, out, _ = cli("braket", "estimate", "--device", "Garnet", "--shots", "100")
    first = re.search(r"^fits +(--ansatz .*)$", out, re.M)
    assert first is not None
    assert first[1].endswith("--weights-per-outcome 3")
    again = cli("braket", "estimate", *first[1].split(), "--device", "Garnet", "--shots", "100")
    assert "warning" not in again[1]
    assert "fits" not in again[1]
    assert told["price_date"]
    assert spent(service)[0] == 0


def test_an_estimate_of_a_run_takes_its_circuit(service: Any, cli: Cli, base: str) -> None:
    told = done(
        cli(
            "braket",
            "estimate",
            base,
            "--device",
            "Garnet",
            "--shots",
            "9",
            "--steps",
            "0",
            "--json",
        )
    )
    assert told["two_qubit_gates"] == 7
    assert told["run"]["circuits"] == 1
    local = done(cli("braket", "estimate", base, "--device", "local:sv", "--shots", "9", "--json"))
    assert Decimal(local["run"]["usd_high"]) == 0


# --- submissions ----------------------------------------------------------------------------------


def submit(base: str, *more: str) -> tuple[str, ...]:
    return ("braket", "submit", base, "--device", "Garnet", "--shots", "2000", *more)


def test_nothing_is_submitted_without_the_users_word(service: Any, cli: Cli, base: str) -> None:
    result = cli(*submit(base))
    assert failed(result, 2) == (
        "`--yes` must be given for IQM Garnet, which costs money; got nothing. "
        "Add --yes to spend what the estimate says."
    )
    assert "$3.20: 1 circuit, 2,000 shots, 1 task" in result[2]
    assert spent(service)[0] == 0
    assert not list(Path(base).glob("*.sqlite*"))


def test_submit_waits_and_evaluates(service: Any, cli: Cli, base: str) -> None:
    result = done(cli(*submit(base, "--yes", "--json")))
    assert (result["tasks"], result["shots"], result["spent_usd"]) == (1, 2000, "3.20000")
    assert spent(service) == (1, Decimal("3.2"))
    assert result["test_accuracy"] == pytest.approx(
        result["simulator"]["test_accuracy"], abs=tolerances.SHOTS_ON_IRIS
    )
    assert result["test_loss"] != result["simulator"]["test_loss"]
    net, iris = mlp(4, 16, 3), data.load("iris")
    net.load_state_dict(load_file(result["weights"]))
    loss, accuracy = evaluate(net, iris.x_test, iris.y_test)
    assert accuracy == result["test_accuracy"]
    assert loss == pytest.approx(result["test_loss"], rel=tolerances.TEST_LOSS)
    # The same once more is read from the journal, and so is what `collect` says.
    assert done(cli(*submit(base, "--json"))) == result
    assert done(cli(*submit(base, "--resume", "--json"))) == result
    assert "`--yes` must be given" in failed(cli(*submit(base, "--resend")), 2)
    (again,) = done(cli("braket", "collect", base, "--json"))["journals"]
    assert again == result
    _, out, _ = cli("braket", "collect", base)
    assert re.search(r"test accuracy [\d.]+ % on Garnet, [\d.]+ % on a simulator; network in", out)
    assert spent(service)[0] == 1


def test_submitted_now_and_collected_later(service: Any, cli: Cli, base: str) -> None:
    service.fault("queued", value=None)
    result = done(cli(*submit(base, "--yes", "--no-wait", "--json")))
    assert result["states"] == {"created": 1}
    (here,) = done(cli("braket", "status", base, "--json"))["journals"]
    (task,) = here["open"]
    assert (task["task"], task["status"], task["queue_position"]) == ("0.0", "QUEUED", ">2000")
    assert "task 0.0 QUEUED, position >2000 in the queue" in cli("braket", "status", base)[1]
    line = failed(cli("braket", "collect", base), 1)
    assert "`tasks` must be at an end; got 1 unfinished" in line
    assert "position >2000 in the queue" in line
    service.clear()
    (result,) = done(cli("braket", "collect", base, "--json"))["journals"]
    assert result["states"] == {"done": 1}
    assert 0 <= result["test_accuracy"] <= 1
    (here,) = done(cli("braket", "status", base, "--json"))["journals"]
    assert here["open"] == []
    assert spent(service)[0] == 1


@pytest.mark.slow
def test_killed_while_it_submits_and_collected(
    service: Any, cli: Cli, base: str, tmp_path: Path
) -> None:
    killed_in_creation(service, tmp_path, *submit(base, "--yes"))
    (result,) = done(cli("braket", "collect", base, "--json"))["journals"]
    assert result["states"] == {"done": 1}
    assert spent(service) == (1, Decimal("3.2"))
    quiet = done(cli(*submit(base, "--yes", "--journal", "other.sqlite", "--json")))
    assert quiet["test_loss"] == result["test_loss"]


def test_what_was_not_created_is_not_collected(
    service: Any, cli: Cli, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "send", _interrupt)
        line = failed(cli(*submit(base, "--yes")), 1)
    assert line.startswith("Interrupted. Nothing is lost. Go on with: qtn-train braket submit base")
    line = failed(cli("braket", "collect", base), 1)
    words = line.partition(" Go on with: qtn-train ")[2]
    assert words == "braket submit base --resume"
    assert "`--yes` must be given" in failed(cli(*shlex.split(words)), 2)
    assert spent(service)[0] == 0
    assert done(cli(*shlex.split(words), "--yes", "--json"))["states"] == {"done": 1}
    assert spent(service)[0] == 1


def test_what_was_sent_and_never_made(
    service: Any, cli: Cli, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Collecting looks for it; then there is nothing left to look for, and the run goes on."""
    send = Journal.send

    def send_and_stop(*given: Any) -> None:
        send(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "send", send_and_stop)
        line = failed(cli(*submit(base, "--yes")), 1)
    assert line.endswith("Go on with: qtn-train braket collect base")
    line = failed(cli("braket", "collect", base), 1)
    assert line.endswith("Go on with: qtn-train braket submit base --resume")
    here = str(Path("base/submission.sqlite").absolute())  # the same journal
    assert failed(cli("braket", "collect", base, "--journal", here), 1) == line
    assert done(cli("braket", "submit", base, "--resume", "--yes", "--json"))["tasks"] == 1
    assert spent(service)[0] == 1


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_failed_task_is_paid_again_on_the_users_word(service: Any, cli: Cli, base: str) -> None:
    service.fault("failed", value="the fridge is warm")
    line = failed(cli(*submit(base, "--yes")), 1)
    assert "FAILED: the fridge is warm" in line
    assert line.endswith("Go on with: qtn-train braket submit base --resend")
    for more in ((), ("--yes",), ("--resume", "--yes")):  # going on is not paying again
        assert "the fridge is warm" in failed(cli(*submit(base, *more)), 1)
    assert "task 0.0 failed: FAILED: the fridge is warm" in cli("braket", "status", base)[1]
    assert spent(service) == (1, Decimal(0))
    result = cli("braket", "submit", base, "--resend")
    assert "`--yes` must be given" in failed(result, 2)
    assert "to be paid again   1 circuit of task 0.0 (FAILED: the fridge is warm)" in result[2]
    assert "paying again       $3.20" in result[2]
    assert spent(service)[0] == 1
    result = done(cli("braket", "submit", base, "--resend", "--yes", "--json"))
    assert (result["tasks"], result["attempts"]) == (2, 1)
    assert (result["charged_usd"], result["allowed_usd"]) == ("3.20000", "3.20000")
    assert spent(service) == (2, Decimal("3.2"))


def test_paying_again_under_a_reservation_costs_nothing(service: Any, cli: Cli, base: str) -> None:
    arn = "arn:aws:braket:eu-north-1:123456789012:reservation/abc"
    service.fault("failed", value="the fridge is warm")
    assert "the fridge is warm" in failed(cli(*submit(base, "--yes", "--reservation-arn", arn)), 1)
    result = cli("braket", "submit", base, "--resend", "--reservation-arn", arn)
    assert "`--yes` must be given" in failed(result, 2)
    assert "to be paid again   1 circuit of task 0.0 (FAILED: the fridge is warm)" in result[2]
    assert "paying again       $0.00\n" in result[2]
    assert spent(service) == (1, Decimal(0))


def test_what_is_charged_reserved_and_planned(service: Any, cli: Cli, base: str) -> None:
    service.fault("queued", value=None)
    result = done(cli(*submit(base, "--yes", "--no-wait", "--json")))
    amounts = ("charged_usd", "reserved_usd", "planned_usd", "spent_usd")
    assert [Decimal(result[name]) for name in amounts] == [0, Decimal("3.2"), 0, Decimal("3.2")]
    out = cli("braket", "status", base)[1]
    assert "1 task (1 created), 2,000 shots, $0.00 charged, $3.20 reserved, $0.00 planned" in out
    service.clear()
    (result,) = done(cli("braket", "collect", base, "--json"))["journals"]
    assert [Decimal(result[name]) for name in amounts] == [Decimal("3.2"), 0, 0, Decimal("3.2")]


@pytest.mark.parametrize(
    ("kind", "value"), [("missing", None), ("cut", None), ("root", ["{}", None])]
)
def test_a_result_that_is_not_here_yet(
    service: Any, cli: Cli, base: str, monkeypatch: pytest.MonkeyPatch, kind: str, value: Any
) -> None:
    """It costs nothing to ask again, and no word of the user's buys it a second time."""
    monkeypatch.setattr("qtn_train.braket.run._tasks._TRIES_FOR_FILES", 1)
    service.fault(kind, value=value)
    line = failed(cli(*submit(base, "--yes")), 1)
    words = line.partition(" Go on with: qtn-train ")[2]
    assert words == "braket collect base"
    for command in (words, "braket submit base --resend --yes"):
        line = failed(cli(*shlex.split(command)), 1)
        assert re.search(
            r"^`tasks?( 0\.0)?` must be at an end, with (its whole|their) result", line
        )
    assert "task 0.0 COMPLETED: results.json" in cli("braket", "status", base)[1]
    service.clear()
    assert "(1 done)" in cli("braket", "status", base)[1]  # it reads what is there
    assert done(cli(*shlex.split(words), "--json"))["journals"][0]["states"] == {"done": 1}
    assert spent(service)[0] == 1


def test_cancel(service: Any, cli: Cli, base: str) -> None:
    service.fault("queued", value=None)
    cli(*submit(base, "--yes", "--no-wait"))
    (row,) = service.ledger()
    assert "`--yes` must be given to cancel tasks" in failed(cli("braket", "cancel", base), 2)
    told = done(cli("braket", "cancel", base, "--yes", "--json"))
    assert told == {"cancelled": [row["arn"]]}
    assert "CANCELLED" in failed(cli("braket", "collect", base), 1)
    assert done(cli("braket", "cancel", base, "--yes", "--json")) == {"cancelled": []}


def test_submit_on_this_machine_costs_nothing(cli: Cli, base: str) -> None:
    result = done(cli("braket", "submit", base, "--device", "local:sv", "--shots", "0", "--json"))
    assert result["test_loss"] == pytest.approx(
        result["simulator"]["test_loss"], rel=tolerances.TEST_LOSS
    )
    assert not list(Path(base).glob("*.sqlite"))


def test_an_emulator_keeps_a_journal(service: Any, cli: Cli, base: str) -> None:
    Path("garnet.json").write_text(json.dumps(service.properties("Garnet")))
    command = ("braket", "submit", base, "--device", "emulator:garnet.json", "--shots", "50")
    result = done(cli(*command, "--json"))
    assert (result["spent_usd"], result["states"]) == ("0", {"done": 1})
    (again,) = done(cli("braket", "collect", base, "--json"))["journals"]
    assert again == result
    assert spent(service)[0] == 0


def test_a_spending_limit(service: Any, cli: Cli, base: str) -> None:
    command = ("braket", "limit", "--device", "Garnet", "--usd", "1.00")
    assert "`--yes` must be given to change" in failed(cli(*command), 2)
    assert done(cli(*command, "--yes", "--json"))["device"] == "IQM Garnet"
    assert "limit" in failed(cli(*submit(base, "--yes")), 1)
    assert spent(service)[0] == 0


# --- training -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_trained_on_a_device_killed_and_resumed(service: Any, cli: Cli, tmp_path: Path) -> None:
    own = ("train", "iris", *SMALL, *GARNET, "--epochs", "3")
    quiet = done(cli(*own, *PAY, "--out", "quiet", "--json"))
    tasks, usd = spent(service)
    assert tasks == 7
    service.reset()
    resume = ("train", "iris", "--out", "run", "--resume", *PAY)
    cli(*own, "--out", "run", "--yes", "--budget-usd", "1.2")  # the first step
    killed_in_creation(service, tmp_path, *resume)
    line = failed(cli("evaluate", "run"), 1)
    expected = "`tasks` must be at an end, with their results; got 1 that are not. Collect them"
    assert line.startswith(expected)
    run = done(cli(*resume, "--json"))
    assert spent(service) == (tasks, usd)
    assert run["braket"] == quiet["braket"]
    for name in ("test_loss", "train_loss"):
        assert [e[name] for e in run["epochs"]] == [e[name] for e in quiet["epochs"]]
    first, second = (load_file(f"{name}/weights.safetensors") for name in ("run", "quiet"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    kept = read_checkpoint(tmp_path / "run")[1]["run"]
    assert kept["options"]["device"] == "Garnet"
    assert not {"budget_usd", "profile", "region", "bucket", "yes"} & {*kept, *kept["options"]}
    # What a device counted is read from the journal, whether or not the device is there.
    service.set_status("Garnet", "OFFLINE")
    told = done(cli("evaluate", "run", "--json"))
    assert told["test_loss"] == run["epochs"][-1]["test_loss"]
    (here,) = done(cli("braket", "collect", "run", "--json"))["journals"]
    assert here["states"] == {"done": 7}
    assert spent(service) == (tasks, usd)


@pytest.mark.parametrize("status", ["OFFLINE", "RETIRED"])
def test_resumed_while_the_device_is_away(
    service: Any, cli: Cli, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """Where all tasks exist, their results are all that is missing."""
    own = ("train", "iris", *SMALL, *GARNET, "--epochs", "1", "--out", "run", *PAY)
    wait = TaskService._wait

    def interrupt_at_the_last(tasks: TaskService, *rest: Any) -> None:
        if len(service.ledger()) == 3:
            raise KeyboardInterrupt
        wait(tasks, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(TaskService, "_wait", interrupt_at_the_last)
        line = failed(cli(*own), 1)
    before = spent(service)
    assert before[0] == 3
    assert line.endswith("Go on with: qtn-train braket collect run")
    service.set_status("Garnet", status)
    resume = ("train", "iris", "--out", "run", "--resume", "--yes")
    run = done(cli(*resume, "--json"))
    assert run["braket"]["states"] == {"done": 3}
    assert spent(service) == before


def test_a_budget_that_is_reached(service: Any, cli: Cli) -> None:
    own = ("train", "iris", *SMALL, *GARNET, "--epochs", "2", "--out", "run")
    status, _, err = cli(*own)
    assert status == 2
    assert "a gradient step    $1.035" in err
    assert "`--yes` must be given" in err
    assert not Path("run").exists()
    result = cli(*own, "--yes", "--budget-usd", "1.5")
    line = failed(result, 1)
    assert "warning: a budget of $1.50 may end the run before $2.515 are spent." in result[2]
    assert "`budget_usd` must be at least 2.07" in line
    words = line.partition(" Go on with: qtn-train ")[2]
    assert re.fullmatch(r"train iris --out run --resume --budget-usd 2\.07\d*", words)
    before = spent(service)
    assert "`--yes` must be given" in failed(cli(*shlex.split(words)), 2)
    again = failed(cli("train", "iris", "--out", "run", "--resume", "--yes"), 1)
    assert "got 1.50." in again  # what was allowed before
    assert spent(service) == before
    result = cli(
        "train", "iris", "--out", "run", "--resume", "--yes", "--budget-usd", "3", "--json"
    )
    assert "so far             $1.48 charged, $0.00 reserved, $0.00 planned" in result[2]
    assert done(result)["braket"]["spent_usd"] == "2.51500"


def test_a_failed_part_of_a_training_run(service: Any, cli: Cli) -> None:
    service.fault("failed", value="the fridge is warm")
    own = ("train", "iris", *SMALL, *GARNET, "--epochs", "1", "--out", "run")
    line = failed(cli(*own, *PAY), 1)
    assert "FAILED: the fridge is warm" in line
    assert "1 of 1 circuit without (FAILED: the fridge is warm)" in failed(
        cli("evaluate", "run"), 1
    )
    words = line.partition(" Go on with: qtn-train ")[2]
    assert words == "train iris --out run --resend"
    result = cli(*shlex.split(words))
    assert "`--yes` must be given" in failed(result, 2)
    assert "paying again       $0.445" in result[2]
    assert "the fridge is warm" in failed(
        cli("train", "iris", "--out", "run", "--resume", "--yes"), 1
    )
    assert spent(service)[0] == 1
    assert done(cli(*shlex.split(words), "--yes", "--json"))["braket"]["attempts"] == 1


def test_fine_tuned_from_a_simulators_run(service: Any, cli: Cli, base: str) -> None:
    more = ("--init-from", base, "--epochs", "1", "--lr", "1e-9", "--out", "fine")
    run = done(cli("train", "iris", *GARNET, *more, *PAY, "--json"))
    assert (run["n_layers"], run["ansatz"]) == (1, "ry-cx-chain")
    before, after = (read_checkpoint(Path(name))[0] for name in (base, "fine"))
    for name in (n for n in before if n.startswith("model/")):
        torch.testing.assert_close(before[name], after[name], rtol=0, atol=tolerances.HARDLY_MOVED)


def test_fewer_qubits_and_more_weights_of_each_outcome(cli: Cli) -> None:
    small = (*SMALL, "--qubits", "6", "--weights-per-outcome", "3", "--epochs", "1")
    counted = ("--shots", "64", "--gradient", "spsa")
    run = done(cli("train", "iris", *small, *counted, "--out", "run", "--json"))
    assert (run["n_qubits"], run["n_weights"]) == (6, 131)
    told = done(cli("braket", "estimate", "run", "--device", "local:sv", "--shots", "64", "--json"))
    assert told["shots_per_outcome"] == 1
    assert told["warnings"] == []
    more = ("--init-from", "run", "--epochs", "1", *counted, "--out", "more", "--json")
    assert done(cli("train", "iris", *more))["n_qubits"] == 6
    line = failed(cli("train", "iris", "--weights-per-outcome", "0"), 2)
    assert line.startswith("`--weights-per-outcome` must be an integer of at least 1; got 0")


def test_trained_on_this_machine(cli: Cli) -> None:
    own = ("train", "iris", *SMALL, "--engine", "braket", "--device", "local:sv", "--shots", "500")
    run = done(cli(*own, "--epochs", "2", "--out", "run", "--json"))
    assert (run["engine"], run["engine_options"]["device"]) == ("braket", "local:sv")
    assert run["engine_options"]["gradient"] == "parameter-shift"
    assert run["batch_size"] == 120
    assert "braket" not in run
    assert not list(Path("run").glob("*.sqlite"))
    assert done(cli("evaluate", "run", "--json"))["test_accuracy"] == run["test_accuracy"]
    config = read_checkpoint(Path("run"))[1]["config"]
    assert config["epochs"] == 2


def test_the_engine_of_a_model_is_built_again() -> None:
    engine = qt.BraketEngine("local:dm", 9, gradient="spsa", seed=3)
    config = json.loads(json.dumps(engine.config()))
    again = Engine.from_config(config)
    assert isinstance(again, qt.BraketEngine)
    assert again.config() == config
    with pytest.raises(ValueError, match=r"`engine kind` must be one of .*braket, .*; got 'qpu'\."):
        Engine.from_config({"kind": "qpu"})


# --- waiting --------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_waiting_is_shown_line_by_line_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    status = _cli_device.StatusLine()
    for line in ("Garnet: QUEUED", "Garnet: QUEUED", "Garnet: RUNNING", ""):
        status(line)
    assert capsys.readouterr().err == "Garnet: QUEUED\nGarnet: RUNNING\n"


def test_waiting_does_not_write_into_the_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    status = _cli_device.StatusLine()
    with tqdm(total=3, desc="train", file=sys.stderr) as bar:
        status("Garnet: QUEUED")
        status("Garnet: RUNNING")
        status("")
        bar.update()
    text = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "\n\rGarnet: QUEUED" in text  # a line of its own, below the bar
    assert all("Garnet" not in line for line in text.split("\r") if "train" in line)


# --- wrong input ----------------------------------------------------------------------------------

TRAIN = f"train iris --engine braket --out new {' '.join(SMALL)}"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            f"{TRAIN} --shots 9",
            "`--device` must be given for the engine braket; got",
        ),
        (
            f"{TRAIN} --device local:sv",
            "`--shots` must be given for the engine braket; got",
        ),
        (f"{TRAIN} --device qpu:9 --shots 9", "`--device` must be 'local:sv', .*; got 'qpu:9'."),
        (f"{TRAIN} --device Aquila --shots 9", "`--device` must be a gate-model device; got .*ana"),
        (f"{TRAIN} --device TN1 --shots 9", "`--device` must be ONLINE; got .*, which is RETIRED."),
        (f"{TRAIN} --device Emerald --shots 9", "`--device` must be ONLINE; got .* is OFFLINE. W"),
        (f"{TRAIN} --device Garnt --shots 9", "`--device` must be one of .*Garnet.*; got 'Garnt'"),
        (f"{TRAIN} --device Garnet --shots 0", "`--shots` must be from 1 to 20,000 on .*; got 0."),
        (f"{TRAIN} --device Garnet --shots 20001", "`--shots` must be from 1 to .*; got 20,001."),
        (f"{TRAIN} --device SV1 --shots 0", "`--shots` must be from 1 to .* on .*SV1; got 0."),
        (f"{TRAIN} --device local:sv --shots -4", "`--shots` must be .*; got -4."),
        (
            f"{TRAIN} --device Garnet --shots 9 --qubits 21",
            "`--qubits` must be at most 20 on IQM Garnet; got 21.",
        ),
        (
            f"{TRAIN} --device Garnet --shots 9 --native --placement 1,2,3,4,5,6,7,20",
            "`--placement` must be connected on IQM Garnet wherever",
        ),
        (
            f"{TRAIN} --device Garnet --shots 9 --native --placement 1,2",
            "`--placement` must be 8 different labels",
        ),
        (f"{TRAIN} --device Garnet --shots 9 --placement a,b", "`--placement` must be numbers and"),
        (
            f"{TRAIN} --device local:sv --shots 9 --gradient adjoint",
            "`--gradient` must be one of parameter-shift, .*; got 'adjoint'.",
        ),
        (
            f"{TRAIN} --device Garnet --shots 9 --gradient exact",
            "`--gradient` must be one of parameter-shift, .*; got 'exact'.",
        ),
        (f"{TRAIN} --device Garnet --shots 9 --yes", "`--budget-usd` must be given for IQM Garnet"),
        (
            f"{TRAIN} --device Garnet --shots 9 --budget-usd 0",
            "`--budget-usd` must be more than 0; got 0.",
        ),
        (
            f"{TRAIN} --device Garnet --shots 9 --budget-usd much",
            "`--budget-usd` must be an amount of USD; got 'much'.",
        ),
        (f"{TRAIN} --device Garnet --shots 9 --profile me", "`--profile` must be one of none; got"),
        (f"{TRAIN} --device emulator:no.json --shots 9", "`emulator` must be a JSON file .* no.j"),
        ("train iris --device Garnet", "`--engine` must be 'braket' with device; got 'auto'."),
        ("train iris --yes", "`--engine` must be braket with --yes; got auto."),
        ("braket", "Missing command. See --help."),
        ("braket estimate --shots 9", "`--device` must be given for the engine braket"),
        (
            "braket estimate --device local:sv",
            "`--shots` must be given for the engine braket",
        ),
        ("braket estimate --device local:sv --shots 9 --dataset x", "`--dataset` must be one of"),
        ("braket estimate --device local:sv --shots 9 --steps -1", "`--steps` must be a positive"),
        ("braket estimate no --device local:sv --shots 9", "`no/checkpoint.safetensors` must be"),
        ("braket submit base --shots 9", "`--device` must be given for the engine braket"),
        (
            "braket submit base --device local:sv",
            "`--shots` must be given for the engine braket",
        ),
        ("braket submit no --device local:sv --shots 9", "`no/checkpoint.safetensors` must be a c"),
        ("braket status base", "`base` must be a folder that holds a journal; got none. Submit it"),
        ("braket collect base", "`base` must be a folder that holds a journal; got none. Submit i"),
        ("braket cancel base --yes", "`base` must be a folder that holds a journal; got none."),
        (
            "braket status base --journal no.sqlite",
            "`--journal` must be an existing file; got no.",
        ),
        (
            "braket limit --device Garnet --usd x --yes",
            "`--usd` must be an amount of USD; got 'x'.",
        ),
        (
            "braket limit --device SV1 --usd 3 --yes",
            "`--device` must be a QPU, to set a spending",
        ),
    ],
)
def test_wrong_input_is_one_line(
    service: Any, cli: Cli, base: str, argv: str, message: str
) -> None:
    result = cli(*argv.split())
    line = failed(result, 2)
    assert re.search(message.replace(". ", r"\. "), line), line
    assert result[2].count("\n") == 1
    assert not Path("new").exists()
    assert spent(service)[0] == 0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "`credentials` must be those of an AWS a"),
        (("AWS_REGION", "AWS_DEFAULT_REGION"), "`--region` must be an AWS region; got none. Name"),
    ],
)
def test_an_account_that_is_not_told(
    service: Any, cli: Cli, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], message: str
) -> None:
    for name in names:
        monkeypatch.delenv(name)
    argv = f"{TRAIN} --device Garnet --shots 9 {' '.join(PAY)}"
    assert failed(cli(*argv.split()), 2).startswith(message)


def test_no_bucket(service: Any, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from braket.aws import AwsSession

    def refuse(_: Any) -> str:
        raise ValueError("Provided default bucket 'mine' already exists for another account.")

    monkeypatch.setattr(AwsSession, "default_bucket", refuse)
    argv = f"{TRAIN} --device Garnet --shots 9 {' '.join(PAY)}"
    assert "`--bucket` must be one that results can be written to" in failed(cli(*argv.split()), 2)
    assert spent(service)[0] == 0


def test_the_journal_of_another_run(service: Any, cli: Cli, base: str) -> None:
    done(cli(*submit(base, "--yes", "--json")))
    line = failed(cli(*submit(base, "--yes", "--native")), 2)
    assert "of this run, with native = True; got one with native = False" in line
    os.rename("base/submission.sqlite", "base/braket.sqlite")
    line = failed(cli("evaluate", base), 2)
    assert "`evaluation 4` must be in the journal; got none" in line
    assert spent(service)[0] == 1


def test_the_extra_is_not_installed(cli: Cli, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "braket.devices", None)
    for argv in (
        f"{TRAIN} --device local:sv --shots 9",
        f"{TRAIN} --device Garnet --shots 9",
        "braket submit base --device Garnet --shots 9",
        "braket estimate --device Garnet --shots 9",
    ):
        line = failed(cli(*argv.split()), 2)
        extra = "Amazon Braket needs the extra `braket`: pip install 'qtn_train[braket]'"
        assert line.startswith(f"{extra} (")  # and what Python says


@pytest.mark.parametrize("command", ["estimate", "submit", "status", "collect", "cancel", "limit"])
def test_help(command: str, cli: Cli) -> None:
    status, out, err = cli("braket", command, "--help")
    assert (status, err) == (0, "")
    assert out.startswith("Usage: qtn-train braket")


# --- every printed command that goes on costs nothing as it is printed ----------------------------

_Patch = pytest.MonkeyPatch


def _fault(kind: str, value: Any = None) -> Callable[[Any, _Patch], None]:
    return lambda service, patch: service.fault(kind, None, value)


def _interrupted(kind: type, name: str) -> Callable[[Any, _Patch], None]:
    return lambda service, patch: patch.setattr(kind, name, _interrupt)


def _gone(service: Any, patch: _Patch) -> None:
    """Take the device away between the first look at it and the first task."""
    send = Journal.send

    def taken_away(*given: Any) -> Any:
        service.set_status("Garnet", "OFFLINE")
        return send(*given)

    patch.setattr(Journal, "send", taken_away)


#: How a run on a device ends before its time, and what it costs to come there, in tasks at most.
SITUATIONS: dict[str, Callable[[Any, _Patch], None]] = {
    "failed": _fault("failed", "the fridge is warm"),
    "cancelled": _fault("cancelled"),
    "late": _fault("missing"),
    "cut": _fault("cut"),
    "unreadable": _fault("root", ["null", None]),
    "expired": _fault("create-403"),
    "expired while it waits": _fault("get-403"),
    "no right": _fault("create-denied"),
    "gone": _gone,
    "interrupted before": _interrupted(Journal, "send"),
    "interrupted while it waits": _interrupted(TaskService, "_wait"),
    "budget": lambda service, patch: service.set_price("Garnet", task="99"),
    "set failed": _fault("failed-partial", [0]),
    "set aborted": _fault("aborted", [0]),
}


@pytest.mark.slow
@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("command", ["submit", "train"])
def test_what_is_printed_to_go_on_costs_nothing(
    service: Any, cli: Cli, base: str, monkeypatch: _Patch, command: str, situation: str
) -> None:
    """Executed as printed, in the same situation, and again what that prints."""
    monkeypatch.setattr("qtn_train.braket.run._tasks._TRIES_FOR_FILES", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    if command == "submit":
        if situation.startswith("set "):
            pytest.skip("one circuit is no program set")
        words = [*submit(base, "--yes", "--budget-usd", "20")]
    else:
        words = ["train", "iris", *SMALL, *GARNET, "--epochs", "2", "--out", "run"]
        words += ["--yes", "--budget-usd", "20"]
    with monkeypatch.context() as patch:
        SITUATIONS[situation](service, patch)
        status, out, err = cli(*words)
        line = failed((status, out, err), 1)
        assert " Go on with: qtn-train " in line
        before = len(service.ledger()), sum(row["usd_created"] for row in service.ledger())
        walked = []
        while " Go on with: qtn-train " in line and line not in walked:
            walked.append(line)
            printed = shlex.split(line.partition(" Go on with: qtn-train ")[2])
            assert "--yes" not in printed
            status, out, err = cli(*printed)
            assert status in (0, 1, 2)
            now = len(service.ledger()), sum(row["usd_created"] for row in service.ledger())
            assert now == before, f"{shlex.join(printed)} spent something"
            line = last_line(err) if err.strip() else ""
        assert len(walked) <= 3
