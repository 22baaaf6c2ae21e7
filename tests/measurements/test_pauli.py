"""Sums of Pauli strings: how they are written, and which of them one circuit measures."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qtn_train.measurements._pauli import (
    as_strings,
    commuting_groups,
    letters,
    parse_list,
    parse_terms,
)

LEARNED = torch.ones((), requires_grad=True)


@pytest.mark.parametrize(
    "terms",
    [
        {"IZIX": 2.0},
        {"Z1 X3": 2.0},
        {"X3 Z1": 2},
        {"X3   I0 Z1": np.float32(2)},
        {"IZIX": 1.5, "Z1 X3": 0.5},
        {"IZIX": 1.0, (3, 1): "XZ"},
    ],
)
def test_ways_to_write_the_same_sum(terms: Any) -> None:
    assert parse_terms(terms, 4) == [(2.0, ((1, "Z"), (3, "X")))]
    assert parse_terms(as_strings(terms), 4) == parse_terms(terms, 4)


def test_strings_alone() -> None:
    assert parse_terms("ZY", 2) == parse_terms("Z0 Y1", 2) == [(1.0, ((0, "Z"), (1, "Y")))]
    assert parse_terms("II", 2) == parse_terms("I1", 2) == [(1.0, ())]
    assert parse_terms("Z999", 1000) == [(1.0, ((999, "Z"),))]
    assert parse_list(["X0", {"Z0": 2}], 1) == [[(1.0, ((0, "X"),))], [(2.0, ((0, "Z"),))]]


@given(st.lists(st.text("IXYZ", min_size=5, max_size=5), min_size=1, max_size=6, unique=True))
def test_letters_and_back(strings: list[str]) -> None:
    parsed = parse_terms(dict.fromkeys(strings, 0.5), 5)
    assert [letters(string, 5) for _, string in parsed] == strings


@pytest.mark.parametrize(
    ("terms", "error", "message"),
    [
        ("", ValueError, r"`terms` must be such as .*; got ''\."),
        ("ZZ", ValueError, "`terms` must be Pauli strings of 3 letters out of IXYZ; got 'ZZ'. Na"),
        ("zzz", ValueError, "`terms` must be such as .*; got 'zzz'"),
        ("Z0Z1", ValueError, "`terms` must be such as .*; got 'Z0Z1'"),
        ("Z-1", ValueError, "`terms` must be such as .*; got 'Z-1'"),
        ("Z" + "9" * 5000, ValueError, "`terms` must be such as"),
        ("Z3", ValueError, "`terms` must be on qubits 0 … 2; got 'Z3'"),
        ("Z0 X0", ValueError, "`terms` must be strings with one letter for a qubit; got 'Z0 X0'"),
        ({}, ValueError, r"`terms` must be one Pauli string at least; got \{\}"),
        ({(0, 1): "Z"}, ValueError, "`terms` must be a letter out of IXYZ for each qubit of a tup"),
        ({(): ""}, ValueError, "`terms` must be a letter out of IXYZ for each qubit of a tuple"),
        ({(0, 0): "ZZ"}, ValueError, "`terms` must be strings with one letter for a qubit"),
        ({(0.5,): "Z"}, ValueError, "`terms` must be a letter out of IXYZ for each qubit of a tu"),
        ({(-1,): "Z"}, ValueError, "`terms` must be such as .*; got 'Z-1'"),
        ({3: "Z"}, TypeError, "`terms` must be such as .*; got {3: 'Z'}"),
        ({"ZZZ": "1"}, TypeError, "`terms` must be with real coefficients; got '1'"),
        ({"ZZZ": 1j}, TypeError, "`terms` must be with real coefficients; got 1j"),
        ({"ZZZ": True}, TypeError, "`terms` must be with real coefficients; got True"),
        ({"ZZZ": LEARNED}, TypeError, "`terms` must be of constants; got a tensor with a gradient"),
        ({(0,): LEARNED * torch.eye(2)}, TypeError, r"of constants; .* Multiply what expectations"),
        ({"ZZZ": math.nan}, ValueError, "`terms` must be with finite coefficients; got nan"),
        (5, TypeError, "`terms` must be such as .*; got 5"),
        (None, TypeError, "`terms` must be such as .*; got None"),
    ],
)
def test_messages(terms: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parse_terms(terms, 3)
    with pytest.raises(error, match=message):
        parse_list([terms], 3)


def test_messages_of_lists() -> None:
    for single in ("ZZ", {"ZZ": 1.0}, 5):
        wrong: Any = single
        with pytest.raises(TypeError, match="`terms` must be a list of sums of Pauli strings; got"):
            parse_list(wrong, 2)
    with pytest.raises(ValueError, match="`terms` must be one sum of Pauli strings at least"):
        parse_list([], 2)


# Groups that one circuit measures


def fit(first: str, second: str) -> bool:
    return all(a == b or "I" in (a, b) for a, b in zip(first, second, strict=True))


def fewest_groups(strings: list[str]) -> int:
    """The smallest number of groups, by trying every partition."""

    def added(groups: list[list[str]], rest: list[str]) -> int:
        if not rest:
            return len(groups)
        first, *others = rest
        best = added([*groups, [first]], others)
        for number, group in enumerate(groups):
            if all(fit(first, member) for member in group):
                joined = [[*g, first] if n == number else g for n, g in enumerate(groups)]
                best = min(best, added(joined, others))
        return best

    return added([], strings)


@given(st.lists(st.text("IXYZ", min_size=3, max_size=3), min_size=1, max_size=7, unique=True))
def test_groups_against_every_partition(strings: list[str]) -> None:
    parsed = [string for _, string in parse_terms(dict.fromkeys(strings, 1.0), 3)]
    groups = commuting_groups(parsed)
    assert sorted(itertools.chain(*groups.values())) == sorted(parsed)
    for basis, members in groups.items():
        written = [letters(member, 3) for member in members]
        assert all(fit(one, other) for one, other in itertools.combinations(written, 2))
        assert all(set(member) <= set(basis) for member in members)
    fewest = fewest_groups(strings)
    assert fewest <= len(groups) <= fewest + 1


@pytest.mark.parametrize(
    ("strings", "expected"),
    [
        (["ZZI", "IZZ", "ZIZ", "III"], 1),
        (["XXI", "IXX", "ZZI", "IZZ", "YYI"], 3),
        (["ZII", "IXI", "IIY"], 1),
        (["XX", "YY", "ZZ", "XI", "IZ"], 3),
    ],
)
def test_numbers_of_groups(strings: list[str], expected: int) -> None:
    parsed = [string for _, string in parse_terms(dict.fromkeys(strings, 1.0), len(strings[0]))]
    assert len(commuting_groups(parsed)) == expected
