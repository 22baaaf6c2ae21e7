"""Pauli correlators of every engine against one oracle; their counts' means and covariances."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import oracle
import pytest
import tolerances
import torch

from qtn_train import IdentityMapping, QuantumTrain
from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines import (
    ContractionEngine,
    Engine,
    MPSEngine,
    NoisyEngine,
    SampledEngine,
    StatevectorEngine,
)
from qtn_train.measurements import PauliCorrelators

EXACT = StatevectorEngine(dtype="complex128")
CIRCUIT = ansatz.u3_cu3_ring(4, 1)
ANGLES = torch.from_numpy(np.random.default_rng(7).uniform(-np.pi, np.pi, CIRCUIT.n_angles))


def on_braket(device: str) -> Engine:
    pytest.importorskip("braket", reason="the braket extra is not installed")
    from qtn_train.engines import BraketEngine

    return BraketEngine(device, 0, dtype="complex128")


ENGINES: dict[str, Callable[[], Engine]] = {
    "statevector": lambda: EXACT,
    "mps": lambda: MPSEngine(dtype="complex128"),
    "contraction": lambda: ContractionEngine(dtype="complex128"),
    "noisy, exact": lambda: NoisyEngine(EXACT, 0),
    "local:sv": lambda: on_braket("local:sv"),
    "local:dm": lambda: on_braket("local:dm"),
}


def signs(n_qubits: int) -> np.ndarray:
    return 1 - 2 * np.array(list(itertools.product((0, 1), repeat=n_qubits)))


def distribution(circuit: Circuit, angles: torch.Tensor, letter: str) -> np.ndarray:
    """The probabilities of all outcomes with every qubit measured in a letter, by NumPy alone."""
    psi = oracle.amplitudes(circuit, angles.detach().numpy()).reshape([2] * circuit.n_qubits)
    h = np.array([[1, 1], [1, -1]]) / math.sqrt(2)
    turn = {"x": h, "y": h @ np.diag([1, -1j]), "z": np.eye(2)}[letter]
    for qubit in range(circuit.n_qubits):
        psi = np.moveaxis(np.tensordot(turn, psi, (1, qubit)), 0, qubit)
    return np.abs(psi.reshape(-1)) ** 2


def expected(reads: PauliCorrelators) -> np.ndarray:
    found = []
    for letter in reads.bases_read:
        probs = distribution(CIRCUIT, ANGLES, letter)
        for qubits in itertools.combinations(range(4), reads.order):
            found.append(probs @ signs(4)[:, qubits].prod(1))
    return np.array(found)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_agrees_with_the_oracle(name: str, order: int) -> None:
    reads = PauliCorrelators(order)
    state = ENGINES[name]().prepare(CIRCUIT, ANGLES, reads)
    found = state.correlators(order, "xyz", 0, reads.n_values(4))
    np.testing.assert_allclose(found, expected(reads), rtol=0, atol=tolerances.CORRELATOR)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_gradients_of_contractions(order: int) -> None:
    circuit = ansatz.grid(2, 2, 2)
    start = np.random.default_rng(8).uniform(-np.pi, np.pi, circuit.n_angles)
    engine = ContractionEngine(dtype="complex128")

    def values(angles: torch.Tensor) -> torch.Tensor:
        return engine.prepare(circuit, angles).correlators(order, "xyz")

    assert torch.autograd.gradcheck(values, torch.from_numpy(start).requires_grad_())


@pytest.mark.parametrize("order", [1, 2])
def test_means_and_covariances_of_counts(order: int) -> None:
    """All values of a letter come from the same shots: their covariance is that of the products."""
    reads, shots, n_draws = PauliCorrelators(order, "zy"), 200, 600
    engine = SampledEngine(EXACT, shots, seed=3)
    n_values = reads.n_values(4)
    drawn = np.stack(
        [
            engine.prepare(CIRCUIT, ANGLES, reads).correlators(order, "zy", 0, n_values)
            for _ in range(n_draws)
        ]
    )
    size = n_values // 2
    products = np.stack(
        [signs(4)[:, qubits].prod(1) for qubits in itertools.combinations(range(4), order)]
    )
    covariance, means = np.zeros((n_values, n_values)), expected(reads)
    for k, letter in enumerate("zy"):
        own = slice(k * size, (k + 1) * size)
        second = (products * distribution(CIRCUIT, ANGLES, letter)) @ products.T
        covariance[own, own] = (second - np.outer(means[own], means[own])) / shots
    errors = np.sqrt(np.diag(covariance) / n_draws)
    assert np.abs((drawn.mean(0) - means) / errors).max() < tolerances.Z_VALUE
    found = np.cov(drawn.T)
    variances = np.outer(np.diag(covariance), np.diag(covariance))
    scatter = np.sqrt((variances + covariance**2) / (n_draws - 1))
    assert np.abs((found - covariance) / scatter).max() < tolerances.Z_VALUE


def test_a_seed_gives_the_same_counts() -> None:
    reads = PauliCorrelators(2)
    found = []
    for seed in (0, 0, 1):
        engine = SampledEngine(MPSEngine(dtype="complex128"), 50, seed=seed)
        found.append([engine.prepare(CIRCUIT, ANGLES, reads).correlators(2) for _ in range(2)])
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not torch.equal(found[0][0], found[2][0])
    assert not torch.equal(found[0][0], found[0][1])  # each evaluation has shots of its own


@pytest.mark.parametrize("name", [*ENGINES, "sampled"])
def test_an_order_above_the_qubits_is_refused_before_anything_runs(name: str) -> None:
    engine = SampledEngine(EXACT, 10) if name == "sampled" else ENGINES[name]()
    circuit = ansatz.cz_chain(2, 1)
    angles = torch.zeros(circuit.n_angles)
    message = r"`order` must be at most 2, the number of qubits; got 3\."
    with pytest.raises(ValueError, match=message):
        engine.prepare(circuit, angles, PauliCorrelators(3))
    assert engine.position == 0


@pytest.mark.parametrize(("order", "needed"), [(1, 5), (2, 4), (3, 5)])
def test_a_model_says_how_many_qubits_its_order_needs(order: int, needed: int) -> None:
    message = rf"`n_qubits` must be at least {needed}; got 3\. 15 weights need {needed} qubits\."
    with pytest.raises(ValueError, match=message):
        QuantumTrain(
            torch.nn.Linear(4, 3),
            circuit=ansatz.cz_chain(3, 1),
            measurement=PauliCorrelators(order),
            mapping=IdentityMapping(15),
        )
