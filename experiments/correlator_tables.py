"""Tables and figures of the experiment on correlators, from its runs."""

from __future__ import annotations

import math
from statistics import mean, median_high, stdev
from typing import Any

Row = dict[str, Any]

#: Shots of each circuit: of Iris, and of full MNIST.
FOLD_SHOTS = 1000
MNIST_SHOTS = (3000, 10_000)


def spread(found: list[float]) -> Row:
    """Return the mean and, of several, the standard deviation."""
    deviation = {"deviation": round(stdev(found), 2)} if len(found) > 1 else {}
    return {"mean": round(mean(found), 2), **deviation}


def middle(shots: list[int | None]) -> int | None:
    """Return the median, the larger one of two; None, never reached, is more than any number."""
    found = median_high([math.inf if each is None else each for each in shots])
    return None if found == math.inf else int(found)


def summary(part: str, runs: list[Row]) -> list[Row]:
    """Return mean and spread over the seeds of each case; single runs as they are."""
    if part == "large":
        return runs
    if part in ("folds", "mnist"):
        told = {"exact": "exactly", "from_counts": f"from 3 × {FOLD_SHOTS:,} shots"}
        told |= {f"from_{shots}": f"from 3 × {shots:,} shots" for shots in MNIST_SHOTS}
        told = {key: text for key, text in told.items() if key in runs[0]}
        return [
            {"weights": text} | spread([run[key] for run in runs]) for key, text in told.items()
        ]
    values = {"worth": "test_accuracy", "trained": "at_the_end"}
    value, rows = values.get(part, "exact"), []
    for dataset, name in dict.fromkeys((run["dataset"], run["weights"]) for run in runs):
        same = [run for run in runs if (run["dataset"], run["weights"]) == (dataset, name)]
        found = [run[value] for run in same]
        row = {"dataset": dataset, "weights": name, "seeds": len(same)}
        keys = ("steps", "circuits") if part == "trained" else ("n_weights", "n_trainable")
        row |= {key: same[0][key] for key in keys} | spread(found)
        if part == "trained":
            row |= {
                "worst": min(found),
                "from_counts": round(mean(run["from_counts"] for run in same), 2),
            }
        elif part == "shots":
            row |= {
                "shots": middle([run["shots_for_a_point"] for run in same]),
                "shots_in_all": middle([run["shots_in_all"] for run in same]),
            }
        else:
            row["epochs"] = same[0]["epochs"]
        rows.append(row)
    return rows


def points(runs: list[Row]) -> list[Row]:
    """Return the points of the figure: the accuracy that is lost against shots."""
    return [
        {
            "case": f"{run['n_weights']:,} weights, {run['weights']}",
            "shots": int(shots),
            "lost": round(run["exact"] - accuracy, 2),
        }
        for run in runs
        if run["weights"] in ("pauli-2", "probabilities")
        for shots, accuracy in run["from_counts"].items()
    ]


def laws(rows: list[Row]) -> list[Row]:
    """Return the shots that the two ways to read weights need, by the number of weights."""
    return [
        {key: row[key] for key in ("weights", "n_weights", "shots_in_all")}
        for row in rows
        if row["weights"] in ("pauli-2", "probabilities") and row["shots_in_all"] is not None
    ]


def drawn(runs: list[Row], rows: list[Row]) -> Row:
    """Return the figures of shots, and what they are drawn from."""
    found: Row = {"points": points(runs), "laws": laws(rows)}
    of_laws = {
        "rows": "laws",
        "x": "n_weights",
        "y": "shots_in_all",
        "by": "weights",
        "log": "xy",
        "labels": ["weights", "shots for at most one point lost"],
    }
    of_points = {
        "rows": "points",
        "x": "shots",
        "y": "lost",
        "by": "case",
        "log": "x",
        "labels": ["shots of each circuit", "accuracy lost (points)"],
    }
    found["figure"] = [of_laws] * bool(found["laws"]) + [of_points]
    return found
