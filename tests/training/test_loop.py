"""The loop: steps and epochs, interruption to the bit, and losses that are not finite."""

from __future__ import annotations

import copy
import math
import signal
import threading
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import tolerances
import torch
from torch import Tensor, nn

from qtn_train._random import permutation
from qtn_train.circuits import ansatz
from qtn_train.data import Dataset
from qtn_train.errors import NonFiniteLoss, RunError
from qtn_train.hybrid import QuantumTrain
from qtn_train.training import (
    CHECKPOINT,
    FitConfig,
    History,
    _loop,
    evaluate,
    fit,
    make_optimizer,
    read_checkpoint,
    training_step,
)

Make = Callable[..., nn.Module]
KEYS = ["epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds"]
STEP = training_step
SHORT = FitConfig(epochs=3, batch_size=50)  # 50 + 50 + 20 samples


def run(model: nn.Module, data: Dataset, config: FitConfig = SHORT, **options: Any) -> History:
    return fit(model, data, config=config, progress_bar=False, **options)


def equal_states(first: nn.Module, second: nn.Module) -> bool:
    mine, others = first.state_dict(), second.state_dict()
    return list(mine) == list(others) and all(mine[n].equal(others[n]) for n in mine)


def without_seconds(history: History | list[dict[str, float]]) -> list[dict[str, float]]:
    epochs = history.epochs if isinstance(history, History) else history
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in epochs]


def spy(monkeypatch: pytest.MonkeyPatch, on_step: Callable[..., Any]) -> None:
    """Call ``on_step(number, optimizer, x, y)`` before each step."""
    count = 0

    def step(
        model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, *options: Any
    ) -> tuple[float, int]:
        nonlocal count
        result = on_step(count, optimizer, x, y)
        count += 1
        return STEP(model, optimizer, x, y, *options) if result is None else result

    monkeypatch.setattr(_loop, "training_step", step)


# --- what is learned ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["linear", "noisy", "plain"])
def test_the_loss_falls(kind: str, iris: Dataset, make: Make) -> None:
    model = make(kind)
    history = run(model, iris, FitConfig(epochs=8, batch_size=20))
    assert history.epochs[-1]["test_loss"] < 0.8 * math.log(3)
    assert history.epochs[-1]["train_loss"] < 0.8 * history.epochs[0]["train_loss"]
    assert history.test_accuracy > 0.6


def test_one_seed_gives_the_same_bits_and_another_does_not(iris: Dataset, make: Make) -> None:
    models = [make() for _ in range(3)]
    histories = [run(m, iris, SHORT.but(seed=s)) for m, s in zip(models, (0, 0, 1), strict=True)]
    assert equal_states(models[0], models[1])
    assert without_seconds(histories[0]) == without_seconds(histories[1])
    assert not equal_states(models[0], models[2])


def test_torch_by_hand_gives_the_same_bits(iris: Dataset) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    twin = copy.deepcopy(model)
    config = SHORT.but(lr=0.1, weight_decay=0.5, clip_norm=None, schedule="constant", seed=5)
    history = run(model, iris, config)
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.1, weight_decay=0.5)
    for epoch in range(3):
        total, correct = 0.0, 0
        order = torch.from_numpy(permutation(5, f"epoch {epoch}", 120))
        for start in range(0, 120, 50):
            index = order[start : start + 50]
            scores = twin(iris.x_train[index])
            loss = nn.functional.cross_entropy(scores, iris.y_train[index])
            total += float(loss.detach()) * len(index)
            correct += int((scores.argmax(1) == iris.y_train[index]).sum())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert history.epochs[epoch]["train_loss"] == total / 120
        assert history.epochs[epoch]["train_accuracy"] == correct / 120
    assert equal_states(model, twin)


def test_weight_decay_changes_the_result(iris: Dataset, make: Make) -> None:
    first, second = make(), make()
    run(first, iris)
    run(second, iris, SHORT.but(weight_decay=0.1))
    assert not equal_states(first, second)


def test_frozen_parameters_stay(iris: Dataset) -> None:
    torch.manual_seed(0)
    target = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    target[0].requires_grad_(False)
    before = target[0].weight.clone()
    for model in (QuantumTrain(target, circuit=ansatz.ry_cx_chain(5, 1)), target):
        last = model.target[2] if isinstance(model, QuantumTrain) else model[2]
        old = last.weight.clone()
        run(model, iris)
        first = model.target[0] if isinstance(model, QuantumTrain) else model[0]
        assert first.weight.equal(before)
        if isinstance(model, QuantumTrain):
            assert model.export()[0].weight.equal(before)
        else:
            assert not last.weight.equal(old)


def test_a_model_without_trainable_parameters_is_refused(iris: Dataset) -> None:
    model = nn.Linear(4, 3).requires_grad_(False)
    with pytest.raises(ValueError, match=r"^`model` must be a module with trainable parameters;"):
        run(model, iris)


# --- epochs and batches ---------------------------------------------------------------------------


def numbered(n: int = 23) -> Dataset:
    """Samples that carry their number in the first column."""
    x = torch.stack([torch.arange(n, dtype=torch.float32), torch.ones(n)], 1)
    y = torch.arange(n) % 2
    return Dataset("numbered", x, y, x[:4], y[:4], 2, ("even", "odd"))


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(5, [5, 5, 5, 5, 3]), (23, [23]), (500, [23]), (22, [22, 1])]
)
def test_each_epoch_sees_each_sample_once(
    batch_size: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []

    def on_step(_: int, optimizer: Any, x: Tensor, y: Tensor) -> None:
        numbers = x[:, 0].int().tolist()
        assert y.tolist() == [number % 2 for number in numbers]
        seen.append(numbers)

    spy(monkeypatch, on_step)
    run(nn.Linear(2, 2), numbered(), FitConfig(epochs=2, batch_size=batch_size, lr=1e-3))
    assert [len(batch) for batch in seen] == sizes * 2
    half = len(sizes)
    epochs = [list(chain(*seen[:half])), list(chain(*seen[half:]))]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(23))
    assert epochs[0] != epochs[1]
    assert epochs[0] != list(range(23))


def test_the_history_has_the_documented_keys(iris: Dataset, make: Make) -> None:
    told: list[dict[str, float]] = []
    history = run(make(), iris, callbacks=[told.append])
    assert told == history.epochs
    assert [entry["epoch"] for entry in told] == [1, 2, 3]
    for entry in told:
        assert sorted(entry) == sorted(KEYS)
        assert type(entry["epoch"]) is int
        assert all(type(entry[key]) is float for key in KEYS[1:])
        assert 0 <= entry["train_accuracy"] <= 1
        assert entry["seconds"] > 0
    loss, accuracy = evaluate(model := make(), iris.x_test, iris.y_test)
    assert (loss, accuracy) != (told[-1]["test_loss"], told[-1]["test_accuracy"])
    run(model, iris)
    assert evaluate(model, iris.x_test, iris.y_test) == (
        told[-1]["test_loss"],
        told[-1]["test_accuracy"],
    )


def test_the_bar_is_on_standard_error_or_nowhere(
    iris: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    run(nn.Linear(4, 3), iris)
    assert capsys.readouterr() == ("", "")
    fit(nn.Linear(4, 3), iris, config=SHORT)
    out, err = capsys.readouterr()
    assert out == ""
    assert "step" in err


# --- learning rates -------------------------------------------------------------------------------


def rates(
    monkeypatch: pytest.MonkeyPatch,
    model: nn.Module,
    data: Dataset,
    config: FitConfig,
    result: Any = None,
) -> list[list[float]]:
    """The learning rates of each step, one a group of parameters."""
    seen: list[list[float]] = []

    def on_step(_: int, optimizer: Any, x: Tensor, y: Tensor) -> Any:
        seen.append([group["lr"] for group in optimizer.param_groups])
        return result

    spy(monkeypatch, on_step)
    run(model, data, config)
    return seen


def test_constant(iris: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SHORT.but(lr=0.3, schedule="constant")
    assert rates(monkeypatch, nn.Linear(4, 3), iris, config) == [[0.3]] * 9


def test_one_cycle_rises_for_a_third_and_ends_near_zero(
    iris: Dataset, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = FitConfig(epochs=7, batch_size=40, lr=0.02, lr_mapping=0.01)
    seen = rates(monkeypatch, make(), iris, config)

    def cosine(begin: float, end: float, fraction: float) -> float:
        return end + (begin - end) / 2 * (1 + math.cos(math.pi * fraction))

    n, peak = 21, 0.3 * 21 - 1
    for number, (angles, mapping) in enumerate(seen):
        if number <= peak:
            expected = cosine(1 / 25, 1, number / peak)
        else:
            expected = cosine(1, 1 / 25e4, (number - peak) / (n - 1 - peak))
        assert angles == pytest.approx(0.02 * expected)
        assert mapping == pytest.approx(0.01 * expected)
    assert len(seen) == n


def test_one_cycle_of_a_single_step(iris: Dataset, make: Make) -> None:
    history = run(make(), iris, FitConfig(epochs=1, batch_size=120))
    assert len(history.epochs) == 1


def test_plateau_halves_after_five_epochs_that_are_no_better(
    iris: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = FitConfig(epochs=15, batch_size=120, lr=0.4, schedule="plateau")
    seen = rates(monkeypatch, nn.Linear(4, 3), iris, config, result=(1.0, 60))
    # As torch counts: epoch 1 is the best, five may pass, the sixth halves.
    assert list(chain(*seen)) == [0.4] * 7 + [0.2] * 6 + [0.1] * 2


def test_plateau_looks_at_the_training_loss(iris: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_loop, "measure", lambda *_: {"loss": 1.0, "accuracy": 0.5})
    losses = iter(range(100, 0, -1))
    config = FitConfig(epochs=15, batch_size=120, lr=0.4, schedule="plateau")
    rates_seen: list[float] = []

    def on_step(_: int, optimizer: Any, x: Tensor, y: Tensor) -> tuple[float, int]:
        rates_seen.append(optimizer.param_groups[0]["lr"])
        return float(next(losses)), 60

    spy(monkeypatch, on_step)
    run(nn.Linear(4, 3), iris, config)
    assert rates_seen == [0.4] * 15


def test_parts_have_their_own_rates(make: Make) -> None:
    config = FitConfig(lr=0.2, lr_mapping=0.1, weight_decay=0.3)
    model = make()
    groups = make_optimizer(model, config).param_groups
    parts = model.parts()
    assert [group["lr"] for group in groups] == [0.2, 0.1]
    assert [group["weight_decay"] for group in groups] == [0.3, 0.3]
    assert [id(p) for g in groups for p in g["params"]] == [
        id(p) for role in ("angles", "mapping") for p in parts[role]
    ]
    assert [g["lr"] for g in make_optimizer(model, FitConfig(lr=0.2)).param_groups] == [0.2, 0.2]
    assert [g["lr"] for g in make_optimizer(nn.Linear(2, 2), config).param_groups] == [0.2]


# --- one step -------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1e-3, 0.05, 1e9, None])
def test_the_gradient_of_each_group_is_clipped(
    limit: float | None, iris: Dataset, make: Make
) -> None:
    model = make()
    parts = {name: ps for name, ps in model.parts().items() if ps}
    optimizer = torch.optim.SGD([{"params": ps} for ps in parts.values()], lr=1.0)
    nn.functional.cross_entropy(model(iris.x_train), iris.y_train).backward()
    norms = {n: torch.cat([p.grad.flatten() for p in ps]).norm() for n, ps in parts.items()}
    before = {n: [p.detach().clone() for p in ps] for n, ps in parts.items()}
    training_step(model, optimizer, iris.x_train, iris.y_train, limit)
    for name, ps in parts.items():
        moved = torch.cat(
            [(p.detach() - old).flatten() for p, old in zip(ps, before[name], strict=True)]
        )
        expected = min(norms[name], limit or math.inf)
        assert moved.norm() == pytest.approx(float(expected), rel=tolerances.STEP_IN_SINGLE)


def test_a_step_returns_loss_and_hits_of_before(iris: Dataset, make: Make) -> None:
    model = make()
    with torch.no_grad():
        scores = model(iris.x_test)
    loss = float(nn.functional.cross_entropy(scores, iris.y_test))
    hits = int((scores.argmax(1) == iris.y_test).sum())
    optimizer = make_optimizer(model, SHORT)
    got = training_step(model, optimizer, iris.x_test, iris.y_test, 1.0)
    assert got == (pytest.approx(loss, rel=tolerances.SINGLE_LOSS), hits)


# --- evaluation -----------------------------------------------------------------------------------


def test_evaluate_by_hand() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
    x, y = torch.randn(2345, 4), torch.randint(0, 3, (2345,))
    logits = net[0](x).detach().double()
    correct = logits.argmax(1) == y
    expected = (logits.logsumexp(1) - logits[torch.arange(2345), y]).mean()
    for training in (True, False):
        net.train(training)
        loss, accuracy = evaluate(net, x, y)
        assert loss == pytest.approx(float(expected), rel=tolerances.SINGLE_LOSS)
        assert accuracy == int(correct.sum()) / 2345
        assert net.training is training
        assert net[1].training is training


# --- early stopping -------------------------------------------------------------------------------


def test_a_tenth_is_held_out_of_the_training_set(monkeypatch: pytest.MonkeyPatch) -> None:
    data, seen = numbered(20), []
    held: list[list[int]] = []

    def on_step(_: int, optimizer: Any, x: Tensor, y: Tensor) -> None:
        seen.append(x[:, 0].int().tolist())

    def measure(model: nn.Module, x: Tensor, y: Tensor, *_: Any) -> dict[str, float]:
        held.append(x[:, 0].int().tolist())
        return {"loss": 1.0, "accuracy": 0.5}

    spy(monkeypatch, on_step)
    monkeypatch.setattr(_loop, "measure", measure)
    run(nn.Linear(2, 2), data, FitConfig(epochs=2, batch_size=7, lr=1e-3, patience=5))
    assert [len(batch) for batch in seen] == [7, 7, 4] * 2
    assert held[0] == held[2] == [0, 1, 2, 3]  # the test set
    assert len(held[1]) == 2
    assert held[1] == held[3]
    assert sorted([*chain(*seen[:3]), *held[1]]) == list(range(20))


def scripted(monkeypatch: pytest.MonkeyPatch, losses: list[float], n_held: int) -> None:
    values = iter(losses)

    def measure(model: nn.Module, x: Tensor, y: Tensor, *_: Any) -> dict[str, float]:
        return {"loss": next(values) if len(y) == n_held else 1.0, "accuracy": 0.5}

    monkeypatch.setattr(_loop, "measure", measure)


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 6), (3, 7), (4, 8)])
def test_training_stops_when_patience_runs_out(
    patience: int, epochs: int, iris: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = [3.0, 2.0, 2.5, 1.0, 1.0, 1.5, 1.2, 0.5]
    scripted(monkeypatch, losses, 12)
    config = FitConfig(epochs=8, batch_size=54, patience=patience)
    model = nn.Linear(4, 3)
    history = run(model, iris, config, folder=tmp_path)
    assert [entry["validation_loss"] for entry in history.epochs] == losses[:epochs]
    assert sorted(history.epochs[0]) == sorted([*KEYS, "validation_loss"])
    assert history.stopped_early is (patience < 4)
    twin = nn.Linear(4, 3)
    again = run(twin, iris, config, folder=tmp_path, resume=True)
    assert again == history
    assert equal_states(model, twin)


def test_the_test_set_decides_nothing(iris: Dataset, make: Make) -> None:
    other = Dataset(
        "iris", iris.x_train, iris.y_train, -iris.x_test, iris.y_test.flip(0), 3, iris.classes
    )
    config = FitConfig(epochs=6, batch_size=54, lr=0.3, patience=1)
    first, second = make(), make()
    mine, others = run(first, iris, config), run(second, other, config)
    assert equal_states(first, second)
    keys = ("train_loss", "validation_loss")
    assert [[e[k] for k in keys] for e in mine.epochs] == [
        [e[k] for k in keys] for e in others.epochs
    ]
    assert mine.epochs[0]["test_loss"] != others.epochs[0]["test_loss"]


# --- interruption ---------------------------------------------------------------------------------


def compare(first: Path, second: Path) -> None:
    """Two checkpoints are the same to the bit, except for the time that was measured."""
    (tensors, info), (others, theirs) = read_checkpoint(first), read_checkpoint(second)
    assert list(tensors) == list(others)
    assert any(name.startswith("optimizer/") for name in tensors)
    for name, value in tensors.items():
        assert value.equal(others[name]), name
    for description in (info, theirs):
        history = description["progress"]["history"]
        history["epochs"] = without_seconds(history["epochs"])
    assert info == theirs


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("linear", {}),
        ("noisy", {}),
        ("plain", {}),
        ("noisy", {"schedule": "plateau", "weight_decay": 0.01, "clip_norm": None}),
        ("plain", {"schedule": "constant", "patience": 2}),
    ],
)
@pytest.mark.parametrize("moments", [(4,), (0, 2, 5)], ids=["once", "thrice"])
def test_interrupted_and_resumed_is_the_same_to_the_bit(
    kind: str,
    changes: dict[str, Any],
    moments: tuple[int, ...],
    iris: Dataset,
    make: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = SHORT.but(**changes)
    straight = make(kind)
    torch.manual_seed(1)
    history = run(straight, iris, config, folder=tmp_path / "a")

    def on_step(number: int, optimizer: Any, x: Tensor, y: Tensor) -> None:
        if number in moments:
            signal.raise_signal(signal.SIGINT)

    spy(monkeypatch, on_step)
    torch.manual_seed(1)
    for number in range(len(moments)):
        with pytest.raises(KeyboardInterrupt):
            run(make_again(make, kind, number), iris, config, folder=tmp_path / "b", resume=True)
    resumed = make_again(make, kind, 9)
    told: list[dict[str, float]] = []
    again = run(resumed, iris, config, folder=tmp_path / "b", resume=True, callbacks=[told.append])
    assert equal_states(straight, resumed)
    assert without_seconds(again) == without_seconds(history)
    assert again.epochs[-len(told) :] == told
    compare(tmp_path / "a", tmp_path / "b")


def make_again(make: Make, kind: str, number: int) -> nn.Module:
    """The model as in a new process: with torch's generator anywhere after the first start."""
    state = torch.get_rng_state()
    model = make(kind)
    if number:
        torch.manual_seed(1000 + number)
    else:
        torch.set_rng_state(state)
    return model


def test_an_interruption_ends_the_step_and_is_saved(
    iris: Dataset, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in ((signal.SIGINT, "int"), (signal.SIGTERM, "term")):
        steps: list[int] = []

        def on_step(
            step: int,
            *_: Any,
            steps: list[int] = steps,
            number: signal.Signals = number,
        ) -> None:
            steps.append(step)
            if step == 1:
                signal.raise_signal(number)

        before = signal.getsignal(number)
        spy(monkeypatch, on_step)
        with pytest.raises(KeyboardInterrupt):
            run(make(), iris, folder=tmp_path / name)
        assert steps == [0, 1]
        progress = read_checkpoint(tmp_path / name)[1]["progress"]
        assert (progress["epoch"], progress["step"]) == (0, 2)
        assert signal.getsignal(number) is before


def test_interrupted_during_an_evaluation(
    iris: Dataset, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, resumed = make(), make()
    run(straight, iris)
    measure, calls = _loop.measure, []

    def once(*args: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGINT)
        return measure(*args)

    monkeypatch.setattr(_loop, "measure", once)
    with pytest.raises(KeyboardInterrupt):
        run(resumed, iris, folder=tmp_path)
    run(resumed, iris, folder=tmp_path, resume=True)
    assert equal_states(straight, resumed)


def test_asked_twice_it_stops_at_once(
    iris: Dataset, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_step(step: int, *_: Any) -> None:
        if step == 1:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("it went on")

    spy(monkeypatch, on_step)
    with pytest.raises(KeyboardInterrupt):
        run(make(), iris, folder=tmp_path)
    assert read_checkpoint(tmp_path)[1]["progress"]["step"] == 0


def test_without_a_folder_ctrl_c_is_as_everywhere(
    iris: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_step(step: int, *_: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it went on")

    spy(monkeypatch, on_step)
    with pytest.raises(KeyboardInterrupt):
        run(nn.Linear(4, 3), iris)


def test_it_runs_in_a_thread(iris: Dataset, tmp_path: Path) -> None:
    results: list[History] = []
    thread = threading.Thread(
        target=lambda: results.append(run(nn.Linear(4, 3), iris, folder=tmp_path))
    )
    thread.start()
    thread.join()
    assert len(results[0].epochs) == 3


def test_a_finished_run_that_is_resumed_changes_nothing(
    iris: Dataset, make: Make, tmp_path: Path
) -> None:
    model = make()
    history = run(model, iris, folder=tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    twin = make()
    assert run(twin, iris, folder=tmp_path, resume=True) == history
    assert equal_states(model, twin)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_with_a_run_is_refused_without_resume(iris: Dataset, tmp_path: Path) -> None:
    run(nn.Linear(4, 3), iris, folder=tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(
        RunError, match=r"^`folder` must be an empty folder; got .*, which holds a run"
    ):
        run(nn.Linear(4, 3), iris, folder=tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_resume_in_an_empty_folder_starts(iris: Dataset, tmp_path: Path) -> None:
    assert len(run(nn.Linear(4, 3), iris, folder=tmp_path / "a" / "b", resume=True).epochs) == 3


def test_a_folder_that_cannot_be_written_is_refused(iris: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, reason in (("file", "File exists"), ("file/inside", "Not a directory")):
        with pytest.raises(RunError, match=rf"a folder that can be written; got .* \({reason}\)"):
            run(nn.Linear(4, 3), iris, folder=tmp_path / path)


def test_checkpoints_come_by_the_clock_too(
    iris: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[tuple[int, int]] = []
    save = _loop.save_checkpoint

    def note(*args: Any) -> None:
        saved.append((args[4].epoch, args[4].step))
        save(*args)

    monkeypatch.setattr(_loop, "save_checkpoint", note)
    run(nn.Linear(4, 3), iris, folder=tmp_path / "a")
    assert saved == [(0, 0), (1, 0), (2, 0), (3, 0)]
    saved.clear()
    monkeypatch.setattr(_loop, "_SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    run(nn.Linear(4, 3), iris, SHORT.but(epochs=1), folder=tmp_path / "b")
    assert saved == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]


# --- losses that are not finite -------------------------------------------------------------------


class Breaking(nn.Module):
    """A linear layer that makes NaN, in its scores or only in their gradient, when told to."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.where = where
        self.broken = False

    def forward(self, x: Tensor) -> Tensor:
        scores = self.linear(x)
        if self.broken and self.where == "loss":
            return scores * torch.nan
        if self.broken and self.where == "infinite loss":
            return scores - torch.tensor([0.0, 0.0, torch.inf])
        if self.broken:
            return scores + torch.sqrt(0 * self.linear.weight.sum())  # 0, with gradient 0/0
        return scores


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("loss", r"^`loss` must be finite; got nan\. Lower the learning rate\.$"),
        ("infinite loss", r"^`loss` must be finite; got inf\. Lower the learning rate\.$"),
        ("gradient", r"^`gradient norm` must be finite; got nan\. Lower the learning rate\.$"),
    ],
)
@pytest.mark.parametrize("clip_norm", [1.0, None])
def test_a_loss_that_is_not_finite_stops_and_changes_nothing(
    where: str,
    message: str,
    clip_norm: float | None,
    iris: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Breaking(where)
    kept: dict[str, Any] = {}

    def on_step(step: int, *_: Any) -> None:
        if step == 4:
            model.broken = True
            kept["state"] = {n: v.clone() for n, v in model.state_dict().items()}
            kept["checkpoint"] = (tmp_path / CHECKPOINT).read_bytes()

    spy(monkeypatch, on_step)
    with pytest.raises(NonFiniteLoss, match=message):
        run(model, iris, SHORT.but(clip_norm=clip_norm), folder=tmp_path)
    for name, value in model.state_dict().items():
        assert value.equal(kept["state"][name])
    assert (tmp_path / CHECKPOINT).read_bytes() == kept["checkpoint"]
    progress = read_checkpoint(tmp_path)[1]["progress"]
    assert (progress["epoch"], progress["step"]) == (1, 0)


def test_a_last_step_that_broke_the_model_is_not_saved(
    iris: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Linear(4, 3)

    def on_step(step: int, *_: Any) -> tuple[float, int] | None:
        if step != 5:
            return None
        nn.init.constant_(model.weight, torch.nan)
        return 1.0, 10

    spy(monkeypatch, on_step)
    with pytest.raises(NonFiniteLoss, match=r"^`test loss` must be finite; got nan\."):
        run(model, iris, folder=tmp_path)
    tensors, info = read_checkpoint(tmp_path)
    assert info["progress"]["epoch"] == 1
    assert all(bool(torch.isfinite(value).all()) for value in tensors.values())
