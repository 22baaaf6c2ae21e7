"""Sums of Pauli strings as a user writes them, read into one form.

"ZZI"    {"ZZI": 0.5}    {(0, 1): "ZZ"}    "Z0 Z1"    {"Z0 Z1": 0.5}
──►  [(coefficient, ((qubit, letter), …)), …]     qubits in order, no identities
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from ..errors import must_be

#: A Pauli string: the qubits that it acts on, in order, each with X, Y or Z.
PauliString: TypeAlias = tuple[tuple[int, str], ...]
#: A sum of Pauli strings, each with its coefficient.
PauliSum: TypeAlias = list[tuple[float, PauliString]]
#: What a user writes for a sum of Pauli strings.
Terms: TypeAlias = str | Mapping[Any, Any]

_LETTER = re.compile(r"([IXYZ])([0-9]{1,9})")
#: The Pauli matrices by their letters, rows first.
MATRICES = {
    "I": ((1, 0), (0, 1)),
    "X": ((0, 1), (1, 0)),
    "Y": ((0, -1j), (1j, 0)),
    "Z": ((1, 0), (0, -1)),
}
#: A matrix on more qubits than this has too many Pauli strings.
_MOST_SITES = 6
#: Shares of a matrix's largest entry that are taken for rounding.
_ROUNDING = 1e-5
_FORMS = '"ZZI", {"ZZI": 0.5}, {(0, 1): "ZZ"}, "Z0 Z1" or {"Z0 Z1": 0.5}'


def parse_terms(terms: Terms, n_qubits: int) -> PauliSum:
    """Read a sum of Pauli strings.

    Args:
        terms: One string of ``n_qubits`` letters out of I, X, Y and Z, qubit 0 leftmost; or letters
            with the qubit's number, ``"Z30 Z31"``; or a mapping from such strings to their
            coefficients, or from tuples of qubits to their letters (coefficient 1) or to a
            Hermitian matrix, the first qubit its most significant bit, which is a sum.
        n_qubits: Number of qubits.

    Returns:
        Each string once, in the order given: its coefficient, and its qubits in order with their
        letters; identities are left out.

    Raises:
        TypeError: Another type of terms, or a coefficient that is not a real number.
        ValueError: No string, or one that cannot be read.

    Source:
        Ours.

    Example:
        >>> parse_terms({"XIZ": 0.5, "Z1": 2.0}, 3)
        [(0.5, ((0, 'X'), (2, 'Z'))), (2.0, ((1, 'Z'),))]
        >>> parse_terms({(30, 31): "ZZ"}, 40)
        [(1.0, ((30, 'Z'), (31, 'Z')))]
    """
    total: dict[PauliString, float] = {}
    for text, coefficient in as_strings(terms).items():
        string = _read(text, n_qubits)
        total[string] = total.get(string, 0.0) + coefficient
    return [(coefficient, string) for string, coefficient in total.items()]


def as_strings(terms: Terms) -> dict[str, float]:
    """Return a sum of Pauli strings as strings with coefficients, whatever its form.

    Args:
        terms: As for :func:`parse_terms`; the strings themselves are not read.

    Returns:
        The same sum; it can be stored as JSON.

    Raises:
        TypeError: Another type of terms, or a coefficient that is not a real number.
        ValueError: No string, or a tuple of qubits without a letter for each.

    Example:
        >>> as_strings({(0, 1): "ZX", "Y2": -1})
        {'Z0 X1': 1.0, 'Y2': -1.0}
    """
    if isinstance(terms, str):
        return {terms: 1.0}
    if not isinstance(terms, Mapping):
        raise TypeError(must_be("terms", f"such as {_FORMS}", repr(terms)))
    if not terms:
        raise ValueError(must_be("terms", "one Pauli string at least", repr(terms)))
    out: dict[str, float] = {}
    for key, value in terms.items():
        if isinstance(key, str):
            found = {key: _coefficient(value)}
        elif isinstance(key, tuple) and not hasattr(value, "__array__"):
            found = {_joined(key, value): 1.0}
        elif isinstance(key, tuple):
            found = _of_matrix(key, value)
        else:
            raise TypeError(must_be("terms", f"such as {_FORMS}", repr({key: value})))
        for text, coefficient in found.items():
            out[text] = out.get(text, 0.0) + coefficient
    return out


def _check_constant(value: Any) -> None:
    """Raise for a tensor whose gradient would be lost."""
    if getattr(value, "requires_grad", False):
        hint = "Multiply what expectations(...) gives by it, or detach it."
        raise TypeError(must_be("terms", "of constants", "a tensor with a gradient", hint))


def _of_matrix(qubits: tuple[Any, ...], matrix: Any) -> dict[str, float]:
    """Return a Hermitian matrix on some qubits as Pauli strings: c = tr(P · matrix) / 2^k."""
    _check_constant(matrix)
    values = matrix.cpu() if hasattr(matrix, "cpu") else matrix
    array = np.asarray(values, dtype=np.complex128)
    size, k = float(np.abs(array).max(initial=0.0)), len(qubits)
    is_matrix = 0 < k <= _MOST_SITES and array.shape == (2**k, 2**k) and math.isfinite(size)
    if not is_matrix or float(np.abs(array - array.conj().T).max()) > _ROUNDING * size:
        expected = f"with Hermitian matrices, {2**k} × {2**k} on {k} qubits (at most {_MOST_SITES})"
        actual = f"{array.shape} on {qubits}" if array.shape != (2**k, 2**k) else "another matrix"
        raise ValueError(must_be("terms", expected, actual))
    found = array.reshape((2,) * (2 * k))
    paulis = np.array(list(MATRICES.values())) / 2
    for place in range(k):  # the row and column legs of each qubit, the first one's in front
        found = np.tensordot(found, paulis, axes=([0, k - place], [2, 1]))
    words = ("".join(word) for word in itertools.product(MATRICES, repeat=k))
    coefficients = zip(words, found.real.reshape(-1), strict=True)
    kept = {word: float(c) for word, c in coefficients if abs(c) > 1e-12 * size}
    return {_joined(qubits, word): c for word, c in (kept or {"I" * k: 0.0}).items()}


def parse_list(terms: Iterable[Terms], n_qubits: int) -> list[PauliSum]:
    """Read several sums of Pauli strings.

    Args:
        terms: The sums, each as for :func:`parse_terms`.
        n_qubits: Number of qubits.

    Returns:
        The sums in the same order.

    Raises:
        TypeError: It is a single sum, or not a list.
        ValueError: It is empty, or one of them cannot be read.
    """
    if isinstance(terms, str | Mapping) or not isinstance(terms, Iterable):
        hint = "Take expectation() for a single sum."
        raise TypeError(must_be("terms", "a list of sums of Pauli strings", repr(terms), hint))
    sums = [parse_terms(each, n_qubits) for each in terms]
    if not sums:
        raise ValueError(must_be("terms", "one sum of Pauli strings at least", "an empty list"))
    return sums


def coefficients(terms: PauliSum) -> dict[PauliString, float]:
    """Return the coefficient of each string of a sum.

    Args:
        terms: The sum.

    Returns:
        A mapping; two of the same strings and coefficients are equal, whatever their order.
    """
    return {string: coefficient for coefficient, string in terms}


def letters(string: PauliString, n_qubits: int, empty: str = "I") -> str:
    """Return a Pauli string as ``n_qubits`` letters, qubit 0 leftmost.

    Args:
        string: The string.
        n_qubits: Number of qubits.
        empty: The letter of qubits that the string does not act on.

    Returns:
        The letters.

    Example:
        >>> letters(((1, "X"),), 3)
        'IXI'
    """
    out = [empty] * n_qubits
    for qubit, letter in string:
        out[qubit] = letter
    return "".join(out)


def commuting_groups(strings: Iterable[PauliString]) -> dict[PauliString, list[PauliString]]:
    """Group Pauli strings that one circuit measures: no two letters differ on the same qubit.

    Strings come longest first, each into the first group that it fits: a greedy choice, which may
    take more groups than need be.

    Args:
        strings: The strings; equal ones are taken once.

    Returns:
        For each group its basis, the letters of all its strings together, and the strings.

    Source:
        Qubit-wise commutation, greedy: arXiv 1907.03358.

    Example:
        >>> groups = commuting_groups([((0, "Z"),), ((0, "Z"), (1, "Z")), ((0, "X"),)])
        >>> [len(members) for members in groups.values()]
        [2, 1]
    """
    bases: list[dict[int, str]] = []
    members: list[list[PauliString]] = []
    for string in sorted(dict.fromkeys(strings), key=len, reverse=True):
        fitting = (
            number
            for number, basis in enumerate(bases)
            if all(basis.get(qubit, letter) == letter for qubit, letter in string)
        )
        number = next(fitting, len(bases))
        if number == len(bases):
            bases.append({})
            members.append([])
        bases[number].update(string)
        members[number].append(string)
    return {tuple(sorted(b.items())): m for b, m in zip(bases, members, strict=True)}


def _read(text: str, n_qubits: int) -> PauliString:
    """Read ``"XIZ"`` or ``"X0 Z2"``."""
    if text and not set(text) - set("IXYZ"):
        if len(text) != n_qubits:
            expected = f"Pauli strings of {n_qubits} letters out of IXYZ"
            hint = "Name the qubits otherwise, as in 'Z0 Z1'."
            raise ValueError(must_be("terms", expected, repr(text), hint))
        return tuple((qubit, letter) for qubit, letter in enumerate(text) if letter != "I")
    found = [_LETTER.fullmatch(word) for word in text.split()]
    pairs = [(int(match[2]), match[1]) for match in found if match is not None]
    if not found or len(pairs) < len(found):
        raise ValueError(must_be("terms", f"such as {_FORMS}", repr(text)))
    return _ordered(pairs, n_qubits, text)


def _joined(qubits: tuple[Any, ...], word: Any) -> str:
    """Write ``{(0, 1): "ZX"}`` as ``"Z0 X1"``."""
    whole = all(hasattr(q, "__index__") and not isinstance(q, bool) for q in qubits)
    fits = isinstance(word, str) and len(word) == len(qubits) > 0 and not set(word) - set("IXYZ")
    if not whole or not fits:
        expected = "a letter out of IXYZ for each qubit of a tuple"
        raise ValueError(must_be("terms", expected, repr({qubits: word})))
    return " ".join(f"{letter}{q.__index__()}" for q, letter in zip(qubits, word, strict=True))


def _ordered(pairs: list[tuple[int, str]], n_qubits: int, given: object) -> PauliString:
    """Sort a string's letters by qubit; refuse qubits that are not there, or come twice."""
    qubits = [qubit for qubit, _ in pairs]
    if any(not 0 <= qubit < n_qubits for qubit in qubits):
        raise ValueError(must_be("terms", f"on qubits 0 … {n_qubits - 1}", repr(given)))
    if len(set(qubits)) < len(qubits):
        raise ValueError(must_be("terms", "strings with one letter for a qubit", repr(given)))
    return tuple(sorted((qubit, letter) for qubit, letter in pairs if letter != "I"))


def _coefficient(value: Any) -> float:
    if isinstance(value, bool | complex) or not hasattr(value, "__float__"):
        raise TypeError(must_be("terms", "with real coefficients", repr(value)))
    _check_constant(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(must_be("terms", "with finite coefficients", repr(value)))
    return number
