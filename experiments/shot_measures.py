"""The measurements behind ``experiments.shots``: each gives rows for one data set, as functions.

rows = list(regenerate("iris"))
"""

import sys
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from qtn_train._random import raw_bits, uniform
from qtn_train.circuits import ANSATZE, Circuit
from qtn_train.data import Dataset, load
from qtn_train.engines import CountingEngine, Engine, NoisyEngine, StatevectorEngine
from qtn_train.hybrid import QuantumTrain
from qtn_train.mapping import MLPMapping
from qtn_train.measurements._counts import Counts, Program
from qtn_train.recipes import RunOptions, target_for
from qtn_train.training import evaluate, fit

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


#: Those that regenerate, N = 8, 12 and 13.
NETWORKS = {
    "iris": Network("iris", "ry-cx-chain", 4, 60),
    "digits": Network("digits", "u3-cu3-ring", 16, 40),
    "mnist-mini": Network("mnist-mini", "u3-cu3-ring", 16, 10),
}
#: Those that train at finite shots: few enough angles for parameter shift.
SMALL = {
    "iris": Network("iris", "ry-cx-chain", 4, 60),
    "digits": Network("digits", "ry-cx-chain", 4, 40),
}


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
        return [
            Counts.of_outcomes(outcomes, row[outcomes], len(row).bit_length() - 1)
            for outcomes, row in zip(seen, drawn, strict=True)
        ]


def make(network: Network, seed: int, engine: Engine | None = None) -> QuantumTrain:
    """Return an untrained model."""
    options = RunOptions(network.dataset, network.ansatz, network.n_layers, seed=seed)
    # As in the published network, whatever the default recipe takes.
    mapping = MLPMapping(2 ** options.circuit().n_qubits, hidden=(4, 20, 4), seed=seed)
    return options.model(engine or StatevectorEngine(), mapping)


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
    config = RunOptions(network.dataset, epochs=network.epochs, seed=seed).fit_config()
    fit(model, data_of(network.dataset), config=config, progress_bar=sys.stderr.isatty())
    RUNS.mkdir(parents=True, exist_ok=True)
    model.save(path)
    return model.eval()


def seen_through(model: QuantumTrain, engine: Engine) -> tuple[Tensor, Tensor]:
    """Return all weights of the network, and the feature of each probability, on an engine."""
    generator: Any = model.generator
    generator.engine = engine
    with torch.no_grad():
        state = engine.prepare(generator.circuit, generator.angles)
        feature = generator.measurement.values(state, 0, generator.n_values)
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


def cases(dataset: str) -> Iterator[tuple[QuantumTrain, Dataset, Row]]:
    """Give the trained network of each seed, with the first columns of its rows."""
    for seed in SEEDS:
        model = trained(NETWORKS[dataset], seed)
        generator: Any = model.generator
        head = {"dataset": dataset, "seed": seed, "n_qubits": generator.circuit.n_qubits}
        yield model, data_of(dataset), head | {"n_weights": model.n_weights}


def regenerate(dataset: str) -> Iterator[Row]:
    """Count the weights of trained networks again, at finite shots."""
    draws = 5 if dataset == "mnist-mini" else 10
    for model, data, head in cases(dataset):
        for shots, smoothing in [(s, a) for s in SHOTS for a in SMOOTHING] + [(0, 0.0)]:
            engines = noisy(shots, draws, smoothing=smoothing)
            row = {"shots": shots, "smoothing": smoothing}
            yield head | row | regenerated(model, engines, data)


def readout(rate: float) -> tuple[float, float]:
    """Return P(1|0) and P(0|1) whose mean is a rate."""
    low = 2 * rate / (1 + ASYMMETRY)
    return low, ASYMMETRY * low


def noise(dataset: str) -> Iterator[Row]:
    """Generate the weights of trained networks through noise."""
    for model, data, head in cases(dataset):
        for error in TWO_QUBIT_ERRORS:
            engines = noisy(0, 1, two_qubit_error=error)
            kept = (1 - error) ** n_two_qubit(model)
            row = {"two_qubit_error": error, "kept": kept, "shots": 0}
            yield head | row | regenerated(model, engines, data)
        for rate in READOUT_ERRORS:
            for shots, mitigated in ((0, False), (10**6, True), (10**7, True)):
                options = {"readout_error": readout(rate), "mitigate_readout": mitigated}
                row = {"readout_error": rate, "mitigated": mitigated, "shots": shots}
                yield head | row | regenerated(model, noisy(shots, 3, **options), data)


def n_two_qubit(model: QuantumTrain) -> int:
    """Return the number of two-qubit gates that a device would execute."""
    from qtn_train.engines.counting._noisy import n_two_qubit_gates

    return n_two_qubit_gates(model.generator.circuit)


def gradient(dataset: str) -> Iterator[Row]:
    """Hold the mean of many gradient estimates against the exact gradient."""
    network, draws = SMALL[dataset], 60 if dataset == "iris" else 30
    for seed in SEEDS:
        points = {"start": make(network, seed)}
        if dataset == "iris":
            points["end"] = trained(network, seed)
        for point, model in points.items():
            for shots, smoothing in [(s, a) for s in SHOTS for a in SMOOTHING]:
                head = {"dataset": dataset, "seed": seed, "point": point}
                head |= {"shots": shots, "smoothing": smoothing}
                yield head | estimates(model, data_of(dataset), shots, smoothing, draws)


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


#: Settings of training; the control has frozen angles: the mapping learns alone.
SETTINGS: tuple[Row, ...] = (
    {"shots": 10**4, "smoothing": 0.0},
    {"shots": 10**4, "smoothing": 0.5},
    {"shots": 0},
    {"shots": 10**4, "frozen": True},
    {"shots": 0, "frozen": True},
)
#: Those of the smallest circuit besides.
MORE_SETTINGS: tuple[Row, ...] = (
    {"shots": 10**3, "smoothing": 0.0},
    {"shots": 10**3, "smoothing": 0.5},
    {"shots": 10**3, "frozen": True},
    {"shots": 10**5},
    {"shots": 10**5, "frozen": True},
    {"shots": 10**5, "two_qubit_error": 1e-3},
    {"shots": 10**5, "two_qubit_error": 1e-2},
    {"shots": 10**5, "readout_error": 0.03, "mitigated": False},
    {"shots": 10**5, "readout_error": 0.03, "mitigated": True},
)


def train(dataset: str) -> Iterator[Row]:
    """Train at finite shots and through noise."""
    for setting in SETTINGS + (MORE_SETTINGS if dataset == "iris" else ()):
        for seed in SEEDS:
            head = {"dataset": dataset, "seed": seed}
            yield head | setting | trained_at(SMALL[dataset], seed, **setting)


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
    data = data_of(network.dataset)
    config = RunOptions(network.dataset, shots=1, seed=seed).fit_config()
    began = time.perf_counter()
    history = fit(model, data, config=config, progress_bar=False)
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


def device_model(_: str) -> Iterator[Row]:
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
    from qtn_train.engines.counting._noisy import n_two_qubit_gates

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

    from qtn_train.braket.device import resolve
    from qtn_train.braket.run import bind
    from qtn_train.measurements._counts import Program

    target = resolve("local:dm")
    bound = bind(Program(circuit, angles[None]), target, shots=0)
    noisy = bound.at(0).apply_gate_noise(
        Noise.TwoQubitDepolarizing(pauli_error), target_gates=[Gate.CNot]
    )
    result = target.device.run(noisy, shots=0).result()
    return torch.from_numpy(np.asarray(result.values[0], dtype=np.float64))


def fits(rows: list[Row]) -> Row:
    """Fit how many shots the weights need.

    Args:
        rows: Those of the part ``regenerate``.

    Returns:
        For the errors: error = a·(shots/2^N)^−b over points of 10 shots an outcome or more. For
        each data set: the shots an outcome at which a hundredth of the accuracy is lost, between
        the points by the logarithm of the shots.
    """
    plain = [row for row in rows if row["shots"] and not row["smoothing"]]
    many = [row for row in plain if row["shots"] / 2 ** row["n_qubits"] >= 10]
    result: Row = {}
    for column in ("feature_error", "weight_error") if len(many) > 1 else ():
        x = np.log([row["shots"] / 2 ** row["n_qubits"] for row in many])
        slope, offset = np.polyfit(x, np.log([row[column] for row in many]), 1)
        result[column] = {"a": float(np.exp(offset)), "b": float(-slope)}
    for name in sorted({row["dataset"] for row in plain}):
        exact = [r["test_accuracy"] for r in rows if r["dataset"] == name and not r["shots"]]
        own = [row for row in plain if row["dataset"] == name]
        losses = [
            float(np.mean([row["test_accuracy"] for row in own if row["shots"] == shots]))
            for shots in SHOTS
        ]
        lost = np.mean(exact or [np.nan]) - np.array(losses)
        ratio = np.log(np.array(SHOTS) / 2 ** own[0]["n_qubits"])
        # Losses fall with the shots; np.interp wants them to rise.
        at = np.interp(0.01, np.minimum.accumulate(lost)[::-1], ratio[::-1])
        result[f"shots_per_outcome_{name}"] = float(np.exp(at))
    return result
