"""Values of expressions in a program: numbers, and linear forms of the program's inputs.

Version 2 of the language knows real numbers only, so 1/2 is 0.5 and ^ a power; in version 3
integers divide as integers, so 1/2 is 0, and ** is the power.
"""

from __future__ import annotations

import ast as python
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from openqasm3 import ast

from ._linear import Linear

Value = int | float | bool | Linear

CONSTANTS: dict[str, float] = {
    **dict.fromkeys(("pi", "π"), math.pi),
    **dict.fromkeys(("tau", "τ"), math.tau),
    **dict.fromkeys(("euler", "ℇ"), math.e),
}

#: A number and a word of Python's without a space: its parser warns of them on standard error.
GLUED = re.compile(r"\d\.?(?:and|else|for|if|in|is|not|or)")

_FUNCTIONS: dict[str, Callable[..., float]] = {
    **{"sin": math.sin, "cos": math.cos, "tan": math.tan, "exp": math.exp, "ln": math.log},
    **{"log": math.log, "sqrt": math.sqrt, "arcsin": math.asin, "arccos": math.acos},
    **{"arctan": math.atan, "asin": math.asin, "acos": math.acos, "atan": math.atan},
    **{"floor": math.floor, "ceiling": math.ceil, "abs": abs, "pow": lambda a, b: _power(a, b)},
    "mod": lambda a, b: a % b,
}

# Integers of more bits are not computed with.
_MAX_BITS = 1024


class Refused(Exception):
    """An expression without a value in this package; the text says why."""


def evaluate(node: Any, names: Mapping[str, Any], version: int) -> Value:
    """Return the value of an expression.

    Args:
        node: Its syntax tree.
        names: The values of the names in it.
        version: 2 or 3.

    Returns:
        A number, or a linear form of the inputs.

    Raises:
        Refused: It has none, or is not linear in the inputs.
    """
    try:
        return _value(node, names, version)
    except (ArithmeticError, TypeError, ValueError, RecursionError) as error:
        raise Refused(f"an expression without a value ({error})") from error


def _value(node: Any, names: Mapping[str, Any], version: int) -> Value:
    match node:
        case ast.IntegerLiteral():
            return float(node.value) if version == 2 else int(node.value)
        case ast.FloatLiteral():
            return float(node.value)
        case ast.BooleanLiteral():
            return bool(node.value)
        case ast.Identifier():
            if node.name in names:
                value = names[node.name]
                if isinstance(value, int | float | Linear):
                    return value
                raise Refused(f"{node.name} in an expression: it is no number")
            if node.name in CONSTANTS:
                return CONSTANTS[node.name]
            raise Refused(f"the unknown name {node.name}")
        case ast.UnaryExpression():
            return _unary(node.op.name, _value(node.expression, names, version))
        case ast.BinaryExpression():
            left, right = (_value(side, names, version) for side in (node.lhs, node.rhs))
            return _binary(node.op.name, left, right, version)
        case ast.FunctionCall():
            return _called(node, [_value(one, names, version) for one in node.arguments])
        case ast.Cast():
            value = _value(node.argument, names, version)
            return _cast(node.type, value)
    raise Refused(f"an expression of kind {type(node).__name__}")


_QUICK: dict[type[python.operator], str] = {
    **{python.Add: "+", python.Sub: "-"},
    **{python.Mult: "*", python.Div: "/"},
}
# Longer texts are not handed to Python's parser.
_MAX_QUICK = 400


def quick(text: str, names: Mapping[str, Any], version: int) -> Value | None:
    """Return the value of a plain expression, read by Python's parser, which is much faster.

    Args:
        text: Numbers, names, + - * / and parentheses, in which the two languages agree.
        names: As for :func:`evaluate`.
        version: As for :func:`evaluate`.

    Returns:
        Its value; None for anything else.

    Raises:
        Refused: As for :func:`evaluate`.
    """
    if len(text) > _MAX_QUICK or GLUED.search(text):
        return None
    try:
        return _quick(python.parse(text, mode="eval").body, names, version)
    except (SyntaxError, ValueError, MemoryError, RecursionError, ArithmeticError, TypeError):
        return None


def _quick(node: python.expr, names: Mapping[str, Any], version: int) -> Value:
    match node:
        case python.Constant(value=float() | int() as number) if not isinstance(number, bool):
            return float(number) if version == 2 else number
        case python.Name(id=name):
            value = names.get(name, CONSTANTS.get(name))
            if isinstance(value, int | float | Linear):
                return value
        case python.UnaryOp(op=python.USub()):
            return _unary("-", _quick(node.operand, names, version))
        case python.BinOp() if type(node.op) in _QUICK:
            left, right = (_quick(side, names, version) for side in (node.left, node.right))
            return _binary(_QUICK[type(node.op)], left, right, version)
    raise ValueError("outside of the plain expressions")


def _called(node: Any, arguments: list[Value]) -> Value:
    function = _FUNCTIONS.get(node.name.name)
    if function is None:
        raise Refused(f"a call of the function {node.name.name}")
    return function(*(_number(argument, node.name.name) for argument in arguments))


def _cast(kind: Any, value: Value) -> Value:
    if isinstance(kind, ast.FloatType | ast.AngleType):
        return value if isinstance(value, Linear) else float(value)
    if isinstance(kind, ast.IntType | ast.UintType):
        return int(_number(value, "int"))
    raise Refused(f"a cast to {type(kind).__name__}")


def _number(value: Value, where: str) -> int | float:
    if isinstance(value, Linear):
        if value.terms:
            raise Refused(f"{where} of an input: angles must be linear in the inputs")
        return value.constant
    return value


def _unary(name: str, value: Value) -> Value:
    if name == "-":
        return value.times(-1.0) if isinstance(value, Linear) else -value
    if name == "!":
        return not _number(value, "!")
    raise Refused(f"the operator {name}")


def _binary(name: str, left: Value, right: Value, version: int) -> Value:
    if name in ("+", "-", "*", "/") and (isinstance(left, Linear) or isinstance(right, Linear)):
        return _linear(name, left, right)
    a, b = _number(left, name), _number(right, name)
    if name == "+":
        return a + b
    if name == "-":
        return a - b
    if name == "*":
        return _small(a * b)
    if name == "/":
        if isinstance(a, int) and isinstance(b, int):
            quotient = abs(a) // abs(b)
            return quotient if (a < 0) == (b < 0) else -quotient
        return a / b
    if name == "%":
        remainder = math.fmod(a, b)
        return int(remainder) if isinstance(a, int) and isinstance(b, int) else remainder
    if name == "**" or (name == "^" and version == 2):
        return _power(a, b)
    compared = {"==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}
    if name in compared:
        return compared[name]
    if name in ("&&", "||"):
        return bool(a and b) if name == "&&" else bool(a or b)
    if isinstance(a, int) and isinstance(b, int):
        return _bits(name, a, b)
    raise Refused(f"the operator {name}")


def _bits(name: str, a: int, b: int) -> int:
    if name in ("<<", ">>"):
        if not 0 <= b <= _MAX_BITS:
            raise Refused(f"a shift by {b}")
        return int(_small(a << b)) if name == "<<" else a >> b
    if name in ("&", "|", "^"):
        return {"&": a & b, "|": a | b, "^": a ^ b}[name]
    raise Refused(f"the operator {name}")


def _linear(name: str, left: Value, right: Value) -> Linear:
    a, b = (v if isinstance(v, Linear) else Linear(float(v)) for v in (left, right))
    if name == "+":
        return a.plus(b)
    if name == "-":
        return a.plus(b.times(-1.0))
    if name == "*" and not (a.terms and b.terms):
        return a.times(b.constant) if a.terms else b.times(a.constant)
    if name == "/" and not b.terms:
        if b.constant == 0:
            raise Refused("a division by 0")
        return Linear(a.constant / b.constant, tuple((n, c / b.constant) for n, c in a.terms))
    raise Refused("an angle that is not linear in the inputs")


def _power(a: float, b: float) -> int | float:
    if isinstance(a, int) and isinstance(b, int) and b >= 0:
        if a.bit_length() * b > _MAX_BITS:
            raise Refused("too large a power")
        return int(a**b)
    value = float(a) ** float(b)
    if isinstance(value, complex):
        raise Refused("a root of a negative number")
    return float(value)


def _small(value: int | float) -> int | float:
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise Refused("too large an integer")
    return value
