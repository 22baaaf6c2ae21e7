"""Our derivatives for quimb's own programs on torch arrays."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...errors import QtnTrainError, UnsupportedByEngine, must_be
from . import _torch


def register_quimb_driver(name: str = "svd:tangent") -> None:
    """Make quimb's own circuits on torch arrays differentiable: register :func:`cut` as a driver.

    An unchanged ``quimb.tensor.CircuitMPS`` then takes ``gate_opts={"method": "svd:tangent"}``.
    Its moves of the center remain quimb's QR, whose derivative is not finite at low rank.

    Args:
        name: The driver's name in quimb.

    Raises:
        QtnTrainError: This version of quimb does not take drivers.

    Source:
        Ours.

    Example:
        >>> register_quimb_driver()
        >>> from quimb.tensor.decomp import array_split
        >>> left, _, right = array_split(torch.eye(4) + 0j, method="svd:tangent", max_bond=2)
        >>> left.shape, right.shape
        (torch.Size([4, 2]), torch.Size([2, 4]))
    """
    from quimb.tensor import decomp

    if not hasattr(decomp, "register_split_driver"):
        raise QtnTrainError(
            must_be("quimb", "of a version that takes split drivers", "an older one")
        )

    @decomp.register_split_driver(name)  # type: ignore[untyped-decorator]
    def split(
        x: Tensor,
        cutoff: float = -1.0,
        cutoff_mode: int = decomp.cutoff_mode_rsum2,
        max_bond: int = -1,
        absorb: int | None = decomp.get_Usq_sqVH,
        renorm: int = 0,
        info: dict[str, Any] | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        if cutoff > 0 and cutoff_mode != decomp.cutoff_mode_rsum2:
            raise UnsupportedByEngine(must_be("cutoff_mode", f"'rsum2' for {name}", cutoff_mode))
        leftward = absorb in (decomp.get_Us_VH, decomp.get_Us, decomp.get_VH)
        limit = max_bond if max_bond > 0 else None
        result = _torch.cut(x.mT if leftward else x, limit, max(cutoff, 0.0), "tangent")
        if info is not None and "error" in info:
            kept = float(result.values.double().square().sum())
            info["error"] = (kept * result.weight / (1 - result.weight)) ** 0.5
        scale = (1 - result.weight) ** -0.5 if renorm else 1.0
        isometry, rest = result.isometry, result.rest * scale
        if leftward:
            isometry, rest = rest.mT, isometry.mT
            left = None if absorb == decomp.get_VH else isometry
            return left, None, None if absorb == decomp.get_Us else rest
        if absorb in (decomp.get_U_sVH, decomp.get_U, decomp.get_sVH):
            left = None if absorb == decomp.get_sVH else isometry
            return left, None, None if absorb == decomp.get_U else rest
        # A share of the singular values that is constant: the product keeps its derivative.
        values = scale * result.values.clamp_min(torch.finfo(x.dtype).tiny)
        if absorb is None:
            return isometry, values, rest / values[:, None]
        return isometry * values.sqrt(), None, rest / values.sqrt()[:, None]
