"""Pictures of sweeps over a setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._runs import COLORS, MARKERS, canvas, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Up to so many values are written on a logarithmic axis, each for itself.
_MOST_TICKS = 8


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
        panels: ``{label, log, lines}``; a line is ``{label, x, y, spread, hollow, fit}``: where
            ``hollow`` is true the marker is, and ``fit`` holds the values of a dashed line, or is
            None.
        x_label: Label of the horizontal axes.
        log_x: Whether these are logarithmic.
        title: A line above the panels.

    Returns:
        The figure.
    """
    picture = canvas(4.6 * len(panels), 4.2)
    for axes, panel in zip(picture.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for number, line in enumerate(panel["lines"]):
            color = COLORS[number % len(COLORS)]
            _draw_line(axes, line, color, MARKERS[number % len(MARKERS)], panel["log"])
        scale = "log" if panel["log"] else "linear"
        axes.set(xlabel=x_label, ylabel=panel["label"], yscale=scale)
        axes.set_xscale("log" if log_x else "linear")
        ticks = sorted({x for line in panel["lines"] for x in line["x"]})
        if log_x and len(ticks) <= _MOST_TICKS:
            axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
            axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    if any(labels):
        columns = min(len(labels), 2 * len(panels))
        picture.legend(
            handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8
        )
    picture.suptitle(title, fontsize=10)
    return picture


def _draw_line(axes: Any, line: dict[str, Any], color: str, marker: str, log: bool) -> None:
    order = sorted(range(len(line["x"])), key=lambda i: line["x"][i])
    x, y, spread, hollow = ([line[k][i] for i in order] for k in ("x", "y", "spread", "hollow"))
    # On a logarithmic axis as far down as up, by the factor 1 + spread / y: it never ends at 0.
    down = [s * v / (v + s) if log and v > 0 else s for v, s in zip(y, spread, strict=True)]
    axes.errorbar(
        x, y, yerr=(down, spread), color=color, lw=0 if line["fit"] else 1, elinewidth=1, capsize=2
    )
    for is_hollow in (False, True):
        at = [i for i, h in enumerate(hollow) if h == is_hollow]
        if at:
            axes.plot(
                [x[i] for i in at],
                [y[i] for i in at],
                marker,
                color=color,
                mfc="white" if is_hollow else color,
                ms=4,
                label=None if is_hollow and len(at) < len(x) else line["label"],
            )
    if line["fit"]:
        axes.plot(x, [line["fit"][i] for i in order], "--", color=color, lw=1)
