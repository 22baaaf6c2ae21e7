"""Checks of inputs, of class numbers and of real numbers to learn."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import DataError, must_be


def check_inputs(name: str, x: object) -> None:
    """Check inputs: a non-empty, finite float32 or int64 tensor of samples."""
    dtypes = (torch.float32, torch.int64)
    is_tensor = isinstance(x, Tensor) and x.dtype in dtypes and x.ndim >= 2
    if not isinstance(x, Tensor) or not is_tensor or x.numel() == 0:
        expected = "a non-empty float32 tensor (samples, ...), or int64 for tokens"
        raise DataError(must_be(name, expected, described(x)))
    _check_finite(name, x)


def check_labels(name: str, y: object, n_samples: int, n_classes: int) -> None:
    """Check class numbers: int64, as many as there are samples, each that of a class."""
    if not isinstance(y, Tensor) or y.dtype != torch.int64 or y.ndim < 1 or len(y) != n_samples:
        expected = f"an int64 tensor of {n_samples} labels, one a sample"
        raise DataError(must_be(name, expected, described(y)))
    wrong = ((y < 0) | (y >= n_classes)).flatten().nonzero()
    if len(wrong):
        where = int(wrong[0])
        actual = f"{int(y.flatten()[where])} at position {where}"
        raise DataError(must_be(name, f"labels from 0 to {n_classes - 1}", actual))


def check_numbers(name: str, y: object, n_samples: int) -> None:
    """Check real numbers to learn: float32, finite, as many as there are samples."""
    if not isinstance(y, Tensor) or y.dtype != torch.float32 or y.ndim < 1 or len(y) != n_samples:
        expected = f"a float32 tensor of {n_samples} numbers, or rows of them, one a sample"
        raise DataError(must_be(name, expected, described(y)))
    _check_finite(name, y)


def _check_finite(name: str, x: Tensor) -> None:
    if not torch.isfinite(x).all():
        where = int((~torch.isfinite(x)).reshape(len(x), -1).any(1).nonzero()[0])
        what = "NaN" if x[where].isnan().any() else "infinity"
        actual = f"{what} in the data, first in sample {where}"
        raise DataError(must_be(name, "finite", actual, "Remove or fill in such samples."))


def described(value: object) -> str:
    """Return type and shape of a value, for a message."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    return type(value).__name__
