"""``--circuit FILE``: a program's inputs are trained, its text stays with the run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qtn_train.exchange import import_circuit
from qtn_train.recipes import RunOptions, _own
from qtn_train.recipes._ansatz import find_ansatz
from qtn_train.studies import parse_study
from qtn_train.studies._circuits import make_circuit
from qtn_train.studies._training import options as options_of_a_point
from qtn_train.training import read_checkpoint

QUICK = ("--epochs", "1", "--batch-size", "60")
LINES = [
    "OPENQASM 3.0;",
    *(f"input float a{k};" for k in range(8)),
    "input float shared;",
    "qubit[8] q;",
    *(f"ry(2*a{k} - shared/3 + 0.1) q[{k}];" for k in range(8)),
    *(f"cx q[{k}], q[{k + 1}];" for k in range(7)),
    "rx(0.4) q;",
]
PROGRAM = "\n".join(LINES) + "\n"
BEGIN = "OPENQASM 3.0; input float a; qubit[9] q; bit c;\n"
FILES: dict[str, str | bytes] = {
    "own.qasm": PROGRAM,
    "other.qasm": PROGRAM.replace("0.4", "0.5"),
    "feedback.qasm": f"{BEGIN}c = measure q[0];\nif (c == 1) {{ x q[1]; }}\n",
    "reset.qasm": f"{BEGIN}x q[0]; reset q[0];\n",
    "square.qasm": f"{BEGIN}rx(a*a) q[0];\n",
    "words.qasm": "hello world",
    "empty.qasm": "",
    "fixed.qasm": "OPENQASM 2.0; qreg q[9]; h q[0];",
    "small.qasm": "OPENQASM 3.0; input float a; qubit[3] q; rx(a) q[0];",
    "bytes.qasm": b"\xff\xfe;",
    "mine.py": """import qtn_train as qt

def lattice(n_qubits, n_layers):
    builder = qt.Circuit.builder(n_qubits)
    for layer in range(n_layers):
        for qubit in range(n_qubits):
            builder.ry(qubit)
        for qubit in range(layer % 2, n_qubits - 1, 2):
            builder.cz(qubit, qubit + 1)
    return builder.build()

def number(n_qubits, n_layers):
    return 3

def alone(n_qubits):
    return lattice(n_qubits, 1)

def wide(n_qubits, n_layers):
    return lattice(n_qubits + 1, n_layers)

value = 3
""",
    "broken.py": "1 / 0",
    "unread.py": "def (",
}

Cli = Callable[..., tuple[int, str, str]]


def forget() -> None:
    """Forget the functions of files, as in another process."""
    find_ansatz.cache_clear()
    _own.member.cache_clear()


@pytest.fixture(autouse=True)
def quick(quick_runs: None) -> None:
    forget()  # of files in other tests' folders


@pytest.fixture
def cli(command_line: Cli, tmp_path: Path) -> Cli:
    """Run the command line here, among ``FILES``; return exit status and what it printed."""
    for name, content in FILES.items():
        raw = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(raw)
    return command_line


def test_a_run_keeps_its_program(cli: Cli, tmp_path: Path) -> None:
    status, _, err = cli("train", "iris", "--circuit", "own.qasm", *QUICK, "--out", "run")
    assert status == 0
    assert "8 qubits, 23 gates and 9 inputs (a0, a1, a2, a3, a4, a5, and 3 more)" in err
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["ansatz"], run["n_layers"], run["n_qubits"]) == (None, None, 8)
    assert run["n_trainable_by_part"]["angles"] == 9
    assert run["options"]["circuit"] == PROGRAM
    assert RunOptions.from_json(run["options"]).circuit() == import_circuit(PROGRAM)
    # Elsewhere, and without the file.
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    (tmp_path / "own.qasm").rename(tmp_path / "moved.qasm")
    told = json.loads(cli("evaluate", "elsewhere", "--json")[1])
    assert told["test_accuracy"] == run["test_accuracy"]
    before = (tmp_path / "elsewhere" / "weights.safetensors").read_bytes()
    resume = ("train", "iris", "--resume", "--out", "elsewhere")
    for circuit in ((), ("--circuit", "moved.qasm")):
        assert cli(*resume, *circuit)[0] == 0
    assert (tmp_path / "elsewhere" / "weights.safetensors").read_bytes() == before
    status, _, err = cli(*resume, "--circuit", "other.qasm")
    assert (status, err) == (
        2,
        "qtn-train: `--circuit` must be the circuit that is kept in elsewhere; got another. "
        "Resume with the options that the run began with, or leave them out.\n",
    )
    assert cli("train", "iris", "--init-from", "elsewhere", *QUICK, "--out", "more")[0] == 0
    assert read_checkpoint(tmp_path / "more")[1]["run"]["options"]["circuit"] == PROGRAM


def test_shots_are_bought_for_what_moves(cli: Cli, tmp_path: Path) -> None:
    counted = ("--shots", "50", "--gradient", "parameter-shift")
    words = ("--circuit", "own.qasm", *counted)
    status, _, err = cli("train", "iris", *words, "--epochs", "1", "--out", "run")
    assert status == 0, err
    # Two shifts for each of eight RY, none for eight constant RX.
    estimate = ("braket", "estimate", "--device", "local:sv", "--steps", "1")
    told = cli(*estimate, *words)[1]
    assert "a gradient step    $0.00: 17 circuits, 850 shots" in told


def test_a_comparison_of_a_circuit(cli: Cli, tmp_path: Path) -> None:
    few = ("--seeds", "1", "--generators", "circuit,product", *QUICK)
    status, out, err = cli("compare", "iris", "--circuit", "own.qasm", *few, "--out", "both")
    assert status == 0, err
    assert "circuit, seed 0: test accuracy" in err
    assert "see both/compare.png" in out
    table = json.loads((tmp_path / "both" / "table.json").read_text())
    assert "8 qubits, a circuit of 9 inputs, 1 epochs" in table["title"]
    assert "--circuit circuit.qasm" in table["command"]
    assert "--layers" not in table["command"]
    assert (tmp_path / "both" / "circuit.qasm").read_text() == PROGRAM
    runs = json.loads((tmp_path / "both" / "compare.json").read_text())["runs"]
    assert runs[0]["n_trainable"] == runs[1]["n_trainable"]
    assert cli("compare", "iris", "--out", "both", "--resume", "--seeds", "1")[0] == 0


@pytest.mark.parametrize("command", ["train", "compare"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "missing.qasm",
            "`--circuit` must be a file with a program in OpenQASM; got missing.qasm, which is "
            "not there.",
        ),
        (".", "`--circuit` must be a file with a program in OpenQASM; got ., a folder."),
        (
            "feedback.qasm",
            "`circuit, line 3` must be part of a unitary program that ends with measurements; "
            "got 'feedback (if)'. Measure at the end; what depends on a measurement cannot be a "
            "circuit's angle.",
        ),
        (
            "reset.qasm",
            "`circuit, line 2` must be without a reset of a used qubit; got 0. Take a new qubit "
            "instead: a reset is not unitary.",
        ),
        (
            "square.qasm",
            "`circuit, line 2` must be part of a unitary program that ends with measurements; got "
            "'an angle that is not linear in the inputs'.",
        ),
        (
            "words.qasm",
            "`--circuit` must be a program in OpenQASM; got a file that begins 'hello world'.",
        ),
        ("empty.qasm", "`--circuit` must be a program that declares its qubits; got none."),
        (
            "fixed.qasm",
            "`--circuit` must be a program with free inputs, which are trained; got one without. "
            "Declare some: `input float a;` in OpenQASM 3.",
        ),
        (
            "small.qasm",
            "`--circuit` must be of at least 8 qubits; got one of 3. 131 weights need them; a "
            "larger weights_per_outcome needs fewer.",
        ),
        ("bytes.qasm", "`--circuit` must be text in UTF-8; got other bytes."),
        (
            "own.qasm --ansatz brickwork",
            "`--ansatz` must be left out with a circuit of your own; got brickwork. Take an "
            "ansatz, or a circuit of your own.",
        ),
        (
            "own.qasm --layers 3",
            "`--layers` must be left out with a circuit of your own; got 3. Take an ansatz, or a "
            "circuit of your own.",
        ),
        ("own.qasm --qubits 9", "`--qubits` must be the circuit's 8; got 9. Leave it out."),
        (
            "own.qasm --recipe published",
            "`--recipe` must be 'default' with circuit; got 'published'.",
        ),
    ],
)
def test_wrong_circuits_are_one_line(command: str, words: str, message: str, cli: Cli) -> None:
    status, out, err = cli(command, "iris", "--circuit", *words.split())
    assert (status, out) == (2, "")
    assert err == f"qtn-train: {message}\n"


# An ansatz of the user's own


def test_a_run_of_an_own_ansatz_needs_no_file_later(cli: Cli, tmp_path: Path) -> None:
    words = ("--ansatz", "mine.py:lattice", "--layers", "3")
    status, _, err = cli("train", "iris", *words, *QUICK, "--out", "run")
    assert status == 0, err
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["n_trainable_by_part"]["angles"] == 24
    accuracy = run["test_accuracy"]
    resume = ("train", "iris", "--resume", "--out", "run")
    assert cli(*resume, *words)[0] == 0
    status, _, err = cli(*resume, "--ansatz", "mine.py:lattice", "--layers", "4")
    assert status == 2
    assert "`--circuit` must be the circuit that is kept in run; got another." in err
    (tmp_path / "mine.py").write_text(str(FILES["mine.py"]).replace("cz(", "cx("))
    status, _, err = cli(*resume, *words)
    assert status == 2
    assert "`--circuit` must be the circuit that is kept in run; got another." in err
    (tmp_path / "mine.py").write_text("raise SystemExit('run when a folder is opened')")
    assert json.loads(cli("evaluate", "run", "--json")[1])["test_accuracy"] == accuracy


def test_a_comparison_of_an_own_ansatz_tells_a_changed_file(cli: Cli, tmp_path: Path) -> None:
    few = ("--seeds", "1", "--generators", "circuit", *QUICK, "--out", "both")
    words = ("compare", "iris", "--ansatz", "mine.py:lattice", "--layers", "1,2", *few)
    assert cli(*words)[0] == 0
    runs = json.loads((tmp_path / "both" / "compare.json").read_text())["runs"]
    assert [run["n_layers"] for run in runs] == [1, 2]
    assert runs[1]["n_trainable"] - runs[0]["n_trainable"] == 8
    (tmp_path / "mine.py").write_text("lattice = None")
    forget()
    status, _, err = cli("compare", "iris", "--resume", "--out", "both", "--seeds", "2")
    assert status == 2
    assert "`--ansatz` must be mine.py as it was; got a file that was changed. Give the fil" in err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mine.py:number",
            "a function that gives a Circuit; got int from number. It is called as f(n_qubits, "
            "n_layers) and returns a Circuit.",
        ),
        ("mine.py:wide", "a function that gives 8 qubits when asked for them; got 9. It is calle"),
        (
            "mine.py:alone",
            "a function that can be called; got TypeError: alone() takes 1 positi",
        ),
        ("mine.py:latice", "a function in mine.py; got 'latice'. Functions there: lattice, n"),
        ("mine.py:value", "a function in mine.py; got 'value'. Functions there: lattice, nu"),
        ("broken.py:f", "in a file that Python can run; got broken.py, which raises ZeroDivisionE"),
        ("unread.py:f", "in a file that Python can run; got unread.py, which raises SyntaxError:"),
        ("nope.py:f", "grid, or file.py:function; got nope.py (No such file or directory)."),
        ("mine.py", "grid, or file.py:function; got 'mine.py'."),
    ],
)
def test_wrong_ansatze_are_one_line(name: str, message: str, cli: Cli) -> None:
    status, out, err = cli("train", "iris", "--ansatz", name)
    assert (status, out) == (2, "")
    assert err.startswith("qtn-train: `--ansatz` must be ")
    assert err.count("\n") == 1
    assert message in err


def test_studies_take_an_own_ansatz_and_tell_a_changed_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(str(FILES["mine.py"]))
    text = """
    study.measure = "entropy"
    grid = {ansatz = ["mine.py:lattice", "brickwork"], n_qubits = 4, n_layers = [1, 2]}
    """
    study = parse_study(text)
    own = [point for point in study.points if point["ansatz"] != "brickwork"]
    assert [make_circuit(point).n_angles for point in own] == [4, 8]
    assert len(study.measure.run(own[1], 0)) > 0
    (tmp_path / "mine.py").write_text(str(FILES["mine.py"]).replace("cz(", "cx("))
    assert parse_study(study.text).hash == study.hash
    assert parse_study(text).hash != study.hash
    forget()
    with pytest.raises(ValueError, match=r"`ansatz` must be mine\.py as it was; got a file that w"):
        make_circuit(parse_study(study.text).points[0])


def test_a_study_keeps_its_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.qasm").write_text(PROGRAM)
    text = """
    study.measure = "train"
    [settings]
    dataset = "iris"
    [grid]
    circuit = ["own.qasm"]
    epochs = [1, 2]
    """
    study = parse_study(text)
    assert len(study) == 2
    (tmp_path / "own.qasm").unlink()
    again = parse_study(study.text)
    assert (again.hash, again.text) == (study.hash, study.text)
    point: dict[str, Any] = again.points[0]
    assert options_of_a_point(point).circuit() == import_circuit(PROGRAM)
    with pytest.raises(ValueError, match=r"`circuit` must be a file .*; got own\.qasm, whi"):
        parse_study(text)
