"""A network behind a grid of qubits: two exact engines train it alike."""

import pytest
import torch

from qtn_train.data import load
from qtn_train.engines import ContractionEngine, Engine, StatevectorEngine
from qtn_train.recipes import RunOptions

#: Losses of up to 50 steps in single precision by two engines: gates are multiplied in another
#: order, and the optimizer lets differences of 1e-6 grow.
LOSS = 1e-3


def losses(engine: Engine, n_layers: int, steps: int) -> list[float]:
    """The losses of the first steps on `digits`, in batches of 64 in their stored order."""
    options = RunOptions("digits", "grid", n_layers, 12, seed=0)
    model, data = options.model(engine), load("digits")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    found = []
    for step in range(steps):
        at = torch.arange(64 * step, 64 * step + 64) % len(data.x_train)
        loss = torch.nn.functional.cross_entropy(model(data.x_train[at]), data.y_train[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    return found


@pytest.mark.parametrize(
    ("n_layers", "steps"), [(4, 5), pytest.param(8, 50, marks=pytest.mark.slow)]
)
def test_a_grid_trains_alike_by_contraction_and_by_state_vector(n_layers: int, steps: int) -> None:
    exact = losses(StatevectorEngine(), n_layers, steps)
    found = losses(ContractionEngine(), n_layers, steps)
    assert found == pytest.approx(exact, rel=LOSS)
    assert exact[-1] < exact[0]


def test_the_options_of_a_grid_on_the_engine_of_contractions() -> None:
    options = RunOptions("digits", "grid", 4, 12, engine_name="contraction")
    model = options.model()
    circuit = model.generator.circuit  # type: ignore[union-attr]
    assert circuit.n_qubits == 12
    assert (0, 4) in {gate.qubits for gate in circuit.gates}  # three rows of four
    assert isinstance(model.generator.engine, ContractionEngine)  # type: ignore[union-attr]
