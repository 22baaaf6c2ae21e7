"""Data sets, always split, scaled and checked in the same way.

`iris` and `digits` come with scikit-learn and `mnist-mini` with this package. The eight files of
`mnist` and `fashion-mnist` are looked for on disk and downloaded where they are missing::

    data_dir ──► $QTN_TRAIN_DATA ──► the user's cache folder ──► MIRRORS, into the cache folder

In each folder the subfolder of the data set's name comes first (both sets name their files alike),
then the folder itself; a file may be gzipped or not. Wherever it came from, the SHA-256 of its
decompressed content is compared, since mirrors gzip the same content differently.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import tempfile
import zlib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DataError, did_you_mean, must_be
from ._dataset import Dataset

#: The names that :func:`load` takes.
DATASETS = ("iris", "digits", "mnist-mini", "mnist", "fashion-mnist")

#: Folders on the web that hold the four ``.gz`` files of a data set, tried in this order.
#: One of them has no https; the checksum guards it as it guards the others.
MIRRORS: dict[str, tuple[str, ...]] = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://raw.githubusercontent.com/fgnt/mnist/master/",
    ),
    "fashion-mnist": (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
}

#: The files of a data set, named alike in all: each is ``.gz`` on the mirrors.
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

#: SHA-256 of the decompressed content of each of :data:`FILES`.
SHA256: dict[str, tuple[str, ...]] = {
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion-mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}

#: SHA-256 of the decompressed ``_data/mnist_mini.bz2``.
MINI_SHA256 = "de7b6bc11d07c7a9327b6941e4f02975422b796cce6f0c697f6352dffc840ec7"
MINI_TRAIN, MINI_TEST = 1000, 200  # images of each class

_DIGITS = tuple("0123456789")
_CLASSES = {
    "mnist": _DIGITS,
    "fashion-mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}
_IRIS_TEST, _DIGITS_TEST = 10, 36  # test samples of each class

_REPLACE = "Replace it by a fresh copy, or delete it."
_FOLDER_HINT = (
    "Put its four files into a folder and name it (data_dir), or name it in the environment "
    "variable QTN_TRAIN_DATA."
)

_Bytes = NDArray[np.uint8]
_Arrays = tuple[_Bytes, _Bytes, _Bytes, _Bytes]


def load(name: str, *, data_dir: str | Path | None = None) -> Dataset:
    """Load a data set; no seed changes what it holds, how it is split, or in which order.

    - ``iris``: 4 standardized lengths (mean and deviation of the train set); the last 10 flowers
      of each class are the test set, the other 120 the train set.
    - ``digits``: 64 pixels in [-1, 1]; the test set is 36 evenly spaced samples of each class,
      360 in all, so that every part of the collection is in it; the other 1437 are the train set.
    - ``mnist-mini``: 10,000 and 2,000 images of ``mnist``, as many of each class, whose labels
      run 0, 1, … 9, 0, 1, …, so that any multiple of ten from the start is balanced too.
    - ``mnist``, ``fashion-mnist``: all 60,000 and 10,000 images. Images are (1, 28, 28) with
      pixels in [-1, 1].

    Args:
        name: One of :data:`DATASETS`.
        data_dir: A folder to look in first, for the sets whose files are looked for; else
            ``$QTN_TRAIN_DATA``, then the user's cache folder, then the mirrors.

    Returns:
        The data set.

    Raises:
        ValueError: No data set has that name.
        DataError: A file is damaged or not to be had, or ``data_dir`` is not a folder.

    Source:
        iris: Fisher, Annals of Eugenics 7 (1936) 179. digits: Alpaydin and Kaynak, UCI (1998).
        mnist: LeCun, Bottou, Bengio, Haffner, Proc. IEEE 86 (1998) 2278.
        fashion-mnist: Xiao, Rasul, Vollgraf, arXiv:1708.07747.

    Example:
        >>> digits = load("digits")
        >>> digits.x_train.shape, digits.x_test.shape
        (torch.Size([1437, 64]), torch.Size([360, 64]))
    """
    if name not in DATASETS:
        own = "Data of your own: qt.Dataset.from_csv(path), from_images(folder), …"
        hint = did_you_mean(name, DATASETS) or own
        raise ValueError(must_be("name", f"one of {', '.join(DATASETS)}", repr(name), hint))
    folder = None if data_dir is None else Path(data_dir).expanduser()
    if folder is not None and not folder.is_dir():
        raise DataError(must_be("data_dir", "an existing folder", repr(str(data_dir))))
    if name == "iris":
        return _iris()
    if name == "digits":
        return _digits()
    if name == "mnist-mini":
        return _images(name, _mini_arrays(), _DIGITS)
    return _images(name, idx_arrays(name, folder), _CLASSES[name])


def idx_arrays(name: str, data_dir: Path | None) -> _Arrays:
    """Return the four files of a data set as they are.

    Args:
        name: ``mnist`` or ``fashion-mnist``.
        data_dir: A folder to look in first.

    Returns:
        Train images, train labels, test images, test labels, as bytes.

    Raises:
        DataError: A file is damaged or not to be had.
    """
    arrays = [
        _read(path, name, file) if path else _download(name, file)
        for file in FILES
        for path in [_find(name, file, data_dir)]
    ]
    return arrays[0], arrays[1], arrays[2], arrays[3]


def evenly_spaced(labels: NDArray[np.integer], per_class: int) -> NDArray[np.intp]:
    """Return the positions of equally many samples of each class, evenly spaced within it.

    Args:
        labels: The class of each sample.
        per_class: How many of each class.

    Returns:
        The positions, one of each class in turn.

    Example:
        >>> evenly_spaced(np.array([0, 0, 0, 0, 1, 1]), 2).tolist()
        [0, 4, 2, 5]
    """
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    picks = [group[np.arange(per_class) * len(group) // per_class] for group in groups]
    return np.stack(picks, axis=1).ravel()


# --- the sets that are installed ------------------------------------------------------------------


def _iris() -> Dataset:
    from sklearn.datasets import load_iris

    bunch = load_iris()
    x, y = np.asarray(bunch.data, dtype=np.float64), np.asarray(bunch.target)
    test = np.sort([i for c in np.unique(y) for i in np.flatnonzero(y == c)[-_IRIS_TEST:]])
    train = np.setdiff1d(np.arange(len(y)), test)
    x = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    return _split("iris", x, y, train, test, tuple(str(c) for c in bunch.target_names))


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x, y = np.asarray(bunch.data, dtype=np.float64), np.asarray(bunch.target)
    test = evenly_spaced(y, _DIGITS_TEST)
    train = np.setdiff1d(np.arange(len(y)), test)
    return _split("digits", (x / 16 - 0.5) / 0.5, y, train, test, _DIGITS)


def _split(
    name: str,
    x: NDArray[np.float64],
    y: NDArray[np.integer],
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    classes: tuple[str, ...],
) -> Dataset:
    inputs = torch.from_numpy(x.astype(np.float32))
    labels = torch.from_numpy(y.astype(np.int64))
    return Dataset(
        name, inputs[train], labels[train], inputs[test], labels[test], len(classes), classes
    )


def _images(name: str, arrays: _Arrays, classes: tuple[str, ...]) -> Dataset:
    x_train, y_train, x_test, y_test = arrays
    return Dataset(
        name,
        _pixels(x_train),
        torch.from_numpy(y_train.astype(np.int64)),
        _pixels(x_test),
        torch.from_numpy(y_test.astype(np.int64)),
        len(classes),
        classes,
    )


def _pixels(images: _Bytes) -> Tensor:
    # In place: the full sets are 188 MB in float32.
    x = torch.from_numpy(images.astype(np.float32)).unsqueeze(1)
    return x.div_(255).sub_(0.5).div_(0.5)


def _mini_arrays() -> _Arrays:
    import bz2  # some builds of Python lack it: only this data set needs it

    path = files("qtn_train") / "_data" / "mnist_mini.bz2"
    try:
        content = bz2.decompress(path.read_bytes())
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            must_be(str(path), "the file of `mnist-mini`", error, "Reinstall qtn-train.")
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != MINI_SHA256:
        expected, actual = f"content with SHA-256 {MINI_SHA256}", f"SHA-256 {digest}"
        raise DataError(must_be(str(path), expected, actual, "Reinstall qtn-train."))
    n_train, n_test = 10 * MINI_TRAIN, 10 * MINI_TEST
    sizes = [n_train * 784, n_train, n_test * 784, n_test]
    a, b, c, d = np.split(np.frombuffer(content, dtype=np.uint8), np.cumsum(sizes)[:-1])
    return a.reshape(-1, 28, 28), b, c.reshape(-1, 28, 28), d


# --- the sets in idx files ------------------------------------------------------------------------


def _find(name: str, file: str, data_dir: Path | None) -> Path | None:
    for folder in _folders(data_dir):
        for stem in (folder / name / file, folder / file):
            for path in (stem.with_name(f"{file}.gz"), stem):
                if os.path.isfile(path):  # unlike Path.is_file, False for a folder closed to us
                    return path
    return None


def _folders(data_dir: Path | None) -> Iterator[Path]:
    if data_dir is not None:
        yield data_dir
    from_environment = os.environ.get("QTN_TRAIN_DATA")
    if from_environment:
        yield Path(from_environment).expanduser()
    yield _cache()


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("qtn_train"))


def _read(path: Path, name: str, file: str) -> _Bytes:
    """Return the array in the file at ``path``, which must be the intact ``file`` of ``name``."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        actual = error.strerror or type(error).__name__
        raise DataError(must_be(str(path), "readable", actual, "Check its permissions.")) from error
    if not raw:
        raise DataError(
            must_be(str(path), f"the {file} file of `{name}`", "an empty file", _REPLACE)
        )
    content = raw
    # Told by its first bytes, not its name: some servers unzip what they send.
    if raw[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            actual = f"a damaged or truncated one of {len(raw)} bytes ({error})"
            raise DataError(must_be(str(path), "a whole gzip file", actual, _REPLACE)) from error
    elif path.suffix == ".gz" and raw[:2] != b"\x00\x00":
        actual = f"a file that begins with {raw[:8]!r}"
        raise DataError(must_be(str(path), "a gzip file", actual, _REPLACE))
    array = _parse_idx(path, content, 3 if "idx3" in file else 1)
    _check_digest(path, name, file, hashlib.sha256(content).hexdigest())
    return array


def _parse_idx(path: Path, content: bytes, n_dims: int) -> _Bytes:
    """Return the array in an idx file: a magic number, then ``n_dims`` sizes, then the bytes."""
    start = 4 + 4 * n_dims
    magic = bytes([0, 0, 8, n_dims])  # 8: unsigned bytes
    if content[:4] != magic or len(content) < start:
        actual = f"{len(content)} bytes that begin with {content[:4]!r}"
        raise DataError(must_be(str(path), f"an idx file with magic {magic!r}", actual, _REPLACE))
    shape = [int(size) for size in np.frombuffer(content[4:start], dtype=">u4")]
    n_bytes = start + math.prod(shape)
    if len(content) != n_bytes:
        expected = f"{n_bytes} bytes long, as its header says"
        raise DataError(must_be(str(path), expected, f"{len(content)} bytes", _REPLACE))
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _check_digest(path: Path, name: str, file: str, digest: str) -> None:
    number = FILES.index(file)
    expected = SHA256[name][number]
    if digest == expected:
        return
    actual, hint = f"SHA-256 {digest}", _REPLACE
    for other, digests in SHA256.items():
        if digests[number] == digest:
            actual = f"that of `{other}`"
            hint = f"Put the files of each data set in a subfolder of its name, `{name}`."
    text = f"the {file} file of `{name}`, whose content has SHA-256 {expected}"
    raise DataError(must_be(str(path), text, actual, hint))


def _download(name: str, file: str) -> _Bytes:
    """Fetch a file into the cache folder from the first mirror that has it intact."""
    folder = _cache() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Moved into place only when checked, so that nothing damaged is ever found there.
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            return _download_to(folder, Path(scratch), name, file)
    except OSError as error:
        actual = error.strerror or type(error).__name__
        hint = f"{_FOLDER_HINT} Or let XDG_CACHE_HOME name a folder that can be written."
        raise DataError(must_be(str(folder), "a writable folder", actual, hint)) from error


def _download_to(folder: Path, scratch: Path, name: str, file: str) -> _Bytes:
    import pooch

    fetch = pooch.HTTPDownloader(progressbar=True, chunk_size=1 << 16, timeout=30)
    path = scratch / f"{file}.gz"
    failures = []
    for mirror in MIRRORS[name]:
        try:
            fetch(f"{mirror}{file}.gz", str(path), None)
            array = _read(path, name, file)
        except DataError:
            failures.append(f"{mirror} (damaged)")
        except OSError as error:  # every error of requests is one
            status = getattr(getattr(error, "response", None), "status_code", None)
            reason = f"HTTP {status}" if status else error.strerror or type(error).__name__
            failures.append(f"{mirror} ({reason})")
        else:
            os.replace(path, folder / path.name)
            return array
    raise DataError(
        must_be(
            name,
            "on this machine or on one of its mirrors",
            f"no intact {file} from {', '.join(failures)}",
            _FOLDER_HINT,
        )
    )
