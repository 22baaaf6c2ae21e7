"""Training inside a hybrid job, which is nothing but environment variables."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("braket.jobs", reason="the braket extra is not installed")

from safetensors import safe_open

from qtn_train.braket.run._job import current_job
from qtn_train.cli._hybrid_job import main, read_options
from qtn_train.errors import DataError, JournalError


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that puts this process into a job with these hyperparameters."""

    def enter(device: str = "local:none/none", **parameters: str) -> Path:
        for folder in ("checkpoints", "results"):
            (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / "hp.json").write_text(json.dumps(parameters))
        for name, value in {
            "JOB_NAME": "my-job",
            "DEVICE_ARN": device,
            "HP_FILE": str(tmp_path / "hp.json"),
            "CHECKPOINT_DIR": str(tmp_path / "checkpoints"),
            "JOB_RESULTS_DIR": str(tmp_path / "results"),
        }.items():
            monkeypatch.setenv(f"AMZN_BRAKET_{name}", value)
        return tmp_path

    return enter


def test_outside_of_a_job_it_says_so_and_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AMZN_BRAKET_JOB_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert current_job() is None
    main()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "not inside a Braket hybrid job" in printed.err
    assert list(tmp_path.iterdir()) == []


def test_what_a_job_is_told(job: Any) -> None:
    folder = job("arn:aws:braket:::device/quantum-simulator/amazon/sv1", shots="10")
    found = current_job()
    assert found is not None
    assert found.name == "my-job"
    assert found.device == "arn:aws:braket:::device/quantum-simulator/amazon/sv1"
    assert found.parameters == {"shots": "10"}
    assert found.checkpoints == folder / "checkpoints"
    job()
    local = current_job()
    assert local is not None
    assert local.device == "local:sv"


def test_a_job_on_a_simulator(service: Any, job: Any, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"dataset": "iris", "shots": "50", "layers": "1", "budget_usd": "1"}
    folder = job(service.arn("SV1"), **options, epochs="2")
    main()
    printed = capsys.readouterr().out
    assert printed.count("train_loss=") == printed.count("spent_usd=") == 2
    assert "iteration_number=2;" in printed
    result = json.loads((folder / "results" / "results.json").read_text())
    assert result["dataFormat"] == "plaintext"
    assert len(result["dataDictionary"]["epochs"]) == 2
    assert result["dataDictionary"]["spent_usd"] == str(service.spent())
    checkpoint = json.loads((folder / "checkpoints" / "my-job.json").read_text())
    assert checkpoint["dataFormat"] == "plaintext"
    assert checkpoint["dataDictionary"]["epoch"] == 2
    with safe_open(folder / "results" / "weights.safetensors", framework="pt") as file:
        assert sum(file.get_tensor(name).numel() for name in file.keys()) == 131  # noqa: SIM118


def test_a_job_goes_on_where_another_stopped(service: Any, job: Any) -> None:
    """As with copy_checkpoints_from_job: the folder is there, and nothing is paid twice."""
    options = {"shots": "50", "layers": "1", "budget_usd": "1", "epochs": "2"}
    folder = job(service.arn("SV1"), **options)
    main()
    paid = len(service.ledger())
    result = json.loads((folder / "results" / "results.json").read_text())
    kept = sorted(path.name for path in (folder / "checkpoints").glob("*sqlite*"))
    assert kept == ["braket.sqlite"]  # whole: no log of SQLite's beside it
    for name in ("results.json", "weights.safetensors"):
        (folder / "results" / name).unlink()
    main()
    assert len(service.ledger()) == paid
    assert json.loads((folder / "results" / "results.json").read_text()) == result


def test_a_job_needs_a_budget_on_a_device_that_costs_money(service: Any, job: Any) -> None:
    job(service.arn("SV1"))
    with pytest.raises(ValueError, match="`budget_usd` must be given for SV1"):
        main()


def test_a_journal_of_another_job(service: Any, job: Any) -> None:
    job(service.arn("SV1"), shots="50", layers="1", budget_usd="1", epochs="1")
    main()
    job(service.arn("SV1"), shots="60", layers="1", budget_usd="1", epochs="1")
    with pytest.raises(JournalError, match="with shots = 60; got one with shots = 50"):
        main()


def test_a_job_in_a_reservation_with_tags(service: Any, job: Any) -> None:
    """What ``braket submit`` takes: nothing is charged, and no budget is asked for."""
    reservation = "arn:aws:braket:eu-north-1:123456789012:reservation/abc"
    service.set_price("Garnet", shot="5")
    options = {"shots": "50", "layers": "1", "epochs": "1", "seed": "1"}
    own = {"reservation_arn": reservation, "tags": "project=iris,owner=a b"}
    folder = job(service.arn("Garnet"), **options, **own)
    main()
    rows = service.ledger()
    assert rows
    assert service.spent() == 0
    for row in rows:
        assert row["associations"] == [{"arn": reservation, "type": "RESERVATION_TIME_WINDOW_ARN"}]
        assert {"project": "iris", "owner": "a b"}.items() <= row["tags"].items()
    result = json.loads((folder / "results" / "results.json").read_text())
    assert result["dataDictionary"]["spent_usd"] == "0"
    main()  # nothing of the like is kept in the run's folder: the tasks are the same
    assert service.ledger() == rows


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"shot": "5"}, "`hyperparameter` must be one of dataset, .*; got 'shot'"),
        ({"shots": "many"}, "`shots` must be an integer; got 'many'"),
        ({"lr": "fast"}, "`lr` must be a number; got 'fast'"),
        ({"native": "perhaps"}, "`native` must be true or false; got 'perhaps'"),
        ({"budget_usd": "much"}, "`budget_usd` must be a number; got 'much'"),
        (
            {"tags": "project"},
            "`tags` must be NAME=VALUE,NAME=VALUE, each name once; got 'p",
        ),
        (
            {"tags": "a=1,a=2"},
            "`tags` must be NAME=VALUE,.* each name once; got 'a=1,a=2'",
        ),
    ],
)
def test_hyperparameters_that_are_refused(parameters: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_options(parameters)


def test_a_file_of_hyperparameters_that_cannot_be_read(job: Any) -> None:
    folder = job()
    for content in ("no JSON", '["a", "list"]'):
        (folder / "hp.json").write_text(content)
        with pytest.raises(DataError, match="`AMZN_BRAKET_HP_FILE` must be a JSON file of"):
            current_job()
    (folder / "hp.json").unlink()
    with pytest.raises(DataError, match="AMZN_BRAKET_HP_FILE"):
        current_job()
