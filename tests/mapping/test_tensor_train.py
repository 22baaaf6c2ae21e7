"""What only the tensor-train mapping promises: its value, its start, its memory."""

import json
from typing import Any

import numpy as np
import pytest
import tensornetwork as tn
import tolerances
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from qtn_train.circuits import ansatz
from qtn_train.engines import Engine, MPSEngine, StatevectorEngine
from qtn_train.generators import CircuitGenerator
from qtn_train.mapping import MappingModel, TensorTrainMapping


def standardized(count: int, seed: int = 0) -> np.ndarray:
    """Values of mean 0 and variance 1."""
    return np.random.default_rng(seed).normal(size=count)


def arrays(mapping: TensorTrainMapping) -> list[np.ndarray]:
    return [core.detach().double().numpy().copy() for core in mapping.cores]


def naive(cores: list[np.ndarray], start: int, values: np.ndarray) -> np.ndarray:
    """The definition: a product of matrices for each value, one value after the other."""
    n_bits, weights = len(cores), []
    for number, value in enumerate(values.tolist(), start):
        vector = np.ones(1)
        for core, bit in zip(cores, format(number, f"0{n_bits}b"), strict=True):
            vector = np.tensordot(vector, core[:, int(bit)], 1)
        weights.append(np.array([1, value]) @ vector)
    return np.array(weights)


# Values


@given(
    n_bits=st.sampled_from([1, 2, 3, 4, 7, 40]),
    bond_dim=st.sampled_from([1, 2, 3, 9]),
    per_outcome=st.integers(1, 3),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_against_the_definition(
    n_bits: int, bond_dim: int, per_outcome: int, ends: tuple[float, float]
) -> None:
    mapping = TensorTrainMapping(2**n_bits, bond_dim, weights_per_outcome=per_outcome, seed=1)
    count = 1 + int(ends[0] * (min(2**n_bits, 70) - 1))
    start = int(ends[1] * (2**n_bits - count))
    values = standardized(count)
    expected = naive(arrays(mapping), start, values)
    found = mapping.double()(start, torch.from_numpy(values))
    assert found.shape == (count, per_outcome)
    assert np.abs(found.detach().numpy() - expected).max() < tolerances.DOUBLE
    single = mapping.float()(start, torch.from_numpy(values).float())
    assert single.dtype == torch.float32
    assert np.abs(single.detach().numpy() - expected).max() < 5 * tolerances.SINGLE


@pytest.mark.parametrize("start", [0, 2**39, 2**39 - 500, 2**40 - 1000])
def test_a_range_of_many_bits(start: int) -> None:
    mapping = TensorTrainMapping(2**40, 4).double()
    values = standardized(1000)
    with _Sizes() as sizes:
        found = mapping(start, torch.from_numpy(values))
    assert found.shape == (1000, 1)
    for i in (0, 1, 498, 499, 500, 501, 998, 999):
        expected = naive(arrays(mapping), start + i, values[i : i + 1])
        assert np.abs(found[i].detach().numpy() - expected[0]).max() < tolerances.DOUBLE
    assert sizes.largest <= 1100


class _Sizes(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation gives."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.largest = max(self.largest, out.numel())
        return out


def test_chunks_of_many_bits_give_the_same_weights() -> None:
    mapping = TensorTrainMapping(2**30, 6, weights_per_outcome=2).double()
    values = torch.from_numpy(standardized(1000))
    start = 3 * 2**28 - 300
    whole = mapping(start, values)
    for size in (31, 128, 999):
        parts = [mapping(start + i, values[i : i + size]) for i in range(0, 1000, size)]
        torch.testing.assert_close(torch.cat(parts), whole, atol=tolerances.DOUBLE, rtol=0)


@pytest.mark.parametrize(("n_bits", "start"), [(1, 0), (3, 1), (40, 2**39 - 3)])
def test_gradient_of_the_definition(n_bits: int, start: int) -> None:
    mapping = TensorTrainMapping(2**n_bits, 3, seed=2).double()
    count = min(7, 2**n_bits - start)
    values = torch.from_numpy(standardized(count)).requires_grad_()
    factors = np.random.default_rng(1).normal(size=count)
    loss = torch.from_numpy(factors) @ mapping(start, values)[:, 0]
    grads = torch.autograd.grad(loss, [values, *mapping.cores])
    variables = [values.detach().numpy().copy(), *arrays(mapping)]

    def value() -> float:
        return float(factors @ naive(variables[1:], start, variables[0])[:, 0])

    for grad, variable in zip(grads, variables, strict=True):
        flat = variable.reshape(-1)
        for i in {0, flat.size // 2, flat.size - 1}:
            kept, ends = flat[i], []
            for step in (tolerances.STEP, -tolerances.STEP):
                flat[i] = kept + step
                ends.append(value())
            flat[i] = kept
            difference = (ends[0] - ends[1]) / (2 * tolerances.STEP)
            assert abs(float(grad.reshape(-1)[i]) - difference) < tolerances.FINITE_DIFFERENCE


# The start


@pytest.mark.parametrize("bond_dim", [1, 2, 4, 16])
@pytest.mark.parametrize("n_bits", [2, 4, 8, 16, 32, 40])
def test_weights_and_gradients_keep_their_scale(n_bits: int, bond_dim: int) -> None:
    rng = np.random.default_rng(n_bits)
    squares, norms = [], []
    for seed in range(4):
        mapping = TensorTrainMapping(2**n_bits, bond_dim, seed=seed)
        weights = []
        for part in range(6):
            count = min(2**n_bits, 1000)
            start = int(rng.integers(0, 2**n_bits - count + 1))
            values = torch.from_numpy(standardized(count, 6 * seed + part))
            weights.append(mapping(start, values.float())[:, 0])
        out = torch.cat(weights)
        squares.append(out.detach().square().mean().item())
        signs = torch.from_numpy(rng.choice([-1.0, 1.0], size=len(out))).float()
        grads = torch.autograd.grad(signs @ out / len(out) ** 0.5, list(mapping.cores))
        norms += [float(grad.norm()) for grad in grads]
        if n_bits >= 8:
            assert 0.85 < float(out.detach().std()) < 1.15
    assert 0.75 < np.mean(squares) ** 0.5 < 1.25
    assert min(norms) > 0.02
    assert max(norms) < 8


@pytest.mark.parametrize(("n_bits", "bond_dim", "per_outcome"), [(6, 4, 1), (9, 8, 3), (5, 64, 2)])
def test_every_bit_selects_an_isometry(n_bits: int, bond_dim: int, per_outcome: int) -> None:
    mapping = TensorTrainMapping(2**n_bits, bond_dim, weights_per_outcome=per_outcome).double()
    for core in mapping.cores:
        matrices = core.detach().reshape(core.shape[0], 2, -1)
        left, _, right = matrices.shape
        scale = max(right / left, 1) * (0.5 if core.ndim == 4 else 1)
        for bit in range(2):
            matrix = matrices[:, bit]
            product = matrix @ matrix.T if left < right else matrix.T @ matrix
            expected = scale * torch.eye(min(left, right), dtype=torch.float64)
            torch.testing.assert_close(product, expected, atol=tolerances.SINGLE, rtol=0)
        assert left == right == 1 or not torch.equal(matrices[:, 0], matrices[:, 1])


@pytest.mark.parametrize("per_outcome", [1, 3])
@pytest.mark.parametrize("bond_dim", [1, 3, 4, 100])
@pytest.mark.parametrize("n_bits", [1, 2, 5, 13])
def test_number_of_parameters(n_bits: int, bond_dim: int, per_outcome: int) -> None:
    mapping = TensorTrainMapping(2**n_bits, bond_dim, weights_per_outcome=per_outcome)
    ends = 2 * per_outcome
    bonds = [min(bond_dim, 2**i, ends * 2 ** (n_bits - i)) for i in range(n_bits)] + [ends]
    expected = sum(2 * bonds[i] * bonds[i + 1] for i in range(n_bits))
    assert sum(p.numel() for p in mapping.parameters()) == expected
    assert bonds[0] == 1
    assert mapping.cores[-1].shape == (bonds[-2], 2, 2, per_outcome)
    assert [core.shape[2] for core in list(mapping.cores)[:-1]] == bonds[1:-1]


def test_first_parameters_are_the_same_in_every_version() -> None:
    first, *_, last = TensorTrainMapping(2**5, 3, seed=0).cores
    expected = [1.031489968, 0.967485607, 0.834122360, 1.142033219]
    assert first.flatten().tolist() == pytest.approx(expected, abs=tolerances.LITERAL)
    expected = [0.321856290, -0.610571265, -0.227330133, -0.302858561]
    assert last.flatten()[:4].tolist() == pytest.approx(expected, abs=tolerances.LITERAL)


def test_seeds_and_configuration() -> None:
    mapping = TensorTrainMapping(2**7, 5, weights_per_outcome=2, seed=11)
    config = json.loads(json.dumps(mapping.config()))
    assert config == {
        "kind": "tensor-train",
        "n_values": 128,
        "bond_dim": 5,
        "weights_per_outcome": 2,
        "seed": 11,
    }
    twin = MappingModel.from_config(config)
    assert isinstance(twin, TensorTrainMapping)
    for name, value in mapping.state_dict().items():
        assert torch.equal(twin.state_dict()[name], value)
    other = MappingModel.from_config(config | {"seed": 12})
    for name, value in mapping.state_dict().items():
        assert not torch.equal(other.state_dict()[name], value)


# Where it runs


def test_the_default_backend_of_tensornetwork_stays() -> None:
    TensorTrainMapping(2**4)(0, torch.full((16,), 1 / 16))
    assert tn.Node(np.eye(2)).backend.name == "numpy"


@pytest.mark.parametrize("start", [0, 3])
def test_all_tensors_live_on_the_device_of_the_parameters(start: int) -> None:
    mapping = TensorTrainMapping(2**6).to("meta")
    weights = mapping(start, torch.empty(60, device="meta"))
    assert weights.device.type == "meta"
    assert weights.shape == (60, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda() -> None:
    mapping = TensorTrainMapping(2**9, seed=1).double()
    values = torch.from_numpy(standardized(300))
    expected = mapping(100, values)
    found = mapping.cuda()(100, values.cuda())
    torch.testing.assert_close(found.cpu(), expected, atol=tolerances.DOUBLE, rtol=0)


@pytest.mark.parametrize("engine", [StatevectorEngine(), MPSEngine(8)], ids=["statevector", "mps"])
def test_training_inside_a_generator(engine: Engine) -> None:
    circuit = ansatz.ry_cx_chain(6, 2)
    generator = CircuitGenerator(
        circuit, engine, TensorTrainMapping(2**6), n_weights=50, chunk_size=16
    )
    target = torch.from_numpy(np.random.default_rng(0).normal(size=50)).float()
    optimizer = torch.optim.Adam(generator.parameters(), lr=0.05)
    losses = []
    for _ in range(25):
        loss = nn.functional.mse_loss(generator(), target)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        for parameter in generator.parameters():
            assert parameter.grad is not None
            assert torch.isfinite(parameter.grad).all()
            assert float(parameter.grad.abs().max()) > 1e-6
    assert losses[-1] < losses[0] / 2


def test_chunks_of_a_generator_give_the_same_gradients() -> None:
    circuit = ansatz.u3_cu3_chain(6, 2)
    results = []
    for chunk_size in (4, 64):
        generator = CircuitGenerator(
            circuit,
            StatevectorEngine(),
            TensorTrainMapping(2**6, weights_per_outcome=2),
            n_weights=101,
            chunk_size=chunk_size,
        ).in_double()
        weights = generator()
        loss = weights @ torch.linspace(-1, 1, 101, dtype=torch.float64)
        results.append((weights, *torch.autograd.grad(loss, list(generator.parameters()))))
    for small, large in zip(*results, strict=True):
        torch.testing.assert_close(small, large, atol=100 * tolerances.DOUBLE, rtol=0)


# Messages


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_values": 0}, ValueError, "`n_values` must be a positive integer; got 0."),
        ({"n_values": 2.0}, TypeError, "`n_values` must be a positive integer; got 2.0."),
        ({"bond_dim": 0}, ValueError, "`bond_dim` must be a positive integer; got 0."),
        ({"bond_dim": 4.5}, TypeError, "`bond_dim` must be a positive integer; got 4.5."),
        ({"bond_dim": True}, TypeError, "`bond_dim` must be a positive integer; got True."),
        (
            {"weights_per_outcome": 0},
            ValueError,
            "`weights_per_outcome` must be a positive integer; got 0.",
        ),
    ],
)
def test_messages(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TensorTrainMapping(**({"n_values": 16} | options))


@pytest.mark.parametrize(("start", "count"), [(-1, 2), (15, 2), (3, 0)])
def test_message_of_a_range(start: int, count: int) -> None:
    with pytest.raises(
        ValueError, match="`start, stop` must be 0 <= start < stop <= n_values = 16"
    ):
        TensorTrainMapping(2**4)(start, torch.full((count,), 0.1))
