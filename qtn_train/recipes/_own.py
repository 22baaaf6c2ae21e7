"""Functions and classes in files of the user's own, by name.

"mine.py:grid"                  a function or class in a file
"/home/me/mine.py:grid#3f0a…"   the same from any folder, of the file whose SHA-256 begins so:
                                what options keep
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import sys
import types
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import lru_cache
from typing import Any

from ..errors import must_be

#: Digits of a SHA-256 that options keep of a file.
HASH_DIGITS = 16

_HASH = re.compile(rf"#([0-9a-f]{{{HASH_DIGITS}}})$")
_SHOWN = 10


def is_own(name: object) -> bool:
    """Return whether a name is that of a function or class in a file."""
    return isinstance(name, str) and ".py:" in name


def with_hash(option: str, expected: str, name: str) -> str:
    """Return the name of a function or class of the user's own as options keep it.

    Args:
        option: The option that it was given for.
        expected: What the option may be, for messages.
        name: ``"file.py:function"``; a hash that is there already stays.

    Returns:
        The absolute path, the name and the file's hash, so that any folder will do to go on, and
        a changed file is told.

    Raises:
        ValueError: It names no file, or there is no such file.
    """
    path, own, told = _split(name)
    if told:
        return name
    if not is_own(name):
        raise ValueError(must_be(option, expected, repr(name)))
    path = os.path.abspath(os.path.expanduser(path))
    return f"{path}:{own}#{content_hash(_read(option, expected, path))}"


def shown(name: str) -> str:
    """Return what options keep of a file, or of a name in one, as the user would type it.

    Args:
        name: A path, or such a name, with or without a hash.

    Example:
        >>> shown("/nowhere/mine.py:grid#0123456789abcdef")
        '/nowhere/mine.py:grid'
    """
    plain = _HASH.sub("", name)
    inside = os.path.relpath(plain) if os.path.isabs(plain) else plain
    return plain if inside.startswith(os.pardir) else inside


def content_hash(content: bytes) -> str:
    """Return the first digits of a content's SHA-256."""
    return hashlib.sha256(content).hexdigest()[:HASH_DIGITS]


def told_hash(name: str) -> str | None:
    """Return the hash that a name or path ends with, if there is one."""
    found = _HASH.search(name)
    return None if found is None else found[1]


def told_error(error: BaseException) -> str:
    """Return an error of the user's code as part of a sentence."""
    first = f"{type(error).__name__}: {error}".splitlines()[0]
    return first.rstrip(". :")


@lru_cache(maxsize=32)
def member(option: str, name: str, kinds: str) -> Any:
    """Return a function or class of a file of the user's own; the file is run once.

    Args:
        option: The option that names it.
        name: What :func:`with_hash` returns.
        kinds: ``"function"``, or ``"class or function"``.

    Returns:
        The function or class.

    Raises:
        ValueError: The file is missing, has changed, cannot be run, or lacks the name.
    """
    path, own, told = _split(name)
    content = _read(option, f"a {kinds} in a file", path)
    if told and content_hash(content) != told:
        hint = "Give the file that the run began with, or begin another run."
        expected = f"{shown(path)} as it was"
        raise ValueError(must_be(option, expected, "a file that was changed", hint))
    module = _run(option, path, content)
    is_kind = inspect.isroutine if kinds == "function" else _is_class_or_function
    made = getattr(module, own, None)
    if is_kind(made):
        return made
    there = [
        key
        for key, value in vars(module).items()
        if is_kind(value) and getattr(value, "__module__", None) == module.__name__
    ]
    plural = "Functions" if kinds == "function" else "Classes and functions"
    hint = f"{plural} there: {', '.join(there[:_SHOWN]) or 'none'}."
    raise ValueError(must_be(option, f"a {kinds} in {shown(path)}", repr(own), hint))


def _is_class_or_function(value: object) -> bool:
    return inspect.isclass(value) or inspect.isroutine(value)


def _run(option: str, path: str, content: bytes) -> types.ModuleType:
    """Run a file as a module; what lies beside the file can be imported meanwhile."""
    stem = os.path.basename(path).removesuffix(".py")
    module = types.ModuleType(f"{stem}_{content_hash(content)}")
    module.__file__ = path
    folder = os.path.dirname(path)
    sys.path.insert(0, folder)
    sys.modules[module.__name__] = module  # where dataclasses, for one, look for their module
    try:
        with redirect_stdout(sys.stderr):  # standard output is the command line's
            exec(compile(content, path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:  # whatever stands in the file
        del sys.modules[module.__name__]
        actual = f"{shown(path)}, which raises {told_error(error)}"
        raise ValueError(must_be(option, "in a file that Python can run", actual)) from error
    finally:
        sys.path.remove(folder)
    return module


def call(option: str, made: Callable[..., Any], *arguments: Any, hint: str) -> Any:
    """Call a function or class of the user's own.

    Args:
        option: The option that names it.
        made: The function.
        *arguments: Its arguments.
        hint: What the user is told where it raises.

    Raises:
        ValueError: It raises.
    """
    try:
        with redirect_stdout(sys.stderr):
            return made(*arguments)
    except Exception as error:  # whatever stands in the file
        expected = f"a {'class' if inspect.isclass(made) else 'function'} that can be called"
        raise ValueError(must_be(option, expected, told_error(error), hint)) from error


def _split(name: str) -> tuple[str, str, str | None]:
    """Return path, name in the file, and hash."""
    path, _, own = _HASH.sub("", name).partition(".py:")
    return f"{path}.py", own, told_hash(name)


def _read(option: str, expected: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        actual = f"{shown(path)} ({error.strerror or error})"
        raise ValueError(must_be(option, expected, actual, beside(path, (".py",)))) from error


def beside(path: str, endings: tuple[str, ...]) -> str:
    """Return a hint that lists the files beside a missing one.

    Args:
        path: The missing one.
        endings: Of the files to list, in lower case.
    """
    try:
        folder = os.listdir(os.path.dirname(path) or ".")
        names = sorted(name for name in folder if name.lower().endswith(endings))
    except OSError:
        return ""
    return f"Files there: {', '.join(names[:_SHOWN])}." if names else ""
