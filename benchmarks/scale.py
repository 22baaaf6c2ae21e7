"""Generate very many weights from a matrix product state, forward and backward.

    python -m benchmarks.scale     # 10^6, 10^7, 10^8 and GPT-2 small, into docs/results/scale.json
    python -m benchmarks.scale --n-weights 1000000 --json

Each size runs in a process of its own, so that peak memory is its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from qtn_train.circuits import ANSATZE
from qtn_train.engines import MPSEngine
from qtn_train.generators import CircuitGenerator, qubits_needed
from qtn_train.mapping import MLPMapping

OUT = Path(__file__).parents[1] / "docs" / "results" / "scale.json"
SIZES = (10**6, 10**7, 10**8, 124_439_808)


def measure(args: argparse.Namespace) -> dict[str, object]:
    """Return time and memory of one generation of all weights, and its backward pass."""
    n_qubits = qubits_needed(args.n_weights)
    circuit = ANSATZE[args.ansatz](n_qubits, args.layers)
    generator = CircuitGenerator(
        circuit,
        MPSEngine(args.max_bond),
        MLPMapping(2**n_qubits),
        n_weights=args.n_weights,
        chunk_size=args.chunk_size,
    )
    began = time.perf_counter()
    weights = generator()
    forward = time.perf_counter() - began
    weights.backward(torch.ones(()).expand_as(weights))
    total = time.perf_counter() - began
    assert generator.angles.grad is not None
    assert bool(torch.isfinite(generator.angles.grad).all())
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "n_weights": args.n_weights,
        "n_qubits": n_qubits,
        "ansatz": args.ansatz,
        "layers": args.layers,
        "max_bond": args.max_bond,
        "chunk_size": args.chunk_size,
        "threads": torch.get_num_threads(),
        "forward_s": forward,
        "total_s": total,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale,
    }


def show(row: dict[str, object]) -> None:
    print(
        f"{row['n_weights']:,} weights, N={row['n_qubits']}: "
        f"forward {row['forward_s']:.1f} s, with backward {row['total_s']:.1f} s, "
        f"peak {row['peak_memory_mb']:.0f} MB",
        flush=True,
    )


def store(rows: list[dict[str, object]]) -> None:
    result = {
        "title": "Very many weights",
        "notes": "Weights generated from a matrix product state, forward and backward, with an MLP "
        "mapping; peak memory is that of the process, of which importing torch takes 230 MB.",
        "command": "python -m benchmarks.scale",
        "seconds": round(sum(row["total_s"] for row in rows), 1),
        "columns": {
            "n_weights": "weights",
            "n_qubits": "qubits",
            "ansatz": "ansatz",
            "layers": "layers",
            "max_bond": "max_bond",
            "forward_s": "forward (s)",
            "total_s": "with backward (s)",
            "peak_memory_mb": "peak memory (MB)",
        },
        "figure": {
            "x": "n_weights",
            "y": "total_s",
            "log": "xy",
            "labels": ["weights", "forward and backward (s)"],
        },
        "rows": rows,
    }
    OUT.write_text(json.dumps(result, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-weights", type=int, default=None)
    parser.add_argument("--ansatz", choices=list(ANSATZE), default="u3-cu3-chain")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--max-bond", type=int, default=16)
    parser.add_argument("--chunk-size", type=int, default=2**16)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.n_weights is None:
        command = [sys.executable, "-m", "benchmarks.scale", *sys.argv[1:], "--json"]
        rows = []
        for size in SIZES:
            words = [*command, "--n-weights", str(size)]
            done = subprocess.run(words, check=True, stdout=subprocess.PIPE)
            rows.append(json.loads(done.stdout))
            show(rows[-1])
        store(rows)
        return
    result = measure(args)
    if args.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
