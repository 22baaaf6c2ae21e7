"""QuantumTrain: any ``torch.nn.Module`` whose parameters are generated.

    generator() − origin ──► deal ──► per tensor: start + scale · dealt ──► functional_call
    (M,), from few           fixed                fixed   fixed             (target, weights, x)
    trained numbers

What is fixed comes from the seed alone; what is trained is the generator, and those parameters of
the target that are not generated.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from .. import _html as html
from .._autocast import outside_autocast
from .._files import read_tensors, write_tensors
from .._inference import make_ordinary, outside_inference_mode
from .._random import permutation, sha256, uniform
from ..circuits import Circuit
from ..engines import Engine
from ..engines._transforms import inside_transform
from ..errors import CheckpointError, must_be
from ..exchange import ImportedCircuit
from ..generators import WeightGenerator, generator_from_config
from ..generators._base import places
from ..mapping import MappingModel
from ..measurements import Measurement
from ._default import checked_seed, default_generator
from ._identity import (
    EXTRA,
    FOREIGN,
    check_fingerprint,
    check_same,
    check_sizes,
    fingerprint,
)
from ._layout import Layout
from ._moving import check_has_values, check_keeps_values
from ._rank import rank_of
from ._recompute import Passes, unwatch, watch
from ._tensors import (
    GeneratedTensor,
    copied,
    describe,
    has_sparse_gradient,
    own_copy,
    owner,
    with_constants,
)

# A stored model may name sizes that are a little larger than all that it holds.
_SLACK = 4096

_Array = np.ndarray[Any, np.dtype[Any]]


@final
class QuantumTrain(nn.Module):
    """A network whose weights are generated from a few trained numbers.

    Args:
        target: Any module. It is copied; parameters that are frozen stay as they are.
        generator: Where the weights come from; built from ``circuit``, ``engine`` and ``mapping``
            by default, and these have sensible defaults too (:meth:`summary` names them).
        seed: Seed of all that is random: start, shuffle, initial angles and mapping.
        generated: Name pattern, or patterns, of the parameters to generate (``"features.*"``).
            The others are trained directly.
        layout: How generated numbers become weights, and where they start: by default drawn from
            the seed, whatever the target came with (``Layout(start="target")`` keeps that).
        circuit: Shortcut, passed on to :class:`CircuitGenerator`; the name of an ansatz will do.
            What :func:`qtn_train.import_circuit` returns trains the program's inputs.
        engine: Shortcut, passed on to :class:`CircuitGenerator`; ``"auto"`` by default.
        mapping: Shortcut, passed on to :class:`CircuitGenerator`.
        measurement: Shortcut, passed on to :class:`CircuitGenerator`; ``Probabilities()`` by
            default. With another one the circuit must be given.

    Raises:
        TypeError: ``target`` is not a module whose weights can be generated, or both a generator
            and a shortcut are given.
        ValueError: No parameter matches ``generated``, or the generator gives another number.

    Source:
        arXiv 2402.16465; start, scale and shuffle are ours.

    Example:
        >>> from qtn_train.circuits import ansatz
        >>> model = QuantumTrain(nn.Linear(4, 3), circuit=ansatz.ry_cx_chain(4, 2), seed=0)
        >>> model(torch.zeros(5, 4)).shape
        torch.Size([5, 3])
        >>> model.n_weights
        15
    """

    @outside_inference_mode
    def __init__(
        self,
        target: nn.Module,
        generator: WeightGenerator | None = None,
        *,
        seed: int = 0,
        generated: str | Sequence[str] = "*",
        layout: Layout = Layout(),  # noqa: B008
        circuit: Circuit | ImportedCircuit | str | None = None,
        engine: Engine | str | None = None,
        mapping: MappingModel | None = None,
        measurement: Measurement | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(target, nn.Module):
            hint = "Build it: its class is called with its arguments."
            named = f"the class {target.__name__}" if isinstance(target, type) else ""
            actual = named or type(target).__name__
            raise TypeError(must_be("target", "a torch.nn.Module", actual, hint if named else ""))
        if not isinstance(layout, Layout):
            hint = f"Take Layout(**{layout})." if isinstance(layout, dict) else ""
            raise TypeError(must_be("layout", "a Layout", type(layout).__name__, hint))
        self.seed = checked_seed(seed)
        self.layout = layout
        if not isinstance(generated, str | Sequence):
            raise TypeError(must_be("generated", "a name pattern, or several", repr(generated)))
        self.generated = (generated,) if isinstance(generated, str) else tuple(generated)
        self._tensors = describe(target, self.generated, layout)
        self.target = own_copy(target)
        self.n_weights = sum(tensor.count for tensor in self._tensors)
        if generator is None:
            generator = default_generator(
                self.n_weights, seed, circuit, engine, mapping, measurement
            )
        elif any(part is not None for part in (circuit, engine, mapping, measurement)):
            expected = "given without circuit, engine, mapping and measurement"
            raise TypeError(must_be("generator", expected, "both"))
        self._check(generator)
        self.generator = generator
        make_ordinary(self)
        self._fix()
        self._kept: tuple[object, dict[str, Tensor]] | None = None
        self._held: dict[str, Tensor] | None = None

    def _fix(self) -> None:
        """Draw the shuffle, signs and starts; turn generated parameters into plain buffers."""
        order, signs, starts = drawn = self._drawn()
        dealt = (order, signs) if self.layout.shuffle else ()
        drawn_starts = [
            start for t, start in zip(self._tensors, starts, strict=True) if not t.carried
        ]
        self.fixed_sha256 = sha256(*dealt, *drawn_starts)
        device = next(self.generator.parameters()).device
        if self.layout.shuffle:
            self.register_buffer("_order", torch.from_numpy(order).to(device), persistent=False)
            self.register_buffer("_signs", torch.from_numpy(signs).to(device), persistent=False)
        self._begin(*drawn)
        owners = {name.rpartition(".")[0] for tensor in self._tensors for name in tensor.names}
        self._leaves = {path: list(self.target.get_submodule(path)._parameters) for path in owners}
        for tensor, start in zip(self._tensors, starts, strict=True):
            values = tensor.laid_out(torch.from_numpy(start))
            shared: Tensor | None = None
            for name in tensor.names:
                module, leaf = owner(self.target, name)
                if shared is None:
                    own = getattr(module, leaf).detach()
                    is_kept = tensor.carried or self.layout.start == "target"
                    shared = own.clone() if is_kept else values.to(own)
                delattr(module, leaf)
                module.register_buffer(leaf, shared, persistent=tensor.carried)
        # A generated weight takes a dense gradient; the exported one is what it was.
        self._sparse = [path for path in owners if has_sparse_gradient(self._part(path))]
        for path in self._sparse:
            self._part(path).sparse = False
        self._passes = Passes()
        watch(self.target, self._leaves, self._passes)

    def _part(self, path: str) -> Any:
        return self.target.get_submodule(path)

    def _drawn(self) -> tuple[_Array, _Array, list[_Array]]:
        """Return the shuffle's order and signs, and the start of each tensor."""
        order = permutation(self.seed, "shuffle", self.n_weights)
        signs = np.where(uniform(self.seed, "signs", self.n_weights) < 0, -1, 1).astype(np.float32)
        return order, signs, [self._start_of(tensor) for tensor in self._tensors]

    def _start_of(self, tensor: GeneratedTensor) -> _Array:
        if self.layout.start != "target":
            return tensor.start_values(self.seed)
        module, leaf = owner(self.target, tensor.names[0])
        return tensor.taken(getattr(module, leaf).detach())

    def _begin(self, order: _Array, signs: _Array, starts: list[_Array]) -> None:
        """Tell the generator the start, and store the weights that it gives before training."""
        start = np.concatenate(
            [
                0 * a if t.carried else a / t.scale
                for a, t in zip(starts, self._tensors, strict=True)
            ]
        )
        if self.layout.shuffle:
            start[order] = start * signs
        device = next(self.generator.parameters()).device
        self.generator.start_at(torch.from_numpy(start).to(device))
        self.origin_sum = 0.0
        if self.layout.center:
            with outside_autocast():
                origin = self.generator.origin()
            self.origin_sum = float((origin * torch.from_numpy(signs).to(origin)).sum())
            self.register_buffer("_origin", origin, persistent=False)

    @outside_inference_mode
    def with_generator(self, generator: WeightGenerator) -> QuantumTrain:
        """Return a copy whose weights come from another generator: the way to compare two.

        Args:
            generator: Another generator of as many weights; it is used as it is.

        Returns:
            A model with the same target, start, scales and shuffle, on the generator's device.

        Raises:
            ValueError: The generator gives another number of weights.

        Example:
            >>> from qtn_train.circuits import ansatz
            >>> from qtn_train.generators import control
            >>> model = QuantumTrain(nn.Linear(4, 3), circuit=ansatz.ry_cx_chain(4, 2), seed=0)
            >>> plain = model.with_generator(control("direct", model.generator))
            >>> plain.n_trainable
            15
        """
        self._check(generator)
        # The copy refers to the new generator wherever this model refers to its own.
        twin = copy.deepcopy(self, {id(self.generator): generator})
        twin._begin(*twin._drawn())
        return twin.to(next(generator.parameters()).device)

    def _check(self, generator: WeightGenerator) -> None:
        check_has_values(generator, "generator")
        if generator.n_weights != self.n_weights:
            expected = f"{self.n_weights}, the number of weights to generate"
            raise ValueError(must_be("generator.n_weights", expected, generator.n_weights))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Generate the weights and call the target with them.

        Args:
            *args: Passed to the target.
            **kwargs: Passed to the target.

        Returns:
            What the target returns.
        """
        if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            self.__prepare_scriptable__()
        weights = self._weights()
        with self._passes.forward():
            return functional_call(self.target, weights, args, kwargs)

    def __prepare_scriptable__(self) -> NoReturn:
        """Refuse to be traced or scripted: torch.jit asks for this by name."""
        hint = "Trace or script what `model.export()` returns."
        raise TypeError(must_be("model", "a plain module for torch.jit", type(self).__name__, hint))

    def generate(self) -> dict[str, Tensor]:
        """Return the generated weights by parameter name, differentiable.

        Mixed precision ends here: weights are made as in training without autocast.
        """
        with outside_autocast():
            numbers: Any = self.generator()
            if self.layout.center:
                numbers = numbers - self._origin
            if self.layout.shuffle:
                numbers = numbers[self._order] * self._signs
            weights = {}
            pieces = numbers.split([tensor.count for tensor in self._tensors])
            for tensor, piece in zip(self._tensors, pieces, strict=True):
                start = self._resting(tensor)
                change = tensor.laid_out(piece).to(start.dtype)
                made = torch.add(start, change, alpha=tensor.scale)
                # All names: moved to another device or type, shared buffers are no longer one.
                weights.update(dict.fromkeys(tensor.names, made))
        if torch.is_grad_enabled():
            self._passes.remember(numbers, weights)
        return weights

    def _resting(self, tensor: GeneratedTensor) -> Tensor:
        """Return the fixed start of a tensor."""
        module, leaf = owner(self.target, tensor.names[0])
        start = dict.__getitem__(module._buffers, leaf)
        assert start is not None
        return start

    def _weights(self) -> dict[str, Tensor]:
        if self._held is not None:
            return self._held
        if self.training or torch.is_grad_enabled() or inside_transform():
            return self.generate()
        check_has_values(self.generator, "model")
        starts = [self._resting(tensor) for tensor in self._tensors]
        version = (self.generator.version(), *(places(start) for start in starts))
        if self._kept is None or self._kept[0] != version:
            self._kept = (version, self.generate())
        return self._kept[1]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy or a pickle, without cached weights."""
        return {**self.__dict__, "_kept": None, "_held": None}

    @outside_inference_mode
    def __deepcopy__(self, memo: dict[int, Any]) -> QuantumTrain:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        state = self.__getstate__()
        modules = dict(state["_modules"])
        modules["target"] = copied(self.target, memo)
        twin.__dict__.update(copy.deepcopy({**state, "_modules": modules}, memo))
        return twin

    @contextmanager
    def cached(self) -> Iterator[None]:
        """Generate the weights once for all forward calls inside the ``with`` block.

        With gradients on, the calls share one graph: add their losses and go back once.
        """
        outer = self._held
        self._held = self._held or self.generate()
        try:
            yield
        finally:
            self._held = outer

    @outside_inference_mode
    def export(self) -> nn.Module:
        """Return the trained network: a plain module of the target's class, on the same device."""
        with torch.no_grad():
            weights = self.generate()
        net = copied(self.target)
        unwatch(net, self._leaves)
        for tensor in self._tensors:
            parameter = nn.Parameter(weights[tensor.names[0]].detach().clone())
            for name in tensor.names:
                module, leaf = owner(net, name)
                delattr(module, leaf)
                module.register_parameter(leaf, parameter)
        for path in self._sparse:
            table: Any = net.get_submodule(path)
            table.sparse = True
        for path, leaves in self._leaves.items():
            parameters = net.get_submodule(path)._parameters
            ordered = {leaf: parameters.pop(leaf) for leaf in leaves}
            parameters.update(ordered)
        return net.train(self.training)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> QuantumTrain:
        check_keeps_values(self, fn)
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call, no-any-return]

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the trainable parameters by role: ``angles``, ``mapping`` and ``other``."""
        parts: dict[str, list[nn.Parameter]] = {"angles": [], "mapping": [], "other": []}
        for role, parameters in self.generator.parts().items():
            parts[role].extend(parameters)
        parts["other"].extend(p for p in self.target.parameters() if p.requires_grad)
        return parts

    @property
    def n_trainable_by_part(self) -> dict[str, int]:
        """Counted trainable parameters by role."""
        return {role: sum(p.numel() for p in ps) for role, ps in self.parts().items()}

    @property
    def n_trainable(self) -> int:
        """Counted trainable parameters."""
        return sum(self.n_trainable_by_part.values())

    @property
    def compression(self) -> float:
        """Trainable parameters of the plain target over trainable parameters of this model."""
        return (self.n_weights + self._n_direct) / self.n_trainable

    @property
    def _n_direct(self) -> int:
        """Counted parameters of the target that are trained directly."""
        return sum(p.numel() for p in self.target.parameters() if p.requires_grad)

    def effective_parameters(self) -> dict[str, int]:
        """Return the rank of ∂weights/∂part for each part, at the present point.

        Computed in double precision from as many vector–Jacobian products as the part has
        parameters and eight more (arXiv 0909.4061): for 1,497 parameters about a minute.

        Returns:
            The rank by role; for parameters that are trained directly, their number.
        """
        twin = self.generator.in_double()
        weights = twin()
        ranks = {}
        for role, parameters in twin.parts().items():
            n = sum(p.numel() for p in parameters)
            directions = uniform(self.seed, f"rank/{role}", (n + 8) * self.n_weights)
            ranks[role] = rank_of(weights, parameters, directions)
        return {**ranks, "other": ranks.get("other", 0) + self._n_direct}

    def summary(self) -> str:
        """Return lines of text: how many weights come from how many trained numbers, then how.

        Of Pauli correlators also how many are live at the present angles, and which share of their
        sum of squares is connected; that takes one exact run of the circuit.
        """
        parts = ", ".join(f"{n:,} {role}" for role, n in self.n_trainable_by_part.items() if n)
        values = self.generator.describe_values()
        share = f"{self.compression:.2f} weights for each"
        if self.compression < 1:
            share = "more than there are weights: fewer layers would do"
        return "\n".join(
            (
                f"QuantumTrain of {type(self.target).__name__}, seed {self.seed}",
                f"  generated   {self.n_weights:,} weights in {len(self._tensors)} tensors",
                f"  from        {self.n_trainable:,} trained numbers ({parts}), {share}",
                f"  generator   {self.generator.describe()}",
                *([f"  values      {values}"] if values else []),
                f"  layout      start {self.layout.start}, scale {self.layout.scale} × "
                f"{self.layout.gain:g}, signed shuffle {'on' if self.layout.shuffle else 'off'}, "
                f"centered {'on' if self.layout.center else 'off'}",
            )
        )

    def __repr__(self) -> str:
        name = type(self.target).__name__
        return f"QuantumTrain({name}, {self.n_weights:,} weights from {self.n_trainable:,} numbers)"

    def _repr_html_(self) -> str:
        return html.summary(self.summary())

    def config(self) -> dict[str, Any]:
        """Return the description that builds an equal model around the target, as JSON data."""
        return {
            "seed": self.seed,
            "generated": list(self.generated),
            "layout": asdict(self.layout),
            "generator": self.generator.config(),
            "tensors": [[tensor.names[0], list(tensor.shape)] for tensor in self._tensors],
            "fixed_sha256": self.fixed_sha256,
            "origin": self.origin_sum,
        }

    def get_extra_state(self) -> Tensor:
        """Return the hash of all fixed parts, which a state dict carries."""
        return fingerprint(self.config())

    def set_extra_state(self, state: object) -> None:
        """Check the hash of a state dict that is loaded.

        Raises:
            CheckpointError: It is that of another model, and trained numbers mean nothing here.
        """
        check_fingerprint(self.get_extra_state(), state)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # Before anything is taken over: torch itself would look at the hash last.
        if prefix + EXTRA in state_dict:
            self.set_extra_state(state_dict[prefix + EXTRA])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def trained_numbers(self) -> dict[str, Tensor]:
        """Return the state dict without its hash: what a file holds beside :meth:`config`."""
        return {name: value for name, value in self.state_dict().items() if name != EXTRA}

    def save(self, path: str | Path) -> None:
        """Store the few trained numbers and the recipe, not the generated weights.

        Args:
            path: The file to write (safetensors).

        Raises:
            OSError: The folder is not writable.
            ValueError: The model is on the meta device.
        """
        check_has_values(self, "model")
        write_tensors(Path(path), self.trained_numbers(), "model", self.config())

    @classmethod
    @outside_inference_mode
    def load(
        cls, path: str | Path, target: nn.Module, generator: WeightGenerator | None = None
    ) -> QuantumTrain:
        """Read what :meth:`save` wrote. Nothing is unpickled.

        Args:
            path: The file.
            target: A module of the same shape as the one that was trained.
            generator: Needed only for a generator that is not of this package.

        Returns:
            An equal model.

        Raises:
            FileNotFoundError: There is no such file.
            CheckpointError: It is damaged, of a newer format, or of another target.
            UnsupportedByEngine: Its circuit does not fit this machine.
        """
        tensors, info = read_tensors(Path(path), "model")
        stored = sum(tensor.numel() for tensor in tensors.values())
        try:
            check_sizes(info, stored + sum(p.numel() for p in target.parameters()) + _SLACK)
            generator = generator or generator_from_config(info["generator"])
            names = [name for name, _ in info["tensors"]]
            constants = {n: tensors[f"target.{n}"] for n in names if f"target.{n}" in tensors}
            model = cls(
                with_constants(target, names, constants),
                generator,
                seed=info["seed"],
                generated=info["generated"],
                layout=Layout(**info["layout"]),
            )
        except (*FOREIGN, ValueError) as error:
            text = f"`target` must be the module stored in {path}; got another. {error}"
            raise CheckpointError(text) from error
        model.load_trained(tensors, info, str(path))
        return model

    def load_trained(self, tensors: dict[str, Tensor], info: dict[str, Any], source: str) -> None:
        """Load trained numbers, after checking that the numbers belong to this model.

        Args:
            tensors: A state dict.
            info: The :meth:`config` of the model that it came from.
            source: Where it came from, for messages.

        Raises:
            CheckpointError: It belongs to another model.
        """
        check_same(self.config(), info, self.n_weights, source)
        state = self.state_dict()
        # Some modules of torch ask for the versions that a state dict has beside its tensors.
        for name in [*state]:
            del state[name]
        state.update({**tensors, EXTRA: self.get_extra_state()})
        try:
            self.load_state_dict(state)
        except RuntimeError as error:
            first = str(error).splitlines()[-1].strip()
            raise CheckpointError(f"`{source}` must hold this model; got: {first}") from error
