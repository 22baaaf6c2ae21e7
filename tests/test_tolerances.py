"""One table of tolerances: no test has a number of its own, and none a default that nobody sees."""

from __future__ import annotations

import ast
from pathlib import Path

CALLS = ("approx", "allclose", "assert_close", "assert_allclose", "isclose")
NAMES = ("abs", "rel", "atol", "rtol")


def faults(tree: ast.AST) -> list[str]:
    """What a test's tolerances lack, with the lines."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name not in CALLS:
            continue
        given = {word.arg: word.value for word in node.keywords}
        for word in NAMES:
            value = given.get(word)
            if value is not None and not {0} & _numbers(value) and _numbers(value):
                found.append(f"{node.lineno}: {word}={ast.unparse(value)}")
        if "atol" in given and "rtol" not in given:
            found.append(f"{node.lineno}: {name} adds a relative tolerance unasked")
    return found


def _numbers(value: ast.expr) -> set[float]:
    """The number that an expression is, where nothing of the table is in it."""
    if any(isinstance(node, ast.Name) for node in ast.walk(value)):
        return set()
    return {node.value for node in ast.walk(value) if isinstance(node, ast.Constant)}


def test_every_tolerance_is_in_the_table() -> None:
    folder = Path(__file__).parent
    wrong = {
        str(path.relative_to(folder)): faults(ast.parse(path.read_text()))
        for path in sorted(folder.rglob("*.py"))
    }
    assert {path: lines for path, lines in wrong.items() if lines} == {}


def test_a_number_and_a_hidden_default_are_found() -> None:
    text = "approx(1, abs=1e-3)\nt.allclose(a, b, atol=T.X)\nt.allclose(a, b, atol=T.X, rtol=0)"
    assert faults(ast.parse(text)) == [
        "1: abs=0.001",
        "2: allclose adds a relative tolerance unasked",
    ]
