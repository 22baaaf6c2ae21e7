"""Time one forward and one backward pass of a circuit's probabilities, or correlators.

    python -m benchmarks.step --engine statevector --n-qubits 13 --layers 16 --json
    python -m benchmarks.step --ansatz ry-cx-chain --n-qubits 13 --layers 20 --batch 64
    python -m benchmarks.step --engine mps --ansatz cz-chain --n-qubits 68 --layers 6 --pauli 2

Times are minima, in seconds; ``total_in_matmuls`` is the total in units of one 1024 x 1024
complex64 matrix product of the same process and threads: that compares across machines. With
``--batch``, ``loop_over_batch`` says how many times longer a loop takes than the batch at once.
``--pauli 2`` reads all two-body correlators, or with ``--reach`` those of near qubits, in place of
the probabilities.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from qtn_train.circuits import ANSATZE
from qtn_train.engines import Engine, MPSEngine, State, StatevectorEngine
from qtn_train.measurements import PauliCorrelators

REPETITIONS = 20


def minimum(call: Callable[[], object]) -> float:
    """Return the shortest of many calls, after a warm-up."""
    best = float("inf")
    for number in range(REPETITIONS + 3):
        synchronize()
        began = time.perf_counter()
        call()
        synchronize()
        if number >= 3:
            best = min(best, time.perf_counter() - began)
    return best


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def make_engine(args: argparse.Namespace) -> Engine:
    if args.engine == "mps":
        return MPSEngine(args.max_bond, dtype=args.dtype)
    return StatevectorEngine(dtype=args.dtype)


def values_read(args: argparse.Namespace) -> tuple[int, Callable[[State], torch.Tensor]]:
    """Return how many values a step reads of a state, and what reads them."""
    if args.pauli:
        reads = PauliCorrelators(args.pauli, reach=args.reach)
        n = reads.n_values(args.n_qubits)
        return n, lambda state: reads.values(state, 0, n)
    return 2**args.n_qubits, lambda state: state.probs(0, 2**args.n_qubits)


def batch_figures(args: argparse.Namespace) -> dict[str, float]:
    """Time forward and backward passes of many vectors of angles, at once and in a loop."""
    generator = torch.Generator().manual_seed(1)
    circuit, engine = ANSATZE[args.ansatz](args.n_qubits, args.layers), make_engine(args)
    rows = torch.rand((args.batch, circuit.n_angles), generator=generator).to(args.device)
    rows = (6 * rows - 3).requires_grad_()
    n, read = values_read(args)
    cotangent = torch.rand(n, generator=generator).to(args.device)

    def both(angles: torch.Tensor) -> None:
        values = read(engine.prepare(circuit, angles))
        torch.autograd.grad(values, angles, cotangent.to(values.dtype).expand_as(values))

    def loop() -> None:
        for row in rows:
            both(row)

    at_once, one_by_one = minimum(lambda: both(rows)), minimum(loop)
    return {"batch_s": at_once, "loop_s": one_by_one, "loop_over_batch": one_by_one / at_once}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return all figures of one setting."""
    device = torch.device(args.device)
    generator = torch.Generator().manual_seed(0)
    circuit = ANSATZE[args.ansatz](args.n_qubits, args.layers)
    angles = ((torch.rand(circuit.n_angles, generator=generator) * 2 - 1) * torch.pi).to(device)
    angles.requires_grad_()
    n, read = values_read(args)
    cotangent = torch.rand(n, generator=generator).to(device, torch.float32)
    engine = make_engine(args)

    def both() -> None:
        angles.grad = None
        values = read(engine.prepare(circuit, angles))
        values.backward(cotangent.to(values.dtype))

    forward = minimum(lambda: read(engine.prepare(circuit, angles)))
    total = minimum(both)
    matrix = torch.randn(1024, 1024, dtype=torch.complex64, generator=generator).to(device)
    matmul = minimum(lambda: torch.matmul(matrix, matrix))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if mac() else 2**10)
    result = {
        "engine": args.engine,
        "ansatz": args.ansatz,
        "n_qubits": args.n_qubits,
        "layers": args.layers,
        "n_values": n,
        "dtype": args.dtype,
        "device": args.device,
        "threads": torch.get_num_threads(),
        "forward_s": forward,
        "backward_s": total - forward,
        "total_s": total,
        "matmul_s": matmul,
        "total_in_matmuls": total / matmul,
        "peak_memory_mb": peak,
    }
    if args.engine == "mps":
        result["max_bond"] = args.max_bond
    if args.batch:
        result |= {"batch": args.batch, **batch_figures(args)}
    if device.type == "cuda":
        result["peak_device_memory_mb"] = torch.cuda.max_memory_allocated(device) / 2**20
    return result


def mac() -> bool:
    return sys.platform == "darwin"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=["statevector", "mps"], default="statevector")
    parser.add_argument("--ansatz", choices=list(ANSATZE), default="u3-cu3-ring")
    parser.add_argument("--n-qubits", type=int, default=13)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--max-bond", type=int, default=None)
    parser.add_argument("--pauli", type=int, help="read correlators of so many qubits")
    parser.add_argument("--reach", type=int, help="largest distance between a correlator's qubits")
    parser.add_argument("--batch", type=int, help="time so many vectors of angles at once, too")
    parser.add_argument("--dtype", choices=["complex64", "complex128"], default="complex64")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = measure(args)
    if args.json:
        print(json.dumps(result))
        return
    print(
        f"{args.engine} {args.ansatz} N={args.n_qubits} L={args.layers}: "
        f"forward {1e3 * result['forward_s']:.1f} ms, "
        f"backward {1e3 * result['backward_s']:.1f} ms, "
        f"total {result['total_in_matmuls']:.2f} matmuls of {1e3 * result['matmul_s']:.1f} ms, "
        f"peak {result['peak_memory_mb']:.0f} MB"
        + (f", loop over batch {x:.2f}" if (x := result.get("loop_over_batch")) else "")
    )


if __name__ == "__main__":
    main()
