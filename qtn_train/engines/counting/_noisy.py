"""A noisy device on a simulator: depolarized, misread, and seen through counted shots.

    p ──► f·p + (1−f)/2^N ──► M_0 ⊗ … ⊗ M_{N−1} ──► counts of the shots
          f = (1−e)^n         each qubit misread    (or, for 0 shots, probabilities)

e is the two-qubit error and n the number of two-qubit gates that a device executes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar, Unpack, final

import numpy as np
import torch
from torch import Tensor

from ..._random import raw_bits
from ...circuits import Circuit
from ...circuits._shape import two_qubit_cost
from ...errors import must_be
from ...measurements._counts import Counts, Program
from ...measurements._readout import Readout
from .._base import Engine, register_engine
from ._base import CountingEngine, CountingOptions, exact

# All probabilities are held at once, and each outcome is drawn: 2**24 take some seconds.
_MAX_QUBITS = 24


@lru_cache(maxsize=64)
def n_two_qubit_gates(circuit: Circuit) -> int:
    """Return the number of two-qubit gates on a device: those of ``portable()``, a swap as three.

    Args:
        circuit: Any circuit.

    Returns:
        Their number.

    Example:
        >>> n_two_qubit_gates(Circuit.builder(2).cu3(0, 1).cx(0, 1).build())
        3
    """
    return two_qubit_cost(circuit.portable().circuit.gates)


@register_engine
@final
class NoisyEngine(CountingEngine):
    """Engine that counts another engine's circuits as a noisy device would.

    The noise is *global*: whatever the gate, its error replaces the whole state by the completely
    mixed one. That is exact for errors that the rest of the circuit scrambles over all qubits, and
    for fewer layers a model; ``experiments.shots`` holds it against errors gate by gate.

    Args:
        engine: The simulator to draw from, exact.
        shots: Shots of each execution; 0 gives the noisy probabilities themselves.
        two_qubit_error: Probability e, in 0 … 1, that a two-qubit gate depolarizes. A two-qubit
            depolarizing channel that applies one of 15 Pauli operators with probability p has
            e = 16p/15.
        readout_error: For each qubit P(read 1 | 0) and P(read 0 | 1), both in 0 … 0.5.
        smoothing: Counts, of at least 0, that are added to those of every outcome. A feature like
            √p has its steepest slope where nothing was counted; ½ takes most of the bias out of
            gradients (``docs/results/shots-gradient.json``).
        **options: ``gradient``, ``seed``, ``step``, ``n_shifts`` and ``mitigate_readout``, as for
            :class:`CountingEngine`. A seed gives the same shots with the same version of NumPy.

    Raises:
        TypeError: ``shots``, ``seed`` or ``n_shifts`` is not an integer.
        ValueError: A number is out of its range, the estimator is unknown, or ``engine`` itself
            counts shots.

    Source:
        Global depolarizing noise: arXiv 1608.00263, where it describes deep random circuits.

    Example:
        >>> from qtn_train.engines import StatevectorEngine
        >>> engine = NoisyEngine(StatevectorEngine(), shots=0, two_qubit_error=0.1)
        >>> bell = Circuit.builder(2).h(0).cx(0, 1).build()
        >>> [round(float(p), 3) for p in engine.prepare(bell, torch.zeros(0)).probs(0, 4)]
        [0.475, 0.025, 0.025, 0.475]
    """

    kind: ClassVar[str] = "noisy"
    _least_shots = 0

    def __init__(
        self,
        engine: Engine,
        shots: int,
        *,
        two_qubit_error: float = 0.0,
        readout_error: tuple[float, float] = (0.0, 0.0),
        smoothing: float = 0.0,
        **options: Unpack[CountingOptions],
    ) -> None:
        super().__init__(shots, **options, dtype=exact(engine).dtype)
        if not 0 <= two_qubit_error <= 1:
            raise ValueError(must_be("two_qubit_error", "in 0 … 1", two_qubit_error))
        if not (np.isfinite(smoothing) and smoothing >= 0):
            raise ValueError(must_be("smoothing", "a number of at least 0", smoothing))
        if len(readout_error) != 2 or not all(0 <= rate < 0.5 for rate in readout_error):
            expected = "P(1|0) and P(0|1), both of at least 0 and below 0.5"
            raise ValueError(must_be("readout_error", expected, tuple(readout_error)))
        self.engine = engine
        self.smoothing = float(smoothing)
        self.two_qubit_error = float(two_qubit_error)
        self.readout_error = (float(readout_error[0]), float(readout_error[1]))

    @property
    def simulator(self) -> Engine:
        """The engine whose probabilities the noise is applied to."""
        return self.engine

    @property
    def max_qubits(self) -> int:
        """The largest circuit, in qubits, of the noise-free engine, and no more than 24."""
        return min(self.engine.max_qubits, _MAX_QUBITS)

    def options(self) -> dict[str, Any]:
        """Return the options of shots and noise, without the engine, as JSON data."""
        noise = {
            "two_qubit_error": self.two_qubit_error,
            "readout_error": list(self.readout_error),
            "smoothing": self.smoothing,
        }
        return super().options() | noise

    def _config(self) -> dict[str, Any]:
        return {"engine": self.engine.config(), **self.options()}

    @classmethod
    def _built(cls, options: dict[str, Any]) -> NoisyEngine:
        built = {
            "engine": Engine.from_config(options["engine"]),
            "readout_error": tuple(options["readout_error"]),
        }
        return cls(**options | built)

    def noisy_probs(self, circuit: Circuit, angles: Tensor) -> Tensor:
        """Return the noisy probabilities of all outcomes, from which shots are drawn.

        Args:
            circuit: The circuit.
            angles: Its angles in radians.

        Returns:
            Shape ``(2**n_qubits,)``, float64 on the CPU.
        """
        return self._noisy(circuit, angles, self._kept(circuit))

    def _kept(self, circuit: Circuit) -> float:
        """Return f, the share of the state that no error has replaced."""
        return float((1 - self.two_qubit_error) ** n_two_qubit_gates(circuit))

    def _noisy(self, circuit: Circuit, angles: Tensor, kept: float) -> Tensor:
        n_outcomes = 2**circuit.n_qubits
        with torch.no_grad():
            probs = self.engine.prepare(circuit, angles).probs(0, n_outcomes).double().cpu()
        probs = kept * probs + (1 - kept) / n_outcomes
        if any(self.readout_error):
            probs = Readout.of_rates(*self.readout_error, circuit.n_qubits).misread(probs)
        return probs

    def _measure(self, programs: Sequence[Program], position: int) -> list[list[Counts]]:
        counted: list[list[Counts]] = []
        number = sum(len(program.angles) for program in programs)
        seeds = iter(raw_bits(self.seed, f"shots/{position}", number).tolist())
        for program in programs:
            circuit, kept = program.circuit, self._kept(program.circuit)
            probs = (self._noisy(circuit, row, kept) for row in program.angles)
            counted.append([self._count(row, next(seeds)) for row in probs])
        return counted

    def _count(self, probs: Tensor, seed: int) -> Counts:
        if not self.shots:
            return Counts.exact(probs)
        # One binomial number an outcome: as fast for ten million shots as for ten.
        rng = np.random.Generator(np.random.Philox(seed))
        shares = probs.clamp_min(0).numpy()
        drawn = torch.from_numpy(rng.multinomial(self.shots, shares / shares.sum()))
        outcomes = drawn.nonzero().reshape(-1)
        return Counts.of_outcomes(outcomes, drawn[outcomes], len(probs).bit_length() - 1)

    def __repr__(self) -> str:
        noise = f"two_qubit_error={self.two_qubit_error:g}, readout_error={self.readout_error}"
        return f"NoisyEngine({self.engine!r}, shots={self.shots}, {noise}, seed={self.seed})"
