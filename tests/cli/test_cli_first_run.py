"""Before the first run: check, devices, properties and offline estimates, and wrong input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("braket.aws", reason="the braket extra is not installed")

from botocore.client import BaseClient

from qtn_train.braket.device._devices import resolve

Cli = Callable[..., tuple[int, str, str]]

POLICY = Path(__file__).parents[2] / "docs" / "howto" / "braket-policy.json"

TEN = ("--shots", "10")

#: Calls of boto3 whose right in IAM has another name; an empty one needs none.
_RIGHTS = {
    "HeadBucket": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "GetCallerIdentity": "sts:GetCallerIdentity",
}


@pytest.fixture
def cli(command_line: Cli) -> Cli:
    """Run the command line in this process; return exit status, standard output and error."""
    return command_line


@pytest.fixture
def no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials, no region, and no service that would answer."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("BRAKET_ENDPOINT", "AWS_ENDPOINT_URL", "BRAKET_PRICE_OFFERS_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The rights in IAM that the calls made so far need."""
    made: set[str] = set()
    send = BaseClient._make_api_call

    def note(client: Any, operation: str, given: dict[str, Any]) -> Any:
        service = client.meta.service_model.service_name
        made.add(_RIGHTS.get(operation, f"{service}:{operation}"))
        return send(client, operation, given)

    monkeypatch.setattr(BaseClient, "_make_api_call", note)
    return made


def rows(out: str) -> dict[str, str]:
    """What the table of ``check`` says of each thing: yes, no or ?."""
    return {words[1]: words[0] for line in out.splitlines() if len(words := line.split()) > 2}


# --- check


def test_a_check_finds_all_that_a_run_needs(service: Any, cli: Cli) -> None:
    resolve("SV1").device.aws_session.default_bucket()
    resolve("Garnet").device.aws_session.default_bucket()
    status, out, err = cli("braket", "check", "--device", "Garnet")
    assert (status, err) == (0, "")
    told = rows(out)
    assert set(told.values()) <= {"yes", "A"}
    rights = {"braket:CreateQuantumTask", "s3:PutObject", "s3:CreateBucket", "braket:TagResource"}
    assert {"credentials", "identity", "device", "price", "bucket"} | rights <= set(told)
    assert "Garnet is ONLINE, executes tasks now, at any time" in out
    assert "account 123456789012" in out
    assert out.endswith("A run can begin. Nothing was created.\n")
    assert service.ledger() == []


def test_a_check_without_a_bucket_leaves_it_to_the_first_task(service: Any, cli: Cli) -> None:
    status, out, _ = cli("braket", "check", "--json")
    assert status == 0
    told = {one["what"]: one for one in json.loads(out)["checks"]}
    assert told["bucket"]["works"] is None
    assert told["bucket"]["found"].startswith("amazon-braket-us-east-1-123456789012 does not exist")
    assert "device" not in told
    status, out, _ = cli("braket", "check", "--bucket", "amazon-braket-mine")
    assert status == 1
    assert "amazon-braket-mine does not exist. Make it, or name another." in out


@pytest.mark.parametrize(
    ("fault", "right"),
    [
        ("create", "braket:CreateQuantumTask"),
        ("get", "braket:GetQuantumTask"),
        ("cancel", "braket:CancelQuantumTask"),
        ("device", "braket:GetDevice"),
        ("search", "braket:SearchDevices"),
        ("search-tasks", "braket:SearchQuantumTasks"),
        ("tag", "braket:TagResource"),
        ("s3", "s3:ListBucket"),
    ],
)
def test_a_check_names_the_right_that_is_missing(
    service: Any, cli: Cli, fault: str, right: str
) -> None:
    resolve("SV1").device.aws_session.default_bucket()
    service.fault(f"{fault}-denied", times=None)
    status, out, err = cli("braket", "check", "--json")
    assert (status, err) == (1, "")
    told = json.loads(out)
    assert told["works"] is False
    refused = {one["what"]: one["to_do"] for one in told["checks"] if one["works"] is False}
    assert refused[right] == f"Give the account the right {right}"
    if fault != "s3":
        assert list(refused) == [right]
    assert service.ledger() == []


def test_a_check_ends_where_the_account_does_not_answer(service: Any, cli: Cli) -> None:
    service.fault("sts-403", times=None)
    status, out, _ = cli("braket", "check")
    assert status == 1
    assert "ExpiredToken" in out.splitlines()[-1]
    assert out.splitlines()[-1].endswith("Renew the credentials, for example by `aws sso login`.")


def test_a_check_of_devices_that_cannot_be_used(service: Any, cli: Cli) -> None:
    for device, told in (
        ("Emerald", "IQM Emerald is OFFLINE, executes tasks now, at any time. Wait until it is"),
        ("IBEX-Q1", "that of AQT IBEX-Q1 is not known, so no task is created. Choose another"),
        ("Aquila", "must be a gate-model device; got QuEra Aquila, an analog one"),
        ("Granite", "`device` must be one of"),
    ):
        status, out, _ = cli("braket", "check", "--device", device)
        assert status == 1
        assert told in out


def test_a_check_without_an_account(no_account: None, cli: Cli) -> None:
    status, out, err = cli("braket", "check")
    assert (status, err) == (1, "")
    assert out.startswith("no  credentials")
    assert out.count("\n") == 1
    assert "Run `aws configure`, name a profile, or set AWS_ACCESS_KEY_ID." in out


# --- rights


def test_the_policy_holds_the_rights_of_the_calls_that_are_made(
    service: Any, cli: Cli, calls: set[str]
) -> None:
    """No right less, and none more: a run with all that can be done with it, and a check."""
    small = ("--ansatz", "ry-cx-chain", "--layers", "1", "--epochs", "1", "--shots", "50")
    assert cli("train", "iris", *small, "--gradient", "spsa", "--out", "base")[0] == 0
    garnet, pay = ("--device", "Garnet", "--shots", "50"), ("--yes", "--budget-usd", "100")
    service.fault("queued", value=None)
    assert cli("braket", "submit", "base", *garnet, *pay, "--no-wait")[0] == 0
    assert cli("braket", "cancel", "base", "--yes")[0] == 0
    service.clear()
    assert cli("braket", "status", "base")[0] == 0
    second = ("--journal", "second.sqlite")
    assert cli("braket", "submit", "base", *garnet, *pay, *second)[0] == 0
    assert cli("braket", "submit", "base", *second, "--resume")[0] == 0
    assert cli("braket", "limit", "--device", "Garnet", "--usd", "5", "--yes")[0] == 0
    assert cli("braket", "limit", "--device", "Garnet", "--usd", "6", "--yes")[0] == 0
    assert cli("braket", "check", "--device", "Garnet")[0] == 0
    assert cli("braket", "properties", "Garnet")[0] == 0
    statements = json.loads(POLICY.read_text())["Statement"]
    allowed: set[str] = set()
    for one in statements:
        actions = one["Action"]
        allowed |= {actions} if isinstance(actions, str) else set(actions)
        assert one["Effect"] == "Allow"
    assert allowed == calls


# --- devices


def test_devices_are_listed_without_an_account(no_account: None, cli: Cli) -> None:
    status, out, err = cli("braket", "devices")
    assert (status, err) == (0, "")
    assert "Garnet              IQM            20      eu-north-1  cz prx" in out
    assert "$0.30 a task, $0.00145 a shot" in out
    assert (
        "IBEX-Q1             AQT            12      eu-north-1  -             not known, so" in out
    )
    assert out.splitlines()[-1].startswith("as of 20")
    told = json.loads(cli("braket", "devices", "--json")[1])
    assert told["age_days"] >= -1
    assert {one["name"] for one in told["devices"]} >= {"SV1", "Forte-1"}


def test_a_list_is_made_anew(service: Any, cli: Cli, tmp_path: Path) -> None:
    status, out, err = cli("braket", "devices", "--refresh", "--list", "mine.json")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].endswith(", 0 days ago")
    assert cli("braket", "devices", "--list", "mine.json")[1] == out
    assert json.loads((tmp_path / "mine.json").read_text())["devices"][0]["name"] == "DM1"


# --- offline


def test_an_estimate_offline(no_account: None, cli: Cli) -> None:
    garnet = ("braket", "estimate", "--offline", "--device", "garnet", "--shots", "1000")
    status, out, err = cli(*garnet, "--steps", "1")
    assert (status, err) == (0, "")
    priced = "priced             iris: 131 weights, 8 qubits, 4 layers of ry-cx-chain"
    assert out.startswith(f"{priced}\ndevice             Garnet\na gradient step    $94.85")
    assert "this package's own list" in out
    assert "by the device's medians" in out
    assert "warning: Amazon's price list was not read" in out
    assert "warning: the list does not tell which qubits Garnet joins" in out
    assert "fits" not in out.split("warning")[0]
    told = json.loads(cli(*garnet, "--steps", "1", "--json")[1])
    assert told["step"]["usd_high"] == "94.85000"
    assert told["suggestions"] == []
    other = ("--dataset", "mnist", "--ansatz", "ry-cx-chain", "--layers", "1", "--shots", "9")
    status, out, _ = cli("braket", "estimate", "--offline", "--device", "local:sv", *other)
    assert status == 0
    assert out.startswith(
        "priced             mnist: 6,690 weights, 13 qubits, 1 layer of ry-cx-chain\n"
    )


def test_an_estimate_offline_is_that_of_the_service(service: Any, cli: Cli) -> None:
    """The stand-in's prices are the real ones."""
    for device in ("Garnet", "SV1", "Cepheus-1-108Q"):
        command = ("braket", "estimate", "--device", device, "--shots", "100", "--json")
        here, there = (json.loads(cli(*command, *more)[1]) for more in (("--offline",), ()))
        for name in ("step", "run", "two_qubit_gates", "one_qubit_gates"):
            assert here[name] == there[name]


def test_an_estimate_tells_when_the_device_executes_tasks(service: Any, cli: Cli) -> None:
    out = cli("braket", "estimate", "--device", "Garnet", "--shots", "100")[1]
    assert "executes tasks     now, at any time\n" in out


# --- terms


def test_a_submission_under_a_reservation(service: Any, cli: Cli) -> None:
    small = ("--ansatz", "ry-cx-chain", "--layers", "1", "--epochs", "1", "--shots", "50")
    assert cli("train", "iris", *small, "--gradient", "spsa", "--out", "base")[0] == 0
    arn = "arn:aws:braket:eu-north-1:123456789012:reservation/abc"
    terms = ("--reservation-arn", arn, "--tag", "project=iris", "--tag", "who=me")
    command = ("braket", "submit", "base", "--device", "Garnet", "--shots", "50", *terms)
    command += ("--s3-prefix", "mine")
    status, _, err = cli(*command)
    assert status == 2
    assert "prices             a reservation, whose time is another bill\n" in err
    service.fault("queued", value=None)
    status, _, err = cli(*command, "--budget-usd", "1", "--yes", "--no-wait")
    assert status == 0, err
    (row,) = service.ledger()
    assert row["tags"].items() >= {"project": "iris", "who": "me"}.items()
    assert (row["s3_prefix"], row["usd_created"]) == ("mine", 0)
    out = cli("braket", "status", "base")[1]
    assert f"$0.00 planned; the time of {arn} is another bill" in out
    assert "Garnet executes tasks now, at any time\n" in out
    status, _, err = cli(*command[:-4], "--tag", "noequals")
    assert (status, err.count("\n")) == (2, 1)
    assert "`--tag` must be NAME=VALUE, each name once; got 'noequals'" in err


# --- properties


def test_properties_are_what_an_emulator_takes(service: Any, cli: Cli, tmp_path: Path) -> None:
    status, out, err = cli("braket", "properties", "garnet")
    assert (status, err) == (0, "")
    (tmp_path / "garnet.json").write_text(out)
    emulated, real = resolve(f"emulator:{tmp_path}/garnet.json"), resolve("Garnet")
    assert emulated.edges == real.edges
    assert emulated.fidelities == real.fidelities
    assert cli("braket", "properties", service.arn("Garnet"))[1] == out


def test_a_device_that_is_newer_than_the_sdk(service: Any, cli: Cli, tmp_path: Path) -> None:
    """Its properties can be printed; what needs to read them says what to update."""
    own = service.properties("Garnet")
    unknown = own | {"braketSchemaHeader": own["braketSchemaHeader"] | {"version": "9"}}
    changed = own | {"action": "other"}
    for capabilities in (unknown, changed):
        service.set_properties("Garnet", capabilities)
        status, out, err = cli("braket", "estimate", "--device", "Garnet", "--shots", "100")
        assert (status, out) == (2, "")
        assert err.count("\n") == 1
        assert "must be one whose properties the installed Amazon Braket SDK can read" in err
        assert err.endswith("Update it: pip install -U amazon-braket-sdk.\n")
        status, out, _ = cli("braket", "properties", "Garnet")
        assert status == 0
        assert json.loads(out) == capabilities
    (tmp_path / "new.json").write_text(json.dumps(unknown))
    device = ("--device", "emulator:new.json")
    status, _, err = cli("braket", "estimate", *device, "--shots", "100")
    assert status == 2
    assert err.endswith("newer than the Amazon Braket SDK: pip install -U amazon-braket-sdk.\n")


# --- wrong input


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "--bucket", "mine"), "`--bucket` must be one whose name begins with amazon-br"),
        (("check", "--device", "cuda"), "`--device` must be a device of Amazon Braket"),
        (("devices", "--list", "none.json"), "`--list` must be a list of devices; got none.json"),
        (("devices", "--region", "eu-north-1"), "`--region` must be given with --refresh only"),
        (("devices", "--refresh"), "`credentials` must be those of an AWS account; got none"),
        (("properties", "Garnet"), "`credentials` must be those of an AWS account; got none"),
        (("properties",), "Missing argument"),
        (("estimate", "--offline", "--device", "Granite", *TEN), "`--device` must be one of the"),
        (("estimate", "--offline", "--device", "Garnet", "--shots", "0"), "`--shots` must be"),
        (("estimate", "--offline", "--device", "IBEX-Q1", "--shots", "100"), "whose price is in"),
        (
            ("estimate", "--offline", "--profile", "me", *TEN),
            "`--profile` must be left out with --",
        ),
        (
            ("estimate", "--offline", "--region", "a", *TEN),
            "`--region` must be left out with --off",
        ),
        (("estimate", "--offline", *TEN), "`--device` must be given for the engine braket"),
    ],
)
def test_wrong_input_is_one_line(
    no_account: None, cli: Cli, words: tuple[str, ...], message: str
) -> None:
    status, out, err = cli("braket", *words)
    assert (status, out) == (2, ""), err
    assert err.count("\n") == 1
    assert message in err
