"""The how-to on clusters: its SLURM configuration renders the job that it describes."""

import re
from pathlib import Path
from typing import Any

import pytest

HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "cluster.md"


def test_the_slurm_job_is_what_the_text_says(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", HOWTO.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    # Nothing here listens beyond this machine, nor on a port that may be taken.
    local = 'scheduler_options={"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"},'
    # Importing dask_jobqueue takes over Ctrl-C.
    monkeypatch.setattr("signal.signal", lambda *_: None)
    exec(code.replace('    memory="32GB",', f'    memory="32GB",\n    {local}'), names)
    with names["cluster"] as cluster:
        lines = cluster.job_script().splitlines()
    assert "#SBATCH --cpus-per-task=8" in lines
    assert "#SBATCH --mem=30G" in lines
    assert "#SBATCH -t 04:00:00" in lines
    assert "export NUMBA_NUM_THREADS=1" in lines
    assert "distributed.cli.dask_worker tcp://" in lines[-1]
    assert "--nthreads 1 " in lines[-1]
    assert "--nworkers 8 " in lines[-1]
