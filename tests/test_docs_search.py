"""What people ask is found by the search of the built pages, among its first three hits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sphinx", reason="the docs extra is not installed")

from sphinx.search.en import SearchEnglish

DOCS = Path(__file__).parents[1] / "docs"
INDEX = DOCS / "_build" / "html" / "searchindex.js"

# The scores of docs/_static/search_scorer.js.
TITLE, PARTIAL_TITLE, TERM, PARTIAL_TERM, HEADING = 15, 7, 5, 2, 20
BONUS = {"faq": 4, "howto": 3, "start": 2, "theory": 2, "tutorials": 1, "changelog": -9}

#: What is typed, and a page that answers it.
QUESTIONS = [
    ("how long will it take", "faq"),
    ("how many layers", "faq"),
    ("how many qubits", "howto/qubits-and-depth"),
    ("truncation error", "howto/read-the-truncation-error"),
    ("is a truncation error of 0.3 bad", "faq"),
    ("which device", "faq"),
    ("price", "faq"),
    ("choose an engine", "howto/choose-an-engine"),
    ("resume", "howto/resume"),
    ("gpu", "howto/use-a-gpu"),
    ("qiskit", "howto/from-qiskit"),
    ("pennylane", "howto/from-pennylane"),
    ("why is the loss stuck", "faq"),
    ("how do I cite it", "faq"),
    ("own network", "faq"),
    ("barren plateau", "tutorials/04_large_qubit_studies"),
    ("run on a device", "howto/run-on-a-device"),
    ("how many layers and numbers", "faq"),
    ("what does it cost", "howto/run-on-a-device"),
    ("your own data", "howto/your-own-data"),
    ("csv", "howto/your-own-data"),
    ("image folder", "tutorials/13_your_own_data"),
    ("tokens", "howto/your-own-data"),
    ("regression", "howto/your-own-data"),
    ("one output", "howto/your-own-data"),
    ("pretrained network", "howto/your-own-data"),
    ("early stopping", "howto/your-own-data"),
    ("tensorboard", "howto/your-own-data"),
    ("DataLoader", "howto/your-own-data"),
    ("validation", "howto/your-own-data"),
    ("state_dict", "faq"),
    ("onnx", "faq"),
    ("own ansatz", "howto/your-own-data"),
    ("own observable", "howto/observables"),
    ("entropy", "howto/observables"),
    ("hamiltonian", "howto/observables"),
    ("density matrix", "howto/observables"),
    ("correlation function", "howto/observables"),
    ("lattice", "howto/studies"),
    ("credentials", "howto/first-run-on-braket"),
    ("permissions", "howto/first-run-on-braket"),
    ("policy", "howto/first-run-on-braket"),
    ("account", "howto/first-run-on-braket"),
    ("bucket", "howto/first-run-on-braket"),
    ("install", "start"),
    ("nan", "faq"),
    ("slow", "faq"),
    ("cluster", "howto/cluster"),
    ("add an ansatz", "contributing"),
    ("add a measurement", "contributing"),
    ("gallery", "gallery"),
]


@pytest.fixture(scope="module")
def index() -> dict[str, Any]:
    """The stored index of the pages, where `make docs` has built them since they were changed."""
    if not INDEX.exists():
        pytest.skip("needs the built pages: make docs")
    pages = [p for p in DOCS.rglob("*.md") if "_build" not in p.parts]
    if max(page.stat().st_mtime for page in pages) > INDEX.stat().st_mtime:
        pytest.skip("the pages were changed after they were built: make docs")
    text = INDEX.read_text(encoding="utf-8")
    read: dict[str, Any] = json.loads(text[text.index("(") + 1 : text.rindex(")")])
    return read


def found(index: dict[str, Any], query: str) -> list[str]:
    """The pages that the search lists for a query, the best first: searchtools.js, in Python."""
    language = SearchEnglish({})
    words = re.findall(r"\w+", query.lower())
    terms = {language.stem(word) for word in words if word not in language.stopwords}
    hits = list(_by_title(index, query.lower().strip()))
    matches: dict[int, dict[str, int]] = {}
    for term in terms:
        for file, score in _by_term(index, term):
            matches.setdefault(file, {})[term] = score
    wanted = {len(terms), sum(len(term) > 2 for term in terms)}
    hits += [(file, max(one.values())) for file, one in matches.items() if len(one) in wanted]
    best: dict[str, int] = {}
    for file, score in hits:
        name = index["docnames"][file]
        best[name] = max(best.get(name, -100), score + BONUS.get(name.split("/")[0], 0))
    titles = dict(zip(index["docnames"], index["titles"], strict=True))
    return sorted(best, key=lambda name: (-best[name], titles[name].lower()))


def _by_title(index: dict[str, Any], query: str) -> Iterator[tuple[int, int]]:
    for title, places in index["alltitles"].items():
        if query in title.lower() and len(query) >= len(title) / 2:
            for file, _ in places:
                boost = index["titles"][file] == title
                yield file, HEADING + round(TITLE * len(query) / len(title)) + boost


def _by_term(index: dict[str, Any], term: str) -> Iterator[tuple[int, int]]:
    whole = term in index["terms"] or term in index["titleterms"]
    for table, score, partly in (
        ("terms", TERM, PARTIAL_TERM),
        ("titleterms", TITLE, PARTIAL_TITLE),
    ):
        known = index[table]
        keys = [term] if whole else [key for key in known if len(term) > 2 and term in key]
        for key in keys:
            files = known.get(key, [])
            for file in [files] if isinstance(files, int) else files:
                yield file, score if whole else partly


def test_the_scores_are_those_of_the_page() -> None:
    text = (DOCS / "_static" / "search_scorer.js").read_text()
    written = dict(re.findall(r"(\w+): (-?\d+)", text))
    assert {name: int(written[name]) for name in BONUS} == BONUS
    names = ("title", "partialTitle", "term", "partialTerm")
    assert [int(written[name]) for name in names] == [TITLE, PARTIAL_TITLE, TERM, PARTIAL_TERM]
    assert f'kind === "title" ? {HEADING} : 0' in text


@pytest.mark.parametrize(("query", "page"), QUESTIONS, ids=[query for query, _ in QUESTIONS])
def test_a_question_is_answered_among_the_first_three(
    index: dict[str, Any], query: str, page: str
) -> None:
    hits = found(index, query)[:3]
    assert page in hits, f"{query!r} leads to {hits}"


def test_what_stands_nowhere_is_not_found(index: dict[str, Any]) -> None:
    assert found(index, "zeppelin qubits") == []
