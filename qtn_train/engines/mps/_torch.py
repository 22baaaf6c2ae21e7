"""The two factorizations on torch tensors, differentiable at any rank.

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
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ...errors import UnsupportedByEngine
from .._once import once
from .._transforms import is_transformed, plainly, with_signature
from . import _split
from ._split import Cut, Svd, SvdGradient, decompose, robust, rounding

# What a cut, and a move of the center, answer to whoever differentiates a gradient again.
_EXACT = "Take StatevectorEngine(), or an MPSEngine whose max_bond cuts nothing."

# Singular values below this many roundings of the largest one are noise, and not divided by.
_NOISE = 64


@_split.orthogonalize.register("torch")  # type: ignore[untyped-decorator]
def orthogonalize(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Factor a matrix as :func:`._split.orthogonalize` does, with a derivative."""
    if matrix.shape[0] <= matrix.shape[1]:
        return torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device), matrix
    isometry, rest = _QR.apply(matrix)  # type: ignore[no-untyped-call]
    return isometry, rest


@_split.cut.register("torch")  # type: ignore[untyped-decorator]
def cut(
    matrix: Tensor,
    max_bond: int | None,
    cutoff: float,
    gradient: SvdGradient = "tangent",
    *,
    drop_zeros: bool = False,
) -> Cut:
    """Factor a matrix as :func:`._split.cut` does, with a derivative."""
    parts = constants(matrix, max_bond, cutoff, drop_zeros)
    return parts.cut(*factors(matrix, parts, gradient))


def constants(
    matrix: Tensor, max_bond: int | None = None, cutoff: float = 0.0, drop_zeros: bool = False
) -> Svd:
    """Decompose a matrix as :func:`._split.decompose` does, beneath all transforms of torch.func.

    Values are read there: how many are kept is a number, which no transform can follow.

    Args:
        matrix: Shape ``(m, n)``, inside of whatever transform.
        max_bond: As in :func:`cut`.
        cutoff: As in :func:`cut`.
        drop_zeros: As in :func:`cut`.

    Returns:
        The singular vectors and values, without a derivative.
    """
    return plainly(
        lambda plain: decompose(plain, max_bond, cutoff, drop_zeros),
        matrix,
        engine="a bond that is cut",
        instead="a larger max_bond, or StatevectorEngine()",
    )


@_split.is_finite.register("torch")  # type: ignore[untyped-decorator]
def is_finite(first: Tensor, *others: Tensor) -> bool:
    """Return whether no entry is NaN or infinite; True under ``vmap``, which shows no numbers."""
    total = first.sum()
    for tensor in others:
        total = total + tensor.sum()
    return is_transformed(total) or cmath.isfinite(total.item())


def factors(matrix: Tensor, parts: Svd, gradient: SvdGradient) -> tuple[Tensor, Tensor]:
    """Return X and Y of a cut, with a derivative.

    Args:
        matrix: Shape ``(m, n)``.
        parts: Its decomposition, without a derivative.
        gradient: As in :func:`cut`.
    """
    u, s, vh, kept, _ = parts
    inverse = _inverse(s)[:kept]
    if gradient == "tangent":
        tangent = (u, s, vh, inverse[:, None] * vh[:kept], kept)
        x, y = _Tangent.apply(matrix, *tangent)  # type: ignore[no-untyped-call]
    else:
        x, y = _Exact.apply(matrix, u, s, vh, inverse, kept)  # type: ignore[no-untyped-call]
    return x, y


def is_constant(tensor: Tensor) -> bool:
    """Return whether a tensor needs no derivative: backward, forward or batched."""
    if tensor.requires_grad or forward_ad.unpack_dual(tensor).tangent is not None:
        return False
    inside = torch._C._functorch
    return not (
        inside.is_functorch_wrapped_tensor(tensor) or inside.is_legacy_batchedtensor(tensor)
    )


def values(matrix: Tensor, parts: Svd) -> Tensor:
    """Return all singular values of a matrix, with a derivative: ds_j = Re(u_jᴴ dA v_j)."""
    found: Tensor = _Values.apply(matrix, *parts[:3])  # type: ignore[no-untyped-call]
    return found


def _vjp(x: Tensor, inverse: Tensor, grad_x: Tensor, grad_y: Tensor) -> Tensor:
    """Return the gradient X ḡY + (1 − XXᴴ) ḡX (Y⁺)ᴴ of A = XY, with ``inverse`` = (Y⁺)ᴴ."""
    return x @ (grad_y - (x.mH @ grad_x) @ inverse) + grad_x @ inverse


class _Factorization(torch.autograd.Function):
    """A factorization whose derivative goes backward, once, for one matrix at a time."""

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Any:
        raise UnsupportedByEngine(
            f"Forward mode reached a bond that was cut. Gradients are right. {_EXACT}"
        )

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, None]:
        if any(dim is not None for dim in in_dims):
            raise UnsupportedByEngine(
                "A batch reached a bond that is cut. One state at a time is right. Take a loop, a "
                "larger max_bond, or StatevectorEngine()."
            )
        return cls.apply(*args), None  # type: ignore[no-untyped-call]


class _QR(_Factorization):
    """A = Q R for a matrix with more rows than columns."""

    @staticmethod
    @with_signature
    def forward(matrix: Tensor) -> tuple[Tensor, Tensor]:
        q, r = robust(_split.qr, matrix)
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
    """Return (R⁻¹)ᴴ of an upper triangular matrix, regularized where R is singular."""
    one = torch.eye(len(r), dtype=r.dtype, device=r.device)
    solution: Tensor = torch.linalg.solve_triangular(r.mH, one, upper=False)
    # The diagonal of R alone would not tell: [[ε, 1], [0, ε]] is as good as singular.
    if solution.abs().max() * r.abs().max() < 1 / (_NOISE * rounding(r)):
        return solution
    u, s, vh = robust(_split.svd, r)
    inverse: Tensor = u @ (_inverse(s)[:, None] * vh)
    return inverse


def _inverse(s: Tensor) -> Tensor:
    """Return the regularized inverses S/(S² + ε²S₀²) of singular values."""
    noise = _NOISE * rounding(s) * s[0]
    return _over(s, noise)


def _over(value: Tensor, noise: Tensor) -> Tensor:
    """Return 1/value, broadened: value/(value² + noise²), and 0 for a vanishing value."""
    square = value.square() + noise.square()
    return value / square.clamp_min(torch.finfo(square.dtype).tiny)


class _Tangent(_Factorization):
    """U, S, Vᴴ of a matrix to its truncated factors, with the tangent-space derivative.

    ``inverse`` is (Y⁺)ᴴ, regularized.
    """

    @staticmethod
    @with_signature
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


class _Values(_Factorization):
    """The singular values of a matrix, from its decomposition."""

    @staticmethod
    @with_signature
    def forward(matrix: Tensor, u: Tensor, s: Tensor, vh: Tensor) -> Tensor:
        return s.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1], inputs[3], output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, vh, s = ctx.saved_tensors
        with torch.no_grad():
            made = u @ (grad[:, None] * vh)
        return _once(made, s, grad), None, None, None


class _Exact(_Factorization):
    """U, S, Vᴴ to the truncated factors, with the derivative of the truncated product itself.

    The kept vectors u_j also turn towards the discarded ones u_d (M = UᴴdA V):

        u_dᴴ dX_j = (s_j M_dj + s_d M̄_jd) / (s_j² − s_d²)

    Gaps occur between kept and discarded values only, never among the kept ones; relative gaps
    below the square root of a rounding are broadened.
    """

    @staticmethod
    @with_signature
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
    width = torch.full_like(s[0], rounding(s) ** 0.5)
    turn = (u2.mH @ grad_x + s2 * (v2 @ grad_y.mH)) * _over(1 - ratio.square(), width) * inverse
    return grad + u2 @ (turn @ v1) + u1 @ ((turn * ratio).mH @ v2)


def _once(grad: Tensor, *inputs: Tensor) -> Tensor:
    return once(grad, inputs=inputs, engine="a bond that was cut", hint=_EXACT)[0]
