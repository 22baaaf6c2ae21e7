"""Several processes that train one model, as torch's DistributedDataParallel means it.

    batch ──► share of process 0 ──► loss ──► gradients ──┐
          └─► share of process 1 ──► loss ──► gradients ──┴─ sum ──► the same step everywhere

Each process holds the whole model and takes a part of every batch; what travels is the gradient of
the few trained numbers. The first process alone reads and writes files and shows things.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import ProcessLost, QtnTrainWarning, must_be
from ..generators._shared import together

T = TypeVar("T")

# A process that neither ends nor answers: how long the others wait for it.
_PATIENCE = timedelta(minutes=30)
# Seconds that others leave to the process that knows best why a run ends.
_FIRST_WORD = 0.5


@final
@dataclass(frozen=True)
class Processes:
    """The processes that train together, seen from one of them; by default this process alone.

    Attributes:
        rank: Number of this process, from 0.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> Processes:
        """Return the processes of torch's default group, or this process alone."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this process is the one that reads, writes and shows."""
        return self.rank == 0

    def share(self, n_samples: int) -> tuple[slice, float]:
        """Return which samples of a batch this process takes, and their weight in the mean.

        Args:
            n_samples: Samples of the batch, at least 1.

        Returns:
            The slice, never empty, and its part of the batch. Where there are fewer samples than
            processes, some take the first sample with weight 0.

        Example:
            >>> [Processes(rank, 2).share(5) for rank in (0, 1)]
            [(slice(0, 2, None), 0.4), (slice(2, 5, None), 0.6)]
        """
        start = self.rank * n_samples // self.size
        stop = (self.rank + 1) * n_samples // self.size
        if start == stop:
            return slice(0, 1), 0.0
        return slice(start, stop), (stop - start) / n_samples

    def total(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Return the sums of numbers over all processes, the same bits in each.

        Args:
            values: This process's numbers.
            device: Where the sum is made; that of the model.
        """
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=device)
        together(partial(dist.all_reduce, tensor))
        sums: list[float] = tensor.tolist()
        return sums

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace gradients by their sums over all processes.

        Args:
            parameters: The trained ones, in the same order everywhere. A process that has no
                gradient for one of them adds nothing.
        """
        if self.size == 1:
            return
        for dtype in sorted({p.dtype for p in parameters}, key=str):
            own = [p for p in parameters if p.dtype == dtype]
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in own]
            there = torch.tensor([p.grad is not None for p in own]).to(grads[0])
            flat = torch.cat([*(grad.reshape(-1) for grad in grads), there])
            together(partial(dist.all_reduce, flat))
            *pieces, there = flat.split([*(p.numel() for p in own), len(own)])
            for parameter, piece, n_there in zip(own, pieces, there.tolist(), strict=True):
                parameter.grad = piece.view_as(parameter).clone() if n_there else None

    def from_first(self, make: Callable[[], T]) -> T:
        """Call a function in the first process; return its result, or raise its error, in all.

        Args:
            make: The function; its result can be pickled.
        """
        if self.size == 1:
            return make()
        made: list[Any] = [None, None]
        if self.first:
            try:
                made[0] = make()
            except Exception as error:
                made[1] = error
        together(partial(dist.broadcast_object_list, made, src=0))
        failure: Exception | None = made[1]
        if failure is not None:
            raise type(failure)(*failure.args) from failure
        result: T = made[0]
        return result

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Give tensors the first process's values.

        Args:
            tensors: The same ones everywhere; changed in place.
        """
        if self.size == 1:
            return
        with torch.no_grad():
            for tensor in tensors:
                together(partial(dist.broadcast, tensor.data, src=0))


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the processes that torchrun has started, for the length of a ``with`` block.

    Yields:
        The processes; this one alone where torchrun has started none.

    Raises:
        ProcessLost: They do not find each other.
    """
    if not (dist.is_available() and dist.is_torchelastic_launched()):
        yield Processes()
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=_PATIENCE)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        hint = "Check the network between them (GLOO_SOCKET_IFNAME names the interface)."
        text = must_be("processes", "able to reach each other", reason, hint)
        raise ProcessLost(text) from error
    try:
        processes = Processes.current()
        with warnings.catch_warnings():
            if not processes.first:  # all of them see the same, and one of them says it
                warnings.simplefilter("ignore", QtnTrainWarning)
            yield processes
    except ProcessLost:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, before the last word
        time.sleep(2 * _FIRST_WORD)
        raise
    finally:
        dist.destroy_process_group()


def take_device(processes: Processes, device: str) -> None:
    """Assign each process of a machine a GPU of its own as ``cuda``.

    Args:
        processes: All of them.
        device: What the user asked for.

    Raises:
        ValueError: A GPU by its number, which all would share, or fewer GPUs than processes.
    """
    if processes.size == 1 or not device.startswith("cuda"):
        return
    local, here = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if device != "cuda":
        hint = "Each process takes the GPU of its own number."
        raise ValueError(must_be("torch_device", "cpu or cuda with torchrun", device, hint))
    if torch.cuda.is_available() and torch.cuda.device_count() < here:
        expected = f"cpu, or cuda with {here} GPUs for {here} processes"
        actual = f"cuda with {torch.cuda.device_count()}"
        raise ValueError(must_be("torch_device", expected, actual))
    if torch.cuda.is_available():
        torch.cuda.set_device(local)


def first_to_fail() -> bool:
    """Return whether this process is the first of torchrun's to fail: it prints the error line."""
    if not (dist.is_available() and dist.is_torchelastic_launched()):
        return True
    if os.environ["RANK"] != "0":
        time.sleep(_FIRST_WORD)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            host, port, is_master=False, timeout=timedelta(seconds=5)
        )
        return int(store.add(f"qtn_train/failed/{attempt}", 1)) == 1
    except RuntimeError:  # its store has ended before us
        return os.environ["RANK"] == "0"
