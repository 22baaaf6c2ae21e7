"""What shots and noise cost: accuracy, weights and gradients against both.

    python -m benchmarks.shots --json docs/results/shots.json           # all parts, about an hour
    python -m benchmarks.shots --json docs/results/shots.json --parts gradient --figure shots.png

Parts: ``regenerate`` (networks trained exactly, their weights counted again at finite shots),
``noise`` (the same through noise), ``gradient`` (bias and spread of its estimate), ``train``
(training at finite shots) and ``device-model`` (the noise of ``NoisyEngine`` beside errors gate by
gate on Braket's density-matrix simulator; needs the extra ``braket``). Each row is written as soon as it
is there; a part run again replaces its old rows. Networks are kept in ``runs/shots``.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from qtn_train._cli_run import versions
from qtn_train._files import write_atomically
from qtn_train._random import raw_bits, uniform
from qtn_train.circuits import ANSATZE, Circuit
from qtn_train.data import Dataset, load
from qtn_train.engines import CountingEngine, Engine, NoisyEngine, StatevectorEngine
from qtn_train.engines._counts import Counts, Program
from qtn_train.hybrid import QuantumTrain
from qtn_train.mapping._base import amplitude_feature
from qtn_train.training import (
    build_model,
    default_circuit,
    evaluate,
    fit,
    fit_config,
    target_for,
)

Row = dict[str, Any]

SEEDS = (0, 1, 2)
SHOTS = (10**3, 10**4, 10**5, 10**6, 10**7)
TWO_QUBIT_ERRORS = (1e-5, 1e-4, 1e-3, 1e-2)
#: Counts added to those of every outcome.
SMOOTHING = (0.0, 0.5)
READOUT_ERRORS = (0.001, 0.003, 0.01, 0.03)
#: P(read 0 | 1) is twice P(read 1 | 0), as a qubit that relaxes shows it.
ASYMMETRY = 2.0
RUNS = Path("runs/shots")


class Network(NamedTuple):
    """A network that is trained exactly, and regenerated afterwards."""

    dataset: str
    ansatz: str
    n_layers: int
    epochs: int


#: Those that regenerate: the recipes' circuits; N = 8, 12 and 13.
NETWORKS = (
    Network("iris", "ry-cx-chain", 4, 60),
    Network("digits", "u3-cu3-ring", 16, 40),
    Network("mnist-mini", "u3-cu3-ring", 16, 10),
)
#: Those that train at finite shots: few enough angles for parameter shift.
SMALL = (Network("iris", "ry-cx-chain", 4, 60), Network("digits", "ry-cx-chain", 4, 40))


class Replaying(CountingEngine):
    """Counts of circuits whose probabilities are computed once: many draws at one point."""

    max_qubits = 14
    simulator = StatevectorEngine()

    def __init__(self, shots: int, smoothing: float) -> None:
        super().__init__(shots, gradient="parameter-shift")
        self.smoothing = smoothing
        self.kept: dict[bytes, np.ndarray] = {}

    def _measure(self, programs: Sequence[Program], position: int) -> list[list[Counts]]:
        return [self._rows(program, position) for program in programs]

    def _rows(self, program: Program, position: int) -> list[Counts]:
        key = program.angles.numpy().tobytes()
        if key not in self.kept:
            simulator = NoisyEngine(StatevectorEngine(), 0)
            rows = [simulator.noisy_probs(program.circuit, row) for row in program.angles]
            probs = torch.stack(rows).clamp_min(0).numpy()
            self.kept[key] = probs / probs.sum(1, keepdims=True)
        rng = np.random.Generator(np.random.Philox(raw_bits(self.seed, f"{position}", 1)))
        drawn = torch.from_numpy(rng.multinomial(self.shots, self.kept[key]))
        seen = [row.nonzero().reshape(-1) for row in drawn]
        return [Counts(outcomes, row[outcomes]) for outcomes, row in zip(seen, drawn, strict=True)]


def make(network: Network, seed: int, engine: Engine | None = None) -> QuantumTrain:
    """Return an untrained model."""
    n_weights = sum(p.numel() for p in target_for(network.dataset).parameters())
    _, circuit = default_circuit(
        network.dataset, n_weights, ansatz=network.ansatz, n_layers=network.n_layers
    )
    return build_model(network.dataset, circuit, engine or StatevectorEngine(), seed=seed)


@lru_cache
def data_of(name: str) -> Dataset:
    """Return a data set."""
    return load(name)


def trained(network: Network, seed: int) -> QuantumTrain:
    """Return a model trained exactly by the default recipe, from disk where it was trained."""
    name = "-".join(str(part) for part in (*network, seed))
    path = RUNS / f"{name}.safetensors"
    if path.exists():
        return QuantumTrain.load(path, target_for(network.dataset)).eval()
    model = make(network, seed)
    config = fit_config(network.dataset, seed=seed).but(epochs=network.epochs)
    fit(model, data_of(network.dataset), config, progress_bar=sys.stderr.isatty())
    RUNS.mkdir(parents=True, exist_ok=True)
    model.save(path)
    return model.eval()


def seen_through(model: QuantumTrain, engine: Engine) -> tuple[Tensor, Tensor]:
    """Return all weights of the network, and the feature of each probability, on an engine."""
    generator: Any = model.generator
    generator.engine = engine
    with torch.no_grad():
        state = engine.prepare(generator.circuit, generator.angles, generator.n_outcomes)
        feature = amplitude_feature(
            state.probs(0, generator.n_outcomes), generator.circuit.n_qubits
        )
    weights = torch.cat([p.detach().flatten() for p in model.export().parameters()])
    return weights, feature


def regenerated(model: QuantumTrain, engines: list[Engine], data: Dataset) -> Row:
    """Compare the network that engines generate with the exact one, over as many draws."""
    exact_weights, exact_feature = seen_through(model, StatevectorEngine())
    weights, features, accuracies = [], [], []
    for engine in engines:
        drawn, feature = seen_through(model, engine)
        weights.append(drawn - exact_weights)
        features.append(feature - exact_feature)
        engine.position = 0  # the same counts again
        accuracies.append(evaluate(model, data.x_test, data.y_test)[1])
    errors, size = torch.stack(weights), exact_weights.norm()
    return {
        "test_accuracy": float(np.mean(accuracies)),
        "test_accuracy_spread": float(np.std(accuracies)),
        "weight_error": float(errors.square().sum(1).mean().sqrt() / size),
        "weight_bias": float(errors.mean(0).norm() / size),
        "feature_error": float(torch.stack(features).square().mean().sqrt()),
        "draws": len(engines),
    }


def noisy(shots: int, seeds: int, **options: Any) -> list[Engine]:
    """Return engines that differ in their seeds; one where nothing is drawn."""
    every = range(seeds) if shots else range(1)
    return [NoisyEngine(StatevectorEngine(), shots, seed=seed, **options) for seed in every]


def cases(networks: tuple[Network, ...]) -> Iterator[tuple[Network, QuantumTrain, Dataset, Row]]:
    """Give each trained network of each seed, with the first columns of its rows."""
    for network in networks:
        for seed in SEEDS:
            model, data = trained(network, seed), data_of(network.dataset)
            circuit: Circuit = model.generator.circuit
            head = {"dataset": network.dataset, "seed": seed, "n_qubits": circuit.n_qubits}
            yield network, model, data, head | {"n_weights": model.n_weights}


def regenerate(draws: int = 10) -> Iterator[Row]:
    """Count the weights of trained networks again, at finite shots."""
    for _, model, data, head in cases(NETWORKS):
        for shots, smoothing in [(s, a) for s in SHOTS for a in SMOOTHING] + [(0, 0.0)]:
            engines = noisy(shots, draws, smoothing=smoothing)
            row = {"shots": shots, "smoothing": smoothing}
            yield head | row | regenerated(model, engines, data)


def readout(rate: float) -> tuple[float, float]:
    """Return P(1|0) and P(0|1) whose mean is a rate."""
    low = 2 * rate / (1 + ASYMMETRY)
    return low, ASYMMETRY * low


def noise(draws: int = 3) -> Iterator[Row]:
    """Generate the weights of trained networks through noise."""
    for _, model, data, head in cases(NETWORKS):
        for error in TWO_QUBIT_ERRORS:
            engines = noisy(0, 1, two_qubit_error=error)
            kept = (1 - error) ** n_two_qubit(model)
            row = {"two_qubit_error": error, "kept": kept, "shots": 0}
            yield head | row | regenerated(model, engines, data)
        for rate in READOUT_ERRORS:
            for shots, mitigated in ((0, False), (10**6, False), (10**6, True), (10**7, True)):
                options = {"readout_error": readout(rate), "mitigate_readout": mitigated}
                row = {"readout_error": rate, "mitigated": mitigated, "shots": shots}
                yield head | row | regenerated(model, noisy(shots, draws, **options), data)


def n_two_qubit(model: QuantumTrain) -> int:
    """Return the number of two-qubit gates that a device would execute."""
    from qtn_train.engines._noisy import n_two_qubit_gates

    return n_two_qubit_gates(model.generator.circuit)


def gradient() -> Iterator[Row]:
    """Hold the mean of many gradient estimates against the exact gradient."""
    for network, draws in zip(SMALL, (60, 30), strict=True):
        for seed in SEEDS:
            data = data_of(network.dataset)
            points = {"start": make(network, seed)}
            if network.dataset == "iris":
                points["end"] = trained(network, seed)
            for point, model in points.items():
                for shots, smoothing in [(s, a) for s in SHOTS for a in SMOOTHING]:
                    head = {"dataset": network.dataset, "seed": seed, "point": point}
                    head |= {"shots": shots, "smoothing": smoothing}
                    yield head | estimates(model, data, shots, smoothing, draws)


def estimates(model: QuantumTrain, data: Dataset, shots: int, smoothing: float, draws: int) -> Row:
    """Return bias and spread of the estimated loss and gradient at one point."""
    n = 256
    generator: Any = model.generator

    def at(engine: Engine) -> tuple[float, dict[str, Tensor]]:
        generator.engine = engine
        model.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(data.x_train[:n]), data.y_train[:n])
        loss.backward()
        parts = ((role, ps) for role, ps in model.parts().items() if ps)
        return float(loss.detach()), {
            role: torch.cat([p.grad.flatten().double() for p in ps if p.grad is not None])
            for role, ps in parts
        }

    loss, exact = at(StatevectorEngine())
    replaying = Replaying(shots, smoothing)
    drawn = [at(replaying) for _ in range(draws)]
    losses = np.array([value for value, _ in drawn])
    row: Row = {"draws": draws, "loss": loss, "n_qubits": generator.circuit.n_qubits}
    row["loss_bias"] = float(losses.mean() - loss)
    row["loss_bias_error"] = float(losses.std(ddof=1) / np.sqrt(draws))
    for role, truth in exact.items():
        row |= compare(role, truth, torch.stack([grads[role] for _, grads in drawn]))
    return row


def compare(role: str, truth: Tensor, drawn: Tensor) -> Row:
    """Return bias, its error, and spread of a gradient, relative to the exact one's norm."""
    size, mean = truth.norm(), drawn.mean(0)
    variance = float((drawn - mean).square().sum() / (len(drawn) - 1))
    squared = float((mean - truth).square().sum()) - variance / len(drawn)
    return {
        # The mean of ‖mean − truth‖² is bias² + variance/draws: the second part is taken off.
        f"{role}_bias": float(np.sqrt(max(squared, 0.0)) / size),
        f"{role}_bias_floor": float(np.sqrt(variance / len(drawn)) / size),
        f"{role}_deviation": float(np.sqrt(variance) / size),
        f"{role}_slope": float(mean @ truth / size**2),
    }


def train() -> Iterator[Row]:
    """Train at finite shots and through noise; with frozen angles as the control."""
    few = [{"shots": 10**4, "smoothing": a} for a in SMOOTHING]
    settings: list[Row] = [*few, {"shots": 10**5}, {"shots": 0}]
    settings += [{"shots": shots, "frozen": True} for shots in (10**4, 10**5, 0)]
    fewer = [{"shots": 10**3, "smoothing": a} for a in SMOOTHING]
    fewer.append({"shots": 10**3, "frozen": True})
    noisy_settings: list[Row] = [
        {"shots": 10**5, "two_qubit_error": 1e-3},
        {"shots": 10**5, "two_qubit_error": 1e-2},
        {"shots": 10**5, "readout_error": 0.03, "mitigated": False},
        {"shots": 10**5, "readout_error": 0.03, "mitigated": True},
    ]
    for network, chosen in (
        (SMALL[0], settings + fewer + noisy_settings),
        (SMALL[1], settings),
    ):
        for setting in chosen:
            for seed in SEEDS:
                head = {"dataset": network.dataset, "seed": seed}
                yield head | setting | trained_at(network, seed, **setting)


def trained_at(
    network: Network,
    seed: int,
    shots: int,
    *,
    frozen: bool = False,
    smoothing: float = 0.0,
    two_qubit_error: float = 0.0,
    readout_error: float = 0.0,
    mitigated: bool = False,
) -> Row:
    """Train through counts, and regenerate from new counts and exactly."""
    options = {"two_qubit_error": two_qubit_error, "readout_error": readout(readout_error)}

    def engine(seed: int) -> NoisyEngine:
        return NoisyEngine(
            StatevectorEngine(),
            shots,
            gradient="parameter-shift",
            seed=seed,
            mitigate_readout=mitigated,
            smoothing=smoothing,
            **options,
        )

    exact = not (shots or two_qubit_error or readout_error)
    model = make(network, seed, StatevectorEngine() if exact else engine(seed))
    generator: Any = model.generator
    generator.angles.requires_grad_(not frozen)
    data, config = data_of(network.dataset), fit_config(network.dataset, seed=seed, counted=True)
    began = time.perf_counter()
    history = fit(model, data, config, progress_bar=False)
    seconds = time.perf_counter() - began
    accuracies = []
    for draw in range(5):
        generator.engine = StatevectorEngine() if exact else engine(1000 + draw)
        accuracies.append(evaluate(model, data.x_test, data.y_test)[1])
    generator.engine = StatevectorEngine()
    return {
        "n_qubits": generator.circuit.n_qubits,
        "train_loss": history.epochs[-1]["train_loss"],
        "test_accuracy": float(np.mean(accuracies)),
        "test_accuracy_exact": evaluate(model, data.x_test, data.y_test)[1],
        "seconds": round(seconds, 1),
    }


def device_model() -> Iterator[Row]:
    """Hold global depolarizing noise against errors gate by gate (density matrices)."""
    for ansatz, n_qubits, n_layers in (
        ("ry-cx-chain", 5, 1),
        ("ry-cx-chain", 5, 4),
        ("ry-cx-chain", 5, 12),
        ("u3-cu3-ring", 4, 1),
        ("u3-cu3-ring", 4, 4),
        ("u3-cu3-ring", 6, 4),
    ):
        circuit = ANSATZE[ansatz](n_qubits, n_layers)
        for pauli_error in (0.001, 0.01):
            for seed in SEEDS:
                angles = np.pi * uniform(seed, "angles", circuit.n_angles)
                head = {"ansatz": ansatz, "n_qubits": n_qubits, "n_layers": n_layers}
                yield head | {"seed": seed} | deviation(circuit, angles, pauli_error)


def deviation(circuit: Circuit, angles: np.ndarray, pauli_error: float) -> Row:
    """Return total variation distances between ideal, modelled and simulated distributions."""
    from qtn_train.engines._noisy import n_two_qubit_gates

    row = torch.from_numpy(angles)
    error = 16 / 15 * pauli_error
    ideal = NoisyEngine(StatevectorEngine(), 0).noisy_probs(circuit, row)
    model = NoisyEngine(StatevectorEngine(), 0, two_qubit_error=error).noisy_probs(circuit, row)
    truth = gate_by_gate(circuit, row, pauli_error)
    flat = 1 / len(truth)
    kept = float((truth - flat) @ (ideal - flat) / (ideal - flat).square().sum())
    return {
        "pauli_error": pauli_error,
        "two_qubit_error": error,
        "n_two_qubit": n_two_qubit_gates(circuit),
        "kept": (1 - error) ** n_two_qubit_gates(circuit),
        "kept_fitted": kept,
        "distance_noise": float((truth - ideal).abs().sum() / 2),
        "distance_model": float((truth - model).abs().sum() / 2),
    }


def gate_by_gate(circuit: Circuit, angles: Tensor, pauli_error: float) -> Tensor:
    """Return the probabilities with a depolarizing channel after each CX, by density matrices."""
    from braket.circuits import Gate, Noise

    from qtn_train.engines._braket._devices import resolve
    from qtn_train.engines._braket._programs import bind
    from qtn_train.engines._counts import Program

    target = resolve("local:dm")
    bound = bind(Program(circuit, angles[None]), target, shots=0)
    noisy = bound.at(0).apply_gate_noise(
        Noise.TwoQubitDepolarizing(pauli_error), target_gates=[Gate.CNot]
    )
    result = target.device.run(noisy, shots=0).result()
    return torch.from_numpy(np.asarray(result.values[0], dtype=np.float64))


def fits(rows: dict[str, list[Row]]) -> Row:
    """Fit how many shots the weights need: error = a·(shots/2^N)^−b, where shots are many."""
    result: Row = {}
    regenerated_rows = [
        row for row in rows.get("regenerate", []) if row["shots"] and not row["smoothing"]
    ]
    ratio = np.array([row["shots"] / 2 ** row["n_qubits"] for row in regenerated_rows])
    for column in ("feature_error", "weight_error"):
        error = np.array([row[column] for row in regenerated_rows])
        many = ratio >= 10
        if many.sum() < 2:
            continue
        slope, offset = np.polyfit(np.log(ratio[many]), np.log(error[many]), 1)
        result[column] = {"a": float(np.exp(offset)), "b": float(-slope), "shots_per_outcome": 10}
    exact = {(r["dataset"], r["seed"]): r for r in rows.get("regenerate", []) if not r["shots"]}
    losses = [
        exact[row["dataset"], row["seed"]]["test_accuracy"] - row["test_accuracy"]
        for row in regenerated_rows
    ]
    for name in sorted({row["dataset"] for row in regenerated_rows}):
        own = [k for k, row in enumerate(regenerated_rows) if row["dataset"] == name]
        by_ratio: dict[float, list[float]] = {}
        for k in own:
            by_ratio.setdefault(float(ratio[k]), []).append(losses[k])
        result[f"accuracy_loss_{name}"] = [
            {"shots_per_outcome": x, "mean": float(np.mean(y)), "largest": float(np.max(y))}
            for x, y in sorted(by_ratio.items())
        ]
    return result


PARTS = {
    "device-model": device_model,
    "gradient": gradient,
    "train": train,
    "regenerate": regenerate,
    "noise": noise,
}


def write(path: Path, result: Row) -> None:
    """Write the results, one row a line, so that changes can be read."""
    text = json.dumps(result, sort_keys=True, indent=1)
    for name, rows in result["rows"].items():
        old = json.dumps({name: rows}, sort_keys=True, indent=1)[2:-2]
        lines = ",\n".join("   " + json.dumps(row, sort_keys=True) for row in rows)
        text = text.replace(old.replace("\n", "\n "), f' "{name}": [\n{lines}\n  ]')
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, f"{text}\n".encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=Path("docs/results/shots.json"))
    parser.add_argument("--figure", type=Path, default=None, help="also draw the results")
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    result: Row = {"rows": {}, "seconds": {}}
    if args.json.exists():
        result = json.loads(args.json.read_text())
    result["command"] = "python -m benchmarks.shots " + shlex.join(["--json", str(args.json)])
    result["versions"] = versions()
    tty = sys.stderr.isatty()
    for part in args.parts:
        began = time.perf_counter()
        bar = tqdm(PARTS[part](), desc=part, unit="row", mininterval=0.1 if tty else 60.0)
        result["rows"][part] = []
        for row in bar:
            result["rows"][part].append(row)
            result["seconds"][part] = round(time.perf_counter() - began, 1)
            write(args.json, result)
    result["fits"] = fits(result["rows"])
    write(args.json, result)
    if args.figure is not None:
        from qtn_train.plots import save_shots

        save_shots(result, args.figure)


if __name__ == "__main__":
    main()
