"""What a run would cost and whether it can work, by hand and against what the service bills."""

import dataclasses
import json
from decimal import Decimal
from pathlib import Path

import pytest
import torch

pytest.importorskip("braket.aws", reason="the braket extra is not installed")

from braket.program_sets import CircuitBinding, ProgramSet

from qtn_train.braket.cost._estimate import (
    LEAST_FIDELITY,
    Bill,
    estimate,
    suggest,
    task_seconds,
)
from qtn_train.braket.cost._money import Prices, split
from qtn_train.braket.device._devices import Fidelities, Target, resolve
from qtn_train.braket.device._fidelity import gate_counts
from qtn_train.braket.device._placement import fits
from qtn_train.braket.run._programs import bind
from qtn_train.braket.stand_in import BraketService
from qtn_train.circuits import ANSATZE, Circuit, ansatz
from qtn_train.errors import UnsupportedByEngine
from qtn_train.measurements._counts import Program
from qtn_train.measurements._estimators import make_plan
from tests.braket.qpus import qpu

RING = ansatz.u3_cu3_ring(13, 16)
PRICES = dataclasses.replace(Prices.builtin(), source="Amazon's price list")


def perfect(target: Target, two_qubit: float) -> Target:
    """The same device, on which nothing but gates on two qubits goes wrong."""
    return dataclasses.replace(target, fidelities=Fidelities(1.0, two_qubit, 1.0))


def test_the_published_circuit_cannot_work(tmp_path: Path) -> None:
    """416 CX, 1.5 % at 99 %, 2,913 circuits, about $42,000 a step."""
    garnet = perfect(qpu("Garnet", tmp_path), 0.99)
    found = estimate(RING, garnet, shots=10_000, gradient="parameter-shift", prices=PRICES)
    assert found.two_qubit_gates == 416
    assert found.fidelity == pytest.approx(0.99**416)
    assert f"{found.fidelity:.3f}" == "0.015"
    # One circuit forward, alone; then 2,912 in sets of 200,000 shots.
    assert found.step.circuits == 2913
    assert (found.step.tasks, found.step.program_sets) == (1 + 146, 146)
    assert found.step.shots == 29_130_000
    usd = 147 * Decimal("0.3") + 29_130_000 * Decimal("0.00145")
    assert found.step.usd_low == found.step.usd_high == usd == Decimal("42282.6")
    assert found.shots_per_outcome == pytest.approx(10_000 / 8192)
    assert found.warnings[0].startswith("the expected fidelity is 1.5 %, below 10 %: 416 gates on")
    assert found.warnings[0].endswith("fits.")


def test_a_step_and_a_run_by_hand(tmp_path: Path) -> None:
    """60 two-term angles at 100 shots: the forward circuit is a task of its own."""
    circuit, garnet = ansatz.ry_cx_chain(10, 6), qpu("Garnet", tmp_path)
    found = estimate(
        circuit,
        garnet,
        shots=100,
        gradient="parameter-shift",
        steps=10,
        evaluations=3,
        prices=PRICES,
    )
    assert found.step == Bill(121, 3, 2, 12_100, Decimal("18.445"), Decimal("18.445"))
    assert found.run == Bill(1213, 33, 20, 121_300, Decimal("185.785"), Decimal("185.785"))
    assert found.price_date == PRICES.date


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({"gradient": None}, Bill(1, 1, 0, 100, Decimal("0.445"), Decimal("0.445"))),
        ({"gradient": "spsa"}, Bill(3, 2, 1, 300, Decimal("1.035"), Decimal("1.035"))),
        (
            {"gradient": "spsa", "mitigate_readout": True},
            Bill(5, 2, 2, 500, Decimal("1.325"), Decimal("1.325")),
        ),
        (
            {"gradient": "random-shift", "n_shifts": 2},
            # 2 places: 4 circuits at least, 8 at most.
            Bill(9, 2, 1, 900, Decimal("1.325"), Decimal("1.905")),
        ),
    ],
)
def test_estimators_by_hand(options: dict[str, object], step: Bill, tmp_path: Path) -> None:
    circuit, garnet = ansatz.u3_cu3_ring(2, 1), qpu("Garnet", tmp_path)
    assert estimate(circuit, garnet, shots=100, prices=PRICES, **options).step == step


def test_nothing_is_paid_here() -> None:
    found = estimate(RING, resolve("local:sv"), shots=0, gradient="parameter-shift", steps=5)
    assert found.run.usd_high == 0
    assert found.run.circuits == 5 * 2913
    assert (found.price_date, found.fidelity, found.warnings) == ("", None, ())


@pytest.mark.parametrize("device", ["Garnet", "SV1"])
def test_an_estimate_is_what_the_service_bills(service: BraketService, device: str) -> None:
    circuit, target = ansatz.ry_cx_chain(3, 1), resolve(device)
    angles = torch.linspace(-1, 1, circuit.n_angles).double()
    backward = make_plan("parameter-shift", circuit, angles, seed=0, position=1).program
    for program in (Program(circuit, angles[None]), backward):
        bound = bind(program, target, shots=1000)
        for part in split(len(bound), 1000, target.program_sets):
            if len(part) == 1:
                target.device.run(bound.at(part[0]), shots=1000).result()
                continue
            sets = {name: [values[k] for k in part] for name, values in bound.input_sets().items()}
            binding = CircuitBinding(bound.circuit, sets)
            target.device.run(ProgramSet(binding), shots=1000 * len(part)).result()
    found = estimate(circuit, target, shots=1000, gradient="parameter-shift")
    assert found.step.tasks == len(service.ledger())
    assert found.step.usd_low == found.step.usd_high == service.spent() > 0
    assert found.price_date == "2025-11-03"


def test_prices_that_are_not_the_lists_are_warned_of(tmp_path: Path) -> None:
    garnet, own = qpu("Garnet", tmp_path), Prices.builtin()
    (warning,) = estimate(ansatz.ry_cx_chain(3, 1), garnet, shots=100, prices=own).warnings
    expected = f"Amazon's price list was not read; prices may have changed since {own.date}."
    assert warning == expected


def test_what_cannot_run_is_not_estimated(tmp_path: Path) -> None:
    garnet = qpu("Garnet", tmp_path)
    with pytest.raises(
        ValueError, match=r"^`shots` must be from 1 to 20,000 on Garnet; got 20,001"
    ):
        estimate(RING, garnet, shots=20_001, prices=PRICES)
    with pytest.raises(UnsupportedByEngine, match=r"^`n_qubits` must be at most 20 on Garnet"):
        estimate(ansatz.ry_cx_chain(21, 1), garnet, shots=100, prices=PRICES)
    with pytest.raises(ValueError, match=r"^`steps` must be a positive integer; got -1"):
        estimate(ansatz.ry_cx_chain(2, 1), garnet, shots=100, steps=-1, prices=PRICES)


def test_gates_are_counted_as_the_device_runs_them(tmp_path: Path) -> None:
    circuit = Circuit.builder(2).rz(0).h(0).swap(0, 1).t(1).ry(1).build()
    assert gate_counts(circuit, resolve("local:sv")) == (3, 2)
    garnet = qpu("Garnet", tmp_path)
    # One prx for h, two for each cx (those about one axis merged), one for ry: by hand.
    assert gate_counts(circuit, garnet)[0] == 3
    assert gate_counts(ansatz.hardware_efficient(4, 2), garnet) == (6, 8)
    assert gate_counts(ansatz.hardware_efficient(4, 2), qpu("Forte 1", tmp_path)) == (6, 16)


def test_fidelity_by_hand(tmp_path: Path) -> None:
    garnet = dataclasses.replace(qpu("Garnet", tmp_path), fidelities=Fidelities(0.9, 0.8, 0.7))
    found = estimate(ansatz.hardware_efficient(4, 2), garnet, shots=1000, prices=PRICES)
    assert found.fidelity == pytest.approx(0.8**6 * 0.9**8 * 0.7**4)


def test_few_shots_are_warned_of(tmp_path: Path) -> None:
    garnet = perfect(qpu("Garnet", tmp_path), 0.9999)
    chain = ansatz.ry_cx_chain(13, 1)
    assert estimate(chain, garnet, shots=8192, prices=PRICES).warnings == ()
    (warning,) = estimate(chain, garnet, shots=8191, prices=PRICES).warnings
    assert warning.startswith("8,191 shots are fewer than the 8,192 outcomes. ")
    assert "with 12 qubits and " in warning
    assert warning.endswith("(weights_per_outcome=2) fits.")


def test_routing_is_warned_of(tmp_path: Path) -> None:
    garnet = perfect(qpu("Garnet", tmp_path), 0.9999)
    (warning,) = estimate(ansatz.u3_cu3_ring(5, 1), garnet, shots=1000, prices=PRICES).warnings
    assert warning.startswith("the circuit joins qubits that Garnet does not")


def test_a_device_that_nothing_fits_is_told(tmp_path: Path) -> None:
    bad = dataclasses.replace(qpu("Garnet", tmp_path), fidelities=Fidelities(0.01, 0.01, 0.01))
    found = estimate(ansatz.ry_cx_chain(2, 1), bad, shots=100, prices=PRICES)
    assert found.warnings[0].endswith("No ansatz of this package fits the device.")
    assert suggest(bad, 100, shots=100) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Garnet", "Cepheus-1-108Q", "Forte 1"])
@pytest.mark.parametrize("n_weights", [1, 131])
def test_what_is_suggested_fits(name: str, n_weights: int, tmp_path: Path) -> None:
    target, shots = qpu(name, tmp_path), 5000
    found = suggest(target, n_weights, shots=shots)
    assert {one.ansatz for one in found} == set(ANSATZE)
    assert [one.n_angles for one in found] == sorted((one.n_angles for one in found), reverse=True)
    for one in found:
        circuit = ANSATZE[one.ansatz](one.n_qubits, one.n_layers)
        told = estimate(circuit, target, shots=shots, prices=PRICES)
        assert told.warnings == ()
        assert told.fidelity == one.fidelity
        assert fits(target, circuit)
        assert one.n_angles == circuit.n_angles
        assert one.weights_per_outcome * 2**one.n_qubits >= n_weights
        more = ANSATZE[one.ansatz](one.n_qubits, one.n_layers + 1)
        worse = estimate(more, target, shots=shots, prices=PRICES).fidelity
        assert one.n_layers == 16 or (worse is not None and worse < LEAST_FIDELITY)


def test_simulators_that_take_longer_are_told(service: BraketService) -> None:
    sv1, dm1 = resolve("SV1"), resolve("dm1")
    assert task_seconds(ansatz.ry_cx_chain(8, 4), sv1, 1000) == (3, 3)
    low, high = task_seconds(ansatz.u3_cu3_ring(30, 4), sv1, 1000)
    assert 3 < low < high < 3600
    # A density matrix of 15 qubits has as many numbers as a state of 30.
    assert task_seconds(ansatz.u3_cu3_ring(15, 8), dm1, 1000)[1] > 3
    assert task_seconds(ansatz.u3_cu3_ring(15, 8), sv1, 1000)[1] == 3
    found = estimate(ansatz.u3_cu3_ring(30, 4), sv1, shots=1000)
    assert found.step.usd_low < found.step.usd_high
    assert found.step.usd_high == high * Decimal("0.075") / 60


def test_the_lines_and_the_json_say_the_same(tmp_path: Path) -> None:
    ring, garnet = ansatz.u3_cu3_ring(8, 16), qpu("Garnet", tmp_path)
    found = estimate(ring, garnet, shots=100, gradient="spsa", prices=PRICES)
    lines = list(found.lines())
    assert lines[0] == "device             Garnet"
    assert lines[1] == (
        "a gradient step    $1.035: 3 circuits, 300 shots, 2 tasks (1 program set among them)"
    )
    assert lines[3] == f"prices             {PRICES.date}, Amazon's price list"
    assert len(found.warnings) == 2
    assert [line for line in lines if line.startswith("warning: ")] == [
        f"warning: {text}" for text in found.warnings
    ]
    data = json.loads(json.dumps(found.to_json()))
    assert Decimal(data["step"]["usd_high"]) == Decimal("1.035")
    assert data["run"]["circuits"] == 3
    assert data["fidelity"] == found.fidelity
    assert data["warnings"] == list(found.warnings)
