"""The values that an option may have, and the messages for all others."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import did_you_mean, must_be

REQUIRED: Any = object()

#: The smallest number above 0.
POSITIVE = sys.float_info.min


@dataclass(frozen=True)
class Setting:
    """One option of a run, or one setting of a measure.

    Attributes:
        kind: int, float, bool, str, or tuple: a list of integers.
        default: Its value where nothing is said; ``REQUIRED`` if something must be.
        choices: All values that a text may have; empty for any.
        low: Smallest number.
        high: Largest number.
        read: Gives what is kept of a text that names a file: the file's content, or the name with
            the file's hash.
        is_file: Whether a text names a file, beside choices; without it every text does.
        form: What such a text looks like, for messages.
    """

    kind: type
    default: Any = REQUIRED
    choices: tuple[str, ...] = ()
    low: float = 1
    high: float = math.inf
    read: Callable[[str], str] | None = None
    is_file: Callable[[str], bool] | None = None
    form: str = "file.py:function"

    def check(self, name: str, value: object) -> Any:
        """Return a value of the right type, or raise.

        Args:
            name: The setting's name, for the message.
            value: What the user says.

        Returns:
            The value.

        Raises:
            ValueError: It is of another type, no known choice, or out of range.
        """
        if self.kind is str:
            if isinstance(value, str) and self.reads(value):
                return self.read(value) if self.read is not None else value
            if isinstance(value, str) and (not self.choices or value in self.choices):
                return value
            expected = f"one of {', '.join(self.choices)}" if self.choices else "a text"
            expected += f", or {self.form}" if self.choices and self.read is not None else ""
            hint = did_you_mean(value, self.choices)
            raise ValueError(must_be(name, expected, repr(value), hint))
        if self.kind is tuple:
            if isinstance(value, tuple) and all(type(number) is int for number in value):
                return value
            raise ValueError(must_be(name, "a list of integers", repr(value)[:80]))
        if self.kind is bool:
            if isinstance(value, bool):
                return value
            raise ValueError(must_be(name, self.expected(), repr(value)))
        right = (int,) if self.kind is int else (int, float)
        number = isinstance(value, right) and not isinstance(value, bool)
        if not number or not self._holds(value):
            raise ValueError(must_be(name, self.expected(), _short(value)))
        return self.kind(value)

    def reads(self, value: str) -> bool:
        """Return whether a text names a file, whose content or hash is kept."""
        return self.read is not None and (self.is_file is None or self.is_file(value))

    def _holds(self, value: Any) -> bool:
        try:
            return bool(self.low <= value <= self.high and math.isfinite(value))
        except OverflowError:
            return self.kind is int

    def expected(self) -> str:
        """Return the range in words."""
        if self.kind is bool:
            return "true or false"
        kind = "an integer" if self.kind is int else "a number"
        if self.low == POSITIVE and self.high == math.inf:
            return "a positive number"
        if self.kind is int and self.high < math.inf:
            return f"{kind} from {self.low:,g} to {int(self.high):,}"
        if self.high < math.inf:
            return f"{kind} from {self.low:g} to {self.high:g}"
        return f"{kind} of at least {self.low:g}"


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


def _short(value: object) -> str:
    """Return a value as text; Python refuses to print integers of more than 4,300 digits."""
    if isinstance(value, int) and abs(value) >= 10**15:
        return "a larger number" if value > 0 else "a negative number"
    return repr(value)
