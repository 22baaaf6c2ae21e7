"""Summaries, fits, tables and figures, from rows with known answers."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances

from qtn_train import plots
from qtn_train.studies import (
    MEASURES,
    draw,
    parse_study,
    read_study,
    ready_made,
    summarize,
    table,
)
from qtn_train.studies._fit import fit_decay, fitted, variance_error
from qtn_train.studies._page import page
from qtn_train.studies._results import open_store
from qtn_train.studies._summary import axis, lines
from qtn_train.studies._tasks import failure, identity

NS = [4, 8, 12, 16]


def stored(out: Path, bits: float = 1.0, marked: int | None = None) -> dict[str, Any]:
    """A gradient variance that falls by ``bits`` a qubit for one ansatz, and not for the other."""
    study = parse_study(
        'study = {measure = "gradient-variance", repeats = 40}\n'
        f'grid = {{n_qubits = {NS}, ansatz = ["brickwork", "ry-cx-chain"], n_layers = 2}}'
    )
    rng = np.random.default_rng(1)
    rows = []
    for task in study.tasks():
        n = task.settings["n_qubits"]
        flat = task.settings["ansatz"] == "ry-cx-chain"
        scale = 1.0 if flat else 2 ** (-bits * n / 2)
        values = {
            "gradient_z": scale * rng.normal(),
            "gradient_p0": scale * rng.normal(),
            "truncation_error": 0.5 if n == marked else 0.0,
            "status": "done",
        }
        rows.append(identity(task) | values | {"seconds": 0.25})
    with open_store(out, study, resume=False) as store:
        store.append(rows[:-1])
        store.append([rows[-1] | failure("OSError: gone")])
    return summarize(out)


def test_the_summary_counts_and_fits(tmp_path: Path) -> None:
    summary = stored(tmp_path)
    assert (summary["total"], summary["done"], summary["failed"], summary["missing"]) == (
        320, 319, 1, 0,
    )  # fmt: skip
    (failed,) = summary["failures"]
    assert failed["error"] == "OSError: gone"
    assert failed["count"] == 1
    assert failed["first"]["repeat"] == 39
    assert summary["fixed"] == {"n_layers": 2, "engine": "auto", "max_bond": 256}
    assert summary["seconds"] == 80
    assert [point["repeats"] for point in summary["points"]] == [40] * 7 + [39]
    fits = {(fit["value"], fit["line"]): fit for fit in summary["fits"]}
    for value in ("gradient_z", "gradient_p0"):
        falling, flat = fits[value, "brickwork"], fits[value, "ry-cx-chain"]
        assert falling["decay"] == "exponential"
        law = falling["exponential"]
        assert abs(law["bits_per_qubit"] - 1) < 3 * law["se"]
        assert law["se"] < 0.1
        assert law["chi2"] < falling["polynomial"]["chi2"]
        assert flat["decay"] == "none"
    json.dumps(summary, allow_nan=False)


def test_a_marked_point_is_never_fitted(tmp_path: Path) -> None:
    summary = stored(tmp_path, marked=16)
    assert [point["marked"] for point in summary["points"]] == [False] * 6 + [True] * 2
    assert {fit["points"] for fit in summary["fits"]} == {3}
    text = table(summary, MEASURES["gradient-variance"])
    lines = text.splitlines()
    assert lines[0].split()[:3] == ["n_qubits", "ansatz", "repeats"] or "ansatz" in lines[0]
    assert sum("*" in line for line in lines) == 3
    assert lines[-1] == "* truncation error above 0.01: marked, and not fitted"


def test_figures_show_what_is_there(tmp_path: Path) -> None:
    summary = stored(tmp_path, marked=16)
    path = tmp_path / "figure.png"
    plots.save(draw(summary, MEASURES["gradient-variance"], "title"), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size < 150_000
    # The stored JSON draws the same figure.
    again = tmp_path / "again.png"
    twin = json.loads(json.dumps(summary))
    plots.save(draw(twin, MEASURES["gradient-variance"], "title"), again)
    assert again.read_bytes() == path.read_bytes()


def test_a_study_without_results(tmp_path: Path) -> None:
    study = parse_study('study.measure = "entropy"\ngrid = {n_qubits = [4, 5], n_layers = 1}')
    with open_store(tmp_path, study, resume=False) as store:
        assert not store.done
        summary = summarize(tmp_path)
        assert (summary["missing"], summary["points"], summary["fits"]) == (2, [], [])
        assert table(summary, read_study(tmp_path).measure) == "no results yet"
        store.append([identity(task) | failure("E: x") for task in study.tasks()])
    assert summarize(tmp_path)["points"] == []


def test_settings_that_are_missing_are_a_point_of_their_own(tmp_path: Path) -> None:
    text = 'study = {measure = "train", repeats = 2}\n[[list]]\ndataset = "iris"\n[[list]]\n'
    study = parse_study(text + 'dataset = "iris"\nn_layers = 3')
    with open_store(tmp_path, study, resume=False) as store:
        values = {"test_accuracy": 0.5, "status": "done"}
        store.append([identity(task) | values for task in study.tasks()])
    points = summarize(tmp_path)["points"]
    assert [point["settings"] for point in points] == [{"n_layers": None}, {"n_layers": 3}]
    assert [point["repeats"] for point in points] == [2, 2]
    summary = summarize(tmp_path)
    assert "0.5 ± 0" in table(summary, MEASURES["train"])
    plots.save(draw(summary, MEASURES["train"]), tmp_path / "figure.png")


def test_theaxis_is_a_setting_that_varies(tmp_path: Path) -> None:
    text = 'study.measure = "train"\n[grid]\ndataset = "iris"\nrecipe = ["default", "published"]\n'
    study = parse_study(text + "lr = [1e-4, 1e-2]\n")
    with open_store(tmp_path, study, resume=False) as store:
        values = {"test_accuracy": 0.5, "test_loss": 1.0, "status": "done"}
        store.append([identity(task) | values for task in study.tasks()])
    summary = summarize(tmp_path)
    assert axis(summary, MEASURES["train"]) == ("lr", True)
    assert set(lines(summary, "lr")) == {"default", "published"}
    plots.save(draw(summary, MEASURES["train"]), tmp_path / "figure.png")
    summary["points"] = summary["points"][:1]
    summary["points"][0]["settings"] = {"recipe": "default"}
    assert axis(summary, MEASURES["train"]) == ("n_layers", False)


def test_the_results_pages_can_draw_it(tmp_path: Path) -> None:
    summary = stored(tmp_path, marked=16)
    content = page(summary, MEASURES["gradient-variance"])
    assert content["command"].startswith("qtn-train study run study.toml --out DIR")
    assert len(content["rows"]) == 8
    assert sum(row["marked"] for row in content["rows"]) == 2
    assert set(content["columns"]) <= set(content["rows"][0])
    for options in content["figure"]:
        assert plots.lines(content["rows"], **options).get_axes()
    summary["study"] = ready_made()["entropy"]
    assert "study run entropy --out" in page(summary, MEASURES["gradient-variance"])["command"]


def test_a_power_is_told_from_an_exponential() -> None:
    ns = [4, 8, 16, 32, 64]
    powers = [float(n) ** -2 for n in ns]
    fit = fit_decay(ns, powers, [0.05 * v for v in powers])
    assert fit is not None
    assert fit["decay"] == "polynomial"
    assert fit["polynomial"]["power"] == pytest.approx(2)
    assert fitted(fit, 10) == pytest.approx(0.01)
    exponential = [2.0**-n for n in ns]
    fit = fit_decay(ns, exponential, [0.05 * v for v in exponential])
    assert fit is not None
    assert fitted(fit, 10) == pytest.approx(2.0**-10)
    assert fit_decay([4, 4, 8], [1, 1, 1], [0, 0, 0]) is None
    assert fit_decay([4, 8, 16], [1, 1, 0], [0, 0, 0]) is None


def test_the_standard_error_of_a_variance() -> None:
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(400, 50))
    spread = draws.var(axis=1, ddof=1).std()
    assert np.mean([variance_error(row) for row in draws]) == pytest.approx(
        spread, rel=tolerances.of_draws(800, 0.5)
    )
    assert spread == pytest.approx(math.sqrt(2 / 50), rel=tolerances.of_draws(800))
    assert variance_error(np.array([3.0])) == 0


def test_two_settings_take_color_and_dashes_and_what_was_cut_is_hollow(tmp_path: Path) -> None:
    study = parse_study(
        'study.measure = "geometry"\n[grid]\nengine = ["mps", "contraction", "statevector"]\n'
        'geometry = ["chain", "ring", "grid"]\nn_layers = 2\nn_qubits = [9, 16]'
    )
    with open_store(tmp_path, study, resume=False) as store:
        rows = []
        for task in study.tasks():
            error = 0.5 if task.settings["engine"] == "mps" else 0.0
            values = {"processor_s": 0.1, "truncation_error": error, "status": "done"}
            rows.append(identity(task) | values)
        store.append(rows)
    summary, measure = summarize(tmp_path), MEASURES["geometry"]
    assert sum(point["marked"] for point in summary["points"]) == 6
    picture = draw(summary, measure)
    left, right = picture.axes
    named = [line for line in left.lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in named][:2] == ["chain, mps", "ring, mps"]
    looks = [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in named]
    assert len(set(looks)) == 9
    assert len({color for color, _, _ in looks}) == len({dash for _, _, dash in looks}) == 3
    assert [line.get_markerfacecolor() for line in named].count("white") == 3
    # The exact engines' errors are 0: nothing of them stands on the logarithmic axis.
    assert not np.isfinite(right.transData.transform((9, 0.0))[1])


def test_what_a_study_of_truncation_cuts_is_not_marked() -> None:
    assert [name for name, measure in MEASURES.items() if measure.cuts] == ["truncation"]
