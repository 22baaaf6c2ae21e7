"""Counting engines for tests: exact ones, ones that misread, and a record of what was executed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from qtn_train.circuits import Circuit
from qtn_train.engines import Engine, StatevectorEngine
from qtn_train.engines.counting._base import CountingEngine, Counts, Program
from qtn_train.measurements._counts import bits_of
from qtn_train.measurements._estimators import GradientMethod


class TestEngine(CountingEngine):
    """Executes on a state vector and keeps a record: position and programs of each batch.

    With 0 shots the counts are the exact probabilities. Each qubit's bit is misread with
    probability ``flips[bit]``.
    """

    __test__ = False
    _least_shots = 0

    def __init__(
        self,
        shots: int = 0,
        *,
        gradient: GradientMethod | None = None,
        seed: int = 0,
        step: float = 0.1,
        n_shifts: int | None = None,
        mitigate_readout: bool = False,
        flips: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        super().__init__(
            shots,
            gradient=gradient,
            seed=seed,
            step=step,
            n_shifts=n_shifts,
            mitigate_readout=mitigate_readout,
            dtype="complex128",
        )
        self.flips = flips
        self.batches: list[tuple[int, list[Program]]] = []
        self._known: dict[tuple[Circuit, bytes], Tensor] = {}

    @property
    def max_qubits(self) -> int:
        return 24

    @property
    def simulator(self) -> Engine:
        return StatevectorEngine(dtype="complex128")

    @property
    def executed(self) -> list[int]:
        """Number of circuits in each batch."""
        return [sum(len(p.angles) for p in programs) for _, programs in self.batches]

    def read_probs(self, circuit: Circuit, angles: Tensor) -> Tensor:
        """Exact probabilities of what is read, misreadings included; computed once."""
        key = (circuit, angles.numpy().tobytes())
        if key not in self._known:
            self._known[key] = self._read_probs(circuit, angles)
        return self._known[key]

    def _read_probs(self, circuit: Circuit, angles: Tensor) -> Tensor:
        probs = self.simulator.prepare(circuit, angles).probs(0, 2**circuit.n_qubits).detach()
        e0, e1 = self.flips
        confusion = torch.tensor([[1 - e0, e1], [e0, 1 - e1]], dtype=torch.float64)
        tensor = probs.reshape((2,) * circuit.n_qubits)
        for qubit in range(circuit.n_qubits):
            tensor = torch.tensordot(confusion, tensor, ([1], [qubit])).movedim(0, qubit)
        return tensor.reshape(-1)

    def _measure(self, programs: Sequence[Program], position: int) -> list[list[Counts]]:
        self.batches.append((position, list(programs)))
        rng = torch.Generator().manual_seed(1_000_003 * self.seed + position)
        return [
            [self._count(self.read_probs(program.circuit, row), rng) for row in program.angles]
            for program in programs
        ]

    def _count(self, probs: Tensor, rng: torch.Generator) -> Counts:
        if self.shots == 0:
            return Counts.exact(probs)
        drawn = torch.multinomial(probs, self.shots, True, generator=rng)
        return Counts.of(bits_of(drawn, len(probs).bit_length() - 1))
