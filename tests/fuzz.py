"""Foreign texts and files by the thousand, seeded: readers must raise their own errors only.

    descriptions ──► mutants ──► reseal ──► a reader ──► our error, or a result; nothing else

``python -m tests.fuzz --count 20000 --seed 1`` (``make fuzz``) runs every reader longer than the
tests do. A test file takes part through :data:`READERS`: a name, and a function of a seed and a
count that returns what went wrong.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import json
import random
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jaxtyping
from safetensors.torch import load_file

from qtn_train import _files

#: Test modules with a function ``fuzz(seed, count) -> list[str]``.
READERS = [
    "tests.braket.test_fuzz",
    "tests.hybrid.test_fuzz",
    "tests.training.test_fuzz",
    "tests.test_own_data",
    "tests.test_readers",
]

#: Values that nobody wrote there.
FOREIGN: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"),
    float("inf"), "", "x", "0", "ry", "\u0000", "é" * 50, "9" * 400, [], [None], [[]], [1, "a"],
    {}, {"kind": "mlp"}, {"": None}, [0] * 70,
]  # fmt: skip


def mutants(data: Any, seed: int, count: int) -> Iterator[Any]:
    """Give altered copies of JSON data: values replaced, dropped, swapped, repeated and nested."""
    rng = random.Random(seed)
    for _ in range(count):
        mutant = copy.deepcopy(data)
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            _mutate(mutant, rng)
        yield mutant


def _mutate(data: Any, rng: random.Random) -> None:
    places = list(_places(data))
    if not places:
        return
    holder, key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        other, name = rng.choice(places)
        holder[key] = copy.deepcopy(other[name])
    elif kind == 2 and isinstance(holder, dict):
        holder[rng.choice(("extra", "kind", ""))] = rng.choice(FOREIGN)
    elif kind == 3:
        nested: Any = 1
        for _ in range(200):
            nested = [nested]
        holder[key] = nested
    elif kind == 4 and isinstance(holder[key], str):
        holder[key] = next(texts(holder[key], rng.randrange(2**30), 1))
    elif kind == 5 and isinstance(holder[key], int | float):
        holder[key] = holder[key] * rng.choice((-1, 2, 10, 0.5)) + rng.choice((-1, 0, 1))
    else:
        holder[key] = copy.deepcopy(rng.choice(FOREIGN))


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    keys: Any = ()
    if isinstance(data, dict):
        keys = list(data)
    elif isinstance(data, list):
        keys = range(len(data))
    for key in keys:
        yield data, key
        yield from _places(data[key])


def texts(text: str, seed: int, count: int) -> Iterator[str]:
    """Give altered copies of a text: characters changed, pieces cut, repeated and moved."""
    rng = random.Random(seed)
    for _ in range(count):
        mutant = text
        for _ in range(rng.choice((1, 1, 2, 5))):
            start = rng.randrange(len(mutant) + 1)
            stop = min(len(mutant), start + rng.choice((1, 1, 3, 20)))
            piece = mutant[start:stop]
            new = rng.choice(
                ("", piece * 3, rng.choice("0123456789-+.,;:[]{}()\"' \n\t\\/xé\u0000"), "1e999")
            )
            mutant = mutant[:start] + new + mutant[stop:]
        yield mutant


def description(path: Path) -> dict[str, Any]:
    """Return the description inside a file of tensors, without its seal."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    info: dict[str, Any] = json.loads(header["__metadata__"]["qtn_train"])
    info.pop("sha256")
    return info


def reseal(source: Path, path: Path, info: Any) -> None:
    """Write a file with the tensors of another one and a description, sealed as if we had."""
    content = source.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    if isinstance(info, dict):
        info = {**info, "sha256": _files._seal(load_file(source), info)}
    header["__metadata__"]["qtn_train"] = json.dumps(info)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def foreign_error(call: Callable[[], object], own: tuple[type[Exception], ...]) -> str:
    """Call a reader; return what it let out that is not one of its own errors, or nothing.

    Its own errors are one line each.
    """
    # The types of arguments are the type checker's affair in other tests.
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        call()
    except own as error:
        return f"{type(error).__name__} of several lines" if "\n" in str(error) else ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    return ""


def main() -> int:
    """Run every reader with many mutants."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))  # as pytest finds what tests share
    n_wrong = 0
    for name in READERS:
        began = time.monotonic()
        wrong = importlib.import_module(name).fuzz(options.seed, options.count)
        seconds = time.monotonic() - began
        print(f"{name}: seed {options.seed}, {len(wrong)} foreign errors, {seconds:.0f} s")
        for line in wrong[:20]:
            print(f"  {line}")
        n_wrong += len(wrong)
    return min(n_wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
