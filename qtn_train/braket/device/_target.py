"""What a device can do, read from its properties; and the refusal of what it cannot.

The schemas of devices differ from provider to provider and from version to version: all are read
here as the plain JSON that they share.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from statistics import median
from typing import Any, Literal, TypeVar, cast
from weakref import WeakKeyDictionary

from ...circuits import Circuit
from ...errors import UnsupportedByEngine, must_be, text_of
from ._windows import Window, read_windows

Edge = tuple[int, int]
Family = Literal["iqm", "rigetti", "ionq"]
Kind = Literal["local", "emulator", "simulator", "qpu"]

#: Shots of one task on a local simulator: as many as an int64 counts.
NO_LIMIT = 2**63 - 1

_PROGRAM = "braket.ir.openqasm.program"
_PROGRAM_SET = "braket.ir.openqasm.program_set"

#: Gates that tell a family of devices, all of which it must have, and the one on two qubits.
_FAMILIES: dict[Family, tuple[frozenset[str], str]] = {
    "iqm": (frozenset({"prx", "cz"}), "cz"),
    "rigetti": (frozenset({"rx", "rz", "cz"}), "cz"),
    "ionq": (frozenset({"gpi2", "zz"}), "zz"),
}

#: What providers write in place of a fidelity that they did not measure: 0.5, a coin's.
_NOT_CALIBRATED = 0.5

_BENCHMARKS = ("RANDOMIZED_BENCHMARKING", "SIMULTANEOUS_RANDOMIZED_BENCHMARKING")


@dataclass(frozen=True)
class ProgramSetLimits:
    """Limits of one program set: the executables and the shots that it may hold.

    Attributes:
        max_executables: Circuits with inputs, at most.
        max_shots: Shots of all of them together, at most.
    """

    max_executables: int
    max_shots: int


@dataclass(frozen=True)
class Fidelities:
    """Fidelities of gates and readout in a device's last calibration, from 0 to 1.

    The first three are medians over the device. Values that providers write where nothing was
    calibrated (0.5, or less) are not counted in them.

    Attributes:
        one_qubit: Of a gate on one qubit.
        two_qubit: Of the native gate on two qubits.
        readout: Of reading one qubit.
        edges: The two-qubit gate's on each pair of labels (smaller first), where it is told.
        gates: The one-qubit gates' on each label, where it is told.
        readouts: The readout's of each label, where it is told.
    """

    one_qubit: float
    two_qubit: float
    readout: float
    edges: Mapping[Edge, float] = field(default_factory=dict)
    gates: Mapping[int, float] = field(default_factory=dict)
    readouts: Mapping[int, float] = field(default_factory=dict)

    def of_gate(self, label: int | None = None) -> float:
        """Return the fidelity of a gate on one qubit: the label's, or else the median."""
        return self.one_qubit if label is None else self.gates.get(label, self.one_qubit)

    def of_pair(self, a: int | None = None, b: int | None = None) -> float:
        """Return the fidelity of a gate on two qubits: the edge's, or else the median."""
        if a is None or b is None:
            return self.two_qubit
        return self.edges.get(_pair(a, b), self.two_qubit)

    def of_readout(self, label: int | None = None) -> float:
        """Return the fidelity of reading a qubit: the label's, or else the median."""
        return self.readout if label is None else self.readouts.get(label, self.readout)


@dataclass(frozen=True, eq=False)
class Target:
    """A device's gates, qubits, limits and calibration, as read from its properties.

    Attributes:
        device: The Braket ``Device`` that runs circuits.
        name: For people, for example ``"local:sv"`` or ``"IQM Garnet"``.
        arn: None for what runs on this machine.
        kind: ``"simulator"`` is one of Amazon's, billed by the minute.
        n_qubits: How many qubits it has.
        labels: The physical qubits' labels, ascending; None where any 0…N−1 will do.
        edges: Pairs of labels (smaller first) that a two-qubit gate may join; None: all.
        native: The family of its native gates, where verbatim circuits are known here.
        min_shots: Shots of one circuit, at least.
        max_shots: Shots of one circuit, at most.
        program_sets: None where it takes one circuit a task only.
        fidelities: None without calibration data.
        native_gates: Braket's names of the native gates; empty on simulators.
        windows: When it executes tasks; empty where it does not tell.
    """

    device: Any
    name: str
    arn: str | None
    kind: Kind
    n_qubits: int = 0
    labels: tuple[int, ...] | None = None
    edges: frozenset[Edge] | None = None
    native: Family | None = None
    min_shots: int = 0
    max_shots: int = 0
    program_sets: ProgramSetLimits | None = None
    fidelities: Fidelities | None = None
    native_gates: tuple[str, ...] = ()
    windows: tuple[Window, ...] = ()

    @property
    def billed(self) -> bool:
        """Whether running a circuit on this device costs money."""
        return self.kind in ("simulator", "qpu")


_KEPT: WeakKeyDictionary[Target, dict[tuple[Any, ...], Any]] = WeakKeyDictionary()
# Results that are kept for a device at most.
_MAX_KEPT = 512
_Function = TypeVar("_Function", bound=Callable[..., Any])


def kept_with_target(function: _Function) -> _Function:
    """Keep a function's results for as long as the device lives that is among its arguments.

    A cache that outlived the device would hold its session's connections open.

    Args:
        function: Its arguments are hashable, and given by position; no result holds the device.

    Returns:
        The function, which computes each result once.
    """

    @wraps(function)
    def kept(*args: Any) -> Any:
        (target,) = (arg for arg in args if isinstance(arg, Target))
        results = _KEPT.setdefault(target, {})
        key = (function, *(arg for arg in args if arg is not target))
        if key not in results:
            if len(results) >= _MAX_KEPT:
                results.pop(next(iter(results)))
            results[key] = function(*args)
        return results[key]

    return cast(_Function, kept)


def kind_of(arn: str) -> Kind:
    """Return whether a device of Amazon Braket is a simulator or a QPU.

    Args:
        arn: Its ARN.

    Example:
        >>> kind_of("arn:aws:braket:::device/quantum-simulator/amazon/sv1")
        'simulator'
    """
    return "simulator" if ":device/quantum-simulator/" in arn else "qpu"


def plain_name(name: str) -> str:
    """Return a device's name without case and separators, so that "Forte 1" equals "Forte-1".

    Args:
        name: Any spelling.

    Example:
        >>> plain_name("Forte 1")
        'forte1'
    """
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def read_target(device: Any, name: str, kind: Kind, properties: Any = None) -> Target:
    """Read a device's gates, qubits, limits and calibration from its properties.

    Args:
        device: The Braket ``Device``.
        name: Its name for people.
        kind: What it is.
        properties: Its properties, where the object itself does not tell them.

    Returns:
        The target.

    Raises:
        ValueError: It takes no circuits (an analog device), or does not tell its properties, or
            they cannot be read.
    """
    data = _properties(device, name, properties)
    if _PROGRAM not in data.get("action", {}):
        hint = "Circuits need a gate-model device or a simulator."
        raise ValueError(must_be("device", "a gate-model device", f"{name}, an analog one", hint))
    try:
        return _read(device, name, kind, data)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        text = f"{name} ({type(error).__name__}: {text_of(error, 80)})"
        raise ValueError(must_be("device", "one whose properties can be read", text)) from error


def _read(device: Any, name: str, kind: Kind, data: dict[str, Any]) -> Target:
    paradigm = data["paradigm"]
    low, high = _shots_range(data["service"])
    gates = tuple(paradigm.get("nativeGateSet") or ())
    native = family_of(gates)
    labels, edges = _connectivity(paradigm, data.get("standardized") or {})
    local = kind == "local"
    return Target(
        device=device,
        name=name,
        arn=getattr(device, "arn", None),
        kind=kind,
        n_qubits=int(paradigm["qubitCount"]),
        labels=None if local else labels,
        edges=None if local else edges,
        native=None if local else native,
        min_shots=low if local else max(1, low),
        max_shots=high,
        program_sets=_program_sets(data) if kind == "qpu" else None,
        fidelities=_fidelities(data, native),
        native_gates=() if local else tuple(gate.lower() for gate in gates),
        windows=read_windows(data["service"]) if kind == "qpu" else (),
    )


def _properties(device: Any, name: str, properties: Any) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads((properties or device.properties).json())
    except (AttributeError, NotImplementedError) as error:
        hint = "Make an emulator with LocalEmulator.from_device_properties, or name its file."
        raise ValueError(must_be("device", "one that tells its properties", name, hint)) from error
    return data


def _shots_range(service: Mapping[str, Any]) -> tuple[int, int]:
    low, high = service.get("shotsRange") or (1, NO_LIMIT)
    return int(low), min(int(high), NO_LIMIT)


def _program_sets(data: Mapping[str, Any]) -> ProgramSetLimits | None:
    action = data["action"].get(_PROGRAM_SET)
    if not action:
        return None
    return ProgramSetLimits(int(action["maximumExecutables"]), int(action["maximumTotalShots"]))


def family_of(gates: Sequence[str]) -> Family | None:
    """Return the family of devices that a set of native gates tells, None where it tells none.

    Args:
        gates: Braket's names, in any case.
    """
    known = {gate.lower() for gate in gates}
    for family, (needed, _) in _FAMILIES.items():
        if needed <= known:
            return family
    return None


def _connectivity(
    paradigm: Mapping[str, Any], standardized: Mapping[str, Any]
) -> tuple[tuple[int, ...] | None, frozenset[Edge] | None]:
    """Return a device's qubit labels, and the connected pairs (None: all pairs)."""
    connectivity = paradigm.get("connectivity")
    if connectivity is None:
        return None, None
    graph = connectivity.get("connectivityGraph") or {}
    if any(isinstance(others, str) for others in graph.values()):
        raise ValueError(must_be("connectivityGraph", "lists of neighbors", "words"))
    pairs = (_pair(int(a), int(b)) for a, others in graph.items() for b in others)
    edges = frozenset(pair for pair in pairs if pair[0] != pair[1])
    # A qubit that nothing joins is of no use, and missing in the graph of some devices.
    named = {label for edge in edges for label in edge}
    labels = named or {int(label) for label in standardized.get("oneQubitProperties") or ()}
    ordered = tuple(sorted(labels)) or tuple(range(int(paradigm["qubitCount"])))
    complete = len(edges) == len(ordered) * (len(ordered) - 1) // 2
    return ordered, None if connectivity.get("fullyConnected") or complete else edges


def _pair(a: int, b: int) -> Edge:
    return (a, b) if a < b else (b, a)


def _fidelities(data: Mapping[str, Any], native: Family | None) -> Fidelities | None:
    """Read the fidelities from a device's properties, in each of the service's formats."""
    standardized = data.get("standardized") or {}
    provider = (data.get("provider") or {}).get("fidelity") or {}
    gates, readouts = _one_qubit(standardized.get("oneQubitProperties") or {})
    edges = _two_qubit(standardized.get("twoQubitProperties") or {}, native)
    found = [
        list(told.values()) or _listed(standardized.get(name)) or _listed(provider.get(short))
        for told, name, short in (
            (gates, "singleQubitFidelity", "1Q"),
            (edges, "twoQubitGateFidelity", "2Q"),
            (readouts, "readoutFidelity", "spam"),
        )
    ]
    if not all(found):
        return None
    one, two, read = (
        median([value for value in values if value > _NOT_CALIBRATED] or values) for values in found
    )
    return Fidelities(one, two, read, edges, gates, readouts)


def _listed(entries: Any) -> list[float]:
    """Return the fidelities in a list of calibration entries, or the mean fidelity in a mapping."""
    if isinstance(entries, Mapping):
        return [float(entries["mean"])] if "mean" in entries else []
    return [float(entry["fidelity"]) for entry in entries or ()]


def _one_qubit(qubits: Mapping[str, Any]) -> tuple[dict[int, float], dict[int, float]]:
    """Return the fidelities of gates and of readout on each label."""
    gates, readouts = {}, {}
    for label, properties in qubits.items():
        found = {
            (entry.get("fidelityType") or {}).get("name"): float(entry["fidelity"])
            for entry in properties["oneQubitFidelity"]
        }
        if told := [found[name] for name in _BENCHMARKS if name in found]:
            gates[int(label)] = told[0]
        if "READOUT" in found:
            readouts[int(label)] = found["READOUT"]
    return gates, readouts


def _two_qubit(pairs: Mapping[str, Any], native: Family | None) -> dict[Edge, float]:
    """Return the native gate's fidelity on each pair, or the best gate's where none is known."""
    wanted = _FAMILIES[native][1] if native else None
    edges = {}
    for name, properties in pairs.items():
        a, b = name.split("-")
        entries = properties["twoQubitGateFidelity"]
        values = _listed([one for one in entries if one["gateName"].lower() == wanted] or entries)
        if values:
            edges[_pair(int(a), int(b))] = max(values)
    return edges


def check(
    target: Target, circuit: Circuit, shots: int, placement: Sequence[int] | None = None
) -> None:
    """Check that a device can run a circuit with these shots, before anything is sent.

    Args:
        target: The device.
        circuit: The circuit.
        shots: Shots of one execution.
        placement: The physical label of each qubit, where the caller chose them.

    Raises:
        ValueError: Shots outside the device's range, or a placement that is of wrong length,
            names unknown labels or one twice, or puts two qubits that a gate joins where the
            device joins none.
        UnsupportedByEngine: More qubits than the device has.
    """
    if not target.min_shots <= shots <= target.max_shots:
        expected = f"from {target.min_shots:,} to {target.max_shots:,} on {target.name}"
        if target.max_shots == NO_LIMIT:
            expected = f"at least {target.min_shots:,} on {target.name}"
        hint = "Exact probabilities (0 shots) come from local:sv and local:dm." if not shots else ""
        raise ValueError(must_be("shots", expected, f"{shots:,}", hint))
    if circuit.n_qubits > target.n_qubits:
        hint = "Take fewer qubits and a larger weights_per_outcome, or a larger device."
        expected = f"at most {target.n_qubits} on {target.name}"
        raise UnsupportedByEngine(must_be("n_qubits", expected, circuit.n_qubits, hint))
    if placement is not None:
        _check_placement(target, circuit, tuple(placement))


def _check_placement(target: Target, circuit: Circuit, placement: tuple[int, ...]) -> None:
    if target.labels is None:
        expected = f"None on {target.name}, whose qubits have no labels"
        raise ValueError(must_be("placement", expected, placement))
    if len(placement) != circuit.n_qubits or len(set(placement)) != len(placement):
        expected = f"{circuit.n_qubits} different labels, one for each qubit"
        raise ValueError(must_be("placement", expected, placement))
    unknown = sorted(set(placement) - set(target.labels))
    if unknown:
        known = f"from {target.labels[0]} to {target.labels[-1]}"
        expected = f"labels of {target.name} ({known}, as far as they are in use)"
        raise ValueError(must_be("placement", expected, unknown))
    for a, b in sorted(pairs_of(circuit)):
        if target.edges is not None and _pair(placement[a], placement[b]) not in target.edges:
            expected = f"connected on {target.name} wherever a gate joins two qubits"
            actual = f"{placement[a]} and {placement[b]} for qubits {a} and {b}"
            hint = "Leave it out to have one found."
            raise ValueError(must_be("placement", expected, actual, hint))


def pairs_of(circuit: Circuit) -> frozenset[Edge]:
    """Return the pairs of qubits (smaller first) that the circuit's gates join.

    Args:
        circuit: Any circuit.

    Returns:
        The pairs.

    Example:
        >>> from qtn_train.circuits import ansatz
        >>> sorted(pairs_of(ansatz.u3_cu3_ring(3, 1)))
        [(0, 1), (0, 2), (1, 2)]
    """
    return frozenset(_pair(*gate.qubits) for gate in circuit.gates if len(gate.qubits) == 2)
