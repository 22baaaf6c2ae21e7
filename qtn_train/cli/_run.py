"""A run of the command line: begun or resumed, trained, and written into a folder."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RunError, must_be
from ._folder import RunFolder

if TYPE_CHECKING:
    from ..data import Dataset
    from ..engines import Engine
    from ..hybrid import QuantumTrain
    from ..recipes import RunOptions

#: Options that begin as those of another run do, where --init-from names one.
_OF_THE_MODEL = (
    "target", "start", "ansatz", "n_layers", "n_qubits", "circuit", "measurement", "mapping",
    "bond_dim", "weights_per_outcome", "reach", "training_shots", "recipe", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A run of the command line.

    Attributes:
        options: What it is; nothing is left open.
        folder: Where it lies.
        threads: With how many threads it computes.
        processes: How many processes train it together.
    """

    options: RunOptions
    folder: RunFolder
    threads: int
    processes: int = 1


def say(text: str) -> None:
    """Print a line for people."""
    print(text, file=sys.stderr, flush=True)


def new_path(out: Path | None, resume: bool, dataset: str, before: str = "") -> Path:
    """Return the folder that was named, or a new one under ``runs/``."""
    from ..recipes._own_data import data_name

    if out is None and resume:
        raise ValueError(must_be("out", "given to resume", "nothing"))
    name = f"{before}{data_name(dataset)}-{datetime.now():%Y%m%d-%H%M%S}"
    return out or Path("runs") / name


def begun(given: dict[str, Any], folder: RunFolder, resume: bool) -> Run:
    """Return a new run, or the run that the folder holds.

    Args:
        given: Options that were given, by name.
        folder: The run's folder.
        resume: Whether to go on with what it holds.
    """
    import torch

    from ..recipes import RunOptions

    if not folder.holds_run():
        fresh = RunOptions.from_json(given).complete()
        if resume:
            say(f"{folder.path} holds no checkpoint yet: starting the run there.")
        return Run(fresh, folder, torch.get_num_threads())
    if not resume:
        hint = "Resume it, or choose another folder."
        actual = f"{folder.path}, which holds a run"
        raise RunError(must_be("out", "an empty folder", actual, hint))
    stored, threads = folder.stored()
    folder.check_same(stored, given)
    return Run(stored, folder, threads)


@contextmanager
def started(given: dict[str, Any], folder: RunFolder, resume: bool) -> Iterator[Run]:
    """Join the processes that torchrun has started, if any; yield the run.

    The first process alone looks at the folder and says anything; all get what it found.
    """
    from ..training._distributed import joined, take_device

    with joined() as processes, ExitStack() as stack:
        if not processes.first:
            stack.enter_context(redirect_stderr(stack.enter_context(open(os.devnull, "w"))))
        run = processes.from_first(lambda: begun(given, folder, resume))
        if processes.size > 1 and run.options.engine_name == "braket":
            hint = "Start it without torchrun: circuits would be executed several times."
            raise ValueError(must_be("engine", "a simulator with torchrun", "braket", hint))
        take_device(processes, run.options.torch_device)
        yield replace(run, processes=processes.size)


def use_threads(threads: int) -> None:
    """Set the number of threads to compute with."""
    import torch

    torch.set_num_threads(threads)


def without_files(given: dict[str, Any]) -> dict[str, Any]:
    """Return options in which an ansatz and an observable of the user's own are data.

    So a run goes on, and is evaluated, wherever its folder lies. A network of the user's own stays
    the name of a file, which is run again.
    """
    from ..recipes import RunOptions
    from ..recipes._observable import as_json
    from ..recipes._own import is_own

    options = {name: given.get(name) for name in ("ansatz", "measurement")}
    if not any(map(is_own, options.values())):
        return given
    run: Any = RunOptions.from_json(given)
    if is_own(options["measurement"]):
        measurement = as_json(run.measurement())
        given = given | {"measurement": measurement, "n_qubits": run.circuit().n_qubits}
    if is_own(options["ansatz"]):
        rest = {k: v for k, v in given.items() if k not in ("ansatz", "n_layers", "n_qubits")}
        given = rest | {"circuit": run.circuit().to_json()}
    return given


def begun_as(given: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Return a new run's options, with those of another run's model where they are not given."""
    other = RunFolder(directory).stored()[0].to_json()
    return {name: other[name] for name in _OF_THE_MODEL if other[name] is not None} | given


def init_from(model: QuantumTrain, directory: Path) -> None:
    """Give a new run's model the trained numbers of another run."""
    from ..training import restore_model

    restore_model(model, *RunFolder(directory).read())
    model.generator.position = 0


def train(model: QuantumTrain, data: Dataset, run: Run, resume: bool) -> dict[str, Any] | None:
    """Train, write the files of the run's folder, and return what ``run.json`` holds.

    Of several processes the first alone writes; the others return None.
    """
    from tqdm import tqdm

    from .._files import write_atomically
    from ..plots import curves, save
    from ..training import seconds_per_step
    from ..training._distributed import Processes

    config, folder = run.options.fit_config(), run.folder

    def on_epoch(entry: dict[str, float]) -> None:
        tqdm.write(
            f"epoch {entry['epoch']:>3}/{config.epochs}  train {_figures(entry, 'train')}"
            f"test {_figures(entry, 'test')}{entry['seconds']:.1f} s",
            file=sys.stderr,
        )

    kept = {"options": run.options.to_json(), "threads": run.threads}
    history = run.options.fit(
        model,
        data,
        folder=folder.path,
        resume=resume,
        progress_bar=sys.stderr.isatty(),  # elsewhere the lines of on_epoch
        callbacks=[on_epoch],
        run=kept,
    )
    if not Processes.current().first:
        return None
    write_weights(model, run.options, folder.weights)
    result = _result(model, run)
    result["epochs"] = history.epochs
    last = history.epochs[-1]
    names = ("test_accuracy",) if "test_accuracy" in last else ("test_loss", "test_r2")
    result |= {name: last[name] for name in names if name in last}
    if data.scaling is not None:
        result["scaling"] = {
            name: part.tolist()
            for name, part in zip(("mean", "deviation"), data.scaling, strict=True)
        }
    # Timing takes a hundred steps more: none where each of them executes circuits for shots.
    exact = not run.options.counted
    goal = run.options.objective(data)
    timed = seconds_per_step(model, data, config, history, goal) if exact else None
    result["seconds_per_step"] = timed
    if folder.journal.exists():
        from ..braket.run import bill

        result["braket"] = bill(folder.journal)
    title = (
        f"{run.options.data_name}: {result['n_weights']:,} weights from {result['n_trainable']:,} "
        f"trained numbers, {result['n_qubits']} qubits, {run.options.shape}"
    )
    save(curves(history.epochs, title), folder.curves)
    text = json.dumps(result, indent=2, sort_keys=True)
    write_atomically(folder.run, f"{text}\n".encode())
    return result


def _figures(entry: dict[str, float], part: str) -> str:
    """Return the figures of a part of the data after an epoch."""
    text = f"loss {entry[f'{part}_loss']:.4f}  "
    accuracy = entry.get(f"{part}_accuracy")
    return text if accuracy is None else f"{text}acc {100 * accuracy:.2f} %  "


def told(found: Mapping[str, Any]) -> str:
    """Return how well a network does on the test set, in words."""
    if "test_accuracy" in found:
        return f"test accuracy {100 * found['test_accuracy']:.2f} %"
    if "test_r2" in found:
        return f"R² {found['test_r2']:.4f} on the test set"
    return f"test loss {found['test_loss']:.4f}"


def _result(model: QuantumTrain, run: Run) -> dict[str, Any]:
    options = run.options.to_json()
    names = (
        "dataset", "ansatz", "recipe", "seed", "lr", "n_qubits", "n_layers", "batch_size",
        "torch_device", "measurement",
    )  # fmt: skip
    generator = model.config()["generator"]
    return {
        **{name: options[name] for name in names},
        "options": options,
        "engine": generator["engine"]["kind"],
        "engine_options": generator["engine"],
        "mapping": generator["mapping"],
        "threads": run.threads,
        "processes": run.processes,
        "n_values": run.options.n_values,
        "shots_per_evaluation": run.options.shots_per_evaluation,
        "n_weights": model.n_weights,
        "n_trainable": model.n_trainable,
        "n_trainable_by_part": model.n_trainable_by_part,
        "compression": model.compression,
        "versions": versions(),
    }


def write_weights(model: QuantumTrain, options: RunOptions, path: Path) -> None:
    """Write the run's network as a plain classical one."""
    from .._files import write_tensors

    info = {"dataset": options.data_name, "recipe": options.recipe, "seed": options.seed}
    write_tensors(path, model.export().state_dict(), "weights", info)


def stored(
    directory: Path, data_dir: Path | None, engine: Engine | None = None
) -> tuple[Dataset, QuantumTrain, RunOptions]:
    """Return data, trained model and options of the run in a folder, on the CPU.

    Args:
        directory: The folder.
        data_dir: Folder of the full image sets.
        engine: Another engine than the run's own; a run that trained on a device has the one that
            gives the counts of its journal.
    """
    from ..training import restore_model

    folder = RunFolder(directory)
    options, threads = folder.stored()
    use_threads(threads)
    options = options.but(torch_device="cpu")
    if engine is None and folder.journal.exists():
        engine = recorded(folder.journal)
    data, model = options.load(data_dir), options.model(engine)
    restore_model(model, *folder.read())
    return data, model.eval(), options


def recorded(journal: Path) -> Engine:
    """Return the engine that gives the counts of a journal."""
    from ..engines.counting._recorded import RecordedEngine

    return RecordedEngine(journal)


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    from importlib import metadata

    names = ("qtn_train", "torch", "numpy", "quimb", "safetensors")
    return {"python": platform.python_version()} | {n: metadata.version(n) for n in names}
