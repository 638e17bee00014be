"""A cluster of one node or a few that is kept in this process, with short periods."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from gadask.clusters.jobcluster import JobCluster, job_cluster
from gadask.clusters.kinds import queues
from gadask.clusters.machine import Machine
from gadask.clusters.periods import Periods
from gadask.clusters.slurm import Slurm
from gadask.clusters.wanted import Wanted
from tests.conftest import eventually

MACHINE = Machine(memory="1GB", interface="lo", poll_s=0.5)
DEAF = replace(MACHINE, preamble=("exec sleep inf",))
QUICK = Periods(soon_s=0.5, absence_s=1.0, submit_again_s=1.0)


def keep(
    folder: Path,
    machine: Machine | Sequence[Wanted],
    meanwhile: Callable[[JobCluster], Awaitable[None]],
    start_timeout_s: float = 100,
    periods: Periods = QUICK,
    n_nodes: int = 1,
) -> None:
    """Have nodes kept while `meanwhile` runs: `n_nodes` of a machine, or those of several."""
    wanted = [Wanted(machine, n_nodes)] if isinstance(machine, Machine) else machine

    async def opened() -> None:
        async with job_cluster(
            Slurm(), queues(), wanted, folder=folder, start_timeout_s=start_timeout_s, periods=periods
        ) as cluster:
            await meanwhile(cluster)

    asyncio.run(opened())


async def for_ever(_: JobCluster) -> None:
    await asyncio.sleep(1000)


async def arrive(cluster: JobCluster, n_lost: int = 0, n_nodes: int = 1) -> None:
    def arrived() -> bool:
        counts = cluster.counts()
        return counts.running >= n_nodes and counts.lost >= n_lost

    await eventually(arrived, 100, f"{n_nodes} nodes, {n_lost} lost")
