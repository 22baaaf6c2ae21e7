"""Options of a training run, and the history of what happened."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from .. import _html as html
from ..errors import must_be, positive_int

Schedule = Literal["one-cycle", "plateau", "constant"]


@dataclass(frozen=True)
class FitConfig:
    """Options of :func:`qtn_train.fit`.

    Attributes:
        epochs: Passes over the training set.
        batch_size: Samples of a step; the last step of an epoch takes what is left.
        lr: Learning rate (peak) of Adam for the angles, and for whatever is not a mapping.
        lr_mapping: Learning rate (peak) for the mapping; ``lr`` by default.
        weight_decay: L2 penalty, as torch's Adam defines it.
        schedule: ``"one-cycle"`` over the whole run, ``"plateau"``: halved after five epochs
            without a lower training loss (the published one), or ``"constant"``.
        clip_norm: Largest norm of a part's gradient, or None for no limit.
        patience: Epochs without a lower validation loss after which training stops, or None. A
            tenth of the training set is then held out; the test set decides nothing.
        seed: Seed of the order of the samples and of the held-out tenth.
    """

    epochs: int = 15
    batch_size: int = 128
    lr: float = 0.01
    lr_mapping: float | None = None
    weight_decay: float = 0.0
    schedule: Schedule = "one-cycle"
    clip_norm: float | None = 1.0
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        positive_int("epochs", self.epochs)
        positive_int("batch_size", self.batch_size)
        if self.patience is not None:
            positive_int("patience", self.patience)
        for name in ("lr", "lr_mapping", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not (_is_finite(name, value) and value > 0):
                raise ValueError(must_be(name, "a positive number", value))
        if not (_is_finite("weight_decay", self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(must_be("weight_decay", "a number of at least 0", self.weight_decay))
        if self.schedule not in ("one-cycle", "plateau", "constant"):
            expected = "'one-cycle', 'plateau' or 'constant'"
            raise ValueError(must_be("schedule", expected, repr(self.schedule)))

    def but(self, **changes: Any) -> FitConfig:
        """Return a copy with some options changed."""
        return replace(self, **changes)

    def config(self) -> dict[str, Any]:
        """Return the options as JSON data."""
        return asdict(self)


@dataclass(repr=False)
class History:
    """The history of a run: loss, accuracy and metrics, one entry an epoch.

    Attributes:
        epochs: ``{epoch, train_loss, train_accuracy, test_loss, test_accuracy, seconds}``, where
            there is a test set and labels can be met, ``test_`` and the name of each metric, and
            ``validation_loss`` where there is a held-out set; with matrix product states also
            ``truncation_error`` and ``fidelity_estimate``, with shots ``shots`` and
            ``outcomes_seen``.
        stopped_early: Whether patience ran out.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    stopped_early: bool = False

    @property
    def test_accuracy(self) -> float:
        """Test accuracy after the last epoch.

        Raises:
            AttributeError: There was no test set, or nothing that is right or wrong.
        """
        if not self.epochs or "test_accuracy" not in self.epochs[-1]:
            known = ", ".join(self.epochs[-1]) if self.epochs else "no epoch"
            raise AttributeError(
                must_be("history", "one with a test accuracy", f"one with {known}")
            )
        return self.epochs[-1]["test_accuracy"]

    def __repr__(self) -> str:
        n_epochs = len(self.epochs)
        last = self.epochs[-1] if self.epochs else {}
        names = [n for n in ("test_accuracy", "test_loss", "train_loss") if n in last]
        found = f", {names[0]}={last[names[0]]:.4f}" if names else ""
        return f"History({n_epochs} epoch{'' if n_epochs == 1 else 's'}{found})"

    def _repr_html_(self) -> str:
        if not self.epochs:
            return html.table("History", [("epochs", 0)])
        last = self.epochs[-1]
        rows: list[tuple[str, object]] = [
            ("epochs", f"{len(self.epochs)}{', stopped early' if self.stopped_early else ''}")
        ]
        for part, word in (("test", "test"), ("train", "training")):
            if f"{part}_accuracy" in last:
                rows.append((f"{word} accuracy", f"{100 * last[f'{part}_accuracy']:.2f} %"))
            if f"{part}_loss" in last:
                unit = " nats" if f"{part}_accuracy" in last else ""
                rows.append((f"{word} loss", f"{last[f'{part}_loss']:.4f}{unit}"))
        rows.append(("time", f"{sum(entry['seconds'] for entry in self.epochs):.1f} s"))
        if "test_accuracy" not in last:
            losses = [entry.get("test_loss", entry["train_loss"]) for entry in self.epochs]
            caption = f"loss by epoch, {min(losses):.4g} to {max(losses):.4g}"
            return html.table("History", rows, html.line(losses, caption))
        accuracies = [100 * entry["test_accuracy"] for entry in self.epochs]
        caption = f"test accuracy by epoch, {min(accuracies):.2f} to {max(accuracies):.2f} %"
        return html.table("History", rows, html.line(accuracies, caption))


def _is_finite(name: str, value: object) -> bool:
    if not isinstance(value, int | float):
        raise TypeError(must_be(name, "a number", repr(value)))
    return math.isfinite(value)
