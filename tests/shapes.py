"""Circuits on graphs: grids, and the heavy-hexagonal lattice of 127 qubits by a formula."""

from qtn_train.circuits import Circuit

Edge = tuple[int, int]


def grid_edges(rows: int, columns: int) -> list[Edge]:
    along = [(columns * i + j, columns * i + j + 1) for i in range(rows) for j in range(columns - 1)]
    down = [(columns * i + j, columns * (i + 1) + j) for i in range(rows - 1) for j in range(columns)]
    return along + down


def heavy_hexagon_edges() -> list[Edge]:
    """Seven rows of qubits, joined by four single qubits between each two: 127 qubits, 144 edges."""
    edges: list[Edge] = []
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


def colored(edges: list[Edge]) -> list[list[Edge]]:
    """Sort edges into layers in which no two share a qubit."""
    layers: list[list[Edge]] = []
    for edge in edges:
        for layer in layers:
            if not any(set(edge) & set(other) for other in layer):
                layer.append(edge)
                break
        else:
            layers.append([edge])
    return layers


def layered(edges: list[Edge], depth: int) -> Circuit:
    """RY and RZ on all qubits, then CZ on the edges of one color, layer by layer; a closing RY."""
    n_qubits = 1 + max(max(edge) for edge in edges)
    builder, layers = Circuit.builder(n_qubits), colored(edges)
    for layer in range(depth):
        for name in ("ry", "rz"):
            for qubit in range(n_qubits):
                builder.add(name, qubit)
        for edge in layers[layer % len(layers)]:
            builder.cz(*edge)
    for qubit in range(n_qubits):
        builder.ry(qubit)
    return builder.build()
