"""The common style, and pictures of runs, states and weights.

Each function returns a matplotlib ``Figure``: a notebook shows it, :func:`save` writes it as PNG.
Nothing here touches pyplot or anybody's settings. The colors are told apart with any color vision
(Okabe and Ito, 2008), and the lines of one picture differ in their markers or dashes too.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import must_be, positive_int

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

#: Blue, vermilion, green, purple, orange, sky blue, black: in this order in every picture.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
#: The markers that go with them.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

#: The settings behind every picture; ``matplotlib.rc_context(STYLE)`` gives yours the same look.
STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "figure.titlesize": 10,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
}

_DPI = 120
#: Lines beside the one that stands out.
_OTHERS = {"color": "0.6", "zorder": 1}
# More points than this on one line of sorted numbers cannot be told apart.
_MOST_POINTS = 2000
# A legend of more lines stands below the panel, where it covers none.
_MOST_INSIDE = 6
#: What the keys of a training history are called on an axis, and the factor to that unit.
_HISTORY = {
    "train_loss": ("training cross entropy (nats)", 1.0),
    "test_loss": ("test cross entropy (nats)", 1.0),
    "validation_loss": ("validation cross entropy (nats)", 1.0),
    "train_accuracy": ("training accuracy (%)", 100.0),
    "test_accuracy": ("test accuracy (%)", 100.0),
    "truncation_error": ("truncation error Σ√w", 1.0),
    "fidelity_estimate": ("estimated fidelity ∏(1 − w)", 1.0),
    "seconds": ("time of an epoch (s)", 1.0),
}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Let a function draw with :data:`STYLE`, and restore the caller's settings."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        from matplotlib import rc_context
        from matplotlib.rcsetup import cycler

        settings: Any = {**STYLE, "axes.prop_cycle": cycler("color", COLORS)}
        with rc_context(settings):
            return draw(*args, **kwargs)

    return drawn


@styled
def figure(
    width: float = 6.0, height: float = 3.6, *, rows: int = 1, columns: int = 1, title: str = ""
) -> tuple[Figure, Any]:
    """Return an empty figure in the common style, for pictures of your own.

    Args:
        width: In inches.
        height: In inches.
        rows: Rows of panels.
        columns: Columns of panels.
        title: A line above all panels.

    Returns:
        The figure, and its axes: one, or an array of them as from ``pyplot.subplots``. Colors and
        grid are set; give each axis a label with its unit.

    Example:
        >>> picture, axes = figure(title="a line")
        >>> _ = axes.plot([1, 2], [3, 4]), axes.set(xlabel="qubits", ylabel="time (s)")
        >>> axes.get_xlabel()
        'qubits'
    """
    made = canvas(width, height)
    if title:
        made.suptitle(title)
    return made, made.subplots(rows, columns)


def save(picture: Figure, path: str | Path) -> None:
    """Write a figure as PNG.

    Args:
        picture: The figure.
        path: The file to write.

    Raises:
        OSError: The folder is not writable.
    """
    picture.savefig(path, dpi=_DPI, format="png")


@styled
def curves(epochs: Sequence[Mapping[str, float]], title: str = "") -> Figure:
    """Draw loss and accuracy over the epochs of one run, training and test; of a regression R².

    Args:
        epochs: The entries of a :class:`qtn_train.History`, or of ``run.json``.
        title: A line above both panels.

    Returns:
        The figure.

    Raises:
        ValueError: There are no epochs.
    """
    x = [entry["epoch"] for entry in some("epochs", epochs)]
    picture, (left, right) = figure(9, 3.6, columns=2, title=title)
    is_counted = "train_accuracy" in epochs[0]
    key, factor, unit = ("accuracy", 100.0, " %") if is_counted else ("r2", 1.0, "")
    for split, style, color in (("train", "--", COLORS[1]), ("test", "-", COLORS[0])):
        losses = [entry[f"{split}_loss"] for entry in epochs]
        left.plot(x, losses, style, color=color, label=split, marker=".")
        if f"{split}_{key}" in epochs[0]:
            scores = [factor * entry[f"{split}_{key}"] for entry in epochs]
            label = f"{split}, last {scores[-1]:.2f}{unit}"
            right.plot(x, scores, style, color=color, label=label, marker=".")
    loss = "cross entropy (nats)" if is_counted else "loss (mean square)"
    left.set(xlabel="epoch", ylabel=loss, yscale="log")
    right.set(xlabel="epoch", ylabel="accuracy (%)" if is_counted else "R² (1: perfect)")
    for axes in (left, right):
        count_from_one(axes)
        if axes.lines:
            axes.legend()
    return picture


@styled
def curves_over_seeds(
    runs: Mapping[str, Sequence[Sequence[Mapping[str, float]]]],
    key: str = "test_accuracy",
    title: str = "",
) -> Figure:
    """Draw the mean over seeds of one figure of merit by epoch, with a band of ± 1 deviation.

    Args:
        runs: For each label, the ``epochs`` of its runs, one for each seed.
        key: Which entry of the epochs to draw.
        title: A line above the panel.

    Returns:
        The figure. Where runs stopped early, a label's line ends with its shortest run.

    Raises:
        ValueError: There are no runs, or the key is not in every epoch.
    """
    label, factor = _HISTORY.get(key, (key, 1.0))
    picture, axes = figure(title=title)
    for number, (name, seeds) in enumerate(some("runs", runs).items()):
        n_epochs = min(len(some("epochs", epochs)) for epochs in some("seeds", seeds))
        rows = [[_entry(entry, key) * factor for entry in epochs[:n_epochs]] for epochs in seeds]
        x = [entry["epoch"] for entry in seeds[0][:n_epochs]]
        mean, deviation = np.mean(rows, axis=0), _deviation(np.array(rows))
        many = f", {len(rows)} seeds: {mean[-1]:.2f} ± {deviation[-1]:.2f}"
        style = line_style(number)
        axes.plot(x, mean, label=name + (many if len(rows) > 1 else f": {mean[-1]:.2f}"), **style)
        axes.fill_between(x, mean - deviation, mean + deviation, color=style["color"], alpha=0.2)
    axes.set(xlabel="epoch", ylabel=label)
    count_from_one(axes)
    axes.legend()
    return picture


@styled
def entanglement(
    entropies: Sequence[float] | Mapping[str, Sequence[float]],
    title: str = "",
    *,
    max_bond: int | None = None,
) -> Figure:
    """Draw the entanglement entropy of each bond along the chain.

    Args:
        entropies: In bits, the bond between the qubits 0 and 1 first; or several such lists by
            label, drawn as lines.
        title: A line above the panel.
        max_bond: Draws the entropy that this bond dimension can carry at most.

    Returns:
        The figure.

    Raises:
        ValueError: There are no entropies.

    Example:
        >>> from qtn_train import MPSEngine, ansatz
        >>> import torch
        >>> circuit = ansatz.u3_cu3_chain(6, 2)
        >>> state = MPSEngine().prepare(circuit, torch.ones(circuit.n_angles))
        >>> picture = entanglement([state.entropy(bond) for bond in range(1, 6)])
    """
    picture, axes = figure(6, 3.2)
    lines = entropies if isinstance(entropies, Mapping) else {"": entropies}
    for number, (name, values) in enumerate(some("entropies", lines).items()):
        bonds = range(1, len(some("entropies", values)) + 1)
        if name:
            axes.plot(bonds, values, label=name, **line_style(number))
        else:
            axes.bar(bonds, values, width=0.9, color=COLORS[0])
    if max_bond is not None:
        most = np.log2(positive_int("max_bond", max_bond))
        axes.axhline(
            most, color=COLORS[-1], ls="--", label=f"most that max_bond {max_bond} carries"
        )
    axes.set(xlabel="bond (left of qubit)", ylabel="entropy (bits)", title=title)
    count_from_one(axes)
    if axes.get_legend_handles_labels()[1]:
        axes.legend()
    return picture


@styled
def landscape(probs: ArrayLike | Mapping[str, ArrayLike], n_qubits: int, title: str = "") -> Figure:
    """Draw outcome probabilities, sorted, against those of a random state (Porter–Thomas).

    Args:
        probs: Probabilities of some or all outcomes, a tensor or an array; or several by label.
        n_qubits: Qubits of the circuit: probabilities are drawn in units of 2^−n_qubits.
        title: A line above the panel.

    Returns:
        The figure; outcomes that never occur are left out of the logarithmic axis.

    Raises:
        ValueError: There are no probabilities.

    Source:
        Porter–Thomas: probabilities of a random state are exponential, P(2^N·p > x) = e^(−x).
    """
    dimension = 2.0 ** positive_int("n_qubits", n_qubits)
    picture, axes = figure(title=title)
    lines = probs if isinstance(probs, Mapping) else {"circuit": probs}
    most = 0
    for number, (name, values) in enumerate(some("probs", lines).items()):
        sizes = np.sort(_flat("probs", values))[::-1] * dimension
        most = max(most, len(sizes))
        share = (np.arange(len(sizes)) + 0.5) / len(sizes)
        keep = _thinned(len(sizes))
        shown = np.where(sizes > 0, sizes, np.nan)[keep]
        axes.plot(100 * share[keep], shown, label=name, color=COLORS[number % len(COLORS)])
    share = (np.arange(most) + 0.5)[_thinned(most)] / most
    label = "random state (Porter–Thomas)"
    axes.plot(100 * share, -np.log(share), "--", color=COLORS[-1], label=label)
    xlabel = "share of outcomes, most probable first (%)"
    axes.set(xlabel=xlabel, ylabel=f"probability (units of $2^{{-{n_qubits}}}$)", yscale="log")
    axes.legend()
    return picture


@styled
def weights(generated: Any, trained: Any, title: str = "") -> Figure:
    """Draw generated weights beside those of the same network trained directly.

    Args:
        generated: All weights: an array or tensor, or tensors by name, as ``model.generate()`` or
            ``export().state_dict()`` gives them.
        trained: The same of the other network.
        title: A line above both panels.

    Returns:
        Histograms on the left; on the right the sorted weights against each other: on the diagonal
        both networks have the same distribution. (Weights at one position need not agree: networks
        with permuted hidden units compute the same.)

    Raises:
        ValueError: The two have not the same number of weights.
    """
    first, second = _flat("generated", generated), _flat("trained", trained)
    if len(first) != len(second):
        expected = f"as many weights as `generated`, {len(first)}"
        raise ValueError(must_be("trained", expected, len(second)))
    picture, (left, right) = figure(9, 3.6, columns=2, title=title)
    low, high = min(first.min(), second.min()), max(first.max(), second.max())
    bins = np.linspace(low, high, 61) if high > low else np.array([low - 0.5, low + 0.5])
    for values, name, color in ((first, "generated", COLORS[0]), (second, "trained", COLORS[1])):
        label = f"{name}, deviation {values.std():.3f}"
        left.hist(values, bins, histtype="step", color=color, label=label)
    left.set(xlabel="weight (no unit)", ylabel="number of weights", yscale="log")
    left.legend()
    keep = _thinned(len(first))
    right.plot([low, high], [low, high], "--", color=COLORS[-1], lw=1, label="equal")
    right.plot(np.sort(second)[keep], np.sort(first)[keep], ".", color=COLORS[0], label="sorted")
    right.set(xlabel="trained weight (no unit)", ylabel="generated weight (no unit)")
    right.legend()
    return picture


def _legend_below(picture: Figure, handles: list[Any], names: list[str]) -> None:
    """Put a legend below the panels, in as many columns as fit side by side."""
    for columns in (3, 2, 1):
        legend = picture.legend(handles, names, loc="outside lower center", ncols=columns)
        picture.draw_without_rendering()  # only then its width is known
        if columns == 1 or legend.get_window_extent().width <= picture.bbox.width:
            return
        legend.remove()


@styled
def lines(
    rows: Sequence[Mapping[str, Any]],
    x: str,
    y: str,
    *,
    by: str | None = None,
    labels: Sequence[str] = ("", ""),
    log: str = "",
    title: str = "",
    ours: str | None = None,
) -> Figure:
    """Draw measurements as lines: the median of each point, with the range of its repeats.

    Args:
        rows: Measurements, such as ``{"n_qubits": 20, "max_bond": 32, "seconds": 1.9}``. A row
            without a value at ``y`` (None) is left out, as is 0 on a logarithmic axis.
        x: Key of the horizontal axis.
        y: Key of the vertical axis.
        by: Key that parts the rows into lines.
        labels: Names and units of the two axes; ``x`` and ``y`` by default.
        log: The axes that are logarithmic: ``""``, ``"x"``, ``"y"`` or ``"xy"``.
        title: A line above the panel.
        ours: Name of the line that stands out in color; the other ones are grey, told apart by
            marker and dashes. By default each has a color.

    Returns:
        The figure.

    Raises:
        ValueError: There are no rows, one lacks a key, or an unknown ``log``.
    """
    if log not in ("", "x", "y", "xy"):
        raise ValueError(must_be("log", "'', 'x', 'y' or 'xy'", repr(log)))
    parts: dict[Any, dict[float, list[float]]] = {}
    for row in some("rows", rows):
        value = _entry(row, y)
        if value is not None and (value > 0 or "y" not in log):
            points = parts.setdefault(_entry(row, by) if by else "", {})
            points.setdefault(float(_entry(row, x)), []).append(float(value))
    picture, axes = figure(title=title)
    for number, (name, points) in enumerate(parts.items()):
        sizes = sorted(points)
        middle = np.array([np.median(points[size]) for size in sizes])
        ends = np.array([[min(points[s]) for s in sizes], [max(points[s]) for s in sizes]])
        style = line_style(number)
        if ours is not None:
            style |= {"color": COLORS[0], "lw": 2, "zorder": 3} if name == ours else _OTHERS
        label = name if isinstance(name, str) else f"{by} {name}"
        axes.errorbar(sizes, middle, np.abs(ends - middle), label=label, capsize=2, **style)
    axes.set(xlabel=labels[0] or x, ylabel=labels[1] or y)
    axes.set_xscale("log" if "x" in log else "linear")
    axes.set_yscale("log" if "y" in log else "linear")
    if by and len(parts) > _MOST_INSIDE:
        _legend_below(picture, *axes.get_legend_handles_labels())
    elif by and parts:
        axes.legend()
    return picture


def cost(
    rows: Sequence[Mapping[str, Any]],
    x: str,
    y: str,
    *,
    by: str | None = None,
    labels: Sequence[str] = ("", ""),
    title: str = "",
) -> Figure:
    """Draw what something costs against its size, both axes logarithmic: see :func:`lines`.

    Args:
        rows: Measurements.
        x: Key of the size; one that counts qubits gets a linear axis, as costs grow with 2^N.
        y: Key of the cost.
        by: Key that parts the rows into lines.
        labels: Names and units of the two axes.
        title: A line above the panel.

    Returns:
        The figure.

    Raises:
        ValueError: There are no rows, or one lacks a key.
    """
    return lines(rows, x, y, by=by, labels=labels, log="y" if "qubits" in x else "xy", title=title)


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches."""
    return _figure_class()(figsize=(width, height), layout="constrained", dpi=_DPI)


@cache
def _figure_class() -> type[Figure]:
    """Return the class of figures that a notebook shows without pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    class Picture(Figure):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            FigureCanvasAgg(self)  # pyplot would keep global state

        def _repr_png_(self) -> bytes:
            stream = io.BytesIO()
            self.savefig(stream, format="png")
            return stream.getvalue()

    return Picture


def line_style(number: int) -> dict[str, Any]:
    """Return color, marker and dashes of a picture's line; no two of the first 14 are alike."""
    look = {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}
    return look | {"ls": "-" if number < len(COLORS) else "--"}


def count_from_one(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _thinned(count: int) -> NDArray[np.int64]:
    """Return positions to draw of a long sorted line: close together at its curved ends."""
    if count <= _MOST_POINTS:
        return np.arange(count)
    half = np.geomspace(1, count / 2, _MOST_POINTS // 2).astype(np.int64) - 1
    return np.unique(np.concatenate((half, count - 1 - half)))


def _deviation(rows: NDArray[Any]) -> NDArray[Any]:
    """Return the standard deviation over the seeds; 0 for a single seed."""
    return np.asarray(rows.std(axis=0, ddof=1 if len(rows) > 1 else 0))


_Some = TypeVar("_Some", Sequence[Any], Mapping[str, Any])


def some(name: str, values: _Some) -> _Some:
    if not hasattr(values, "__len__"):
        hint = "Give its entries: history.epochs." if hasattr(values, "epochs") else ""
        raise TypeError(must_be(name, "a list", type(values).__name__, hint))
    if len(values) == 0:
        raise ValueError(must_be(name, "at least one", "none"))
    return values


def _entry(row: Mapping[str, Any], key: str) -> Any:
    if key not in row:
        raise ValueError(must_be("key", f"one of {', '.join(row)}", repr(key)))
    return row[key]


def _flat(name: str, values: Any) -> NDArray[np.float64]:
    """Return all numbers of an array, a tensor, or tensors by name, in one row."""
    pieces = values.values() if isinstance(values, Mapping) else [values]
    plain = [piece.detach().cpu() if hasattr(piece, "detach") else piece for piece in pieces]
    flat = [np.asarray(piece, dtype=np.float64).reshape(-1) for piece in plain]
    joined = np.concatenate(flat) if flat else np.zeros(0)
    if not len(joined) or not np.isfinite(joined).all():
        raise ValueError(must_be(name, "finite numbers, at least one", "none, NaN or infinity"))
    return joined
