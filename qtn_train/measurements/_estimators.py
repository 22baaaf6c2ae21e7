"""Gradients from executed circuits: which circuits to execute, and the gradient from their means.

Each estimator is one table, a :class:`Plan`:

    rows of angles ──► execute ──► mean of v over the numbers of each row ──► back @ means ≈ Jᵀv

with v the cotangent over the measured numbers and J = ∂numbers/∂angles. The mean over a row's shots
is the measurement's to take. What is random in a plan is a function of seed and position alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from .._random import permutation, raw_bits
from ..circuits import Circuit, Lowered
from ..errors import must_be, positive_int
from ._base import Measurement
from ._counts import Program

if TYPE_CHECKING:
    from scipy.sparse import csr_array

GradientMethod = Literal["parameter-shift", "random-shift", "spsa"]
GRADIENTS: tuple[GradientMethod, ...] = get_args(GradientMethod)


class Term(NamedTuple):
    """One shifted circuit of a rule: f′(x) = Σ coefficient · f(x + shift)."""

    shift: float
    coefficient: float


_NEAR, _FAR = np.pi / 2, 3 * np.pi / 2
_TWO = (Term(_NEAR, 0.5), Term(-_NEAR, -0.5))
_PLUS, _MINUS = (np.sqrt(2) + 1) / (4 * np.sqrt(2)), (np.sqrt(2) - 1) / (4 * np.sqrt(2))
_FOUR = (Term(_NEAR, _PLUS), Term(-_NEAR, -_PLUS), Term(_FAR, -_MINUS), Term(-_FAR, _MINUS))

#: Gate -> the rule of each of its angles. An angle whose generator has two eigenvalues one apart
#: takes two terms; θ of controlled rotations has 0 and ±½, and takes four (arXiv 1811.11184,
#: 2104.05695).
#: Shifting the rotations of ``portable()`` instead would never cost fewer circuits: as many for
#: ``u3``, 12 in place of 8 for ``cu3``.
SHIFT_RULES: dict[str, tuple[tuple[Term, ...], ...]] = {
    **dict.fromkeys(("rx", "ry", "rz", "p", "u1", "cp", "rxx", "ryy", "rzz"), (_TWO,)),
    **dict.fromkeys(("crx", "cry", "crz"), (_FOUR,)),
    "u2": (_TWO, _TWO),
    "u3": (_TWO, _TWO, _TWO),
    "cu3": (_FOUR, _TWO, _TWO),
}


@dataclass(frozen=True, eq=False)
class ShiftTable:
    """The shifted circuits that give a circuit's whole gradient.

    Attributes:
        circuit: The same circuit with an angle of its own at each place where a gate takes one.
        tie: Sparse CSR matrix (places × free numbers): the untied angles are
            ``tie @ numbers + fixed``.
        fixed: For each place, what does not depend on the free numbers; in radians.
        live: The places that depend on a free number; only these are shifted.
        place: For each term, the place that it shifts.
        shift: For each term, by how much, in radians.
        coefficient: For each term, its factor in the derivative.
    """

    circuit: Circuit
    tie: csr_array
    fixed: NDArray[np.float64]
    live: NDArray[np.int64]
    place: NDArray[np.int64]
    shift: NDArray[np.float64]
    coefficient: NDArray[np.float64]


@lru_cache(maxsize=16)
def shift_table(circuit: Circuit | Lowered) -> ShiftTable:
    """Return a circuit's table of shifts, made once.

    Args:
        circuit: Any circuit; its gates may share angles. Or one whose angles are functions of fewer
            numbers: angles that are constant are not shifted.

    Returns:
        The table.
    """
    gates = circuit.circuit if isinstance(circuit, Lowered) else circuit
    untied = gates.lower({})
    tie, fixed = untied.A, untied.b
    live = np.arange(tie.shape[0])
    if isinstance(circuit, Lowered):
        tie, fixed = tie @ circuit.A, tie @ circuit.b
        tie.eliminate_zeros()
        live = np.flatnonzero(np.diff(tie.indptr))
    rules = [rule for gate in gates.gates for rule in SHIFT_RULES.get(gate.name, ())]
    is_live = np.zeros(len(rules), dtype=bool)
    is_live[live] = True
    terms = [(place, *term) for place, rule in enumerate(rules) if is_live[place] for term in rule]
    columns = np.array(terms, dtype=np.float64).reshape(-1, 3).T
    place = columns[0].astype(np.int64)
    return ShiftTable(untied.circuit, tie, fixed, live, place, columns[1], columns[2])


@dataclass(frozen=True, eq=False)
class Plan:
    """The circuits of one gradient estimate, and the linear map from their means to it.

    Attributes:
        program: The circuits to execute.
        back: Sparse CSR matrix (free numbers × executions).
    """

    program: Program
    back: csr_array

    def gradient(self, means: Float[Tensor, " batch"]) -> Float[Tensor, " n_angles"]:
        """Return the gradient by the free numbers: the angles, or what these are functions of.

        Args:
            means: For each execution the mean of the cotangent over its outcomes, float64.

        Returns:
            float64 on the CPU. With the exact means it is Jᵀv itself under parameter shift, and
            Jᵀv in the mean over seeds otherwise (SPSA: up to O(step²)).
        """
        return torch.from_numpy(self.back @ means.numpy())


def make_plan(
    gradient: GradientMethod,
    circuit: Circuit | Lowered,
    angles: Float[Tensor, " n_angles"],
    *,
    seed: int,
    position: int,
    step: float = 0.1,
    n_shifts: int | None = None,
) -> Plan:
    """Choose the circuits of one gradient estimate.

    Args:
        gradient: The estimator. ``"parameter-shift"``: all shifted circuits. ``"random-shift"``:
            those of some places at random, without replacement, scaled up: unbiased.
            ``"spsa"``: two circuits, a step along random signs and one against them.
        circuit: The circuit, or one whose angles are functions of fewer numbers: the gradient is
            by these then.
        angles: Where the gradient is wanted, in radians; float64 on the CPU.
        seed: Seed of what is random.
        position: Number of the evaluation: each has its own random subset or signs.
        step: Length of SPSA's step in every free number, in radians; its bias is O(step²).
        n_shifts: Number of places for ``"random-shift"``; a fourth of them by default.

    Returns:
        The plan.

    Raises:
        ValueError: ``n_shifts`` is larger than the number of places.

    Source:
        Parameter shift: arXiv 1803.00745, 1811.11184 and 2104.05695 (four terms); random
        subsets: arXiv 1910.01155; SPSA: Spall, IEEE Trans. Automat. Contr. 37, 332 (1992), whose
        gain sequence is left to the optimizer's learning rate.

    Example:
        >>> circuit, angles = Circuit.builder(1).ry(0).build(), torch.zeros(1).double()
        >>> plan = make_plan("parameter-shift", circuit, angles, seed=0, position=0)
        >>> plan.program.angles.tolist()
        [[1.5707963267948966], [-1.5707963267948966]]
    """
    from scipy.sparse import csr_array

    if gradient == "spsa":
        signs = np.where(raw_bits(seed, f"spsa/{position}", len(angles)) >> 63, 1.0, -1.0)
        rows = angles.numpy() + step * np.stack([signs, -signs])
        back = csr_array(np.stack([signs, -signs], axis=1) / (2 * step))
        if isinstance(circuit, Lowered):
            rows = np.stack([circuit.angles(row) for row in rows])
            circuit = circuit.circuit
        return Plan(Program(circuit, torch.from_numpy(rows)), back)
    table = shift_table(circuit)
    n_live = len(table.live)
    terms, scale = np.arange(len(table.place)), 1.0
    if gradient == "random-shift":
        count = subset_size(n_live, n_shifts)
        chosen = table.live[permutation(seed, f"random-shift/{position}", n_live)[:count]]
        terms = np.flatnonzero(np.isin(table.place, chosen))
        scale = n_live / max(count, 1)
    rows = np.tile(table.tie @ angles.numpy() + table.fixed, (len(terms), 1))
    rows[np.arange(len(terms)), table.place[terms]] += table.shift[terms]
    pick = csr_array(
        (scale * table.coefficient[terms], (table.place[terms], np.arange(len(terms)))),
        shape=(table.circuit.n_angles, len(terms)),
    )
    return Plan(Program(table.circuit, torch.from_numpy(rows)), csr_array(table.tie.T @ pick))


def subset_size(n_places: int, n_shifts: int | None) -> int:
    """Return how many places ``"random-shift"`` takes: as asked, or a fourth, at least 1.

    Raises:
        ValueError: There are fewer places.
    """
    if n_shifts is None:
        return min(n_places, max(1, n_places // 4))
    if n_shifts > n_places:
        expected = f"at most {n_places}, the angles of the circuit's gates"
        raise ValueError(must_be("n_shifts", expected, n_shifts))
    return n_shifts


class CircuitCount(NamedTuple):
    """The number of circuits that one evaluation and its gradient execute.

    Attributes:
        forward: In the forward pass.
        backward_low: In the backward pass at least.
        backward_high: In the backward pass at most: random subsets may take places whose rules
            differ in length.
    """

    forward: int
    backward_low: int
    backward_high: int


def n_circuits(
    circuit: Circuit | Lowered,
    gradient: GradientMethod | None,
    n_shifts: int | None = None,
    mitigate_readout: bool = False,
    reads: Measurement | None = None,
) -> CircuitCount:
    """Return how many circuits a forward and a backward pass execute.

    Args:
        circuit: The circuit, or one whose angles are functions of fewer numbers.
        gradient: The estimator, or None.
        n_shifts: As for :func:`make_plan`.
        mitigate_readout: Whether two calibration circuits go with the forward pass.
        reads: What is measured, each of its bases by a circuit of its own; probabilities, in one
            basis, by default.

    Returns:
        The counts.

    Raises:
        TypeError: ``n_shifts`` is not an integer.
        ValueError: ``n_shifts`` is larger than the number of places, or given with another
            estimator than ``"random-shift"``; or the estimator is unknown.

    Example:
        >>> n_circuits(Circuit.builder(2).u3(0).cu3(0, 1).build(), "parameter-shift")
        CircuitCount(forward=1, backward_low=14, backward_high=14)
    """
    check_options(gradient, n_shifts=n_shifts)
    gates = circuit.circuit if isinstance(circuit, Lowered) else circuit
    n_bases = 1 if reads is None else len(reads.bases(gates.n_qubits))
    forward = n_bases + 2 * mitigate_readout
    if gradient is None:
        return CircuitCount(forward, 0, 0)
    if gradient == "spsa":
        return CircuitCount(forward, 2 * n_bases, 2 * n_bases)
    table = shift_table(circuit)
    lengths = np.sort(np.bincount(table.place, minlength=table.circuit.n_angles)[table.live])
    if gradient == "random-shift":
        count = subset_size(len(lengths), n_shifts)
        low, high = lengths[:count].sum(), lengths[len(lengths) - count :].sum()
        return CircuitCount(forward, n_bases * int(low), n_bases * int(high))
    return CircuitCount(forward, n_bases * int(lengths.sum()), n_bases * int(lengths.sum()))


def check_options(gradient: Any, step: float = 0.1, n_shifts: int | None = None) -> None:
    """Refuse an unknown estimator, or options that it cannot use.

    Args:
        gradient: The estimator, or None.
        step: SPSA's step.
        n_shifts: Number of places of ``"random-shift"``, or None.

    Raises:
        TypeError: ``n_shifts`` is not an integer.
        ValueError: One of them is out of its range.
    """
    if gradient is not None and gradient not in GRADIENTS:
        expected = f"one of {', '.join(GRADIENTS)}, or None"
        raise ValueError(must_be("gradient", expected, repr(gradient)))
    if not (np.isfinite(step) and step > 0):
        raise ValueError(must_be("step", "a positive number of radians", step))
    if n_shifts is not None:
        positive_int("n_shifts", n_shifts)
        if gradient != "random-shift":
            expected = f"None with gradient {gradient!r}"
            raise ValueError(must_be("n_shifts", expected, n_shifts, "Take random-shift for it."))
