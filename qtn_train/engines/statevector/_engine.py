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
from typing import ClassVar, final

import torch
from jaxtyping import Complex, Num
from torch import Tensor

from ..._types import ComplexDtype
from ...circuits import Circuit
from ...errors import UnsupportedByEngine, must_be
from ...measurements._base import Measurement
from ...measurements._counts import bits_of
from ...measurements._pauli import PauliSum
from .._base import Engine, register_engine
from .._draws import draw
from .._slots import in_slots
from .._state import State
from .._transforms import is_transformed
from ._blocks import block_plan
from ._correlators import correlators
from ._direct import directly
from ._evolve import evolve
from ._expectation import expectations
from ._layers import layer_plan
from ._tiles import TilePlan, tile_plan

# States of this size that are alive at once in a backward pass: amplitudes and cotangent, each
# moved once, their product, and the real probabilities with their gradient.
_STATES_ALIVE = 8


@final
class StatevectorState(State):
    """All amplitudes of a state.

    Args:
        vector: Shape ``(2**n_qubits,)``, differentiable; with a batch of angles
            ``(batch, 2**n_qubits)``. Real where all amplitudes are.
    """

    def __init__(self, vector: Num[Tensor, "*batch outcomes"]) -> None:
        self._vector = vector

    @property
    def vector(self) -> Complex[Tensor, "*batch outcomes"]:
        """The amplitudes, complex."""
        if self._vector.is_complex():
            return self._vector
        return torch.complex(self._vector, torch.zeros_like(self._vector))

    @property
    def n_qubits(self) -> int:
        """Number of qubits."""
        return self._vector.shape[-1].bit_length() - 1

    def _amplitudes(self, start: int, stop: int) -> Tensor:
        return self.vector[..., start:stop]

    def _probs(self, start: int, stop: int) -> Tensor:
        part = self._part(start, stop)
        if not part.is_complex():
            return part.square()
        return torch.view_as_real(part).square().sum(-1)

    def _log_probs(self, start: int, stop: int) -> Tensor:
        # The square of a small amplitude is no float any more, its logarithm is.
        return 2 * self._part(start, stop).abs().log()

    def _part(self, start: int, stop: int) -> Tensor:
        """Return some amplitudes; all of them without a slice, whose backward pass copies."""
        is_whole = start == 0 and stop >= self._vector.shape[-1]
        return self._vector if is_whole else self._vector[..., start:stop]

    def _correlators(
        self, order: int, bases: str, start: int, stop: int, reach: int | None
    ) -> Tensor:
        found = correlators(self.vector, bases, order, reach)
        return found.flatten(-2)[..., start:stop]

    def _expectations(self, sums: list[PauliSum]) -> Tensor:
        return expectations(self.vector, sums)

    def _density_matrix(self, qubits: tuple[int, ...]) -> Tensor:
        batch, n, k = self.vector.shape[:-1], self.n_qubits, len(qubits)
        rest = [qubit for qubit in range(n) if qubit not in qubits]
        order = [*range(len(batch)), *(len(batch) + qubit for qubit in (*qubits, *rest))]
        kept = self.vector.reshape(*batch, *(2,) * n).permute(order).reshape(*batch, 2**k, -1)
        return kept @ kept.mH

    def _schmidt_values(self, bond: int) -> Tensor:
        halves = self.vector.reshape(*self.vector.shape[:-1], 2**bond, -1)
        values: Tensor = torch.linalg.svdvals(halves.to(torch.complex128))
        return values

    def _sample(self, shots: int, rng: torch.Generator) -> Tensor:
        if self.vector.ndim > 1 or is_transformed(self.vector):
            expected = "of one vector of angles, outside of vmap, to draw from it"
            raise UnsupportedByEngine(must_be("state", expected, "a batch", "Take a loop."))
        with torch.no_grad():
            return draw(self._probs(0, 2**self.n_qubits), shots, rng)

    def _sample_bits(self, shots: int, rng: torch.Generator) -> Tensor:
        return bits_of(self._sample(shots, rng), self.n_qubits)

    def _picture(self) -> str:
        return super()._picture() if self.vector.ndim == 1 else ""


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
        """True: gradients reach the angles."""
        return True

    @property
    def needs_shots(self) -> bool:
        """False: no shots are counted."""
        return False

    @property
    def batched(self) -> bool:
        """True: angles may be a batch, ``(batch, n_angles)``."""
        return True

    @property
    def max_qubits(self) -> int:
        """The largest circuit whose states, forward and backward, fit this machine's memory."""
        return self._max_qubits

    def _most_qubits(self, n_bytes: int) -> int:
        size = 8 if self.dtype == "complex64" else 16
        return (n_bytes // (size * _STATES_ALIVE)).bit_length() - 1

    def _prepare(self, circuit: Circuit, angles: Tensor, reads: Measurement) -> StatevectorState:
        limit = self._max_qubits
        if angles.is_cuda:
            limit = self._most_qubits(memory_bytes(angles.device))
            if circuit.n_qubits > limit:
                expected = f"at most {limit} for StatevectorEngine on {angles.device}"
                hint = "Take MPSEngine(max_bond=...) instead."
                raise UnsupportedByEngine(must_be("n_qubits", expected, circuit.n_qubits, hint))
        circuit, angles = in_slots(circuit, angles)
        if angles.ndim == 1:
            return StatevectorState(self._amplitudes(circuit, angles[None]).squeeze(0))
        most = 2 ** (limit - circuit.n_qubits)
        if len(angles) > most:
            expected = f"at most {most} rows for {circuit.n_qubits} qubits on this machine"
            hint = "Prepare them in parts."
            raise UnsupportedByEngine(must_be("angles", expected, len(angles), hint))
        return StatevectorState(self._amplitudes(circuit, angles))

    def _amplitudes(self, circuit: Circuit, angles: Tensor) -> Tensor:
        """Return the amplitudes of a batch, ``(batch, 2**N)``; real numbers where all are."""
        on_cpu = angles.device.type == "cpu"
        layers = layer_plan(circuit) if on_cpu else None
        if layers is not None:
            return layers.amplitudes(angles, self.real_dtype)
        plan = tile_plan(circuit) if on_cpu else block_plan(circuit)
        if isinstance(plan, TilePlan):
            return directly(plan, angles, self.complex_dtype)
        return evolve(plan, plan.gates.values(angles, self.complex_dtype))


def memory_bytes(device: torch.device | None = None) -> int:
    """Return this machine's memory, or that of one of its accelerators."""
    if device is not None:
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not every system tells
        return 8 * 2**30
