"""What a first run on Amazon Braket needs, tried one by one: no task is created, nothing is billed.

    credentials ──► identity ──► device ──► rights on tasks ──► bucket ──► rights on results

A right is tried by a request that is refused for another reason where the right is there: it names
a task, a device or an object that does not exist. So nothing is changed either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ...errors import QtnTrainError, text_of
from ._devices import BUCKETS, open_session, resolve
from ._target import Target
from ._windows import availability

_NOBODY = "00000000-0000-0000-0000-000000000000"
_DENIED = ("AccessDenied", "UnauthorizedOperation", "Forbidden", "403")
_STALE = ("ExpiredToken", "InvalidSignature", "UnrecognizedClient", "InvalidClientTokenId")
_ABSENT = ("404", "NoSuchBucket", "NotFound")


@dataclass(frozen=True)
class Finding:
    """One thing that a run needs, and whether it is there.

    Attributes:
        what: The thing, such as ``"identity"`` or a right's name in IAM.
        works: None where it cannot be tried without changing something.
        found: What the service told.
        to_do: What to do; empty where nothing is.
    """

    what: str
    works: bool | None
    found: str
    to_do: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON data."""
        return dict(self.__dict__)


def check_account(
    device: str | None = None,
    *,
    profile: str | None = None,
    region: str | None = None,
    bucket: str | None = None,
    price_known: Callable[[Target], bool] = lambda target: True,
) -> Iterator[Finding]:
    """Try what a run on a device needs, without a task and without cost.

    Args:
        device: A device's name or ARN; without one only the account is tried.
        profile: As for :func:`open_session`.
        region: As for :func:`open_session`; the device's own region counts where there is one.
        bucket: As for :func:`open_session`.
        price_known: From a device to whether the price of a task on it is known.

    Yields:
        The findings, in the order in which a run needs them; after one without which the others
        mean nothing it ends.

    Raises:
        MissingExtra: The extra ``braket`` is not installed.
    """
    try:
        session = open_session(profile=profile, region=region, bucket=bucket)
    except ValueError as error:
        yield Finding("credentials", False, *_sentences(error))
        return
    yield Finding("credentials", True, f"for {session.region}")
    identity = _identity(session)
    yield identity
    if not identity.works:
        return
    if device is not None:
        try:
            target = resolve(device, session=session, anyway=True)
        except (ValueError, QtnTrainError) as error:
            yield Finding("device", False, *_sentences(error))
        else:
            yield from _device(target, price_known)
            session = target.device.aws_session if target.arn else session
    yield from _tasks(session)
    yield from _bucket(session)


def _sentences(error: Exception) -> tuple[str, str]:
    """Return what an error says, and what it says to do."""
    text = str(error)
    head, stop, rest = text.partition(". ")
    return (head, rest.rstrip(".")) if stop else (text.rstrip("."), "")


def _identity(session: Any) -> Finding:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = session.sts_client.get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        hint = "Renew the credentials, for example by `aws sso login`"
        return Finding("identity", False, text_of(error), hint)
    return Finding("identity", True, f"{answer['Arn']}, account {answer['Account']}")


def _device(target: Target, price_known: Callable[[Target], bool]) -> Iterator[Finding]:
    if target.arn is None:
        yield Finding("device", True, f"{target.name} runs on this machine, and needs no account")
        return
    status = str(target.device.status)
    told = f"{target.name} is {status}"
    if target.windows:
        told += f", executes tasks {availability(target.windows, datetime.now(UTC))}"
    hint = {"OFFLINE": "Wait until it is online", "RETIRED": "Choose another device"}
    yield Finding("device", status == "ONLINE", told, hint.get(status, ""))
    known = price_known(target)
    yield Finding(
        "price",
        known,
        f"that of {target.name} is {'known' if known else 'not known, so no task is created'}",
        "" if known else "Choose another device",
    )


def _tasks(session: Any) -> Iterator[Finding]:
    """Try the rights on devices and tasks."""
    braket = session.braket_client
    account = session.account_id
    task = f"arn:aws:braket:{session.region}:{account}:quantum-task/{_NOBODY}"
    absent = "arn:aws:braket:::device/quantum-simulator/amazon/qtn-train-check"
    rights: dict[str, Callable[[], object]] = {
        "braket:SearchDevices": lambda: braket.search_devices(filters=[], maxResults=1),
        "braket:GetDevice": lambda: braket.get_device(deviceArn=absent),
        "braket:CreateQuantumTask": lambda: braket.create_quantum_task(
            clientToken=_NOBODY,
            deviceArn=absent,
            action="{}",
            shots=1,
            outputS3Bucket=f"{BUCKETS}qtn-train-check",
            outputS3KeyPrefix="tasks",
        ),
        "braket:TagResource": lambda: braket.tag_resource(resourceArn=task, tags={"check": "1"}),
        "braket:GetQuantumTask": lambda: braket.get_quantum_task(quantumTaskArn=task),
        "braket:SearchQuantumTasks": lambda: braket.search_quantum_tasks(filters=[], maxResults=1),
        "braket:CancelQuantumTask": lambda: braket.cancel_quantum_task(
            quantumTaskArn=task, clientToken=_NOBODY
        ),
    }
    for name, call in rights.items():
        yield _right(name, call)


def _bucket(session: Any) -> Iterator[Finding]:
    """Try the rights on the bucket of the results."""
    given, s3 = session._default_bucket, session.s3_client
    name = given or f"{BUCKETS}{session.region}-{session.account_id}"
    listing = _right("s3:ListBucket", lambda: s3.list_objects_v2(Bucket=name, MaxKeys=1))
    if listing.found in _ABSENT:
        if given:
            yield Finding("bucket", False, f"{name} does not exist", "Make it, or name another")
            return
        found = f"{name} does not exist: the first task makes it, with the right s3:CreateBucket"
        yield Finding("bucket", None, found)
        return
    yield Finding("bucket", listing.works, name, "" if listing.works else listing.to_do)
    yield listing
    if not given:  # the SDK asks for its own bucket to be made each time
        yield _right("s3:CreateBucket", session.default_bucket)
    key = "tasks/qtn-train-check"
    yield _right("s3:GetObject", lambda: s3.get_object(Bucket=name, Key=key))
    # Written only if it is there and is another: nothing is.
    yield _right(
        "s3:PutObject", lambda: s3.put_object(Bucket=name, Key=key, Body=b"", IfMatch='"none"')
    )


def _right(name: str, call: Callable[[], object]) -> Finding:
    """Send a request, and say whether the account may do that."""
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

    try:
        call()
    except ParamValidationError:
        return Finding(name, None, "the installed boto3 cannot try it", "pip install -U boto3")
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code.startswith(_DENIED):
            return Finding(name, False, "refused", f"Give the account the right {name}")
        if code.startswith(_STALE):
            return Finding(name, False, text_of(error), "Renew the credentials")
        if code in _ABSENT:
            return Finding(name, True, code)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status == 429 or status >= 500:
            return Finding(name, False, text_of(error), "Try again later")
    except BotoCoreError as error:
        return Finding(name, False, text_of(error), "Try again later")
    return Finding(name, True, "allowed")
