"""Processes that run a case on a peer, or on this package, and answer JSON lines."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .environments import PeerError, reason

ROOT = Path(__file__).parents[2]


class Child:
    """A process that answers one JSON line with one, within limits of time and memory.

    Args:
        python: The interpreter.
        script: The script, and its arguments.
        threads: Threads that it may use.
        seconds: Longest time for an answer.
        gigabytes: Most memory that it may hold (Linux).
    """

    def __init__(
        self, python: Path, script: Sequence[str], threads: int, seconds: float, gigabytes: float
    ) -> None:
        self._log = tempfile.NamedTemporaryFile(suffix=".log")  # noqa: SIM115
        self._limits = seconds, gigabytes
        self._process = subprocess.Popen(
            [str(python), *script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=surroundings(threads),
        )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            assert stream is not None
            stream.close()

    def ask(self, **question: Any) -> dict[str, Any]:
        """Send a line and return the answer.

        Raises:
            PeerError: The process answers with an error, ends, or comes to a limit.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerError(f"ended: {reason(Path(self._log.name))}") from None
        answer: dict[str, Any] = json.loads(self._line())
        if "error" in answer:
            raise PeerError(answer["error"][:200])
        return answer

    def _line(self) -> bytes:
        stream, (seconds, gigabytes) = self._process.stdout, self._limits
        assert stream is not None
        until = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while not selector.select(timeout=0.05):
                if time.monotonic() > until:
                    raise PeerError(f"a pass takes more than {seconds:g} s")
                if resident(self._process.pid) > gigabytes:
                    raise PeerError(f"takes more than {gigabytes:.3g} GB of memory")
        line = stream.readline()
        if not line:
            status = self._process.wait()
            raise PeerError(f"ended with {status}: {reason(Path(self._log.name))}")
        return line


def resident(pid: int) -> float:
    """Return the gigabytes that a process holds; 0 where that cannot be read."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def surroundings(threads: int) -> dict[str, str]:
    """Return the environment of a process on the CPU with some threads."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    names = ("OMP", "MKL", "OPENBLAS", "NUMBA")
    kept |= {f"{name}_NUM_THREADS": str(threads) for name in names}
    kept |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "PYTHONNOUSERSITE": "1"}
    return kept


def own(script: Path, **limits: Any) -> Child:
    """Return a process that runs this package's side."""
    start = f"import sys, runpy; sys.path[:0] = [{str(script.parent)!r}, {str(ROOT)!r}]; "
    start += f"runpy.run_path({str(script)!r}, run_name='__main__')"
    return Child(Path(sys.executable), ["-c", start], **limits)
