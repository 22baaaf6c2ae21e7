"""The decay of a variance with the number of qubits: exponential, a power law, or none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FEWEST_POINTS = 3


def fit_decay(
    n_qubits: Sequence[float], variances: Sequence[float], errors: Sequence[float]
) -> dict[str, Any] | None:
    """Fit log(variance) by a line in N and by a line in log N, weighted by its standard errors.

    Args:
        n_qubits: Numbers of qubits N.
        variances: Variances, above 0.
        errors: Their standard errors.

    Returns:
        ``exponential``: ``{bits_per_qubit, se, chi2, factor}`` of factor · 2^(−s·N);
        ``polynomial``: ``{power, se, chi2, factor}`` of factor · N^(−p); ``decay``: ``"none"``
        where neither slope is thrice its standard error, or else the one with the smaller χ². None
        for fewer than three points.

    Source:
        Ours: weighted least squares.

    Example:
        >>> fit = fit_decay([4, 6, 8, 10], [2.0**-4, 2.0**-6, 2.0**-8, 2.0**-10], [1e-4] * 4)
        >>> fit["decay"], round(fit["exponential"]["bits_per_qubit"], 6)
        ('exponential', 1.0)
    """
    used = [(n, v, e) for n, v, e in zip(n_qubits, variances, errors, strict=True) if v > 0]
    if len({n for n, _, _ in used}) < _FEWEST_POINTS:
        return None
    n, v, e = (np.array(column, dtype=np.float64) for column in zip(*used, strict=True))
    # Of a relative error below a percent, the scatter of a finite sample says nothing.
    weights = 1 / np.maximum(e / v, 0.01)
    slope, se, chi2, start = _line(n, np.log(v), weights)
    power, power_se, power_chi2, power_start = _line(np.log(n), np.log(v), weights)
    decay = "exponential" if chi2 <= power_chi2 else "polynomial"
    if -slope < 3 * se and -power < 3 * power_se:
        decay = "none"
    return {
        "points": len(used),
        "decay": decay,
        "exponential": {
            "bits_per_qubit": -slope / math.log(2),
            "se": se / math.log(2),
            "chi2": chi2,
            "factor": math.exp(start),
        },
        "polynomial": {
            "power": -power,
            "se": power_se,
            "chi2": power_chi2,
            "factor": math.exp(power_start),
        },
    }


def fitted(fit: dict[str, Any], n_qubits: float) -> float:
    """Return the variance by the better one of the two laws of a fit of :func:`fit_decay`."""
    if fit["decay"] == "polynomial":
        law = fit["polynomial"]
        return float(law["factor"] * n_qubits ** -law["power"])
    law = fit["exponential"]
    return float(law["factor"] * 2 ** (-law["bits_per_qubit"] * n_qubits))


def _line(
    x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float, float, float]:
    """Return slope, its standard error (not below that of the residuals), χ², value at 0."""
    design = np.stack([x, np.ones_like(x)], axis=1) * weights[:, None]
    solution, *_ = np.linalg.lstsq(design, y * weights, rcond=None)
    residuals = y * weights - design @ solution
    chi2 = float(residuals @ residuals)
    covariance = np.linalg.inv(design.T @ design) * max(1.0, chi2 / max(1, len(x) - 2))
    return float(solution[0]), math.sqrt(float(covariance[0, 0])), chi2, float(solution[1])


def variance_error(values: NDArray[np.float64]) -> float:
    """Return the standard error of a sample's variance, √((m₄ − m₂²)/n).

    Args:
        values: The sample.

    Returns:
        The error; 0 for fewer than two values.

    Example:
        >>> variance_error(np.array([1.0, -1.0, 1.0, -1.0]))
        0.0
    """
    if len(values) < 2:
        return 0.0
    centered = values - values.mean()
    fourth, second = float((centered**4).mean()), float((centered**2).mean())
    return math.sqrt(max(0.0, fourth - second**2) / len(values))
