"""Other packages as judges, in an environment of their own: `make neighbours` builds it.

Without that environment these tests are skipped. ``QTN_TRAIN_CORPUS`` names the corpus that
``neighbours.py corpus`` wrote, ``QTN_TRAIN_TRIPS`` the number of round trips.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import tolerances

from qtn_train.exchange import import_circuit

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-neighbours" / "bin" / "python"
SCRIPT = Path(__file__).with_name("neighbours.py")
TRIPS = os.environ.get("QTN_TRAIN_TRIPS", "10")
CORPUS = os.environ.get("QTN_TRAIN_CORPUS")

#: Seconds for one call of the other environment; a trip takes seconds where the machine is busy.
LIMIT = 300 + 20 * int(TRIPS)

neighbours = pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-neighbours; make neighbours")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(LIMIT + 60)]


def run(*words: str) -> dict[str, Any]:
    command = [str(PYTHON), str(SCRIPT), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr[-2000:]
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


@neighbours
def test_every_gate_definition_is_that_of_qiskit() -> None:
    seen = run("gates")
    assert len(seen["checked"]) >= 54
    assert seen["worst"] < tolerances.MATRICES


@neighbours
@pytest.mark.parametrize("name", ["qiskit", "pennylane", "cirq"])
def test_circuits_there_and_back(name: str) -> None:
    assert run("trips", name, TRIPS)["worst"] < tolerances.WRITTEN


@neighbours
def test_neighbours_read_our_text() -> None:
    seen = run("texts", TRIPS)
    assert set(seen["worst"]) == {"qiskit2", "qiskit3", "cirq", "pytket", "pennylane3"}


@neighbours
def test_gradients_of_pennylane() -> None:
    assert run("gradients")["worst"] < tolerances.FINITE_DIFFERENCE


@pytest.mark.skipif(CORPUS is None, reason="QTN_TRAIN_CORPUS names no corpus; make neighbours")
def test_the_corpus_gives_the_probabilities_of_aer() -> None:
    assert CORPUS is not None
    read, refused = 0, []
    for line in Path(CORPUS).read_text().splitlines():
        row = json.loads(line)
        if "probs" not in row:
            with pytest.raises(ValueError, match=r"`line \d+` must be .*(feedback|reset)"):
                import_circuit(row["text"])
            refused.append(row["name"])
            continue
        found = import_circuit(row["text"])
        probs = np.abs(oracle.amplitudes(found.circuit, found.angles())) ** 2
        assert np.abs(probs - row["probs"]).max() < tolerances.WRITTEN, row["name"]
        if row["measured"] is not None:
            assert list(found.measured) == row["measured"], row["name"]
        read += 1
    assert read >= 300
    assert len(refused) < read / 10
