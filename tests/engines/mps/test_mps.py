"""The MPS engine against a NumPy oracle, and what its states tell.

Tolerances, each with its reason:

    TV           complex64 1e-5, complex128 1e-12   rounding of some hundred gates
    bound        + 1e-12                            rounding of its two sides, in complex128
    chi-square   5 standard deviations              one seed in 3 million fails
"""

import math

import numpy as np
import pytest
import tolerances
import torch
from oracle import amplitudes, random_circuit
from torch import Tensor

import qtn_train.engines.mps._state as mps_module
from qtn_train.circuits import GATES, Circuit, Gate, ansatz
from qtn_train.engines._slots import GateMatrices
from qtn_train.engines.mps import MPSEngine, MPSState
from qtn_train.engines.mps._chain import program
from qtn_train.engines.statevector._engine import StatevectorEngine
from qtn_train.errors import QtnTrainError, UnsupportedByEngine

TV = {"complex64": 1e-5, "complex128": 1e-12}


def random_angles(circuit: Circuit, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(circuit.n_angles, generator=rng, dtype=torch.float64) - 1) * math.pi


def ghz(n: int) -> Circuit:
    builder = Circuit.builder(n).h(0)
    for qubit in range(n - 1):
        builder.cx(qubit, qubit + 1)
    return builder.build()


def total_variation(p: Tensor, q: np.ndarray) -> float:
    return float(np.abs(p.double().numpy() - q).sum() / 2)


# --- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.slow
def test_random_circuits_agree_with_the_oracle(dtype):
    rng = np.random.default_rng(0)
    engine = MPSEngine(dtype=dtype)
    for _ in range(320):
        n_qubits = int(rng.integers(1, 8))
        circuit = random_circuit(rng, n_qubits, int(rng.integers(1, 40)), share=0.2)
        angles = rng.uniform(-math.pi, math.pi, circuit.n_angles)
        exact = amplitudes(circuit, angles)
        state = engine.prepare(circuit, torch.tensor(angles))
        probs = state.probs(0, 2**n_qubits)
        assert probs.dtype == engine.real_dtype
        assert total_variation(probs, np.abs(exact) ** 2) <= TV[dtype]
        found = state.amplitudes(0, 2**n_qubits).numpy()
        assert np.abs(found - exact).max() <= TV[dtype]
        caps = [2 ** min(i, n_qubits - i) for i in range(1, n_qubits)]
        assert all(bond <= cap for bond, cap in zip(state.bond_dims, caps, strict=True))
        assert (state.truncation_error, state.norm, state.fidelity_estimate) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize("options", [{"max_bond": 2}, {"max_bond": 3}, {"cutoff": 1e-2}])
@pytest.mark.filterwarnings("ignore::qtn_train.errors.TruncationWarning")
def test_truncation_stays_within_its_bound(options):
    rng = np.random.default_rng(1)
    engine, was_cut = MPSEngine(dtype="complex128", **options), 0
    for _ in range(60):
        n_qubits = int(rng.integers(3, 8))
        circuit = random_circuit(rng, n_qubits, int(rng.integers(10, 50)))
        angles = rng.uniform(-math.pi, math.pi, circuit.n_angles)
        exact = amplitudes(circuit, angles)
        state = engine.prepare(circuit, torch.tensor(angles))
        probs = state.probs(0, 2**n_qubits)
        assert float(probs.sum()) == pytest.approx(1, abs=tolerances.TOTAL["complex128"])
        error = state.truncation_error
        # The distance before normalization: it holds only if every cut was in canonical form.
        cut = state.norm * state.amplitudes(0, 2**n_qubits).numpy()
        assert np.linalg.norm(cut - exact) <= error + 1e-12
        assert total_variation(probs, np.abs(exact) ** 2) <= 2 * error + 1e-12
        assert state.norm**2 == pytest.approx(state.fidelity_estimate)
        was_cut += error > 1e-3
        if engine.max_bond:
            assert max(state.bond_dims) <= engine.max_bond
    assert was_cut >= 10


def test_long_range_gates_in_both_directions():
    for name in ("cx", "cz", "swap", "cu3"):
        for qubits in [(0, 4), (4, 0), (1, 3), (3, 1), (2, 1)]:
            builder = Circuit.builder(5)
            for qubit in range(5):
                builder.u3(qubit)
            for qubit in range(4):
                builder.cu3(qubit, qubit + 1)
            circuit = builder.add(name, *qubits).build()
            angles = random_angles(circuit)
            exact = amplitudes(circuit, angles.numpy())
            for max_bond in (None, 4):
                state = MPSEngine(max_bond, dtype="complex128").prepare(circuit, angles)
                assert np.abs(state.amplitudes(0, 32).numpy() - exact).max() <= 1e-12


@pytest.mark.filterwarnings("ignore::qtn_train.errors.TruncationWarning")
def test_many_cuts_do_not_run_out_of_numbers():
    circuit = ansatz.u3_cu3_chain(40, 22)
    state = MPSEngine(1).prepare(circuit, random_angles(circuit))
    assert state.fidelity_estimate < 1e-40  # below the smallest number of complex64
    assert torch.isfinite(state.expectation("Z" + "I" * 39))
    assert float((state.mps.H @ state.mps).real) == pytest.approx(1, abs=tolerances.LONG_CHAIN)


def test_ranges_are_slices_of_all():
    circuit = ansatz.brickwork(7, 3)
    state = MPSEngine(4, dtype="complex128").prepare(circuit, random_angles(circuit))
    everything, block = state.probs(0, 128), state.amplitudes(0, 128)
    rng = np.random.default_rng(2)
    for _ in range(100):
        start = int(rng.integers(0, 128))
        stop = int(rng.integers(start + 1, 129))
        assert torch.allclose(
            state.probs(start, stop),
            everything[start:stop],
            rtol=0,
            atol=tolerances.SLICE["complex128"],
        )
        assert torch.allclose(
            state.amplitudes(start, stop),
            block[start:stop],
            rtol=0,
            atol=tolerances.SLICE["complex128"],
        )


def test_ranges_of_many_qubits():
    builder = Circuit.builder(100)
    for qubit in (0, 97, 99):
        builder.x(qubit)
    state = MPSEngine(4).prepare(builder.build(), torch.zeros(0))
    one = 2**99 + 5
    assert state.probs(one - 3, one + 3).tolist() == [0, 0, 0, 1, 0, 0]
    assert state.probs(2**100 - 1, 2**100).tolist() == [0]


@pytest.mark.filterwarnings("ignore::qtn_train.errors.TruncationWarning")
def test_the_same_input_gives_the_same_result():
    circuit = ansatz.u3_cu3_ring(9, 4)
    results = []
    for _ in range(2):
        angles = random_angles(circuit).float().requires_grad_()
        probs = MPSEngine(6).prepare(circuit, angles).probs(0, 512)
        (grad,) = torch.autograd.grad(probs[7] - probs[300], angles)
        results.append((probs.detach(), grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_one_qubit_gates_are_joined_to_two_qubit_gates():
    circuit = Circuit.builder(3).h(0).ry(0).cx(0, 2).s(0).swap(1, 2).t(0).rx(0).rz(2).build()
    steps = program(circuit)
    assert [(pair.left, pair.right, pair.rank) for pair in steps.pairs] == [(0, 2, 2), (1, 2, 4)]
    assert steps.touched == (0, 2)
    assert len(steps.before.levels) == 1
    assert len(steps.after.levels) == 2


# --- what a state tells ------------------------------------------------------------------------


@pytest.fixture
def cut_state() -> MPSState:
    circuit = ansatz.u3_cu3_chain(6, 4)
    return MPSEngine(5, dtype="complex128").prepare(circuit, random_angles(circuit, 3))


def test_samples_follow_the_probabilities(cut_state):
    shots = 200_000
    probs = cut_state.probs(0, 64)
    outcomes = cut_state.sample(shots, torch.Generator().manual_seed(0))
    assert outcomes.dtype == torch.int64
    counts = torch.bincount(outcomes, minlength=64)
    chi_square = float(((counts - shots * probs) ** 2 / (shots * probs)).sum())
    assert chi_square < 63 + 5 * math.sqrt(2 * 63)  # 5 standard deviations
    again = cut_state.sample(shots, torch.Generator().manual_seed(0))
    assert torch.equal(outcomes, again)
    assert not torch.equal(outcomes, cut_state.sample(shots, torch.Generator().manual_seed(1)))


def test_sample_bits_of_many_qubits():
    bits = (
        MPSEngine()
        .prepare(ghz(80), torch.zeros(0))
        .sample_bits(500, torch.Generator().manual_seed(0))
    )
    assert bits.shape == (500, 80)
    assert torch.equal(bits, bits[:, :1].expand(-1, 80))
    assert 180 < int(bits[:, 0].sum()) < 320


def test_sample_bits_are_the_bits_of_the_samples(cut_state):
    bits = cut_state.sample_bits(50, torch.Generator().manual_seed(4))
    numbers = [int("".join(map(str, row)), 2) for row in bits.tolist()]
    assert numbers == cut_state.sample(50, torch.Generator().manual_seed(4)).tolist()


def test_entropies_agree_with_the_dense_state(cut_state):
    dense = cut_state.amplitudes(0, 64)
    for bond in range(1, 6):
        squares = torch.linalg.svdvals(dense.view(2**bond, -1)).square()
        expected = float(-(squares * squares.log2()).nansum())
        assert cut_state.entropy(bond) == pytest.approx(expected, abs=tolerances.ENTROPY)
        assert cut_state.entropy(bond) == pytest.approx(
            cut_state.mps.entropy(bond), abs=tolerances.EIGENVALUES
        )


def pauli_matrix(string: str) -> np.ndarray:
    x, z = GATES["x"].matrix(), GATES["z"].matrix()
    table = {"I": np.eye(2), "X": x, "Y": 1j * x @ z, "Z": z}
    out = np.eye(1)
    for letter in string:
        out = np.kron(out, table[letter])
    return out


def test_expectation_agrees_with_the_dense_state_and_its_gradient():
    circuit = ansatz.u3_cu3_ring(5, 2)
    angles = random_angles(circuit, 8).requires_grad_()
    terms = {"ZZIII": 0.5, "IIIXY": -1.5, "YIIIZ": 2.0, "IIIII": 0.25, "IIZII": 1.0, "XXXXX": -1.0}
    operator = torch.tensor(sum(c * pauli_matrix(string) for string, c in terms.items()))
    dense = StatevectorEngine(dtype="complex128").prepare(circuit, angles).vector
    expected = (dense.conj() @ operator @ dense).real
    found = MPSEngine(dtype="complex128").prepare(circuit, angles).expectation(terms)
    assert found.item() == pytest.approx(expected.item(), abs=tolerances.EXCHANGED)
    grads = [torch.autograd.grad(value, angles)[0] for value in (found, expected)]
    assert torch.allclose(*grads, rtol=0, atol=tolerances.DOUBLE_GRADIENT)


def test_expectation_of_a_cut_state_is_that_of_the_normalized_state(cut_state):
    dense = cut_state.amplitudes(0, 64)
    for string in ("ZIIIII", "IXXIIZ", "YYYYYY", "IIIIIX", "IIIIII"):
        expected = (dense.conj() @ torch.tensor(pauli_matrix(string) + 0j) @ dense).real
        assert float(cut_state.expectation(string)) == pytest.approx(
            float(expected), abs=tolerances.EXCHANGED
        )


@pytest.mark.parametrize("n_qubits", [1, 2, 3, 6])
def test_mps_is_the_same_state_in_quimb(n_qubits):
    circuit = ansatz.u3_cu3_chain(n_qubits, 3)
    state = MPSEngine(4, dtype="complex128").prepare(circuit, random_angles(circuit))
    network = state.mps
    assert "MatrixProductState" in [cls.__name__ for cls in type(network).__mro__]
    dense = torch.as_tensor(network.to_dense()).reshape(-1)
    assert torch.allclose(
        dense, state.amplitudes(0, 2**n_qubits), rtol=0, atol=tolerances.SLICE["complex128"]
    )
    assert list(network.bond_sizes()) == state.bond_dims


# --- capabilities and errors -------------------------------------------------------------------


def test_capabilities():
    assert MPSEngine().exact
    assert not MPSEngine(64).exact
    assert not MPSEngine(cutoff=1e-8).exact
    engine = MPSEngine(max_bond=64)
    assert engine.differentiable
    assert not engine.needs_shots
    assert engine.max_qubits >= 1000
    assert "max_bond=64" in repr(engine)


def test_a_thousand_qubits():
    state = MPSEngine(4).prepare(ghz(1000), torch.zeros(0))
    assert state.entropy(500) == pytest.approx(1, abs=tolerances.LONG_CHAIN)
    assert float(state.expectation("Z" + "I" * 998 + "Z")) == pytest.approx(
        1, abs=tolerances.LONG_CHAIN
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_bond": 0}, ValueError, "`max_bond` must be a positive integer; got 0. Leave it out"),
        ({"max_bond": -3}, ValueError, "`max_bond` must be a positive integer; got -3"),
        ({"max_bond": 2.5}, TypeError, "`max_bond` must be a positive integer; got 2.5"),
        ({"cutoff": 1.0}, ValueError, "`cutoff` must be at least 0 and below 1; got 1.0"),
        ({"cutoff": -1e-9}, ValueError, "`cutoff` must be at least 0 and below 1; got -1e-09"),
        ({"cutoff": math.nan}, ValueError, "`cutoff` must be at least 0 and below 1; got nan"),
        ({"svd_gradient": "full"}, ValueError, "`svd_gradient` must be 'tangent' or 'exact'"),
        ({"dtype": "float32"}, ValueError, "`dtype` must be 'complex64' or 'complex128'"),
    ],
)
def test_wrong_options(options, error, message):
    with pytest.raises(error, match=message):
        MPSEngine(**options)


def test_wrong_requests(cut_state):
    large = MPSEngine(2).prepare(ghz(70), torch.zeros(0))
    rng = torch.Generator()
    with pytest.raises(ValueError, match="`stop - start` must be at most 2"):
        large.probs(0, 2**40)
    with pytest.raises(ValueError, match="`start, stop` must be 0 <= start < stop"):
        large.probs(0, 2**70 + 1)
    with pytest.raises(ValueError, match="`stop - start` must be at most 2"):
        large.amplitudes(0, 2**40)
    with pytest.raises(ValueError, match="`start, stop` must be 0 <= start < stop"):
        cut_state.amplitudes(3, 3)
    with pytest.raises(UnsupportedByEngine, match=r"at most 63 .*; got 70\. Take sample_bits"):
        large.sample(10, rng)
    with pytest.raises(ValueError, match="`shots` must be a positive integer; got 0"):
        cut_state.sample(0, rng)
    for bond in (0, 6, -1):
        with pytest.raises(ValueError, match=f"`bond` must be from 1 to 5; got {bond}"):
            cut_state.entropy(bond)
    for terms in ({}, "ZZ", {"ZZZZZQ": 1.0}, "zzzzzz"):
        with pytest.raises(ValueError, match="`terms` must be "):
            cut_state.expectation(terms)


def test_too_many_qubits():
    with pytest.raises(UnsupportedByEngine, match="`n_qubits` must be at most 4096 for MPSEngine"):
        MPSEngine(2).prepare(Circuit(5000, (), 0), torch.zeros(0))


def break_entry(monkeypatch, gate, entry, number):
    """Let one entry of a gate's matrix be another number."""
    values = GateMatrices.values

    def broken(self, angles, dtype):
        out = values(self, angles, dtype).clone()
        out[self.slots[gate][entry]] = number
        return out

    monkeypatch.setattr(GateMatrices, "values", broken)


@pytest.mark.parametrize("max_bond", [None, 1])
def test_non_finite_tensor_is_named_where_it_arises(monkeypatch, max_bond):
    circuit = ansatz.u3_cu3_ring(4, 2)
    break_entry(monkeypatch, 5, (3, 3), math.nan)
    with pytest.raises(QtnTrainError, match=r"bond 2 .* gates\[5\] \(cu3 on qubits \(1, 2\)\)"):
        MPSEngine(max_bond).prepare(circuit, random_angles(circuit))


@pytest.mark.parametrize("max_bond", [None, 1])
def test_non_finite_one_qubit_gate_at_the_end(monkeypatch, max_bond):
    circuit = Circuit(2, (Gate("cx", (0, 1)), Gate("rx", (1,), (0,))), 1)
    break_entry(monkeypatch, 1, (0, 0), math.inf)
    with pytest.raises(QtnTrainError, match="must be finite after the last gates; got NaN or inf"):
        MPSEngine(max_bond).prepare(circuit, torch.ones(1))


def test_quimb_is_not_imported_with_the_engine():
    assert "quimb" not in vars(mps_module)
