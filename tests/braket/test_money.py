"""Prices, the bill of a number of tasks, and how circuits are put into tasks."""

import dataclasses
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("braket.aws", reason="the braket extra is not installed")

from braket.program_sets import CircuitBinding, ProgramSet

from qtn_train.braket.cost._money import (
    Prices,
    cost_of,
    current_prices,
    set_spending_limit,
    show_usd,
    split,
)
from qtn_train.braket.device._devices import Target, resolve
from qtn_train.braket.device._list import read_list
from qtn_train.braket.device._target import ProgramSetLimits
from qtn_train.braket.run._programs import bind
from qtn_train.braket.stand_in import BraketService, Control
from qtn_train.braket.stand_in._devices import price_list
from qtn_train.circuits import ansatz
from qtn_train.errors import DataError, QtnTrainError
from qtn_train.measurements._counts import Program
from tests.braket.qpus import LIMITS, qpu

GARNET = "arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet"
SV1 = "arn:aws:braket:::device/quantum-simulator/amazon/sv1"


# --- splitting


@pytest.mark.parametrize(
    ("n_circuits", "shots", "limits", "sizes"),
    [
        (0, 100, LIMITS, []),
        (1, 100, LIMITS, [1]),
        (100, 100, LIMITS, [100]),
        (121, 100, LIMITS, [100, 21]),
        (121, 2000, LIMITS, [100, 21]),
        (121, 2001, LIMITS, [99, 22]),
        (25, 20_000, LIMITS, [10, 10, 5]),
        (3, 150_000, LIMITS, [1, 1, 1]),
        (3, 250_000, LIMITS, [1, 1, 1]),
        (3, 100, None, [1, 1, 1]),
        (3, 0, None, [1, 1, 1]),
    ],
)
def test_circuits_are_put_into_few_tasks(
    n_circuits: int, shots: int, limits: ProgramSetLimits | None, sizes: list[int]
) -> None:
    parts = split(n_circuits, shots, limits)
    assert [len(part) for part in parts] == sizes
    assert [number for part in parts for number in part] == list(range(n_circuits))


# --- what is known by hand


@pytest.mark.parametrize(
    ("name", "as_tasks", "as_sets"),
    [
        ("Garnet", "53.845", "18.145"),
        ("Cepheus-1-108Q", "41.4425", "5.7425"),
        ("Forte 1", "1004.3", "968.6"),
    ],
)
def test_a_step_of_121_circuits(name: str, as_tasks: str, as_sets: str, tmp_path: Path) -> None:
    """60 two-term angles, forward pass included, 100 shots each."""
    target, prices = qpu(name, tmp_path), Prices.builtin()
    sets = len(split(121, 100, target.program_sets))
    assert cost_of(target, 121, 12_100, prices=prices) == Decimal(as_tasks)
    assert cost_of(target, sets, 12_100, prices=prices) == Decimal(as_sets)


def test_simulators_are_billed_for_three_seconds_at_least(service: BraketService) -> None:
    target, prices = resolve("SV1"), Prices.builtin()
    assert cost_of(target, 4, 4000, prices=prices) == Decimal("0.015")
    for seconds, usd in (("0.2", "0.00375"), ("3", "0.00375"), ("90", "0.1125")):
        assert cost_of(target, 1, 100, prices=prices, seconds=Decimal(seconds)) == Decimal(usd)


def test_what_runs_here_is_free() -> None:
    assert cost_of(resolve("local:sv"), 100, 10**9) == 0


# --- the price list


def test_the_price_list_is_read(service: BraketService) -> None:
    prices = Prices.fetch()
    assert (prices.date, prices.source) == ("2025-11-03", "Amazon's price list")
    assert (prices.task(GARNET), prices.shot(GARNET)) == (Decimal("0.3"), Decimal("0.00145"))
    assert prices.minute(SV1, "us-east-1") == Decimal("0.075")
    assert prices.shot(service.arn("Forte 1")) == Decimal("0.08")
    assert prices == Prices.from_csv(price_list()) == current_prices()


def test_a_region_has_its_own_price() -> None:
    text = price_list()
    lines = [
        line.replace('"0.075"', '"0.1"') if "us-west-2" in line else line
        for line in text.splitlines()
    ]
    prices = Prices.from_csv("\n".join(lines))
    assert prices.minute(SV1, "us-west-2") == Decimal("0.1")
    assert prices.minute(SV1, "us-east-1") == Decimal("0.075")
    with pytest.raises(
        ValueError, match=r"^`device` must be one whose price is in Amazon.* no reg"
    ):
        prices.minute(SV1)


def test_the_fallback_agrees_with_the_list_and_is_dated() -> None:
    ours, theirs = Prices.builtin(), Prices.from_csv(price_list())
    assert ours.date == read_list().date
    for name in ("Garnet", "Emerald", "Cepheus-1-108Q", "Forte 1"):
        arn = BraketService.arn(name)
        assert (ours.task(arn), ours.shot(arn)) == (theirs.task(arn), theirs.shot(arn))
    for name in ("SV1", "dm1"):
        arn = BraketService.arn(name)
        assert ours.minute(arn) == theirs.minute(arn, "us-east-1")


def test_an_unknown_price_is_never_nothing() -> None:
    expected = (
        r"^`device` must be one whose price is in this package's own list of 20\d\d-\d\d-\d\d"
    )
    with pytest.raises(ValueError, match=f"{expected}; got Aquila in us-east-1"):
        Prices.builtin().shot(BraketService.arn("Aquila"))


def test_two_prices_of_one_thing_are_none() -> None:
    """Nothing is spent there, and all the others are known."""
    lines = price_list().splitlines()
    shot = next(line for line in lines if '"Quantum Task-Shot"' in line and '"Garnet"' in line)
    prices = Prices.from_csv("\n".join([*lines, shot.replace('"0.00145"', '"0.002"')]))
    with pytest.raises(ValueError, match=r"one whose price is in .*; got Garnet in eu-no"):
        prices.shot(GARNET)
    assert prices.task(GARNET) == Decimal("0.3")
    assert prices.shot(BraketService.arn("Forte 1")) == Decimal("0.08")


def damaged() -> Iterator[tuple[str, str, str]]:
    """Name, text and complaint."""
    text = price_list()
    lines = text.splitlines()
    shot = next(k for k, line in enumerate(lines) if '"Quantum Task-Shot"' in line)
    yield "empty", "", "must be a CSV file with a Publication Date; got ''"
    yield "a page", "<html>\nnot found\n</html>", "must be a CSV file with a Publication Date"
    yield "no table", "\n".join(lines[:5]), "must be one with columns .*; got no "
    yield "a column", text.replace('"PricePerUnit"', '"Price"'), "got no .'PricePerUnit'."
    yield "no rows", "\n".join(lines[:6]), "must be one with prices of tasks and shots; got none"
    half = "\n".join(lines[: shot + 1])[:-60]
    endless = f'"{"a" * 140_000}'  # a quotation mark that does not end: longer than csv takes
    yield "a quotation mark", "\n".join([*lines, endless]), "must be a CSV file; got field larger"
    endless_header = "\n".join([*lines[:5], endless])
    yield "a header", endless_header, "must be a CSV file; got field larger"
    yield "cut off", half, f"must be one with whole lines; got a broken line {shot + 1}"
    for wrong in ("", "free", "NaN", "-0.00145", "Infinity"):
        changed = text.replace('"0.00145"', f'"{wrong}"')
        yield f"price {wrong!r}", changed, f"must be one with amounts of USD; got .*{wrong}"
    currency = "\n".join([*lines[:shot], lines[shot].replace('"USD"', '"CNY"'), *lines[shot + 1 :]])
    yield "currency", currency, f"amounts of USD; got 0.00145 'CNY' in line {shot + 1}"
    yield "unit", text.replace('"minutes"', '"hours"'), "bills simulators by the minute; got 'hours"


@pytest.mark.parametrize(
    ("text", "complaint"), [pytest.param(*case[1:], id=case[0]) for case in damaged()]
)
def test_a_damaged_price_list_is_one_clear_line(text: str, complaint: str) -> None:
    with pytest.raises(DataError, match=f"^`price list` .*{complaint}") as caught:
        Prices.from_csv(text)
    assert "\n" not in str(caught.value)


def test_a_list_that_cannot_be_had(service: BraketService, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QtnTrainError, match=r"^`price list` must be found; got HTTP 4"):
        Prices.fetch(f"{service.url}/nothing")
    closed = "http://127.0.0.1:9/prices.csv"
    with pytest.raises(
        QtnTrainError, match=r"^`price list` must be found; got .*127.0.0.1"
    ) as error:
        Prices.fetch(closed)
    assert "\n" not in str(error.value)
    monkeypatch.setenv("BRAKET_PRICE_OFFERS_URL", closed)
    fallback = current_prices()
    assert fallback.date == read_list().date
    assert fallback.source.startswith("this package's own list (`price list` must be found")
    assert fallback.shot(GARNET) == Decimal("0.00145")


# --- to the cent


def test_tasks_and_program_sets_cost_what_the_service_bills(service: BraketService) -> None:
    target, circuit = resolve("Garnet"), ansatz.ry_cx_chain(2, 1)
    angles = np.random.default_rng(0).uniform(-1, 1, (7, circuit.n_angles))
    bound = bind(Program(circuit, torch.from_numpy(angles)), target, shots=1000)
    target.device.run(bound.at(0), shots=1000)
    parts = split(7, 50_000, target.program_sets)
    assert [len(part) for part in parts] == [4, 3]
    for part in parts:
        sets = {name: [values[k] for k in part] for name, values in bound.input_sets().items()}
        program_set = ProgramSet(CircuitBinding(bound.circuit, sets), shots_per_executable=1000)
        target.device.run(program_set, shots=1000 * len(part))
    created = [row["usd_created"] for row in service.ledger()]
    assert created == [cost_of(target, 1, 1000 * n) for n in (1, 4, 3)]
    assert sum(created) == cost_of(target, 3, 8000) == Decimal("12.5")


@pytest.mark.parametrize("milliseconds", [10, 3000, 4321])
def test_a_simulator_costs_what_the_service_bills(
    service: BraketService, milliseconds: int
) -> None:
    service.options(simulator_ms=milliseconds)
    target, circuit = resolve("SV1"), ansatz.ry_cx_chain(2, 1)
    bound = bind(Program(circuit, torch.zeros(1, 2).double()), target, shots=100)
    target.device.run(bound.circuit, shots=100, inputs=bound.input_set(0)).result()
    seconds = Decimal(milliseconds) / 1000
    assert service.spent() == cost_of(target, 1, 100, seconds=seconds)


# --- the service's own cap


def limits_of(service: Control, target: Target) -> list[dict[str, Any]]:
    found = target.device.aws_session.braket_client.search_spending_limits()
    return list(found["spendingLimits"])


def test_a_spending_limit_is_made_once_and_changed_after(service: BraketService) -> None:
    target = resolve("Garnet")
    first = set_spending_limit(target, Decimal("12.349"))
    (limit,) = limits_of(service, target)
    assert limit["deviceArn"] == GARNET
    assert limit["spendingLimit"] == "12.34"
    assert set_spending_limit(target, Decimal(20)) == first == limit["spendingLimitArn"]
    (limit,) = limits_of(service, target)
    assert limit["spendingLimit"] == "20.00"


def test_the_service_keeps_to_the_limit(service: BraketService) -> None:
    target, circuit = resolve("Garnet"), ansatz.ry_cx_chain(2, 1)
    set_spending_limit(target, Decimal("0.50"))
    bound = bind(Program(circuit, torch.zeros(1, 2).double()), target, shots=1000)
    with pytest.raises(Exception, match="exceeds the remaining spending limit"):
        target.device.run(bound.at(0), shots=1000)
    assert service.spent() == 0


def test_spending_limits_that_are_refused(
    service: BraketService, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ValueError, match=r"^`device` must be a QPU, to set .*; got SV1. A simulator"
    ):
        set_spending_limit(resolve("SV1"), Decimal(1))
    garnet = resolve("Garnet")
    for wrong in ("0.001", "0", "-1", "NaN", "Infinity", "1e30"):
        match = rf"^`usd` must be from 0\.01 to 1,000,000,000; got {wrong.replace('1e30', '1E')}"
        with pytest.raises(ValueError, match=match):
            set_spending_limit(garnet, Decimal(wrong))
    client = garnet.device.aws_session.braket_client
    monkeypatch.setattr(garnet.device.aws_session, "braket_client", object())
    with pytest.raises(QtnTrainError, match=r"^`botocore` must be one with spending limits"):
        set_spending_limit(garnet, Decimal(1))
    monkeypatch.setattr(garnet.device.aws_session, "braket_client", client)
    unknown = dataclasses.replace(garnet, arn=GARNET.replace("Garnet", "Granite"))
    with pytest.raises(QtnTrainError, match=r"^`spending limit` must be accepted; got ") as error:
        set_spending_limit(unknown, Decimal(1))
    assert "\n" not in str(error.value)


def test_amounts_of_any_size_are_shown() -> None:
    shown = {"1e30": f"{10**30:,}.00", "0": "0.00", "0.0000005": "0.00", "-1.5": "-1.50"}
    assert {text: show_usd(Decimal(text)) for text in shown} == shown
