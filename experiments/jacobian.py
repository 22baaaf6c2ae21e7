"""Singular values of the Jacobian ∂weights/∂numbers, at random angles, for circuits of one size.

    python -m experiments.jacobian        # minutes; writes docs/results/jacobian.json

They say how far a small step in each direction of the trained numbers moves the weights.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from tqdm import tqdm

from qtn_train.circuits import ANSATZE
from qtn_train.engines import StatevectorEngine
from qtn_train.generators import CircuitGenerator, RandomSubspace, WeightGenerator
from qtn_train.mapping import MLPMapping

OUT = Path(__file__).parents[1] / "docs" / "results" / "jacobian.json"
N_QUBITS, N_WEIGHTS, N_TRAINED, SEEDS = 13, 6690, 1497, (0, 1, 2)
#: Ansatz, layers, and widths of the mapping: each about 1,497 trained numbers.
CIRCUITS = (
    ("u3-cu3-ring", 16, (4, 20, 4)),
    ("hardware-efficient", 48, (4, 20, 4)),
    ("ry-cx-chain", 96, (4, 20, 4)),
    ("ry-cx-chain", 110, (4,)),
)
SHARES = {"at_10": 0.1, "at_25": 0.25, "median": 0.5, "at_75": 0.75, "at_90": 0.9, "largest": 1.0}
STEP, ZERO = 2e-3, 1e-2  # of central differences; below it a singular value counts as zero


def cases(seed: int) -> Iterator[tuple[str, WeightGenerator]]:
    """Give each circuit's generator, and a random projection."""
    for ansatz, n_layers, hidden in CIRCUITS:
        made = CircuitGenerator(
            ANSATZE[ansatz](N_QUBITS, n_layers),
            StatevectorEngine(),
            MLPMapping(2**N_QUBITS, hidden, seed=seed),
            n_weights=N_WEIGHTS,
            seed=seed,
        )
        name = f"{ansatz}, {n_layers} layers, mapping {'-'.join(str(w) for w in hidden)}"
        yield name, made
    yield "random subspace", RandomSubspace(N_WEIGHTS, N_TRAINED, seed)


@torch.no_grad()
def jacobian(made: WeightGenerator, parameters: list[nn.Parameter]) -> Tensor:
    """Return ∂weights/∂parameters, (n_weights, n_numbers).

    Columns are central differences in single precision, two calls for each number. Their errors are
    of the order of 3e-5, those of the singular values of 2e-3.
    """
    start = parameters_to_vector(parameters)
    columns = []
    for i in tqdm(range(len(start)), leave=False, unit="number"):
        ends = []
        for step in (STEP, -STEP):
            moved = start.clone()
            moved[i] += step
            vector_to_parameters(moved, parameters)
            ends.append(made())
        columns.append((ends[0] - ends[1]) / (2 * STEP))
    vector_to_parameters(start, parameters)
    return torch.stack(columns, 1)


def measured(name: str, seed: int, made: WeightGenerator) -> dict[str, Any]:
    """Return what is kept of one Jacobian."""
    values = torch.linalg.svdvals(jacobian(made, list(made.parameters()))).flip(0)
    row = {"case": name, "seed": seed, "n_trainable": len(values)}
    row["zero"] = int((values < ZERO).sum())
    return row | {key: float(values.quantile(share)) for key, share in SHARES.items()}


def main() -> None:
    began = time.monotonic()
    runs = [measured(name, seed, made) for seed in SEEDS for name, made in cases(seed)]
    rows = []
    for name in dict.fromkeys(run["case"] for run in runs):
        same = [run for run in runs if run["case"] == name]
        row = {"case": name, "n_trainable": same[0]["n_trainable"]}
        rows.append(row | {key: round(mean(r[key] for r in same), 2) for key in ("zero", *SHARES)})
    result = {
        "title": "Singular values of the Jacobian",
        "notes": f"How far a small step of the trained numbers moves {N_WEIGHTS:,} weights: "
        "singular values of ∂weights/∂numbers at random angles, mean over three seeds. zero: how "
        f"many are below {ZERO:g}, five times the rounding of this computation.",
        "command": "python -m experiments.jacobian",
        "seconds": round(time.monotonic() - began, 1),
        "columns": {
            "case": "generator",
            "n_trainable": "trained numbers",
            "zero": "zero",
            "at_10": "10 %",
            "at_25": "25 %",
            "median": "median",
            "at_75": "75 %",
            "at_90": "90 %",
            "largest": "largest",
        },
        "rows": rows,
        "runs": runs,
    }
    OUT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
