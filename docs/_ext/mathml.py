"""Formulas as MathML, which browsers draw themselves: the pages load nothing from elsewhere."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer; ``html_math_renderer = "mathml"`` chooses it."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _display(self: Any, node: nodes.math_block) -> None:
    math = tex2mathml(node.astext(), as_block=True)
    label = f" id='{node['ids'][0]}'" if node["ids"] else ""
    self.body.append(f"<div class='math'{label} style='overflow-x:auto'>{math}</div>\n")
    raise nodes.SkipNode
