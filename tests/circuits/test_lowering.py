"""Lowering: the same unitary up to a global phase, and a linear map of the angles."""

import numpy as np
import oracle
import pytest
import tolerances
from hypothesis import given
from hypothesis import strategies as st

from qtn_train.circuits import ANSATZE, GATES, PORTABLE, Circuit, Lowered
from qtn_train.circuits._lowering import Affine, Step

ATOL = 1e-13  # a product of at most 100 matrices in double precision


def assert_same_unitary(circuit: Circuit, angles: np.ndarray) -> None:
    lowered = circuit.portable()
    assert {gate.name for gate in lowered.circuit.gates} <= PORTABLE
    assert lowered.A.shape == (lowered.circuit.n_angles, circuit.n_angles)
    assert lowered.b.shape == (lowered.circuit.n_angles,)
    expected = oracle.unitary(circuit, angles)
    got = oracle.unitary(lowered.circuit, lowered.angles(angles))
    assert oracle.phase_distance(got, expected) < ATOL


@pytest.mark.parametrize("name", GATES)
def test_each_gate(name: str) -> None:
    spec = GATES[name]
    rng = np.random.default_rng(0)
    for qubits in [(0, 1, 2), (1, 0, 2), (2, 0, 1)]:
        circuit = Circuit.builder(3).add(name, *qubits[: spec.n_qubits]).build()
        for _ in range(3):
            assert_same_unitary(circuit, rng.uniform(-7, 7, spec.n_angles))


@pytest.mark.parametrize("n_qubits", [1, 2, 3, 4, 5])
def test_any_unitary(n_qubits: int) -> None:
    rng = np.random.default_rng(n_qubits)
    order = [int(qubit) for qubit in rng.permutation(n_qubits)]
    special = [
        oracle.random_unitary(rng, n_qubits),
        np.eye(2**n_qubits),
        -1j * np.eye(2**n_qubits)[::-1],
        np.diag(np.exp(1j * rng.normal(size=2**n_qubits))),
        np.eye(2**n_qubits)[rng.permutation(2**n_qubits)],
    ]
    for matrix in special:
        circuit = Circuit.builder(n_qubits).unitary(matrix, *order).build()
        assert_same_unitary(circuit, np.zeros(0))


@given(
    seed=st.integers(0, 2**32),
    n_qubits=st.integers(1, 4),
    n_gates=st.integers(0, 12),
    share=st.sampled_from([0.0, 0.5]),
)
def test_random_circuits(seed: int, n_qubits: int, n_gates: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    circuit = oracle.random_circuit(rng, n_qubits, n_gates, share=share)
    assert_same_unitary(circuit, rng.uniform(-7, 7, circuit.n_angles))


def test_lowering_without_the_phase_of_the_control_would_be_seen() -> None:
    """The comparison is not blind: CU3 without its first step is another gate."""
    circuit = Circuit.builder(2).cu3(0, 1).build()
    lowered = circuit.portable()
    shorter = Circuit(2, lowered.circuit.gates[1:], lowered.circuit.n_angles)
    angles = np.array([0.3, 0.8, -0.5])
    got = oracle.unitary(shorter, lowered.angles(angles))
    assert oracle.phase_distance(got, oracle.unitary(circuit, angles)) > 0.05


def test_cu3_is_lowered_as_documented() -> None:
    lowered = Circuit.builder(2).cu3(1, 0).build().portable()
    calls = [(gate.name, gate.qubits) for gate in lowered.circuit.gates]
    assert calls == [
        *[("rz", (1,)), ("rz", (0,)), ("cx", (1, 0)), ("rz", (0,)), ("ry", (0,)), ("cx", (1, 0))],
        *[("ry", (0,)), ("rz", (0,))],
    ]
    np.testing.assert_array_equal(
        lowered.A.toarray(),
        [[0, 0.5, 0.5], [0, -0.5, 0.5], [0, -0.5, -0.5], [-0.5, 0, 0], [0.5, 0, 0], [0, 1, 0]],
    )


@pytest.mark.parametrize("name", ANSATZE)
def test_chain_rule(name: str) -> None:
    """The gradient by the angles is ``A.T @`` the gradient by the lowered angles."""
    circuit = ANSATZE[name](3, 1)
    lowered = circuit.portable()
    rng = np.random.default_rng(5)
    angles = rng.uniform(-3, 3, circuit.n_angles)
    outcome_weights = rng.normal(size=8)

    def gradient(of: Circuit, at: np.ndarray) -> np.ndarray:
        steps = 1e-5 * np.eye(of.n_angles)
        values = [
            outcome_weights @ np.abs(oracle.amplitudes(of, at + sign * step)) ** 2
            for step in steps
            for sign in (1, -1)
        ]
        return -np.diff(np.reshape(values, (-1, 2)), axis=1)[:, 0] / 2e-5

    through = lowered.A.T @ gradient(lowered.circuit, lowered.angles(angles))
    np.testing.assert_allclose(
        through, gradient(circuit, angles), rtol=0, atol=tolerances.FINITE_DIFFERENCE
    )


def test_portable_circuits_stay_as_they_are() -> None:
    circuit = ANSATZE["ry-cx-chain"](3, 2)
    lowered = circuit.portable()
    assert lowered.circuit == circuit
    np.testing.assert_array_equal(lowered.A.toarray(), np.eye(6))
    assert not lowered.b.any()


def test_shared_and_unused_angles() -> None:
    """A repeated angle adds up in one row; an unused one is an empty column."""
    circuit = Circuit.builder(2).cu3(0, 1, angles=(0, 0, 0)).rx(0, angles=(2,)).build()
    lowered = circuit.portable()
    assert lowered.A.toarray()[0].tolist() == [1, 0, 0]
    assert lowered.A.toarray()[:, 1].tolist() == [0] * 7
    assert_same_unitary(circuit, np.array([0.4, 9.0, -0.3]))


def test_circuit_without_angles() -> None:
    lowered = Circuit.builder(2).cz(0, 1).build().portable()
    assert lowered.A.shape == (0, 0)
    assert lowered.angles([]).shape == (0,)


def test_table_with_constants_and_gates_of_several_angles() -> None:
    """What a native set needs: constant angles, and steps that take more than one."""
    row = Affine((), np.pi / 2), Affine(()), Affine((), np.pi)
    rules = {
        "h": (Step("u3", (0,), row),),
        "rx": (
            Step("u3", (0,), (Affine((1,)), Affine((0,), -np.pi / 2), Affine((0,), np.pi / 2))),
        ),
    }
    circuit = Circuit.builder(2).h(1).rx(1).cx(1, 0).build()
    lowered = circuit.lower(rules)
    assert isinstance(lowered, Lowered)
    assert [gate.name for gate in lowered.circuit.gates] == ["u3", "u3", "cx"]
    expected = [np.pi / 2, 0, np.pi, 0, -np.pi / 2, np.pi / 2]
    np.testing.assert_array_equal(lowered.b, expected)
    got = oracle.unitary(lowered.circuit, lowered.angles([0.7]))
    assert oracle.phase_distance(got, oracle.unitary(circuit, [0.7])) < ATOL


def test_angles_of_a_wrong_shape() -> None:
    lowered = Circuit.builder(1).u3(0).build().portable()
    with pytest.raises(ValueError, match=r"`values` must be of shape \(3,\); got \(2,\)\."):
        lowered.angles([1.0, 2.0])


def test_the_matrix_is_sparse_csr() -> None:
    lowered = ANSATZE["u3-cu3-ring"](13, 16).portable()
    assert lowered.A.format == "csr"
    assert lowered.A.dtype == np.float64
    assert lowered.A.nnz < 2.5 * lowered.A.shape[0]
