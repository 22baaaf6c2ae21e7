"""The public door: what it offers, what it costs to open, and that all of it is documented."""

import dataclasses
import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import pytest

import qtn_train as qt

MODULES = (
    "circuits",
    "exchange",
    "engines",
    "measurements",
    "mapping",
    "generators",
    "hybrid",
    "data",
    "training",
    "recipes",
    "comparison",
    "studies",
    "errors",
)
HEAVY = "torch numpy scipy quimb tensornetwork cotengra braket matplotlib sklearn typer".split()


def test_the_door_is_small_and_every_name_is_there() -> None:
    assert len(qt.__all__) <= 51
    assert len(set(qt.__all__)) == len(qt.__all__)
    for name in qt.__all__:
        assert getattr(qt, name) is not None
        assert name in dir(qt)


def test_dir_is_the_list_of_public_names() -> None:
    assert dir(qt) == sorted(qt.__all__)


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="module 'qtn_train' has no attribute 'QuantumTran'"):
        qt.QuantumTran  # noqa: B018
    assert not hasattr(qt, "_nothing")


def test_version() -> None:
    assert qt.__version__ == metadata.version("qtn_train")


def test_every_name_is_the_one_of_its_module() -> None:
    for name, module in qt._PUBLIC.items():
        home = importlib.import_module(f"qtn_train.{module}")
        if name == "errors":
            assert qt.errors is home
        else:
            assert getattr(qt, name) is getattr(home, "load" if name == "load_dataset" else name)


def fresh(code: str) -> Any:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return json.loads(run.stdout)


def test_importing_the_package_is_light_and_silent() -> None:
    code = """
import json, sys
before = set(sys.modules)
import qtn_train
dir(qtn_train)
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    loaded = fresh(code)
    assert "qtn_train" in loaded
    assert not {name.split(".")[0] for name in loaded} & set(HEAVY)
    assert len(loaded) < 60


def test_using_the_names_loads_no_optional_package_and_changes_no_global_state() -> None:
    code = """
import json, sys
def loaded():
    return sorted({name.split(".")[0] for name in sys.modules})
import qtn_train as qt
qt.ansatz.u3_cu3_ring(3, 1)
circuits = loaded()
import logging, os, torch, warnings
def state():
    return [str(torch.get_default_dtype()), torch.get_num_threads(), len(warnings.filters),
            torch.initial_seed(), logging.getLogger().level, len(logging.getLogger().handlers),
            dict(os.environ)]
before = state()
qt.QuantumTrain, qt.MLPMapping, qt.StatevectorEngine, qt.SampledEngine, qt.CircuitGenerator
models = loaded()
for name in qt.__all__:
    getattr(qt, name)
print(json.dumps([circuits, models, before == state()]))
"""
    circuits, models, unchanged = fresh(code)
    assert "numpy" in circuits
    assert not set(circuits) & (set(HEAVY) - {"numpy"})
    late = {"quimb", "tensornetwork", "cotengra", "braket", "matplotlib", "sklearn", "typer"}
    assert not set(models) & late
    assert unchanged


# Documentation


def public_objects() -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    for module_name in MODULES:
        module = importlib.import_module(f"qtn_train.{module_name}")
        for name in getattr(module, "__all__", None) or vars(module):
            value = getattr(module, name)
            own = getattr(value, "__module__", "").startswith(f"qtn_train.{module_name}")
            if name.startswith("_") or not own or id(value) in seen:
                continue
            if inspect.isclass(value) or inspect.isfunction(value):
                seen.add(id(value))
                yield f"{module_name}.{name}", value
    for name in qt.ansatz.__all__:
        if inspect.isfunction(getattr(qt.ansatz, name)):
            yield f"ansatz.{name}", getattr(qt.ansatz, name)


PUBLIC = dict(public_objects())
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}


def parameters_of(function: Any) -> list[str]:
    names = list(inspect.signature(function).parameters)
    return [name for name in names if name not in ("self", "cls", "args", "kwargs")]


def test_the_walk_finds_what_it_should() -> None:
    assert {"hybrid.QuantumTrain", "engines.Engine", "training.fit", "data.load"} <= set(PUBLIC)
    assert "hybrid.Tensor" not in PUBLIC
    assert len(CLASSES) > 20
    assert len(FUNCTIONS) > 10


@pytest.mark.parametrize("name", PUBLIC)
def test_docstrings_begin_with_one_line(name: str) -> None:
    text = inspect.getdoc(PUBLIC[name]) or ""
    first, *rest = [*text.splitlines(), ""]
    assert first.endswith(".")
    assert rest[0] == ""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_tell_their_arguments_and_results(name: str) -> None:
    function = FUNCTIONS[name]
    text = inspect.getdoc(function) or ""
    for parameter in parameters_of(function):
        assert f"{parameter}:" in text, f"{name} does not tell what {parameter} is"
    returned = inspect.signature(function).return_annotation
    if "Args:" in text and str(returned) != "None":
        assert "Returns:" in text
    if "raise " in inspect.getsource(function):
        assert "Raises:" in text or "or raise" in text


@pytest.mark.parametrize("name", CLASSES)
def test_classes_tell_their_arguments_and_methods(name: str) -> None:
    cls = CLASSES[name]
    text = inspect.getdoc(cls) or ""
    if dataclasses.is_dataclass(cls):
        told = [f.name for f in dataclasses.fields(cls) if f.init]
        told = told if "Attributes:" in text or "Args:" in text else []
    else:
        told = parameters_of(cls.__init__) if "Args:" in text else []
    for parameter in told:
        assert f"{parameter}:" in text, f"{name} does not tell what {parameter} is"
    for attribute, value in vars(cls).items():
        method = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if not attribute.startswith("_") and inspect.isfunction(method):
            assert inspect.getdoc(method), f"{name}.{attribute} has no docstring"


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in qt.__all__
        if n not in ("__version__", "errors", "ansatz", "hamiltonian", "evaluate")
    ],
)
def test_everything_at_the_door_that_can_be_built_or_called_has_an_example_or_is_plain_data(
    name: str,
) -> None:
    value = getattr(qt, name)
    plain = dataclasses.is_dataclass(value) or not callable(value)
    if not plain and not inspect.isabstract(value):
        assert "Example:" in (inspect.getdoc(value) or "")
