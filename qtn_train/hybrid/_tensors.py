"""The generated tensors of a network: which they are, where each one starts, and its scale.

    generated numbers (count,) ──► rows without the fixed ones ──► tensor of the target's shape

What starts as a constant is said by the kind of a module, not by the values that one happens to
hold: so the seed and the network's classes alone fix a model.
"""

from __future__ import annotations

import copy
import fnmatch
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._random import uniform
from ..errors import must_be
from ._layout import Layout

# Tensors that start as a constant (the weights of normalization layers) move by this much.
_CONSTANT_SCALE = 0.1

# Classes of torch whose vectors start as constants; PReLU and attention are told apart below.
_NORMALIZATIONS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


@dataclass(frozen=True)
class GeneratedTensor:
    """One generated tensor: all names that share the tensor, its start and its scale.

    Attributes:
        names: Its names in the target.
        shape: Of the tensor.
        bound: Half the width of the uniform start; 0 for a constant one.
        constant: Where a constant one starts.
        scale: Factor on generated numbers.
        fixed_rows: Rows that are not generated: an embedding's padding.
        carried: Whether the start is a constant that a class of the user's own came with: what the
            seed cannot give, a state dict has to carry.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    bound: float
    constant: float
    scale: float
    fixed_rows: tuple[int, ...] = ()
    carried: bool = False

    @property
    def count(self) -> int:
        """Number of generated numbers."""
        return math.prod(self.shape) - len(self.fixed_rows) * math.prod(self.shape[1:])

    def start_values(self, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return where the generated numbers start, drawn from the seed."""
        if self.bound == 0.0:
            return np.full(self.count, self.constant, dtype=np.float32)
        values = self.bound * uniform(seed, f"start/{self.names[0]}", self.count)
        return values.astype(np.float32)

    def laid_out(self, numbers: Tensor) -> Tensor:
        """Return generated numbers in the tensor's shape, with zeros in the rows that are fixed."""
        if not self.fixed_rows:
            return numbers.view(self.shape)
        rows = numbers.view(-1, *self.shape[1:])
        zero = rows.new_zeros(1, *self.shape[1:])
        ends = [row - before for before, row in enumerate(self.fixed_rows)]
        pieces = rows.tensor_split(ends)
        between = itertools.chain.from_iterable(
            (piece, zero) if number < len(ends) else (piece,) for number, piece in enumerate(pieces)
        )
        return torch.cat(list(between))

    def taken(self, tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the generated numbers of this tensor's shape: the inverse of :meth:`laid_out`."""
        kept = [row for row in range(len(tensor)) if row not in self.fixed_rows]
        rows = tensor[kept] if self.fixed_rows else tensor
        values: np.ndarray[Any, np.dtype[np.float32]] = rows.float().cpu().reshape(-1).numpy()
        return values


def describe(
    target: nn.Module, patterns: Sequence[str], layout: Layout
) -> tuple[GeneratedTensor, ...]:
    """Return the tensors of a network that are generated.

    Args:
        target: The network.
        patterns: Patterns of their names.
        layout: Start and scale.

    Raises:
        TypeError: One of them is of a kind that cannot be generated.
        ValueError: No trainable parameter matches.
    """
    _check_kind(target)
    scripted = tuple(n for n, m in target.named_modules() if isinstance(m, torch.jit.ScriptModule))
    names: dict[int, list[str]] = {}
    found: dict[int, nn.Parameter] = {}
    for name, parameter in target.named_parameters(remove_duplicate=False):
        if parameter.requires_grad:
            names.setdefault(id(parameter), []).append(name)
            found[id(parameter)] = parameter
    tensors = []
    for key, aliases in names.items():
        if any(fnmatch.fnmatchcase(name, p) for name in aliases for p in patterns):
            _check(found[key], aliases[0], scripted)
            if found[key].numel():
                tensors.append(_tensor(target, found[key], tuple(aliases), layout))
    tensors = [tensor for tensor in tensors if tensor.count]
    if not tensors:
        expected = "a pattern that matches a trainable parameter of the target"
        known = ", ".join(aliases[0] for aliases in names.values()) or "none"
        hint = f"Its trainable parameters: {known}."
        raise ValueError(must_be("generated", expected, list(patterns), hint))
    return tuple(tensors)


def with_constants(
    target: nn.Module, names: Sequence[str], stored: Mapping[str, Tensor]
) -> nn.Module:
    """Return a copy of a network whose constant tensors hold the values recorded for a model.

    Args:
        target: The network, trained since then or not.
        names: Of its generated tensors.
        stored: The constants that the model carries, by name.
    """
    net = copied(target)
    parameters = dict(net.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name in names:
            parameter = parameters.get(name)
            if parameter is None or not parameter.numel() or _is_torchs(net, name):
                continue
            if name in stored:
                parameter.copy_(stored[name])
            elif parameter.numel() > 1:
                parameter.view(-1)[0] = parameter.view(-1)[1] + 1
    return net


def copied(module: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """Return a deep copy, also of a network in which hooks have left results of the last call.

    Pruning and torch's older weight norm keep the weight that they have computed as an attribute.
    It is no leaf, and torch refuses to copy it, though the next call computes it again.
    """
    memo = {} if memo is None else memo
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    twin: nn.Module = copy.deepcopy(module, memo)
    return twin


def owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Return the module that holds a parameter, and the parameter's name in it."""
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf


def has_sparse_gradient(module: nn.Module) -> bool:
    """Return whether a module asks for a sparse gradient of its weight."""
    return isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse


def _check_kind(target: nn.Module) -> None:
    """Refuse a network that torch cannot call with other weights."""
    if isinstance(target, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        hint = "Give its `.module`, and wrap the model made of that."
        raise TypeError(must_be("target", "a module of one process", type(target).__name__, hint))


def _check(parameter: nn.Parameter, name: str, scripted: Sequence[str]) -> None:
    """Refuse a parameter that cannot be generated."""
    wrong, hint = "", ""
    path = name.rpartition(".")[0]
    if any(path == module or not module or path.startswith(f"{module}.") for module in scripted):
        wrong = f"a scripted or traced one, which owns `{name}`"
        hint = "Give the module that it was made from."
    elif nn.parameter.is_lazy(parameter):
        wrong = f"one whose `{name}` has no shape yet"
        hint = "Call it once with an example input."
    elif parameter.is_meta:
        wrong = f"one whose `{name}` is on the meta device"
        hint = "Build it on the device where it shall run, or move it with to_empty(device=…)."
    elif parameter.is_complex():
        wrong = f"one whose `{name}` is {str(parameter.dtype).removeprefix('torch.')}"
        hint = "Hold real and imaginary part as two parameters."
    elif parameter.layout is not torch.strided:
        wrong = f"one whose `{name}` is {str(parameter.layout).removeprefix('torch.')}"
        hint = "Make it dense."
    if wrong:
        expected = "a module of real, dense parameters that hold values"
        hint = f"{hint} Or leave that parameter out with `generated`, or freeze it."
        raise TypeError(must_be("target", expected, wrong, hint))


def _tensor(
    target: nn.Module,
    parameter: nn.Parameter,
    names: tuple[str, ...],
    layout: Layout,
) -> GeneratedTensor:
    """Decide start and scale of one tensor."""
    constant, is_own = _constant_of_kind(target, names[0]), not _is_torchs(target, names[0])
    if is_own and constant is None:
        # Classes of the user's own: their values are all that says it.
        constant = _constant_of_values(target, names[0], parameter)
    fan_in = _fan_in(target, parameter, names[0])
    scale = layout.gain * (1 / math.sqrt(fan_in) if constant is None else _CONSTANT_SCALE)
    if layout.scale == "one":
        scale = layout.gain
    is_random = layout.start == "random"
    bound = 1 / math.sqrt(fan_in) if constant is None and is_random else 0.0
    owners = [owner(target, name)[0] for name in names]
    tables = [m for m in owners if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
    paddings = {m.padding_idx % len(parameter) for m in tables if m.padding_idx is not None}
    return GeneratedTensor(
        names,
        tuple(parameter.shape),
        bound,
        constant if constant is not None and is_random else 0.0,
        scale,
        fixed_rows=tuple(sorted(paddings)),
        carried=is_own and constant is not None and is_random,
    )


def _constant_of_kind(target: nn.Module, name: str) -> float | None:
    """Return the constant with which torch starts a parameter, or None."""
    module, leaf = owner(target, name)
    if isinstance(module, _NORMALIZATIONS):
        return 0.0 if leaf == "bias" else 1.0
    if isinstance(module, nn.PReLU):
        return float(module.init)
    if isinstance(module, nn.MultiheadAttention):
        return 0.0 if leaf == "in_proj_bias" else None
    if isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear):  # attention's last
        return 0.0 if leaf == "bias" else None
    return None


def _is_torchs(target: nn.Module, name: str) -> bool:
    """Return whether the class that made a parameter is one of torch's own."""
    module, _ = owner(target, name)
    lists = nn.ParameterList | nn.ParameterDict
    return type(module).__module__.startswith("torch.") and not isinstance(module, lists)


def _constant_of_values(target: nn.Module, name: str, parameter: nn.Parameter) -> float | None:
    """Return the value of a parameter that holds one value everywhere, or None.

    A single number is one unless it is the bias of a matrix.
    """
    values = parameter.detach()
    if values.numel() == 1:
        module, _ = owner(target, name)
        if values.ndim > 1 or any(p.ndim >= 2 for p in module.parameters(recurse=False)):
            return None
    first = values.reshape(-1)[0]
    return float(first) if bool((values == first).all()) else None


def _fan_in(target: nn.Module, parameter: nn.Parameter, name: str) -> int:
    """Numbers summed into one output; for a bias, those of the first matrix in its module."""
    if parameter.ndim >= 2:
        return max(1, parameter[0].numel())
    module, _ = owner(target, name)
    matrices = [p for p in module.parameters(recurse=False) if p.ndim >= 2]
    return max(1, matrices[0][0].numel() if matrices else parameter.numel())


def own_copy(target: nn.Module) -> nn.Module:
    """Return a copy of a network.

    Args:
        target: The network.

    Raises:
        TypeError: It holds something that cannot be copied.
    """
    try:
        return copied(target)
    except Exception as error:  # whatever a module of the user's holds
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        hint = "Take out what is no part of the network: locks, files, generators."
        expected = "a module that copy.deepcopy can copy"
        raise TypeError(must_be("target", expected, reason.rstrip("."), hint)) from error
