"""Every ansatz: gates, angle counts, the smallest numbers of qubits."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jaxtyping
import numpy as np
import oracle
import pytest
import tolerances
from numpy.typing import NDArray

from qtn_train.circuits import ANSATZE, Circuit, ansatz
from qtn_train.circuits._shape import edge_colors


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Turn the tests' own type checks off, as they are for users, to see our messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def layout(circuit: Circuit) -> str:
    return " ".join(gate.name + "".join(map(str, gate.qubits)) for gate in circuit.gates)


@pytest.mark.parametrize(
    ("function", "n_qubits", "gates"),
    [
        (ansatz.u3_cu3_ring, 1, "u30"),
        (ansatz.u3_cu3_ring, 2, "u30 u31 cu301 cu310"),
        (ansatz.u3_cu3_ring, 3, "u30 u31 u32 cu301 cu312 cu320"),
        (ansatz.u3_cu3_chain, 1, "u30"),
        (ansatz.u3_cu3_chain, 2, "u30 u31 cu301"),
        (ansatz.u3_cu3_chain, 3, "u30 u31 u32 cu301 cu312"),
        (ansatz.ry_cx_chain, 1, "ry0"),
        (ansatz.ry_cx_chain, 2, "ry0 ry1 cx01"),
        (ansatz.ry_cx_chain, 3, "ry0 ry1 ry2 cx01 cx12"),
        (ansatz.brickwork, 1, "u30"),
        (ansatz.brickwork, 2, "u30 u31 cu301"),
        (ansatz.brickwork, 3, "u30 u31 u32 cu301 cu312"),
        (ansatz.brickwork, 5, "u30 u31 u32 u33 u34 cu301 cu323 cu312 cu334"),
        (ansatz.hardware_efficient, 1, "ry0 rz0"),
        (ansatz.hardware_efficient, 2, "ry0 ry1 rz0 rz1 cz01"),
        (ansatz.hardware_efficient, 3, "ry0 ry1 ry2 rz0 rz1 rz2 cz01 cz12"),
    ],
)
def test_gates(function: Callable[[int, int], Circuit], n_qubits: int, gates: str) -> None:
    assert layout(function(n_qubits, 1)) == gates
    assert layout(function(n_qubits, 3)) == " ".join([gates] * 3)


@pytest.mark.parametrize(
    ("function", "per_layer"),
    [
        (ansatz.u3_cu3_ring, {1: 3, 2: 12, 3: 18, 13: 78}),
        (ansatz.u3_cu3_chain, {1: 3, 2: 9, 3: 15, 13: 75}),
        (ansatz.ry_cx_chain, {1: 1, 2: 2, 3: 3, 13: 13}),
        (ansatz.brickwork, {1: 3, 2: 9, 3: 15, 13: 75}),
        (ansatz.hardware_efficient, {1: 2, 2: 4, 3: 6, 13: 26}),
    ],
)
def test_angle_counts(function: Callable[[int, int], Circuit], per_layer: dict[int, int]) -> None:
    for n_qubits, count in per_layer.items():
        for n_layers in (1, 4):
            assert function(n_qubits, n_layers).n_angles == count * n_layers


@pytest.mark.parametrize("name", ANSATZE)
def test_angles_are_numbered_in_order_of_application(name: str) -> None:
    circuit = ANSATZE[name](4, 2)
    used = [index for gate in circuit.gates for index in gate.angles]
    assert used == list(range(circuit.n_angles))


@pytest.mark.parametrize("name", ANSATZE)
def test_messages(name: str) -> None:
    with pytest.raises(ValueError, match="`n_qubits` must be a positive integer; got 0"):
        ANSATZE[name](0, 1)
    with pytest.raises(ValueError, match="`n_layers` must be a positive integer; got 0"):
        ANSATZE[name](1, 0)


def test_command_line_names_are_the_functions_names() -> None:
    for name, function in ANSATZE.items():
        # A grid takes rows and columns; from the command line it is the one nearest to a square.
        assert function.__name__ == {"grid": "square_grid"}.get(name, name.replace("-", "_"))
        assert function is getattr(ansatz, function.__name__)
    named = {function.__name__ for function in ANSATZE.values()}
    assert {*ansatz.__all__} == {"ANSATZE", "couplings", "grid", "product", *named}


def test_grid() -> None:
    assert layout(ansatz.grid(1, 1, 2)) == "ry0 rz0 ry0 rz0 ry0"
    assert layout(ansatz.grid(1, 2, 1)) == "ry0 ry1 rz0 rz1 cz01 ry0 ry1"
    pairs = [gate.qubits for gate in ansatz.grid(3, 3, 5).gates if gate.name == "cz"]
    colors = [
        [(0, 1), (3, 4), (6, 7)],
        [(1, 2), (4, 5), (7, 8)],
        [(0, 3), (1, 4), (2, 5)],
        [(3, 6), (4, 7), (5, 8)],
    ]
    assert pairs == [pair for color in [*colors, colors[0]] for pair in color]
    assert ansatz.grid(2, 1, 1).n_angles == 6
    with pytest.raises(ValueError, match="`rows` must be a positive integer; got 0"):
        ansatz.grid(0, 3, 1)


def test_the_grid_nearest_to_a_square() -> None:
    for n_qubits, rows, cols in ((1, 1, 1), (7, 1, 7), (9, 3, 3), (12, 3, 4), (30, 5, 6)):
        assert ansatz.square_grid(n_qubits, 3) == ansatz.grid(rows, cols, 3)


def heavy_hexagons() -> list[tuple[int, int]]:
    """A 127-qubit map by a formula: rows of 15 (14 first and last), joined by 4 qubits each."""
    rows, number = [], 0
    pairs = []
    bridges: list[list[int]] = []
    for row in range(7):
        length = 14 if row in (0, 6) else 15
        rows.append(list(range(number, number + length)))
        number += length
        if row < 6:
            bridges.append(list(range(number, number + 4)))
            number += 4
    for row, qubits in enumerate(rows):
        pairs += itertools.pairwise(qubits)
        if row < 6:
            for k, bridge in enumerate(bridges[row]):
                above = 4 * k + (0 if row % 2 == 0 else 2)
                below = above - (1 if row == 5 else 0)
                pairs += [(qubits[above], bridge), (bridge, rows[row + 1][below])]
    assert number == 127
    return pairs


@pytest.mark.parametrize("shape", ["heavy-hex", "ring of 5", "complete 6", "random"])
def test_couplings_color_any_graph(shape: str) -> None:
    rng = np.random.default_rng(4)
    every = [(a, b) for a in range(12) for b in range(a + 1, 12)]
    pairs = {
        "heavy-hex": heavy_hexagons(),
        "ring of 5": [(k, (k + 1) % 5) for k in range(5)],
        "complete 6": [(a, b) for a in range(6) for b in range(a + 1, 6)],
        "random": [every[k] for k in rng.permutation(len(every))[:40]],
    }[shape]
    colors = edge_colors(pairs)
    assert sorted(pair for color in colors for pair in color) == sorted(pairs)
    degree = max(np.bincount(np.array(pairs).ravel()))
    for color in colors:
        touched = [qubit for pair in color for qubit in pair]
        assert len(touched) == len(set(touched))
    assert len(colors) <= (degree if shape == "heavy-hex" else 2 * degree - 1)
    circuit = ansatz.couplings(pairs, len(colors))
    assert sorted(g.qubits for g in circuit.gates if g.name == "cz") == sorted(pairs)
    assert circuit.n_angles == circuit.n_qubits * (2 * len(colors) + 1)


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        ([], ValueError, "`pairs` must be at least one pair of qubits; got none"),
        ([(0, 0)], ValueError, r"must be pairs of two different qubit numbers .* got \(0, 0\)"),
        ([(0, -1)], ValueError, r"of at least 0; got \(0, -1\)"),
        ([(0, 1.5)], TypeError, r"of at least 0; got \(0, 1\.5\)"),
        ([(0, 1, 2)], TypeError, r"of at least 0; got \(0, 1, 2\)"),
        ([(0, 1), (1, 0)], ValueError, r"must be different pairs .* got \(1, 0\) twice"),
        ([(False, True)], TypeError, r"must be pairs of two different .* got \(False, True\)"),
        (5, TypeError, "`pairs` must be a list of pairs of qubits; got 5"),
        ([(0, 1), (1, 3)], ValueError, r"must be pairs of the qubits 0…N−1; got no 2\. Number"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_couplings_messages(pairs: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ansatz.couplings(pairs, 1)


def test_ry_cx_chain_has_real_amplitudes() -> None:
    circuit = ansatz.ry_cx_chain(4, 3)
    angles = np.random.default_rng(0).uniform(-3, 3, circuit.n_angles)
    assert np.abs(oracle.amplitudes(circuit, angles).imag).max() < 1e-15


def test_product_is_the_tensor_product() -> None:
    parts = [ansatz.ry_cx_chain(2, 1), ansatz.u3_cu3_ring(1, 2), ansatz.brickwork(2, 1)]
    both = ansatz.product(*parts)
    assert (both.n_qubits, both.n_angles) == (5, 2 + 6 + 9)
    angles = np.random.default_rng(0).uniform(-3, 3, both.n_angles)
    expected: NDArray[np.complex128] = np.ones(1, dtype=np.complex128)
    start = 0
    for part in parts:
        own = angles[start : start + part.n_angles]
        expected = np.asarray(np.kron(expected, oracle.amplitudes(part, own)), np.complex128)
        start += part.n_angles
    np.testing.assert_allclose(
        oracle.amplitudes(both, angles), expected, rtol=0, atol=tolerances.AMPLITUDE["complex128"]
    )


def test_product_of_one_and_of_none() -> None:
    circuit = ansatz.brickwork(3, 2)
    assert ansatz.product(circuit) == circuit
    with pytest.raises(ValueError, match="`circuits` must be at least one circuit; got none"):
        ansatz.product()
