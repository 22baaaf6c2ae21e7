"""Contraction trees: found once for a network's shape, kept in memory and on disk.

A search takes from milliseconds to minutes and depends on nothing but which tensor shares which
index, so one tree serves every step of a training, every block of amplitudes of one size, and every
expectation value whose light cone looks the same. Where the tensors in between pass the memory
limit, indices are sliced: fixed to 0 and to 1 in turn, and the results added up.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..._files import write_atomically
from ..._progress import progress_bar
from ...errors import UnsupportedByEngine, must_be

#: How long to search for a tree.
Optimize = Literal["quick", "auto", "thorough"]
#: A network's inputs and its output, an index being a letter.
Shape = tuple[tuple[str, ...], str]

#: Rounds of a search, and greedy trials in each.
ROUNDS: dict[str, int] = {"quick": 1, "auto": 8, "thorough": 64}
_TRIALS = 16
#: Seconds of processor time that a search may take.
SEARCH_SECONDS: dict[str, float] = {"quick": 30.0, "auto": 240.0, "thorough": 1920.0}
# Measured on one core of a small machine, complex64, forward and backward: seconds of a request, of
# a product, of a multiplication, and of a number that a product writes. The last takes the most:
# tensors of many small dimensions are transposed before they are multiplied.
_SECONDS = 3e-3
_SECONDS_PER_PRODUCT = 7e-5
_SECONDS_PER_MULTIPLICATION = 1.5e-9
_SECONDS_PER_NUMBER = 2.7e-8
# A forward pass alone takes about this share.
_FORWARD = 0.35
# A search that took longer than this is written to disk, and shows a bar where tensors are many.
_WORTH_KEEPING = 1.0
_MANY = 150
_MOST_SLICES = 40
_IN_MEMORY = 256
# Costs above it are told as this: no float holds what some trees cost.
_MOST_COST = 1e300


class Cost(NamedTuple):
    """The cost of one contraction, all slices together: seconds and bytes.

    Attributes:
        seconds: Time; only good for a comparison.
        bytes: Memory at the peak.
    """

    seconds: float
    bytes: float


@dataclass(frozen=True)
class Plan:
    """A contraction tree with its slices.

    Attributes:
        tree: Of cotengra.
        n_slices: How many contractions are added up.
        cost: What it costs.
    """

    tree: Any
    n_slices: int
    cost: Cost


_memory: OrderedDict[tuple[Any, ...], Plan] = OrderedDict()


def shape_of(inputs: Sequence[Sequence[int]], output: Sequence[int]) -> Shape:
    """Return a network's shape: its indices as letters in the order in which they occur."""
    from cotengra import get_symbol

    letters: dict[int, str] = {}
    for legs in (*inputs, output):
        for index in legs:
            if index not in letters:
                letters[index] = get_symbol(len(letters))
    named = tuple("".join(letters[index] for index in legs) for legs in inputs)
    return named, "".join(letters[index] for index in output)


def find_plan(
    shape: Shape,
    optimize: Optimize,
    limit: int,
    itemsize: int,
    gradient: bool,
    most_seconds: float = math.inf,
) -> Plan:
    """Return a tree for a network, from memory, from disk, or by a search.

    Args:
        shape: The network's shape, all indices of dimension 2.
        optimize: How long to search.
        limit: Bytes that one contraction may take.
        itemsize: Bytes of a number.
        gradient: Whether a backward pass follows.
        most_seconds: Seconds that one contraction may take.

    Returns:
        The tree, sliced where the limit asks for it.

    Raises:
        UnsupportedByEngine: The result, or what is in between, does not fit the limit, or takes
            longer.
    """
    key = (shape, optimize, limit, itemsize, gradient)
    if key in _memory:
        _memory.move_to_end(key)
        _check_time(_memory[key].cost, most_seconds)
        return _memory[key]
    path = _file(shape, optimize)
    tree = _read(path, shape)
    if tree is None:
        began = time.process_time()
        try:
            tree = _search(shape, optimize)
        except OverflowError as error:  # cotengra's estimates are floats
            none = _does_not_fit(Cost(_MOST_COST, _MOST_COST), _MOST_COST, limit)
            raise UnsupportedByEngine(none) from error
        if time.process_time() - began > _WORTH_KEEPING:
            _write(path, tree)
    plan = _sliced(tree, limit, itemsize, gradient, most_seconds)
    _check_time(plan.cost, most_seconds)
    _memory[key] = plan
    while len(_memory) > _IN_MEMORY:
        _memory.popitem(last=False)
    return plan


def estimate(shape: Shape, itemsize: int, gradient: bool) -> Cost:
    """Return the cost of a contraction along the tree of one round of trials, unsliced."""
    try:
        return _cost(_trial(shape, _TRIALS, 1), itemsize, gradient)
    except OverflowError:  # cotengra's estimates are floats
        return Cost(_MOST_COST, _MOST_COST)


def least_seconds(n_tensors: int, gradient: bool) -> float:
    """Return the seconds that a contraction of so many tensors takes at least."""
    both = _SECONDS + max(n_tensors - 1, 1) * _SECONDS_PER_PRODUCT
    return both if gradient else _FORWARD * both


def _sizes(shape: Shape) -> dict[str, int]:
    return dict.fromkeys("".join((*shape[0], shape[1])), 2)


def _search(shape: Shape, optimize: Optimize) -> Any:
    """Search for a tree by random greedy trials, and improve the best one piece by piece.

    It ends early where the work takes less time than the calls: then no tree would be better. In a
    network so large that its time runs out, the last round has fewer trials.
    """
    began = time.thread_time()
    best = _trial(shape, 1, 0)
    each = time.thread_time() - began
    n_rounds = 0 if _is_cheap(best) else ROUNDS[optimize]
    show = n_rounds > 1 and len(shape[0]) > _MANY
    with progress_bar(n_rounds, 0, unit="round of the search", show=show) as bar:
        for seed in range(1, n_rounds + 1):
            left = SEARCH_SECONDS[optimize] - (time.thread_time() - began)
            n_trials = _TRIALS if left >= _TRIALS * each else int(left / each)
            if n_trials < 1:
                break
            tree = _trial(shape, n_trials, seed)
            if tree.combo_cost() < best.combo_cost():
                best = tree
            if _is_cheap(best):
                break
            bar.update()
    return best


def _trial(shape: Shape, n_trials: int, seed: int) -> Any:
    """Return the best of some greedy trees, improved where that is worth the time."""
    import cotengra

    inputs, output = shape
    if len(inputs) == 1:
        return _from_path(shape, [])
    optimizer = cotengra.RandomGreedyOptimizer(
        max_repeats=n_trials, seed=seed, accel=False, parallel=False
    )
    path = optimizer.ssa_path(list(inputs), output, _sizes(shape))
    tree = _from_path(shape, path)
    if not _is_cheap(tree):
        tree.subtree_reconfigure_(minimize="combo", seed=seed)
    return tree


def _from_path(shape: Shape, path: Any) -> Any:
    import cotengra

    inputs, output = list(shape[0]), shape[1]
    return cotengra.ContractionTree.from_path(inputs, output, _sizes(shape), ssa_path=path)


def _is_cheap(tree: Any) -> bool:
    return bool(_work(tree) <= _SECONDS_PER_PRODUCT * len(tree.inputs))


def _work(tree: Any) -> float:
    """Return the seconds in which a tree's numbers are multiplied and written, complex64."""
    seconds = _as_float(tree.contraction_cost()) * _SECONDS_PER_MULTIPLICATION
    return seconds + _as_float(tree.total_write()) * _SECONDS_PER_NUMBER


def _as_float(number: int) -> float:
    return float(min(number, _MOST_COST))


def _sliced(tree: Any, limit: int, itemsize: int, gradient: bool, most_seconds: float) -> Plan:
    """Slice a tree until a contraction fits the limit."""
    whole = _cost(tree, itemsize, gradient)
    _check_time(whole, most_seconds)
    sliced, needed = tree, whole.bytes
    n_cut = math.ceil(math.log2(needed / limit)) - 1  # each index halves at most
    while needed > limit:
        n_cut += 1
        is_quick = _cost(tree, itemsize, gradient, 2**n_cut).seconds <= most_seconds
        cut = _cut(tree, 2**n_cut) if is_quick and n_cut <= _MOST_SLICES else None
        if cut is None:
            raise UnsupportedByEngine(_does_not_fit(whole, needed, limit))
        sliced, needed = cut, _bytes(cut, itemsize, gradient)
    return Plan(sliced, int(sliced.nslices), _cost(sliced, itemsize, gradient))


def _cut(tree: Any, n_slices: int) -> Any | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return tree.slice(target_slices=n_slices, allow_outer=False, seed=0)
        except (RuntimeError, ValueError, KeyError):  # nothing is left to slice
            return None


def _bytes(tree: Any, itemsize: int, gradient: bool) -> float:
    """Return the bytes at the peak of a slice, and of the sum of all.

    With a gradient all intermediate tensors and their gradients are alive; without, those that wait
    for their product, and transposed copies of what is multiplied.
    """
    result = 2 ** len(tree.output)
    alive = tree.total_write() // tree.nslices if gradient else tree.peak_size()
    return itemsize * 2 * _as_float(alive + result)


def _cost(tree: Any, itemsize: int, gradient: bool, n_slices: int = 0) -> Cost:
    """Return the cost of a tree; its least cost where more slices than it has are asked for."""
    n_slices = n_slices or tree.nslices
    n_products = max(len(tree.inputs) - 1, 1) * n_slices
    both = _SECONDS + n_products * _SECONDS_PER_PRODUCT + _work(tree) * itemsize / 8
    forward = _FORWARD * both
    # The backward pass contracts each slice again.
    again = forward if n_slices > 1 else 0.0
    return Cost(both + again if gradient else forward, _bytes(tree, itemsize, gradient))


def _check_time(cost: Cost, most: float) -> None:
    """Raise for a contraction that takes too long."""
    if cost.seconds > most:
        expected = f"a request that takes at most {as_time(most)}"
        actual = f"one of about {as_time(cost.seconds)} and {as_size(cost.bytes)}"
        hint = "Raise time_limit, ask for less at once, or take MPSEngine(max_bond=...)."
        raise UnsupportedByEngine(must_be("circuit", expected, actual, hint))


def _does_not_fit(whole: Cost, needed: float, limit: int) -> str:
    return must_be(
        "memory_limit",
        f"at least {as_size(needed)} for this request",
        as_size(limit),
        f"Without a limit the contraction takes about {as_size(whole.bytes)} and "
        f"{as_time(whole.seconds)}. Raise the limit, ask for less at once, or take "
        "MPSEngine(max_bond=...).",
    )


def as_size(n_bytes: float) -> str:
    """Return a number of bytes for people."""
    if n_bytes < 2**30:
        return f"{n_bytes / 2**20:.3g} MiB"
    return f"{n_bytes / 2**30:.3g} GiB"


def as_time(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 120:
        return f"{seconds:.2g} s"
    if seconds < 2 * 86400:
        return f"{seconds / 3600:.2g} h"
    return f"{seconds / 86400:.2g} days"


# --- on disk -----------------------------------------------------------------------------------


def _file(shape: Shape, optimize: Optimize) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm's, about a notebook that has no widgets
        import pooch

    text = json.dumps([shape, ROUNDS[optimize], _TRIALS])
    name = hashlib.sha256(text.encode()).hexdigest()[:32]
    return Path(pooch.os_cache("qtn_train")) / "trees" / f"{name}.json"


def _read(path: Path, shape: Shape) -> Any | None:
    """Return a stored tree, or None where there is none that fits the network."""
    try:
        pairs = json.loads(path.read_text())
        path_ = [tuple(map(int, pair)) for pair in pairs]
        if len(path_) != len(shape[0]) - 1:
            return None
        tree = _from_path(shape, path_)
        return tree if tree.is_complete() else None
    except Exception:  # missing, or damaged: the search is made again
        return None


def _write(path: Path, tree: Any) -> None:
    """Store a tree; a folder that cannot be written to costs another search, no more."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(tree.get_ssa_path()).encode())
    except OSError:
        return
