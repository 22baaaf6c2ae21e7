"""The command line of studies: ``qtn-train study run | show``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import Event, count
from ._help import Command

app = typer.Typer(
    help="Sweeps over the settings of a run or a measurement, on one machine or a cluster.",
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


@app.command(cls=Command)
def run(
    study: Annotated[
        str,
        typer.Argument(
            help="A study file (TOML), or a ready-made study: accuracy-against-shots, cost, "
            "entropy, geometry, geometry-depth, gradient-variance, gradient-variance-deep, "
            "ground-state, observable, probabilities, training or truncation."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the study.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Run what is missing in the folder.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run the failed tasks of the folder again, too.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="Processes on this machine; one for each core by default.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address or file of a running Dask scheduler.")
    ] = None,
    memory_limit: Annotated[
        str | None, typer.Option(help="Memory of each process, such as 4GB.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a study, or its missing tasks, and write the results into a folder."""
    from ..studies import load_study, run_study

    checked = load_study(study)
    try:
        result = run_study(
            checked,
            out,
            resume=resume or retry_failed,
            retry_failed=retry_failed,
            workers=workers,
            scheduler=scheduler,
            memory_limit=memory_limit,
        )
    except (KeyboardInterrupt, ConnectionError) as error:
        again = ["qtn-train", "study", "run", study, "--out", str(out), "--resume"]
        again += ["--workers", str(workers)] if workers is not None else []
        again += ["--scheduler", scheduler] if scheduler is not None else []
        again += ["--memory-limit", memory_limit] if memory_limit is not None else []
        why = str(error) or "Interrupted. All finished rows are kept."
        raise InterruptedError(Event(f"{why} Go on with: {shlex.join(again)}")) from error
    failed = f", {result['failed']:,} failed" if result["failed"] else ""
    line = f"{result['done']:,} of {count(result['total'], 'task')} done{failed}; "
    line += f"see qtn-train study show {shlex.quote(str(out))}"
    print(json.dumps({"out": str(out), **result}, sort_keys=True) if as_json else line)


@app.command(cls=Command)
def show(
    directory: Annotated[Path, typer.Argument(help="Folder of a study.")], as_json: Json = False
) -> None:
    """Print progress, failures and results of a study, and draw them into its folder."""
    from ..plots import save
    from ..studies import draw, page, read_study, summarize, table

    measure = read_study(directory).measure
    summary = summarize(directory)
    path = directory / f"{measure.name}.png"
    if summary["points"]:
        save(draw(summary, measure, measure.about), path)
    if as_json:
        drawn = str(path) if summary["points"] else None
        result = {**summary, **page(summary, measure), "figure_path": drawn}
        print(json.dumps(result, sort_keys=True, allow_nan=False))
        return
    print(
        f"{measure.name}: {summary['done']:,} of {count(summary['total'], 'task')} done, "
        f"{summary['failed']:,} failed, {summary['missing']:,} missing"
    )
    for failure in summary["failures"]:
        first = ", ".join(f"{name} {value}" for name, value in failure["first"].items())
        print(f"failed {failure['count']:,} times: {failure['error']} (first at {first})")
    fixed = [f"{name} {value}" for name, value in summary["fixed"].items() if value is not None]
    print(f"all at: {', '.join(fixed)}" if fixed else "", end="\n" if fixed else "")
    print(table(summary, measure))
    for fit in summary["fits"]:
        print(_sentence(fit))
    if summary["points"]:
        print(f"wrote {path}")


@app.command("list", cls=Command)
def list_(
    directory: Annotated[Path, typer.Argument(help="Folder of studies.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Print the ready-made studies, and those that lie in a folder."""
    from ..studies import MEASURES, load_study, ready_made, summarize

    ready = {name: load_study(name) for name in ready_made()}
    there = {}
    for path in sorted(directory.glob("*/study.toml")):
        summary = summarize(path.parent)
        there[str(path.parent)] = {k: summary[k] for k in ("total", "done", "failed", "missing")}
    if as_json:
        known = {name: {"measure": s.measure.name, "tasks": len(s)} for name, s in ready.items()}
        print(json.dumps({"ready": known, "folders": there}, sort_keys=True))
        return
    for name, study in ready.items():
        print(f"{name:24}{count(len(study), 'task'):>12}  {MEASURES[study.measure.name].about}")
    for place, counts in there.items():
        print(f"{place:24}{counts['done']:6,} of {count(counts['total'], 'task')} done")


def _sentence(fit: dict[str, Any]) -> str:
    """Return a fit in words."""
    exponential, polynomial = fit["exponential"], fit["polynomial"]
    texts = {
        "exponential": f"falls as 2^(-s N), s = {exponential['bits_per_qubit']:.3f} "
        f"± {exponential['se']:.3f}",
        "polynomial": f"falls as N^(-p), p = {polynomial['power']:.2f} ± {polynomial['se']:.2f}",
        "none": "does not fall with N",
    }
    about = f"{fit['line']}: " if fit["line"] else ""
    return (
        f"{about}variance of {fit['value']} {texts[fit['decay']]} (χ² {exponential['chi2']:.3g} as "
        f"an exponential, {polynomial['chi2']:.3g} as a power, {fit['points']} points)"
    )
