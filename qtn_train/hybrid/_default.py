"""The generator that is built where none is given, from a circuit, an engine and a mapping."""

from __future__ import annotations

from typing import Literal

from ..circuits import ANSATZE, Circuit
from ..engines import ContractionEngine, Engine, MPSEngine, StatevectorEngine
from ..errors import did_you_mean, must_be
from ..exchange import ImportedCircuit
from ..generators import CircuitGenerator, WeightGenerator, qubits_needed, values_needed
from ..mapping import MappingModel, MLPMapping
from ..measurements import Measurement, Probabilities

# The default circuit has one angle for five weights, but at least 4 and at most 110 layers.
_COMPRESSION, _LAYERS = 5, (4, 110)

_READ = "A program of another package, or in a file, is read by import_circuit."

_ENGINES: dict[str, type[Engine]] = {
    "statevector": StatevectorEngine,
    "mps": MPSEngine,
    "contraction": ContractionEngine,
}


def default_generator(
    n_weights: int,
    seed: int,
    circuit: Circuit | ImportedCircuit | str | None,
    engine: Engine | str | None,
    mapping: MappingModel | None,
    measurement: Measurement | None,
) -> WeightGenerator:
    """Return a circuit generator; choose circuit, engine and mapping where they are not given.

    Args:
        n_weights: Weights to generate.
        seed: Seed of the initial angles and mapping.
        circuit: A circuit, an imported program, the name of an ansatz, or None for RY and a chain
            of CX.
        engine: An engine, its name (``"statevector"``, ``"mps"``, ``"contraction"``), or None and
            ``"auto"`` for the cheapest exact one.
        mapping: A mapping, or None for a small perceptron.
        measurement: A measurement, or None for probabilities; another one needs a circuit.

    Raises:
        TypeError: One of them is something else.
        ValueError: An unknown name.
    """
    if mapping is not None and not isinstance(mapping, MappingModel):
        raise TypeError(must_be("mapping", "a MappingModel", *_described(mapping)))
    if measurement is not None and not isinstance(measurement, Measurement):
        raise TypeError(must_be("measurement", "a Measurement", *_described(measurement)))
    per_outcome = mapping.weights_per_outcome if mapping is not None else 1
    if circuit is None or isinstance(circuit, str):
        if not isinstance(measurement, Probabilities | None):
            hint = "Only with probabilities the number of qubits follows from that of weights."
            expected = f"a Circuit with {measurement!r}"
            raise TypeError(must_be("circuit", expected, repr(circuit), hint))
        circuit = _named_circuit(circuit, n_weights, qubits_needed(n_weights, per_outcome))
    if not isinstance(circuit, Circuit | ImportedCircuit):
        expected = f"a Circuit, or one of {', '.join(ANSATZE)}"
        actual, hint = _described(circuit)
        raise TypeError(must_be("circuit", expected, actual, hint or _READ))
    return CircuitGenerator(
        circuit,
        _named_engine(engine),
        mapping or MLPMapping(values_needed(n_weights, per_outcome), (4,), seed=seed),
        measurement=measurement,
        n_weights=n_weights,
        seed=seed,
    )


def checked_seed(seed: object) -> int:
    """Return a seed as a Python integer.

    Raises:
        TypeError: It is no whole number.
    """
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise TypeError(must_be("seed", "a whole number", repr(seed)))
    number: int = seed.__index__()
    return number


def _named_circuit(name: str | None, n_weights: int, n_qubits: int) -> Circuit:
    """Return an ansatz of about a fifth as many angles as there are weights."""
    make = ANSATZE.get((name or "ry-cx-chain").lower().replace("_", "-"))
    if make is None:
        expected = f"a Circuit, or one of {', '.join(ANSATZE)}"
        hint = did_you_mean(name, ANSATZE) or _READ
        raise ValueError(must_be("circuit", expected, repr(name), hint))
    per_layer = max(1, make(n_qubits, 1).n_angles)
    n_layers = n_weights // (_COMPRESSION * per_layer)
    return make(n_qubits, min(max(n_layers, _LAYERS[0]), _LAYERS[1]))


def _named_engine(engine: Engine | str | None) -> Engine | Literal["auto"]:
    if engine is None or engine == "auto":
        return "auto"
    expected = f"an Engine, 'auto', {' or '.join(repr(name) for name in _ENGINES)}"
    if isinstance(engine, str):
        if engine.lower() not in _ENGINES:
            raise ValueError(must_be("engine", expected, repr(engine)))
        return _ENGINES[engine.lower()]()
    if not isinstance(engine, Engine):
        raise TypeError(must_be("engine", expected, *_described(engine)))
    return engine


def _described(value: object) -> tuple[str, str]:
    """Return the kind of a wrong argument, and a hint, for a message."""
    if isinstance(value, type):
        return f"the class {value.__name__}", f"Build it: {value.__name__}(…)."
    if callable(value):
        name = getattr(value, "__name__", type(value).__name__)
        return f"the function {name}", f"Call it: {name}(n_qubits, n_layers)."
    return type(value).__name__, ""
