"""Generators: a few trained numbers in, all weights out.

:class:`CircuitGenerator` is the one that this package is about; the others are controls of equal
size, which :func:`control` makes by name.
"""

from __future__ import annotations

from typing import Any

from ._base import GENERATORS, WeightGenerator, register_generator
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
    "register_generator",
    "unentangled_circuit",
    "values_needed",
    "widened_mapping",
]

for _cls in (
    CircuitGenerator,
    FixedProbabilities,
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
):
    register_generator(_cls)


def generator_from_config(config: dict[str, Any]) -> WeightGenerator:
    """Build the generator that :meth:`WeightGenerator.config` described.

    Args:
        config: Such a description.

    Returns:
        A generator with its initial parameters.

    Raises:
        ValueError: An unknown kind.
    """
    return GENERATORS.find(config).from_config(config)
