"""The summary of a study's folder: progress, failures, a line for each point, fits, a figure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..plots import sweep
from ._fit import fit_decay, fitted, variance_error
from ._format import Study
from ._measures import MAX_TRUNCATION_ERROR, Measure, Panel
from ._results import read_results, read_study

if TYPE_CHECKING:
    from pandas import DataFrame

Summary = dict[str, Any]

# A setting that spans more than this factor is drawn on a logarithmic axis.
_DECADES = 30

#: How settings are written on the axes and in the legend of a figure.
_WORDS = {"n_qubits": "qubits", "n_layers": "layers", "max_bond": "max_bond χ"}


def summarize(out: str | Path) -> Summary:
    """Return the summary of the results in a folder.

    Args:
        out: The folder of a study, finished or not.

    Returns:
        JSON data: ``study`` (its file), the numbers of tasks (``total``, ``done``, ``failed``,
        ``missing``), ``failures`` (each error with its number and the settings of one task),
        ``fixed`` (the settings that do not vary), ``points`` (``settings`` that vary, ``repeats``
        done, ``marked`` where the truncation error passes 0.01, and for each of the ``values`` its
        ``mean``, ``sd``, ``variance`` and ``variance_se`` over the repeats), ``fits`` of variances
        against the number of qubits, over the points not marked, ``seconds`` of all tasks
        together, and ``versions``.

    Raises:
        FileNotFoundError: The folder holds no study.
    """
    study, frame = read_study(Path(out)), read_results(out)
    done = frame[frame["status"] == "done"]
    varying = _varying(study)
    failed = len(frame) - len(done)
    first = study.points[0]
    summary: Summary = {
        "study": study.text,
        "measure": study.measure.name,
        "repeats": study.repeats,
        "seed": study.seed,
        "total": len(study),
        "done": len(done),
        "failed": failed,
        "missing": len(study) - len(frame),
        "failures": _failures(frame, study.measure),
        "fixed": {name: first[name] for name in study.measure.settings if name not in varying},
        "points": [_point(study.measure, rows, varying) for rows in _by_point(done, study)],
        "seconds": round(float(frame["seconds"].sum()), 1),
        "versions": {
            name.removeprefix("version_"): sorted(set(done[name].dropna()))
            for name in done.columns
            if name.startswith("version_")
        },
    }
    summary["fits"] = list(_fits(summary, study.measure))
    return summary


def _varying(study: Study) -> list[str]:
    first = study.points[0]
    return [
        name
        for name in study.measure.settings
        if any(point[name] != first[name] for point in study.points)
    ]


def _by_point(done: DataFrame, study: Study) -> Iterator[DataFrame]:
    """Return the rows of each point, in the order of the study file."""
    names = list(study.measure.settings)
    groups = {
        _key(rows.iloc[0], names): rows for _, rows in done.groupby(names, dropna=False, sort=False)
    }
    for point in study.points:
        if (rows := groups.get(_key(point, names))) is not None:
            yield rows


def _key(point: Any, names: list[str]) -> tuple[Any, ...]:
    """Return settings as a key: missing settings are None, also those NaN in a data frame."""
    values = [point[name] for name in names]
    return tuple(None if value is None or value != value else value for value in values)


def _point(measure: Measure, rows: DataFrame, varying: list[str]) -> dict[str, Any]:
    values = {
        name: _statistics(rows[name].dropna().to_numpy(dtype=np.float64))
        for name, kind in measure.values.items()
        if kind is not str and rows[name].notna().any()
    }
    settings = dict(zip(varying, _key(rows.iloc[0], varying), strict=True))
    marked = "truncation_error" in values and not measure.cuts
    marked = marked and bool((rows["truncation_error"] > MAX_TRUNCATION_ERROR).any())
    return {
        "settings": {name: _plain(value) for name, value in settings.items()},
        "repeats": len(rows),
        "marked": marked,
        "values": values,
    }


def _plain(value: Any) -> Any:
    """Return a NumPy number as a Python number; whole floats of a column with gaps are integers."""
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _statistics(values: Any) -> dict[str, float]:
    spread = len(values) > 1
    numbers = {
        "mean": values.mean(),
        "sd": values.std(ddof=1) if spread else 0.0,
        "variance": values.var(ddof=1) if spread else 0.0,
        "variance_se": variance_error(values),
    }
    return {name: float(f"{float(number):.6g}") for name, number in numbers.items()}


def _failures(frame: DataFrame, measure: Measure) -> list[dict[str, Any]]:
    failed = frame[frame["status"] == "failed"]
    names = [*measure.settings, "repeat"]
    return [
        {
            "error": str(error),
            "count": len(rows),
            "first": {
                name: _plain(value)
                for name, value in zip(names, _key(rows.iloc[0], names), strict=True)
                if value is not None
            },
        }
        for error, rows in failed.groupby("error", sort=False)
    ]


def word(name: str) -> str:
    """Return a setting's label on an axis."""
    return _WORDS.get(name, name)


def axis(summary: Summary, measure: Measure) -> tuple[str, bool]:
    """Return the setting on the horizontal axis, and whether the axis is logarithmic."""
    varying: dict[str, list[Any]] = {}
    for point in summary["points"]:
        for name, value in point["settings"].items():
            varying.setdefault(name, []).append(value)
    if measure.x in varying:
        return measure.x, measure.log_x
    for name, values in varying.items():
        if all(isinstance(value, int | float) for value in values):
            return name, min(values) > 0 and max(values) > _DECADES * min(values)
    return measure.x, measure.log_x


def lines(summary: Summary, x: str) -> dict[str, list[dict[str, Any]]]:
    """Return the points of each line of the figure: they differ in the horizontal setting alone."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for point in summary["points"]:
        others = {k: v for k, v in point["settings"].items() if k != x}
        label = ", ".join(
            str(value) if isinstance(value, str) else f"{value} {word(name)}"
            for name, value in others.items()
            if value is not None
        )
        lines.setdefault(label, []).append(point)
    return lines


def _looks(summary: Summary, x: str) -> dict[str, int | tuple[int, int]]:
    """Return each line's look: where two settings tell the lines apart, one takes the color."""
    named = {
        label: [str(value) for name, value in points[0]["settings"].items() if name != x]
        for label, points in lines(summary, x).items()
    }
    if any(len(values) != 2 for values in named.values()):
        return {label: number for number, label in enumerate(named)}
    first, second = (list(dict.fromkeys(each)) for each in zip(*named.values(), strict=True))
    return {label: (first.index(a), second.index(b)) for label, (a, b) in named.items()}


def _x(point: dict[str, Any], summary: Summary, x: str) -> Any:
    return point["settings"].get(x, summary["fixed"].get(x))


def _fits(summary: Summary, measure: Measure) -> Iterator[dict[str, Any]]:
    for panel in measure.panels:
        if panel.statistic != "variance" or measure.x != "n_qubits":
            continue
        for label, points in lines(summary, measure.x).items():
            trusted = [p for p in points if not p["marked"] and p["repeats"] > 1]
            stats = [p["values"][panel.value] for p in trusted]
            fit = fit_decay(
                [_x(p, summary, measure.x) for p in trusted],
                [s["variance"] for s in stats],
                [s["variance_se"] for s in stats],
            )
            if fit is not None:
                yield {"value": panel.value, "line": label, **fit}


def table(summary: Summary, measure: Measure) -> str:
    """Return the points as a text table: a marked one has a ``*``.

    Args:
        summary: Of :func:`summarize`.
        measure: The study's measure.

    Returns:
        Lines of equal columns.
    """
    if not summary["points"]:
        return "no results yet"
    names = list(summary["points"][0]["settings"])
    heads = [*names, "repeats", *(_head(panel) for panel in measure.panels)]
    rows = [heads]
    for point in summary["points"]:
        cells = ["-" if (v := point["settings"][name]) is None else str(v) for name in names]
        cells.append(f"{point['repeats']}{'*' if point['marked'] else ''}")
        rows.append(cells + [_cell(point, panel) for panel in measure.panels])
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    if any(point["marked"] for point in summary["points"]):
        lines.append(f"* truncation error above {MAX_TRUNCATION_ERROR}: marked, and not fitted")
    return "\n".join(lines)


def _head(panel: Panel) -> str:
    return f"{panel.value} {'variance ± se' if panel.statistic == 'variance' else 'mean ± sd'}"


def center(point: dict[str, Any], panel: Panel) -> tuple[float, float] | None:
    """Return a point's value and spread as a panel draws them, or None."""
    stats = point["values"].get(panel.value)
    if stats is None:
        return None
    if panel.statistic == "variance":
        return stats["variance"], stats["variance_se"]
    return stats["mean"], stats["sd"]


def _cell(point: dict[str, Any], panel: Panel) -> str:
    numbers = center(point, panel)
    return "-" if numbers is None else f"{numbers[0]:.4g} ± {numbers[1]:.2g}"


def draw(summary: Summary, measure: Measure, title: str = "") -> Any:
    """Draw a summary's points with their spread.

    Marked points are hollow; a fit is a dashed line.

    Args:
        summary: Of :func:`summarize`, or the JSON that ``study show --json`` printed.
        measure: The study's measure.
        title: A line above the panels.

    Returns:
        A matplotlib figure; :func:`qtn_train.plots.save` writes it as PNG.
    """
    fits = {(fit["value"], fit["line"]): fit for fit in summary["fits"]}
    name, log_x = axis(summary, measure)
    looks, panels = _looks(summary, name), []
    for panel in measure.panels:
        drawn = []
        for label, points in lines(summary, name).items():
            known = [p for p in points if center(p, panel) and _x(p, summary, name) is not None]
            numbers: Any = [center(p, panel) for p in known]
            x = [_x(p, summary, name) for p in known]
            fit = fits.get((panel.value, label))
            drawn.append(
                {
                    "label": label,
                    "look": looks[label],
                    "x": x,
                    "y": [n[0] for n in numbers],
                    "spread": [n[1] for n in numbers],
                    "hollow": [p["marked"] for p in known],
                    "fit": [fitted(fit, n) for n in x] if fit else None,
                }
            )
        panels.append({"label": panel.label, "log": panel.log, "lines": drawn})
    return sweep(panels, x_label=word(name), log_x=log_x, title=title)
