"""Doors that load nothing before somebody asks for a name behind them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazily(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package whose names are imported when first asked for.

    Args:
        package: The package's full name.
        places: Of each public name, the module of the package that defines it.

    Returns:
        A function from a name to what it names; it raises AttributeError for any other name.
    """

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f".{places[name]}", package), name)

    return find
