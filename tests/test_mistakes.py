"""Plausible mistakes, in Python and at the shell: each is one line that says what to do.

Each line names the argument, what it must be and what came, or the event; no traceback of Python's
or torch's own words reaches the user.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import qtn_train as qt
from qtn_train import errors, plots
from qtn_train.cli._app import main
from qtn_train.engines import NoisyEngine
from qtn_train.generators import control
from qtn_train.mapping import MLPMapping, TensorTrainMapping
from qtn_train.recipes import RunOptions
from qtn_train.studies import load_study, parse_study
from qtn_train.training import EarlyStopping

NET = nn.Linear(4, 3)
CIRCUIT = qt.ansatz.ry_cx_chain(4, 2)
ANGLES = torch.zeros(CIRCUIT.n_angles)
ENGINE = qt.StatevectorEngine()
X, Y = torch.zeros(20, 4), torch.arange(20) % 3
ROW = np.zeros(CIRCUIT.n_angles)


def state() -> Any:
    return ENGINE.prepare(CIRCUIT, ANGLES)


def model(**options: Any) -> Any:
    return qt.QuantumTrain(NET, **({"circuit": CIRCUIT} | options))


def counted(**options: Any) -> Any:
    return qt.SampledEngine(ENGINE, **({"shots": 10} | options))


def fit(*data: Any, **options: Any) -> Any:
    return qt.fit(model(), *data, **({"epochs": 1, "progress_bar": False} | options))


def reading(reads: Any) -> Any:
    return ENGINE.prepare(CIRCUIT, ANGLES, reads)


#: What was typed, and the beginning of what is answered.
PYTHON: dict[str, tuple[Callable[[], object], str]] = {
    # Models
    "a class as target": (lambda: qt.QuantumTrain(nn.Linear), "`target`.*Build it"),
    "a function as target": (lambda: qt.QuantumTrain(torch.relu), "`target`"),
    "None as target": (lambda: qt.QuantumTrain(None), "`target`"),
    "a state dict as target": (lambda: qt.QuantumTrain(NET.state_dict()), "`target`"),
    "a target without weights": (lambda: qt.QuantumTrain(nn.ReLU()), "`generated`.*none"),
    "no such circuit": (lambda: model(circuit="ring"), "`circuit`"),
    "a function as circuit": (lambda: model(circuit=qt.ansatz.ry_cx_chain), "`circuit`.*Call it"),
    "a path as circuit": (lambda: model(circuit=Path("a.qasm")), "`circuit`.*import_circuit"),
    "text as circuit": (lambda: model(circuit="qubit[2] q; h q;"), "`circuit`.*import_circuit"),
    "a list of circuits": (lambda: model(circuit=[CIRCUIT]), "`circuit`"),
    "a small circuit": (lambda: model(circuit=qt.ansatz.ry_cx_chain(2, 1)), "`n_qubits`.*need 4"),
    "an engine's class": (lambda: model(engine=qt.MPSEngine), "`engine`.*Build it"),
    "no such engine": (lambda: model(engine="gpu"), "`engine`"),
    "a number as engine": (lambda: model(engine=64), "`engine`"),
    "a mapping's name": (lambda: model(mapping="mlp"), "`mapping`"),
    "a mapping's class": (lambda: model(mapping=MLPMapping), "`mapping`.*Build it"),
    "a layer as mapping": (lambda: model(mapping=NET), "`mapping`"),
    "a small mapping": (lambda: model(mapping=MLPMapping(4)), "`mapping.n_values`"),
    "a measurement's name": (lambda: model(measurement="pauli-2"), "`measurement`"),
    "a measurement's class": (lambda: model(measurement=qt.Probabilities), "`measurement`"),
    "no circuit for correlators": (
        lambda: qt.QuantumTrain(NET, measurement=qt.PauliCorrelators(2)), "`circuit`",
    ),
    "a dict as layout": (lambda: model(layout={"gain": 2}), "`layout`.*Layout"),
    "a seed of words": (lambda: model(seed="zero"), "`seed`"),
    "a seed with a fraction": (lambda: model(seed=0.5), "`seed`"),
    "a number as pattern": (lambda: model(generated=3), "`generated` must be a name pattern"),
    "a pattern that matches nothing": (lambda: model(generated="conv*"), "`generated`"),
    "a generator and a circuit": (
        lambda: model(generator=model().generator), "`generator`",
    ),
    "no such start": (lambda: qt.Layout(start="ones"), "`start`"),
    "no such scale": (lambda: qt.Layout(scale="xavier"), "`scale`"),
    "no such control": (lambda: control("random", model().generator), "`name`"),
    # Circuits
    "no qubits": (lambda: qt.ansatz.ry_cx_chain(0, 1), "`n_qubits`"),
    "half a layer": (lambda: qt.ansatz.ry_cx_chain(4, 0.5), "`n_layers`"),
    "words as qubits": (lambda: qt.Circuit.builder("four"), "`n_qubits`"),
    "a qubit too many": (lambda: qt.Circuit.builder(2).h(2), r"`gates\[0\].qubits`"),
    "one qubit twice": (lambda: qt.Circuit.builder(2).cx(1, 1), r"`gates\[0\].qubits`"),
    "a value as angle": (lambda: qt.Circuit.builder(1).rx(0, 0.5), "`angles`.*got 0.5.*by index"),
    "a value among indices": (
        lambda: qt.Circuit.builder(2).crx(0, 1, (0.5,)), r"`gates\[0\]`.*by index",
    ),
    "no such gate": (lambda: qt.Circuit.builder(2).add("hadamard", 0), r"`gates\[0\].name`"),
    "a matrix that is not unitary": (
        lambda: qt.Circuit.builder(1).add("unitary", 0, matrix=[[1, 1], [0, 1]]), "`matrix`",
    ),
    "text that is no program": (lambda: qt.import_circuit("h 0; cx 0 1;"), "`line 1`"),
    "a file that is not there": (
        lambda: qt.import_circuit("mine.qasm"), "`mine.qasm` must be a file with a program",
    ),
    "a model as circuit": (
        lambda: qt.export_circuit(model()), "`circuit` must be a Circuit; got Quan.*generator.circ",
    ),
    "a number as program": (lambda: qt.import_circuit(3), "`source`"),
    "no such target": (lambda: qt.export_circuit(CIRCUIT, to="qasm"), "`to`"),
    "too few angles to export": (lambda: qt.export_circuit(CIRCUIT, [0.1]), "`angles`"),
    "version 2 with free angles": (
        lambda: qt.export_circuit(CIRCUIT, to="openqasm2"), "`angles`.*openqasm3",
    ),
    # Engines and states
    "a list of angles": (lambda: ENGINE.prepare(CIRCUIT, ROW.tolist()), "`angles`"),
    "an array of angles": (lambda: ENGINE.prepare(CIRCUIT, ROW), "`angles`"),
    "whole angles": (lambda: ENGINE.prepare(CIRCUIT, ANGLES.long()), "`angles`"),
    "too few angles": (lambda: ENGINE.prepare(CIRCUIT, ANGLES[:3]), "`angles`"),
    "an angle that is no number": (lambda: ENGINE.prepare(CIRCUIT, ANGLES / 0), "`angles`"),
    "a class as reads": (lambda: reading(qt.Probabilities), "`reads`"),
    "a string as reads": (lambda: reading("ZZII"), "`reads`.*Expectation"),
    "too many qubits": (
        lambda: ENGINE.prepare(qt.Circuit(90, (), 0), torch.zeros(0)), "`n_qubits`.*MPSEngine",
    ),
    "no such dtype": (lambda: qt.StatevectorEngine(dtype="float32"), "`dtype`"),
    "torch's dtype": (lambda: qt.StatevectorEngine(dtype=torch.complex64), "`dtype`"),
    "a bond of 0": (lambda: qt.MPSEngine(0), "`max_bond`"),
    "a negative cutoff": (lambda: qt.MPSEngine(8, cutoff=-1), "`cutoff`"),
    "no shots": (lambda: counted(shots=0), "`shots`"),
    "half a shot": (lambda: counted(shots=0.5), "`shots`"),
    "no such gradient": (lambda: counted(gradient="adjoint"), "`gradient`"),
    "a class to count": (
        lambda: qt.SampledEngine(qt.StatevectorEngine, 10), "`engine` .*Build it: StatevectorEng",
    ),
    "a name to count": (lambda: qt.SampledEngine("mps", 10), "`engine` .*qt.StatevectorEngine"),
    "noise around a name": (lambda: NoisyEngine("mps", 10), "`engine` must be a simulator"),
    "shots of shots": (lambda: qt.SampledEngine(counted(), 10), "`engine`"),
    "a string too short": (lambda: state().expectation("ZZ"), "`terms`"),
    "a letter that is no Pauli": (lambda: state().expectation("ZZIA"), "`terms`"),
    "a qubit beyond the last": (lambda: state().expectation("Z9"), "`terms`"),
    "outcomes beyond the last": (lambda: state().probs(0, 99), "`start, stop`"),
    "outcomes backwards": (lambda: state().probs(3, 1), "`st"),
    "a negative number of shots": (lambda: state().sample_bits(-1, seed=0), "`shots`"),
    "a correlator of order 0": (lambda: qt.PauliCorrelators(0), "`order`"),
    "an outcome's number": (lambda: state().amplitude(3), "`bits` must be 4 bits.*; got 3"),
    "an outcome too short": (lambda: state().amplitude("01"), "`bits` must be 4 bits"),
    "an order in words": (lambda: state().entropy(1, order="two"), "`order` must be a positive"),
    "a bond at the end": (lambda: state().schmidt_values(4), "`bond` must be from 1 to 3"),
    "a qubit twice": (lambda: state().density_matrix((0, 0)), "`qubits` must be different"),
    "a circuit to overlap": (lambda: state().overlap(CIRCUIT), "`other` must be a State"),
    "a comma between letters": (lambda: state().expectation("Z0, Z1"), "`terms` must be such as"),
    "a number's matrix": (lambda: state().expectation({0: "Z"}), "`terms` must be such as"),
    "pairs outside": (lambda: qt.hamiltonian.ising(4, pairs=[(0, 9)]), "`pairs` must be of two"),
    "no such basis": (lambda: qt.PauliCorrelators(2, "xw"), "`bases`"),
    "no such feature": (lambda: qt.Probabilities("log"), "`feature`"),
    "no terms": (lambda: qt.Expectation({}), "`terms`"),
    # Training and data
    "no such data set": (lambda: qt.load_dataset("cifar"), "`name`|`dataset`"),
    "a data set in capitals": (lambda: qt.load_dataset("Iris"), "`name` .*Did you mean iris?"),
    "a file by load_dataset": (lambda: qt.load_dataset("a.csv"), "`name` .*from_csv"),
    "a frame as csv": (lambda: qt.Dataset.from_csv({}), "`path` must be a path.*from_arrays"),
    "a number as folder": (lambda: qt.Dataset.from_images(3), "`folder` must be a path; got int"),
    "no labels": (lambda: qt.Dataset.from_arrays(X, None), "`y` must be labels, one a sample"),
    "a rate in words": (lambda: qt.FitConfig(lr="0.1"), "`lr` must be a number; got '0.1'"),
    "a number as run": (lambda: fit((X, Y), folder=3), "`folder` must be a path; got 3"),
    "a callback's class": (lambda: fit((X, Y), callbacks=[EarlyStopping]), "`callbacks` .*Build"),
    "no such metric": (lambda: fit((X, Y), metrics=["f1"]), "`metrics` must be a list of func"),
    "a history to draw": (lambda: plots.curves(qt.History()), "`epochs` .*got History. Give its"),
    "no data": (lambda: fit(None), "`train`"),
    "data by name": (lambda: fit("iris"), "`train`"),
    "inputs without targets": (lambda: fit(X), "`train`"),
    "fewer targets than inputs": (lambda: fit((X, Y[:5])), "`"),
    "inputs of another width": (lambda: fit((X[:, :2], Y)), "`"),
    "more classes than scores": (
        lambda: fit((X, Y * 4)), "The target gives 3 scores; the data have 9 classes"
    ),
    "no epochs": (lambda: fit((X, Y), epochs=0), "`epochs`"),
    "no such loss": (lambda: fit((X, Y), loss="hinge"), "`loss`"),
    "a list as config": (lambda: fit((X, Y), config=[0.1]), "`config`"),
    "an unknown option of config": (lambda: fit((X, Y), config={"rate": 0.1}), "`config`"),
    "a negative rate": (lambda: qt.FitConfig(lr=-1), "`lr`"),
    "no such schedule": (lambda: qt.FitConfig(schedule="cosine"), "`schedule`"),
    "a share of 2": (lambda: qt.Dataset.from_arrays(X, Y, test=2.0), "`test`"),
    "no such file": (lambda: qt.Dataset.from_csv("nowhere.csv"), "`nowhere.csv` must be a f"),
    "no such model": (
        lambda: qt.QuantumTrain.load("nowhere.safetensors", NET), "`nowhere.safetensors` must be"
    ),
    # Runs and studies
    "an unknown option": (
        lambda: RunOptions.from_json({"dataset": "iris", "n_layer": 3}), "`option`.*n_layers",
    ),
    "shots of words": (lambda: RunOptions("iris", shots="many"), "`shots`"),  # type: ignore[arg-type]
    "no such study": (lambda: load_study("entropi"), "`study`.*entropy"),
    "no such measure": (
        lambda: parse_study('study.measure = "entropi"\ngrid = {n_qubits = 4}'), "`measure`",
    ),
    "a train of no bond": (lambda: TensorTrainMapping(16, 0), "`bond_dim`"),
}  # fmt: skip


def is_in_style(error: BaseException) -> bool:
    text = error.args[0] if error.args else ""
    return (
        isinstance(error, ValueError | TypeError | OSError | errors.QtnTrainError)
        and isinstance(text, errors.Message | errors.Event)
        and "\n" not in text
        and len(text) < 600
    )


def test_there_are_a_hundred() -> None:
    assert len(PYTHON) >= 100


@pytest.mark.parametrize("name", PYTHON)
def test_a_mistake_in_python_is_one_line_that_says_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    typed, message = PYTHON[name]
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any, and then in this style
        typed()
    assert is_in_style(caught.value), repr(caught.value)
    assert re.match(message, str(caught.value)), str(caught.value)


SHELL: dict[str, str] = {
    "": "Missing command. See --help.",
    "trian iris": "No such command 'trian'. Did you mean 'train'?",
    "train": "Missing",
    "train irsi": "`dataset` .*Did you mean iris?",
    "train iris digits": ".*unexpected extra argument",
    "train iris --epoch 3": "No such option: --epoch.*--epochs",
    "train iris --epochs": ".*requires an argument",
    "train iris --epochs ten": "`--epochs` must be an integer; got 'ten'.",
    "train iris --qubits=ten": "`--qubits` must be an integer; got 'ten'.",
    "train iris --Max_Bond abc --engine mps": "`--max-bond` must be an integer; got 'abc'.",
    "braket estimate --shots many": "`--shots` must be an integer; got 'many'.",
    "train iris --epochs 0": "`--epochs` must be",
    "train iris --lr 0": "`--lr` must be",
    "train iris --lr 0,1": "`--lr` must be a number; got '0,1'.",
    "train iris --batch-size -1": "`--batch-size` must be",
    "train iris --layers 2.5": "`--layers` must be an integer; got '2.5'.",
    "train iris --qubits 3": "`--qubits` must be at least 8; got 3. 131 weights need 8 qubits.",
    "train iris --qubits 99999": "`--qubits` must be",
    "train iris --ansatz ring": "`--ansatz` must be one of",
    "train iris --ansatz mine.py:f": "`--ansatz` must be one of .*file.py:function; got mine.py",
    "train iris --circuit mine.qasm": "`--circuit` must be a file with a program in OpenQASM",
    "train iris --circuit a.qasm --layers 2": "`--circuit` must be",
    "train iris --engine gpu": "`--engine` must be one of",
    "train iris --engine braket": "`--device` must be given",
    "train iris --max-bond 8": "`--engine` must be 'mps' with max_bond",
    "train iris --device cuda": "`--device` must be .*--torch-device",
    "train iris --torch-device gpu": "`--torch-device` must be",
    "train iris --shots 0": "`--shots` must be",
    "train iris --gradient spsa": "`--gradient` must be given with shots",
    "train iris --shots 9 --gradient adjoint": "`--gradient` must be one of",
    "train iris --measure zz": "`--measure` must be one of",
    "train iris --mapping linear": "`--mapping` must be one of",
    "train iris --bond-dim 3": "`--mapping` must be 'tensor-train'",
    "train iris --recipe paper": "`--recipe` must be one of",
    "train iris --seed -1": "`--seed` must be",
    "train iris --budget-usd 5": "`--engine` must be braket with --budget-usd",
    "train iris --placement a,b": "`--placement` must be numbers and commas",
    "train iris --resume": "`--out` must be given to resume",
    "train iris --init-from nope": "`nope/checkpoint.safetensors` must be",
    "train iris --data-dir nope": "`--data-dir` must be|.*existing folder",
    "evaluate": "Missing",
    "evaluate nope": "`nope/checkpoint.safetensors` must be a checkpoint file",
    "export nope --format tflite": "`--format` must be 'safetensors' or 'onnx'",
    "compare iris --generators circus": "`--generators` must be",
    "compare iris --layers a,b": "`--layers` must be numbers and commas; got 'a,b'. For example",
    "compare iris --seeds 0": "`--seeds` must be",
    "circuit show nope.qasm": "`nope.qasm` must be a file with a program in OpenQASM",
    "circuit convert nope.qasm --to qasm": "`--to` must be one of",
    "study run nope --out s": "`study` must be a file, or one of",
    "study show nope": "`nope",
    "braket estimate --shots 10": "`--device` must be given",
    "braket status nope": "`nope` must be a folder that holds a journal; got none. Submit it fi",
    "info --josn": "No such option: --josn. Did you mean --json?",
    "--verison": "No such option: --verison. Did you mean --version?",
    "train iris --optimizer adam": "No such option: --optimizer. See --help.",
    "train iris --yes": "`--engine` must be braket with --yes",
    "train iris --native": "`--engine` must be 'braket' with native",
    "train iris --target net:Net": "`--target` must be file.py:Class",
    "train . --epochs 1": "`--target` must be given with data of your own",
    "info --estimate nope.csv": "`dataset` must be one of .*nope.csv, which is not there",
    "braket estimate --offline --device Nope --shots 9": "`--device` must be one of the list of",
    "braket estimate --offline --device Garnet": "`--shots` must be given",
    "braket devices --region mars": "`--region` must be given with --refresh",
    "braket limit": "`--usd` must be an amount of USD",
    "study show": "Missing argument 'directory'. See --help.",
    "circuit show": "Missing argument 'FILE'. See --help.",
}


def test_there_are_forty() -> None:
    assert len(SHELL) >= 40


@pytest.mark.parametrize("line", SHELL)
def test_a_mistake_at_the_shell_is_one_line_that_says_what_to_do(
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["qtn-train", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert re.fullmatch(r"qtn-train: [^\r\n]+\n", err), err
    assert re.match(SHELL[line].replace(". ", r"\. "), err.removeprefix("qtn-train: ")), err
    assert list(tmp_path.iterdir()) == []
