"""Groups of gates that are multiplied into one matrix, and the table that builds all matrices.

A group acts on a few target qubits and may depend on the value of one more, its control: then it is
a pair of matrices. A controlled gate into a window of k qubits thus costs no more arithmetic than
the window itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...circuits import GATES, Circuit
from .._slots import ONE, ZERO, gate_matrices

# Past this many gates a group is closed, so that one deep group does not pad all others.
_MAX_GATES = 24


@dataclass
class Group:
    """Gates that go into one block; a qubit on which all of them are diagonal may control it."""

    gates: list[int]
    full: set[int]
    diagonal: set[int]

    def with_(self, other: Group) -> Group:
        full = self.full | other.full
        return Group(self.gates + other.gates, full, (self.diagonal | other.diagonal) - full)

    def fits(self, size: int) -> bool:
        n_target = len(self.full) + max(0, len(self.diagonal) - 1)
        return n_target <= size and len(self.gates) <= _MAX_GATES

    @property
    def control(self) -> int | None:
        return min(self.diagonal, default=None)

    @property
    def targets(self) -> set[int]:
        return (self.full | self.diagonal) - {self.control}


def _generic(name: str) -> NDArray[np.complex128]:
    """Return a gate's matrix at angles where no entry is zero or real by chance."""
    spec = GATES[name]
    return spec.matrix(*(0.3 + 0.4 * i for i in range(spec.n_angles)))


@lru_cache(maxsize=64)
def is_real(name: str) -> bool:
    """Return whether a gate's matrix is real for all angles."""
    return not bool(_generic(name).imag.any())


@lru_cache(maxsize=64)
def _diagonal_on(name: str) -> tuple[bool, ...]:
    """Return for each of a gate's qubits whether the matrix is diagonal there for all angles."""
    spec, matrix = GATES[name], _generic(name)
    bits = [(np.arange(len(matrix)) >> (spec.n_qubits - 1 - i)) & 1 for i in range(spec.n_qubits)]
    return tuple(bool(np.all(matrix[b[:, None] != b[None, :]] == 0)) for b in bits)


def _single(circuit: Circuit, index: int) -> Group:
    gate = circuit.gates[index]
    kinds = dict(zip(gate.qubits, _diagonal_on(gate.name), strict=True))
    diagonal = {qubit for qubit, is_diagonal in kinds.items() if is_diagonal}
    return Group([index], set(gate.qubits) - diagonal, diagonal)


def _units(circuit: Circuit, size: int) -> list[Group]:
    """Join one-qubit gates to neighboring two-qubit gates, preferably without widening one."""
    units: list[Group] = []
    last: dict[int, int] = {}
    waiting: dict[int, Group] = {}
    for index, gate in enumerate(circuit.gates):
        unit = _single(circuit, index)
        if len(gate.qubits) == 1:
            (qubit,) = gate.qubits
            before = units[last[qubit]] if qubit in last else None
            if before is not None and qubit not in waiting and unit.full <= before.full:
                units[last[qubit]] = before.with_(unit)
            else:
                waiting[qubit] = waiting[qubit].with_(unit) if qubit in waiting else unit
            continue
        for qubit in gate.qubits:
            if qubit in waiting:
                joined = waiting[qubit].with_(unit)
                if joined.fits(size):
                    unit = joined
                else:
                    units.append(waiting[qubit])
                del waiting[qubit]
        last.update(dict.fromkeys(gate.qubits, len(units)))
        units.append(unit)
    return units + list(waiting.values())


def group_gates(circuit: Circuit, size: int) -> list[Group]:
    """Group gates greedily: a block takes the first unit left and each later one that fits."""
    left = _units(circuit, size)
    groups = []
    while left:
        group, left = left[0], left[1:]
        blocked, kept = set[int](), list[Group]()
        for position, unit in enumerate(left):
            qubits = unit.full | unit.diagonal
            joined = group.with_(unit)
            if not blocked & qubits and joined.fits(size):
                group = joined
            else:
                blocked |= qubits
                kept.append(unit)
                if len(blocked) == circuit.n_qubits:
                    kept.extend(left[position + 1 :])
                    break
        groups.append(group)
        left = kept
    return groups


def block_slots(
    circuit: Circuit,
    groups: Sequence[Group],
    placed: Sequence[tuple[int, ...]],
    size: int,
    has_control: bool,
) -> NDArray[np.int64]:
    dim = 2**size
    steps = max((len(group.gates) for group in groups), default=0)
    slots = np.full((steps, len(groups), 1 + has_control, dim, dim), ZERO)
    slots[..., np.arange(dim), np.arange(dim)] = ONE
    matrices = gate_matrices(circuit)
    for number, (group, qubits) in enumerate(zip(groups, placed, strict=True)):
        for step, index in enumerate(group.gates):
            local = tuple(qubits.index(qubit) for qubit in circuit.gates[index].qubits)
            rows, columns, inside = _embedding(local, size, has_control)
            slots[step, number] = np.where(inside, matrices.slots[index][rows, columns], ZERO)
    return slots


@lru_cache(maxsize=1024)
def _embedding(
    local: tuple[int, ...], size: int, has_control: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return a gate matrix's row and column at each entry of a block, and which can be non-zero."""
    n_local = size + has_control
    values = np.arange(2**n_local)
    bits = np.stack([(values >> (n_local - 1 - i)) & 1 for i in range(n_local)])
    own = np.zeros_like(values)
    for position in local:
        own = own * 2 + bits[position]
    others = [i for i in range(n_local) if i not in local]
    rest = (bits[others] * (2 ** np.arange(len(others)))[:, None]).sum(0)
    shape = (1 + has_control, 2**size)
    own, rest = own.reshape(shape), rest.reshape(shape)
    inside = rest[:, :, None] == rest[:, None, :]
    rows = np.broadcast_to(own[:, :, None], inside.shape)
    columns = np.broadcast_to(own[:, None, :], inside.shape)
    return rows, columns, inside


def copies_of(circuit: Circuit, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, for each parameterized entry, its places in the table of slots.

    With these the gradient of an entry is a sum over given places: a gather, which adds in a fixed
    order, in place of a scatter.
    """
    matrices = gate_matrices(circuit)
    n_entries = 4 * matrices.n_parameterized
    flat = slots.ravel()
    places = np.flatnonzero(flat >= matrices.n_constants)
    entries = flat[places] - matrices.n_constants
    order = np.argsort(entries, kind="stable")
    places, entries = places[order], entries[order]
    counts = np.bincount(entries, minlength=n_entries)
    copies = np.full((n_entries, counts.max(initial=1)), slots.size)
    rank = np.arange(len(entries)) - np.repeat(np.cumsum(counts) - counts, counts)
    copies[entries, rank] = places
    return copies
