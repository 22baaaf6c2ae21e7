"""The folder of a study: whole parts or none, no two runs in one folder, no two studies."""

import errno
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from qtn_train.errors import RunError
from qtn_train.studies import Study, _results, parse_study, read_results, read_study
from qtn_train.studies._results import Store, open_store
from qtn_train.studies._tasks import columns, failure, identity

TEXT = 'study = {measure = "entropy", repeats = 2}\ngrid = {n_qubits = [4, 6], n_layers = 1}\n'


@pytest.fixture
def study() -> Study:
    return parse_study(TEXT, "mine")


def rows(study: Study) -> list[dict[str, Any]]:
    values = {"entropy_mean": 0.5, "largest_bond": 2, "status": "done", "error": None}
    return [identity(task) | values for task in study.tasks()]


def test_rows_come_back_sorted_with_all_columns(study: Study, tmp_path: Path) -> None:
    with open_store(tmp_path / "a" / "b", study, resume=False) as store:
        assert store.fresh
        first, *others = rows(study)
        store.append(others[::-1])
        store.append([first | failure("ValueError: no\n  good")])
        assert store.n_failed == 1
        assert len(store.done) == 4
    frame = read_results(tmp_path / "a" / "b")
    assert list(frame.columns) == list(columns(study.measure))
    assert list(frame["n_qubits"]) == [4, 4, 6, 6]
    assert list(frame["repeat"]) == [0, 1, 0, 1]
    assert frame["error"][0] == "ValueError: no good"
    assert frame["largest_bond"].dtype == "int64"
    # Any other program reads the folder too.
    assert len(pd.read_parquet(tmp_path / "a" / "b" / "results")) == 4
    assert list((tmp_path / "a" / "b" / "unfinished").iterdir()) == []


def test_a_part_that_is_cut_off_is_not_there(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process killed at any moment of writing leaves the part complete, or outside results/."""
    first, second, *_ = rows(study)
    fsync, replace = os.fsync, os.replace
    for name, call in (("fsync", fsync), ("replace", replace)):
        for number in (1, 2):
            out = tmp_path / f"{name}{number}"
            with open_store(out, study, resume=False) as store:
                store.append([first])
                left = number

                def dies(*args: Any, call: Any = call) -> Any:
                    nonlocal left
                    left -= 1
                    if left == 0:
                        raise KeyboardInterrupt
                    return call(*args)

                monkeypatch.setattr(os, name, dies)
                with pytest.raises(KeyboardInterrupt):
                    store.append([second])
                monkeypatch.undo()
            found = read_results(out)
            assert set(found["task"]) - {second["task"]} == {first["task"]}
            with open_store(out, study, resume=True) as again:
                assert set(again.done) == set(found["task"])
                assert list((out / "unfinished").iterdir()) == []


def test_an_interrupted_part_is_not_written_twice(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third, _ = rows(study)

    def interrupt(folder: Path) -> None:
        raise KeyboardInterrupt

    with open_store(tmp_path, study, resume=False) as store:
        store.append([first])
        monkeypatch.setattr(_results, "_sync_folder", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.append([second])
        monkeypatch.undo()
        store.append([second, third])
    found = list(read_results(tmp_path)["task"])
    assert sorted(found) == sorted(row["task"] for row in (first, second, third))


def test_failed_rows_are_taken_out(study: Study, tmp_path: Path) -> None:
    first, second, third, fourth = rows(study)
    with open_store(tmp_path, study, resume=False) as store:
        store.append([first | failure("E: x"), second])
        store.append([third | failure("E: x")])
        store.append([fourth])
        store.forget_failed()
        assert set(store.done) == {second["task"], fourth["task"]}
        store.append([first, third])
    assert read_results(tmp_path)["task"].is_unique
    assert (read_results(tmp_path)["status"] == "done").all()
    assert len(read_results(tmp_path)) == 4


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_full_disk(
    name: str, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_store(tmp_path, study, resume=False) as store:
        store.append(rows(study)[:1])
        monkeypatch.setattr(os, name, full)
        message = r"must be a folder that can be written; got .* \(No space left on device\)\. Noth"
        with pytest.raises(RunError, match=message):
            store.append(rows(study)[1:])
        monkeypatch.undo()
    assert len(read_results(tmp_path)) == 1


def test_a_full_disk_at_the_start_leaves_no_trace(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(RunError, match="No space left on device"),
        open_store(tmp_path / "new", study, resume=False),
    ):
        pass
    monkeypatch.undo()
    with open_store(tmp_path / "new", study, resume=False) as store:
        assert store.fresh


def test_nothing_is_left_of_a_study_that_wrote_nothing(study: Study, tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="stop"),
        open_store(tmp_path / "a" / "b", study, resume=False),
    ):
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def refused(out: Path, study: Study, message: str, resume: bool = False) -> None:
    with pytest.raises(RunError, match=message), open_store(out, study, resume=resume):
        pass


def test_folders_that_are_refused(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_store(out, study, resume=True) as store:
        store.append(rows(study)[:1])
        refused(out, study, "must be a folder of its own; got .*, where a study is running", True)
    refused(out, study, r"which holds a study\. Resume it, or choose another folder")
    other = parse_study(TEXT.replace("[4, 6]", "[4, 7]"), "other")
    message = r"must be a folder of the study other; got .*another one \(entropy, 4 tasks\)"
    refused(out, other, message, True)
    assert read_study(out).hash == study.hash
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").touch()
    for resume in (False, True):
        message = "must be an empty folder; got .*run, which holds run.json"
        refused(tmp_path / "run", study, message, resume)
    (tmp_path / "file").touch()
    refused(tmp_path / "file", study, r"can be written; got .*file \(File exists\)")
    refused(tmp_path / "file" / "x", study, r"can be written; got .*x \(Not a directory\)")


def test_reading_what_is_no_study_or_damaged(study: Study, tmp_path: Path) -> None:
    for read in (read_study, read_results):
        with pytest.raises(FileNotFoundError, match="must be a folder of `qtn-train study run`; g"):
            read(tmp_path / "nothing")
    with open_store(tmp_path / "out", study, resume=False) as store:
        assert isinstance(store, Store)
        store.append(rows(study))
    (part,) = (tmp_path / "out" / "results").glob("*.parquet")
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(RunError, match=r"must be a whole Parquet file; got another\. Delete it"):
        read_results(tmp_path / "out")


def test_parts_of_another_study_are_refused(study: Study, tmp_path: Path) -> None:
    """Copied by hand into one folder: of another measure, or of other points."""
    measure = TEXT.replace("entropy", "gradient-variance")
    points = TEXT.replace("[4, 6]", "[4, 7]")
    for text, found in ((measure, "other columns"), (points, "tasks that the study does not have")):
        out, other = tmp_path / found, parse_study(text, "other")
        with open_store(out, study, resume=False) as store:
            store.append(rows(study))
        with open_store(tmp_path / f"its {found}", other, resume=False) as store:
            store.append([identity(task) | failure("E: x") for task in other.tasks()])
        (part,) = (tmp_path / f"its {found}" / "results").glob("*.parquet")
        copied = part.rename(out / "results" / part.name)
        message = (
            rf"{part.name}` must be rows of the study {found} \(entropy\); got {found}\. Move it to"
            r" the folder of its own study"
        )
        for columns_ in (None, ["task", "status"]):
            with pytest.raises(RunError, match=message):
                read_results(out, columns_)
        refused(out, study, message, resume=True)
        copied.unlink()
        assert len(read_results(out)) == 4


def test_a_task_that_ran_in_two_folders_counts_once(study: Study, tmp_path: Path) -> None:
    first, *others = rows(study)
    for name, given in (("a", [first | failure("E: x"), *others]), ("b", [first, others[0]])):
        with open_store(tmp_path / name, study, resume=False) as store:
            store.append(given)
    (part,) = (tmp_path / "b" / "results").glob("*.parquet")
    for earlier in ("0", "9"):
        part = part.rename(tmp_path / "a" / "results" / f"{earlier}{part.name}")
        frame = read_results(tmp_path / "a")
        assert sorted(frame["task"]) == sorted(row["task"] for row in (first, *others))
        assert (frame["status"] == "done").all()
        with open_store(tmp_path / "a", study, resume=True) as store:
            assert store.n_failed == 0


def test_an_empty_study_reads_as_no_rows(study: Study, tmp_path: Path) -> None:
    with open_store(tmp_path, study, resume=False) as store:
        assert store.done == {}
        assert read_results(tmp_path).empty
        assert list(read_results(tmp_path).columns) == list(columns(study.measure))
        store.append(rows(study)[:1])
