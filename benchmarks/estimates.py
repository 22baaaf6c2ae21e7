"""Hold ``qtn-train info --estimate`` against whole training runs, by processor time.

    python -m benchmarks.estimates     # six minutes; writes docs/results/estimates.json

Each setting is estimated in one process and trained in another, on one thread. Nothing in the
estimate is fitted to these settings or to any other: it makes a few steps and multiplies.
"""

import argparse
import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from qtn_train.cli import _options
from qtn_train.recipes import SETTINGS, RunOptions, estimate_time

from .engines import in_child

OUT = Path(__file__).parents[1] / "docs" / "results" / "estimates.json"
#: Seconds of processor time that one estimate or one run may take.
MOST = 120

#: What is typed after ``qtn-train train``.
COMMANDS = (
    "iris --epochs 30",
    "iris --layers 16 --epochs 20",
    "iris --ansatz u3-cu3-ring --layers 6 --epochs 15",
    "iris --engine mps --max-bond 8 --epochs 6",
    "iris --engine contraction --ansatz grid --layers 3 --qubits 8 --epochs 4",
    "iris --shots 1000 --gradient spsa --epochs 100",
    "iris --shots 200 --gradient parameter-shift --layers 1 --epochs 8",
    "iris --measure pauli-2 --epochs 12",
    "iris --measure pauli-1 --qubits 30 --epochs 8",
    "iris --mapping tensor-train --epochs 20",
    "iris --recipe published --epochs 30",
    "digits --epochs 4",
    "digits --layers 10 --batch-size 16 --epochs 3",
    "digits --ansatz brickwork --layers 8 --epochs 3",
    "digits --weights-per-outcome 4 --epochs 4",
    "digits --measure pauli-2 --epochs 2",
    "mnist-mini --epochs 1",
    "mnist-mini --layers 20 --batch-size 500 --epochs 2",
    "mnist-mini --ansatz u3-cu3-ring --layers 4 --epochs 1",
    "mnist-mini --engine mps --max-bond 16 --layers 4 --batch-size 500 --epochs 1",
    "mnist-mini --recipe published --batch-size 500 --epochs 1",
    "mnist-mini --measure pauli-2 --batch-size 250 --epochs 1",
)


def options_of(command: str) -> RunOptions:
    """Return the options of a command."""
    dataset, *words = shlex.split(command)
    names = {_options.option_of(name): name for name in SETTINGS}
    pairs = {names[word]: value for word, value in zip(words[::2], words[1::2], strict=True)}
    read = {name: SETTINGS[name].kind(value) for name, value in pairs.items()}
    return RunOptions.from_json({"dataset": dataset, **read})


def estimated(command: str) -> Iterator[dict[str, Any]]:
    """Yield the estimate of a command, and what it took."""
    torch.set_num_threads(1)
    options = options_of(command)
    data = options.load()
    began = time.process_time()
    told = estimate_time(options, data, time.process_time)
    took = time.process_time() - began
    yield {"estimated_s": told.seconds, "steps": told.steps, "tried": told.tried, "took_s": took}


def trained(command: str) -> Iterator[dict[str, Any]]:
    """Yield the processor time of a whole run."""
    torch.set_num_threads(1)
    options = options_of(command)
    data = options.load()
    began = time.process_time()
    options.fit(options.model(), data, progress_bar=False)
    yield {"trained_s": time.process_time() - began}


def main() -> None:
    """Measure every setting, and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    rows, began = [], time.perf_counter()
    for command in COMMANDS:
        (guess,) = in_child(lambda: estimated(command), MOST)  # noqa: B023
        (run,) = in_child(lambda: trained(command), MOST)  # noqa: B023
        row: dict[str, Any] = {"command": command, **guess, **run}
        row["ratio"] = row["estimated_s"] / row["trained_s"]
        rows.append({k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in row.items()})
        print(json.dumps(rows[-1]), flush=True)
    result = {
        "title": "How long training takes, estimated and measured",
        "command": "python -m benchmarks.estimates",
        "seconds": round(time.perf_counter() - began, 1),
        "rows": rows,
        "columns": {
            "command": "qtn-train train …",
            "steps": "steps",
            "tried": "of these tried",
            "estimated_s": "estimated (s)",
            "trained_s": "trained (s)",
            "ratio": "estimated / trained",
        },
        "notes": "Seconds of processor time on one thread, the package's import left out.",
    }
    out.write_text(f"{json.dumps(result, indent=1, ensure_ascii=False)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
