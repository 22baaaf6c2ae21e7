"""OpenQASM read: what each construct means, every refusal with its line, limits, mutants."""

import io
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import tolerances
import torch
from hypothesis import given
from hypothesis import strategies as st

from qtn_train.circuits import GATES, Circuit, Gate, gate_matrix
from qtn_train.exchange import ImportedCircuit, _read, export_circuit, import_circuit

seeds = st.integers(0, 2**32)


def unitary(text: str, values: Any = ()) -> np.ndarray:
    found = import_circuit(text)
    return oracle.unitary(found.circuit, found.angles(values))


def same(text: str, other: str) -> None:
    assert oracle.phase_distance(unitary(text), unitary(other)) < tolerances.MATRICES


def controlled(matrix: np.ndarray, count: int = 1) -> np.ndarray:
    wide = np.eye(len(matrix) * 2**count, dtype=complex)
    wide[-len(matrix) :, -len(matrix) :] = matrix
    return wide


# There and back


@given(seed=seeds, n_qubits=st.integers(1, 4), n_gates=st.integers(0, 15))
def test_bound_round_trip_of_gates_that_the_text_has_keeps_every_bit(
    seed: int, n_qubits: int, n_gates: int
) -> None:
    rng = np.random.default_rng(seed)
    names = [name for name in GATES if name not in LOWERED]
    circuit = oracle.random_circuit(rng, n_qubits, n_gates, names)
    angles = rng.normal(size=circuit.n_angles) * 10.0 ** rng.integers(-20, 20, circuit.n_angles)
    found = import_circuit(export_circuit(circuit, angles))
    assert found.circuit == circuit
    assert found.angles().tobytes() == angles.tobytes()
    assert found.measured == tuple(range(n_qubits))


#: Gates that version 3's standard library lacks, or that come back in another form.
LOWERED = ("sxdg", "sy", "iswap", "rxx", "ryy", "rzz", "cu3")


@given(seed=seeds, n_qubits=st.integers(1, 4), n_gates=st.integers(0, 15))
def test_unbound_round_trip_keeps_sharing(seed: int, n_qubits: int, n_gates: int) -> None:
    rng = np.random.default_rng(seed)
    names = [name for name in GATES if name not in LOWERED]
    circuit = oracle.random_circuit(rng, n_qubits, n_gates, names, share=0.5)
    found = import_circuit(export_circuit(circuit))
    assert found.circuit == circuit
    assert found.inputs == tuple(f"p{k:04d}" for k in range(circuit.n_angles))
    np.testing.assert_array_equal(found.A.toarray(), np.eye(circuit.n_angles))


@pytest.mark.parametrize("version", ["openqasm3", "openqasm2"])
@given(seed=seeds)
def test_round_trip_of_any_gate_keeps_the_unitary(version: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    circuit = oracle.random_circuit(rng, 3, 8, (*GATES, "unitary"), share=0.3)
    angles = rng.uniform(-4, 4, circuit.n_angles)
    expected = oracle.unitary(circuit, angles)
    assert (
        oracle.phase_distance(unitary(export_circuit(circuit, angles, version)), expected)
        < tolerances.MATRICES
    )
    if version == "openqasm3":
        text = export_circuit(circuit)
        assert oracle.phase_distance(unitary(text, angles), expected) < tolerances.MATRICES


@pytest.mark.parametrize("value", [5e-324, 1e300, -1e-17, math.pi, 0.1 + 0.2])
def test_unusual_numbers(value: float) -> None:
    text = export_circuit(Circuit.builder(1).rx(0).build(), [value])
    assert import_circuit(text).b.tobytes() == np.array([value]).tobytes()


def test_unused_angles_survive_unbound() -> None:
    circuit = Circuit(1, (Gate("rx", (0,), (2,)),), 4)
    assert import_circuit(export_circuit(circuit)).circuit == circuit


# Sources


def test_text_paths_and_open_files(tmp_path: Path) -> None:
    text = "\ufeffOPENQASM 3.0;\nqubit[2] q;\nh q;\n"
    path = tmp_path / "circuit.qasm"
    path.write_text(text, encoding="utf-8")
    expected = Circuit.builder(2).h(0).h(1).build()
    for source in (text, path, str(path), io.StringIO(text), path.open("rb")):
        assert import_circuit(source).circuit == expected
    with pytest.raises(OSError, match=r"missing\.qasm"):
        import_circuit("missing.qasm")
    with pytest.raises(ValueError, match="`source` must be text in UTF-8; got other bytes"):
        import_circuit(io.BytesIO(b"\xff\xfe;"))
    for wrong in (None, 3, ["h q;"]):
        with pytest.raises(TypeError, match="`source` must be OpenQASM text or its path, or a"):
            import_circuit(wrong)
    with pytest.raises(TypeError, match="`arguments` must be left out for other sources than"):
        import_circuit(text, 1.0)


# What it means


@pytest.mark.parametrize(
    ("text", "equal"),
    [
        ("qreg a[1]; qubit[2] b; x b[1]; cx b[1], a[0];", "qubit[3] q; x q[2]; cx q[2], q[0];"),
        ("qubit[3] q; h q; rx(1/2.) q;", "qubit[3] q; h q[0]; h q[1]; h q[2]; rx(.5) q[0];"
         "rx(.5) q[1]; rx(.5) q[2];"),
        ("qubit[2] a; qubit[2] b; cx a, b;", "qubit[4] q; cx q[0],q[2]; cx q[1],q[3];"),
        ("qubit[2] a; qubit b; cx b, a;", "qubit[3] q; cx q[2],q[0]; cx q[2],q[1];"),
        ("qubit[4] q; x q[1:3]; y q[{0, 2}]; z q[0:2:3]; h q[-1]; s q[3:-1:2];",
         "qubit[4] q; x q[1]; x q[2]; x q[3]; y q[0]; y q[2]; z q[0]; z q[2]; h q[3]; s q[3];"
         "s q[2];"),
        ("qubit[3] q; let a = q[1:2]; let b = q[0] ++ a; x a; h b[0]; s b[2];",
         "qubit[3] q; x q[1]; x q[2]; h q[0]; s q[2];"),
        ("qubit[2] q; barrier q; id q[0]; barrier q[0], q[1]; reset q; barrier; h q[0];",
         "qubit[2] q; h q[0];"),
        ("qubit[2] q; bit c; c = measure q[0]; h q[1];", "qubit[2] q; h q[1];"),
        ("const int n = 3; const float x = pi/n; qubit[n] q; rx(x) q[n-1]; ry(tau) q[0];",
         f"qubit[3] q; rx({math.pi / 3}) q[2]; ry({2 * math.pi}) q[0];"),
        ("qubit[1] q; rx(sin(pi/6) + sqrt(2)**2 - 3 % 2) q[0];", "qubit[1] q; rx(1.5) q[0];"),
        ("qubit[1] q; float a = 1; a = a/4; int k = 7; rx(a + k/2) q[0];",
         "qubit[1] q; rx(3.25) q[0];"),
        ("qubit[4] q; for int i in [0:2] { cx q[i], q[i+1]; rz(pi/2**i) q[i]; }",
         "qubit[4] q; cx q[0],q[1]; rz(pi) q[0]; cx q[1],q[2]; rz(pi/2) q[1]; cx q[2],q[3];"
         "rz(pi/4) q[2];"),
        ("qubit[3] q; for int i in {0, 2} x q[i]; for uint i in [2:-1:1] h q[i];",
         "qubit[3] q; x q[0]; x q[2]; h q[2]; h q[1];"),
        ("const int n = 2; qubit[2] q; if (n > 1) { x q[0]; } else { y q[0]; }",
         "qubit[2] q; x q[0];"),
        ("gate foo(a, b) x, y { rx(a/2) x; barrier x; cx x, y; rz(-b) y; } qubit[2] q;"
         "foo(1, pi) q[1], q[0];", "qubit[2] q; rx(.5) q[1]; cx q[1],q[0]; rz(-pi) q[0];"),
        ("qubit[1] q; gate h a { x a; } h q[0];", "qubit[1] q; x q[0];"),
        ("qubit[1] q; gate x a { h a; } gate y a { x a; } gate x a { s a; } y q[0]; x q[0];",
         "qubit[1] q; h q[0]; s q[0];"),
        ("gate cu3(t, p, l) a, b { cx a, b; } qubit[2] q; cu3(1,2,3) q[0],q[1];",
         "qubit[2] q; cx q[0],q[1];"),
        ("h $3; cx $3, $1;", "qubit[2] q; h q[1]; cx q[1], q[0];"),
        ("#pragma braket verbatim\nbox {\nh $0;\ncz $0, $1;\n}\n",
         "qubit[2] q; h q[0]; cz q[0],q[1];"),
        ("qubit[2] q;\n#pragma braket unitary([[0, -1.0im], [0.0 + 1.0im, 0]]) q[1]\nx q[0];",
         "qubit[2] q; y q[1]; x q[0];"),
        ("qubit[1] q;\n#pragma braket result probability q[0]\n@note this\nx q[0];",
         "qubit[1] q; x q[0];"),
        ('bit[2] c = "01"; qubit[1] q; x q[0]; c[0] = measure q[0];', "qubit[1] q; x q[0];"),
        ("qubit[2] q; h q[0]; /* x q[0]; */ cx q[0] /* a */, // b\n q[1];",
         "qubit[2] q; h q[0]; cx q[0],q[1];"),
    ],
)  # fmt: skip
def test_statements(text: str, equal: str) -> None:
    same(text, equal)


@pytest.mark.parametrize(
    ("version", "angle", "value"),
    [
        ("2.0", "1/2", 0.5),
        ("3.0", "1/2", 0.0),
        ("3.0", "-7/2", -3.0),
        ("3.0", "7/2*2", 6.0),
        ("3.0", "7/2.0", 3.5),
        ("3.0", "pi*(1/2)", 0.0),
        ("2.0", "2^3", 8.0),
        ("3.0", "2^3", 1.0),
        ("3.0", "2**3", 8.0),
        ("3.0", "-2**2", -4.0),
        ("2.0", "ln(exp(2))", 2.0),
        ("3.0", "(7 % 4) << 1", 6.0),
        ("3.0", "int(3.9)", 3.0),
    ],
)
def test_arithmetic_of_each_version(version: str, angle: str, value: float) -> None:
    text = f"OPENQASM {version}; qreg q[1]; rx({angle}) q[0];"
    assert import_circuit(text).b.tolist() == pytest.approx([value], abs=tolerances.DECIMAL_ANGLE)
    # The same in a gate's body, and where the statement takes the slow way.
    inside = f"OPENQASM {version}; gate g a {{ rx({angle}) a; }} qreg q[1]; g q;"
    assert import_circuit(inside).b.tolist() == pytest.approx([value], abs=tolerances.DECIMAL_ANGLE)


def test_parameters_of_a_gate_are_real_numbers() -> None:
    text = "OPENQASM 3.0; gate g(a) x { rx(a/2) x; } qubit[1] q; g(1) q[0]; g(3) q;"
    assert import_circuit(text).b.tolist() == [0.5, 1.5]


@pytest.mark.parametrize("name", [*GATES, "gphase"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_controls_of_every_gate(name: str, count: int) -> None:
    """Phases included: a control makes them matter."""
    spec = GATES.get(name)
    angles = [0.7, -1.1, 2.3][: spec.n_angles if spec else 1]
    matrix = gate_matrix(name, tuple(angles)) if spec else np.array([[np.exp(0.7j)]])
    n = count + (spec.n_qubits if spec else 0)
    inside = f"({', '.join(map(str, angles))})" if angles else ""
    operands = ", ".join(f"q[{k}]" for k in range(n))
    for prefix, expected in (
        (f"ctrl({count}) @", matrix),
        (f"{'ctrl @ ' * count}inv @", matrix.conj().T),
        (f"inv @ ctrl({count}) @ pow(2) @", (matrix @ matrix).conj().T),
    ):
        got = unitary(f"qubit[{n}] q; {prefix} {name}{inside} {operands};")
        assert oracle.phase_distance(got, controlled(expected, count)) < tolerances.MATRICES


@pytest.mark.parametrize("name", [name for name in GATES if GATES[name].n_angles < 2])
def test_fractional_powers(name: str) -> None:
    """The third power of a third of a power, and where on the circle its eigenvalues are."""
    spec = GATES[name]
    angles = (0.9,)[: spec.n_angles]
    inside = f"({angles[0]})" if angles else ""
    n = spec.n_qubits + 1
    operands = ", ".join(f"q[{k}]" for k in range(n))
    text = f"qubit[{n}] q; ctrl @ pow(1/3.) @ {name}{inside} {operands};"
    root = unitary(text)[2 ** (n - 1) :, 2 ** (n - 1) :]
    matrix = gate_matrix(name, angles)
    np.testing.assert_allclose(
        np.linalg.matrix_power(root, 3), matrix, rtol=0, atol=tolerances.MATRICES
    )
    assert np.abs(np.angle(np.linalg.eigvals(root))).max() <= np.pi / 3 + 1e-9


def test_negative_controls_and_the_order_of_modifiers() -> None:
    x = gate_matrix("x")
    got = unitary("qubit[3] q; negctrl @ ctrl @ x q[2], q[0], q[1];")
    permuted = unitary("qubit[3] q; x q[2]; ccx q[2], q[0], q[1]; x q[2];")
    assert oracle.phase_distance(got, permuted) < tolerances.MATRICES
    got = unitary("qubit[2] q; negctrl @ x q[0], q[1];")
    np.testing.assert_allclose(np.abs(got[:2, :2]), np.abs(x), rtol=0, atol=tolerances.MATRICES)


def test_inputs_keep_names_and_stay_linear() -> None:
    text = """
    input float theta; input angle[32] phi; input float unused; qubit[2] q;
    rx(theta) q[0]; ry(2*theta - phi/3 + pi) q[1]; rz(0.25) q[0]; rx(theta) q[1];
    gate g(a) x { rz(a + 1) x; rz(a + 1) x; } g(phi) q[0]; ry(-(phi)) q[0]; crx(phi) q[0], q[1];
    """
    found = import_circuit(text)
    assert found.inputs == ("theta", "phi", "unused")
    assert [gate.angles for gate in found.circuit.gates] == [
        *((0,), (3,), (4,), (0,), (5,), (5,), (6,), (1,)),
    ]  # fmt: skip
    values = {"theta": 0.5, "phi": -0.3, "unused": 9.0}
    expected = [0.5, -0.3, 9.0, 1.0 + 0.1 + math.pi, 0.25, 0.7, 0.3]
    np.testing.assert_allclose(
        found.angles(values), expected, rtol=0, atol=tolerances.DECIMAL_ANGLE
    )
    leaf = torch.tensor([0.5, -0.3, 9.0], dtype=torch.float64, requires_grad=True)
    angles = found.angles(leaf)
    np.testing.assert_allclose(
        angles.detach().numpy(), expected, rtol=0, atol=tolerances.DECIMAL_ANGLE
    )
    (grad,) = torch.autograd.grad(angles[3] + angles[5], leaf)
    np.testing.assert_allclose(
        grad.numpy(), [2.0, 1.0 - 1 / 3, 0.0], rtol=0, atol=tolerances.DECIMAL_ANGLE
    )


def test_angles_messages() -> None:
    found = import_circuit("input float a; qubit[1] q; rx(2*a) q[0];")
    assert repr(found) == (
        "ImportedCircuit(Circuit(n_qubits=1, n_gates=1, n_angles=1), inputs=(a), measured=())"
    )
    with pytest.raises(ValueError, match=r"`values` must be of shape \(1,\); got \(2,\)"):
        found.angles([1.0, 2.0])
    with pytest.raises(ValueError, match=r"`values` must be of the inputs a; got \['b'\]"):
        found.angles({"b": 1.0})


# Measurements


def test_measurements_keep_qubits_and_order() -> None:
    text = """qubit[3] q; bit[2] c; bit d;
    x q[1]; h q[2]; d = measure q[0]; c[1] = measure q[2]; c[0] = measure q[1];"""
    found = import_circuit(text)
    assert found.measured == (1, 2, 0)
    probs = np.abs(oracle.amplitudes(found.circuit, [])) ** 2
    np.testing.assert_allclose(found.measured_probs(probs), [0, 0, 0, 0, 0.5, 0, 0.5, 0])
    np.testing.assert_allclose(
        found.measured_probs(torch.from_numpy(probs)).numpy(), [0, 0, 0, 0, 0.5, 0, 0.5, 0]
    )
    ordered = found.in_measured_order()
    assert ordered.measured == (0, 1, 2)
    other = np.abs(oracle.amplitudes(ordered.circuit, [])) ** 2
    np.testing.assert_allclose(other, [0, 0, 0, 0, 0.5, 0, 0.5, 0])
    subset = import_circuit("qreg q[3]; creg c[5]; x q[2]; measure q[2] -> c[4]; h q[0];")
    assert subset.measured == (2,)
    probs = np.abs(oracle.amplitudes(subset.circuit, [])) ** 2
    np.testing.assert_allclose(subset.measured_probs(probs), [0, 1])
    assert [gate.qubits for gate in subset.in_measured_order().circuit.gates] == [(0,), (1,)]
    assert import_circuit("qubit[2] q; x q; measure q;").measured == (0, 1)
    assert import_circuit("qubit[2] q; bit[2] c = measure q;").measured == (0, 1)
    assert import_circuit("qubit[2] q; x q[0];").measured == ()
    with pytest.raises(ValueError, match=r"`probs` must be of shape \(8,\); got \(4,\)"):
        subset.measured_probs(np.ones(4))
    twice = import_circuit("qubit[1] q; bit[2] c; c[0] = measure q[0]; c[1] = measure q[0];")
    for call in (twice.in_measured_order, lambda: twice.measured_probs(np.ones(2))):
        with pytest.raises(ValueError, match=r"`measured` must be without a repeated qubit; got"):
            call()


# Refusals


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("h q[0]; toffoly q[0];", r"part of a unitary program .*; got 'the unknown gate toffoly'"),
        ("OPENQASM 4.0;", r"must be OPENQASM 2 or 3; got 'OPENQASM 4\.0;'"),
        ('include "my.inc";', r"an include of stdgates\.inc or .*my\.inc.* Copy the file's text"),
        ("opaque g a;", "got 'an opaque gate'"),
        ("if (c == 1) x q[0];", r"got 'feedback \(if\)'\. Measure at the end"),
        ("while (c == 1) { x q[0]; }", r"'feedback \(while\)'"),
        ("switch (1) { case 1 { x q[0]; } }", r"'feedback \(switch\)'"),
        ("x q[0]; reset q[0];", "must be without a reset of a used qubit; got 0. Take a new qubit"),
        (
            "measure q; h q[0];",
            r"without gates on a qubit that was measured; got h on qubits \(0,\)",
        ),
        ("defcal x $0 { play(d0); }", r"'pulses \(defcal\)'"),
        ("cal { play(d0); }", r"'pulses \(cal\)'"),
        ('defcalgrammar "openpulse";', r"'pulses \(defcalgrammar\)'"),
        ("delay[100ns] q[0];", r"'timing \(delay\)'\. Take delays"),
        ("duration d = 3ns;", r"'timing \(duration\)'"),
        ("stretch s;", r"'timing \(stretch\)'"),
        ("box[3ns] { x q[0]; }", r"'timing \(a box with a duration\)'"),
        ("def f(qubit a) { x a; }", r"'a subroutine \(def\)'"),
        ("f(q[0]);", "'a call of a subroutine, or an expression without effect'"),
        ("extern f(int) -> int;", "'an extern function'"),
        ("end;", "'an end before the end'"),
        ("input int n;", "'the input n of another type than float or angle'"),
        ("input float pi;", "'a second declaration of pi'"),
        ("input float a; input float a;", "'a second declaration of a'"),
        ("array[int, 2] a;", "got 'a ArrayType'"),
        ("int n = measure q[0];", r"feedback \(a measurement as a number\)"),
        ("h r[0];", "'r, which was not declared as a qubit register before'"),
        ("h c[0];", "'c, which was not declared as a qubit register before'"),
        ("h q[2];", "'the index 2 of a register of 2'"),
        ("h q[99999999999];", "'the index 99999999999 of a register of 2'"),
        ("measure q[7] -> c[0];", "'the index 7 of a register of 2'"),
        ("measure q -> c[0];", "'a measurement of 2 qubits into 1 bits'"),
        ("h q[0:5];", "'a range outside of a register of 2'"),
        ("h q[0:0:1];", "'a range with step 0'"),
        ("h q[0.5];", "'an index or a size that is no integer'"),
        ("cx q[0], q[0];", "'a call that names one qubit twice'"),
        ("cx q;", "'cx with 0 angles on 1 qubits'"),
        ("h q[0], q[1];", "'h with 0 angles on 2 qubits'"),
        ("u3(1, 2) q[0];", "'u3 with 2 angles on 1 qubits'"),
        ("rx q[0];", "'rx with 0 angles on 1 qubits'"),
        ("rx(theta) q[0];", "'the unknown name theta'"),
        ("rx(c) q[0];", "'c in an expression: it is no number'"),
        ("rx(1/0) q[0];", "an expression without a value"),
        ("rx(1.0/0) q[0];", "an expression without a value"),
        ("rx(sqrt(-1)) q[0];", "an expression without a value"),
        ("rx((-1)**0.5) q[0];", "'a root of a negative number'"),
        ("rx(9**9**9) q[0];", "'too large a power'"),
        ("rx(1 << 99999) q[0];", "'a shift by 99999'"),
        ("rx(f(1)) q[0];", "'a call of the function f'"),
        ("rx(__import__('os')) q[0];", "must be OpenQASM"),
        ("rx(1+) q[0];", "must be OpenQASM"),
        ("rx(1im) q[0];", "an expression of kind ImaginaryLiteral"),
        ("rx(" + "(" * 500 + "1" + ")" * 500 + ") q[0];", "of at most 100 nested brackets"),
        ("rx(" + "-" * 100_000 + "1) q[0];", "of at most 100 signs in a row; got 'x"),
        ("bit b = " + "! ~ " * 51 + "1;", "of at most 100 signs in a row; got 'bit b"),
        ("rx(" + "9" * 5000 + ") q[0];", "must be of finite angles; got inf"),
        ("rx(1e999) q[0];", "must be of finite angles; got inf"),
        ("input float a; rx(a*a) q[0];", "'an angle that is not linear in the inputs'"),
        ("input float a; rx(sin(a)) q[0];", "sin of an input: angles must be linear in the inputs"),
        ("input float a; rx(1/a) q[0];", "'an angle that is not linear in the inputs'"),
        ("input float a; pow(a) @ x q[0];", "'a power by an input'"),
        ("input float a; if (a > 0) { x q[0]; }", r"feedback \(if\)"),
        (
            "pow(0.5) @ u3(1,2,3) q[0];",
            "`line 3` must be an integer, or of one gate without angles",
        ),
        ("ctrl(0) @ x q[0];", "a number of controls that is no integer of at least 1"),
        ("qubit[12] r; ctrl(11) @ x r;", "`line 3` must be "),
        ("gphase(1) q[0];", "'gphase on qubits that do not control it'"),
        ("gate g a { reset a; } g q[0];", "`line 3` must be "),
        ("gate g a { x b; } g q[0];", "a qubit in the definition of g that it does not take"),
        ("gate g a, b { cx a, a; } g q[0], q[1];", "one qubit twice in the definition of g"),
        ("gate g a, a { x a; }", "'the definition of g with one name twice'"),
        ("gate g a { g a; } g q[0];", "'the unknown gate g'"),
        ("gate g(x) a { rx(x) a; } g q[0];", "it takes 1 angles and 1 qubits"),
        ("for int i in [0:100000000] { x q[0]; }", "'more than 2000000 statements, loops"),
        ("for int i in [2**200:-7:-2**200] { x q[0]; }", "'more than 2000000 statements, loops"),
        ("for int i in c { x q[0]; }", "a loop over something else than a range"),
        ("qubit[100000] r;", "at most 10000 qubits; got '100002 qubits'"),
        ("qubit[0] r;", "'a register of size 0'"),
        ("qubit[-1] r;", "'a register of size -1'"),
        ("qubit[10**9] r;", "'a register of size 1000000000'"),
        ("c[0] = 1;", "an assignment of another form"),
        ("zz_ = 1;", "'the unknown name zz_'"),
        ("#pragma braket noise depolarizing(0.1) q[0]", r"'noise \(pragma braket noise\)'"),
        ("#pragma braket unitary([[1, 1], [0, 1]]) q[0]", "a unitary matrix of 2, 4"),
        ("#pragma braket unitary([[1, 0], [0, 1]]) q", "'a matrix of 2 rows on 2 qubits'"),
        ("#pragma braket unitary(open('x')) q[0]", "`line 3` must be "),
        ("h q[0]", "must be a statement that ends with ;; got 'h q"),
        ("/* open", "must be a statement that ends with ;"),
        ("h q[0);", "of brackets in pairs"),
        ("}", "of brackets in pairs"),
    ],
)
def test_messages(statement: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        import_circuit(f"// line 1\nqubit[2] q; bit[2] c;\n{statement}")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("`line 3` must be")
    assert len(str(caught.value)) < 300


def test_messages_about_whole_programs() -> None:
    with pytest.raises(ValueError, match="`source` must be a program that declares its qubits"):
        import_circuit("OPENQASM 3.0;")
    with pytest.raises(ValueError, match=r"`line 1` must be .*q, which was not declared"):
        import_circuit("h q[0]; qubit[1] q;")


def test_line_numbers_count_comments_blank_lines_and_blocks() -> None:
    text = "OPENQASM 3.0; // one\n\n/* three\n four */ qubit[1]\n q;\n\nh\nq; foo q[0];\n"
    with pytest.raises(ValueError, match=r"`line 8` must be .*'the unknown gate foo'"):
        import_circuit(text)
    text = "qubit[2] q;\nfor int i in [0:1] {\n  h q[i];\n\n  foo q[i];\n}\n"
    with pytest.raises(ValueError, match=r"`line 5` must be .*'the unknown gate foo'"):
        import_circuit(text)


# Limits


@pytest.mark.parametrize("prefix", ["", "inv @ ", "pow(1) @ ", "inv @ pow(1) @ "])
def test_definitions_that_grow_without_bound(prefix: str) -> None:
    lines = ["gate g0 a { x a; x a; }"]
    lines += [f"gate g{k} a {{ {prefix}g{k - 1} a; g{k - 1} a; }}" for k in range(1, 60)]
    with pytest.raises(ValueError, match="more than 2000000 gates in one call"):
        import_circuit("\n".join([*lines, "qubit[1] q; g59 q[0];"]))


def test_definitions_whose_gates_come_to_nothing_do_not_grow() -> None:
    lines = ["gate g0 a { id a; pow(0) @ x a; }", "gate g1 a { g0 a; g0 a; h a; }"]
    lines += [f"gate g{k} a {{ pow(0) @ g{k - 1} a; }}" for k in range(2, 60)]
    found = import_circuit("\n".join([*lines, "qubit[1] q; g1 q[0]; g59 q[0]; g2 q[0];"]))
    assert found.circuit == Circuit.builder(1).h(0).build()


def test_loops_in_loops_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_read, "_MAX_STEPS", 1000)
    loop = "for int i in [0:{0}] {{ for int j in [0:i] {{ x q[0]; }} }}"
    assert len(import_circuit("qubit[1] q; " + loop.format(19)).circuit) == 210
    with pytest.raises(ValueError, match="'more than 1000 statements, loops included'"):
        import_circuit("qubit[1] q; " + loop.format(99))


def test_many_spaces_and_long_comments_are_read_at_once() -> None:
    """Each of these took minutes where reading was quadratic; the tests' own limit would end it."""
    spaces = " " * 300_000
    for text in (
        f"qubit[1] q;{spaces}h{spaces}q[0]{spaces};",
        f"qubit[1] q; h /*{'x' * 1_000_000}*/ q[0];",
        f"qubit[1] q; {'// y' * 250_000}\nh q[0];",
        f"qubit[1] q; {'/**/' * 250_000} h q[0];",
        "qubit[1] q; h q[0];" + ";" * 0 + "\n" * 1_000_000,
    ):
        assert import_circuit(text).circuit == Circuit.builder(1).h(0).build()
    for text in ("(" * 100_000, "{" * 100_000, "/*" * 300_000, '"' * 100_001, "[" * 100_000 + ";"):
        with pytest.raises(ValueError, match="`line 1` must be"):
            import_circuit(f"qubit q; {text};")


def test_many_gates_stay_what_they_are() -> None:
    lines = [f"rx({k}*pi/7) q[{k % 5}];\ncx q[{k % 5}], q[{(k + 1) % 5}];" for k in range(5000)]
    found = import_circuit("\n".join(["OPENQASM 2.0;", "qreg q[5];", *lines]))
    assert len(found.circuit) == 10_000
    np.testing.assert_allclose(
        found.b, np.arange(5000) * math.pi / 7, rtol=tolerances.DECIMAL_ANGLE
    )


# Mutants

PROGRAMS = [
    "OPENQASM 3.0;\ninclude \"stdgates.inc\";\ninput float t;\nqubit[3] q;\nbit[3] c;\n"
    "gate g(a) x, y { rx(a/2) x; ctrl @ rz(-a) x, y; }\ng(2*t + pi) q[0], q[1];\n"
    "for int i in [0:1] { cx q[i], q[i+1]; }\ninv @ pow(2) @ s q[2];\nc = measure q;\n",
    "OPENQASM 2.0;\ninclude \"qelib1.inc\";\nqreg a[2];\nqreg b[2];\ncreg c[2];\nh a;\n"
    "cu3(pi/2,-(1.5)^2,sin(0.3)) a[0],b[1];\nbarrier a,b;\nmeasure a -> c;\n",
    "#pragma braket verbatim\nbox {\nh $0;\ncz $0, $1;\n}\nlet z = $0;\n"
    "#pragma braket unitary([[0, 1.0im], [1, 0]]) $1\nif (1 < 2) { x $3; } else { y $3; }\n",
]  # fmt: skip
PIECES = [
    *"(){}[];,@/*\"'#$.-+eE0123456789\n \\\0π",
    *("ctrl", "pow(", "1e999", "/*", "//", "gate", "qubit", "input float", "measure", "->", "in"),
    *("if", "else", "let", "inv @", "bit", "[0:", "**", "<<", "pragma", "for", "\ufeff", "\r"),
]


def mutant(rng: random.Random) -> str:
    text = rng.choice(PROGRAMS)
    for _ in range(rng.randint(1, 4)):
        at, size = rng.randrange(len(text)), rng.randint(0, 8)
        kind = rng.randrange(3)
        if kind == 0:
            text = text[:at] + text[at + size :]
        elif kind == 1:
            text = text[:at] + rng.choice(PIECES) + text[at:]
        else:
            there = rng.randrange(len(text))
            text = text[:at] + text[there : there + size] + text[at + size :]
    return text


@pytest.mark.parametrize("operands", ["+ $1", "-$1", "$0; x $1", "** $1", "<<$1"])
def test_a_matrix_on_what_are_no_qubits(operands: str) -> None:
    text = f"x $0;\nx $1;\n#pragma braket unitary([[0, 1], [1, 0]]) {operands}\n"
    with pytest.raises(ValueError, match=r"^`line 3` must be "):
        import_circuit(text)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    for call in (
        'h q[0"];',
        "rx(1in 2) q[0];",
        "gate q[0] gate;",
        "#pragma braket unitary([[1in]]) q",
    ):
        with pytest.raises(ValueError, match=r"^`line 2` must be "):
            import_circuit(f"qubit[1] q;\n{call}\n")
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_mutants_are_read_or_refused_in_one_line() -> None:
    rng = random.Random(0)
    refusals: list[tuple[str, str]] = []
    for _ in range(1500):
        text = mutant(rng)
        try:
            found = import_circuit(io.StringIO(text))
        except ValueError as error:
            refusals.append((text, str(error)))
        else:
            assert isinstance(found, ImportedCircuit)
    assert [pair for pair in refusals if "\n" in pair[1] or "must be" not in pair[1]] == []
    assert 100 < len(refusals) < 1400
