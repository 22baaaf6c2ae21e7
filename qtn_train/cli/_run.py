"""What the command line does with a run: options, model, training, files of its folder."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import CheckpointError, RunError, UnsupportedByEngine, must_be, positive_int

if TYPE_CHECKING:
    from ..circuits import Circuit
    from ..data import Dataset
    from ..engines import Engine
    from ..hybrid import QuantumTrain
    from ..mapping import MappingModel
    from ..training import FitConfig

ENGINES = ("auto", "mps", "statevector", "braket")
MAPPINGS = ("mlp", "tensor-train")
RUN, WEIGHTS, CURVES = "run.json", "weights.safetensors", "curves.png"
JOURNAL = "braket.sqlite"

#: Options that a resumed run takes from its checkpoint; given again, they must say the same.
KEPT = (
    "dataset", "ansatz", "layers", "qubits", "engine", "max_bond", "cutoff", "shots", "gradient",
    "mapping", "bond_dim", "recipe", "epochs", "lr", "batch_size", "seed", "torch_device",
    "device", "n_shifts", "mitigate_readout", "native", "placement", "weights_per_outcome",
)  # fmt: skip

# Of these, what checkpoints from before it existed lack.
_LATER = (
    "shots", "gradient", "device", "n_shifts", "mitigate_readout", "native", "placement",
    "weights_per_outcome",
)  # fmt: skip

#: Options that begin as those of another run do, where --init-from names one.
_OF_THE_MODEL = (
    "ansatz", "layers", "qubits", "mapping", "bond_dim", "weights_per_outcome", "recipe", "seed",
)  # fmt: skip

#: Options that only the engine braket has.
_OF_DEVICES = ("device", "native", "placement")

#: Makes the engine of a circuit, a number of weights and a data set.
OpenEngine = Callable[["Circuit", int, "Dataset"], "Engine"]


def say(text: str) -> None:
    """Print a line for people."""
    print(text, file=sys.stderr, flush=True)


def options(given: dict[str, Any], out: Path, resume: bool) -> dict[str, Any]:
    """Return all options of a run: as given, or as its checkpoint says."""
    from ..data import DATASETS
    from ..training import CHECKPOINT

    if given["dataset"] not in DATASETS:
        expected = f"one of {', '.join(DATASETS)}"
        raise ValueError(must_be("dataset", expected, repr(given["dataset"])))
    holds_run = os.path.exists(out / CHECKPOINT) or os.path.exists(out / RUN)
    if holds_run and not resume:
        hint = "Give --resume to go on with it, or another --out."
        raise RunError(must_be("--out", "an empty folder", f"{out}, which holds a run", hint))
    if not holds_run:
        if resume:
            say(f"{out} holds no checkpoint yet: starting the run there.")
        return _fresh(given)
    run = stored_options(out)
    for name, value in given.items():
        if value is not None and value != run[name]:
            option = name if name == "dataset" else _option(name)
            hint = "Resume with the options that the run began with, or leave them out."
            raise CheckpointError(must_be(option, f"{run[name]} as in {out}", value, hint))
    return run


@contextmanager
def started(
    given: dict[str, Any], out: Path, resume: bool
) -> Iterator[tuple[dict[str, Any], Path]]:
    """Join the processes that torchrun has started, if any; yield a run's options and folder.

    The first process alone looks at the folder and says anything; all get what it found.
    """
    from ..training._distributed import joined, take_device

    with joined() as processes, ExitStack() as stack:
        if not processes.first:
            stack.enter_context(redirect_stderr(stack.enter_context(open(os.devnull, "w"))))
        run, out = processes.from_first(lambda: (options(given, out, resume), out))
        if processes.size > 1 and run["engine"] == "braket":
            hint = "Start it without torchrun: circuits would be executed several times."
            raise ValueError(must_be("--engine", "a simulator with torchrun", "braket", hint))
        take_device(processes, run["torch_device"])
        run["processes"] = processes.size
        yield run, out


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _fresh(given: dict[str, Any]) -> dict[str, Any]:
    """Check the options of a new run and choose what is not given."""
    import torch

    for name in ("epochs", "batch_size", "layers", "qubits", "weights_per_outcome", "shots"):
        # Braket's local simulators take 0 shots; a device's own range is checked later.
        if given[name] is not None and (name, given["engine"]) != ("shots", "braket"):
            positive_int(_option(name), given[name])
    if given["lr"] is not None and not (math.isfinite(given["lr"]) and given["lr"] > 0):
        raise ValueError(must_be("--lr", "a positive number", given["lr"]))
    recipe = given["recipe"] or "default"
    seed = given["seed"]
    if seed is None:
        seed = 42 if recipe == "published" else 0
    chosen = {"recipe": recipe, "seed": seed, **_engine_options(given), **_mapping_options(given)}
    config = fit_options({**given, **chosen})
    for name in ("epochs", "batch_size", "lr"):
        chosen[name] = getattr(config, name)
    chosen["torch_device"] = given["torch_device"] or "cpu"
    return {**given, **chosen, "threads": torch.get_num_threads()}


def _engine_options(given: dict[str, Any]) -> dict[str, Any]:
    engine = given["engine"] or "auto"
    if engine not in ENGINES:
        raise ValueError(must_be("--engine", f"one of {', '.join(ENGINES)}", repr(engine)))
    if engine != "mps" and (given["max_bond"] is not None or given["cutoff"] is not None):
        hint = "Add --engine mps."
        raise ValueError(must_be("--engine", "mps with --max-bond or --cutoff", engine, hint))
    if engine == "braket" and given["device"] is None:
        hint = "For example --device local:sv."
        raise ValueError(must_be("--device", "given with --engine braket", "nothing", hint))
    if engine == "braket" and given["shots"] is None:
        hint = "For example --shots 4000."
        raise ValueError(must_be("--shots", "given with --engine braket", "nothing", hint))
    for name in _OF_DEVICES:
        if engine != "braket" and given[name] is not None:
            check_engine(engine, name)
    for name in ("gradient", "n_shifts", "mitigate_readout"):
        if given["shots"] is None and given[name] is not None:
            expected, hint = "given with --shots", "Add --shots."
            raise ValueError(must_be(_option(name), expected, "no --shots", hint))
    gradient = given["gradient"]
    if given["shots"] is not None:
        gradient = gradient or "parameter-shift"
    return {"engine": engine, "gradient": gradient}


def check_engine(engine: str, name: str) -> None:
    """Refuse an option of the engine braket with another engine."""
    if engine != "braket":
        expected = f"braket with {_option(name)}"
        raise ValueError(must_be("--engine", expected, engine, "Add --engine braket."))


def _mapping_options(given: dict[str, Any]) -> dict[str, Any]:
    mapping = given["mapping"] or "mlp"
    if mapping not in MAPPINGS:
        raise ValueError(must_be("--mapping", f"one of {', '.join(MAPPINGS)}", repr(mapping)))
    if given["bond_dim"] is not None and mapping != "tensor-train":
        hint = "Add --mapping tensor-train."
        raise ValueError(must_be("--mapping", "tensor-train with --bond-dim", mapping, hint))
    return {"mapping": mapping}


def fit_options(run: dict[str, Any]) -> FitConfig:
    """Return the recipe's training options, with those of the run in their place."""
    from ..recipes import fit_config

    config = fit_config(run["dataset"], run["recipe"], run["seed"], run["shots"] is not None)
    if config.lr_mapping is not None and run["lr"] is not None:
        config = config.but(lr_mapping=config.lr_mapping * run["lr"] / config.lr)
    given = {name: run[name] for name in ("epochs", "batch_size", "lr") if run[name] is not None}
    return config.but(**given)


def use_threads(threads: int) -> None:
    """Compute with this many threads."""
    import torch

    torch.set_num_threads(threads)


def _engine(run: dict[str, Any], circuit: Circuit, n_weights: int) -> Engine | Literal["auto"]:
    from ..engines import BraketEngine, MPSEngine, SampledEngine, StatevectorEngine, choose_engine

    engine: Engine
    if run["engine"] == "braket":
        return BraketEngine(run["device"], **engine_options(run))
    if run["engine"] == "mps":
        engine = MPSEngine(run["max_bond"], cutoff=run["cutoff"] or 0.0)
    elif run["engine"] == "statevector":
        engine = StatevectorEngine()
    elif run["shots"] is None:
        return "auto"
    else:
        engine, _ = choose_engine(circuit, n_weights)
    if run["shots"] is None:
        return engine
    return SampledEngine(engine, **engine_options(run, of_device=False))


def engine_options(run: dict[str, Any], *, of_device: bool = True) -> dict[str, Any]:
    """Return the options of an engine that counts shots, of a device's engine or any other."""
    names = ("shots", "gradient", "seed", "n_shifts")
    chosen = {name: run[name] for name in names}
    chosen["mitigate_readout"] = bool(run["mitigate_readout"])
    if not of_device:
        return chosen
    return chosen | {"native": bool(run["native"]), "placement": _placement(run["placement"])}


def _placement(text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(int(label) for label in text.split(","))
    except ValueError as error:
        hint = "For example --placement 1,2,5."
        raise ValueError(must_be("placement", "numbers and commas", repr(text), hint)) from error


def _mapping(run: dict[str, Any], n_weights: int) -> MappingModel | None:
    from ..generators import values_needed
    from ..mapping import TensorTrainMapping

    if run["mapping"] == "mlp":
        return None
    per_outcome = run["weights_per_outcome"] or 1
    return TensorTrainMapping(
        values_needed(n_weights, per_outcome),
        run["bond_dim"] or 4,
        weights_per_outcome=per_outcome,
        seed=run["seed"],
    )


def build(
    run: dict[str, Any],
    data_dir: Path | None,
    open_engine: OpenEngine | None = None,
    data: Dataset | None = None,
) -> tuple[Dataset, QuantumTrain]:
    """Return data and model of a run; ``run`` gets the ansatz and sizes that were chosen.

    An engine of the caller's own is opened last, when everything else is known to be right. Data
    that are there already are not read again.
    """
    import torch

    from ..data import load
    from ..recipes import build_model, default_circuit, target_for

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
        recipe=run["recipe"],
        ansatz=run["ansatz"],
        n_layers=run["layers"],
        n_qubits=run["qubits"],
        weights_per_outcome=run["weights_per_outcome"] or 1,
    )
    data = load(run["dataset"], data_dir=data_dir) if data is None else data
    mapping = _mapping(run, n_weights)
    if open_engine is None:
        engine = _engine(run, circuit, n_weights)
    else:
        engine = open_engine(circuit, n_weights, data)
    if engine != "auto" and circuit.n_qubits > engine.max_qubits:
        expected = f"at most {engine.max_qubits} for the engine {run['engine']} on this machine"
        hint = "Take --engine mps --max-bond 64 for more."
        raise UnsupportedByEngine(must_be("--qubits", expected, circuit.n_qubits, hint))
    model = build_model(
        run["dataset"],
        circuit,
        engine,
        recipe=run["recipe"],
        mapping=mapping,
        weights_per_outcome=run["weights_per_outcome"] or 1,
        seed=run["seed"],
        device=device,
    )
    run["qubits"] = circuit.n_qubits
    if run["layers"] is None:
        run["layers"] = _n_layers(run["ansatz"], circuit.n_qubits, len(circuit))
    return data, model


def _n_layers(ansatz: str, n_qubits: int, n_gates: int) -> int:
    from ..circuits import ANSATZE

    return n_gates // len(ANSATZE[ansatz](n_qubits, 1))


def begun_as(given: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Return a new run's options, with those of another run's model where they are not given."""
    run = stored_options(directory)
    return {k: run[k] if v is None and k in _OF_THE_MODEL else v for k, v in given.items()}


def init_from(model: QuantumTrain, directory: Path) -> None:
    """Give a new run's model the trained numbers of another run."""
    from ..training import read_checkpoint, restore_model

    tensors, info = read_checkpoint(directory)
    restore_model(model, tensors, info)
    model.generator.position = 0


@contextmanager
def new_folder(out: Path) -> Iterator[None]:
    """Make a folder, which goes again if what follows refuses to begin there."""
    made = [path for path in (out, *out.parents) if not path.exists()]
    make_folder(out)
    try:
        yield
    except BaseException:
        for path in made:
            with suppress(OSError):
                path.rmdir()
        raise


def make_folder(out: Path) -> None:
    """Make the run's folder, and try whether it can be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        actual = f"{out} ({error.strerror or error})"
        raise RunError(must_be("--out", "a folder that can be written", actual)) from error


def train(
    model: QuantumTrain, data: Dataset, run: dict[str, Any], out: Path, resume: bool
) -> dict[str, Any] | None:
    """Train, write the files of the run's folder, and return what ``run.json`` holds.

    Of several processes the first alone writes; the others return None.
    """
    from tqdm import tqdm

    from .._files import write_atomically
    from ..plots import save_curves
    from ..training import fit, seconds_per_step
    from ..training._distributed import Processes

    config = fit_options(run)

    def on_epoch(entry: dict[str, float]) -> None:
        tqdm.write(
            f"epoch {entry['epoch']:>3}/{config.epochs}  train loss {entry['train_loss']:.4f}  "
            f"acc {100 * entry['train_accuracy']:.2f} %  test loss {entry['test_loss']:.4f}  "
            f"acc {100 * entry['test_accuracy']:.2f} %  {entry['seconds']:.1f} s",
            file=sys.stderr,
        )

    history = fit(model, data, config, folder=out, resume=resume, on_epoch=on_epoch, run=run)
    if not Processes.current().first:
        return None
    write_weights(model, run, out / WEIGHTS)
    result = _result(model, run)
    result["epochs"] = history.epochs
    result["test_accuracy"] = history.test_accuracy
    # Timing takes a hundred steps more: none where each of them executes circuits for shots.
    exact = run["shots"] is None
    result["seconds_per_step"] = seconds_per_step(model, data, config) if exact else None
    if (out / JOURNAL).exists():
        from ..engines.counting._recorded import bill

        result["braket"] = bill(out / JOURNAL)
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
    generator = model.config()["generator"]
    return {
        **kept,
        "n_qubits": run["qubits"],
        "n_layers": run["layers"],
        "engine": generator["engine"]["kind"],
        "engine_options": generator["engine"],
        "mapping": generator["mapping"],
        "batch_size": run["batch_size"],
        "torch_device": run["torch_device"],
        "processes": run.get("processes", 1),
        "n_weights": model.n_weights,
        "n_trainable": model.n_trainable,
        "n_trainable_by_part": model.n_trainable_by_part,
        "compression": model.compression,
        "versions": versions(),
    }


def write_weights(model: QuantumTrain, run: dict[str, Any], path: Path) -> None:
    """Write the run's network as a plain classical one."""
    from .._files import write_tensors

    info = {name: run[name] for name in ("dataset", "recipe", "seed")}
    write_tensors(path, model.export().state_dict(), "weights", info)


def stored(directory: Path, data_dir: Path | None) -> tuple[Dataset, QuantumTrain, dict[str, Any]]:
    """Return data, model and options of the run in a folder."""
    from ..training import read_checkpoint, restore_model

    run = {**stored_options(directory), "torch_device": "cpu"}
    use_threads(run["threads"])
    journal = directory / JOURNAL
    data, model = build(run, data_dir, recorded(journal) if journal.exists() else None)
    restore_model(model, *read_checkpoint(directory))
    return data, model.eval(), run


def recorded(journal: Path) -> OpenEngine:
    """Return what opens the engine that gives the counts of a journal."""
    from ..engines.counting._recorded import RecordedEngine

    return lambda circuit, n_weights, data: RecordedEngine(journal)


def stored_options(directory: Path) -> dict[str, Any]:
    """Return the options that the run in a folder began with."""
    from ..training import read_checkpoint

    info = read_checkpoint(directory)[1]
    run: dict[str, Any] = dict.fromkeys(_LATER) | info["run"]
    if not {*KEPT, "threads"} <= set(run):
        expected, actual = "a folder of `qtn-train train`", "a checkpoint written from Python"
        raise CheckpointError(must_be(str(directory), expected, actual))
    return run


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    from importlib import metadata

    names = ("qtn_train", "torch", "numpy", "quimb", "safetensors")
    return {"python": platform.python_version()} | {n: metadata.version(n) for n in names}
