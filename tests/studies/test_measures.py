"""What the measures measure, against independent ways to the same numbers."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import tolerances
import torch

from qtn_train import StatevectorEngine
from qtn_train.circuits import ANSATZE, Circuit, ansatz
from qtn_train.engines import MPSEngine, MPSState
from qtn_train.studies import MEASURES, parse_study
from qtn_train.studies._circuits import bond_count, exact_engine, make_angles
from qtn_train.studies._tasks import columns, run_task

EXACT = 1e-12
STEP = 1e-5
#: Central differences: step² · f‴/6.
DIFFERENCE = 1e-9


def measure(name: str, seed: int = 3, **settings: object) -> dict[str, object]:
    known = MEASURES[name].settings
    return MEASURES[name].run({k: v.default for k, v in known.items()} | settings, seed)


def state_of(name: str, n_qubits: int, n_layers: int, seed: int = 3) -> np.ndarray:
    circuit = ANSATZE[name](n_qubits, n_layers)
    settings = {"ansatz": name, "n_qubits": n_qubits, "n_layers": n_layers}
    angles = make_angles(settings, circuit, seed)
    state = StatevectorEngine(dtype="complex128").prepare(circuit, angles)
    return state.amplitudes().numpy()


@pytest.mark.parametrize("name", ANSATZE)
def test_bond_count_bounds_the_bonds_that_grow(name: str) -> None:
    for n_qubits, n_layers in ((1, 1), (2, 2), (6, 1), (7, 2), (8, 3)):
        circuit = ANSATZE[name](n_qubits, n_layers)
        state = MPSEngine().prepare(circuit, torch.zeros(circuit.n_angles))
        assert isinstance(state, MPSState)
        assert max(state.bond_dims, default=1) <= bond_count(circuit)
    chain = ansatz.u3_cu3_chain(30, 4)
    angles = torch.zeros(chain.n_angles, requires_grad=True)  # without, zeros are dropped
    state = MPSEngine().prepare(chain, angles)
    assert isinstance(state, MPSState)
    assert max(state.bond_dims) == bond_count(chain) == 16


def test_a_swap_counts_twice() -> None:
    assert bond_count(Circuit.builder(8).swap(3, 4).build()) == 4


@pytest.mark.parametrize("name", ["ry-cx-chain", "u3-cu3-chain", "hardware-efficient"])
def test_gradients_of_both_engines_are_the_finite_differences(name: str) -> None:
    settings = {"ansatz": name, "n_qubits": 5, "n_layers": 2}
    rows = [measure("gradient-variance", engine=e, **settings) for e in ("mps", "statevector")]
    circuit = ANSATZE[name](5, 2)
    first = next(gate for gate in circuit.gates if 2 in gate.qubits)
    assert len(first.qubits) == 1
    values = []
    for sign in (+1, -1):
        angles = make_angles(settings, circuit, 3)
        angles[first.angles[0]] += sign * STEP
        state = StatevectorEngine(dtype="complex128").prepare(circuit, angles)
        probs = state.probs(0, 32).numpy()
        z = np.array([1 if k & 0b00100 == 0 else -1 for k in range(32)])
        values.append((z @ probs, probs[0]))
    for row in rows:
        for i, value in enumerate(("z", "p0")):
            expected = (values[0][i] - values[1][i]) / (2 * STEP)
            assert row[f"gradient_{value}"] == pytest.approx(expected, abs=DIFFERENCE)
            middle = (values[0][i] + values[1][i]) / 2
            assert row[f"value_{value}"] == pytest.approx(middle, abs=DIFFERENCE)
    assert [row["engine_used"] for row in rows] == ["mps", "statevector"]


def test_the_engine_is_exact_wherever_one_is() -> None:
    assert isinstance(exact_engine(ansatz.u3_cu3_chain(16, 40), 16), StatevectorEngine)
    assert isinstance(exact_engine(ansatz.u3_cu3_chain(40, 4), 16), MPSEngine)
    row = measure("gradient-variance", n_qubits=18, n_layers=5, max_bond=8)
    assert row["bond_count"] == 32
    assert row["engine_used"] == "mps"
    assert row["truncation_error"] > 0
    exact = measure("gradient-variance", n_qubits=18, n_layers=5, max_bond=32)
    assert exact["truncation_error"] == 0
    assert exact["gradient_z"] == pytest.approx(
        row["gradient_z"], abs=tolerances.TRUNCATED_GRADIENT
    )


@pytest.mark.filterwarnings("ignore::qtn_train.errors.TruncationWarning")
def test_truncation_against_all_amplitudes() -> None:
    for layers in (5, 20):  # the reference is a chain, then a state vector
        row = measure("truncation", n_qubits=10, n_layers=layers, max_bond=8)
        exact = state_of("u3-cu3-chain", 10, layers)
        circuit = ansatz.u3_cu3_chain(10, layers)
        settings = {"ansatz": "u3-cu3-chain", "n_qubits": 10, "n_layers": layers}
        state = MPSEngine(8, dtype="complex128").prepare(circuit, make_angles(settings, circuit, 3))
        assert isinstance(state, MPSState)
        amplitudes = state.amplitudes(0, 2**10).numpy()
        overlap = np.vdot(exact, amplitudes)
        assert row["infidelity"] == pytest.approx(1 - abs(overlap) ** 2, abs=EXACT)
        distance = np.linalg.norm(exact - amplitudes)
        assert row["distance"] == pytest.approx(distance, abs=tolerances.ENTROPY)
        assert row["largest_bond"] == 8
        assert 0 < distance <= row["truncation_error"]


def test_truncation_by_a_state_vector_where_the_chain_is_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from qtn_train.studies import _circuits

    settings = {"n_qubits": 9, "n_layers": 6, "max_bond": 6}
    chain = measure("truncation", **settings)
    monkeypatch.setattr(_circuits, "_REFERENCE_BOND", 2)
    _circuits.reference.cache_clear()
    dense = measure("truncation", **settings)
    monkeypatch.setattr(_circuits, "_REFERENCE_QUBITS", 2)
    _circuits.reference.cache_clear()
    none = measure("truncation", **settings)
    _circuits.reference.cache_clear()
    assert dense["infidelity"] == pytest.approx(chain["infidelity"], abs=EXACT)
    assert "infidelity" not in none
    assert none["truncation_error"] == chain["truncation_error"]


def test_entropy_against_singular_values() -> None:
    row = measure("entropy", n_qubits=8, n_layers=3)
    entropies = []
    for bond in range(1, 8):
        values = np.linalg.svd(state_of("u3-cu3-chain", 8, 3).reshape(2**bond, -1))[1] ** 2
        entropies.append(-(values * np.log2(np.maximum(values, 1e-300))).sum())
    assert row["entropy_middle"] == pytest.approx(entropies[3], abs=tolerances.ENTROPY)
    assert row["entropy_mean"] == pytest.approx(np.mean(entropies), abs=tolerances.ENTROPY)
    assert row["entropy_max"] == pytest.approx(max(entropies), abs=tolerances.ENTROPY)
    assert row["truncation_error"] == 0


def test_probabilities_against_scipy() -> None:
    row = measure("probabilities", n_qubits=7, n_layers=3)
    probs = np.abs(state_of("u3-cu3-chain", 7, 3)) ** 2
    expected = scipy.stats.kstest(128 * probs, "expon").statistic
    assert row["porter_thomas_distance"] == pytest.approx(expected, abs=EXACT)
    assert row["shannon_entropy"] == pytest.approx(scipy.stats.entropy(probs, base=2), abs=EXACT)
    assert row["collision"] == pytest.approx(128 * (probs**2).sum(), abs=EXACT)
    assert row["largest"] == pytest.approx(probs.max(), abs=EXACT)
    assert row["quantile_50"] == pytest.approx(np.sort(128 * probs)[64], abs=EXACT)


@pytest.mark.parametrize("engine", ["mps", "statevector"])
def test_cost_counts_what_it_should(engine: str) -> None:
    row = measure("cost", n_qubits=6, n_layers=2, engine=engine, max_bond=4)
    assert row["forward_s"] > 0
    assert row["backward_s"] > 0
    assert row["n_angles"] == ansatz.u3_cu3_chain(6, 2).n_angles
    bonds = [1, 2, 4, 4, 4, 2, 1]
    numbers = sum(2 * a * b for a, b in itertools.pairwise(bonds))
    assert row["state_mb"] == 8 * (numbers if engine == "mps" else 64) / 1e6


def test_training_depends_on_settings_and_seed_alone() -> None:
    settings = {"dataset": "iris", "epochs": 1, "n_layers": 1, "batch_size": 60}
    one, same = measure("train", **settings), measure("train", **settings)
    assert one == same
    assert measure("train", seed=4, **settings)["test_loss"] != one["test_loss"]
    assert measure("train", **settings, lr=1e-4)["test_loss"] != one["test_loss"]
    assert one["n_weights"] == 131
    cut = measure("train", **settings, engine="mps", max_bond=4, mapping="tensor-train")
    assert cut["fidelity_estimate"] == pytest.approx(1.0)
    counted = measure("train", **settings, shots=50, gradient="spsa")
    assert counted["test_loss"] != one["test_loss"]


def test_more_shots_come_nearer() -> None:
    settings = {"dataset": "iris", "epochs": 3}
    few, many = (measure("shots", shots=n, **settings) for n in (30, 30_000))
    assert few["exact_accuracy"] == many["exact_accuracy"]
    assert few["outcomes_seen"] <= 30
    assert 0 < many["total_variation"] < 0.1 < few["total_variation"] <= 1
    # The square root of ten times the shots: sampling error falls so; a factor of three is allowed.
    assert few["total_variation"] / many["total_variation"] == pytest.approx(
        math.sqrt(1000), rel=tolerances.ROOT_OF_SHOTS
    )


def test_a_task_never_raises() -> None:
    text = 'study.measure = "probabilities"\ngrid = {n_qubits = 3, n_layers = 1}'
    (task,) = parse_study(text).tasks()
    threads = torch.get_num_threads()
    row = run_task(task)
    assert row["status"] == "done"
    assert row["error"] is None
    assert set(row) == set(columns(MEASURES["probabilities"]))
    object.__setattr__(task, "settings", task.settings | {"n_layers": 0})
    failed = run_task(task)
    torch.set_num_threads(threads)
    assert failed["status"] == "failed"
    assert failed["error"].startswith("ValueError: `n_layers` must be a positive integer; got 0.")
    assert failed["task"] == task.id
