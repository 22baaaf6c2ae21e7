"""What a Braket device is and can do, its native gates, and where a circuit goes on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazily

if TYPE_CHECKING:
    from ._couplings import couplings
    from ._devices import asking, open_session, resolve
    from ._target import Target, check

__all__ = [
    "Target",
    "asking",
    "check",
    "couplings",
    "open_session",
    "resolve",
]

__getattr__ = lazily(
    __name__,
    {
        "Target": "_target",
        "asking": "_devices",
        "check": "_target",
        "couplings": "_couplings",
        "open_session": "_devices",
        "resolve": "_devices",
    },
)
