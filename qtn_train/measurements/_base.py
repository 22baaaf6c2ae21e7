"""The base of measurements: numbers read of a state, and the circuits that a device runs for them.

    exact state ──────────────────────────────► values(state, start, stop): of the order of 1
    circuit ──► programs(circuit), one for each
                basis ──► counts of bit rows ──┘

A measurement is plain data: it holds no state, and its configuration as JSON builds an equal one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from .._registry import Registry
from ..circuits import Circuit, Gate
from ..errors import must_be
from ._counts import Counts
from ._pauli import Terms
from ._readout import Readout

#: A piece of a cotangent, with the number of its first entry.
Cotangent: TypeAlias = tuple[int, Tensor]
#: A function of counts that gives a number.
Functional: TypeAlias = Callable[[Counts], float]

#: Basis → the gates that turn its eigenvectors into bits: eigenvalue +1 into 0.
_ROTATIONS = {"X": ("h",), "Y": ("si", "h"), "Z": ()}


@runtime_checkable
class Readable(Protocol):
    """The numbers that measurements read of a :class:`~qtn_train.engines.State`."""

    @property
    def n_qubits(self) -> int:
        """Number of qubits."""

    def probs(self, start: int, stop: int) -> Tensor:
        """Return the probabilities of the outcomes start … stop−1."""

    def scaled_probs(self, start: int, stop: int) -> Tensor:
        """Return 2^N times the probabilities of the outcomes start … stop−1."""

    def correlators(
        self, order: int, bases: str, start: int, stop: int, reach: int | None = None
    ) -> Tensor:
        """Return the Pauli correlators start … stop−1, of those within a reach."""

    def expectations(self, terms: Sequence[Terms]) -> Tensor:
        """Return the expectation of each sum of Pauli strings."""

    def standard_errors(self, start: int, stop: int) -> Tensor:
        """Return the standard errors of counted numbers start … stop−1; zeros on exact states."""


class Measurement(ABC):
    """A measurement: the numbers 0 … n_values−1 that are read of a state, each of the order of 1.

    An implementer defines ``kind``, :meth:`n_values`, :meth:`values`, :meth:`standard_error`,
    :meth:`bases` and :meth:`config`, and, for counting engines, :meth:`estimates`, :meth:`errors`
    and :meth:`functionals`. :func:`register_measurement` lets stored models find the class.

    Attributes:
        kind: The word for this class in descriptions as JSON data.
        needs_all_values: Whether each value depends on all that are used.
    """

    kind: ClassVar[str]

    @property
    def needs_all_values(self) -> bool:
        """Whether a value depends on all values used, so that they must be read in one call."""
        return False

    @abstractmethod
    def n_values(self, n_qubits: int) -> int:
        """Return how many values a state of ``n_qubits`` qubits gives."""

    @abstractmethod
    def values(self, state: Readable, start: int, stop: int) -> Float[Tensor, "... values"]:
        """Return the values start … stop−1, standardized by constants to the order of 1.

        Args:
            state: The state.
            start: First value's number, at least 0.
            stop: One past the last value's number, at most ``n_values``.

        Returns:
            Floats, differentiable where the state is.
        """

    @abstractmethod
    def standard_error(self, state: Readable, start: int, stop: int) -> Float[Tensor, "... values"]:
        """Return the standard errors of the values start … stop−1, by the shots behind them.

        Args:
            state: The state.
            start: First value's number, at least 0.
            stop: One past the last value's number, at most ``n_values``.

        Returns:
            Non-negative floats without gradient; zeros on an exact state.
        """

    def deviation(
        self, values: Float[Tensor, "... values"], shots: int
    ) -> Float[Tensor, "... values"]:
        """Return the standard deviation that finite shots of each basis would give values.

        Args:
            values: Exact values.
            shots: Shots of each basis.

        Returns:
            Non-negative floats.

        Raises:
            ValueError: The deviations do not follow from the values.
        """
        expected = "a measurement whose values' deviations are known, such as PauliCorrelators(2)"
        raise ValueError(must_be("measurement", expected, repr(self)))

    @abstractmethod
    def estimates(
        self, counts: Sequence[Counts], start: int, stop: int, readout: Readout | None = None
    ) -> Float[Tensor, " values"]:
        """Return unbiased estimates of the raw numbers start … stop−1 from counts.

        Args:
            counts: What each program gave, after :meth:`mitigated`.
            start: First number, at least 0.
            stop: One past the last number.
            readout: The confusion matrices, with readout mitigation.

        Returns:
            float64 on the CPU: probabilities, or expectation values.
        """

    @abstractmethod
    def errors(
        self, counts: Sequence[Counts], start: int, stop: int, readout: Readout | None = None
    ) -> Float[Tensor, " values"]:
        """Return the standard errors of the raw numbers start … stop−1.

        Args:
            counts: What each program gave, before :meth:`mitigated`.
            start: First number, at least 0.
            stop: One past the last number.
            readout: The confusion matrices, with readout mitigation; their own error is left out.

        Returns:
            float64 on the CPU; zeros where the counts are probabilities.
        """

    @abstractmethod
    def functionals(
        self, n_qubits: int, cotangents: Sequence[Cotangent], readout: Readout | None = None
    ) -> list[Functional]:
        """Return, for each basis, the function of its counts that a gradient needs.

        Args:
            n_qubits: Number of qubits.
            cotangents: v, in pieces, each with the number of its first entry.
            readout: The confusion matrices, with readout mitigation.

        Returns:
            Functions of counts, linear in their frequencies, that add up to Σₖ vₖ · number k.
        """

    def mitigated(self, counts: Sequence[Counts], readout: Readout) -> list[Counts]:
        """Return counts with the readout's errors undone, where counts allow a correction.

        Args:
            counts: What each program gave.
            readout: The confusion matrices.

        Returns:
            The counts themselves, unless a subclass corrects them.
        """
        return list(counts)

    def check_mitigation(self, n_qubits: int) -> None:  # noqa: B027 - not every one has a limit
        """Raise where the readout's errors cannot be undone for so many qubits."""

    @abstractmethod
    def bases(self, n_qubits: int) -> tuple[str, ...]:
        """Return the bases that a device measures in: for each ``n_qubits`` letters out of XYZ."""

    def supports(self, n_qubits: int) -> Iterable[tuple[int, ...]] | None:
        """Return the qubits that each value depends on; None by default: on all of them.

        Args:
            n_qubits: Number of qubits.
        """
        return None

    def programs(self, circuit: Circuit) -> list[Circuit]:
        """Return the circuits that a counting engine executes, one for each basis.

        Args:
            circuit: The circuit.

        Returns:
            The circuit, each time followed by the rotations into a basis.
        """
        return [rotated(circuit, basis) for basis in self.bases(circuit.n_qubits)]

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data, with the class under ``kind``."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Measurement:
        """Build the measurement that :meth:`config` described.

        Args:
            config: Such a description.

        Returns:
            An equal measurement.

        Raises:
            ValueError: An unknown kind.
        """
        options = {name: value for name, value in config.items() if name != "kind"}
        return MEASUREMENTS.find(config)(**options)

    @property
    def described(self) -> bool:
        """Whether :meth:`describe` has something to tell of a state."""
        return False

    def describe(self, state: Readable, n_values: int) -> str:
        """Return a line about the first values of an exact state; "" by default.

        Args:
            state: The state.
            n_values: How many values are used.
        """
        return ""

    def check_live(self, circuit: Circuit) -> None:  # noqa: B027 - most values depend on angles
        """Raise where some values of a circuit are constant in all angles; by default none are."""

    def check(self, n_qubits: int) -> None:  # noqa: B027 - not every measurement has a limit
        """Raise where a state of ``n_qubits`` qubits lacks these values; by default none does."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Measurement) and self.config() == other.config()

    def __hash__(self) -> int:
        return hash(repr(self.config()))

    def __repr__(self) -> str:
        options = (f"{k}={v!r}" for k, v in self.config().items() if k != "kind")
        return f"{type(self).__name__}({', '.join(options)})"


MEASUREMENTS: Registry[Measurement] = Registry("measurement", Measurement)


def register_measurement(cls: type[Measurement]) -> type[Measurement]:
    """Make a measurement of your own known, so that models with it can be loaded again.

    Args:
        cls: A subclass of :class:`Measurement` with a ``kind`` of its own; it serves as a
            decorator.

    Returns:
        The class.

    Raises:
        TypeError: It is not a subclass of Measurement, or its ``kind`` is not a string.
        ValueError: Another measurement has this ``kind``.

    Example:
        >>> from qtn_train.measurements import Probabilities
        >>> register_measurement(Probabilities).kind
        'probabilities'
    """
    return MEASUREMENTS.add(cls)


def rotated(circuit: Circuit, basis: str) -> Circuit:
    """Return a circuit followed by the rotations that turn a basis into bits.

    Args:
        circuit: The circuit.
        basis: For each qubit X, Y or Z.

    Returns:
        The circuit itself where every letter is Z.

    Example:
        >>> [gate.name for gate in rotated(Circuit(2, (), 0), "YZ").gates]
        ['si', 'h']
    """
    gates = [
        Gate(name, (qubit,)) for qubit, letter in enumerate(basis) for name in _ROTATIONS[letter]
    ]
    if not gates:
        return circuit
    return Circuit(circuit.n_qubits, (*circuit.gates, *gates), circuit.n_angles)
