"""The engine of matrix product states: a circuit's gates applied to a chain of tensors."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, final, get_args

import torch
from torch import Tensor

from ..._types import ComplexDtype
from ...circuits import Circuit
from ...errors import TruncationWarning, UnsupportedByEngine, must_be, positive_int
from ...measurements._base import Measurement
from .._base import Engine, register_engine
from .._slots import gate_matrices, in_slots
from . import _torch
from ._batch import BatchedMPSState
from ._chain import Chain, evolve, squared_norm, zero_state
from ._split import SvdGradient
from ._state import MPSState

_MAX_QUBITS = 4096
# Below this estimated fidelity a truncated state is warned of.
_LOWEST_FIDELITY = 0.9


@register_engine
@final
class MPSEngine(Engine):
    """Simulation by matrix product states, on the device of the angles.

    Bonds grow gate by gate: each two-qubit gate across a bond multiplies it by 2 (a swap by 4), and
    no bond passes 2**min(i, N − i). While that count fits ``max_bond`` nothing is decomposed, and
    values and gradients are exact. Where it does not, the bond is cut to its largest singular
    values. A gate on distant qubits multiplies all bonds between them, cuts them in one sweep,
    and so costs about 8 times a gate on neighbors for each qubit in between.

    A cut leaves out of the gradient what the discarded part would have answered. On
    ``u3_cu3_chain(8, 6)``, where 16 is exact, the cosine to the gradient of the exact function is
    0.9999, 0.997 and 0.91 at ``max_bond`` 12, 8 and 4, in the mean over four random starts.

    One more thing is left out where a state's true rank is below ``max_bond`` while the count above
    passes it (say, all CU3 at the identity): nothing is discarded, yet a bond cannot answer to
    what would raise its rank. On ``u3_cu3_ring(8, 3)`` so, at ``max_bond`` 8, it is 4 to 24 % of
    the gradient over twenty random starts, with a cosine of at least 0.97.

    The first state of an engine whose estimated fidelity is below 0.9 is warned of
    (:class:`TruncationWarning`); later ones tell it by their ``fidelity_estimate`` alone.

    Args:
        max_bond: Largest bond dimension χ; None cuts nothing. Time grows as χ³.
        cutoff: Share of the squared norm that a cut may discard besides. Above 0 every gate is
            followed by a cut, and the gradient loses what would raise the rank: leave it at 0 to
            train.
        svd_gradient: ``"tangent"`` is nearer to the gradient of the untruncated function;
            ``"exact"`` is the derivative of what is computed.
        dtype: ``"complex64"`` for speed, ``"complex128"`` for checks.
        initial: The state to begin with in place of |0…0⟩: an :class:`MPSState` or a quimb
            ``MatrixProductState``, which is normalized. Its bonds are cut to ``max_bond`` where
            gates cross them.

    Raises:
        TypeError: ``max_bond`` is not an integer, or ``initial`` not a matrix product state.
        ValueError: ``max_bond`` is below 1, ``cutoff`` is outside [0, 1), an unknown
            ``svd_gradient`` or ``dtype``, or ``initial`` is cyclic, not of qubits, of renamed
            indices, 0, or of another dtype.

    Source:
        Canonical form and truncation: arXiv 1008.3477; the derivative: ours, see
        ``engines/mps/_split.py``.

    Example:
        >>> import torch
        >>> from qtn_train.circuits import ansatz
        >>> circuit = ansatz.u3_cu3_chain(40, 2)
        >>> state = MPSEngine(max_bond=16).prepare(circuit, torch.zeros(circuit.n_angles))
        >>> state.probs(0, 2).tolist(), max(state.bond_dims)
        ([1.0, 0.0], 4)
    """

    kind: ClassVar[str] = "mps"

    def __init__(
        self,
        max_bond: int | None = None,
        *,
        cutoff: float = 0.0,
        svd_gradient: SvdGradient = "tangent",
        dtype: ComplexDtype = "complex64",
        initial: Any = None,
    ) -> None:
        super().__init__(dtype=dtype)
        hint = "Leave it out to cut nothing."
        self.max_bond = None if max_bond is None else positive_int("max_bond", max_bond, hint)
        if not 0 <= cutoff < 1:
            raise ValueError(must_be("cutoff", "at least 0 and below 1", cutoff))
        if svd_gradient not in get_args(SvdGradient):
            raise ValueError(must_be("svd_gradient", "'tangent' or 'exact'", repr(svd_gradient)))
        self.cutoff = float(cutoff)
        self.svd_gradient: SvdGradient = svd_gradient
        self._initial = None if initial is None else self._checked(initial)
        self._has_warned = False

    def _checked(self, initial: Any) -> list[Tensor]:
        """Return the tensors of an initial state, normalized."""
        if isinstance(initial, MPSState):
            tensors = list(initial.tensors)
        else:
            from ._exchange import from_quimb

            tensors = from_quimb(initial)
        dtypes = {tensor.dtype for tensor in tensors}
        if dtypes != {self.complex_dtype}:
            actual = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
            raise ValueError(must_be("initial", f"of dtype {self.dtype}", actual))
        norm = squared_norm(tensors).sqrt()
        if not bool(torch.isfinite(norm)) or not bool(norm > 0):
            raise ValueError(must_be("initial", "a state of finite, positive norm", norm.item()))
        return [*tensors[:-1], tensors[-1] / norm]

    @property
    def exact(self) -> bool:
        """Whether bonds are never cut: no ``max_bond`` and no ``cutoff``."""
        return self.max_bond is None and not self.cutoff

    @property
    def differentiable(self) -> bool:
        """True: gradients reach the angles."""
        return True

    @property
    def needs_shots(self) -> bool:
        """False: no shots are counted."""
        return False

    def _config(self) -> dict[str, Any]:
        if self._initial is not None:
            hint = "Store the state with state.save(path), and pass it again."
            actual = "an engine with an initial state"
            raise UnsupportedByEngine(must_be("engine", "one that JSON describes", actual, hint))
        names = ("max_bond", "cutoff", "svd_gradient", "dtype")
        return {name: getattr(self, name) for name in names}

    @property
    def max_qubits(self) -> int:
        """Return the most qubits of a circuit, 4096.

        Without ``max_bond`` an entangling circuit needs more memory than there is long before.
        """
        return _MAX_QUBITS

    @property
    def batched(self) -> bool:
        """Whether angles may be a batch, ``(batch, n_angles)``: without ``cutoff``.

        A batch in which a bond would be cut is refused when the sweep gets there.
        """
        return not self.cutoff

    def _prepare(
        self, circuit: Circuit, angles: Tensor, reads: Measurement
    ) -> MPSState | BatchedMPSState:
        circuit, angles = in_slots(circuit, angles)
        if angles.ndim == 1:
            return self._state(circuit, angles)
        sweep = torch.func.vmap(lambda row: tuple(self._state(circuit, row).tensors))
        return BatchedMPSState(list(sweep(angles)))

    def _state(self, circuit: Circuit, angles: Tensor) -> MPSState:
        """Return the state of one vector of angles, or of a member of a ``vmap``."""
        values = gate_matrices(circuit).values(angles, self.complex_dtype)
        tensors = self._start(circuit.n_qubits, values)
        constant = all(map(_torch.is_constant, (values, *tensors)))
        limits = (self.max_bond, self.cutoff, self.svd_gradient)
        chain = Chain(tensors, *limits, drop_zeros=constant)
        if self._initial is not None:
            chain.high = circuit.n_qubits - 1
        evolve(circuit, values, chain)
        state = MPSState(chain.tensors, chain.weights, 0 if constant else chain.rank_cuts)
        self._warn(state.fidelity_estimate)
        return state

    def _warn(self, fidelity: float) -> None:
        """Warn of the first state that lost much: one engine prepares thousands in a training."""
        if fidelity >= _LOWEST_FIDELITY or self._has_warned:
            return
        self._has_warned = True
        name, hint = ("cutoff", "Lower it.") if self.max_bond is None else ("max_bond", "Raise it.")
        if self.cutoff and self.max_bond is not None:
            hint = "Raise it, or lower cutoff."
        warnings.warn(
            f"`{name}` must keep a fidelity of {_LOWEST_FIDELITY}; got {fidelity:.3g}. {hint}",
            TruncationWarning,
            stacklevel=4,  # where prepare was called
        )

    def _start(self, n_qubits: int, values: Tensor) -> list[Tensor]:
        if self._initial is None:
            return zero_state(n_qubits, values)
        if len(self._initial) != n_qubits:
            expected = f"of the circuit's {n_qubits} qubits"
            raise ValueError(must_be("initial", expected, len(self._initial)))
        return [tensor.to(values.device) for tensor in self._initial]

    def _too_large(self, n_qubits: int) -> str:
        return must_be("n_qubits", f"at most {self.max_qubits} for MPSEngine", n_qubits)

    def __repr__(self) -> str:
        return (
            f"MPSEngine(max_bond={self.max_bond}, cutoff={self.cutoff}, "
            f"svd_gradient={self.svd_gradient!r}, dtype={self.dtype!r})"
        )
