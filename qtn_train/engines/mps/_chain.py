"""Evolution of a matrix product state, gate by gate.

    ─l─[A₀]─┬─[A₁]─┬─ … ─[A_{N−1}]─        A_i: (left, 2, right), the outer bonds have dimension 1
        │       │              │
        s₀      s₁             s_{N−1}

    sites < lo are left isometries, sites > hi are right isometries

A bond grows without any decomposition while it fits ``max_bond``: either the gate is written as a
sum over ``rank`` pairs of one-qubit operators, which multiplies the bond by ``rank`` and touches
each site by itself (:mod:`._growth`), or, where that bond is larger than it need be, the two
tensors become one and fall apart into the identity and the rest. Both are exact at every rank, in
value and derivative. Only where a bond would pass ``max_bond`` the chain is brought into canonical
form around it, as far as it is not, and cut.

The lines speak autoray, so that the same ones run on torch tensors, with gradients, and on NumPy
arrays, without.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from autoray import get_namespace
from numpy.typing import NDArray

from ...circuits import Circuit
from ...errors import QtnTrainError, UnsupportedByEngine
from .._slots import ONE, ZERO, gate_matrices
from ._growth import Growth
from ._split import Array, Cut, SvdGradient, cut, is_finite, orthogonalize

_IDENTITY = np.array([[ONE, ZERO], [ZERO, ONE]])
# Smaller bonds than this are not looked at for zeros: they cost less than the look.
_FIRST_LOOK = 8


@dataclass(frozen=True)
class Pair:
    """A two-qubit gate of a circuit, seen from the chain.

    Attributes:
        gate: Its position in the circuit.
        left: The lower one of its qubits.
        right: The higher one.
        rank: Number of pairs of one-qubit operators that it is a sum of.
        rightward: Whether the next gate lies to the right.
    """

    gate: int
    left: int
    right: int
    rank: int
    rightward: bool


@dataclass(frozen=True)
class Products:
    """A plan to multiply many lists of one-qubit gates: neighbors first, all lists at once.

    The number of products grows as that of the gates, however unequal the lists are.

    Attributes:
        slots: ``(n, 2, 2)`` slots of the factors.
        levels: ``(2, n)`` positions for each level: the factors on the left, applied later, and
            those on the right, among the results of the level before.
    """

    slots: NDArray[np.int64]
    levels: tuple[NDArray[np.int64], ...]

    def of(self, values: Array) -> Array:
        """Return the products, one for each list: ``(n_lists, 2, 2)``."""
        matrices = values[self.slots]
        for later, earlier in self.levels:
            matrices = matrices[later] @ matrices[earlier]
        return matrices


@dataclass(frozen=True)
class Program:
    """A circuit as two-qubit gates, the one-qubit gates joined to them.

    Attributes:
        pairs: The two-qubit gates in order.
        terms: ``(n_pairs, 2, rank, 2, 2)`` slots: the operators on the left and the right qubit.
        before: One-qubit gates before each pair, on its left and its right qubit; None for none.
        after: One-qubit gates after all.
        touched: The qubits that ``after`` changes.
        largest: The largest bond that the gates can make.
    """

    pairs: tuple[Pair, ...]
    terms: NDArray[np.int64]
    before: Products | None
    after: Products
    touched: tuple[int, ...]
    largest: int

    def operators(self, values: Array) -> Array:
        """Return the operators of the pairs, one-qubit gates before them included."""
        terms = values[self.terms]
        if self.before is None:
            return terms
        return terms @ self.before.of(values).reshape(-1, 2, 1, 2, 2)

    def one_by_one(self, terms: Array, values: Array) -> Array:
        """Return ``(n, 2, rank, 2)`` [s, k, t]: left and right of each pair, then ``after``."""
        namespace, rank = get_namespace(values), terms.shape[2]
        operators = namespace.transpose(terms, (0, 1, 3, 2, 4)).reshape(-1, 2, rank, 2)
        if not self.touched:
            return operators
        after = self.after.of(values)[:, :, None] * namespace.eye(rank)[0][:, None]
        return namespace.concatenate((operators, after))


@lru_cache(maxsize=64)
def program(circuit: Circuit) -> Program:
    """Return a circuit's two-qubit gates with all others joined to them."""
    slots = gate_matrices(circuit).slots
    waiting: list[list[NDArray[np.int64]]] = [[] for _ in range(circuit.n_qubits)]
    gates, terms, before = [], [], []
    for index, gate in enumerate(circuit.gates):
        if len(gate.qubits) == 1:
            waiting[gate.qubits[0]].append(slots[index])
            continue
        left, right = sorted(gate.qubits)
        terms.append(_terms(slots[index], swapped=gate.qubits[0] > gate.qubits[1]))
        gates.append((index, left, right, len(terms[-1][0])))
        before += [waiting[left], waiting[right]]
        waiting[left], waiting[right] = [], []
    rank = max((gate[3] for gate in gates), default=1)
    padded = np.full((len(gates), 2, rank, 2, 2), ZERO)
    for number, pair_terms in enumerate(terms):
        padded[number, :, : pair_terms.shape[1]] = pair_terms
    lefts = [gate[1] for gate in gates]
    rightward = [after > here for here, after in zip(lefts, [*lefts[1:], 0], strict=False)]
    return Program(
        pairs=tuple(Pair(*gate, toward) for gate, toward in zip(gates, rightward, strict=True)),
        terms=padded,
        before=plan_products(before) if any(before) else None,
        after=plan_products([list_ for list_ in waiting if list_]),
        touched=tuple(qubit for qubit, list_ in enumerate(waiting) if list_),
        largest=max(circuit.bond_bounds(), default=1),
    )


def _terms(slots: NDArray[np.int64], *, swapped: bool) -> NDArray[np.int64]:
    """Write a gate as Σₖ Oₖ ⊗ Pₖ: ``(2, rank, 2, 2)`` slots of O (left qubit) and P (right)."""
    first, second = [], []
    blocks = slots.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3)  # [s, t] is a matrix on the second
    for s in range(2):
        for t in range(2):
            if not np.all(blocks[s, t] == ZERO):
                operator = np.full((2, 2), ZERO)
                operator[s, t] = ONE
                first.append(operator)
                second.append(blocks[s, t])
    return np.array([second, first] if swapped else [first, second])


def plan_products(lists: Sequence[Sequence[NDArray[np.int64]]]) -> Products:
    """Plan the product of each list of gates, whose first one is applied first."""
    factors = [_IDENTITY, *(gate for gates in lists for gate in gates)]
    positions, next_ = [], 1
    for gates in lists:
        positions.append(list(range(next_, next_ + len(gates))))
        next_ += len(gates)
    levels = []
    while any(len(row) > 1 for row in positions):
        pairs, halved = [(0, 0)], []  # position 0 keeps the identity
        for row in positions:
            later = [*row[1::2], *[0] * (len(row) % 2)]
            halved.append(list(range(len(pairs), len(pairs) + len(later))))
            pairs += zip(later, row[::2], strict=True)
        levels.append(np.array(pairs).T)
        positions = halved
    picked = [row[0] if row else 0 for row in positions]
    slots = np.array(factors)
    if levels:
        levels[-1] = levels[-1][:, picked]
        return Products(slots, tuple(levels))
    return Products(slots[picked], ())


@dataclass
class Chain:
    """A matrix product state under construction.

    Attributes:
        tensors: One for each qubit, shape ``(left, 2, right)``.
        max_bond: Largest bond; None does not limit it.
        cutoff: Share of the squared norm that each cut may discard besides; above 0 every gate
            is followed by a cut.
        gradient: Derivative of a cut.
        drop_zeros: Whether singular values that are 0 but for rounding are dropped wherever a bond
            has doubled since that was last looked for: right in the value, not in the derivative.
        low: All sites before this one are left isometries.
        high: All sites after this one are right isometries.
        weights: Weight discarded by each cut, relative to the state before it.
        rank_cuts: How many cuts discarded nothing but singular values that are 0.
        only_grows: Whether bonds stay below ``max_bond`` and what their qubits allow, as far as the
            gates tell.
    """

    tensors: list[Array]
    max_bond: int | None
    cutoff: float
    gradient: SvdGradient
    drop_zeros: bool = False
    low: int = 0
    high: int = 0
    weights: list[float] = field(default_factory=list)
    rank_cuts: int = 0
    only_grows: bool = True

    def __post_init__(self) -> None:
        self.namespace = get_namespace(self.tensors[0])
        self._identities: dict[int, Array] = {}
        # The bonds, by the number of their left site, above which zeros are looked for.
        self._watched = [_FIRST_LOOK] * len(self.tensors)

    def apply(self, pair: Pair, gate: Array, terms: Array) -> None:
        """Apply a two-qubit gate.

        Args:
            pair: Where it stands.
            gate: Its ``(4, 4)`` matrix, the left qubit more significant.
            terms: Its ``(2, rank, 2, 2)`` operators on the left and on the right qubit.
        """
        if pair.right > pair.left + 1:
            self._far(pair, terms)
            return
        site = pair.left
        left, _, bond = self.tensors[site].shape
        most = 2 * min(left, self.tensors[site + 1].shape[2])
        if self._too_large(site, min(most, pair.rank * bond)):
            self.center(site, site + 1)
            self._cut(site, self._joined(site, gate), rightward=pair.rightward)
        else:
            self._exact(site, self._joined(site, gate))

    def take(self, pair: Pair, number: int, growth: Growth) -> range:
        """Let a two-qubit gate wait, if all it does is to make its bond grow.

        Args:
            pair: Where it stands.
            number: Its place among the two-qubit gates: its operators are the numbers 2·number, on
                the left, and 2·number + 1.
            growth: What waits.

        Returns:
            The sites whose tensors are needed to apply the gate now; none where it waits.
        """
        site = pair.left
        if pair.right > site + 1:
            return range(len(self.tensors))
        grown = pair.rank * growth.bond(site)
        most = 2 * min(growth.left(site), growth.bond(site + 1))
        if self._too_large(site, min(most, grown)):
            return range(len(self.tensors))
        # A bond that becomes as large as its neighbors allow: joined at once, one of the sites is
        # an isometry, which spares moves later; in wide circuits it is better to wait.
        if grown > most or (grown == most and not self.only_grows):
            return range(site, site + 2)
        growth.add_pair(site, 2 * number, 2 * number + 1, pair.rank)
        self.low, self.high = min(self.low, site), max(self.high, site + 1)
        return range(0)

    def center(self, first: int, last: int) -> None:
        """Make the sites before ``first`` left isometries and those after ``last`` right ones."""
        while self.low < first:
            self._move_right(self.low)
        while self.high > last:
            self._move_left(self.high)

    def _too_large(self, site: int, bond: int) -> bool:
        """Return whether the bond right of a site must be cut, or checked for zeros."""
        if self.cutoff > 0 or (self.max_bond is not None and bond > self.max_bond):
            return True
        return self.drop_zeros and bond > self._watched[site]

    def _joined(self, site: int, gate: Array) -> Array:
        """Return two neighboring tensors, a gate applied, as a ``(2·left, 2·right)`` matrix."""
        a, b = self.tensors[site], self.tensors[site + 1]
        left, _, bond = a.shape
        both = (a.reshape(2 * left, bond) @ b.reshape(bond, -1)).reshape(left, 4, -1)
        return (gate @ both).reshape(2 * left, -1)

    def _identity(self, size: int) -> Array:
        if size not in self._identities:
            self._identities[size] = self.namespace.eye(size)
        return self._identities[size]

    def _put(self, site: int, x: Array, y: Array) -> None:
        """Store the factors of two neighboring tensors."""
        self.tensors[site] = x.reshape(-1, 2, x.shape[1])
        self.tensors[site + 1] = y.reshape(y.shape[0], 2, -1)

    def _exact(self, site: int, joined: Array) -> None:
        """Split two tensors into the identity, on the side of the smaller bond, and the rest."""
        rows, columns = joined.shape
        one = self._identity(min(rows, columns))
        # A site that was an isometry stays one if the identity takes its place or joins it.
        if rows <= columns:
            self._put(site, one, joined)
            self.low = max(self.low, site + 1) if self.low >= site else self.low
            self.high = max(self.high, site + 1)
        else:
            self._put(site, joined, one)
            self.low = min(self.low, site)
            self.high = min(self.high, site) if self.high <= site + 1 else self.high

    def _cut(self, site: int, joined: Array, *, rightward: bool) -> None:
        """Split two tensors, the canonical center, by their singular values."""
        x, y = self._factor(site, joined if rightward else joined.T)
        self._put(site, *((x, y) if rightward else (y.T, x.T)))
        self.low = self.high = site + 1 if rightward else site

    def _factor(self, site: int, matrix: Array) -> tuple[Array, Array]:
        drop = self.drop_zeros
        result: Cut = cut(matrix, self.max_bond, self.cutoff, self.gradient, drop_zeros=drop)
        self._watched[site] = max(_FIRST_LOOK, 2 * len(result.values))
        self.weights.append(result.weight)
        self.rank_cuts += result.lost_rank
        # A constant that keeps the norm: many cuts would run out of the range of the numbers.
        return result.isometry, result.rest * (1 - result.weight) ** -0.5

    def _move_right(self, site: int) -> None:
        a, b = self.tensors[site], self.tensors[site + 1]
        x, rest = orthogonalize(a.reshape(-1, a.shape[2]))
        self._put(site, x, rest @ b.reshape(b.shape[0], -1))
        self.low = site + 1 if self.low == site else self.low
        self.high = max(self.high, site + 1)

    def _move_left(self, site: int) -> None:
        a, b = self.tensors[site - 1], self.tensors[site]
        x, rest = orthogonalize(b.reshape(b.shape[0], -1).T)
        self._put(site - 1, a.reshape(-1, a.shape[2]) @ rest.T, x.T)
        self.low = min(self.low, site - 1)
        self.high = site - 1 if self.high == site else self.high

    def _spread(self, first: int, last: int, terms: Array) -> None:
        """Apply Σₖ Oₖ ⊗ Pₖ to two sites: the index k runs along all bonds between them."""
        rank = terms.shape[1]
        a, b = self.tensors[first], self.tensors[last]
        einsum = self.namespace.einsum
        a = einsum("kst,ltr->lsrk", terms[0], a).reshape(a.shape[0], 2, -1)
        b = einsum("kst,ltr->lksr", terms[1], b).reshape(-1, 2, b.shape[2])
        self.tensors[first], self.tensors[last] = a, b
        one = self._identity(rank).reshape(1, rank, 1, 1, rank)
        for site in range(first + 1, last):
            inner = self.tensors[site]
            wide = inner[:, None, :, :, None] * one
            self.tensors[site] = wide.reshape(inner.shape[0] * rank, 2, -1)
        self.low, self.high = min(self.low, first), max(self.high, last)

    def _far(self, pair: Pair, terms: Array) -> None:
        """Apply a gate on qubits that are not neighbors.

        For a moment each bond between them is ``rank`` (2 for a controlled gate, 4 for a swap)
        times as large; the cost is that of a sweep with such bonds over the sites between them.
        """
        first, last = pair.left, pair.right
        sites = range(first, last)
        large = any(map(self._too_large, sites, self._bonds_after(pair)))
        if large:  # outside the two sites it is cheaper to move before the bonds grow
            self.center(first, last)
        self._spread(first, last, terms)
        self._trim(first, last)
        if large:
            self.center(first, first)
            for site in sites:
                a, b = self.tensors[site], self.tensors[site + 1]
                if self._too_large(site, a.shape[2]):
                    x, rest = self._factor(site, a.reshape(-1, a.shape[2]))
                    self._put(site, x, rest @ b.reshape(b.shape[0], -1))
                    self.low = self.high = site + 1
                else:
                    self._move_right(site)

    def _bonds_after(self, pair: Pair) -> list[int]:
        """Return the bonds across a gate once applied, each at most twice its neighbor."""
        inside = [t.shape[2] * pair.rank for t in self.tensors[pair.left : pair.right]]
        bonds = [self.tensors[pair.left].shape[0], *inside, self.tensors[pair.right].shape[2]]
        for i in range(1, len(bonds) - 1):
            bonds[i] = min(bonds[i], 2 * bonds[i - 1])
        for i in reversed(range(1, len(bonds) - 1)):
            bonds[i] = min(bonds[i], 2 * bonds[i + 1])
        return bonds[1:-1]

    def _trim(self, first: int, last: int) -> None:
        """Cut bonds down, exactly, to twice their neighbors."""
        for site in range(first, last):
            left, _, right = self.tensors[site].shape
            if right > 2 * left:
                self._move_right(site)
        for site in range(last, first, -1):
            left, _, right = self.tensors[site].shape
            if left > 2 * right:
                self._move_left(site)


def evolve(circuit: Circuit, values: Array, chain: Chain) -> None:
    """Apply a circuit to a chain, and normalize it where it was cut.

    Args:
        circuit: The circuit.
        values: What stands in the slots of its gates' matrices, of the chain's type.
        chain: Changed in place.

    Raises:
        QtnTrainError: A tensor became NaN or infinite; the message names the gate and the bond.
    """
    steps = program(circuit)
    full = 2 ** (circuit.n_qubits // 2)
    chain.only_grows = steps.largest < min(full, (chain.max_bond or full) + 1)
    start = replace(chain, tensors=list(chain.tensors), weights=[])
    try:
        finite = _sweep(steps, values, chain)
    except UnsupportedByEngine:
        raise
    except QtnTrainError:
        finite = False
    if not finite:
        raise QtnTrainError(_non_finite(circuit, _first_bad(steps, steps.operators(values), start)))
    if chain.weights:
        _normalize(chain)


def _sweep(steps: Program, values: Array, chain: Chain) -> bool:
    """Apply all gates; one by which a bond only grows waits until its tensors are needed.

    Returns:
        Whether all tensors are finite. NaN and infinity stay until the end, and are not looked for
        before it: each look would wait for the device.
    """
    terms = steps.operators(values)
    growth = Growth(chain.tensors, steps.one_by_one(terms, values))
    parts: list[tuple[Array, Array]] = []
    finite, joined = True, set[int]()
    for number, pair in enumerate(steps.pairs):
        needed = chain.take(pair, number, growth)
        if needed:
            parts = parts or _with_matrices(terms)
            finite &= growth.finish(needed)
            gate, operators = parts[number]
            chain.apply(pair, gate, operators[:, : pair.rank])
            joined.update(range(pair.left, pair.right + 1))
    for number, site in enumerate(steps.touched, 2 * len(steps.pairs)):
        growth.add_one(site, number)
    finite &= growth.finish(range(len(chain.tensors)))
    return finite and (not joined or is_finite(*(chain.tensors[site] for site in joined)))


def _first_bad(steps: Program, terms: Array, chain: Chain) -> Pair | None:
    """Return the first gate after which a tensor is NaN or infinite, by a sweep that looks."""
    for pair, (gate, operators) in zip(steps.pairs, _with_matrices(terms), strict=True):
        try:
            chain.apply(pair, gate, operators[:, : pair.rank])
        except QtnTrainError:
            return pair
        if not is_finite(chain.tensors[pair.left], chain.tensors[pair.right]):
            return pair
    return None


def _with_matrices(terms: Array) -> list[tuple[Array, Array]]:
    """Return each gate's ``(4, 4)`` matrix, and its operators."""
    gates = get_namespace(terms).einsum("nkst,nkuv->nsutv", terms[:, 0], terms[:, 1])
    return list(zip(gates.reshape(-1, 4, 4), terms, strict=True))


def _non_finite(circuit: Circuit, pair: Pair | None) -> str:
    if pair is None:
        return "the tensors must be finite after the last gates; got NaN or infinity."
    gate = circuit.gates[pair.gate]
    where = f"gates[{pair.gate}] ({gate.name} on qubits {gate.qubits})"
    bonds = f"bonds {pair.left + 1}…{pair.right}"
    if pair.right == pair.left + 1:
        bonds = f"bond {pair.right}"
    return f"the tensors at {bonds} must be finite after {where}; got NaN or infinity."


def _normalize(chain: Chain) -> None:
    """Divide the chain by its norm, which the sites ``low`` … ``high`` hold."""
    norm = squared_norm(chain.tensors[chain.low : chain.high + 1]) ** 0.5
    chain.tensors[chain.high] = chain.tensors[chain.high] / norm


def squared_norm(tensors: Sequence[Array]) -> Array:
    """Return ⟨ψ|ψ⟩ of a chain, or of the sites between isometries: a real number."""
    environment = None
    for tensor in tensors:
        environment = transfer(environment, tensor)
    return get_namespace(tensors[0]).trace(environment).real


def transfer(environment: Array | None, tensor: Array, other: Array | None = None) -> Array:
    """Carry an environment over one site to the right.

        ┌──r'        ┌─l'─[Ā]──r'
        E'      =    E     │            (None for E: the identity)
        └──r         └─l──[B]──r

    Args:
        environment: E, shape ``(left, left)``.
        tensor: A, whose conjugate stands above.
        other: B; A itself by default.

    Returns:
        E', shape ``(right, right)``.
    """
    below = tensor if other is None else other
    left, _, right = below.shape
    if environment is not None:
        below = (environment @ below.reshape(left, -1)).reshape(-1, 2, right)
    return tensor.reshape(-1, tensor.shape[2]).conj().T @ below.reshape(-1, right)


def zero_state(n_qubits: int, like: Array) -> list[Array]:
    """Return the tensors of |0…0⟩, of the type and on the device of another array."""
    return [get_namespace(like).eye(2)[:1].reshape(1, 2, 1)] * n_qubits


def discarded(weights: Sequence[float]) -> tuple[float, float]:
    """Return Σ√w, with w relative to the norm at the start, and ∏(1 − w)."""
    error, kept = 0.0, 1.0
    for weight in weights:
        error += math.sqrt(weight * kept)
        kept *= 1 - weight
    return error, kept
