"""A parameterized circuit as frozen data: no simulator's behavior is in here.

    Circuit = n_qubits + gates,   gate = (name, qubits, indices into the vector of angles)

Qubit 0 is the most significant bit of an outcome, the leftmost one in a bit string.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import must_be, positive_int
from ._gates import GATES

if TYPE_CHECKING:
    from ._lowering import Lowered

_JSON_FORMAT = 1


@dataclass(frozen=True)
class Gate:
    """One gate of a circuit.

    Attributes:
        name: A name of the gate table (:data:`qtn_train.circuits.GATES`).
        qubits: The qubits it acts on, control first.
        angles: For each of its angles, the index into the circuit's vector of angles.
    """

    name: str
    qubits: tuple[int, ...]
    angles: tuple[int, ...] = ()


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
            _check_gate(gate, position, self.n_qubits, self.n_angles)

    def __len__(self) -> int:
        return len(self.gates)

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
        gates = [[gate.name, list(gate.qubits), list(gate.angles)] for gate in self.gates]
        data = {"format": _JSON_FORMAT, "gates": gates}
        data |= {"n_angles": self.n_angles, "n_qubits": self.n_qubits}
        return json.dumps(data, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Circuit:
        """Read what :meth:`to_json` wrote.

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
        message = must_be("text", "canonical circuit JSON", repr(str(text)[:40]))
        try:
            data: dict[str, Any] = json.loads(text)
            found = data["format"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(message) from error
        if found != _JSON_FORMAT:
            hint = "Update qtn_train to read this circuit."
            raise ValueError(must_be("format", str(_JSON_FORMAT), found, hint))
        try:
            gates = tuple(Gate(str(n), tuple(q), tuple(a)) for n, q, a in data["gates"])
            n_qubits, n_angles = data["n_qubits"], data["n_angles"]
        except (KeyError, TypeError, ValueError) as error:
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
        """Return the same unitary, up to a global phase, in the gates that every device takes.

        Returns:
            The lowered circuit and the linear map ``A @ angles + b`` that gives its angles.

        Source:
            Ours, checked against the dense unitary; see :mod:`qtn_train.circuits`.

        Example:
            >>> lowered = Circuit.builder(2).cu3(0, 1).build().portable()
            >>> sorted({gate.name for gate in lowered.circuit.gates})
            ['cx', 'ry', 'rz']
        """
        from ._lowering import lower

        return lower(self)

    def to_openqasm(self, angles: ArrayLike | None = None) -> str:
        """Return OpenQASM 3 text.

        Args:
            angles: Values in radians, shape ``(n_angles,)``; without them each angle becomes a
                declared input named ``p0000``, ``p0001``, ….

        Returns:
            The program, measurement of all qubits included.

        Raises:
            ValueError: ``angles`` has another shape.
        """
        from ..exchange._openqasm import write

        return write(self, None if angles is None else self.check_angles(angles))

    @staticmethod
    def from_openqasm(text: str) -> tuple[Circuit, NDArray[np.float64]]:
        """Read OpenQASM 2 or 3 made of the gates of the table.

        Args:
            text: The program: one register, gate calls, optional inputs and measurements.

        Returns:
            The circuit, and its angles: a literal's value, or NaN for a declared input.

        Raises:
            ValueError: Something in it is outside that subset; the message names the line.

        Example:
            >>> circuit, angles = Circuit.from_openqasm("qubit[1] q; rx(pi/2) q[0];")
            >>> circuit.gates[0].name, angles.round(4).tolist()
            ('rx', [1.5708])
        """
        from ..exchange._openqasm import read

        return read(text)

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
        from ._drawing import draw

        return draw(self, max_columns)

    def __str__(self) -> str:
        return self.draw()

    def __repr__(self) -> str:
        n_gates = len(self.gates)
        return f"Circuit(n_qubits={self.n_qubits}, n_gates={n_gates}, n_angles={self.n_angles})"

    def _repr_html_(self) -> str:
        from ._svg import html

        return html(self)


@dataclass
class CircuitBuilder:
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

    def add(self, name: str, *qubits: int, angles: tuple[int, ...] | None = None) -> CircuitBuilder:
        """Append a gate.

        Args:
            name: A name of the gate table.
            *qubits: The qubits it acts on, control first.
            angles: Indices of angles to share; new ones by default. An index beyond the existing
                angles makes the vector of angles longer.

        Returns:
            The builder itself.

        Raises:
            TypeError: A qubit or index is not an integer.
            ValueError: An unknown gate, a wrong number of qubits or angles, or an index out of
                range.
        """
        if angles is None:
            spec = GATES.get(name)
            count = spec.n_angles if spec else 0
            angles = tuple(range(self._n_angles, self._n_angles + count))
        gate = Gate(name, _indices(qubits), _indices(angles))
        _check_integers(gate, len(self._gates))
        n_angles = max([self._n_angles, *(index + 1 for index in gate.angles)])
        _check_gate(gate, len(self._gates), self.n_qubits, n_angles)
        self._gates.append(gate)
        self._n_angles = n_angles
        return self

    def __getattr__(self, name: str) -> Any:
        if name not in GATES:
            raise AttributeError(f"no gate {name!r}; the gates are {', '.join(GATES)}")
        return lambda *qubits, angles=None: self.add(name, *qubits, angles=angles)

    def build(self) -> Circuit:
        """Return the finished circuit."""
        return Circuit(self.n_qubits, tuple(self._gates), self._n_angles)


def _indices(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Integers of NumPy and others as Python's own, for JSON; the rest is left to the check."""
    return tuple(int(value) if hasattr(value, "__index__") else value for value in values)


def _check_integers(gate: Gate, position: int) -> None:
    if not all(type(index) is int for index in (*gate.qubits, *gate.angles)):
        actual = (gate.qubits, gate.angles)
        raise TypeError(must_be(f"gates[{position}]", "a gate with integer indices", actual))


def _check_gate(gate: Gate, position: int, n_qubits: int, n_angles: int) -> None:
    where = f"gates[{position}]"
    _check_integers(gate, position)
    spec = GATES.get(gate.name)
    if spec is None:
        raise ValueError(must_be(f"{where}.name", f"one of {', '.join(GATES)}", repr(gate.name)))
    if len(gate.qubits) != spec.n_qubits or len(set(gate.qubits)) != spec.n_qubits:
        expected = f"{spec.n_qubits} different qubits for {gate.name}"
        raise ValueError(must_be(f"{where}.qubits", expected, gate.qubits))
    if not all(0 <= qubit < n_qubits for qubit in gate.qubits):
        raise ValueError(must_be(f"{where}.qubits", f"within 0…{n_qubits - 1}", gate.qubits))
    if len(gate.angles) != spec.n_angles:
        expected = f"{spec.n_angles} indices for {gate.name}"
        raise ValueError(must_be(f"{where}.angles", expected, gate.angles))
    if not all(0 <= index < n_angles for index in gate.angles):
        raise ValueError(must_be(f"{where}.angles", f"from 0 to below {n_angles}", gate.angles))
