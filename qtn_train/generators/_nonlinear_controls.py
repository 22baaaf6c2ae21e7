"""Classical generators that are hard to beat: nonlinear, isometric, or a circuit without quanta.

    Mcnc              chunks of weights, each an amplitude times a frozen network of sines
    MappingNetwork    weights = tanh(W·z + α‖z‖² + b)·constant, W of fixed orthogonal columns
    IsometricHashing  weight k = numbers[hash(k)] / √(weights that this number serves)
    OuterProduct      weight (letter, i, j) = Σ a_i·b_j, the form of two-body correlators
    TensorCircuit     real 4 × 4 gates on pairs of axes of a fixed vector of 2^N numbers

Weights start with mean square 1. What is fixed comes from the counter-based stream of the seed.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._random import permutation, raw_bits, uniform
from ._controls import ClassicalGenerator, _tensor, _unit

# Trained numbers of a chunk of Mcnc: eight coordinates and an amplitude, as in its paper.
_CHUNK_NUMBERS = 9
# Width of its frozen network, and the factor before its first sine: both are ours.
_WIDTH, _FREQUENCY = 64, 3.0
# α of MappingNetwork times the count of its numbers, so that α‖z‖² starts at this.
_MODULATION = 0.1
# Mean square of tanh(√2·x + 0.1), x normal: a test integrates it.
_TANH_SQUARE = 0.5375


@final
class Mcnc(ClassicalGenerator):
    """Chunks of weights, each from nine trained numbers through a frozen random network of sines.

    A chunk is amplitude · φ(eight coordinates), where φ is the same for all chunks: a perceptron
    with two hidden layers of 64 sines and fixed random weights. Amplitudes start at ±1. Of the last
    chunk, the numbers beyond ``n_trainable`` stay as they start, so that the count is exact.

    Args:
        n_weights: Length of the generated vector.
        n_trainable: Trained numbers, 1 … ``n_weights``.
        seed: Seed of the frozen network and of the start.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number below 1, or more trained numbers than weights.

    Source:
        arXiv 2406.19301 (MCNC); width and frequency are ours.

    Example:
        >>> Mcnc(6690, 1495)().shape
        torch.Size([6690])
    """

    kind = "mcnc"
    _fixed: Tensor
    _layer0: Tensor
    _layer1: Tensor
    _layer2: Tensor

    def __init__(self, n_weights: int, n_trainable: int, seed: int = 0) -> None:
        super().__init__(n_weights, n_trainable, seed)
        self._n_chunks = -(-self.n_trainable // _CHUNK_NUMBERS)
        start = _unit(seed, "control/numbers", self._n_chunks * _CHUNK_NUMBERS)
        start[::_CHUNK_NUMBERS] = np.where(start[::_CHUNK_NUMBERS] < 0, -1.0, 1.0)
        self.numbers = nn.Parameter(_tensor(start[: self.n_trainable]))
        fixed = _tensor(start[self.n_trainable :])
        self.register_buffer("_fixed", fixed, persistent=False)
        self._length = -(-self.n_weights // self._n_chunks)
        sizes = (_CHUNK_NUMBERS - 1, _WIDTH, _WIDTH, self._length)
        for layer, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
            # Sines have mean square ½; the factor 2 keeps that of what follows at 1.
            gain = _FREQUENCY if layer == 0 else math.sqrt(2)
            drawn = _unit(seed, f"control/layer {layer}", n_in * n_out) * gain / math.sqrt(n_in)
            weight = _tensor(drawn).view(n_in, n_out)
            self.register_buffer(f"_layer{layer}", weight, persistent=False)

    def forward(self) -> Float[Tensor, " n_weights"]:
        """Return all weights, differentiable with respect to the numbers."""
        numbers = torch.cat([self.numbers, self._fixed]).view(self._n_chunks, _CHUNK_NUMBERS)
        hidden = torch.sin(numbers[:, 1:] @ self._layer0)
        hidden = torch.sin(hidden @ self._layer1)
        chunks: Tensor = numbers[:, :1] * (hidden @ self._layer2)
        return chunks.reshape(-1)[: self.n_weights]


@final
class MappingNetwork(ClassicalGenerator):
    """A latent vector z through one fixed layer that it modulates itself: tanh(W·z + α‖z‖² + b).

    The columns of W are those of a Hadamard matrix with random signs, in a random selection:
    orthogonal where the number of weights is a power of two, and nearly so otherwise. As described
    second hand, each entry w_ij has α·z_j added, which is the same for all weights. The paper was
    not read: its regularizers are left out, and a lower accuracy than its own refutes nothing.

    Args:
        n_weights: Length of the generated vector.
        n_trainable: Trained numbers, the length of z, 1 … ``n_weights``.
        seed: Seed of W, b and the start.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number below 1, or more trained numbers than weights.

    Source:
        After a description of arXiv 2602.19134; the form of W, α and b are ours.

    Example:
        >>> MappingNetwork(6690, 1495)().shape
        torch.Size([6690])
    """

    kind = "mapping-network"
    _places: Tensor
    _signs: Tensor
    _bias: Tensor

    def __init__(self, n_weights: int, n_trainable: int, seed: int = 0) -> None:
        super().__init__(n_weights, n_trainable, seed)
        self._n_bits = max(1, (self.n_weights - 1).bit_length())
        places = permutation(seed, "control/columns", 2**self._n_bits)[: self.n_trainable]
        self.register_buffer("_places", torch.from_numpy(places), persistent=False)
        signs = np.where(uniform(seed, "control/signs", self.n_weights) < 0, -1.0, 1.0)
        self.register_buffer("_signs", _tensor(signs), persistent=False)
        bias = _tensor(_unit(seed, "control/bias", self.n_weights))
        self.register_buffer("_bias", bias, persistent=False)

    def forward(self) -> Float[Tensor, " n_weights"]:
        """Return all weights, differentiable with respect to the numbers."""
        z = self.numbers
        spread = z.new_zeros(2**self._n_bits).index_put((self._places,), z)
        mixed = _hadamard(spread, self._n_bits)[: self.n_weights] * self._signs
        mixed = mixed / math.sqrt(self.n_trainable)
        modulation = _MODULATION / self.n_trainable * z.square().sum()
        return torch.tanh(mixed + modulation + self._bias) / math.sqrt(_TANH_SQUARE)


@final
class IsometricHashing(ClassicalGenerator):
    """Weight sharing with 1/√n scaling: the projection from numbers to weights keeps lengths.

    Each weight takes one of the trained numbers at random, over the root of the number of weights
    that share it, times a constant that keeps the mean square at 1. Each number serves one weight
    at least, so that none is idle.

    Args:
        n_weights: Length of the generated vector.
        n_trainable: Trained numbers, 1 … ``n_weights``.
        seed: Seed of the hash and of the start.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number below 1, or more trained numbers than weights.

    Source:
        arXiv 2506.00799 (Uni-LoRA); that no number is idle is ours.

    Example:
        >>> IsometricHashing(200, 30)().unique().numel()
        30
    """

    kind = "isometric-hashing"
    _index: Tensor
    _factors: Tensor

    def __init__(self, n_weights: int, n_trainable: int, seed: int = 0) -> None:
        super().__init__(n_weights, n_trainable, seed)
        index = (raw_bits(seed, "control/hash", self.n_weights) % np.uint64(n_trainable)).astype(
            np.int64
        )
        order = permutation(seed, "control/order", self.n_weights)
        index[order[: self.n_trainable]] = np.arange(self.n_trainable)
        shared = np.bincount(index, minlength=self.n_trainable)
        factors = np.sqrt(self.n_weights / self.n_trainable / shared)[index]
        self.register_buffer("_index", torch.from_numpy(index), persistent=False)
        self.register_buffer("_factors", _tensor(factors), persistent=False)

    def forward(self) -> Float[Tensor, " n_weights"]:
        """Return all weights, differentiable with respect to the numbers."""
        return self.numbers[self._index] * self._factors


@final
class OuterProduct(ClassicalGenerator):
    """Sums of products a_i·b_j over pairs i < j, for three letters: correlators without a circuit.

    The pairs are those of two-body Pauli correlators on as few sites as give all weights. The
    number of products is the smallest with at least ``n_trainable`` numbers; of the last one, what
    is too many stays at its random start, so that the count is exact.

    Args:
        n_weights: Length of the generated vector.
        n_trainable: Trained numbers, 1 … ``n_weights``.
        seed: Seed of the start.

    Attributes:
        n_sites: Sites.
        rank: Products of each letter.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number below 1, or more trained numbers than weights.

    Source:
        Ours.

    Example:
        >>> generator = OuterProduct(6690, 1495)
        >>> generator.n_sites, generator.rank
        (68, 4)
    """

    kind = "outer-product"
    _fixed: Tensor

    def __init__(self, n_weights: int, n_trainable: int, seed: int = 0) -> None:
        super().__init__(n_weights, n_trainable, seed)
        self.n_sites = 2
        while 3 * math.comb(self.n_sites, 2) < self.n_weights:
            self.n_sites += 1
        # The last site is never the first of a pair, nor the first one the last.
        self.rank = -(-self.n_trainable // (6 * (self.n_sites - 1)))
        surplus = 6 * (self.n_sites - 1) * self.rank - self.n_trainable
        fixed = _tensor(_unit(seed, "control/fixed", surplus))
        self.register_buffer("_fixed", fixed, persistent=False)

    def forward(self) -> Float[Tensor, " n_weights"]:
        """Return all weights, differentiable with respect to the numbers."""
        numbers = torch.cat([self.numbers, self._fixed])
        left, right = numbers.view(self.rank, 2, 3, self.n_sites - 1).unbind(1)
        size = self.n_sites - 1
        first, second = torch.triu_indices(size, size, device=numbers.device)
        products = (left[:, :, first] * right[:, :, second]).sum(0)
        return products.reshape(-1)[: self.n_weights] / math.sqrt(self.rank)


@final
class TensorCircuit(ClassicalGenerator):
    """A circuit without quanta: real 4 × 4 gates, any matrices, on pairs of axes of a fixed vector.

    The vector has 2^N random numbers, one axis a bit of the weight's number. Gates act on the last
    two axes, on those one to the left of them, and so on around; each starts as a random orthogonal
    matrix. Of the last gate, the entries beyond ``n_trainable`` stay as they start, so that the
    count is exact.

    Args:
        n_weights: Length of the generated vector.
        n_trainable: Trained numbers, 1 … ``n_weights``.
        seed: Seed of the vector and of the gates.

    Attributes:
        n_gates: Gates.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number below 1, or more trained numbers than weights.

    Source:
        After arXiv 2406.00132 (QuanTA: two-axis tensors as an adapter); the vector and the order of
        the gates are ours.

    Example:
        >>> TensorCircuit(6690, 1495).n_gates
        94
    """

    kind = "tensor-circuit"
    _fixed: Tensor
    _vector: Tensor

    def __init__(self, n_weights: int, n_trainable: int, seed: int = 0) -> None:
        super().__init__(n_weights, n_trainable, seed)
        self._n_bits = max(2, (self.n_weights - 1).bit_length())
        self.n_gates = -(-self.n_trainable // 16)
        gates = [_orthogonal(seed, number) for number in range(self.n_gates)]
        values = _tensor(np.concatenate(gates))
        self.numbers = nn.Parameter(values[: self.n_trainable].clone())
        self.register_buffer("_fixed", values[self.n_trainable :].clone(), persistent=False)
        vector = _tensor(_unit(seed, "control/vector", 2**self._n_bits))
        self.register_buffer("_vector", vector, persistent=False)

    def forward(self) -> Float[Tensor, " n_weights"]:
        """Return all weights, differentiable with respect to the numbers."""
        gates = torch.cat([self.numbers, self._fixed]).view(-1, 4, 4)
        # The axes turn by one with each gate, so that each acts on the last two of them.
        table = self._vector.view(-1, 4)
        for gate in gates.unbind():
            table = table @ gate
            table = table.view(-1, 2).mT.reshape(-1, 4)
        weights: Tensor = table.reshape(-1)[: self.n_weights]
        return weights


def _orthogonal(seed: int, number: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return a random orthogonal 4 × 4 matrix, row by row."""
    drawn = uniform(seed, f"control/gate {number}", 16).reshape(4, 4)
    for i in range(4):
        drawn[i] -= sum((drawn[i] @ drawn[j]) * drawn[j] for j in range(i))
        drawn[i] /= np.sqrt(np.square(drawn[i]).sum())
    return drawn.reshape(-1)


def _hadamard(values: Tensor, n_bits: int) -> Tensor:
    """Multiply by the 2^n × 2^n matrix of ±1: on rows and columns of a near-square table."""
    pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=values.dtype, device=values.device)
    one = torch.ones((1, 1), dtype=values.dtype, device=values.device)
    rows = n_bits // 2
    high, low = (functools.reduce(torch.kron, [pair] * n, one) for n in (rows, n_bits - rows))
    return (high @ values.view(2**rows, -1) @ low).reshape(-1)
