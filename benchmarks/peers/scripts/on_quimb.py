"""One case on quimb with torch: matrix product states forward, expectation values with gradients.

For complex matrices torch refuses the derivative of the singular value decomposition that a
truncated gate goes through, so matrix product states have no backward pass.
"""

import itertools

import cotengra
import quimb as qu
import quimb.tensor as qtn
import torch
from _serve import Array, Case, Passes, serve
from _torch import passes

PAULIS = {
    letter: torch.tensor(qu.pauli(letter).tolist(), dtype=torch.complex64) for letter in "XYZ"
}


def to_torch(x: object) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.complex64)


def chain(case: Case) -> qtn.CircuitMPS:
    circuit = qtn.CircuitMPS(case.n_qubits, max_bond=case.max_bond, cutoff=0.0, to_backend=to_torch)
    values = case.angles.tolist()
    for name, on, by in case.gates:
        circuit.apply_gate(name.upper(), *(values[i] for i in by), *on)
    return circuit


def probabilities(case: Case) -> Array:
    psi, half = chain(case).psi, case.n_qubits // 2
    sides = (range(half), range(half, case.n_qubits))
    left, right = (psi.select([psi.site_tag(i) for i in on], "any").contract() for on in sides)
    found = torch.view_as_real((left @ right).data.reshape(-1)).square().sum(-1)
    return (found / found.sum()).numpy()


def one_z(case: Case) -> Array:
    psi = chain(case).psi
    density = psi.partial_trace_to_dense_canonical((case.n_qubits // 2,))
    return (torch.trace(density @ PAULIS["Z"]).real / torch.trace(density).real)[None].numpy()


def pairs(case: Case) -> Array:
    """Return all two-body correlators, from density matrices of one sweep of environments."""
    wheres = list(itertools.combinations(range(case.n_qubits), 2))
    densities = chain(case).psi.compute_partial_traces_via_envs(wheres)
    both = [torch.kron(pauli, pauli) for pauli in PAULIS.values()]
    rhos = torch.stack([densities[where] for where in wheres])
    return torch.einsum("pij,lji->lp", rhos, torch.stack(both)).real.reshape(-1).numpy()


def network(case: Case) -> Passes:
    """Return the passes of an exact network: a tree is searched once, and kept."""
    optimizer = cotengra.ReusableHyperOptimizer(max_time=12)

    def values(given: torch.Tensor) -> torch.Tensor:
        cos, sin = torch.cos(given / 2), torch.sin(given / 2)
        turns = torch.stack([cos, -sin, sin, cos], -1).view(-1, 2, 2).to(torch.complex64)
        phases = torch.diag_embed(torch.stack([cos - 1j * sin, cos + 1j * sin], -1))
        circuit = qtn.Circuit(case.n_qubits, to_backend=to_torch)
        for name, on, by in case.gates:
            # By name the angles would be constants.
            if name in ("ry", "rz"):
                circuit.apply_gate_raw((turns if name == "ry" else phases)[by[0]], on)
            else:
                circuit.apply_gate(name.upper(), *on)
        z = circuit.local_expectation(
            PAULIS["Z"], case.n_qubits // 2, optimize=optimizer, simplify_sequence="R"
        )
        return z.real[None]

    return passes(case, values)


def make(case: Case) -> Passes:
    if case.request == "z" and case.max_bond is None:
        return network(case)
    call = {"all": probabilities, "z": one_z, "pairs": pairs}[case.request]
    return Passes(lambda: call(case), None)


if __name__ == "__main__":
    serve(make, ("quimb", "cotengra", "torch", "numpy"))
