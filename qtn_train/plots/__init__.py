"""Pictures of results, in one style. The only place that loads matplotlib, when a picture is made.

Each function returns a matplotlib ``Figure``: a notebook shows it, :func:`save` writes it as PNG.
"""

from ._comparison import comparison
from ._runs import (
    COLORS,
    MARKERS,
    STYLE,
    cost,
    curves,
    curves_over_seeds,
    entanglement,
    figure,
    landscape,
    lines,
    save,
    weights,
)
from ._shots import shots
from ._sweeps import sweep

__all__ = [
    "COLORS",
    "MARKERS",
    "STYLE",
    "comparison",
    "cost",
    "curves",
    "curves_over_seeds",
    "entanglement",
    "figure",
    "landscape",
    "lines",
    "save",
    "shots",
    "sweep",
    "weights",
]
