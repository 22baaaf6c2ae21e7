"""The benchmark of shots and noise: what it computes, in miniature, and what it stores."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
import torch

from experiments import shot_measures, shots
from qtn_train import plots
from qtn_train.engines import StatevectorEngine

ROOT = Path(__file__).parents[2]
NETWORK = shot_measures.Network("iris", "ry-cx-chain", 1, 1)


def test_more_shots_less_error() -> None:
    model = shot_measures.make(NETWORK, 0)
    data = shot_measures.data_of("iris")
    few, many, exact = (
        shot_measures.regenerated(model, shot_measures.noisy(n, 3), data) for n in (10**3, 10**5, 0)
    )
    assert few["weight_error"] > 3 * many["weight_error"] > 0
    assert exact["weight_error"] < 1e-6
    assert (few["draws"], exact["draws"]) == (3, 1)
    assert isinstance(model.generator.engine, StatevectorEngine) or few["feature_error"] > 0


def test_bias_and_its_floor() -> None:
    truth = torch.tensor([3.0, 4.0]).double()
    rng = np.random.default_rng(0)
    drawn = truth * 1.2 + torch.from_numpy(rng.normal(size=(4000, 2)))
    row = shot_measures.compare("angles", truth, drawn)
    assert row["angles_bias"] == pytest.approx(0.2, abs=tolerances.of_draws(4000, 0.2))
    assert row["angles_slope"] == pytest.approx(1.2, abs=tolerances.of_draws(4000, 0.2))
    assert row["angles_deviation"] == pytest.approx(
        2**0.5 / 5, rel=tolerances.of_draws(8000, 0.5**0.5)
    )
    assert row["angles_bias_floor"] == pytest.approx(row["angles_deviation"] / 4000**0.5)
    unbiased = shot_measures.compare("angles", truth, drawn - 0.2 * truth)
    assert unbiased["angles_bias"] < 2 * row["angles_bias_floor"]


def test_an_estimate_at_very_many_shots_is_the_gradient() -> None:
    model = shot_measures.make(NETWORK, 0)
    row = shot_measures.estimates(model, shot_measures.data_of("iris"), 10**12, 0.5, 3)
    assert row["angles_bias"] + row["angles_deviation"] < 1e-3
    assert row["angles_slope"] == pytest.approx(1, abs=tolerances.MANY_SHOTS)
    assert abs(row["loss_bias"]) < 1e-4


def test_fits_find_what_was_put_in() -> None:
    rows = []
    for shots_ in shot_measures.SHOTS:
        ratio = shots_ / 2**8
        row = {"dataset": "iris", "seed": 0, "n_qubits": 8, "shots": shots_, "smoothing": 0.0}
        row |= {"feature_error": 1.1 * ratio**-0.5, "weight_error": 2 * ratio**-0.6}
        rows.append(row | {"test_accuracy": 0.95 - 0.04 / ratio})
    rows.append({**rows[0], "shots": 0, "test_accuracy": 0.95})
    found = shot_measures.fits(rows)
    assert found["feature_error"] == pytest.approx({"a": 1.1, "b": 0.5})
    assert found["weight_error"] == pytest.approx({"a": 2.0, "b": 0.6})
    assert 3.9 < found["shots_per_outcome_iris"] < 40


def test_global_noise_is_that_of_the_gates_where_nothing_follows_them() -> None:
    pytest.importorskip("braket")
    from qtn_train.circuits import Circuit

    circuit = Circuit.builder(2).h(0).h(1).cx(0, 1).ry(0).build()
    row = shot_measures.deviation(circuit, np.array([0.4]), 0.01)
    # One gate on all qubits: both say the same.
    assert row["distance_model"] < 1e-6
    assert row["kept_fitted"] == pytest.approx(row["kept"], abs=tolerances.SINGLE)
    assert row["two_qubit_error"] == pytest.approx(16 / 15 * 0.01)


def test_rows_replace_those_of_the_same_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = 1.0

    def measure(dataset: str) -> Any:
        yield {"dataset": dataset, "seed": 0, "shots": 10, "point": "start", "value": value}

    part = shots.PARTS["gradient"]._replace(measure=measure)
    monkeypatch.setitem(shots.PARTS, "gradient", part)
    for dataset, value in (("iris", 1.0), ("digits", 2.0), ("iris", 3.0)):  # noqa: B007
        shots.run("gradient", dataset, tmp_path)
    stored = json.loads((tmp_path / "shots-gradient.json").read_text())
    assert {row["dataset"]: row["value"] for row in stored["rows"]} == {"iris": 3.0, "digits": 2.0}
    assert stored["rows"][0]["case"] == "digits, before training"
    assert stored["command"] == "python -m experiments.shots --parts gradient"
    assert set(stored) >= {"title", "notes", "columns", "figure", "seconds", "versions"}


@pytest.mark.parametrize("part", shots.PARTS)
def test_what_is_stored_is_whole(part: str) -> None:
    stored = json.loads((ROOT / "docs" / "results" / f"shots-{part}.json").read_text())
    seeds: dict[Any, set[int]] = {}
    for row in stored["rows"]:
        assert row["case"] == shots.case(part, row)
        assert set(stored["columns"]) <= set(row)
        key = (row["case"], row.get("shots"), row.get("error"), row.get("pauli_error"))
        seeds.setdefault(key, set()).add(row["seed"])
    assert all(found == {0, 1, 2} for found in seeds.values())
    assert {row.get("dataset", "") for row in stored["rows"]} == set(shots.PARTS[part].datasets)


def test_the_figure(tmp_path: Path) -> None:
    results = {part: shots.stored(part, ROOT / "docs" / "results") for part in shots.PARTS}
    plots.save(plots.shots(results), tmp_path / "full.png")
    empty = {part: {"rows": []} for part in shots.PARTS}
    plots.save(plots.shots(empty), tmp_path / "empty.png")
    sizes = [(tmp_path / f"{name}.png").stat().st_size for name in ("full", "empty")]
    assert sizes[0] > 1.5 * sizes[1] > 10_000
