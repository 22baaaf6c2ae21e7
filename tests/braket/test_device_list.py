"""The dated list of devices: what it says, how old it is, and that it can be made anew."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import tolerances

pytest.importorskip("braket.aws", reason="the braket extra is not installed")

from braket.aws import AwsDevice
from braket.devices import Devices

from qtn_train.braket.cost._estimate import estimate
from qtn_train.braket.cost._money import Prices
from qtn_train.braket.device._devices import open_session, resolve
from qtn_train.braket.device._list import PATH, read_list, refreshed, write_list
from qtn_train.braket.device._windows import availability, read_windows
from qtn_train.braket.stand_in import BraketService
from qtn_train.circuits import ansatz
from qtn_train.engines import BraketEngine
from qtn_train.errors import DataError, QtnTrainError
from tests.braket.test_fidelity import CAPTURES, EACH, captured

#: A list that is older should be made anew: `qtn-train braket devices --refresh`.
OLD = 120


def test_how_old_the_list_is(record_property: Any) -> None:
    known = read_list()
    age = known.age_days(datetime.now(UTC).date())
    record_property("age_days", age)
    assert age >= -1, "the list is of the future"
    assert Prices.builtin().date == known.date
    if age > OLD:
        pytest.skip(f"the list of devices is {age} days old: qtn-train braket devices --refresh")


def test_the_list_has_the_devices_of_the_sdk() -> None:
    """But for the analog one, and those that the SDK marks as retired by an underscore."""
    groups = (Devices.Amazon, Devices.AQT, Devices.IonQ, Devices.IQM, Devices.Rigetti)
    arns = {one.value for group in groups for one in group if not one.name.startswith("_")}
    known = read_list()
    assert {one.arn for one in known.devices} == arns
    for one in known.devices:
        assert set(one.regions) <= set(AwsDevice.REGIONS)
        assert one.arn.split(":")[3] in ("", *one.regions)
        assert known.find(one.arn) is known.find(one.name.lower()) is one
    assert [one.name for one in known.devices if not one.priced] == ["IBEX-Q1"]


@pytest.mark.parametrize("device", sorted(EACH))
def test_the_list_says_what_the_captured_properties_say(device: str) -> None:
    found, own = captured(device), read_list().find(device)
    text = captured_path(device).read_text()
    target = own.target()
    assert (target.n_qubits, target.native) == (found.n_qubits, found.native)
    assert (target.min_shots, target.max_shots) == (found.min_shots, found.max_shots)
    assert own.joins_all == (found.edges is None)
    cost = json.loads(text if text.startswith("{") else json.loads(text))["service"]["deviceCost"]
    assert own.usd["shot"] == Decimal(str(cost["price"]))
    assert target.fidelities is not None
    assert found.fidelities is not None
    for name in ("one_qubit", "two_qubit", "readout"):
        expected = getattr(found.fidelities, name)
        assert getattr(target.fidelities, name) == pytest.approx(
            expected, abs=tolerances.FIVE_DECIMALS
        )


def test_what_is_listed_can_be_estimated_without_an_account() -> None:
    target = read_list().find("Garnet").target()
    own = Prices.builtin()
    told = estimate(ansatz.ry_cx_chain(3, 1), target, shots=1000, prices=own)
    assert told.step.usd_high == Decimal("0.30") + 1000 * Decimal("0.00145")
    assert told.price_date == own.date
    sv1 = read_list().find("SV1").target()
    told = estimate(ansatz.ry_cx_chain(3, 1), sv1, shots=1000, prices=own)
    assert told.step.usd_high == Decimal("0.00375")


def test_a_device_without_a_known_price_is_not_spent_on(
    service: BraketService, tmp_path: Path
) -> None:
    """AQT's IBEX-Q1: neither by estimate nor by engine, whatever the budget."""
    expected = r"^`device` must be one whose price is in .*; got Ibex-Q1 in eu-north-1\.$"
    with pytest.raises(ValueError, match=expected):
        BraketEngine("IBEX-Q1", 100, journal=tmp_path / "j.sqlite", budget_usd=1000)
    with pytest.raises(ValueError, match=expected):
        estimate(ansatz.ry_cx_chain(3, 1), read_list().find("ibex q1").target(), shots=100)
    assert service.ledger() == []
    assert not (tmp_path / "j.sqlite").exists()


def test_a_list_is_made_anew_from_the_service(service: BraketService, tmp_path: Path) -> None:
    session, today = open_session(), date(2031, 2, 3)
    made = refreshed(read_list(), session, Prices.fetch().of, today)
    assert made.date == "2031-02-03"
    names = [one.name for one in made.devices]
    assert {"SV1", "DM1", "Garnet", "Emerald", "Forte 1", "IBEX-Q1"} <= set(names)
    assert not {"Aquila", "TN1", "Ankaa-3"} & set(names)  # analog, retired
    garnet, sv1 = made.find("Garnet"), made.find("SV1")
    assert garnet.regions == ("eu-north-1",)
    assert garnet.usd == {"task": Decimal("0.3"), "shot": Decimal("0.00145"), "minute": None}
    assert (garnet.n_qubits, garnet.native_gates) == (20, ("cz", "prx"))
    assert garnet.fidelities is not None
    assert garnet.fidelities["two_qubit"] == 0.9916
    assert set(sv1.regions) == set(AwsDevice.REGIONS)
    assert sv1.usd["minute"] == Decimal("0.075")
    assert not made.find("IBEX-Q1").priced
    path = write_list(made, tmp_path / "devices.json")
    assert read_list(path) == made
    assert service.ledger() == []
    own = service.properties("Garnet")
    newer = own | {"braketSchemaHeader": own["braketSchemaHeader"] | {"version": "9"}}
    service.set_properties("Garnet", newer)
    again = refreshed(made, session, Prices.fetch().of, date(2031, 2, 4))
    assert again.find("Garnet") == garnet  # as it was: the installed SDK cannot read the new one
    service.fault("search-denied", times=None)
    expected = r"^`list` must be told by Amazon Braket; got .*Not authorized"
    with pytest.raises(QtnTrainError, match=expected):
        refreshed(read_list(), session, Prices.fetch().of, today)


def test_lists_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "devices.json"
    with pytest.raises(DataError, match=r"^`list` must be a list of devices; got .*cannot be read"):
        read_list(path)
    whole = json.loads(PATH.read_text())
    for k, text in enumerate(("", "[]", json.dumps(whole | {"date": "soon"}), '{"devices": 3}')):
        damaged = tmp_path / f"{k}.json"
        damaged.write_text(text)
        with pytest.raises(DataError, match=r"^`list` must be a list of devices; got .*\(\w+: "):
            read_list(damaged)
    with pytest.raises(DataError, match=r"^`list` must be a file that can be written; got "):
        write_list(read_list(), tmp_path / "no folder" / "devices.json")
    with pytest.raises(ValueError, match=r"^`device` must be one of the list of .*; got 'Granite'"):
        read_list().find("Granite")


# --- when a device executes tasks


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_windows_of_the_captured_devices() -> None:
    """2026-11-24 is a Tuesday; a window that ends at midnight goes on with the next day's."""
    emerald = json.loads(json.loads((captured_path("Emerald")).read_text()))
    windows = read_windows(emerald["service"])
    assert availability(windows, at("2026-11-24T01:30")) == "now, until Tuesday 04:00 UTC"
    assert availability(windows, at("2026-11-24T05:00")) == "from Tuesday 07:00 UTC"
    assert availability(windows, at("2026-11-24T23:00")) == "now, until Wednesday 04:00 UTC"
    assert availability(windows, at("2026-11-28T12:00")) == "from Monday 22:00 UTC"


def test_a_window_that_passes_midnight() -> None:
    night = {"executionDay": "Sunday", "windowStartHour": "22:00", "windowEndHour": "02:00"}
    windows = read_windows({"executionWindows": [night]})
    assert availability(windows, at("2026-11-22T23:00")) == "now, until Monday 02:00 UTC"
    assert availability(windows, at("2026-11-23T01:00")) == "now, until Monday 02:00 UTC"
    assert availability(windows, at("2026-11-23T03:00")) == "from Sunday 22:00 UTC"
    whole = [
        night | {"executionDay": "Everyday", "windowStartHour": "00:00", "windowEndHour": "00:00"}
    ]
    assert availability(read_windows({"executionWindows": whole}), at("2026-11-23T01:00")) == (
        "now, at any time"
    )


def captured_path(device: str) -> Path:
    captured(device)
    return CAPTURES / EACH[device]


def test_windows_of_every_day_and_of_none() -> None:
    every = {"executionDay": "Everyday", "windowStartHour": "00:00", "windowEndHour": "23:59:59"}
    windows = read_windows({"executionWindows": [every]})
    assert len(windows) == 7
    assert availability(windows, at("2026-11-24T01:30")) == "now, at any time"
    assert availability(read_windows({}), at("2026-11-24T01:30")) == "not told"
    strange = [every | {"executionDay": "Holidays"}]
    assert read_windows({"executionWindows": strange}) == ()
    weekend = read_windows({"executionWindows": [every | {"executionDay": "Weekends"}]})
    assert availability(weekend, at("2026-11-24T01:30")) == "from Saturday 00:00 UTC"


def test_a_device_tells_its_windows(service: BraketService) -> None:
    assert len(resolve("Garnet").windows) == 7
    assert resolve("SV1").windows == resolve("local:sv").windows == ()
