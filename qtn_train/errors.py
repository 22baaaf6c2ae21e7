"""Everything this package raises or warns with, in one place.

Every message has one form: "`name` must be ‹expected›; got ‹actual›. ‹what to do›."
A wrong value is a :class:`ValueError` or a :class:`TypeError` of Python; the classes here
name what those two cannot say.
"""


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
    """The next task would cost more than the budget still holds; it was not created."""


class TasksPending(QtnTrainError):
    """Tasks are still waiting or running; they are recorded, and the same call finds them again."""


class TaskFailed(QtnTrainError):
    """Tasks failed for good; only the user's word sends them again."""


class QtnTrainWarning(UserWarning):
    """Base of the warnings that are this package's own."""


class TruncationWarning(QtnTrainWarning):
    """A matrix product state was cut so hard that its probabilities are no longer trustworthy."""


def must_be(name: str, expected: str, actual: object, hint: str = "") -> str:
    """Return the one-line message of a wrong value.

    Args:
        name: The argument, as the caller wrote it.
        expected: What it must be.
        actual: What came.
        hint: A full sentence that says what to do, or nothing.

    Returns:
        The message.

    Example:
        >>> must_be("n_layers", "a positive integer", 0)
        '`n_layers` must be a positive integer; got 0.'
    """
    text = f"`{name}` must be {expected}; got {actual}."
    return f"{text} {hint}" if hint else text


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
