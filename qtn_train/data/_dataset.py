"""Data sets: a train set and a test set in memory, checked when built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from torch import Tensor

from ..errors import DataError, must_be
from ._check import check_inputs, check_labels, check_numbers, described
from ._own import checked_path, from_arrays, from_csv, from_images, from_npz


@final
@dataclass(frozen=True, eq=False)
class Dataset:
    """A train set and a test set, checked when built.

    Args:
        name: What it is called.
        x_train: Training inputs, one sample a row: (n_train, ...); float32 and finite, or int64
            for tokens.
        y_train: What is learned: class numbers, int64, 0 to ``n_classes`` - 1, (n_train,), or one
            for each token, (n_train, ...); or real numbers, float32, where ``n_classes`` is 0.
        x_test: Test inputs, like ``x_train``: (n_test, ...).
        y_test: Like ``y_train``: (n_test, ...).
        n_classes: Number of classes; 0 for real numbers.
        classes: Their names.
        scaling: Mean and deviation that were taken out of the inputs, one a feature, or None.

    Raises:
        DataError: A part is empty, of the wrong type or length, not finite, or a label is not
            that of a class.

    Example:
        >>> from qtn_train.data import load
        >>> iris = load("iris")
        >>> iris.x_train.shape, iris.classes
        (torch.Size([120, 4]), ('setosa', 'versicolor', 'virginica'))
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    n_classes: int
    classes: tuple[str, ...]
    scaling: tuple[Tensor, Tensor] | None = None

    def __post_init__(self) -> None:
        if len(self.classes) != self.n_classes:
            raise DataError(must_be("classes", f"{self.n_classes} names", len(self.classes)))
        for part in ("train", "test"):
            x, y = getattr(self, f"x_{part}"), getattr(self, f"y_{part}")
            check_inputs(f"x_{part}", x)
            if self.n_classes:
                check_labels(f"y_{part}", y, len(x), self.n_classes)
            else:
                check_numbers(f"y_{part}", y, len(x))
        for name in ("x", "y"):
            train, test = getattr(self, f"{name}_train"), getattr(self, f"{name}_test")
            if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
                expected = f"samples of shape {tuple(train.shape[1:])}, as in `{name}_train`"
                if train.dtype != test.dtype:
                    expected = f"{described(train)}, as `{name}_train`"
                actual = tuple(test.shape[1:]) if train.dtype == test.dtype else described(test)
                raise DataError(must_be(f"{name}_test", expected, actual))

    @classmethod
    def from_arrays(
        cls,
        x: Any,
        y: Any,
        *,
        test: float | tuple[Any, Any] = 0.2,
        seed: int = 0,
        name: str = "data",
        classes: Sequence[str] | None = None,
        regression: bool | None = None,
    ) -> Dataset:
        """Build a data set from arrays, tensors, pandas frames or lists.

        Args:
            x: Inputs, one sample a row. Bytes become floats from 0 to 1, whole numbers stay what
                they are (tokens), anything else becomes float32.
            y: What is learned, one a sample: whole numbers or text are classes (numbered in sorted
                order), other numbers are values to come close to.
            test: The fraction to hold out, drawn by the seed, or ``(x_test, y_test)``.
            seed: Seed of the draw.
            name: What it is called.
            classes: Names of the classes, in sorted order of their labels.
            regression: Whether ``y`` are values to come close to, whole numbers too; by default
                where they are not all text or whole numbers.

        Raises:
            DataError: A part is empty, holds text or gaps, or has another length.
            ValueError: A fraction that is not between 0 and 1.

        Example:
            >>> data = Dataset.from_arrays([[0.5, 1.0]] * 10, ["no", "yes"] * 5)
            >>> data.x_train.shape, data.x_test.shape, data.classes
            (torch.Size([8, 2]), torch.Size([2, 2]), ('no', 'yes'))
        """
        parts = from_arrays(
            x, y, test=test, seed=seed, name=name, classes=classes, regression=regression
        )
        return cls(**parts)

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        *,
        label: str | None = None,
        test: float = 0.2,
        seed: int = 0,
        regression: bool | None = None,
        standardize: bool = False,
    ) -> Dataset:
        """Read a table of numbers, one sample a row, whose first row may name the columns.

        Args:
            path: A file of values separated by commas, or by semicolons or tabs (its first line
                tells), where a number may then have a decimal comma.
            label: Name of the column to learn; the last one by default.
            test: The fraction to hold out, drawn by the seed.
            seed: Seed of the draw.
            regression: Whether the label is a value to come close to; by default where not all
                labels are text or whole numbers.
            standardize: Whether each column becomes (x − mean) / deviation of the training set,
                which ``scaling`` then holds: the trained network takes such inputs.

        Raises:
            FileNotFoundError: There is no such file.
            DataError: It is no table of numbers; the message names row and column.

        Source:
            RFC 4180 for the format.
        """
        file = checked_path("path", path)
        parts = from_csv(file, label, test, seed, regression=regression, standardize=standardize)
        return cls(**parts)

    @classmethod
    def from_npz(
        cls,
        path: str | Path,
        *,
        test: float = 0.2,
        seed: int = 0,
        regression: bool | None = None,
    ) -> Dataset:
        """Read NumPy's file of arrays ``x`` and ``y``, or ``x_train``, ``y_train`` and so on.

        Args:
            path: The file. Nothing in it is unpickled.
            test: The fraction to hold out, drawn by the seed, where the file has no test set.
            seed: Seed of the draw.
            regression: As in :meth:`from_arrays`.

        Raises:
            FileNotFoundError: There is no such file.
            DataError: It is damaged, or lacks one of the arrays.
        """
        return cls(**from_npz(checked_path("path", path), test, seed, regression))

    @classmethod
    def from_images(
        cls,
        folder: str | Path,
        *,
        size: tuple[int, int] | None = None,
        gray: bool | None = None,
        test: float = 0.2,
        seed: int = 0,
    ) -> Dataset:
        """Read images from a folder with one folder for each class.

        Args:
            folder: Holds ``CLASS/image.png``, or ``train/CLASS/…`` and ``test/CLASS/…``.
            size: Height and width in pixels to bring all images to; by default that of the first.
            gray: Whether to read one channel in place of three; by default where none has
                colors.
            test: The fraction to hold out, drawn by the seed, where there is no ``test`` folder.
            seed: Seed of the draw.

        Returns:
            Images of shape (channels, height, width), pixels in [-1, 1]; of 16 bits the upper 8.

        Raises:
            DataError: No image is there, or one is damaged.
        """
        return cls(**from_images(checked_path("folder", folder), size, gray, test, seed))
