"""Compiled loops between the angles of a circuit and the 2 × 2 matrices of a plan, both ways.

    angles ─► (θ, φ, λ, γ) of each gate ─► its four entries ─► values ─► products of gates: matrices
       ▲                                                                                       │
       └─────────────── the same way back, entry by entry ◄─── gradient of the matrices ◄──────┘

What ``_slots`` and ``_evolve.fuse`` do with some sixty operations of torch is here two calls each
way; for a state that fits the cache those operations take as long as the state's evolution.
Everything here works on bare arrays, of few axes and entry by entry: other code takes ten times as
long to compile. Angles, tables and gradients are in double precision.
"""

# mypy: allow-untyped-defs

from __future__ import annotations

import math

from ._kernels import compiled, inlined


@inlined
def _linear(form, x, y, z):
    return form[0] * x + form[1] * y + form[2] * z + form[3]


@inlined
def _four(angles, row, form):
    """Return θ/2, φ, λ and γ of a gate."""
    x, y, z = angles[row[0]], angles[row[1]], angles[row[2]]
    half = _linear(form[0], x, y, z) / 2
    return half, _linear(form[1], x, y, z), _linear(form[2], x, y, z), _linear(form[3], x, y, z)


@inlined
def _polar(size, angle):
    return complex(size * math.cos(angle), size * math.sin(angle))


@compiled
def values(angles, rows, forms, out):
    """Write the entries of all gates with angles.

    Args:
        angles: ``(n_angles,)`` in radians.
        rows: ``(n_gates, 3)``: the numbers of a gate's angles.
        forms: ``(4 · n_gates, 4)``: three factors and a constant for each of θ, φ, λ and γ.
        out: ``(4 · n_gates,)``, complex.
    """
    for gate in range(len(rows)):
        half, phi, lam, common = _four(angles, rows[gate], forms[4 * gate : 4 * gate + 4])
        cos, sin = math.cos(half), math.sin(half)
        out[4 * gate] = _polar(cos, common)
        out[4 * gate + 1] = _polar(-sin, common + lam)
        out[4 * gate + 2] = _polar(sin, common + phi)
        out[4 * gate + 3] = _polar(cos, common + phi + lam)


@compiled
def products(values, slots, out):
    """Write the products of gates.

    Args:
        values: The values of all slots.
        slots: ``(depth, n, 4)``: the entries of the factors, first one first.
        out: ``(n, 4)``, of the type of ``values``.
    """
    for number in range(slots.shape[1]):
        made = out[number]
        for k in range(len(slots)):
            slot = slots[k, number]
            a, b, c, d = values[slot[0]], values[slot[1]], values[slot[2]], values[slot[3]]
            if k:
                p, q, r, s = made[0], made[1], made[2], made[3]
                a, b, c, d = a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s
            made[0], made[1], made[2], made[3] = a, b, c, d


@compiled
def collect(values, slots, sums, earlier, out):
    """Add up the gradients of the values.

    Args:
        values: As in :func:`products`, in double precision.
        slots: As in :func:`products`.
        sums: ``(n, 4)``: Im K00, Im K11 and both parts of K01 − conj(K10), K = cotangent · state†
            after each matrix.
        earlier: ``(depth + 1, 4)``, complex: room for the products of the factors before each.
        out: ``(n_values,)``, complex zeros.
    """
    depth = len(slots)
    for number in range(slots.shape[1]):
        p, q, r, s = earlier[0, 0], earlier[0, 1], earlier[0, 2], earlier[0, 3]
        for k in range(depth):
            slot, made = slots[k, number], earlier[k + 1]
            a, b, c, d = values[slot[0]], values[slot[1]], values[slot[2]], values[slot[3]]
            p, q, r, s = a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s
            made[0], made[1], made[2], made[3] = p, q, r, s
        first, last = complex(0, sums[number, 0]), complex(0, sums[number, 1])
        corner = complex(sums[number, 2] / 2, sums[number, 3] / 2)
        # The gradient of the whole product, then of what is left of it: G = T·M.
        e, f = first * p + corner * r, first * q + corner * s
        g, h = last * r - corner.conjugate() * p, last * s - corner.conjugate() * q
        for k in range(depth - 1, -1, -1):
            slot, before = slots[k, number], earlier[k]
            p, q = before[0].conjugate(), before[1].conjugate()
            r, s = before[2].conjugate(), before[3].conjugate()
            out[slot[0]] += e * p + f * q
            out[slot[1]] += e * r + f * s
            out[slot[2]] += g * p + h * q
            out[slot[3]] += g * r + h * s
            a, b = values[slot[0]].conjugate(), values[slot[1]].conjugate()
            c, d = values[slot[2]].conjugate(), values[slot[3]].conjugate()
            e, f, g, h = a * e + c * g, a * f + c * h, b * e + d * g, b * f + d * h


@inlined
def _along(grad, size, angle):
    """Return Re(conj(grad) · size · e^{i angle})."""
    return size * (grad.real * math.cos(angle) + grad.imag * math.sin(angle))


@compiled
def pull(angles, rows, forms, grads, out):
    """Add up the gradients of the angles.

    Args:
        angles: As in :func:`values`.
        rows: As in :func:`values`.
        forms: As in :func:`values`.
        grads: Those of the entries of all gates with angles, ``(4 · n_gates,)``, complex.
        out: ``(n_angles,)``, zeros.
    """
    quarter = math.pi / 2
    for gate in range(len(rows)):
        half, phi, lam, common = _four(angles, rows[gate], forms[4 * gate : 4 * gate + 4])
        cos, sin = math.cos(half), math.sin(half)
        a, b, c, d = grads[4 * gate], grads[4 * gate + 1], grads[4 * gate + 2], grads[4 * gate + 3]
        turn = _along(a, -sin, common) - _along(b, cos, common + lam)
        turn += _along(c, cos, common + phi) - _along(d, sin, common + phi + lam)
        # A phase turns an entry by a right angle.
        one = _along(b, -sin, common + lam + quarter)
        other = _along(c, sin, common + phi + quarter)
        both = _along(d, cos, common + phi + lam + quarter)
        none = _along(a, cos, common + quarter)
        for j in range(3):
            out[rows[gate, j]] += (
                forms[4 * gate, j] * turn / 2
                + forms[4 * gate + 1, j] * (other + both)
                + forms[4 * gate + 2, j] * (one + both)
                + forms[4 * gate + 3, j] * (none + one + other + both)
            )
