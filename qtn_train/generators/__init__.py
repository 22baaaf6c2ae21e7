"""Generators: a few trained numbers in, all weights out."""

from __future__ import annotations

from typing import Any

from ..errors import must_be
from ._base import WeightGenerator
from ._circuit import CircuitGenerator, qubits_needed

__all__ = ["CircuitGenerator", "WeightGenerator", "generator_from_config", "qubits_needed"]


def generator_from_config(config: dict[str, Any]) -> WeightGenerator:
    """Build the generator that :meth:`WeightGenerator.config` described.

    Args:
        config: Such a description.

    Returns:
        A generator with its initial parameters.

    Raises:
        ValueError: An unknown kind.
    """
    if config.get("kind") != "circuit":
        actual = repr(config.get("kind"))
        raise ValueError(must_be("generator kind", "'circuit'", actual, "Pass `generator=`."))
    return CircuitGenerator.from_config(config)
