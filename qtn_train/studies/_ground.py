"""Ground states of spin chains by a circuit whose energy is minimized, against DMRG."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .._random import uniform
from ..engines import MPSEngine, MPSState
from ..engines.mps._dmrg import ground_energy
from ..errors import must_be
from ..recipes import check_size
from ._circuits import make_circuit

Row = dict[str, Any]

#: Coefficients of one letter on every qubit and of two on every pair of neighbors; the Ising
#: chain's field stands apart, critical at 1.
MODELS: dict[str, dict[str, float]] = {
    "ising": {"ZZ": -1.0},
    "heisenberg": {"XX": 1.0, "YY": 1.0, "ZZ": 1.0},
}
_FEWEST_QUBITS = 3
# The first angles, in radians: near the identity, where gradients of deep circuits are large.
_START = 0.3
# Where the search ends: largest derivative and change of the energy per site; its memory.
_ENDS: dict[str, Any] = {"tolerance_grad": 1e-8, "tolerance_change": 1e-10, "history_size": 20}


def check(point: Row) -> None:
    """Refuse a chain that is too short, and circuits of too many gates.

    Raises:
        ValueError: Fewer qubits than three, or too many layers.
    """
    check_size(point["n_layers"], point["n_qubits"])
    if point["n_qubits"] < _FEWEST_QUBITS:
        expected = f"at least {_FEWEST_QUBITS} for the chain of a model"
        raise ValueError(must_be("n_qubits", expected, point["n_qubits"]))


def couplings_of(model: str, field: float) -> dict[str, float]:
    """Return the terms of an open chain, ``{"ZZ": -1.0, "X": -field}`` of Ising's.

    Args:
        model: ``"ising"`` or ``"heisenberg"``.
        field: The transverse field of the first.

    Returns:
        Coefficients by letters.

    Example:
        >>> couplings_of("ising", 1.0)
        {'ZZ': -1.0, 'X': -1.0}
    """
    return MODELS[model] | ({"X": -field} if model == "ising" else {})


def hamiltonian(terms: dict[str, float], n_qubits: int) -> dict[str, float]:
    """Return the Pauli strings of an open chain.

    Args:
        terms: Coefficients by letters, of :func:`couplings_of`.
        n_qubits: Number of qubits.

    Returns:
        Strings with their coefficients, as :meth:`State.expectation` takes them.

    Example:
        >>> hamiltonian({"ZZ": -1.0, "X": -0.5}, 2)
        {'Z0 Z1': -1.0, 'X0': -0.5, 'X1': -0.5}
    """
    return {
        " ".join(f"{letter}{first + i}" for i, letter in enumerate(letters)): coefficient
        for letters, coefficient in terms.items()
        for first in range(n_qubits - len(letters) + 1)
    }


@lru_cache(maxsize=64)
def _reference(model: str, field: float, n_qubits: int) -> float:
    return ground_energy(couplings_of(model, field), n_qubits)


def minimize(settings: Row, seed: int) -> Row:
    """Minimize the energy by L-BFGS, and return it per site beside that of DMRG."""
    circuit, n_qubits, steps = make_circuit(settings), settings["n_qubits"], settings["steps"]
    model, field = settings["model"], settings["field"]
    terms = hamiltonian(couplings_of(model, field), n_qubits)
    stream = f"ground/{settings['ansatz']}/{n_qubits}/{settings['n_layers']}"
    start = _START * uniform(seed, stream, circuit.n_angles)
    angles = torch.from_numpy(start).requires_grad_()
    engine = MPSEngine(settings["max_bond"], dtype="complex128")
    optimizer = torch.optim.LBFGS(
        [angles], max_iter=steps, max_eval=steps, line_search_fn="strong_wolfe", **_ENDS
    )
    energies: list[float] = []

    def energy_and_gradient() -> Tensor:
        optimizer.zero_grad()
        per_site: Tensor = engine.prepare(circuit, angles).expectation(terms) / n_qubits
        per_site.backward()
        energies.append(float(per_site.detach()))
        return per_site

    optimizer.step(energy_and_gradient)
    with torch.no_grad():
        state = engine.prepare(circuit, angles)
        last = float(state.expectation(terms))
    assert isinstance(state, MPSState)
    reference = _reference(model, field, n_qubits)
    return {
        "energy_per_site": last / n_qubits,
        "start_per_site": energies[0],
        "n_steps": len(energies),
        "dmrg_per_site": reference / n_qubits,
        "error_per_site": (last - reference) / n_qubits,
        "largest_bond": max(state.bond_dims, default=1),
        "entropy_middle": state.entropy(n_qubits // 2),
        "n_angles": circuit.n_angles,
        "truncation_error": state.truncation_error,
        "fidelity_estimate": state.fidelity_estimate,
    }
