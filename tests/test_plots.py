"""Pictures: a PNG file, drawn without touching anybody's matplotlib state."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from qtn_train.plots import save_curves


def epochs(n: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": number,
            "train_loss": 1 / number,
            "train_accuracy": 1 - 0.5 / number,
            "test_loss": 1.1 / number,
            "test_accuracy": 1 - 0.6 / number,
            "seconds": 1.0,
        }
        for number in range(1, n + 1)
    ]


@pytest.mark.parametrize("n", [1, 2, 50])
def test_a_png_of_a_sensible_size(n: int, tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    save_curves(epochs(n), path, "iris: 131 weights")
    raw = path.read_bytes()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", raw[16:24])
    assert (width, height) == (1080, 432)
    assert 5_000 < len(raw) < 200_000


def test_a_string_will_do_as_path_and_no_title_is_needed(tmp_path: Path) -> None:
    save_curves(epochs(3), str(tmp_path / "curves.png"))
    assert (tmp_path / "curves.png").stat().st_size > 5_000


def test_the_curves_are_in_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    save_curves(epochs(3), first)
    other = epochs(3)
    other[1]["test_accuracy"] = 0.2
    save_curves(other, second)
    assert first.read_bytes() != second.read_bytes()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No such file or directory"):
        save_curves(epochs(2), tmp_path / "nowhere" / "curves.png")
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        save_curves(epochs(2), tmp_path)


def test_global_state_is_left_alone(tmp_path: Path) -> None:
    # Reading rcParams["backend"] would itself load pyplot.
    code = (
        "import sys; from qtn_train import plots; assert 'matplotlib' not in sys.modules\n"
        "splits = ('train_loss', 'train_accuracy', 'test_loss', 'test_accuracy')\n"
        "import matplotlib; params = matplotlib.rcParams\n"
        "before = {name: params[name] for name in params if name != 'backend'}\n"
        f"path = {str(tmp_path / 'curves.png')!r}\n"
        "plots.save_curves([dict.fromkeys(splits, 0.5) | {'epoch': 1}], path)\n"
        "assert before == {name: params[name] for name in before}\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
