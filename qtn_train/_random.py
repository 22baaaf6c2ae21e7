"""Fixed random numbers that are the same on every machine and in every version.

NumPy promises that the raw bits of a bit generator never change, but not what its distributions
make of them. So only raw bits of the counter-based Philox are used, and what is made of them is
written down here.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def raw_bits(seed: int, stream: str, count: int) -> NDArray[np.uint64]:
    """Return random 64-bit numbers.

    Args:
        seed: The seed, any integer.
        stream: A name; each name is an independent stream of the same seed.
        count: How many.

    Returns:
        The numbers.

    Example:
        >>> hex(raw_bits(0, "angles", 1)[0])
        '0xcbad19d1b6414751'
    """
    digest = hashlib.sha256(f"{int(seed)}/{stream}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
    return np.random.Philox(key=key).random_raw(count)


def uniform(seed: int, stream: str, count: int) -> NDArray[np.float64]:
    """Return floats uniform in [−1, 1)."""
    return (raw_bits(seed, stream, count) >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0


def permutation(seed: int, stream: str, count: int) -> NDArray[np.int64]:
    """Return a random order of 0 … count−1."""
    return np.argsort(raw_bits(seed, stream, count), kind="stable")


def sha256(*arrays: NDArray[np.generic]) -> str:
    """Return the SHA-256 of arrays' bytes, little endian, as hexadecimal digits."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()
