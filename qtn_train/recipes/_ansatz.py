"""An ansatz by its name: one of the package's, or a function in a file of the user's own.

"mine.py:grid"           a function (n_qubits, n_layers) -> Circuit
"mine.py:grid#3f0a…"     the same, of the file whose SHA-256 begins so: what options keep
"""

from __future__ import annotations

import hashlib
import inspect
import os
import types
from collections.abc import Callable
from functools import lru_cache

from ..circuits import ANSATZE, Circuit
from ..errors import must_be

Ansatz = Callable[[int, int], Circuit]

_HASH_DIGITS = 16


def is_own(name: object) -> bool:
    """Return whether a name is that of a function in a file."""
    return isinstance(name, str) and ".py:" in name


def with_hash(name: str) -> str:
    """Return the name of an ansatz of the user's own with the hash of its file.

    Args:
        name: ``"file.py:function"``; a hash that is there already stays.

    Returns:
        What options keep, so that a changed file is told.

    Raises:
        ValueError: There is no such file.
    """
    return name if "#" in name else f"{name}#{_hash(_read(name.partition('.py:')[0] + '.py'))}"


@lru_cache(maxsize=32)
def find_ansatz(name: str) -> Ansatz:
    """Return the function that builds an ansatz.

    Args:
        name: A name in :data:`ANSATZE`, or one of :func:`with_hash`.

    Returns:
        The function of numbers of qubits and layers.

    Raises:
        ValueError: There is no such file or function, the file cannot be run, or it has changed.
    """
    if not is_own(name):
        return ANSATZE[name]
    path, _, rest = name.partition(".py:")
    path, (function, _, told) = path + ".py", rest.partition("#")
    content = _read(path)
    if told and _hash(content) != told:
        hint = "Give the file that the run began with, or begin another run."
        raise ValueError(must_be("ansatz", f"{path} as it was", "a file that was changed", hint))
    own = types.ModuleType(os.path.basename(path).removesuffix(".py"))
    own.__file__ = path
    try:
        exec(compile(content, path, "exec"), own.__dict__)
    except Exception as error:  # whatever stands in the file
        actual = f"{path}, which raises {_told(error)}"
        raise ValueError(must_be("ansatz", "in a file that Python can run", actual)) from error
    made = getattr(own, function, None)
    if not inspect.isroutine(made):
        there = [key for key, value in vars(own).items() if inspect.isfunction(value)]
        hint = f"Functions there: {', '.join(there) or 'none'}."
        raise ValueError(must_be("ansatz", f"a function in {path}", repr(function), hint))

    def checked(n_qubits: int, n_layers: int) -> Circuit:
        hint = "It is called as f(n_qubits, n_layers) and returns a Circuit."
        try:
            circuit = made(n_qubits, n_layers)
        except Exception as error:
            raise ValueError(must_be("ansatz", "a function", f"{_told(error)}", hint)) from error
        if not isinstance(circuit, Circuit):
            actual = f"{type(circuit).__name__} from {function}"
            raise ValueError(must_be("ansatz", "a function that gives a Circuit", actual, hint))
        if circuit.n_qubits != n_qubits:
            expected = f"a function that gives {n_qubits} qubits when asked for them"
            raise ValueError(must_be("ansatz", expected, circuit.n_qubits, hint))
        return circuit

    return checked


@lru_cache
def angles_of_layers(ansatz: str, n_qubits: int) -> tuple[int, int]:
    """Return the angles of a circuit of one layer, and those that one more layer adds."""
    make = find_ansatz(ansatz)
    one, two = (make(n_qubits, n_layers).n_angles for n_layers in (1, 2))
    return one, max(1, two - one)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        expected = f"one of {', '.join(ANSATZE)}, or file.py:function"
        actual = f"{path} ({error.strerror or error})"
        raise ValueError(must_be("ansatz", expected, actual)) from error


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_HASH_DIGITS]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
