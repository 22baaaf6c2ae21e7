"""Measure every exact engine on circuits of many shapes: what ``engine="auto"`` is held against.

    python -m benchmarks.engines            # ten minutes; writes docs/results/engines.json
    python -m benchmarks.engines --limit 2  # seconds of processor time an engine may take at a case

Each case runs in a process of its own on one thread, the engines in turns, round after round; times
are minima of processor time, so that other programs on the machine disturb them little. The search
for a contraction's tree is left out of its time: it is done once. Memory is the growth of that
process. What stands in the file already is not measured again; Ctrl-C loses one case at most.
"""

import argparse
import ctypes
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from qtn_train.circuits import Circuit
from qtn_train.engines import ContractionEngine, Engine, MPSEngine, StatevectorEngine, choose_engine
from qtn_train.errors import QtnTrainError
from qtn_train.measurements import Expectation, Measurement, PauliCorrelators, Probabilities

from .circuits import circuit_of

OUT = Path(__file__).parents[1] / "docs" / "results" / "engines.json"
ENGINES = ("statevector", "mps", "contraction")
LIMIT, ROUNDS = 1.5, 2
#: Seconds over which a time is taken: the clock of processor time may be coarse.
SHORTEST = 0.06
#: Seconds that the search for a tree may take.
SEARCH = 12
#: Qubits of the largest state vector that is tried: with more, a pass takes longer than the limit.
MOST_DENSE = 22
#: Bytes that a process may take.
MEMORY = 8 * 2**30


@dataclass(frozen=True)
class Case:
    """A circuit, and what is read of its state.

    Attributes:
        shape: ``chain``, ``ring``, ``cz-chain``, ``RxC`` for a grid, or ``heavy-hex``.
        n_qubits: Number of qubits.
        n_layers: Number of layers.
        request: ``all`` or a number of probabilities, ``z`` for ⟨Z⟩ of the middle qubit, ``bonds``
            for ⟨ZZ⟩ on all pairs that gates join, ``pairs`` for all two-body correlators.
        gradient: Whether the backward pass is run, too.
    """

    shape: str
    n_qubits: int
    n_layers: int
    request: str
    gradient: bool = True

    def circuit(self) -> Circuit:
        """Return the circuit."""
        return circuit_of(self.shape, self.n_qubits, self.n_layers)

    def reads(self) -> tuple[Measurement, int]:
        """Return the measurement, and how many of its values are read."""
        if self.request == "z":
            return Expectation(f"Z{self.n_qubits // 2}"), 1
        if self.request == "bonds":
            gates = self.circuit().gates
            pairs = dict.fromkeys(tuple(sorted(g.qubits)) for g in gates if len(g.qubits) == 2)
            return Expectation({pair: "ZZ" for pair in pairs}), 1
        if self.request == "pairs":
            reads = PauliCorrelators(2)
            return reads, reads.n_values(self.n_qubits)
        return Probabilities(), 2**self.n_qubits if self.request == "all" else int(self.request)


def cases() -> Iterator[Case]:
    """Yield all cases."""
    for n_qubits, n_layers in ((6, 4), (10, 8), (13, 16), (16, 4), (18, 2)):
        for shape in ("chain", "ring"):
            yield Case(shape, n_qubits, n_layers, "all")
    for shape, n_qubits in (("2x3", 6), ("3x4", 12), ("4x4", 16)):
        for n_layers in (2, 8):
            yield Case(shape, n_qubits, n_layers, "all")
    for shape, n_qubits, n_layers in (
        ("chain", 8, 3), ("ring", 12, 4), ("3x4", 12, 4), ("cz-chain", 14, 6),
    ):  # fmt: skip
        yield Case(shape, n_qubits, n_layers, "all")
    for n_layers in (2, 6):
        for shape in ("chain", "ring", "cz-chain"):
            yield Case(shape, 20, n_layers, "1000")
    for shape, n_qubits, n_layers in (
        ("chain", 24, 3), ("ring", 24, 3), ("ring", 40, 2), ("cz-chain", 40, 2),
        ("chain", 40, 5), ("cz-chain", 40, 5), ("4x5", 20, 2), ("4x5", 20, 4), ("5x5", 25, 4),
        ("6x6", 36, 4), ("7x7", 49, 2), ("7x7", 49, 4),
    ):  # fmt: skip
        yield Case(shape, n_qubits, n_layers, "1000")
    for shape, n_qubits, n_layers in (
        ("chain", 10, 4), ("ring", 10, 4), ("chain", 20, 3), ("ring", 20, 3), ("chain", 60, 3),
        ("ring", 60, 3), ("cz-chain", 100, 6), ("3x4", 12, 3), ("4x5", 20, 5), ("5x5", 25, 3),
        ("5x5", 25, 5), ("7x7", 49, 3), ("7x7", 49, 5), ("heavy-hex", 127, 4), ("6x6", 36, 3),
        ("cz-chain", 60, 4), ("heavy-hex", 127, 2), ("4x5", 20, 3),
    ):  # fmt: skip
        yield Case(shape, n_qubits, n_layers, "z")
    for shape, n_qubits, n_layers in (
        ("chain", 12, 4), ("cz-chain", 30, 4), ("cz-chain", 100, 8), ("ring", 14, 3),
        ("3x4", 12, 6), ("4x5", 20, 4), ("7x7", 49, 3), ("heavy-hex", 127, 3),
    ):  # fmt: skip
        yield Case(shape, n_qubits, n_layers, "bonds")
    for shape, n_qubits, n_layers in (
        ("chain", 12, 3), ("chain", 30, 3), ("cz-chain", 68, 4), ("3x4", 12, 4),
    ):  # fmt: skip
        yield Case(shape, n_qubits, n_layers, "pairs")
    for shape, n_qubits, n_layers, request in (
        ("chain", 13, 8, "all"), ("ring", 13, 8, "all"), ("4x4", 16, 6, "all"),
        ("chain", 30, 4, "1000"), ("5x5", 25, 4, "z"), ("chain", 60, 5, "bonds"),
    ):  # fmt: skip
        yield Case(shape, n_qubits, n_layers, request, gradient=False)


def make(name: str) -> Engine:
    """Return an engine that cuts nothing."""
    return {"statevector": StatevectorEngine, "mps": MPSEngine, "contraction": ContractionEngine}[
        name
    ]()


def work(case: Case, name: str) -> Callable[[], float]:
    """Return one pass of an engine over a case: it returns the sum of the values."""
    circuit, engine = case.circuit(), make(name)
    reads, n_values = case.reads()
    generator = torch.Generator().manual_seed(0)
    angles = (torch.rand(circuit.n_angles, generator=generator) * 2 - 1) * torch.pi
    cotangent = torch.rand(n_values, generator=generator)

    def once() -> float:
        free = angles.clone().requires_grad_(case.gradient)
        values = reads.values(engine.prepare(circuit, free, reads), 0, n_values)
        total = values @ cotangent.to(values)
        if case.gradient:
            total.backward()
        return float(total.detach())

    return once


def warm_up(name: str) -> None:
    """Load and compile what an engine loads and compiles when it is first used."""
    for request in ("all", "z"):
        work(Case("chain", 6, 2, request), name)()


def in_child(call: Callable[[], Iterator[dict[str, Any]]], seconds: float) -> list[dict[str, Any]]:
    """Return what a call yields in a forked process, up to where it fails or takes too long."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(reader)
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
            for one in call():
                os.write(writer, json.dumps(one).encode() + b"\n")
        except BaseException as error:  # the parent goes on with what came before
            print(f"    {type(error).__name__}: {str(error)[:90]}", file=sys.stderr)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        lines = pipe.read().splitlines()
    os.waitpid(pid, 0)
    return [json.loads(line) for line in lines]


def seconds_of(once: Callable[[], float], repeats: int = 1) -> float:
    """Return the mean processor time of some calls."""
    began = time.process_time()
    for _ in range(repeats):
        once()
    return (time.process_time() - began) / repeats


def peak(once: Callable[[], float]) -> float:
    """Return the megabytes by which a call makes this process grow (Linux)."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    once()
    return status("VmHWM") - before


def status(name: str) -> float:
    """Return a figure of this process's memory in megabytes."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{name}:")[1].split()[0]) / 2**10


def passes(case: Case, names: Sequence[str], limit: float) -> Iterator[dict[str, Any]]:
    """Yield for each engine its memory, its value and its time; then shorter times, in turns."""
    able: dict[str, Callable[[], float]] = {}
    best: dict[str, float] = {}
    repeats: dict[str, int] = {}
    for name in names:
        yield {"tried": name}
        if name == "statevector" and case.n_qubits > MOST_DENSE:
            continue
        try:
            once = work(case, name)
            first = seconds_of(once)
            if name != "contraction" and first > 2 * limit:
                continue
            seconds = seconds_of(once)
            if seconds > limit:
                continue
            repeats[name] = 1 + int(SHORTEST / max(seconds, 1e-3))
            seconds = seconds_of(once, repeats[name])
            row = {"name": name, "mb": peak(once), "total": once(), "seconds": seconds}
        except (QtnTrainError, MemoryError, RuntimeError) as error:
            print(f"    {name}: {str(error)[:90]}", file=sys.stderr)
            continue
        yield row | {"search_s": max(0.0, first - seconds)}
        able[name], best[name] = once, seconds
    for _ in range(ROUNDS):
        for name, once in able.items():
            best[name] = min(best[name], seconds_of(once, repeats[name]))
        yield {"best": best}


def measure(case: Case, limit: float) -> dict[str, Any]:
    """Return a row: seconds and megabytes of each engine; None where it cannot, or takes longer."""
    row: dict[str, Any] = asdict(case)
    able: dict[str, dict[str, Any]] = {}
    best: dict[str, float] = {}
    left = list(ENGINES)
    while left:  # an engine that ends the process is the last one tried
        found = in_child(lambda: passes(case, left, limit), SEARCH + 12 * limit)  # noqa: B023
        able |= {one["name"]: one for one in found if "name" in one}
        for one in found:
            best |= one.get("best", {})
        tried = [one["tried"] for one in found if "tried" in one]
        left = left[len(tried) :] if tried else []
    totals = [one["total"] for one in able.values()]
    size = max(map(abs, totals), default=0.0)
    assert all(abs(total - totals[0]) <= 1e-3 * size + 1e-5 for total in totals), totals
    for name in ENGINES:
        seconds = best.get(name, able[name]["seconds"]) if name in able else None
        row[f"{name}_s"] = None if seconds is None else round(seconds, 6)
        row[f"{name}_mb"] = round(able[name]["mb"], 1) if name in able else None
    row["search_s"] = round(able["contraction"]["search_s"], 3) if "contraction" in able else None
    return row


def chosen(case: Case) -> str:
    """Return the engine that ``engine="auto"`` takes."""
    reads, n_values = case.reads()
    engine, _ = choose_engine(case.circuit(), n_values, reads, gradient=case.gradient)
    return engine.kind


def store(rows: list[dict[str, Any]], path: Path, seconds: float) -> None:
    """Write the rows, and how often the choice is within a factor of two of the best."""
    ratios = [ratio(row) for row in rows]
    good = sum(one <= 2 for one in ratios)
    result = {
        "title": "Three exact engines",
        "notes": "Forward and, where a gradient is asked for, backward pass on one thread, in "
        "complex64 and processor time; the search for a contraction's tree is left out. A dash: "
        "the engine cannot, or takes longer than the limit. engine='auto' takes an engine within "
        f"a factor of two of the fastest in {good} of {len(rows)} cases.",
        "command": "python -m benchmarks.engines",
        "seconds": round(seconds, 1),
        "columns": {
            "shape": "shape",
            "n_qubits": "qubits",
            "n_layers": "layers",
            "request": "read",
            "gradient": "gradient",
            **{f"{name}_s": f"{name} (s)" for name in ENGINES},
            **{f"{name}_mb": f"{name} (MB)" for name in ENGINES},
            "search_s": "search (s)",
            "chosen": "auto",
        },
        "rows": rows,
    }
    path.write_text(json.dumps(result, indent=1) + "\n")


def ratio(row: dict[str, Any]) -> float:
    """Return the time of the engine that was chosen over that of the fastest one."""
    known = [row[f"{name}_s"] for name in ENGINES if row[f"{name}_s"] is not None]
    own = row[f"{row['chosen']}_s"]
    return own / min(known) if own is not None else float("inf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds of a pass")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--choose", action="store_true", help="choose again, measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    before = json.loads(options.out.read_text()) if options.out.exists() else {}
    done = {Case(*(row[n] for n in Case.__match_args__)): row for row in before.get("rows", [])}
    seconds, rows = before.get("seconds") or 0.0, []
    for name in ENGINES:
        warm_up(name)
    for case in cases():
        began = time.monotonic()
        if case in done:
            row = done[case]
        elif options.choose:
            continue
        else:
            row = measure(case, options.limit)
        if options.choose or "chosen" not in row:
            row["chosen"] = chosen(case)
        rows.append(row)
        if case not in done:
            seconds += time.monotonic() - began
            print(json.dumps(row), flush=True)
            store(rows + [r for c, r in done.items() if r not in rows], options.out, seconds)
    store(rows, options.out, seconds)
    bad = [row for row in rows if ratio(row) > 2]
    print(f"within a factor of two in {len(rows) - len(bad)} of {len(rows)} cases")
    for row in bad:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
