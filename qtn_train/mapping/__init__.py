"""Mappings from outcomes and their probabilities to weights."""

from __future__ import annotations

from typing import Any

from ..errors import must_be
from ._base import MappingModel, basis_bits
from ._mlp import MLPMapping
from ._tensor_train import TensorTrainMapping

__all__ = [
    "MLPMapping",
    "MappingModel",
    "TensorTrainMapping",
    "basis_bits",
    "mapping_from_config",
]


def mapping_from_config(config: dict[str, Any]) -> MappingModel:
    """Build the mapping that :meth:`MappingModel.config` described.

    Args:
        config: Such a description.

    Returns:
        A mapping with its initial parameters.

    Raises:
        ValueError: An unknown kind.
    """
    options = dict(config)
    kind = options.pop("kind", None)
    if kind == "mlp":
        return MLPMapping(**options)
    if kind == "tensor-train":
        return TensorTrainMapping(**options)
    expected = "'mlp' or 'tensor-train'"
    raise ValueError(must_be("mapping kind", expected, repr(kind), "Update qtn_train."))
