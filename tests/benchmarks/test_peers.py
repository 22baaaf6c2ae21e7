"""The comparison with other libraries: equal results first, rows that say why, nothing twice."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tolerances

from benchmarks.peers import __main__ as command
from benchmarks.peers import children, environments
from benchmarks.peers.cases import FOLDER, Case, Peer, pairings
from benchmarks.peers.environments import PeerError, environment

FAKE = Path(__file__).parent / "peer.py"
SCRIPTS = FOLDER / "scripts"
SMALL = Case("ring", 3, 1)


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the scripts be imported here."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.syspath_prepend(str(FAKE.parent))
    yield
    for name in ("_serve", "_torch", "peer", "on_qtn_train"):
        sys.modules.pop(name, None)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put NumPy in place of both sides, and this Python in place of an environment's."""
    start = f"import sys, runpy; sys.path.insert(0, {str(SCRIPTS)!r}); "
    start += f"runpy.run_path({str(FAKE)!r}, run_name='__main__')"

    def child(python: Path, script: list[str], **limits: Any) -> children.Child:
        return children.Child(Path(sys.executable), ["-c", start, *script[1:]], **limits)

    monkeypatch.setattr(command, "Child", child)
    monkeypatch.setattr(command, "own", lambda script, **limits: child(script, [""], **limits))
    monkeypatch.setattr(command, "environment", lambda name, cache: Path(sys.executable))


def asked(tmp_path: Path, **changes: Any) -> argparse.Namespace:
    defaults = {"out": tmp_path / "peers.json", "only": [], "quick": True, "again": False}
    limits = {"threads": 1, "rounds": 1, "seconds": 60.0, "gigabytes": 4.0}
    return argparse.Namespace(cache=tmp_path, **(defaults | limits | changes))


def row_of(tmp_path: Path, fault: str = "", **changes: Any) -> dict[str, Any]:
    peer = Peer("fake", "fake", FAKE, (fault,) if fault else ())
    return command.measure(SMALL, peer, asked(tmp_path, **changes))


def test_equal_results_are_timed_in_turn(tmp_path: Path, fakes: None) -> None:
    row = row_of(tmp_path)
    assert "why" not in row
    assert (row["shape"], row["n_qubits"], row["peer"]) == ("ring", 3, "fake")
    assert row["difference"] == row["gradient_difference"] == 0
    assert row["versions"] == f"numpy {np.__version__}"
    assert row["ratio"] == pytest.approx(row["total_s"] / row["own_total_s"], abs=tolerances.RATIO)
    assert row["forward_s"] < row["total_s"]
    assert 5 < row["mb"] < 4096


def test_without_a_backward_pass_the_forward_pass_stands_against_both(
    tmp_path: Path, fakes: None
) -> None:
    row = row_of(tmp_path, "forward")
    assert "total_s" not in row
    assert "gradient_difference" not in row
    assert row["ratio"] == pytest.approx(
        row["forward_s"] / row["own_total_s"], abs=tolerances.RATIO
    )


@pytest.mark.parametrize(
    ("fault", "changes", "why"),
    [
        ("differs", {}, "another forward result: "),
        ("raises", {}, "ValueError: no such circuit here"),
        ("dies", {}, "ended with 3: Error: out of luck"),
        ("sleeps", {"seconds": 0.8}, "a pass takes more than 0.8 s"),
        pytest.param(
            "grows",
            {"gigabytes": 0.2},
            "takes more than 0.2 GB of memory",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="read from /proc"),
        ),
    ],
)
def test_what_a_peer_cannot_do_is_a_row_that_says_so(
    tmp_path: Path, fakes: None, fault: str, changes: dict[str, Any], why: str
) -> None:
    row = row_of(tmp_path, fault, **changes)
    assert row["why"].startswith(why)
    assert "ratio" not in row


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []

    def run(line: list[str], **kwargs: Any) -> subprocess.CompletedProcess[str]:
        called.append(line[1:])
        if "venv" in line:
            Path(line[-1]).mkdir(parents=True)
        return subprocess.CompletedProcess(line, 0)

    monkeypatch.setattr(environments.subprocess, "run", run)
    wanted = tmp_path / "requirements"
    wanted.mkdir()
    (wanted / "one.txt").write_text("numpy\n")
    (wanted / "one-alone.txt").write_text("scipy\n")
    cache = tmp_path / "cache"
    python = environment("one", cache, wanted)
    assert python == cache / "one" / "bin" / "python"
    pip = ["-m", "pip", "install", "--no-compile"]
    assert called == [
        ["-m", "venv", str(cache / "one")],
        [*pip, "-r", str(wanted / "one.txt")],
        [*pip, "--no-deps", "-r", str(wanted / "one-alone.txt")],
    ]
    assert environment("one", cache, wanted) == python
    assert len(called) == 3
    (wanted / "one.txt").write_text("numpy<2\n")
    environment("one", cache, wanted)
    assert len(called) == 6


def test_an_environment_that_cannot_be_made_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(line: list[str], stdout: Any, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        Path(line[-1]).mkdir(parents=True, exist_ok=True) if "venv" in line else None
        stdout.write("Looking…\nERROR: No matching distribution found for nothing\nbye\n")
        return subprocess.CompletedProcess(line, int("pip" in line))

    monkeypatch.setattr(environments.subprocess, "run", run)
    (tmp_path / "one.txt").write_text("nothing\n")
    for _ in range(2):  # it is tried again
        with pytest.raises(PeerError, match="not installed: ERROR: No matching distribution"):
            environment("one", tmp_path / "cache", tmp_path)


def test_a_row_that_is_there_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, str]] = []

    def measure(case: Case, peer: Peer, options: Any) -> dict[str, Any]:
        made.append((case.name, peer.name))
        failed = {"why": "not installed: no network"} if "backprop" in peer.name else {}
        return command.facts(case, peer) | failed

    monkeypatch.setattr(command, "measure", measure)
    everything = [(case.name, peer.name) for case, peer in pairings(quick=True)]
    command.run(asked(tmp_path, only=["ring", "TorchQuantum"]))
    assert made == [everything[0]]
    command.run(asked(tmp_path))
    assert sorted(made) == sorted(everything)
    stored = json.loads((tmp_path / "peers.json").read_text())
    assert [(f"{r['shape']}-{r['n_qubits']}", r["peer"]) for r in stored["rows"]] == everything
    made.clear()
    command.run(asked(tmp_path))
    assert [peer for _, peer in made] == ["PennyLane, backprop"] * 2
    made.clear()
    command.run(asked(tmp_path, again=True))
    assert made == everything
    stored["machine"]["cpu"] = "another"
    (tmp_path / "peers.json").write_text(json.dumps(stored))
    with pytest.raises(SystemExit, match="measured on another machine"):
        command.run(asked(tmp_path))


def test_words_choose_cases_and_peers() -> None:
    def names(*words: str) -> list[tuple[str, str]]:
        return [(case.name, peer.name) for case, peer in command.chosen(words, quick=False)]

    assert names("ring-13", "adjoint") == [("ring-13", "PennyLane, lightning adjoint")]
    assert {case for case, _ in names("quimb")} == {"chain-20", "chain-100", "6x6-36", "chain-68"}
    assert len(names("pennylane")) == 2 * 5
    assert len(names("ring")) == 4 * 4


def test_our_side_is_the_oracle(tmp_path: Path, scripts: None) -> None:
    ours, serve = importlib.import_module("on_qtn_train"), importlib.import_module("_serve")
    oracle: ModuleType = importlib.import_module("peer")
    for case in {case: None for case, _ in pairings(quick=True)}:
        sent = serve._case(case.sent(tmp_path))._replace(max_bond=None)
        passes, angles = ours.make(sent), sent.angles.astype(float)
        assert command.apart(passes.forward(), oracle.values(sent, angles)) < 1e-4, case
        way = np.cos(np.arange(len(angles)))
        ahead, back = (oracle.values(sent, angles + step * way) for step in (1e-5, -1e-5))
        expected = (ahead - back) @ sent.cotangent / 2e-5
        assert passes.total() @ way == pytest.approx(expected, **tolerances.SLOPE_IN_SINGLE), case


def test_the_stored_table_is_the_commands() -> None:
    stored = json.loads(command.OUT.read_text())
    order = [command.key(command.facts(case, peer)) for case, peer in pairings()]
    keys = [command.key(row) for row in stored["rows"]]
    assert keys == [one for one in order if one in keys]
    assert stored["columns"].items() <= command.COLUMNS.items()
    assert stored["notes"] == command.NOTES
