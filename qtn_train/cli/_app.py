"""The command line: ``qtn-train train | evaluate | export | compare | circuit | braket | info``.

Standard output carries the result (with ``--json``: one JSON object and nothing else), standard
error what is meant for people meanwhile. Exit status: 0 when it worked, 2 for bad input, 1
otherwise.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from contextlib import ExitStack, redirect_stderr
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import count, event, must_be
from . import _braket as _braket
from . import _circuit as _circuit
from . import _compare as _compare
from . import _device as _device
from . import _failure as _failure
from . import _first_run as _first_run
from . import _run as _run
from . import _study as _study
from . import _tutorials as _tutorials
from ._device import Account
from ._folder import RunFolder, command_line
from ._help import CONTEXT, Command, examples, normalized
from ._options import ALL, given_options, option_of, run_options
from ._run import say

app = typer.Typer(
    name="qtn-train",
    help="Train classical networks whose weights are read off a quantum circuit.",
    context_settings=CONTEXT,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(_braket.app, name="braket")
app.add_typer(_circuit.app, name="circuit")
app.add_typer(_study.app, name="study")
app.command("compare", cls=Command, epilog=_compare.EXAMPLES)(_compare.command)
app.command("tutorials", cls=Command, epilog=_tutorials.EXAMPLES)(_tutorials.command)

#: Flags that may stand anywhere in the line.
_GLOBAL = ("--debug", "--quiet")


def _tell_version(asked: bool) -> bool:
    if asked:
        print(metadata.version("qtn_train"))
        raise typer.Exit
    return asked


@app.callback()
def every_command(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of whatever ends the program.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Nothing on standard error but what went wrong.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_tell_version, is_eager=True),
    ] = False,
) -> None:
    """Train classical networks whose weights are read off a quantum circuit."""


_EXAMPLES = examples(
    "qtn-train train iris",
    "qtn-train train mnist-mini --layers 40 --epochs 10 --out runs/mini",
    "qtn-train train flowers.csv --target net.py:Net --label kind",
)

_CITATION = """\
@software{{qtn_train,
  title = {{qtn_train: training classical networks through quantum circuits}},
  author = {{{{The authors of qtn_train}}}},
  version = {{{version}}},
}}
@article{{quantum_train,
  title = {{Training Classical Neural Networks by Quantum Machine Learning}},
  author = {{Liu, Chen-Yu and Kuo, En-Jui and Lin, Chu-Hsuan Abraham and Chen, Sean and Young,
    Jason Gemsun and Chang, Yeong-Jar and Hsieh, Min-Hsiu}},
  journal = {{arXiv:2402.16465}},
  year = {{2024}},
}}"""

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the full image sets.")]
RunDir = Annotated[Path, typer.Argument(help="Folder of a run.")]


@app.command(cls=Command, epilog=_EXAMPLES)
@run_options(ALL)
def train(
    dataset: Annotated[
        str,
        typer.Argument(
            help="iris, digits, mnist-mini, mnist or fashion-mnist; or a csv or npz file, or a "
            "folder of images, with --target."
        ),
    ],
    data_dir: DataDir = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; runs/<dataset>-<date>-<time> by default.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    init_from: Annotated[
        Path | None, typer.Option(help="Start from the trained numbers, and the seed, of this run.")
    ] = None,
    budget_usd: _device.Budget = None,
    profile: _device.Profile = None,
    region: _device.Region = None,
    bucket: _device.Bucket = None,
    reservation_arn: _device.Reservation = None,
    tag: _device.Tags = None,
    s3_prefix: _device.Prefix = None,
    yes: _device.Yes = False,
    resend: _device.Resend = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Train a data set's network and write the result into a folder."""
    terms = (reservation_arn, tuple(tag or ()), s3_prefix)
    account = Account(profile, region, bucket, budget_usd, yes, resend, *terms)
    if normalized(options["engine"] or "") == "braket":
        account.check_credentials(options["device"])
    given = _run.without_files(given_options({"dataset": dataset, **options}))
    resume = resume or resend
    folder = RunFolder(_run.new_path(out, resume, given["dataset"]))
    if init_from is not None:
        given = _run.begun_as(given, init_from)
    again = {"out": folder.path, "resume": True, "data_dir": data_dir}
    with ExitStack() as stack:
        run = stack.enter_context(_run.started(given, folder, resume))
        account.check_engine(run.options)
        _run.use_threads(run.threads)
        words = ["qtn-train", "train", dataset]
        data = run.options.load(data_dir)
        engine = None
        if run.options.engine_name == "braket":
            stack.enter_context(_device.telling(words, again, account, folder.journal))
            engine = stack.enter_context(_device.training_engine(run, data, account))
        model = run.options.model(engine)
        if init_from is not None:
            _run.init_from(model, init_from)
        run.options.check_data(model, data)
        folder.make()
        say(model.summary())
        try:
            result = _run.train(model, data, run, resume)
        except KeyboardInterrupt as error:
            if engine is not None:  # a device: its tasks decide how to go on
                raise
            hint = f"Go on with: {command_line(words, again)}"
            raise InterruptedError(event("Interrupted.", "Nothing is lost.", hint)) from error
    if result is None:  # the first process tells
        return
    if as_json:
        print(json.dumps(result, indent=2, sort_keys=True))
    else:
        print(
            f"{_run.told(result)} with {result['n_trainable']:,} trained numbers for "
            f"{result['n_weights']:,} weights; see {folder.curves}"
        )


@app.command(cls=Command)
def evaluate(directory: RunDir, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Print loss and accuracy of a run's network on the test set."""
    data, model, options = _run.stored(directory, data_dir)
    found = options.evaluate(model, data)
    result = {"dataset": options.data_name, **found}
    line = f"{options.data_name}: test loss {found['test_loss']:.4f}, {_run.told(found)}"
    print(json.dumps(result, sort_keys=True) if as_json else line)


@app.command(cls=Command)
def export(
    directory: RunDir,
    format_: Annotated[str, typer.Option("--format", help="safetensors or onnx.")] = "safetensors",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write a run's network as a plain classical one, into the run's folder."""
    if format_ not in ("safetensors", "onnx"):
        raise ValueError(must_be("format_", "'safetensors' or 'onnx'", repr(format_)))
    data, model, options = _run.stored(directory, data_dir)
    result: dict[str, Any] = {"format": format_}
    if format_ == "onnx":
        from ..training import export_onnx

        path = directory / "model.onnx"
        result["largest_difference"] = export_onnx(model.export(), data.x_test[:64], path)
    else:
        path = RunFolder(directory).weights
        _run.write_weights(model, options, path)
    result["path"] = str(path)
    print(json.dumps(result, sort_keys=True) if as_json else f"wrote {path}")


_INFO_EXAMPLES = examples(
    "qtn-train info",
    "qtn-train info --estimate mnist-mini --layers 40 --epochs 10",
    "qtn-train info --cite",
)


@app.command(cls=Command, epilog=_INFO_EXAMPLES)
@run_options(ALL)
def info(
    estimate: Annotated[
        str | None,
        typer.Option(
            help="How long `train` would take with this data set and the options beside it; a few "
            "steps are tried."
        ),
    ] = None,
    cite: Annotated[bool, typer.Option("--cite", help="Print how to cite, as BibTeX.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Print versions, threads, what this machine can do, and how long a run would take."""
    if cite:
        text = _CITATION.format(version=metadata.version("qtn_train"))
        print(json.dumps({"bibtex": text}) if as_json else text)
        return
    given = [name for name, value in options.items() if value is not None]
    if estimate is None and given:
        expected, hint = f"given with {option_of(given[0])}", "Name a data set, such as iris."
        raise ValueError(must_be("estimate", expected, "nothing", hint))
    if estimate is not None:
        _tell_time(given_options({"dataset": estimate, **options}), data_dir, as_json)
        return
    import torch

    from ..data import DATASETS
    from ..engines import StatevectorEngine
    from ..recipes import SETTINGS

    result = {
        "versions": _run.versions(),
        "threads": torch.get_num_threads(),
        "devices": ["cpu", *[f"cuda:{i}" for i in range(torch.cuda.device_count())]],
        "datasets": list(DATASETS),
        "engines": list(SETTINGS["engine"].choices),
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


def _tell_time(given: dict[str, Any], data_dir: Path | None, as_json: bool) -> None:
    """Print how long a training run would take."""
    import torch

    from ..recipes import RunOptions, estimate_time

    run = RunOptions.from_json(given)
    told = estimate_time(run, run.load(data_dir))
    if as_json:
        print(json.dumps(told.to_json() | {"threads": torch.get_num_threads()}, sort_keys=True))
        return
    threads = torch.get_num_threads()
    with_threads = count(threads, "thread")
    print(f"{run.data_name}: about {_duration(told.seconds)} on this machine with {with_threads}")
    rows = {
        "steps": f"{told.steps:,} of {_duration(told.step_s)}, in {told.epochs:,} epochs",
        "evaluations": f"{told.epochs:,} of {_duration(told.evaluation_s)}",
        "the first step": _duration(told.first_s),
        "engine": told.engine,
        "tried": f"{told.tried} steps",
    }
    if not told.tried:
        rows["tried"] = "no step: one takes minutes. Good for the order of magnitude alone"
    for name, value in rows.items():
        print(f"  {name:16}{value}")


def _duration(seconds: float) -> str:
    """Return a time with two digits and its unit.

    Example:
        >>> _duration(0.0123), _duration(4), _duration(150), _duration(9000)
        ('12 ms', '4 s', '2.5 min', '2.5 h')
    """
    units = ((86400.0, "days"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"))
    size, unit = next((pair for pair in units if seconds >= pair[0]), units[-1])
    return f"{float(f'{seconds / size:.2g}'):,g} {unit}"


def main() -> None:
    """Run the command line; wrong input ends in one line and exit status 2."""
    command = typer.main.get_command(app)
    words = _flags_first(sys.argv[1:])
    try:
        with ExitStack() as stack:
            if "--quiet" in words:
                nowhere = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(redirect_stderr(nowhere))
            command.main(words, prog_name="qtn-train", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in words:
            traceback.print_exception(error)
        _failure.end(error, command, words)


def _flags_first(words: list[str]) -> list[str]:
    """Let the flags that hold for every command stand anywhere."""
    given = [flag for flag in _GLOBAL if flag in words]
    return given + [word for word in words if word not in _GLOBAL]


if __name__ == "__main__":
    main()
