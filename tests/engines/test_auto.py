"""``engine="auto"`` takes the cheapest exact engine, once, and says why."""

from typing import Any

import pytest
import torch

from qtn_train import QuantumTrain
from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines import (
    BraketEngine,
    ContractionEngine,
    MPSEngine,
    SampledEngine,
    StatevectorEngine,
    _auto,
    choose_engine,
)
from qtn_train.errors import UnsupportedByEngine
from qtn_train.generators import CircuitGenerator
from qtn_train.mapping import MLPMapping
from qtn_train.measurements import Expectation, PauliCorrelators

ONE = _auto.Request(n_outcomes=1)
CIRCUIT = ansatz.grid(2, 3, 2)


@pytest.mark.parametrize(
    ("circuit", "n_outcomes", "kind"),
    [
        (ansatz.u3_cu3_ring(8, 16), 131, StatevectorEngine),
        (ansatz.u3_cu3_ring(13, 16), 6690, StatevectorEngine),
        (ansatz.u3_cu3_chain(16, 16), 2**16, StatevectorEngine),
        (ansatz.ry_cx_chain(26, 2), 1000, MPSEngine),
        (ansatz.u3_cu3_chain(60, 3), 1000, MPSEngine),
    ],
)
def test_the_choice(circuit: Circuit, n_outcomes: int, kind: type) -> None:
    engine, reason = choose_engine(circuit, n_outcomes)
    assert type(engine) is kind
    assert engine.exact
    assert reason.startswith("auto: estimated ")


def test_a_grid_that_only_a_contraction_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_auto, "memory_bytes", lambda: 2**24)
    engine, reason = choose_engine(ansatz.grid(7, 7, 4), 1000)
    assert isinstance(engine, ContractionEngine)
    assert reason.count("too much memory as ") == 2
    assert reason.endswith("s as a contraction")


def test_it_never_truncates() -> None:
    engine, _ = choose_engine(ansatz.u3_cu3_chain(60, 3), 1000, dtype="complex128")
    assert isinstance(engine, MPSEngine)
    assert engine.max_bond is None
    assert engine.cutoff == 0.0
    assert engine.dtype == "complex128"


def test_where_nothing_exact_fits_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_auto, "memory_bytes", lambda: 8 * 2**30)
    with pytest.raises(UnsupportedByEngine, match=r"fits 8 GiB; got 60 qubits .* Take MPSEngine\("):
        choose_engine(ansatz.u3_cu3_ring(60, 32), 1000)


def test_a_long_gate_counts_for_every_bond_that_it_crosses() -> None:
    near = Circuit.builder(30)
    far = Circuit.builder(30)
    for _ in range(8):
        near.cx(0, 1)
        far.cx(0, 29)
    few, many = (_auto.mps_estimate(b.build(), ONE) for b in (near, far))
    assert many.bytes > 20 * few.bytes


def test_the_estimate_grows_bonds_by_the_rank_of_each_gate() -> None:
    swapped = _auto.mps_estimate(Circuit.builder(6).swap(2, 3).build(), ONE)
    assert _auto.mps_estimate(Circuit.builder(6).iswap(2, 3).build(), ONE) == swapped
    assert _auto.mps_estimate(Circuit.builder(6).cz(2, 3).build(), ONE).bytes < swapped.bytes


def test_the_model_decides_once_and_tells() -> None:
    model = QuantumTrain(torch.nn.Linear(4, 3), seed=0)
    assert isinstance(model.generator, CircuitGenerator)
    engine = model.generator.engine
    model(torch.zeros(2, 4))
    assert model.generator.engine is engine
    assert "auto: estimated" in model.summary()


def test_another_word_than_auto_is_refused() -> None:
    with pytest.raises(ValueError, match="`engine` must be an Engine or 'auto'; got 'fast'"):
        CircuitGenerator(ansatz.ry_cx_chain(3, 1), "fast", MLPMapping(2**3), n_weights=5)  # type: ignore[arg-type]


def test_wide_circuits_have_a_simulator_beside_a_device() -> None:
    engine = BraketEngine("local:sv", shots=10, dtype="complex128")
    assert engine.simulator_for(ansatz.cz_chain(10, 2)) is engine.simulator
    wide = engine.simulator_for(ansatz.cz_chain(68, 2))
    assert isinstance(wide, MPSEngine)
    assert (wide.dtype, wide.max_bond) == ("complex128", None)
    sampled = SampledEngine(MPSEngine(8), 10)
    assert sampled.simulator_for(ansatz.cz_chain(68, 2)) is sampled.engine
    with pytest.raises(UnsupportedByEngine, match="`circuit` must be one whose exact state fits"):
        engine.simulator_for(ansatz.u3_cu3_ring(100, 100))


def test_what_is_read_decides() -> None:
    grid = ansatz.grid(7, 7, 3)
    assert choose_engine(grid, 1, Expectation("Z24"))[0].kind == "contraction"
    near = PauliCorrelators(2, reach=2)
    request = _auto.request_of(12, near.n_values(12), near)
    assert all(1 <= string[-1][0] - string[0][0] <= 2 for string in request.strings)
    assert (request.n_strings, request.n_letters) == (near.n_values(12), 3)
    some = _auto.request_of(3, 2, Expectation(["Z0", {"X1": 1.0, "Y2": 2.0}, "Z2"]))
    assert some.strings == (((0, "Z"),), ((1, "X"),), ((2, "Y"),))
    assert _auto.request_of(3, 5) == _auto.Request(n_outcomes=5)


@pytest.mark.parametrize("gradient", [False, True])
def test_a_contraction_that_is_sliced_is_estimated_as_its_engine_does(
    monkeypatch: pytest.MonkeyPatch, gradient: bool
) -> None:
    limit, circuit = 2**13 if not gradient else 2**15, ansatz.grid(3, 4, 8)
    monkeypatch.setattr(_auto, "memory_bytes", lambda: 2 * limit)
    request = _auto.Request(n_outcomes=4, gradient=gradient)
    found = _auto.contraction_estimate(circuit, request, most_seconds=1e9)
    angles = torch.zeros(circuit.n_angles, requires_grad=gradient)
    cost = ContractionEngine(memory_limit=limit).prepare(circuit, angles).cost(0, 4)
    assert found == _auto.Estimate(*cost)
    whole = _auto.contraction_estimate(circuit, request)
    assert whole is not None
    assert cost.seconds > 1.5 * whole.seconds


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None, 5), TypeError, "`circuit` must be a Circuit; got NoneType"),
        ((CIRCUIT, 5, "Z0"), TypeError, "`reads` must be a measurement, such as .*; got 'Z0'"),
        ((CIRCUIT, 5.0), TypeError, "`n_values` must be a positive integer; got 5.0"),
        ((CIRCUIT, -5), ValueError, "`n_values` must be a positive integer; got -5"),
        ((CIRCUIT, 2**20), ValueError, r"`n_values` must be at most 64 of Probabilities\(.*; got"),
        ((CIRCUIT, 2, Expectation("Z1")), ValueError, "`n_values` must be at most 1 of Expect"),
        ((CIRCUIT, 1, Expectation("Z9")), ValueError, "`terms` must be on qubits 0 … 5; got 'Z9'"),
    ],
)
def test_messages(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        choose_engine(*arguments)
