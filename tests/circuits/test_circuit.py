"""The circuit as data: builder, gate table, JSON, hash, and every message."""

import copy
import inspect
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import oracle
import pytest
import tolerances
from hypothesis import given
from hypothesis import strategies as st

from qtn_train.circuits import (
    GATES,
    PORTABLE,
    PORTABLE_RULES,
    Circuit,
    CircuitBuilder,
    Gate,
    GateSpec,
    ansatz,
    gate_matrix,
)
from qtn_train.circuits._builder import GateMethods

ROOT = Path(__file__).parents[2]


def build_example() -> Circuit:
    builder: CircuitBuilder = Circuit.builder(3).h(0).u3(1).cx(0, 2)
    return builder.add("rx", 2, angles=(1,)).add("cu3", 2, 1).build()


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Turn the tests' own type checks off, as they are for users, to see our messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_builder_numbers_angles_in_order_and_shares_named_ones() -> None:
    circuit = build_example()
    assert circuit.gates == (
        Gate("h", (0,)),
        Gate("u3", (1,), (0, 1, 2)),
        Gate("cx", (0, 2)),
        Gate("rx", (2,), (1,)),
        Gate("cu3", (2, 1), (3, 4, 5)),
    )
    assert (circuit.n_qubits, circuit.n_angles, len(circuit)) == (3, 6, 5)


@pytest.mark.parametrize("name", GATES)
def test_builder_has_one_method_for_each_gate(name: str) -> None:
    spec = GATES[name]
    circuit = getattr(Circuit.builder(3), name)(*range(spec.n_qubits)).build()
    assert circuit.gates[0].name == name
    assert circuit.n_angles == spec.n_angles


def test_every_gate_has_a_typed_method_that_says_what_it_takes() -> None:
    """What an editor completes: the methods' own parameters, and nothing besides the table."""
    methods = {name for name in vars(GateMethods) if not name.startswith("_")}
    assert methods == {*GATES, "add", "unitary"}
    for name, spec in GATES.items():
        parameters = list(inspect.signature(getattr(CircuitBuilder, name)).parameters)
        assert len(parameters) == 1 + spec.n_qubits + (spec.n_angles > 0)
        assert (parameters[-1] == "angles") == (spec.n_angles > 0)
        shared = (0,) * spec.n_angles
        qubits = range(spec.n_qubits)
        if shared:
            circuit = getattr(Circuit.builder(3), name)(*qubits, angles=shared).build()
            assert circuit.gates == (Gate(name, tuple(qubits), shared),)


@pytest.mark.slow
def test_mypy_knows_the_methods(tmp_path: Path) -> None:
    text = """\
from qtn_train.circuits import Circuit
circuit: Circuit = Circuit.builder(2).h(0).cx(0, 1).rzz(0, 1, angles=(0,)).build()
Circuit.builder(2).h(0, 1)
Circuit.builder(2).toffoli(0)
"""
    (tmp_path / "user.py").write_text(text)
    # With the project's own options and cache: what `make types` has read is not read again.
    command = [sys.executable, "-m", "mypy", str(tmp_path / "user.py")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    _, *errors = run.stdout.split("user.py:")
    assert [error.split(":")[0] for error in errors] == ["3", "4"], run.stdout
    assert 'Too many arguments for "h"' in errors[0]
    assert '"CircuitBuilder" has no attribute "toffoli"' in errors[1]


def test_unitary_is_data() -> None:
    """Equal matrices are equal circuits with one text, whatever type they came in."""
    matrix = np.array([[0, -1.0], [1, -0.0]])
    circuit = Circuit.builder(2).unitary(matrix, 1).build()
    same = Circuit.builder(2).unitary(((0j, -1.0 + 0j), (1 + 0j, 0j)), 1).build()
    assert circuit == same
    assert circuit.hash == same.hash
    assert circuit.to_json() == (
        '{"format":1,"gates":[["unitary",[1],[],[[[0.0,0.0],[-1.0,0.0]],[[1.0,0.0],[0.0,0.0]]]]],'
        '"n_angles":0,"n_qubits":2}'
    )
    assert Circuit.from_json(circuit.to_json()) == pickle.loads(pickle.dumps(circuit)) == circuit
    assert ansatz.product(circuit, circuit).gates[1].matrix == circuit.gates[0].matrix
    assert Circuit.builder(2).unitary(np.eye(4), 0, 1).build().draw() == "q0: ─U─\nq1: ─U─"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1, 0]], r"a unitary matrix of 2, 4, … or 64 rows; got shape \(1, 2\)"),
        (np.eye(3), r"got shape \(3, 3\)"),
        (np.eye(128), r"got shape \(128, 128\)"),
        ([[1, 0], [0]], "got list"),
        (["ab", "cd"], "got list"),
        ([[1, 1], [0, 1]], r"got U·U† that differs from 1 by 1"),
        ([[1, 0], [0, np.nan]], r"got U·U† that differs from 1 by nan"),
        ([[10**400, 0], [0, 1]], "got list"),
    ],
)
def test_unitary_messages(matrix: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"`matrix` must be .*{message}"):
        Circuit.builder(2).unitary(matrix, 0)


def test_unitary_gates_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="must be 1 different qubits for unitary; got"):
        Circuit.builder(2).unitary(np.eye(2), 0, 1)
    with pytest.raises(ValueError, match="or unitary with a matrix; got 'unitary'"):
        Circuit.builder(2).add("unitary", 0)
    with pytest.raises(ValueError, match=r"`gates\[0\]\.matrix` must be None for h; got a matrix"):
        Circuit.builder(2).add("h", 0, matrix=np.eye(2))
    with pytest.raises(ValueError, match="must be 0 indices for unitary; got"):
        Circuit.builder(2).add("unitary", 0, angles=(0,), matrix=np.eye(2))


def schmidt_ranks(circuit: Circuit) -> list[int]:
    """The state's own ranks at random angles."""
    rng = np.random.default_rng(7)
    state = oracle.amplitudes(circuit, rng.uniform(-3, 3, circuit.n_angles))
    cuts = range(1, circuit.n_qubits)
    return [int(np.linalg.matrix_rank(state.reshape(2**cut, -1), tol=1e-9)) for cut in cuts]


@given(seed=st.integers(0, 2**32), n_qubits=st.integers(2, 6), n_gates=st.integers(0, 12))
def test_bond_bounds_are_bounds(seed: int, n_qubits: int, n_gates: int) -> None:
    circuit = oracle.random_circuit(np.random.default_rng(seed), n_qubits, n_gates)
    bounds = circuit.bond_bounds()
    assert all(rank <= bound for rank, bound in zip(schmidt_ranks(circuit), bounds, strict=True))


def test_bond_bounds_are_reached() -> None:
    assert ansatz.u3_cu3_chain(6, 3).bond_bounds() == [2, 4, 8, 4, 2]
    assert schmidt_ranks(ansatz.u3_cu3_chain(6, 3)) == [2, 4, 8, 4, 2]
    wide = Circuit.builder(6).rzz(0, 5).ccx(4, 0, 2).cswap(1, 2, 3).build()
    assert wide.bond_bounds() == [2, 4, 8, 4, 2]
    assert ansatz.ry_cx_chain(50, 2).bond_bounds() == [2, *[4] * 47, 2]
    assert Circuit.builder(1).h(0).build().bond_bounds() == []


@pytest.mark.usefixtures("unchecked")
def test_builder_takes_numpy_integers_and_makes_a_longer_vector() -> None:
    two: Any = np.int64(2)
    circuit = Circuit.builder(two).add("ry", two - 1, angles=(two,)).build()
    assert circuit == Circuit(2, (Gate("ry", (1,), (2,)),), 3)
    assert Circuit.from_json(circuit.to_json()) == circuit
    assert Circuit(two, (), 0).to_json() == Circuit(2, (), 0).to_json()


def test_builder_can_go_on_after_build() -> None:
    builder = Circuit.builder(1).rx(0)
    first = builder.build()
    assert len(builder.ry(0).build()) == 2
    assert len(first) == 1


def test_a_refused_gate_leaves_the_builder_unchanged() -> None:
    builder = Circuit.builder(1).rx(0)
    with pytest.raises(ValueError, match="within 0…0"):
        builder.u3(1)
    assert builder.build() == Circuit.builder(1).rx(0).build()


def test_circuits_are_values() -> None:
    circuit = build_example()
    assert circuit == build_example()
    assert len({circuit, build_example()}) == 1
    assert copy.deepcopy(circuit) == pickle.loads(pickle.dumps(circuit)) == circuit
    with pytest.raises(AttributeError):
        circuit.n_qubits = 2  # type: ignore[misc]


def test_canonical_json_and_hash_are_fixed_for_ever() -> None:
    circuit = build_example()
    assert circuit.to_json() == (
        '{"format":1,"gates":[["h",[0],[]],["u3",[1],[0,1,2]],["cx",[0,2],[]],["rx",[2],[1]],'
        '["cu3",[2,1],[3,4,5]]],"n_angles":6,"n_qubits":3}'
    )
    assert circuit.hash == "fff70e1fbd333c1300de7d8eca62aa4cb53863740e5d6030d14506d979cfee2a"
    assert ansatz.u3_cu3_ring(13, 16).hash == (
        "723e3b718ab3e074897170f2a2f6316ced0f9ff7fdd72d8f63128fa4ec898b10"
    )


@given(seed=st.integers(0, 2**32), n_qubits=st.integers(1, 5), n_gates=st.integers(0, 20))
def test_json_round_trip(seed: int, n_qubits: int, n_gates: int) -> None:
    circuit = oracle.random_circuit(np.random.default_rng(seed), n_qubits, n_gates, share=0.3)
    back = Circuit.from_json(circuit.to_json())
    assert back == circuit
    assert back.hash == circuit.hash


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("n_qubits", "gates", "n_angles", "error", "message"),
    [
        (0, (), 0, ValueError, r"`n_qubits` must be a positive integer; got 0\."),
        (2.0, (), 0, TypeError, r"`n_qubits` must be a positive integer; got 2\.0\."),
        (1, (), -1, ValueError, r"`n_angles` must be an integer of at least 0; got -1\."),
        (1, (), 1.0, ValueError, r"`n_angles` must be an integer of at least 0; got 1\.0\."),
        (1, (Gate("foo", (0,)),), 0, ValueError, r"`gates\[0\]\.name` must be one of h, .*'foo'"),
        (
            *(2, (Gate("h", (0,)), Gate("cx", (1,))), 0, ValueError),
            r"`gates\[1\]\.qubits` must be 2 different qubits for cx; got \(1,\)\.",
        ),
        (2, (Gate("cx", (1, 1)),), 0, ValueError, r"2 different qubits for cx; got \(1, 1\)\."),
        (2, (Gate("h", (2,)),), 0, ValueError, r"`gates\[0\]\.qubits` must be within 0…1; got"),
        (2, (Gate("h", (-1,)),), 0, ValueError, r"must be within 0…1; got \(-1,\)\."),
        (
            *(1, (Gate("u3", (0,), (0,)),), 1, ValueError),
            r"`gates\[0\]\.angles` must be 3 indices for u3; got \(0,\)\.",
        ),
        (
            1,
            (Gate("rx", (0,), (1,)),),
            1,
            ValueError,
            r"\.angles` must be from 0 to below 1; got \(1,\)",
        ),
        (1, (Gate("rx", (0,), (0,)),), 0, ValueError, r".angles` must be from 0 to below 0; got"),
    ],
)
def test_circuit_messages(
    n_qubits: int, gates: tuple[Gate, ...], n_angles: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Circuit(n_qubits, gates, n_angles)


@pytest.mark.usefixtures("unchecked")
def test_builder_messages() -> None:
    with pytest.raises(ValueError, match="`n_qubits` must be a positive integer; got 0"):
        Circuit.builder(0)
    with pytest.raises(ValueError, match=r"`gates\[0\]\.name` must be one of h, x, .*; got 'foo'"):
        Circuit.builder(1).add("foo", 0)
    with pytest.raises(ValueError, match=r"must be 1 different qubits for h; got \(\)"):
        Circuit.builder(1).add("h")
    with pytest.raises(ValueError, match=r"must be 3 indices for u3; got \(0,\)"):
        Circuit.builder(1).u3(0, angles=(0,))
    zero: Any = 0.0
    with pytest.raises(TypeError, match=r"`gates\[0\]` must be a gate with integer indices"):
        Circuit.builder(1).h(zero)
    with pytest.raises(TypeError, match=r"`gates\[0\]` must be a gate with integer indices"):
        Circuit(1, (Gate("h", (zero,)),), 0)
    with pytest.raises(TypeError, match=r"`gates\[0\]` must be a gate with integer indices"):
        Circuit.builder(1).rx(0, angles=("a",))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"`text` must be canonical circuit JSON; got ''\."),
        ("[1]", "must be canonical circuit JSON"),
        ("[" * 100_000, "must be canonical circuit JSON"),
        ('{"format":1,"gates":5,"n_angles":0,"n_qubits":1}', "canonical circuit JSON"),
        ('{"format":1,"gates":["h"],"n_angles":0,"n_qubits":1}', "canonical circuit JSON"),
        ('{"format":1,"gates":[["unitary",[0],[],[[1]]]],"n_angles":0,"n_qubits":1}', "canonical"),
        ('{"format":1,"gates":[["unitary",[0],[],[[[1,0]]]]],"n_angles":0,"n_qubits":1}', "shape"),
        ('{"format":1,"gates":[["h",{"a":1},[]]],"n_angles":0,"n_qubits":1}', "canonical"),
        ('{"format":1,"gates":[[["h"],[0],[]]],"n_angles":0,"n_qubits":1}', "must be one of h"),
        ("{}", "must be canonical circuit JSON"),
        ('{"format":1}', "must be canonical circuit JSON"),
        ('{"format":1,"gates":[["h",[0]]],"n_angles":0,"n_qubits":1}', "canonical circuit JSON"),
        ('{"format":1,"gates":[["h",[0.0],[]]],"n_angles":0,"n_qubits":1}', "canonical"),
        ('{"format":1,"gates":[],"n_angles":0,"n_qubits":"1"}', "canonical circuit JSON"),
        ('{"format":2,"circuits":[]}', r"`format` must be 1; got 2\. Update qtn_train"),
        ('{"format":1,"gates":[["foo",[0],[]]],"n_angles":0,"n_qubits":1}', "must be one of h"),
    ],
)
def test_json_messages(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Circuit.from_json(text)


def test_check_angles() -> None:
    circuit = build_example()
    checked = circuit.check_angles([0, 1, 2, 3, 4, 5])
    assert checked.dtype == np.float64
    with pytest.raises(ValueError, match=r"`angles` must be of shape \(6,\); got \(5,\)\."):
        circuit.check_angles(np.zeros(5))
    with pytest.raises(ValueError, match=r"of shape \(6,\); got \(6, 1\)"):
        circuit.check_angles(np.zeros((6, 1)))


@pytest.mark.parametrize("name", GATES)
def test_gate_table_agrees_with_the_oracle(name: str) -> None:
    spec = GATES[name]
    assert isinstance(spec, GateSpec)
    for angles in [(0.3, -1.1, 2.5), (0.0, 0.0, 0.0), (np.pi, np.pi / 2, -np.pi)]:
        values = angles[: spec.n_angles]
        got = gate_matrix(name, values)
        assert got.dtype == np.complex128
        assert got.shape == (2**spec.n_qubits,) * 2
        np.testing.assert_allclose(got, oracle.matrix(name, *values), rtol=0, atol=tolerances.GATE)
        np.testing.assert_allclose(
            got @ got.conj().T, np.eye(len(got)), rtol=0, atol=tolerances.GATE
        )


def test_gate_matrix_messages_and_copies() -> None:
    with pytest.raises(ValueError, match=r"`name` must be one of h, .*; got 'foo'"):
        gate_matrix("foo")
    with pytest.raises(ValueError, match=r"`angles` must be 3 numbers for u3; got \(1\.0,\)"):
        gate_matrix("u3", (1.0,))
    gate_matrix("h")[0, 0] = 7
    assert gate_matrix("h")[0, 0] != 7


def test_oracle_bit_order_and_control() -> None:
    """Worked by hand: |10⟩ is index 2, and CX with control 0 takes it to |11⟩."""
    assert np.argmax(np.abs(oracle.amplitudes(Circuit.builder(2).x(0).build(), []))) == 2
    assert np.argmax(np.abs(oracle.amplitudes(Circuit.builder(2).x(0).cx(0, 1).build(), []))) == 3
    assert np.argmax(np.abs(oracle.amplitudes(Circuit.builder(2).x(0).cx(1, 0).build(), []))) == 2
    assert np.argmax(np.abs(oracle.amplitudes(Circuit.builder(3).x(2).swap(2, 0).build(), []))) == 4


def test_oracle_unitary_agrees_with_amplitudes() -> None:
    rng = np.random.default_rng(1)
    circuit = oracle.random_circuit(rng, 4, 30)
    angles = rng.uniform(-4, 4, circuit.n_angles)
    dense = oracle.unitary(circuit, angles)
    np.testing.assert_allclose(
        dense[:, 0],
        oracle.amplitudes(circuit, angles),
        rtol=0,
        atol=tolerances.AMPLITUDE["complex128"],
    )
    np.testing.assert_allclose(
        dense.conj().T @ dense, np.eye(16), rtol=0, atol=tolerances.AMPLITUDE["complex128"]
    )


def test_portable_set() -> None:
    assert PORTABLE.issubset(GATES)
    assert set(GATES) - PORTABLE == set(PORTABLE_RULES) - {"unitary"}


def test_importing_circuits_loads_neither_scipy_nor_torch() -> None:
    code = (
        "import sys, json, qtn_train.circuits;"
        "print(json.dumps(sorted({'scipy', 'torch', 'quimb', 'braket'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_hash_of_a_long_circuit_looks_at_few_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit, same = ansatz.ry_cx_chain(13, 110), ansatz.ry_cx_chain(13, 110)
    looked: list[Gate] = []
    original = Gate.__hash__
    monkeypatch.setattr(Gate, "__hash__", lambda gate: looked.append(gate) or original(gate))
    assert hash(circuit) == hash(same) != hash(ansatz.ry_cx_chain(13, 109))
    assert {circuit: 1}[same] == 1
    assert len(looked) <= 17 * 5
