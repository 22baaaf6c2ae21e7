"""A circuit's network contracted by tensornetwork, in NumPy: a third opinion beside the engines.

    ⟨0|─[g†]─ … ─[g†]─┬─[Z]─┬─[g]─ … ─[g]─|0⟩        without Z and the left half: the amplitudes

The gates are those of the oracle, so no matrix and no contraction is shared with the package.

Tolerances, each with its reason:

    AMPLITUDE    complex64 1e-5, complex128 1e-12   rounding of some hundred gates
"""

import tracemalloc
from typing import Any

import numpy as np
import oracle
import pytest
import tensornetwork as tn
import torch

from qtn_train._types import ComplexDtype
from qtn_train.circuits import ANSATZE, GATES, Circuit, ansatz
from qtn_train.engines import ContractionEngine, Engine, MPSEngine, StatevectorEngine

AMPLITUDE: dict[ComplexDtype, float] = {"complex64": 1e-5, "complex128": 1e-12}

both_dtypes = pytest.mark.parametrize("dtype", AMPLITUDE)


def network(circuit: Circuit, angles: np.ndarray, *, bra: bool = False) -> tuple[list[Any], Any]:
    """The nodes of a circuit on |0…0⟩, and its open edges, qubit 0 first; conjugated for a bra."""
    nodes = [tn.Node(np.array([1, 0j]), backend="numpy") for _ in range(circuit.n_qubits)]
    edges = [node[0] for node in nodes]
    for gate in circuit.gates:
        k = len(gate.qubits)
        matrix = oracle.matrix(gate.name, *angles[list(gate.angles)]).reshape((2,) * (2 * k))
        node = tn.Node(matrix.conj() if bra else matrix, backend="numpy")
        nodes.append(node)
        for leg, qubit in enumerate(gate.qubits):
            edges[qubit] ^ node[k + leg]
            edges[qubit] = node[leg]
    return nodes, edges


def third_amplitudes(circuit: Circuit, angles: np.ndarray) -> np.ndarray:
    nodes, edges = network(circuit, angles)
    return tn.contractors.greedy(nodes, output_edge_order=edges).tensor.reshape(-1)


def third_expectation(circuit: Circuit, angles: np.ndarray, qubits: tuple[int, int]) -> complex:
    """⟨Z⊗Z⟩ of two qubits: one closed network, in which the state never appears."""
    ket, out = network(circuit, angles)
    bra, back = network(circuit, angles, bra=True)
    paulis = []
    for qubit in range(circuit.n_qubits):
        if qubit in qubits:
            pauli = tn.Node(oracle.Z, backend="numpy")
            out[qubit] ^ pauli[1]
            out[qubit] = pauli[0]
            paulis.append(pauli)
        out[qubit] ^ back[qubit]
    return complex(tn.contractors.greedy([*ket, *paulis, *bra]).tensor)


def engines(dtype: ComplexDtype, seed: int = 0) -> tuple[Engine, ...]:
    """The exact engines; the contraction, which searches for a tree each time, at each tenth."""
    contraction = (ContractionEngine(optimize="quick", dtype=dtype),) if seed % 10 == 0 else ()
    return StatevectorEngine(dtype=dtype), MPSEngine(dtype=dtype), *contraction


def hold_together(circuit: Circuit, angles: np.ndarray, dtype: ComplexDtype, seed: int) -> None:
    third = third_amplitudes(circuit, angles)
    assert np.abs(third - oracle.amplitudes(circuit, angles)).max() < AMPLITUDE["complex128"]
    for engine in engines(dtype, seed):
        state = engine.prepare(circuit, torch.from_numpy(angles))
        assert np.abs(state.amplitudes().numpy() - third).max() < AMPLITUDE[dtype]
        probs = state.probs(0, 2**circuit.n_qubits).numpy()
        assert np.abs(probs - np.abs(third) ** 2).max() < AMPLITUDE[dtype]


def random_angles(circuit: Circuit, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, circuit.n_angles)


@both_dtypes
def test_random_circuits_of_all_gates(dtype: ComplexDtype) -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for seed in range(40):
        n_qubits = int(rng.integers(1, 7))
        circuit = oracle.random_circuit(rng, n_qubits, int(rng.integers(n_qubits, 40)), share=0.2)
        seen |= {gate.name for gate in circuit.gates}
        hold_together(circuit, random_angles(circuit, seed), dtype, seed)
    assert seen == set(GATES)


@both_dtypes
@pytest.mark.parametrize("name", ANSATZE)
def test_every_ansatz(name: str, dtype: ComplexDtype) -> None:
    for n_qubits in range(1, 7):
        circuit = ANSATZE[name](n_qubits, 2)
        hold_together(circuit, random_angles(circuit, n_qubits), dtype, n_qubits - 4)


@both_dtypes
def test_expectations(dtype: ComplexDtype) -> None:
    rng = np.random.default_rng(1)
    for seed in range(20):
        n_qubits = int(rng.integers(2, 7))
        circuit = oracle.random_circuit(rng, n_qubits, 25)
        angles = random_angles(circuit, seed)
        first, second = map(int, rng.choice(n_qubits, size=2, replace=False))
        third = third_expectation(circuit, angles, (first, second))
        assert abs(third.imag) < AMPLITUDE["complex128"]
        signs = zz_signs(n_qubits, first, second)
        exact = signs @ np.abs(oracle.amplitudes(circuit, angles)) ** 2
        assert abs(third - exact) < AMPLITUDE["complex128"]
        for engine in engines(dtype, seed):
            state = engine.prepare(circuit, torch.from_numpy(angles))
            probs = state.probs(0, 2**n_qubits).double().numpy()
            assert abs(signs @ probs - third) < AMPLITUDE[dtype]
            found = float(state.expectation(zz_string(n_qubits, first, second)))
            assert abs(found - third) < AMPLITUDE[dtype]


def zz_signs(n_qubits: int, first: int, second: int) -> np.ndarray:
    """(−1) to the number of ones among two bits, for each outcome."""
    outcomes = np.arange(2**n_qubits)
    bits = (outcomes >> (n_qubits - 1 - first)) + (outcomes >> (n_qubits - 1 - second))
    return 1.0 - 2.0 * (bits & 1)


def zz_string(n_qubits: int, first: int, second: int) -> str:
    return "".join("Z" if qubit in (first, second) else "I" for qubit in range(n_qubits))


def test_an_expectation_without_the_state() -> None:
    n_qubits, qubits = 18, (7, 9)
    circuit = ansatz.brickwork(n_qubits, 2)
    angles = random_angles(circuit, 0)
    tracemalloc.start()
    third = third_expectation(circuit, angles, qubits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**n_qubits / 2
    assert abs(third.imag) < AMPLITUDE["complex128"]
    vector, *others = engines("complex128")
    probs = vector.prepare(circuit, torch.from_numpy(angles)).probs(0, 2**n_qubits).numpy()
    assert abs(zz_signs(n_qubits, *qubits) @ probs - third) < AMPLITUDE["complex128"]
    for engine in others:
        state = engine.prepare(circuit, torch.from_numpy(angles))
        found = float(state.expectation(zz_string(n_qubits, *qubits)))
        assert abs(found - third) < AMPLITUDE["complex128"]
    assert abs(third) > 1e-3
