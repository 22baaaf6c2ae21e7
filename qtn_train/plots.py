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
