"""The progress of a run, and whether a checkpoint's claim about the progress can be true."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError, must_be
from ._config import History

# What Adam keeps of each parameter.
_MOMENTS = ["exp_avg", "exp_avg_sq", "step"]


@dataclass
class Progress:
    """The progress of a run: finished epochs, and where the running one stands.

    Attributes:
        epoch: Finished epochs.
        step: Finished steps of the running epoch.
        loss_sum: Sum over the running epoch's samples of their training loss.
        n_correct: How many of them were classified correctly.
        seconds: Time spent in the running epoch.
        best: Lowest validation loss so far.
        waited: Epochs since then.
        history: The finished epochs.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    n_correct: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    waited: int = 0
    history: History = field(default_factory=History)


def check_config(mine: dict[str, Any], its: object) -> None:
    """Check that a checkpoint is of a run with the same options.

    Args:
        mine: This run's options.
        its: The checkpoint's, or anything.

    Raises:
        CheckpointError: It is not.
    """
    if not isinstance(its, dict):
        raise CheckpointError(foreign("config"))
    nothing = object()
    for name in {**mine, **its}:
        if mine.get(name, nothing) != its.get(name, nothing):
            text = f"`{name}` must be {_shown(its.get(name))} as in the checkpoint; "
            text += f"got {_shown(mine.get(name))}."
            raise CheckpointError(f"{text} Resume with the options that the run began with.")


def _shown(value: object) -> str:
    text = str(value)
    return text if text.isprintable() else repr(value)


def progress_of(found: object, epochs: int) -> Progress:
    """Return the progress that a checkpoint holds.

    Args:
        found: What a checkpoint says of that, or anything.
        epochs: Epochs of the run.

    Raises:
        CheckpointError: No run can stand there.
    """
    data = found if isinstance(found, dict) else {}
    history = data.get("history")
    history = history if isinstance(history, dict) else {}
    entries = history.get("epochs")
    own = asdict(Progress())
    check_form("history", own.pop("history"), {**history, "epochs": []})
    check_form("progress", own, {name: data[name] for name in data if name != "history"})
    are_numbers = isinstance(entries, list) and all(
        isinstance(entry, dict) and all(_is_number(value) for value in entry.values())
        for entry in entries
    )
    counts = [data[name] for name in ("epoch", "step", "n_correct", "waited")]
    are_counts = all(isinstance(count, int) and count >= 0 for count in counts)
    if not (are_numbers and are_counts and len(entries or ()) == data["epoch"] <= epochs):
        raise CheckpointError(foreign("progress"))
    return Progress(**{**data, "history": History(**history)})


def moments_of(
    tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[int, dict[str, Tensor]]:
    """Return an optimizer's moments by the parameter's number.

    Args:
        tensors: A checkpoint's.
        optimizer: A fresh optimizer of the same model.

    Raises:
        CheckpointError: They are those of other parameters.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if not name.startswith("optimizer/"):
            continue
        _, number, key = (*name.split("/"), "", "")[:3]
        known = number.isdecimal() and int(number) < len(parameters)
        if not known or value.shape not in ((), parameters[int(number)].shape):
            raise CheckpointError(foreign(name))
        moments.setdefault(int(number), {})[key] = value
    # Parameters that no gradient has reached have none.
    if any(sorted(state) != _MOMENTS for state in moments.values()):
        raise CheckpointError(foreign("optimizer"))
    return moments


def check_form(name: str, own: Any, found: Any) -> None:
    """Check that data of a checkpoint have the form of this run's: the same names and kinds.

    Args:
        name: What they are, for messages.
        own: This run's.
        found: The checkpoint's, or anything.

    Raises:
        CheckpointError: They have another form.
    """
    if isinstance(own, dict):
        same = isinstance(found, dict) and own.keys() == found.keys()
        pairs = [(own[key], found[key]) for key in own] if same else []
    elif isinstance(own, list | tuple):
        same = isinstance(found, list | tuple) and len(own) == len(found)
        pairs = list(zip(own, found, strict=True)) if same else []
    elif isinstance(own, str):
        same, pairs = own == found, []
    elif isinstance(own, bool) or own is None:
        same, pairs = type(own) is type(found), []
    else:
        same, pairs = _is_number(found), []
    if not same:
        raise CheckpointError(foreign(name))
    for mine, its in pairs:
        check_form(name, mine, its)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def foreign(name: str) -> str:
    """Return the message of a checkpoint whose part ``name`` is none of ours."""
    hint = "Restore a copy of the file, or begin anew elsewhere."
    return must_be("checkpoint", "one of this program's", f"another form of `{name}`", hint)
