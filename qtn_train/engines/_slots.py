"""All gate matrices of a circuit in a handful of batched operations.

Every entry of every gate matrix is a *slot* of one flat vector:

    values = [ 0, 1, constants of fixed gates … | 4 entries for each gate that has angles … ]
                                                  └ a 2 × 2 unitary e^{iγ}·U3(θ, φ, λ)

A gate is then a small table of slot numbers, whether it is fixed, parameterized or controlled, and
``values[slots]`` is its matrix. That serves any engine: one gather, no case for any gate. Gates of
another form (three qubits, ``rxx``, a matrix …) become some of this form: :func:`in_slots`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..circuits import GATES, Circuit
from ..circuits._lowering import GATE_RULES, flat

ZERO, ONE = 0, 1

# For each gate with angles: (θ, φ, λ, γ) = rows · angles + constants.
_THETA, _PHI, _LAMBDA = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]
_NONE = [0.0, 0.0, 0.0]
_ZERO_SHIFT = [0.0, 0.0, 0.0, 0.0]
_Form = tuple[list[list[float]], list[float]]
_U3: _Form = ([_THETA, _PHI, _LAMBDA, _NONE], _ZERO_SHIFT)
_RX: _Form = ([_THETA, _NONE, _NONE, _NONE], [0.0, -np.pi / 2, np.pi / 2, 0.0])
_RY: _Form = ([_THETA, _NONE, _NONE, _NONE], _ZERO_SHIFT)
_RZ: _Form = ([_NONE, _THETA, _NONE, [-0.5, 0.0, 0.0]], _ZERO_SHIFT)
_P: _Form = ([_NONE, _THETA, _NONE, _NONE], _ZERO_SHIFT)
_U2: _Form = ([_NONE, _THETA, _PHI, _NONE], [np.pi / 2, 0.0, 0.0, 0.0])
_U3_FORM: dict[str, _Form] = {
    **{"rx": _RX, "ry": _RY, "rz": _RZ, "p": _P, "u1": _P, "u2": _U2, "u3": _U3},
    **{"crx": _RX, "cry": _RY, "crz": _RZ, "cp": _P, "cu3": _U3, "rzz": _RZ},
}

# Gates that are no table of slots, in terms of gates that are.
_IN_SLOTS = flat(
    {name: GATE_RULES[name] for name in ("rxx", "ryy", "iswap", "ccx", "cswap", "unitary")}
)


class GateMatrices:
    """The slot tables of one circuit, and the map from its angles to the values in the slots.

    Attributes:
        slots: For each gate, a ``(2**k, 2**k)`` integer array of slots.
        n_constants: How many slots come before the parameterized entries.
        tables: For each gate with angles their numbers, ``(n, 3)``; the factors and the constant
            that make (θ, φ, λ, γ) of them, one line each, ``(4n, 4)``; constants of fixed gates.
    """

    def __init__(self, circuit: Circuit) -> None:
        constants: dict[complex, int] = {0j: ZERO, 1 + 0j: ONE}
        for gate in circuit.gates:
            if not gate.angles:
                for value in GATES[gate.name].matrix().ravel():
                    constants.setdefault(complex(value), len(constants))
        self.n_constants = len(constants)
        self.slots: list[NDArray[np.int64]] = []
        rows: list[tuple[int, ...]] = []
        forms: list[list[list[float]]] = []
        shifts: list[list[float]] = []
        for gate in circuit.gates:
            if gate.angles:
                first = self.n_constants + 4 * len(rows)
                self.slots.append(_parameterized(gate.name, first))
                rows.append((*gate.angles, *[0] * (3 - len(gate.angles))))
                forms.append(_U3_FORM[gate.name][0])
                shifts.append(_U3_FORM[gate.name][1])
            else:
                matrix = GATES[gate.name].matrix()
                self.slots.append(np.vectorize(lambda v: constants[complex(v)])(matrix))
        self.n_parameterized = len(rows)
        lines = np.array(forms, dtype=np.float64).reshape(-1, 4, 3)
        ends = np.array(shifts, dtype=np.float64).reshape(-1, 4, 1)
        self.tables: tuple[NDArray[Any], ...] = (
            np.array(rows, dtype=np.int64).reshape(-1, 3),
            np.concatenate((lines, ends), 2).reshape(-1, 4),
            np.array(list(constants), dtype=np.complex128),
        )
        self._on_device: dict[torch.device, tuple[Tensor, ...]] = {}

    def _tables(self, device: torch.device) -> tuple[Tensor, ...]:
        if device not in self._on_device:
            with torch.inference_mode(False):  # training goes on with what inference may have made
                self._on_device[device] = tuple(torch.from_numpy(t).to(device) for t in self.tables)
        return self._on_device[device]

    def values(self, angles: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the value of each slot, differentiable with respect to the angles.

        Cosines and phases are taken in double precision and rounded then: an angle of 1e7 in single
        precision would be off by half a radian before its cosine is.

        Args:
            angles: The circuit's angles in radians, any number of leading axes.
            dtype: complex64 or complex128.

        Returns:
            Complex, the slots along the last axis.
        """
        rows, forms, constants = self._tables(angles.device)
        constants = constants.to(dtype).expand(*angles.shape[:-1], -1)
        if self.n_parameterized == 0:
            return constants
        lines = forms.view(-1, 4, 4)
        four = torch.einsum("gij,...gj->...gi", lines[..., :3], angles.double()[..., rows])
        four = four + lines[..., 3]
        theta, phi, lam, gamma = four.unbind(-1)
        cos, sin = torch.cos(theta / 2), torch.sin(theta / 2)
        size = torch.stack((cos, -sin, sin, cos), -1)
        phase = torch.stack((gamma, gamma + lam, gamma + phi, gamma + phi + lam), -1)
        entries = torch.polar(torch.ones_like(size), phase).mul(size).to(dtype)
        return torch.cat((constants, entries.flatten(-2)), -1)


def _parameterized(name: str, first: int) -> NDArray[np.int64]:
    """Return the slots of a gate with angles; of two qubits the first one is the control."""
    own = np.arange(first, first + 4).reshape(2, 2)
    if GATES[name].n_qubits == 1:
        return own
    slots = np.full((4, 4), ZERO)
    slots[0, 0] = slots[1, 1] = ONE
    slots[2:, 2:] = own
    if name == "rzz":  # RZ where the first qubit is 0, its inverse where it is 1
        slots[range(4), range(4)] = own[[0, 1, 1, 0], [0, 1, 1, 0]]
        slots[2, 3] = slots[3, 2] = ZERO
    return slots


def in_slots(circuit: Circuit, angles: Tensor) -> tuple[Circuit, Tensor]:
    """Return the same unitary, up to a global phase, in gates that :func:`gate_matrices` takes.

    Args:
        circuit: Any circuit.
        angles: Its angles in radians, ``(…, n_angles)``.

    Returns:
        The circuit and its angles in float64; both themselves, where all gates are tables of slots
        already.
    """
    lowered = _lowered(circuit)
    if lowered is None:
        return circuit, angles
    other, rows, columns, entries, constants = lowered
    device = angles.device
    terms = angles.double()[..., columns.to(device)] * entries.to(device)
    start = constants.to(device).expand(*angles.shape[:-1], -1)
    return other, start.index_add(-1, rows.to(device), terms)


@lru_cache(maxsize=64)
def _lowered(circuit: Circuit) -> tuple[Circuit, Tensor, Tensor, Tensor, Tensor] | None:
    """Return the lowered circuit and the map of its angles: rows, columns, entries, constants."""
    if not any(gate.name in _IN_SLOTS for gate in circuit.gates):
        return None
    lowered = circuit.lower(_IN_SLOTS)
    entries = lowered.A.tocoo()
    arrays = (entries.row.astype(np.int64), entries.col.astype(np.int64), entries.data, lowered.b)
    # Made in a model's inference mode, tables would be of no use to its training.
    with torch.inference_mode(False):
        rows, columns, numbers, constants = map(torch.from_numpy, arrays)
    return lowered.circuit, rows, columns, numbers, constants


@lru_cache(maxsize=64)
def gate_matrices(circuit: Circuit) -> GateMatrices:
    """Return the slot tables of a circuit, made once for equal circuits."""
    return GateMatrices(circuit)
