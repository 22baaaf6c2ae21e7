"""A circuit of any shape as a network of gate tensors, and the parts that a request needs.

      |0⟩──[u]──●──[u]── a           a one-qubit gate: a matrix (out, in); a vector if diagonal
                │                    ●: an index that a diagonal gate or a control leaves as it is:
      |0⟩──[u]─[g]──[u]── b             it joins three tensors or more

A controlled gate is a tensor (control, out, in) and CZ one of (qubit, qubit): the control's index
runs through, which keeps contractions small. A swap is no tensor at all, only another order of the
wires. Neighboring one-qubit gates are multiplied first. Indices are numbers, of dimension 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from autoray import do, get_namespace
from numpy.typing import NDArray

from ...circuits import Circuit
from ...measurements._pauli import PauliString
from .._slots import ZERO, gate_matrices
from ..mps._chain import Products, plan_products

#: A NumPy array or a torch tensor.
Array = Any

# Gates with angles that are diagonal whatever these are.
_DIAGONAL = {"rz", "p", "u1", "crz", "cp", "rzz"}


class Leg(NamedTuple):
    """A gate tensor on the wires of the network.

    Attributes:
        wires: The wires that it touches.
        moves: Whether it gives each wire a new index, (new, old), or leaves the index as it is.
    """

    wires: tuple[int, ...]
    moves: tuple[bool, ...]


class Network(NamedTuple):
    """Tensors and their indices.

    Attributes:
        tensors: For each tensor: a gate's number, with ~number for its conjugate, or the name of a
            constant.
        inputs: The indices of each.
        output: The indices that stay open.
    """

    tensors: tuple[int | str, ...]
    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]


@dataclass(frozen=True)
class CircuitNetwork:
    """The gate tensors of a circuit.

    Attributes:
        n_qubits: Number of qubits.
        gates: Where each tensor stands, in the order of the circuit.
        wire: The wire on which each qubit ends.
        ones: Products of neighboring one-qubit gates.
        tables: ``(numbers of the tensors, slots)`` for tensors of one shape; for one-qubit gates
            the slots are None and the matrices those of ``ones``.
    """

    n_qubits: int
    gates: tuple[Leg, ...]
    wire: tuple[int, ...]
    ones: Products | None
    tables: tuple[tuple[tuple[int, ...], NDArray[np.int64] | None], ...]

    def arrays(self, values: Array) -> list[Array]:
        """Return the gate tensors.

        Args:
            values: What stands in the slots of the circuit's gate matrices.

        Returns:
            An array of the same type for each gate tensor.
        """
        found: list[Array] = [None] * len(self.gates)
        for numbers, slots in self.tables:
            if slots is None:
                assert self.ones is not None  # as there are one-qubit gates
                batch = self.ones.of(values)
            else:
                batch = values[slots]
            for number, array in zip(numbers, batch, strict=True):
                is_vector = slots is None and not self.gates[number].moves[0]
                found[number] = do("diagonal", array) if is_vector else array
        return found

    def amplitudes(self, n_open: int, bits: Sequence[int]) -> Network:
        """Return the network of a block of amplitudes.

        Args:
            n_open: How many of the last qubits stay open.
            bits: The bits of all other qubits.
        """
        tracer = _Tracer(self.n_qubits)
        for number, leg in enumerate(self.gates):
            tracer.add(number, leg)
        for qubit, bit in enumerate(bits):
            tracer.constant(str(bit), (tracer.current[self.wire[qubit]],))
        for wire in range(self.n_qubits):
            tracer.constant("0", (tracer.first[wire],))
        opened = range(self.n_qubits - n_open, self.n_qubits)
        return tracer.network([tracer.current[self.wire[qubit]] for qubit in opened])

    def expectation(self, string: PauliString) -> Network:
        """Return the network of ⟨ψ|P|ψ⟩: the gates in the light cone of a Pauli string, twice.

        Args:
            string: The qubits of the string, each with its letter; at least one.
        """
        letters = {self.wire[qubit]: letter for qubit, letter in string}
        ket, bra, reached = self._twice(set(letters))
        same = {}
        for wire in reached:
            above, below = bra.current[wire], ket.current[wire]
            letter = letters.get(wire, "I")
            if letter in "XY":
                ket.constant(letter, (above, below))
                continue
            same[above] = below
            if letter == "Z":
                ket.constant("Z", (below,))
        return _joined(ket, bra, same, ())

    def density(self, qubits: Sequence[int]) -> Network:
        """Return the network of a reduced density matrix: the gates in its qubits' light cone.

        Args:
            qubits: Those that stay open: their rows, then their columns.
        """
        wires = [self.wire[qubit] for qubit in qubits]
        ket, bra, reached = self._twice(set(wires))
        same = {bra.current[wire]: ket.current[wire] for wire in reached if wire not in wires}
        output = [tracer.current[wire] for tracer in (ket, bra) for wire in wires]
        return _joined(ket, bra, same, output)

    def _twice(self, wires: set[int]) -> tuple[_Tracer, _Tracer, list[int]]:
        """Return the gates in the light cone of some wires, twice, and the wires in it."""
        reached, kept = set(wires), []
        for number in reversed(range(len(self.gates))):
            if reached & set(self.gates[number].wires):
                reached |= set(self.gates[number].wires)
                kept.append(number)
        kept.reverse()
        ket = _Tracer(self.n_qubits)
        for number in kept:
            ket.add(number, self.gates[number])
        bra = _Tracer(self.n_qubits, ket.next)
        for number in kept:
            bra.add(~number, self.gates[number])
        for wire in sorted(reached):
            ket.constant("0", (ket.first[wire],))
            bra.constant("0", (bra.first[wire],))
        return ket, bra, sorted(reached)


def _joined(ket: _Tracer, bra: _Tracer, same: dict[int, int], output: Sequence[int]) -> Network:
    """Return the network of both, in which indices of the second are those of the first."""
    inputs = [tuple(same.get(index, index) for index in legs) for legs in bra.inputs]
    return Network((*ket.tensors, *bra.tensors), (*ket.inputs, *inputs), tuple(output))


class _Tracer:
    """Follows the indices of the wires through the gates."""

    def __init__(self, n_wires: int, first: int = 0) -> None:
        self.first = list(range(first, first + n_wires))
        self.current = list(self.first)
        self.next = first + n_wires
        self.tensors: list[int | str] = []
        self.inputs: list[tuple[int, ...]] = []

    def add(self, tensor: int, leg: Leg) -> None:
        """Add a gate's tensor on the gate's wires."""
        indices: list[int] = []
        for wire, moves in zip(leg.wires, leg.moves, strict=True):
            old = self.current[wire]
            if moves:
                self.current[wire] = self.next
                self.next += 1
            indices += [self.current[wire], old] if moves else [old]
        self.tensors.append(tensor)
        self.inputs.append(tuple(indices))

    def constant(self, name: str, indices: tuple[int, ...]) -> None:
        """Add a constant tensor on the given indices."""
        self.tensors.append(name)
        self.inputs.append(indices)

    def network(self, output: Sequence[int]) -> Network:
        """Return the network of the tensors that were added."""
        return Network(tuple(self.tensors), tuple(self.inputs), tuple(output))


@lru_cache(maxsize=64)
def circuit_network(circuit: Circuit) -> CircuitNetwork:
    """Return the gate tensors of a circuit, made once for equal circuits.

    Args:
        circuit: The circuit.

    Example:
        >>> ghz = Circuit.builder(3).h(0).cx(0, 1).cx(1, 2).build()
        >>> [leg.wires for leg in circuit_network(ghz).gates]
        [(0,), (0, 1), (1, 2)]
    """
    all_slots = gate_matrices(circuit).slots
    wire = list(range(circuit.n_qubits))
    waiting: list[list[NDArray[np.int64]]] = [[] for _ in wire]
    gates: list[Leg] = []
    runs: list[list[NDArray[np.int64]]] = []
    run_numbers: list[int] = []
    tables: dict[tuple[int, ...], tuple[list[int], list[NDArray[np.int64]]]] = {}

    def flush(on: int) -> None:
        if waiting[on]:
            run_numbers.append(len(gates))
            gates.append(Leg((on,), (not all(map(_is_diagonal, waiting[on])),)))
            runs.append(waiting[on])
            waiting[on] = []

    for gate, slots in zip(circuit.gates, all_slots, strict=True):
        if gate.name == "swap":
            first, second = gate.qubits
            wire[first], wire[second] = wire[second], wire[first]
            continue
        if gate.name in _DIAGONAL:
            slots = np.where(np.eye(len(slots), dtype=bool), slots, ZERO)
        wires = tuple(wire[qubit] for qubit in gate.qubits)
        if len(wires) == 1:
            waiting[wires[0]].append(slots)
            continue
        moves, core = _core(slots)
        for on, moved in zip(wires, moves, strict=True):
            # What is diagonal may wait behind a gate that leaves this wire's index as it is.
            if moved or not all(map(_is_diagonal, waiting[on])):
                flush(on)
        numbers, cores = tables.setdefault(core.shape, ([], []))
        numbers.append(len(gates))
        cores.append(core)
        gates.append(Leg(wires, moves))
    for on in range(circuit.n_qubits):
        flush(on)
    shapes: list[tuple[tuple[int, ...], NDArray[np.int64] | None]] = [
        (tuple(numbers), np.array(cores)) for numbers, cores in tables.values()
    ]
    if runs:
        shapes.append((tuple(run_numbers), None))
    ones = plan_products(runs) if runs else None
    return CircuitNetwork(circuit.n_qubits, tuple(gates), tuple(wire), ones, tuple(shapes))


def _is_diagonal(slots: NDArray[np.int64]) -> bool:
    return bool(np.all(slots[~np.eye(len(slots), dtype=bool)] == ZERO))


def _core(slots: NDArray[np.int64]) -> tuple[tuple[bool, bool], NDArray[np.int64]]:
    """Return which wires of a two-qubit gate get a new index, and the slots of its tensor."""
    if _is_diagonal(slots):
        return (False, False), slots.diagonal().reshape(2, 2)
    four = slots.reshape(2, 2, 2, 2)
    if np.all(four[0, :, 1] == ZERO) and np.all(four[1, :, 0] == ZERO):  # [out, out, in, in]
        return (False, True), np.array([four[0, :, 0], four[1, :, 1]])
    return (True, True), four.transpose(0, 2, 1, 3)


def constants(like: Array) -> dict[str, Array]:
    """Return |0⟩, |1⟩ and the Pauli operators, of the type and on the device of another array.

    Z is a vector, since it leaves an index as it is.
    """
    namespace = get_namespace(like)
    zero, one = namespace.eye(2)
    return {
        "0": zero,
        "1": one,
        "X": namespace.stack((one, zero)),
        "Y": namespace.stack((-1j * one, 1j * zero)),
        "Z": zero - one,
    }
