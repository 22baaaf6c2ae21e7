"""Circuits in and out: OpenQASM 2 and 3, Qiskit, PennyLane, Cirq, Braket and quimb.

Nobody's package is imported but that of the object that is brought or asked for.
"""

from ._export import ExportFormat, export_circuit
from ._import import import_circuit
from ._imported import ImportedCircuit

__all__ = ["ExportFormat", "ImportedCircuit", "export_circuit", "import_circuit"]
