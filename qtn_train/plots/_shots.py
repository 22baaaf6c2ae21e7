"""The picture of what shots and noise cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ._runs import COLORS, figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOT_COLORS = dict(zip(("iris", "digits", "mnist-mini"), COLORS, strict=False))


@styled
def shots(results: Mapping[str, dict[str, Any]], title: str = "") -> Figure:
    """Draw what shots and noise cost, as ``experiments.shots`` measured it.

    Args:
        results: Part -> what ``docs/results/shots-PART.json`` holds, for the parts
            ``regenerate``, ``gradient`` and ``noise``; what they lack stays empty.
        title: A line above the panels.

    Returns:
        The figure.
    """
    picture, panels = figure(12, 7, rows=2, columns=3, title=title)
    counted = [row for row in results["regenerate"]["rows"] if row["shots"]]
    start = [row for row in results["gradient"]["rows"] if row["point"] == "start"]
    noise = results["noise"]["rows"]
    plain = [
        {**row, "ratio": row["shots"] / 2 ** row["n_qubits"]}
        for row in counted
        if not row["smoothing"]
    ]
    for axes, rows, x, y, title in (
        (panels[0, 0], counted, "shots", "test_accuracy", "weights counted again"),
        (panels[0, 1], plain, "ratio", "feature_error", "error of the mapping's input"),
        (panels[0, 2], start, "shots", "angles_bias", "gradient by the angles: bias"),
        (panels[1, 0], start, "shots", "angles_deviation", "gradient by the angles: spread"),
        (
            panels[1, 1],
            [row for row in noise if "two_qubit_error" in row],
            "error",
            "test_accuracy",
            "weights generated with depolarizing noise",
        ),
        (
            panels[1, 2],
            [row for row in noise if "readout_error" in row and row["shots"] in (0, 10**6)],
            "error",
            "test_accuracy",
            "… and with misread qubits",
        ),
    ):
        _draw_cases(axes, rows, x, y)
        axes.set_title(title, fontsize=10)
    fit = results["regenerate"].get("fits", {}).get("feature_error")
    if fit and plain:
        ratios = [10.0, max(row["ratio"] for row in plain)]
        label = f"{fit['a']:.2f} · (shots / 2ᴺ)^−{fit['b']:.3f}"
        drawn = [fit["a"] * ratio ** -fit["b"] for ratio in ratios]
        panels[0, 1].plot(ratios, drawn, color="black", lw=1, label=label)
    _label_shots(panels)
    return picture


def _label_shots(panels: Any) -> None:
    names = {
        (0, 0): ("shots", "test accuracy"),
        (0, 1): ("shots / 2ᴺ", "root mean square error"),
        (0, 2): ("shots of each circuit", "bias / norm of the gradient"),
        (1, 0): ("shots of each circuit", "standard deviation / norm"),
        (1, 1): ("two-qubit error", "test accuracy"),
        (1, 2): ("mean readout error of a qubit", "test accuracy"),
    }
    for place, (x, y) in names.items():
        axes = panels[place]
        axes.set(xlabel=x, ylabel=y, xscale="log", yscale="log" if "/" in y else "linear")
        axes.grid(alpha=0.3)
        if axes.has_data():
            axes.legend(frameon=False, fontsize=6)
    panels[0, 1].set_yscale("log")


def _draw_cases(axes: Any, rows: Sequence[dict[str, Any]], x: str, y: str) -> None:
    """Draw mean and range over the seeds of each case; a variant of a data set is dashed."""
    for case in dict.fromkeys(row["case"] for row in rows):
        found: dict[float, list[float]] = {}
        for row in rows:
            if row["case"] == case:
                found.setdefault(row[x], []).append(row[y])
        places = sorted(found)
        means = [sum(found[place]) / len(found[place]) for place in places]
        below = [mean - min(found[place]) for mean, place in zip(means, places, strict=True)]
        above = [max(found[place]) - mean for mean, place in zip(means, places, strict=True)]
        dataset, _, variant = case.partition(", ")
        style = "s--" if "added" in variant or "mitigated" in variant else "o-"
        color = _SHOT_COLORS.get(dataset, "black")
        axes.errorbar(places, means, (below, above), fmt=style, color=color, ms=4, label=case)
