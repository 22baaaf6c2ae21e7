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
    columns, cut = _columns(circuit, max_columns)
    margin = len(f"q{circuit.n_qubits - 1}: ")
    lines = [f"q{qubit}: ".ljust(margin) + "─" for qubit in range(circuit.n_qubits)]
    for column in columns:
        width = max(map(len, column.values()))
        for qubit in range(circuit.n_qubits):
            lines[qubit] += column.get(qubit, "").ljust(width, "─") + "─"
    end = "…" if cut else ""
    return "\n".join(line + end for line in lines)


def _columns(circuit: Circuit, max_columns: int) -> tuple[list[dict[int, str]], bool]:
    """Return what each column shows on its qubits, and whether gates were left out."""
    columns: list[dict[int, str]] = []
    next_free = [0] * circuit.n_qubits
    for gate in circuit.gates:
        span = range(min(gate.qubits), max(gate.qubits) + 1)
        column = max(next_free[qubit] for qubit in span)
        for qubit in span:
            next_free[qubit] = column + 1
        if column < max_columns:
            if column == len(columns):
                columns.append({})
            columns[column] |= dict.fromkeys(span, "│") | _symbols(gate)
    return columns, max(next_free) > max_columns


def _symbols(gate: Gate) -> dict[int, str]:
    default = (gate.name.capitalize(),)
    return dict(zip(gate.qubits, _SYMBOLS.get(gate.name, default), strict=True))
