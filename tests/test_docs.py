"""The pages say what is so: their code runs, their commands exist, their figures are stored."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

pytest.importorskip("sphinx", reason="the docs extra is not installed")

from qtn_train.cli import _app as cli

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for path in DOCS.rglob("*.md")
    if path.relative_to(DOCS).parts[0] not in ("_build", "api", "tutorials")
)
RESULTS = sorted((DOCS / "results").glob("*.json"))

sys.path.insert(0, str(DOCS / "_ext"))

import gallery  # noqa: E402
import local_links  # noqa: E402
import references  # noqa: E402
import results  # noqa: E402
import sources  # noqa: E402

each_page = pytest.mark.parametrize("page", PAGES, ids=[path.stem for path in PAGES])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.M)


@pytest.mark.parametrize("page", [p for p in PAGES if p.stem != "cluster"], ids=lambda p: p.stem)
@pytest.mark.filterwarnings("ignore::qtn_train.errors.TruncationWarning")  # shown there
def test_python_on_a_page_runs(page: Path) -> None:
    # The page on clusters is run by tests/studies/test_cluster_howto.py, which closes its cluster.
    names: dict[str, Any] = {"__name__": page.stem}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), names)  # the code is ours


@each_page
def test_commands_on_a_page_exist(page: Path) -> None:
    text = page.read_text()
    lines = "\n".join(blocks(page, "console")).replace("\\\n", " ").splitlines()
    inline = re.findall(r"`(qtn-train [^`]*|make [a-z-]+)`", text)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    for line in (*lines, *inline):
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            assert words[1] in targets, f"{page.name}: the Makefile has no target {words[1]}"
        if words[:1] == ["qtn-train"]:
            assert unknown_words(words[1:]) == [], f"{page.name}: {line}"


def unknown_words(words: list[str]) -> list[str]:
    """Return the commands and options of a command line that do not exist."""
    command: Any = typer.main.get_command(cli.app)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return [words[0]]
        command = command.commands[words[0]]
        words = words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    return [word for word in words if word.startswith("--") and word.split("=")[0] not in known]


def test_words_that_do_not_exist_are_seen() -> None:
    assert unknown_words(["train", "iris", "--nonsense", "3", "--seed", "1"]) == ["--nonsense"]
    assert unknown_words(["braket", "conquer", "DIR"]) == ["conquer"]
    assert unknown_words(["braket", "status", "DIR", "--json"]) == []


def test_every_test_that_a_page_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", "\n".join(p.read_text() for p in PAGES))
    assert len(named) > 10
    assert [f"{f}::{n}" for f, n in named if f"def {n}(" not in (ROOT / f).read_text()] == []


def test_every_file_that_architecture_and_contributing_name_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    named = {name for name in re.findall(r"[\w/]+\.py\b", text) if "/" in name}
    assert len(named) > 30
    missing = [n for n in named if not any((ROOT / top / n).exists() for top in ("", "qtn_train"))]
    assert missing == []


@pytest.mark.parametrize("path", RESULTS, ids=[path.stem for path in RESULTS])
def test_a_stored_result_says_how_it_was_made_and_can_be_drawn(path: Path) -> None:
    result = json.loads(path.read_text())
    assert {"command", "seconds", "rows"} <= set(result), f"{path.name} lacks one of its keys"
    assert isinstance(result["command"], str)
    assert result["command"]
    assert result["seconds"] is None or result["seconds"] >= 0
    assert result["rows"]
    assert '"/' not in path.read_text(), "it names a path of the machine that made it"
    values = [value for row in result["rows"] for value in row.values()]
    assert all(isinstance(v, str | int | float | None) for v in values), "rows are flat"
    assert set(result.get("columns", {})) <= {key for row in result["rows"] for key in row}
    wanted = result.get("figure", [])
    for options in wanted if isinstance(wanted, list) else [wanted]:
        assert results.drawn(result, options).get_axes()
    assert results.table(result).count("<tr>") == len(result["rows"]) + 1


def test_there_are_results() -> None:
    assert RESULTS


def test_cells_of_a_table() -> None:
    values = [None, True, 12345, 0.123456, "a<b"]
    row = {"case": "iris", "mean": 98.0, "deviation": 1.83}
    assert results.cells(row, row) == ["iris", "98.0", "1.8"]
    assert results.cells(row | {"mean": 97.4, "deviation": 0.8}, row) == ["iris", "97.40", "0.80"]
    assert results.cells(row | {"deviation": 0.0}, ["mean"]) == ["98"]
    assert [results.cell(value) for value in values] == ["–", "yes", "12,345", "0.1235", "a<b"]
    rows = [{"a": 1, "b": "<"}, {"a": 2}]
    assert "<td>&lt;</td>" in results.table({"rows": rows})
    assert "<th>A (s)</th></tr>" in results.table({"rows": rows, "columns": {"a": "A (s)"}})
    times = [results.took({"seconds": seconds}) for seconds in (None, 1.234, 600, 36000)]
    assert times == ["", " in 1.23 s", " in 10 min", " in 10.0 h"]


def test_the_list_of_tutorials_follows_the_folder() -> None:
    notebooks = sorted((ROOT / "tutorials").glob("*.ipynb"))
    text = sources.tutorial_index(ROOT / "tutorials")
    found = re.findall(r"\*\*\[(.+)\]\((.+)\)\*\*\n: You will learn \w+", text)
    assert [name for _, name in found] == [path.name for path in notebooks]
    for (title, _), path in zip(found, notebooks, strict=True):
        assert title.startswith(f"{int(path.name[:2])}. "), "a title begins with its number"


def test_dead_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "index.html").write_text('<h1 id="here">x</h1><a href="#here">x</a>')
    links = ["sub/", "sub/index.html#here", "https://example.org/x", "#top"]
    dead = ["gone.html", "sub/index.html#gone", "picture.png"]
    body = "".join(f'<a href="{link}">x</a>' for link in links + dead[:2])
    (tmp_path / "index.html").write_text(f'<p id="top">{body}<img src="picture.png">')
    assert local_links.dead_links(tmp_path) == [f"index.html: {link}" for link in sorted(dead)]


def test_kets_in_docstrings_stand_for_themselves() -> None:
    assert references.escape_kets("in |0⟩, ``|1⟩``") == r"in \|0⟩, ``|1⟩``"
    assert references.escape_kets("a | b") == "a | b"


def test_the_gallery_finds_figures_and_their_headings() -> None:
    for path in sorted((ROOT / "tutorials").glob("*.ipynb")):
        for heading, picture in gallery.read(path):
            assert heading
            assert picture.startswith(b"\x89PNG")
    first = gallery.read(ROOT / "tutorials" / "01_weights_from_a_circuit.ipynb")
    assert len(first) >= 3
