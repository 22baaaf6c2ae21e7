"""Compiled loops of the state-vector engine: sweeps over a state, forward and backward.

A sweep loads one tile after another into a small scratch array, applies all its gates there, and
writes it back in a new order of qubits:

    state, order of the last sweep ──► tile (row, column) ──► gates on the rows ──► state, new order

States and tiles are kept in planes, one for the real and one for the imaginary parts, so that all
is moved and computed in long plain runs; where all gates are real there is no second plane. A gate
is a pair of 2 × 2 matrices, one for each value of its control; it mixes two rows, or two runs of
neighboring rows. Everything here works on bare arrays: what they mean is decided in ``_tiles``.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._sizes import PADDING, SQUARE

# Sums may be taken in any order; NaN and infinity keep their meaning.
_FAST = {"contract", "reassoc"}
# Where the control is one of the columns, runs with equal control shorter than this are not worth
# a loop of their own.
_SHORTEST_LOOP = 32
# So many neighboring rows are mixed in one loop; more of them would leave the first-level cache.
_ROWS_AT_ONCE = 4


def _features() -> list[str]:
    """Return the extensions that this machine's processor has, as LLVM calls them."""
    try:
        return [name for name, there in get_host_cpu_features().items() if there]
    except RuntimeError:  # LLVM cannot tell
        return []


# Bits, and numbers of single precision, that are treated at once where the code says so, not LLVM.
REGISTER = 512 if "avx512f" in _features() else 256
LANES = REGISTER // 32


_OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": _FAST}


def compiled(function: Callable[..., Any], parallel: bool = False) -> Callable[..., Any]:
    """Compile at first use, free of the interpreter's lock, and keep the code on disk."""
    try:
        made: Callable[..., Any] = numba.njit(cache=True, parallel=parallel, **_OPTIONS)(function)
    except RuntimeError:  # no folder to keep it in can be written
        made = numba.njit(parallel=parallel, **_OPTIONS)(function)
    return made


def _parallel(function: Callable[..., Any]) -> Callable[..., Any]:
    return compiled(function, parallel=True)


# A part of its callers' code, see :func:`apart`.
inlined: Callable[..., Any] = numba.njit(forceinline=True, **_OPTIONS)
_generated: Callable[..., Any] = intrinsic


@_generated
def wide(typing):
    """Compile the loops of the function that calls this for the widest registers.

    LLVM takes half of a 512-bit register unless it is asked.
    """

    def generate(context, builder, signature, arguments):
        # llvmlite knows no attribute that has a value, and writes what is there.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate


@_generated
def apart(typing):
    """Keep the function that calls this out of its callers.

    Whether it is compiled beside a caller or loaded from the disk would decide else which of two
    codes runs, whose sums differ in the last bit.
    """

    def generate(context, builder, signature, arguments):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


@inlined
def _mix(re, im, x, y, n, m):
    """Replace the n numbers from x and y on by m · (x, y); ``im`` is None if all is real."""
    wide()
    xr, yr = re[x : x + n], re[y : y + n]
    if im is None:
        a, b, c, d = m[0], m[1], m[2], m[3]
        for j in range(n):
            p, q = xr[j], yr[j]
            xr[j], yr[j] = a * p + b * q, c * p + d * q
    else:
        xi, yi = im[x : x + n], im[y : y + n]
        ar, ai, br, bi, cr, ci, dr, di = m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7]
        for j in range(n):
            pr, pi, qr, qi = xr[j], xi[j], yr[j], yi[j]
            xr[j] = ar * pr - ai * pi + br * qr - bi * qi
            xi[j] = ar * pi + ai * pr + br * qi + bi * qr
            yr[j] = cr * pr - ci * pi + dr * qr - di * qi
            yi[j] = cr * pi + ci * pr + dr * qi + di * qr


@inlined
def _mix_each(re, im, x, y, m):
    """Replace numbers as :func:`_mix` does, with a matrix for each column: (entries, columns)."""
    wide()
    n = m.shape[1]
    xr, yr = re[x : x + n], re[y : y + n]
    if im is None:
        a, b, c, d = m[0], m[1], m[2], m[3]
        for j in range(n):
            p, q = xr[j], yr[j]
            xr[j], yr[j] = a[j] * p + b[j] * q, c[j] * p + d[j] * q
    else:
        xi, yi = im[x : x + n], im[y : y + n]
        ar, ai, br, bi, cr, ci, dr, di = m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7]
        for j in range(n):
            pr, pi, qr, qi = xr[j], xi[j], yr[j], yi[j]
            xr[j] = ar[j] * pr - ai[j] * pi + br[j] * qr - bi[j] * qi
            xi[j] = ar[j] * pi + ai[j] * pr + br[j] * qi + bi[j] * qr
            yr[j] = cr[j] * pr - ci[j] * pi + dr[j] * qr - di[j] * qi
            yi[j] = cr[j] * pi + ci[j] * pr + dr[j] * qi + di[j] * qr


@inlined
def _add_tangent(re, im, gre, gim, x, y, n, out):
    """Add the anti-Hermitian part of K = (v, w) · (x, y)†: Im K00, Im K11, K01 − conj(K10)."""
    wide()
    xr, yr, vr, wr = re[x : x + n], re[y : y + n], gre[x : x + n], gre[y : y + n]
    zero = xr[0] * 0
    outer, inner, real, imaginary = zero, zero, zero, zero
    if im is None:
        for j in range(n):
            real += vr[j] * yr[j] - wr[j] * xr[j]
    else:
        xi, yi, vi, wi = im[x : x + n], im[y : y + n], gim[x : x + n], gim[y : y + n]
        for j in range(n):
            outer += vi[j] * xr[j] - vr[j] * xi[j]
            inner += wi[j] * yr[j] - wr[j] * yi[j]
            real += vr[j] * yr[j] + vi[j] * yi[j] - wr[j] * xr[j] - wi[j] * xi[j]
            imaginary += vi[j] * yr[j] - vr[j] * yi[j] + wi[j] * xr[j] - wr[j] * xi[j]
        out[0] += outer
        out[1] += inner
        out[3] += imaginary
    out[2] += real


@inlined
def _add_tangent_each(re, im, gre, gim, x, y, sums):
    """Add what :func:`_add_tangent` adds, for each column: sums is (4, columns)."""
    wide()
    n = sums.shape[1]
    xr, yr, vr, wr = re[x : x + n], re[y : y + n], gre[x : x + n], gre[y : y + n]
    outer, inner, real, imaginary = sums[0], sums[1], sums[2], sums[3]
    if im is None:
        for j in range(n):
            real[j] += vr[j] * yr[j] - wr[j] * xr[j]
    else:
        xi, yi, vi, wi = im[x : x + n], im[y : y + n], gim[x : x + n], gim[y : y + n]
        for j in range(n):
            outer[j] += vi[j] * xr[j] - vr[j] * xi[j]
            inner[j] += wi[j] * yr[j] - wr[j] * yi[j]
            real[j] += vr[j] * yr[j] + vi[j] * yi[j] - wr[j] * xr[j] - wi[j] * xi[j]
            imaginary[j] += vi[j] * yr[j] - vr[j] * yi[j] + wi[j] * xr[j] - wr[j] * xi[j]


@inlined
def _spread(pair, shift, each):
    """Fill ``each`` (entries, columns) with the matrix that each column's control selects."""
    wide()
    for entry in range(each.shape[0]):
        for j in range(each.shape[1]):
            each[entry, j] = pair[(j >> shift) & 1, entry]


@inlined
def _runs(step, width):
    """Return the number of neighboring rows treated alike, of numbers a loop, of loops a row."""
    bit, row_mask, shift = step[0], step[1], step[3]
    if shift >= 0:
        return 1, 1 << shift, (width - PADDING) >> shift
    alike = min(1 << bit, _ROWS_AT_ONCE)
    if row_mask:
        alike = min(alike, row_mask)
    return alike, alike * width if alike > 1 else width - PADDING, 1


@inlined
def _place(k, step, width, tile):
    """Return where the k-th pair of rows begins, and the value of a control that is no column."""
    bit, row_mask, tile_mask = step[0], step[1], step[2]
    x = ((k >> bit) << (bit + 1)) | (k & ((1 << bit) - 1))
    c = 1 if (x & row_mask) | (tile & tile_mask) else 0
    return x * width, (x | (1 << bit)) * width, c


@inlined
def _apply(re, im, n_rows, step, pair, tile, each):
    """Apply one gate to a tile in place."""
    width = each.shape[1] + PADDING
    alike, n, pieces = _runs(step, width)
    if pieces > 1 and n < _SHORTEST_LOOP:
        _spread(pair, step[3], each)
        for k in range(n_rows // 2):
            x, y, _ = _place(k, step, width, tile)
            _mix_each(re, im, x, y, each)
        return
    for k in range(0, n_rows // 2, alike):
        x, y, c = _place(k, step, width, tile)
        for piece in range(pieces):
            if pieces > 1:
                c = piece & 1
            _mix(re, im, x + piece * n, y + piece * n, n, pair[c])


def _addresses(context, builder, signature, arguments):
    """Return what gives the address of a number of one of the arguments, in generated code."""

    def address(argument, place):
        array = context.make_array(signature.args[argument])
        return builder.gep(array(context, builder, arguments[argument]).data, [place])

    return address


@_generated
def _undo_lanes(typing, xr, yr, xi, yi, vr, wr, vi, wi, n, m, out):
    """Do what :func:`_undo_run` does where all is complex and n a multiple of LANES.

    Each number is loaded once. LLVM would not vectorize such a loop: eight runs of numbers are too
    many for its checks that none overlaps another.
    """

    def generate(context, builder, signature, arguments):
        kind, word = context.get_data_type(xr.dtype), ir.IntType(64)
        n_lanes, align = REGISTER // xr.dtype.bitwidth, xr.dtype.bitwidth // 8
        lanes = ir.VectorType(kind, n_lanes)
        add, subtract, times = (
            functools.partial(getattr(builder, name), flags=("contract", "reassoc"))
            for name in ("fadd", "fsub", "fmul")
        )

        address = _addresses(context, builder, signature, arguments)

        def same(number):
            first = ir.Constant(ir.IntType(32), 0)
            value = builder.load(address(9, ir.Constant(word, number)))
            one = builder.insert_element(ir.Constant(lanes, ir.Undefined), value, first)
            chosen = ir.Constant(ir.VectorType(ir.IntType(32), n_lanes), [0] * n_lanes)
            return builder.shuffle_vector(one, one, chosen)

        def product(row, p, q):
            (ar, ai, br, bi), (pr, pi), (qr, qi) = row, p, q
            real = subtract(times(ar, pr), times(ai, pi)), subtract(times(br, qr), times(bi, qi))
            imaginary = add(times(ar, pi), times(ai, pr)), add(times(br, qi), times(bi, qr))
            return add(*real), add(*imaginary)

        def cross(a, b):
            return subtract(times(a[1], b[0]), times(a[0], b[1]))

        def dot(a, b):
            return add(times(a[0], b[0]), times(a[1], b[1]))

        rows = [[same(4 * row + number) for number in range(4)] for row in range(2)]
        zero, step = ir.Constant(word, 0), ir.Constant(word, n_lanes)
        sums = [cgutils.alloca_once_value(builder, ir.Constant(lanes, None)) for _ in range(4)]
        with cgutils.for_range_slice(builder, zero, arguments[8], step, word) as (j, _):
            places = [builder.bitcast(address(k, j), lanes.as_pointer()) for k in range(8)]
            loaded = [builder.load(place, align=align) for place in places]
            x, y, v, w = loaded[0:4:2], loaded[1:4:2], loaded[4::2], loaded[5::2]
            added = (
                cross(v, x),
                cross(w, y),
                subtract(dot(v, y), dot(w, x)),
                add(cross(v, y), cross(w, x)),
            )
            for place, value in zip(sums, added, strict=True):
                builder.store(add(builder.load(place), value), place)
            for first, pair in ((0, (x, y)), (4, (v, w))):
                for row in range(2):
                    for part, value in enumerate(product(rows[row], *pair)):
                        builder.store(value, places[first + 2 * part + row], align=align)
        name = f"llvm.vector.reduce.fadd.v{n_lanes}f{xr.dtype.bitwidth}"
        reduce = ir.FunctionType(kind, (kind, lanes))
        reduce = cgutils.get_or_insert_function(builder.module, reduce, name)
        for number, place in enumerate(sums):
            given = ir.Constant(kind, 0.0), builder.load(place)
            total = builder.call(reduce, given, fastmath=("reassoc",))
            total = context.cast(builder, total, xr.dtype, out.dtype)
            to = address(10, ir.Constant(word, number))
            builder.store(builder.fadd(builder.load(to), total), to)
        return context.get_dummy_value()

    return types.void(xr, yr, xi, yi, vr, wr, vi, wi, n, m, out), generate


@inlined
def _undo_run(re, im, gre, gim, x, y, n, m, out):
    """Add a gate's gradient, then apply its inverse, on the n numbers from x and y on."""
    # A branch on None alone is left out where it is not taken, not one whose test holds more.
    if im is not None:  # noqa: SIM102
        if n % LANES == 0:
            xr, yr, xi, yi = re[x : x + n], re[y : y + n], im[x : x + n], im[y : y + n]
            vr, wr, vi, wi = gre[x : x + n], gre[y : y + n], gim[x : x + n], gim[y : y + n]
            _undo_lanes(xr, yr, xi, yi, vr, wr, vi, wi, n, m, out)
            return
    _add_tangent(re, im, gre, gim, x, y, n, out)
    _mix(re, im, x, y, n, m)
    _mix(gre, gim, x, y, n, m)


@inlined
def _undo(re, im, gre, gim, n_rows, step, pair, out, tile, each, sums):
    """Add a gate's gradient, then apply its inverse to state and cotangent, run by run."""
    width = each.shape[1] + PADDING
    alike, n, pieces = _runs(step, width)
    if pieces > 1 and n < _SHORTEST_LOOP:
        _spread(pair, step[3], each)
        sums[:] = 0
        for k in range(n_rows // 2):
            x, y, _ = _place(k, step, width, tile)
            _add_tangent_each(re, im, gre, gim, x, y, sums)
            _mix_each(re, im, x, y, each)
            _mix_each(gre, gim, x, y, each)
        for j in range(sums.shape[1]):
            for entry in range(4):
                out[(j >> step[3]) & 1, entry] += sums[entry, j]
        return
    for k in range(0, n_rows // 2, alike):
        x, y, c = _place(k, step, width, tile)
        for piece in range(pieces):
            if pieces > 1:
                c = piece & 1
            a, b = x + piece * n, y + piece * n
            _undo_run(re, im, gre, gim, a, b, n, pair[c], out[c])


@_generated
def _transpose(typing, source, target, at, places, to, places_to):
    """Copy a square of numbers, its rows at ``at`` + ``places``, transposed (Eklundh 1972)."""

    def generate(context, builder, signature, arguments):
        n, alignment = 2**SQUARE, source.dtype.bitwidth // 8
        row = ir.VectorType(context.get_data_type(source.dtype), n)

        address = _addresses(context, builder, signature, arguments)

        def rows(array, start, offsets):
            for number in range(n):
                offset = builder.load(address(offsets, ir.Constant(ir.IntType(64), number)))
                first = builder.add(arguments[start], offset)
                yield builder.bitcast(address(array, first), row.as_pointer())

        values = [builder.load(pointer, align=alignment) for pointer in rows(0, 2, 3)]
        for bit in (2**k for k in range(SQUARE)):
            for i in (i for i in range(n) if not i & bit):
                pair = values[i], values[i | bit]
                for number, from_bit in ((i, 0), (i | bit, bit)):
                    lanes = [(j & ~bit) | from_bit | (n if j & bit else 0) for j in range(n)]
                    chosen = ir.Constant(ir.VectorType(ir.IntType(32), n), lanes)
                    values[number] = builder.shuffle_vector(*pair, chosen)
        for pointer, value in zip(rows(1, 4, 5), values, strict=True):
            builder.store(value, pointer, align=alignment)
        return context.get_dummy_value()

    return types.void(source, target, at, places, to, places_to), generate


@inlined
def _move(source, target, part, back):
    """Copy a tile's numbers between state and tile; ``back`` is 1 for tile to state."""
    _, far, near, run, square, _ = part
    if run == 0:
        for i in range(len(far)):
            start, start_to = far[i, back], far[i, 1 - back]
            for j in range(len(near)):
                at, to = np.uint64(start + near[j, back]), np.uint64(start_to + near[j, 1 - back])
                _transpose(source, target, at, square[back], to, square[1 - back])
        return
    if run == 1:
        for i in range(len(far)):
            start, start_to = far[i, back], far[i, 1 - back]
            for j in range(len(near)):
                at, to = np.uint64(start + near[j, back]), np.uint64(start_to + near[j, 1 - back])
                target[to] = source[at]
        return
    # 16 bytes at a time; the four of a cache line are all read first, to stay in registers.
    wide, wide_to = source.view(np.complex128), target.view(np.complex128)
    shift, one = 8 // source.itemsize, np.uint64(1)
    for i in range(len(far)):
        start, start_to = far[i, back], far[i, 1 - back]
        for j in range(len(near)):
            at = np.uint64((start + near[j, back]) >> shift)
            to = np.uint64((start_to + near[j, 1 - back]) >> shift)
            for k in range(0, run >> shift, 4):
                p, q = at + np.uint64(k), to + np.uint64(k)
                a, b, c, d = wide[p], wide[p + one], wide[p + 2 * one], wide[p + 3 * one]
                wide_to[q], wide_to[q + one] = a, b
                wide_to[q + 2 * one], wide_to[q + 3 * one] = c, d


@inlined
def _rows(state, tile, number, n_rows, n_columns, out):
    """Copy a tile's rows out to one plane of a state, side by side there, or in from it."""
    wide()
    for r in range(n_rows):
        start, at = (number * n_rows + r) * n_columns, r * (n_columns + PADDING)
        line, row = state[start : start + n_columns], tile[at : at + n_columns]
        if out:
            for j in range(n_columns):
                line[j] = row[j]
        else:
            for j in range(n_columns):
                row[j] = line[j]


@inlined
def _planes(n_planes, n_rows, n_columns, like):
    """Return an empty tile whose planes begin in different parts of the cache."""
    return np.zeros((n_planes, n_rows * (n_columns + PADDING) + 4 * PADDING), like.dtype)


@inlined
def _part(tables, s):
    """Return of sweep s: where its tiles begin, how the numbers of a tile move, its gates."""
    bases, far, near, runs, squares, steps, bounds = tables
    i, j, k, i_to, j_to, k_to = bounds[s]
    return bases[s], far[i:i_to], near[j:j_to], runs[s], squares[s], steps[k:k_to]


@compiled
def _sweep(old, new, part, matrices, n_rows, imaginary, first, last):
    """Apply a sweep's gates to the tiles first … last−1."""
    apart()
    bases, steps = part[0], part[5]
    n_planes, n_columns = len(old), new.shape[1] // len(bases) // n_rows
    flat = _planes(n_planes, n_rows, n_columns, old)
    re, im = flat[0], None if imaginary is None else flat[1]
    each = np.empty((matrices.shape[2], n_columns), old.dtype)
    for tile in range(first, last):
        for p in range(n_planes):
            _move(old[p, bases[tile] :], flat[p], part, 0)
        for s in range(len(steps)):
            _apply(re, im, n_rows, steps[s], matrices[steps[s, 4]], tile, each)
        for p in range(n_planes):
            _rows(new[p], flat[p], tile, n_rows, n_columns, True)


@compiled
def _sweep_back(old, new, part, matrices, n_rows, imaginary, first, last, grads):
    """Undo a sweep, and add up the gradients of its matrices."""
    apart()
    bases, steps = part[0], part[5]
    n_planes, n_columns = len(old), new.shape[1] // len(bases) // n_rows
    flat = _planes(n_planes, n_rows, n_columns, old)
    re, gre = flat[0], flat[n_planes // 2]
    im = None if imaginary is None else flat[1]
    gim = None if imaginary is None else flat[3]
    each = np.empty((matrices.shape[2], n_columns), old.dtype)
    sums = np.empty((4, n_columns), old.dtype)
    for tile in range(first, last):
        for p in range(n_planes):
            _rows(new[p], flat[p], tile, n_rows, n_columns, False)
        for s in range(len(steps) - 1, -1, -1):
            pair, out = matrices[steps[s, 4]], grads[steps[s, 4]]
            _undo(re, im, gre, gim, n_rows, steps[s], pair, out, tile, each, sums)
        for p in range(n_planes):
            _move(flat[p], old[p, bases[tile] :], part, 1)


@compiled
def forward(old, new, tables, matrices, n_rows, imaginary):
    """Apply all sweeps, from ``old`` to ``new``, back to ``old`` and so on.

    Args:
        old: The state before, real (2, 2**n); (1, 2**n) where all matrices are real.
        new: A state of the same shape, of any values.
        tables: The sweeps, in seven parts. *bases* (sweeps, tiles): where each tile begins in the
            order of the sweep before. *far* (…, 2): places relative to that of the values of the
            tile's qubits that are more significant in the old order; second column: places in the
            tile; the loops run through the old order in order. *near*: the same for its other
            qubits. *runs* (sweeps,): so many numbers from each of these places on lie side by side
            in state and tile: 1, or a multiple of 64 bytes; 0: a square is transposed. *squares*
            (sweeps, 2, 8), unsigned: places in state and tile of the rows of that square. *steps*
            (…, 5), a line for each gate: bit of the row that it acts on; mask of the row and mask
            of the tile's number that hold the control; log2 of the run of columns with equal
            control (−1: the control is no column); number of the matrix pair. *bounds*
            (sweeps, 6): where the lines of each sweep begin in far, near and steps, and end.
        matrices: (n, 2, 8): for each value of the control, real and imaginary parts of the 2 × 2
            matrix; (n, 2, 4) where all are real.
        n_rows: Rows of a tile.
        imaginary: None where all matrices are real: then code without imaginary parts is compiled.
    """
    for s in range(len(tables[0])):
        part = _part(tables, s)
        _sweep(old, new, part, matrices, n_rows, imaginary, 0, tables[0].shape[1])
        old, new = new, old


@compiled
def back(old, new, tables, matrices, n_rows, imaginary, grads):
    """Undo all sweeps on state and cotangent together, and add up the gradients of the matrices.

    Args:
        old: A state of any values.
        new: State and cotangent after all sweeps, real (4, 2**n), or (2, 2**n).
        tables: As in :func:`forward`; taken from the last to the first.
        matrices: The inverse matrices.
        n_rows: Rows of a tile.
        imaginary: As in :func:`forward`.
        grads: float64 (1, n, 2, 4): to these the gradients are added, as :func:`_add_tangent` says.
    """
    for s in range(len(tables[0]) - 1, -1, -1):
        part = _part(tables, s)
        n = tables[0].shape[1]
        _sweep_back(old, new, part, matrices, n_rows, imaginary, 0, n, grads[0])
        old, new = new, old


@_parallel
def forward_parallel(old, new, tables, matrices, n_rows, imaginary, n_threads):
    """Share the tiles of each sweep of :func:`forward` out to threads."""
    n = tables[0].shape[1]
    for s in range(len(tables[0])):
        part = _part(tables, s)
        for i in numba.prange(n_threads):
            first, last = n * i // n_threads, n * (i + 1) // n_threads
            _sweep(old, new, part, matrices, n_rows, imaginary, first, last)
        old, new = new, old


@_parallel
def back_parallel(old, new, tables, matrices, n_rows, imaginary, grads, n_threads):
    """Share the tiles of each sweep of :func:`back` out to threads, with gradients of their own."""
    n = tables[0].shape[1]
    for s in range(len(tables[0]) - 1, -1, -1):
        part = _part(tables, s)
        for i in numba.prange(n_threads):
            first, last = n * i // n_threads, n * (i + 1) // n_threads
            _sweep_back(old, new, part, matrices, n_rows, imaginary, first, last, grads[i])
        old, new = new, old
