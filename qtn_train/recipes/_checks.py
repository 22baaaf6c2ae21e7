"""What a run's options need of each other."""

from __future__ import annotations

from typing import Any

from ..data import DATASETS
from ..errors import must_be
from ._own import shown
from ._own_data import is_own_data, is_table

#: Layers times qubits: circuits of more gates take minutes to write down.
MAX_SIZE = 1_000_000


def check_target(options: Any) -> None:
    """Refuse data of the user's own without a network, and options that need either.

    Args:
        options: The run's.

    Raises:
        ValueError: An option is missing, or needs another one.
    """
    is_own = is_own_data(options.dataset)
    if is_own and options.target_name is None:
        hint = "For example net.py:Net, the class of a torch module that takes your samples."
        raise ValueError(must_be("target", "given with data of your own", "nothing", hint))
    if options.label is not None and not is_table(options.dataset):
        actual = shown(options.dataset)
        raise ValueError(must_be("dataset", "a csv file with label", actual))
    if options.target_name is not None:
        return
    if options.start == "target":
        hint = f"The networks of {', '.join(DATASETS)} are not trained before."
        raise ValueError(must_be("target", "given with start target", "nothing", hint))
    if options.loss in ("bce", "mse"):
        raise ValueError(must_be("target", f"given with loss {options.loss}", "nothing"))


def check_engine(options: Any) -> None:
    """Refuse options of an engine, or of counting, that the chosen engine lacks.

    Args:
        options: The run's.

    Raises:
        ValueError: An option needs another engine, or is missing for this one.
    """
    for name in ("max_bond", "cutoff"):
        if getattr(options, name) is not None and options.engine_name != "mps":
            raise ValueError(needs(name, "engine", "mps", options.engine_name))
    for name in ("device", "native", "placement"):
        if getattr(options, name) and options.engine_name != "braket":
            raise ValueError(needs(name, "engine", "braket", options.engine_name))
    if options.engine_name == "braket":
        for name, example in (("device", "local:sv"), ("shots", "4000")):
            if getattr(options, name) is None:
                hint = f"For example {example}."
                raise ValueError(must_be(name, "given for the engine braket", "nothing", hint))
    elif options.shots == 0:  # which Braket's local simulators take for: exact
        raise ValueError(must_be("shots", "a positive integer", 0))
    for name in ("gradient", "n_shifts", "step", "mitigate_readout"):
        if getattr(options, name) and options.shots is None:
            raise ValueError(must_be(name, "given with shots", "no shots", "Give shots, too."))
    for name, only in (("n_shifts", "random-shift"), ("step", "spsa")):
        gradient = options.gradient or "parameter-shift"
        if getattr(options, name) is not None and gradient != only:
            raise ValueError(needs(name, "gradient", only, gradient))


def check_size(n_layers: int, n_qubits: int) -> None:
    """Refuse a circuit that takes minutes to write down, without writing it down.

    Args:
        n_layers: Number of layers.
        n_qubits: Number of qubits.

    Raises:
        ValueError: Layers times qubits are more than :data:`MAX_SIZE`.
    """
    most = MAX_SIZE // n_qubits
    if n_layers > most:
        expected = f"at most {most:,} on {n_qubits:,} qubits"
        raise ValueError(must_be("n_layers", expected, f"{n_layers:,}"))


def needs(name: str, other: str, only: str, actual: str) -> str:
    """Return the message of an option that needs another one's value.

    Args:
        name: The option.
        other: The other one.
        only: The value that it needs.
        actual: The value that is there.
    """
    return must_be(other, f"{only!r} with {name}", repr(actual))
