"""BraketEngine: the same circuits everywhere, what it costs, what it refuses."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
import torch
from scipy.stats import chisquare
from torch import Tensor

pytest.importorskip("braket.aws", reason="the braket extra is not installed")

from qtn_train.braket.cost._estimate import estimate
from qtn_train.braket.run import _local
from qtn_train.braket.stand_in import _execute
from qtn_train.circuits import ANSATZE, Circuit, ansatz
from qtn_train.engines import Engine, MPSEngine, SampledEngine, StatevectorEngine
from qtn_train.engines.counting._braket import BraketEngine
from qtn_train.engines.counting._recorded import RecordedEngine
from qtn_train.errors import JournalError, TasksPending, UnsupportedByEngine
from qtn_train.measurements import Expectation, Measurement, PauliCorrelators
from qtn_train.measurements._counts import Counts, Program
from tests.braket.sessions import aws_session

Start = Callable[..., BraketEngine]
CIRCUIT = ansatz.ry_cx_chain(3, 2)
ANGLES = torch.linspace(-1.5, 2.0, CIRCUIT.n_angles, dtype=torch.float64)
OUTCOMES = 2**CIRCUIT.n_qubits


@pytest.fixture
def start(service: Any, tmp_path: Path) -> Any:
    """Return a function that opens an engine on a device of the service."""
    engines: list[BraketEngine] = []

    def open_engine(device: str = "Garnet", shots: int = 100, **options: Any) -> BraketEngine:
        arn = service.arn(device)
        defaults: dict[str, Any] = {
            "session": aws_session(arn),
            "journal": tmp_path / f"{len(engines)}.sqlite",
            "budget_usd": 10_000,
            "poll_seconds": 0.002,
            "say": lambda line: None,
        }
        engines.append(BraketEngine(arn, shots, **(defaults | options)))
        return engines[-1]

    yield open_engine
    for engine in engines:
        engine.close()


def step(engine: Engine, angles: Tensor = ANGLES) -> tuple[Tensor, Tensor]:
    """Return probabilities and the gradient of a fixed function of them."""
    leaf = angles.clone().requires_grad_()
    probs = engine.prepare(CIRCUIT, leaf).probs(0, OUTCOMES)
    (probs @ torch.linspace(-1, 1, OUTCOMES, dtype=probs.dtype)).backward()
    assert leaf.grad is not None
    return probs.detach(), leaf.grad


def exact() -> tuple[Tensor, Tensor]:
    return step(StatevectorEngine(dtype="complex128"))


def p_value(counts: Tensor, probs: Tensor) -> float:
    """p of a chi-square test over the bins with an expectation of at least 5, the rest in one."""
    expected = probs.numpy() * float(counts.sum())
    large = expected >= 5
    observed = [*counts.numpy()[large], counts.numpy()[~large].sum()]
    wanted = [*expected[large], expected[~large].sum()]
    kept = [k for k in range(len(wanted)) if wanted[k] > 0]
    return float(chisquare([observed[k] for k in kept], [wanted[k] for k in kept]).pvalue)


# The same circuit everywhere


@pytest.mark.parametrize("name", ANSATZE)
def test_what_the_service_received_is_the_same_circuit(
    service: Any, start: Start, name: str
) -> None:
    """At least 100 circuits of each ansatz, read back from the requests by Braket's simulator."""
    rng = np.random.default_rng(17)
    engine = start(shots=1)
    truth = StatevectorEngine(dtype="complex128")
    chain = MPSEngine(dtype="complex128")
    worst, n_circuits = 0.0, 0
    for number, (n_qubits, n_layers) in enumerate([(1, 2), (2, 2), (3, 1), (4, 1), (5, 1)]):
        circuit = ANSATZE[name](n_qubits, n_layers)
        angles = torch.from_numpy(rng.uniform(-np.pi, np.pi, (20, circuit.n_angles)))
        engine._measure([Program(circuit, angles)], number)
        ((source, inputs),) = service.programs(service.ledger()[-1]["arn"])
        parsed = _execute.parse(_execute.canonical(source))
        assert len(parsed.measured) == n_qubits
        for row, own in zip(angles, _execute.input_sets(inputs), strict=True):
            received = torch.from_numpy(_execute.probabilities(parsed, own))
            for simulator in (truth, chain):
                probs = simulator.prepare(circuit, row).probs(0, 2**n_qubits)
                worst = max(worst, float((received - probs).abs().sum()) / 2)
            n_circuits += 1
    assert n_circuits >= 100
    assert worst <= tolerances.TOTAL["complex128"]


@pytest.mark.parametrize("device", ["local:sv", "local:dm"])
def test_no_shots_are_exact_gradients_included(device: str) -> None:
    engine = BraketEngine(device, 0, gradient="parameter-shift", dtype="complex128")
    for mine, truth in zip(step(engine), exact(), strict=True):
        torch.testing.assert_close(mine, truth, rtol=0, atol=tolerances.SHIFT_RULE)
    assert engine.exact
    assert not engine.needs_shots


@pytest.mark.parametrize("device", ["local:sv", "local:dm", "SV1", "Garnet", "Forte 1"])
def test_shots_follow_the_distribution(start: Start, device: str) -> None:
    local = device.startswith("local:")
    engine = BraketEngine(device, 5000, seed=3) if local else start(device, 5000)
    state = engine.prepare(CIRCUIT, ANGLES)
    counts = (state.probs(0, OUTCOMES).double() * 5000).round()
    assert int(counts.sum()) == 5000
    assert p_value(counts, exact()[0]) > tolerances.P_VALUE


def test_native_gates_and_readout_mitigation_on_a_qpu(service: Any, start: Start) -> None:
    """The calibration circuits go to the same physical qubits."""
    engine = start("Garnet", 2000, native=True, mitigate_readout=True, dtype="complex128")
    probs = engine.prepare(CIRCUIT, ANGLES).probs(0, OUTCOMES)
    torch.testing.assert_close(probs, exact()[0], rtol=0, atol=tolerances.of_draws(2000, 0.5))
    (row,) = service.ledger()
    programs = [source for source, _ in service.programs(row["arn"])]
    measured = {_execute.parse(_execute.canonical(source)).measured for source in programs}
    assert len(programs) == 3
    assert len(measured) == 1
    assert all("verbatim" in source for source in programs)


@pytest.mark.parametrize("gradient", ["parameter-shift", "random-shift", "spsa"])
def test_gradients_from_the_service_equal_those_from_its_counts(
    service: Any, start: Start, gradient: Any
) -> None:
    """The service draws by circuit, inputs and shots: the same engine again sees the same."""
    first, second = (start("SV1", 200, gradient=gradient, seed=5) for _ in range(2))
    for mine, other in zip(step(first), step(second), strict=True):
        assert torch.equal(mine, other)
    assert first.position == second.position == 2


def test_an_emulator(service: Any, tmp_path: Path) -> None:
    path = tmp_path / "garnet.json"
    path.write_text(json.dumps(service.properties("Garnet")))
    engine = BraketEngine(f"emulator:{path}", 500)
    probs = engine.prepare(CIRCUIT, ANGLES).probs(0, OUTCOMES)
    torch.testing.assert_close(
        probs.double(), exact()[0], rtol=0, atol=tolerances.of_draws(500, 0.5) + 0.04
    )
    assert not engine.billed


def test_a_noise_model_keeps_its_readout_error() -> None:
    from braket.circuits import Noise
    from braket.circuits.noise_model import MeasureCriteria, NoiseModel
    from braket.devices import LocalSimulator

    noise = NoiseModel().add_noise(Noise.BitFlip(0.25), MeasureCriteria())
    engine = BraketEngine(LocalSimulator("braket_dm", noise_model=noise), 2000)
    probs = engine.prepare(Circuit.builder(1).x(0).build(), torch.zeros(0)).probs(0, 2)
    assert 0.15 < float(probs[0]) < 0.35


# Shots drawn on this machine


def test_local_shots_are_a_function_of_seed_and_position() -> None:
    def probs(seed: int, position: int) -> Tensor:
        engine = BraketEngine("local:sv", 100, seed=seed)
        engine.position = position
        return engine.prepare(CIRCUIT, ANGLES).probs(0, OUTCOMES)

    assert torch.equal(probs(1, 4), probs(1, 4))
    assert not torch.equal(probs(1, 4), probs(1, 5))
    assert not torch.equal(probs(1, 4), probs(2, 4))


def test_impossible_outcomes_are_never_drawn() -> None:
    probs = torch.tensor([0.0, 0.5, 0.0, 0.5 - 1e-17, 0.0])
    ends = np.array([0, 2**64 - 1, 2**63 - 1, 2**63], dtype=np.uint64)
    assert _local._sample(probs.double(), ends).tolist() == [1, 3, 1, 3]


@pytest.mark.parametrize("shots", [0, 50])
def test_a_journal_of_a_local_device(tmp_path: Path, shots: int) -> None:
    options: dict[str, Any] = {
        "gradient": "parameter-shift",
        "journal": tmp_path / "journal.sqlite",
        "dtype": "complex128",
    }
    engine = BraketEngine("local:sv", shots, **options)
    first = step(engine)
    engine.close()
    again = BraketEngine("local:sv", shots, **options)
    again.target.device.run = None  # nothing is run again
    for mine, other in zip(step(again), first, strict=True):
        assert torch.equal(mine, other)
    again.position = 0
    with pytest.raises(JournalError, match=r"`evaluation 0` must be of the journal's angles"):
        step(again, ANGLES + 0.1)
    again.close()


# Money


_BILLED = [
    ("SV1", 100, "parameter-shift", {}),
    ("DM1", 100, "spsa", {}),
    ("Garnet", 100, "parameter-shift", {}),
    ("Garnet", 20_000, "random-shift", {"n_shifts": 6}),
    ("Garnet", 100, "spsa", {"mitigate_readout": True, "native": True}),
    ("Cepheus-1-108Q", 5000, "parameter-shift", {"native": True}),
    ("Forte 1", 2500, "random-shift", {"n_shifts": 2}),
]


@pytest.mark.parametrize(("device", "shots", "gradient", "options"), _BILLED)
def test_the_estimate_is_the_bill(
    service: Any, start: Start, device: str, shots: int, gradient: Any, options: dict[str, Any]
) -> None:
    engine = start(device, shots, gradient=gradient, **options)
    shared = {k: v for k, v in options.items() if k != "native"}
    told = estimate(CIRCUIT, engine.target, shots=shots, gradient=gradient, **shared)
    step(engine)
    rows = service.ledger()
    assert told.step.usd_low == told.step.usd_high == service.spent() == engine.spent_usd
    assert told.step.tasks == len(rows)
    assert told.step.program_sets == sum(row["program_set"] for row in rows)
    assert told.step.shots == sum(row["shots"] for row in rows)


def test_a_long_run_on_a_simulator_is_billed_by_its_time(service: Any, start: Start) -> None:
    service.options(simulator_ms=7000)
    engine = start("SV1")
    engine.prepare(CIRCUIT, ANGLES)
    assert engine.spent_usd == service.spent() == 7 * Decimal("0.075") / 60


def test_nothing_runs_backward_without_a_gradient(service: Any, start: Start) -> None:
    engine = start(gradient="parameter-shift")
    with torch.no_grad():
        engine.prepare(CIRCUIT, ANGLES.clone().requires_grad_())
    engine.prepare(CIRCUIT, ANGLES)
    assert [row["executables"] for row in service.ledger()] == [1, 1]


def test_a_finished_run_is_read_from_its_journal(
    service: Any, start: Start, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"gradient": "parameter-shift", "journal": tmp_path / "run.sqlite"}
    engine = start(**options)
    first = step(engine)
    engine.close()
    again = start(**options)
    for mine, other in zip(step(again, ANGLES + 3e-6), first, strict=True):  # other rounding
        assert torch.equal(mine, other)
    assert len(service.ledger()) == 2
    again.position = 0
    with pytest.raises(JournalError, match=r"within 1e-05 rad; got a difference of 0\.01"):
        step(again, ANGLES + 0.01)
    again.position = 1
    with pytest.raises(JournalError, match="of the circuits in the journal"):
        again.prepare(CIRCUIT, ANGLES)


@pytest.mark.parametrize(
    "reads", [Expectation([{"ZZI": 1.0, "XXI": -0.5}, "IYY"]), PauliCorrelators(2)], ids=str
)
def test_other_measurements_on_a_device_and_from_its_journal(
    service: Any, start: Start, tmp_path: Path, reads: Measurement
) -> None:
    options: dict[str, Any] = {"gradient": "spsa", "journal": tmp_path / "run.sqlite", "step": 0.3}

    def measured(engine: Engine) -> tuple[Tensor, Tensor]:
        leaf = ANGLES.clone().requires_grad_()
        values = reads.values(engine.prepare(CIRCUIT, leaf, reads), 0, reads.n_values(3))
        (grad,) = torch.autograd.grad(values.square().sum(), leaf)
        return values.detach(), grad

    engine = start(shots=2000, **options)
    first = measured(engine)
    state = StatevectorEngine(dtype="complex128").prepare(CIRCUIT, ANGLES)
    exact_values = reads.values(state, 0, reads.n_values(3))
    assert float((first[0] - exact_values).abs().max()) < 1.5
    assert len(service.ledger()) == 2
    engine.close()
    for mine, other in zip(measured(RecordedEngine(options["journal"])), first, strict=True):
        assert torch.equal(mine, other)
    assert len(service.ledger()) == 2


def test_what_was_not_declared_costs_nothing(service: Any, start: Start) -> None:
    engine = start()
    state = engine.prepare(CIRCUIT, ANGLES, Expectation("ZZI"))
    paid = engine.spent_usd
    for ask in (
        lambda: state.probs(0, 8),
        lambda: state.expectation("XXI"),
        lambda: state.correlators(2),
        lambda: state.sample(5, seed=0),
        state.amplitudes,
    ):
        with pytest.raises(UnsupportedByEngine, match="reads="):
            ask()
    assert len(service.ledger()) == 1
    assert engine.spent_usd == paid


# Descriptions


def test_what_it_says_of_itself(start: Start) -> None:
    local = BraketEngine("local:sv", 100, gradient="spsa", seed=2)
    assert repr(local) == (
        "BraketEngine('local:sv', shots=100, gradient='spsa', seed=2, dtype='complex64')"
    )
    assert (local.billed, local.exact, local.needs_shots) == (False, False, True)
    assert local.differentiable
    assert isinstance(local.simulator, StatevectorEngine)
    assert local.simulator.dtype == local.dtype
    garnet = start()
    assert garnet.billed
    assert not garnet.differentiable
    assert garnet.max_qubits == 20
    assert repr(garnet) == "BraketEngine('IQM Garnet', shots=100, seed=0, dtype='complex64')"


def test_its_description_builds_it_again() -> None:
    engine = BraketEngine("local:dm", 10, gradient="random-shift", n_shifts=3, dtype="complex128")
    config = json.loads(json.dumps(engine.config()))
    again = Engine.from_config(config)
    assert isinstance(again, BraketEngine)
    assert again.config() == config
    assert again.target.name == "local:dm"


# Wrong input, one line each


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget_usd": None}, "`budget_usd` must be given for IQM Garnet, which costs money; got"),
        ({"budget_usd": 0}, "`budget_usd` must be more than 0; got 0"),
        ({"budget_usd": -3.5}, r"more than 0; got -3\.5"),
        ({"budget_usd": float("nan")}, "more than 0; got nan"),
        ({"budget_usd": "much"}, "an amount of USD; got 'much'"),
        ({"journal": None}, "`journal` must be given for IQM Garnet, which costs money"),
        ({"shots": 0}, "`shots` must be from 1 to .* on IQM Garnet; got 0"),
        ({"shots": 10**6}, "`shots` must be from 1 to .* got 1,000,000"),
        ({"gradient": "adjoint"}, "`gradient` must be one of .*, or None; got 'adjoint'"),
        ({"poll_seconds": 0.0}, "`poll_seconds` must be more than 0"),
        ({"timeout_seconds": -1.0}, "`timeout_seconds` must be at least 0"),
        ({"mitigate_readout": True}, "must be False on IQM Garnet without native=True; got True"),
    ],
)
def test_options_that_are_refused(start: Start, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        start(**options)


@pytest.mark.parametrize("gradient", ["adjoint", "AdjointGradient", "adjoint-gradient"])
def test_adjoint_gradients_are_refused_locally(gradient: Any) -> None:
    message = f"`gradient` must be one of parameter-shift, .*, or None; got '{gradient}'"
    with pytest.raises(ValueError, match=message):
        BraketEngine("local:sv", 0, gradient=gradient)


def test_a_journal_of_another_run(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    engine = start(journal=path)
    engine.close()
    with pytest.raises(JournalError, match="with shots = 200; got one with shots = 100"):
        start(shots=200, journal=path)
    with pytest.raises(JournalError, match=r"with device = 'arn:.*Forte-1'; got one with device"):
        start("Forte 1", journal=path)


def test_too_many_qubits(start: Start) -> None:
    circuit = ansatz.ry_cx_chain(21, 1)
    with pytest.raises(UnsupportedByEngine, match="at most 20 on IQM Garnet; got 21"):
        start().prepare(circuit, torch.zeros(circuit.n_angles))


def test_a_placement_that_is_not_connected(start: Start) -> None:
    engine = start(native=True, placement=[1, 2, 20])
    with pytest.raises(ValueError, match="`placement` must be connected on IQM Garnet"):
        engine.prepare(CIRCUIT, ANGLES)
    assert engine.spent_usd == 0


def test_no_bucket(service: Any, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    from braket.aws import AwsSession

    def refuse(_: Any) -> str:
        raise ValueError("Provided default bucket 'mine' already exists for another account.")

    monkeypatch.setattr(AwsSession, "default_bucket", refuse)
    with pytest.raises(ValueError, match=r"`bucket` must be one that .* another account\. Name"):
        start().prepare(CIRCUIT, ANGLES)
    assert service.ledger() == []


def test_credentials_that_run_out_before_the_bucket(service: Any, start: Start) -> None:
    """The bucket is not to blame, and the same command goes on."""
    service.reset()  # the bucket does not exist yet
    engine = start()
    service.fault("s3-403", times=None)
    with pytest.raises(TasksPending, match=r"token is expired.* run the same again"):
        engine.prepare(CIRCUIT, ANGLES)
    service.clear()
    engine.prepare(CIRCUIT, ANGLES)
    assert len(service.ledger()) == 1


def test_a_bucket_that_is_not_there(service: Any, start: Start) -> None:
    from braket.aws import AwsSession

    from qtn_train.errors import TaskFailed
    from tests.braket.sessions import boto

    there = boto("eu-north-1")
    engine = start(session=AwsSession(there, default_bucket="mine"))
    with pytest.raises(ValueError, match=r"`bucket` must be one whose name .*; got 'mine'"):
        engine.prepare(CIRCUIT, ANGLES)
    engine = start(session=AwsSession(there, default_bucket="amazon-braket-nowhere"))
    with pytest.raises(TaskFailed, match="S3 bucket amazon-braket-nowhere does not exist"):
        engine.prepare(CIRCUIT, ANGLES)
    assert engine.spent_usd == 0


def test_outcomes_and_counts_agree_with_the_sampled_engine() -> None:
    """Both count; neither smooths."""
    for engine in (
        BraketEngine("local:sv", 64),
        SampledEngine(StatevectorEngine(), 64),
    ):
        state = engine.prepare(CIRCUIT, ANGLES)
        assert isinstance(state.counts[0], Counts)
        assert state.counts[0].shots == 64
        assert float(state.probs(0, OUTCOMES).sum()) == pytest.approx(1.0)
