"""The options of a run: frozen, typed, checked once, as JSON and back.

              ┌─ circuit() ──────┐
    options ──┼─ measurement()   ├─ model() ─┐
              ├─ mapping() ──────┤           ├─ fit() ─► trained
              ├─ engine() ───────┘           │
              └─ fit_config() ───────────────┘

Everything that trains a data set's network goes through here: ``train``, studies, comparisons,
hybrid jobs, and Python. The same options give the same weights in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from torch import nn

from ..circuits import ANSATZE, Circuit
from ..data import DATASETS, Dataset, load
from ..engines import Engine
from ..errors import UnsupportedByEngine, count, must_be
from ..exchange import ImportedCircuit
from ..exchange._imported import gates_of
from ..generators import CircuitGenerator, qubits_needed, values_needed
from ..hybrid import PUBLISHED_LAYOUT, Layout, QuantumTrain
from ..mapping import (
    IdentityMapping,
    MappingModel,
    MixingMapping,
    MLPMapping,
    TensorTrainMapping,
)
from ..measurements import Measurement, PauliCorrelators, Probabilities
from ..training import FitConfig, History, fit
from ..training._objective import Objective, check_suits, metrics_of, objective_of
from ..training._step import measure
from ._ansatz import angles_of_layers, ansatz_with_hash, find_ansatz
from ._checks import check_engine, check_size, check_target, needs
from ._defaults import Defaults, Recipe, defaults_for
from ._engines import check_fidelity, engine_of, torch_device
from ._observable import find_observable, is_own_observable, measurement_text
from ._own import is_own, shown
from ._own_data import data_name, data_with_hash, is_own_data, load_own
from ._program import check_program, free_numbers, parsed, program_text
from ._settings import POSITIVE, REQUIRED, Setting, check_keys
from ._targets import count_own, count_weights, own_target, target_for, target_with_hash

EngineName = Literal["auto", "mps", "statevector", "contraction", "braket"]
MappingName = Literal["mlp", "tensor-train", "identity", "mixing"]
MeasurementName = Literal["probabilities", "pauli-1", "pauli-2", "pauli-3"]

MAX_QUBITS, MAX_LAYERS = 4096, 100_000

_BOND_DIM, _STEP = 4, 0.1


def _option(kind: type, default: Any = None, **limits: Any) -> Any:
    setting = {"setting": Setting(kind, default, **limits)}
    if default is REQUIRED:
        return field(metadata=setting)
    return field(default=default, metadata=setting)


@dataclass(frozen=True)
class RunOptions:
    """Options of one training run. The data set and the recipe choose those that are None.

    Attributes:
        dataset: Name of the data set; or a csv or npz file, or a folder of images, of your own,
            which is kept as an absolute path with the content's hash.
        ansatz: Name of the ansatz, or ``"file.py:function"`` for a function of your own from
            numbers of qubits and layers to a circuit; the file's path and hash are kept.
        n_layers: Number of its layers; for another ansatz than the recipe's as many as give about
            as many angles.
        n_qubits: Number of qubits; as few as the weights need, or the recipe's for correlators.
        circuit_text: A program in OpenQASM 2 or 3 in place of an ansatz, whose inputs are trained,
            or a circuit as JSON: the path, or the text, which is what is kept.
        measurement_name: What is read of the state: ``"pauli-2"`` are all two-body Pauli
            correlators, for many qubits; ``"file.py:function"`` a function of your own from the
            number of qubits to Pauli strings, or the JSON of these strings.
        reach: Largest distance between the qubits of a correlator; the recipe's with the mapping
            ``"mixing"``, any with others.
        engine_name: What runs the circuit; ``"auto"`` is the cheapest exact simulator that fits.
        max_bond: Bond dimension at which the engine ``"mps"`` truncates.
        cutoff: Share of the norm that it may cut off besides.
        allow_truncation: Whether a run may begin whose first state has lost nearly everything.
        shots: Shots of each circuit; exact probabilities without.
        gradient: Estimator of the gradient from shots.
        n_shifts: Places of the circuit that ``"random-shift"`` takes.
        step: Step of ``"spsa"`` in radians.
        mitigate_readout: Whether errors of readout are measured and inverted.
        device: Amazon Braket's device, for the engine ``"braket"``.
        native: Whether the device's native gates are sent verbatim.
        placement: Physical label of each qubit; found without.
        mapping_name: What turns values into weights; correlators are mixed by a fixed orthogonal
            matrix.
        bond_dim: Bond dimension of the mapping ``"tensor-train"``.
        weights_per_outcome: Weights that the mapping makes of each value; 1, and with ``"mixing"``
            as many as the qubits leave to each.
        training_shots: Shots of each basis whose noise correlators have in training, so that the
            network bears it; 0 for none.
        recipe: ``"default"``, or ``"published"`` (arXiv 2402.16465: affine mapping, no start, no
            scale, no shuffle, no ReLU).
        epochs: Passes over the training set.
        lr: Peak learning rate of the angles.
        lr_mapping: Peak learning rate of the mapping; in the recipe's proportion to ``lr`` without.
        batch_size: Samples of a step.
        seed: Seed of all that is random.
        torch_device: Where everything is computed.
        label: Name of the column of a csv file to learn; the last one by default.
        target_name: A network of your own, ``"file.py:Class"`` or a function that builds one,
            called without arguments; needed with data of your own. The file's hash is kept.
        start: ``"random"``, or ``"target"``: weights are a change to those that the network came
            with.
        loss: As :func:`qtn_train.fit` takes it by name; cross entropy for classes and the mean
            square for numbers by default.

    Raises:
        TypeError: An option is not of its type.
        ValueError: An option is out of its range, or needs another one.

    Example:
        >>> options = RunOptions("iris", n_layers=2)
        >>> len(options.circuit()), options.fit_config().epochs
        (30, 60)
        >>> RunOptions.from_json(options.to_json()) == options
        True
    """

    dataset: str = _option(
        str,
        REQUIRED,
        choices=tuple(DATASETS),
        read=data_with_hash,
        is_file=is_own_data,
        form="a csv or npz file, or a folder of images",
    )
    ansatz: str | None = _option(str, choices=tuple(ANSATZE), read=ansatz_with_hash, is_file=is_own)
    n_layers: int | None = _option(int, high=MAX_LAYERS)
    n_qubits: int | None = _option(int, high=MAX_QUBITS)
    circuit_text: str | None = _option(str, read=program_text)
    measurement_name: str = _option(
        str,
        "probabilities",
        choices=get_args(MeasurementName),
        read=measurement_text,
        is_file=is_own_observable,
    )
    reach: int | None = _option(int)
    engine_name: EngineName = _option(str, "auto", choices=get_args(EngineName))
    max_bond: int | None = _option(int)
    cutoff: float | None = _option(float, low=0, high=0.5)
    allow_truncation: bool = _option(bool, False)
    shots: int | None = _option(int, low=0)
    gradient: str | None = _option(str, choices=("parameter-shift", "random-shift", "spsa"))
    n_shifts: int | None = _option(int)
    step: float | None = _option(float, low=POSITIVE)
    mitigate_readout: bool = _option(bool, False)
    device: str | None = _option(str)
    native: bool = _option(bool, False)
    placement: tuple[int, ...] | None = _option(tuple, low=0)
    mapping_name: MappingName | None = _option(str, choices=get_args(MappingName))
    bond_dim: int | None = _option(int)
    weights_per_outcome: int | None = _option(int)
    training_shots: int | None = _option(int, low=0)
    recipe: Recipe = _option(str, "default", choices=("default", "published"))
    epochs: int | None = _option(int)
    lr: float | None = _option(float, low=POSITIVE)
    lr_mapping: float | None = _option(float, low=POSITIVE)
    batch_size: int | None = _option(int)
    seed: int | None = _option(int, low=0, high=2**63 - 1)
    torch_device: str = _option(str, "cpu")
    label: str | None = _option(str)
    target_name: str | None = _option(str, read=target_with_hash)
    start: Literal["random", "target"] | None = _option(str, choices=("random", "target"))
    loss: str | None = _option(str, choices=("cross-entropy", "nll", "bce", "mse"))

    def __post_init__(self) -> None:
        for own in fields(self):
            value, setting = getattr(self, own.name), own.metadata["setting"]
            if value is not None or setting.default is not None:
                object.__setattr__(self, own.name, setting.check(_key(own.name), value))
        if self.circuit_text is not None:
            check_program(self.circuit_text, self)
        check_target(self)
        check_engine(self)
        if self.bond_dim is not None and self._mapping != "tensor-train":
            raise ValueError(needs("bond_dim", "mapping", "tensor-train", self._mapping))
        if self._mapping == "identity" and (per_value := self.weights_per_outcome or 1) > 1:
            hint = "Take the mapping mlp."
            raise ValueError(must_be("weights_per_outcome", "1 with identity", per_value, hint))
        if self.recipe == "published" and self.measurement_name != "probabilities":
            expected, hint = "'probabilities' with recipe published", "Take the default recipe."
            actual = repr(self.measurement_name)
            raise ValueError(must_be("measurement", expected, actual, hint))
        for name in ("reach", "training_shots"):
            if getattr(self, name) and not self.measurement_name.startswith("pauli"):
                actual = shown(self.measurement_name)
                raise ValueError(needs(name, "measurement", "pauli-2", actual))
        self._check_measurement()
        self._check_size()

    def _check_measurement(self) -> None:
        """Refuse a measurement that cannot be built, or whose values are too few."""
        measurement = self.measurement()
        if not self._is_own_observable:
            return
        there = measurement.n_values(self._sizes()["n_qubits"])
        if there < self.n_values:
            expected = f"of at least {self.n_values} values for the mapping {self._mapping}"
            raise ValueError(must_be("measurement", expected, there, "Take the mapping mixing."))

    def _check_size(self) -> None:
        if self.circuit_text is not None:
            return
        n_weights = self.n_weights
        needed = self.fewest_qubits
        if self.n_qubits is not None and self.n_qubits < needed:
            hint = f"{n_weights:,} weights need {needed} qubits."
            raise ValueError(must_be("n_qubits", f"at least {needed}", self.n_qubits, hint))
        check_size(self.n_layers or 1, self.n_qubits or self._default_qubits)

    @property
    def n_weights(self) -> int:
        """Number of weights to generate."""
        own = self.target_name
        return count_weights(self.dataset) if own is None else count_own(own)

    @property
    def data_name(self) -> str:
        """A short name of the data set."""
        return data_name(self.dataset)

    @property
    def _is_own_observable(self) -> bool:
        return is_own_observable(self.measurement_name)

    @property
    def n_values(self) -> int:
        """Number of values that the measurement gives to the mapping."""
        if self._mapping == "mixing":
            return self.measurement().n_values(self._sizes()["n_qubits"])
        return values_needed(self.n_weights, self._per_value)

    @property
    def _per_value(self) -> int:
        """Weights of each value."""
        if self.weights_per_outcome is not None or self._mapping != "mixing":
            return self.weights_per_outcome or 1
        return -(-self.n_weights // self.n_values)

    @property
    def fewest_qubits(self) -> int:
        """As few qubits as give the mapping's values: with a mixing, one value is enough."""
        if self._is_own_observable:
            return 1
        if self._mapping == "mixing" and self.weights_per_outcome is None:
            return qubits_needed(1, 1, self.measurement())
        return qubits_needed(self.n_weights, self.weights_per_outcome or 1, self.measurement())

    @property
    def _default_qubits(self) -> int:
        """The recipe's qubits, where as few as give each weight a value are not fewer."""
        if self._is_own_observable:
            return self._defaults.n_qubits or 1
        if self._mapping != "mixing" or self.weights_per_outcome is not None:
            return self.fewest_qubits
        one_each = qubits_needed(self.n_weights, 1, self.measurement())
        return min(self._defaults.n_qubits or one_each, one_each)

    @property
    def _mapping(self) -> str:
        return self.mapping_name or self._defaults.mapping

    @property
    def _reach(self) -> int | None:
        is_default = (
            self.reach is None and self._mapping == "mixing" and not self._is_own_observable
        )
        return self._defaults.reach if is_default else self.reach

    @property
    def _training_shots(self) -> int:
        default = 0 if self._is_own_observable else self._defaults.training_shots or 0
        return default if self.training_shots is None else self.training_shots

    @property
    def shots_per_evaluation(self) -> int | None:
        """Shots that one evaluation of all weights takes; None without shots."""
        if self.shots is None:
            return None
        return self.shots * len(self.measurement().programs(gates_of(self.circuit())))

    @property
    def shape(self) -> str:
        """What the circuit is, in words."""
        if self.circuit_text is not None:
            return f"a circuit of {free_numbers(self.circuit_text)}"
        ansatz, _, n_layers = self._of_ansatz()
        return f"{count(n_layers, 'layer')} of {ansatz}"

    @property
    def counted(self) -> bool:
        """Whether the engine counts shots."""
        return self.shots is not None

    def to_json(self) -> dict[str, Any]:
        """Return all options as JSON data."""
        options = {_key(own.name): getattr(self, own.name) for own in fields(self)}
        return options | {"placement": None if self.placement is None else [*self.placement]}

    @classmethod
    def from_json(cls, data: object) -> RunOptions:
        """Return the options of JSON data, such as :meth:`to_json` gives.

        Args:
            data: Values by name; what is not named is as in a new run.

        Returns:
            The options.

        Raises:
            ValueError: It is no such data, a name is unknown, or a value is refused.
        """
        if not isinstance(data, Mapping):
            raise ValueError(must_be("options", "an object of options by name", repr(data)[:80]))
        check_keys("option", map(str, data), SETTINGS)
        if "dataset" not in data:
            raise ValueError(must_be("dataset", f"one of {', '.join(DATASETS)}", "nothing"))
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        return cls(**{own.name: given[k] for own in fields(cls) if (k := _key(own.name)) in given})

    def but(self, **changes: Any) -> RunOptions:
        """Return a copy with some options changed, named as in JSON."""
        return RunOptions.from_json(self.to_json() | changes)

    def through(self, engine: str, **options: Any) -> RunOptions:
        """Return the same model on another engine.

        Args:
            engine: The engine's name.
            **options: Its options, and those of counting; all others of them are as in a new run.

        Returns:
            The options.
        """
        anew = {name: SETTINGS[name].default for name in _OF_ENGINES}
        return self.but(**(anew | options), engine=engine)

    def complete(self) -> RunOptions:
        """Return the same run with a value for every option that is None."""
        config = self.fit_config()
        chosen: dict[str, Any] = {
            **self._sizes(),
            "gradient": "parameter-shift" if self.counted else None,
            "mapping_name": self._mapping,
            "reach": self._reach,
            "weights_per_outcome": self._per_value,
            "training_shots": self._training_shots,
            "bond_dim": _BOND_DIM if self._mapping == "tensor-train" else None,
            "epochs": config.epochs,
            "lr": config.lr,
            "lr_mapping": config.lr_mapping,
            "batch_size": config.batch_size,
            "seed": self._seed,
        }
        return replace(self, **{k: v for k, v in chosen.items() if getattr(self, k) is None})

    @property
    def _defaults(self) -> Defaults:
        n_weights = None if self.target_name is None else self.n_weights
        is_read = self.measurement_name != "probabilities"
        return defaults_for(self.dataset, self.recipe, is_read, n_weights)

    @property
    def _seed(self) -> int:
        return self._defaults.seed if self.seed is None else self.seed

    def _sizes(self) -> dict[str, Any]:
        """Return ansatz, qubits and layers; of a circuit of the user's own the qubits alone."""
        if self.circuit_text is not None:
            return {"n_qubits": parsed(self.circuit_text).n_qubits}
        ansatz, n_qubits, n_layers = self._of_ansatz()
        return {"ansatz": ansatz, "n_qubits": n_qubits, "n_layers": n_layers}

    def _of_ansatz(self) -> tuple[str, int, int]:
        defaults = self._defaults
        ansatz = self.ansatz or defaults.ansatz
        n_qubits = self.n_qubits or self._default_qubits
        if self.n_layers is not None:
            return ansatz, n_qubits, self.n_layers
        n_angles = find_ansatz(defaults.ansatz)(n_qubits, defaults.n_layers).n_angles
        first, second = angles_of_layers(ansatz, n_qubits)
        return ansatz, n_qubits, max(1, 1 + (n_angles - first) // second)

    def target(self) -> nn.Module:
        """Return a fresh target network."""
        if self.target_name is not None:
            return own_target(self.target_name, self._seed)
        return target_for(self.dataset, self.recipe)

    def load(self, data_dir: str | Path | None = None) -> Dataset:
        """Return the data set.

        Args:
            data_dir: A folder to look in first, for the full image sets.
        """
        if is_own_data(self.dataset):
            return load_own(self.dataset, self.label, self.loss == "mse" or None)
        return load(self.dataset, data_dir=data_dir)

    def circuit(self) -> Circuit | ImportedCircuit:
        """Return the circuit; a program of the user's own with its inputs."""
        if self.circuit_text is not None:
            return parsed(self.circuit_text)
        ansatz, n_qubits, n_layers = self._of_ansatz()
        return find_ansatz(ansatz)(n_qubits, n_layers)

    def measurement(self) -> Measurement:
        """Return the measurement."""
        if self._is_own_observable:
            n_qubits = self._sizes()["n_qubits"]
            return find_observable("measurement", self.measurement_name, n_qubits)
        if self.measurement_name != "probabilities":
            order = int(self.measurement_name.removeprefix("pauli-"))
            # With real gates alone, as of one ansatz, odd strings of Y vanish.
            dead = order % 2 and (
                self.ansatz == "ry-cx-chain"
                if self.circuit_text is None
                else gates_of(parsed(self.circuit_text)).is_real
            )
            return PauliCorrelators(order, "xz" if dead else "xyz", self._reach)
        return Probabilities("published" if self.recipe == "published" else "amplitude")

    def mapping(self) -> MappingModel:
        """Return a fresh mapping."""
        own: dict[str, Any] = {"weights_per_outcome": self._per_value, "seed": self._seed}
        if self._mapping == "identity":
            return IdentityMapping(self.n_values)
        if self._mapping == "mixing":
            return MixingMapping(self.n_values, **own)
        if self._mapping == "tensor-train":
            return TensorTrainMapping(self.n_values, self.bond_dim or _BOND_DIM, **own)
        if self.recipe == "published":
            own |= {"activation": None, "published": True}
        return MLPMapping(self.n_values, self._defaults.hidden, **own)

    def engine(self) -> Engine | Literal["auto"]:
        """Return the engine; ``"auto"`` where the model is to choose an exact one."""
        return engine_of(self)

    def counting(self) -> dict[str, Any]:
        """Return the arguments of every engine that counts shots."""
        return {
            "shots": self.shots,
            "gradient": self.gradient or "parameter-shift",
            "seed": self._seed,
            "n_shifts": self.n_shifts,
            "step": _STEP if self.step is None else self.step,
            "mitigate_readout": self.mitigate_readout,
        }

    def on_device(self) -> dict[str, Any]:
        """Return the arguments that only a device's engine takes."""
        return {"native": self.native, "placement": self.placement}

    def fit_config(self) -> FitConfig:
        """Return the training options."""
        defaults = self._defaults
        gradient = (self.gradient or "parameter-shift") if self.counted else None
        config = defaults.fit_by(gradient).but(seed=self._seed)
        if self.lr is not None and config.lr_mapping is not None:
            config = config.but(lr_mapping=config.lr_mapping * self.lr / config.lr)
        names = ("epochs", "batch_size", "lr", "lr_mapping")
        return config.but(**{n: v for n in names if (v := getattr(self, n)) is not None})

    def model(
        self, engine: Engine | None = None, mapping: MappingModel | None = None
    ) -> QuantumTrain:
        """Return the untrained model.

        Args:
            engine: Another engine than the options name, such as one that is open already.
            mapping: Another mapping.

        Returns:
            The model, on the options' device.

        Raises:
            ValueError: This machine has no such device.
            UnsupportedByEngine: The engine cannot run so many qubits here.
        """
        device, circuit = torch_device(self.torch_device), self.circuit()
        runs_on = self.engine() if engine is None else engine
        if runs_on != "auto" and circuit.n_qubits > runs_on.max_qubits:
            expected = f"at most {runs_on.max_qubits} for {runs_on!r} on this machine"
            hint = "Choose the engine mps with max_bond 64 for more."
            raise UnsupportedByEngine(must_be("n_qubits", expected, circuit.n_qubits, hint))
        generator = CircuitGenerator(
            circuit,
            runs_on,
            self.mapping() if mapping is None else mapping,
            measurement=self.measurement(),
            n_weights=self.n_weights,
            training_shots=self._training_shots or None,
            seed=self._seed,
        )
        ours = Layout(gain=self._defaults.gain, start=self.start or "random")
        layout = PUBLISHED_LAYOUT if self.recipe == "published" else ours
        model = QuantumTrain(self.target(), generator.to(device), layout=layout, seed=self._seed)
        return model.to(device)

    def fit(self, model: QuantumTrain, data: Dataset, **more: Any) -> History:
        """Train a model of these options.

        Args:
            model: Of :meth:`model`.
            data: The data set.
            **more: Passed on to :func:`qtn_train.fit`.

        Returns:
            The history; the model is trained in place.

        Raises:
            UnsupportedByEngine: The first state has lost nearly all of itself by truncation, and
                ``allow_truncation`` is off.
        """
        self.check_truncation(model)
        metrics = () if data.n_classes else ("r2",)
        return fit(model, data, config=self.fit_config(), loss=self.loss, metrics=metrics, **more)

    def check_data(self, model: QuantumTrain, data: Dataset) -> None:
        """Refuse data that the network does not suit, before anything is trained or written.

        Args:
            model: Of :meth:`model`.
            data: Of :meth:`load`.

        Raises:
            ValueError: They do not suit each other; the message says why.
        """
        goal = self.objective(data)
        check_suits(model, data.x_train, data.y_train, data.n_classes, goal)

    def objective(self, data: Dataset) -> Objective:
        """Return what is minimized.

        Args:
            data: Of :meth:`load`.
        """
        return objective_of(self.loss, data.y_train)

    def evaluate(self, model: QuantumTrain, data: Dataset) -> dict[str, float]:
        """Return ``test_loss``, and ``test_accuracy`` for classes or ``test_r2`` for numbers.

        Args:
            model: A model of these options.
            data: Of :meth:`load`.
        """
        goal = self.objective(data)
        metrics = metrics_of(() if data.n_classes else ("r2",))
        found = measure(model, data.x_test, data.y_test, goal, metrics)
        return {f"test_{name}": value for name, value in found.items()}

    def check_truncation(self, model: QuantumTrain) -> None:
        """Refuse a run whose first state a truncated engine has changed too much.

        Args:
            model: Of :meth:`model`.

        Raises:
            UnsupportedByEngine: The state's fidelity is below :data:`LOWEST_FIDELITY`.
        """
        if self.engine_name == "mps" and not self.allow_truncation:
            check_fidelity(self, model)


def _key(name: str) -> str:
    """Return a field's name in JSON, in study files and on the command line."""
    return name.removesuffix("_name").removesuffix("_text")


# Options that say how the circuit is run, not what the model is.
_OF_ENGINES = (
    "max_bond", "cutoff", "shots", "gradient", "n_shifts", "step", "mitigate_readout", "device",
    "native", "placement",
)  # fmt: skip

#: Option -> what it may be, in the order of the fields.
SETTINGS: dict[str, Setting] = {
    _key(own.name): own.metadata["setting"] for own in fields(RunOptions)
}
