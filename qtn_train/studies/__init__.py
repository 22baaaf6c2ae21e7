"""Studies: what stands up to controls and seeds.

See :func:`compare`; on the command line ``qtn-train compare``.
"""

from ._compare import LEARNING_RATES, CompareConfig, compare, tune_rate
from ._comparison import GENERATORS, Comparison, read_comparison

__all__ = [
    "GENERATORS",
    "LEARNING_RATES",
    "CompareConfig",
    "Comparison",
    "compare",
    "read_comparison",
    "tune_rate",
]
