"""Real processes of the command line without their start-up time: a server that forks itself.

Run as a script, it loads the package once and reads jobs from standard input, one JSON object a
line. A job is ``{"argv", "out", "err", "every", "at", "env"}``, or a list of them for processes
that train together. It is run in a process of its own, whose output goes to the two files, and the
answer is its exit status, negative for a signal. ``every`` is the number of seconds between
checkpoints, and ``at = [moment, n, signal]`` sends the process a signal the n-th time it comes to a
moment:

- ``step``: before a step of training;
- ``write``: when a file is complete, but does not stand in its place yet;
- ``written``: when it does;
- ``delay``: after n milliseconds, whatever happens then.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore


class Server:
    """The side of the tests."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def run(
        self,
        folder: Path,
        *argv: str | Path,
        every: float = 30.0,
        at: tuple[str, int, int] | None = None,
    ) -> tuple[int, str, str]:
        """Run the command line in a process; return exit status, standard output and error."""
        out, err = folder / "stdout.txt", folder / "stderr.txt"
        job = {"argv": [str(a) for a in argv], "every": every, "at": at}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({**job, "out": str(out), "err": str(err)}) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        return status, out.read_text(), err.read_text()

    def group(
        self,
        folder: Path,
        *argv: str | Path,
        size: int = 2,
        at: tuple[int, str, int, int] | None = None,
    ) -> list[tuple[int, str, str]]:
        """Run the command line in several processes, as torchrun does; return as `run` for each.

        ``at`` begins with the process that gets the signal. An ``argv`` of ``module:function`` and
        a path calls this function instead.
        """
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        jobs = []
        for rank in range(size):
            own = folder / f"rank{rank}"
            own.mkdir(parents=True, exist_ok=True)
            env = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
            env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
            env |= {"TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_USE_AGENT_STORE": True}
            job = {"argv": [str(a) for a in argv], "every": 30.0, "at": None}
            if at is not None and at[0] == rank:
                job["at"] = at[1:]
            files = {"out": str(own / "stdout.txt"), "err": str(own / "stderr.txt")}
            jobs.append(job | files | {"env": {name: str(value) for name, value in env.items()}})
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(jobs) + "\n")
        self.process.stdin.flush()
        statuses = json.loads(self.process.stdout.readline())
        texts = [[Path(job[name]).read_text() for name in ("out", "err")] for job in jobs]
        return [(status, *text) for status, text in zip(statuses, texts, strict=True)]

    def close(self) -> None:
        """End the server."""
        self.process.communicate()


def no_curves(epochs: Any, title: str) -> None:
    """Stand in for a picture, whose drawing would be most of a short run."""


def save(picture: Any, path: Path) -> None:
    """Stand in for its file."""
    Path(path).write_bytes(b"\x89PNG\r\n\x1a\n")


def serve() -> None:
    """Answer jobs until standard input ends."""
    # What a run loads anyway, loaded once; nothing is computed here, so a fork is safe.
    for name in (
        "safetensors.torch",
        "sklearn.datasets",
        "torch._dynamo",
        "qtn_train.cli",
        "qtn_train.training",
    ):
        importlib.import_module(name)
    for line in sys.stdin:
        job = json.loads(line)
        group = job if isinstance(job, list) else [job]
        statuses = dict.fromkeys([_fork(one) for one in group])
        while None in statuses.values():
            pid, status = os.wait()
            statuses[pid] = os.waitstatus_to_exitcode(status)
            if statuses[pid]:  # torchrun ends the others then
                for other in [pid for pid in statuses if statuses[pid] is None]:
                    os.kill(other, signal.SIGTERM)
        found = list(statuses.values())
        print(json.dumps(found) if isinstance(job, list) else found[0], flush=True)


def _fork(job: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        _child(job)
    return pid


def _child(job: dict[str, Any]) -> None:
    from qtn_train import plots
    from qtn_train.cli._app import main
    from qtn_train.training import _loop, _timing

    for number, path, mode in ((0, os.devnull, "r"), (1, job["out"], "w"), (2, job["err"], "w")):
        with open(path, mode) as file:
            os.dup2(file.fileno(), number)
    _loop._SECONDS_BETWEEN_CHECKPOINTS = job["every"]
    _timing._STEPS = 1
    plots.curves, plots.save = no_curves, save
    if job["at"] is not None:
        _arm(*job["at"])
    os.environ.update(job.get("env", {}))
    sys.argv = ["qtn-train", *job["argv"]]
    status = 1
    try:
        module, _, function = job["argv"][0].partition(":")
        if function:
            getattr(importlib.import_module(module), function)(Path(job["argv"][1]))
        else:
            main()
        status = 0
    except SystemExit as error:
        status = int(error.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _arm(moment: str, n: int, number: int) -> None:
    from qtn_train.training import _loop

    if moment == "delay":
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), number))
        signal.setitimer(signal.ITIMER_REAL, n / 1000)
        return
    count = 0

    def now() -> None:
        nonlocal count
        count += 1
        if count == n:
            os.kill(os.getpid(), number)

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any) -> Any:
            if moment != "written":
                now()
            result = call(*args)
            if moment == "written":
                now()
            return result

        return wrapper

    if moment == "step":
        _loop.training_step = wrapped(_loop.training_step)
    else:
        os.replace = wrapped(os.replace)


if __name__ == "__main__":
    serve()
