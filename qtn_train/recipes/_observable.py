"""An observable of the user's own: a function from a number of qubits to Pauli strings.

"mine.py:stripes"              a function in a file
'[{"Z0 Z1": 1.0}, …]'          what it returned, as JSON: what a run keeps, which then needs no file
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from typing import Any

from ..errors import must_be
from ..measurements import Expectation
from . import _own

_HINT = "It is called as f(n_qubits) and returns Pauli strings, such as ['Z0', {'Z0 Z1': 0.5}]."


def is_own_observable(name: object) -> bool:
    """Return whether a name is a function in a file, or the JSON of what such a one returned."""
    return _own.is_own(name) or (isinstance(name, str) and name.startswith("["))


def observable_text(option: str, expected: str, name: str) -> str:
    """Return what options keep of an observable of the user's own.

    Args:
        option: The option that it was given for.
        expected: What the option may be, for messages.
        name: ``"file.py:function"``, or JSON.

    Raises:
        ValueError: There is no such file, or it is no JSON of Pauli strings.
    """
    if not name.startswith("["):
        return _own.with_hash(option, expected, name)
    find_observable(option, name, None)
    return name


#: Gives what options keep of ``--measure file.py:function``.
measurement_text = partial(
    observable_text,
    "measurement",
    "one of probabilities, pauli-1, pauli-2, pauli-3, or file.py:function",
)


@lru_cache(maxsize=32)
def find_observable(option: str, name: str, n_qubits: int | None) -> Expectation:
    """Return the expectation values that an observable of the user's own names.

    Args:
        option: The option that names it.
        name: What :func:`observable_text` returns.
        n_qubits: Number of qubits; None only for JSON, whose strings are not checked then.

    Raises:
        ValueError: The file or function is missing, or it does not return Pauli strings of so many
            qubits.
    """
    terms: Any
    if name.startswith("["):
        try:
            terms = json.loads(name)
        except ValueError as error:
            raise ValueError(must_be(option, "JSON of Pauli strings", name[:60])) from error
    else:
        made = _own.member(option, name, "function")
        terms = _own.call(option, made, n_qubits, hint=_HINT)
    if isinstance(terms, Expectation):
        terms = terms.terms
    if not isinstance(terms, str | Mapping | Iterable):
        actual = f"{type(terms).__name__} from {_own.shown(name)}"
        raise ValueError(must_be(option, "a function that gives Pauli strings", actual, _HINT))
    try:
        found = Expectation(terms)
        if n_qubits is not None:
            found.check(n_qubits)
    except (TypeError, ValueError) as error:
        (message,) = error.args
        raise ValueError(message.about(f"{option}, {message.name}")) from error
    return found


def as_json(found: Expectation) -> str:
    """Return the expectation values as the text that options keep.

    Example:
        >>> as_json(Expectation(["Z0", {"Z0 Z1": 0.5}]))
        '[{"Z0": 1.0}, {"Z0 Z1": 0.5}]'
    """
    return json.dumps([dict(each) for each in found.terms])
