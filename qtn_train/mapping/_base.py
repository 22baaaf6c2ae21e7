"""The base of mappings: values and their numbers in, weights out.

    forward(start, values (K,)) ──► (K, weights_per_outcome)

The values are those with the numbers start … start+K−1, so the bits of the numbers need never be
stored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._registry import Registry
from ..errors import must_be, positive_int

# Bits of a number that are computed in int64; those above are the same for all but two blocks.
_LOW_BITS = 40


class MappingModel(nn.Module, ABC):
    """Turns each measured value, and the bits of its number, into weights.

    An implementer defines ``kind``, :meth:`forward` and :meth:`config`. Each value's weights depend
    on this value alone, so that chunks can be made apart; a mapping that needs all values at once
    sets ``needs_all_values``.

    Args:
        n_values: Number of values, at least 1: weights over ``weights_per_outcome``, rounded up.
        weights_per_outcome: Weights made of each value.

    Attributes:
        kind: The word for this class in descriptions as JSON data.
        n_values: As given.
        n_bits: Number of bits of a value's number: ⌈log2 n_values⌉, at least 1.
        weights_per_outcome: As given.
        needs_all_values: Whether all values must come in one call.
        takes_all_values: Whether it takes ``n_values`` values, also where fewer give all weights.
    """

    kind: ClassVar[str]
    needs_all_values = False
    takes_all_values = False

    def __init__(self, n_values: int, weights_per_outcome: int = 1) -> None:
        super().__init__()
        self.n_values = positive_int("n_values", n_values)
        self.n_bits = max(1, (self.n_values - 1).bit_length())
        self.weights_per_outcome = positive_int("weights_per_outcome", weights_per_outcome)

    @abstractmethod
    def forward(self, start: int, values: Float[Tensor, " values"]) -> Float[Tensor, "values w"]:
        """Return the weights of the values start … start+K−1.

        Args:
            start: Number of the first value.
            values: The values, standardized to the order of 1.

        Returns:
            Weights, of the order of 1.
        """

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data, with the class under ``kind``."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> MappingModel:
        """Build the mapping that :meth:`config` described.

        Args:
            config: Such a description.

        Returns:
            A mapping with its initial parameters.

        Raises:
            ValueError: An unknown kind.
        """
        options = {name: value for name, value in config.items() if name != "kind"}
        return MAPPINGS.find(config)(**options)

    def _check_range(self, start: int, count: int) -> None:
        """Raise where the mapping lacks one of the values start … start+count−1."""
        if not 0 <= start < start + count <= self.n_values:
            expected = f"0 <= start < stop <= n_values = {self.n_values}"
            raise ValueError(must_be("start, stop", expected, (start, start + count)))


MAPPINGS: Registry[MappingModel] = Registry("mapping", MappingModel)


def register_mapping(cls: type[MappingModel]) -> type[MappingModel]:
    """Make a mapping of your own known, so that models with it can be loaded again.

    Args:
        cls: A subclass of :class:`MappingModel` with a ``kind`` of its own; it serves as a
            decorator.

    Returns:
        The class.

    Raises:
        TypeError: It is not a subclass of MappingModel, or its ``kind`` is not a string.
        ValueError: Another mapping has this ``kind``.

    Example:
        >>> from qtn_train.mapping import IdentityMapping
        >>> register_mapping(IdentityMapping).kind
        'identity'
    """
    return MAPPINGS.add(cls)


def basis_bits(start: int, stop: int, n_bits: int, *, device: Any = None) -> Tensor:
    """Return the bits of the numbers start … stop−1 as −1 and +1, most significant first.

    Args:
        start: First number.
        stop: One past the last number.
        n_bits: Number of bits.
        device: Where to put them.

    Returns:
        float32, shape ``(stop − start, n_bits)``.

    Raises:
        ValueError: The range does not lie within 0 … 2**n_bits.

    Example:
        >>> basis_bits(1, 3, 2).tolist()
        [[-1.0, 1.0], [1.0, -1.0]]
    """
    if not 0 <= start <= stop <= 2**n_bits:
        expected = f"0 <= start <= stop <= 2**{n_bits}"
        raise ValueError(must_be("start, stop", expected, (start, stop)))
    n_low = min(n_bits, _LOW_BITS)
    block = start >> n_low
    numbers = torch.arange(stop - start, device=device) + (start - (block << n_low))
    shifts = torch.arange(n_low - 1, -1, -1, device=device)
    bits = (numbers[:, None] >> shifts) & 1
    if n_bits > n_low:
        rows = [
            [(number >> shift) & 1 for shift in range(n_bits - n_low - 1, -1, -1)]
            for number in (block, block + 1)
        ]
        high = torch.tensor(rows, device=device)[numbers >> n_low]
        bits = torch.cat((high, bits), 1)
    return bits.float() * 2 - 1
