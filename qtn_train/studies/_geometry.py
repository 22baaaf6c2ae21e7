"""Circuits whose gates join the neighbors of a chain, of a ring or of a grid, on each engine."""

from __future__ import annotations

import math
import time
from typing import Any

import torch

from .._random import uniform
from ..circuits import Circuit, ansatz
from ..engines import ContractionEngine, Engine, MPSEngine, StatevectorEngine
from ..errors import must_be
from ..recipes import check_size

Row = dict[str, Any]

#: The shapes.
GEOMETRIES = ("chain", "ring", "grid")
_DENSE_QUBITS = 24


def check(point: Row) -> None:
    """Refuse state vectors that are too large, and rings of two qubits.

    Raises:
        ValueError: Too many gates, more than 24 qubits for the state vector, or fewer than three.
    """
    check_size(point["n_layers"], point["n_qubits"])
    if point["n_qubits"] < 3:
        raise ValueError(must_be("n_qubits", "at least 3 for a geometry", point["n_qubits"]))
    if point["engine"] == "statevector" and point["n_qubits"] > _DENSE_QUBITS:
        expected = f"at most {_DENSE_QUBITS} for the engine statevector"
        raise ValueError(must_be("n_qubits", expected, point["n_qubits"], "Take another grid."))


def shaped(geometry: str, n_qubits: int, n_layers: int) -> Circuit:
    """Return layers of RY, RZ and CZ on one color of a geometry's edges.

    Args:
        geometry: ``"chain"``, ``"ring"`` or ``"grid"``: the rectangle that is nearest to a square.
        n_qubits: Number of qubits, at least 3.
        n_layers: Number of layers.

    Returns:
        The circuit; one layer after the other takes the colors in turn.

    Example:
        >>> sorted({g.qubits for g in shaped("grid", 6, 4).gates if g.name == "cz"})
        [(0, 1), (0, 3), (1, 2), (1, 4), (2, 5), (3, 4), (4, 5)]
    """
    if geometry == "grid":
        return ansatz.square_grid(n_qubits, n_layers)
    if geometry == "chain":
        return ansatz.cz_chain(n_qubits, n_layers)
    pairs = [(qubit, (qubit + 1) % n_qubits) for qubit in range(n_qubits)]
    return ansatz.couplings(pairs, n_layers)


def _engine(settings: Row) -> Engine:
    if settings["engine"] == "mps":
        return MPSEngine(settings["max_bond"])
    return StatevectorEngine() if settings["engine"] == "statevector" else ContractionEngine()


def geometry(settings: Row, seed: int) -> Row:
    """Return the time, the error and the value of ⟨Z⟩ of the middle qubit with its gradient."""
    name, n_qubits, n_layers = (settings[k] for k in ("geometry", "n_qubits", "n_layers"))
    circuit, engine = shaped(name, n_qubits, n_layers), _engine(settings)
    stream = f"angles/{name}/{n_qubits}/{n_layers}"
    start = torch.from_numpy(uniform(seed, stream, circuit.n_angles) * math.pi)
    angles = start.to(engine.real_dtype).requires_grad_()
    middle, times = f"Z{n_qubits // 2}", []
    for _ in range(3):  # the first pass searches for a tree, and loads what is loaded once
        began = time.process_time()
        state = engine.prepare(circuit, angles)
        value = state.expectation(middle)
        torch.autograd.grad(value, angles)
        times.append(time.process_time() - began)
    cut = {"truncation_error": 0.0, "fidelity_estimate": 1.0} | state.diagnostics()
    return {
        "processor_s": min(times[1:]),
        "first_s": times[0],
        "value_z": float(value.detach()),
        "largest_bond": max(getattr(state, "bond_dims", [1]), default=1),
        "exact_bond": max(circuit.bond_bounds(), default=1),
        "truncation_error": cut["truncation_error"],
        "fidelity_estimate": cut["fidelity_estimate"],
    }
