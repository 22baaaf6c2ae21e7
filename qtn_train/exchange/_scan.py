"""A program's text cut into statements, each with the number of its line; linear in its length."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import must_be

#: Brackets within brackets, deeper than any program that a person or an exporter writes.
MAX_DEPTH = 100
#: The longest text and the longest single statement, in characters.
MAX_TEXT, MAX_STATEMENT = 2**28, 2**24

# What matters between two statements: comments, strings, brackets, ends.
_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|/\*|"[^"\n]*"|[{}()\[\];]', re.DOTALL)
_GAP = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)*+", re.DOTALL)
_PRAGMA = re.compile(r"(?:#\s*pragma|pragma\b|@\w)[^\n]*")
# A brace after one of these opens a list of values, not a block.
_LIST_BEFORE = re.compile(r"(?:[=,({\[]|\+\+|\bin|->)\s*$")
_ELSE = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)*+else\b", re.DOTALL)
_PAIRS = {")": "(", "]": "[", "}": "{"}


class Statement(NamedTuple):
    """One statement.

    Attributes:
        line: The number of its first line, from 1.
        text: The statement with its last character, comments replaced by spaces.
    """

    line: int
    text: str


def at_line(line: int, expected: str, actual: str, hint: str = "") -> ValueError:
    """Return the error for something in a line of a program."""
    flat = " ".join(actual.split())
    shown = flat if len(flat) <= 60 else flat[:60] + "…"
    return ValueError(must_be(f"line {line}", expected, repr(shown), hint))


def statements(text: str) -> Iterator[Statement]:
    r"""Cut a program into statements.

    Args:
        text: The program.

    Returns:
        Its statements in order; a pragma or an annotation is a line by itself.

    Raises:
        ValueError: The text is too long, a bracket has no partner, or a statement has no end.

    Example:
        >>> [one.line for one in statements("qubit q; // two\nh q;\nx q;")]
        [1, 2, 3]
    """
    if len(text) > MAX_TEXT:
        raise ValueError(must_be("source", f"of at most {MAX_TEXT} characters", len(text)))
    position, line = 0, 1
    while True:
        gap = _GAP.match(text, position)
        assert gap is not None  # it may be empty
        line += text.count("\n", position, gap.end())
        position = gap.end()
        if position == len(text):
            return
        pragma = _PRAGMA.match(text, position)
        end = pragma.end() if pragma else _end(text, position, line)
        if end - position > MAX_STATEMENT:
            raise at_line(line, f"of at most {MAX_STATEMENT} characters", text[position:][:60])
        yield Statement(line, _without_comments(text[position:end]))
        line += text.count("\n", position, end)
        position = end


def _without_comments(text: str) -> str:
    if "//" not in text and "/*" not in text:
        return text
    return _TOKEN.sub(lambda m: re.sub(r"[^\n]", " ", m[0]) if m[0][:1] == "/" else m[0], text)


def _end(text: str, start: int, line: int) -> int:
    """Return the position at which a statement ends."""
    open_: list[str] = []
    is_block: list[bool] = []
    for token in _TOKEN.finditer(text, start):
        kind = token[0]
        if kind == "/*":
            break
        if kind in "([{" and len(kind) == 1:
            before = text[max(start, token.start() - 20) : token.start()]
            open_.append(kind)
            is_block.append(kind == "{" and not _LIST_BEFORE.search(before))
            if len(open_) > MAX_DEPTH:
                raise at_line(line, f"of at most {MAX_DEPTH} nested brackets", text[start:][:60])
        elif kind in _PAIRS:
            if not open_ or open_.pop() != _PAIRS[kind]:
                raise at_line(line, "of brackets in pairs", text[start : token.end()])
            closes_block = is_block.pop()
            if closes_block and not open_ and not _ELSE.match(text, token.end()):
                return token.end()
        elif kind == ";" and not open_ and not _ELSE.match(text, token.end()):
            return token.end()
    raise at_line(line, "a statement that ends with ;", text[start:][:200])
