"""Circuits by the name of their shape, as the benchmarks' tables have it."""

from qtn_train.circuits import Circuit, ansatz
from tests.shapes import heavy_hexagon_edges

_CHAINS = {
    "chain": ansatz.u3_cu3_chain,
    "ring": ansatz.u3_cu3_ring,
    "cz-chain": ansatz.cz_chain,
    "ry-cx-chain": ansatz.ry_cx_chain,
}


def circuit_of(shape: str, n_qubits: int, n_layers: int) -> Circuit:
    """Return a circuit.

    Args:
        shape: ``chain``, ``ring``, ``cz-chain``, ``ry-cx-chain``, ``RxC`` for a grid, or
            ``heavy-hex``.
        n_qubits: Number of qubits, of a chain or ring.
        n_layers: Number of layers.
    """
    if shape in _CHAINS:
        return _CHAINS[shape](n_qubits, n_layers)
    if shape == "heavy-hex":
        return ansatz.couplings(heavy_hexagon_edges(), n_layers)
    rows, cols = map(int, shape.split("x"))
    return ansatz.grid(rows, cols, n_layers)
