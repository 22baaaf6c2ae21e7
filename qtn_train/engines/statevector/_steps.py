"""A circuit's way through states, step by step, in torch's own operations on any device.

    states, as (n, outer, control, inner, target, tail)
                            │               │
                   matrix[control, target', target]

One walk serves all second derivatives. ψ is the state, χ its change along a direction Δ of the
matrices M, v the cotangent, ν the change of v:

    forward    χ ← M χ + Δ ψ            ψ ← M ψ
    back       ψ ← Mᴴ ψ                 χ ← Mᴴ (χ − Δ ψ)
               v ← Mᴴ v                 ν ← Mᴴ ν + Δᴴ v

and the gradient of a matrix, v ψᴴ with v after it and ψ before it, changes by ν ψᴴ + v χᴴ. The
same numbers are the derivative of the gradient along Δ and, because second derivatives commute,
its product with Δ as a cotangent. At any time eight states are alive, however many gates there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Reordering(ABC):
    """A permutation of the amplitudes of each of several states."""

    @property
    @abstractmethod
    def inverse(self) -> Reordering:
        """The permutation that undoes this one."""

    @abstractmethod
    def __call__(self, states: Tensor) -> Tensor:
        """Permute states of shape (n, 2**N); the result may have more axes."""


@dataclass(frozen=True)
class Move(Reordering):
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
        """The move that undoes this one."""
        back = tuple(self.axes.index(axis) for axis in range(len(self.axes)))
        return Move(tuple(self.shape[axis] for axis in self.axes), back)

    def __call__(self, states: Tensor) -> Tensor:
        """Permute the qubits of each of several states; the result is a view."""
        axes = (0, *(axis + 1 for axis in self.axes))
        return states.view(len(states), *self.shape).permute(axes)


@dataclass(frozen=True, eq=False)
class Order(Reordering):
    """A permutation of the amplitudes.

    Attributes:
        comes_from: Where each amplitude is taken from.
    """

    comes_from: NDArray[np.int64]

    @cached_property
    def inverse(self) -> Order:
        """The order that undoes this one."""
        return Order(np.argsort(self.comes_from))

    def __call__(self, states: Tensor) -> Tensor:
        """Permute the amplitudes of each of several states; the result is a copy."""
        return states[:, torch.from_numpy(self.comes_from).to(states.device)]


@dataclass(frozen=True)
class Step:
    """One matrix, or one pair of them that a control selects from, in the evolution.

    Attributes:
        move: How to permute the state first, or None.
        outer: Product of the dimensions before the control.
        inner: Product of the dimensions between the control and the targets.
        tail: Product of the dimensions after the targets.
    """

    move: Reordering | None
    outer: int
    inner: int
    tail: int

    def view(self, states: Tensor, matrix: Tensor) -> Tensor:
        """View ``(k, batch, 2**N)`` states as the matrix ``(batch, control, …)`` takes them."""
        batch, control, target, _ = matrix.shape
        return states.view(-1, batch, self.outer, control, self.inner, target, self.tail)


@dataclass(frozen=True)
class Walk:
    """All steps of one circuit.

    Attributes:
        n_qubits: Number of qubits.
        steps: The steps, one for each matrix.
        restore: What brings the last state back to the order of the outcomes.
    """

    n_qubits: int
    steps: tuple[Step, ...]
    restore: Reordering

    @staticmethod
    def over(places: Sequence[tuple[int, ...]], n_qubits: int) -> Walk:
        """Return the walk on which each matrix finds its qubits brought to the front.

        Args:
            places: For each matrix its qubits, the control first.
            n_qubits: Number of qubits.
        """
        layout = tuple(range(n_qubits))
        steps = []
        for place in places:
            order = (*place, *(qubit for qubit in layout if qubit not in place))
            move = Move.of([layout.index(qubit) for qubit in order])
            steps.append(Step(move, 1, 1, 2 ** (n_qubits - len(place))))
            layout = order
        return Walk(n_qubits, tuple(steps), Move.of([layout.index(q) for q in range(n_qubits)]))

    def push(self, matrices: Tensor, changes: Tensor) -> tuple[Tensor, Tensor]:
        """Walk through a batch of circuits with a direction of their matrices.

        Args:
            matrices: M, unitary, ``(batch, n, control, target, target)``.
            changes: Δ, of the same shape.

        Returns:
            ψ and χ where the last step leaves them, ``(2, batch, …)``; χ in the order of the
            outcomes, ``(batch, 2**N)``.
        """
        states = matrices.new_zeros((2, len(matrices), 2**self.n_qubits))
        states[0, :, 0] = 1
        for step, matrix, change in self._pairs(matrices, changes):
            before = step.view(_moved(states, step.move), matrix)
            states = _times(matrix, before)
            states[1] += _times(change, before[:1])[0]
        return states, _moved(states[1:], self.restore)[0]

    def second(
        self, matrices: Tensor, changes: Tensor, grad: Tensor, grad_change: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Walk there and back, with a direction of the matrices and of the cotangent.

        Args:
            matrices: M, unitary, ``(batch, n, control, target, target)``.
            changes: Δ, of the same shape.
            grad: v, the cotangent of the amplitudes, ``(batch, 2**N)``.
            grad_change: ν, of the same shape.

        Returns:
            The gradient of the matrices; its change; χ, the change of the amplitudes.
        """
        states, made = self.push(matrices, changes)
        cotangents = _moved(torch.stack((grad, grad_change)), self.restore.inverse)
        states = torch.cat((states.view_as(cotangents), cotangents.to(states.dtype)))
        grads, grad_changes = torch.empty_like(matrices), torch.empty_like(matrices)
        pairs = list(enumerate(self._pairs(matrices, changes)))
        for number, (step, matrix, change) in reversed(pairs):
            after = step.view(states, matrix)
            before = _times(matrix.mH, after)
            before[1] -= _times(matrix.mH, _times(change, before[:1]))[0]
            before[3] += _times(change.mH, after[2:3])[0]
            grads[:, number] = _outer(after[2], before[0])
            grad_changes[:, number] = _outer(after[3], before[0]) + _outer(after[2], before[1])
            states = _moved(before, None if step.move is None else step.move.inverse)
        return grads, grad_changes, made

    def _pairs(self, matrices: Tensor, changes: Tensor) -> list[tuple[Step, Tensor, Tensor]]:
        return list(zip(self.steps, matrices.unbind(1), changes.unbind(1), strict=True))


def _moved(states: Tensor, move: Reordering | None) -> Tensor:
    """Permute ``(k, batch, …)`` states: ``(k, batch, 2**N)``."""
    flat = states.reshape(states.shape[0] * states.shape[1], -1)
    return (flat if move is None else move(flat)).reshape(*states.shape[:2], -1)


def _times(matrix: Tensor, states: Tensor) -> Tensor:
    return torch.einsum("bcst,kbocite->kbocise", matrix, states).contiguous()


def _outer(after: Tensor, before: Tensor) -> Tensor:
    return torch.einsum("bocise,bocite->bcst", after, before.conj())
