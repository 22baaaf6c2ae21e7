"""The experiment on correlators: products, shots for a point, and runs that are not repeated."""

import json
from pathlib import Path

import pytest
import tolerances
import torch

from experiments import correlator_tables, correlators
from qtn_train.engines import StatevectorEngine
from qtn_train.measurements import PauliCorrelators


def test_products_are_those_of_one_body_values_mixed_like_pairs() -> None:
    options = correlators.options_of("iris", 1, None)
    like = options.model().generator
    model = correlators.products_of(options)
    generator = model.generator.eval()
    assert model.n_trainable == 130
    state = StatevectorEngine().prepare(generator.circuit, generator.angles)
    single = state.correlators(1).view(3, 10)
    pairs = [(i, j) for i in range(10) for j in range(i + 1, 10) if j - i <= 8]
    products = torch.stack([single[k, i] * single[k, j] for k in range(3) for i, j in pairs])
    assert like.n_values == len(products)
    expected = like.mapping(0, products / 0.1).reshape(-1)[:131]
    torch.testing.assert_close(generator(), expected, atol=10 * tolerances.SINGLE, rtol=0)


@pytest.mark.parametrize(
    ("curve", "wanted", "shots"),
    [
        ({"100": 50.0, "10000": 90.0}, 70.0, 1000),
        ({"100": 95.0, "1000": 96.0}, 94.0, 100),
        ({"100": 50.0, "1000": 60.0}, 94.0, None),
        ({"10": 95.0, "100": 80.0, "1000": 90.0, "10000": 90.0}, 85.0, 316),
    ],
)
def test_shots_for_an_accuracy(curve: dict[str, float], wanted: float, shots: int | None) -> None:
    assert correlators.shots_for(curve, wanted) == shots


def test_probabilities_of_equal_size() -> None:
    options = correlators.options_of("digits", 0, None)
    n = options.model().n_trainable
    plain = correlators.probabilities_of(options, n)
    assert isinstance(options.measurement(), PauliCorrelators)
    assert abs(plain.model().n_trainable - n) <= plain.circuit().n_qubits // 2 + 1


def test_a_run_whose_row_is_there_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def worth(dataset: str, name: str, seed: int, epochs: int | None) -> correlators.Row:
        made.append((dataset, name, seed, epochs))
        row = {"n_weights": 131, "n_trainable": 130, "epochs": 3}
        return row | {"test_accuracy": 90.0 + seed}

    monkeypatch.setattr(correlators, "worth", worth)
    line = ["worth", "--datasets", "iris", "--out", str(tmp_path), "--epochs", "3", "--seeds"]
    correlators.main([*line, "0"])
    n_runs = 3 + len(correlators.CONTROLS)
    assert len(made) == n_runs
    correlators.main([*line, "0", "2"])
    assert len(made) == 2 * n_runs
    assert {seed for _, _, seed, _ in made[n_runs:]} == {2}
    stored = json.loads((tmp_path / "correlators-worth.json").read_text())
    assert stored["command"] == "python -m experiments.correlators worth"
    first = stored["rows"][0]
    assert (first["mean"], first["deviation"], first["seeds"]) == (91.0, 1.41, 2)


def test_counts_of_a_trained_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlators, "SHOTS", (10, 10**5))
    monkeypatch.setattr(correlators, "DRAWS", 1)
    row = correlators.counted("iris", "pauli-2", 0, 4)
    assert row["n_trainable"] == 130
    assert set(row["from_counts"]) == {"10", "100000"}
    assert abs(row["from_counts"]["100000"] - row["exact"]) < 10
    needed = row["shots_for_a_point"]
    assert row["shots_in_all"] == (None if needed is None else 3 * needed)


def test_the_wide_network_is_read_off_100_qubits() -> None:
    model, config = correlators.wide_model("pauli-2", 0)
    assert (model.n_weights, model.n_trainable) == (101_770, 1300)
    assert config.epochs == correlators.WIDE_EPOCHS


def test_the_figure_of_laws_leaves_out_variants_and_what_was_not_reached() -> None:
    rows = [
        {"weights": "pauli-2", "n_weights": 131, "shots_in_all": 900},
        {"weights": "pauli-2, 2 layers", "n_weights": 131, "shots_in_all": 900},
        {"weights": "probabilities", "n_weights": 131, "shots_in_all": None},
    ]
    assert correlator_tables.laws(rows) == rows[:1]


def test_shots_of_several_seeds_are_their_median() -> None:
    assert correlator_tables.middle([1014, None, 3345]) == 3345
    assert correlator_tables.middle([None, 1014, None]) is None
    assert correlator_tables.middle([13, 9]) == 13


def test_folds_are_read_exactly_and_from_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlators, "FOLD_DRAWS", 1)
    row = correlators.folded(0, 2)
    assert row["n_trainable"] == 130
    assert 30 < row["exact"] <= 100
    assert 20 < row["from_counts"] <= 100
    exactly, counted = correlator_tables.summary("folds", [row, row | {"exact": row["exact"] - 1}])
    assert exactly == {
        "weights": "exactly",
        "mean": row["exact"] - 0.5,
        "deviation": 0.71,
    }
    assert counted["deviation"] == 0


def test_training_from_counts_tells_its_circuits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlators, "FOLD_SHOTS", 50)
    monkeypatch.setattr(correlators, "FOLD_DRAWS", 1)
    row = correlators.trained_by("spsa", 0, 2)
    assert (row["steps"], row["circuits"]) == (2, 2 * (3 + 6))
    assert 0 < row["at_the_end"] <= 100
    other = row | {"at_the_end": row["at_the_end"] - 1}
    runs = [
        {"dataset": "iris", "weights": "spsa", "seed": s} | r for s, r in ((0, row), (1, other))
    ]
    (told,) = correlator_tables.summary("trained", runs)
    assert told["worst"] == other["at_the_end"]
    assert (told["circuits"], told["seeds"], told["deviation"]) == (18, 2, 0.71)
    assert 0 < told["from_counts"] <= 100
