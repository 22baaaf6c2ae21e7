"""The inside of a Braket hybrid job: where it says what to do, and where it wants the results.

A job is a container that Amazon starts next to a device. It tells its program everything through
environment variables: the device, a file of hyperparameters (all of them strings), and folders of
which it keeps what is written there. Metrics are lines on standard output.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import DataError, MissingExtra, must_be, needs_extra

_NAME, _DEVICE = "AMZN_BRAKET_JOB_NAME", "AMZN_BRAKET_DEVICE_ARN"
_PARAMETERS = "AMZN_BRAKET_HP_FILE"
_CHECKPOINTS, _RESULTS = "AMZN_BRAKET_CHECKPOINT_DIR", "AMZN_BRAKET_JOB_RESULTS_DIR"


@dataclass(frozen=True)
class HybridJob:
    """The hybrid job that this process runs in.

    Attributes:
        name: Its name.
        device: What :class:`BraketEngine` takes as the device.
        parameters: The hyperparameters.
        checkpoints: Folder that is copied to S3 all the time, and given to a job that goes on.
        results: Folder that is copied to S3 at the end.
    """

    name: str
    device: str
    parameters: Mapping[str, str]
    checkpoints: Path
    results: Path

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show metrics on the job's page.

        Args:
            step: What they belong to, such as the number of an epoch.
            metrics: Values by name.
        """
        from braket.jobs.metrics import log_metric

        for name, value in metrics.items():
            log_metric(name, float(value), iteration_number=step)

    def save_checkpoint(self, data: dict[str, Any]) -> None:
        """Write a checkpoint of the job as plain text: numbers, strings, lists; nothing is pickled.

        Args:
            data: JSON data; at least one key.
        """
        from braket.jobs import save_job_checkpoint
        from braket.jobs_data import PersistedJobDataFormat

        save_job_checkpoint(data, data_format=PersistedJobDataFormat.PLAINTEXT)

    def save_result(self, data: dict[str, Any]) -> None:
        """Write the data that ``job.result()`` returns, as plain text.

        Args:
            data: JSON data.
        """
        from braket.jobs import save_job_result
        from braket.jobs_data import PersistedJobDataFormat

        save_job_result(data, data_format=PersistedJobDataFormat.PLAINTEXT)


def current_job() -> HybridJob | None:
    """Return the hybrid job that this process runs in, or None outside of one.

    Raises:
        MissingExtra: The extra ``braket`` is not installed.
        DataError: The job's file of hyperparameters cannot be read.
    """
    if not os.environ.get(_NAME):
        return None
    try:
        import braket.jobs  # noqa: F401
    except ImportError as error:
        raise MissingExtra(needs_extra("Amazon Braket needs", "braket", error)) from error
    device = os.environ.get(_DEVICE, "")
    # A job without a device of the service names one as "local:provider/name".
    if not device.startswith("arn:"):
        device = "local:sv"
    return HybridJob(
        name=os.environ[_NAME],
        device=device,
        parameters=_parameters(),
        checkpoints=Path(os.environ.get(_CHECKPOINTS, ".")),
        results=Path(os.environ.get(_RESULTS, ".")),
    )


def _parameters() -> dict[str, str]:
    path = os.environ.get(_PARAMETERS)
    if path is None:
        return {}
    try:
        data = json.loads(Path(path).read_text())
        return {str(name): str(value) for name, value in data.items()}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        actual = f"{path} ({error})"
        raise DataError(must_be(_PARAMETERS, "a JSON file of hyperparameters", actual)) from error
