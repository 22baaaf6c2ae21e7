"""Weights from a quantum circuit: angles → state → measured values → mapping → weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from .._autocast import outside_autocast
from .._inference import make_ordinary, outside_inference_mode
from .._random import raw_bits, uniform
from ..circuits import Circuit
from ..engines import Engine, choose_engine
from ..engines._transforms import inside_transform
from ..errors import must_be, positive_int
from ..exchange import ImportedCircuit
from ..exchange._imported import circuit_from_json, gates_of, n_free
from ..mapping import MappingModel
from ..measurements import Measurement, Probabilities
from . import _shared
from ._base import WeightGenerator


@final
class CircuitGenerator(WeightGenerator):
    """A parameterized circuit followed by a mapping.

    The circuit runs once in each call. Where the values take more than one chunk, values and
    mapping are recomputed chunk by chunk in the backward pass, so that memory stays bounded.

    Args:
        circuit: The circuit; its state must give at least ``n_weights / weights_per_outcome``
            values. Of an imported program the inputs are trained, its constants are not; all qubits
            are read, whatever the program itself measures.
        engine: What runs it; ``"auto"`` is the cheapest exact simulator that fits.
        mapping: What turns values into weights, made for at least as many values.
        measurement: What is read of the state, :class:`Probabilities` by default.
        n_weights: Length of the generated vector.
        chunk_size: Values of a chunk, a power of two.
        training_shots: In training mode and with gradients on, noise is added to the values:
            independent, normal, as large as that of so many shots of each basis, and drawn anew in
            each call. The network learns to bear it. Nothing is added where an engine counts shots
            of its own.
        seed: Seed of the initial angles, or inputs, uniform in (−π, π), and of the noise.

    Raises:
        TypeError: A number is not an integer.
        ValueError: Too few qubits (the message says how many are needed) or values, an imported
            program without inputs, a mapping for fewer values, a chunk size that is not a power of
            two, or ``training_shots`` for a measurement whose values' deviations are not known.

    Source:
        arXiv 2402.16465, sections on the method; chunks and recomputation are ours.

    Example:
        >>> from qtn_train.circuits import ansatz
        >>> from qtn_train.engines import StatevectorEngine
        >>> from qtn_train.mapping import MLPMapping
        >>> circuit = ansatz.ry_cx_chain(4, 2)
        >>> generator = CircuitGenerator(circuit, StatevectorEngine(), MLPMapping(11), n_weights=11)
        >>> generator().shape
        torch.Size([11])
    """

    kind: ClassVar[str] = "circuit"

    @outside_inference_mode
    def __init__(
        self,
        circuit: Circuit | ImportedCircuit,
        engine: Engine | Literal["auto"],
        mapping: MappingModel,
        *,
        measurement: Measurement | None = None,
        n_weights: int,
        chunk_size: int = 2**16,
        training_shots: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.n_weights = positive_int("n_weights", n_weights)
        self.chunk_size = positive_int("chunk_size", chunk_size)
        if chunk_size & (chunk_size - 1):
            raise ValueError(must_be("chunk_size", "a power of two", chunk_size))
        self.measurement = Probabilities() if measurement is None else measurement
        _check_values(circuit, self.measurement, mapping, n_weights)
        self.n_values = values_needed(n_weights, mapping.weights_per_outcome)
        if mapping.takes_all_values:
            self.n_values = min(mapping.n_values, self.measurement.n_values(circuit.n_qubits))
        self.circuit = circuit
        self._reason = ""
        if isinstance(engine, str):
            if engine != "auto":
                raise ValueError(must_be("engine", "an Engine or 'auto'", repr(engine)))
            plain = gates_of(circuit)
            engine, self._reason = choose_engine(plain, self.n_values, self.measurement)
        self.training_shots = training_shots
        if training_shots is not None:
            positive_int("training_shots", training_shots)
            self.measurement.deviation(torch.zeros(1), training_shots)
        self.engine = engine
        self._draws = 0
        self._diagnostics: dict[str, float] = {}
        self._is_shared = False
        self.mapping = mapping
        make_ordinary(self)
        self.seed = seed
        start = (np.pi * uniform(seed, "angles", n_free(circuit))).astype(np.float32)
        self.angles = nn.Parameter(torch.from_numpy(start))

    def forward(self) -> Float[Tensor, " n_weights"]:
        """Return all weights, differentiable with respect to angles and mapping."""
        learns = self.training and torch.is_grad_enabled()
        return self._weights(self.engine, with_noise=learns and self._is_noisy)

    def _weights(self, engine: Engine, *, with_noise: bool = False) -> Tensor:
        state = engine.prepare(self.circuit, self.angles, self.measurement)
        self._diagnostics = state.diagnostics()
        # One draw a call: a chunk that is made again to go back has the noise that it had.
        draw = self._draws if with_noise else None
        self._draws += with_noise

        def values(start: int, stop: int) -> Tensor:
            exact = self.measurement.values(state, start, stop).to(self.angles.dtype)
            return exact if draw is None else exact + self._noise(exact.detach(), draw, start)

        at_once = self.measurement.needs_all_values or self.mapping.needs_all_values
        outputs = mapped(
            self.mapping,
            values,
            self.n_values,
            self.n_values if at_once else self.chunk_size,
            is_shared=self._is_shared and not at_once,
        )
        return outputs[: self.n_weights]

    def _noise(self, exact: Tensor, draw: int, start: int) -> Tensor:
        """Return the noise of the values from ``start`` on: the same for the same draw."""
        assert self.training_shots is not None
        own = int(raw_bits(self.seed, f"noise/{draw}/{start}", 1)[0] >> np.uint64(1))
        rng = torch.Generator(exact.device).manual_seed(own)
        normal = torch.randn(exact.shape, generator=rng, dtype=exact.dtype, device=exact.device)
        return normal * self.measurement.deviation(exact, self.training_shots)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Let each process of torch's group make the weights of some chunks only.

        Inside the ``with`` block all processes must call together, go back together and add up
        their gradients. It changes nothing where everything is one chunk, or the mapping needs all
        values at once.
        """
        self._is_shared = _shared.n_processes() > 1
        try:
            yield
        finally:
            self._is_shared = False

    def origin(self) -> Float[Tensor, " n_weights"]:
        """Return the weights at the initial parameters, without spending a shot."""
        with torch.no_grad():
            return self._weights(self.engine.simulator_for(gates_of(self.circuit)))

    def version(self) -> tuple[object, ...]:
        """Return a cache key of parameters and engine: equal keys mean unchanged weights."""
        return (*super().version(), self.engine)

    @property
    def billed(self) -> bool:
        """Whether each call costs money, as the engine says."""
        return self.engine.billed

    @property
    def position(self) -> int:
        """The position of all random draws, to be saved beside the parameters."""
        return self._draws if self._is_noisy else self.engine.position

    @position.setter
    def position(self, value: int) -> None:
        if self._is_noisy:
            self._draws = value
        else:
            self.engine.position = value

    @property
    def _is_noisy(self) -> bool:
        """Whether noise is added in training: not where the engine counts shots of its own."""
        return self.training_shots is not None and self.engine.simulator is self.engine

    def diagnostics(self) -> dict[str, float]:
        """Return the error figures of the last call's state."""
        return self._diagnostics

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the trainable parameters by role."""
        mapping = [p for p in self.mapping.parameters() if p.requires_grad]
        return {"angles": [self.angles] if self.angles.requires_grad else [], "mapping": mapping}

    def in_double(self) -> CircuitGenerator:
        """Return a copy that computes in double precision and without shots, for checks."""
        simulator = self.engine.simulator_for(gates_of(self.circuit))
        config = {**simulator.config(), "dtype": "complex128"}
        # The engine is not copied: it may hold files or connections.
        twin = copy.deepcopy(self, {id(self.engine): self.engine}).double()
        twin.engine = Engine.from_config(config)
        return twin

    def config(self) -> dict[str, Any]:
        """Return a description that builds an equal generator, JSON data with a ``kind``."""
        return {
            "kind": self.kind,
            "circuit": self.circuit.to_json(),
            "engine": self.engine.config(),
            "mapping": self.mapping.config(),
            "measurement": self.measurement.config(),
            "n_weights": self.n_weights,
            "chunk_size": self.chunk_size,
            "training_shots": self.training_shots,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CircuitGenerator:
        """Build the generator that :meth:`config` described, with its initial parameters."""
        return cls(**arguments(config))

    def describe(self) -> str:
        """Return a line that says what this generator is."""
        auto = f" ({self._reason})" if self._reason else ""
        gates, free = gates_of(self.circuit), "angles"
        if isinstance(self.circuit, ImportedCircuit):
            free = f"inputs ({listed(self.circuit.inputs)})"
        shots = self.training_shots
        noise = f"; noise of {shots:,} shots in training" if shots else ""
        return (
            f"circuit of {gates.n_qubits} qubits, {len(gates)} gates and "
            f"{n_free(self.circuit)} {free} on {self.engine!r}{auto}; "
            f"{self.n_values:,} of {_size(self.measurement.n_values(self.circuit.n_qubits))} "
            f"values of {self.measurement!r}; {type(self.mapping).__name__}{noise}"
        )

    def describe_values(self) -> str:
        """Return a line about the values at the present angles, without spending a shot."""
        if not self.measurement.described:
            return ""
        with torch.no_grad(), outside_autocast():
            simulator = self.engine.simulator_for(gates_of(self.circuit))
            state = simulator.prepare(self.circuit, self.angles, self.measurement)
            return self.measurement.describe(state, self.n_values)


def arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Return the constructor's arguments from the description of a generator with a circuit."""
    options = {key: value for key, value in config.items() if key != "kind"}
    built = {
        "circuit": circuit_from_json(options["circuit"]),
        "engine": Engine.from_config(options["engine"]),
        "mapping": MappingModel.from_config(options["mapping"]),
        "measurement": Measurement.from_config(options["measurement"]),
    }
    return options | built


def listed(names: Sequence[str], most: int = 6) -> str:
    """Return the first names with commas, and how many more there are.

    Example:
        >>> listed(("a", "b", "c"), 2)
        'a, b, and 1 more'
    """
    more = [f"and {len(names) - most:,} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])


def mapped(
    mapping: MappingModel,
    values: Callable[[int, int], Tensor],
    n_values: int,
    chunk_size: int,
    *,
    is_shared: bool = False,
) -> Tensor:
    """Return the weights that a mapping makes of the first values, in one row.

    Args:
        mapping: The mapping.
        values: Gives the values start … stop−1.
        n_values: How many values.
        chunk_size: Values of a chunk; with more than one, chunks are recomputed to go back.
        is_shared: Whether each process of torch's group makes some of the chunks only.

    Returns:
        All weights of all values.
    """
    # Those of this call: when a chunk is made again, functional_call may have taken its own back.
    tensors = dict((*mapping.named_parameters(), *mapping.named_buffers()))

    def weights(start: int, stop: int) -> Tensor:
        chunk: Tensor = functional_call(mapping, tensors, (start, values(start, stop)))
        return chunk.reshape(-1)

    if n_values <= chunk_size:
        out: Tensor = mapping(0, values(0, n_values))
        return out.reshape(-1)
    n_chunks = -(-n_values // chunk_size)
    first, last = _shared.part_of(n_chunks) if is_shared else (0, n_chunks)
    chunks = []
    for start in range(first * chunk_size, last * chunk_size, chunk_size):
        stop = min(start + chunk_size, n_values)
        if inside_transform():  # torch.func refuses checkpoints: right, but nothing is forgotten
            chunks.append(weights(start, stop))
        else:
            chunks.append(
                checkpoint(weights, start, stop, use_reentrant=False, preserve_rng_state=False)
            )
    if not is_shared:
        return torch.cat(chunks)
    # A process without a chunk takes part in the backward pass all the same.
    own = torch.cat(chunks) if chunks else weights(0, 1)[:0]
    each = -(-n_chunks // _shared.n_processes()) * chunk_size * mapping.weights_per_outcome
    return _shared.gathered(own, each, n_values * mapping.weights_per_outcome)


def values_needed(n_weights: int, weights_per_outcome: int = 1) -> int:
    """Return the number of values that give ``n_weights`` weights.

    Args:
        n_weights: Number of weights, at least 1.
        weights_per_outcome: Weights made of each value.

    Returns:
        Their ratio, rounded up.

    Example:
        >>> values_needed(6690, 16)
        419
    """
    per_value = positive_int("weights_per_outcome", weights_per_outcome)
    return -(-positive_int("n_weights", n_weights) // per_value)


def _check_values(
    circuit: Circuit | ImportedCircuit,
    measurement: Measurement,
    mapping: MappingModel,
    n_weights: int,
) -> None:
    """Raise where a state gives fewer values than needed, or the mapping takes fewer."""
    if isinstance(circuit, ImportedCircuit) and not circuit.inputs:
        expected = "a program with free inputs, which are trained"
        hint = "Declare some (OpenQASM 3: `input float a;`), or train the angles of its `circuit`."
        raise ValueError(must_be("circuit", expected, "one without", hint))
    per_value = mapping.weights_per_outcome
    needed, there = values_needed(n_weights, per_value), measurement.n_values(circuit.n_qubits)
    if needed > there:
        n_qubits = qubits_needed(n_weights, per_value, measurement)
        hint = f"{n_weights} weights need {n_qubits} qubits."
        raise ValueError(must_be("n_qubits", f"at least {n_qubits}", circuit.n_qubits, hint))
    measurement.check(circuit.n_qubits)
    measurement.check_live(gates_of(circuit))
    if needed > mapping.n_values:
        expected = f"at least {needed}, for {n_weights} weights"
        raise ValueError(must_be("mapping.n_values", expected, mapping.n_values))


# More qubits than any engine takes.
_MOST_QUBITS = 2**16


def _size(number: int) -> str:
    """Write a number in digits, or as a power of two where they are too many to read."""
    return f"{number:,}" if number < 10**9 else f"2^{number.bit_length() - 1}"


def qubits_needed(
    n_weights: int, weights_per_outcome: int = 1, measurement: Measurement | None = None
) -> int:
    """Return the smallest number of qubits whose values give ``n_weights`` weights.

    Args:
        n_weights: Number of weights, at least 1.
        weights_per_outcome: Weights that each value gives.
        measurement: What is read; :class:`Probabilities` by default.

    Returns:
        For probabilities ceil(log2(values)), at least 1.

    Raises:
        ValueError: No number of qubits gives so many values.

    Source:
        arXiv 2402.16465: N = ⌈log2 M⌉; other measurements are ours.

    Example:
        >>> from qtn_train.measurements import PauliCorrelators
        >>> qubits_needed(6690), qubits_needed(6690, measurement=PauliCorrelators(2))
        (13, 68)
    """
    needed = values_needed(n_weights, weights_per_outcome)
    if measurement is None or isinstance(measurement, Probabilities):
        return max(1, (needed - 1).bit_length())
    low, high = 0, 1
    while measurement.n_values(high) < needed:
        low, high = high, 2 * high
        if high > _MOST_QUBITS:
            expected = f"one of at least {needed} values, for {n_weights} weights"
            hint = "Take a mapping with more weights_per_outcome."
            raise ValueError(must_be("measurement", expected, repr(measurement), hint))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if measurement.n_values(middle) >= needed else (middle, high)
    return high
