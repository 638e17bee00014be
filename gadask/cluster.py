"""Clusters: from a name to a Dask client whose workers become nodes.

Each is an asynchronous context manager that yields an asynchronous client and has everything it started gone when it
ends. All connections use TLS with certificates made for this one cluster, on one machine too: whoever reaches a plain
Dask port can run code as its owner.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dask
from distributed import Client, LocalCluster, Status
from distributed.security import Security

from gadask.dispatch import CHUNKS_IN_FLIGHT
from gadask.errors import ClusterError

_DASHBOARD_PORT = 8787

_DASK_CONFIG = {
    # A worker that is preempted costs each of its tasks one strike; gadask bounds errors itself.
    "distributed.scheduler.allowed-failures": 20,
    # Chunks are placed by the master; moving them would leave a node with one chunk and its processes waiting.
    "distributed.scheduler.work-stealing": False,
    # The parents are broadcast; a worker that died a moment ago is not to hold up the others for the usual 30 s.
    "distributed.comm.timeouts.connect": "10s",
    # The shared noise table is no reason to restart a worker.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}


@asynccontextmanager
async def local_cluster(n_nodes: int = 1) -> AsyncIterator[Client]:
    """Start `n_nodes` nodes on this machine, with the dashboard on loopback.

    Raises `ClusterError` if they do not start.
    """
    with dask.config.set(_DASK_CONFIG):
        cluster = LocalCluster(
            n_workers=n_nodes,
            threads_per_worker=CHUNKS_IN_FLIGHT,
            processes=True,
            host="127.0.0.1",
            security=Security.temporary(),
            memory_limit=0,
            dashboard_address=f"127.0.0.1:{_free_port(_DASHBOARD_PORT)}",
            asynchronous=True,
            silence_logs=logging.ERROR,  # nodes that come and go are the master's to report
        )
        try:
            await _start(cluster)
            async with Client(cluster, asynchronous=True, set_as_default=False) as client:
                yield client
        except (OSError, RuntimeError, TimeoutError) as error:
            if cluster.status is not Status.failed:
                raise
            raise ClusterError(f"cannot start a local Dask cluster of {n_nodes} nodes: {error}") from None
        finally:
            if cluster.status is not Status.failed:  # then it has closed itself
                await cluster.close()


async def _start(cluster: LocalCluster) -> None:
    """Start a cluster. Dask cannot close one that is half started: an interrupt waits until it has."""
    starting = asyncio.ensure_future(cluster)
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait({starting})
        raise


def local_processes(n_nodes: int) -> int:
    """Return how many rollout processes a node on this machine gets: its share of all cores, at least one."""
    return max(1, len(os.sched_getaffinity(0)) // n_nodes)


def _free_port(wanted: int) -> int:
    """Return the wanted port on loopback if it is free, else 0, which lets the system choose."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted
