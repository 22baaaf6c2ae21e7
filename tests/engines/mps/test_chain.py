"""The sweep over arrays of any library: NumPy beside torch, one-qubit gates, rounding."""

import math
import tracemalloc

import numpy as np
import pytest
import tolerances
import torch
from oracle import amplitudes, random_circuit
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines._slots import gate_matrices, in_slots
from qtn_train.engines.mps import _chain
from qtn_train.engines.mps._chain import Chain, evolve, program, zero_state
from qtn_train.engines.mps._engine import MPSEngine
from qtn_train.engines.mps._split import Array, cut

# Rounding of some hundred gates in double precision, in two libraries.
SAME = 1e-12


class NoTorch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        raise AssertionError(f"torch was asked for {func}")


def random_angles(circuit: Circuit, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(circuit.n_angles, generator=rng, dtype=torch.float64) - 1) * math.pi


def run(circuit: Circuit, values: Array, max_bond: int | None, cutoff: float = 0.0) -> Chain:
    chain = Chain(zero_state(circuit.n_qubits, values), max_bond, cutoff, "tangent")
    evolve(circuit, values, chain)
    return chain


def dense(tensors: list[Array]) -> Array:
    rows = tensors[0].reshape(2, -1)
    for tensor in tensors[1:]:
        rows = (rows @ tensor.reshape(tensor.shape[0], -1)).reshape(-1, tensor.shape[2])
    return rows.reshape(-1)


@pytest.mark.parametrize(("max_bond", "cutoff"), [(None, 0.0), (3, 0.0), (None, 1e-3)])
def test_numpy_runs_through_the_same_lines_without_torch(monkeypatch, max_bond, cutoff):
    def refused(*_, **__):
        raise AssertionError("autograd was asked")

    monkeypatch.setattr(torch.autograd.Function, "apply", refused)
    monkeypatch.setattr(torch.autograd, "grad", refused)
    rng = np.random.default_rng(5)
    for _ in range(40):
        circuit = random_circuit(rng, int(rng.integers(2, 8)), int(rng.integers(1, 40)))
        angles = torch.tensor(rng.uniform(-math.pi, math.pi, circuit.n_angles))
        circuit, angles = in_slots(circuit, angles)
        values = gate_matrices(circuit).values(angles, torch.complex128).numpy()
        with NoTorch():
            chain = run(circuit, values, max_bond, cutoff)
        assert all(isinstance(tensor, np.ndarray) for tensor in chain.tensors)
        if max_bond is None and not cutoff:
            exact = amplitudes(circuit, angles.numpy())
            assert np.abs(dense(chain.tensors) - exact).max() <= SAME


class Counted(TorchDispatchMode):
    n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("make", [ansatz.cz_chain, ansatz.u3_cu3_chain])
def test_a_wide_circuit_takes_as_many_operations_as_a_narrow_one(make):
    """Gate by gate, 60 qubits took three times as many as 20."""
    taken = []
    for n_qubits in (20, 60):
        circuit = make(n_qubits, 3)
        with Counted() as counted:
            state = MPSEngine().prepare(circuit, random_angles(circuit))
        assert max(state.bond_dims) == (4 if make is ansatz.cz_chain else 8)
        taken.append(counted.n)
    assert taken[0] == taken[1]


@pytest.mark.parametrize("max_bond", [None, 3])
def test_numpy_and_torch_agree(max_bond):
    circuit = ansatz.u3_cu3_ring(7, 3)
    values = gate_matrices(circuit).values(random_angles(circuit), torch.complex128)
    numpy, torch_ = run(circuit, values.numpy(), max_bond), run(circuit, values, max_bond)
    found, expected = dense(numpy.tensors), dense(torch_.tensors).numpy()
    assert np.abs(found - expected).max() <= SAME
    assert numpy.weights == pytest.approx(torch_.weights, abs=SAME)


def test_single_precision_stays_single_in_numpy():
    circuit = ansatz.u3_cu3_chain(6, 3)
    values = gate_matrices(circuit).values(random_angles(circuit), torch.complex64)
    chain = run(circuit, values.numpy(), 3)
    assert {tensor.dtype for tensor in chain.tensors} == {np.dtype("complex64")}
    assert {tensor.dtype for tensor in run(circuit, values, 3).tensors} == {torch.complex64}


def test_lists_of_one_qubit_gates_of_any_length():
    rng = np.random.default_rng(6)
    for _ in range(20):
        builder = Circuit.builder(3)
        for _ in range(int(rng.integers(1, 6))):
            for qubit in range(3):
                for name in rng.choice(["h", "t", "ry", "u3"], size=int(rng.integers(0, 9))):
                    builder.add(str(name), qubit)
            builder.cx(*map(int, rng.permutation(3)[:2]))
        circuit = builder.rx(0).rz(2).build()
        angles = random_angles(circuit)
        state = MPSEngine(dtype="complex128").prepare(circuit, angles)
        found = dense(state.tensors).numpy()
        assert np.abs(found - amplitudes(circuit, angles.numpy())).max() <= SAME


def test_memory_of_one_qubit_gates_grows_as_their_number():
    """500 gates on one qubit before 1,000 pairs took 500 × 2,000 matrices, 32 MB."""
    builder = Circuit.builder(2)
    for _ in range(500):
        builder.rx(0)
    for _ in range(1000):
        builder.cx(0, 1)
    tracemalloc.start()
    steps = program(builder.build())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    n_factors = len(steps.before.slots) + sum(level.shape[1] for level in steps.before.levels)
    assert n_factors <= 2 * 500 + 2 * 1000 + 100
    assert peak < 10e6


# --- rounding ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_rounding_is_not_counted_as_truncation(dtype):
    """A product state after 2,000 cuts: after 10,000, 0.013 to 0.024 were reported."""
    builder = Circuit.builder(11)
    for _ in range(100):
        for qubit in range(10):
            builder.u3(qubit).swap(qubit, qubit + 1).swap(qubit, qubit + 1)
    circuit = builder.build()
    state = MPSEngine(1, dtype=dtype).prepare(circuit, random_angles(circuit))
    assert state.truncation_error == 0
    assert state.fidelity_estimate == 1


def test_what_is_cut_is_counted_down_to_rounding():
    for size in (1.0, 1e-20):
        at = size * np.diag([1.0 + 0j, 1e-5, 1e-9])
        assert cut(at, 1, 0.0).weight == pytest.approx(1e-10, rel=tolerances.DISCARDED)
        assert cut(at, 2, 0.0).weight == pytest.approx(1e-18, rel=tolerances.DISCARDED)
    result = cut(np.diag([1.0 + 0j, 1e-17, 0.0]), 1, 0.0)
    assert (result.weight, result.lost_rank) == (0.0, True)
    assert not cut(at, 1, 0.0).lost_rank
    assert not cut(at, 3, 0.0).lost_rank


def test_zeros_are_dropped_on_request():
    at = np.diag([2.0 + 0j, 1.0, 1e-17, 0.0])
    assert len(cut(at, None, 0.0).values) == 4
    assert len(cut(at, None, 0.0, drop_zeros=True).values) == 2
    assert len(cut(0 * at, None, 0.0, drop_zeros=True).values) == 1


@pytest.mark.parametrize(("size", "max_bond", "moves"), [((8, 4), 4, 2), ((10, 4), 8, 0)])
def test_joined_pairs_spare_moves_before_the_first_cut(size, max_bond, moves, monkeypatch):
    """Where gates waited although a bond was to be cut, it took 5 and 3."""
    taken = []
    move = _chain.orthogonalize
    monkeypatch.setattr(_chain, "orthogonalize", lambda matrix: taken.append(1) or move(matrix))
    circuit = ansatz.u3_cu3_chain(*size)
    angles = random_angles(circuit).requires_grad_()
    assert MPSEngine(max_bond).prepare(circuit, angles).truncation_error > 0
    assert len(taken) == moves
