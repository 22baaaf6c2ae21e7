"""Controls that keep a part of the circuit, and controls of the size of a circuit by name.

    angles (random, fixed) ──► state ──► values ─┐
                                                 ├─► mapping (trained) ──► weights
    a random vector, drawn once ─────────────────┘

Where the mapping sees the bits of the value's number, it still does.
"""

from __future__ import annotations

import itertools
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._random import uniform
from ..circuits import Circuit
from ..engines import Engine
from ..errors import must_be, positive_int
from ..exchange import ImportedCircuit
from ..exchange._imported import gates_of, n_free
from ..mapping import MappingModel, MLPMapping, TensorTrainMapping
from ..measurements import Measurement, Probabilities
from ._base import WeightGenerator
from ._circuit import CircuitGenerator, arguments, mapped
from ._controls import (
    ClassicalGenerator,
    HashedWeights,
    LowRank,
    MagnitudePruning,
    RandomSubspace,
    TensorTrainWeights,
)
from ._nonlinear_controls import (
    IsometricHashing,
    MappingNetwork,
    Mcnc,
    OuterProduct,
    TensorCircuit,
)

_CLASSICAL: dict[str, type[ClassicalGenerator]] = {
    kind.kind: kind
    for kind in (
        RandomSubspace,
        HashedWeights,
        IsometricHashing,
        MagnitudePruning,
        LowRank,
        OuterProduct,
        TensorTrainWeights,
        TensorCircuit,
        Mcnc,
        MappingNetwork,
    )
}

#: Names that :func:`control` takes, and what they are.
CONTROLS: dict[str, str] = {
    "random-subspace": "a fixed random projection of as many numbers",
    "hashing": "as many shared weights",
    "isometric-hashing": "the same at random, scaled so that lengths are kept",
    "pruning": "as many of the weights, those that start largest; the others stay as they start",
    "low-rank": "all weights as one near-square matrix of low rank",
    "outer-product": "sums of products of two numbers, in the form of two-body correlators",
    "tensor-train": "a tensor train over the bits of the weight's number",
    "tensor-circuit": "real 4 x 4 gates on pairs of axes of a fixed random vector",
    "mcnc": "chunks of weights, each from nine numbers through a frozen network of sines",
    "mapping-network": "one fixed orthogonal layer and a tanh, modulated by its own input",
    "frozen": "the same circuit at its random start; only the mapping is trained",
    "frozen-wide": "the same, with the mapping widened to as many numbers",
    "fixed-random": "a fixed random vector in place of the probabilities; the mapping is trained",
    "fixed-random-wide": "the same, with the mapping widened to as many numbers",
    "product": "a circuit of as many angles without entanglement, and the same mapping",
    "direct": "the network itself, all of its weights trained",
}


@final
class FixedProbabilities(WeightGenerator):
    """A trained mapping over probabilities that are not trained.

    Args:
        circuit: The circuit.
        engine: What runs it, once; an engine that counts shots is replaced by its simulator.
        mapping: What turns values into weights; it alone is trained.
        measurement: As for :class:`CircuitGenerator`.
        probs: ``"circuit"``: those of the circuit at the angles that a :class:`CircuitGenerator`
            of the same seed begins with. ``"porter-thomas"``: independent and exponential with mean
            2^−N, the law of a random state; the circuit then gives the number of qubits alone.
        n_weights: Length of the generated vector.
        chunk_size: Values of a chunk, a power of two.
        seed: Seed of the angles, or of the vector.

    Raises:
        TypeError: A number is not an integer.
        ValueError: As :class:`CircuitGenerator`, or an unknown ``probs``.

    Source:
        Ours; MerLin's reproduction of Quantum-Train compares with a fixed random input, too.

    Example:
        >>> from qtn_train.circuits import ansatz
        >>> from qtn_train.mapping import MLPMapping
        >>> circuit = ansatz.ry_cx_chain(4, 2)
        >>> frozen = FixedProbabilities(circuit, "auto", MLPMapping(11), n_weights=11)
        >>> sum(p.numel() for p in frozen.parameters()) == sum(
        ...     p.numel() for p in MLPMapping(11).parameters()
        ... )
        True
    """

    kind: ClassVar[str] = "fixed-probabilities"
    _values: Tensor

    def __init__(
        self,
        circuit: Circuit | ImportedCircuit,
        engine: Engine | Literal["auto"],
        mapping: MappingModel,
        *,
        probs: Literal["circuit", "porter-thomas"] = "circuit",
        measurement: Measurement | None = None,
        n_weights: int,
        chunk_size: int = 2**16,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if probs not in ("circuit", "porter-thomas"):
            raise ValueError(must_be("probs", "'circuit' or 'porter-thomas'", repr(probs)))
        like = CircuitGenerator(
            circuit,
            engine,
            mapping,
            measurement=measurement,
            n_weights=n_weights,
            chunk_size=chunk_size,
            seed=seed,
        )
        reads = like.measurement
        if probs == "porter-thomas" and not isinstance(reads, Probabilities):
            expected = "Probabilities() with probs='porter-thomas'"
            raise ValueError(must_be("measurement", expected, repr(reads)))
        self.n_weights, self.chunk_size, self.seed = like.n_weights, like.chunk_size, seed
        self.engine = like.engine.simulator_for(gates_of(circuit))
        self.circuit, self.probs = circuit, probs
        self.mapping, self.measurement = mapping, reads
        if isinstance(reads, Probabilities) and probs == "porter-thomas":
            shares = 0.5 + 0.5 * uniform(seed, "control/porter-thomas", like.n_values)
            scaled = torch.from_numpy(-np.log1p(-shares).astype(np.float32))
            values = reads.standardized(scaled, circuit.n_qubits)
        else:
            with torch.no_grad():
                state = self.engine.prepare(circuit, like.angles, reads)
                values = reads.values(state, 0, like.n_values).to(like.angles.dtype)
        self.register_buffer("_values", values, persistent=False)

    def forward(self) -> Float[Tensor, " n_weights"]:
        """Return all weights, differentiable with respect to the mapping."""
        values, at_once = self._values, self.mapping.needs_all_values
        chunk_size = len(values) if at_once else self.chunk_size
        outputs = mapped(
            self.mapping, lambda start, stop: values[start:stop], len(values), chunk_size
        )
        return outputs[: self.n_weights]

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the trainable parameters by role."""
        return {"mapping": [p for p in self.mapping.parameters() if p.requires_grad]}

    def config(self) -> dict[str, Any]:
        """Return a description that builds an equal generator, JSON data with a ``kind``."""
        return {
            "kind": self.kind,
            "circuit": self.circuit.to_json(),
            "engine": self.engine.config(),
            "mapping": self.mapping.config(),
            "measurement": self.measurement.config(),
            "probs": self.probs,
            "n_weights": self.n_weights,
            "chunk_size": self.chunk_size,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FixedProbabilities:
        """Build the generator that :meth:`config` described, with its initial parameters."""
        return cls(**arguments(config))

    def describe(self) -> str:
        """Return a line that says what this generator is."""
        origin = "of a circuit at random angles" if self.probs == "circuit" else "drawn at random"
        return (
            f"fixed probabilities {origin}, {self.circuit.n_qubits} qubits; "
            f"{type(self.mapping).__name__}"
        )


def control(name: str, like: WeightGenerator, seed: int = 0) -> WeightGenerator:
    """Make a control with as many weights, and trained numbers, as a generator.

    The count is exact but for ``frozen`` and ``fixed-random`` (the mapping alone), the wide ones
    with a tensor-train mapping (the next smaller bond dimension), and ``direct`` (all weights). A
    classical control never has more numbers than weights.

    Args:
        name: One of :data:`CONTROLS`.
        like: What to compare with; the last controls but ``direct`` need a
            :class:`CircuitGenerator`.
        seed: Seed of all that is random in a classical control. Controls with a mapping begin as
            ``like`` began.

    Returns:
        The control, on the device of ``like``.

    Raises:
        TypeError: The control needs a circuit, and ``like`` has none.
        ValueError: An unknown name.

    Source:
        Ours.

    Example:
        >>> from qtn_train.circuits import ansatz
        >>> from qtn_train.mapping import MLPMapping
        >>> circuit = ansatz.ry_cx_chain(4, 2)
        >>> like = CircuitGenerator(circuit, "auto", MLPMapping(16, (1,)), n_weights=16)
        >>> sum(p.numel() for p in control("random-subspace", like).parameters())
        16
    """
    if name not in CONTROLS:
        raise ValueError(must_be("name", f"one of {', '.join(CONTROLS)}", repr(name)))
    n_trainable = sum(p.numel() for ps in like.parts().values() for p in ps)
    n_numbers = min(n_trainable, like.n_weights)
    device = next(like.parameters()).device
    if name == "direct":
        return HashedWeights(like.n_weights, like.n_weights, seed).to(device)
    if name in _CLASSICAL:
        return _CLASSICAL[name](like.n_weights, n_numbers, seed).to(device)
    if not isinstance(like, CircuitGenerator):
        expected = f"a CircuitGenerator for the control {name}"
        raise TypeError(must_be("like", expected, type(like).__name__))
    mapping = MappingModel.from_config(like.mapping.config())
    sizes: dict[str, Any] = {
        "measurement": like.measurement,
        "n_weights": like.n_weights,
        "chunk_size": like.chunk_size,
        "seed": like.seed,
    }
    if name == "product":
        circuit = unentangled_circuit(like.circuit.n_qubits, n_free(like.circuit))
        return CircuitGenerator(circuit, like.engine, mapping, **sizes).to(device)
    if name.endswith("-wide"):
        mapping = widened_mapping(mapping, n_trainable)
    probs: Any = "circuit" if name.startswith("frozen") else "porter-thomas"
    made = FixedProbabilities(like.circuit, like.engine, mapping, probs=probs, **sizes)
    return made.to(device)


def unentangled_circuit(n_qubits: int, n_angles: int) -> Circuit:
    """Return a circuit of single-qubit gates alone: a product state, whatever its depth.

    However many gates a qubit has, they make one rotation, and of it one number tells in the
    probabilities: P(k) = ∏ P_i(k_i). So at most ``n_qubits`` of the angles are effective.

    Args:
        n_qubits: Number of qubits.
        n_angles: Number of angles: U3 on every qubit, as often as they last, then U3 on the first
            qubits, and RY for one or two that are left over.

    Returns:
        The circuit.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number below 1.

    Source:
        Ours.

    Example:
        >>> unentangled_circuit(13, 1248).n_angles
        1248
    """
    builder = Circuit.builder(positive_int("n_qubits", n_qubits))
    n_full, rest = divmod(positive_int("n_angles", n_angles), 3)
    for number in range(n_full + rest):
        builder.add("u3" if number < n_full else "ry", number % n_qubits)
    return builder.build()


def widened_mapping(mapping: MappingModel, n_trainable: int) -> MappingModel:
    """Return a mapping of the same kind with a given number of parameters.

    Args:
        mapping: The mapping to widen, or to narrow; its initial parameters are drawn anew.
        n_trainable: Number of parameters. With an :class:`MLPMapping` it is met exactly where
            widths about in proportion can do so; otherwise, and with a :class:`TensorTrainMapping`,
            it is the largest number that is not above.

    Returns:
        The mapping.

    Raises:
        TypeError: Another kind of mapping.
        ValueError: So few parameters are too few.

    Source:
        Ours.

    Example:
        >>> wide = widened_mapping(MLPMapping(6690, (4, 20, 4)), 1497)
        >>> wide.hidden, sum(p.numel() for p in wide.parameters())
        ((10, 55, 13), 1497)
    """
    config = mapping.config()
    if isinstance(mapping, MLPMapping):
        config["hidden"] = _hidden(mapping, positive_int("n_trainable", n_trainable))
    elif isinstance(mapping, TensorTrainMapping):
        config["bond_dim"] = _bond_dim(mapping, positive_int("n_trainable", n_trainable))
    else:
        expected = "an MLPMapping or a TensorTrainMapping"
        raise TypeError(must_be("mapping", expected, type(mapping).__name__))
    return MappingModel.from_config(config)


def _hidden(mapping: MLPMapping, n_trainable: int) -> list[int]:
    """Return an MLP's widths: the most parameters up to ``n_trainable``, then nearest in shape."""
    n_in, shape, n_out = mapping.n_bits + 1, mapping.hidden, mapping.weights_per_outcome

    def count(hidden: list[int]) -> int:
        widths = [n_in, *hidden, n_out]
        return sum(wide * (narrow + 1) for narrow, wide in itertools.pairwise(widths))

    def scaled(percent: int) -> list[int]:
        return [max(1, round(percent / 100 * width)) for width in shape]

    least = count([1] * len(shape))
    if least > n_trainable:
        raise ValueError(must_be("n_trainable", f"at least {least} for this mapping", n_trainable))
    percent = 1
    while shape and count(scaled(2 * percent)) <= n_trainable:
        percent *= 2
    while shape and count(scaled(percent + 1)) <= n_trainable:
        percent += 1
    reach = range(-6, 7) if len(shape) <= 3 else range(-1, 2)
    near = [
        [width + step for width, step in zip(scaled(percent), steps, strict=True)]
        for steps in sorted(
            itertools.product(reach, repeat=len(shape)), key=lambda steps: sum(map(abs, steps))
        )
    ]
    fitting = [h for h in near if min(h, default=1) >= 1 and count(h) <= n_trainable]
    return max(fitting, key=count)


def _bond_dim(mapping: TensorTrainMapping, n_trainable: int) -> int:
    """Return the largest bond dimension of a train of at most ``n_trainable`` parameters."""

    def count(bond_dim: int) -> int:
        options = {**mapping.config(), "bond_dim": bond_dim}
        return sum(p.numel() for p in MappingModel.from_config(options).parameters())

    if count(1) > n_trainable:
        expected = f"at least {count(1)} for this mapping"
        raise ValueError(must_be("n_trainable", expected, n_trainable))
    bond_dim = 1
    while count(bond_dim) < count(bond_dim + 1) <= n_trainable:
        bond_dim += 1
    return bond_dim
