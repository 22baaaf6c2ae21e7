"""The engine of a run, and what it refuses before anything is trained."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import torch

from ..engines import (
    BraketEngine,
    ContractionEngine,
    Engine,
    MPSEngine,
    SampledEngine,
    StatevectorEngine,
    choose_engine,
)
from ..errors import TruncationWarning, UnsupportedByEngine, must_be
from ..exchange._imported import gates_of

if TYPE_CHECKING:
    from ..hybrid import QuantumTrain

#: Below this share of the exact state a truncated one trains a network to chance.
LOWEST_FIDELITY = 0.01


def engine_of(options: Any) -> Engine | Literal["auto"]:
    """Return the engine of a run; ``"auto"`` where the model is to choose an exact one.

    Args:
        options: The run's.
    """
    if options.engine_name == "braket":
        return BraketEngine(options.device, **options.counting(), **options.on_device())
    engine: Engine
    if options.engine_name == "mps":
        engine = MPSEngine(options.max_bond, cutoff=options.cutoff or 0.0)
    elif options.engine_name == "statevector":
        engine = StatevectorEngine()
    elif options.engine_name == "contraction":
        engine = ContractionEngine()
    elif options.shots is None:
        return "auto"
    else:
        plain = gates_of(options.circuit())
        engine, _ = choose_engine(plain, options.n_values, options.measurement())
    return engine if options.shots is None else SampledEngine(engine, **options.counting())


def check_fidelity(options: Any, model: QuantumTrain) -> None:
    """Refuse a run whose first state a truncated engine has changed too much.

    Args:
        options: The run's, on the engine mps.
        model: Its model.

    Raises:
        UnsupportedByEngine: The state's fidelity is below :data:`LOWEST_FIDELITY`.

    Source:
        Ours: 6,690 weights of 13 qubits and 110 layers, ``max_bond`` 16, train to chance.
    """
    generator: Any = model.generator
    engine = MPSEngine(options.max_bond, cutoff=options.cutoff or 0.0)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        state = engine.prepare(generator.circuit, generator.angles.detach())
    fidelity = state.diagnostics()["fidelity_estimate"]
    if fidelity < LOWEST_FIDELITY:
        expected = f"large enough to keep {LOWEST_FIDELITY:.0%} of the state"
        actual = f"{options.max_bond}, which keeps {100 * fidelity:.1g} %"
        hint = "Raise it, take fewer layers, or allow truncation (allow_truncation)."
        raise UnsupportedByEngine(must_be("max_bond", expected, actual, hint))


def torch_device(name: str) -> torch.device:
    """Return a device of this machine.

    Args:
        name: Its name, as torch has it.

    Raises:
        ValueError: This machine has no such device.
    """
    try:
        device = torch.device(name)
        float(torch.zeros(1, device=device))
    except (RuntimeError, AssertionError) as error:
        expected = "a device of this machine"
        raise ValueError(must_be("torch_device", expected, repr(name))) from error
    return device
