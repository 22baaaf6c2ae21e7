"""The mapping that takes the values for the weights."""

from __future__ import annotations

from typing import Any, ClassVar, final

from jaxtyping import Float
from torch import Tensor

from ._base import MappingModel, register_mapping


@register_mapping
@final
class IdentityMapping(MappingModel):
    """Each value is a weight; nothing is trained but the circuit.

    Args:
        n_values: Number of values, at least 1.

    Raises:
        TypeError: ``n_values`` is not an integer.
        ValueError: ``n_values`` is below 1.

    Source:
        Ours.

    Example:
        >>> import torch
        >>> IdentityMapping(3)(1, torch.tensor([0.5, -1.0])).tolist()
        [[0.5], [-1.0]]
    """

    kind: ClassVar[str] = "identity"

    def __init__(self, n_values: int) -> None:
        super().__init__(n_values)

    def forward(self, start: int, values: Float[Tensor, " values"]) -> Float[Tensor, "values 1"]:
        """Return the values start … start+K−1 as weights.

        Args:
            start: Number of the first value.
            values: The values, at least one.

        Returns:
            The same numbers, one a row.

        Raises:
            ValueError: The range is empty, or goes beyond the mapping's values.
        """
        self._check_range(start, len(values))
        return values[:, None]

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data, with the class under ``kind``."""
        return {"kind": self.kind, "n_values": self.n_values}
