"""Classes found by the word under ``kind`` in a description as JSON data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from .errors import must_be

T = TypeVar("T")


class Registry(Generic[T]):
    """The classes of one sort, each with a ``kind`` of its own.

    Args:
        noun: What the classes are, for messages: ``"engine"``.
        base: The class that all of them are subclasses of.
    """

    def __init__(self, noun: str, base: type[Any]) -> None:
        self.noun, self.base = noun, base
        self._classes: dict[str, type[T]] = {}

    def add(self, cls: type[T]) -> type[T]:
        """Make a class known by its ``kind``; the same class may be defined again.

        Args:
            cls: The class, with a string of its own in the attribute ``kind``.

        Returns:
            The class.

        Raises:
            TypeError: It is not a subclass of the base, or has no such string.
            ValueError: Another class has the same one.
        """
        if not isinstance(cls, type) or not issubclass(cls, self.base):
            raise TypeError(must_be("cls", f"a subclass of {self.base.__name__}", repr(cls)))
        kind = getattr(cls, "kind", None)
        if not isinstance(kind, str) or not kind:
            name = getattr(cls, "__name__", repr(cls))
            hint = "Give the class an attribute `kind`, a word of its own."
            raise TypeError(must_be(f"{name}.kind", "a string", repr(kind), hint))
        known = self._classes.get(kind)
        if known is not None and _place(known) != _place(cls):
            actual = f"{kind!r}, the kind of {known.__name__}"
            raise ValueError(must_be(f"{cls.__name__}.kind", "a word of its own", actual))
        self._classes[kind] = cls
        return cls

    def find(self, config: Mapping[str, Any]) -> type[T]:
        """Return the class that a description names.

        Args:
            config: A description with a ``kind``.

        Returns:
            The class.

        Raises:
            ValueError: No class of this kind is known.
        """
        kind = config.get("kind")
        if not isinstance(kind, str) or kind not in self._classes:
            expected = f"one of {', '.join(sorted(self._classes))}"
            hint = f"Call qtn_train.register_{self.noun} first for a class of your own."
            raise ValueError(must_be(f"{self.noun} kind", expected, repr(kind), hint))
        return self._classes[kind]


def _place(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__
