"""A gate's gradient and its inverse in one loop, at the widths of all registers."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray
from tolerances import DOUBLE, SINGLE_GRADIENT

from qtn_train.engines.statevector import _kernels


def numbers(seed: int, dtype: type) -> NDArray[Any]:
    return np.random.default_rng(seed).normal(size=(4, 96)).astype(dtype)


@pytest.mark.parametrize("register", [256, 512])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_loop_does_what_three_do(
    register: int, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_kernels, "REGISTER", register)
    undo_lanes = _kernels._undo_lanes

    @numba.njit
    def undo(planes: Any, x: int, y: int, n: int, m: Any, out: Any) -> None:
        a, b, c, d = planes[0], planes[1], planes[2], planes[3]
        undo_lanes(
            a[x : x + n], a[y : y + n], b[x : x + n], b[y : y + n],
            c[x : x + n], c[y : y + n], d[x : x + n], d[y : y + n],
            n, m, out,
        )  # fmt: skip

    planes, n = numbers(0, dtype), 32
    state, cotangent = planes[0] + 1j * planes[1], planes[2] + 1j * planes[3]
    gate = np.linalg.qr([[1 + 2j, 3 - 1j], [0.5j, 2]])[0]
    kept = planes.copy()
    before = np.linspace(1, 4, 4)
    sums = before.copy()
    parts = np.stack([gate.ravel().real, gate.ravel().imag], 1).ravel().astype(dtype)
    undo(planes, 16, 60, n, parts, sums)

    rows = [slice(16, 16 + n), slice(60, 60 + n)]
    pair, other = (np.stack([each[row] for row in rows]) for each in (state, cotangent))
    k = other @ pair.conj().T
    expected = k[0, 0].imag, k[1, 1].imag, (k[0, 1] - k[1, 0].conj()).real
    expected = *expected, (k[0, 1] - k[1, 0].conj()).imag
    tolerance = SINGLE_GRADIENT if dtype == np.float32 else DOUBLE
    close = {"rtol": tolerance, "atol": tolerance}
    np.testing.assert_allclose(sums - before, expected, **close)
    for first, made in ((0, gate @ pair), (2, gate @ other)):
        for row, values in zip(rows, made, strict=True):
            np.testing.assert_allclose(planes[first, row], values.real, **close)
            np.testing.assert_allclose(planes[first + 1, row], values.imag, **close)
            kept[first, row], kept[first + 1, row] = planes[first, row], planes[first + 1, row]
    assert np.array_equal(kept, planes)  # nothing beside the two runs was touched
