"""An ansatz by its name: one of the package's, or a function in a file of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

from ..circuits import ANSATZE, Circuit
from ..errors import must_be
from . import _own

Ansatz = Callable[[int, int], Circuit]

#: Gives what options keep of ``"file.py:function"``.
ansatz_with_hash = partial(
    _own.with_hash, "ansatz", f"one of {', '.join(ANSATZE)}, or file.py:function"
)


@lru_cache(maxsize=32)
def find_ansatz(name: str) -> Ansatz:
    """Return the function that builds an ansatz.

    Args:
        name: A name in :data:`ANSATZE`, or one of :data:`ansatz_with_hash`.

    Returns:
        The function of numbers of qubits and layers.

    Raises:
        ValueError: There is no such file or function, the file cannot be run, or it has changed.
    """
    if not _own.is_own(name):
        return ANSATZE[name]
    made = _own.member("ansatz", name, "function")

    def checked(n_qubits: int, n_layers: int) -> Circuit:
        hint = "It is called as f(n_qubits, n_layers) and returns a Circuit."
        circuit = _own.call("ansatz", made, n_qubits, n_layers, hint=hint)
        if not isinstance(circuit, Circuit):
            actual = f"{type(circuit).__name__} from {made.__name__}"
            raise ValueError(must_be("ansatz", "a function that gives a Circuit", actual, hint))
        if circuit.n_qubits != n_qubits:
            expected = f"a function that gives {n_qubits} qubits when asked for them"
            raise ValueError(must_be("ansatz", expected, circuit.n_qubits, hint))
        return circuit

    return checked


@lru_cache
def angles_of_layers(ansatz: str, n_qubits: int) -> tuple[int, int]:
    """Return the angles of a circuit of one layer, and those that one more layer adds."""
    make = find_ansatz(ansatz)
    one, two = (make(n_qubits, n_layers).n_angles for n_layers in (1, 2))
    return one, max(1, two - one)
