"""Lowering: the same circuit in a smaller set of gates, with its angles as a linear map.

    lowered angles = A @ angles + b        gradient by angles = A.T @ gradient by lowered angles

A table holds one rule per gate: the steps that replace it. The mechanism knows no gate's name,
so another set of gates needs another table only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import must_be
from ._circuit import Circuit, Gate

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Affine(NamedTuple):
    """One angle of a step: ``row · (angles of the replaced gate) + constant``."""

    row: tuple[float, ...]
    constant: float = 0.0


class Step(NamedTuple):
    """One gate of a rule; its qubits are positions in the qubits of the replaced gate."""

    name: str
    qubits: tuple[int, ...]
    angles: tuple[Affine, ...] = ()


def _turn(name: str, qubit: int, *row: float) -> Step:
    return Step(name, (qubit,), (Affine(row),))


#: Gate -> its steps, in the order (θ, φ, λ) of its angles. The first step of ``cu3`` is the phase
#: of the controlled block: without it the unitary is another one.
PORTABLE_RULES: dict[str, tuple[Step, ...]] = {
    "u3": (
        _turn("rz", 0, 0.0, 0.0, 1.0),
        _turn("ry", 0, 1.0, 0.0, 0.0),
        _turn("rz", 0, 0.0, 1.0, 0.0),
    ),
    "cz": (Step("h", (1,)), Step("cx", (0, 1)), Step("h", (1,))),
    "cu3": (
        _turn("rz", 0, 0.0, 0.5, 0.5),
        _turn("rz", 1, 0.0, -0.5, 0.5),
        Step("cx", (0, 1)),
        _turn("rz", 1, 0.0, -0.5, -0.5),
        _turn("ry", 1, -0.5, 0.0, 0.0),
        Step("cx", (0, 1)),
        _turn("ry", 1, 0.5, 0.0, 0.0),
        _turn("rz", 1, 0.0, 1.0, 0.0),
    ),
}


@dataclass(frozen=True, eq=False)
class Lowered:
    """A lowered circuit and the map from the original angles to its own.

    Attributes:
        circuit: The lowered circuit; each of its gates has angles of its own.
        A: Sparse CSR matrix, (lowered angles × original angles), float64.
        b: The constants, one for each lowered angle, float64.
    """

    circuit: Circuit
    A: csr_array
    b: NDArray[np.float64]

    def angles(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return the lowered circuit's angles.

        Args:
            values: The original circuit's angles in radians.

        Returns:
            ``A @ values + b``.

        Raises:
            ValueError: ``values`` has another shape.

        Example:
            >>> lowered = Circuit.builder(1).u3(0).build().portable()
            >>> lowered.angles([0.1, 0.2, 0.3]).tolist()
            [0.3, 0.1, 0.2]
        """
        original = np.asarray(values, dtype=np.float64)
        expected = (self.A.shape[1],)
        if original.shape != expected:
            raise ValueError(must_be("values", f"of shape {expected}", original.shape))
        lowered: NDArray[np.float64] = self.A @ original + self.b
        return lowered


def _unchanged(gate: Gate) -> tuple[Step, ...]:
    unit_rows = np.eye(len(gate.angles)).tolist()
    angles = tuple(Affine(tuple(row)) for row in unit_rows)
    return (Step(gate.name, tuple(range(len(gate.qubits))), angles),)


def lower(circuit: Circuit, rules: Mapping[str, tuple[Step, ...]] = PORTABLE_RULES) -> Lowered:
    """Replace gates by the steps of their rules; a gate without a rule stays.

    Args:
        circuit: Any circuit.
        rules: The table; by default the one whose gates every Braket device takes.

    Returns:
        The same unitary up to a global phase.

    Source:
        U3(θ, φ, λ) = e^{i(φ+λ)/2} Rz(φ)·Ry(θ)·Rz(λ); CU3 after OpenQASM 2's ``qelib1.inc``.

    Example:
        >>> lowered = lower(Circuit.builder(2).cz(0, 1).build())
        >>> [gate.name for gate in lowered.circuit.gates]
        ['h', 'cx', 'h']
    """
    from scipy.sparse import csr_array

    gates: list[Gate] = []
    constants: list[float] = []
    rows: list[int] = []
    columns: list[int] = []
    coefficients: list[float] = []
    for gate in circuit.gates:
        for step in rules.get(gate.name) or _unchanged(gate):
            first = len(constants)
            for row, constant in step.angles:
                for column, coefficient in zip(gate.angles, row, strict=True):
                    if coefficient:
                        rows.append(len(constants))
                        columns.append(column)
                        coefficients.append(coefficient)
                constants.append(constant)
            qubits = tuple(gate.qubits[position] for position in step.qubits)
            gates.append(Gate(step.name, qubits, tuple(range(first, len(constants)))))
    shape = (len(constants), circuit.n_angles)
    entries = np.array(coefficients, dtype=np.float64)
    places = np.array([rows, columns], dtype=np.int32)
    # One angle used twice by one gate gives two entries at one place: csr_array adds them.
    matrix = csr_array((entries, (places[0], places[1])), shape=shape)
    lowered = Circuit(circuit.n_qubits, tuple(gates), len(constants))
    return Lowered(lowered, matrix, np.array(constants, dtype=np.float64))
