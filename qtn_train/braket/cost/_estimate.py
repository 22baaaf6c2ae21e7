"""What a run would cost, and whether it can work at all, before anything is sent.

Cost comes from the numbers of circuits and shots, the expected fidelity from the calibration of
the qubits that the circuit will run on (``device/_fidelity.py``).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from ...circuits import ANSATZE, Circuit, Lowered
from ...errors import count, positive_int
from ...exchange import ImportedCircuit
from ...exchange._imported import gates_of
from ...measurements import Measurement
from ...measurements._estimators import GradientMethod, n_circuits
from ..device._fidelity import executed_gates, expected_fidelity, gate_counts, settled_placement
from ..device._placement import fits
from ..device._target import Target, check
from ._cones import ConeFidelities, cone_fidelities
from ._money import LEAST_SECONDS, Prices, cost_of, current_prices, show_usd, split

#: Below this a run is warned of.
LEAST_FIDELITY = 0.1

#: More layers than these are not suggested, however good the device.
_MOST_LAYERS = 16

#: Seconds for one amplitude in one gate on SV1: 34 qubits at depth 34 take one to two hours there.
_SECONDS = 3e-10

#: The estimate of a simulator's time may be wrong by this factor, either way.
_DOUBT = 3.0


@dataclass(frozen=True)
class Bill:
    """Tasks, shots and cost in USD of a number of circuit executions.

    Attributes:
        circuits: Circuits with inputs, calibration included.
        tasks: Task fees: program sets and single tasks together.
        program_sets: How many of them are program sets.
        shots: Shots of all circuits.
        usd_low: The least that this costs; on QPUs it is exact, unless a random subset of the
            angles decides how many circuits there are.
        usd_high: The most; of the numbers above, too.
    """

    circuits: int
    tasks: int
    program_sets: int
    shots: int
    usd_low: Decimal
    usd_high: Decimal

    def __add__(self, other: Bill) -> Bill:
        return Bill(*(a + b for a, b in zip(_fields(self), _fields(other), strict=True)))

    def times(self, factor: int) -> Bill:
        """Return the bill of ``factor`` such executions."""
        return Bill(*(factor * value for value in _fields(self)))


def _fields(bill: Bill) -> tuple[Any, ...]:
    return tuple(bill.__dict__.values())


@dataclass(frozen=True)
class Estimate:
    """The expected cost of a run in USD, and how far its counts can be trusted.

    Attributes:
        device: The device's name.
        step: One gradient step: a forward and a backward pass.
        run: All steps, and the evaluations beside them.
        steps: How many steps.
        price_date: When the prices were published; "" where nothing is paid.
        price_source: Where they are from.
        two_qubit_gates: Gates on two qubits in one circuit, once lowered.
        one_qubit_gates: Gates on one qubit, without those about z, which take no time.
        fidelity: Expected share of shots without any error; None without calibration.
        placement: The labels whose calibration that is; None: the medians over the device, since
            the service chooses the labels.
        shots_per_outcome: Shots / 2**n_qubits; None where single values are measured.
        cones: Expected fidelities of single values, each over its light cone alone; None for
            probabilities, which depend on all qubits, and without calibration.
        standard_error: Of a single value between −1 and 1, at most; None for probabilities, and
            for 0 shots.
        warnings: One sentence or two each.
    """

    device: str
    step: Bill
    run: Bill
    steps: int
    price_date: str
    price_source: str
    two_qubit_gates: int
    one_qubit_gates: int
    fidelity: float | None
    placement: tuple[int, ...] | None
    shots_per_outcome: float | None
    cones: ConeFidelities | None
    standard_error: float | None
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as JSON data; amounts in USD are strings."""
        data = asdict(self) | {"warnings": list(self.warnings)}
        for name in ("step", "run"):
            data[name] |= {key: f"{data[name][key]:f}" for key in ("usd_low", "usd_high")}
        return data

    def lines(self) -> Iterator[str]:
        """Yield the estimate as lines of text for the terminal."""
        yield f"device             {self.device}"
        if self.steps:
            yield f"a gradient step    {_told(self.step)}"
            yield f"the run            {_told(self.run)} ({count(self.steps, 'step')})"
        else:
            yield f"the run            {_told(self.run)}"
        if self.price_source:
            told = (self.price_date, self.price_source)
            yield f"prices             {', '.join(one for one in told if one)}"
        gates = f"{self.two_qubit_gates:,} on two qubits, {self.one_qubit_gates:,} on one"
        yield f"gates              {gates}"
        if self.fidelity is not None:
            yield f"expected fidelity  {self.fidelity:.2g}, {_whose(self.placement)}"
        if self.cones is not None:
            yield f"of single values   {_of_values(self.cones)}"
        if self.standard_error is not None:
            yield f"standard error     {self.standard_error:.2g} of each correlator or string"
        if self.shots_per_outcome is not None:
            yield f"shots per outcome  {self.shots_per_outcome:.3g}"
        yield from (f"warning: {text}" for text in self.warnings)


def _whose(placement: tuple[int, ...] | None) -> str:
    """Return whose calibration an expected fidelity comes from, for people."""
    if placement is None:
        return "by the device's medians"
    return f"on qubits {', '.join(map(str, placement))}"


def _of_values(cones: ConeFidelities) -> str:
    """Return the fidelities of single values for people."""
    ends = f"{cones.lowest:.2g} to {cones.highest:.2g}, half of them {cones.median:.2g} or more"
    return f"{ends} (by light cones)"


def _told(bill: Bill) -> str:
    usd = show_usd(bill.usd_low)
    if bill.usd_high != bill.usd_low:
        usd += f" to {show_usd(bill.usd_high)}"
    circuits, shots = count(bill.circuits, "circuit"), count(bill.shots, "shot")
    sets = count(bill.program_sets, "program set")
    return f"${usd}: {circuits}, {shots}, {count(bill.tasks, 'task')} ({sets} among them)"


def estimate(
    circuit: Circuit | ImportedCircuit,
    target: Target,
    *,
    shots: int,
    gradient: GradientMethod | None = None,
    n_outcomes: int | None = None,
    steps: int = 1,
    evaluations: int = 0,
    n_shifts: int | None = None,
    mitigate_readout: bool = False,
    native: bool = False,
    placement: Sequence[int] | None = None,
    reads: Measurement | None = None,
    prices: Prices | None = None,
) -> Estimate:
    """Estimate a run's cost in USD and check that the device can run it; nothing is sent.

    Args:
        circuit: The circuit, or an imported program: the gradient is by its inputs.
        target: The device.
        shots: Shots of each circuit.
        gradient: The estimator of the gradient; None: forward passes only.
        n_outcomes: How many outcomes or values are needed; all by default. What is suggested
            instead makes as many weights.
        steps: Gradient steps.
        evaluations: Forward passes beside those of the steps.
        n_shifts: As for the engine.
        mitigate_readout: As for the engine.
        native: As for the engine.
        placement: As for the engine.
        reads: What is measured, a circuit for each of its bases; probabilities by default. Values
            that do not depend on all qubits are judged by their light cones.
        prices: By default :func:`current_prices`; not read where nothing is paid.

    Returns:
        The estimate.

    Raises:
        TypeError: ``steps`` or ``evaluations`` is not an integer.
        ValueError: One of them is below 0, ``shots`` is outside the device's range, or a price is
            not known.
        UnsupportedByEngine: The circuit is too large for the device.
    """
    free: Circuit | Lowered = circuit.lowered if isinstance(circuit, ImportedCircuit) else circuit
    circuit = gates_of(circuit)
    check(target, circuit, shots, placement)
    for name, number in (("steps", steps), ("evaluations", evaluations)):
        if number != 0:
            positive_int(name, number)
    if target.billed:
        prices = prices or current_prices()
    n_two, n_one = gate_counts(circuit, target)
    seconds = task_seconds(circuit, target, shots)
    count = n_circuits(free, gradient, n_shifts, mitigate_readout, reads)
    forward = _bill(target, (count.forward, count.forward), shots, seconds, prices)
    backward = _bill(target, (count.backward_low, count.backward_high), shots, seconds, prices)
    step = forward + backward
    labels = settled_placement(circuit, target, native=native, placement=placement)
    single = reads is not None and reads.supports(circuit.n_qubits) is not None
    wanted = _Wanted(n_outcomes or _n_values(reads, circuit.n_qubits), shots, native, reads)
    warnings = list(_warnings(circuit, target, wanted, labels))
    if target.billed and prices is not None and not prices.current:
        text = f"Amazon's price list was not read; prices may have changed since {prices.date}."
        warnings.append(text)
    return Estimate(
        device=target.name,
        step=step,
        run=step.times(steps) + forward.times(evaluations),
        steps=steps,
        price_date=prices.date if prices and target.billed else "",
        price_source=prices.source if prices and target.billed else "",
        two_qubit_gates=n_two,
        one_qubit_gates=n_one,
        fidelity=_of_all(circuit, target, labels),
        placement=labels,
        shots_per_outcome=None if single else shots / 2**circuit.n_qubits,
        cones=cone_fidelities(circuit, target, reads, labels) if reads and single else None,
        standard_error=shots**-0.5 if single and shots else None,
        warnings=tuple(warnings),
    )


def _bill(
    target: Target,
    circuits: tuple[int, int],
    shots: int,
    seconds: tuple[Decimal, Decimal],
    prices: Prices | None,
) -> Bill:
    """Return the bill in USD of one batch, from its least and its largest number of circuits."""
    parts = [split(number, shots, target.program_sets) for number in circuits]
    low, high = (
        cost_of(target, len(part), number * shots, prices=prices, seconds=time)
        for part, number, time in zip(parts, circuits, seconds, strict=True)
    )
    sets = sum(len(part) > 1 for part in parts[1])
    return Bill(circuits[1], len(parts[1]), sets, circuits[1] * shots, low, high)


def task_seconds(circuit: Circuit, target: Target, shots: int) -> tuple[Decimal, Decimal]:
    """Return the least and the most seconds that an Amazon simulator bills for one circuit.

    Args:
        circuit: The circuit.
        target: Any target; only simulators are billed by their time.
        shots: Shots of the circuit.

    Returns:
        Seconds, at least 3 each.

    Source:
        Ours, from one figure of Amazon's: see the constants of this module. Small circuits take
        less than the 3 seconds that are billed at least, and there the two are equal.
    """
    if target.kind != "simulator":
        return LEAST_SECONDS, LEAST_SECONDS
    # A density matrix, as on DM1, has as many numbers as a state of twice as many qubits.
    doubled = 2 if (target.arn or "").endswith("dm1") else 1
    work = len(circuit.portable().circuit) * 2.0 ** (doubled * circuit.n_qubits)
    nominal = work * _SECONDS + shots * circuit.n_qubits * 1e-7
    low, high = (Decimal(math.ceil(nominal * factor)) for factor in (1 / _DOUBT, _DOUBT))
    return max(low, LEAST_SECONDS), max(high, LEAST_SECONDS)


def _of_all(circuit: Circuit, target: Target, placement: tuple[int, ...] | None) -> float | None:
    """Return the expected share of a circuit's shots without any error, all qubits measured."""
    gates = executed_gates(circuit, target)
    return expected_fidelity(target, gates, range(circuit.n_qubits), placement)


@dataclass(frozen=True)
class _Wanted:
    """Weights that are wanted of a device, and the way to them: shots, gates, measurement."""

    n_weights: int
    shots: int
    native: bool
    reads: Measurement | None

    def fidelity(self, circuit: Circuit, target: Target) -> float | None:
        """Return the fidelity by which a circuit is judged: of all, or the median of values."""
        placement = settled_placement(circuit, target, native=self.native)
        return self.fidelity_at(circuit, target, placement)

    def fidelity_at(
        self, circuit: Circuit, target: Target, placement: tuple[int, ...] | None
    ) -> float | None:
        """Return the same for a placement."""
        if self.reads is None or self.reads.supports(circuit.n_qubits) is None:
            return _of_all(circuit, target, placement)
        cones = cone_fidelities(circuit, target, self.reads, placement)
        return None if cones is None else cones.median


def _n_values(reads: Measurement | None, n_qubits: int) -> int:
    return 2**n_qubits if reads is None else reads.n_values(n_qubits)


def _warnings(
    circuit: Circuit, target: Target, wanted: _Wanted, placement: tuple[int, ...] | None
) -> Iterator[str]:
    n_two, _ = gate_counts(circuit, target)
    fidelity = wanted.fidelity_at(circuit, target, placement)
    found = []
    if fidelity is not None and fidelity < LEAST_FIDELITY:
        whose = "" if fidelity == _of_all(circuit, target, placement) else " of half of the values"
        text = f"the expected fidelity{whose} is {100 * fidelity:.2g} %"
        text += f", below {100 * LEAST_FIDELITY:g} %"
        found.append(f"{text}: {n_two:,} gates on two qubits.")
    n_outcomes = 2**circuit.n_qubits
    if _needs_all(wanted.reads, circuit.n_qubits) and 0 < wanted.shots < n_outcomes:
        found.append(f"{wanted.shots:,} shots are fewer than the {n_outcomes:,} outcomes.")
    if found:
        fitting = _suggested(target, wanted)
        hint = f"{fitting[0]} fits." if fitting else "No ansatz of this package fits the device."
        yield from (f"{text} {hint}" for text in found)
    if target.edges is not None and not fits(target, circuit):
        yield (
            f"the circuit joins qubits that {target.name} does not: what is exchanged on the way "
            "is not counted here."
        )


def _needs_all(reads: Measurement | None, n_qubits: int) -> bool:
    """Return whether each value depends on all qubits, as a probability does."""
    return reads is None or reads.supports(n_qubits) is None


@dataclass(frozen=True)
class Suggestion:
    """An ansatz and a size that fit a device.

    Attributes:
        ansatz: Its name in ``ANSATZE``.
        n_qubits: Number of qubits.
        n_layers: Number of layers.
        weights_per_outcome: So many weights must the mapping make of each outcome.
        n_angles: Angles to train.
        fidelity: Expected share of shots without any error; None without calibration.
    """

    ansatz: str
    n_qubits: int
    n_layers: int
    weights_per_outcome: int
    n_angles: int
    fidelity: float | None

    @property
    def options(self) -> dict[str, Any]:
        """The run options that select this ansatz and size, by name; defaults are left out."""
        chosen = {"ansatz": self.ansatz, "n_qubits": self.n_qubits, "n_layers": self.n_layers}
        if self.weights_per_outcome == 1:
            return chosen
        return chosen | {"weights_per_outcome": self.weights_per_outcome}

    def __str__(self) -> str:
        text = f"{self.ansatz} with {self.n_qubits} qubits and {self.n_layers} layers"
        if self.weights_per_outcome == 1:
            return text
        return f"{text} (weights_per_outcome={self.weights_per_outcome})"


def suggest(
    target: Target,
    n_weights: int,
    *,
    shots: int,
    native: bool = False,
    reads: Measurement | None = None,
) -> list[Suggestion]:
    """Find the ansätze of this package, and their sizes, that fit a device.

    An ansatz fits that runs without exchanging qubits on the way, at an expected fidelity of at
    least 10 %, of the whole circuit with at least one shot for each outcome, or of half of the
    single values.

    Args:
        target: The device.
        n_weights: How many weights are to be generated.
        shots: Shots of each circuit; 0 (exact probabilities) sets no limit.
        native: Whether the device's native gates are sent verbatim, to qubits found here.
        reads: What is measured; probabilities by default.

    Returns:
        For each ansatz that fits the largest one: first as many qubits as serve, then as many
        layers as the fidelity allows, 16 at most. The one with most angles comes first.

    Raises:
        TypeError: ``n_weights`` is not an integer.
        ValueError: ``n_weights`` is below 1.
    """
    return _suggested(target, _Wanted(positive_int("n_weights", n_weights), shots, native, reads))


def _suggested(target: Target, wanted: _Wanted) -> list[Suggestion]:
    most, reads = target.n_qubits, wanted.reads
    serving = (n for n in range(1, most) if _n_values(reads, n) >= wanted.n_weights)
    most = next(serving, most)
    sizes: Sequence[int] = range(most, 0, -1)
    if not _needs_all(reads, most):
        # Fewer qubits have light cones about as large: half of them, and so on, are enough to try.
        sizes = [n for k in range(most.bit_length()) if _n_values(reads, n := most >> k)]
    elif wanted.shots:
        sizes = range(min(most, wanted.shots.bit_length() - 1), 0, -1)
    found = []
    for name in ANSATZE:
        for n_qubits in sizes:
            n_layers = _layers(name, target, n_qubits, wanted)
            if n_layers:
                found.append(_suggestion(name, target, n_qubits, n_layers, wanted))
                break
    return sorted(found, key=lambda one: -one.n_angles)


def _layers(name: str, target: Target, n_qubits: int, wanted: _Wanted) -> int:
    """Return the most layers of an ansatz that fit a device, 0: none.

    Beyond two layers each further one is taken to cost the factor that the second one does. Light
    cones grow faster, and are looked at.
    """

    def fidelity(n_layers: int) -> float:
        found = wanted.fidelity(ANSATZE[name](n_qubits, n_layers), target)
        return 1.0 if found is None else found

    if target.edges is not None and not fits(target, ANSATZE[name](n_qubits, 1)):
        return 0
    if not _needs_all(wanted.reads, n_qubits):
        falling = range(1, _MOST_LAYERS + 1)
        return bisect_right(falling, -LEAST_FIDELITY, key=lambda n_layers: -fidelity(n_layers))
    first, second = fidelity(1), fidelity(2)
    if first < LEAST_FIDELITY:
        return 0
    factor, most = second / first, 1
    while most < _MOST_LAYERS and first * factor**most >= LEAST_FIDELITY:
        most += 1
    return most


def _suggestion(
    name: str, target: Target, n_qubits: int, n_layers: int, wanted: _Wanted
) -> Suggestion:
    circuit = ANSATZE[name](n_qubits, n_layers)
    per_outcome = math.ceil(wanted.n_weights / _n_values(wanted.reads, n_qubits))
    fidelity = wanted.fidelity(circuit, target)
    return Suggestion(name, n_qubits, n_layers, per_outcome, circuit.n_angles, fidelity)
