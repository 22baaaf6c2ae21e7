"""The expected fidelity of single values: only the gates in their light cones count.

qubit 0 ──●────────●──        ⟨Z₁Z₂⟩ depends on the gates that reach qubits 1 and 2, looked at
qubit 1 ──●──●─────●── ◄──    from the end: what comes later, or elsewhere, cannot change it.
qubit 2 ─────●──●──── ◄──
qubit 3 ────────●────
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...circuits import Circuit, Gate
from ...measurements import Measurement
from ..device._fidelity import executed_gates, expected_fidelity
from ..device._target import Target

#: Values that are looked at, at most, evenly among all.
_VALUES = 4000


@dataclass(frozen=True)
class ConeFidelities:
    """Expected fidelities of single values, each over its own light cone, from 0 to 1.

    Attributes:
        lowest: Of the worst value.
        median: Half of the values have more.
        highest: Of the best value.
    """

    lowest: float
    median: float
    highest: float


def cone_fidelities(
    circuit: Circuit,
    target: Target,
    reads: Measurement,
    placement: Sequence[int] | None = None,
) -> ConeFidelities | None:
    """Return the expected shares of shots in which nothing that a value depends on goes wrong.

    Args:
        circuit: The circuit, without the rotations into a basis.
        target: The device.
        reads: What is measured.
        placement: The label of each qubit; None: the medians over the device's qubits and edges.

    Returns:
        The fidelities; None where the device tells no calibration, or where each value depends on
        all qubits.

    Source:
        Ours. For Pauli errors the share is a lower bound of the factor by which they shrink a
        correlator.
    """
    supports = _supports(reads, circuit.n_qubits)
    if target.fidelities is None or supports is None:
        return None
    gates = executed_gates(reads.programs(circuit)[0], target)
    cones = _cones(gates, circuit.n_qubits)
    of_gates = np.array([_log(target, [gate], [], placement) for gate in gates])
    of_readouts = np.array([_log(target, [], [q], placement) for q in range(circuit.n_qubits)])
    logs = [
        cones[list(qubits)].any(axis=0) @ of_gates + of_readouts[list(qubits)].sum()
        for qubits in supports
    ]
    return ConeFidelities(*np.exp(np.quantile(logs, (0, 0.5, 1))).tolist())


def light_cone(gates: Sequence[Gate], qubits: Sequence[int], n_qubits: int) -> tuple[Gate, ...]:
    """Return the gates that what is measured on some qubits depends on.

    Args:
        gates: All gates, in order.
        qubits: The qubits that are read.
        n_qubits: Number of qubits.

    Returns:
        Those gates, in order.

    Example:
        >>> circuit = Circuit.builder(3).h(0).cx(0, 1).cx(1, 2).build()
        >>> [gate.qubits for gate in light_cone(circuit.gates, [1], 3)]
        [(0,), (0, 1), (1, 2)]
        >>> [gate.qubits for gate in light_cone(circuit.gates, [0], 3)]
        [(0,), (0, 1)]
    """
    inside = np.flatnonzero(np.any(_cones(gates, n_qubits)[list(qubits)], axis=0))
    return tuple(gates[number] for number in inside.tolist())


def _cones(gates: Sequence[Gate], n_qubits: int) -> NDArray[np.bool_]:
    """Return which gates (columns) lie in the light cone of each qubit (rows)."""
    # reached[a, b]: whether what is read on a at the end depends on b before the gates seen so far.
    reached = np.eye(n_qubits, dtype=bool)
    cones = np.zeros((n_qubits, len(gates)), dtype=bool)
    for number in range(len(gates) - 1, -1, -1):
        qubits = list(gates[number].qubits)
        inside = np.asarray(np.any(reached[:, qubits], axis=1))
        cones[:, number] = inside
        reached[:, qubits] = inside[:, None]
    return cones


def _supports(reads: Measurement, n_qubits: int) -> list[tuple[int, ...]] | None:
    """Return the qubits of some values, evenly among all."""
    found = reads.supports(n_qubits)
    if found is None:
        return None
    every: Iterator[tuple[int, ...]] = iter(found)
    step = -(-reads.n_values(n_qubits) // _VALUES)
    return [qubits for qubits in itertools.islice(every, 0, None, step) if qubits] or None


def _log(
    target: Target, gates: Sequence[Gate], measured: Sequence[int], placement: Sequence[int] | None
) -> float:
    fidelity = expected_fidelity(target, gates, measured, placement)
    assert fidelity is not None
    with np.errstate(divide="ignore"):
        return float(np.log(fidelity))
