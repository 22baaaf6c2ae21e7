"""Matrix product states: any number of qubits, at the price of bounded entanglement.

    ─1─[A₀]─χ₁─[A₁]─χ₂─ … ─χ_{N−1}─[A_{N−1}]─1─        A_i: (left, 2, right)
        │       │                   │
        s₀      s₁                  s_{N−1}            s₀: the most significant bit

    amplitudes of a block = left half (rows, χ) × right half (χ, columns)

The tensors are torch's and differentiable, truncated or not; :attr:`MPSState.mps` is the same state
as a quimb ``MatrixProductState``, so that all of quimb is at hand. quimb is imported when that is
first asked for.
"""

from __future__ import annotations

import math
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from ... import _html as html
from ..._autocast import outside_autocast
from ..._files import read_tensors, write_tensors
from ..._range import times_power_of_two
from ...errors import CheckpointError, UnsupportedByEngine, must_be
from ...measurements._pauli import PauliSum
from .._state import State
from .._transforms import is_transformed, with_signature
from ._chain import Chain, discarded, transfer
from ._correlators import correlators
from ._exponents import amplitudes_with_exponents

# What a file of a state says that it is.
_KIND = "matrix product state"
# Shots drawn at once: the memory of a step is that many rows of 2·χ numbers.
_SHOTS_AT_ONCE = 2**14
# Up to here 2^N·p in single precision has no factor that leaves its range, unless p itself does.
_PLAIN_QUBITS = 64


@final
class MPSState(State):
    """A normalized matrix product state.

    Attributes:
        tensors: One for each qubit, complex, shape ``(left, 2, right)``, differentiable.
        norm: Norm before it was normalized: 1 where nothing was cut.
        truncation_error: Σ√w over all cuts, w the weight cut off: it bounds the trace distance
            to the exact state, and with it the total variation between the probabilities.
        fidelity_estimate: ∏(1 − w) with w relative to the state before each cut.
        rank_cuts: How many cuts discarded nothing but singular values that are 0, while a gradient
            was asked for: the state is exact there, and the gradient leaves out what would raise
            the rank, whatever ``svd_gradient`` is.

    Example:
        >>> from qtn_train.circuits import Circuit
        >>> from qtn_train.engines import MPSEngine
        >>> ghz = Circuit.builder(4).h(0).cx(0, 1).cx(1, 2).cx(2, 3).build()
        >>> state = MPSEngine().prepare(ghz, torch.zeros(0))
        >>> state.bond_dims, round(state.entropy(2), 4)
        ([2, 2, 2], 1.0)
    """

    def __init__(
        self, tensors: list[Tensor], weights: list[float] | None = None, rank_cuts: int = 0
    ) -> None:
        self.tensors = tensors
        self.rank_cuts = rank_cuts
        self._weights = list(weights or [])
        self.truncation_error, self.fidelity_estimate = discarded(weights or [])
        self.norm = self.fidelity_estimate**0.5

    @property
    def n_qubits(self) -> int:
        """Number of qubits."""
        return len(self.tensors)

    @property
    def bond_dims(self) -> list[int]:
        """The N − 1 bond dimensions, that between the qubits 0 and 1 first."""
        return [tensor.shape[2] for tensor in self.tensors[:-1]]

    def diagnostics(self) -> dict[str, float]:
        """Return ``truncation_error``, ``fidelity_estimate``, and ``rank_cuts`` where there are."""
        figures = {
            "truncation_error": self.truncation_error,
            "fidelity_estimate": self.fidelity_estimate,
        }
        return figures | ({"rank_cuts": float(self.rank_cuts)} if self.rank_cuts else {})

    def _picture(self) -> str:
        names = [f"left of qubit {bond}: {dim}" for bond, dim in enumerate(self.bond_dims, 1)]
        return html.bars(self.bond_dims, "bond dimensions along the chain", names)

    def _amplitudes(self, start: int, stop: int) -> Tensor:
        left, right, skip = self._halves(start, stop)
        return (left @ right).reshape(-1)[skip : skip + stop - start]

    def _log_probs(self, start: int, stop: int) -> Tensor:
        found, exponents = amplitudes_with_exponents(self.tensors, start, stop)
        size = found.abs()
        return 2 * (size.log() + math.log(2) * exponents.to(size))

    def _scaled_probs(self, start: int, stop: int) -> Tensor:
        if self.n_qubits <= _PLAIN_QUBITS:
            return super()._scaled_probs(start, stop)
        found, exponents = amplitudes_with_exponents(self.tensors, start, stop)
        squares = torch.view_as_real(found).square().sum(-1)
        # The square of 0 stays 0, and so does its derivative, whatever the exponent.
        exponents = torch.where(squares > 0, 2 * exponents + self.n_qubits, 0)
        return times_power_of_two(squares, exponents)

    def _probs(self, start: int, stop: int) -> Tensor:
        left, right, skip = self._halves(start, stop)
        b = torch.cat((right.real, right.imag))
        squares: Tensor = _Squares.apply(_real_rows(left), b)[0]  # type: ignore[no-untyped-call]
        return squares.view(-1)[skip : skip + stop - start]

    def _halves(self, start: int, stop: int) -> tuple[Tensor, Tensor, int]:
        """Return the rows of the left half that the range touches, the right half, and the offset.

        The two are chosen of about equal size, and nothing is larger than the range asked for.
        """
        bits = min((stop - start - 1).bit_length() // 2, self.n_qubits)
        rows = self._rows(self.n_qubits - bits, start >> bits, (stop - 1) >> bits)
        columns = torch.ones_like(rows[:1, :1])
        for tensor in reversed(self.tensors[self.n_qubits - bits :]):
            left, _, right = tensor.shape
            columns = (tensor.reshape(2 * left, right) @ columns).view(left, -1)
        return rows, columns, start - ((start >> bits) << bits)

    def _rows(self, n_sites: int, first: int, last: int) -> Tensor:
        """Return the vectors of the outcomes first … last of the leftmost qubits."""
        rows = torch.ones_like(self.tensors[0][:1, 0, :1])
        begin = 0
        for site, tensor in enumerate(self.tensors[:n_sites]):
            left, _, right = tensor.shape
            rows = (rows @ tensor.reshape(left, 2 * right)).view(-1, right)
            shift = n_sites - 1 - site
            low, high = first >> shift, last >> shift
            rows = rows[low - 2 * begin : high + 1 - 2 * begin]
            begin = low
        return rows

    def _sample_bits(self, shots: int, rng: torch.Generator) -> Tensor:
        if any(map(is_transformed, self.tensors)):
            expected = "of one vector of angles, outside of vmap, to draw from it"
            raise UnsupportedByEngine(must_be("state", expected, "a batch", "Take a loop."))
        pieces = [
            self._draw(min(_SHOTS_AT_ONCE, shots - done), rng)
            for done in range(0, shots, _SHOTS_AT_ONCE)
        ]
        return torch.cat(pieces)

    @torch.no_grad()
    def _draw(self, shots: int, rng: torch.Generator) -> Tensor:
        tensors = self._right_canonical
        device = tensors[0].device
        rows = torch.ones((shots, 1), dtype=tensors[0].dtype, device=device)
        bits = torch.empty((shots, self.n_qubits), dtype=torch.uint8)
        for site, tensor in enumerate(tensors):
            left, _, right = tensor.shape
            both = (rows @ tensor.reshape(left, 2 * right)).view(shots, 2, right)
            weights = torch.view_as_real(both).square().sum((2, 3))
            draws = torch.rand(shots, generator=rng, dtype=torch.float64).to(device)
            bit = (draws * weights.sum(1) >= weights[:, 0]).long()
            chosen = torch.arange(shots, device=device), bit
            # Divided by its length, which the draws above do not depend on, so that none runs out.
            rows = both[chosen] / weights[chosen].sqrt()[:, None]
            bits[:, site] = bit.cpu()
        return bits

    @cached_property
    def _right_canonical(self) -> list[Tensor]:
        """The state's tensors, constant, with every site but the first a right isometry."""
        chain = Chain([tensor.detach() for tensor in self.tensors], None, 0.0, "tangent")
        chain.high = self.n_qubits - 1
        chain.center(0, 0)
        return chain.tensors

    @cached_property
    @torch.no_grad()
    def _schmidt(self) -> list[Tensor]:
        """The Schmidt values of all bonds, float64."""
        chain = Chain(list(self._right_canonical), None, 0.0, "tangent")
        found = []
        for bond in range(1, self.n_qubits):
            chain.center(bond, bond)
            center = chain.tensors[bond]
            values = torch.linalg.svdvals(center.reshape(center.shape[0], -1)).double()
            found.append(values / torch.linalg.vector_norm(values))
        return found

    def _schmidt_values(self, bond: int) -> Tensor:
        return self._schmidt[bond - 1]

    def _overlap(self, other: State) -> Tensor:
        if not isinstance(other, MPSState):
            return super()._overlap(other)
        dtype = torch.promote_types(self.tensors[0].dtype, other.tensors[0].dtype)
        environment = torch.ones((1, 1), dtype=dtype, device=self.tensors[0].device)
        for mine, its in zip(self.tensors, other.tensors, strict=True):
            environment = transfer(environment, mine.to(dtype), its.to(mine.device, dtype))
        return environment[0, 0]

    def _density_matrix(self, qubits: tuple[int, ...]) -> Tensor:
        return density_matrix(self.tensors, qubits)

    def _correlators(
        self, order: int, bases: str, start: int, stop: int, reach: int | None
    ) -> Tensor:
        return correlators(self.tensors, order, bases, start, stop, reach)

    def _expectations(self, sums: list[PauliSum]) -> Tensor:
        return _expectations(self.tensors, sums)

    @property
    def mps(self) -> Any:
        """The state as a quimb ``MatrixProductState``, qubit 0 first.

        It shares the tensors, and their gradients, but is an object of its own: what quimb changes
        in place leaves this state as it is. Overlaps, partial traces, Schmidt values, mutual
        information, expectation values of an MPO and drawings are quimb's methods of it.
        """
        from ._exchange import to_quimb

        return to_quimb(self.tensors)

    def save(self, path: str | Path) -> None:
        """Write the state as safetensors, without its gradients.

        Args:
            path: The file.

        Raises:
            OSError: The folder is not writable.
        """
        # The files hold real numbers only.
        named = {f"{i:05d}": torch.view_as_real(t.detach()) for i, t in enumerate(self.tensors)}
        info = {"weights": self._weights, "rank_cuts": self.rank_cuts}
        write_tensors(Path(path), named, _KIND, info)

    @classmethod
    def load(cls, path: str | Path) -> MPSState:
        """Read a state that :meth:`save` wrote.

        Args:
            path: The file.

        Returns:
            The state, on the CPU.

        Raises:
            FileNotFoundError: There is no such file.
            CheckpointError: It is damaged, of another kind or format, or no chain of qubits.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> from qtn_train.circuits import Circuit
            >>> from qtn_train.engines import MPSEngine
            >>> bell = MPSEngine().prepare(Circuit.builder(2).h(0).cx(0, 1).build(), torch.zeros(0))
            >>> with TemporaryDirectory() as folder:
            ...     bell.save(f"{folder}/bell.safetensors")
            ...     print(MPSState.load(f"{folder}/bell.safetensors"))
            MPSState(n_qubits=2, truncation_error=0, fidelity_estimate=1)
        """
        named, info = read_tensors(Path(path), _KIND)
        parts = [named[name] for name in sorted(named)]
        weights, rank_cuts = info.get("weights"), info.get("rank_cuts")
        is_right = isinstance(weights, list) and all(isinstance(w, float) for w in weights)
        if not _is_chain(parts) or not is_right or not isinstance(rank_cuts, int):
            expected = "a chain of qubits"
            raise CheckpointError(must_be(str(path), expected, "tensors of other shapes"))
        return cls([torch.view_as_complex(part) for part in parts], weights, rank_cuts)


def _is_chain(parts: list[Tensor]) -> bool:
    """Return whether tensors are the real and imaginary parts of a chain of qubits."""
    bonds = [1, *(part.shape[-2] if part.ndim == 4 else 0 for part in parts)]
    shapes = [(left, 2, right, 2) for left, right in pairwise(bonds)]
    dtypes = {part.dtype for part in parts}
    is_one_type = dtypes in ({torch.float32}, {torch.float64})
    return is_one_type and bonds[-1] == 1 and [tuple(part.shape) for part in parts] == shapes


class _Squares(torch.autograd.Function):
    """|left × right|² in real arithmetic: (2, rows, columns) real and imaginary parts, squared.

    The parts are returned too, so that what is saved of them keeps its derivatives.
    """

    generate_vmap_rule = True

    @staticmethod
    @with_signature
    @outside_autocast()
    def forward(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        parts = a @ b
        real, imag = parts.chunk(2)
        return torch.addcmul(real.square(), imag, imag), parts

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, output[1])
        ctx.save_for_forward(*inputs, output[1])

    @staticmethod
    @outside_autocast()
    def backward(
        ctx: Any, grad: Tensor | None, grads: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        a, b, parts = ctx.saved_tensors
        if grad is not None:
            own = (parts.view(2, *grad.shape) * (2 * grad)).view(parts.shape)
            grads = own if grads is None else own + grads
        return (None, None) if grads is None else (grads @ b.mT, a.mT @ grads)

    @staticmethod
    @outside_autocast()
    def jvp(ctx: Any, a_change: Tensor | None, b_change: Tensor | None) -> tuple[Tensor, Tensor]:
        a, b, parts = ctx.saved_tensors
        change = torch.zeros_like(parts)
        if a_change is not None:
            change = change + a_change @ b
        if b_change is not None:
            change = change + a @ b_change
        real, imag = (parts * change).chunk(2)
        return 2 * (real + imag), change


def _real_rows(left: Tensor) -> Tensor:
    """Return [[Re, −Im], [Im, Re]]: times (Re; Im) of a matrix, the parts of the product."""
    real, imag = left.real, left.imag
    return torch.cat((torch.cat((real, -imag), 1), torch.cat((imag, real), 1)))


def _expectations(tensors: list[Tensor], sums: list[PauliSum]) -> Tensor:
    """Contract the sites that each string touches, between environments that all strings share."""
    strings = dict.fromkeys(string for each in sums for _, string in each)
    one = torch.ones((1, 1), dtype=tensors[0].dtype, device=tensors[0].device)
    lefts, rights = [one], [one]
    touched = [(string[0][0], string[-1][0]) for string in strings if string]
    if touched:
        for tensor in tensors[: max(first for first, _ in touched)]:
            lefts.append(transfer(lefts[-1], tensor))
        for tensor in reversed(tensors[min(last for _, last in touched) + 1 :]):
            rights.append(transfer(rights[-1], tensor.transpose(0, 2)))
    values = {}
    for string in strings:
        if not string:
            values[string] = one[0, 0].real
            continue
        (first, _), (last, _), letters = string[0], string[-1], dict(string)
        environment = lefts[first]
        for site in range(first, last + 1):
            tensor = tensors[site]
            environment = transfer(environment, tensor, _pauli(letters.get(site, "I"), tensor))
        values[string] = (environment * rights[len(tensors) - 1 - last]).sum().real
    return torch.stack([torch.stack([c * values[s] for c, s in each]).sum() for each in sums])


def density_matrix(tensors: list[Tensor], qubits: tuple[int, ...]) -> Tensor:
    """Return the reduced density matrix of some qubits: their legs stay open, rows and columns."""
    one = torch.ones((1, 1), dtype=tensors[0].dtype, device=tensors[0].device)
    left = right = one
    for tensor in tensors[: min(qubits)]:
        left = transfer(left, tensor)
    for tensor in reversed(tensors[max(qubits) + 1 :]):
        right = transfer(right, tensor.transpose(0, 2))
    found = left[None]  # (open legs, conjugate's bond, bond)
    for site in range(min(qubits), max(qubits) + 1):
        tensor = tensors[site]
        if site in qubits:
            opened = torch.einsum("oab,asc,btd->otscd", found, tensor.conj(), tensor)
            found = opened.flatten(0, 2)
        else:
            found = torch.einsum("oab,asc,bsd->ocd", found, tensor.conj(), tensor)
    closed = torch.einsum("oab,ab->o", found, right)
    inside = sorted(qubits)
    # Legs come as (row, column) of each qubit along the chain.
    places = [inside.index(qubit) for qubit in qubits]
    order = [2 * place for place in places] + [2 * place + 1 for place in places]
    return closed.reshape((2,) * (2 * len(qubits))).permute(order).reshape(2 ** len(qubits), -1)


def _pauli(letter: str, tensor: Tensor) -> Tensor:
    """Apply I, X, Y or Z to the middle leg of a site's tensor."""
    if letter == "I":
        return tensor
    zero, one = tensor.unbind(1)
    if letter == "X":
        return torch.stack((one, zero), 1)
    if letter == "Y":
        return torch.stack((-1j * one, 1j * zero), 1)
    return torch.stack((zero, -one), 1)
