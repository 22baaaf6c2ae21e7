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
from ._draws import draw, generator, integers
from ._reductions import MOST_REDUCED, checked_qubits, density_matrix, entropy, product

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

    def amplitude(self, bits: str | Sequence[int]) -> Complex[Tensor, "..."]:
        """Return the amplitude of one outcome.

        Args:
            bits: One for each qubit, qubit 0 first: ``"0110"``, or a list of 0 and 1.

        Returns:
            A complex scalar, differentiable where the engine is.

        Raises:
            ValueError: There are more or fewer bits than qubits.
            UnsupportedByEngine: The state holds no amplitudes.

        Example:
            >>> from qtn_train.circuits import Circuit
            >>> from qtn_train.engines import MPSEngine
            >>> ghz = Circuit.builder(100).h(0)
            >>> for qubit in range(99):
            ...     ghz = ghz.cx(qubit, qubit + 1)
            >>> state = MPSEngine().prepare(ghz.build(), torch.zeros(0))
            >>> round(state.amplitude("1" * 100).real.item(), 4)
            0.7071
        """
        text = bits if isinstance(bits, str) else ""
        if isinstance(bits, list | tuple) or getattr(bits, "ndim", 0) == 1:
            text = "".join(str(int(bit)) for bit in bits)
        if len(text) != self.n_qubits or set(text) - {"0", "1"}:
            expected = f"{self.n_qubits} bits, 0 or 1, one a qubit"
            raise ValueError(must_be("bits", expected, repr(bits)[:80]))
        number = int(text, 2)
        return self._amplitudes(number, number + 1)[..., 0]

    def overlap(self, other: State) -> Complex[Tensor, "..."]:
        """Return the overlap ⟨self|other⟩ of two states.

        Args:
            other: A state of as many qubits; of another engine where all amplitudes fit.

        Returns:
            A complex scalar of at most modulus 1, differentiable where both engines are.

        Raises:
            TypeError: ``other`` is no state.
            ValueError: It has another number of qubits.
            UnsupportedByEngine: One of them holds no amplitudes, or holds too many.

        Example:
            >>> from qtn_train.circuits import Circuit
            >>> from qtn_train.engines import MPSEngine, StatevectorEngine
            >>> plus = Circuit.builder(2).h(0).h(1).build()
            >>> one = MPSEngine().prepare(plus, torch.zeros(0))
            >>> two = StatevectorEngine().prepare(plus, torch.zeros(0))
            >>> round(one.overlap(two).real.item(), 4)
            1.0
        """
        if not isinstance(other, State):
            raise TypeError(must_be("other", "a State", type(other).__name__))
        if other.n_qubits != self.n_qubits:
            raise ValueError(must_be("other", f"of {self.n_qubits} qubits", other.n_qubits))
        return self._overlap(other)

    def density_matrix(self, qubits: int | Sequence[int]) -> Complex[Tensor, "... rows rows"]:
        """Return the reduced density matrix of some qubits.

        Args:
            qubits: Up to six different ones; the first is the most significant bit of a row.

        Returns:
            A Hermitian matrix of trace 1, differentiable where the engine is.

        Raises:
            ValueError: A qubit is not there or comes twice, or there are too many.
            UnsupportedByEngine: As for :meth:`expectation`.

        Example:
            >>> from qtn_train.circuits import Circuit
            >>> from qtn_train.engines import MPSEngine
            >>> bell = Circuit.builder(2).h(0).cx(0, 1).build()
            >>> MPSEngine().prepare(bell, torch.zeros(0)).density_matrix(0).real.round(decimals=4)
            tensor([[0.5000, 0.0000],
                    [0.0000, 0.5000]])
        """
        return self._density_matrix(checked_qubits(qubits, self.n_qubits, MOST_REDUCED))

    def mutual_information(
        self, first: int | Sequence[int], second: int | Sequence[int], order: float = 1.0
    ) -> float:
        """Return the mutual information S(A) + S(B) − S(AB) of two sets of qubits, in bits.

        Args:
            first: A: one qubit or several.
            second: B: other ones; six in both at most.
            order: 1 for von Neumann's entropy, another positive number for Rényi's.

        Raises:
            ValueError: As for :meth:`density_matrix`, or the order is not positive.
            UnsupportedByEngine: As for :meth:`expectation`.

        Example:
            >>> from qtn_train.circuits import Circuit
            >>> from qtn_train.engines import StatevectorEngine
            >>> bell = Circuit.builder(2).h(0).cx(0, 1).build()
            >>> round(StatevectorEngine().prepare(bell, torch.zeros(0)).mutual_information(0, 1), 4)
            2.0
        """
        parts = [checked_qubits(p, self.n_qubits, MOST_REDUCED) for p in (first, second)]
        both = checked_qubits(parts[0] + parts[1], self.n_qubits, MOST_REDUCED)
        with torch.no_grad():
            matrices = [self.density_matrix(part) for part in (*parts, both)]
            each = [entropy(torch.linalg.eigvalsh(matrix), order) for matrix in matrices]
        return each[0] + each[1] - each[2]

    def schmidt_values(self, bond: int) -> Float[Tensor, "... values"]:
        """Return the Schmidt values across a bond, the largest first.

        Args:
            bond: From 1 to N − 1: the qubits 0 … bond−1 against the rest, as in quimb.

        Returns:
            Non-negative float64 numbers without gradient, whose squares sum to 1.

        Raises:
            ValueError: There is no such bond.
            UnsupportedByEngine: The state has none; take MPSEngine or StatevectorEngine.
        """
        if not 1 <= bond < self.n_qubits:
            raise ValueError(must_be("bond", f"from 1 to {self.n_qubits - 1}", bond))
        with torch.no_grad():
            return self._schmidt_values(bond)

    def entropy(self, bond: int, order: float = 1.0) -> float:
        """Return the entanglement entropy across a bond, in bits.

        Args:
            bond: From 1 to N − 1: the qubits 0 … bond−1 against the rest, as in quimb.
            order: 1 for von Neumann's entropy, another positive number for Rényi's.

        Returns:
            Between 0 and log2 of the number of Schmidt values.

        Raises:
            ValueError: There is no such bond, or the order is not positive.
            UnsupportedByEngine: As for :meth:`schmidt_values`.

        Example:
            >>> from qtn_train.circuits import Circuit
            >>> from qtn_train.engines import MPSEngine
            >>> bell = Circuit.builder(2).h(0).cx(0, 1).build()
            >>> state = MPSEngine().prepare(bell, torch.zeros(0))
            >>> round(state.entropy(1), 4), round(state.entropy(1, order=2), 4)
            (1.0, 1.0)
        """
        return entropy(self.schmidt_values(bond).square(), order)

    def correlation(self, first: Terms, second: Terms) -> Float[Tensor, "..."]:
        """Return the connected correlation ⟨AB⟩ − ⟨A⟩⟨B⟩ of two observables.

        Args:
            first: A, as for :meth:`expectation`.
            second: B, on other qubits.

        Returns:
            A real scalar, differentiable where the engine is.

        Raises:
            TypeError: As for :meth:`expectation`.
            ValueError: They share a qubit, or cannot be read.
            UnsupportedByEngine: As for :meth:`expectation`.

        Example:
            >>> from qtn_train.circuits import Circuit
            >>> from qtn_train.engines import MPSEngine
            >>> bell = Circuit.builder(2).h(0).cx(0, 1).build()
            >>> round(MPSEngine().prepare(bell, torch.zeros(0)).correlation("Z0", "Z1").item(), 4)
            1.0
        """
        a, b = (parse_terms(terms, self.n_qubits) for terms in (first, second))
        values = self._expectations([product(a, b), a, b])
        return values[..., 0] - values[..., 1] * values[..., 2]

    def expectation(self, terms: Terms | list[Terms] | tuple[Terms, ...]) -> Float[Tensor, "..."]:
        """Return the expectation of a sum of Pauli strings, or of each sum of a list.

        Args:
            terms: Pauli strings with their coefficients, ``{"ZZI": 0.5}``, qubit 0 leftmost; or
                one string; or with the qubits' numbers, ``"Z0 Z1"`` or ``{(0, 1): "ZZ"}``; or a
                Hermitian matrix on some qubits, ``{(3, 4): matrix}``.

        Returns:
            A real scalar, differentiable where the engine is; of a list a vector.

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
        if isinstance(terms, list | tuple):
            return self.expectations(terms)
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

    def _overlap(self, other: State) -> Tensor:
        expected = f"at most {_CUMULATIVE_QUBITS} for an overlap of all amplitudes"
        if self.n_qubits > _CUMULATIVE_QUBITS:
            hint = "Take MPSEngine() for both states."
            raise UnsupportedByEngine(must_be("n_qubits", expected, self.n_qubits, hint))
        mine, its = self.amplitudes(), other.amplitudes()
        return (mine.conj() * its).sum(-1)

    def _density_matrix(self, qubits: tuple[int, ...]) -> Tensor:
        return density_matrix(self._expectations, qubits)

    def _schmidt_values(self, bond: int) -> Tensor:
        expected = "of an engine that gives Schmidt values, MPSEngine or StatevectorEngine"
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
