"""Everything this package raises or warns with, in one place.

A message has one of two forms: of a wrong value, "`name` must be ‹expected›; got ‹actual›. ‹what to
do›."; of an event, "‹what happened›. ‹what is safe›. ‹what to do›." A wrong value is a
:class:`ValueError` or a :class:`TypeError` of Python; the classes here name what those two cannot
say.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from decimal import Decimal


class QtnTrainError(Exception):
    """Base of the errors that are this package's own."""


class UnsupportedByEngine(QtnTrainError):
    """The chosen engine cannot do what was asked; the message names one that can."""


class DataError(QtnTrainError):
    """A data file is missing, damaged, or not what its name says."""


class CheckpointError(QtnTrainError):
    """A stored model or checkpoint cannot be used here: damaged, of another circuit, or newer."""


class RunError(QtnTrainError):
    """A run folder cannot be used as asked: not writable, or it holds another run."""


class NonFiniteLoss(QtnTrainError):
    """The loss became NaN or infinite; the last good checkpoint was kept."""


class ProcessLost(QtnTrainError):
    """Another of the processes that train together has ended."""


class JournalError(QtnTrainError):
    """A journal of tasks cannot be used as asked: it is in use, of another run, or damaged."""


class BudgetError(QtnTrainError):
    """The next task would cost more than the budget still holds; it was not created.

    Attributes:
        needed: The least budget in USD that holds the next task, where that is known.
    """

    def __init__(self, text: str = "", needed: Decimal | None = None) -> None:
        super().__init__(text)
        self.needed = needed


class TasksPending(QtnTrainError):
    """Tasks are still waiting or running; they are recorded, and the same call finds them again."""


class TaskFailed(QtnTrainError):
    """Tasks failed for good; only the user's word sends them again."""


class MissingExtra(QtnTrainError, ImportError):
    """An optional package is not installed; the message says how to install it."""


class QtnTrainWarning(UserWarning):
    """Base of the warnings that are this package's own."""


class TruncationWarning(QtnTrainWarning):
    """A matrix product state was cut so hard that its probabilities are no longer trustworthy."""


class Message(str):
    """The one-line message of a wrong value; it knows the argument that the value was given for.

    Attributes:
        name: The argument, as Python code spells it.
    """

    name: str
    _complaint: str

    def __new__(cls, name: str, complaint: str) -> Message:
        """Return the text "`name` complaint"."""
        self = super().__new__(cls, _one_line(f"`{name}` {complaint}"))
        self.name, self._complaint = name, complaint
        return self

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return self.name, self._complaint

    def about(self, name: str) -> Message:
        """Return the same message about the same argument under another name.

        Args:
            name: The other name, such as that of an option of the command line.

        Returns:
            The message.

        Example:
            >>> must_be("n_layers", "a positive integer", 0).about("--layers")
            '`--layers` must be a positive integer; got 0.'
        """
        return Message(name, self._complaint)


class Event(str):
    """The one-line message of an event: a failure of a network, a file or a device."""


def must_be(name: str, expected: str, actual: object, hint: str = "") -> Message:
    """Return the one-line message of a wrong value.

    Args:
        name: The argument, as Python code spells it.
        expected: What it must be.
        actual: What came.
        hint: A full sentence that says what to do, or nothing. Words that hold in Python and in a
            shell: "Resume it", not an option of either.

    Returns:
        The message.

    Example:
        >>> must_be("n_layers", "a positive integer", 0)
        '`n_layers` must be a positive integer; got 0.'
    """
    complaint = f"must be {expected}; got {actual}."
    return Message(name, f"{complaint} {hint}" if hint else complaint)


def event(happened: str, safe: str, hint: str) -> Event:
    """Return the one-line message of something that happened to a network, a file or a device.

    Args:
        happened: What happened, a sentence.
        safe: What is safe of that which was computed or paid for, a sentence.
        hint: What to do: a sentence, or one that ends in the command to type.

    Returns:
        The message.

    Example:
        >>> event("The disk is full.", "The last checkpoint is whole.", "Make room, and resume.")
        'The disk is full. The last checkpoint is whole. Make room, and resume.'
    """
    return Event(_one_line(f"{happened} {safe} {hint}"))


def _one_line(text: str) -> str:
    """Write line breaks and other control characters, as of a foreign file, as escapes."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], text)


def text_of(error: object, longest: int | None = None) -> str:
    """Return the text of another library's error as a part of a line: no breaks, no full stop.

    Args:
        error: The error, or its text.
        longest: So many characters at most; all by default.

    Returns:
        The text.

    Example:
        >>> text_of(ValueError("No such device.  Try another."))
        'No such device. Try another'
    """
    return " ".join(str(error).split())[:longest].rstrip(".")


def needs_extra(what: str, extra: str, error: ImportError | None = None) -> str:
    """Return the message of a :class:`MissingExtra`: which package is missing, how to install it.

    Args:
        what: What needs it, with its verb.
        extra: Name of the extra.
        error: What could not be imported: it may be a version that is too old, not a missing one.

    Returns:
        The message, with the line to type.

    Example:
        >>> needs_extra("studies need", "studies")
        "studies need the extra `studies`: pip install 'qtn_train[studies]'"
    """
    why = "" if error is None else f" ({error})."
    return f"{what} the extra `{extra}`: pip install 'qtn_train[{extra}]'{why}"


def count(number: int, thing: str) -> str:
    """Return a number and its noun as text, such as "1 task" and "2 tasks".

    Args:
        number: How many.
        thing: Its word in the singular.

    Returns:
        The text, with a comma at the thousands.

    Example:
        >>> count(1, "task"), count(1200, "task")
        ('1 task', '1,200 tasks')
    """
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known word, or nothing.

    Args:
        value: What the user wrote.
        known: The words that there are.

    Returns:
        A sentence, or the empty text.

    Example:
        >>> did_you_mean("n_qbits", ["n_layers", "n_qubits"])
        'Did you mean n_qubits?'
    """
    near = difflib.get_close_matches(str(value).lower(), list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else ""


def positive_int(name: str, value: object, hint: str = "") -> int:
    """Return ``value`` when it is an integer of at least 1, and raise otherwise.

    Args:
        name: The argument's name, for the message.
        value: What the caller gave.
        hint: What to do about a wrong value.

    Returns:
        The value as an int.

    Raises:
        TypeError: It is not an integer.
        ValueError: It is below 1.

    Example:
        >>> positive_int("n_layers", 4)
        4
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(must_be(name, "a positive integer", repr(value), hint))
    number: int = value.__index__()
    if number < 1:
        raise ValueError(must_be(name, "a positive integer", number, hint))
    return number
