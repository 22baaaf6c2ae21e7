"""Checkpoints: whole or refused, never unpickled, and never lost while the next one is written."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from qtn_train._files import FORMAT
from qtn_train.circuits import ansatz
from qtn_train.data import Dataset
from qtn_train.errors import CheckpointError
from qtn_train.hybrid import Layout, QuantumTrain
from qtn_train.training import (
    CHECKPOINT,
    FitConfig,
    _loop,
    fit,
    make_optimizer,
    read_checkpoint,
    restore_model,
    training_step,
)

Make = Callable[..., nn.Module]
SHORT = FitConfig(epochs=2, batch_size=60)


def start(model: nn.Module, data: Dataset, folder: Path, **options: Any) -> nn.Module:
    config = options.pop("config", SHORT)
    fit(model, data, config=config, folder=folder, progress_bar=False, **options)
    return model


@pytest.fixture
def folder(iris: Dataset, make: Make, tmp_path: Path) -> Path:
    """A folder with the checkpoint of a finished run."""
    start(make(), iris, tmp_path, run={"own": [1, "ö"]})
    return tmp_path


def header(path: Path) -> tuple[dict[str, Any], bytes]:
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + size]), raw[8 + size :]


def rewrite(path: Path, **changes: Any) -> None:
    """Change the description inside the file, as another program or version would write it."""
    head, body = header(path)
    info = {**json.loads(head["__metadata__"]["qtn_train"]), **changes}
    head["__metadata__"]["qtn_train"] = json.dumps(info, sort_keys=True)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


# --- what is in it --------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_first_one_is_there_before_the_first_step(
    iris: Dataset, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make()
    seen: list[tuple[dict[str, torch.Tensor], dict[str, Any]]] = []

    def step(*args: Any) -> tuple[float, int]:
        if not seen:
            seen.append(read_checkpoint(tmp_path))
        return training_step(*args)

    assert isinstance(model, QuantumTrain)
    before = {name: value.clone() for name, value in model.trained_numbers().items()}
    monkeypatch.setattr(_loop, "training_step", step)
    start(model, iris, tmp_path)
    tensors, info = seen[0]
    assert info["progress"]["epoch"] == info["progress"]["step"] == 0
    for name, value in before.items():
        assert value.equal(tensors[f"model/{name}"])


def test_what_it_holds(folder: Path) -> None:
    tensors, info = read_checkpoint(folder)
    assert (info["format"], info["kind"]) == (FORMAT, "checkpoint")
    assert info["run"] == {"own": [1, "ö"]}
    assert info["config"] == SHORT.config()
    assert info["progress"]["epoch"] == 2
    assert len(info["progress"]["history"]["epochs"]) == 2
    assert "rng/cpu" in tensors
    n_parameters = sum(name.startswith("model/") for name in tensors)
    assert sum(name.endswith("/exp_avg_sq") for name in tensors) == n_parameters
    # The few trained numbers are stored, not the weights that they generate.
    assert not any("target" in name for name in tensors)


def test_it_is_safetensors_with_one_sorted_description(folder: Path) -> None:
    head, _ = header(folder / CHECKPOINT)
    assert list(head["__metadata__"]) == ["qtn_train"]
    text = head["__metadata__"]["qtn_train"]
    assert text == json.dumps(json.loads(text), sort_keys=True)


def test_a_model_is_restored_from_it(iris: Dataset, make: Make, folder: Path) -> None:
    trained = start(make(), iris, folder / "again")
    for kind, model in (("linear", make()), ("plain", make("plain"))):
        if kind == "plain":
            trained = start(make("plain"), iris, folder / "plain")
        place = folder if kind == "linear" else folder / "plain"
        restore_model(model, *read_checkpoint(place))
        for name, value in trained.state_dict().items():
            assert value.equal(model.state_dict()[name])


# --- what is refused ------------------------------------------------------------------------------

WHOLE = r"must be as it was written; got another checksum\. The file is damaged"
DAMAGED = r"must be a checkpoint file of qtn_train; got a damaged or foreign file\."


def resume(iris: Dataset, folder: Path, model: nn.Module, config: FitConfig = SHORT) -> None:
    """Resume, which must leave both the file and the model as they are when it is refused."""
    raw = (folder / CHECKPOINT).read_bytes()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        start(model, iris, folder, resume=True, config=config)
    finally:
        assert (folder / CHECKPOINT).read_bytes() == raw
        assert [p.name for p in folder.iterdir()] == [CHECKPOINT]
        for name, value in model.state_dict().items():
            assert value.equal(before[name])


def test_a_missing_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must be a checkpoint file; got nothing there\."):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("position", [0.05, 0.5, 0.999])
def test_a_flipped_byte_among_the_tensors(
    position: float, iris: Dataset, make: Make, folder: Path
) -> None:
    raw = bytearray((folder / CHECKPOINT).read_bytes())
    begin = 8 + int.from_bytes(raw[:8], "little")
    raw[begin + int(position * (len(raw) - begin))] ^= 1
    (folder / CHECKPOINT).write_bytes(raw)
    with pytest.raises(CheckpointError, match=WHOLE):
        resume(iris, folder, make())


def test_a_flipped_byte_anywhere(folder: Path) -> None:
    path = folder / CHECKPOINT
    whole = path.read_bytes()
    expected, description = read_checkpoint(folder)
    for position in range(0, len(whole), 37):
        raw = bytearray(whole)
        raw[position] ^= 1 << (position % 8)
        path.write_bytes(raw)
        try:
            tensors, info = read_checkpoint(folder)
        except CheckpointError:
            continue
        # Spaces that fill up the header are the only bytes that say nothing.
        assert info == description, position
        assert all(value.equal(expected[name]) for name, value in tensors.items()), position


@pytest.mark.parametrize("change", ["F32", "names"])
def test_a_header_that_says_something_else(change: str, folder: Path) -> None:
    head, body = header(folder / CHECKPOINT)
    first, second = "model/generator.angles", "rng/cpu"
    if change == "F32":
        head[first]["dtype"] = "I32"
    else:
        head[first], head[second] = head[second], head[first]
    text = json.dumps(head).encode()
    (folder / CHECKPOINT).write_bytes(len(text).to_bytes(8, "little") + text + body)
    with pytest.raises(CheckpointError, match=WHOLE):
        read_checkpoint(folder)


def test_an_altered_description(folder: Path) -> None:
    _, info = read_checkpoint(folder)
    rewrite(folder / CHECKPOINT)
    assert read_checkpoint(folder)[1] == info
    rewrite(folder / CHECKPOINT, progress={**info["progress"], "epoch": 1})
    with pytest.raises(CheckpointError, match=WHOLE):
        read_checkpoint(folder)


@pytest.mark.parametrize("size", [0, 1, 8, 100, 2000, -1])
def test_a_truncated_or_empty_one(size: int, iris: Dataset, make: Make, folder: Path) -> None:
    raw = (folder / CHECKPOINT).read_bytes()
    (folder / CHECKPOINT).write_bytes(raw[:size])
    with pytest.raises(CheckpointError, match=DAMAGED):
        resume(iris, folder, make())


def test_something_else(iris: Dataset, make: Make, folder: Path) -> None:
    torch.save({"model": torch.zeros(3)}, folder / CHECKPOINT)
    with pytest.raises(CheckpointError, match=DAMAGED):
        resume(iris, folder, make())
    make().save(folder / CHECKPOINT)
    with pytest.raises(CheckpointError, match=r"must be a checkpoint file; got a model file\."):
        resume(iris, folder, make())


def test_a_newer_format(iris: Dataset, make: Make, folder: Path) -> None:
    rewrite(folder / CHECKPOINT, format=FORMAT + 1)
    expected = rf"must be of format {FORMAT}; got {FORMAT + 1}\. Update qtn_train\.$"
    with pytest.raises(CheckpointError, match=expected):
        resume(iris, folder, make())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"circuit": ansatz.ry_cx_chain(4, 2)}, "another circuit"),
        ({"circuit": ansatz.ry_cx_chain(5, 1)}, "another circuit"),
        ({"layout": Layout(gain=2.0)}, "another layout"),
        ({"seed": 1}, "another seed"),
    ],
)
def test_that_of_another_model(
    options: dict[str, Any], message: str, iris: Dataset, folder: Path
) -> None:
    own = {"circuit": ansatz.ry_cx_chain(4, 1), "seed": 0}
    model = QuantumTrain(nn.Linear(4, 3), **(own | options))
    with pytest.raises(
        CheckpointError, match=rf"must hold this model; got one with {message}.*\. Build"
    ):
        resume(iris, folder, model)


def test_that_of_another_target(iris: Dataset, folder: Path) -> None:
    target = nn.Sequential(nn.Linear(4, 3))
    model = QuantumTrain(target, circuit=ansatz.ry_cx_chain(4, 1), seed=0)
    with pytest.raises(CheckpointError, match=r"got one with another target\. Build the model"):
        resume(iris, folder, model)


def test_that_of_another_plain_network(iris: Dataset, make: Make, tmp_path: Path) -> None:
    start(make("plain"), iris, tmp_path)
    with pytest.raises(CheckpointError, match=r"^`checkpoint.safetensors` must hold this model;"):
        resume(iris, tmp_path, nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 3), ("batch_size", 7), ("lr", 0.5), ("seed", 1), ("schedule", "plateau")],
)
def test_that_of_a_run_with_other_options(
    name: str, value: Any, iris: Dataset, make: Make, folder: Path
) -> None:
    expected = rf"^`{name}` must be {getattr(SHORT, name)} as in the checkpoint; got {value}\. Res"
    with pytest.raises(CheckpointError, match=expected):
        resume(iris, folder, make(), SHORT.but(**{name: value}))


# --- safety ---------------------------------------------------------------------------------------


def test_nothing_is_ever_unpickled(
    iris: Dataset, make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("unpickled")

    for module, name in ((pickle, "loads"), (pickle, "load"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    raw = (folder / CHECKPOINT).read_bytes()
    assert raw[8:9] == b"{"
    start(make(), iris, folder, resume=True)
    restore_model(make(), *read_checkpoint(folder))


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_one(
    call: str, iris: Dataset, make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / CHECKPOINT).read_bytes()
    model = make()
    optimizer = make_optimizer(model, SHORT)

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left on device"):
        _loop.save_checkpoint(folder, model, optimizer, None, _loop.Progress(), SHORT, {})
    assert (folder / CHECKPOINT).read_bytes() == before
    assert [path.name for path in folder.iterdir()] == [CHECKPOINT]
