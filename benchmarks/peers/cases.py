"""The circuits that are measured, what is read of each, and which peers are asked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qtn_train.circuits import Circuit

from ..circuits import circuit_of

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """A library, or one of its methods.

    Attributes:
        name: What the table calls it.
        environment: Name of its environment, and of its files of requirements.
        script: File that runs a case on it.
        arguments: The script's arguments.
    """

    name: str
    environment: str
    script: Path
    arguments: tuple[str, ...] = ()


def _peer(name: str, environment: str, *arguments: str) -> Peer:
    return Peer(name, environment, FOLDER / "scripts" / f"on_{environment}.py", arguments)


TORCHQUANTUM = _peer("TorchQuantum", "torchquantum")
BACKPROP = _peer("PennyLane, backprop", "pennylane", "backprop")
ADJOINT = _peer("PennyLane, lightning adjoint", "pennylane", "adjoint")
TENSORCIRCUIT = _peer("tensorcircuit-ng, JAX", "tensorcircuit")
QUIMB = _peer("quimb", "quimb")
VECTORS = (TORCHQUANTUM, BACKPROP, ADJOINT, TENSORCIRCUIT)


@dataclass(frozen=True)
class Case:
    """A circuit, and what is read of its state.

    Attributes:
        shape: ``ring`` and ``chain`` of U3 and CU3, ``ry-cx-chain``, or ``RxC`` for a grid.
        n_qubits: Number of qubits.
        n_layers: Number of layers.
        request: ``all`` probabilities, ``z`` for ⟨Z⟩ of the middle qubit, ``pairs`` for all
            two-body correlators.
        max_bond: Largest bond dimension of a matrix product state, or None.
        tolerance: Largest difference of values, over the largest value; gradients of many
            outcomes cancel more, and may differ by ten times as much.
    """

    shape: str
    n_qubits: int
    n_layers: int
    request: str = "all"
    max_bond: int | None = None
    tolerance: float = 1e-3

    @property
    def name(self) -> str:
        """Return the name that ``--only`` knows: ``ring-13``."""
        return f"{self.shape}-{self.n_qubits}"

    def circuit(self) -> Circuit:
        """Return the circuit."""
        return circuit_of(self.shape, self.n_qubits, self.n_layers)

    @property
    def n_values(self) -> int:
        """Return how many values are read."""
        return {"all": 2**self.n_qubits, "z": 1, "pairs": 3 * math.comb(self.n_qubits, 2)}[
            self.request
        ]

    def sent(self, folder: Path) -> dict[str, Any]:
        """Return what the scripts are sent; angles and cotangent are written to files."""
        circuit, rng = self.circuit(), np.random.default_rng(0)
        vectors = {
            "angles": (2 * rng.random(circuit.n_angles) - 1) * np.pi,
            "cotangent": rng.random(self.n_values) - 0.5,
        }
        for name, vector in vectors.items():
            np.save(folder / f"{name}.npy", vector.astype(np.float32))
        return {
            "n_qubits": self.n_qubits,
            "gates": [[g.name, list(g.qubits), list(g.angles)] for g in circuit.gates],
            "request": self.request,
            "max_bond": self.max_bond,
            **{name: str(folder / f"{name}.npy") for name in vectors},
        }


def pairings(quick: bool = False) -> Iterator[tuple[Case, Peer]]:
    """Yield each case with each peer that is asked for it; small cases where it is to be quick."""
    for n_qubits in (6,) if quick else (13, 16, 19, 22):
        for peer in VECTORS:
            yield Case("ring", n_qubits, 2 if quick else 16), peer
    for peer in VECTORS:
        yield Case("ry-cx-chain", *((6, 4) if quick else (13, 110))), peer
    chains = ((6, 3, 8),) if quick else ((20, 8, 32),)
    for n_qubits, n_layers, max_bond in chains:
        # Cut after each gate, the two differ by more than rounding.
        yield Case("chain", n_qubits, n_layers, "all", max_bond, tolerance=0.02), QUIMB
    n_qubits, n_layers, max_bond = (8, 3, 16) if quick else (100, 8, 64)
    yield Case("chain", n_qubits, n_layers, "z", max_bond, tolerance=0.02), QUIMB
    for peer in (QUIMB, TENSORCIRCUIT):
        yield (Case("2x3", 6, 2, "z") if quick else Case("6x6", 36, 4, "z")), peer
    yield Case("chain", *((5, 2) if quick else (68, 3)), "pairs"), QUIMB
