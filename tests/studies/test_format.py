"""Study files: what they mean, and one clear line for each that is wrong."""

import json
from pathlib import Path

import pytest
import tolerances

from qtn_train.recipes import Setting
from qtn_train.studies import MEASURES, load_study, parse_study, ready_made

ENTROPY = 'study.measure = "entropy"\n'


def points(text: str) -> list[tuple[int, int]]:
    study = parse_study(ENTROPY + text)
    return [(point["n_qubits"], point["n_layers"]) for point in study.points]


def test_a_grid_is_all_combinations_in_order() -> None:
    found = points("[grid]\nn_qubits = [4, 6]\nn_layers = [1, 2]")
    assert found == [(4, 1), (4, 2), (6, 1), (6, 2)]


def test_several_grids_are_joined_and_no_point_comes_twice() -> None:
    text = "[[grid]]\nn_qubits = 4\nn_layers = [1, 2]\n[[grid]]\nn_qubits = [4, 5]\nn_layers = 2"
    assert points(text) == [(4, 1), (4, 2), (5, 2)]


def test_a_list_with_settings_of_all_points() -> None:
    text = "[settings]\nn_layers = 3\n[[list]]\nn_qubits = 4\n[[list]]\nn_qubits = 9\nn_layers = 1"
    assert points(text) == [(4, 3), (9, 1)]


def test_a_sample_is_drawn_from_the_seed() -> None:
    text = """
    [sample]
    points = 400
    n_layers = {low = 2, high = 5}
    lr = {low = 1e-4, high = 1e-1, scale = "log"}
    ansatz = ["brickwork", "ry-cx-chain"]
    [settings]
    dataset = "iris"
    """
    study = parse_study('study = {measure = "train", seed = 3}' + text)
    assert study.points == parse_study('study = {measure = "train", seed = 3}' + text).points
    assert study.points != parse_study('study = {measure = "train", seed = 4}' + text).points
    assert {point["n_layers"] for point in study.points} == {2, 3, 4, 5}
    assert {point["ansatz"] for point in study.points} == {"brickwork", "ry-cx-chain"}
    rates = sorted(point["lr"] for point in study.points)
    assert 1e-4 <= rates[0] < 2e-4 < 5e-2 < rates[-1] <= 1e-1
    # In the middle of a logarithmic scale lies the geometric mean.
    assert rates[200] == pytest.approx(10**-2.5, rel=tolerances.MEDIAN_OF_LOGARITHMS)


def test_every_repeat_has_a_seed_that_is_the_same_for_all_points() -> None:
    text = 'study = {measure = "entropy", repeats = 3, seed = 5}\n'
    tasks = list(parse_study(text + "grid = {n_qubits = [4, 5], n_layers = 1}").tasks())
    assert [task.repeat for task in tasks] == [0, 0, 1, 1, 2, 2]
    seeds = {task.repeat: task.seed for task in tasks}
    assert len(set(seeds.values())) == 3
    assert all(task.seed == seeds[task.repeat] for task in tasks)
    # Stored results rely on these: they never change.
    assert seeds == {0: 95682638, 1: 1204185759, 2: 2098030877}
    assert tasks[0].id == "fbc10adab4b9da36374b"
    assert len({task.id for task in tasks}) == 6


def test_the_hash_is_that_of_the_content() -> None:
    one = parse_study(ENTROPY + "[grid]\nn_qubits = [4, 6]\nn_layers = 1")
    same = parse_study("# why\n" + ENTROPY + "grid = {n_layers = 1, n_qubits = [4, 6]}")
    other = parse_study(ENTROPY + "[grid]\nn_qubits = [4, 7]\nn_layers = 1")
    assert one.hash == same.hash != other.hash


@pytest.mark.parametrize("name", sorted(ready_made()))
def test_ready_made_studies_are_right(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    assert 1 < len(study) <= 5000
    assert {task.measure for task in study.tasks()} == {study.measure.name}


def test_there_is_a_ready_made_study_of_each_measure() -> None:
    assert {load_study(name).measure.name for name in ready_made()} == set(MEASURES)


def test_a_file_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "entropy").write_text(ENTROPY + "grid = {n_qubits = 4, n_layers = 1}")
    monkeypatch.chdir(tmp_path)
    assert len(load_study("entropy")) == 1


GRID = ENTROPY + "[grid]\nn_qubits = 4\nn_layers = 1\n"
TRAIN = 'study.measure = "train"\n[grid]\ndataset = "iris"\n'

WRONG = {
    "[study\n": r"^`study` must be a TOML file; got expected ']' .*line 1",
    "[gird]\n": r"^`a table of the study file` must be one of .*; got 'gird'\. Did you mean grid\?",
    "": r"^`\[study\]` must be there, with the key measure; got none\. It is one of train, grad",
    "study.repeats = 1": r"must be there, with the key measure",
    "study = {measure = 'entropy', repeat = 1}": r"got 'repeat'\. Did you mean repeats\?",
    "study = {measure = 'entrpy'}": r"`measure` must be one of .*'entrpy'\. Did you mean entropy\?",
    "study = {measure = 'entropy', repeats = 0}": "`repeats` must be an integer of at least 1; got",
    "study = {measure = 'entropy', seed = -1}": "`seed` must be an integer of at least 0; got -1",
    ENTROPY: r"^`the study` must be made of one of \[grid\], .*; got none of them\.$",
    GRID + "[[list]]\nn_qubits = 4": r"got \[grid\] and \[list\]",
    GRID + "n_qbits = 4": "^`a setting of entropy` must be one of ansatz, .*'n_qbits'. Did you mea",
    ENTROPY + "[grid]": r"`\[grid\]` must be a table with at least one setting; got none",
    ENTROPY + "grid = []": r"`\[grid\]` must be at least one point; got none",
    ENTROPY + "grid = 3": r"`\[grid\]` must be a table of settings; got something else",
    ENTROPY + "grid.n_qubits = []": r"`\[grid\] n_qubits` must be a list of at least one value",
    ENTROPY + "grid.n_qubits = 4": "`n_layers` must be given in the study file; got nothing",
    ENTROPY + "grid.n_qubits = [4.5]": "`n_qubits` must be an integer from 1 to 4,096; got 4.5",
    ENTROPY + "grid.n_qubits = [true]": "`n_qubits` must be an integer from 1 to 4,096; got True",
    ENTROPY + "grid.ansatz = 'brickwrk'": "'brickwrk'. Did you mean brickwork?",
    ENTROPY + "grid.ansatz = 3": "`ansatz` must be one of u3-cu3-ring, .*; got 3",
    ENTROPY + "sample = [{points = 1}]": r"`\[sample\]` must be one table; got several",
    ENTROPY + "sample.n_qubits = 4": r"`\[sample\] points` must be an integer of at least 1; got",
    ENTROPY + "sample = {points = 2000000, n_qubits = 4}": "at most 1,000,000 points; got 2,0",
    ENTROPY + "sample = {points = 2, n_qubits = []}": r"`\[sample\] n_qubits` must be a list of at",
    ENTROPY + "sample = {points = 2, n_qubits = {low = 5, high = 4}}": "two numbers low <= high",
    ENTROPY + "sample = {points = 2, n_qubits = {low = 5}}": "`n_qubits.high` must be an integer",
    ENTROPY + "sample = {points = 2, n_qubits = {min = 5}}": "must be one of low, high, scale; got",
    TRAIN + "max_bond = 8": "`engine` must be 'mps' with max_bond; got 'auto'",
    TRAIN + "gradient = 'spsa'": "`gradient` must be given with shots; got no shots",
    TRAIN + "bond_dim = 3": "`mapping` must be 'tensor-train' with bond_dim; got 'mlp'",
    TRAIN + "n_qubits = 7": "`n_qubits` must be at least 8; got 7. 131 weights need 8 qubits",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_files(text: str) -> None:
    with pytest.raises(ValueError, match=WRONG[text]) as caught:
        parse_study(text)
    assert "\n" not in str(caught.value)


def test_a_huge_grid_is_refused_before_it_is_made() -> None:
    values = json.dumps(list(range(1, 1002)))
    text = f"[grid]\nn_layers = {values}\nn_qubits = {values}"
    with pytest.raises(ValueError, match=r"at most 1,000,000 points; got 1,002,001\. Split it"):
        parse_study(ENTROPY + text)
    both = f"[[grid]]\nn_qubits = 1\nn_layers = {values}\n" * 2
    assert len(parse_study(ENTROPY + both)) == 1001


def test_neither_file_nor_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"'gradient-varianc'\. Did you mean gradient-"):
        load_study("gradient-varianc")
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"x\.toml` must be UTF-8 text; got other bytes"):
        load_study(tmp_path / "x.toml")


def test_ranges_in_words() -> None:
    assert Setting(float, low=0, high=0.5).expected() == "a number from 0 to 0.5"


def test_points_are_checked_without_building_their_circuits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from qtn_train.circuits import ANSATZE

    def build(*_: object) -> None:
        raise AssertionError("no circuit is built to be counted")

    for name in ANSATZE:
        monkeypatch.setitem(ANSATZE, name, build)
    deep = 'study.measure = "{}"\ngrid = {{{}n_layers = {}}}\n'
    for measure, more in (
        ("train", 'dataset = "iris", '),
        ("shots", 'dataset = "iris", shots = 5, '),
        ("entropy", "n_qubits = 8, "),
        ("cost", "n_qubits = 8, "),
        ("truncation", "n_qubits = 8, max_bond = 4, "),
        ("gradient-variance", "n_qubits = 8, "),
        ("probabilities", "n_qubits = 8, "),
    ):
        assert len(parse_study(deep.format(measure, more, 100_000))) == 1
        for n_layers, actual in ((100_001, "100001"), (400_000, "400000"), (10**30, "a larger nu")):
            expected = f"`n_layers` must be an integer from 1 to 100,000; got {actual}"
            with pytest.raises(ValueError, match=expected):
                parse_study(deep.format(measure, more, n_layers))
    with pytest.raises(ValueError, match="`n_layers` must be at most 244 on 4,096 qubits; got 300"):
        parse_study(deep.format("entropy", "n_qubits = 4096, ", 300))
    with pytest.raises(ValueError, match="`n_layers` must be at most 250 on 4,000 qubits; got 300"):
        parse_study(deep.format("train", 'dataset = "iris", n_qubits = 4000, ', 300))
