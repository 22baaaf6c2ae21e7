"""Raw results: which files one consists of, and the counts in them.

    results.json ──► one circuit:    measurements or probabilities
                └──► a program set:  everything inline, or names of further files
                                     programs ──► executables ──► measurements

The SDK fetches the further files through boto3's default session. Here all files come first,
through the session that made the task; then the journal's copy is read. It is read as plain JSON of
the service's schemas: the SDK's classes check each bit of each shot, which takes a hundred times
as long.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...measurements._counts import Counts

ROOT = "results.json"

#: What stands in place of counts where there are none: the reason.
Failure = str


def gather(read: Callable[[Sequence[str]], dict[str, str]]) -> dict[str, str]:
    """Read a result's root file and every file that it names.

    Args:
        read: Gives the contents of files by their names, relative to the task's folder; those
            that are missing are left out.

    Returns:
        Contents by name. A file of one executable that is missing is left out.

    Raises:
        FileNotFoundError: The root, or a file that names others, is missing.
    """
    files = read([ROOT])
    if ROOT not in files:
        raise FileNotFoundError(ROOT)
    result = json.loads(files[ROOT])
    if not result.get("s3Location"):
        return files
    names = [result["taskMetadata"], *result["programResults"]]
    files |= read(names)
    for name in names:
        if name not in files:
            raise FileNotFoundError(name)
    members = [
        _beside(name, member)
        for name in result["programResults"]
        for member in json.loads(files[name])["executableResults"]
        if isinstance(member, str)
    ]
    return files | read(members)


def seconds_of(files: Mapping[str, str]) -> Decimal:
    """Return how long one of Amazon's simulators took for a result; that is what it charges."""
    metadata = json.loads(files[ROOT])["additionalMetadata"].get("simulatorMetadata") or {}
    return Decimal(metadata.get("executionDuration", 0)) / 1000


def read_counts(files: Mapping[str, str], labels: Sequence[int]) -> list[Counts | Failure]:
    """Read the counts of each executable of a task, in the order in which they were sent.

    Args:
        files: What :func:`gather` gave.
        labels: The label of qubit 0, 1, … in the circuits that were sent.

    Returns:
        For each executable its counts, or why there are none.
    """
    result = json.loads(files[ROOT])
    metadata = result["taskMetadata"]
    if "programResults" not in result:
        return [_executable(result, metadata["shots"], labels)]
    if isinstance(metadata, str):
        metadata = json.loads(files[metadata])
    sizes = [len(program["executables"]) for program in metadata["programMetadata"]]
    shots = metadata["requestedShots"] // sum(sizes)
    found: list[Counts | Failure] = []
    for program, size in zip(result["programResults"], sizes, strict=True):
        found += _program(files, program, size, shots, labels)
    return found


def _program(
    files: Mapping[str, str], program: Any, size: int, shots: int, labels: Sequence[int]
) -> list[Counts | Failure]:
    """Read one program's executables; each stands where its inputs stood."""
    name = program if isinstance(program, str) else ""
    members = (json.loads(files[name]) if name else program)["executableResults"]
    found: list[Counts | Failure] = ["it has no result"] * size
    for place, member in enumerate(members):
        if isinstance(member, str):
            path = _beside(name, member)
            if path not in files:
                found[place] = f"{path} is missing"
                continue
            member = json.loads(files[path])
        found[member["inputsIndex"]] = _executable(member, shots, labels)
    return found


def _executable(entry: Any, shots: int, labels: Sequence[int]) -> Counts | Failure:
    failure = entry.get("failureMetadata")
    if failure:
        return f"{failure['category']}: {failure['failureReason']}"
    rows = np.array(entry.get("measurements") or [], dtype=np.int64)
    weights = np.ones(len(rows), dtype=np.int64)
    if not len(rows):
        shares: dict[str, float] = entry.get("measurementProbabilities") or {}
        rows = np.array([[int(bit) for bit in bits] for bits in shares], dtype=np.int64)
        weights = np.array([round(share * shots) for share in shares.values()], dtype=np.int64)
    return _counts(rows, weights, entry.get("measuredQubits") or [], labels)


def _counts(
    rows: NDArray[np.int64],
    weights: NDArray[np.int64],
    measured: Sequence[int],
    labels: Sequence[int],
) -> Counts | Failure:
    """Count outcomes: one row of bits each, whose columns are the measured labels."""
    if not weights.any():
        return "it holds no counts"
    if not set(labels) <= set(measured):
        return f"it measured the qubits {list(measured)}, not {list(labels)}"
    rows, weights = rows[weights > 0], weights[weights > 0]
    bits = rows[:, [list(measured).index(label) for label in labels]]
    return Counts.added(torch.from_numpy(bits.astype(np.uint8)), torch.from_numpy(weights))


def _beside(name: str, member: str) -> str:
    """The name of a file that a program's file, ``<folder>/results.json``, names."""
    return f"{name.removesuffix('/' + ROOT)}/{member}"
