"""Syntax trees of OpenQASM, by ``openqasm3``'s parser, which is kept from printing."""

from __future__ import annotations

import re
from typing import Any

from antlr4 import CommonTokenStream, InputStream
from antlr4.error.ErrorListener import ErrorListener
from openqasm3.parser import (  # type: ignore[attr-defined]
    QASM3ParsingError,
    QASMNodeVisitor,
    qasm3Lexer,
    qasm3Parser,
)

from ._scan import MAX_DEPTH, at_line

# The parser goes down one level for each sign in a row, as for a bracket.
_MANY_SIGNS = re.compile(rf"(?:[-!~]\s*+){{{MAX_DEPTH + 1}}}")


class _Quiet(ErrorListener):  # type: ignore[misc]
    """Raises what the parser would print."""

    def syntaxError(self, *_: Any) -> None:
        raise QASM3ParsingError("The text is not OpenQASM.")


def parsed(text: str, line: int) -> list[Any]:
    """Return a text's statements; as ``openqasm3.parse``, which prints errors besides.

    Args:
        text: One statement or more.
        line: The number of its first line, for the message.

    Returns:
        Their syntax trees.

    Raises:
        ValueError: It is not OpenQASM, or goes deeper than the parser can.
    """
    if _MANY_SIGNS.search(text):
        raise at_line(line, f"of at most {MAX_DEPTH} signs in a row", text)
    lexer = qasm3Lexer(InputStream(text))
    parser = qasm3Parser(CommonTokenStream(lexer))
    for part in (lexer, parser):
        part.removeErrorListeners()
        part.addErrorListener(_Quiet())
    try:
        visitor = QASMNodeVisitor()  # type: ignore[no-untyped-call]
        return list(visitor.visitProgram(parser.program()).statements)
    except QASM3ParsingError as error:
        raise at_line(line, "OpenQASM", text) from error
    except Exception as error:  # the parser's own faults on what is no program
        raise at_line(line, "OpenQASM that the parser reads", text) from error
