"""The package's metadata, the pinned versions and the conda environment say the same thing."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import yaml
from build import ProjectBuilder
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import qtn_train
from qtn_train.data import stored_result
from qtn_train.errors import DataError

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

#: Names that conda-forge gives to packages of another name.
CONDA_NAMES = {"pytorch": "torch", "python-build": "build"}

#: What constraints.txt leaves open: the installer's own, and what torch brings for CUDA.
UNPINNED = re.compile(r"setuptools|pip|triton|nvidia-.*|cuda-.*")


def declared() -> dict[str, SpecifierSet]:
    """Every requirement of the core and of all extras but `all`, by name."""
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"]]
    lines += [line for extra, group in extras.items() if extra != "all" for line in group]
    return {canonicalize_name(r.name): r.specifier for r in map(Requirement, lines)}


def pins(file: str = "constraints.txt") -> dict[str, Version]:
    """Every line of a file of pins, which must all read name==version."""
    found: dict[str, Version] = {}
    for line in (ROOT / file).read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            found[name] = Version(version)
    return found


def pins_of_this_environment() -> dict[str, Version]:
    """Those of `make lowest` where each requirement is installed at its lowest version."""
    lowest = pins("constraints-lowest.txt")
    is_lowest = all(
        metadata.version(name).split("+")[0] == str(lowest[name]) for name in declared()
    )
    return lowest if is_lowest else pins()


def closure() -> dict[str, list[Requirement]]:
    """Everything that `qtn_train[all]` needs on this machine: who is asked for, and how."""
    asked: dict[str, list[Requirement]] = {}
    todo = [Requirement("qtn_train[all]")]
    seen: set[tuple[str, str]] = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        asked.setdefault(name, []).append(requirement)
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for line in metadata.requires(name) or []:
                child = Requirement(line)
                if child.marker is None or child.marker.evaluate({"extra": extra}):
                    todo.append(child)
    return asked


def test_environment_yml_asks_for_what_pyproject_asks_for() -> None:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (from_pip,) = [entry["pip"] for entry in listed if isinstance(entry, dict)]
    from_conda = [entry for entry in listed if isinstance(entry, str)]
    requirements = [Requirement(line) for line in from_conda + from_pip]
    found = {CONDA_NAMES.get(r.name, canonicalize_name(r.name)): r.specifier for r in requirements}
    assert found.pop("python") == SpecifierSet(PROJECT["requires-python"])
    assert found.pop("pip") == SpecifierSet()
    assert found == declared()
    assert len(requirements) == len(found) + 2, "a requirement is listed twice"


def test_constraints_pin_each_dependency_inside_its_range() -> None:
    pinned = pins()
    wrong = {
        name: f"{pinned.get(name)} for {wanted}"
        for name, wanted in declared().items()
        if name not in pinned or pinned[name] not in wanted
    }
    assert wrong == {}


def test_lowest_constraints_are_the_lowest_versions_of_the_ranges() -> None:
    """`make lowest` tests these; a bound that no release has would be no bound."""
    pinned = pins("constraints-lowest.txt")
    assert list(pinned) == sorted(pinned)
    wrong = {
        name: f"{pinned.get(name)} for {wanted}"
        for name, wanted in declared().items()
        if [pinned.get(name)] != [Version(bound.version) for bound in wanted]
    }
    assert wrong == {}


def test_a_hybrid_job_asks_for_the_core_and_braket() -> None:
    lines = (ROOT / "qtn_train" / "requirements.txt").read_text().splitlines()
    braket = PROJECT["optional-dependencies"]["braket"]
    found = [line for line in lines if not line.startswith("#")]
    assert found == [*PROJECT["dependencies"], *braket]


def test_constraints_are_sorted_and_carry_no_local_versions() -> None:
    pinned = pins()
    assert list(pinned) == sorted(pinned)
    assert [name for name, version in pinned.items() if version.local] == []
    assert [name for name in pinned if UNPINNED.fullmatch(name)] == []


def test_all_names_every_other_extra() -> None:
    extras = PROJECT["optional-dependencies"]
    (everything,) = map(Requirement, extras["all"])
    assert everything.name == PROJECT["name"]
    assert everything.extras == set(extras) - {"all"}


def test_all_extras_fit_into_one_environment() -> None:
    # `make test` installs every extra; here each requirement of the whole tree is checked.
    wrong = [
        f"{name} {metadata.version(name)} for {requirement}"
        for name, requirements in closure().items()
        for requirement in requirements
        if not requirement.specifier.contains(metadata.version(name), prereleases=True)
    ]
    assert wrong == []


def test_constraints_pin_the_whole_tree() -> None:
    pinned = pins_of_this_environment()
    needed = set(closure()) - {"qtn-train"}
    assert sorted(n for n in needed if n not in pinned and not UNPINNED.fullmatch(n)) == []


def test_installed_metadata_is_that_of_this_tree() -> None:
    assert metadata.version("qtn-train") == PROJECT["version"], "run `make test` to reinstall"
    scripts = metadata.entry_points(group="console_scripts", name="qtn-train")
    assert [script.value for script in scripts] == ["qtn_train.cli:main"]


def test_version_stands_in_one_place() -> None:
    literal = re.compile(r"""__version__\s*(:\s*str\s*)?=\s*["']""")
    package = ROOT / "qtn_train"
    assert [path for path in package.rglob("*.py") if literal.search(path.read_text())] == []
    assert getattr(qtn_train, "__version__", PROJECT["version"]) == PROJECT["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_citation_is_of_this_version_and_license() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


@pytest.mark.parametrize("name", ["py.typed", "_data/mnist_mini.bz2"])
def test_files_that_are_not_code_are_in_the_package(name: str) -> None:
    assert (ROOT / "qtn_train" / name).is_file()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree without the network."""
    out = tmp_path_factory.mktemp("dist")
    return Path(ProjectBuilder(ROOT).build("wheel", out))


@pytest.mark.slow
def test_the_wheel_holds_code_results_and_tutorials(wheel: Path, tmp_path: Path) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path)
        (described,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata_of_it = Metadata.from_email(archive.read(described), validate=True)
    assert metadata_of_it.description_content_type == "text/markdown"
    tracked = [path for path in (ROOT / "qtn_train").rglob("*.py") if "_pycache_" not in str(path)]
    assert {str(path.relative_to(ROOT)) for path in tracked} <= names
    folders = (("tutorials", "tutorials", "ipynb"), ("results", "docs/results", "json"))
    for kind, folder, ending in folders:
        wanted = {f"qtn_train/_data/{kind}/{p.name}" for p in (ROOT / folder).glob(f"*.{ending}")}
        assert wanted
        assert wanted <= names
    # Imported from there, not from the checkout: the command line copies what it holds.
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-m", "qtn_train", "tutorials", "copied", "--json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(ran.stdout)["tutorials"] == sorted(
        path.name for path in (ROOT / "tutorials").glob("*.ipynb")
    )
    told = "import qtn_train.data as d; print(d.shipped('results'))"
    ran = subprocess.run(
        [sys.executable, "-c", told], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(ran.stdout.strip()) == tmp_path / "qtn_train" / "_data" / "results"


def test_what_ships_is_found_and_what_does_not_is_told() -> None:
    assert stored_result("iris")["rows"]
    with pytest.raises(DataError, match=r"^`name` must be one of accuracy, .*; got 'iri'\."):
        stored_result("iri")


def test_every_stored_result_names_a_command_that_exists() -> None:
    for path in sorted((ROOT / "docs" / "results").glob("*.json")):
        words = json.loads(path.read_text())["command"].split()
        if words[:2] == ["python", "-m"]:
            module = ROOT / words[2].replace(".", "/")
            found = module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()
            assert found, f"{path.name}: {words}"
        else:
            assert words[0] == "qtn-train", f"{path.name}: {words}"
