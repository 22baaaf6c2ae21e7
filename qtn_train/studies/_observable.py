"""Expectation values of an observable of the user's own, beside those of an exact state."""

from __future__ import annotations

import math
import time
from typing import Any

import torch

from ..engines import ContractionEngine, Engine, MPSEngine, StatevectorEngine
from ..errors import must_be
from ..measurements import Expectation
from ..recipes import check_size
from ..recipes._observable import find_observable, is_own_observable, observable_text
from ._circuits import bond_count, exact_engine, make_angles, make_circuit, reference

Row = dict[str, Any]

_DENSE_QUBITS = 24
_FORM = "Pauli strings such as 'Z0 Z1', or file.py:function"


def with_hash(text: str) -> str:
    """Return what a study keeps of an observable: Pauli strings stay as they are."""
    if is_own_observable(text):
        return observable_text("observable", _FORM, text)
    if ".py" in text:
        raise ValueError(must_be("observable", _FORM, repr(text)))
    return text


def _found(settings: Row) -> Expectation:
    text, n_qubits = settings["observable"], settings["n_qubits"]
    if is_own_observable(text):
        return find_observable("observable", text, n_qubits)
    found = Expectation(text)
    found.check(n_qubits)
    return found


def check(point: Row) -> None:
    """Refuse circuits of too many gates, and observables that are none.

    Raises:
        ValueError: Too many gates, more than 24 qubits for the state vector, or no Pauli strings.
    """
    check_size(point["n_layers"], point["n_qubits"])
    if point["engine"] == "statevector" and point["n_qubits"] > _DENSE_QUBITS:
        expected = f"at most {_DENSE_QUBITS} for the engine statevector"
        raise ValueError(must_be("n_qubits", expected, point["n_qubits"], "Take the engine mps."))
    _found(point)


def observable(settings: Row, seed: int) -> Row:
    """Return the mean of an observable's sums, and their errors against an exact state."""
    circuit, terms = make_circuit(settings), _found(settings).terms
    angles = make_angles(settings, circuit, seed)
    kind, max_bond = settings["engine"], settings["max_bond"]
    engine: Engine
    if kind == "contraction":
        engine = ContractionEngine(dtype="complex128")
    elif kind == "mps":
        engine = MPSEngine(max_bond, dtype="complex128")
    elif kind == "statevector":
        engine = StatevectorEngine(dtype="complex128")
    else:
        engine = exact_engine(circuit, max_bond)
    began = time.process_time()
    with torch.no_grad():
        state = engine.prepare(circuit, angles)
        values = state.expectations(terms)
    row: Row = {
        "value": float(values.mean()),
        "processor_s": time.process_time() - began,
        "largest_bond": max(getattr(state, "bond_dims", [1]), default=1),
        "exact_bond": bond_count(circuit),
        "truncation_error": 0.0,
        "fidelity_estimate": 1.0,
        **state.diagnostics(),
    }
    exact = reference(settings["ansatz"], settings["n_qubits"], settings["n_layers"], seed)
    if exact is not None:
        with torch.no_grad():
            known = exact.expectations(terms)
        row["exact_value"] = float(known.mean())
        row["largest_error"] = float((values - known).abs().max())
        row["rms_error"] = math.sqrt(float((values - known).square().mean()))
    return row
