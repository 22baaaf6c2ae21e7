"""Circuits on this machine: Braket's local simulators and emulators, one circuit after another.

A local simulator cannot be seeded, so its exact probabilities are sampled here, with the project's
own random bits. Emulators, and simulators with a noise model, draw for themselves: a readout error
is in their counts, and not in their probabilities.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..._random import raw_bits
from ...errors import JournalError, must_be, text_of
from ...measurements._counts import Counts, bits_of
from ..device._target import Target
from ._batch import Batch
from ._programs import Bound, exact_probs, to_counts
from ._records import Task

#: The name under which the journal keeps what was counted here.
RESULT = "counts.json"


def draws_here(target: Target) -> bool:
    """Return whether a device's shots are drawn by this package, as a function of a seed."""
    from braket.devices import LocalSimulator

    if not isinstance(target.device, LocalSimulator):
        return False
    return getattr(target.device, "_noise_model", "unknown") is None


def execute(batch: Batch, shots: int, seed: int) -> list[Counts]:
    """Execute a batch on a local device.

    Args:
        batch: The circuits; where :func:`draws_here`, written for 0 shots.
        shots: Shots of each; 0 for exact probabilities.
        seed: Seed of the shots, where they are drawn here.

    Returns:
        The counts of each executable; probabilities in their place for 0 shots.
    """
    found = []
    for number, (program, row) in enumerate(batch.members):
        bound = batch.bounds[program]
        if bound.plan.measured:
            found.append(_counted(batch.target, bound, row, shots))
            continue
        probs = exact_probs(batch.target, bound, row)
        if shots:
            bits = raw_bits(seed, f"shots/{batch.position}/{number}", shots)
            found.append(Counts.of(bits_of(_sample(probs, bits), bound.n_qubits)))
        else:
            found.append(Counts.exact(probs))
    return found


def _counted(target: Target, bound: Bound, row: int, shots: int) -> Counts:
    result = target.device.run(bound.at(row), shots=shots).result()
    return to_counts(result.measurement_counts, bound.n_qubits)


def _sample(probs: Tensor, bits: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> Tensor:
    """Return one outcome number for each word of 64 random bits."""
    cumulative = np.cumsum(np.clip(probs.numpy(), 0.0, None))
    uniform = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53 * cumulative[-1]
    outcomes = np.searchsorted(cumulative, uniform, side="right")
    last = np.searchsorted(cumulative, cumulative[-1])  # where rounding goes beyond the end
    return torch.from_numpy(np.minimum(outcomes, last))


def to_json(counts: list[Counts]) -> str:
    """Return counts as the JSON text that the journal keeps."""
    return json.dumps(
        [dict(zip(_strings(one), one.counts.tolist(), strict=True)) for one in counts]
    )


def from_json(text: str) -> list[Counts]:
    """Read counts from the JSON text that :func:`to_json` wrote.

    Args:
        text: The text.

    Raises:
        JournalError: It is another text.
    """
    try:
        return [_counts(one) for one in json.loads(text)]
    except (ValueError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        raise JournalError(_damaged(str(error))) from error


def _counts(one: dict[str, float]) -> Counts:
    rows = torch.tensor([[int(bit) for bit in bits] for bits in one], dtype=torch.uint8)
    counts = torch.from_numpy(np.array(list(one.values())))
    whole = counts.dtype in (torch.int64, torch.float64) and bool((counts >= 0).all())
    if rows.ndim != 2 or not counts.isfinite().all() or not whole or rows.max() > 1:
        raise JournalError(_damaged(str(one)))
    return Counts(rows, counts)


def recorded_here(tasks: Sequence[Task]) -> list[Counts] | None:
    """Return the counts of an evaluation that was executed here; None where that is still to be.

    Args:
        tasks: The evaluation's tasks in the journal: one.

    Raises:
        JournalError: There are more, or none, or the counts are not what was written down.
    """
    if len(tasks) != 1:
        raise JournalError(_damaged(f"{len(tasks)} tasks of one evaluation"))
    (task,) = tasks
    if task.result is None:
        return None
    if RESULT not in task.result:
        raise JournalError(_damaged(f"no {RESULT}"))
    return from_json(task.result[RESULT])


def _damaged(why: str) -> str:
    actual = f"a damaged one ({text_of(why, 80)})"
    return must_be("journal", "one that holds the counts as they were written down", actual)


def _strings(counts: Counts) -> list[str]:
    return ["".join(map(str, row)) for row in counts.rows.tolist()]
