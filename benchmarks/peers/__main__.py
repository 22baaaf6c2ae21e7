"""Run the same circuits in other libraries and in this package, in turn, and write the table.

    python -m benchmarks.peers                       # all; writes docs/results/peers.json
    python -m benchmarks.peers --only ring-13 quimb  # cases and peers whose names hold these
    python -m benchmarks.peers --quick               # small circuits: does everything run?

Each peer has an environment of its own, made once under ``--cache``, and runs as a process beside
one of this package. Values and gradients are compared first; then both take turns, and times are
minima: processor time on one thread, with ``--threads 2`` the time that passes. A row that is there
is not measured again without ``--again``, but a peer that could not be installed is tried again;
Ctrl-C loses one row at most.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pooch

from .cases import FOLDER, Case, Peer, pairings
from .children import Child, own
from .environments import PeerError, environment

Row = dict[str, Any]

OUT = Path(__file__).parents[2] / "docs" / "results" / "peers.json"
OWN = FOLDER / "scripts" / "on_qtn_train.py"
#: Rounds at most, and seconds after which none begins.
ROUNDS, SECONDS = 40, 30.0
#: What names a row.
KEY = ("shape", "n_qubits", "n_layers", "request", "max_bond", "peer")


def key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def facts(case: Case, peer: Peer) -> Row:
    """Return what names a row."""
    return {name: getattr(case, name) for name in KEY[:-1]} | {"peer": peer.name}


def measure(case: Case, peer: Peer, options: argparse.Namespace) -> Row:
    """Return a row: figures, or why there are none."""
    row = facts(case, peer) | {"load": round(os.getloadavg()[0], 1)}
    limits = {name: getattr(options, name) for name in ("threads", "seconds", "gigabytes")}
    try:
        python = environment(peer.environment, options.cache)
        other = Child(python, [str(peer.script), *peer.arguments], **limits)
        with other, own(OWN, **limits) as ours, tempfile.TemporaryDirectory() as folder:
            return row | compare(case, other, ours, Path(folder), options.rounds)
    except PeerError as error:
        return row | {"why": str(error)}


def compare(case: Case, other: Child, ours: Child, folder: Path, rounds: int) -> Row:
    """Return the figures of two processes: equal results first, then times in turn."""
    sides = {"": other, "own_": ours}
    sent = case.sent(folder)
    told = {side: child.ask(case=sent) for side, child in sides.items()}
    versions = ", ".join(f"{name} {version}" for name, version in told[""]["versions"].items())
    row: Row = {"versions": versions, "precision": told[""]["precision"]}
    for do in ("forward", "total"):
        files = {side: folder / f"{side}{do}.npy" for side in sides}
        if other.ask(do=do, to=str(files[""]))["seconds"] is None:
            continue
        ours.ask(do=do, to=str(files["own_"]))
        found = apart(*(np.load(path) for path in files.values()))
        row["difference" if do == "forward" else "gradient_difference"] = found
        if not found <= case.tolerance * (1 if do == "forward" else 10):
            raise PeerError(f"another {do} result: {found:.2g} of the largest value apart")
    for side, child in sides.items():
        row[f"{side}mb"] = round(child.ask(do="memory")["mb"], 1)
    return row | timed(sides, rounds)


def apart(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> float:
    """Return the largest difference of two results over the largest of their values."""
    if one.shape != two.shape:
        return float("inf")
    return float(f"{np.abs(one - two).max() / np.abs(two).max():.2g}")


def timed(sides: dict[str, Child], rounds: int) -> Row:
    """Return the shortest times of rounds in which the processes take turns."""
    best: dict[str, float] = {}
    began, done = time.monotonic(), 0
    while done < rounds and (not done or time.monotonic() - began < SECONDS):
        for do in ("forward", "total"):
            for side, child in sides.items():
                seconds, name = child.ask(do=do)["seconds"], f"{side}{do}_s"
                if seconds is not None:
                    best[name] = min(best.get(name, float("inf")), seconds)
        done += 1
    theirs = best.get("total_s", best["forward_s"])
    row: Row = {name: float(f"{value:.4g}") for name, value in best.items()}
    return row | {"ratio": round(theirs / best["own_total_s"], 2), "rounds": done}


def chosen(only: Iterable[str], quick: bool) -> list[tuple[Case, Peer]]:
    """Return the pairs of which a case's or a peer's name, or environment, holds each word."""
    found = list(pairings(quick))
    words = [word.lower() for word in only]
    cases = [w for w in words if any(w in case.name for case, _ in found)]
    peers = [w for w in words if w not in cases]
    return [
        (case, peer)
        for case, peer in found
        if (not cases or any(w in case.name for w in cases))
        and (not peers or any(w in f"{peer.name} {peer.environment}".lower() for w in peers))
    ]


def machine(threads: int) -> Row:
    """Return what the figures were measured on."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    name = re.search(r"model name\s*:\s*(.*)", text)
    return {
        "cpu": name[1] if name else platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "system": platform.system(),
    }


NOTES = (
    "The same circuits and angles in other libraries and in this package, each a process of its "
    "own, in turn; values and gradients were compared first. Seconds are minima, of a forward "
    "pass, and of a forward and a backward pass, with one thread in processor time; memory is the "
    "peak of the process with all its libraries. Ratio: the peer's forward and backward pass over "
    "ours; where it has no backward pass, its forward pass over our forward and backward pass. "
    "What a compiler or a search for a contraction's tree takes is left out, on both sides. Load: "
    "processes that wanted the machine's cores when the row began."
)

COLUMNS = {
    "shape": "circuit",
    "n_qubits": "qubits",
    "n_layers": "layers",
    "max_bond": "max_bond",
    "request": "read",
    "peer": "peer",
    "forward_s": "forward (s)",
    "total_s": "with backward (s)",
    "own_forward_s": "ours, forward (s)",
    "own_total_s": "ours, with backward (s)",
    "ratio": "ratio",
    "mb": "memory (MB)",
    "own_mb": "ours (MB)",
    "load": "load",
    "why": "remark",
}


def store(rows: list[Row], path: Path, seconds: float, on: Row) -> None:
    """Write the table."""
    result = {
        "title": "The same circuits in other libraries",
        "notes": NOTES,
        "command": "python -m benchmarks.peers",
        "seconds": round(seconds, 1),
        "machine": on,
        "columns": {k: v for k, v in COLUMNS.items() if any(k in row for row in rows)},
        "rows": rows,
    }
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def run(options: argparse.Namespace) -> list[Row]:
    """Measure what is missing, and return the rows that were asked for."""
    before = json.loads(options.out.read_text()) if options.out.exists() else {}
    on = machine(options.threads)
    if before and before["machine"] != on and not options.again:
        raise SystemExit(f"{options.out} was measured on another machine; use --again or --out")
    rows = {key(row): row for row in before.get("rows", [])}
    seconds = before.get("seconds", 0.0)
    wanted = chosen(options.only, options.quick)
    order = [key(facts(case, peer)) for case, peer in pairings(options.quick)]
    for case, peer in wanted:
        name = key(facts(case, peer))
        old = rows.get(name)
        if old and not options.again and not old.get("why", "").startswith("not installed"):
            continue
        began = time.monotonic()
        rows[name] = measure(case, peer, options)
        seconds += time.monotonic() - began
        print(json.dumps(rows[name], ensure_ascii=False), flush=True)
        store([rows[one] for one in order if one in rows], options.out, seconds, on)
    return [rows[key(facts(case, peer))] for case, peer in wanted]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description="Run the same circuits in other libraries and in this package, in turn.",
    )
    cache = Path(pooch.os_cache("qtn_train")) / "peers"
    parser.add_argument("--only", nargs="+", default=[], help="cases and peers, parts of names")
    parser.add_argument("--quick", action="store_true", help="small circuits, two rounds, no file")
    parser.add_argument("--again", action="store_true", help="measure rows that are there again")
    parser.add_argument("--cache", type=Path, default=cache, help="folder of the environments")
    parser.add_argument("--out", type=Path, help="file of the table")
    parser.add_argument("--threads", type=int, default=1, help="threads of each; 1: processor time")
    parser.add_argument("--rounds", type=int, help=f"rounds at most ({ROUNDS})")
    parser.add_argument("--seconds", type=float, default=600, help="longest answer of a process")
    parser.add_argument("--gigabytes", type=float, default=16, help="most memory of a process")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (2 if options.quick else ROUNDS)
    if options.quick and options.out is None:
        with tempfile.TemporaryDirectory() as folder:
            options.out = Path(folder) / "peers.json"
            run(options)
        return
    options.out = options.out or OUT
    try:
        run(options)
    except KeyboardInterrupt:
        raise SystemExit(f"stopped; the same command goes on from {options.out}") from None


if __name__ == "__main__":
    main()
