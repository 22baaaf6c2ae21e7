"""The command line before the first run: ``qtn-train braket check | devices | properties``.

None of them creates a task; ``devices`` needs no account.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..braket.cost import show_usd
from ..errors import count, must_be
from ._braket import Json, app
from ._device import Account, Bucket, Profile, Region
from ._help import Command, examples
from ._options import given_options, run_options

if TYPE_CHECKING:
    from ..braket.device import DeviceList, ListedDevice

_CHECK = examples("qtn-train braket check", "qtn-train braket check --device Garnet")
_DEVICES = examples("qtn-train braket devices", "qtn-train braket devices --json")
_PROPERTIES = examples(
    "qtn-train braket properties Garnet > garnet.json",
    "qtn-train train iris --engine braket --device emulator:garnet.json --shots 1000",
)
_WORKS = {True: "yes", False: "no", None: "?"}


@app.command(cls=Command, epilog=_CHECK)
@run_options(("device",))
def check(
    profile: Profile = None,
    region: Region = None,
    bucket: Bucket = None,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Try credentials, rights, bucket and device, and say what to do. Costs nothing."""
    from ..braket.cost import knows_price
    from ..braket.device import check_account

    given = given_options(options)
    if bucket is not None:  # a wrong name is wrong input
        from ..braket.device import check_bucket

        check_bucket(bucket)
    findings = check_account(
        given.get("device"),
        profile=profile,
        region=region,
        bucket=bucket,
        price_known=knows_price,
    )
    told, works = [], True
    for one in findings:
        works = works and one.works is not False
        told.append(one.to_json())
        if not as_json:
            to_do = f". {one.to_do}." if one.to_do else ""
            print(f"{_WORKS[one.works]:4}{one.what:26}{one.found}{to_do}")
    if as_json:
        print(json.dumps({"works": works, "checks": told}, sort_keys=True))
    elif works:
        print("A run can begin. Nothing was created.")
    if not works:
        raise SystemExit(1)


@app.command(cls=Command, epilog=_DEVICES)
def devices(
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the service, and write the list anew.")
    ] = False,
    list_: Annotated[
        Path | None, typer.Option("--list", help="Another list than the package's own.")
    ] = None,
    profile: Profile = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """List devices, qubits and prices, as of the list's date; no account is needed."""
    from ..braket.device import read_list

    today = datetime.now(UTC).date()
    if refresh:
        known = _refreshed(Account(profile, region), list_)
    else:
        for name, given in (("profile", profile), ("region", region)):
            if given is not None:
                hint = "Without it no account is asked."
                raise ValueError(must_be(name, "given with --refresh only", repr(given), hint))
        known = read_list(list_)
    if as_json:
        print(json.dumps(known.to_json() | {"age_days": known.age_days(today)}, sort_keys=True))
        return
    rows = [
        ("device", "provider", "qubits", "region", "native gates", "price"),
        *map(_row, known.devices),
    ]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(f"{word:{width}}" for word, width in zip(row, widths, strict=True))
        print(line.rstrip())
    print(f"as of {known.date}, {count(known.age_days(today), 'day')} ago")


def _row(one: ListedDevice) -> tuple[str, ...]:
    usd = {name: "" if each is None else f"${show_usd(each)}" for name, each in one.usd.items()}
    price = f"{usd['task']} a task, {usd['shot']} a shot"
    if not one.priced:
        price = "not known, so nothing is sent"
    elif one.kind == "simulator":
        price = f"{usd['minute']} a minute"
    where = one.regions[0] if len(one.regions) == 1 else count(len(one.regions), "region")
    gates = " ".join(one.native_gates) or "-"
    return one.name, one.provider, str(one.n_qubits), where, gates, price


def _refreshed(account: Account, path: Path | None) -> DeviceList:
    from ..braket.cost import Prices
    from ..braket.device import PATH, asking, read_list, refreshed, write_list

    before = read_list(path if path is not None and path.exists() else None)
    session, today = account.session(), datetime.now(UTC).date()
    with asking("list"):
        found = refreshed(before, session, Prices.fetch().of, today)
    write_list(found, path or PATH)
    return found


@app.command(cls=Command, epilog=_PROPERTIES)
def properties(
    name: Annotated[str, typer.Argument(help="Name or ARN of a device.")],
    profile: Profile = None,
    region: Region = None,
) -> None:
    """Print a device's properties as JSON, as emulators take them. Costs nothing."""
    from ..braket.device import read_properties

    print(read_properties(name, Account(profile, region).session()))
