"""The folders' doors: what other rooms may import of qtn_train.braket."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDERS = ("cost", "device", "run")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_public_name_is_found(folder: str) -> None:
    door = importlib.import_module(f"qtn_train.braket.{folder}")
    for name in door.__all__:
        assert getattr(door, name) is not None
    with pytest.raises(AttributeError, match=f"braket.{folder}' has no attribute 'nothing'"):
        door.nothing  # noqa: B018


def test_opening_the_doors_loads_nothing_heavy() -> None:
    code = (
        f"import sys, {', '.join(f'qtn_train.braket.{folder}' for folder in FOLDERS)};"
        "print(sorted({'torch', 'boto3', 'braket', 'sqlite3', 'scipy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_credentials_are_looked_for_before_what_takes_seconds(tmp_path: Path) -> None:
    pytest.importorskip("boto3", reason="the braket extra is not installed")
    code = """
import sys
from pathlib import Path
from qtn_train.cli import main
for words in ("train iris --engine braket --device Garnet --shots 9", "braket submit r --device x"):
    sys.argv = ["qtn-train", *words.split()]
    try:
        main()
    except SystemExit as ended:
        print(ended.code, [name for name in ("torch", "braket.aws") if name in sys.modules])
"""
    env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    env |= {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert run.stdout == "2 []\n2 []\n"
    line = "qtn-train: `credentials` must be those of an AWS account; got none. Run `aws configure`"
    assert [text.startswith(line) for text in run.stderr.splitlines()] == [True, True]
