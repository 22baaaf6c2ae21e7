"""Environments of the peers: each in a folder of its own, made once."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from qtn_train.errors import QtnTrainError

REQUIREMENTS = Path(__file__).parent / "requirements"


class PeerError(QtnTrainError):
    """A peer cannot be installed, or cannot do a case."""


def environment(name: str, cache: Path, requirements: Path = REQUIREMENTS) -> Path:
    """Return the Python of a peer's environment; make it where it is missing or out of date.

    Args:
        name: Name of the environment, and of its files of requirements: ``NAME.txt``, and
            ``NAME-alone.txt`` for what is installed without its own requirements.
        cache: Folder of all environments.
        requirements: Folder of the files.

    Raises:
        PeerError: A command failed; its output is in ``NAME.log``.
    """
    files = [requirements / f"{name}.txt", requirements / f"{name}-alone.txt"]
    files = [path for path in files if path.exists()]
    text = sys.version + "".join(path.read_text() for path in files)
    stamp, folder = hashlib.sha256(text.encode()).hexdigest(), cache / name
    python, made = folder / "bin" / "python", folder / ".installed"
    if made.exists() and made.read_text() == stamp:
        return python
    print(f"installing {name} into {folder} (once; minutes)", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    commands = [[sys.executable, "-m", "venv", str(folder)]]
    for path in files:
        alone = ["--no-deps"] if path.stem.endswith("-alone") else []
        commands.append(
            [str(python), "-m", "pip", "install", "--no-compile", *alone, "-r", str(path)]
        )
    log = cache / f"{name}.log"
    for command in commands:
        with log.open("a" if command is not commands[0] else "w") as out:
            done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise PeerError(f"not installed: {reason(log)}")
    made.write_text(stamp)
    return python


def reason(log: Path) -> str:
    """Return the last error of a log, or its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["no output"])[-1][:200]
