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


# Comparisons

#: Colors that the color-blind tell apart (Okabe and Ito); with twice as many lines, dashed ones.
_COMPARED = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def save_comparison(runs: Sequence[dict[str, Any]], path: str | Path, title: str = "") -> None:
    """Draw how generators compare, with each seed and the spread, into a PNG file.

    On the right the last test accuracies of the largest size. On the left test accuracy over the
    epochs, or over the number of trained numbers where there are several sizes; bands and bars
    reach from the lowest to the highest seed.

    Args:
        runs: Those of :class:`qtn_train.studies.Comparison`; failed ones are left out.
        path: The file to write.
        title: A line above both panels.

    Raises:
        OSError: The folder is not writable.
    """
    from matplotlib.ticker import MaxNLocator

    good = [run for run in runs if not run["failed"]]
    names = list(dict.fromkeys(run["generator"] for run in good))
    sizes = list(dict.fromkeys(run["n_layers"] for run in good))
    figure = _figure(10, 2.6 + 0.3 * max(5, len(names)))
    left, right = figure.subplots(1, 2)
    for number, name in enumerate(names):
        color = _COMPARED[number % len(_COMPARED)]
        style = {"color": color, "ls": "-" if number < len(_COMPARED) else "--"}
        own = [run for run in good if run["generator"] == name]
        if len(sizes) > 1:
            _accuracy_over_size(left, own, style)
        else:
            _accuracy_over_epochs(left, own, style)
        largest = [run for run in own if run["n_layers"] == max(sizes)]
        last = [100 * run["test_accuracy"] for run in largest]
        if last:
            right.plot(last, [number] * len(last), "o", color=color, alpha=0.5, ms=5)
            right.plot(sum(last) / len(last), number, "|", color=color, ms=22, mew=2)
    over = "trained numbers" if len(sizes) > 1 else "epoch"
    left.set(xlabel=over, ylabel="test accuracy (%)")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set(xlabel="test accuracy (%), each seed and the mean", yticks=range(len(names)))
    right.set_yticklabels(names)
    right.invert_yaxis()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=120, format="png")


def _accuracy_over_epochs(axes: Any, runs: list[dict[str, Any]], style: dict[str, Any]) -> None:
    curves = [[100 * entry["test_accuracy"] for entry in run["epochs"]] for run in runs]
    epochs = range(1, min(map(len, curves)) + 1)
    at = [[curve[epoch - 1] for curve in curves] for epoch in epochs]
    axes.plot(epochs, [sum(values) / len(values) for values in at], **style)
    low, high = [min(values) for values in at], [max(values) for values in at]
    axes.fill_between(epochs, low, high, color=style["color"], alpha=0.15, lw=0)


def _accuracy_over_size(axes: Any, runs: list[dict[str, Any]], style: dict[str, Any]) -> None:
    by_size: dict[int, list[float]] = {}
    for run in runs:
        by_size.setdefault(run["n_trainable"], []).append(100 * run["test_accuracy"])
    x = sorted(by_size)
    means = [sum(by_size[n]) / len(by_size[n]) for n in x]
    below = [mean - min(by_size[n]) for n, mean in zip(x, means, strict=True)]
    above = [max(by_size[n]) - mean for n, mean in zip(x, means, strict=True)]
    axes.errorbar(x, means, yerr=[below, above], marker="o", ms=4, capsize=2, **style)
