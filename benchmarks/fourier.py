"""Time quantum Fourier transforms of a chain beside quimb's CircuitMPS, in turns in one process.

    python -m benchmarks.fourier                 # 60 and 100 qubits, into docs/results/fourier.json
    python -m benchmarks.fourier --n-qubits 30   # one size, half a minute; stores nothing

Both compute in complex64 on one thread, without gradients: ours drops singular values that are 0
but for rounding, quimb cuts at its default cutoff of 1e-10. Times are minima of processor time over
the rounds, ours, quimb's, ours, quimb's.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import quimb.tensor as qtn
import torch

from qtn_train.circuits import Circuit
from qtn_train.engines import MPSEngine

OUT = Path(__file__).parents[1] / "docs" / "results" / "fourier.json"
#: Qubits, max_bond, and what is transformed: a state of random RY, or |0…0⟩ by Qiskit's QFT, which
#: ends with swaps. (Half of the swaps reverse half of the bits: a state of a much higher rank.)
CASES = ((60, 16, "random"), (100, None, "zero"))
ROUNDS = 2
Step = tuple[str, tuple[float, ...], tuple[int, ...]]


def steps(n_qubits: int, start: str) -> Iterator[Step]:
    """Yield name, angles and qubits of each gate: the start, the transform, and Qiskit's swaps."""
    if start == "random":
        rng = np.random.default_rng(0)
        for qubit in range(n_qubits):
            yield "ry", (rng.uniform(0, np.pi),), (qubit,)
    for qubit in range(n_qubits):
        yield "h", (), (qubit,)
        for other in range(qubit + 1, n_qubits):
            yield "cp", (np.pi / 2 ** (other - qubit),), (other, qubit)
    for qubit in range(n_qubits // 2 if start == "zero" else 0):
        yield "swap", (), (qubit, n_qubits - 1 - qubit)


def ours(gates: list[Step], n_qubits: int, max_bond: int | None) -> Any:
    """Return the state as a quimb object, by this package."""
    builder = Circuit.builder(n_qubits)
    for name, _, qubits in gates:
        builder.add(name, *qubits)
    angles = torch.tensor([angle for _, each, _ in gates for angle in each], dtype=torch.float64)
    return MPSEngine(max_bond).prepare(builder.build(), angles).mps


def quimbs(gates: list[Step], n_qubits: int, max_bond: int | None) -> Any:
    """Return the state by quimb."""
    circuit = qtn.CircuitMPS(n_qubits, max_bond=max_bond, dtype="complex64")
    names = {"h": "H", "ry": "RY", "cp": "CPHASE", "swap": "SWAP"}
    for name, angles, qubits in gates:
        circuit.apply_gate(names[name], *angles, *qubits)
    return circuit.psi


def measure(n_qubits: int, max_bond: int | None, start: str) -> dict[str, Any]:
    """Return the times of one transform, its largest bond, and the fidelity of the two states."""
    gates = list(steps(n_qubits, start))
    makers = {"ours_s": ours, "quimb_s": quimbs}
    best: dict[str, float] = dict.fromkeys(makers, float("inf"))
    states: dict[str, Any] = {}
    for _ in range(ROUNDS):
        for name, make in makers.items():
            began = time.process_time()
            states[name] = make(gates, n_qubits, max_bond)
            best[name] = min(best[name], time.process_time() - began)
            print(f"    {name} {time.process_time() - began:.2f}", flush=True)
    found, expected = states["ours_s"], states["quimb_s"]
    for state in (found, expected):
        state.apply_to_arrays(lambda array: np.asarray(array, dtype=np.complex128))
    expected.view_like_(found)
    # Site by site: among bonds of 1 a general contraction joins more of them than NumPy allows.
    overlap, norms = expected.overlap(found), expected.overlap(expected) * found.overlap(found)
    return {
        "n_qubits": n_qubits,
        "max_bond": max_bond,
        "start": start,
        **{name: round(seconds, 2) for name, seconds in best.items()},
        "ratio": round(best["ours_s"] / best["quimb_s"], 3),
        "largest_bond": found.max_bond(),
        "quimbs_bond": expected.max_bond(),
        "infidelity": float(f"{max(0.0, 1 - abs(overlap) ** 2 / abs(norms)):.1e}"),
    }


def store(rows: list[dict[str, Any]]) -> None:
    """Write the rows as a result of the documentation."""
    result = {
        "title": "Fourier transforms of a chain",
        "notes": "The quantum Fourier transform of a product of random RY rotations, without the "
        "swaps at its end, and Qiskit's, with them, of |0…0⟩, beside quimb's CircuitMPS with its "
        "default cutoff: processor time on one thread, complex64, no gradient, minima of two "
        "rounds in turns.",
        "command": "python -m benchmarks.fourier",
        "seconds": round(ROUNDS * sum(row["ours_s"] + row["quimb_s"] for row in rows), 1),
        "columns": {
            "n_qubits": "qubits",
            "max_bond": "max_bond",
            "start": "state transformed",
            "ours_s": "ours (s)",
            "quimb_s": "quimb (s)",
            "ratio": "ours / quimb",
            "largest_bond": "largest bond",
            "quimbs_bond": "quimb's",
            "infidelity": "infidelity of the two",
        },
        "rows": rows,
    }
    OUT.write_text(json.dumps(result, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-qubits", type=int, help="another size: a random product state")
    parser.add_argument("--max-bond", type=int, default=16, help="of another size")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sizes = CASES if args.n_qubits is None else ((args.n_qubits, args.max_bond, "random"),)
    rows = []
    for case in sizes:
        rows.append(measure(*case))
        print(json.dumps(rows[-1]), flush=True)
    if args.n_qubits is None:
        store(rows)


if __name__ == "__main__":
    main()
