"""Clusters that stay open from one notebook cell to the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from gadask.clusters.base import Cluster, meanwhile
from gadask.clusters.held import hold
from gadask.clusters.kinds import open_cluster
from gadask.clusters.local import local_cluster
from gadask.clusters.machine import Machine
from gadask.clusters.wanted import Wanted
from gadask.errors import ClusterError
from gadask.master.evolve import evolve
from tests.conftest import eventually, faulty_config

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_each_cell_may_use_it_and_any_may_close_it(tmp_path: Path) -> None:
    async def main() -> list[int]:
        async def in_another_task() -> list[int]:
            return [generation.number async for generation in generations]

        cluster = await asyncio.create_task(hold(local_cluster(1)))
        generations = evolve(faulty_config(population=8), cluster.client, tmp_path / "run", n_processes=1)
        played = await asyncio.create_task(in_another_task())
        assert cluster.counts().running == 1
        assert cluster.dashboard.startswith("http://127.0.0.1:")
        await asyncio.create_task(cluster.close())
        await cluster.close()
        assert cluster.client.status == "closed"
        return played

    assert asyncio.run(main()) == [0, 1, 2, 3]


def test_a_cluster_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="expected a Dask scheduler, found"):
        asyncio.run(hold(open_cluster("tcp://127.0.0.1:9", [Wanted(Machine(), 1)], tmp_path, 60)))


def test_a_cell_that_is_stopped_while_it_opens_leaves_nothing_open() -> None:
    async def main() -> None:
        before = len(psutil.Process().children())
        opening = asyncio.create_task(hold(local_cluster(1)))
        await eventually(lambda: len(psutil.Process().children()) != before, 60, "a process of the cluster")
        opening.cancel()
        await asyncio.wait({opening})
        assert opening.cancelled()

    asyncio.run(main())


def test_a_cluster_that_ends_by_itself_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = asyncio.Event()

    @asynccontextmanager
    async def short_lived() -> AsyncIterator[Cluster]:
        async def end() -> None:
            await broken.wait()
            raise ClusterError("the queue is closed")

        async with local_cluster(1) as cluster, meanwhile(end()):
            yield cluster

    async def main() -> None:
        cluster = await hold(short_lived())
        try:
            async for _ in evolve(faulty_config(population=8), cluster.client, tmp_path / "run", n_processes=1):
                broken.set()
        finally:
            await cluster.close()

    with caplog.at_level(logging.ERROR, "gadask"), pytest.raises(ClusterError, match="the Dask scheduler is lost"):
        asyncio.run(main())
    assert "the cluster has ended: the queue is closed" in caplog.messages
