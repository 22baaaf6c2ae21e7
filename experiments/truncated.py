"""What cutting the bonds does to a network: one trained exactly and then cut, and one trained cut.

    python -m experiments.truncated        # ten minutes; writes docs/results/truncated.json

The published ring of 16 layers on mnist-mini, everything else as in the default recipe, 8 epochs.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from tqdm import tqdm

from qtn_train.data import load
from qtn_train.engines import Engine, MPSEngine, StatevectorEngine
from qtn_train.hybrid import QuantumTrain
from qtn_train.recipes import RunOptions
from qtn_train.training import evaluate, fit

OUT = Path(__file__).parents[1] / "docs" / "results" / "truncated.json"
SEEDS, EPOCHS, DATASET = (0, 1, 2), 8, "mnist-mini"
EXACT, READ, TRAINED = 64, (64, 48, 32, 16), (16,)


def model(engine: Engine, seed: int, n_layers: int) -> QuantumTrain:
    """Return the image network behind the ring."""
    return RunOptions(DATASET, "u3-cu3-ring", n_layers, seed=seed).model(engine)


def accuracy(one: QuantumTrain) -> float:
    """Return the test accuracy in percent."""
    data = load(DATASET)
    return round(100 * evaluate(one, data.x_test, data.y_test)[1], 2)


def trained(engine: Engine, seed: int, n_layers: int, epochs: int) -> QuantumTrain:
    """Return a model that was trained through this engine."""
    made = model(engine, seed, n_layers)
    config = RunOptions(DATASET, epochs=epochs, seed=seed).fit_config()
    fit(made, load(DATASET), config=config, progress_bar=False)
    return made


def cases(seed: int, n_layers: int, epochs: int) -> list[dict[str, Any]]:
    """Return a row for each way to train, and for each to read what was trained exactly."""
    exact = trained(StatevectorEngine(), seed, n_layers, epochs)
    rows: list[dict[str, Any]] = [
        {"trained": "exact", "read": "exact", "test_accuracy": accuracy(exact)}
    ]
    for max_bond in READ:
        cut = model(MPSEngine(max_bond), seed, n_layers)
        cut.load_state_dict(exact.state_dict())
        rows.append({"trained": "exact", "read": str(max_bond), "test_accuracy": accuracy(cut)})
    for max_bond in TRAINED:
        cut = trained(MPSEngine(max_bond), seed, n_layers, epochs)
        both = {"trained": str(max_bond), "read": str(max_bond)}
        rows.append(both | {"test_accuracy": accuracy(cut)})
    return [row | {"seed": seed} for row in rows]


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and spread over the seeds."""
    rows = []
    for trained_at, read_at in dict.fromkeys((run["trained"], run["read"]) for run in runs):
        same = [
            run["test_accuracy"]
            for run in runs
            if (run["trained"], run["read"]) == (trained_at, read_at)
        ]
        row = {"trained": trained_at, "read": read_at, "mean": round(mean(same), 2)}
        rows.append(row | {"deviation": round(stdev(same), 2)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Networks behind truncated states.")
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    began = time.monotonic()
    runs = [
        row
        for seed in tqdm(SEEDS, unit="seed")
        for row in cases(seed, options.layers, options.epochs)
    ]
    result = {
        "title": "Networks behind truncated states",
        "notes": f"mnist-mini, U3+CU3 ring of {options.layers} layers on 13 qubits, "
        f"{options.epochs} epochs of the default recipe, three seeds. Bonds of {EXACT} are exact. "
        "trained: the max_bond while training; read: the max_bond at which the trained numbers "
        "generate the network that is tested.",
        "command": "python -m experiments.truncated",
        "seconds": round(time.monotonic() - began, 1),
        "columns": {
            "trained": "trained at max_bond",
            "read": "read at max_bond",
            "mean": "test accuracy (%)",
            "deviation": "± (standard deviation)",
        },
        "rows": summary(runs),
        "runs": runs,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
