"""ONNX export: the same scores, any batch size, and nothing written where they differ."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from qtn_train.errors import QtnTrainError
from qtn_train.recipes import ImageCNN
from qtn_train.training import _onnx, export_onnx

TOLERANCE = 1e-5


@pytest.fixture
def onnxruntime() -> object:
    pytest.importorskip("onnxscript")
    return pytest.importorskip("onnxruntime")


def agree(onnxruntime: object, net: nn.Module, path: Path, shape: tuple[int, ...]) -> None:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for size in (1, 3, 65):
        x = torch.randn(size, *shape, generator=torch.Generator().manual_seed(size))
        scores = session.run(None, {"x": x.numpy()})[0]
        with torch.no_grad():
            assert abs(scores - net(x).numpy()).max() <= TOLERANCE


@pytest.mark.slow
def test_an_image_network_for_any_batch_size(
    onnxruntime: object,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    torch.manual_seed(0)
    net, path = ImageCNN(), tmp_path / "net.onnx"
    worst = export_onnx(net, torch.randn(4, 1, 28, 28), path)
    assert 0 <= worst <= TOLERANCE
    assert capfd.readouterr() == ("", "")
    assert [str(one.message) for one in recwarn] == []
    agree(onnxruntime, net, path, (1, 28, 28))


def test_an_exported_model_with_buffers(
    onnxruntime: object, make: Callable[..., nn.Module], tmp_path: Path
) -> None:
    net = make("noisy").train().export()
    export_onnx(net, torch.randn(4, 4), str(tmp_path / "net.onnx"))
    agree(onnxruntime, net.eval(), tmp_path / "net.onnx", (4,))


@pytest.mark.parametrize("difference", [0.5, 2e-5, float("nan")])
def test_other_scores_are_refused_and_nothing_is_written(
    difference: float, onnxruntime: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = nn.Linear(3, 2)

    class Session:
        def __init__(self, content: bytes, providers: list[str]) -> None:
            pass

        def run(self, names: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            scores = net(torch.from_numpy(inputs["x"])).detach().numpy()
            scores[1, 0] += difference
            return [scores]

    proto = SimpleNamespace(SerializeToString=lambda: b"program")
    program = SimpleNamespace(model_proto=proto)
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **options: program)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    with pytest.raises(QtnTrainError, match=r"must agree to 1e-05; got a difference of [\dn]"):
        export_onnx(net, torch.ones(2, 3), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_no_program_is_an_error(
    onnxruntime: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **options: None)
    with pytest.raises(QtnTrainError, match=r"^torch made no ONNX program of this network\.$"):
        export_onnx(nn.Linear(3, 2), torch.ones(2, 3), tmp_path / "net.onnx")


@pytest.mark.parametrize("name", ["onnxruntime", "onnxscript"])
def test_a_missing_extra_names_the_pip_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ImportError, match=r"extra `onnx`: pip install 'qtn_train\[onnx\]' \(import of "
    ):
        export_onnx(nn.Linear(3, 2), torch.ones(2, 3), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_the_tolerance_is_the_promised_one() -> None:
    assert _onnx.TOLERANCE == TOLERANCE
