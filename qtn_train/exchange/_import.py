"""The way in: the reader that a source needs, found by the module of the source's type."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import must_be
from ._imported import ImportedCircuit
from ._scan import MAX_TEXT

#: Package of an object -> the module here that reads its circuits.
_READERS = {
    "qiskit": "_qiskit",
    "pennylane": "_pennylane",
    "cirq": "_cirq",
    "braket": "_braket",
    "quimb": "_quimb",
}
_EXPECTED = "OpenQASM text or its path, or a circuit of Qiskit, PennyLane, Cirq, Braket or quimb"


def import_circuit(source: Any, *arguments: Any) -> ImportedCircuit:
    """Read a circuit from text or from another package's object.

    Qubits keep their numbers: a register's qubit 0, Qiskit's qubit 0 and the first of Cirq's
    sorted qubits are qubit 0 here, the most significant bit of an outcome. What a program measures
    stands in ``measured``, and is applied on request.

    Args:
        source: OpenQASM 2 or 3 (text, a path, or an open file); a ``qiskit.QuantumCircuit``, whose
            parameters become inputs; a PennyLane tape or QNode, whose trainable parameters or
            arguments do; a ``cirq.Circuit`` (its symbols); a ``braket.circuits.Circuit`` (its free
            parameters); a quimb ``Circuit``.
        *arguments: For a QNode only: what it is called with; every number in them is an input.

    Returns:
        The circuit, its inputs, the map from them to the circuit's angles, and what is measured.

    Raises:
        TypeError: ``source`` is none of these.
        ValueError: Something in it cannot be a circuit that ends with measurements, or an angle is
            not linear in the inputs; the message names it.
        OSError: The path cannot be read.

    Example:
        >>> found = import_circuit("OPENQASM 3.0; qubit[2] q; h q[0]; ctrl @ x q[0], q[1];")
        >>> print(found.circuit)
        q0: ─H─●─
        q1: ───X─
    """
    for cls in type(source).__mro__:
        reader = _READERS.get(cls.__module__.partition(".")[0])
        if reader is not None:
            read: Callable[..., ImportedCircuit] = import_module(f".{reader}", __package__).read
            return read(source, *arguments)
    if arguments:
        raise TypeError(must_be("arguments", "left out for other sources than a QNode", arguments))
    from ._read import read as read_text

    return read_text(source_text(source))


def source_text(source: Any) -> str:
    """Return the text of a program: its own, or that of a path or an open file.

    Raises:
        TypeError: ``source`` is none of these.
        ValueError: The file is too large, or not in UTF-8.
        FileNotFoundError: There is no such file.
        OSError: The path cannot be read.
    """
    if isinstance(source, os.PathLike) or (isinstance(source, str) and is_path(source)):
        path = Path(source)
        if path.is_file() and path.stat().st_size > MAX_TEXT:
            expected = f"a file of at most {MAX_TEXT} bytes"
            raise ValueError(must_be("source", expected, path.stat().st_size))
        try:
            content: Any = path.read_bytes()
        except FileNotFoundError as error:
            expected = "a file with a program in OpenQASM"
            raise FileNotFoundError(must_be(str(source), expected, "nothing there")) from error
    else:
        content = source.read() if hasattr(source, "read") else source
    if isinstance(content, bytes):
        try:
            content = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(must_be("source", "text in UTF-8", "other bytes")) from error
    if not isinstance(content, str):
        raise TypeError(must_be("source", _EXPECTED, type(source).__name__))
    return content


def is_path(text: str) -> bool:
    """Return whether a string is a path: every program has a semicolon, and a path has none."""
    return bool(text.strip()) and ";" not in text and "\n" not in text and len(text) < 4096
