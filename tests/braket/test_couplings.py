"""A device's coupling map, from whatever holds its properties."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import qtn_train as qt
from qtn_train.braket.stand_in._devices import find
from qtn_train.errors import DataError


def test_the_map_of_a_lattice_whose_labels_begin_at_one(tmp_path: Path) -> None:
    """Garnet, 20 qubits in rows of five: 4 · 4 + 3 · 5 pairs."""
    properties = find("Garnet").capabilities
    pairs = qt.braket.couplings(properties)
    assert len(pairs) == 31
    assert pairs[:3] == [(0, 1), (0, 5), (1, 2)]
    circuit = qt.ansatz.couplings(pairs, 2)
    assert circuit.n_qubits == 20
    once = json.dumps(properties)
    for name, text in (("once", once), ("twice", json.dumps(once))):
        (tmp_path / name).write_text(text)
        assert qt.braket.couplings(tmp_path / name) == pairs


def graph(neighbors: dict[str, Any]) -> dict[str, Any]:
    connectivity = {"fullyConnected": False, "connectivityGraph": neighbors}
    return {"paradigm": {"qubitCount": 3, "connectivity": connectivity}}


def test_a_qubit_is_no_neighbor_of_its_own() -> None:
    chain = {"1": ["2", "1"], "2": ["1", "7", "2"], "7": ["2"]}
    assert qt.braket.couplings(graph(chain)) == [(0, 1), (1, 2)]


def test_properties_without_a_map(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`properties` must be those of a device that joins some"):
        qt.braket.couplings(find("Forte 1").capabilities)
    (tmp_path / "list").write_text("[]")
    words = graph({"1": "27", "2": "1", "7": "1"})
    for wrong in (tmp_path / "none", tmp_path / "list", {"paradigm": 3}, graph({}), words):
        with pytest.raises(DataError, match=r"`properties` must be the properties of a gate-model"):
            qt.braket.couplings(wrong)
    with pytest.raises(
        DataError, match="`connectivityGraph` must be lists of neighbors; got words"
    ):
        qt.braket.couplings(words)


@pytest.mark.slow
def test_the_tests_refuse_to_start_where_an_endpoint_is_empty() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "tests/test_random.py"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "BRAKET_ENDPOINT": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4
    assert (
        "BRAKET_ENDPOINT: set and empty, which means the real Amazon" in done.stdout + done.stderr
    )
