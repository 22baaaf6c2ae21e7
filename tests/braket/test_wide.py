"""The stand-in beyond 20 qubits: bits drawn from quimb's CircuitMPS, held against other states."""

import itertools

import numpy as np
import pytest
import tolerances
import torch
from braket.circuits import Circuit
from braket.circuits.serialization import IRType
from scipy.stats import chisquare

import qtn_train as qt
from qtn_train.braket.stand_in import _execute, _wide
from qtn_train.measurements import PauliCorrelators


def parsed(circuit: Circuit) -> _execute.Parsed:
    return _execute.parse(_execute.canonical(circuit.to_ir(IRType.OPENQASM).source))


def scrambled(seed: int) -> Circuit:
    """Random gates on five qubits, near and far, with other labels than 0 … 4."""
    rng, circuit = np.random.default_rng(seed), Circuit()
    for _ in range(40):
        gate = str(rng.choice(["rx", "ry", "rz", "h", "s", "ti", "x", "cnot", "cz", "swap"]))
        n_targets = 2 if gate in ("cnot", "cz", "swap") else 1
        targets = [(3, 7, 2, 11, 5)[q] for q in rng.permutation(5)[:n_targets]]
        getattr(circuit, gate)(*targets, *([rng.uniform(-3, 3)] if gate.startswith("r") else []))
    return circuit.i([3, 7, 2, 11, 5])


@pytest.mark.parametrize("seed", range(4))
def test_bits_follow_the_state_vector(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    order = [int(q) for q in np.random.default_rng(seed).permutation([3, 7, 2, 11, 5])][:4]
    program = parsed(scrambled(seed).measure(order))
    probs = _execute.probabilities(program, {})
    monkeypatch.setattr(_execute, "MAX_QUBITS", 4)
    bits = _execute.bits(program, {}, 4000, 0)
    assert bits.shape == (4000, 4)
    seen = np.bincount(bits @ [8, 4, 2, 1], minlength=16)
    assert not seen[probs < 1e-12].any()
    some = probs > 1e-12
    expected = 4000 * probs[some] / probs[some].sum()
    assert chisquare(seen[some], expected).pvalue > tolerances.P_VALUE
    assert (bits == _execute.bits(program, {}, 4000, 0)).all()
    assert (bits != _execute.bits(program, {}, 4000, 1)).any()


def test_a_chain_anywhere_on_a_device_keeps_small_bonds() -> None:
    labels = [7, 6, 16, 25, 24, 15, 14, 5, 4, 13, 22, 31, 40, 41, 32, 23, 33, 42, 51, 50, 49, 58]
    circuit = Circuit()
    for layer in range(4):
        for label in labels:
            circuit.ry(label, 0.1 * (label % 7) + 0.3 * layer)
        for a, b in itertools.pairwise(labels[layer % 2 :]):
            circuit.cz(a, b)
    program = parsed(circuit.measure(labels))
    state, order = _wide.sites(_execute._bound(program, {}), len(labels))
    assert max(len(tensor) for tensor in state) <= 16
    places = [labels.index(program.qubits[k]) for k in order]
    assert places in (list(range(22)), list(range(22))[::-1])


@pytest.mark.slow
def test_a_wide_circuit_has_the_correlators_of_our_own_engine() -> None:
    circuit = qt.ansatz.u3_cu3_chain(68, 2)
    angles = torch.from_numpy(np.random.default_rng(2).uniform(-2, 2, circuit.n_angles))
    reads, shots = PauliCorrelators(2, "x"), 4000
    text = qt.export_circuit(reads.programs(circuit)[0], angles, to="braket")
    bits = _execute.bits(parsed(text.measure(range(68))), {}, shots, 0)
    signs = 1 - 2.0 * bits
    found = (signs.T @ signs / shots)[np.triu_indices(68, 1)]
    true = qt.MPSEngine(dtype="complex128").prepare(circuit, angles).correlators(2, "x").numpy()
    z = (found - true) / np.sqrt((1 - true**2) / shots)
    assert float((z**2).mean()) == pytest.approx(1, abs=tolerances.of_draws(68 * 67 // 2, 2**0.5))


def test_what_is_too_hard_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_execute, "MAX_QUBITS", 4)
    with pytest.raises(ValueError, match="simulates noise on 4 qubits at most"):
        _execute.bits(parsed(scrambled(0).bit_flip(3, 0.1).measure([3])), {}, 10, 0)
    with pytest.raises(ValueError, match=r"Missing input variable 'p0000'"):
        _execute.bits(parsed(_free().measure(range(5))), {}, 10, 0)
    monkeypatch.setattr(_wide, "MAX_BOND", 1)
    with pytest.raises(ValueError, match="simulates bonds of 1 at most here"):
        _execute.bits(parsed(scrambled(0).measure([3])), {}, 10, 0)


def _free() -> Circuit:
    from braket.circuits import FreeParameter

    return Circuit().rx(0, FreeParameter("p0000")).i(range(1, 5))
