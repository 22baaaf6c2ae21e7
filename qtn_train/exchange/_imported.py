"""An imported program: a circuit, its inputs, and the linear map to the circuit's angles."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..circuits import Circuit, Gate, Lowered
from ..circuits._json import JSON_FORMAT, read_json
from ..errors import must_be
from ._linear import Linear
from ._operations import Operation

if TYPE_CHECKING:
    from scipy.sparse import csr_array

#: More qubits or gates than this in one program are refused.
MAX_QUBITS, MAX_GATES = 10_000, 2_000_000


@dataclass(frozen=True, eq=False)
class ImportedCircuit:
    """A circuit from elsewhere, the program's inputs, and the qubits it measures.

    The circuit's angles are first the inputs that gates take as they are, in their order, then one
    for every other expression and every constant. Engines and generators take a program in place
    of a circuit: the inputs are its angles then, and the constants stay what they are.

    Attributes:
        circuit: The gates; measurements are not part of it.
        inputs: The names of the inputs, in order.
        A: Sparse CSR matrix, (the circuit's angles × inputs), float64.
        b: The constants, one for each of the circuit's angles, float64.
        measured: The qubit measured into each classical bit that is written, in the order of the
            bits; empty if nothing is measured.
    """

    circuit: Circuit
    inputs: tuple[str, ...]
    A: csr_array
    b: NDArray[np.float64]
    measured: tuple[int, ...]

    def angles(self, values: Any = ()) -> Any:
        """Return the circuit's angles.

        Args:
            values: The inputs' values, shape ``(n_inputs,)``: numbers, a NumPy array or a torch
                tensor in the order of ``inputs``, or a dictionary of numbers by name. A tensor may
                have several rows of them.

        Returns:
            ``A @ values + b``: a float64 array, or for a tensor a tensor of its type, through
            which gradients flow.

        Raises:
            ValueError: ``values`` has another shape or other names.

        Example:
            >>> from qtn_train.exchange import import_circuit
            >>> found = import_circuit("input float t; qubit[1] q; rx(2*t + pi) q[0];")
            >>> found.inputs, found.angles([0.5]).round(4).tolist()
            (('t',), [4.1416])
        """
        if isinstance(values, Mapping):
            if set(values) != set(self.inputs):
                names = ", ".join(self.inputs) or "none"
                raise ValueError(must_be("values", f"of the inputs {names}", sorted(values)))
            values = [values[name] for name in self.inputs]
        torch = sys.modules.get("torch")
        is_tensor = torch is not None and isinstance(values, torch.Tensor)
        given = values if is_tensor else np.asarray(values, dtype=np.float64)
        expected, shape = (len(self.inputs),), tuple(given.shape)
        if (shape[-1:] if is_tensor else shape) != expected:
            raise ValueError(must_be("values", f"of shape {expected}", shape))
        if torch is None or not is_tensor:
            return self.A @ given + self.b
        rows, columns, numbers = (torch.from_numpy(part).to(given.device) for part in self._entries)
        start = torch.from_numpy(self.b).to(given).expand(*shape[:-1], -1)
        return start.index_add(-1, rows, given[..., columns] * numbers.to(given))

    @cached_property
    def _entries(self) -> tuple[NDArray[Any], ...]:
        """The rows, columns and values of A's entries."""
        found = self.A.tocoo()
        return found.row.astype(np.int64), found.col.astype(np.int64), found.data.astype(np.float64)

    @cached_property
    def lowered(self) -> Lowered:
        """The circuit and the map from the inputs to its angles, without names."""
        return Lowered(self.circuit, self.A, self.b)

    @property
    def n_qubits(self) -> int:
        """The circuit's number of qubits."""
        return self.circuit.n_qubits

    def to_json(self) -> str:
        """Return the canonical JSON text: sorted keys, no spaces, the same on every machine."""
        rows, columns, numbers = (part.tolist() for part in self._entries)
        data = {
            "A": [rows, columns, numbers],
            "b": self.b.tolist(),
            "circuit": self.circuit.to_json(),
            "format": JSON_FORMAT,
            "inputs": list(self.inputs),
            "measured": list(self.measured),
        }
        return json.dumps(data, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ImportedCircuit:
        """Return the program of a JSON text that :meth:`to_json` wrote.

        Args:
            text: Canonical JSON.

        Returns:
            An equal program.

        Raises:
            ValueError: The text is not such JSON, or of a newer format.

        Example:
            >>> from qtn_train.exchange import import_circuit
            >>> found = import_circuit("input float t; qubit[1] q; rx(2*t + pi) q[0];")
            >>> ImportedCircuit.from_json(found.to_json()) == found
            True
        """
        from scipy.sparse import csr_array

        expected = "canonical JSON of an imported circuit"
        data = read_json(text, expected)
        message = must_be("text", expected, repr(str(text)[:40]))
        try:
            circuit = Circuit.from_json(data["circuit"])
            inputs = tuple(str(name) for name in data["inputs"])
            rows, columns, numbers = data["A"]
            shape = (circuit.n_angles, len(inputs))
            matrix = csr_array((np.array(numbers, dtype=np.float64), (rows, columns)), shape=shape)
            constants = np.array(data["b"], dtype=np.float64)
            measured = tuple(int(qubit) for qubit in data["measured"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(message) from error
        is_finite = np.isfinite(matrix.data).all() and np.isfinite(constants).all()
        if constants.shape != shape[:1] or not is_finite:
            raise ValueError(message)
        return cls(circuit, inputs, matrix, constants, measured)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImportedCircuit) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.circuit, self.inputs, self.measured))

    def in_measured_order(self) -> ImportedCircuit:
        """Return the program with its qubits renumbered: those measured first, in their order.

        The first bits of an outcome are then what the program measures; qubits that it does not
        measure follow in their old order.

        Returns:
            The renumbered program; its ``measured`` is 0, 1, ….

        Raises:
            ValueError: A qubit is measured twice.
        """
        if len(set(self.measured)) != len(self.measured):
            raise ValueError(must_be("measured", "without a repeated qubit", self.measured))
        rest = [q for q in range(self.circuit.n_qubits) if q not in set(self.measured)]
        place = {qubit: new for new, qubit in enumerate([*self.measured, *rest])}
        gates = tuple(
            Gate(gate.name, tuple(place[q] for q in gate.qubits), gate.angles, gate.matrix)
            for gate in self.circuit.gates
        )
        circuit = Circuit(self.circuit.n_qubits, gates, self.circuit.n_angles)
        return ImportedCircuit(
            circuit, self.inputs, self.A, self.b, tuple(range(len(self.measured)))
        )

    def measured_probs(self, probs: Any) -> Any:
        """Return the probabilities of the measured bits.

        Args:
            probs: Those of all outcomes of all qubits, shape ``(2**n_qubits,)``, an array or a
                tensor.

        Returns:
            Shape ``(2**m,)`` for m measured qubits, the first of ``measured`` most significant.

        Raises:
            ValueError: ``probs`` has another shape, or a qubit is measured twice.
        """
        n_qubits = self.circuit.n_qubits
        if tuple(probs.shape) != (2**n_qubits,):
            raise ValueError(must_be("probs", f"of shape ({2**n_qubits},)", tuple(probs.shape)))
        if len(set(self.measured)) != len(self.measured):
            raise ValueError(must_be("measured", "without a repeated qubit", self.measured))
        cube = probs.reshape((2,) * n_qubits)
        rest = tuple(q for q in range(n_qubits) if q not in set(self.measured))
        summed = cube.sum(rest) if rest else cube
        kept = sorted(self.measured)
        order = [kept.index(qubit) for qubit in self.measured]
        moved = summed.permute(order) if hasattr(summed, "permute") else summed.transpose(order)
        return moved.reshape(-1)

    def __repr__(self) -> str:
        names = ", ".join(self.inputs[:6]) + (", …" if len(self.inputs) > 6 else "")
        return f"ImportedCircuit({self.circuit!r}, inputs=({names}), measured={self.measured})"


@dataclass
class Assembly:
    """A program under construction.

    Attributes:
        n_qubits: Number of qubits so far.
        inputs: Name -> number.
        operations: The gates so far.
        measured: Classical bit -> the qubit measured into it.
        ended: The qubits that were measured.
        touched: The qubits on which a gate has acted.
    """

    n_qubits: int = 0
    inputs: dict[str, int] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    measured: dict[int, int] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    touched: set[int] = field(default_factory=set)

    def apply(self, operation: Operation) -> None:
        """Append a gate.

        Raises:
            ValueError: It acts on a qubit that was measured, names one twice, or has an angle that
                is not finite; or the program is too long.
        """
        qubits = operation.qubits
        if len(set(qubits)) != len(qubits):
            raise ValueError(must_be("source", f"{operation.name} on different qubits", qubits))
        if self.ended and not self.ended.isdisjoint(qubits):
            hint = "Measure at the end: what comes after a measurement is not unitary."
            actual = f"{operation.name} on qubits {qubits}"
            expected = "without gates on a qubit that was measured"
            raise ValueError(must_be("source", expected, actual, hint))
        for angle in operation.angles:
            if not angle.is_finite:
                raise ValueError(must_be("source", "of finite angles", angle.constant))
        if operation.name == "gphase":
            return
        if len(self.operations) >= MAX_GATES:
            raise ValueError(must_be("source", f"of at most {MAX_GATES} gates", "more"))
        self.touched.update(qubits)
        self.operations.append(operation)

    def measure(self, qubit: int, bit: int) -> None:
        """Record a measurement of a qubit."""
        self.measured[bit] = qubit
        self.ended.add(qubit)

    def reset(self, qubit: int) -> None:
        """Record a reset, which does nothing to a qubit in |0⟩.

        Raises:
            ValueError: The qubit was used before.
        """
        if qubit in self.touched or qubit in self.ended:
            hint = "Take a new qubit instead: a reset is not unitary."
            raise ValueError(must_be("source", "without a reset of a used qubit", qubit, hint))

    def finish(self) -> ImportedCircuit:
        """Return the finished program.

        Raises:
            ValueError: It has no qubits, or too many.
        """
        from scipy.sparse import csr_array

        if not 1 <= self.n_qubits <= MAX_QUBITS:
            expected = f"a program of 1 to {MAX_QUBITS} qubits"
            raise ValueError(must_be("source", expected, f"{self.n_qubits} qubits"))
        forms, gates = self._numbered()
        rows, columns, entries = [], [], []
        for row, form in enumerate(forms):
            for column, coefficient in form.terms:
                rows.append(row)
                columns.append(column)
                entries.append(coefficient)
        places = (np.array(rows, dtype=np.int32), np.array(columns, dtype=np.int32))
        shape = (len(forms), len(self.inputs))
        matrix = csr_array((np.array(entries, dtype=np.float64), places), shape=shape)
        constants = np.array([form.constant for form in forms], dtype=np.float64)
        measured = tuple(self.measured[bit] for bit in sorted(self.measured))
        circuit = Circuit(self.n_qubits, tuple(gates), len(forms))
        return ImportedCircuit(circuit, tuple(self.inputs), matrix, constants, measured)

    def _numbered(self) -> tuple[list[Linear], list[Gate]]:
        """Return the angles as linear forms, plain inputs first, and gates that number them."""
        used = [angle for one in self.operations for angle in one.angles if angle.terms]
        plain = {Linear(0.0, ((number, 1.0),)) for number in self.inputs.values()}
        alone = {angle.terms[0][0] for angle in set(used) & plain}
        inside = {number for angle in used for number, _ in angle.terms}
        forms = [
            Linear(0.0, ((number, 1.0),))
            for number in self.inputs.values()
            if number in alone or number not in inside
        ]
        index = {form: number for number, form in enumerate(forms)}
        gates = []
        for one in self.operations:
            numbers = []
            for angle in one.angles:
                number = index.get(angle) if angle.terms else None
                if number is None:
                    number = len(forms)
                    forms.append(angle)
                    if angle.terms:
                        index[angle] = number
                numbers.append(number)
            gates.append(Gate(one.name, one.qubits, tuple(numbers), one.matrix))
        return forms, gates


def circuit_from_json(text: str) -> Circuit | ImportedCircuit:
    """Return the circuit, or imported program, of its canonical JSON text.

    Args:
        text: What ``to_json`` of either wrote.

    Returns:
        An equal circuit or program.

    Raises:
        ValueError: The text is neither, or of a newer format.
    """
    # Sorted keys: a program's text begins with its matrix.
    is_program = isinstance(text, str) and text.startswith('{"A"')
    return ImportedCircuit.from_json(text) if is_program else Circuit.from_json(text)


def gates_of(circuit: Circuit | ImportedCircuit) -> Circuit:
    """Return a circuit, or the circuit of an imported program."""
    return circuit.circuit if isinstance(circuit, ImportedCircuit) else circuit


def n_free(circuit: Circuit | ImportedCircuit) -> int:
    """Return how many numbers are free: a circuit's angles, or an imported program's inputs."""
    return len(circuit.inputs) if isinstance(circuit, ImportedCircuit) else circuit.n_angles


def constants(values: Sequence[float]) -> tuple[Linear, ...]:
    """Return numbers as constant angles, in radians."""
    return tuple(Linear(float(value)) for value in values)
