"""Engines: they run circuits, and give probabilities with gradients."""

from __future__ import annotations

from typing import Any

from ..errors import must_be
from ..measurements._estimators import n_circuits
from ._auto import choose_engine
from ._base import Engine, State
from .counting._base import CountingEngine, EstimatedState, SampledEngine
from .counting._braket import BraketEngine
from .counting._noisy import NoisyEngine
from .counting._recorded import RecordedEngine
from .mps._engine import MPSEngine, MPSState, register_quimb_driver
from .statevector._engine import StatevectorEngine, StatevectorState

__all__ = [
    "BraketEngine",
    "CountingEngine",
    "Engine",
    "EstimatedState",
    "MPSEngine",
    "MPSState",
    "NoisyEngine",
    "SampledEngine",
    "State",
    "StatevectorEngine",
    "StatevectorState",
    "choose_engine",
    "engine_config",
    "engine_from_config",
    "n_circuits",
    "register_quimb_driver",
]


def engine_config(engine: Engine) -> dict[str, Any]:
    """Describe an engine as JSON data; :func:`engine_from_config` builds it again.

    Args:
        engine: One of this package's engines.

    Returns:
        Its class under ``kind``, and its arguments.

    Raises:
        TypeError: An engine of somebody else's.
    """
    if isinstance(engine, SampledEngine):
        return {"kind": "sampled", "engine": engine_config(engine.engine), **engine.options()}
    if isinstance(engine, NoisyEngine):
        return {"kind": "noisy", "engine": engine_config(engine.engine), **engine.options()}
    if isinstance(engine, BraketEngine | RecordedEngine):
        return {"kind": "braket", **engine.config()}
    if isinstance(engine, StatevectorEngine):
        return {"kind": "statevector", "dtype": engine.dtype}
    if isinstance(engine, MPSEngine):
        names = ("max_bond", "cutoff", "svd_gradient", "dtype")
        return {"kind": "mps"} | {name: getattr(engine, name) for name in names}
    raise TypeError(must_be("engine", "an engine of qtn_train", type(engine).__name__))


def engine_from_config(config: dict[str, Any]) -> Engine:
    """Build the engine that :func:`engine_config` described.

    Args:
        config: Such a description.

    Returns:
        The engine.

    Raises:
        ValueError: An unknown kind, or a device that costs money: such an engine needs a journal
            and a budget.
    """
    options = dict(config)
    kind = options.pop("kind", None)
    if kind == "sampled":
        return SampledEngine(engine_from_config(options.pop("engine")), **options)
    if kind == "noisy":
        options["readout_error"] = tuple(options["readout_error"])
        return NoisyEngine(engine_from_config(options.pop("engine")), **options)
    if kind == "braket":
        return BraketEngine(**options)
    if kind == "statevector":
        return StatevectorEngine(**options)
    if kind == "mps":
        return MPSEngine(**options)
    expected = "'statevector', 'mps', 'sampled', 'noisy' or 'braket'"
    raise ValueError(must_be("engine kind", expected, repr(kind), "Update qtn_train."))
