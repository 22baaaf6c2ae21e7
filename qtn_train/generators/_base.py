"""The base of generators: a few trained numbers in, all weights out."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._autocast import differentiated_outside_autocast, outside_autocast
from .._registry import Registry


class WeightGenerator(nn.Module, ABC):
    """Generates a vector of weights from its parameters.

    An implementer defines ``kind``, :meth:`forward`, :meth:`config` and, where its parameters have
    more than one role, :meth:`parts`. Weights are of the order of 1: whoever uses them scales them.

    Attributes:
        kind: The word for this class in descriptions as JSON data.
        n_weights: Length of the generated vector.
    """

    kind: ClassVar[str]
    n_weights: int

    def __call__(self) -> Any:
        """Return all weights, made as without autocast: mixed precision ends here."""
        with outside_autocast():
            return differentiated_outside_autocast(super().__call__())

    @abstractmethod
    def forward(self) -> Float[Tensor, " n_weights"]:
        """Return all weights, differentiable with respect to the parameters."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return a description that builds an equal generator, JSON data with a ``kind``."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WeightGenerator:
        """Build the generator that :meth:`config` described, with its initial parameters.

        Args:
            config: Such a description, of this class.

        Returns:
            An equal generator; by default the class is called with the description's other words.
        """
        return cls(**{name: value for name, value in config.items() if name != "kind"})

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the trainable parameters by role: ``angles``, ``mapping``, ``other``."""
        return {"other": [p for p in self.parameters() if p.requires_grad]}

    def start_at(self, start: Float[Tensor, " n_weights"]) -> None:
        """Receive the target's start, to which the weights will be added.

        Called once, before :meth:`origin`. A generator that does not depend on it ignores it.

        Args:
            start: In units of each tensor's scale, in the order of the generated weights.
        """

    def origin(self) -> Float[Tensor, " n_weights"]:
        """Return the weights at the initial parameters, which are subtracted from all later ones.

        Called once, when the model is built.
        """
        with torch.no_grad():
            weights: Tensor = self()
        return weights

    def version(self) -> tuple[object, ...]:
        """Return a cache key of the weights: equal keys mean unchanged weights.

        It holds the values of what is trained, which can change unseen (through ``.data`` or
        NumPy), and the place of what is fixed.
        """
        trained = tuple(_contents(parameter) for parameter in self.parameters())
        return (*trained, *(places(buffer) for buffer in self.buffers()))

    @property
    def billed(self) -> bool:
        """Whether each call costs money."""
        return False

    @property
    def position(self) -> int:
        """The position of the random draws behind the weights, saved beside the parameters."""
        return 0

    @position.setter
    def position(self, value: int) -> None:
        """Ignore the position: without random draws there is none."""

    def diagnostics(self) -> dict[str, float]:
        """Return figures about the last call that a training history should keep."""
        return {}

    def shared(self) -> AbstractContextManager[None]:
        """Let each process of torch's group make a part of the weights, inside a ``with`` block.

        All of them must call the generator together, go back through it together, and add up the
        gradients that they get. A generator that cannot be divided makes everything everywhere,
        which gives the same sums.
        """
        return nullcontext()

    def in_double(self) -> WeightGenerator:
        """Return a copy that computes in double precision, for checks."""
        return copy.deepcopy(self).double()

    def describe(self) -> str:
        """Return a line that says what this generator is."""
        return type(self).__name__

    def describe_values(self) -> str:
        """Return a line about the numbers behind the weights at present; "" where none is known."""
        return ""


def places(tensor: Tensor) -> tuple[object, ...]:
    """Return a key of a tensor that changes when torch writes to it, moves or replaces it."""
    writes = 0 if tensor.is_inference() else tensor._version
    return (tensor.dtype, tensor.device, tensor.data_ptr(), writes)


def _contents(tensor: Tensor) -> tuple[object, ...]:
    values = tensor.detach().contiguous().view(-1).view(torch.uint8).cpu().numpy().tobytes()
    return (tensor.dtype, tensor.device, values)


GENERATORS: Registry[WeightGenerator] = Registry("generator", WeightGenerator)


def register_generator(cls: type[WeightGenerator]) -> type[WeightGenerator]:
    """Make a generator of your own known, so that models with it can be loaded again.

    Args:
        cls: A subclass of :class:`WeightGenerator` with a ``kind`` of its own; it serves as a
            decorator.

    Returns:
        The class.

    Raises:
        TypeError: It is not a subclass of WeightGenerator, or its ``kind`` is not a string.
        ValueError: Another generator has this ``kind``.

    Example:
        >>> from qtn_train.generators import CircuitGenerator
        >>> register_generator(CircuitGenerator).kind
        'circuit'
    """
    return GENERATORS.add(cls)
