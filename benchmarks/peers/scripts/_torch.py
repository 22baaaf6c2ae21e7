"""The two passes of a peer that computes on torch tensors."""

from collections.abc import Callable

import torch
from _serve import Array, Case, Passes


def passes(case: Case, values: Callable[[torch.Tensor], torch.Tensor]) -> Passes:
    """Return the passes of a function from the angles to the values.

    Args:
        case: The case.
        values: The function, which torch can differentiate.
    """
    angles = torch.from_numpy(case.angles).requires_grad_()
    cotangent = torch.from_numpy(case.cotangent)

    def forward() -> Array:
        with torch.no_grad():
            return values(angles).numpy()

    def total() -> Array:
        (gradient,) = torch.autograd.grad(values(angles) @ cotangent, angles)
        return gradient.numpy()

    return Passes(forward, total)
