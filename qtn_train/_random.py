"""Fixed random numbers that are the same on every machine and in every version.

NumPy promises that the raw bits of a bit generator never change, but not what its distributions
make of them. So only raw bits of the counter-based Philox are used, and what is made of them is
written down here.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray


def raw_bits(seed: int, stream: str, count: int, start: int = 0) -> NDArray[np.uint64]:
    """Return random 64-bit numbers.

    Args:
        seed: The seed, any integer.
        stream: A name; each name is an independent stream of the same seed.
        count: How many.
        start: Number in the stream of the first; none before it is made.

    Returns:
        The numbers.

    Example:
        >>> hex(raw_bits(0, "angles", 1)[0])
        '0xcbad19d1b6414751'
    """
    digest = hashlib.sha256(f"{int(seed)}/{stream}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
    # The counter counts blocks of four numbers.
    block, skip = divmod(start, 4)
    return np.random.Philox(key=key, counter=block).random_raw(skip + count)[skip:]


def uniform(seed: int, stream: str, count: int) -> NDArray[np.float64]:
    """Return floats uniform in [−1, 1)."""
    return (raw_bits(seed, stream, count) >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0


def permutation(seed: int, stream: str, count: int) -> NDArray[np.int64]:
    """Return a random order of 0 … count−1."""
    return np.argsort(raw_bits(seed, stream, count), kind="stable")


def isometries(seed: int, stream: str, left: int, right: int) -> NDArray[np.float32]:
    """Return a random core of a tensor train that keeps the mean square of a vector's components.

    Args:
        seed: The seed.
        stream: Name of the stream.
        left: Dimension of its left leg.
        right: Dimension of its right leg.

    Returns:
        Shape ``(left, 2, right)``: for each value of the bit an isometry, times a constant.
    """
    values = uniform(seed, stream, 2 * left * right).reshape(2, -1)
    shape = (max(left, right), min(left, right))
    pair = np.stack([_orthonormal(part.reshape(shape)) for part in values])
    pair = pair.transpose(0, 2, 1) * math.sqrt(right / left) if left < right else pair
    return pair.transpose(1, 0, 2).astype(np.float32)


def _orthonormal(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make columns orthonormal by Gram–Schmidt."""
    # Not LAPACK, whose rounding depends on the machine.
    out = columns.copy()
    for i in range(out.shape[1]):
        out[:, i] /= np.sqrt(np.square(out[:, i]).sum())
        rest = out[:, i + 1 :]
        rest -= out[:, i : i + 1] * (out[:, i : i + 1] * rest).sum(axis=0)
    return out


def sha256(*arrays: NDArray[np.generic]) -> str:
    """Return the SHA-256 of arrays' bytes, little endian, as hexadecimal digits."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()
