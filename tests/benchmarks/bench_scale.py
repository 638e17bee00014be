"""How master and scheduler bear many nodes: `python -m tests.benchmarks.bench_scale [NODES …]`.

For 8, 64, 512 and 1,000 simulated nodes of 31 processes each (`simulated_nodes.py`): episodes a second through the
master, what share of the processes' time was played, CPU time and memory of the process that holds master and
scheduler, and the bytes that crossed loopback, TLS and heartbeats included. The population grows with the processes,
four children each, as 1000 children do on 8 nodes. The run resumes a genealogy of 200 generations, so that parents are
as long as in the middle of a run of a billion frames. Nodes share the machine with what is measured: a share of their
CPU time near all cores means that they, and not the master, were too slow.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "error")

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from gadask.clusters import local_cluster
from gadask.config import Config, config_from_dict
from gadask.master import evolve
from gadask.messages import ROW, Genome
from gadask.record import RunDirectory, State, episode_table
from gadask.selection import Population
from tests.benchmarks.bench_master import loopback_bytes
from tests.benchmarks.simulated_nodes import FRAMES_PER_S, MEAN_STEPS, N_PROCESSES, simulated_nodes

CHILDREN_A_PROCESS = 4
GENERATIONS_BEFORE = 200


def main(sizes: Sequence[int]) -> None:
    """Measure and print a table."""
    table = Table("nodes × 31", *map(str, sizes), title="master, scheduler and simulated nodes")
    console = Console(width=100)
    columns = []
    for n_nodes in sizes:
        with console.status(f"{n_nodes} nodes"):
            columns.append(measure(n_nodes))
    for figure in columns[0]:
        table.add_row(figure, *(f"{column[figure]:,.4g}" for column in columns))
    console.print(table)


def measure(n_nodes: int, generations: int = 3) -> dict[str, float]:
    """Return figures of the generations after the first, which starts the connections."""
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(_measure(n_nodes, generations, Path(directory) / "run"))


async def _measure(n_nodes: int, generations: int, run_dir: Path) -> dict[str, float]:
    config = scale_config(n_nodes, GENERATIONS_BEFORE + 1 + generations)
    write_genealogy(run_dir, config, GENERATIONS_BEFORE)
    this = psutil.Process()
    async with local_cluster(0) as cluster:
        begin_s = time.monotonic()
        async with simulated_nodes(cluster.client, n_nodes, config.noise) as pids:
            start_s = time.monotonic() - begin_s
            lines: list[dict[str, Any]] = []
            before = after = (0.0, 0.0, 0.0, 0)
            async for generation in evolve(config, cluster.client, run_dir, resume=True):
                after = (
                    time.monotonic(),
                    sum(this.cpu_times()[:2]),
                    sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids),
                    loopback_bytes(),
                )
                if before[0]:
                    lines.append(generation.line)
                else:
                    before = after
    wall_s, cpu_s, nodes_cpu_s, n_bytes = (b - a for a, b in zip(before, after, strict=True))
    n_episodes = sum(line["episodes"] for line in lines)
    n_processes = n_nodes * N_PROCESSES
    return {
        "nodes connected after, s": start_s,
        "episodes a generation": n_episodes / generations,
        "episodes/s": n_episodes / wall_s,
        "episodes/s if no process ever waited": n_processes / (4 * MEAN_STEPS / FRAMES_PER_S),
        "share of process time played": sum(line["timing"]["busy_s"] for line in lines) / (n_processes * wall_s),
        "seconds a generation": wall_s / generations,
        "CPU of master and scheduler, cores": cpu_s / wall_s,
        "CPU time an episode, ms": 1000 * cpu_s / n_episodes,
        "memory, MB": this.memory_info().rss / 1e6,
        "largest memory so far, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "wire, MB a generation": n_bytes / 1e6 / generations,
        "wire, bytes an episode": n_bytes / n_episodes,
        "CPU of the simulated nodes, cores": nodes_cpu_s / wall_s,
    }


def scale_config(n_nodes: int, generations: int) -> Config:
    """Return the config of a run whose population fits that many nodes."""
    return config_from_dict(
        {
            "env": {"id": "tests.benchmarks.null_env:Null-v0", "max_steps": 5000},
            "policy": {"kind": "mlp", "kwargs": {"hidden": "1"}},
            "noise": {"size": 250_000_000},
            "ga": {"population": CHILDREN_A_PROCESS * N_PROCESSES * n_nodes},
            "budget": {"generations": generations, "test_episodes": 0},
        }
    )


def write_genealogy(run_dir: Path, config: Config, generations: int) -> None:
    """Write a run directory that stands after so many generations, each of parents drawn at random."""
    rng = np.random.default_rng(0)
    parents: list[Genome] = [()]
    nothing = episode_table(np.zeros(0, ROW), parent=[], gene=[], node=[], counted=[])
    with RunDirectory.create(run_dir, config) as directory:
        for number in range(generations):
            chosen = rng.integers(len(parents), size=config.ga.parents)
            genes = rng.integers(config.noise.size - 100, size=config.ga.parents)
            parents = [(*parents[i], gene) for i, gene in zip(chosen.tolist(), genes.tolist(), strict=True)]
            population = Population(generation=number + 1, parents=tuple(parents))
            directory.close_generation(nothing, {"timing": {}}, State(population, noise_digest="simulated"))


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [8, 64, 512, 1000])
