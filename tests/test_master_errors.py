"""Runs that end with an error, or are interrupted: what is said, and that nothing is left."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from gadask.clusters.local import local_cluster
from gadask.errors import ClusterError, EvolutionError, NodeError
from gadask.master import nodes
from gadask.master.evolve import evolve
from gadask.node import plugin
from gadask.record.directory import read_run
from tests.conftest import command_line, eventually, faulty_config
from tests.local_runs import log, run

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_no_usable_node_is_an_error_that_shows_both_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_ALL_REFUSED_S", 1.0)
    config = faulty_config()
    run(replace(config, budget=replace(config.budget, generations=1)), tmp_path / "run")
    digest = read_run(tmp_path / "run")[1].noise_digest

    def corrupt(dask_worker: Any) -> None:
        dask_worker.plugins["gadask"].node.digest = "bad0bad0"

    async def main() -> None:
        async with local_cluster(1) as cluster:
            client = cluster.client
            await client.register_plugin(plugin.NodePlugin(config.noise, 1))
            await client.run(corrupt)
            async for _ in evolve(config, client, tmp_path / "run", resume=True, n_processes=1):
                pass

    with pytest.raises(ClusterError, match=rf"all nodes are refused \(1\), the first: .*bad0bad0.*{digest}"):
        asyncio.run(main())


def test_no_valid_result_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(EvolutionError, match="generation 0"):
        run(faulty_config("nan"), tmp_path / "run")
    assert log(tmp_path / "run") == []


def test_too_many_failures_stop_the_run_with_the_reason(tmp_path: Path) -> None:
    config = faulty_config("step", every=2)
    config = replace(config, generation=replace(config.generation, max_failed_share=0.1))
    with pytest.raises(EvolutionError, match=r"max_failed_share.*it cannot step"):
        run(config, tmp_path / "run")


def test_a_node_that_cannot_be_set_up_is_an_error_at_once(tmp_path: Path) -> None:
    config = faulty_config()
    config = replace(config, noise=replace(config.noise, size=10**13))

    async def main() -> None:
        async with local_cluster(1) as cluster:
            client = cluster.client
            with pytest.raises(NodeError, match="memory"):
                async for _ in evolve(config, client, tmp_path / "run", n_processes=1):
                    pass

            async def no_worker_left() -> bool:
                return not (await client.scheduler.identity(n_workers=-1))["workers"]

            await eventually(no_worker_left, 60, "the worker closes")

    asyncio.run(asyncio.wait_for(main(), 90))


def test_losing_all_nodes_for_good_is_an_error(tmp_path: Path) -> None:
    config = faulty_config(step_s=0.01)
    config = replace(config, budget=replace(config.budget, generations=1000))

    async def main() -> None:
        async with local_cluster(1) as cluster:
            client = cluster.client
            generations = evolve(config, client, tmp_path / "run", n_processes=1, node_timeout_s=2)
            async with aclosing(generations):
                async for _ in generations:
                    client.cluster.scale(0)

    with pytest.raises(ClusterError, match="no node for 2 s"):
        asyncio.run(asyncio.wait_for(main(), 90))
    assert log(tmp_path / "run")


def test_a_closed_client_is_an_error(tmp_path: Path) -> None:
    async def main() -> None:
        async with local_cluster(1) as cluster:
            async for _ in evolve(faulty_config(population=8), cluster.client, tmp_path / "run", n_processes=1):
                await cluster.client.close()

    with pytest.raises(ClusterError, match="the Dask scheduler is lost"):
        asyncio.run(asyncio.wait_for(main(), 90))


def test_results_on_their_way_when_a_run_ends_leave_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gathering = asyncio.Event()

    async def main() -> None:
        async with local_cluster(1) as cluster:
            client = cluster.client
            handlers = client.cluster.scheduler.handlers
            gather = handlers["gather"]

            async def gather_slowly(keys: list[str]) -> Any:
                gathering.set()
                await asyncio.sleep(0.5)  # a slow network
                return await gather(keys)

            async def evolution() -> None:
                async for _ in evolve(faulty_config(), client, tmp_path / "run", n_processes=1):
                    pass

            monkeypatch.setitem(handlers, "gather", gather_slowly)
            playing = asyncio.create_task(evolution())
            await gathering.wait()
            playing.cancel()
            await asyncio.wait({playing})

    asyncio.run(asyncio.wait_for(main(), 90))
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR and record.exc_info]


def test_an_interrupt_while_the_cluster_starts_leaves_nothing() -> None:
    async def main() -> None:
        async with local_cluster(1):
            pytest.fail("it was to be interrupted before")

    async def interrupted() -> None:
        task = asyncio.create_task(main())
        this = psutil.Process()

        def starts() -> bool:
            return any("spawn_main" in " ".join(command_line(child)) for child in this.children())

        await eventually(starts, 60, "a worker starts")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(interrupted(), 60))
