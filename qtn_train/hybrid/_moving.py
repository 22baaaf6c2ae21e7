"""What a model cannot survive: a move that forgets the values of its tensors."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import must_be

_HINT = (
    "What is fixed in it is in no state dict: build it anew on the device where it shall run, "
    "or load it from a file."
)


def check_keeps_values(move: Callable[[Tensor], Tensor]) -> None:
    """Refuse a move of a model to another device or type that forgets values.

    Args:
        move: What is done to each tensor.

    Raises:
        ValueError: It gives tensors without values (the meta device), or with others
            (``to_empty``).
    """
    # New ones each time: memory that was freed a moment ago may hold those of the last call.
    values = torch.tensor([*secrets.token_bytes(32)], dtype=torch.int64, device="cpu") // 2
    moved = move(values)
    if type(moved) is not Tensor:  # torch.compile and the like look at shapes alone
        return
    if moved.is_meta:
        raise ValueError(must_be("model", "on a device that holds values", "meta", _HINT))
    if not torch.equal(moved.detach().cpu().to(values), values):
        expected = "moved with the values of its tensors"
        raise ValueError(must_be("model", expected, "a move that forgets them", _HINT))


def check_has_values(module: nn.Module, name: str) -> None:
    """Refuse a part of a model that is on the meta device.

    Args:
        module: The part.
        name: Its name in the message.

    Raises:
        ValueError: It is there.
    """
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        hint = "Build it on the device where it shall run."
        raise ValueError(must_be(name, "on a device that holds values", "meta", hint))
