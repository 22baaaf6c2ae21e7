"""Circuits of any shape: values, light cones, trees that are kept, slices, refusals."""

import json
import weakref

import numpy as np
import pytest
import tolerances
import torch
from shapes import cone, heavy_hexagon_edges
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from qtn_train.circuits import Circuit, ansatz
from qtn_train.engines import ContractionEngine, MPSEngine, StatevectorEngine
from qtn_train.engines._slots import gate_matrices
from qtn_train.engines.contraction import ContractionState, _state, _trees
from qtn_train.engines.contraction._contract import contract
from qtn_train.engines.contraction._network import circuit_network, constants
from qtn_train.errors import UnsupportedByEngine

# 2**20 probabilities of some 400 gates: rounding, relative to the largest of them.
ALL_PROBS = {"complex64": 1e-5, "complex128": 1e-12}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_trees, "_memory", type(_trees._memory)())
    return tmp_path / "qtn_train" / "trees"


def random_angles(circuit: Circuit, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(circuit.n_angles, generator=rng, dtype=torch.float64) - 1) * torch.pi


def gradient(value: Tensor, angles: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(value, angles)
    return found


# Values


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_all_probabilities_of_a_grid(dtype):
    circuit = ansatz.grid(5, 4, 4)
    angles = random_angles(circuit)
    exact = StatevectorEngine(dtype="complex128").prepare(circuit, angles).probs(0, 2**20)
    found = ContractionEngine(dtype=dtype).prepare(circuit, angles).probs(0, 2**20).double()
    assert (found - exact).abs().max() <= ALL_PROBS[dtype] * exact.max()
    assert (found - exact).abs().sum() / 2 <= ALL_PROBS[dtype]


def test_an_expectation_in_the_middle_of_49_qubits_and_its_gradient():
    circuit = ansatz.grid(7, 7, 4)
    angles = random_angles(circuit).requires_grad_()
    engine = ContractionEngine(dtype="complex128")

    def value(at: Tensor) -> Tensor:
        return engine.prepare(circuit, at).expectation({"Z24": 1.0, "X24 Y25": 0.5})

    found = gradient(value(angles), angles)
    rng = np.random.default_rng(0)
    largest = found.abs().argsort()[-3:].tolist()
    for index in [*largest, *rng.permutation(circuit.n_angles)[:3].tolist()]:
        step = torch.zeros_like(angles)
        step[index] = tolerances.STEP
        with torch.no_grad():
            slope = float(value(angles + step) - value(angles - step)) / (2 * tolerances.STEP)
        assert float(found[index]) == pytest.approx(slope, abs=tolerances.FINITE_DIFFERENCE)
    assert found.abs().max() > 0.1


def test_correlators_of_a_device_of_127_qubits():
    """A few edges, against the state vector of the qubits in their light cones alone."""
    edges = heavy_hexagon_edges()
    assert len(edges) == 144
    circuit = ansatz.couplings(edges, 4)
    angles = random_angles(circuit).requires_grad_()
    state = ContractionEngine(dtype="complex128").prepare(circuit, angles)
    some = [edges[0], edges[70], edges[-1]]
    found = state.expectations([f"Z{i} Z{j}" for i, j in some])
    for value, pair in zip(found, some, strict=True):
        part, qubits = cone(circuit, set(pair))
        assert part.n_qubits <= 20
        place = {qubit: number for number, qubit in enumerate(qubits)}
        small = StatevectorEngine(dtype="complex128").prepare(part, angles)
        expected = small.expectation(f"Z{place[pair[0]]} Z{place[pair[1]]}")
        assert value.item() == pytest.approx(expected.item(), abs=tolerances.CORRELATOR)
        grads = [torch.autograd.grad(v, angles, retain_graph=True)[0] for v in (value, expected)]
        assert torch.allclose(*grads, rtol=0, atol=tolerances.DOUBLE_GRADIENT)


def test_swaps_cost_nothing_and_controls_keep_their_index():
    builder = Circuit.builder(4)
    for qubit in range(4):
        builder.u3(qubit)
    circuit = builder.swap(0, 3).cx(3, 1).swap(1, 2).cz(2, 0).rz(0).cu3(2, 1).build()
    network = circuit_network(circuit)
    assert sum(len(leg.wires) == 2 for leg in network.gates) == 3
    assert [leg.moves for leg in network.gates if len(leg.wires) == 2].count((False, True)) == 2
    angles = random_angles(circuit)
    exact = StatevectorEngine(dtype="complex128").prepare(circuit, angles)
    state = ContractionEngine(dtype="complex128").prepare(circuit, angles)
    assert torch.allclose(
        state.amplitudes(), exact.amplitudes(), rtol=0, atol=tolerances.CONTRACTED
    )
    assert torch.allclose(
        state.expectation("XZIY"), exact.expectation("XZIY"), rtol=0, atol=tolerances.CONTRACTED
    )


def test_a_hundred_qubits_in_a_ring_by_blocks():
    """Few amplitudes of many qubits, against the exact matrix product state."""
    circuit = ansatz.ry_cx_chain(60, 2)
    angles = random_angles(circuit)
    state = ContractionEngine(dtype="complex128").prepare(circuit, angles)
    chain = MPSEngine(dtype="complex128").prepare(circuit, angles)
    start = 2**59 + 2**30 + 11
    found, expected = (each.amplitudes(start, start + 50) for each in (state, chain))
    assert torch.allclose(found, expected, atol=0, rtol=tolerances.SLICED)
    assert float(found.abs().max()) > 0


def test_numpy_arrays_are_contracted_by_the_same_lines_without_torch():
    class NoTorch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            raise AssertionError(f"torch was asked for {func}")

    circuit = ansatz.grid(2, 3, 3)
    angles = random_angles(circuit)
    values = gate_matrices(circuit).values(angles, torch.complex128).numpy()
    exact = StatevectorEngine(dtype="complex128").prepare(circuit, angles).amplitudes().numpy()
    with NoTorch():
        network = circuit_network(circuit)
        block = network.amplitudes(6, ())
        plan = _trees.find_plan(
            _trees.shape_of(block.inputs, block.output), "quick", 2**30, 16, False
        )
        arrays, fixed = network.arrays(values), constants(values)
        found = contract(
            plan, [fixed[t] if isinstance(t, str) else arrays[t] for t in block.tensors]
        )
    assert isinstance(found, np.ndarray)
    assert np.abs(found.reshape(-1) - exact).max() <= tolerances.CONTRACTED


def test_the_network_is_quimbs():
    circuit = ansatz.grid(2, 2, 3)
    state = ContractionEngine(dtype="complex128").prepare(circuit, random_angles(circuit))
    network = state.network()
    dense = network.contract(output_inds=[f"k{qubit}" for qubit in range(4)]).data.reshape(-1)
    assert torch.allclose(dense, state.amplitudes(), rtol=0, atol=tolerances.CONTRACTED)
    network.multiply_(2.0)
    assert float(state.probs(0, 16).sum()) == pytest.approx(1, abs=tolerances.TOTAL["complex128"])


# Trees


def test_a_tree_is_searched_once_for_each_kind_of_request(monkeypatch):
    searched = []
    search = _trees._search
    monkeypatch.setattr(
        _trees, "_search", lambda shape, how: searched.append(shape) or search(shape, how)
    )
    circuit = ansatz.grid(3, 3, 3)
    for step in range(3):
        state = ContractionEngine().prepare(circuit, random_angles(circuit, step))
        state.probs(0, 8), state.probs(8 * step, 8 * step + 8), state.expectation("Z4")
        assert len(searched) == 2
    edges = heavy_hexagon_edges()
    chip = ContractionEngine(optimize="quick").prepare(
        ansatz.couplings(edges, 2), torch.zeros(5 * 127)
    )
    before = len(searched)
    chip.expectations([f"Z{i} Z{j}" for i, j in edges])
    assert len(searched) - before < len(edges)  # cones of one shape share a tree


def test_each_setting_makes_as_many_rounds_as_it_says(monkeypatch):
    block = circuit_network(ansatz.grid(2, 2, 2)).amplitudes(4, ())
    shape = _trees.shape_of(block.inputs, block.output)
    first, seeds = _trees._trial(shape, 1, 0), []
    monkeypatch.setattr(_trees, "_trial", lambda shape, n, seed: seeds.append((n, seed)) or first)
    monkeypatch.setattr(_trees, "_is_cheap", lambda tree: False)
    for optimize, n_rounds in _trees.ROUNDS.items():
        _trees._search(shape, optimize)
        assert seeds == [(1, 0), *((_trees._TRIALS, seed) for seed in range(1, n_rounds + 1))]
        seeds.clear()


def test_a_search_ends_when_its_time_is_over(monkeypatch):
    """Of a request that is far too large, say: no round begins that would pass the limit."""
    block = circuit_network(ansatz.grid(2, 2, 2)).amplitudes(4, ())
    shape = _trees.shape_of(block.inputs, block.output)
    first, clock, seen = _trees._trial(shape, 1, 0), [5.0], []

    def trial(shape, n, seed):
        seen.append((n, seed))
        clock[0] += 1.5 * n
        return first

    monkeypatch.setattr(_trees, "_trial", trial)
    monkeypatch.setattr(_trees, "_is_cheap", lambda tree: False)
    monkeypatch.setattr(_trees.time, "thread_time", lambda: clock[0])
    for seconds, n_trials in ((61.0, [16, 16, 7]), (24.0, [15]), (1.0, [])):
        seen.clear()
        monkeypatch.setitem(_trees.SEARCH_SECONDS, "auto", seconds)
        began = clock[0]
        assert _trees._search(shape, "auto") is first
        assert seen == [(1, 0), *((n, seed) for seed, n in enumerate(n_trials, 1))]
        assert clock[0] - began <= max(seconds, 1.5)


def test_an_interrupted_search_leaves_nothing(cache, monkeypatch):
    monkeypatch.setattr(_trees, "_WORTH_KEEPING", -1.0)
    monkeypatch.setattr(_trees, "_is_cheap", lambda tree: False)
    trial = _trees._trial
    calls = []

    def interrupted(shape, n, seed):
        calls.append(seed)
        if seed == 2:
            raise KeyboardInterrupt
        return trial(shape, n, seed)

    circuit = ansatz.grid(2, 2, 2)
    state = ContractionEngine(dtype="complex128").prepare(circuit, random_angles(circuit))
    monkeypatch.setattr(_trees, "_trial", interrupted)
    with pytest.raises(KeyboardInterrupt):
        state.probs(0, 16)
    assert calls == [0, 1, 2]
    assert not _trees._memory
    assert not cache.exists()
    monkeypatch.setattr(_trees, "_trial", trial)
    assert float(state.probs(0, 16).sum()) == pytest.approx(1, abs=tolerances.TOTAL["complex128"])
    assert len(list(cache.iterdir())) == 1


def test_a_quick_search_is_enough_for_a_grid():
    """One greedy trial alone finds a tree of 31 s here, the search one of 0.02 s."""
    block = circuit_network(ansatz.grid(4, 4, 6)).amplitudes(16, ())
    shape = _trees.shape_of(block.inputs, block.output)
    plan = _trees.find_plan(shape, "quick", 2**40, 8, gradient=True)
    assert plan.cost.seconds < 0.5


def test_a_long_search_is_kept_on_disk(cache, monkeypatch):
    monkeypatch.setattr(_trees, "_WORTH_KEEPING", -1.0)
    circuit = ansatz.grid(3, 3, 4)
    angles = random_angles(circuit)
    first = ContractionEngine().prepare(circuit, angles).probs(0, 512)
    (file,) = cache.iterdir()
    _trees._memory.clear()
    search = _trees._search
    monkeypatch.setattr(_trees, "_search", None)  # a search would fail
    assert torch.equal(ContractionEngine().prepare(circuit, angles).probs(0, 512), first)
    monkeypatch.setattr(_trees, "_search", search)
    stored = json.loads(file.read_text())
    for damaged in ("", "[[0, 1]]", json.dumps([[999, 0], *stored[1:]]), '{"a": 1}', "[1, 2"):
        file.write_text(damaged)
        _trees._memory.clear()
        assert torch.equal(ContractionEngine().prepare(circuit, angles).probs(0, 512), first)
        assert json.loads(file.read_text()) == stored


def test_a_cache_folder_that_cannot_be_written_to_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(_trees, "_WORTH_KEEPING", -1.0)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    state = ContractionEngine().prepare(ansatz.grid(2, 2, 2), torch.zeros(20))
    assert float(state.probs(0, 16).sum()) == pytest.approx(1, abs=tolerances.SINGLE)


# Limits


def test_slices_keep_the_memory_and_the_result():
    circuit = ansatz.grid(4, 4, 8)
    angles = random_angles(circuit).requires_grad_()
    whole = ContractionEngine(dtype="complex128").prepare(circuit, angles)
    limit = int(whole.cost(0, 16).bytes / 3)
    sliced = ContractionEngine(dtype="complex128", memory_limit=limit).prepare(circuit, angles)
    assert sliced._plan(sliced._block(0, 4)).n_slices > 1
    assert sliced.cost(0, 16).bytes <= limit
    found, expected = sliced.probs(0, 16), whole.probs(0, 16)
    assert torch.allclose(found, expected, atol=0, rtol=tolerances.SLICED)
    weights = torch.arange(16, dtype=torch.float64)
    grads = [gradient((p * weights).sum(), angles) for p in (found, expected)]
    assert torch.allclose(*grads, rtol=0, atol=tolerances.SLICED * float(grads[1].abs().max()))
    with torch.no_grad():
        assert torch.allclose(sliced.probs(0, 16), expected, atol=0, rtol=tolerances.SLICED)


GRID = ansatz.grid(3, 4, 8)


def sliced_state(angles: Tensor, limit: int, **options) -> ContractionState:
    """Prepare a grid; a gradient of its blocks of 4 probabilities is sliced at 2**15 bytes."""
    engine = ContractionEngine(optimize="quick", memory_limit=limit, **options)
    return engine.prepare(GRID, angles)


def plan_of(state: ContractionState) -> _trees.Plan:
    return state._plan(state._block(0, 2))


def test_a_forward_pass_alone_is_sliced_less():
    """Nothing is kept for a backward pass."""
    angles = random_angles(GRID)
    free = angles.clone().requires_grad_()
    assert plan_of(sliced_state(angles, 2**14)).n_slices == 1
    assert plan_of(sliced_state(free, 2**14)).n_slices == 8
    with torch.no_grad():
        assert plan_of(sliced_state(free, 2**14)).n_slices == 1


@pytest.mark.parametrize(("limit", "with_gradient"), [(2**13, False), (2**15, True)])
def test_the_estimate_counts_each_slice_as_often_as_it_is_contracted(
    limit, with_gradient, monkeypatch
):
    state = sliced_state(random_angles(GRID).requires_grad_(with_gradient), limit)
    plan, numbers = plan_of(state), []
    one = plan.tree.contract_slice
    monkeypatch.setattr(
        plan.tree, "contract_slice", lambda arrays, i: numbers.append(i) or one(arrays, i)
    )
    value = state.probs(0, 4)[3]
    if with_gradient:
        value.backward()
    assert plan.n_slices > 1
    assert sorted(numbers) == sorted([*range(plan.n_slices)] * (1 + with_gradient))
    # Each product made counts; one with a gradient as a forward pass, and both passes.
    for name in ("_SECONDS", "_SECONDS_PER_MULTIPLICATION", "_SECONDS_PER_NUMBER"):
        monkeypatch.setattr(_trees, name, 0.0)
    monkeypatch.setattr(_trees, "_SECONDS_PER_PRODUCT", 1.0)
    each = 1 + _trees._FORWARD if with_gradient else _trees._FORWARD
    seconds = _trees._cost(plan.tree, 8, with_gradient).seconds
    assert seconds == pytest.approx(each * plan.n_slices * (len(plan.tree.inputs) - 1))


class Bytes(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self.sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.sizes:
                self.sizes[storage.data_ptr()] = storage.nbytes()
                weakref.finalize(storage, self.sizes.pop, storage.data_ptr(), None)
        self.most = max(self.most, sum(self.sizes.values()))
        return made


@pytest.mark.parametrize(
    ("limit", "with_gradient"), [(2**13, False), (2**14, True), (2**40, False), (2**40, True)]
)
def test_the_estimate_of_bytes_is_that_of_the_tensors_alive(limit, with_gradient):
    state = sliced_state(random_angles(GRID).requires_grad_(with_gradient), limit)
    plan, block = plan_of(state), state._block(0, 2)
    assert (plan.n_slices > 1) == (limit < 2**40)
    arrays = state._arrays  # they are the state's own, whatever is read of it
    with Bytes() as found:
        value = state._contracted(block).abs().square().sum()
        if with_gradient:
            torch.autograd.grad(value, arrays)
    assert plan.cost.bytes <= limit
    assert plan.cost.bytes / 3 <= found.most <= 3 * plan.cost.bytes


def test_a_gradient_is_refused_where_a_forward_pass_alone_is_not():
    angles = random_angles(GRID).requires_grad_()
    with torch.no_grad():
        least = sliced_state(angles, 2**14).cost(0, 4).seconds
    assert sliced_state(angles, 2**14).cost(0, 4).seconds > 4 * least
    short = sliced_state(angles, 2**14, time_limit=2 * least)
    with pytest.raises(UnsupportedByEngine, match=r"takes at most .* s; got one of about .* MiB"):
        short.probs(0, 4)
    with torch.no_grad():
        exact = StatevectorEngine().prepare(GRID, angles).probs(0, 4)
        assert torch.allclose(short.probs(0, 4), exact, rtol=0, atol=tolerances.SINGLE)


def test_slices_leave_no_nodes_in_the_graph():
    """65,536 slices of 554 tensors each took gigabytes at a limit of 1 MiB."""
    angles = random_angles(GRID).requires_grad_()
    counts = []
    for limit in (2**15, 2**14):
        found, waiting = set(), [sliced_state(angles, limit).probs(0, 4).grad_fn]
        while waiting:
            node = waiting.pop()
            if node is not None and node not in found:
                found.add(node)
                waiting += [each for each, _ in node.next_functions]
        counts.append(len(found))
    assert counts[0] == counts[1]


def test_slices_have_second_derivatives_and_transforms():
    angles = random_angles(GRID).requires_grad_()
    plain = angles.detach()
    whole, sliced = (
        ContractionEngine(optimize="quick", dtype="complex128", memory_limit=limit)
        for limit in (None, 2**16)
    )
    assert plan_of(sliced.prepare(GRID, angles)).n_slices == 2

    def value(engine: ContractionEngine, at: Tensor) -> Tensor:
        return engine.prepare(GRID, at).probs(0, 4)[2]

    found = []
    for engine in (whole, sliced):
        (slope,) = torch.autograd.grad(value(engine, angles), angles, create_graph=True)
        second = gradient(slope[::7].sum(), angles)
        by_func = torch.func.grad(lambda at, e=engine: value(e, at))(plain)
        _, along = torch.func.jvp(
            lambda at, e=engine: value(e, at), (plain,), (torch.ones_like(plain),)
        )
        found.append(torch.cat((slope.detach(), second, by_func, along[None])))
    size = float(found[0].abs().max())
    assert torch.allclose(*found, rtol=0, atol=tolerances.SLICED * size)


def test_a_request_over_the_limit_is_refused_before_it_begins(monkeypatch):
    monkeypatch.setattr(_state, "contract", None)
    circuit = ansatz.grid(3, 3, 5)
    angles = random_angles(circuit)
    state = ContractionEngine(optimize="quick", memory_limit=1000).prepare(circuit, angles)
    message = (
        r"`memory_limit` must be at least .* MiB for this request; got 0.000954 MiB. Without a "
        r"limit the contraction takes about .*iB and .* s. Raise the limit.*MPSEngine\(max_bond="
    )
    with pytest.raises(UnsupportedByEngine, match=message):
        state.probs(0, 16)
    with pytest.raises(UnsupportedByEngine, match="memory_limit"):
        state.cost()
    short = ContractionEngine(optimize="quick", time_limit=1e-9).prepare(circuit, angles)
    message = (
        r"`circuit` must be a request that takes at most 1e-09 s; got one of about .* MiB\. Rai"
    )
    with pytest.raises(UnsupportedByEngine, match=message):
        short.expectation("Z5")


def test_what_takes_too_long_is_not_sliced(monkeypatch):
    angles = random_angles(GRID).requires_grad_()
    plan = plan_of(sliced_state(angles, 2**14))
    whole = plan_of(sliced_state(angles, 2**40)).cost.seconds
    assert plan.cost.seconds > 4 * whole
    _trees._memory.clear()
    monkeypatch.setattr(_trees, "_cut", None)
    for seconds, message in (
        (whole / 2, "`circuit` must be a request that takes at most .* Raise time_limit, ask for"),
        (whole * 2, "`memory_limit` must be at least .* for this request; got 0.0156 MiB"),
    ):
        with pytest.raises(UnsupportedByEngine, match=message):
            plan_of(sliced_state(angles, 2**14, time_limit=seconds))


def test_a_request_that_costs_more_than_a_float_holds_is_refused(monkeypatch):
    """Of tensors that all share an index with each other, say: one in between has 2**1,250."""

    def trial(shape, n, seed):
        raise OverflowError("int too large to convert to float")

    monkeypatch.setattr(_trees, "_trial", trial)
    state = sliced_state(random_angles(GRID), 2**30)
    message = r"`memory_limit` must be at least 9.31e\+290 GiB .* 9.31e\+290 GiB and 1.2e\+295 days"
    with pytest.raises(UnsupportedByEngine, match=message):
        state.probs(0, 4)
    assert _trees.estimate((("ab", "b"), "a"), 8, True) == (1e300, 1e300)
    assert _trees._as_float(2**5000) == 1e300


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"optimize": "best"}, ValueError, "`optimize` must be 'quick', 'auto' or 'thorough'; got"),
        (
            {"memory_limit": 0},
            ValueError,
            "`memory_limit` must be a positive integer; got 0. It is",
        ),
        ({"memory_limit": 1e9}, TypeError, "`memory_limit` must be a positive integer"),
        ({"time_limit": 0}, ValueError, "`time_limit` must be a positive number of seconds; got 0"),
        ({"time_limit": float("nan")}, ValueError, "`time_limit` must be a positive number"),
        ({"time_limit": "5"}, TypeError, "`time_limit` must be a positive number of .* got '5'"),
        ({"time_limit": True}, TypeError, "`time_limit` must be a positive number of .* got True"),
        ({"dtype": ["complex64"]}, ValueError, r"`dtype` must be .* got \['complex64'\]"),
    ],
)
def test_wrong_options(options, error, message):
    with pytest.raises(error, match=message):
        ContractionEngine(**options)


def test_too_many_qubits():
    with pytest.raises(UnsupportedByEngine, match="at most 4096 for ContractionEngine; got 5000"):
        ContractionEngine().prepare(Circuit(5000, (), 0), torch.zeros(0))


def test_sizes_for_people():
    assert [_trees.as_size(2**20), _trees.as_size(3 * 2**30)] == ["1 MiB", "3 GiB"]
    times = [_trees.as_time(seconds) for seconds in (1.5, 7200, 864000)]
    assert times == ["1.5 s", "2 h", "10 days"]
