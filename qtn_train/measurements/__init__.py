"""Measurements: what is read of a state, counts, and estimates of values and gradients."""

from . import _hamiltonian as hamiltonian
from ._base import Measurement, register_measurement
from ._correlators import PauliCorrelators
from ._counts import Counts, Program
from ._estimators import GradientMethod, n_circuits
from ._expectation import Expectation
from ._probabilities import Probabilities

__all__ = [
    "Counts",
    "Expectation",
    "GradientMethod",
    "Measurement",
    "PauliCorrelators",
    "Probabilities",
    "Program",
    "hamiltonian",
    "n_circuits",
    "register_measurement",
]
