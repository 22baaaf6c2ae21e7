"""``qtn-train circuit``: what it draws, counts and writes, and wrong input in one line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import tolerances

from qtn_train.exchange import import_circuit

PROGRAM = """OPENQASM 3.0;
include "stdgates.inc";
input float theta;
qubit[3] q;
bit[2] c;
h q[0];
rx(2*theta + pi/2) q[1];
ry(theta) q[2];
rz(pi/4) q[0];
cx q[0], q[2];
c[0] = measure q[2];
c[1] = measure q[0];
"""

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(command_line: Cli, tmp_path: Path) -> Cli:
    """Run `qtn-train circuit` beside a program; return exit status and what it printed."""
    (tmp_path / "a.qasm").write_text(PROGRAM)
    return partial(command_line, "circuit")


def test_show(cli: Cli) -> None:
    status, out, err = cli("show", "a.qasm")
    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert lines[:3] == ["q0: ─H──Rz─●─", "q1: ─Rx────│─", "q2: ─Ry────X─"]
    assert lines[3:9] == [
        "qubits          3",
        "gates           5 (h 1, rx 1, ry 1, rz 1, cx 1)",
        "depth           3",
        "inputs          theta",
        "measured        q2, q0",
        "estimates for   4 probabilities, forward and backward",
    ]
    assert [line.split()[0] for line in lines[9:12]] == ["statevector", "mps", "contraction"]
    assert re.match(r"auto: estimated .* s as a state vector, .* as an exact", lines[12])
    assert len(lines) == 13


def test_show_as_json(cli: Cli) -> None:
    told = json.loads(cli("show", "a.qasm", "--outcomes", "8", "--json")[1])
    assert told["gates"] == {"h": 1, "rx": 1, "ry": 1, "rz": 1, "cx": 1}
    assert (told["n_qubits"], told["n_gates"], told["depth"]) == (3, 5, 3)
    assert (told["inputs"], told["measured"], told["outcomes"]) == (["theta"], [2, 0], 8)
    assert all(one["seconds"] > 0 and one["bytes"] > 0 for one in told["estimates"].values())


def test_show_what_no_float_can_count(cli: Cli, tmp_path: Path) -> None:
    n = 1100  # 2^1024 is beyond a float
    calls = "".join(f"cx q[{k}], q[{k + 1}];\n" for k in range(n - 1))
    both = f"for int i in [0:{n - 2}] {{ cx q[i], q[i+1]; }}\n" * 2
    (tmp_path / "wide.qasm").write_text(f"OPENQASM 3.0;\nqubit[{n}] q;\n{calls}{both}")
    status, out, _ = cli("show", "wide.qasm", "--json")
    told = json.loads(out)
    assert status == 0
    assert told["outcomes"] == 2**20
    assert told["estimates"]["statevector"] == {"seconds": None, "bytes": None}
    assert told["estimates"]["mps"]["seconds"] > 0
    assert told["estimates"]["contraction"] is None
    text = cli("show", "wide.qasm")[1]
    assert re.search(r"(?m)^  statevector +more than any s, more than any MiB$", text)
    assert re.search(r"(?m)^  contraction +not looked for in so many", text)


def same(text: str, values: Any) -> Any:
    """The program that was written, held against the first one at some values of its inputs."""
    first, again = import_circuit(PROGRAM), import_circuit(text)
    of_first = oracle.amplitudes(first.circuit, first.angles([0.3]))
    of_again = oracle.amplitudes(again.circuit, again.angles(values))
    probs = [np.abs(one) ** 2 for one in (of_first, of_again)]
    assert np.abs(probs[0] - probs[1]).max() < tolerances.MATRICES
    assert again.measured == first.measured
    return again


@pytest.mark.parametrize("to", ["openqasm3", "braket"])
def test_convert_keeps_inputs_constants_and_measurements(to: str, cli: Cli) -> None:
    status, out, err = cli("convert", "a.qasm", "--to", to)
    assert (status, err) == (0, "")
    again = same(out, [0.3])
    assert again.inputs == ("theta",)
    assert "input float theta;" in out


def test_convert_with_values(cli: Cli, tmp_path: Path) -> None:
    words = ("convert", "a.qasm", "--to", "openqasm2", "--values", "theta=0.3")
    status, out, err = cli(*words, "--out", "b.qasm")
    assert (status, out, err) == (0, "wrote b.qasm\n", "")
    text = (tmp_path / "b.qasm").read_text()
    assert text.startswith("OPENQASM 2.0;")
    assert same(text, []).inputs == ()
    told = json.loads(cli(*words, "--json")[1])
    assert told == {"to": "openqasm2", "bytes": len(text), "text": text}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["show", "gone.qasm"], r"`gone.qasm` must be a file with a program in OpenQASM; got noth"),
        (["show", "."], r"`\.` must be a file with a program in OpenQASM; got a folder"),
        (["show", "bad.qasm"], r"`line 3` must be without a reset of a used qubit; got 0"),
        (["show", "glued.qasm"], r"`line 2` must be OpenQASM; got"),
        (["show", "torn.qasm"], r"`line 2` must be OpenQASM; got"),
        (["show", "bytes.qasm"], r"`source` must be text in UTF-8; got other bytes"),
        (["show", "a.qasm", "--outcomes", "9"], r"`--outcomes` must be from 1 to 2\^3; got 9"),
        (["show", "a.qasm", "--outcomes", "0"], r"`--outcomes` must be from 1 to 2\^3; got 0"),
        (
            ["convert", "a.qasm", "--to", "cirq"],
            r"`--to` must be one of openqasm3, .*got 'cirq'. O",
        ),
        (["convert", "a.qasm"], "Missing option '--to'"),
        (["convert", "a.qasm", "--to", "openqasm2"], r"`--values` must be given for 'openqasm2'"),
        (["convert", "a.qasm", "--to", "qiskit"], r"`--out` must be given for the target qiskit"),
        (
            ["convert", "a.qasm", "--to", "qiskit", "--out", "a.qpy"],
            r"the target qiskit needs the package qiskit: pip install qiskit",
        ),
        (
            ["convert", "a.qasm", "--to", "openqasm2", "--values", "phi=1"],
            r"`--values` must be of the inputs theta; got \['phi'\]",
        ),
        (
            ["convert", "a.qasm", "--to", "openqasm2", "--values", "theta=x"],
            r"`--values` must be name=number, with commas; got 'theta=x'. For example",
        ),
        (
            ["convert", "a.qasm", "--to", "openqasm2", "--values", "theta=nan"],
            r"`--values` must be finite; got nan",
        ),
        (
            ["convert", "a.qasm", "--to", "openqasm3", "--out", "a.qasm/b.qasm"],
            r"`--out` must be a file that can be written; got a.qasm/b.qasm \(",
        ),
    ],
)
def test_wrong_input_is_one_line(
    argv: list[str], message: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "qiskit", None)
    (tmp_path / "bad.qasm").write_text("qubit[1] q;\nh q[0];\nreset q[0];\n")
    (tmp_path / "glued.qasm").write_text("qubit[1] q;\nrx(1in 2) q[0];\n")
    (tmp_path / "torn.qasm").write_text('qubit[1] q;\nh q[0"];\n')
    (tmp_path / "bytes.qasm").write_bytes(b"\xff\xfe\x00")
    before = sorted(tmp_path.iterdir())
    status, out, err = cli(*argv)
    assert (status, out) == (2, "")
    assert re.match(rf"qtn-train: {message}", err)
    assert err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
