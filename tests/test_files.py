"""Files of tensors: whole or not at all, checked when read, never unpickled."""

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from qtn_train._files import FORMAT, checksum, read_tensors, write_atomically, write_tensors
from qtn_train.errors import CheckpointError

TENSORS = {
    "b": torch.tensor([1.5, -0.0, float("nan")]),
    "a": torch.arange(6).reshape(2, 3),
    "scalar": torch.tensor(True),
    "empty": torch.zeros(0, 3),
    "half": torch.ones(2, dtype=torch.bfloat16),
}


# Whole or not at all


def test_write_and_replace(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"first", b"", b"third" * 1000):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_a_failure_half_way_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*args: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_an_interruption_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_content_is_on_disk_before_the_name_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)

        def record(*args: Any, name: str = name, original: Any = original) -> Any:
            order.append(name)
            return original(*args)

        monkeypatch.setattr(os, name, record)
    write_atomically(tmp_path / "file", b"content")
    assert order[:2] == ["fsync", "replace"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "file", b"content")


# Tensors and their description


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_tensors(path, TENSORS, "model", {"seed": 3, "names": ["ä", "b"]})
    tensors, info = read_tensors(path, "model")
    assert info == {"format": FORMAT, "kind": "model", "seed": 3, "names": ["ä", "b"]}
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert tensors[name].shape == tensor.shape
    assert checksum(tensors) == checksum(TENSORS)


def test_views_and_shared_tensors(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4).requires_grad_()
    views = {"whole": base, "transposed": base.T, "row": base[1], "again": base}
    write_tensors(tmp_path / "file", views, "model", {})
    tensors, _ = read_tensors(tmp_path / "file", "model")
    for name, view in views.items():
        assert torch.equal(tensors[name], view)
        assert not tensors[name].requires_grad


def test_one_metadata_key_with_sorted_json(tmp_path: Path) -> None:
    write_tensors(tmp_path / "file", TENSORS, "weights", {"z": 1, "a": 2})
    with safe_open(tmp_path / "file", framework="pt") as file:
        ((key, text),) = file.metadata().items()
    assert key == "qtn_train"
    described = {"a": 2, "format": FORMAT, "kind": "weights", "z": 1}
    seal = hashlib.sha256(f"{checksum(TENSORS)} {json.dumps(described)}".encode()).hexdigest()
    assert text == json.dumps({**described, "sha256": seal}, sort_keys=True)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_tensors(tmp_path / name, TENSORS, "model", {"a": 1, "b": 2})
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"must be a model file; got nothing there."):
            read_tensors(path, "model")


@pytest.mark.parametrize("keep", [0, 1, 8, 50, -1])
def test_truncated(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "file"
    write_tensors(path, TENSORS, "model", {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="must be a model file of qtn_train; got a damaged"):
        read_tensors(path, "model")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not JSON",
        "[1]",
        "3",
        "null",
        "{}",
        '{"format": 1}',
        '{"kind": "model"}',
        '{"format": null, "kind": "model"}',
        '{"format": "new", "kind": "model"}',
        '{"format": Infinity, "kind": "model"}',
    ],
)
def test_foreign_description(tmp_path: Path, text: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "file", {"qtn_train": text})
    with pytest.raises(CheckpointError, match=r"got a damaged or foreign file."):
        read_tensors(tmp_path / "file", "model")


def test_no_description(tmp_path: Path) -> None:
    for metadata in (None, {"format": "pt"}):
        save_file({"a": torch.zeros(1)}, tmp_path / "file", metadata)
        with pytest.raises(CheckpointError, match=r"got a damaged or foreign file."):
            read_tensors(tmp_path / "file", "model")


def test_newer_format_and_other_kind(tmp_path: Path) -> None:
    text = json.dumps({"format": FORMAT + 1, "kind": "something new"})
    save_file({"a": torch.zeros(1)}, tmp_path / "file", {"qtn_train": text})
    with pytest.raises(
        CheckpointError, match=rf"must be of format {FORMAT}; got {FORMAT + 1}\. Update qtn_"
    ):
        read_tensors(tmp_path / "file", "model")
    save_file({"a": torch.zeros(1)}, tmp_path / "file", {"qtn_train": text.replace("3", "1")})
    with pytest.raises(CheckpointError, match=r"must be of format 2; got 1\. Begin anew"):
        read_tensors(tmp_path / "file", "model")
    write_tensors(tmp_path / "file", TENSORS, "checkpoint", {})
    with pytest.raises(CheckpointError, match=r"must be a model file; got a checkpoint file."):
        read_tensors(tmp_path / "file", "model")


# Checksums

OTHER_CHECKSUM = r"must be as it was written; got another checksum\. The file is dam"


def rewrite(path: Path, tensors: dict[str, torch.Tensor], **changes: Any) -> None:
    """Put other tensors or another description into a file, its old checksum with them."""
    with safe_open(path, framework="pt") as file:
        info = json.loads(file.metadata()["qtn_train"])
    save_file(tensors, path, {"qtn_train": json.dumps(info | changes, sort_keys=True)})


@pytest.mark.parametrize("kind", ["model", "checkpoint", "weights"])
def test_every_file_is_sealed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    tensors = {"a": torch.arange(3.0), "b": torch.zeros(2)}
    write_tensors(path, tensors, kind, {"seed": 1, "map": {1: 2.5, 10: float("inf")}})
    rewrite(path, tensors)
    assert read_tensors(path, kind)[1]["map"] == {"1": 2.5, "10": float("inf")}
    rewrite(path, {**tensors, "b": torch.ones(2)})
    with pytest.raises(CheckpointError, match=OTHER_CHECKSUM):
        read_tensors(path, kind)
    for changes in ({"seed": 2}, {"sha256": None}, {"sha256": checksum(tensors)}):
        write_tensors(path, tensors, kind, {"seed": 1})
        rewrite(path, tensors, **changes)
        with pytest.raises(CheckpointError, match=OTHER_CHECKSUM):
            read_tensors(path, kind)


def test_checksum_sees_every_change() -> None:
    first = {"a": torch.arange(3.0), "b": torch.zeros(2)}
    others = [
        {"a": torch.arange(3.0), "b": torch.tensor([0.0, -0.0])},
        {"a": torch.arange(3.0), "c": torch.zeros(2)},
        {"a": torch.arange(3.0)},
        {"b": torch.arange(3.0), "a": torch.zeros(2)},
    ]
    sums = [checksum(tensors) for tensors in (first, *others)]
    assert len(set(sums)) == len(sums)
    assert checksum(dict(reversed(first.items()))) == sums[0]
    assert checksum({"a": torch.arange(6.0)[::2] / 2, "b": torch.zeros(2)}) == sums[0]
