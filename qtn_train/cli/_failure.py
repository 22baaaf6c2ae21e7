"""The end of a command that fails: one line for people, and an exit status.

0  it worked
2  bad input: the message names the option
1  anything else: an event (a full disk, a budget that is spent), or a fault of the program
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import typer

from ..errors import (
    BudgetError,
    Event,
    Message,
    NonFiniteLoss,
    ProcessLost,
    QtnTrainError,
    TaskFailed,
    TasksPending,
    must_be,
)
from ._help import normalized

# Some versions of typer carry a click of their own: these are the bases in all of them.
_ClickException: type[Any] = typer.BadParameter.__mro__[2]

#: Errors of this package that are no fault of the input.
_EVENTS = (BudgetError, NonFiniteLoss, ProcessLost, TaskFailed, TasksPending)

#: What the library calls an option, where its own name is another one.
_ALIASES = {
    "n_qubits": "qubits",
    "n_layers": "layers",
    "folder": "out",
    "list": "list_",
    "tags": "tag",
    "resend_failed": "resume",
    "angles": "values",
}

DEBUG_HINT = "Run again with --debug for the traceback."


def end(error: BaseException, command: Any, words: Iterable[str]) -> NoReturn:
    """Print why a command cannot go on, and leave the program.

    Args:
        error: What was raised.
        command: The root of the command line, a click group.
        words: The words that the user typed.
    """
    typed = list(words)
    text, status = explain(error, typed)
    if isinstance(text, Message):
        text = text.about(_option_names(command, typed).get(text.name, text.name))
    tell("qtn-train: " + " ".join(str(text).split()))
    sys.exit(status)


def explain(error: BaseException, words: Sequence[str] = ()) -> tuple[str, int]:
    """Return the line that explains an error, and the exit status.

    Args:
        error: What was raised.
        words: The words that the user typed.
    """
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "interrupted", 1
    if isinstance(error, _ClickException):
        number = _no_number(error, words)
        if number is not None:
            return number, 2
        told = re.sub(r" \(Possible options: (.+)\)", r". Did you mean \1?", error.format_message())
        told = told.rstrip(".")
        return f"{told}{'' if told.endswith('?') else '.'} See --help.", 2
    text = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    if isinstance(error, NonFiniteLoss):
        return f"{text} The last good checkpoint was kept.", 1
    if isinstance(text, Event) and type(error) is ValueError:  # data that do not suit a network
        return text, 2
    if isinstance(error, _EVENTS) or isinstance(text, Event):
        return text, 1
    if isinstance(error, QtnTrainError) or isinstance(text, Message):
        return text, 2
    if isinstance(error, OSError):
        return f"{error}. {DEBUG_HINT}", 1
    return f"fault of the program ({type(error).__name__}: {error}). {DEBUG_HINT}", 1


def _no_number(error: Any, words: Sequence[str]) -> Message | None:
    """Return the message of an option's word that is no number, in place of the parser's own."""
    found = re.search(r"valid (integer|float|number)", error.format_message())
    options = getattr(getattr(error, "param", None), "opts", [])
    if found is None:
        return None
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, _, value = word.partition("=")
        if normalized(name) in options:
            expected = "an integer" if found[1] == "integer" else "a number"
            return must_be(normalized(name), expected, repr(value or after))
    return None


def _option_names(command: Any, words: Iterable[str]) -> dict[str, str]:
    """Return the option of each argument's name, for the subcommand that was typed."""
    for word in words:
        command = getattr(command, "commands", {}).get(normalized(word), command)
    options = {
        parameter.name: next((o for o in parameter.opts if o.startswith("--")), parameter.name)
        for parameter in command.params
    }
    return {name: options[own] for name, own in _ALIASES.items() if own in options} | options


def tell(text: str) -> None:
    """Print the line that ends a run, unless another of its processes has failed before."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        from ..training._distributed import first_to_fail

        if first_to_fail():
            who = "" if os.environ["RANK"] == "0" else f" (process {os.environ['RANK']})"
            # Not sys.stderr, which leads nowhere in all processes but the first.
            text = text.replace("qtn-train", f"qtn-train{who}", 1)
            print(text, file=sys.__stderr__, flush=True)
        return
    print(text, file=sys.stderr, flush=True)
