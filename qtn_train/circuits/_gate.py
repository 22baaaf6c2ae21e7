"""One gate of a circuit as frozen data, and the checks that every circuit makes of its gates.

A gate is a name of the table, or ``unitary``, which carries its matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import must_be
from ._gates import GATES

#: The rows of a unitary gate's matrix, and what is taken for one.
Rows = tuple[tuple[complex, ...], ...]
MatrixLike = NDArray[Any] | Sequence[Sequence[complex]]

#: The name of a gate that carries its matrix, and the most qubits it may have: decomposing it costs
#: 4**k gates.
UNITARY, MAX_UNITARY_QUBITS = "unitary", 6

# Matrices are often written with single precision, or with eight digits.
_UNITARY_WITHIN = 1e-6


@dataclass(frozen=True)
class Gate:
    """One gate of a circuit.

    Attributes:
        name: A name of the gate table (:data:`qtn_train.circuits.GATES`), or ``"unitary"``.
        qubits: The qubits it acts on, control first.
        angles: For each of its angles, the index into the circuit's vector of angles.
        matrix: The rows of a ``unitary``'s matrix, its first qubit the most significant bit of
            row and column; None for every other gate.

    Raises:
        ValueError: ``matrix`` is not a unitary matrix of 1 to 6 qubits.
    """

    name: str
    qubits: tuple[int, ...]
    angles: tuple[int, ...] = ()
    matrix: Rows | None = None

    def __post_init__(self) -> None:
        if self.matrix is not None:
            object.__setattr__(self, "matrix", unitary_rows(self.matrix))

    @property
    def is_real(self) -> bool:
        """Whether the gate's matrix is real for all angles."""
        if self.matrix is not None:
            return not any(complex(entry).imag for row in self.matrix for entry in row)
        spec = GATES[self.name]
        # At such angles no entry is real by chance.
        generic = spec.matrix(*(0.3 + 0.4 * i for i in range(spec.n_angles)))
        return not bool(generic.imag.any())


def unitary_rows(matrix: MatrixLike) -> Rows:
    """Return a matrix as a tuple of rows, checked, without negative zeros.

    Args:
        matrix: A unitary matrix of 2**k rows.

    Returns:
        Python's complex numbers: equal matrices are equal, and are written alike.

    Raises:
        ValueError: It is not a unitary matrix of 1 to 6 qubits.
    """
    expected = f"a unitary matrix of 2, 4, … or {2**MAX_UNITARY_QUBITS} rows"
    try:
        values = np.asarray(matrix, dtype=np.complex128)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(must_be("matrix", expected, type(matrix).__name__)) from error
    sizes = [(2**k, 2**k) for k in range(1, MAX_UNITARY_QUBITS + 1)]
    if values.shape not in sizes:
        raise ValueError(must_be("matrix", expected, f"shape {values.shape}"))
    # NaN and infinity fail the comparison.
    with np.errstate(invalid="ignore", over="ignore"):
        error_ = np.abs(values @ values.conj().T - np.eye(len(values))).max()
    if not error_ <= _UNITARY_WITHIN:
        actual = f"U·U† that differs from 1 by {error_:.2g}"
        raise ValueError(must_be("matrix", expected, actual))
    return tuple(tuple(complex(v.real + 0.0, v.imag + 0.0) for v in row) for row in values)


def n_qubits_of(gate: Gate) -> int | None:
    """Return how many qubits a gate takes; None for an unknown name."""
    if gate.name == UNITARY and gate.matrix is not None:
        return len(gate.matrix).bit_length() - 1
    spec = GATES.get(gate.name)
    return None if spec is None else spec.n_qubits


#: What to do where an angle in radians stands in place of an index.
VALUES_COME_LATER = "A gate names its angles by index; their values come when the circuit is run."


def as_indices(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return integers of NumPy and others as Python integers, for JSON; other values stay."""
    return tuple(int(value) if hasattr(value, "__index__") else value for value in values)


def check_integers(gate: Gate, position: int) -> None:
    """Refuse a gate whose qubits or angles are not integers.

    Args:
        gate: The gate.
        position: Its place in the circuit, for the message.

    Raises:
        TypeError: Such a gate.
    """
    if not all(type(index) is int for index in (*gate.qubits, *gate.angles)):
        actual = (gate.qubits, gate.angles)
        expected = "a gate with integer indices"
        raise TypeError(must_be(f"gates[{position}]", expected, actual, VALUES_COME_LATER))


def check_gate(gate: Gate, position: int, n_qubits: int, n_angles: int) -> None:
    """Refuse a gate that does not fit its circuit.

    Args:
        gate: The gate.
        position: Its place in the circuit, for the message.
        n_qubits: The circuit's number of qubits.
        n_angles: The length of its vector of angles.

    Raises:
        TypeError: An index is not an integer.
        ValueError: An unknown name, a wrong number of qubits or angles, or an index out of range.
    """
    where = f"gates[{position}]"
    check_integers(gate, position)
    own = n_qubits_of(gate)
    if own is None:
        known = f"one of {', '.join(GATES)}, or {UNITARY} with a matrix"
        raise ValueError(must_be(f"{where}.name", known, repr(gate.name)))
    if gate.matrix is not None and gate.name != UNITARY:
        raise ValueError(must_be(f"{where}.matrix", f"None for {gate.name}", "a matrix"))
    if len(gate.qubits) != own or len(set(gate.qubits)) != own:
        expected = f"{own} different qubits for {gate.name}"
        raise ValueError(must_be(f"{where}.qubits", expected, gate.qubits))
    if not all(0 <= qubit < n_qubits for qubit in gate.qubits):
        raise ValueError(must_be(f"{where}.qubits", f"within 0…{n_qubits - 1}", gate.qubits))
    n_own_angles = GATES[gate.name].n_angles if gate.name in GATES else 0
    if len(gate.angles) != n_own_angles:
        expected = f"{n_own_angles} indices for {gate.name}"
        raise ValueError(must_be(f"{where}.angles", expected, gate.angles))
    if not all(0 <= index < n_angles for index in gate.angles):
        raise ValueError(must_be(f"{where}.angles", f"from 0 to below {n_angles}", gate.angles))
