"""The multilayer perceptron from (bits of k, p_k) to weights.

    bits(k) ── W ─┐
                  ├─ + ─ activation ─ Linear ─ activation ─ … ─ Linear ─► weights
    feature(p_k) ─┘

The bits are never stored: the first layer is separable over them,

    W·bits(k) = high[k >> h] + low[k mod 2^h],

two tables of about 2^(N/2) rows made once a call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, cast, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._random import uniform
from ..errors import must_be, positive_int
from ._base import MappingModel, amplitude_feature, basis_bits

Feature = Literal["amplitude", "published"]

_ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "gelu": nn.functional.gelu}

# Published constants (arXiv 2402.16465); the clamp keeps the gradient of x^0.3 finite at p = 0.
_ALPHA, _BETA, _GAMMA, _CLAMP = 0.3, 0.8, 0.1, 1e-12


@final
class MLPMapping(MappingModel):
    """An MLP over the bits of the outcome's number and a feature of its probability.

    Args:
        n_qubits: Number of bits of an outcome.
        hidden: Widths of the hidden layers.
        activation: ``"tanh"``, ``"relu"``, ``"gelu"``, or None for the published mapping, which is
            affine: its 249 counted parameters are 14 effective ones.
        feature: ``"amplitude"``: √(2^N·p + 0.0001), standardized with the constants of a random
            state, so that outcomes stay independent; its gradient is bounded however small p is,
            and finite at 0. ``"published"``: (β·tanh(γ·2^(N−1)·p))^α less its
            mean over all outcomes, the output less its mean, and initial values as torch draws
            them, uniform in ±1/√n_in (ours are √3 times larger: outputs of the order of 1).
        weights_per_outcome: Weights that each outcome gives.
        seed: Seed of the initial parameters.

    Raises:
        TypeError: A width is not an integer.
        ValueError: A width below 1, or an unknown activation or feature.

    Source:
        arXiv 2402.16465 for the published form; the separable layer and ``"amplitude"`` are ours.

    Example:
        >>> mapping = MLPMapping(13, hidden=(4, 20, 4))
        >>> sum(p.numel() for p in mapping.parameters())
        249
        >>> mapping(0, torch.full((8,), 2.0**-13)).shape
        torch.Size([8, 1])
    """

    def __init__(
        self,
        n_qubits: int,
        hidden: Sequence[int] = (4, 20, 4),
        activation: str | None = "tanh",
        *,
        feature: Feature = "amplitude",
        weights_per_outcome: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(n_qubits, weights_per_outcome)
        if activation is not None and activation not in _ACTIVATIONS:
            expected = f"None or one of {', '.join(_ACTIVATIONS)}"
            raise ValueError(must_be("activation", expected, repr(activation)))
        if feature not in ("amplitude", "published"):
            raise ValueError(must_be("feature", "'amplitude' or 'published'", repr(feature)))
        self.hidden = tuple(positive_int("hidden", width) for width in hidden)
        self.activation = activation
        self.feature: Feature = feature
        self.seed = seed
        self.needs_all_outcomes = feature == "published"
        widths = (n_qubits + 1, *self.hidden, weights_per_outcome)
        spread = 1.0 if feature == "published" else math.sqrt(3)
        self.layers = nn.ModuleList(
            _linear(widths[i], widths[i + 1], spread, seed, i) for i in range(len(widths) - 1)
        )

    def forward(self, start: int, probs: Float[Tensor, " outcomes"]) -> Float[Tensor, "outcomes w"]:
        """Return the weights of the outcomes start … start+K−1.

        Args:
            start: Number of the first outcome.
            probs: Their probabilities.

        Returns:
            Weights, of the order of 1.
        """
        first, *others = (cast(nn.Linear, layer) for layer in self.layers)
        x = self._bits_part(first.weight[:, :-1], start, len(probs))
        x = torch.addcmul(x + first.bias, self._feature(probs)[:, None], first.weight[:, -1])
        for layer in others:
            if self.activation is not None:
                x = _ACTIVATIONS[self.activation](x)
            x = layer(x)
        return x - x.mean(0) if self.feature == "published" else x

    def _feature(self, probs: Tensor) -> Tensor:
        if self.feature == "amplitude":
            return amplitude_feature(probs, self.n_qubits)
        scaled = _GAMMA * 2.0 ** (self.n_qubits - 1) * probs.clamp(min=_CLAMP)
        value = (_BETA * torch.tanh(scaled)) ** _ALPHA
        return value - value.mean()

    def _bits_part(self, weight: Tensor, start: int, count: int) -> Tensor:
        """``weight @ bits(k)`` for a contiguous range, from two tables."""
        n_low = self.n_qubits // 2
        n_high = self.n_qubits - n_low
        first, last = start >> n_low, (start + count - 1) >> n_low
        high = basis_bits(first, last + 1, n_high, device=weight.device).to(weight.dtype)
        low = basis_bits(0, 2**n_low, n_low, device=weight.device).to(weight.dtype)
        rows = (high @ weight[:, :n_high].T)[:, None] + (low @ weight[:, n_high:].T)[None]
        offset = start - (first << n_low)
        return rows.reshape(-1, rows.shape[-1])[offset : offset + count]

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data, with the class under ``kind``."""
        return {
            "kind": "mlp",
            "n_qubits": self.n_qubits,
            "hidden": list(self.hidden),
            "activation": self.activation,
            "feature": self.feature,
            "weights_per_outcome": self.weights_per_outcome,
            "seed": self.seed,
        }


def _linear(n_in: int, n_out: int, spread: float, seed: int, number: int) -> nn.Linear:
    """A linear layer whose weights and biases are uniform in ±spread/√n_in."""
    # Not nn.Linear itself: its own initial values would advance torch's global generator.
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_in, n_out)
    values = uniform(seed, f"mapping/{number}", n_out * (n_in + 1)) * spread / math.sqrt(n_in)
    numbers = torch.from_numpy(values.astype(np.float32))
    with torch.no_grad():
        layer.weight.copy_(numbers[: n_out * n_in].view(n_out, n_in))
        layer.bias.copy_(numbers[n_out * n_in :])
    return layer
