"""Draw runs of ``--recipe published`` beside the curve that the paper's authors recorded.

    qtn-train train mnist --recipe published --seed 42 --out runs/published-42     # and 43, 44
    python -m benchmarks.published runs/published-42 runs/published-43 runs/published-44

Writes ``docs/published.png`` and the numbers behind it, ``docs/published.json``.
"""

import json
import sys
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1] / "docs"

#: Training accuracy in percent by epoch, 16 layers, as recorded in the authors' notebook, and their
#: test accuracy (on 1,000 images) after the last epoch.
RECORDED = {1: 9.9, 5: 17.5, 10: 35.0, 15: 71.2, 20: 82.8, 30: 88.0, 40: 90.2, 50: 91.7}
RECORDED_TEST = 91.20


def main(folders: list[str]) -> None:
    """Read the runs, write numbers and picture."""
    runs = [json.loads((Path(folder) / "run.json").read_text()) for folder in folders]
    curves = {
        str(run["seed"]): {
            split: [round(100 * entry[f"{split}_accuracy"], 2) for entry in run["epochs"]]
            for split in ("train", "test")
        }
        for run in runs
    }
    kept = ("dataset", "ansatz", "n_qubits", "n_layers", "n_trainable", "recipe", "versions")
    result = {"settings": {name: runs[0][name] for name in kept}, "accuracy_percent": curves}
    (DOCS / "published.json").write_text(json.dumps(result, sort_keys=True, indent=1) + "\n")
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for seed, curve in curves.items():
        epochs = range(1, len(curve["train"]) + 1)
        (line,) = axes.plot(epochs, curve["train"], "--", lw=1)
        label = f"seed {seed}: test (dashed: train)"
        axes.plot(epochs, curve["test"], color=line.get_color(), label=label)
    axes.plot(list(RECORDED), list(RECORDED.values()), "ko", ms=4, label="recorded: train")
    axes.plot([50], [RECORDED_TEST], "k*", ms=9, label="recorded: test, 1,000 images")
    axes.set(xlabel="epoch", ylabel="accuracy (%)", title="MNIST, published recipe, 16 layers")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(DOCS / "published.png", dpi=120)


if __name__ == "__main__":
    main(sys.argv[1:])
