"""Nodes on this machine: a Dask `LocalCluster` with TLS."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dask
from distributed import Client, LocalCluster, Status
from distributed.security import Security

from gadask.clusters.base import DASK_CONFIG, WORKER_THREADS, Cluster, NodeCounts, dashboard_address, start
from gadask.clusters.links import dashboard_link
from gadask.dashboard.page import install, remember
from gadask.errors import ClusterError
from gadask.node.cores import granted_cores


class Local(Cluster):
    """Nodes on this machine."""

    def __init__(self, client: Client, cluster: LocalCluster, n_nodes: int) -> None:
        """Describe a cluster that runs."""
        self.client = client
        self.dashboard = dashboard_link("127.0.0.1", cluster.scheduler.http_server.port)
        self._cluster = cluster
        self.n_processes = local_processes(n_nodes)
        self._n_nodes = n_nodes
        self._n_cores = granted_cores()
        self._started_at = time.monotonic()

    def counts(self) -> NodeCounts:
        """Return how the cluster stands now."""
        hours = (time.monotonic() - self._started_at) / 3600
        return NodeCounts(
            wanted=self._n_nodes,
            running=len(self._cluster.scheduler.workers),
            core_hours=hours * self._n_cores,
        )


@asynccontextmanager
async def local_cluster(n_nodes: int = 1) -> AsyncIterator[Local]:
    """Start `n_nodes` nodes on this machine, with the dashboard on loopback.

    Raises `ClusterError` if they do not start.
    """
    install()
    with dask.config.set(DASK_CONFIG):
        cluster = LocalCluster(
            n_workers=n_nodes,
            threads_per_worker=WORKER_THREADS,
            processes=True,
            host="127.0.0.1",
            security=Security.temporary(),
            memory_limit=0,
            dashboard_address=dashboard_address(),
            asynchronous=True,
            silence_logs=logging.ERROR,  # nodes that come and go are the master's to report
        )
        try:
            await start(cluster)
            remember(cluster.scheduler)
            async with Client(cluster, asynchronous=True, set_as_default=False) as client:
                yield Local(client, cluster, n_nodes)
        except (OSError, RuntimeError, TimeoutError) as error:
            if cluster.status is not Status.failed:
                raise
            raise ClusterError(f"cannot start a local Dask cluster of {n_nodes} nodes: {error}") from None
        finally:
            if cluster.status is not Status.failed:  # then it has closed itself
                await cluster.close()


def local_processes(n_nodes: int) -> int:
    """Return how many rollout processes a node on this machine gets: its share of the granted cores, at least one."""
    return max(1, granted_cores() // max(1, n_nodes))
