"""Which network learns which data set, through which circuit, with which options."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..circuits import ANSATZE, Circuit
from ..engines import Engine
from ..errors import must_be, positive_int
from ..generators import CircuitGenerator, qubits_needed, values_needed
from ..hybrid import PUBLISHED_LAYOUT, Layout, QuantumTrain
from ..mapping import MappingModel, MLPMapping
from ..measurements import Probabilities
from ..training._config import FitConfig

Recipe = Literal["default", "published"]


class ImageCNN(nn.Module):
    """The convolutional network of the Quantum-Train paper: 6,690 parameters.

    Args:
        relu: Whether ReLU follows each layer but the last; the published code has none.

    Source:
        arXiv 2402.16465 and its code.

    Example:
        >>> sum(p.numel() for p in ImageCNN().parameters())
        6690
    """

    def __init__(self, relu: bool = True) -> None:
        super().__init__()
        self.relu = relu
        self.conv1 = nn.Conv2d(1, 8, 5)
        self.conv2 = nn.Conv2d(8, 12, 5)
        self.fc1 = nn.Linear(192, 20)
        self.fc2 = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores, shape (batch, 10), for images of shape (batch, 1, 28, 28)."""
        x = self._act(nn.functional.max_pool2d(self.conv1(x), 2))
        x = self._act(nn.functional.max_pool2d(self.conv2(x), 2))
        out: Tensor = self.fc2(self._act(self.fc1(x.flatten(1))))
        return out

    def _act(self, x: Tensor) -> Tensor:
        return torch.relu(x) if self.relu else x


def mlp(*widths: int) -> nn.Sequential:
    """Return a multilayer perceptron with ReLU between its layers.

    Args:
        *widths: Numbers of inputs, hidden units and outputs.

    Returns:
        The network.

    Example:
        >>> sum(p.numel() for p in mlp(4, 16, 3).parameters())
        131
    """
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def target_for(dataset: str, recipe: Recipe = "default") -> nn.Module:
    """Return the network that a data set's weights are generated for.

    Args:
        dataset: Name of the data set.
        recipe: ``"published"`` leaves ReLU out of the convolutional network.

    Returns:
        A fresh network; its own initial weights are not used.
    """
    if dataset == "iris":
        return mlp(4, 16, 3)
    if dataset == "digits":
        return mlp(64, 32, 10)
    return ImageCNN(relu=recipe == "default")


@dataclass(frozen=True)
class _Defaults:
    ansatz: str
    n_layers: int
    epochs: int
    batch_size: int
    lr: float
    hidden: tuple[int, ...] = (4,)


# Of all ansätze, RY and a chain of CX conditions the way from angles to weights best: its Jacobian
# is as good as a random matrix (docs/theory/recipe.md). 110 layers make 1,430 angles.
# Full sets make three times the steps of the small one, and bear half its learning rate.
_IMAGES = _Defaults("ry-cx-chain", 110, epochs=15, batch_size=128, lr=0.006)
_MINI = _Defaults("ry-cx-chain", 110, epochs=30, batch_size=128, lr=0.01)
_DEFAULTS = {
    "iris": _Defaults("ry-cx-chain", 4, epochs=60, batch_size=16, lr=0.02, hidden=(4, 20, 4)),
    "digits": _Defaults("ry-cx-chain", 40, epochs=40, batch_size=64, lr=0.01),
    "mnist-mini": _MINI,
    "mnist": _IMAGES,
    "fashion-mnist": _IMAGES,
}
_PUBLISHED = _Defaults("u3-cu3-ring", 16, epochs=50, batch_size=128, lr=1e-4, hidden=(4, 20, 4))


def _defaults(dataset: str, recipe: Recipe) -> _Defaults:
    return _PUBLISHED if recipe == "published" else _DEFAULTS[dataset]


def default_circuit(
    dataset: str,
    n_weights: int,
    *,
    recipe: Recipe = "default",
    ansatz: str | None = None,
    n_layers: int | None = None,
    n_qubits: int | None = None,
    weights_per_outcome: int = 1,
) -> tuple[str, Circuit]:
    """Return a data set's circuit, with what is not given chosen.

    Args:
        dataset: Name of the data set.
        n_weights: Number of weights to generate.
        recipe: Whose ansatz and depth to take.
        ansatz: Command-line name of the ansatz.
        n_layers: Number of layers; for another ansatz than the recipe's as many as give about as
            many angles.
        n_qubits: Number of qubits.
        weights_per_outcome: Weights that the mapping makes of each outcome.

    Returns:
        The name of the ansatz, and the circuit.

    Raises:
        ValueError: An unknown ansatz, a number below 1, or too few qubits.
    """
    defaults = _defaults(dataset, recipe)
    ansatz = defaults.ansatz if ansatz is None else ansatz
    if ansatz not in ANSATZE:
        raise ValueError(must_be("ansatz", f"one of {', '.join(ANSATZE)}", repr(ansatz)))
    needed = qubits_needed(n_weights, weights_per_outcome)
    qubits = positive_int("n_qubits", needed if n_qubits is None else n_qubits)
    if qubits < needed:
        hint = f"{n_weights:,} weights need {needed} qubits."
        raise ValueError(must_be("n_qubits", f"at least {needed}", qubits, hint))
    if n_layers is None:
        n_angles = defaults.n_layers * ANSATZE[defaults.ansatz](qubits, 1).n_angles
        n_layers = max(1, n_angles // ANSATZE[ansatz](qubits, 1).n_angles)
    return ansatz, ANSATZE[ansatz](qubits, positive_int("n_layers", n_layers))


def build_model(
    dataset: str,
    circuit: Circuit,
    engine: Engine | Literal["auto"] = "auto",
    *,
    recipe: Recipe = "default",
    mapping: MappingModel | None = None,
    weights_per_outcome: int = 1,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> QuantumTrain:
    """Return the model of a recipe.

    Args:
        dataset: Name of the data set.
        circuit: The circuit.
        engine: What runs it.
        recipe: ``"default"`` or ``"published"`` (arXiv 2402.16465: affine mapping, no start, no
            scale, no shuffle, no ReLU).
        mapping: Another mapping than the recipe's.
        weights_per_outcome: Weights that the recipe's mapping makes of each outcome.
        seed: Seed of all that is random in the model.
        device: Where the model is built, and stays.

    Returns:
        The model.
    """
    target = target_for(dataset, recipe)
    n_weights = sum(p.numel() for p in target.parameters())
    hidden = _defaults(dataset, recipe).hidden
    layout = PUBLISHED_LAYOUT if recipe == "published" else Layout()
    if mapping is None:
        published: dict[str, Any] = {"activation": None, "published": True}
        own = published if recipe == "published" else {}
        own |= {"weights_per_outcome": weights_per_outcome, "seed": seed}
        mapping = MLPMapping(values_needed(n_weights, weights_per_outcome), hidden, **own)
    generator = CircuitGenerator(
        circuit,
        engine,
        mapping,
        measurement=Probabilities("published" if recipe == "published" else "amplitude"),
        n_weights=n_weights,
        seed=seed,
    )
    return QuantumTrain(target, generator.to(device), layout=layout, seed=seed).to(device)


# Where shots are counted, a step costs as many circuits whatever its batch: about 100 steps in all,
# each over many samples.
_COUNTED = {
    "iris": {"epochs": 100, "batch_size": 120},
    "digits": {"epochs": 100, "batch_size": 1500},
    "mnist-mini": {"epochs": 10, "batch_size": 1000},
    "mnist": {"epochs": 3, "batch_size": 2000},
    "fashion-mnist": {"epochs": 3, "batch_size": 2000},
}


def fit_config(
    dataset: str, recipe: Recipe = "default", seed: int = 0, counted: bool = False
) -> FitConfig:
    """Return the training options of a recipe.

    Args:
        dataset: Name of the data set.
        recipe: ``"default"`` or ``"published"``.
        seed: Seed of the order of the samples.
        counted: Whether the engine counts shots: the default recipe then takes about 100 steps over
            large batches (iris: all of the training set), half the learning rate for the angles,
            whose gradient is noisy, and more for the mapping, whose gradient is exact for the
            counts that were seen.

    Returns:
        The options.

    Raises:
        ValueError: An unknown recipe.

    Source:
        arXiv 2402.16465 and its code for ``"published"``; ours otherwise.
    """
    if recipe == "published":
        return FitConfig(
            epochs=_PUBLISHED.epochs,
            batch_size=_PUBLISHED.batch_size,
            lr=_PUBLISHED.lr,
            weight_decay=1e-5,
            schedule="plateau",
            clip_norm=None,
            seed=seed,
        )
    if recipe != "default":
        raise ValueError(must_be("recipe", "'default' or 'published'", repr(recipe)))
    defaults = _DEFAULTS[dataset]
    config = FitConfig(
        epochs=defaults.epochs,
        batch_size=defaults.batch_size,
        lr=defaults.lr,
        # The mapping moves all weights at once: it learns more slowly than the angles.
        lr_mapping=0.3 * defaults.lr,
        seed=seed,
    )
    if not counted:
        return config
    # Iris, 4,000 shots, 10 seeds and repeated draws of the final counts: the worst test accuracy
    # was 83 % with the rates above, and 93 % with these.
    return config.but(lr=0.5 * defaults.lr, lr_mapping=defaults.lr, **_COUNTED[dataset])
