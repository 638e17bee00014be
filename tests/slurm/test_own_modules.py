"""Modules in the folder where a command is called are found on the nodes of a real Slurm."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gadask.record.directory import read_generations
from gadask.shipped import ALLOCATION
from tests.conftest import wait_until
from tests.own_modules import SMALL, called, own_folder
from tests.slurm.local_slurm import LocalSlurm
from tests.slurm.runs import write_files

pytestmark = pytest.mark.usefixtures("no_leaks")

FLAGS = ("own_task.toml", *SMALL, "--no-pictures", "--rollouts-per-node", "1")


def test_on_nodes_that_are_jobs(slurm: LocalSlurm, tmp_path: Path) -> None:
    write_files(own_folder(tmp_path))
    called(tmp_path, "run", *FLAGS, "--cluster", "slurm", "--machine", "machine.toml")
    assert len([*read_generations(tmp_path / "run")]) == 2


def test_in_an_allocation(slurm: LocalSlurm, tmp_path: Path) -> None:
    own_folder(tmp_path)
    number = slurm.call(
        *("sbatch", "--parsable", f"--chdir={tmp_path}", f"--output={tmp_path}/output", "--time=10"),
        f"--export=ALL,GADASK_PYTHON={sys.executable},PYTHONPATH=",
        *(ALLOCATION, *FLAGS, "--machine.interface", "lo"),
    )

    def is_over() -> bool:
        (state,) = [job.state for job in slurm.jobs(ended=True) if job.id == int(number)]
        return state in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")

    wait_until(is_over, 200, "the job has ended")
    output = (tmp_path / "output").read_text()
    assert len([*read_generations(tmp_path / "run")]) == 2, output
