"""States to quimb and back, to a file and back, as a start; dropped zeros."""

import json
import math

import numpy as np
import pytest
import quimb as qu
import quimb.tensor as qtn
import tolerances
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines import MPSEngine, MPSState, StatevectorEngine
from qtn_train.errors import CheckpointError, UnsupportedByEngine


def random_angles(circuit: Circuit, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(circuit.n_angles, generator=rng, dtype=torch.float64) - 1) * math.pi


@pytest.fixture
def state() -> MPSState:
    circuit = ansatz.u3_cu3_chain(6, 3)
    angles = random_angles(circuit).requires_grad_()
    return MPSEngine(dtype="complex128").prepare(circuit, angles)


# quimb's object


@torch.no_grad()
def test_quimbs_own_operators_work():
    circuit = ansatz.u3_cu3_chain(6, 3)
    state = MPSEngine(dtype="complex128").prepare(circuit, random_angles(circuit))
    mps = state.mps
    for site, direction in [(0, "Z"), (3, "X"), (5, "Y")]:
        found = mps.magnetization(site, direction).real
        assert found.item() == pytest.approx(
            state.expectation(f"{direction}{site}").item() / 2, abs=tolerances.EXCHANGED
        )
    z, x = (state.expectation(terms).item() for terms in ("Z1", "X4"))
    found = mps.correlation(qu.pauli("Z"), 1, 4, B=qu.pauli("X")).real.item()
    assert found == pytest.approx(
        state.expectation("Z1 X4").item() - z * x, abs=tolerances.EXCHANGED
    )
    local = mps.local_expectation_canonical(qu.pauli("Z"), 1).real.item()
    assert local == pytest.approx(z, abs=tolerances.EXCHANGED)
    density = mps.partial_trace_to_dense_canonical([1, 4])
    operator = torch.from_numpy(np.array(qu.pauli("Z") & qu.pauli("X")))
    expected = state.expectation("Z1 X4").item()
    assert (density @ operator).trace().real.item() == pytest.approx(
        expected, abs=tolerances.EXCHANGED
    )
    schmidt = mps.schmidt_values(3)
    entropy = -sum(p * math.log2(p) for p in schmidt if p > 0)
    assert entropy == pytest.approx(state.entropy(3), abs=tolerances.ENTROPY)


def test_gradients_pass_through_quimbs_object(state):
    angles = random_angles(ansatz.u3_cu3_chain(6, 3)).requires_grad_()
    prepared = MPSEngine(dtype="complex128").prepare(ansatz.u3_cu3_chain(6, 3), angles)
    found = torch.autograd.grad(prepared.mps.magnetization(2).real, angles, retain_graph=True)[0]
    expected = torch.autograd.grad(prepared.expectation("Z2") / 2, angles)[0]
    assert torch.allclose(found, expected, rtol=0, atol=tolerances.EXCHANGED)


def test_quimb_changes_its_own_object_only(state):
    before = [tensor.detach().clone() for tensor in state.tensors]
    with torch.no_grad():
        mps = state.mps
        mps.compress(max_bond=2)
        mps.gate_(qu.hadamard(), 0, contract=True)
        mps.multiply_(3.0)
        mps.canonicalize_(3)
        mps.normalize()
    assert mps.max_bond() == 2
    assert all(torch.equal(now, then) for now, then in zip(state.tensors, before, strict=True))
    assert max(state.bond_dims) == 8


# A start


@pytest.mark.parametrize("max_bond", [None, 8])
def test_a_circuit_goes_on_from_a_state(max_bond):
    first, second = ansatz.u3_cu3_chain(6, 2), ansatz.brickwork(6, 2)
    both = Circuit.builder(6)
    for circuit in (first, second):
        for gate in circuit.gates:
            both.add(gate.name, *gate.qubits)
    a, b = random_angles(first), random_angles(second, 1)
    exact = StatevectorEngine(dtype="complex128").prepare(both.build(), torch.cat((a, b)))
    begun = MPSEngine(dtype="complex128").prepare(first, a)
    for initial in (begun, begun.mps, begun.mps * 5.0):
        engine = MPSEngine(max_bond, dtype="complex128", initial=initial)
        found = engine.prepare(second, b).amplitudes()
        assert torch.allclose(found, exact.amplitudes(), rtol=0, atol=tolerances.EXCHANGED)


def test_gradients_reach_the_initial_state():
    circuit = ansatz.u3_cu3_chain(4, 1)
    angles = random_angles(circuit).requires_grad_()
    begun = MPSEngine(dtype="complex128").prepare(circuit, angles)
    after = MPSEngine(dtype="complex128", initial=begun).prepare(circuit, angles.detach())
    (found,) = torch.autograd.grad(after.expectation("Z1"), angles)
    assert float(found.abs().max()) > 1e-3


def test_quimbs_states_as_a_start():
    ghz = (qtn.MPS_computational_state("0000") + qtn.MPS_computational_state("1111")) / 2**0.5
    state = MPSEngine(dtype="complex128", initial=ghz.astype("complex128")).prepare(
        Circuit.builder(4).x(0).build(), torch.zeros(0)
    )
    assert state.probs(0, 16)[[7, 8]].tolist() == pytest.approx([0.5, 0.5])
    one = qtn.MatrixProductState([np.array([0, 1.0 + 0j])])
    flipped = MPSEngine(dtype="complex128", initial=one).prepare(
        Circuit.builder(1).build(), torch.zeros(0)
    )
    assert flipped.probs(0, 2).tolist() == [0, 1]


def test_wrong_starts(state):
    with pytest.raises(ValueError, match="`initial` must be of dtype complex64; got complex128"):
        MPSEngine(initial=state)
    with pytest.raises(TypeError, match="`initial` must be an MPSState or a quimb MatrixProduct"):
        MPSEngine(initial=[1, 2])
    with pytest.raises(ValueError, match="`initial` must be an open chain of qubits; got"):
        MPSEngine(initial=qtn.MPS_rand_state(5, 3, cyclic=True))
    with pytest.raises(ValueError, match="`initial` must be an open chain of qubits; got"):
        MPSEngine(initial=qtn.MPS_rand_state(5, 3, phys_dim=3))
    with pytest.raises(ValueError, match="`initial` must be an open chain of qubits; got"):
        MPSEngine(initial=qtn.MPS_rand_state(5, 3).reindex({"k0": "a"}))
    with pytest.raises(ValueError, match="`initial` must be a state of finite, positive norm; got"):
        MPSEngine(initial=MPSState([torch.zeros(1, 2, 1) + 0j] * 2))
    engine = MPSEngine(dtype="complex128", initial=state)
    with pytest.raises(ValueError, match="`initial` must be of the circuit's 5 qubits; got 6"):
        engine.prepare(ansatz.ry_cx_chain(5, 1), torch.zeros(5))
    with pytest.raises(UnsupportedByEngine, match=r"`engine` must be one that JSON.*state\.save"):
        engine.config()


# Files


@pytest.mark.filterwarnings("ignore::qtn_train.errors.TruncationWarning")
def test_a_state_comes_back_from_its_file(tmp_path):
    circuit = ansatz.u3_cu3_chain(6, 4)
    state = MPSEngine(2, dtype="complex128").prepare(circuit, random_angles(circuit))
    state.save(tmp_path / "state.safetensors")
    again = MPSState.load(str(tmp_path / "state.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(again.tensors, state.tensors, strict=True))
    assert again.diagnostics() == state.diagnostics()
    assert torch.equal(again.probs(0, 64), state.probs(0, 64))


def test_files_that_hold_no_state(tmp_path, state):
    path = tmp_path / "state.safetensors"
    with pytest.raises(FileNotFoundError, match="must be a matrix product state file"):
        MPSState.load(path)
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="a damaged or foreign file"):
        MPSState.load(path)
    MPSState([torch.ones(1, 2, 3) + 0j, torch.ones(2, 2, 1) + 0j]).save(path)
    with pytest.raises(CheckpointError, match="must be a chain of qubits; got tensors of other"):
        MPSState.load(path)
    state.save(path)
    tensors = load_file(path)
    tensors["00002"] = tensors["00002"] + 1
    save_file(tensors, path, metadata={"qtn_train": json.dumps({"format": 2})})
    with pytest.raises(CheckpointError):
        MPSState.load(path)


# Zeros


def fourier(n_qubits: int) -> tuple[Circuit, Tensor]:
    builder, angles = Circuit.builder(n_qubits), []
    for qubit in range(n_qubits):
        builder.ry(qubit)
        angles.append(0.3 + qubit)
    for first in range(n_qubits):
        builder.h(first)
        for second in range(first + 1, n_qubits):
            builder.cp(second, first)
            angles.append(math.pi / 2 ** (second - first))
    return builder.build(), torch.tensor(angles, dtype=torch.float64)


def test_zeros_are_dropped_where_no_gradient_is_asked():
    """The Fourier transform of a product state is one but for its bits' order: small bonds."""
    circuit, angles = fourier(14)
    exact = StatevectorEngine(dtype="complex128").prepare(circuit, angles)
    state = MPSEngine(dtype="complex128").prepare(circuit, angles)
    assert torch.allclose(state.amplitudes(), exact.amplitudes(), rtol=0, atol=tolerances.EXCHANGED)
    assert max(state.bond_dims) <= 32
    full = MPSEngine(dtype="complex128").prepare(circuit, angles.requires_grad_())
    assert max(full.bond_dims) == 128
    assert state.truncation_error == 0


def test_with_a_gradient_zeros_stay_and_it_is_exact():
    circuit = ansatz.u3_cu3_chain(8, 3)
    angles = random_angles(circuit)
    for gate in circuit.gates:
        if gate.name == "cu3":
            angles[list(gate.angles)] = 0.0
    leaf = angles.requires_grad_()
    values = [
        engine.prepare(circuit, leaf).expectation("Z3 Z4")
        for engine in (MPSEngine(dtype="complex128"), StatevectorEngine(dtype="complex128"))
    ]
    grads = [torch.autograd.grad(value, leaf)[0] for value in values]
    assert torch.allclose(*grads, rtol=0, atol=tolerances.DOUBLE_GRADIENT)


def test_cuts_of_rank_are_counted_where_a_gradient_is_asked():
    circuit = ansatz.u3_cu3_ring(8, 3)
    angles = random_angles(circuit)
    for gate in circuit.gates:
        if gate.name == "cu3":
            angles[list(gate.angles)] = 0.0
    for kind in ("tangent", "exact"):
        engine = MPSEngine(8, svd_gradient=kind, dtype="complex128")
        assert (
            engine.prepare(circuit, angles.clone().requires_grad_()).diagnostics()["rank_cuts"] > 0
        )
        assert "rank_cuts" not in engine.prepare(circuit, angles).diagnostics()
    generic = MPSEngine(8, dtype="complex128").prepare(
        ansatz.u3_cu3_chain(6, 3), random_angles(ansatz.u3_cu3_chain(6, 3)).requires_grad_()
    )
    assert "rank_cuts" not in generic.diagnostics()


def test_an_operator_of_quimb_as_tensors(state: MPSState) -> None:
    """The one line of the page for quimb's users: a NumPy MPO beside a state of torch tensors."""
    operator = qtn.MPO_ham_heis(6)
    operator.apply_to_arrays(lambda array: torch.tensor(array, dtype=torch.complex128))
    found = qtn.expec_TN_1D(state.mps.H, operator, state.mps)
    wanted = state.expectation({f"{p}{i} {p}{i + 1}": 0.25 for i in range(5) for p in "XYZ"})
    assert abs(complex(found.detach()) - float(wanted.detach())) < tolerances.EXCHANGED


def test_a_state_as_arrays_for_what_quimb_has_in_numpy_alone(state: MPSState) -> None:
    mps = state.mps
    mps.apply_to_arrays(lambda tensor: tensor.detach().numpy())
    found = mps.logneg_subsys([0, 1], [3, 4])
    rho = qu.ptr(state.amplitudes().detach().numpy().reshape(-1, 1), [2] * 6, [0, 1, 3, 4])
    assert found == pytest.approx(qu.logneg(rho, [4, 4], 0), abs=tolerances.EIGENVALUES)
    assert all(isinstance(tensor, Tensor) for tensor in state.tensors)
