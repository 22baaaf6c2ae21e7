"""A user's own data: arrays, tables and folders of images, brought into one form."""

from __future__ import annotations

import csv
import math
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._random import permutation
from ..errors import DataError, Message, must_be
from ._check import described

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
#: Pillow's names of images without colors.
_GRAY_MODES = ("1", "L", "LA")
#: Those with 16 bits a pixel, which are gray.
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_Array = NDArray[Any]

#: Arguments of a data set by name.
Parts = dict[str, Any]


def checked_path(name: str, path: object) -> Path:
    """Return a path that was given as one.

    Args:
        name: Of the argument.
        path: What was given.

    Raises:
        TypeError: It is no path.
    """
    if isinstance(path, str | os.PathLike):
        return Path(path)
    hint = "What is in memory goes into qt.Dataset.from_arrays(x, y)."
    raise TypeError(must_be(name, "a path", type(path).__name__, hint))


def inputs(name: str, x: Any) -> Tensor:
    """Return inputs as float32, or int64 where they are whole numbers (tokens).

    Args:
        name: What they are, for messages.
        x: A tensor, array, frame or list; one sample a row, or one number.

    Raises:
        DataError: They are no numbers.
    """
    tensor: Tensor = x.detach() if isinstance(x, Tensor) else torch.from_numpy(_numbers(name, x))
    if tensor.is_complex():
        raise DataError(must_be(name, "an array of real numbers", described(tensor)))
    if tensor.dtype == torch.uint8:
        tensor = tensor.float() / 255
    elif tensor.is_floating_point() or tensor.dtype == torch.bool:
        tensor = tensor.float()
    else:
        tensor = tensor.long()
    return tensor[:, None] if tensor.ndim == 1 else tensor


def labels(
    name: str, y: Any, known: Sequence[Any] | None = None, *, regression: bool | None = None
) -> tuple[Tensor, tuple[Any, ...] | None]:
    """Return the targets: class numbers and the labels that they stand for, or real numbers.

    Args:
        name: What they are, for messages.
        y: A tensor, array, series or list, one a sample.
        known: The labels in order, where another part of the data has said them.
        regression: Whether whole numbers are values to come close to as well.

    Returns:
        int64 and the labels in sorted order; or float32 and None.

    Raises:
        DataError: They are neither numbers nor text, or one is not known.
    """
    if regression:
        values = y.detach() if isinstance(y, Tensor) else torch.from_numpy(_numbers(name, y))
        return values.to(torch.float32), None
    array = y.detach().cpu().numpy() if isinstance(y, Tensor) else _array(y)
    if array.ndim == 0:
        raise DataError(must_be(name, "labels, one a sample", repr(y)))
    if array.dtype.kind == "f":
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)), None
    if array.dtype.kind == "O":
        array = np.array([str(value) for value in array.ravel()]).reshape(array.shape)
    if array.dtype.kind not in "iubU":
        raise DataError(must_be(name, "whole numbers, text or real numbers", array.dtype))
    found, numbers = np.unique(array, return_inverse=True)
    names = tuple(found.tolist()) if known is None else tuple(known)
    lacking = [label for label in found.tolist() if label not in names]
    if lacking:
        expected = f"one of the labels of the training set, {_listed(names)}"
        raise DataError(must_be(name, expected, repr(lacking[0])))
    places = np.array([names.index(label) for label in found.tolist()], dtype=np.int64)
    return torch.from_numpy(places[numbers].reshape(array.shape)), names


def from_arrays(
    x: Any,
    y: Any,
    *,
    test: float | tuple[Any, Any],
    seed: int,
    name: str,
    classes: Sequence[str] | None = None,
    regression: bool | None = None,
) -> Parts:
    """Bring arrays into one form; see :meth:`Dataset.from_arrays`."""
    x_all = inputs("x", x)
    y_all, known = labels("y", y, regression=regression)
    if len(x_all) != len(y_all):
        raise DataError(must_be("y", f"{len(x_all)} labels, one a sample", len(y_all)))
    if isinstance(test, tuple | list):
        x_test = inputs("x_test", test[0])
        y_test, _ = labels("y_test", test[1], known, regression=regression)
        x_train, y_train = x_all, y_all
    else:
        train, held = held_out(len(x_all), test, seed)
        x_train, y_train, x_test, y_test = x_all[train], y_all[train], x_all[held], y_all[held]
    names = () if known is None else tuple(str(label) for label in known)
    if classes is not None and len(classes) != len(names):
        raise DataError(must_be("classes", f"{len(names)} names", len(classes)))
    return {
        "name": name,
        "x_train": x_train,
        "y_train": y_train,
        "x_test": x_test,
        "y_test": y_test,
        "n_classes": len(names),
        "classes": names if classes is None else tuple(classes),
    }


def held_out(n_samples: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the positions of training and of held-out samples, drawn by a seed, each in order.

    Args:
        n_samples: How many there are, at least 2.
        fraction: Of the held-out ones.
        seed: Seed of the draw.

    Raises:
        DataError: There are too few samples.
        ValueError: The fraction is not between 0 and 1.
    """
    is_number = isinstance(fraction, int | float) and not isinstance(fraction, bool)
    if not (is_number and 0 < fraction < 1):
        raise ValueError(must_be("test", "a fraction between 0 and 1", repr(fraction)))
    if n_samples < 2:
        raise DataError(must_be("x", "at least 2 samples, one of them to test", n_samples))
    order = torch.from_numpy(permutation(seed, "test set", n_samples))
    n_held = min(max(1, round(fraction * n_samples)), n_samples - 1)
    return order[n_held:].sort().values, order[:n_held].sort().values


# --- tables ---------------------------------------------------------------------------------------


def from_csv(
    path: Path,
    label: str | None,
    test: float,
    seed: int,
    *,
    regression: bool | None,
    standardize: bool,
) -> Parts:
    """Read a table; see :meth:`Dataset.from_csv`."""
    rows, names, first = _table(path)
    column = _label_column(path, names, label)
    x = np.empty((len(rows), len(names) - 1), dtype=np.float32)
    for number, row in enumerate(rows):
        if len(row) != len(names):
            expected = f"rows of {len(names)} values"
            raise DataError(must_be(str(path), expected, f"{len(row)} in row {number + first}"))
        values = [*row[:column], *row[column + 1 :]]
        for place, value in enumerate(values):
            x[number, place] = _number(
                path, value, names, place + (place >= column), number + first
            )
    y = [row[column].strip() for row in rows]
    if "" in y:
        where = f"an empty label in row {y.index('') + first}"
        raise DataError(must_be(str(path), "complete", where, "Remove or fill in such rows."))
    parts = from_arrays(x, _read_labels(path, y, regression), test=test, seed=seed, name=path.stem)
    return _standardized(parts) if standardize else parts


def _table(path: Path) -> tuple[list[list[str]], list[str], int]:
    """Return rows, names of the columns, and the number of the first row."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            mark = next((mark for mark in "\t;" if mark in first), ",")
            file.seek(0)
            rows = [row for row in csv.reader(file, delimiter=mark) if any(map(str.strip, row))]
    except FileNotFoundError as error:
        raise FileNotFoundError(_missing(path)) from error
    except IsADirectoryError as error:
        raise DataError(must_be(str(path), "a file", "a folder")) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(must_be(str(path), "comma-separated text", f"{error}")) from error
    if not rows or len(rows[0]) < 2:
        expected = "a table of at least two columns, separated by commas, semicolons or tabs"
        raise DataError(must_be(str(path), expected, "one" if rows else "an empty file"))
    if mark != ",":
        rows = [[_with_point(value) for value in row] for row in rows]
    # A first row without a single number, above the label or beside it, names the columns.
    is_header = not any(_is_number(value) for value in rows[0])
    names = [value.strip() for value in rows[0]] if is_header else []
    rows = rows[is_header:]
    if not rows:
        raise DataError(must_be(str(path), "a table of at least two samples", "a header alone"))
    return rows, names or [f"column {n + 1}" for n in range(len(rows[0]))], 1 + is_header


def _with_point(value: str) -> str:
    """Return a number with a decimal comma as one with a point, and anything else as it is."""
    point = value.replace(",", ".")
    return point if _is_number(point) else value


def _label_column(path: Path, names: list[str], label: str | None) -> int:
    if label is None:
        return len(names) - 1
    if label not in names:
        raise ValueError(must_be("label", f"one of the columns {_listed(names)}", repr(label)))
    return names.index(label)


def _number(path: Path, value: str, names: list[str], column: int, row: int) -> float:
    if not _is_number(value) or not math.isfinite(float(value)):
        actual = f"{value.strip()!r} in row {row}, column {names[column]!r}"
        hint = "Replace text by numbers, and remove or fill in gaps."
        raise DataError(must_be(str(path), "a table of finite numbers", actual, hint))
    return float(value)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _read_labels(path: Path, y: list[str], regression: bool | None) -> list[Any]:
    if all(_is_number(value) for value in y):
        numbers = [float(value) for value in y]
        is_whole = all(number.is_integer() for number in numbers)
        if regression or (regression is None and not is_whole):
            return numbers
        return [int(number) if number.is_integer() else str(number) for number in numbers]
    if regression:
        text = next(value for value in y if not _is_number(value))
        raise DataError(must_be(str(path), "a table whose labels are numbers", repr(text)))
    return y


def _standardized(parts: Parts) -> Parts:
    x_train, x_test = parts["x_train"], parts["x_test"]
    mean, deviation = x_train.mean(0), x_train.std(0, correction=0)
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    scaled = {"x_train": (x_train - mean) / deviation, "x_test": (x_test - mean) / deviation}
    return {**parts, **scaled, "scaling": (mean, deviation)}


# --- files of arrays, folders of images -----------------------------------------------------------


def _missing(path: Path) -> str:
    """Return the message of a missing file, with those of its kind beside it."""
    beside = sorted(each.name for each in path.parent.glob(f"*{path.suffix}"))[:10]
    hint = f"Files there: {', '.join(beside)}." if beside else "Check the path."
    return must_be(str(path), "a file", "nothing there", hint)


def from_npz(path: Path, test: float, seed: int, regression: bool | None) -> Parts:
    """Read NumPy's file of arrays; see :meth:`Dataset.from_npz`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise TypeError("a single array")
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise FileNotFoundError(_missing(path)) from error
    except (OSError, ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile) as error:
        actual = f"a damaged or foreign file ({error})"
        raise DataError(must_be(str(path), "a file of arrays (npz)", actual)) from error
    sets = [("x", "y", None, None), ("x_train", "y_train", "x_test", "y_test")]
    for x, y, x_test, y_test in sets:
        if x in arrays and y in arrays and (x_test is None or x_test in arrays):
            held = test if x_test is None or y_test is None else (arrays[x_test], arrays[y_test])
            return from_arrays(
                arrays[x], arrays[y], test=held, seed=seed, name=path.stem, regression=regression
            )
    expected = "a file of the arrays x and y, or x_train, y_train, x_test and y_test"
    hint = "Name them when you write it: np.savez(path, x=…, y=…)."
    raise DataError(must_be(str(path), expected, _listed(arrays) or "none", hint))


def from_images(
    folder: Path, size: tuple[int, int] | None, gray: bool | None, test: float, seed: int
) -> Parts:
    """Read a folder of images; see :meth:`Dataset.from_images`."""
    if not folder.is_dir():
        raise DataError(must_be("folder", "an existing folder", repr(str(folder))))
    is_split = (folder / "train").is_dir() and (folder / "test").is_dir()
    files = _image_files(folder / "train" if is_split else folder)
    held_files = _image_files(folder / "test") if is_split else []
    if gray is None:
        gray = not any(_has_colors(path) for path, _ in files + held_files)
    x, y = _images(files, size, gray)
    shape = (x.shape[2], x.shape[3])
    held = _images(held_files, size or shape, gray) if is_split else test
    return from_arrays(x, y, test=held, seed=seed, name=folder.name)


def _image_files(folder: Path) -> list[tuple[Path, str]]:
    """Return the images below a folder, each with the name of its class."""
    found = [
        (path, part.name)
        for part in sorted(folder.iterdir())
        if part.is_dir()
        for path in sorted(part.rglob("*"))
        if path.suffix.lower() in _IMAGES
    ]
    if not found:
        expected = "a folder with one folder of images for each class"
        raise DataError(must_be("folder", expected, repr(str(folder))))
    return found


def _has_colors(path: Path) -> bool:
    """Return whether a file is an image of more than shades of gray, as its header says."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.mode not in (*_GRAY_MODES, *_DEEP_MODES)
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise DataError(_no_image(path)) from error


def _images(
    found: list[tuple[Path, str]], size: tuple[int, int] | None, gray: bool
) -> tuple[_Array, list[str]]:
    from PIL import Image, UnidentifiedImageError

    images = []
    for path, _ in found:
        try:
            with Image.open(path) as image:
                pixels = _upper_byte(image) if image.mode in _DEEP_MODES else image
                pixels = pixels.convert("L" if gray else "RGB")
        except (OSError, UnidentifiedImageError, ValueError) as error:
            raise DataError(_no_image(path)) from error
        size = size or (pixels.height, pixels.width)
        if (pixels.height, pixels.width) != tuple(size):
            pixels = pixels.resize((size[1], size[0]))
        array = np.asarray(pixels, dtype=np.float32)
        images.append(array[None] if gray else array.transpose(2, 0, 1))
    return np.stack(images) / 127.5 - 1, [label for _, label in found]


def _upper_byte(image: Any) -> Any:
    """Return an image of 16 bits with 8; Pillow's own conversion cuts all above 255."""
    from PIL import Image

    deep = np.asarray(image).astype(np.int64)
    return Image.fromarray(np.clip(deep // 257, 0, 255).astype(np.uint8))


def _no_image(path: Path) -> Message:
    return must_be(str(path), "an image", "a damaged or foreign file")


# --- conversions ----------------------------------------------------------------------------------


def _array(value: Any) -> _Array:
    """Return an array; frames and series of pandas know how to become one."""
    return np.asarray(value.to_numpy() if hasattr(value, "to_numpy") else value)


def _numbers(name: str, x: Any) -> _Array:
    """Return an array of numbers."""
    try:
        array = _array(x)
        if array.dtype.kind == "O":
            array = array.astype(np.float32)
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        hint = "Replace text by numbers, and make all samples equally long."
        raise DataError(must_be(name, "an array of numbers", reason, hint)) from error
    if array.dtype.kind not in "iufcb":
        raise DataError(must_be(name, "an array of numbers", array.dtype))
    # Unsigned numbers of more than a byte are not known to every version of torch.
    is_wide = array.dtype.kind == "u" and array.dtype != np.uint8
    return np.ascontiguousarray(array, dtype=np.int64 if is_wide else None)


def _listed(names: Any) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:10]) + (", …" if len(shown) > 10 else "")
