"""Text drawings of circuits: one line per qubit, time from left to right.

    q0: ─H─●──
    q1: ─H─│──
    q2: ─H─U3─

Gates that do not overlap share a column; ``│`` passes a qubit by.
"""

from __future__ import annotations

from ..errors import positive_int
from ._circuit import Circuit, Gate

#: What stands on each qubit of a gate; the others show their name, as in ``Ry``.
_SYMBOLS = {
    "si": ("S†",),
    "ti": ("T†",),
    "cx": ("●", "X"),
    "cz": ("●", "●"),
    "swap": ("×", "×"),
    "cu3": ("●", "U3"),
}


def draw(circuit: Circuit, max_columns: int) -> str:
    """Return a circuit as text; see :meth:`Circuit.draw`.

    Args:
        circuit: The circuit.
        max_columns: Columns of gates before the drawing is cut with ``…``.

    Returns:
        ``n_qubits`` lines.

    Raises:
        ValueError: ``max_columns`` is below 1.

    Example:
        >>> print(draw(Circuit.builder(3).ry(0).cu3(0, 2).x(1).cx(2, 1).build(), 3))
        q0: ─Ry─●────…
        q1: ────│──X─…
        q2: ────U3───…
    """
    positive_int("max_columns", max_columns)
    drawn, is_cut = columns(circuit, max_columns)
    margin = len(f"q{circuit.n_qubits - 1}: ")
    lines = [f"q{qubit}: ".ljust(margin) + "─" for qubit in range(circuit.n_qubits)]
    for column in drawn:
        cells: dict[int, str] = {}
        for gate in column:
            cells |= dict.fromkeys(_span(gate), "│") | symbols(gate)
        width = max(map(len, cells.values()))
        for qubit in range(circuit.n_qubits):
            lines[qubit] += cells.get(qubit, "").ljust(width, "─") + "─"
    end = "…" if is_cut else ""
    return "\n".join(line + end for line in lines)


def columns(circuit: Circuit, max_columns: int) -> tuple[list[list[Gate]], bool]:
    """Return the gates of each column, and whether gates were left out.

    Args:
        circuit: The circuit.
        max_columns: The most columns to return.

    Returns:
        Gates that share a column do not overlap, not even where one only passes a qubit by.
    """
    drawn: list[list[Gate]] = []
    next_free = [0] * circuit.n_qubits
    for gate in circuit.gates:
        column = max(next_free[qubit] for qubit in _span(gate))
        for qubit in _span(gate):
            next_free[qubit] = column + 1
        if column < max_columns:
            if column == len(drawn):
                drawn.append([])
            drawn[column].append(gate)
    return drawn, max(next_free) > max_columns


def symbols(gate: Gate) -> dict[int, str]:
    """Return what stands on each qubit of a gate."""
    default = (gate.name.capitalize(),)
    return dict(zip(gate.qubits, _SYMBOLS.get(gate.name, default), strict=True))


def _span(gate: Gate) -> range:
    return range(min(gate.qubits), max(gate.qubits) + 1)
