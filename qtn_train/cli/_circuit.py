"""The command line of circuits: ``qtn-train circuit show | convert``."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import MissingExtra, RunError, UnsupportedByEngine, must_be, needs_extra
from ._help import Command, examples

if TYPE_CHECKING:
    from ..circuits import Circuit
    from ..engines._auto import Estimate
    from ..exchange import ImportedCircuit

app = typer.Typer(
    help="Circuits in files: look at one, or write it for another tool.", rich_markup_mode=None
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A program in OpenQASM 2 or 3.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]

_TARGETS = ("openqasm3", "openqasm2", "braket", "qiskit")

#: Probabilities that are asked for where a program measures more qubits than these have.
_MOST_OUTCOMES = 2**20
_SHOWN_NAMES = 12


@app.command(
    cls=Command,
    epilog=examples(
        "qtn-train circuit show ghz.qasm", "qtn-train circuit show ansatz.qasm --outcomes 1000"
    ),
)
def show(
    source: File,
    outcomes: Annotated[
        int | None,
        typer.Option(
            help="Probabilities that the estimates are for; by default all of the measured qubits "
            "(of all, if none is measured), at most 2^20."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw a program's circuit; print its size, and what each engine would need for it."""
    from ..engines import choose_engine

    found = _read(source)
    circuit = found.circuit
    n_bits = len(set(found.measured)) or circuit.n_qubits
    if outcomes is None:
        outcomes = _MOST_OUTCOMES if n_bits > 20 else 2**n_bits
    elif outcomes < 1 or (outcomes - 1).bit_length() > circuit.n_qubits:
        expected = f"from 1 to 2^{circuit.n_qubits}"
        raise ValueError(must_be("outcomes", expected, outcomes))
    try:
        reason = choose_engine(circuit, outcomes)[1]
    except UnsupportedByEngine as error:
        reason = f"auto: {error}"
    result = {
        "n_qubits": circuit.n_qubits,
        "n_gates": len(circuit),
        "gates": dict(Counter(gate.name for gate in circuit.gates).most_common()),
        "depth": _depth(circuit),
        "inputs": list(found.inputs),
        "n_angles": circuit.n_angles,
        "measured": list(found.measured),
        "outcomes": outcomes,
        "estimates": {
            name: None
            if one is None
            else {"seconds": _finite(one.seconds), "bytes": _finite(one.bytes)}
            for name, one in _estimates(circuit, outcomes).items()
        },
        "auto": reason,
    }
    if as_json:
        print(json.dumps(result, sort_keys=True))
    else:
        print(circuit)
        print("\n".join(_lines(result)))


@app.command(
    cls=Command,
    epilog=examples(
        "qtn-train circuit convert old.qasm --to openqasm3",
        "qtn-train circuit convert ansatz.qasm --to openqasm2 --values theta=0.3,phi=1.2",
        "qtn-train circuit convert ansatz.qasm --to qiskit --out ansatz.qpy",
    ),
)
def convert(
    source: File,
    to: Annotated[
        str,
        typer.Option(
            help="openqasm3, openqasm2, braket (its dialect of OpenQASM 3) or qiskit (a QPY file, "
            "with --out)."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="File to write; printed without.")] = None,
    values: Annotated[
        str | None, typer.Option(help="Numbers for the inputs: name=number, with commas.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a program for another tool: inputs keep their names, and bits their order."""
    to = to.lower()
    if to not in _TARGETS:
        hint = "Others read OpenQASM, or take qtn_train.export_circuit in Python."
        raise ValueError(must_be("to", f"one of {', '.join(_TARGETS)}", repr(to), hint))
    if to == "qiskit" and out is None:
        raise ValueError(must_be("out", "given for the target qiskit", "nothing"))
    content = _written(_read(source), to, None if values is None else _numbers(values))
    if out is not None:
        from .._files import write_atomically

        try:
            write_atomically(out, content)
        except OSError as error:
            actual = f"{out} ({error.strerror or error})"
            raise RunError(must_be("out", "a file that can be written", actual)) from error
    result: dict[str, Any] = {"to": to, "bytes": len(content)}
    result |= {"text": content.decode()} if out is None else {"out": str(out)}
    if as_json:
        print(json.dumps(result, sort_keys=True))
    elif out is None:
        sys.stdout.write(content.decode())
    else:
        print(f"wrote {out}")


def _read(path: Path) -> ImportedCircuit:
    from ..exchange import import_circuit

    if not path.exists() or path.is_dir():
        actual = "a folder" if path.is_dir() else "nothing there"
        raise FileNotFoundError(must_be(str(path), "a file with a program in OpenQASM", actual))
    return import_circuit(path)


def _depth(circuit: Circuit) -> int:
    """Length of the longest path of gates."""
    depths = [0] * circuit.n_qubits
    for gate in circuit.gates:
        reached = 1 + max(depths[qubit] for qubit in gate.qubits)
        for qubit in gate.qubits:
            depths[qubit] = reached
    return max(depths)


def _estimates(circuit: Circuit, outcomes: int) -> dict[str, Estimate | None]:
    from ..engines import _auto

    request = _auto.Request(outcomes)
    dense, chain = _auto.statevector_estimate, _auto.mps_estimate
    return {
        "statevector": dense(circuit, request),
        "mps": chain(circuit, request),
        "contraction": _auto.contraction_estimate(circuit, request),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _lines(result: dict[str, Any]) -> list[str]:
    """What ``show`` prints below the drawing."""
    counts = ", ".join(f"{name} {count:,}" for name, count in result["gates"].items())
    measured = _listed([f"q{qubit}" for qubit in result["measured"]])
    lines = [
        ("qubits", f"{result['n_qubits']:,}"),
        ("gates", f"{result['n_gates']:,}" + (f" ({counts})" if counts else "")),
        ("depth", f"{result['depth']:,}"),
        ("inputs", _listed(result["inputs"])),
        ("measured", measured),
        ("estimates for", f"{result['outcomes']:,} probabilities, forward and backward"),
    ]
    for name, one in result["estimates"].items():
        text = "not looked for in so many gates or probabilities"
        if one is not None:
            text = f"{_amount(one['seconds'], 1.0)} s, {_amount(one['bytes'], 2.0**20)} MiB"
        lines.append((f"  {name}", text))
    return [f"{name:16}{text}" for name, text in lines] + [result["auto"]]


def _amount(value: float | None, unit: float) -> str:
    return "more than any" if value is None else f"{value / unit:.2g}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN_NAMES:,} more" if len(names) > _SHOWN_NAMES else ""
    return (", ".join(names[:_SHOWN_NAMES]) or "none") + more


def _numbers(text: str) -> dict[str, float]:
    numbers = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        try:
            numbers[name.strip()] = float(number)
        except ValueError as error:
            hint = "For example theta=0.3,phi=1.2."
            raise ValueError(
                must_be("values", "name=number, with commas", repr(part), hint)
            ) from error
    return numbers


def _written(found: ImportedCircuit, to: str, values: dict[str, float] | None) -> bytes:
    """A program as a file of another tool."""
    from ..exchange import export_circuit

    try:
        made = export_circuit(found, values, to)  # type: ignore[arg-type]
    except ImportError as error:
        need = f"the target {to} needs"
        text = needs_extra(need, "braket")
        if to != "braket":
            text = f"{need} the package {to}: pip install {to}."
        raise MissingExtra(text) from error
    if isinstance(made, str):
        return made.encode()
    if to == "braket":
        made = made.measure([*found.measured]) if found.measured else made
        return bytes(made.to_ir("OPENQASM").source.rstrip("\n") + "\n", "utf-8")
    return _qpy(made, found.measured)


def _qpy(made: Any, measured: tuple[int, ...]) -> bytes:
    import io

    from qiskit import ClassicalRegister, qpy

    if measured:
        made.add_register(ClassicalRegister(len(measured), "c"))
        made.measure(list(measured), range(len(measured)))
    stream = io.BytesIO()
    qpy.dump(made, stream)
    return stream.getvalue()
