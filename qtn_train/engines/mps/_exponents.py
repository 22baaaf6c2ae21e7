"""Amplitudes of wide states, which no float holds: each with a power of two beside it.

    ─1─[A₀]─ … ─[A_{j−1}]─ row ─► row · 2^(−s), exponent + s        left to right, and columns
                                                                    right to left
    amplitude k = Σ row · column · 2^(exponent of the row + exponent of the column)

The powers are constants, so that nothing leaves the range of the numbers on the way back either.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Int
from torch import Tensor


def amplitudes_with_exponents(
    tensors: list[Tensor], start: int, stop: int
) -> tuple[Complex[Tensor, " outcomes"], Int[Tensor, " outcomes"]]:
    """Return mantissas and exponents of the amplitudes of the outcomes start … stop−1.

    Args:
        tensors: A matrix product state's, ``(left, 2, right)``.
        start: First outcome number.
        stop: One past the last outcome number.

    Returns:
        Complex a, differentiable, and e: the amplitudes are a·2^e.

    Source:
        Ours.
    """
    n_qubits = len(tensors)
    bits = min((stop - start - 1).bit_length() // 2, n_qubits)
    rows, row_exponents = _rows(tensors[: n_qubits - bits], start >> bits, (stop - 1) >> bits)
    columns = torch.ones_like(rows[:1, :1])
    column_exponents = torch.zeros(1, dtype=torch.int32, device=rows.device)
    for tensor in reversed(tensors[n_qubits - bits :]):
        left, _, right = tensor.shape
        columns = (tensor.reshape(2 * left, right) @ columns).view(left, -1)
        columns, shift = _balanced(columns, 0)
        column_exponents = column_exponents.repeat(2) + shift
    skip = slice(start - ((start >> bits) << bits), None)
    exponents = (row_exponents[:, None] + column_exponents).reshape(-1)
    found = (rows @ columns).reshape(-1)
    return found[skip][: stop - start], exponents[skip][: stop - start]


def _rows(tensors: list[Tensor], first: int, last: int) -> tuple[Tensor, Tensor]:
    """Return the vectors of the outcomes first … last of the leftmost qubits, with exponents."""
    like = tensors[0] if tensors else torch.ones((1, 2, 1))
    rows = torch.ones((1, 1), dtype=like.dtype, device=like.device)
    exponents = torch.zeros(1, dtype=torch.int32, device=like.device)
    begin = 0
    for site, tensor in enumerate(tensors):
        left, _, right = tensor.shape
        shift = len(tensors) - 1 - site
        low, high = first >> shift, last >> shift
        inside = slice(low - 2 * begin, high + 1 - 2 * begin)
        rows = (rows @ tensor.reshape(left, 2 * right)).view(-1, right)[inside]
        rows, shifts = _balanced(rows, 1)
        exponents = exponents.repeat_interleave(2)[inside] + shifts
        begin = low
    return rows, exponents


def _balanced(matrix: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Divide rows or columns by powers of two, so that their largest entries are about 1."""
    with torch.no_grad():
        shifts = torch.frexp(matrix.abs().amax(axis, keepdim=True))[1]
        factors = torch.ldexp(torch.ones_like(shifts, dtype=matrix.real.dtype), -shifts)
    return matrix * factors, shifts.squeeze(axis)
