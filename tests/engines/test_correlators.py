"""Pauli correlators of exact states, against dense operators and finite differences."""

import itertools
from collections.abc import Callable

import numpy as np
import oracle
import pytest
import tolerances
import torch
from torch.func import hessian, jacfwd

from qtn_train.circuits import ANSATZE, Circuit, ansatz
from qtn_train.engines import Engine, MPSEngine, StatevectorEngine
from qtn_train.engines.mps import _correlators
from qtn_train.engines.mps._correlators import rows_of
from qtn_train.measurements._correlators import n_correlators

PAULIS = {
    "x": np.array([[0, 1], [1, 0]]),
    "y": np.array([[0, -1j], [1j, 0]]),
    "z": np.diag([1.0, -1.0]),
}
ENGINES = {"statevector": StatevectorEngine, "mps": MPSEngine}


def drawn(circuit: Circuit, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).uniform(-np.pi, np.pi, circuit.n_angles)
    return torch.from_numpy(values).requires_grad_()


def dense(circuit: Circuit, angles: torch.Tensor, order: int, bases: str) -> np.ndarray:
    """Each correlator by the whole 2**N × 2**N matrix of its operator."""
    psi = oracle.amplitudes(circuit, angles.detach().numpy())
    found = []
    for letter in bases:
        for qubits in itertools.combinations(range(circuit.n_qubits), order):
            matrix = np.ones((1, 1))
            for qubit in range(circuit.n_qubits):
                matrix = np.kron(matrix, PAULIS[letter] if qubit in qubits else np.eye(2))
            found.append((psi.conj() @ matrix @ psi).real)
    return np.array(found)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    made: Engine = ENGINES[request.param](dtype="complex128")
    return made


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("bases", ["xyz", "z", "zx"])
@pytest.mark.parametrize("n_qubits", [3, 5])
def test_all_values_are_those_of_dense_operators(
    engine: Engine, order: int, bases: str, n_qubits: int
) -> None:
    circuit = ansatz.u3_cu3_ring(n_qubits, 2)
    angles = drawn(circuit)
    found = engine.prepare(circuit, angles).correlators(order, bases)
    expected = dense(circuit, angles, order, bases)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.detach(), expected, rtol=0, atol=tolerances.CORRELATOR)


def test_one_qubit(engine: Engine) -> None:
    state = engine.prepare(Circuit.builder(1).h(0).build(), torch.zeros(0))
    np.testing.assert_allclose(state.correlators(1), [1, 0, 0], rtol=0, atol=tolerances.CORRELATOR)


@pytest.mark.parametrize("superoperator", [0, 8])
@pytest.mark.parametrize("block_bytes", [1, 2**28])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_every_range_is_a_piece_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, superoperator: int, block_bytes: int, order: int
) -> None:
    circuit = ansatz.brickwork(5, 3)
    state = MPSEngine(dtype="complex128").prepare(circuit, drawn(circuit))
    whole = dense(circuit, drawn(circuit), order, "yx")
    monkeypatch.setattr(_correlators, "_SUPEROPERATOR", superoperator)
    monkeypatch.setattr(_correlators, "_BLOCK_BYTES", block_bytes)
    ends = sorted({0, 1, 4, len(whole) // 2, len(whole) // 2 + 1, len(whole) - 2, len(whole)})
    for start, stop in itertools.combinations(ends, 2):
        piece = state.correlators(order, "yx", start, stop).detach()
        np.testing.assert_allclose(piece, whole[start:stop], rtol=0, atol=tolerances.CORRELATOR)


@pytest.mark.parametrize("block_bytes", [1, 2**28])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_those_within_a_reach_are_a_choice_of_all(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, block_bytes: int, order: int
) -> None:
    monkeypatch.setattr(_correlators, "_BLOCK_BYTES", block_bytes)
    circuit = ansatz.brickwork(6, 3)
    state = engine.prepare(circuit, drawn(circuit))
    whole = dense(circuit, drawn(circuit), order, "xy").reshape(2, -1)
    tuples = list(itertools.combinations(range(6), order))
    for reach in range(max(order - 1, 1), 8):
        near = [k for k, sites in enumerate(tuples) if sites[-1] - sites[0] <= reach]
        chosen = whole[:, near].ravel()
        found = state.correlators(order, "xy", reach=reach).detach()
        np.testing.assert_allclose(found, chosen, rtol=0, atol=tolerances.CORRELATOR)
        for start, stop in itertools.combinations({0, 1, len(near) - 1, len(chosen)}, 2):
            low, high = sorted((start, stop))
            piece = state.correlators(order, "xy", low, high, reach).detach()
            np.testing.assert_allclose(piece, chosen[low:high], rtol=0, atol=tolerances.CORRELATOR)


def test_beyond_the_light_cones_correlators_are_products() -> None:
    circuit = ansatz.cz_chain(24, 4)
    state = MPSEngine(dtype="complex128").prepare(circuit, drawn(circuit))
    single, pairs = state.correlators(1, "z").detach(), state.correlators(2, "z").detach()
    first, last = np.triu_indices(24, 1)
    connected = (pairs - single[first] * single[last]).abs().numpy()
    assert connected[last - first >= 8].max() < tolerances.CORRELATOR
    assert connected[last - first < 8].max() > 0.1


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("name", ANSATZE)
def test_gradients_are_those_of_finite_differences(engine: Engine, order: int, name: str) -> None:
    circuit = ANSATZE[name](4, 2)

    def values(angles: torch.Tensor) -> torch.Tensor:
        return engine.prepare(circuit, angles).correlators(order, "xyz")

    assert torch.autograd.gradcheck(values, drawn(circuit, 1))


@pytest.mark.parametrize("block_bytes", [1, 2**28])
def test_second_derivatives_are_right(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, block_bytes: int
) -> None:
    monkeypatch.setattr(_correlators, "_BLOCK_BYTES", block_bytes)
    circuit = ansatz.u3_cu3_chain(3, 1)

    def values(angles: torch.Tensor) -> torch.Tensor:
        return engine.prepare(circuit, angles).correlators(2, "xz")

    assert torch.autograd.gradgradcheck(values, drawn(circuit, 2))


@pytest.mark.parametrize("reach", [None, 1])
def test_transforms_agree_with_the_state_vector(reach: int | None) -> None:
    circuit = ansatz.cz_chain(3, 1)
    angles = drawn(circuit).detach()
    found = []
    for made in ENGINES.values():
        engine = made(dtype="complex128")

        def values(x: torch.Tensor, engine: Engine = engine) -> torch.Tensor:
            return engine.prepare(circuit, x).correlators(2, "xz", reach=reach)

        def loss(x: torch.Tensor, values: Callable[..., torch.Tensor] = values) -> torch.Tensor:
            return values(x).pow(3).sum()

        leaf = angles.clone().requires_grad_()
        seeds = torch.eye(len(values(angles)), dtype=angles.dtype)
        (batched,) = torch.autograd.grad(values(leaf), leaf, seeds, is_grads_batched=True)
        found.append((jacfwd(values)(angles), batched, hessian(loss)(angles)))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, atol=tolerances.CORRELATOR, rtol=0)


@pytest.mark.parametrize("reach", [None, 3])
def test_blocks_give_the_same_gradient(monkeypatch: pytest.MonkeyPatch, reach: int | None) -> None:
    circuit = ansatz.u3_cu3_chain(6, 3)
    n_values = n_correlators(6, 3, "xyz", reach)
    weights = torch.from_numpy(np.random.default_rng(3).normal(size=n_values))
    grads = []
    for block_bytes in (1, 2**28):
        monkeypatch.setattr(_correlators, "_BLOCK_BYTES", block_bytes)
        angles = drawn(circuit)
        state = MPSEngine(dtype="complex128").prepare(circuit, angles)
        values = state.correlators(3, reach=reach)
        grads.append(torch.autograd.grad(weights @ values, angles)[0])
    torch.testing.assert_close(*grads, atol=tolerances.CORRELATOR, rtol=0)


def test_a_wide_state_agrees_with_expectations() -> None:
    circuit = ansatz.u3_cu3_chain(68, 3)
    state = MPSEngine(dtype="complex128").prepare(circuit, drawn(circuit))
    found = state.correlators(2)
    assert found.shape == (6834,)
    numbers = [0, 66, 67, 2277, 2278, 5000, 6833]
    pairs = list(itertools.combinations(range(68), 2)) * 3
    strings = [" ".join(f"{'XYZ'[k // 2278]}{q}" for q in pairs[k]) for k in numbers]
    expected = state.expectations(strings)
    torch.testing.assert_close(found[numbers], expected, atol=tolerances.CORRELATOR, rtol=0)
    piece = state.correlators(2, start=2270, stop=2290)
    torch.testing.assert_close(piece, found[2270:2290], atol=tolerances.CORRELATOR, rtol=0)
    near = [k for k, (i, j) in enumerate(pairs) if j - i <= 9]
    within = state.correlators(2, reach=9)
    torch.testing.assert_close(within, found[near], atol=tolerances.CORRELATOR, rtol=0)


def test_a_batch_of_angles_gives_a_row_each() -> None:
    circuit = ansatz.ry_cx_chain(4, 2)
    rows = torch.stack([drawn(circuit, seed).detach() for seed in range(3)])
    engine = StatevectorEngine(dtype="complex128")
    found = engine.prepare(circuit, rows).correlators(2, "xz", 3, 9)
    each = [engine.prepare(circuit, row).correlators(2, "xz", 3, 9) for row in rows]
    torch.testing.assert_close(found, torch.stack(each), atol=tolerances.CORRELATOR, rtol=0)


def test_rows_of_a_range() -> None:
    tuples = list(itertools.combinations(range(6), 3))
    for start, stop in itertools.combinations(range(len(tuples) + 1), 2):
        rows, first = rows_of(6, 3, start, stop)
        assert rows == range(tuples[start][0], tuples[stop - 1][0] + 1)
        assert first == next(k for k, sites in enumerate(tuples) if sites[0] == rows.start)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((4,), ValueError, r"`order` must be at most 3, the number of qubits; got 4\."),
        ((0,), ValueError, r"`order` must be a positive integer; got 0\."),
        ((1.0,), TypeError, r"`order` must be a positive integer; got 1\.0\."),
        ((2, ""), ValueError, r"`bases` must be different letters out of 'xyz'; got ''\."),
        ((2, "xx"), ValueError, r"`bases` must be different letters out of 'xyz'; got 'xx'\."),
        ((2, "XZ"), ValueError, r"`bases` must be different letters out of 'xyz'; got 'XZ'\."),
        ((2, "z", 0, 4), ValueError, r"`start, stop` must be 0 <= start < stop <= 3; got \(0, 4\)"),
        ((2, "z", 1, 1), ValueError, r"`start, stop` must be 0 <= start < stop <= 3; got \(1, 1\)"),
        ((2, "z", 0, 3, 1), ValueError, r"must be 0 <= start < stop <= 2; got \(0, 3\)"),
        ((2, "z", 0, 1, 0), ValueError, r"`reach` must be a positive integer; got 0\."),
        ((2, "z", 0, 1, 1.0), TypeError, r"`reach` must be a positive integer; got 1\.0\."),
        ((3, "z", 0, 1, 1), ValueError, r"`reach` must be at least 2 for order 3; got 1\."),
        ((2, "z", 0.0, 1), TypeError, r"`start, stop` must be integers; got \(0\.0, 1\)\."),
    ],
)
def test_wrong_input(
    engine: Engine, arguments: tuple[object, ...], error: type[Exception], message: str
) -> None:
    state = engine.prepare(Circuit.builder(3).h(0).build(), torch.zeros(0))
    with pytest.raises(error, match=message):
        state.correlators(*arguments)  # type: ignore[arg-type]
