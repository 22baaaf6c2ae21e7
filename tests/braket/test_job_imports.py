"""A hybrid job's code imports nothing but what its requirements file brings."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

pytest.importorskip("braket.jobs", reason="the braket extra is not installed")

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]

_RUN = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec

def without(name, path=None, target=None):
    return None if path is None and name in REFUSED else find(name, path, target)

PathFinder.find_spec = without
from qtn_train.braket_job import main

main()
"""


def brought() -> set[str]:
    """The distributions that the file brings, those that they need included."""
    lines = (ROOT / "qtn_train" / "requirements.txt").read_text().splitlines()
    todo = [Requirement(line) for line in lines if not line.startswith("#")]
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    while todo:
        asked = todo.pop()
        name = canonicalize_name(asked.name)
        for extra in {"", *asked.extras} - {one for n, one in seen if n == name}:
            seen.add((name, extra))
            for line in metadata.requires(name) or []:
                child = Requirement(line)
                if child.marker is None or child.marker.evaluate({"extra": extra}):
                    todo.append(child)
        found.add(name)
    return found


@pytest.mark.slow
def test_a_job_imports_what_its_requirements_file_brings(tmp_path: Path) -> None:
    """``make job`` does the same in an environment of that file alone."""
    allowed = brought()
    refused = sorted(
        module
        for module, owners in metadata.packages_distributions().items()
        if not allowed & {canonicalize_name(one) for one in owners}
        and module not in ("qtn_train", "_distutils_hack", "setuptools", "pkg_resources")
    )
    assert {"pytest", "pandas", "distributed"} <= set(refused)
    assert not {"torch", "braket", "quimb", "typer"} & set(refused)
    given = {"dataset": "iris", "shots": "50", "layers": "1", "epochs": "1"}
    (tmp_path / "hp.json").write_text(json.dumps(given))
    job = {
        "JOB_NAME": "job",
        "DEVICE_ARN": "local:none/none",
        "HP_FILE": str(tmp_path / "hp.json"),
        "CHECKPOINT_DIR": str(tmp_path),
        "JOB_RESULTS_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", f"REFUSED = {refused!r}\n{_RUN}"],
        cwd=ROOT,
        env={**os.environ, **{f"AMZN_BRAKET_{name}": value for name, value in job.items()}},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((tmp_path / "results.json").read_text())
    assert len(result["dataDictionary"]["epochs"]) == 1
