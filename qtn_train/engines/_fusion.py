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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from ..circuits import GATES, Circuit
from ._matrices import ONE, ZERO, gate_matrices

# Past this many gates a block is closed, so that one deep block does not pad all others.
_MAX_GATES = 24
# Estimated times, in milliseconds for 2**20 numbers (measured, complex64, one core; only their
# ratios matter): a product by the log2 of its tail, a move by the log2 of the run that stays in
# place, and what one call costs, times the number of amplitudes.
_PRODUCT_TIME = (9.7, 8.0, 6.0, 3.4, 2.4, 2.4, 2.4, 2.2, 1.8, 1.4)
_MOVE_TIME = (3.0, 2.2, 2.0, 1.3, 0.9, 0.5)
_CALL_TIME = 0.01 * 2**20
_BEAM = 8
_KEPT_TAILS = (0, 2, 3, 4, 5, 6, 8)


@dataclass(frozen=True)
class Move:
    """A permutation of the qubits in memory, with those that stay together taken as one axis.

    Attributes:
        shape: How to view a state first.
        axes: How to permute these axes then.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @staticmethod
    def of(order: Sequence[int]) -> Move:
        """Return the move after which position j holds the qubit that was at ``order[j]``."""
        runs: list[list[int]] = []
        for position in order:
            if runs and runs[-1][-1] + 1 == position:
                runs[-1].append(position)
            else:
                runs.append([position])
        by_start = sorted(range(len(runs)), key=lambda number: runs[number][0])
        shape = tuple(2 ** len(runs[number]) for number in by_start)
        return Move(shape, tuple(by_start.index(number) for number in range(len(runs))))

    @cached_property
    def inverse(self) -> Move:
        """The move back."""
        back = tuple(self.axes.index(axis) for axis in range(len(self.axes)))
        return Move(tuple(self.shape[axis] for axis in self.axes), back)


@dataclass(frozen=True)
class Block:
    """One step of the evolution.

    Attributes:
        move: How to permute the state first, or None.
        outer: Product of the dimensions before the control.
        inner: Product of the dimensions between the control and the targets.
        tail: Product of the dimensions after the targets.
    """

    move: Move | None
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
        restore: The move that brings the last state back to the order of the qubits.
    """

    n_qubits: int
    control: int
    target: int
    blocks: tuple[Block, ...]
    slots: NDArray[np.int64]
    copies: NDArray[np.int64]
    restore: Move


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
    route = _route(groups, circuit.n_qubits, size)
    placed = [qubits for _, qubits in route.blocks]
    slots = _block_slots(circuit, groups, placed, size, has_control)
    return Plan(
        n_qubits=circuit.n_qubits,
        control=2 if has_control else 1,
        target=2**size,
        blocks=tuple(block for block, _ in route.blocks),
        slots=slots,
        copies=_copies(circuit, slots),
        restore=Move.of([route.layout.index(qubit) for qubit in range(circuit.n_qubits)]),
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


@dataclass(frozen=True)
class _Route:
    """The orders in memory of the blocks so far, and their estimated time."""

    cost: float
    layout: tuple[int, ...]
    blocks: tuple[tuple[Block, tuple[int, ...]], ...]


def _route(groups: Sequence[_Group], n_qubits: int, size: int) -> _Route:
    """Choose the order in memory of each block by a beam search over estimated times."""
    uses = _next_uses(groups, n_qubits)
    beam = [_Route(0.0, tuple(range(n_qubits)), ())]
    for group, next_uses in zip(groups, uses, strict=True):
        best: dict[tuple[int, ...], _Route] = {}
        for route in beam:
            for step in _steps(route, group, size, next_uses):
                if step.layout not in best or step.cost < best[step.layout].cost:
                    best[step.layout] = step
        beam = sorted(best.values(), key=lambda step: step.cost)[:_BEAM]
    return beam[0]


def _steps(route: _Route, group: _Group, size: int, uses: list[int]) -> Iterator[_Route]:
    """All ways to do a block next: where the state lies, or moved, with some of its tail kept."""
    layout = route.layout
    n_control = int(len(layout) > size)
    for first in range(n_control, len(layout) - size + 1):
        targets = layout[first : first + size]
        control = layout[first - 1 : first] if group.control is None else (group.control,)
        if group.targets <= set(targets) and (not n_control or control[0] in layout[:first]):
            yield _extend(route, layout, None, control[:n_control], targets)
    spare = [q for q in layout if q not in group.full | group.diagonal]
    spare.sort(key=lambda qubit: uses[qubit])
    for kept in _KEPT_TAILS:
        tail = layout[len(layout) - kept :]
        if any(qubit not in spare for qubit in tail):
            break
        free = [qubit for qubit in spare if qubit not in tail]
        own = tuple(sorted(group.targets))
        n_more = size - len(own) + int(n_control and group.control is None)
        if n_more > len(free):
            break
        more = tuple(free[:n_more])
        control = () if group.control is None else (group.control,)
        if n_control and not control:
            control, more = more[-1:], more[:-1]
        targets = own + more
        new = (*control, *targets, *free[n_more:], *tail)
        yield _extend(route, new, tuple(layout.index(qubit) for qubit in new), control, targets)


def _extend(
    route: _Route,
    layout: tuple[int, ...],
    move: tuple[int, ...] | None,
    control: tuple[int, ...],
    targets: tuple[int, ...],
) -> _Route:
    first = layout.index(targets[0])
    before = layout.index(control[0]) if control else 0
    tail = len(layout) - first - len(targets)
    block = Block(
        None if move is None else Move.of(move),
        2**before,
        2 ** (first - before - len(control)),
        2**tail,
    )
    cost = route.cost + _PRODUCT_TIME[min(tail, len(_PRODUCT_TIME) - 1)]
    if move is not None:
        run = 0
        while run < len(layout) and move[-1 - run] == len(layout) - 1 - run:
            run += 1
        cost += _MOVE_TIME[min(run, len(_MOVE_TIME) - 1)] + _CALL_TIME / 2 ** len(layout)
    return _Route(cost, layout, (*route.blocks, (block, (*control, *targets))))


def _block_slots(
    circuit: Circuit,
    groups: Sequence[_Group],
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
