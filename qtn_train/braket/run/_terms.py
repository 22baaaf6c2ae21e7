"""On what terms tasks are created: under a reservation, with the user's tags, in which folder.

They stand in the request of each task, so a task keeps the terms under which it was planned.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import must_be
from ..device._target import Target

#: The folder of the results in the bucket, where nothing is said.
FOLDER = "tasks"

_RESERVATION = re.compile(r"arn:aws[a-z-]*:braket:([a-z0-9-]+):\d{12}:\S+")
#: Where the SDK's ``DirectReservation`` keeps its device and its reservation.
_DEVICE = "AMZN_BRAKET_RESERVATION_DEVICE_ARN"
_WINDOW = "AMZN_BRAKET_RESERVATION_TIME_WINDOW_ARN"
_TYPE = "RESERVATION_TIME_WINDOW_ARN"
#: Beginnings of tags that are AWS's and this package's.
_TAKEN = ("aws:", "qtn-train-")
_MOST_TAGS = 47


@dataclass(frozen=True)
class Terms:
    """The terms of a run's tasks.

    Attributes:
        reservation_arn: The reservation under which they run, whose time is another bill.
        tags: The user's own tags.
        s3_prefix: The folder of the results in the bucket.
    """

    reservation_arn: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    s3_prefix: str = FOLDER

    @classmethod
    def of(
        cls,
        target: Target,
        reservation_arn: str | None,
        tags: Mapping[str, str] | None,
        s3_prefix: str | None,
    ) -> Terms:
        """Check the terms that a user gave, and add the reservation that the SDK is in.

        Args:
            target: The device.
            reservation_arn: A reservation of it; that of the SDK's ``DirectReservation`` by
                default.
            tags: Up to 47 tags.
            s3_prefix: A folder in the bucket, such as ``"mine/iris"``.

        Raises:
            ValueError: The device takes no reservation, or not this one; a tag or the folder is
                not as AWS wants it.
        """
        here = target.arn is not None and os.environ.get(_DEVICE) == target.arn
        around = os.environ.get(_WINDOW) if here else None
        if reservation_arn and around and reservation_arn != around:
            expected = f"that of the DirectReservation around it, {around}"
            raise ValueError(must_be("reservation_arn", expected, reservation_arn))
        reservation = reservation_arn or around
        if reservation is not None:
            _check_reservation(target, reservation)
        _check_tags(tags or {})
        folder = FOLDER if s3_prefix is None else s3_prefix.strip("/")
        if not folder or not re.fullmatch(r"[\w!.*'()/-]{1,512}", folder):
            expected = "a folder in the bucket, of letters, digits and -_/.!*'()"
            raise ValueError(must_be("s3_prefix", expected, repr(s3_prefix)))
        return cls(reservation, dict(tags or {}), folder)

    def request(self) -> dict[str, Any]:
        """Return the fields of a task's request that the terms add."""
        fields: dict[str, Any] = {"tags": dict(self.tags)} if self.tags else {}
        if self.reservation_arn is not None:
            fields["associations"] = [{"arn": self.reservation_arn, "type": _TYPE}]
        return fields


def without_context(request: dict[str, Any]) -> dict[str, Any]:
    """Return a task's request without the reservation that the SDK adds by itself.

    Args:
        request: The request.
    """
    if os.environ.get(_DEVICE) == request["deviceArn"] and os.environ.get(_WINDOW):
        return {name: value for name, value in request.items() if name != "associations"}
    return request


def _check_reservation(target: Target, arn: str) -> None:
    if target.kind != "qpu":
        raise ValueError(must_be("reservation_arn", f"None on {target.name}", arn))
    found, region = _RESERVATION.fullmatch(arn), (target.arn or "").split(":")[3]
    if found is None or found[1] != region:
        expected = f"the ARN of a reservation of {target.name}, in {region}"
        raise ValueError(must_be("reservation_arn", expected, repr(arn)))


def _check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > _MOST_TAGS:
        raise ValueError(must_be("tags", f"at most {_MOST_TAGS}", len(tags)))
    for name, value in tags.items():
        taken = name.lower().startswith(_TAKEN)
        if taken or not 1 <= len(name) <= 128 or len(value) > 256:
            expected = "of names with 1 to 128 characters, which do not begin with aws: or "
            expected += "qtn-train-, and values with at most 256"
            raise ValueError(must_be("tags", expected, f"{name!r}: {value!r}"))
