"""Iris in five folds, stratified, three seeds: through the circuit, and trained directly.

    python -m experiments.iris        # writes docs/results/iris.json

Thirty test flowers decide little: one more or less is 3 %. Here each of the 150 is tested once.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_iris
from sklearn.model_selection import StratifiedKFold

from qtn_train.data import Dataset
from qtn_train.generators import control
from qtn_train.recipes import RunOptions

OUT = Path(__file__).parent.parent / "docs" / "results" / "iris.json"
NAMES = ("circuit", "direct")


def folds(seed: int) -> list[Dataset]:
    """Return the five parts of Iris, each scaled by its own training flowers."""
    bunch = load_iris()
    made = []
    parts = StratifiedKFold(5, shuffle=True, random_state=seed)
    for train, test in parts.split(bunch.data, bunch.target):
        scaled = (bunch.data - bunch.data[train].mean(0)) / bunch.data[train].std(0)
        x, y = torch.from_numpy(scaled.astype(np.float32)), torch.from_numpy(bunch.target).long()
        names = tuple(str(name) for name in bunch.target_names)
        made.append(Dataset("iris", x[train], y[train], x[test], y[test], 3, names))
    return made


def main() -> None:
    began = time.monotonic()
    runs: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for seed in (0, 1, 2):
        for number, data in enumerate(folds(seed)):
            for name in NAMES:
                options = RunOptions("iris", seed=seed)
                model = options.model()
                if name == "direct":
                    model = model.with_generator(control("direct", model.generator, seed))
                history = options.fit(model, data, progress_bar=False)
                row = {"generator": name, "seed": seed, "fold": number}
                runs.append(row | {"test_accuracy": round(100 * history.test_accuracy, 2)})
    for name in NAMES:
        means = [
            mean(r["test_accuracy"] for r in runs if (r["generator"], r["seed"]) == (name, seed))
            for seed in (0, 1, 2)
        ]
        total = {"generator": name, "mean": round(mean(means), 2)}
        rows.append(total | {"deviation": round(stdev(means), 2), "lowest": min(means)})
    result = {
        "title": "Iris, five folds",
        "notes": "131 weights from 261 trained numbers, and trained directly by the same recipe. "
        "Five stratified folds, three seeds: mean over the folds, and its spread over the seeds.",
        "command": "python -m experiments.iris",
        "seconds": round(time.monotonic() - began, 1),
        "columns": {
            "generator": "generator",
            "mean": "test accuracy (%)",
            "deviation": "± (standard deviation over seeds)",
            "lowest": "lowest seed (%)",
        },
        "rows": rows,
        "runs": runs,
    }
    OUT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
