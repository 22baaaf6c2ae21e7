"""The command line with a user's own data, network and observable."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
import torch
from PIL import Image
from safetensors.torch import load_file

from qtn_train.data import Dataset
from qtn_train.recipes import RunOptions, _own
from qtn_train.studies import parse_study

QUICK = ("--epochs", "2", "--batch-size", "20", "--layers", "1")

NET = """import torch
from dataclasses import dataclass
from helper import WIDTH

@dataclass
class Size:
    width: "int" = WIDTH

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(2, Size().width)
        self.last = torch.nn.Linear(Size().width, 3)
        self.register_buffer("noise", torch.rand(2))

    def forward(self, x):
        return self.last(torch.tanh(self.first(x + self.noise)))

class Two(Net):
    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(4, 2)

class Wide(torch.nn.Module):
    def __init__(self, width):
        super().__init__()

def one():
    return torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))

def picture():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 4 * 4, 2))

def words():
    return torch.nn.Sequential(torch.nn.Embedding(9, 2), torch.nn.Flatten(), torch.nn.Linear(6, 2))

def number():
    return 3

def taught():
    net = torch.nn.Linear(2, 3)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[9.0, 0.0], [0.0, 9.0], [-9.0, -9.0]]))
        net.bias.zero_()
    return net

value = 3
"""

MINE = """import qtn_train as qt

def lattice(n_qubits, n_layers):
    return qt.ansatz.grid(2, n_qubits // 2, n_layers)

def stripes(n_qubits):
    return [{f"{p}{i} {p}{i + 1}": 1.0} for p in "XZ" for i in range(n_qubits - 1)]

def few(n_qubits):
    return ["Z0"]

def outside(n_qubits):
    return [f"Z{n_qubits}"]

def number(n_qubits):
    return 3

def total(n_qubits):
    return {f"Z{i} Z{i + 1}": 1.0 / n_qubits for i in range(n_qubits - 1)}
"""

pytestmark = pytest.mark.usefixtures("quick_runs")

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(command_line: Cli, tmp_path: Path) -> Cli:
    """Run the command line among a user's files."""
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "helper.py").write_text("WIDTH = 4\n")
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("raise SystemExit(3)\n")
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 2)) * [5, 100] + [3, -40]
    kinds = np.array(["a", "b", "c"])[(x[:, 0] > 3).astype(int) + (x[:, 1] > -40)]
    rows = [f"{kind},{a:.3f},{b:.3f}" for (a, b), kind in zip(x, kinds, strict=True)]
    (tmp_path / "flowers.csv").write_text("\n".join(["kind,length,width", *rows]))
    prices = [f"{a:.3f},{b:.3f},{a / 9 + 0.01 * b:.4f}" for a, b in x]
    (tmp_path / "prices.csv").write_text("\n".join(["length,width,price", *prices]))
    (tmp_path / "notes.txt").write_text("hello")
    tokens = draw.integers(0, 9, size=(40, 3))
    np.savez(tmp_path / "words.npz", x=tokens, y=tokens[:, 0] % 2)
    for kind, shade in (("cats", 30), ("dogs", 220)):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        for n in range(6):
            image = Image.new("RGB", (4, 4), (shade + n, shade, shade))
            image.save(tmp_path / "pets" / kind / f"{n}.png")
    return command_line


def run_of(folder: Path) -> dict[str, Any]:
    run: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return run


def test_a_table_and_a_network_of_ones_own(cli: Cli, tmp_path: Path) -> None:
    words = ("train", "flowers.csv", "--target", "net.py:Net", "--label", "kind", *QUICK)
    status, out, err = cli(*words, "--out", "run")
    assert status == 0, err
    assert "test accuracy" in out
    run = run_of(tmp_path / "run")
    assert run["n_weights"] == 2 * 4 + 4 + 4 * 3 + 3
    data = Dataset.from_csv(tmp_path / "flowers.csv", label="kind", standardize=True)
    assert data.scaling is not None
    assert run["scaling"]["mean"] == pytest.approx(data.scaling[0].tolist())
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    assert sorted(weights) == ["first.bias", "first.weight", "last.bias", "last.weight", "noise"]

    # From another folder: evaluated to the same figure, resumed to the same bits.
    before = (tmp_path / "run" / "weights.safetensors").read_bytes()
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "run", tmp_path / "elsewhere" / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "elsewhere")
        told = json.loads(cli("evaluate", "run", "--json")[1])
        assert told["test_accuracy"] == run["test_accuracy"]
        assert cli("export", "run")[0] == 0
        named = ("../flowers.csv", "--target", "../net.py:Net", "--label", "kind")
        assert cli("train", *named, "--resume", "--out", "run")[0] == 0
    assert (tmp_path / "elsewhere" / "run" / "weights.safetensors").read_bytes() == before

    # What has changed since is told, not used.
    (tmp_path / "net.py").write_text(NET.replace("tanh", "relu"))
    _own.member.cache_clear()  # as in another process
    status, _, err = cli("evaluate", "elsewhere/run")
    assert status == 2
    assert "`target` must be net.py as it was; got a file that was changed. Give the file" in err
    (tmp_path / "net.py").write_text(NET)
    with (tmp_path / "flowers.csv").open("a") as file:
        file.write("\na,1,2")
    status, _, err = cli("evaluate", "elsewhere/run")
    assert status == 2
    assert "`dataset` must be flowers.csv as it was; got one that was changed. Give the d" in err
    (tmp_path / "flowers.csv").unlink()
    status, _, err = cli("evaluate", "elsewhere/run")
    assert status == 2
    assert "flowers.csv, which is not there. Files there: prices.csv, words.npz." in err


@pytest.mark.parametrize(
    ("words", "figure"),
    [
        ("prices.csv --target net.py:one", "test_r2"),
        ("words.npz --target net.py:words", "test_accuracy"),
        ("pets --target net.py:picture", "test_accuracy"),
        ("flowers.csv --target net.py:taught --label kind --start target", "test_accuracy"),
    ],
)
def test_data_of_every_kind(words: str, figure: str, cli: Cli, tmp_path: Path) -> None:
    status, out, err = cli("train", *words.split(), *QUICK, "--out", "run")
    assert status == 0, err
    run = run_of(tmp_path / "run")
    assert figure in run
    told = json.loads(cli("evaluate", "run", "--json")[1])
    assert told[figure] == pytest.approx(run[figure], abs=tolerances.TEST_LOSS)
    assert ("R²" in out) == (figure == "test_r2")
    if "--start" in words:  # the weights are a change to those that the network came with
        weights = load_file(tmp_path / "run" / "weights.safetensors")["weight"]
        assert torch.allclose(
            weights[0], torch.tensor([9.0, 0.0]), atol=tolerances.NEAR_THE_START, rtol=0
        )


def test_a_regression_is_evaluated_by_counts(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text("print('hello')\n" + NET + "print('imported')\n")
    words = ("train", "prices.csv", "--target", "loud.py:one", *QUICK, "--out", "run", "--json")
    status, out, err = cli(*words)
    assert status == 0, err
    exact = json.loads(out)["test_r2"]  # whatever the user's file prints goes elsewhere
    assert "imported" in err
    status, _, err = cli("braket", "estimate", "run", "--device", "local:sv", "--within", "1")
    assert status == 2
    assert "`--within` must be left out for real numbers; got 1.0. Points of accuracy" in err
    counted = ("braket", "submit", "run", "--device", "local:sv", "--shots", "100")
    status, out, err = cli(*counted)
    assert status == 0, err
    assert f"R² {exact:.4f} on the test set on a simulator; network in run/" in out


def test_a_binary_classifier_with_one_output(cli: Cli, tmp_path: Path) -> None:
    words = ("train", "words.npz", "--target", "two.py:net", *QUICK, "--out", "run")
    (tmp_path / "two.py").write_text(
        NET.split("class Net")[0].replace("from helper import WIDTH", "WIDTH = 1")
        + "def net():\n    return torch.nn.Sequential(torch.nn.Embedding(9, 2), "
        "torch.nn.Flatten(), torch.nn.Linear(6, 1))\n"
    )
    status, _, err = cli(*words)
    assert status == 2
    assert "The target gives 1 score; the data have 2 classes." in err
    status, _, err = cli(*words, "--loss", "bce")
    assert status == 0, err
    assert 0 <= run_of(tmp_path / "run")["test_accuracy"] <= 1


def test_weights_from_an_observable_of_ones_own(cli: Cli, tmp_path: Path) -> None:
    own = ("--ansatz", "mine.py:lattice", "--measure", "mine.py:stripes", "--qubits", "6")
    status, _, err = cli("train", "iris", *own, *QUICK, "--out", "run")
    assert status == 0, err
    run = run_of(tmp_path / "run")
    assert (run["n_values"], run["n_qubits"]) == (10, 6)
    assert json.loads(run["measurement"])[0] == {"X0 X1": 1.0}
    # The run needs neither file, nor runs one.
    (tmp_path / "mine.py").write_text("raise SystemExit('run when a folder is opened')")
    assert json.loads(cli("evaluate", "run", "--json")[1])["test_accuracy"] == run["test_accuracy"]


def test_a_comparison_and_a_training_study_of_ones_own(cli: Cli, tmp_path: Path) -> None:
    few = ("--seeds", "1", "--generators", "circuit", "--epochs", "1", "--layers", "1")
    words = ("flowers.csv", "--target", "net.py:Net", "--label", "kind")
    own = ("--measure", "mine.py:stripes", "--qubits", "4")
    status, _, err = cli("compare", *words, *own, *few, "--out", "both")
    assert status == 0, err
    table = json.loads((tmp_path / "both" / "table.json").read_text())
    assert "compare flowers.csv --target net.py:Net --label kind" in table["command"]
    assert "--measure mine.py:stripes" in table["command"]
    status, _, err = cli("compare", "prices.csv", "--target", "net.py:one", *few, "--out", "no")
    assert status == 2
    assert "`dataset` must be one with classes; got real numbers. Comparisons are of acc" in err
    study = parse_study(
        """
        study.measure = "train"
        settings = {dataset = "flowers.csv", target = "net.py:Net", label = "kind", n_layers = 1}
        grid = {epochs = [1], measurement = ["mine.py:stripes"], n_qubits = [4]}
        """
    )
    (tmp_path / "both").rename(tmp_path / "moved")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "moved")
        row = study.measure.run(parse_study(study.text).points[0], 0)
    assert 0 <= row["test_accuracy"] <= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "flowers.csv",
            "`--target` must be given with data of your own; got nothing. For example net.py:Net, "
            "the class of a torch module that takes your samples.",
        ),
        (
            "flower.csv --target net.py:Net",
            "a csv or npz file, or a folder of images; got flower.csv, which is not there. Files "
            "there: flowers.csv, prices.csv, words.npz.",
        ),
        ("notes.txt --target net.py:Net", "or a folder of images; got 'notes.txt'. In Python, qt."),
        (
            "flowers.csv --target nett.py:Net",
            "`--target` must be file.py:Class, the class of a network or a function that builds "
            "one; got nett.py (No such file or directory). Files there: broken.py, helper.py, ",
        ),
        ("flowers.csv --target Net", "or a function that builds one; got 'Net'."),
        (
            "flowers.csv --target net.py:Nett",
            "`--target` must be a class or function in net.py; got 'Nett'. Classes and functions "
            "there: Size, Net, Two, Wide, one, picture, words, number, taught.",
        ),
        ("flowers.csv --target net.py:value", "a class or function in net.py; got 'value'. Class"),
        (
            "flowers.csv --target net.py:Wide",
            "`--target` must be a class that can be called; got TypeError: Wide.__init__() missing "
            "1 required positional argument: 'width'. It is called without arguments and gives a "
            "torch.nn.Module.",
        ),
        (
            "flowers.csv --target net.py:number",
            "`--target` must be a class or function of a network; got int from number. It is "
            "called without arguments and gives a torch.nn.Module.",
        ),
        (
            "flowers.csv --target broken.py:Net",
            "`--target` must be in a file that Python can run; got broken.py, which raises "
            "SystemExit: 3.",
        ),
        (
            "flowers.csv --target net.py:Two --label kind",
            "The target gives 2 scores; the data have 3 classes. Nothing was trained. Let the "
            "target's last layer have 3 outputs.",
        ),
        ("flowers.csv --target net.py:Net", "flowers.csv` must be a table of finite numbers; got"),
        (
            "flowers.csv --target net.py:Net --label color",
            "`--label` must be one of the columns kind, length, width; got 'color'.",
        ),
        ("iris --label kind", "`dataset` must be a csv file with label; got iris."),
        ("iris --start target", "`--target` must be given with start target; got nothing."),
        ("iris --loss mse", "`--target` must be given with loss mse; got nothing."),
        ("iris --loss bce --target net.py:one", "must be 0 or 1 for the loss 'bce'; got labels fr"),
        ("prices.csv --target net.py:one --loss nll", "The data hold real numbers: take 'mse',"),
        ("iris --target net.py:Net", "`train` must be inputs that the target takes; got samples"),
        ("pets --target net.py:Net", "samples of float32 and shape (3, 4, 4)"),
        (
            "iris --measure mine.py:number",
            "`--measure` must be a function that gives Pauli strings; got int from mine.py:number. "
            "It is called as f(n_qubits) and returns Pauli strings, such as",
        ),
        ("iris --measure mine.py:outside", "`measurement, terms` must be on qubits 0 … 9; got 'Z1"),
        ("iris --measure mine.py:strips", "a function in mine.py; got 'strips'. Functions there: "),
        (
            "iris --measure mine.py:few --mapping identity",
            "`--measure` must be of at least 131 values for the mapping identity; got 1.",
        ),
        ("iris --measure mine.py:few --reach 3", "`--measure` must be 'pauli-2' with reach; got"),
        ("iris --measure pauli2", "pauli-3, or file.py:function; got 'pauli2'. Did you mean pauli"),
    ],
)
def test_wrong_parts_are_one_line(words: str, message: str, cli: Cli, tmp_path: Path) -> None:
    status, out, err = cli("train", *words.split(), "--out", "run")
    assert (status, out) == (2, ""), err
    assert err.startswith("qtn-train: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "run").exists()


def test_options_keep_paths_and_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "helper.py").write_text("WIDTH = 4\n")
    np.savez(tmp_path / "points.npz", x=np.zeros((9, 2)), y=np.arange(9) % 3)
    options = RunOptions("points.npz", target_name="net.py:Net")
    kept = options.to_json()
    assert kept["target"].startswith(f"{tmp_path}/net.py:Net#")
    assert kept["dataset"].startswith(f"{tmp_path}/points.npz#")
    monkeypatch.chdir("/")
    assert RunOptions.from_json(kept) == options
    assert options.data_name == "points"
    # What is random in a network follows from the run's seed, and moves no other stream.
    state = torch.get_rng_state()
    noise = [RunOptions.from_json(kept | {"seed": s}).target().noise for s in (1, 1, 2)]
    assert torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], noise[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_whole_numbers_are_amounts_under_the_mean_square(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "helper.py").write_text("WIDTH = 4\n")
    rows = [f"{n},{n % 4},{1000 * n}" for n in range(20)]
    (tmp_path / "flats.csv").write_text("\n".join(["size,rooms,price", *rows]))
    np.savez(tmp_path / "flats.npz", x=np.zeros((20, 2)), y=1000 * np.arange(20))
    for name in ("flats.csv", "flats.npz"):
        assert RunOptions(name, target_name="net.py:one").load().n_classes == 20
        amounts = RunOptions(name, target_name="net.py:one", loss="mse").load()
        learned = torch.cat([amounts.y_train, amounts.y_test])
        assert sorted(learned.tolist()) == [1000.0 * n for n in range(20)]
