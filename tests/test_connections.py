"""Connections of the master that break: what is asked again, and how long."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import cast

import pytest
from distributed import Client
from distributed.comm.core import FatalCommClosedError
from distributed.diagnostics.plugin import WorkerPlugin

from gadask.clusters.local import local_cluster
from gadask.errors import ClusterError
from gadask.master.nodes import Nodes
from gadask.master.task import prepare_task
from tests.first_runs import first_config, first_node


class _Breaking:
    """Requests to a scheduler of which the first `n` break."""

    def __init__(self, n: float) -> None:
        self._n = n

    async def __call__(self) -> str:
        self._n -= 1
        if self._n >= 0:
            raise FatalCommClosedError("in the middle of a handshake")
        return "answer"


def test_a_request_whose_connection_broke_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes(cast(Client, SimpleNamespace(status="running")), prepare_task(first_config()), 1, None, 60)
    assert asyncio.run(nodes.ask(_Breaking(2))) == "answer"
    monkeypatch.setattr("gadask.master.nodes._RECONNECT_S", 0.5)
    with pytest.raises(ClusterError, match="scheduler is lost: FatalCommClosedError"):
        asyncio.run(nodes.ask(_Breaking(math.inf)))


def test_a_connection_that_breaks_while_nodes_are_set_up_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with local_cluster(1) as cluster:
            client = cluster.client
            await client.wait_for_workers(1)
            breaking, register = _Breaking(1), client.register_plugin

            async def register_plugin(plugin: WorkerPlugin) -> None:
                await breaking()
                await register(plugin)

            monkeypatch.setattr(client, "register_plugin", register_plugin)
            nodes, _ = await first_node(client)
            await nodes.close()

    asyncio.run(main())


def test_while_the_master_stood_still_no_node_was_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    task, now_s = prepare_task(first_config()), 1000.0
    monkeypatch.setattr("gadask.master.nodes.time.monotonic", lambda: now_s)
    nodes = Nodes(cast(Client, None), task, 1, None, node_timeout_s=60)
    nodes.begin_waiting()
    now_s += 3600
    nodes.check()
    for _ in range(57):  # seconds; the pause counts as three
        now_s += 1
        nodes.check()
    now_s += 1
    with pytest.raises(ClusterError, match="no node for 60 s"):
        nodes.check()
