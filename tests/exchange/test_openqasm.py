"""OpenQASM: round trips, both versions of the language, every message, and Braket's reading."""

import math
from pathlib import Path

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtn_train.circuits import ANSATZE, GATES, Circuit, Gate

seeds = st.integers(0, 2**32)


@given(seed=seeds, n_qubits=st.integers(1, 4), n_gates=st.integers(0, 15))
def test_bound_round_trip_keeps_every_bit(seed: int, n_qubits: int, n_gates: int) -> None:
    rng = np.random.default_rng(seed)
    circuit = oracle.random_circuit(rng, n_qubits, n_gates)
    angles = rng.normal(size=circuit.n_angles) * 10.0 ** rng.integers(-20, 20, circuit.n_angles)
    back, values = Circuit.from_openqasm(circuit.to_openqasm(angles))
    assert back == circuit
    assert values.tobytes() == angles.tobytes()


@given(seed=seeds, n_qubits=st.integers(1, 4), n_gates=st.integers(0, 15))
def test_unbound_round_trip_keeps_sharing(seed: int, n_qubits: int, n_gates: int) -> None:
    rng = np.random.default_rng(seed)
    circuit = oracle.random_circuit(rng, n_qubits, n_gates, share=0.5)
    back, values = Circuit.from_openqasm(circuit.to_openqasm())
    assert back == circuit
    assert np.isnan(values).all()


def test_bound_round_trip_of_shared_angles_keeps_the_unitary() -> None:
    rng = np.random.default_rng(3)
    circuit = oracle.random_circuit(rng, 3, 20, share=0.5)
    angles = rng.uniform(-3, 3, circuit.n_angles)
    back, values = Circuit.from_openqasm(circuit.to_openqasm(angles))
    expected = oracle.unitary(circuit, angles)
    np.testing.assert_array_equal(oracle.unitary(back, values), expected)


@pytest.mark.parametrize("value", [-0.0, 5e-324, 1e300, -1e-17, math.pi, 0.1 + 0.2])
def test_unusual_numbers(value: float) -> None:
    text = Circuit.builder(1).rx(0).build().to_openqasm([value])
    assert Circuit.from_openqasm(text)[1].tobytes() == np.array([value]).tobytes()


def test_unused_angles_survive_unbound() -> None:
    circuit = Circuit(1, (Gate("rx", (0,), (2,)),), 4)
    assert Circuit.from_openqasm(circuit.to_openqasm())[0] == circuit


def test_text_of_one_program() -> None:
    circuit = Circuit.builder(2).si(0).cu3(1, 0).ry(1, angles=(0,)).build()
    text = circuit.to_openqasm([0.25, -1.5, 1e-9])
    assert text.startswith('OPENQASM 3.0;\ninclude "stdgates.inc";\ngate cu3(theta, phi, lambda)')
    assert text.endswith(
        "}\nbit[2] c;\nqubit[2] q;\nsdg q[0];\ncu3(0.25, -1.5, 1e-09) q[1], q[0];\n"
        "ry(0.25) q[1];\nc = measure q;\n"
    )
    assert "gate" not in Circuit.builder(1).u3(0).build().to_openqasm().replace("stdgates", "")


def test_openqasm_2() -> None:
    text = """
    // made by hand
    OPENQASM 2.0;
    include "qelib1.inc";
    qreg q[3]; creg c[3];
    h q[0]; sdg q[1]; tdg q[2];  /* two on
    one line */ CX q[0], q[1];
    cu3(pi/2, -(pi - 1)/3, 2*pi) q[0],q[2];
    u3(.5, 1., 1e-3) q[1];
    measure q -> c;
    """
    circuit, angles = Circuit.from_openqasm(text)
    expected = Circuit.builder(3).h(0).si(1).ti(2).cx(0, 1).cu3(0, 2).u3(1).build()
    assert circuit == expected
    pi = math.pi
    assert angles.tolist() == [pi / 2, -(pi - 1) / 3, 2 * pi, 0.5, 1.0, 1e-3]


def test_names_and_spellings() -> None:
    text = (
        "OPENQASM 3;\nbit c; qubit[2] data;\ninput float[64] x; input angle y;\n"
        "cnot data[0],data[1]; si data[0]; ti data[0]; U(x, y, +π) data[1]; u ( x,x , 1 ) data[0];"
        "\nc[0] = measure data[0]; measure data[1] -> c[1]; measure data[0];;"
        "bit[2] d = measure data;"
    )
    circuit, angles = Circuit.from_openqasm(text)
    assert circuit.gates == (
        Gate("cx", (0, 1)),
        Gate("si", (0,)),
        Gate("ti", (0,)),
        Gate("u3", (1,), (0, 1, 2)),
        Gate("u3", (0,), (0, 0, 3)),
    )
    assert np.isnan(angles[:2]).all()
    assert angles[2:].tolist() == [math.pi, 1.0]


def test_a_register_stands_for_all_its_qubits() -> None:
    circuit, angles = Circuit.from_openqasm("qubit[2] q; h q; rx(1/2) q;")
    assert circuit == Circuit.builder(2).h(0).h(1).rx(0).rx(1).build()
    assert angles.tolist() == [0.5, 0.5]
    assert Circuit.from_openqasm("qubit q; h q;")[0] == Circuit.builder(1).h(0).build()


@pytest.mark.parametrize("name", GATES)
def test_each_gate_by_its_openqasm_name(name: str) -> None:
    spec = GATES[name]
    circuit = Circuit.builder(3).add(name, *range(spec.n_qubits)).build()
    assert Circuit.from_openqasm(circuit.to_openqasm())[0] == circuit


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("h q[0]; toffoli q[0];", r"`line 3` must be one of the gates .*; got 'toffoli q\[0\]'\."),
        ("OPENQASM 4.0;", r"`line 3` must be a declaration, a gate call or .*'OPENQASM 4\.0'"),
        ('include "my.inc";', r"`line 3` must be a declaration.*my\.inc"),
        ("gate g a { h a; }", r"`line 3` must be a declaration, .*'gate g a { h a; }'"),
        ("for int i in [0:1] { h q[i]; }", "`line 3` must be a declaration"),
        ("if (c == 1) { x q[0]; }", "`line 3` must be a declaration"),
        ("ctrl @ x q[0], q[1];", "`line 3` must be a declaration"),
        ("barrier q;", "`line 3` must be one of the gates"),
        ("qubit[2] r;", r"`line 3` must be without a second qubit register; got 'qubit\[2\] r'"),
        ("input float pi;", "`line 3` must be an input with a new name; got 'pi'"),
        ("input float a; input float a;", "must be an input with a new name; got 'a'"),
        ("h r[0];", r"`line 3` must be on qubits q\[0…1\]; got 'r\[0\]'"),
        ("h q[2];", r"`line 3` must be on qubits q\[0…1\]; got 'q\[2\]'"),
        ("measure q[7];", r"`line 3` must be on qubits q\[0…1\]; got 'q\[7\]'"),
        ("cx q[0], q[0];", r"`line 3` must be cx with 0 angles on 2 different qubits; got"),
        ("cx q[0];", "must be cx with 0 angles on 2 different qubits"),
        ("cx q;", "must be cx with 0 angles on 2 different qubits"),
        ("cx q, q;", "must be cx with 0 angles on 2 different qubits"),
        ("h q[0], q[1];", "must be h with 0 angles on 1 different qubits"),
        ("u3(1, 2) q[0];", "must be u3 with 3 angles on 1 different qubits"),
        ("rx q[0];", "must be rx with 1 angles on 1 different qubits"),
        ("measure q; h q[0];", "`line 3` must be before all measurements; got 'h q"),
        ("rx(theta) q[0];", r"`line 3` must be an angle made of numbers, pi, .*; got 'theta'"),
        ("rx(2**3) q[0];", "must be an angle made of numbers"),
        ("rx(1/0) q[0];", "must be an angle made of numbers"),
        ("rx(1+) q[0];", "must be an angle made of numbers"),
        ("rx(1)+(2) q[0];", "must be an angle made of numbers"),
        ("rx(True) q[0];", "must be an angle made of numbers"),
        ("rx(1j) q[0];", "must be an angle made of numbers"),
        ("rx('1') q[0];", "must be an angle made of numbers"),
        ("rx(sin(1)) q[0];", "must be an angle made of numbers"),
        ("rx(__import__('os')) q[0];", "must be an angle made of numbers"),
        ("rx(" + "(" * 500 + "1" + ")" * 500 + ") q[0];", "must be an angle made of numbers"),
        ("rx(" + "-" * 100_000 + "1) q[0];", "must be an angle made of numbers"),
        ("rx(" + "9" * 5000 + ") q[0];", "must be an angle made of numbers"),
        ("rx(1e999) q[0];", "must be a finite angle; got '1e999'"),
        ("input float a; rx(2*a) q[0];", r"must be an angle made of numbers, .*; got '2\*a'"),
        ("h q[0]", r"`line 3` must be a statement that ends with ;; got 'h q\[0\]'\."),
        ("/* open", "`line 3` must be a statement that ends with ;"),
    ],
)
def test_messages(statement: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Circuit.from_openqasm(f"// line 1\nqubit[2] q;\n{statement}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_messages_about_registers() -> None:
    with pytest.raises(ValueError, match="`text` must be a program that declares its qubits; got"):
        Circuit.from_openqasm("OPENQASM 3.0;")
    with pytest.raises(ValueError, match="`line 1` must be on qubits declared first; got"):
        Circuit.from_openqasm("h q[0]; qubit[1] q;")
    with pytest.raises(ValueError, match="`line 1` must be a register of at least 1 qubit; got"):
        Circuit.from_openqasm("qreg q[0];")


def test_line_numbers_count_comments_and_blank_lines() -> None:
    text = "OPENQASM 3.0; // one\n\n/* three\n four */ qubit[1]\n q;\n\nh\nq[0]; foo q[0];\n"
    with pytest.raises(ValueError, match="`line 8` must be one of the gates"):
        Circuit.from_openqasm(text)


def test_write_messages() -> None:
    circuit = Circuit.builder(1).rx(0).build()
    with pytest.raises(ValueError, match=r"`angles` must be of shape \(1,\); got \(2,\)"):
        circuit.to_openqasm([1.0, 2.0])
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match=f"`angles` must be finite; got {value}"):
            circuit.to_openqasm([value])


@pytest.mark.slow
def test_reads_what_braket_writes() -> None:
    circuits = pytest.importorskip("braket.circuits")
    theta = circuits.FreeParameter("theta")
    program = circuits.Circuit().h(0).cnot(0, 1).si(1).ti(0).u(0, 0.1, 0.2, 0.3).rx(1, theta)
    program = program.rz(0, theta).ry(0, 1e-20).swap(0, 2).cz(2, 1).measure(range(3))
    circuit, angles = Circuit.from_openqasm(program.to_ir("OPENQASM").source)
    builder = Circuit.builder(3).h(0).cx(0, 1).si(1).ti(0).u3(0, angles=(1, 2, 3))
    builder = builder.rx(1, angles=(0,)).rz(0, angles=(0,)).ry(0).swap(0, 2).cz(2, 1)
    assert circuit == builder.build()
    np.testing.assert_array_equal(angles, [math.nan, 0.1, 0.2, 0.3, 1e-20])


# Braket has no stdgates.inc: it looks for the file beside the program.
STDGATES = """
gate cx a, b { cnot a, b; }
gate sdg a { si a; }
gate tdg a { ti a; }
gate u3(theta, phi, lambda) a { U(theta, phi, lambda) a; }
"""


def run_on_braket(text: str, inputs: dict[str, float] | None = None) -> np.ndarray:
    devices = pytest.importorskip("braket.devices")
    openqasm = pytest.importorskip("braket.ir.openqasm")
    source = text.replace("c = measure q;", "#pragma braket result state_vector")
    program = openqasm.Program(source=source, inputs=inputs)
    result = devices.LocalSimulator("braket_sv").run(program, shots=0).result()
    return np.asarray(result.values[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["all gates", "u3-cu3-ring", "hardware-efficient"])
def test_braket_runs_what_we_write(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same amplitudes in the same order: plain, portable, and with declared inputs."""
    (tmp_path / "stdgates.inc").write_text(STDGATES)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    if name == "all gates":
        builder = Circuit.builder(3)
        for gate in (*GATES, *reversed(GATES)):
            builder.add(gate, *(int(q) for q in rng.permutation(3)[: GATES[gate].n_qubits]))
        circuit = builder.build()
    else:
        circuit = ANSATZE[name](3, 2)
    angles = rng.uniform(-3, 3, circuit.n_angles)
    expected = oracle.amplitudes(circuit, angles)
    lowered = circuit.portable()
    bound = lowered.circuit.to_openqasm(lowered.angles(angles))
    assert "gate" not in bound.replace("stdgates", "")
    assert oracle.phase_distance(run_on_braket(bound), expected) < 1e-12
    assert oracle.phase_distance(run_on_braket(circuit.to_openqasm(angles)), expected) < 1e-12
    inputs = {f"p{index:04d}": float(value) for index, value in enumerate(angles)}
    unbound = run_on_braket(circuit.to_openqasm(), inputs)
    assert oracle.phase_distance(unbound, expected) < 1e-12


@pytest.mark.slow
def test_braket_counts_have_our_bit_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program as it is, measurement included: |100⟩ is counted as "100"."""
    devices = pytest.importorskip("braket.devices")
    openqasm = pytest.importorskip("braket.ir.openqasm")
    (tmp_path / "stdgates.inc").write_text(STDGATES)
    monkeypatch.chdir(tmp_path)
    text = Circuit.builder(3).x(0).build().to_openqasm([])
    result = devices.LocalSimulator().run(openqasm.Program(source=text), shots=20).result()
    assert dict(result.measurement_counts) == {"100": 20}
