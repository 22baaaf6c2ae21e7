"""What a Braket device is and can do, its native gates, and where a circuit goes on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazily

if TYPE_CHECKING:
    from ._check import Finding, check_account
    from ._couplings import couplings
    from ._credentials import aws_session
    from ._devices import asking, check_bucket, open_session, read_properties, resolve
    from ._list import PATH, DeviceList, ListedDevice, read_list, refreshed, write_list
    from ._target import Target, check
    from ._windows import availability

__all__ = [
    "PATH",
    "DeviceList",
    "Finding",
    "ListedDevice",
    "Target",
    "asking",
    "availability",
    "aws_session",
    "check",
    "check_account",
    "check_bucket",
    "couplings",
    "open_session",
    "read_list",
    "read_properties",
    "refreshed",
    "resolve",
    "write_list",
]

__getattr__ = lazily(
    __name__,
    {
        "DeviceList": "_list",
        "Finding": "_check",
        "ListedDevice": "_list",
        "PATH": "_list",
        "Target": "_target",
        "asking": "_devices",
        "availability": "_windows",
        "aws_session": "_credentials",
        "check": "_target",
        "check_account": "_check",
        "check_bucket": "_devices",
        "couplings": "_couplings",
        "open_session": "_devices",
        "read_list": "_list",
        "read_properties": "_devices",
        "refreshed": "_list",
        "resolve": "_devices",
        "write_list": "_list",
    },
)
