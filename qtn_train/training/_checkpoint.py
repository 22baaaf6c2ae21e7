"""Checkpoints: everything that a run needs to go on as if nothing had happened.

One safetensors file, written atomically: the trained numbers, the optimizer's moments, the state of
torch's random generators, and, as JSON, counters, schedule and history. Nothing is pickled.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._files import read_tensors, write_tensors
from ..errors import CheckpointError
from ..hybrid import QuantumTrain
from ._config import FitConfig
from ._progress import Progress, check_config, check_form, foreign, moments_of, progress_of

CHECKPOINT = "checkpoint.safetensors"


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    progress: Progress,
    config: FitConfig,
    run: dict[str, Any],
    loss: str = "cross-entropy",
) -> None:
    """Write a checkpoint into a folder, in place of the last one.

    Args:
        folder: The run's folder.
        model: The model.
        optimizer: Its optimizer.
        scheduler: The learning-rate schedule, or None.
        progress: Where the run stands.
        config: The options of the run.
        run: What the caller wants to find again, as JSON data.
        loss: Name of the loss.

    Raises:
        OSError: The folder is not writable.
    """
    own = model.trained_numbers() if isinstance(model, QuantumTrain) else model.state_dict()
    tensors = {f"model/{name}": value for name, value in own.items()}
    state = optimizer.state_dict()
    for number, moments in state["state"].items():
        for name, value in moments.items():
            tensors[f"optimizer/{number}/{name}"] = torch.as_tensor(value)
    tensors["rng/cpu"] = torch.get_rng_state()
    device = _device(model)
    if device.type == "cuda":
        tensors["rng/cuda"] = torch.cuda.get_rng_state(device)
    info = {
        "model": _description(model),
        "groups": state["param_groups"],
        "scheduler": None if scheduler is None else scheduler.state_dict(),
        "progress": asdict(progress),
        "config": _options(config, loss),
        "run": run,
        "position": model.generator.position if isinstance(model, QuantumTrain) else 0,
    }
    write_tensors(folder / CHECKPOINT, tensors, "checkpoint", info)


def read_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the checkpoint of a folder.

    Args:
        folder: The run's folder.

    Returns:
        Its tensors and its description.

    Raises:
        FileNotFoundError: There is none.
        CheckpointError: It is damaged, or of a newer format.
    """
    return read_tensors(folder / CHECKPOINT, "checkpoint")


def restore_model(model: nn.Module, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Give a model the trained numbers of a checkpoint, and its random draws their position.

    Args:
        model: A model built as the checkpoint's was.
        tensors: The checkpoint's tensors.
        info: The checkpoint's description.

    Raises:
        CheckpointError: It belongs to another model.
    """
    own = {name[6:]: value for name, value in tensors.items() if name.startswith("model/")}
    if isinstance(model, QuantumTrain):
        described, position = info.get("model"), info.get("position", 0)
        if not isinstance(described, dict):
            raise CheckpointError(foreign("model"))
        if isinstance(position, bool) or not isinstance(position, int) or position < 0:
            raise CheckpointError(foreign("position"))
        model.load_trained(own, described, CHECKPOINT)
        model.generator.position = position
        return
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        text = f"`{CHECKPOINT}` must hold this model; got: {str(error).splitlines()[-1].strip()}"
        raise CheckpointError(text) from error


def restore(
    tensors: dict[str, Tensor],
    info: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    config: FitConfig,
    loss: str = "cross-entropy",
) -> Progress:
    """Bring model, optimizer, schedule and random generators to where a checkpoint stands.

    Args:
        tensors: The checkpoint's tensors.
        info: The checkpoint's description.
        model: A model built as the checkpoint's was.
        optimizer: A fresh optimizer of it.
        scheduler: A fresh schedule of that, or None.
        config: The options of the run, which must be those of the checkpoint.
        loss: Name of the loss, which must be the checkpoint's.

    Returns:
        Where the run stands.

    Raises:
        CheckpointError: It belongs to another model, or to a run with other options.
    """
    check_config(_options(config, loss), info.get("config"))
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    restore_model(model, tensors, info)
    try:
        progress = progress_of(info.get("progress"), config.epochs)
        check_form("groups", optimizer.state_dict()["param_groups"], info.get("groups"))
        moments = moments_of(tensors, optimizer)
        if scheduler is not None:
            check_form("scheduler", scheduler.state_dict(), info.get("scheduler"))
        _set_random_state(tensors, _device(model))
    except CheckpointError:
        model.load_state_dict(before)
        raise
    optimizer.load_state_dict({"state": moments, "param_groups": info["groups"]})
    if scheduler is not None:
        scheduler.load_state_dict(info["scheduler"])
    return progress


def _set_random_state(tensors: dict[str, Tensor], device: torch.device) -> None:
    try:
        torch.set_rng_state(tensors["rng/cpu"])
        if "rng/cuda" in tensors and device.type == "cuda":
            torch.cuda.set_rng_state(tensors["rng/cuda"], device)
    except (LookupError, RuntimeError, TypeError) as error:
        raise CheckpointError(foreign("rng")) from error


def _options(config: FitConfig, loss: str) -> dict[str, Any]:
    return {**config.config(), **({} if loss == "cross-entropy" else {"loss": loss})}


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _description(model: nn.Module) -> dict[str, Any]:
    return model.config() if isinstance(model, QuantumTrain) else {"kind": type(model).__name__}
