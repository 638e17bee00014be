"""How master and scheduler bear many nodes: `python -m tests.benchmarks.bench_scale [NODES[x RUNS] …] [--mean-s S]`.

For 8, 64, 512 and 1,000 simulated nodes of 31 processes each (`simulated_nodes.py`), and for four runs that share 8:
episodes a second through the master, what share of the processes' time was played, CPU time and memory of the process
that holds master and scheduler, and the bytes that crossed loopback, TLS and heartbeats included. The population grows
with the processes, four children each, as 1000 children do on 8 nodes. Runs resume a genealogy of 200 generations, so
that parents are as long as in the middle of a run of a billion frames. Nodes share the machine with what is measured: a
share of their CPU time near all cores means that they, and not the master, were too slow. What the master could bear is
reckoned from its CPU time, of which a part goes to the nodes' heartbeats alone, whether they play or not. `--mean-s` is
how long an episode lasts in the mean.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
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

from gadask.algorithms.algorithm import Brood
from gadask.clusters.local import local_cluster
from gadask.config import Config, config_from_dict
from gadask.genomes.genome import Genome
from gadask.master.evolve import evolve
from gadask.master.ledger import Ledger, Quota
from gadask.master.summary import Timing, log_line
from gadask.record.directory import RunDirectory, episode_table
from gadask.rows import ROW
from tests.benchmarks.bench_master import loopback_bytes
from tests.benchmarks.simulated_nodes import FRAMES_PER_S, MEAN_STEPS, N_PROCESSES, SimulatedNode, simulated_nodes
from tests.generations import state_of

CHILDREN_A_PROCESS = 4
GENERATIONS_BEFORE = 200
IDLE_S = 20.0


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", metavar="NODES[xRUNS]", default=["8", "8x4", "64", "512", "1000"])
    parser.add_argument("--mean-s", type=float, default=4 * MEAN_STEPS / FRAMES_PER_S)
    arguments = parser.parse_args()
    sizes = arguments.sizes
    table = Table("nodes × 31", *sizes, title="master, scheduler and simulated nodes")
    console = Console(width=100)
    columns = []
    for size in sizes:
        n_nodes, _, n_runs = size.partition("x")
        with console.status(f"{size} nodes"):
            columns.append(measure(int(n_nodes), int(n_runs or 1), mean_s=arguments.mean_s))
    for figure in columns[0]:
        table.add_row(figure, *(f"{column[figure]:,.4g}" for column in columns))
    console.print(table)


def measure(
    n_nodes: int, n_runs: int = 1, generations: int = 4, mean_s: float = 4 * MEAN_STEPS / FRAMES_PER_S
) -> dict[str, float]:
    """Return figures from when every run has closed a generation until one has closed so many more."""
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(_measure(n_nodes, n_runs, generations, mean_s, Path(directory)))


async def _measure(n_nodes: int, n_runs: int, generations: int, mean_s: float, directory: Path) -> dict[str, float]:
    config = scale_config(n_nodes, GENERATIONS_BEFORE + 1 + generations)
    run_dirs = [directory / str(run) for run in range(n_runs)]
    for run_dir in run_dirs:
        write_genealogy(run_dir, config, GENERATIONS_BEFORE)
    lines: list[dict[str, Any]] = []
    marks: list[tuple[float, float, float, int]] = []
    this = psutil.Process()

    async def play(run_dir: Path, began: list[Path]) -> None:
        async for generation in evolve(config, cluster.client, run_dir, resume=True):
            if len(began) == n_runs and len(marks) == 1:
                lines.append(generation.line)
            began += [run_dir] if run_dir not in began else []
            if (len(began) == n_runs and not marks) or generation.number == GENERATIONS_BEFORE + generations:
                marks.append(mark(this, pids))

    async with local_cluster(0) as cluster:
        begin_s = time.monotonic()
        speed = 4 * MEAN_STEPS / FRAMES_PER_S / mean_s
        async with simulated_nodes(cluster.client, n_nodes, config.noise, speed=speed) as pids:
            start_s = time.monotonic() - begin_s
            idle_cores = await _idle_cores(this)
            began: list[Path] = []
            await asyncio.gather(*(play(run_dir, began) for run_dir in run_dirs))
    wall_s, cpu_s, nodes_cpu_s, n_bytes = (after - before for before, after in zip(*marks[:2], strict=True))
    n_episodes = sum(line["episodes"] for line in lines)
    n_processes = n_nodes * N_PROCESSES
    return {
        "nodes connected after, s": start_s,
        "episodes a generation": n_episodes / len(lines),
        "seconds a generation": n_runs * wall_s / len(lines),
        "episodes/s": n_episodes / wall_s,
        "episodes/s if no process ever waited": n_processes / mean_s,
        "share of process time played": sum(line["timing"]["busy_s"] for line in lines) / (n_processes * wall_s),
        "CPU of master and scheduler, cores": cpu_s / wall_s,
        "the same while nothing is played, cores": idle_cores,
        "CPU time an episode, ms": 1000 * cpu_s / n_episodes,
        "episodes/s that would fill one core": (1 - idle_cores) * n_episodes / (cpu_s - idle_cores * wall_s),
        "memory, MB": this.memory_info().rss / 1e6,
        "largest memory so far, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "wire, MB a generation": n_bytes / 1e6 / len(lines),
        "wire, bytes an episode": n_bytes / n_episodes,
        "CPU of the simulated nodes, cores": nodes_cpu_s / wall_s,
    }


async def _idle_cores(master: psutil.Process) -> float:
    """Return what the heartbeats of nodes that play nothing cost."""
    begin_s = sum(master.cpu_times()[:2])
    await asyncio.sleep(IDLE_S)
    return float(sum(master.cpu_times()[:2]) - begin_s) / IDLE_S


def mark(master: psutil.Process, pids: Sequence[int]) -> tuple[float, float, float, int]:
    """Return the time, the CPU time of the master and of the nodes until now, and the bytes on loopback."""
    nodes_s = sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)
    return time.monotonic(), sum(master.cpu_times()[:2]), nodes_s, loopback_bytes()


def scale_config(n_nodes: int, generations: int) -> Config:
    """Return the config of a run whose population fits that many nodes."""
    return config_from_dict(
        {
            "env": {"id": "tests.benchmarks.null_env:Null-v0", "max_steps": 5000},
            "policy": {"kind": "mlp", "kwargs": {"hidden": "1"}},
            "noise": {"size": 250_000_000},
            "generation": {"population": CHILDREN_A_PROCESS * N_PROCESSES * n_nodes},
            "budget": {"generations": generations, "test_episodes": 0},
        }
    )


def write_genealogy(run_dir: Path, config: Config, generations: int) -> None:
    """Write a run directory that stands after so many generations, each of parents drawn at random."""
    rng = np.random.default_rng(0)
    parents: list[Genome] = [()]
    no_rows = np.zeros(0, ROW)
    no_episodes = episode_table(no_rows, parent=[], gene=[], weight=[], node=[], counted=[])
    timing = Timing(wall_s=1.0, process_s=1.0, busy_s=1.0, discarded_s=0.0, nodes=1, processes=1)
    with RunDirectory.create(run_dir, config) as directory:
        for number in range(generations):
            chosen = rng.integers(len(parents), size=config.ga.parents)
            genes = rng.integers(config.noise.size - 100, size=config.ga.parents)
            parents = [(*parents[i], gene) for i, gene in zip(chosen.tolist(), genes.tolist(), strict=True)]
            state = state_of(number, tuple(parents), noise_digest=SimulatedNode.digest)
            ledger = Ledger(Quota(number, 0))
            line = log_line(Brood(number, (), ()), no_rows, np.zeros(0, np.uint8), [], [], None, ledger, timing)
            line["total"] = {"frames": 0, "steps": 0, "episodes": 0}
            line["timing"]["elapsed_s"] = 0.0
            directory.close_generation(no_episodes, line, state)


if __name__ == "__main__":
    main()
