"""Pictures of results, in one style. The only place that loads matplotlib, when a picture is made.

Each function returns a matplotlib ``Figure``: a notebook shows it, :func:`save` writes it as PNG.
Those whose names begin with ``save_`` write the file themselves.
"""

from ._comparison import comparison, save_comparison
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
    save_curves,
    save_entropies,
    weights,
)
from ._shots import save_shots
from ._sweeps import save_sweep

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
    "save_comparison",
    "save_curves",
    "save_entropies",
    "save_shots",
    "save_sweep",
    "weights",
]
