"""What a program gives: exact probabilities from Braket's own simulator, then seeded counts.

Circuits of more than 20 qubits are drawn bit by bit from quimb's ``CircuitMPS`` instead.

A program is parsed once (ANTLR takes most of the time of a run); each set of inputs is put into
the parsed gates. Nothing here knows of tasks, HTTP or money.
"""

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import sympy
from braket.default_simulator.density_matrix_simulation import DensityMatrixSimulation
from braket.default_simulator.openqasm.interpreter import Interpreter
from braket.default_simulator.openqasm.parser.openqasm_parser import parse as parse_text
from braket.default_simulator.openqasm.program_context import ProgramContext
from braket.default_simulator.operation import KrausOperation
from braket.default_simulator.state_vector_simulation import StateVectorSimulation

from . import _wide

Inputs = Mapping[str, float]
MAX_QUBITS = 20  # of a state vector here; wider circuits are matrix product states
_CACHE: dict[bytes, np.ndarray] = {}  # exact probabilities, by program and inputs


class _Context(ProgramContext):  # type: ignore[misc]
    """Braket's interpreter, which also notes each gate's name and whether it is verbatim."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: list[tuple[str, tuple[int, ...], bool]] = []

    def add_gate_instruction(self, gate_name: str, target: Any, *rest: Any, **options: Any) -> None:
        self.gates.append((gate_name, tuple(target), self.in_verbatim_box))
        super().add_gate_instruction(gate_name, target, *rest, **options)


@dataclass(frozen=True)
class Parsed:
    """A program that is read: gates that may hold symbols, in the simulator's qubit numbers."""

    text: str  # canonical
    operations: tuple[Any, ...]
    gates: tuple[tuple[str, tuple[int, ...], bool], ...]  # name, qubits as in the text, verbatim
    qubits: tuple[int, ...]  # as in the text, sorted; number k in the simulator is qubits[k]
    measured: tuple[int, ...]  # as in the text, in the order of the bits
    symbols: frozenset[str]


def canonical(source: str) -> str:
    """Return the text with its input declarations sorted: their order is not reproducible."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    inputs = sorted(line for line in lines if line.startswith("input "))
    others = [line for line in lines if not line.startswith("input ")]
    return "\n".join([*others[:1], *inputs, *others[1:]])


@lru_cache(maxsize=512)
def parse(text: str) -> Parsed:
    """Read a canonical program; raises whatever the simulator raises on a wrong one."""
    context = _Context()
    Interpreter(context).visit(parse_text(text))
    circuit = context.circuit
    if context.is_branched:
        raise ValueError("Mid-circuit measurements are not supported.")
    if circuit.results:
        raise ValueError("Result types are not supported: measure the qubits.")
    circuit.validate_single_measured_register()
    measured = tuple(circuit.measured_qubits or sorted(circuit.qubit_set))
    qubits = tuple(sorted(circuit.qubit_set))
    number = {label: k for k, label in enumerate(qubits)}
    for operation in circuit.instructions:
        operation._targets = tuple(number[q] for q in operation.targets)
    symbols = {
        symbol.name
        for operation in circuit.instructions
        for _, value in _symbolic(operation)
        for symbol in value.free_symbols
    }
    return Parsed(
        text,
        tuple(circuit.instructions),
        tuple(context.gates),
        qubits,
        measured,
        frozenset(symbols),
    )


def _symbolic(operation: Any) -> list[tuple[str, sympy.Expr]]:
    """Return the attributes of a gate that hold free symbols."""
    pairs = vars(operation).items()
    return [(k, v) for k, v in pairs if isinstance(v, sympy.Expr) and v.free_symbols]


def _bind(operation: Any, inputs: Inputs) -> Any:
    symbolic = _symbolic(operation)
    if not symbolic:
        return operation
    bound = copy.copy(operation)
    for name, value in symbolic:
        number = inputs[value.name] if value.is_Symbol else value.evalf(subs=dict(inputs))
        setattr(bound, name, float(number))
    return bound


def probabilities(parsed: Parsed, inputs: Inputs) -> np.ndarray:
    """Return the exact probabilities of the measured bits, first bit most significant."""
    key = hashlib.sha256(f"{parsed.text}\n{sorted(inputs.items())}".encode()).digest()
    found = _CACHE.get(key)
    if found is None:
        found = _CACHE[key] = _simulate(parsed, inputs)
        while len(_CACHE) * found.size > 2**23:  # about 64 MB
            _CACHE.pop(next(iter(_CACHE)))
    return found


def _bound(parsed: Parsed, inputs: Inputs) -> list[Any]:
    """Return the gates with the inputs put into them."""
    missing = parsed.symbols - set(inputs)
    if missing:
        raise ValueError(f"Missing input variable {min(missing)!r}.")
    return [_bind(operation, inputs) for operation in parsed.operations]


def _noisy(operations: list[Any]) -> bool:
    return any(isinstance(operation, KrausOperation) for operation in operations)


def _simulate(parsed: Parsed, inputs: Inputs) -> np.ndarray:
    n, operations = len(parsed.qubits), _bound(parsed, inputs)
    noisy = _noisy(operations)
    simulation = DensityMatrixSimulation(n, 0) if noisy else StateVectorSimulation(n, 0, 1)
    simulation.evolve(operations)
    table = np.asarray(simulation.probabilities, dtype=float).reshape([2] * n)
    axes = [parsed.qubits.index(q) for q in parsed.measured]
    rest = [k for k in range(n) if k not in axes]
    marginal: np.ndarray = table.transpose([*axes, *rest]).reshape(2 ** len(axes), -1).sum(axis=1)
    return marginal


def bits(parsed: Parsed, inputs: Inputs, shots: int, seed: int) -> np.ndarray:
    """Return ``shots`` rows of measured bits, the same in any process for the same program.

    The seed is a hash of the canonical text, the inputs to nine decimals, the shots and ``seed``.
    Uniform numbers go through the cumulative distribution, so that inputs that differ in their
    last bits give the same outcomes.
    """
    rounded = {k: round(float(v), 9) + 0.0 for k, v in inputs.items()}
    text = json.dumps([parsed.text, rounded, shots, seed], sort_keys=True)
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
    rng = np.random.Generator(np.random.Philox(key=key))
    if len(parsed.qubits) > MAX_QUBITS:
        return _wide_bits(parsed, inputs, shots, rng)
    cumulative = np.cumsum(probabilities(parsed, inputs))
    uniform = rng.random(shots) * cumulative[-1]
    found = np.searchsorted(cumulative, uniform, side="right")
    numbers = np.minimum(found, np.flatnonzero(np.diff(cumulative, prepend=0.0))[-1])
    shown: np.ndarray = (numbers[:, None] >> np.arange(len(parsed.measured) - 1, -1, -1)) & 1
    return shown


def _wide_bits(parsed: Parsed, inputs: Inputs, shots: int, rng: np.random.Generator) -> np.ndarray:
    n, operations = len(parsed.qubits), _bound(parsed, inputs)
    if _noisy(operations):
        raise ValueError(f"The loopback service simulates noise on {MAX_QUBITS} qubits at most.")
    state, order = _wide.sites(operations, n)
    drawn: np.ndarray = _wide.drawn(state, order, rng.random((shots, n)))
    return drawn[:, [parsed.qubits.index(qubit) for qubit in parsed.measured]]


def input_sets(inputs: Mapping[str, Any] | None) -> Iterator[dict[str, float]]:
    """Yield the sets of inputs of one program of a program set."""
    if not inputs:
        yield {}
        return
    for values in zip(*inputs.values(), strict=True):
        yield dict(zip(inputs, values, strict=True))
