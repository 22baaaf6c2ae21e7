"""Pictures of results. The only place that loads matplotlib, and only when a picture is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def save_curves(epochs: Sequence[dict[str, Any]], path: str | Path, title: str = "") -> None:
    """Draw loss and accuracy over the epochs, training and test, into a PNG file.

    Args:
        epochs: The entries of a :class:`qtn_train.History`, or of ``run.json``.
        path: The file to write.
        title: A line above both panels.

    Raises:
        OSError: The folder is not writable.
    """
    from matplotlib.ticker import MaxNLocator

    figure = _figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    x = [entry["epoch"] for entry in epochs]
    for split, style in (("train", "--"), ("test", "-")):
        losses = [entry[f"{split}_loss"] for entry in epochs]
        accuracies = [100 * entry[f"{split}_accuracy"] for entry in epochs]
        color = "tab:blue" if split == "test" else "tab:gray"
        left.plot(x, losses, style, color=color, label=split, marker=".")
        label = f"{split}, last {accuracies[-1]:.2f} %"
        right.plot(x, accuracies, style, color=color, label=label, marker=".")
    left.set(xlabel="epoch", ylabel="cross entropy (nats)", yscale="log")
    right.set(xlabel="epoch", ylabel="accuracy (%)")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=120, format="png")


def save_entropies(entropies: Sequence[float], path: str | Path, title: str = "") -> None:
    """Draw the entanglement entropy of each bond of a matrix product state into a PNG file.

    Args:
        entropies: In bits; the bond between the first two qubits first.
        path: The file to write.
        title: A line above the panel.

    Raises:
        OSError: The folder is not writable.
    """
    figure = _figure(6, 3.2)
    axes = figure.subplots()
    axes.bar(range(1, len(entropies) + 1), entropies, width=0.9, color="tab:blue")
    axes.set(xlabel="bond", ylabel="entropy (bits)", title=title)
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=120)


def _figure(width: float, height: float) -> Any:
    """A figure of its own: pyplot would keep global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


# Sweeps


#: Colours that the colour-blind tell apart (Okabe and Ito), and as many markers.
_SWEEP_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_SWEEP_MARKERS = "osD^vP*X<>hd"
_MOST_TICKS = 8


def save_sweep(
    panels: Sequence[dict[str, Any]],
    path: str | Path,
    *,
    x_label: str,
    log_x: bool = False,
    title: str = "",
) -> None:
    """Draw values over a setting, with their spread, in panels side by side into a PNG file.

    Args:
        panels: ``{label, log, lines}``; a line is ``{label, x, y, spread, hollow, fit}``: where
            ``hollow`` is true the marker is, and ``fit`` holds the values of a dashed line, or is
            None.
        path: The file to write.
        x_label: Label of the horizontal axes.
        log_x: Whether these are logarithmic.
        title: A line above the panels.

    Raises:
        OSError: The folder is not writable.
    """
    figure = _figure(4.6 * len(panels), 4.2)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for number, line in enumerate(panel["lines"]):
            color = _SWEEP_COLORS[number % len(_SWEEP_COLORS)]
            marker = _SWEEP_MARKERS[number % len(_SWEEP_MARKERS)]
            _draw_line(axes, line, color, marker, panel["log"])
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
        figure.legend(
            handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8
        )
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110, format="png")


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
