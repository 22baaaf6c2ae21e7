"""Correlators on devices: light cones, prices, placements, and runs on the stand-in."""

import dataclasses
import itertools
import json
import math
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
import tolerances
import torch

pytest.importorskip("braket.aws", reason="the braket extra is not installed")

from qtn_train import plots
from qtn_train.braket.cost._cones import cone_fidelities, light_cone
from qtn_train.braket.cost._estimate import LEAST_FIDELITY, Bill, estimate, suggest
from qtn_train.braket.cost._money import Prices
from qtn_train.braket.device._devices import Fidelities, Target, resolve
from qtn_train.braket.device._fidelity import executed_gates, expected_fidelity
from qtn_train.braket.device._placement import find_placement
from qtn_train.circuits import ANSATZE, Circuit, ansatz
from qtn_train.engines import StatevectorEngine
from qtn_train.measurements import Expectation, PauliCorrelators, Probabilities
from tests.braket.qpus import qpu

CAPTURES = Path(os.environ.get("QTN_TRAIN_DATA", "/nowhere")) / "devices"
MAPS = {
    "Emerald": "emerald_properties_251106.json",
    "Cepheus": "rigetti_device_capabilities.json",
}
PRICES = Prices.builtin()
PAIRS = PauliCorrelators(2)


def captured(name: str) -> Target:
    path = CAPTURES / MAPS[name]
    if not path.exists():
        pytest.skip(f"{path.name} is not in the folder devices of QTN_TRAIN_DATA")
    return resolve(f"emulator:{path}")


# --- light cones ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ANSATZE)
def test_gates_outside_of_a_light_cone_change_nothing(name: str) -> None:
    circuit, n_qubits = ANSATZE[name](6, 1), 6
    angles = torch.from_numpy(np.random.default_rng(0).uniform(-3, 3, circuit.n_angles))
    engine, left_out = StatevectorEngine(dtype="complex128"), 0
    for pair in ((0, 1), (2, 5), (4, 5)):
        inside = light_cone(circuit.gates, pair, n_qubits)
        left_out += len(circuit.gates) - len(inside)
        smaller = Circuit(n_qubits, inside, circuit.n_angles)
        terms = " ".join(f"X{qubit}" for qubit in pair)
        found = [float(engine.prepare(c, angles).expectation(terms)) for c in (smaller, circuit)]
        assert found[0] == pytest.approx(found[1], abs=tolerances.CORRELATOR)
    assert (left_out > 0) == (name != "u3-cu3-ring")


def test_fidelities_of_values_by_hand(tmp_path: Path) -> None:
    circuit = Circuit.builder(4).ry(0).ry(1).ry(2).ry(3).cz(0, 1).cz(2, 3).build()
    device = dataclasses.replace(qpu("Garnet", tmp_path), native="iqm")
    labels = (1, 2, 3, 4)
    edges = {(1, 2): 0.9, (3, 4): 0.8}
    known = Fidelities(0.99, 0.5, 0.97, edges, {1: 0.98}, {2: 0.95})
    device = dataclasses.replace(device, fidelities=known)
    found = cone_fidelities(circuit, device, PauliCorrelators(2, "z"), labels)
    assert found is not None
    first = 0.98 * 0.99 * 0.9
    second = 0.99 * 0.99 * 0.8
    pairs = [first * 0.97 * 0.95, second * 0.97**2]
    pairs += [first * second * 0.97**2] * 2 + [first * second * 0.95 * 0.97] * 2
    assert found.lowest == pytest.approx(min(pairs))
    assert found.highest == pytest.approx(max(pairs))
    assert found.median == pytest.approx(math.exp(np.median(np.log(pairs))))
    sums = cone_fidelities(circuit, device, Expectation([{"Z0 Z1": 1.0, "Z0": 2.0}]), labels)
    assert sums is not None
    assert sums.lowest == sums.highest == pytest.approx(pairs[0])
    assert cone_fidelities(circuit, device, Probabilities(), labels) is None
    blind = dataclasses.replace(device, fidelities=None)
    assert cone_fidelities(circuit, blind, PAIRS, labels) is None


def test_a_value_of_all_qubits_has_the_whole_circuits_fidelity(tmp_path: Path) -> None:
    circuit, device = ansatz.cz_chain(3, 8), qpu("Garnet", tmp_path)
    found = cone_fidelities(circuit, device, PauliCorrelators(3, "z"))
    whole = expected_fidelity(device, executed_gates(circuit, device), range(3))
    assert found is not None
    assert found.lowest == found.highest == pytest.approx(whole)


# --- placements and estimates ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n_qubits"), [("Emerald", 41), ("Cepheus", 41), ("Cepheus", 68)])
def test_long_chains_on_captured_maps(name: str, n_qubits: int) -> None:
    """Where the whole circuit cannot work, half of the correlators keep a good share."""
    target, circuit = captured(name), ansatz.cz_chain(n_qubits, 6)
    known = target.fidelities
    assert known is not None
    labels = find_placement(target, circuit)
    edges = [tuple(sorted(pair)) for pair in itertools.pairwise(labels)]
    assert len(set(labels)) == n_qubits
    assert target.edges is not None
    assert target.edges.issuperset(edges)
    assert min(known.edges[edge] for edge in edges) > 0.9  # a placeholder is 0.5
    assert np.mean([known.edges[edge] for edge in edges]) > 0.98
    told = estimate(circuit, target, shots=10_000, reads=PAIRS)
    assert told.placement == labels
    assert told.fidelity is not None
    assert told.cones is not None
    assert told.fidelity < LEAST_FIDELITY < 0.25 < told.cones.median
    assert told.warnings == ()
    assert (told.run.circuits, told.shots_per_outcome, told.standard_error) == (3, None, 0.01)


@pytest.mark.slow
def test_three_circuits_are_one_program_set(tmp_path: Path) -> None:
    device = qpu("Cepheus-1-108Q", tmp_path)
    one = {"shots": 10_000, "reads": PAIRS, "prices": PRICES}
    told = estimate(ansatz.cz_chain(68, 6), device, **one)
    usd = Decimal("0.3") + 30_000 * Decimal("0.000425")
    assert told.step == Bill(3, 1, 1, 30_000, usd, usd)
    spsa = estimate(ansatz.cz_chain(10, 6), device, gradient="spsa", **one)
    both = 2 * usd + 30_000 * Decimal("0.000425")
    assert spsa.step == Bill(9, 2, 2, 90_000, both, both)
    corrected = estimate(ansatz.cz_chain(10, 6), device, mitigate_readout=True, **one)
    assert corrected.step.circuits == 5
    lines = list(told.lines())
    assert any(line.startswith("of single values   0.") for line in lines)
    assert "standard error     0.01 of each correlator or string" in lines
    assert not any(line.startswith("shots per outcome") for line in lines)


@pytest.mark.slow
def test_what_fits_is_judged_by_light_cones(tmp_path: Path) -> None:
    device = dataclasses.replace(qpu("Garnet", tmp_path), fidelities=Fidelities(1, 0.96, 1))
    told = estimate(ansatz.u3_cu3_chain(15, 8), device, shots=1000, reads=PAIRS, prices=PRICES)
    assert told.warnings[0].startswith("the expected fidelity of half of the values is ")
    assert told.warnings[0].endswith(" fits.")
    fitting = suggest(device, 300, shots=1000, reads=PAIRS)
    by_name = {one.ansatz: one for one in fitting}
    assert by_name["cz-chain"].n_qubits == 15
    for one in fitting:
        assert one.weights_per_outcome == math.ceil(300 / PAIRS.n_values(one.n_qubits))
        assert one.fidelity is not None
        assert one.fidelity >= LEAST_FIDELITY
        found = cone_fidelities(ANSATZE[one.ansatz](one.n_qubits, one.n_layers), device, PAIRS)
        assert found is not None
        assert found.median == one.fidelity
        if one.n_layers < 16:
            deeper = ANSATZE[one.ansatz](one.n_qubits, one.n_layers + 1)
            more = cone_fidelities(deeper, device, PAIRS)
            assert more is not None
            assert more.median < LEAST_FIDELITY


# --- end to end -----------------------------------------------------------------------------------

Cli = Callable[..., dict[str, Any]]
Line = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(command_line: Line, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command that works; return the JSON that it prints."""
    monkeypatch.setattr(plots, "curves", forked.no_curves)
    monkeypatch.setattr(plots, "save", forked.save)

    def call(*argv: str) -> dict[str, Any]:
        status, out, err = command_line(*argv, "--json")
        assert status == 0, err
        found: dict[str, Any] = json.loads(out)
        return found

    return call


def through_the_stand_in(
    service: Any, cli: Cli, dataset: str, device: str, shots: int, *options: str
) -> dict[str, Any]:
    """Train for a moment, estimate, submit, collect; return what was collected."""
    service.set_status(device, "ONLINE")
    run = cli("train", dataset, "--measure", "pauli-2", "--epochs", "1", "--out", "run", *options)
    own = ("--device", device, "--shots", str(shots), "--native")
    told = cli("braket", "estimate", "run", *own, "--steps", "0")
    assert told["run"]["circuits"] == 3
    assert told["cones"]["median"] > told["fidelity"]
    service.fault("queued", value=None)
    before = cli("braket", "submit", "run", *own, "--yes", "--no-wait")
    assert "test_accuracy" not in before
    service.clear()
    (found,) = cli("braket", "collect", "run")["journals"]
    (task,) = service.ledger()
    assert (task["executables"], task["shots"]) == (3, 3 * shots)
    assert task["usd"] == Decimal(told["run"]["usd_high"])
    assert found["simulator"]["test_accuracy"] == pytest.approx(
        run["test_accuracy"], abs=tolerances.SAME_ACCURACY
    )
    return found


@pytest.mark.slow
def test_iris_through_the_stand_in(service: Any, cli: Cli) -> None:
    found = through_the_stand_in(
        service, cli, "iris", "Garnet", 20_000, "--lr", "0.1", "--seed", "1"
    )
    again = cli("braket", "submit", "run", "--resume")  # reads, and sends nothing
    assert again["test_accuracy"] == found["test_accuracy"]
    assert len(service.ledger()) == 1
    assert abs(found["test_accuracy"] - found["simulator"]["test_accuracy"]) < 0.1


@pytest.mark.slow
def test_digits_through_the_stand_in(service: Any, cli: Cli) -> None:
    """41 qubits: what is counted there is sampled from quimb's CircuitMPS, not by our engines."""
    own = ("--qubits", "41", "--batch-size", "128", "--epochs", "3")
    found = through_the_stand_in(service, cli, "digits", "Emerald", 20_000, *own)
    assert found["simulator"]["test_accuracy"] > 0.5
    assert abs(found["test_accuracy"] - found["simulator"]["test_accuracy"]) < 0.15


@pytest.mark.slow
def test_mnist_mini_through_the_stand_in(service: Any, cli: Cli) -> None:
    """68 qubits on Cepheus."""
    own = ("--batch-size", "1000", "--qubits", "68")
    found = through_the_stand_in(service, cli, "mnist-mini", "Cepheus-1-108Q", 10_000, *own)
    assert found["shots"] == 30_000
    assert abs(found["test_loss"] - found["simulator"]["test_loss"]) < 0.3


@pytest.mark.slow
def test_shots_for_a_wanted_accuracy(cli: Cli, command_line: Line) -> None:
    cli("train", "iris", "--measure", "pauli-2", "--epochs", "3", "--lr", "0.1", "--out", "run")
    told = cli("braket", "estimate", "run", "--device", "local:sv", "--within", "4", "--steps", "0")
    needed = told["needed"]
    assert needed["exact"] - needed["accuracy"] <= 0.04
    assert told["run"]["shots"] == 3 * needed["shots"]
    all_lost = cli("braket", "estimate", "run", "--device", "local:sv", "--within", "100")
    assert all_lost["needed"]["shots"] == 100
    own = ("braket", "estimate", "run", "--device", "local:sv", "--within")
    for more, text in (
        (("1", "--shots", "10"), "`--shots` must be left out with within; got 10."),
        (("-1",), "`--within` must be a number of at least 0; got -1.0."),
    ):
        status, _, err = command_line(*own, *more)
        assert status == 2
        assert text in err
    status, _, err = command_line("braket", "estimate", "--device", "local:sv", "--within", "1")
    assert status == 2
    assert "`directory` must be a trained run with within; got none." in err
