"""The evolution of a state on an accelerator: few, large batched matrix products.

    state, as (outer, control, inner, target, tail)
                         │               │
                block[control, target', target]        one batched matrix product

While a block's targets lie side by side in memory the state stays as it is; else the qubits are
permuted first, and those needed soonest come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...circuits import Circuit
from .._slots import GateMatrices, gate_matrices
from ._evolve import Plan
from ._fusion import Group, block_slots, copies_of, group_gates
from ._steps import Move, Reordering, Step, Walk

# Target qubits of a block; with its control it spans one more.
BLOCK_SIZE = 3


@dataclass(frozen=True)
class BlockPlan(Plan):
    """The evolution of one circuit in blocks.

    Attributes:
        steps: The steps.
        gates: Values of all gates.
        slots: ``(depth, n_blocks, control, target, target)``: the matrices whose product, first
            one first, is each block.
        copies: Where each parameterized entry stands in ``slots``.
    """

    is_tangent: ClassVar[bool] = False

    steps: Walk
    gates: GateMatrices
    slots: NDArray[np.int64]
    copies: NDArray[np.int64]
    is_real: bool = False

    @property
    def walk(self) -> Walk:
        """The plan's evolution, one matrix after another."""
        return self.steps

    def forward(self, matrices: Tensor) -> Tensor:
        """Return the amplitudes that the blocks make of |0…0⟩."""
        states = _States(matrices.new_zeros((len(matrices), 2**self.walk.n_qubits)))
        states.now[:, 0] = 1
        for matrix, step in zip(matrices.unbind(1), self.walk.steps, strict=True):
            states.move(step.move)
            states.multiply(matrix, step)
        return self.walk.restore(states.now).reshape(len(matrices), -1)

    def backward(self, matrices: Tensor, amplitudes: Tensor, grad: Tensor) -> Tensor:
        """Return the gradient of the blocks, undoing them on state and cotangent together."""
        # The conjugate of the cotangent goes along: then no product below needs a conjugated copy.
        both = self.walk.restore.inverse(torch.cat((amplitudes, grad.conj())))
        n = len(matrices)
        states = _States(both.reshape(2 * n, -1))
        undo = torch.cat((matrices.mH, matrices.mT)).transpose(0, 1).contiguous()
        grads = torch.empty_like(undo[:, :n])
        for step, matrix, out in zip(
            reversed(self.walk.steps),
            reversed(undo.unbind()),
            reversed(grads.unbind()),
            strict=True,
        ):
            states.multiply(matrix, step)
            _outer(states.before[n:], states.now[:n], step, out)
            states.move(None if step.move is None else step.move.inverse)
        return grads.transpose(0, 1).conj().resolve_conj()


class _States:
    """Several states in two buffers: each step reads one buffer and writes the other."""

    def __init__(self, states: Tensor) -> None:
        self.now = states
        self.before = torch.empty_like(states)

    def multiply(self, matrices: Tensor, step: Step) -> None:
        """Multiply (n, outer, control, inner, target, tail) by (n, control, target, target)."""
        n, control, target = matrices.shape[:3]
        if step.outer * step.inner > 1:
            matrices = matrices[:, None, :, None].expand(
                n, step.outer, control, step.inner, target, target
            )
        shape = (-1, target, step.tail)
        self.now, self.before = self.before, self.now
        torch.bmm(
            matrices.reshape(-1, target, target), self.before.view(shape), out=self.now.view(shape)
        )

    def move(self, move: Reordering | None) -> None:
        """Permute the qubits in memory."""
        if move is not None:
            self.now, self.before = self.before, self.now
            moved = move(self.before)
            self.now.view(moved.shape).copy_(moved)


def _outer(after: Tensor, before: Tensor, step: Step, out: Tensor) -> None:
    """Return a block's conjugate gradient: conjugate cotangent after, times the state before."""
    n, control, target, _ = out.shape
    shape = (-1, target, step.tail)
    after, before = after.view(shape), before.view(shape).mT
    if step.outer == step.inner == 1:
        torch.bmm(after, before, out=out.view(-1, target, target))
    else:
        pieces = torch.bmm(after, before)
        pieces = pieces.view(n, step.outer, control, step.inner, target, target)
        torch.sum(pieces, (1, 3), out=out)


@lru_cache(maxsize=64)
def block_plan(circuit: Circuit, size: int = BLOCK_SIZE) -> BlockPlan:
    """Return the evolution of a circuit in blocks of ``size`` targets, made once for equal ones."""
    size = min(size, circuit.n_qubits)
    groups = group_gates(circuit, size)
    has_control = circuit.n_qubits > size
    if not has_control:  # every qubit is a target, be the gates on it diagonal or not
        groups = [Group(group.gates, group.full | group.diagonal, set()) for group in groups]
    layout = tuple(range(circuit.n_qubits))
    steps, placed = list[Step](), list[tuple[int, ...]]()
    for group, uses in zip(groups, _next_uses(groups, circuit.n_qubits), strict=True):
        order, control, targets = _place(group, layout, size, has_control, uses)
        move = None if order == layout else Move.of([layout.index(qubit) for qubit in order])
        layout = order
        first = layout.index(targets[0])
        before = layout.index(control[0]) if control else 0
        inner, tail = first - before - len(control), len(layout) - first - size
        steps.append(Step(move, 2**before, 2**inner, 2**tail))
        placed.append((*control, *targets))
    restore = Move.of([layout.index(qubit) for qubit in range(circuit.n_qubits)])
    slots = block_slots(circuit, groups, placed, size, has_control)
    return BlockPlan(
        steps=Walk(circuit.n_qubits, tuple(steps), restore),
        gates=gate_matrices(circuit),
        slots=slots,
        copies=copies_of(circuit, slots),
    )


def _next_uses(groups: Sequence[Group], n_qubits: int) -> list[list[int]]:
    """Return for each block and qubit the number of the next block that uses the qubit."""
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
