"""The readers' common ground: gates by name, by matrix, or with controls, as operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..circuits._gate import MAX_UNITARY_QUBITS, unitary_rows
from ..errors import must_be
from ._expressions import Refused
from ._gates_of import GateBook
from ._linear import Linear
from ._operations import Operation, controlled

#: Gates of every dialect by name, without definitions of a program's own.
BOOK = GateBook(3)


def by_name(name: str, angles: Sequence[Linear], n_qubits: int) -> list[Operation] | None:
    """Return the operations of a gate known by its OpenQASM name, or None."""
    if not BOOK.knows(name):
        return None
    try:
        return list(BOOK.expand(name, tuple(angles), n_qubits))
    except Refused:
        return None


def of_matrix(matrix: Any, qubits: Sequence[int], name: str) -> list[Operation]:
    """Return a unitary given by its matrix, the first qubit most significant.

    Raises:
        ValueError: It has too many qubits, or is not unitary.
    """
    if len(qubits) > MAX_UNITARY_QUBITS:
        expected = f"matrices of at most {MAX_UNITARY_QUBITS} qubits"
        hint = "Decompose the gate before it is imported."
        raise ValueError(must_be("source", expected, f"{name} on {len(qubits)} qubits", hint))
    return [Operation("unitary", tuple(qubits), (), unitary_rows(np.asarray(matrix)))]


def where(
    operations: Sequence[Operation], controls: Sequence[int], values: Sequence[int]
) -> list[Operation]:
    """Return operations that act where each control has its value, 0 or 1."""
    turned = [
        Operation("x", (qubit,)) for qubit, value in zip(controls, values, strict=True) if not value
    ]
    return [*turned, *controlled(operations, tuple(controls)), *turned]


def refused(feature: str, hint: str = "") -> ValueError:
    """Return the error for a feature that a circuit of this package cannot have."""
    expected = "a unitary circuit that ends with measurements"
    return ValueError(must_be("source", expected, feature, hint))
