"""Angles as linear functions of a program's inputs: a constant and one coefficient an input."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..errors import must_be


class Linear(NamedTuple):
    """``constant + Σ coefficient · input``, in radians.

    Attributes:
        constant: The part without inputs.
        terms: Pairs of an input's number and its coefficient, ascending, no coefficient 0.
    """

    constant: float
    terms: tuple[tuple[int, float], ...] = ()

    def plus(self, other: Linear) -> Linear:
        """Return the sum of two linear forms."""
        if not other.terms:
            return Linear(self.constant + other.constant, self.terms)
        total = dict(self.terms)
        for number, coefficient in other.terms:
            total[number] = total.get(number, 0.0) + coefficient
        kept = sorted((number, value) for number, value in total.items() if value)
        return Linear(self.constant + other.constant, tuple(kept))

    def times(self, factor: float) -> Linear:
        """Return a multiple of the linear form."""
        if not self.terms:
            return Linear(self.constant * factor)
        terms = tuple((number, value * factor) for number, value in self.terms if value * factor)
        return Linear(self.constant * factor, terms)

    @property
    def is_finite(self) -> bool:
        """Whether neither the constant nor a coefficient is NaN or infinite."""
        return all(map(math.isfinite, (self.constant, *(value for _, value in self.terms))))


def variable(number: int) -> Linear:
    """Return an input as a linear form."""
    return Linear(0.0, ((number, 1.0),))


# Where an expression is held against its linear form: no zeros, no simple relations.
_PROBES = (0.7310585, -1.3247180, 2.2360680, 0.3678794, -0.5671433)
_LINEAR_WITHIN = 1e-9


def linear_form(
    evaluate: Callable[[Sequence[float]], float], numbers: Sequence[int], text: str
) -> Linear:
    """Find the linear form of an expression that can only be evaluated.

    Args:
        evaluate: The expression's value, given the values of its inputs.
        numbers: The inputs that it depends on.
        text: What it looks like, for the message.

    Returns:
        Its linear form, exact up to rounding.

    Raises:
        ValueError: It is not linear; seen at one more point.
    """
    zeros = [0.0] * len(numbers)
    try:
        constant = float(evaluate(zeros))
        coefficients = []
        for place in range(len(numbers)):
            unit = list(zeros)
            unit[place] = 1.0
            coefficients.append(float(evaluate(unit)) - constant)
        point = [_PROBES[place % len(_PROBES)] + place for place in range(len(numbers))]
        found = float(evaluate(point))
    except (ArithmeticError, TypeError, ValueError) as error:
        raise not_linear(text) from error
    expected = constant + sum(c * x for c, x in zip(coefficients, point, strict=True))
    scale = 1.0 + abs(constant) + sum(abs(c * x) for c, x in zip(coefficients, point, strict=True))
    if not abs(found - expected) <= _LINEAR_WITHIN * scale:
        raise not_linear(text)
    pairs = sorted(zip(numbers, map(_rounded, coefficients), strict=True))
    return Linear(constant, tuple(pair for pair in pairs if pair[1]))


def _rounded(coefficient: float) -> float:
    """Undo the rounding of ``(c + constant) − constant`` where c has few digits."""
    near = round(coefficient, 12)
    return near if abs(near - coefficient) <= 4e-16 * max(1.0, abs(near)) else coefficient


def not_linear(text: str) -> ValueError:
    """Return the error for an angle that is not linear in its inputs."""
    shown = text if len(text) <= 60 else text[:60] + "…"
    hint = "Bind its parameters, or make the expression a parameter of its own."
    return ValueError(must_be("source", "of angles linear in its inputs", repr(shown), hint))
