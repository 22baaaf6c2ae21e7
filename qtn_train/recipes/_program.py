"""A program of the user's own in place of an ansatz: its text is an option of the run.

The text and not the path: a run goes on, and can be evaluated, where the file is not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from ..circuits import Circuit
from ..errors import Message, must_be
from ..exchange import ImportedCircuit, import_circuit
from ..exchange._import import is_path, source_text
from ..exchange._imported import circuit_from_json, n_free


def program_text(source: str) -> str:
    """Return the text of a program.

    Args:
        source: The text, or the path of its file. A circuit's own JSON is a text, too.

    Returns:
        The text.

    Raises:
        ValueError: There is no such file, or it is too long, not in UTF-8, or no program.
    """
    if _is_json(source):
        return source
    if is_path(source) and not os.path.isfile(source):
        actual = f"{source}, {'a folder' if os.path.isdir(source) else 'which is not there'}"
        raise ValueError(must_be("circuit", "a file with a program in OpenQASM", actual))
    try:
        with _about_the_circuit():
            text = source_text(source)
    except OSError as error:
        actual = f"{source} ({error.strerror or error})"
        raise ValueError(must_be("circuit", "a file that can be read", actual)) from error
    if is_path(text) and not _is_json(text):  # and would be taken for one, when the run goes on
        expected = "a program in OpenQASM"
        raise ValueError(must_be("circuit", expected, f"a file that begins {text[:40]!r}"))
    return text


@lru_cache(maxsize=8)
def parsed(text: str) -> Circuit | ImportedCircuit:
    """Return the program of a text, with free inputs.

    Args:
        text: OpenQASM 2 or 3, or the JSON of a circuit.

    Returns:
        The program; one text is read once.

    Raises:
        ValueError: It is no such program, or nothing in it is free to be trained.
    """
    with _about_the_circuit():
        found = circuit_from_json(text) if _is_json(text) else import_circuit(text)
    if not n_free(found):
        expected = "a program with free inputs, which are trained"
        hint = "Declare some: `input float a;` in OpenQASM 3."
        raise ValueError(must_be("circuit", expected, "one without", hint))
    return found


def free_numbers(text: str) -> str:
    """Return how many numbers of a program are free, in words."""
    found = parsed(text)
    return f"{n_free(found):,} {'inputs' if isinstance(found, ImportedCircuit) else 'angles'}"


def check_program(text: str, options: Any) -> None:
    """Refuse a program that is too small, and options of an ansatz beside it.

    Args:
        text: The program.
        options: The run's.

    Raises:
        ValueError: The program or an option does not fit.
    """
    for name in ("ansatz", "n_layers"):
        if getattr(options, name) is not None:
            expected = "left out with a circuit of your own"
            hint = "Take an ansatz, or a circuit of your own."
            raise ValueError(must_be(name, expected, getattr(options, name), hint))
    if options.recipe == "published":
        raise ValueError(must_be("recipe", "'default' with circuit", "'published'"))
    there, needed = parsed(text).n_qubits, options.fewest_qubits
    if options.n_qubits not in (None, there):
        expected = f"the circuit's {there}"
        raise ValueError(must_be("n_qubits", expected, options.n_qubits, "Leave it out."))
    if there < needed:
        hint = f"{options.n_weights:,} weights need them; a larger weights_per_outcome needs fewer."
        expected = f"of at least {needed} qubits"
        raise ValueError(must_be("circuit", expected, f"one of {there}", hint))


def _is_json(text: str) -> bool:
    return text.startswith("{")


@contextmanager
def _about_the_circuit() -> Iterator[None]:
    """Let messages about a source name the option that it was given for."""
    try:
        yield
    except ValueError as error:
        (message,) = error.args
        if not isinstance(message, Message):
            raise
        is_whole = message.name in ("source", "text")
        name = "circuit" if is_whole else f"circuit, {message.name}"
        raise ValueError(message.about(name)) from error
