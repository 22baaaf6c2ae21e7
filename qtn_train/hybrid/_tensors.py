"""The generated tensors of a network: which they are, where each one starts, and its scale."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from .._random import uniform
from ..errors import must_be
from ._layout import Layout

# Tensors that start as a constant (the weights of normalization layers) move by this much.
_CONSTANT_SCALE = 0.1


@dataclass(frozen=True)
class GeneratedTensor:
    """One generated tensor: all names that share it, and how its weights are made."""

    names: tuple[str, ...]
    shape: tuple[int, ...]
    bound: float
    constant: float
    scale: float

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    def start_values(self, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        if self.bound == 0.0:
            return np.full(self.count, self.constant, dtype=np.float32)
        values = self.bound * uniform(seed, f"start/{self.names[0]}", self.count)
        return values.astype(np.float32)


def describe(
    target: nn.Module, patterns: Sequence[str], layout: Layout
) -> tuple[GeneratedTensor, ...]:
    names: dict[int, list[str]] = {}
    found: dict[int, nn.Parameter] = {}
    for name, parameter in target.named_parameters(remove_duplicate=False):
        if parameter.requires_grad:
            names.setdefault(id(parameter), []).append(name)
            found[id(parameter)] = parameter
    tensors = []
    for key, aliases in names.items():
        if any(fnmatch.fnmatchcase(name, p) for name in aliases for p in patterns):
            tensors.append(_tensor(target, found[key], tuple(aliases), layout))
    if not tensors:
        expected = "a pattern that matches a trainable parameter of the target"
        known = ", ".join(aliases[0] for aliases in names.values()) or "none"
        hint = f"Its trainable parameters: {known}."
        raise ValueError(must_be("generated", expected, list(patterns), hint))
    return tuple(tensors)


def _tensor(
    target: nn.Module, parameter: nn.Parameter, names: tuple[str, ...], layout: Layout
) -> GeneratedTensor:
    """Decide start and scale of one tensor.

    A tensor that the target starts as a constant (the weights of a normalization layer) stays so.
    """
    values = parameter.detach()
    constant = float(values.reshape(-1)[0])
    is_constant = (values.numel() > 1 or values.ndim < 2) and bool((values == constant).all())
    fan_in = _fan_in(target, parameter, names[0])
    scale = layout.gain * (_CONSTANT_SCALE if is_constant else 1 / math.sqrt(fan_in))
    if layout.scale == "one":
        scale = layout.gain
    bound = 0.0 if is_constant or layout.start == "zeros" else 1 / math.sqrt(fan_in)
    constant = constant if is_constant and layout.start == "random" else 0.0
    return GeneratedTensor(names, tuple(parameter.shape), bound, constant, scale)


def _fan_in(target: nn.Module, parameter: nn.Parameter, name: str) -> int:
    """Numbers summed into one output; for a bias, those of the first matrix in its module."""
    if parameter.ndim >= 2:
        return max(1, parameter[0].numel())
    module, _ = owner(target, name)
    matrices = [p for p in module.parameters(recurse=False) if p.ndim >= 2]
    return max(1, matrices[0][0].numel() if matrices else parameter.numel())


def owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf
