"""Controls: what each of them is, of equal size, under one start, scale and shuffle."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
import torch
from torch import Tensor, nn

from qtn_train import Layout, QuantumTrain
from qtn_train._random import raw_bits
from qtn_train.circuits import ansatz
from qtn_train.engines import SampledEngine, StatevectorEngine
from qtn_train.generators import (
    CONTROLS,
    CircuitGenerator,
    ClassicalGenerator,
    FixedProbabilities,
    HashedWeights,
    IsometricHashing,
    LowRank,
    MagnitudePruning,
    MappingNetwork,
    Mcnc,
    OuterProduct,
    RandomSubspace,
    TensorCircuit,
    TensorTrainWeights,
    WeightGenerator,
    _controls,
    _nonlinear_controls,
    control,
    unentangled_circuit,
    widened_mapping,
)
from qtn_train.mapping import MappingModel, MLPMapping, TensorTrainMapping
from qtn_train.measurements._probabilities import FLOOR, MEAN, STD

CLASSICAL: list[type[ClassicalGenerator]] = [
    RandomSubspace,
    HashedWeights,
    MagnitudePruning,
    LowRank,
    TensorTrainWeights,
    IsometricHashing,
    OuterProduct,
    TensorCircuit,
    Mcnc,
    MappingNetwork,
]
every_classical = pytest.mark.parametrize("kind", CLASSICAL, ids=[kind.kind for kind in CLASSICAL])
SIZES = [(1, 1), (2, 1), (3, 3), (17, 5), (64, 64), (100, 1), (257, 120)]


def like(seed: int = 0, **options: Any) -> CircuitGenerator:
    """A generator of 200 weights from 48 angles and 87 numbers of a mapping."""
    mapping = MLPMapping(2**8, hidden=(4, 6, 2), seed=seed)
    circuit = ansatz.u3_cu3_ring(8, 1)
    return CircuitGenerator(
        circuit, StatevectorEngine(), mapping, n_weights=200, seed=seed, **options
    )


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def cotangent(weights: Tensor) -> Tensor:
    return torch.cos(torch.arange(len(weights), dtype=weights.dtype))


# All of them


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_have_the_size_of_the_circuit(name: str) -> None:
    expected = {"frozen": 87, "fixed-random": 87, "direct": 200}.get(name, 135)
    made = control(name, like())
    assert made.n_weights == 200
    assert count(made) == expected
    roles = {role for role, parameters in made.parts().items() if parameters}
    if name == "product":
        assert roles == {"angles", "mapping"}
    else:
        assert roles == {"mapping"} if isinstance(made, FixedProbabilities) else {"other"}


@pytest.mark.parametrize("name", CONTROLS)
def test_gradients_by_finite_differences(name: str) -> None:
    generator = control(name, like()).in_double()
    weights = generator()
    weights.backward(cotangent(weights))
    for parameter in generator.parameters():
        assert parameter.grad is not None
        flat, grad = parameter.data.view(-1), parameter.grad.view(-1)
        for index in {0, len(flat) // 2, len(flat) - 1}:
            values = []
            for step in (tolerances.STEP, -2 * tolerances.STEP):
                flat[index] += step
                weights = generator().detach()
                values.append(float(weights @ cotangent(weights)))
            flat[index] += tolerances.STEP
            slope = (values[0] - values[1]) / (2 * tolerances.STEP)
            assert float(grad[index]) == pytest.approx(slope, abs=tolerances.FINITE_DIFFERENCE)


@every_classical
@pytest.mark.parametrize(("n_weights", "n_trainable"), SIZES)
def test_the_count_is_exact_at_any_size(
    kind: Callable[..., ClassicalGenerator], n_weights: int, n_trainable: int
) -> None:
    generator = kind(n_weights, n_trainable, 5)
    assert generator().shape == (n_weights,)
    assert count(generator) == n_trainable
    assert not generator.state_dict().keys() - {"numbers"}, "what is fixed is not stored"


@every_classical
def test_weights_start_with_mean_square_1(kind: Callable[..., ClassicalGenerator]) -> None:
    weights = kind(6690, 1497, 1)().detach()
    expected = 1497 / 6690 if kind is MagnitudePruning else 1
    assert float(weights.square().mean()) == pytest.approx(
        expected, rel=tolerances.of_draws(6690, 2**0.5)
    )
    assert abs(float(weights.mean())) < 0.1


@every_classical
def test_weights_are_of_full_rank(kind: Callable[..., ClassicalGenerator]) -> None:
    """Two of them less what their form leaves free: invertible matrices between the factors."""
    generator = kind(200, 60, 0).in_double()
    jacobian = torch.autograd.functional.jacobian(
        lambda z: torch.func.functional_call(generator, {"numbers": z}), generator.numbers.detach()
    )
    rank = int(torch.linalg.matrix_rank(jacobian))
    if isinstance(generator, LowRank):
        assert generator.rank == 3
        assert 60 - 3**2 <= rank <= 60
    elif isinstance(generator, TensorTrainWeights):
        inner = sum(bond**2 for bond in generator.bonds[1:-1])
        assert 60 - inner <= rank < 60
    elif isinstance(generator, OuterProduct):
        assert generator.rank == 1
        # Scales between the factors, and numbers of pairs beyond the last weight.
        assert 60 - 3 - 8 <= rank <= 60 - 2
    elif isinstance(generator, TensorCircuit):
        assert generator.n_gates == 4
        assert 60 - 3 * 4 <= rank < 60
    else:
        assert rank == 60


@pytest.mark.parametrize("name", [name for name in CONTROLS if name != "product"])
def test_nothing_stays_on_the_cpu(name: str) -> None:
    generator = control(name, like()).to("meta")
    weights = generator()
    assert weights.device.type == "meta"
    weights.sum().backward()
    assert all(p.grad is not None and p.grad.is_meta for p in generator.parameters())


def test_a_projection_that_is_not_kept_is_made_where_the_numbers_are() -> None:
    generator = RandomSubspace(200, 60, max_bytes=0).to("meta")
    generator().sum().backward()
    assert generator.numbers.grad is not None
    assert generator.numbers.grad.is_meta


@every_classical
def test_messages_of_sizes(kind: Callable[..., ClassicalGenerator]) -> None:
    with pytest.raises(ValueError, match=r"^`n_trainable` must be at most 5, the .*; got 6\.$"):
        kind(5, 6)
    with pytest.raises(ValueError, match=r"^`n_trainable` must be a positive integer; got 0\.$"):
        kind(5, 0)
    with pytest.raises(TypeError, match=r"^`n_weights` must be a positive integer; got 5\.0\.$"):
        kind(5.0, 5)


# Each of them


def test_the_projection_is_made_of_the_bits_of_the_stream() -> None:
    generator = RandomSubspace(130, 7, seed=3)
    words = raw_bits(3, "control/projection", -(-130 * 7 // 64))
    bits = [(int(word) >> place) & 1 for word in words for place in range(64)]
    signs = 2.0 * np.array(bits[: 130 * 7]).reshape(130, 7) - 1
    expected = signs @ generator.numbers.detach().numpy() / math.sqrt(7)
    np.testing.assert_allclose(generator().detach(), expected, rtol=0, atol=tolerances.SINGLE)
    assert abs(signs.mean()) < 0.1


@pytest.mark.parametrize("block", [1, 500, 2**22])
def test_a_projection_made_in_blocks_gives_the_same_bits(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_controls, "_BLOCK", block)
    results = []
    for max_bytes in (_controls.KEPT_BYTES, 0):
        generator = RandomSubspace(1000, 37, 1, max_bytes=max_bytes)
        assert (generator._kept is None) == (max_bytes == 0)
        weights = generator()
        weights.backward(cotangent(weights))
        assert generator.numbers.grad is not None
        results.append((weights.detach(), generator.numbers.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("block", [1, 500])
def test_the_projection_does_not_depend_on_its_blocks(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = RandomSubspace(1000, 37, 1).in_double()()
    monkeypatch.setattr(_controls, "_BLOCK", block)
    parts = RandomSubspace(1000, 37, 1, max_bytes=0).in_double()()
    torch.testing.assert_close(parts, whole, atol=tolerances.DOUBLE, rtol=0)


def test_a_large_projection_is_never_whole() -> None:
    generator = RandomSubspace(100_000, 1000, max_bytes=2**20)
    rows = [len(block) for block in generator._blocks(generator.numbers)]
    assert sum(rows) == 100_000
    assert max(rows) * 1000 <= _controls._BLOCK
    assert all(n % 64 == 0 for n in rows[:-1])


def test_message_of_max_bytes() -> None:
    with pytest.raises(ValueError, match=r"^`max_bytes` must be at least 0; got -1\.$"):
        RandomSubspace(5, 5, max_bytes=-1)


@pytest.mark.parametrize("n_trainable", [1, 7, 64, 100])
def test_the_hash_is_balanced(n_trainable: int) -> None:
    generator = HashedWeights(100, n_trainable)
    served = torch.bincount(generator._index, minlength=n_trainable)
    assert served.max() - served.min() <= 1
    assert set(generator._signs.tolist()) == {-1.0, 1.0}


def test_low_rank_is_of_low_rank() -> None:
    generator = LowRank(6690, 1497).in_double()
    weights = torch.cat([generator().detach(), torch.zeros(82 * 82 - 6690, dtype=torch.float64)])
    # The end of the last row is cut off, which may raise the rank by one.
    assert 10 <= int(torch.linalg.matrix_rank(weights.view(82, 82))) <= 11


def test_the_tensor_train_is_the_product_of_its_matrices() -> None:
    generator = TensorTrainWeights(1000, 300, 2)
    values = torch.cat([generator.numbers, generator._fixed]).detach()
    sizes = [math.prod(generator._shapes[i]) for i in generator._order]
    pieces = dict(zip(generator._order, values.split(sizes), strict=True))
    weights = generator().detach()
    for k in (0, 1, 517, 999):
        row = torch.ones(1)
        for i in range(10):
            core = pieces[i].view(generator._shapes[i])
            row = row @ core[:, (k >> (9 - i)) & 1]
        assert float(weights[k]) == pytest.approx(float(row), abs=tolerances.SINGLE)


@pytest.mark.parametrize(("n_bits", "n_trainable"), [(1, 1), (5, 10), (13, 1497), (19, 19287)])
def test_bonds(n_bits: int, n_trainable: int) -> None:
    bonds = _controls._bonds(n_bits, n_trainable)
    assert len(bonds) == n_bits + 1
    assert all(bonds[i] <= min(2**i, 2 ** (n_bits - i)) for i in range(n_bits + 1))
    made = 2 * sum(bonds[i] * bonds[i + 1] for i in range(n_bits))
    assert n_trainable <= made
    assert made - n_trainable < max(2 * n_bits, 4 * (max(bonds) + 1))


def test_isometric_hashing_keeps_lengths() -> None:
    generator = IsometricHashing(1000, 300, 1).in_double()
    served = torch.bincount(generator._index, minlength=300)
    assert int(served.min()) == 1
    assert int(served.max()) > 4, "not balanced"
    length = generator().detach().square().sum() / generator.numbers.detach().square().sum()
    assert float(length) == pytest.approx(1000 / 300, abs=tolerances.SINGLE)


def test_outer_products_are_sums_of_products_over_pairs() -> None:
    generator = OuterProduct(60, 31, 2)
    assert (generator.n_sites, generator.rank) == (7, 1)
    a, b = torch.cat([generator.numbers, generator._fixed]).detach().view(2, 3, 6)
    weights = generator().detach()
    pairs = [(p, i, j) for p in range(3) for i in range(7) for j in range(i + 1, 7)]
    for k, (letter, i, j) in enumerate(pairs[:60]):
        assert float(weights[k]) == pytest.approx(float(a[letter, i] * b[letter, j - 1]))


def test_the_tensor_circuit_is_its_gates_on_neighbors() -> None:
    generator = TensorCircuit(120, 16 * 9 - 30, 1).in_double()
    gates = torch.cat([generator.numbers, generator._fixed]).detach().view(-1, 2, 2, 2, 2)
    assert len(gates) == 8
    state = generator._vector.view([2] * 7)
    for number, gate in enumerate(gates):
        first, second = (5 - number) % 7, (6 - number) % 7
        state = torch.tensordot(state, gate, dims=([first, second], [0, 1]))
        state = torch.movedim(state, (5, 6), (first, second))
    # The axes have been turned by one with each gate.
    turned = state.permute([(k - 8) % 7 for k in range(7)]).reshape(-1)[:120]
    torch.testing.assert_close(generator().detach(), turned, atol=tolerances.DOUBLE, rtol=0)


def test_gates_start_orthogonal() -> None:
    generator = TensorCircuit(100, 64).in_double()
    gates = generator.numbers.detach().view(4, 4, 4)
    products = gates @ gates.mT
    torch.testing.assert_close(
        products, torch.eye(4).double().expand(4, 4, 4), atol=tolerances.SINGLE, rtol=0
    )


def test_chunks_share_one_frozen_network() -> None:
    generator = Mcnc(270, 27, 3)
    with torch.no_grad():
        generator.numbers[9:18] = generator.numbers[:9]
        generator.numbers[18] = 0
    first, second, third = generator().detach().view(3, 90)
    torch.testing.assert_close(first, second, atol=tolerances.SINGLE, rtol=0)
    assert not third.any(), "an amplitude of 0"


def test_columns_of_the_mapping_network_are_orthogonal() -> None:
    generator = MappingNetwork(256, 40, 1).in_double()
    slopes = torch.autograd.functional.jacobian(
        lambda z: torch.func.functional_call(generator, {"numbers": z}), torch.zeros(40).double()
    )
    bias = generator._bias
    plain = slopes / (1 - torch.tanh(bias).square())[:, None]
    gram = plain.T @ plain
    expected = torch.eye(40).double() * gram[0, 0]
    torch.testing.assert_close(gram, expected, atol=tolerances.SINGLE, rtol=0)


def test_the_constant_of_the_mapping_network_is_its_mean_square() -> None:
    grid = torch.linspace(-math.sqrt(3), math.sqrt(3), 4001).double()
    normal = torch.linspace(-8, 8, 4001).double()
    density = torch.exp(-normal.square() / 2)
    density /= density.sum()
    shift = _nonlinear_controls._MODULATION
    table = torch.tanh(normal[:, None] + grid[None, ::40] + shift).square()
    mean = float((density[:, None] * table).sum(0).mean())
    assert mean == pytest.approx(_nonlinear_controls._TANH_SQUARE, abs=tolerances.THREE_DIGITS)


# Pruning, and what a generator is told of the start


class Told(WeightGenerator):
    """Keeps what it is told."""

    def __init__(self, n_weights: int) -> None:
        super().__init__()
        self.n_weights = n_weights
        self.numbers = nn.Parameter(torch.zeros(n_weights))
        self.start = torch.empty(0)

    def start_at(self, start: Tensor) -> None:
        self.start = start

    def forward(self) -> Tensor:
        return self.numbers

    def config(self) -> dict[str, Any]:
        return {"kind": "told"}


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_start_is_told_in_the_order_and_units_of_the_generator(shuffle: bool) -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    generator = Told(sum(p.numel() for p in net.parameters()))
    model = QuantumTrain(net, generator, seed=1, layout=Layout(shuffle=shuffle, center=False))
    start = {name: value.detach() for name, value in model.generate().items()}
    with torch.no_grad():
        generator.numbers.copy_(-generator.start)
    for name, value in model.generate().items():
        torch.testing.assert_close(
            value, torch.zeros_like(value), atol=tolerances.SINGLE, rtol=0, msg=name
        )
        assert start[name].abs().max() > 0 or name == "1.bias"


def test_pruning_trains_the_weights_that_start_largest() -> None:
    net = nn.Sequential(nn.Linear(9, 20), nn.Linear(20, 4))
    model = QuantumTrain(net, MagnitudePruning(284, 71), seed=0)
    start = {name: value.detach().clone() for name, value in model.generate().items()}
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.add_(1)
    share = []
    for name, fan_in in (("0.weight", 9), ("1.weight", 20)):
        moved = model.generate()[name].detach() != start[name]
        relative = start[name].abs() * math.sqrt(fan_in)
        assert float(relative[moved].min()) > float(relative[~moved].max())
        share.append(float(moved.float().mean()))
    assert share == pytest.approx([0.25, 0.25], abs=tolerances.SHARE_OF_A_LAYER), (
        "about the same in every layer"
    )


def test_pruning_without_a_start_goes_by_its_seed() -> None:
    zeros = Layout(start="zeros", shuffle=False)
    net = nn.Linear(9, 20)
    before = MagnitudePruning(200, 50, 4)._positions
    model = QuantumTrain(net, MagnitudePruning(200, 50, 4), layout=zeros)
    assert isinstance(model.generator, MagnitudePruning)
    assert torch.equal(model.generator._positions, before)
    assert not torch.equal(MagnitudePruning(200, 50, 5)._positions, before)


# Controls with a part of the circuit


def test_frozen_begins_as_the_circuit_does() -> None:
    circuit = like(3)
    frozen = control("frozen", circuit)
    torch.testing.assert_close(frozen(), circuit(), atol=tolerances.SINGLE, rtol=0)
    with torch.no_grad():
        circuit.angles.add_(1)
        next(circuit.mapping.parameters()).add_(1)
    torch.testing.assert_close(control("frozen", circuit)(), frozen(), atol=0, rtol=0)


def test_frozen_spends_no_shot() -> None:
    engine = SampledEngine(StatevectorEngine(), 100, seed=0)
    shots = CircuitGenerator(
        ansatz.u3_cu3_ring(8, 1), engine, MLPMapping(2**8, (4, 6, 2)), n_weights=200
    )
    torch.testing.assert_close(control("frozen", shots)(), control("frozen", like())())


def test_fixed_random_probabilities_are_those_of_a_random_state() -> None:
    n_qubits = 12
    fixed = FixedProbabilities(
        ansatz.ry_cx_chain(n_qubits, 1),
        "auto",
        MLPMapping(2**n_qubits),
        probs="porter-thomas",
        n_weights=2**n_qubits,
    )
    z = (fixed._values.double() * STD + MEAN) ** 2 - FLOOR
    assert float(z.min()) > -1e-6
    for power in (1, 2, 3):
        expected = math.factorial(power)
        assert float((z**power).mean()) == pytest.approx(
            expected, rel=tolerances.of_draws(2**n_qubits, (math.comb(2 * power, power) - 1) ** 0.5)
        )
    assert float((z > 1).double().mean()) == pytest.approx(
        math.exp(-1), abs=tolerances.of_draws(2**n_qubits, 0.5)
    )


def test_the_bits_of_the_outcome_still_tell() -> None:
    fixed = control("fixed-random", like())
    assert isinstance(fixed, FixedProbabilities)
    with torch.no_grad():
        fixed._values.fill_(0.2)
    assert float(fixed().detach().std()) > 0.05


def test_message_of_probs() -> None:
    options: Any = {"probs": "uniform", "n_weights": 11}
    with pytest.raises(ValueError, match=r"^`probs` must be 'circuit' or 'porter-thomas'; got 'un"):
        FixedProbabilities(ansatz.ry_cx_chain(4, 1), "auto", MLPMapping(2**4), **options)


@pytest.mark.parametrize(("n_qubits", "n_angles"), [(1, 1), (3, 5), (4, 24), (5, 33), (13, 1248)])
def test_the_unentangled_circuit_is_a_product(n_qubits: int, n_angles: int) -> None:
    circuit = unentangled_circuit(n_qubits, n_angles)
    assert (circuit.n_qubits, circuit.n_angles) == (n_qubits, n_angles)
    angles = torch.linspace(-3, 3, n_angles, dtype=torch.float64)
    state = StatevectorEngine(dtype="complex128").prepare(circuit, angles)
    probs = state.probs(0, 2**n_qubits).view((2,) * n_qubits)
    product = torch.ones(1, dtype=torch.float64)
    for qubit in range(n_qubits):
        others = [i for i in range(n_qubits) if i != qubit]
        one = probs.sum(others) if others else probs
        product = (product[:, None] * one).reshape(-1)
    torch.testing.assert_close(probs.reshape(-1), product, atol=tolerances.DOUBLE, rtol=0)


def test_of_a_product_state_one_number_a_qubit_is_effective() -> None:
    circuit = ansatz.ry_cx_chain(4, 5)
    entangled = CircuitGenerator(circuit, StatevectorEngine(), MLPMapping(2**4, (2,)), n_weights=16)
    model = QuantumTrain(nn.Linear(3, 4), entangled)
    product = model.with_generator(control("product", entangled))
    assert product.n_trainable_by_part == model.n_trainable_by_part
    assert product.n_trainable_by_part["angles"] == 20
    assert product.effective_parameters()["angles"] == 4
    assert model.effective_parameters()["angles"] > 8


@pytest.mark.parametrize("n_trainable", [60, 149, 249, 639, 669, 1497, 5000])
def test_a_widened_mapping_has_the_size_asked_for(n_trainable: int) -> None:
    mapping = widened_mapping(MLPMapping(2**13, (4, 20, 4), None, published=True), n_trainable)
    assert isinstance(mapping, MLPMapping)
    assert count(mapping) == n_trainable
    assert mapping.activation is None
    assert mapping.published


@pytest.mark.parametrize("hidden", [(), (7,), (4, 4), (3, 3, 3, 3)])
def test_a_widened_mapping_of_any_depth_is_not_larger_than_asked_for(hidden: tuple[int]) -> None:
    wide = widened_mapping(MLPMapping(2**13, hidden), 500)
    assert isinstance(wide, MLPMapping)
    assert len(wide.hidden) == len(hidden)
    assert count(wide) <= 500
    assert count(wide) > 440 or not hidden


def test_a_widened_tensor_train_is_the_largest_that_fits() -> None:
    wide = widened_mapping(TensorTrainMapping(2**13, 2), 1497)
    assert isinstance(wide, TensorTrainMapping)
    larger = TensorTrainMapping(2**13, wide.bond_dim + 1)
    assert 800 < count(wide) <= 1497 < count(larger)
    saturated = widened_mapping(TensorTrainMapping(2**3, 2), 10_000)
    assert count(saturated) == count(TensorTrainMapping(2**3, 1000))


class Constant(MappingModel):
    """Somebody's own mapping."""

    def forward(self, start: int, probs: Tensor) -> Tensor:
        return probs[:, None]

    def config(self) -> dict[str, Any]:
        return {"kind": "constant"}


def test_messages_of_widened_mappings() -> None:
    with pytest.raises(ValueError, match=r"`n_trainable` must be at least 21 for this mapping; go"):
        widened_mapping(MLPMapping(2**13, (4, 20, 4)), 20)
    with pytest.raises(ValueError, match=r"`n_trainable` must be at least 28 for this mapping; go"):
        widened_mapping(TensorTrainMapping(2**13), 20)
    with pytest.raises(
        TypeError, match="`mapping` must be an MLPMapping or a TensorTrainMapping; "
    ):
        widened_mapping(Constant(3), 20)


def test_messages_of_control() -> None:
    with pytest.raises(
        ValueError, match=r"^`name` must be one of random-subspace, hashing, .*'dice"
    ):
        control("dice", like())
    with pytest.raises(TypeError, match=r"`like` must be a CircuitGenerator for .*; got Hashed"):
        control("frozen", HashedWeights(20, 5))
    assert count(control("low-rank", HashedWeights(20, 5))) == 5


def test_a_classical_control_never_has_more_numbers_than_weights() -> None:
    wide = CircuitGenerator(ansatz.ry_cx_chain(4, 2), "auto", MLPMapping(2**4), n_weights=11)
    assert count(wide) > 11
    assert count(control("random-subspace", wide)) == 11


# Under one start, scale and shuffle


def target() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(9, 16), nn.ReLU(), nn.Linear(16, 2), nn.Linear(2, 2))


@pytest.mark.parametrize("name", CONTROLS)
def test_all_start_at_the_same_network(name: str) -> None:
    model = QuantumTrain(target(), like(), seed=0)
    other = model.with_generator(control(name, model.generator))
    assert other.fixed_sha256 == model.fixed_sha256
    assert other.layout == model.layout
    for key, value in model.generate().items():
        assert torch.equal(other.generate()[key], value)
        assert other.generate()[key] is not value


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_are_stored_and_read(name: str, tmp_path: Path) -> None:
    model = QuantumTrain(target(), like(1), seed=1)
    model = model.with_generator(control(name, model.generator, seed=1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    model.save(tmp_path / "model.safetensors")
    read = QuantumTrain.load(tmp_path / "model.safetensors", target())
    assert type(read.generator) is type(model.generator)
    for key, value in model.generate().items():
        assert torch.equal(read.generate()[key], value)


def test_another_generator_leaves_the_model_alone() -> None:
    model = QuantumTrain(target(), like(), seed=0)
    before = {key: value.detach().clone() for key, value in model.generate().items()}
    model.eval()(torch.zeros(1, 9))
    other = model.with_generator(HashedWeights(200, 20))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    for key, value in model.generate().items():
        assert torch.equal(value, before[key])
        assert not torch.equal(other.generate()[key], value)
    with pytest.raises(ValueError, match=r"`generator.n_weights` must be 200, .*; got 199\."):
        model.with_generator(HashedWeights(199, 20))
