"""Errors and warnings: one form for all messages, and no class or message without a use."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import qtn_train
from qtn_train import errors
from qtn_train.errors import (
    Event,
    Message,
    QtnTrainError,
    QtnTrainWarning,
    event,
    must_be,
    positive_int,
)

ROOT = Path(qtn_train.__file__).parent
# The stand-in of a service speaks as that service does.
TREES = {
    path: ast.parse(path.read_text())
    for path in sorted(ROOT.rglob("*.py"))
    if "stand_in" not in path.parts
}
OWN = {
    name
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and kind.__module__ == errors.__name__ and not issubclass(kind, str)
}
CHECKED = OWN | {"ValueError", "TypeError"}

#: What may be raised without a message: they carry none, in Python either.
SILENT = {"KeyboardInterrupt", "StopIteration", "typer.Exit"}

#: Messages that nobody sees: they are caught in the same file, where a better one is made.
INTERNAL = {"outside of the plain expressions", "a single array"}

Function = ast.FunctionDef | ast.Module

#: What is assigned to a name outside of all functions and classes.
CONSTANTS = {
    target.id: node.value
    for tree in TREES.values()
    for node in tree.body
    if isinstance(node, ast.Assign)
    for target in node.targets
    if isinstance(target, ast.Name)
}


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
    if not values and expression.id in CONSTANTS:
        return [CONSTANTS[expression.id]]
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


def complaint(name: str, message: ast.expr | None, nodes: list[ast.AST]) -> str:
    """What is wrong with a raise, or nothing."""
    if name in SILENT:
        return ""
    if message is None:
        return "no message"
    if name not in CHECKED:
        return ""
    found = meanings(message, nodes)
    if not found:
        return "where does the message come from?"
    for meaning in found:
        text = text_of(meaning)
        if text is None and not isinstance(meaning, ast.Call):
            return f"not made by must_be: {ast.unparse(meaning)}"
        if text is not None and not text.endswith((".", "{}")) and text not in INTERNAL:
            return f"no period after {text!r}"
        if text is not None and "\n" in text:
            return f"more than one line: {text!r}"
    return ""


def test_every_raise_has_a_message_that_ends_with_a_period() -> None:
    wrong = {place: complaint(name, message, nodes) for place, name, message, nodes in CASES}
    assert {place: text for place, text in wrong.items() if text} == {}


def texts(expression: ast.expr, nodes: list[ast.AST]) -> list[str]:
    found = [text_of(meaning) for meaning in meanings(expression, nodes)]
    return [text for text in found if text]


def fault(call: ast.Call, nodes: list[ast.AST]) -> str:
    """What is wrong with the parts of a message, or nothing."""
    if len(call.args) not in (3, 4) or call.keywords:
        return "name, expected, actual and perhaps a hint, in this order"
    name, expected, _, *hint = call.args
    for text in texts(name, nodes):
        if "`" in text:
            return "must_be adds the backticks itself"
    for text in texts(expected, nodes):
        if text.endswith("."):
            return f"two periods after {text!r}"
    for text in texts(hint[0], nodes) if hint else []:
        if not text.endswith((".", "{}")):
            return f"a hint is a sentence, not {text!r}"
    return ""


def test_the_parts_of_every_message_fit_together() -> None:
    wrong = {place: fault(call, nodes) for place, call, nodes in MADE}
    assert {place: text for place, text in wrong.items() if text} == {}


def test_every_class_is_used() -> None:
    """Bases aside: an error or warning that nothing raises is a promise that nobody keeps."""
    used = {
        node.id
        for path, tree in TREES.items()
        if path.name != "errors.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Name)
    }
    assert OWN - used <= {"QtnTrainWarning"}


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


def test_a_message_is_one_line_whatever_came() -> None:
    foreign = must_be("a\nb", "a model file", "a mo\n  \x1b[2J\u2028 file", "Résumé.")
    assert foreign == r"`a\nb` must be a model file; got a mo\n  \x1b[2J\u2028 file. Résumé."
    assert (
        foreign.about("--x")
        == r"`--x` must be a model file; got a mo\n  \x1b[2J\u2028 file. Résumé."
    )
    assert pickle.loads(pickle.dumps(foreign)) == foreign
    assert event("One\r\ntwo.", "Safe.", "Go.") == r"One\r\ntwo. Safe. Go."


def test_positive_int() -> None:
    import numpy as np

    assert positive_int("n", np.int64(3)) == 3
    assert type(positive_int("n", np.int64(3))) is int
    with pytest.raises(ValueError, match=r"^`n` must be a positive integer; got 0\. Why\?$"):
        positive_int("n", 0, "Why?")
    for value in (1.0, "1", True, None):
        with pytest.raises(TypeError, match=rf"^`n` must be a positive integer; got {value!r}\.$"):
            positive_int("n", value)


def test_a_message_knows_its_argument_also_after_a_journey() -> None:
    message = must_be("n_layers", "positive", "`n_layers`", "Give one.")
    assert message.name == "n_layers"
    assert message.about("--layers") == "`--layers` must be positive; got `n_layers`. Give one."
    for traveled in (pickle.loads(pickle.dumps(message)), copy.deepcopy(message)):
        assert (type(traveled), traveled.name, str(traveled)) == (Message, "n_layers", message)
    error = pickle.loads(pickle.dumps(ValueError(message)))
    assert error.args[0].about("x") == "`x` must be positive; got `n_layers`. Give one."


def test_the_form_of_an_event() -> None:
    told = event("The disk is full.", "The checkpoint is whole.", "Go on with: make room")
    assert type(told) is Event
    assert told == "The disk is full. The checkpoint is whole. Go on with: make room"


def test_the_library_does_not_speak_of_options() -> None:
    """The command line alone knows how its options are called."""
    found = {
        f"{path.relative_to(ROOT)}:{node.lineno}": text
        for path, tree in TREES.items()
        if path.relative_to(ROOT).parts[0] != "cli"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in ("must_be", "event", "positive_int")
        for argument in node.args
        if (text := text_of(argument)) and re.search(r"--[a-z]", text)
    }
    assert found == {}
