"""Measurements on circuits with random angles."""

from __future__ import annotations

import math
import time
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .._random import uniform
from ..circuits import Circuit
from ..engines import Engine, MPSEngine, MPSState, State, StatevectorEngine, choose_engine
from ..recipes._ansatz import find_ansatz

#: Up to here a state vector is the exact engine for circuits whose bonds pass max_bond.
DENSE_QUBITS = 16

# The exact state that a truncated one is compared with: a chain up to this bond, a state vector up
# to that many qubits.
_REFERENCE_BOND = 512
_REFERENCE_QUBITS = 20

Row = dict[str, Any]


def make_circuit(settings: Row) -> Circuit:
    """Return the circuit of one point of a study."""
    return find_ansatz(settings["ansatz"])(settings["n_qubits"], settings["n_layers"])


def make_angles(settings: Row, circuit: Circuit, seed: int) -> Tensor:
    """Return angles uniform in [−π, π), float64, which depend on seed and circuit alone."""
    stream = f"angles/{settings['ansatz']}/{settings['n_qubits']}/{settings['n_layers']}"
    return torch.from_numpy(uniform(seed, stream, circuit.n_angles) * math.pi)


def bond_count(circuit: Circuit) -> int:
    """Return the largest bond dimension that the circuit's exact matrix product state can need.

    Args:
        circuit: The circuit.

    Returns:
        The bond dimension.

    Example:
        >>> from qtn_train.circuits import ansatz
        >>> bond_count(ansatz.u3_cu3_chain(40, 5)), bond_count(ansatz.u3_cu3_chain(4, 5))
        (32, 4)
    """
    return max(circuit.bond_bounds(), default=1)


def exact_engine(circuit: Circuit, max_bond: int, kind: str = "auto") -> Engine:
    """Return an engine that is exact for a circuit, or the matrix product state cut at max_bond.

    Args:
        circuit: The circuit.
        max_bond: Largest bond.
        kind: ``"mps"``, ``"statevector"``, or ``"auto"``: exact if the bonds fit ``max_bond`` or
            the qubits :data:`DENSE_QUBITS`.

    Returns:
        The engine, in double precision.
    """
    bond, dense = bond_count(circuit), circuit.n_qubits <= DENSE_QUBITS
    # A chain is the cheaper one as long as its bonds are well below the largest, 2**(N/2).
    short = bond <= max_bond and (not dense or 16 * bond**2 <= 2**circuit.n_qubits)
    if kind == "statevector" or (kind == "auto" and dense and not short):
        return StatevectorEngine(dtype="complex128")
    return MPSEngine(max_bond, dtype="complex128")


def expectation_z(state: State, qubit: int) -> Tensor:
    """Return ⟨Z⟩ of a qubit, differentiable."""
    if isinstance(state, MPSState):
        return state.expectation("I" * qubit + "Z" + "I" * (state.n_qubits - qubit - 1))
    probs = state.probs(0, 2**state.n_qubits).view(2**qubit, 2, -1)
    return probs[:, 0].sum() - probs[:, 1].sum()


def gradient_variance(settings: Row, seed: int) -> Row:
    """Return the derivatives of ⟨Z⟩ and of p₀ by one angle, for one draw of all angles."""
    circuit = make_circuit(settings)
    angles = make_angles(settings, circuit, seed).requires_grad_()
    middle = circuit.n_qubits // 2
    first = next(gate for gate in circuit.gates if gate.qubits == (middle,)).angles[0]
    engine = exact_engine(circuit, settings["max_bond"], settings["engine"])
    state = engine.prepare(circuit, angles)
    z, p0 = expectation_z(state, middle), state.probs(0, 1)[0]
    (by_z,) = torch.autograd.grad(z, angles, retain_graph=True)
    (by_p0,) = torch.autograd.grad(p0, angles)
    return {
        "gradient_z": float(by_z[first]),
        "gradient_p0": float(by_p0[first]),
        "value_z": float(z.detach()),
        "value_p0": float(p0.detach()),
        "engine_used": "mps" if isinstance(state, MPSState) else "statevector",
        "bond_count": bond_count(circuit),
        **_cut(state),
    }


def _cut(state: State) -> Row:
    """Return a state's truncation error and fidelity estimate; an exact state's are 0 and 1."""
    return {"truncation_error": 0.0, "fidelity_estimate": 1.0} | state.diagnostics()


def _chain(settings: Row, seed: int, max_bond: int | None, cutoff: float = 0.0) -> MPSState:
    circuit = make_circuit(settings)
    with torch.no_grad():
        engine = MPSEngine(max_bond, cutoff=cutoff, dtype="complex128")
        state = engine.prepare(circuit, make_angles(settings, circuit, seed))
    assert isinstance(state, MPSState)
    return state


@lru_cache(maxsize=1)
def reference(ansatz: str, n_qubits: int, n_layers: int, seed: int) -> State | None:
    """Return the exact state of a circuit, or None where it is too large; the last one is kept.

    Args:
        ansatz: Name of the ansatz.
        n_qubits: Number of qubits.
        n_layers: Number of layers.
        seed: Of the angles.
    """
    settings = {"ansatz": ansatz, "n_qubits": n_qubits, "n_layers": n_layers}
    circuit = make_circuit(settings)
    if bond_count(circuit) <= _REFERENCE_BOND:
        return _chain(settings, seed, None)
    if n_qubits > _REFERENCE_QUBITS:
        return None
    angles = make_angles(settings, circuit, seed)
    with torch.no_grad():
        return StatevectorEngine(dtype="complex128").prepare(circuit, angles)


def _overlap(exact: State, state: MPSState) -> complex:
    """Return the overlap ⟨exact|state⟩."""
    return complex(exact.overlap(state))


def truncation(settings: Row, seed: int) -> Row:
    """Return the bonds, error and infidelity of a matrix product state cut at ``max_bond``."""
    state = _chain(settings, seed, settings["max_bond"], settings["cutoff"])
    row: Row = {"largest_bond": max(state.bond_dims, default=1), **_cut(state)}
    exact = reference(settings["ansatz"], settings["n_qubits"], settings["n_layers"], seed)
    if exact is not None:
        overlap = _overlap(exact, state)
        # The distance of normalized states, rounding aside.
        row["distance"] = math.sqrt(max(0.0, 2 - 2 * overlap.real))
        row["infidelity"] = max(0.0, 1 - abs(overlap) ** 2)
    return row


def entropy(settings: Row, seed: int) -> Row:
    """Return entanglement entropies in bits."""
    state = _chain(settings, seed, settings["max_bond"])
    bonds = [state.entropy(bond) for bond in range(1, state.n_qubits)] or [0.0]
    return {
        "entropy_middle": bonds[state.n_qubits // 2 - 1],
        "entropy_mean": sum(bonds) / len(bonds),
        "entropy_max": max(bonds),
        "largest_bond": max(state.bond_dims, default=1),
        **_cut(state),
    }


def probabilities(settings: Row, seed: int) -> Row:
    """Return figures of the outcome probabilities; 2ᴺ·p follows exp(−x) for a random state."""
    circuit = make_circuit(settings)
    n_outcomes = 2**circuit.n_qubits
    engine = choose_engine(circuit, n_outcomes, dtype="complex128", gradient=False)[0]
    with torch.no_grad():
        state = engine.prepare(circuit, make_angles(settings, circuit, seed))
        probs = state.probs(0, 2**circuit.n_qubits).sort().values
    count = len(probs)
    scaled = probs * count
    expected = 1 - torch.exp(-scaled)
    ranks = torch.arange(count + 1, dtype=torch.float64) / count
    # The empirical distribution steps from ranks[i] to ranks[i + 1] at scaled[i].
    above, below = (ranks[1:] - expected).abs().max(), (expected - ranks[:-1]).abs().max()
    return {
        "shannon_entropy": float(-torch.xlogy(probs, probs).sum()) / math.log(2),
        "collision": float(probs.square().sum()) * count,
        "largest": float(probs[-1]),
        "porter_thomas_distance": max(float(above), float(below)),
        **{f"quantile_{q}": float(scaled[(count * q) // 100]) for q in (10, 50, 90)},
    }


def cost(settings: Row, seed: int) -> Row:
    """Return the seconds of the fastest forward and the fastest backward pass, out of three."""
    circuit = make_circuit(settings)
    engine: Engine
    if settings["engine"] == "mps":
        engine = MPSEngine(settings["max_bond"], dtype=settings["dtype"])
    else:
        engine = StatevectorEngine(dtype=settings["dtype"])
    n_outcomes = min(settings["n_outcomes"], 2**circuit.n_qubits)
    angles = make_angles(settings, circuit, seed).to(engine.real_dtype).requires_grad_()
    times = []
    for _ in range(4):
        began = time.perf_counter()
        state = engine.prepare(circuit, angles)
        total = state.probs(0, n_outcomes).square().sum()
        middle = time.perf_counter()
        torch.autograd.grad(total, angles)
        times.append((middle - began, time.perf_counter() - middle))
    if isinstance(state, MPSState):
        tensors, largest = state.tensors, max(state.bond_dims, default=1)
    else:
        tensors, largest = [state.vector], None  # type: ignore[attr-defined]
    forward, backward = (min(column) for column in zip(*times[1:], strict=True))
    return {
        "forward_s": forward,
        "backward_s": backward,
        "state_mb": sum(t.numel() * t.element_size() for t in tensors) / 1e6,
        "largest_bond": largest,
        "n_angles": circuit.n_angles,
        **_cut(state),
    }
