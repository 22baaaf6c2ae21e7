"""Train many models of the image network side by side on one GPU.

    runs (B) ──► stacked numbers (B, n) ──► batched.py ──► losses (B,) ──► Adam, each its own

One training step of one model is too small for a GPU. Here the trained numbers of many models are
stacked, a step is captured once as a CUDA graph, and Adam, clipping and schedules are those of
`qtn_train.fit`. Models are built by the library, and the trained numbers are put back into them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.batched import Numbers, batched, image_cnn
from qtn_train._random import permutation
from qtn_train.hybrid import QuantumTrain
from qtn_train.training import FitConfig


@dataclass
class Run:
    """A model to train on one of the data sets, and what to call it in the table."""

    model: QuantumTrain
    config: FitConfig
    data: int = 0
    labels: dict[str, Any] = field(default_factory=dict)


class _Group:
    """Runs whose generators are equal but for their seeds and numbers."""

    def __init__(self, runs: list[Run], device: torch.device) -> None:
        self.runs = runs
        models = [run.model.to(device) for run in runs]
        generators = [model.generator for model in models]
        self.names = [name for name, _ in generators[0].named_parameters()]
        self.weights = batched(generators, device)
        self.shapes = [dict(generators[0].named_parameters())[name].shape for name in self.names]
        self.sizes = [shape.numel() for shape in self.shapes]
        rows = [
            torch.cat(
                [dict(g.named_parameters())[name].detach().reshape(-1) for name in self.names]
            )
            for g in generators
        ]
        self.flat = torch.stack(rows)
        roles = {id(p): role for role, ps in generators[0].parts().items() for p in ps}
        own = dict(generators[0].named_parameters())
        self.parts: dict[str, Tensor] = {}
        for role in sorted(set(roles.values())):
            marks = [torch.full((own[n].numel(),), roles[id(own[n])] == role) for n in self.names]
            self.parts[role] = torch.cat(marks).to(device)
        self.rate = torch.zeros_like(self.flat)
        for i, run in enumerate(runs):
            for role, marks in self.parts.items():
                mapping = run.config.lr_mapping if role == "mapping" else None
                self.rate[i, marks] = run.config.lr if mapping is None else mapping
        self.mean, self.square = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        layout = runs[0].model.layout
        self.center = torch.stack([m._origin for m in models]) if layout.center else None
        self.order = torch.stack([m._order for m in models]) if layout.shuffle else None
        self.signs = torch.stack([m._signs for m in models]) if layout.shuffle else None

    def generate(self, flat: Tensor) -> Tensor:
        pieces = flat.split(self.sizes, 1)
        shaped = [p.reshape(-1, *s) for p, s in zip(pieces, self.shapes, strict=True)]
        out = self.weights(dict(zip(self.names, shaped, strict=True)))
        if self.center is not None:
            out = out - self.center
        if self.order is not None and self.signs is not None:
            out = out.gather(1, self.order) * self.signs
        return out

    def clip(self, grad: Tensor, limit: float | None) -> Tensor:
        if limit is None:
            return grad
        for marks in self.parts.values():
            norm = (grad * marks).norm(dim=1, keepdim=True)
            grad = torch.where(marks, grad * (limit / (norm + 1e-6)).clamp(max=1.0), grad)
        return grad

    def put_back(self) -> None:
        for run, row in zip(self.runs, self.flat, strict=True):
            own = dict(run.model.generator.named_parameters())
            for name, piece, shape in zip(
                self.names, row.split(self.sizes), self.shapes, strict=True
            ):
                own[name].data.copy_(piece.view(shape))


def _kind(run: Run) -> str:
    """What runs of one group share: all of the generator but seeds and the circuit's numbering."""
    config = run.model.generator.config()
    mapping = {k: v for k, v in config.get("mapping", {}).items() if k != "seed"}
    plain = {k: v for k, v in config.items() if k not in ("seed", "mapping")}
    return str((plain, mapping))


def _groups(runs: list[Run], device: torch.device) -> list[_Group]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(_kind(run), []).append(run)
    return [_Group(of, device) for of in found.values()]


class Ensemble:
    """Trains models side by side, each on a data set and with an order of samples of its own.

    Args:
        runs: The models; all have the same target, layout and training options but for seed and
            learning rates.
        x: Training images of each data set, (sets, samples, 1, 28, 28).
        y: Their labels.
        device: Where.
    """

    def __init__(self, runs: list[Run], x: Tensor, y: Tensor, device: torch.device) -> None:
        self.groups = _groups(runs, device)
        self.runs = [run for one in self.groups for run in one.runs]
        self.x, self.y, self.device = x, y, device
        self.config, model = self.runs[0].config, self.runs[0].model
        self.tensors = [(t.names[0], t.shape) for t in model._tensors]
        self.counts = [t.count for t in model._tensors]
        self.scale = torch.cat([torch.full((t.count,), t.scale) for t in model._tensors]).to(device)
        starts = [
            torch.cat([run.model.target.get_buffer(name).reshape(-1) for name, _ in self.tensors])
            for run in self.runs
        ]
        self.start = torch.stack(starts)
        self.sets = torch.tensor([run.data for run in self.runs], device=device)
        self.done = 0
        self.steps = math.ceil(x.shape[1] / self.config.batch_size)
        self.graph: torch.cuda.CUDAGraph | None = None

    def weights(self, flats: list[Tensor]) -> Numbers:
        made = torch.cat([g.generate(flat) for g, flat in zip(self.groups, flats, strict=True)])
        pieces = torch.addcmul(self.start, self.scale, made).split(self.counts, 1)
        return {
            name: piece.reshape(-1, *shape)
            for (name, shape), piece in zip(self.tensors, pieces, strict=True)
        }

    def gradients(self, x: Tensor, y: Tensor, flats: list[Tensor]) -> tuple[Tensor, ...]:
        logits = image_cnn(self.weights(flats), x)
        losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
        losses = losses.view(len(self.runs), -1).mean(1)
        return (losses.detach(), *torch.autograd.grad(losses.sum(), flats))

    def _capture(self, x: Tensor, y: Tensor) -> None:
        self.fixed = (x.clone(), y.clone(), [g.flat.clone().requires_grad_() for g in self.groups])
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.gradients(*self.fixed)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.captured = self.gradients(*self.fixed)

    def _batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        if self.device.type != "cuda" or x.shape[1] != self.config.batch_size:
            return self.gradients(x, y, [g.flat.detach().requires_grad_() for g in self.groups])
        if self.graph is None:
            self._capture(x, y)
        assert self.graph is not None
        for fixed, value in zip(
            (*self.fixed[:2], *self.fixed[2]), (x, y, *(g.flat for g in self.groups)), strict=True
        ):
            fixed.data.copy_(value)
        self.graph.replay()
        return self.captured

    def _schedule(self) -> tuple[float, float]:
        """Factor of the learning rate and first momentum of this step: torch's OneCycleLR."""
        total = self.steps * self.config.epochs
        up, down = 0.3 * total - 1, total - 1

        def between(a: float, b: float, share: float) -> float:
            return b + (a - b) / 2 * (math.cos(math.pi * share) + 1)

        if self.done <= up:
            return between(1 / 25, 1, self.done / up), between(0.95, 0.85, self.done / up)
        share = (self.done - up) / (down - up)
        return between(1, 1 / 25 / 1e4, share), between(0.85, 0.95, share)

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """Make one step of Adam; return the losses before it."""
        losses, *grads = self._batch(x, y)
        factor, beta = self._schedule()
        self.done += 1
        for g, grad in zip(self.groups, grads, strict=True):
            grad = g.clip(grad, self.config.clip_norm)
            g.mean.mul_(beta).add_(grad, alpha=1 - beta)
            g.square.mul_(0.999).addcmul_(grad, grad, value=0.001)
            root = (g.square / (1 - 0.999**self.done)).sqrt_().add_(1e-8)
            g.flat = g.flat - factor / (1 - beta**self.done) * g.rate * g.mean / root
        return losses

    def epoch(self, number: int) -> Tensor:
        """Train for one epoch; return the mean training losses."""
        n, size = self.x.shape[1], self.config.batch_size
        seeds = [run.config.seed for run in self.runs]
        orders = {seed: permutation(seed, f"epoch {number}", n) for seed in set(seeds)}
        order = torch.stack([torch.from_numpy(orders[seed]) for seed in seeds]).to(self.device)
        total = torch.zeros(len(self.runs), device=self.device)
        for index in order.split(size, 1):
            x, y = self.x[self.sets[:, None], index], self.y[self.sets[:, None], index]
            total += self.step(x, y) * index.shape[1]
        return total / n

    @torch.no_grad()
    def accuracy(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the accuracy of each model on its data set's (sets, samples, …) images."""
        weights = self.weights([g.flat for g in self.groups])
        correct = torch.zeros(len(self.runs), device=self.device)
        for a, b in zip(x.split(500, 1), y.split(500, 1), strict=True):
            logits = image_cnn(weights, a[self.sets])
            correct += (logits.argmax(2) == b[self.sets]).sum(1)
        return correct / x.shape[1]

    def put_back(self) -> None:
        """Give the trained numbers to the models."""
        for one in self.groups:
            one.put_back()
