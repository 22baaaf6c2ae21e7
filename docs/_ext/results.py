"""Tables and figures drawn from the files ``docs/results/*.json`` whenever the pages are built.

    {"title": "…", "command": "…", "seconds": 12.3, "rows": [{"n_qubits": 20, "seconds": 1.9}, …],
     "notes": "…", "columns": {"n_qubits": "qubits"}, "figure": {"x": "n_qubits", "y": "seconds"}}

``command``, ``seconds`` (the whole command, or null where it was not recorded) and ``rows`` must be
there. ``columns`` chooses and names columns, in this order. ``figure`` holds arguments of
:func:`qtn_train.plots.lines`, or a list of such; ``"rows": "runs"`` among them draws what stands
under ``runs`` instead.

The directive ``{results}`` shows all files, each in a section of its own; ``{results} name``, one.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from qtn_train import plots

#: More rows than this scroll inside the page.
MANY_ROWS = 30


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive, and keep the files and figures beside the pages."""
    app.add_directive("results", Results)
    app.connect("build-finished", _copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Results(SphinxDirective):
    """Shows stored results."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a section for each file, or the content of the one that was named."""
        folder = Path(self.env.srcdir) / "results"
        self.env.note_dependency(str(folder))
        if self.arguments:
            return self._show(folder / f"{self.arguments[0]}.json")
        return [self._section(path) for path in sorted(folder.glob("*.json"))]

    def _section(self, path: Path) -> nodes.Node:
        title = json.loads(path.read_text()).get("title", path.stem.replace("-", " "))
        section = nodes.section(ids=[nodes.make_id(path.stem)], names=[path.stem])
        section += nodes.title(title, title)
        section += self._show(path)
        self.state.document.note_implicit_target(section, section)
        return section

    def _show(self, path: Path) -> list[nodes.Node]:
        self.env.note_dependency(str(path))
        result = json.loads(path.read_text())
        up = "../" * self.env.docname.count("/")
        parts = [
            f"<p>{escape(result['notes'])}</p>" if result.get("notes") else "",
            *(
                f"<p><img src='{up}_static/results/{name}' alt='{escape(name)}'></p>"
                for name in self._draw(path.stem, result)
            ),
            table(result),
            f"<p><small>Made by <code>{escape(result['command'])}</code>{took(result)}. "
            f"<a href='{up}_static/results/{path.name}'>{path.name}</a></small></p>",
        ]
        return [nodes.raw("", "\n".join(parts), format="html")]

    def _draw(self, stem: str, result: dict[str, Any]) -> list[str]:
        wanted = result.get("figure", [])
        names = []
        for number, options in enumerate(wanted if isinstance(wanted, list) else [wanted]):
            folder = Path(self.env.app.outdir) / "_static" / "results"
            folder.mkdir(parents=True, exist_ok=True)
            names.append(f"{stem}-{number}.png")
            plots.save(drawn(result, options), folder / names[-1])
        return names


def drawn(result: dict[str, Any], options: dict[str, Any]) -> Any:
    """Return a figure of stored results."""
    others = {key: value for key, value in options.items() if key != "rows"}
    return plots.lines(result[options.get("rows", "rows")], **others)


def took(result: dict[str, Any]) -> str:
    """Return how long the command ran, in words."""
    seconds = result["seconds"]
    if seconds is None:
        return ""
    if seconds < 120:
        return f" in {seconds:.3g} s"
    return f" in {seconds / 60:.0f} min" if seconds < 7200 else f" in {seconds / 3600:.1f} h"


def table(result: dict[str, Any]) -> str:
    """Return the rows as an HTML table; many rows scroll inside the page."""
    rows = result["rows"]
    names = result.get("columns") or {name: name for row in rows for name in row}
    head = "".join(f"<th>{escape(title)}</th>" for title in names.values())
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in cells(row, names)) + "</tr>"
        for row in rows
    )
    height = " style='max-height:24em'" if len(rows) > MANY_ROWS else ""
    return (
        f"<div class='table-wrapper docutils container'{height}><table class='docutils'>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def cells(row: dict[str, Any], names: Iterable[str]) -> list[str]:
    """Return a row as people write it: a mean with the digits that its deviation allows."""
    texts = {name: cell(row.get(name)) for name in names}
    deviation = row.get("deviation")
    if isinstance(row.get("mean"), float) and isinstance(deviation, float) and deviation > 0:
        # Two digits of the deviation, and no more than are stored.
        digits = min(max(0, 1 - math.floor(math.log10(deviation))), 2)
        for name in {"mean", "deviation"} & texts.keys():
            texts[name] = f"{row[name]:.{digits}f}"
    return list(texts.values())


def cell(value: Any) -> str:
    """Return a value as people write it: separators in integers, four digits of a fraction."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _copy(app: Sphinx, error: Exception | None) -> None:
    if error is None:
        folder = Path(app.outdir) / "_static" / "results"
        folder.mkdir(parents=True, exist_ok=True)
        for path in (Path(app.srcdir) / "results").glob("*.json"):
            shutil.copyfile(path, folder / path.name)
