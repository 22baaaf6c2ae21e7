"""Circuits of RY and CX on a CPU: layers of rotations, each followed by one renumbering.

    angles ──► turns (layers, qubits) ──► real amplitudes (2**N,)

All amplitudes are real, rotations of different qubits commute, and any number of CX is one
permutation of the amplitudes. So a layer is all rotations up to the next CX in their way, and then
all CX up to the next rotation in theirs. The gradient of an angle is ½ v†·J·x with J = −iY on its
qubit, taken anywhere between the permutations before and after.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...circuits import Circuit
from .._once import once

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

    def amplitudes(self, angles: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the real amplitudes, differentiable with respect to the angles."""
        turns = angles.new_zeros(self.n_layers * self.n_qubits, dtype=dtype)
        chosen = angles[torch.from_numpy(self.angles)].to(dtype)
        turns = turns.index_add(0, torch.from_numpy(self.slots), chosen)
        made: Tensor = _Layers.apply(turns.view(self.n_layers, -1), self)  # type: ignore[no-untyped-call]
        return made


class _Layers(torch.autograd.Function):
    """Rotations to amplitudes; the backward pass undoes them on state and cotangent together."""

    @staticmethod
    def forward(ctx: Any, turns: Tensor, plan: LayerPlan) -> Tensor:
        from . import _layer_kernels

        half = turns / 2
        pairs = torch.stack((half.cos(), half.sin()), -1).numpy()
        state = np.zeros(2**plan.n_qubits, pairs.dtype)
        state[0] = 1
        _layer_kernels.run(state, pairs, plan.orders, plan.which)
        amplitudes = torch.from_numpy(state)
        ctx.plan, ctx.pairs = plan, pairs
        ctx.save_for_backward(turns, amplitudes)
        return amplitudes

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        from . import _layer_kernels

        turns, amplitudes = ctx.saved_tensors
        state = amplitudes.detach().numpy().copy()
        cotangent = grad.detach().contiguous().numpy().copy()
        out = np.zeros(ctx.pairs.shape[:2], ctx.pairs.dtype)
        _layer_kernels.run_back(state, cotangent, ctx.pairs, ctx.plan.inverses, ctx.plan.which, out)
        made = torch.from_numpy(out) / 2
        hint = "Take MPSEngine()."
        return once(made, inputs=(turns, grad), engine="StatevectorEngine", hint=hint)[0], None


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

    here = np.arange(2**n_qubits)
    rotated = ((here & (2**LOW - 1)) << (n_qubits - LOW)) | (here >> LOW)
    comes_from = np.argsort(goes_to, axis=1)
    orders = rotated[comes_from]
    return orders.astype(np.int32), np.argsort(orders, axis=1).astype(np.int32)
