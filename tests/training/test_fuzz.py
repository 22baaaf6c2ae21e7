"""Checkpoints that were changed and sealed again: an error of ours, or a run that goes on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import fuzz as fuzzing
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from qtn_train import QuantumTrain, _files
from qtn_train.circuits import ansatz
from qtn_train.data import load
from qtn_train.errors import CheckpointError, NonFiniteLoss
from qtn_train.training import CHECKPOINT, FitConfig, fit

# A rate or a sum that was changed can lead anywhere that a number can.
OWN = (CheckpointError, NonFiniteLoss)
CONFIG = FitConfig(epochs=1, batch_size=60)


def model() -> QuantumTrain:
    return QuantumTrain(nn.Linear(4, 3), circuit=ansatz.ry_cx_chain(4, 1))


def resume(folder: Path, config: FitConfig = CONFIG) -> None:
    fit(model(), load("iris"), config=config, folder=folder, resume=True, progress_bar=False)


def fuzz(seed: int, count: int) -> list[str]:
    """Return what resumed runs let out."""
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, source = folder / CHECKPOINT, folder / "source"
        for schedule in ("one-cycle", "plateau"):
            path.unlink(missing_ok=True)
            config = FitConfig(epochs=1, batch_size=60, schedule=schedule)
            fit(model(), load("iris"), config=config, folder=folder, progress_bar=False)
            source.write_bytes(path.read_bytes())
            info = fuzzing.description(source)
            for mutant in fuzzing.mutants(info, seed, count // 2):
                fuzzing.reseal(source, path, mutant)
                error = fuzzing.foreign_error(lambda config=config: resume(folder, config), OWN)
                wrong += [error] if error else []
    return wrong


@pytest.mark.slow
def test_foreign_descriptions_of_checkpoints() -> None:
    assert fuzz(seed=0, count=200) == []


@pytest.mark.slow
def test_foreign_tensors_of_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT
    fit(model(), load("iris"), config=CONFIG, folder=tmp_path, progress_bar=False)
    info, whole = fuzzing.description(path), load_file(path)
    for name, tensor in whole.items():
        rest = {other: value for other, value in whole.items() if other != name}
        for content in (
            rest,
            {**rest, name: tensor[:0] if tensor.ndim else tensor[None].repeat(3)},
            {**rest, name: tensor.reshape(-1)[:1].to(torch.float16)},
            {**rest, f"{name}x": tensor},
            {**whole, "optimizer/x": tensor, "optimizer/1/2/3": tensor},
        ):
            _files.write_tensors(path, content, "checkpoint", info)
            assert not fuzzing.foreign_error(lambda: resume(tmp_path), OWN), name
