"""Pictures of sweeps over a setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._runs import COLORS, MARKERS, canvas, line_style, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Up to so many values are written on a logarithmic axis, each for itself.
_MOST_TICKS = 8
_DASHES = ("-", "--", ":", "-.")


@styled
def sweep(
    panels: Sequence[dict[str, Any]],
    *,
    x_label: str,
    log_x: bool = False,
    title: str = "",
) -> Figure:
    """Draw values over a setting, with their spread, in panels side by side.

    Args:
        panels: ``{label, log, lines}``; a line is ``{label, look, x, y, spread, hollow, fit}``:
            ``look`` is its number, or the numbers of its color and of its marker with its dashes;
            where ``hollow`` is true the marker is, and ``fit`` holds the values of a dashed line,
            or is None. A logarithmic panel leaves out what is 0.
        x_label: Label of the horizontal axes.
        log_x: Whether these are logarithmic.
        title: A line above the panels.

    Returns:
        The figure.
    """
    picture = canvas(4.6 * len(panels), 4.2)
    for axes, panel in zip(picture.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for line in panel["lines"]:
            _draw_line(axes, line, panel["log"])
        axes.set(xlabel=x_label, ylabel=panel["label"])
        if panel["log"]:
            axes.set_yscale("log", nonpositive="mask")
        axes.set_xscale("log" if log_x else "linear")
        ticks = sorted({x for line in panel["lines"] for x in line["x"]})
        if log_x and len(ticks) <= _MOST_TICKS:
            axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
            axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    if any(labels):
        n_rows = -(-len(labels) // (2 * len(panels)))
        columns = -(-len(labels) // n_rows)
        picture.legend(
            handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8
        )
    picture.suptitle(title, fontsize=10)
    return picture


def _style(look: int | tuple[int, int]) -> dict[str, Any]:
    if isinstance(look, int):
        return line_style(look)
    color, other = look
    return {
        "color": COLORS[color % len(COLORS)],
        "marker": MARKERS[other % len(MARKERS)],
        "ls": _DASHES[other % len(_DASHES)],
    }


def _draw_line(axes: Any, line: dict[str, Any], log: bool) -> None:
    order = sorted(range(len(line["x"])), key=lambda i: line["x"][i])
    x, y, spread, hollow = ([line[k][i] for i in order] for k in ("x", "y", "spread", "hollow"))
    style = _style(line["look"])
    color, dashes = style["color"], "" if line["fit"] else style["ls"]
    # On a logarithmic axis as far down as up, by the factor 1 + spread / y: it never ends at 0.
    down = [s * v / (v + s) if log and v > 0 else s for v, s in zip(y, spread, strict=True)]
    axes.errorbar(x, y, (down, spread), color=color, ls=dashes, lw=1, elinewidth=1, capsize=2)
    for is_hollow in (False, True):
        at = [i for i, h in enumerate(hollow) if h == is_hollow]
        fill = "white" if is_hollow else color
        look = {"color": color, "marker": style["marker"], "mfc": fill, "ms": 4}
        axes.plot([x[i] for i in at], [y[i] for i in at], ls="", **look)
        if is_hollow == all(hollow):
            axes.plot([], [], ls=dashes, lw=1, label=line["label"], **look)
    if line["fit"]:
        axes.plot(x, [line["fit"][i] for i in order], "--", color=color, lw=1)
