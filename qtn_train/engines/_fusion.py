"""Which gates go together into one block, and in which memory order the state meets it.

A block is a matrix on k qubits that may depend on the value of one more, its control:

    state, as (outer, control, inner, target, tail)
                         │               │
                block[control, target', target]        one batched matrix product

A controlled gate into a window of k qubits thus costs no more arithmetic than the window itself.
The order of the qubits in memory is planned with the blocks: while a block's targets lie side by
side the state stays as it is, and when it must be moved, the qubits needed soonest go first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..circuits import GATES, Circuit
from ._matrices import ONE, ZERO, gate_matrices

# Past this many gates a block is closed, so that one deep block does not pad all others.
_MAX_GATES = 24
# Below 2**_MIN_TAIL numbers side by side, small matrix products cost more than moving the state.
_MIN_TAIL = 5


@dataclass(frozen=True)
class Block:
    """One step of the evolution.

    Attributes:
        move: Axes to permute the state by first, or None.
        outer: Product of the dimensions before the control.
        inner: Product of the dimensions between the control and the targets.
        tail: Product of the dimensions after the targets.
    """

    move: tuple[int, ...] | None
    outer: int
    inner: int
    tail: int


@dataclass(frozen=True)
class Plan:
    """The evolution of one circuit.

    Attributes:
        n_qubits: Number of qubits.
        control: Dimension of a block's control, 2, or 1 where the targets are all qubits.
        target: Dimension 2**k of a block's targets.
        blocks: The steps.
        slots: ``(steps, n_blocks, control, target, target)``: the matrices whose product, first
            step first, is each block.
        copies: ``(n_entries, copies)``: where each parameterized entry stands in ``slots``, filled
            up with ``slots.size``.
        restore: The axes that bring the last state back to the order of the qubits.
    """

    n_qubits: int
    control: int
    target: int
    blocks: tuple[Block, ...]
    slots: NDArray[np.int64]
    copies: NDArray[np.int64]
    restore: tuple[int, ...]


@dataclass
class _Group:
    """Gates that go into one block; a qubit on which all of them are diagonal may control it."""

    gates: list[int]
    full: set[int]
    diagonal: set[int]

    def with_(self, other: _Group) -> _Group:
        full = self.full | other.full
        return _Group(self.gates + other.gates, full, (self.diagonal | other.diagonal) - full)

    def fits(self, size: int) -> bool:
        n_target = len(self.full) + max(0, len(self.diagonal) - 1)
        return n_target <= size and len(self.gates) <= _MAX_GATES

    @property
    def control(self) -> int | None:
        return min(self.diagonal, default=None)

    @property
    def targets(self) -> set[int]:
        return (self.full | self.diagonal) - {self.control}


@lru_cache(maxsize=64)
def plan(circuit: Circuit, size: int) -> Plan:
    """Return the evolution of a circuit in blocks.

    Args:
        circuit: The circuit.
        size: Number k of target qubits in a block.

    Returns:
        The plan, made once for equal circuits.
    """
    size = min(size, circuit.n_qubits)
    groups = _group(circuit, size)
    has_control = circuit.n_qubits > size
    if not has_control:  # every qubit is a target, be the gates on it diagonal or not
        groups = [_Group(group.gates, group.full | group.diagonal, set()) for group in groups]
    uses = _next_uses(groups, circuit.n_qubits)
    layout = list(range(circuit.n_qubits))
    blocks, placed = [], []
    for number, group in enumerate(groups):
        layout, block, qubits = _place(group, layout, size, has_control, uses[number])
        blocks.append(block)
        placed.append(qubits)
    slots = _block_slots(circuit, groups, placed, size, has_control)
    return Plan(
        n_qubits=circuit.n_qubits,
        control=2 if has_control else 1,
        target=2**size,
        blocks=tuple(blocks),
        slots=slots,
        copies=_copies(circuit, slots),
        restore=tuple(layout.index(qubit) for qubit in range(circuit.n_qubits)),
    )


@lru_cache(maxsize=64)
def _diagonal_on(name: str) -> tuple[bool, ...]:
    """For each of a gate's qubits, whether its matrix is diagonal there for all angles."""
    spec = GATES[name]
    matrix = spec.matrix(*(0.3 + 0.4 * i for i in range(spec.n_angles)))
    bits = [(np.arange(len(matrix)) >> (spec.n_qubits - 1 - i)) & 1 for i in range(spec.n_qubits)]
    return tuple(bool(np.all(matrix[b[:, None] != b[None, :]] == 0)) for b in bits)


def _single(circuit: Circuit, index: int) -> _Group:
    gate = circuit.gates[index]
    kinds = dict(zip(gate.qubits, _diagonal_on(gate.name), strict=True))
    diagonal = {qubit for qubit, is_diagonal in kinds.items() if is_diagonal}
    return _Group([index], set(gate.qubits) - diagonal, diagonal)


def _units(circuit: Circuit) -> list[_Group]:
    """Join one-qubit gates to two-qubit gates beside them, best to those not widened by it."""
    units: list[_Group] = []
    last: dict[int, int] = {}
    waiting: dict[int, _Group] = {}
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
                unit = waiting.pop(qubit).with_(unit)
            last[qubit] = len(units)
        units.append(unit)
    return units + list(waiting.values())


def _group(circuit: Circuit, size: int) -> list[_Group]:
    """Greedy: a block starts with the first unit left and takes every later one that fits."""
    left = _units(circuit)
    groups = []
    while left:
        group, left = left[0], left[1:]
        blocked, kept = set[int](), list[_Group]()
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


def _next_uses(groups: Sequence[_Group], n_qubits: int) -> list[list[int]]:
    """For each block and qubit, the number of the next block after it that uses the qubit."""
    nearest = [len(groups)] * n_qubits
    uses = []
    for number in reversed(range(len(groups))):
        uses.append(nearest.copy())
        group = groups[number]
        for qubit in group.full | group.diagonal:
            nearest[qubit] = number
    return uses[::-1]


def _place(
    group: _Group, layout: list[int], size: int, has_control: bool, uses: list[int]
) -> tuple[list[int], Block, list[int]]:
    """Return the order in memory during a block, the block, and its qubits, control first."""
    spare = [q for q in layout if q not in group.full | group.diagonal]
    stay = _side_by_side(group, layout, size, has_control)
    if stay is None:
        spare.sort(key=lambda qubit: (uses[qubit], qubit))
        full = sorted(group.targets)
        while len(full) < size:
            full.append(spare.pop(0))
        control = [group.control] if group.control is not None else []
        if has_control and not control:
            control = [spare.pop(0)]
        new = [*control, *full, *spare]
        move = tuple(layout.index(qubit) for qubit in new)
        first = len(control)
    else:
        new, first, control = layout, *stay
        move = None
    before = new.index(control[0]) if control else 0
    inner = first - before - len(control)
    block = Block(move, 2**before, 2**inner, 2 ** (len(new) - first - size))
    return new, block, [*control, *new[first : first + size]]


def _side_by_side(
    group: _Group, layout: list[int], size: int, has_control: bool
) -> tuple[int, list[int]] | None:
    """Where the targets begin and which qubit controls, if the state can stay as it is."""
    where = [layout.index(qubit) for qubit in group.targets]
    last = len(layout) - size
    for first in range(max(0, max(where, default=0) - size + 1), min([*where, last]) + 1):
        tail = last - first
        if group.control is not None and layout.index(group.control) >= first:
            continue
        if has_control and first == 0:
            continue
        if tail >= min(_MIN_TAIL, last):
            return first, [group.control if group.control is not None else layout[first - 1]][
                : int(has_control)
            ]
    return None


def _block_slots(
    circuit: Circuit,
    groups: Sequence[_Group],
    placed: Sequence[list[int]],
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
    """Row and column of a gate's matrix at each place of a block, and where it can be non-zero."""
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


def _copies(circuit: Circuit, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Invert the table of slots, so that its backward pass gathers and never scatters."""
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
