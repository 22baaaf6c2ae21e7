"""Make ``mnist_mini.bz2``, the part of MNIST that ships with the package.

Of each class it takes 1,000 images of MNIST's train files and 200 of its test files, evenly spaced
among those of the class, and writes them one of each class in turn. The file is the bytes of the
train images, train labels, test images and test labels, one after the other, in bzip2: nearly as
small as xz, and its encoder has given the same bytes for years.

Run as ``python -m qtn_train._data.make_mnist_mini FOLDER``, FOLDER being one that holds the four
files of MNIST (directly, or in its subfolder ``mnist``).
"""

from __future__ import annotations

import bz2
import hashlib
import sys
from pathlib import Path

from qtn_train.data import MINI_TEST, MINI_TRAIN, evenly_spaced, idx_arrays


def mini_content(folder: Path) -> bytes:
    """Return the content of the file before compression.

    Args:
        folder: Where the files of MNIST are.

    Returns:
        Its bytes.

    Raises:
        DataError: A file of MNIST is damaged, or not to be had.
    """
    x_train, y_train, x_test, y_test = idx_arrays("mnist", folder)
    train = evenly_spaced(y_train, MINI_TRAIN)
    test = evenly_spaced(y_test, MINI_TEST)
    return b"".join(
        a.tobytes() for a in (x_train[train], y_train[train], x_test[test], y_test[test])
    )


def main(folder: str) -> None:
    """Write the file beside this script.

    Args:
        folder: Where the files of MNIST are.
    """
    content = mini_content(Path(folder))
    path = Path(__file__).with_name("mnist_mini.bz2")
    path.write_bytes(bz2.compress(content, 9))
    print(f"{path.name}: {path.stat().st_size} bytes")
    print(f"SHA-256 of its content: {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m qtn_train._data.make_mnist_mini FOLDER")
    main(sys.argv[1])
