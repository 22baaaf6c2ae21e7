"""What a value in a study file may be, and the messages for what it may not."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import must_be

REQUIRED: Any = object()


@dataclass(frozen=True)
class Setting:
    """One setting of a measure.

    Attributes:
        kind: int, float or str.
        default: Its value where the study file does not name it; ``REQUIRED`` if it must.
        choices: All values that a text may have; empty for any.
        low: Smallest number.
        high: Largest number.
    """

    kind: type
    default: Any = REQUIRED
    choices: tuple[str, ...] = ()
    low: float = 1
    high: float = math.inf

    def check(self, name: str, value: object) -> Any:
        """Return a value of the right type, or raise.

        Args:
            name: The setting's name, for the message.
            value: What the study file says.

        Returns:
            The value.

        Raises:
            ValueError: It is of another type, no known choice, or out of range.
        """
        if self.kind is str:
            if isinstance(value, str) and (not self.choices or value in self.choices):
                return value
            expected = f"one of {', '.join(self.choices)}" if self.choices else "a text"
            hint = did_you_mean(value, self.choices)
            raise ValueError(must_be(name, expected, repr(value), hint))
        right = (int,) if self.kind is int else (int, float)
        number = isinstance(value, right) and not isinstance(value, bool)
        if not number or not self.low <= self.kind(value) <= self.high:
            raise ValueError(must_be(name, self.expected(), repr(value)))
        return self.kind(value)

    def expected(self) -> str:
        """Return the range in words."""
        kind = "an integer" if self.kind is int else "a number"
        if self.high < math.inf:
            return f"{kind} from {self.low:g} to {self.high:g}"
        return f"{kind} of at least {self.low:g}"


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known word, or nothing.

    Example:
        >>> did_you_mean("n_qbits", ["n_layers", "n_qubits"])
        'Did you mean n_qubits?'
    """
    near = difflib.get_close_matches(str(value).lower(), list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else ""


def check_keys(where: str, keys: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a key that is not known, and name the nearest one.

    Args:
        where: What holds the keys, for the message.
        keys: The keys.
        known: All that there may be.

    Raises:
        ValueError: A key is unknown.
    """
    known = list(known)
    for key in keys:
        if key not in known:
            expected = f"one of {', '.join(known)}"
            raise ValueError(must_be(where, expected, repr(key), did_you_mean(key, known)))
