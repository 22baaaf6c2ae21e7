"""Batches of matrix product states whose bonds were not cut: one sweep for all rows of angles.

    angles (B, n) ──vmap of one sweep──► tensors (B, left, 2, right) ──vmap of one reading──► (B, …)

Without cuts the shapes depend on the circuit alone, and every step is a product of matrices, so
torch's ``vmap`` turns the lines for one state into batched products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from ...errors import UnsupportedByEngine, must_be
from ...measurements._pauli import PauliSum
from .._state import State
from ._state import MPSState


@final
class BatchedMPSState(State):
    """One matrix product state for each row of a batch of angles; no bond was cut.

    All results have a batch axis. ``batch[i]`` is the :class:`MPSState` of row ``i``, and
    ``len(batch)`` the number of rows.

    Attributes:
        tensors: One for each qubit, complex, shape ``(batch, left, 2, right)``, differentiable.

    Example:
        >>> from qtn_train.circuits import Circuit
        >>> from qtn_train.engines import MPSEngine
        >>> circuit = Circuit.builder(2).ry(0).cx(0, 1).build()
        >>> batch = MPSEngine().prepare(circuit, torch.tensor([[0.0], [torch.pi]]))
        >>> batch.expectation("Z0").tolist(), batch[1].bond_dims
        ([1.0, -1.0], [2])
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, row: int) -> MPSState:
        return MPSState([tensor[row] for tensor in self.tensors])

    @property
    def n_qubits(self) -> int:
        """Number of qubits."""
        return len(self.tensors)

    def _each(self, read: Callable[[MPSState], Tensor]) -> Tensor:
        """Return what is read of each state, along a batch axis."""
        read_one = torch.func.vmap(lambda *tensors: read(MPSState(list(tensors))))
        found: Tensor = read_one(*self.tensors)
        return found

    def _probs(self, start: int, stop: int) -> Tensor:
        return self._each(lambda state: state._probs(start, stop))

    def _log_probs(self, start: int, stop: int) -> Tensor:
        return self._each(lambda state: state._log_probs(start, stop))

    def _scaled_probs(self, start: int, stop: int) -> Tensor:
        return self._each(lambda state: state._scaled_probs(start, stop))

    def _amplitudes(self, start: int, stop: int) -> Tensor:
        return self._each(lambda state: state._amplitudes(start, stop))

    def _expectations(self, sums: list[PauliSum]) -> Tensor:
        return self._each(lambda state: state._expectations(sums))

    def _correlators(
        self, order: int, bases: str, start: int, stop: int, reach: int | None
    ) -> Tensor:
        return self._each(lambda state: state._correlators(order, bases, start, stop, reach))

    def _sample_bits(self, shots: int, rng: torch.Generator) -> Tensor:
        expected = "of one vector of angles to draw from it"
        raise UnsupportedByEngine(must_be("state", expected, "a batch", "Draw from state[row]."))

    def _picture(self) -> str:
        return ""
