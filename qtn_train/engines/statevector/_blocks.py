"""How an accelerator goes through a state: few, large batched matrix products.

    state, as (outer, control, inner, target, tail)
                         │               │
                block[control, target', target]        one batched matrix product

While a block's targets lie side by side in memory the state stays as it is; else the qubits are
permuted first, and those needed soonest come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...circuits import Circuit
from .._slots import GateMatrices, gate_matrices
from ._fusion import Group, block_slots, copies_of, group_gates

# Target qubits of a block; with its control it spans one more.
BLOCK_SIZE = 3


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

    def __call__(self, states: Tensor) -> Tensor:
        """Permute the qubits of each of several states; the result is a view."""
        axes = (0, *(axis + 1 for axis in self.axes))
        return states.view(len(states), *self.shape).permute(axes)


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
class BlockPlan:
    """The evolution of one circuit in blocks.

    Attributes:
        n_qubits: Number of qubits.
        blocks: The steps.
        restore: The move that brings the last state back to the order of the qubits.
        gates: Values of all gates.
        slots: ``(depth, n_blocks, control, target, target)``: the matrices whose product, first
            one first, is each block.
        copies: Where each parameterized entry stands in ``slots``.
    """

    n_qubits: int
    blocks: tuple[Block, ...]
    restore: Move
    gates: GateMatrices
    slots: NDArray[np.int64]
    copies: NDArray[np.int64]

    def forward(self, matrices: Tensor) -> Tensor:
        """Return the amplitudes that the blocks make of |0…0⟩."""
        states = _States(matrices.new_zeros((1, 2**self.n_qubits)))
        states.now[0, 0] = 1
        for matrix, block in zip(matrices.unsqueeze(1), self.blocks, strict=True):
            states.move(block.move)
            states.multiply(matrix, block)
        return self.restore(states.now).reshape(-1)

    def backward(self, matrices: Tensor, amplitudes: Tensor, grad: Tensor) -> Tensor:
        """Return the gradient of the blocks, undoing them on state and cotangent together."""
        # The conjugate of the cotangent goes along: then no product below needs a conjugated copy.
        both = self.restore.inverse(torch.stack((amplitudes, grad.conj())))
        states = _States(both.reshape(2, -1))
        undo = torch.stack((matrices.mH, matrices.mT), 1)
        grads = torch.empty_like(matrices)
        for block, matrix, out in zip(
            reversed(self.blocks), reversed(undo.unbind()), reversed(grads.unbind()), strict=True
        ):
            states.multiply(matrix, block)
            _outer(states.before[1], states.now[0], block, out)
            states.move(None if block.move is None else block.move.inverse)
        return grads.conj()


class _States:
    """One or two states in two buffers: each step reads the one and writes the other."""

    def __init__(self, states: Tensor) -> None:
        self.now = states
        self.before = torch.empty_like(states)

    def multiply(self, matrices: Tensor, block: Block) -> None:
        """Multiply (n, outer, control, inner, target, tail) by (n, control, target, target)."""
        n, control, target = matrices.shape[:3]
        if block.outer * block.inner > 1:
            matrices = matrices[:, None, :, None].expand(
                n, block.outer, control, block.inner, target, target
            )
        shape = (-1, target, block.tail)
        self.now, self.before = self.before, self.now
        torch.bmm(
            matrices.reshape(-1, target, target), self.before.view(shape), out=self.now.view(shape)
        )

    def move(self, move: Move | None) -> None:
        """Permute the qubits in memory."""
        if move is not None:
            self.now, self.before = self.before, self.now
            moved = move(self.before)
            self.now.view(moved.shape).copy_(moved)


def _outer(after: Tensor, before: Tensor, block: Block, out: Tensor) -> None:
    """Conjugate gradient of a block: conjugate cotangent after it times the state before it."""
    control, target, _ = out.shape
    shape = (-1, target, block.tail)
    after, before = after.view(shape), before.view(shape).mT
    if block.outer == block.inner == 1:
        torch.bmm(after, before, out=out)
    else:
        pieces = torch.bmm(after, before).view(block.outer, control, block.inner, target, target)
        torch.sum(pieces, (0, 2), out=out)


@lru_cache(maxsize=64)
def block_plan(circuit: Circuit, size: int = BLOCK_SIZE) -> BlockPlan:
    """Return the evolution of a circuit in blocks of ``size`` targets, made once for equal ones."""
    size = min(size, circuit.n_qubits)
    groups = group_gates(circuit, size)
    has_control = circuit.n_qubits > size
    if not has_control:  # every qubit is a target, be the gates on it diagonal or not
        groups = [Group(group.gates, group.full | group.diagonal, set()) for group in groups]
    layout = tuple(range(circuit.n_qubits))
    blocks, placed = list[Block](), list[tuple[int, ...]]()
    for group, uses in zip(groups, _next_uses(groups, circuit.n_qubits), strict=True):
        order, control, targets = _place(group, layout, size, has_control, uses)
        move = None if order == layout else Move.of([layout.index(qubit) for qubit in order])
        layout = order
        first = layout.index(targets[0])
        before = layout.index(control[0]) if control else 0
        inner, tail = first - before - len(control), len(layout) - first - size
        blocks.append(Block(move, 2**before, 2**inner, 2**tail))
        placed.append((*control, *targets))
    slots = block_slots(circuit, groups, placed, size, has_control)
    return BlockPlan(
        n_qubits=circuit.n_qubits,
        blocks=tuple(blocks),
        restore=Move.of([layout.index(qubit) for qubit in range(circuit.n_qubits)]),
        gates=gate_matrices(circuit),
        slots=slots,
        copies=copies_of(circuit, slots),
    )


def _next_uses(groups: Sequence[Group], n_qubits: int) -> list[list[int]]:
    """For each block and qubit, the number of the next block after it that uses the qubit."""
    nearest = [len(groups)] * n_qubits
    uses = []
    for number in reversed(range(len(groups))):
        uses.append(nearest.copy())
        for qubit in groups[number].full | groups[number].diagonal:
            nearest[qubit] = number
    return uses[::-1]


def _place(
    group: Group, layout: tuple[int, ...], size: int, has_control: bool, uses: list[int]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the order in memory for a block, its control (if any), and all its targets."""
    own = () if group.control is None else (group.control,)
    for first in range(int(has_control), len(layout) - size + 1):
        targets = layout[first : first + size]
        control = own or layout[first - 1 : first]
        if group.targets <= set(targets) and (not has_control or control[0] in layout[:first]):
            return layout, control[: int(has_control)], targets
    used = group.full | group.diagonal
    free = sorted((qubit for qubit in layout if qubit not in used), key=lambda qubit: uses[qubit])
    n_more = size - len(group.targets)
    targets, free = (*sorted(group.targets), *free[:n_more]), free[n_more:]
    if has_control and not own:
        own, free = (free[0],), free[1:]
    return (*own, *targets, *free), own, targets
