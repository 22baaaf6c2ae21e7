"""What every engine is: it runs a circuit once and hands back a state to read from.

    engine.prepare(circuit, angles) ──► State ──► probs(start, stop)
           the only costly,                     pure and cheap, may be
           differentiable node                  repeated at will

Conventions: qubit 0 is the most significant bit of an outcome; angles are in radians;
probabilities are those of the normalized state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .. import _html as html
from .._types import COMPLEX, REAL, ComplexDtype
from ..circuits import Circuit
from ..errors import UnsupportedByEngine, must_be, positive_int

#: More probabilities than this in one tensor are refused: ask for them in blocks.
MAX_BLOCK = 2**31
# Outcomes in a notebook's small picture.
_SHOWN = 64


class State(ABC):
    """The result of running a circuit once.

    An implementer defines ``n_qubits``, :meth:`_probs` and :meth:`sample`.
    """

    @property
    @abstractmethod
    def n_qubits(self) -> int:
        """Number of qubits."""

    def probs(self, start: int, stop: int) -> Float[Tensor, " outcomes"]:
        """Return the probabilities of the outcomes start … stop−1.

        Args:
            start: First outcome number, at least 0.
            stop: One past the last outcome number, at most 2**n_qubits.

        Returns:
            Non-negative floats, differentiable where the engine is; all outcomes together sum to 1.

        Raises:
            ValueError: The range is empty, outside the outcomes, or too long for one tensor.
        """
        if not 0 <= start < stop <= 2**self.n_qubits:
            expected = f"0 <= start < stop <= 2**{self.n_qubits}"
            raise ValueError(must_be("start, stop", expected, (start, stop)))
        if stop - start > MAX_BLOCK:
            hint = "Ask for the probabilities in blocks."
            raise ValueError(must_be("stop - start", "at most 2**31", stop - start, hint))
        return self._probs(start, stop)

    def diagnostics(self) -> dict[str, float]:
        """Return figures about this state's errors that a training history should keep."""
        return {}

    def __repr__(self) -> str:
        figures = [f"{name}={value:.4g}" for name, value in self.diagnostics().items()]
        return f"{type(self).__name__}({', '.join((f'n_qubits={self.n_qubits}', *figures))})"

    def _repr_html_(self) -> str:
        rows = [("qubits", self.n_qubits), *self.diagnostics().items()]
        return html.table(type(self).__name__, rows, self._picture())

    def _picture(self) -> str:
        """Return a small picture for notebooks: here, the probabilities of the first outcomes."""
        n_shown = min(2**self.n_qubits, _SHOWN)
        with torch.no_grad():
            probs = self._probs(0, n_shown).tolist()
        names = [f"{i:0{self.n_qubits}b}: {p:.4g}" for i, p in enumerate(probs)]
        outcomes = (
            "all outcomes" if n_shown == 2**self.n_qubits else f"the first {n_shown} outcomes"
        )
        return html.bars(probs, f"probabilities of {outcomes}", names)

    @abstractmethod
    def _probs(self, start: int, stop: int) -> Tensor: ...

    @abstractmethod
    def sample(self, shots: int, rng: torch.Generator) -> Int[Tensor, " shots"]:
        """Return outcome numbers drawn from the distribution.

        Args:
            shots: How many, at least 1.
            rng: A seeded generator on the CPU; the same seed gives the same outcomes.

        Returns:
            int64 outcome numbers on the CPU, in the order drawn.

        Raises:
            ValueError: ``shots`` is below 1.
        """


class Engine(ABC):
    """Runs circuits. An implementer defines the four capabilities and :meth:`_prepare`.

    Args:
        dtype: Precision of the amplitudes.

    Raises:
        ValueError: An unknown ``dtype``.
    """

    def __init__(self, *, dtype: ComplexDtype = "complex64") -> None:
        if dtype not in COMPLEX:
            raise ValueError(must_be("dtype", "'complex64' or 'complex128'", repr(dtype)))
        self.dtype: ComplexDtype = dtype

    @property
    def complex_dtype(self) -> torch.dtype:
        """The torch type of amplitudes."""
        return COMPLEX[self.dtype]

    @property
    def real_dtype(self) -> torch.dtype:
        """The torch type of probabilities."""
        return REAL[self.dtype]

    @property
    @abstractmethod
    def exact(self) -> bool:
        """Whether probabilities are exact up to rounding."""

    @property
    @abstractmethod
    def differentiable(self) -> bool:
        """Whether gradients reach the angles."""

    @property
    @abstractmethod
    def needs_shots(self) -> bool:
        """Whether probabilities are estimated from a finite number of shots."""

    @property
    @abstractmethod
    def max_qubits(self) -> int:
        """The largest circuit that this engine takes on this machine."""

    @property
    def simulator(self) -> Engine:
        """The engine for what must cost no shots: itself, unless it counts shots."""
        return self

    @property
    def billed(self) -> bool:
        """Whether each execution costs money."""
        return False

    @property
    def position(self) -> int:
        """Batches of counted executions so far, the state to save; 0 where none are counted."""
        return 0

    @position.setter  # noqa: B027 - to do nothing is right for a simulator
    def position(self, value: int) -> None:
        """Nothing to set: a simulator's results do not depend on how often it ran."""

    def prepare(
        self, circuit: Circuit, angles: Float[Tensor, " n_angles"], n_outcomes: int | None = None
    ) -> State:
        """Run the circuit once.

        Args:
            circuit: The circuit.
            angles: Its angles in radians; the state lives on their device.
            n_outcomes: How many outcomes, from 0 on, will be asked for; all by default.

        Returns:
            The state.

        Raises:
            TypeError: ``angles`` is not a floating-point tensor.
            ValueError: ``angles`` has a wrong shape, or is not finite.
            UnsupportedByEngine: The circuit is too large.
        """
        if not isinstance(angles, Tensor) or not angles.is_floating_point():
            actual = angles.dtype if isinstance(angles, Tensor) else type(angles).__name__
            raise TypeError(must_be("angles", "a floating-point tensor", actual))
        if angles.shape != (circuit.n_angles,):
            expected = f"of shape ({circuit.n_angles},)"
            raise ValueError(must_be("angles", expected, tuple(angles.shape)))
        if not bool(torch.isfinite(angles).all()):
            raise ValueError(must_be("angles", "finite", "NaN or infinity"))
        if circuit.n_qubits > self.max_qubits:
            raise UnsupportedByEngine(self._too_large(circuit.n_qubits))
        if n_outcomes is None:
            n_outcomes = 2**circuit.n_qubits
        if positive_int("n_outcomes", n_outcomes) > 2**circuit.n_qubits:
            raise ValueError(must_be("n_outcomes", f"at most 2**{circuit.n_qubits}", n_outcomes))
        return self._prepare(circuit, angles, n_outcomes)

    def _too_large(self, n_qubits: int) -> str:
        expected = f"at most {self.max_qubits} for {type(self).__name__} on this machine"
        return must_be("n_qubits", expected, n_qubits, "Take MPSEngine(max_bond=...) instead.")

    @abstractmethod
    def _prepare(self, circuit: Circuit, angles: Tensor, n_outcomes: int) -> State: ...

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dtype={self.dtype!r})"
