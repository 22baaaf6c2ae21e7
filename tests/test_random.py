"""Fixed random numbers: literal values, the same in every version and on every machine."""

import numpy as np
import pytest
import tolerances

from qtn_train._random import permutation, raw_bits, sha256, uniform


def test_raw_bits() -> None:
    expected = [0xCBAD19D1B6414751, 0xF0CC7FCF3D5294F7, 0x47BFC72FA7BFE4DB]
    bits = raw_bits(0, "angles", 3)
    assert bits.tolist() == expected
    assert bits.dtype == np.uint64
    assert raw_bits(0, "shuffle", 2).tolist() == [0xFDF846A4CB9CEC4F, 0x51AA526EE1C327B4]
    assert raw_bits(-7, "angles", 2).tolist() == [0x2CBD3A6C94851148, 0xDA569D0303705317]


def test_a_longer_stream_begins_like_a_shorter_one() -> None:
    assert np.array_equal(raw_bits(3, "start", 100)[:7], raw_bits(3, "start", 7))
    assert raw_bits(3, "start", 0).shape == (0,)


@pytest.mark.parametrize("start", [0, 1, 4, 6, 31])
def test_a_stream_can_be_read_from_any_place(start: int) -> None:
    assert np.array_equal(raw_bits(3, "start", 9, start), raw_bits(3, "start", 40)[start:][:9])


def test_seeds_and_streams_differ() -> None:
    draws = [
        raw_bits(seed, stream, 4).tolist() for seed in (0, 1, 2**70, -1) for stream in ("a", "b")
    ]
    assert len({tuple(draw) for draw in draws}) == 8
    # Nor does a number at the end of the seed become part of the stream's name.
    assert raw_bits(1, "2/x", 2).tolist() != raw_bits(12, "x", 2).tolist()


def test_uniform() -> None:
    expected = [0.5912201189025925, 0.8812408220207044, -0.4394598977382893]
    assert uniform(0, "angles", 3).tolist() == expected
    many = uniform(0, "x", 100_000)
    assert many.dtype == np.float64
    assert -1 <= many.min() < -0.999
    assert 0.999 < many.max() < 1
    assert many.mean() == pytest.approx(0, abs=tolerances.of_draws(100_000, 3**-0.5))
    assert many.var() == pytest.approx(1 / 3, abs=tolerances.of_draws(100_000, 0.3))


def test_permutation() -> None:
    assert permutation(0, "shuffle", 10).tolist() == [5, 6, 1, 2, 9, 3, 8, 4, 7, 0]
    order = permutation(1, "shuffle", 1000)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(1000))
    # A random order has about one fixed point.
    assert (order == np.arange(1000)).sum() < 10


def test_the_global_generator_is_left_alone() -> None:
    before = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    permutation(0, "shuffle", 10)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index, union-attr]


def test_sha256_is_that_of_little_endian_bytes() -> None:
    expected = "ab25350e3e65efebe24584461683ecda68725576e825e550038b90e7b1479946"
    assert sha256(np.arange(3)) == expected
    assert sha256(np.arange(3, dtype=">i8")) == expected
    assert sha256(np.arange(2), np.arange(2, 3)) == expected
    assert sha256(np.arange(6)[::2] // 2) == expected
    assert sha256(np.arange(3, dtype=np.float32)) != expected
    assert sha256() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
