"""``qtn-train compare``: table, figure, one JSON object, Ctrl-C and wrong input."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from forked import Server

from qtn_train import plots
from qtn_train.cli._app import main
from qtn_train.comparison import read_comparison
from qtn_train.generators import CONTROLS
from qtn_train.training import _timing

QUICK = ("--epochs", "1", "--batch-size", "60", "--seeds", "2")
PAIR = ("compare", "iris", "--generators", "circuit,hashing", *QUICK)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(_timing, "_STEPS", 1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, str]]:
    monkeypatch.chdir(tmp_path)

    def call(*argv: str | Path) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["qtn-train", *map(str, argv)])
        main()
        return capsys.readouterr()

    return call


def test_one_table_and_one_figure(cli: Callable[..., tuple[str, str]], tmp_path: Path) -> None:
    out, err = cli(*PAIR, "--layers", "1,2", "--out", "both")
    lines = out.splitlines()
    assert lines[0].split()[:5] == ["layers", "generator", "test", "accuracy", "%"]
    assert [line.split()[:2] for line in lines[1:5]] == [
        [layers, name] for layers in "12" for name in ("circuit", "hashing")
    ]
    assert all("±" in line for line in lines[1:5])
    assert lines[5] == "see both/compare.png and both/compare.json"
    assert len(re.findall(r"\w+, [12] layers, seed [01]: test accuracy", err)) == 8
    assert (tmp_path / "both" / "compare.png").read_bytes()[:4] == b"\x89PNG"
    table = json.loads((tmp_path / "both" / "table.json").read_text())
    assert table["command"].startswith("qtn-train compare iris --ansatz ry-cx-chain --qubits 8 ")
    assert "--generators circuit,hashing --layers 1,2 --seeds 2" in table["command"]
    assert table["title"].startswith(
        "iris: 131 weights, 8 qubits, 1, 2 layers of ry-cx-chain, 1 ep"
    )
    assert plots.lines(table["rows"], **table["figure"]).axes
    out, _ = cli("compare", "iris", "--out", "both", "--resume", "--json")
    stored = json.loads((tmp_path / "both" / "compare.json").read_text())
    assert json.loads(out) == stored
    assert (len(stored["runs"]), len(stored["table"])) == (8, 4)
    assert stored["settings"]["run"]["options"]["ansatz"] == "ry-cx-chain"
    assert {"torch", "python"} <= stored["settings"]["run"]["versions"].keys()


def test_a_comparison_grows_and_keeps_its_options(
    cli: Callable[..., tuple[str, str]], tmp_path: Path
) -> None:
    first = ("compare", "iris", "--generators", "hashing", "--epochs", "1", "--seeds", "1")
    _, err = cli(*first, "--lr", "0.05", "--mapping", "tensor-train", "--out", "a", "--resume")
    assert "a holds no comparison yet: starting it there." in err
    _, err = cli("compare", "iris", "--generators", "circuit", "--out", "a", "--resume")
    runs = read_comparison(tmp_path / "a").runs
    assert [run["generator"] for run in runs] == ["hashing", "circuit"]
    assert runs[1]["lr"] == 0.05
    assert "TensorTrainMapping" in err


@pytest.mark.slow
def test_ctrl_c_names_the_command_that_goes_on(tmp_path: Path) -> None:
    server = Server()
    try:
        place = tmp_path / "a comparison"
        at = ("step", 4, signal.SIGINT)
        status, out, err = server.run(tmp_path, *PAIR, "--out", place, at=at)
        assert (status, out) == (1, "")
        said, _, command = err.splitlines()[-1].strip().partition(" Go on with: ")
        assert said == "qtn-train: Interrupted. Nothing is lost."
        assert command == f"qtn-train compare iris --out '{place}' --resume"
        assert len(read_comparison(place).runs) == 1
        status, out, err = server.run(tmp_path, *shlex.split(command)[1:])
        assert status == 0, err
        assert len(read_comparison(place).runs) == 4
    finally:
        server.close()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("iris --generators circuit,dice", "`--generators` must be names out of circuit, .*'dice'"),
        ("iris --generators circuit,circuit", "`--generators` must be at least one, and none twi"),
        ("mnits", "`dataset` must be one of iris, digits, .*; got 'mnits'"),
        ("iris --seeds 0", "`--seeds` must be a positive integer; got 0"),
        ("iris --layers 1,x", "`--layers` must be numbers and commas; got '1,x'. For example"),
        ("iris --layers 1,0", "`--layers` must be a positive integer; got 0"),
        ("iris --qubits 7", "must be at least 8; got 7"),
        ("iris --resume", "`--out` must be given to resume; got nothing"),
    ],
)
def test_wrong_input_is_one_line(
    argv: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["qtn-train", "compare", *argv.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert re.fullmatch(rf"qtn-train: [^\n]*{message}[^\n]*\n", err)
    assert not list(tmp_path.iterdir())


def test_the_message_names_every_generator(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["qtn-train", "compare", "iris", "--generators", "?"])
    with pytest.raises(SystemExit):
        main()
    err = capsys.readouterr().err
    assert all(name in err for name in CONTROLS)


def test_messages_of_folders(
    cli: Callable[..., tuple[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = ("compare", "iris", "--generators", "hashing", "--epochs", "1", "--seeds", "1")
    cli(*one, "--out", "a")
    stored = tmp_path / "a" / "compare.json"
    python = json.loads(stored.read_text())
    python["settings"]["run"] = None
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "compare.json").write_text(json.dumps(python))
    for more, message in (
        (("--out", "a"), "`--out` must be an empty folder; got a, which holds a comparison"),
        (("--out", "a", "--resume", "--lr", "0.5"), "`--lr` must be 0.02 as in a; got 0.5. Resume"),
        (("--out", "b", "--resume"), "`b` must be a folder of `qtn-train compare`; got a compar"),
    ):
        monkeypatch.setattr(sys, "argv", ["qtn-train", *one, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert re.search(message, capsys.readouterr().err.splitlines()[-1])
