"""Several processes that train one model: the numbers of one process, and one line at the end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import together
import tolerances
import torch
from forked import Server

from qtn_train.data import Dataset
from qtn_train.engines import SampledEngine
from qtn_train.errors import ProcessLost, UnsupportedByEngine
from qtn_train.training import _loop, read_checkpoint
from qtn_train.training._distributed import Processes, first_to_fail, joined, take_device

SIZES = (2, 3)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """The same training in this process."""
    return together.train(256)


@pytest.fixture(scope="module", params=SIZES, ids=[f"{n} processes" for n in SIZES])
def kept(
    request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What each of several processes got."""
    folder = tmp_path_factory.mktemp("group")
    rng = torch.Generator().manual_seed(0)
    cotangents = torch.randn(request.param, 131, generator=rng, dtype=torch.float64)
    torch.save(cotangents, folder / "cotangents.pt")
    for status, out, err in server.group(folder, "together:run_all", folder, size=request.param):
        assert (status, out, err) == (0, "", "")
    found = [torch.load(folder / f"kept{rank}.pt") for rank in range(request.param)]
    return [one | {"cotangents": cotangents, "folder": folder} for one in found]


# --- shares ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [1, 2, 3, 10, 128])
def test_shares_are_a_partition(size: int, n: int) -> None:
    shares = [Processes(rank, size).share(n) for rank in range(size)]
    taken = [index for own, weight in shares if weight for index in range(n)[own]]
    assert taken == list(range(n))
    assert sum(weight for _, weight in shares) == pytest.approx(1)
    for own, weight in shares:
        assert len(range(n)[own]) == max(1, round(weight * n))


def test_one_process_alone_is_the_default() -> None:
    alone = Processes.current()
    assert (alone.rank, alone.size, alone.first) == (0, 1, True)
    assert alone.total([1.5, 2], torch.device("cpu")) == [1.5, 2]
    assert alone.from_first(lambda: 7) == 7
    with joined() as processes:
        assert processes == alone
    assert first_to_fail()


# --- the same numbers -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("chunks", [256, 16], ids=["whole", "shared"])
def test_the_same_losses_as_one_process(
    kept: list[dict[str, Any]], alone: dict[str, Any], chunks: int
) -> None:
    assert len(alone["losses"]) == 56
    for one in kept:
        got = one[f"train {chunks}"]
        for name in ("losses", "epochs", "ends"):
            assert (got[name] - alone[name]).abs().max() < tolerances.PROCESSES
        assert torch.equal(got["losses"][:, 1], alone["losses"][:, 1])
        for name in ("losses", "epochs", "ends"):
            assert torch.equal(got[name], kept[0][f"train {chunks}"][name])


@pytest.mark.slow
@pytest.mark.parametrize("chunk_size", [16, 32])
def test_shared_weights_and_their_gradients(kept: list[dict[str, Any]], chunk_size: int) -> None:
    generator: Any = together.model(256).generator
    weights = generator()
    weights.backward(kept[0]["cotangents"].sum(0))
    grads = torch.cat([p.grad.flatten() for p in generator.parameters()])
    for one in kept:
        got = one[f"shared {chunk_size}"]
        torch.testing.assert_close(got["weights"], weights.detach(), atol=tolerances.DOUBLE, rtol=0)
        torch.testing.assert_close(
            got["grads"], grads, atol=tolerances.DOUBLE_GRADIENT, rtol=tolerances.DOUBLE_GRADIENT
        )


@pytest.mark.slow
def test_all_end_with_the_same_parameters_and_buffers(kept: list[dict[str, Any]]) -> None:
    for one in kept:
        for name, value in kept[0]["plain"].items():
            assert torch.equal(one["plain"][name], value)


@pytest.mark.slow
def test_one_checkpoint_for_all(kept: list[dict[str, Any]]) -> None:
    folder: Path = kept[0]["folder"]
    _, info = read_checkpoint(folder / "run16")
    assert info["progress"]["epoch"] == together.CONFIG.epochs
    assert [path.name for path in (folder / "run16").iterdir()] == ["checkpoint.safetensors"]


# --- the command line -----------------------------------------------------------------------------

LONG = ("train", "iris", "--epochs", "6", "--batch-size", "50", "--lr", "0.01")


def only_line(ended: list[tuple[int, str, str]]) -> str:
    """The one line of the package that all processes together have printed, without the bar."""
    lines = [line for _, _, err in ended for line in re.split(r"[\r\n]", err)]
    (found,) = [line for line in lines if line.startswith("qtn-train")]
    assert not any("Traceback" in line for line in lines)
    return found


def numbers(run: Path) -> list[list[float]]:
    epochs = json.loads((run / "run.json").read_text())["epochs"]
    return [
        [entry[name] for name in ("train_loss", "test_loss", "test_accuracy")] for entry in epochs
    ]


@pytest.mark.slow
def test_interrupted_and_resumed(server: Server, tmp_path: Path) -> None:
    cut, straight = tmp_path / "cut", tmp_path / "straight"
    ended = server.group(tmp_path, *LONG, "--out", cut, at=(1, "step", 8, signal.SIGINT))
    assert {status for status, _, _ in ended} <= {1, -signal.SIGTERM}
    expected = (
        f"Interrupted. Nothing is lost. Go on with: qtn-train train iris --out {cut} --resume"
    )
    assert only_line(ended) == f"qtn-train: {expected}"
    assert read_checkpoint(cut)[1]["progress"]["step"] == 2
    for argv in ((*LONG, "--out", straight), ("train", "iris", "--out", cut, "--resume", "--json")):
        first, second = server.group(tmp_path, *argv)
        assert (first[0], second[0]) == (0, 0)
        assert second[1:] == ("", "")
    assert json.loads(first[1])["processes"] == 2
    assert numbers(cut) == numbers(straight)
    status, _, _ = server.run(tmp_path, *LONG, "--out", tmp_path / "alone")
    assert status == 0
    for one, two in zip(numbers(tmp_path / "alone"), numbers(straight), strict=True):
        assert one == pytest.approx(two, abs=tolerances.TEST_LOSS)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_ends_the_others(
    server: Server, tmp_path: Path, rank: int
) -> None:
    out = tmp_path / "run"
    ended = server.group(tmp_path, *LONG, "--out", out, at=(rank, "step", 5, signal.SIGKILL))
    assert ended[rank][0] == -signal.SIGKILL
    assert ended[1 - rank][0] == 1
    assert re.fullmatch(
        r"qtn-train( \(process 1\))?: `processes` must be all alive until the end; got one that "
        r"ended\. See what it said; then resume the run\.",
        only_line(ended),
    )
    assert read_checkpoint(out)[1]["progress"]["step"] == 0


def test_a_wrong_option_is_told_once(server: Server, tmp_path: Path) -> None:
    ended = server.group(tmp_path, "train", "iris", "--layers", "0", "--out", tmp_path / "run")
    assert only_line(ended) == "qtn-train: `--layers` must be an integer from 1 to 100,000; got 0."
    assert ended[0][0] == 2
    assert not (tmp_path / "run").exists()


def test_devices_are_left_to_one_process(server: Server, tmp_path: Path) -> None:
    argv = ("train", "iris", "--engine", "braket", "--device", "local:sv", "--shots", "100")
    ended = server.group(tmp_path, *argv, "--out", tmp_path / "run")
    expected = "`--engine` must be a simulator with torchrun; got braket. Start it without torchrun"
    assert only_line(ended).startswith(f"qtn-train: {expected}")


@pytest.mark.slow
def test_torchrun_itself(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    argv = ["train", "iris", "--epochs", "1", "--out", str(tmp_path / "run"), "--json"]
    done = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", "-m", "qtn_train.cli", *argv],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert json.loads(done.stdout)["processes"] == 2


def test_processes_that_do_not_find_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError("connection refused\nat some line")

    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setattr(torch.distributed, "init_process_group", fail)
    expected = "must be able to reach each other; got connection refused. Check the network between"
    with pytest.raises(ProcessLost, match=expected), joined():
        pass


# --- errors ---------------------------------------------------------------------------------------


def test_a_gpu_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    two = Processes(1, 2)
    for processes, device in ((Processes(), "cuda:1"), (two, "cpu"), (two, "cuda")):
        take_device(processes, device)
    assert taken == [1]
    expected = "`torch_device` must be cpu or cuda with torchrun; got cuda:1. Each process takes"
    with pytest.raises(ValueError, match=expected):
        take_device(two, "cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    expected = "must be cpu, or cuda with 2 GPUs for 2 processes; got cuda with 1."
    with pytest.raises(ValueError, match=expected):
        take_device(two, "cuda")


def test_what_costs_money_is_paid_once(iris: Dataset, make: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(Processes, "current", classmethod(lambda cls: cls(0, 2)))
    trained = make("linear")
    trained.generator.engine = SampledEngine(trained.generator.engine, 10)
    monkeypatch.setattr(SampledEngine, "billed", True)
    expected = "`processes` must be 1 where executions cost money; got 2. Start it without torchrun"
    with pytest.raises(UnsupportedByEngine, match=expected):
        _loop.fit(trained, iris)
