"""Whole models under torch's transforms: second derivatives, torch.func, ensembles, inference."""

from __future__ import annotations

import pytest
import tolerances
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, stack_module_state, vmap

import qtn_train as qt
from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines import Engine, MPSEngine, StatevectorEngine
from qtn_train.generators import CONTROLS, CircuitGenerator, control
from qtn_train.mapping import MLPMapping

X = torch.linspace(-1, 1, 20, dtype=torch.float64).view(5, 4)
Y = torch.tensor([0, 1, 2, 0, 1])
ENGINES: dict[str, Engine] = {
    "statevector": StatevectorEngine(dtype="complex128"),
    "mps": MPSEngine(dtype="complex128"),
}

RING = ansatz.u3_cu3_ring(4, 1)


def model(
    seed: int = 0,
    chunk_size: int = 2**16,
    engine: Engine = ENGINES["statevector"],
    circuit: Circuit = RING,
) -> qt.QuantumTrain:
    generator = CircuitGenerator(
        circuit,
        engine,
        MLPMapping(15, (2,), seed=seed),
        n_weights=15,
        chunk_size=chunk_size,
        seed=seed,
    )
    return qt.QuantumTrain(nn.Linear(4, 3), generator=generator, seed=seed).double()


def loss(net: qt.QuantumTrain, parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(functional_call(net, parameters, (x,)), y)


def fresh(net: qt.QuantumTrain, shift: float = 0.0) -> dict[str, Tensor]:
    named = net.named_parameters()
    return {name: (p.detach() + shift).requires_grad_() for name, p in named}


#: All weights in one chunk, and in four that are made again on the way back.
both_chunks = pytest.mark.parametrize("chunk_size", [2**16, 4])


@both_chunks
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_second_derivatives_through_a_whole_model(chunk_size: int, engine: Engine) -> None:
    net = model(chunk_size=chunk_size, engine=engine, circuit=ansatz.ry_cx_chain(4, 1))
    parameters = fresh(net)

    def of(*values: Tensor) -> Tensor:
        return loss(net, dict(zip(parameters, values, strict=True)), X, Y)

    assert torch.autograd.gradgradcheck(of, tuple(parameters.values()))


@both_chunks
def test_gradients_by_other_values_than_the_models_own(chunk_size: int) -> None:
    net, plain = model(chunk_size=chunk_size), model()
    for name, buffer in plain.named_buffers():  # the origin is rounded, chunk by chunk
        net.get_buffer(name).copy_(buffer)
    first, second = (fresh(each, shift=0.1) for each in (net, plain))
    found = torch.autograd.grad(loss(net, first, X, Y), list(first.values()))
    expected = torch.autograd.grad(loss(plain, second, X, Y), list(second.values()))
    torch.testing.assert_close(found, expected, atol=tolerances.DOUBLE_GRADIENT, rtol=0)


@both_chunks
def test_functions_of_torch_func(chunk_size: int) -> None:
    net = model(chunk_size=chunk_size)
    parameters = fresh(net)
    plain = {name: p.detach() for name, p in parameters.items()}
    values = torch.autograd.grad(loss(net, parameters, X, Y), list(parameters.values()))
    expected = dict(zip(parameters, values, strict=True))
    found = grad(lambda p: loss(net, p, X, Y))(plain)
    torch.testing.assert_close(found, expected, atol=tolerances.DOUBLE_GRADIENT, rtol=0)
    each = vmap(grad(lambda p, x, y: loss(net, p, x, y)), (None, 0, 0))(plain, X, Y)
    mean = {name: g.mean(0) for name, g in each.items()}
    torch.testing.assert_close(mean, expected, atol=tolerances.DOUBLE_GRADIENT, rtol=0)
    _, slope = jvp(lambda p: loss(net, p, X, Y), (plain,), (plain,))
    sums = [(expected[name] * plain[name]).sum() for name in plain]
    torch.testing.assert_close(
        slope, torch.stack(sums).sum(), atol=tolerances.DOUBLE_GRADIENT, rtol=0
    )


@both_chunks
@pytest.mark.parametrize("training", [True, False])
def test_an_ensemble_is_its_models(chunk_size: int, training: bool) -> None:
    nets = [model(seed, chunk_size).train(training) for seed in range(3)]
    parameters, buffers = stack_module_state(nets)

    def call(p: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        out: Tensor = functional_call(nets[0], (p, b), (X,))
        return out

    with torch.set_grad_enabled(training):
        found = vmap(call)(parameters, buffers)
        torch.testing.assert_close(found, torch.stack([net(X) for net in nets]))
    leaf = parameters["generator.angles"]
    (together,) = torch.autograd.grad(vmap(call)(parameters, buffers).square().sum(), leaf)
    alone = [torch.autograd.grad(net(X).square().sum(), net.generator.angles)[0] for net in nets]
    torch.testing.assert_close(
        together, torch.stack(alone), atol=tolerances.DOUBLE_GRADIENT, rtol=0
    )


@both_chunks
def test_inference_mode_leaves_nothing_behind(chunk_size: int) -> None:
    circuit = Circuit.builder(4).add("ry", 0).add("u3", 2).cx(0, 3).add("u3", 1).cx(2, 1).build()
    net = model(chunk_size=chunk_size, circuit=circuit)
    with torch.inference_mode():
        expected = net.eval()(X)
    x = X.clone().requires_grad_()
    out = net(x)  # in evaluation still, but differentiated by its input
    torch.testing.assert_close(out, expected)
    out.sum().backward()
    assert x.grad is not None
    with torch.no_grad():
        held = net(x)
    torch.testing.assert_close((held * 2).requires_grad_(), 2 * expected)
    net.train()(X).square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("name", [name for name in CONTROLS if name != "product"])
def test_controls_under_the_transforms_of_torch(name: str) -> None:
    like = model(circuit=ansatz.ry_cx_chain(4, 2)).generator
    assert isinstance(like, CircuitGenerator)
    generator = control(name, like).double()
    values = {n: p.detach().clone() for n, p in generator.named_parameters()}
    direction = torch.linspace(-1, 2, 15, dtype=torch.float64)

    def total(parameters: dict[str, Tensor]) -> Tensor:
        return (functional_call(generator, parameters, ()) * direction).square().sum()

    leaves = {n: value.clone().requires_grad_() for n, value in values.items()}
    expected = torch.autograd.grad(total(leaves), tuple(leaves.values()))
    found = grad(total)(values)
    tangents = {n: torch.linspace(-1, 1, v.numel()).to(v).view(v.shape) for n, v in values.items()}
    _, slope = jvp(total, (values,), (tangents,))
    rows = {n: torch.stack((value, value + tangents[n])) for n, value in values.items()}
    both = vmap(grad(total))(rows)
    for (n, one), wanted in zip(found.items(), expected, strict=True):
        torch.testing.assert_close(
            one, wanted, atol=tolerances.DOUBLE_GRADIENT, rtol=tolerances.DOUBLE_GRADIENT
        )
        torch.testing.assert_close(
            both[n][0], wanted, atol=tolerances.DOUBLE_GRADIENT, rtol=tolerances.DOUBLE_GRADIENT
        )
    dots = [(one * t).sum() for one, t in zip(expected, tangents.values(), strict=True)]
    torch.testing.assert_close(
        slope, torch.stack(dots).sum(), atol=0, rtol=tolerances.DOUBLE_GRADIENT
    )
