"""One typed method for each gate of the table, so that an editor completes a circuit.

``angles`` are indices into the circuit's vector of angles, to share them between gates; without
them each gate gets new ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from ._gate import MatrixLike

Indices = tuple[int, ...]
# Not typing.Self: the tests check types method by method, without their class.
Builder = TypeVar("Builder", bound="GateMethods")


class GateMethods(ABC):
    """The methods of a builder; each appends one gate and returns the builder itself."""

    @abstractmethod
    def add(
        self: Builder,
        name: str,
        *qubits: int,
        angles: Indices | None = None,
        matrix: MatrixLike | None = None,
    ) -> Builder:
        """Append a gate by its name."""

    def unitary(self: Builder, matrix: MatrixLike, *qubits: int) -> Builder:
        """Append a gate given by its unitary matrix; the first qubit is the most significant."""
        return self.add("unitary", *qubits, matrix=matrix)

    def h(self: Builder, qubit: int) -> Builder:
        """Append H on a qubit."""
        return self.add("h", qubit)

    def x(self: Builder, qubit: int) -> Builder:
        """Append X on a qubit."""
        return self.add("x", qubit)

    def y(self: Builder, qubit: int) -> Builder:
        """Append Y on a qubit."""
        return self.add("y", qubit)

    def z(self: Builder, qubit: int) -> Builder:
        """Append Z on a qubit."""
        return self.add("z", qubit)

    def s(self: Builder, qubit: int) -> Builder:
        """Append S, the square root of Z, on a qubit."""
        return self.add("s", qubit)

    def si(self: Builder, qubit: int) -> Builder:
        """Append the inverse of S on a qubit."""
        return self.add("si", qubit)

    def t(self: Builder, qubit: int) -> Builder:
        """Append T, the square root of S, on a qubit."""
        return self.add("t", qubit)

    def ti(self: Builder, qubit: int) -> Builder:
        """Append the inverse of T on a qubit."""
        return self.add("ti", qubit)

    def sx(self: Builder, qubit: int) -> Builder:
        """Append the square root of X on a qubit."""
        return self.add("sx", qubit)

    def sxdg(self: Builder, qubit: int) -> Builder:
        """Append the inverse of the square root of X on a qubit."""
        return self.add("sxdg", qubit)

    def sy(self: Builder, qubit: int) -> Builder:
        """Append the square root of Y on a qubit."""
        return self.add("sy", qubit)

    def rx(self: Builder, qubit: int, angles: Indices | None = None) -> Builder:
        """Append e^{−iθX/2} on a qubit."""
        return self.add("rx", qubit, angles=angles)

    def ry(self: Builder, qubit: int, angles: Indices | None = None) -> Builder:
        """Append e^{−iθY/2} on a qubit."""
        return self.add("ry", qubit, angles=angles)

    def rz(self: Builder, qubit: int, angles: Indices | None = None) -> Builder:
        """Append e^{−iθZ/2} on a qubit."""
        return self.add("rz", qubit, angles=angles)

    def p(self: Builder, qubit: int, angles: Indices | None = None) -> Builder:
        """Append diag(1, e^{iλ}) on a qubit."""
        return self.add("p", qubit, angles=angles)

    def u1(self: Builder, qubit: int, angles: Indices | None = None) -> Builder:
        """Append diag(1, e^{iλ}), as ``p``, on a qubit."""
        return self.add("u1", qubit, angles=angles)

    def u2(self: Builder, qubit: int, angles: Indices | None = None) -> Builder:
        """Append U3(π/2, φ, λ) on a qubit."""
        return self.add("u2", qubit, angles=angles)

    def u3(self: Builder, qubit: int, angles: Indices | None = None) -> Builder:
        """Append U3(θ, φ, λ) on a qubit."""
        return self.add("u3", qubit, angles=angles)

    def cx(self: Builder, control: int, target: int) -> Builder:
        """Append X on a target, where a control is 1."""
        return self.add("cx", control, target)

    def cy(self: Builder, control: int, target: int) -> Builder:
        """Append Y on a target, where a control is 1."""
        return self.add("cy", control, target)

    def cz(self: Builder, control: int, target: int) -> Builder:
        """Append Z on a target, where a control is 1."""
        return self.add("cz", control, target)

    def ch(self: Builder, control: int, target: int) -> Builder:
        """Append H on a target, where a control is 1."""
        return self.add("ch", control, target)

    def cp(self: Builder, control: int, target: int, angles: Indices | None = None) -> Builder:
        """Append diag(1, e^{iλ}) on a target, where a control is 1."""
        return self.add("cp", control, target, angles=angles)

    def crx(self: Builder, control: int, target: int, angles: Indices | None = None) -> Builder:
        """Append e^{−iθX/2} on a target, where a control is 1."""
        return self.add("crx", control, target, angles=angles)

    def cry(self: Builder, control: int, target: int, angles: Indices | None = None) -> Builder:
        """Append e^{−iθY/2} on a target, where a control is 1."""
        return self.add("cry", control, target, angles=angles)

    def crz(self: Builder, control: int, target: int, angles: Indices | None = None) -> Builder:
        """Append e^{−iθZ/2} on a target, where a control is 1."""
        return self.add("crz", control, target, angles=angles)

    def cu3(self: Builder, control: int, target: int, angles: Indices | None = None) -> Builder:
        """Append U3(θ, φ, λ) on a target, where a control is 1."""
        return self.add("cu3", control, target, angles=angles)

    def swap(self: Builder, first: int, second: int) -> Builder:
        """Append the exchange of two qubits."""
        return self.add("swap", first, second)

    def iswap(self: Builder, first: int, second: int) -> Builder:
        """Append the exchange of two qubits, with a factor i where they differ."""
        return self.add("iswap", first, second)

    def rxx(self: Builder, first: int, second: int, angles: Indices | None = None) -> Builder:
        """Append e^{−iθ/2·X⊗X} on two qubits."""
        return self.add("rxx", first, second, angles=angles)

    def ryy(self: Builder, first: int, second: int, angles: Indices | None = None) -> Builder:
        """Append e^{−iθ/2·Y⊗Y} on two qubits."""
        return self.add("ryy", first, second, angles=angles)

    def rzz(self: Builder, first: int, second: int, angles: Indices | None = None) -> Builder:
        """Append e^{−iθ/2·Z⊗Z} on two qubits."""
        return self.add("rzz", first, second, angles=angles)

    def ccx(self: Builder, first: int, second: int, target: int) -> Builder:
        """Append X on a target, where two controls are 1."""
        return self.add("ccx", first, second, target)

    def cswap(self: Builder, control: int, first: int, second: int) -> Builder:
        """Append the exchange of two qubits, where a control is 1."""
        return self.add("cswap", control, first, second)
