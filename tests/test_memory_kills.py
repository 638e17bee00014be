"""The kernel's count of processes that were killed for want of memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from distributed import Worker

from gadask.clusters.local import local_cluster
from gadask.master.task import prepare_task
from gadask.node.memory_kills import memory_kills
from gadask.node.plugin import NodePlugin
from tests.conftest import faulty_config

V1 = "11:cpuset:/slurm/job_7\n4:memory:/slurm/uid_0/job_7/step_batch\n1:name=systemd:/\n"
V2 = "0::/system.slice/slurmstepd.scope/job_7/step_batch/user/task_0\n"


@pytest.mark.parametrize(
    ("own", "file", "text"),
    [
        (V1, "memory/slurm/uid_0/job_7/step_batch/memory.oom_control", "under_oom 0\noom_kill 4\n"),
        (V2, f"{V2[4:-1]}/memory.events", "oom 9\noom_kill 4\noom_group_kill 0\n"),
    ],
)
def test_the_kills_of_a_job_are_counted(tmp_path: Path, own: str, file: str, text: str) -> None:
    (tmp_path / "own").write_text(own)
    assert memory_kills(tmp_path / "mount", tmp_path / "own") == 0
    path = tmp_path / "mount" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert memory_kills(tmp_path / "mount", tmp_path / "own") == 4


def test_a_machine_without_control_groups_of_jobs_counts_none(tmp_path: Path) -> None:
    assert memory_kills(tmp_path, tmp_path / "none") == 0
    (tmp_path / "own").write_text("0::/user.slice\n")
    (tmp_path / "user.slice").mkdir()
    (tmp_path / "user.slice" / "memory.events").write_text("oom_kill 4\n")
    assert memory_kills(tmp_path, tmp_path / "own") == 0


@pytest.mark.usefixtures("no_leaks")
def test_a_node_tells_of_them_with_its_heartbeat() -> None:
    async def told() -> object:
        def metrics(dask_worker: Worker) -> object:
            return dask_worker.metrics["memory_kills"](dask_worker)

        async with local_cluster(1) as cluster:
            await cluster.client.register_plugin(NodePlugin(prepare_task(faulty_config()).noise, 1))
            (found,) = (await cluster.client.run(metrics)).values()
            return found

    assert asyncio.run(told()) == memory_kills()
