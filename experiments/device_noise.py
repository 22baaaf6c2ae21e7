"""Accuracy of networks regenerated on a device as noisy as its calibration, and more or less so.

    export QTN_TRAIN_DATA=…              # its devices/emerald_properties_251106.json is read
    python -m experiments.device_noise   # writes docs/results/device-noise.json, row by row

Networks are trained exactly, by probabilities and by two-body correlators; then their weights are
counted again, at as many shots of the whole for both, on a device with errors after each gate and
at each readout. What is stored already is not measured again.

Errors are Pauli errors with the calibrated probabilities of the qubits and edges that the circuit
is placed on, drawn anew for each trajectory; a quantum trajectory is an exact state. Readout flips
each bit with its own two rates. ``noise`` multiplies all of these probabilities.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from qtn_train._files import write_atomically
from qtn_train.braket.device import Target, resolve
from qtn_train.braket.device._native import lower_native
from qtn_train.braket.device._placement import find_placement
from qtn_train.circuits import Circuit
from qtn_train.data import load
from qtn_train.engines import CountingEngine, Engine, MPSEngine, StatevectorEngine
from qtn_train.measurements._counts import Counts, Program
from qtn_train.recipes import RunOptions
from qtn_train.training import evaluate

OUT = Path(__file__).parent.parent / "docs" / "results" / "device-noise.json"
DEVICE = "emerald_properties_251106.json"
#: Data set -> shots of a whole evaluation: three circuits for correlators, one for probabilities.
SHOTS = {"iris": 3 * 1000, "digits": 3 * 10_000}
#: Fewer qubits than the recipe's where a chain of those does not fit the device.
N_QUBITS = {("digits", "pauli-2"): 41}
NOISE = (0.0, 0.5, 1.0, 2.0)
SEEDS = (0, 1, 2)
#: Trajectories of each circuit; fewer where they are wide matrix product states.
TRAJECTORIES, WIDE_TRAJECTORIES = 100, 40
Row = dict[str, Any]
_ONE, _TWO = "oneQubitFidelity", "twoQubitGateFidelity"


@dataclass(frozen=True)
class Calibration:
    """Error probabilities of a device: of gates by label and by edge, and of each readout.

    Attributes:
        one_qubit: Of a Pauli error after a gate, by label.
        two_qubit: The same by pair of labels, smaller first.
        readout: P(read 1 | 0) and P(read 0 | 1), by label.
    """

    one_qubit: dict[int, float]
    two_qubit: dict[tuple[int, int], float]
    readout: dict[int, tuple[float, float]]

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """Read the file of a device's properties in the standardized form.

        A Pauli error with probability p, all alike, has the average fidelity 1 − 2p/3 on one
        qubit and 1 − 4p/5 on two.
        """
        data = json.loads(path.read_text())
        if isinstance(data, str):  # as the service's examples store it
            data = json.loads(data)
        one, readout, two = {}, {}, {}
        for label, told in data["standardized"]["oneQubitProperties"].items():
            found = {each["fidelityType"]["name"]: each["fidelity"] for each in told[_ONE]}
            one[int(label)] = 1.5 * (1 - found["SIMULTANEOUS_RANDOMIZED_BENCHMARKING"])
            flips = (found["READOUT_ERROR_0_TO_1"], found["READOUT_ERROR_1_TO_0"])
            readout[int(label)] = flips
        for pair, told in data["standardized"]["twoQubitProperties"].items():
            a, b = sorted(map(int, pair.split("-")))
            (cz,) = [each for each in told[_TWO] if each["gateName"] == "CZ"]
            two[a, b] = 1.25 * (1 - cz["fidelity"])
        return cls(one, two, readout)


@dataclass(frozen=True, eq=False)
class Faulty:
    """A circuit in native gates with a place for a Pauli operator after each gate on each qubit.

    Attributes:
        circuit: Its angles are those of the gates, then two for each place: about x and about z.
        A: Matrix from the angles of the circuit that was lowered to those of the gates.
        b: Their constants.
        errors: For each gate the numbers of its places, and its error probability.
    """

    circuit: Circuit
    A: Any
    b: Any
    errors: tuple[tuple[tuple[int, ...], float], ...]

    @classmethod
    def of(cls, circuit: Circuit, labels: Sequence[int], known: Calibration) -> Faulty:
        """Lower a circuit to prx and cz, placed on labels of a device."""
        native = lower_native(circuit, "iqm")
        n_gates, n_places, errors = len(native.b), 0, []
        minus = {}  # prx(θ, φ) = rz(−φ) rx(θ) rz(φ): −φ are angles of their own, after all others
        builder, places = Circuit.builder(circuit.n_qubits), []
        for gate in native.gates:
            if gate.name == "prx":
                theta, phi = gate.angles
                minus[phi] = len(minus)
                places.append(("rz", gate.qubits[0], ("minus", minus[phi])))
                places.append(("rx", gate.qubits[0], ("gate", theta)))
                places.append(("rz", gate.qubits[0], ("gate", phi)))
            else:
                places.append(("cz", gate.qubits, None))
            own = tuple(range(n_places, n_places + len(gate.qubits)))
            n_places += len(own)
            for place, qubit in zip(own, gate.qubits, strict=True):
                places.append(("rx", qubit, ("error", 2 * place)))
                places.append(("rz", qubit, ("error", 2 * place + 1)))
            at = tuple(sorted(labels[qubit] for qubit in gate.qubits))
            p = known.two_qubit[at] if len(at) == 2 else known.one_qubit[at[0]]  # type: ignore[index]
            errors.append((own, p))
        first = {"gate": 0, "minus": n_gates, "error": n_gates + len(minus)}
        for name, where, which in places:
            if which is None:
                builder = builder.cz(*where)
            else:
                number = first[which[0]] + which[1]
                builder = getattr(builder, name)(where, angles=(number,))
        rows = [*range(n_gates), *minus]
        signs = np.array([1.0] * n_gates + [-1.0] * len(minus))
        A = native.A.tocsr()[rows].multiply(signs[:, None]).tocsr()
        return cls(builder.build(), A, signs * native.b[rows], tuple(errors))

    def trajectories(
        self, angles: Tensor, noise: float, n: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Return the angles of ``n`` trajectories, one in each row: errors drawn anew."""
        fixed = self.A @ angles.numpy() + self.b
        n_places = sum(len(own) for own, _ in self.errors)
        faults = np.zeros((n, 2 * n_places))
        for own, p in self.errors:
            hit = rng.random(n) < noise * p
            # One of the 4^k − 1 Pauli operators that are not the identity, in bits x, z, x, z.
            which = rng.integers(1, 4 ** len(own), n) * hit
            columns = [2 * place + half for place in own for half in (0, 1)]
            bits = (which[:, None] >> np.arange(len(columns))) & 1
            faults[:, columns] = np.pi * bits
        return np.concatenate([np.tile(fixed, (n, 1)), faults], axis=1)


@final
class CalibratedEngine(CountingEngine):
    """Engine that counts as a device with the errors of its calibration would.

    Args:
        target: The device, for the placement.
        known: Its errors.
        noise: Factor of all error probabilities.
        shots: Shots of each circuit.
        seed: Seed of errors and shots. The counts of a circuit are kept: once more executed, it
            gives the same.
    """

    kind: ClassVar[str] = "calibrated"

    def __init__(
        self, target: Target, known: Calibration, noise: float, shots: int, *, seed: int = 0
    ) -> None:
        super().__init__(shots, seed=seed)
        self.target, self.known, self.noise = target, known, noise
        self._kept: dict[tuple[str, bytes], Counts] = {}

    def mitigated(self) -> CalibratedEngine:
        """Return an engine with the same counts that corrects the readout besides."""
        twin = CalibratedEngine(self.target, self.known, self.noise, self.shots, seed=self.seed)
        twin.mitigate_readout, twin._kept = True, self._kept
        return twin

    @property
    def max_qubits(self) -> int:
        """The device's number of qubits."""
        return self.target.n_qubits

    @cached_property
    def simulator(self) -> Engine:
        """An exact engine."""
        return MPSEngine()

    def _measure(self, programs: Sequence[Program], position: int) -> list[list[Counts]]:
        rng = np.random.default_rng([self.seed, position])
        labels = find_placement(self.target, programs[0].circuit)
        counted: list[list[Counts]] = []
        for program in programs:
            counted.append([])
            for row in program.angles:
                key = (program.circuit.hash, row.numpy().tobytes())
                if key not in self._kept:
                    self._kept[key] = self._counts(program.circuit, row, labels, rng)
                counted[-1].append(self._kept[key])
        return counted

    def _counts(
        self, circuit: Circuit, angles: Tensor, labels: Sequence[int], rng: np.random.Generator
    ) -> Counts:
        faulty = _faulty(circuit, tuple(labels), self.target, self.known)
        wide = circuit.n_qubits > 13
        n = WIDE_TRAJECTORIES if wide else TRAJECTORIES
        n = n if self.noise and faulty.errors else 1
        rows = torch.from_numpy(faulty.trajectories(angles, self.noise, n, rng))
        each = [len(part) for part in np.array_split(np.arange(self.shots), n)]
        seeds = rng.integers(2**62, size=n).tolist()
        engine = MPSEngine(cutoff=1e-10) if wide else StatevectorEngine()
        bits = np.concatenate(
            [
                engine.prepare(faulty.circuit, row).sample_bits(shots, seed=seed).numpy()
                for row, shots, seed in zip(rows, each, seeds, strict=True)
            ]
        )
        flips = np.array([self.known.readout[label] for label in labels]) * self.noise
        wrong = rng.random(bits.shape) < np.where(bits, flips[:, 1], flips[:, 0])
        return Counts.of(torch.from_numpy(bits ^ wrong.astype(np.uint8)))


@lru_cache(maxsize=16)
def _faulty(circuit: Circuit, labels: tuple[int, ...], target: Target, known: Any) -> Faulty:
    return Faulty.of(circuit, labels, known)


Calibration.__hash__ = object.__hash__  # type: ignore[method-assign]


def measured(dataset: str, name: str, seed: int, path: Path) -> Iterator[Row]:
    """Train a network, and yield its accuracy at each strength of the noise."""
    known, target = Calibration.read(path), resolve(f"emulator:{path}")
    data = load(dataset)
    n_qubits = N_QUBITS.get((dataset, name))
    options = RunOptions(dataset, measurement_name=name, n_qubits=n_qubits, seed=seed)  # type: ignore[arg-type]
    model = options.model()
    options.fit(model, data, progress_bar=False)
    generator: Any = model.eval().generator
    n_circuits = len(generator.measurement.bases(generator.circuit.n_qubits))
    exact = evaluate(model, data.x_test, data.y_test)[1]
    shots = SHOTS[dataset] // n_circuits
    for noise in NOISE:
        engine = CalibratedEngine(target, known, noise, shots, seed=seed)
        for mitigated in (False, True) if noise else (False,):
            generator.engine = engine.mitigated() if mitigated else engine
            accuracy = evaluate(model, data.x_test, data.y_test)[1]
            yield {
                "case": f"{dataset}, {name}" + (", readout corrected" if mitigated else ""),
                "dataset": dataset,
                "measurement": name,
                "seed": seed,
                "noise": noise,
                "mitigated": mitigated,
                "n_qubits": generator.circuit.n_qubits,
                "n_layers": options.complete().n_layers,
                "ansatz": options.complete().ansatz,
                "shots": shots * n_circuits,
                "exact_accuracy": round(exact, 4),
                "test_accuracy": round(accuracy, 4),
            }


def write(result: Row) -> None:
    """Write all rows so far, one a line."""
    result |= {
        "title": "A device's calibrated noise: correlators beside probabilities",
        "notes": "Networks trained on a simulator by the default recipes, then counted again on "
        f"{DEVICE} with the errors of its calibration (Pauli errors after each gate, readout "
        f"flips), times `noise`; {TRAJECTORIES} trajectories a circuit ({WIDE_TRAJECTORIES} of 41 "
        "qubits). Shots are those of the whole evaluation: three circuits for correlators, one for "
        "probabilities; with the readout corrected, two calibration circuits of as many shots "
        "besides. Simulated: no device has run this.",
        "command": "python -m experiments.device_noise",
        "columns": {
            "case": "case",
            "seed": "seed",
            "noise": "noise, times the calibration",
            "n_qubits": "qubits",
            "n_layers": "layers",
            "shots": "shots",
            "exact_accuracy": "exact",
            "test_accuracy": "test accuracy",
        },
        "figure": {
            "x": "noise",
            "y": "test_accuracy",
            "by": "case",
            "labels": ["noise, times the calibration", "test accuracy"],
        },
    }
    texts = [json.dumps(row, sort_keys=True, ensure_ascii=False) for row in result["rows"]]
    head = json.dumps({**result, "rows": None}, sort_keys=True, indent=1, ensure_ascii=False)
    text = head.replace('"rows": null', '"rows": [\n  ' + ",\n  ".join(texts) + "\n ]")
    write_atomically(OUT, f"{text}\n".encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--datasets", nargs="*", choices=list(SHOTS), default=list(SHOTS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    path = Path(os.environ["QTN_TRAIN_DATA"]) / "devices" / DEVICE
    result: Row = json.loads(OUT.read_text()) if OUT.exists() else {"rows": [], "seconds": 0.0}
    for dataset in args.datasets:
        for name in ("probabilities", "pauli-2"):
            for seed in SEEDS:
                key = (dataset, name, seed)
                done = [
                    r for r in result["rows"] if (r["dataset"], r["measurement"], r["seed"]) == key
                ]
                if done:
                    continue
                began = time.perf_counter()
                rows = list(measured(dataset, name, seed, path))
                result["rows"] += rows
                result["seconds"] = round(result["seconds"] + time.perf_counter() - began, 1)
                write(result)


if __name__ == "__main__":
    main()
