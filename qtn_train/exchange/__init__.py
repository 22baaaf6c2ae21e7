"""Circuits in and out: OpenQASM 2 and 3, Qiskit, PennyLane, Cirq, Braket and quimb.

Nobody's package is imported but that of the object that is brought or asked for.
"""

from ._export import ExportFormat, export_circuit
from ._import import import_circuit, is_path, source_text
from ._imported import ImportedCircuit, circuit_from_json, gates_of, n_free

__all__ = [
    "ExportFormat",
    "ImportedCircuit",
    "circuit_from_json",
    "export_circuit",
    "gates_of",
    "import_circuit",
    "is_path",
    "n_free",
    "source_text",
]
