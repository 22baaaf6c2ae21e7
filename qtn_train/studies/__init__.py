"""Studies: sweeps over settings, on one machine or a cluster.

They need the extra ``studies``: see :func:`load_study`, :func:`run_study`, :func:`read_results`
and :func:`summarize`; on the command line ``qtn-train study run`` and ``qtn-train study show``.
"""

from ._format import Study, Task, load_study, parse_study, ready_made
from ._measures import MAX_TRUNCATION_ERROR, MEASURES, Measure, Panel
from ._page import page
from ._results import read_results, read_study
from ._runner import run_study
from ._summary import draw, summarize, table

__all__ = [
    "MAX_TRUNCATION_ERROR",
    "MEASURES",
    "Measure",
    "Panel",
    "Study",
    "Task",
    "draw",
    "load_study",
    "page",
    "parse_study",
    "read_results",
    "read_study",
    "ready_made",
    "run_study",
    "summarize",
    "table",
]
