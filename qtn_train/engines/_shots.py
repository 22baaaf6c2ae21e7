"""Probabilities estimated from a finite number of shots."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..circuits import Circuit
from ..errors import must_be, positive_int
from ._base import Engine, State


@final
class EstimatedState(State):
    """Relative frequencies of the first outcomes, as counted.

    Attributes:
        frequencies: Shape ``(n_outcomes,)``; counts divided by the shots, not smoothed.
        shots: The number of shots behind them.
    """

    def __init__(self, frequencies: Float[Tensor, " outcomes"], shots: int, n_qubits: int) -> None:
        self.frequencies = frequencies
        self.shots = shots
        self._n_qubits = n_qubits

    @property
    def n_qubits(self) -> int:
        """Number of qubits."""
        return self._n_qubits

    def _probs(self, start: int, stop: int) -> Tensor:
        if stop > len(self.frequencies):
            hint = "Give prepare() a larger n_outcomes."
            expected = f"at most n_outcomes = {len(self.frequencies)}"
            raise ValueError(must_be("stop", expected, stop, hint))
        return self.frequencies[start:stop]

    def sample(self, shots: int, rng: torch.Generator) -> Int[Tensor, " shots"]:
        """Return outcome numbers drawn again from the frequencies (a bootstrap sample).

        Args:
            shots: How many, at least 1.
            rng: A seeded generator on the CPU.

        Returns:
            int64 outcome numbers on the CPU.

        Raises:
            ValueError: ``shots`` is below 1.
        """
        positive_int("shots", shots)
        return torch.multinomial(self.frequencies.cpu(), shots, replacement=True, generator=rng)


@final
class SampledEngine(Engine):
    """Another engine's circuit, seen through a finite number of shots.

    Each ``prepare`` draws anew from one seeded stream. It is a forward estimate: no gradient
    reaches the angles.

    Args:
        engine: The simulator to draw from.
        shots: Shots of each ``prepare``.
        seed: Seed of the stream of shots.

    Raises:
        TypeError: ``shots`` is not an integer.
        ValueError: ``shots`` is below 1, or ``engine`` itself counts shots.

    Example:
        >>> from qtn_train.circuits import Circuit
        >>> from qtn_train.engines import StatevectorEngine
        >>> engine = SampledEngine(StatevectorEngine(), shots=100, seed=1)
        >>> bell = Circuit.builder(2).h(0).cx(0, 1).build()
        >>> probs = engine.prepare(bell, torch.zeros(0)).probs(0, 4)
        >>> float(probs[1] + probs[2])
        0.0
    """

    def __init__(self, engine: Engine, shots: int, *, seed: int = 0) -> None:
        super().__init__(dtype=engine.dtype)
        if engine.needs_shots:
            raise ValueError(must_be("engine", "a simulator without shots", repr(engine)))
        self.engine = engine
        self.shots = positive_int("shots", shots)
        self.seed = seed
        self._rng = torch.Generator().manual_seed(seed)

    @property
    def exact(self) -> bool:
        """False: probabilities are estimates."""
        return False

    @property
    def differentiable(self) -> bool:
        """False."""
        return False

    @property
    def needs_shots(self) -> bool:
        """True."""
        return True

    @property
    def simulator(self) -> Engine:
        """The engine that it draws from."""
        return self.engine

    @property
    def max_qubits(self) -> int:
        """As for the engine that it draws from."""
        return self.engine.max_qubits

    def _prepare(self, circuit: Circuit, angles: Tensor, n_outcomes: int) -> EstimatedState:
        with torch.no_grad():
            state = self.engine.prepare(circuit, angles.detach())
            drawn = state.sample(self.shots, self._rng)
        counts = torch.bincount(drawn[drawn < n_outcomes], minlength=n_outcomes)
        frequencies = (counts.double() / self.shots).to(angles.device, self.real_dtype)
        return EstimatedState(frequencies, self.shots, circuit.n_qubits)

    def __repr__(self) -> str:
        return f"SampledEngine({self.engine!r}, shots={self.shots}, seed={self.seed})"
