"""The stored notebooks are whole: run in order, with outputs, without errors, and listed."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "tutorials").glob("*.ipynb"))

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


def load(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    notebook = json.loads(path.read_text())
    return notebook, [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@each_notebook
def test_every_cell_was_run_in_order_and_kept_its_output(path: Path) -> None:
    notebook, cells = load(path)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        kinds = [(output["output_type"], output.get("name")) for output in cell["outputs"]]
        assert kinds, "a cell without output cannot be checked"
        assert all(kind != "error" and name != "stderr" for kind, name in kinds)


@each_notebook
def test_text_outputs_are_checked_by_nbval(path: Path) -> None:
    # nbval compares text, not images: a cell that only draws cannot be compared.
    for cell in load(path)[1]:
        is_text = all(output["output_type"] == "stream" for output in cell["outputs"])
        assert ("nbval-check-output" in cell["metadata"].get("tags", [])) == is_text


@each_notebook
def test_cells_are_short_and_define_no_library(path: Path) -> None:
    for cell in load(path)[1]:
        source = "".join(cell["source"])
        assert len(source.splitlines()) <= 25
        classes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
        # A reader's own network is a class; nothing else that is one belongs into a notebook.
        assert all([ast.unparse(base) for base in node.bases] == ["nn.Module"] for node in classes)


@each_notebook
def test_the_frame_of_a_tutorial(path: Path) -> None:
    cells = load(path)[0]["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    for word in ("You will learn", "Prerequisites", "Time", "Extras"):
        assert word in texts[0]
    # Solutions that run stand between the exercises and the references, folded away.
    whole = "\n".join(texts)
    places = [whole.index(heading) for heading in ("## Summary", "## Exercises", "## References")]
    assert places == sorted(places)
    assert "## References" in "".join(cells[-1]["source"])
    assert path.stat().st_size < 500_000
    assert path.name in (ROOT / "README.md").read_text()
