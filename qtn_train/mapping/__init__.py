"""Mappings from measured values to weights."""

from __future__ import annotations

from ._base import MappingModel, basis_bits, register_mapping
from ._identity import IdentityMapping
from ._mixing import MixingMapping
from ._mlp import MLPMapping
from ._tensor_train import TensorTrainMapping

__all__ = [
    "IdentityMapping",
    "MLPMapping",
    "MappingModel",
    "MixingMapping",
    "TensorTrainMapping",
    "basis_bits",
    "register_mapping",
]
