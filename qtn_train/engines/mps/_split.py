"""Factorizations of a matrix into an isometry X and the rest Y, differentiable at any rank.

    ── m ──[ A ]── n ──   ≈   ── m ──[ X ]── k ──[ Y ]── n ──        XᴴX = 1,  Y = XᴴA

A chain of tensors depends on the product X·Y only, so X may vary in any gauge. In the gauge
XᴴdX = 0 the derivative of the product is the projection of dA onto the tangent space of the
matrices of rank k,

    dY = Xᴴ dA,   dX = (1 − XXᴴ) dA Y⁺   ⇒   ḡA = X ḡY + (1 − XXᴴ) ḡX (Y⁺)ᴴ,

which holds no difference of singular values: nothing diverges where they are equal, and the phase
of the singular vectors, at which torch's own derivative stops, does not occur. Where Y loses rank,
Y⁺ is regularized: the result stays finite, and leaves out what would raise the rank.
"""

from __future__ import annotations

import cmath
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ...errors import QtnTrainError
from .._once import once

SvdGradient = Literal["tangent", "exact"]

# What a cut, and a move of the center, answer to whoever differentiates a gradient again.
_EXACT = "Take StatevectorEngine(), or an MPSEngine whose max_bond cuts nothing."

# Singular values below this many roundings of the largest one are noise, and not divided by.
_NOISE = 64


class Cut(NamedTuple):
    """A truncated factorization.

    Attributes:
        isometry: X, shape ``(m, k)``.
        rest: Y, shape ``(k, n)``; its rows are orthogonal, their lengths the singular values kept.
        values: The singular values kept, largest first, without derivative.
        weight: Sum of the squares of those discarded, relative to all.
    """

    isometry: Tensor
    rest: Tensor
    values: Tensor
    weight: float


def orthogonalize(matrix: Tensor) -> tuple[Tensor, Tensor]:
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
        >>> x, y = orthogonalize(torch.ones(3, 2, dtype=torch.complex128))
        >>> torch.allclose(x @ y, torch.ones(3, 2, dtype=torch.complex128))
        True
    """
    if matrix.shape[0] <= matrix.shape[1]:
        return torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device), matrix
    isometry, rest = _QR.apply(matrix)  # type: ignore[no-untyped-call]
    return isometry, rest


def cut(matrix: Tensor, max_bond: int | None, cutoff: float, gradient: SvdGradient) -> Cut:
    """Factor a matrix by its singular values, of which only the largest are kept.

    Args:
        matrix: Shape ``(m, n)``, complex.
        max_bond: Largest number of singular values to keep; None keeps all.
        cutoff: Share of the squared norm that may be discarded besides.
        gradient: ``"tangent"``: the derivative without the response of the kept space to the
            discarded one; ``"exact"``: with it.

    Returns:
        The factors and what was discarded.

    Raises:
        QtnTrainError: The matrix is not finite.

    Source:
        Tangent: the projector onto the tangent space of fixed-rank matrices (arXiv 1407.2042).
        Exact: perturbation theory of singular subspaces, broadened as in arXiv 1903.09650.

    Example:
        >>> matrix = torch.diag(torch.tensor([3.0, 4.0])).to(torch.complex128)
        >>> round(cut(matrix, 1, 0.0, "tangent").weight, 2)
        0.36
    """
    constant = matrix.detach()
    if not is_finite(constant):
        raise QtnTrainError("the matrix to be cut must be finite; got NaN or infinity.")
    u, s, vh = _robust(partial(torch.linalg.svd, full_matrices=False), constant)
    squares = s.double().square()
    tail = squares.flip(0).cumsum(0).flip(0).tolist()  # tail[k]: weight lost by keeping k
    kept = len(tail) if max_bond is None else min(max_bond, len(tail))
    if cutoff:
        kept = min(kept, max(1, sum(weight > cutoff * tail[0] for weight in tail)))
    lost = tail[kept] if kept < len(tail) else 0.0
    inverse = _inverse(s)[:kept]
    if gradient == "tangent":
        tangent = (u, s, vh, inverse[:, None] * vh[:kept], kept)
        isometry, rest = _Tangent.apply(matrix, *tangent)  # type: ignore[no-untyped-call]
    else:
        isometry, rest = _Exact.apply(matrix, u, s, vh, inverse, kept)  # type: ignore[no-untyped-call]
    return Cut(isometry, rest, s[:kept], lost / tail[0] if tail[0] else 0.0)


def is_finite(tensor: Tensor) -> bool:
    """Return whether no entry is NaN or infinite (one sum: much cheaper than a look at each)."""
    return cmath.isfinite(tensor.detach().sum().item())


def _robust(decompose: Callable[[Tensor], Sequence[Tensor]], matrix: Tensor) -> list[Tensor]:
    """Decompose a matrix whose size is about 1, also where LAPACK stumbles over tiny numbers.

    Angles at multiples of π/2 make entries of 1e-45, on which its single-precision QR gives NaN.
    Entries below the square of a rounding are 0 here, and what fails all the same is repeated in
    double precision.
    """
    matrix = torch.where(matrix.abs() < torch.finfo(matrix.dtype).eps ** 2, 0, matrix)
    with suppress(torch.linalg.LinAlgError):  # type: ignore[attr-defined]
        parts = list(decompose(matrix))
        if all(map(is_finite, parts)):
            return parts
    wide = decompose(matrix.to(torch.complex128))
    return [part.to(matrix.dtype if part.is_complex() else matrix.real.dtype) for part in wide]


def _vjp(x: Tensor, inverse: Tensor, grad_x: Tensor, grad_y: Tensor) -> Tensor:
    """X ḡY + (1 − XXᴴ) ḡX (Y⁺)ᴴ, with ``inverse`` = (Y⁺)ᴴ."""
    return x @ (grad_y - (x.mH @ grad_x) @ inverse) + grad_x @ inverse


class _QR(torch.autograd.Function):
    """A = Q R for a matrix with more rows than columns."""

    @staticmethod
    def forward(matrix: Tensor) -> tuple[Tensor, Tensor]:
        q, r = _robust(torch.linalg.qr, matrix)
        return q, r

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx: Any, grad_q: Tensor, grad_r: Tensor) -> Tensor:
        q, r = ctx.saved_tensors
        with torch.no_grad():
            grad = _vjp(q, _inverse_of_adjoint(r), grad_q, grad_r)
        return _once(grad, q, r, grad_q, grad_r)


def _inverse_of_adjoint(r: Tensor) -> Tensor:
    """(R⁻¹)ᴴ of an upper triangular matrix, regularized where it has none."""
    one = torch.eye(len(r), dtype=r.dtype, device=r.device)
    solution: Tensor = torch.linalg.solve_triangular(r.mH, one, upper=False)
    # The diagonal of R alone would not tell: [[ε, 1], [0, ε]] is as good as singular.
    if solution.abs().max() * r.abs().max() < 1 / (_NOISE * torch.finfo(r.dtype).eps):
        return solution
    u, s, vh = _robust(torch.linalg.svd, r)
    return u @ (_inverse(s)[:, None] * vh)


def _inverse(s: Tensor) -> Tensor:
    """S/(S² + ε²S₀²)."""
    noise = _NOISE * torch.finfo(s.dtype).eps * s[0]
    return _over(s, noise)


def _over(value: Tensor, noise: Tensor) -> Tensor:
    """1/value, broadened: value/(value² + noise²), and 0 for a vanishing value."""
    square = value.square() + noise.square()
    return value / square.clamp_min(torch.finfo(square.dtype).tiny)


class _Tangent(torch.autograd.Function):
    """U, S, Vᴴ of a matrix to its truncated factors, with the tangent-space derivative.

    ``inverse`` is (Y⁺)ᴴ, regularized.
    """

    @staticmethod
    def forward(
        matrix: Tensor, u: Tensor, s: Tensor, vh: Tensor, inverse: Tensor, kept: int
    ) -> tuple[Tensor, Tensor]:
        return u[:, :kept].contiguous(), s[:kept, None] * vh[:kept]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(output[0], inputs[4])

    @staticmethod
    def backward(ctx: Any, grad_x: Tensor, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, inverse = ctx.saved_tensors
        with torch.no_grad():
            grad = _vjp(x, inverse, grad_x, grad_y)
        return _once(grad, x, grad_x, grad_y), None, None, None, None, None


class _Exact(torch.autograd.Function):
    """The same factors with the derivative of the truncated product itself.

    The kept vectors u_j also turn towards the discarded ones u_d (M = UᴴdA V):

        u_dᴴ dX_j = (s_j M_dj + s_d M̄_jd) / (s_j² − s_d²)

    Gaps occur between kept and discarded values only, never among the kept ones; relative gaps
    below the square root of a rounding are broadened.
    """

    @staticmethod
    def forward(
        matrix: Tensor, u: Tensor, s: Tensor, vh: Tensor, inverse: Tensor, kept: int
    ) -> tuple[Tensor, Tensor]:
        return u[:, :kept].contiguous(), s[:kept, None] * vh[:kept]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs[1:5], output[0])

    @staticmethod
    def backward(ctx: Any, grad_x: Tensor, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        u, s, vh, inverse, x = ctx.saved_tensors
        with torch.no_grad():
            grad = _exact_vjp(u, s, vh, inverse, grad_x, grad_y)
        return _once(grad, x, grad_x, grad_y), None, None, None, None, None


def _exact_vjp(
    u: Tensor, s: Tensor, vh: Tensor, inverse: Tensor, grad_x: Tensor, grad_y: Tensor
) -> Tensor:
    k = len(inverse)
    u1, u2, v1, v2 = u[:, :k], u[:, k:], vh[:k], vh[k:]
    s2 = s[k:, None]
    grad = u1 @ grad_y + (grad_x - u @ (u.mH @ grad_x)) @ (inverse[:, None] * v1)
    ratio = s2 / s[:k].clamp_min(torch.finfo(s.dtype).tiny)
    width = torch.full_like(s[0], torch.finfo(s.dtype).eps ** 0.5)
    turn = (u2.mH @ grad_x + s2 * (v2 @ grad_y.mH)) * _over(1 - ratio.square(), width) * inverse
    return grad + u2 @ (turn @ v1) + u1 @ ((turn * ratio).mH @ v2)


def _once(grad: Tensor, *inputs: Tensor) -> Tensor:
    return once(grad, inputs=inputs, engine="a bond that was cut", hint=_EXACT)[0]
