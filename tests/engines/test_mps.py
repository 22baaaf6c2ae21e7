"""The MPS engine against a NumPy oracle and the exact engine.

Tolerances, each with its reason:

    TV               complex64 1e-5, complex128 1e-12   rounding of some hundred gates
    gradient         complex64 1e-4, complex128 1e-9    relative, the same and as much again back
    differences      1e-6                               step 1e-5: h² and rounding/h are below that
    bound            + 1e-12                            rounding of the two sides
    lost             0.35, relative                     measured at most 0.32: see the test
    cosine           0.994 at max_bond 8                the mean of 0.9966 over these angles
"""

import math

import numpy as np
import pytest
import torch
from oracle import amplitudes, random_circuit
from torch import Tensor

import qtn_train.engines._mps as mps_module
from qtn_train.circuits import GATES, Circuit, ansatz
from qtn_train.engines._base import Engine
from qtn_train.engines._chain import program
from qtn_train.engines._matrices import GateMatrices, gate_matrices
from qtn_train.engines._mps import MPSEngine, MPSState, register_quimb_driver
from qtn_train.engines._statevector import StatevectorEngine
from qtn_train.errors import QtnTrainError, UnsupportedByEngine

TV = {"complex64": 1e-5, "complex128": 1e-12}
GRADIENT = {"complex64": 1e-4, "complex128": 1e-9}
DIFFERENCES = 1e-6
LOST = 0.35

EXACT = StatevectorEngine(dtype="complex128")


def random_angles(circuit: Circuit, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(circuit.n_angles, generator=rng, dtype=torch.float64) - 1) * math.pi


def all_probs(engine: Engine, circuit: Circuit, angles: Tensor) -> Tensor:
    return engine.prepare(circuit, angles).probs(0, 2**circuit.n_qubits)


def loss(engine: Engine, circuit: Circuit, angles: Tensor, seed: int = 1) -> Tensor:
    """Return a function of all probabilities with no symmetry."""
    rng = torch.Generator().manual_seed(seed)
    weights = torch.randn(2**circuit.n_qubits, generator=rng, dtype=torch.float64)
    probs = all_probs(engine, circuit, angles).double()
    return (probs * weights).sum() * 2 ** (circuit.n_qubits / 2)


def gradient(engine: Engine, circuit: Circuit, angles: Tensor, seed: int = 1) -> Tensor:
    leaf = angles.clone().requires_grad_()
    (grad,) = torch.autograd.grad(loss(engine, circuit, leaf, seed), leaf)
    return grad


def differences(engine: Engine, circuit: Circuit, angles: Tensor, seed: int = 1) -> Tensor:
    step = 1e-5
    moves = torch.eye(len(angles), dtype=angles.dtype) * step
    pairs = [(loss(engine, circuit, angles + m, seed), loss(engine, circuit, angles - m, seed))
             for m in moves]  # fmt: skip
    return torch.stack([(up - down) / (2 * step) for up, down in pairs])


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / a.norm() / b.norm())


def total_variation(p: Tensor, q: np.ndarray) -> float:
    return float(np.abs(p.double().numpy() - q).sum() / 2)


# --- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
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
        found = state.amplitude_block(0, 2**n_qubits).numpy()
        assert np.abs(found - exact).max() <= TV[dtype]
        caps = [2 ** min(i, n_qubits - i) for i in range(1, n_qubits)]
        assert all(bond <= cap for bond, cap in zip(state.bond_dims, caps, strict=True))
        assert (state.truncation_error, state.norm, state.fidelity_estimate) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize("options", [{"max_bond": 2}, {"max_bond": 3}, {"cutoff": 1e-2}])
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
        assert float(probs.sum()) == pytest.approx(1, abs=1e-12)
        error = state.truncation_error
        # The distance before normalization: it holds only if every cut was in canonical form.
        cut = state.norm * state.amplitude_block(0, 2**n_qubits).numpy()
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
                assert np.abs(state.amplitude_block(0, 32).numpy() - exact).max() <= 1e-12


def test_many_cuts_do_not_run_out_of_numbers():
    circuit = ansatz.u3_cu3_chain(60, 40)
    state = MPSEngine(2).prepare(circuit, random_angles(circuit))
    assert state.fidelity_estimate < 1e-40  # below the smallest number of complex64
    assert torch.isfinite(state.expectation("Z" + "I" * 59))
    assert float((state.mps.H @ state.mps).real) == pytest.approx(1, abs=1e-4)


def test_ranges_are_slices_of_all():
    circuit = ansatz.brickwork(7, 3)
    state = MPSEngine(4, dtype="complex128").prepare(circuit, random_angles(circuit))
    everything, block = state.probs(0, 128), state.amplitude_block(0, 128)
    rng = np.random.default_rng(2)
    for _ in range(100):
        start = int(rng.integers(0, 128))
        stop = int(rng.integers(start + 1, 129))
        assert torch.allclose(state.probs(start, stop), everything[start:stop], atol=1e-14)
        assert torch.allclose(state.amplitude_block(start, stop), block[start:stop], atol=1e-14)


def test_ranges_of_many_qubits():
    builder = Circuit.builder(100)
    for qubit in (0, 97, 99):
        builder.x(qubit)
    state = MPSEngine(4).prepare(builder.build(), torch.zeros(0))
    one = 2**99 + 5
    assert state.probs(one - 3, one + 3).tolist() == [0, 0, 0, 1, 0, 0]
    assert state.probs(2**100 - 1, 2**100).tolist() == [0]


def test_the_same_input_gives_the_same_result():
    circuit = ansatz.u3_cu3_ring(9, 4)
    angles = random_angles(circuit).float()
    first, second = (all_probs(MPSEngine(6), circuit, angles) for _ in range(2))
    assert torch.equal(first, second)
    grads = [gradient(MPSEngine(6), circuit, angles) for _ in range(2)]
    assert torch.equal(*grads)


def test_one_qubit_gates_are_joined_to_two_qubit_gates():
    circuit = Circuit.builder(3).h(0).ry(0).cx(0, 2).s(0).swap(1, 2).t(0).rx(0).rz(2).build()
    steps = program(circuit)
    assert [(pair.left, pair.right, pair.rank) for pair in steps.pairs] == [(0, 2, 2), (1, 2, 4)]
    assert steps.touched == (0, 2)
    assert len(steps.before) == 2
    assert len(steps.after) == 3


# --- gradients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["u3-cu3-ring", "brickwork", "hardware-efficient", "ry-cx-chain"])
def test_exact_gradients_agree_with_finite_differences(name):
    circuit = {
        "u3-cu3-ring": ansatz.u3_cu3_ring(4, 2),
        "brickwork": ansatz.brickwork(5, 1),
        "hardware-efficient": ansatz.hardware_efficient(5, 2),
        "ry-cx-chain": ansatz.ry_cx_chain(5, 3),
    }[name]
    angles, engine = random_angles(circuit), MPSEngine(dtype="complex128")
    expected = differences(engine, circuit, angles)
    assert (gradient(engine, circuit, angles) - expected).abs().max() <= DIFFERENCES


def test_random_circuits_have_the_exact_gradient():
    rng = np.random.default_rng(3)
    for _ in range(60):
        n_qubits = int(rng.integers(1, 7))
        circuit = random_circuit(rng, n_qubits, int(rng.integers(1, 30)), share=0.3)
        angles = torch.tensor(rng.uniform(-math.pi, math.pi, circuit.n_angles))
        if circuit.n_angles:
            found = gradient(MPSEngine(dtype="complex128"), circuit, angles)
            expected = gradient(EXACT, circuit, angles)
            assert (found - expected).norm() <= 1e-9 * max(1.0, float(expected.norm()))


def is_cu3(circuit: Circuit) -> Tensor:
    mask = torch.zeros(circuit.n_angles, dtype=torch.bool)
    for gate in circuit.gates:
        if gate.name == "cu3":
            mask[list(gate.angles)] = True
    return mask


def with_start(prefix: Circuit, layer: Circuit) -> Circuit:
    return Circuit(prefix.n_qubits, prefix.gates + layer.gates, layer.n_angles)


def ghz(n: int) -> Circuit:
    builder = Circuit.builder(n).h(0)
    for qubit in range(n - 1):
        builder.cx(qubit, qubit + 1)
    return builder.build()


def w_state(n: int) -> tuple[Circuit, list[float]]:
    """Return a circuit that hands one excitation on, and its angles."""
    builder, angles = Circuit.builder(n).x(0), []
    for qubit in range(n - 1):
        builder.cu3(qubit, qubit + 1).cx(qubit + 1, qubit)
        angles += [2 * math.acos(math.sqrt(1 / (n - qubit))), 0.0, 0.0]
    return builder.build(), angles


def deficient_starts() -> list[tuple[str, Circuit, Tensor, int]]:
    """States of low rank, with a max_bond that the bond count just fits."""
    starts = []
    for n, layers, bond in [(1, 2, 1), (2, 2, 2), (3, 3, 2), (6, 3, 8), (8, 3, 8), (9, 2, 4)]:
        for make in (ansatz.u3_cu3_chain, ansatz.brickwork):
            circuit = make(n, layers)
            angles, controlled = random_angles(circuit, n), is_cu3(circuit)
            label = f"{make.__name__} {n}x{layers}: "
            starts.append((label + "generic", circuit, angles, bond))
            for value in (0.0, 1e-9):
                near = torch.where(controlled, value, angles)
                starts.append((label + f"cu3 at {value}", circuit, near, bond))
            if n in (6, 8):  # elsewhere the gradient vanishes there
                flat = torch.where(controlled, 0.0, math.pi / 2)
                starts.append((label + "u3 at pi/2", circuit, flat.double(), bond))
    layer = ansatz.u3_cu3_chain(6, 1)
    starts.append(("ghz", with_start(ghz(6), layer), random_angles(layer), 4))
    prefix, before = w_state(6)
    shifted = ansatz.product(Circuit(1, (), prefix.n_angles), ansatz.u3_cu3_chain(5, 1))
    both = Circuit(6, prefix.gates + shifted.gates, shifted.n_angles)
    angles = torch.cat((torch.tensor(before).double(), random_angles(ansatz.u3_cu3_chain(5, 1))))
    starts.append(("w", both, angles, 8))
    ring = ansatz.u3_cu3_ring(5, 1)  # long-range closing gate on equal singular values
    starts.append(("ghz and ring", with_start(ghz(5), ring), random_angles(ring), 4))
    pairs = Circuit.builder(6).h(0).h(1).h(2).cx(0, 3).cx(1, 4).cx(2, 5).build()
    layer = ansatz.u3_cu3_chain(6, 1)
    starts.append(("bell pairs", with_start(pairs, layer), random_angles(layer), 8))
    return starts


STARTS = deficient_starts()


def test_the_w_state_is_one():
    circuit, angles = w_state(4)
    probs = all_probs(MPSEngine(), circuit, torch.tensor(angles))
    assert probs[[1, 2, 4, 8]].tolist() == pytest.approx([0.25] * 4, abs=1e-6)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("label", [start[0] for start in STARTS])
def test_gradients_are_right_at_low_rank(label, dtype):
    _, circuit, angles, bond = next(start for start in STARTS if start[0] == label)
    engine = MPSEngine(bond, dtype=dtype)
    expected = gradient(EXACT, circuit, angles)
    assert expected.norm() > 1e-2
    assert relative(gradient(engine, circuit, angles), expected) <= GRADIENT[dtype]
    assert engine.prepare(circuit, angles).truncation_error == 0


@pytest.mark.parametrize("svd_gradient", ["tangent", "exact"])
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_gradients_are_finite_beyond_the_bond_count(dtype, svd_gradient):
    for make in (ansatz.u3_cu3_chain, ansatz.u3_cu3_ring, ansatz.brickwork):
        circuit = make(7, 4)
        controlled = is_cu3(circuit)
        for bond in (1, 2, 3, 4):
            engine = MPSEngine(bond, dtype=dtype, svd_gradient=svd_gradient)
            for value in (0.0, math.pi, math.pi / 2):
                for start in (value, torch.where(controlled, 0.0, value)):
                    angles = torch.ones(circuit.n_angles).double() * start
                    assert torch.isfinite(gradient(engine, circuit, angles)).all()


def test_what_is_lost_at_low_rank_beyond_the_bond_count():
    """Nothing is discarded, yet the part of the gradient that would raise the rank is cut."""
    circuit = ansatz.u3_cu3_ring(8, 3)
    angles = torch.where(is_cu3(circuit), 0.0, random_angles(circuit))
    expected = gradient(EXACT, circuit, angles)
    state = MPSEngine(8, dtype="complex128").prepare(circuit, angles)
    assert state.truncation_error < 1e-6
    lost = relative(gradient(MPSEngine(8, dtype="complex128"), circuit, angles), expected)
    assert 1e-4 < lost < LOST
    moved = torch.where(is_cu3(circuit), 1e-3, angles)
    expected = gradient(EXACT, circuit, moved)
    found = gradient(MPSEngine(8, dtype="complex128"), circuit, moved)
    assert relative(found, expected) < 1e-3


def test_truncated_gradients_point_along_the_exact_ones():
    circuit = ansatz.u3_cu3_chain(8, 6)
    floors = {12: 0.9995, 8: 0.994, 4: 0.8}
    found: dict[int, list[float]] = {bond: [] for bond in floors}
    for seed in range(4):
        angles = random_angles(circuit, 100 + seed)
        expected = gradient(EXACT, circuit, angles, seed)
        for bond in floors:
            engine = MPSEngine(bond, dtype="complex128")
            found[bond].append(cosine(gradient(engine, circuit, angles, seed), expected))
    for bond, floor in floors.items():
        assert np.mean(found[bond]) >= floor


def test_exact_svd_gradient_is_the_derivative_of_the_truncated_function():
    circuit = ansatz.u3_cu3_ring(5, 2)
    angles = random_angles(circuit, 5)
    for bond in (2, 3):
        engine = MPSEngine(bond, dtype="complex128", svd_gradient="exact")
        assert engine.prepare(circuit, angles).truncation_error > 1e-2
        expected = differences(engine, circuit, angles)
        assert (gradient(engine, circuit, angles) - expected).abs().max() <= DIFFERENCES


def test_single_precision_truncated_gradient_is_that_of_double_precision():
    circuit = ansatz.u3_cu3_chain(8, 6)
    angles = random_angles(circuit, 7)
    single, double = (
        gradient(MPSEngine(8, dtype=dtype), circuit, angles)
        for dtype in ("complex64", "complex128")
    )
    assert relative(single, double) <= 1e-3


def test_blocks_and_checkpoints_give_one_gradient():
    from torch.utils.checkpoint import checkpoint

    circuit = ansatz.u3_cu3_chain(6, 4)
    angles = random_angles(circuit).requires_grad_()
    state = MPSEngine(4, dtype="complex128").prepare(circuit, angles)
    weights = torch.randn(64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    total = sum(
        (
            checkpoint(state.probs, start, start + 10, use_reentrant=False) * weights[start:][:10]
        ).sum()
        for start in range(0, 60, 10)
    )
    total = (total + (state.probs(60, 64) * weights[60:]).sum()) * 8
    (found,) = torch.autograd.grad(total, angles)
    expected = gradient(MPSEngine(4, dtype="complex128"), circuit, angles.detach())
    assert relative(found, expected) <= 1e-12


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
    dense = cut_state.amplitude_block(0, 64)
    for bond in range(1, 6):
        squares = torch.linalg.svdvals(dense.view(2**bond, -1)).square()
        expected = float(-(squares * squares.log2()).nansum())
        assert cut_state.entropy(bond) == pytest.approx(expected, abs=1e-10)
        assert cut_state.entropy(bond) == pytest.approx(cut_state.mps.entropy(bond), abs=1e-6)


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
    dense = EXACT.prepare(circuit, angles).amplitudes
    expected = (dense.conj() @ operator @ dense).real
    found = MPSEngine(dtype="complex128").prepare(circuit, angles).expectation(terms)
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)
    grads = [torch.autograd.grad(value, angles)[0] for value in (found, expected)]
    assert relative(*grads) <= 1e-9


def test_expectation_of_a_cut_state_is_that_of_the_normalized_state(cut_state):
    dense = cut_state.amplitude_block(0, 64)
    for string in ("ZIIIII", "IXXIIZ", "YYYYYY", "IIIIIX", "IIIIII"):
        expected = (dense.conj() @ torch.tensor(pauli_matrix(string) + 0j) @ dense).real
        assert float(cut_state.expectation(string)) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("n_qubits", [1, 2, 3, 6])
def test_mps_is_the_same_state_in_quimb(n_qubits):
    circuit = ansatz.u3_cu3_chain(n_qubits, 3)
    state = MPSEngine(4, dtype="complex128").prepare(circuit, random_angles(circuit))
    network = state.mps
    assert type(network).__name__ == "MatrixProductState"
    dense = torch.as_tensor(network.to_dense()).reshape(-1)
    assert torch.allclose(dense, state.amplitude_block(0, 2**n_qubits), atol=1e-14)
    assert list(network.bond_sizes()) == state.bond_dims


def test_quimb_circuit_with_the_driver_is_differentiable():
    from quimb.tensor import CircuitMPS

    register_quimb_driver()
    circuit = ansatz.u3_cu3_chain(6, 3)
    matrices, angles = gate_matrices(circuit), random_angles(circuit)
    weights = torch.randn(64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for dtype in ("complex64", "complex128"):
        leaf = angles.clone().requires_grad_()
        values = matrices.values(leaf, getattr(torch, dtype))
        quimb_circuit = CircuitMPS(
            6, max_bond=8, cutoff=0.0, dtype=dtype, to_backend=torch.as_tensor,
            gate_opts={"method": "svd:tangent"},
        )  # fmt: skip
        for gate, slots in zip(circuit.gates, matrices.slots, strict=True):
            quimb_circuit.apply_gate_raw(values[torch.from_numpy(slots)], gate.qubits)
        probs = quimb_circuit.psi.to_dense().reshape(-1).abs().square().double()
        (found,) = torch.autograd.grad((probs * weights).sum() * 8, leaf)
        assert relative(found, gradient(EXACT, circuit, angles)) <= GRADIENT[dtype]


@pytest.mark.parametrize("absorb", ["left", "right", "both", "U", "sVH", "VH", "Us", "U,s,VH"])
def test_every_form_of_the_driver_is_that_of_quimb(absorb):
    from quimb.tensor.decomp import array_split

    register_quimb_driver()
    rng = torch.Generator().manual_seed(0)
    x = torch.randn((5, 4), generator=rng, dtype=torch.complex128)
    for renorm in (0, 2):
        options = {"absorb": absorb, "max_bond": 3, "cutoff": 0.0, "renorm": renorm}
        info_a, info_b = {"error": None}, {"error": None}
        ours = array_split(x, method="svd:tangent", info=info_a, **options)
        theirs = array_split(x, method="svd", info=info_b, **options)
        for mine, other in zip(ours, theirs, strict=True):
            assert (mine is None) == (other is None)
            if mine is not None and mine.ndim == 2:  # up to the phases of the vectors
                assert torch.allclose(mine.abs(), other.abs(), atol=1e-10)
        assert info_a["error"] == pytest.approx(float(info_b["error"]))


def test_driver_refuses_other_cutoffs():
    from quimb.tensor.decomp import array_split

    register_quimb_driver()
    with pytest.raises(UnsupportedByEngine, match="`cutoff_mode` must be 'rsum2'"):
        array_split(torch.eye(2) + 0j, method="svd:tangent", cutoff=0.1, cutoff_mode="abs")


def test_driver_needs_a_quimb_that_takes_it(monkeypatch):
    from quimb.tensor import decomp

    monkeypatch.delattr(decomp, "register_split_driver")
    with pytest.raises(
        QtnTrainError, match="`quimb` must be of a version that takes split drivers"
    ):
        register_quimb_driver()


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
    assert state.entropy(500) == pytest.approx(1, abs=1e-5)
    assert float(state.expectation("Z" + "I" * 998 + "Z")) == pytest.approx(1, abs=1e-4)


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
    with pytest.raises(ValueError, match="at most 2\\*\\*31 apart; got"):
        large.amplitude_block(0, 2**40)
    with pytest.raises(ValueError, match="`start, stop` must be 0 <= start < stop"):
        cut_state.amplitude_block(3, 3)
    with pytest.raises(UnsupportedByEngine, match=r"at most 63 .*; got 70\. Take sample_bits"):
        large.sample(10, rng)
    with pytest.raises(ValueError, match="`shots` must be a positive integer; got 0"):
        cut_state.sample(0, rng)
    for bond in (0, 6, -1):
        with pytest.raises(ValueError, match=f"`bond` must be from 1 to 5; got {bond}"):
            cut_state.entropy(bond)
    for terms in ({}, "ZZ", {"ZZZZZQ": 1.0}, "zzzzzz"):
        with pytest.raises(ValueError, match="`terms` must be Pauli strings of 6 letters"):
            cut_state.expectation(terms)


def test_too_many_qubits():
    with pytest.raises(UnsupportedByEngine, match="`n_qubits` must be at most 4096 for MPSEngine"):
        MPSEngine(2).prepare(Circuit(5000, (), 0), torch.zeros(0))


@pytest.mark.parametrize("max_bond", [None, 1])
def test_non_finite_tensor_is_named_where_it_arises(monkeypatch, max_bond):
    circuit = ansatz.u3_cu3_ring(4, 2)
    values = GateMatrices.values

    def broken(self, angles, dtype):
        out = values(self, angles, dtype).clone()
        out[self.slots[5][3, 3]] = math.nan
        return out

    monkeypatch.setattr(GateMatrices, "values", broken)
    with pytest.raises(QtnTrainError, match=r"bond 2 .* gates\[5\] \(cu3 on qubits \(1, 2\)\)"):
        MPSEngine(max_bond).prepare(circuit, random_angles(circuit))


def test_quimb_is_not_imported_with_the_engine():
    assert "quimb" not in vars(mps_module)
