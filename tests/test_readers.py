"""Foreign texts for every reader of a text or of a small file: an error of ours, or a result."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fuzz as fuzzing
import numpy as np
import pytest
import torch

from qtn_train.braket import couplings
from qtn_train.circuits import Circuit, ansatz
from qtn_train.comparison import Comparison, read_comparison
from qtn_train.data import Dataset
from qtn_train.engines import MPSEngine, MPSState
from qtn_train.errors import CheckpointError, DataError, Message, RunError
from qtn_train.exchange import import_circuit
from qtn_train.recipes import RunOptions
from qtn_train.studies import parse_study

STUDIES = [
    '[study]\nmeasure = "entropy"\nrepeats = 2\nseed = 3\n[grid]\nn_qubits = [4, 6]\n'
    "n_layers = 2\n",
    '[study]\nmeasure = "truncation"\n[[list]]\nn_qubits = 4\nmax_bond = 2\n[[list]]\n'
    "n_qubits = 5\nmax_bond = 3\n[settings]\nn_layers = 2\n",
    '[study]\nmeasure = "train"\n[sample]\npoints = 3\nlr = {low = 1e-4, high = 1e-1, '
    'scale = "log"}\nn_layers = {low = 2, high = 4}\nansatz = ["ry-cx-chain", "brickwork"]\n'
    '[settings]\ndataset = "iris"\n',
]
QASM = [
    'OPENQASM 3.0;\ninclude "stdgates.inc";\ninput float t;\nqubit[3] q;\nbit[3] c;\n'
    "gate g(a) x, y { rx(a/2) x; ctrl @ rz(-a) x, y; }\ng(2*t + pi) q[0], q[1];\n"
    "for int i in [0:1] { cx q[i], q[i+1]; }\ninv @ pow(2) @ s q[2];\nc = measure q;\n",
    'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg a[2];\ncreg c[2];\nh a;\n'
    "cu3(pi/2,-(1.5)^2,sin(0.3)) a[0],a[1];\nmeasure a -> c;\n",
]
PROPERTIES = {
    "paradigm": {
        "qubitCount": 3,
        "connectivity": {
            "fullyConnected": False,
            "connectivityGraph": {"0": ["1", "2"], "1": ["0"], "2": ["0"]},
        },
    },
    "standardized": {"twoQubitProperties": {"0-1": {}, "0-2": {}}},
}


def studies(seed: int, count: int, folder: Path) -> Iterator[Callable[[], object]]:
    for number, text in enumerate(STUDIES):
        for mutant in fuzzing.texts(text, seed + number, count // len(STUDIES)):
            yield lambda mutant=mutant: parse_study(mutant)


def programs(seed: int, count: int, folder: Path) -> Iterator[Callable[[], object]]:
    for number, text in enumerate(QASM):
        for mutant in fuzzing.texts(text, seed + number, count // len(QASM)):
            yield lambda mutant=mutant: import_circuit(mutant)


def circuits(seed: int, count: int, folder: Path) -> Iterator[Callable[[], object]]:
    text = ansatz.u3_cu3_chain(3, 1).to_json()
    for mutant in fuzzing.mutants(json.loads(text), seed, count // 2):
        yield lambda mutant=mutant: Circuit.from_json(json.dumps(mutant))
    for mutant in fuzzing.texts(text, seed, count // 2):
        yield lambda mutant=mutant: Circuit.from_json(mutant)
    yield lambda: Circuit.from_json("[" * 100_000)


def options(seed: int, count: int, folder: Path) -> Iterator[Callable[[], object]]:
    data = RunOptions("iris", engine_name="mps", max_bond=4).to_json()
    for mutant in fuzzing.mutants(data, seed, count):
        yield lambda mutant=mutant: RunOptions.from_json(copy.deepcopy(mutant))


def comparisons(seed: int, count: int, folder: Path) -> Iterator[Callable[[], object]]:
    path = folder / "compare.json"
    numbers = {"n_layers": 1, "n_weights": 15, "n_trainable": 9, "bytes": 100, "lr": 0.1, "seed": 0}
    more = {"effective_parameters": {"angles": 8}, "seconds_per_step": 0.1, "failed": None}
    runs = [
        {**numbers, **more, "generator": name, "test_accuracy": 0.5} for name in ("circuit", "low")
    ]
    Comparison({"seed": 0}, {"circuit": {"lr": 0.1}}, runs).save(folder)
    text = path.read_text()

    def read(content: str) -> None:
        path.write_text(content, encoding="utf-8")
        read_comparison(folder)

    for mutant in fuzzing.mutants(json.loads(text), seed, count // 2):
        yield lambda mutant=mutant: read(json.dumps(mutant))
    for mutant in fuzzing.texts(text, seed, count // 2):
        yield lambda mutant=mutant: read(mutant)
    yield lambda: read("[" * 100_000)


def arrays(seed: int, count: int, folder: Path) -> Iterator[Callable[[], object]]:
    path = folder / "own.npz"
    np.savez(path, x=np.linspace(0, 1, 40).reshape(20, 2), y=np.arange(20) % 2)
    whole = path.read_bytes()

    def read(content: bytes) -> None:
        path.write_bytes(content)
        Dataset.from_npz(path)

    # A byte is a character of the same number here.
    for mutant in fuzzing.texts(whole.decode("latin1"), seed, count):
        yield lambda mutant=mutant: read(mutant.encode("latin1"))


def states(seed: int, count: int, folder: Path) -> Iterator[Callable[[], object]]:
    source, path = folder / "source", folder / "state"
    circuit = ansatz.u3_cu3_chain(4, 2)
    MPSEngine().prepare(circuit, torch.linspace(-1, 1, circuit.n_angles)).save(source)
    for mutant in fuzzing.mutants(fuzzing.description(source), seed, count):

        def read(mutant: Any = mutant) -> None:
            fuzzing.reseal(source, path, mutant)
            MPSState.load(path)

        yield read


def devices(seed: int, count: int, folder: Path) -> Iterator[Callable[[], object]]:
    path = folder / "device.json"

    def read(mutant: Any) -> None:
        path.write_text(json.dumps(mutant), encoding="utf-8")
        couplings(path)

    for mutant in fuzzing.mutants(PROPERTIES, seed, count):
        yield lambda mutant=mutant: read(mutant)
    yield lambda: couplings(_written(path, "[" * 100_000))


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


#: Name -> what reads many mutants, and the errors that are its own.
READERS: dict[str, tuple[Callable[..., Any], tuple[type[Exception], ...]]] = {
    "study files": (studies, (ValueError,)),
    "OpenQASM": (programs, (ValueError,)),
    "circuits": (circuits, (ValueError,)),
    "options": (options, (ValueError, TypeError)),
    "compare.json": (comparisons, (CheckpointError, RunError)),
    "npz": (arrays, (DataError,)),
    "matrix product states": (states, (CheckpointError,)),
    "device properties": (devices, (DataError, ValueError)),
}


def errors_of(name: str, seed: int, count: int) -> list[str]:
    """Return what a reader let out that is no error of ours."""
    calls, own = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        reads = map(with_message, calls(seed, count, Path(folder)))
        found = [fuzzing.foreign_error(read, own) for read in reads]
    return [f"{name}: {error}" for error in found if error]


def with_message(call: Callable[[], object]) -> Callable[[], object]:
    """Turn an error of Python's own, which carries no message of ours, into another one."""

    def checked() -> None:
        try:
            call()
        except (ValueError, TypeError) as error:
            if not isinstance(error.args[0] if error.args else None, Message):
                raise AssertionError(f"{type(error).__name__}: {error}") from error
            raise

    return checked


def fuzz(seed: int, count: int) -> list[str]:
    """Return what all these readers let out."""
    each = max(count // len(READERS), 10)
    return [error for name in READERS for error in errors_of(name, seed, each)]


@pytest.mark.parametrize("name", READERS)
def test_foreign_content(name: str) -> None:
    assert errors_of(name, seed=0, count=200) == []
