"""Whole runs on a local cluster, and what they leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from distributed import Client

from gadask.clusters.local import local_cluster
from gadask.config import Config
from gadask.master.evolve import evolve
from gadask.master.generation import Generation, Progress
from gadask.record.directory import read_generations, without_wall_clock

OnGeneration = Callable[[Client, Generation], Awaitable[None]]


def run(
    config: Config,
    run_dir: Path,
    *,
    nodes: int = 1,
    processes: int = 2,
    resume: bool = False,
    on_generation: OnGeneration | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[dict[str, Any]]:
    """Evolve on a local cluster; returns the log without its wall-clock quantities."""

    async def main() -> None:
        async with local_cluster(nodes) as cluster:
            client = cluster.client
            generations = evolve(
                config,
                client,
                run_dir,
                resume=resume,
                n_processes=processes,
                node_timeout_s=60,
                on_progress=on_progress,
            )
            async with aclosing(generations):
                async for generation in generations:
                    if on_generation:
                        await on_generation(client, generation)

    asyncio.run(main())
    return log(run_dir)


def log(run_dir: Path) -> list[dict[str, Any]]:
    return [without_wall_clock(line) for line in read_generations(run_dir)]


def checkpoint(run_dir: Path) -> dict[str, Any]:
    return without_wall_clock(json.loads((run_dir / "checkpoint.json").read_text()))
