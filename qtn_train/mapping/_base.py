"""What every mapping is: outcome numbers and their probabilities in, weights out.

    forward(start, probs (K,)) ──► (K, weights_per_outcome)

The outcomes are start … start+K−1, so their bits need never be stored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import must_be, positive_int

# For a random state z = 2^N·p is exponentially distributed (Porter–Thomas). With this floor under
# the root, √(z + FLOOR) has these two moments; a test integrates them.
FLOOR = 1e-4
MEAN, STD = 0.886315, 0.463191


class MappingModel(nn.Module, ABC):
    """Turns each outcome's number and probability into weights.

    An implementer defines :meth:`forward` and :meth:`config`. Each outcome's weights depend on this
    outcome alone, so that chunks can be made apart; a mapping that needs all outcomes at once sets
    ``needs_all_outcomes``.

    Attributes:
        n_qubits: Number of bits of an outcome.
        weights_per_outcome: Weights that each outcome gives.
        needs_all_outcomes: Whether all outcomes must come in one call.
    """

    needs_all_outcomes = False

    def __init__(self, n_qubits: int, weights_per_outcome: int = 1) -> None:
        super().__init__()
        self.n_qubits = positive_int("n_qubits", n_qubits)
        self.weights_per_outcome = positive_int("weights_per_outcome", weights_per_outcome)

    @abstractmethod
    def forward(self, start: int, probs: Float[Tensor, " outcomes"]) -> Float[Tensor, "outcomes w"]:
        """Return the weights of the outcomes start … start+K−1.

        Args:
            start: Number of the first outcome.
            probs: Their probabilities.

        Returns:
            Weights, of the order of 1.
        """

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data, with the class under ``kind``."""


def basis_bits(start: int, stop: int, n_qubits: int, *, device: Any = None) -> Tensor:
    """Return the bits of the outcomes start … stop−1 as −1 and +1, most significant first.

    Args:
        start: First outcome.
        stop: One past the last outcome.
        n_qubits: Number of bits.
        device: Where to put them.

    Returns:
        float32, shape ``(stop − start, n_qubits)``.

    Raises:
        ValueError: The range does not lie within the outcomes.

    Example:
        >>> basis_bits(1, 3, 2).tolist()
        [[-1.0, 1.0], [1.0, -1.0]]
    """
    if not 0 <= start <= stop <= 2**n_qubits:
        expected = f"0 <= start <= stop <= 2**{n_qubits}"
        raise ValueError(must_be("start, stop", expected, (start, stop)))
    numbers = torch.arange(start, stop, device=device)[:, None]
    shifts = torch.arange(n_qubits - 1, -1, -1, device=device)
    return ((numbers >> shifts) & 1).float() * 2 - 1


def amplitude_feature(probs: Tensor, n_qubits: int) -> Tensor:
    """Return √(2^N·p + 0.0001), standardized with the constants of a random state.

    Args:
        probs: Probabilities.
        n_qubits: N, the number of bits of an outcome.

    Returns:
        A number for each, of mean 0 and variance 1 for a random state; its gradient is finite at 0.
    """
    return (torch.sqrt(probs * 2.0**n_qubits + FLOOR) - MEAN) / STD
