"""The folders' doors: what other rooms may import of qtn_train.braket."""

import importlib
import subprocess
import sys

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
