"""What must hold on an accelerator too: values, gradients, memory, training, resuming."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import oracle
import pytest
import tolerances
import torch
from torch import nn

import qtn_train as qt
from qtn_train import plots
from qtn_train._types import ComplexDtype
from qtn_train.circuits import GATES, Circuit, ansatz
from qtn_train.cli._app import main
from qtn_train.data import load
from qtn_train.engines import Engine, MPSEngine, SampledEngine, StatevectorEngine
from qtn_train.engines.statevector import _engine as _statevector
from qtn_train.errors import UnsupportedByEngine
from qtn_train.training import FitConfig, _timing, fit, seconds_per_step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
ENGINES: dict[str, Callable[[ComplexDtype], Engine]] = {
    "statevector": lambda dtype: StatevectorEngine(dtype=dtype),
    "mps": lambda dtype: MPSEngine(dtype=dtype),
}
every_engine = pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES)
SHORT = FitConfig(epochs=3, batch_size=40)


def circuits() -> list[Circuit]:
    rng = np.random.default_rng(0)
    names = tuple(GATES)
    return [
        oracle.random_circuit(rng, n_qubits, 8 * n_qubits, names, 0.3) for n_qubits in range(1, 9)
    ]


def angles_of(circuit: Circuit) -> np.ndarray:
    return np.random.default_rng(1).uniform(-np.pi, np.pi, circuit.n_angles)


def gradient(engine: Engine, circuit: Circuit, device: str) -> torch.Tensor:
    angles = torch.from_numpy(angles_of(circuit)).to(device).requires_grad_()
    probs = engine.prepare(circuit, angles).probs(0, 2**circuit.n_qubits)
    weights = torch.from_numpy(np.random.default_rng(2).normal(size=len(probs))).to(probs)
    (grad,) = torch.autograd.grad(weights @ probs, angles)
    return grad.cpu()


@every_engine
@pytest.mark.parametrize("dtype", get_args(ComplexDtype))
def test_probabilities(make: Callable[[ComplexDtype], Engine], dtype: ComplexDtype) -> None:
    for circuit in circuits():
        angles = angles_of(circuit)
        state = make(dtype).prepare(circuit, torch.from_numpy(angles).cuda())
        probs = state.probs(0, 2**circuit.n_qubits)
        assert probs.is_cuda
        expected = np.abs(oracle.amplitudes(circuit, angles)) ** 2
        assert np.abs(probs.cpu().numpy() - expected).max() < tolerances.AMPLITUDE[dtype]
        drawn = state.sample(50, torch.Generator().manual_seed(0))
        assert drawn.device.type == "cpu"
        assert expected[drawn.numpy()].min() > 0


@every_engine
def test_gradients_are_those_of_the_cpu(make: Callable[[ComplexDtype], Engine]) -> None:
    for circuit in circuits():
        if circuit.n_angles:
            found = gradient(make("complex128"), circuit, "cuda")
            expected = gradient(make("complex128"), circuit, "cpu")
            torch.testing.assert_close(found, expected, atol=tolerances.FINITE_DIFFERENCE, rtol=0)


def test_many_qubits_agree_with_the_cpu() -> None:
    circuit = ansatz.u3_cu3_ring(16, 4)
    engine = StatevectorEngine()
    found, expected = (gradient(engine, circuit, device) for device in ("cuda", "cpu"))
    torch.testing.assert_close(found, expected, atol=tolerances.SINGLE_GRADIENT, rtol=0)


def test_counted_shots() -> None:
    circuit = ansatz.ry_cx_chain(3, 1)
    grads = []
    for device in ("cpu", "cuda"):
        inner = StatevectorEngine(dtype="complex128")
        engine = SampledEngine(inner, 500, gradient="parameter-shift", seed=1)
        grads.append(gradient(engine, circuit, device))
    assert torch.equal(*grads)


def test_a_circuit_too_large_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = StatevectorEngine()
    monkeypatch.setattr(_statevector, "memory_bytes", lambda device: 2**20)
    circuit = Circuit(20, (), 0)
    with pytest.raises(
        UnsupportedByEngine, match=r"at most 14 for .* on cuda:0; got 20\. Take MPS"
    ):
        engine.prepare(circuit, torch.zeros(0, device="cuda"))


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.3), nn.Linear(5, 3)
    )


def model(seed: int = 0) -> qt.QuantumTrain:
    torch.manual_seed(seed)
    return qt.QuantumTrain(net(), circuit=ansatz.ry_cx_chain(6, 2), seed=seed)


def test_a_model_moves_there_and_back(tmp_path: Path) -> None:
    x, here = load("iris").x_test, model().eval()
    expected = here(x)
    there = model().eval().cuda()
    torch.testing.assert_close(there(x.cuda()).cpu(), expected, atol=tolerances.OUTPUT, rtol=0)
    exported = there.export()
    assert all(p.is_cuda for p in exported.parameters())
    torch.testing.assert_close(exported(x.cuda()).cpu(), expected, atol=tolerances.OUTPUT, rtol=0)
    there.save(tmp_path / "model.safetensors")
    again = qt.QuantumTrain.load(tmp_path / "model.safetensors", net())
    torch.testing.assert_close(again.eval()(x), expected, atol=tolerances.OUTPUT, rtol=0)
    assert there.effective_parameters() == here.effective_parameters()
    torch.testing.assert_close(there.cpu()(x), expected, atol=tolerances.OUTPUT, rtol=0)


def test_interrupted_and_resumed(tmp_path: Path) -> None:
    data, straight = load("iris"), model().cuda()
    fit(straight, data, config=SHORT, progress_bar=False)

    def stop(entry: dict[str, float]) -> None:
        raise KeyboardInterrupt

    torch.manual_seed(0)
    with pytest.raises(KeyboardInterrupt):
        fit(
            model().cuda(),
            data,
            config=SHORT,
            folder=tmp_path,
            progress_bar=False,
            callbacks=[stop],
        )
    resumed = model().cuda()
    torch.rand(7, device="cuda")  # dropout goes on from the checkpoint, not from here
    fit(resumed, data, config=SHORT, folder=tmp_path, resume=True, progress_bar=False)
    for name, value in straight.state_dict().items():
        torch.testing.assert_close(
            resumed.state_dict()[name], value, atol=tolerances.OUTPUT, rtol=tolerances.OUTPUT
        )


def test_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_timing, "_STEPS", 2)
    times = seconds_per_step(model().cuda(), load("iris"), SHORT)
    assert all(seconds > 0 for seconds in times.values())


def test_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plots, "curves", lambda *_: None)
    monkeypatch.setattr(plots, "save", lambda *_: None)
    monkeypatch.setattr(_timing, "_STEPS", 1)

    def call(*argv: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", ["qtn-train", *argv, "--json"])
        main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    out = str(tmp_path / "run")
    command = ("train", "iris", "--epochs", "2", "--torch-device", "cuda", "--out", out)
    run = call(*command)
    assert run["torch_device"] == "cuda"
    again = call("train", "iris", "--out", out, "--resume")
    assert again["epochs"] == run["epochs"]
    found = call("evaluate", out)  # on a CPU
    assert found["test_loss"] == pytest.approx(
        run["epochs"][-1]["test_loss"], abs=tolerances.NETWORK_GRADIENT
    )
