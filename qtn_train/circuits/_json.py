"""The frame of a circuit's JSON: one format for circuits and imported programs."""

from __future__ import annotations

import json
from typing import Any

from ..errors import must_be

#: What this version writes, and the only one that it reads.
JSON_FORMAT = 1


def read_json(text: str, expected: str) -> dict[str, Any]:
    """Read canonical JSON of this version's format.

    Args:
        text: The text.
        expected: What ``text`` must be, for the message.

    Returns:
        Its content, which is not checked any further.

    Raises:
        ValueError: The text is not such JSON, or of a newer format.
    """
    try:
        data: dict[str, Any] = json.loads(text)
        found = data["format"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(must_be("text", expected, repr(str(text)[:40]))) from error
    if found != JSON_FORMAT:
        hint = "Update qtn_train to read this circuit."
        raise ValueError(must_be("format", str(JSON_FORMAT), found, hint))
    return data
