"""Generators: a few trained numbers in, all weights out.

:class:`CircuitGenerator` is the one that this package is about; the others are controls of equal
size, which :func:`control` makes by name.
"""

from __future__ import annotations

from typing import Any

from ..errors import must_be
from ._base import WeightGenerator
from ._circuit import CircuitGenerator, qubits_needed, values_needed
from ._circuit_controls import (
    CONTROLS,
    FixedProbabilities,
    control,
    unentangled_circuit,
    widened_mapping,
)
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

__all__ = [
    "CONTROLS",
    "CircuitGenerator",
    "ClassicalGenerator",
    "FixedProbabilities",
    "HashedWeights",
    "IsometricHashing",
    "LowRank",
    "MagnitudePruning",
    "MappingNetwork",
    "Mcnc",
    "OuterProduct",
    "RandomSubspace",
    "TensorCircuit",
    "TensorTrainWeights",
    "WeightGenerator",
    "control",
    "generator_from_config",
    "qubits_needed",
    "unentangled_circuit",
    "values_needed",
    "widened_mapping",
]

_KINDS: dict[str, Any] = {
    "circuit": CircuitGenerator,
    "fixed-probabilities": FixedProbabilities,
    **{
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
    },
}


def generator_from_config(config: dict[str, Any]) -> WeightGenerator:
    """Build the generator that :meth:`WeightGenerator.config` described.

    Args:
        config: Such a description.

    Returns:
        A generator with its initial parameters.

    Raises:
        ValueError: An unknown kind.
    """
    kind = config.get("kind")
    if kind not in _KINDS:
        expected = f"one of {', '.join(_KINDS)}"
        raise ValueError(must_be("generator kind", expected, repr(kind), "Pass `generator=`."))
    generator: WeightGenerator = _KINDS[kind].from_config(config)
    return generator
