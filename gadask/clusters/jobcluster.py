"""Nodes that are jobs of a queue, asked for by dask-jobqueue from a login node, where scheduler and master run.

The folder of a cluster is on a file system that all nodes see. It holds the keys, which go at the end, the job script,
which stays (one for each machine), and the logs of jobs, of which those stay that a message has named.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import logging
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
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
from gadask.clusters.clearing import cancel_earlier, cancel_marked
from gadask.clusters.guardian import guarded
from gadask.clusters.jobqueue import NodeCluster, Submissions, job_script
from gadask.clusters.jobrecord import JobRecord
from gadask.clusters.keeper import Keeper
from gadask.clusters.links import dashboard_link
from gadask.clusters.periods import Periods
from gadask.clusters.queue import Queue
from gadask.clusters.security import locked_folder, temporary_keys
from gadask.clusters.wanted import Wanted, nodes_of_all, rollouts_of_all
from gadask.dashboard.page import install, remember
from gadask.errors import ClusterError, Interrupted

_logger = logging.getLogger(__name__)


class JobCluster(Cluster):
    """Nodes that are jobs of a queue."""

    def __init__(self, client: Client, keeper: Keeper, dashboard: str, n_processes: int | None) -> None:
        """Describe a cluster that runs."""
        self.client = client
        self.dashboard = dashboard
        self.n_processes = n_processes
        self._keeper = keeper

    def counts(self) -> NodeCounts:
        """Return how the cluster stands now."""
        return self._keeper.counts()


@asynccontextmanager
async def job_cluster(
    queue: Queue,
    queues: Mapping[str, Queue],
    wanted: Sequence[Wanted],
    *,
    folder: Path,
    start_timeout_s: float,
    home: Path | None = None,
    periods: Periods | None = None,
) -> AsyncIterator[JobCluster]:
    """Ask a queue for the `wanted` nodes and keep them coming; yields as soon as they are asked for.

    The machines have passed `check_together`. `queues` are all that there are, by name: an earlier start may have left
    jobs in another. `home` is the folder of the run's record of jobs, by default `folder`. Raises `RunDirectoryError`
    if another master uses a folder; `RecordError` if the record cannot be written; `ClusterError`, also in the middle
    of what the caller awaits: if jobs are refused, if they die faster than their machine allows, or if there is no node
    for `start_timeout_s`. No job is left in the queue.
    """
    home, periods = home or folder, periods or Periods()
    queue.check()
    allow_connections(nodes_of_all(wanted))
    # What becomes of a lost worker's job is the keeper's to decide, who knows the queue.
    config = {**DASK_CONFIG, "distributed.deploy.lost-worker-timeout": "1000 days"}
    with (
        locked_folder(home),
        locked_folder(folder) if folder != home else contextlib.nullcontext(),
        dask.config.set(config),
    ):
        record = JobRecord(home, queue.name, await cancel_earlier(home, queues, periods))
        with temporary_keys(folder) as security, contextlib.ExitStack() as stack:
            for each in wanted:
                name = "job.sh" if len(wanted) == 1 else f"job-{each.machine.name}.sh"
                _write_script(folder / name, job_script(queue, each.machine, folder))
            for warning in dict.fromkeys(text for each in wanted for text in queue.warnings(each.machine)):
                _logger.warning(warning)
            record.begin(folder)
            stack.enter_context(guarded(queue, record.mark, Path(str(security.tls_worker_key))))
            submissions = Submissions(queue, record, periods)
            install()
            cluster = NodeCluster(
                queue,
                [each.machine for each in wanted],
                record.mark,
                submissions,
                folder=folder,
                security=security,
                dashboard_address=dashboard_address(),
            )
            keeper: Keeper | None = None
            failed = False
            try:
                try:
                    await start(cluster)
                except (OSError, RuntimeError, ValueError) as error:
                    raise ClusterError(f"the Dask scheduler cannot start: {error}") from None
                remember(cluster.scheduler)
                host = await asyncio.to_thread(socket.getfqdn)  # asks the network
                keeper = Keeper(queue, cluster, submissions, record.marks, wanted, folder, start_timeout_s, periods)
                async with Client(cluster, asynchronous=True, set_as_default=False) as client, meanwhile(keeper.keep()):
                    await keeper.submitted.wait()
                    dashboard = _dashboard(host, cluster.scheduler.http_server.port)
                    yield JobCluster(client, keeper, dashboard, rollouts_of_all(wanted))
            except Interrupted:
                raise
            except Exception:
                failed = True
                raise
            finally:
                if await _end(queue, cluster, record, keeper, periods) and keeper is not None:
                    keeper.end_logs(failed=failed)


async def _end(queue: Queue, cluster: NodeCluster, record: JobRecord, keeper: Keeper | None, periods: Periods) -> bool:
    """Cancel all jobs, those of an earlier master too, and stop the scheduler; returns whether all jobs are gone."""
    earlier = record.earlier.within(queue.name)
    if keeper is None and not earlier.marks:
        are_gone = True
    else:
        job_ids = [*earlier.job_ids, *(keeper.job_ids if keeper else ())]
        in_doubt = bool(earlier.marks) or (keeper is not None and keeper.any_in_doubt)
        are_gone = await cancel_marked(queue, record.marks, job_ids, periods, in_doubt=in_doubt)
    if cluster.status is not Status.failed:  # then it has closed itself
        await cluster.close()
    if are_gone:
        record.remove()
    return are_gone


def _write_script(path: Path, script: str) -> None:
    """Leave the job script where a user finds it; it is not needed."""
    try:
        path.write_text(script)
    except OSError as error:
        _logger.warning("cannot write %s: %s", path, error.strerror)


def _dashboard(host: str, port: int) -> str:
    return dashboard_link("127.0.0.1", port, after=f"ssh -N -L {port}:127.0.0.1:{port} {getpass.getuser()}@{host}")
