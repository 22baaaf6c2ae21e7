"""The directive ``{gallery}``: the tutorials' figures, each a link to the one that draws it."""

from __future__ import annotations

import base64
import json
import re
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

TUTORIALS = Path(__file__).parents[2] / "tutorials"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("gallery", Gallery)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Gallery(SphinxDirective):
    """Shows the stored figures of each tutorial, in their order."""

    def run(self) -> list[nodes.Node]:
        """Return one block of pictures, and write their files."""
        folder = Path(self.env.app.outdir) / "_static" / "gallery"
        folder.mkdir(parents=True, exist_ok=True)
        figures = []
        for path in sorted(TUTORIALS.glob("*.ipynb")):
            self.env.note_dependency(str(path))
            for number, (heading, picture) in enumerate(read(path)):
                name = f"{path.stem}-{number}.png"
                (folder / name).write_bytes(picture)
                caption = escape(f"{int(path.stem[:2])}. {heading}")
                figures.append(
                    f"<figure><a href='tutorials/{path.stem}.html'>"
                    f"<img src='_static/gallery/{name}' alt='{caption}' loading='lazy'></a>"
                    f"<figcaption>{caption}</figcaption></figure>"
                )
        return [nodes.raw("", f"<div class='gallery'>{''.join(figures)}</div>", format="html")]


def read(path: Path) -> list[tuple[str, bytes]]:
    """Return a notebook's stored pictures, each with the heading that it stands under."""
    pictures = []
    heading = ""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            headings = re.findall(r"^#+ +(.+)$", "".join(cell["source"]), flags=re.MULTILINE)
            heading = re.sub(r"^\d+\. ", "", headings[-1]) if headings else heading
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                content = base64.b64decode("".join(output["data"]["image/png"]))
                pictures.append((heading.replace("`", ""), content))
    return pictures
