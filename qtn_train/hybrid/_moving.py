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


def check_keeps_values(model: nn.Module, move: Callable[[Tensor], Tensor]) -> None:
    """Refuse a move of a model to another device or type that forgets values.

    To the meta device it may go: as a skeleton, for ``torch.func.functional_call`` with the tensors
    of other models. It does not come back.

    Args:
        model: The model.
        move: What is done to each tensor.

    Raises:
        ValueError: It gives tensors with other values (``to_empty``), or the model has none.
    """
    # New ones each time: memory that was freed a moment ago may hold those of the last call.
    values = torch.tensor([*secrets.token_bytes(32)], dtype=torch.int64, device="cpu") // 2
    moved = move(values)
    # torch.compile and the like look at shapes alone.
    if type(moved) is not Tensor or moved.is_meta:
        return
    if not torch.equal(moved.detach().cpu().to(values), values):
        expected = "moved with the values of its tensors"
        raise ValueError(must_be("model", expected, "a move that forgets them", _HINT))
    check_has_values(model, "model")


def check_has_values(module: nn.Module, name: str) -> None:
    """Refuse a model, or a part of a model, that is on the meta device.

    Args:
        module: The part.
        name: Its name in the message.

    Raises:
        ValueError: It is there.
    """
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise ValueError(must_be(name, "on a device that holds values", "meta", _HINT))
