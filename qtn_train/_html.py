"""Light HTML for notebooks: tables and small pictures as inline SVG, without any plotting library.

Text and lines take the color of the page, so that they are seen on light and on dark ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

_BLUE = "#0072B2"
_WIDTH, _HEIGHT = 320, 64


def table(title: str, rows: Sequence[tuple[str, object]], *more: str) -> str:
    """Return a title, a table of names and values, and further HTML below it, as HTML.

    Args:
        title: What is shown.
        rows: Names and values; a number gets separators.
        *more: HTML to put below.

    Returns:
        HTML, with everything in ``title`` and ``rows`` escaped.

    Example:
        >>> "<td style='text-align:left'>1,497</td>" in table("A model", [("trained", 1497)])
        True
    """
    cells = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(_text(value))}</td></tr>"
        for name, value in rows
    )
    return f"<div><b>{escape(title)}</b><table>{cells}</table>{''.join(more)}</div>"


def summary(text: str) -> str:
    r"""Return a text of a title and lines ``name  value`` as HTML.

    Args:
        text: The title in the first line; each other line begins with a name of one word.

    Returns:
        HTML.

    Example:
        >>> summary("Model\n  seed   0\n") == table("Model", [("seed", "0")])
        True
    """
    title, *lines = text.splitlines()
    pairs = [line.split(None, 1) for line in lines]
    return table(title, [(pair[0], pair[1] if len(pair) > 1 else "") for pair in pairs])


def bars(values: Sequence[float], caption: str, labels: Sequence[str] = ()) -> str:
    """Return a bar chart as inline SVG; zero is the bottom, the largest value the top.

    Args:
        values: Not negative.
        caption: What is drawn, with its unit.
        labels: What a bar says under the pointer; its value by default.

    Returns:
        HTML.
    """
    top = max((v for v in values if math.isfinite(v)), default=0.0) or 1.0
    step = _WIDTH / max(len(values), 1)
    names = labels or [f"{value:.4g}" for value in values]
    boxes = "".join(
        f"<rect x='{i * step:.2f}' y='{_HEIGHT * (1 - v / top):.2f}' width='{0.9 * step:.2f}' "
        f"height='{_HEIGHT * v / top:.2f}' fill='{_BLUE}'><title>{escape(name)}</title></rect>"
        for i, (v, name) in enumerate(zip(values, names, strict=True))
    )
    return _picture(boxes, f"{caption}; highest {top:.4g}")


def line(values: Sequence[float], caption: str) -> str:
    """Return a line from the lowest to the highest value as inline SVG.

    Args:
        values: One after the other, at least one.
        caption: What is drawn, with its unit.

    Returns:
        HTML; values that are not finite are left out.
    """
    known = [(i, v) for i, v in enumerate(values) if math.isfinite(v)]
    low = min((v for _, v in known), default=0.0)
    height = max((v for _, v in known), default=0.0) - low or 1.0
    step = _WIDTH / max(len(values) - 1, 1)
    points = [(i * step, 2 + (_HEIGHT - 4) * (1 - (v - low) / height)) for i, v in known]
    path = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
    shape = f"<polyline points='{path}' fill='none' stroke='{_BLUE}' stroke-width='2'/>"
    dots = "".join(f"<circle cx='{x:.2f}' cy='{y:.2f}' r='2' fill='{_BLUE}'/>" for x, y in points)
    return _picture(shape + dots, caption)


def _picture(shapes: str, caption: str) -> str:
    return (
        f"<figure style='margin:4px 0'><svg width='{_WIDTH}' height='{_HEIGHT}' role='img' "
        f"style='overflow:visible'><title>{escape(caption)}</title>{shapes}"
        f"<line x1='0' x2='{_WIDTH}' y1='{_HEIGHT}' y2='{_HEIGHT}' stroke='currentColor'/></svg>"
        f"<figcaption><small>{escape(caption)}</small></figcaption></figure>"
    )


def _text(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
