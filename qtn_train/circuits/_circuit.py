"""A parameterized circuit as frozen data: no simulator's behavior is in here.

    Circuit = n_qubits + gates,   gate = (name, qubits, indices into the vector of angles)

Qubit 0 is the most significant bit of an outcome, the leftmost one in a bit string.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import must_be, positive_int
from ._builder import GateMethods
from ._drawing import draw
from ._gate import (
    VALUES_COME_LATER,
    Gate,
    MatrixLike,
    as_indices,
    check_gate,
    check_integers,
    unitary_rows,
)
from ._gates import GATES
from ._json import JSON_FORMAT, read_json
from ._lowering import PORTABLE_RULES, Rules, lower_gates
from ._shape import bond_bounds
from ._svg import html

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, repr=False)
class Circuit:
    """A parameterized quantum circuit that starts in |0…0⟩.

    Attributes:
        n_qubits: Number of qubits.
        gates: The gates, first one first.
        n_angles: Length of the vector of angles (radians) that the gates index.

    Example:
        >>> circuit = Circuit.builder(2).h(0).cx(0, 1).ry(1).build()
        >>> circuit.n_angles, len(circuit)
        (1, 3)
    """

    n_qubits: int
    gates: tuple[Gate, ...]
    n_angles: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_qubits", positive_int("n_qubits", self.n_qubits))
        if type(self.n_angles) is not int or self.n_angles < 0:
            raise ValueError(must_be("n_angles", "an integer of at least 0", repr(self.n_angles)))
        for position, gate in enumerate(self.gates):
            check_gate(gate, position, self.n_qubits, self.n_angles)

    def __len__(self) -> int:
        return len(self.gates)

    def __hash__(self) -> int:
        # Of a few gates: that of thousands takes milliseconds, at each step of a training.
        some = self.gates[:: 1 + len(self.gates) // 16]
        return hash((self.n_qubits, self.n_angles, len(self.gates), some))

    @staticmethod
    def builder(n_qubits: int) -> CircuitBuilder:
        """Return an empty builder for ``n_qubits`` qubits.

        Args:
            n_qubits: Number of qubits, at least 1.

        Returns:
            A builder with one method for each gate of the table.

        Raises:
            TypeError: ``n_qubits`` is not an integer.
            ValueError: ``n_qubits`` is below 1.
        """
        return CircuitBuilder(n_qubits)

    def to_json(self) -> str:
        """Return the canonical JSON text: sorted keys, no spaces, the same on every machine."""
        data = {"format": JSON_FORMAT, "gates": [_to_data(gate) for gate in self.gates]}
        data |= {"n_angles": self.n_angles, "n_qubits": self.n_qubits}
        return json.dumps(data, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Circuit:
        """Return the circuit of a JSON text that :meth:`to_json` wrote.

        Args:
            text: Canonical JSON.

        Returns:
            An equal circuit.

        Raises:
            ValueError: The text is not such JSON, or of a newer format.

        Example:
            >>> circuit = Circuit.builder(1).rx(0).build()
            >>> Circuit.from_json(circuit.to_json()) == circuit
            True
        """
        expected = "canonical circuit JSON"
        data = read_json(text, expected)
        message = must_be("text", expected, repr(str(text)[:40]))
        try:
            gates = tuple(_from_data(*entry) for entry in data["gates"])
            n_qubits, n_angles = data["n_qubits"], data["n_angles"]
        except (KeyError, TypeError) as error:
            raise ValueError(message) from error
        try:
            return cls(n_qubits, gates, n_angles)
        except TypeError as error:
            raise ValueError(message) from error

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON, as 64 hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def portable(self) -> Lowered:
        """Return an equal circuit, up to a global phase, of the gates that every device takes.

        Returns:
            The lowered circuit and the linear map ``A @ angles + b`` that gives its angles.

        Source:
            Ours, checked against the dense unitary; see :mod:`qtn_train.circuits`.

        Example:
            >>> lowered = Circuit.builder(2).cu3(0, 1).build().portable()
            >>> sorted({gate.name for gate in lowered.circuit.gates})
            ['cx', 'ry', 'rz']
        """
        return self.lower(PORTABLE_RULES)

    def lower(self, rules: Rules) -> Lowered:
        """Replace gates by the steps of their rules; a gate without a rule stays.

        Args:
            rules: The table, as :data:`qtn_train.circuits.PORTABLE_RULES`.

        Returns:
            The same unitary up to a global phase.

        Source:
            U3(θ, φ, λ) = e^{i(φ+λ)/2} Rz(φ)·Ry(θ)·Rz(λ); CU3 after OpenQASM 2's ``qelib1.inc``.

        Example:
            >>> lowered = Circuit.builder(2).cz(0, 1).build().lower(PORTABLE_RULES)
            >>> [gate.name for gate in lowered.circuit.gates]
            ['h', 'cx', 'h']
        """
        from scipy.sparse import csr_array

        found = lower_gates(self.gates, rules)
        shape = (len(found.constants), self.n_angles)
        entries = np.array(found.entries, dtype=np.float64)
        places = np.array([found.rows, found.columns], dtype=np.int32)
        # One angle used twice by one gate gives two entries at one place: csr_array adds them.
        matrix = csr_array((entries, (places[0], places[1])), shape=shape)
        lowered = Circuit(self.n_qubits, found.gates, len(found.constants))
        return Lowered(lowered, matrix, np.array(found.constants, dtype=np.float64))

    @cached_property
    def is_real(self) -> bool:
        """Whether every gate's matrix is real for all angles, and so are all amplitudes.

        Example:
            >>> Circuit.builder(2).ry(0).cx(0, 1).build().is_real
            True
        """
        kinds = {gate.name if gate.matrix is None else gate: gate for gate in self.gates}
        return all(gate.is_real for gate in kinds.values())

    def bond_bounds(self) -> list[int]:
        """Return the largest bond dimensions that a matrix product state of the circuit can need.

        Returns:
            One bound for each of the ``n_qubits − 1`` bonds: the product of the operator ranks of
            the gates across it, and at most what the qubits on its smaller side allow.

        Source:
            Ours; an operator of Schmidt rank r multiplies a bond by at most r.

        Example:
            >>> Circuit.builder(4).cx(0, 1).swap(1, 2).cx(0, 3).build().bond_bounds()
            [2, 4, 2]
        """
        return bond_bounds(self.n_qubits, self.gates)

    def check_angles(self, angles: ArrayLike) -> NDArray[np.float64]:
        """Return ``angles`` as a float64 array of shape ``(n_angles,)``, or raise ValueError."""
        values = np.asarray(angles, dtype=np.float64)
        if values.shape != (self.n_angles,):
            raise ValueError(must_be("angles", f"of shape ({self.n_angles},)", values.shape))
        return values

    def draw(self, max_columns: int = 12) -> str:
        """Return a text drawing: one line per qubit, time from left to right.

        Args:
            max_columns: Columns of gates before the drawing is cut with ``…``.

        Returns:
            ``n_qubits`` lines.

        Example:
            >>> print(Circuit.builder(2).h(0).cx(0, 1).build().draw())
            q0: ─H─●─
            q1: ───X─
        """
        return draw(self.n_qubits, self.gates, max_columns)

    def __str__(self) -> str:
        return self.draw()

    def __repr__(self) -> str:
        n_gates = len(self.gates)
        return f"Circuit(n_qubits={self.n_qubits}, n_gates={n_gates}, n_angles={self.n_angles})"

    def _repr_html_(self) -> str:
        return html(repr(self), self.n_qubits, self.gates)


@dataclass(frozen=True, eq=False)
class Lowered:
    """A lowered circuit, and the map from the original circuit's angles to the lowered ones.

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


@dataclass
class CircuitBuilder(GateMethods):
    """Builds a :class:`Circuit` gate by gate; every angle that is not named gets a new index.

    Example:
        >>> builder = Circuit.builder(3)
        >>> for qubit in range(3):
        ...     _ = builder.ry(qubit)
        >>> builder.cx(0, 1).cx(1, 2).build().n_angles
        3
    """

    n_qubits: int
    _gates: list[Gate] = field(default_factory=list, init=False)
    _n_angles: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.n_qubits = positive_int("n_qubits", self.n_qubits)

    def add(
        self,
        name: str,
        *qubits: int,
        angles: tuple[int, ...] | None = None,
        matrix: MatrixLike | None = None,
    ) -> CircuitBuilder:
        """Append a gate.

        Args:
            name: A name of the gate table, or ``"unitary"``.
            *qubits: The qubits it acts on, control first.
            angles: Indices of angles to share; new ones by default. An index beyond the existing
                angles makes the vector of angles longer.
            matrix: The matrix of a ``unitary``, its first qubit most significant.

        Returns:
            The builder itself.

        Raises:
            TypeError: A qubit or index is not an integer, or ``angles`` is no tuple.
            ValueError: An unknown gate, a wrong number of qubits or angles, an index out of
                range, or a matrix that is not unitary.
        """
        if angles is None:
            spec = GATES.get(name)
            count = spec.n_angles if spec else 0
            angles = tuple(range(self._n_angles, self._n_angles + count))
        elif not isinstance(angles, tuple | list):
            expected = "indices into the vector of angles, such as (0,)"
            raise TypeError(must_be("angles", expected, repr(angles), VALUES_COME_LATER))
        rows = None if matrix is None else unitary_rows(matrix)
        gate = Gate(name, as_indices(qubits), as_indices(angles), rows)
        check_integers(gate, len(self._gates))
        n_angles = max([self._n_angles, *(index + 1 for index in gate.angles)])
        check_gate(gate, len(self._gates), self.n_qubits, n_angles)
        self._gates.append(gate)
        self._n_angles = n_angles
        return self

    def build(self) -> Circuit:
        """Return the finished circuit."""
        return Circuit(self.n_qubits, tuple(self._gates), self._n_angles)


def _to_data(gate: Gate) -> list[Any]:
    data: list[Any] = [gate.name, list(gate.qubits), list(gate.angles)]
    if gate.matrix is not None:
        data.append([[[value.real, value.imag] for value in row] for row in gate.matrix])
    return data


def _from_data(name: str, qubits: Iterable[int], angles: Iterable[int], matrix: Any = None) -> Gate:
    if matrix is not None:
        matrix = unitary_rows([[complex(*pair) for pair in row] for row in matrix])
    return Gate(str(name), tuple(qubits), tuple(angles), matrix)
