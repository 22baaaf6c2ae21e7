"""The expected fidelity, against density matrices with the captured calibration, and by hand."""

import dataclasses
import os
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import tolerances
import torch

pytest.importorskip("braket.aws", reason="the braket extra is not installed")

from braket.circuits import Circuit as BraketCircuit
from braket.devices import LocalSimulator

from qtn_train.braket.cost._estimate import estimate
from qtn_train.braket.cost._money import Prices
from qtn_train.braket.device._devices import Target, resolve
from qtn_train.braket.device._fidelity import (
    executed_gates,
    expected_fidelity,
    settled_placement,
)
from qtn_train.braket.run._programs import bind
from qtn_train.circuits import Circuit, ansatz
from qtn_train.measurements._counts import Program
from tests.braket.qpus import emulator

CAPTURES = Path(os.environ.get("QTN_TRAIN_DATA", "/nowhere")) / "devices"
EACH = {
    "Garnet": "iqm_garnet_device_capabilities.json",
    "Emerald": "emerald_properties_251106.json",
    "Forte-Enterprise-1": "ionq_forte_enterprise_device_capabilities.json",
    "Cepheus-1-108Q": "rigetti_device_capabilities.json",
}
PRICES = Prices.builtin()
CIRCUITS = {
    "shallow": ansatz.ry_cx_chain(8, 1),
    "two layers": ansatz.hardware_efficient(6, 2),
    "all rotations": ansatz.u3_cu3_chain(4, 1),
}


def captured(name: str) -> Target:
    """A device as an emulator with the calibration that was captured of it."""
    path = CAPTURES / EACH[name]
    if not path.exists():
        pytest.skip(f"{path.name} is not in the folder devices of QTN_TRAIN_DATA")
    return resolve(f"emulator:{path}")


def as_qpu(target: Target, name: str) -> Target:
    arn = f"arn:aws:braket:us-west-1::device/qpu/any/{name}"
    return dataclasses.replace(target, kind="qpu", arn=arn, name=name)


def simulated(target: Target, circuit: Circuit) -> float:
    """⟨ψ|ρ|ψ⟩ by Braket's density matrices: noise after each gate, flips before the readout."""
    angles = np.random.default_rng(5).uniform(-np.pi, np.pi, circuit.n_angles)
    bound = bind(Program(circuit, torch.from_numpy(angles)[None]), target, shots=100)
    gates = BraketCircuit()
    for one in bound.at(0).instructions:
        if "Verbatim" not in type(one.operator).__name__ and one.operator.name != "Measure":
            gates.add_instruction(one)
    noisy = target.device.noise_model.apply(gates.copy())
    known = target.fidelities
    assert known is not None
    for label in bound.labels:
        noisy.bit_flip(label, 1 - known.readouts.get(label, known.readout))
    psi = answer("braket_sv", gates.state_vector())
    rho = answer("braket_dm", noisy.density_matrix())
    return float(np.real(psi.conj() @ rho @ psi))


def answer(simulator: str, circuit: Any) -> Any:
    return np.asarray(LocalSimulator(simulator).run(circuit, shots=0).result().values[0])


@pytest.mark.parametrize("circuit", sorted(CIRCUITS))
@pytest.mark.parametrize("device", sorted(EACH))
def test_an_estimate_is_near_the_density_matrix_of_the_placed_circuit(
    device: str, circuit: str
) -> None:
    target = captured(device)
    found = estimate(CIRCUITS[circuit], target, shots=1000)
    expected = simulated(target, CIRCUITS[circuit])
    assert found.fidelity == pytest.approx(expected, abs=tolerances.FIDELITY)
    assert found.placement == settled_placement(CIRCUITS[circuit], target)
    # The same labels sent verbatim to the device: turns about z are phases there.
    qpu = as_qpu(target, device)
    sent = estimate(CIRCUITS[circuit], qpu, shots=1000, native=True, prices=PRICES)
    assert sent.placement == found.placement
    assert sent.fidelity is not None
    assert found.fidelity is not None
    assert found.fidelity - 1e-12 <= sent.fidelity < expected + 0.1


def test_what_was_not_calibrated_is_in_no_median() -> None:
    """30 of the 193 edges of Cepheus are below 0.9, 25 of them at 0.5, which is no measurement."""
    target = captured("Cepheus-1-108Q")
    known = target.fidelities
    assert known is not None
    told = list(known.edges.values())
    assert (sum(one < 0.9 for one in told), sum(one == 0.5 for one in told)) == (30, 25)
    assert known.two_qubit == median(one for one in told if one > 0.5) > 0.989
    assert known.one_qubit == median(one for one in known.gates.values() if one > 0.5)
    chain = CIRCUITS["shallow"]
    found = estimate(chain, target, shots=1000)
    assert found.fidelity is not None
    assert found.fidelity > 0.7  # by the means over the device: 0.18
    placed = {edge for edge, one in known.edges.items() if set(edge) <= set(found.placement or ())}
    assert all(known.edges[edge] > 0.5 for edge in placed)


def test_where_the_service_chooses_the_medians_count() -> None:
    target = as_qpu(captured("Cepheus-1-108Q"), "Cepheus-1-108Q")
    chain, known = CIRCUITS["shallow"], target.fidelities
    assert known is not None
    found = estimate(chain, target, shots=1000, prices=PRICES)
    assert found.placement is None
    by_hand = known.two_qubit**found.two_qubit_gates * known.one_qubit**found.one_qubit_gates
    assert found.fidelity == pytest.approx(by_hand * known.readout**8)
    assert "expected fidelity  0.64, by the device's medians" in list(found.lines())


def test_a_placement_that_was_chosen_counts_as_it_is(tmp_path: Path) -> None:
    """Two qubits on an edge, each of them, the edge and the readout known by hand."""
    garnet = emulator("Garnet", tmp_path)
    assert garnet.fidelities is not None
    known = dataclasses.replace(
        garnet.fidelities, gates={7: 0.9}, edges={(7, 8): 0.7}, readouts={8: 0.8}
    )
    target = as_qpu(dataclasses.replace(garnet, fidelities=known), "Garnet")
    pair = Circuit.builder(2).rx(0).rx(1).cz(0, 1).build()
    assert [gate.name for gate in executed_gates(pair, target)] == ["prx", "prx", "cz"]
    options: dict[str, Any] = {"native": True, "shots": 100, "prices": PRICES}
    found = estimate(pair, target, placement=(8, 7), **options)
    assert found.placement == (8, 7)
    other = known.one_qubit * known.readout
    assert found.fidelity == pytest.approx(0.9 * 0.7 * 0.8 * other)
    assert "expected fidelity  0.49, on qubits 8, 7" in list(found.lines())
    with pytest.raises(ValueError, match=r"^`placement` must be connected on Garnet wherever"):
        estimate(pair, target, placement=(1, 20), **options)


def test_a_part_of_the_circuit_has_a_fidelity_of_its_own(tmp_path: Path) -> None:
    """As for a value that depends on some of the gates and qubits only."""
    target = emulator("Garnet", tmp_path)
    gates = executed_gates(CIRCUITS["shallow"], target)
    labels = settled_placement(CIRCUITS["shallow"], target)
    whole = expected_fidelity(target, gates, range(8), labels)
    first = expected_fidelity(target, gates[:9], range(3), labels)
    second = expected_fidelity(target, gates[9:], range(3, 8), labels)
    assert whole is not None
    assert first is not None
    assert second is not None
    assert whole == pytest.approx(first * second)
    assert first < 1 > second
    without = dataclasses.replace(target, fidelities=None)
    assert expected_fidelity(without, gates, range(8), labels) is None
