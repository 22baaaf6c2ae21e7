"""A fixed part of the randomized faults; ``make faults`` makes a thousand.

In a process of its own: it forks, and this one has threads.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("braket.aws", reason="the braket extra is not installed")


@pytest.mark.slow
def test_runs_that_are_killed_and_answered_with_errors_pay_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.braket.faults", "--runs", "60", "--seed", "4"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    expected = r"60 runs equal the quiet ones; (\d+) kills, (\d+) copied journals, (\d+) faults"
    found = re.match(expected, done.stdout)
    assert found, done.stdout
    kills, copies, faults = map(int, found.groups())
    assert kills >= 5
    assert copies >= 1
    assert faults >= 30
