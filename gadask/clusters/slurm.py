"""Nodes from Slurm's queue, asked for by dask-jobqueue from a login node, where scheduler and master run.

The folder of a cluster is on a file system that all nodes see. It holds the keys, which go at the end, and the job
script and logs, which stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import dask
from distributed import Client, Status

from gadask.clusters.base import (
    DASK_CONFIG,
    Cluster,
    NodeCounts,
    allow_connections,
    dashboard_address,
    meanwhile,
    start,
)
from gadask.clusters.jobqueue import NodeCluster, Submissions, job_options, job_script
from gadask.clusters.keeper import Keeper
from gadask.clusters.queue import cancel, check_commands, job_states
from gadask.clusters.security import locked_folder, temporary_keys
from gadask.dashboard.page import install, remember
from gadask.errors import ClusterError
from gadask.machine import Machine

_logger = logging.getLogger(__name__)

_CANCEL_S = 30.0
_CANCEL_POLL_S = 0.5


class Slurm(Cluster):
    """Nodes from Slurm's queue."""

    def __init__(self, client: Client, keeper: Keeper, dashboard: str) -> None:
        """Describe a cluster that runs."""
        self.client = client
        self.dashboard = dashboard
        self._keeper = keeper

    def counts(self) -> NodeCounts:
        """Return how the cluster stands now."""
        return self._keeper.counts()


@asynccontextmanager
async def slurm_cluster(
    machine: Machine, n_nodes: int, *, folder: Path, start_timeout_s: float
) -> AsyncIterator[Slurm]:
    """Ask for `n_nodes` nodes and keep them coming; yields as soon as they are asked for.

    Raises `RunDirectoryError` if another master uses the folder; `ClusterError`, also in the middle of what the caller
    awaits: if jobs cannot be submitted or are refused, if they die faster than the machine allows, or if there is no
    node for `start_timeout_s`. No job is left in the queue.
    """
    check_commands()
    allow_connections(n_nodes)
    # What becomes of a lost worker's job is the keeper's to decide, who knows the queue.
    config = {**DASK_CONFIG, "distributed.deploy.lost-worker-timeout": "1000 days"}
    with (
        locked_folder(folder),
        temporary_keys(folder) as security,
        dask.config.set(config),
        _no_word_of_lost_parents(),
    ):
        record = folder / "jobs.txt"
        earlier = await _cancel_earlier(record)
        (folder / "job.sh").write_text(job_script(machine, folder))
        submissions = Submissions(record)
        install()
        cluster = NodeCluster(
            asynchronous=True,
            name=f"gadask-{machine.name}",
            security=security,
            shared_temp_directory=str(folder),
            silence_logs=logging.ERROR,
            scheduler_options={
                "interface": machine.scheduler_interface or machine.interface,
                "port": 0,
                "dashboard_address": dashboard_address(),
            },
            submissions=submissions,
            **job_options(machine, folder),
        )
        try:
            try:
                await start(cluster)
            except (OSError, RuntimeError, ValueError) as error:
                raise ClusterError(f"the Dask scheduler cannot start: {error}") from None
            remember(cluster.scheduler)
            host = await asyncio.to_thread(socket.getfqdn)  # asks the network
            keeper = Keeper(cluster, submissions, machine, n_nodes, folder, start_timeout_s)
            async with Client(cluster, asynchronous=True, set_as_default=False) as client, meanwhile(keeper.keep()):
                await keeper.submitted.wait()
                yield Slurm(client, keeper, _dashboard(host, cluster.scheduler.http_server.port))
        finally:
            if await _end(cluster, submissions, earlier):
                record.unlink(missing_ok=True)


@contextlib.contextmanager
def _no_word_of_lost_parents() -> Iterator[None]:
    """Keep the scheduler from calling it an error that the last node left with its parents: they are sent again."""

    def is_other(record: logging.LogRecord) -> bool:
        return "to lose scattered data" not in record.getMessage()

    scheduler_log = logging.getLogger("distributed.scheduler")
    scheduler_log.addFilter(is_other)
    try:
        yield
    finally:
        scheduler_log.removeFilter(is_other)


async def _end(cluster: NodeCluster, submissions: Submissions, earlier: list[str]) -> bool:
    """Cancel all jobs, those of an earlier master too, and stop the scheduler.

    Returns whether no job is left, not even one that was just being submitted.
    """
    with contextlib.suppress(ClusterError):
        await cancel(submissions.accepted.values())
    if cluster.status is not Status.failed:  # then it has closed itself
        await cluster.close()
    return not await _cancel_all([*earlier, *submissions.accepted.values()])


async def _cancel_earlier(record: Path) -> list[str]:
    """Cancel the jobs of a master that was killed; returns those that are left, which stay in the record."""
    if not record.exists():
        return []
    left = await _cancel_all(record.read_text().split())
    if not left:
        record.unlink()
    return left


async def _cancel_all(job_ids: list[str]) -> list[str]:
    """Cancel jobs until none waits or runs; warns of those that still do after a while, and returns them."""
    deadline = time.monotonic() + _CANCEL_S
    while job_ids and time.monotonic() < deadline:
        with contextlib.suppress(ClusterError):
            states = await job_states(job_ids)
            job_ids = [job_id for job_id, state in states.items() if state.to_cancel]
            await cancel(job_ids)
        if job_ids:
            await asyncio.sleep(_CANCEL_POLL_S)
    if job_ids:
        _logger.error("jobs are left in the queue, for it does not answer; later: scancel %s", " ".join(job_ids))
    return job_ids


def _dashboard(host: str, port: int) -> str:
    return f"http://127.0.0.1:{port}/status after ssh -N -L {port}:127.0.0.1:{port} {getpass.getuser()}@{host}"
