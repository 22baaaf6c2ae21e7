"""Full precision for generated weights, whatever mixed precision does to the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

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
