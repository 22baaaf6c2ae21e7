"""The multilayer perceptron from (bits of k, value v_k) to weights.

    bits(k) ── W ─┐
                  ├─ + ─ activation ─ Linear ─ activation ─ … ─ Linear ─► weights
    v_k ──────────┘

The bits are never stored: the first layer is separable over them,

    W·bits(k) = high[k >> h] + low[k mod 2^h],

two tables that are made once a call, each of about the square root of the number of values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, cast, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._random import uniform
from ..errors import must_be, positive_int
from ._base import MappingModel, basis_bits, register_mapping

_ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "gelu": nn.functional.gelu}


@register_mapping
@final
class MLPMapping(MappingModel):
    """An MLP over a value and the bits of its number.

    Args:
        n_values: Number of values, at least 1.
        hidden: Widths of the hidden layers.
        activation: ``"tanh"``, ``"relu"``, ``"gelu"``, or None for the published mapping, which is
            affine: its 249 counted parameters are 14 effective ones.
        published: Whether the output goes less its mean over all values, which must then come in
            one call, and the initial values are as torch draws them, uniform in ±1/√n_in (ours are
            √3 times larger: outputs of the order of 1).
        rising: Whether the value's initial weights get the signs with which the output (the sum
            of a value's outputs) rises with the value. With random signs hidden units work against
            each other, by an amount that differs from seed to seed: the slope is small, of either
            sign, and then the angles move the weights little.
        weights_per_outcome: Weights made of each value.
        seed: Seed of the initial parameters.

    Raises:
        TypeError: A width is not an integer.
        ValueError: A width below 1, an unknown activation, or ``rising`` with ``published``.

    Source:
        arXiv 2402.16465 for the published form; the separable layer is ours.

    Example:
        >>> mapping = MLPMapping(6690, hidden=(4, 20, 4))
        >>> sum(p.numel() for p in mapping.parameters())
        249
        >>> mapping(0, torch.zeros(8)).shape
        torch.Size([8, 1])
    """

    kind: ClassVar[str] = "mlp"

    def __init__(
        self,
        n_values: int,
        hidden: Sequence[int] = (4, 20, 4),
        activation: str | None = "tanh",
        *,
        published: bool = False,
        rising: bool = False,
        weights_per_outcome: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(n_values, weights_per_outcome)
        if activation is not None and activation not in _ACTIVATIONS:
            expected = f"None or one of {', '.join(_ACTIVATIONS)}"
            raise ValueError(must_be("activation", expected, repr(activation)))
        if rising and published:
            raise ValueError(must_be("rising", "False with published", rising))
        self.hidden = tuple(positive_int("hidden", width) for width in hidden)
        self.activation = activation
        self.published = published
        self.rising = rising
        self.seed = seed
        self.needs_all_values = published
        widths = (self.n_bits + 1, *self.hidden, weights_per_outcome)
        spread = 1.0 if published else math.sqrt(3)
        self.layers = nn.ModuleList(
            _linear(widths[i], widths[i + 1], spread, seed, i) for i in range(len(widths) - 1)
        )
        if rising:
            self._rise()

    @torch.no_grad()
    def _rise(self) -> None:
        """Give the value's weights the signs of what follows them, so that its slopes add up."""
        first, *others = (cast(nn.Linear, layer) for layer in self.layers)
        follows = torch.ones(1, self.weights_per_outcome)
        for layer in reversed(others):
            follows = follows @ layer.weight
        first.weight[:, -1].abs_().copysign_(follows[0])

    def forward(self, start: int, values: Float[Tensor, " values"]) -> Float[Tensor, "values w"]:
        """Return the weights of the values start … start+K−1.

        Args:
            start: Number of the first value.
            values: The values, at least one, standardized to the order of 1.

        Returns:
            Weights, of the order of 1.

        Raises:
            ValueError: The range is empty, or goes beyond the mapping's values.
        """
        self._check_range(start, len(values))
        first, *others = (cast(nn.Linear, layer) for layer in self.layers)
        x = self._bits_part(first.weight[:, :-1], start, len(values))
        x = torch.addcmul(x + first.bias, values[:, None], first.weight[:, -1])
        for layer in others:
            if self.activation is not None:
                x = _ACTIVATIONS[self.activation](x)
            x = layer(x)
        return x - x.mean(0) if self.published else x

    def _bits_part(self, weight: Tensor, start: int, count: int) -> Tensor:
        """Return ``weight @ bits(k)`` for a contiguous range of k, from two tables."""
        n_low = (count - 1).bit_length() // 2
        n_high = self.n_bits - n_low
        first, last = start >> n_low, (start + count - 1) >> n_low
        high = basis_bits(first, last + 1, n_high, device=weight.device).to(weight.dtype)
        low = basis_bits(0, 2**n_low, n_low, device=weight.device).to(weight.dtype)
        rows = (high @ weight[:, :n_high].T)[:, None] + (low @ weight[:, n_high:].T)[None]
        offset = start - (first << n_low)
        return rows.reshape(-1, rows.shape[-1])[offset : offset + count]

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data, with the class under ``kind``."""
        return {
            "kind": self.kind,
            "n_values": self.n_values,
            "hidden": list(self.hidden),
            "activation": self.activation,
            "published": self.published,
            "rising": self.rising,
            "weights_per_outcome": self.weights_per_outcome,
            "seed": self.seed,
        }


def _linear(n_in: int, n_out: int, spread: float, seed: int, number: int) -> nn.Linear:
    """Return a linear layer whose weights and biases are uniform in ±spread/√n_in."""
    # Not nn.Linear itself: its own initial values would advance torch's global generator.
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_in, n_out)
    values = uniform(seed, f"mapping/{number}", n_out * (n_in + 1)) * spread / math.sqrt(n_in)
    numbers = torch.from_numpy(values.astype(np.float32))
    with torch.no_grad():
        layer.weight.copy_(numbers[: n_out * n_in].view(n_out, n_in))
        layer.bias.copy_(numbers[n_out * n_in :])
    return layer
