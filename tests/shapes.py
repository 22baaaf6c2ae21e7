"""The heavy-hexagonal lattice of 127 qubits by a formula, and light cones."""

from dataclasses import replace

from qtn_train.circuits import Circuit


def heavy_hexagon_edges() -> list[tuple[int, int]]:
    """Return 144 pairs: seven rows, four single qubits between each two of them."""
    edges: list[tuple[int, int]] = []
    rows: list[dict[int, int]] = []
    bridges: list[dict[int, int]] = []
    number = 0
    for row in range(7):
        columns = range(0, 14) if row == 0 else range(1, 15) if row == 6 else range(15)
        rows.append({})
        for column in columns:
            rows[row][column] = number
            if column - 1 in rows[row]:
                edges.append((number - 1, number))
            number += 1
        bridges.append({})
        if row < 6:
            for column in range(2 * (row % 2), 15, 4):
                bridges[row][column] = number
                number += 1
    for row in range(6):
        for column, bridge in bridges[row].items():
            edges += [(rows[row][column], bridge), (bridge, rows[row + 1][column])]
    assert number == 127
    return edges


def cone(circuit: Circuit, wanted: set[int]) -> tuple[Circuit, list[int]]:
    """The gates that reach some qubits, on the qubits that these gates touch, and these qubits."""
    reached, kept = set(wanted), []
    for gate in reversed(circuit.gates):
        if reached & set(gate.qubits):
            reached |= set(gate.qubits)
            kept.append(gate)
    qubits = sorted(reached)
    place = {qubit: i for i, qubit in enumerate(qubits)}
    gates = tuple(replace(g, qubits=tuple(place[q] for q in g.qubits)) for g in reversed(kept))
    return Circuit(len(qubits), gates, circuit.n_angles), qubits
