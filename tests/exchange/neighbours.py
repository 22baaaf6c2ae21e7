"""What runs in the second environment: Qiskit, PennyLane, Cirq, pytket and mqt.bench.

    make neighbours                                    that environment, in .venv-neighbours
    python tests/exchange/neighbours.py corpus FILE    programs as the exporters write them
    python tests/exchange/neighbours.py texts N        our text, read by the neighbours
    python tests/exchange/neighbours.py gates          each gate definition against Qiskit's matrix
    python tests/exchange/neighbours.py trips NAME N   N random circuits there and back
    python tests/exchange/neighbours.py gradients      PennyLane's backprop of imported circuits

Each prints one JSON line about what was seen. The package is read from this tree: its circuits and
its exchange need nothing that this environment lacks.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import oracle  # noqa: E402
import tolerances  # noqa: E402

from qtn_train.circuits import GATES  # noqa: E402
from qtn_train.exchange import ImportedCircuit, export_circuit, import_circuit  # noqa: E402

# Programs of more qubits than this are not simulated densely here.
MAX_QUBITS = 12


def families() -> Iterator[tuple[str, Any]]:
    """Circuits of Qiskit, without measurements."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import library
    from qiskit.circuit.random import random_circuit

    for n in range(2, 8):
        ghz = QuantumCircuit(n)
        ghz.h(0)
        for k in range(n - 1):
            ghz.cx(k, k + 1)
        yield f"ghz-{n}", ghz
        yield f"qft-{n}", library.QFTGate(n).definition
        edges = [(k, (k + 1) % n) for k in range(n if n > 2 else 1)]
        yield f"qaoa-{n}", qaoa(n, edges, np.random.default_rng(n))
        vqe = library.efficient_su2(n, reps=2)
        yield (
            f"vqe-{n}",
            vqe.assign_parameters(np.random.default_rng(n).normal(size=vqe.num_parameters)),
        )
        yield f"grover-{n}", grover(n)
        yield f"trotter-{n}", trotter(n)
        yield f"hidden-shift-{n}", hidden_shift(n - n % 2)
        for seed in range(3):
            yield f"random-{n}-{seed}", random_circuit(n, 4, max_operands=3, seed=seed)
    for n in range(1, 4):
        yield f"adder-{n}", library.CDKMRippleCarryAdder(n).decompose()


def qaoa(n: int, edges: list[tuple[int, int]], rng: Any) -> Any:
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(n)
    circuit.h(range(n))
    for _ in range(2):
        gamma, beta = rng.normal(size=2)
        for a, b in edges:
            circuit.rzz(gamma, a, b)
        circuit.rx(2 * beta, range(n))
    return circuit


def grover(n: int) -> Any:
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(n)
    circuit.h(range(n))
    for _ in range(2):
        circuit.h(n - 1)
        circuit.mcx(list(range(n - 1)), n - 1)
        circuit.h(n - 1)
        circuit.h(range(n))
        circuit.x(range(n))
        circuit.mcp(np.pi, list(range(n - 1)), n - 1)
        circuit.x(range(n))
        circuit.h(range(n))
    return circuit


def trotter(n: int) -> Any:
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(n)
    for step in range(3):
        for k in range(n - 1):
            circuit.rxx(0.2, k, k + 1)
            circuit.ryy(0.2, k, k + 1)
            circuit.rzz(0.2 + 0.1 * step, k, k + 1)
        circuit.rz(0.3, range(n))
        circuit.ry(0.1, 0)
    return circuit


def hidden_shift(n: int) -> Any:
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(n)
    for part in range(3):
        circuit.h(range(n))
        if part == 0:
            circuit.x(0)
        if part < 2:
            for k in range(0, n, 2):
                circuit.cz(k, k + 1)
            circuit.x(0)
        circuit.barrier()
    return circuit


def benchmarks() -> Iterator[tuple[str, Any]]:
    """Circuits of mqt.bench, with their measurements."""
    from mqt.bench import BenchmarkLevel, get_benchmark
    from mqt.bench.benchmarks import get_available_benchmark_names

    for name in get_available_benchmark_names():
        for size in (3, 4, 5, 6):
            for level in (BenchmarkLevel.ALG, BenchmarkLevel.INDEP):
                try:
                    yield f"mqt-{name}-{level.name}-{size}", get_benchmark(name, level, size)
                except Exception as error:  # not every benchmark exists at every size
                    print(f"{name} at {size}: {error}"[:100], file=sys.stderr)


def aer_probs(circuit: Any) -> tuple[np.ndarray, list[int]] | None:
    """Probabilities of all qubits before the measurements, ours in order; the qubit of each bit."""
    from qiskit import transpile
    from qiskit_aer import AerSimulator

    bare, measured = circuit.copy(), {}
    slot = {bit: k for k, bit in enumerate(circuit.clbits)}
    place = {qubit: k for k, qubit in enumerate(circuit.qubits)}
    for one in circuit.data:
        if hasattr(one.operation, "blocks") or one.operation.name in ("reset", "initialize"):
            return None
        if one.operation.name == "measure":
            measured[slot[one.clbits[0]]] = place[one.qubits[0]]
    bare.remove_final_measurements()
    bare.data = [one for one in bare.data if one.operation.name != "measure"]
    simple = transpile(bare, basis_gates=BASIS, optimization_level=0)
    simple.save_statevector()
    state = AerSimulator(method="statevector").run(simple).result()
    amplitudes = np.asarray(state.get_statevector())
    n = circuit.num_qubits
    ours = np.abs(amplitudes.reshape((2,) * n).transpose(range(n)[::-1]).ravel()) ** 2
    return ours, [measured[bit] for bit in sorted(measured)]


BASIS = ["u", "cx", "p", "rz", "ry", "rx", "h", "x", "id"]
#: Transpiled without optimization, whose new gates are only right to 1e-7.
PLAIN = ["h", "x", "rz", "ry", "rx", "cx"]


def exporters() -> dict[str, Callable[[Any], str]]:
    from qiskit import qasm2, qasm3, transpile

    def by_pytket(circuit: Any) -> str:
        from pytket.extensions.qiskit import qiskit_to_tk
        from pytket.qasm import circuit_to_qasm_str

        return circuit_to_qasm_str(qiskit_to_tk(circuit), header="qelib1", maxwidth=128)

    def by_cirq(circuit: Any) -> str:
        import cirq
        from cirq.contrib.qasm_import import circuit_from_qasm

        plain = transpile(circuit, basis_gates=PLAIN, optimization_level=0)
        made = circuit_from_qasm(qasm2.dumps(plain))
        order = [q for reg in plain.qregs for q in (f"{reg.name}_{k}" for k in range(reg.size))]
        return made.to_qasm(qubit_order=[cirq.NamedQubit(name) for name in order])

    def by_pennylane(circuit: Any) -> str:
        import pennylane as qml

        found = import_circuit(transpile(circuit, basis_gates=PLAIN, optimization_level=0))
        tape = export_circuit(found.circuit, found.angles(), "pennylane")
        # Without its wires, a tape's qubits are numbered in the order of their first gates.
        wires = range(found.circuit.n_qubits)
        return str(qml.to_openqasm(tape, wires=wires, measure_all=False))

    return {
        "qiskit2": lambda c: qasm2.dumps(c),
        "qiskit3": lambda c: qasm3.dumps(c),
        "pytket": by_pytket,
        "cirq": by_cirq,
        "pennylane": by_pennylane,
    }


def corpus(target: str) -> dict[str, Any]:
    made, failed = 0, 0
    with Path(target).open("w") as file:
        for name, circuit in [*families(), *benchmarks()]:
            if circuit.num_qubits > MAX_QUBITS:
                continue
            try:
                known = aer_probs(circuit)
            except Exception as error:
                print(name, "Aer:", str(error)[:100], file=sys.stderr)
                known = None
            tools = exporters()
            if name.startswith("mqt"):
                tools = {key: tools[key] for key in ("qiskit2", "qiskit3")}
            for tool, write in tools.items():
                try:
                    text = write(circuit)
                except Exception as error:
                    print(name, tool, str(error)[:100].replace("\n", " "), file=sys.stderr)
                    failed += 1
                    continue
                row = {"name": f"{name}-{tool}", "text": text}
                if known is not None:
                    keeps = tool.startswith(("qiskit", "pytket"))
                    row |= {"probs": known[0].tolist(), "measured": known[1] if keeps else None}
                file.write(json.dumps(row) + "\n")
                made += 1
    return {"programs": made, "not written by their exporter": failed}


def unitary_of(found: ImportedCircuit, values: Any = ()) -> np.ndarray:
    return oracle.unitary(found.circuit, found.angles(values))


def reversed_bits(matrix: np.ndarray) -> np.ndarray:
    """Qiskit's matrix with qubit 0 as the most significant bit."""
    n = len(matrix).bit_length() - 1
    axes = [*range(n)[::-1], *range(n, 2 * n)[::-1]]
    return matrix.reshape((2,) * (2 * n)).transpose(axes).reshape(matrix.shape)


#: Name in a program -> Qiskit's class, where Qiskit's list of standard gates lacks it.
EXTRA = {
    **{"c3x": "C3XGate", "c4x": "C4XGate", "c3sqrtx": "C3SXGate", "rc3x": "RC3XGate"},
    **{"u1": "U1Gate", "u2": "U2Gate", "u3": "U3Gate", "cu1": "CU1Gate", "cu3": "CU3Gate"},
    **{"sxdg": "SXdgGate", "csdg": "CSdgGate", "c3sx": "C3SXGate"},
}


def gates() -> dict[str, Any]:
    """Names that Qiskit and the reader share: equal unitaries up to a phase, controlled too."""
    from qiskit.circuit import library
    from qiskit.circuit.library import get_standard_gate_name_mapping

    standard = {name: type(gate) for name, gate in get_standard_gate_name_mapping().items()}
    standard |= {name: getattr(library, cls) for name, cls in EXTRA.items()}
    checked, worst = [], 0.0
    rng = np.random.default_rng(0)
    template = get_standard_gate_name_mapping()
    for name, cls in sorted(standard.items()):
        if name in ("measure", "reset", "delay", "barrier", "global_phase"):
            continue
        count = len(template[name].params) if name in template else COUNTS.get(name, 0)
        angles = [float(a) for a in rng.uniform(-3, 3, count)]
        gate = cls(*angles)
        inside = f"({', '.join(map(repr, angles))})" if angles else ""
        operands = ", ".join(f"q[{k}]" for k in range(gate.num_qubits))
        for version in ("2.0", "3.0"):
            text = f"OPENQASM {version}; qreg q[{gate.num_qubits}]; {name}{inside} {operands};"
            got = unitary_of(import_circuit(text))
            expected = reversed_bits(np.asarray(gate.to_matrix()))
            worst = max(worst, oracle.phase_distance(got, expected))
        wide = ", ".join(f"q[{k}]" for k in range(gate.num_qubits + 1))
        for modifier in ("ctrl", "negctrl", "ctrl @ inv", "inv @ ctrl", "ctrl @ pow(2)"):
            text = (
                f"OPENQASM 3.0; qubit[{gate.num_qubits + 1}] q; {modifier} @ {name}{inside} {wide};"
            )
            got = unitary_of(import_circuit(text))
            inner = reversed_bits(np.asarray(gate.to_matrix()))
            if "inv" in modifier:
                inner = inner.conj().T
            if "pow" in modifier:
                inner = inner @ inner
            size = len(inner)
            expected = np.eye(2 * size, dtype=complex)
            part = slice(0, size) if modifier == "negctrl" else slice(size, None)
            expected[part, part] = inner
            error = oracle.phase_distance(got, expected)
            assert error < tolerances.WRITTEN, (name, modifier, error)
        checked.append(name)
    assert worst < tolerances.MATRICES, worst
    return {"checked": checked, "worst": worst}


COUNTS = {"u1": 1, "u2": 2, "u3": 3, "cu1": 1, "cu3": 3}


def their_unitary(name: str, made: Any, n: int, free: dict[str, float]) -> np.ndarray:
    """The unitary that the neighbour itself computes of what we exported."""
    if name == "qiskit":
        from qiskit.quantum_info import Operator

        bound = made.assign_parameters(free) if free else made
        return reversed_bits(np.asarray(Operator(bound).data))
    if name == "cirq":
        import cirq

        bound = cirq.resolve_parameters(made, free) if free else made
        return np.asarray(bound.unitary(qubit_order=cirq.LineQubit.range(n)))
    import pennylane as qml

    if callable(made) and not hasattr(made, "operations"):
        return np.asarray(qml.matrix(made, wire_order=range(n))(np.array(list(free.values()))))
    return np.asarray(qml.matrix(made, wire_order=range(n)))


def trips(name: str, number: str) -> dict[str, Any]:
    """Random circuits to the neighbour, checked there, and back."""
    worst = 0.0
    for seed in range(int(number)):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 6))
        names = (*GATES, "unitary")
        circuit = oracle.random_circuit(rng, n, int(rng.integers(1, 25)), names, 0.3)
        angles = rng.uniform(-4, 4, circuit.n_angles)
        expected = oracle.unitary(circuit, angles)
        bound = seed % 2 == 0
        made: Any = export_circuit(circuit, angles if bound else None, name)  # type: ignore[arg-type]
        words = [f"p{k:04d}" for k in range(circuit.n_angles)]
        free = {} if bound else dict(zip(words, angles.tolist(), strict=True))
        if name == "qiskit" and free:
            used = {parameter.name for parameter in made.parameters}
            free = {word: value for word, value in free.items() if word in used}
        worst = max(worst, oracle.phase_distance(their_unitary(name, made, n, free), expected))
        if name == "pennylane" and not bound:
            back, values = back_from_qnode(made, n, angles)
        else:
            back = import_circuit(made)
            values = (
                [free[word] for word in back.inputs] if name != "pennylane" else tape_values(made)
            )
        assert back.circuit.n_qubits == n
        got = oracle.unitary(back.circuit, back.angles(values))
        error = oracle.phase_distance(got, expected)
        assert error < tolerances.WRITTEN, (name, seed, error, circuit)
        worst = max(worst, error)
    assert worst < tolerances.WRITTEN, worst
    return {"neighbour": name, "circuits": int(number), "worst": worst}


def back_from_qnode(apply: Any, n: int, angles: np.ndarray) -> tuple[ImportedCircuit, Any]:
    import pennylane as qml

    @qml.qnode(qml.device("default.qubit", wires=n))
    def node(x: Any) -> Any:
        apply(x)
        return qml.probs(wires=range(n))

    return import_circuit(node, angles), angles


def tape_values(tape: Any) -> list[float]:
    return [float(p) for p in tape.get_parameters() if not np.ndim(p)]


def texts(number: str) -> dict[str, Any]:
    """Our text, read by the neighbours' own readers."""
    import cirq
    from cirq.contrib.qasm_import import circuit_from_qasm
    from pytket.extensions.qiskit import tk_to_qiskit
    from pytket.qasm import circuit_from_qasm_str
    from qiskit import qasm2, qasm3
    from qiskit.quantum_info import Operator

    worst = {"qiskit2": 0.0, "qiskit3": 0.0, "cirq": 0.0, "pytket": 0.0, "pennylane3": 0.0}
    for seed in range(int(number)):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 5))
        circuit = oracle.random_circuit(rng, n, 15, (*GATES, "unitary"))
        angles = rng.uniform(-4, 4, circuit.n_angles)
        expected = oracle.unitary(circuit, angles)
        two = export_circuit(circuit, angles, "openqasm2")
        three = export_circuit(circuit, angles, "openqasm3")
        bare_2, bare_3 = two[: two.rindex("measure")], three[: three.rindex("c = ")]

        def distance(matrix: Any, expected: np.ndarray = expected) -> float:
            return oracle.phase_distance(np.asarray(matrix), expected)

        matrix = reversed_bits(Operator(qasm2.loads(bare_2)).data)
        worst["qiskit2"] = max(worst["qiskit2"], distance(matrix))
        matrix = reversed_bits(Operator(qasm3.loads(bare_3)).data)
        worst["qiskit3"] = max(worst["qiskit3"], distance(matrix))
        made = circuit_from_qasm(bare_2)
        order = [cirq.NamedQubit(f"q_{k}") for k in range(n)]
        matrix = made.unitary(qubit_order=order, qubits_that_should_be_present=order)
        worst["cirq"] = max(worst["cirq"], distance(matrix))
        back = tk_to_qiskit(circuit_from_qasm_str(bare_2))
        worst["pytket"] = max(worst["pytket"], distance(reversed_bits(Operator(back).data)))
        matrix = pennylane_matrix(bare_3, n)
        worst["pennylane3"] = max(worst["pennylane3"], distance(matrix))
    assert max(worst.values()) < 1e-7, worst
    return {"circuits": int(number), "worst": worst}


def pennylane_matrix(text: str, n: int) -> Any:
    import pennylane as qml

    def apply() -> None:
        # Its reader knows the names, but not the include.
        qml.from_qasm3(text.replace('include "stdgates.inc";', ""))()

    return qml.matrix(apply, wire_order=[f"q[{k}]" for k in range(n)])()


def gradients() -> dict[str, Any]:
    """Imported circuits of PennyLane: the gradient through A against PennyLane's own."""
    import pennylane as qml
    from pennylane import numpy as pnp

    n, worst, number = 4, 0.0, 0
    for seed in range(10):
        rng = np.random.default_rng(seed)

        @qml.qnode(qml.device("default.qubit", wires=n), diff_method="backprop")
        def node(x: Any, scale: Any) -> Any:
            qml.AngleEmbedding(x, wires=range(n), rotation="Y")
            for k in range(n):
                qml.CRX(2 * x[0] - scale / 3, wires=[k, (k + 1) % n])
                qml.RZ(x[k] + 0.3, wires=k)
            qml.IsingXX(scale, wires=[0, 2])
            qml.Rot(x[1], 0.5 * x[2], -scale, wires=3)
            return qml.probs(wires=[2, 0])

        x, scale = rng.normal(size=n), float(rng.normal())
        weights = rng.normal(size=4)
        found = import_circuit(node, x, scale)
        values = np.append(x, scale)

        def ours(values: np.ndarray, found: Any = found, weights: Any = weights) -> float:
            state = oracle.amplitudes(found.circuit, found.angles(values))
            return float(weights @ found.measured_probs(np.abs(state) ** 2))

        def loss(x: Any, scale: Any, node: Any = node, weights: Any = weights) -> Any:
            return pnp.dot(weights, node(x, scale))

        theirs = qml.grad(loss)(
            pnp.array(x, requires_grad=True), pnp.array(scale, requires_grad=True)
        )
        theirs = np.append(np.asarray(theirs[0]), float(theirs[1]))
        step = 1e-5
        mine = [
            (ours(values + step * one) - ours(values - step * one)) / (2 * step)
            for one in np.eye(len(values))
        ]
        worst = max(worst, float(np.abs(np.array(mine) - theirs).max()))
        number += 1
    assert worst < tolerances.FINITE_DIFFERENCE, worst
    return {"circuits": number, "worst": worst}


COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {
    "corpus": corpus,
    "gates": gates,
    "trips": trips,
    "texts": texts,
    "gradients": gradients,
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(COMMANDS[sys.argv[1]](*sys.argv[2:])))
