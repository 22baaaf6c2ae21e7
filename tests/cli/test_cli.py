"""The command line: what it writes and prints, resuming to the bit, and wrong input."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shlex
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forked
import pytest
import tolerances
import torch
from forked import Server

from qtn_train import data, plots
from qtn_train._files import FORMAT
from qtn_train.cli import _run as _cli_run
from qtn_train.cli._app import main
from qtn_train.errors import NonFiniteLoss
from qtn_train.recipes import mlp, target_for
from qtn_train.training import CHECKPOINT, FitConfig, _loop, _timing, evaluate, fit, read_checkpoint

SCRIPT = Path(sys.executable).with_name("qtn-train")
FILES = [CHECKPOINT, "curves.png", "run.json", "weights.safetensors"]
QUICK = ("--epochs", "2", "--batch-size", "60")

Captured = tuple[str, str]
Cli = Callable[..., Captured]


@pytest.fixture(autouse=True)
def elsewhere(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, quick_runs: None
) -> None:
    """No mirror, and no cache of the user."""
    monkeypatch.setattr(data._sets, "MIRRORS", dict.fromkeys(data.MIRRORS, ()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("QTN_TRAIN_DATA", raising=False)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run the command line inside this process, in ``tmp_path``; return what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(*argv: str | Path) -> Captured:
        monkeypatch.setattr(sys, "argv", ["qtn-train", *map(str, argv)])
        main()
        return capsys.readouterr()

    return call


@pytest.fixture
def fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run what must fail; return its only line on standard error, without ``qtn-train: ``."""
    monkeypatch.chdir(tmp_path)

    def call(*argv: str | Path, status: int = 2) -> str:
        before = tree(tmp_path)
        monkeypatch.setattr(sys, "argv", ["qtn-train", *map(str, argv)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert ended.value.code == status
        assert out == ""
        assert one_line(err)
        assert tree(tmp_path) == before
        return err.removeprefix("qtn-train: ").rstrip("\n")

    return call


def one_line(err: str) -> bool:
    return bool(re.fullmatch(r"qtn-train: [^\r\n]+\n", err)) and "Traceback" not in err


def last_line(err: str) -> str:
    return [line for line in re.split(r"[\r\n]", err) if line.strip()][-1]


def tree(folder: Path) -> dict[str, bytes | None]:
    """All files and folders, with their content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def flat(tensors: dict[str, torch.Tensor]) -> list[float]:
    return [x for tensor in tensors.values() for x in tensor.flatten().tolist()]


# --- train ----------------------------------------------------------------------------------------

TYPES = {
    "dataset": str,
    "ansatz": str,
    "n_qubits": int,
    "n_layers": int,
    "engine": str,
    "n_weights": int,
    "n_trainable": int,
    "n_trainable_by_part": dict,
    "compression": float,
    "seed": int,
    "threads": int,
    "versions": dict,
    "epochs": list,
    "test_accuracy": float,
    "seconds_per_step": dict,
}
EPOCH = ["epoch", "seconds", "test_accuracy", "test_loss", "train_accuracy", "train_loss"]


def check_run(run: dict[str, Any]) -> None:
    for name, kind in TYPES.items():
        assert type(run[name]) is kind, name
    assert run["dataset"] == "iris"
    assert (run["n_qubits"], run["n_layers"], run["ansatz"]) == (8, 4, "ry-cx-chain")
    assert (run["engine"], run["n_weights"], run["seed"]) == ("statevector", 131, 0)
    assert sorted(run["n_trainable_by_part"]) == ["angles", "mapping", "other"]
    assert sum(run["n_trainable_by_part"].values()) == run["n_trainable"]
    assert run["compression"] == 131 / run["n_trainable"]
    assert {"python", "qtn_train", "torch", "numpy"} <= set(run["versions"])
    assert [entry["epoch"] for entry in run["epochs"]] == [1, 2]
    assert all(sorted(entry) == EPOCH for entry in run["epochs"])
    assert run["test_accuracy"] == run["epochs"][-1]["test_accuracy"]
    assert sorted(run["seconds_per_step"]) == ["generate", "target", "total"]
    assert all(type(value) is float and value > 0 for value in run["seconds_per_step"].values())


def check_files(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == FILES
    raw = (folder / "weights.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    metadata = json.loads(raw[8 : 8 + size])["__metadata__"]
    assert list(metadata) == ["qtn_train"]
    text = metadata["qtn_train"]
    assert text == json.dumps(json.loads(text), sort_keys=True)
    assert (folder / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert json.loads((folder / "run.json").read_text())["n_weights"] == 131
    assert {os.stat(folder / name).st_mode & 0o444 for name in FILES} == {0o444}


@pytest.mark.slow
def test_the_installed_command_trains(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    command = [SCRIPT, "train", "iris", *QUICK, "--out", tmp_path / "run", "--json"]
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tmp_path / "run" / "run.json").read_text()
    run = json.loads(done.stdout)
    check_run(run)
    assert run["threads"] == 1
    check_files(tmp_path / "run")
    assert (tmp_path / "run" / "curves.png").stat().st_size > 5_000
    # A network of torch alone, and the figures that were printed.
    net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    net.load_state_dict(load_file(tmp_path / "run" / "weights.safetensors"))
    iris = data.load("iris")
    loss, accuracy = evaluate(net, iris.x_test, iris.y_test)
    assert accuracy == run["test_accuracy"]
    assert loss == pytest.approx(run["epochs"][-1]["test_loss"], rel=tolerances.TEST_LOSS)
    # What is for people stands on standard error.
    assert "epoch   1/2" in done.stderr
    assert "131 weights" in done.stderr
    assert "step/s" not in done.stderr, "a bar is for terminals"


def test_without_json_one_line_tells_the_result(cli: Cli, tmp_path: Path) -> None:
    out, err = cli("train", "iris", *QUICK, "--out", "here")
    pattern = r"test accuracy [\d.]+ % with 261 trained numbers for 131 weights; see here\S+\n"
    assert re.fullmatch(pattern, out)
    assert "QuantumTrain of Sequential, seed 0" in err
    check_files(tmp_path / "here")


def test_the_default_folder_carries_the_date(cli: Cli, tmp_path: Path) -> None:
    cli("train", "iris", *QUICK)
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"iris-\d{8}-\d{6}", folder.name)
    check_files(folder)


def test_options_are_taken(cli: Cli, tmp_path: Path) -> None:
    out, _ = cli(
        *("train", "iris", "--ansatz", "brickwork", "--layers", "2", "--qubits", "9"),
        *("--engine", "statevector", "--epochs", "1", "--batch-size", "50", "--lr", "0.003"),
        *("--seed", "7", "--torch-device", "cpu", "--out", "run", "--json"),
    )
    run = json.loads(out)
    assert (run["ansatz"], run["n_layers"], run["n_qubits"]) == ("brickwork", 2, 9)
    assert (run["seed"], run["lr"], run["batch_size"], run["recipe"]) == (7, 0.003, 50, "default")
    assert len(run["epochs"]) == 1
    info = read_checkpoint(tmp_path / "run")[1]
    assert (info["config"]["seed"], info["config"]["lr"], info["config"]["batch_size"]) == (
        7,
        0.003,
        50,
    )


def test_the_published_recipe_has_the_published_seed(cli: Cli, tmp_path: Path) -> None:
    run = json.loads(
        cli("train", "iris", "--recipe", "published", *QUICK, "--out", "run", "--json")[0]
    )
    assert (run["recipe"], run["seed"], run["lr"]) == ("published", 42, 1e-4)
    config = read_checkpoint(tmp_path / "run")[1]["config"]
    assert (config["weight_decay"], config["schedule"]) == (1e-5, "plateau")


def test_one_seed_gives_the_same_file_and_another_does_not(cli: Cli, tmp_path: Path) -> None:
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        torch.manual_seed(ord(name))
        cli("train", "iris", *QUICK, "--seed", seed, "--out", name)
    first, second, other = (
        (tmp_path / name / "weights.safetensors").read_bytes() for name in ("a", "b", "c")
    )
    assert first == second
    assert first != other


SHOTS = ("--shots", "100", "--gradient", "spsa", "--epochs", "3")


def test_shots_go_around_the_chosen_engine(cli: Cli, tmp_path: Path) -> None:
    run = json.loads(cli("train", "iris", *SHOTS, "--seed", "4", "--out", "run", "--json")[0])
    assert (run["engine"], run["batch_size"]) == ("sampled", 120)
    options = {"shots": 100, "gradient": "spsa", "seed": 4, "step": 0.1, "n_shifts": None}
    assert options.items() <= run["engine_options"].items()
    assert run["engine_options"]["engine"] == {"kind": "statevector", "dtype": "complex64"}
    assert [entry["shots"] for entry in run["epochs"]] == [100] * 3
    assert run["seconds_per_step"] is None, "no circuit is executed to time it"
    mps = ("--engine", "mps", "--max-bond", "16", "--shots", "20", "--epochs", "1")
    run = json.loads(cli("train", "iris", *mps, "--layers", "1", "--out", "mps", "--json")[0])
    assert run["engine_options"]["gradient"] == "parameter-shift"
    assert run["engine_options"]["engine"]["max_bond"] == 16


def test_the_network_written_is_the_one_evaluated(cli: Cli, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    run = json.loads(cli("train", "iris", *SHOTS, "--out", "run", "--json")[0])
    path = tmp_path / "run" / "weights.safetensors"
    net, iris = mlp(4, 16, 3), data.load("iris")
    net.load_state_dict(load_file(path))
    loss, accuracy = evaluate(net, iris.x_test, iris.y_test)
    assert accuracy == run["test_accuracy"]
    assert loss == pytest.approx(run["epochs"][-1]["test_loss"], rel=tolerances.TEST_LOSS)
    again = json.loads(cli("evaluate", "run", "--json")[0])
    assert again["test_loss"] == run["epochs"][-1]["test_loss"]
    before = path.read_bytes()
    path.unlink()
    cli("export", "run")
    assert path.read_bytes() == before


# --- evaluate, export, info -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_timing, "_STEPS", 1)
        patch.setattr(plots, "curves", forked.no_curves)
        patch.setattr(plots, "save", forked.save)
        patch.setattr(sys, "argv", ["qtn-train", "train", "iris", *QUICK, "--out", str(folder)])
        main()
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, in ``tmp_path``."""
    copy = tmp_path / "run"
    copy.mkdir()
    for path in finished.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def test_evaluate_agrees_with_the_run(cli: Cli, folder: Path) -> None:
    run = json.loads((folder / "run.json").read_text())
    before = tree(folder)
    result = json.loads(cli("evaluate", folder, "--json")[0])
    assert result == {
        "dataset": "iris",
        "test_loss": run["epochs"][-1]["test_loss"],
        "test_accuracy": run["test_accuracy"],
    }
    accuracy = f"{100 * run['test_accuracy']:.2f}"
    out, _ = cli("evaluate", folder)
    assert re.fullmatch(rf"iris: test loss [\d.]+, test accuracy {accuracy} %\n", out)
    assert tree(folder) == before


def test_export_writes_the_same_weights_again(cli: Cli, folder: Path) -> None:
    path = folder / "weights.safetensors"
    before = path.read_bytes()
    path.unlink()
    result = json.loads(cli("export", folder, "--json")[0])
    assert result == {"format": "safetensors", "path": str(path)}
    assert path.read_bytes() == before


def test_export_to_onnx(cli: Cli, folder: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from safetensors.torch import load_file

    result = json.loads(cli("export", folder, "--format", "onnx", "--json")[0])
    assert result["path"] == str(folder / "model.onnx")
    assert result["format"] == "onnx"
    assert 0 <= result["largest_difference"] <= 1e-5
    net = mlp(4, 16, 3)
    net.load_state_dict(load_file(folder / "weights.safetensors"))
    x = data.load("iris").x_test
    session = onnxruntime.InferenceSession(result["path"], providers=["CPUExecutionProvider"])
    with torch.no_grad():
        assert abs(session.run(None, {"x": x.numpy()})[0] - net(x).numpy()).max() <= 1e-5


def test_a_missing_extra_is_one_line(
    fails: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    message = fails("export", folder, "--format", "onnx")
    expected = "ONNX export needs the extra `onnx`: pip install 'qtn_train[onnx]' ("
    assert message.startswith(expected)  # and what Python says


def test_info(cli: Cli) -> None:
    out, err = cli("info", "--json")
    result = json.loads(out)
    assert err == ""
    assert result["datasets"] == list(data.DATASETS)
    assert result["devices"][0] == "cpu"
    assert {"auto", "statevector"} <= set(result["engines"])
    assert result["statevector_max_qubits"] > 15
    assert result["threads"] == 1
    assert "torch" in result["versions"]
    assert all(name.replace("_", " ") in cli("info")[0] for name in result)


def test_info_cite_says_what_the_citation_file_says(cli: Cli) -> None:
    out, err = cli("info", "--cite")
    assert err == ""
    text = (Path(__file__).parents[2] / "CITATION.cff").read_text()
    said = re.findall(r"(?:title|(?<!cff-)version|year|notes|family-names): \"?([^\",}\n]+)", text)
    assert len(said) > 8
    flat_out = " ".join(out.split())
    assert [value for value in said if value.strip() not in flat_out] == []
    assert [line for line in out.splitlines() if line.startswith("@")] == [
        "@software{qtn_train,",
        "@article{quantum_train,",
    ]
    assert json.loads(cli("info", "--cite", "--json")[0])["bibtex"] + "\n" == out


@pytest.mark.parametrize("command", [(), ("train",), ("evaluate",), ("export",), ("info",)])
def test_help(command: tuple[str, ...], cli: Cli) -> None:
    out, err = cli(*command, "--help")
    assert out.startswith("Usage: qtn-train")
    assert err == ""


def test_help_in_panels_with_examples(cli: Cli) -> None:
    out, _ = cli("train", "-h")
    panels = ["Circuit and mapping:", "Simulation:", "Training:", "Device and money:", "Options:"]
    places = [out.index(f"\n{panel}\n") for panel in panels]
    assert places == sorted(places)
    assert places[1] < out.index("--max-bond") < places[2]
    assert places[3] < out.index("--budget-usd") < places[4]
    assert out.index("Examples:\n    qtn-train train iris\n") > places[4]
    assert out.count("    qtn-train train ") == 3


def test_version(cli: Cli) -> None:
    from importlib import metadata

    assert cli("--version") == (f"{metadata.version('qtn_train')}\n", "")
    done = subprocess.run([sys.executable, "-m", "qtn_train", "--version"], capture_output=True)
    assert done.stdout.decode().strip() == metadata.version("qtn_train")


def test_neither_case_nor_the_kind_of_dash_matters(cli: Cli, tmp_path: Path) -> None:
    own = ("--Ansatz", "RY_CX_Chain", "--batch_size", "60", "--EPOCHS", "1", "--out", "run")
    cli("TRAIN", "Iris", *own, "--weights_per_outcome", "2")
    options = json.loads((tmp_path / "run" / "run.json").read_text())["options"]
    assert (options["ansatz"], options["dataset"]) == ("ry-cx-chain", "iris")
    assert (options["batch_size"], options["weights_per_outcome"]) == (60, 2)


@pytest.mark.parametrize("place", [0, 2])
def test_quiet(place: int, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", "iris", *QUICK]
    out, err = cli(*argv[:place], "--quiet", *argv[place:])
    assert out.startswith("test accuracy ")
    assert err == ""
    with pytest.raises(SystemExit):
        cli("--quiet", "train", "iris", "--layers", "0")
    assert one_line(capsys.readouterr().err)


# --- resume and init-from -------------------------------------------------------------------------


def test_resume_in_an_empty_folder_starts_and_says_so(cli: Cli, tmp_path: Path) -> None:
    _, err = cli("train", "iris", *QUICK, "--out", "new", "--resume")
    assert err.startswith("new holds no checkpoint yet: starting the run there.\n")
    check_files(tmp_path / "new")


def test_resume_of_a_finished_run_changes_no_weight(cli: Cli, folder: Path) -> None:
    before = tree(folder)
    run = json.loads(cli("train", "iris", "--out", folder, "--resume", "--json")[0])
    after = tree(folder)
    assert {n for n in before if before[n] != after[n]} <= {"run.json"}
    assert run["epochs"] == json.loads(before["run.json"] or b"")["epochs"]


def test_a_folder_that_holds_a_run_is_refused(fails: Callable[..., str], folder: Path) -> None:
    message = fails("train", "iris", *QUICK, "--out", folder)
    assert message.startswith("`--out` must be an empty folder; got ")
    assert message.endswith("which holds a run. Resume it, or choose another folder.")
    (folder / CHECKPOINT).unlink()
    assert "which holds a run" in fails("train", "iris", "--out", folder)


@pytest.mark.parametrize(
    ("option", "value", "own"),
    [
        ("layers", "3", "4"),
        ("qubits", "9", "8"),
        ("ansatz", "brickwork", "ry-cx-chain"),
        ("epochs", "3", "2"),
        ("batch-size", "7", "60"),
        ("lr", "0.5", r"[\d.]+"),
        ("seed", "1", "0"),
        ("recipe", "published", "default"),
    ],
)
def test_resume_with_another_option_is_refused(
    option: str, value: str, own: str, fails: Callable[..., str], folder: Path
) -> None:
    message = fails("train", "iris", "--out", folder, "--resume", f"--{option}", value)
    what = "To train longer" if option == "epochs" else "Resume with"
    assert re.match(rf"`--{option}` must be {own} as in .*; got {value}\. {what}", message)


def test_resume_with_other_shots_is_refused(
    cli: Cli, fails: Callable[..., str], tmp_path: Path
) -> None:
    cli("train", "iris", *SHOTS, "--out", "run")
    resume = ("train", "iris", "--resume", "--out", "run")
    assert fails(*resume, "--shots", "5").startswith("`--shots` must be 100 as in run; got 5.")
    message = fails(*resume, "--gradient", "random-shift")
    assert message.startswith("`--gradient` must be spsa as in run; got random-shift.")
    cli(*resume, *SHOTS)


def test_init_from_counts_its_shots_anew(cli: Cli, tmp_path: Path) -> None:
    cli("train", "iris", *SHOTS, "--out", "run")
    cli("train", "iris", *SHOTS, "--out", "more", "--init-from", "run")
    positions = [read_checkpoint(tmp_path / name)[1]["position"] for name in ("run", "more")]
    assert positions == [6, 6]


def test_resume_with_another_dataset_is_refused(fails: Callable[..., str], folder: Path) -> None:
    message = fails("train", "digits", "--out", folder, "--resume")
    assert message.startswith("`dataset` must be iris as in ")


def test_resume_with_the_same_options_is_fine(cli: Cli, folder: Path) -> None:
    options = ("--layers", "4", "--qubits", "8", "--ansatz", "ry-cx-chain", "--seed", "0")
    cli("train", "iris", *QUICK, *options, "--out", folder, "--resume")


def test_init_from_starts_from_the_trained_numbers(cli: Cli, folder: Path, tmp_path: Path) -> None:
    cli("train", "iris", *QUICK, "--lr", "1e-9", "--out", "more", "--init-from", folder)
    cli("train", "iris", *QUICK, "--lr", "1e-9", "--out", "fresh")
    trained, more, fresh = (
        flat({k: v for k, v in read_checkpoint(path)[0].items() if k.startswith("model/")})
        for path in (folder, tmp_path / "more", tmp_path / "fresh")
    )
    assert more == pytest.approx(trained, abs=tolerances.HARDLY_MOVED)
    assert fresh != pytest.approx(trained, abs=tolerances.DIFFERENT)


def test_init_from_another_circuit_is_refused(fails: Callable[..., str], folder: Path) -> None:
    message = fails("train", "iris", "--layers", "2", "--out", "new", "--init-from", folder)
    assert re.search(r"must hold this model; got one with another circuit.*\. Build", message)
    assert "got nothing there" in fails("train", "iris", "--out", "new", "--init-from", "nowhere")


# --- killed ---------------------------------------------------------------------------------------

# 2 steps an epoch, 16 in all; with --every 0 a checkpoint after each of them.
RUN = ("train", "iris", "--epochs", "8", "--batch-size", "60", "--seed", "5")
MOMENTS = random.Random(0)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def straight(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    status, _, err = server.run(folder, *RUN, "--out", folder / "run")
    assert status == 0, err
    return folder / "run"


def same(first: Path, second: Path) -> None:
    name = "weights.safetensors"
    assert (first / name).read_bytes() == (second / name).read_bytes()
    runs = [json.loads((folder / "run.json").read_text()) for folder in (first, second)]
    for run in runs:
        del run["seconds_per_step"]
        for entry in run["epochs"]:
            del entry["seconds"]
    assert runs[0] == runs[1]


def test_a_process_gives_the_same_file_as_this_one(
    straight: Path, cli: Cli, tmp_path: Path
) -> None:
    cli(*RUN, "--out", tmp_path / "run")
    same(tmp_path / "run", straight)


@pytest.mark.parametrize(
    ("moment", "n", "every"),
    [
        ("step", 1, 30),
        ("step", MOMENTS.randint(2, 15), 30),
        ("step", MOMENTS.randint(2, 15), 0),
        ("write", 1, 30),  # of the very first checkpoint
        ("write", MOMENTS.randint(2, 20), 0),
        ("written", MOMENTS.randint(2, 20), 0),
        ("written", 9, 30),  # the last checkpoint: only the results are missing
        ("written", 10, 30),  # the weights are there, run.json is not
        ("delay", MOMENTS.randint(50, 300), 0),
        ("delay", MOMENTS.randint(300, 600), 0),
    ],
)
def test_killed_and_resumed_ends_with_the_same_bits(
    moment: str, n: int, every: float, server: Server, straight: Path, tmp_path: Path
) -> None:
    command = (*RUN, "--out", tmp_path / "run", "--resume")
    status, _, _ = server.run(tmp_path, *command, every=every, at=(moment, n, signal.SIGKILL))
    assert status == -signal.SIGKILL or moment == "delay"
    status, _, err = server.run(tmp_path, *command)
    assert status == 0, err
    same(tmp_path / "run", straight)
    again = "holds no checkpoint yet" in err
    assert again is ((moment, n) == ("write", 1)) or moment == "delay"


@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["parameter-shift", "spsa"])
def test_killed_and_resumed_with_shots(gradient: str, server: Server, tmp_path: Path) -> None:
    own = ("--shots", "50", "--gradient", gradient, "--layers", "1", "--batch-size", "60")
    command = ("train", "iris", "--epochs", "3", *own, "--resume", "--out")
    status, _, err = server.run(tmp_path, *command, tmp_path / "straight")
    assert status == 0, err
    for moment, n in (("step", 2), ("written", 3)):
        at = (moment, n, signal.SIGKILL)
        assert server.run(tmp_path, *command, tmp_path / "cut", every=0, at=at)[0] == -9
    status, _, err = server.run(tmp_path, *command, tmp_path / "cut")
    assert status == 0, err
    same(tmp_path / "cut", tmp_path / "straight")


@pytest.mark.slow
def test_killed_again_and_again(server: Server, straight: Path, tmp_path: Path) -> None:
    command = (*RUN, "--out", tmp_path / "run", "--resume")
    for _ in range(3):
        at = ("step", MOMENTS.randint(2, 5), signal.SIGKILL)
        assert server.run(tmp_path, *command, every=0, at=at)[0] == -signal.SIGKILL
    assert server.run(tmp_path, *command)[0] == 0
    same(tmp_path / "run", straight)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_checkpoint_and_names_the_command(
    number: signal.Signals, server: Server, straight: Path, tmp_path: Path
) -> None:
    place = tmp_path / "a run"
    status, out, err = server.run(tmp_path, *RUN, "--out", place, at=("step", 6, number))
    assert (status, out) == (1, "")
    assert "Traceback" not in err
    said, _, command = last_line(err).strip().partition(" Go on with: ")
    assert said == "qtn-train: Interrupted. Nothing is lost."
    assert command == f"qtn-train train iris --out '{place}' --resume"
    assert [path.name for path in place.iterdir()] == [CHECKPOINT]
    progress = read_checkpoint(place)[1]["progress"]
    assert (progress["epoch"], progress["step"]) == (2, 2)
    status, _, err = server.run(tmp_path, *shlex.split(command)[1:])
    assert status == 0, err
    same(place, straight)


def test_the_command_repeats_the_folder_of_the_data(server: Server, tmp_path: Path) -> None:
    command = (*RUN, "--out", tmp_path / "run", "--data-dir", tmp_path)
    _, _, err = server.run(tmp_path, *command, at=("step", 2, signal.SIGINT))
    assert last_line(err).endswith(f" --resume --data-dir {tmp_path}")


# --- wrong input ----------------------------------------------------------------------------------

COUNT = "must be an integer of at least 1; got"
LAYERS = "must be an integer from 1 to 100,000; got"
QUBITS = "must be an integer from 1 to 4,096; got"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("train mnits", "`dataset` must be one of iris, digits, mnist-mini, .*; got 'mnits'."),
        ("train iris --ansatz qft", "`--ansatz` must be one of u3-cu3-ring, .*; got 'qft'."),
        ("train iris --engine qpu", "`--engine` must be one of auto, .*; got 'qpu'."),
        ("train iris --recipe x", "`--recipe` must be one of default, published; got 'x'."),
        ("train iris --torch-device tpu", "`--torch-device` must be a device of this machine; go"),
        ("train iris --torch-device meta", "`--torch-device` must be a device of this machine; "),
        ("train iris --torch-device cuda:99", "`--torch-device` must be a device of this machine"),
        ("train iris --layers 0", f"`--layers` {LAYERS} 0."),
        ("train iris --layers -1", f"`--layers` {LAYERS} -1."),
        ("train iris --qubits 0", f"`--qubits` {QUBITS} 0."),
        ("train iris --qubits -8", f"`--qubits` {QUBITS} -8."),
        ("train iris --epochs 0", f"`--epochs` {COUNT} 0."),
        ("train iris --epochs -3", f"`--epochs` {COUNT} -3."),
        ("train iris --batch-size 0", f"`--batch-size` {COUNT} 0."),
        ("train iris --batch-size -1", f"`--batch-size` {COUNT} -1."),
        ("train iris --lr 0", "`--lr` must be a positive number; got 0.0."),
        ("train iris --lr -0.1", "`--lr` must be a positive number; got -0.1."),
        ("train iris --lr nan", "`--lr` must be a positive number; got nan."),
        ("train iris --lr inf", "`--lr` must be a positive number; got inf."),
        ("train iris --qubits 7", "must be at least 8; got 7. 131 weights need 8 qubits."),
        ("train mnist --qubits 12", "at least 13; got 12. 6,690 weights need 13 qubits."),
        (
            "train iris --engine statevector --qubits 60",
            "at most .*; got 60. .*(mps|product state)",
        ),
        ("train iris --layers two", "must be an integer; got 'two'"),
        ("train iris --lr fast", "must be a number; got 'fast'"),
        ("train iris --seed 1.5", "must be an integer; got '1.5'"),
        ("train iris --shots 0", "`--shots` must be a positive integer; got 0."),
        (
            "train iris --shots -5 --gradient spsa",
            "`--shots` must be an integer of at least 0; got -",
        ),
        ("train iris --gradient spsa", "`--gradient` must be given with shots; got no shots. Give"),
        (
            "train iris --shots 9 --gradient adjoint",
            "`--gradient` must be one of parameter-shift, random-shift, spsa; got 'adjoint'.",
        ),
        ("train iris --engine mps --max-bond 0", "`--max-bond` must be .*; got 0."),
        ("train iris --engine mps --max-bond 4 --cutoff -1", "`--cutoff` must be .*; got -1.0."),
        ("train iris --mapping tensor-train --bond-dim -2", "`--bond-dim` must be .*; got -2."),
        ("train iris --speed 3", "No such option: --speed.* See --help."),
        ("train iris digits", "unexpected extra argument.* See --help."),
        ("train iris --epochs", "--epochs.* requires an argument. See --help."),
        ("train", "Missing (argument|parameter).* See --help."),
        ("evaluate", "Missing (argument|parameter).* See --help."),
        ("", "Missing command. See --help."),
        ("teach", "No such command 'teach'. See --help."),
        ("trian iris", "No such command 'trian'. Did you mean 'train'[?] See --help."),
        ("braket sumbit x", "No such command 'sumbit'. Did you mean 'submit'[?] See --help."),
        ("train iris --epoch 3", "No such option: --epoch.*--epochs.* See --help."),
        ("train irsi", "must be one of iris, .*; got 'irsi'. Did you mean iris?"),
        ("train iris --ansatz ry-cx", "got 'ry-cx'. Did you mean ry-cx-chain?"),
        ("train iris --device cuda", "`--device` must be .*; got 'cuda'. Where torch computes is "),
        ("evaluate nowhere", "`nowhere/checkpoint.safetensors` must be a checkpoint file; got no"),
        ("export nowhere", "`nowhere/checkpoint.safetensors` must be a checkpoint file; got noth"),
        ("export nowhere --format x", "`--format` must be 'safetensors' or 'onnx'; got 'x'."),
        ("train iris --data-dir nowhere", "must be an existing folder; got 'nowhere'."),
    ],
)
def test_wrong_input_is_one_line(argv: str, message: str, fails: Callable[..., str]) -> None:
    assert re.search(message.replace(". ", r"\. "), fails(*argv.split()))


def test_a_missing_run_is_answered_with_those_there_are(
    fails: Callable[..., str], folder: Path
) -> None:
    expected = r"`nope/checkpoint\.safetensors` must be a checkpoint file; got nothing there\. Runs"
    message = fails("evaluate", "nope")
    assert re.match(expected, message)
    assert message.endswith("Runs there: run.")


def test_a_finished_run_is_not_made_longer_but_begun_from(
    fails: Callable[..., str], folder: Path
) -> None:
    message = fails("train", "iris", "--resume", "--epochs", "9", "--out", folder)
    assert message.startswith("`--epochs` must be 2 as in ")
    assert message.endswith(f"To train longer, begin another run with --init-from {folder}.")


def test_wrong_input_to_the_installed_command(tmp_path: Path) -> None:
    argv = (SCRIPT, "train", "iris", "--layers", "0")
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert one_line(done.stderr)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(fails: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    expected = r"`--out` must be a folder that can be written; got {} \({}\)\."
    for path, reason in (
        ("file", "File exists"),
        ("file/inside", "Not a directory"),
        ("n" * 300, "File name too long"),
    ):
        assert re.fullmatch(expected.format(path, reason), fails("train", "iris", "--out", path))


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only for root"
)
def test_a_read_only_folder(fails: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    for path in ("closed", "closed/inside"):
        assert "(Permission denied)" in fails("train", "iris", "--out", path)


def test_a_disk_that_is_full_is_not_bad_input(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_cli_run, "write_weights", full)
    with pytest.raises(SystemExit) as ended:
        cli("train", "iris", *QUICK, "--out", "run")
    assert ended.value.code == 1
    said = "[Errno 28] No space left on device. Run again with --debug for the traceback."
    assert last_line(capsys.readouterr().err) == f"qtn-train: {said}"
    assert read_checkpoint(tmp_path / "run")[1]["progress"]["epoch"] == 2


@pytest.mark.parametrize(
    "error", [KeyError("x"), ValueError("too wide"), TypeError(), OverflowError("y")]
)
def test_a_fault_of_the_program_is_not_bad_input(
    error: Exception, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(_cli_run, "versions", broken)
    said = f"fault of the program ({type(error).__name__}: {error})."
    expected = f"{said} Run again with --debug for the traceback."
    assert fails("info", status=1) == expected


@pytest.mark.parametrize("place", [0, 1, 4])
def test_debug_shows_the_traceback_wherever_it_stands(
    place: int, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["train", "iris", "--layers", "0"]
    with pytest.raises(SystemExit) as ended:
        cli(*argv[:place], "--debug", *argv[place:])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last):\n")
    assert last_line(err) == f"qtn-train: `--layers` {LAYERS} 0."


# --- data files -----------------------------------------------------------------------------------


def idx(*shape: int) -> bytes:
    n = 1
    for size in shape:
        n *= size
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + bytes(n)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (None, "`mnist` must be on this machine or on one of its mirrors; got no intact train-im"),
        (b"", "got an empty file. Replace it by a fresh copy, or delete it."),
        (gzip.compress(idx(20, 28, 28))[:-9], "must be a whole gzip file; got a damaged or trunc"),
        (gzip.compress(idx(20, 28, 28)[:-9]), "bytes long, as its header says; got "),
        (gzip.compress(idx(20, 28, 28)), "whose content has SHA-256 .*; got SHA-256 .* Replace"),
        (b"<html>not found</html>", "must be a gzip file; got a file that begins with b'<html>no"),
    ],
    ids=["missing", "empty", "truncated", "short", "altered", "html"],
)
def test_a_bad_data_file_is_one_line(
    raw: bytes | None, message: str, fails: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    if raw is not None:
        (folder / f"{data.FILES[0]}.gz").write_bytes(raw)
    said = fails("train", "mnist", "--data-dir", folder, "--out", tmp_path / "run")
    assert re.search(message.replace(". ", r"\. "), said)


# --- checkpoints ----------------------------------------------------------------------------------


def newer(raw: bytes) -> bytes:
    changed = raw.replace(f'\\"format\\": {FORMAT}'.encode(), b'\\"format\\": 9')
    assert changed != raw
    return changed


def flipped(raw: bytes) -> bytes:
    return raw[:-100] + bytes([raw[-100] ^ 64]) + raw[-99:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (flipped, "must be as it was written; got another checksum. The file is dam"),
        (lambda raw: raw[:-100], "must be a checkpoint file of qtn_train; got a damaged or foreig"),
        (lambda raw: b"", "must be a checkpoint file of qtn_train; got a damaged or foreign file."),
        (newer, f"must be of format {FORMAT}; got 9. Update qtn_train."),
    ],
    ids=["flipped", "truncated", "empty", "newer"],
)
@pytest.mark.parametrize(
    "command",
    ["train iris --resume --out", "evaluate", "export", "train iris --out new --init-from"],
)
def test_a_bad_checkpoint_is_one_line(
    command: str,
    change: Callable[[bytes], bytes],
    message: str,
    fails: Callable[..., str],
    folder: Path,
) -> None:
    path = folder / CHECKPOINT
    path.write_bytes(change(path.read_bytes()))
    assert message in fails(*command.split(), folder)


def test_a_checkpoint_written_from_python_is_told_apart(
    fails: Callable[..., str], tmp_path: Path
) -> None:
    iris = data.load("iris")
    fit(
        target_for("iris"),
        iris,
        config=FitConfig(epochs=1),
        folder=tmp_path / "own",
        progress_bar=False,
    )
    for command in (("evaluate",), ("export",), ("train", "iris", "--resume", "--out")):
        message = fails(*command, "own")
        assert "must be a folder of `qtn-train train`; got a checkpoint written from P" in message


# --- NaN ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [("--epochs", "3"), QUICK], ids=["in a step", "in a test"])
def test_a_loss_that_is_not_finite_keeps_the_checkpoint(
    options: tuple[str, ...],
    cli: Cli,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli("train", "iris", *options, "--lr", "1e30", "--out", "run")
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (1, "")
    assert "Traceback" not in err
    assert re.fullmatch(
        r"qtn-train: `[a-z ]+` must be finite; got (nan|inf)\. Lower the learning rate\. "
        r"The last good checkpoint was kept\.",
        last_line(err),
    )
    assert [path.name for path in (tmp_path / "run").iterdir()] == [CHECKPOINT]
    tensors, _ = read_checkpoint(tmp_path / "run")
    assert max(map(abs, flat({k: v for k, v in tensors.items() if k.startswith("model/")}))) < 100


def test_only_the_last_line_is_an_error(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise NonFiniteLoss("`loss` must be finite; got nan.\n Twice.")

    monkeypatch.setattr(_loop, "training_step", fail)
    with pytest.raises(SystemExit):
        cli("train", "iris", *QUICK, "--out", "run")
    lines = [line for line in capsys.readouterr().err.splitlines() if "qtn-train:" in line]
    assert len(lines) == 1
    assert lines[0].endswith("got nan. Twice. The last good checkpoint was kept.")
