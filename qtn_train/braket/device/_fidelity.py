"""The expected fidelity of a circuit on a device: the share of shots without any error.

    fidelity = ∏ f_gate(labels of the gate) · ∏ f_readout(label)
               executed gates                 measured qubits

with the last calibration of those labels that the circuit will run on. Where the service chooses
the labels, the medians over the device stand in their place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ...circuits import Circuit, Gate
from ...circuits._shape import two_qubit_cost
from ._native import lower_native
from ._placement import find_placement, fits
from ._target import Target, kept_with_target

_ABOUT_Z = frozenset({"rz", "z", "s", "si", "t", "ti"})


@kept_with_target
def executed_gates(circuit: Circuit, target: Target) -> tuple[Gate, ...]:
    """Return the gates that a device executes for a circuit, in order.

    Args:
        circuit: Any circuit.
        target: Its native gates where they are known here, else portable ones.

    Returns:
        Gates whose qubits are the circuit's. Turns about z are left out, since they are a matter
        of phases and take no time; an emulator gives them the noise of any other gate, so there
        they stay.
    """
    if target.native is not None:
        gates = lower_native(circuit, target.native).gates
    else:
        gates = circuit.portable().circuit.gates
    if target.kind == "emulator":
        return gates
    return tuple(gate for gate in gates if gate.name not in _ABOUT_Z)


@kept_with_target
def gate_counts(circuit: Circuit, target: Target) -> tuple[int, int]:
    """Return the numbers of two-qubit and of one-qubit gates that a device executes.

    Args:
        circuit: The circuit.
        target: Its native gates are counted, where they are known here.

    Returns:
        The two numbers, without turns about z.
    """
    gates = executed_gates(circuit, target)
    one = sum(len(gate.qubits) == 1 and gate.name not in _ABOUT_Z for gate in gates)
    return two_qubit_cost(gates), one


def settled_placement(
    circuit: Circuit,
    target: Target,
    *,
    native: bool = False,
    placement: Sequence[int] | None = None,
) -> tuple[int, ...] | None:
    """Return the label of each qubit that a circuit will run on, where that is settled here.

    Args:
        circuit: The circuit.
        target: The device.
        native: Whether the device's native gates are sent verbatim; an emulator takes no others.
        placement: The labels that the user chose.

    Returns:
        The labels; None where the service chooses them, and where the circuit does not fit.
    """
    if placement is not None:
        return tuple(placement)
    verbatim = native or target.kind == "emulator"
    if not verbatim or target.labels is None or not fits(target, circuit):
        return None
    return find_placement(target, circuit)


def expected_fidelity(
    target: Target,
    gates: Iterable[Gate],
    measured: Iterable[int],
    placement: Sequence[int] | None = None,
) -> float | None:
    """Return the expected share of shots in which neither a gate nor a readout goes wrong.

    Args:
        target: The device.
        gates: Gates that it executes, all of a circuit (:func:`executed_gates`) or those that a
            measured value depends on.
        measured: The qubits that are read.
        placement: The label of each qubit; None: the medians over the device's qubits and edges.

    Returns:
        The fidelity, from 0 to 1; None where the device tells no calibration.

    Source:
        Ours; within 0.05 of the fidelity of the density matrix, depolarized after each gate and
        flipped before readout, in the cases of ``tests/braket/test_fidelity.py``.
    """
    known = target.fidelities
    if known is None:
        return None
    factors = []
    for gate in gates:
        at = () if placement is None else tuple(placement[qubit] for qubit in gate.qubits)
        if len(gate.qubits) == 2:
            factors.append(known.of_pair(*at) ** two_qubit_cost([gate]))
        else:
            factors.append(known.of_gate(*at))
    factors += [known.of_readout(*(() if placement is None else (placement[q],))) for q in measured]
    return math.prod(factors)
