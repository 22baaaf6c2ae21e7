"""Drawings of circuits as inline SVG, for notebooks: the columns are those of the text drawing.

q0 ──[H]──●────      Every symbol says under the pointer which gate it is, on which qubits and
          │          with which angles.
q1 ───────⊕────
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ._drawing import columns, symbols
from ._gate import Gate

_COLUMN, _ROW, _MARGIN = 40, 30, 40
_BLUE = "#0072B2"


def svg(n_qubits: int, gates: Sequence[Gate], max_columns: int, max_rows: int) -> str:
    """Return a circuit as an SVG element.

    Args:
        n_qubits: The circuit's number of qubits.
        gates: Its gates.
        max_columns: Columns of gates before the drawing is cut with ``…``.
        max_rows: Qubits before it is cut at the bottom.

    Returns:
        SVG; text and wires take the color of the page.

    Example:
        >>> picture = svg(2, [Gate("h", (0,)), Gate("cx", (0, 1))], 10, 10)
        >>> picture.count("<circle"), "cx on qubits 0, 1" in picture
        (2, True)
    """
    drawn, is_cut = columns(n_qubits, gates, max_columns)
    rows = min(n_qubits, max_rows)
    width = _MARGIN + _COLUMN * len(drawn) + (30 if is_cut else 10)
    wires = "".join(
        f"<text x='2' y='{_y(q) + 4}' fill='currentColor'>q{q}</text>"
        f"<line x1='{_MARGIN - 8}' x2='{width - (22 if is_cut else 0)}' y1='{_y(q)}' y2='{_y(q)}' "
        "stroke='currentColor'/>"
        + (f"<text x='{width - 18}' y='{_y(q) + 4}' fill='currentColor'>…</text>" if is_cut else "")
        for q in range(rows)
    )
    symbols_ = "".join(
        _gate(gate, _MARGIN + _COLUMN * position + _COLUMN // 2, rows)
        for position, column in enumerate(drawn)
        for gate in column
    )
    return (
        f"<svg width='{width}' height='{_ROW * rows}' role='img' font-family='monospace' "
        f"font-size='12'><title>Circuit of {n_qubits} qubits</title>{wires}{symbols_}</svg>"
    )


def html(
    title: str, n_qubits: int, gates: Sequence[Gate], max_columns: int = 16, max_rows: int = 24
) -> str:
    """Return a line about a circuit, above the circuit's drawing, as HTML.

    Args:
        title: The line.
        n_qubits: The circuit's number of qubits.
        gates: Its gates.
        max_columns: As in :func:`svg`.
        max_rows: As in :func:`svg`.

    Returns:
        HTML that scrolls sideways where it is too wide.
    """
    hidden = n_qubits - max_rows
    more = f"<div>… and {hidden} more qubits</div>" if hidden > 0 else ""
    return (
        f"<div><b>{escape(title)}</b></div><div style='overflow-x:auto'>"
        f"{svg(n_qubits, gates, max_columns, max_rows)}</div>{more}"
    )


def _y(qubit: int) -> int:
    return _ROW * qubit + _ROW // 2


def _gate(gate: Gate, x: int, rows: int) -> str:
    shown = [(q, symbol) for q, symbol in symbols(gate).items() if q < rows]
    first, last = min(gate.qubits), max(gate.qubits)
    link = ""
    if last > first:
        # Below the last row that is drawn, the picture itself cuts the line.
        link = f"<line x1='{x}' x2='{x}' y1='{_y(first)}' y2='{_y(last)}' stroke='{_BLUE}'/>"
    target = {"X": "⊕"} if gate.name in ("cx", "ccx") else {}
    parts = "".join(_symbol(target.get(symbol, symbol), x, _y(q)) for q, symbol in shown)
    return f"<g><title>{escape(_says(gate))}</title>{link}{parts}</g>" if first < rows else ""


def _says(gate: Gate) -> str:
    qubits = ", ".join(map(str, gate.qubits))
    angles = ", ".join(map(str, gate.angles))
    plural = "s" if len(gate.qubits) > 1 else ""
    with_angles = f", angle{'s' if len(gate.angles) > 1 else ''} {angles}" if angles else ""
    return f"{gate.name} on qubit{plural} {qubits}{with_angles}"


def _symbol(symbol: str, x: int, y: int) -> str:
    if symbol == "●":
        return f"<circle cx='{x}' cy='{y}' r='4' fill='{_BLUE}'/>"
    if symbol == "⊕":
        cross = f"M{x - 9},{y}H{x + 9}M{x},{y - 9}V{y + 9}"
        return (
            f"<circle cx='{x}' cy='{y}' r='9' fill='none' stroke='{_BLUE}' stroke-width='2'/>"
            f"<path d='{cross}' stroke='{_BLUE}' stroke-width='2'/>"
        )
    if symbol == "×":
        cross = f"M{x - 6},{y - 6}L{x + 6},{y + 6}M{x - 6},{y + 6}L{x + 6},{y - 6}"
        return f"<path d='{cross}' stroke='{_BLUE}' stroke-width='2'/>"
    return (
        f"<rect x='{x - 15}' y='{y - 11}' width='30' height='22' rx='3' fill='{_BLUE}'/>"
        f"<text x='{x}' y='{y + 4}' text-anchor='middle' fill='white'>{escape(symbol)}</text>"
    )
