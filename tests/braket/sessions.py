"""Sessions of the SDK that are quick to make: the services' descriptions are read once."""

from functools import cache
from typing import Any


@cache
def boto(region: str) -> Any:
    """Return the boto3 session of a region; its clients take their endpoints when they are made."""
    import boto3

    return boto3.Session("loopback", "loopback", region_name=region)


def aws_session(arn: str) -> Any:
    """Return a new session in the region of a device."""
    from braket.aws import AwsSession

    return AwsSession(boto(arn.split(":")[3] or "us-east-1"))
