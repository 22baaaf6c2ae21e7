"""Errors and warnings: one form for all messages, and no class or message without a use."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import qtn_train
from qtn_train import errors
from qtn_train.errors import QtnTrainError, QtnTrainWarning, must_be, positive_int

ROOT = Path(qtn_train.__file__).parent
TREES = {path: ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
OWN = {name for name, kind in vars(errors).items() if inspect.isclass(kind)}
CHECKED = OWN | {"ValueError", "TypeError"}

#: What may be raised without a message: they carry none, in Python either.
SILENT = {"KeyboardInterrupt", "StopIteration"}

Function = ast.FunctionDef | ast.Module


def functions(tree: ast.Module) -> Iterator[tuple[Function, list[ast.AST]]]:
    """Each function with the nodes of its own, and the module with what is left."""
    for scope in ast.walk(tree):
        if isinstance(scope, ast.FunctionDef | ast.Module):
            own, todo = [], list(ast.iter_child_nodes(scope))
            while todo:
                node = todo.pop()
                if not isinstance(node, ast.FunctionDef):
                    own.append(node)
                    todo.extend(ast.iter_child_nodes(node))
            yield scope, own


def raises() -> Iterator[tuple[str, str, ast.expr | None, list[ast.AST]]]:
    """Place, class and message of each raise, and the nodes of the function around it."""
    for path, tree in TREES.items():
        for _, nodes in functions(tree):
            for node in nodes:
                if not isinstance(node, ast.Raise) or node.exc is None:
                    continue
                call = node.exc
                name = ast.unparse(call.func if isinstance(call, ast.Call) else call)
                message = call.args[0] if isinstance(call, ast.Call) and call.args else None
                yield f"{path.relative_to(ROOT)}:{node.lineno}", name, message, nodes


def meanings(expression: ast.expr, nodes: list[ast.AST]) -> list[ast.expr]:
    """An expression, or what is assigned to that name in the function."""
    if isinstance(expression, ast.IfExp):
        return meanings(expression.body, nodes) + meanings(expression.orelse, nodes)
    if not isinstance(expression, ast.Name):
        return [expression]
    values: list[ast.expr] = []
    for node in nodes:
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            values += [
                value
                for name, value in pairs
                if isinstance(name, ast.Name) and name.id == expression.id
            ]
    return values


def text_of(expression: ast.expr) -> str | None:
    """The text of a literal, with ``{}`` for what is filled in."""
    if isinstance(expression, ast.Constant) and isinstance(expression.value, str):
        return expression.value
    if isinstance(expression, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) else "{}" for part in expression.values
        )
    return None


CASES = list(raises())
MADE = [
    (f"{path.relative_to(ROOT)}:{node.lineno}", node, nodes)
    for path, tree in TREES.items()
    for _, nodes in functions(tree)
    for node in nodes
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "must_be"
]


def test_there_is_something_to_check() -> None:
    assert len(CASES) > 40
    assert len(MADE) > 40


@pytest.mark.parametrize(("place", "name", "message", "nodes"), CASES, ids=[c[0] for c in CASES])
def test_every_raise_has_a_message(
    place: str, name: str, message: ast.expr | None, nodes: list[ast.AST]
) -> None:
    if name in SILENT:
        return
    assert message is not None, f"{place} raises {name} without a message"
    if name not in CHECKED:
        return
    found = meanings(message, nodes)
    assert found, f"{place}: where does the message come from?"
    for meaning in found:
        text = text_of(meaning)
        if text is None:  # made by must_be, or by a function of its own
            assert isinstance(meaning, ast.Call), f"{place}: {ast.unparse(meaning)}"
        else:
            assert text.endswith((".", "{}")), f"{place}: no period after {text!r}"
            assert "\n" not in text, f"{place}: a message is one line"


@pytest.mark.parametrize(("place", "call", "nodes"), MADE, ids=[c[0] for c in MADE])
def test_the_parts_of_a_message(place: str, call: ast.Call, nodes: list[ast.AST]) -> None:
    assert len(call.args) in (3, 4), place
    assert not call.keywords, place
    name, expected = call.args[:2]
    for meaning in meanings(name, nodes):
        text = text_of(meaning)
        assert text is None or "`" not in text, f"{place}: must_be adds the backticks itself"
    for meaning in meanings(expected, nodes):
        text = text_of(meaning)
        assert text is None or not text.endswith("."), f"{place}: two periods after {text!r}"
    if len(call.args) == 4:
        for meaning in meanings(call.args[3], nodes):
            text = text_of(meaning)
            fits = text is None or text == "" or text.endswith((".", "{}"))
            assert fits, f"{place}: a hint is a sentence, not {text!r}"


def test_every_class_is_used() -> None:
    """Bases aside: an error or warning that nothing raises is a promise that nobody keeps."""
    used = {
        node.id
        for path, tree in TREES.items()
        if path.name != "errors.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Name)
    }
    bases = {"QtnTrainWarning"}
    assert used >= OWN - bases


def test_errors_and_warnings_have_one_base_each() -> None:
    for name in OWN:
        kind = getattr(errors, name)
        assert issubclass(kind, QtnTrainError) != issubclass(kind, QtnTrainWarning)
        assert kind.__doc__


@pytest.mark.parametrize(
    ("actual", "hint", "message"),
    [
        (0, "", "`n` must be positive; got 0."),
        (None, "", "`n` must be positive; got None."),
        ("'x'", "Give a number.", "`n` must be positive; got 'x'. Give a number."),
    ],
)
def test_the_form_of_a_message(actual: object, hint: str, message: str) -> None:
    assert must_be("n", "positive", actual, hint) == message


def test_positive_int() -> None:
    import numpy as np

    assert positive_int("n", np.int64(3)) == 3
    assert type(positive_int("n", np.int64(3))) is int
    with pytest.raises(ValueError, match=r"^`n` must be a positive integer; got 0\. Why\?$"):
        positive_int("n", 0, "Why?")
    for value in (1.0, "1", True, None):
        with pytest.raises(TypeError, match=rf"^`n` must be a positive integer; got {value!r}\.$"):
            positive_int("n", value)
