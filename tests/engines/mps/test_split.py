"""Differentiable factorizations against finite differences and against dense derivatives."""

import pytest
import tolerances
import torch
from torch import Tensor

from qtn_train.engines.mps._split import cut, orthogonalize
from qtn_train.engines.mps._torch import _inverse_of_adjoint
from qtn_train.errors import QtnTrainError

SHAPES = [(6, 4), (4, 6), (5, 5), (1, 3), (3, 1)]


def matrix(seed: int, *shape: int, rank: int | None = None) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    if rank is None:
        return torch.randn(shape, generator=rng, dtype=torch.complex128)
    rows, columns = shape
    return matrix(seed, rows, rank) @ matrix(seed + 1, rank, columns)


def slope(function, at: Tensor, direction: Tensor, step: float = 1e-6) -> float:
    return float(function(at + step * direction) - function(at - step * direction)) / (2 * step)


def along(function, at: Tensor, direction: Tensor) -> float:
    leaf = at.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf), leaf)
    return float((gradient.conj() * direction).sum().real)


def of_product(factors, seed: int = 9):
    """Return a function of X·Y only, through gauges that X and Y alone would feel."""

    def function(a: Tensor) -> Tensor:
        x, y = factors(a)
        weights = matrix(seed, *a.shape)
        return ((x @ y).abs().square() * weights.real).sum() + (x @ y * weights).sum().imag

    return function


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gradient", ["tangent", "exact"])
def test_nothing_discarded_is_exact(shape, gradient):
    at, direction = matrix(0, *shape), matrix(1, *shape)
    for factors in (orthogonalize, lambda a: cut(a, None, 0.0, gradient)[:2]):
        x, y = factors(at)
        assert torch.allclose(x @ y, at, rtol=0, atol=tolerances.FACTORS)
        assert torch.allclose(
            x.mH @ x, torch.eye(x.shape[1], dtype=x.dtype), rtol=0, atol=tolerances.FACTORS
        )
        function = of_product(factors)
        assert along(function, at, direction) == pytest.approx(
            slope(function, at, direction), rel=tolerances.FACTOR_SLOPE, abs=tolerances.FACTOR_SLOPE
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_exact_is_the_derivative_of_the_truncated_product(shape):
    at, direction = matrix(2, *shape), matrix(3, *shape)
    for kept in range(1, min(shape) + 1):

        def function(a, kept=kept):
            return of_product(lambda m: cut(m, kept, 0.0, "exact")[:2])(a)

        expected = slope(function, at, direction)
        assert along(function, at, direction) == pytest.approx(
            expected, rel=tolerances.FACTOR_SLOPE, abs=tolerances.FACTOR_SLOPE
        )


def test_tangent_is_the_projection_onto_the_tangent_space():
    at, direction, weights = matrix(4, 6, 5), matrix(5, 6, 5), matrix(6, 6, 5)

    def product(a: Tensor) -> Tensor:
        x, y, *_ = cut(a, 3, 0.0, "tangent")
        return (x @ y * weights).sum().real

    u, _, vh = torch.linalg.svd(at)
    left, right = u[:, :3] @ u[:, :3].mH, vh[:3].mH @ vh[:3]
    moved = left @ direction + direction @ right - left @ direction @ right
    assert along(product, at, direction) == pytest.approx(float((moved * weights).sum().real))


@pytest.mark.parametrize("gradient", ["tangent", "exact"])
@pytest.mark.parametrize(
    "at",
    [
        torch.zeros(4, 4, dtype=torch.complex128),
        torch.eye(4, dtype=torch.complex128),
        matrix(7, 6, 4, rank=1),
        matrix(8, 4, 6, rank=2),
        torch.full((4, 4), 1e-170, dtype=torch.complex128),
    ],
    ids=["zero", "equal", "rank 1", "rank 2", "tiny"],
)
def test_degenerate_matrices_have_finite_derivatives(at, gradient):
    for kept in (1, 2, 3, None):
        leaf = at.clone().requires_grad_()
        x, y, *_ = cut(leaf, kept, 0.0, gradient)
        (grad,) = torch.autograd.grad((x.sum() + (y * y).sum()).abs(), leaf)
        assert torch.isfinite(torch.view_as_real(grad)).all()


def test_equal_singular_values_are_no_singularity():
    at = torch.linalg.qr(matrix(10, 4, 4))[0]
    direction = matrix(11, 4, 4)
    function = of_product(lambda a: cut(a, 4, 0.0, "tangent")[:2])
    assert along(function, at, direction) == pytest.approx(
        slope(function, at, direction), rel=tolerances.FACTOR_SLOPE
    )


def test_tall_matrices_of_low_rank_have_finite_derivatives():
    for at in (matrix(12, 6, 3, rank=1), torch.zeros(6, 3, dtype=torch.complex128)):
        leaf = at.clone().requires_grad_()
        x, y = orthogonalize(leaf)
        (grad,) = torch.autograd.grad((x.sum() + (y * y).sum()).abs(), leaf)
        assert torch.isfinite(torch.view_as_real(grad)).all()


def test_inverse_of_a_triangular_matrix():
    r = torch.linalg.qr(matrix(13, 4, 4))[1]
    one = torch.eye(4, dtype=r.dtype)
    assert torch.allclose(_inverse_of_adjoint(r).mH @ r, one, rtol=0, atol=tolerances.FACTORS)
    r[3, 3] = 0
    assert torch.allclose(
        _inverse_of_adjoint(r), torch.linalg.pinv(r).mH, rtol=0, atol=tolerances.INVERSE
    )


def test_triangular_matrices_are_singular_also_behind_their_diagonal():
    r = torch.tensor([[1e-12, 1.0], [0.0, 1e-12]], dtype=torch.complex128)
    assert _inverse_of_adjoint(r).abs().max() < 1e14  # unregularized 1e24


def test_numbers_near_the_smallest_do_not_break_single_precision():
    """LAPACK's QR in single precision gives NaN on this one: entries like cos(π/2)ⁿ."""
    rows = matrix(14, 12, 4).to(torch.complex64)
    rows = rows * torch.tensor([1.0, 1e-23, 1e-36, 1e-43])
    x, y = orthogonalize(rows)
    assert torch.allclose(x.mH @ x, torch.eye(4, dtype=x.dtype), rtol=0, atol=tolerances.SINGLE)
    assert torch.allclose(x @ y, rows, rtol=0, atol=tolerances.SINGLE)


def test_cutoff_is_a_share_of_the_squared_norm():
    at = torch.diag(torch.tensor([2.0, 1.0, 0.5, 0.1], dtype=torch.complex128))
    total = 4 + 1 + 0.25 + 0.01
    for cutoff, kept, lost in [(0.001, 4, 0.0), (0.002, 3, 0.01), (0.06, 2, 0.26), (0.9, 1, 1.26)]:
        result = cut(at, None, cutoff, "tangent")
        assert len(result.values) == kept
        assert result.weight == pytest.approx(lost / total, abs=tolerances.FACTORS)
    assert len(cut(at, 1, 0.001, "tangent").values) == 1


def test_non_finite_matrix_is_refused():
    at = torch.full((2, 2), float("nan"), dtype=torch.complex64)
    with pytest.raises(QtnTrainError, match="must be finite; got NaN or infinity"):
        cut(at, 1, 0.0, "tangent")
