"""Study files: what is measured, at which points, how often, from which seed.

[study]
measure = "gradient-variance"     # see MEASURES
repeats = 20                      # 1 by default; each with a seed of its own, out of `seed`
seed = 0                          # 0 by default

[grid]                            # all combinations; a value that is no list is held fixed.
n_qubits = [4, 6, 8]              # Or [[grid]], several of them, one after the other.

[[list]]                          # or point by point
n_qubits = 4

[sample]                          # or drawn at random
points = 50
lr = {low = 1e-4, high = 1e-1, scale = "log"}
n_layers = {low = 2, high = 16}   # both ends included
ansatz = ["ry-cx-chain", "brickwork"]

[settings]                        # the same for all points of a list or a sample
dataset = "iris"
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from .._random import raw_bits, uniform
from ..errors import did_you_mean, must_be
from ..recipes._settings import REQUIRED, Setting, check_keys
from ._measures import MEASURES, Measure

#: A study of more points than this is a mistake.
MAX_POINTS = 10**6

_TABLES = ("study", "grid", "list", "sample", "settings")
_WAYS = ("grid", "list", "sample")

Point = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One measurement to make: a point of a study, and the number of the repeat.

    Attributes:
        measure: Name of the measure.
        settings: All its settings.
        repeat: Number of the repeat, from 0.
        seed: The repeat's seed.
    """

    measure: str
    settings: Point
    repeat: int
    seed: int

    @cached_property
    def id(self) -> str:
        """A hash of measure, settings, repeat and seed: 20 hexadecimal digits."""
        text = json.dumps([self.measure, self.settings, self.repeat, self.seed], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Study:
    """A checked study.

    Attributes:
        name: Name of the file, without its ending.
        text: The file.
        measure: What is measured.
        points: The settings of each point, none twice.
        repeats: Repeats of each point.
        seed: Where the seeds of the repeats come from.
    """

    name: str
    text: str = field(repr=False)
    measure: Measure
    points: tuple[Point, ...] = field(repr=False)
    repeats: int
    seed: int

    def __len__(self) -> int:
        return len(self.points) * self.repeats

    def tasks(self) -> Iterator[Task]:
        """Yield all tasks: the first repeat of every point first, so that a picture forms early."""
        for repeat in range(self.repeats):
            # 31 bits: what every generator of random numbers takes for a seed.
            seed = int(raw_bits(self.seed, f"study/{repeat}", 1)[0]) >> 33
            for point in self.points:
                yield Task(self.measure.name, point, repeat, seed)

    @cached_property
    def hash(self) -> str:
        """A hash of the measurements: the same for files that differ in comments or layout."""
        digest = hashlib.sha256(f"{self.measure.name} {self.repeats} {self.seed}".encode())
        for point in self.points:
            digest.update(json.dumps(point, sort_keys=True).encode())
        return digest.hexdigest()


def ready_made() -> dict[str, str]:
    """Return the study files that come with the package.

    Returns:
        Name → text.

    Example:
        >>> "gradient-variance" in ready_made()
        True
    """
    folder = resources.files(__package__) / "ready"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return {f.name.removesuffix(".toml"): f.read_text(encoding="utf-8") for f in files}


def load_study(source: str | Path) -> Study:
    """Read and check a study.

    Args:
        source: A TOML file, or the name of a ready-made study.

    Returns:
        The study.

    Raises:
        FileNotFoundError: There is neither such a file nor such a name.
        ValueError: Something in the file is wrong; the message says what.

    Example:
        >>> len(load_study("entropy").points) > 10
        True
    """
    path = Path(source)
    if path.is_file():
        try:
            return parse_study(path.read_text(encoding="utf-8"), path.stem)
        except UnicodeDecodeError as error:
            raise ValueError(must_be(str(path), "UTF-8 text", "other bytes")) from error
    ready = ready_made()
    if str(source) not in ready:
        expected = f"a file, or one of {', '.join(ready)}"
        hint = did_you_mean(source, ready)
        raise FileNotFoundError(must_be("study", expected, repr(str(source)), hint))
    return parse_study(ready[str(source)], str(source))


def parse_study(text: str, name: str = "study") -> Study:
    """Check the text of a study file.

    Args:
        text: TOML.
        name: What to call the study.

    Returns:
        The study.

    Raises:
        ValueError: Something in it is wrong; the message says what.

    Example:
        >>> study = parse_study('''
        ... study.measure = "entropy"
        ... grid = {n_qubits = [4, 6], n_layers = 2}
        ... ''')
        >>> [point["n_qubits"] for point in study.points]
        [4, 6]
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        actual = str(error)[:1].lower() + str(error)[1:]
        raise ValueError(must_be(name, "a TOML file", actual)) from error
    check_keys("a table of the study file", data, _TABLES)
    head = data.get("study", {})
    if not isinstance(head, dict) or "measure" not in head:
        expected, actual = "there, with the key measure", "none"
        hint = f"It is one of {', '.join(MEASURES)}."
        raise ValueError(must_be("[study]", expected, actual, hint))
    check_keys("a key of [study]", head, ("measure", "repeats", "seed"))
    measure = MEASURES[Setting(str, choices=tuple(MEASURES)).check("measure", head["measure"])]
    text = _with_contents(text, data, measure)
    repeats = Setting(int).check("repeats", head.get("repeats", 1))
    seed = Setting(int, low=0).check("seed", head.get("seed", 0))
    points = _points(data, measure, seed)
    return Study(name, text, measure, points, repeats, seed)


def _with_contents(text: str, data: dict[str, Any], measure: Measure) -> str:
    """Return a study file's text with the content of the files that its settings name.

    So the study's folder, which holds this text, needs none of these files.
    """
    tables = [table for way in (*_WAYS, "settings") for table in _listed(data.get(way, []))]
    for name, setting in measure.settings.items():
        given = [v for table in tables if isinstance(table, dict) for v in _listed(table.get(name))]
        for value in given:
            if not isinstance(value, str) or not setting.reads(value):
                continue
            kept = setting.check(name, value)
            for quoted in (f'"{value}"', f"'{value}'"):
                text = text.replace(quoted, json.dumps(kept, ensure_ascii=False))
    return text


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _points(data: dict[str, Any], measure: Measure, seed: int) -> tuple[Point, ...]:
    ways = [way for way in _WAYS if way in data]
    if len(ways) != 1:
        actual = " and ".join(f"[{way}]" for way in ways) or "none of them"
        expected = "made of one of [grid], [[list]] and [sample]"
        raise ValueError(must_be("the study", expected, actual))
    (way,) = ways
    fixed = data.get("settings", {})
    tables = data[way] if isinstance(data[way], list) else [data[way]]
    if way == "sample" and isinstance(data[way], list):
        raise ValueError(must_be("[sample]", "one table", "several"))
    if not all(isinstance(table, dict) for table in (*tables, fixed)):
        raise ValueError(must_be(f"[{way}]", "a table of settings", "something else"))
    make: Callable[[dict[str, Any], Measure, int], Iterator[Point]]
    make = {"grid": _grid, "list": _single, "sample": _sample}[way]
    unique: dict[str, Point] = {}
    for table in tables:
        for point in make(fixed | table, measure, seed):
            unique.setdefault(json.dumps(point, sort_keys=True), point)
        if len(unique) > MAX_POINTS:
            _too_many(way, len(unique))
    if not unique:
        raise ValueError(must_be(f"[{way}]", "at least one point", "none"))
    for point in unique.values():
        measure.check(point)
    return tuple(unique.values())


def _too_many(way: str, count: int) -> None:
    hint = "Split it into several studies."
    raise ValueError(must_be(f"[{way}]", "at most 1,000,000 points", f"{count:,}", hint))


def _complete(point: Point, measure: Measure) -> Point:
    """Return a point's settings in the measure's order; settings not given have their defaults."""
    for name, setting in measure.settings.items():
        if name not in point and setting.default is REQUIRED:
            hint = f"{measure.name} needs it."
            raise ValueError(must_be(name, "given in the study file", "nothing", hint))
    return {name: point.get(name, setting.default) for name, setting in measure.settings.items()}


def _grid(table: dict[str, Any], measure: Measure, seed: int) -> Iterator[Point]:
    check_keys(f"a setting of {measure.name}", table, measure.settings)
    values: dict[str, list[Any]] = {}
    for name, given in table.items():
        choices = given if isinstance(given, list) else [given]
        if not choices:
            hint = "Name a value, or leave the setting out."
            raise ValueError(must_be(f"[grid] {name}", "a list of at least one value", "[]", hint))
        values[name] = [measure.settings[name].check(name, value) for value in choices]
    if not values:
        hint = f"Name values of {', '.join(measure.settings)}."
        raise ValueError(must_be("[grid]", "a table with at least one setting", "none", hint))
    count = math.prod(len(choices) for choices in values.values())
    if count > MAX_POINTS:
        _too_many("grid", count)
    for combination in itertools.product(*values.values()):
        yield _complete(dict(zip(values, combination, strict=True)), measure)


def _single(table: dict[str, Any], measure: Measure, seed: int) -> Iterator[Point]:
    check_keys(f"a setting of {measure.name}", table, measure.settings)
    point = {name: measure.settings[name].check(name, value) for name, value in table.items()}
    yield _complete(point, measure)


def _sample(table: dict[str, Any], measure: Measure, seed: int) -> Iterator[Point]:
    check_keys(f"a setting of {measure.name}", table, ("points", *measure.settings))
    count = Setting(int).check("[sample] points", table.get("points"))
    if count > MAX_POINTS:
        _too_many("sample", count)
    columns = {
        name: _draw(name, given, measure.settings[name], uniform(seed, f"sample/{name}", count))
        for name, given in table.items()
        if name != "points"
    }
    for values in zip(*columns.values(), strict=True):
        yield _complete(dict(zip(columns, values, strict=True)), measure)


def _draw(name: str, given: Any, setting: Setting, draws: Any) -> list[Any]:
    """Return a setting's values for random numbers uniform in [−1, 1)."""
    shares = (draws + 1) / 2
    if not isinstance(given, dict):
        choices = given if isinstance(given, list) else [given]
        if not choices:
            raise ValueError(must_be(f"[sample] {name}", "a list of at least one value", "[]"))
        values = [setting.check(name, value) for value in choices]
        return [values[int(share * len(values))] for share in shares]
    check_keys(f"a key of [sample] {name}", given, ("low", "high", "scale"))
    scale = Setting(str, choices=("linear", "log")).check("scale", given.get("scale", "linear"))
    low, high = (setting.check(f"{name}.{end}", given.get(end)) for end in ("low", "high"))
    if setting.kind is str or low > high or (scale == "log" and low <= 0):
        expected = "two numbers low <= high, above 0 for a logarithmic scale"
        raise ValueError(must_be(f"[sample] {name}", expected, f"{low} and {high}"))
    first, last = (low, high + 1) if setting.kind is int else (low, high)
    if scale == "log":
        values = [first * (last / first) ** share for share in shares]
    else:
        values = [first + (last - first) * share for share in shares]
    return [min(setting.kind(value), high) for value in values]
