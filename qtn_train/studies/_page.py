"""A study's summary in the form that the documentation's results pages draw."""

from __future__ import annotations

from typing import Any

from ._format import ready_made
from ._measures import MAX_TRUNCATION_ERROR, Measure
from ._summary import Summary, axis, center, lines, word


def page(summary: Summary, measure: Measure) -> dict[str, Any]:
    """Return title, command, notes, flat rows and what to draw of them.

    Args:
        summary: Of :func:`qtn_train.studies.summarize`.
        measure: The study's measure.

    Returns:
        JSON data to put beside the summary's own.
    """
    names = [name for name, text in ready_made().items() if text == summary["study"]]
    study = names[0] if names else "study.toml"
    x, log_x = axis(summary, measure)
    rows: list[dict[str, Any]] = []
    columns = {"line": "", x: word(x), "repeats": "repeats"}
    for label, points in lines(summary, x).items():
        for point in points:
            at = point["settings"].get(x, summary["fixed"].get(x))
            row = {"line": label, x: at, "repeats": point["repeats"], "marked": point["marked"]}
            for panel in measure.panels:
                value, spread = center(point, panel) or (None, None)
                row |= {panel.value: value, f"{panel.value}_spread": spread}
            rows.append(row)
    for panel in measure.panels:
        columns[panel.value] = panel.label
        kind = "standard error" if panel.statistic == "variance" else "standard deviation"
        columns[f"{panel.value}_spread"] = kind
    if any(row["marked"] for row in rows):
        columns["marked"] = f"truncation error above {MAX_TRUNCATION_ERROR}"
    figures = [
        {
            "x": x,
            "y": panel.value,
            "by": "line",
            "labels": [word(x), panel.label],
            "log": ("x" if log_x else "") + ("y" if panel.log else ""),
        }
        for panel in measure.panels
    ]
    return {
        "title": f"{measure.about[:1].upper()}{measure.about[1:]} ({study})",
        "command": f"qtn-train study run {study} --out DIR && qtn-train study show DIR --json",
        "notes": "The seconds are those of all tasks together, on one thread each.",
        "rows": rows,
        "columns": columns,
        "figure": figures,
    }
