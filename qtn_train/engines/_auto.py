"""``engine="auto"``: the cheapest exact engine that fits, decided once from estimates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .._types import ComplexDtype
from ..circuits import Circuit
from ..circuits._shape import bond_growth
from ..errors import UnsupportedByEngine, must_be
from ._base import Engine
from ._slots import in_slots
from .contraction._engine import ContractionEngine
from .contraction._network import circuit_network
from .contraction._trees import estimate, shape_of
from .mps._engine import MPSEngine
from .statevector._engine import StatevectorEngine, memory_bytes

# Measured on two cores, complex64, forward and backward together: amplitudes that a two-qubit gate
# takes in a second, and numbers multiplied in a second. Only their ratio matters here.
_STATEVECTOR_RATE = 5e8
_MPS_RATE = 2.5e9
_MPS_SECONDS_PER_GATE = 1.5e-4
# A contraction is not looked at for more outcomes or gates than this, nor taken if it is slower.
_MOST_OUTCOMES = 2**24
_MOST_GATES = 3000
_MOST_SECONDS = 600.0


@dataclass(frozen=True)
class Estimate:
    """Expected seconds and bytes of one forward and backward pass.

    Attributes:
        seconds: Time; only good for a comparison.
        bytes: Memory at the peak.
    """

    seconds: float
    bytes: float


def statevector_estimate(circuit: Circuit, dtype: ComplexDtype = "complex64") -> Estimate:
    """Estimate the state-vector engine: all amplitudes for each two-qubit gate.

    Args:
        circuit: The circuit.
        dtype: Precision of the amplitudes.

    Returns:
        The estimate.
    """
    size = 8 if dtype == "complex64" else 16
    amplitudes = _as_float(2**circuit.n_qubits)
    # One-qubit gates go along with the others, or by themselves where there are none.
    n_gates = sum(len(gate.qubits) == 2 for gate in circuit.gates) or len(circuit)
    return Estimate(n_gates * amplitudes / _STATEVECTOR_RATE, 8 * amplitudes * size)


def mps_estimate(circuit: Circuit, n_outcomes: int, dtype: ComplexDtype = "complex64") -> Estimate:
    """Estimate the exact matrix product state: bonds that grow with each gate across them.

    Args:
        circuit: The circuit.
        n_outcomes: How many probabilities are asked for.
        dtype: Precision of the amplitudes.

    Returns:
        The estimate.
    """
    size = 8 if dtype == "complex64" else 16
    n = circuit.n_qubits
    bonds = [1.0] * max(1, n - 1)
    flops = memory = 0.0
    for bond, bound in bond_growth(n, circuit.gates):
        bonds[bond] = _as_float(bound)
        left = bonds[bond - 1] if bond else 1.0
        right = bonds[bond + 1] if bond + 1 < n - 1 else 1.0
        flops += 8 * left * bonds[bond] * right
        memory += 2 * (left + right) * bonds[bond] * size
    middle = bonds[len(bonds) // 2]
    flops += 4 * n_outcomes * middle
    memory += 4 * min(n_outcomes, 2**20) * size
    n_gates = sum(len(gate.qubits) == 2 for gate in circuit.gates)
    return Estimate(3 * flops / _MPS_RATE + n_gates * _MPS_SECONDS_PER_GATE, memory)


def contraction_estimate(
    circuit: Circuit, n_outcomes: int, dtype: ComplexDtype = "complex64"
) -> Estimate:
    """Estimate the contraction of a block of probabilities, along the tree of one round of trials.

    Args:
        circuit: The circuit.
        n_outcomes: How many probabilities are asked for.
        dtype: Precision of the amplitudes.

    Returns:
        The estimate.
    """
    n_open = (n_outcomes - 1).bit_length()
    network = circuit_network(in_slots(circuit, torch.zeros(circuit.n_angles))[0])
    block = network.amplitudes(n_open, [0] * (circuit.n_qubits - n_open))
    shape = shape_of(block.inputs, block.output)
    return Estimate(*estimate(shape, 8 if dtype == "complex64" else 16))


def choose_engine(
    circuit: Circuit, n_outcomes: int, *, dtype: ComplexDtype = "complex64"
) -> tuple[Engine, str]:
    """Return the cheapest exact engine for a circuit. It never truncates.

    Args:
        circuit: The circuit.
        n_outcomes: How many probabilities are asked for.
        dtype: Precision of the amplitudes.

    Returns:
        The engine, and a sentence that says why.

    Raises:
        UnsupportedByEngine: No exact engine fits this machine's memory.

    Example:
        >>> from qtn_train.circuits import ansatz
        >>> choose_engine(ansatz.u3_cu3_ring(8, 16), 200)[0]
        StatevectorEngine(dtype='complex64')
    """
    dense = statevector_estimate(circuit, dtype)
    chain = mps_estimate(circuit, n_outcomes, dtype)
    limit = memory_bytes()
    dense_fits, chain_fits = dense.bytes <= limit, chain.bytes <= limit
    if not dense_fits and not chain_fits:
        if n_outcomes <= _MOST_OUTCOMES and len(circuit) <= _MOST_GATES:
            network = contraction_estimate(circuit, n_outcomes, dtype)
            if network.bytes <= limit / 2 and network.seconds <= _MOST_SECONDS:
                reason = f"auto: estimated {network.seconds:.2g} s as a contraction, the only one"
                return ContractionEngine(dtype=dtype), f"{reason} that fits the memory"
        raise UnsupportedByEngine(
            must_be(
                "circuit",
                f"one whose exact state fits {limit / 2**30:.0f} GiB",
                f"{circuit.n_qubits} qubits and {len(circuit)} gates, which need "
                f"{min(dense.bytes, chain.bytes) / 2**30:.3g} GiB",
                "Take MPSEngine(max_bond=...) to truncate.",
            )
        )
    if dense_fits and (dense.seconds <= chain.seconds or not chain_fits):
        engine: Engine = StatevectorEngine(dtype=dtype)
    else:
        engine = MPSEngine(dtype=dtype)
    reason = (
        f"auto: estimated {_text(dense, dense_fits)} as a state vector, "
        f"{_text(chain, chain_fits)} as an exact matrix product state"
    )
    return engine, reason


def wide_simulator(circuit: Circuit, simulator: Engine) -> Engine:
    """Return a simulator, or another exact one for a circuit that is too wide for it.

    Args:
        circuit: The circuit.
        simulator: The one to take if it can.

    Returns:
        The simulator.

    Raises:
        UnsupportedByEngine: No exact engine fits this machine's memory.

    Example:
        >>> from qtn_train.circuits import ansatz
        >>> type(wide_simulator(ansatz.cz_chain(68, 6), StatevectorEngine())).__name__
        'MPSEngine'
    """
    if circuit.n_qubits <= simulator.max_qubits:
        return simulator
    return choose_engine(circuit, 1, dtype=simulator.dtype)[0]


def _as_float(number: int) -> float:
    """Return an integer as a float; infinity where no float holds it."""
    return float(number) if number.bit_length() <= 1023 else math.inf


def _text(estimate: Estimate, fits: bool) -> str:
    return f"{estimate.seconds:.2g} s" if fits else "too much memory"
