"""One case on TorchQuantum, with stand-ins for what it imports and simulating needs not."""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

#: Modules that are stood in for, and all below them: hardware, data sets, pulses, chemistry.
ABSENT = (
    "dill", "matplotlib", "pathos", "pylatexenc", "qiskit.providers.aer", "qiskit.test.mock",
    "qiskit_aer", "qiskit_ibm_runtime", "qiskit_nature", "sklearn", "torchdiffeq",
    "torchquantum.dataset", "torchquantum.noise_model", "torchquantum.plugin",
    "torchquantum.pulse", "torchvision",
)  # fmt: skip


class Nothing:
    """Stands for a class or function that is never called."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...


class Empty(ModuleType):
    """A module in which any name is :class:`Nothing`."""

    def __getattr__(self, name: str) -> Any:
        if name in ("__path__", "__all__"):
            return []
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Nothing,), {})


class StandIns(MetaPathFinder, Loader):
    """Finds the absent modules."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if any(name == one or name.startswith(f"{one}.") for one in ABSENT):
            return ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None: ...


sys.meta_path.insert(0, StandIns())

import torch  # noqa: E402
import torchquantum as tq  # noqa: E402
import torchquantum.functional as tqf  # noqa: E402
from _serve import Case, Passes, serve  # noqa: E402
from _torch import passes  # noqa: E402


def make(case: Case) -> Passes:
    calls = [(getattr(tqf, {"cx": "cnot"}.get(g, g)), on, by) for g, on, by in case.gates]

    def values(given: torch.Tensor) -> torch.Tensor:
        device = tq.QuantumDevice(n_wires=case.n_qubits)
        for gate, on, by in calls:
            gate(device, wires=on, params=given[by][None] if by else None)
        state = device.get_states_1d()[0]
        return torch.view_as_real(state).square().sum(-1)

    return passes(case, values)


if __name__ == "__main__":
    serve(make, ("torchquantum", "torch", "numpy"))
