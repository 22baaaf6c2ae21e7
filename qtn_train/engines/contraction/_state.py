"""A circuit's state as a network that is contracted when something is read of it."""

from __future__ import annotations

from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor

from ...circuits import Circuit
from ...measurements._pauli import PauliString, PauliSum
from .._state import State
from . import _torch as _torch  # how slices are added up
from ._contract import contract
from ._network import Network, circuit_network, constants
from ._trees import Cost, Optimize, Plan, find_plan, shape_of


@final
class ContractionState(State):
    """The gate tensors of a circuit, contracted for each request.

    Each request is exact and differentiable, and costs what its own network costs: a block of
    amplitudes the whole circuit, an expectation value only the gates in its light cone.
    """

    def __init__(
        self,
        circuit: Circuit,
        values: Tensor,
        *,
        optimize: Optimize,
        memory_limit: int,
        time_limit: float,
    ) -> None:
        self._circuit = circuit_network(circuit)
        self._values = values
        self._optimize: Optimize = optimize
        self._memory_limit = memory_limit
        self._time_limit = time_limit

    @property
    def n_qubits(self) -> int:
        """Number of qubits."""
        return self._circuit.n_qubits

    @cached_property
    def _arrays(self) -> list[Tensor]:
        return self._circuit.arrays(self._values)

    @cached_property
    def _conjugates(self) -> list[Tensor]:
        return self._circuit.arrays(self._values.conj().resolve_conj())

    @cached_property
    def _constants(self) -> dict[str, Tensor]:
        return constants(self._values)

    def _array(self, tensor: int | str) -> Tensor:
        if isinstance(tensor, str):
            return self._constants[tensor]
        return self._arrays[tensor] if tensor >= 0 else self._conjugates[~tensor]

    def network(self) -> Any:
        """Return the circuit as a quimb ``TensorNetwork`` of its gate tensors.

        Returns:
            The network of the state: index ``k0`` is qubit 0, as in quimb's own circuits; indices
            that diagonal gates and controls leave as they are join more than two tensors. The
            arrays are these tensors, the object is its own.

        Example:
            >>> from qtn_train.engines import ContractionEngine
            >>> ghz = Circuit.builder(3).h(0).cx(0, 1).cx(1, 2).build()
            >>> state = ContractionEngine().prepare(ghz, torch.zeros(0))
            >>> state.network().contract(output_inds=["k0", "k1", "k2"]).data[1, 1, 1].item()
            (0.7071067690849304+0j)
        """
        import quimb.tensor as qtn

        found = self._circuit.amplitudes(self.n_qubits, ())
        names = {index: f"k{qubit}" for qubit, index in enumerate(found.output)}
        tensors = []
        for tensor, legs in zip(found.tensors, found.inputs, strict=True):
            tag = f"GATE{tensor}" if isinstance(tensor, int) else "PSI0"
            indices = [names.get(index, f"b{index}") for index in legs]
            tensors.append(qtn.Tensor(self._array(tensor), indices, tags=[tag]))
        return qtn.TensorNetwork(tensors)

    def cost(self, start: int = 0, stop: int | None = None) -> Cost:
        """Return the cost of a block of probabilities, without contracting anything.

        Args:
            start: First outcome number.
            stop: One past the last outcome number; all by default.

        Returns:
            Seconds and bytes, as estimated, with a backward pass where the angles ask for one.

        Raises:
            UnsupportedByEngine: It does not fit ``memory_limit``.
        """
        start, stop = self._range(start, 2**self.n_qubits if stop is None else stop)
        blocks = _blocks(start, stop)
        plans = [self._plan(self._block(first, n_open)) for first, n_open in blocks]
        return Cost(sum(plan.cost.seconds for plan in plans), max(p.cost.bytes for p in plans))

    def _plan(self, network: Network) -> Plan:
        shape = shape_of(network.inputs, network.output)
        itemsize = self._values.element_size()
        gradient = torch.is_grad_enabled() and self._values.requires_grad
        return find_plan(
            shape, self._optimize, self._memory_limit, itemsize, gradient, self._time_limit
        )

    def _contracted(self, network: Network) -> Tensor:
        plan = self._plan(network)
        result: Tensor = contract(plan, [self._array(tensor) for tensor in network.tensors])
        return result

    def _block(self, first: int, n_open: int) -> Network:
        n_fixed = self.n_qubits - n_open
        fixed = first >> n_open
        bits = [(fixed >> (n_fixed - 1 - qubit)) & 1 for qubit in range(n_fixed)]
        return self._circuit.amplitudes(n_open, bits)

    def _amplitudes(self, start: int, stop: int) -> Tensor:
        pieces = []
        for first, n_open in _blocks(start, stop):
            block = self._contracted(self._block(first, n_open)).reshape(-1)
            pieces.append(block[max(start - first, 0) : stop - first])
        return torch.cat(pieces)

    def _probs(self, start: int, stop: int) -> Tensor:
        return torch.view_as_real(self._amplitudes(start, stop)).square().sum(-1)

    def _density_matrix(self, qubits: tuple[int, ...]) -> Tensor:
        rows = 2 ** len(qubits)
        return self._contracted(self._circuit.density(qubits)).reshape(rows, rows)

    def _expectations(self, sums: list[PauliSum]) -> Tensor:
        values: dict[PauliString, Tensor] = {(): torch.ones_like(self._values[0].real)}
        for string in dict.fromkeys(string for each in sums for _, string in each):
            if string:
                values[string] = self._contracted(self._circuit.expectation(string)).real
        return torch.stack([torch.stack([c * values[s] for c, s in each]).sum() for each in sums])


def _blocks(start: int, stop: int) -> list[tuple[int, int]]:
    """Cover a range by aligned blocks of one size: (first outcome, number of open bits)."""
    n_open = (stop - start - 1).bit_length()
    firsts = range((start >> n_open) << n_open, stop, 2**n_open)
    return [(first, n_open) for first in firsts]
