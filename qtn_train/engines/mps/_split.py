"""Factorizations of a matrix into an isometry X and the rest Y, for arrays of any library.

    ── m ──[ A ]── n ──   ≈   ── m ──[ X ]── k ──[ Y ]── n ──        XᴴX = 1,  Y = XᴴA

:func:`cut` and :func:`orthogonalize` are functions of autoray: what stands here serves NumPy's
arrays, without a derivative; ``_torch.py`` registers the forms for torch's, which have one.
"""

from __future__ import annotations

import cmath
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import numpy as np
from autoray import astype, compose, do, get_dtype_name, get_namespace

from ...errors import QtnTrainError

#: A NumPy array or a torch tensor.
Array = Any
SvdGradient = Literal["tangent", "exact"]


class Cut(NamedTuple):
    """A truncated factorization.

    Attributes:
        isometry: X, shape ``(m, k)``.
        rest: Y, shape ``(k, n)``; its rows are orthogonal, their lengths the singular values kept.
        values: The singular values kept, largest first, without derivative.
        weight: Sum of the squares of those discarded, relative to all; rounding is not counted.
        lost_rank: Whether singular values were discarded that are 0 but for rounding, and no
            others: the product is exact, its derivative is not.
    """

    isometry: Array
    rest: Array
    values: Array
    weight: float
    lost_rank: bool


class Svd(NamedTuple):
    """Singular vectors and values of a matrix, and how many of them a cut keeps.

    Attributes:
        u: Shape ``(m, min(m, n))``.
        s: The singular values, largest first.
        vh: Shape ``(min(m, n), n)``.
        kept: How many are kept.
        weight: As in :class:`Cut`.
    """

    u: Array
    s: Array
    vh: Array
    kept: int
    weight: float

    def cut(self, isometry: Array, rest: Array) -> Cut:
        """Return the cut of the matrix, given its two factors."""
        lost_rank = self.kept < len(self.s) and not self.weight
        return Cut(isometry, rest, self.s[: self.kept], self.weight, lost_rank)


@partial(compose, name="qtn_train.orthogonalize")
def orthogonalize(matrix: Array) -> tuple[Array, Array]:
    """Factor a matrix exactly into an isometry and the rest.

    With no more rows than columns the identity serves as X: a complete unitary is a constant gauge,
    exact in the derivative at every rank. Else it is a QR decomposition.

    Args:
        matrix: Shape ``(m, n)``, complex.

    Returns:
        X of shape ``(m, min(m, n))`` and Y.

    Source:
        Ours.

    Example:
        >>> x, y = orthogonalize(np.ones((3, 2), np.complex128))
        >>> np.allclose(x @ y, np.ones((3, 2)))
        True
    """
    rows, columns = matrix.shape
    if rows <= columns:
        return get_namespace(matrix).eye(rows), matrix
    isometry, rest = robust(qr, matrix)
    return isometry, rest


@partial(compose, name="qtn_train.cut")
def cut(
    matrix: Array,
    max_bond: int | None,
    cutoff: float,
    gradient: SvdGradient = "tangent",
    *,
    drop_zeros: bool = False,
) -> Cut:
    """Factor a matrix by its singular values, of which only the largest are kept.

    Args:
        matrix: Shape ``(m, n)``, complex.
        max_bond: Largest number of singular values to keep; None keeps all.
        cutoff: Share of the squared norm that may be discarded besides.
        gradient: ``"tangent"``: the derivative without the response of the kept space to the
            discarded one; ``"exact"``: with it. Arrays without derivatives ignore it.
        drop_zeros: Whether singular values that are 0 but for rounding are discarded as well: right
            in the value only.

    Returns:
        The factors and what was discarded.

    Raises:
        QtnTrainError: The matrix is not finite.

    Source:
        Tangent: the projector onto the tangent space of fixed-rank matrices (arXiv 1407.2042).
        Exact: perturbation theory of singular subspaces, broadened as in arXiv 1903.09650.

    Example:
        >>> round(cut(np.diag([3.0 + 0j, 4.0]), 1, 0.0).weight, 2)
        0.36
    """
    parts = decompose(matrix, max_bond, cutoff, drop_zeros)
    kept = parts.kept
    return parts.cut(parts.u[:, :kept], parts.s[:kept, None] * parts.vh[:kept])


def decompose(matrix: Array, max_bond: int | None, cutoff: float, drop_zeros: bool) -> Svd:
    """Return the singular values and vectors of a constant matrix; arguments as in :func:`cut`."""
    if not is_finite(matrix):
        raise QtnTrainError("the matrix to be cut must be finite; got NaN or infinity.")
    u, s, vh = robust(svd, matrix)
    values: list[float] = s.tolist()
    # A matrix whose entries are each wrong by a rounding has a norm of at most √m + √n of them
    # (arXiv 1011.3027, theorem 5.35); twice that, since products of complex numbers made it.
    floor = 4 * max(matrix.shape) ** 0.5 * rounding(matrix) * values[0]
    tail = [0.0]  # tail[k]: weight lost by keeping k
    for value in reversed(values):
        tail.append(tail[-1] + (value * value if value > floor else 0.0))
    tail.reverse()
    kept = len(values) if max_bond is None else min(max_bond, len(values))
    if cutoff:
        kept = min(kept, max(1, sum(weight > cutoff * tail[0] for weight in tail)))
    if drop_zeros:
        kept = min(kept, max(1, sum(value > floor for value in values)))
    return Svd(u, s, vh, kept, tail[kept] / tail[0] if tail[0] else 0.0)


def svd(matrix: Array) -> Sequence[Array]:
    """Return U, S and Vᴴ, the smaller dimension between them."""
    parts: Sequence[Array] = do("linalg.svd", matrix)
    return parts


def qr(matrix: Array) -> Sequence[Array]:
    """Return Q and R, the smaller dimension between them."""
    parts: Sequence[Array] = do("linalg.qr", matrix)
    return parts


@partial(compose, name="qtn_train.is_finite")
def is_finite(first: Array, *others: Array) -> bool:
    """Return whether no entry is NaN or infinite (sums: much cheaper than a look at each)."""
    total = first.sum()
    for array in others:
        total = total + array.sum()
    return cmath.isfinite(total.item())


def rounding(array: Array) -> float:
    """Return the relative rounding of an array's numbers."""
    return _rounding(get_dtype_name(array))


@cache
def _rounding(dtype: str) -> float:
    return float(np.finfo(dtype).eps)


def robust(decompose: Callable[[Array], Sequence[Array]], matrix: Array) -> Sequence[Array]:
    """Decompose a matrix whose size is about 1, also where LAPACK stumbles over tiny numbers.

    Angles at multiples of π/2 make entries of 1e-45, on which its single-precision QR gives NaN.
    Entries below the square of a rounding are 0 here, and what fails all the same is repeated in
    double precision.
    """
    matrix = matrix * (do("abs", matrix) >= rounding(matrix) ** 2)
    # torch's LinAlgError is a RuntimeError
    with suppress(np.linalg.LinAlgError, RuntimeError):
        parts = decompose(matrix)
        if is_finite(*parts):
            return parts
    given, real = get_dtype_name(matrix), get_dtype_name(do("real", matrix))
    wide = decompose(astype(matrix, "complex128" if given != real else "float64"))
    return [astype(p, given if "complex" in get_dtype_name(p) else real) for p in wide]
