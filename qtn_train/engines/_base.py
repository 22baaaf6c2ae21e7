"""What every engine is: it runs a circuit once and hands back a state to read from.

    engine.prepare(circuit, angles, reads) ──► State ──► probs, amplitudes, expectation, sample
           the only costly,                            pure and cheap, may be
           differentiable node                         repeated at will

Conventions: qubit 0 is the most significant bit of an outcome; angles are in radians;
probabilities are those of the normalized state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from .._registry import Registry
from .._types import COMPLEX, REAL, ComplexDtype
from ..circuits import Circuit
from ..errors import UnsupportedByEngine, must_be
from ..exchange import ImportedCircuit
from ..exchange._imported import n_free
from ..measurements._base import Measurement
from ..measurements._probabilities import Probabilities
from ._state import State
from ._transforms import entered


class Engine(ABC):
    """Base of all engines: runs a circuit and returns its state.

    An implementer defines ``kind``, the four capabilities, :meth:`_prepare`, and :meth:`_config`
    where the constructor takes more than ``dtype``.

    Args:
        dtype: Precision of the amplitudes.

    Attributes:
        kind: The word for this class in descriptions as JSON data.

    Raises:
        ValueError: An unknown ``dtype``.
    """

    kind: ClassVar[str]

    def __init__(self, *, dtype: ComplexDtype = "complex64") -> None:
        if not isinstance(dtype, str) or dtype not in COMPLEX:
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
        """The largest circuit, in qubits, that this engine takes on this machine."""

    @property
    def batched(self) -> bool:
        """Whether angles may be a batch, ``(batch, n_angles)``; results then have a batch axis."""
        return False

    @property
    def simulator(self) -> Engine:
        """The engine for readings that must cost no shots: this one, unless it counts shots."""
        return self

    def simulator_for(self, circuit: Circuit) -> Engine:
        """Return the engine for readings of a circuit that must cost no shots.

        Args:
            circuit: The circuit.

        Returns:
            :attr:`simulator`, or where that takes fewer qubits another exact engine.

        Raises:
            UnsupportedByEngine: No exact engine fits this machine's memory.
        """
        return self.simulator

    @property
    def billed(self) -> bool:
        """Whether each execution costs money."""
        return False

    @property
    def position(self) -> int:
        """Number of batches executed so far, to be saved with a model; 0 on simulators."""
        return 0

    @position.setter  # noqa: B027 - to do nothing is right for a simulator
    def position(self, value: int) -> None:
        """Ignore the number: a simulator's results do not depend on how often it ran."""

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data, with the class under ``kind``."""
        return {"kind": self.kind, **self._config()}

    def _config(self) -> dict[str, Any]:
        return {"dtype": self.dtype}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Engine:
        """Build the engine that :meth:`config` described.

        Args:
            config: Such a description.

        Returns:
            An equal engine.

        Raises:
            ValueError: An unknown kind, or a device that costs money: such an engine needs a
                journal and a budget.
        """
        options = {name: value for name, value in config.items() if name != "kind"}
        return ENGINES.find(config)._built(options)

    @classmethod
    def _built(cls, options: dict[str, Any]) -> Engine:
        """Build an engine of this class from the options that :meth:`_config` returned."""
        return cls(**options)

    def prepare(
        self,
        circuit: Circuit | ImportedCircuit,
        angles: Float[Tensor, "*batch n_angles"],
        reads: Measurement | None = None,
    ) -> State:
        """Run the circuit once and return its state.

        Args:
            circuit: The circuit, or an imported program.
            angles: Its angles in radians, or the values of the program's inputs; the state lives on
                their device. An engine that is ``batched`` takes several rows of them.
            reads: What will be read of the state, :class:`Probabilities` by default. A counting
                engine executes the programs of this measurement, and can tell nothing else; an
                exact state tells everything.

        Returns:
            The state.

        Raises:
            TypeError: ``circuit`` is not a circuit, ``angles`` not a floating-point tensor, or
                ``reads`` not a measurement.
            ValueError: ``angles`` has a wrong shape, is not finite, or is on the meta device, or
                ``reads`` does not fit the circuit's qubits.
            UnsupportedByEngine: The circuit is too large.
        """
        if not isinstance(circuit, Circuit | ImportedCircuit):
            hint = "import_circuit(...) reads those of other packages."
            raise TypeError(must_be("circuit", "a Circuit", type(circuit).__name__, hint))
        if not isinstance(angles, Tensor) or not angles.is_floating_point():
            actual = angles.dtype if isinstance(angles, Tensor) else type(angles).__name__
            raise TypeError(must_be("angles", "a floating-point tensor", actual))
        shape = tuple(angles.shape)
        is_long = len(shape) > (2 if self.batched else 1)
        n_angles = n_free(circuit)
        if shape[-1:] != (n_angles,) or is_long or 0 in shape[:-1]:
            batch = f", or (batch, {n_angles})" if self.batched else ""
            expected = f"of shape ({n_angles},){batch}"
            raise ValueError(must_be("angles", expected, shape))
        if angles.is_meta:
            raise ValueError(must_be("angles", "on a device that holds values", "meta"))
        angles = entered(angles, self)
        if circuit.n_qubits > self.max_qubits:
            raise UnsupportedByEngine(self._too_large(circuit.n_qubits))
        reads = Probabilities() if reads is None else reads
        if not isinstance(reads, Measurement):
            expected = "a measurement, such as Probabilities() or Expectation(terms)"
            raise TypeError(must_be("reads", expected, repr(reads)))
        reads.check(circuit.n_qubits)
        if isinstance(circuit, ImportedCircuit):
            return self._prepare_imported(circuit, angles, reads)
        return self._prepare(circuit, angles, reads)

    def _too_large(self, n_qubits: int) -> str:
        expected = f"at most {self.max_qubits} for {type(self).__name__} on this machine"
        return must_be("n_qubits", expected, n_qubits, "Take MPSEngine(max_bond=...) instead.")

    def _prepare_imported(
        self, program: ImportedCircuit, values: Tensor, reads: Measurement
    ) -> State:
        return self._prepare(program.circuit, program.angles(values), reads)

    @abstractmethod
    def _prepare(self, circuit: Circuit, angles: Tensor, reads: Measurement) -> State: ...

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dtype={self.dtype!r})"


ENGINES: Registry[Engine] = Registry("engine", Engine)


def register_engine(cls: type[Engine]) -> type[Engine]:
    """Register an engine class of your own, so that models with it can be loaded again.

    Args:
        cls: A subclass of :class:`Engine` with a ``kind`` of its own; it serves as a decorator.

    Returns:
        The class.

    Raises:
        TypeError: It is not a subclass of Engine, or its ``kind`` is not a string.
        ValueError: Another engine has this ``kind``.

    Example:
        >>> from qtn_train.engines import StatevectorEngine
        >>> register_engine(StatevectorEngine).kind
        'statevector'
    """
    return ENGINES.add(cls)
