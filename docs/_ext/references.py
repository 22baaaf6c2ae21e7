"""Docstrings as people write them: short names, kets, and colons.

They say :class:`Circuit`, annotations ``qtn_train.circuits._circuit.Circuit``; the page is about
``qtn_train.circuits.Circuit``. A name that is not found as it stands is looked for by its end.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the search, and what has to be done before napoleon reads a docstring."""
    app.connect("missing-reference", _find)
    app.connect("autodoc-process-docstring", _protect, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def escape_kets(line: str) -> str:
    """Return a line of reStructuredText in which |0⟩ stands for itself."""
    if "⟩" not in line and "⟨" not in line:
        return line
    parts = line.split("``")
    parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
    return "``".join(parts)


def _find(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, child: nodes.TextElement
) -> nodes.Element | None:
    if node.get("refdomain") != "py":
        return None
    objects = env.get_domain("py").objects  # type: ignore[attr-defined]
    named = node["reftarget"].removeprefix("qt.").split(".")
    parts = [part for part in named if not part.startswith("_")]
    if parts and parts[0] == "qtn_train":
        parts = [parts[-1]] if parts[-1][:1].isupper() or len(parts) == 2 else parts[-2:]
    if not parts:
        return child
    owner = node.get("py:class")
    ends = [".".join(parts)] + ([f"{owner}.{parts[-1]}"] if owner else [])
    for end in ends:
        matches = {
            (entry.docname, entry.node_id, entry.objtype)
            for name, entry in objects.items()
            if name.endswith(f".{end}") or name == end
        }
        exact = sorted(matches, key=lambda m: len(m[1]))
        if exact:
            docname, node_id, _ = exact[0]
            return make_refnode(app.builder, node["refdoc"], docname, node_id, child)
    # What is private has no page, and a shape, "batch n_angles", is no class.
    shape = node["reftype"] == "class" and len(named) == 1 and named[0] == named[0].lower()
    return child if parts != named or shape else None


def _protect(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep |0⟩ from being read as a substitution, and "a: b" of an attribute as "type: text"."""
    lines[:] = [escape_kets(line) for line in lines]
    if what in ("attribute", "data", "property") and lines:
        lines[:0] = ["..", ""]  # a comment: napoleon looks for a type in the first line alone
