"""Full precision for circuits and weights, whatever mixed precision does to the network."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
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
    """Keep autocast out of the derivatives of a tensor, also where ``backward`` is inside it.

    Args:
        made: What was computed; the same tensor is returned.

    Returns:
        The tensor. Where autocast is on when its gradient arrives, each function behind it runs
        without: torch gives back the caller's state after each of them. So does each function that
        these record with ``create_graph=True``, when its turn comes in a later derivative.
    """
    last: Any = made.grad_fn
    if last is not None and _GUARDED not in last.metadata:
        last.metadata[_GUARDED] = True
        last.register_prehook(partial(_enter, [before for before, _ in last.next_functions]))
        last.register_hook(_guard_recorded)
    return made


# In a function's own dictionary: what is to run without autocast already.
_GUARDED = "qtn_train: outside autocast"


def _enter(behind: list[Any], _: tuple[Tensor | None, ...]) -> None:
    """Guard all that stands behind, once a derivative begins that autocast could reach."""
    # Inside of a backward pass gradients are on where it records itself.
    if torch.is_grad_enabled() or any(map(torch.is_autocast_enabled, _KINDS)):
        _guard(behind, ())
        _leave(())


def _guard(functions: Iterable[Any], ends: Collection[Any]) -> None:
    """Let functions, and all behind them, run without autocast, but for those at the ends."""
    behind = list(functions)
    while behind:
        function = behind.pop()
        if function is None or function in ends or _GUARDED in function.metadata:
            continue
        function.metadata[_GUARDED] = True
        function.register_prehook(_leave)
        function.register_hook(_guard_recorded)
        behind += [before for before, _ in function.next_functions]


def _guard_recorded(
    passed_on: tuple[Tensor | None, ...], received: tuple[Tensor | None, ...]
) -> None:
    """Guard what a function has recorded of its own derivative, between two gradients."""
    if torch.is_grad_enabled():
        ends = {grad.grad_fn for grad in received if grad is not None}
        _guard((grad.grad_fn for grad in passed_on if grad is not None), ends)


def _leave(_: tuple[Tensor | None, ...]) -> None:
    for kind in _KINDS:
        if torch.is_autocast_enabled(kind):
            torch.set_autocast_enabled(kind, False)
