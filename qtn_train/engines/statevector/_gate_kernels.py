"""Compiled loops between the angles of a circuit and the 2 × 2 matrices of a plan, both ways.

    angles ─► (θ, φ, λ, γ) of each gate ─► its four entries ─► values ─► products of gates: matrices
       ▲                                                                                       │
       └─────────────── the same way back, entry by entry ◄─── gradient of the matrices ◄──────┘

What ``_slots`` and ``_evolve.fuse`` do with some sixty operations of torch is here one call each
way; for a state that fits the cache those operations take as long as the state's evolution.
Everything here works on bare arrays; the tables are those of ``_slots.GateMatrices``.
"""

# mypy: allow-untyped-defs

from __future__ import annotations

import math

import numpy as np

from ._kernels import compiled, inlined


@inlined
def _phase(angle):
    return complex(math.cos(angle), math.sin(angle))


@inlined
def _four(angles, rows, forms, shifts, gate, four):
    """Write (θ, φ, λ, γ) of a gate."""
    for i in range(4):
        four[i] = shifts[gate, i]
        for j in range(3):
            if forms[gate, i, j] != 0:
                four[i] += forms[gate, i, j] * angles[rows[gate, j]]


@compiled
def matrices(angles, tables, slots, adjoint, out):
    """Write the matrices of a plan.

    Args:
        angles: ``(n_angles,)``, double precision, radians.
        tables: Rows, forms, shifts and constants of ``GateMatrices``.
        slots: ``(depth, n, control, 2, 2)``: the values whose matrices' product each matrix is.
        adjoint: Whether to write Mᴴ in place of M.
        out: ``(n, control, 2, 2)``, complex.

    Returns:
        The values of all slots, of the type of ``out``.
    """
    rows, forms, shifts, constants = tables
    first = len(constants)
    values = np.empty(first + 4 * len(rows), out.dtype)
    values[:first] = constants
    four = np.empty(4)
    for gate in range(len(rows)):
        _four(angles, rows, forms, shifts, gate, four)
        cos, sin = math.cos(four[0] / 2), math.sin(four[0] / 2)
        phi, lam, common = _phase(four[1]), _phase(four[2]), _phase(four[3])
        entries = values[first + 4 * gate : first + 4 * gate + 4]
        entries[0], entries[1] = cos * common, -sin * (common * lam)
        entries[2], entries[3] = sin * (common * phi), cos * (common * phi * lam)
    depth, n, controls = slots.shape[:3]
    for number in range(n):
        for control in range(controls):
            made = out[number, control]
            for k in range(depth):
                m = slots[k, number, control]
                a, b, c, d = values[m[0, 0]], values[m[0, 1]], values[m[1, 0]], values[m[1, 1]]
                if k == 0:
                    made[0, 0], made[0, 1], made[1, 0], made[1, 1] = a, b, c, d
                else:
                    p, q = made[0, 0], made[1, 0]
                    made[0, 0], made[1, 0] = a * p + b * q, c * p + d * q
                    p, q = made[0, 1], made[1, 1]
                    made[0, 1], made[1, 1] = a * p + b * q, c * p + d * q
            if adjoint:
                p, q = made[0, 1], made[1, 0]
                made[0, 0], made[1, 1] = made[0, 0].conjugate(), made[1, 1].conjugate()
                made[0, 1], made[1, 0] = q.conjugate(), p.conjugate()
    return values


@inlined
def _times(a, b, out):
    """Write a · b of 2 × 2 matrices; ``out`` is neither of them."""
    for i in range(2):
        for j in range(2):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j]


@inlined
def _times_adjoint(a, b, out):
    """Write a · bᴴ."""
    for i in range(2):
        for j in range(2):
            out[i, j] = a[i, 0] * b[j, 0].conjugate() + a[i, 1] * b[j, 1].conjugate()


@inlined
def _adjoint_times(a, b, out):
    """Write aᴴ · b."""
    for i in range(2):
        for j in range(2):
            out[i, j] = a[0, i].conjugate() * b[0, j] + a[1, i].conjugate() * b[1, j]


@compiled
def pulled(angles, tables, slots, values, sums, out):
    """Write the gradient of the angles.

    Args:
        angles: ``(n_angles,)``, double precision, radians.
        tables: As in :func:`matrices`.
        slots: As in :func:`matrices`.
        values: What :func:`matrices` returned.
        sums: ``(n, control, 4)``: Im K00, Im K11 and both parts of K01 − conj(K10) of each matrix,
            K = cotangent · state† after it.
        out: ``(n_angles,)``, double precision, zeros.
    """
    rows, forms, shifts, constants = tables
    first = len(constants)
    grads = np.zeros(len(values), np.complex128)
    depth, n, controls = slots.shape[:3]
    factors = np.empty((depth, 2, 2), np.complex128)
    earlier = np.empty((depth + 1, 2, 2), np.complex128)  # products of the factors before each
    tangent, grad, other = np.empty((3, 2, 2), np.complex128)
    for number in range(n):
        for control in range(controls):
            earlier[0, 0, 0] = earlier[0, 1, 1] = 1
            earlier[0, 0, 1] = earlier[0, 1, 0] = 0
            for k in range(depth):
                for i in range(2):
                    for j in range(2):
                        factors[k, i, j] = values[slots[k, number, control, i, j]]
                _times(factors[k], earlier[k], earlier[k + 1])
            s = sums[number, control]
            tangent[0, 0], tangent[1, 1] = complex(0, s[0]), complex(0, s[1])
            tangent[0, 1] = complex(s[2] / 2, s[3] / 2)
            tangent[1, 0] = -tangent[0, 1].conjugate()
            _times(tangent, earlier[depth], grad)
            for k in range(depth - 1, -1, -1):
                _times_adjoint(grad, earlier[k], other)
                for i in range(2):
                    for j in range(2):
                        grads[slots[k, number, control, i, j]] += other[i, j]
                if k:
                    _adjoint_times(factors[k], grad, other)
                    grad[:] = other
    four, change = np.empty(4), np.empty(4)
    for gate in range(len(rows)):
        _four(angles, rows, forms, shifts, gate, four)
        cos, sin = math.cos(four[0] / 2) / 2, math.sin(four[0] / 2) / 2
        phi, lam, common = _phase(four[1]), _phase(four[2]), _phase(four[3])
        g = grads[first + 4 * gate : first + 4 * gate + 4]
        v = values[first + 4 * gate : first + 4 * gate + 4]
        change[0] = (
            -sin * (g[0].conjugate() * common).real
            - cos * (g[1].conjugate() * common * lam).real
            + cos * (g[2].conjugate() * common * phi).real
            - sin * (g[3].conjugate() * common * phi * lam).real
        )
        h0, h1 = (g[0] * v[0].conjugate()).imag, (g[1] * v[1].conjugate()).imag
        h2, h3 = (g[2] * v[2].conjugate()).imag, (g[3] * v[3].conjugate()).imag
        change[1], change[2], change[3] = h2 + h3, h1 + h3, h0 + h1 + h2 + h3
        for i in range(4):
            for j in range(3):
                if forms[gate, i, j] != 0:
                    out[rows[gate, j]] += forms[gate, i, j] * change[i]
