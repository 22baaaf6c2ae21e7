"""Ordinary tensors, which can be trained, for what is built inside ``torch.inference_mode()``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn

_P = ParamSpec("_P")
_T = TypeVar("_T")


def outside_inference_mode(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Return a function that makes ordinary tensors, also where it is called in inference mode."""

    @wraps(function)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        if not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        with torch.inference_mode(False), torch.no_grad():
            return function(*args, **kwargs)

    return called


def make_ordinary(module: nn.Module) -> None:
    """Replace each parameter and buffer that was made in inference mode by an ordinary copy.

    Args:
        module: It is changed in place; what several names share stays shared.
    """
    copies: dict[int, nn.Parameter] = {}
    buffers: dict[int, Tensor] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None and parameter.is_inference():
                part._parameters[name] = copies.setdefault(id(parameter), _copy(parameter))
        for name, buffer in part._buffers.items():
            if buffer is not None and buffer.is_inference():
                part._buffers[name] = buffers.setdefault(id(buffer), buffer.clone())


def _copy(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(parameter.clone().detach(), parameter.requires_grad)
