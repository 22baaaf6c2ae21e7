"""Classes of somebody else's, one of each kind, written against public names alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import qtn_train as qt
from qtn_train.circuits import gate_matrix
from qtn_train.testing import check_engine, check_generator, check_mapping


class KroneckerState(qt.State):
    def __init__(self, vector: torch.Tensor) -> None:
        self.vector = vector

    @property
    def n_qubits(self) -> int:
        return self.vector.numel().bit_length() - 1

    def _amplitudes(self, start: int, stop: int) -> torch.Tensor:
        return self.vector[start:stop]

    def _probs(self, start: int, stop: int) -> torch.Tensor:
        return torch.view_as_real(self.vector[start:stop]).square().sum(-1)


def rotation(angle: torch.Tensor) -> torch.Tensor:
    cos, sin = (angle.double() / 2).cos(), (angle.double() / 2).sin()
    real = torch.stack((torch.stack((cos, -sin)), torch.stack((sin, cos))))
    return real.to(torch.complex128)


@qt.register_engine
class KroneckerEngine(qt.Engine):
    """Differentiable for RY; other gates take constant matrices."""

    kind = "kronecker"
    exact, differentiable, needs_shots, max_qubits = True, True, False, 10

    def __init__(self, *, sign: int = 1, dtype: Any = "complex64") -> None:
        super().__init__(dtype=dtype)
        self.sign = sign

    def _config(self) -> dict[str, Any]:
        return {"sign": self.sign, "dtype": self.dtype}

    def _prepare(self, circuit: qt.Circuit, angles: torch.Tensor, reads: Any) -> KroneckerState:
        n = circuit.n_qubits
        psi = torch.zeros((2,) * n, dtype=self.complex_dtype)
        psi[(0,) * n] = 1
        for gate in circuit.gates:
            k, own = len(gate.qubits), [self.sign * angles[i] for i in gate.angles]
            if gate.name == "ry":
                matrix = rotation(own[0])
            elif gate.name in ("rx", "rz", "u3", "cu3"):
                matrix = differentiable_matrix(gate.name, own)
            else:
                matrix = torch.from_numpy(gate_matrix(gate.name))
            matrix = matrix.to(psi.dtype).reshape((2,) * 2 * k)
            psi = torch.tensordot(matrix, psi, (tuple(range(k, 2 * k)), gate.qubits))
            psi = psi.movedim(tuple(range(k)), gate.qubits)
        return KroneckerState(psi.reshape(-1))


def differentiable_matrix(name: str, angles: list[torch.Tensor]) -> torch.Tensor:
    half = torch.pi / 2
    if name == "rx":
        return phase(-half) @ rotation(angles[0]) @ phase(half)
    if name == "rz":
        return phase(angles[0]) * torch.exp(-0.5j * angles[0])
    theta, phi, lam = angles
    matrix = phase(phi) @ rotation(theta) @ phase(lam)
    return matrix if name == "u3" else torch.block_diag(torch.eye(2, dtype=matrix.dtype), matrix)


def phase(angle: Any) -> torch.Tensor:
    angle = torch.as_tensor(angle, dtype=torch.float64)
    return torch.diag(torch.stack((torch.ones((), dtype=torch.complex128), torch.exp(1j * angle))))


@qt.register_measurement
class Magnetization(qt.Measurement):
    """⟨Z⟩ of each qubit, on exact states."""

    kind = "magnetization"

    def n_values(self, n_qubits: int) -> int:
        return n_qubits

    def values(self, state: Any, start: int, stop: int) -> torch.Tensor:
        return state.expectations([f"Z{qubit}" for qubit in range(start, stop)])

    def standard_error(self, state: Any, start: int, stop: int) -> torch.Tensor:
        return torch.zeros(stop - start)

    def bases(self, n_qubits: int) -> tuple[str, ...]:
        return ("Z" * n_qubits,)

    def _refuse(self, *args: Any) -> Any:
        raise qt.errors.UnsupportedByEngine("for exact engines")

    estimates = errors = functionals = _refuse

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind}


@qt.register_mapping
class Affine(qt.MappingModel):
    kind = "affine"

    def __init__(self, n_values: int, seed: int = 0) -> None:
        super().__init__(n_values)
        self.seed = seed
        self.slope = nn.Parameter(torch.tensor([1.0 + 0.1 * seed]))
        self.period = nn.Parameter(torch.tensor([0.3]))

    def forward(self, start: int, values: torch.Tensor) -> torch.Tensor:
        numbers = torch.arange(start, start + len(values), dtype=values.dtype)
        return (self.slope * values + torch.sin(self.period * numbers))[:, None]

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "n_values": self.n_values, "seed": self.seed}


@qt.register_generator
class Waves(qt.WeightGenerator):
    kind = "waves"

    def __init__(self, n_weights: int, seed: int = 0) -> None:
        super().__init__()
        self.n_weights, self.seed = n_weights, seed
        self.sizes = nn.Parameter(torch.linspace(0.5, 1.5, 4) + 0.1 * seed)

    def forward(self) -> torch.Tensor:
        places = torch.arange(self.n_weights)[:, None] * torch.arange(1, 5)
        return torch.sin(0.7 * places.to(self.sizes.dtype)) @ self.sizes

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "n_weights": self.n_weights, "seed": self.seed}


def test_they_keep_the_contract() -> None:
    check_engine(lambda dtype: KroneckerEngine(dtype=dtype))
    check_mapping(Affine)
    check_generator(lambda seed: Waves(20, seed))


def test_models_with_them_are_stored_and_loaded(tmp_path: Path) -> None:
    target, x = nn.Linear(4, 3), torch.linspace(-1, 1, 8).view(2, 4)
    models = [
        qt.QuantumTrain(
            target,
            circuit=qt.ansatz.ry_cx_chain(4, 2),
            engine=KroneckerEngine(),
            mapping=Affine(15, 2),
        ),
        qt.QuantumTrain(target, Waves(15, 1)),
        qt.QuantumTrain(
            target, circuit=qt.ansatz.ry_cx_chain(15, 1), measurement=Magnetization(), seed=0
        ),
    ]
    for number, model in enumerate(models):
        loss = model(x).square().sum()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter -= 0.1 * parameter.grad
        path = tmp_path / f"{number}.safetensors"
        model.save(path)
        again = qt.QuantumTrain.load(path, target)
        assert type(again.generator) is type(model.generator)
        assert torch.equal(again.eval()(x), model.eval()(x))


# What the contract sees


class Backward(KroneckerEngine):
    """The least significant bit first."""

    kind = "backward"

    def _prepare(self, circuit: qt.Circuit, angles: torch.Tensor, reads: Any) -> KroneckerState:
        state = super()._prepare(circuit, angles, reads)
        n = circuit.n_qubits
        return KroneckerState(state.vector.reshape((2,) * n).permute(*range(n)[::-1]).reshape(-1))


class Forgetful(KroneckerEngine):
    kind = "forgetful"

    def _config(self) -> dict[str, Any]:
        return {"dtype": "complex64"}


class Cut(KroneckerEngine):
    """Its gradient is that of half of the angles."""

    kind = "cut"

    def _prepare(self, circuit: qt.Circuit, angles: torch.Tensor, reads: Any) -> KroneckerState:
        half = len(angles) // 2
        angles = torch.cat((angles[:half], angles[half:].detach()))
        return super()._prepare(circuit, angles, reads)


class Heavy(Affine):
    kind = "heavy"

    def forward(self, start: int, values: torch.Tensor) -> torch.Tensor:
        return super().forward(start, values - values.mean())


class Loud(Waves):
    kind = "loud"

    def forward(self) -> torch.Tensor:
        return super().forward() + torch.rand(1)


@pytest.mark.parametrize(
    ("check", "cls", "message"),
    [
        (check_engine, Backward, "the contract says: probabilities of .* are right within"),
        (check_engine, Forgetful, "the contract says: from_config.* builds an equal engine"),
        (check_engine, Cut, "the contract says: the gradient is that of central differences"),
        (check_mapping, Heavy, "the contract says: chunks of 1 values give the weights of all"),
        (check_generator, Loud, "the contract says: building and calling leave torch's generator"),
    ],
)
def test_what_breaks_it_is_named(check: Any, cls: Any, message: str) -> None:
    register = {check_engine: qt.register_engine, check_mapping: qt.register_mapping}
    register.get(check, qt.register_generator)(cls)
    make = {
        check_engine: lambda dtype: cls(dtype=dtype),
        check_mapping: cls,
        check_generator: lambda seed: cls(20, seed),
    }[check]
    with pytest.raises(AssertionError, match=message):
        check(make)


def test_a_kind_of_somebody_elses_says_what_to_do() -> None:
    for build, noun in (
        (qt.Engine.from_config, "engine"),
        (qt.MappingModel.from_config, "mapping"),
        (qt.Measurement.from_config, "measurement"),
    ):
        expected = f"`{noun} kind` must be .*; got 'abacus'. Call qtn_train.register_{noun} first"
        with pytest.raises(ValueError, match=expected):
            build({"kind": "abacus"})
        assert callable(getattr(qt, f"register_{noun}"))


def test_what_is_no_measurement_cannot_be_registered() -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="`cls` must be a subclass of Measurement; got 5"):
        qt.register_measurement(wrong)


def test_a_counting_engine_refuses_a_measurement_that_it_cannot_estimate_before_it_runs() -> None:
    engine = qt.SampledEngine(qt.StatevectorEngine(), shots=5)
    circuit = qt.Circuit.builder(2).h(0).build()
    with pytest.raises(qt.errors.UnsupportedByEngine, match=r"`reads` must be Probabilities, Exp"):
        engine.prepare(circuit, torch.zeros(0), Magnetization())
    assert engine.position == 0, "nothing was executed"
