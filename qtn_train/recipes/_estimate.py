"""How long a run will take on this machine: a few of its steps are made, the rest is multiplied.

    first step (compiles, searches for a tree) + steps × a step + epochs × an evaluation

Nothing is fitted, so that the figure holds on any machine and for parts of the user's own. Where
one step is expected to take minutes, none is made: then the engine's own estimate of a pass stands
in, which is good for the order of magnitude alone.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..data import Dataset
from ..engines._auto import Request, contraction_estimate, mps_estimate, request_of
from ..engines._auto import statevector_estimate as dense_estimate
from ..errors import must_be
from ..exchange._imported import gates_of
from ..hybrid import QuantumTrain
from ..training._step import make_optimizer, measure, training_step

if TYPE_CHECKING:
    from ._options import RunOptions

#: Seconds that trying may take, and those above which a single step is not tried.
TRY_SECONDS, MOST_SECONDS = 3.0, 60.0

_FEWEST, _MOST = 3, 30


@dataclass(frozen=True)
class TrainingTime:
    """Expected seconds of a training run on this machine, with the threads that torch has now.

    Attributes:
        seconds: All of it.
        first_s: The model, its first step and evaluation, where what is done once is done.
        step_s: One step.
        evaluation_s: One evaluation of the test set.
        epochs: Passes over the training set.
        steps: Steps of all epochs together.
        tried: How many steps were made for this; 0: the engine's estimate stands in.
        engine: Which engine.
    """

    seconds: float
    first_s: float
    step_s: float
    evaluation_s: float
    epochs: int
    steps: int
    tried: int
    engine: str

    def to_json(self) -> dict[str, Any]:
        """Return all figures by name."""
        return asdict(self)


def estimate_time(
    options: RunOptions, data: Dataset, clock: Callable[[], float] = time.perf_counter
) -> TrainingTime:
    """Estimate the time of a training run by making a few of its steps.

    Args:
        options: The run's.
        data: Its data set.
        clock: What counts seconds; ``time.process_time`` leaves other programs out.

    Returns:
        The estimate.

    Raises:
        ValueError: The run executes circuits on a device, whose queue decides.

    Source:
        Ours; ``benchmarks.estimates`` holds it against whole runs.
    """
    if options.engine_name == "braket":
        hint = "`qtn-train braket estimate` tells price, circuits and when the device executes."
        raise ValueError(must_be("engine", "a simulator of this machine", "braket", hint))
    config = options.fit_config()
    per_epoch = math.ceil(len(data.y_train) / config.batch_size)
    steps = per_epoch * config.epochs
    began = clock()
    model = options.model()
    options.check_data(model, data)
    engine = repr(getattr(model.generator, "engine", model.generator))
    expected = _expected_seconds(options)
    if expected > MOST_SECONDS:
        # Each evaluation makes the weights once more, a forward pass.
        seconds = expected * (steps + config.epochs / 3)
        return TrainingTime(seconds, 0.0, expected, expected / 3, config.epochs, steps, 0, engine)
    trial = _Trial(options, model, data, clock)
    trial.step()
    trial.evaluate()
    first = clock() - began
    step_s, n_tried = trial.steps(min(_MOST, steps))
    evaluation_s = trial.evaluate()
    seconds = first + step_s * (steps - 1) + evaluation_s * (config.epochs - 1)
    return TrainingTime(
        seconds, first, step_s, evaluation_s, config.epochs, steps, 1 + n_tried, engine
    )


class _Trial:
    """Steps and evaluations of a run, one after the other."""

    def __init__(
        self, options: RunOptions, model: QuantumTrain, data: Dataset, clock: Callable[[], float]
    ) -> None:
        self.model, self.clock = model, clock
        self.config = options.fit_config()
        self.goal = options.objective(data)
        self.optimizer = make_optimizer(model, self.config)
        device = next(model.parameters()).device
        size = self.config.batch_size
        self.batch = (data.x_train[:size].to(device), data.y_train[:size].to(device))
        self.test = (data.x_test.to(device), data.y_test.to(device))

    def step(self) -> float:
        """Make one step; return its seconds."""
        began = self.clock()
        self.model.train()
        training_step(
            self.model, self.optimizer, *self.batch, self.config.clip_norm, goal=self.goal
        )
        return self.clock() - began

    def steps(self, most: int) -> tuple[float, int]:
        """Return the median seconds of up to so many steps, and how many were made for it."""
        took = [self.step()]
        while len(took) < most and (sum(took) < TRY_SECONDS / 2 or len(took) < _FEWEST):
            if took[0] > TRY_SECONDS:
                break
            took.append(self.step())
        return statistics.median(took), len(took)

    def evaluate(self) -> float:
        """Evaluate the test set once; return the seconds."""
        began = self.clock()
        measure(self.model, *self.test, self.goal)
        return self.clock() - began


def _expected_seconds(options: RunOptions) -> float:
    """Return the seconds of a step by the engines' own estimates, on one core."""
    circuit = gates_of(options.circuit())
    n_values, reads = options.n_values, options.measurement()
    request: Request = request_of(circuit.n_qubits, n_values, reads)
    found = []
    if options.engine_name in ("auto", "statevector"):
        found.append(dense_estimate(circuit, request).seconds)
    if options.engine_name in ("auto", "mps"):
        found.append(mps_estimate(circuit, request, "complex64", options.max_bond).seconds)
    if options.engine_name == "contraction":
        network = contraction_estimate(circuit, request)
        found.append(math.inf if network is None else network.seconds)
    passes = 1.0
    if options.shots is not None and options.gradient != "spsa":
        passes = 2.0 * (options.n_shifts or circuit.n_angles) / 3
    return passes * min(found)
