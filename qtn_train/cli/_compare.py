"""The command line of comparisons: ``qtn-train compare``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tqdm import tqdm

from ..errors import CheckpointError, event, must_be
from . import _run as _run
from ._folder import RESUME_HINT, RunFolder, command_line
from ._help import examples
from ._options import given_options, run_options
from ._run import say

if TYPE_CHECKING:
    from ..comparison import Comparison
    from ..hybrid import QuantumTrain
    from ..recipes import RunOptions

COMPARISON, FIGURE, TABLE = "compare.json", "compare.png", "table.json"

#: The program of a circuit of the user's own, beside the table whose command names it.
CIRCUIT = "circuit.qasm"

# What is compared, where nothing is said.
_BEGIN: dict[str, Any] = {
    "generators": "circuit,random-subspace,frozen,fixed-random",
    "seeds": 3,
    "tune": False,
    "effective": False,
}

# Of these, what may be more when a comparison goes on.
_MORE = ("generators", "seeds", "layers", "effective")

#: Options of a run that a comparison takes too; its seeds and layers are several.
_LIKE_TRAIN = (
    "target", "label", "start",
    "ansatz", "n_qubits", "circuit", "measurement", "reach", "mapping", "bond_dim",
    "weights_per_outcome", "training_shots",
    "recipe", "engine", "max_bond", "cutoff", "allow_truncation", "epochs", "lr", "lr_mapping",
    "batch_size", "torch_device",
)  # fmt: skip


EXAMPLES = examples(
    "qtn-train compare iris --generators circuit,hashing --seeds 5",
    "qtn-train compare digits --layers 5,20,80 --tune",
    "qtn-train compare mnist-mini --generators all --epochs 5 --out runs/all",
)


@run_options(_LIKE_TRAIN)
def command(
    dataset: Annotated[
        str,
        typer.Argument(
            help="iris, digits, mnist-mini, mnist or fashion-mnist; or a file or folder, as train "
            "takes it."
        ),
    ],
    generators: Annotated[
        str | None,
        typer.Option(
            help=f"Names with commas, or all; {_BEGIN['generators']} by default. A wrong name "
            "lists the known ones."
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="How many, from 0 on; 3 by default.")] = None,
    layers: Annotated[
        str | None, typer.Option(help="Layers of the circuit; several sizes with commas.")
    ] = None,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune", help="Choose each learning rate on a held-out tenth of the training set."
        ),
    ] = False,
    effective: Annotated[
        bool, typer.Option("--effective", help="Count effective parameters too; takes minutes.")
    ] = False,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the full image sets.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder; runs/compare-<dataset>-<date>-<time> by default.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in --out; more may be asked for.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.")
    ] = False,
    **options: Any,
) -> None:
    """Compare a circuit with controls of equal size, over several seeds."""
    own = {
        "generators": generators,
        "seeds": seeds,
        "layers": _numbers(layers),
        "tune": tune or None,
        "effective": effective or None,
    }
    given = given_options({"dataset": dataset, **options})
    out = _run.new_path(out, resume, given["dataset"], "compare-")
    plan = _plan(given, own, out, resume)
    _run.use_threads(plan.threads)
    try:
        comparison = _compare(plan, data_dir, out, resume)
    except KeyboardInterrupt as error:
        if not (out / COMPARISON).exists():
            raise
        again = {"out": out, "resume": True, "data_dir": data_dir}
        hint = f"Go on with: {command_line(['qtn-train', 'compare', dataset], again)}"
        raise InterruptedError(event("Interrupted.", "Nothing is lost.", hint)) from error
    from .._files import write_atomically
    from ..plots import save

    title = _title(plan, comparison)
    save(comparison.figure(title), out / FIGURE)
    table = comparison.result(_command(plan), title)
    write_atomically(out / TABLE, f"{json.dumps(table, indent=1)}\n".encode())
    if plan.options.circuit_text is not None:
        write_atomically(out / CIRCUIT, plan.options.circuit_text.encode())
    if as_json:
        print(json.dumps(comparison.to_json(), indent=1, sort_keys=True))
    else:
        print(f"{comparison.text()}\nsee {out / FIGURE} and {out / COMPARISON}")


def _numbers(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(number) for number in text.split(",")]
    except ValueError as error:
        hint = "For example 1,4,16."
        raise ValueError(must_be("layers", "numbers and commas", repr(text), hint)) from error


@dataclass(frozen=True)
class _Plan:
    """A comparison to be made: a run's options, the generators, the seeds and the sizes."""

    options: RunOptions
    generators: str
    seeds: int
    layers: tuple[int, ...]
    tune: bool
    effective: bool
    threads: int

    def to_json(self) -> dict[str, Any]:
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return own | {"options": self.options.to_json(), "layers": list(self.layers)}


def _plan(given: dict[str, Any], own: dict[str, Any], out: Path, resume: bool) -> _Plan:
    """Return the plan: from the options given, or from the comparison in the folder."""
    import torch

    from ..comparison import read_comparison
    from ..recipes import RunOptions

    asked = {name: value for name, value in own.items() if value is not None}
    if not (resume and (out / COMPARISON).exists()):
        if resume:
            say(f"{out} holds no comparison yet: starting it there.")
        # The sizes are of one run each; the seeds are those of the comparison.
        layers = asked.pop("layers", None)
        first = {} if layers is None else {"n_layers": layers[0]}
        options = RunOptions.from_json({**given, **first, "seed": 0}).complete()
        # A circuit of the user's own has one size, which is counted as one layer.
        layers = tuple(layers or [options.n_layers or 1])
        threads = torch.get_num_threads()
        return _Plan(options, **(_BEGIN | asked), layers=layers, threads=threads)
    stored: Any = read_comparison(out).settings.get("run")
    try:
        options = RunOptions.from_json(stored["options"])
        kept = {name: stored[name] for name in (*_BEGIN, "layers", "threads")}
    except (LookupError, TypeError, ValueError) as error:
        expected, actual = "a folder of `qtn-train compare`", "a comparison written from Python"
        raise CheckpointError(must_be(str(out), expected, actual)) from error
    RunFolder(out).check_same(options, given)
    if asked.get("tune", stored["tune"]) != stored["tune"]:
        raise CheckpointError(must_be("tune", f"{stored['tune']} as in {out}", True, RESUME_HINT))
    kept |= {name: value for name, value in asked.items() if name in _MORE}
    return _Plan(options, **(kept | {"layers": tuple(kept["layers"])}))


def _compare(plan: _Plan, data_dir: Path | None, out: Path, resume: bool) -> Comparison:
    from ..comparison import GENERATORS, CompareConfig, compare

    names = GENERATORS if plan.generators == "all" else plan.generators.split(",")
    config = CompareConfig(
        generators=tuple(name.strip() for name in names),
        layers=plan.layers,
        seeds=plan.seeds,
        fit=plan.options.fit_config(),
        tune=plan.tune,
        effective=plan.effective,
    )

    def make_model(n_layers: int, seed: int) -> QuantumTrain:
        size = {} if plan.options.circuit_text is not None else {"n_layers": n_layers}
        return plan.options.but(**size, seed=seed).model()

    data, model = plan.options.load(data_dir), plan.options.model()
    if not data.n_classes:
        hint = "Comparisons are of accuracies; train one generator after the other instead."
        raise ValueError(must_be("dataset", "one with classes", "real numbers", hint))
    plan.options.check_data(model, data)
    plan.options.check_truncation(model)
    say(model.summary())

    def on_run(entry: dict[str, Any]) -> None:
        size = "" if plan.options.circuit_text is not None else f"{entry['n_layers']} layers, "
        what = f"{entry['generator']}, {size}seed {entry['seed']}: "
        what += entry["failed"] or f"test accuracy {100 * entry['test_accuracy']:.2f} %"
        tqdm.write(f"{what} with {entry['n_trainable']:,} trained numbers", file=sys.stderr)

    kept = {**plan.to_json(), "versions": _run.versions()}
    return compare(make_model, data, config, folder=out, resume=resume, on_run=on_run, run=kept)


def _command(plan: _Plan) -> str:
    """Return the command that makes a comparison, with every option chosen for it."""
    options = plan.options.to_json()
    told: dict[str, Any] = {name: options[name] for name in _LIKE_TRAIN}
    told |= {"generators": plan.generators, "layers": ",".join(map(str, plan.layers))}
    if plan.options.circuit_text is not None:
        told |= {"circuit": CIRCUIT, "layers": None}
    told |= {name: getattr(plan, name) for name in ("seeds", "tune", "effective")}
    from ..recipes._own import shown

    told = {name: shown(value) if isinstance(value, str) else value for name, value in told.items()}
    return command_line(["qtn-train", "compare", shown(plan.options.dataset)], told)


def _title(plan: _Plan, comparison: Comparison) -> str:
    n_weights = comparison.runs[0]["n_weights"]
    options, shape = plan.options, plan.options.shape
    if options.circuit_text is None:
        shape = f"{', '.join(map(str, plan.layers))} layers of {options.ansatz}"
    return (
        f"{options.data_name}: {n_weights:,} weights, {options.n_qubits} qubits, {shape}, "
        f"{options.epochs} epochs, {plan.seeds} seeds"
    )
