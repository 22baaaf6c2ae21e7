"""The evolution of a state on the CPU: gates in sweeps over tiles that fit the cache.

Every gate here is a 2 × 2 matrix on one target qubit that may depend on one control. A sweep takes
as many gates as it can whose targets are among a few qubits, and stores the state in the order

    tile qubits  |  row qubits (all targets)  |  column qubits
    one by one      2**ROWS rows                 2**COLUMNS numbers in a run

so that each tile is loaded once, stays in the cache for all gates of the sweep, and every inner
loop runs over neighboring columns.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...circuits import Circuit
from .._slots import GateMatrices, gate_matrices
from ._evolve import Plan
from ._fusion import Group, block_slots, copies_of, group_gates, is_real
from ._sizes import PADDING, SQUARE
from ._steps import Walk

# A tile is 2**14 numbers; state and cotangent, 256 KB in complex64, stay in the second-level cache.
# Measured at 13, 16 and 19 qubits against 5 + 8, 6 + 6, 6 + 7, 6 + 8, 7 + 6, 7 + 8 and 8 + 6: flat.
ROWS, COLUMNS = 7, 7
# As many low qubits stay in the tile when the order changes, so that each cache line (16 floats)
# is loaded for one tile only.
_LINE = 4
# Fewer tiles than this are not worth waking a thread for.
_TILES_PER_THREAD = 2

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Sweep:
    """One pass over the state.

    Attributes:
        bases: Where each tile begins in the old order.
        far: Places of the tile's qubits that are more significant in the old order: in the state,
            relative to ``bases``, and in the tile, (…, 2).
        near: The same for the others.
        run: So many numbers from each such place on lie side by side in state and tile; 0 where a
            square of numbers is transposed on the way.
        square: Places of the rows of that square, (2, 8): in the state those of the lowest qubits
            of the tile, in the tile those of the lowest of the state.
        steps: One line for each gate: row bit, row mask, tile mask, column shift, matrix number.
    """

    bases: Integers
    far: Integers
    near: Integers
    run: int
    square: NDArray[np.uint64]
    steps: Integers


@dataclass(frozen=True)
class TilePlan(Plan):
    """The evolution of one circuit in sweeps; the last one restores the order of the qubits.

    Attributes:
        n_qubits: Number of qubits.
        n_rows: Rows of a tile.
        sweeps: The passes.
        gates: Values of all gates.
        slots: ``(depth, n_gates, control, 2, 2)``: the matrices whose product is each gate.
        copies: Where each parameterized entry stands in ``slots``.
        places: For each gate its control, if any, and its target.
        is_real: Whether every gate is a real matrix: then the state has no imaginary part, and all
            that would compute one is left out.
    """

    is_tangent: ClassVar[bool] = True

    n_qubits: int
    n_rows: int
    sweeps: tuple[Sweep, ...]
    gates: GateMatrices
    slots: Integers
    copies: Integers
    places: tuple[tuple[int, ...], ...]
    is_real: bool

    @cached_property
    def walk(self) -> Walk:
        """The plan's evolution, one matrix after another."""
        return Walk.over(self.places, self.n_qubits)

    @cached_property
    def tables(self) -> tuple[NDArray[Any], ...]:
        """All sweeps in the form that ``_kernels.forward`` takes."""

        def lines(name: str) -> list[Any]:
            return [getattr(sweep, name) for sweep in self.sweeps]

        joined = [lines("far"), lines("near"), lines("steps")]
        ends = np.stack([np.cumsum([len(part) for part in parts]) for parts in joined], 1)
        begins = np.concatenate((np.zeros_like(ends[:1]), ends[:-1]))
        far, near, steps = map(np.concatenate, joined)
        bases, runs, squares = np.stack(lines("bases")), np.array(lines("run")), lines("square")
        bounds = np.concatenate((begins, ends), 1)
        return bases, far, near, runs, np.stack(squares), steps, bounds

    def forward(self, matrices: Tensor) -> Tensor:
        """Return the amplitudes that the gates make of |0…0⟩."""
        return self.evolved(_array(matrices))

    def evolved(self, matrices: NDArray[Any]) -> Tensor:
        """Return the amplitudes that ``(batch, n, control, 2, 2)`` matrices make of |0…0⟩."""
        pairs = self._numbers(matrices)

        def one(number: int, n_threads: int) -> NDArray[Any]:
            planes = (1 if self.is_real else 2, 2**self.n_qubits)
            states = np.zeros(planes, pairs.dtype), np.empty(planes, pairs.dtype)
            states[0][0, 0] = 1
            self._run(*states, pairs[number], n_threads)
            return states[len(self.sweeps) % 2]

        parts = _stacked(each_state(one, len(pairs)))
        if self.is_real:
            return parts[:, 0].to(parts.dtype.to_complex())
        return torch.complex(parts[:, 0], parts[:, 1])

    def backward(self, matrices: Tensor, amplitudes: Tensor, grad: Tensor) -> Tensor:
        """Return the gradient of the matrices, undoing them on state and cotangent together.

        Unitary matrices U change along A·U with A anti-Hermitian only, so of the gradient's factor
        K = cotangent · state†, both after the gate, the anti-Hermitian part is enough.
        """
        sums = self.undone(_array(matrices.mH), amplitudes, grad)
        first, last, real, imaginary = np.moveaxis(sums, -1, 0)
        corner = (real + 1j * imaginary) / 2
        tangent = np.stack((1j * first, corner, -corner.conj(), 1j * last), -1)
        return torch.from_numpy(tangent).view(matrices.shape).to(matrices.dtype) @ matrices

    def undone(self, matrices: NDArray[Any], amplitudes: Tensor, grad: Tensor) -> NDArray[Any]:
        """Return the anti-Hermitian part of K at each matrix.

        Args:
            matrices: Inverses, ``(batch, n, control, 2, 2)``.
            amplitudes: The states that :meth:`evolved` made, ``(batch, 2**N)``.
            grad: Their cotangents.

        Returns:
            Im K00, Im K11 and both parts of K01 − conj(K10): ``(batch, n, control, 4)``.
        """
        undo = self._numbers(matrices)
        both = torch.stack((amplitudes, grad), 1).resolve_conj()
        parts = both.real if self.is_real else torch.view_as_real(both).movedim(-1, 2).flatten(1, 2)
        states = parts.contiguous().numpy()

        def one(number: int, n_threads: int) -> NDArray[Any]:
            new = states[number]
            grads = np.zeros((n_threads, *undo.shape[1:3], 4))
            self._run(np.empty_like(new), new, undo[number], n_threads, grads)
            summed: NDArray[Any] = grads.sum(0)
            return summed

        return np.stack(each_state(one, len(undo)))

    def _run(
        self,
        old: NDArray[Any],
        new: NDArray[Any],
        matrices: NDArray[Any],
        n_threads: int,
        grads: NDArray[Any] | None = None,
    ) -> None:
        """Run all sweeps, back where there are ``grads``, on as many threads as they are worth."""
        from . import _kernels

        imaginary = None if self.is_real else 1
        given = (old, new, self.tables, matrices, self.n_rows, imaginary)
        n_threads = _n_threads(n_threads, len(self.sweeps[0].bases))
        if n_threads > 1:
            with _THREADS:
                if grads is None:
                    _kernels.forward_parallel(*given, n_threads)
                else:
                    _kernels.back_parallel(*given, grads, n_threads)
        elif grads is None:
            _kernels.forward(*given)
        else:
            _kernels.back(*given, grads)

    def _numbers(self, matrices: NDArray[Any]) -> NDArray[Any]:
        """Return (batch, n, control, 2, 2) matrices as 8 real numbers each; 4 if all are real."""
        shape = (*matrices.shape[:3], 4 if self.is_real else 8)  # not −1: there may be no gate
        parts = matrices.real if self.is_real else matrices.view(matrices.real.dtype)
        return np.ascontiguousarray(parts.reshape(shape))


def _array(matrices: Tensor) -> NDArray[Any]:
    made: NDArray[Any] = matrices.detach().resolve_conj().contiguous().numpy()
    return made


def _stacked(states: Sequence[NDArray[Any]]) -> Tensor:
    """Return states as one tensor, ``(batch, …)``; one state alone is not copied."""
    return torch.from_numpy(states[0][None] if len(states) == 1 else np.stack(states))


_T = TypeVar("_T")


def each_state(work: Callable[[int, int], _T], n_states: int) -> list[_T]:
    """Call compiled work for each state of a batch, on as many threads as torch uses.

    Args:
        work: Takes the number of a state, and how many threads it may use itself.
        n_states: How many states.

    Returns:
        What the work returned, in order.
    """
    n_threads = torch.get_num_threads()
    if n_threads == 1 or n_states < n_threads:
        return [work(number, n_threads) for number in range(n_states)]
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(work, range(n_states), [1] * n_states))


# numba's threads take one task at a time, and a forked process has none of its parent's: what
# follows is of the process that imported this module, and no other takes the lock.
_THREADS = threading.Lock()
_PROCESS = os.getpid()


def _n_threads(most: int, n_tiles: int) -> int:
    import numba

    wanted = min(most, n_tiles // _TILES_PER_THREAD)
    if wanted <= 1 or os.getpid() != _PROCESS:
        return 1
    threads = torch.get_num_threads()
    available = numba.get_num_threads()
    # When numba starts its OpenMP threads, it sets the number of those of the whole process.
    torch.set_num_threads(threads)
    return min(wanted, available)


@lru_cache(maxsize=64)
def tile_plan(circuit: Circuit) -> TilePlan:
    """Return the evolution of a circuit in sweeps, made once for equal circuits."""
    circuit = _without_swaps(circuit)
    n_qubits = circuit.n_qubits
    n_rows = min(ROWS, (n_qubits + 1) // 2)
    groups = group_gates(circuit, 1)
    roles = [_roles(group, n_qubits) for group in groups]
    targets, controls = [target for target, _ in roles], [control for _, control in roles]
    layout, sweeps = tuple(range(n_qubits)), []
    left = list(range(len(groups)))
    while left:
        taken, left = _take(left, targets, controls, n_rows)
        new = _layout(layout, taken, left, targets, controls, n_rows)
        steps = [_step(new, n_rows, targets[i], controls[i], i) for i in taken]
        sweeps.append(_sweep(layout, new, n_rows, steps))
        layout = new
    sweeps.append(_sweep(layout, tuple(range(n_qubits)), n_rows, []))
    placed = [(*control, target) for control, target in zip(controls, targets, strict=True)]
    slots = block_slots(circuit, groups, placed, 1, n_qubits > 1)
    return TilePlan(
        n_qubits,
        2**n_rows,
        tuple(sweeps),
        gate_matrices(circuit),
        slots,
        copies_of(circuit, slots),
        tuple(placed),
        all(is_real(gate.name) for gate in circuit.gates),
    )


def _without_swaps(circuit: Circuit) -> Circuit:
    """Return the circuit with each swap replaced by three CX, which have one target each."""
    if all(gate.name != "swap" for gate in circuit.gates):
        return circuit
    gates = []
    for gate in circuit.gates:
        a, b = gate.qubits[0], gate.qubits[-1]
        if gate.name == "swap":
            gates += [type(gate)("cx", pair) for pair in ((a, b), (b, a), (a, b))]
        else:
            gates.append(gate)
    return Circuit(circuit.n_qubits, tuple(gates), circuit.n_angles)


def _roles(group: Group, n_qubits: int) -> tuple[int, tuple[int, ...]]:
    """Return a gate's target and control; where the gate has no such qubit, any other one."""
    if n_qubits == 1:
        return 0, ()
    if not group.targets:  # diagonal on one qubit
        return int(group.control == 0), (min(group.diagonal),)
    (target,) = group.targets
    return target, (int(target == 0) if group.control is None else group.control,)


def _take(
    left: Sequence[int], targets: Sequence[int], controls: Sequence[tuple[int, ...]], n_rows: int
) -> tuple[list[int], list[int]]:
    """Return the gates for one sweep, chosen greedily while rows are left, and the rest."""
    taken, kept = list[int](), list[int]()
    rows, blocked = set[int](), set[int]()
    for number in left:
        qubits = {targets[number], *controls[number]}
        if not blocked & qubits and len(rows | {targets[number]}) <= n_rows:
            rows.add(targets[number])
            taken.append(number)
        else:
            blocked |= qubits
            kept.append(number)
    return taken, kept


def _layout(
    old: tuple[int, ...],
    taken: Sequence[int],
    left: Sequence[int],
    targets: Sequence[int],
    controls: Sequence[tuple[int, ...]],
    n_rows: int,
) -> tuple[int, ...]:
    """Return the qubits' order in memory; rows left over go to the qubits needed soonest."""
    next_use = dict.fromkeys(old, len(left))
    for place, number in reversed(list(enumerate(left))):
        next_use[targets[number]] = place
    rows = sorted({targets[number] for number in taken})
    others = sorted((q for q in old if q not in rows), key=lambda q: next_use[q])
    rows, others = rows + others[: n_rows - len(rows)], others[n_rows - len(rows) :]
    columns = old[len(old) - COLUMNS :] if len(old) > n_rows + COLUMNS else old
    kept = [q for q in columns if q in others]
    if len(kept) < len(columns):  # some are targets now: the rest only where cache lines need it
        kept = [q for q in old[-_LINE:] if q in others]
    free = [q for q in others if q not in kept]
    outside = {q for number in taken for q in controls[number]}
    free.sort(key=lambda q: q not in outside)
    rest = free + kept
    n_tile = max(0, len(rest) - COLUMNS)
    lowest = rest[n_tile:]
    if len(kept) < _LINE:  # nothing is copied in long runs: those needed last come lowest
        lowest.sort(key=lambda q: (q not in outside, q not in old[-SQUARE:], next_use[q]))
    return (*rest[:n_tile], *rows, *lowest)


def _step(
    layout: tuple[int, ...], n_rows: int, target: int, control: tuple[int, ...], number: int
) -> tuple[int, ...]:
    n_columns = min(COLUMNS, len(layout) - n_rows)
    places = {qubit: len(layout) - 1 - place for place, qubit in enumerate(layout)}
    row_mask, tile_mask, shift = 0, 0, -1
    for qubit in control:
        if places[qubit] >= n_columns + n_rows:
            tile_mask = 2 ** (places[qubit] - n_columns - n_rows)
        elif places[qubit] >= n_columns:
            row_mask = 2 ** (places[qubit] - n_columns)
        else:
            shift = places[qubit]
    return places[target] - n_columns, row_mask, tile_mask, shift, number


def _sweep(
    old: tuple[int, ...], new: tuple[int, ...], n_rows: int, steps: Sequence[tuple[int, ...]]
) -> Sweep:
    n_columns = min(COLUMNS, len(new) - n_rows)
    n_tile = len(new) - n_rows - n_columns
    in_state = {q: 2 ** (len(old) - 1 - place) for place, q in enumerate(old)}
    in_tile = {q: 2 ** (len(new) - 1 - place) for place, q in enumerate(new)}
    for qubit in new[n_tile : n_tile + n_rows]:
        in_tile[qubit] += in_tile[qubit] // 2**n_columns * PADDING

    def places(qubits: Sequence[int]) -> Integers:
        return np.stack([_sums([of[q] for q in qubits]) for of in (in_state, in_tile)], 1)

    stays = n_columns >= _LINE and new[-_LINE:] == old[-_LINE:]
    below, below_to = old[-SQUARE:], new[-SQUARE:]
    turns = n_columns >= SQUARE and not stays
    turns = turns and not set(below) & set(below_to) and set(below) <= set(new[n_tile:])
    together = set(new[-_LINE:]) if stays else {*below, *below_to} if turns else set[int]()
    others = sorted((q for q in new[n_tile:] if q not in together), key=old.index)
    square = np.zeros((2, 2**SQUARE))
    if turns:
        square = np.stack((places(below_to)[:, 0], places(below)[:, 1]))
    return Sweep(
        bases=_sums([in_state[q] for q in new[:n_tile]]),
        far=places(others[: len(others) // 2]),
        near=places(others[len(others) // 2 :]),
        run=2**_LINE if stays else int(not turns),
        square=square.astype(np.uint64),
        steps=np.array(steps, dtype=np.int64).reshape(-1, 5),
    )


def _sums(strides: Sequence[int]) -> Integers:
    """Return the positions of all values of some qubits, the first qubit most significant."""
    sums = np.zeros(1, dtype=np.int64)
    for stride in strides:
        sums = (sums[:, None] + np.array([0, stride])).ravel()
    return sums
