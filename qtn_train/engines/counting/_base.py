"""Engines that count shots: estimates of what was declared, gradients from counts.

    CountingEngine ── forward: 1 batch, a circuit for each basis ──► numbers ──► v over the numbers
          ▲                                                                         │
          └────── backward: 1 batch, all circuits of a Plan in each basis ◄─────────┘

A subclass says how a batch of circuits is executed, and nothing else. All randomness is a function
of ``seed`` and ``position``, the number of batches before: ``position`` alone is the state to save.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar, TypedDict, Unpack, final

import torch
from torch import Tensor

from ... import _html as html
from ..._random import raw_bits
from ..._types import ComplexDtype
from ...circuits import Circuit, Lowered
from ...errors import UnsupportedByEngine, must_be, positive_int
from ...exchange import ImportedCircuit
from ...measurements._base import Cotangent, Measurement
from ...measurements._correlators import PauliCorrelators
from ...measurements._counts import Counts, Program
from ...measurements._estimators import GradientMethod, check_options, make_plan, n_circuits
from ...measurements._expectation import Expectation
from ...measurements._pauli import PauliString, PauliSum, coefficients, parse_terms
from ...measurements._probabilities import Probabilities
from ...measurements._readout import Readout, calibration_programs
from .._base import Engine, register_engine
from .._once import once
from .._state import State
from .._transforms import plainly

__all__ = ["CountingEngine", "Counts", "EstimatedState", "Program", "SampledEngine"]


# These engines, in messages about derivatives.
_WHO = "an engine that counts shots"


@final
class EstimatedState(State):
    """Counts of a circuit's shots, and the declared measurement's estimates by these counts.

    Attributes:
        reads: The measurement that was declared.
        counts: All that was counted in each of its bases; for probabilities with readout mitigation
            the corrected distribution.
        shots: The number of shots in each basis.
    """

    def __init__(
        self,
        reads: Measurement,
        read: Sequence[Counts],
        shots: int,
        *,
        readout: Readout | None = None,
        like: Tensor | None = None,
        smoothing: float = 0.0,
        pullback: _Pullback | None = None,
    ) -> None:
        self.reads = reads
        self.counts = tuple(read) if readout is None else tuple(reads.mitigated(read, readout))
        self.shots = shots
        self._read = tuple(read)
        self._readout = readout
        self._like = torch.zeros(0) if like is None else like
        self._smoothing = smoothing
        self._pullback = pullback

    @property
    def n_qubits(self) -> int:
        """Number of qubits."""
        return self._read[0].n_qubits

    def _estimates(self, start: int, stop: int) -> Tensor:
        values = self.reads.estimates(self.counts, start, stop, self._readout)
        return values if self._pullback is None else self._pullback.read(values, start)

    def _probs(self, start: int, stop: int) -> Tensor:
        if not isinstance(self.reads, Probabilities):
            raise UnsupportedByEngine(self._undeclared("probabilities", "Probabilities()"))
        frequencies = self._estimates(start, stop)
        if self._smoothing and self.shots:
            added = self._smoothing / self.shots
            frequencies = (frequencies + added) / (1 + added * 2**self.n_qubits)
        return frequencies.to(self._like)

    def _expectations(self, sums: list[PauliSum]) -> Tensor:
        asked = [coefficients(each) for each in sums]
        declared = self._declared
        if not all(each in declared for each in asked):
            raise UnsupportedByEngine(self._undeclared("expectations", "Expectation(terms)"))
        numbers = [declared.index(each) for each in asked]
        first, n_asked = numbers[0], len(numbers)
        if numbers == list(range(first, first + n_asked)):
            return self._estimates(first, first + n_asked).to(self._like)
        values = [self._estimates(number, number + 1) for number in numbers]
        return torch.cat(values).to(self._like)

    def _correlators(
        self, order: int, bases: str, start: int, stop: int, reach: int | None
    ) -> Tensor:
        within = "" if reach is None else f", reach={reach}"
        own = f"PauliCorrelators({order}, {bases!r}{within})"
        if self.reads != PauliCorrelators(order, bases, reach):
            raise UnsupportedByEngine(self._undeclared("correlators", own))
        return self._estimates(start, stop).to(self._like)

    @cached_property
    def _declared(self) -> list[dict[PauliString, float]]:
        """The declared sums of Pauli strings: the coefficient of each string."""
        if not isinstance(self.reads, Expectation):
            return []
        sums = (parse_terms(each, self.n_qubits) for each in self.reads.terms)
        return [coefficients(each) for each in sums]

    def _amplitudes(self, start: int, stop: int) -> Tensor:
        expected = "of an engine that holds amplitudes, such as StatevectorEngine"
        hint = "No `reads=` of a counting engine gives them."
        raise UnsupportedByEngine(must_be("state", expected, "counts", hint))

    def _undeclared(self, numbers: str, measurement: str) -> str:
        expected = f"declared as {measurement} to read such {numbers}"
        hint = f"Give prepare() reads={measurement}."
        return must_be("reads", expected, repr(self.reads), hint)

    def standard_errors(self, start: int, stop: int) -> Tensor:
        """Return the standard errors of the declared numbers start … stop−1, by the shots.

        Args:
            start: First outcome or sum, at least 0.
            stop: One past the last.

        Returns:
            Non-negative floats without gradient.
        """
        return self.reads.errors(self._read, start, stop, self._readout).to(self._like)

    def diagnostics(self) -> dict[str, float]:
        """Return the shots in all bases, and how many different outcomes they showed."""
        seen = sum(len(each.counts) for each in self.counts)
        return {"shots": float(self.shots * len(self.counts)), "outcomes_seen": float(seen)}

    def _picture(self) -> str:
        if isinstance(self.reads, Probabilities):
            return super()._picture()
        n_shown = min(self.reads.n_values(self.n_qubits), 64)
        values = self.reads.estimates(self.counts, 0, n_shown, self._readout)
        return html.bars(values.abs().tolist(), f"sizes of the first {n_shown} values")

    def _sample_bits(self, shots: int, rng: torch.Generator) -> Tensor:
        # Drawn again from all that was counted: a bootstrap sample.
        if not isinstance(self.reads, Probabilities):
            raise UnsupportedByEngine(self._undeclared("samples", "Probabilities()"))
        (counts,) = self.counts
        drawn = torch.multinomial(counts.counts.double(), shots, True, generator=rng)
        return counts.rows[drawn]


class _Pullback:
    """Collector of cotangents: numbers read of a counted state leave theirs until all are there.

        angles ──► token ──► read(0, 8), read(8, 16), … ──► loss
        backward:  each reading leaves its cotangent here; then the token's turn comes, once

    All stays on the CPU here, so that the backward pass runs in the thread that asked for it.

    Args:
        angles: The circuit's angles.
        estimate: Gives the gradient by the angles for the cotangents, each with its first number.
    """

    def __init__(self, angles: Tensor, estimate: Callable[[list[Cotangent]], Tensor]) -> None:
        self.estimate = estimate
        self._waiting: list[tuple[int, int, Tensor]] = []
        self._token: Tensor = _Token.apply(angles, self)  # type: ignore[no-untyped-call]

    def read(self, values: Tensor, start: int) -> Tensor:
        """Return values whose gradient reaches the angles."""
        read: Tensor = _Read.apply(self._token, values, start, self)  # type: ignore[no-untyped-call]
        return read

    def leave(self, start: int, cotangent: Tensor) -> None:
        """Keep the cotangent of one range of numbers that were read."""
        self._waiting.append((_backward_pass(), start, cotangent))

    def take(self) -> list[Cotangent]:
        """Return the cotangents of this backward pass; those of a failed one are dropped."""
        now = _backward_pass()
        taken = [(start, cotangent) for number, start, cotangent in self._waiting if number == now]
        self._waiting.clear()
        return taken


def _backward_pass() -> int:
    """Return the number of the backward pass that runs in this thread."""
    return torch._C._current_graph_task_id()


class _Token(torch.autograd.Function):
    """Node of autograd that runs once all cotangents have come, and asks to estimate Jᵀv."""

    @staticmethod
    def forward(angles: Tensor, pullback: _Pullback) -> Tensor:
        return torch.zeros((), dtype=torch.float64)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        angles, ctx.pullback = inputs
        ctx.save_for_backward(angles)

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, None]:
        (angles,) = ctx.saved_tensors
        left = ctx.pullback.take()
        starts, cotangents = [start for start, _ in left], [v for _, v in left]

        def work(angles: Tensor, *plain: Tensor) -> Tensor:
            grad: Tensor = ctx.pullback.estimate(list(zip(starts, plain, strict=True)))
            return grad.to(angles.device, angles.dtype)

        (grad,) = once(
            plainly(work, angles, *cotangents, engine=_WHO),
            inputs=(angles, *cotangents),
            engine=_WHO,
            hint="Take its simulator, such as StatevectorEngine().",
        )
        return grad, None


class _Read(torch.autograd.Function):
    """Counted values that leave their cotangent with the token."""

    @staticmethod
    def forward(token: Tensor, values: Tensor, start: int, pullback: _Pullback) -> Tensor:
        return values.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, _, ctx.start, ctx.pullback = inputs

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None, None, None]:
        ctx.pullback.leave(ctx.start, cotangent)
        return torch.zeros((), dtype=torch.float64), None, None, None


class CountingOptions(TypedDict, total=False):
    """Options by name that every counting engine takes; :class:`CountingEngine` says what they are.

    Attributes:
        gradient: None by default.
        seed: 0 by default.
        step: 0.1 by default.
        n_shifts: None by default.
        mitigate_readout: False by default.
    """

    gradient: GradientMethod | None
    seed: int
    step: float
    n_shifts: int | None
    mitigate_readout: bool


class CountingEngine(Engine):
    """Base of the engines that estimate probabilities and gradients from counted shots.

    ``prepare`` executes one batch that holds the programs of the declared measurement, the circuit
    in each of its bases (with ``mitigate_readout`` also two calibration circuits); a backward pass
    executes one batch that holds the circuits of the gradient estimate, each in each basis. Nothing
    else is executed. An implementer defines :meth:`_measure`,
    ``max_qubits`` and ``simulator``.

    Readout mitigation undoes each qubit's errors. For expectation values the signs read are
    corrected column by column. For probabilities the confusion matrices are inverted, and forward
    ones projected on the simplex afterwards; the gradient takes the inverse alone, which is linear
    in the counts, so that it stays unbiased, up to the calibration's own error of order 1/shots.

    Args:
        shots: Shots of each execution.
        gradient: How a backward pass estimates Jᵀv (see :func:`make_plan`): ``"parameter-shift"``,
            ``"random-shift"``, ``"spsa"``, or None: no gradient reaches the angles.
        seed: Seed of all that is random.
        step: Length of SPSA's step in every angle, in radians; its bias is O(step²).
        n_shifts: Places that ``"random-shift"`` takes; a fourth of them by default.
        mitigate_readout: Whether errors of the readout are measured and undone; probabilities only
            for circuits of at most 20 qubits.
        dtype: Precision; the probabilities have the real type of the same width.

    Raises:
        TypeError: ``shots``, ``seed`` or ``n_shifts`` is not an integer.
        ValueError: One of them is out of its range, or the estimator is unknown.
    """

    #: A subclass that takes 0 shots gives probabilities in place of counts then.
    _least_shots: ClassVar[int] = 1

    #: Counts added to those of every outcome, unless probabilities are exact.
    smoothing = 0.0

    def __init__(
        self,
        shots: int,
        *,
        gradient: GradientMethod | None = None,
        seed: int = 0,
        step: float = 0.1,
        n_shifts: int | None = None,
        mitigate_readout: bool = False,
        dtype: ComplexDtype = "complex64",
    ) -> None:
        super().__init__(dtype=dtype)
        if self._least_shots or shots != 0:
            shots = positive_int("shots", shots)
        check_options(gradient, step, n_shifts)
        if isinstance(seed, bool) or not hasattr(seed, "__index__"):
            raise TypeError(must_be("seed", "an integer", repr(seed)))
        self.shots = shots
        self.gradient: GradientMethod | None = gradient
        self.seed = int(seed)
        self.step = step
        self.n_shifts = n_shifts
        self.mitigate_readout = mitigate_readout
        self._position = 0

    @property
    def exact(self) -> bool:
        """False: counted probabilities are estimates."""
        return False

    @property
    def differentiable(self) -> bool:
        """Whether gradients reach the angles: whether a gradient estimator was chosen."""
        return self.gradient is not None

    @property
    def needs_shots(self) -> bool:
        """True: every probability is estimated from a finite number of shots."""
        return True

    @property
    def position(self) -> int:
        """Number of batches executed so far; with the seed, it fixes the next batch's draws."""
        return self._position

    @position.setter
    def position(self, value: int) -> None:
        if type(value) is not int or value < 0:
            raise ValueError(must_be("position", "an integer of at least 0", repr(value)))
        self._position = value

    def options(self) -> dict[str, Any]:
        """Return the options that all counting engines share, as JSON data."""
        names = ("shots", "gradient", "seed", "step", "n_shifts", "mitigate_readout")
        return {name: getattr(self, name) for name in names}

    @abstractmethod
    def _measure(self, programs: Sequence[Program], position: int) -> list[list[Counts]]:
        """Execute a batch; return the counts for each program and each row of its angles.

        Args:
            programs: What to execute, all with ``self.shots`` shots.
            position: The batch's number. The same number is executed again only where a run is
                repeated from there.

        Returns:
            The counts in the order of the programs and their rows.
        """

    def _batch(self, programs: Sequence[Program]) -> list[list[Counts]]:
        measured = self._measure(programs, self._position)
        self._position += 1
        return measured

    def _prepare(self, circuit: Circuit, angles: Tensor, reads: Measurement) -> EstimatedState:
        return self._counted(circuit, angles, reads)

    def _prepare_imported(
        self, program: ImportedCircuit, values: Tensor, reads: Measurement
    ) -> EstimatedState:
        # Not by way of the angles: circuits would be bought to shift those that are constant.
        return self._counted(program.lowered, values, reads)

    def _counted(
        self, circuit: Circuit | Lowered, angles: Tensor, reads: Measurement
    ) -> EstimatedState:
        gates = circuit.circuit if isinstance(circuit, Lowered) else circuit
        wants_gradient = (
            self.differentiable
            and angles.numel() > 0
            and angles.requires_grad
            and torch.is_grad_enabled()
        )
        if not isinstance(reads, Probabilities | Expectation | PauliCorrelators):
            expected = "Probabilities, Expectation or PauliCorrelators for an engine that counts"
            hint = "Read others on an exact state."
            raise UnsupportedByEngine(must_be("reads", expected, repr(reads), hint))
        if wants_gradient:
            n_circuits(circuit, self.gradient, self.n_shifts)
        if self.mitigate_readout:
            reads.check_mitigation(gates.n_qubits)
        execute = partial(self._execute, circuit, reads)
        row, executed, readout = plainly(execute, angles, engine=_WHO)
        pullback = None
        if wants_gradient:
            pullback = _Pullback(angles, partial(self._gradient, circuit, row, reads, readout))
        return EstimatedState(
            reads,
            executed,
            self.shots,
            readout=readout,
            like=torch.zeros(0, dtype=self.real_dtype, device=angles.device),
            smoothing=self.smoothing,
            pullback=pullback,
        )

    def _execute(
        self, circuit: Circuit | Lowered, reads: Measurement, angles: Tensor
    ) -> tuple[Tensor, list[Counts], Readout | None]:
        """Execute one batch; return angles (float64, CPU), counts and readout calibration."""
        row = own = angles.to("cpu", torch.float64)
        if isinstance(circuit, Lowered):
            own = torch.from_numpy(circuit.angles(row.numpy()))
        gates = circuit.circuit if isinstance(circuit, Lowered) else circuit
        programs = [Program(each, own[None]) for each in reads.programs(gates)]
        calibrations = calibration_programs(gates.n_qubits) if self.mitigate_readout else []
        executed = [rows[0] for rows in self._batch([*programs, *calibrations])]
        if not self.mitigate_readout:
            return row, executed, None
        *executed, zeros, ones = executed
        return row, executed, Readout.measured(zeros, ones, gates.n_qubits)

    def _gradient(
        self,
        circuit: Circuit | Lowered,
        angles: Tensor,
        reads: Measurement,
        readout: Readout | None,
        cotangents: list[Cotangent],
    ) -> Tensor:
        """Execute the circuits of a gradient estimate; return Jᵀv, float64 on the CPU."""
        assert self.gradient is not None
        plan = make_plan(
            self.gradient,
            circuit,
            angles,
            seed=self.seed,
            position=self._position,
            step=self.step,
            n_shifts=self.n_shifts,
        )
        if not len(plan.program.angles):  # no gate takes a free angle
            return torch.zeros_like(angles)
        n_qubits = plan.program.circuit.n_qubits
        functionals = reads.functionals(n_qubits, cotangents, readout)
        programs = [
            Program(each, plan.program.angles) for each in reads.programs(plan.program.circuit)
        ]
        means = torch.zeros(len(plan.program.angles), dtype=torch.float64)
        for functional, rows in zip(functionals, self._batch(programs), strict=True):
            means += torch.tensor([functional(counts) for counts in rows], dtype=torch.float64)
        return plan.gradient(means)


def exact(engine: object) -> Engine:
    """Return the engine whose states are counted, checked.

    Args:
        engine: What was given for it.

    Raises:
        TypeError: It is not an engine.
        ValueError: It counts shots itself.
    """
    expected = "a simulator without shots"
    if not isinstance(engine, Engine):
        if isinstance(engine, type):
            named, hint = f"the class {engine.__name__}", f"Build it: {engine.__name__}()."
        else:
            named, hint = repr(engine), "For example qt.StatevectorEngine()."
        raise TypeError(must_be("engine", expected, named, hint))
    if engine.needs_shots:
        raise ValueError(must_be("engine", expected, repr(engine)))
    return engine


@register_engine
@final
class SampledEngine(CountingEngine):
    """Engine that draws a finite number of shots from another engine's probabilities.

    Args:
        engine: The simulator to draw from.
        shots: Shots of each execution.
        **options: ``gradient``, ``seed``, ``step``, ``n_shifts`` and ``mitigate_readout``, as for
            :class:`CountingEngine`. A simulator reads without error, so mitigation serves to try
            what it costs.

    Raises:
        TypeError: ``shots``, ``seed`` or ``n_shifts`` is not an integer.
        ValueError: A number is out of its range, the estimator is unknown, or ``engine`` itself
            counts shots.

    Example:
        >>> from qtn_train.engines import StatevectorEngine
        >>> engine = SampledEngine(StatevectorEngine(), shots=100, seed=1)
        >>> bell = Circuit.builder(2).h(0).cx(0, 1).build()
        >>> probs = engine.prepare(bell, torch.zeros(0)).probs(0, 4)
        >>> float(probs[1] + probs[2])
        0.0
    """

    kind: ClassVar[str] = "sampled"

    def __init__(
        self,
        engine: Engine,
        shots: int,
        **options: Unpack[CountingOptions],
    ) -> None:
        super().__init__(shots, **options, dtype=exact(engine).dtype)
        self.engine = engine

    def _config(self) -> dict[str, Any]:
        return {"engine": self.engine.config(), **self.options()}

    @classmethod
    def _built(cls, options: dict[str, Any]) -> SampledEngine:
        return cls(**{**options, "engine": Engine.from_config(options["engine"])})

    @property
    def simulator(self) -> Engine:
        """The engine whose probabilities the shots are drawn from."""
        return self.engine

    @property
    def max_qubits(self) -> int:
        """The largest circuit, in qubits, of the engine that shots are drawn from."""
        return self.engine.max_qubits

    def _measure(self, programs: Sequence[Program], position: int) -> list[list[Counts]]:
        rows = [(program.circuit, row) for program in programs for row in program.angles]
        seeds = raw_bits(self.seed, f"shots/{position}", len(rows)).tolist()
        drawn = []
        with torch.no_grad():
            for (circuit, row), seed in zip(rows, seeds, strict=True):
                state = self.engine.prepare(circuit, row)
                rng = torch.Generator().manual_seed(seed)
                drawn.append(Counts.of(state.sample_bits(self.shots, rng)))
        remaining = iter(drawn)
        return [[next(remaining) for _ in program.angles] for program in programs]

    def __repr__(self) -> str:
        gradient = "" if self.gradient is None else f", gradient={self.gradient!r}"
        return f"SampledEngine({self.engine!r}, shots={self.shots}{gradient}, seed={self.seed})"
