"""Ranges of numbers, random generators and draws of outcomes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import must_be


def integers(ends: tuple[int, int], total: int, shown: str = "") -> tuple[int, int]:
    """Return the ends of a range as plain integers, checked against the total.

    Args:
        ends: First number, and one past the last.
        total: The largest end.
        shown: How a message writes it.

    Returns:
        The two.

    Raises:
        TypeError: An end is not an integer.
        ValueError: The range is empty or passes the total.
    """
    if not all(hasattr(end, "__index__") and not isinstance(end, bool) for end in ends):
        raise TypeError(must_be("start, stop", "integers", ends))
    start, stop = (end.__index__() for end in ends)
    if not 0 <= start < stop <= total:
        raise ValueError(must_be("start, stop", f"0 <= start < stop <= {shown or total}", ends))
    return start, stop


def generator(rng: torch.Generator | None, seed: int | None) -> torch.Generator:
    """Return the given random generator, or a new one for the seed.

    Args:
        rng: A generator.
        seed: A seed in its place.

    Returns:
        The generator.

    Raises:
        TypeError: Neither or both are given, or the seed is not an integer.
    """
    if (rng is None) == (seed is None):
        actual = "neither" if rng is None else "both"
        raise TypeError(must_be("rng, seed", "one of the two", actual, "Pass seed=0, say."))
    if rng is not None:
        return rng
    if isinstance(seed, bool) or seed is None or not hasattr(seed, "__index__"):
        raise TypeError(must_be("seed", "an integer", repr(seed)))
    return torch.Generator().manual_seed(seed.__index__())


def draw(
    probs: Float[Tensor, " outcomes"], shots: int, rng: torch.Generator
) -> Int[Tensor, " shots"]:
    """Return ``shots`` outcome numbers drawn from the probabilities of all outcomes.

    Args:
        probs: The probabilities, normalized up to rounding.
        shots: How many to draw.
        rng: A generator on the CPU.

    Returns:
        int64 numbers on the CPU.
    """
    cumulative = probs.double().cumsum(0).cpu()
    draws = torch.rand(shots, generator=rng, dtype=torch.float64) * cumulative[-1]
    return torch.searchsorted(cumulative, draws, right=True).clamp_(max=len(cumulative) - 1)
