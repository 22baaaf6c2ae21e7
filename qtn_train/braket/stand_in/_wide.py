"""Counts of circuits that are too wide for a state vector, from quimb's own ``CircuitMPS``.

    ●──●──●──●── …      one tensor (left, right, bit) for each qubit, in an order of the qubits in
    │  │  │  │          which most gates join neighbors: that of a chain, for a chain anywhere on
    0  1  1  0          the device. Bits are drawn from left to right, all shots at once.

Nothing of this package's engines is used: what they give can be held against these counts.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: Tensors (left, right, bit) of a state: those right of each tensor are isometries.
Sites: TypeAlias = list[NDArray[np.complex128]]

#: Beyond this the service would be busy for minutes.
MAX_BOND = 256


def sites(operations: Sequence[Any], n_qubits: int) -> tuple[Sites, list[int]]:
    """Return the state of a circuit as a chain of tensors, and the qubits in its order.

    Args:
        operations: Unitary gates of Braket's simulator, on qubits 0 … n_qubits−1.
        n_qubits: Number of qubits.

    Returns:
        The tensors, and for each of them the number of its qubit.

    Raises:
        ValueError: A bond grows larger than :data:`MAX_BOND`.
    """
    import quimb.tensor as qtn

    order = _order(operations, n_qubits)
    place = {qubit: k for k, qubit in enumerate(order)}
    circuit = qtn.CircuitMPS(n_qubits, dtype="complex128", gate_opts={"contract": "swap+split"})
    for matrix, qubits in _fused(operations):
        circuit.apply_gate_raw(matrix, [place[qubit] for qubit in qubits])
        if len(qubits) > 1 and circuit._psi.max_bond() > MAX_BOND:
            raise ValueError(f"The loopback service simulates bonds of {MAX_BOND} at most here.")
    state = circuit.psi
    state.right_canonicalize_()
    state.permute_arrays("lrp")
    arrays = [np.asarray(array) for array in state.arrays]
    return [arrays[0][None], *arrays[1:-1], arrays[-1][:, None]], order


def drawn(state: Sites, order: Sequence[int], uniform: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return one bit string for each row of uniform random numbers.

    Args:
        state: The tensors of :func:`sites`.
        order: Their qubits.
        uniform: Numbers in 0 … 1: a row for each shot, a column for each qubit.

    Returns:
        Bits, qubit 0 first.
    """
    bits = np.zeros(uniform.shape, dtype=np.uint8)
    left = np.ones((len(uniform), 1), dtype=complex)
    for tensor, qubit in zip(state, order, strict=True):
        both = np.einsum("sl,lrp->spr", left, tensor)
        weights = (np.abs(both) ** 2).sum(axis=2)
        one = uniform[:, qubit] * weights.sum(axis=1) >= weights[:, 0]
        bits[:, qubit] = one
        left = both[np.arange(len(both)), bits[:, qubit]]
        left /= np.linalg.norm(left, axis=1, keepdims=True)
    return bits


def _order(operations: Sequence[Any], n_qubits: int) -> list[int]:
    """Return the qubits such that those which gates join are near each other."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    pairs = [operation.targets for operation in operations if len(operation.targets) == 2]
    rows = [a for a, b in pairs] + [b for a, b in pairs]
    columns = [b for a, b in pairs] + [a for a, b in pairs]
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(n_qubits, n_qubits)).tocsr()
    return [int(qubit) for qubit in reverse_cuthill_mckee(graph, symmetric_mode=True)]


def _fused(operations: Sequence[Any]) -> list[tuple[Any, tuple[int, ...]]]:
    """Return the gates, those on one qubit multiplied with each other as far as they meet."""
    waiting: dict[int, Any] = {}
    gates: list[tuple[Any, tuple[int, ...]]] = []
    for operation in operations:
        qubits = tuple(operation.targets)
        if len(qubits) == 1:
            waiting[qubits[0]] = operation.matrix @ waiting.get(qubits[0], np.eye(2))
            continue
        gates += [(waiting.pop(qubit), (qubit,)) for qubit in qubits if qubit in waiting]
        gates.append((operation.matrix, qubits))
    return gates + [(matrix, (qubit,)) for qubit, matrix in waiting.items()]
