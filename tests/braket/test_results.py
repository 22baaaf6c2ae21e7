"""Raw results as the service's schemas have them, and worse."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from qtn_train.braket.run._results import ROOT, Failure, Unread, gather, read_counts, seconds_of
from qtn_train.measurements._counts import Counts

BITS = [[0, 1], [0, 1], [1, 1]]


def single(**entry: Any) -> dict[str, str]:
    default = {"taskMetadata": {"shots": 3}, "additionalMetadata": {}, "measuredQubits": [4, 7]}
    return {ROOT: json.dumps(default | entry)}


def several(executables: list[Any], size: int | None = None) -> dict[str, str]:
    metadata = {"requestedShots": 3 * (size or len(executables))}
    metadata |= {"programMetadata": [{"executables": [{}] * (size or len(executables))}]}
    programs = [{"executableResults": executables}]
    return {ROOT: json.dumps({"taskMetadata": metadata, "programResults": programs})}


def shown(found: Counts | str) -> Any:
    return found if isinstance(found, str) else (found.outcomes.tolist(), found.counts.tolist())


def test_columns_go_where_their_labels_say() -> None:
    (straight,) = read_counts(single(measurements=BITS), 1, (4, 7))
    assert shown(straight) == ([1, 3], [2, 1])
    (crossed,) = read_counts(single(measurements=BITS), 1, (7, 4))
    assert shown(crossed) == ([2, 3], [2, 1])
    (one,) = read_counts(single(measurements=BITS), 1, (7,))  # others are summed over
    assert shown(one) == ([1], [3])


def test_probabilities_are_counts_divided_by_the_shots() -> None:
    shares = {"01": 2 / 3, "11": 1 / 3, "00": 0.0}
    (found,) = read_counts(single(measurements=None, measurementProbabilities=shares), 1, (4, 7))
    assert shown(found) == ([1, 3], [2, 1])


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"measurements": []}, "it holds no counts"),
        ({"measurements": None}, "it holds no counts"),
        ({"measurements": BITS, "measuredQubits": [4, 5]}, "it measured the qubits [4, 5], not"),
        ({"measurements": BITS, "measuredQubits": None}, "it measured the qubits [], not [4, 7]"),
        ({"measurements": [[0, 1], [0, 2]]}, "it holds bits that are neither 0 nor 1"),
        ({"measurements": [[0, 1], [0.7, 256]]}, "it holds bits that are neither 0 nor 1"),
        ({"measurementProbabilities": {"02": 1.0}}, "it holds bits that are neither 0 nor 1"),
        ({"measurementProbabilities": {"01": -1.0}}, "it holds no counts"),
    ],
)
def test_results_without_counts(entry: dict[str, Any], reason: str) -> None:
    (found,) = read_counts(single(**entry), 1, (4, 7))
    assert isinstance(found, Unread)
    assert found.startswith(reason)


def test_executables_stand_where_their_inputs_stood() -> None:
    failure = {"failureReason": "laser off", "retryable": True, "category": "DEVICE"}
    entries = [
        {"inputsIndex": 2, "measurements": BITS, "measuredQubits": [0, 1]},
        {"inputsIndex": 0, "failureMetadata": failure},
    ]
    for wrong in (-1, 3, "1", None):  # no place among the three
        assert (
            "cannot be read"
            in read_counts(several([entries[0] | {"inputsIndex": wrong}], 3), 3, (0, 1))[0]
        )
    found = read_counts(several(entries, 3), 3, (0, 1))
    assert [type(one) for one in found] == [Failure, Unread, Counts]
    assert [shown(one) for one in found] == [
        "DEVICE: laser off",
        "it has no result",
        ([1, 3], [2, 1]),
    ]


def test_files_are_followed_and_missing_ones_told() -> None:
    member = {"inputsIndex": 1, "measurements": BITS, "measuredQubits": [0, 1]}
    metadata = {"requestedShots": 6, "programMetadata": [{"executables": [{}, {}]}]}
    root = {
        "s3Location": ["b", "t"],
        "taskMetadata": "meta.json",
        "programResults": ["p/0/" + ROOT],
    }
    stored = {
        ROOT: json.dumps(root),
        "meta.json": json.dumps(metadata),
        "p/0/" + ROOT: json.dumps({"executableResults": ["0.json", "1.json"]}),
        "p/0/1.json": json.dumps(member),
    }

    def read(names: Sequence[str], there: dict[str, str] = stored) -> dict[str, str]:
        return {name: there[name] for name in names if name in there}

    files = gather(read)
    assert files == stored
    first, second = read_counts(files, 2, (0, 1))
    assert (type(first), first) == (Unread, "p/0/0.json is missing")
    assert shown(second) == ([1, 3], [2, 1])
    for name in (ROOT, "meta.json", "p/0/" + ROOT):
        rest = {key: text for key, text in stored.items() if key != name}
        partial = gather(lambda names, rest=rest: read(names, rest))
        assert set(read_counts(partial, 2, (0, 1))) == {Unread(f"{name} is missing")}
        asked: list[str] = []
        again = gather(lambda names, asked=asked: asked.extend(names) or read(names), partial)
        assert again == stored
        assert name in asked
        assert not set(asked) & set(partial)  # what was read is not read again


@pytest.mark.parametrize(
    "text", ["", "{}", "null", "[]", "3", '"text"', '{"taskMetadata": 3}', "[" * 5000, '{"a": 1']
)
@pytest.mark.parametrize("name", [ROOT, "meta.json", "p/0/" + ROOT, "p/0/0.json", "p/0/1.json"])
def test_no_file_is_trusted(name: str, text: str) -> None:
    """Whatever a file holds, its executables are unread, and the others are there."""
    member = {"measurements": BITS, "measuredQubits": [0, 1]}
    metadata = {"requestedShots": 6, "programMetadata": [{"executables": [{}, {}]}]}
    root = {
        "s3Location": ["b", "t"],
        "taskMetadata": "meta.json",
        "programResults": ["p/0/" + ROOT],
    }
    stored = {
        ROOT: json.dumps(root),
        "meta.json": json.dumps(metadata),
        "p/0/" + ROOT: json.dumps({"executableResults": ["0.json", "1.json"]}),
        "p/0/0.json": json.dumps(member | {"inputsIndex": 0}),
        "p/0/1.json": json.dumps(member | {"inputsIndex": 1}),
    }
    stored[name] = text
    found = read_counts(
        gather(lambda names: {n: stored[n] for n in names if n in stored}), 2, (0, 1)
    )
    unread = [isinstance(one, Unread) for one in found]
    numbers = {"p/0/0.json": [True, False], "p/0/1.json": [False, True]}
    assert unread == numbers.get(name, [True, True])


def test_the_metadata_say_which_executables_failed() -> None:
    failure = {"failureReason": "laser off", "retryable": True, "category": "DEVICE"}
    notes = [failure, {"status": "CANCELLED"}, {}]
    metadata = {"requestedShots": 9, "programMetadata": [{"executables": notes}]}
    root = {"taskMetadata": metadata, "programResults": [{"executableResults": []}]}
    found = read_counts({ROOT: json.dumps(root)}, 3, (0, 1))
    assert found == ["DEVICE: laser off", "CANCELLED", "it has no result"]
    assert [type(one) for one in found] == [Failure, Failure, Unread]


def test_seconds_of_a_simulator() -> None:
    metadata = {"simulatorMetadata": {"executionDuration": 3456}}
    assert str(seconds_of(single(additionalMetadata=metadata))) == "3.456"
    assert seconds_of(single()) == 0


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        [1],
        {"simulatorMetadata": [1]},
        *[
            {"simulatorMetadata": {"executionDuration": milliseconds}}
            for milliseconds in (None, "long", -5, float("inf"), float("nan"))
        ],
    ],
)
def test_seconds_that_cannot_be_read(metadata: Any) -> None:
    found = seconds_of(single(additionalMetadata=metadata))
    assert isinstance(found, Unread)
    assert found.startswith(f"{ROOT} cannot be read")
