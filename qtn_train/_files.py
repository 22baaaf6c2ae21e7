"""Files that hold tensors and one JSON description, written so that a crash leaves the old one.

A checksum over tensors and description seals each file; a damaged one is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CheckpointError, must_be

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 2
_KEY = "qtn_train"

# What reading a description may cause that somebody else wrote.
_DAMAGED = (
    LookupError, ArithmeticError, AttributeError, RecursionError, TypeError, ValueError, OSError
)  # fmt: skip


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file such that at every moment either the old or the new content stands there.

    Args:
        path: The file.
        content: Its bytes.

    Raises:
        OSError: The folder is not writable.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_tensors(path: Path, tensors: dict[str, Tensor], kind: str, info: dict[str, Any]) -> None:
    """Write tensors and their description as safetensors.

    Args:
        path: The file.
        tensors: By name; copied to the CPU.
        kind: What the file is, checked by :func:`read_tensors`.
        info: JSON data, stored with the checksum under the one metadata key ``qtn_train``.

    Raises:
        OSError: The folder is not writable.
    """
    from safetensors.torch import save

    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    described = json.loads(json.dumps({"format": FORMAT, "kind": kind, **info}))
    text = json.dumps({**described, "sha256": _seal(own, described)}, sort_keys=True)
    write_atomically(path, save(own, metadata={_KEY: text}))


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write_tensors` wrote. Nothing is unpickled.

    Args:
        path: The file.
        kind: What it must be.

    Returns:
        The tensors on the CPU, and the description.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is damaged, of another kind, or of a another format.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(must_be(str(path), f"a {kind} file", "nothing there"))
    try:
        with safe_open(path, framework="pt") as file:
            info = json.loads((file.metadata() or {})[_KEY])
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            number, actual = int(info["format"]), info["kind"]
            seal = info.pop("sha256", None)
    except (SafetensorError, *_DAMAGED) as error:
        expected = f"a {kind} file of qtn_train"
        raise CheckpointError(must_be(str(path), expected, "a damaged or foreign file")) from error
    if number != FORMAT:
        hint = "Update qtn_train." if number > FORMAT else "Begin anew: it cannot be converted."
        raise CheckpointError(must_be(str(path), f"of format {FORMAT}", number, hint))
    if actual != kind:
        raise CheckpointError(must_be(str(path), f"a {kind} file", f"a {actual} file"))
    if seal != _seal(tensors, info):
        hint = "The file is damaged: restore a copy, or begin anew elsewhere."
        expected = "as it was written"
        raise CheckpointError(must_be(str(path), expected, "another checksum", hint))
    return tensors, info


def _seal(tensors: dict[str, Tensor], info: dict[str, Any]) -> str:
    """Return the SHA-256 over tensors and description."""
    text = json.dumps(info, sort_keys=True)
    return hashlib.sha256(f"{checksum(tensors)} {text}".encode()).hexdigest()


def checksum(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of tensors."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        raw = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy().tobytes())
    return digest.hexdigest()
