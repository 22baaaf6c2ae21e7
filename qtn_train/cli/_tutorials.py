"""``qtn-train tutorials``: copies the tutorials out of the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import RunError, must_be
from ._help import examples

EXAMPLES = examples("qtn-train tutorials my-tutorials", "jupyter lab my-tutorials")

_FOLDER_HINT = "Name a new folder."


def command(
    directory: Annotated[Path, typer.Argument(help="Folder to write; made where it is missing.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.")
    ] = False,
) -> None:
    """Copy the tutorials into a folder, where they can be changed and run."""
    from .._files import write_atomically
    from ..data import shipped

    sources = sorted(shipped("tutorials").glob("*.ipynb"))
    contents = {directory / source.name: source.read_bytes() for source in sources}
    changed = [path for path, content in contents.items() if _holds_other(path, content)]
    if changed:
        actual = f"one that holds another {changed[0].name}"
        raise RunError(
            must_be("directory", "a folder without changed tutorials", actual, _FOLDER_HINT)
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, content in contents.items():
            write_atomically(path, content)
    except OSError as error:
        actual = f"{directory} ({error.strerror or error})"
        raise RunError(
            must_be("directory", "a folder that can be written", actual, _FOLDER_HINT)
        ) from error
    names = [path.name for path in contents]
    if as_json:
        print(json.dumps({"out": str(directory), "tutorials": names}, sort_keys=True))
    else:
        print("\n".join(names))
        print(f"open them with: jupyter lab {directory}")


def _holds_other(path: Path, content: bytes) -> bool:
    return path.exists() and (path.is_dir() or path.read_bytes() != content)
