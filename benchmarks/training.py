"""Time a training step beside that of the plain network, and where it goes.

    python -m benchmarks.training                     # the image network, batches of 128
    python -m benchmarks.training --dataset digits --threads 2

Steps of the default recipe and of the same network with all its weights trained take turns; then
the generator's forward and backward pass, and those of the circuit in it. Random inputs: the time
does not depend on them. Minima; with one thread in processor time, which other programs on the
machine disturb little.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch

from qtn_train.generators import CircuitGenerator
from qtn_train.recipes import RunOptions
from qtn_train.training import FitConfig, make_optimizer, training_step

ROUNDS = 40
#: Shape of an input, and number of classes.
INPUTS = {
    "iris": ((4,), 3), "digits": ((64,), 10), "mnist-mini": ((1, 28, 28), 10),
    "mnist": ((1, 28, 28), 10), "fashion-mnist": ((1, 28, 28), 10),
}  # fmt: skip


def measure(dataset: str, rounds: int, threads: int) -> dict[str, float]:
    """Return milliseconds of each part, and the ratio of the two steps."""
    options = RunOptions(dataset)
    model, config = options.model(), options.fit_config()
    generator = model.generator
    assert isinstance(generator, CircuitGenerator)
    shape, n_classes = INPUTS[dataset]
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(config.batch_size, *shape, generator=rng)
    y = torch.randint(n_classes, (config.batch_size,), generator=rng)

    def step_of(module: torch.nn.Module, config: FitConfig) -> Callable[[], object]:
        optimizer = make_optimizer(module, config)
        return lambda: training_step(module, optimizer, x, y, config.clip_norm)

    def circuit() -> None:
        reads, n = generator.measurement, generator.n_values
        state = generator.engine.prepare(generator.circuit, generator.angles, reads)
        reads.values(state, 0, n).sum().backward()

    calls: dict[str, Callable[[], object]] = {
        "step_ms": step_of(model, config),
        "plain_step_ms": step_of(options.target(), config),
        "generator_ms": lambda: generator().sum().backward(),
        "circuit_ms": circuit,
    }
    clock = time.process_time if threads == 1 else time.perf_counter
    best = dict.fromkeys(calls, float("inf"))
    for number in range(rounds + 2):
        for name, call in calls.items():
            began = clock()
            call()
            if number > 1:
                best[name] = min(best[name], 1e3 * (clock() - began))
    figures = {name: round(value, 3) for name, value in best.items()}
    return figures | {"ratio": round(best["step_ms"] / best["plain_step_ms"], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=list(INPUTS), default="mnist")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(json.dumps(vars(options) | measure(**vars(options))))


if __name__ == "__main__":
    main()
