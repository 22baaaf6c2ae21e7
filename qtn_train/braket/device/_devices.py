"""What a Braket device is and can do, read from its own properties when it is asked for.

    "local:sv"  "local:dm"  "emulator:<file>"  name or ARN  Device object ──► resolve ──► Target

Everything else in this package asks the :class:`Target`, never the device's name.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import DataError, MissingExtra, QtnTrainError, must_be, needs_extra, text_of
from ._credentials import aws_session, no_credentials
from ._target import (
    Fidelities,
    ProgramSetLimits,
    Target,
    check,
    kind_of,
    plain_name,
    read_target,
)

__all__ = [
    "Fidelities",
    "ProgramSetLimits",
    "Target",
    "check",
    "open_session",
    "resolve",
]

_LOCAL = {"local:sv": "braket_sv", "local:dm": "braket_dm"}
_KNOWN = "'local:sv', 'local:dm', 'emulator:<properties.json>', the name or ARN of a Braket device"
BUCKETS = "amazon-braket-"
_NO_RIGHTS = ("AccessDenied", "ExpiredToken", "InvalidSignature", "UnrecognizedClient")


def resolve(device: object, *, session: Any = None, anyway: bool = False) -> Target:
    """Find a device by name, ARN or object, and read its gates, qubits and limits.

    Args:
        device: A string (see the module's drawing), or any Braket ``Device`` object.
        session: A Braket ``AwsSession``; by default one from the environment, made only for a
            name or an ARN.
        anyway: Whether to return a device that is offline or retired, too: tasks that exist give
            their results whether or not it is there.

    Returns:
        The target.

    Raises:
        MissingExtra: The extra ``braket`` is not installed.
        TypeError: ``device`` is neither a string nor a Braket device.
        ValueError: An unknown, analog, retired or offline device; no region; no credentials.
        DataError: The emulator's file is missing or holds no device properties.
        QtnTrainError: Amazon Braket cannot be reached, or refuses to answer.

    Example:
        >>> target = resolve("local:sv")
        >>> target.kind, target.min_shots, target.billed
        ('local', 0, False)
    """
    braket_device, emulator, local = _classes()
    if isinstance(device, str):
        if device in _LOCAL:
            return read_target(local(_LOCAL[device]), device, "local")
        kind, colon, rest = device.partition(":")
        if kind == "emulator" and rest:
            return _emulated(Path(rest), emulator)
        if not device or (colon and kind != "arn"):
            raise ValueError(must_be("device", _KNOWN, repr(device)))
        return _remote(_find(device, session), anyway)
    if not isinstance(device, braket_device):
        raise TypeError(must_be("device", f"{_KNOWN} or a Braket Device", repr(device)))
    if hasattr(device, "arn"):
        return _remote(device, anyway)
    if isinstance(device, emulator):
        return read_target(device, f"emulator:{device.name}", "emulator")
    return read_target(device, f"local:{device.name}", "local")


def _classes() -> tuple[Any, Any, Any]:
    """Return Braket's classes of a device, an emulator and a local simulator."""
    try:
        from braket.devices import Device, LocalSimulator
        from braket.emulation.local_emulator import LocalEmulator
    except ImportError as error:
        raise MissingExtra(needs_extra("Amazon Braket needs", "braket", error)) from error
    return Device, LocalEmulator, LocalSimulator


def open_session(
    *, profile: str | None = None, region: str | None = None, bucket: str | None = None
) -> Any:
    """Open a session with AWS; nothing is sent yet.

    Args:
        profile: A profile of the AWS configuration; else the environment decides.
        region: For example ``"eu-north-1"``; else the environment or the profile decides.
        bucket: Where results are written; else Braket's default bucket of the account.

    Returns:
        A Braket ``AwsSession``.

    Raises:
        MissingExtra: The extra ``braket`` is not installed.
        ValueError: An unknown profile, no region, or no credentials.
    """
    _classes()
    from botocore.exceptions import NoRegionError
    from braket.aws import AwsSession

    if bucket is not None:
        check_bucket(bucket)
    try:
        return AwsSession(boto_session=aws_session(profile, region), default_bucket=bucket)
    except NoRegionError as error:
        hint = "Name a region, or set AWS_DEFAULT_REGION."
        raise ValueError(must_be("region", "an AWS region", "none", hint)) from error


def check_bucket(bucket: str) -> None:
    """Check a bucket's name.

    Args:
        bucket: The name.

    Raises:
        ValueError: Amazon Braket writes no results to a bucket of that name.
    """
    if not bucket.startswith(BUCKETS):
        expected = f"one whose name begins with {BUCKETS}, as Amazon Braket wants it"
        raise ValueError(must_be("bucket", expected, repr(bucket)))


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn each boto3 exception raised inside the block into an error of one line."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except NoCredentialsError as error:
        raise ValueError(no_credentials()) from error
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        text = text_of(error)
        if code.startswith(_NO_RIGHTS):
            expected = "those of an account that may use Amazon Braket"
            raise ValueError(must_be("credentials", expected, text)) from error
        if code in ("ResourceNotFoundException", "ValidationException"):
            raise ValueError(must_be("device", _KNOWN, repr(what))) from error
        raise QtnTrainError(must_be("device", "read from Amazon Braket", text)) from error
    except BotoCoreError as error:
        text = text_of(error)
        raise QtnTrainError(must_be("device", "read from Amazon Braket", text)) from error


def read_properties(name: str, session: Any) -> str:
    """Return a device's properties as the service tells them, JSON of whatever schema.

    Args:
        name: Its name or ARN.
        session: A Braket ``AwsSession``.

    Raises:
        ValueError: An unknown device; no credentials.
        QtnTrainError: Amazon Braket cannot be reached, or refuses to answer.
    """
    arn, there = _located(name, session)
    with asking(name):
        text: str = there.get_device(arn)["deviceCapabilities"]
    return text


def _find(name: str, session: Any) -> Any:
    """Return the ``AwsDevice`` of a name or an ARN."""
    return ask_for(*_located(name, session))


def _located(name: str, session: Any) -> tuple[str, Any]:
    """Return a device's ARN and a session that reaches it; a name is searched for everywhere."""
    from braket.aws import AwsDevice

    session = session or open_session()
    if session.boto_session.get_credentials() is None:
        raise ValueError(no_credentials())
    if name.startswith("arn:"):
        region = name.split(":")[3] if name.count(":") >= 3 else ""
        here = region in ("", session.region) or region not in AwsDevice.REGIONS
        return name, session if here else session.copy_session(region)
    found: set[str] = set()
    refused: list[str] = []
    regions = [session.region, *sorted(set(AwsDevice.REGIONS) - {session.region})]
    for region in regions:
        there = session if region == session.region else session.copy_session(region)
        try:
            with asking(name):
                answers = there.search_devices(statuses=["ONLINE", "OFFLINE", "RETIRED"])
        except (ValueError, QtnTrainError):  # an account may be barred from single regions
            refused.append(region)
            if refused == regions:
                raise
            continue
        # The one that still exists comes first where a name was used twice.
        for answer in sorted(answers, key=lambda one: one["deviceStatus"] == "RETIRED"):
            found.add(answer["deviceName"])
            if plain_name(answer["deviceName"]) == plain_name(name):
                return answer["deviceArn"], there
    hint = f"Regions that could not be searched: {', '.join(refused)}." if refused else ""
    expected = f"one of {', '.join(sorted(found))}" if found else _KNOWN
    raise ValueError(must_be("device", expected, repr(name), hint))


def ask_for(arn: str, session: Any) -> Any:
    """Return the ``AwsDevice`` of an ARN, with its properties.

    Args:
        arn: The device.
        session: A Braket ``AwsSession``.

    Raises:
        ValueError: An unknown device, or one whose properties the installed SDK cannot read.
        QtnTrainError: Amazon Braket cannot be reached, or refuses to answer.
    """
    from braket.aws import AwsDevice

    with asking(arn), warnings.catch_warnings():
        # What the SDK warns of here is an error below.
        warnings.filterwarnings("ignore", "Unable to determine device capabilities")
        try:
            device = AwsDevice(arn, session)
            known = device.properties is not None
        except ImportError as error:  # a schema that is not installed
            raise _newer(arn, text_of(error)) from error
        except ValueError as error:  # what the SDK makes of "not found"
            raise ValueError(must_be("device", _KNOWN, repr(arn))) from error
    if not known:  # they do not fit the installed schema
        raise _newer(arn, "properties that do not fit its schema")
    return device


def _newer(name: str, why: str) -> ValueError:
    expected = "one whose properties the installed Amazon Braket SDK can read"
    hint = "They are newer than it. Update it: pip install -U amazon-braket-sdk."
    return ValueError(must_be("device", expected, f"{name} ({why})", hint))


def _remote(device: Any, anyway: bool) -> Target:
    kind = kind_of(device.arn)
    provider, name = device.provider_name or "", device.name
    named = name if kind == "simulator" or name.startswith(provider) else f"{provider} {name}"
    if device.status != "ONLINE" and not anyway:
        raise ValueError(_unavailable(named, device.status))
    return read_target(device, named, kind)


def _unavailable(name: str, status: str) -> str:
    hint = "Choose another device." if status == "RETIRED" else "Wait until it is online."
    return must_be("device", "ONLINE", f"{name}, which is {status}", hint)


def _emulated(path: Path, emulator: Any) -> Target:
    from braket.schema_common import BraketSchemaBase

    expected = "a JSON file with the properties of a gate-model device"
    try:
        text = path.read_text()
        if isinstance(inner := json.loads(text), str):  # as Amazon publishes some: JSON in a string
            text = inner
        # Twice: the emulator rewrites the properties that it is made from.
        properties = BraketSchemaBase.parse_raw_schema(text)
        device = emulator.from_json(text)
    except OSError as error:
        actual = f"{path}, which cannot be read ({error.strerror})"
        raise DataError(must_be("emulator", expected, actual)) from error
    except ImportError as error:
        hint = "It may be newer than the Amazon Braket SDK: pip install -U amazon-braket-sdk."
        raise DataError(must_be("emulator", expected, f"{path}: {text_of(error)}", hint)) from error
    except Exception as error:  # whatever two versions of pydantic and the SDK make of the text
        actual = f"{path}: {text_of(error, 200)}"
        raise DataError(must_be("emulator", expected, actual)) from error
    return read_target(device, f"emulator:{path.stem}", "emulator", properties)
