"""``engine="auto"`` is held against measured times of three engines: docs/results/engines.json."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.engines import ENGINES, Case, cases, chosen, ratio
from qtn_train.engines import _auto

ROWS = json.loads((Path(__file__).parents[2] / "docs/results/engines.json").read_text())["rows"]

#: The share of the cases in which the choice takes at most twice as long as the fastest engine.
SHARE = 0.9


def case_of(row: dict[str, Any]) -> Case:
    return Case(*(row[name] for name in Case.__match_args__))


def test_the_table_holds_the_cases_that_the_command_measures() -> None:
    assert len(ROWS) >= 60
    assert {case_of(row) for row in ROWS} <= set(cases())
    for name in ENGINES:
        assert sum(row[f"{name}_s"] is not None for row in ROWS) > len(ROWS) / 3
        fastest = [row for row in ROWS if ratio({**row, "chosen": name}) == 1]
        assert len(fastest) >= 5, f"{name} is hardly ever the fastest: the table decides nothing"


def test_the_stored_choice_is_within_a_factor_of_two_of_the_fastest() -> None:
    assert sum(ratio(row) <= 2 for row in ROWS) >= SHARE * len(ROWS)


@pytest.mark.slow
def test_the_choice_is_within_a_factor_of_two_of_the_fastest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_auto, "memory_bytes", lambda: 16 * 2**30)
    ratios = [ratio(row | {"chosen": chosen(case_of(row))}) for row in ROWS]
    assert sum(one <= 2 for one in ratios) >= SHARE * len(ROWS)


def test_the_choice_today_is_the_stored_one_where_it_is_quick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_auto, "memory_bytes", lambda: 16 * 2**30)
    quick = [row for row in ROWS if row["n_qubits"] <= 13 and row["request"] in ("all", "z")]
    assert len(quick) > 8
    assert [chosen(case_of(row)) for row in quick] == [row["chosen"] for row in quick]


def test_a_forward_pass_alone_costs_less() -> None:
    one = case_of(ROWS[0])
    both, forward = (_auto.Request(64, gradient=gradient) for gradient in (True, False))
    for engine in (_auto.statevector_estimate, _auto.mps_estimate, _auto.contraction_estimate):
        more, less = engine(one.circuit(), both), engine(one.circuit(), forward)
        assert more is not None
        assert less is not None
        assert less.seconds < 0.5 * more.seconds
