"""Matrix product states to quimb, and from quimb."""

from __future__ import annotations

from functools import partialmethod
from typing import Any

import numpy as np
import quimb as qu
import torch
from quimb.tensor import MatrixProductState
from torch import Tensor

from ...errors import must_be


class TorchMPS(MatrixProductState):  # type: ignore[misc]
    """quimb's matrix product state on torch tensors, which takes quimb's own operators.

    The methods that apply an operator turn NumPy arrays, as ``quimb.pauli`` gives them, into
    tensors of the state's type, on its device. All others are quimb's.
    """

    def _operator(self, array: Any) -> Tensor:
        like: Tensor = next(iter(self.tensors)).data
        if isinstance(array, Tensor):
            return array.to(like.device, like.dtype)
        numbers = torch.from_numpy(np.array(array, dtype=np.complex128))
        return numbers.to(like.device, like.dtype)

    def gate(self, G: Any, *args: Any, **options: Any) -> Any:
        """Apply an operator, as in quimb."""
        return super().gate(self._operator(G), *args, **options)

    gate_ = partialmethod(gate, inplace=True)

    def local_expectation_canonical(self, G: Any, *args: Any, **options: Any) -> Any:
        """Return an expectation value, as in quimb."""
        return super().local_expectation_canonical(self._operator(G), *args, **options)

    def magnetization(self, i: int, direction: str = "Z", info: Any = None) -> Any:
        """Return the expectation value of a spin operator at a site, as in quimb."""
        return self.H @ self.gate(qu.spin_operator(direction), i, contract=True)


def to_quimb(tensors: list[Tensor]) -> TorchMPS:
    """Return a quimb state on the given tensors, ``(left, 2, right)``, which the state shares."""
    arrays = list(tensors)
    arrays[0] = arrays[0][0]
    arrays[-1] = arrays[-1][..., 0]
    return TorchMPS(arrays, shape="lpr")


def from_quimb(mps: Any) -> list[Tensor]:
    """Return the tensors ``(left, 2, right)`` of a quimb ``MatrixProductState``.

    Args:
        mps: An open chain of qubits on NumPy arrays or torch tensors; it stays as it is.

    Returns:
        Torch tensors that share its data where they can.

    Raises:
        TypeError: It is not a matrix product state.
        ValueError: It is cyclic, its sites are not qubits, or their indices were renamed.
    """
    if not isinstance(mps, MatrixProductState):
        expected = "an MPSState or a quimb MatrixProductState"
        raise TypeError(must_be("initial", expected, type(mps).__name__))
    named = all(mps.site_ind(site) in mps.ind_map for site in mps.sites)
    if not named or mps.cyclic or any(mps.phys_dim(site) != 2 for site in mps.sites):
        raise ValueError(must_be("initial", "an open chain of qubits", repr(mps)))
    other = mps.copy()
    other.permute_arrays("lpr")
    arrays = [torch.as_tensor(array) for array in other.arrays]
    if len(arrays) == 1:
        return [arrays[0].reshape(1, 2, 1)]
    arrays[0] = arrays[0][None]
    arrays[-1] = arrays[-1][..., None]
    return arrays
