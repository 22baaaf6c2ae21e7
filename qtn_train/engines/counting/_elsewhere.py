"""Engines whose counts come from elsewhere: what costs no shots is simulated on this machine."""

from __future__ import annotations

from functools import cached_property

from ...circuits import Circuit
from .._auto import wide_simulator
from .._base import Engine
from ..statevector._engine import StatevectorEngine
from ._base import CountingEngine


class CountsFromElsewhere(CountingEngine):
    """Base of the engines that count on a device, or read such counts from a journal."""

    @cached_property
    def simulator(self) -> StatevectorEngine:
        """An exact simulator on this machine, for what must cost no shots."""
        return StatevectorEngine(dtype=self.dtype)

    def simulator_for(self, circuit: Circuit) -> Engine:
        """Return a state vector, or for more qubits another exact simulator.

        Args:
            circuit: The circuit.

        Returns:
            The simulator.

        Raises:
            UnsupportedByEngine: No exact engine fits this machine's memory.
        """
        return wide_simulator(circuit, self.simulator)
