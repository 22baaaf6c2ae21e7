"""What ships with the package beside its code: stored results and tutorials."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from ..errors import DataError, must_be

# Where a checkout keeps the folders that a wheel holds inside the package (see pyproject.toml).
_IN_CHECKOUT = {"results": "docs/results", "tutorials": "tutorials"}


def shipped(kind: Literal["results", "tutorials"]) -> Path:
    """Return the folder of the stored results or of the tutorials.

    Args:
        kind: Which of the two.

    Returns:
        A folder inside the installed package; where it is installed from a checkout (``pip install
        -e``), the checkout's own.

    Raises:
        DataError: The installation lacks the folder.

    Example:
        >>> len(list(shipped("tutorials").glob("*.ipynb"))) > 10
        True
    """
    package = Path(str(files("qtn_train")))
    for folder in (package / "_data" / kind, package.parent / _IN_CHECKOUT[kind]):
        if folder.is_dir():
            return folder
    raise DataError(must_be(kind, "in the installed package", "none", "Install qtn_train again."))


def stored_result(name: str) -> dict[str, Any]:
    """Read a stored result: the numbers behind a table or figure of the documentation.

    Args:
        name: The result, as the page *Results* calls its file, without ``.json``.

    Returns:
        What the command that made it wrote: ``command``, ``rows``, and often ``seconds``,
        ``title`` and ``notes``.

    Raises:
        DataError: There is no result of that name.

    Example:
        >>> stored_result("iris")["command"]
        'python -m experiments.iris'
    """
    folder = shipped("results")
    known = sorted(path.stem for path in folder.glob("*.json"))
    if name not in known:
        raise DataError(must_be("name", f"one of {', '.join(known)}", repr(name)))
    result: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return result
