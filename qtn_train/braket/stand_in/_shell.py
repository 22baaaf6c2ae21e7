"""Commands of the command line, run from a notebook as a terminal would run them."""

from __future__ import annotations

import io
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from . import Control

_BAR = re.compile(r"\d+%\|")


def shell(command: str, show: str = "") -> None:
    """Run a `qtn-train` command and print what it says.

    It runs in this process, which has loaded everything: a process of its own takes seconds more.

    Args:
        command: As typed in a terminal.
        show: Pattern of the lines to print; all of them by default. Progress bars are left out.
    """
    print(f"$ {command}")
    output = io.StringIO()
    status = _run(command, output, output)
    for line in re.split(r"[\r\n]+", output.getvalue()):
        if line.strip() and not _BAR.search(line) and re.search(show, line):
            print(line.rstrip())
    if status:
        print(f"[exit status {status}]")


def ask(command: str) -> dict[str, Any]:
    """Run a `qtn-train` command with `--json` and return what it prints.

    Args:
        command: As typed in a terminal, without `--json`.

    Raises:
        RuntimeError: It did not work.
    """
    output, messages = io.StringIO(), io.StringIO()
    if _run(f"{command} --json", output, messages):
        raise RuntimeError(messages.getvalue())
    found: dict[str, Any] = json.loads(output.getvalue())
    return found


def _run(command: str, output: io.StringIO, messages: io.StringIO) -> int:
    # The command as installed: the package's layers do not let the stand-in import it.
    (command_line,) = metadata.entry_points(group="console_scripts", name="qtn-train")
    main = command_line.load()
    words = patch.object(sys, "argv", ["qtn-train", *_arguments(command)])
    with words, redirect_stdout(output), redirect_stderr(messages):
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


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
    words = [sys.executable, "-m", "qtn_train.cli", *_arguments(command)]
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
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


def _arguments(command: str) -> list[str]:
    program, *words = shlex.split(command)
    assert program == "qtn-train", f"{program} is not qtn-train"
    return words
