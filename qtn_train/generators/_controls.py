"""Classical generators of a given size: what a circuit has to be compared with.

    numbers (n_trainable,) ──► weights (n_weights,)

    RandomSubspace      weights = S · numbers / √n_trainable, S of fixed random signs
    HashedWeights       weight k = ± numbers[hash(k)]
    MagnitudePruning    numbers where the start is largest, 0 elsewhere
    LowRank             a near-square matrix U·V, cut into one row of weights
    TensorTrainWeights  a product of matrices, one chosen by each bit of k

All draw what is fixed, and where the numbers start, from the counter-based stream of their seed.
Weights start with mean square 1 (pruning: where they are not 0).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._random import isometries, permutation, raw_bits, uniform
from ..errors import must_be, positive_int
from ._base import WeightGenerator

#: A projection of up to this many bytes is kept; a larger one is made anew, block by block.
KEPT_BYTES = 64 * 2**20

# Numbers of a block: 16 MiB in single precision.
_BLOCK = 2**22


class ClassicalGenerator(WeightGenerator):
    """Weights from trained numbers, without a circuit.

    An implementer defines ``kind`` and :meth:`forward`.

    Args:
        n_weights: Length of the generated vector.
        n_trainable: Trained numbers, 1 … ``n_weights``.
        seed: Seed of all that is random.

    Attributes:
        n_trainable: Trained numbers.
        numbers: They themselves; uniform with variance 1 at the start, unless a class says more.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number below 1, or more trained numbers than weights.
    """

    kind: ClassVar[str]

    def __init__(self, n_weights: int, n_trainable: int, seed: int = 0) -> None:
        super().__init__()
        self.n_weights = positive_int("n_weights", n_weights)
        self.n_trainable = positive_int("n_trainable", n_trainable)
        if n_trainable > n_weights:
            expected = f"at most {n_weights}, the number of weights"
            raise ValueError(must_be("n_trainable", expected, n_trainable))
        self.seed = seed
        self.numbers = nn.Parameter(_tensor(_unit(seed, "control/numbers", n_trainable)))

    @abstractmethod
    def forward(self) -> Float[Tensor, " n_weights"]:
        """Return all weights, differentiable with respect to the numbers."""

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data, with the class under ``kind``."""
        names = ("kind", "n_weights", "n_trainable", "seed")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ClassicalGenerator:
        """Build the generator that :meth:`config` described, with its initial numbers."""
        options = dict(config)
        options.pop("kind", None)
        return cls(**options)

    def describe(self) -> str:
        """Return a line that says what this generator is."""
        return f"{self.kind}: {self.n_weights:,} weights from {self.n_trainable:,} numbers"


@final
class RandomSubspace(ClassicalGenerator):
    """A fixed random projection: weights = S·numbers/√n_trainable with random signs S.

    Each row of the projection has norm 1: a weight has variance 1 where the numbers have. The
    signs are bits of the seed's stream, which can be read from any place. Up to ``max_bytes`` they
    are kept as floats; beyond it no more than one block of rows is in memory, made anew on each
    way forward and back. The results are the same bits.

    Args:
        n_weights: Length of the generated vector.
        n_trainable: Trained numbers, 1 … ``n_weights``.
        seed: Seed of projection and start.
        max_bytes: Largest projection to keep, in bytes; 0 keeps none.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number below 1 (``max_bytes``: below 0), or more trained numbers than weights.

    Source:
        arXiv 1804.08838 (intrinsic dimension); signs in place of normal numbers are ours.

    Example:
        >>> generator = RandomSubspace(6690, 1497)
        >>> generator().shape
        torch.Size([6690])
    """

    kind = "random-subspace"
    _kept: Tensor | None

    def __init__(
        self, n_weights: int, n_trainable: int, seed: int = 0, *, max_bytes: int = KEPT_BYTES
    ) -> None:
        super().__init__(n_weights, n_trainable, seed)
        if max_bytes < 0:
            raise ValueError(must_be("max_bytes", "at least 0", max_bytes))
        self.max_bytes = max_bytes
        # Rows in multiples of 64, so that each block begins with a whole 64-bit number.
        self._rows = 64 * max(1, _BLOCK // (64 * n_trainable))
        kept = None
        if 4 * n_weights * n_trainable <= max_bytes:
            made = [self._make(start, self.numbers.detach()) for start in self._starts()]
            kept = torch.cat(made)
        self.register_buffer("_kept", kept, persistent=False)

    def forward(self) -> Float[Tensor, " n_weights"]:
        """Return all weights, differentiable with respect to the numbers."""
        weights: Tensor = _Project.apply(self.numbers, self._blocks)  # type: ignore[no-untyped-call]
        return weights / math.sqrt(self.n_trainable)

    def _starts(self) -> range:
        return range(0, self.n_weights, self._rows)

    def _blocks(self, like: Tensor) -> Iterator[Tensor]:
        """Yield the projection in blocks of rows, on the device and of the type of a tensor."""
        # The same blocks in both cases: another division would sum in another order.
        for start in self._starts():
            if self._kept is not None:
                yield self._kept[start : start + self._rows]
            else:
                yield self._make(start, like)

    def _make(self, start: int, like: Tensor) -> Tensor:
        n_rows = min(self._rows, self.n_weights - start)
        count = n_rows * self.n_trainable
        words = raw_bits(
            self.seed, "control/projection", -(-count // 64), start * self.n_trainable // 64
        )
        packed = torch.from_numpy(words.astype("<u8").view(np.uint8)).to(like.device)
        places = torch.arange(8, dtype=torch.uint8, device=like.device)
        bits = ((packed[:, None] >> places) & 1).view(-1)[:count]
        return bits.to(like.dtype).mul_(2).sub_(1).view(n_rows, self.n_trainable)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON data, with the class under ``kind``."""
        return {**super().config(), "max_bytes": self.max_bytes}


class _Project(torch.autograd.Function):
    """A matrix in blocks of rows, times a vector; the backward pass makes the blocks again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(numbers: Tensor, blocks: Callable[[Tensor], Iterator[Tensor]]) -> Tensor:
        return torch.cat([block @ numbers for block in blocks(numbers)])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.blocks = inputs[1]

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return torch.cat([block @ tangent for block in ctx.blocks(tangent)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        start, total = 0, grad.new_zeros(())
        for block in ctx.blocks(grad):
            total = total + block.T @ grad[start : start + len(block)]
            start += len(block)
        return total, None


@final
class HashedWeights(ClassicalGenerator):
    """Weight sharing: weight k is ± one of the trained numbers, chosen by a fixed hash.

    The hash is balanced: the numbers of weights that any two trained numbers serve differ by one at
    most, so that none is idle. With as many numbers as weights this is the network itself, trained
    directly.

    Args:
        n_weights: Length of the generated vector.
        n_trainable: Trained numbers, 1 … ``n_weights``.
        seed: Seed of hash, signs and start.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number below 1, or more trained numbers than weights.

    Source:
        arXiv 1504.04788 (HashedNets); the balance is ours.

    Example:
        >>> HashedWeights(200, 30)().abs().unique().numel()
        30
    """

    kind = "hashing"
    _index: Tensor
    _signs: Tensor

    def __init__(self, n_weights: int, n_trainable: int, seed: int = 0) -> None:
        super().__init__(n_weights, n_trainable, seed)
        index = permutation(seed, "control/hash", n_weights) % n_trainable
        signs = np.where(uniform(seed, "control/signs", n_weights) < 0, -1.0, 1.0)
        self.register_buffer("_index", torch.from_numpy(index), persistent=False)
        self.register_buffer("_signs", _tensor(signs), persistent=False)

    def forward(self) -> Float[Tensor, " n_weights"]:
        """Return all weights, differentiable with respect to the numbers."""
        return self.numbers[self._index] * self._signs


@final
class MagnitudePruning(ClassicalGenerator):
    """A fixed mask: the weights that start largest are trained, the others stay where they start.

    Which they are is known once :class:`qtn_train.QuantumTrain` has told the start, relative to the
    scale of each tensor, so that every layer keeps about the same share. Before that, and where
    all weights start at 0, magnitudes drawn from the seed decide.

    Args:
        n_weights: Length of the generated vector.
        n_trainable: Trained numbers, 1 … ``n_weights``.
        seed: Seed of the start, and of the mask until the network's start is known.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number below 1, or more trained numbers than weights.

    Source:
        Magnitude at the start as the criterion: arXiv 2009.08576; that the other weights keep
        their start instead of becoming 0 is ours.

    Example:
        >>> int((MagnitudePruning(200, 30)() != 0).sum())
        30
    """

    kind = "pruning"
    _positions: Tensor

    def __init__(self, n_weights: int, n_trainable: int, seed: int = 0) -> None:
        super().__init__(n_weights, n_trainable, seed)
        magnitudes = torch.from_numpy(uniform(seed, "control/magnitudes", n_weights))
        self.register_buffer("_positions", self._largest(magnitudes), persistent=False)

    def _largest(self, start: Tensor) -> Tensor:
        order = start.abs().sort(descending=True, stable=True).indices
        return order[: self.n_trainable].sort().values

    def start_at(self, start: Float[Tensor, " n_weights"]) -> None:
        """Train the weights whose start is largest."""
        if bool(start.any()):
            self._positions = self._largest(start).to(self._positions.device)

    def forward(self) -> Float[Tensor, " n_weights"]:
        """Return all weights, differentiable with respect to the numbers."""
        nothing = self.numbers.new_zeros(self.n_weights)
        return nothing.index_put((self._positions,), self.numbers)


@final
class LowRank(ClassicalGenerator):
    """All weights as one near-square matrix of low rank, U·V/√rank, read row by row.

    The rank is the smallest whose factors have at least ``n_trainable`` numbers; of the last
    component, what is too many stays at its random start, so that the count is exact. The matrix is
    that of all weights in the order in which they are generated: with a shuffle it knows nothing of
    layers.

    Args:
        n_weights: Length of the generated vector.
        n_trainable: Trained numbers, 1 … ``n_weights``.
        seed: Seed of the start.

    Attributes:
        rank: The rank.
        shape: Of the matrix.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number below 1, or more trained numbers than weights.

    Source:
        Ours, after low-rank layers; the change of a trained layer in this form is arXiv 2106.09685.

    Example:
        >>> generator = LowRank(6690, 1497)
        >>> generator.shape, generator.rank
        ((82, 82), 10)
    """

    kind = "low-rank"
    _fixed: Tensor

    def __init__(self, n_weights: int, n_trainable: int, seed: int = 0) -> None:
        super().__init__(n_weights, n_trainable, seed)
        n_rows = math.isqrt(n_weights - 1) + 1
        self.shape = (n_rows, -(-n_weights // n_rows))
        self.rank = -(-n_trainable // sum(self.shape))
        surplus = self.rank * sum(self.shape) - n_trainable
        fixed = _unit(seed, "control/fixed", surplus)
        self.register_buffer("_fixed", _tensor(fixed), persistent=False)

    def forward(self) -> Float[Tensor, " n_weights"]:
        """Return all weights, differentiable with respect to the numbers."""
        factors = torch.cat([self.numbers, self._fixed]).view(self.rank, sum(self.shape))
        left, right = factors.split(self.shape, dim=1)
        weights: Tensor = (left.T @ right).reshape(-1)[: self.n_weights]
        return weights / math.sqrt(self.rank)


@final
class TensorTrainWeights(ClassicalGenerator):
    """A tensor train over the bits of the weight's number, the most significant first.

    Bonds grow one at a time, the smallest and most central first, until the cores have at least
    ``n_trainable`` numbers; what is too many, in the largest core, stays at its random start, so
    that the count is exact. At the start each matrix is an isometry times the constant that keeps
    the mean square of a component at 1.

    Args:
        n_weights: Length of the generated vector.
        n_trainable: Trained numbers, 1 … ``n_weights``.
        seed: Seed of the start.

    Attributes:
        bonds: Bond dimensions, with the 1 at both ends.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number below 1, or more trained numbers than weights.

    Source:
        arXiv 1509.06569 (tensor-train layers), here of all weights; bonds and start are ours.

    Example:
        >>> TensorTrainWeights(6690, 1497).bonds
        [1, 2, 4, 8, 10, 10, 11, 10, 10, 10, 8, 4, 2, 1]
    """

    kind = "tensor-train"
    _fixed: Tensor

    def __init__(self, n_weights: int, n_trainable: int, seed: int = 0) -> None:
        super().__init__(n_weights, n_trainable, seed)
        n_bits = max(1, (n_weights - 1).bit_length())
        self.bonds = _bonds(n_bits, n_trainable)
        self._shapes = [(self.bonds[i], 2, self.bonds[i + 1]) for i in range(n_bits)]
        # The largest core last: it bears best that some of its numbers are fixed.
        self._order = sorted(range(n_bits), key=lambda i: math.prod(self._shapes[i]))
        cores = [
            isometries(seed, f"control/core {i}", self.bonds[i], self.bonds[i + 1]).reshape(-1)
            for i in self._order
        ]
        values = torch.from_numpy(np.concatenate(cores))
        self.numbers = nn.Parameter(values[:n_trainable].clone())
        self.register_buffer("_fixed", values[n_trainable:].clone(), persistent=False)

    def forward(self) -> Float[Tensor, " n_weights"]:
        """Return all weights, differentiable with respect to the numbers."""
        sizes = [math.prod(self._shapes[i]) for i in self._order]
        pieces = torch.cat([self.numbers, self._fixed]).split(sizes)
        cores = {
            i: piece.view(self._shapes[i]) for i, piece in zip(self._order, pieces, strict=True)
        }
        middle = (len(cores) + 1) // 2
        left = cores[0][0]
        for i in range(1, middle):
            left = torch.einsum("ka,abc->kbc", left, cores[i]).reshape(-1, self.bonds[i + 1])
        right = left.new_ones(1, 1)
        for i in reversed(range(middle, len(cores))):
            right = torch.einsum("abc,ck->abk", cores[i], right).reshape(self.bonds[i], -1)
        weights: Tensor = (left @ right).reshape(-1)[: self.n_weights]
        return weights


def _bonds(n_bits: int, n_trainable: int) -> list[int]:
    """Return the bond dimensions of a train of at least ``n_trainable`` numbers."""
    most = [min(2**i, 2 ** (n_bits - i)) for i in range(n_bits + 1)]
    bonds = [1] * (n_bits + 1)
    while 2 * sum(bonds[i] * bonds[i + 1] for i in range(n_bits)) < n_trainable:
        open_bonds = [i for i in range(n_bits + 1) if bonds[i] < most[i]]
        bonds[min(open_bonds, key=lambda i: (bonds[i], abs(2 * i - n_bits)))] += 1
    return bonds


def _unit(seed: int, stream: str, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return random numbers, uniform with mean 0 and variance 1."""
    return math.sqrt(3) * uniform(seed, stream, count)


def _tensor(values: np.ndarray[Any, np.dtype[np.float64]]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
