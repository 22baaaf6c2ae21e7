"""Circuits of RY and CX on a CPU: layers of rotations, each followed by one renumbering.

    angles ──► turns (batch, layers, qubits) ──► real amplitudes (batch, 2**N)

All amplitudes are real, rotations of different qubits commute, and any number of CX is one
permutation of the amplitudes. So a layer is all rotations up to the next CX in their way, and then
all CX up to the next rotation in theirs. The gradient of an angle is ½ v†·J·x with J = −iY on its
qubit, taken anywhere between the permutations before and after.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...circuits import Circuit
from .._transforms import BatchFirst, batch_first
from ._evolve import push, second
from ._steps import Move, Order, Reordering, Step, Walk
from ._tiles import each_state

# Fewer qubits are not worth it; of more, the state no longer stays in the second-level cache.
FEWEST, MOST = 6, 16


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """The evolution of one circuit, layer by layer.

    Attributes:
        n_qubits: Number of qubits.
        n_layers: Number of layers.
        slots: For each rotation, its place among (layers × qubits).
        angles: For each rotation, the number of its angle.
        orders: Different permutations, as the rotated state is read: see ``_layer_kernels``.
        inverses: Their inverses.
        which: Each layer's permutation.
    """

    n_qubits: int
    n_layers: int
    slots: NDArray[np.int64]
    angles: NDArray[np.int64]
    orders: NDArray[np.int32]
    inverses: NDArray[np.int32]
    which: NDArray[np.int64]

    @cached_property
    def walk(self) -> Walk:
        """The same evolution step by step: a turn of each qubit in each layer."""
        from ._layer_kernels import LOW

        lowered = np.argsort(_rotated(self.n_qubits, LOW))
        comes_from = [Order(lowered[order]) for order in self.orders]
        steps = []
        move: Reordering | None = None
        for kind in self.which:
            for qubit in range(self.n_qubits):
                steps.append(Step(move, 2**qubit, 1, 2 ** (self.n_qubits - 1 - qubit)))
                move = None
            move = comes_from[kind]
        return Walk(self.n_qubits, tuple(steps), move or Move.of(range(self.n_qubits)))

    def amplitudes(self, angles: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the real amplitudes, differentiable twice and in every mode.

        Args:
            angles: The circuit's angles in radians, ``(batch, n_angles)``.
            dtype: float32 or float64.

        Returns:
            Shape ``(batch, 2**N)``.
        """
        turns = angles.new_zeros((len(angles), self.n_layers * self.n_qubits), dtype=torch.float64)
        chosen = angles[:, torch.from_numpy(self.angles)].double()
        turns = turns.index_add(1, torch.from_numpy(self.slots), chosen)
        turns = turns.view(len(angles), self.n_layers, -1)
        made: Tensor = Layers.apply(turns, self, dtype)  # type: ignore[no-untyped-call]
        return made


class Layers(BatchFirst):
    """Rotations to amplitudes; the backward pass undoes them on state and cotangent together."""

    @staticmethod
    @batch_first
    def forward(turns: Tensor, plan: LayerPlan, dtype: torch.dtype) -> Tensor:
        from . import _layer_kernels

        pairs = _pairs(turns, dtype)
        states = np.zeros((len(pairs), 2**plan.n_qubits), pairs.dtype)
        states[:, 0] = 1

        def one(number: int, _: int) -> None:
            _layer_kernels.run(states[number], pairs[number], plan.orders, plan.which)

        each_state(one, len(states))
        return torch.from_numpy(states)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        turns, ctx.plan, ctx.dtype = inputs
        ctx.save_for_backward(turns, output)
        ctx.save_for_forward(turns)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        turns, amplitudes = ctx.saved_tensors
        made: Tensor = _UndoLayers.apply(turns, amplitudes.detach(), grad, ctx.plan)  # type: ignore[no-untyped-call]
        return made, None, None

    @staticmethod
    def jvp(ctx: Any, change: Tensor, plan: None, dtype: None) -> Tensor:
        (turns,) = ctx.saved_tensors
        matrices, slopes = _rotations(turns, ctx.dtype)
        along = change.reshape(len(change), -1, 1, 1, 1).to(ctx.dtype)
        return push(ctx.plan.walk, matrices, slopes * along)


class _UndoLayers(BatchFirst):
    """Cotangents of the amplitudes to the gradient of the turns."""

    @staticmethod
    @batch_first
    def forward(turns: Tensor, amplitudes: Tensor, grad: Tensor, plan: LayerPlan) -> Tensor:
        from . import _layer_kernels

        pairs = _pairs(turns, amplitudes.dtype)
        states = amplitudes.numpy().copy()
        cotangents = grad.contiguous().numpy().copy()
        out = np.zeros(pairs.shape[:3], pairs.dtype)

        def one(number: int, _: int) -> None:
            both = states[number], cotangents[number]
            _layer_kernels.run_back(*both, pairs[number], plan.inverses, plan.which, out[number])

        each_state(one, len(out))
        return torch.from_numpy(out).to(turns.dtype) / 2

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        turns, _, grad, ctx.plan = inputs
        ctx.save_for_backward(turns, grad)
        ctx.save_for_forward(turns, grad)

    @staticmethod
    def backward(ctx: Any, change: Tensor) -> tuple[Tensor, None, Tensor, None]:
        turns, grad = ctx.saved_tensors
        made, grad_change = _second(ctx.plan, turns, change, grad, torch.zeros_like(grad))
        return made, None, grad_change, None

    @staticmethod
    def jvp(ctx: Any, change: Tensor, _: None, grad_change: Tensor, plan: None) -> Tensor:
        turns, grad = ctx.saved_tensors
        return _second(ctx.plan, turns, change, grad, grad_change)[0]


def _pairs(turns: Tensor, dtype: torch.dtype) -> NDArray[Any]:
    """Cosine and sine of half the turns, (batch, layers, qubits, 2)."""
    half = turns / 2
    pairs: NDArray[Any] = torch.stack((half.cos(), half.sin()), -1).to(dtype).numpy()
    return pairs


def _rotations(turns: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """All rotations, (batch, layers · qubits, 1, 2, 2), and their derivatives."""
    half = turns.reshape(len(turns), -1) / 2
    cos, sin = half.cos().to(dtype), half.sin().to(dtype)
    shape = (*half.shape, 1, 2, 2)
    matrices = torch.stack((cos, -sin, sin, cos), -1).reshape(shape)
    return matrices, torch.stack((-sin, -cos, cos, -sin), -1).reshape(shape) / 2


def _second(
    plan: LayerPlan, turns: Tensor, changes: Tensor, grad: Tensor, grad_change: Tensor
) -> tuple[Tensor, Tensor]:
    """How the gradient of the turns and the amplitudes change along a direction of the turns."""
    matrices, slopes = _rotations(turns, grad.dtype)
    along = changes.reshape(len(changes), -1, 1, 1, 1).to(grad.dtype)
    grads, grad_changes, made = second(plan.walk, matrices, slopes * along, grad, grad_change)
    # ∂²M/∂θ² = −M/4
    change = (grad_changes * slopes - along * grads * matrices / 4).sum((2, 3, 4))
    return change.reshape(turns.shape).to(turns.dtype), made


@lru_cache(maxsize=64)
def layer_plan(circuit: Circuit) -> LayerPlan | None:
    """Return the plan of a circuit, or None where it has other gates or another size.

    Args:
        circuit: The circuit.
    """
    n_qubits = circuit.n_qubits
    if not FEWEST <= n_qubits <= MOST or any(g.name not in ("ry", "cx") for g in circuit.gates):
        return None
    here = np.arange(2**n_qubits, dtype=np.int64)
    slots, angles, moves = [], [], [here]
    moved: set[int] = set()
    for gate in circuit.gates:
        if gate.name == "cx":
            control, target = (n_qubits - 1 - qubit for qubit in gate.qubits)
            moves[-1] = moves[-1] ^ (((moves[-1] >> control) & 1) << target)
            moved.update(gate.qubits)
            continue
        if moved & set(gate.qubits):
            moves.append(here)
            moved = set()
        slots.append((len(moves) - 1) * n_qubits + gate.qubits[0])
        angles.append(gate.angles[0])
    numbers: dict[bytes, int] = {}
    which = [numbers.setdefault(move.tobytes(), len(numbers)) for move in moves]
    kinds = np.stack([np.frombuffer(kind, dtype=np.int64) for kind in numbers])
    orders, inverses = _orders(kinds, n_qubits)
    return LayerPlan(
        n_qubits,
        len(moves),
        np.array(slots, dtype=np.int64),
        np.array(angles, dtype=np.int64),
        orders,
        inverses,
        np.array(which, dtype=np.int64),
    )


def _orders(
    goes_to: NDArray[np.int64], n_qubits: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return where amplitudes are read from, and where they went, in the rotated state."""
    from ._layer_kernels import LOW

    rotated = _rotated(n_qubits, LOW)
    comes_from = np.argsort(goes_to, axis=1)
    orders = rotated[comes_from]
    return orders.astype(np.int32), np.argsort(orders, axis=1).astype(np.int32)


def _rotated(n_qubits: int, low: int) -> NDArray[np.int64]:
    """Where each amplitude stands once the lowest bits are brought to the left."""
    here = np.arange(2**n_qubits)
    rotated: NDArray[np.int64] = ((here & (2**low - 1)) << (n_qubits - low)) | (here >> low)
    return rotated
