"""A recursion of rows against the same one written out, in every order of derivatives."""

import tolerances
import torch
from torch import Tensor

from qtn_train.engines.mps._recursion import Link, Path, carried

# Two rows are carried together, one of them goes on, one begins later, and one is left alone.
PATH = Path((Link(2, 0, 2, 2), Link(0, 3, 5, 1), Link(1, 5, 6, 1)))


def written_out(maps: Tensor, source: Tensor) -> Tensor:
    rows = list(source)
    for site, start, to, n in PATH.links:
        for k in range(n):
            rows[to + k] = rows[to + k] + rows[start + k] @ maps[site]
    return torch.stack(rows)


def drawn() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 3, 3, generator=rng, dtype=torch.float64)
    return maps, torch.randn(8, 3, generator=rng, dtype=torch.float64)


def value(maps: Tensor, source: Tensor) -> Tensor:
    return carried(maps, source, PATH)


def test_rows_are_those_of_a_loop() -> None:
    found, expected = value(*drawn()), written_out(*drawn())
    torch.testing.assert_close(found, expected, atol=tolerances.CORRELATOR, rtol=0)


def test_derivatives_of_both_kinds_and_orders() -> None:
    inputs = tuple(each.requires_grad_() for each in drawn())
    batched = {"check_batched_grad": True, "check_batched_forward_grad": True}
    assert torch.autograd.gradcheck(value, inputs, check_forward_ad=True, **batched)
    assert torch.autograd.gradgradcheck(value, inputs)


def test_one_of_the_inputs_may_be_constant() -> None:
    maps, source = drawn()
    assert torch.autograd.gradcheck(value, (maps, source.requires_grad_()), check_forward_ad=True)
    assert torch.autograd.gradcheck(
        value, (maps.requires_grad_(), source.detach()), check_forward_ad=True
    )
