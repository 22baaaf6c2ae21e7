"""quimb's own programs on torch arrays, with our derivatives.

Tolerances, each with its reason:

    gradient     complex64 1e-4, complex128 1e-9    relative: rounding, there and back
    differences  1e-6                               central, step 1e-5
    theirs       1e-3                               issue: single precision against differences
"""

import math

import pytest
import quimb.tensor as qtn
import tolerances
import torch
from quimb.tensor import decomp
from quimb.tensor.decomp import array_split
from torch import Tensor

from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines import StatevectorEngine, enable_quimb_gradients
from qtn_train.engines._slots import gate_matrices
from qtn_train.engines.mps import _quimb
from qtn_train.errors import QtnTrainError

GRADIENT = {"complex64": 1e-4, "complex128": 1e-9}


@pytest.fixture
def enabled():
    with enable_quimb_gradients():
        yield


def random_angles(circuit: Circuit, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(circuit.n_angles, generator=rng, dtype=torch.float64) - 1) * math.pi


def random_matrix(
    rows: int, columns: int, dtype: torch.dtype = torch.complex128, seed: int = 0
) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn((rows, columns), generator=rng, dtype=dtype)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def loss(probs: Tensor) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    weights = torch.randn(len(probs), generator=rng, dtype=torch.float64)
    return (probs.double() * weights).sum() * 8


def exact_gradient(circuit: Circuit, angles: Tensor) -> Tensor:
    leaf = angles.clone().requires_grad_()
    probs = StatevectorEngine(dtype="complex128").prepare(circuit, leaf).probs(0, 64)
    return torch.autograd.grad(loss(probs), leaf)[0]


def quimb_gradient(make, circuit: Circuit, angles: Tensor, dtype: str) -> Tensor:
    matrices, leaf = gate_matrices(circuit), angles.clone().requires_grad_()
    values = matrices.values(leaf, getattr(torch, dtype))
    theirs = make(circuit.n_qubits, dtype=dtype, to_backend=torch.as_tensor)
    for gate, slots in zip(circuit.gates, matrices.slots, strict=True):
        theirs.apply_gate_raw(values[torch.from_numpy(slots)], gate.qubits)
    probs = theirs.to_dense(optimize="greedy").reshape(-1).abs().square()
    return torch.autograd.grad(loss(probs), leaf)[0]


# Circuits


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("name", ["CircuitMPS", "CircuitPermMPS"])
def test_unchanged_circuits_have_the_exact_gradient(enabled, name, dtype):
    def make(n_qubits, **options):
        return getattr(qtn, name)(n_qubits, max_bond=8, cutoff=0.0, **options)

    circuit = ansatz.u3_cu3_chain(6, 3)
    angles = random_angles(circuit)
    found = quimb_gradient(make, circuit, angles, dtype)
    assert relative(found, exact_gradient(circuit, angles)) <= GRADIENT[dtype]


def test_without_it_quimb_has_no_gradient():
    def make(n_qubits, **options):
        return qtn.CircuitMPS(n_qubits, max_bond=8, cutoff=0.0, **options)

    circuit = ansatz.u3_cu3_chain(6, 3)
    try:
        found = quimb_gradient(make, circuit, torch.zeros(99, dtype=torch.float64), "complex128")
    except RuntimeError:  # torch's word on the phases of singular vectors, by chance of rounding
        found = torch.full((1,), torch.nan)
    assert not torch.isfinite(found).all()


@pytest.mark.parametrize(("value", "lost"), [("identity", 8e-2), ("all zero", None)])
def test_states_of_low_rank(enabled, value, lost):
    """Finite; where every CU3 is the identity, 6e-2 is lost: what would raise the rank."""

    def make(n_qubits, **options):
        return qtn.CircuitMPS(n_qubits, max_bond=8, cutoff=0.0, **options)

    circuit = ansatz.u3_cu3_chain(6, 3)
    angles = random_angles(circuit)
    for gate in circuit.gates:
        if gate.name == "cu3" or value == "all zero":
            angles[list(gate.angles)] = 0.0
    found = quimb_gradient(make, circuit, angles, "complex128")
    assert torch.isfinite(found).all()
    if lost is not None:
        assert relative(found, exact_gradient(circuit, angles)) <= lost


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_local_expectation_with_its_default_simplification(enabled, dtype):
    circuit = ansatz.grid(3, 3, 4)
    angles = random_angles(circuit)
    matrices = gate_matrices(circuit)

    def value(at: Tensor) -> Tensor:
        values = matrices.values(at, getattr(torch, dtype))
        theirs = qtn.Circuit(9, dtype=dtype, to_backend=torch.as_tensor)
        for gate, slots in zip(circuit.gates, matrices.slots, strict=True):
            theirs.apply_gate_raw(values[torch.from_numpy(slots)], gate.qubits)
        operator = torch.tensor([[1, 0], [0, -1]], dtype=getattr(torch, dtype))
        return theirs.local_expectation(operator, 4, optimize="greedy").real

    leaf = angles.clone().requires_grad_()
    (found,) = torch.autograd.grad(value(leaf), leaf)
    other = angles.clone().requires_grad_()
    state = StatevectorEngine(dtype="complex128").prepare(circuit, other)
    (expected,) = torch.autograd.grad(state.expectation("Z4"), other)
    assert relative(found, expected) <= 10 * GRADIENT[dtype]


# quimb#355


def applied_and_compressed(angles: Tensor, dtype: torch.dtype) -> Tensor:
    """An MPO applied to a product state with these angles, compressed, its overlap with another."""
    n_sites = 6
    tensors = [
        torch.stack((a.cos(), a.sin())).to(dtype).reshape(2) for a in angles[:n_sites].unbind()
    ]
    arrays = [tensors[0].reshape(1, 2)]
    arrays += [t.reshape(1, 1, 2) for t in tensors[1:-1]]
    arrays += [tensors[-1].reshape(1, 2)]
    state = qtn.MatrixProductState(arrays, shape="lrp")
    operator = qtn.MPO_ham_heis(n_sites, j=1.0, bz=0.3)
    operator.apply_to_arrays(lambda x: torch.as_tensor(x).to(dtype))
    after = operator.apply(state)
    after.compress(max_bond=4, cutoff=0.0)
    after = operator.apply(after)
    after.compress(max_bond=4)
    other = qtn.MPS_computational_state("010101")
    other.apply_to_arrays(lambda x: torch.as_tensor(x).to(dtype))
    overlap = (other.H @ after).abs().square()
    return overlap / (after.H @ after).real


@pytest.mark.slow
def test_an_operator_applied_and_compressed_trains_without_nan(enabled):
    angles = torch.linspace(0.3, 1.2, 6, dtype=torch.float64).float().requires_grad_()
    optimizer = torch.optim.Adam([angles], lr=0.1)
    n_steps, first = 150, None  # two thirds of them where nothing changes any more
    for _ in range(n_steps):
        optimizer.zero_grad()
        value = -applied_and_compressed(angles, torch.complex64)
        value.backward()
        assert torch.isfinite(angles.grad).all()
        optimizer.step()
        first = value.item() if first is None else first
    assert value.item() < first - 0.1


def test_its_gradient_is_right(enabled):
    angles = torch.linspace(0.3, 1.2, 6, dtype=torch.float64)
    slopes = []
    for step in 1e-5 * torch.eye(6, dtype=torch.float64):
        up, down = (applied_and_compressed(angles + s, torch.complex128) for s in (step, -step))
        slopes.append((up - down) / 2e-5)
    single = angles.float().requires_grad_()
    (found,) = torch.autograd.grad(applied_and_compressed(single, torch.complex64), single)
    assert relative(found.double(), torch.stack(slopes)) <= 1e-3


# Factorizations

FORMS = ["left", "right", "both", "U", "sVH", "VH", "Us", "U,s,VH", "s"]


@pytest.mark.parametrize("absorb", FORMS)
@pytest.mark.parametrize("dtype", [torch.complex128, torch.float64])
def test_every_form_is_that_of_quimb(absorb, dtype):
    x = random_matrix(5, 4, dtype)
    for renorm in (0, 2):
        options = {"absorb": absorb, "max_bond": 3, "cutoff": 0.0, "renorm": renorm}
        info_a, info_b = {"error": None}, {"error": None}
        theirs = array_split(x, method="svd", info=info_b, **options)
        with enable_quimb_gradients():
            leaf = x.clone().requires_grad_()
            ours = array_split(leaf, method="svd", info=info_a, **options)
        for mine, other in zip(ours, theirs, strict=True):
            assert (mine is None) == (other is None)
            if mine is not None:  # up to the phases of the vectors
                assert torch.allclose(mine.abs(), other.abs(), rtol=0, atol=tolerances.FACTORS)
        assert info_a["error"] == pytest.approx(float(info_b["error"]))


@pytest.mark.parametrize("mode", ["abs", "rel", "sum2", "rsum2", "sum1", "rsum1"])
def test_every_cutoff_keeps_what_quimb_keeps(mode):
    x = torch.diag(torch.tensor([2.0, 1.0, 0.5, 0.1, 0.02], dtype=torch.float64)) + 0j
    for cutoff in (1e-6, 3e-3, 0.03, 0.2, 0.6):
        for max_bond in (None, 2):
            options = {"cutoff": cutoff, "cutoff_mode": mode, "max_bond": max_bond}
            theirs = array_split(x, absorb="right", **options)[0]
            with enable_quimb_gradients():
                ours = array_split(x.clone().requires_grad_(), absorb="right", **options)[0]
            assert ours.shape == theirs.shape, (cutoff, max_bond)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
@pytest.mark.parametrize("absorb", ["left", "right", "both", "U,s,VH"])
def test_products_and_singular_values_have_the_right_derivative(enabled, shape, absorb):
    x, direction = random_matrix(*shape), random_matrix(*shape, seed=1)
    weights = random_matrix(*shape, seed=2)

    def value(at: Tensor) -> Tensor:
        at = at if at.requires_grad else at.clone().requires_grad_()
        left, s, right = array_split(at, method="svd", absorb=absorb, cutoff=0.0)
        if s is None:
            return (left @ right * weights).sum().real
        entropy = -(s.square() * s.square().log()).sum()
        return (left * s @ right * weights).sum().real + entropy

    leaf = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(value(leaf), leaf)
    found = float((grad.conj() * direction).sum().real)
    slope = float(value(x + 1e-6 * direction) - value(x - 1e-6 * direction)) / 2e-6
    assert found == pytest.approx(slope, rel=tolerances.FACTOR_SLOPE, abs=tolerances.FACTOR_SLOPE)


@pytest.mark.parametrize("absorb", ["left", "right", "U", "sVH", "VH", "Us"])
def test_every_form_of_the_qr_is_a_factor(enabled, absorb):
    for shape in ((5, 3), (3, 5)):
        x = random_matrix(*shape).requires_grad_()
        left, _, right = array_split(x, method="qr", absorb=absorb)
        if left is not None and right is not None:
            assert torch.allclose(left @ right, x, rtol=0, atol=tolerances.FACTORS)
        elif absorb in ("sVH", "Us"):
            gram = right.mH @ right if absorb == "sVH" else left @ left.mH
            expected = x.mH @ x if absorb == "sVH" else x @ x.mH
            assert torch.allclose(gram, expected, rtol=0, atol=tolerances.FACTORS)
        else:
            inner = left.mH @ left if absorb == "U" else right @ right.mH
            assert torch.allclose(
                inner, torch.eye(len(inner), dtype=x.dtype), rtol=0, atol=tolerances.FACTORS
            )


def test_afterwards_quimb_is_as_it_was():
    x = torch.eye(4, dtype=torch.complex128)

    def is_finite() -> bool:
        leaf = x.clone().requires_grad_()
        left, _, right = array_split(leaf, max_bond=2, cutoff=0.0)
        try:
            (grad,) = torch.autograd.grad((left @ right).sum().abs(), leaf)
        except RuntimeError:  # torch refuses the phase
            return False
        return bool(torch.isfinite(torch.view_as_real(grad)).all())

    assert not is_finite()
    with enable_quimb_gradients():
        assert is_finite()
        with enable_quimb_gradients():
            assert is_finite()
        assert is_finite()
    assert not is_finite()
    undo = enable_quimb_gradients()
    assert is_finite()
    undo.close()
    assert not is_finite()
    first, second = enable_quimb_gradients(), enable_quimb_gradients(svd_gradient="tangent")
    first.close()
    first.close()
    assert is_finite()
    second.close()
    assert not is_finite()


def test_arrays_without_a_gradient_go_quimbs_way(enabled):
    x = random_matrix(4, 4)
    theirs = decomp.svd_truncated._default_fn(x, absorb=1)
    assert torch.equal(array_split(x, method="svd", absorb="right", cutoff=0.0)[0], theirs[0])
    batch = torch.stack((x, x)).requires_grad_()
    assert array_split(batch, method="qr")[0].shape == (2, 4, 4)


@pytest.mark.parametrize("matrix", [torch.zeros(0, 3), torch.ones(2, 2, dtype=torch.bfloat16)])
def test_what_has_no_derivative_of_ours_goes_quimbs_way(matrix, monkeypatch):
    """Empty matrices and types that no factorization takes."""
    monkeypatch.setattr(_quimb._torch, "constants", None)
    monkeypatch.setattr(_quimb._torch, "orthogonalize", None)
    seen = []

    def before(x, *options, **named):
        seen.append(x)

    for form in (_quimb._svd("exact", before), _quimb._qr(before)):
        form(matrix.requires_grad_())
    assert len(seen) == 2


def test_an_unknown_derivative_is_refused():
    with pytest.raises(ValueError, match="`svd_gradient` must be 'tangent' or 'exact'; got 'best'"):
        enable_quimb_gradients(svd_gradient="best")


def test_another_quimb_is_named(monkeypatch):
    monkeypatch.delattr(decomp, "qr_stabilized")
    message = "`quimb` must be of a version with svd_truncated and qr_stabilized; got another one"
    with pytest.raises(QtnTrainError, match=message):
        enable_quimb_gradients()
