"""Options of a run on the command line: one table of names and help for every command.

The library's names differ from those of the options in a few places (:data:`OPTIONS`); what a
value may be is for :class:`qtn_train.recipes.RunOptions` to say.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar

import typer

from ..errors import must_be
from ._help import CIRCUIT, MONEY, NETWORK, SIMULATION, TRAINING

#: Option -> panel, type and help. Here rather than read off the library, whose import takes
#: seconds that ``--help`` need not; a test holds the two equal.
_HELP: dict[str, tuple[str, type, str]] = {
    "target": (
        NETWORK, str, "FILE.py:CLASS, a torch module that is built without arguments, or a "
        "function that builds one.",
    ),
    "label": (NETWORK, str, "Column of a csv file to learn; the last one by default."),
    "start": (
        NETWORK, str, "random, or target: change the weights that the network comes with.",
    ),
    "loss": (
        NETWORK, str, "cross-entropy, nll, bce or mse; cross-entropy for classes, mse for numbers.",
    ),
    "ansatz": (
        CIRCUIT, str,
        "u3-cu3-ring, u3-cu3-chain, ry-cx-chain, brickwork, hardware-efficient, cz-chain or grid; "
        "or FILE.py:FUNCTION, from qubits and layers to a Circuit.",
    ),
    "n_layers": (CIRCUIT, int, "Layers of the circuit."),
    "n_qubits": (CIRCUIT, int, "Qubits; as few as the weights need by default."),
    "circuit": (
        CIRCUIT, str, "File of a program in OpenQASM, whose inputs are trained; no --ansatz then.",
    ),
    "measurement": (
        CIRCUIT, str, "What is read: probabilities, pauli-1, pauli-2 or pauli-3; or "
        "FILE.py:FUNCTION, from qubits to Pauli strings.",
    ),
    "reach": (CIRCUIT, int, "Largest distance between the qubits of a correlator."),
    "mapping": (
        CIRCUIT, str, "What turns values into weights: mlp, tensor-train, identity or mixing.",
    ),
    "bond_dim": (CIRCUIT, int, "Bond dimension of --mapping tensor-train; 4 by default."),
    "weights_per_outcome": (
        CIRCUIT, int, "Weights that the mapping makes of each outcome; more need fewer qubits.",
    ),
    "training_shots": (
        TRAINING, int, "Shots whose noise correlators have in training; 0 for none.",
    ),
    "recipe": (CIRCUIT, str, "Whose choices to take where nothing is said: default or published."),
    "engine": (SIMULATION, str, "auto, mps, statevector, contraction or braket."),
    "max_bond": (SIMULATION, int, "Bond dimension at which --engine mps truncates."),
    "cutoff": (SIMULATION, float, "Share of the norm that --engine mps may cut off besides."),
    "allow_truncation": (SIMULATION, bool, "Begin although truncation leaves nearly nothing."),
    "shots": (SIMULATION, int, "Shots of each circuit; exact probabilities by default."),
    "gradient": (
        SIMULATION, str, "With --shots: parameter-shift (the default), random-shift or spsa.",
    ),
    "n_shifts": (SIMULATION, int, "With random-shift: places of the circuit that it takes."),
    "step": (SIMULATION, float, "With spsa: its step in radians; 0.1 by default."),
    "mitigate_readout": (SIMULATION, bool, "Measure and invert errors of readout."),
    "epochs": (TRAINING, int, "Passes over the training set."),
    "lr": (TRAINING, float, "Peak learning rate of the circuit."),
    "lr_mapping": (TRAINING, float, "Peak learning rate of the mapping; in proportion by default."),
    "batch_size": (TRAINING, int, "Samples of a step."),
    "seed": (TRAINING, int, "Seed of all that is random."),
    "torch_device": (TRAINING, str, "Where torch computes: cpu, cuda, cuda:1, …"),
    "device": (
        MONEY, str, "local:sv, local:dm, emulator:FILE, or a Braket device's name or ARN.",
    ),
    "native": (MONEY, bool, "Send the device's native gates verbatim."),
    "placement": (MONEY, str, "Physical label of each qubit, with commas; else found."),
}  # fmt: skip

#: Name in the library -> name of the option, where they differ.
OPTIONS = {"n_layers": "layers", "n_qubits": "qubits", "measurement": "measure"}

#: All options of a training run, the data set aside.
ALL = tuple(_HELP)

Function = TypeVar("Function", bound=Callable[..., Any])


def option_of(name: str) -> str:
    """Return the command line's option for a name in the library.

    Example:
        >>> option_of("n_layers"), option_of("batch_size")
        ('--layers', '--batch-size')
    """
    return "--" + OPTIONS.get(name, name).replace("_", "-")


def run_options(names: Iterable[str]) -> Callable[[Function], Function]:
    """Return a decorator that gives a command options of a run: they arrive in its ``**options``.

    Args:
        names: Names in the library.

    Returns:
        The decorator.
    """

    def decorate(function: Function) -> Function:
        own = inspect.signature(function, eval_str=True).parameters.values()
        kept = [p for p in own if p.kind is not inspect.Parameter.VAR_KEYWORD]
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name in names
            for kind in (_annotation(name),)
        ]
        function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in kept), *added]
        )
        return function

    return decorate


def _annotation(name: str) -> Any:
    panel, kind, text = _HELP[name]
    option = typer.Option(option_of(name), help=text, rich_help_panel=panel)
    return Annotated[kind | None, option]


def read_tags(texts: Iterable[str], name: str) -> dict[str, str]:
    """Return the user's tags of tasks, each given as ``NAME=VALUE``.

    Args:
        texts: The texts.
        name: The option's name in a message.

    Raises:
        ValueError: A text is not of that form, or a name is given twice.

    Example:
        >>> read_tags(["project=iris", "owner="], "tag")
        {'project': 'iris', 'owner': ''}
    """
    tags: dict[str, str] = {}
    for text in texts:
        tag, equals, value = text.partition("=")
        if not equals or not tag or tag in tags:
            raise ValueError(must_be(name, "NAME=VALUE, each name once", repr(text)))
        tags[tag] = value
    return tags


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's options that were given, in the form :meth:`RunOptions.from_json` takes.

    Args:
        options: By name; None where nothing was given.

    Returns:
        Values by name. In words of a list, case and the kind of dash do not matter.
    """
    from ..recipes import SETTINGS

    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        setting = SETTINGS[name]
        if isinstance(value, str) and setting.reads(value):
            given[name] = setting.check(name, value)
        elif setting.choices and isinstance(value, str):
            given[name] = value.lower().replace("_", "-")
    if str(given.get("device")).partition(":")[0] in ("cpu", "cuda"):
        hint = "Where torch computes is for --torch-device to say."
        expected = "a device of Amazon Braket, or local:sv"
        raise ValueError(must_be("device", expected, repr(given["device"]), hint))
    if isinstance(given.get("placement"), str):
        given["placement"] = _labels(given["placement"])
    return given


def _labels(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(label) for label in text.split(","))
    except ValueError as error:
        hint = "For example 1,2,5."
        raise ValueError(must_be("placement", "numbers and commas", repr(text), hint)) from error
