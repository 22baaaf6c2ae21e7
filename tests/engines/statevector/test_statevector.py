"""What only the state-vector engine promises: sweeps, blocks, memory, the adjoint backward pass."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import tolerances
import torch
from hypothesis import given
from hypothesis import strategies as st

from qtn_train.circuits import ANSATZE, GATES, Circuit, ansatz
from qtn_train.engines import StatevectorEngine, StatevectorState
from qtn_train.engines._slots import in_slots
from qtn_train.engines.statevector import _engine as _statevector
from qtn_train.engines.statevector import _tiles
from qtn_train.engines.statevector._blocks import block_plan
from qtn_train.engines.statevector._evolve import evolve
from qtn_train.engines.statevector._tiles import COLUMNS, ROWS, TilePlan, tile_plan
from qtn_train.errors import UnsupportedByEngine


def angles_of(circuit: Circuit, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, circuit.n_angles)


def run(circuit: Circuit, values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    angles = torch.from_numpy(values).requires_grad_()
    state = StatevectorEngine(dtype="complex128").prepare(circuit, angles)
    amplitudes = state.vector
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=amplitudes.numel()))
    (grad,) = torch.autograd.grad(weights @ state.probs(0, amplitudes.numel()), angles)
    return amplitudes.detach(), grad


def run_blocks(
    circuit: Circuit, values: np.ndarray, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The way of accelerators, which runs on any device."""
    angles = torch.from_numpy(values).requires_grad_()
    plan = block_plan(circuit, size)
    amplitudes = evolve(plan, plan.gates.values(angles[None], torch.complex128))[0]
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=amplitudes.numel()))
    (grad,) = torch.autograd.grad(weights @ amplitudes.abs().square(), angles)
    return amplitudes.detach(), grad


# The plans: tiles on a CPU, blocks elsewhere


def test_a_sweep_takes_as_many_gates_as_it_has_rows() -> None:
    circuit = ansatz.u3_cu3_ring(19, 16)
    n_pairs = sum(len(gate.qubits) == 2 for gate in circuit.gates)
    assert n_pairs == 19 * 16
    plan = tile_plan(circuit)
    assert sum(len(sweep.steps) for sweep in plan.sweeps) <= n_pairs + 19
    assert len(plan.sweeps) <= n_pairs / ROWS + 4
    assert {len(sweep.bases) for sweep in plan.sweeps} == {2 ** (19 - ROWS - COLUMNS)}
    assert plan.slots.shape[1:] == (n_pairs + 1, 2, 2, 2)


def test_gates_share_blocks() -> None:
    circuit = ansatz.u3_cu3_ring(19, 16)
    n_pairs = sum(len(gate.qubits) == 2 for gate in circuit.gates)
    plan = block_plan(circuit)
    assert len(plan.walk.steps) < n_pairs / 2
    assert plan.slots.shape[1:] == (len(plan.walk.steps), 2, 8, 8)


def test_larger_blocks_are_fewer() -> None:
    circuit = ansatz.u3_cu3_ring(13, 4)
    counts = [len(block_plan(circuit, size).walk.steps) for size in (2, 3, 4)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0]


def test_a_plan_is_made_once_for_equal_circuits() -> None:
    assert block_plan(ansatz.brickwork(5, 2), 3) is block_plan(ansatz.brickwork(5, 2), 3)
    assert tile_plan(ansatz.brickwork(5, 2)) is tile_plan(ansatz.brickwork(5, 2))


@pytest.mark.parametrize("name", ANSATZE)
def test_blocks_of_all_sizes_and_tiles_give_the_same_state_and_gradient(name: str) -> None:
    circuit = ANSATZE[name](8, 2)
    values = angles_of(circuit)
    amplitudes, grad = run(circuit, values)
    atol = tolerances.AMPLITUDE["complex128"]
    assert np.abs(amplitudes.numpy() - oracle.amplitudes(circuit, values)).max() < atol
    for size in (2, 3, 5, 8):
        other, other_grad = run_blocks(circuit, values, size)
        torch.testing.assert_close(other, amplitudes, atol=atol, rtol=0)
        torch.testing.assert_close(other_grad, grad, atol=atol, rtol=0)


@pytest.mark.parametrize("name", ANSATZE)
def test_many_tiles_agree_with_blocks(name: str, torch_threads: None) -> None:
    circuit = ANSATZE[name](ROWS + COLUMNS + 3, 2)
    values = angles_of(circuit)
    expected, expected_grad = run_blocks(circuit, values, 3)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found, grad = run(circuit, values)
        atol = tolerances.AMPLITUDE["complex128"]
        torch.testing.assert_close(found, expected, rtol=0, atol=atol)
        torch.testing.assert_close(grad, expected_grad, rtol=0, atol=tolerances.DOUBLE_GRADIENT)


def test_random_circuits_over_many_tiles() -> None:
    # Controls and targets anywhere: in rows, in columns, and in the number of the tile.
    rng = np.random.default_rng(0)
    in_place = [name for name in GATES if name not in ("rxx", "ryy", "iswap", "ccx", "cswap")]
    for _ in range(10):
        circuit = oracle.random_circuit(rng, ROWS + COLUMNS + 2, 120, in_place)
        values = angles_of(circuit)
        amplitudes, grad = run(circuit, values)
        other, other_grad = run_blocks(circuit, values, 3)
        torch.testing.assert_close(
            amplitudes, other, rtol=0, atol=tolerances.AMPLITUDE["complex128"]
        )
        torch.testing.assert_close(grad, other_grad, atol=tolerances.DOUBLE_GRADIENT, rtol=0)


def run_tiles(
    plan: TilePlan, values: np.ndarray, dtype: torch.dtype = torch.complex128
) -> tuple[torch.Tensor, torch.Tensor]:
    angles = torch.from_numpy(values).requires_grad_()
    amplitudes = evolve(plan, plan.gates.values(angles[None], dtype))[0]
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=amplitudes.numel()))
    (grad,) = torch.autograd.grad(weights @ amplitudes.abs().square().double(), angles)
    return amplitudes.detach(), grad


def real_circuit(n_qubits: int, n_gates: int) -> Circuit:
    names = ("ry", "h", "x", "z", "cx", "cz", "swap")
    return oracle.random_circuit(np.random.default_rng(3), n_qubits, n_gates, names)


@pytest.mark.parametrize("n_qubits", [1, 2, 5, 8, ROWS + COLUMNS + 2])
def test_real_gates_without_imaginary_parts(n_qubits: int) -> None:
    circuit = real_circuit(n_qubits, 60) if n_qubits > 1 else Circuit.builder(1).ry(0).h(0).build()
    values = angles_of(circuit)
    plan = tile_plan(circuit)
    assert plan.is_real
    for dtype, atol in ((torch.complex128, 1e-12), (torch.complex64, 1e-5)):
        amplitudes, grad = run_tiles(plan, values, dtype)
        other, other_grad = run_tiles(dataclasses.replace(plan, is_real=False), values, dtype)
        assert amplitudes.dtype == dtype
        torch.testing.assert_close(amplitudes, other, atol=atol, rtol=0)
        torch.testing.assert_close(grad, other_grad, atol=atol, rtol=0)
        if n_qubits <= 8:
            expected = oracle.amplitudes(circuit, values)
            assert np.abs(amplitudes.numpy() - expected).max() < atol


def test_gradient_of_real_gates_against_finite_differences() -> None:
    circuit = real_circuit(5, 40)
    values = angles_of(circuit)
    weights = np.random.default_rng(1).normal(size=32)
    _, grad = run(circuit, values)
    for index in range(circuit.n_angles):
        shift = tolerances.STEP * np.eye(circuit.n_angles)[index]
        ahead, behind = (oracle.amplitudes(circuit, values + s) for s in (shift, -shift))
        slope = weights @ (np.abs(ahead) ** 2 - np.abs(behind) ** 2) / (2 * tolerances.STEP)
        assert float(grad[index]) == pytest.approx(slope, abs=tolerances.FINITE_DIFFERENCE)


def test_one_complex_gate_makes_the_state_complex() -> None:
    assert tile_plan(ansatz.ry_cx_chain(4, 2)).is_real
    for name, spec in GATES.items():
        circuit = Circuit.builder(3).add("ry", 0).add(name, *range(spec.n_qubits)).build()
        # Of CCX, as of CSWAP, what the engine applies has T gates in it.
        real = {"h", "x", "z", "ry", "cx", "cz", "ch", "swap", "cry"}
        inside, _ = in_slots(circuit, torch.zeros(circuit.n_angles))
        assert tile_plan(inside).is_real == (name in real), name


@pytest.mark.parametrize(("turn", "gate"), [("u3", "cu3"), ("ry", "cx")])
def test_a_control_at_every_column(turn: str, gate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def simple(
        old: tuple[int, ...], taken: Any, left: Any, targets: Any, controls: Any, n_rows: int
    ) -> tuple[int, ...]:
        rows = {targets[number] for number in taken}
        return tuple(sorted(old, key=lambda qubit: qubit not in rows))

    monkeypatch.setattr(_tiles, "_layout", simple)  # its own choice avoids such controls
    builder = Circuit.builder(ROWS + COLUMNS)
    columns = range(ROWS, ROWS + COLUMNS)
    for qubit in columns:
        builder.add(turn, qubit)
    for qubit in columns:  # the first sweep has these targets, the second one the others
        builder.add(gate, qubit, ROWS + (qubit + 1 - ROWS) % COLUMNS)
    for qubit in range(ROWS):
        builder.add(gate, ROWS + qubit, qubit).add(turn, qubit)
    for qubit in columns:
        builder.add(turn, qubit)
    circuit = builder.build()
    plan = tile_plan.__wrapped__(circuit)
    places = {int(step[3]) for sweep in plan.sweeps for step in sweep.steps}
    assert places >= set(range(COLUMNS))
    values = angles_of(circuit)
    amplitudes, grad = run_tiles(plan, values)
    other, other_grad = run_blocks(circuit, values, 3)
    torch.testing.assert_close(amplitudes, other, rtol=0, atol=tolerances.AMPLITUDE["complex128"])
    torch.testing.assert_close(grad, other_grad, atol=tolerances.DOUBLE_GRADIENT, rtol=0)


@pytest.mark.slow
def test_torch_keeps_its_number_of_threads() -> None:
    code = f"""
import torch
from qtn_train import StatevectorEngine, ansatz
circuit = ansatz.ry_cx_chain({ROWS + COLUMNS + 3}, 1)
for threads in (3, 1, 2):
    torch.set_num_threads(threads)
    angles = torch.zeros(circuit.n_angles, requires_grad=True)
    StatevectorEngine().prepare(circuit, angles).probs(0, 4).sum().backward()
    print(torch.get_num_threads())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "1", "2"]


@pytest.mark.slow
def test_compiled_now_or_loaded_from_the_disk_gives_the_same_bits(tmp_path: Path) -> None:
    code = """
import torch
from qtn_train import StatevectorEngine, ansatz
circuit = ansatz.ry_cx_chain(8, 4)
angles = torch.arange(circuit.n_angles).float().requires_grad_()
probs = StatevectorEngine().prepare(circuit, angles).probs(0, 200)
(probs * torch.arange(200)).sum().backward()
print(probs.tolist(), angles.grad.tolist())
"""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    compiled, loaded = (
        subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert list(tmp_path.rglob("*.nbc")) != []
    assert compiled == loaded


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_computes_the_same(torch_threads: None) -> None:
    circuit = ansatz.u3_cu3_ring(ROWS + COLUMNS + 3, 1)
    values = angles_of(circuit)
    torch.set_num_threads(2)
    expected, _ = run(circuit, values)  # on several threads, which no child has

    def child() -> bool:
        torch.set_num_threads(1)  # torch's own threads do not survive a fork either
        return bool(
            torch.allclose(
                run(circuit, values)[0], expected, rtol=0, atol=tolerances.AMPLITUDE["complex128"]
            )
        )

    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, b"1" if child() else b"0")
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"1"
    assert os.waitpid(pid, 0)[1] == 0


@given(
    seed=st.integers(0, 2**32 - 1),
    n_qubits=st.integers(6, 8),
    n_gates=st.integers(1, 80),
    diagonal=st.booleans(),
)
def test_random_circuits_larger_than_a_block(
    seed: int, n_qubits: int, n_gates: int, diagonal: bool
) -> None:
    # Diagonal gates may control a block, so circuits full of them take other ways.
    names = ("rz", "cz", "s", "t", "cu3", "h") if diagonal else tuple(GATES)
    circuit = oracle.random_circuit(np.random.default_rng(seed), n_qubits, n_gates, names)
    values = angles_of(circuit, seed)
    state = StatevectorEngine(dtype="complex128").prepare(circuit, torch.from_numpy(values))
    difference = np.abs(state.vector.numpy() - oracle.amplitudes(circuit, values)).max()
    assert difference < tolerances.AMPLITUDE["complex128"]


def test_many_gates_on_one_qubit() -> None:
    builder = Circuit.builder(6)
    for _ in range(100):
        builder.add("rx", 2).add("rz", 2)
    circuit = builder.add("cx", 2, 5).build()
    values = angles_of(circuit)
    difference = np.abs(run(circuit, values)[0].numpy() - oracle.amplitudes(circuit, values))
    assert difference.max() < tolerances.AMPLITUDE["complex128"]


# Memory and the backward pass


def test_no_state_is_kept_for_every_gate() -> None:
    circuit = ansatz.u3_cu3_ring(15, 8)
    size = 2**15
    kept: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    angles = torch.from_numpy(angles_of(circuit)).float().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        probs = StatevectorEngine().prepare(circuit, angles).probs(0, size)
        probs.square().sum()
    # The last state, the amplitudes read as reals, and the probabilities squared here; the rest
    # are blocks of gates.
    assert sum(numel >= size for numel in kept) <= 3
    assert sum(kept) < len(circuit) * size / 20
    assert probs.requires_grad


def test_backward_leaves_the_amplitudes_as_they_were() -> None:
    circuit = ansatz.u3_cu3_ring(6, 2)
    angles = torch.from_numpy(angles_of(circuit)).requires_grad_()
    state = StatevectorEngine(dtype="complex128").prepare(circuit, angles)
    before = state.vector.detach().clone()
    first = torch.autograd.grad(state.probs(0, 9).square().sum(), angles, retain_graph=True)
    second = torch.autograd.grad(state.probs(0, 9).square().sum(), angles)
    assert torch.equal(state.vector, before)
    assert torch.equal(first[0], second[0])


def test_gradient_through_the_amplitudes_themselves() -> None:
    circuit = ansatz.u3_cu3_ring(3, 1)
    angles = torch.from_numpy(angles_of(circuit)).requires_grad_()
    engine = StatevectorEngine(dtype="complex128")
    assert torch.autograd.gradcheck(lambda a: engine.prepare(circuit, a).vector, (angles,))


# The engine's own numbers


def test_capabilities() -> None:
    engine = StatevectorEngine()
    assert (engine.exact, engine.differentiable, engine.needs_shots) == (True, True, False)
    assert engine.max_qubits - StatevectorEngine(dtype="complex128").max_qubits == 1
    assert repr(engine) == "StatevectorEngine(dtype='complex64')"


@pytest.mark.parametrize(("gigabytes", "n_qubits"), [(1, 24), (8, 27), (9, 27), (64, 30)])
def test_the_largest_circuit_follows_from_memory(
    monkeypatch: pytest.MonkeyPatch, gigabytes: int, n_qubits: int
) -> None:
    monkeypatch.setattr(_statevector, "memory_bytes", lambda: gigabytes * 2**30)
    assert StatevectorEngine().max_qubits == n_qubits
    assert StatevectorEngine(dtype="complex128").max_qubits == n_qubits - 1


def test_a_system_that_does_not_tell_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: Any) -> int:
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", refuse)
    assert StatevectorEngine().max_qubits == 27


def test_the_message_of_too_many_qubits_names_an_engine_that_can() -> None:
    engine = StatevectorEngine()
    message = (
        f"`n_qubits` must be at most {engine.max_qubits} for StatevectorEngine on this machine; "
        r"got 60. Take MPSEngine\(max_bond=...\) instead."
    )
    with pytest.raises(UnsupportedByEngine, match=message):
        engine.prepare(ansatz.ry_cx_chain(60, 1), torch.zeros(60))


def test_sampling_survives_rounding_at_the_upper_end() -> None:
    amplitudes = torch.zeros(4, dtype=torch.complex64)
    amplitudes[3] = 1 + 1e-6
    drawn = StatevectorState(amplitudes).sample(1000, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {3}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu() -> None:
    circuit = ansatz.u3_cu3_ring(7, 3)
    values = angles_of(circuit)
    amplitudes, grad = run(circuit, values)
    angles = torch.from_numpy(values).cuda().requires_grad_()
    state = StatevectorEngine(dtype="complex128").prepare(circuit, angles)
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=128)).cuda()
    (other,) = torch.autograd.grad(weights @ state.probs(0, 128), angles)
    atol = tolerances.AMPLITUDE["complex128"]
    torch.testing.assert_close(state.vector.detach().cpu(), amplitudes, atol=atol, rtol=0)
    torch.testing.assert_close(other.cpu(), grad, atol=atol, rtol=0)
    assert state.sample(10, torch.Generator().manual_seed(0)).device.type == "cpu"
