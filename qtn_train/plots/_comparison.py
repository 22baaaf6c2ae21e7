"""Pictures of generators compared at equal size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._runs import count_from_one, figure, line_style, some, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def comparison(runs: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """Draw how generators compare, with every seed.

    On the right the last test accuracies of the largest size. On the left the mean test accuracy
    over the epochs, or over the number of trained numbers where there are several sizes; bands and
    bars reach from the lowest to the highest seed.

    Args:
        runs: Those of a :class:`qtn_train.comparison.Comparison`; failed ones are left out.
        title: A line above both panels.

    Returns:
        The figure.

    Raises:
        ValueError: No run is left.
    """
    good = some("runs", [run for run in runs if not run["failed"]])
    names = list(dict.fromkeys(run["generator"] for run in good))
    sizes = {run["n_layers"] for run in good}
    picture, (left, right) = figure(9, 2.4 + 0.25 * max(4, len(names)), columns=2, title=title)
    draw = _accuracy_over_size if len(sizes) > 1 else _accuracy_over_epochs
    for number, name in enumerate(names):
        style = line_style(number)
        own = [run for run in good if run["generator"] == name]
        draw(left, own, style)
        last = [100 * run["test_accuracy"] for run in own if run["n_layers"] == max(sizes)]
        if last:
            right.plot(last, [number] * len(last), "o", color=style["color"], alpha=0.5)
            right.plot(np.mean(last), number, "|", color=style["color"], ms=18, mew=2)
    left.set(xlabel="trained numbers" if len(sizes) > 1 else "epoch", ylabel="test accuracy (%)")
    count_from_one(left)
    right.set(xlabel="test accuracy (%): each seed, and the mean", ylim=(len(names) - 0.5, -0.5))
    right.set_yticks(range(len(names)), names)
    return picture


def _accuracy_over_epochs(axes: Any, runs: Sequence[Mapping[str, Any]], style: Any) -> None:
    curves = [[100 * entry["test_accuracy"] for entry in run["epochs"]] for run in runs]
    n_epochs = min(map(len, curves))
    at = np.array([curve[:n_epochs] for curve in curves])
    axes.plot(range(1, n_epochs + 1), at.mean(axis=0), **style)
    band = (at.min(axis=0), at.max(axis=0))
    axes.fill_between(range(1, n_epochs + 1), *band, color=style["color"], alpha=0.15, lw=0)


def _accuracy_over_size(axes: Any, runs: Sequence[Mapping[str, Any]], style: Any) -> None:
    by_size: dict[int, list[float]] = {}
    for run in runs:
        by_size.setdefault(run["n_trainable"], []).append(100 * run["test_accuracy"])
    x = sorted(by_size)
    means = [float(np.mean(by_size[n])) for n in x]
    below = [mean - min(by_size[n]) for n, mean in zip(x, means, strict=True)]
    above = [max(by_size[n]) - mean for n, mean in zip(x, means, strict=True)]
    axes.errorbar(x, means, yerr=[below, above], capsize=2, **style)
