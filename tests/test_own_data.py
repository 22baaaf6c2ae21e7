"""Data of one's own: arrays, frames, tables, files of arrays and folders of images."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import fuzz as fuzzing
import numpy as np
import pytest
import torch

from qtn_train.data import Dataset
from qtn_train.errors import DataError

X = np.arange(40.0).reshape(20, 2)
TABLE = "length,width,kind\n" + "".join(f"{n}.5,{n * n},{'ab'[n % 2]}\n" for n in range(10))


# --- arrays ---------------------------------------------------------------------------------------


def test_a_fifth_is_held_out_by_the_seed() -> None:
    data = Dataset.from_arrays(X, np.arange(20) % 2)
    assert (len(data.x_train), len(data.x_test)) == (16, 4)
    whole = torch.cat([data.x_train, data.x_test])[:, 0].sort().values
    assert whole.tolist() == [2.0 * n for n in range(20)]
    assert torch.equal(data.y_train, (data.x_train[:, 0] / 2).long() % 2)
    assert Dataset.from_arrays(X, np.arange(20) % 2).x_test.equal(data.x_test)
    assert not Dataset.from_arrays(X, np.arange(20) % 2, seed=1).x_test.equal(data.x_test)
    assert len(Dataset.from_arrays(X, np.arange(20), test=0.5).x_test) == 10
    given = Dataset.from_arrays(X, np.arange(20) % 2, test=(X[:3] + 1, [1, 0, 1]))
    assert (len(given.x_train), given.x_test[0].tolist()) == (20, [1.0, 2.0])


@pytest.mark.parametrize(
    ("y", "classes", "numbers"),
    [
        ([0, 1] * 10, ("0", "1"), [0, 1]),
        ([3, 7] * 10, ("3", "7"), [0, 1]),
        (["yes", "no"] * 10, ("no", "yes"), [1, 0]),
        (np.array([True, False] * 10), ("False", "True"), [1, 0]),
        (torch.tensor([2, 1] * 10), ("1", "2"), [1, 0]),
        (np.array(["b", "a"] * 10, dtype=object), ("a", "b"), [1, 0]),
    ],
)
def test_labels_become_classes(y: Any, classes: tuple[str, ...], numbers: list[int]) -> None:
    data = Dataset.from_arrays(X, y, test=(X[:2], y[:2]))
    assert (data.n_classes, data.classes) == (2, classes)
    assert data.y_train.tolist() == numbers * 10
    assert data.y_test.tolist() == numbers


@pytest.mark.parametrize("shape", [(20,), (20, 1), (20, 3)])
def test_real_numbers_are_learned_as_they_are(shape: tuple[int, ...]) -> None:
    y = np.linspace(0, 1, int(np.prod(shape))).reshape(shape)
    data = Dataset.from_arrays(X, y)
    assert (data.n_classes, data.classes) == (0, ())
    assert data.y_train.shape == (16, *shape[1:])
    assert data.y_train.dtype == torch.float32


@pytest.mark.parametrize(
    ("x", "dtype", "first"),
    [
        (X, torch.float32, [0.0, 1.0]),
        (X.astype(np.int32), torch.int64, [0, 1]),
        (torch.arange(40).view(20, 2), torch.int64, [0, 1]),
        (np.full((20, 2), 255, np.uint8), torch.float32, [1.0, 1.0]),
        (torch.full((20, 2), 51, dtype=torch.uint8), torch.float32, [0.2, 0.2]),
        (torch.ones(20, 2, dtype=torch.bfloat16), torch.float32, [1.0, 1.0]),
        (X.astype(np.uint16), torch.int64, [0, 1]),
        (X[:, 0], torch.float32, [0.0]),
        (X.astype(object), torch.float32, [0.0, 1.0]),
    ],
)
def test_inputs_of_every_kind(x: Any, dtype: torch.dtype, first: list[float]) -> None:
    data = Dataset.from_arrays(x, [0, 1] * 10, test=(x, [0, 1] * 10))
    assert data.x_train.dtype == dtype
    assert data.x_train[0].tolist() == pytest.approx(first)


def test_frames_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0], "b": range(20), "kind": ["x", "y"] * 10})
    data = Dataset.from_arrays(frame[["a", "b"]], frame["kind"])
    assert data.classes == ("x", "y")
    assert data.x_train.dtype == torch.float32
    with pytest.raises(DataError, match=r"^`x` must be an array of numbers; .* Replace text by"):
        Dataset.from_arrays(frame, frame["kind"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, [0, 1]), r"^`y` must be 20 labels, one a sample; got 2\."),
        (([["a"]] * 4, [0, 1] * 2), r"^`x` must be an array of numbers; got <U1\."),
        (([[1.0], [1.0, 2.0]], [0, 1]), r"^`x` must be an array of numbers; .* equally long\."),
        (([[1.0], [np.nan]], [0, 1]), r"must be finite; got NaN in the data, first in sample 0\."),
        ((X[:1], [0]), r"^`x` must be at least 2 samples, one of them to test; got 1\."),
        ((X.astype(complex), [0] * 20), r"^`x` must be an array of real numbers; got complex128"),
        ((X, np.zeros(20, complex)), r"^`y` must be whole numbers, text or real numbers; got com"),
        ((np.zeros((20, 0)), [0] * 20), r"must be a non-empty float32 tensor"),
    ],
)
def test_messages_of_arrays(arguments: tuple[Any, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Dataset.from_arrays(*arguments)


def test_messages_of_test_sets_and_classes() -> None:
    with pytest.raises(DataError, match=r"^`y_test` must be one of the labels of the training"):
        Dataset.from_arrays(X, ["a"] * 20, test=(X[:1], ["b"]))
    for test in (0.0, 1, True, "x"):
        with pytest.raises(ValueError, match=r"^`test` must be a fraction between 0 and 1; got"):
            Dataset.from_arrays(X, [0] * 20, test=test)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"^`classes` must be 2 names; got 1\."):
        Dataset.from_arrays(X, [0, 1] * 10, classes=["a"])
    with pytest.raises(DataError, match=r"^`x_test` must be float32 .*, as `x_train`; got int64"):
        Dataset.from_arrays(X, [0, 1] * 10, test=(X[:1].astype(int), [0]))


# --- tables ---------------------------------------------------------------------------------------


def test_the_last_column_is_the_label_unless_said_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "flowers.csv"
    path.write_text(TABLE)
    data = Dataset.from_csv(path)
    assert (data.name, data.classes) == ("flowers", ("a", "b"))
    assert (data.x_train.shape, data.x_test.shape) == ((8, 2), (2, 2))
    for x, y in zip(data.x_train, data.y_train, strict=True):
        n = int(x[0])
        assert x.tolist() == [n + 0.5, n * n]
        assert int(y) == n % 2
    path.write_text(TABLE.replace("a\n", "0\n").replace("b\n", "1\n"))
    other = Dataset.from_csv(path, label="length")
    assert other.n_classes == 0
    assert torch.equal(other.x_train[:, 1], other.y_train.floor() % 2)


@pytest.mark.parametrize("label", ["length", "width", "kind"])
def test_a_table_without_a_header(label: str, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("\ufeff" + TABLE.partition("\n")[2].replace("\n", "\r\n"), encoding="utf-8")
    assert Dataset.from_csv(path).x_train.shape == (8, 2)
    with pytest.raises(ValueError, match=r"^`label` must be one of the columns column 1, .*; got"):
        Dataset.from_csv(path, label=label)


def test_whole_numbers_are_classes_or_values_on_request(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("a,b\n" + "".join(f"{n},{n % 3}\n" for n in range(12)))
    assert Dataset.from_csv(path).classes == ("0", "1", "2")
    values = Dataset.from_csv(path, regression=True)
    assert (values.n_classes, values.y_train.dtype) == (0, torch.float32)


def test_standardized_columns_say_how(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("a,b,c\n" + "".join(f"{100 * n},7,{n % 2}\n" for n in range(20)))
    raw, data = Dataset.from_csv(path), Dataset.from_csv(path, standardize=True)
    assert raw.scaling is None
    assert data.scaling is not None
    mean, deviation = data.scaling
    torch.testing.assert_close(data.x_test, (raw.x_test - mean) / deviation)
    assert float(data.x_train[:, 0].std(correction=0)) == pytest.approx(1)
    assert not data.x_train[:, 1].any()


@pytest.mark.parametrize(("mark", "point"), [(";", ","), (";", "."), ("\t", ","), (",", ".")])
def test_tables_as_spreadsheets_of_many_countries_write_them(
    mark: str, point: str, tmp_path: Path
) -> None:
    path = tmp_path / "own.csv"
    rows = [["length", "width", "kind"]]
    rows += [[f"{n}{point}5", f"-{n}", '"a, b"' if n % 2 else "c"] for n in range(10)]
    path.write_text("".join(mark.join(row) + "\n" for row in rows))
    data = Dataset.from_csv(path)
    assert data.classes == ("a, b", "c")
    lengths = torch.cat([data.x_train, data.x_test])[:, 0]
    assert sorted(lengths.tolist()) == [n + 0.5 for n in range(10)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a table of at least two columns, .* semicolons or tabs; got an empty file\."),
        ("a|b\n1|2\n", r"separated by commas, semicolons or tabs; got one\."),
        ("a,b\n", r"a table of at least two samples; got a header alone\."),
        ("a,b,c\n1,2,x\n3,x\n", r"rows of 3 values; got 2 in row 3\."),
        ("a,b,c\n1,2,x\n3,red,y\n", r"got 'red' in row 3, column 'b'\. Replace text by numbers"),
        ("a,b,c\n1,2,x\n3,,y\n", r"a table of finite numbers; got '' in row 3, column 'b'\."),
        ("a,b,c\n1,nan,x\n3,4,y\n", r"got 'nan' in row 2, column 'b'\."),
        ("a,b,c\n1,2,x\n3,4,\n", r"complete; got an empty label in row 3\."),
        ("a,b\n1,x\n", r"at least 2 samples"),
    ],
)
def test_messages_of_tables(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        Dataset.from_csv(path)


def test_messages_of_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Dataset.from_csv(tmp_path / "no.csv")
    with pytest.raises(DataError, match=r"must be a file; got a folder\."):
        Dataset.from_csv(tmp_path)
    np.savez(tmp_path / "own.npz", tokens=X, labels=X)
    with pytest.raises(DataError, match=r"; got tokens, labels\. Name them when you write it"):
        Dataset.from_npz(tmp_path / "own.npz")
    (tmp_path / "own.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="must be comma-separated text; got 'utf-8' codec"):
        Dataset.from_csv(tmp_path / "own.csv")
    (tmp_path / "own.csv").write_text(TABLE)
    with pytest.raises(DataError, match=r"a table whose labels are numbers; got 'a'\."):
        Dataset.from_csv(tmp_path / "own.csv", regression=True)


def fuzz(seed: int, count: int) -> list[str]:
    """Return what the reader of tables let out."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.csv"
        for text in fuzzing.texts(TABLE, seed, count):
            path.write_bytes(text.encode())
            error = fuzzing.foreign_error(lambda: Dataset.from_csv(path), (DataError,))
            wrong += [error] if error else []
    return wrong


def test_foreign_tables() -> None:
    assert fuzz(seed=0, count=1000) == []


# --- files of arrays, folders of images -----------------------------------------------------------


def test_files_of_arrays(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    np.savez(path, x=X, y=np.arange(20) % 2)
    assert Dataset.from_npz(path).x_train.shape == (16, 2)
    np.savez(path, x_train=X, y_train=np.arange(20) % 2, x_test=X[:3], y_test=[1, 0, 1])
    assert Dataset.from_npz(path).y_test.tolist() == [1, 0, 1]
    np.savez(path, a=X)
    with pytest.raises(DataError, match=r"a file of the arrays x and y, or x_train, .*; got a\."):
        Dataset.from_npz(path)
    np.savez(path, x=np.array([{}]), y=[0])
    with pytest.raises(DataError, match=r"a file of arrays \(npz\); got a damaged or foreign file"):
        Dataset.from_npz(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"a file of arrays \(npz\); got a damaged or foreign file"):
        Dataset.from_npz(path)


def draw(path: Path, value: int, size: tuple[int, int] = (5, 4)) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


def test_folders_of_images(tmp_path: Path) -> None:
    for n in range(10):
        draw(tmp_path / "dark" / f"{n}.png", 0)
        draw(tmp_path / "light" / f"{n}.jpg", 255)
    (tmp_path / "readme.txt").write_text("not an image")
    data = Dataset.from_images(tmp_path, gray=True)
    assert (data.classes, data.x_train.shape[1:]) == (("dark", "light"), (1, 4, 5))
    assert torch.equal(data.x_train.mean((1, 2, 3)), 2.0 * data.y_train - 1)
    draw(tmp_path / "dark" / "large.png", 0, (20, 20))
    assert Dataset.from_images(tmp_path, size=(8, 6)).x_train.shape[1:] == (1, 8, 6)
    assert Dataset.from_images(tmp_path, gray=False).x_train.shape[1:] == (3, 4, 5)


def test_folders_of_images_that_are_split(tmp_path: Path) -> None:
    for part, n_images in (("train", 4), ("test", 2)):
        for n in range(n_images):
            draw(tmp_path / part / "a" / f"{n}.png", 10)
            draw(tmp_path / part / "b" / f"{n}.png", 200, (9, 9))
    data = Dataset.from_images(tmp_path)
    assert (len(data.x_train), len(data.x_test), data.classes) == (8, 4, ("a", "b"))


def test_one_image_with_colors_makes_all_three_channels(tmp_path: Path) -> None:
    from PIL import Image

    for part in ("train", "test"):
        draw(tmp_path / part / "a" / "0.png", 10)
    Image.new("RGB", (5, 4), (255, 0, 0)).save(tmp_path / "test" / "a" / "1.png")
    data = Dataset.from_images(tmp_path)
    assert data.x_test.shape == (2, 3, 4, 5)
    assert data.x_test[1, :, 0, 0].tolist() == [1, -1, -1]


def test_images_of_16_bits_are_not_cut_at_255(tmp_path: Path) -> None:
    from PIL import Image

    for n, value in enumerate((0, 257 * 51, 257 * 204, 65535)):
        path = tmp_path / "a" / f"{n}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 5), value, dtype=np.uint16)).save(path)
    data = Dataset.from_images(tmp_path)
    found = sorted(torch.cat([data.x_train, data.x_test])[:, 0, 0, 0].tolist())
    assert found == pytest.approx([-1, -0.6, 0.6, 1])


def test_messages_of_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^`folder` must be an existing folder; got"):
        Dataset.from_images(tmp_path / "no")
    with pytest.raises(DataError, match=r"one folder of images for each class; got"):
        Dataset.from_images(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"b.png` must be an image; got a damaged or foreign file"):
        Dataset.from_images(tmp_path)
