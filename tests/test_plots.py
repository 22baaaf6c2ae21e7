"""Pictures: a PNG file, drawn without touching anybody's matplotlib state."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qtn_train import plots


def epochs(n: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": number,
            "train_loss": 1 / number,
            "train_accuracy": 1 - 0.5 / number,
            "test_loss": 1.1 / number,
            "test_accuracy": 1 - 0.6 / number,
            "seconds": 1.0,
        }
        for number in range(1, n + 1)
    ]


@pytest.mark.parametrize("n", [1, 2, 50])
def test_a_png_of_a_sensible_size(n: int, tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    plots.save(plots.curves(epochs(n), "iris: 131 weights"), path)
    raw = path.read_bytes()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", raw[16:24])
    assert (width, height) == (1080, 432)
    assert 5_000 < len(raw) < 200_000


def test_a_string_will_do_as_path_and_no_title_is_needed(tmp_path: Path) -> None:
    plots.save(plots.curves(epochs(3)), str(tmp_path / "curves.png"))
    assert (tmp_path / "curves.png").stat().st_size > 5_000


def test_the_curves_are_in_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    plots.save(plots.curves(epochs(3)), first)
    other = epochs(3)
    other[1]["test_accuracy"] = 0.2
    plots.save(plots.curves(other), second)
    assert first.read_bytes() != second.read_bytes()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No such file or directory"):
        plots.save(plots.curves(epochs(2)), tmp_path / "nowhere" / "curves.png")
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        plots.save(plots.curves(epochs(2)), tmp_path)


def test_global_state_is_left_alone(tmp_path: Path) -> None:
    # Reading rcParams["backend"] would itself load pyplot.
    code = (
        "import sys; from qtn_train import plots; assert 'matplotlib' not in sys.modules\n"
        "splits = ('train_loss', 'train_accuracy', 'test_loss', 'test_accuracy')\n"
        "import matplotlib; params = matplotlib.rcParams\n"
        "before = {name: params[name] for name in params if name != 'backend'}\n"
        f"path = {str(tmp_path / 'curves.png')!r}\n"
        "plots.save(plots.curves([dict.fromkeys(splits, 0.5) | {'epoch': 1}]), path)\n"
        "assert before == {name: params[name] for name in before}\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def axes_of(picture: Any) -> list[Any]:
    return list(picture.get_axes())


def lines_of(axes: Any) -> dict[str, np.ndarray]:
    return {line.get_label(): np.asarray(line.get_ydata()) for line in axes.get_lines()}


def test_curves_draw_the_history_in_its_units() -> None:
    loss, accuracy = axes_of(plots.curves(epochs(3)))
    assert lines_of(loss)["test"].tolist() == [1.1 / n for n in (1, 2, 3)]
    assert lines_of(accuracy)["test, last 80.00 %"].tolist() == pytest.approx([40, 70, 80])


def test_curves_of_a_regression_draw_r2() -> None:
    names = ("epoch", "train_loss", "test_loss", "test_r2")
    rows = [dict(zip(names, (n, 1 / n, 2 / n, 1 - 1 / n), strict=True)) for n in (1, 2)]
    loss, score = axes_of(plots.curves(rows))
    assert loss.get_ylabel() == "loss (mean square)"
    assert lines_of(loss)["test"].tolist() == [2.0, 1.0]
    assert lines_of(score)["test, last 0.50"].tolist() == [0.0, 0.5]
    plain = [{name: row[name] for name in names[:3]} for row in rows]
    assert axes_of(plots.curves(plain))[1].lines[:] == []


def test_curves_over_seeds_draw_mean_and_deviation() -> None:
    runs = [
        [{"epoch": 1, "test_accuracy": a}, {"epoch": 2, "test_accuracy": 0.9}] for a in (0.5, 0.7)
    ]
    longer = [*runs[0], {"epoch": 3, "test_accuracy": 1.0}]
    (axes,) = axes_of(plots.curves_over_seeds({"two": [longer, runs[1]], "one": runs[:1]}))
    lines = lines_of(axes)
    assert lines["two, 2 seeds: 90.00 ± 0.00"].tolist() == pytest.approx([60.0, 90.0])
    assert lines["one: 90.00"].tolist() == pytest.approx([50.0, 90.0])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((60 - 10 * 2**0.5, 90.0))
    assert axes.get_ylabel() == "test accuracy (%)"


def test_entanglement_as_bars_and_as_lines() -> None:
    (bars,) = axes_of(plots.entanglement([0.5, 1.0], max_bond=4))
    assert [bar.get_height() for bar in bars.patches] == [0.5, 1.0]
    assert bars.get_lines()[0].get_ydata()[0] == 2.0
    (axes,) = axes_of(plots.entanglement({"exact": [0.5, 1.0], "cut": [0.4, 0.6]}))
    assert lines_of(axes)["cut"].tolist() == [0.4, 0.6]


def test_a_random_state_lies_on_the_porter_thomas_line() -> None:
    n_qubits = 13
    amplitudes = torch.randn(2, 2**n_qubits, generator=torch.Generator().manual_seed(0))
    probs = amplitudes.square().sum(0)
    (axes,) = axes_of(plots.landscape(probs / probs.sum(), n_qubits))
    lines = lines_of(axes)
    ratio = lines["circuit"] / lines["random state (Porter–Thomas)"]
    middle = slice(len(ratio) // 4, -len(ratio) // 4)
    assert len(ratio) < 2**n_qubits  # long lines are thinned
    assert np.abs(np.log(ratio[middle])).max() < 0.1


def test_landscape_takes_several_lines_and_impossible_outcomes() -> None:
    (axes,) = axes_of(plots.landscape({"a": [0.5, 0.5, 0, 0], "b": [1.0, 0, 0, 0]}, 2))
    lines = lines_of(axes)
    assert np.nan_to_num(lines["a"]).tolist() == [2.0, 2.0, 0.0, 0.0]
    assert np.nan_to_num(lines["b"]).tolist() == [4.0, 0.0, 0.0, 0.0]


def test_weights_by_name_and_as_one_row() -> None:
    generated = {"a": torch.tensor([[3.0, 1.0]], requires_grad=True), "b": torch.tensor([2.0])}
    left, right = axes_of(plots.weights(generated, [1.0, 2.0, 4.0]))
    assert lines_of(right)["sorted"].tolist() == [1.0, 2.0, 3.0]
    labels = left.get_legend_handles_labels()[1]
    assert labels == ["generated, deviation 0.816", "trained, deviation 1.247"]
    assert axes_of(plots.weights([1.0], [1.0]))


def test_one_line_stands_out_from_grey_ones() -> None:
    rows = [{"x": x, "y": x, "who": who} for x in (1, 2) for who in ("a", "ours", "b")]
    (axes,) = axes_of(plots.lines(rows, "x", "y", by="who", ours="ours"))
    drawn = [bars.lines[0] for bars in axes.containers]
    assert [line.get_color() for line in drawn] == ["0.6", plots.COLORS[0], "0.6"]
    assert len({line.get_marker() for line in drawn}) == 3


def test_a_long_legend_stands_below_the_panel() -> None:
    for count in (6, 7):
        rows = [{"x": x, "y": x, "who": f"line {k}"} for x in (1, 2) for k in range(count)]
        picture = plots.lines(rows, "x", "y", by="who")
        (axes,) = picture.axes
        legend = picture.legends[0] if picture.legends else axes.get_legend()
        assert len(legend.get_texts()) == count
        assert not legend.get_frame_on()  # the common style
        picture.draw_without_rendering()
        below = legend.get_window_extent().y1 <= axes.get_window_extent().y0
        assert below == (count > 6)


@pytest.mark.parametrize("length", [5, 50, 70])
def test_a_legend_below_fits_the_picture(length: int) -> None:
    rows = [{"x": 1, "y": k, "who": f"{k}" * length} for k in range(8)]
    picture = plots.lines(rows, "x", "y", by="who")
    picture.draw_without_rendering()
    (legend,) = picture.legends
    assert legend.get_window_extent().width <= picture.bbox.width


def test_a_logarithmic_axis_leaves_out_what_is_zero() -> None:
    rows = [{"x": x, "y": float(x * c), "who": f"c {c}"} for x in range(3) for c in (0, 1)]
    (axes,) = axes_of(plots.lines(rows, "x", "y", by="who", log="y"))
    (bars,) = axes.containers
    assert bars.lines[0].get_ydata().tolist() == [1.0, 2.0]
    assert axes.get_legend_handles_labels()[1] == ["c 1"]
    (axes,) = axes_of(plots.lines(rows, "x", "y", by="who"))
    assert axes.get_legend_handles_labels()[1] == ["c 0", "c 1"]


def test_cost_draws_medians_by_line() -> None:
    rows = [
        {"n_qubits": n, "chi": c, "s": n * c * f} for n in (4, 2) for c in (1, 3) for f in (1, 2, 9)
    ]
    (axes,) = axes_of(plots.cost(rows, "n_qubits", "s", by="chi", labels=("", "time (s)")))
    drawn = [line.get_ydata().tolist() for line in axes.get_lines() if len(line.get_ydata()) == 2]
    assert [4.0, 8.0] in drawn
    assert [12.0, 24.0] in drawn
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("n_qubits", "time (s)")
    assert axes.get_legend_handles_labels()[1] == ["chi 1", "chi 3"]
    (single,) = axes_of(plots.cost([*rows, {"chi": 5, "s": None}], "chi", "s"))
    assert single.get_xscale() == "log"


ALL = {
    "curves": lambda: plots.curves(epochs(2)),
    "curves_over_seeds": lambda: plots.curves_over_seeds({"a": [epochs(2)] * 3}),
    "entanglement": lambda: plots.entanglement([1.0, 2.0]),
    "landscape": lambda: plots.landscape([0.5, 0.5], 1),
    "weights": lambda: plots.weights([1.0, 2.0], [2.0, 3.0]),
    "cost": lambda: plots.cost([{"x": 1, "y": 2}, {"x": 2, "y": 3}], "x", "y"),
}


@pytest.mark.parametrize("name", ALL)
def test_every_axis_is_labeled_and_a_notebook_shows_the_picture(name: str) -> None:
    picture = ALL[name]()
    for axes in axes_of(picture):
        assert axes.get_xlabel()
        assert axes.get_ylabel()
    assert picture._repr_png_()[:8] == b"\x89PNG\r\n\x1a\n"
    assert picture._repr_png_() == ALL[name]()._repr_png_(), "the same bytes twice"


def test_figure_gives_others_the_style() -> None:
    picture, panels = plots.figure(6, 3, rows=2, columns=2, title="four")
    assert panels.shape == (2, 2)
    assert picture.get_suptitle() == "four"
    (line,) = panels[0, 0].plot([1, 2], [3, 4])
    assert line.get_color() == plots.COLORS[0]


def test_entropies_are_written_as_png(tmp_path: Path) -> None:
    plots.save(plots.entanglement([1.0, 2.0, 1.0], "three bonds"), tmp_path / "entropies.png")
    assert struct.unpack(">II", (tmp_path / "entropies.png").read_bytes()[16:24]) == (720, 384)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.curves([]), "`epochs` must be at least one; got none"),
        (lambda: plots.curves_over_seeds({}), "`runs` must be at least one; got none"),
        (lambda: plots.curves_over_seeds({"a": []}), "`seeds` must be at least one; got none"),
        (
            lambda: plots.curves_over_seeds({"a": [epochs(1)]}, "nonsense"),
            "`key` must be one of epoch, train_loss, .*; got 'nonsense'",
        ),
        (lambda: plots.entanglement([]), "`entropies` must be at least one; got none"),
        (lambda: plots.entanglement([1.0], max_bond=0), "`max_bond` must be a positive integer"),
        (lambda: plots.landscape([], 3), "`probs` must be finite numbers, at least one; got none"),
        (lambda: plots.landscape([1.0], 0), "`n_qubits` must be a positive integer; got 0"),
        (
            lambda: plots.weights([1.0], [1.0, 2.0]),
            "`trained` must be as many weights as .*, 1; got 2",
        ),
        (lambda: plots.weights([np.nan], [1.0]), "`generated` must be finite numbers"),
        (lambda: plots.cost([], "x", "y"), "`rows` must be at least one; got none"),
        (lambda: plots.lines([{"x": 1}], "x", "x", log="z"), "`log` must be '', 'x', .*; got 'z'"),
        (lambda: plots.cost([{"x": 1}], "x", "y"), "`key` must be one of x; got 'y'"),
    ],
)
def test_messages(draw: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw()


def compared(*sizes: int) -> list[dict[str, Any]]:
    """Runs of two generators with three seeds, one of them failed."""
    return [
        {
            "generator": name,
            "n_layers": size,
            "n_trainable": 100 * size,
            "failed": "`loss` must be finite." if (name, seed) == ("b", 2) else None,
            "epochs": epochs(3),
            "test_accuracy": 0.8 + 0.05 * seed + 0.01 * size,
        }
        for name in "ab"
        for size in sizes
        for seed in range(3)
    ]


def test_comparison_draws_every_seed_that_did_not_fail() -> None:
    left, right = plots.comparison(compared(2), "a title").axes
    assert [line.get_xdata().tolist() for line in left.lines] == [[1, 2, 3]] * 2
    assert left.lines[0].get_ydata()[-1] == pytest.approx(80)
    assert left.get_xlabel() == "epoch"
    dots = [line.get_xdata() for line in right.lines if line.get_marker() == "o"]
    assert [len(x) for x in dots] == [3, 2]
    assert dots[0] == pytest.approx([82, 87, 92])
    means = [line.get_xdata()[0] for line in right.lines if line.get_marker() == "|"]
    assert means == pytest.approx([87, 84.5])
    assert [label.get_text() for label in right.get_yticklabels()] == ["a", "b"]


def test_comparison_of_several_sizes_is_over_trained_numbers(tmp_path: Path) -> None:
    left, right = plots.comparison(compared(1, 4)).axes
    assert left.get_xlabel() == "trained numbers"
    assert left.lines[0].get_xdata().tolist() == [100, 400]
    assert left.lines[0].get_ydata() == pytest.approx([86, 89])
    largest = [line.get_xdata() for line in right.lines if line.get_marker() == "o"]
    assert largest[0] == pytest.approx([84, 89, 94])
    plots.save(plots.comparison(compared(1, 4)), tmp_path / "compare.png")
    assert (tmp_path / "compare.png").read_bytes()[:4] == b"\x89PNG"


def test_message_of_a_comparison_without_runs() -> None:
    failed = [run | {"failed": "x"} for run in compared(1)]
    for runs in ([], failed):
        with pytest.raises(ValueError, match="`runs` must be at least one; got none"):
            plots.comparison(runs)
