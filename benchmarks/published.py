"""Put runs of ``--recipe published`` beside the curve that the paper's authors recorded.

    qtn-train train mnist --recipe published --seed 42 --out runs/published-42     # and 43, 44
    python -m benchmarks.published runs/published-42 runs/published-43 runs/published-44

Writes ``docs/results/published.json`` and its picture, ``docs/results/published.png``.
"""

import json
import sys
from pathlib import Path
from typing import Any

from qtn_train import plots

RESULTS = Path(__file__).parents[1] / "docs" / "results"
COMMAND = "qtn-train train mnist --recipe published --seed {42,43,44} --out DIR"

#: Training accuracy in percent by epoch, 16 layers, as recorded in the authors' notebook, and their
#: test accuracy (on 1,000 images) after the last epoch.
RECORDED = {1: 9.9, 5: 17.5, 10: 35.0, 15: 71.2, 20: 82.8, 30: 88.0, 40: 90.2, 50: 91.7}
RECORDED_TEST = 91.20
NOTES = (
    "MNIST, 16 layers, 13 qubits, 1,497 trained numbers, 50 epochs. Ours are tested on all 10,000 "
    "images; the authors recorded the training accuracy of one run, and tested it on 1,000 images."
)


def rows(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each run and epoch, the recorded ones last."""
    ours = [
        {
            "run": f"seed {run['seed']}",
            "epoch": entry["epoch"],
            "train_accuracy": round(100 * entry["train_accuracy"], 2),
            "test_accuracy": round(100 * entry["test_accuracy"], 2),
        }
        for run in runs
        for entry in run["epochs"]
    ]
    recorded = [
        {
            "run": "authors",
            "epoch": epoch,
            "train_accuracy": accuracy,
            "test_accuracy": RECORDED_TEST if epoch == max(RECORDED) else None,
        }
        for epoch, accuracy in RECORDED.items()
    ]
    return ours + recorded


def main(folders: list[str]) -> None:
    """Read the runs, write numbers and picture."""
    runs = [json.loads((Path(folder) / "run.json").read_text()) for folder in folders]
    options = {"x": "epoch", "by": "run"}
    result = {
        "title": "The published recipe",
        "notes": NOTES,
        "command": COMMAND,
        "seconds": round(sum(entry["seconds"] for run in runs for entry in run["epochs"])),
        "versions": runs[0]["versions"],
        "rows": rows(runs),
        "columns": {
            "run": "run",
            "epoch": "epoch",
            "train_accuracy": "training accuracy (%)",
            "test_accuracy": "test accuracy (%)",
        },
        "figure": [
            {**options, "y": "train_accuracy", "labels": ["epoch", "training accuracy (%)"]},
            {**options, "y": "test_accuracy", "labels": ["epoch", "test accuracy (%)"]},
        ],
    }
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / "published.json").write_text(text)
    title = "MNIST, published recipe, 16 layers"
    picture = plots.lines(result["rows"], **result["figure"][0], title=title)
    plots.save(picture, RESULTS / "published.png")


if __name__ == "__main__":
    main(sys.argv[1:])
