"""The dated list of Braket's gate-model devices, readable without an account.

devices.json ──read_list──► DeviceList ──► prices where Amazon's list cannot be read
▲                          └────────► targets that can be estimated, not run
└──write_list──── refreshed(session, prices)
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..._files import write_atomically
from ...errors import DataError, QtnTrainError, must_be, text_of
from ._devices import ask_for
from ._target import (
    Fidelities,
    Kind,
    ProgramSetLimits,
    Target,
    family_of,
    kind_of,
    plain_name,
    read_target,
)

#: The package's own list.
PATH = Path(__file__).with_name("devices.json")

_EXPECTED = "a list of devices"


@dataclass(frozen=True)
class ListedDevice:
    """A device as the list has it.

    Attributes:
        name: Its name, as ``--device`` takes it.
        provider: Who runs it.
        kind: ``"qpu"`` or ``"simulator"``.
        arn: Its ARN.
        regions: AWS regions in which tasks for it are created.
        n_qubits: Number of qubits.
        shots: Shots of one task, at least and at most.
        program_sets: Executables and shots of one program set at most; None: it takes none.
        native_gates: Braket's names; empty where they are not known here.
        joins_all: Whether a gate may join any two qubits.
        usd: Prices of a ``task``, a ``shot`` and a ``minute``; None where there is none known.
        fidelities: Medians of its calibration, and its ``date``; None where they are not known.
    """

    name: str
    provider: str
    kind: Kind
    arn: str
    regions: tuple[str, ...]
    n_qubits: int
    shots: tuple[int, int]
    program_sets: tuple[int, int] | None
    native_gates: tuple[str, ...]
    joins_all: bool
    usd: Mapping[str, Decimal | None]
    fidelities: Mapping[str, Any] | None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ListedDevice:
        """Return the device of one entry of the file."""
        sets, usd = data["program_sets"], data["usd"]
        return cls(
            **{name: data[name] for name in ("name", "provider", "kind", "arn", "joins_all")},
            regions=tuple(data["regions"]),
            n_qubits=int(data["n_qubits"]),
            shots=(int(data["shots"][0]), int(data["shots"][1])),
            program_sets=None if sets is None else (int(sets[0]), int(sets[1])),
            native_gates=tuple(data["native_gates"]),
            usd={
                k: None if usd[k] is None else Decimal(usd[k]) for k in ("task", "shot", "minute")
            },
            fidelities=data["fidelities"],
        )

    def to_json(self) -> dict[str, Any]:
        """Return the device's entry of the file."""
        usd = {name: None if one is None else f"{one:f}" for name, one in self.usd.items()}
        return asdict(self) | {"usd": usd}

    @property
    def priced(self) -> bool:
        """Whether what a task costs is known."""
        needed = ("minute",) if self.kind == "simulator" else ("task", "shot")
        return all(self.usd[name] is not None for name in needed)

    def target(self) -> Target:
        """Return the device as a target that can be estimated; nothing can be sent to it."""
        sets, known = self.program_sets, self.fidelities
        names = ("one_qubit", "two_qubit", "readout")
        return Target(
            device=SimpleNamespace(aws_session=SimpleNamespace(region="")),
            name=self.name,
            arn=self.arn,
            kind=self.kind,
            n_qubits=self.n_qubits,
            native=family_of(self.native_gates),
            min_shots=self.shots[0],
            max_shots=self.shots[1],
            program_sets=None if sets is None else ProgramSetLimits(*sets),
            fidelities=None if known is None else Fidelities(*(known[name] for name in names)),
        )


@dataclass(frozen=True)
class DeviceList:
    """Devices, and the day on which they were as the list says.

    Attributes:
        date: As in ``"2026-11-24"``.
        sources: Where each kind of fact is from.
        devices: The devices.
    """

    date: str
    sources: Mapping[str, str]
    devices: tuple[ListedDevice, ...]

    def age_days(self, today: datetime.date) -> int:
        """Return how many days old the list is.

        Args:
            today: The present day.
        """
        return (today - datetime.date.fromisoformat(self.date)).days

    def find(self, name: str) -> ListedDevice:
        """Return a device by its name or ARN.

        Args:
            name: Any spelling: case and separators do not matter.

        Raises:
            ValueError: The list does not have it.
        """
        for one in self.devices:
            if name == one.arn or plain_name(name) == plain_name(one.name):
                return one
        expected = f"one of the list of {self.date}: {', '.join(one.name for one in self.devices)}"
        raise ValueError(must_be("device", expected, repr(name)))

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        devices = [one.to_json() for one in self.devices]
        return {"date": self.date, "sources": dict(self.sources), "devices": devices}


def read_list(path: str | Path | None = None) -> DeviceList:
    """Read a list of devices.

    Args:
        path: Its file; the package's own by default.

    Returns:
        The list.

    Raises:
        DataError: The file is missing, or it is no such list.

    Example:
        >>> read_list().find("forte 1").n_qubits
        36
    """
    return _read(Path(path or PATH))


@lru_cache(maxsize=4)
def _read(path: Path) -> DeviceList:
    try:
        data = json.loads(path.read_text())
        datetime.date.fromisoformat(data["date"])
        devices = tuple(ListedDevice.from_json(one) for one in data["devices"])
        return DeviceList(data["date"], data["sources"], devices)
    except OSError as error:
        actual = f"{path}, which cannot be read ({error.strerror})"
        raise DataError(must_be("list", _EXPECTED, actual)) from error
    except (ValueError, LookupError, TypeError, AttributeError, InvalidOperation) as error:
        actual = f"{path} ({type(error).__name__}: {error})"
        raise DataError(must_be("list", _EXPECTED, actual)) from error


def write_list(devices: DeviceList, path: str | Path | None = None) -> Path:
    """Write a list of devices into its file, whole or not at all.

    Args:
        devices: The list.
        path: Its file; the package's own by default.

    Returns:
        The file.

    Raises:
        DataError: The file cannot be written.
    """
    place = Path(path or PATH)
    try:
        write_atomically(place, (json.dumps(devices.to_json(), indent=2) + "\n").encode())
    except OSError as error:
        actual = f"{place} ({error.strerror})"
        hint = "Name another file (--list)."
        raise DataError(must_be("list", "a file that can be written", actual, hint)) from error
    _read.cache_clear()
    return place


def refreshed(
    before: DeviceList,
    session: Any,
    usd_of: Callable[[str, str], Mapping[str, Decimal | None]],
    today: datetime.date,
) -> DeviceList:
    """Return the list as the service tells it today; nothing is spent.

    Args:
        before: The list until now, whose entry stays for a device that cannot be read.
        session: A Braket ``AwsSession``; its account searches every region that it may.
        usd_of: From an ARN and a region to the prices of a task, a shot and a minute.
        today: The present day.

    Returns:
        The gate-model devices that are not retired, by kind, provider and name.

    Raises:
        QtnTrainError: No region answers.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from braket.aws import AwsDevice

    known = {one.arn: one for one in before.devices}
    found: dict[str, ListedDevice] = {}
    regions: dict[str, list[str]] = {}
    refused = ""
    for region in AwsDevice.REGIONS:
        there = session if region == session.region else session.copy_session(region)
        try:
            answers = there.search_devices(statuses=["ONLINE", "OFFLINE"])
        except (BotoCoreError, ClientError) as error:  # barred from single regions
            refused = text_of(error)
            continue
        for answer in answers:
            arn = answer["deviceArn"]
            regions.setdefault(arn, []).append(region)
            one = found.get(arn) or _asked(arn, there, usd_of, today) or known.get(arn)
            if one is not None:
                found[arn] = one
    if not found:
        raise QtnTrainError(must_be("list", "told by Amazon Braket", refused or "no device"))
    rows = [_in(one, tuple(sorted(regions[arn]))) for arn, one in found.items()]
    rows.sort(key=lambda one: (one.kind == "qpu", one.provider, one.name))
    sources = {**before.sources, "devices": "SearchDevices and GetDevice"}
    return DeviceList(today.isoformat(), sources, tuple(rows))


def _in(one: ListedDevice, regions: tuple[str, ...]) -> ListedDevice:
    return ListedDevice(**{**one.__dict__, "regions": regions})


def _asked(
    arn: str,
    session: Any,
    usd_of: Callable[[str, str], Mapping[str, Decimal | None]],
    today: datetime.date,
) -> ListedDevice | None:
    """Return a device as the service tells it; None for one that is analog, or cannot be read."""
    kind = kind_of(arn)
    try:
        device = ask_for(arn, session)
        target = read_target(device, device.name, kind)
    except ValueError:
        return None
    known, sets = target.fidelities, target.program_sets
    medians = None
    if known is not None:
        names = ("one_qubit", "two_qubit", "readout")
        rounded = {name: round(float(getattr(known, name)), 5) for name in names}
        medians = {"date": today.isoformat(), **rounded}
    return ListedDevice(
        name=arn.rpartition("/")[2].upper() if kind == "simulator" else device.name,
        provider=device.provider_name,
        kind=kind,
        arn=arn,
        regions=(),
        n_qubits=target.n_qubits,
        shots=(target.min_shots, target.max_shots),
        program_sets=None if sets is None else (sets.max_executables, sets.max_shots),
        native_gates=target.native_gates,
        joins_all=target.edges is None,
        usd=usd_of(arn, session.region),
        fidelities=medians,
    )
