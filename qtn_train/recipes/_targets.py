"""Target networks: the plain classical network that learns each data set."""

from __future__ import annotations

import itertools
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from ..errors import must_be, positive_int
from ..hybrid import Layout
from ..hybrid._tensors import describe
from . import _own
from ._defaults import Recipe


class ImageCNN(nn.Module):
    """The convolutional network of the Quantum-Train paper: 6,690 parameters; or a wider one.

    Args:
        relu: Whether ReLU follows each layer but the last; the published code has none.
        channels: Channels of the two convolutions.
        hidden: Units of the hidden layer.

    Raises:
        TypeError: A width is not an integer.
        ValueError: A width below 1.

    Source:
        arXiv 2402.16465 and its code.

    Example:
        >>> sum(p.numel() for p in ImageCNN().parameters())
        6690
        >>> sum(p.numel() for p in ImageCNN(channels=(12, 24), hidden=107).parameters())
        49811
    """

    def __init__(
        self, relu: bool = True, *, channels: tuple[int, int] = (8, 12), hidden: int = 20
    ) -> None:
        super().__init__()
        first, second = (positive_int("channels", width) for width in channels)
        self.relu = relu
        self.conv1 = nn.Conv2d(1, first, 5)
        self.conv2 = nn.Conv2d(first, second, 5)
        self.fc1 = nn.Linear(16 * second, positive_int("hidden", hidden))
        self.fc2 = nn.Linear(hidden, 10)

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


@lru_cache
def count_weights(dataset: str) -> int:
    """Return the number of weights of a data set's network.

    Args:
        dataset: Name of the data set.

    Returns:
        The number; every recipe's network has the same.

    Example:
        >>> count_weights("iris")
        131
    """
    return sum(weight.numel() for weight in target_for(dataset).parameters())


#: Gives what options keep of ``"file.py:Class"``.
target_with_hash = partial(
    _own.with_hash, "target", "file.py:Class, the class of a network or a function that builds one"
)


def own_target(name: str, seed: int = 0) -> nn.Module:
    """Return a fresh network of the user's own.

    Args:
        name: What :data:`target_with_hash` returns.
        seed: Seed of what is random when the network is built: buffers, and frozen parameters.

    Raises:
        ValueError: The file or class is missing or has changed, the class cannot be called without
            arguments, or it gives no torch module.
    """
    made = _own.member("target", name, "class or function")
    hint = "It is called without arguments and gives a torch.nn.Module."
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        net = _own.call("target", made, hint=hint)
    if not isinstance(net, nn.Module):
        actual = f"{type(net).__name__} from {made.__name__}"
        raise ValueError(must_be("target", "a class or function of a network", actual, hint))
    return net


@lru_cache(maxsize=32)
def count_own(name: str) -> int:
    """Return the number of weights to generate for a network of the user's own.

    Args:
        name: What :data:`target_with_hash` returns.
    """
    return sum(tensor.count for tensor in describe(own_target(name), ("*",), Layout()))
