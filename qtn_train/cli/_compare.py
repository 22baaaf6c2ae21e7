"""The command line of comparisons: ``qtn-train compare``."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tqdm import tqdm

from .._files import write_atomically
from ..errors import CheckpointError, event, must_be
from . import _run as _run
from ._run import say

if TYPE_CHECKING:
    from ..comparison import Comparison
    from ..hybrid import QuantumTrain

COMPARISON, FIGURE, TABLE = "compare.json", "compare.png", "table.json"

# What is compared, where nothing is said.
_BEGIN: dict[str, Any] = {
    "generators": "circuit,random-subspace,frozen,fixed-random",
    "seeds": 3,
    "layers": None,
    "tune": False,
    "effective": False,
}

# Of these, what may be more when a comparison goes on.
_MORE = ("generators", "seeds", "layers", "effective")

_LIKE_TRAIN = (
    "dataset", "ansatz", "qubits", "mapping", "bond_dim", "recipe", "epochs", "lr", "batch_size",
    "torch_device",
)  # fmt: skip


def command(
    dataset: Annotated[
        str, typer.Argument(help="iris, digits, mnist-mini, mnist or fashion-mnist.")
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
    ansatz: Annotated[str | None, typer.Option(help="The ansatz, as for train.")] = None,
    qubits: Annotated[int | None, typer.Option(help="Qubits, as for train.")] = None,
    mapping: Annotated[str | None, typer.Option(help="The mapping, as for train.")] = None,
    bond_dim: Annotated[int | None, typer.Option(help="With --mapping tensor-train.")] = None,
    recipe: Annotated[str | None, typer.Option(help="default or published.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate of the circuit.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples of a step.")] = None,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune", help="Choose each learning rate on a held-out tenth of the training set."
        ),
    ] = False,
    effective: Annotated[
        bool, typer.Option("--effective", help="Count effective parameters too; takes minutes.")
    ] = False,
    torch_device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, …")] = None,
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
) -> None:
    """Compare a circuit with controls of equal size, over several seeds."""
    options = {**locals(), "layers": _numbers(layers), "tune": tune or None}
    options["effective"] = effective or None
    given = {name: options[name] for name in (*_BEGIN, *_LIKE_TRAIN)}
    if out is None:
        if resume:
            raise ValueError(must_be("--out", "given with --resume", "nothing"))
        out = Path("runs") / f"compare-{dataset}-{datetime.now():%Y%m%d-%H%M%S}"
    run = _options(given, out, resume)
    _run.use_threads(run["threads"])
    again = ["qtn-train", "compare", dataset, "--out", str(out), "--resume"]
    if data_dir is not None:
        again += ["--data-dir", str(data_dir)]
    try:
        comparison = _compare(run, data_dir, out, resume)
    except KeyboardInterrupt as error:
        if not (out / COMPARISON).exists():
            raise
        hint = f"Go on with: {shlex.join(again)}"
        raise InterruptedError(event("Interrupted.", "Nothing is lost.", hint)) from error
    from ..plots import save_comparison

    save_comparison(comparison.runs, out / FIGURE, _title(run, comparison))
    table = comparison.result(_command(run), _title(run, comparison))
    write_atomically(out / TABLE, f"{json.dumps(table, indent=1)}\n".encode())
    if as_json:
        print(json.dumps(comparison.to_json(), indent=1, sort_keys=True))
    else:
        print(f"{comparison.text()}\nsee {out / FIGURE} and {out / COMPARISON}")


def _numbers(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(number) for number in text.split(",")]
    except ValueError as error:
        hint = "For example --layers 1,4,16."
        raise ValueError(must_be("--layers", "numbers and commas", repr(text), hint)) from error


def _options(given: dict[str, Any], out: Path, resume: bool) -> dict[str, Any]:
    """Return all options: as given, or as the comparison in the folder says."""
    from ..comparison import read_comparison

    if not (resume and (out / COMPARISON).exists()):
        if resume:
            say(f"{out} holds no comparison yet: starting it there.")
        # Sizes are checked later: there may be several.
        like_train = dict.fromkeys(_run.KEPT) | {name: given[name] for name in _LIKE_TRAIN}
        run = _run.options(like_train | {"layers": None}, out, resume=False)
        return run | {k: _BEGIN[k] if given[k] is None else given[k] for k in _BEGIN}
    stored: dict[str, Any] | None = read_comparison(out).settings.get("run")
    if stored is None:
        expected, actual = "a folder of `qtn-train compare`", "a comparison written from Python"
        raise CheckpointError(must_be(str(out), expected, actual))
    for name, value in given.items():
        if name in _MORE or value is None:
            continue
        if value != stored[name]:
            option = name if name == "dataset" else "--" + name.replace("_", "-")
            hint = "Resume with the options that it began with, or leave them out."
            raise CheckpointError(must_be(option, f"{stored[name]} as in {out}", value, hint))
    return {**stored, **{name: given[name] for name in _MORE if given[name] is not None}}


def _compare(run: dict[str, Any], data_dir: Path | None, out: Path, resume: bool) -> Comparison:
    from ..comparison import GENERATORS, CompareConfig, compare

    names = GENERATORS if run["generators"] == "all" else run["generators"].split(",")
    config = CompareConfig(
        generators=tuple(name.strip() for name in names),
        layers=tuple(run["layers"] or [1]),
        seeds=run["seeds"],
        fit=_run.fit_options(run),
        tune=run["tune"],
        effective=run["effective"],
    )
    first = {**run, "layers": config.layers[0] if run["layers"] else None}
    data, model = _run.build(first, data_dir)
    run |= {"ansatz": first["ansatz"], "qubits": first["qubits"]}
    run["layers"] = run["layers"] or [first["layers"]]
    config = replace(config, layers=tuple(run["layers"]))
    say(model.summary())

    def make_model(n_layers: int, seed: int) -> QuantumTrain:
        return _run.build({**run, "layers": n_layers, "seed": seed}, data_dir, data=data)[1]

    def on_run(entry: dict[str, Any]) -> None:
        what = f"{entry['generator']}, {entry['n_layers']} layers, seed {entry['seed']}: "
        what += entry["failed"] or f"test accuracy {100 * entry['test_accuracy']:.2f} %"
        tqdm.write(f"{what} with {entry['n_trainable']:,} trained numbers", file=sys.stderr)

    kept = {**run, "versions": _run.versions()}
    return compare(make_model, data, config, folder=out, resume=resume, on_run=on_run, run=kept)


def _command(run: dict[str, Any]) -> str:
    """The command that makes a comparison, with all that was chosen for it."""
    words = ["qtn-train", "compare", run["dataset"]]
    for name in (*_LIKE_TRAIN[1:], "generators", "layers", "seeds"):
        if run[name] is not None:
            value = run[name]
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            words += ["--" + name.replace("_", "-"), text]
    return shlex.join([*words, *(f"--{name}" for name in ("tune", "effective") if run[name])])


def _title(run: dict[str, Any], comparison: Comparison) -> str:
    n_weights = comparison.runs[0]["n_weights"]
    layers = ", ".join(map(str, run["layers"]))
    return (
        f"{run['dataset']}: {n_weights:,} weights, {run['qubits']} qubits, {layers} layers of "
        f"{run['ansatz']}, {run['epochs']} epochs, {run['seeds']} seeds"
    )
