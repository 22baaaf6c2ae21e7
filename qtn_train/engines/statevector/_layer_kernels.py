"""Compiled loops for circuits of RY and CX alone: all is real, and CX only renumbers.

A layer turns every qubit and then puts the amplitudes in another order. Bits of a place are turned
two at a time, while they are at least three from the right, so that inner loops run over at least
eight neighbors; the three lowest are brought to the left first:

    x ──turn high bits──► x ──rotate by 3 bits──► y ──turn those 3──► y ──reorder──► x

Everything here works on bare arrays: what they mean is decided in ``_layers``.
"""

# mypy: allow-untyped-defs

from __future__ import annotations

from ._kernels import compiled, inlined, wide

# Bits that are turned after the rotation: runs of 2**LOW numbers fill a vector register.
LOW = 3


@inlined
def _turn_two(x, width, a, b):
    """Turn two neighboring bits, the lower one with runs of ``width``; a, b: cos and sin."""
    wide()
    ca, sa, cb, sb = a[0], a[1], b[0], b[1]
    for start in range(0, len(x), 4 * width):
        p, q = x[start : start + width], x[start + width : start + 2 * width]
        r = x[start + 2 * width : start + 3 * width]
        s = x[start + 3 * width : start + 4 * width]
        for j in range(width):
            p0, q0 = ca * p[j] - sa * r[j], ca * q[j] - sa * s[j]
            r0, s0 = sa * p[j] + ca * r[j], sa * q[j] + ca * s[j]
            p[j], q[j] = cb * p0 - sb * q0, sb * p0 + cb * q0
            r[j], s[j] = cb * r0 - sb * s0, sb * r0 + cb * s0


@inlined
def _turn_one(x, width, a):
    """Turn one bit, with runs of ``width``."""
    wide()
    ca, sa = a[0], a[1]
    for start in range(0, len(x), 2 * width):
        p, q = x[start : start + width], x[start + width : start + 2 * width]
        for j in range(width):
            p[j], q[j] = ca * p[j] - sa * q[j], sa * p[j] + ca * q[j]


@inlined
def _undo_two(x, v, width, a, b):
    """Turn two bits of state and cotangent back; return Σ v†·J·x for each of the two."""
    wide()
    ca, sa, cb, sb = a[0], a[1], b[0], b[1]
    first = x[0] * 0
    second = first
    for start in range(0, len(x), 4 * width):
        p, q = x[start : start + width], x[start + width : start + 2 * width]
        r = x[start + 2 * width : start + 3 * width]
        s = x[start + 3 * width : start + 4 * width]
        t, u = v[start : start + width], v[start + width : start + 2 * width]
        y = v[start + 2 * width : start + 3 * width]
        z = v[start + 3 * width : start + 4 * width]
        for j in range(width):
            first += y[j] * p[j] - t[j] * r[j] + z[j] * q[j] - u[j] * s[j]
            second += u[j] * p[j] - t[j] * q[j] + z[j] * r[j] - y[j] * s[j]
            p0, q0 = ca * p[j] + sa * r[j], ca * q[j] + sa * s[j]
            r0, s0 = ca * r[j] - sa * p[j], ca * s[j] - sa * q[j]
            p[j], q[j] = cb * p0 + sb * q0, cb * q0 - sb * p0
            r[j], s[j] = cb * r0 + sb * s0, cb * s0 - sb * r0
            t0, u0 = ca * t[j] + sa * y[j], ca * u[j] + sa * z[j]
            y0, z0 = ca * y[j] - sa * t[j], ca * z[j] - sa * u[j]
            t[j], u[j] = cb * t0 + sb * u0, cb * u0 - sb * t0
            y[j], z[j] = cb * y0 + sb * z0, cb * z0 - sb * y0
    return first, second


@inlined
def _undo_one(x, v, width, a):
    """Turn one bit of state and cotangent back; return Σ v†·J·x."""
    wide()
    ca, sa = a[0], a[1]
    total = x[0] * 0
    for start in range(0, len(x), 2 * width):
        p, q = x[start : start + width], x[start + width : start + 2 * width]
        t, u = v[start : start + width], v[start + width : start + 2 * width]
        for j in range(width):
            total += u[j] * p[j] - t[j] * q[j]
            p[j], q[j] = ca * p[j] + sa * q[j], ca * q[j] - sa * p[j]
            t[j], u[j] = ca * t[j] + sa * u[j], ca * u[j] - sa * t[j]
    return total


@inlined
def _turn_bits(x, top, turns, first, last):
    """Turn the qubits first … last−1; ``top`` is log2 of the run of ``first``."""
    qubit, bit = first, top
    if (last - first) % 2:
        _turn_one(x, 1 << bit, turns[qubit])
        qubit, bit = qubit + 1, bit - 1
    while qubit < last:
        _turn_two(x, 1 << (bit - 1), turns[qubit], turns[qubit + 1])
        qubit, bit = qubit + 2, bit - 2


@inlined
def _undo_bits(x, v, top, turns, first, last, out):
    qubit, bit = first, top
    if (last - first) % 2:
        out[qubit] = _undo_one(x, v, 1 << bit, turns[qubit])
        qubit, bit = qubit + 1, bit - 1
    while qubit < last:
        a, b = turns[qubit], turns[qubit + 1]
        out[qubit], out[qubit + 1] = _undo_two(x, v, 1 << (bit - 1), a, b)
        qubit, bit = qubit + 2, bit - 2


@inlined
def _rotate(x, y):
    """Bring the LOW lowest bits to the left."""
    n = len(x) >> LOW
    for i in range(n):
        for k in range(1 << LOW):
            y[k * n + i] = x[(i << LOW) + k]


@inlined
def _rotate_back(y, x):
    n = len(x) >> LOW
    for i in range(n):
        for k in range(1 << LOW):
            x[(i << LOW) + k] = y[k * n + i]


@inlined
def _take(source, order, out):
    for j in range(len(out)):
        out[j] = source[order[j]]


@compiled
def run(x, turns, orders, which):
    """Apply all layers to a state in place.

    Args:
        x: The state, real (2**n,), n at least 2·LOW.
        turns: Cosine and sine of half the angle, (layers, n, 2).
        orders: Where each amplitude comes from, in the rotated state: (kinds, 2**n).
        which: Each layer's row in ``orders``.
    """
    y = x.copy()
    n = turns.shape[1]
    for layer in range(len(turns)):
        _turn_bits(x, n - 1, turns[layer], 0, n - LOW)
        _rotate(x, y)
        _turn_bits(y, n - 1, turns[layer], n - LOW, n)
        _take(y, orders[which[layer]], x)


@compiled
def run_back(x, v, turns, inverses, which, out):
    """Undo all layers on state and cotangent in place, and collect the gradients.

    Args:
        x: The state after the last layer.
        v: Its cotangent.
        turns: As in :func:`run`.
        inverses: Where each amplitude of the rotated state went: (kinds, 2**n).
        which: Each layer's row in ``inverses``.
        out: Twice the gradients of the angles, (layers, n).
    """
    y, w = x.copy(), v.copy()
    n = turns.shape[1]
    for layer in range(len(turns) - 1, -1, -1):
        _take(x, inverses[which[layer]], y)
        _take(v, inverses[which[layer]], w)
        _undo_bits(y, w, n - 1, turns[layer], n - LOW, n, out[layer])
        _rotate_back(y, x)
        _rotate_back(w, v)
        _undo_bits(x, v, n - 1, turns[layer], 0, n - LOW, out[layer])
