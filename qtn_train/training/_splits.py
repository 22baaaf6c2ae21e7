"""Training and test data in the forms in which people have them, as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset, default_collate

from ..data import Dataset
from ..data._check import check_inputs, check_numbers
from ..data._own import held_out, inputs, labels
from ..errors import DataError, must_be

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Splits:
    """Data to train with, and to test with.

    Attributes:
        train: Inputs and what is learned.
        test: The same, or None.
        n_classes: Number of classes, or 0 for real numbers.
    """

    train: Pair
    test: Pair | None
    n_classes: int


def splits_of(train: Any, test: Any, seed: int) -> Splits:
    """Return data as tensors.

    Args:
        train: A :class:`Dataset`; a pair ``(x, y)`` of arrays, tensors or frames; a TensorDataset
            or another torch data set; or a DataLoader, which is read once.
        test: The same, a fraction to hold out, or None.
        seed: Seed of the draw of that fraction.

    Raises:
        TypeError: They are something else.
        DataError: They are empty, not finite, or of different kinds.
    """
    if isinstance(train, Dataset):
        if test is not None:
            hint = "Give `(data.x_train, data.y_train)` to test with something else."
            raise TypeError(must_be("test", "None: a Dataset has its own", _kind(test), hint))
        return Splits((train.x_train, train.y_train), (train.x_test, train.y_test), train.n_classes)
    x, y, names = _pair("train", train, None)
    n_classes = 0 if y.is_floating_point() else int(y.max()) + 1
    if test is None:
        return Splits((x, y), None, n_classes)
    if isinstance(test, float | int) and not isinstance(test, bool):
        kept, held = held_out(len(x), float(test), seed)
        return Splits((x[kept], y[kept]), (x[held], y[held]), n_classes)
    x_test, y_test, _ = _pair("test", test, names)
    for name, mine, other in (("inputs", x_test, x), ("labels", y_test, y)):
        if mine.dtype != other.dtype or mine.shape[1:] != other.shape[1:]:
            expected = f"{name} of {_form(other)}, as in `train`"
            raise DataError(must_be("test", expected, _form(mine)))
    if n_classes:
        n_classes = max(n_classes, int(y_test.max()) + 1)
    return Splits((x, y), (x_test, y_test), n_classes)


def _pair(
    name: str, data: Any, names: tuple[Any, ...] | None
) -> tuple[Tensor, Tensor, tuple[Any, ...] | None]:
    """Return inputs, targets, and the labels that class numbers stand for."""
    raw_x, raw_y = _raw(name, data)
    x = inputs(f"{name} inputs", raw_x)
    y, names = _learned(f"{name} labels", raw_y, names)
    check_inputs(f"{name} inputs", x)
    if len(y) != len(x):
        raise DataError(must_be(f"{name} labels", f"{len(x)}, one a sample", len(y)))
    if y.is_floating_point():
        check_numbers(f"{name} labels", y, len(x))
    elif int(y.min()) < 0:
        raise DataError(must_be(f"{name} labels", "class numbers from 0", int(y.min())))
    return x, y, names


def _learned(
    name: str, y: Any, names: tuple[Any, ...] | None
) -> tuple[Tensor, tuple[Any, ...] | None]:
    """Return targets: class numbers and real numbers as they are, text as class numbers."""
    if isinstance(y, Tensor):
        y = y.detach()
        return (y.float() if y.is_floating_point() else y.long()), None
    numbers, found = labels(name, y, names)
    if found is None or isinstance(found[0], str):
        return numbers, found
    return torch.tensor([int(label) for label in found])[numbers], None


def _raw(name: str, data: Any) -> tuple[Any, Any]:
    if isinstance(data, Dataset):
        return data.x_train, data.y_train
    if isinstance(data, tuple | list) and len(data) == 2:
        return data[0], data[1]
    if isinstance(data, DataLoader):
        batches = [_two(name, batch) for batch in data]
        if not batches:
            raise DataError(must_be(name, "at least one batch", "none"))
        return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    if isinstance(data, TensorDataset):
        return _two(name, data.tensors)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str):
        try:
            return _two(name, default_collate([data[number] for number in range(len(data))]))
        except (KeyError, RuntimeError, TypeError) as error:
            raise _not_data(name, data) from error
    raise _not_data(name, data)


def _two(name: str, batch: Any) -> tuple[Tensor, Tensor]:
    is_pair = isinstance(batch, tuple | list) and len(batch) == 2
    if not is_pair or not all(isinstance(part, Tensor) for part in batch):
        actual = f"{len(batch)} parts" if isinstance(batch, tuple | list) else _kind(batch)
        raise TypeError(must_be(name, "batches of inputs and labels, both tensors", actual))
    return batch[0], batch[1]


def _not_data(name: str, data: Any) -> TypeError:
    expected = "a Dataset, a pair (x, y), a torch data set or a DataLoader"
    hints = {
        "str": "Load it: qt.load_dataset(name), or qt.Dataset.from_csv(path).",
        "DataFrame": "Give a pair: (frame[columns], frame[label]).",
        "ndarray": "Give a pair: (x, y).",
        "Tensor": "Give a pair: (x, y).",
        "FitConfig": "Pass it by name: config=…",
    }
    return TypeError(must_be(name, expected, _kind(data), hints.get(type(data).__name__, "")))


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _form(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} and shape {tuple(x.shape[1:])}"
