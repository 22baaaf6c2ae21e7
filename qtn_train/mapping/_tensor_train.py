"""The tensor train from (bits of k, value v_k) to weights.

    ─[A₀]──[A₁]── … ──[A_{N−1}]─ a ─ φ_a(v_k)      A_i: (left, 2, right)
      │     │             │  └─ w                  A_{N−1}: (left, 2, 2, weights_per_outcome)
      k₀    k₁            k_{N−1}                  k₀ is the most significant bit; φ = (1, v)

N is the number of bits; nothing as long as 2^N is ever made. Of a range of values the high bits are
pinned, and the free ones are cut in two halves, each contracted once a call:

    T(k; a, w) = left[high part of k] · right[low part of k; a, w]
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._random import isometries
from ..errors import positive_int
from ._base import MappingModel, register_mapping


@register_mapping
@final
class TensorTrainMapping(MappingModel):
    """A tensor train over the bits of a value's number, with one leg for the value.

    w_k = Σ_a T(k, a)·φ_a(v_k) with φ = (1, v). At the start every matrix that a bit selects is an
    isometry, times the constant that keeps the mean square of a component at 1: outputs and
    gradients are of the same order whatever the number of bits.

    Args:
        n_values: Number of values, at least 1; the train has N = ⌈log2 n_values⌉ sites.
        bond_dim: Largest bond dimension of the train, at least 1. Bonds near its ends are smaller:
            that after i bits is min(bond_dim, 2^i, 2·weights_per_outcome·2^(N−i)).
        weights_per_outcome: Weights made of each value.
        seed: Seed of the initial parameters.

    Attributes:
        bond_dim: As given.
        cores: The N tensors of the train.

    Raises:
        TypeError: A size is not an integer.
        ValueError: A size is below 1.

    Source:
        arXiv 2409.06992 for a tensor network as the mapping; the open leg, the feature and the
        start are ours.

    Example:
        >>> mapping = TensorTrainMapping(6690, bond_dim=4)
        >>> sum(p.numel() for p in mapping.parameters())
        356
        >>> mapping(0, torch.zeros(8)).shape
        torch.Size([8, 1])
    """

    kind: ClassVar[str] = "tensor-train"

    def __init__(
        self, n_values: int, bond_dim: int = 4, *, weights_per_outcome: int = 1, seed: int = 0
    ) -> None:
        super().__init__(n_values, weights_per_outcome)
        self.bond_dim = positive_int("bond_dim", bond_dim)
        self.seed = seed
        last = 2 * self.weights_per_outcome
        sizes = [(2**i, last * 2 ** (self.n_bits - i)) for i in range(self.n_bits)]
        bonds = [*(min(self.bond_dim, *size) for size in sizes), last]
        cores = [
            torch.from_numpy(isometries(seed, f"mapping/{i}", bonds[i], bonds[i + 1]))
            for i in range(self.n_bits)
        ]
        # Its two terms, that of 1 and that of v, have together the mean square 1.
        cores[-1] = math.sqrt(0.5) * cores[-1].view(-1, 2, 2, self.weights_per_outcome)
        self.cores = nn.ParameterList(cores)

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
        count = len(values)
        self._check_range(start, count)
        n_free = max(1, (count - 1).bit_length())
        n_low = (n_free + 1) // 2
        left = self._left(start, start + count, n_free, n_low)
        right = self._right(n_low)
        skip = start - ((start >> n_low) << n_low)
        constant, slope = (
            _contract([left, part], [[-1, 1], [1, -2, -3]]).reshape(-1, self.weights_per_outcome)
            for part in right.unbind(2)
        )
        return torch.addcmul(
            constant[skip : skip + count], slope[skip : skip + count], values[:, None]
        )

    def _left(self, start: int, stop: int, n_free: int, n_low: int) -> Tensor:
        """Return the vectors of the high parts start >> n_low … (stop − 1) >> n_low, one a row."""
        n_pinned = self.n_bits - n_free
        free = list(self.cores)[n_pinned : self.n_bits - n_low]
        # A range of up to 2^n_free values touches one or two values of the pinned bits.
        first, last = start >> n_free, (stop - 1) >> n_free
        blocks = []
        for pinned in range(first, last + 1):
            bits = [(pinned >> (n_pinned - 1 - site)) & 1 for site in range(n_pinned)]
            chain = [self.cores[site][:, bit] for site, bit in enumerate(bits)]
            blocks.append(self._rows(chain, free))
        skip = first << (n_free - n_low)
        return torch.cat(blocks)[(start >> n_low) - skip : ((stop - 1) >> n_low) + 1 - skip]

    def _rows(self, chain: list[Tensor], free: list[Tensor]) -> Tensor:
        """Contract matrices, then cores with open legs, from the left end of the train."""
        tensors = [self.cores[0].new_ones(1), *chain, *free]
        legs = [[1], *([i, i + 1] for i in range(1, len(chain) + 1))]
        legs += [[i, -i, i + 1] for i in range(len(chain) + 1, len(tensors))]
        legs[-1][-1] *= -1
        rows = _contract(tensors, legs, range(1, len(tensors)))
        return rows.reshape(2 ** len(free), -1)

    def _right(self, n_low: int) -> Tensor:
        """Return the last ``n_low`` cores joined: ``(left, 2^n_low, 2, weights_per_outcome)``."""
        cores = list(self.cores)[self.n_bits - n_low :]
        # Bonds are 1 … n_low−1; the open legs are numbered in the order of the result.
        legs = [[i, -i - 2, i + 1] for i in range(n_low)]
        legs[0][0] = -1
        legs[-1] = [*legs[-1][:2], -n_low - 2, -n_low - 3]
        # From the right end: the two legs there are mostly smaller than the bond on the left.
        table = _contract(cores, legs, range(n_low - 1, 0, -1))
        return table.reshape(cores[0].shape[0], 2**n_low, 2, self.weights_per_outcome)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data, with the class under ``kind``."""
        return {
            "kind": self.kind,
            "n_values": self.n_values,
            "bond_dim": self.bond_dim,
            "weights_per_outcome": self.weights_per_outcome,
            "seed": self.seed,
        }


def _contract(tensors: list[Tensor], legs: list[list[int]], order: range | None = None) -> Tensor:
    """Contract a network whose open legs have the numbers −1, −2, … in the order of the result."""
    import tensornetwork as tn

    # The backend of this call alone; checks are off because they cost more than the contraction.
    closed = None if order is None else list(order)
    result: Tensor = tn.ncon(tensors, legs, closed, check_network=False, backend="pytorch")
    return result
