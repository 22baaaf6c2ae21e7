"""Trains inside a Braket hybrid job; outside of one it says so and does nothing.

    from braket.aws import AwsQuantumJob

    AwsQuantumJob.create(
        device="arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet",
        source_module="qtn_train",                      # the folder of this package
        entry_point="qtn_train.braket_job:main",
        hyperparameters={"dataset": "iris", "shots": "1000", "budget_usd": "50"},
    )

Hyperparameters are the options of :data:`OPTIONS`. The run's checkpoint and journal lie in the
job's folder of checkpoints, so that a job that is created with ``copy_checkpoints_from_job`` goes
on where the other one stopped, and pays for nothing twice. The job's instance is charged by the
minute on top: ``budget_usd`` counts tasks alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import must_be

if TYPE_CHECKING:
    from ..braket.run._job import HybridJob
    from ..engines.counting._braket import BraketEngine
    from ..hybrid import QuantumTrain


def _flag(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


#: Hyperparameter -> what it is read as.
OPTIONS: dict[str, Callable[[str], Any]] = {
    "dataset": str,
    "ansatz": str,
    "layers": int,
    "qubits": int,
    "weights_per_outcome": int,
    "epochs": int,
    "batch_size": int,
    "lr": float,
    "lr_mapping": float,
    "seed": int,
    "shots": int,
    "gradient": str,
    "n_shifts": int,
    "step": float,
    "mitigate_readout": _flag,
    "native": _flag,
    "budget_usd": Decimal,
    "resend_failed": _flag,
}
_ENGINE = (
    "shots", "gradient", "n_shifts", "step", "mitigate_readout", "native", "budget_usd",
    "resend_failed",
)  # fmt: skip
_FIT = ("epochs", "batch_size", "lr", "lr_mapping")


def main() -> None:
    """Train as the job that this process runs in says, and leave the results where it wants them.

    Raises:
        ImportError: The extra ``braket`` is not installed.
        ValueError: A hyperparameter is unknown, or not what it should be.
        QtnTrainError: What :func:`fit` and :class:`BraketEngine` raise.
    """
    from ..braket.run._job import current_job

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
    options = {}
    for name, text in parameters.items():
        if name not in OPTIONS:
            raise ValueError(must_be("hyperparameter", f"one of {', '.join(OPTIONS)}", repr(name)))
        try:
            options[name] = OPTIONS[name](text)
        except (ValueError, KeyError, InvalidOperation) as error:
            kind = {"_flag": "true or false", "int": "an integer"}
            expected = kind.get(OPTIONS[name].__name__, "a number")
            raise ValueError(must_be(name, expected, repr(text))) from error
    return options


def _train(job: HybridJob, options: dict[str, Any]) -> dict[str, Any]:
    from ..engines.counting._braket import BraketEngine

    of_engine: dict[str, Any] = {"shots": 1000, "gradient": "spsa"}
    of_engine |= {name: options[name] for name in _ENGINE if name in options}
    of_engine |= {"seed": options.get("seed", 0), "journal": job.checkpoints / "journal.sqlite"}
    with closing(BraketEngine(job.device, **of_engine)) as engine:
        return _train_on(engine, job, options)


def _train_on(engine: BraketEngine, job: HybridJob, options: dict[str, Any]) -> dict[str, Any]:
    from ..data import load
    from ..recipes import build_model, default_circuit, fit_config, target_for
    from ..training import fit

    dataset = options.get("dataset", "iris")
    sizes = {"ansatz": "ansatz", "layers": "n_layers", "qubits": "n_qubits"}
    mapped = {k: v for k, v in options.items() if k == "weights_per_outcome"}
    chosen = {new: options[old] for old, new in sizes.items() if old in options}
    n_weights = sum(p.numel() for p in target_for(dataset).parameters())
    _, circuit = default_circuit(dataset, n_weights, **chosen, **mapped)
    model = build_model(dataset, circuit, engine, **mapped, seed=engine.seed)
    config = fit_config(dataset, "default", engine.seed, True)
    config = config.but(**{name: options[name] for name in _FIT if name in options})

    def on_epoch(entry: dict[str, float]) -> None:
        metrics = {name: value for name, value in entry.items() if name != "epoch"}
        job.log(int(entry["epoch"]), {**metrics, "spent_usd": float(engine.spent_usd)})
        job.save_checkpoint({**entry, "spent_usd": str(engine.spent_usd)})

    history = fit(
        model,
        load(dataset),
        config,
        folder=job.checkpoints,
        resume=True,
        progress_bar=False,
        on_epoch=on_epoch,
        run={"job": job.name, "dataset": dataset},
    )
    _write_weights(model, dataset, job.results / "weights.safetensors")
    return {
        "dataset": dataset,
        "test_accuracy": history.test_accuracy,
        "epochs": history.epochs,
        "n_weights": model.n_weights,
        "n_trainable": model.n_trainable,
        "spent_usd": str(engine.spent_usd),
    }


def _write_weights(model: QuantumTrain, dataset: str, path: Path) -> None:
    from .._files import write_tensors

    write_tensors(path, model.export().state_dict(), "weights", {"dataset": dataset})


if __name__ == "__main__":
    main()
