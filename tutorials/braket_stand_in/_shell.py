"""Commands of the command line, run from a notebook as a terminal would run them."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import Control

_BAR = re.compile(r"\d+%\|")


def shell(command: str, show: str = "") -> int:
    """Run a `qtn-train` command in a process of its own, and print what it says.

    Args:
        command: As typed in a terminal.
        show: Pattern of the lines to print; all of them by default. Progress bars are left out.

    Returns:
        Its exit status.
    """
    print(f"$ {command}")
    done = subprocess.run(
        _words(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for line in re.split(r"[\r\n]+", done.stdout):
        if line.strip() and not _BAR.search(line) and re.search(show, line):
            print(line.rstrip())
    return done.returncode


def kill_at_creation(service: Control, command: str, folder: Path | None = None) -> None:
    """Run a `qtn-train` command, and kill -9 it at the worst moment there is.

    The service has made a task, which will be charged, and the command does not know it yet.

    Args:
        service: What the command talks to.
        command: As typed in a terminal.
        folder: Where to run it; here by default.
    """
    service.fault("create-hang")
    before = len(service.struck())
    process = subprocess.Popen(
        _words(command), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        while "create-hang" not in service.struck()[before:]:
            if process.poll() is not None:
                raise RuntimeError(process.communicate()[1].decode())
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    service.clear()


def _words(command: str) -> list[str]:
    program, *words = shlex.split(command)
    assert program == "qtn-train", f"{program} is not qtn-train"
    return [sys.executable, "-m", "qtn_train.cli", *words]
