"""What shots and noise cost: accuracy, weights and gradients against both.

    python -m experiments.shots                                        # every part: hours
    python -m experiments.shots --parts gradient --datasets iris       # minutes
    python -m experiments.shots --parts                                # only the figure again

Parts: ``regenerate`` (networks trained exactly, their weights counted again at finite shots),
``noise`` (the same through noise), ``gradient`` (bias and spread of its estimate), ``train``
(training at finite shots) and ``device-model`` (the noise of ``NoisyEngine`` beside errors gate by
gate on Braket's density-matrix simulator; needs the extra ``braket``). Each goes into a file
``docs/results/shots-PART.json``, row by row; what runs again replaces its old rows. Trained
networks are kept in ``runs/shots``. The measurements are functions in ``shot_measures``.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from experiments.shot_measures import (
    NETWORKS,
    SMALL,
    Row,
    device_model,
    fits,
    gradient,
    noise,
    regenerate,
    train,
)
from qtn_train import plots
from qtn_train._files import write_atomically
from qtn_train.cli._run import versions


class Part(NamedTuple):
    """What gives the rows of a part, for which data sets, and how they are shown."""

    measure: Callable[[str], Iterator[Row]]
    datasets: tuple[str, ...]
    title: str
    notes: str
    columns: tuple[str, ...]
    figure: Row


PARTS = {
    "regenerate": Part(
        regenerate,
        tuple(NETWORKS),
        "Weights counted again at finite shots",
        "Networks trained exactly, then generated from counts: mean over 10 draws (mnist-mini: 5) "
        "for each of 3 seeds. weight_error: root mean square change of all weights, relative to "
        "their norm; weight_bias: the same of the mean over the draws.",
        ("case", "seed", "shots", "test_accuracy", "test_accuracy_spread", "weight_error",
         "weight_bias", "feature_error"),
        {"x": "shots", "y": "test_accuracy", "by": "case", "log": "x",
         "labels": ["shots", "test accuracy"]},
    ),
    "noise": Part(
        noise,
        tuple(NETWORKS),
        "Weights generated through noise",
        "The same networks. depolarized: p → f·p + (1−f)/2^N with f = (1 − error)^(CX gates), "
        "exact probabilities; misread: each qubit, 1 as 0 twice as often as 0 as 1, error is the "
        "mean of the two; mitigated: confusion matrices measured and inverted.",
        ("case", "seed", "error", "shots", "test_accuracy", "weight_error"),
        {"x": "error", "y": "test_accuracy", "by": "case", "log": "x",
         "labels": ["error of a gate or a readout", "test accuracy"]},
    ),
    "gradient": Part(
        gradient,
        tuple(SMALL),
        "Bias and spread of the gradient of the loss from counts",
        "Parameter shift, ry-cx-chain with 4 layers, 60 draws (digits: 30). All relative to the "
        "norm of the exact gradient; the floor is the standard error of the mean, whose part is "
        "taken off the bias. slope: length of the mean along the exact gradient.",
        ("case", "seed", "shots", "angles_bias", "angles_bias_floor", "angles_deviation",
         "angles_slope", "mapping_bias", "mapping_deviation", "loss_bias"),
        {"x": "shots", "y": "angles_deviation", "by": "case", "log": "xy",
         "labels": ["shots", "spread of the angles' gradient (relative)"]},
    ),
    "train": Part(
        train,
        tuple(SMALL),
        "Training at finite shots",
        "100 steps over large batches, parameter shift, ry-cx-chain with 4 layers. test_accuracy: "
        "5 new draws of the counts; test_accuracy_exact: exact probabilities of the same angles. 0 "
        "shots: exact. The control has frozen angles: the mapping learns alone.",
        ("case", "seed", "shots", "train_loss", "test_accuracy", "test_accuracy_exact", "seconds"),
        {"x": "shots", "y": "test_accuracy", "by": "case",
         "labels": ["shots", "test accuracy"]},
    ),
    "device-model": Part(
        device_model,
        ("",),
        "Global depolarizing noise beside errors gate by gate",
        "Errors gate by gate: a two-qubit depolarizing channel after each CX, on Braket's density "
        "matrix simulator. kept: f of the model; kept_fitted: the f that fits best. Distances are "
        "total variation: of the noisy distribution to the ideal one, and to the model.",
        ("case", "seed", "pauli_error", "n_two_qubit", "kept", "kept_fitted", "distance_noise",
         "distance_model"),
        {"x": "n_two_qubit", "y": "kept_fitted", "by": "case",
         "labels": ["CX gates", "share of the state kept (best fit)"]},
    ),
}  # fmt: skip


def case(part: str, row: Row) -> str:
    """Return what a row is about, in words: all but its seed and its place on the axis."""
    words = [row.get("dataset") or "{ansatz}, N={n_qubits}, L={n_layers}".format(**row)]
    if "point" in row:
        words.append({"start": "before training", "end": "after training"}[row["point"]])
    if row.get("smoothing"):
        words.append("½ added to each count")
    if row.get("frozen"):
        words.append("angles frozen")
    if row.get("two_qubit_error") and part != "device-model":
        words.append("depolarized" + (f" {row['two_qubit_error']:g}" if part == "train" else ""))
    if row.get("readout_error"):
        words.append("misread" + (f" {row['readout_error']:g}" if part == "train" else ""))
    if row.get("mitigated"):
        words.append("mitigated" + (f", 10^{len(str(row['shots'])) - 1} shots" * (part == "noise")))
    return ", ".join(words)


def labelled(part: str, row: Row) -> Row:
    """Return a row with its case, and the noise's strength under one name."""
    error = row.get("two_qubit_error", row.get("readout_error"))
    return {"case": case(part, row), **({"error": error} if part == "noise" else {}), **row}


def stored(part: str, folder: Path) -> Row:
    """Return a part's results so far."""
    path = folder / f"shots-{part}.json"
    return json.loads(path.read_text()) if path.exists() else {"rows": [], "seconds_by_dataset": {}}


def write(part: str, result: Row, folder: Path) -> None:
    """Write a part's results, one row a line, so that changes can be read."""
    of, seconds = PARTS[part], result["seconds_by_dataset"]
    result |= {"title": of.title, "notes": of.notes, "figure": of.figure, "versions": versions()}
    result["columns"] = {name: name.replace("_", " ") for name in of.columns}
    result["command"] = f"python -m experiments.shots --parts {part}"
    result["seconds"] = round(sum(seconds.values()), 1)
    if part == "regenerate":
        result["fits"] = fits(result["rows"])
    texts = [json.dumps(row, sort_keys=True, ensure_ascii=False) for row in result["rows"]]
    head = json.dumps({**result, "rows": None}, sort_keys=True, indent=1, ensure_ascii=False)
    text = head.replace('"rows": null', '"rows": [\n  ' + ",\n  ".join(texts) + "\n ]")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"shots-{part}.json", f"{text}\n".encode())


def run(part: str, dataset: str, folder: Path) -> None:
    """Measure a part on a data set, in place of its old rows; keep each row at once."""
    result = stored(part, folder)
    rows = [row for row in result["rows"] if row.get("dataset", "") != dataset]
    result["rows"] = rows
    began = time.perf_counter()
    wait = 0.1 if sys.stderr.isatty() else 60.0
    name = f"{part} {dataset}".strip()
    for row in tqdm(PARTS[part].measure(dataset), desc=name, unit="row", mininterval=wait):
        rows.append(labelled(part, row))
        result["seconds_by_dataset"][dataset] = round(time.perf_counter() - began, 1)
        write(part, result, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="folder to write")
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--datasets", nargs="*", choices=list(NETWORKS), default=list(NETWORKS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    for part in args.parts:
        for dataset in PARTS[part].datasets:
            if dataset in ("", *args.datasets):
                run(part, dataset, args.out)
    drawn = plots.shots({part: stored(part, args.out) for part in PARTS})
    plots.save(drawn, args.out / "shots.png")


if __name__ == "__main__":
    main()
