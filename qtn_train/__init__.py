"""Train classical neural networks through quantum circuits.

The weights of a classical network are read off the outcome probabilities of a parameterized
circuit. Gradients flow back through the whole chain, and once trained, nothing quantum is left.

    import torch, qtn_train as qt

    model = qt.QuantumTrain(target, seed=0)     # any torch.nn.Module
    logits = model(x)                           # any torch loop trains model.parameters()
    net = model.export()                        # a plain module of the target's class
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Public name -> where it is found when first asked for; importing this package loads none of it.
_PUBLIC = {
    "ansatz": "circuits",
    "Circuit": "circuits",
    "ImportedCircuit": "exchange",
    "export_circuit": "exchange",
    "import_circuit": "exchange",
    "Engine": "engines",
    "State": "engines",
    "ContractionEngine": "engines",
    "MPSEngine": "engines",
    "MPSState": "engines",
    "enable_quimb_gradients": "engines",
    "StatevectorEngine": "engines",
    "SampledEngine": "engines",
    "BraketEngine": "engines",
    "NoisyEngine": "engines",
    "RecordedEngine": "engines",
    "register_engine": "engines",
    "Measurement": "measurements",
    "Probabilities": "measurements",
    "Expectation": "measurements",
    "PauliCorrelators": "measurements",
    "hamiltonian": "measurements",
    "register_measurement": "measurements",
    "MappingModel": "mapping",
    "MLPMapping": "mapping",
    "IdentityMapping": "mapping",
    "MixingMapping": "mapping",
    "register_mapping": "mapping",
    "TensorTrainMapping": "mapping",
    "WeightGenerator": "generators",
    "register_generator": "generators",
    "CircuitGenerator": "generators",
    "qubits_needed": "generators",
    "QuantumTrain": "hybrid",
    "Layout": "hybrid",
    "PUBLISHED_LAYOUT": "hybrid",
    "Dataset": "data",
    "load_dataset": "data",
    "FitConfig": "training",
    "Callback": "training",
    "EarlyStopping": "training",
    "BestCheckpoint": "training",
    "CSVLog": "training",
    "JSONLinesLog": "training",
    "TensorBoard": "training",
    "WandB": "training",
    "History": "training",
    "fit": "training",
    "evaluate": "training",
    "errors": "errors",
}

__all__ = [*_PUBLIC, "__version__"]

if TYPE_CHECKING:
    from . import errors
    from .circuits import Circuit, ansatz
    from .data import Dataset
    from .data import load as load_dataset
    from .engines import (
        BraketEngine,
        ContractionEngine,
        Engine,
        MPSEngine,
        MPSState,
        NoisyEngine,
        RecordedEngine,
        SampledEngine,
        State,
        StatevectorEngine,
        enable_quimb_gradients,
        register_engine,
    )
    from .exchange import ImportedCircuit, export_circuit, import_circuit
    from .generators import (
        CircuitGenerator,
        WeightGenerator,
        qubits_needed,
        register_generator,
    )
    from .hybrid import PUBLISHED_LAYOUT, Layout, QuantumTrain
    from .mapping import (
        IdentityMapping,
        MappingModel,
        MixingMapping,
        MLPMapping,
        TensorTrainMapping,
        register_mapping,
    )
    from .measurements import (
        Expectation,
        Measurement,
        PauliCorrelators,
        Probabilities,
        hamiltonian,
        register_measurement,
    )
    from .training import (
        BestCheckpoint,
        Callback,
        CSVLog,
        EarlyStopping,
        FitConfig,
        History,
        JSONLinesLog,
        TensorBoard,
        WandB,
        evaluate,
        fit,
    )


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("qtn_train")
    if name == "braket":  # a room of its own
        return importlib.import_module(".braket", __name__)
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_PUBLIC[name]}", __name__)
    if name == "errors":
        return module
    return getattr(module, "load" if name == "load_dataset" else name)


def __dir__() -> list[str]:
    return sorted(__all__)
