"""``engine="auto"``: the cheapest exact engine that fits, decided once from estimates.

    circuit, and what is read of its state at each step
        ──► seconds and bytes of a state vector, of an exact chain, of a contraction ──► the engine

The constants are fitted to ``docs/results/engines.json``, which ``benchmarks.engines`` measured; a
test holds the choice against that table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch

from .._types import ComplexDtype
from ..circuits import Circuit
from ..circuits._shape import bond_growth
from ..errors import UnsupportedByEngine, must_be, positive_int
from ..measurements._base import Measurement
from ..measurements._correlators import PauliCorrelators, correlator_terms
from ..measurements._expectation import Expectation
from ..measurements._pauli import PauliString, parse_terms
from ..measurements._probabilities import Probabilities
from ._base import Engine
from ._slots import in_slots
from .contraction._engine import ContractionEngine
from .contraction._network import Network, circuit_network
from .contraction._trees import Shape, estimate, find_plan, least_seconds, shape_of
from .mps._engine import MPSEngine
from .statevector._engine import StatevectorEngine, memory_bytes

# Seconds on one core, complex64, forward and backward.
# State vector: of a pass; of an amplitude, of a two-qubit gate and of a Pauli string on it.
_DENSE_PASS, _DENSE_AMPLITUDE, _DENSE_GATE, _DENSE_STRING = 1.5e-3, 6e-8, 2.8e-9, 1e-8
# Chain: of a pass, of a gate across a bond, of a string across a site, of a multiplication.
_CHAIN_PASS, _CHAIN_GATE, _CHAIN_SITE, _CHAIN_PRODUCT = 1e-3, 1.4e-4, 5e-5, 1.2e-9
# A forward pass alone takes about this share.
_FORWARD = 0.35
# Bytes of a state that are alive at once in a backward pass, in states.
_STATES_ALIVE = 8
# A contraction is not looked at for more outcomes or gates than this, nor taken if it is slower.
_MOST_OUTCOMES = 2**24
_MOST_GATES = 3000
_MOST_SECONDS = 600.0
# Of many strings, so many are looked at; a tree is searched for where a first look is that near.
_SAMPLE = 12
_NEAR = 8.0
# The look itself takes time: it is not worth it for less than this factor.
_WORTH = 1.3
# Estimates this near are alike: the first engine is taken, the state vector before the others.
_TIE = 1.25


@dataclass(frozen=True)
class Estimate:
    """Expected seconds and bytes of one pass.

    Attributes:
        seconds: Time; only good for a comparison.
        bytes: Memory at the peak.
    """

    seconds: float
    bytes: float


@dataclass(frozen=True)
class Request:
    """What is read of a state at each step.

    Attributes:
        n_outcomes: So many probabilities, the first ones.
        strings: Pauli strings whose expectation values are read: all, or some of many.
        n_strings: How many there are.
        n_letters: Letters of correlators, which are read together; 0 for other strings.
        gradient: Whether a backward pass follows.
    """

    n_outcomes: int = 0
    strings: tuple[PauliString, ...] = ()
    n_strings: int = 0
    n_letters: int = 0
    gradient: bool = True

    @property
    def share(self) -> float:
        """The time as a share of that of a forward and a backward pass."""
        return 1.0 if self.gradient else _FORWARD


def request_of(
    n_qubits: int, n_values: int, reads: Measurement | None = None, gradient: bool = True
) -> Request:
    """Return what is read of a state where a measurement's first values are used.

    Args:
        n_qubits: Number of qubits.
        n_values: How many values are used.
        reads: The measurement, probabilities by default. One of a class of the user's own counts
            as probabilities.
        gradient: Whether a gradient is asked for.

    Returns:
        The request.
    """
    if isinstance(reads, PauliCorrelators):
        order, letters = reads.order, reads.bases_read
        each = reads.n_values(n_qubits) // len(letters)
        places = sorted({i * n_values // _SAMPLE for i in range(_SAMPLE)})
        picked = [
            correlator_terms(n_qubits, order, letters, at, at + 1, reads.reach)[0] for at in places
        ]
        strings = [string for one in picked for _, string in one]
        n_letters = -(-n_values // each)
        return Request(0, tuple(strings), n_values, n_letters, gradient)
    if isinstance(reads, Expectation):
        sums = [parse_terms(terms, n_qubits) for terms in reads.terms[:n_values]]
        found = [*dict.fromkeys(string for each in sums for _, string in each if string)]
        step = max(1, len(found) // _SAMPLE)
        return Request(0, tuple(found[::step]), len(found), 0, gradient)
    return Request(n_values, gradient=gradient)


def statevector_estimate(
    circuit: Circuit, request: Request, dtype: ComplexDtype = "complex64"
) -> Estimate:
    """Estimate the state-vector engine: all amplitudes for each two-qubit gate and each string.

    Args:
        circuit: The circuit.
        request: What is read of the state.
        dtype: Precision of the amplitudes.

    Returns:
        The estimate.
    """
    size = 8 if dtype == "complex64" else 16
    amplitudes = _as_float(2**circuit.n_qubits)
    # One-qubit gates go along with the others, or by themselves where there are none.
    n_gates = sum(len(gate.qubits) == 2 for gate in circuit.gates) or len(circuit)
    n_strings = request.n_letters * circuit.n_qubits or request.n_strings
    each = _DENSE_AMPLITUDE + n_gates * _DENSE_GATE + n_strings * _DENSE_STRING
    seconds = _DENSE_PASS + each * amplitudes * size / 8
    return Estimate(seconds * request.share, _STATES_ALIVE * amplitudes * size)


def mps_estimate(
    circuit: Circuit,
    request: Request,
    dtype: ComplexDtype = "complex64",
    max_bond: int | None = None,
) -> Estimate:
    """Estimate the matrix product state: bonds that grow with each gate across them.

    Args:
        circuit: The circuit.
        request: What is read of the state.
        dtype: Precision of the amplitudes.
        max_bond: The bond dimension at which it is truncated; exact without.

    Returns:
        The estimate.
    """
    size = 8 if dtype == "complex64" else 16
    n = circuit.n_qubits
    bonds = [1.0] * (n + 1)  # from the left of the first qubit to the right of the last
    products = memory = n_crossings = 0.0
    for bond, bound in bond_growth(n, circuit.gates):
        before, bonds[bond + 1] = bonds[bond + 1], _as_float(min(bound, max_bond or bound))
        left, here, right = bonds[bond : bond + 3]
        # A bond that grows is written again; where it cannot, two tensors are multiplied.
        products += 4 * left * here * right if here == before else 2 * (left + right) * here
        memory += 2 * (left + right) * here * size
        n_crossings += 1
    sweep = sum(2 * a * b * (a + b) for a, b in pairwise(bonds))
    n_sites = 0.0
    if request.n_letters:
        n_sites = 3.0 * n
        products += request.n_strings * bonds[n // 2] ** 2 + 3 * request.n_letters * sweep * n
    elif request.strings:
        spans = [string[-1][0] - string[0][0] + 1 for string in request.strings]
        n_sites = 2 * n + request.n_strings * sum(spans) / len(spans)
        products += sweep * n_sites / n
    products += request.n_outcomes * bonds[n // 2]
    memory += 4 * min(request.n_outcomes, 2**20) * size
    seconds = _CHAIN_PASS + n_crossings * _CHAIN_GATE + n_sites * _CHAIN_SITE
    seconds += products * _CHAIN_PRODUCT * size / 8
    return Estimate(seconds * request.share, memory)


def contraction_estimate(
    circuit: Circuit,
    request: Request,
    dtype: ComplexDtype = "complex64",
    most_seconds: float | None = None,
) -> Estimate | None:
    """Estimate the contraction of what is read.

    Args:
        circuit: The circuit.
        request: What is read of the state.
        dtype: Precision of the amplitudes.
        most_seconds: Where it is given, the trees are those that the engine would take, which are
            searched for unless a first look says that the contraction takes many times longer.

    Returns:
        The estimate; None where it takes longer than that, passes the engine's default limit of
        memory, or is of too many gates or probabilities to be looked at.
    """
    if len(circuit) > _MOST_GATES or request.n_outcomes > _MOST_OUTCOMES:
        return None
    itemsize = 8 if dtype == "complex64" else 16
    networks = [*_networks(circuit, request)]
    times, gradient = max(1.0, request.n_strings / max(1, len(request.strings))), request.gradient
    least = times * sum(least_seconds(len(each.inputs), gradient) for each in networks)
    if most_seconds is not None and _WORTH * least > most_seconds:
        return None
    shapes = [shape_of(each.inputs, each.output) for each in networks]
    looks = {shape: estimate(shape, itemsize, gradient) for shape in dict.fromkeys(shapes)}
    seconds = times * sum(looks[shape].seconds for shape in shapes)
    if most_seconds is None:
        return Estimate(seconds, max((look.bytes for look in looks.values()), default=0.0))
    far = seconds > _NEAR * most_seconds
    return None if far else _along_trees(shapes, itemsize, gradient, times)


def _networks(circuit: Circuit, request: Request) -> Iterator[Network]:
    network = circuit_network(in_slots(circuit, torch.zeros(circuit.n_angles))[0])
    if request.n_outcomes:
        n_open = (request.n_outcomes - 1).bit_length()
        yield network.amplitudes(n_open, [0] * (circuit.n_qubits - n_open))
    for string in request.strings:
        yield network.expectation(string)


def _along_trees(
    shapes: list[Shape], itemsize: int, gradient: bool, times: float
) -> Estimate | None:
    seconds = memory = 0.0
    for shape in shapes:
        try:
            cost = find_plan(shape, "auto", memory_bytes() // 2, itemsize, gradient).cost
        except UnsupportedByEngine:
            return None
        seconds += times * cost.seconds
        memory = max(memory, cost.bytes)
    return Estimate(seconds, memory)


def choose_engine(
    circuit: Circuit,
    n_values: int,
    reads: Measurement | None = None,
    *,
    dtype: ComplexDtype = "complex64",
    gradient: bool = True,
) -> tuple[Engine, str]:
    """Return the cheapest exact engine for a circuit and what is read of it. It never truncates.

    Args:
        circuit: The circuit.
        n_values: How many of the measurement's values are used, the first ones.
        reads: What is read of the state, :class:`Probabilities` by default.
        dtype: Precision of the amplitudes.
        gradient: Whether a gradient is asked for.

    Returns:
        The engine, and a sentence that says why.

    Raises:
        TypeError: ``circuit`` is not a circuit, ``n_values`` not an integer, or ``reads`` not a
            measurement.
        ValueError: ``n_values`` is below 1, or more than the measurement has.
        UnsupportedByEngine: No exact engine fits this machine's memory.

    Example:
        >>> from qtn_train.circuits import ansatz
        >>> choose_engine(ansatz.u3_cu3_ring(8, 16), 200)[0]
        StatevectorEngine(dtype='complex64')
        >>> choose_engine(ansatz.grid(7, 7, 3), 1, Expectation("Z24"))[0].kind
        'contraction'
    """
    n_values = _checked(circuit, n_values, reads)
    request, limit = request_of(circuit.n_qubits, n_values, reads, gradient), memory_bytes()
    found = {
        "a state vector": (StatevectorEngine, statevector_estimate(circuit, request, dtype)),
        "an exact matrix product state": (MPSEngine, mps_estimate(circuit, request, dtype)),
    }
    fits = {name: one.bytes <= limit for name, (_, one) in found.items()}
    seconds = [one.seconds for name, (_, one) in found.items() if fits[name]]
    network = contraction_estimate(circuit, request, dtype, min([*seconds, _MOST_SECONDS]))
    if network is not None and network.seconds <= _MOST_SECONDS:
        found["a contraction"] = (ContractionEngine, network)
        fits["a contraction"] = True
    if not any(fits.values()):
        least = min(one.bytes for _, one in found.values())
        raise UnsupportedByEngine(
            must_be(
                "circuit",
                f"one whose exact state fits {limit / 2**30:.0f} GiB",
                f"{circuit.n_qubits} qubits and {len(circuit)} gates, which need "
                f"{least / 2**30:.3g} GiB",
                "Take MPSEngine(max_bond=...) to truncate.",
            )
        )
    quickest = min(found[name][1].seconds for name in found if fits[name])
    best = next(n for n in found if fits[n] and found[n][1].seconds <= _TIE * quickest)
    texts = [f"{_text(one, fits[name])} as {name}" for name, (_, one) in found.items()]
    return found[best][0](dtype=dtype), f"auto: estimated {', '.join(texts)}"


def _checked(circuit: Circuit, n_values: int, reads: Measurement | None) -> int:
    """Return the number of values, and raise where a circuit does not have so many."""
    if not isinstance(circuit, Circuit):
        raise TypeError(must_be("circuit", "a Circuit", type(circuit).__name__))
    reads = Probabilities() if reads is None else reads
    if not isinstance(reads, Measurement):
        expected = "a measurement, such as Probabilities() or Expectation(terms)"
        raise TypeError(must_be("reads", expected, repr(reads)))
    reads.check(circuit.n_qubits)
    number, most = positive_int("n_values", n_values), reads.n_values(circuit.n_qubits)
    if number > most:
        raise ValueError(must_be("n_values", f"at most {most:,} of {reads!r}", f"{number:,}"))
    return number


def wide_simulator(circuit: Circuit, simulator: Engine) -> Engine:
    """Return a simulator, or another exact one for a circuit that is too wide for it.

    Args:
        circuit: The circuit.
        simulator: The one to take if it can.

    Returns:
        The simulator.

    Raises:
        UnsupportedByEngine: No exact engine fits this machine's memory.

    Example:
        >>> from qtn_train.circuits import ansatz
        >>> type(wide_simulator(ansatz.cz_chain(68, 6), StatevectorEngine())).__name__
        'MPSEngine'
    """
    if circuit.n_qubits <= simulator.max_qubits:
        return simulator
    reads = PauliCorrelators(2)  # whatever is read later: many strings
    n_values = reads.n_values(circuit.n_qubits)
    return choose_engine(circuit, n_values, reads, dtype=simulator.dtype)[0]


def _as_float(number: int) -> float:
    """Return an integer as a float; infinity where no float holds it."""
    return float(number) if number.bit_length() <= 1023 else math.inf


def _text(estimate: Estimate, fits: bool) -> str:
    return f"{estimate.seconds:.2g} s" if fits else "too much memory"
