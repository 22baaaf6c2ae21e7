"""What a notebook shows: HTML of the main objects, one-line texts, and a progress bar."""

from __future__ import annotations

import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from torch import nn

import qtn_train as qt
from qtn_train import _html
from qtn_train._progress import progress_bar
from qtn_train.circuits import GATES, Circuit

BELL = Circuit.builder(2).h(0).cx(0, 1).build()
NO_ANGLES = torch.zeros(0)


def parsed(html: str) -> ElementTree.Element:
    """Parse it strictly: everything closed and escaped."""
    return ElementTree.fromstring(f"<body>{html}</body>")


def text_of(html: str) -> str:
    return " ".join(parsed(html).itertext())


def model() -> qt.QuantumTrain:
    return qt.QuantumTrain(nn.Linear(4, 3), circuit=qt.ansatz.ry_cx_chain(4, 2), seed=0)


def history(n_epochs: int) -> qt.History:
    entry = {"train_loss": 0.5, "train_accuracy": 0.75, "test_loss": 0.25, "seconds": 1.5}
    epochs = [{**entry, "epoch": n, "test_accuracy": 0.5 + 0.1 * n} for n in range(1, n_epochs + 1)]
    return qt.History(epochs)


EVERYTHING = {
    "circuit": lambda: qt.ansatz.u3_cu3_ring(3, 2),
    "statevector": lambda: qt.StatevectorEngine().prepare(BELL, NO_ANGLES),
    "mps": lambda: qt.MPSEngine(max_bond=4).prepare(BELL, NO_ANGLES),
    "counted": lambda: qt.SampledEngine(qt.StatevectorEngine(), shots=8, seed=0).prepare(
        BELL, NO_ANGLES
    ),
    "model": model,
    "history": lambda: history(3),
    "no history": lambda: history(0),
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_html_is_well_formed_and_small_and_text_is_one_line(name: str) -> None:
    shown = EVERYTHING[name]()
    html = shown._repr_html_()
    assert text_of(html).strip()
    assert len(html) < 50_000
    assert len(repr(shown).splitlines()) == 1
    assert len(repr(shown)) < 120
    assert "0x" not in repr(shown), "an address would change from run to run"


def test_texts() -> None:
    texts = {name: repr(make()) for name, make in EVERYTHING.items()}
    assert texts == {
        "circuit": "Circuit(n_qubits=3, n_gates=12, n_angles=36)",
        "statevector": "StatevectorState(n_qubits=2)",
        "mps": "MPSState(n_qubits=2, truncation_error=0, fidelity_estimate=1)",
        "counted": "EstimatedState(n_qubits=2, shots=8, outcomes_seen=2)",
        "model": "QuantumTrain(Linear, 15 weights from 37 numbers)",
        "history": "History(3 epochs, test_accuracy=0.8000)",
        "no history": "History(0 epochs)",
    }


@pytest.mark.parametrize("name", GATES)
def test_every_gate_is_drawn_and_named(name: str) -> None:
    spec = GATES[name]
    circuit = Circuit.builder(3).add(name, *(2, 0, 1)[: spec.n_qubits]).build()
    shapes = parsed(circuit._repr_html_())
    (group,) = shapes.iter("g")
    title = group.find("title")
    assert title is not None
    assert title.text is not None
    assert title.text.startswith(f"{name} on qubit")
    assert len(list(group)) >= 1 + spec.n_qubits, "a shape for each qubit"


def test_a_circuit_is_cut_where_it_is_too_large() -> None:
    circuit = qt.ansatz.u3_cu3_ring(100, 50)
    html = circuit._repr_html_()
    assert "… and 76 more qubits" in text_of(html)
    assert len(html) < 150_000
    wires = [line for line in parsed(html).iter("line") if line.get("stroke") == "currentColor"]
    assert len(wires) == 24
    small = Circuit.builder(2).h(0).build()._repr_html_()
    assert "…" not in small


def test_states_show_their_figures() -> None:
    bell = qt.StatevectorEngine().prepare(BELL, NO_ANGLES)
    bars = [bar.find("title") for bar in parsed(bell._repr_html_()).iter("rect")]
    assert [bar.text for bar in bars if bar is not None] == ["00: 0.5", "01: 0", "10: 0", "11: 0.5"]
    state = qt.MPSEngine().prepare(Circuit.builder(3).h(0).cx(0, 1).build(), NO_ANGLES)
    shown = text_of(state._repr_html_())
    assert "left of qubit 1: 2" in shown
    assert "truncation_error" in shown


def test_showing_a_model_or_a_state_runs_no_circuit(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = [make() for make in EVERYTHING.values()]
    monkeypatch.setattr(qt.Engine, "prepare", lambda *_: pytest.fail("a circuit was run"))
    for each in shown:
        each._repr_html_()


def test_model_and_history_show_what_their_texts_say() -> None:
    assert "15 weights in 2 tensors" in text_of(model()._repr_html_())
    shown = text_of(history(3)._repr_html_())
    assert "80.00 %" in shown
    assert "60.00 to 80.00 %" in shown
    stopped = history(1)
    stopped.stopped_early = True
    assert "1, stopped early" in text_of(stopped._repr_html_())


def test_strange_values_are_escaped_and_left_out() -> None:
    assert text_of(_html.table("<a&b>", [("x<y", "1 & 2"), ("n", 12345)])).split() == [
        "<a&b>", "x<y", "1", "&", "2", "n", "12,345",
    ]  # fmt: skip
    assert parsed(_html.line([1.0, float("nan"), 2.0], "c")).find(".//polyline") is not None
    assert len(list(parsed(_html.line([1.0, float("nan")], "c")).iter("circle"))) == 1
    assert len(list(parsed(_html.bars([0.0, 0.0], "c")).iter("rect"))) == 2


def test_html_needs_neither_matplotlib_nor_ipython() -> None:
    code = (
        "import sys, torch, qtn_train as qt\n"
        "model = qt.QuantumTrain(torch.nn.Linear(2, 2), seed=0)\n"
        "model._repr_html_(), qt.ansatz.ry_cx_chain(2, 1)._repr_html_()\n"
        "print([name for name in ('matplotlib', 'IPython') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_bar_on_a_stream(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(3, 1, unit="step") as bar:
        bar.update()
    assert "1/3" in capsys.readouterr().err
    with progress_bar(3, unit="step", show=False) as bar:
        bar.update()
    assert capsys.readouterr().err == ""


CELLS = (
    "import time, torch, qtn_train as qt\n"
    "from qtn_train._progress import progress_bar\n"
    "with progress_bar(4, unit='step') as bar:\n"
    "    for _ in range(4):\n"
    "        time.sleep(0.3)\n"
    "        bar.set_postfix(loss='<1>')\n"
    "        bar.update()",
    "model = qt.QuantumTrain(torch.nn.Linear(4, 3), seed=0)\n"
    "qt.fit(model, qt.load_dataset('iris'), config=qt.FitConfig(epochs=2))",
    "qt.ansatz.ry_cx_chain(2, 1)",
    "from qtn_train import plots\nplots.entanglement([0.5, 1.0])",
)


class Watched(NotebookClient):
    """Keeps what outputs looked like before they were updated."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[str] = []

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] == "update_display_data":
            self.seen.append(msg["content"]["data"]["text/html"])
        return super().process_message(msg, cell, cell_index)


@pytest.mark.slow
def test_a_notebook_shows_bar_html_and_pictures_and_stores_no_stderr() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    client = Watched(notebook, timeout=300, kernel_name="python3")
    client.execute()
    assert any("<progress value='2' max='4'>" in seen and "2/4" in seen for seen in client.seen)
    assert any("loss=&lt;1&gt;" in seen for seen in client.seen)
    stored = [cell["outputs"] for cell in notebook["cells"]]
    assert [
        o for outputs in stored for o in outputs if o["output_type"] in ("stream", "error")
    ] == []
    empty = {"text/html": "", "text/plain": ""}
    assert stored[0][0]["data"] == stored[1][0]["data"] == empty
    assert stored[1][1]["data"]["text/plain"].startswith("History(2 epochs, test_accuracy=")
    assert "<polyline" in stored[1][1]["data"]["text/html"]
    assert stored[2][0]["data"]["text/plain"] == "Circuit(n_qubits=2, n_gates=3, n_angles=2)"
    assert "<svg" in stored[2][0]["data"]["text/html"]
    assert "image/png" in stored[3][0]["data"]
