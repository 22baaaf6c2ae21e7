"""What is read of a state beside its probabilities, on each engine and by a dense oracle."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tolerances
import torch
from tolerances import CORRELATOR

from qtn_train import Expectation, hamiltonian
from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines import (
    ContractionEngine,
    Engine,
    MPSEngine,
    MPSState,
    SampledEngine,
    State,
    StatevectorEngine,
)
from qtn_train.errors import UnsupportedByEngine

ENGINES: list[Callable[..., Engine]] = [StatevectorEngine, MPSEngine, ContractionEngine]
PAULI = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}
N = 5


def circuit_of(seed: int = 0) -> tuple[Circuit, torch.Tensor]:
    circuit = ansatz.u3_cu3_ring(N, 2)
    draws = torch.Generator().manual_seed(seed)
    return circuit, 6 * torch.rand(circuit.n_angles, generator=draws, dtype=torch.float64)


def state_of(engine: Callable[..., Engine], seed: int = 0) -> State:
    return engine(dtype="complex128").prepare(*circuit_of(seed))


@pytest.fixture(scope="module")
def vector() -> Any:
    return state_of(StatevectorEngine).amplitudes().numpy()


def reduced(vector: Any, qubits: tuple[int, ...]) -> Any:
    """The reduced density matrix, entry by entry."""
    rest = [q for q in range(N) if q not in qubits]
    whole = vector.reshape((2,) * N).transpose(*qubits, *rest).reshape(2 ** len(qubits), -1)
    return np.einsum("ik,jk->ij", whole, whole.conj())


def entropy_of(shares: Any, order: float) -> float:
    shares = shares[shares > 1e-15]
    if order == 1:
        return float(-(shares * np.log2(shares)).sum())
    return float(np.log2((shares**order).sum()) / (1 - order))


def close(actual: Any, expected: Any) -> bool:
    pair = [
        x.detach().resolve_conj() if isinstance(x, torch.Tensor) else x for x in (actual, expected)
    ]
    return bool(np.allclose(*(np.array(x) for x in pair), rtol=0, atol=CORRELATOR))


@pytest.mark.parametrize("engine", ENGINES)
def test_amplitudes_by_bits(engine: Callable[..., Engine], vector: Any) -> None:
    state = state_of(engine)
    for bits in itertools.product((0, 1), repeat=N):
        number = int("".join(map(str, bits)), 2)
        assert close(state.amplitude(bits), vector[number])
    assert close(state.amplitude("01101"), vector[13])


def test_an_amplitude_of_a_thousand_qubits() -> None:
    circuit = ansatz.ry_cx_chain(1000, 1)
    angles = torch.zeros(circuit.n_angles, requires_grad=True)
    amplitude = MPSEngine().prepare(circuit, angles).amplitude("0" * 1000)
    assert amplitude.real.item() == pytest.approx(1.0)
    assert torch.autograd.grad(amplitude.real, angles)[0].abs().max() < 1e-6


@pytest.mark.parametrize("pair", list(itertools.product(ENGINES, repeat=2)))
def test_overlaps_of_any_two_engines(pair: Any) -> None:
    one, two = state_of(pair[0], 1), state_of(pair[1], 2)
    vectors = [state_of(StatevectorEngine, seed).amplitudes().numpy() for seed in (1, 2)]
    expected = np.vdot(*vectors)
    assert close(one.overlap(two), expected)
    assert close(two.overlap(one), np.conj(expected))
    assert close(one.overlap(one), 1.0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("qubits", [(2,), (1, 3), (4, 0), (3, 1, 4), (0, 1, 2, 3)])
def test_reduced_density_matrices(
    engine: Callable[..., Engine], qubits: tuple[int, ...], vector: Any
) -> None:
    matrix = state_of(engine).density_matrix(qubits)
    assert close(matrix, reduced(vector, qubits))


@pytest.mark.parametrize("engine", ENGINES)
def test_mutual_information(engine: Callable[..., Engine], vector: Any) -> None:
    state = state_of(engine)
    for order in (1, 2, 0.5):
        parts = [np.linalg.eigvalsh(reduced(vector, q)) for q in ((0, 3), (2,), (0, 3, 2))]
        a, b, both = (entropy_of(part, order) for part in parts)
        assert state.mutual_information((0, 3), 2, order) == pytest.approx(
            a + b - both, abs=tolerances.EIGENVALUES
        )


@pytest.mark.parametrize("engine", ENGINES[:2])
@pytest.mark.parametrize("bond", range(1, N))
def test_schmidt_values_and_entropies(
    engine: Callable[..., Engine], bond: int, vector: Any
) -> None:
    state = state_of(engine)
    expected = np.linalg.svd(vector.reshape(2**bond, -1), compute_uv=False)
    values = state.schmidt_values(bond).numpy()
    assert np.allclose(values, expected[: len(values)], atol=tolerances.SCHMIDT, rtol=0)
    assert np.all(expected[len(values) :] < 1e-8)
    for order in (1, 2, 3.5):
        assert state.entropy(bond, order) == pytest.approx(
            entropy_of(expected**2, order), abs=tolerances.SCHMIDT
        )
    largest = -math.log2(expected.max() ** 2)
    assert state.entropy(bond, math.inf) == pytest.approx(largest, abs=tolerances.SCHMIDT)


@pytest.mark.parametrize("engine", ENGINES)
def test_connected_correlations(engine: Callable[..., Engine], vector: Any) -> None:
    state, z = state_of(engine), state_of(StatevectorEngine)
    a, b = {"Z0": 1.0, "X1": -0.5}, {"Z3 Y4": 2.0, "X2": 1.0}
    both = {f"{left} {right}": x * y for left, x in a.items() for right, y in b.items()}
    expected = z.expectation(both) - z.expectation(a) * z.expectation(b)
    assert abs(float(expected)) > 1e-3
    assert close(state.correlation(a, b), expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sites", [(3,), (1, 2), (4, 1)])
def test_matrices_on_sites(
    engine: Callable[..., Engine], sites: tuple[int, ...], vector: Any
) -> None:
    draw = np.random.default_rng(len(sites))
    matrix = draw.normal(size=(2 ** len(sites),) * 2) + 1j * draw.normal(
        size=(2 ** len(sites),) * 2
    )
    matrix = matrix + matrix.conj().T
    expected = np.trace(reduced(vector, sites) @ matrix).real
    for given in (matrix, torch.from_numpy(matrix)):
        assert close(state_of(engine).expectation({sites: given}), expected)
    mixed = state_of(engine).expectation({sites: matrix, "Z0": 0.5, (1,): "X"})
    rest = state_of(engine).expectation({"Z0": 0.5, "X1": 1.0})
    assert close(mixed, expected + float(rest))


def test_a_matrix_is_measured_by_counts() -> None:
    swap = np.eye(4)[[0, 2, 1, 3]]
    reads = Expectation([{(0, 1): swap}])
    assert reads.terms[0] == {"I0 I1": 0.5, "X0 X1": 0.5, "Y0 Y1": 0.5, "Z0 Z1": 0.5}
    singlet = Circuit.builder(2).x(0).x(1).h(0).cx(0, 1).build()
    engine = SampledEngine(StatevectorEngine(), shots=50, seed=0)
    state = engine.prepare(singlet, torch.zeros(0), reads)
    assert float(state.expectation(reads.terms[0])) == pytest.approx(-1.0)


def test_a_list_is_a_vector() -> None:
    state = state_of(MPSEngine)
    terms = ["Z0", {"Z0 Z1": 0.5, "X2": 1.0}, {(3, 4): "ZY"}]
    assert torch.equal(state.expectation(terms), state.expectations(terms))
    assert state.expectation(terms).shape == (3,)
    two = state.expectation({(0, 1): "ZZ", (1, 2): "XX"})
    assert close(two, state.expectation("Z0 Z1") + state.expectation("X1 X2"))


def dense(terms: dict[str, float]) -> Any:
    total = np.zeros((2**N, 2**N), dtype=complex)
    for text, coefficient in terms.items():
        letters = {int(word[1:]): word[0] for word in text.split()}
        matrix = np.eye(1)
        for qubit in range(N):
            matrix = np.kron(matrix, PAULI[letters.get(qubit, "I")])
        total += coefficient * matrix
    return total


@pytest.mark.parametrize("engine", ENGINES)
def test_ready_made_hamiltonians(engine: Callable[..., Engine], vector: Any) -> None:
    ring = hamiltonian.chain(N, closed=True)
    for terms in (
        hamiltonian.ising(N, 0.7, 1.3),
        hamiltonian.ising(N, pairs=ring),
        hamiltonian.heisenberg(N, field=0.4),
        hamiltonian.heisenberg(N, -1.0, pairs=[(0, 4), (1, 3)]),
    ):
        expected = (vector.conj() @ dense(terms) @ vector).real
        assert close(state_of(engine).expectation(terms), expected)
    assert len(hamiltonian.ising(N, pairs=ring)) == 2 * N
    pairs = hamiltonian.grid(3, 4)
    gates = ansatz.grid(3, 4, 8).gates
    assert {frozenset(pair) for pair in pairs} == {
        frozenset(gate.qubits) for gate in gates if len(gate.qubits) == 2
    }
    assert len(pairs) == 17


@pytest.mark.parametrize("read", ["density_matrix", "correlation", "amplitude", "overlap"])
@pytest.mark.parametrize("engine", ENGINES)
def test_gradients(engine: Callable[..., Engine], read: str) -> None:
    circuit, angles = circuit_of()

    def value(kind: Callable[..., Engine], at: torch.Tensor) -> torch.Tensor:
        state = kind(dtype="complex128").prepare(circuit, at)
        if read == "density_matrix":
            return (state.density_matrix((3, 1)).abs() ** 2).sum()
        if read == "correlation":
            return state.correlation("Z0", "X2")
        if read == "amplitude":
            return state.amplitude("00110").abs()
        other = kind(dtype="complex128").prepare(circuit, angles + 0.3)
        return other.overlap(state).real

    free = angles.clone().requires_grad_()
    (found,) = torch.autograd.grad(value(engine, free), free)
    step = torch.zeros_like(angles)
    for place in (0, 7, 20):
        step[place] = 1e-5
        rise = value(StatevectorEngine, angles + step) - value(StatevectorEngine, angles - step)
        assert float(found[place]) == pytest.approx(float(rise) / 2e-5, abs=tolerances.FACTOR_SLOPE)
        step[place] = 0.0


def test_quimb_says_the_same() -> None:
    state = state_of(MPSEngine)
    assert isinstance(state, MPSState)
    theirs = state.mps
    theirs.apply_to_arrays(lambda array: array.numpy())
    assert close(state.density_matrix((1, 2)), theirs.partial_trace_to_dense_canonical((1, 2)))
    assert state.entropy(2) == pytest.approx(float(theirs.entropy(2)), abs=tolerances.SCHMIDT)
    values = np.sort(theirs.schmidt_values(2))[::-1] ** 0.5
    assert np.allclose(
        state.schmidt_values(2),
        values[: len(state.schmidt_values(2))],
        atol=tolerances.EIGENVALUES,
        rtol=0,
    )


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda s: s.amplitude("010"), ValueError, "`bits` must be 5 bits, 0 or 1, one a qubit; g"),
        (lambda s: s.amplitude("01020"), ValueError, "`bits` must be 5 bits"),
        (lambda s: s.overlap(3), TypeError, "`other` must be a State; got int"),
        (lambda s: s.density_matrix(5), ValueError, "`qubits` must be different qubits 0 … 4; got"),
        (lambda s: s.density_matrix((1, 1)), ValueError, "must be different qubits 0 … 4; got"),
        (lambda s: s.density_matrix("01"), ValueError, "must be different qubits 0 … 4; got '01'"),
        (lambda s: s.density_matrix(0.5), ValueError, "must be different qubits 0 … 4; got 0.5"),
        (lambda s: s.density_matrix(()), ValueError, "`qubits` must be 1 to 6 of them; got 0"),
        (lambda s: s.mutual_information(0, 0), ValueError, "must be different qubits 0 … 4; got"),
        (lambda s: s.entropy(1, order=0), ValueError, "`order` must be a positive number; got 0"),
        (lambda s: s.entropy(5), ValueError, "`bond` must be from 1 to 4; got 5"),
        (lambda s: s.schmidt_values(0), ValueError, "`bond` must be from 1 to 4; got 0"),
        (
            lambda s: s.correlation("Z0", "X0"),
            ValueError,
            "`second` must be terms on differ",
        ),
        (
            lambda s: s.expectation({(0,): np.array([[0, 1], [0, 0]])}),
            ValueError,
            "`terms` must be with Hermitian matrices, 2 × 2 on 1 qubits",
        ),
        (
            lambda s: s.expectation({(0, 1): np.eye(2)}),
            ValueError,
            r"Hermitian matrices, 4 × 4 on 2 qubits \(at most 6\); got \(2, 2\) on \(0, 1\)",
        ),
        (lambda s: hamiltonian.ising(3, pairs=[(0, 3)]), ValueError, "`pairs` must be of two diff"),
        (lambda s: hamiltonian.chain(0), ValueError, "`n_qubits` must be a positive integer; got"),
    ],
)
def test_wrong_arguments(call: Callable[[State], Any], kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        call(state_of(MPSEngine))


def test_what_a_state_cannot_tell() -> None:
    contracted = state_of(ContractionEngine)
    with pytest.raises(UnsupportedByEngine, match="gives Schmidt values, MPSEngine or Statevec"):
        contracted.schmidt_values(1)
    other = MPSEngine().prepare(ansatz.ry_cx_chain(4, 1), torch.zeros(4))
    with pytest.raises(ValueError, match="`other` must be of 5 qubits; got 4"):
        contracted.overlap(other)
    wide = ansatz.ry_cx_chain(30, 1)
    states = [e().prepare(wide, torch.zeros(30)) for e in (MPSEngine, ContractionEngine)]
    with pytest.raises(UnsupportedByEngine, match="at most 24 for an overlap of all amplitudes"):
        states[0].overlap(states[1])
    engine = SampledEngine(StatevectorEngine(), shots=10, seed=0)
    counted = engine.prepare(*circuit_of())
    with pytest.raises(UnsupportedByEngine, match="holds amplitudes"):
        counted.amplitude("00000")
