"""Circuits on the maps of captured devices: light cones, contracted, against state vectors."""

import os
from pathlib import Path

import pytest
import tolerances
import torch
from shapes import cone

import qtn_train as qt
from qtn_train.engines import ContractionEngine, StatevectorEngine

CAPTURES = Path(os.environ.get("QTN_TRAIN_DATA", "/nowhere")) / "devices"
#: Files, each with the qubits and the pairs of its device.
MAPS = {
    "garnet_device_properties_20250706.json": (20, 30),
    "iqm_garnet_device_capabilities.json": (20, 30),
    "emerald_properties_251106.json": (54, 83),
    "rigetti_device_capabilities.json": (107, 193),
}
FULLY_CONNECTED = "ionq_forte_enterprise_device_capabilities.json"


def capture(name: str) -> Path:
    path = CAPTURES / name
    if not path.exists():
        pytest.skip(f"{name} is not in the folder devices of QTN_TRAIN_DATA")
    return path


@pytest.mark.parametrize("name", MAPS)
def test_light_cones_on_a_devices_map(name: str) -> None:
    pairs = qt.braket.couplings(capture(name))
    n_qubits, n_pairs = MAPS[name]
    assert (1 + max(map(max, pairs)), len(set(pairs))) == (n_qubits, n_pairs)
    circuit = qt.ansatz.couplings(pairs, 2)
    rng = torch.Generator().manual_seed(0)
    angles = 6 * torch.rand(circuit.n_angles, generator=rng, dtype=torch.float64)
    angles.requires_grad_()
    pair = pairs[n_pairs // 2]
    part, qubits = cone(circuit, set(pair))
    found = ContractionEngine(optimize="quick", dtype="complex128").prepare(circuit, angles)
    exact = StatevectorEngine(dtype="complex128").prepare(part, angles)
    first, second = (qubits.index(qubit) for qubit in pair)
    values = found.expectation({pair: "ZZ"}), exact.expectation({(first, second): "ZZ"})
    torch.testing.assert_close(*values, atol=tolerances.CONTRACTED, rtol=0)
    grads = [torch.autograd.grad(value, angles)[0] for value in values]
    torch.testing.assert_close(*grads, atol=tolerances.DOUBLE_GRADIENT, rtol=0)
    assert float(grads[0].abs().max()) > tolerances.DIFFERENT


def test_a_device_that_joins_all_qubits_has_no_map() -> None:
    with pytest.raises(ValueError, match="a device that joins some of its qubits; got one that jo"):
        qt.braket.couplings(capture(FULLY_CONNECTED))
