"""The multilayer perceptron: what its contract does not say."""

import pytest
import torch
from torch import Tensor

from qtn_train.mapping import MLPMapping

N_VALUES = 200


def slopes(mapping: MLPMapping) -> Tensor:
    """Derivative of the sum of each value's outputs by the value."""
    values = torch.linspace(-3, 3, N_VALUES).requires_grad_()
    (found,) = torch.autograd.grad(mapping(0, values).sum(), values)
    return found


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("per_outcome", [1, 3])
@pytest.mark.parametrize(
    ("hidden", "activation"), [((4,), "tanh"), ((), "tanh"), ((4, 20, 4), None), ((5,), "relu")]
)
def test_rising_outputs_rise_with_every_value(
    hidden: tuple[int, ...], activation: str | None, per_outcome: int, seed: int
) -> None:
    mapping = MLPMapping(
        N_VALUES, hidden, activation, rising=True, weights_per_outcome=per_outcome, seed=seed
    )
    assert (slopes(mapping) >= 0).all()
    assert slopes(mapping).max() > 0


def test_without_it_hidden_units_work_against_each_other() -> None:
    plain, rising = (MLPMapping(N_VALUES, (4,), rising=r, seed=1) for r in (False, True))
    assert slopes(plain).min() < 0 < slopes(plain).max()
    assert slopes(rising).square().mean() > 4 * slopes(plain).square().mean()


def test_rising_changes_signs_of_the_values_weights_alone() -> None:
    plain, rising = (MLPMapping(N_VALUES, (4, 3), rising=r, seed=1) for r in (False, True))
    for name, value in plain.named_parameters():
        other = rising.get_parameter(name)
        if name == "layers.0.weight":
            assert torch.equal(value[:, :-1], other[:, :-1])
            assert torch.equal(value.abs(), other.abs())
            assert not torch.equal(value, other)
        else:
            assert torch.equal(value, other)


def test_rising_is_refused_with_the_published_start() -> None:
    with pytest.raises(ValueError, match="`rising` must be False with published; got True"):
        MLPMapping(N_VALUES, activation=None, published=True, rising=True)
