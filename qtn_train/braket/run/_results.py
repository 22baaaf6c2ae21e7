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

from ...errors import count, text_of
from ...measurements._counts import Counts

ROOT = "results.json"


class Failure(str):
    """The service's reason why an executable has no counts and will have none."""

    __slots__ = ()


class Unread(str):
    """The reason, where known, why an executable's counts are not here; they may come yet."""

    __slots__ = ()


Found = Counts | Failure | Unread


def gather(
    read: Callable[[Sequence[str]], dict[str, str]], known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Read a result's root file and every file that it names, leaving out those that are missing.

    Args:
        read: Gives the contents of files by their names, relative to the task's folder; those
            that are missing are left out.
        known: What an earlier call gave: files that are JSON objects are not read again.

    Returns:
        Contents by name, whatever they are.
    """
    good = {name: text for name, text in (known or {}).items() if _object(text)}

    def more(names: Sequence[str]) -> dict[str, str]:
        return {n: good[n] for n in names if n in good} | read([n for n in names if n not in good])

    files = more([ROOT])
    root = _object(files.get(ROOT))
    programs = _names(root.get("programResults"))
    files |= more([*_names([root.get("taskMetadata")]), *programs])
    members = [
        _beside(name, member)
        for name in programs
        for member in _names(_object(files.get(name)).get("executableResults"))
    ]
    return files | more(members)


def _object(text: str | None) -> dict[str, Any]:
    """Return the JSON object in a text; an empty one where the text holds none."""
    try:
        data = json.loads(text or "")
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _names(values: Any) -> list[str]:
    listed = values if isinstance(values, list) else []
    return [value for value in listed if isinstance(value, str)]


def seconds_of(files: Mapping[str, str]) -> Decimal | Unread:
    """Return the seconds that an Amazon simulator charges for, or why they cannot be read."""
    try:
        metadata = json.loads(files[ROOT])["additionalMetadata"].get("simulatorMetadata") or {}
        milliseconds = Decimal(metadata.get("executionDuration", 0))
        if not (milliseconds.is_finite() and milliseconds >= 0):
            raise ValueError(f"executionDuration {milliseconds}")
    except _DAMAGE as error:
        return _unreadable(ROOT, error)
    return milliseconds / 1000


def read_counts(files: Mapping[str, str], n_members: int, labels: Sequence[int]) -> list[Found]:
    """Read the counts of each executable of a task, in the order in which they were sent.

    Args:
        files: What :func:`gather` gave; a damaged or foreign file makes its executables unread.
        n_members: How many executables were sent.
        labels: The label of qubit 0, 1, … in the circuits that were sent.

    Returns:
        For each executable its counts, or why there are none.
    """
    if ROOT not in files:
        return [Unread(f"{ROOT} is missing")] * n_members
    result = _object(files[ROOT])
    try:
        if "programResults" not in result:
            shots = int(result["taskMetadata"]["shots"])
            found = [_executable(result, shots, labels)]
        else:
            found = _program_set(files, result, n_members, labels)
    except _DAMAGE as error:
        return [_unreadable(ROOT, error)] * n_members
    if len(found) != n_members:
        text = f"{ROOT} tells of {count(len(found), 'circuit')}, not {n_members}"
        return [Unread(text)] * n_members
    return found


_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


def _unreadable(name: str, error: Exception) -> Unread:
    return Unread(f"{name} cannot be read ({type(error).__name__}: {text_of(error, 80)})")


def _program_set(
    files: Mapping[str, str], result: Mapping[str, Any], n_members: int, labels: Sequence[int]
) -> list[Found]:
    metadata = result["taskMetadata"]
    if isinstance(metadata, str):
        if metadata not in files:
            return [Unread(f"{metadata} is missing")] * n_members
        metadata = json.loads(files[metadata])
    notes = [program["executables"] for program in metadata["programMetadata"]]
    shots = int(metadata["requestedShots"]) // sum(map(len, notes))
    found: list[Found] = []
    for program, told in zip(result["programResults"], notes, strict=True):
        one = _program(files, program, len(told), shots, labels)
        pairs = zip(one, map(_failure, told), strict=True)
        found += [why if why and isinstance(it, Unread) else it for it, why in pairs]
    return found


def _failure(note: Any) -> Failure | None:
    """Return why an executable has no counts, where the service's metadata say so."""
    if isinstance(note, dict) and "failureReason" in note:
        return Failure(f"{note.get('category', 'FAILED')}: {note['failureReason']}")
    if isinstance(note, dict) and note.get("status") == "CANCELLED":
        return Failure("CANCELLED")
    return None


def _program(
    files: Mapping[str, str], program: Any, size: int, shots: int, labels: Sequence[int]
) -> list[Found]:
    """Read the counts of one program's executables, in the order of its sets of inputs."""
    name = program if isinstance(program, str) else ""
    if name:
        if name not in files:
            return [Unread(f"{name} is missing")] * size
        try:
            program = json.loads(files[name])
            program["executableResults"][:size]
        except _DAMAGE as error:
            return [_unreadable(name, error)] * size
    found: list[Found] = [Unread("it has no result")] * size
    for place, member in enumerate(program["executableResults"][:size]):
        path = _beside(name, member) if isinstance(member, str) else ROOT
        if path not in files:
            found[place] = Unread(f"{path} is missing")
            continue
        try:
            entry = json.loads(files[path]) if isinstance(member, str) else member
            index = range(size).index(entry["inputsIndex"])
            found[index] = _executable(entry, shots, labels)
        except _DAMAGE as error:
            found[place] = _unreadable(path, error)
    return found


def _executable(entry: Any, shots: int, labels: Sequence[int]) -> Found:
    failure = _failure(entry.get("failureMetadata"))
    if failure:
        return failure
    rows = np.array(entry.get("measurements") or [], dtype=np.float64)
    weights = np.ones(len(rows), dtype=np.int64)
    if not len(rows):
        shares: dict[str, float] = entry.get("measurementProbabilities") or {}
        rows = np.array([[int(bit) for bit in bits] for bits in shares], dtype=np.float64)
        weights = np.array([round(share * shots) for share in shares.values()], dtype=np.int64)
    return _counts(rows, weights, entry.get("measuredQubits") or [], labels)


def _counts(
    rows: NDArray[np.float64],
    weights: NDArray[np.int64],
    measured: Sequence[int],
    labels: Sequence[int],
) -> Counts | Unread:
    """Count outcomes: one row of bits each, whose columns are the measured labels."""
    if not (weights > 0).any():
        return Unread("it holds no counts")
    if not ((rows == 0) | (rows == 1)).all():
        return Unread("it holds bits that are neither 0 nor 1")
    if not set(labels) <= set(measured):
        return Unread(f"it measured the qubits {list(measured)}, not {list(labels)}")
    rows, weights = rows[weights > 0], weights[weights > 0]
    bits = rows[:, [list(measured).index(label) for label in labels]]
    return Counts.added(torch.from_numpy(bits.astype(np.uint8)), torch.from_numpy(weights))


def _beside(name: str, member: str) -> str:
    """Return the path of a file named in a program's file, ``<folder>/results.json``."""
    return f"{name.removesuffix('/' + ROOT)}/{member}"
