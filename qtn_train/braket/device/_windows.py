"""When a device executes tasks: the weekly windows of its properties, in UTC.

A task that comes at another time waits in the queue; it is accepted and costs the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_GROUPS = {"Everyday": range(7), "Weekdays": range(5), "Weekend": (5, 6), "Weekends": (5, 6)}

#: A window that ends at 23:59:59 goes on with one that begins at 00:00:00.
_SEAM = timedelta(seconds=61)


@dataclass(frozen=True)
class Window:
    """One weekly window, in UTC.

    Attributes:
        day: 0 is Monday.
        start: Its begin.
        end: Its end; on the next day where it is not after ``start``.
    """

    day: int
    start: time
    end: time


def read_windows(service: Mapping[str, Any]) -> tuple[Window, ...]:
    """Return the windows that a device's properties tell; none for a day that is not known here.

    Args:
        service: The part ``service`` of the properties.

    Example:
        >>> window = {"executionDay": "Weekdays", "windowStartHour": "08:00:00",
        ...           "windowEndHour": "10:00:00"}
        >>> len(read_windows({"executionWindows": [window]}))
        5
    """
    found = []
    for one in service.get("executionWindows") or ():
        name = str(one["executionDay"])
        days = [_DAYS.index(name)] if name in _DAYS else _GROUPS.get(name, ())
        start, end = (time.fromisoformat(one[f"window{edge}Hour"]) for edge in ("Start", "End"))
        found += [Window(day, start, end) for day in days]
    return tuple(found)


def availability(windows: Iterable[Window], now: datetime) -> str:
    """Return whether a device executes tasks now, and until or from when, for people.

    Args:
        windows: Its windows.
        now: The present moment, in UTC.

    Example:
        >>> office = [Window(0, time(8), time(10))]
        >>> availability(office, datetime(2026, 11, 23, 9))
        'now, until Monday 10:00 UTC'
        >>> availability(office, datetime(2026, 11, 23, 11))
        'from Monday 08:00 UTC'
    """
    spans = _joined(_spans(windows, now))
    if not spans:
        return "not told"
    for start, end in spans:
        if start <= now <= end:
            if end - now > timedelta(days=7):
                return "now, at any time"
            return f"now, until {_moment(end)}"
    return f"from {_moment(min(start for start, _ in spans if start > now))}"


def _spans(windows: Iterable[Window], now: datetime) -> list[tuple[datetime, datetime]]:
    """Return the windows of the week before, this week and the next two, as moments."""
    monday = datetime.combine(now.date() - timedelta(days=now.weekday()), time(), now.tzinfo)
    return sorted(
        (_at(day, one.start), _at(day + timedelta(days=one.end <= one.start), one.end))
        for week in range(-1, 3)
        for one in windows
        for day in (monday + timedelta(days=7 * week + one.day),)
    )


def _at(day: datetime, moment: time) -> datetime:
    return day.replace(hour=moment.hour, minute=moment.minute, second=moment.second)


def _joined(spans: list[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    joined: list[tuple[datetime, datetime]] = []
    for start, end in spans:
        if joined and start - joined[-1][1] <= _SEAM:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def _moment(moment: datetime) -> str:
    if moment.second == 59:  # 23:59:59 is midnight
        moment += timedelta(seconds=1)
    return f"{_DAYS[moment.weekday()]} {moment:%H:%M} UTC"
