"""The results of a comparison: its runs, one table, one figure, one JSON file."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .._files import write_atomically
from ..errors import CheckpointError, RunError, must_be
from ..generators import CONTROLS

COMPARISON = "compare.json"

#: Names of what can be compared: the model's own circuit, and its controls.
GENERATORS: tuple[str, ...] = ("circuit", *CONTROLS)

_COLUMNS = {
    "n_layers": "layers",
    "generator": "generator",
    "test_accuracy": "test accuracy (%)",
    "spread": "± over seeds",
    "difference": "minus circuit",
    "difference_spread": "± of pairs",
    "n_seeds": "seeds",
    "n_trainable": "trained numbers",
    "effective": "effective",
    "bytes": "bytes to store",
    "ms_per_step": "ms a step",
    "lr": "learning rate",
}


@dataclass
class Comparison:
    """The finished runs of :func:`qtn_train.comparison.compare`.

    Attributes:
        settings: What all runs share: data, training options, models.
        rates: Learning rates that were tuned, with what was tried.
        runs: One entry for each: ``generator``, ``n_layers``, ``seed``, ``lr``, ``n_weights``,
            ``n_trainable``, ``n_trainable_by_part``, ``effective_parameters`` and
            ``seconds_per_step`` (first seed only), ``bytes`` of the stored model, ``epochs``,
            ``test_accuracy``, and ``failed``: a message, or None.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    rates: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)

    def table(self) -> list[dict[str, Any]]:
        """Return one row for each size and generator, in the order of the first runs.

        ``test_accuracy`` is the mean over seeds and ``spread`` their standard deviation (None for
        one seed); ``difference`` is the mean of the differences to the circuit with the same seed,
        with ``difference_spread``. Failed runs are counted in ``n_failed`` alone.
        """
        groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
        for run in self.runs:
            groups.setdefault((run["n_layers"], run["generator"]), []).append(run)
        circuit = {
            (run["n_layers"], run["seed"]): run["test_accuracy"]
            for run in self.runs
            if run["generator"] == "circuit" and not run["failed"]
        }
        rows = [_row(runs, circuit) for runs in groups.values()]
        sizes = list(dict.fromkeys(row["n_layers"] for row in rows))
        return sorted(rows, key=lambda row: sizes.index(row["n_layers"]))

    def text(self) -> str:
        """Return the table as lines of text."""
        rows = self.table()
        several = len({row["n_layers"] for row in rows}) > 1
        effective = any(row["effective"] is not None for row in rows)
        head = [*(["layers"] if several else []), "generator", "test accuracy %", "minus circuit"]
        head += ["trainable", *(["effective"] if effective else []), "bytes", "ms a step", "lr"]
        lines = [head]
        for row in rows:
            cells = [f"{row['n_layers']}"] if several else []
            cells += [row["generator"], _percent(row["test_accuracy"], row["spread"])]
            cells[-1] += f" ({row['n_failed']} failed)" if row["n_failed"] else ""
            is_circuit = row["generator"] == "circuit"
            difference = _percent(row["difference"], row["difference_spread"], "+")
            cells += ["" if is_circuit else difference, f"{row['n_trainable']:,}"]
            cells += [_or_dash(row["effective"], ",")] if effective else []
            cells += [f"{row['bytes']:,}", _or_dash(row["ms_per_step"], ".1f"), f"{row['lr']:.3g}"]
            lines.append(cells)
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        left = 2 if several else 1
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i < left else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def result(self, command: str, title: str) -> dict[str, Any]:
        """Return the table in the form of ``docs/results/*.json``, accuracies in percent.

        Args:
            command: What made it.
            title: What it is.

        Returns:
            JSON data; ``seconds`` is the time spent in training and its evaluation.
        """
        percent = ("test_accuracy", "spread", "difference", "difference_spread")
        rows = [
            {k: 100 * v if k in percent and v is not None else v for k, v in row.items()}
            for row in self.table()
        ]
        several = len({row["n_layers"] for row in rows}) > 1
        made: dict[str, Any] = {
            "title": title,
            "command": command,
            "seconds": sum(entry["seconds"] for run in self.runs for entry in run["epochs"]),
            "rows": rows,
            "columns": _COLUMNS,
        }
        if several:
            made["figure"] = {
                "x": "n_trainable",
                "y": "test_accuracy",
                "by": "generator",
                "labels": ["trained numbers", "test accuracy (%)"],
            }
        return made

    def to_json(self) -> dict[str, Any]:
        """Return the comparison, its runs and its table, as JSON data."""
        return {**asdict(self), "table": self.table()}

    def save(self, folder: Path) -> None:
        """Write ``compare.json`` into a folder, in place of the last one."""
        text = json.dumps(self.to_json(), indent=1, sort_keys=True)
        write_atomically(folder / COMPARISON, f"{text}\n".encode())

    def figure(self, title: str = "") -> Any:
        """Return :func:`qtn_train.plots.comparison` of the runs, a matplotlib figure."""
        from ..plots import comparison

        return comparison(self.runs, title)


def read_comparison(path: str | Path) -> Comparison:
    """Read what :func:`qtn_train.comparison.compare` wrote.

    Args:
        path: Its folder, or the JSON file itself.

    Returns:
        The comparison.

    Raises:
        RunError: There is none.
        CheckpointError: The file is damaged.
    """
    file = Path(path)
    file = file / COMPARISON if file.is_dir() else file
    try:
        stored = json.loads(file.read_text())
        found = Comparison(**{name: stored[name] for name in ("settings", "rates", "runs")})
        found.text()  # whatever lacks a value, or has another kind, shows here
    except OSError as error:
        expected = "a folder or file of `qtn-train compare`"
        raise RunError(must_be(str(path), expected, "nothing there")) from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        expected = "a comparison"
        raise CheckpointError(must_be(str(file), expected, "a damaged or foreign file")) from error
    return found


def _row(runs: list[dict[str, Any]], circuit: dict[tuple[int, int], float]) -> dict[str, Any]:
    good = [run for run in runs if not run["failed"]]
    mean, spread = _mean([run["test_accuracy"] for run in good])
    pairs = [
        run["test_accuracy"] - circuit[run["n_layers"], run["seed"]]
        for run in good
        if (run["n_layers"], run["seed"]) in circuit
    ]
    difference, difference_spread = _mean(pairs)
    first = runs[0]
    effective = [r["effective_parameters"] for r in runs if r["effective_parameters"] is not None]
    seconds = [r["seconds_per_step"] for r in runs if r["seconds_per_step"] is not None]
    return {
        **{name: first[name] for name in ("generator", "n_layers", "n_weights", "n_trainable")},
        **{name: first[name] for name in ("bytes", "lr")},
        "test_accuracy": mean,
        "spread": spread,
        "n_seeds": len(good),
        "n_failed": len(runs) - len(good),
        "difference": difference,
        "difference_spread": difference_spread,
        "effective": sum(effective[0].values()) if effective else None,
        "ms_per_step": 1000 * seconds[0] if seconds else None,
    }


def _mean(values: list[float]) -> tuple[float | None, float | None]:
    """Return mean and standard deviation; None where there are too few values."""
    if not values:
        return None, None
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def _percent(value: float | None, spread: float | None, sign: str = "") -> str:
    if value is None:
        return "–"
    text = f"{100 * value:{sign}.2f}"
    return text if spread is None else f"{text} ± {100 * spread:.2f}"


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:{form}}"
