"""Every ansatz: gates, angle counts, the smallest numbers of qubits."""

from collections.abc import Callable

import numpy as np
import oracle
import pytest
from numpy.typing import NDArray

from qtn_train.circuits import ANSATZE, Circuit, ansatz


def layout(circuit: Circuit) -> str:
    return " ".join(gate.name + "".join(map(str, gate.qubits)) for gate in circuit.gates)


@pytest.mark.parametrize(
    ("function", "n_qubits", "gates"),
    [
        (ansatz.u3_cu3_ring, 1, "u30"),
        (ansatz.u3_cu3_ring, 2, "u30 u31 cu301 cu310"),
        (ansatz.u3_cu3_ring, 3, "u30 u31 u32 cu301 cu312 cu320"),
        (ansatz.u3_cu3_chain, 1, "u30"),
        (ansatz.u3_cu3_chain, 2, "u30 u31 cu301"),
        (ansatz.u3_cu3_chain, 3, "u30 u31 u32 cu301 cu312"),
        (ansatz.ry_cx_chain, 1, "ry0"),
        (ansatz.ry_cx_chain, 2, "ry0 ry1 cx01"),
        (ansatz.ry_cx_chain, 3, "ry0 ry1 ry2 cx01 cx12"),
        (ansatz.brickwork, 1, "u30"),
        (ansatz.brickwork, 2, "u30 u31 cu301"),
        (ansatz.brickwork, 3, "u30 u31 u32 cu301 cu312"),
        (ansatz.brickwork, 5, "u30 u31 u32 u33 u34 cu301 cu323 cu312 cu334"),
        (ansatz.hardware_efficient, 1, "ry0 rz0"),
        (ansatz.hardware_efficient, 2, "ry0 ry1 rz0 rz1 cz01"),
        (ansatz.hardware_efficient, 3, "ry0 ry1 ry2 rz0 rz1 rz2 cz01 cz12"),
    ],
)
def test_gates(function: Callable[[int, int], Circuit], n_qubits: int, gates: str) -> None:
    assert layout(function(n_qubits, 1)) == gates
    assert layout(function(n_qubits, 3)) == " ".join([gates] * 3)


@pytest.mark.parametrize(
    ("function", "per_layer"),
    [
        (ansatz.u3_cu3_ring, {1: 3, 2: 12, 3: 18, 13: 78}),
        (ansatz.u3_cu3_chain, {1: 3, 2: 9, 3: 15, 13: 75}),
        (ansatz.ry_cx_chain, {1: 1, 2: 2, 3: 3, 13: 13}),
        (ansatz.brickwork, {1: 3, 2: 9, 3: 15, 13: 75}),
        (ansatz.hardware_efficient, {1: 2, 2: 4, 3: 6, 13: 26}),
    ],
)
def test_angle_counts(function: Callable[[int, int], Circuit], per_layer: dict[int, int]) -> None:
    for n_qubits, count in per_layer.items():
        for n_layers in (1, 4):
            assert function(n_qubits, n_layers).n_angles == count * n_layers


@pytest.mark.parametrize("name", ANSATZE)
def test_angles_are_numbered_in_order_of_application(name: str) -> None:
    circuit = ANSATZE[name](4, 2)
    used = [index for gate in circuit.gates for index in gate.angles]
    assert used == list(range(circuit.n_angles))


@pytest.mark.parametrize("name", ANSATZE)
def test_messages(name: str) -> None:
    with pytest.raises(ValueError, match="`n_qubits` must be a positive integer; got 0"):
        ANSATZE[name](0, 1)
    with pytest.raises(ValueError, match="`n_layers` must be a positive integer; got 0"):
        ANSATZE[name](1, 0)


def test_command_line_names_are_the_functions_names() -> None:
    for name, function in ANSATZE.items():
        assert function.__name__ == name.replace("-", "_")
        assert function is getattr(ansatz, function.__name__)
    assert {*ansatz.__all__} == {"ANSATZE", "product", *(f.__name__ for f in ANSATZE.values())}


def test_ry_cx_chain_has_real_amplitudes() -> None:
    circuit = ansatz.ry_cx_chain(4, 3)
    angles = np.random.default_rng(0).uniform(-3, 3, circuit.n_angles)
    assert np.abs(oracle.amplitudes(circuit, angles).imag).max() < 1e-15


def test_product_is_the_tensor_product() -> None:
    parts = [ansatz.ry_cx_chain(2, 1), ansatz.u3_cu3_ring(1, 2), ansatz.brickwork(2, 1)]
    both = ansatz.product(*parts)
    assert (both.n_qubits, both.n_angles) == (5, 2 + 6 + 9)
    angles = np.random.default_rng(0).uniform(-3, 3, both.n_angles)
    expected: NDArray[np.complex128] = np.ones(1, dtype=np.complex128)
    start = 0
    for part in parts:
        own = angles[start : start + part.n_angles]
        expected = np.asarray(np.kron(expected, oracle.amplitudes(part, own)), np.complex128)
        start += part.n_angles
    np.testing.assert_allclose(oracle.amplitudes(both, angles), expected, atol=1e-14)


def test_product_of_one_and_of_none() -> None:
    circuit = ansatz.brickwork(3, 2)
    assert ansatz.product(circuit) == circuit
    with pytest.raises(ValueError, match="`circuits` must be at least one circuit; got none"):
        ansatz.product()
