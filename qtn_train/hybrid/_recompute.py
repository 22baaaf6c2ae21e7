"""Weights for layers that are computed again in the backward pass (activation checkpointing).

    forward    target(weights of this pass)           remember(weights)
    at rest    target(fixed start)
    backward   a layer reads its weight again  ──►    recall: the weights of that forward pass

Between two calls the target holds its fixed start. A layer that ``torch.utils.checkpoint``
computes again reads its weights then, and must find those of the forward pass that it repeats.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn, final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointFunction

from ..engines._transforms import inside_transform
from ..errors import must_be

_REENTRANT = "Give use_reentrant=False to torch.utils.checkpoint inside the target."


@final
class Buffers(dict[str, Tensor | None]):
    """The buffers of one module, which a backward pass finds as the forward pass had them.

    Args:
        buffers: The module's buffers, the fixed starts of its generated weights among them.
        path: Name of the module in the target, with a dot at its end, or nothing.
        passes: The forward passes of the model.
    """

    def __init__(self, buffers: dict[str, Tensor | None], path: str, passes: Passes) -> None:
        super().__init__(buffers)
        self.path, self.passes = path, passes

    def __getitem__(self, name: str) -> Tensor | None:
        """Return a buffer; in a backward pass, with the value of the forward pass repeated."""
        recalled = self.passes.recall(self.path + name)
        return super().__getitem__(name) if recalled is None else recalled

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the buffers at rest."""
        return (Buffers, (dict(self), self.path, self.passes))


@final
class Passes:
    """The forward passes of a model that a backward pass may still repeat in part."""

    def __init__(self) -> None:
        self._kept: list[_Pass] = []
        self._depth = 0
        self._has_grad = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as a new, empty object: no graph goes along."""
        return (Passes, ())

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Mark a ``with`` block as a forward pass, during which the target holds the weights."""
        outer = self._has_grad
        self._depth += 1
        self._has_grad = torch.is_grad_enabled()
        try:
            yield
        finally:
            self._depth -= 1
            self._has_grad = outer

    def remember(self, numbers: Tensor, weights: dict[str, Tensor]) -> None:
        """Keep the weights of a pass until its graph has gone.

        Args:
            numbers: What all of the weights are made of.
            weights: They themselves, by name.
        """
        kept = [one for one in self._kept if one.token is not None and one.token() is not None]
        # Without their graph, which would live as long as they do otherwise.
        values = {name: weight.detach() for name, weight in weights.items()}
        with_grad = frozenset(name for name, weight in weights.items() if weight.requires_grad)
        self._kept = [*kept, _Pass(_token(numbers), values, with_grad)]

    def recall(self, name: str) -> Tensor | None:
        """Return the weight that a backward pass must see, or None where none must.

        Args:
            name: Of a buffer of the target.

        Raises:
            ValueError: Reentrant checkpointing, or passes with different weights wait together.
        """
        if self._depth:
            if self._has_grad and not torch.is_grad_enabled():
                _refuse_reentrant()
            return None
        if torch._C._current_graph_task_id() == -1 or not self._kept:
            return None
        return self._repeated().proxy(name)

    def _repeated(self) -> _Pass:
        """Return the pass that a backward pass repeats, or one of the same weights."""
        alive = [one for one in self._kept if one.token is None or one.token() is not None]
        waiting = [one for one in alive if not one.is_done()]
        *others, last = waiting or alive or self._kept[-1:]
        if not all(last.equals(other) for other in others):
            expected = "one at a time where layers are checkpointed and weights differ"
            hint = "Go back after each, or make them inside `with model.cached():`."
            raise ValueError(must_be("forward passes", expected, f"{len(others) + 1}", hint))
        return last


class _Token:
    """Lives as long as the graph of a pass."""

    done = False


@final
@dataclass
class _Pass:
    """One forward pass: the values of its weights, and which of them had a gradient.

    Attributes:
        token: A token of its graph, or None where there is none.
    """

    token: weakref.ref[_Token] | None
    weights: dict[str, Tensor]
    with_grad: frozenset[str]
    proxies: dict[str, Tensor] = field(default_factory=dict)

    def is_done(self) -> bool:
        """Return whether the gradient of this pass has been computed."""
        token = None if self.token is None else self.token()
        return token is not None and token.done

    def proxy(self, name: str) -> Tensor | None:
        """Return a weight's values as a leaf tensor that refuses a gradient."""
        weight = self.weights.get(name)
        if weight is not None and name not in self.proxies:
            proxy = weight.detach().requires_grad_(name in self.with_grad)
            if name in self.with_grad:
                proxy.register_hook(_refuse_gradient)
            self.proxies[name] = proxy
        return self.proxies.get(name)

    def equals(self, other: _Pass) -> bool:
        """Return whether another pass has the same weights."""
        return all(weight.equal(other.weights[name]) for name, weight in self.weights.items())


def _token(numbers: Tensor) -> weakref.ref[_Token] | None:
    """Return a token that lives as long as the graph of a pass's weights; None without a graph."""
    if not numbers.requires_grad or inside_transform():
        return None
    token = _Token()

    def done(_: Tensor | None) -> None:
        token.done = True

    numbers.register_hook(done)
    return weakref.ref(token)


def _refuse_reentrant() -> None:
    """Refuse a reentrant checkpoint: it runs a layer without a graph, then again with one."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is CheckpointFunction.forward.__code__:
            raise ValueError(must_be("use_reentrant", "False", "True", _REENTRANT))
        frame = frame.f_back


def _refuse_gradient(_: Tensor) -> NoReturn:
    expected = "one whose layers are computed again by torch.utils.checkpoint alone"
    actual = "a gradient that would be lost"
    raise ValueError(must_be("target", expected, actual, _REENTRANT))


def watch(target: nn.Module, paths: Iterable[str], passes: Passes) -> None:
    """Let modules find their weights again in a backward pass, given the modules' paths."""
    for path in paths:
        module = target.get_submodule(path)
        prefix = f"{path}." if path else ""
        module._buffers = Buffers(module._buffers, prefix, passes)


def unwatch(net: nn.Module, paths: Iterable[str]) -> None:
    """Give modules plain buffers again, given the modules' paths."""
    for path in paths:
        module = net.get_submodule(path)
        module._buffers = dict(module._buffers)
