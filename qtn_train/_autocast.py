"""Full precision for circuits and weights, whatever mixed precision does to the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

# Kinds of devices on which angles or mapping may be; others leave autocast as it is.
_KINDS = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def outside_autocast() -> Iterator[None]:
    """Compute without autocast inside a ``with`` block."""
    with ExitStack() as stack:
        for kind in _KINDS:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def differentiated_outside_autocast(made: Tensor) -> Tensor:
    """Keep autocast out of the first derivative of a tensor, also where ``backward`` is inside it.

    Args:
        made: What was computed; the same tensor is returned.

    Returns:
        The tensor. Where autocast is on when its gradient arrives, each function behind it runs
        without: torch gives back the caller's state after each of them.
    """
    if made.grad_fn is not None:
        behind = [function for function, _ in made.grad_fn.next_functions]
        made.grad_fn.register_prehook(partial(_leave_with, behind))
    return made


def _leave_with(behind: list[Any], _: tuple[Tensor | None, ...]) -> None:
    if not any(map(torch.is_autocast_enabled, _KINDS)):
        return
    _leave(())
    seen = set()
    while behind:  # emptied, so that a second pass through a kept graph finds nothing to do
        function = behind.pop()
        if function is not None and function not in seen:
            seen.add(function)
            function.register_prehook(_leave)
            behind += [before for before, _ in function.next_functions]


def _leave(_: tuple[Tensor | None, ...]) -> None:
    for kind in _KINDS:
        if torch.is_autocast_enabled(kind):
            torch.set_autocast_enabled(kind, False)
