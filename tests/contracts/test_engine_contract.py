"""What every engine promises: a new engine is one line in ``CASES``."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import oracle
import pytest
import tolerances
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from qtn_train._types import REAL, ComplexDtype
from qtn_train.circuits import ANSATZE, GATES, Circuit, Gate
from qtn_train.engines import (
    BraketEngine,
    ContractionEngine,
    Engine,
    MPSEngine,
    NoisyEngine,
    RecordedEngine,
    SampledEngine,
    State,
    StatevectorEngine,
    register_engine,
)
from qtn_train.engines._state import MAX_BLOCK
from qtn_train.engines.counting import _base as _shots
from qtn_train.engines.statevector import _direct, _evolve
from qtn_train.errors import UnsupportedByEngine
from qtn_train.measurements import Expectation

DTYPES: tuple[ComplexDtype, ...] = get_args(ComplexDtype)


class EngineCase(NamedTuple):
    """How to make an engine, and the autograd node whose backward passes are counted."""

    make: Callable[[ComplexDtype], Engine]
    node: type[torch.autograd.Function] | None = None


CASES = {
    "statevector": EngineCase(lambda dtype: StatevectorEngine(dtype=dtype), _direct.Direct),
    "mps": EngineCase(lambda dtype: MPSEngine(dtype=dtype)),
    "contraction": EngineCase(lambda dtype: ContractionEngine(optimize="quick", dtype=dtype)),
}
SHOTS = {
    "sampled": EngineCase(
        lambda dtype: SampledEngine(StatevectorEngine(dtype=dtype), 20_000, seed=3)
    ),
    "sampled with gradient": EngineCase(
        lambda dtype: SampledEngine(
            StatevectorEngine(dtype=dtype), 20_000, gradient="random-shift", n_shifts=1, seed=3
        ),
        _shots._Token,
    ),
    "noisy without noise": EngineCase(
        lambda dtype: NoisyEngine(
            StatevectorEngine(dtype=dtype), 20_000, gradient="random-shift", n_shifts=1, seed=3
        ),
        _shots._Token,
    ),
    "braket": EngineCase(
        lambda dtype: BraketEngine(
            "local:sv", 20_000, gradient="random-shift", n_shifts=1, seed=3, dtype=dtype
        ),
        _shots._Token,
    ),
}

exact_engines = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
all_engines = pytest.mark.parametrize("case", (CASES | SHOTS).values(), ids=CASES | SHOTS)
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)


def fixed_circuit() -> Circuit:
    """Gates on one qubit, on neighbors, and across the register in both directions."""
    builder = Circuit.builder(5)
    for qubit in range(5):
        builder.add("u3", qubit)
    builder.add("h", 2).add("cx", 0, 1).add("cu3", 0, 4).add("rx", 3).add("swap", 1, 3)
    builder.add("cu3", 4, 1).add("rz", 2).add("t", 0).add("cz", 3, 0).add("ry", 4).add("y", 1)
    return builder.add("cx", 4, 0).add("si", 2).add("cu3", 2, 3).build()


def shared_circuit() -> Circuit:
    """Few angles, each used by several gates, and one even twice by the same gate."""
    builder = Circuit.builder(3)
    builder.add("rx", 0, angles=(0,)).add("ry", 1, angles=(0,)).add("rz", 0, angles=(1,))
    builder.add("u3", 2, angles=(0, 0, 1)).add("cu3", 0, 2, angles=(1, 2, 0)).add("h", 1)
    builder.add("cu3", 2, 1, angles=(2, 1, 1)).add("rx", 1, angles=(2,)).add("ry", 0, angles=(1,))
    return builder.add("u3", 1, angles=(2, 0, 1)).build()


def one_of_each(name: str) -> Circuit:
    """Each gate between gates that make its angles visible in the probabilities."""
    spec = GATES[name]
    builder = Circuit.builder(3)
    for qubit in range(3):
        builder.add("u3", qubit)
    builder.add(name, *(2, 0, 1)[: spec.n_qubits])
    for qubit in range(3):
        builder.add("ry", qubit)
    return builder.build()


def random_angles(circuit: Circuit, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, circuit.n_angles)


def oracle_probs(circuit: Circuit, angles: np.ndarray) -> np.ndarray:
    return np.abs(oracle.amplitudes(circuit, angles)) ** 2


def amplitudes(state: State) -> np.ndarray:
    return state.amplitudes().detach().numpy()


def pauli_matrix(string: str) -> np.ndarray:
    x, y, z = [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]
    singles = {"I": np.eye(2), "X": x, "Y": y, "Z": z}
    out = np.ones((1, 1))
    for letter in string:
        out = np.kron(out, singles[letter])
    return out


def check_against_oracle(
    engine: Engine, circuit: Circuit, angles: np.ndarray, *, any_phase: bool = False
) -> None:
    state = engine.prepare(circuit, torch.from_numpy(angles))
    expected = oracle.amplitudes(circuit, angles)
    atol = tolerances.AMPLITUDE[engine.dtype]
    assert state.n_qubits == circuit.n_qubits
    found = amplitudes(state)
    if any_phase:
        assert oracle.phase_distance(found, expected) < atol
    else:
        assert np.abs(found - expected).max() < atol
    probs = state.probs(0, 2**circuit.n_qubits)
    assert probs.shape == (2**circuit.n_qubits,)
    assert probs.dtype == engine.real_dtype == REAL[engine.dtype]
    assert float(probs.min()) >= 0
    assert np.abs(probs.numpy() - np.abs(expected) ** 2).max() < atol
    assert abs(float(probs.double().sum()) - 1) < tolerances.TOTAL[engine.dtype]


# Values


@exact_engines
@both_dtypes
def test_fixed_circuit(case: EngineCase, dtype: ComplexDtype) -> None:
    circuit = fixed_circuit()
    check_against_oracle(case.make(dtype), circuit, random_angles(circuit))


@exact_engines
@both_dtypes
@pytest.mark.parametrize("n_qubits", range(1, 7))
@pytest.mark.parametrize("name", ANSATZE)
def test_every_ansatz(case: EngineCase, dtype: ComplexDtype, name: str, n_qubits: int) -> None:
    circuit = ANSATZE[name](n_qubits, 2)
    check_against_oracle(case.make(dtype), circuit, random_angles(circuit, n_qubits))


@exact_engines
@both_dtypes
@pytest.mark.parametrize("name", GATES)
def test_every_gate(case: EngineCase, dtype: ComplexDtype, name: str) -> None:
    circuit = one_of_each(name)
    check_against_oracle(case.make(dtype), circuit, random_angles(circuit))


@exact_engines
@both_dtypes
def test_any_unitary(case: EngineCase, dtype: ComplexDtype) -> None:
    """Gates that carry their matrix, among others; the phase of all amplitudes is left open."""
    rng = np.random.default_rng(5)
    names = ("u3", "cu3", "unitary", "rxx", "ccx")
    for n_qubits in (1, 2, 5):
        circuit = oracle.random_circuit(rng, n_qubits, 12, names, 0.3)
        wide = tuple(map(tuple, oracle.random_unitary(rng, min(3, n_qubits)).tolist()))
        gate = Gate("unitary", tuple(range(n_qubits))[-3:][::-1], (), wide)
        circuit = Circuit(n_qubits, (*circuit.gates, gate), circuit.n_angles)
        check_against_oracle(case.make(dtype), circuit, random_angles(circuit), any_phase=True)


@exact_engines
@both_dtypes
@given(
    seed=st.integers(0, 2**32 - 1),
    n_qubits=st.integers(1, 6),
    n_gates=st.integers(0, 40),
    share=st.sampled_from([0.0, 0.5]),
)
def test_random_circuits(
    case: EngineCase, dtype: ComplexDtype, seed: int, n_qubits: int, n_gates: int, share: float
) -> None:
    circuit = oracle.random_circuit(
        np.random.default_rng(seed), n_qubits, n_gates, tuple(GATES), share
    )
    check_against_oracle(case.make(dtype), circuit, random_angles(circuit, seed))


@exact_engines
@both_dtypes
def test_expectations(case: EngineCase, dtype: ComplexDtype) -> None:
    circuit = fixed_circuit()
    angles = random_angles(circuit)
    state = case.make(dtype).prepare(circuit, torch.from_numpy(angles))
    rng, psi = np.random.default_rng(5), oracle.amplitudes(circuit, angles)
    strings = ["".join(rng.choice(list("IXYZ"), 5)) for _ in range(40)] + ["IIIII", "YYYYY"]
    exact = np.array([(psi.conj() @ pauli_matrix(string) @ psi).real for string in strings])
    found = state.expectations(strings)
    assert (found.shape, found.dtype) == ((len(strings),), REAL[dtype])
    assert np.abs(found.numpy() - exact).max() < tolerances.AMPLITUDE[dtype]
    coefficients = rng.normal(size=3)
    total = state.expectation(dict(zip(strings, coefficients, strict=False)))
    assert total.shape == ()
    assert abs(float(total) - coefficients @ exact[:3]) < 10 * tolerances.AMPLITUDE[dtype]
    same = state.expectations(["Z1 X3", {(3, 1): "XZ"}, {"IZIXI": 1}])
    assert torch.equal(same, same[:1].expand(3))


@exact_engines
def test_gradient_of_expectations(case: EngineCase) -> None:
    circuit = shared_circuit()
    angles = torch.from_numpy(random_angles(circuit)).requires_grad_()
    engine, terms = case.make("complex128"), ["XYZ", {"ZZI": 0.5, "Y2": -2.0}, "III"]
    assert torch.autograd.gradcheck(
        lambda a: engine.prepare(circuit, a).expectations(terms), (angles,)
    )


@exact_engines
def test_gradient_of_amplitudes(case: EngineCase) -> None:
    circuit = shared_circuit()
    angles = torch.from_numpy(random_angles(circuit)).requires_grad_()
    engine = case.make("complex128")
    assert torch.autograd.gradcheck(
        lambda a: torch.view_as_real(engine.prepare(circuit, a).amplitudes(1, 7)), (angles,)
    )


@all_engines
@both_dtypes
def test_logarithms_and_multiples_of_probabilities(case: EngineCase, dtype: ComplexDtype) -> None:
    circuit = fixed_circuit()
    state = case.make(dtype).prepare(circuit, torch.from_numpy(random_angles(circuit)))
    probs = state.probs(3, 20)
    assert state.log_probs(3, 20).dtype == state.scaled_probs(3, 20).dtype == REAL[dtype]
    torch.testing.assert_close(state.log_probs(3, 20).exp(), probs)
    torch.testing.assert_close(state.scaled_probs(3, 20), 32 * probs)


@all_engines
@both_dtypes
@pytest.mark.parametrize("qubit", range(4))
def test_qubit_0_is_the_most_significant_bit(
    case: EngineCase, dtype: ComplexDtype, qubit: int
) -> None:
    circuit = Circuit.builder(4).x(qubit).build()
    state = case.make(dtype).prepare(circuit, torch.zeros(0))
    expected = torch.zeros(16)
    expected[2 ** (3 - qubit)] = 1
    torch.testing.assert_close(state.probs(0, 16), expected.to(REAL[dtype]))
    drawn = state.sample(5, torch.Generator().manual_seed(0))
    assert drawn.tolist() == [2 ** (3 - qubit)] * 5


@exact_engines
@both_dtypes
def test_probabilities_stay_normalized_in_a_deep_circuit(
    case: EngineCase, dtype: ComplexDtype
) -> None:
    circuit = ANSATZE["u3-cu3-ring"](6, 20)
    state = case.make(dtype).prepare(circuit, torch.from_numpy(random_angles(circuit)))
    total = float(state.probs(0, 64).double().sum())
    assert abs(total - 1) < tolerances.TOTAL[dtype]


@all_engines
@both_dtypes
@settings(max_examples=20)
@given(ends=st.tuples(st.integers(0, 31), st.integers(1, 32)).filter(lambda e: e[0] < e[1]))
def test_slices_agree_with_the_whole(
    case: EngineCase, dtype: ComplexDtype, ends: tuple[int, int]
) -> None:
    circuit = fixed_circuit()
    state = case.make(dtype).prepare(circuit, torch.from_numpy(random_angles(circuit)))
    whole, part = state.probs(0, 32), state.probs(*ends)
    assert part.dtype == REAL[dtype]
    torch.testing.assert_close(part, whole[slice(*ends)], atol=tolerances.SLICE[dtype], rtol=0)
    torch.testing.assert_close(state.probs(*ends), part, atol=0, rtol=0)


@all_engines
@both_dtypes
def test_a_circuit_without_gates_stays_in_the_first_outcome(
    case: EngineCase, dtype: ComplexDtype
) -> None:
    for n_qubits in (1, 3, 6):
        state = case.make(dtype).prepare(Circuit(n_qubits, (), 0), torch.zeros(0))
        probs = state.probs(0, 2**n_qubits)
        assert probs.tolist() == [1.0] + [0.0] * (2**n_qubits - 1)
        assert not probs.requires_grad


# Types and determinism


@exact_engines
@both_dtypes
@pytest.mark.parametrize("angle_dtype", [torch.float32, torch.float64])
def test_either_type_of_angles(
    case: EngineCase, dtype: ComplexDtype, angle_dtype: torch.dtype
) -> None:
    circuit = fixed_circuit()
    values = random_angles(circuit).astype(np.float32).astype(np.float64)
    angles = torch.from_numpy(values).to(angle_dtype).requires_grad_()
    probs = case.make(dtype).prepare(circuit, angles).probs(0, 32)
    assert probs.dtype == REAL[dtype]
    expected = oracle_probs(circuit, values)
    assert np.abs(probs.detach().numpy() - expected).max() < tolerances.AMPLITUDE[dtype]
    probs.square().sum().backward()
    assert angles.grad is not None
    assert angles.grad.dtype == angle_dtype


@exact_engines
@both_dtypes
def test_the_same_bits_twice(case: EngineCase, dtype: ComplexDtype) -> None:
    circuit = fixed_circuit()

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        angles = torch.from_numpy(random_angles(circuit)).requires_grad_()
        probs = case.make(dtype).prepare(circuit, angles).probs(0, 32)
        (grad,) = torch.autograd.grad(probs.square().sum(), angles)
        return probs, grad

    for first, second in zip(run(), run(), strict=True):
        assert torch.equal(first, second)


@all_engines
@both_dtypes
def test_angles_are_left_as_they_were(case: EngineCase, dtype: ComplexDtype) -> None:
    circuit = fixed_circuit()
    angles = torch.from_numpy(random_angles(circuit))
    before = angles.clone()
    case.make(dtype).prepare(circuit, angles).probs(0, 32)
    assert torch.equal(angles, before)


# Gradients


def weighted_sum(circuit: Circuit) -> np.ndarray:
    return np.random.default_rng(1).normal(size=2**circuit.n_qubits)


def gradient(engine: Engine, circuit: Circuit, angles: np.ndarray) -> np.ndarray:
    leaf = torch.from_numpy(angles).requires_grad_()
    probs = engine.prepare(circuit, leaf).probs(0, 2**circuit.n_qubits)
    weights = torch.from_numpy(weighted_sum(circuit)).to(probs.dtype)
    (grad,) = torch.autograd.grad(weights @ probs, leaf)
    return grad.numpy()


def central_difference(circuit: Circuit, angles: np.ndarray, direction: np.ndarray) -> float:
    """The derivative of the same weighted sum along a direction, by the oracle alone."""
    step, weights = tolerances.STEP, weighted_sum(circuit)
    ahead = weights @ oracle_probs(circuit, angles + step * direction)
    behind = weights @ oracle_probs(circuit, angles - step * direction)
    return float(ahead - behind) / (2 * step)


GRADIENT_CIRCUITS: dict[str, Callable[[], Circuit]] = {
    "fixed": fixed_circuit,
    "shared": shared_circuit,
    **{name: lambda name=name: ANSATZE[name](4, 2) for name in ANSATZE},
    **{name: lambda name=name: one_of_each(name) for name in ("rx", "ry", "rz", "u3", "cu3")},
}


@exact_engines
@pytest.mark.parametrize("make", GRADIENT_CIRCUITS.values(), ids=GRADIENT_CIRCUITS)
def test_gradient_against_finite_differences(case: EngineCase, make: Callable[[], Circuit]) -> None:
    circuit = make()
    angles = random_angles(circuit)
    grad = gradient(case.make("complex128"), circuit, angles)
    rng = np.random.default_rng(2)
    for _ in range(3):
        direction = rng.normal(size=circuit.n_angles)
        direction /= np.linalg.norm(direction)
        expected = central_difference(circuit, angles, direction)
        assert grad @ direction == pytest.approx(expected, abs=tolerances.FINITE_DIFFERENCE)
    for index in rng.permutation(circuit.n_angles)[:8]:
        expected = central_difference(circuit, angles, np.eye(circuit.n_angles)[index])
        assert grad[index] == pytest.approx(expected, abs=tolerances.FINITE_DIFFERENCE)


@exact_engines
@given(seed=st.integers(0, 2**32 - 1), n_qubits=st.integers(1, 5), n_gates=st.integers(1, 30))
def test_gradient_of_random_circuits(
    case: EngineCase, seed: int, n_qubits: int, n_gates: int
) -> None:
    rng = np.random.default_rng(seed)
    circuit = oracle.random_circuit(rng, n_qubits, n_gates, tuple(GATES), share=0.3)
    if circuit.n_angles:
        angles = random_angles(circuit, seed)
        direction = rng.normal(size=circuit.n_angles)
        direction /= np.linalg.norm(direction)
        grad = gradient(case.make("complex128"), circuit, angles)
        expected = central_difference(circuit, angles, direction)
        assert grad @ direction == pytest.approx(expected, abs=tolerances.FINITE_DIFFERENCE)


@exact_engines
def test_gradcheck(case: EngineCase) -> None:
    circuit = shared_circuit()
    angles = torch.from_numpy(random_angles(circuit)).requires_grad_()
    engine = case.make("complex128")
    assert torch.autograd.gradcheck(lambda a: engine.prepare(circuit, a).probs(1, 7), (angles,))


# Second derivatives: right, or refused


REFUSED = {
    "mps, cut": EngineCase(lambda dtype: MPSEngine(2, dtype=dtype)),
    "mps, cut, exact": EngineCase(lambda dtype: MPSEngine(2, svd_gradient="exact", dtype=dtype)),
    **{name: case for name, case in SHOTS.items() if case.node is not None},
}
differentiable_engines = pytest.mark.parametrize(
    "case", (CASES | REFUSED).values(), ids=CASES | REFUSED
)


# Angles of any size


@exact_engines
@both_dtypes
@pytest.mark.parametrize("size", [1e5, 1e7, 1e12])
@pytest.mark.parametrize("make", [fixed_circuit, lambda: ANSATZE["ry-cx-chain"](6, 2)])
def test_large_angles(
    case: EngineCase, dtype: ComplexDtype, size: float, make: Callable[[], Circuit]
) -> None:
    # As exact as float64 angles are: their rounding, and an amplitude's.
    circuit = make()
    atol = tolerances.AMPLITUDE[dtype] + circuit.n_angles * size * 2**-52
    near = random_angles(circuit)
    angles = near + 4 * np.pi * np.round(size / (4 * np.pi))
    engine = case.make(dtype)
    probs = engine.prepare(circuit, torch.from_numpy(angles)).probs(0, 2**circuit.n_qubits)
    assert np.abs(probs.numpy() - oracle_probs(circuit, angles)).max() < atol
    grads = [gradient(engine, circuit, values) for values in (angles, near)]
    single = tolerances.SINGLE_GRADIENT if dtype == "complex64" else 0
    assert np.abs(grads[0] - grads[1]).max() < single + 10 * atol


@exact_engines
def test_a_float32_angle_counts_as_it_is(case: EngineCase) -> None:
    circuit = fixed_circuit()
    angles = torch.from_numpy(1e6 * random_angles(circuit)).float()
    probs = case.make("complex64").prepare(circuit, angles).probs(0, 32)
    expected = oracle_probs(circuit, angles.double().numpy())
    assert np.abs(probs.numpy() - expected).max() < tolerances.AMPLITUDE["complex64"]


@pytest.mark.parametrize("case", SHOTS.values(), ids=SHOTS)
def test_large_angles_of_counted_shots(case: EngineCase) -> None:
    circuit = fixed_circuit()
    near = random_angles(circuit)
    far = near + 4 * np.pi * 1e6
    counts = [case.make("complex64").prepare(circuit, torch.from_numpy(a)) for a in (near, far)]
    first, second = (state.probs(0, 32) for state in counts)
    assert (first - second).abs().max() < 1e-3  # the same draws, but for a few of 20,000


# Inference mode


CACHED: dict[str, Callable[[], Circuit]] = {
    "tiles": lambda: Circuit.builder(3).u3(0).cx(0, 2).ry(1).cu3(1, 2).t(0).rx(2).build(),
    "layers": lambda: Circuit.builder(6).ry(0).cx(0, 5).ry(5).ry(3).cx(5, 3).build(),
    "lowered": lambda: Circuit.builder(3).h(0).rxx(0, 2).ry(1).ccx(0, 2, 1).ry(1).build(),
}


@differentiable_engines
@pytest.mark.parametrize("make", CACHED.values(), ids=CACHED)
def test_what_inference_mode_made_does_not_end_in_training(
    case: EngineCase, make: Callable[[], Circuit]
) -> None:
    circuit = make()
    for dtype in DTYPES:
        engine = case.make(dtype)
        angles = torch.linspace(-2, 2, circuit.n_angles, dtype=torch.float64).requires_grad_()
        lru_caches_cleared()
        with torch.inference_mode():
            expected = engine.prepare(circuit, angles.clone()).probs(0, 8)
        probs = engine.prepare(circuit, angles).probs(0, 8)
        assert not probs.is_inference()
        if engine.exact:
            torch.testing.assert_close(probs, expected)
        probs.square().sum().backward()
        assert angles.grad is not None


def lru_caches_cleared() -> None:
    """Forget what earlier tests left in the process-wide caches of the engines."""
    for name, module in list(sys.modules.items()):
        if name.startswith("qtn_train.engines"):
            for value in vars(module).values():
                clear = getattr(value, "cache_clear", None)
                if callable(clear):
                    clear()
    _evolve._TABLES.clear()


def entangled_circuit() -> Circuit:
    """Bonds of 4 in the middle, shared angles, gates across the register, real and complex."""
    builder = Circuit.builder(4)
    for qubit in range(4):
        builder.add("ry", qubit, angles=(qubit % 2,))
    builder.add("cx", 0, 3).add("cu3", 1, 2, angles=(2, 0, 3)).add("rz", 2, angles=(1,))
    builder.add("cx", 0, 2).add("u3", 1, angles=(3, 1, 2)).add("cz", 3, 1).add("swap", 0, 1)
    return builder.add("rx", 0, angles=(3,)).add("ry", 2, angles=(2,)).cx(1, 2).build()


def linear_loss(engine: Engine, angles: torch.Tensor) -> torch.Tensor:
    """A loss whose cotangent is a constant: a guard that looks at cotangents sees nothing."""
    probs = engine.prepare(entangled_circuit(), angles).probs(0, 16)
    return probs @ torch.linspace(-1, 2, 16, dtype=probs.dtype)


def curved_loss(engine: Engine, angles: torch.Tensor) -> torch.Tensor:
    return linear_loss(engine, angles).tanh()


LOSSES = {"linear": linear_loss, "curved": curved_loss}
both_losses = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
Loss = Callable[[Engine, torch.Tensor], torch.Tensor]


def twice(engine: Engine, loss: Loss, angles: torch.Tensor) -> torch.Tensor:
    (grad,) = torch.autograd.grad(loss(engine, angles), angles, create_graph=True)
    return grad


SECOND: dict[str, Callable[[Engine, Loss, torch.Tensor], torch.Tensor]] = {
    "grad of grad": lambda engine, loss, angles: torch.stack(
        [torch.autograd.grad(twice(engine, loss, angles)[i], angles)[0] for i in range(4)]
    ),
    "functional.hessian": lambda engine, loss, angles: torch.autograd.functional.hessian(
        lambda a: loss(engine, a), angles
    ),
    "functional.hvp": lambda engine, loss, angles: torch.stack(
        [
            torch.autograd.functional.hvp(lambda a: loss(engine, a), angles, unit)[1]
            for unit in torch.eye(4, dtype=angles.dtype)
        ]
    ),
    "func.jacrev of grad": lambda engine, loss, angles: torch.func.jacrev(
        torch.func.grad(lambda a: loss(engine, a))
    )(angles),
}


def second_differences(loss: Loss, angles: torch.Tensor) -> torch.Tensor:
    """Central differences of first derivatives, which other tests hold against the oracle."""
    rows = []
    for unit in tolerances.STEP * torch.eye(4, dtype=angles.dtype):
        ahead, behind = (
            twice(StatevectorEngine(dtype="complex128"), loss, (angles + s).requires_grad_())
            for s in (unit, -unit)
        )
        rows.append((ahead - behind).detach() / (2 * tolerances.STEP))
    return torch.stack(rows)


def four_angles() -> torch.Tensor:
    return torch.tensor([0.3, -1.1, 0.8, 2.0], dtype=torch.float64)


@exact_engines
@both_losses
@pytest.mark.parametrize("second", SECOND.values(), ids=SECOND)
def test_second_derivatives_are_right(
    case: EngineCase, loss: Loss, second: Callable[[Engine, Loss, torch.Tensor], torch.Tensor]
) -> None:
    found = second(case.make("complex128"), loss, four_angles().requires_grad_())
    expected = second_differences(loss, four_angles())
    torch.testing.assert_close(found, expected, atol=tolerances.FINITE_DIFFERENCE, rtol=0)


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
@both_losses
@pytest.mark.parametrize("second", SECOND.values(), ids=SECOND)
def test_second_derivatives_are_refused(
    case: EngineCase, loss: Loss, second: Callable[[Engine, Loss, torch.Tensor], torch.Tensor]
) -> None:
    with pytest.raises(UnsupportedByEngine, match=r"was differentiated again\. First derivatives"):
        second(case.make("complex128"), loss, four_angles().requires_grad_())


@differentiable_engines
@both_losses
def test_a_gradient_penalty_is_right_or_refused(case: EngineCase, loss: Loss) -> None:
    engine, angles = case.make("complex128"), four_angles().requires_grad_()
    penalty = twice(engine, loss, angles).square().sum()
    if case in REFUSED.values():
        with pytest.raises(UnsupportedByEngine, match="was differentiated again"):
            penalty.backward()
        return
    penalty.backward()
    assert angles.grad is not None
    grad = twice(engine, loss, angles).detach()
    expected = 2 * second_differences(loss, four_angles()) @ grad
    torch.testing.assert_close(angles.grad, expected, atol=tolerances.PENALTY, rtol=0)


@differentiable_engines
@both_losses
def test_a_first_derivative_that_could_be_differentiated_is_the_same(
    case: EngineCase, loss: Loss
) -> None:
    def gradients() -> list[torch.Tensor]:
        """From fresh engines: those that count shots draw the same ones then."""
        angles = four_angles().requires_grad_()
        plain, again, func = (case.make("complex128") for _ in range(3))
        return [
            torch.autograd.grad(loss(plain, angles), angles)[0],
            twice(again, loss, angles).detach(),
            torch.func.grad(lambda a: loss(func, a))(four_angles()),
        ]

    first, again, func = gradients()
    torch.testing.assert_close(again, first, atol=tolerances.SAME_GRADIENT, rtol=0)
    torch.testing.assert_close(func, first, atol=tolerances.SAME_GRADIENT, rtol=0)


@exact_engines
def test_gradgradcheck(case: EngineCase) -> None:
    circuit = shared_circuit()
    angles = torch.from_numpy(random_angles(circuit)).requires_grad_()
    engine = case.make("complex128")
    assert torch.autograd.gradgradcheck(lambda a: engine.prepare(circuit, a).probs(1, 7), (angles,))
    assert torch.autograd.gradgradcheck(
        lambda a: engine.prepare(circuit, a).expectation({"XYZ": 0.7, "ZIX": -0.2}), (angles,)
    )


@exact_engines
def test_gradient_in_single_precision(case: EngineCase) -> None:
    circuit = fixed_circuit()
    angles = random_angles(circuit)
    single = gradient(case.make("complex64"), circuit, angles)
    double = gradient(case.make("complex128"), circuit, angles)
    assert np.abs(single - double).max() < tolerances.SINGLE_GRADIENT


@exact_engines
def test_an_angle_that_no_gate_uses_has_gradient_zero(case: EngineCase) -> None:
    circuit = Circuit(2, (Gate("ry", (0,), (1,)), Gate("cx", (0, 1))), 4)
    grad = gradient(case.make("complex128"), circuit, np.array([0.1, 0.2, 0.3, 0.4]))
    assert grad[[0, 2, 3]].tolist() == [0, 0, 0]
    assert abs(grad[1]) > 1e-3


@exact_engines
@both_dtypes
def test_nothing_to_differentiate(case: EngineCase, dtype: ComplexDtype) -> None:
    engine, circuit = case.make(dtype), fixed_circuit()
    constant = torch.from_numpy(random_angles(circuit))
    assert not engine.prepare(circuit, constant).probs(0, 32).requires_grad
    bell = Circuit.builder(2).h(0).cx(0, 1).build()
    probs = engine.prepare(bell, torch.zeros(0, requires_grad=True)).probs(0, 4)
    torch.testing.assert_close(probs, torch.tensor([0.5, 0, 0, 0.5], dtype=REAL[dtype]))
    assert not probs.requires_grad
    with torch.no_grad():
        assert not engine.prepare(circuit, constant.requires_grad_()).probs(0, 32).requires_grad


@all_engines
def test_one_execution_whatever_is_read(case: EngineCase, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, circuit = case.make("complex64"), fixed_circuit()
    forward, backward = count_executions(monkeypatch, engine, case.node)
    angles = torch.from_numpy(random_angles(circuit)).requires_grad_(engine.differentiable)
    state = engine.prepare(circuit, angles)
    loss = torch.stack([state.probs(i, i + 8).square().sum() for i in range(0, 32, 8)]).sum()
    state.sample(3, torch.Generator().manual_seed(0))
    assert len(forward) == 1
    assert loss.requires_grad == engine.differentiable
    if engine.differentiable:
        loss.backward()
        assert len(forward) == 1
        assert case.node is None or len(backward) == 1


def count_executions(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, node: type[torch.autograd.Function] | None
) -> tuple[list[int], list[int]]:
    """Return two lists that grow by one with each run of the circuit, forward and backward."""
    forward: list[int] = []
    backward: list[int] = []
    prepare = type(engine)._prepare

    def counted_prepare(self: Engine, *args: Any) -> State:
        forward.append(1)
        return prepare(self, *args)

    monkeypatch.setattr(type(engine), "_prepare", counted_prepare)
    if node is not None:
        original = node.backward

        def counted_backward(*args: Any) -> Any:
            backward.append(1)
            return original(*args)

        monkeypatch.setattr(node, "backward", staticmethod(counted_backward))
    return forward, backward


# Shots


@all_engines
def test_position_is_all_that_a_resumed_run_needs(case: EngineCase) -> None:
    circuit = shared_circuit()

    def read(engine: Engine) -> list[torch.Tensor]:
        angles = torch.from_numpy(random_angles(circuit)).requires_grad_(engine.differentiable)
        probs = engine.prepare(circuit, angles).probs(0, 8)
        if not engine.differentiable:
            return [probs]
        return [probs.detach(), *torch.autograd.grad(probs.square().sum(), angles)]

    engine, resumed = case.make("complex128"), case.make("complex128")
    read(engine)
    assert (engine.position > 0) == engine.needs_shots
    resumed.position = engine.position
    for first, second in zip(read(engine), read(resumed), strict=True):
        assert torch.equal(first, second)
    assert engine.position == resumed.position


@all_engines
@both_dtypes
def test_samples_are_seeded_and_leave_the_global_generator_alone(
    case: EngineCase, dtype: ComplexDtype
) -> None:
    circuit = fixed_circuit()
    state = case.make(dtype).prepare(circuit, torch.from_numpy(random_angles(circuit)))
    before = torch.random.get_rng_state()
    first = state.sample(50, torch.Generator().manual_seed(7))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(state.sample(50, torch.Generator().manual_seed(7)), first)
    assert not torch.equal(state.sample(50, torch.Generator().manual_seed(8)), first)
    assert first.dtype == torch.int64
    assert first.shape == (50,)
    assert first.device.type == "cpu"
    assert 0 <= int(first.min()) <= int(first.max()) < 32


@all_engines
def test_a_seed_or_a_generator(case: EngineCase) -> None:
    circuit = fixed_circuit()
    state = case.make("complex64").prepare(circuit, torch.from_numpy(random_angles(circuit)))
    numbers = state.sample(50, seed=7)
    assert torch.equal(numbers, state.sample(50, torch.Generator().manual_seed(7)))
    bits = state.sample_bits(50, seed=7)
    assert (bits.dtype, bits.shape) == (torch.uint8, (50, 5))
    assert torch.equal(bits.long() @ (1 << torch.arange(4, -1, -1)), numbers)
    for draw in (state.sample, state.sample_bits):
        with pytest.raises(TypeError, match="`rng, seed` must be one of the two; got neither"):
            draw(5)
        with pytest.raises(TypeError, match="`rng, seed` must be one of the two; got both"):
            draw(5, torch.Generator(), seed=0)
        wrong: Any = "0"
        with pytest.raises(TypeError, match="`seed` must be an integer; got '0'"):
            draw(5, seed=wrong)


@all_engines
@both_dtypes
def test_frequencies_of_samples(case: EngineCase, dtype: ComplexDtype) -> None:
    circuit = shared_circuit()
    state = case.make(dtype).prepare(circuit, torch.from_numpy(random_angles(circuit)))
    drawn = state.sample(20_000, torch.Generator().manual_seed(0))
    probs = state.probs(0, 8).double().numpy()
    observed = np.bincount(drawn.numpy(), minlength=8)
    assert chisquare(observed, 20_000 * probs / probs.sum()).pvalue > tolerances.P_VALUE


@all_engines
def test_samples_never_hit_an_impossible_outcome(case: EngineCase) -> None:
    circuit = Circuit.builder(3).x(0).h(1).build()
    state = case.make("complex128").prepare(circuit, torch.zeros(0))
    drawn = state.sample(500, torch.Generator().manual_seed(0))
    assert sorted(set(drawn.tolist())) == [4, 6]


# Capabilities, descriptions and messages


@all_engines
@both_dtypes
def test_capabilities(case: EngineCase, dtype: ComplexDtype) -> None:
    engine = case.make(dtype)
    assert (engine.dtype, engine.complex_dtype) == (dtype, getattr(torch, dtype))
    assert isinstance(engine.max_qubits, int)
    assert engine.max_qubits >= 20
    assert not (engine.exact and engine.needs_shots)
    assert not engine.simulator.needs_shots
    assert (engine.billed, engine.position) == (False, 0)
    for name in ("exact", "differentiable", "needs_shots", "max_qubits"):
        with pytest.raises(AttributeError):
            setattr(engine, name, 1)
    assert repr(engine).startswith(type(engine).__name__ + "(")
    assert dtype in repr(engine)


@all_engines
@both_dtypes
def test_configuration_builds_an_equal_engine(case: EngineCase, dtype: ComplexDtype) -> None:
    engine, circuit = case.make(dtype), fixed_circuit()
    config = json.loads(json.dumps(engine.config()))
    assert next(iter(config)) == "kind"
    twin = Engine.from_config(config)
    assert type(twin) is type(engine)
    assert repr(twin) == repr(engine)
    assert twin.config() == config
    angles = torch.from_numpy(random_angles(circuit))
    first, second = (e.prepare(circuit, angles).probs(0, 32) for e in (engine, twin))
    assert torch.equal(first, second)


def test_messages_of_configurations() -> None:
    hint = "Call qtn_train.register_engine first"
    for kind in ("abacus", None, ["mps"]):
        expected = rf"`engine kind` must be one of .*, mps, .*; got {re.escape(repr(kind))}\. "
        with pytest.raises(ValueError, match=expected + hint):
            Engine.from_config({"kind": kind})


@exact_engines
def test_message_of_dtype(case: EngineCase) -> None:
    wrong: Any = "float32"
    with pytest.raises(ValueError, match="`dtype` must be 'complex64' or 'complex128'; got 'fl"):
        case.make(wrong)


@all_engines
@pytest.mark.parametrize(
    ("angles", "error", "message"),
    [
        ([0.1, 0.2], TypeError, "`angles` must be a floating-point tensor; got list."),
        (np.zeros(2), TypeError, "`angles` must be a floating-point tensor; got ndarray."),
        (torch.zeros(2, dtype=torch.int64), TypeError, "tensor; got torch.int64."),
        (torch.zeros(2, dtype=torch.complex64), TypeError, "tensor; got torch.complex64."),
        (torch.zeros(3), ValueError, r"`angles` must be of shape \(2,\).*; got \(3,\)\."),
        (torch.zeros(0, 2), ValueError, r"`angles` must be of shape \(2,\).*; got \(0, 2\)\."),
        (torch.zeros(2, 3), ValueError, r"`angles` must be of shape \(2,\).*; got \(2, 3\)\."),
        (torch.zeros(1, 1, 2), ValueError, r"of shape \(2,\).*; got \(1, 1, 2\)\."),
        (torch.tensor([0.0, torch.nan]), ValueError, "must be finite; got NaN or infinity."),
        (torch.tensor([0.0, torch.inf]), ValueError, "must be finite; got NaN or infinity."),
    ],
)
def test_messages_of_angles(
    case: EngineCase, angles: Any, error: type[Exception], message: str
) -> None:
    circuit = Circuit.builder(2).rx(0).ry(1).build()
    with pytest.raises(error, match=message):
        case.make("complex64").prepare(circuit, angles)


@all_engines
def test_message_of_a_circuit(case: EngineCase) -> None:
    engine = case.make("complex64")
    for wrong in (None, "circuit", Circuit.builder(2)):
        message = rf"`circuit` must be a Circuit; got {type(wrong).__name__}\. import_circuit"
        with pytest.raises(TypeError, match=message):
            engine.prepare(wrong, torch.zeros(0))  # type: ignore[arg-type]


@all_engines
def test_messages_of_reads(case: EngineCase, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = case.make("complex64")
    forward, _ = count_executions(monkeypatch, engine, None)
    wrong: Any = 5
    with pytest.raises(TypeError, match=r"`reads` must be a measurement, such as Prob.*; got 5\."):
        engine.prepare(Circuit(2, (), 0), torch.zeros(0), wrong)
    with pytest.raises(ValueError, match="`terms` must be Pauli strings of 2 letters out of IXYZ"):
        engine.prepare(Circuit(2, (), 0), torch.zeros(0), Expectation("ZZZ"))
    assert not forward


@all_engines
def test_a_batch_of_angles_is_taken_or_refused(case: EngineCase) -> None:
    engine, circuit = case.make("complex128"), Circuit.builder(2).rx(0).ry(1).build()
    angles = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.0, 0.0]], dtype=torch.float64)
    if not engine.batched:
        with pytest.raises(ValueError, match=r"`angles` must be of shape \(2,\); got \(3, 2\)\."):
            engine.prepare(circuit, angles)
        with pytest.raises(UnsupportedByEngine, match=r"`angles` must be one vector for .* a loop"):
            torch.func.vmap(lambda row: engine.prepare(circuit, row).probs(0, 4))(angles)
        return
    rows = torch.stack([engine.prepare(circuit, row).probs(1, 4) for row in angles])
    torch.testing.assert_close(engine.prepare(circuit, angles).probs(1, 4), rows)
    over_rows = torch.func.vmap(lambda row: engine.prepare(circuit, row).probs(1, 4))
    torch.testing.assert_close(over_rows(angles), rows)


@all_engines
@pytest.mark.parametrize("ends", [(0, 0), (3, 2), (-1, 2), (0, 5), (4, 5)])
def test_messages_of_ranges(case: EngineCase, ends: tuple[int, int]) -> None:
    state = case.make("complex64").prepare(Circuit(2, (), 0), torch.zeros(0))
    expected = rf"`start, stop` must be 0 <= start < stop <= 2\*\*2; got \({ends[0]}, {ends[1]}\)"
    with pytest.raises(ValueError, match=expected):
        state.probs(*ends)


@all_engines
def test_a_range_is_of_integers(case: EngineCase) -> None:
    state = case.make("complex64").prepare(Circuit(2, (), 0), torch.zeros(0))
    wrong: Any = 0.0
    for read in (state.probs, state.log_probs, state.scaled_probs, state.amplitudes):
        with pytest.raises(TypeError, match=r"`start, stop` must be integers; got \(0.0, 2\)"):
            read(wrong, 2)


@all_engines
@pytest.mark.parametrize(
    ("shots", "error"), [(0, ValueError), (-3, ValueError), (2.5, TypeError), (True, TypeError)]
)
def test_messages_of_shots(case: EngineCase, shots: Any, error: type[Exception]) -> None:
    state = case.make("complex64").prepare(Circuit(2, (), 0), torch.zeros(0))
    with pytest.raises(error, match=f"`shots` must be a positive integer; got {shots}"):
        state.sample(shots, torch.Generator().manual_seed(0))


@all_engines
def test_too_many_qubits_are_refused_before_anything_is_made(
    case: EngineCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = case.make("complex64")
    forward, _ = count_executions(monkeypatch, engine, None)
    circuit = Circuit(engine.max_qubits + 1, (Gate("h", (0,)),), 0)
    expected = f"`n_qubits` must be at most {engine.max_qubits} .*got {circuit.n_qubits}."
    with pytest.raises(UnsupportedByEngine, match=expected):
        engine.prepare(circuit, torch.zeros(0))
    assert not forward


def test_more_probabilities_than_one_tensor_holds() -> None:
    class Large(State):
        @property
        def n_qubits(self) -> int:
            return 40

        def _probs(self, start: int, stop: int) -> torch.Tensor:
            raise AssertionError("the range was not checked")

    with pytest.raises(ValueError, match=r"`stop - start` must be at most 2\*\*31; .* in blocks"):
        Large().probs(5, 5 + MAX_BLOCK + 1)


@pytest.mark.parametrize("abstract", [Engine, State])
def test_abstract_classes_cannot_be_built(abstract: Any) -> None:
    with pytest.raises(TypeError, match="abstract"):
        abstract()


def test_what_a_state_cannot_tell() -> None:
    class Bare(State):
        @property
        def n_qubits(self) -> int:
            return 30

        def _probs(self, start: int, stop: int) -> torch.Tensor:
            return torch.full((stop - start,), 2.0**-30)

    state = Bare()
    with pytest.raises(UnsupportedByEngine, match="`state` must be of an engine that holds ampl"):
        state.amplitudes(0, 4)
    with pytest.raises(UnsupportedByEngine, match="`state` must be of an engine that gives expec"):
        state.expectation("Z0")
    with pytest.raises(UnsupportedByEngine, match="`n_qubits` must be at most 24 to draw from"):
        state.sample(3, seed=0)
    assert state.scaled_probs(0, 2).tolist() == [1, 1]


def test_a_registered_engine_has_a_kind_of_its_own() -> None:
    class Twin(Engine):
        kind = "mps"

    class Nameless(Engine):
        pass

    with pytest.raises(ValueError, match=r"`Twin\.kind` must be a word of its own; got 'mps'"):
        register_engine(Twin)
    with pytest.raises(TypeError, match=r"`Nameless\.kind` must be a string; got None\."):
        register_engine(Nameless)
    wrong: Any = MPSEngine()
    with pytest.raises(TypeError, match="`cls` must be a subclass of Engine; got MPSEngine"):
        register_engine(wrong)
    assert register_engine(MPSEngine) is MPSEngine


# An engine that reads a journal: each test runs twice, on an engine that writes journals and on
# those that read them. The second run asks what the first one asked, and nothing is executed.


REPLAYED: dict[str, tuple[Callable[..., None], tuple[Any, ...]]] = {
    "logarithms": (test_logarithms_and_multiples_of_probabilities, ("complex128",)),
    "order of qubits": (test_qubit_0_is_the_most_significant_bit, ("complex64", 1)),
    "no gates": (test_a_circuit_without_gates_stays_in_the_first_outcome, ("complex64",)),
    "angles": (test_angles_are_left_as_they_were, ("complex64",)),
    "position": (test_position_is_all_that_a_resumed_run_needs, ()),
    "seeded samples": (
        test_samples_are_seeded_and_leave_the_global_generator_alone,
        ("complex64",),
    ),
    "a seed": (test_a_seed_or_a_generator, ()),
    "frequencies": (test_frequencies_of_samples, ("complex128",)),
    "impossible outcomes": (test_samples_never_hit_an_impossible_outcome, ()),
    "first derivatives": (
        test_a_first_derivative_that_could_be_differentiated_is_the_same,
        (curved_loss,),
    ),
    "large angles": (test_large_angles_of_counted_shots, ()),
}


@pytest.mark.parametrize("name", REPLAYED)
def test_a_journal_answers_as_the_engine_that_wrote_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test, arguments = REPLAYED[name]
    written: list[BraketEngine] = []

    def write(dtype: ComplexDtype) -> BraketEngine:
        engine = BraketEngine(
            "local:sv",
            20_000,
            gradient="random-shift",
            n_shifts=1,
            seed=3,
            dtype=dtype,
            journal=tmp_path / f"{len(written)}.sqlite",
        )
        written.append(engine)
        return engine

    test(EngineCase(write, _shots._Token), *arguments)
    for engine in written:
        engine.close()
    assert written
    read = iter(range(len(written)))

    def reader(dtype: ComplexDtype) -> RecordedEngine:
        return RecordedEngine(tmp_path / f"{next(read)}.sqlite", dtype=dtype)

    monkeypatch.delattr(BraketEngine, "_measure")
    test(EngineCase(reader, _shots._Token), *arguments)
    assert next(read, None) is None, "each journal was read"
