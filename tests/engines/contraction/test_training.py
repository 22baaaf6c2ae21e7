"""Training through a grid: the contraction's losses are those of the state vector."""

from collections.abc import Iterator
from itertools import islice

import pytest
import tolerances
import torch
from torch import nn

from qtn_train.data import Dataset, load
from qtn_train.engines import ContractionEngine, Engine, StatevectorEngine
from qtn_train.recipes import RunOptions


def batches(data: Dataset, size: int = 64) -> Iterator[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    while True:
        yield from torch.randperm(len(data.x_train), generator=rng).split(size)


def losses(engine: Engine, data: Dataset, n_steps: int) -> list[float]:
    options = RunOptions("digits", ansatz="grid", n_qubits=12, n_layers=6)
    model = options.model(engine)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    found = []
    for rows in islice(batches(data), n_steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(data.x_train[rows]), data.y_train[rows])
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    return found


@pytest.mark.slow
def test_digits_are_learned_through_a_3_by_4_grid_with_the_losses_of_the_state_vector() -> None:
    data = load("digits")
    found = losses(ContractionEngine(optimize="quick"), data, 50)
    expected = losses(StatevectorEngine(), data, 50)
    assert found == pytest.approx(expected, abs=tolerances.LOSSES_OF_50_STEPS)
    assert sum(found[-5:]) / 5 < 0.8 * found[0]
