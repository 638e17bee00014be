"""The keeper on a real Slurm: jobs without a worker, refusals in the middle, a queue that is away for a while."""

from __future__ import annotations

import asyncio
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Worker

from gadask.clusters.jobcluster import JobCluster
from gadask.errors import ClusterError
from tests.conftest import eventually
from tests.slurm.kept import DEAF, MACHINE, QUICK, arrive, for_ever, keep
from tests.slurm.local_slurm import MEMORY_MB, LocalSlurm

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_a_job_whose_worker_never_comes_is_cancelled(slurm: LocalSlurm, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"jobs die before they become nodes; the last was job \d+ on n1: CANCELLED"):
        keep(tmp_path, DEAF, for_ever, periods=replace(QUICK, silent_s=1.0))
    assert [job.state for job in slurm.jobs(ended=True)] == ["CANCELLED"]


def test_workers_that_do_not_reach_the_scheduler_are_told_from_jobs_that_wait(
    slurm: LocalSlurm, tmp_path: Path
) -> None:
    with pytest.raises(ClusterError, match=r"no node for 6 s: no worker of job \d+ reached the scheduler at tls://127"):
        keep(tmp_path, DEAF, for_ever, start_timeout_s=6)
    assert slurm.in_state("PENDING", "RUNNING") == []


def test_the_callers_own_error_is_not_changed(slurm: LocalSlurm, tmp_path: Path) -> None:
    async def fail(_: JobCluster) -> None:
        raise KeyError("mine") from ValueError("its cause")

    with pytest.raises(KeyError, match="mine") as caught:
        keep(tmp_path, DEAF, fail)
    assert str(caught.value.__cause__) == "its cause"
    assert slurm.in_state("PENDING", "RUNNING") == []


@pytest.mark.slow
def test_a_later_refusal_and_a_queue_that_is_away_do_not_end_the_run(
    slurm: LocalSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def told_of(what: str) -> None:
        await eventually(lambda: what in caplog.text, 60, f"told of {what!r}")

    async def upset(cluster: JobCluster) -> None:
        await arrive(cluster)
        slurm.call("scontrol", "update", "PartitionName=skylake", "State=INACTIVE")
        (job,) = slurm.in_state("RUNNING")
        slurm.call("scancel", job.id)
        await told_of("Required partition not available (inactive or drain)")
        slurm.call("scontrol", "update", "PartitionName=skylake", "State=UP")
        await arrive(cluster, n_lost=1)
        with monkeypatch.context() as patch:
            patch.setenv("SLURM_CONF", os.devnull)
            await told_of("the queue cannot be asked and will be asked again: squeue: ")
        assert cluster.counts().running == 1

    try:
        keep(tmp_path, MACHINE, upset)
    finally:
        slurm.call("scontrol", "update", "PartitionName=skylake", "State=UP")


def test_a_node_that_dies_again_and_again_ends_the_run(slurm: LocalSlurm, tmp_path: Path) -> None:
    async def kill(cluster: JobCluster) -> None:
        await arrive(cluster)
        killed: set[int] = set()

        def kill_running() -> None:
            for job in slurm.in_state("RUNNING"):
                if job.id not in killed:
                    killed.add(job.id)
                    slurm.call("scancel", job.id)

        await eventually(kill_running, 100, "the run's end, which cancels this")

    expected = (
        r"4 jobs died in 0\.0 node-hours, more than max_failures_per_node_hour = 4 allows; the last was job \d+ on"
    )
    with pytest.raises(ClusterError, match=expected):
        keep(tmp_path, MACHINE, kill)
    assert [job.state for job in slurm.jobs(ended=True)] == ["CANCELLED"] * 4


@pytest.mark.parametrize(
    ("memory", "asked", "granted"),
    [
        ("60MiB per core", "MinMemoryCPU=60M", "mem=1920M"),
        ("1GB", "MinMemoryNode=954M", "mem=954M"),
        ("all", "MinMemoryNode=0", f"mem={MEMORY_MB / 1024:.2f}G"),
        ("default", "MinMemoryNode=0", f"mem={MEMORY_MB / 1024:.2f}G"),  # here Slurm's own default
    ],
)
def test_a_job_has_the_memory_that_it_asks_for(
    slurm: LocalSlurm, tmp_path: Path, memory: str, asked: str, granted: str
) -> None:
    async def look(cluster: JobCluster) -> None:
        await arrive(cluster)
        (job,) = slurm.in_state("RUNNING")
        shown = slurm.call("scontrol", "show", "job", job.id)
        assert asked in shown
        assert granted in shown

    keep(tmp_path, replace(MACHINE, cores=32, memory=memory), look)


def test_too_little_memory_is_named(slurm: LocalSlurm, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def kill(dask_worker: Worker) -> None:
        dask_worker.metrics["memory_kills"] = lambda _: 3

    async def full(cluster: JobCluster) -> None:
        await arrive(cluster)
        await cluster.client.run(kill)
        while "are killed" not in caplog.text:
            await asyncio.sleep(0.1)
        (job,) = slurm.in_state("RUNNING")
        told = f"processes of job {job.id} on n1 are killed: its memory is too little (1GB); a larger --machine.memory"
        assert told in caplog.text
        slurm.call("scancel", job.id)
        await arrive(cluster, n_lost=1)
        assert re.search(rf"job {job.id} on n1: CANCELLED after \d+ s; its memory is too little", caplog.text)
        assert caplog.text.count("are killed") == 1

    keep(tmp_path, MACHINE, full)


def test_while_the_master_stood_still_no_node_was_missed(
    slurm: LocalSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, stood_still_s = time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: clock() + stood_still_s)

    async def stand_still(cluster: JobCluster) -> None:
        nonlocal stood_still_s
        await eventually(lambda: cluster.counts().pending_reason, 60, "a job that waits")
        stood_still_s = 3600.0
        slurm.call("scancel", slurm.wait_for(1, "PENDING")[0].id)
        await eventually(lambda: cluster.counts().lost == 1, 60, "its end")
        await eventually(lambda: slurm.in_state("PENDING"), 60, "another job")

    keep(tmp_path, replace(MACHINE, partition="closed"), stand_still, start_timeout_s=600)
