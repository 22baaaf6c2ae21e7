"""Our derivatives for quimb's own programs on torch arrays."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, get_args

import torch
from torch import Tensor

from ...errors import QtnTrainError, must_be
from . import _torch
from ._split import SvdGradient

_NAMES = ("svd_truncated", "qr_stabilized")
_DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)
#: quimb's own forms of these, and ours in the order in which they came; the last ones are used.
_forms: list[tuple[Callable[..., Any], ...]] = []
# Which weight of the singular values each of quimb's modes looks at: absolute ones, relative ones,
# the sum of squares and the sum of those cut off, absolute and relative.
_ABS, _REL, _SUM2, _RSUM2, _SUM1, _RSUM1 = range(1, 7)


def enable_quimb_gradients(*, svd_gradient: SvdGradient = "exact") -> ExitStack:
    """Give quimb's own programs on torch arrays finite and right gradients.

    quimb's SVD and QR of torch arrays that have a gradient get the derivative of
    :class:`~qtn_train.engines.MPSEngine`, in the whole process: ``CircuitMPS``,
    ``MatrixProductState.compress``, an MPO applied and compressed,
    ``Circuit.local_expectation`` and whatever else splits tensors by them. Other arrays, and
    tensors without a gradient, go the way they went before.

    Right is the derivative of what depends on the *products* of the factors, and of the singular
    values. A factor alone, such as one singular vector, has a gauge that the derivative leaves
    open; one factor with the square root of the singular values (``absorb="lsqrt"``, ``"rsqrt"``)
    keeps torch's derivative. A cut that discards singular values which are 0 leaves out what would
    raise the rank, as in :class:`~qtn_train.engines.MPSEngine`.

    Args:
        svd_gradient: ``"exact"`` is the derivative of what is computed; ``"tangent"`` leaves out
            how the discarded part answers, and is nearer to the gradient without a cut.

    Returns:
        A context manager; at its end quimb is as it was. Without ``with``, the derivative stays.

    Raises:
        ValueError: An unknown ``svd_gradient``.
        QtnTrainError: This version of quimb has other factorizations.

    Source:
        Ours, see ``engines/mps/_torch.py``.

    Example:
        >>> from quimb.tensor.decomp import array_split
        >>> x = torch.eye(4, dtype=torch.complex64, requires_grad=True)
        >>> with enable_quimb_gradients():
        ...     left, _, right = array_split(x, max_bond=2, cutoff=0.0)
        ...     (left @ right).abs().sum().backward()
        >>> bool(torch.isfinite(torch.view_as_real(x.grad)).all())
        True
    """
    from autoray import get_lib_fn
    from quimb.tensor import decomp

    if svd_gradient not in get_args(SvdGradient):
        raise ValueError(must_be("svd_gradient", "'tangent' or 'exact'", repr(svd_gradient)))
    if not all(hasattr(decomp, name) for name in _NAMES):
        hint = "Install quimb 1.13 or newer."
        raise QtnTrainError(
            must_be("quimb", f"of a version with {' and '.join(_NAMES)}", "another one", hint)
        )
    if not _forms:
        _forms.append(tuple(get_lib_fn("torch", name) for name in _NAMES))
    before_svd, before_qr = _forms[0]
    ours = (_svd(svd_gradient, before_svd), _qr(before_qr))
    _forms.append(ours)
    _use_last()
    undo = ExitStack()
    undo.callback(_withdraw, ours)
    return undo


def _withdraw(ours: tuple[Callable[..., Any], ...]) -> None:
    """Take back one registration, in whatever order they end."""
    _forms.remove(ours)
    _use_last()
    if len(_forms) == 1:
        _forms.clear()


def _use_last() -> None:
    from autoray import register_function

    for name, form in zip(_NAMES, _forms[-1], strict=True):
        register_function("torch", name, form)


def _is_ours(x: Tensor) -> bool:
    is_matrix = x.ndim == 2 and x.numel() > 0 and x.dtype in _DTYPES
    return is_matrix and x.requires_grad and torch.is_grad_enabled()


def _svd(gradient: SvdGradient, before: Callable[..., Any]) -> Callable[..., Any]:
    """Return the form of quimb's ``svd_truncated`` for tensors with a gradient."""
    from quimb.tensor import decomp

    halves = (decomp.get_Usq, decomp.get_sqVH)
    leftward = (decomp.get_Us_VH, decomp.get_Us, decomp.get_VH)

    def svd_truncated(
        x: Tensor,
        cutoff: float = -1.0,
        cutoff_mode: int | str = _RSUM2,
        max_bond: int = -1,
        absorb: int | str | None = decomp.get_Usq_sqVH,
        renorm: int = 0,
        info: dict[str, Any] | None = None,
    ) -> Any:
        mode = decomp._CUTOFF_MODE_MAP[cutoff_mode]
        form = decomp._ABSORB_MAP[absorb]
        if not _is_ours(x) or form in halves:
            options = {"absorb": absorb, "renorm": renorm, "info": info}
            return before(x, cutoff, cutoff_mode, max_bond, **options)
        transposed = form in leftward
        matrix = x.mT if transposed else x
        parts = _torch.constants(matrix)
        parts = parts._replace(kept=_kept(parts.s, cutoff, mode, max_bond))
        if info is not None and "error" in info:
            info["error"] = float(parts.s[parts.kept :].double().square().sum().sqrt())
        left, rest = _torch.factors(matrix, parts, gradient)
        values = _torch.values(matrix, parts)
        if renorm and parts.kept < len(values):
            power = 1 if mode in (_SUM1, _RSUM1) else 2
            kept, total = (s.pow(power).sum() for s in (values[: parts.kept], values))
            factor = (total / kept) ** (1 / power)
            values, rest = values * factor, rest * factor
        return _absorbed(left, values[: parts.kept], rest, form, transposed)

    def _absorbed(
        left: Tensor, values: Tensor, rest: Tensor, form: int | None, transposed: bool
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        if form == decomp.get_s:
            return None, values, None
        if transposed:
            left, rest = rest.mT, left.mT
        elif form in (None, decomp.get_Usq_sqVH):
            some = values.clamp_min(torch.finfo(values.dtype).tiny)
            if form is None:
                return left, values, rest / some[:, None]
            # A constant: the product keeps its derivative.
            root = some.detach().sqrt()
            return left * root, None, rest / root[:, None]
        if form in (decomp.get_Us, decomp.get_U):
            return left, None, None
        if form in (decomp.get_VH, decomp.get_sVH):
            return None, None, rest
        return left, None, rest

    return svd_truncated


def _kept(s: Tensor, cutoff: float, mode: int, max_bond: int) -> int:
    """Return how many singular values quimb keeps."""
    values: list[float] = s.tolist()
    kept = len(values)
    if cutoff > 0:
        if mode in (_ABS, _REL):
            least = cutoff * (values[0] if mode == _REL else 1.0)
            kept = sum(value > least for value in values)
        else:
            power = 1 if mode in (_SUM1, _RSUM1) else 2
            tail = total = sum(value**power for value in values)
            most = cutoff * (total if mode in (_RSUM2, _RSUM1) else 1.0)
            kept = 0
            while kept < len(values) and tail > most:
                tail = sum(value**power for value in values[kept + 1 :])
                kept += 1
    kept = max(kept, 1)
    return min(kept, max_bond) if max_bond > 0 else kept


def _qr(before: Callable[..., Any]) -> Callable[..., Any]:
    """Return the form of quimb's ``qr_stabilized`` for tensors with a gradient."""
    from quimb.tensor import decomp

    leftward = (decomp.get_Us_VH, decomp.get_Us, decomp.get_VH)

    def qr_stabilized(
        x: Tensor,
        absorb: int | str | None = decomp.get_U_sVH,
        stabilized: bool = True,
        **options: Any,
    ) -> Any:
        form = decomp._ABSORB_MAP[absorb]
        if not _is_ours(x):
            return before(x, absorb, stabilized, **options)
        left, right = _torch.orthogonalize(x.mT if form in leftward else x)
        if form in leftward:
            left, right = right.mT, left.mT
        no_left = form in (decomp.get_VH, decomp.get_sVH)
        no_right = form in (decomp.get_U, decomp.get_Us)
        return None if no_left else left, None, None if no_right else right

    return qr_stabilized
