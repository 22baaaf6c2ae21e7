"""fit with what people have: arrays, frames, loaders, tokens, numbers to learn, own losses."""

from __future__ import annotations

import csv
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data import Dataset as TorchDataset

import qtn_train as qt
from qtn_train.circuits import ansatz
from qtn_train.data import Dataset
from qtn_train.errors import CheckpointError, DataError, MissingExtra
from qtn_train.hybrid import QuantumTrain
from qtn_train.training import (
    BestCheckpoint,
    Callback,
    CSVLog,
    EarlyStopping,
    FitConfig,
    History,
    JSONLinesLog,
    TensorBoard,
    WandB,
    evaluate,
    fit,
)

SHORT = FitConfig(epochs=2, batch_size=50)


def model(n_in: int = 4, n_out: int = 3) -> QuantumTrain:
    return QuantumTrain(nn.Linear(n_in, n_out), circuit=ansatz.ry_cx_chain(4, 1))


def run(trained: nn.Module, *data: Any, config: FitConfig = SHORT, **options: Any) -> History:
    return fit(trained, *data, config=config, progress_bar=False, **options)


def losses(history: History) -> list[float]:
    return [entry["train_loss"] for entry in history.epochs]


# --- data -----------------------------------------------------------------------------------------


class Rows(TorchDataset[Any]):
    """A data set of torch's without tensors at hand."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        if number >= len(self.x):
            raise IndexError
        return self.x[number], int(self.y[number])


def frames(x: Tensor, y: Tensor) -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(x.numpy()), pandas.Series(y.numpy())


FORMS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "tensors": lambda x, y: (x, y),
    "arrays": lambda x, y: [x.double().numpy(), y.numpy().astype(np.int32)],
    "frames": frames,
    "text": lambda x, y: (x, np.array(["a", "b", "c"])[y]),
    "TensorDataset": TensorDataset,
    "torch data set": Rows,
    "loader": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=7),
    "loader of rows": lambda x, y: DataLoader(Rows(x, y), batch_size=32),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_data_gives_the_same_bits(form: Any, iris: Dataset) -> None:
    expected = run(model(), iris)
    found = run(model(), form(iris.x_train, iris.y_train), form(iris.x_test, iris.y_test))
    assert losses(found) == losses(expected)
    assert found.test_accuracy == expected.test_accuracy


def test_without_a_test_set(iris: Dataset, tmp_path: Path) -> None:
    history = run(model(), (iris.x_train, iris.y_train), folder=tmp_path)
    keys = ["epoch", "seconds", "train_accuracy", "train_loss"]
    assert [sorted(entry) for entry in history.epochs] == [keys] * 2
    assert losses(history) == losses(run(model(), iris))
    assert run(model(), (iris.x_train, iris.y_train), folder=tmp_path, resume=True) == history
    with pytest.raises(AttributeError, match=r"^`history` must be one with a test accuracy; got"):
        _ = history.test_accuracy
    assert "train_loss=" in repr(history)
    assert "training loss" in history._repr_html_()


def test_a_fraction_is_held_out_by_the_seed(iris: Dataset) -> None:
    pair = (iris.x_train, iris.y_train)
    first, again = run(model(), pair, 0.25), run(model(), pair, 0.25)
    assert first.epochs[-1]["test_loss"] == again.epochs[-1]["test_loss"]
    own = Dataset.from_arrays(*pair, test=0.25)
    assert losses(run(model(), own)) == losses(first)


def test_epochs_and_options_by_shortcut(iris: Dataset) -> None:
    assert len(run(model(), iris, epochs=3).epochs) == 3
    by_dict: Any = {"epochs": 1, "batch_size": 50}
    assert len(fit(model(), iris, config=by_dict, progress_bar=False).epochs) == 1


class Tokens(nn.Module):
    def __init__(self, each: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4, padding_idx=0)
        self.head = nn.Linear(4, 2)
        self.each = each

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.embedding(x)
        out: Tensor = self.head(hidden if self.each else hidden.mean(1))
        return out.transpose(1, 2) if self.each else out


def test_tokens_are_inputs_and_labels() -> None:
    x = np.random.default_rng(0).integers(1, 10, (60, 5))
    texts = QuantumTrain(Tokens(), circuit=ansatz.ry_cx_chain(6, 2))
    config = FitConfig(epochs=20, batch_size=20, lr=0.03)
    history = run(texts, (x, (x < 5).sum(1) > 2), 0.2, config=config)
    assert history.epochs[-1]["train_accuracy"] > 0.8
    each = QuantumTrain(Tokens(each=True), circuit=ansatz.ry_cx_chain(6, 2))
    history = run(each, (x, (x < 5).astype(int)), 0.2, config=config)
    assert 0.8 < history.epochs[-1]["train_accuracy"] <= 1
    assert 0.8 < history.test_accuracy <= 1


# --- losses and metrics ---------------------------------------------------------------------------

X = torch.linspace(-1, 1, 160).view(40, 4)[torch.randperm(40, generator=torch.manual_seed(0))]
LINE = X @ torch.tensor([1.0, -2.0, 0.5, 1.5]) + 0.3


@pytest.mark.parametrize("y", [LINE, LINE[:, None]])
def test_regression_with_one_output(y: Tensor) -> None:
    config = FitConfig(epochs=60, batch_size=20, lr=0.03)
    net = model(4, 1)
    history = run(net, (X, y), 0.2, config=config, metrics=["r2", "mae", "rmse"])
    last = history.epochs[-1]
    assert "train_accuracy" not in last
    assert last["test_r2"] > 0.9
    assert last["test_rmse"] ** 2 == pytest.approx(last["test_loss"], rel=tolerances.TEST_LOSS)
    assert last["test_mae"] <= last["test_rmse"]
    assert last["train_loss"] < 0.1 * history.epochs[0]["train_loss"]
    assert "test_loss=" in repr(history)
    assert "loss by epoch" in history._repr_html_()


def test_binary_targets_with_one_output() -> None:
    y = (LINE > 0).long()
    config = FitConfig(epochs=40, batch_size=20, lr=0.03)
    net = model(4, 1)
    history = run(net, (X, y), 0.2, config=config, loss="bce", metrics=["accuracy"])
    last = history.epochs[-1]
    assert last["train_accuracy"] > 0.9
    assert last["test_accuracy"] == pytest.approx(
        float(((net.eval()(X)[:, 0] > 0) == y)[_held(40)].float().mean())
    )


def _held(n: int) -> Tensor:
    from qtn_train.data._own import held_out

    return held_out(n, 0.2, SHORT.seed)[1]


def test_losses_by_name_and_as_functions_agree(iris: Dataset) -> None:
    expected = losses(run(model(), iris))
    assert losses(run(model(), iris, loss="cross-entropy")) == expected
    assert losses(run(model(), iris, loss="Cross_Entropy")) == expected
    own = run(model(), iris, loss=nn.CrossEntropyLoss())
    assert losses(own) == expected
    assert own.test_accuracy == run(model(), iris).test_accuracy
    soft = nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(1))
    logs = QuantumTrain(soft, circuit=ansatz.ry_cx_chain(4, 1))
    assert losses(run(logs, iris, loss="nll"))[0] < 5
    mean_square = run(model(4, 1), (X, LINE), loss=lambda out, y: (out[:, 0] - y).square().mean())
    assert losses(mean_square) == pytest.approx(losses(run(model(4, 1), (X, LINE), loss="mse")))


def test_metrics_of_ones_own(iris: Dataset) -> None:
    def worst(out: Tensor, y: Tensor) -> Tensor:
        assert len(out) == len(y) == 30
        return out.abs().max()

    for metrics, name in (([worst], "test_worst"), ({"top": worst}, "test_top")):
        assert run(model(), iris, metrics=metrics).epochs[-1][name] > 0


def test_a_run_goes_on_with_the_loss_it_began_with(tmp_path: Path) -> None:
    straight = run(model(4, 1), (X, LINE), config=SHORT)
    run(model(4, 1), (X, LINE), folder=tmp_path)
    again = run(model(4, 1), (X, LINE), folder=tmp_path, resume=True)
    assert losses(again) == losses(straight)
    message = r"^`loss` must be mse as in the checkpoint; got own\. Resume with"

    def own(out: Tensor, y: Tensor) -> Tensor:
        return (out[:, 0] - y).abs().mean()

    with pytest.raises(CheckpointError, match=message):
        run(model(4, 1), (X, LINE), folder=tmp_path, resume=True, loss=own)


# --- does it suit? --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_out", "y", "loss", "message"),
    [
        (
            2,
            X[:, 0].abs() * 0,
            None,
            r"The target gives 2 numbers; the data have 1 a sample\. Noth",
        ),
        (
            2,
            torch.arange(40) % 3,
            None,
            r"The target gives 2 scores; the data have 3 classes\. Noth",
        ),
        (
            1,
            torch.arange(40) % 2,
            None,
            r"gives 1 score; the data have 2 classes\. .* loss 'bce'\.",
        ),
        (3, LINE, "mse", r"The target gives 3 numbers; the data have 1 a sample\. .* 1 output\."),
        (2, torch.arange(40) % 2, "bce", r"The target gives 2 numbers; the data have 1 a sample\."),
    ],
)
def test_a_network_that_does_not_suit_is_told_so_in_words(
    n_out: int, y: Tensor, loss: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        run(model(4, n_out), (X, y), loss=loss, folder=tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        run(nn.Linear(4, n_out), (X, y), loss=loss, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_inputs_that_the_network_does_not_take_are_told_in_words() -> None:
    message = (
        r"^`train` must be inputs that the target takes; got samples of float32 and shape \(5,"
    )
    with pytest.raises(ValueError, match=message):
        run(model(), (torch.zeros(6, 5), [0, 1, 2] * 2))
    with pytest.raises(ValueError, match=r"int64 and shape \(4,\) \(.*\)\. Whole numbers are"):
        run(model(), (torch.zeros(6, 4, dtype=torch.int64), [0, 1, 2] * 2))
    reader = QuantumTrain(nn.Sequential(nn.Embedding(5, 2), nn.Flatten(), nn.Linear(8, 3)), seed=0)
    with pytest.raises(ValueError, match=r"An Embedding takes whole numbers: give the inputs as"):
        run(reader, (torch.zeros(6, 4), [0, 1, 2] * 2))


def test_the_numbers_of_classes_are_no_amounts() -> None:
    """A data set numbers whole labels in sorted order: 10, 20 and 40 are the classes 0, 1, 2."""
    x, y = torch.rand(30, 4, generator=torch.Generator().manual_seed(0)), [10, 20, 40] * 10
    with pytest.raises(ValueError, match=r"gives 1 score; .* 3 outputs, or take the loss 'mse' wh"):
        run(model(4, 1), Dataset.from_arrays(x, y))
    message = r"^`train` must be real numbers for the loss 'mse'; got the classes 10, 20, 40, …"
    with pytest.raises(ValueError, match=message):
        run(model(4, 1), Dataset.from_arrays(x, y), loss="mse")
    amounts = Dataset.from_arrays(x, y, regression=True)
    assert (amounts.n_classes, amounts.y_train.unique().tolist()) == (0, [10, 20, 40])
    run(model(4, 1), amounts)
    other = Dataset.from_arrays(x, y, regression=True, test=(x[:3], [1, 2, 3]))
    assert other.y_test.tolist() == [1, 2, 3]
    with pytest.raises(DataError, match=r"^`y` must be an array of numbers; got "):
        Dataset.from_arrays(x, ["a"] * 30, regression=True)


def test_the_check_leaves_the_model_and_the_random_draws_alone(iris: Dataset) -> None:
    seen: list[int] = []
    net = QuantumTrain(
        nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(5, 3)),
        circuit=ansatz.ry_cx_chain(6, 1),
    )
    net.generator.register_forward_hook(lambda *_: seen.append(1))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    run(net, iris, callbacks=[Stop()])
    assert torch.equal(torch.get_rng_state(), state)
    assert seen == []
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class Stop(Callback):
    def begin(self, model: nn.Module, history: History) -> bool:
        return True


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (
            ("iris",),
            {},
            TypeError,
            r"^`train` must be a Dataset, a pair .* got str\. Load it: qt\.loa",
        ),
        (
            (X,),
            {},
            TypeError,
            r"^`train` must be a Dataset, .*; got Tensor\. Give a pair: \(x, y\)\.",
        ),
        ((Dataset,), {}, TypeError, r"^`train` must be a Dataset, .*; got the class Dataset\."),
        (
            ((X, LINE), SHORT),
            {},
            TypeError,
            r"^`test` .*; got FitConfig\. Pass it by name: config=",
        ),
        (((X, LINE[:3]),), {}, DataError, r"^`train labels` must be 40, one a sample; got 3\."),
        (((X * np.nan, LINE),), {}, DataError, r"^`train inputs` must be finite; got NaN"),
        (
            ((X, torch.full((40,), -1)),),
            {},
            DataError,
            r"`train labels` must be class numbers from",
        ),
        (
            ((X, LINE), (X[:, :2], LINE)),
            {},
            DataError,
            r"^`test` must be inputs of float32 and shap",
        ),
        (
            (TensorDataset(X),),
            {},
            TypeError,
            r"^`train` must be batches of inputs .*; got 1 parts\.",
        ),
        (((X, LINE),), {"loss": "hinge"}, ValueError, r"^`loss` must be one of .*; got 'hinge'\."),
        (((X, LINE),), {"loss": 3}, TypeError, r"^`loss` must be one of .*; got int\."),
        (
            ((X, LINE),),
            {"loss": nn.MSELoss},
            TypeError,
            r"got the class MSELoss\. Build it: MSELos",
        ),
        (
            ((X, LINE),),
            {"loss": "nll"},
            ValueError,
            r"^`loss` must be 'mse', 'bce' or a function; g",
        ),
        (
            ((X, LINE),),
            {"loss": "bce"},
            ValueError,
            r"^`labels` must be 0 or 1 for the loss 'bce';",
        ),
        (
            ((X, LINE),),
            {"metrics": "r2"},
            TypeError,
            r"^`metrics` .*; got 'r2'\. Put it into a list",
        ),
        (
            ((X, LINE),),
            {"metrics": ["f1"]},
            ValueError,
            r"^`metrics` must be a list of .*; got 'f1'",
        ),
        (
            ((X, LINE),),
            {"metrics": [3]},
            TypeError,
            r"^`metrics` must be a list of functions, .*int",
        ),
        (
            ((X, LINE),),
            {"callbacks": print},
            TypeError,
            r"^`callbacks` must be a list of callbacks,",
        ),
        (((X, LINE),), {"callbacks": [3]}, TypeError, r"^`callbacks` must be a list .*; got int\."),
        (
            ((X, LINE),),
            {"callbacks": [EarlyStopping]},
            TypeError,
            r"Build it: EarlyStopping\(…\)\.",
        ),
        (((X, LINE),), {"config": {"lrs": 1}}, TypeError, r"^`config` .*; got one with 'lrs'\."),
        (((X, LINE),), {"config": 3}, TypeError, r"^`config` must be a FitConfig; got int\."),
        (((X, LINE),), {"epochs": 0}, ValueError, r"^`epochs` must be a positive integer; got 0\."),
    ],
)
def test_messages_of_arguments(
    arguments: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fit(model(4, 1), *arguments, **{"progress_bar": False, **options})


def test_messages_of_models_and_test_sets(iris: Dataset) -> None:
    wrong: Any = nn.Linear
    with pytest.raises(
        TypeError, match=r"^`model` .*; got the class Linear\. Build it: Linear\(…\)"
    ):
        fit(wrong, iris)
    with pytest.raises(
        TypeError, match=r"^`test` must be None: a Dataset has its own; got tuple\."
    ):
        fit(model(), iris, (X, LINE))


# --- callbacks ------------------------------------------------------------------------------------


class Noted(Callback):
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def begin(self, model: nn.Module, history: History) -> None:
        self.calls.append(("begin", len(history.epochs)))

    def epoch(self, model: nn.Module, entry: dict[str, float]) -> None:
        self.calls.append(("epoch", entry["epoch"]))

    def end(self, model: nn.Module, history: History) -> None:
        self.calls.append(("end", len(history.epochs)))


def test_callbacks_are_told_of_begin_epochs_and_end(iris: Dataset, tmp_path: Path) -> None:
    noted, told = Noted(), list[Any]()
    run(model(), iris, callbacks=[noted, told.append], folder=tmp_path)
    assert noted.calls == [("begin", 0), ("epoch", 1), ("epoch", 2), ("end", 2)]
    assert [entry["epoch"] for entry in told] == [1, 2]
    noted.calls.clear()
    run(model(), iris, callbacks=[noted], folder=tmp_path, resume=True)
    assert noted.calls == [("begin", 2), ("end", 2)]


def test_the_end_is_told_after_an_error(iris: Dataset) -> None:
    def fail(entry: dict[str, float]) -> None:
        raise KeyboardInterrupt

    noted = Noted()
    with pytest.raises(KeyboardInterrupt):
        run(model(), iris, callbacks=[noted, fail])
    assert noted.calls[-1] == ("end", 1)


def test_early_stopping_also_where_a_run_goes_on(iris: Dataset, tmp_path: Path) -> None:
    config = FitConfig(epochs=6, batch_size=50, lr=1e-6)

    def stop() -> EarlyStopping:
        return EarlyStopping("test_accuracy", patience=2, min_delta=1.0)

    a, b = tmp_path / "a", tmp_path / "b"
    history = run(model(), iris, config=config, callbacks=[stop()], folder=a)
    # The first epoch is the best by definition; nothing is better by 1 than it.
    assert (len(history.epochs), history.stopped_early) == (3, True)
    again = run(
        model(), iris, config=config, callbacks=[stop()], folder=tmp_path / "a", resume=True
    )
    assert again == history

    def interrupt(entry: dict[str, float]) -> None:
        if entry["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(model(), iris, config=config, callbacks=[stop(), interrupt], folder=b)
    resumed = run(
        model(), iris, config=config, callbacks=[stop()], folder=tmp_path / "b", resume=True
    )
    assert losses(resumed) == losses(history)
    with pytest.raises(ValueError, match=r"^`monitor` must be one of epoch, .*; got 'test_lost'\."):
        run(model(), iris, callbacks=[EarlyStopping("test_lost")])
    with pytest.raises(ValueError, match=r"^`mode` must be 'min' or 'max'; got 'low'\."):
        EarlyStopping(mode="low")  # type: ignore[arg-type]


def test_the_best_model_is_kept(iris: Dataset, tmp_path: Path) -> None:
    config = FitConfig(epochs=5, batch_size=30, lr=0.5, schedule="constant")
    path = tmp_path / "best"
    history = run(model(), iris, config=config, callbacks=[BestCheckpoint(path)])
    best = min(entry["test_loss"] for entry in history.epochs)
    loaded = QuantumTrain.load(path, nn.Linear(4, 3))
    assert evaluate(loaded, iris.x_test, iris.y_test)[0] == pytest.approx(best)
    plain = nn.Linear(4, 3)
    history = run(plain, iris, config=config, callbacks=[BestCheckpoint(path, "test_accuracy")])
    plain.load_state_dict(load_file(path))
    best = max(entry["test_accuracy"] for entry in history.epochs)
    assert evaluate(plain, iris.x_test, iris.y_test)[1] == best


def test_the_history_in_files(iris: Dataset, tmp_path: Path) -> None:
    def logs() -> list[Callback]:
        return [CSVLog(tmp_path / "logs" / "own.csv"), JSONLinesLog(tmp_path / "own.jsonl")]

    config = FitConfig(epochs=3, batch_size=50)

    def interrupt(entry: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(model(), iris, config=config, callbacks=[*logs(), interrupt], folder=tmp_path / "run")
    history = run(
        model(), iris, config=config, callbacks=logs(), folder=tmp_path / "run", resume=True
    )
    lines = (tmp_path / "own.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == history.epochs
    with (tmp_path / "logs" / "own.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["test_loss"]) for row in rows] == [e["test_loss"] for e in history.epochs]


def test_packages_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(
        MissingExtra, match=r"^WandB\(…\) needs the package `wandb`: pip install wa"
    ):
        WandB()
    with pytest.raises(
        MissingExtra, match=r"^TensorBoard\(…\) needs the package `tensorboard`: pip"
    ):
        TensorBoard("runs")


def test_figures_reach_other_services(iris: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each service's package is replaced by one that takes notes."""
    noted: list[Any] = []

    class Run:
        def log(self, entry: dict[str, float], step: int) -> None:
            noted.append(("wandb", step, entry["test_loss"]))

        def finish(self) -> None:
            noted.append("finished")

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            noted.append(folder)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            if name == "test_loss":
                noted.append(("tensorboard", step, value))

        def close(self) -> None:
            noted.append("closed")

    wandb: Any = types.ModuleType("wandb")
    wandb.init = lambda **options: noted.append(options) or Run()
    board: Any = types.ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    callbacks = [WandB(project="own"), TensorBoard("logs")]
    first, second = (e["test_loss"] for e in run(model(), iris, callbacks=callbacks).epochs)
    assert noted == [
        {"project": "own"},
        ("wandb", 1, first),
        "logs",
        ("tensorboard", 1, first),
        ("wandb", 2, second),
        ("tensorboard", 2, second),
        "finished",
        "closed",
    ]


def test_the_callbacks_are_public() -> None:
    for name in ("Callback", "EarlyStopping", "BestCheckpoint", "CSVLog", "JSONLinesLog"):
        assert getattr(qt, name).__name__ == name
