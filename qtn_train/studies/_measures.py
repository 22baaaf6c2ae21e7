"""The measures of studies: each with settings, values and the panels of a figure.

Angles are uniform in [−π, π) and depend on the seed and the circuit alone, not on the engine: the
points of a sweep over ``max_bond`` see the same circuit with the same angles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..circuits import ANSATZE
from ..recipes import MAX_LAYERS, MAX_QUBITS, SETTINGS, Setting, check_size
from ..recipes._ansatz import ansatz_with_hash
from ..recipes._own import is_own
from . import _circuits, _geometry, _ground, _observable, _training

#: Truncation errors above this make a point untrustworthy: it is marked, and never fitted.
MAX_TRUNCATION_ERROR = 0.01

Row = dict[str, Any]


def _check_size(point: Row) -> None:
    """Refuse circuits with so many gates that building them takes minutes."""
    if point.get("n_qubits") is not None:
        check_size(point["n_layers"], point["n_qubits"])


@dataclass(frozen=True)
class Panel:
    """One panel of a measure's figure.

    Attributes:
        value: The value drawn.
        label: Label of its axis, with the unit.
        log: Whether its axis is logarithmic.
        statistic: ``"mean"`` (with the standard deviation over the repeats) or ``"variance"``.
    """

    value: str
    label: str
    log: bool = False
    statistic: str = "mean"


@dataclass(frozen=True)
class Measure:
    """A measure: the numbers that a study takes at each point, the settings, and the figure.

    Attributes:
        name: As in a study file.
        about: One line for people.
        settings: By name, in the order of the columns.
        values: Name and type of each value measured; any of them may be missing in a row.
        run: Takes a point's settings and a seed, returns the values.
        x: The setting on the horizontal axis of the figure.
        panels: The figure.
        log_x: Whether the horizontal axis is logarithmic.
        cuts: Whether the truncation error is what is looked for: then it marks nothing.
        check: Refuses settings that do not go together.
    """

    name: str
    about: str
    settings: dict[str, Setting]
    values: dict[str, type]
    run: Callable[[Row, int], Row]
    x: str
    panels: tuple[Panel, ...]
    log_x: bool = False
    cuts: bool = False
    check: Callable[[Row], None] = _check_size


_NAMES = tuple(ANSATZE)

_CIRCUIT = {
    "ansatz": Setting(str, "u3-cu3-chain", _NAMES, read=ansatz_with_hash, is_file=is_own),
    "n_qubits": Setting(int, high=MAX_QUBITS),
    "n_layers": Setting(int, high=MAX_LAYERS),
}
_DENSE = {
    "ansatz": Setting(str, "u3-cu3-chain", _NAMES, read=ansatz_with_hash, is_file=is_own),
    "n_qubits": Setting(int, high=24),
    "n_layers": Setting(int, high=MAX_LAYERS),
}
_CUT = {"truncation_error": float, "fidelity_estimate": float}

GRADIENT_VARIANCE = Measure(
    "gradient-variance",
    "derivatives of ⟨Z⟩ of the middle qubit and of p(0…0) by the middle qubit's first angle",
    {
        **_CIRCUIT,
        "engine": Setting(str, "auto", ("auto", "mps", "statevector")),
        "max_bond": Setting(int, 256),
    },
    {
        "gradient_z": float,
        "gradient_p0": float,
        "value_z": float,
        "value_p0": float,
        "engine_used": str,
        "bond_count": int,
        **_CUT,
    },
    _circuits.gradient_variance,
    "n_qubits",
    (
        Panel("gradient_z", "variance of ∂⟨Z⟩/∂θ (1/rad²)", True, "variance"),
        Panel("gradient_p0", "variance of ∂p(0…0)/∂θ (1/rad²)", True, "variance"),
    ),
)

TRUNCATION = Measure(
    "truncation",
    "what cutting the bonds at max_bond costs, against the exact state",
    {**_CIRCUIT, "max_bond": Setting(int), "cutoff": Setting(float, 0.0, low=0, high=0.5)},
    {**_CUT, "infidelity": float, "distance": float, "largest_bond": int},
    _circuits.truncation,
    "max_bond",
    (
        Panel("truncation_error", "truncation error Σ√w (bound on √infidelity)", True),
        Panel("infidelity", "infidelity 1 − |⟨exact|cut⟩|²", True),
    ),
    log_x=True,
    cuts=True,
)

ENTROPY = Measure(
    "entropy",
    "entanglement entropy of the bonds",
    {**_CIRCUIT, "max_bond": Setting(int, 256)},
    {
        "entropy_middle": float,
        "entropy_mean": float,
        "entropy_max": float,
        "largest_bond": int,
        **_CUT,
    },
    _circuits.entropy,
    "n_layers",
    (
        Panel("entropy_middle", "entropy of the middle bond (bits)"),
        Panel("entropy_mean", "mean entropy of all bonds (bits)"),
    ),
)

PROBABILITIES = Measure(
    "probabilities",
    "the distribution of the outcome probabilities, against that of a random state",
    dict(_DENSE),
    {
        "shannon_entropy": float,
        "collision": float,
        "largest": float,
        "quantile_10": float,
        "quantile_50": float,
        "quantile_90": float,
        "porter_thomas_distance": float,
    },
    _circuits.probabilities,
    "n_layers",
    (
        Panel("collision", "2ᴺ Σp² (2 for a random state)", True),
        Panel("porter_thomas_distance", "largest difference to 1 − exp(−2ᴺp)"),
    ),
)

COST = Measure(
    "cost",
    "seconds and memory of one forward and one backward pass",
    {
        **_CIRCUIT,
        "engine": Setting(str, "mps", ("mps", "statevector")),
        "max_bond": Setting(int, 64),
        "n_outcomes": Setting(int, 1024, high=2**24),
        "dtype": Setting(str, "complex64", ("complex64", "complex128")),
    },
    {
        "forward_s": float,
        "backward_s": float,
        "state_mb": float,
        "largest_bond": int,
        "n_angles": int,
        **_CUT,
    },
    _circuits.cost,
    "n_qubits",
    (
        Panel("forward_s", "forward pass (s)", True),
        Panel("backward_s", "backward pass (s)", True),
    ),
    log_x=True,
)

GEOMETRY = Measure(
    "geometry",
    "cost and truncation error of ⟨Z⟩ of the middle qubit on a chain, a ring or a grid",
    {
        "geometry": Setting(str, "chain", _geometry.GEOMETRIES),
        "n_qubits": _CIRCUIT["n_qubits"],
        "n_layers": _CIRCUIT["n_layers"],
        "engine": Setting(str, "mps", ("mps", "statevector", "contraction")),
        "max_bond": Setting(int, 32),
    },
    {
        "processor_s": float,
        "first_s": float,
        "value_z": float,
        "largest_bond": int,
        "exact_bond": int,
        **_CUT,
    },
    _geometry.geometry,
    "n_qubits",
    (
        Panel("processor_s", "forward and backward (s of one core)", True),
        Panel("truncation_error", "truncation error Σ√w", True),
    ),
    check=_geometry.check,
)

GROUND_STATE = Measure(
    "ground-state",
    "lowest energy of an Ising or a Heisenberg chain that a circuit reaches, against DMRG",
    {
        "model": Setting(str, "ising", tuple(_ground.MODELS)),
        "field": Setting(float, 1.0, low=0, high=100),
        **_CIRCUIT,
        "max_bond": Setting(int, 64),
        "steps": Setting(int, 300, high=100_000),
    },
    {
        "energy_per_site": float,
        "start_per_site": float,
        "n_steps": int,
        "dmrg_per_site": float,
        "error_per_site": float,
        "largest_bond": int,
        "entropy_middle": float,
        "n_angles": int,
        **_CUT,
    },
    _ground.minimize,
    "n_layers",
    (
        Panel("error_per_site", "energy above DMRG (per site, in units of J)", True),
        Panel("entropy_middle", "entanglement entropy of the middle (bits)"),
    ),
    check=_ground.check,
)

OBSERVABLE = Measure(
    "observable",
    "an observable of one's own, and its error against the exact state where that fits",
    {
        "observable": Setting(str, read=_observable.with_hash),
        **_CIRCUIT,
        "engine": Setting(str, "auto", ("auto", "mps", "statevector", "contraction")),
        "max_bond": Setting(int, 64),
    },
    {
        "value": float,
        "exact_value": float,
        "largest_error": float,
        "rms_error": float,
        "processor_s": float,
        "largest_bond": int,
        "exact_bond": int,
        **_CUT,
    },
    _observable.observable,
    "n_qubits",
    (
        Panel("value", "mean of the observable"),
        Panel("largest_error", "largest error against the exact state", True),
    ),
    check=_observable.check,
)

TRAIN = Measure(
    "train",
    "a whole training run",
    _training.TRAIN_SETTINGS,
    {
        "test_accuracy": float,
        "test_loss": float,
        "test_r2": float,
        "train_accuracy": float,
        "train_loss": float,
        "n_weights": int,
        "n_trainable": int,
        "compression": float,
        **_CUT,
    },
    _training.train,
    "n_layers",
    (
        Panel("test_accuracy", "test accuracy (share of 1)"),
        Panel("test_loss", "test cross entropy (nats)", True),
    ),
    check=_training.check,
)

SHOTS = Measure(
    "shots",
    "accuracy of a network that was trained exactly and is read from counted shots",
    {
        **{name: SETTINGS[name] for name in ("dataset", "ansatz", "n_layers", "epochs")},
        "shots": Setting(int),
    },
    {
        "test_accuracy": float,
        "exact_accuracy": float,
        "total_variation": float,
        "outcomes_seen": int,
    },
    _training.shots,
    "shots",
    (
        Panel("test_accuracy", "test accuracy (share of 1)"),
        Panel("total_variation", "total variation, counts to exact", True),
    ),
    log_x=True,
    check=_training.check_shots,
)

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        TRAIN, GRADIENT_VARIANCE, TRUNCATION, ENTROPY, PROBABILITIES, COST, GEOMETRY,
        GROUND_STATE, OBSERVABLE, SHOTS,
    )
}  # fmt: skip
