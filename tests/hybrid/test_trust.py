"""Right weights whatever happens around them: state dicts, mixed precision, writes unseen."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tolerances
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from qtn_train import Layout, QuantumTrain
from qtn_train.circuits import ansatz
from qtn_train.engines import Engine, MPSEngine, StatevectorEngine
from qtn_train.errors import CheckpointError
from qtn_train.generators import CircuitGenerator, control
from qtn_train.mapping import MLPMapping, TensorTrainMapping

X = torch.linspace(-1, 1, 40).view(10, 4)


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def model_of(**options: Any) -> QuantumTrain:
    return QuantumTrain(net(), **{"circuit": ansatz.ry_cx_chain(6, 2), **options})


def moved(model: QuantumTrain) -> QuantumTrain:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.linspace(-0.3, 0.5, parameter.numel()).view(parameter.shape))
    return model


# --- state dicts ----------------------------------------------------------------------------------

REFUSED = r"^`state_dict` must be that of this model; got one with another target, layout, circuit,"


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1},
        {"layout": Layout(gain=2.0)},
        {"layout": Layout(shuffle=False)},
        {"circuit": ansatz.u3_cu3_chain(6, 1)},
        {"mapping": MLPMapping(2**6, (4,), seed=3)},
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_state_dict_of_another_model_is_refused(options: Any, strict: bool) -> None:
    state = moved(model_of()).state_dict()
    other = model_of(**options)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=REFUSED):
        other.load_state_dict(state, strict=strict)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    if "seed" in options:  # as a part of a larger network too
        parts = nn.ModuleList([model_of()]).state_dict()
        with pytest.raises(CheckpointError, match=REFUSED):
            nn.ModuleList([other]).load_state_dict(parts, strict=strict)


def test_a_state_dict_of_the_same_model_is_taken(tmp_path: Path) -> None:
    model = moved(model_of(seed=4))
    torch.save(model.state_dict(), tmp_path / "torch")
    save_file(model.state_dict(), tmp_path / "safetensors")
    for state in (torch.load(tmp_path / "torch"), load_file(tmp_path / "safetensors")):
        again = model_of(seed=4)
        again.load_state_dict(state)
        assert torch.equal(again(X), model(X))
    exact = model_of(seed=4, engine=MPSEngine())  # another engine gives the same weights
    exact.load_state_dict(model.state_dict())
    torch.testing.assert_close(exact(X), model(X), atol=tolerances.OUTPUT, rtol=tolerances.OUTPUT)
    compiled: Any = torch.compile(model_of(seed=4), backend="eager")
    compiled.load_state_dict(torch.compile(model, backend="eager").state_dict())
    assert torch.equal(compiled._orig_mod(X), model(X))


def test_a_state_dict_without_its_hash() -> None:
    model = model_of()
    state = moved(model_of()).trained_numbers()
    with pytest.raises(RuntimeError, match=r"Missing key.*_extra_state"):
        model.load_state_dict(state)
    found = model.load_state_dict(state, strict=False)
    assert found.unexpected_keys == []
    assert torch.equal(model(X), moved(model_of())(X))


def test_a_twin_with_another_generator_has_a_hash_of_its_own() -> None:
    model = model_of()
    twin = model.with_generator(control("direct", model.generator))
    assert not torch.equal(twin.get_extra_state(), model.get_extra_state())
    copy.deepcopy(twin).load_state_dict(twin.state_dict())
    with pytest.raises(CheckpointError, match=REFUSED):
        twin.load_state_dict(model.state_dict())


def test_copies_and_pickles_take_no_graph_along() -> None:
    model = moved(model_of())
    with model.cached():
        model(X)
        twin = copy.deepcopy(model)
        file = io.BytesIO()
        torch.save(model, file)
    moved(twin)
    assert not torch.equal(twin(X), model(X))
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert torch.equal(again(X), model(X))


# --- mixed precision ------------------------------------------------------------------------------

ENGINES: dict[str, Engine] = {
    "statevector": StatevectorEngine(),
    "mps": MPSEngine(),
    "mps-cut": MPSEngine(4),
}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("inside", ["forward", "backward", "both"])
def test_weights_and_their_gradient_are_made_outside_autocast(
    engine: Engine, dtype: torch.dtype, inside: str
) -> None:
    def weigh(weights: dict[str, Tensor]) -> Tensor:
        return torch.cat([w.reshape(-1) for w in weights.values()]).square().sum()

    plain = moved(model_of(circuit=ansatz.u3_cu3_chain(6, 2), engine=engine))
    mixed = copy.deepcopy(plain)
    weigh(plain.generate()).backward()
    with torch.autocast("cpu", dtype=dtype, enabled=inside != "backward"):
        weights = mixed.generate()
    total = weigh(weights)
    with torch.autocast("cpu", dtype=dtype, enabled=inside != "forward"):
        total.backward(retain_graph=True)
        assert torch.is_autocast_enabled("cpu") == (inside != "forward")
        first = [parameter.grad.clone() for parameter in mixed.parameters()]
        mixed.zero_grad()
        total.backward()
    for before, parameter in zip(first, mixed.parameters(), strict=True):
        assert torch.equal(before, parameter.grad)
    for name, weight in plain.generate().items():
        assert torch.equal(weights[name], weight)
    for mine, others in zip(plain.parameters(), mixed.parameters(), strict=True):
        assert torch.equal(mine.grad, others.grad)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_training_under_autocast_is_that_of_the_network_alone(engine: Engine) -> None:
    model = moved(model_of(engine=engine))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = model(X)
        expected = model.export()(X)
    assert scores.dtype == torch.bfloat16
    assert torch.equal(scores, expected)
    scores.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("mapping", [MLPMapping, TensorTrainMapping])
def test_a_step_wholly_inside_autocast_has_the_gradient_of_one_that_ends_it(mapping: Any) -> None:
    grads = []
    for inside in (False, True):
        circuit = ansatz.ry_cx_chain(5, 2)
        generator = CircuitGenerator(circuit, StatevectorEngine(), mapping(2**5), n_weights=25)
        net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0))
        model = moved(QuantumTrain(net, generator, seed=0))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            total = model(X).square().sum()
            if inside:
                total.backward()
        if not inside:
            total.backward()
        grads.append([parameter.grad for parameter in model.parameters()])
    for ends, stays in zip(*grads, strict=True):
        assert torch.equal(ends, stays)


@pytest.mark.parametrize("engine", [StatevectorEngine(), MPSEngine()], ids=repr)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "inside", [(True, True, True), (False, True, False), (False, False, True), (True, False, True)]
)
def test_second_derivatives_are_made_outside_autocast(
    engine: Engine, dtype: torch.dtype, inside: tuple[bool, bool, bool]
) -> None:
    """Forward, first and second derivative, each inside or outside; before, 0.24 % off."""

    def derivatives(forward: bool, first: bool, second: bool) -> list[Tensor]:
        model = moved(model_of(circuit=ansatz.u3_cu3_chain(6, 1), engine=engine))
        with torch.autocast("cpu", dtype=dtype, enabled=forward):
            weights = model.generate()
        total = torch.stack([w.square().sum() for w in weights.values()]).sum()
        with torch.autocast("cpu", dtype=dtype, enabled=first):
            grads = torch.autograd.grad(total, [*model.parameters()], create_graph=True)
            assert torch.is_autocast_enabled("cpu") == first
        penalty = torch.stack([g.square().sum() for g in grads]).sum()
        with torch.autocast("cpu", dtype=dtype, enabled=second):
            penalty.backward()
            assert torch.is_autocast_enabled("cpu") == second
        return [*grads, *(p.grad for p in model.parameters())]

    for mixed, plain in zip(derivatives(*inside), derivatives(False, False, False), strict=True):
        assert torch.equal(mixed, plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["circuit", "low-rank"])
def test_a_generator_alone_makes_its_weights_outside_autocast(
    dtype: torch.dtype, name: str
) -> None:
    grads = []
    for enabled in (False, True):
        generator = moved(model_of()).generator
        if name != "circuit":
            generator = control(name, generator)
        with torch.autocast("cpu", dtype=dtype, enabled=enabled):
            weights = generator()
            weights.square().sum().backward()
        grads.append([weights.detach(), *(p.grad for p in generator.parameters())])
    for plain, mixed in zip(*grads, strict=True):
        assert torch.equal(plain, mixed)


def test_a_model_built_under_autocast_is_that_of_its_seed() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model = model_of()
        said = model.summary()
    plain = model_of()
    assert model.config() == plain.config()
    assert said == plain.summary()
    assert torch.equal(model(X), plain(X))


def test_an_evaluation_under_autocast_leaves_nothing_behind() -> None:
    model = moved(model_of()).eval()
    expected = copy.deepcopy(model)(X).detach()
    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            model(X)
        assert torch.equal(model(X), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        exported = model.export()
    assert torch.equal(exported(X), expected)


# --- weights that are kept between calls ----------------------------------------------------------


def through_data(model: QuantumTrain) -> None:
    next(model.parameters()).data.add_(0.3)


def through_numpy(model: QuantumTrain) -> None:
    next(model.parameters()).detach().numpy()[0] += 0.3


def through_another_view(model: QuantumTrain) -> None:
    torch.from_numpy(next(model.parameters()).detach().numpy()).mul_(2)


def through_the_optimizer(model: QuantumTrain) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.optim.Adam(model.parameters(), 0.1, foreach=True).step()


def through_loading(model: QuantumTrain) -> None:
    model.load_state_dict(moved(model_of()).state_dict(), assign=True)


def through_half(model: QuantumTrain) -> None:
    model.bfloat16().float()


@pytest.mark.parametrize(
    "write",
    [
        through_data,
        through_numpy,
        through_another_view,
        through_the_optimizer,
        through_loading,
        through_half,
    ],
)
def test_weights_are_made_again_after_any_write(write: Callable[[QuantumTrain], None]) -> None:
    model = model_of().eval()
    with torch.no_grad():
        before = model(X)
        write(model)
        after = model(X)
        assert not torch.equal(after, before)
        assert torch.equal(after, copy.deepcopy(model)(X))


def test_weights_follow_the_precision_of_the_model() -> None:
    model = moved(model_of()).eval()
    with torch.no_grad():
        first = model(X)
        assert model.double()(X.double()).dtype == torch.float64
        torch.testing.assert_close(model.float()(X), first)
        model.target.double()
        assert model(X.double()).dtype == torch.float64


def test_a_write_that_changes_nothing_makes_nothing_again() -> None:
    model = model_of().eval()
    calls: list[int] = []
    model.generator.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        model(X)
        next(model.parameters()).add_(0.0)
        model.float()(X)
    assert len(calls) == 1


def test_weights_of_inference_mode_do_not_reach_training() -> None:
    model = moved(model_of()).eval()
    with torch.inference_mode():
        first = model(X)
    with torch.no_grad():
        assert torch.equal(model(X), first)
    model(X).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def built(how: str, path: Path, inside: bool) -> nn.Module:
    """Build in inference mode, or outside of it, what is trained later."""
    plain, circuit = moved(model_of()), ansatz.ry_cx_chain(6, 2)
    plain.save(path)
    with torch.inference_mode(inside):
        if how == "generator":
            mapping = MLPMapping(2**6)
            made: nn.Module = CircuitGenerator(
                circuit, StatevectorEngine(), mapping, n_weights=plain.n_weights
            )
        else:
            made = {
                "model": model_of,
                "copy": lambda: copy.deepcopy(plain),
                "load": lambda: QuantumTrain.load(path, net()),
                "export": plain.export,
                "with_generator": lambda: plain.with_generator(plain.generator),
            }[how]()
    if isinstance(made, CircuitGenerator):
        made().sum().backward()
        return QuantumTrain(net(), made)
    return made


@pytest.mark.parametrize("how", ["model", "copy", "load", "export", "with_generator", "generator"])
def test_what_is_built_in_inference_mode_can_be_trained(how: str, tmp_path: Path) -> None:
    inside, outside = (built(how, tmp_path / "model", inside) for inside in (True, False))
    for model in (inside, outside):
        model.zero_grad()
        model(X).sum().backward()
    assert torch.equal(inside(X), outside(X))
    assert not any(tensor.is_inference() for tensor in inside.state_dict().values())
    for mine, others in zip(inside.parameters(), outside.parameters(), strict=True):
        assert torch.equal(mine.grad, others.grad)


def test_a_target_built_in_inference_mode() -> None:
    with torch.inference_mode():
        target = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    model = QuantumTrain(target, circuit=ansatz.ry_cx_chain(4, 1), generated="0.*")
    model(X).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert int(model.target[1].num_batches_tracked) == 1


# --- moves that forget values -------------------------------------------------------------------

LOST = r"^`model` must be %s; got %s\. What is fixed in it is in no state dict: build it anew on"


@pytest.mark.parametrize("inside", [False, True])
def test_a_model_that_would_lose_its_values_is_not_moved(inside: bool) -> None:
    model = moved(model_of())
    expected = model(X).detach()
    whole = nn.Sequential(model) if inside else model
    for _ in range(3):  # freed memory may hold the values of the time before
        lost = LOST % ("moved with the values of its tensors", "a move that forgets them")
        with pytest.raises(ValueError, match=lost):
            whole.to_empty(device="cpu")
    assert torch.equal(model(X), expected)
    for move in (nn.Module.double, nn.Module.half, nn.Module.bfloat16, nn.Module.float):
        move(whole)
    assert next(whole.to("cpu", torch.float64).parameters()).dtype == torch.float64


def test_a_model_on_the_meta_device_is_a_skeleton(tmp_path: Path) -> None:
    """As in torch's own recipe for ensembles; alone it says what it lacks."""
    model = moved(model_of()).eval()
    expected = model(X).detach()
    skeleton = copy.deepcopy(model).to("meta")
    stacked, buffers = torch.func.stack_module_state([model, model])
    with torch.no_grad():
        for number in range(2):
            own = tuple({name: t[number] for name, t in d.items()} for d in (stacked, buffers))
            assert torch.equal(torch.func.functional_call(skeleton, own, (X,)), expected)
        on_meta = LOST % ("on a device that holds values", "meta")
        with pytest.raises(ValueError, match=on_meta):
            skeleton(X)
    for call in (
        lambda: skeleton.save(tmp_path / "model"),
        lambda: skeleton.to("cpu"),
        lambda: skeleton.double(),
    ):
        with pytest.raises(ValueError, match=on_meta):
            call()
    for call in (lambda: skeleton(X), skeleton.export):
        with pytest.raises(ValueError, match=r"^`angles` must be on a device that holds values; g"):
            call()


def test_generators_and_angles_on_the_meta_device() -> None:
    generator = copy.deepcopy(model_of().generator).to("meta")
    with pytest.raises(ValueError, match=r"^`angles` must be on a device that holds values; got m"):
        generator()
    with pytest.raises(ValueError, match=r"^`generator` must be on a device that holds values; g"):
        QuantumTrain(net(), generator)
    target = net()
    with torch.device("meta"):
        model = QuantumTrain(target, circuit=ansatz.ry_cx_chain(6, 2))
    assert torch.equal(model(X), model_of()(X))


def test_ensembles_by_stack_module_state() -> None:
    models = [moved(model_of(seed=2)), model_of(seed=2)]
    expected = torch.stack([m.eval()(X) for m in models]).detach()
    parameters = [dict(m.named_parameters()) for m in models]
    with torch.no_grad():
        found = [torch.func.functional_call(models[1], own, (X,)) for own in parameters]
    assert torch.equal(torch.stack(found), expected)
