"""The exact engine: all 2**N amplitudes, gates multiplied into groups, an adjoint backward pass.

    angles ─► values of all gates ─► groups (n, control, target, target) ─► amplitudes (2**N,)
              batched, autograd       batched, autograd                     one custom node

A plan says how to go through the state: ``_tiles`` on a CPU (compiled loops that stay in the
cache; ``_layers`` where all gates are RY and CX), ``_blocks`` elsewhere (large batched products).
The backward pass undoes the groups one by
one on the amplitudes and on their cotangent together, so it holds two states, not one for every
gate.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar, final

import torch
from jaxtyping import Complex
from torch import Tensor

from ..._types import ComplexDtype
from ...circuits import Circuit
from ...errors import UnsupportedByEngine, must_be
from ...measurements._base import Measurement
from ...measurements._pauli import PauliSum
from .._base import Engine, State, bits_of, draw, register_engine
from .._once import once
from .._slots import in_slots
from ._blocks import BlockPlan, block_plan
from ._expectation import expectations
from ._layers import layer_plan
from ._tiles import TilePlan, tile_plan

Plan = BlockPlan | TilePlan

# States of this size that are alive at once in a backward pass: amplitudes and cotangent, each
# moved once, their product, and the real probabilities with their gradient.
_STATES_ALIVE = 8


@final
class StatevectorState(State):
    """All amplitudes of a state.

    Attributes:
        vector: complex, shape ``(2**n_qubits,)``, differentiable; with a batch of angles
            ``(batch, 2**n_qubits)``.
    """

    def __init__(self, vector: Complex[Tensor, "*batch outcomes"]) -> None:
        self.vector = vector

    @property
    def n_qubits(self) -> int:
        """Number of qubits."""
        return self.vector.shape[-1].bit_length() - 1

    def _amplitudes(self, start: int, stop: int) -> Tensor:
        return self.vector[..., start:stop]

    def _probs(self, start: int, stop: int) -> Tensor:
        return torch.view_as_real(self.vector[..., start:stop]).square().sum(-1)

    def _log_probs(self, start: int, stop: int) -> Tensor:
        # The square of a small amplitude is no float any more, its logarithm is.
        return 2 * self.vector[..., start:stop].abs().log()

    def _expectations(self, sums: list[PauliSum]) -> Tensor:
        return expectations(self.vector, sums)

    def _sample(self, shots: int, rng: torch.Generator) -> Tensor:
        with torch.no_grad():
            return draw(self._probs(0, 2**self.n_qubits), shots, rng)

    def _sample_bits(self, shots: int, rng: torch.Generator) -> Tensor:
        return bits_of(self._sample(shots, rng), self.n_qubits)


@register_engine
@final
class StatevectorEngine(Engine):
    """Exact simulation of all 2**N amplitudes in torch, on the device of the angles.

    Args:
        dtype: ``"complex64"`` for speed, ``"complex128"`` for checks.

    Raises:
        ValueError: An unknown ``dtype``.

    Source:
        Ours; the adjoint backward pass after arXiv 2009.02823.

    Example:
        >>> import torch
        >>> from qtn_train.circuits import ansatz
        >>> circuit = ansatz.u3_cu3_ring(3, 2)
        >>> state = StatevectorEngine().prepare(circuit, torch.zeros(circuit.n_angles))
        >>> state.probs(0, 8).tolist()[:2]
        [1.0, 0.0]
    """

    kind: ClassVar[str] = "statevector"

    def __init__(self, *, dtype: ComplexDtype = "complex64") -> None:
        super().__init__(dtype=dtype)
        self._max_qubits = self._most_qubits(memory_bytes())

    @property
    def exact(self) -> bool:
        """True: probabilities are exact up to rounding."""
        return True

    @property
    def differentiable(self) -> bool:
        """True."""
        return True

    @property
    def needs_shots(self) -> bool:
        """False."""
        return False

    @property
    def max_qubits(self) -> int:
        """The largest circuit whose states, forward and backward, fit this machine's memory."""
        return self._max_qubits

    def _most_qubits(self, n_bytes: int) -> int:
        size = 8 if self.dtype == "complex64" else 16
        return (n_bytes // (size * _STATES_ALIVE)).bit_length() - 1

    def _prepare(self, circuit: Circuit, angles: Tensor, reads: Measurement) -> StatevectorState:
        if angles.is_cuda:
            limit = self._most_qubits(memory_bytes(angles.device))
            if circuit.n_qubits > limit:
                expected = f"at most {limit} for StatevectorEngine on {angles.device}"
                hint = "Take MPSEngine(max_bond=...) instead."
                raise UnsupportedByEngine(must_be("n_qubits", expected, circuit.n_qubits, hint))
        circuit, angles = in_slots(circuit, angles)
        on_cpu = angles.device.type == "cpu"
        layers = layer_plan(circuit) if on_cpu else None
        if layers is not None:
            real = layers.amplitudes(angles, self.complex_dtype.to_real())
            return StatevectorState(torch.complex(real, torch.zeros_like(real)))
        plan = tile_plan(circuit) if on_cpu else block_plan(circuit)
        values = plan.gates.values(angles, self.complex_dtype)
        amplitudes: Tensor = _Evolve.apply(_fuse(plan, values), plan)  # type: ignore[no-untyped-call]
        return StatevectorState(amplitudes)


def memory_bytes(device: torch.device | None = None) -> int:
    """Return this machine's memory, or that of one of its accelerators."""
    if device is not None:
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not every system tells
        return 8 * 2**30


def _fuse(plan: Plan, values: Tensor) -> Tensor:
    """Multiply the gates of each block together: ``(n_blocks, control, target, target)``."""
    shape = plan.slots.shape
    if not shape[0]:
        return values.new_zeros(shape[1:])
    gates: Tensor = _Gather.apply(values, plan)  # type: ignore[no-untyped-call]
    product, *others = gates.view(shape[0], -1, *shape[3:]).unbind()
    for matrices in others:
        product = torch.bmm(matrices, product)
    return product.view(shape[1:])


class _Gather(torch.autograd.Function):
    """``values[slots]``; its backward pass gathers too (a scatter is slow, and random on a GPU)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, plan: Plan) -> Tensor:
        ctx.plan, ctx.n_values = plan, values.numel()
        return values[_table(plan, "slots", values.device)]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        padded = torch.cat((grad.reshape(-1), grad.new_zeros(1)))
        entries = padded[_table(ctx.plan, "copies", grad.device)].sum(1)
        return torch.cat((grad.new_zeros(ctx.n_values - entries.numel()), entries)), None


_TABLES: dict[tuple[int, str, torch.device], tuple[Plan, Tensor]] = {}


def _table(plan: Plan, name: str, device: torch.device) -> Tensor:
    key = (id(plan), name, device)
    if key not in _TABLES:
        if len(_TABLES) > 128:
            _TABLES.clear()
        _TABLES[key] = (plan, torch.from_numpy(getattr(plan, name)).to(device))
    return _TABLES[key][1]


class _Evolve(torch.autograd.Function):
    """Matrices to amplitudes; in the backward pass the state is recomputed by undoing them."""

    @staticmethod
    def forward(ctx: Any, matrices: Tensor, plan: Plan) -> Tensor:
        amplitudes = plan.forward(matrices)
        ctx.plan = plan
        ctx.save_for_backward(matrices, amplitudes)
        return amplitudes

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        matrices, amplitudes = ctx.saved_tensors
        with torch.no_grad():
            made = ctx.plan.backward(matrices, amplitudes, grad)
        hint = "Take MPSEngine()."
        return once(made, inputs=(matrices, grad), engine="StatevectorEngine", hint=hint)[0], None
