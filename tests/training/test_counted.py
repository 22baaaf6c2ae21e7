"""Training where shots are counted: positions, resuming to the bit, checkpoints of paid steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tolerances
import torch
from torch import Tensor, nn

from qtn_train import _files
from qtn_train.circuits import ansatz
from qtn_train.data import Dataset
from qtn_train.engines import SampledEngine, StatevectorEngine
from qtn_train.engines.counting._base import Counts, Program
from qtn_train.hybrid import QuantumTrain
from qtn_train.recipes import RunOptions
from qtn_train.training import (
    CHECKPOINT,
    FitConfig,
    History,
    _loop,
    evaluate,
    fit,
    read_checkpoint,
    restore_model,
    training_step,
)

SHORT = FitConfig(epochs=3, batch_size=60, lr=0.05)  # 2 steps an epoch

Batches = list[tuple[int, list[Program]]]


def model(gradient: Any = "spsa", shots: int = 100) -> QuantumTrain:
    engine = SampledEngine(StatevectorEngine(), shots, gradient=gradient, seed=2)
    return QuantumTrain(nn.Linear(4, 3), circuit=ansatz.ry_cx_chain(4, 1), engine=engine, seed=0)


def run(trained: nn.Module, data: Dataset, config: FitConfig = SHORT, **options: Any) -> History:
    return fit(trained, data, config=config, progress_bar=False, **options)


def weights(trained: QuantumTrain) -> list[Tensor]:
    return list(trained.export().state_dict().values())


def without_seconds(history: History) -> list[dict[str, float]]:
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history.epochs]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Batches:
    """All batches that sampled engines execute from now on."""
    record: Batches = []
    measure = SampledEngine._measure

    def recorded(self: SampledEngine, programs: Any, position: int) -> list[list[Counts]]:
        record.append((position, list(programs)))
        return measure(self, programs, position)

    monkeypatch.setattr(SampledEngine, "_measure", recorded)
    return record


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Exception], None]:
    """Let the n-th step from now on raise an exception once it is half done."""

    def arm(number: int, error: Exception) -> None:
        left = [number]

        def step(*args: Any) -> tuple[float, int]:
            left[0] -= 1
            if left[0] == 0:
                args[0](args[2])  # the forward pass has been executed already
                raise error
            return training_step(*args)

        monkeypatch.setattr(_loop, "training_step", step)

    return arm


@pytest.mark.parametrize("gradient", [None, "parameter-shift", "random-shift", "spsa"])
@pytest.mark.parametrize("moments", [(4,), (1, 2, 2)], ids=["once", "thrice"])
def test_interrupted_and_resumed_gives_the_same_weights_to_the_bit(
    gradient: Any,
    moments: tuple[int, ...],
    iris: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_at: Callable[[int, Exception], None],
) -> None:
    monkeypatch.setattr(_loop, "_SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    straight = model(gradient)
    history = run(straight, iris, folder=tmp_path / "straight")
    for moment in moments:
        stop_at(moment, ConnectionError("the line is dead"))
        with pytest.raises(ConnectionError, match="the line is dead"):
            run(model(gradient), iris, folder=tmp_path / "cut", resume=True)
    stop_at(0, ConnectionError())
    resumed = model(gradient)
    again = run(resumed, iris, folder=tmp_path / "cut", resume=True)
    assert resumed.generator.position == straight.generator.position > 0
    assert without_seconds(again) == without_seconds(history)
    for first, second in zip(weights(straight), weights(resumed), strict=True):
        assert torch.equal(first, second)


def test_the_evaluation_and_the_next_step_share_their_counts(
    iris: Dataset, batches: Batches
) -> None:
    trained = model("spsa")
    history = run(trained, iris)
    # A step: forward, backward; after every second one an evaluation, and nothing moves on.
    assert [position for position, _ in batches] == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12]
    seen: dict[int, Program] = {}
    for position, (program,) in batches:
        if position in seen:
            assert torch.equal(program.angles, seen[position].angles)
        seen[position] = program
    # The network that is exported at last is the one that was evaluated.
    assert trained.generator.position == 12
    loss, accuracy = evaluate(trained.export(), *(iris.x_test, iris.y_test))
    assert accuracy == history.test_accuracy
    assert loss == pytest.approx(history.epochs[-1]["test_loss"], rel=tolerances.TEST_LOSS)
    assert batches[-1][0] == 12


def test_a_held_out_set_costs_no_further_batch(iris: Dataset, batches: Batches) -> None:
    run(model("spsa"), iris, SHORT.but(epochs=1, patience=2))
    assert [position for position, _ in batches] == [0, 1, 2, 3, 4]


def test_history_tells_the_shots(iris: Dataset) -> None:
    for entry in run(model("spsa", shots=70), iris).epochs:
        assert entry["shots"] == 70
        assert 1 <= entry["outcomes_seen"] <= 16


def test_where_executions_cost_money_every_step_is_kept(
    iris: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SampledEngine, "billed", True)
    kept: list[tuple[int, int, int]] = []
    save = _loop.save_checkpoint

    def note(*args: Any) -> None:
        save(*args)
        info = read_checkpoint(tmp_path)[1]
        kept.append((info["progress"]["epoch"], info["progress"]["step"], info["position"]))

    monkeypatch.setattr(_loop, "save_checkpoint", note)
    run(model("spsa"), iris, SHORT.but(epochs=2), folder=tmp_path)
    assert kept == [(0, 0, 0), (0, 1, 2), (0, 2, 4), (1, 0, 4), (1, 1, 6), (1, 2, 8), (2, 0, 8)]


def test_where_executions_cost_money_ctrl_c_does_not_wait_for_the_step(
    iris: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SampledEngine, "billed", True)
    measure, executed = SampledEngine._measure, []

    def measure_and_interrupt(self: SampledEngine, programs: Any, position: int) -> Any:
        if position == 3:  # the backward pass of the second step, in the queue
            signal.raise_signal(signal.SIGINT)
        executed.append(position)
        return measure(self, programs, position)

    monkeypatch.setattr(SampledEngine, "_measure", measure_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(model("spsa"), iris, SHORT, folder=tmp_path)
    assert executed == [0, 1, 2]
    assert read_checkpoint(tmp_path)[1]["position"] == 2


def test_a_checkpoint_without_a_position_begins_at_0(iris: Dataset, tmp_path: Path) -> None:
    trained = model("spsa")
    run(trained, iris, folder=tmp_path)
    tensors, info = read_checkpoint(tmp_path)
    assert info.pop("position") == trained.generator.position == 12
    _files.write_tensors(tmp_path / CHECKPOINT, tensors, "checkpoint", info)
    older = model("spsa")
    older.generator.position = 5
    restore_model(older, *read_checkpoint(tmp_path))
    assert older.generator.position == 0


def test_a_run_with_shots_goes_on_without_them(iris: Dataset, tmp_path: Path) -> None:
    trained = model("spsa")
    run(trained, iris, folder=tmp_path)
    exact = QuantumTrain(nn.Linear(4, 3), circuit=ansatz.ry_cx_chain(4, 1), seed=0)
    restore_model(exact, *read_checkpoint(tmp_path))
    assert exact.generator.position == 0
    for name, value in trained.state_dict().items():
        assert torch.equal(exact.state_dict()[name], value)


@pytest.mark.slow
def test_checks_in_double_precision_cost_no_shots(batches: Batches) -> None:
    trained = model("spsa")
    generator: Any = trained.generator
    generator.engine.connection = threading.Lock()  # what no copy can have
    twin = trained.generator.in_double()
    assert twin().dtype == torch.float64
    assert trained.effective_parameters()["angles"] > 0
    assert batches == []


# --- the end of a run -----------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 2])
def test_interrupted_during_the_last_evaluation_is_an_interruption(
    epochs: int, iris: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, calls, told = SHORT.but(epochs=epochs), [], []

    measure = _loop.measure

    def interrupt(*args: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == epochs:
            signal.raise_signal(signal.SIGINT)
        return measure(*args)

    with monkeypatch.context() as patch:
        patch.setattr(_loop, "measure", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(model(), iris, config, folder=tmp_path, callbacks=[told.append])
    assert len(told) == epochs
    assert read_checkpoint(tmp_path)[1]["progress"]["epoch"] == epochs
    before = (tmp_path / CHECKPOINT).read_bytes()
    assert len(run(model(), iris, config, folder=tmp_path, resume=True).epochs) == epochs
    assert (tmp_path / CHECKPOINT).read_bytes() == before


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("stopped", [False, True], ids=["by the clock", "by Ctrl-C"])
def test_a_step_that_broke_a_parameter_is_never_kept(
    value: float,
    stopped: bool,
    iris: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not stopped:
        monkeypatch.setattr(_loop, "_SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    trained = nn.Linear(4, 3)
    steps: list[int] = []

    def step(*args: Any) -> tuple[float, int]:
        result = training_step(*args)
        steps.append(1)
        if len(steps) == 3:  # the first step of the second epoch
            nn.init.constant_(trained.bias, value)
            if stopped:
                signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(_loop, "training_step", step)
    expected = r"^`parameters` must be finite; got NaN or infinity\. Lower the learning rate\.$"
    with pytest.raises(_loop.NonFiniteLoss, match=expected):
        run(trained, iris, folder=tmp_path)
    tensors, info = read_checkpoint(tmp_path)
    assert (info["progress"]["epoch"], info["progress"]["step"]) == (1, 0)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


# --- recipes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["iris", "digits", "mnist-mini", "mnist", "fashion-mnist"])
def test_few_large_steps_where_shots_are_counted(name: str) -> None:
    samples = {"iris": 120, "digits": 1437, "mnist-mini": 10_000}.get(name, 60_000)
    config, counted = (RunOptions(name, shots=shots).fit_config() for shots in (None, 1))
    steps = -(-samples // counted.batch_size) * counted.epochs
    assert 90 <= steps <= 100
    assert (counted.lr, counted.lr_mapping) == (config.lr / 2, config.lr)
    own = {"epochs", "batch_size", "lr", "lr_mapping"}
    both = [{k: v for k, v in c.config().items() if k not in own} for c in (config, counted)]
    assert both[0] == both[1]
    published = RunOptions(name, recipe="published")
    assert published.but(shots=1).fit_config() == published.fit_config()


@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["parameter-shift", "spsa"])
def test_iris_is_learned_from_shots(gradient: Any, iris: Dataset) -> None:
    engine = SampledEngine(StatevectorEngine(), 4000, gradient=gradient, seed=0)
    trained = RunOptions("iris").model(engine)
    history = run(trained, iris, RunOptions("iris", shots=4000, epochs=40).fit_config())
    assert history.test_accuracy >= 0.9
