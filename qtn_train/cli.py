"""The command line: ``qtn-train train | evaluate | export | info``.

Standard output carries the result (with ``--json``: one JSON object and nothing else), standard
error what is meant for people meanwhile. Exit status: 0 when it worked, 2 for bad input, 1
otherwise.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from .errors import (
    CheckpointError,
    DataError,
    NonFiniteLoss,
    QtnTrainError,
    RunError,
    UnsupportedByEngine,
    must_be,
    positive_int,
)

if TYPE_CHECKING:
    from .data import Dataset
    from .engines import Engine
    from .hybrid import QuantumTrain
    from .mapping import MappingModel

ENGINES = ("auto", "mps", "statevector")
MAPPINGS = ("mlp", "tensor-train")
RUN, WEIGHTS, CURVES = "run.json", "weights.safetensors", "curves.png"

# Options that a resumed run takes from its checkpoint; given again, they must say the same.
_KEPT = (
    "dataset", "ansatz", "layers", "qubits", "engine", "max_bond", "cutoff", "mapping", "bond_dim",
    "recipe", "epochs", "lr", "batch_size", "seed", "torch_device",
)  # fmt: skip

# Some versions of typer carry a click of their own: this is the base of its errors in all of them.
_ClickException: type[Any] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="qtn-train",
    help="Train classical networks whose weights are read off a quantum circuit.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the full image sets.")]
RunDir = Annotated[Path, typer.Argument(help="Folder of a run.")]


@app.command()
def train(
    dataset: Annotated[
        str, typer.Argument(help="iris, digits, mnist-mini, mnist or fashion-mnist.")
    ],
    ansatz: Annotated[
        str | None,
        typer.Option(
            help="u3-cu3-ring, u3-cu3-chain, ry-cx-chain, brickwork or hardware-efficient."
        ),
    ] = None,
    layers: Annotated[int | None, typer.Option(help="Layers of the circuit.")] = None,
    qubits: Annotated[
        int | None, typer.Option(help="Qubits; as few as the weights need by default.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help=f"One of {', '.join(ENGINES)}.")] = None,
    max_bond: Annotated[
        int | None, typer.Option(help="Bond dimension at which --engine mps truncates.")
    ] = None,
    cutoff: Annotated[
        float | None, typer.Option(help="Share of the norm that --engine mps may cut off besides.")
    ] = None,
    mapping: Annotated[str | None, typer.Option(help=f"One of {', '.join(MAPPINGS)}.")] = None,
    bond_dim: Annotated[
        int | None, typer.Option(help="Bond dimension of --mapping tensor-train; 4 by default.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="default or published.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples of a step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all that is random.")] = None,
    torch_device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, …")] = None,
    data_dir: DataDir = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; runs/<dataset>-<date>-<time> by default.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    init_from: Annotated[
        Path | None, typer.Option(help="Start from the trained numbers, and the seed, of this run.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a data set's network and write the result into a folder."""
    given = {name: value for name, value in locals().items() if name in _KEPT}
    if out is None:
        if resume:
            raise ValueError(must_be("--out", "given with --resume", "nothing"))
        out = Path("runs") / f"{dataset}-{datetime.now():%Y%m%d-%H%M%S}"
    if init_from is not None and seed is None:
        from .training import read_checkpoint

        given["seed"] = read_checkpoint(init_from)[1]["run"]["seed"]
    run = _options(given, out, resume)
    _use_threads(run["threads"])
    data, model = _build(run, data_dir)
    if init_from is not None:
        _init_from(model, init_from)
    _make_folder(out)
    _say(model.summary())
    again = ["qtn-train", "train", dataset, "--out", str(out), "--resume"]
    if data_dir is not None:
        again += ["--data-dir", str(data_dir)]
    try:
        result = _fit(model, data, run, out, resume)
    except KeyboardInterrupt:
        _fail(f"interrupted; nothing is lost. Go on with: {shlex.join(again)}", 1)
    if as_json:
        print(json.dumps(result, indent=2, sort_keys=True))
    else:
        print(
            f"test accuracy {100 * result['test_accuracy']:.2f} % with {result['n_trainable']:,} "
            f"trained numbers for {result['n_weights']:,} weights; see {out / CURVES}"
        )


@app.command()
def evaluate(directory: RunDir, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Print loss and accuracy of a run's network on the test set."""
    from .training import evaluate as measure

    data, model, run = _stored(directory, data_dir)
    loss, accuracy = measure(model, data.x_test, data.y_test)
    result = {"dataset": run["dataset"], "test_loss": loss, "test_accuracy": accuracy}
    line = f"{run['dataset']}: test loss {loss:.4f}, test accuracy {100 * accuracy:.2f} %"
    print(json.dumps(result, sort_keys=True) if as_json else line)


@app.command()
def export(
    directory: RunDir,
    format_: Annotated[str, typer.Option("--format", help="safetensors or onnx.")] = "safetensors",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write a run's network as a plain classical one, into the run's folder."""
    if format_ not in ("safetensors", "onnx"):
        raise ValueError(must_be("--format", "'safetensors' or 'onnx'", repr(format_)))
    data, model, run = _stored(directory, data_dir)
    result: dict[str, Any] = {"format": format_}
    if format_ == "onnx":
        from .training import export_onnx

        path = directory / "model.onnx"
        result["largest_difference"] = export_onnx(model.export(), data.x_test[:64], path)
    else:
        path = directory / WEIGHTS
        _write_weights(model, run, path)
    result["path"] = str(path)
    print(json.dumps(result, sort_keys=True) if as_json else f"wrote {path}")


@app.command()
def info(as_json: Json = False) -> None:
    """Print versions, threads, and what this machine can do."""
    import torch

    from .data import DATASETS
    from .engines import StatevectorEngine

    result = {
        "versions": _versions(),
        "threads": torch.get_num_threads(),
        "devices": ["cpu", *[f"cuda:{i}" for i in range(torch.cuda.device_count())]],
        "datasets": list(DATASETS),
        "engines": list(ENGINES),
        "statevector_max_qubits": StatevectorEngine().max_qubits,
        "data_folder": os.environ.get("QTN_TRAIN_DATA"),
    }
    if as_json:
        print(json.dumps(result, sort_keys=True))
        return
    for name, value in result.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {version}" for key, version in value.items())
        elif isinstance(value, list):
            value = ", ".join(value)
        print(f"{name.replace('_', ' '):24}{value}")


def main() -> None:
    """Run the command line; wrong input ends in one line and exit status 2."""
    try:
        app(standalone_mode=False, prog_name="qtn-train")
    except NonFiniteLoss as error:
        _fail(f"{error} The last good checkpoint was kept.", 1)
    except (
        CheckpointError, DataError, RunError, UnsupportedByEngine, ValueError, TypeError,
        ImportError, FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError,
    ) as error:  # fmt: skip
        if os.environ.get("QTN_TRAIN_DEBUG"):
            raise
        _fail(str(error), 2)
    except (QtnTrainError, OSError) as error:
        _fail(str(error), 1)
    except _ClickException as error:
        _fail(f"{error.format_message().rstrip('.')}. See --help.", 2)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 1)


def _fail(message: str, status: int) -> NoReturn:
    _say("qtn-train: " + " ".join(message.split()))
    sys.exit(status)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options(given: dict[str, Any], out: Path, resume: bool) -> dict[str, Any]:
    """Return all options of a run: as given, or as its checkpoint says."""
    from .data import DATASETS
    from .training import CHECKPOINT, read_checkpoint

    if given["dataset"] not in DATASETS:
        expected = f"one of {', '.join(DATASETS)}"
        raise ValueError(must_be("dataset", expected, repr(given["dataset"])))
    holds_run = os.path.exists(out / CHECKPOINT) or os.path.exists(out / RUN)
    if holds_run and not resume:
        hint = "Give --resume to go on with it, or another --out."
        raise RunError(must_be("--out", "an empty folder", f"{out}, which holds a run", hint))
    if not holds_run:
        if resume:
            _say(f"{out} holds no checkpoint yet: starting the run there.")
        return _fresh(given)
    run = _run_of(read_checkpoint(out)[1], out)
    for name, value in given.items():
        if value is not None and value != run[name]:
            option = name if name == "dataset" else "--" + name.replace("_", "-")
            hint = "Resume with the options that the run began with, or leave them out."
            raise CheckpointError(must_be(option, f"{run[name]} as in {out}", value, hint))
    return run


def _fresh(given: dict[str, Any]) -> dict[str, Any]:
    import torch

    from .training import fit_config

    recipe: Any = given["recipe"] or "default"
    seed = 0 if given["seed"] is None else given["seed"]
    if given["seed"] is None and recipe == "published":
        seed = 42
    config = fit_config(given["dataset"], recipe, seed)
    for name in ("epochs", "batch_size"):
        if given[name] is not None:
            positive_int("--" + name.replace("_", "-"), given[name])
    for name in ("layers", "qubits"):
        if given[name] is not None:
            positive_int(f"--{name}", given[name])
    if given["lr"] is not None and not (math.isfinite(given["lr"]) and given["lr"] > 0):
        raise ValueError(must_be("--lr", "a positive number", given["lr"]))
    engine = given["engine"] or "auto"
    if engine not in ENGINES:
        raise ValueError(must_be("--engine", f"one of {', '.join(ENGINES)}", repr(engine)))
    if engine != "mps" and (given["max_bond"] is not None or given["cutoff"] is not None):
        hint = "Add --engine mps."
        raise ValueError(must_be("--engine", "mps with --max-bond or --cutoff", engine, hint))
    mapping = given["mapping"] or "mlp"
    if mapping not in MAPPINGS:
        raise ValueError(must_be("--mapping", f"one of {', '.join(MAPPINGS)}", repr(mapping)))
    if given["bond_dim"] is not None and mapping != "tensor-train":
        hint = "Add --mapping tensor-train."
        raise ValueError(must_be("--mapping", "tensor-train with --bond-dim", mapping, hint))
    chosen = {"recipe": recipe, "seed": seed, "engine": engine, "mapping": mapping}
    for name in ("epochs", "batch_size", "lr"):
        chosen[name] = getattr(config, name) if given[name] is None else given[name]
    chosen["torch_device"] = given["torch_device"] or "cpu"
    return {**given, **chosen, "threads": torch.get_num_threads()}


def _use_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _engine(run: dict[str, Any]) -> Engine | Literal["auto"]:
    from .engines import MPSEngine, StatevectorEngine

    if run["engine"] == "auto":
        return "auto"
    if run["engine"] == "mps":
        return MPSEngine(run["max_bond"], cutoff=run["cutoff"] or 0.0)
    return StatevectorEngine()


def _mapping(run: dict[str, Any], n_qubits: int) -> MappingModel | None:
    from .mapping import TensorTrainMapping

    if run["mapping"] == "mlp":
        return None
    return TensorTrainMapping(n_qubits, run["bond_dim"] or 4, seed=run["seed"])


def _build(run: dict[str, Any], data_dir: Path | None) -> tuple[Dataset, QuantumTrain]:
    """Return data and model of a run; ``run`` gets the ansatz and sizes that were chosen."""
    import torch

    from .data import load
    from .training import build_model, default_circuit, target_for

    try:
        device = torch.device(run["torch_device"])
        float(torch.zeros(1, device=device))
    except (RuntimeError, AssertionError) as error:
        expected = "a device of this machine"
        raise ValueError(must_be("--torch-device", expected, repr(run["torch_device"]))) from error
    n_weights = sum(p.numel() for p in target_for(run["dataset"]).parameters())
    run["ansatz"], circuit = default_circuit(
        run["dataset"],
        n_weights,
        ansatz=run["ansatz"],
        n_layers=run["layers"],
        n_qubits=run["qubits"],
    )
    engine = _engine(run)
    if engine != "auto" and circuit.n_qubits > engine.max_qubits:
        expected = f"at most {engine.max_qubits} for the engine {run['engine']} on this machine"
        hint = "Take --engine mps --max-bond 64 for more."
        raise UnsupportedByEngine(must_be("--qubits", expected, circuit.n_qubits, hint))
    data = load(run["dataset"], data_dir=data_dir)
    model = build_model(
        run["dataset"],
        circuit,
        engine,
        recipe=run["recipe"],
        mapping=_mapping(run, circuit.n_qubits),
        seed=run["seed"],
    ).to(device)
    run["qubits"] = circuit.n_qubits
    if run["layers"] is None:
        run["layers"] = _n_layers(run["ansatz"], circuit.n_qubits, len(circuit))
    return data, model


def _n_layers(ansatz: str, n_qubits: int, n_gates: int) -> int:
    from .circuits import ANSATZE

    return n_gates // len(ANSATZE[ansatz](n_qubits, 1))


def _init_from(model: QuantumTrain, directory: Path) -> None:
    from .training import read_checkpoint, restore_model

    tensors, info = read_checkpoint(directory)
    restore_model(model, tensors, info)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        actual = f"{out} ({error.strerror or error})"
        raise RunError(must_be("--out", "a folder that can be written", actual)) from error


def _fit(
    model: QuantumTrain, data: Dataset, run: dict[str, Any], out: Path, resume: bool
) -> dict[str, Any]:
    from tqdm import tqdm

    from ._files import write_atomically
    from .plots import save_curves
    from .training import fit, fit_config, seconds_per_step

    config = fit_config(run["dataset"], run["recipe"], run["seed"])
    if config.lr_mapping is not None:
        config = config.but(lr_mapping=config.lr_mapping * run["lr"] / config.lr)
    config = config.but(epochs=run["epochs"], batch_size=run["batch_size"], lr=run["lr"])

    def on_epoch(entry: dict[str, float]) -> None:
        tqdm.write(
            f"epoch {entry['epoch']:>3}/{config.epochs}  train loss {entry['train_loss']:.4f}  "
            f"acc {100 * entry['train_accuracy']:.2f} %  test loss {entry['test_loss']:.4f}  "
            f"acc {100 * entry['test_accuracy']:.2f} %  {entry['seconds']:.1f} s",
            file=sys.stderr,
        )

    history = fit(model, data, config, folder=out, resume=resume, on_epoch=on_epoch, run=run)
    result = _result(model, run)
    result["epochs"] = history.epochs
    result["test_accuracy"] = history.test_accuracy
    result["seconds_per_step"] = seconds_per_step(model, data, config)
    _write_weights(model, run, out / WEIGHTS)
    title = (
        f"{run['dataset']}: {result['n_weights']:,} weights from {result['n_trainable']:,} trained "
        f"numbers, {run['qubits']} qubits, {run['layers']} layers of {run['ansatz']}"
    )
    save_curves(history.epochs, out / CURVES, title)
    text = json.dumps(result, indent=2, sort_keys=True)
    write_atomically(out / RUN, f"{text}\n".encode())
    return result


def _result(model: QuantumTrain, run: dict[str, Any]) -> dict[str, Any]:
    kept = {name: run[name] for name in ("dataset", "ansatz", "recipe", "seed", "threads", "lr")}
    return {
        **kept,
        "n_qubits": run["qubits"],
        "n_layers": run["layers"],
        "engine": model.config()["generator"]["engine"]["kind"],
        "engine_options": model.config()["generator"]["engine"],
        "mapping": model.config()["generator"]["mapping"],
        "batch_size": run["batch_size"],
        "torch_device": run["torch_device"],
        "n_weights": model.n_weights,
        "n_trainable": model.n_trainable,
        "n_trainable_by_part": model.n_trainable_by_part,
        "compression": model.compression,
        "versions": _versions(),
    }


def _write_weights(model: QuantumTrain, run: dict[str, Any], path: Path) -> None:
    from ._files import write_tensors

    info = {name: run[name] for name in ("dataset", "recipe", "seed")}
    write_tensors(path, model.export().state_dict(), "weights", info)


def _stored(directory: Path, data_dir: Path | None) -> tuple[Dataset, QuantumTrain, dict[str, Any]]:
    from .training import read_checkpoint, restore_model

    tensors, info = read_checkpoint(directory)
    run = {**_run_of(info, directory), "torch_device": "cpu"}
    _use_threads(run["threads"])
    data, model = _build(run, data_dir)
    restore_model(model, tensors, info)
    return data, model.eval(), run


def _run_of(info: dict[str, Any], directory: Path) -> dict[str, Any]:
    run: dict[str, Any] = info["run"]
    if not {*_KEPT, "threads"} <= set(run):
        expected, actual = "a folder of `qtn-train train`", "a checkpoint written from Python"
        raise CheckpointError(must_be(str(directory), expected, actual))
    return run


def _versions() -> dict[str, str]:
    from importlib import metadata

    names = ("qtn_train", "torch", "numpy", "quimb", "safetensors")
    return {"python": platform.python_version()} | {n: metadata.version(n) for n in names}
