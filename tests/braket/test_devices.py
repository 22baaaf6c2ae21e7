"""Finding devices, reading what they can do, refusing what they cannot, and where qubits go."""

import dataclasses
import gc
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("braket.aws", reason="the braket extra is not installed")

import boto3
from braket.aws import AwsDevice, AwsSession
from braket.devices import LocalSimulator
from braket.emulation.local_emulator import LocalEmulator
from braket.schema_common import BraketSchemaBase

from qtn_train.braket.device._devices import check, open_session, resolve
from qtn_train.braket.device._fidelity import executed_gates, gate_counts
from qtn_train.braket.device._placement import find_placement, fits
from qtn_train.braket.device._target import NO_LIMIT, ProgramSetLimits, pairs_of
from qtn_train.braket.stand_in import BraketService
from qtn_train.circuits import ANSATZE, Circuit, ansatz
from qtn_train.errors import DataError, QtnTrainError, UnsupportedByEngine
from tests.braket.qpus import emulator

CHAIN = ansatz.ry_cx_chain(4, 1)


@pytest.mark.parametrize(("name", "n_qubits"), [("local:sv", 26), ("local:dm", 13)])
def test_a_local_simulator_has_no_labels_and_takes_no_shots(name: str, n_qubits: int) -> None:
    target = resolve(name)
    assert (target.name, target.kind, target.arn, target.billed) == (name, "local", None, False)
    assert (target.n_qubits, target.min_shots, target.max_shots) == (n_qubits, 0, NO_LIMIT)
    assert target.labels is target.edges is target.native is target.fidelities is None


def test_a_device_object_is_taken_as_it_is() -> None:
    device = LocalSimulator("braket_dm")
    assert resolve(device).device is device
    assert resolve(device).n_qubits == 13


def test_an_emulator_is_read_from_its_file(tmp_path: Path) -> None:
    garnet = emulator("Garnet", tmp_path)
    assert (garnet.name, garnet.kind, garnet.billed) == ("emulator:properties", "emulator", False)
    assert (garnet.n_qubits, garnet.min_shots, garnet.max_shots) == (20, 1, 20_000)
    assert garnet.labels == tuple(range(1, 21))
    assert garnet.edges is not None
    assert {(1, 2), (1, 6)} <= garnet.edges
    assert (2, 1) not in garnet.edges
    assert garnet.native == "iqm"
    assert garnet.program_sets is None


def test_an_emulator_object_tells_its_properties_only_when_made_from_them(tmp_path: Path) -> None:
    text = json.dumps(BraketService.properties("Garnet"))
    telling = LocalEmulator.from_device_properties(BraketSchemaBase.parse_raw_schema(text))
    assert resolve(telling).labels == tuple(range(1, 21))
    with pytest.raises(ValueError, match=r"one that tells its properties; got emulator:"):
        resolve(LocalEmulator.from_json(text))


@pytest.mark.parametrize(
    ("name", "family", "n_labels", "n_edges"),
    [
        ("Garnet", "iqm", 20, 31),
        ("Cepheus-1-108Q", "rigetti", 107, 193),
        ("Forte 1", "ionq", 36, 0),
    ],
)
def test_families_labels_and_edges(
    name: str, family: str, n_labels: int, n_edges: int, tmp_path: Path
) -> None:
    target = emulator(name, tmp_path)
    assert target.native == family
    assert target.labels is not None
    assert len(target.labels) == n_labels
    assert len(target.edges or ()) == n_edges


def test_calibration_is_read_in_each_of_its_forms(tmp_path: Path) -> None:
    garnet = BraketService.properties("Garnet")["standardized"]
    one = [q["oneQubitFidelity"] for q in garnet["oneQubitProperties"].values()]
    two = [p["twoQubitGateFidelity"] for p in garnet["twoQubitProperties"].values()]
    found = emulator("Garnet", tmp_path).fidelities
    assert found is not None
    assert found.one_qubit == pytest.approx(np.median([entry[0]["fidelity"] for entry in one]))
    assert found.readout == pytest.approx(np.median([entry[1]["fidelity"] for entry in one]))
    assert found.two_qubit == pytest.approx(np.median([entry[0]["fidelity"] for entry in two]))
    assert found.edges[1, 2] == two[0][0]["fidelity"]
    forte = emulator("Forte 1", tmp_path).fidelities
    assert forte is not None
    assert (forte.one_qubit, forte.two_qubit, forte.readout) == (0.9998, 0.996, 0.995)
    header = {"name": "braket.device_schema.standardized_gate_model_qpu_device_properties"}
    benchmark = {"fidelityType": {"name": "RANDOMIZED_BENCHMARKING"}, "unit": "fraction"}
    third = {
        "braketSchemaHeader": header | {"version": "3"},
        "singleQubitFidelity": [benchmark | {"fidelity": 0.9}],
        "twoQubitGateFidelity": [benchmark | {"fidelity": 0.8}],
        "readoutFidelity": [{"fidelity": 0.7, "unit": "fraction"}],
    }
    newest = emulator("Forte 1", tmp_path, standardized=third).fidelities
    assert newest is not None
    assert (newest.one_qubit, newest.two_qubit, newest.readout) == (0.9, 0.8, 0.7)


def test_properties_that_are_json_inside_a_string(tmp_path: Path) -> None:
    """As Amazon publishes some of its captures."""
    path = tmp_path / "twice.json"
    path.write_text(json.dumps(json.dumps(BraketService.properties("Garnet"))))
    assert resolve(f"emulator:{path}").edges == emulator("Garnet", tmp_path).edges


def test_a_bucket_that_braket_will_not_take() -> None:
    with pytest.raises(ValueError, match=r"`bucket` must be one whose name begins with amazon-bra"):
        open_session(region="us-east-1", bucket="mine")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "which cannot be read"),
        ("", "properties.json: "),
        ("{}", "properties.json: "),
        ('{"braketSchemaHeader": {"name": "x", "version": "1"}}', "properties.json: "),
    ],
)
def test_a_damaged_emulator_file_is_one_clear_line(
    text: str | None, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "properties.json"
    if text is not None:
        path.write_text(text)
    expected = rf"^`emulator` must be a JSON file with the properties .*{complaint}.*\.$"
    with pytest.raises(DataError, match=expected) as caught:
        resolve(f"emulator:{path}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["", "local:tn", "emulator:", "simulator:sv"])
def test_a_string_that_names_nothing_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match=r"^`device` must be 'local:sv', .* ARN .*; got '"):
        resolve(device)


def test_what_is_no_device_is_refused() -> None:
    with pytest.raises(TypeError, match="or a Braket Device; got 3"):
        resolve(3)


def test_an_analog_simulator_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be a gate-model device; got local:Rydberg.*analog"):
        resolve(LocalSimulator("braket_ahs"))


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "braket.devices", None)
    with pytest.raises(ImportError, match=r"pip install 'qtn_train\[braket\]'"):
        resolve("local:sv")


@pytest.mark.slow
def test_importing_the_package_imports_no_braket() -> None:
    code = (
        "import sys, qtn_train.braket.cost._estimate, qtn_train.braket.device._devices;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'braket', 'boto3'}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


# --- names and ARNs, from the service


@pytest.mark.parametrize("name", ["Garnet", "garnet", "arn"])
def test_a_qpu_is_found_in_another_region(service: BraketService, name: str) -> None:
    target = resolve(service.arn("Garnet") if name == "arn" else name)
    assert (target.name, target.kind, target.arn) == ("IQM Garnet", "qpu", service.arn("Garnet"))
    assert target.billed
    assert target.device.aws_session.region == "eu-north-1"
    assert target.program_sets == ProgramSetLimits(100, 200_000)


def test_spellings_of_a_name_are_one(service: BraketService) -> None:
    for name in ("Forte 1", "forte-1", "Forte1"):
        assert resolve(name).arn == service.arn("Forte 1")


def test_a_simulator_of_amazons_needs_shots(service: BraketService) -> None:
    target = resolve("SV1")
    assert (target.kind, target.min_shots, target.program_sets) == ("simulator", 1, None)
    expected = (
        r"^`shots` must be from 1 to 100,000 on SV1; got 0\. Exact .* local:sv and local:dm\.$"
    )
    with pytest.raises(ValueError, match=expected):
        check(target, CHAIN, 0)


def test_a_device_object_of_the_service_is_taken(service: BraketService) -> None:
    assert resolve(AwsDevice(service.arn("SV1"))).kind == "simulator"


def test_a_region_that_does_not_answer_does_not_hide_the_others(service: BraketService) -> None:
    session = once(open_session())
    service.fault("search-500", times=1)
    assert resolve("Garnet", session=session).arn == service.arn("Garnet")
    service.fault("search-500", times=1)
    with pytest.raises(ValueError, match=r"got 'SV9'\. Regions that could not .*: us-east-1\.$"):
        resolve("SV9", session=session)


def test_an_unknown_name_is_answered_with_the_known_ones(service: BraketService) -> None:
    with pytest.raises(
        ValueError, match=r"^`device` must be one of .*Garnet.*SV1.*; got 'Granite'"
    ):
        resolve("Granite")


@pytest.mark.parametrize("arn", ["arn:aws:braket:::device/quantum-simulator/amazon/sv9", "arn:no"])
def test_an_unknown_arn_is_refused(service: BraketService, arn: str) -> None:
    with pytest.raises(ValueError, match=f"the name or ARN of a Braket device; got '{arn}'"):
        resolve(arn)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Emerald", "must be ONLINE; got IQM Emerald, which is OFFLINE. Wait until it is online."),
        ("Ankaa-3", "must be ONLINE; got Rigetti Ankaa-3, which is RETIRED. Choose another device"),
        ("TN1", "must be ONLINE; got TN1, which is RETIRED"),
        ("Aquila", "must be a gate-model device; got QuEra Aquila, an analog one"),
    ],
)
def test_devices_that_cannot_run_circuits(service: BraketService, name: str, message: str) -> None:
    for device in (name, service.arn(name)):
        with pytest.raises(ValueError, match=f"^`device` {message}"):
            resolve(device)


def test_no_credentials(service: BraketService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    expected = "^`credentials` must be those of an AWS account; got none. Run `aws configure`"
    for device in ("SV1", service.arn("SV1")):
        with pytest.raises(ValueError, match=expected):
            resolve(device)
    with pytest.raises(ValueError, match=expected):
        resolve(service.arn("SV1"), session=AwsSession())


def test_no_region(service: BraketService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(
        ValueError, match=r"^`region` must be an AWS region; got none. Name a region"
    ):
        resolve("SV1")
    assert open_session(region="us-west-2").region == "us-west-2"


def test_an_unknown_profile(service: BraketService) -> None:
    with pytest.raises(ValueError, match=r"^`profile` must be one of none; got 'mine'"):
        open_session(profile="mine")


def test_a_session_keeps_its_bucket(service: BraketService) -> None:
    assert open_session(bucket="amazon-braket-mine").default_bucket() == "amazon-braket-mine"


def once(session: AwsSession) -> AwsSession:
    """The same, with a client that does not try again."""
    config = boto3.session.Config(retries={"total_max_attempts": 1})
    url = os.environ["BRAKET_ENDPOINT"]
    session.braket_client = session.boto_session.client("braket", config=config, endpoint_url=url)
    return session


@pytest.mark.parametrize("fault", ["device-500", "device-drop"])
def test_a_service_that_does_not_answer_is_one_line(service: BraketService, fault: str) -> None:
    service.fault(fault, times=None)
    with pytest.raises(QtnTrainError, match=r"^`device` must be read from Amazon Bra") as e:
        resolve(service.arn("SV1"), session=once(open_session()))
    assert not isinstance(e.value, ValueError)
    assert "\n" not in str(e.value)


# --- what a device cannot run


def test_shots_outside_the_range(tmp_path: Path) -> None:
    target = emulator("Cepheus-1-108Q", tmp_path)
    for shots, shown in ((9, "9"), (50_001, "50,001")):
        expected = f"^`shots` must be from 10 to 50,000 on emulator:properties; got {shown}"
        with pytest.raises(ValueError, match=expected):
            check(target, CHAIN, shots)
    check(target, CHAIN, 10)
    check(target, CHAIN, 50_000)


def test_more_qubits_than_the_device_has() -> None:
    expected = r"^`n_qubits` must be at most 26 on local:sv; got 27\. Take fewer qubits"
    with pytest.raises(UnsupportedByEngine, match=expected):
        check(resolve("local:sv"), ansatz.ry_cx_chain(27, 1), 100)


def test_labels_need_a_device_that_has_them() -> None:
    with pytest.raises(ValueError, match=r"^`placement` must be None on local:sv"):
        check(resolve("local:sv"), CHAIN, 100, (0, 1, 2, 3))


@pytest.mark.parametrize(
    ("placement", "message"),
    [
        ((1, 2, 3), r"must be 4 different labels, one for each qubit; got \(1, 2, 3\)"),
        ((1, 2, 3, 2), r"must be 4 different labels"),
        ((0, 1, 2, 21), r"must be labels of emulator:properties \(from 1 to 20, .*got \[0, 21\]"),
        ((1, 2, 3, 20), r"connected on emulator.*; got 3 and 20 for qubits 2 and 3\. Leave it out"),
    ],
)
def test_placements_that_are_refused(
    placement: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"^`placement` .*{message}"):
        check(emulator("Garnet", tmp_path), CHAIN, 100, placement)


def test_a_placement_needs_edges_only_where_gates_are(tmp_path: Path) -> None:
    garnet = emulator("Garnet", tmp_path)
    check(garnet, CHAIN, 100, (3, 2, 1, 6))
    check(garnet, ansatz.product(*[ansatz.ry_cx_chain(2, 1)] * 2), 100, (1, 2, 19, 20))
    check(emulator("Forte 1", tmp_path), ansatz.u3_cu3_ring(4, 1), 100, (9, 0, 20, 35))


# --- placements that are found


@pytest.mark.parametrize("name", sorted(ANSATZE))
@pytest.mark.parametrize("n_qubits", [1, 2, 4, 10, 20])
def test_a_placement_is_found_and_valid(name: str, n_qubits: int, tmp_path: Path) -> None:
    garnet, circuit = emulator("Garnet", tmp_path), ANSATZE[name](n_qubits, 1)
    placement = find_placement(garnet, circuit)
    check(garnet, circuit, 100, placement)
    assert placement == find_placement(emulator("Garnet", tmp_path), circuit)


def test_long_chains_find_their_way(tmp_path: Path) -> None:
    for name, n_qubits in (("Emerald", 54), ("Cepheus-1-108Q", 60)):
        target, circuit = emulator(name, tmp_path), ansatz.ry_cx_chain(n_qubits, 1)
        check(target, circuit, 100, find_placement(target, circuit))


def test_well_calibrated_edges_come_first(tmp_path: Path) -> None:
    garnet = emulator("Garnet", tmp_path)
    assert garnet.edges is not None
    assert garnet.fidelities is not None
    good = {(7, 8), (8, 13), (12, 13)}
    quality = {edge: 0.999 if edge in good else 0.9 for edge in garnet.edges}
    fidelities = dataclasses.replace(garnet.fidelities, edges=quality)
    better = dataclasses.replace(garnet, fidelities=fidelities)
    placement = find_placement(better, CHAIN)
    used = {tuple(sorted((placement[a], placement[b]))) for a, b in pairs_of(CHAIN)}
    assert used == good


def test_without_connections_any_labels_will_do(tmp_path: Path) -> None:
    assert find_placement(emulator("Forte 1", tmp_path), CHAIN) == (0, 1, 2, 3)


def test_a_circuit_that_does_not_fit_the_connections(tmp_path: Path) -> None:
    garnet, star = emulator("Garnet", tmp_path), Circuit.builder(6)
    for leaf in range(1, 6):
        star.cx(0, leaf)
    for circuit in (ansatz.u3_cu3_ring(5, 1), star.build()):
        assert not fits(garnet, circuit)
        with pytest.raises(UnsupportedByEngine, match=r"^`circuit` must be one whose pairs .* fit"):
            find_placement(garnet, circuit)
    assert not fits(garnet, ansatz.ry_cx_chain(21, 1))
    assert fits(resolve("local:sv"), star.build())


def test_what_is_kept_for_a_device_goes_with_it() -> None:
    """Its session holds connections open."""
    target = dataclasses.replace(resolve("local:sv"))
    circuit = ansatz.ry_cx_chain(3, 1)
    assert gate_counts(circuit, target) == gate_counts(circuit, target) == (2, 3)
    assert executed_gates(circuit, target) is executed_gates(circuit, target)
    gone = weakref.ref(target)
    del target
    gc.collect()
    assert gone() is None
