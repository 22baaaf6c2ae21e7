"""Gradients from executed circuits: exact shift rules, unbiased estimates, counted circuits."""

import itertools
from typing import Any

import numpy as np
import pytest
import tolerances
import torch
from counting import TestEngine
from scipy.stats import chisquare, f
from torch import Tensor

from qtn_train.circuits import ANSATZE, GATES, Circuit, Gate, ansatz
from qtn_train.engines import Engine, SampledEngine, StatevectorEngine
from qtn_train.measurements._estimators import (
    GRADIENTS,
    SHIFT_RULES,
    CircuitCount,
    GradientMethod,
    make_plan,
    n_circuits,
    shift_table,
)

all_gradients = pytest.mark.parametrize("gradient", GRADIENTS)


def shared_circuit() -> Circuit:
    """Few angles, each used by several gates, some twice by one gate, and one by none."""
    builder = Circuit.builder(3)
    builder.rx(0, angles=(0,)).ry(1, angles=(0,)).rz(0, angles=(1,)).h(1)
    builder.u3(2, angles=(0, 0, 1)).cu3(0, 2, angles=(1, 4, 0)).cx(2, 1)
    builder.cu3(2, 1, angles=(2, 1, 1)).rx(1, angles=(2,)).ry(0, angles=(1,))
    return builder.cu3(1, 0, angles=(2, 2, 2)).u3(1, angles=(2, 0, 1)).build()


def one_of_each(name: str) -> Circuit:
    """A gate between gates that make its angles visible in the probabilities."""
    builder = Circuit.builder(3)
    for qubit in range(3):
        builder.u3(qubit)
    builder.add(name, *(2, 0, 1)[: GATES[name].n_qubits])
    for qubit in range(3):
        builder.ry(qubit)
    return builder.build()


CIRCUITS = {
    "shared": shared_circuit(),
    **{name: build(4, 2) for name, build in ANSATZE.items()},
    **{name: one_of_each(name) for name in GATES},
}
all_circuits = pytest.mark.parametrize("circuit", CIRCUITS.values(), ids=CIRCUITS)


def random_angles(circuit: Circuit, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-np.pi, np.pi, circuit.n_angles))


def cotangent(n_outcomes: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(size=n_outcomes))


def pulled_back(engine: Engine, circuit: Circuit, angles: Tensor, v: Tensor) -> Tensor:
    """The engine's Jᵀv."""
    leaf = angles.clone().requires_grad_()
    probs = engine.prepare(circuit, leaf).probs(0, len(v))
    (grad,) = torch.autograd.grad(probs, leaf, v.to(probs.dtype))
    return grad


def exact(circuit: Circuit, angles: Tensor, v: Tensor) -> Tensor:
    return pulled_back(StatevectorEngine(dtype="complex128"), circuit, angles, v)


# Rules on exact probabilities


@all_circuits
def test_shift_rules_on_exact_probabilities_equal_autograd(circuit: Circuit) -> None:
    engine = TestEngine(gradient="parameter-shift")
    angles, v = random_angles(circuit), cotangent(2**circuit.n_qubits)
    grad = pulled_back(engine, circuit, angles, v)
    expected = exact(circuit, angles, v)
    assert float(expected.abs().max()) > 0.01
    torch.testing.assert_close(grad, expected, atol=tolerances.SHIFT_RULE, rtol=0)


def test_two_terms_would_not_do_for_the_angle_that_takes_four() -> None:
    circuit = Circuit.builder(2).u3(0).u3(1).cu3(0, 1).ry(0).ry(1).build()
    table = shift_table(circuit)
    assert np.bincount(table.place).tolist() == [2] * 6 + [4, 2, 2] + [2] * 2
    angles, v = random_angles(circuit), cotangent(4)
    engine = TestEngine(gradient="parameter-shift")
    angle = 6
    ahead, behind = angles.clone(), angles.clone()
    ahead[angle] += np.pi / 2
    behind[angle] -= np.pi / 2
    two = (engine.read_probs(circuit, ahead) - engine.read_probs(circuit, behind)) @ v / 2
    assert abs(float(two) - float(exact(circuit, angles, v)[angle])) > 1e-3


def test_every_gate_with_angles_has_a_rule() -> None:
    with_angles = {name: spec.n_angles for name, spec in GATES.items() if spec.n_angles}
    assert {name: len(rules) for name, rules in SHIFT_RULES.items()} == with_angles


@all_circuits
def test_lowered_rotations_would_never_cost_fewer_circuits(circuit: Circuit) -> None:
    lowered = circuit.portable().circuit
    assert len(shift_table(circuit).place) <= len(shift_table(lowered).place)


def test_tables_are_made_once() -> None:
    first = shift_table(ansatz.u3_cu3_ring(4, 2))
    assert shift_table(ansatz.u3_cu3_ring(4, 2)) is first


def test_only_the_first_outcomes_count() -> None:
    circuit = ansatz.u3_cu3_ring(3, 1)
    engine = TestEngine(gradient="parameter-shift")
    angles, v = random_angles(circuit), cotangent(5)
    grad = pulled_back(engine, circuit, angles, v)
    torch.testing.assert_close(grad, exact(circuit, angles, v), atol=tolerances.SHIFT_RULE, rtol=0)


# Random choices on exact probabilities


def test_a_random_subset_is_the_scaled_gradient_of_its_places() -> None:
    circuit = ansatz.ry_cx_chain(4, 2)
    angles, v = random_angles(circuit), cotangent(16)
    engine = TestEngine(gradient="random-shift", n_shifts=3)
    expected = exact(circuit, angles, v)
    for position in range(5):
        engine.position = 10 * position
        grad = pulled_back(engine, circuit, angles, v)
        chosen = grad != 0
        assert int(chosen.sum()) == 3
        torch.testing.assert_close(
            grad[chosen], 8 / 3 * expected[chosen], atol=tolerances.SHIFT_RULE, rtol=0
        )


def test_all_places_are_taken_equally_often() -> None:
    circuit, repeats = ansatz.ry_cx_chain(3, 2), 1200
    angles = random_angles(circuit)
    taken = np.zeros(6)
    for position in range(repeats):
        plan = make_plan("random-shift", circuit, angles, seed=5, position=position, n_shifts=2)
        moved = (plan.program.angles != angles).any(0).numpy()
        assert moved.sum() == 2
        taken += moved
    # Without replacement the counts scatter less than chisquare takes for granted: by 4/5 here.
    assert chisquare(taken).pvalue > tolerances.P_VALUE


@pytest.mark.parametrize(("n_layers", "expected"), [(1, 1), (2, 2), (4, 4)])
def test_a_fourth_of_the_places_by_default(n_layers: int, expected: int) -> None:
    circuit = ansatz.ry_cx_chain(4, n_layers)
    plan = make_plan("random-shift", circuit, random_angles(circuit), seed=0, position=0)
    assert len(plan.program.angles) == 2 * expected


def test_all_places_are_the_whole_gradient() -> None:
    circuit = shared_circuit()
    angles, v = random_angles(circuit), cotangent(8)
    engine = TestEngine(gradient="random-shift", n_shifts=shift_table(circuit).circuit.n_angles)
    torch.testing.assert_close(
        pulled_back(engine, circuit, angles, v),
        exact(circuit, angles, v),
        atol=tolerances.SHIFT_RULE,
        rtol=0,
    )


def spsa_mean(circuit: Circuit, angles: Tensor, v: Tensor, step: float) -> Tensor:
    """The mean of the SPSA estimate over all signs, by its definition."""
    engine = TestEngine()
    total = torch.zeros_like(angles)
    patterns = list(itertools.product((1.0, -1.0), repeat=circuit.n_angles))
    for pattern in patterns:
        signs = torch.tensor(pattern, dtype=torch.float64)
        ahead = engine.read_probs(circuit, angles + step * signs)
        behind = engine.read_probs(circuit, angles - step * signs)
        total += signs * float((ahead - behind)[: len(v)] @ v) / (2 * step)
    return total / len(patterns)


def test_spsa_is_the_gradient_to_second_order_in_its_step() -> None:
    circuit = ansatz.ry_cx_chain(3, 2)
    angles, v = random_angles(circuit), cotangent(8)
    expected = exact(circuit, angles, v)
    errors = [
        float((spsa_mean(circuit, angles, v, step) - expected).norm()) for step in (0.2, 0.1, 0.05)
    ]
    assert errors[0] < 0.1 * float(expected.norm())
    for larger, smaller in itertools.pairwise(errors):
        assert larger / smaller == pytest.approx(4, abs=tolerances.SECOND_ORDER)


def test_spsa_steps_along_random_signs() -> None:
    circuit = shared_circuit()
    angles, v = random_angles(circuit), cotangent(8)
    patterns = set()
    for position in range(20):
        plan = make_plan("spsa", circuit, angles, seed=0, position=position, step=0.25)
        assert plan.program.circuit == circuit
        signs = (plan.program.angles[0] - angles) / 0.25
        torch.testing.assert_close(signs.abs(), torch.ones(5).double())
        torch.testing.assert_close(plan.program.angles[1], angles - 0.25 * signs)
        engine = TestEngine()
        means = [engine.read_probs(circuit, row) @ v for row in plan.program.angles]
        expected = signs * (means[0] - means[1]) / 0.5
        torch.testing.assert_close(plan.gradient(torch.stack(means)), expected)
        patterns.add(tuple(signs.round().tolist()))
    assert len(patterns) > 10


# From shots: the mean of the estimates


def hotelling_p(samples: np.ndarray, mean: np.ndarray) -> float:
    """p value of Hotelling's test that the samples' mean is this one, all components at once."""
    n, d = samples.shape
    off = samples.mean(0) - mean
    statistic = n * off @ np.linalg.solve(np.cov(samples.T), off)
    return float(f.sf(statistic * (n - d) / (d * (n - 1)), d, n - d))


REPEATS = {"parameter-shift": 200, "random-shift": 300, "spsa": 700}


def estimates(gradient: GradientMethod, circuit: Circuit, angles: Tensor, v: Tensor) -> np.ndarray:
    engine = TestEngine(50, gradient=gradient, seed=11)
    grads = [pulled_back(engine, circuit, angles, v) for _ in range(REPEATS[gradient])]
    return torch.stack(grads).numpy()


@all_gradients
@pytest.mark.slow
def test_the_mean_of_the_estimates_is_the_gradient(gradient: GradientMethod) -> None:
    builder = Circuit.builder(3)
    builder.u3(0, angles=(0, 1, 2)).u3(1, angles=(3, 4, 0)).cu3(0, 1, angles=(1, 5, 3))
    circuit = builder.cu3(1, 2, angles=(5, 2, 4)).ry(2, angles=(0,)).ry(0, angles=(4,)).build()
    angles, v = random_angles(circuit), cotangent(7)
    samples = estimates(gradient, circuit, angles, v)
    gradients = exact(circuit, angles, v)
    mean = spsa_mean(circuit, angles, v, 0.1) if gradient == "spsa" else gradients
    assert float((mean - gradients).norm()) < 0.05 * float(gradients.norm())
    assert hotelling_p(samples, mean.numpy()) > tolerances.P_VALUE
    # It would see a mean that is off by half: it is no test otherwise.
    assert hotelling_p(samples, 1.5 * mean.numpy()) < tolerances.P_VALUE


# What is executed


@all_gradients
@all_circuits
def test_as_many_circuits_as_foretold(circuit: Circuit, gradient: GradientMethod) -> None:
    engine = TestEngine(gradient=gradient)
    angles, v = random_angles(circuit), cotangent(3)
    foretold = n_circuits(circuit, gradient)
    for _ in range(3):
        pulled_back(engine, circuit, angles, v)
    assert [position for position, _ in engine.batches] == list(range(6))
    assert engine.executed[::2] == [foretold.forward] * 3
    for executed in engine.executed[1::2]:
        assert foretold.backward_low <= executed <= foretold.backward_high
    if gradient != "random-shift":
        assert foretold.backward_low == foretold.backward_high


def test_foretold_numbers() -> None:
    chain, ring = ansatz.ry_cx_chain(8, 4), ansatz.u3_cu3_ring(13, 16)
    assert n_circuits(chain, None) == CircuitCount(1, 0, 0)
    assert n_circuits(chain, None, mitigate_readout=True) == CircuitCount(3, 0, 0)
    assert n_circuits(chain, "parameter-shift") == CircuitCount(1, 64, 64)
    assert n_circuits(chain, "random-shift") == CircuitCount(1, 16, 16)
    assert n_circuits(chain, "random-shift", 3) == CircuitCount(1, 6, 6)
    assert n_circuits(chain, "spsa", mitigate_readout=True) == CircuitCount(3, 2, 2)
    # 13 · 16 gates of each kind: 6 circuits for U3, 8 for CU3.
    assert n_circuits(ring, "parameter-shift") == CircuitCount(1, 2912, 2912)
    assert n_circuits(ring, "random-shift", 10) == CircuitCount(1, 20, 40)


@all_gradients
def test_no_shifted_circuit_without_a_backward_pass(gradient: GradientMethod) -> None:
    circuit = ansatz.ry_cx_chain(3, 2)
    engine = TestEngine(gradient=gradient)
    angles = random_angles(circuit)
    assert not engine.prepare(circuit, angles).probs(0, 8).requires_grad
    leaf = angles.clone().requires_grad_()
    assert engine.prepare(circuit, leaf).probs(0, 8).requires_grad
    with torch.no_grad():
        assert not engine.prepare(circuit, leaf).probs(0, 8).requires_grad
    assert engine.executed == [1, 1, 1]
    assert engine.position == 3


def test_no_gradient_was_asked_for() -> None:
    circuit = ansatz.ry_cx_chain(3, 2)
    engine = TestEngine()
    assert not engine.differentiable
    leaf = random_angles(circuit).requires_grad_()
    assert not engine.prepare(circuit, leaf).probs(0, 8).requires_grad


@all_gradients
def test_one_batch_whatever_is_read(gradient: GradientMethod) -> None:
    circuit = ansatz.ry_cx_chain(3, 2)
    engine = TestEngine(gradient=gradient)
    leaf = random_angles(circuit).requires_grad_()
    state = engine.prepare(circuit, leaf)
    loss = torch.stack([state.probs(i, i + 2).square().sum() for i in range(0, 8, 2)]).sum()
    loss.backward()
    assert len(engine.batches) == 2


@all_gradients
def test_circuits_whose_gates_take_no_angle(gradient: GradientMethod) -> None:
    circuit = Circuit(2, (Gate("h", (0,)), Gate("cx", (0, 1))), 3)
    engine = TestEngine(gradient=gradient)
    grad = pulled_back(engine, circuit, torch.zeros(3).double(), cotangent(4))
    assert grad.tolist() == [0, 0, 0]
    assert engine.executed in ([1], [1, 2])
    bell = Circuit.builder(2).h(0).cx(0, 1).build()
    leaf = torch.zeros(0, requires_grad=True)
    assert not engine.prepare(bell, leaf).probs(0, 4).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_have_the_type_of_the_angles(dtype: torch.dtype) -> None:
    circuit = ansatz.u3_cu3_ring(3, 1)
    angles = random_angles(circuit).to(dtype)
    engine = SampledEngine(StatevectorEngine(), 10, gradient="spsa")
    leaf = angles.clone().requires_grad_()
    engine.prepare(circuit, leaf).probs(0, 8).square().sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.dtype == dtype


# Seeds and positions


@all_gradients
def test_seed_and_position_decide_everything(gradient: GradientMethod) -> None:
    circuit = shared_circuit()
    angles, v = random_angles(circuit), cotangent(8)

    def engine(seed: int = 3, position: int = 0) -> SampledEngine:
        inner = StatevectorEngine(dtype="complex128")
        made = SampledEngine(inner, 20, gradient=gradient, seed=seed)
        made.position = position
        return made

    first = engine()
    grads = [pulled_back(first, circuit, angles, v) for _ in range(4)]
    assert first.position == 8
    for one, other in itertools.combinations(grads, 2):
        assert not torch.equal(one, other)
    resumed = engine(position=4)
    for grad in grads[2:]:
        assert torch.equal(pulled_back(resumed, circuit, angles, v), grad)
    assert not torch.equal(pulled_back(engine(seed=4), circuit, angles, v), grads[0])


def test_a_second_backward_pass_draws_anew() -> None:
    circuit = ansatz.ry_cx_chain(3, 2)
    engine = SampledEngine(StatevectorEngine(), 20, gradient="parameter-shift")
    leaf = random_angles(circuit).requires_grad_()
    loss = engine.prepare(circuit, leaf).probs(0, 8).square().sum()
    (first,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    (second,) = torch.autograd.grad(loss, leaf)
    assert engine.position == 3
    assert not torch.equal(first, second)


def test_nothing_counts_when_a_batch_fails() -> None:
    circuit = ansatz.ry_cx_chain(3, 2)
    engine = TestEngine(gradient="parameter-shift")
    leaf = random_angles(circuit).requires_grad_()
    loss = engine.prepare(circuit, leaf).probs(0, 8).square().sum()
    measure = engine._measure

    def fail(*args: Any) -> Any:
        raise ConnectionError("the line is dead")

    engine._measure = fail  # type: ignore[method-assign]
    with pytest.raises(ConnectionError, match="the line is dead"):
        torch.autograd.grad(loss, leaf, retain_graph=True)
    assert engine.position == 1
    engine._measure = measure  # type: ignore[method-assign]
    torch.autograd.grad(loss, leaf)
    assert engine.position == 2


# Messages


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"gradient": "adjoint"},
            ValueError,
            "`gradient` must be one of parameter-shift, random-shift, spsa, or None; got 'adjoint'",
        ),
        ({"seed": 1.5}, TypeError, "`seed` must be an integer; got 1.5."),
        ({"step": 0.0}, ValueError, "`step` must be a positive number of radians; got 0.0."),
        ({"step": -0.1}, ValueError, "`step` must be a positive number of radians; got -0.1."),
        ({"step": float("nan")}, ValueError, "`step` must be a positive number of .*; got nan."),
        (
            {"gradient": "random-shift", "n_shifts": 0},
            ValueError,
            "`n_shifts` must be a positive integer; got 0.",
        ),
        (
            {"gradient": "random-shift", "n_shifts": 1.5},
            TypeError,
            "`n_shifts` must be a positive integer; got 1.5.",
        ),
        (
            {"gradient": "spsa", "n_shifts": 2},
            ValueError,
            "`n_shifts` must be None with gradient 'spsa'; got 2. Take random-shift for it.",
        ),
    ],
)
def test_messages_of_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SampledEngine(StatevectorEngine(), 10, **options)
    if not options.keys() & {"step", "seed"}:
        with pytest.raises(error, match=message):
            n_circuits(ansatz.ry_cx_chain(3, 1), **{"gradient": None, **options})


def test_too_many_places_are_refused_before_anything_is_executed() -> None:
    circuit = ansatz.ry_cx_chain(3, 2)
    engine = TestEngine(gradient="random-shift", n_shifts=7)
    expected = "`n_shifts` must be at most 6, the angles of the circuit's gates; got 7."
    with pytest.raises(ValueError, match=expected):
        engine.prepare(circuit, random_angles(circuit).requires_grad_())
    with pytest.raises(ValueError, match=expected):
        n_circuits(circuit, "random-shift", 7)
    assert engine.batches == []


@pytest.mark.parametrize("position", [-1, 1.5, True, None])
def test_messages_of_positions(position: Any) -> None:
    engine = TestEngine()
    with pytest.raises(ValueError, match="`position` must be an integer of at least 0; got"):
        engine.position = position
