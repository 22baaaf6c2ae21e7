"""What several processes do together in the tests: called in each of them, and in one alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from qtn_train.circuits import ansatz
from qtn_train.data import load
from qtn_train.engines import StatevectorEngine
from qtn_train.generators import CircuitGenerator
from qtn_train.hybrid import QuantumTrain
from qtn_train.mapping import MLPMapping
from qtn_train.training import FitConfig, _loop, fit
from qtn_train.training._distributed import Processes, joined

# 120 flowers: 7 batches of 17, and one of a single flower that all but one process go without.
CONFIG = FitConfig(epochs=7, batch_size=17, lr=0.02, schedule="plateau", weight_decay=1e-3)


class Double(nn.Module):
    """Goes on in double precision."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.double()


def model(chunk_size: int) -> QuantumTrain:
    """131 weights in double precision."""
    generator = CircuitGenerator(
        ansatz.ry_cx_chain(8, 2),
        StatevectorEngine(dtype="complex128"),
        MLPMapping(2**8, hidden=(3,)),
        n_weights=131,
        chunk_size=chunk_size,
    )
    target = nn.Sequential(Double(), nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    return QuantumTrain(target, generator, seed=0).double()


def train(chunk_size: int, **options: Any) -> dict[str, Any]:
    """Return the loss of each step, the history, and where the parameters end."""
    data = load("iris")
    trained, losses, step = model(chunk_size), [], _loop.training_step

    def noted(*args: Any) -> tuple[float, int]:
        losses.append(step(*args))
        return losses[-1]

    _loop.training_step = noted
    try:
        history = fit(trained, data, config=CONFIG, progress_bar=False, **options)
    finally:
        _loop.training_step = step
    ends = torch.cat([p.detach().flatten() for p in trained.parameters()])
    entries = [[e["test_loss"], e["test_accuracy"], e["train_loss"]] for e in history.epochs]
    steps, epochs = (torch.tensor(rows, dtype=torch.float64) for rows in (losses, entries))
    return {"losses": steps, "epochs": epochs, "ends": ends}


def shared(chunk_size: int, cotangents: torch.Tensor, processes: Processes) -> dict[str, Any]:
    """Return all weights, and the gradient of a sum over them, each process with its own."""
    generator: Any = model(chunk_size).generator
    with generator.shared():
        weights = generator()
        weights.backward(cotangents[processes.rank])
    processes.add_gradients(list(generator.parameters()))
    grads = torch.cat([p.grad.flatten() for p in generator.parameters()])
    return {"weights": weights.detach(), "grads": grads}


def run_all(folder: Path) -> None:
    """Do everything in one of several processes, and keep what came."""
    cotangents = torch.load(folder / "cotangents.pt")
    torch.set_num_threads(1)
    with joined() as processes:
        kept = {f"shared {size}": shared(size, cotangents, processes) for size in (16, 32)}
        for size in (16, 256):
            kept[f"train {size}"] = train(size, folder=folder / f"run{size}")
        torch.manual_seed(processes.rank)  # nothing but the first process's parameters may count
        plain = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        fit(plain, load("iris"), config=CONFIG.but(epochs=1, batch_size=30), progress_bar=False)
        kept["plain"] = {name: value.double() for name, value in plain.state_dict().items()}
    torch.save(kept, folder / f"kept{processes.rank}.pt")
