"""One case on tensorcircuit-ng with JAX, compiled: the first pass compiles, and is not timed."""

import jax
import jax.numpy as jnp
import numpy as np
import tensorcircuit as tc
from _serve import Array, Case, Passes, serve


def unitary(name: str, by: list[jax.Array]) -> jax.Array:
    """Return the matrix of a gate with angles."""
    theta, phi, lam = by if len(by) == 3 else (by[0], 0.0, 0.0)
    cos, sin = jnp.cos(theta / 2), jnp.sin(theta / 2)
    rows = [
        [cos, -jnp.exp(1j * lam) * sin],
        [jnp.exp(1j * phi) * sin, jnp.exp(1j * (phi + lam)) * cos],
    ]
    matrix = jnp.array(rows, dtype=jnp.complex64)
    if name == "cu3":
        matrix = jnp.eye(4, dtype=jnp.complex64).at[2:, 2:].set(matrix)
    return matrix


def run(case: Case, given: jax.Array) -> tc.Circuit:
    circuit = tc.Circuit(case.n_qubits)
    for name, on, by in case.gates:
        if name in ("cx", "cz"):
            getattr(circuit, name)(*on)
        elif name == "rz":
            circuit.rz(*on, theta=given[by[0]])
        else:
            circuit.any(*on, unitary=unitary(name, [given[i] for i in by]))
    return circuit


def make(case: Case) -> Passes:
    tc.set_backend("jax")
    tc.set_dtype("complex64")
    # "plain" is the evolution of a state vector: a greedy tree of a deep ring takes 35 GB.
    tc.set_contractor("plain" if case.request == "all" else "greedy")
    angles, cotangent = jnp.asarray(case.angles), jnp.asarray(case.cotangent)

    def values(given: jax.Array) -> jax.Array:
        circuit = run(case, given)
        if case.request == "z":
            z = circuit.expectation_ps(z=[case.n_qubits // 2], enable_lightcone=True)
            return jnp.real(z)[None]
        state = circuit.wavefunction()
        return jnp.real(state) ** 2 + jnp.imag(state) ** 2

    compiled = jax.jit(values)
    gradient = jax.jit(jax.grad(lambda given: values(given) @ cotangent))

    def forward() -> Array:
        return np.asarray(compiled(angles))

    def total() -> Array:
        return np.asarray(gradient(angles))

    return Passes(forward, total)


if __name__ == "__main__":
    serve(make, ("tensorcircuit-ng", "jax", "numpy"))
