"""A Dask cluster inside the test process: threads instead of worker processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from qtn_train.studies import _runner


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """The address of a scheduler with two workers."""
    from distributed import LocalCluster

    threads = torch.get_num_threads()
    with (
        _runner._event_loop() as loop,
        LocalCluster(
            loop=loop,
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            protocol="tcp",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
    ):
        yield cluster.scheduler_address
    torch.set_num_threads(threads)
