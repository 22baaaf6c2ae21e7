"""The default options of each recipe, for each data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ..training import FitConfig

Recipe = Literal["default", "published"]

# A network of the user's own has one angle for five weights, in at least 4 and at most 110 layers.
_COMPRESSION, _LAYERS = 5, (4, 110)


@dataclass(frozen=True)
class Defaults:
    """A recipe's choices for one data set.

    Attributes:
        ansatz: Name of the ansatz.
        n_layers: Number of its layers.
        hidden: Hidden widths of the mapping.
        seed: Seed of all that is random.
        fit: Training options with exact values; their seed is replaced by the run's.
        counted: Training options where shots are counted.
        mapping: What turns values into weights.
        gain: Of the layout.
        n_qubits: Most qubits that a mixing of correlators takes; as few as needed without.
        reach: Largest distance between the qubits of a mixed correlator.
        training_shots: Shots whose noise correlators have in training.
        spsa: Training options where shots are counted and the gradient is by SPSA; as for every
            estimator without.
    """

    ansatz: str
    n_layers: int
    hidden: tuple[int, ...]
    seed: int
    fit: FitConfig
    counted: FitConfig
    mapping: str = "mlp"
    gain: float = 3.0
    n_qubits: int | None = None
    reach: int | None = None
    training_shots: int | None = None
    spsa: FitConfig | None = None

    def fit_by(self, gradient: str | None) -> FitConfig:
        """Return the training options for an estimator of the gradient.

        Args:
            gradient: Its name; None where values are exact.
        """
        if gradient is None:
            return self.fit
        return self.spsa if gradient == "spsa" and self.spsa else self.counted


def defaults_for(
    dataset: str,
    recipe: Recipe = "default",
    correlators: bool = False,
    n_weights: int | None = None,
) -> Defaults:
    """Return a recipe's choices for a data set.

    Args:
        dataset: Name of the data set; others than the package's own are all alike.
        recipe: ``"default"`` or ``"published"``, which is the same for every data set.
        correlators: Whether weights come from Pauli correlators or another observable.
        n_weights: Weights of a network of the user's own, which set the number of layers.

    Returns:
        The choices.

    Source:
        arXiv 2402.16465 and its code for ``"published"``; ours otherwise.
    """
    if recipe == "published":
        return _PUBLISHED
    found = (_CORRELATORS if correlators else _DEFAULTS).get(dataset)
    if n_weights is None or correlators:
        return found or _OWN_CORRELATORS
    n_layers = n_weights // (_COMPRESSION * max(1, (n_weights - 1).bit_length()))
    n_layers = min(max(n_layers, _LAYERS[0]), _LAYERS[1])
    return replace(found or _OWN, n_layers=n_layers, hidden=(4,))


def _ours(
    n_layers: int,
    fit: FitConfig,
    counted_epochs: int,
    counted_batch: int,
    hidden: tuple[int, ...] = (4,),
) -> Defaults:
    # Of all ansätze, RY and a chain of CX conditions the way from angles to weights best: its
    # Jacobian is as good as a random matrix (docs/theory/recipe.md).
    # The mapping moves all weights at once: it learns more slowly than the angles.
    exact = fit.but(lr_mapping=0.3 * fit.lr)
    # Where shots are counted, a step costs as many circuits whatever its batch: about 100 steps in
    # all, each over many samples (iris: all of the training set); half the rate for the angles,
    # whose gradient is noisy, and more for the mapping, whose gradient is exact for the counts that
    # were seen. Iris, 4,000 shots, 10 seeds and repeated draws of the final counts: the worst test
    # accuracy was 83 % with the exact rates, and 93 % with these.
    counted = exact.but(
        lr=0.5 * fit.lr, lr_mapping=fit.lr, epochs=counted_epochs, batch_size=counted_batch
    )
    return Defaults("ry-cx-chain", n_layers, hidden, 0, exact, counted)


# Full sets make three times the steps of the small one, and bear half its learning rate.
# 110 layers make 1,430 angles.
_IMAGES = _ours(110, FitConfig(epochs=15, batch_size=128, lr=0.006), 3, 2000)
_DEFAULTS = {
    "iris": _ours(4, FitConfig(epochs=60, batch_size=16, lr=0.02), 100, 120, (4, 20, 4)),
    "digits": _ours(40, FitConfig(epochs=40, batch_size=64, lr=0.01), 100, 1500),
    "mnist-mini": _ours(110, FitConfig(epochs=30, batch_size=128, lr=0.01), 10, 1000),
    "mnist": _IMAGES,
    "fashion-mnist": _IMAGES,
}


def _shallow(
    n_qubits: int,
    fit: FitConfig,
    counted_epochs: int,
    counted_batch: int,
    gain: float = 1.2,
    training_shots: int = 10_000,
    reach: int = 8,
    n_layers: int = 6,
) -> Defaults:
    # Six layers of CZ on every second pair: bond 8, 13 angles a qubit. Beyond a distance of 11 the
    # light cones of two qubits do not meet, and their correlator is a product; those up to 8 are
    # larger in the mean, and train as well. Mixing is what helps most, then qubits, then noise in
    # training, which costs nothing and lets few shots do (docs/theory/recipe.md). The gain is as
    # small as still trains well: the noise of a weight is in proportion to it.
    # Four layers (bond 4, 9 angles a qubit, light cones that meet up to 7) train better than six
    # of as many angles, on more qubits.
    counted = fit.but(epochs=counted_epochs, batch_size=counted_batch)
    # SPSA sees one direction in a step: of 130 numbers a step tells a hundredth, so that many small
    # ones are needed, each of six circuits in place of twice the angles.
    spsa = counted.but(epochs=30 * counted_epochs, lr=round(fit.lr / 3, 3))
    return Defaults(
        "cz-chain",
        n_layers,
        (4,),
        0,
        fit,
        counted,
        mapping="mixing",
        gain=gain,
        n_qubits=n_qubits,
        reach=reach,
        training_shots=training_shots,
        spsa=spsa,
    )


_WIDE = FitConfig(epochs=20, batch_size=128, lr=0.04)
_FULL = _shallow(166, _WIDE, 3, 2000, reach=7, n_layers=4)
_IRIS = FitConfig(epochs=60, batch_size=16, lr=0.06)
_DIGITS = FitConfig(epochs=40, batch_size=64, lr=0.1)
_CORRELATORS = {
    "iris": _shallow(10, _IRIS, 100, 120, gain=2.0, training_shots=1000),
    # Few images: a larger gain, rate and noise hold the network back from learning them by heart.
    "digits": _shallow(68, _DIGITS, 100, 1500, gain=2.4, training_shots=3000),
    "mnist-mini": _shallow(100, FitConfig(epochs=30, batch_size=128, lr=0.06), 10, 1000, reach=11),
    "mnist": _FULL,
    "fashion-mnist": _FULL,
}

# Of data that nobody has tried: rates at which all of the package's own sets train well.
_OWN = _ours(4, FitConfig(epochs=40, batch_size=32, lr=0.01), 100, 1000)
_OWN_CORRELATORS = _shallow(68, FitConfig(epochs=40, batch_size=32, lr=0.06), 100, 1000)

_PUBLISHED_FIT = FitConfig(
    epochs=50, batch_size=128, lr=1e-4, weight_decay=1e-5, schedule="plateau", clip_norm=None
)
_PUBLISHED = Defaults("u3-cu3-ring", 16, (4, 20, 4), 42, _PUBLISHED_FIT, _PUBLISHED_FIT)
