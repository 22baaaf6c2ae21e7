"""From a circuit and its angles to what Braket runs, and from what it counts back to counts.

    Program ──► portable() or native gates ──► Braket circuit with inputs p0000, p0001, …
    (circuit, angles (batch, n_angles))        inputs = A @ angles + b   (batch, names), float64

Qubit 0 is the leftmost, most significant bit, on a device as everywhere in this package.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...circuits import Circuit, Gate
from ...errors import must_be
from ...measurements._counts import Counts, Program
from ..device._native import Native, lower_native
from ..device._placement import find_placement
from ..device._target import Family, Target, check, kept_with_target

#: Gate of the table -> method of Braket's Circuit, where the names differ.
_METHODS = {"cx": "cnot"}

#: Gates that change nothing, by family of device: they stand in a circuit that has no gate, which
#: Braket would refuse.
_IDLE: dict[Family | None, tuple[tuple[str, tuple[float, ...]], ...]] = {
    None: (("rz", (0.0,)),),
    "iqm": (("prx", (0.0, 0.0)),),
    "rigetti": (("rz", (0.0,)),),
    "ionq": (("gpi2", (0.0,)), ("gpi2", (np.pi,))),
}


@dataclass(frozen=True, eq=False)
class Plan:
    """The gates and qubit labels of one circuit on one device, whatever the angles.

    Attributes:
        gates: In Braket's names where native; angles are rows of ``A`` and ``b``.
        lowered: The matrix ``A`` and the constants ``b``.
        n_qubits: Number of qubits.
        labels: Where the qubits are; 0…N−1 unless verbatim.
        family: Whose native gates, in a verbatim box; None for portable gates.
        measured: Whether all qubits are measured at the end; else their probabilities are asked.
    """

    gates: tuple[Gate, ...]
    lowered: Native
    n_qubits: int
    labels: tuple[int, ...]
    family: Family | None
    measured: bool

    def build(self, value: Callable[[int], Any]) -> Any:
        """Return a new Braket circuit whose angle number ``k`` is ``value(k)``."""
        from braket.circuits import Circuit as BraketCircuit

        body = BraketCircuit()
        for gate in self.gates:
            place = [self.labels[qubit] for qubit in gate.qubits]
            add = getattr(body, _METHODS.get(gate.name, gate.name))
            add(*place, *(value(index) for index in gate.angles))
        for name, angles in () if self.gates else _IDLE[self.family]:
            getattr(body, name)(self.labels[0], *angles)
        if self.family is None:
            return self._read(body)
        return self._read(BraketCircuit().add_verbatim_box(body))

    def _read(self, circuit: Any) -> Any:
        if self.measured:
            return circuit.measure(list(self.labels))
        touched = {qubit for gate in self.gates for qubit in gate.qubits}
        for qubit in sorted(set(range(self.n_qubits)) - touched):
            circuit.i(self.labels[qubit])  # local simulators drop a qubit that has no gate
        return circuit.probability(list(self.labels))


@dataclass(frozen=True, eq=False)
class Bound:
    """One circuit for the device, with many sets of inputs.

    Attributes:
        circuit: A Braket circuit with free parameters, shared between calls: never change it.
            It ends with the measurement of all N qubits, qubit 0 first, or, where shots are 0,
            with a request for their probabilities.
        names: The names of its parameters; there may be none.
        inputs: Their values in radians, one row for each set.
        n_qubits: Number of qubits.
        plan: What ``circuit`` was built from.
    """

    circuit: Any
    names: tuple[str, ...]
    inputs: Float[Tensor, "batch names"]
    n_qubits: int
    plan: Plan = field(repr=False)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def labels(self) -> tuple[int, ...]:
        """The number that qubits 0, 1, … have in the circuit, as in a result's measured qubits."""
        return self.plan.labels

    def input_sets(self) -> dict[str, list[float]]:
        """Return each parameter's angles in all sets of inputs, for Braket's ``CircuitBinding``."""
        return dict(zip(self.names, self.inputs.T.tolist(), strict=True))

    def input_set(self, index: int) -> dict[str, float]:
        """Return one set of inputs: parameter name -> angle in radians.

        Args:
            index: Which set.
        """
        return dict(zip(self.names, self.inputs[index].tolist(), strict=True))

    def at(self, index: int) -> Any:
        """Return a new circuit with one set of inputs written into it.

        For devices that take no inputs or change the circuit they are given: the emulators.

        Args:
            index: Which set.
        """
        values = self.input_set(index)
        fixed = self.plan.lowered.b.tolist()
        return self.plan.build(lambda angle: values.get(name_of(angle), fixed[angle]))


def name_of(angle: int) -> str:
    """Return the parameter's name of a lowered angle; Braket refuses or misreads most others.

    Args:
        angle: Its number.

    Example:
        >>> name_of(12)
        'p0012'
    """
    return f"p{angle:04d}"


def bind(
    program: Program,
    target: Target,
    *,
    shots: int,
    placement: Sequence[int] | None = None,
    native: bool = False,
) -> Bound:
    """Write a program for a device.

    Args:
        program: A circuit and its angles.
        target: The device. An emulator always takes native gates.
        shots: Shots of each execution; 0 asks a local simulator for exact probabilities.
        placement: The physical label of each qubit; found on the device's graph by default.
            Only verbatim circuits keep to it.
        native: Whether to write a verbatim circuit in the device's native gates.

    Returns:
        The Braket circuit and its inputs.

    Raises:
        ImportError: The extra ``braket`` is not installed.
        ValueError: What :func:`check` refuses; a placement without native gates; native gates
            of a device whose family is not known here.
        UnsupportedByEngine: The circuit is too large, or does not fit the connections.
    """
    native = native or target.kind == "emulator"
    given = None if placement is None else tuple(placement)
    check(target, program.circuit, shots, given)
    if native and target.native is None:
        expected = f"False on {target.name}, whose native gates are not known here"
        raise ValueError(must_be("native", expected, True))
    if given is not None and not native:
        hint = "Take native=True: otherwise the service chooses the qubits."
        raise ValueError(must_be("placement", "None without native=True", given, hint))
    plan, circuit, names = _plan(program.circuit, target, bool(shots), given, native)
    lowered, angles = plan.lowered, program.angles.double().numpy()
    every = (lowered.A @ angles.T).T + lowered.b
    kept = [int(name[1:]) for name in names]
    return Bound(circuit, names, torch.from_numpy(every[:, kept]), plan.n_qubits, plan)


@kept_with_target
def _plan(
    circuit: Circuit,
    target: Target,
    measured: bool,
    placement: tuple[int, ...] | None,
    native: bool,
) -> tuple[Plan, Any, tuple[str, ...]]:
    """Return the plan, the Braket circuit and the names of its parameters."""
    from braket.circuits import FreeParameter

    labels = tuple(range(circuit.n_qubits))
    if native and target.native is not None:
        lowered = lower_native(circuit, target.native)
        labels = placement or find_placement(target, circuit)
    else:
        portable = circuit.portable()
        lowered = Native(portable.circuit.gates, portable.A, portable.b)
    family = target.native if native else None
    plan = Plan(lowered.gates, lowered, circuit.n_qubits, labels, family, measured)
    used = np.diff(lowered.A.tocsr().indptr) > 0
    fixed = lowered.b.tolist()
    built = plan.build(lambda angle: FreeParameter(name_of(angle)) if used[angle] else fixed[angle])
    return plan, built, tuple(name_of(int(angle)) for angle in np.flatnonzero(used))


def canonical_hash(
    circuit: Circuit, *, native: bool = False, placement: Sequence[int] | None = None
) -> str:
    """Return the hash of a circuit as a device runs it, the same in every process.

    Braket's own OpenQASM text is not: the order of its inputs changes from run to run.

    Args:
        circuit: The circuit.
        native: As for :func:`bind`.
        placement: As for :func:`bind`.

    Returns:
        64 hexadecimal digits: SHA-256 of the circuit's canonical JSON and the options'.
    """
    data = {
        "circuit": circuit.hash,
        "native": native,
        "placement": None if placement is None else [int(label) for label in placement],
    }
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def to_counts(measurement_counts: Mapping[str, int], n_qubits: int) -> Counts:
    """Convert Braket's measurement counts, by bit string, to this package's counts.

    Args:
        measurement_counts: Bit string -> how often; its leftmost bit is the first qubit measured.
        n_qubits: The length of each bit string.

    Returns:
        The outcomes that came, ascending, and their counts.

    Raises:
        ValueError: A bit string of another length, or with other letters than 0 and 1.

    Example:
        >>> counts = to_counts({"10": 3, "01": 1}, 2)
        >>> counts.outcomes.tolist(), counts.counts.tolist()
        ([1, 2], [1, 3])
    """
    for bits in measurement_counts:
        if len(bits) != n_qubits or not set(bits) <= {"0", "1"}:
            raise ValueError(must_be("measurement_counts", f"of {n_qubits} bits", repr(bits)))
    pairs = sorted((bits, int(count)) for bits, count in measurement_counts.items() if count)
    rows = [[int(bit) for bit in bits] for bits, _ in pairs]
    return Counts(
        torch.tensor(rows, dtype=torch.uint8).reshape(-1, n_qubits),
        torch.tensor([count for _, count in pairs], dtype=torch.int64),
    )


def exact_probs(target: Target, bound: Bound, index: int) -> Float[Tensor, " outcomes"]:
    """Return the exact probabilities of all outcomes, from a local simulator.

    Args:
        target: ``local:sv`` or ``local:dm``.
        bound: What :func:`bind` returned for 0 shots.
        index: Which of its sets of inputs.

    Returns:
        Shape ``(2**n_qubits,)``, float64, on the CPU.
    """
    result = target.device.run(bound.circuit, shots=0, inputs=bound.input_set(index)).result()
    return torch.from_numpy(np.asarray(result.values[0], dtype=np.float64))
