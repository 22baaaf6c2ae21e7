"""The loopback Amazon Braket for the tests of this folder."""

from collections.abc import Iterator

import pytest


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Start the service and point the SDK and boto3 to it."""
    pytest.importorskip("braket.aws", reason="the braket extra is not installed")
    import boto3
    from braket.tracking import pricing

    from qtn_train.braket.stand_in import BraketService

    with BraketService() as running:
        for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        for name, value in running.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        monkeypatch.setattr(pricing._pricing, "_price_list", [])
        pricing.Pricing.price_search.cache_clear()
        yield running
