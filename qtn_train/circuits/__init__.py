"""Circuits as data: gate table, builder, ansätze, lowering and drawings.

Nothing in here simulates, and importing it loads NumPy only.

Example:
    >>> from qtn_train.circuits import Circuit, ansatz
    >>> ansatz.ry_cx_chain(3, 1) == Circuit.builder(3).ry(0).ry(1).ry(2).cx(0, 1).cx(1, 2).build()
    True
"""

from . import _ansatz as ansatz
from ._ansatz import ANSATZE
from ._circuit import Circuit, CircuitBuilder, Lowered
from ._gate import Gate
from ._gates import GATES, PORTABLE, GateSpec, gate_matrix
from ._lowering import PORTABLE_RULES

__all__ = [
    "ANSATZE",
    "GATES",
    "PORTABLE",
    "PORTABLE_RULES",
    "Circuit",
    "CircuitBuilder",
    "Gate",
    "GateSpec",
    "Lowered",
    "ansatz",
    "gate_matrix",
]
