"""The data sets: what they hold, where they are looked for, and what a damaged file says."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import os
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
import torch

from qtn_train.data import DATASETS, FILES, Dataset, _check, evenly_spaced, load
from qtn_train.data import _sets as data
from qtn_train.errors import DataError

IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = FILES
SETS = ("mnist", "fashion-mnist")


def lacks(name: str) -> str:
    """The reason to skip a test of a full set: empty where $QTN_TRAIN_DATA has its files."""
    folder = os.environ.get("QTN_TRAIN_DATA")
    places = [Path(folder) / name, Path(folder)] if folder else []
    found = any((place / f"{IMAGES}{end}").is_file() for place in places for end in (".gz", ""))
    return "" if found else f"QTN_TRAIN_DATA names no folder with the files of {name}"


# --- the sets that are installed ------------------------------------------------------------------


def test_iris_keeps_the_last_ten_flowers_of_each_class_for_the_test() -> None:
    from sklearn.datasets import load_iris

    iris, raw = load("iris"), load_iris().data
    assert iris.classes == ("setosa", "versicolor", "virginica")
    assert iris.x_train.shape == (120, 4)
    assert iris.y_train.bincount().tolist() == [40, 40, 40]
    assert iris.y_test.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    train = np.concatenate([raw[0:40], raw[50:90], raw[100:140]])
    test = np.concatenate([raw[40:50], raw[90:100], raw[140:150]])
    expected = (test - train.mean(axis=0)) / train.std(axis=0)
    np.testing.assert_allclose(iris.x_test.numpy(), expected, rtol=0, atol=tolerances.FLOAT32_DATA)
    assert iris.x_train.mean(dim=0).abs().max() < 1e-6
    assert (iris.x_train.std(dim=0, correction=0) - 1).abs().max() < 1e-6


def test_digits_has_a_balanced_test_set_that_shares_no_sample_with_the_train_set() -> None:
    from sklearn.datasets import load_digits

    digits, bunch = load("digits"), load_digits()
    assert digits.x_train.shape == (1437, 64)
    assert digits.y_test.bincount().tolist() == [36] * 10
    assert digits.x_train.min() == -1
    assert digits.x_train.max() == 1
    rows = torch.cat([digits.x_train, digits.x_test]).mul(8).add(8).numpy()
    together = np.concatenate([rows, torch.cat([digits.y_train, digits.y_test])[:, None]], axis=1)
    everything = np.concatenate([bunch.data, bunch.target[:, None]], axis=1)
    assert sorted(map(tuple, together)) == sorted(map(tuple, everything))


def test_mnist_mini_is_balanced_at_every_length() -> None:
    mini = load("mnist-mini")
    assert mini.x_train.shape == (10_000, 1, 28, 28)
    assert mini.x_test.shape == (2_000, 1, 28, 28)
    assert mini.y_train.equal(torch.arange(10_000) % 10)
    assert mini.y_test.equal(torch.arange(2_000) % 10)
    assert mini.x_train.aminmax() == (-1, 1)
    assert mini.classes == tuple("0123456789")


def test_mnist_mini_is_small() -> None:
    assert len((files("qtn_train") / "_data" / "mnist_mini.bz2").read_bytes()) <= 2_500_000


@pytest.mark.skipif(bool(lacks("mnist")), reason=lacks("mnist"))
def test_the_script_makes_mnist_mini_again_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtn_train._data import make_mnist_mini

    monkeypatch.setattr(make_mnist_mini, "__file__", str(tmp_path / "script.py"))
    make_mnist_mini.main(os.environ["QTN_TRAIN_DATA"])
    shipped = (files("qtn_train") / "_data" / "mnist_mini.bz2").read_bytes()
    assert (tmp_path / "mnist_mini.bz2").read_bytes() == shipped
    readme = (files("qtn_train") / "_data" / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(shipped).hexdigest() in readme
    assert data.MINI_SHA256 in readme


@pytest.mark.parametrize("wrong", [b"", b"no bzip2", bz2.compress(b"other content"), b"BZh9"])
def test_a_damaged_mnist_mini_says_so(
    wrong: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "_data").mkdir()
    (tmp_path / "_data" / "mnist_mini.bz2").write_bytes(wrong)
    monkeypatch.setattr(data, "files", lambda package: tmp_path)
    with pytest.raises(DataError, match=r"mnist_mini\.bz2` must be .*Reinstall qtn-train\.$"):
        load("mnist-mini")


@pytest.mark.parametrize("name", ["iris", "digits"])
def test_a_second_load_gives_the_same(name: str) -> None:
    first, second = load(name), load(name)
    for part in ("x_train", "y_train", "x_test", "y_test"):
        assert getattr(first, part).equal(getattr(second, part))
    assert first.x_train.dtype == torch.float32
    assert first.y_train.dtype == torch.int64
    assert first.name == name
    assert first.n_classes == len(first.classes)


def test_evenly_spaced_takes_one_of_each_class_in_turn() -> None:
    labels = np.array([1, 0, 0, 1, 0, 0, 1])
    assert evenly_spaced(labels, 2).tolist() == [1, 0, 4, 3]


# --- full sets ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_the_full_sets(name: str) -> None:
    if lacks(name):
        pytest.skip(lacks(name))
    full = load(name)
    assert full.x_train.shape == (60_000, 1, 28, 28)
    assert full.x_test.shape == (10_000, 1, 28, 28)
    assert full.x_train.aminmax() == (-1, 1)
    assert full.y_test.bincount().tolist() == (
        [1000] * 10
        if name == "fashion-mnist"
        else [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )
    assert full.classes[0] == {"mnist": "0", "fashion-mnist": "T-shirt/top"}[name]


# --- wrong values ---------------------------------------------------------------------------------


def test_an_unknown_name_lists_the_names() -> None:
    with pytest.raises(ValueError, match=rf"^`name` must be one of {', '.join(DATASETS)}; got 'm'"):
        load("m")


@pytest.mark.parametrize("name", ["mnist", "iris"])
def test_a_data_dir_that_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^`data_dir` must be an existing folder; got '.*nowhere'"):
        load(name, data_dir=tmp_path / "nowhere")


def dataset(**changes: Any) -> Dataset:
    x, y = torch.zeros(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])
    parts: dict[str, Any] = {"x_train": x, "y_train": y, "x_test": x[:3], "y_test": y[:3]}
    parts |= {"name": "own", "n_classes": 3, "classes": ("a", "b", "c")}
    return Dataset(**(parts | changes))


NAN, INFINITE = torch.zeros(3, 2), torch.zeros(3, 2)
NAN[2, 0] = torch.nan
INFINITE[1, 1] = torch.inf


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": NAN}, "`x_test` must be finite; got NaN in the data, first in sample 2."),
        ({"x_test": INFINITE}, "`x_test` must be finite; got infinity in the data, first in sam"),
        ({"y_test": torch.tensor([0, 3, -1])}, "must be labels from 0 to 2; got 3 at position 1."),
        ({"y_test": torch.tensor([0, 1, -1])}, "must be labels from 0 to 2; got -1 at position 2."),
        ({"y_test": torch.tensor([0, 1])}, "`y_test` must be an int64 tensor of 3 labels, one a"),
        ({"y_test": torch.zeros(3)}, "one a sample; got float32 of shape (3,)."),
        (
            {"x_train": torch.zeros(0, 2)},
            "or int64 for tokens; got float32 of",
        ),
        ({"x_train": torch.zeros(6, 2).double()}, "got float64 of shape (6, 2)."),
        ({"x_test": torch.zeros(3, 4)}, "samples of shape (2,), as in `x_train`; got (4,)."),
        ({"classes": ("a",)}, "`classes` must be 3 names; got 1."),
    ],
)
def test_a_dataset_is_checked_when_built(changes: dict[str, Any], message: str) -> None:
    assert dataset().n_classes == 3
    with pytest.raises(DataError, match=re.escape(message)):
        dataset(**changes)


def test_arrays_are_not_tensors() -> None:
    # Not by way of Dataset, whose annotations the tests enforce before it can check anything.
    with pytest.raises(DataError, match=r"^`x_train` must be a non-empty float32 .*; got ndarray"):
        _check.check_inputs("x_train", np.zeros((6, 2), np.float32))
    with pytest.raises(DataError, match=r"^`y_train` must be an int64 tensor of 2 .*; got list\."):
        _check.check_labels("y_train", [0, 1], 2, 2)


# --- files: small stand-ins whose checksums take the place of the real ones -----------------------


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def contents(seed: int) -> dict[str, bytes]:
    rng = np.random.default_rng(seed)
    return {
        IMAGES: idx(rng.integers(0, 256, (20, 28, 28), dtype=np.uint8)),
        LABELS: idx(np.arange(20, dtype=np.uint8) % 10),
        TEST_IMAGES: idx(rng.integers(0, 256, (10, 28, 28), dtype=np.uint8)),
        TEST_LABELS: idx(np.arange(10, dtype=np.uint8)),
    }


SMALL = {name: contents(seed) for seed, name in enumerate(SETS)}
Folder = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may reach a real mirror, whatever else it does."""
    monkeypatch.setattr(data, "MIRRORS", {name: () for name in SETS})


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Checksums of the stand-ins, an empty cache, and a maker of folders that hold them."""
    digests = {n: tuple(hashlib.sha256(c[f]).hexdigest() for f in FILES) for n, c in SMALL.items()}
    monkeypatch.setattr(data, "SHA256", digests)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("QTN_TRAIN_DATA", raising=False)
    if sys.platform != "linux":
        monkeypatch.setattr(data, "_cache", lambda: tmp_path / "cache" / "qtn_train")

    def make(
        place: str,
        name: str = "mnist",
        files: tuple[str, ...] = FILES,
        gz: bool = True,
    ) -> Path:
        folder = tmp_path / place
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            raw = SMALL[name][file]
            (folder / (f"{file}.gz" if gz else file)).write_bytes(gzip.compress(raw) if gz else raw)
        return folder

    return make


@pytest.mark.parametrize("gz", [True, False])
@pytest.mark.parametrize("inner", ["", "/mnist"])
def test_files_may_be_gzipped_or_not_and_in_a_subfolder_or_not(
    small: Folder, tmp_path: Path, gz: bool, inner: str
) -> None:
    small(f"here{inner}", gz=gz)
    found = load("mnist", data_dir=str(tmp_path / "here"))
    assert found.x_train.shape == (20, 1, 28, 28)
    pixels = np.frombuffer(SMALL["mnist"][IMAGES], np.uint8, offset=16).astype(np.float64)
    expected = (pixels / 255 - 0.5) / 0.5
    np.testing.assert_allclose(
        found.x_train.numpy().ravel(), expected, rtol=0, atol=tolerances.FLOAT32_DATA
    )
    assert found.y_test.tolist() == list(range(10))


def test_the_places_are_searched_in_order(
    small: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each place lacks what the one before it has, and has a damaged copy of it, which only a
    # search in another order would meet.
    first = small("first", files=(IMAGES,))
    second = small("second/mnist", files=(LABELS,)).parent
    cache = small("cache/qtn_train/mnist", files=(TEST_IMAGES, TEST_LABELS))
    (second / f"{IMAGES}.gz").write_bytes(b"")
    (cache / f"{LABELS}.gz").write_bytes(b"")
    monkeypatch.setenv("QTN_TRAIN_DATA", str(second))
    assert len(load("mnist", data_dir=first).y_train) == 20
    with pytest.raises(DataError, match=r"second/train-images.*got an empty file"):
        load("mnist")
    monkeypatch.delenv("QTN_TRAIN_DATA")
    with pytest.raises(DataError, match=r"cache/qtn_train/mnist/train-labels.*got an empty file"):
        load("mnist", data_dir=first)


def test_the_subfolder_of_the_name_comes_before_the_folder(small: Folder, tmp_path: Path) -> None:
    here = small("here", "mnist")
    small("here/fashion-mnist", "fashion-mnist")
    assert load("fashion-mnist", data_dir=here).classes[1] == "Trouser"
    assert load("mnist", data_dir=here).classes[1] == "1"


def test_files_of_the_other_set_are_told_apart(small: Folder) -> None:
    here = small("here", "mnist")
    with pytest.raises(
        DataError, match=r"file of `fashion-mnist`.*got that of `mnist`\. Put .* subfolder"
    ):
        load("fashion-mnist", data_dir=here)


IMAGES_GZ = gzip.compress(SMALL["mnist"][IMAGES])
ALTERED = bytearray(SMALL["mnist"][IMAGES])
ALTERED[1000] ^= 1
FLIPPED = bytearray(IMAGES_GZ)
FLIPPED[len(FLIPPED) // 2] ^= 255


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            b"",
            r"train-images-idx3-ubyte file of `mnist`; got an empty file\. Replace it by a fresh",
        ),
        (IMAGES_GZ[:5000], r"a whole gzip file; got a damaged or truncated one of 5000 bytes"),
        (bytes(FLIPPED), r"a whole gzip file; got a damaged or truncated one"),
        (b"<html>404</html>", r"a gzip file; got a file that begins with b'<html>40'\. Replace"),
        (gzip.compress(bytes(ALTERED)), r"content has SHA-256 \w{64}; got SHA-256 \w{64}\. Repl"),
        (gzip.compress(b"\0\0\x08\x01" + bytes(99)), r"magic b'\\x00\\x00\\x08\\x03'; got 103 by"),
        (gzip.compress(b"\0\0\x08\x03" + bytes(4)), r"an idx file with magic .*; got 8 bytes that"),
        (gzip.compress(SMALL["mnist"][IMAGES][:-1]), r"15696 bytes long, as .*; got 15695 bytes"),
        (gzip.compress(SMALL["mnist"][IMAGES] + b"x"), r"15696 bytes long, as .*; got 15697 byte"),
    ],
    ids=["empty", "truncated", "flipped", "html", "altered", "magic", "header", "short", "long"],
)
def test_a_damaged_file_is_one_clear_line(small: Folder, raw: bytes, message: str) -> None:
    here = small("here")
    path = here / f"{IMAGES}.gz"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=message) as error:
        load("mnist", data_dir=here)
    assert str(error.value).startswith(f"`{path}` must be ")
    assert "\n" not in str(error.value)


def test_a_damaged_file_that_is_not_gzipped(small: Folder) -> None:
    here = small("here", gz=False)
    (here / IMAGES).write_bytes(bytes(ALTERED))
    with pytest.raises(DataError, match="got SHA-256"):
        load("mnist", data_dir=here)
    (here / IMAGES).write_bytes(b"text")
    with pytest.raises(
        DataError, match=r"an idx file with magic .*; got 4 bytes that begin with b"
    ):
        load("mnist", data_dir=here)


def test_a_file_that_cannot_be_read(small: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    here = small("here")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(
        DataError, match=r"must be readable; got Permission denied\. Check its perm"
    ):
        load("mnist", data_dir=here)


def test_only_the_decompressed_content_counts(small: Folder) -> None:
    here = small("here")
    again = gzip.compress(SMALL["mnist"][IMAGES], 1, mtime=77)
    assert again != (here / f"{IMAGES}.gz").read_bytes()
    (here / f"{IMAGES}.gz").write_bytes(again)
    assert len(load("mnist", data_dir=here).x_train) == 20


# --- downloads, from this machine itself ----------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(small: Folder, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "web").mkdir()
    handler = partial(Quiet, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        # Asked often whether to stop: the half second of the default would be most of a test.
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def mirrors(monkeypatch: pytest.MonkeyPatch, *urls: str) -> None:
    monkeypatch.setattr(data, "MIRRORS", {name: urls for name in SETS})


def test_a_download_goes_to_the_cache_and_is_not_repeated(
    small: Folder,
    web: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    small("web/good")
    mirrors(monkeypatch, f"{web}good/")
    assert len(load("mnist").x_train) == 20
    out, err = capfd.readouterr()
    assert out == ""
    assert "100%|" in err
    stored = sorted(p.name for p in (tmp_path / "cache" / "qtn_train" / "mnist").iterdir())
    assert stored == sorted(f"{f}.gz" for f in FILES)
    mirrors(monkeypatch)
    assert len(load("mnist").x_train) == 20
    assert capfd.readouterr() == ("", "")


def test_only_what_is_missing_is_downloaded(
    small: Folder, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = small("here", files=FILES[:3])
    small("web/good", files=FILES[3:])
    mirrors(monkeypatch, f"{web}good/")
    assert len(load("mnist", data_dir=here).y_test) == 10


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "html", "altered", "closed"])
def test_the_next_mirror_is_tried(
    small: Folder, web: str, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = small("web/bad")
    small("web/good")
    raw = {"empty": b"", "truncated": IMAGES_GZ[:999], "html": b"<html>"}
    raw["altered"] = gzip.compress(bytes(ALTERED))
    if damage == "missing":
        (bad / f"{IMAGES}.gz").unlink()
    elif damage in raw:
        (bad / f"{IMAGES}.gz").write_bytes(raw[damage])
    # Nothing listens on port 9 ("discard") of this machine.
    first = "http://127.0.0.1:9/" if damage == "closed" else f"{web}bad/"
    mirrors(monkeypatch, first, f"{web}good/")
    assert len(load("mnist").x_train) == 20


def test_when_all_mirrors_fail_one_line_says_what_to_do(
    small: Folder, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = small("web/bad")
    (bad / f"{IMAGES}.gz").write_bytes(IMAGES_GZ[:999])
    mirrors(monkeypatch, f"{web}none/", f"{web}bad/", "http://127.0.0.1:9/")
    with pytest.raises(
        DataError,
        match=r"^`mnist` must be on this machine .*; got no intact train-images-idx3-ubyte from "
        r"\S+none/ \(HTTP 404\), \S+bad/ \(damaged\), \S+:9/ \(ConnectionError\)\. "
        r".*data_dir.*QTN_TRAIN_DATA",
    ) as error:
        load("mnist")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "cache" / "qtn_train" / "mnist").iterdir())


def test_a_cache_that_cannot_be_written_says_so(
    small: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(
        DataError, match=r"cache/qtn_train/mnist` must be a writable folder; got Not a directory\."
    ):
        load("mnist")


def test_importing_it_loads_no_library_that_only_some_sets_need() -> None:
    code = (
        "import sys, torch; before = set(sys.modules); import qtn_train.data;"
        "new = {m.split('.')[0] for m in set(sys.modules) - before};"
        "print(sorted(new & {'sklearn', 'scipy', 'pooch', 'tqdm', 'requests'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
