"""What a run costs: prices, the bill of a number of tasks, and how circuits are put into tasks.

    one batch of circuits ──split──► tasks (or program sets) ──cost_of──► USD

The engine, the budget and the estimate all split and bill through these functions, so that they
cannot differ. Amounts are decimal numbers, never floats.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from ...errors import DataError, QtnTrainError, must_be, text_of
from ..device._list import read_list
from ..device._target import ProgramSetLimits, Target, plain_name

#: Amazon's simulators are billed for at least so many seconds a task.
LEAST_SECONDS = Decimal(3)

#: Where the price list is, unless the variable BRAKET_PRICE_OFFERS_URL (the SDK's) says otherwise.
PRICE_LIST = (
    "https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/AmazonBraket/current/index.csv"
)

#: The lines of metadata before the table, one of which holds the date.
_METADATA = 5
_DATE = "Publication Date"
_COLUMNS = (
    "Product Family", "Region Code", "DeviceName", "Version", "operation",
    "PricePerUnit", "Currency", "Unit",
)  # fmt: skip

#: More than this is a slip of the keyboard.
_MOST_USD = 10**9

_LIST = "Amazon's price list"
_RESERVED = "a reservation, whose time is another bill"

#: A device's name and its region; "" stands for every region.
_Key = tuple[str, str]


@dataclass(frozen=True)
class Prices:
    """Prices of tasks, shots and minutes in USD, without discounts, credits and taxes.

    Attributes:
        date: When they were published, as in "2026-11-24".
        source: For people: the price list, or this package's own list.
        tasks: (Device, region) -> price of a task or a program set.
        shots: (Device, region) -> price of a shot.
        minutes: (Simulator, region) -> price of a minute.
    """

    date: str
    source: str
    tasks: Mapping[_Key, Decimal]
    shots: Mapping[_Key, Decimal]
    minutes: Mapping[_Key, Decimal]

    @property
    def current(self) -> bool:
        """Whether the prices are those of today, not of this package's own list."""
        return self.source in (_LIST, _RESERVED)

    @classmethod
    def reserved(cls, arn: str) -> Prices:
        """Return the prices in USD of tasks under a reservation: nothing beside the reserved time.

        Args:
            arn: The device.

        Example:
            >>> Prices.reserved("arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet").tasks
            {('garnet', ''): Decimal('0')}
        """
        nothing = {(plain_name(arn.rpartition("/")[2]), ""): Decimal(0)}
        return cls("", _RESERVED, nothing, nothing, {})

    @classmethod
    def builtin(cls) -> Prices:
        """Return the prices in USD of this package's own dated list of devices.

        They count where Amazon's price list cannot be read.

        Example:
            >>> Prices.builtin().shot("arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet")
            Decimal('0.00145')
        """
        own = read_list()
        tables: dict[str, dict[_Key, Decimal]] = {"task": {}, "shot": {}, "minute": {}}
        for device in own.devices:
            for kind, usd in device.usd.items():
                if usd is not None:
                    tables[kind][plain_name(device.arn.rpartition("/")[2]), ""] = usd
        source = "this package's own list"
        return cls(own.date, source, tables["task"], tables["shot"], tables["minute"])

    @classmethod
    def from_csv(cls, text: str) -> Prices:
        """Read prices in USD from the text of Amazon's price list.

        Args:
            text: Five lines of metadata, then a table with a header.

        Returns:
            Its prices for circuits outside hybrid jobs.

        Raises:
            DataError: It is damaged: no date, a column or a field is missing, or a price is not an
                amount of USD. What has two prices is left out, and its price is not known.
        """
        try:
            date, rows = _date(text), list(_rows(text))
        except csv.Error as error:  # such as a quotation mark that never ends
            raise DataError(must_be("price list", "a CSV file", str(error))) from error
        tables: dict[str, dict[_Key, Decimal]] = {"task": {}, "shot": {}, "minute": {}}
        twice: set[tuple[str, _Key]] = set()
        for line, row in rows:
            for kind, name in _products(row):
                key = (plain_name(name), row["Region Code"])
                usd = _usd(line, row)
                if tables[kind].setdefault(key, usd) != usd:
                    twice.add((kind, key))
        for kind, key in twice:  # whoever spends there is told that the price is not known
            del tables[kind][key]
        if not (tables["shot"] and tables["task"]):
            raise DataError(must_be("price list", "one with prices of tasks and shots", "none"))
        return cls(date, _LIST, tables["task"], tables["shot"], tables["minute"])

    @classmethod
    def fetch(cls, url: str | None = None) -> Prices:
        """Download Amazon's price list and read its prices in USD.

        Args:
            url: Where it is; by default ``BRAKET_PRICE_OFFERS_URL`` or Amazon's own address.

        Returns:
            Its prices.

        Raises:
            DataError: It is damaged.
            QtnTrainError: It cannot be had.
        """
        import urllib3

        address = url or os.environ.get("BRAKET_PRICE_OFFERS_URL", PRICE_LIST)
        try:
            answer = _http(address).request("GET", address, timeout=30.0, retries=2)
        except urllib3.exceptions.HTTPError as error:
            raise QtnTrainError(must_be("price list", "found", text_of(error))) from error
        if answer.status != 200:
            raise QtnTrainError(must_be("price list", "found", f"HTTP {answer.status}"))
        return cls.from_csv(answer.data.decode("utf-8", "replace"))

    def task(self, arn: str) -> Decimal:
        """Return the price in USD of a task or a program set on a QPU.

        Args:
            arn: The device.

        Raises:
            ValueError: The device is not in the list.
        """
        return self._price(self.tasks, arn)

    def shot(self, arn: str) -> Decimal:
        """Return the price in USD of a shot on a QPU.

        Args:
            arn: The device.

        Raises:
            ValueError: The device is not in the list.
        """
        return self._price(self.shots, arn)

    def minute(self, arn: str, region: str = "") -> Decimal:
        """Return the price in USD of a minute on one of Amazon's simulators.

        Args:
            arn: The simulator; its ARN names no region.
            region: Where tasks are created.

        Raises:
            ValueError: The simulator is not in the list.
        """
        return self._price(self.minutes, arn, region)

    def of(self, arn: str, region: str) -> dict[str, Decimal | None]:
        """Return a device's prices in USD of a task, a shot and a minute; None where unknown.

        Args:
            arn: The device.
            region: Where tasks are created.
        """
        tables = {"task": self.tasks, "shot": self.shots, "minute": self.minutes}
        found: dict[str, Decimal | None] = {}
        for kind, table in tables.items():
            try:
                found[kind] = self._price(table, arn, region)
            except ValueError:
                found[kind] = None
        return found

    def _price(self, table: Mapping[_Key, Decimal], arn: str, region: str = "") -> Decimal:
        name, region = arn.rpartition("/")[2], arn.split(":")[3] or region
        for key in ((plain_name(name), region), (plain_name(name), "")):
            if key in table:
                return table[key]
        expected = f"one whose price is in {self.source} of {self.date}"
        raise ValueError(must_be("device", expected, f"{name} in {region or 'no region'}"))


def _http(address: str) -> Any:
    """Return a pool of HTTP connections, through the proxy that the environment names, if any."""
    from urllib.parse import urlparse
    from urllib.request import getproxies, proxy_bypass

    import urllib3

    parsed = urlparse(address)
    proxy = getproxies().get(parsed.scheme)
    if proxy and not proxy_bypass(parsed.hostname or ""):
        return urllib3.ProxyManager(proxy)
    return urllib3.PoolManager()


def _date(text: str) -> str:
    for fields in csv.reader(text.splitlines()[:_METADATA]):
        if len(fields) > 1 and fields[0] == _DATE and fields[1][:4].isdigit():
            return fields[1][:10]
    raise DataError(must_be("price list", f"a CSV file with a {_DATE}", repr(text[:40])))


def _rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a price list, each with its line number."""
    table = csv.DictReader(io.StringIO("\n".join(text.splitlines()[_METADATA:])))
    missing = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
    if missing:
        raise DataError(must_be("price list", f"one with columns {_COLUMNS}", f"no {missing}"))
    for row in table:
        line = table.line_num + _METADATA
        if None in row or None in row.values():
            raise DataError(must_be("price list", "one with whole lines", f"a broken line {line}"))
        yield line, row


def _products(row: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the keys of a price row: a task or a shot of a QPU, or a minute of a simulator."""
    family = row["Product Family"]
    if family == "Quantum Task":
        yield "task", row["DeviceName"]
    if family == "Quantum Task-Shot":
        yield "shot", row["DeviceName"]
    if family == "Simulator Task" and row["operation"] == "CompleteTask":
        yield "minute", row["Version"]


def _usd(line: int, row: Mapping[str, str]) -> Decimal:
    expected = "one with amounts of USD"
    try:
        usd = Decimal(row["PricePerUnit"])
    except InvalidOperation as error:
        actual = f"{row['PricePerUnit']!r} in line {line}"
        raise DataError(must_be("price list", expected, actual)) from error
    by_minute = row["Product Family"] == "Simulator Task"
    if not usd.is_finite() or usd < 0 or row["Currency"] != "USD":
        actual = f"{row['PricePerUnit']} {row['Currency']!r} in line {line}"
        raise DataError(must_be("price list", expected, actual))
    if by_minute and row["Unit"] != "minutes":
        actual = f"{row['Unit']!r} in line {line}"
        raise DataError(must_be("price list", "one that bills simulators by the minute", actual))
    return usd


def current_prices() -> Prices:
    """Return Amazon's prices in USD, or this package's own where their list cannot be read.

    It is fetched once in a process.

    Returns:
        The prices; their source says which they are, and why.
    """
    return _fetched(os.environ.get("BRAKET_PRICE_OFFERS_URL", PRICE_LIST))


@lru_cache(maxsize=4)
def _fetched(url: str) -> Prices:
    try:
        return Prices.fetch(url)
    except QtnTrainError as error:
        own = Prices.builtin()
        source = f"{own.source} ({error})"
        return Prices(own.date, source, own.tasks, own.shots, own.minutes)


def split(n_circuits: int, shots: int, limits: ProgramSetLimits | None) -> list[range]:
    """Divide the circuits of one batch into as few tasks as the device allows.

    Args:
        n_circuits: Circuits with inputs in the batch.
        shots: Shots of each.
        limits: The device's limits of a program set; None: one circuit a task.

    Returns:
        For each task the numbers of its circuits. A task of one circuit is a plain one, a task of
        several is a program set.

    Example:
        >>> [len(part) for part in split(121, 100, ProgramSetLimits(100, 200_000))]
        [100, 21]
        >>> [len(part) for part in split(12, 40_000, ProgramSetLimits(100, 200_000))]
        [5, 5, 2]
    """
    size = 1
    if limits is not None:
        size = max(1, min(limits.max_executables, limits.max_shots // max(shots, 1)))
    return [range(first, min(first + size, n_circuits)) for first in range(0, n_circuits, size)]


def cost_of(
    target: Target,
    n_tasks: int,
    n_shots: int,
    *,
    prices: Prices | None = None,
    seconds: Decimal = LEAST_SECONDS,
) -> Decimal:
    """Return the cost of tasks in USD.

    Args:
        target: Where they run.
        n_tasks: How many there are; a program set is one.
        n_shots: Shots of all of them together.
        prices: By default :func:`current_prices`.
        seconds: How long each runs, on one of Amazon's simulators.

    Returns:
        USD; 0 for what runs on this machine.

    Raises:
        ValueError: The price is not known.
    """
    if target.arn is None:
        return Decimal(0)
    prices = prices or current_prices()
    if target.kind == "qpu":
        return n_tasks * prices.task(target.arn) + n_shots * prices.shot(target.arn)
    rate = prices.minute(target.arn, target.device.aws_session.region)
    return n_tasks * max(seconds, LEAST_SECONDS) * rate / 60


def knows_price(target: Target) -> bool:
    """Return whether the price of a task on a device is known.

    Args:
        target: Any target; what runs on this machine costs nothing.
    """
    try:
        cost_of(target, 1, 1)
    except ValueError:
        return False
    return True


def set_spending_limit(target: Target, usd: Decimal) -> str:
    """Set Amazon's own spending limit for a QPU in USD; it binds every program of the account.

    Args:
        target: A QPU.
        usd: The cap, from 0.01 to a billion; fractions of a cent are cut off. It counts what was
            spent under a limit that exists already, which is changed then.

    Returns:
        The ARN of the limit.

    Raises:
        ValueError: ``target`` is not a QPU, or the amount is below a cent or above a billion.
        QtnTrainError: The installed botocore knows no spending limits, or the service refuses.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    if target.kind != "qpu":
        hint = "A simulator is capped by budget_usd alone."
        raise ValueError(must_be("device", "a QPU, to set a spending limit", target.name, hint))
    if not (usd.is_finite() and Decimal("0.01") <= usd <= _MOST_USD):
        raise ValueError(must_be("usd", f"from 0.01 to {_MOST_USD:,}", usd))
    amount = usd.quantize(Decimal("0.01"), ROUND_DOWN)
    client = target.device.aws_session.braket_client
    if not hasattr(client, "create_spending_limit"):
        hint = "Update it: pip install -U boto3."
        raise QtnTrainError(must_be("botocore", "one with spending limits", "an older one", hint))
    mine = [{"name": "deviceArn", "values": [target.arn], "operator": "EQUAL"}]
    try:
        found = client.search_spending_limits(filters=mine)["spendingLimits"]
        if found:
            arn = str(found[0]["spendingLimitArn"])
            client.update_spending_limit(spendingLimitArn=arn, spendingLimit=f"{amount:f}")
            return arn
        made = client.create_spending_limit(deviceArn=target.arn, spendingLimit=f"{amount:f}")
        return str(made["spendingLimitArn"])
    except (BotoCoreError, ClientError) as error:
        raise QtnTrainError(must_be("spending limit", "accepted", text_of(error))) from error


def show_usd(usd: Decimal) -> str:
    """Return an amount of USD as text: two decimals, and further ones where they are not zero.

    Args:
        usd: The amount.

    Example:
        >>> show_usd(Decimal("1234.20000")), show_usd(Decimal("0.00375"))
        ('1,234.20', '0.00375')
    """
    text = f"{usd:,.6f}".rstrip("0")
    whole, _, digits = text.partition(".")
    return f"{whole}.{digits:0<2}"
