"""The rank of a Jacobian, from vector–Jacobian products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def rank_of(
    outputs: Tensor, parameters: Sequence[Tensor], directions: np.ndarray[Any, np.dtype[np.float64]]
) -> int:
    """Return the rank of ∂outputs/∂parameters.

    Args:
        outputs: A vector with a graph, in double precision.
        parameters: What it depends on; without any the rank is 0.
        directions: Random numbers, for as many products as rows of ``len(outputs)`` fit into them.

    Source:
        Ours: a randomized range finder (arXiv 0909.4061) on the transposed Jacobian.
    """
    if not parameters:
        return 0
    rows = []
    for direction in torch.from_numpy(directions).view(-1, len(outputs)).to(outputs.device):
        grads = torch.autograd.grad(
            outputs, parameters, direction, retain_graph=True, materialize_grads=True
        )
        rows.append(torch.cat([grad.reshape(-1) for grad in grads]))
    return int(torch.linalg.matrix_rank(torch.stack(rows), rtol=1e-9))
