"""Gradients through matrix product states, truncated or not.

Tolerances, each with its reason:

    gradient         complex64 1e-4, complex128 1e-9    relative: rounding, there and back
    differences      1e-6                               step 1e-5: h² and rounding/h are below that
    lost             0.35, relative                     measured at most 0.32: see the test
    cosine           0.994 at max_bond 8                the mean over these angles is 0.9970
"""

import math

import numpy as np
import pytest
import tolerances
import torch
from oracle import random_circuit
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines._base import Engine
from qtn_train.engines.mps import MPSEngine
from qtn_train.engines.statevector._engine import StatevectorEngine

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


@pytest.mark.slow
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
    assert probs[[1, 2, 4, 8]].tolist() == pytest.approx([0.25] * 4, abs=tolerances.SINGLE)


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
@pytest.mark.filterwarnings("ignore::qtn_train.errors.TruncationWarning")
def test_gradients_are_finite_beyond_the_bond_count(dtype, svd_gradient):
    for make in (ansatz.u3_cu3_chain, ansatz.u3_cu3_ring, ansatz.brickwork):
        circuit = make(6, 3)
        controlled = is_cu3(circuit)
        for bond in (1, 2, 3):
            engine = MPSEngine(bond, dtype=dtype, svd_gradient=svd_gradient)
            for value in (0.0, math.pi, math.pi / 2):
                for start in (value, torch.where(controlled, 0.0, value)):
                    angles = torch.ones(circuit.n_angles).double() * start
                    assert torch.isfinite(gradient(engine, circuit, angles)).all()


@pytest.mark.filterwarnings("ignore::qtn_train.errors.TruncationWarning")
@pytest.mark.slow
def test_tangent_gradients_stay_bounded_where_angles_are_special():
    """Noise in vanishing singular values must not be blown up by their inverse."""
    rng = np.random.default_rng(6)
    names = ("u3", "cu3", "cx", "swap", "h", "ry", "cz")
    values = [0, math.pi / 2, math.pi, 1e-5, 1e-9, 1e-20, 0.3]
    for number in range(80):
        circuit = random_circuit(rng, int(rng.integers(2, 8)), int(rng.integers(5, 80)), names)
        angles = torch.tensor(rng.choice(values, circuit.n_angles))
        if circuit.n_angles:
            dtype = ("complex64", "complex128")[number % 2]
            engine = MPSEngine(1 + number % 5, cutoff=[0.0, 1e-6][number % 3 == 0], dtype=dtype)
            assert gradient(engine, circuit, angles).norm() < 100


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


@pytest.mark.filterwarnings("ignore::qtn_train.errors.TruncationWarning")
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
