"""Trains inside a Braket hybrid job; outside of one it says so and does nothing.

    from braket.aws import AwsQuantumJob
    from braket.jobs.image_uris import Framework, retrieve_image

    AwsQuantumJob.create(
        image_uri=retrieve_image(Framework.PL_PYTORCH, "eu-north-1"),  # the default has no torch
        device="arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet",
        source_module="qtn_train",      # the folder of this package, with its requirements.txt
        entry_point="qtn_train.braket_job:main",
        hyperparameters={"dataset": "iris", "shots": "1000", "budget_usd": "50"},
    )

Hyperparameters are those of :data:`OPTIONS`: the options of ``qtn-train train`` with underscores,
and the job's own: ``budget_usd``, ``resend_failed``, ``reservation_arn`` and ``tags``, which is
``NAME=VALUE,NAME=VALUE``; both are of the tasks, those of the job are arguments of ``create``. The
run's checkpoint and journal lie in the job's folder of checkpoints, so that a job that is created
with ``copy_checkpoints_from_job`` goes on where the other one stopped, and pays for nothing twice.
The job's instance is charged by the minute on top: ``budget_usd`` counts tasks alone. The container
installs the folder's ``requirements.txt``, which names all that the job needs.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..data import load
from ..engines import BraketEngine
from ..errors import must_be
from ..recipes import SETTINGS, RunOptions, check_keys
from ._folder import RunFolder
from ._options import OPTIONS as NAMES
from ._options import read_tags
from ._run import write_weights

if TYPE_CHECKING:
    from ..braket.run import HybridJob

_FLAGS = {"true": True, "false": False}
_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    dict: "NAME=VALUE,NAME=VALUE, each name once",
}

# Options of the job itself, not of the run. The folder of the results is the job's own.
_OF_THE_JOB: dict[str, type] = {
    "budget_usd": Decimal,
    "resend_failed": bool,
    "reservation_arn": str,
    "tags": dict,
}

# The device is the job's, no state is truncated there, and files of the user's are not there.
_NOT_OF_A_JOB = (
    "engine", "device", "max_bond", "cutoff", "allow_truncation", "target", "label", "start", "loss"
)  # fmt: skip

#: Hyperparameter -> what it is read as.
OPTIONS: dict[str, type] = {
    NAMES.get(name, name): setting.kind
    for name, setting in SETTINGS.items()
    if name not in _NOT_OF_A_JOB
} | _OF_THE_JOB

# A job's run where nothing is said.
_BEGIN = {"dataset": "iris", "shots": 1000, "gradient": "spsa"}


def main() -> None:
    """Train with the options of this process's job, and leave the results in the job's folder.

    Raises:
        ImportError: The extra ``braket`` is not installed.
        ValueError: A hyperparameter is unknown, or not what it should be.
        QtnTrainError: What :func:`fit` and :class:`BraketEngine` raise.
    """
    from ..braket.run import current_job

    job = current_job()
    if job is None:
        text = "not inside a Braket hybrid job (AMZN_BRAKET_JOB_NAME is not set): nothing to do"
        print(text, file=sys.stderr)
        return
    job.save_result(_train(job, read_options(job.parameters)))


def read_options(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Read hyperparameters, which are strings.

    Args:
        parameters: Strings by name.

    Returns:
        Values by name; what is not given is not there.

    Raises:
        ValueError: A name is unknown, or a value is not of its type.

    Example:
        >>> read_options({"shots": "1000", "native": "true"})
        {'shots': 1000, 'native': True}
    """
    check_keys("hyperparameter", parameters, OPTIONS)
    names = {option: name for name, option in NAMES.items()}
    return {
        names.get(option, option): _read(option, text, OPTIONS[option])
        for option, text in parameters.items()
    }


def _read(name: str, text: str, kind: type) -> Any:
    try:
        if kind is bool:
            return _FLAGS[text.lower()]
        if kind is dict:
            return read_tags(text.split(","), name)
        return tuple(map(int, text.split(","))) if kind is tuple else kind(text)
    except (ValueError, KeyError, InvalidOperation) as error:
        raise ValueError(must_be(name, _KINDS.get(kind, "a number"), repr(text))) from error


def _train(job: HybridJob, given: dict[str, Any]) -> dict[str, Any]:
    of_job = {name: given.pop(name) for name in _OF_THE_JOB if name in given}
    on = {"engine": "braket", "device": job.device}
    options = RunOptions.from_json(_BEGIN | given | on).complete()
    folder = RunFolder(job.checkpoints)
    counting = options.counting() | options.on_device() | of_job
    # The service copies the folder of checkpoints while it is written: what lies there is whole.
    live = Path(tempfile.mkdtemp()) / folder.journal.name
    kept: dict[str, Any] = {"journal": live, "journal_copy": folder.journal}
    with closing(BraketEngine(job.device, **counting, **kept)) as engine:
        return _train_on(engine, job, options, folder)


def _train_on(
    engine: BraketEngine, job: HybridJob, options: RunOptions, folder: RunFolder
) -> dict[str, Any]:
    model = options.model(engine)

    def on_epoch(entry: dict[str, float]) -> None:
        metrics = {name: value for name, value in entry.items() if name != "epoch"}
        job.log(int(entry["epoch"]), {**metrics, "spent_usd": float(engine.spent_usd)})
        job.save_checkpoint({**entry, "spent_usd": str(engine.spent_usd)})

    history = options.fit(
        model,
        load(options.dataset),
        folder=folder.path,
        resume=True,
        progress_bar=False,
        callbacks=[on_epoch],
        run={
            "job": job.name,
            "options": options.to_json(),
            "threads": torch.get_num_threads(),
        },
    )
    write_weights(model, options, job.results / "weights.safetensors")
    return {
        "dataset": options.dataset,
        "options": options.to_json(),
        "test_accuracy": history.test_accuracy,
        "epochs": history.epochs,
        "n_weights": model.n_weights,
        "n_trainable": model.n_trainable,
        "spent_usd": str(engine.spent_usd),
    }


if __name__ == "__main__":
    main()
