"""Stored models that were changed and sealed again: an error of ours, or a model."""

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
from qtn_train.errors import CheckpointError
from qtn_train.generators import CircuitGenerator, control
from qtn_train.hybrid import Layout

OWN = (CheckpointError,)


def target() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3))


def models() -> list[QuantumTrain]:
    model = QuantumTrain(target(), circuit=ansatz.ry_cx_chain(6, 2), seed=2)
    assert isinstance(model.generator, CircuitGenerator)
    return [
        model,
        model.with_generator(control("frozen", model.generator)),
        QuantumTrain(target(), control("low-rank", model.generator), layout=Layout(gain=1.0)),
    ]


def fuzz(seed: int, count: int) -> list[str]:
    """Return what the reader of models let out."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        source, path = Path(folder) / "source", Path(folder) / "model"
        for number, model in enumerate(models()):
            model.save(source)
            info = fuzzing.description(source)
            for mutant in fuzzing.mutants(info, seed + number, count // 3):
                fuzzing.reseal(source, path, mutant)
                error = fuzzing.foreign_error(lambda: QuantumTrain.load(path, target()), OWN)
                wrong += [error] if error else []
    return wrong


@pytest.mark.slow
def test_foreign_descriptions_of_models() -> None:
    assert fuzz(seed=0, count=450) == []


def test_foreign_tensors_of_models(tmp_path: Path) -> None:
    path = tmp_path / "model"
    models()[0].save(path)
    info, whole = fuzzing.description(path), load_file(path)
    for name, tensor in whole.items():
        for changed in (tensor[:0], tensor.reshape(-1)[:1], tensor.to(torch.int8), tensor[None]):
            _files.write_tensors(path, {**whole, name: changed}, "model", info)
            assert not fuzzing.foreign_error(lambda: QuantumTrain.load(path, target()), OWN), name
        rest = {other: value for other, value in whole.items() if other != name}
        for content in (rest, {**whole, "_extra_state": tensor}, {**rest, "x": tensor}):
            _files.write_tensors(path, content, "model", info)
            assert not fuzzing.foreign_error(lambda: QuantumTrain.load(path, target()), OWN), name
