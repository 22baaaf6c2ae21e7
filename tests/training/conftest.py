"""What the tests of training share: small models on iris."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from qtn_train.circuits import ansatz
from qtn_train.data import Dataset, load
from qtn_train.hybrid import QuantumTrain


def noisy_net() -> nn.Sequential:
    """A target with buffers of its own and with draws from torch's global generator."""
    return nn.Sequential(
        nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.3), nn.Linear(5, 3)
    )


@pytest.fixture(scope="session")
def iris() -> Dataset:
    """120 + 30 flowers."""
    return load("iris")


@pytest.fixture
def make() -> Callable[..., nn.Module]:
    """Maker of small models by name: ``linear``, ``noisy`` (through a circuit) and ``plain``."""

    def build(kind: str = "linear", seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        if kind == "plain":
            return noisy_net()
        target = noisy_net() if kind == "noisy" else nn.Linear(4, 3)
        n_qubits = 6 if kind == "noisy" else 4
        return QuantumTrain(target, circuit=ansatz.ry_cx_chain(n_qubits, 1), seed=seed)

    return build
