"""The mixing: an orthogonal matrix for each column, of any length, and nothing trained."""

import numpy as np
import pytest
import tolerances
import torch

from qtn_train.mapping import MixingMapping


@pytest.mark.parametrize("n_values", [1, 2, 7, 64, 131])
@pytest.mark.parametrize("columns", [1, 3])
def test_each_column_is_an_orthogonal_matrix_with_signs(n_values: int, columns: int) -> None:
    mapping = MixingMapping(n_values, columns, seed=4).double()
    assert not list(mapping.parameters())
    units = torch.eye(n_values, dtype=torch.float64)
    matrices = torch.stack([mapping(0, unit) for unit in units], 1).permute(2, 0, 1)
    for matrix in matrices:
        torch.testing.assert_close(matrix @ matrix.T, units, atol=tolerances.DOUBLE, rtol=0)
    grid = 2 * np.pi * np.outer(np.arange(n_values), np.arange(n_values)) / n_values
    hartley = torch.from_numpy(np.cos(grid) + np.sin(grid)) / n_values**0.5
    for matrix in matrices:
        assert set((matrix / hartley).round(decimals=6)[0].tolist()) <= {-1.0, 1.0}
        torch.testing.assert_close(matrix.abs(), hartley.abs(), atol=tolerances.DOUBLE, rtol=0)


def test_columns_differ_and_few_values_reach_all_weights() -> None:
    mapping = MixingMapping(500, 2, seed=0)
    one = torch.zeros(500)
    one[3] = 1.0
    first, second = mapping(0, one).T
    assert (first - second).abs().max() < tolerances.SINGLE or torch.equal(
        first.abs(), second.abs()
    )
    assert (first.abs() > 1e-4).double().mean() > 0.95
    many = mapping(0, torch.ones(500))
    assert abs(float(torch.corrcoef(many.T)[0, 1])) < 0.2


def test_fewer_values_are_mixed_among_themselves() -> None:
    mapping = MixingMapping(10, seed=2)
    weights = mapping(0, torch.ones(6))
    assert weights.shape == (6, 1)
    torch.testing.assert_close(weights.square().mean(), torch.tensor(1.0))


def test_wrong_input() -> None:
    mapping = MixingMapping(10)
    with pytest.raises(ValueError, match=r"`start` must be 0 for a mapping of all values; got 2"):
        mapping(2, torch.ones(3))
    with pytest.raises(
        ValueError, match=r"`start, stop` must be 0 <= start < stop <= n_values = 10"
    ):
        mapping(0, torch.ones(11))
    with pytest.raises(
        ValueError, match=r"`weights_per_outcome` must be a positive integer; got 0"
    ):
        MixingMapping(10, 0)
