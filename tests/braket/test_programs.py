"""Circuits as Braket runs them: portable and native gates, inputs, bit order, names that last."""

import dataclasses
import math
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import tolerances
import torch
from scipy.stats import chisquare

pytest.importorskip("braket.aws", reason="the braket extra is not installed")

from braket.circuits.serialization import IRType
from braket.devices import LocalSimulator
from braket.program_sets import CircuitBinding

from qtn_train.braket.device._devices import Target, resolve
from qtn_train.braket.device._native import lower_native
from qtn_train.braket.device._target import Family
from qtn_train.braket.run._programs import (
    Bound,
    bind,
    canonical_hash,
    exact_probs,
    name_of,
    to_counts,
)
from qtn_train.braket.stand_in import BraketService
from qtn_train.circuits import ANSATZE, Circuit, ansatz
from qtn_train.engines import MPSEngine, StatevectorEngine
from qtn_train.errors import UnsupportedByEngine
from qtn_train.exchange import import_circuit
from qtn_train.measurements._counts import Counts, Program
from tests.braket.qpus import emulator

FAMILIES: tuple[Family, ...] = ("iqm", "rigetti", "ionq")
NATIVE_GATES = {
    "iqm": {"prx", "cz"},
    "rigetti": {"rx", "rz", "cz"},
    "ionq": {"gpi", "gpi2", "zz"},
}
SIZES = {name: [(3, 1), (2, 2)] for name in ANSATZE}


def program(circuit: Circuit, batch: int = 1, seed: int = 0) -> Program:
    angles = np.random.default_rng(seed).uniform(-np.pi, np.pi, (batch, circuit.n_angles))
    return Program(circuit, torch.from_numpy(angles))


@cache
def local() -> Target:
    return resolve("local:sv")


def simulated(family: Family) -> Target:
    """The local simulator, which takes the gates of every family, as a device of one."""
    return dataclasses.replace(local(), native=family)


def perfect(name: str, folder: Path) -> Target:
    return emulator(name, folder, **quiet(BraketService.properties(name)))


def quiet(properties: Any) -> Any:
    """The same properties with a calibration that knows no errors."""
    if isinstance(properties, Mapping):
        perfect = {key: 1.0 for key in ("fidelity", "mean") if _number(properties.get(key))}
        return {key: quiet(value) for key, value in properties.items()} | perfect
    return [quiet(value) for value in properties] if isinstance(properties, list) else properties


def _number(value: Any) -> bool:
    return isinstance(value, float)


def text_of(bound: Bound) -> str:
    return str(bound.circuit.to_ir(IRType.OPENQASM).source)


def distance(a: Any, b: Any) -> float:
    """Total variation."""
    return float(np.abs(np.asarray(a) - np.asarray(b)).sum() / 2)


# --- the same circuit


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ANSATZE))
def test_a_hundred_random_circuits_of_each_ansatz_agree(name: str) -> None:
    engine = StatevectorEngine(dtype="complex128")
    for n_qubits, n_layers in SIZES[name]:
        circuit = ANSATZE[name](n_qubits, n_layers)
        batch = program(circuit, 50)
        bound = bind(batch, local(), shots=0)
        for index, angles in enumerate(batch.angles):
            ours = engine.prepare(circuit, angles).probs(0, 2**n_qubits)
            theirs = exact_probs(local(), bound, index)
            assert theirs.dtype == torch.float64
            assert distance(ours, theirs) <= tolerances.AMPLITUDE["complex128"]


def test_the_density_matrix_and_the_mps_agree_too() -> None:
    circuit = ansatz.u3_cu3_ring(3, 1)
    batch, target = program(circuit), resolve("local:dm")
    theirs = exact_probs(target, bind(batch, target, shots=0), 0)
    ours = MPSEngine(dtype="complex128").prepare(circuit, batch.angles[0]).probs(0, 8)
    assert distance(ours, theirs) <= tolerances.TOTAL["complex128"]


@pytest.mark.parametrize("name", sorted(ANSATZE))
def test_the_text_that_is_sent_reads_back_as_the_same_circuit(name: str) -> None:
    circuit = ANSATZE[name](4, 2)
    batch = program(circuit)
    bound = bind(batch, local(), shots=100)
    found = import_circuit(text_of(bound))
    assert sorted(found.inputs) == list(bound.names)
    assert found.measured == (0, 1, 2, 3)
    read, values = found.circuit, found.angles(bound.input_set(0))
    ours = np.abs(oracle.amplitudes(circuit, batch.angles[0].numpy())) ** 2
    theirs = np.abs(oracle.amplitudes(read, values)) ** 2
    assert distance(ours, theirs) <= tolerances.AMPLITUDE["complex128"]


def test_inputs_are_the_linear_map_of_the_angles() -> None:
    circuit = ansatz.u3_cu3_chain(3, 2)
    batch, lowered = program(circuit, 4), circuit.portable()
    bound = bind(batch, local(), shots=100)
    assert bound.names == tuple(f"p{k:04d}" for k in range(lowered.circuit.n_angles))
    assert bound.inputs.dtype == torch.float64
    for index, angles in enumerate(batch.angles.numpy()):
        expected = lowered.angles(angles)
        np.testing.assert_array_equal(bound.inputs[index].numpy(), expected)
        np.testing.assert_array_equal([s[index] for s in bound.input_sets().values()], expected)
        assert list(bound.input_set(index)) == list(bound.input_sets()) == list(bound.names)
    assert len(bound) == 4


def test_braket_takes_the_input_sets_as_they_are() -> None:
    bound = bind(program(ansatz.ry_cx_chain(3, 1), 5), local(), shots=100)
    assert len(CircuitBinding(bound.circuit, bound.input_sets())) == 5


def test_numbers_survive_being_written_into_the_text() -> None:
    circuit = Circuit.builder(1).ry(0).build()
    bound = bind(Program(circuit, torch.tensor([[0.1 + 0.2]]).double()), local(), shots=10)
    text = bound.at(0).to_ir(IRType.OPENQASM).source
    assert float(re.search(r"ry\((.*)\)", text)[1]) == bound.inputs[0, 0].item()  # type: ignore[index]


# --- measurement and bits


def test_all_qubits_are_measured_in_order_idle_ones_too() -> None:
    circuit = Circuit.builder(4).x(2).build()
    bound = bind(program(circuit), local(), shots=100)
    assert re.findall(r"b\[(\d)\] = measure q\[(\d)\]", text_of(bound)) == [
        (str(k), str(k)) for k in range(4)
    ]
    result = local().device.run(bound.circuit, shots=100).result()
    assert list(result.measured_qubits) == list(bound.labels) == [0, 1, 2, 3]
    counts = to_counts(result.measurement_counts, 4)
    assert (counts.outcomes.tolist(), counts.counts.tolist()) == ([0b0010], [100])


def test_without_shots_nothing_is_measured_and_idle_qubits_count() -> None:
    circuit = Circuit.builder(4).x(2).build()
    bound = bind(program(circuit), local(), shots=0)
    assert "measure" not in text_of(bound)
    assert exact_probs(local(), bound, 0).argmax() == 0b0010
    with pytest.raises(ValueError, match=r"got 0. Exact probabilities"):
        bind(program(circuit), dataclasses.replace(local(), min_shots=1), shots=0)


@pytest.mark.parametrize("family", [None, *FAMILIES])
def test_a_circuit_without_gates_runs(family: Family | None) -> None:
    target = simulated(family) if family else local()
    bound = bind(program(Circuit.builder(2).build()), target, shots=50, native=family is not None)
    assert bound.names == ()
    assert bound.input_sets() == {}
    counts = local().device.run(bound.circuit, shots=50).result().measurement_counts
    assert counts == {"00": 50}


def test_sampled_outcomes_follow_the_probabilities() -> None:
    circuit = ansatz.u3_cu3_ring(3, 1)
    batch = program(circuit, seed=5)
    bound = bind(batch, local(), shots=20_000)
    run = local().device.run(bound.circuit, shots=20_000, inputs=bound.input_set(0))
    counts = to_counts(run.result().measurement_counts, 3)
    exact = np.abs(oracle.amplitudes(circuit, batch.angles[0].numpy())) ** 2
    seen = np.zeros(8)
    seen[counts.outcomes.numpy()] = counts.counts.numpy()
    # Braket's simulator cannot be seeded: a p value that a fair draw meets once in a billion.
    assert chisquare(seen, 20_000 * exact / exact.sum()).pvalue > tolerances.UNSEEDED_P_VALUE


def test_counts_are_sorted_and_qubit_0_is_the_leftmost_bit() -> None:
    counts = to_counts({"100": 5, "001": 2, "011": 0}, 3)
    assert isinstance(counts, Counts)
    assert counts.outcomes.tolist() == [1, 4]
    assert counts.counts.tolist() == [2, 5]
    assert counts.outcomes.dtype == counts.counts.dtype == torch.int64
    assert counts.shots == 7


@pytest.mark.parametrize("bits", ["10", "1000", "1 0", "10x"])
def test_counts_of_other_bits_are_refused(bits: str) -> None:
    with pytest.raises(ValueError, match=rf"^`measurement_counts` must be of 3 bits; got '{bits}'"):
        to_counts({"000": 1, bits: 1}, 3)


# --- native gates


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", sorted(ANSATZE))
def test_native_lowering_is_exact_for_every_ansatz(name: str, family: Family) -> None:
    circuit, target = ANSATZE[name](4, 2), simulated(family)
    batch = program(circuit, 2)
    bound = bind(batch, target, shots=0, native=True)
    for index, angles in enumerate(batch.angles):
        ours = StatevectorEngine(dtype="complex128").prepare(circuit, angles).probs(0, 16)
        theirs = exact_probs(target, bound, index)
        assert distance(ours, theirs) <= tolerances.TOTAL["complex128"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.slow
def test_native_lowering_is_exact_for_every_gate_phases_included(family: Family) -> None:
    """Hadamards at the end make phases between outcomes show."""
    target, end = simulated(family), Circuit.builder(3).h(0).h(1).h(2).build().gates
    for seed in range(40):
        random = oracle.random_circuit(np.random.default_rng(seed), 3, 12, share=0.2)
        circuit = Circuit(3, random.gates + end, random.n_angles)
        batch = program(circuit, seed=seed)
        bound = bind(batch, target, shots=0, native=True)
        ours = np.abs(oracle.amplitudes(circuit, batch.angles[0].numpy())) ** 2
        assert distance(ours, exact_probs(target, bound, 0)) <= tolerances.TOTAL["complex128"]


@pytest.mark.parametrize("family", FAMILIES)
def test_native_circuits_hold_native_gates_in_a_verbatim_box(family: Family) -> None:
    circuit = ansatz.u3_cu3_ring(3, 1)
    gates = lower_native(circuit, family).gates
    assert {gate.name for gate in gates} <= NATIVE_GATES[family]
    bound = bind(program(circuit), simulated(family), shots=100, native=True)
    header, box, measured = re.split(r"#pragma braket verbatim\nbox\{\n|\}\n", text_of(bound))
    assert set(re.findall(r"input float (\w+);", header)) == set(bound.names)
    assert "qubit" not in header
    assert len(box.splitlines()) == len(gates)
    assert re.findall(r"measure \$(\d)", measured) == ["0", "1", "2"]
    turns = {abs(float(angle)) for angle in re.findall(r"\brx\(([^)]*)\)", box)}
    assert family != "rigetti" or turns <= {math.pi / 2, math.pi}
    assert family != "ionq" or set(re.findall(r"zz\((.*)\)", box)) == {str(math.pi / 2)}


def test_native_gates_are_few() -> None:
    """One turn a qubit and layer where the ansatz has one; a cx costs no more than two."""
    ring = lower_native(ansatz.u3_cu3_ring(13, 16), "iqm").gates
    assert sum(gate.name == "cz" for gate in ring) == 416
    assert sum(gate.name == "prx" for gate in ring) == 13 * 16 * 5
    assert len(lower_native(ansatz.hardware_efficient(4, 3), "iqm").gates) == 3 * (4 + 3)
    twice = Circuit.builder(2).cx(0, 1).cx(0, 1).build()
    assert [gate.name for gate in lower_native(twice, "iqm").gates] == ["prx", "cz", "cz", "prx"]


@pytest.mark.parametrize(
    ("name", "placement"),
    [("Garnet", (8, 3, 4)), ("Garnet", None), ("Cepheus-1-108Q", (2, 1, 13)), ("Forte 1", None)],
)
def test_the_emulator_runs_native_circuits(
    name: str, placement: tuple[int, ...] | None, tmp_path: Path
) -> None:
    """Emulators take verbatim circuits without inputs only, and change what they are given."""
    circuit = ansatz.u3_cu3_chain(3, 1)
    batch, target = program(circuit, 2, seed=3), perfect(name, tmp_path)
    bound = bind(batch, target, shots=4000, placement=placement)
    assert placement is None or bound.labels == placement
    before = text_of(bound)
    for index in range(2):
        result = target.device.run(bound.at(index), shots=4000).result()
        assert list(result.measured_qubits) == list(bound.labels)
        counts = to_counts(result.measurement_counts, 3)
        exact = np.abs(oracle.amplitudes(circuit, batch.angles[index].numpy())) ** 2
        seen = np.zeros(8)
        seen[counts.outcomes.numpy()] = counts.counts.numpy()
        large = exact * 4000 >= 5
        rest = [4000 * exact[~large].sum() + 1e-9, *(4000 * exact[large])]
        observed = [seen[~large].sum() + 1e-9, *seen[large]]
        assert chisquare(observed, rest, sum_check=False).pvalue > tolerances.UNSEEDED_P_VALUE
    assert text_of(bound) == before


@pytest.mark.parametrize(("name", "family"), [("Garnet", "iqm"), ("Forte 1", "ionq")])
def test_the_emulator_agrees_exactly_without_noise(name: str, family: str, tmp_path: Path) -> None:
    """What the emulator would simulate, after all of its checks, given to a simulator."""
    circuit = ansatz.brickwork(4, 1)
    batch, target = program(circuit, seed=2), perfect(name, tmp_path)
    assert target.native == family
    bound = bind(batch, target, shots=100)
    checked = target.device.transform(bound.at(0), apply_noise_model=False)
    plain = type(checked)(
        one for one in checked.instructions if one.operator.name not in _NOT_GATES
    )
    result = LocalSimulator().run(plain.probability(list(bound.labels)), shots=0).result()
    exact = np.abs(oracle.amplitudes(circuit, batch.angles[0].numpy())) ** 2
    assert distance(result.values[0], exact) <= tolerances.TOTAL["complex128"]


_NOT_GATES = {"StartVerbatimBox", "EndVerbatimBox", "Measure"}


def test_native_gates_of_an_unknown_family_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^`native` must be False on local:sv, whose native gates"
    ):
        bind(program(ansatz.ry_cx_chain(2, 1)), local(), shots=10, native=True)


def test_a_placement_needs_native_gates(tmp_path: Path) -> None:
    qpu = dataclasses.replace(emulator("Garnet", tmp_path), kind="qpu")
    batch = program(ansatz.ry_cx_chain(2, 1))
    with pytest.raises(ValueError, match=r"^`placement` must be None without native=True; got \("):
        bind(batch, qpu, shots=10, placement=(1, 2))
    assert bind(batch, qpu, shots=10, placement=(6, 1), native=True).labels == (6, 1)
    assert bind(batch, qpu, shots=10).labels == (0, 1)


def test_bind_refuses_what_the_device_cannot_run(tmp_path: Path) -> None:
    garnet = emulator("Garnet", tmp_path)
    with pytest.raises(ValueError, match=r"^`shots` must be from 1 to 20,000"):
        bind(program(ansatz.ry_cx_chain(2, 1)), garnet, shots=20_001)
    with pytest.raises(ValueError, match=r"^`placement` must be connected"):
        bind(program(ansatz.ry_cx_chain(2, 1)), garnet, shots=1, placement=(1, 3))
    with pytest.raises(UnsupportedByEngine, match=r"^`n_qubits` must be at most 20"):
        bind(program(ansatz.ry_cx_chain(21, 1)), garnet, shots=1)


# --- names that last

_HASHES = """
from qtn_train.circuits import ansatz
from qtn_train.braket.run._programs import canonical_hash
for name in (ansatz.u3_cu3_ring, ansatz.ry_cx_chain):
    print(canonical_hash(name(4, 2), native=True, placement=(3, 1, 2, 0)))
"""


@pytest.mark.slow
def test_the_hash_is_the_same_in_every_process() -> None:
    hashes = set()
    for seed in ("0", "1"):
        command = [sys.executable, "-c", _HASHES]
        environment = {"PYTHONHASHSEED": seed, "PATH": ""}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        hashes.add(run.stdout)
    assert len(hashes) == 1
    first, second = hashes.pop().split()
    assert first == canonical_hash(ansatz.u3_cu3_ring(4, 2), native=True, placement=[3, 1, 2, 0])
    assert first != second
    assert re.fullmatch("[0-9a-f]{64}", first)


def test_the_hash_tells_circuits_and_options_apart() -> None:
    circuit = ansatz.ry_cx_chain(2, 1)
    hashes = {
        canonical_hash(circuit),
        canonical_hash(circuit, native=True),
        canonical_hash(circuit, native=True, placement=(0, 1)),
        canonical_hash(circuit, native=True, placement=(1, 0)),
        canonical_hash(ansatz.ry_cx_chain(2, 2)),
    }
    assert len(hashes) == 5


def test_names_are_those_that_braket_reads_as_they_stand() -> None:
    assert [name_of(0), name_of(12), name_of(12345)] == ["p0000", "p0012", "p12345"]
