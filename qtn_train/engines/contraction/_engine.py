"""The engine of contractions: circuits of any shape, exact, as long as they are shallow."""

from __future__ import annotations

from typing import Any, ClassVar, final, get_args

from torch import Tensor

from ..._types import ComplexDtype
from ...circuits import Circuit
from ...errors import must_be, positive_int
from ...measurements._base import Measurement
from .._base import Engine, register_engine
from .._slots import gate_matrices, in_slots
from ..statevector._engine import memory_bytes
from ._state import ContractionState
from ._trees import Optimize

_MAX_QUBITS = 4096


@register_engine
@final
class ContractionEngine(Engine):
    """Exact simulation of circuits of any shape by contracting their tensor network.

    Nothing is computed until something is read of the state. Then cotengra finds a contraction tree
    for the network of that request, once: the tree is kept in memory, and one whose search took
    more than a second in the user's cache folder too. An expectation value needs only the gates in
    its light cone, so grids and device maps of a hundred qubits are easy while they are shallow; a
    block of amplitudes needs all gates.

    Args:
        optimize: How long to search for a tree: ``"quick"``, ``"auto"`` or ``"thorough"``, 1, 8 or
            64 rounds of trials in at most 30, 240 or 1920 s of processor time. The search ends
            early where no tree would be better.
        memory_limit: Bytes that one contraction may take, with its backward pass where the angles
            ask for a gradient; half of the machine's memory by default. Larger ones are sliced,
            at the price of time; second derivatives store all slices.
        time_limit: Seconds that one contraction may take, as estimated; longer ones are refused
            before they begin.
        dtype: ``"complex64"`` for speed, ``"complex128"`` for checks.

    Raises:
        TypeError: ``memory_limit`` is not an integer, or ``time_limit`` not a number.
        ValueError: ``memory_limit`` or ``time_limit`` is not positive, or an unknown ``optimize``
            or ``dtype``.

    Source:
        Trees and slices: cotengra (arXiv 2002.01935); diagonal gates as shared indices:
        arXiv 1712.05384.

    Example:
        >>> import torch
        >>> builder = Circuit.builder(100)
        >>> for qubit in range(100):
        ...     _ = builder.ry(qubit)
        >>> for qubit in range(99):
        ...     _ = builder.cz(qubit, qubit + 1)
        >>> state = ContractionEngine().prepare(builder.build(), torch.zeros(100))
        >>> state.expectation("Z40 Z60").item()
        1.0
    """

    kind: ClassVar[str] = "contraction"

    def __init__(
        self,
        *,
        optimize: Optimize = "auto",
        memory_limit: int | None = None,
        time_limit: float = 3600.0,
        dtype: ComplexDtype = "complex64",
    ) -> None:
        super().__init__(dtype=dtype)
        if optimize not in get_args(Optimize):
            expected = "'quick', 'auto' or 'thorough'"
            raise ValueError(must_be("optimize", expected, repr(optimize)))
        hint = "It is a number of bytes."
        if memory_limit is not None:
            memory_limit = positive_int("memory_limit", memory_limit, hint)
        expected = "a positive number of seconds"
        if isinstance(time_limit, bool | str) or not hasattr(time_limit, "__float__"):
            raise TypeError(must_be("time_limit", expected, repr(time_limit)))
        if not time_limit > 0:
            raise ValueError(must_be("time_limit", expected, time_limit))
        self.optimize: Optimize = optimize
        self.memory_limit = memory_limit
        self.time_limit = float(time_limit)

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
    def max_qubits(self) -> int:
        """4096 qubits; a circuit's depth and shape exceed time and memory at far fewer."""
        return _MAX_QUBITS

    def _config(self) -> dict[str, Any]:
        names = ("optimize", "memory_limit", "time_limit", "dtype")
        return {name: getattr(self, name) for name in names}

    def _prepare(self, circuit: Circuit, angles: Tensor, reads: Measurement) -> ContractionState:
        circuit, angles = in_slots(circuit, angles)
        return ContractionState(
            circuit,
            gate_matrices(circuit).values(angles, self.complex_dtype),
            optimize=self.optimize,
            memory_limit=memory_bytes() // 2 if self.memory_limit is None else self.memory_limit,
            time_limit=self.time_limit,
        )

    def _too_large(self, n_qubits: int) -> str:
        return must_be("n_qubits", f"at most {_MAX_QUBITS} for ContractionEngine", n_qubits)

    def __repr__(self) -> str:
        return (
            f"ContractionEngine(optimize={self.optimize!r}, memory_limit={self.memory_limit}, "
            f"time_limit={self.time_limit:g}, dtype={self.dtype!r})"
        )
