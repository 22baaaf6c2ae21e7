"""Numbers times powers of two that no floating-point number holds."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

#: Products are cut off here: the largest power of two whose quadruple is still a float32.
LARGEST = 126
# Powers of two that are normal floats; three such steps go through the whole range.
_STEP = {torch.float32: 126, torch.float64: 1022}


def times_power_of_two(
    values: Float[Tensor, "*shape"], exponent: int | Int[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Return values · 2^exponent, at most 2^126, differentiable.

    Args:
        values: Non-negative floats.
        exponent: Any integers, also such whose power of two is no float.

    Returns:
        The products, exact but for underflow; where one would be larger than 2^126 it is 2^126, a
        constant.

    Source:
        Ours.

    Example:
        >>> times_power_of_two(torch.tensor([2.0**-100, 3.0]), 101).tolist()[0]
        2.0
    """
    if isinstance(exponent, int) and abs(exponent) <= 64:  # the same, and cheaper
        return values * 2.0**exponent
    exponents, most = torch.as_tensor(exponent, device=values.device), _STEP[values.dtype]
    with torch.no_grad():
        size = torch.frexp(values.detach())[1]
        is_large = (size + exponents > LARGEST) & (values > 0)
        # Beyond these the product is 0 or cut off anyway.
        left = exponents.clamp(-3 * most, 3 * most).expand(values.shape)
        factors = []
        for _ in range(3):
            step = left.clamp(-most, most)
            factors.append(torch.ldexp(torch.ones_like(values), step))
            left = left - step
    product = torch.where(is_large, torch.zeros_like(values), values)
    for factor in factors:
        product = product * factor
    return torch.where(is_large, 2.0**LARGEST, product)
