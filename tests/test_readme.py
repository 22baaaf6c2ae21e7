"""What the README shows, works."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_example_prints_what_the_readme_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 8
    names: dict[str, object] = {}
    exec(example, names)  # the example is ours
    assert type(names["net"]).__module__.startswith("torch.nn")
    pattern = r"(\d\.\d{3}): (\d+) weights, (\d+) numbers"
    (said,) = re.findall(pattern, README)
    (printed,) = re.findall(pattern, capsys.readouterr().out)
    assert printed[1:] == said[1:]
    assert abs(float(printed[0]) - float(said[0])) < 0.05  # one test flower of 30 is 0.033


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z]+)", README))
    assert {"demo", "test"} <= named <= targets


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def stored_spreads() -> list[tuple[float, float]]:
    """Each mean with its deviation that stands in docs/results."""
    names = {"mean": "deviation", "train": "train_deviation"}
    rows = [
        row
        for path in (ROOT / "docs" / "results").glob("*.json")
        for row in json.loads(path.read_text())["rows"]
    ]
    return [(row[a], row[b]) for row in rows for a, b in names.items() if {a, b} <= set(row)]


@pytest.mark.parametrize("page", ["README.md", "docs/accuracies.md", "docs/theory/recipe.md"])
def test_every_mean_with_a_spread_is_a_stored_result(page: str) -> None:
    found = re.findall(r"(\d+\.\d+) ± (\d+\.\d+)", (ROOT / page).read_text())
    assert found
    stored = stored_spreads()
    for written in found:
        digits = [len(number.partition(".")[2]) for number in written]
        rounded = {tuple(f"{v:.{d}f}" for v, d in zip(p, digits, strict=True)) for p in stored}
        assert written in rounded, f"{written[0]} ± {written[1]} stands in no file of docs/results"
