"""Circuits of RY and CX on a CPU: layers of rotations, each followed by one renumbering.

    angles ──► turns (batch, layers · qubits) ──► real amplitudes (batch, 2**N)

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
from .._transforms import BatchFirst, applied, batch_first
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
        """The plan's evolution, one matrix after another: a turn of each qubit in each layer."""
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
        made: Tensor = Layers.apply(angles, self, dtype)  # type: ignore[no-untyped-call]
        return made

    def turns(self, angles: Tensor) -> Tensor:
        """Return the angle in radians of each qubit in each layer, (batch, layers · qubits)."""
        turns = angles.new_zeros((len(angles), self.n_layers * self.n_qubits), dtype=torch.float64)
        chosen = angles[:, torch.from_numpy(self.angles)].double()
        return turns.index_add(1, torch.from_numpy(self.slots), chosen)

    def collected(self, grads: Tensor, like: Tensor) -> Tensor:
        """Return the gradient of the angles from that of the turns, in the type of ``like``."""
        chosen = grads[:, torch.from_numpy(self.slots)].to(like.dtype)
        return torch.zeros_like(like).index_add(1, torch.from_numpy(self.angles), chosen)


class Layers(BatchFirst):
    """Angles to amplitudes; the backward pass undoes layers on state and cotangent together."""

    @staticmethod
    @batch_first
    def forward(angles: Tensor, plan: LayerPlan, dtype: torch.dtype) -> Tensor:
        from . import _layer_kernels

        pairs = _pairs(plan, angles, dtype)
        states = np.zeros((len(pairs), 2**plan.n_qubits), pairs.dtype)
        states[:, 0] = 1

        def one(number: int, _: int) -> None:
            _layer_kernels.run(states[number], pairs[number], plan.orders, plan.which)

        each_state(one, len(states))
        return torch.from_numpy(states)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        angles, ctx.plan, ctx.dtype = inputs
        ctx.save_for_backward(angles, output)
        ctx.save_for_forward(angles)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        angles, amplitudes = ctx.saved_tensors
        return applied(_UndoLayers, angles, amplitudes.detach(), grad, ctx.plan), None, None

    @staticmethod
    def jvp(ctx: Any, change: Tensor, plan: None, dtype: None) -> Tensor:
        (angles,) = ctx.saved_tensors
        matrices, slopes = _rotations(ctx.plan.turns(angles), ctx.dtype)
        along = ctx.plan.turns(change).to(ctx.dtype)
        return push(ctx.plan.walk, matrices, slopes * along[:, :, None, None, None])


class _UndoLayers(BatchFirst):
    """Cotangents of the amplitudes to the gradient of the angles."""

    @staticmethod
    @batch_first
    def forward(angles: Tensor, amplitudes: Tensor, grad: Tensor, plan: LayerPlan) -> Tensor:
        from . import _layer_kernels

        pairs = _pairs(plan, angles, amplitudes.dtype)
        states = amplitudes.numpy().copy()
        cotangents = grad.contiguous().numpy().copy()
        out = np.zeros(pairs.shape[:3], pairs.dtype)

        def one(number: int, _: int) -> None:
            both = states[number], cotangents[number]
            _layer_kernels.run_back(*both, pairs[number], plan.inverses, plan.which, out[number])

        each_state(one, len(out))
        return plan.collected(torch.from_numpy(out).flatten(1) / 2, angles)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        angles, _, grad, ctx.plan = inputs
        ctx.save_for_backward(angles, grad)
        ctx.save_for_forward(angles, grad)

    @staticmethod
    def backward(ctx: Any, change: Tensor) -> tuple[Tensor, None, Tensor, None]:
        angles, grad = ctx.saved_tensors
        made, grad_change = _second(ctx.plan, angles, change, grad, torch.zeros_like(grad))
        return made, None, grad_change, None

    @staticmethod
    def jvp(ctx: Any, change: Tensor, _: Any, grad_change: Tensor, plan: None) -> Tensor:
        angles, grad = ctx.saved_tensors
        return _second(ctx.plan, angles, change, grad, grad_change)[0]


def _pairs(plan: LayerPlan, angles: Tensor, dtype: torch.dtype) -> NDArray[Any]:
    """Return cosine and sine of half the turns, (batch, layers, qubits, 2), rounded last."""
    half = plan.turns(angles.detach()).numpy() / 2
    pairs = np.stack((np.cos(half), np.sin(half)), -1)
    shape = (len(half), plan.n_layers, plan.n_qubits, 2)
    made: NDArray[Any] = pairs.astype(np.float32 if dtype == torch.float32 else np.float64)
    return made.reshape(shape)


def _rotations(turns: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return all rotations, (batch, layers · qubits, 1, 2, 2), and their derivatives."""
    cos, sin = (turns / 2).cos().to(dtype), (turns / 2).sin().to(dtype)
    shape = (*turns.shape, 1, 2, 2)
    matrices = torch.stack((cos, -sin, sin, cos), -1).reshape(shape)
    return matrices, torch.stack((-sin, -cos, cos, -sin), -1).reshape(shape) / 2


def _second(
    plan: LayerPlan, angles: Tensor, changes: Tensor, grad: Tensor, grad_change: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the changes of the angles' gradient and of the amplitudes along a direction."""
    matrices, slopes = _rotations(plan.turns(angles), grad.dtype)
    along = plan.turns(changes).to(grad.dtype)[:, :, None, None, None]
    grads, grad_changes, made = second(plan.walk, matrices, slopes * along, grad, grad_change)
    # ∂²M/∂θ² = −M/4
    change = (grad_changes * slopes - along * grads * matrices / 4).sum((2, 3, 4))
    return plan.collected(change, angles), made


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
    """Return the places that amplitudes are read from and written to, in the rotated state."""
    from ._layer_kernels import LOW

    rotated = _rotated(n_qubits, LOW)
    comes_from = np.argsort(goes_to, axis=1)
    orders = rotated[comes_from]
    return orders.astype(np.int32), np.argsort(orders, axis=1).astype(np.int32)


def _rotated(n_qubits: int, low: int) -> NDArray[np.int64]:
    """Return where each amplitude stands once the lowest bits are brought to the left."""
    here = np.arange(2**n_qubits)
    rotated: NDArray[np.int64] = ((here & (2**low - 1)) << (n_qubits - low)) | (here >> low)
    return rotated
