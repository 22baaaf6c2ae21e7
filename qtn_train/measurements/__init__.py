"""What is read of a state: programs, counts, and estimates of values and gradients from counts."""

from ._counts import Counts, Program
from ._estimators import GradientMethod, n_circuits

__all__ = ["Counts", "GradientMethod", "Program", "n_circuits"]
