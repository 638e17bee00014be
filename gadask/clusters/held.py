"""A cluster that stays open from one notebook cell to the next.

A cluster watches over the task that opened it, and that task must close it. Every cell of a notebook is a separate
task, so one more task holds the cluster open for all of them.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from typing import Any

from gadask.clusters.base import Cluster, NodeCounts
from gadask.errors import GadaskError

_logger = logging.getLogger(__name__)


class HeldCluster(Cluster):
    """A cluster that is open until `close`."""

    def __init__(self, cluster: Cluster, holder: asyncio.Task[None], released: asyncio.Event) -> None:
        """For `hold`: `holder` closes the cluster once `released` is set."""
        self.client = cluster.client
        self.dashboard = cluster.dashboard
        self.n_processes = cluster.n_processes
        self.node_timeout_s = cluster.node_timeout_s
        self._cluster = cluster
        self._holder = holder
        self._released = released

    @property
    def page(self) -> str:
        """As that of the cluster that is held."""
        return self._cluster.page

    def counts(self) -> NodeCounts:
        """Return how the cluster stands now."""
        return self._cluster.counts()

    async def close(self) -> None:
        """End everything that the cluster started; a second call does nothing."""
        self._released.set()
        await asyncio.wait({self._holder})


async def hold(opening: AbstractAsyncContextManager[Cluster]) -> HeldCluster:
    """Open a cluster, given as its context manager, and leave it open.

    A cluster that ends later by itself logs the reason, and evolution on it ends with a `ClusterError`.
    Raises what opening it raises; a caller that is cancelled meanwhile leaves nothing open.
    """
    released = asyncio.Event()
    opened: asyncio.Future[Cluster] = asyncio.get_running_loop().create_future()
    holder = asyncio.create_task(_hold(opening, opened, released))
    try:
        waiting: set[asyncio.Future[Any]] = {opened, holder}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        holder.cancel()
        await asyncio.wait({holder})
        raise
    if not opened.done():
        holder.result()
    return HeldCluster(opened.result(), holder, released)


async def _hold(
    opening: AbstractAsyncContextManager[Cluster], opened: asyncio.Future[Cluster], released: asyncio.Event
) -> None:
    try:
        async with opening as cluster:
            opened.set_result(cluster)
            await released.wait()
    except GadaskError as error:
        if not opened.done():
            raise
        _logger.error("the cluster has ended: %s", error)
