"""The keeper on a real Slurm: jobs without a worker, refusals in the middle, a queue that is away for a while."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gadask.clusters import keeper
from gadask.clusters.slurm import Slurm, slurm_cluster
from gadask.errors import ClusterError
from gadask.machine import Machine
from tests.conftest import eventually
from tests.slurm.local_slurm import LocalSlurm

pytestmark = pytest.mark.usefixtures("no_leaks")

MACHINE = Machine(memory="1GB", interface="lo")
DEAF = Machine(memory="1GB", interface="lo", preamble=("exec sleep inf",))


def keep(
    folder: Path, machine: Machine, meanwhile: Callable[[Slurm], Awaitable[None]], start_timeout_s: float = 100
) -> None:
    """Have one node kept while `meanwhile` runs."""

    async def opened() -> None:
        async with slurm_cluster(machine, 1, folder=folder, start_timeout_s=start_timeout_s) as cluster:
            await meanwhile(cluster)

    asyncio.run(opened())


async def for_ever(_: Slurm) -> None:
    await asyncio.sleep(1000)


async def arrive(cluster: Slurm, n_lost: int = 0) -> None:
    def arrived() -> bool:
        counts = cluster.counts()
        return counts.running >= 1 and counts.lost >= n_lost

    await eventually(arrived, 100, f"a node, {n_lost} lost")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "_POLL_S", 0.5)


def test_a_job_whose_worker_never_comes_is_cancelled(
    slurm: LocalSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_SILENT_S", 1.0)
    with pytest.raises(ClusterError, match=r"jobs die before they become nodes; the last was job \d+ on n1: CANCELLED"):
        keep(tmp_path, DEAF, for_ever)
    assert [job.state for job in slurm.jobs(ended=True)] == ["CANCELLED"]


def test_workers_that_do_not_reach_the_scheduler_are_told_from_jobs_that_wait(
    slurm: LocalSlurm, tmp_path: Path
) -> None:
    with pytest.raises(ClusterError, match=r"no node for 6 s: no worker of job \d+ reached the scheduler at tls://127"):
        keep(tmp_path, DEAF, for_ever, start_timeout_s=6)
    assert slurm.in_state("PENDING", "RUNNING") == []


def test_the_callers_own_error_is_not_changed(slurm: LocalSlurm, tmp_path: Path) -> None:
    async def fail(_: Slurm) -> None:
        raise KeyError("mine") from ValueError("its cause")

    with pytest.raises(KeyError, match="mine") as caught:
        keep(tmp_path, DEAF, fail)
    assert str(caught.value.__cause__) == "its cause"
    assert slurm.in_state("PENDING", "RUNNING") == []


@pytest.mark.slow
def test_a_later_refusal_and_a_queue_that_is_away_do_not_end_the_run(
    slurm: LocalSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeper, "_SUBMIT_AGAIN_S", 1.0)

    async def told_of(what: str) -> None:
        await eventually(lambda: what in caplog.text, 60, f"told of {what!r}")

    async def upset(cluster: Slurm) -> None:
        await arrive(cluster)
        slurm.call("scontrol", "update", "PartitionName=skylake", "State=INACTIVE")
        (job,) = slurm.in_state("RUNNING")
        slurm.call("scancel", job.id)
        await told_of("Required partition not available (inactive or drain)")
        slurm.call("scontrol", "update", "PartitionName=skylake", "State=UP")
        await arrive(cluster, n_lost=1)
        with monkeypatch.context() as patch:
            patch.setenv("SLURM_CONF", os.devnull)
            await told_of("the queue cannot be asked, which is tried again: squeue: ")
        assert cluster.counts().running == 1

    try:
        keep(tmp_path, MACHINE, upset)
    finally:
        slurm.call("scontrol", "update", "PartitionName=skylake", "State=UP")


def test_a_node_that_dies_again_and_again_ends_the_run(slurm: LocalSlurm, tmp_path: Path) -> None:
    async def kill(cluster: Slurm) -> None:
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
