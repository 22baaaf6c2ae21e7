"""What a run is: target networks, the two recipes, options as JSON, and what is refused."""

from __future__ import annotations

import json
import random
from dataclasses import FrozenInstanceError
from typing import Any

import jaxtyping
import pytest
import torch
from torch import nn

from qtn_train import load_dataset
from qtn_train.circuits import ANSATZE, ansatz
from qtn_train.cli import _options
from qtn_train.data import DATASETS
from qtn_train.engines import MPSEngine, StatevectorEngine
from qtn_train.errors import Message, TruncationWarning, UnsupportedByEngine
from qtn_train.hybrid import PUBLISHED_LAYOUT
from qtn_train.mapping import MLPMapping
from qtn_train.measurements import Probabilities
from qtn_train.recipes import (
    MAX_LAYERS,
    MAX_QUBITS,
    MAX_SIZE,
    SETTINGS,
    ImageCNN,
    RunOptions,
    mlp,
    target_for,
)
from qtn_train.training import FitConfig

IMAGES = ("mnist-mini", "mnist", "fashion-mnist")
N_WEIGHTS = {"iris": 131, "digits": 2410} | dict.fromkeys(IMAGES, 6690)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", DATASETS)
def test_targets_have_the_published_sizes(name: str) -> None:
    assert count(target_for(name)) == N_WEIGHTS[name]
    assert count(target_for(name, "published")) == N_WEIGHTS[name]


def test_the_image_network_layer_by_layer() -> None:
    shapes = {name: tuple(p.shape) for name, p in ImageCNN().named_parameters()}
    assert shapes == {
        "conv1.weight": (8, 1, 5, 5),
        "conv1.bias": (8,),
        "conv2.weight": (12, 8, 5, 5),
        "conv2.bias": (12,),
        "fc1.weight": (20, 192),
        "fc1.bias": (20,),
        "fc2.weight": (10, 20),
        "fc2.bias": (10,),
    }
    assert ImageCNN()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_only_the_published_image_network_is_without_relu() -> None:
    torch.manual_seed(0)
    ours, published = target_for("mnist"), target_for("mnist", "published")
    published.load_state_dict(ours.state_dict())
    assert (ours.relu, published.relu) == (True, False)
    x = torch.randn(2, 1, 28, 28)
    pooled = nn.functional.max_pool2d(ours.conv1(x), 2)
    pooled = nn.functional.max_pool2d(ours.conv2(pooled), 2)
    expected = ours.fc2(ours.fc1(pooled.flatten(1)))
    assert published(x).equal(expected)
    assert not ours(x).equal(expected)


def test_an_mlp_has_relu_between_its_layers_only() -> None:
    kinds = [type(layer).__name__ for layer in mlp(4, 16, 8, 3)]
    assert kinds == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]


@pytest.mark.parametrize("name", DATASETS)
def test_default_circuits(name: str) -> None:
    n_qubits, n_layers = {"iris": (8, 4), "digits": (12, 40)}.get(name, (13, 110))
    assert RunOptions(name).circuit() == ansatz.ry_cx_chain(n_qubits, n_layers)
    published = RunOptions(name, recipe="published")
    assert published.circuit() == ansatz.u3_cu3_ring(n_qubits, 16)


def test_another_ansatz_has_about_as_many_angles() -> None:
    for name in ("u3-cu3-ring", "hardware-efficient", "brickwork"):
        assert 1400 < RunOptions("mnist", name).circuit().n_angles <= 1430
    assert RunOptions("iris", "u3-cu3-ring").circuit() == ansatz.u3_cu3_ring(8, 1)


def test_what_is_given_is_taken() -> None:
    options = RunOptions("iris", "brickwork", n_layers=2, n_qubits=9)
    assert options.circuit() == ansatz.brickwork(9, 2)
    config = RunOptions("iris", lr=0.1, lr_mapping=0.2, epochs=3, batch_size=7, seed=5).fit_config()
    assert (config.lr, config.lr_mapping) == (0.1, 0.2)
    assert (config.epochs, config.batch_size, config.seed) == (3, 7, 5)


def test_the_rate_of_the_mapping_stays_in_proportion() -> None:
    default, other = RunOptions("iris"), RunOptions("iris", lr=0.2)
    assert default.fit_config().lr_mapping == pytest.approx(0.3 * default.fit_config().lr)
    assert other.fit_config().lr_mapping == pytest.approx(0.3 * 0.2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dataset", "mnits", r"one of iris, .*; got 'mnits'\. Did you mean mnist"),
        ("dataset", None, "one of iris, .*; got None"),
        ("dataset", 5, "one of iris, .*; got 5"),
        ("ansatz", "qft", "one of u3-cu3-ring, .*; got 'qft'"),
        ("engine", None, "one of auto, .*; got None"),
        ("engine", "qpu", "one of auto, mps, statevector, contraction, braket; got 'qpu'"),
        (
            "measurement",
            "pauli-9",
            "one of probabilities, .*pauli-3, or file.py:function; got 'pauli-9'",
        ),
        (
            "mapping",
            "MLP",
            "one of mlp, tensor-train, identity, mixing; got 'MLP'. Did you",
        ),
        ("recipe", "secret", "one of default, published; got 'secret'"),
        ("gradient", "adjoint", "one of parameter-shift, random-shift, spsa; got 'adjoint'"),
        ("n_layers", 0, "an integer from 1 to 100,000; got 0"),
        ("n_layers", True, "an integer from 1 to 100,000; got True"),
        ("n_layers", 2.0, "an integer from 1 to 100,000; got 2.0"),
        ("n_layers", MAX_LAYERS + 1, "an integer from 1 to 100,000; got 100001"),
        ("n_layers", 10**400, "an integer from 1 to 100,000; got a larger number"),
        ("n_layers", -(10**400), "an integer from 1 to 100,000; got a negative number"),
        ("n_qubits", MAX_QUBITS + 1, "an integer from 1 to 4,096; got 4097"),
        ("n_qubits", 7, r"at least 8; got 7\. 131 weights need 8 qubits"),
        ("weights_per_outcome", 0, "an integer of at least 1; got 0"),
        ("shots", -1, "an integer of at least 0; got -1"),
        ("shots", 0, "a positive integer; got 0"),
        ("seed", -1, "an integer from 0 to 9,223,372,036,854,775,807; got -1"),
        ("lr", 0.0, "a positive number; got 0.0"),
        ("lr", float("nan"), "a positive number; got nan"),
        ("lr", float("inf"), "a positive number; got inf"),
        ("lr", "0.1", "a positive number; got '0.1'"),
        ("lr", 10**400, "a positive number; got a larger number"),
        ("native", "yes", "true or false; got 'yes'"),
        ("placement", [1, "2"], r"a list of integers; got \(1, '2'\)"),
        ("torch_device", 3, "a text; got 3"),
    ],
)
def test_a_wrong_value_is_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^`{name}` must be {message}") as caught:
        RunOptions.from_json({"dataset": "iris", name: value})
    assert caught.value.args[0].name == name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_bond": 4}, "`engine` must be 'mps' with max_bond; got 'auto'"),
        ({"cutoff": 0.0, "engine": "statevector"}, "`engine` must be 'mps' with cutoff; got 'stat"),
        ({"device": "SV1"}, "`engine` must be 'braket' with device; got 'auto'"),
        ({"native": True}, "`engine` must be 'braket' with native; got 'auto'"),
        ({"placement": [1]}, "`engine` must be 'braket' with placement; got 'auto'"),
        ({"engine": "braket", "shots": 9}, "`device` must be given for the engine braket; got"),
        ({"engine": "braket", "device": "SV1"}, "`shots` must be given for the engine braket; go"),
        ({"gradient": "spsa"}, "`gradient` must be given with shots; got no shots"),
        ({"mitigate_readout": True}, "`mitigate_readout` must be given with shots; got no shots"),
        ({"shots": 9, "n_shifts": 2}, "`gradient` must be 'random-shift' with n_shifts; got 'par"),
        ({"shots": 9, "step": 0.2}, "`gradient` must be 'spsa' with step; got 'parameter-shift'"),
        ({"bond_dim": 2}, "`mapping` must be 'tensor-train' with bond_dim; got 'mlp'"),
        (
            {"measurement": "pauli-2", "recipe": "published"},
            "`measurement` must be 'probabilities' with recipe published; got 'pauli-2'",
        ),
        ({"measurement": "pauli-2", "bond_dim": 2}, "`mapping` must be 'tensor-train' with bond"),
        (
            {"mapping": "identity", "weights_per_outcome": 2},
            "`weights_per_outcome` must be 1 with identity; got 2. Take the mapping mlp",
        ),
        (
            {"measurement": "pauli-2", "mapping": "identity", "n_qubits": 9},
            "`n_qubits` must be at least 10; got 9. 131",
        ),
        ({"measurement": "pauli-2", "n_qubits": 1}, "`n_qubits` must be at least 2; got 1."),
        ({"reach": 3}, "`measurement` must be 'pauli-2' with reach; got 'probabilities'"),
        ({"training_shots": 5}, "`measurement` must be 'pauli-2' with training_shots; got 'prob"),
        ({"measurement": "pauli-3", "reach": 1}, "`reach` must be at least 2 for order 3; got 1"),
        ({"n_layers": 1001, "n_qubits": 1000}, "`n_layers` must be at most 1,000 on 1,000 qubits"),
        ({"enginee": "mps"}, "`option` must be one of dataset, .*; got 'enginee'. Did you mean en"),
    ],
)
def test_options_that_do_not_go_together(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        RunOptions.from_json({"dataset": "iris", **given})


@pytest.mark.parametrize("data", [None, "iris", ["dataset", "iris"], {}, {1: 2}])
def test_what_is_no_set_of_options(data: object) -> None:
    with pytest.raises(ValueError, match=r"^`(options|option|dataset)` must be "):
        RunOptions.from_json(data)


def test_a_large_circuit_is_refused_without_being_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object) -> None:
        raise AssertionError("no circuit is built to be counted")

    for name in ANSATZE:
        monkeypatch.setitem(ANSATZE, name, build)
    assert RunOptions("iris", n_qubits=8, n_layers=MAX_LAYERS).n_layers == MAX_LAYERS
    with pytest.raises(ValueError, match=r"^`n_layers` must be at most 244 on 4,096 qubits"):
        RunOptions("iris", n_qubits=MAX_QUBITS, n_layers=245)
    assert MAX_SIZE // MAX_QUBITS == 244


SOME: list[dict[str, Any]] = [
    {},
    {"recipe": "published", "lr": 0.5},
    {"engine": "mps", "max_bond": 7, "cutoff": 1e-3, "allow_truncation": True},
    {"shots": 10, "gradient": "spsa", "step": 0.2, "mitigate_readout": True},
    {"mapping": "tensor-train", "weights_per_outcome": 3, "seed": 2**40},
    {"measurement": "pauli-2"},
    {"measurement": "pauli-3", "mapping": "mlp", "weights_per_outcome": 2},
    {"engine": "braket", "device": "local:sv", "shots": 0, "native": True, "placement": [3, 1]},
]


@pytest.mark.parametrize("given", SOME)
def test_json_both_ways(given: dict[str, Any]) -> None:
    options = RunOptions.from_json({"dataset": "iris", **given})
    stored = json.loads(json.dumps(options.to_json()))
    assert list(stored) == list(SETTINGS)
    assert RunOptions.from_json(stored) == options
    assert {name: stored[name] for name in given} == given
    complete = options.complete()
    assert complete.complete() == complete == RunOptions.from_json(complete.to_json())
    assert complete.circuit() == options.circuit()
    assert complete.fit_config() == options.fit_config()
    assert hash(options) == hash(RunOptions.from_json(stored))


def test_options_cannot_be_changed() -> None:
    options = RunOptions("iris")
    with pytest.raises(FrozenInstanceError):
        options.seed = 1  # type: ignore[misc]
    assert options.but(seed=1).seed == 1
    assert options.seed is None


FOREIGN = (None, True, -1, 0, 10**30, 1e400, float("nan"), "", "iris", [], {}, [1], {"a": 1}, "\0")


def test_foreign_json_is_refused_in_house_style(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every option under every foreign value, and 2,000 mutants of whole sets, seeded."""
    rng = random.Random(0)
    cases: list[object] = [{"dataset": "iris", n: v} for n in SETTINGS for v in FOREIGN]
    for _ in range(2000):
        mutant = RunOptions.from_json({"dataset": "iris", **rng.choice(SOME)}).to_json()
        for name in rng.sample(sorted(mutant), rng.randint(1, 3)):
            mutant[name] = rng.choice(FOREIGN)
        cases.append(mutant)
    accepted, faults = 0, list[Any]()
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for case in cases:
        try:
            options = RunOptions.from_json(case)
        except (TypeError, ValueError) as error:
            foreign = not isinstance(error.args[0], Message) or len(str(error)) > 600
            faults += [(case, error)] if foreign else []
        else:
            accepted += 1
            assert RunOptions.from_json(options.to_json()) == options
    assert not faults
    assert 50 < accepted < len(cases) - 500


def test_correlators_choose_qubits_circuit_and_mapping() -> None:
    options = RunOptions("mnist-mini", measurement_name="pauli-2").complete()
    assert (options.n_qubits, options.ansatz, options.mapping_name) == (100, "cz-chain", "mixing")
    assert (options.reach, options.weights_per_outcome, options.training_shots) == (11, 3, 10_000)
    assert options.n_values == 3102
    assert options.circuit().n_angles <= 1500
    full = RunOptions("mnist", measurement_name="pauli-2").complete()
    assert (full.n_qubits, full.n_layers, full.reach) == (166, 4, 7)
    assert full.circuit().n_angles == 1494
    as_they_are = RunOptions("mnist-mini", measurement_name="pauli-2", mapping_name="identity")
    assert (as_they_are.complete().n_qubits, as_they_are.complete().reach) == (68, None)
    small = RunOptions("iris", measurement_name="pauli-2", epochs=1)
    assert small.but(shots=50).shots_per_evaluation == 150
    steps = {
        gradient: RunOptions("iris", measurement_name="pauli-2", shots=50, gradient=gradient)
        for gradient in ("parameter-shift", "random-shift", "spsa")
    }
    found = {name: (run.fit_config().epochs, run.fit_config().lr) for name, run in steps.items()}
    assert found["parameter-shift"] == found["random-shift"] == (100, 0.06)
    assert found["spsa"] == (3000, 0.02)
    assert steps["spsa"].but(epochs=7, lr=0.5).fit_config().epochs == 7
    model = small.model()
    assert model.generator.n_values == 3 * 44
    assert model.generator.measurement == small.measurement()
    assert model.generator.training_shots == 1000
    assert small.but(training_shots=0).model().generator.training_shots is None
    wide = RunOptions("digits", measurement_name="pauli-2").model().generator
    assert type(wide.engine) is MPSEngine
    assert (wide.circuit.n_qubits, wide.training_shots) == (68, 3000)
    (entry,) = small.fit(model, load_dataset("iris"), progress_bar=False).epochs
    assert 0 < entry["train_loss"] < 2
    for name, n_qubits in (("pauli-1", 10), ("pauli-2", 10), ("pauli-3", 8)):
        assert RunOptions("iris", measurement_name=name).circuit().n_qubits == n_qubits


def test_real_gates_leave_out_the_dead_letter() -> None:
    for order in (1, 2, 3):
        options = RunOptions(
            "iris", measurement_name=f"pauli-{order}", ansatz="ry-cx-chain", n_layers=1
        )
        model = options.model()
        assert ("y" in options.measurement().bases_read) == (order == 2)
        assert model.n_weights == 131


def test_the_default_image_model_is_as_small_as_the_published_one() -> None:
    model = RunOptions("mnist").model(StatevectorEngine())
    assert model.n_weights == 6690
    assert model.n_trainable <= 1497
    assert model.target.relu
    assert model.seed == 0


def test_the_published_recipe_is_the_published_one() -> None:
    for name in IMAGES:
        assert RunOptions(name, recipe="published").fit_config() == FitConfig(
            epochs=50,
            batch_size=128,
            lr=1e-4,
            lr_mapping=None,
            weight_decay=1e-5,
            schedule="plateau",
            clip_norm=None,
            patience=None,
            seed=42,
        )
    model = RunOptions("mnist", recipe="published").model(StatevectorEngine())
    assert model.seed == 42
    assert model.n_trainable_by_part == {"angles": 16 * 6 * 13, "mapping": 249, "other": 0}
    assert model.n_trainable == 1497
    mapping = model.generator.mapping
    assert isinstance(mapping, MLPMapping)
    assert (mapping.hidden, mapping.activation, mapping.published) == ((4, 20, 4), None, True)
    assert model.generator.measurement == Probabilities("published")
    assert model.layout == PUBLISHED_LAYOUT
    assert (model.layout.start, model.layout.scale, model.layout.gain) == ("zeros", "one", 1.0)
    assert (model.layout.shuffle, model.layout.center) == (False, False)
    assert not model.target.relu


@pytest.mark.parametrize("name", DATASETS)
def test_the_seed_is_passed_on(name: str) -> None:
    config = RunOptions(name, seed=3).fit_config()
    assert (config.seed, config.patience) == (3, None)


def test_a_model_depends_on_its_options_alone() -> None:
    torch.manual_seed(0)
    first = RunOptions("iris", seed=1).model()
    torch.manual_seed(1)
    second = RunOptions("iris", seed=1).model()
    other = RunOptions("iris", seed=2).model()
    for name, value in first.generate().items():
        assert value.equal(second.generate()[name])
        assert not value.equal(other.generate()[name])


@pytest.mark.parametrize("device", ["tpu", "meta", "cuda:99"])
def test_a_device_of_another_machine(device: str) -> None:
    expected = f"^`torch_device` must be a device of this machine; got '{device}'"
    with pytest.raises(ValueError, match=expected):
        RunOptions("iris", torch_device=device).model()


def test_too_many_qubits_for_the_engine() -> None:
    with pytest.raises(UnsupportedByEngine, match=r"^`n_qubits` must be at most .*; got 60\. Choo"):
        RunOptions("iris", n_qubits=60, engine_name="statevector").model()


def test_a_run_that_truncation_has_spoiled_is_refused() -> None:
    iris = load_dataset("iris")
    options = RunOptions("iris", n_layers=40, engine_name="mps", max_bond=2, epochs=1)
    with pytest.warns(TruncationWarning, match="`max_bond` must keep a fidelity"):
        model = options.model()
    expected = r"^`max_bond` must be large enough to keep 1% of .*; got 2, which keeps 1e-05 %\. Ra"
    with pytest.raises(UnsupportedByEngine, match=expected):
        options.fit(model, iris, progress_bar=False)
    allowed = options.but(allow_truncation=True)
    history = allowed.fit(model, iris, progress_bar=False)  # warned of when it was made
    assert len(history.epochs) == 1
    wide = RunOptions("iris", engine_name="mps", max_bond=16, epochs=1)
    assert len(wide.fit(wide.model(), iris, progress_bar=False).epochs) == 1


def test_every_setting_is_an_option_of_the_command_line() -> None:
    """The command line declares types and help by itself, so that ``--help`` loads nothing."""
    assert set(_options._HELP) == set(SETTINGS) - {"dataset"}
    for name, (_, kind, text) in _options._HELP.items():
        setting = SETTINGS[name]
        assert kind is (str if setting.kind is tuple else setting.kind), name
        assert all(choice in text for choice in setting.choices), name
    assert set(_options.OPTIONS) <= set(SETTINGS)
