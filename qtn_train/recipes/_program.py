"""A program of the user's own in place of an ansatz: its text is an option of the run.

The text and not the path: a run goes on, and can be evaluated, where the file is not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from ..errors import Message, must_be
from ..exchange import ImportedCircuit, import_circuit
from ..exchange._import import is_path, source_text


def program_text(source: str) -> str:
    """Return the text of a program.

    Args:
        source: The text, or the path of its file.

    Returns:
        The text.

    Raises:
        ValueError: There is no such file, or it is too long, not in UTF-8, or no program.
    """
    if is_path(source) and not os.path.isfile(source):
        actual = f"{source}, {'a folder' if os.path.isdir(source) else 'which is not there'}"
        raise ValueError(must_be("circuit", "a file with a program in OpenQASM", actual))
    try:
        with _about_the_circuit():
            text = source_text(source)
    except OSError as error:
        actual = f"{source} ({error.strerror or error})"
        raise ValueError(must_be("circuit", "a file that can be read", actual)) from error
    if is_path(text):  # and would be taken for one, when the run goes on
        expected = "a program in OpenQASM"
        raise ValueError(must_be("circuit", expected, f"a file that begins {text[:40]!r}"))
    return text


@lru_cache(maxsize=8)
def parsed(text: str) -> ImportedCircuit:
    """Return the program of a text, with free inputs.

    Args:
        text: OpenQASM 2 or 3.

    Returns:
        The program; one text is read once.

    Raises:
        ValueError: It is no such program, or nothing in it is free to be trained.
    """
    with _about_the_circuit():
        found = import_circuit(text)
    if not found.inputs:
        expected = "a program with free inputs, which are trained"
        hint = "Declare some: `input float a;` in OpenQASM 3."
        raise ValueError(must_be("circuit", expected, "one without", hint))
    return found


@contextmanager
def _about_the_circuit() -> Iterator[None]:
    """Let messages about a source name the option that it was given for."""
    try:
        yield
    except ValueError as error:
        (message,) = error.args
        if not isinstance(message, Message):
            raise
        name = "circuit" if message.name == "source" else f"circuit, {message.name}"
        raise ValueError(message.about(name)) from error
