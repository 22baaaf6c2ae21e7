"""Pages that follow what is there: the tutorials, copied, and one API page for each module."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import sys
import types
from pathlib import Path
from typing import Any

import typer.main
from references import escape_kets
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

import qtn_train
from qtn_train.cli import _app as cli

#: Modules that are commands, not an interface.
COMMANDS = {"cli", "demo", "braket_job", "__main__"}
FIRST = [
    "circuits",
    "exchange",
    "engines",
    "measurements",
    "mapping",
    "generators",
    "hybrid",
    "training",
]


def setup(app: Sphinx) -> dict[str, Any]:
    """Make the pages before Sphinx looks for its sources."""
    docs = Path(app.srcdir)
    _copy_tutorials(docs.parent / "tutorials", docs / "tutorials")
    _write_api(docs / "api")
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _copy_tutorials(source: Path, folder: Path) -> None:
    pages = {path.name: path.read_text() for path in source.glob("*.ipynb")}
    pages["index.md"] = tutorial_index(source)
    _write(folder, pages)


def tutorial_index(folder: Path) -> str:
    """Return the page that lists the notebooks of a folder, in the order of their numbers."""
    entries = []
    for path in sorted(folder.glob("*.ipynb")):
        cell = "".join(json.loads(path.read_text())["cells"][0]["source"])
        title = cell.splitlines()[0].lstrip("# ")
        learn = re.search(r"\*\*(You will learn\*\*.*?)\n\n", cell + "\n\n", flags=re.DOTALL)
        text = " ".join(learn[1].replace("**", "").split()) if learn else ""
        entries.append(f"**[{title}]({path.name})**\n: {text}\n")
    return (
        "# Tutorials\n\nNotebooks; what is shown is what they printed when last run. `make lab` "
        "opens them in\nJupyterLab, and `make tutorials` runs them all.\n\n"
        + "\n".join(entries)
        + "\n```{toctree}\n:hidden:\n:glob:\n*\n```\n"
    )


def _write_api(folder: Path) -> None:
    """Write a page for each public module, and the index of the public door."""
    found = {m.name for m in pkgutil.iter_modules(qtn_train.__path__)} - COMMANDS
    public = {name for name in found if not name.startswith("_") and _has_door(name)}
    names = [name for name in FIRST if name in public] + sorted(public - set(FIRST))
    pages = {f"{name}.rst": _module_page(f"qtn_train.{name}") for name in names}
    pages["ansatz.rst"] = _ansatz_page()
    hamiltonian = qtn_train.hamiltonian.__all__
    pages["hamiltonian.rst"] = _functions_page("hamiltonian", "measurements", hamiltonian)
    names.insert(1, "ansatz")
    names.insert(names.index("measurements"), "hamiltonian")
    pages["commands.rst"] = _commands_page()
    pages["index.rst"] = _index_page([*names, "commands"])
    _write(folder, pages)


def _has_door(name: str) -> bool:
    """Whether a module offers names: a package does so by its ``__all__``."""
    module = importlib.import_module(f"qtn_train.{name}")
    return hasattr(module, "__all__") or not hasattr(module, "__path__")


def _write(folder: Path, pages: dict[str, str]) -> None:
    """Make a folder hold these files and no others; what is unchanged is not built again."""
    folder.mkdir(exist_ok=True)
    for stale in {path.name for path in folder.iterdir()} - set(pages):
        (folder / stale).unlink()
    for name, text in pages.items():
        if not (folder / name).exists() or (folder / name).read_text() != text:
            (folder / name).write_text(text)


def _title(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n\n"


def _module_page(name: str) -> str:
    module = importlib.import_module(name)
    text = _title(name) + f".. automodule:: {name}\n   :members:\n"
    if not hasattr(module, "__path__"):
        return text
    return text + "   :imported-members:\n\n" + "".join(_constants(module))


def _constants(module: types.ModuleType) -> list[str]:
    """Describe the constants that a package offers: their comments stand where they are made."""
    private = [m for key, m in sys.modules.items() if key.startswith(f"{module.__name__}._")]
    comments = {}
    for source in private:
        docs = ModuleAnalyzer.for_module(source.__name__).find_attr_docs()
        comments |= {name: lines for (owner, name), lines in docs.items() if not owner}
    return [
        f".. py:data:: {module.__name__}.{name}\n\n"
        + "".join(f"   {escape_kets(line)}\n" for line in comments[name])
        for name in module.__all__
        if name in comments
    ]


def _ansatz_page() -> str:
    names = [f.__name__ for f in qtn_train.circuits.ANSATZE.values()]
    return _functions_page("ansatz", "circuits", [*names, "couplings", "grid", "product"])


def _functions_page(name: str, room: str, functions: list[str]) -> str:
    """Describe the functions of a module that the public door offers as a whole."""
    full = f"qtn_train.{room}.{name}"
    body = "".join(f".. autofunction:: {full}.{function}\n\n" for function in functions)
    return _title(f"qtn_train.{name}") + f"Also ``{full}``.\n\n{body}"


def _commands_page() -> str:
    """Return every command of the command line with its options."""
    text = _title("qtn-train") + "The command line. Results go to standard output, all else to "
    text += (
        "standard error; the exit\nstatus is 0 when it worked, 2 for bad input, 1 otherwise.\n\n"
    )
    todo: list[tuple[str, Any]] = [("qtn-train", typer.main.get_command(cli.app))]
    while todo:
        name, command = todo.pop(0)
        inner = getattr(command, "commands", {})
        todo[:0] = [(f"{name} {key}", each) for key, each in inner.items()]
        if not inner:
            text += _title(name, "-") + f"{command.help}\n\n"
            text += "".join(f"``{_usage(p)}``\n   {p.help or ''}\n\n" for p in command.params)
    return text


def _usage(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return parameter.name.upper()
    option = parameter.opts[0]
    return option if parameter.is_flag else f"{option} {option.split('-')[-1].upper()}"


def _index_page(names: list[str]) -> str:
    door = "".join(
        f"   * - {_link(name, module)}\n     - {_first_line(name)}\n"
        for name, module in qtn_train._PUBLIC.items()
    )
    toctree = "".join(f"   {name}\n" for name in names)
    return (
        _title("Reference")
        + "What ``import qtn_train as qt`` offers. Importing it loads neither torch nor quimb; a\n"
        "name is loaded when it is first used.\n\n"
        f".. list-table::\n   :widths: 30 70\n\n{door}\n"
        "All modules, from the circuits up, and the command line.\n\n"
        f".. toctree::\n   :maxdepth: 1\n\n{toctree}"
    )


def _link(name: str, module: str) -> str:
    if name in ("ansatz", "errors", "hamiltonian"):
        return f":doc:`{name}`"
    own = "load" if name == "load_dataset" else name
    return f":py:obj:`{name} <qtn_train.{module}.{own}>`"


def _first_line(name: str) -> str:
    if name == "PUBLISHED_LAYOUT":  # a constant has no docstring
        return "The :class:`Layout` of arXiv 2402.16465."
    return escape_kets((getattr(qtn_train, name).__doc__ or "").strip().splitlines()[0])
