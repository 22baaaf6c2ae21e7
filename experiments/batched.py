"""Circuits, generators and the image network, for many models at once.

    numbers (B, …) ──► weights (B, M) ──► images (B, n, 1, 28, 28) ──► scores (B, n, 10)

A second implementation, written for a GPU and many small models; `tests/test_benchmarks.py` holds
it to the library's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from qtn_train.generators import CircuitGenerator, RandomSubspace

Numbers = dict[str, Tensor]

# ------------------------------------------------------------------------------ circuits


def _u3(angles: Tensor) -> Tensor:
    """(…, 3) angles to (…, 2, 2) matrices."""
    half, phi, lam = angles[..., 0] / 2, angles[..., 1], angles[..., 2]
    cos, sin = torch.cos(half), torch.sin(half)

    def phase(x: Tensor) -> Tensor:
        return torch.complex(torch.cos(x), torch.sin(x))

    entries = (
        torch.complex(cos, 0 * cos),
        -phase(lam) * sin,
        phase(phi) * sin,
        phase(phi + lam) * cos,
    )
    return torch.stack(entries, -1).unflatten(-1, (2, 2))


def _kron(matrices: Tensor) -> Tensor:
    """(z, n, 2, 2) to the Kronecker product of the n matrices, (z, 2**n, 2**n)."""
    out = matrices[:, 0]
    for k in range(1, matrices.shape[1]):
        pair = out[:, :, None, :, None] * matrices[:, k][:, None, :, None, :]
        out = pair.reshape(len(out), 2 * out.shape[1], 2 * out.shape[1])
    return out


def _ry(angles: Tensor) -> Tensor:
    cos, sin = torch.cos(angles / 2), torch.sin(angles / 2)
    return torch.stack([cos, -sin, sin, cos], -1).unflatten(-1, (2, 2))


class _Reorder(torch.autograd.Function):
    """Columns in another order, and back by the inverse order: no scattered sums."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.inverse = inverse
        return x.index_select(1, order)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad.index_select(1, ctx.inverse), None, None


def ry_cx_chain(n: int, n_layers: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Probabilities of `ansatz.ry_cx_chain` for a batch of angles; all is real."""
    k = torch.arange(2**n)
    goes_to = k.clone()
    for i in range(n - 1):
        goes_to = goes_to ^ (((goes_to >> (n - 1 - i)) & 1) << (n - 2 - i))
    order = torch.empty_like(k)
    order[goes_to] = k
    order, inverse, left = order.to(device), goes_to.to(device), n // 2

    def probs(angles: Tensor) -> Tensor:
        size = len(angles)
        gates = _ry(angles.view(size * n_layers, n))
        first = _kron(gates[:, :left]).view(size, n_layers, 2**left, -1).unbind(1)
        last = _kron(gates[:, left:]).mT.reshape(size, n_layers, 2 ** (n - left), -1).unbind(1)
        state = (first[0][:, :, :1] * last[0][:, :1]).reshape(size, -1)
        state = _Reorder.apply(state, order, inverse)
        for a, b in zip(first[1:], last[1:], strict=True):
            state = torch.bmm(torch.bmm(a, state.view(size, 2**left, -1)), b).view(size, -1)
            state = _Reorder.apply(state, order, inverse)
        return state * state

    return probs


def u3_cu3_ring(n: int, n_layers: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Probabilities of `ansatz.u3_cu3_ring` for a batch of angles.

    The CU3 gates run around the ring like a helix: four of them with the U3 gates before act on
    five neighbors. After each such block the state is turned by four qubits.
    """
    n_gates = n * n_layers
    n_blocks = -(-n_gates // 4)

    def blocks(angles: Tensor) -> Tensor:
        size = len(angles)
        gates = _u3(angles.view(size, n_layers, 2, n, 3))
        one, two = gates[:, :, 0], gates[:, :, 1]
        eye = torch.eye(2, device=device, dtype=gates.dtype)
        target = torch.cat([one[:, :, 1:], eye.expand(size, n_layers, 1, 2, 2)], 2)
        control = torch.cat([one[:, :, :1], eye.expand(size, n_layers, n - 1, 2, 2)], 2)
        pair = torch.stack([target, two @ target], 3)
        both = torch.einsum("blnci,blncts->blnctis", control, pair).reshape(size, n_gates, 4, 4)
        rest = torch.eye(4, device=device, dtype=both.dtype).expand(
            size, 4 * n_blocks - n_gates, 4, 4
        )
        fours = torch.cat([both, rest], 1).view(size * n_blocks, 4, 4, 4)
        made = fours[:, 0]
        for i in (1, 2, 3):
            left, inner = 2**i, 2 ** (i + 1)
            gate = fours[:, i].reshape(-1, 4, 2, 2).transpose(2, 3).reshape(-1, 8, 2)
            old = made.view(-1, left, 2, inner).transpose(1, 2).reshape(-1, 2, left * inner)
            new = torch.bmm(gate, old).view(-1, 4, 2, left, inner)
            made = new.permute(0, 3, 1, 4, 2).reshape(-1, 4 * left, 2 * inner)
        return made.view(size, n_blocks, 32, 32)

    def probs(angles: Tensor) -> Tensor:
        size, (first, *others) = len(angles), blocks(angles).unbind(1)
        state = F.pad(first[:, :, :1], (0, 2 ** (n - 5) - 1))
        for block in others:
            turned = state.reshape(size, 16, -1).transpose(1, 2).reshape(size, 32, -1)
            state = torch.bmm(block, turned)
        state = state.reshape(size, 16, -1).transpose(1, 2)
        shift = (4 * n_blocks) % n
        state = state.reshape(size, 2 ** (n - shift), -1).transpose(1, 2).reshape(size, -1)
        return state.real**2 + state.imag**2

    return probs


def hardware_efficient(n: int, n_layers: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Probabilities of `ansatz.hardware_efficient` for a batch of angles."""
    k = torch.arange(2**n, device=device)
    ones = sum(((k >> (i + 1)) & (k >> i) & 1) for i in range(n - 1))
    sign = (1 - 2 * (ones % 2)).float()
    left = n // 2

    def probs(angles: Tensor) -> Tensor:
        size = len(angles)
        turns = angles.view(size * n_layers, 2, n)
        phase = torch.complex(torch.cos(turns[:, 1] / 2), torch.sin(turns[:, 1] / 2))
        gates = _ry(turns[:, 0]) * torch.stack([phase.conj(), phase], -1)[..., None]
        first = _kron(gates[:, :left]).view(size, n_layers, 2**left, -1).unbind(1)
        last = _kron(gates[:, left:]).mT.reshape(size, n_layers, 2 ** (n - left), -1).unbind(1)
        state = (first[0][:, :, :1] * last[0][:, :1]).reshape(size, -1) * sign
        for a, b in zip(first[1:], last[1:], strict=True):
            state = torch.bmm(torch.bmm(a, state.view(size, 2**left, -1)), b).view(size, -1) * sign
        return state.real**2 + state.imag**2

    return probs


def unentangled(n: int, n_angles: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Probabilities of `unentangled_circuit` for a batch of angles."""
    n_full, rest = divmod(n_angles, 3)
    n_rounds = -(-(n_full + rest) // n)

    def probs(angles: Tensor) -> Tensor:
        gates = [_u3(angles[:, : 3 * n_full].view(len(angles), n_full, 3))]
        if rest:
            gates.append(_ry(angles[:, 3 * n_full :]).to(gates[0].dtype))
        eye = torch.eye(2, device=device, dtype=gates[0].dtype)
        gates.append(eye.expand(len(angles), n * n_rounds - n_full - rest, 2, 2))
        rounds = torch.cat(gates, 1).view(len(angles), n_rounds, n, 2, 2).unbind(1)
        made = rounds[0]
        for one in rounds[1:]:
            made = one @ made
        each = (made[..., 0].abs() ** 2).unbind(1)
        out = each[0]
        for one in each[1:]:
            out = (out[:, :, None] * one[:, None]).flatten(1)
        return out

    return probs


def _probs(generator: CircuitGenerator, device: torch.device) -> Callable[[Tensor], Tensor]:
    circuit = generator.circuit
    names = {gate.name for gate in circuit.gates}
    n = circuit.n_qubits
    if names <= {"u3", "ry"}:
        return unentangled(n, circuit.n_angles, device)
    if names == {"ry", "cx"}:
        return ry_cx_chain(n, circuit.n_angles // n, device)
    if names == {"u3", "cu3"}:
        return u3_cu3_ring(n, circuit.n_angles // (6 * n), device)
    if names == {"ry", "rz", "cz"}:
        return hardware_efficient(n, circuit.n_angles // (2 * n), device)
    raise ValueError(f"`circuit` must be of a known ansatz; got gates {sorted(names)}.")


# ---------------------------------------------------------------------------- generators


def _stacked(modules: list[Any]) -> tuple[Callable[..., Tensor], dict[str, Tensor]]:
    """A function of stacked parameters that calls equal modules, and their stacked buffers."""
    _, buffers = stack_module_state(modules)
    buffers = {name: value.detach() for name, value in buffers.items()}

    def call(numbers: Numbers, *inputs: Tensor) -> Tensor:
        def one(own: Numbers, kept: Numbers, *mine: Tensor) -> Tensor:
            arguments = (0, *mine) if mine else ()
            return functional_call(modules[0], (own, kept), arguments)

        out: Tensor = vmap(one)(numbers, buffers, *inputs)
        return out

    return call, buffers


def batched(generators: list[Any], device: torch.device) -> Callable[[Numbers], Tensor]:
    """Return what makes the weights (B, M) of equal generators from their stacked numbers."""
    first = generators[0]
    if isinstance(first, RandomSubspace):
        rows = torch.stack([torch.cat(list(g._blocks(g.numbers.detach()))) for g in generators])
        rows = rows / math.sqrt(first.n_trainable)
        return lambda numbers: torch.bmm(rows, numbers["numbers"][..., None])[..., 0]
    if not isinstance(first, CircuitGenerator):
        return _stacked(generators)[0]
    probs, count, reads = _probs(first, device), first.n_values, first.measurement
    mapping = _stacked([g.mapping for g in generators])[0]

    def weights(numbers: Numbers) -> Tensor:
        own = {k.removeprefix("mapping."): v for k, v in numbers.items() if k != "angles"}
        scaled = 2.0**first.circuit.n_qubits * probs(numbers["angles"].contiguous())[:, :count]
        return mapping(own, reads.standardized(scaled, first.circuit.n_qubits)).flatten(1)

    return weights


# ------------------------------------------------------------------------------- network


def _patches(x: Tensor) -> Tensor:
    """(z, h, w, c) images to (z·(h−4)·(w−4), 25·c) patches of 5 × 5 pixels."""
    pieces = x.unfold(1, 5, 1).unfold(2, 5, 1)
    return pieces.permute(0, 1, 2, 4, 5, 3).reshape(-1, 25 * x.shape[3])


class _Convolve(torch.autograd.Function):
    """Convolution of (B, n, h, h, c) images with (B, o, c, 5, 5) kernels, one kernel a model."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
        size, n, h, _, c = x.shape
        patches = _patches(x.reshape(size * n, h, h, c)).view(size, -1, 25 * c)
        ctx.save_for_backward(patches, kernel)
        ctx.shape = (size, n, h, c, kernel.shape[1])
        matrix = kernel.permute(0, 3, 4, 2, 1).reshape(size, 25 * c, -1)
        return torch.bmm(patches, matrix).view(size, n, h - 4, h - 4, -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor]:
        (patches, kernel), (size, n, h, c, o) = ctx.saved_tensors, ctx.shape
        of_kernel = torch.bmm(patches.mT, grad.reshape(size, -1, o)).view(size, 5, 5, c, o)
        of_x = None
        if ctx.needs_input_grad[0]:
            padded = F.pad(grad.reshape(size * n, h - 4, h - 4, o), (0, 0, 4, 4, 4, 4))
            turned = kernel.flip(3, 4).permute(0, 3, 4, 1, 2).reshape(size, 25 * o, c)
            of_x = torch.bmm(_patches(padded).view(size, -1, 25 * o), turned)
            of_x = of_x.view(size, n, h, h, c)
        return of_x, of_kernel.permute(0, 4, 3, 1, 2)


def _pool(x: Tensor) -> Tensor:
    size, n, h, _, c = x.shape
    pooled = F.max_pool2d(x.reshape(size * n, h, h, c).permute(0, 3, 1, 2), 2)
    return pooled.permute(0, 2, 3, 1).reshape(size, n, h // 2, h // 2, c)


def image_cnn(w: Numbers, x: Tensor) -> Tensor:
    """`ImageCNN` of B models, each with images of its own: (B, n, 1, 28, 28) to (B, n, 10)."""
    y = x.movedim(2, 4)
    for name in ("conv1", "conv2"):
        y = _Convolve.apply(y, w[f"{name}.weight"]) + w[f"{name}.bias"][:, None, None, None]
        y = torch.relu(_pool(y))
    y = y.movedim(4, 2).flatten(2)
    y = torch.relu(torch.baddbmm(w["fc1.bias"][:, None], y, w["fc1.weight"].mT))
    return torch.baddbmm(w["fc2.bias"][:, None], y, w["fc2.weight"].mT)
