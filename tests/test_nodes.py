"""Nodes that stand still, fail, or were left by a master that was killed: nobody waits for them, nothing stays."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client, LocalCluster, Worker

import gadask.node.plugin
from gadask.clusters.base import DASK_CONFIG
from gadask.clusters.local import local_cluster
from gadask.errors import NodeError
from gadask.master.evolve import evolve
from gadask.master.generation import Progress
from gadask.node import node as node_module
from gadask.record.directory import read_episodes
from tests.conftest import faulty_config
from tests.first_runs import DEADLINE_S, first_config, first_node, until

pytestmark = pytest.mark.usefixtures("no_leaks")

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _patient_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Dask wait for workers that stand still, so that nothing but gadask goes on without them."""
    monkeypatch.setitem(DASK_CONFIG, "distributed.scheduler.worker-ttl", "1 hour")


async def processes(client: Client) -> dict[str, psutil.Process]:
    """Return the process of each Dask worker, by address."""
    return {address: psutil.Process(pid) for address, pid in (await client.run(os.getpid)).items()}


def shorten_lease(dask_worker: Worker) -> None:
    node_module.LEASE_S = node_module.STOP_S = 1.0


def count_tasks(dask_worker: Worker) -> int:
    plugin: Any = dask_worker.plugins.get("gadask")
    return plugin.node.n_tasks if plugin is not None and plugin.node is not None else 0


def count_waiting(dask_worker: Worker) -> int:
    """Return how many chunks wait while those that play hold all rows."""
    plugin: Any = dask_worker.plugins.get("gadask")
    (weights,) = (state.weights for state in plugin.node._tasks.values())
    n_open = len(weights._cache._rows) - weights._cache.n_pinned
    return weights.n_waiting if n_open <= 5 else 0  # too few for five parents and what their decoding starts from


def break_pool(dask_worker: Worker) -> None:
    plugin: Any = dask_worker.plugins["gadask"]
    plugin.node.pool._selector.close()
    plugin.node.pool._wake()


def leave(dask_worker: Worker) -> None:
    gadask.node.plugin._close_worker(dask_worker, "its processes failed")


async def is_free(client: Client) -> bool:
    return not any((await client.run(count_tasks)).values())


def test_a_node_that_stands_still_is_not_waited_for_and_takes_part_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with local_cluster(2) as cluster:
            client = cluster.client
            await client.wait_for_workers(2)
            workers = await processes(client)
            address, worker = next(iter(workers.items()))
            generations = evolve(first_config(step_s=0.002), client, tmp_path / "run", n_processes=1)
            stopped_at = again = 0
            try:
                async with asyncio.timeout(DEADLINE_S), aclosing(generations):
                    async for generation in generations:
                        table = read_episodes(tmp_path / "run", generation.number)
                        played = address in set(table["node"].to_pylist())
                        if played and not stopped_at:
                            worker.suspend()
                            stopped_at = generation.number
                        elif generation.number == stopped_at + 5:
                            worker.resume()
                        elif played and generation.number > stopped_at + 8:
                            again = generation.number
                            await client.run(shorten_lease)
                            worker.suspend()
                            break
            finally:
                worker.resume()
            assert again
            await until(lambda: is_free(client), "the weights of a run whose end was missed are freed")

    asyncio.run(main())


def test_a_run_begins_beside_a_node_that_stands_still(tmp_path: Path) -> None:
    async def main() -> None:
        async with local_cluster(2) as cluster:
            await cluster.client.wait_for_workers(2)
            worker = next(iter((await processes(cluster.client)).values()))
            worker.suspend()
            try:
                async with asyncio.timeout(DEADLINE_S):
                    config = first_config(generations=2)
                    async for _ in evolve(config, cluster.client, tmp_path / "run", n_processes=1):
                        pass
            finally:
                worker.resume()

    asyncio.run(main())


def test_a_run_begins_beside_a_node_that_does_not_get_ready(tmp_path: Path) -> None:
    ready = tmp_path / "ready"

    def be_slow(dask_worker: Worker) -> None:
        def start_slowly(*arguments: Any) -> Any:
            while not ready.exists():
                time.sleep(0.02)
            return node_module.Node(*arguments)

        setattr(gadask.node.plugin, "Node", start_slowly)  # noqa: B010

    async def main() -> None:
        async with local_cluster(2) as cluster:
            client = cluster.client
            await client.wait_for_workers(2)
            await client.run(be_slow, workers=[next(iter(await client.scheduler.ncores()))])
            try:
                async with asyncio.timeout(DEADLINE_S):
                    async for _ in evolve(first_config(generations=2), client, tmp_path / "run", n_processes=1):
                        pass
            finally:
                ready.touch()

    asyncio.run(main())


def test_a_node_whose_processes_fail_is_closed_and_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Progress] = []

    def told() -> list[str]:
        return [message for message in caplog.messages if message.startswith("a node is refused and plays nothing")]

    async def main() -> str:
        async with local_cluster(2) as cluster:
            client = cluster.client
            await client.wait_for_workers(2)
            generations = evolve(first_config(), client, tmp_path / "run", n_processes=1, on_progress=seen.append)
            broken = ""
            async with asyncio.timeout(DEADLINE_S), aclosing(generations):
                async for _ in generations:
                    if not broken and seen[-1].nodes == 2:
                        broken = sorted((await client.scheduler.ncores()).keys())[0]
                        await client.run(break_pool, workers=[broken])
                    if broken and seen[-1].nodes == 1 and told() and broken not in await client.scheduler.ncores():
                        break
            return broken

    broken = asyncio.run(main())
    (refusal,) = told()
    assert broken in refusal
    assert "the pool of rollout processes failed: " in refusal


def test_a_node_that_leaves_after_a_chunk_of_it_failed_says_why(tmp_path: Path) -> None:
    async def main() -> None:
        async with local_cluster(1) as cluster:
            client = cluster.client
            await client.wait_for_workers(1)
            nodes, address = await first_node(client)
            nodes.drop(address)  # as for the chunk
            await client.run(leave)

            async def has_left() -> bool:
                return not await client.scheduler.ncores()

            await until(has_left, "it has left")
            await nodes.look()
            await nodes.close()
            assert nodes.refused[address].endswith("its processes failed")

    asyncio.run(main())


def test_a_node_that_cannot_be_set_up_late_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with local_cluster(1) as cluster:
            client = cluster.client
            await client.wait_for_workers(1)
            async with asyncio.timeout(DEADLINE_S):
                async with aclosing(evolve(first_config(), client, tmp_path / "run", n_processes=1)) as generations:
                    async for _ in generations:
                        break
                    scheduler = client.cluster.scheduler
                    for plugin in [*scheduler.worker_plugins]:
                        from distributed.protocol.pickle import dumps

                        from gadask.config import NoiseConfig
                        from gadask.node.plugin import NodePlugin

                        scheduler.worker_plugins[plugin] = dumps(NodePlugin(NoiseConfig(size=10**13), 1))
                    client.cluster.scale(2)
                    async for _ in generations:
                        if any("the noise table could not be made" in message for message in caplog.messages):
                            return

    asyncio.run(main())
    assert [message for message in caplog.messages if "a node is refused and plays nothing" in message]


@pytest.mark.parametrize("other_noise", [True, False])
def test_a_master_that_was_killed_leaves_its_nodes(other_noise: bool, tmp_path: Path) -> None:
    async def main() -> None:
        cluster = LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            asynchronous=True,
        )
        async with cluster, Client(cluster, asynchronous=True, set_as_default=False) as client:
            command = [sys.executable, "-m", __name__, cluster.scheduler_address, str(tmp_path / "killed")]
            with subprocess.Popen(command, cwd=ROOT) as master:
                await until(lambda: is_played_on(client), "the run is played")
                master.kill()
            if other_noise:
                config = faulty_config()
                config = replace(config, noise=replace(config.noise, seed=7))
                config = replace(config, budget=replace(config.budget, generations=1))
                async for _ in evolve(config, client, tmp_path / "run", n_processes=1):
                    pass
            else:
                await client.run(shorten_lease)
                await until(lambda: is_free(client), "the killed master's weights are freed")

    asyncio.run(main())


async def is_played_on(client: Client) -> bool:
    return any((await client.run(count_tasks)).values())


def test_a_live_master_keeps_its_nodes(tmp_path: Path) -> None:
    other = faulty_config()
    other = replace(other, noise=replace(other.noise, seed=7))

    async def main() -> None:
        async with local_cluster(1) as cluster:
            generations = evolve(faulty_config(), cluster.client, tmp_path / "run", n_processes=1)
            async with aclosing(generations):
                async for _ in generations:
                    with pytest.raises(NodeError, match="another run uses these nodes"):
                        await anext(evolve(other, cluster.client, tmp_path / "other", n_processes=1))
                    break

    asyncio.run(main())


def test_late_children_of_many_generations_do_not_end_a_run(tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    config = first_config("admit", 15, "wait", every=100, until=str(go_on))
    config = replace(config, env=replace(config.env, episode_timeout_s=600.0))

    async def release(client: Client) -> None:
        n_looks = 0

        async def waits_on() -> bool:  # and is not merely on its way to a refusal
            nonlocal n_looks
            n_looks = n_looks + 1 if await is_waiting(client) else 0
            return n_looks > 10

        await until(waits_on, "a chunk waits for room")
        go_on.touch()

    async def main() -> int:
        n = 0
        async with local_cluster(1) as cluster, asyncio.TaskGroup() as group:
            generations = evolve(config, cluster.client, tmp_path / "run", n_processes=30)
            async with aclosing(generations):
                async for _ in generations:
                    n += 1
                    if n == 1:
                        group.create_task(release(cluster.client))
        return n

    assert asyncio.run(main()) == 15


async def is_waiting(client: Client) -> bool:
    with suppress(AttributeError, ValueError):  # the node is being made
        return any((await client.run(count_waiting)).values())
    return False


async def _be_killed(address: str, run_dir: Path) -> None:
    """Be the master of a run whose first episode never ends."""
    config = faulty_config("hang")
    config = replace(config, env=replace(config.env, episode_timeout_s=1e6))
    async with Client(address, asynchronous=True, set_as_default=False) as client:
        async for _ in evolve(config, client, run_dir, n_processes=1):
            pass


if __name__ == "__main__":
    asyncio.run(_be_killed(sys.argv[1], Path(sys.argv[2])))
