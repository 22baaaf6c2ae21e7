"""The model that a file or state dict belongs to: trained numbers mean nothing in another model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError, must_be

#: Name of the hash in a state dict, as torch has it.
EXTRA = "_extra_state"

# Simulators agree on what the initial parameters generate to much better than this, a weight.
_ORIGIN_TOLERANCE = 1e-3
# Parts of a description that do not change the meaning of trained numbers.
_FREE = ("engine", "chunk_size")
# Parts whose numbers are no sizes.
_NO_SIZES = (*_FREE, "circuit", "seed", "max_bytes")

#: What a description that was changed by hand may cause while a model is built of it.
FOREIGN = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError)


def fingerprint(config: Mapping[str, Any]) -> Tensor:
    """Return a hash of a model's fixed parts, which give the trained numbers their meaning.

    Args:
        config: The model's description.

    Returns:
        SHA-256, as 32 bytes: a tensor, so that safetensors and ``torch.load`` take it.
    """
    what = {name: config[name] for name in ("tensors", "layout", "fixed_sha256")}
    what["generator"] = _essence(config["generator"])
    text = json.dumps(what, sort_keys=True, default=str)
    return torch.tensor(list(hashlib.sha256(text.encode()).digest()), dtype=torch.uint8)


def check_same(
    own: Mapping[str, Any], other: Mapping[str, Any], n_weights: int, where: str
) -> None:
    """Check that trained numbers belong to this model and to no other.

    Args:
        own: The model's description.
        other: That of the model whose numbers they are.
        n_weights: Generated weights.
        where: Where they come from, for the message.

    Raises:
        CheckpointError: They belong to another one.
    """
    pretrained = isinstance(own["layout"], dict) and own["layout"].get("start") == "target"
    same = {
        "target": other.get("tensors") == own["tensors"],
        "layout": other.get("layout") == own["layout"],
        "pretrained start" if pretrained else "seed": other.get("fixed_sha256")
        == own["fixed_sha256"],
        "circuit, mapping or seed": _essence(other.get("generator")) == _essence(own["generator"]),
        "generator at its initial parameters": _is_near(
            other.get("origin", 0.0), own["origin"], _ORIGIN_TOLERANCE * n_weights**0.5
        ),
    }
    for name, is_same in same.items():
        if not is_same:
            text = f"`{where}` must hold this model; got one with another {name}."
            raise CheckpointError(f"{text} Build the model as it was built then.")


def check_fingerprint(own: Tensor, other: object) -> None:
    """Check the hash in a state dict.

    Args:
        own: The model's.
        other: The state dict's.

    Raises:
        CheckpointError: It is another one.
    """
    if isinstance(other, Tensor) and other.cpu().equal(own):
        return
    text = "`state_dict` must be that of this model; got one with another target, layout, circuit, "
    hint = "Build the model as it was built then: weights are more than what is trained."
    raise CheckpointError(f"{text}mapping or seed. {hint}")


def check_sizes(info: Mapping[str, Any], most: int) -> None:
    """Refuse a description that asks for more memory than its file can have been written from.

    Args:
        info: The description of a model, which may hold anything.
        most: Numbers in the file and in the target.

    Raises:
        ValueError: It names a larger size.
    """
    found = [value for value in _sizes(info.get("generator")) if not value <= most]
    if found:
        raise ValueError(must_be("size", f"at most {most}", found[0]))


def _sizes(config: Any) -> Iterator[float]:
    if isinstance(config, dict):
        for name, value in config.items():
            if name not in _NO_SIZES:
                yield from _sizes(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _sizes(value)
    elif isinstance(config, int | float):
        yield config


def _is_near(value: object, own: float, tolerance: float) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return own - tolerance <= value <= own + tolerance


def _essence(config: Any) -> Any:
    """Return a generator's description without options that do not change the weights' meaning."""
    if not isinstance(config, dict):
        return config
    return {k: v for k, v in config.items() if k not in _FREE}
