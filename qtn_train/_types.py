"""Types and small constants that several layers share."""

from __future__ import annotations

from typing import Literal

import torch

#: Precision of amplitudes; probabilities and weights have the real type of the same width.
ComplexDtype = Literal["complex64", "complex128"]

COMPLEX: dict[str, torch.dtype] = {"complex64": torch.complex64, "complex128": torch.complex128}
REAL: dict[str, torch.dtype] = {"complex64": torch.float32, "complex128": torch.float64}
