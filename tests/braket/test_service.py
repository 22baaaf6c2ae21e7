"""The loopback service itself: the unmodified SDK and boto3 against it."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
from scipy.stats import chisquare

pytest.importorskip("braket.aws", reason="the braket extra is not installed")

import boto3
from botocore.exceptions import ClientError, ConnectionClosedError
from braket.aws import AwsDevice, AwsQuantumTask, AwsSession
from braket.circuits import Circuit, FreeParameter
from braket.circuits.serialization import IRType
from braket.devices import LocalSimulator
from braket.emulation.local_emulator import LocalEmulator
from braket.ir.openqasm import Program
from braket.program_sets import CircuitBinding, ProgramSet
from braket.schema_common import BraketSchemaBase
from braket.tasks import GateModelQuantumTaskResult
from braket.tracking import Tracker

from qtn_train.braket.stand_in import BraketProcess, BraketService, Control, _devices, _execute

BELL = Circuit().h(0).cnot(0, 1).measure([0, 1])
THETA, PHI = FreeParameter("p0000"), FreeParameter("p0001")
WAVE = Circuit().ry(0, THETA).cnot(0, 1).rx(1, 2 * PHI + 0.1).ry(2, PHI).cz(1, 2)
MEASURED = WAVE.copy().measure([0, 1, 2])
INPUTS = {"p0000": [0.1, 0.7, 1.9], "p0001": [1.1, -0.4, 2.5]}
SETS = [dict(zip(INPUTS, values, strict=True)) for values in zip(*INPUTS.values(), strict=True)]


@pytest.fixture
def quick(service: BraketService, monkeypatch: pytest.MonkeyPatch) -> BraketService:
    """The service, and a boto3 that repeats nothing."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    return service


@pytest.fixture
def client(quick: BraketService) -> Any:
    boto3.client("s3").create_bucket(Bucket="amazon-braket-mine")
    return boto3.client("braket")


def exact(circuit: Circuit, inputs: Mapping[str, float] | None = None) -> np.ndarray:
    """Return what Braket's own simulator says; the circuit must not measure."""
    task = LocalSimulator().run(circuit.copy().probability(), shots=0, inputs=inputs)
    return task.result().values[0]


def check_counts(counts: Mapping[str, int], probabilities: np.ndarray, shots: int) -> None:
    width = len(probabilities).bit_length() - 1
    found = np.array([counts.get(format(k, f"0{width}b"), 0) for k in range(2**width)])
    assert found.sum() == shots
    expected = probabilities * shots
    many = expected >= 5
    found = np.append(found[many], found[~many].sum())
    expected = np.append(expected[many], expected[~many].sum())
    if expected[-1] == 0:
        assert found[-1] == 0
        found, expected = found[:-1], expected[:-1]
    assert chisquare(found, expected).pvalue > tolerances.P_VALUE


def request(token: str = "token", name: str = "SV1", **changes: Any) -> dict[str, Any]:
    """Return a request that creates a task."""
    values = {
        "clientToken": token,
        "deviceArn": Control.arn(name),
        "shots": 100,
        "outputS3Bucket": "amazon-braket-mine",
        "outputS3KeyPrefix": "tasks",
        "action": BELL.to_ir(IRType.OPENQASM).json(),
    }
    return values | changes


def refusal(call: Any, **arguments: Any) -> tuple[str, str]:
    """Return the code and the message with which a request is refused."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


# --- what a program gives -------------------------------------------------------------------------


def test_a_bell_pair_on_the_simulator(service: BraketService) -> None:
    task = AwsDevice(service.arn("SV1")).run(BELL, shots=1000)
    result = task.result()
    check_counts(result.measurement_counts, np.array([0.5, 0, 0, 0.5]), 1000)
    assert result.measured_qubits == [0, 1]
    assert task.metadata()["numSuccessfulShots"] == 1000
    [(source, inputs)] = service.programs(task.id)
    assert Circuit.from_ir(source) == BELL
    assert inputs == {}


def test_inputs_reach_the_circuit(service: BraketService) -> None:
    device = AwsDevice(service.arn("SV1"))
    for inputs in SETS:
        task = device.run(MEASURED, shots=2000, inputs=inputs)
        check_counts(task.result().measurement_counts, exact(WAVE, inputs), 2000)
        assert service.programs(task.id)[0][1] == inputs


@pytest.mark.parametrize(
    ("name", "split"), [("Garnet", True), ("Cepheus-1-108Q", False), ("Forte 1", True)]
)
def test_a_program_set(service: BraketService, name: str, split: bool) -> None:
    service.options(split_results=split)
    circuit = Circuit().ry(0, THETA).cnot(0, 1).rx(1, 2 * PHI + 0.1).ry(2, PHI)
    programs = ProgramSet([CircuitBinding(circuit, INPUTS), BELL], shots_per_executable=500)
    task = AwsDevice(service.arn(name)).run(programs)
    waves, bell = task.result().entries
    for entry, inputs in zip(waves.entries, SETS, strict=True):
        check_counts(entry.counts, exact(circuit, inputs), 500)
        assert entry.inputs == inputs
    check_counts(bell.entries[0].counts, np.array([0.5, 0, 0, 0.5]), 500)
    metadata = task.metadata()["actionMetadata"]
    assert (metadata["programCount"], metadata["executableCount"]) == (2, 4)


def native(name: str, rng: np.random.Generator) -> Circuit:
    """Return a random verbatim circuit in a device's own gates and labels."""
    box, angles = Circuit(), iter(rng.uniform(-3, 3, 100))
    path = {"Garnet": [6, 7, 12, 11], "Cepheus-1-108Q": [3, 4, 5, 17]}.get(name, [2, 9, 4, 30])
    for _ in range(3):
        for q in path:
            if name == "Garnet":
                box.prx(q, THETA, next(angles))
            elif name == "Forte 1":
                box.gpi2(q, THETA).gpi(q, next(angles))
            else:
                box.rx(q, np.pi / 2).rz(q, THETA).rx(q, -np.pi / 2)
        for a, b in itertools.pairwise(path):
            if name == "Forte 1":
                box.zz(a, b, next(angles))
            else:
                box.cz(a, b)
    return Circuit().add_verbatim_box(box)


@pytest.mark.parametrize("name", ["Garnet", "Cepheus-1-108Q", "Forte 1"])
def test_native_gates_in_a_verbatim_box(service: BraketService, name: str) -> None:
    circuit = native(name, np.random.default_rng(0))
    qubits = sorted(circuit.qubits)
    want = exact(circuit, {"p0000": 0.3})
    task = AwsDevice(service.arn(name)).run(
        circuit.copy().measure(qubits),
        shots=2000,
        inputs={"p0000": 0.3},
        disable_qubit_rewiring=True,
    )
    assert task.result().measured_qubits == qubits
    check_counts(task.result().measurement_counts, want, 2000)


@pytest.mark.parametrize("seed", range(5))
def test_probabilities_are_those_of_brakets_simulator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    circuit = Circuit()
    for _ in range(40):
        gate = str(rng.choice(["rx", "ry", "rz", "h", "s", "ti", "x", "cnot", "cz", "swap"]))
        targets = [int(q) for q in rng.permutation(5)[: 2 if gate in ("cnot", "cz", "swap") else 1]]
        angle = [THETA, PHI, PHI - 0.5 * THETA, float(rng.uniform(-3, 3))][int(rng.integers(4))]
        getattr(circuit, gate)(*targets, *([angle] if gate.startswith("r") else []))
    circuit.i(range(5))
    inputs = {"p0000": float(rng.normal()), "p0001": float(rng.normal())}
    order = [int(q) for q in rng.permutation(5)]
    text = circuit.copy().measure(order).to_ir(IRType.OPENQASM).source
    found = _execute.probabilities(_execute.parse(_execute.canonical(text)), inputs)
    want = exact(circuit, inputs).reshape([2] * 5).transpose(order).ravel()
    np.testing.assert_allclose(found, want, rtol=0, atol=tolerances.AMPLITUDE["complex128"])


def test_some_qubits_are_measured() -> None:
    text = WAVE.copy().measure([2, 0]).to_ir(IRType.OPENQASM).source
    found = _execute.probabilities(_execute.parse(_execute.canonical(text)), SETS[0])
    want = exact(WAVE, SETS[0]).reshape(2, 2, 2).sum(axis=1).T.ravel()
    np.testing.assert_allclose(found, want, rtol=0, atol=tolerances.AMPLITUDE["complex128"])


def test_noise_on_the_density_matrix_simulator(service: BraketService) -> None:
    circuit = Circuit().x(0).bit_flip(0, 0.2).measure(0)
    result = AwsDevice(service.arn("dm1")).run(circuit, shots=1000).result()
    check_counts(result.measurement_counts, np.array([0.2, 0.8]), 1000)


def test_counts_depend_on_program_inputs_and_shots_only() -> None:
    text = MEASURED.to_ir(IRType.OPENQASM).source
    lines = text.splitlines()
    other = "\n".join([lines[0], lines[2], lines[1], *lines[3:]])
    assert other != text
    one, two = (_execute.parse(_execute.canonical(t)) for t in (text, other))
    close = {k: v + 1e-15 for k, v in SETS[0].items()}
    first = _execute.bits(one, SETS[0], 500, 0)
    assert (first == _execute.bits(two, close, 500, 0)).all()
    for changed in (
        _execute.bits(one, SETS[1], 500, 0),
        _execute.bits(one, SETS[0], 501, 0)[:500],
        _execute.bits(one, SETS[0], 500, 1),
    ):
        assert (first != changed).any()


# --- devices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", _devices.DEVICES.values(), ids=lambda device: device.name)
def test_capabilities_follow_the_schema(device: _devices.Device) -> None:
    read = BraketSchemaBase.parse_raw_schema(json.dumps(device.capabilities))
    assert read.paradigm.qubitCount == device.n_qubits
    assert read.service.shotsRange == device.shots_range


def test_the_sdk_finds_the_devices(service: BraketService) -> None:
    found = {device.name: device for device in AwsDevice.get_devices()}
    qpus = {"Garnet", "Emerald", "Cepheus-1-108Q", "Forte 1", "IBEX-Q1", "Aquila"}
    assert set(found) == {"SV1", "dm1", *qpus}
    assert found["Emerald"].status == "OFFLINE"
    assert AwsDevice(service.arn("Ankaa-3")).status == "RETIRED"
    garnet = found["Garnet"]
    assert garnet.is_available
    assert garnet.aws_session.region == "eu-north-1"
    limits = garnet.properties.action["braket.ir.openqasm.program_set"]
    assert (limits.maximumExecutables, limits.maximumTotalShots) == (100, 200_000)
    assert sorted(garnet.topology_graph.nodes) == list(range(1, 21))
    assert "braket.ir.openqasm.program_set" not in found["SV1"].properties.action
    assert garnet.queue_depth().quantum_tasks


@pytest.mark.parametrize("name", ["Garnet", "Cepheus-1-108Q", "Forte 1"])
def test_properties_make_an_emulator(name: str) -> None:
    emulator = LocalEmulator.from_json(json.dumps(Control.properties(name)))
    emulator.validate(native(name, np.random.default_rng(0)).make_bound_circuit({"p0000": 0.1}))


def test_a_device_is_known_in_its_region_only(client: Any) -> None:
    code, _ = refusal(client.get_device, deviceArn=Control.arn("Garnet"))
    assert code == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("TN1", "DeviceRetiredException"),
        ("Aquila", "ValidationException"),
        ("Garnet", "ValidationException"),  # of another region
    ],
)
def test_a_device_that_takes_no_task(client: Any, name: str, code: str) -> None:
    assert refusal(client.create_quantum_task, **request(name=name))[0] == code


def test_a_device_goes_away(quick: BraketService, client: Any) -> None:
    quick.set_status("SV1", "OFFLINE")
    assert refusal(client.create_quantum_task, **request())[0] == "DeviceOfflineException"
    quick.set_status("SV1", "ONLINE")
    client.create_quantum_task(**request())


# --- tasks ----------------------------------------------------------------------------------------


def test_a_token_makes_one_task(quick: BraketService, client: Any) -> None:
    arn = client.create_quantum_task(**request())["quantumTaskArn"]
    assert client.create_quantum_task(**request())["quantumTaskArn"] == arn
    code, message = refusal(client.create_quantum_task, **request(shots=101))
    assert code == "ValidationException"
    assert "clientToken" in message
    assert client.create_quantum_task(**request("other"))["quantumTaskArn"] != arn
    assert [row["token"] for row in quick.ledger()] == ["token", "other"]


def test_a_token_and_the_order_of_inputs(quick: BraketService, client: Any) -> None:
    text = MEASURED.to_ir(IRType.OPENQASM).source
    first, second, third, *rest = text.splitlines()
    other = "\n".join([first, third, second, *rest])
    one, two = (Program(source=source, inputs=SETS[0]).json() for source in (text, other))
    client.create_quantum_task(**request(action=one))
    assert "clientToken" in refusal(client.create_quantum_task, **request(action=two))[1]


BAD = "OPENQASM 3.0;\nqubit[1] q;\nnogate q[0];"
APART = Circuit().add_verbatim_box(Circuit().cz(1, 20)).measure([1, 20])
FOREIGN = Circuit().add_verbatim_box(Circuit().h(1)).measure(1)
NOWHERE = Circuit().add_verbatim_box(Circuit().prx(0, 0.1, 0.2)).measure(0)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("Garnet", {"shots": 20_001}, "1 to 20000"),
        ("SV1", {"shots": 0}, "0 to 100000"),
        ("SV1", {"outputS3Bucket": "nobodys"}, "does not exist"),
        ("SV1", {"action": Program(source=BAD).json()}, "Invalid OpenQASM"),
        ("Garnet", {"action": Circuit().iswap(0, 1).to_ir(IRType.OPENQASM).json()}, "Gate iswap"),
        ("Garnet", {"action": APART.to_ir(IRType.OPENQASM).json()}, "not connected"),
        ("Garnet", {"action": FOREIGN.to_ir(IRType.OPENQASM).json()}, "Gate h"),
        ("Garnet", {"action": NOWHERE.to_ir(IRType.OPENQASM).json()}, "no qubit 0"),
        ("SV1", {"action": MEASURED.to_ir(IRType.OPENQASM).json()}, "input p0000"),
        ("dm1", {"action": Circuit().h(range(18)).to_ir(IRType.OPENQASM).json()}, "18 qubits"),
    ],
)
def test_a_request_is_refused(
    quick: BraketService, client: Any, name: str, changes: dict[str, Any], words: str
) -> None:
    region = _devices.find(name).region or "us-east-1"
    call = boto3.client("braket", region_name=region).create_quantum_task
    code, message = refusal(call, **request(name=name, **changes))
    assert code == "ValidationException"
    assert words in message
    assert quick.ledger() == []


@pytest.mark.parametrize(
    ("count", "shots", "words"), [(101, 1, "100 executables"), (100, 2001, "200000 shots")]
)
def test_a_program_set_is_too_large(
    quick: BraketService, count: int, shots: int, words: str
) -> None:
    binding = CircuitBinding(Circuit().rx(0, THETA), {"p0000": list(np.arange(float(count)))})
    device = AwsDevice(quick.arn("Garnet"))
    _, message = refusal(device.run, task_specification=ProgramSet(binding, shots))
    assert words in message


def test_a_task_is_cancelled(quick: BraketService) -> None:
    quick.fault("queued", value=None)
    task = AwsDevice(quick.arn("SV1")).run(BELL, shots=10)
    assert task.state() == "QUEUED"
    task.cancel()
    assert task.state() == "CANCELLED"
    assert task.result() is None
    assert refusal(task.cancel)[0] == "ConflictException"
    assert [row["usd"] for row in quick.ledger()] == [0]


def test_tasks_are_searched(client: Any) -> None:
    for k in range(5):
        client.create_quantum_task(**request(f"t{k}", tags={"run": "r", "part": str(k)}))
    client.create_quantum_task(**request("dm", name="dm1"))
    here = [{"name": "deviceArn", "operator": "EQUAL", "values": [Control.arn("SV1")]}]
    pages = list(client.get_paginator("search_quantum_tasks").paginate(filters=here, maxResults=2))
    found = [task for page in pages for task in page["quantumTasks"]]
    assert [len(page["quantumTasks"]) for page in pages] == [2, 2, 1]
    assert [task["tags"]["part"] for task in found] == ["4", "3", "2", "1", "0"]
    client.get_quantum_task(quantumTaskArn=found[0]["quantumTaskArn"])
    done = [*here, {"name": "status", "operator": "EQUAL", "values": ["COMPLETED"]}]
    [only] = client.search_quantum_tasks(filters=done)["quantumTasks"]
    assert only["quantumTaskArn"] == found[0]["quantumTaskArn"]
    made = found[2]["createdAt"].isoformat()
    since = [*here, {"name": "createdAt", "operator": "GTE", "values": [made]}]
    later = client.search_quantum_tasks(filters=since)["quantumTasks"]
    assert set("432") <= {task["tags"]["part"] for task in later}
    tagged = [{"name": "tags", "operator": "EQUAL", "values": ["r"]}]
    assert refusal(client.search_quantum_tasks, filters=tagged)[0] == "ValidationException"


def test_the_default_bucket_is_made(service: BraketService, tmp_path: Path) -> None:
    session = AwsSession()
    bucket = session.default_bucket()
    assert bucket == "amazon-braket-us-east-1-123456789012"
    (tmp_path / "file").write_text("text ✓")
    session.upload_to_s3(str(tmp_path / "file"), f"s3://{bucket}/a/file")
    assert session.list_keys(bucket, "a/") == ["a/file"]
    assert session.retrieve_s3_object_body(bucket, "a/file") == "text ✓"
    session.s3_client.head_bucket(Bucket=bucket)
    assert refusal(session.s3_client.head_bucket, Bucket="other")[0] == "404"


# --- money ----------------------------------------------------------------------------------------


def test_the_ledger_agrees_with_the_sdks_tracker(service: BraketService) -> None:
    programs = ProgramSet(CircuitBinding(MEASURED, INPUTS), shots_per_executable=70)
    with Tracker() as tracker:
        AwsDevice(service.arn("SV1")).run(BELL, shots=10).result()
        service.options(simulator_ms=4000)
        AwsDevice(service.arn("dm1")).run(BELL, shots=10).result()
        for name in ("Garnet", "Cepheus-1-108Q", "Forte 1"):
            device = AwsDevice(service.arn(name))
            device.run(BELL, shots=100).result()
            device.run(programs if name != "Forte 1" else BELL, shots=210).result()
    rows = service.ledger()
    assert [row["usd"] for row in rows] == [
        Decimal("0.00375"),  # three seconds at least
        Decimal("0.005"),
        Decimal("0.445"),
        Decimal("0.6045"),
        Decimal("0.3425"),
        Decimal("0.38925"),
        Decimal("8.3"),
        Decimal("17.1"),
    ]
    assert [row["program_set"] for row in rows] == [False] * 3 + [True, False, True] + [False] * 2
    assert tracker.qpu_tasks_cost() + tracker.simulator_tasks_cost() == service.spent()


def test_a_spending_limit(quick: BraketService, client: Any) -> None:
    client = boto3.client("braket", region_name="eu-north-1")
    garnet = {"deviceArn": quick.arn("Garnet"), "spendingLimit": "0.90"}
    arn = client.create_spending_limit(clientToken="a", **garnet)["spendingLimitArn"]
    assert client.create_spending_limit(clientToken="a", **garnet)["spendingLimitArn"] == arn
    one = client.create_quantum_task(**request("one", "Garnet"))["quantumTaskArn"]
    client.create_quantum_task(**request("two", "Garnet"))
    _, message = refusal(client.create_quantum_task, **request("three", "Garnet"))
    assert "spending limit" in message
    client.get_quantum_task(quantumTaskArn=one)
    [row] = client.search_spending_limits()["spendingLimits"]
    assert (row["queuedSpend"], row["totalSpend"]) == ("0.44500", "0.44500")
    client.update_spending_limit(spendingLimitArn=arn, spendingLimit="2")
    client.create_quantum_task(**request("three", "Garnet"))
    past = {"startAt": 0, "endAt": 1}
    client.update_spending_limit(spendingLimitArn=arn, timePeriod=past)
    assert "time" in refusal(client.create_quantum_task, **request("four", "Garnet"))[1]
    client.delete_spending_limit(spendingLimitArn=arn)
    client.create_quantum_task(**request("four", "Garnet"))
    simulator = {"deviceArn": quick.arn("SV1"), "spendingLimit": "1"}
    call = client.create_spending_limit
    assert refusal(call, clientToken="b", **simulator)[0] == "ValidationException"


# --- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("create-429", "ThrottlingException"),
        ("create-500", "InternalServiceException"),
        ("create-402", "ServiceQuotaExceededException"),
    ],
)
def test_a_creation_is_refused_for_now(
    quick: BraketService, client: Any, kind: str, code: str
) -> None:
    quick.fault(kind)
    assert refusal(client.create_quantum_task, **request())[0] == code
    assert quick.ledger() == []
    client.create_quantum_task(**request())
    assert len(quick.ledger()) == 1
    assert quick.struck() == [kind]


@pytest.mark.parametrize(("kind", "tasks"), [("create-drop", 0), ("create-drop-after", 1)])
def test_the_connection_breaks(quick: BraketService, client: Any, kind: str, tasks: int) -> None:
    quick.fault(kind)
    with pytest.raises(ConnectionClosedError):
        client.create_quantum_task(**request())
    assert len(quick.ledger()) == tasks
    client.create_quantum_task(**request())
    assert len(quick.ledger()) == 1


def test_boto3_repeats_with_the_same_token(service: BraketService) -> None:
    service.fault("create-drop-after")
    AwsDevice(service.arn("SV1")).run(BELL, shots=10)
    assert [entry["fault"] for entry in service.log() if entry["operation"] == "create"] == [
        "drop-after",
        "",
    ]
    assert len(service.ledger()) == 1


@pytest.mark.parametrize("operation", ["get", "s3", "device"])
def test_other_requests_fail(quick: BraketService, operation: str) -> None:
    device = AwsDevice(quick.arn("SV1"))
    task = device.run(BELL, shots=10)
    quick.fault(f"{operation}-500")
    call = device.refresh_metadata if operation == "device" else task.result
    assert refusal(call)[0] == "InternalServiceException"
    call()


def test_a_task_fails(quick: BraketService) -> None:
    quick.fault("failed", value="the fridge is warm")
    device = AwsDevice(quick.arn("Garnet"))
    task = device.run(BELL, shots=10)
    assert task.result() is None
    assert task.state() == "FAILED"
    assert task.metadata()["failureReason"] == "the fridge is warm"
    quick.fault("failed")
    with pytest.raises(ClientError, match="NoSuchKey"):  # as the SDK does for a program set
        device.run(ProgramSet([BELL], 10)).result()
    quick.fault("cancelled")
    task = device.run(BELL, shots=10)
    assert task.result() is None
    assert task.state() == "CANCELLED"
    rows = quick.ledger()
    assert [row["usd"] for row in rows] == [0, 0, 0]
    assert [row["usd_created"] for row in rows] == [Decimal("0.3145")] * 3


def test_a_task_waits(quick: BraketService) -> None:
    device = AwsDevice(quick.arn("SV1"))
    quick.fault("queued", value=3)
    task = device.run(BELL, shots=10)
    states = [(task.state(), task.queue_position().queue_position) for _ in range(2)]
    assert states == [("QUEUED", "2"), ("QUEUED", None)]  # each asks twice: 3, 2, 1, done
    assert task.result() is not None
    quick.fault("queued", value=None)
    task = device.run(BELL, shots=10, poll_timeout_seconds=0.1)
    assert task.result() is None
    assert task.queue_position().queue_position == ">2000"
    quick.clear()
    assert AwsQuantumTask(task.id).result() is not None


def test_a_program_set_fails_in_part(quick: BraketService) -> None:
    quick.fault("partial", value=[1])
    device = AwsDevice(quick.arn("Garnet"))
    task = device.run(ProgramSet(CircuitBinding(MEASURED, INPUTS), shots_per_executable=100))
    entries = task.result()[0].entries
    assert [hasattr(entry, "counts") for entry in entries] == [True, False, True]
    assert entries[1].failureMetadata.failureReason == "Device error"
    assert task.metadata()["numSuccessfulShots"] == 200
    [row] = quick.ledger()
    assert (row["usd"], row["usd_created"]) == (Decimal("0.59"), Decimal("0.735"))
    quick.fault("partial", value=[0])
    task = device.run(ProgramSet([BELL], 100))
    assert task.state() == "FAILED"
    assert not hasattr(task.result()[0].entries[0], "counts")


def test_results_are_missing(quick: BraketService) -> None:
    device = AwsDevice(quick.arn("SV1"))
    quick.fault("missing", value=2)
    task = device.run(BELL, shots=10)
    for _ in range(2):
        with pytest.raises(ClientError, match="NoSuchKey"):
            task.result()
    assert sum(task.result().measurement_counts.values()) == 10
    quick.fault("missing", value=None)
    task = device.run(BELL, shots=10)
    for _ in range(5):
        assert refusal(task.result)[0] == "NoSuchKey"


def test_chance_is_seeded(quick: BraketService, client: Any) -> None:
    def run(seed: int) -> list[str]:
        quick.clear()
        quick.chance(seed, {"create-500": 0.2, "create-drop": 0.2, "failed": 0.3}, limit=5)
        for k in range(30):
            try:
                client.create_quantum_task(**request(f"{seed} {k} {time.monotonic()}"))
            except (ClientError, ConnectionClosedError):
                continue
        return quick.struck()

    first = run(1)
    assert len(first) == 5
    assert first == run(1)
    assert len({tuple(run(seed)) for seed in range(2, 8)}) > 1


def test_a_reset_forgets(quick: BraketService, client: Any) -> None:
    quick.fault("create-500", times=None)
    quick.set_status("dm1", "OFFLINE")
    quick.reset()
    boto3.client("s3").create_bucket(Bucket="amazon-braket-mine")
    client.create_quantum_task(**request(name="dm1"))
    quick.reset()
    assert quick.ledger() == quick.log() == quick.struck() == []


# --- in its own process ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def process() -> Iterator[BraketProcess]:
    with BraketProcess() as running:
        yield running


CLIENT = """
import boto3, json, sys
given = json.loads(sys.argv[1])
boto3.client("s3").create_bucket(Bucket=given["outputS3Bucket"])
print(boto3.client("braket").create_quantum_task(**given)["quantumTaskArn"])
"""


def test_a_client_dies_and_the_ledger_lives(process: BraketProcess) -> None:
    process.fault("create-hang")
    command = [sys.executable, "-c", CLIENT, json.dumps(request("mine"))]
    environment = os.environ | process.env
    client = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    while not process.ledger():
        assert client.poll() is None
        time.sleep(0.02)
    client.send_signal(signal.SIGKILL)
    assert client.communicate()[0] == b""  # it never heard of its task
    again = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    [row] = process.ledger()
    assert again.stdout.decode().strip() == row["arn"]


def test_another_process_gives_the_same_counts(
    process: BraketProcess, service: BraketService, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = AwsDevice(service.arn("SV1")).run(MEASURED, shots=300, inputs=SETS[0]).result()
    for name, value in process.env.items():
        monkeypatch.setenv(name, value)
    there = AwsDevice(process.arn("SV1")).run(MEASURED, shots=300, inputs=SETS[0]).result()
    assert isinstance(there, GateModelQuantumTaskResult)
    assert there.measurement_counts == here.measurement_counts
