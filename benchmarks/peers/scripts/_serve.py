"""The child's end of ``benchmarks.peers``: one case, then JSON lines of what to do with it.

    {"case": {...}}                         ->  {"versions": {...}, "precision": "complex64"}
    {"do": "forward" | "total", "to": path} ->  {"seconds": 0.1}, the result as a file of NumPy's
    {"do": "forward" | "total"}             ->  {"seconds": 0.1}
    {"do": "memory"}                        ->  {"mb": 812.5}

``forward`` gives all values, ``total`` the gradient of their product with the cotangent, or null
seconds where the peer has none. With one thread, seconds are processor time, which other programs
on the machine disturb little. A script needs its peer, NumPy and this file, nothing of ours.
"""

import importlib.metadata
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Case(NamedTuple):
    """What a script is asked to compute.

    Attributes:
        n_qubits: Number of qubits.
        gates: Name, qubits and indices of angles of each gate.
        angles: (n_angles,), radians.
        cotangent: (n_values,), the derivative of a loss by the values.
        request: ``all`` probabilities, ``z`` for ⟨Z⟩ of the middle qubit, ``pairs`` for all
            ⟨XᵢXⱼ⟩, then Y, then Z, i < j.
        max_bond: Largest bond dimension, or None.
    """

    n_qubits: int
    gates: list[tuple[str, list[int], list[int]]]
    angles: Array
    cotangent: Array
    request: str
    max_bond: int | None


class Passes(NamedTuple):
    """What a script can do with a case.

    Attributes:
        forward: Gives all values.
        total: Gives the gradient by the angles, forward pass included; None where there is none.
        precision: Type of the amplitudes.
    """

    forward: Callable[[], Array]
    total: Callable[[], Array] | None
    precision: str = "complex64"


def serve(make: Callable[[Case], Passes], packages: Sequence[str]) -> None:
    """Answer the lines that come in, until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a peer prints is no answer
    passes = None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if "case" in asked:
                passes = make(_case(asked["case"]))
                versions = {name: importlib.metadata.version(name) for name in packages}
                answer: dict[str, Any] = {"versions": versions, "precision": passes.precision}
            else:
                assert passes is not None
                answer = _answer(passes, asked)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def _case(sent: dict[str, Any]) -> Case:
    files = {name: np.load(sent[name]) for name in ("angles", "cotangent")}
    return Case(**(sent | files))


def _answer(passes: Passes, asked: dict[str, Any]) -> dict[str, Any]:
    if asked["do"] == "memory":
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return {"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
    call = passes.forward if asked["do"] == "forward" else passes.total
    if call is None:
        return {"seconds": None}
    clock = time.process_time if os.environ.get("OMP_NUM_THREADS") == "1" else time.perf_counter
    began = clock()
    found = call()
    seconds = clock() - began
    if "to" in asked:
        np.save(asked["to"], found)
    return {"seconds": seconds}
