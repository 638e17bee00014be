"""A node that Slurm suspends: it keeps its connections open and answers nothing."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from gadask.clusters.base import DASK_CONFIG
from gadask.clusters.jobcluster import JobCluster
from gadask.config import load_config
from gadask.master import nodes
from gadask.master.evolve import evolve
from tests.conftest import eventually
from tests.slurm.kept import MACHINE, arrive, keep
from tests.slurm.local_slurm import LocalSlurm
from tests.slurm.runs import command, environment, parents, write_files

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.mark.slow
def test_a_suspended_node_holds_nothing_up_and_plays_on_when_it_is_let_go(
    slurm: LocalSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(DASK_CONFIG, "distributed.scheduler.worker-ttl", None)  # or Dask would help in the end
    monkeypatch.setattr(nodes, "_RENEW_S", 1.0)
    monkeypatch.setattr(nodes, "_LATE_ANSWER_S", 2.0)
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    write_files(tmp_path, generations=6)

    async def suspend(cluster: JobCluster) -> None:
        await arrive(cluster, n_nodes=2)
        first, _ = slurm.in_state("RUNNING")
        config = load_config(tmp_path / "config.toml")
        async with asyncio.timeout(240):
            async for generation in evolve(config, cluster.client, tmp_path / "run", n_processes=1):
                if generation.number == 0:
                    slurm.call("scontrol", "suspend", first.id)
                elif generation.number == 2:
                    assert [job.id for job in slurm.in_state("SUSPENDED")] == [first.id]
                    await eventually(lambda: f"job {first.id} on {first.node} is SUSPENDED" in caplog.text, 60, "told")
                    slurm.call("scontrol", "resume", first.id)
        assert cluster.counts().lost == 0

    keep(tmp_path / "cluster", MACHINE, suspend, n_nodes=2)
    assert caplog.text.count("is SUSPENDED") == 1
    here = subprocess.run(command(tmp_path, run="here"), env=environment(), capture_output=True, text=True, check=False)
    assert here.returncode == 0, here.stderr
    assert parents(tmp_path / "run") == parents(tmp_path / "here")
    assert slurm.in_state("PENDING", "RUNNING", "SUSPENDED") == []
