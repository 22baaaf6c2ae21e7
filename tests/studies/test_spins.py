"""Ground states of chains, and circuits of three shapes, against independent numbers."""

import functools
import math

import numpy as np
import pytest
import tolerances

from qtn_train.engines.mps._dmrg import ground_energy
from qtn_train.studies import MEASURES, parse_study
from qtn_train.studies._geometry import shaped
from qtn_train.studies._ground import MODELS, couplings_of, hamiltonian

#: The reference's energy per site, in terms of order 1: sweeps end below a change of 1e-7.
DMRG = 1e-6
#: ⟨Z⟩ in single precision by three engines: rounding of some hundred gates.
SINGLE_Z = 1e-5

PAULIS = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}


def measure(name: str, seed: int = 3, **settings: object) -> dict[str, object]:
    known = MEASURES[name].settings
    return MEASURES[name].run({k: v.default for k, v in known.items()} | settings, seed)


def dense(strings: dict[str, float], n_qubits: int) -> np.ndarray:
    total = np.zeros((2**n_qubits, 2**n_qubits), dtype=complex)
    for string, coefficient in strings.items():
        letters = dict.fromkeys(range(n_qubits), "I") | {
            int(word[1:]): word[0] for word in string.split()
        }
        factors = [PAULIS[letters[qubit]] for qubit in range(n_qubits)]
        total += coefficient * functools.reduce(np.kron, factors)
    return total


@pytest.mark.parametrize(("model", "field"), [("ising", 1.0), ("ising", 0.4), ("heisenberg", 1.0)])
def test_the_reference_is_the_lowest_eigenvalue(model: str, field: float) -> None:
    terms = couplings_of(model, field)
    lowest = float(np.linalg.eigvalsh(dense(hamiltonian(terms, 6), 6))[0])
    assert ground_energy(terms, 6) == pytest.approx(lowest, abs=6 * DMRG)


def test_the_reference_of_a_long_chain_is_the_closed_form_of_free_fermions() -> None:
    """Pfeuty 1970: an open critical chain of N sites has the energy 1 − 1/sin(π/(4N + 2))."""
    closed = 1 - 1 / math.sin(math.pi / (4 * 24 + 2))
    assert ground_energy(couplings_of("ising", 1.0), 24) == pytest.approx(closed, abs=24 * DMRG)


@pytest.mark.parametrize("model", MODELS)
def test_the_energy_falls_and_never_below_the_reference(model: str) -> None:
    settings = {"model": model, "n_qubits": 6, "n_layers": 3, "steps": 60}
    row, same = measure("ground-state", **settings), measure("ground-state", **settings)
    assert row == same
    assert measure("ground-state", seed=4, **settings)["error_per_site"] != row["error_per_site"]
    assert -DMRG <= row["error_per_site"] < {"ising": 0.005, "heisenberg": 0.1}[model]
    gap = row["energy_per_site"] - row["dmrg_per_site"]
    assert row["error_per_site"] == pytest.approx(gap, abs=tolerances.EXCHANGED)
    assert row["start_per_site"] > row["energy_per_site"] + 0.2
    assert row["truncation_error"] == 0


def test_the_search_takes_as_many_steps_as_it_may_and_ends_where_nothing_is_left() -> None:
    few = measure("ground-state", n_qubits=5, n_layers=1, steps=3)
    assert few["n_steps"] == 3
    assert few["energy_per_site"] < few["start_per_site"]
    rest = measure("ground-state", n_qubits=4, n_layers=1, field=0.0, steps=1000)
    assert rest["n_steps"] < 1000
    assert rest["error_per_site"] == pytest.approx(0, abs=DMRG)  # every pair aligned


@pytest.mark.parametrize("geometry", ["chain", "ring", "grid"])
def test_three_engines_read_the_same(geometry: str) -> None:
    settings = {"geometry": geometry, "n_qubits": 12, "n_layers": 4}
    engines = ("mps", "statevector", "contraction")
    rows = [measure("geometry", engine=engine, **settings) for engine in engines]
    for row in rows:
        assert row["value_z"] == pytest.approx(rows[1]["value_z"], abs=SINGLE_Z)
        assert row["processor_s"] > 0
        assert row["truncation_error"] == 0
    assert abs(rows[0]["value_z"]) > 1e-3
    assert 1 < rows[0]["largest_bond"] <= rows[0]["exact_bond"]


@pytest.mark.filterwarnings("ignore::qtn_train.errors.TruncationWarning")
def test_a_grid_is_cut_where_a_chain_of_as_many_qubits_is_not() -> None:
    rows = {
        geometry: measure("geometry", geometry=geometry, n_qubits=16, n_layers=4, max_bond=4)
        for geometry in ("chain", "ring", "grid")
    }
    assert rows["chain"]["truncation_error"] == 0
    assert rows["grid"]["truncation_error"] > 0.01
    assert rows["grid"]["exact_bond"] > rows["chain"]["exact_bond"]


def test_the_shapes() -> None:
    pairs = {
        geometry: {g.qubits for g in shaped(geometry, 12, 4).gates if g.name == "cz"}
        for geometry in ("chain", "ring", "grid")
    }
    chain = {(qubit, qubit + 1) for qubit in range(11)}
    assert pairs["chain"] == chain
    assert pairs["ring"] == chain | {(11, 0)}
    assert len(pairs["grid"]) == 3 * 3 + 2 * 4  # three rows of four


WRONG = {
    'measure = "geometry"\n[grid]\nn_qubits = 30\nn_layers = 1\nengine = "statevector"': (
        r"`n_qubits` must be at most 24 for the engine statevector; got 30"
    ),
    'measure = "geometry"\n[grid]\nn_qubits = 2\nn_layers = 1': (
        r"`n_qubits` must be at least 3 for a geometry; got 2"
    ),
    'measure = "ground-state"\n[grid]\nn_qubits = 2\nn_layers = 1': (
        r"`n_qubits` must be at least 3 for the chain of a model; got 2"
    ),
}


@pytest.mark.parametrize("text", WRONG)
def test_points_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=WRONG[text]):
        parse_study("[study]\n" + text)
