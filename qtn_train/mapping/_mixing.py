"""The mapping that mixes all values: a fixed orthogonal matrix with random signs, nothing trained.

    values v (K,) ──► signs_j · v ──► Hartley transform ──► column j of the weights (K, w)

A Hartley matrix is orthogonal at any length: entries (cos 2πkl/K + sin 2πkl/K)/√K.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .._random import uniform
from ..errors import must_be
from ._base import MappingModel, register_mapping


@register_mapping
@final
class MixingMapping(MappingModel):
    """Each weight is a combination of all values with fixed coefficients; nothing is trained.

    For correlators: few of them are large, and many hang together; mixed, all weights move alike
    and independently. Each of the ``weights_per_outcome`` columns is an orthogonal transform of the
    values, so that the mean square stays, that of shot noise, too.

    Args:
        n_values: Number of values, at least 1.
        weights_per_outcome: Weights made of each value: that many transforms, each with signs of
            its own.
        seed: Seed of the signs.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number below 1.

    Source:
        Ours, after random projections by fast transforms (arXiv 1408.3060).

    Example:
        >>> mapping = MixingMapping(100, 3)
        >>> weights = mapping(0, torch.ones(100))
        >>> weights.shape, round(float(weights.square().mean()), 4)
        (torch.Size([100, 3]), 1.0)
    """

    kind: ClassVar[str] = "mixing"
    needs_all_values = True
    takes_all_values = True
    _signs: Tensor

    def __init__(self, n_values: int, weights_per_outcome: int = 1, *, seed: int = 0) -> None:
        super().__init__(n_values, weights_per_outcome)
        self.seed = seed
        drawn = uniform(seed, "mapping/signs", n_values * weights_per_outcome)
        signs = np.where(drawn < 0, -1, 1).astype(np.float32).reshape(n_values, -1)
        self.register_buffer("_signs", torch.from_numpy(signs), persistent=False)

    def forward(self, start: int, values: Float[Tensor, " values"]) -> Float[Tensor, "values w"]:
        """Return the weights of the first K values, which are mixed with each other alone.

        Args:
            start: Number of the first value: 0.
            values: The values, at least one.

        Returns:
            Weights of the values' mean square.

        Raises:
            ValueError: The range is empty, does not begin at 0, or goes beyond all values.
        """
        self._check_range(start, len(values))
        if start:
            raise ValueError(must_be("start", "0 for a mapping of all values", start))
        signed = values[:, None] * self._signs[: len(values)].to(values.dtype)
        found = torch.fft.fft(signed, dim=0)
        mixed: Tensor = (found.real - found.imag) / math.sqrt(len(values))
        return mixed

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data, with the class under ``kind``."""
        return {
            "kind": self.kind,
            "n_values": self.n_values,
            "weights_per_outcome": self.weights_per_outcome,
            "seed": self.seed,
        }
