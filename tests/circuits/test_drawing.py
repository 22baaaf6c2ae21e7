"""Text drawings."""

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtn_train.circuits import Circuit, ansatz


def test_every_symbol() -> None:
    builder = Circuit.builder(3).h(0).rx(1).cx(0, 2).swap(2, 1).cz(1, 0).cu3(2, 0).si(0).ti(1).u3(2)
    assert builder.build().draw().splitlines() == [
        "q0: ─H──●───●─U3─S†─",
        "q1: ─Rx─│─×─●─│──T†─",
        "q2: ────X─×───●──U3─",
    ]


def test_gates_that_do_not_overlap_share_a_column() -> None:
    text = ansatz.brickwork(4, 1).draw()
    assert text.splitlines() == [
        "q0: ─U3─●─────",
        "q1: ─U3─U3─●──",
        "q2: ─U3─●──U3─",
        "q3: ─U3─U3────",
    ]


def test_long_circuits_are_cut() -> None:
    circuit = ansatz.ry_cx_chain(2, 3)
    assert circuit.draw(max_columns=3).splitlines() == ["q0: ─Ry─●─Ry─…", "q1: ─Ry─X─Ry─…"]
    assert "…" in circuit.draw(max_columns=5)
    assert "…" not in circuit.draw(max_columns=6)
    assert str(circuit) == circuit.draw()


def test_no_gates_and_wide_margins() -> None:
    assert Circuit.builder(2).build().draw() == "q0: ─\nq1: ─"
    lines = Circuit.builder(11).x(9).build().draw().splitlines()
    assert lines[9:] == ["q9:  ─X─", "q10: ───"]


def test_max_columns_message() -> None:
    with pytest.raises(ValueError, match="`max_columns` must be a positive integer; got 0"):
        Circuit.builder(1).build().draw(max_columns=0)


@given(seed=st.integers(0, 2**32), n_qubits=st.integers(1, 6), n_gates=st.integers(0, 30))
def test_lines_are_equally_long_and_lose_no_gate(seed: int, n_qubits: int, n_gates: int) -> None:
    circuit = oracle.random_circuit(np.random.default_rng(seed), n_qubits, n_gates)
    lines = circuit.draw(max_columns=100).splitlines()
    assert len(lines) == n_qubits
    assert len({len(line) for line in lines}) == 1
    symbols = [cell for line in lines for cell in line[4:].split("─") if cell not in ("", "│")]
    assert len(symbols) == sum(len(gate.qubits) for gate in circuit.gates)
