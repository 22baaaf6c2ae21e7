"""Text drawings of circuits: one line per qubit, time from left to right.

    q0: ─H─●──
    q1: ─H─│──
    q2: ─H─U3─

Gates that do not overlap share a column; ``│`` passes a qubit by.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import positive_int
from ._gate import UNITARY, Gate

#: What stands on each qubit of a gate; the others show their name, as in ``Ry``.
_SYMBOLS = {
    "si": ("S†",),
    "ti": ("T†",),
    "sx": ("√X",),
    "sxdg": ("√X†",),
    "sy": ("√Y",),
    "cx": ("●", "X"),
    "cy": ("●", "Y"),
    "cz": ("●", "●"),
    "ch": ("●", "H"),
    "swap": ("×", "×"),
    "iswap": ("i×", "i×"),
    "cp": ("●", "P"),
    "crx": ("●", "Rx"),
    "cry": ("●", "Ry"),
    "crz": ("●", "Rz"),
    "cu3": ("●", "U3"),
    "rxx": ("Rxx", "Rxx"),
    "ryy": ("Ryy", "Ryy"),
    "rzz": ("Rzz", "Rzz"),
    "ccx": ("●", "●", "X"),
    "cswap": ("●", "×", "×"),
}


def draw(n_qubits: int, gates: Sequence[Gate], max_columns: int) -> str:
    """Return a circuit's gates as text; see :meth:`Circuit.draw`.

    Args:
        n_qubits: The circuit's number of qubits.
        gates: Its gates.
        max_columns: Columns of gates before the drawing is cut with ``…``.

    Returns:
        ``n_qubits`` lines.

    Raises:
        ValueError: ``max_columns`` is below 1.

    Example:
        >>> gates = Gate("ry", (0,), (0,)), Gate("cu3", (0, 2), (1, 2, 3)), Gate("x", (1,))
        >>> print(draw(3, (*gates, Gate("cx", (2, 1))), 3))
        q0: ─Ry─●────…
        q1: ────│──X─…
        q2: ────U3───…
    """
    positive_int("max_columns", max_columns)
    drawn, is_cut = columns(n_qubits, gates, max_columns)
    margin = len(f"q{n_qubits - 1}: ")
    lines = [f"q{qubit}: ".ljust(margin) + "─" for qubit in range(n_qubits)]
    for column in drawn:
        cells: dict[int, str] = {}
        for gate in column:
            cells |= dict.fromkeys(_span(gate), "│") | symbols(gate)
        width = max(map(len, cells.values()))
        for qubit in range(n_qubits):
            lines[qubit] += cells.get(qubit, "").ljust(width, "─") + "─"
    end = "…" if is_cut else ""
    return "\n".join(line + end for line in lines)


def columns(
    n_qubits: int, gates: Sequence[Gate], max_columns: int
) -> tuple[list[list[Gate]], bool]:
    """Return the gates of each column, and whether gates were left out.

    Args:
        n_qubits: The circuit's number of qubits.
        gates: Its gates.
        max_columns: The most columns to return.

    Returns:
        Gates that share a column do not overlap, not even where one only passes a qubit by.
    """
    drawn: list[list[Gate]] = []
    next_free = [0] * n_qubits
    for gate in gates:
        column = max(next_free[qubit] for qubit in _span(gate))
        for qubit in _span(gate):
            next_free[qubit] = column + 1
        if column < max_columns:
            if column == len(drawn):
                drawn.append([])
            drawn[column].append(gate)
    return drawn, max(next_free) > max_columns


def symbols(gate: Gate) -> dict[int, str]:
    """Return the text that a drawing puts on each qubit of a gate."""
    default = ("U",) * len(gate.qubits) if gate.name == UNITARY else (gate.name.capitalize(),)
    return dict(zip(gate.qubits, _SYMBOLS.get(gate.name, default), strict=True))


def _span(gate: Gate) -> range:
    return range(min(gate.qubits), max(gate.qubits) + 1)
