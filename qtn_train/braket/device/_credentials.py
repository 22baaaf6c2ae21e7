"""Credentials of an AWS account, looked for without the Braket SDK, whose import takes seconds."""

from __future__ import annotations

import os
from typing import Any

from ...errors import must_be


def aws_session(profile: str | None = None, region: str | None = None) -> Any:
    """Return a boto3 session that has credentials; nothing is sent yet.

    Args:
        profile: A profile of the AWS configuration; else the environment decides.
        region: For example ``"eu-north-1"``; else the environment or the profile decides.

    Returns:
        A ``boto3.Session``.

    Raises:
        ImportError: boto3 is not installed.
        ValueError: An unknown profile, or no credentials.
    """
    import boto3
    from botocore.exceptions import ProfileNotFound

    region = region or os.environ.get("AWS_REGION")
    try:
        session = boto3.Session(profile_name=profile, region_name=region)
    except ProfileNotFound as error:
        expected = f"one of {', '.join(boto3.Session().available_profiles) or 'none'}"
        raise ValueError(must_be("profile", expected, repr(profile))) from error
    if session.get_credentials() is None:
        raise ValueError(no_credentials())
    return session


def no_credentials() -> str:
    """Return the message where there are no credentials."""
    hint = "Run `aws configure`, name a profile, or set AWS_ACCESS_KEY_ID."
    return must_be("credentials", "those of an AWS account", "none", hint)
