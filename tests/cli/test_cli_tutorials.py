"""``qtn-train tutorials``: copies them out, and overwrites nothing that was changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qtn_train.cli._app import app
from qtn_train.data import shipped
from qtn_train.errors import RunError

NAMES = sorted(path.name for path in shipped("tutorials").glob("*.ipynb"))


def test_copies_are_those_of_the_package(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    ran = CliRunner().invoke(app, ["tutorials", str(folder)])
    assert ran.exit_code == 0
    assert ran.stdout.splitlines() == [*NAMES, f"open them with: jupyter lab {folder}"]
    for name in NAMES:
        copied = (folder / name).read_bytes()
        assert copied == (shipped("tutorials") / name).read_bytes()
    again = CliRunner().invoke(app, ["tutorials", str(folder), "--json"])
    assert json.loads(again.stdout) == {"out": str(folder), "tutorials": NAMES}


def test_changed_ones_are_kept(tmp_path: Path) -> None:
    (tmp_path / NAMES[3]).write_text("mine")
    message = f"must be a folder without changed tutorials; got one that holds another {NAMES[3]}"
    ran = CliRunner().invoke(app, ["tutorials", str(tmp_path)])
    with pytest.raises(RunError, match=message):
        raise ran.exception or AssertionError
    assert [path.name for path in tmp_path.iterdir()] == [NAMES[3]]
    assert (tmp_path / NAMES[3]).read_text() == "mine"


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = CliRunner().invoke(app, ["tutorials", str(tmp_path / "file")])
    with pytest.raises(RunError, match=r"must be a folder that can be written; got .*file"):
        raise ran.exception or AssertionError
