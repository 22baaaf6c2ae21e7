"""What every state is: the result of one run of a circuit, to be read as often as wanted.

Methods without an underscore check their arguments; an implementer defines those with one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Complex, Float, Int, UInt8
from torch import Tensor

from .. import _html as html
from ..errors import UnsupportedByEngine, must_be, positive_int
from ..measurements._correlators import correlator_terms, n_correlators
from ..measurements._counts import bits_of
from ..measurements._pauli import PauliSum, Terms, parse_list, parse_terms

#: More numbers than this in one tensor are refused: ask for them in blocks.
MAX_BLOCK = 2**31
# Outcomes in a notebook's small picture.
_SHOWN = 64
# More qubits than this do not fit the int64 number of an outcome.
_INT64_QUBITS = 63
# Above, the derivative of 2^N·p is no float32.
_SCALED_QUBITS = 126
# Up to here, all probabilities are added up to draw from them.
_CUMULATIVE_QUBITS = 24


class State(ABC):
    """The result of running a circuit once. No method executes anything.

    An implementer defines ``n_qubits`` and :meth:`_probs`. Where it can, it defines
    :meth:`_amplitudes` and :meth:`_expectations`, and :meth:`_correlators` where it has a faster
    way than one expectation after another; :meth:`_log_probs` and :meth:`_scaled_probs` where
    probabilities leave the range of floating-point numbers; and :meth:`_sample_bits` for more than
    24 qubits.
    """

    @property
    @abstractmethod
    def n_qubits(self) -> int:
        """Number of qubits."""

    def probs(self, start: int, stop: int) -> Float[Tensor, "... outcomes"]:
        """Return the probabilities of the outcomes start … stop−1.

        Args:
            start: First outcome number, at least 0.
            stop: One past the last outcome number, at most 2**n_qubits.

        Returns:
            Non-negative floats, differentiable where the engine is; all outcomes together sum to 1.
            Of a batch of states, one line for each.

        Raises:
            TypeError: An end of the range is not an integer.
            ValueError: The range is empty, outside the outcomes, or too long for one tensor.
        """
        return self._probs(*self._range(start, stop))

    def log_probs(self, start: int, stop: int) -> Float[Tensor, "... outcomes"]:
        """Return the natural logarithms of the probabilities of the outcomes start … stop−1.

        Args:
            start: First outcome number, at least 0.
            stop: One past the last outcome number, at most 2**n_qubits.

        Returns:
            Floats of at most 0, up to rounding, −inf for a probability of 0; on exact states right
            where the probability itself is smaller than the smallest float.

        Raises:
            TypeError: An end of the range is not an integer.
            ValueError: The range is empty, outside the outcomes, or too long for one tensor.
        """
        return self._log_probs(*self._range(start, stop))

    def scaled_probs(self, start: int, stop: int) -> Float[Tensor, "... outcomes"]:
        """Return 2^N times the probabilities of the outcomes start … stop−1.

        Args:
            start: First outcome number, at least 0.
            stop: One past the last outcome number, at most 2**n_qubits.

        Returns:
            Non-negative floats, 1 on average over all outcomes. What is larger than 2^126 is
            returned as 2^126, without a gradient.

        Raises:
            TypeError: An end of the range is not an integer.
            ValueError: The range is empty, outside the outcomes, or too long for one tensor.
        """
        return self._scaled_probs(*self._range(start, stop))

    def amplitudes(
        self, start: int = 0, stop: int | None = None
    ) -> Complex[Tensor, "... outcomes"]:
        """Return the amplitudes of the outcomes start … stop−1.

        Args:
            start: First outcome number, at least 0.
            stop: One past the last outcome number, at most 2**n_qubits, which is the default.

        Returns:
            Complex amplitudes of the normalized state, differentiable where the engine is.

        Raises:
            TypeError: An end of the range is not an integer.
            ValueError: The range is empty, outside the outcomes, or too long for one tensor.
            UnsupportedByEngine: The state holds no amplitudes.
        """
        return self._amplitudes(*self._range(start, 2**self.n_qubits if stop is None else stop))

    def expectation(self, terms: Terms) -> Float[Tensor, "..."]:
        """Return the expectation of a sum of Pauli strings.

        Args:
            terms: Pauli strings with their coefficients, ``{"ZZI": 0.5}``, qubit 0 leftmost; or
                one string; or with the qubits' numbers, ``"Z0 Z1"`` or ``{(0, 1): "ZZ"}``.

        Returns:
            A real scalar, differentiable where the engine is.

        Raises:
            TypeError: Another type of terms, or a coefficient that is not a real number.
            ValueError: No string, or one that cannot be read.
            UnsupportedByEngine: The state cannot tell; a counting engine's state, where the terms
                were not declared.

        Example:
            >>> from qtn_train.circuits import Circuit
            >>> from qtn_train.engines import StatevectorEngine
            >>> flipped = Circuit.builder(2).x(0).build()
            >>> state = StatevectorEngine().prepare(flipped, torch.zeros(0))
            >>> state.expectation({"ZI": 2.0}).item()
            -2.0
        """
        return self._expectations([parse_terms(terms, self.n_qubits)])[..., 0]

    def expectations(self, terms: Sequence[Terms]) -> Float[Tensor, "... sums"]:
        """Return the expectation of each of several sums of Pauli strings.

        Args:
            terms: The sums, each as for :meth:`expectation`.

        Returns:
            A real number for each, differentiable where the engine is.

        Raises:
            TypeError: It is not a list, or a coefficient is not a real number.
            ValueError: An empty list, no string, or one that cannot be read.
            UnsupportedByEngine: As for :meth:`expectation`.
        """
        return self._expectations(parse_list(terms, self.n_qubits))

    def correlators(
        self,
        order: int,
        bases: str = "xyz",
        start: int = 0,
        stop: int | None = None,
        reach: int | None = None,
    ) -> Float[Tensor, "... values"]:
        """Return the Pauli correlators start … stop−1: ⟨P_a P_b …⟩ with one letter P on all qubits.

        Args:
            order: Qubits of a correlator, from 1 to N.
            bases: Letters out of ``"xyz"``; those of the first come first.
            start: First correlator's number: for each letter, the tuples of increasing qubits in
                lexicographic order.
            stop: One past the last number; all by default.
            reach: Largest distance between the first and the last qubit of a tuple; any without.

        Returns:
            Real numbers between −1 and 1, differentiable where the engine is.

        Raises:
            TypeError: ``order``, ``reach`` or an end of the range is not an integer.
            ValueError: ``order`` is larger than N, a letter is unknown or comes twice, ``reach`` is
                below ``order − 1``, or the range is empty or outside the correlators.
            UnsupportedByEngine: The state cannot tell; a counting engine's state, where they were
                not declared.

        Example:
            >>> from qtn_train.circuits import Circuit
            >>> from qtn_train.engines import MPSEngine
            >>> ghz = Circuit.builder(3).h(0).cx(0, 1).cx(1, 2).build()
            >>> state = MPSEngine().prepare(ghz, torch.zeros(0))
            >>> [round(value, 4) + 0.0 for value in state.correlators(2, "xz").tolist()]
            [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
        """
        total = n_correlators(self.n_qubits, order, bases, reach)
        ends = (start, total if stop is None else stop)
        return self._correlators(order, bases, *integers(ends, total), reach)

    def sample(
        self, shots: int, rng: torch.Generator | None = None, *, seed: int | None = None
    ) -> Int[Tensor, " shots"]:
        """Return outcome numbers drawn from the distribution.

        Args:
            shots: How many, at least 1.
            rng: A seeded generator on the CPU; the same seed gives the same outcomes.
            seed: A seed in place of the generator.

        Returns:
            int64 outcome numbers on the CPU, in the order drawn.

        Raises:
            TypeError: ``shots`` is no integer, or not one of ``rng`` and ``seed`` is given.
            ValueError: ``shots`` is below 1.
            UnsupportedByEngine: Outcome numbers of more than 63 qubits do not fit int64; take
                :meth:`sample_bits`.
        """
        if self.n_qubits > _INT64_QUBITS:
            expected = f"at most {_INT64_QUBITS} for outcome numbers in int64"
            hint = "Take sample_bits() instead."
            raise UnsupportedByEngine(must_be("n_qubits", expected, self.n_qubits, hint))
        return self._sample(positive_int("shots", shots), generator(rng, seed))

    def sample_bits(
        self, shots: int, rng: torch.Generator | None = None, *, seed: int | None = None
    ) -> UInt8[Tensor, "shots n_qubits"]:
        """Return bit strings drawn from the distribution, for any number of qubits.

        Args:
            shots: How many, at least 1.
            rng: A seeded generator on the CPU; the same seed gives the bits of the same outcomes.
            seed: A seed in place of the generator.

        Returns:
            uint8 bits on the CPU, qubit 0 first.

        Raises:
            TypeError: ``shots`` is no integer, or not one of ``rng`` and ``seed`` is given.
            ValueError: ``shots`` is below 1.

        Example:
            >>> from qtn_train.circuits import Circuit
            >>> from qtn_train.engines import MPSEngine
            >>> ghz = Circuit.builder(3).h(0).cx(0, 1).cx(1, 2).build()
            >>> bits = MPSEngine().prepare(ghz, torch.zeros(0)).sample_bits(100, seed=0)
            >>> sorted(set(map(tuple, bits.tolist())))
            [(0, 0, 0), (1, 1, 1)]
        """
        return self._sample_bits(positive_int("shots", shots), generator(rng, seed))

    def standard_errors(self, start: int, stop: int) -> Float[Tensor, "... values"]:
        """Return the standard errors of the declared numbers start … stop−1: zeros, unless counted.

        Args:
            start: First number, at least 0.
            stop: One past the last number.

        Returns:
            Non-negative floats without gradient: of the probabilities, or of the expectations in
            the order declared.
        """
        return torch.zeros(stop - start)

    def diagnostics(self) -> dict[str, float]:
        """Return error figures of this state, by name, for the training history."""
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

    def _range(self, start: int, stop: int) -> tuple[int, int]:
        """Return the ends of a range of outcomes as plain integers, or raise."""
        start, stop = integers((start, stop), 2**self.n_qubits, f"2**{self.n_qubits}")
        if stop - start > MAX_BLOCK:
            hint = "Ask for the numbers in blocks."
            raise ValueError(must_be("stop - start", "at most 2**31", stop - start, hint))
        return start, stop

    @abstractmethod
    def _probs(self, start: int, stop: int) -> Tensor: ...

    def _log_probs(self, start: int, stop: int) -> Tensor:
        return self._probs(start, stop).log()

    def _scaled_probs(self, start: int, stop: int) -> Tensor:
        if self.n_qubits > _SCALED_QUBITS:
            expected = f"at most {_SCALED_QUBITS} for 2^N·p of {type(self).__name__}"
            hint = "Take MPSEngine(), or reads=Expectation(terms)."
            raise UnsupportedByEngine(must_be("n_qubits", expected, self.n_qubits, hint))
        return self._probs(start, stop) * 2.0**self.n_qubits

    def _amplitudes(self, start: int, stop: int) -> Tensor:
        expected = "of an engine that holds amplitudes, such as StatevectorEngine or MPSEngine"
        raise UnsupportedByEngine(must_be("state", expected, type(self).__name__))

    def _expectations(self, sums: list[PauliSum]) -> Tensor:
        expected = "of an engine that gives expectations, such as StatevectorEngine or MPSEngine"
        raise UnsupportedByEngine(must_be("state", expected, type(self).__name__))

    def _correlators(
        self, order: int, bases: str, start: int, stop: int, reach: int | None
    ) -> Tensor:
        terms = correlator_terms(self.n_qubits, order, bases, start, stop, reach)
        return self._expectations(terms)

    def _sample(self, shots: int, rng: torch.Generator) -> Tensor:
        outcomes = torch.zeros(shots, dtype=torch.int64)
        bits = self._sample_bits(shots, rng)
        for qubit in range(self.n_qubits):
            outcomes = 2 * outcomes + bits[:, qubit]
        return outcomes

    def _sample_bits(self, shots: int, rng: torch.Generator) -> Tensor:
        if self.n_qubits > _CUMULATIVE_QUBITS:
            expected = f"at most {_CUMULATIVE_QUBITS} to draw from {type(self).__name__}"
            hint = "Take MPSEngine() instead."
            raise UnsupportedByEngine(must_be("n_qubits", expected, self.n_qubits, hint))
        with torch.no_grad():
            outcomes = draw(self._probs(0, 2**self.n_qubits), shots, rng)
        return bits_of(outcomes, self.n_qubits)


def integers(ends: tuple[int, int], total: int, shown: str = "") -> tuple[int, int]:
    """Return the ends of a range as plain integers, checked against the total.

    Args:
        ends: First number, and one past the last.
        total: The largest end.
        shown: How a message writes it.

    Returns:
        The two.

    Raises:
        TypeError: An end is not an integer.
        ValueError: The range is empty or passes the total.
    """
    if not all(hasattr(end, "__index__") and not isinstance(end, bool) for end in ends):
        raise TypeError(must_be("start, stop", "integers", ends))
    start, stop = (end.__index__() for end in ends)
    if not 0 <= start < stop <= total:
        raise ValueError(must_be("start, stop", f"0 <= start < stop <= {shown or total}", ends))
    return start, stop


def generator(rng: torch.Generator | None, seed: int | None) -> torch.Generator:
    """Return the given random generator, or a new one for the seed.

    Args:
        rng: A generator.
        seed: A seed in its place.

    Returns:
        The generator.

    Raises:
        TypeError: Neither or both are given, or the seed is not an integer.
    """
    if (rng is None) == (seed is None):
        actual = "neither" if rng is None else "both"
        raise TypeError(must_be("rng, seed", "one of the two", actual, "Pass seed=0, say."))
    if rng is not None:
        return rng
    if isinstance(seed, bool) or seed is None or not hasattr(seed, "__index__"):
        raise TypeError(must_be("seed", "an integer", repr(seed)))
    return torch.Generator().manual_seed(seed.__index__())


def draw(
    probs: Float[Tensor, " outcomes"], shots: int, rng: torch.Generator
) -> Int[Tensor, " shots"]:
    """Return ``shots`` outcome numbers drawn from the probabilities of all outcomes.

    Args:
        probs: The probabilities, normalized up to rounding.
        shots: How many to draw.
        rng: A generator on the CPU.

    Returns:
        int64 numbers on the CPU.
    """
    cumulative = probs.double().cumsum(0).cpu()
    draws = torch.rand(shots, generator=rng, dtype=torch.float64) * cumulative[-1]
    return torch.searchsorted(cumulative, draws, right=True).clamp_(max=len(cumulative) - 1)
