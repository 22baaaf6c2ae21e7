"""Compiled loops of the state-vector engine: one sweep over a state, forward and backward.

A sweep loads one tile after another into a small scratch array, real and imaginary parts apart,
applies all its gates there, and writes it back in a new order of qubits:

    state, order of the last sweep ──► tile (row, column) ──► gates on the rows ──► state, new order

A gate is a pair of 2 × 2 matrices, one for each value of its control; it mixes two rows, so that
the loop over columns is long and plain. Everything here works on bare arrays: what they mean is
decided in ``_tiles``.
"""

# mypy: allow-untyped-defs

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from ._tiles import PADDING

# Sums may be taken in any order; NaN and infinity keep their meaning.
_FAST = {"contract", "reassoc"}


def _compiled(function: Callable[..., Any], parallel: bool = False) -> Callable[..., Any]:
    """Compile at first use, free of the interpreter's lock, and keep the code on disk."""
    options: dict[str, Any] = {"nogil": True, "fastmath": _FAST, "parallel": parallel}
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep it in can be written
        compiled = numba.njit(**options)(function)
    return compiled


def _parallel(function: Callable[..., Any]) -> Callable[..., Any]:
    return _compiled(function, parallel=True)


@_compiled
def _mix(xr, xi, yr, yi, m):
    """Replace rows (x, y) by m · (x, y)."""
    ar, ai, br, bi, cr, ci, dr, di = m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7]
    for j in range(len(xr)):
        pr, pi, qr, qi = xr[j], xi[j], yr[j], yi[j]
        xr[j] = ar * pr - ai * pi + br * qr - bi * qi
        xi[j] = ar * pi + ai * pr + br * qi + bi * qr
        yr[j] = cr * pr - ci * pi + dr * qr - di * qi
        yi[j] = cr * pi + ci * pr + dr * qi + di * qr


@_compiled
def _add_tangent(xr, xi, yr, yi, vr, vi, wr, wi, out):
    """Add the anti-Hermitian part of K = (v, w) · (x, y)†: Im K00, Im K11, K01 − conj(K10)."""
    zero = xr[0] * 0
    first, last, real, imaginary = zero, zero, zero, zero
    for j in range(len(xr)):
        first += vi[j] * xr[j] - vr[j] * xi[j]
        last += wi[j] * yr[j] - wr[j] * yi[j]
        real += vr[j] * yr[j] + vi[j] * yi[j] - wr[j] * xr[j] - wi[j] * xi[j]
        imaginary += vi[j] * yr[j] - vr[j] * yi[j] + wi[j] * xr[j] - wr[j] * xi[j]
    out[0] += first
    out[1] += last
    out[2] += real
    out[3] += imaginary


@_compiled
def _rows(k, bit):
    """The k-th pair of rows that differ in one bit."""
    low = k & ((1 << bit) - 1)
    first = ((k >> bit) << (bit + 1)) | low
    return first, first | (1 << bit)


@_compiled
def _apply(re, im, step, pair, tile):
    """Apply one gate to a tile in place."""
    bit, row_mask, tile_mask, shift = step[0], step[1], step[2], step[3]
    n = re.shape[1] - PADDING
    width = n if shift < 0 else 1 << shift
    for k in range(re.shape[0] // 2):
        x, y = _rows(k, bit)
        for piece in range(n // width):
            a, b = piece * width, (piece + 1) * width
            c = piece & 1
            if shift < 0:
                c = 1 if (x & row_mask) | (tile & tile_mask) else 0
            _mix(re[x, a:b], im[x, a:b], re[y, a:b], im[y, a:b], pair[c])


@_compiled
def _undo(re, im, gre, gim, step, pair, out, tile):
    """Add a gate's gradient, then apply its inverse to state and cotangent, row by row."""
    bit, row_mask, tile_mask, shift = step[0], step[1], step[2], step[3]
    n = re.shape[1] - PADDING
    width = n if shift < 0 else 1 << shift
    for k in range(re.shape[0] // 2):
        x, y = _rows(k, bit)
        for piece in range(n // width):
            a, b = piece * width, (piece + 1) * width
            c = piece & 1
            if shift < 0:
                c = 1 if (x & row_mask) | (tile & tile_mask) else 0
            xr, xi, yr, yi = re[x, a:b], im[x, a:b], re[y, a:b], im[y, a:b]
            vr, vi, wr, wi = gre[x, a:b], gim[x, a:b], gre[y, a:b], gim[y, a:b]
            _add_tangent(xr, xi, yr, yi, vr, vi, wr, wi, out[c])
            _mix(xr, xi, yr, yi, pair[c])
            _mix(vr, vi, wr, wi, pair[c])


@_compiled
def sweep(old, new, bases, far, near, run, steps, matrices, n_rows, first, last):
    """Apply a sweep's gates to the tiles first … last−1.

    Args:
        old: The state before, real (2**n, 2), in the order of the last sweep.
        new: Where the state goes, in the order of this one.
        bases: Where each tile begins in ``old``.
        far: Places relative to that of the values of the tile's qubits that are more significant
            in ``old``; second line: places in the tile. The loops run through ``old`` in order.
        near: The same for its other qubits.
        run: So many numbers from each of these places on lie side by side in state and tile.
        steps: One line for each gate: bit of the row that it acts on; mask of the row and mask of
            the tile's number that hold the control; log2 of the run of columns with equal control
            (−1: the control is no column); number of the matrix pair.
        matrices: Real (n, 2, 8): for each value of the control, the entries of the 2 × 2 matrix.
        n_rows: Rows of a tile.
        first: First tile.
        last: One past the last tile.
    """
    n_columns = far.shape[1] * near.shape[1] * run // n_rows
    shape = (n_rows, n_columns + PADDING)
    flat = np.empty((2, shape[0] * shape[1]), old.dtype)
    re, im = flat[0].reshape(shape), flat[1].reshape(shape)
    for tile in range(first, last):
        for i in range(far.shape[1]):
            source, place = bases[tile] + far[0, i], far[1, i]
            for j in range(near.shape[1]):
                at, to = np.uint64(source + near[0, j]), np.uint64(place + near[1, j])
                if run == 1:
                    flat[0, to], flat[1, to] = old[at, 0], old[at, 1]
                else:
                    a, b, c = flat[0, to : to + run], flat[1, to : to + run], old[at : at + run]
                    for k in range(run):
                        a[k], b[k] = c[k, 0], c[k, 1]
        for s in range(len(steps)):
            _apply(re, im, steps[s], matrices[steps[s, 4]], tile)
        for r in range(n_rows):
            start = (tile * n_rows + r) * n_columns
            line = new[start : start + n_columns]
            for j in range(n_columns):
                line[j, 0], line[j, 1] = re[r, j], im[r, j]


@_compiled
def sweep_back(old, new, bases, far, near, run, steps, matrices, n_rows, first, last, grads):
    """Undo a sweep on state and cotangent together, and add up the gradients of its matrices.

    Args:
        old: Where state and cotangent before the sweep go, real (2**n, 4).
        new: State and cotangent after it.
        bases: As in :func:`sweep`, like the next five.
        far: See there.
        near: See there.
        run: See there.
        steps: See there.
        matrices: The inverse matrices.
        n_rows: Rows of a tile.
        first: First tile.
        last: One past the last tile.
        grads: float64, (n, 2, 4); added to: see :func:`_add_tangent`.
    """
    n_columns = far.shape[1] * near.shape[1] * run // n_rows
    shape = (n_rows, n_columns + PADDING)
    flat = np.empty((4, shape[0] * shape[1]), old.dtype)
    re, im = flat[0].reshape(shape), flat[1].reshape(shape)
    gre, gim = flat[2].reshape(shape), flat[3].reshape(shape)
    for tile in range(first, last):
        for r in range(n_rows):
            start = (tile * n_rows + r) * n_columns
            line = new[start : start + n_columns]
            for j in range(n_columns):
                re[r, j], im[r, j] = line[j, 0], line[j, 1]
                gre[r, j], gim[r, j] = line[j, 2], line[j, 3]
        for s in range(len(steps) - 1, -1, -1):
            number = steps[s, 4]
            _undo(re, im, gre, gim, steps[s], matrices[number], grads[number], tile)
        for i in range(far.shape[1]):
            target, place = bases[tile] + far[0, i], far[1, i]
            for j in range(near.shape[1]):
                to, at = np.uint64(target + near[0, j]), np.uint64(place + near[1, j])
                if run == 1:
                    old[to, 0], old[to, 1] = flat[0, at], flat[1, at]
                    old[to, 2], old[to, 3] = flat[2, at], flat[3, at]
                else:
                    part, piece = old[to : to + run], flat[:, at : at + run]
                    for k in range(run):
                        part[k, 0], part[k, 1] = piece[0, k], piece[1, k]
                        part[k, 2], part[k, 3] = piece[2, k], piece[3, k]


@_parallel
def sweep_parallel(old, new, bases, far, near, run, steps, matrices, n_rows, n_threads):
    """Share the tiles of :func:`sweep` out to threads."""
    n = len(bases)
    for i in numba.prange(n_threads):
        first, last = n * i // n_threads, n * (i + 1) // n_threads
        sweep(old, new, bases, far, near, run, steps, matrices, n_rows, first, last)


@_parallel
def sweep_back_parallel(old, new, bases, far, near, run, steps, matrices, n_rows, n_threads, grads):
    """Share the tiles of :func:`sweep_back` out to threads, each with gradients of its own."""
    n = len(bases)
    for i in numba.prange(n_threads):
        first, last = n * i // n_threads, n * (i + 1) // n_threads
        sweep_back(old, new, bases, far, near, run, steps, matrices, n_rows, first, last, grads[i])
