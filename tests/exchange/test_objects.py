"""Objects of the packages that are installed beside this one: Braket and quimb, both ways.

``QTN_TRAIN_TRIPS`` names the number of round trips; `make neighbours` makes 200.
"""

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import oracle
import pytest
import tolerances

from qtn_train.circuits import GATES, Circuit
from qtn_train.exchange import export_circuit, import_circuit

N_TRIPS = int(os.environ.get("QTN_TRAIN_TRIPS", "25"))


def random_case(seed: int) -> tuple[Circuit, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n_qubits = int(rng.integers(1, 6))
    circuit = oracle.random_circuit(
        rng, n_qubits, int(rng.integers(1, 25)), (*GATES, "unitary"), 0.3
    )
    angles = rng.uniform(-4, 4, circuit.n_angles)
    return circuit, angles, oracle.unitary(circuit, angles)


@pytest.mark.parametrize("seed", range(N_TRIPS))
def test_braket_there_and_back(seed: int) -> None:
    """Braket's own unitary of what we export, and the way back, bound and free."""
    pytest.importorskip("braket.circuits")
    circuit, angles, expected = random_case(seed)
    bound = export_circuit(circuit, angles, "braket")
    assert oracle.phase_distance(np.asarray(bound.to_unitary()), expected) < tolerances.WRITTEN
    back = import_circuit(bound)
    assert (
        oracle.phase_distance(oracle.unitary(back.circuit, back.angles()), expected)
        < tolerances.WRITTEN
    )
    assert back.measured == tuple(range(circuit.n_qubits))
    free = export_circuit(circuit, to="braket")
    values = {f"p{k:04d}": float(value) for k, value in enumerate(angles)}
    back = import_circuit(free)
    used = {name: values[name] for name in back.inputs}
    assert list(back.inputs) == sorted(back.inputs)
    got = oracle.unitary(back.circuit, back.angles(used))
    assert oracle.phase_distance(got, expected) < tolerances.WRITTEN


def test_braket_dialect() -> None:
    circuits = pytest.importorskip("braket.circuits")
    theta = circuits.FreeParameter("theta")
    made = circuits.Circuit().h(0).v(1).vi(0).gpi(0, 0.3).gpi2(1, 0.4).prx(0, 0.5, 0.6)
    made.ms(0, 1, 0.1, 0.2, 0.3).xy(0, 1, 0.7).pswap(1, 2, 0.8).ecr(0, 2).cv(1, 0)
    made.cphaseshift00(0, 1, 0.9).cphaseshift01(1, 2, 1.0).cphaseshift10(2, 0, 1.1)
    made.zz(0, 1, 0.5).x(2, control=[0, 1], control_state=[0, 0]).rx(1, 0.4, control=0, power=3)
    made.gphase(0.2).u(2, 0.1, 0.2, 0.3).ccnot(2, 1, 0).iswap(0, 2).ry(1, 2 * theta + 0.5)
    found = import_circuit(made)
    assert found.inputs == ("theta",)
    expected = np.asarray(made.make_bound_circuit({"theta": 0.25}).to_unitary())
    got = oracle.unitary(found.circuit, found.angles([0.25]))
    assert oracle.phase_distance(got, expected) < tolerances.WRITTEN


def test_braket_control_states() -> None:
    """As its simulator applies them; its ``to_unitary`` takes the states in the other order."""
    circuits, devices = (
        pytest.importorskip("braket.circuits"),
        pytest.importorskip("braket.devices"),
    )
    for outcome in range(8):
        made = circuits.Circuit()
        for qubit in range(3):
            made.x(qubit) if outcome >> (2 - qubit) & 1 else made.i(qubit)
        made.x(2, control=[0, 1], control_state=[0, 1])
        found = import_circuit(made)
        ours = np.abs(oracle.amplitudes(found.circuit, found.angles())) ** 2
        made.probability([0, 1, 2])
        theirs = devices.LocalSimulator().run(made, shots=0).result().values[0]
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerances.MATRICES)


def test_braket_refusals() -> None:
    circuits = pytest.importorskip("braket.circuits")
    with pytest.raises(ValueError, match="`source` must be a circuit with gates; got none"):
        import_circuit(circuits.Circuit())
    with pytest.raises(ValueError, match="noise"):
        import_circuit(circuits.Circuit().h(0).bit_flip(0, 0.1))
    with pytest.raises(TypeError, match=r"`source` must be a braket\.circuits\.Circuit; got Gate"):
        import_circuit(circuits.Gate(1, ["A"]))


@pytest.mark.parametrize("seed", range(N_TRIPS))
def test_quimb_there_and_back(seed: int) -> None:
    circuit, angles, expected = random_case(seed)
    made = export_circuit(circuit, angles, "quimb")
    amplitudes = np.asarray(made.to_dense(optimize="greedy")).ravel()
    assert oracle.phase_distance(amplitudes, expected[:, 0]) < tolerances.WRITTEN
    back = import_circuit(made)
    assert (
        oracle.phase_distance(oracle.unitary(back.circuit, back.angles()), expected)
        < tolerances.WRITTEN
    )


@pytest.mark.parametrize("kind", ["Circuit", "CircuitMPS"])
def test_gates_of_quimb(kind: str) -> None:
    import quimb.tensor as qtn

    made = getattr(qtn, kind)(3)
    for label, *rest in [
        *(("H", 0), ("X", 1), ("Y", 2), ("Z", 0), ("S", 1), ("SDG", 1), ("T", 2), ("TDG", 0)),
        *(("X_1_2", 0), ("Y_1_2", 1), ("Z_1_2", 2), ("W_1_2", 0), ("HZ_1_2", 1), ("IDEN", 0)),
        *(("RX", 0.3, 0), ("RY", 0.4, 1), ("RZ", 0.5, 2), ("U3", 0.1, 0.2, 0.3, 0)),
        *(("U2", 0.7, 0.8, 1), ("U1", 0.9, 2), ("CX", 0, 1), ("CY", 1, 2), ("CZ", 2, 0)),
        *(("ISWAP", 0, 1), ("SWAP", 1, 2), ("IS", 1, 0), ("FSIM", 0.2, 0.3, 1, 2)),
        *(("FS", 0.1, 0.4, 0, 1), ("RZZ", 0.6, 0, 1), ("RXX", 0.6, 1, 2), ("RYY", 0.6, 0, 1)),
        *(("CU3", 0.1, 0.2, 0.3, 0, 1), ("CU1", 0.3, 1, 2), ("CRX", 0.3, 0, 1)),
        *(("GIVENS", 0.3, 0, 1), ("XXPLUSYY", 0.3, 0.4, 0, 1), ("XXMINUSYY", 0.3, 0.4, 1, 2)),
    ]:
        made.apply_gate(label, *rest)
    if kind == "Circuit":
        made.apply_gate("X", 2, controls=[0, 1])
        made.apply_gate("RX", 0.3, 0, controls=[2])
    found = import_circuit(made)
    got = oracle.amplitudes(found.circuit, found.angles())
    assert (
        oracle.phase_distance(got, np.asarray(made.to_dense(optimize="greedy")).ravel())
        < tolerances.WRITTEN
    )
    assert "rx" in {gate.name for gate in found.circuit.gates}


def test_export_messages() -> None:
    circuit = Circuit.builder(1).rx(0).build()
    with pytest.raises(ValueError, match=r"`angles` must be of shape \(1,\); got \(2,\)"):
        export_circuit(circuit, [1.0, 2.0])
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match=f"`angles` must be finite; got {value}"):
            export_circuit(circuit, [value])
    wrong: Any = "qasm"
    with pytest.raises(ValueError, match=r"`to` must be one of openqasm3, .*; got 'qasm'"):
        export_circuit(circuit, to=wrong)
    with pytest.raises(ValueError, match=r"`angles` must be given for 'openqasm2'; got None\."):
        export_circuit(circuit, to="openqasm2")
    with pytest.raises(ValueError, match=r"`angles` must be given for 'quimb'; got None"):
        export_circuit(circuit, to="quimb")


def test_text_of_one_program() -> None:
    circuit = Circuit.builder(2).si(0).cu3(1, 0).ry(1, angles=(0,)).rzz(0, 1).build()
    assert export_circuit(circuit, [0.25, -1.5, 1e-9, 2.0]) == (
        'OPENQASM 3.0;\ninclude "stdgates.inc";\nbit[2] c;\nqubit[2] q;\nsdg q[0];\n'
        "cu(0.25, -1.5, 1e-09, 0) q[1], q[0];\nry(0.25) q[1];\n"
        "cx q[0], q[1];\nrz(2.0) q[1];\ncx q[0], q[1];\nc = measure q;\n"
    )
    assert export_circuit(Circuit.builder(1).u2(0).build(), [0.1, 0.2], "openqasm2") == (
        'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[1];\ncreg c[1];\nu2(0.1, 0.2) q[0];\n'
        "measure q -> c;\n"
    )


def test_no_neighbour_is_imported_for_text() -> None:
    code = (
        "import sys, json; from qtn_train.exchange import import_circuit, export_circuit\n"
        "found = import_circuit('qubit[1] q; rx(1.5) q[0];')\n"
        "export_circuit(found.circuit)\n"
        "names = {'qiskit', 'pennylane', 'cirq', 'braket', 'quimb', 'torch'}\n"
        "print(json.dumps(sorted(names & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


# An imported program goes out as it came


def test_an_imported_program_keeps_its_inputs_constants_and_measurements() -> None:
    text = (
        "input float x; input float th; qubit[3] q; bit[2] c;"
        "rx(2*x - th + 1) q[0]; cu3(th, 0.5, x) q[0], q[2]; u2(0.25, x) q[1];"
        "c[0] = measure q[2]; c[1] = measure q[1];"
    )
    found, values = import_circuit(text), [0.4, -1.3]
    expected = oracle.unitary(found.circuit, found.angles(values))
    again = import_circuit(export_circuit(found))
    assert (again.inputs, again.measured) == (("x_", "th"), (2, 1))
    assert (
        oracle.phase_distance(oracle.unitary(again.circuit, again.angles(values)), expected)
        < tolerances.WRITTEN
    )
    for version in ("openqasm2", "openqasm3"):
        bound = import_circuit(export_circuit(found, {"x": 0.4, "th": -1.3}, version))
        assert (bound.inputs, bound.measured) == ((), (2, 1))
        assert (
            oracle.phase_distance(oracle.unitary(bound.circuit, bound.angles()), expected)
            < tolerances.WRITTEN
        )
    free = import_circuit(export_circuit(found, to="braket"))
    by_name = {"x": 0.4, "th": -1.3}
    assert set(free.inputs) == set(by_name)
    difference = oracle.unitary(free.circuit, free.angles(by_name))
    assert oracle.phase_distance(difference, expected) < tolerances.WRITTEN
    with pytest.raises(ValueError, match=r"`values` must be of the inputs x, th; got \['x'\]"):
        export_circuit(found, {"x": 1.0})
    with pytest.raises(TypeError, match=r"`angles` must be numbers for a Circuit; got dict"):
        export_circuit(found.circuit, {"x": 1.0})


def test_a_program_that_measures_nothing_goes_out_so() -> None:
    found = import_circuit("qubit[2] q; h q[0]; rz(pi/2) q[1];")
    for version in ("openqasm2", "openqasm3"):
        text = export_circuit(found, to=version)
        assert "measure" not in text
        assert import_circuit(text).measured == ()
        assert import_circuit(text).inputs == ()


def test_names_of_inputs_that_openqasm_takes_itself() -> None:
    from dataclasses import replace

    names = ("θ[0]", "pi", "pi_", "cx", "q", "c", "gate", "9a", "θ[0] ", "good")
    text = "".join(f"input float p{k};" for k in range(len(names))) + "qubit[1] q;"
    text += "".join(f"rx({k + 1}*p{k}) q[0];" for k in range(len(names)))
    found = replace(import_circuit(text), inputs=names)
    again = import_circuit(export_circuit(found))
    assert len(set(again.inputs)) == len(names)
    assert again.inputs[-1] == "good"
    assert again.inputs[2] == "pi_"
    values = [0.1 * k for k in range(len(names))]
    expected = oracle.unitary(found.circuit, found.angles(values))
    assert (
        oracle.phase_distance(oracle.unitary(again.circuit, again.angles(values)), expected)
        < tolerances.WRITTEN
    )
