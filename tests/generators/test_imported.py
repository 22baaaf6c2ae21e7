"""Imported programs in place of circuits: their inputs are trained, their constants are not."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import tolerances
import torch
from counting import TestEngine
from torch import nn

import qtn_train as qt
from qtn_train.circuits import Circuit
from qtn_train.engines import Engine
from qtn_train.errors import CheckpointError
from qtn_train.exchange import ImportedCircuit, import_circuit
from qtn_train.generators import CONTROLS, CircuitGenerator, control, generator_from_config
from qtn_train.mapping import MLPMapping
from qtn_train.measurements import PauliCorrelators
from qtn_train.measurements._estimators import make_plan, n_circuits

#: Constants, shared, scaled and mixed inputs, one that nothing uses, and a gate of each rule.
PROGRAM = """OPENQASM 3.0;
input float a; input float unused; input float b;
qubit[3] q; h q; rx(0.3) q[0]; ry(2*a + 0.1) q[1]; rz(a) q[2]; cx q[0], q[1]; cx q[1], q[2];
crx(b/3 - a) q[0], q[2]; ry(b) q[2]; u3(a, 0.2, b) q[1]; rx(-b) q[0]; cu3(b, a - b, 0.7) q[2], q[0];
"""
FOUND = import_circuit(PROGRAM)
VALUES = torch.tensor([0.4, 9.0, -0.7], dtype=torch.float64)
EXACT: dict[str, Engine] = {
    "statevector": qt.StatevectorEngine(dtype="complex128"),
    "mps": qt.MPSEngine(dtype="complex128"),
    "contraction": qt.ContractionEngine(dtype="complex128"),
}


def probs(values: Any) -> np.ndarray:
    """By an independent simulator."""
    return np.abs(oracle.amplitudes(FOUND.circuit, FOUND.angles(np.asarray(values)))) ** 2


def gradient(engine: Engine, v: torch.Tensor) -> np.ndarray:
    leaf = VALUES.clone().requires_grad_()
    read = engine.prepare(FOUND, leaf).probs(0, 8)
    return torch.autograd.grad(read, leaf, v.to(read.dtype))[0].numpy()


def differences(v: torch.Tensor) -> np.ndarray:
    """Central differences of the independent simulator."""
    step = tolerances.STEP * np.eye(3)
    here = VALUES.numpy()
    return np.array(
        [(probs(here + e) - probs(here - e)) @ v.numpy() / (2 * tolerances.STEP) for e in step]
    )


V = torch.from_numpy(np.random.default_rng(0).normal(size=8))


@pytest.mark.parametrize("name", EXACT)
def test_engines_take_a_program(name: str) -> None:
    engine = EXACT[name]
    got = engine.prepare(FOUND, VALUES).probs(0, 8)
    np.testing.assert_allclose(got.numpy(), probs(VALUES), rtol=0, atol=tolerances.DOUBLE)
    found = gradient(engine, V)
    np.testing.assert_allclose(found, differences(V), rtol=0, atol=tolerances.FINITE_DIFFERENCE)
    assert found[1] == 0
    assert abs(found[0]) > 0.01 < abs(found[2])


def test_a_batch_of_inputs() -> None:
    engine = EXACT["statevector"]
    rows = torch.stack([VALUES, 2 * VALUES]).requires_grad_()
    got = engine.prepare(FOUND, rows).probs(0, 8)
    np.testing.assert_allclose(got[1].detach(), probs(2 * VALUES), rtol=0, atol=tolerances.DOUBLE)
    (grad,) = torch.autograd.grad(got[0] @ V, rows)
    np.testing.assert_allclose(grad[0], gradient(engine, V), rtol=0, atol=tolerances.DOUBLE)
    with pytest.raises(ValueError, match=r"`angles` must be of shape \(3,\), or \(batch, 3\)"):
        engine.prepare(FOUND, torch.zeros(FOUND.circuit.n_angles))


def test_shift_rules_go_through_the_map_and_leave_constants_alone() -> None:
    engine = TestEngine(gradient="parameter-shift")
    np.testing.assert_allclose(
        gradient(engine, V), differences(V), rtol=0, atol=tolerances.FINITE_DIFFERENCE
    )
    # ry, rz, ry and rx: 2 each; crx: 4; u3: 2 of 3 angles, 2 each; cu3: 4 and 2 of 3 angles.
    assert engine.executed == [1, 8 + 4 + 4 + 6]
    assert n_circuits(FOUND.lowered, "parameter-shift").backward_high == engine.executed[1]
    rows = {tuple(row.tolist()) for row in engine.batches[1][1][0].angles}
    assert len(rows) == engine.executed[1]


def test_random_shifts_are_unbiased_over_the_places_that_move() -> None:
    table = make_plan("parameter-shift", FOUND.lowered, VALUES, seed=0, position=0)
    n_live = 9
    engine = TestEngine(gradient="random-shift", n_shifts=n_live)
    np.testing.assert_allclose(
        gradient(engine, V), differences(V), rtol=0, atol=tolerances.FINITE_DIFFERENCE
    )
    assert len(table.program.angles) == engine.executed[1]
    with pytest.raises(ValueError, match=f"`n_shifts` must be at most {n_live}"):
        gradient(TestEngine(gradient="random-shift", n_shifts=n_live + 1), V)


def test_spsa_steps_along_the_inputs() -> None:
    plan = make_plan("spsa", FOUND.lowered, VALUES, seed=0, position=0, step=0.05)
    ahead, behind = plan.program.angles.numpy()
    signs = np.sign(plan.back.toarray()[:, 0])
    np.testing.assert_allclose(
        ahead, FOUND.angles(VALUES.numpy() + 0.05 * signs), rtol=0, atol=tolerances.DOUBLE
    )
    np.testing.assert_allclose(
        behind, FOUND.angles(VALUES.numpy() - 0.05 * signs), rtol=0, atol=tolerances.DOUBLE
    )
    assert plan.program.circuit == FOUND.circuit
    assert plan.back.shape == (3, 2)
    assert n_circuits(FOUND.lowered, "spsa") == (1, 2, 2)


def test_json_there_and_back() -> None:
    text = FOUND.to_json()
    back = ImportedCircuit.from_json(text)
    assert back == FOUND
    assert back.to_json() == text
    assert hash(back) == hash(FOUND)
    assert back.inputs == ("a", "unused", "b")
    assert back != import_circuit(PROGRAM.replace("0.3", "0.4"))
    assert back != FOUND.circuit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, r"`format` must be 1; got 2\. Update qtn_train to read this circuit\."),
        ({"b": [0.0]}, "`text` must be canonical JSON of an imported circuit"),
        ({"A": [[0], [7], [1.0]]}, "`text` must be canonical JSON of an imported circuit"),
        ({"A": [[0], [0], [1e999]]}, "`text` must be canonical JSON of an imported circuit"),
        ({"inputs": None}, "`text` must be canonical JSON of an imported circuit"),
        ({"circuit": "{}"}, "`text` must be canonical JSON of an imported circuit"),
    ],
)
def test_json_that_was_changed(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImportedCircuit.from_json(json.dumps(json.loads(FOUND.to_json()) | change))
    with pytest.raises(ValueError, match="`text` must be canonical JSON"):
        ImportedCircuit.from_json("{")


# Models


def model(engine: Engine | None = None, seed: int = 0) -> qt.QuantumTrain:
    return qt.QuantumTrain(nn.Linear(2, 2), circuit=FOUND, engine=engine, seed=seed)


def test_the_inputs_are_what_is_trained() -> None:
    one = model()
    generator: Any = one.generator
    assert one.n_trainable_by_part["angles"] == 3 == generator.angles.numel()
    assert generator.circuit is FOUND
    # As a circuit of three angles begins.
    like = CircuitGenerator(
        Circuit.builder(3).rx(0).rx(1).rx(2).build(), "auto", MLPMapping(6), n_weights=6
    )
    assert torch.equal(generator.angles, like.angles)
    assert float(generator.angles.detach().abs().max()) < np.pi
    assert "3 qubits, 13 gates and 3 inputs (a, unused, b) on StatevectorEngine" in one.summary()


def test_training_moves_inputs_and_no_constant() -> None:
    one = model()
    generator: Any = one.generator
    before = generator.angles.detach().clone()
    optimizer = torch.optim.Adam(one.parameters(), lr=0.1)
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        optimizer.zero_grad()
        one(x).square().sum().backward()
        optimizer.step()
    moved = generator.angles.detach() != before
    assert moved.tolist() == [True, False, True]
    text = qt.export_circuit(generator.circuit, generator.angles)
    assert "rx(0.3) q[0];" in text
    back = import_circuit(text)
    np.testing.assert_allclose(
        np.abs(oracle.amplitudes(back.circuit, back.angles())) ** 2,
        probs(generator.angles.detach().double()),
        rtol=0,
        atol=tolerances.WRITTEN,
    )


def test_a_stored_model_is_built_again(tmp_path: Path) -> None:
    one = model(seed=3)
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.add_(0.1)
    one.save(tmp_path / "model.safetensors")
    back = qt.QuantumTrain.load(tmp_path / "model.safetensors", nn.Linear(2, 2))
    x = torch.ones(1, 2)
    assert torch.equal(back(x), one(x))
    twin: Any = back.generator
    assert twin.circuit == FOUND
    assert torch.equal(copy.deepcopy(one)(x), one(x))
    other = import_circuit(PROGRAM.replace("0.3", "0.4"))
    with pytest.raises(CheckpointError, match="with another circuit, mapping or seed"):
        qt.QuantumTrain(nn.Linear(2, 2), circuit=other, seed=3).load_trained(
            one.trained_numbers(), one.config(), "model"
        )


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_of_a_program(name: str) -> None:
    like = CircuitGenerator(FOUND, "auto", MLPMapping(8, (3,)), n_weights=8)
    made = control(name, like)
    assert torch.isfinite(made()).all()
    if name == "product":
        assert sum(p.numel() for p in made.parameters()) == sum(
            p.numel() for p in like.parameters()
        )
    again = generator_from_config(json.loads(json.dumps(made.config())))
    assert torch.equal(again(), made())


def test_refusals() -> None:
    fixed = import_circuit("qubit[3] q; h q; rx(0.3) q[0];")
    text = (
        "`circuit` must be a program with free inputs, which are trained; got one without. Declare "
        "some (OpenQASM 3: `input float a;`), or train the angles of its `circuit`."
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        qt.QuantumTrain(nn.Linear(2, 2), circuit=fixed)
    assert qt.QuantumTrain(nn.Linear(2, 2), circuit=fixed.circuit).n_trainable > 0
    with pytest.raises(ValueError, match="`n_qubits` must be at least 4; got 3"):
        qt.QuantumTrain(nn.Linear(4, 3), circuit=FOUND)
    real = import_circuit("input float a; qubit[3] q; ry(a) q; cx q[0], q[1]; cx q[1], q[2];")
    with pytest.raises(ValueError, match="`bases` must be without y"):
        qt.QuantumTrain(nn.Linear(1, 1), circuit=real, measurement=PauliCorrelators(1))
    for source in ("eight.qasm", Path("eight.qasm")):
        with pytest.raises((TypeError, ValueError), match="is read by import_circuit"):
            qt.QuantumTrain(nn.Linear(2, 2), circuit=source)  # type: ignore[arg-type]
