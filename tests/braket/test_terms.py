"""Reservations, the user's own tags, and the folder of the results."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("braket.aws", reason="the braket extra is not installed")

from braket.aws import DirectReservation

from qtn_train.braket.run._standing import bill
from qtn_train.braket.run._tasks import RUN_TAG, TOKEN_TAG
from qtn_train.braket.run._terms import Terms
from qtn_train.braket.stand_in import BraketService
from qtn_train.circuits import Circuit
from qtn_train.engines import BraketEngine

RESERVATION = "arn:aws:braket:eu-north-1:123456789012:reservation/abc"
OTHER = RESERVATION.replace("abc", "def")
BELL = Circuit.builder(2).h(0).cx(0, 1).build()


def run(folder: Path, **options: Any) -> BraketEngine:
    """Execute one circuit on Garnet."""
    options = {"journal": folder / "j.sqlite", "budget_usd": 1, "poll_seconds": 0.01} | options
    engine = BraketEngine("Garnet", 100, **options)
    engine.prepare(BELL, torch.zeros(0)).probs(0, 4)
    engine.close()
    return engine


def test_tasks_under_a_reservation_cost_nothing_beside_it(
    service: BraketService, tmp_path: Path
) -> None:
    """The ledger of the service and the journal agree; the reserved time is another bill."""
    service.set_price("Garnet", shot="5")  # would pass the budget
    run(tmp_path, reservation_arn=RESERVATION)
    (row,) = service.ledger()
    assert (row["usd"], row["usd_created"]) == (0, 0)
    assert row["associations"] == [{"arn": RESERVATION, "type": "RESERVATION_TIME_WINDOW_ARN"}]
    told = bill(tmp_path / "j.sqlite")
    assert (told["charged_usd"], told["spent_usd"]) == ("0", "0")
    assert told["reservation_arn"] == RESERVATION


def test_the_reservation_around_the_run_counts(
    service: BraketService, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """As the SDK's own context sets it, which adds it to each request by itself."""
    with DirectReservation(service.arn("Garnet"), reservation_arn=RESERVATION):
        run(tmp_path)
        run(tmp_path, reservation_arn=RESERVATION, journal=tmp_path / "second.sqlite")
        expected = r"^`reservation_arn` must be that of the DirectReservation around it"
        with pytest.raises(ValueError, match=expected):
            run(tmp_path, reservation_arn=OTHER, journal=tmp_path / "third.sqlite")
    rows = service.ledger()
    assert [row["associations"][0]["arn"] for row in rows] == [RESERVATION] * 2
    assert [row["usd"] for row in rows] == [0, 0]
    assert not [one for one in recwarn if "reservation" in str(one.message).lower()]
    run(tmp_path, journal=tmp_path / "fourth.sqlite")
    assert service.spent() == Decimal("0.445")
    assert bill(tmp_path / "fourth.sqlite")["reservation_arn"] is None


def test_tags_and_the_folder_of_the_results(service: BraketService, tmp_path: Path) -> None:
    run(tmp_path, tags={"project": "iris"}, s3_prefix="/mine/iris/")
    (row,) = service.ledger()
    assert row["tags"]["project"] == "iris"
    assert {TOKEN_TAG, RUN_TAG} <= set(row["tags"])
    assert row["s3_prefix"] == "mine/iris"


@pytest.mark.parametrize(
    ("device", "options", "message"),
    [
        ("SV1", {"reservation_arn": RESERVATION}, "`reservation_arn` must be None on SV1; got arn"),
        (
            "Garnet",
            {"reservation_arn": RESERVATION.replace("eu-north-1", "us-east-1")},
            "`reservation_arn` must be the ARN of a reservation of IQM Garnet, in eu-north-1; got",
        ),
        ("Garnet", {"reservation_arn": "mine"}, "`reservation_arn` must be the ARN of a reserv"),
        ("Garnet", {"tags": {"aws:x": "1"}}, "`tags` must be of names with 1 to 128 characters"),
        ("Garnet", {"tags": {"qtn-train-run": "1"}}, "do not begin with aws: or qtn-train-"),
        ("Garnet", {"tags": {"": "1"}}, "got '': '1'"),
        ("Garnet", {"tags": {"x": 257 * "y"}}, "and values with at most 256"),
        ("Garnet", {"tags": {str(k): "" for k in range(48)}}, "`tags` must be at most 47; got 48"),
        ("Garnet", {"s3_prefix": "/"}, "`s3_prefix` must be a folder in the bucket, of letters"),
        ("Garnet", {"s3_prefix": "a b"}, "got 'a b'"),
    ],
)
def test_terms_that_are_refused(
    service: BraketService, tmp_path: Path, device: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        BraketEngine(device, 100, journal=tmp_path / "j.sqlite", budget_usd=1, **options)
    assert service.ledger() == []


def test_nothing_is_added_where_nothing_is_said() -> None:
    assert Terms().request() == {}
