"""Tensored readout mitigation: each qubit's 2 × 2 confusion matrix, measured and inverted.

    read[b] = Σ_a M[b, a] true[a]      M = M_0 ⊗ … ⊗ M_{N−1},   M_q = ⎡1−e0   e1 ⎤
                                                                      ⎣ e0   1−e1⎦

Two calibration circuits, all qubits in 0 and all in 1, give e0 and e1 of every qubit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..circuits import Circuit, Gate
from ..errors import UnsupportedByEngine, must_be
from ._counts import Counts, Program

#: Mitigation works on the whole distribution: 2**20 numbers.
MAX_MITIGATED_QUBITS = 20


def check_size(n_qubits: int) -> None:
    """Refuse circuits whose whole distribution is too large.

    Raises:
        UnsupportedByEngine: More than :data:`MAX_MITIGATED_QUBITS` qubits.
    """
    if n_qubits > MAX_MITIGATED_QUBITS:
        expected = f"at most {MAX_MITIGATED_QUBITS} with readout mitigation"
        hint = "Take mitigate_readout=False."
        raise UnsupportedByEngine(must_be("n_qubits", expected, n_qubits, hint))


def calibration_programs(n_qubits: int) -> list[Program]:
    """Return the circuits that leave all qubits in 0, and all in 1."""
    flips = tuple(Gate("x", (qubit,)) for qubit in range(n_qubits))
    circuits = (Circuit(n_qubits, (), 0), Circuit(n_qubits, flips, 0))
    return [Program(circuit, torch.zeros(1, 0, dtype=torch.float64)) for circuit in circuits]


@dataclass(frozen=True, eq=False)
class Readout:
    """The confusion matrices of all qubits.

    Attributes:
        matrices: Shape (n_qubits, 2, 2), float64: column = true bit, row = bit read.
    """

    matrices: Float[Tensor, "n_qubits 2 2"]

    @classmethod
    def measured(cls, zeros: Counts, ones: Counts, n_qubits: int) -> Readout:
        """Return the confusion matrices that calibration counts show.

        Args:
            zeros: Counts of the circuit that leaves all qubits in 0.
            ones: Counts of the circuit that leaves them in 1.
            n_qubits: Number of qubits.

        Returns:
            The matrices.

        Raises:
            UnsupportedByEngine: A qubit's readout is no better than a coin: nothing to invert.
        """
        read_one = [counts.frequencies @ counts.rows.double() for counts in (zeros, ones)]
        contrast = read_one[1] - read_one[0]
        if float(contrast.min()) <= 0:
            qubit = int(contrast.argmin())
            expected = "better than a coin for mitigation"
            actual = f"P(1|1) − P(1|0) = {float(contrast[qubit]):.3g}"
            hint = "Take more shots, or mitigate_readout=False."
            raise UnsupportedByEngine(must_be(f"readout of qubit {qubit}", expected, actual, hint))
        rows = torch.stack([1 - torch.stack(read_one), torch.stack(read_one)])
        return cls(rows.permute(2, 0, 1).contiguous())

    @classmethod
    def of_rates(cls, read_1_of_0: float, read_0_of_1: float, n_qubits: int) -> Readout:
        """Return the confusion matrices of qubits that are all misread equally often.

        Args:
            read_1_of_0: P(read 1 | 0), in 0 … 1.
            read_0_of_1: P(read 0 | 1), in 0 … 1.
            n_qubits: Number of qubits.

        Returns:
            The matrices.
        """
        columns = ((1 - read_1_of_0, read_0_of_1), (read_1_of_0, 1 - read_0_of_1))
        return cls(torch.tensor(columns, dtype=torch.float64).repeat(n_qubits, 1, 1))

    def misread(self, true: Float[Tensor, " outcomes"]) -> Float[Tensor, " outcomes"]:
        """Return the distribution that is read where the true one is given.

        Args:
            true: All 2**n_qubits numbers, float64.

        Returns:
            As many numbers.
        """
        return _on_every_qubit(self.matrices, true)

    def invert(self, read: Float[Tensor, " outcomes"]) -> Float[Tensor, " outcomes"]:
        """Return the distribution behind one that was read: linear, so entries may be negative.

        Args:
            read: All 2**n_qubits numbers, float64.

        Returns:
            As many numbers.
        """
        return _on_every_qubit(torch.linalg.inv(self.matrices), read)

    def pull_back(self, values: Float[Tensor, " outcomes"]) -> Float[Tensor, " outcomes"]:
        """Return w with ``w · read = values · invert(read)`` for every distribution ``read``.

        Args:
            values: All 2**n_qubits numbers, float64.

        Returns:
            As many numbers.
        """
        return _on_every_qubit(torch.linalg.inv(self.matrices).mT, values)

    def corrected(self, counts: Counts) -> Counts:
        """Return the nearest distribution to the inverted frequencies.

        Args:
            counts: What was read.

        Returns:
            Probabilities in place of counts.
        """
        n_outcomes = 2 ** len(self.matrices)
        probs = project_on_simplex(self.invert(counts.dense(0, n_outcomes)))
        outcomes = probs.nonzero().reshape(-1)
        return Counts.of_outcomes(outcomes, probs[outcomes], len(self.matrices))

    def variance_of_inverse(self, read: Float[Tensor, " outcomes"]) -> Float[Tensor, " outcomes"]:
        """Return the variance of each inverted frequency, of a single shot.

        Args:
            read: The frequencies of all 2**n_qubits outcomes, float64.

        Returns:
            As many non-negative numbers.
        """
        inverse = torch.linalg.inv(self.matrices)
        return _on_every_qubit(inverse.square(), read) - _on_every_qubit(inverse, read).square()

    def true_signs(self, rows: UInt8[Tensor, "seen n_qubits"]) -> Float[Tensor, "seen n_qubits"]:
        """Return bits as numbers whose mean is that of the true signs: (z − b)/a, column by column.

        Args:
            rows: Bits as read.

        Returns:
            float64; z = 1 − 2·bit is read with the mean a·z + b where the true sign is z, with
            a = 1 − P(1|0) − P(0|1) and b = P(0|1) − P(1|0).

        Example:
            >>> readout = Readout.of_rates(0.25, 0.25, 1)
            >>> readout.true_signs(torch.tensor([[0], [1]], dtype=torch.uint8)).tolist()
            [[2.0], [-2.0]]
        """
        read_1_of_0, read_0_of_1 = self.matrices[:, 1, 0], self.matrices[:, 0, 1]
        signs = 1 - 2 * rows.double()
        return (signs - (read_0_of_1 - read_1_of_0)) / (1 - read_1_of_0 - read_0_of_1)


def _on_every_qubit(matrices: Tensor, vector: Tensor) -> Tensor:
    for qubit, matrix in enumerate(matrices):
        split = vector.reshape(2**qubit, 2, -1)
        vector = torch.einsum("ba,lar->lbr", matrix, split)
    return vector.reshape(-1)


def project_on_simplex(values: Float[Tensor, " outcomes"]) -> Float[Tensor, " outcomes"]:
    """Return the distribution that is nearest in the Euclidean distance.

    Args:
        values: Any real numbers.

    Returns:
        Non-negative numbers that sum to 1.

    Source:
        Smolin, Gambetta, Smith, arXiv 1106.5458; Duchi et al., ICML 2008.

    Example:
        >>> project_on_simplex(torch.tensor([1.0, 0.5, -0.2])).tolist()
        [0.75, 0.25, 0.0]
    """
    ordered = values.sort(descending=True).values
    excess = (ordered.cumsum(0) - 1) / torch.arange(1, len(values) + 1, dtype=values.dtype)
    last = int((ordered > excess).nonzero()[-1])
    return (values - excess[last]).clamp_min(0)
