"""Time expectation values with their gradient on lattices of many qubits, by contraction.

    python -m benchmarks.lattices              # 49 and 127 qubits, into docs/results/lattices.json
    python -m benchmarks.lattices --only 49    # one of them, seconds; stores nothing

Times are processor time on one thread, minima of two; the search for the contraction trees is told
apart from them, and shorter where the cache folder holds trees already. Some derivatives are held
against central differences in double precision.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qtn_train.engines import ContractionEngine

from .circuits import circuit_of

OUT = Path(__file__).parents[1] / "docs" / "results" / "lattices.json"
#: Shape, qubits and layers; what is read: ⟨Z⟩ of the middle qubit, or ⟨ZZ⟩ on all edges.
CASES = (("7x7", 49, 4, "z"), ("heavy-hex", 127, 6, "bonds"))
ROUNDS, STEP, N_DIFFERENCES = 2, 1e-5, 4


def measure(shape: str, n_qubits: int, n_layers: int, request: str) -> dict[str, Any]:
    """Return the times of one case, and how far its gradient is from central differences."""
    circuit = circuit_of(shape, n_qubits, n_layers)
    pairs = dict.fromkeys(gate.qubits for gate in circuit.gates if len(gate.qubits) == 2)
    terms = [f"Z{n_qubits // 2}"] if request == "z" else [f"Z{a} Z{b}" for a, b in pairs]
    rng = torch.Generator().manual_seed(0)
    angles = (2 * torch.rand(circuit.n_angles, generator=rng, dtype=torch.float64) - 1) * torch.pi

    def values(at: Tensor, dtype: Any = "complex64") -> Tensor:
        return ContractionEngine(dtype=dtype).prepare(circuit, at).expectations(terms)

    free = angles.float().requires_grad_()
    times = []
    for _ in range(1 + ROUNDS):
        began = time.process_time()
        found = values(free)
        between = time.process_time()
        (gradient,) = torch.autograd.grad(found.sum(), free)
        times.append((between - began, time.process_time() - began))
        print(f"    values {times[-1][0]:.2f} s, with gradient {times[-1][1]:.2f} s", flush=True)
    exact = angles.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(values(exact, "complex128").sum(), exact)
    worst = 0.0
    for index in slopes.abs().argsort(descending=True)[:N_DIFFERENCES].tolist():
        step = torch.zeros_like(angles)
        step[index] = STEP
        with torch.no_grad():
            ends = [float(values(angles + s * step, "complex128").sum()) for s in (1, -1)]
        worst = max(worst, abs((ends[0] - ends[1]) / (2 * STEP) - float(slopes[index])))
    both = min(each for _, each in times[1:])
    return {
        "shape": shape,
        "n_qubits": n_qubits,
        "n_layers": n_layers,
        "request": request,
        "n_values": len(terms),
        "n_angles": circuit.n_angles,
        "search_s": round(times[0][1] - both, 2),
        "values_s": round(min(each for each, _ in times[1:]), 3),
        "gradient_s": round(both, 3),
        "single": float(f"{(gradient.double() - slopes).abs().max():.1e}"),
        "differences": float(f"{worst:.1e}"),
    }


def store(rows: list[dict[str, Any]]) -> None:
    """Write the rows as a result of the documentation."""
    result = {
        "title": "Lattices by contraction",
        "notes": "⟨Z⟩ of the middle qubit of a square grid, and ⟨ZZ⟩ on all edges of a heavy-"
        "hexagonal lattice: processor time on one thread, complex64, minima of two; the search for "
        "the trees, done once, is told apart. The gradient is that of the sum.",
        "command": "python -m benchmarks.lattices",
        "seconds": None,
        "columns": {
            "shape": "shape",
            "n_qubits": "qubits",
            "n_layers": "layers",
            "n_values": "values",
            "n_angles": "angles",
            "search_s": "search (s)",
            "values_s": "values (s)",
            "gradient_s": "with gradient (s)",
            "single": "gradient, complex64 against complex128",
            "differences": "complex128 against differences",
        },
        "rows": rows,
    }
    OUT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=int, choices=[case[1] for case in CASES], help="qubits")
    only = parser.parse_args().only
    torch.set_num_threads(1)
    rows = []
    for case in CASES:
        if only in (None, case[1]):
            rows.append(measure(*case))
            print(json.dumps(rows[-1]), flush=True)
    if only is None:
        store(rows)


if __name__ == "__main__":
    main()
