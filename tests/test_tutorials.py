"""The stored notebooks keep the rules: run in order, with outputs, framed and short.

`make tutorials` runs them again; here only what is stored is read. Every rule is a function that
returns what is wrong, in words, and is shown to catch a notebook that breaks it.
"""

from __future__ import annotations

import ast
import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tutorials"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
REFRESH = "Run `make refresh-tutorials` and store what it writes."

MAX_CELL_LINES = 25
MAX_FUNCTION_LINES = 15
MAX_BYTES = 500_000
MACHINE_PATH = re.compile(
    r"(?<![\w.])(/(?:home|root|work|tmp|Users|var|opt|mnt)/|[A-Z]:\\\\)[^\s\"']*"
)
FRAME_FIRST = ("You will learn", "Prerequisites", "Time", "Extras")
FRAME_LAST = ("Summary", "Exercises", "References")

# Words of a printed repr, as that of `Layout`; any other True or False in an output hides a number.
ALLOWED_BOOLEANS = ("shuffle=True", "center=True")

Notebook = dict[str, Any]


def code_cells(notebook: Notebook) -> list[tuple[int, dict[str, Any]]]:
    return [(i, c) for i, c in enumerate(notebook["cells"]) if c["cell_type"] == "code"]


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def markdown(notebook: Notebook) -> str:
    return "\n".join(text(c) for c in notebook["cells"] if c["cell_type"] == "markdown")


def run_in_order(notebook: Notebook) -> Iterator[str]:
    counts = [cell["execution_count"] for _, cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"its cells were not run once, top to bottom: counts {counts}. {REFRESH}"


def clean_outputs(notebook: Notebook) -> Iterator[str]:
    for number, cell in code_cells(notebook):
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                yield f"cell {number} ended with {output['ename']}. Mend it. {REFRESH}"
            if output.get("name") == "stderr":
                yield f"cell {number} wrote to standard error, a red box. Mend the cause."


def something_is_checked(notebook: Notebook) -> Iterator[str]:
    tagged = [
        (number, cell)
        for number, cell in code_cells(notebook)
        if "nbval-check-output" in cell["metadata"].get("tags", [])
    ]
    if not tagged:
        yield "no cell is tagged `nbval-check-output`: no stored figure would be compared. Tag one."
    for number, cell in tagged:
        if not cell["outputs"]:
            yield f"cell {number} is checked, but holds no output to compare. {REFRESH}"


def kernel(notebook: Notebook) -> Iterator[str]:
    name = notebook["metadata"].get("kernelspec", {}).get("name")
    if name != "python3":
        yield f"its kernel is {name!r}: only `python3` is found everywhere. {REFRESH}"


def frame(notebook: Notebook) -> Iterator[str]:
    first, last = notebook["cells"][0], notebook["cells"][-1]
    if first["cell_type"] != "markdown" or not text(first).startswith("# "):
        yield "its first cell is not text that begins with a title, `# …`."
    for word in FRAME_FIRST:
        if f"**{word}" not in text(first):
            yield f"its first cell lacks **{word}**."
    if not re.search(r"\*\*Time[^\n]*\d", text(first).replace("\n", " ")):
        yield "its first cell states no measured **Time**, in seconds or minutes."
    headings = re.findall(r"^#+ +(\w+)", markdown(notebook), flags=re.MULTILINE)
    places = [headings.index(word) if word in headings else -1 for word in FRAME_LAST]
    if -1 in places or places != sorted(places):
        yield f"it must end with the headings {', '.join(FRAME_LAST)}, in this order."
    if last["cell_type"] != "markdown" or "References" not in text(last):
        yield "its last cell is not the one with the References."
    if not has_solutions(notebook):
        yield "its exercises have no solutions: put them below, in cells or in <details>."


def has_solutions(notebook: Notebook) -> bool:
    """Whether code, or text with the word, follows the heading of the exercises."""
    begun = False
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            if begun:
                return True
            continue
        before, heading, after = text(cell).partition("Exercises\n")
        begun = begun or bool(heading)
        if begun and "solution" in (after if heading else before).lower():
            return True
    return False


def short_cells(notebook: Notebook) -> Iterator[str]:
    for number, cell in code_cells(notebook):
        if (n_lines := len(text(cell).splitlines())) > MAX_CELL_LINES:
            yield f"cell {number} has {n_lines} lines; must have at most {MAX_CELL_LINES}."


def no_library_code(notebook: Notebook) -> Iterator[str]:
    for number, cell in code_cells(notebook):
        for node in ast.walk(syntax(cell)):
            if isinstance(node, ast.ClassDef):
                bases = [ast.unparse(base) for base in node.bases]
                if not any(base.split(".")[-1] == "Module" for base in bases):
                    yield (
                        f"cell {number} defines the class {node.name}: only a network, a subclass "
                        "of Module, is the reader's own; the rest belongs into the package."
                    )
            elif isinstance(node, ast.FunctionDef):
                n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if n_lines > MAX_FUNCTION_LINES:
                    yield (
                        f"cell {number} defines {node.name} in {n_lines} lines; a function of more "
                        f"than {MAX_FUNCTION_LINES} belongs into the package."
                    )


def shown_text(cell: dict[str, Any]) -> list[str]:
    data = [output.get("data", {}) for output in cell["outputs"]]
    shown = [output.get("text", "") for output in cell["outputs"]]
    shown += [v for d in data for key, v in d.items() if key.startswith("text/")]
    return ["".join(piece) for piece in shown]


def no_machine_paths(notebook: Notebook) -> Iterator[str]:
    for number, cell in code_cells(notebook):
        for piece in shown_text(cell):
            if found := MACHINE_PATH.search(piece):
                yield f"cell {number} shows {found[0]}, a path of one machine. Print the name."


def tags(cell: dict[str, Any]) -> list[str]:
    found: list[str] = cell["metadata"].get("tags", [])
    return found


def syntax(cell: dict[str, Any]) -> ast.Module:
    """The cell as Python, its magics left out."""
    return ast.parse(re.sub(r"^[%!].*$", "pass", text(cell), flags=re.MULTILINE))


def folded(cell: dict[str, Any], *parts: str) -> bool:
    """Whether JupyterLab hides these parts of the cell, and the pages all of it."""
    jupyter = cell["metadata"].get("jupyter", {})
    return "hide-cell" in tags(cell) and all(jupyter.get(f"{part}_hidden") for part in parts)


def asserts_are_checks(notebook: Notebook) -> Iterator[str]:
    for number, cell in code_cells(notebook):
        asserts = any(isinstance(node, ast.Assert) for node in ast.walk(syntax(cell)))
        if "check" not in tags(cell):
            if asserts:
                yield f"cell {number} asserts: do that in a folded cell behind it, tagged `check`."
        elif not asserts:
            yield f"cell {number} is tagged `check`, but asserts nothing."
        elif cell["outputs"]:
            yield f"cell {number} is tagged `check`, but prints: a folded cell is not seen."
        elif not folded(cell, "source"):
            yield f"cell {number} is a check: fold it (`hide-cell`, `source_hidden`)."


def no_printed_booleans(notebook: Notebook) -> Iterator[str]:
    for number, cell in code_cells(notebook):
        for piece in shown_text(cell):
            for word in ALLOWED_BOOLEANS:
                piece = piece.replace(word, "")
            if found := re.search(r"[^\n]*\b(True|False)\b", piece):
                yield f"cell {number} shows {found[0]!r}: print the number, and assert in a check."


def nothing_private(notebook: Notebook) -> Iterator[str]:
    for number, cell in code_cells(notebook):
        names = []
        for node in ast.walk(syntax(cell)):
            if isinstance(node, ast.ImportFrom):
                names += [node.module or "", *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.Attribute):
                names.append(node.attr)
        for name in names:
            if any(re.match(r"_(?!_)", part) for part in name.split(".")):
                yield f"cell {number} takes {name}, which is private. Use what is public."


def links_stay_beside(notebook: Notebook) -> Iterator[str]:
    # A copy of the folder, and the built pages, have nothing of the checkout above it.
    for link in re.findall(r"\]\((\.\./[^)]*)\)", markdown(notebook)):
        yield f"it links to {link}. Name the page of the documentation instead."


def solutions_folded(notebook: Notebook) -> Iterator[str]:
    begun = False
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "markdown":
            begun = begun or "Exercises\n" in text(cell)
        elif begun and "check" not in tags(cell) and not folded(cell, "source", "outputs"):
            yield (
                f"cell {number} is a solution: fold it and its output (`hide-cell`, "
                "`source_hidden`, `outputs_hidden`)."
            )


RULES: dict[str, Callable[[Notebook], Iterator[str]]] = {
    rule.__name__: rule
    for rule in (
        run_in_order,
        clean_outputs,
        something_is_checked,
        kernel,
        frame,
        short_cells,
        no_library_code,
        no_machine_paths,
        asserts_are_checks,
        no_printed_booleans,
        nothing_private,
        links_stay_beside,
        solutions_folded,
    )
}


def test_there_are_notebooks_and_their_numbers_are_their_order() -> None:
    assert NOTEBOOKS, "tutorials/ holds no notebook"
    names = [path.stem for path in NOTEBOOKS]
    bad = [name for name in names if not re.fullmatch(r"\d\d_[a-z0-9_]+", name)]
    assert bad == [], "a notebook is called NN_what_it_is_about.ipynb"
    numbers = [name[:2] for name in names]
    assert len(set(numbers)) == len(numbers), "two notebooks have the same number"


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_notebook(path: Path, rule: str) -> None:
    problems = list(RULES[rule](json.loads(path.read_text())))
    assert problems == [], "\n".join(f"{path.name}: {problem}" for problem in problems)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_size(path: Path) -> None:
    size = path.stat().st_size
    assert size <= MAX_BYTES, f"{path.name} has {size} bytes: draw fewer or smaller pictures"


def good_notebook() -> Notebook:
    """The smallest notebook that keeps every rule."""
    first = "# Title\n\n**You will learn** it.\n\n"
    first += "**Prerequisites**: none. **Time**: 5 s. **Extras**: none."
    last = "## Summary\n\n## Exercises\n\n<details>Solution</details>\n\n## References"
    output = {"output_type": "stream", "name": "stdout", "text": ["1\n"]}
    code = {"cell_type": "code", "execution_count": 1, "source": ["print(1)"], "outputs": [output]}
    code["metadata"] = {"tags": ["nbval-check-output"]}
    cells = [{"cell_type": "markdown", "source": [first]}, code]
    cells.append({"cell_type": "markdown", "source": [last]})
    return {"cells": cells, "metadata": {"kernelspec": {"name": "python3"}}}


def test_the_good_notebook_is_good() -> None:
    assert [problem for rule in RULES.values() for problem in rule(good_notebook())] == []


def changed(rule: str) -> list[Notebook]:
    """Notebooks that break one rule each."""
    broken = []

    def make(change: Callable[[Notebook, dict[str, Any]], None]) -> None:
        notebook = copy.deepcopy(good_notebook())
        change(notebook, notebook["cells"][1])
        broken.append(notebook)

    long_function = "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES
    if rule == "run_in_order":
        make(lambda _, cell: cell.update(execution_count=None))
        make(lambda _, cell: cell.update(execution_count=2))
    elif rule == "clean_outputs":
        make(lambda _, cell: cell["outputs"][0].update(name="stderr"))
        make(lambda _, cell: cell.update(outputs=[{"output_type": "error", "ename": "ValueError"}]))
    elif rule == "something_is_checked":
        make(lambda _, cell: cell.update(metadata={}))
        make(lambda _, cell: cell.update(outputs=[]))
    elif rule == "kernel":
        make(lambda notebook, _: notebook["metadata"].update(kernelspec={"name": "conda-env-x"}))
    elif rule == "frame":
        for word in (*FRAME_FIRST, *FRAME_LAST, "olution", "# Title", ": 5 s"):
            for place in (0, 2):
                if word in text(good_notebook()["cells"][place]):
                    new = [text(good_notebook()["cells"][place]).replace(word, "")]
                    make(lambda n, _, p=place, s=new: n["cells"][p].update(source=s))
    elif rule == "short_cells":
        make(lambda _, cell: cell.update(source=["x = 1\n"] * (MAX_CELL_LINES + 1)))
    elif rule == "no_library_code":
        make(lambda _, cell: cell.update(source=["class Engine:\n    pass"]))
        make(lambda _, cell: cell.update(source=[long_function]))
    elif rule == "no_machine_paths":
        make(lambda _, cell: cell["outputs"][0].update(text=["saved /home/me/x.png"]))
        data = {"text/html": "<b>C:\\\\Users\\\\me</b>"}
        make(lambda _, cell: cell.update(outputs=[{"output_type": "display_data", "data": data}]))
    elif rule == "asserts_are_checks":
        make(lambda _, cell: cell.update(source=["for x in (1, 2):\n    assert x"]))
        for change in ({"source": ["x = 1"]}, {"outputs": [cell_output("1")]}, {"metadata": BARE}):
            make(lambda n, _, c=change: n["cells"].insert(2, check_cell() | c))
    elif rule == "no_printed_booleans":
        make(lambda _, cell: cell["outputs"][0].update(text=["below 1e-12: True\n"]))
        make(lambda _, cell: cell["outputs"][0].update(text=["Layout(shuffle=True), False\n"]))
        data = {"text/plain": "{'same': False}"}
        make(lambda _, cell: cell.update(outputs=[{"output_type": "execute_result", "data": data}]))
    elif rule == "nothing_private":
        for source in ("from a._b import c", "from a import _b", "import a._b", "print(a._b)"):
            make(lambda _, cell, s=source: cell.update(source=[s]))
    elif rule == "links_stay_beside":
        make(lambda notebook, _: notebook["cells"][0]["source"].append("\n[Page](../docs/page.md)"))
    elif rule == "solutions_folded":
        hidden = {"source_hidden": True}
        for metadata in ({}, {"tags": ["hide-cell"], "jupyter": hidden}, {"jupyter": BOTH}):
            make(lambda n, _, m=metadata: add_solution(n, m))
    return broken


BARE = {"tags": ["check"]}
BOTH = {"source_hidden": True, "outputs_hidden": True}


def cell_output(line: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": [line + "\n"]}


def check_cell() -> dict[str, Any]:
    metadata = {"jupyter": {"source_hidden": True}, "tags": ["hide-cell", "check"]}
    cell = {"cell_type": "code", "execution_count": 2, "source": ["assert 1"], "outputs": []}
    return cell | {"metadata": metadata}


def add_solution(notebook: Notebook, metadata: dict[str, Any]) -> None:
    notebook["cells"][2]["source"] = ["## Summary\n\n## Exercises\n\n1. Why?"]
    solution = check_cell() | {"source": ["print(1)"], "metadata": metadata}
    last = {"cell_type": "markdown", "source": ["## References"]}
    notebook["cells"] += [solution | {"outputs": [cell_output("1")]}, last]


def test_folded_checks_and_solutions_are_good() -> None:
    notebook = good_notebook()
    add_solution(notebook, {"tags": ["hide-cell"], "jupyter": BOTH})
    notebook["cells"].insert(4, check_cell() | {"execution_count": 3})
    output = cell_output("Layout(shuffle=True, center=True)")
    notebook["cells"][1]["outputs"] = [output]
    notebook["cells"][1]["source"] = ["print(type(1).__name__)"]
    assert [problem for rule in RULES.values() for problem in rule(notebook)] == []


@pytest.mark.parametrize("name", RULES)
def test_each_rule_catches_what_breaks_it_and_no_other_does(name: str) -> None:
    notebooks = changed(name)
    assert notebooks
    for notebook in notebooks:
        assert list(RULES[name](notebook)) != []
        others = [other for key, rule in RULES.items() if key != name for other in rule(notebook)]
        assert others == []


def test_what_a_tutorial_may_define() -> None:
    notebook = good_notebook()
    source = "%matplotlib inline\nclass Net(torch.nn.Module):\n    pass\ndef f(x):\n    return x"
    notebook["cells"][1]["source"] = [source]
    assert list(no_library_code(notebook)) == []
    solved = [
        {"cell_type": "markdown", "source": ["## Exercises\n\n1. Why?"]},
        notebook["cells"][1],
    ]
    assert not has_solutions({"cells": solved[::-1]})
    assert has_solutions({"cells": solved})
    notebook["cells"][1]["outputs"][0]["text"] = ["data/x.json, and/or 3/work/2\n"]
    assert list(no_machine_paths(notebook)) == []
