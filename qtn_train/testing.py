"""The contract of engines, mappings and generators, to be called in tests of one's own classes.

    def test_my_engine():
        check_engine(lambda dtype: MyEngine(dtype=dtype))

Each function raises AssertionError with the promise that was broken, and what came instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._types import REAL, ComplexDtype
from .circuits import Circuit, ansatz, gate_matrix
from .engines import Engine, State
from .errors import UnsupportedByEngine
from .generators import WeightGenerator, generator_from_config
from .mapping import MappingModel

__all__ = ["check_engine", "check_generator", "check_mapping"]

# Rounding of amplitudes, as in this package's own tests, with room for another order of sums.
_ROUNDING = {"complex64": 1e-5, "complex128": 1e-11}
# Central differences in double precision: error of the formula and rounding are below 1e-9.
_STEP, _DIFFERENCE = 1e-5, 1e-7
# A frequency of S shots lies farther from its probability than this over √S once in 10⁸ times.
_SCATTER = 3.0
_N_VALUES = 50


def check_engine(make: Callable[[ComplexDtype], Engine]) -> None:
    """Hold an engine against what this package promises of every engine.

    Capabilities and configuration, probabilities and order of bits on fixed circuits, slices,
    samples, amplitudes and expectations or a refusal, gradients, wrong arguments, and that angles
    and torch's generator are left alone.

    Args:
        make: Gives the engine for a precision, ``"complex64"`` or ``"complex128"``; the class is
            registered with :func:`qtn_train.register_engine`.

    Raises:
        AssertionError: A promise is broken.

    Source:
        Ours.

    Example:
        >>> from qtn_train.engines import StatevectorEngine
        >>> check_engine(lambda dtype: StatevectorEngine(dtype=dtype))
    """
    dtypes: tuple[ComplexDtype, ...] = ("complex64", "complex128")
    for dtype in dtypes:
        engine = make(dtype)
        _hold(isinstance(engine, Engine), "an engine is a subclass of Engine", engine)
        _check_capabilities(engine, dtype)
        for circuit in _circuits():
            _check_values(engine, circuit)
        _check_bits(engine)
        _check_messages(engine)
    if make("complex128").differentiable and not make("complex128").needs_shots:
        _check_gradient(make("complex128"))


def check_mapping(make: Callable[[int, int], MappingModel]) -> None:
    """Hold a mapping against what this package promises of every mapping.

    Shape, type and size of weights, chunks that agree with the whole, gradients, seeds, the
    configuration, and that torch's generator is left alone.

    Args:
        make: Gives the mapping for a number of values and a seed; the class is registered with
            :func:`qtn_train.register_mapping`.

    Raises:
        AssertionError: A promise is broken.

    Source:
        Ours.

    Example:
        >>> from qtn_train.mapping import MLPMapping
        >>> check_mapping(lambda n_values, seed: MLPMapping(n_values, (4,), seed=seed))
    """
    before = torch.random.get_rng_state()
    mapping, twin = make(_N_VALUES, 3), make(_N_VALUES, 3)
    unmoved = torch.equal(torch.random.get_rng_state(), before)
    _hold(unmoved, "building leaves torch's generator alone", "another state")
    _hold(isinstance(mapping, MappingModel), "a mapping is a subclass of MappingModel", mapping)
    _hold(mapping.n_values == _N_VALUES, f"n_values is {_N_VALUES}", mapping.n_values)
    values = torch.from_numpy(np.random.default_rng(0).normal(size=_N_VALUES))
    weights = mapping(0, values.float())
    shape = (_N_VALUES, mapping.weights_per_outcome)
    _hold(tuple(weights.shape) == shape, f"weights have the shape {shape}", tuple(weights.shape))
    _hold(weights.dtype == torch.float32, "weights are of the values' type", weights.dtype)
    largest = float(weights.detach().abs().max())
    _hold(1e-3 < largest < 30, "weights are of the order of 1", largest)
    _hold(torch.equal(twin(0, values.float()), weights), "a seed gives the same mapping", "another")
    again = MappingModel.from_config(_as_json(mapping.config()))
    _hold(type(again) is type(mapping), "config() names the class", type(again).__name__)
    equal = torch.equal(again(0, values.float()), weights)
    _hold(equal, "from_config(config()) builds an equal mapping", "other weights")
    double = make(_N_VALUES, 3).double()
    if not double.needs_all_values:
        whole = double(0, values)
        for size in (1, 7, 32):
            parts = [double(k, values[k : k + size]) for k in range(0, _N_VALUES, size)]
            error = float((torch.cat(parts) - whole).detach().abs().max())
            _hold(error < 1e-10, f"chunks of {size} values give the weights of all", error)
    _check_derivative(lambda v: double(0, v), values, list(double.parameters()))


def check_generator(make: Callable[[int], WeightGenerator]) -> None:
    """Hold a generator against what this package promises of every generator.

    Shape, type and size of weights, a finite gradient for every parameter, parts, the origin, a
    copy in double precision, seeds, the configuration, and that torch's generator is left alone.

    Args:
        make: Gives the generator for a seed; the class is registered with
            :func:`qtn_train.register_generator`.

    Raises:
        AssertionError: A promise is broken.

    Source:
        Ours.

    Example:
        >>> from qtn_train.generators import RandomSubspace
        >>> check_generator(lambda seed: RandomSubspace(30, 5, seed))
    """
    before = torch.random.get_rng_state()
    generator = make(3)
    weights = generator()
    unmoved = torch.equal(torch.random.get_rng_state(), before)
    _hold(unmoved, "building and calling leave torch's generator alone", "another state")
    _hold(isinstance(generator, WeightGenerator), "a subclass of WeightGenerator", generator)
    shape = (generator.n_weights,)
    _hold(tuple(weights.shape) == shape, f"weights have the shape {shape}", tuple(weights.shape))
    _hold(weights.dtype == torch.float32, "weights are float32", weights.dtype)
    _hold(bool(torch.isfinite(weights).all()), "weights are finite", weights)
    _hold(torch.equal(generator.origin(), weights), "origin() is what is given at first", "another")
    _hold(not generator.origin().requires_grad, "origin() is a constant", "one with a gradient")
    direction = torch.linspace(-1, 1, len(weights))
    parameters = [p for p in generator.parameters() if p.requires_grad]
    grads = torch.autograd.grad(direction @ weights, parameters, allow_unused=True)
    for parameter, grad in zip(parameters, grads, strict=True):
        fine = grad is not None and bool(torch.isfinite(grad).all())
        _hold(fine, "every parameter gets a finite gradient", (tuple(parameter.shape), grad))
    parts = generator.parts()
    _hold(set(parts) <= {"angles", "mapping", "other"}, "parts() has known roles", list(parts))
    ids = sorted(id(p) for part in parts.values() for p in part)
    _hold(ids == sorted(map(id, parameters)), "parts() holds each parameter once", len(ids))
    again = generator_from_config(_as_json(generator.config()))
    _hold(type(again) is type(generator), "config() names the class", type(again).__name__)
    equal = torch.equal(again(), weights)
    _hold(equal, "generator_from_config(config()) builds an equal generator", "other weights")
    _hold(torch.equal(make(3)(), weights), "a seed gives the same generator", "another")
    double = generator.in_double()()
    _hold(double.dtype == torch.float64, "in_double() computes in float64", double.dtype)
    error = float((double - weights).detach().abs().max())
    _hold(error < 1e-3, "in_double() gives the same weights", error)
    _hold(bool(generator.describe()), "describe() is a line", repr(generator.describe()))


def _hold(holds: bool, promise: str, found: object) -> None:
    if not holds:
        raise AssertionError(f"the contract says: {promise}; got {found}.")


def _as_json(config: dict[str, Any]) -> dict[str, Any]:
    try:
        copied: dict[str, Any] = json.loads(json.dumps(config))
    except TypeError as error:
        raise AssertionError(f"the contract says: config() is JSON data; got {config}.") from error
    return copied


# Engines


def _circuits() -> Iterator[Circuit]:
    """Yield circuits: gates on one qubit, neighbors, the register; shared angles; no gates."""
    builder = Circuit.builder(4)
    for qubit in range(4):
        builder.u3(qubit)
    builder.h(2).cx(0, 1).cu3(0, 3).rx(3).swap(1, 3).cu3(3, 1).rz(2).t(0).cz(3, 0).ry(1).si(2)
    yield builder.build()
    shared = Circuit.builder(2).add("ry", 0, angles=(0,)).add("rx", 1, angles=(0,)).cx(1, 0)
    yield shared.add("cu3", 0, 1, angles=(1, 0, 1)).ry(0).build()
    yield Circuit(3, (), 0)


def _angles(circuit: Circuit) -> NDArray[np.float64]:
    return np.random.default_rng(circuit.n_angles).uniform(-np.pi, np.pi, circuit.n_angles)


def _truth(circuit: Circuit, angles: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return all amplitudes, computed gate after gate on a NumPy array."""
    n_qubits = circuit.n_qubits
    psi = np.zeros((2,) * n_qubits, dtype=np.complex128)
    psi[(0,) * n_qubits] = 1
    for gate in circuit.gates:
        k = len(gate.qubits)
        matrix = gate_matrix(gate.name, tuple(angles[list(gate.angles)])).reshape((2,) * 2 * k)
        psi = np.tensordot(matrix, psi, (range(k, 2 * k), gate.qubits))
        psi = np.moveaxis(psi, range(k), gate.qubits)
    return psi.reshape(-1)


def _check_capabilities(engine: Engine, dtype: ComplexDtype) -> None:
    _hold(engine.dtype == dtype, f"dtype is {dtype}", engine.dtype)
    for name in ("exact", "differentiable", "needs_shots", "batched", "billed"):
        value = getattr(engine, name)
        _hold(isinstance(value, bool), f"{name} is a bool", value)
    _hold(engine.max_qubits >= 4, "max_qubits is at least 4", engine.max_qubits)
    _hold(not (engine.exact and engine.needs_shots), "exact engines count no shots", engine)
    _hold(not engine.simulator.needs_shots, "the simulator counts no shots", engine.simulator)
    config = _as_json(engine.config())
    twin = Engine.from_config(config)
    _hold(type(twin) is type(engine), "config() names the class", type(twin).__name__)
    same = twin.config() == config and twin.dtype == dtype and repr(twin) == repr(engine)
    _hold(same, f"from_config(config()) builds an equal engine, {engine!r}", repr(twin))


def _check_values(engine: Engine, circuit: Circuit) -> None:
    values = _angles(circuit)
    angles = torch.from_numpy(values)
    before = torch.random.get_rng_state()
    state = engine.prepare(circuit, angles)
    n_outcomes, psi = 2**circuit.n_qubits, _truth(circuit, values)
    probs = state.probs(0, n_outcomes)
    _hold(torch.equal(angles, torch.from_numpy(values)), "angles stay as they were", angles)
    unmoved = torch.equal(torch.random.get_rng_state(), before)
    _hold(unmoved, "torch's generator is left alone", "another state")
    _hold(state.n_qubits == circuit.n_qubits, "a state knows its qubits", state.n_qubits)
    _hold(tuple(probs.shape) == (n_outcomes,), "one probability an outcome", tuple(probs.shape))
    _hold(probs.dtype == REAL[engine.dtype], f"probabilities are {REAL[engine.dtype]}", probs.dtype)
    _hold(float(probs.detach().min()) >= 0, "probabilities are at least 0", probs)
    error = float(np.abs(probs.detach().double().numpy() - np.abs(psi) ** 2).max())
    limit = _ROUNDING[engine.dtype]
    if engine.needs_shots:
        limit = _SCATTER / float(state.diagnostics().get("shots", 1)) ** 0.5
    _hold(error < limit, f"probabilities of {circuit!r} are right within {limit:.1g}", error)
    part = state.probs(1, n_outcomes - 1)
    error = float((part - probs[1 : n_outcomes - 1]).detach().abs().max())
    _hold(error <= _ROUNDING[engine.dtype], "slices agree with the whole", error)
    first = state.sample(20, seed=5)
    _hold(torch.equal(first, state.sample(20, seed=5)), "samples are a function of the seed", first)
    _check_others(state, psi, _ROUNDING[engine.dtype])


def _check_others(state: State, psi: NDArray[np.complex128], limit: float) -> None:
    """Check that amplitudes and expectations are right, or refused."""
    try:
        error = float(np.abs(state.amplitudes().detach().numpy() - psi).max())
        _hold(error < limit, "amplitudes are right", error)
    except UnsupportedByEngine:
        pass
    try:
        found = float(state.expectation("Z0").detach())
    except UnsupportedByEngine:
        return
    half = len(psi) // 2
    true = float((np.abs(psi[:half]) ** 2).sum() - (np.abs(psi[half:]) ** 2).sum())
    _hold(abs(found - true) < limit, "expectations are right", (found, true))


def _check_bits(engine: Engine) -> None:
    for qubit in range(3):
        state = engine.prepare(Circuit.builder(3).x(qubit).build(), torch.zeros(0))
        found = int(state.probs(0, 8).argmax())
        promise = f"qubit 0 is the most significant bit: X on qubit {qubit} gives {4 >> qubit}"
        _hold(found == 4 >> qubit, promise, found)
        bits = state.sample_bits(1, seed=0)[0].tolist()
        _hold(bits == [int(k == qubit) for k in range(3)], "sampled bits: qubit 0 first", bits)


def _check_messages(engine: Engine) -> None:
    circuit = ansatz.ry_cx_chain(2, 1)
    wrong: list[tuple[Any, type[Exception]]] = [
        ([0.1, 0.2], TypeError),
        (torch.zeros(2, dtype=torch.int64), TypeError),
        (torch.zeros(5), ValueError),
        (torch.full((circuit.n_angles,), torch.nan), ValueError),
    ]
    for angles, error in wrong:
        _refused(partial(engine.prepare, circuit, angles), error, f"angles {angles}")
    state = engine.prepare(circuit, torch.zeros(circuit.n_angles))
    for ends in ((0, 0), (-1, 2), (0, 5)):
        _refused(partial(state.probs, *ends), ValueError, f"the range {ends}")
    _refused(partial(state.sample, 0, seed=0), ValueError, "0 shots")


def _refused(call: Callable[[], object], error: type[Exception], what: str) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(f"the contract says: {what} raises {error.__name__}; got no error.")


def _check_gradient(engine: Engine) -> None:
    circuit = next(_circuits())
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=2**circuit.n_qubits))

    def value(angles: Tensor) -> Tensor:
        return engine.prepare(circuit, angles).probs(0, len(weights))

    _check_derivative(value, torch.from_numpy(_angles(circuit)), [])


# Derivatives


def _check_derivative(
    function: Callable[[Tensor], Tensor], at: Tensor, parameters: list[torch.nn.Parameter]
) -> None:
    """Compare autograd with central differences, along random directions."""
    rng = np.random.default_rng(2)
    leaf = at.clone().requires_grad_()
    out = function(leaf)
    weights = torch.from_numpy(rng.normal(size=tuple(out.shape)))
    variables = [leaf, *parameters]
    grads = torch.autograd.grad((weights * out).sum(), variables, allow_unused=True)
    for variable, grad in zip(variables, grads, strict=True):
        direction = torch.from_numpy(rng.normal(size=tuple(variable.shape)))
        direction /= direction.norm()
        ends = []
        with torch.no_grad():
            for step in (_STEP, -_STEP):
                variable.add_(step * direction)
                ends.append(float((weights * function(leaf)).sum()))
                variable.sub_(step * direction)
        expected = (ends[0] - ends[1]) / (2 * _STEP)
        found = 0.0 if grad is None else float((grad * direction).sum())
        limit = _DIFFERENCE * max(1.0, abs(expected))
        promise = f"the gradient is that of central differences, {expected:.9g}"
        _hold(abs(found - expected) < limit, promise, f"{found:.9g}")
